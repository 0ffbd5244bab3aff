"""What do the tables beside a folder's images say: attributes of each image, and which split it belongs to?

Known tables are `attributes.csv` and those that CelebA comes with, in the folder itself. Their names of files are only
compared with those that were found; nothing is opened by them.
"""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genkit.errors import DataError
from genkit.wording import counted

#: The first that lies in a folder is read.
ATTRIBUTES = ("attributes.csv", "list_attr_celeba.txt", "list_attr_celeba.csv")
PARTITION = "list_eval_partition.txt"

#: What may stand in a cell.
VALUES = {"1": True, "true": True, "0": False, "-1": False, "false": False}

log = logging.getLogger("genkit")


class BadTable(DataError):
    """A table with at least one fault: the message is the first of them."""

    def __init__(self, faults: list[str]):
        super().__init__(faults[0])
        self.faults = faults


def read_attributes(path: Path, files: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The attributes' names, and bool (N, A) for N files.

    A `.csv` has a line of headings and then a line a file: its path in the folder (or just its name, if no two files
    have the same one), and for each attribute 0 or 1, -1 or 1, false or true. A `.txt` is CelebA's: a line with the
    number of files, one with the names, and then the same with blanks for commas.

    Raises:
        BadTable: when a file has no line, or the table isn't as described. Lines without a file are only counted in
            a warning: a few files out of a large set may keep the large set's table.
    """
    lines = _read(path)
    faults: list[str] = []
    if path.suffix == ".txt":
        if len(lines) < 2 or lines[0] != [str(len(lines) - 2)]:
            raise DataError(f"{path}: the first line isn't the number of lines after the second; is the table whole?")
        headings, body = lines[1], lines[2:]
    else:
        headings, body = (lines[0][1:], lines[1:]) if lines else ([], [])
    try:
        names = attribute_names(path, headings)
    except DataError as error:
        names = ()
        faults.append(str(error))
    rows = _match(path, body, files, width=1 + len(headings), faults=faults)
    table = np.zeros((len(files), len(headings)), bool)
    unknown = []
    for row, (file, cells) in enumerate(zip(files, rows, strict=True)):
        try:
            table[row, : len(cells)] = [VALUES[cell.strip().lower()] for cell in cells]
        except KeyError as error:
            unknown.append(f"{error} for {file}")
    _enter(faults, path, unknown, "write 0 or 1, -1 or 1, false or true")
    if faults:
        raise BadTable(faults)
    return names, table


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


def read_partition(path: Path, files: Sequence[str]) -> np.ndarray:
    """CelebA's own splits, in which no person stands in two: uint8 (N,) of 0 for train, 1 for val, 2 for test.

    Raises:
        BadTable: when a file has no line, or one with another number.
    """
    faults: list[str] = []
    rows = _match(path, _read(path), files, width=2, faults=faults)
    known = {"0": 0, "1": 1, "2": 2}
    unknown = [f"{cells[0]!r} for {file}" for file, cells in zip(files, rows, strict=True) if {*cells} - known.keys()]
    _enter(faults, path, unknown, "write 0 for train, 1 for val or 2 for test")
    if faults:
        raise BadTable(faults)
    return np.array([known[code] for (code,) in rows], np.uint8)


def _read(path: Path) -> list[list[str]]:
    """The cells of each line that isn't empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file) if path.suffix == ".csv" else (line.split() for line in file)
            return [cells for cells in lines if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: can't be read as a table in UTF-8 ({error}); save it again or remove it") from error


def _match(path: Path, lines: list[list[str]], files: Sequence[str], width: int, faults: list[str]) -> list[list[str]]:
    """The cells that follow each file's name, in the order of `files`; lines are `width` cells long.

    What is wrong is entered into `faults`, one line a kind; a file without a good line then has no cells.
    """
    odd = [
        f"{len(cells)} cells for {_shown(cells[0])}, where {width} were expected"
        for cells in lines
        if len(cells) != width
    ]
    _enter(faults, path, odd, "mend the line")
    counts = Counter(cells[0] for cells in lines)
    twice = [f"{_shown(file)} has more than one line" for file, count in counts.items() if count > 1]
    _enter(faults, path, twice, "keep one")

    by_name = {cells[0]: cells[1:] for cells in lines}
    bare = [file.rpartition("/")[2] for file in files]
    ambiguous = {name for name, count in Counter(bare).items() if count > 1}
    rows = [
        by_name.get(file, None if name in ambiguous else by_name.get(name))
        for file, name in zip(files, bare, strict=True)
    ]

    missing = [file for file, row in zip(files, rows, strict=True) if row is None]
    if missing:
        faults.append(
            f"{path}: no line for {len(missing):,} of {counted(len(files), 'image')}, for example {missing[0]}; "
            "add them"
        )
    unknown = by_name.keys() - set(files) - set(bare)
    if unknown:
        example = _shown(min(unknown))
        log.warning("%s: %d lines are about files that aren't here, for example %s", path, len(unknown), example)
    return [row if row is not None and len(row) == width - 1 else [] for row in rows]


def _enter(faults: list[str], path: Path, same: list[str], remedy: str) -> None:
    """One line for all faults of a kind: the first, how many more there are, and what to do."""
    if same:
        others = f" (and {len(same) - 1:,} more like it)" if len(same) > 1 else ""
        faults.append(f"{path}: {same[0]}{others}; {remedy}")


def _shown(name: str) -> str:
    """A name from a table, whose quotes may hold line breaks, in one line."""
    return name if name.isprintable() else ascii(name)
