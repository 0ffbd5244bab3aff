"""What do the tables beside a folder's images say: attributes of each image, and which split it belongs to?

Known tables are `attributes.csv` and those that CelebA comes with, in the folder itself. Their names of files are only
compared with those that were found; nothing is opened by them.
"""

from __future__ import annotations

import codecs
import csv
import io
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from sys import intern
from typing import NamedTuple

import numpy as np

from genkit.data.decode import EXTENSIONS
from genkit.data.forms.places import Folder, Place
from genkit.errors import DataError
from genkit.wording import counted

#: Larger tables are refused: they are read into memory.
MAX_BYTES = 1 << 28
#: Different words of attributes that are remembered.
MOST_VALUES = 1024
#: The first that lies in a folder is read.
ATTRIBUTES = ("attributes.csv", "list_attr_celeba.txt", "list_attr_celeba.csv")
PARTITION = "list_eval_partition.txt"

#: Tables of labels as competitions have them, and what the column may be called that holds these.
LABEL_TABLES = re.compile(r"(?i)(train|labels?|classes|annotations?)([-_ ]?labels?)?\.csv")
LABEL_WORDS = {"label", "labels", "class", "classes", "target", "category", "breed", "species", "diagnosis", "y"}

#: What may stand in a cell beside 0, 1 and -1, which is "no", as CelebA has it.
WORDS = {
    **dict.fromkeys(("true", "yes", "t", "y"), 1),
    **dict.fromkeys(("false", "no", "f", "n"), 0),
}
EXPECTED = "write 0 or 1, -1 or 1, no or yes, false or true"
#: What may stand between the cells of a .csv: what stands most often in its first line.
DELIMITERS = ",;\t|"
#: A byte order mark, and the encoding that it tells of.
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

log = logging.getLogger("genkit")


class BadTable(DataError):
    """A table with at least one fault: the message is the first of them."""

    def __init__(self, faults: list[str]):
        super().__init__(faults[0])
        self.faults = faults


class Line(NamedTuple):
    """A line of a table that isn't empty."""

    number: int  # in the file, from 1
    cells: list[str]  # without blanks around them


def read_attributes(path: Path, files: Sequence[str], place: Place | None = None) -> tuple[tuple[str, ...], np.ndarray]:
    """The attributes' names, and bool (N, A) for N files.

    A `.csv` has a line of headings and then a line a file: its path in the folder (or just its name, if no two files
    have the same one; also in another case, without its ending, or under another computer's folders), and for each
    attribute 0 or 1, -1 or 1, or one of WORDS. Between the cells are commas, semicolons, tabs or bars. A `.txt` is
    CelebA's: a line with the number of files, one with the names, and then the same with blanks for commas. It lies at
    the top of `place`, or of its own folder.

    Raises:
        BadTable: when a file has no line, or the table isn't as described. Lines without a file are only counted in
            a warning: a few files out of a large set may keep the large set's table.
    """
    lines = _read(path, place)
    faults: list[str] = []
    if path.suffix == ".txt":
        if len(lines) < 2 or lines[0].cells != [str(len(lines) - 2)]:
            raise DataError(f"{path}: the first line isn't the number of lines after the second; is the table whole?")
        headings, body = lines[1].cells, lines[2:]
    else:
        lines = _without_padding(lines)
        headings, body = (lines[0].cells[1:], lines[1:]) if lines else ([], [])
        first = _as_path(lines[0].cells[0]) if lines else ""
        if first in {*files, *(file.rpartition("/")[2] for file in files)}:
            raise DataError(
                f"{path}: its first line is about {first}; put a line of headings before it, such as file,male,hat"
            )
    try:
        names = attribute_names(path, headings)
    except DataError as error:
        names = ()
        faults.append(str(error))
    rows = _match(path, body, files, width=1 + len(headings), faults=faults)
    table = np.zeros((len(files), len(headings)), np.int8)
    unknown = []
    values = _Values()  # a table of a large set has millions of cells, of two kinds
    for row, (file, line) in enumerate(zip(files, rows, strict=True)):
        if line is None:
            continue
        found = [values[cell] for cell in line.cells[1:]]
        if None in found:
            unknown += [
                f"line {line.number}, {heading}: {printable(repr(cell))} for {file}"
                for heading, cell, value in zip(headings, line.cells[1:], found, strict=True)
                if value is None
            ]
        table[row] = [value or 0 for value in found]
    _enter(faults, path, unknown, EXPECTED)
    for heading, column_of in zip(headings, table.T, strict=True):
        if {-1, 0, 1} <= set(column_of.tolist()):
            faults.append(
                f"{path}: {heading} is -1, 0 and 1, so that -1 may be no or not known; write 0 or 1, and leave out "
                "images of which it isn't known"
            )
    if faults:
        raise BadTable(faults)
    return names, table > 0


class _Values(dict[str, "int | None"]):
    """What cells say, each asked for once."""

    def __missing__(self, cell: str) -> int | None:
        value = _value(cell)
        if len(self) < MOST_VALUES:
            self[cell] = value
        return value


def _value(cell: str) -> int | None:
    """1 for yes, 0 or -1 for no; None where a cell says something else. `1.0` is 1, and so is `1,0`."""
    number = re.fullmatch(r"([+-]?)([01])([.,]0*)?", cell)
    if number:
        return -int(number[2]) if number[1] == "-" else int(number[2])
    return WORDS.get(cell.lower())


def attribute_names(path: Path, headings: Sequence[str]) -> tuple[str, ...]:
    """Names that an expression like `male&!wavy-hair` can be made of.

    They become lower case, with `-` for `_` and blanks (`Wavy_Hair` is `wavy-hair`), and may then hold nothing but
    letters a-z, digits and `-`.

    Raises:
        DataError: when one can't be a name, there is none, or two are the same.
    """
    names = tuple(re.sub(r"[_\s]+", "-", heading.strip().lower()) for heading in headings)
    for name, heading in zip(names, headings, strict=True):
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            raise DataError(f"{path}: {heading!r} can't name an attribute; use letters, digits and '-' or '_'")
    if not names or len(set(names)) < len(names):
        raise DataError(f"{path}: name at least one attribute, and each only once")
    return names


def read_partition(path: Path, files: Sequence[str], place: Place | None = None) -> np.ndarray:
    """CelebA's own splits, in which no person stands in two: uint8 (N,) of 0 for train, 1 for val, 2 for test.

    Raises:
        BadTable: when a file has no line, or one with another number.
    """
    faults: list[str] = []
    rows = _match(path, _read(path, place), files, width=2, faults=faults)
    known = {"0": 0, "1": 1, "2": 2}
    unknown = [
        f"line {line.number}: {printable(repr(line.cells[1]))} for {file}"
        for file, line in zip(files, rows, strict=True)
        if line and line.cells[1] not in known
    ]
    _enter(faults, path, unknown, "write 0 for train, 1 for val or 2 for test")
    if faults:
        raise BadTable(faults)
    return np.array([known[line.cells[1]] for line in rows if line], np.uint8)


class Column(NamedTuple):
    """A column of a table beside images, by the image of each line.

    Attributes:
        name: its heading.
        of: what it says of each file that has a line.
    """

    name: str
    of: dict[str, str]


def read_labels(path: Path, files: Sequence[str], place: Place | None = None) -> Column | None:
    """The labels in a table as competitions have it, of `files` by their names, with their endings or without.

    None where no column names all of these files, it can't be told which of the others has the labels, or several
    lines say different things of a file, as those of what is where in a picture.

    Raises:
        DataError: when it isn't a table.
    """
    headings, *lines = [line.cells for line in _without_padding(_read(path, place))] or [[]]
    wanted = {file.rpartition("/")[2].casefold(): file for file in files}
    bare = {_without_ending(name): file for name, file in wanted.items()}
    if len(headings) < 2 or len(bare) < len(files):
        return None
    lines = [cells for cells in lines if len(cells) == len(headings)]

    def file_of(cell: str) -> str | None:
        name = _as_path(cell).rpartition("/")[2].casefold()
        return wanted.get(name) or bare.get(name)

    for place_of_file in range(len(headings)):
        if len({file_of(cells[place_of_file]) for cells in lines} - {None}) == len(files):
            break
    else:
        return None
    others = [column for column in range(len(headings)) if column != place_of_file]
    called = [column for column in others if headings[column].strip().lower() in LABEL_WORDS]
    column = called[0] if called else others[0] if len(others) == 1 else None
    if column is None:
        return None
    found: dict[str, str] = {}
    for cells in lines:
        file = file_of(cells[place_of_file])
        if file is not None and found.setdefault(file, cells[column]) != cells[column]:
            log.warning(
                "%s: isn't used for labels, since it says both %s and %s of %s",
                *(path, printable(found[file]), printable(cells[column]), file),
            )
            return None
    return Column(headings[column], found) if all(found.values()) else None


def _read(path: Path, place: Place | None) -> list[Line]:
    """Raises DataError where it isn't text."""
    place = place or Folder(path.parent)
    try:
        if place.size(path.name) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES:,} bytes")
        with place.open(path.name) as file:
            content = file.read()
        encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
        text = content.decode(encoding)
        if "\0" in text:
            raise ValueError("it holds NUL characters, as UTF-16 without its mark does")
        if path.suffix == ".txt":
            lines = [
                Line(number, [*map(intern, line.split())])
                for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1)
            ]
        else:
            lines = _cells(text)
        return [line for line in lines if any(line.cells)]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: can't be read as a table in UTF-8 ({error}); save it again or remove it") from error


def _cells(text: str) -> list[Line]:
    """The lines of a .csv. Excel may have written into the first one what stands between its cells: `sep=;`."""
    text, skipped = text.removeprefix("\ufeff"), 0
    named = re.match(r"sep=(.)\r?\n", text)
    if named:
        text, skipped = text[named.end() :], 1
    outside_quotes = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    delimiter = named[1] if named else max(DELIMITERS, key=outside_quotes.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    # Most cells are one of a few words: each is kept once.
    return [Line(skipped + reader.line_num, [intern(cell.strip()) for cell in cells]) for cells in reader]


def _without_padding(lines: list[Line]) -> list[Line]:
    """Without empty columns at the end, as Excel leaves them, and the numbers of lines that pandas puts before them."""
    used = max((_width(line.cells) for line in lines), default=0)
    first = int(
        len(lines) > 1
        and lines[0].cells[0] in ("", "Unnamed: 0")
        and [line.cells[0] for line in lines[1:]] == [str(number) for number in range(len(lines) - 1)]
    )
    if not first and all(len(line.cells) <= used for line in lines):
        return lines
    return [line._replace(cells=line.cells[first:used]) for line in lines]


def _width(cells: list[str]) -> int:
    """The place of the last cell that isn't empty, from 1."""
    return next((place for place in range(len(cells), 0, -1) if cells[place - 1]), 0)


def _match(path: Path, lines: list[Line], files: Sequence[str], width: int, faults: list[str]) -> list[Line | None]:
    """The line of each file, in the order of `files`; lines are `width` cells long.

    What is wrong is entered into `faults`, one line a kind; a file without a good line then has None.
    """
    odd = [
        f"line {line.number}: {len(line.cells)} cells for {printable(line.cells[0])}, where {width} were expected"
        for line in lines
        if len(line.cells) != width
    ]
    _enter(faults, path, odd, "mend the line")
    counts = Counter(_as_path(line.cells[0]) for line in lines)
    twice = [f"{printable(file)} has more than one line" for file, count in counts.items() if count > 1]
    _enter(faults, path, twice, "keep one")

    by_name = {_as_path(line.cells[0]): line for line in lines}
    rows: list[Line | None] = [by_name.get(file) for file in files]
    # A relative path says where a file lies, and so which one it is.
    loose = {re.sub("^(/|[A-Za-z]:/).*/", "", cell): line for cell, line in by_name.items()}
    for spelled in SPELLINGS:
        if None not in rows:
            break
        wanted = [spelled(file.rpartition("/")[2]) for file in files]
        ambiguous = {name for name, count in Counter(wanted).items() if count > 1}
        said: dict[str, list[Line]] = defaultdict(list)
        for cell, line in loose.items():
            said[spelled(cell)].append(line)
        for place, name in enumerate(wanted):
            if rows[place] is None and name not in ambiguous and len(said[name]) == 1:
                rows[place] = said[name][0]

    missing = [file for file, row in zip(files, rows, strict=True) if row is None]
    if missing:
        faults.append(
            f"{path}: no line for {len(missing):,} of {counted(len(files), 'image')}, for example {missing[0]}; "
            "add them"
        )
    matched = {line.number for line in rows if line is not None}
    unknown = {cell for cell, line in by_name.items() if line.number not in matched}
    if unknown:
        example = printable(min(unknown))
        log.warning("%s: %d lines are about files that aren't here, for example %s", path, len(unknown), example)
    return [row if row is not None and len(row.cells) == width else None for row in rows]


def _as_path(cell: str) -> str:
    """A file's path as `files` have it: `./cat\\1.png` is `cat/1.png`."""
    return cell.replace("\\", "/").removeprefix("./")


def _without_ending(name: str) -> str:
    stem, dot, ending = name.casefold().rpartition(".")
    return stem if dot + ending in EXTENSIONS else name.casefold()


#: How a file's name may be spelled in a table; one after the other is tried.
SPELLINGS: tuple[Callable[[str], str], ...] = (str, str.casefold, _without_ending)


def _enter(faults: list[str], path: Path, same: list[str], remedy: str) -> None:
    """One line for all faults of a kind: the first, how many more there are, and what to do."""
    if same:
        others = f" (and {len(same) - 1:,} more like it)" if len(same) > 1 else ""
        faults.append(f"{path}: {same[0]}{others}; {remedy}")


def printable(name: str) -> str:
    """A name from a table, whose quotes may hold line breaks, in one line."""
    return name if name.isprintable() else ascii(name)
