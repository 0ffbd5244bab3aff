"""What every data source returns: uint8 images with labels and attributes, in three splits that don't leak."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from genkit.errors import DataError
from genkit.model import ImageShape

#: Share of all images that each held-out split takes where a source brings no split of its own.
HELD_OUT = 0.1
#: Images of a split whose pixels go into `Dataset.sum`.
SUMMED = 1000

log = logging.getLogger("genkit")


@dataclass(frozen=True)
class Split:
    """Some rows of a block of images, with what is known about each of them.

    Attributes:
        storage: uint8 (M, C, H, W), in memory or memory-mapped; only ever read. Splits may share one.
        rows: int64 (N,), the rows of `storage` that belong to this split, ascending.
        labels: int64 (N,), an index into `Dataset.classes`, or None.
        attributes: bool (N, A), one column an entry of `Dataset.attributes`, or None.
        fingerprints: int64 (N,), equal for equal images only, or None where nobody needed them (`fingerprinted`).
    """

    storage: Tensor
    rows: Tensor
    labels: Tensor | None = None
    attributes: Tensor | None = None
    fingerprints: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, positions: Tensor | slice = slice(None)) -> Tensor:
        """The images at `positions` (int64 (B,), or a slice) of this split: uint8 (B, C, H, W), a copy."""
        return self.storage[self.rows[positions]]

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
        )

    def spread(self, count: int) -> Tensor:
        """`count` positions, or as many as there are, evenly spaced: a fair choice where rows lie class by class."""
        count = min(count, len(self))
        return torch.arange(count) * len(self) // count

    def fingerprinted(self) -> Split:
        """This split with its fingerprints: 64 bits of BLAKE2b over each image's pixels."""
        if self.fingerprints is not None:
            return self
        fingerprints = np.empty(len(self), np.int64)
        for start in range(0, len(self), 1024):
            block = self.images(slice(start, start + 1024)).numpy()
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
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()

    @property
    def shape(self) -> ImageShape:
        channels, height, width = self.train.storage.shape[1:]
        return ImageShape(channels, height, width)

    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def sum(self) -> str:
        """SHA-256 of the splits: of all rows, labels and attributes, and of the pixels of up to SUMMED images of each.

        To tell whether these are the images of another day; not all pixels, because a set may be larger than memory.
        """
        digest = hashlib.sha256()
        for split in self.splits().values():
            some = split.images(split.spread(SUMMED))
            digest.update(repr((len(split), *some.shape)).encode())
            for column in (split.rows, split.labels, split.attributes, some):
                digest.update(b"" if column is None else column.numpy().tobytes())
        return digest.hexdigest()


def as_tensor(array: np.ndarray) -> Tensor:
    """The same memory as a tensor, for reading only: writing into a tensor over a memory-mapped file crashes.

    torch warns of that once a process. A copy-on-write mapping would be safe and quiet, but Linux refuses to make one
    that is larger than the machine's memory.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)


def fingerprint(images: np.ndarray) -> np.ndarray:
    """One int64 for each image of a uint8 (N, C, H, W) block: equal for equal pixels, and for nothing else.

    (Two different images among a million share one with a chance of 3 in 100 million.)
    """
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    digests = b"".join(hashlib.blake2b(image.data, digest_size=8).digest() for image in flat)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def hold_out(everything: Split, *, fraction: float = HELD_OUT) -> tuple[Split, Split]:
    """Split `everything` into (kept, held out) by the images' own content: the same every time, and without a leak.

    The images are ranked by their fingerprints and the first `fraction` of them is held out, so the choice depends
    neither on file names nor on their order. Duplicates have the same rank and go to the same side: they can't sit in
    training and test at once. Rather than cut through a group of duplicates, fewer images are held out, but at least
    one group is.

    Raises:
        DataError: when fewer than two distinct images are given.
    """
    everything = everything.fingerprinted()
    assert everything.fingerprints is not None
    _, groups, sizes = torch.unique(everything.fingerprints, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise DataError(f"{len(everything)} images, {len(sizes)} of them distinct, are too few to hold some out")
    held_groups = max(1, int((sizes.cumsum(0) <= round(fraction * len(everything))).sum()))
    held = groups < held_groups
    return everything.take(~held), everything.take(held)


def divide(name: str, parts: Mapping[str, Split]) -> tuple[Split, Split, Split]:
    """The train, val and test splits of a source, none of whose images stands in two of them.

    Args:
        name: what to call the source in a message.
        parts: the source's own splits, `train` with `val` or `test` or both, or else its images as `all`.

    What the source doesn't bring is held out: a tenth of all images for test, and as many for val. Where the source's
    own splits share an image, the copy that is nearer to training goes: test stays whole, so that results on it
    compare with anybody's, val loses what stands in test, and train what stands in either. How many went is logged.

    Raises:
        DataError: when the images are too few, or too much alike, to make three splits.
    """
    if parts.keys().isdisjoint({"all", "train"}):
        raise DataError(f"{name}: none of its images is for training; move some to its training split")
    parts = {part: split.fingerprinted() for part, split in parts.items()}
    rest = parts["all"] if "all" in parts else parts["train"]
    try:
        if "test" in parts:
            test = parts["test"]
            rest = _without(rest, test, name, "train", "test")
        else:
            rest, test = hold_out(rest)
        if "val" in parts:
            val = _without(parts["val"], test, name, "val", "test")
            train = _without(rest, val, name, "train", "val")
        else:
            # After test's tenth has gone, val's tenth of all images is a ninth of the rest.
            train, val = hold_out(rest, fraction=HELD_OUT if "test" in parts else HELD_OUT / (1 - HELD_OUT))
    except DataError as error:
        raise DataError(f"{name}: {error}; give at least 3 different images") from None
    return train, val, test


def _without(split: Split, other: Split, name: str, split_name: str, other_name: str) -> Split:
    """`split` without the images that stand in `other`; both have fingerprints."""
    assert split.fingerprints is not None
    assert other.fingerprints is not None
    shared = torch.isin(split.fingerprints, other.fingerprints)
    if shared.any():
        log.warning("%s: %d images of %s also stand in %s; left out", name, int(shared.sum()), split_name, other_name)
    if shared.all():
        raise DataError(f"every image of {split_name} also stands in {other_name}")
    return split.take(~shared)
