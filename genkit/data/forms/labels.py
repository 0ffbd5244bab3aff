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
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from genkit.data.forms.places import Place
from genkit.data.forms.tables import MAX_BYTES, BadTable, printable
from genkit.errors import DataError, in_one_line

STYLEGAN = "dataset.json"
METADATA = ("metadata.jsonl", "metadata.csv")
LABELS = (STYLEGAN, *METADATA)

#: What a class may be called.
Name = int | str
#: A file, its label, and what its class is called.
Row = tuple[str, Name | None, str | None]


class Labels(NamedTuple):
    """What all tables of a folder say.

    Attributes:
        of: the class of each file that has one, all numbers or all strings.
        tables: those that say so.
        shards: whether the folders are StyleGAN's, which tell nothing apart.
        remarks: a line for each table that says nothing of classes, or of these files.
        called: what the classes are called whose labels are numbers, where a column `class` says it.
    """

    of: dict[str, Name]
    tables: list[str]
    shards: bool
    remarks: list[str]
    called: dict[Name, str]


def read(place: Place, names: Collection[str], files: Sequence[str]) -> Labels:
    """The labels in those tables of `names` that are known here, paths in the place as `files` are.

    Of labels that are numbers, a column `class` beside them says what they are called.

    - `dataset.json` is {"labels": [["00000/img00000000.png", 6], ...]}, or null for none.
    - `metadata.jsonl` has an object a line and `metadata.csv` a line a file, each with `file_name` and `label`, a
      number or a string; an empty one is none. The names are paths from where the table lies.

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
    for table in sorted(names):
        folder, _, name = table.rpartition("/")
        if name not in LABELS:
            continue
        path = place.path / table
        try:
            rows = _rows(place, table)
            shards |= name == STYLEGAN
            known = 0
            for file, label, word in rows:
                file = posixpath.normpath(posixpath.join(folder, file))
                if file in here and label is not None:
                    known += 1
                    called.setdefault(label, set()).add(word)
                    if of.setdefault(file, label) != label:
                        raise BadTable(
                            [f"{path}: {printable(file)} has two labels, {of[file]!a} and {label!a}; keep one"]
                        )
            if known:
                tables.append(table)
            elif rows:
                remarks.append(f"{table} has no label for any image here; not used")
        except _UnlikeError as unlike:
            remarks.append(f"{table} {unlike}; not used")
    kinds = {type(label) for label in of.values()}
    if len(kinds) > 1:
        raise BadTable([f"{place.path}: its tables label some images by numbers and some by words; use one of them"])
    odd = next((label for label in of.values() if isinstance(label, str) and not label.isprintable()), None)
    if odd is not None:
        raise BadTable([f"{place.path}: the label {odd!a} has a control character; rename the class"])
    return Labels(of, tables, shards, remarks, _called(called))


def _called(words: Mapping[Name, Collection[str | None]]) -> dict[Name, str]:
    """The name of each number, as far as there is one for each, and no other has it."""
    names = [next(iter(each)) for each in words.values() if len(each) == 1]
    if len(set(names)) < len(words) or not all(name and name.isprintable() for name in names):
        return {}
    return {label: str(name) for label, name in zip(words, names, strict=True) if isinstance(label, int)}


class _UnlikeError(Exception):
    """A table that says nothing of classes; the message continues a sentence that begins with its name."""


def _rows(place: Place, table: str) -> list[Row]:
    """Each file's name and label, and what its class is called.

    Raises:
        DataError: when the table can't be read.
        _UnlikeError: when it can, and is about something else.
    """
    read = {STYLEGAN: _stylegan, ".jsonl": _json_lines, ".csv": _comma_separated}
    path = place.path / table
    try:
        if place.size(table) > MAX_BYTES:
            raise DataError(f"{path}: larger than the {MAX_BYTES:,} bytes that are read; make it smaller, or remove it")
        with place.open(table) as file:
            text = file.read().decode("utf-8-sig", "replace")
        text = re.sub("\r\n?", "\n", text)
        rows = list(read[path.name if path.name == STYLEGAN else path.suffix](text))
        if "\ufffd" in text:
            raise ValueError("not in UTF-8")
        return rows
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise DataError(
            f"{path}: can't be read as a table ({in_one_line(error)}); save it again or remove it"
        ) from error


def _stylegan(text: str) -> Iterator[Row]:
    whole = json.loads(text)
    if not isinstance(whole, dict) or "labels" not in whole:
        raise _UnlikeError("isn't StyleGAN's, which has 'labels'")
    if not isinstance(whole["labels"], list | None):
        raise ValueError("its 'labels' are no list")
    for row in whole["labels"] or []:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise ValueError(f"{str(row)[:80]!a} where a file and its label are expected")
        if type(row[1]) is not int:
            raise _UnlikeError("labels images by something else than whole numbers")
        yield row[0], row[1], None


def _json_lines(text: str) -> Iterator[Row]:
    rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line that is no object")
    _require_columns(list(dict.fromkeys(name for row in rows[:1000] for name in row)))
    for row in rows:
        file, label = row.get("file_name"), row.get("label")
        if not isinstance(file, str):
            raise ValueError("a line without a file_name")
        if not (label is None or type(label) in (int, str)):
            raise _UnlikeError("labels images by something else than a whole number or a word")
        word = row.get("class")
        yield file, None if label == "" else label, word if isinstance(word, str) else None


def _comma_separated(text: str) -> Iterator[Row]:
    headings, *lines = [cells for cells in csv.reader(io.StringIO(text, newline="")) if cells] or [[]]
    _require_columns(headings)
    if any(len(cells) != len(headings) for cells in lines):
        raise ValueError(f"not every line has {len(headings)} cells")
    file, label = headings.index("file_name"), headings.index("label")
    names = [cells[label].strip() for cells in lines]
    # All whole numbers, they are in the order of numbers.
    numbers = all(re.fullmatch("0|-?[1-9][0-9]{0,17}", name) for name in names if name)
    word = headings.index("class") if "class" in headings else None
    for cells, name in zip(lines, names, strict=True):
        yield cells[file], (int(name) if numbers else name) if name else None, None if word is None else cells[word]


def _require_columns(names: Sequence[str]) -> None:
    missing = [f"'{name}'" for name in ("file_name", "label") if name not in names]
    if missing:
        raise _UnlikeError(f"has no {' and no '.join(missing)}")
