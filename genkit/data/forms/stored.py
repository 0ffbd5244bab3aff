"""What must be known of an array in somebody's file, to read it a few rows at a time?

A file, or several that belong together, is a `Holder`: it lists its arrays by their names, which costs nothing, and
opens those that are asked for, which costs a header each. What they mean is for `arrays` to say.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genkit.data.forms.places import Place
from genkit.errors import DataError, in_one_line

#: So many arrays of an image each are stacked, at least; so many of (H, W) that isn't square may be batches of rows.
LEAST_STACKED, MOST_BATCHES = 4, 10


class Name(NamedTuple):
    """What an array is called: by its file, and within that, where a file may hold several."""

    file: str  # its path in its place
    member: str | None = None

    def __str__(self) -> str:
        return self.file if self.member is None else f"{self.file}:{self.member}"


class Stored(ABC):
    """An array whose header has been read, and agrees with what its file can hold.

    Attributes:
        path: of the file, for messages.
        name: of the array.
        shape: numbers of all axes, the images' first.
        dtype: of the elements.
        columns_first: whether pixels that lie in a row, or as (W, H), have their columns one after the other, as MATLAB
            lays them.
        images_last: whether in such files, as in MATLAB's, the images' number usually comes last.
    """

    path: Path
    name: Name
    shape: tuple[int, ...]
    dtype: np.dtype
    columns_first: bool = False
    images_last: bool = False

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def member(self) -> str:
        """What it is called beside others of its file."""
        return self.name.member or self.name.file

    def __str__(self) -> str:
        return str(self.path) if self.name.member is None else f"{self.path}, {self.name.member}"

    @abstractmethod
    def rows(self, step: int) -> Iterator[np.ndarray]:
        """The array, `step` rows at a time, in native or any other byte order.

        Raises:
            DataError: when the file ends too soon, or is damaged.
        """

    def last_axis_first(self) -> Stored | None:
        """The same array with its last axis before the others, for images whose number comes last.

        None where it can't be read so.
        """
        return None

    def file(self) -> Path | None:
        """A .npy file that holds just this array as it is, or None."""
        return None


class Holder(ABC):
    """A file of named arrays.

    Attributes:
        form: what it is, in words: "a NumPy archive".
        place: where it lies.
        file: its path there.
        path: what messages call it.
        names: of the arrays, of whatever they are; their order is the file's.
        notes: lines on what was understood of the file where that isn't plain; more may come by opening arrays.
    """

    form: str
    names: list[Name]
    notes: list[str]

    def __init__(self, place: Place, file: str):
        """Lists the arrays, without reading any.

        Raises:
            DataError: when the file is damaged, or the library that reads it isn't installed.
        """
        self.place, self.file = place, file
        self.path = place.path / file
        self.notes = []

    @abstractmethod
    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        """The headers of those arrays.

        Raises:
            DataError: when one is damaged, or isn't of plain numbers or strings.
        """

    def files(self) -> list[str]:
        """All files that it reads."""
        return [self.file]


class Stacked(Stored):
    """Arrays of one image each, as the array that `numpy.stack` makes of them."""

    def __init__(self, holder: Holder, name: Name, parts: Sequence[Name], first: Stored):
        """`first` is the first of `parts`, all of which are of its shape and type."""
        self.holder, self.name, self.parts, self.path = holder, name, parts, first.path
        self.shape, self.dtype = (len(parts), *first.shape), first.dtype
        self.columns_first = first.columns_first

    def rows(self, step: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.parts), step):
            some = self.parts[start : start + step]
            opened = self.holder.open(some)
            yield np.stack([next(opened[part].rows(self.shape[1])) for part in some])


class OneByOne(Holder):
    """A file with an array for each image, `img_0`, `img_1`, …, as one that holds them stacked: `img`.

    Of several such rows of arrays each is one: `cats/0`, `cats/1`, … are `cats/images`, and `dogs/0`, … `dogs/images`.
    """

    def __init__(self, holder: Holder, stacks: dict[Name, list[Name]]):
        self.place, self.file, self.path, self.form = holder.place, holder.file, holder.path, holder.form
        self.holder, self.stacks = holder, stacks
        within = {part for parts in stacks.values() for part in parts}
        self.names = [*stacks, *(name for name in holder.names if name not in within)]
        self.told = [
            f"{parts[0].member} to {parts[-1].member}: an image each, {len(parts):,} in all"
            for parts in list(stacks.values())[:20]
        ]
        self.notes = [*holder.notes, *self.told]

    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        plain = [name for name in names if name not in self.stacks]
        firsts = self.holder.open([*plain, *(self.stacks[name][0] for name in names if name in self.stacks)])
        self.notes = [*self.holder.notes, *self.told]
        found = {name: firsts[name] for name in plain}
        for name in names:
            if name in self.stacks:
                parts = self.stacks[name]
                found[name] = Stacked(self.holder, name, parts, firsts[parts[0]])
        return found

    def files(self) -> list[str]:
        return self.holder.files()


def stacked(holder: Holder) -> Holder:
    """A holder whose arrays that differ by a number alone are stacked, where all of them are single images."""
    rows: dict[Name, list[tuple[int, Name]]] = {}
    for name in holder.names:
        group, slash, own = (name.member or "").rpartition("/")
        numbered = re.fullmatch(r"(.*?)[-_. ]*(\d{1,18})", own)
        if numbered:
            stem = Name(name.file, f"{group}{slash}{numbered[1] or 'images'}")
            rows.setdefault(stem, []).append((int(numbered[2]), name))
    stacks = {}
    for stem, numbers in rows.items():
        parts = [name for _, name in sorted(numbers)]
        if len(parts) < LEAST_STACKED or stem in holder.names:
            continue
        try:
            first = holder.open(parts[:1])[parts[0]]
            kinds = {
                (each.shape, each.dtype) for each in holder.open(parts if _is_one(first, len(parts)) else []).values()
            }
        except DataError:  # something else, of which its own message says more
            continue
        if len(kinds) == 1:
            stacks[stem] = parts
    return OneByOne(holder, stacks) if stacks else holder


def _is_one(stored: Stored, count: int) -> bool:
    """Whether an array is one image, (H, W), (H, W, C) or (C, H, W), of `count` alike, and not a batch of images."""
    if stored.dtype.kind not in "buif" or not 2 <= len(stored.shape) <= 3 or 0 in stored.shape:
        return False
    longer, shorter, channels = (*sorted(stored.shape, reverse=True), 1)[:3]
    if len(stored.shape) == 3 and (channels not in (1, 3, 4) or channels not in (stored.shape[0], stored.shape[-1])):
        return False
    # Batches of rows are few, and longer than wide.
    one_size = len(stored.shape) == 3 or longer == shorter or count > MOST_BATCHES
    return shorter >= 8 and longer <= 4 * shorter and one_size


class Together(Holder):
    """Files that belong together, as one."""

    def __init__(self, holders: Sequence[Holder]):
        first = holders[0]
        self.place, self.file = first.place, first.file
        self.holders = holders
        self.path = first.place.path
        self.form = f"{len(holders)} files, each {first.form}"
        self.names = [name for holder in holders for name in holder.names]

    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        found: dict[Name, Stored] = {}
        for holder in self.holders:
            found |= holder.open([name for name in names if name in holder.names])
        self.notes = [f"{holder.file}: {note}" for holder in self.holders for note in holder.notes]
        return found

    def files(self) -> list[str]:
        return [file for holder in self.holders for file in holder.files()]


def together(holders: Sequence[Holder]) -> Holder:
    """Several holders as one; one alone as it is."""
    return holders[0] if len(holders) == 1 else Together(holders)


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Whatever a damaged file makes a library stumble over as a DataError of one line that ends with `remedy`."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: {in_one_line(error)}; {remedy}") from error
