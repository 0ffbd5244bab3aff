"""What a part of an image says of the rest, under a model that draws each number of an image by itself, given the code.

With x = (a, b), a the part that is given, the code has the density p(z|a) ∝ p(a|z) p(z), and the rest p(b|a) = ∫ p(b|z)
p(z|a) dz. Neither is had by the encoder, which has only ever seen whole images: chains draw from the one (`chains.py`),
and the mean of p(b|z) over what they draw is the other. Everything here is of images (N, C, H, W) with M codes each,
those of an image in a row: (N·M, latent_dim).

Of a model that takes a condition, all of it is given the images' own, (N, …).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from genkit.contract import GenerativeModel, ImageShape, ability
from genkit.contract.condition import given
from genkit.errors import UsageError
from genkit.latent.chains import LogDensity
from genkit.latent.sampling import device_of
from genkit.step.passes import evaluation_batch

#: Of an image of H × W pixels, which are given.
PARTS: Mapping[str, Callable[[int, int], tuple[slice, slice]]] = {
    "top-half": lambda height, width: (slice(height // 2), slice(width)),
    "bottom-half": lambda height, width: (slice(height // 2, height), slice(width)),
    "left-half": lambda height, width: (slice(height), slice(width // 2)),
    "right-half": lambda height, width: (slice(height), slice(width // 2, width)),
}


class Views(NamedTuple):
    """Images (N, C, H, W) of which a part is given.

    Attributes:
        images: whole, as the model's likelihood is of them.
        part: bool (C, H, W), of what is given.
        condition: (N, …), on the CPU; None of a model that takes none.
    """

    images: Tensor
    part: Tensor
    condition: Tensor | None = None

    @property
    def hidden(self) -> Tensor:
        return ~self.part

    def filled(self, others: Tensor) -> Tensor:
        """Other images (M·N, C, H, W), those of an image in a row, with what is given in its place."""
        mine = self.images.repeat_interleave(len(others) // len(self.images), 0)
        return torch.where(self.part, mine, others)


def part_of(name: str, image: ImageShape) -> Tensor:
    """The part of this name: bool (C, H, W).

    Raises:
        UsageError: where one of the halves has no pixels.
    """
    part = torch.zeros(*image, dtype=torch.bool)
    rows, columns = PARTS[name](image.height, image.width)
    part[:, rows, columns] = True
    if part.all() or not part.any():
        raise UsageError(f"--given {name}: images of {image} have no two halves that way; give another part")
    return part


def observed(model: GenerativeModel, images: Tensor, seed: int) -> Tensor:
    """Images as the likelihood is of them: pixels that it takes as 0 or 1 drawn once, with their grey values' odds."""
    if model.pixels != "bits":
        return images
    draws = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed))
    return (draws < images).to(images.dtype)


def prior_log_density(z: Tensor) -> Tensor:
    """ln N(z; 0, I) of codes (B, D), in nats: (B,)."""
    return -0.5 * z.square().sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)


def posterior_log_density(model: GenerativeModel, views: Views, codes: int) -> LogDensity:
    """ln p(a|z) p(z) of as many codes an image, float64 (N·codes,): p(z|a), up to a constant of each image."""

    def log_density(z: Tensor) -> Tensor:
        return likelihood_of(model, z, views, views.part, codes) + prior_log_density(z)

    return log_density


def likelihood_of(model: GenerativeModel, z: Tensor, views: Views, part: Tensor, codes: int) -> Tensor:
    """ln p of a part of each image under each of its codes (N·codes, D), in nats: float64 (N·codes,), on the CPU.

    Args:
        part: bool (C, H, W).
    """
    assert ability.tells_pixels(model)
    device, chosen = device_of(model), part.flatten().nonzero()[:, 0]
    images = views.images.to(device).repeat_interleave(codes, 0)
    told = (each.to(device).repeat_interleave(codes, 0) for each in given(views.condition))
    each = model.pixel_log_likelihood(z.to(images), images, *told)
    # Sums of hundreds of nats whose differences decide, and not every device has doubles.
    return each.flatten(1)[:, chosen.to(device)].cpu().double().sum(1)


@torch.no_grad()
def log_predictive(
    model: GenerativeModel, draws: Tensor, views: Views, advance: Callable[[], object] = lambda: None
) -> Tensor:
    """ln of the mean of p(b|z) over codes (S, N, D) of each image, in nats: float64 (N,).

    The logarithm of the mean, because that is ln p(b|a) in the limit. The mean of the logarithms is below it by as much
    as codes differ, and is best where they don't, whatever they have missed.
    """
    rows = max(1, evaluation_batch(model.image) // len(views.images))
    parts = []
    for some in draws.split(rows):
        z = some.transpose(0, 1).flatten(0, 1)
        parts.append(likelihood_of(model, z, views, views.hidden, len(some)).view(-1, len(some)))
        advance()
    return torch.cat(parts, 1).logsumexp(1) - math.log(len(draws))
