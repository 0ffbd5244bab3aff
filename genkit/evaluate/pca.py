"""Principal component analysis of images: what an autoencoder is held against."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data.dataset import Split
from genkit.evaluate.subject import progress
from genkit.step.passes import evaluation_batch


class Components(NamedTuple):
    """The first principal axes of a split's images.

    Attributes:
        mean: (P,) float64, of pixels in [0, 1].
        axes: (P, components) float64, orthonormal columns, the strongest first.
    """

    mean: Tensor
    axes: Tensor

    def codes(self, split: Split) -> Tensor:
        """The coordinates of a split's images along the axes: (N, components) float64."""
        return torch.cat([(pixels - self.mean) @ self.axes for pixels in flat(split)])

    def images(self, codes: Tensor) -> Tensor:
        """Pixels (N, P), not clipped, of codes (N, components)."""
        return self.mean + codes.double() @ self.axes.T

    def squared_error(self, split: Split) -> Tensor:
        """Of each image's reconstruction, summed over its pixels, which aren't clipped: (N,)."""
        return torch.cat(
            [(pixels - self.images((pixels - self.mean) @ self.axes)).square().sum(1) for pixels in flat(split)]
        )


def fit(split: Split, components: int) -> Components:
    """The mean of a split's images and their first principal axes, by the eigenvectors of their covariance.

    Sums and products of the pixels' whole numbers are added up batch by batch. They are exact in double precision, and
    so it doesn't matter that their difference is small.
    """
    numbers = split.storage[0].numel()
    total = torch.zeros(numbers, dtype=torch.float64)
    products = torch.zeros(numbers, numbers, dtype=torch.float64)
    with progress("PCA", len(split)) as bar:
        for positions in torch.arange(len(split)).split(2048):
            pixels = split.images(positions).flatten(1).double()
            total += pixels.sum(0)
            products.addmm_(pixels.T, pixels)
            bar.update(len(positions))
    mean = total / len(split)
    covariance = products / len(split) - torch.outer(mean, mean)
    return Components(mean / 255, torch.linalg.eigh(covariance).eigenvectors[:, -components:].flip(1))


def flat(split: Split) -> Iterator[Tensor]:
    """A split's images as rows of pixels in [0, 1], float64 (B, P), block by block."""
    size = 10 * evaluation_batch(ImageShape(*split.storage.shape[1:]))
    return (split.images(rows).flatten(1).double() / 255 for rows in torch.arange(len(split)).split(size))


def principal_angles(first: Tensor, second: Tensor) -> Tensor:
    """The angles in degrees between two subspaces, each spanned by its columns (P, K) of rank K, the smallest first.

    After Björck and Golub, "Numerical methods for computing angles between linear subspaces" (1973): small angles by
    their sines, which say more about them than cosines near 1.
    """
    one, other = (torch.linalg.qr(each.double()).Q for each in (first, second))
    cosines = torch.linalg.svdvals(one.T @ other).clamp(0, 1)
    sines = torch.linalg.svdvals(other - one @ (one.T @ other)).clamp(0, 1).flip(0)
    return torch.where(cosines.square() > 0.5, sines.asin(), cosines.acos()).rad2deg()
