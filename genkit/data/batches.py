"""Batches on the device, in an order that is a function of (seed, epoch) alone."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genkit.contract import Batch, ImageShape
from genkit.data.dataset import Split
from genkit.device import free_memory

#: Share of the device's free memory that the images may take before they stay on the CPU and travel batch by batch.
DEVICE_SHARE = 0.5
#: Share of the machine's free memory that images from a file may take before they stay there, and bytes that they may
#: take however much there is: reading ahead costs next to nothing, and the system keeps in its own cache what it reads.
MEMORY_SHARE, MEMORY_BYTES = 0.25, 1 << 29
#: Threads that read ahead, by how many batches, and how many bytes these may take.
READERS, BATCHES_AHEAD, BYTES_AHEAD = 4, 8, 1 << 27

ON_DEVICE, IN_MEMORY, ON_DISK = "on the device", "in memory", "read ahead from disk"

#: Of the seeds of a second set's orders, of which images are mirrored, of either set, and of where they are cut.
BESIDE, FLIPS, FLIPS_BESIDE, CROPS = 1, 2, 3, 4
#: Shares of red, green and blue in grey.
LUMA = (0.299, 0.587, 0.114)

A = TypeVar("A")
R = TypeVar("R")


class TrainingBatches:
    """A split's images, shuffled anew every epoch, and beside them, where there is a second set, as many of its images.

    The last images of an epoch that don't fill a batch are left out (each epoch leaves out others), so that batch
    statistics and the loss's scale are the same at every step; a split smaller than one batch is one batch.

    The second set goes on from epoch to epoch, in one shuffled pass after the other: it may be shorter than the first
    or longer, and at any time none of its images has been seen more than once more than another.

    Args:
        split: the images. Those that are there `whole`, too, are cut out of that at places that are a function of seed
            and epoch, as the order is.
        batch_size: images a batch.
        seed: of the order.
        device: where the batches are wanted.
        rank, size: of the processes that share each batch, where there are several: each takes an equal, contiguous
            part of it. `size` divides the batch.
        beside: the images of a second set, of any shape.
        flips: whether each image, of both sets, is mirrored left to right with odds of ½: which ones is a function of
            seed and epoch, as the order is.

    Attributes:
        place, beside_place: where the images of each lie meanwhile, in words; the batches are the same.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        size: int = 1,
        beside: Split | None = None,
        flips: bool = False,
    ):
        self.crop = None if split.whole is None else tuple(split.storage.shape[2:])
        self.split, self.place = placed(split.whole or split, device)
        self.beside: Split | None = None
        self.beside_place = ""
        if beside is not None:
            self.beside, self.beside_place = placed(beside, device)
        self.batch_size = min(batch_size, len(split))
        self.seed = seed
        self.device = device
        self.rank, self.size = rank, size
        self.flips = flips

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.split) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch (counted from 0), from the batch number `start` on.

        Raises:
            DataError: when the images lie in a file that can't be read.
        """
        with ExitStack() as stack:
            first = stack.enter_context(closing(self.fetch(self.split, self.place, self.positions(epoch, start))))
            if self.beside is None:
                for index, (positions, images) in enumerate(first, start):
                    batch = to_batch(self.split, positions, images, self.device, epoch + index / len(self))
                    yield self.flipped(self.cropped(batch, epoch, index), epoch, index)
                return
            order = self.positions_beside(epoch, start)
            second = stack.enter_context(closing(self.fetch(self.beside, self.beside_place, order)))
            for index, ((positions, images), others) in enumerate(zip(first, second, strict=True), start):
                batch = to_batch(self.split, positions, images, self.device, epoch + index / len(self))
                batch = self.cropped(batch, epoch, index)
                yield self.flipped(with_beside(batch, self.beside, *others), epoch, index)

    def cropped(self, batch: Batch, epoch: int, index: int) -> Batch:
        """Batch `index` of an epoch with each image cut at a place of its own, where that is wanted."""
        if self.crop is None:
            return batch
        images = batch.images
        noise = generator(np.random.SeedSequence([self.seed, epoch, index], spawn_key=(CROPS,)))

        def lines(side: int, wanted: int) -> Tensor:
            """Which rows, or columns, of each image: int64 (B, wanted)."""
            first = torch.randint(side - wanted + 1, (self.batch_size,), generator=noise).chunk(self.size)[self.rank]
            return (first[:, None] + torch.arange(wanted)).to(images.device)

        rows, columns = (lines(side, wanted) for side, wanted in zip(images.shape[2:], self.crop, strict=True))
        some = images.gather(2, rows[:, None, :, None].expand(-1, images.shape[1], -1, images.shape[3]))
        across = columns[:, None, None, :].expand(-1, images.shape[1], some.shape[2], -1)
        return batch._replace(images=some.gather(3, across))

    def flipped(self, batch: Batch, epoch: int, index: int) -> Batch:
        """Batch `index` of an epoch with some of its images mirrored, where that is wanted."""
        if not self.flips:
            return batch

        def mirrored(images: Tensor, key: int) -> Tensor:
            seeds = np.random.SeedSequence([self.seed, epoch, index], spawn_key=(key,))
            odds = torch.rand(self.batch_size, generator=generator(seeds)).chunk(self.size)[self.rank]
            chosen = (odds < 0.5).to(images.device).view(-1, *[1] * (images.ndim - 1))
            return torch.where(chosen, images.flip(-1), images)

        beside = None if batch.beside is None else mirrored(batch.beside, FLIPS_BESIDE)
        return batch._replace(images=mirrored(batch.images, FLIPS), beside=beside)

    def positions(self, epoch: int, start: int) -> Iterator[Tensor]:
        """Which images are in this process's part of each batch of an epoch, from batch `start` on: int64 (B,)."""
        order = shuffled(len(self.split), np.random.SeedSequence([self.seed, epoch])).to(self.split.rows.device)
        for index in range(start, len(self)):
            yield order[index * self.batch_size : (index + 1) * self.batch_size].chunk(self.size)[self.rank]

    def positions_beside(self, epoch: int, start: int) -> Iterator[Tensor]:
        """The same of the second set."""
        assert self.beside is not None
        count, device = len(self.beside), self.beside.rows.device
        # How far earlier steps have come: this many passes, and this many images of the next one.
        turn, seen = divmod((epoch * len(self) + start) * self.batch_size, count)
        waiting = torch.empty(0, dtype=torch.int64, device=device)
        for _ in range(start, len(self)):
            while len(waiting) < self.batch_size:
                # The key keeps these orders apart from those of the first set.
                order = shuffled(count, np.random.SeedSequence([self.seed, turn], spawn_key=(BESIDE,))).to(device)
                waiting = torch.cat([waiting, order[seen:]])
                turn, seen = turn + 1, 0
            yield waiting[: self.batch_size].chunk(self.size)[self.rank]
            waiting = waiting[self.batch_size :]

    def fetch(
        self, split: Split, place: str, positions: Iterable[Tensor]
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The positions of each batch, and its images, uint8: by threads that read ahead, or when they are asked for.

        A copy from memory takes less time than handing it to a thread.
        """
        pinned = self.device.type == "cuda" and split.rows.device.type == "cpu"

        def read(some: Tensor) -> tuple[Tensor, Tensor]:
            return some, split.images(some, pinned)

        if pinned or place == ON_DISK:
            batch_bytes = self.batch_size * split.storage[0].numel()
            yield from read_ahead(read, positions, max(1, min(BATCHES_AHEAD, BYTES_AHEAD // batch_bytes)))
        else:
            yield from map(read, positions)


def shuffled(count: int, seeds: np.random.SeedSequence) -> Tensor:
    """The numbers below `count` in a random order, int64 (count,)."""
    return torch.randperm(count, generator=generator(seeds))


def generator(seeds: np.random.SeedSequence) -> torch.Generator:
    """torch's, of a seed that NumPy makes of several numbers."""
    return torch.Generator().manual_seed(int(seeds.generate_state(1, np.uint64)[0] >> 1))


def in_order(split: Split, batch_size: int, device: torch.device, beside: Split | None = None) -> Iterator[Batch]:
    """All of a split's images, once, in order, for evaluation: the last batch may be smaller.

    Args:
        beside: of a second set, whose images go along in their order, and from the first again where they are fewer.
    """
    for positions in torch.arange(len(split)).split(batch_size):
        batch = to_batch(split, positions, split.images(positions), device, math.inf)
        if beside is not None:
            others = positions % len(beside)
            batch = with_beside(batch, beside, others, beside.images(others))
        yield batch


def to_batch(split: Split, positions: Tensor, images: Tensor, device: torch.device, epoch: float) -> Batch:
    """Images (uint8) as floats on the device, with the labels and attributes of their `positions` (int64 (B,))."""
    return Batch(
        as_floats(images, device),
        known_of(split.labels, positions, device),
        torch.full((), epoch, device=device),
        known_of(split.attributes, positions, device),
    )


def with_beside(batch: Batch, beside: Split, positions: Tensor, images: Tensor) -> Batch:
    """The batch with as many images of a second set, brought to its own images' form."""
    device = batch.images.device
    return batch._replace(
        beside=conformed(as_floats(images, device), ImageShape(*batch.images.shape[1:])),
        beside_labels=known_of(beside.labels, positions, device),
        beside_attributes=known_of(beside.attributes, positions, device),
    )


def as_floats(images: Tensor, device: torch.device) -> Tensor:
    """Images (uint8) in [0, 1] on the device."""
    return images.to(device, non_blocking=device.type == "cuda").float().div_(255)


def known_of(known: Tensor | None, positions: Tensor, device: torch.device) -> Tensor | None:
    """The labels or attributes of some images of a split, on the device."""
    return None if known is None else known.index_select(0, positions).to(device)


def conformed(images: Tensor, shape: ImageShape) -> Tensor:
    """Images (B, C, H, W) in [0, 1], C being 1 or 3, brought to `shape`; the same where they have it already.

    Those of other proportions are cut to the largest centred rectangle of the wanted ones, and resized bilinearly,
    antialiased where they are shrunk. Grey is made from colour by luma (ITU-R 601), colour from grey by repeating it.
    """
    channels, height, width = images.shape[1:]
    if (height, width) != (shape.height, shape.width):
        wide = min(width, max(1, round(height * shape.width / shape.height)))
        high = min(height, max(1, round(width * shape.height / shape.width)))
        top, left = (height - high) // 2, (width - wide) // 2
        images = images[..., top : top + high, left : left + wide]
        shrinks = high > shape.height or wide > shape.width
        images = F.interpolate(images, (shape.height, shape.width), mode="bilinear", antialias=shrinks)
        images = images.clamp_(0, 1)  # where shares add up to a little more than 1
    if channels == shape.channels:
        return images
    if shape.channels == 1:
        red, green, blue = images.split(1, 1)
        return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return images.repeat(1, shape.channels, 1, 1)


# ---------------------------------------------------------------------------------------------------------------------
# Where the images lie
# ---------------------------------------------------------------------------------------------------------------------


def placed(split: Split, device: torch.device) -> tuple[Split, str]:
    """The split with its images where batches are made of them soonest, by their size; and where that is, in words."""
    image_bytes = split.storage[0].numel() * len(split)
    if device.type == "cuda" and image_bytes <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return copied_to(device, split), ON_DEVICE
    if split.file is None:
        return split, IN_MEMORY
    if image_bytes <= min(MEMORY_BYTES, MEMORY_SHARE * free_memory()):
        return copied_to(torch.device("cpu"), split), IN_MEMORY
    return split, ON_DISK


def copied_to(device: torch.device, split: Split) -> Split:
    """The split with a copy of its own images, and of what is known of them, on the device."""
    storage = torch.empty(len(split), *split.storage.shape[1:], dtype=torch.uint8, device=device)
    step = split.block_length()  # the set may be larger than the CPU's memory
    for start in range(0, len(split), step):
        part = slice(start, start + step)
        storage[part] = split.images(part).to(device)
    labels, attributes = (None if known is None else known.to(device) for known in (split.labels, split.attributes))
    return Split(storage, torch.arange(len(split), device=device), labels, attributes)


# ---------------------------------------------------------------------------------------------------------------------
# Reading ahead
# ---------------------------------------------------------------------------------------------------------------------


def read_ahead(read: Callable[[A], R], arguments: Iterable[A], ahead: int) -> Iterator[R]:
    """`read` of each argument, in order, by threads that are up to `ahead` calls before the one that is asked for.

    What a call raises is raised in its place. No thread outlives the iterator, however it ends.
    """
    pool = ThreadPoolExecutor(min(READERS, ahead), "genkit-reader")
    waiting: deque[Future[R]] = deque()
    try:
        for argument in arguments:
            waiting.append(pool.submit(read, argument))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
