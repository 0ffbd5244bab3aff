"""Tables of pixels: a picture in each line, as Kaggle has MNIST (`label,pixel0,pixel1,…`) and FER2013 (`0,70 80 82 …`).

With or without headings, with or without a column of labels, and with commas, semicolons, tabs, bars or blanks between
the cells. All of it is read once to learn what it holds, and a second time, some lines at a time, for the pixels.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO, NamedTuple

import numpy as np

from genkit.data.forms.places import Place, plain
from genkit.data.forms.stored import Holder, Name, Stored, reading
from genkit.errors import DataError
from genkit.wording import one_line

REMEDY = "mend it there, or save the table again"
#: Bytes that are read at once, and of one line.
BLOCK, MAX_LINE = 1 << 20, 1 << 24
#: Lines by which it is told what the columns are, and bytes of them where they are long, though never less than three.
SAMPLE, SAMPLE_BYTES, SAMPLE_LEAST = 200, 1 << 20, 3
#: Lines behind these that are looked at, one in SPACING, where the first leave a doubt.
FURTHER, SPACING = 100_000, 200
#: The share of a column's cells that are numbers where it is one of numbers.
MOST = 0.8
#: Digits of the longest whole number that isn't read as one with a fraction.
LONGEST = 18
#: Columns of numbers that make an image, at least.
MIN_PIXELS = 16
#: Columns beside the pixels that are kept, and bytes of all different texts in one of them, and of all its lines.
MAX_BESIDE, MAX_TEXT, MAX_TABLE = 16, 1 << 24, 1 << 28
#: What stands between cells, the surest first.
DELIMITERS = (b"\t", b";", b",", b"|", b" ")
#: What stands for a delimiter within quotes, which no text has.
WITHIN = b"\x1a"
#: Headings of columns of labels, and of those that only number the lines.
LABELS = {
    *("label", "labels", "class", "classes", "target", "y", "gnd", "category", "emotion", "digit", "letter"),
    *("character", "species", "expression"),
}
NUMBERING = {"", "unnamed: 0", "index", "idx", "id", "imageid", "image_id", "row", "rownames", "no", "#"}
#: Headings of columns that say which split a line is of, and what they say.
USAGE = {"usage", "split", "subset", "set", "partition", "part"}
PARTS = {
    **dict.fromkeys(("training", "train"), "train"),
    **dict.fromkeys(("publictest", "val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("privatetest", "test", "testing"), "test"),
}
#: Types of whole numbers, the smallest first.
INTEGERS = tuple(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4", "i8"))
_NUMBER = re.compile(rb"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|\s*[+-]?(nan|inf)\s*", re.IGNORECASE)


def is_table(beginning: bytes) -> bool:
    """Whether a file that begins so is text with something between cells, and numbers in it."""
    if any(byte < 32 and byte not in b"\t\r\n" for byte in beginning):
        return False
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    first = text.partition(b"\n")[0]
    if not first or first[:1] in b"{[<%\\" or not any(byte in b"0123456789" for byte in text):
        return False
    if any(delimiter in first for delimiter in DELIMITERS[:4]):
        return True
    cells = first.split()
    return len(cells) >= MIN_PIXELS and sum(_is_number(cell) or cell[-1:].isdigit() for cell in cells) > len(cells) / 2


class _NoPixelsError(ValueError):
    """It is a table of other things, and what to do."""


class PixelTable(Holder):
    """The pixels of a table as `images`, its labels as `labels`, and its other columns by their headings.

    Where a column says which split a line is of, they are `train_images`, `train_labels` and so on.
    """

    form = "a table of pixels"

    def __init__(self, place: Place, file: str):
        super().__init__(place, file)
        with reading(self.path, REMEDY):
            try:
                columns = _columns(self._sample())
                if columns.in_doubt:  # sorted by class, say
                    columns = _columns(self._sample(FURTHER))
                self.columns = columns
            except _NoPixelsError as error:
                raise DataError(f"{self.path}: {error}") from error
            self.survey = _survey(columns, self._lines())
        self.notes = [*columns.notes, *self.survey.notes]
        beside = [name for at, name in columns.beside.items() if at in self.survey.texts and at != columns.usage]
        self.parts = self.survey.parts
        splits = [f"{part}_" for part in ("train", "val", "test") if part in self.parts] if self.parts else [""]
        self.names = [Name(file, f"{split}{name}") for split in splits for name in ("images", *beside)]

    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        found: dict[Name, Stored] = {}
        for name in names:
            part, _, column = str(name.member).partition("_") if self.parts else ("", "", str(name.member))
            lines = np.flatnonzero(np.array(self.parts) == part) if self.parts else None
            if column == "images":
                found[name] = _Pixels(self, name, lines)
            else:
                at = next(at for at, heading in self.columns.beside.items() if heading == column)
                found[name] = _Texts(self, name, self.survey.texts[at], lines)
        return found

    def _sample(self, further: int = 0) -> list[tuple[int, bytes]]:
        """The first lines that aren't blank, with their numbers, and some of the `further` lines, evenly spaced."""
        with plain(self.place, self.file) as file:
            lines = ((number, line) for first, lines in _blocks(file) for number, line in enumerate(lines, first))
            sample: list[tuple[int, bytes]] = []
            size = 0
            for number, line in lines:
                if line.strip():
                    sample.append((number, line))
                    size += len(line)
                if len(sample) == SAMPLE or (size > SAMPLE_BYTES and len(sample) >= SAMPLE_LEAST):
                    break
            spaced = islice(lines, SPACING - 1, further, SPACING)
            return sample + [(number, line) for number, line in spaced if line.strip()]

    def _lines(self) -> Iterator[tuple[list[int], list[bytes]]]:
        """The lines of the table's body with their numbers, some at a time."""
        with plain(self.place, self.file) as file:
            for first, lines in _blocks(file):
                numbered = [
                    (number, line)
                    for number, line in enumerate(lines, first)
                    if number >= self.columns.first_line and line and not line.isspace()
                ]
                if numbered:
                    numbers, kept = zip(*numbered, strict=True)
                    yield list(numbers), list(kept)

    def pixels(self) -> Iterator[np.ndarray]:
        """All pixels, some lines at a time, integers or float64 (lines, pixels)."""
        for numbers, lines in self._lines():
            found = self.columns.numbers(numbers, self.columns.cells(numbers, lines)[0])
            yield found if self.columns.order is None else found[:, self.columns.order]


class _Pixels(Stored):
    """The pixels of all lines, or of those of one split."""

    def __init__(self, table: PixelTable, name: Name, lines: np.ndarray | None):
        self.table, self.name, self.path, self.lines = table, name, table.path, lines
        self.shape = (table.survey.lines if lines is None else len(lines), table.columns.pixels)
        self.dtype = table.survey.dtype

    def rows(self, step: int) -> Iterator[np.ndarray]:
        with reading(self.path, REMEDY):
            held: list[np.ndarray] = []
            start = length = 0
            for block in self.table.pixels():
                if self.lines is not None:
                    first, last = np.searchsorted(self.lines, (start, start + len(block)))
                    wanted = self.lines[first:last] - start
                    start += len(block)
                    block = block[wanted]
                held.append(block.astype(self.dtype))
                length += len(block)
                if length >= step:
                    whole = np.concatenate(held)
                    for row in range(0, length - step + 1, step):
                        yield whole[row : row + step]
                    held = [whole[length // step * step :]]
                    length = len(held[0])
            if length:
                yield np.concatenate(held)


class _Texts(Stored):
    """A column beside the pixels: whole numbers where all are such, else strings."""

    def __init__(self, table: PixelTable, name: Name, texts: _Column, lines: np.ndarray | None):
        self.name, self.path = name, table.path
        which = np.frombuffer(texts.indices, np.int32)
        values = texts.array()
        if len(which) * values.itemsize > MAX_TABLE:
            raise DataError(f"{self.path}: {name.member} takes more than {MAX_TABLE:,} bytes; write shorter labels")
        self.values = values[which if lines is None else which[lines]]
        self.shape, self.dtype = self.values.shape, self.values.dtype

    def rows(self, step: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.values), step):
            yield self.values[start : start + step]


# ---------------------------------------------------------------------------------------------------------------------
# Lines
# ---------------------------------------------------------------------------------------------------------------------


def _blocks(file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Whole lines without what ends them, some at a time, and the number of the first."""
    rest, number = b"", 1
    while content := file.read(BLOCK):
        content = rest + content
        if number == 1:
            content = content.removeprefix(b"\xef\xbb\xbf")
        *lines, rest = content.split(b"\n")
        if len(rest) > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
            raise ValueError(f"from line {number} on, it has a line of more than {MAX_LINE:,} bytes")
        yield number, [line.rstrip(b"\r") for line in lines]
        number += len(lines)
    yield number, [rest.rstrip(b"\r")]


def _unquoted(line: bytes, delimiter: bytes) -> bytes:
    """A line without its quotes, and with WITHIN for what, within them, separates no cells."""
    parts = line.split(b'"')
    parts[1::2] = [part.replace(delimiter, WITHIN) for part in parts[1::2]] if delimiter != b" " else parts[1::2]
    return b"".join(parts)


def _is_number(cell: bytes) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _is_whole(cell: bytes) -> bool:
    """Whether it is a whole number that a float holds, however it is written."""
    return _is_number(cell) and (number := float(cell)).is_integer() and abs(number) < 2**53


class _Columns(NamedTuple):
    """What the columns of a table are.

    Attributes:
        delimiter: between cells.
        between: between pixels: the same, or a blank where they are all in one cell.
        width: how many cells a line has.
        first, last: the cells that hold the pixels.
        pixels: how many there are.
        beside: the other columns by their place, and what each is called.
        usage: the place of the column that says which split a line is of, or None.
        first_line: the number of the first line behind the headings.
        in_doubt: whether the labels may as well be at the other end.
        order: of the pixels' columns, by the numbers in their headings; None where they stand so.
    """

    delimiter: bytes
    between: bytes
    width: int
    first: int
    last: int
    pixels: int
    beside: dict[int, str]
    usage: int | None
    first_line: int
    notes: tuple[str, ...]
    in_doubt: bool = False
    order: np.ndarray | None = None

    def cells(self, numbers: Sequence[int], lines: Sequence[bytes]) -> tuple[list[bytes], list[list[bytes]]]:
        """Of each line its pixels, undivided, and the cells before and behind them.

        Raises:
            ValueError: when a line has too few cells, or too many of them.
        """
        before, behind = self.first, self.width - 1 - self.last
        pixels, others = [], []
        for number, line in zip(numbers, lines, strict=True):
            if b'"' in line:
                line = _unquoted(line, self.delimiter)
            if self.delimiter == b" ":
                line = b" ".join(line.split())
            start = line.split(self.delimiter, before)
            end = start[-1].rsplit(self.delimiter, behind)
            if len(start) <= before or len(end) <= behind:
                cells = line.count(self.delimiter) + 1
                raise ValueError(f"line {number} has {cells:,} cells, where {self.width:,} are expected")
            pixels.append(b" ".join(end[0].split()) if self.between == b" " else end[0])
            others.append([cell.replace(WITHIN, self.delimiter) for cell in (*start[:-1], *end[1:])])
        return pixels, others

    def numbers(self, lines: Sequence[int], pixels: Sequence[bytes]) -> np.ndarray:
        """The numbers of some lines, (lines, pixels): integers, or float64 where they aren't all of digits alone.

        Raises:
            ValueError: when a line has another count of them, or something that is no number.
        """
        found = _whole_numbers(b"\n".join(pixels) + b"\n", self.between, self.pixels)
        if found is not None:
            return found
        values = np.empty((len(pixels), self.pixels))
        for row, (number, line) in enumerate(zip(lines, pixels, strict=True)):
            cells = line.split(self.between)
            if len(cells) != self.pixels:
                more = self.width - (1 if self.between != self.delimiter else self.pixels)
                what = "pixels" if self.between != self.delimiter else "cells"
                raise ValueError(
                    f"line {number} has {len(cells) + more * (what == 'cells'):,} {what}, where "
                    f"{self.pixels + more * (what == 'cells'):,} are expected"
                )
            try:
                values[row] = np.fromiter(map(float, cells), np.float64, len(cells))
                fault = b"_" in line
            except ValueError:
                fault = True
            if fault:
                column, cell = next((at, cell) for at, cell in enumerate(cells) if not _is_number(cell))
                shown = one_line(cell.decode("utf-8", "replace"), 30)
                where = f"pixel {column + 1}" if self.between != self.delimiter else f"column {self.first + column + 1}"
                raise ValueError(
                    f"line {number}, {where}: {shown!r} is no number" if shown else f"line {number}, {where}: is empty"
                )
        return values


def _whole_numbers(text: bytes, between: bytes, width: int) -> np.ndarray | None:
    """Lines of numbers of digits alone, uint16 or int64 (lines, width); None where they are no such lines.

    (pyarrow's reader takes longer for a few lines of many columns, and so do NumPy's.)
    """
    # So that the first number has as much before it as the longest.
    codes = np.frombuffer(b"\n" * (LONGEST + 1) + text, np.uint8)
    digits = codes - np.uint8(48)  # all else is larger than 9
    ends = np.flatnonzero(digits > 9)[LONGEST + 1 :]
    newlines = codes[ends[width - 1 :: width]]
    if len(ends) % width or text.count(b"\n") != len(newlines) or (newlines != 10).any():
        return None
    if text.count(between) + len(newlines) != len(ends):
        return None
    digit = digits[ends - 1]
    if (digit > 9).any():
        return None
    values, more = digit.astype(np.uint16), np.ones(len(digit), bool)
    for place in range(1, LONGEST + 1):
        digit = digits[ends - 1 - place]
        more &= digit < 10
        if not more.any():
            return values.reshape(-1, width)
        if place == 4:
            values = values.astype(np.int64)
        values += np.where(more, digit, np.uint8(0)).astype(values.dtype) * values.dtype.type(10**place)
    return None


# ---------------------------------------------------------------------------------------------------------------------
# What the columns are
# ---------------------------------------------------------------------------------------------------------------------


def _columns(sample: list[tuple[int, bytes]]) -> _Columns:
    """By the first lines.

    Raises:
        ValueError: when it is damaged.
        _NoPixelsError: when it is another table.
    """
    numbers = [number for number, _ in sample]
    lines = [line for _, line in sample]
    if not lines:
        raise ValueError("it is empty")
    if lines[0].startswith(b"#") and len(lines) > 1:  # as numpy.savetxt writes headings
        lines[0] = lines[0].lstrip(b"# ")
    # Only what stands outside of quotes.
    delimiter = _delimiter([re.sub(rb'"[^"]*"', b"0", line) for line in lines])
    lines = [_unquoted(line, delimiter) for line in lines]
    rows = [line.split(None if delimiter == b" " else delimiter) for line in lines]
    headings = _headings(rows)
    body = rows if headings is None else rows[1:]
    first_line = numbers[0] if headings is None else numbers[0] + 1
    if not body:
        raise ValueError("it has headings and no lines below them")
    width = len(body[0])
    if headings is not None and len(headings) == width - 1:  # R leaves out the heading of the lines' names
        headings = ["", *headings]
    if headings is not None and len(headings) != width and width < MIN_PIXELS:
        raise _NoPixelsError(_looks_like(headings, body))
    if headings is not None and len(headings) != width:
        raise ValueError(f"it has {len(headings):,} headings, and line {first_line} has {width:,} cells")
    body = [row for row in body if len(row) == width]
    columns = list(zip(*body, strict=True))
    # A damaged cell doesn't make a column one of words, but is named later.
    numeric = [sum(map(_is_number, column)) > MOST * len(column) for column in columns]
    called = [heading.strip().lower() for heading in headings] if headings else None

    # All pixels in one cell.
    for at, column in enumerate(columns if width <= MAX_BESIDE else ()):
        counts = {len(cell.split()) for cell in column}
        if max(counts) >= MIN_PIXELS and all(_is_number(cell) for cell in column[0].split()) and delimiter != b" ":
            pixels = len(column[0].split())
            beside, usage, notes = _beside(headings, called, columns, numeric, at, at)
            return _Columns(delimiter, b" ", width, at, at, pixels, beside, usage, first_line, notes)

    first, last, in_doubt = _stretch(headings, called, columns, numeric)
    if last - first + 1 < MIN_PIXELS:
        raise _NoPixelsError(_looks_like(headings, body))
    beside, usage, notes = _beside(headings, called, columns, numeric, first, last)
    pixels = last - first + 1
    order = _order(headings[first : last + 1]) if headings else None
    if order is not None:
        notes = (*notes, "the columns of pixels are put in order by the numbers in their headings")
    return _Columns(delimiter, delimiter, width, first, last, pixels, beside, usage, first_line, notes, in_doubt, order)


def _order(headings: Sequence[str]) -> np.ndarray | None:
    """How columns are put so that their numbers rise: `pixel2` before `pixel10`; None where they do, or have none."""
    numbers = [tuple(int(digits) for digits in re.findall(r"\d{1,9}", heading)) for heading in headings]
    if len({len(each) for each in numbers}) > 1 or not numbers[0] or len(set(numbers)) < len(numbers):
        return None
    rising = sorted(range(len(numbers)), key=numbers.__getitem__)
    return None if rising == list(range(len(numbers))) else np.array(rising)


def _delimiter(lines: Sequence[bytes]) -> bytes:
    """What stands as often in each of the first lines."""
    for delimiter in DELIMITERS:
        counts = {
            len(line.split()) - 1 if delimiter == b" " else line.count(delimiter) for line in lines[1:10] or lines
        }
        if counts != {0} and (len(counts) == 1 or delimiter == DELIMITERS[-1]):
            return delimiter
    return max(DELIMITERS[:-1], key=lambda delimiter: lines[-1].count(delimiter))


def _headings(rows: Sequence[Sequence[bytes]]) -> list[str] | None:
    """The first line where it has names and not values."""
    first, second = rows[0], rows[1] if len(rows) > 1 else []
    words = [not _is_number(cell) for cell in first]
    if len(second) == len(first):
        named = any(
            (word and _is_number(below)) or not cell.strip()
            for word, cell, below in zip(words, first, second, strict=True)
        )
        named = named or all(words)
    else:
        named = sum(words) > len(first) / 2
    # pandas numbers columns without names, and makes a line of values that it takes for names unlike: 0, 0.1, 0.2.
    counted = [str(number).encode() for number in range(len(first))]
    one_more = [str(number + 1).encode() for number in range(len(first))]
    alike = len(first) >= MIN_PIXELS and len(set(first)) == len(first)
    mangled = (
        alike
        and sum(re.fullmatch(rb"\d+\.\d+", cell) is not None for cell in first) > len(first) / 2
        and not any(b"." in cell for cell in second)
    )
    if not named and not (len(first) > 2 and list(first) in (counted, one_more)) and not mangled:
        return None
    return [one_line(cell.replace(WITHIN, b",").decode("utf-8", "replace")).strip() for cell in first]


def _stretch(
    headings: Sequence[str] | None,
    called: Sequence[str] | None,
    columns: Sequence[Sequence[bytes]],
    numeric: Sequence[bool],
) -> tuple[int, int, bool]:
    """The first and the last column of pixels: the longest run of numbers whose headings are alike.

    And whether it couldn't be told at which end of them the labels are.
    """
    runs: list[tuple[int, int]] = []
    kinds = [re.sub(r"[\d\W_]+", "#", heading) if called else "#" for heading in called or [""] * len(columns)]
    for at, kind in enumerate(kinds):
        other = called is not None and (called[at] in LABELS or called[at] in NUMBERING or called[at] in USAGE)
        if not numeric[at] or other:
            continue
        if runs and runs[-1][1] == at - 1 and kinds[at - 1] == kind:
            runs[-1] = runs[-1][0], at
        else:
            runs.append((at, at))
    first, last = max(runs, key=lambda run: run[1] - run[0], default=(0, -1))
    in_doubt = False
    # Columns whose names don't tell are numbered, or a label stands at one end.
    if called is None or called[first] == "0" or kinds[first] != "pixel#":
        if first == 0 and _is_numbering(columns[0]) and not _square(last + 1):
            first += 1
        if not _square(last - first + 1) and _square(last - first) and last - first >= MIN_PIXELS:
            by_ends = _differ(columns[first]), _differ(columns[last])
            in_doubt = by_ends[0] == by_ends[1]
            if by_ends[0] <= by_ends[1]:
                first += 1
            else:
                last -= 1
    return first, last, in_doubt


def _square(pixels: int) -> bool:
    """Whether so many pixels make a square, in grey or in colour."""
    return any(
        pixels % channels == 0 and math.isqrt(pixels // channels) ** 2 * channels == pixels for channels in (1, 3)
    )


def _differ(column: Sequence[bytes]) -> float:
    """How little a column looks like labels: by its different values, of which a pixel in a corner has one alone."""
    values = {cell.strip() for cell in column}
    if (len(values) == 1 and len(column) > 1) or not all(map(_is_whole, values)):
        return math.inf
    return len(values)


def _is_numbering(column: Sequence[bytes]) -> bool:
    """Whether it counts 0, 1, 2 or 1, 2, 3."""
    first = column[0].strip()
    return (
        len(column) > 3
        and first in (b"0", b"1")
        and all(cell.strip() == str(int(first) + row).encode() for row, cell in enumerate(column))
    )


def _beside(
    headings: Sequence[str] | None,
    called: Sequence[str] | None,
    columns: Sequence[Sequence[bytes]],
    numeric: Sequence[bool],
    first: int,
    last: int,
) -> tuple[dict[int, str], int | None, tuple[str, ...]]:
    """The columns that aren't pixels: what they are called, which says the split, and what is to be said of it."""
    others = [at for at in range(len(columns)) if not first <= at <= last]
    notes = []
    numbering = [
        at
        for at in others
        if _is_numbering(columns[at]) and (called is None or called[at] in NUMBERING) and len(others) > 0
    ]
    if called is not None:
        numbering += [at for at in others if called[at] in NUMBERING and at not in numbering]
    for at in numbering:
        title = f" {headings[at]!r}" if headings and headings[at] else ""
        notes.append(f"column {at + 1}{title} isn't used, since it only numbers the lines")
    others = [at for at in others if at not in numbering]
    usage = next((at for at in others if called is not None and called[at] in USAGE), None)
    if usage is not None and not all(
        cell.strip().decode("utf-8", "replace").lower() in PARTS for cell in columns[usage]
    ):
        usage = None
    possible = [at for at in others if at != usage]
    label = next((at for at in possible if called is not None and called[at] in LABELS), None)
    if label is None and len(possible) == 1:
        label = possible[0]
        where = "first" if label < first else "last"
        title = f", {headings[label]!r}," if headings and headings[label] else ""
        notes.append(f"the {where} column{title} is taken for the labels")
    names = {at: (headings[at] if headings and headings[at] else f"column {at + 1}") for at in others[:MAX_BESIDE]}
    if label is not None:
        names = {label: "labels", **{at: name for at, name in names.items() if at != label and name != "labels"}}
    return names, usage, tuple(notes)


def _looks_like(headings: Sequence[str] | None, body: Sequence[Sequence[bytes]]) -> str:
    """What a table holds that has no pixels."""
    shown = list(headings or [one_line(cell.decode("utf-8", "replace"), 20) for cell in body[0]])
    listed = ", ".join(shown[:6]) + (", …" if len(shown) > 6 else "")
    files = any(re.search(rb"\.(png|jpe?g|tiff?|bmp|gif|webp)\s*$", cell, re.IGNORECASE) for cell in body[0])
    if files:
        return f"lists files of pictures ({listed}); name the folder that they are in"
    what = f"columns {listed}" if headings else f"lines such as {listed}"
    return f"has no pixels, but {what}; a table of pixels has {MIN_PIXELS} columns of numbers or more"


# ---------------------------------------------------------------------------------------------------------------------
# All lines, once
# ---------------------------------------------------------------------------------------------------------------------


class _Column:
    """The texts of a column beside the pixels.

    Attributes:
        indices: of each line, which of `values` it has.
    """

    def __init__(self) -> None:
        self.values: dict[bytes, int] = {}
        self.indices = array("i")
        self.size = 0

    def add(self, text: bytes) -> None:
        text = text.strip()
        index = self.values.get(text)
        if index is None:
            index = self.values[text] = len(self.values)
            self.size += len(text) + 64  # with what Python adds
        self.indices.append(index)

    def array(self) -> np.ndarray:
        """The values: int64 where all are whole numbers, float64 where all are numbers, else strings."""
        if all(map(_is_whole, self.values)):
            return np.array([int(float(text)) for text in self.values], np.int64)
        if all(map(_is_number, self.values)):
            return np.array([float(text) for text in self.values])
        return np.array([text.decode("utf-8", "replace") for text in self.values])


class _Survey(NamedTuple):
    """What a table holds.

    Attributes:
        lines: how many.
        dtype: that holds all pixels.
        texts: the columns beside them by their place, but for those with too much text.
        parts: "train", "val" or "test" of each line; [] where it says of none.
    """

    lines: int
    dtype: np.dtype
    texts: dict[int, _Column]
    parts: list[str]
    notes: tuple[str, ...]


def _survey(columns: _Columns, blocks: Iterator[tuple[list[int], list[bytes]]]) -> _Survey:
    count, low, high, whole = 0, math.inf, -math.inf, True
    behind = {at: at if at < columns.first else at - (columns.last - columns.first + 1) for at in columns.beside}
    texts = {at: _Column() for at in columns.beside}
    notes = []
    for numbers, lines in blocks:
        pixels, others = columns.cells(numbers, lines)
        values = columns.numbers(numbers, pixels)
        count += len(values)
        low, high = min(low, values.min()), max(high, values.max())
        if values.dtype.kind == "f":
            whole = whole and bool((values == np.rint(values)).all())
        for at in list(texts):
            for number, cells in zip(numbers, others, strict=True):
                if columns.beside[at] == "labels" and not cells[behind[at]].strip():
                    raise ValueError(f"line {number} has no label")
                texts[at].add(cells[behind[at]])
            if texts[at].size > MAX_TEXT:
                del texts[at]
                notes.append(f"{columns.beside[at]}: not used, since it is longer than labels are")
    whole = whole and -(2**53) < low <= high < 2**53
    dtype: np.dtype = np.dtype(np.float64)
    if whole:
        dtype = next(each for each in INTEGERS if np.iinfo(each).min <= low and high <= np.iinfo(each).max)
    parts: list[str] = []
    if columns.usage is not None:
        column = texts[columns.usage]
        said = {text: PARTS.get(text.decode("utf-8", "replace").lower()) for text in column.values}
        if all(said.values()):
            names = [str(said[text]) for text in column.values]
            parts = [names[index] for index in column.indices]
            words = ", ".join(f"{text.decode()} is {part}" for text, part in said.items())
            notes.append(f"its splits are those of the column {columns.beside[columns.usage]}: {words}")
    return _Survey(count, dtype, texts, parts, tuple(notes))
