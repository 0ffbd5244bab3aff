"""A negative loss is explained where it is shown: it is one of a density."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Genkit

from genkit.contract import ImageShape, ability
from genkit.models.ae import AE
from genkit.models.vae import VAE

NOTE = "nats of a density; can be negative"


@pytest.mark.parametrize(("likelihood", "explained"), [("gaussian", True), ("bernoulli", False)])
def test_the_losses_of_a_density_are_called_that(
    genkit: Genkit, tmp_path: Path, likelihood: str, explained: bool
) -> None:
    outcome = genkit(
        *("train", "vae", "--dataset", "mnist5k", "--image-size", 8, "--likelihood", likelihood, "--epochs", 1),
        *(["--sigma", 0.2] if explained else []),
        *("--hidden", 8, "--latent-dim", 2, "--device", "cpu", "--out", tmp_path, "--json"),
    )
    run = Path(outcome.json["run"])
    assert (outcome.json["metrics"]["test/neg_elbo"] < 0) is explained
    assert (f"loss     {NOTE}\n" in outcome.err) is explained
    assert (NOTE in (run / "README.md").read_text()) is explained
    assert (f"note        {NOTE}\n" in genkit("info", run).out) is explained
    assert genkit("info", run, "--json").json["density"] is explained
    assert genkit("report", run).code == 0
    page = (run / "report.html").read_text()
    assert (f"({NOTE}) on its test images" in page) is explained
    assert (f"The losses are {NOTE}." in page) is explained


def test_only_a_likelihood_of_grey_values_themselves_is_a_density() -> None:
    image = ImageShape(1, 8, 8)
    assert ability.tells_density(VAE(image, VAE.Options(likelihood="gaussian", latent_dim=2)))
    for other in (VAE.Options(latent_dim=2), VAE.Options(latent_dim=2, binarize="dynamic")):
        assert not ability.tells_density(VAE(image, other))
    assert not ability.tells_density(AE(image, AE.Options(latent_dim=2)))
