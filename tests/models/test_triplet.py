"""Triplet networks: mining against loops over all triplets, gradients where codes coincide, and a collapse told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Genkit
from torch import Tensor

from genkit.contract import Batch, Fault, ImageShape
from genkit.models._metric import distances_of, pairs_of
from genkit.models.triplet import Triplet

IMAGE = ImageShape(1, 12, 12)
MINING = ("all", "semi-hard", "hard")


def model_with(**options: object) -> Triplet:
    return Triplet(IMAGE, Triplet.Options(width=2, **options))


def by_loops(codes: Tensor, labels: Tensor, mining: str, margin: float) -> tuple[float, float]:
    """The mean loss of the triplets that have one, and their share of all that count, one triplet at a time."""

    def apart(i: int, j: int) -> float:
        return float((codes[i] - codes[j]).square().sum().sqrt())

    every = range(len(codes))
    losses, count = [], 0
    for anchor in every:
        same = [apart(anchor, i) for i in every if i != anchor and labels[i] == labels[anchor]]
        other = [apart(anchor, i) for i in every if labels[i] != labels[anchor]]
        pairs = [(d, n) for d in same for n in other]
        if mining == "semi-hard":
            pairs = [(d, n) for d, n in pairs if n > d]
        if mining == "hard" and pairs:
            pairs = [(max(same), min(other))]
        count += len(pairs)
        losses += [d - n + margin for d, n in pairs if d - n + margin > 0]
    return sum(losses) / max(1, len(losses)), len(losses) / max(1, count)


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("apart", [0.0, 2.0, 5.0])
def test_mining_is_that_of_loops_over_all_triplets(mining: str, apart: float) -> None:
    """Of classes of unequal sizes, one of a single image, at first in one heap and then each in its own."""
    torch.manual_seed(0)
    labels = torch.tensor([0] * 11 + [1] * 7 + [2] * 5 + [3])[torch.randperm(24)]
    codes = torch.randn(24, 2, dtype=torch.float64) + apart * labels[:, None]
    model = model_with(mining=mining, margin=0.7)
    found = model.of_distances(distances_of(codes), *pairs_of(labels))
    loss, active = by_loops(codes, labels, mining, 0.7)
    assert 0 < active < 1 or apart < 5
    assert found["loss"].item() == pytest.approx(loss, rel=1e-9)
    assert found["active"].item() == pytest.approx(active, rel=1e-6)


@pytest.mark.parametrize("mining", MINING)
def test_its_gradient_is_that_of_the_loss(mining: str) -> None:
    torch.manual_seed(1)
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 2, 2])
    model = model_with(mining=mining)

    def loss(codes: Tensor) -> Tensor:
        return model.of_distances(distances_of(codes), *pairs_of(labels))["loss"]

    assert torch.autograd.gradcheck(loss, torch.randn(8, 2, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("mining", MINING)
def test_where_codes_coincide_gradients_are_finite_and_the_loss_is_the_margin(mining: str) -> None:
    labels = torch.tensor([0, 0, 1, 1, 2])
    for codes in (torch.zeros(5, 2), torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])):
        codes.requires_grad_(True)
        found = model_with(mining=mining, margin=2.0).of_distances(distances_of(codes), *pairs_of(labels))
        found["loss"].backward()
        assert codes.grad is not None
        assert codes.grad.isfinite().all()
        if not codes.detach().any() and mining != "semi-hard":  # whose triplets are in the right order
            assert found["loss"].item() == 2.0
            assert found["active"].item() == 1.0


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("labels", [[0], [0, 0, 0], [0, 1, 2]], ids=["one image", "one class", "no two of one"])
def test_a_batch_without_a_triplet_has_a_loss_of_0_and_moves_nothing(mining: str, labels: list[int]) -> None:
    model = model_with(mining=mining).eval()
    found = model.losses(Batch(torch.rand(len(labels), *IMAGE), torch.tensor(labels), torch.tensor(0.5)))
    assert (found["loss"].item(), found["active"].item()) == (0, 0)
    found["loss"].backward()
    assert all(each.grad is not None and not each.grad.any() for each in model.parameters())


def test_a_collapse_is_told_with_what_helps() -> None:
    fault = model_with(mining="hard", margin=2.0).watch([{"loss": 2.0, "spread": 0.19}])["collapse"]
    assert isinstance(fault, Fault)
    assert fault.shows == "the codes are 0.19 from their mean, with a margin of 2, and so all alike"
    assert fault.helps == ["--mining all", "--latent-dim 16", "a lower --lr (it is 0.003)"]
    for fault in model_with(latent_dim=16).watch([{"spread": 0.01}]).values():
        assert isinstance(fault, Fault)
        assert fault.helps == ["a lower --lr (it is 0.003)"]
    assert not model_with(margin=2.0).watch([{"loss": 2.0, "spread": 0.21}])
    assert not model_with().watch([{"loss": 1.0}]), "of a single image nothing is said"


def test_hard_triplets_draw_a_plane_into_a_point_and_the_run_says_so(genkit: Genkit, tmp_path: Path) -> None:
    """What `all` of the same batches doesn't do."""
    common = ["train", "triplet", "--dataset", "mnist5k", "--width", "2", "--steps", "60", "--device", "cpu"]
    hard = genkit(*common, "--mining", "hard", "--out", tmp_path)
    assert hard.code == 0, hard.err
    assert "collapse: the codes are 0.0" in hard.err
    every = genkit(*common, "--out", tmp_path, "--json")
    assert "collapse" not in every.err
    assert every.json["metrics"]["test/spread"] > 1
    assert every.json["metrics"]["test/knn_error"] < 0.5
