"""What do tables beside a folder's images say of the class of each?

Known are StyleGAN's `dataset.json` and the `metadata.jsonl` or `metadata.csv` of Hugging Face's image folders. Their
names of files are only compared with those that were found; nothing is opened by them.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genkit.data.forms.needs import library
from genkit.data.forms.places import Place
from genkit.data.forms.stored import reading
from genkit.data.forms.tables import LABEL_TABLES, MAX_BYTES, BadTable, attribute_names, printable, read_labels
from genkit.errors import DataError, in_one_line

STYLEGAN = "dataset.json"
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
LABELS = (STYLEGAN, *METADATA)

#: Columns of a table that are no attributes.
KNOWN = ("file_name", "label", "class")
#: What stands in a column of yes and no, and in how many lines one is looked for.
FLAGS = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}
LOOKED_AT = 1000
#: Cells of a `metadata.parquet`, which is read into memory.
MAX_CELLS = 50_000_000

#: What a class may be called.
Name = int | str


class Labels(NamedTuple):
    """What all tables of a folder say.

    Attributes:
        of: the class of each file that has one, all numbers or all strings.
        tables: those that say so.
        shards: whether the folders are StyleGAN's, which tell nothing apart.
        remarks: a line for each table that says nothing of classes, or of these files, and on what isn't used.
        called: what the classes are called whose labels are numbers, where a column `class` says it.
        attributes: what else such tables say of the files, yes or no.
    """

    of: dict[str, Name]
    tables: list[str]
    shards: bool
    remarks: list[str]
    called: dict[Name, str]
    attributes: Attributes | None = None


class Attributes(NamedTuple):
    """Columns of yes and no.

    Attributes:
        names: of the columns.
        rows: the row of each file that has one.
        values: bool (R, A).
    """

    names: tuple[str, ...]
    rows: dict[str, int]
    values: np.ndarray


class _Row(NamedTuple):
    """What a table says of a file."""

    file: str
    label: Name | None
    word: str | None = None  # what its class is called
    others: Sequence[object] = ()  # what stands in the other columns


def read(place: Place, names: Collection[str], files: Sequence[str]) -> Labels:
    """The labels in those tables of `names` that are known here, paths in the place as `files` are.

    Of labels that are numbers, a column `class` beside them says what they are called.

    - `dataset.json` is {"labels": [["00000/img00000000.png", 6], ...]}, or null for none.
    - `metadata.jsonl` has an object a line and `metadata.csv` a line a file, each with `file_name` and `label`, a
      number or a string; an empty one is none. The names are paths from where the table lies. Its other columns are
      attributes where they are of yes and no. `metadata.parquet` is the same.

    Raises:
        DataError: when one is damaged or too large.
        BadTable: when two lines contradict each other, or numbers stand beside strings.
    """
    here = set(files)
    of: dict[str, Name] = {}
    remarks: list[str] = []
    shards = False
    tables: list[str] = []
    called: dict[Name, set[str | None]] = {}
    columns: list[_Columns] = []
    for table in sorted(names):
        folder, _, name = table.rpartition("/")
        if name not in LABELS:
            continue
        path = place.path / table
        try:
            rows, others = _rows(place, table)
            shards |= name == STYLEGAN
            known = 0
            placed = []
            for row in rows:
                file, label = posixpath.normpath(posixpath.join(folder, row.file)), row.label
                if file in here and others:
                    placed.append(row._replace(file=file))
                if file in here and label is not None:
                    known += 1
                    called.setdefault(label, set()).add(row.word)
                    if of.setdefault(file, label) != label:
                        raise BadTable(
                            [f"{path}: {printable(file)} has two labels, {of[file]!a} and {label!a}; keep one"]
                        )
            if placed:
                columns.append(_columns(table, others, placed))
            if known:
                tables.append(table)
            elif rows and not (placed and columns[-1].flags):
                remarks.append(f"{table} has no label for any image here; not used")
        except _UnlikeError as unlike:
            remarks.append(f"{table} {unlike}; not used")
    kinds = {type(label) for label in of.values()}
    if len(kinds) > 1:
        raise BadTable([f"{place.path}: its tables label some images by numbers and some by words; use one of them"])
    odd = next((label for label in of.values() if isinstance(label, str) and not label.isprintable()), None)
    if odd is not None:
        raise BadTable([f"{place.path}: the label {odd!a} has a control character; rename the class"])
    return Labels(of, tables, shards, remarks, _called(called), _attributes(columns, remarks))


class _Columns(NamedTuple):
    """The columns of a table beside files and labels."""

    table: str
    files: list[str]
    flags: dict[str, list[bool]]  # those of yes and no
    unused: list[str]


def _columns(table: str, headings: Sequence[str], rows: Sequence[_Row]) -> _Columns:
    """Which of the other columns are of yes and no, each at least once: 0 and 1, true and false."""
    flags: dict[str, list[bool]] = {}
    unused = []
    for place, heading in enumerate(headings):
        values = [_flag(row.others[place]) for row in rows]
        try:
            name = attribute_names(Path(table), [heading])[0]
        except DataError:
            name = ""
        if set(values) == {False, True} and name and name not in flags:
            flags[name] = [bool(value) for value in values]
        else:
            unused.append(heading)
    return _Columns(table, [row.file for row in rows], flags, unused)


def _flag(value: object) -> bool | None:
    """Yes or no, of what stands in a cell; None where it is something else."""
    if type(value) in (bool, int) and value in (0, 1):
        return bool(value)
    return FLAGS.get(value.strip().lower()) if isinstance(value, str) else None


def _attributes(columns: Sequence[_Columns], remarks: list[str]) -> Attributes | None:
    """What each of the tables says; remarks tell what isn't used."""
    names = [name for name in (columns[0].flags if columns else ()) if all(name in each.flags for each in columns)]
    unused = dict.fromkeys(heading for each in columns for heading in each.unused)
    unused |= dict.fromkeys(name for each in columns for name in each.flags if name not in names)
    if unused:
        some = ", ".join(printable(heading) for heading in list(unused)[:8]) + (", ..." if len(unused) > 8 else "")
        remarks.append(f"{', '.join(each.table for each in columns[:3])}: not used: {some}")
    if not names:
        return None
    files = [file for each in columns for file in each.files]
    values = np.array([[flag for each in columns for flag in each.flags[name]] for name in names], bool).T
    return Attributes(tuple(names), {file: row for row, file in enumerate(files)}, values)


def of_competition(place: Place, tables: Sequence[str], files: Sequence[str]) -> Labels | None:
    """The labels of all these files in one of the tables at the top of a place, as Kaggle's `train.csv` has them.

    None where none of the tables has them.
    """
    for table in tables:
        if not LABEL_TABLES.fullmatch(table):
            continue
        try:
            column = read_labels(place.path / table, files, place)
        except DataError:  # it may be a table of anything, which nobody asked for
            continue
        if column is not None and all(value.isprintable() for value in column.of.values()):
            numbers = all(re.fullmatch("0|-?[1-9][0-9]{0,17}", value) for value in column.of.values())
            of: dict[str, Name] = {file: int(value) if numbers else value for file, value in column.of.items()}
            return Labels(of, [table], False, [], {})
    return None


def _called(words: Mapping[Name, Collection[str | None]]) -> dict[Name, str]:
    """The name of each number, as far as there is one for each, and no other has it."""
    names = [next(iter(each)) for each in words.values() if len(each) == 1]
    if len(set(names)) < len(words) or not all(name and name.isprintable() for name in names):
        return {}
    return {label: str(name) for label, name in zip(words, names, strict=True) if isinstance(label, int)}


class _UnlikeError(Exception):
    """A table that says nothing of classes; the message continues a sentence that begins with its name."""


def _rows(place: Place, table: str) -> tuple[list[_Row], list[str]]:
    """What a table says of each file, and what its other columns are called.

    Raises:
        DataError: when the table can't be read.
        _UnlikeError: when it can, and is about something else.
    """
    read = {STYLEGAN: _stylegan, ".jsonl": _json_lines, ".csv": _comma_separated}
    path = place.path / table
    try:
        if place.size(table) > MAX_BYTES:
            raise DataError(f"{path}: larger than the {MAX_BYTES:,} bytes that are read; make it smaller, or remove it")
        if path.suffix == ".parquet":
            return _parquet(place, table)
        with place.open(table) as file:
            text = file.read().decode("utf-8-sig", "replace")
        text = re.sub("\r\n?", "\n", text)
        found = read[path.name if path.name == STYLEGAN else path.suffix](text)
        if "\ufffd" in text:
            raise ValueError("not in UTF-8")
        return found
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise DataError(
            f"{path}: can't be read as a table ({in_one_line(error)}); save it again or remove it"
        ) from error


def _stylegan(text: str) -> tuple[list[_Row], list[str]]:
    whole = json.loads(text)
    if not isinstance(whole, dict) or "labels" not in whole:
        raise _UnlikeError("isn't StyleGAN's, which has 'labels'")
    if not isinstance(whole["labels"], list | None):
        raise ValueError("its 'labels' are no list")
    rows = []
    for row in whole["labels"] or []:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise ValueError(f"{str(row)[:80]!a} where a file and its label are expected")
        if type(row[1]) is not int:
            raise _UnlikeError("labels images by something else than whole numbers")
        rows.append(_Row(row[0], row[1]))
    return rows, []


def _json_lines(text: str) -> tuple[list[_Row], list[str]]:
    lines = [json.loads(line) for line in text.split("\n") if line.strip()]
    if not all(isinstance(line, dict) for line in lines):
        raise ValueError("a line that is no object")
    return _of_objects(lines)


def _of_objects(lines: Sequence[Mapping[str, object]]) -> tuple[list[_Row], list[str]]:
    """Rows of objects with `file_name`, perhaps `label`, and whatever else."""
    headings = list(dict.fromkeys(name for line in lines[:LOOKED_AT] for name in line))
    others = [name for name in headings if name not in KNOWN or (name == "class" and "label" not in headings)]
    _require_columns(headings, any(_flag(line.get(name)) is not None for line in lines[:LOOKED_AT] for name in others))
    rows = []
    for line in lines:
        file, label, word = line.get("file_name"), line.get("label"), line.get("class")
        if not isinstance(file, str):
            raise ValueError("a line without a file_name")
        if not isinstance(label, bool | int | str | None):
            raise _UnlikeError("labels images by something else than a whole number or a word")
        label = int(label) if isinstance(label, bool) else None if label == "" else label
        rows.append(_Row(file, label, word if isinstance(word, str) else None, [line.get(name) for name in others]))
    return rows, others


def _comma_separated(text: str) -> tuple[list[_Row], list[str]]:
    headings, *lines = [cells for cells in csv.reader(io.StringIO(text, newline="")) if cells] or [[]]
    label = headings.index("label") if "label" in headings else None
    word = headings.index("class") if label is not None and "class" in headings else None
    file = headings.index("file_name") if "file_name" in headings else 0
    places = [place for place in range(len(headings)) if place not in (file, label, word)]
    flagged = any(_flag(cells[place]) is not None for cells in lines[:LOOKED_AT] for place in places[: len(cells) - 1])
    _require_columns(headings, flagged)
    if any(len(cells) != len(headings) for cells in lines):
        raise ValueError(f"not every line has {len(headings)} cells")
    names = ["" if label is None else cells[label].strip() for cells in lines]
    # All whole numbers, they are in the order of numbers.
    numbers = all(re.fullmatch("0|-?[1-9][0-9]{0,17}", name) for name in names if name)
    rows = [
        _Row(
            cells[file],
            (int(name) if numbers else name) if name else None,
            None if word is None else cells[word],
            [cells[place] for place in places],
        )
        for cells, name in zip(lines, names, strict=True)
    ]
    return rows, [headings[place] for place in places]


def _parquet(place: Place, table: str) -> tuple[list[_Row], list[str]]:
    path = place.path / table
    parquet = library("pyarrow.parquet", path, "Parquet", "pyarrow")
    with reading(path, "save it again or remove it"), place.open(table) as file:
        found = parquet.ParquetFile(file)
        if found.metadata.num_rows * max(1, found.metadata.num_columns) > MAX_CELLS:
            raise ValueError(f"more than the {MAX_CELLS:,} cells that are read")
        lines = found.read().to_pylist()
    return _of_objects(lines)


def _require_columns(names: Sequence[str], flagged: bool) -> None:
    """Raises _UnlikeError where a table has no files, or says nothing of them: neither a label nor yes or no."""
    needed = ("file_name",) if flagged else ("file_name", "label")
    missing = [f"'{name}'" for name in needed if name not in names]
    if missing:
        raise _UnlikeError(f"has no {' and no '.join(missing)}")
