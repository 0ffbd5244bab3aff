"""MATLAB's files up to version 7: what `save` writes unless it is told `-v7.3`, which is HDF5.

"MAT-File Format", The MathWorks, R2023b. They are read here because an array may be larger than memory, which scipy.io
would load whole, and because nobody vouches for the sizes in them. Arrays lie with their first axis varying fastest.

A struct's fields are called `name.field`, cells `name{1}`; cells of one size, and of text, are one array.
"""

from __future__ import annotations

import io
import math
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from genkit.data import store
from genkit.data.forms.places import CHUNK, MAX_INFLATION, Inflate, Place, Unpacked
from genkit.data.forms.stored import Holder, Name, Stored, reading
from genkit.errors import DataError
from genkit.wording import one_line

REMEDY = "save it again with `save -v7`"
#: The header of version 5: a text, where to find what MATLAB keeps for itself, the version, and the order of bytes.
HEADER = 128
#: The types of data elements that hold numbers.
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
#: The types of data elements that hold text, and how it is encoded; those of NUMBERS hold one character each.
ENCODINGS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
#: Classes of arrays. (Numbers may be stored in a smaller type than that of their class.)
CELL, STRUCT, OBJECT, TEXT, SPARSE = 1, 2, 3, 4, 5
NUMERIC = range(6, 16)
OTHERS = {
    SPARSE: "is a sparse matrix, which isn't read; save full(x)",
    16: "is a function, which isn't read; name an array",
    17: "is an object, which isn't read; save what it holds as a plain array",
}
EMPTY = "is empty; name another"
COMPLEX_NUMBERS = "is of complex numbers, which aren't read; save abs(x)"
COMPLEX, LOGICAL = 0x08, 0x02
#: Bounds of what is held in memory of a file, beyond its arrays: variables, cells of all of them, depth, axes.
MAX_VARIABLES, MAX_CELLS, MAX_DEPTH, MAX_AXES = 10_000, 100_000, 8, 8
#: Cells of different sizes that are listed one by one.
MAX_LISTED = 64
#: Bytes of a name, and of all names of a struct's fields.
MAX_NAME, MAX_NAMES = 256, 1 << 16
#: Bytes of an array of which a few rows are wanted, which lie apart: what is smaller is read whole, what is larger so
#: much at a time.
BLOCK = 1 << 26


def is_version_4(beginning: bytes) -> bool:
    """Whether a file that begins so is one of MATLAB 4, whose files begin with the first array's header."""
    return _header_4(beginning) is not None


class Matlab(Holder):
    """The variables of a MATLAB file."""

    def __init__(self, place: Place, file: str):
        super().__init__(place, file)
        with reading(self.path, REMEDY), place.open(file) as opened:
            size = place.size(file)
            beginning = opened.read(HEADER)
            self.form = "a MATLAB file"
            if beginning.startswith(b"MATLAB 5.0"):
                found = _Version5(opened, size, beginning).variables()
            else:
                found = _version_4(opened, size)
            self.found: dict[Name, _Leaf] = {}
            for leaf in found:
                name = Name(file, leaf.name)
                if name in self.found:
                    raise ValueError(f"it holds {leaf.name} twice")
                self.found[name] = leaf
        self.names = list(self.found)

    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        with reading(self.path, REMEDY):
            for name in names:
                if self.found[name].fault:
                    raise DataError(f"{self.path}: {name.member} {self.found[name].fault}")
            return {
                name: (_Text if self.found[name].text else _Numbers)(self, name, self.found[name]) for name in names
            }


class _Stretch(NamedTuple):
    """Where a variable lies: at a place of its file, and in how many bytes it is compressed, if it is."""

    start: int
    compressed: int | None


class _Leaf(NamedTuple):
    """An array, or several of one size, as found in a file.

    Attributes:
        name: of the variable, with fields and cells.
        dims: the lengths of its axes.
        dtype: of the elements; None of text that is encoded.
        text: whether they are characters.
        encoding: of text that is encoded.
        logical: whether they are 0 and 1 and mean false and true.
        stretch: where the variable lies.
        offsets: where its elements begin, from the beginning of the variable; several of cells.
        sizes: bytes of each.
        dtypes: as `dtype`, of each: MATLAB stores numbers as small as they are.
        stacked: whether it is cells, one after the other.
        fault: why it can't be read.
    """

    name: str
    dims: tuple[int, ...] = ()
    dtype: np.dtype | None = None
    text: bool = False
    encoding: str | None = None
    logical: bool = False
    stretch: _Stretch = _Stretch(0, None)
    offsets: Sequence[int] = ()
    sizes: Sequence[int] = ()
    dtypes: Sequence[np.dtype | None] = ()
    stacked: bool = False
    fault: str = ""


# ---------------------------------------------------------------------------------------------------------------------
# Arrays
# ---------------------------------------------------------------------------------------------------------------------


class _Array(Stored):
    def __init__(self, holder: Matlab, name: Name, leaf: _Leaf):
        self.holder, self.name, self.path, self.leaf = holder, name, holder.path, leaf

    @contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """The variable, at its beginning."""
        with reading(self.path, REMEDY), self.holder.place.open(self.holder.file) as file:
            content = _content(file, self.leaf.stretch)
            yield content
            while self.leaf.stretch.compressed is not None and content.read(CHUNK):
                pass  # to the sum behind it, which is then checked


class _Numbers(_Array):
    """Numbers, the first axis being the images'."""

    def __init__(self, holder: Matlab, name: Name, leaf: _Leaf):
        super().__init__(holder, name, leaf)
        self.shape = (len(leaf.offsets), *leaf.dims) if leaf.stacked else leaf.dims
        assert leaf.dtype is not None
        self.stored_dtype = leaf.dtype
        self.dtype = np.dtype(bool) if leaf.logical else leaf.dtype
        # Images of more axes have them as they should be.
        self.columns_first = len(self.shape) == 2
        self.images_last = len(self.shape) > 2 and not leaf.stacked

    def rows(self, step: int) -> Iterator[np.ndarray]:
        if self.leaf.stacked:
            yield from self._cells(step)
        elif math.prod(self.shape[1:]) == 1:
            yield from self.blocks_of_last(step, (*self.shape[1:], self.shape[0]))
        else:
            yield from self._gathered(step)

    def last_axis_first(self) -> Stored | None:
        return None if self.leaf.stacked or len(self.shape) < 2 else _LastAxisFirst(self)

    def blocks_of_last(self, step: int, dims: tuple[int, ...]) -> Iterator[np.ndarray]:
        """The elements as an array of `dims`, `step` of its last axis at a time, which then is the first."""
        *rest, count = dims
        each = math.prod(rest) * self.stored_dtype.itemsize
        with self._opened() as content:
            content.seek(self.leaf.offsets[0])
            for start in range(0, count, step):
                block = np.frombuffer(_exactly(content, min(step, count - start) * each), self.stored_dtype)
                yield self._meant(_from_columns(block, -1, rest))

    def _cells(self, step: int) -> Iterator[np.ndarray]:
        dims = self.leaf.dims
        with self._opened() as content:
            for start in range(0, len(self.leaf.offsets), step):
                block = np.empty((min(step, len(self.leaf.offsets) - start), *dims), self.stored_dtype)
                for row in range(len(block)):
                    content.seek(self.leaf.offsets[start + row])
                    cell = _exactly(content, self.leaf.sizes[start + row])
                    block[row] = _from_columns(np.frombuffer(cell, self.leaf.dtypes[start + row]), 1, dims)[0]
                yield self._meant(block)

    def _gathered(self, step: int) -> Iterator[np.ndarray]:
        """Rows whose elements lie apart, each column being stored as a whole."""
        count, *rest = self.shape
        columns, item = math.prod(rest), self.stored_dtype.itemsize
        total = columns * count * item
        with self._opened() as content:
            content.seek(self.leaf.offsets[0])
            if total <= BLOCK:
                whole = np.frombuffer(_exactly(content, total), self.stored_dtype).reshape(columns, count)
                for start in range(0, count, step):
                    yield self._meant(_from_columns(whole[:, start : start + step].T, None, rest))
                return
            with self._seekable(content, total) as (file, first):
                at_once = -(-max(step, BLOCK // self.row_bytes) // step) * step
                for start in range(0, count, at_once):
                    length = min(at_once, count - start)
                    block = np.empty((columns, length), self.stored_dtype)
                    for column in range(columns):
                        file.seek(first + (column * count + start) * item)
                        block[column] = np.frombuffer(_exactly(file, length * item), self.stored_dtype)
                    for row in range(0, length, step):
                        yield self._meant(_from_columns(block[:, row : row + step].T, None, rest))

    @contextmanager
    def _seekable(self, content: BinaryIO, total: int) -> Iterator[tuple[BinaryIO, int]]:
        """A file that can be sought in at no cost, and where in it the elements begin: a copy where it must be."""
        if self.leaf.stretch.compressed is None and self.holder.place.path_of(self.holder.file):
            yield content, self.leaf.offsets[0]
            return
        with tempfile.TemporaryFile(dir=store.writable_root()) as copy:
            for start in range(0, total, CHUNK):
                copy.write(_exactly(content, min(CHUNK, total - start)))
            copy.flush()
            yield copy, 0  # type: ignore[misc]  # a BufferedRandom, to Python a file like any other

    def _meant(self, block: np.ndarray) -> np.ndarray:
        return block != 0 if self.leaf.logical else block


class _LastAxisFirst(Stored):
    """An array whose last axis is the images', as it lies in its file."""

    def __init__(self, array: _Numbers):
        self.array = array
        self.path, self.name, self.dtype, self.columns_first = array.path, array.name, array.dtype, array.columns_first
        self.shape = (array.shape[-1], *array.shape[:-1])

    def rows(self, step: int) -> Iterator[np.ndarray]:
        return self.array.blocks_of_last(step, self.array.shape)


class _Text(_Array):
    """Lines of text: the rows of a matrix of characters, without the blanks that fill them, or cells."""

    def __init__(self, holder: Matlab, name: Name, leaf: _Leaf):
        super().__init__(holder, name, leaf)
        count, length = (len(leaf.offsets), max(leaf.dims, default=1)) if leaf.stacked else leaf.dims
        self.shape = (count,)
        self.dtype = np.dtype(f"<U{max(length, 1)}")

    def rows(self, step: int) -> Iterator[np.ndarray]:
        lines = list(self._lines())
        if len(lines) != self.shape[0]:
            raise ValueError("its text isn't as long as it should be")
        whole = np.array(lines, self.dtype)
        for start in range(0, len(whole), step):
            yield whole[start : start + step]

    def _lines(self) -> Iterator[str]:
        leaf = self.leaf
        with self._opened() as content:
            for offset, size, dtype in zip(leaf.offsets, leaf.sizes, leaf.dtypes, strict=True):
                content.seek(offset)
                coded = _exactly(content, size)
                if dtype is None:
                    text = coded.decode(leaf.encoding or "utf-8")
                else:
                    text = "".join(map(chr, np.frombuffer(coded, dtype).astype(np.int64).tolist()))
                if leaf.stacked:
                    yield text
                else:
                    count = self.shape[0]
                    # How many characters bytes in UTF-8 are isn't known before.
                    if count > max(len(text), 1):
                        raise ValueError(f"its text has {len(text):,} characters, and claims {count:,} lines")
                    yield from (text[row::count].rstrip(" \0") for row in range(count))


def _from_columns(elements: np.ndarray, count: int | None, dims: Sequence[int]) -> np.ndarray:
    """Arrays whose first axis varies fastest as (count, *dims); `elements` (count, prod(dims)), or in a row."""
    count = len(elements) if count is None else count
    axes = range(len(dims), 0, -1)
    return elements.reshape(count, *reversed(dims)).transpose(0, *axes)


# ---------------------------------------------------------------------------------------------------------------------
# Version 5 (and 6 and 7, which differ in what is compressed)
# ---------------------------------------------------------------------------------------------------------------------


class _Version5:
    """The variables of a file, found without reading their elements."""

    def __init__(self, file: BinaryIO, size: int, header: bytes):
        self.file, self.size = file, size
        if len(header) != HEADER or header[126:] not in (b"IM", b"MI"):
            raise ValueError("its header isn't one of MATLAB's")
        self.order = "<" if header[126:] == b"IM" else ">"
        self.cells = 0

    def variables(self) -> Iterator[_Leaf]:
        at = HEADER
        for _ in range(MAX_VARIABLES):
            self.file.seek(at)
            tag = self.file.read(8)
            if not tag:
                return
            if len(tag) < 8:
                raise ValueError("it ends too soon")
            kind, length = (int(number) for number in np.frombuffer(tag, f"{self.order}u4"))
            if kind not in (MATRIX, COMPRESSED):
                raise ValueError(f"something stands at byte {at:,} that is no variable")
            if length > self.size - at - 8:
                raise ValueError("it ends too soon")
            stretch = _Stretch(at + 8, length) if kind == COMPRESSED else _Stretch(at, None)
            content = _Elements(_content(self.file, stretch), self.order)
            content.end = length * MAX_INFLATION if kind == COMPRESSED else 8 + length
            yield from self._matrix(content, stretch, None, 0)
            at += 8 + length
        raise ValueError(f"it holds more than {MAX_VARIABLES:,} variables")

    def _matrix(self, content: _Elements, stretch: _Stretch, name: str | None, depth: int) -> list[_Leaf]:
        """What stands at the content's place, which is put behind it; `name` where it has none of its own."""
        kind, length = content.tag()
        end = content.at + length
        if kind != MATRIX or end > content.end:
            raise ValueError(f"{name or 'a variable'} is damaged")
        outer, content.end = content.end, end
        try:
            found = self._leaves(content, stretch, name, depth) if length else [_Leaf(name or "", fault=EMPTY)]
        finally:
            content.end = outer
        if depth:  # behind a variable, nothing is read
            content.seek(end)
        # MATLAB keeps what it needs for objects and functions in variables without a name.
        return [leaf for leaf in found if leaf.name]

    def _leaves(self, content: _Elements, stretch: _Stretch, name: str | None, depth: int) -> list[_Leaf]:
        flags = content.numbers(16)
        if len(flags) < 2:
            raise ValueError(f"{name or 'a variable'} is damaged")
        kind, marks = int(flags[0]) & 0xFF, int(flags[0]) >> 8 & 0xFF
        if kind == 17:  # has no axes
            own = content.text(MAX_NAME)
            return [_Leaf(name or own, fault=OTHERS[kind])]
        dims = tuple(content.numbers(4 * MAX_AXES).tolist())
        own = content.text(MAX_NAME)
        name = own if name is None else name
        if len(dims) < 2 or min(dims) < 0:
            raise ValueError(f"{name} has no axes")
        if kind in NUMERIC or kind == TEXT:
            if marks & COMPLEX:
                return [_Leaf(name, dims, fault=COMPLEX_NUMBERS)]
            return [self._elements(content, stretch, name, dims, kind == TEXT, bool(marks & LOGICAL))]
        if kind in (CELL, STRUCT, OBJECT) and depth == MAX_DEPTH:
            return [_Leaf(name, dims, fault="is nested too deep; save its arrays by themselves")]
        if kind == CELL:
            self._count(math.prod(dims))
            called = [f"{name}{{{number + 1}}}" for number in range(math.prod(dims))]
            return _combined(name, called, [self._matrix(content, stretch, each, depth + 1) for each in called])
        if kind == OBJECT:  # of a class before MATLAB's R2008: a struct, behind its class's name
            content.text(MAX_NAME)
        if kind in (STRUCT, OBJECT):
            return self._fields(content, stretch, name, math.prod(dims), depth)
        return [_Leaf(name, dims, fault=OTHERS.get(kind, "is of an unknown class; save it as plain numbers"))]

    def _elements(
        self, content: _Elements, stretch: _Stretch, name: str, dims: tuple[int, ...], text: bool, logical: bool
    ) -> _Leaf:
        count = math.prod(dims)
        kind, length = content.tag()
        dtype = np.dtype(f"{self.order}{NUMBERS[kind]}") if kind in NUMBERS else None
        if dtype is None and not (text and kind in ENCODINGS):
            raise ValueError(f"{name} is damaged")
        if dtype is not None and length != count * dtype.itemsize:
            raise ValueError(f"{name} has {length:,} bytes, which isn't what {_shown(dims)} {dtype.name} take")
        if content.at + length > content.end:
            raise ValueError(f"{name} claims to be larger than it can be")
        if text and len(dims) != 2:
            return _Leaf(name, dims, fault="is text of more than two axes; save it as cells")
        if text and 0 in dims:  # of any number of lines
            dims = (min(dims[0], 1), 0)
        encoding = ENCODINGS.get(kind)
        if encoding and encoding != "utf-8":
            encoding += "-le" if self.order == "<" else "-be"
        return _Leaf(name, dims, dtype, text, encoding, logical, stretch, (content.at,), (length,), (dtype,))

    def _fields(self, content: _Elements, stretch: _Stretch, name: str, count: int, depth: int) -> list[_Leaf]:
        lengths = content.numbers(4)
        width = int(lengths[0]) if len(lengths) else 0
        listed = content.bytes_of_element(MAX_NAMES)
        if not 0 < width <= MAX_NAME:
            raise ValueError(f"{name} has no fields")
        names = [_printable(listed[at : at + width]) for at in range(0, len(listed), width)]
        self._count(count * len(names))
        called = [name] if count == 1 else [f"{name}({number + 1})" for number in range(count)]
        structs = [
            [leaf for field in names for leaf in self._matrix(content, stretch, f"{each}.{field}", depth + 1)]
            for each in called
        ]
        return structs[0] if count == 1 else _combined(name, called, structs)

    def _count(self, number: int) -> None:
        self.cells += number
        if self.cells > MAX_CELLS:
            raise ValueError(f"it has more than {MAX_CELLS:,} cells and fields; save one array of all images")


def _combined(name: str, called: Sequence[str], cells: Sequence[list[_Leaf]]) -> list[_Leaf]:
    """Cells of one size, or of text, or structs of the same fields, as one array each; some others each by itself.

    Args:
        name: of all.
        called: what each cell is called.
        cells: what is in each.
    """
    leaves = [leaf for cell in cells for leaf in cell]
    if not leaves:
        return [_Leaf(name, fault=EMPTY)]
    fields = [[leaf.name.removeprefix(each) for leaf in cell] for each, cell in zip(called, cells, strict=True)]
    if len(fields[0]) > 1 and all(each == fields[0] for each in fields):
        columns = ([[cell[at]] for cell in cells] for at in range(len(fields[0])))
        names = ([f"{each}{field}" for each in called] for field in fields[0])
        return [
            leaf
            for field, of, column in zip(fields[0], names, columns, strict=True)
            for leaf in _combined(f"{name}{field}", of, column)
        ]
    name += fields[0][0] if fields[0] else ""
    first = leaves[0]
    if all(len(cell) == 1 for cell in cells) and not any(leaf.fault or leaf.stacked for leaf in leaves):
        numbers = all(not leaf.text and leaf.dims == first.dims and leaf.logical == first.logical for leaf in leaves)
        lines = all(leaf.text and leaf.dims[0] <= 1 and leaf.encoding == first.encoding for leaf in leaves)
        if numbers or lines:
            return [
                first._replace(
                    name=name,
                    dims=first.dims if numbers else (max(leaf.dims[1] for leaf in leaves),),
                    dtype=np.result_type(*{leaf.dtype for leaf in leaves if leaf.dtype}) if numbers else None,
                    offsets=array("q", (leaf.offsets[0] for leaf in leaves)),
                    sizes=array("q", (leaf.sizes[0] for leaf in leaves)),
                    dtypes=[leaf.dtype for leaf in leaves],
                    stacked=True,
                )
            ]
    if len(leaves) <= MAX_LISTED:
        return leaves
    return [
        _Leaf(
            name,
            fault="has cells of different sizes or kinds, of which no array can be made; save one array of all images",
        )
    ]


class _Elements:
    """Data elements, one after the other: a tag of type and length, and the data, filled up to 8 bytes.

    Attributes:
        at: bytes before the next element's tag, or its data, from the beginning of the variable.
        end: where the innermost array ends.
    """

    end: int

    def __init__(self, content: BinaryIO, order: str):
        self.content, self.order = content, order
        self.at = 0
        self.behind = 0  # where the next tag stands

    def tag(self) -> tuple[int, int]:
        """Type and bytes of the next element, whose data stand at `at`."""
        kind = self._number()
        if kind >> 16:  # at most 4 bytes, which stand in the tag
            kind, length = kind & 0xFFFF, kind >> 16
            if length > 4:
                raise ValueError("a small element claims more than 4 bytes")
            self.behind = self.at + 4
        else:
            length = self._number()
            self.behind = self.at + -(-length // 8) * 8
        return kind, length

    def bytes_of_element(self, most: int) -> bytes:
        _, length = self.tag()
        if length > most:
            raise ValueError(f"an element takes {length:,} bytes, where {most:,} are enough")
        behind, found = self.behind, self._take(length)
        self.seek(behind)
        return found

    def numbers(self, most: int) -> np.ndarray:
        """int32 of an element."""
        found = self.bytes_of_element(most)
        if len(found) % 4:
            raise ValueError("an element is cut short")
        return np.frombuffer(found, f"{self.order}i4")

    def text(self, most: int) -> str:
        return _printable(self.bytes_of_element(most))

    def seek(self, at: int) -> None:
        self.content.seek(at)
        self.at = at

    def _number(self) -> int:
        return int.from_bytes(self._take(4), "little" if self.order == "<" else "big")

    def _take(self, size: int) -> bytes:
        self.at += size
        return _exactly(self.content, size)


# ---------------------------------------------------------------------------------------------------------------------
# Version 4
# ---------------------------------------------------------------------------------------------------------------------


class _Header4(NamedTuple):
    order: str
    dtype: np.dtype
    kind: int  # 0 numbers, 1 text, 2 sparse
    rows: int
    columns: int
    is_complex: bool
    name: int  # bytes of it


#: The types of elements by their digit.
NUMBERS_4 = ("f8", "f4", "i4", "i2", "u2", "u1")


def _header_4(header: bytes) -> _Header4 | None:
    """An array's header of 20 bytes, or None where it is none."""
    if len(header) < 20:
        return None
    for order in "<>":
        kind, rows, columns, is_complex, name = np.frombuffer(header[:20], f"{order}i4").tolist()
        machine, zero, element, matrix = kind // 1000, kind // 100 % 10, kind // 10 % 10, kind % 10
        known = machine == (order == ">") and zero == 0 and element < len(NUMBERS_4) and matrix <= 2
        if known and rows >= 0 and columns >= 0 and is_complex in (0, 1) and 1 < name <= MAX_NAME:
            dtype = np.dtype(f"{order}{NUMBERS_4[element]}")
            return _Header4(order, dtype, matrix, rows, columns, bool(is_complex), name)
    return None


def _version_4(file: BinaryIO, size: int) -> Iterator[_Leaf]:
    at = 0
    for _ in range(MAX_VARIABLES):
        file.seek(at)
        beginning = file.read(20)
        if not beginning and at:
            return
        header = _header_4(beginning)
        if header is None:
            raise ValueError(f"something stands at byte {at:,} that is no variable")
        name = _printable(_exactly(file, header.name))
        dims, offset = (header.rows, header.columns), at + 20 + header.name
        length = math.prod(dims) * header.dtype.itemsize
        if offset + length * (1 + header.is_complex) > size:
            raise ValueError(f"{name} claims {length:,} bytes, and the file has {size:,}")
        leaf = _Leaf(name, dims, header.dtype, header.kind == 1, None, False, _Stretch(0, None))
        if leaf.text and 0 in dims:  # of any number of lines
            leaf = leaf._replace(dims=(min(dims[0], 1), 0))
        if header.is_complex:
            yield leaf._replace(fault=COMPLEX_NUMBERS)
        elif header.kind == 2:
            yield leaf._replace(fault=OTHERS[SPARSE])
        else:
            yield leaf._replace(offsets=(offset,), sizes=(length,), dtypes=(header.dtype,))
        at = offset + length * (1 + header.is_complex)
    raise ValueError(f"it holds more than {MAX_VARIABLES:,} variables")


# ---------------------------------------------------------------------------------------------------------------------
# Bytes
# ---------------------------------------------------------------------------------------------------------------------


def _content(file: BinaryIO, stretch: _Stretch) -> BinaryIO:
    """A variable, at its beginning; places in it count from there."""
    file.seek(stretch.start)
    if stretch.compressed is None:
        return _From(file, stretch.start)  # type: ignore[return-value]
    return io.BufferedReader(_Kept(file, lambda: Inflate(15), stretch.compressed), CHUNK)  # type: ignore[return-value]


class _From:
    """A file from some place on."""

    def __init__(self, file: BinaryIO, start: int):
        self.file, self.start = file, start

    def read(self, size: int) -> bytes:
        return self.file.read(size)

    def seek(self, at: int) -> Any:
        return self.file.seek(self.start + at)


class _Kept(Unpacked):
    """Leaves its file open, of which it is a part."""

    def close(self) -> None:
        io.RawIOBase.close(self)


def _exactly(file: Any, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ValueError("it ends too soon")
    return bytes(content)


def _printable(name: bytes) -> str:
    return one_line(name.rstrip(b"\0").decode("utf-8", "replace"))


def _shown(dims: Sequence[int]) -> str:
    return " x ".join(f"{length:,}" for length in dims)
