"""Batches on the device, in an order that is a function of (seed, epoch) alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from genkit.data.dataset import Split
from genkit.model import Batch

#: Share of the device's free memory that the images may take before they stay on the CPU and travel batch by batch.
DEVICE_SHARE = 0.5
COPIED_AT_ONCE = 4096


class TrainingBatches:
    """A split's images, shuffled anew every epoch.

    The last images of an epoch that don't fill a batch are left out (each epoch leaves out others), so that batch
    statistics and the loss's scale are the same at every step; a split smaller than one batch is one batch.

    Args:
        split: the images.
        batch_size: images a batch.
        seed: of the order.
        device: where the batches are wanted.
        rank, size: of the processes that share each batch, where there are several: each takes an equal, contiguous
            part of it. `size` divides the batch.
    """

    def __init__(self, split: Split, batch_size: int, seed: int, device: torch.device, rank: int = 0, size: int = 1):
        self.split = on_device(split, device)
        self.batch_size = min(batch_size, len(split))
        self.seed = seed
        self.device = device
        self.rank, self.size = rank, size

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.split) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch (counted from 0), from the batch number `start` on."""
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
        order = torch.randperm(len(self.split), generator=torch.Generator().manual_seed(seed))
        for index in range(start, len(self)):
            positions = order[index * self.batch_size : (index + 1) * self.batch_size].chunk(self.size)[self.rank]
            yield to_batch(self.split, positions, self.device, epoch + index / len(self))


def in_order(split: Split, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """All of a split's images, once, in order, for evaluation: the last batch may be smaller."""
    for positions in torch.arange(len(split)).split(batch_size):
        yield to_batch(split, positions, device, math.inf)


def on_device(split: Split, device: torch.device) -> Split:
    """The split with its images on a CUDA device if they fit there with room to spare; else as it is."""
    if device.type != "cuda":
        return split
    free, _ = torch.cuda.mem_get_info(device)
    image_bytes = split.storage[0].numel() * len(split)
    if image_bytes > DEVICE_SHARE * free:
        return split
    storage = torch.empty(len(split), *split.storage.shape[1:], dtype=torch.uint8, device=device)
    for start in range(0, len(split), COPIED_AT_ONCE):  # a mapped set may be larger than the CPU's memory
        part = slice(start, start + COPIED_AT_ONCE)
        storage[part] = split.images(part).to(device)
    return Split(storage, torch.arange(len(split), device=device), split.labels, split.attributes)


def to_batch(split: Split, positions: Tensor, device: torch.device, epoch: float) -> Batch:
    """The images at `positions` (int64 (B,), on the CPU) as floats on the device, with their labels or attributes."""
    known = split.labels if split.labels is not None else split.attributes
    images = split.images(positions.to(split.rows.device)).to(device)
    return Batch(
        images.float().div_(255),
        None if known is None else known[positions].to(device),
        torch.full((), epoch, device=device),
    )
