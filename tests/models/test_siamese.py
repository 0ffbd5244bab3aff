"""Siamese networks: the contrastive loss against loops over pairs, what is asked of images, and what a run gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit, small_model

from genkit.contract import Batch, Fault, ImageShape
from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError
from genkit.models._metric import distances_of, pairs_of
from genkit.models.siamese import Siamese, contrastive
from genkit.models.triplet import Triplet

IMAGE = ImageShape(1, 12, 12)


@pytest.mark.parametrize("margin", [0.5, 1.0, 4.0])
def test_the_contrastive_loss_is_that_of_loops_over_all_pairs(margin: float) -> None:
    torch.manual_seed(0)
    codes, labels = torch.randn(20, 3, dtype=torch.float64), torch.randint(4, (20,))
    same, other = [], []
    for i in range(20):
        for j in range(i):
            distance = float((codes[i] - codes[j]).square().sum().sqrt())
            if labels[i] == labels[j]:
                same.append(distance**2 / 2)
            else:
                other.append(max(0.0, margin - distance) ** 2 / 2)
    found = contrastive(distances_of(codes), *pairs_of(labels), margin)
    assert found.item() == pytest.approx(sum(same) / len(same) + sum(other) / len(other), rel=1e-12)


def test_two_pairs_in_closed_form() -> None:
    """Two images of one class at a distance of 3, and a third at 4 from the one and 5 from the other."""
    codes = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    distances, (same, other) = distances_of(codes), pairs_of(torch.tensor([7, 7, 1]))
    assert contrastive(distances, same, other, 1.0).item() == pytest.approx(9 / 2)
    assert contrastive(distances, same, other, 5.0).item() == pytest.approx(9 / 2 + (1 + 0) / 2 / 2)
    found = Siamese(IMAGE, Siamese.Options(width=2)).of_distances(distances, same, other)
    assert (found["same_class"].item(), found["other_class"].item()) == (3, 4.5)


def test_where_codes_coincide_gradients_are_finite_and_the_loss_is_half_the_margin_squared() -> None:
    codes = torch.ones(6, 2, requires_grad=True)
    loss = contrastive(distances_of(codes), *pairs_of(torch.arange(6) // 2), 3.0)
    assert loss.item() == 4.5
    loss.backward()
    assert codes.grad is not None
    assert codes.grad.isfinite().all()


@pytest.mark.parametrize("labels", [[0], [0, 0, 0], [0, 1, 2]], ids=["one image", "one class", "no two of one"])
def test_a_batch_without_pairs_of_a_kind_is_told_by_the_others(labels: list[int]) -> None:
    model = Siamese(IMAGE, Siamese.Options(width=2)).eval()
    images = torch.rand(len(labels), *IMAGE)
    loss = model.losses(Batch(images, torch.tensor(labels), torch.tensor(0.5)))["loss"]
    loss.backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())
    assert loss.isfinite()
    assert (loss.item() == 0) == (len(labels) == 1)


def test_a_collapse_is_told() -> None:
    model = Siamese(IMAGE, Siamese.Options(width=2, margin=0.5))
    fault = model.watch([{"spread": 1.0}, {"spread": 0.049}])["collapse"]
    assert isinstance(fault, Fault)
    assert fault.helps == ["--latent-dim 16", "a lower --lr (it is 0.003)"]
    assert not model.watch([{"spread": 0.049}, {"spread": 0.051}])


def images_of(labels: list[int] | None, classes: str = "ab") -> Dataset:
    numbers = None if labels is None else torch.tensor(labels)
    split = Split(torch.zeros(4, *IMAGE, dtype=torch.uint8), torch.arange(4), numbers)
    return Dataset("some", split, split, split, tuple(classes) if labels is not None else ())


@pytest.mark.parametrize("kind", [Siamese, Triplet])
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (None, "some has no labels, which say what is alike; give a folder with a folder for each class"),
        ([1, 1, 1, 1], "some: all training images are of the class b; give at least two classes"),
        ([0, 1, 2, 3], "some: no two training images are of one class; give several of each"),
    ],
)
def test_images_that_make_no_pairs_are_refused_in_a_line(kind: type, labels: list[int] | None, said: str) -> None:
    with pytest.raises(DataError) as refused:
        kind.options_for(kind.Options(), images_of(labels, "abcd"))
    assert str(refused.value) == said
    given = kind.Options()
    assert kind.options_for(given, images_of([0, 0, 1, 1])) is given


@pytest.mark.usefixtures("quick_evaluation")
def test_a_run_is_evaluated_and_begun_with(genkit: Genkit, tmp_path: Path, digits: Dataset) -> None:
    """What would need a decoder is refused in a line."""
    some, path = digits.train.take(digits.train.spread(300)), tmp_path / "digits.npz"
    assert some.labels is not None
    np.savez(path, images=some.images().numpy(), labels=some.labels.numpy())
    common = ["--dataset", path, "--width", "2", "--epochs", "2", "--device", "cpu", "--out", tmp_path]
    run = genkit("train", "siamese", *common, "--batch-size", "40", "--json").json
    assert run["metrics"].keys() >= {"test/loss", "test/knn_error", "test/spread", "test/same_class"}
    assert json.loads((Path(run["checkpoint"]) / "checkpoint.json").read_text())["monitor"] == "knn_error"
    figures = genkit("evaluate", run["run"], "--only", "representation", "--json")
    assert figures.code == 0, figures.err
    tuned = genkit("train", "classifier", *common, "--init-from", run["run"], "--json")
    assert tuned.code == 0, tuned.err
    refused = genkit("sample", run["run"])
    assert (refused.code, "makes no images" in refused.err) == (2, True)


def test_a_classifier_has_a_bottleneck_of_its_own() -> None:
    model = small_model("classifier", IMAGE, width=2, bottleneck=2).eval()
    images = torch.rand(3, *IMAGE)
    assert model.features(images).shape == (3, 2)
    assert model(images).shape == (3, 10)  # type: ignore[operator]
    assert "narrow" not in "".join(small_model("classifier", IMAGE, width=2).state_dict())
