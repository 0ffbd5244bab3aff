"""Probes, on features of which the accuracy is known, and on real digits."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from genkit.data.dataset import Dataset
from genkit.errors import DataError, UsageError
from genkit.evaluate import probe as probes
from genkit.evaluate.probe import leave_one_out, probe

METHODS = ["svm", "knn"]


@pytest.fixture(autouse=True)
def _needs_scikit_learn() -> None:
    pytest.importorskip("sklearn")


def blobs(each: int, classes: int = 4, seed: int = 0, distance: float = 20.0) -> tuple[Tensor, Tensor]:
    """Features about the axes of a space of 6 dimensions, and labels that don't begin at 0, in no order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(each)[torch.randperm(each * classes, generator=generator)]
    features = distance * torch.eye(6)[labels] + torch.randn(len(labels), 6, generator=generator)
    return features + 100, 3 * labels + 2


@pytest.mark.parametrize("method", METHODS)
def test_separate_classes_are_told_apart_by_one_label_each(method: probes.Method) -> None:
    scores = probe(*blobs(12), *blobs(30, seed=1), method)
    assert [score.per_class for score in scores] == [1, 5, 10, 50, 100, None]
    for score in scores[:3]:
        assert score.accuracy == (1, 0, 5)
    assert scores[-1].accuracy == (1, None, 1)
    for score in scores[3:5]:
        assert score.accuracy is None
        assert score.reason.endswith("training images here, only 12 are of the class 2")


def test_any_seed_that_the_command_takes_draws_labels() -> None:
    train, test = blobs(12), blobs(30, seed=1)
    (score,) = probe(*train, *test, "knn", budgets=(1,), seed=2**63 - 1)
    assert score.accuracy is not None


def test_a_class_that_is_too_small_is_named() -> None:
    features, labels = blobs(3, classes=2)
    *_, score = probe(features, labels, features, labels, "knn", budgets=(5,), names=("", "", "cat", "", "", "dog"))
    assert score.reason == "of the 6 training images here, only 3 are of the class cat"


def test_a_budget_is_what_each_class_gets() -> None:
    """Eight of a class around the query and one of another beside it: with one label each, the draw decides nothing."""
    train = torch.cat([torch.zeros(1, 1), torch.linspace(1, 8, 8)[:, None], torch.tensor([[-7.0], [-7.1]])])
    labels = torch.tensor([0] * 9 + [1] * 2)
    queries = torch.linspace(-3.5, 1.5, 501)[:, None]
    (score,) = probe(train, labels, queries, torch.zeros(501).long(), "knn", budgets=(1,), draws=40)
    # The border lies halfway between a label of 1 at about −7 and the one label of 0, each place as likely as another.
    ranks = [int((probes.ranks_in_class(labels, draw)[:9] == 0).nonzero()) for draw in range(40)]
    right = [float((queries[:, 0] > (train[rank, 0] - 7.05) / 2).double().mean()) for rank in ranks]
    assert score.accuracy is not None
    assert score.accuracy.value == pytest.approx(sum(right) / 40, abs=0.015)


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_labels_give_chance(method: probes.Method) -> None:
    features, labels = blobs(50)
    labels = labels[torch.randperm(len(labels))]
    (score,) = probe(features, labels, *blobs(100, seed=1), method, budgets=(20,))
    assert score.accuracy is not None
    # By shuffled labels a blob is given to one class, so a draw's accuracy is rough, and its mean less so.
    assert score.accuracy.value == pytest.approx(0.25, abs=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_constant_features_give_one_classs_share(method: probes.Method) -> None:
    labels = torch.arange(4).repeat(25)
    (score,) = probe(torch.ones(100, 6), labels, torch.ones(100, 6), labels, method, budgets=(5,))
    assert score.accuracy is not None
    assert score.accuracy.value == 0.25


def test_the_same_seed_draws_the_same_images() -> None:
    train, test = blobs(40, distance=2), blobs(50, seed=1, distance=2)
    first, again, other = (probe(*train, *test, "knn", budgets=(1, 5), seed=seed) for seed in (0, 0, 1000))
    assert first == again
    assert first != other
    assert first[0].accuracy is not None
    assert first[0].accuracy.error is not None
    assert first[0].accuracy.error > 0, "each draw is another"


def test_draws_are_balanced_and_nested() -> None:
    labels = torch.tensor([5, 1, 5, 1, 1, 9, 9, 5, 1])
    ranks = probes.ranks_in_class(labels, seed=3)
    for label in (1, 5, 9):
        own = ranks[labels == label]
        assert sorted(own.tolist()) == list(range(len(own)))
    every = torch.stack([probes.ranks_in_class(labels, seed) for seed in range(300)])
    torch.testing.assert_close(
        (every[:, labels == 1] == 0).double().mean(0), torch.full((4,), 0.25).double(), atol=0.1, rtol=0
    )


def test_a_bigger_unit_changes_nothing() -> None:
    (features, labels), (queries, answers) = blobs(40, distance=2), blobs(50, seed=1, distance=2)
    for method in METHODS:
        plain = probe(features, labels, queries, answers, method, budgets=(5,))
        moved = probe(features * 1000 + 50, labels, queries * 1000 + 50, answers, method, budgets=(5,))
        assert plain[0].accuracy is not None
        assert moved[0].accuracy is not None
        assert moved[0].accuracy.value == pytest.approx(plain[0].accuracy.value, abs=0.01)


def test_scaled_training_features_have_length_1_about_their_mean() -> None:
    train, _ = probes.scaled(torch.randn(30, 5) * 7 + 3, torch.randn(4, 5))
    assert float(train.square().sum(1).mean()) == pytest.approx(1)
    assert train.mean(0).abs().max() < 1e-12


def test_equal_votes_go_to_the_nearest() -> None:
    labelled, labels = torch.tensor([[0.0], [1.0], [2.0], [10.0]]), torch.tensor([7, 4, 4, 7])
    assert probes.knn(labelled, labels, torch.tensor([[0.4], [9.0]]), 2).tolist() == [7, 7]
    assert probes.knn(labelled, labels, torch.tensor([[0.4], [9.0]]), 3).tolist() == [4, 4]
    assert probes.knn(labelled, labels, torch.tensor([[0.4], [9.0]]), 4).tolist() == [7, 7]


def test_a_point_doesnt_vote_for_itself() -> None:
    """0 1 0 1 … around a circle: both neighbours of every point are of the other class."""
    angles = torch.arange(10) / 10 * 2 * torch.pi
    points = torch.stack([angles.cos(), angles.sin()], 1)
    assert leave_one_out(points, torch.arange(10) % 2, 1) == 0
    assert leave_one_out(points, torch.arange(10) % 2, 2) == 0
    assert leave_one_out(points, torch.arange(10) // 5, 1) >= 0.8


def test_pixels_of_real_digits(digits: Dataset) -> None:
    """10-NN by scikit-learn is held against ours, and both against what is known of digits."""
    split = digits.train.take(digits.train.spread(1500)[torch.randperm(1500)])
    assert split.labels is not None
    pixels, labels = split.images().flatten(1).float() / 255, split.labels
    from sklearn.neighbors import KNeighborsClassifier

    known, asked = slice(0, 1000), slice(1000, None)
    reference = KNeighborsClassifier(10).fit(pixels[known].numpy(), labels[known].numpy())
    theirs = torch.from_numpy(reference.predict(pixels[asked].numpy()))
    ours = probes.knn(pixels[known], labels[known], pixels[asked], 10)
    top = torch.from_numpy(reference.predict_proba(pixels[asked].numpy())).topk(2).values
    decided = top[:, 0] > top[:, 1]
    assert decided.double().mean() > 0.9
    assert torch.equal(ours[decided], theirs[decided]), "they may differ only where votes are equal"
    assert 0.87 < leave_one_out(pixels, labels) < 0.93
    one, fifty = probe(pixels[known], labels[known], pixels[asked], labels[asked], "svm", budgets=(1, 50), draws=3)
    assert one.accuracy is not None
    assert fifty.accuracy is not None
    assert 0.3 < one.accuracy.value < 0.6
    assert 0.78 < fifty.accuracy.value < 0.9


def test_a_missing_package_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(UsageError, match=r"needs scikit-learn: pip install scikit-learn"):
        probe(*blobs(5), *blobs(5), "svm", budgets=(1,))
    assert probe(*blobs(5), *blobs(5), "knn", budgets=(1,))[0].accuracy is not None


def test_features_that_cant_be_probed_are_refused() -> None:
    features, labels = blobs(5)
    with pytest.raises(DataError, match="all training images are of one"):
        probe(features, torch.zeros_like(labels), features, labels, "knn")
    with pytest.raises(DataError, match="aren't finite"):
        probe(features / 0 * 0, labels, features, labels, "knn")
    with pytest.raises(DataError, match="images or more, not 0"):
        probe(features, labels, features[:0], labels[:0], "knn")
    with pytest.raises(DataError, match="none has 20 neighbours"):
        leave_one_out(features, labels, 20)
