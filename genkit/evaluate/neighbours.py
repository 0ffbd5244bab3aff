"""Nearest neighbours among features: exact, a block at a time, so that memory doesn't grow with the square of N."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from genkit.errors import DataError
from genkit.evaluate.estimate import compared
from genkit.wording import counted

#: Numbers held in memory at once: 128 MiB of float64.
BLOCK = 1 << 24
#: The share of |a|² + |b|² by which rounding may make |a − b|² too large when it is taken through a matrix product.
ROUNDING = 1e-13


class Neighbours(NamedTuple):
    """The nearest points of each query, the nearest first.

    Attributes:
        indices: int64 (N, k), rows of the points.
        distances: float64 (N, k), Euclidean, in the features' unit.
    """

    indices: Tensor
    distances: Tensor


def nearest(queries: Tensor, points: Tensor, k: int = 1, itself: bool = False) -> Neighbours:
    """The k nearest points (M, F) of each query (N, F), by Euclidean distance. Which of equally near ones is open.

    Args:
        itself: the queries are the points, row by row, and none is its own neighbour. Its twins are.

    Raises:
        DataError: when there are fewer than k points to be found, or some features aren't finite.
    """
    queries, points = compared(queries, points, fewest=1)
    if len(points) - itself < k:
        raise DataError(
            f"of {counted(len(points), 'image')} none has {counted(k, 'neighbour')}; use a larger split or more samples"
        )
    indices, distances = [], []
    for positions, squared in squared_distances(queries, points, at_once=k * points.shape[1]):
        if itself:
            squared[torch.arange(len(positions)), positions] = math.inf
        found = squared.topk(k, largest=False).indices
        # Once more without a matrix product, after which twins are at a distance of exactly 0.
        exact = (points[found] - queries[positions, None]).square().sum(2).sqrt()
        exact, order = exact.sort(stable=True)
        indices.append(found.gather(1, order))
        distances.append(exact)
    return Neighbours(torch.cat(indices), torch.cat(distances))


def squared_distances(queries: Tensor, points: Tensor, at_once: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Squared distances of float64 queries (N, F) from points (M, F), a block of queries at a time.

    They are taken through a matrix product, which is eight times as fast as the differences, and are then lowered by
    as much as that may be wrong: what is at most r away is never found to be farther. Equal points may come out at a
    hair below 0.

    Args:
        at_once: numbers that the caller will hold for each query; blocks are smaller where it is more than M.

    Yields:
        The queries' positions (B,), and (B, M).
    """
    # About the points' mean, or an offset that all features share would drown their differences.
    centre = points.mean(0)
    queries, points = queries - centre, points - centre
    lengths, own = points.square().sum(1) * (1 - ROUNDING), queries.square().sum(1) * (1 - ROUNDING)
    for positions in torch.arange(len(queries)).split(max(1, BLOCK // max(len(points), at_once))):
        squared = torch.addmm(lengths, queries[positions], points.T, alpha=-2)
        yield positions, squared.add_(own[positions, None])
