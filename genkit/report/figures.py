"""The figures of evaluations as tables: a row a figure, a column a run, real images beside samples, and footnotes.

The same arrangement as `genkit evaluate` prints. Only what was measured on the same images stands in one table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from genkit.evaluate import table as words
from genkit.evaluate.figure import Figure, Name
from genkit.evaluate.table import FLOOR, Conditions, common, condition, in_words, shown, without
from genkit.report.account import Account
from genkit.report.blocks import Block, Cell, Code, Footnotes, Missing, Table, Text, without_folders
from genkit.report.card import located
from genkit.report.evaluations import Evaluation, On

#: Columns of a table of three parts that is turned on its side where it has more.
MOST_COLUMNS = 6


class Column(NamedTuple):
    """One run's figures, with its name."""

    name: str
    of: Evaluation


class Notes:
    """Footnotes, numbered in the order in which they are met."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, said: Conditions) -> int | None:
        text = ", ".join(condition(key, value) for key, value in said.items())
        return self.numbers.setdefault(text, len(self.numbers) + 1) if text else None


def section(accounts: Sequence[Account]) -> list[Block]:
    """All tables, by the images that were measured, and what is missing."""
    blocks: list[Block] = []
    notes = Notes()
    grouped: dict[On, list[Column]] = {}
    for account in accounts:
        if not isinstance(account.evaluations, Missing):
            for each in account.evaluations:
                grouped.setdefault(each.on, []).append(Column(account.name, each))
    said = [str(on) for on in grouped]
    for on, columns in grouped.items():
        images = f"{on}, {on.content}" if said.count(str(on)) > 1 else str(on)
        blocks.append(Text(f"On {images}. Each figure ± its standard error, where that can be known."))
        blocks += tables(columns, notes, len(accounts) > 1)
    if notes.numbers:
        blocks.append(Footnotes(list(notes.numbers)))
    for columns in grouped.values():
        blocks += remarks(columns, len(accounts) > 1)
    for account in accounts:
        if isinstance(account.evaluations, Missing):
            name = f"{account.name}: " if len(accounts) > 1 else ""
            blocks.append(Missing(f"{name}{account.evaluations.why}; this measures it"))
            blocks.append(Code([f"genkit evaluate {located(account.path)}"]))
    return blocks


def tables(columns: Sequence[Column], notes: Notes, several: bool) -> list[Block]:
    blocks: list[Block] = []
    names = list(dict.fromkeys(name for column in columns for name in column.of.figures))
    for topic in dict.fromkeys(name.topic for name in names):
        plain = [name for name in names if name.topic == topic and not name.column]
        if plain:
            blocks.append(plain_table(topic, plain, columns, notes, several))
        for column in columns:
            blocks += crossed_table(topic, column, notes, several)
    return blocks


def plain_table(topic: str, names: Sequence[Name], columns: Sequence[Column], notes: Notes, several: bool) -> Table:
    """A topic's figures of two parts; where there is one of real images, that stands beside each."""
    beside = any(name.endswith(FLOOR) for name in names)
    head = [Cell("")]
    for column in columns:
        head.append(Cell(column.name if several else "samples" if beside else "", number=True))
        head += [Cell("real images", number=True)] if beside else []
    rows = []
    for name in names:
        if name.endswith(FLOOR) and name.removesuffix(FLOOR) in names:
            continue
        found = [column.of.figures.get(name) for column in columns]
        marks = [
            notes.number(column.of.unsaid(each)) if each else None for column, each in zip(columns, found, strict=True)
        ]
        shared = len({mark for mark, each in zip(marks, found, strict=True) if each}) == 1
        units = " or ".join(dict.fromkeys(each.unit for each in found if each))
        mark = next(mark for mark, each in zip(marks, found, strict=True) if each) if shared else None
        row = [Cell(in_words(name.row), mark, unit=units)]
        for column, each, own in zip(columns, found, marks, strict=True):
            row.append(value(each, None if shared else own))
            if beside:
                floor = column.of.figures.get(Name(name + FLOOR))
                row.append(value(floor) if floor else Cell("", number=True))
        rows.append(row)
    return Table(topic.capitalize(), head if any(cell.text for cell in head) else [], rows)


def value(figure: Figure | None, note: int | None = None) -> Cell:
    return Cell("–", number=True) if figure is None else Cell(shown(figure), note, number=True)


def crossed_table(topic: str, column: Column, notes: Notes, several: bool) -> list[Block]:
    """A topic's figures of three parts: rows by columns, what all share being one footnote."""
    cells: dict[tuple[str, str], Figure] = {}
    for name, figure in column.of.figures.items():
        if name.topic == topic and name.column:
            cells[name.row, name.column] = figure
    if not cells:
        return []
    rows, across = (list(dict.fromkeys(key[part] for key in cells)) for part in (0, 1))
    if len(across) > MOST_COLUMNS:
        rows, across = across, rows
        cells = {(second, first): figure for (first, second), figure in cells.items()}
    said = {key: column.of.unsaid(figure) for key, figure in cells.items()}
    shared = common(said.values())
    of_row = {at: without(common(said[key] for key in cells if key[0] == at), shared) for at in rows}
    of_column = {at: without(common(said[key] for key in cells if key[1] == at), shared) for at in across}
    units = {figure.unit for figure in cells.values()}
    corner = Cell(next(iter(units)) if len(units) == 1 else "all of these", notes.number(shared))
    head = [corner, *(Cell(in_words(at), notes.number(of_column[at]), number=True) for at in across)]
    body = []
    for at in rows:
        line = [Cell(in_words(at), notes.number(of_row[at]), unit="" if len(units) == 1 else unit_of(at, cells))]
        for other in across:
            own = without(without(without(said.get((at, other), {}), shared), of_row[at]), of_column[other])
            line.append(value(cells.get((at, other)), notes.number(own)))
        body.append(line)
    about = f"{topic.capitalize()} of {column.name}, in detail" if several else f"{topic.capitalize()}, in detail"
    return [Table(about, head, body)]


def unit_of(row: str, cells: Mapping[tuple[str, str], Figure]) -> str:
    return next(figure.unit for (at, _), figure in cells.items() if at == row)


def remarks(columns: Sequence[Column], several: bool) -> list[Block]:
    """Warnings, and what was left out with the reason."""
    found: list[Block] = []
    for column in columns:
        before = f"{column.name}, " if several else ""
        for name, figure in column.of.figures.items():
            if figure.warning:
                found.append(Text(f"Warning: {before}{name}: {figure.warning}"))
        for names, each in words.together(column.of.left_out):
            found.append(Missing(f"left out: {before}{names}: {without_folders(each.reason)}"))
    return found
