from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from genkit.data.dataset import Dataset
from genkit.latent import projection, scores


def test_a_point_doesnt_vote_for_itself() -> None:
    # 0 1 0 1 ... around a circle: both neighbours of every point are of the other class.
    angles = torch.arange(10) / 10 * 2 * math.pi
    points = torch.stack([angles.cos(), angles.sin()], 1).numpy()
    assert scores.separation(points, torch.arange(10) % 2, k=2)["knn_accuracy"] == 0
    # 0 0 0 0 0 1 1 1 1 1: each point has a neighbour of its own class, and the lower class wins the ties of four.
    assert scores.separation(points, torch.arange(10) // 5, k=2)["knn_accuracy"] == 0.8


def test_equally_distant_points_share_votes_so_order_doesnt_matter() -> None:
    # The point at the origin has four neighbours at distance 1, three of them of class 1, and k asks for two.
    points = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [50, 0], [51, 0], [50, 1]], float)
    labels = torch.tensor([1, 1, 0, 1, 1, 0, 0, 0])
    accuracies = set()
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(8)
        accuracies.add(scores.separation(points[order], labels[order], k=2)["knn_accuracy"])
    # Wrong is only the one point of class 0 among those of class 1.
    assert accuracies == {7 / 8}


def test_tied_points_have_no_more_votes_than_are_left() -> None:
    distances = torch.tensor([[math.inf, 0.5, 0.5, 2, 2, 2]])
    membership = torch.nn.functional.one_hot(torch.tensor([1, 1, 1, 0, 0, 0])).double()
    assert scores._vote(distances, membership, k=3).tolist() == [1]
    assert scores._vote(distances, membership, k=5).tolist() == [0]


def test_twins_are_nearest_however_far_from_the_origin() -> None:
    points = 1e6 + np.repeat(np.arange(20.0), 2)[:, None] * [1e-3, 0]
    assert scores.separation(points, torch.arange(40) // 2 % 2, k=1)["knn_accuracy"] == 1


def test_equally_many_votes_go_to_the_lower_class() -> None:
    points = np.array([[0, 0], [1, 0], [2, 0]], float)
    # The two others have a vote each. Where these differ, class 0 wins: right for the two points of class 0 ...
    assert scores.separation(points, torch.tensor([0, 0, 1]), k=2)["knn_accuracy"] == pytest.approx(2 / 3)
    # ... and wrong for the two points of class 1.
    assert scores.separation(points, torch.tensor([0, 1, 1]), k=2)["knn_accuracy"] == 0


def test_silhouette_in_closed_form() -> None:
    # Two pairs: a = 2 within a pair; the distances to the other one are 10 and 12, or 8 and 10.
    points = np.array([[0, 0], [2, 0], [10, 0], [12, 0]], float)
    expected = ((11 - 2) / 11 + (9 - 2) / 9) / 2
    found = scores.separation(points, torch.tensor([5, 5, 2, 2]))
    assert found["silhouette"] == pytest.approx(expected)
    # A class of one counts 0.
    alone = scores.separation(np.vstack([points[:2], points[2:3]]), torch.tensor([0, 0, 1]))["silhouette"]
    assert alone == pytest.approx(((10 - 2) / 10 + (8 - 2) / 8) / 3)


def test_scores_agree_with_scikit_learn_on_digits(
    pixels: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, neighbours = pytest.importorskip("sklearn.metrics"), pytest.importorskip("sklearn.neighbors")
    points = projection.project(pixels).points
    nearest = neighbours.NearestNeighbors(n_neighbors=10).fit(points).kneighbors(return_distance=False)
    votes = np.stack([np.bincount(row, minlength=10) for row in labels.numpy()[nearest]])
    expected = {
        "n": 400,
        "copies": 0,
        "k": 10,
        "knn_accuracy": (votes.argmax(1) == labels.numpy()).mean(),
        "silhouette": pytest.approx(metrics.silhouette_score(points, labels)),
    }
    assert scores.separation(points, labels) == expected
    monkeypatch.setattr(scores, "DISTANCES", 3 * 400)  # three points at a time, and one at the end
    assert scores.separation(points, labels) == expected


def test_scores_that_make_no_sense_are_left_out_and_say_why() -> None:
    points = np.random.default_rng(0).normal(size=(8, 2))
    halves = torch.arange(8) % 2
    none = {"n": 8, "copies": 0, "k": 10, "knn_accuracy": None, "silhouette": None}
    assert scores.separation(points, None) == {**none, "note": "the data has no labels"}
    assert scores.separation(points, torch.full((8,), 3)) == {**none, "note": "fewer than 2 classes"}
    few = scores.separation(points, halves)
    assert few["knn_accuracy"] is None
    assert few["silhouette"] is not None
    assert few["note"] == "of 8 points none has 10 neighbours"
    assert scores.separation(points, halves, k=8)["knn_accuracy"] is None
    assert scores.separation(points, halves, k=7)["knn_accuracy"] is not None


def test_collapsed_codes_score_nothing() -> None:
    found = scores.separation(np.zeros((40, 2)), torch.arange(40) % 4)
    assert found["silhouette"] == 0
    assert found["knn_accuracy"] == 0  # of the others, one fewer is of a point's own class than of each other one


def test_copies_of_an_image_are_one_point() -> None:
    """80 points of 4 images: each one's ten nearest were its own copies, and all were right."""
    points = np.repeat([[0, 0], [2, 0], [10, 0], [12, 0]], 20, axis=0).astype(float)
    pictures, labels = torch.arange(4).repeat_interleave(20), torch.tensor([5, 5, 2, 2]).repeat_interleave(20)
    assert scores.separation(points, labels)["knn_accuracy"] == 1
    found = scores.separation(points, labels, pictures)
    silhouette = pytest.approx(((11 - 2) / 11 + (9 - 2) / 9) / 2)
    note = "of 4 points none has 10 neighbours"
    assert found == {"n": 4, "copies": 76, "k": 10, "knn_accuracy": None, "silhouette": silhouette, "note": note}
    # The nearest other image is of a point's own class, the next one isn't, and of two votes the lower class wins.
    assert scores.separation(points, labels, pictures, k=1)["knn_accuracy"] == 1
    assert scores.separation(points, labels, pictures, k=2)["knn_accuracy"] == 0.5
    for seed in range(3):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(80))
        again = scores.separation(points[order.numpy()], labels[order], pictures[order], k=2)
        assert again == scores.separation(points, labels, pictures, k=2)


def test_other_images_at_the_same_point_are_neighbours() -> None:
    """What are copies is said by the images: a model that gives two of them one code isn't spared the score."""
    points = np.repeat([[0, 0], [5, 0]], 2, axis=0).astype(float)
    labels = torch.tensor([0, 1, 0, 1])
    assert scores.separation(points, labels, torch.tensor([7, 7, 7, 8]), k=1)["n"] == 2
    assert scores.separation(points, labels, torch.arange(4), k=1) == scores.separation(points, labels, k=1)
    assert scores.separation(points, labels, k=1)["knn_accuracy"] == 0


def test_copies_with_different_labels_are_of_the_commonest() -> None:
    points = np.array([[0, 0], [0, 0], [0, 0], [1, 0], [1, 0]], float)
    pictures = torch.tensor([4, 4, 4, 1, 1])
    assert scores.separation(points, torch.tensor([1, 0, 1, 1, 1]), pictures, k=1)["note"] == "fewer than 2 classes"
    assert scores.separation(points, torch.tensor([1, 0, 0, 1, 1]), pictures, k=1)["knn_accuracy"] == 0
    assert scores.separation(points, None, pictures)["copies"] == 3


def test_pca_of_mnist_scores_what_it_is_known_to(mnist: Dataset) -> None:
    """PCA's 2-D codes of t10k are known to give 0.449, which is met with both components scaled to unit variance."""
    assert mnist.test.labels is not None
    points = projection.project(mnist.test.images().flatten(1).float() / 255).points
    assert scores.separation(points, mnist.test.labels)["knn_accuracy"] == pytest.approx(0.4462, abs=2e-4)
    scaled = points / points.std(0)
    assert scores.separation(scaled, mnist.test.labels)["knn_accuracy"] == pytest.approx(0.4492, abs=2e-4)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_error_of_neighbours_is_what_their_accuracy_lacks(k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (60,), generator=generator) * 3
    points = torch.randn(60, 2, generator=generator) + labels[:, None] / 3
    accuracy = scores.separation(points.double().numpy(), labels, k=k)["knn_accuracy"]
    assert 0.1 < scores.knn_error(points, labels, k) == pytest.approx(1 - accuracy)


def test_where_neighbours_are_few_all_of_them_vote() -> None:
    line = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    # Each of the three has two of its own among three others; the fourth has none.
    assert scores.knn_error(line, torch.tensor([5, 5, 5, 2])) == 0.25
    assert scores.knn_error(line[:1], torch.tensor([5])) == 1
    # As many copies as vote, at a distance of 0 that rounding doesn't change.
    twins = torch.tensor([[1e4, 1.0]] * 3 + [[1e4, 1.001]] * 3)
    assert scores.knn_error(twins, torch.tensor([0] * 3 + [1] * 3), 2) == 0
