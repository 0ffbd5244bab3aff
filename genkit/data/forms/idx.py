"""IDX files, the form in which MNIST was published: a header of a few bytes, and then the elements.

LeCun, Cortes & Burges, http://yann.lecun.com/exdb/mnist/: two zeros, the elements' type, the number of axes, the length
of each as a big-endian uint32, and the elements in C's order, big-endian.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO

import numpy as np

from genkit.data.forms.places import MAX_INFLATION, Place, is_compressed, plain
from genkit.data.forms.stored import Holder, Name, Stored, reading

#: The elements' types by their number in the header.
TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
#: More axes than arrays of images have.
MAX_AXES = 8
#: The columns of QMNIST's table of labels, of which the first is the class (Yadav & Bottou, arXiv 1905.10498).
QMNIST_COLUMNS = 8
REMEDY = "download it again, or write it as (N, H, W)"


def is_idx(beginning: bytes) -> bool:
    """Whether a file that begins so is one."""
    return len(beginning) > 4 and beginning[:2] == b"\0\0" and beginning[2] in TYPES and 1 <= beginning[3] <= MAX_AXES


def labels_beside(place: Place, file: str) -> str | None:
    """Where the labels of a file of images are, both being called as MNIST's are; None where there are none."""
    named = re.fullmatch(r"(.*)images(.idx)3-ubyte(\.\w+)?", file)
    for kind in ("1-ubyte", "2-int") if named else ():
        for ending in ("", ".gz", ".bz2", ".xz"):
            labels = f"{named[1]}labels{named[2]}{kind}{ending}"  # type: ignore[index]
            try:
                place.size(labels)
            except OSError:
                continue
            return labels
    return None


class Idx(Holder):
    """An IDX file, compressed or not, the one array in it being called as the file is."""

    form = "an IDX file"

    def __init__(self, place: Place, file: str):
        super().__init__(place, file)
        self.names = [Name(file)]

    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        with reading(self.path, REMEDY):
            return {name: self._header(name) for name in names}

    def _header(self, name: Name) -> Stored:
        size = self.place.size(self.file)
        with plain(self.place, self.file) as file:
            array = _IdxArray(self, name, file)
        needed = array.offset + math.prod(array.shape) * array.dtype.itemsize
        if is_compressed(self.place, self.file):
            # How much comes out of it is known once it has come.
            if needed > size * MAX_INFLATION + 64:
                raise ValueError(f"{size:,} bytes, from which {needed:,} can't be decompressed, as its header has it")
        elif needed != size:
            shown = " x ".join(f"{length:,}" for length in array.shape)
            raise ValueError(f"{size:,} bytes, where {shown} elements of {array.dtype.name} take {needed:,}")
        if array.dtype == ">i4" and array.shape[1:] == (QMNIST_COLUMNS,):
            self.notes = [
                f"its {QMNIST_COLUMNS} columns are taken for QMNIST's: the first is the class, the others (writer, "
                "place in NIST's set) aren't used"
            ]
            return _FirstColumn(array)
        return array


class _IdxArray(Stored):
    """The array of an IDX file, by its header."""

    def __init__(self, holder: Idx, name: Name, file: BinaryIO):
        """Raises ValueError where the header is none, or ends too soon."""
        self.holder, self.name, self.path = holder, name, holder.path
        beginning = _exactly(file, 4)
        axes = beginning[3]
        if not is_idx(beginning + b"\0"):
            raise ValueError("doesn't begin as an IDX file does")
        self.shape = tuple(np.frombuffer(_exactly(file, 4 * axes), ">u4").tolist())
        self.dtype = np.dtype(TYPES[beginning[2]])
        self.offset = 4 + 4 * axes
        # Its publishers' own files, under whatever folder.
        self.columns_first = bool(re.search("emnist", PurePosixPath(holder.file).name, re.IGNORECASE)) and axes == 3

    def rows(self, step: int) -> Iterator[np.ndarray]:
        count, *rest = self.shape
        with reading(self.path, REMEDY), plain(self.holder.place, self.holder.file) as file:
            _exactly(file, self.offset)
            for start in range(0, count, step):
                content = _exactly(file, min(step, count - start) * self.row_bytes)
                yield np.frombuffer(content, self.dtype).reshape(-1, *rest)
            if file.read(1):
                raise ValueError("it goes on behind the last element that its header counts")


class _FirstColumn(Stored):
    """The first of an array's columns."""

    def __init__(self, table: Stored):
        self.table = table
        self.path, self.name, self.dtype, self.shape = table.path, table.name, table.dtype, table.shape[:1]

    def rows(self, step: int) -> Iterator[np.ndarray]:
        for block in self.table.rows(step):
            yield block[:, 0]


def _exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ValueError("it ends too soon")
    return content
