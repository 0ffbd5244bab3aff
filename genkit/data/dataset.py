"""What every data source returns: uint8 images with labels and attributes, in three splits that don't leak."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
import weakref
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data.levels import Whites
from genkit.errors import DataError

#: Images of a split whose pixels go into `Dataset.digest`.
DIGESTED = 1000
#: Classes that are named where a split lacks some.
NAMED = 10
#: Bytes of images that are looked at together, where a split goes through all of them.
BLOCK_BYTES = 1 << 25


class ImageFile:
    """The file behind a memory-mapped block of images, whose rows are read by their positions in it.

    What is touched through a mapping counts as this process's memory, as long as it lives, and a file that is cut or a
    disk that fails ends it there and then. A read leaves the pages to the system, and fails with an error.

    Args:
        path: the file; it stays open, so that images can be read even after it has been replaced or deleted.
        offset: bytes before the first row.
        shape: uint8 (M, C, H, W), of the whole block.

    Raises:
        OSError: when it can't be opened.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...]):
        self.path, self.offset, self.shape = path, offset, shape
        self.row_bytes = math.prod(shape[1:])
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, rows: Tensor, pinned: bool = False) -> Tensor:
        """The images at `rows` (int64 (B,), on the CPU): uint8 (B, C, H, W), in page-locked memory where wanted.

        Neighbours are read at once. Any number of threads may read.

        Raises:
            DataError: when they can't be read.
        """
        images = torch.empty(len(rows), *self.shape[1:], dtype=torch.uint8, pin_memory=pinned)
        space = images.view(-1).numpy().data
        numbers = rows.numpy()
        starts = [0, *(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)] if len(numbers) else []
        places = (self.offset + numbers[starts[:-1]] * self.row_bytes).tolist()
        for start, end, place in zip(starts, starts[1:], places, strict=False):
            self._fill(space[start * self.row_bytes : end * self.row_bytes], place)
        return images

    def _fill(self, space: memoryview, place: int) -> None:
        """The bytes from `place` on; the system may hand over large pieces in parts."""
        while space:
            try:
                got = os.preadv(self.descriptor, [space], place)
            except OSError as error:
                raise DataError(f"{self.path}: can't be read ({error.strerror}); check the disk, then go on") from error
            if not got:
                raise DataError(f"{self.path}: has been cut while it was in use; bring it back, then go on")
            space, place = space[got:], place + got


@dataclass(frozen=True)
class Split:
    """Some rows of a block of images, with what is known about each of them.

    Attributes:
        storage: uint8 (M, C, H, W), in memory or memory-mapped; only ever read. Splits may share one.
        rows: int64 (N,), the rows of `storage` that belong to this split, ascending.
        labels: int64 (N,), an index into `Dataset.classes`, or None.
        attributes: bool (N, A), one column an entry of `Dataset.attributes`, or None.
        fingerprints: int64 (N,), equal for equal images only, or None where nobody needed them (`fingerprinted`).
        file: where a memory-mapped `storage` lies; its images are then read from there, and the mapping isn't touched.
        whole: the same images before they were cut to their centres, where training cuts them elsewhere.
    """

    storage: Tensor
    rows: Tensor
    labels: Tensor | None = None
    attributes: Tensor | None = None
    fingerprints: Tensor | None = None
    file: ImageFile | None = None
    whole: Split | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, positions: Tensor | slice = slice(None), pinned: bool = False) -> Tensor:
        """The images at `positions` (int64 (B,), or a slice) of this split: uint8 (B, C, H, W), a copy.

        Args:
            pinned: in page-locked memory, from which a copy to a CUDA device needs nobody to wait.

        Raises:
            DataError: when they lie in a file that can't be read.
        """
        rows = self.rows[positions]
        if self.file is not None:
            return self.file.read(rows, pinned)
        # Ten times as fast as storage[rows], which looks up every byte by itself.
        images = self.storage.index_select(0, rows)
        return images.pin_memory() if pinned else images

    def take(self, positions: Tensor | slice) -> Split:
        """The same storage, narrowed to `positions` (int64, boolean mask or slice) of this split."""

        def narrowed(column: Tensor | None) -> Tensor | None:
            return None if column is None else column[positions]

        return Split(
            self.storage,
            self.rows[positions],
            narrowed(self.labels),
            narrowed(self.attributes),
            narrowed(self.fingerprints),
            self.file,
            None if self.whole is None else self.whole.take(positions),
        )

    def spread(self, count: int) -> Tensor:
        """`count` positions, or as many as there are, evenly spaced: a fair choice where rows lie class by class."""
        count = min(count, len(self))
        return torch.arange(count) * len(self) // count

    def block_length(self) -> int:
        """How many images to look at together: some, and of large ones not more than BLOCK_BYTES."""
        return max(1, min(1024, BLOCK_BYTES // math.prod(self.storage.shape[1:])))

    def mean(self, count: int = 10_000) -> Tensor:
        """The mean of at most `count` of the images, evenly spaced: (C, H, W) float in [0, 1].

        Raises:
            DataError: when they lie in a file that can't be read.
        """
        chosen = self.spread(count)
        total = torch.zeros(self.storage.shape[1:], dtype=torch.int64)
        for block in chosen.split(self.block_length()):
            total += self.images(block).sum(0, dtype=torch.int64)
        return (total.double() / (255 * len(chosen))).float()

    def fingerprinted(self) -> Split:
        """This split with its fingerprints: 64 bits of BLAKE2b over each image's pixels."""
        if self.fingerprints is not None:
            return self
        fingerprints = np.empty(len(self), np.int64)
        step = self.block_length()
        for start in range(0, len(self), step):
            block = self.images(slice(start, start + step)).numpy()
            fingerprints[start : start + len(block)] = fingerprint(block)
        return replace(self, fingerprints=torch.from_numpy(fingerprints))


@dataclass(frozen=True)
class Dataset:
    """Images for training, choosing and testing.

    Attributes:
        name: what the person typed: `mnist`, or a path.
        train, val, test: disjoint splits; no image of one stands in another, not even as an exact duplicate.
        classes: the names of the labels, () where there are none.
        attributes: the names of the attributes' columns, () where there are none.
        beside: the second set, in its own form, where a model is trained on two (`load_for_training`).
        whites: by the bits of a stored pixel, the number that was found to be white; see `levels`.
        notes: what is to be said of how the images were read, a sentence each without its full stop.
        randomised: whether labels or pixels of the training images are random (`randomised.py`).
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    beside: Dataset | None = None
    whites: Whites = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    randomised: bool = False

    @property
    def shape(self) -> ImageShape:
        channels, height, width = self.train.storage.shape[1:]
        return ImageShape(channels, height, width)

    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def lacking(self, split: Split) -> str:
        """The classes that none of a split's images is of, in words: `3, 7`, or "" where all are there."""
        if split.labels is None:
            return ""
        counts = torch.bincount(split.labels, minlength=len(self.classes)).tolist()
        names = [name for name, count in zip(self.classes, counts, strict=True) if not count]
        few, others = names[:NAMED], len(names) - NAMED
        return ", ".join(few) + (f" and {others:,} more" if others > 0 else "")

    def beside_split(self, name: str) -> Split | None:
        """That split of the second set; None where there is no such set."""
        return None if self.beside is None else self.beside.splits()[name]

    def digest(self) -> str:
        """SHA-256 of the splits: of all rows, labels and attributes, and the pixels of up to DIGESTED images of each.

        To tell whether these are the images of another day; not all pixels, because a set may be larger than memory. A
        second set has a digest of its own.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        found = hashlib.sha256()
        for split in self.splits().values():
            some = split.spread(DIGESTED)
            found.update(repr((len(split), len(some), *split.storage.shape[1:])).encode())
            for column in (split.rows, split.labels, split.attributes):
                found.update(b"" if column is None else column.numpy().tobytes())
            for block in some.split(split.block_length()):
                found.update(split.images(block).numpy().tobytes())
        return found.hexdigest()


def as_tensor(array: np.ndarray) -> Tensor:
    """The same memory as a tensor, for reading only: writing into a tensor over a memory-mapped file crashes.

    torch warns of that once a process. A copy-on-write mapping would be safe and quiet, but Linux refuses to make one
    that is larger than the machine's memory.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)


def mapped_file(array: np.memmap) -> ImageFile | None:
    """The file of a memory-mapped uint8 (M, C, H, W).

    None where its images don't lie there one after the other (Fortran's order), and where the system has no reads by
    position (Windows).

    Raises:
        OSError: when it can't be opened.
    """
    if array.filename is None or not array.flags.c_contiguous or not hasattr(os, "preadv"):
        return None
    return ImageFile(Path(str(array.filename)), array.offset, array.shape)


def fingerprint(images: np.ndarray) -> np.ndarray:
    """One int64 for each image of a uint8 (N, C, H, W) block: equal for equal pixels, and for nothing else.

    (Two different images among a million share one with a chance of 3 in 100 million.)
    """
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    digests = b"".join(hashlib.blake2b(image.data, digest_size=8).digest() for image in flat)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def fingerprint_of_one(pixels: bytes) -> int:
    """The same of one image, by its bytes."""
    return int.from_bytes(hashlib.blake2b(pixels, digest_size=8).digest(), "little", signed=True)
