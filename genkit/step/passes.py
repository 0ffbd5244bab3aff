"""A model's answers to every image of a split, batch by batch, in memory that doesn't grow with the images' size."""

from __future__ import annotations

import torch
from torch import Tensor

from genkit.contract import Batch, ImageShape, Model, ability
from genkit.contract.condition import given
from genkit.data.batches import in_order
from genkit.data.dataset import Split

#: Images a batch in evaluation, and numbers a batch where images are large.
EVALUATION_BATCH, EVALUATION_NUMBERS = 500, 2**22


def evaluation_batch(image: ImageShape) -> int:
    """How many images to evaluate at once, so that memory doesn't grow with their size."""
    return max(1, min(EVALUATION_BATCH, EVALUATION_NUMBERS // image.numbers))


def told(model: Model, batch: Batch) -> tuple[Tensor, ...]:
    """What the model's methods take besides a batch's images: its condition, or nothing.

    Raises:
        DataError: when the images lack the labels that the model takes.
    """
    return given(model.condition_of(batch))


@torch.no_grad()
def conditions_of(model: Model, split: Split, device: torch.device) -> Tensor | None:
    """The conditions (N, …) of a split's images, in order, on the CPU; None of a model that takes none.

    Raises:
        DataError: as `told`.
    """
    if model.condition is None:
        return None
    size = evaluation_batch(ImageShape(*split.storage.shape[1:]))
    return torch.cat([told(model, batch)[0].cpu() for batch in in_order(split, size, device)])


@torch.no_grad()
def encode_split(model: Model, split: Split, device: torch.device) -> Tensor:
    """The codes of a split's images, in order: (N, latent_dim), on the CPU."""
    assert ability.encodes(model)
    size = evaluation_batch(ImageShape(*split.storage.shape[1:]))
    return torch.cat([model.encode(batch.images, *told(model, batch)).cpu() for batch in in_order(split, size, device)])


@torch.no_grad()
def features_of_split(model: Model, split: Split, device: torch.device) -> Tensor:
    """What stands for each of a split's images, in order (`Model.features`): (N, F), on the CPU."""
    size = evaluation_batch(model.image)
    batches = in_order(split, size, device)
    return torch.cat([model.features(batch.images, *told(model, batch)).cpu() for batch in batches])
