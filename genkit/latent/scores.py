"""How far are the classes apart among points, in a plane and elsewhere?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genkit.wording import counted

#: Distances held in memory at once: 128 MiB of float64.
DISTANCES = 1 << 24


def separation(
    points: NDArray[np.floating], labels: Tensor | None, pictures: Tensor | None = None, k: int = 10
) -> dict[str, Any]:
    """How well the points (N, 2) tell the classes (int64 (N,)) apart.

    Args:
        pictures: int64 (N,), equal for equal images only, as `Split.fingerprints`. Where it is given, copies of an
            image are one point, of the class that most of them have (of several, the first): a copy is no neighbour
            that tells anything of its class.

    Returns:
        n: how many points.
        copies: how many more there were, of the same images.
        k: how many neighbours vote.
        knn_accuracy: share of the points whose class is that of most of their k nearest neighbours, themselves not
            counted. Points at the same distance as the k-th share the votes that are left, so the order of the points
            doesn't matter; classes with equally many votes go by their number, as in scikit-learn.
        silhouette: the mean over points of (b - a) / max(a, b), with a the mean distance to the point's own class and b
            that to the nearest other one (Rousseeuw 1987); 0 for a point that is alone in its class.
        note: why one of these is None; only where one is.
    """
    everything = len(points)
    if pictures is not None:
        points, labels = _without_copies(points, labels, pictures)
    copies = everything - len(points)
    result: dict[str, Any] = {"n": len(points), "copies": copies, "k": k, "knn_accuracy": None, "silhouette": None}
    if labels is None:
        return {**result, "note": "the data has no labels"}
    present, classes = labels.cpu().unique(return_inverse=True)
    if len(present) < 2:
        return {**result, "note": "fewer than 2 classes"}
    votes_right, silhouettes = [], []
    coordinates = torch.from_numpy(np.asarray(points, np.float64))
    membership = torch.nn.functional.one_hot(classes).double()
    for positions in torch.arange(len(points)).split(max(1, DISTANCES // len(points))):
        # The faster way through a matrix product makes distances of equal points unequal.
        distances = torch.cdist(coordinates[positions], coordinates, compute_mode="donot_use_mm_for_euclid_dist")
        silhouettes.append(_silhouettes(distances, classes[positions], membership))
        distances[torch.arange(len(positions)), positions] = math.inf
        if len(points) > k:
            votes_right.append(_vote(distances, membership, k) == classes[positions])
    result["silhouette"] = torch.cat(silhouettes).mean().item()
    if not votes_right:
        return {**result, "note": f"of {counted(len(points), 'point')} none has {counted(k, 'neighbour')}"}
    result["knn_accuracy"] = torch.cat(votes_right).double().mean().item()
    return result


def knn_error(points: Tensor, labels: Tensor, k: int = 10) -> float:
    """Share of points (N, D), in [0, 1], whose class (int64 (N,)) isn't that of most of their k nearest others.

    As `separation` counts them, of any number of dimensions. Where there are no k others, all of them vote; a point
    that is alone counts as wrong.
    """
    _, classes = labels.cpu().unique(return_inverse=True)
    points, k = points.cpu().double(), min(k, len(points) - 1)
    if k < 1:
        return 1.0
    membership = torch.nn.functional.one_hot(classes).double()
    wrong = []
    for positions in torch.arange(len(points)).split(max(1, DISTANCES // len(points))):
        distances = torch.cdist(points[positions], points, compute_mode="donot_use_mm_for_euclid_dist")
        distances[torch.arange(len(positions)), positions] = math.inf
        wrong.append(_vote(distances, membership, k) != classes[positions])
    return torch.cat(wrong).double().mean().item()


def _without_copies(
    points: NDArray[np.floating], labels: Tensor | None, pictures: Tensor
) -> tuple[NDArray[np.floating], Tensor | None]:
    """One point a picture, and its class."""
    _, first, picture_of = np.unique(pictures.numpy(), return_index=True, return_inverse=True)
    if len(first) == len(points):
        return points, labels
    if labels is None:
        return points[first], None
    present, classes = labels.cpu().unique(return_inverse=True)
    votes = torch.zeros(len(first), len(present)).index_put_(
        (torch.from_numpy(picture_of), classes), torch.ones(len(classes)), accumulate=True
    )
    return points[first], present[votes.argmax(1)]


def _vote(distances: Tensor, membership: Tensor, k: int) -> Tensor:
    """The class (B,) that the k nearest of N points vote for, given distances (B, N) and membership (N, classes)."""
    values, nearest = distances.topk(k, largest=False)
    farthest = values[:, -1:]
    votes = membership[nearest].sum(1)
    # Rarely more points than k are as near as the k-th; only then do all of them have to be asked.
    crowded = (distances <= farthest).sum(1) > k
    if crowded.any():
        distances, farthest = distances[crowded], farthest[crowded]
        closer, tied = (distances < farthest).double(), (distances == farthest).double()
        share = (k - closer.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)
        votes[crowded] = (closer + share * tied) @ membership
    return votes.argmax(1)


def _silhouettes(distances: Tensor, own: Tensor, membership: Tensor) -> Tensor:
    """Each point's silhouette (B,), given its distances to all points (B, N), itself among them at 0."""
    sizes = membership.sum(0)
    sums = distances @ membership
    inside = sums.gather(1, own[:, None])[:, 0] / (sizes[own] - 1).clamp(min=1)
    outside = (sums / sizes).scatter(1, own[:, None], math.inf).amin(1)
    larger = torch.maximum(inside, outside)
    return torch.where((sizes[own] > 1) & (larger > 0), (outside - inside) / larger, 0.0)
