"""Differentiable augmentation: what a GAN's critic sees of real images and of samples alike, so that it can't learn few
images by heart.

After Zhao et al., "Differentiable augmentation for data-efficient GAN training" (NeurIPS 2020). Gradients pass through
to the generator, and since both sides are changed alike, samples don't come out shifted or tinted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, Field
from torch import Tensor

from genkit.nets.plain import _split_commas

#: The largest shift, and the side of the square that is cut out, as shares of a side: the paper's.
SHIFT, CUT = 1 / 8, 1 / 2
#: What is shown beyond an image's edges and in a cut-out square.
GREY = 0.5

Augmentations = Annotated[
    tuple[Literal["colour", "translation", "cutout"], ...],
    BeforeValidator(_split_commas),
    Field(
        max_length=3,
        description="What is changed at random of all that the discriminator sees, as `colour,translation,cutout`, or "
        "`none`: images and samples alike, for sets so small that it would learn them by heart.",
        json_schema_extra={"default": "none, all of few images"},
    ),
]


def augmented(images: Tensor, kinds: Sequence[str]) -> Tensor:
    """Images (B, C, H, W) in [0, 1], each changed at random in these ways, one after the other.

    Their numbers may leave [0, 1], as bright images do that are made brighter: to cut them off would stop gradients.
    """
    for kind in kinds:
        images = KINDS[kind](images)
    return images


def colour(images: Tensor) -> Tensor:
    """Brightness moved by up to 1/4; then, of colour, the saturation times 0 to 2; then contrast times ½ to 1½."""
    brightness, saturation, contrast = torch.rand(3, len(images), 1, 1, 1, device=images.device).to(images.dtype)
    images = images + (brightness - 0.5) / 2
    if images.shape[1] > 1:
        images = torch.lerp(images.mean(1, keepdim=True), images, 2 * saturation)
    return torch.lerp(images.mean((1, 2, 3), keepdim=True), images, contrast + 0.5)


def translation(images: Tensor) -> Tensor:
    """Shifted by up to an eighth of each side; what comes in from outside is grey."""
    height, width = images.shape[2:]
    down, right = (int(side * SHIFT + 0.5) for side in (height, width))
    padded = F.pad(images - GREY, (right, right, down, down))
    rows, columns = (
        torch.randint(2 * most + 1, (len(images), 1), device=images.device)
        + torch.arange(side, device=images.device)  # (B, side)
        for most, side in ((down, height), (right, width))
    )
    which = torch.arange(len(images), device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2) + GREY


def cutout(images: Tensor) -> Tensor:
    """A square of half of each side is grey; its centre is anywhere, so that some of it may lie outside."""
    height, width = images.shape[2:]
    rows, columns = (cut_out(len(images), side, images.device) for side in (height, width))
    return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], GREY, images)


def cut_out(count: int, side: int, device: torch.device) -> Tensor:
    """Which pixels of a side lie in a cut-out stretch: bool (count, side)."""
    length = int(side * CUT + 0.5)
    begins = torch.randint(side + 1 - length % 2, (count, 1), device=device) - length // 2
    places = torch.arange(side, device=device)
    return (places >= begins) & (places < begins + length)


KINDS: dict[str, Callable[[Tensor], Tensor]] = {"colour": colour, "translation": translation, "cutout": cutout}
