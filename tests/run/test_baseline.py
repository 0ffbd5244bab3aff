"""What reconstructions are held against at the end of training, by exact PCA and by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import Genkit, small_model

from genkit.data.dataset import Dataset
from genkit.evaluate import pca
from genkit.models.ae import AE
from genkit.run import baseline
from genkit.run.baseline import Baseline

pytestmark = pytest.mark.usefixtures("begun_at_random")

CPU = torch.device("cpu")


def test_pca_is_that_of_the_covariance_and_the_mean_is_the_mean(digits: Dataset) -> None:
    model = AE(digits.shape, AE.Options(hidden=(8,), latent_dim=20)).eval()
    found = baseline.measure(model, digits, CPU, 0)
    assert found is not None
    assert found.components == 20
    exact = float(pca.fit(digits.train, 20).squared_error(digits.test).mean())
    assert found.pca == pytest.approx(exact, rel=0.01)
    images = digits.test.images().double() / 255
    assert found.mean == pytest.approx(
        float((images - digits.train.mean()).square().flatten(1).sum(1).mean()), rel=1e-4
    )
    with torch.no_grad():
        output = model.decode(model.encode(images.float()))
    assert found.model == pytest.approx(float((output - images).square().flatten(1).sum(1).mean()), rel=1e-4)


def test_it_leaves_training_noise_as_it_was(digits: Dataset) -> None:
    model = AE(digits.shape, AE.Options(hidden=(8,), latent_dim=2)).eval()
    before = torch.get_rng_state()
    baseline.measure(model, digits, CPU, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_few_images_have_one_component_less_than_they_are(digits: Dataset) -> None:
    few = dataclasses.replace(digits, train=digits.train.take(slice(30)))
    for latent_dim, components in ((21, 21), (22, 22), (29, 29), (40, 29)):
        model = AE(digits.shape, AE.Options(hidden=(8,), latent_dim=latent_dim)).eval()
        found = baseline.measure(model, few, CPU, 0)
        assert found is not None
        assert found.components == components
        exact = float(pca.fit(few.train, components).squared_error(digits.test).mean())
        assert found.pca == pytest.approx(exact, rel=0.02)


def test_a_code_of_as_many_numbers_as_pixels_is_held_against_the_mean_alone(digits: Dataset) -> None:
    model = AE(digits.shape, AE.Options(hidden=(8,), latent_dim=28 * 28)).eval()
    found = baseline.measure(model, digits, CPU, 0)
    assert found is not None
    assert found.pca is None
    assert 0 < found.mean < found.model


def test_a_gan_and_a_classifier_give_no_images_back(digits: Dataset) -> None:
    for name in ("dcgan", "classifier"):
        assert baseline.measure(small_model(name, digits.shape).eval(), digits, CPU, 0) is None


@pytest.mark.parametrize(
    ("model", "loses_to"),
    [
        (13.8, ["the mean training image", "PCA with 30 components"]),
        (9.0, ["PCA with 30 components"]),
        (1.7, []),  # as a linear autoencoder, which comes near PCA and never beats it
    ],
)
def test_what_a_model_loses_to(model: float, loses_to: list[str]) -> None:
    assert Baseline(model, mean=12.0, pca=1.6, components=30).beaten_by == loses_to


def test_a_model_that_has_learned_nothing_is_told_so_in_one_line_and_in_its_card(
    genkit: Genkit, tmp_path: Path
) -> None:
    outcome = genkit(
        *("train", "conv-ae", "--dataset", "mnist5k", "--image-size", 8, "--labels-per-class", 20, "--epochs", 2),
        *("--batch-size", 128, "--width", 4, "--latent-dim", 8, "--device", "cpu", "--out", tmp_path, "--json"),
    )
    assert outcome.code == 0, outcome.err
    (said,) = [line for line in outcome.err.splitlines() if "given back" in line]
    assert said.startswith("warning: images are given back with a squared error of ")
    assert ": the model loses to " in said
    assert said.endswith(
        "PCA with 8 components; the run has only 2 steps, and what usually helps is more: --epochs 300"
    )
    error = outcome.json["metrics"]["test/squared_error"]
    assert f"squared error of {error:.4g} each" in said
    assert "Images are given back with a squared error of" in (Path(outcome.json["run"]) / "README.md").read_text()
