"""HDF5 files, and MATLAB's of version 7.3, which are such files with every array's axes in reverse.

Nothing but the file itself is read: a file that leads to others, or needs a plug-in to be read, is refused.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from genkit.data.forms import needs
from genkit.data.forms.places import MAX_INFLATION, Place
from genkit.data.forms.stored import Holder, Name, Stored, reading
from genkit.errors import DataError
from genkit.wording import one_line

REMEDY = "save it again with h5py, as plain arrays"
MATLAB = b"MATLAB 7.3 MAT-file"
#: Groups that MATLAB keeps for itself.
MATLABS_OWN = ("#refs#", "#subsystem#")
#: The filters that h5py brings along, by their registered numbers: deflate, shuffle, fletcher32, szip, nbit,
#: scaleoffset, lzf. Others would be looked for on this machine, as libraries to load.
FILTERS = (1, 2, 3, 4, 5, 6, 32000)
#: Datasets of a file, and how deep groups lie in each other.
MAX_DATASETS, MAX_DEPTH = 10_000, 16
#: Bytes of a chunk, which the library holds whole.
MAX_CHUNK = 1 << 28
#: Bytes that are read at once.
BLOCK = 1 << 26
#: Bytes of one string, and how many there may be.
MAX_STRING, MAX_LINES = 4096, 5_000_000


class Hdf5(Holder):
    """The datasets of a file, each called by its path: `train/images`."""

    def __init__(self, place: Place, file: str):
        super().__init__(place, file)
        self.h5py = needs.library("h5py", self.path, "HDF5")
        self.size = place.size(file)
        with reading(self.path, REMEDY), place.open(file) as opened:
            self.from_matlab = opened.read(len(MATLAB)) == MATLAB
        self.form = "a MATLAB file (HDF5)" if self.from_matlab else "an HDF5 file"
        with self.opened() as root:
            self.names = [Name(file, path) for path in self._datasets(root)]

    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        with self.opened() as root:
            return {name: self._array(name, root[name.member]) for name in names}

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file's outermost group."""
        with reading(self.path, REMEDY), self.place.open(self.file) as file, self.h5py.File(file, "r") as root:
            yield root

    def _datasets(self, root: Any) -> list[str]:
        """The paths of all datasets, in the file's order; each once, however many links lead to it."""
        found: list[str] = []
        seen = set()

        def walk(group: Any, path: str, depth: int) -> None:
            for name in group:
                if depth == 0 and self.from_matlab and name in MATLABS_OWN:
                    continue
                # Other links lead to a name, which has its own place, or to another file.
                if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                    continue
                each = group[name]
                address = self.h5py.h5o.get_info(each.id).addr
                if address in seen:
                    continue
                seen.add(address)
                if len(seen) > MAX_DATASETS or depth > MAX_DEPTH:
                    raise ValueError(f"it has more than {MAX_DATASETS:,} datasets and groups, or too deep ones")
                if not f"{path}{name}".isprintable():
                    raise ValueError(f"{path + name!a} is no name for an array")
                if isinstance(each, self.h5py.Dataset):
                    found.append(f"{path}{name}")
                elif isinstance(each, self.h5py.Group):
                    walk(each, f"{path}{name}/", depth + 1)

        walk(root, "", 0)
        return found

    def _array(self, name: Name, dataset: Any) -> Stored:
        """Raises ValueError where it can't be read, or claims what it can't hold."""
        problem = self._problem(dataset)
        if problem:
            raise DataError(f"{self.path}: {name.member} {problem}")
        dtype, kind = dataset.dtype, self._matlab_class(dataset)
        if self.h5py.check_string_dtype(dtype):
            return _Strings(self, name, self._strings(name, dataset))
        if kind == "char" and dtype.kind == "u" and len(dataset.shape) == 2:
            return _Strings(self, name, self._characters(name, dataset))
        if self.h5py.check_ref_dtype(dtype) is self.h5py.Reference:
            return _Strings(self, name, self._cells(name, dataset))
        if self.h5py.check_vlen_dtype(dtype) is not None:
            raise DataError(f"{self.path}: {name.member} {self._encoded(dataset)}")
        if dtype.kind not in "buif":
            raise ValueError(f"{name.member} is of {one_line(str(dtype), 80)}, and not of plain numbers or strings")
        return _Numbers(self, name, dataset, logical=kind == "logical")

    def _problem(self, dataset: Any) -> str:
        """Why a dataset can't be read; "" where it can."""
        layouts, made = self.h5py.h5d, dataset.id.get_create_plist()
        if not isinstance(dataset, self.h5py.Dataset):
            return "is no dataset; name one"
        if dataset.shape is None or dataset.shape == ():
            return "is a single value, and no array; name another"
        if made.get_layout() == layouts.VIRTUAL:
            return "is put together of other datasets, perhaps of other files, which isn't read; save it as one array"
        if made.get_external_count():
            return "lies in another file, which isn't read; save it in this one"
        for number in range(made.get_nfilters()):
            code, _, _, filter_name = made.get_filter(number)
            if code not in FILTERS:
                known = filter_name.decode("utf-8", "replace")
                return f"is compressed by a filter that h5py doesn't have ({known or code}); save it with gzip"
        total, stored = math.prod(dataset.shape) * dataset.dtype.itemsize, dataset.id.get_storage_size()
        if stored > self.size or total > (stored * MAX_INFLATION if made.get_nfilters() else stored) + 64:
            return f"claims {total:,} bytes, where {stored:,} of the file's {self.size:,} are its own; save it again"
        if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > MAX_CHUNK:
            return f"lies in chunks of more than {MAX_CHUNK:,} bytes; save it with smaller ones"
        return ""

    def _matlab_class(self, dataset: Any) -> str:
        if not self.from_matlab or "MATLAB_class" not in dataset.attrs:
            return ""
        attribute = self.h5py.h5a.open(dataset.id, b"MATLAB_class")
        if attribute.get_storage_size() > 64 or attribute.shape != () or attribute.dtype.kind != "S":
            return ""
        said = dataset.attrs["MATLAB_class"]
        return said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)

    def _strings(self, name: Name, dataset: Any) -> list[str]:
        if math.prod(dataset.shape) != max(dataset.shape):
            raise ValueError(f"{name.member} is a table of strings")
        if math.prod(dataset.shape) > MAX_LINES:
            raise ValueError(f"{name.member} has more than {MAX_LINES:,} strings")
        if dataset.dtype.kind == "S":
            if dataset.dtype.itemsize > MAX_STRING:
                raise ValueError(f"{name.member} has strings of {dataset.dtype.itemsize:,} bytes")
            step, lines = max(1, BLOCK // dataset.dtype.itemsize), dataset
            found = [lines[start : start + step] for start in range(0, len(lines), step)]
            coded = [each for block in found for each in block.reshape(-1).tolist()]
        else:
            with self.place.open(self.file) as file:
                coded = list(Heap(file, self.size, dataset).elements(MAX_STRING))
        return [each.rstrip(b"\0").decode("utf-8", "replace") for each in coded]

    def _encoded(self, dataset: Any) -> str:
        """What elements of any length are."""
        from genkit.data.forms import MAGIC

        beginning = b""
        if self.h5py.check_vlen_dtype(dataset.dtype) == np.uint8:
            with self.place.open(self.file) as file:
                beginning = next(Heap(file, self.size, dataset).elements(MAX_STRING, cut=True))
        if any(form == "picture" and beginning.startswith(mark) for mark, form in MAGIC.items()):
            return "holds encoded pictures, such as JPEG; save them as files in a folder, or decoded as one array"
        return "has elements of different lengths; save one array of all images"

    def _characters(self, name: Name, dataset: Any) -> list[str]:
        """The rows of a matrix of MATLAB's characters, which here are columns."""
        length, count = dataset.shape
        if count * length > BLOCK or length > MAX_STRING:
            raise ValueError(f"{name.member} is text of {count:,} lines of {length:,} characters, which is too much")
        codes = dataset[()].T
        return ["".join(map(chr, line)).rstrip(" \0") for line in codes.tolist()]

    def _cells(self, name: Name, dataset: Any) -> list[str]:
        """Cells of text."""
        lines = []
        if math.prod(dataset.shape) > MAX_DATASETS * 10:
            raise ValueError(f"{name.member} has {math.prod(dataset.shape):,} cells; save one array")
        for reference in dataset[()].reshape(-1):
            cell = dataset.file[reference] if isinstance(reference, self.h5py.Reference) and reference else None
            if cell is None or not isinstance(cell, self.h5py.Dataset) or self._matlab_class(cell) != "char":
                raise DataError(
                    f"{self.path}: {name.member} refers to other things than text; save one array of all images"
                )
            problem = self._problem(cell)
            if problem:
                raise DataError(f"{self.path}: a cell of {name.member} {problem}")
            lines.append("".join(self._characters(name, cell)) if len(cell.shape) == 2 else "")
        return lines


class _Numbers(Stored):
    """A dataset of numbers."""

    def __init__(self, holder: Hdf5, name: Name, dataset: Any, logical: bool):
        self.holder, self.name, self.path, self.logical = holder, name, holder.path, logical
        self.shape, self.columns_first = tuple(dataset.shape), holder.from_matlab
        self.dtype = np.dtype(bool) if logical else dataset.dtype
        self.chunks = dataset.chunks or (1,) * len(self.shape)

    def rows(self, step: int) -> Iterator[np.ndarray]:
        return self._along(0, step)

    def last_axis_first(self) -> Stored | None:
        return _LastAxisFirst(self) if len(self.shape) > 1 else None

    def _along(self, axis: int, step: int) -> Iterator[np.ndarray]:
        """`step` at a time of an axis, which becomes the first; read by whole chunks, each of which is read once."""
        count, chunk = self.shape[axis], self.chunks[axis]
        each = max(1, math.prod(self.shape) // max(1, count) * self.dtype.itemsize)
        at_once = max(step, min(-(-step // chunk) * chunk, max(1, BLOCK // each) // chunk * chunk))
        with self.holder.opened() as root:
            dataset = root[self.name.member]
            held = np.empty((0, *self.shape[:axis], *self.shape[axis + 1 :]), self.dtype)
            for start in range(0, count, at_once):
                where = (*[slice(None)] * axis, slice(start, start + at_once))
                block = np.moveaxis(dataset[where], axis, 0)
                held = np.concatenate([held, block != 0 if self.logical else block])
                whole = len(held) if start + at_once >= count else len(held) // step * step
                for row in range(0, whole, step):
                    yield held[row : min(row + step, whole)]
                held = held[whole:]


class _LastAxisFirst(Stored):
    def __init__(self, array: _Numbers):
        self.array = array
        self.path, self.name, self.dtype, self.columns_first = array.path, array.name, array.dtype, array.columns_first
        self.shape = (array.shape[-1], *array.shape[:-1])

    def rows(self, step: int) -> Iterator[np.ndarray]:
        return self.array._along(len(self.shape) - 1, step)


class _Strings(Stored):
    """Strings, which were read when the array was opened, since only then it is known how long they are."""

    def __init__(self, holder: Hdf5, name: Name, lines: list[str]):
        self.name, self.path = name, holder.path
        longest = max(map(len, lines), default=1)
        if len(lines) * longest > BLOCK:
            raise ValueError(
                f"{name.member} has {len(lines):,} strings of up to {longest:,} characters, which is too much"
            )
        self.lines = np.array(lines, dtype=f"<U{longest or 1}")
        self.shape, self.dtype = self.lines.shape, self.lines.dtype

    def rows(self, step: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.lines), step):
            yield self.lines[start : start + step]


class Heap:
    """Elements of any length, which a dataset refers to: its length, the address of a collection, a number in it.

    They are read here, since HDF5's library doesn't end on some damaged collections, and takes gigabytes for others.
    "HDF5 File Format Specification Version 3.0", III.E and IV.A.2.d.
    """

    def __init__(self, file: BinaryIO, size: int, dataset: Any):
        self.file, self.size, self.dataset = file, size, dataset
        made = dataset.file.id.get_create_plist()
        self.base = made.get_userblock()
        if made.get_sizes() != (8, 8):
            raise ValueError("its addresses aren't of 8 bytes")
        self.filters = [dataset.id.get_create_plist().get_filter(number)[0] for number in range(self._filters())]
        self.collections: dict[int, dict[int, tuple[int, int]]] = {}

    def elements(self, most: int, cut: bool = False) -> Iterator[bytes]:
        """All elements, in their order.

        Args:
            most: bytes of one.
            cut: whether only so many are given of one that is longer.

        Raises:
            ValueError: when one is longer, or the collections are damaged.
        """
        for length, address, number in self._references():
            if length > most and not cut:
                raise ValueError(f"a string of {length:,} bytes is too long")
            if not length or not address:
                yield b""
                continue
            at, size = self._collection(address).get(number, (0, 0))
            if length > size:
                raise ValueError("its strings are damaged")
            self.file.seek(at)
            yield self.file.read(min(length, most))

    def _filters(self) -> int:
        return int(self.dataset.id.get_create_plist().get_nfilters())

    def _references(self) -> Iterator[tuple[int, int, int]]:
        reference = np.dtype([("length", "<u4"), ("address", "<u8"), ("number", "<u4")])
        if self.dataset.chunks is None:
            offset = self.dataset.id.get_offset()
            if offset is None:
                raise ValueError("its strings lie in a header, which isn't read")
            self.file.seek(offset)
            stretches: Iterable[tuple[bytes, int]] = [(self.file.read(self.dataset.size * 16), self.dataset.size)]
        else:
            stretches = self._chunks()
        for content, count in stretches:
            if len(content) < count * 16:
                raise ValueError("its strings are damaged")
            yield from np.frombuffer(content, reference, count).tolist()

    def _chunks(self) -> Iterator[tuple[bytes, int]]:
        axis = int(np.argmax(self.dataset.shape))
        count, chunk = self.dataset.shape[axis], self.dataset.chunks[axis]
        if math.prod(self.dataset.chunks) != chunk:
            raise ValueError("its strings lie in chunks of several axes")
        for start in range(0, count, chunk):
            origin = tuple(start if each == axis else 0 for each in range(len(self.dataset.shape)))
            stored = self.dataset.id.get_chunk_info_by_coord(origin)
            if stored.byte_offset is None or stored.size > self.size:
                raise ValueError("some of its strings were never written")
            skipped, coded = self.dataset.id.read_direct_chunk(origin)
            content = bytes(coded)
            for number, code in reversed(list(enumerate(self.filters))):
                if not skipped >> number & 1:
                    content = _unfiltered(content, code, chunk * 16)
            yield content, min(chunk, count - start)

    def _collection(self, address: int) -> dict[int, tuple[int, int]]:
        """Where the elements of a collection are, by their numbers, and how long."""
        if address in self.collections:
            return self.collections[address]
        first = self.base + address
        self.file.seek(first)
        mark, length = struct.unpack("<8sQ", _exactly(self.file, 16))
        if mark != b"GCOL\1\0\0\0" or first + length > self.size:
            raise ValueError("its strings are damaged")
        found: dict[int, tuple[int, int]] = {}
        at = first + 16
        while at + 16 <= first + length:
            self.file.seek(at)
            number, _, size = struct.unpack("<HHxxxxQ", _exactly(self.file, 16))
            if number == 0:  # what is left free
                break
            at += 16
            if at + size > first + length:
                raise ValueError("its strings are damaged")
            found[number] = (at, size)
            at += -(-size // 8) * 8
        if len(self.collections) >= 16:  # they come one after the other
            self.collections.clear()
        self.collections[address] = found
        return found


def _unfiltered(content: bytes, code: int, size: int) -> bytes:
    """What a filter made of references: deflate or shuffle; h5py puts no other on them."""
    match code:
        case 1:
            return zlib.decompressobj().decompress(content, size + 4)
        case 2:
            count = len(content) // 16
            return np.frombuffer(content, np.uint8, count * 16).reshape(16, count).T.tobytes()
    raise ValueError("its strings are compressed by a filter other than gzip")


def _exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ValueError("it ends too soon")
    return content
