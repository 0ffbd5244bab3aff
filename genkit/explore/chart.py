"""A map of codes in two dimensions: where a code lies, and which code belongs to a place between the points."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from genkit.latent.projection import PrincipalAxes, Projection

#: Points from which the code of a place between them is averaged.
NEIGHBOURS = 8

SEEDS_NOTE = (
    f"the mean of the {NEIGHBOURS} nearest seeds' codes, weighted by 1/distance and brought back to the length that "
    "those have; the map shows what the discriminator sees in their images"
)


class Chart(Protocol):
    """A map.

    Attributes:
        method: `native`, `pca` or `tsne`.
        points: float64 (N, 2).
        axes: the names of x and y, None where positions along an axis mean nothing.
        note: which code belongs to a place, in words that follow "under the cursor:".
    """

    @property
    def method(self) -> str: ...
    @property
    def points(self) -> Tensor: ...
    @property
    def axes(self) -> tuple[str, str] | None: ...
    @property
    def note(self) -> str: ...

    def code_at(self, places: Tensor) -> Tensor:
        """The codes (M, D) that belong to places, float64 (M, 2)."""
        ...

    def place(self, traits: Tensor) -> Tensor:
        """Where (M, F), of the kind of which the map was made, lie: float64 (M, 2)."""
        ...


class Flat(NamedTuple):
    """A map that is a plane through the space of codes: code = mean + x · axis 1 + y · axis 2.

    Attributes:
        mean: float64 (D,).
        directions: float64 (D, 2), orthonormal columns; a second one of zeros where D is 1.
    """

    method: str
    points: Tensor
    axes: tuple[str, str] | None
    note: str
    mean: Tensor
    directions: Tensor

    @classmethod
    def native(cls, points: Tensor, latent_dim: int) -> Flat:
        note = "the two numbers of the code are the place itself"
        if latent_dim == 1:
            note = "the code is one number, which is x"
        identity = torch.eye(latent_dim, 2, dtype=torch.float64)
        return cls("native", points, ("latent 1", "latent 2"), note, identity.new_zeros(latent_dim), identity)

    @classmethod
    def pca(cls, points: Tensor, axes: tuple[str, str] | None, principal: PrincipalAxes) -> Flat:
        note = (
            "mean code + x · axis 1 + y · axis 2, the back-projection of PCA; along all other axes the code is average "
            f"({1 - sum(principal.shares):.0%} of the variance isn't on this map)"
        )
        return cls("pca", points, axes, note, principal.mean.double(), principal.axes.double())

    def code_at(self, places: Tensor) -> Tensor:
        return self.mean + places @ self.directions.T

    def place(self, traits: Tensor) -> Tensor:
        return (traits.double() - self.mean) @ self.directions


class Scattered:
    """A map without a way back, as t-SNE's: between its points both ways are averages over the nearest points.

    Args:
        points: float64 (N, 2).
        codes: (N, D), the points'.
        traits: (N, F), of what the map was made; their distances say which points are near a code.
        note: which code belongs to a place; by default their mean.
        centre: (D,) about which an averaged code is brought back to its neighbours' length: a mean of codes that point
            in different directions is shorter than any of them, and a decoder has never seen such. None leaves it.
        flat: the points are the traits' first two numbers, so that the way there is known.
    """

    def __init__(
        self,
        points: Tensor,
        codes: Tensor,
        traits: Tensor,
        projection: Projection,
        note: str = f"the mean of the {NEIGHBOURS} nearest points' codes, weighted by 1/distance",
        centre: Tensor | None = None,
        flat: bool = False,
    ):
        self.method, self.axes, self.note = projection.method, projection.axes, note
        self.points, self.codes, self.traits, self.centre, self.flat = points, codes, traits, centre, flat

    def code_at(self, places: Tensor) -> Tensor:
        weights, found = weighted(places, self.points)
        codes = self.codes[found].double()
        mean = (weights[:, :, None] * codes).sum(1)
        if self.centre is None:
            return mean
        offset = mean - self.centre
        lengths = (weights * (codes - self.centre).norm(dim=2)).sum(1, keepdim=True)
        return self.centre + offset * lengths / offset.norm(dim=1, keepdim=True).clamp(min=1e-12)

    def place(self, traits: Tensor) -> Tensor:
        if self.flat:
            return traits[:, :2].double()
        weights, found = weighted(traits, self.traits)
        return (weights[:, :, None] * self.points[found]).sum(1)


def nearest(queries: Tensor, points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The distances (M, count') of queries (M, F) to the nearest of points (N, F), and which these are.

    `count'` is `count`, or N where there are fewer.
    """
    # The faster way through a matrix product doesn't give a point's distance to itself as 0.
    distances = torch.cdist(queries.to(points), points, compute_mode="donot_use_mm_for_euclid_dist")
    found = distances.topk(min(count, len(points)), largest=False)
    return found.values, found.indices


def weighted(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Weights by 1/distance, which sum to 1, of the points nearest to queries (M, F), and which these are.

    Both are (M, NEIGHBOURS). A query that lies on points has those alone.
    """
    distances, found = nearest(queries, points, NEIGHBOURS)
    distances = distances.double()
    on_it = (distances == 0).double()
    weights = torch.where(on_it.any(1, keepdim=True), on_it, 1 / distances)
    return weights / weights.sum(1, keepdim=True), found
