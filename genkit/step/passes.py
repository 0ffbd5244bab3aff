"""A model's answers to every image of a split, batch by batch, in memory that doesn't grow with the images' size."""

from __future__ import annotations

import torch
from torch import Tensor

from genkit.contract import ImageShape, Model
from genkit.contract.ability import Encodes
from genkit.data.batches import in_order
from genkit.data.dataset import Split

#: Images a batch in evaluation, and numbers a batch where images are large.
EVALUATION_BATCH, EVALUATION_NUMBERS = 500, 2**22


def evaluation_batch(image: ImageShape) -> int:
    """How many images to evaluate at once, so that memory doesn't grow with their size."""
    return max(1, min(EVALUATION_BATCH, EVALUATION_NUMBERS // image.numbers))


@torch.no_grad()
def encode_split(model: Encodes, split: Split, device: torch.device) -> Tensor:
    """The codes of a split's images, in order: (N, latent_dim), on the CPU."""
    size = evaluation_batch(ImageShape(*split.storage.shape[1:]))
    return torch.cat([model.encode(batch.images).cpu() for batch in in_order(split, size, device)])


@torch.no_grad()
def features_of_split(model: Model, split: Split, device: torch.device) -> Tensor:
    """What stands for each of a split's images, in order (`Model.features`): (N, F), on the CPU."""
    size = evaluation_batch(model.image)
    return torch.cat([model.features(batch.images).cpu() for batch in in_order(split, size, device)])
