"""Batches on the device, in an order that is a function of (seed, epoch) alone."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from genkit.contract import Batch
from genkit.data.dataset import Split

#: Share of the device's free memory that the images may take before they stay on the CPU and travel batch by batch.
DEVICE_SHARE = 0.5
#: Share of the machine's free memory that images from a file may take before they stay there, and bytes that they may
#: take however much there is: reading ahead costs next to nothing, and the system keeps in its own cache what it reads.
MEMORY_SHARE, MEMORY_BYTES = 0.25, 1 << 29
#: Threads that read ahead, by how many batches, and how many bytes these may take.
READERS, BATCHES_AHEAD, BYTES_AHEAD = 4, 8, 1 << 27

ON_DEVICE, IN_MEMORY, ON_DISK = "on the device", "in memory", "read ahead from disk"

A = TypeVar("A")
R = TypeVar("R")


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

    Attributes:
        place: where the images lie meanwhile, in words; the batches are the same.
    """

    def __init__(self, split: Split, batch_size: int, seed: int, device: torch.device, rank: int = 0, size: int = 1):
        self.split, self.place = placed(split, device)
        self.batch_size = min(batch_size, len(split))
        self.seed = seed
        self.device = device
        self.rank, self.size = rank, size

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.split) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch (counted from 0), from the batch number `start` on.

        Raises:
            DataError: when the images lie in a file that can't be read.
        """
        with closing(self.fetch(self.positions(epoch, start))) as fetched:
            for index, (positions, images) in enumerate(fetched, start):
                yield to_batch(self.split, positions, images, self.device, epoch + index / len(self))

    def positions(self, epoch: int, start: int) -> Iterator[Tensor]:
        """Which images are in this process's part of each batch of an epoch, from batch `start` on: int64 (B,)."""
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
        order = torch.randperm(len(self.split), generator=torch.Generator().manual_seed(seed))
        order = order.to(self.split.rows.device)
        for index in range(start, len(self)):
            yield order[index * self.batch_size : (index + 1) * self.batch_size].chunk(self.size)[self.rank]

    def fetch(self, positions: Iterable[Tensor]) -> Generator[tuple[Tensor, Tensor], None, None]:
        """The positions of each batch, and its images, uint8: by threads that read ahead, or when they are asked for.

        A copy from memory takes less time than handing it to a thread.
        """
        pinned = self.device.type == "cuda" and self.split.rows.device.type == "cpu"

        def read(some: Tensor) -> tuple[Tensor, Tensor]:
            return some, self.split.images(some, pinned)

        if pinned or self.place == ON_DISK:
            batch_bytes = self.batch_size * self.split.storage[0].numel()
            yield from read_ahead(read, positions, max(1, min(BATCHES_AHEAD, BYTES_AHEAD // batch_bytes)))
        else:
            yield from map(read, positions)


def in_order(split: Split, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """All of a split's images, once, in order, for evaluation: the last batch may be smaller."""
    for positions in torch.arange(len(split)).split(batch_size):
        yield to_batch(split, positions, split.images(positions), device, math.inf)


def to_batch(split: Split, positions: Tensor, images: Tensor, device: torch.device, epoch: float) -> Batch:
    """Images (uint8) as floats on the device, with the labels and attributes of their `positions` (int64 (B,))."""

    def of_these(known: Tensor | None) -> Tensor | None:
        return None if known is None else known.index_select(0, positions).to(device)

    return Batch(
        images.to(device, non_blocking=device.type == "cuda").float().div_(255),
        of_these(split.labels),
        torch.full((), epoch, device=device),
        of_these(split.attributes),
    )


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


def free_memory() -> int:
    """Bytes that this process can still take without pushing others out, as far as the system tells."""
    try:
        with Path("/proc/meminfo").open() as file:
            free = next(1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # no Linux
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        except (AttributeError, ValueError, OSError):
            return 4 << 30
    try:  # a container's own limit
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        return free if limit == "max" else min(free, max(0, int(limit) - used))
    except (OSError, ValueError):
        return free


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
