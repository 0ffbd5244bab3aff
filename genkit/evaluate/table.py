"""What was measured, as a table for a person and as JSON for a program."""

from __future__ import annotations

import dataclasses
import itertools
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from genkit.evaluate.figure import Figure, Found, LeftOut, Name
from genkit.evaluate.subject import Subject
from genkit.wording import counted

#: What stands for a word of a figure's name.
WORDS = {
    "neg": "−",
    "elbo": "ELBO",
    "nll": "NLL",
    "kl": "KL",
    "mmd": "MMD",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "pca": "PCA",
    "svm": "SVM",
    "knn": "k-NN",
    "mig": "MIG",
    "sap": "SAP",
    "dci": "DCI",
    "factorvae": "FactorVAE",
    "frechet": "Fréchet distance",
    "inception": "Inception",
    "onnx": "ONNX",
    "kernel": "kernel distance",
    "wasserstein": "Wasserstein distance",
}
#: The longest name of a run that heads a column.
WIDEST = 24
#: Columns that a table has at most; the cells of one with more, which is a single row, follow one another.
COLUMNS, LINE = 6, 100
#: What ends the name of a figure of real images, which stands beside that of samples.
FLOOR = "_floor"

#: A standard error below this share of its figure is what rounding left of none: of equal draws, say.
ROUNDING = 1e-12

Conditions = dict[str, str | int | float]
#: Figures by row and column, each with what it is of. A column has the name of its model, where there are several.
Cells = dict[tuple[str, tuple[str, str]], tuple[Figure, Subject]]


class Evaluation(NamedTuple):
    """One model's figures.

    Attributes:
        about: what stands above them: run, checkpoint, model, …, as JSON takes it.
    """

    subject: Subject
    found: Sequence[Found]
    about: dict[str, Any]

    @property
    def figures(self) -> dict[Name, Figure]:
        return {Name(each.name): each for each in self.found if isinstance(each, Figure)}

    @property
    def left_out(self) -> dict[Name, LeftOut]:
        return {Name(each.name): each for each in self.found if isinstance(each, LeftOut)}

    def as_json(self) -> dict[str, Any]:
        return {
            **self.about,
            "figures": [
                {**dataclasses.asdict(each), "conditions": dict(each.conditions)} for each in self.figures.values()
            ],
            "left_out": [dataclasses.asdict(each) for each in self.left_out.values()],
        }


def lines(evaluations: Sequence[Evaluation]) -> list[str]:
    """The table: a row a figure, a column a model, footnotes, then warnings and what was left out."""
    heads = names_of(evaluations)
    everything = list(dict.fromkeys(name for each in evaluations for name in each.figures))
    notes = Footnotes()
    text = [heading(each, head, len(evaluations) > 1) for each, head in zip(evaluations, heads, strict=True)]
    text += [f"note: {said}" for said in [remark(evaluations)] if said]
    for topic in dict.fromkeys(name.topic for name in everything):
        names = [name for name in everything if name.topic == topic and not name.column]
        above = block(topic, names, evaluations, heads, notes) if names else []
        text += ["", *tables(topic, evaluations, heads, above, notes)]
    text += ["", *notes.lines()] if notes.numbers else []
    for what, said in (("warning", warnings(evaluations, heads)), ("left out", left_out(evaluations, heads))):
        text += ["", *(f"{what}: {each}" for each in said)] if said else []
    return text


def names_of(evaluations: Sequence[Evaluation]) -> list[str]:
    """What stands for each model in the table: its name, or a number where names are long or alike."""
    names = [each.subject.opened.name for each in evaluations]
    if max(map(len, names)) > WIDEST or len(set(names)) < len(names):
        return [f"({number})" for number in range(1, len(names) + 1)]
    return names


def remark(evaluations: Sequence[Evaluation]) -> str | None:
    """Why figures that stand side by side can't be compared: they are by different images."""
    measured = {(each.about.get("data_sum"), *each.subject.conditions.values()) for each in evaluations}
    counts = {len(each.subject.images) for each in evaluations}
    if len(measured) * len(counts) < 2:
        return None
    return "the runs are measured by different images, so figures beside one another can't be compared"


def missing(evaluations: Sequence[Evaluation]) -> list[str]:
    """What is left out, and why, a line each."""
    return left_out(evaluations, [each.subject.opened.name for each in evaluations])


def heading(evaluation: Evaluation, head: str, several: bool) -> str:
    subject, about = evaluation.subject, evaluation.about
    name = f"{head}: " if several and head != subject.opened.name else ""
    conditions = subject.conditions
    trained = f"{subject.kind}, {counted(about['epochs'], 'epoch')}"
    return (
        f"{name}{subject.opened.name} ({trained}): {counted(len(subject.images), f'{subject.split} image')} of "
        f"{conditions['dataset']}, {conditions['resolution']}"
    )


class Footnotes:
    """The conditions of figures, numbered in the order in which they are met."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, figure: Figure, subject: Subject) -> str:
        """The footnote's mark, `[1]`, for what a figure depends on besides what the heading says."""
        return self.mark(unsaid(figure, subject))

    def mark(self, said: Conditions) -> str:
        """The mark of the footnote that says this; none where there is nothing to say."""
        text = ", ".join(condition(key, value) for key, value in said.items())
        return f"[{self.numbers.setdefault(text, len(self.numbers) + 1)}]" if text else ""

    def lines(self) -> list[str]:
        return [f"[{number}] {text}" for text, number in self.numbers.items()]


def unsaid(figure: Figure, subject: Subject) -> Conditions:
    """What a figure depends on besides what the heading says."""
    above = {**subject.conditions, "n": len(subject.images)}
    return {key: value for key, value in figure.conditions.items() if above.get(key) != value}


def condition(key: str, value: str | int | float) -> str:
    name = key.replace("_", " ")
    if isinstance(value, int) and key != "seed":
        return f"{name} {value:,}"
    return f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"


def block(
    topic: str, names: Sequence[Name], evaluations: Sequence[Evaluation], heads: Sequence[str], notes: Footnotes
) -> list[str]:
    """A topic's figures of two parts: a row each, a column a model, and beside it, where known, one of real images."""
    beside = any(name.endswith(FLOOR) for name in names)
    heads = heads if len(evaluations) > 1 else (["samples"] if beside else [""])
    above = [cell for head in heads for cell in ([head, "real images"] if beside else [head])]
    rows = [row(name, evaluations, beside, notes) for name in names if not name.endswith(FLOOR)]
    table = [[topic, *above, ""], *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [aligned(line, widths) for line in table]


def row(name: Name, evaluations: Sequence[Evaluation], beside: bool, notes: Footnotes) -> list[str]:
    """The cells of one figure's row: its name, a value a model, and its unit, with a footnote where they share it.

    Args:
        beside: each value has that of real images beside it, or room for it.
    """
    found = [each.figures.get(name) for each in evaluations]
    marks = [notes.number(each, of.subject) if each else "" for each, of in zip(found, evaluations, strict=True)]
    shared = len({mark for mark, each in zip(marks, found, strict=True) if each}) == 1
    units = " or ".join(dict.fromkeys(each.unit for each in found if each))
    cells = []
    for each, mark, evaluation in zip(found, marks, evaluations, strict=True):
        cells.append("–" if each is None else shown(each) + ("" if shared else f" {mark}"))
        if beside:
            floor = evaluation.figures.get(Name(name + FLOOR))
            cells.append(shown(floor) if floor else "")
    mark = next(mark for mark, each in zip(marks, found, strict=True) if each) if shared else ""
    return ["  " + in_words(name.row), *cells, f"{units} {mark}".strip()]


def in_words(name: str) -> str:
    """A figure's name for people; an expression, which has blanks, as it is."""
    return name if " " in name else " ".join(WORDS.get(word, word) for word in name.split("_")).replace("− ", "−")


def tables(
    topic: str, evaluations: Sequence[Evaluation], heads: Sequence[str], above: list[str], notes: Footnotes
) -> list[str]:
    """A topic's figures of two parts, which are given as a block, and below them those of three.

    Those of several models are one table where that isn't too wide, else one each.
    """
    if len(evaluations) == 1:
        # The table of a single model has the topic in its corner, unless that stands above it.
        return above + table(cells_of(topic, evaluations[0]), "  " if above else topic, notes)
    found = [cells_of(topic, each, head) for each, head in zip(evaluations, heads, strict=True)]
    everything: Cells = {key: cell for cells in found for key, cell in cells.items()}
    if len({column for _, column in everything}) <= COLUMNS:
        return above + table(everything, "  " if above else topic, notes)
    found = [cells_of(topic, each) for each in evaluations]
    each = [table(cells, f"  {head}", notes) for cells, head in zip(found, heads, strict=True)]
    return [*(above or [topic]), *itertools.chain(*each)]


def cells_of(topic: str, evaluation: Evaluation, head: str = "") -> Cells:
    """A topic's figures of three parts, by row and column: what stands above that, if anything, and its name."""
    cells: Cells = {}
    for name, figure in evaluation.figures.items():
        if name.topic == topic and name.column:
            cells[name.row, (head, in_words(name.column))] = figure, evaluation.subject
    return cells


def table(found: Cells, corner: str, notes: Footnotes) -> list[str]:
    """Figures in rows and columns, with what all share in one footnote."""
    if not found:
        return []
    cells = {key: figure for key, (figure, _) in found.items()}
    rows, columns = list(dict.fromkeys(at for at, _ in cells)), list(dict.fromkeys(column for _, column in cells))
    said = {key: unsaid(figure, subject) for key, (figure, subject) in found.items()}
    shared = common(said.values())
    of_row = {at: without(common(said[key] for key in cells if key[0] == at), shared) for at in rows}
    of_column = {column: without(common(said[key] for key in cells if key[1] == column), shared) for column in columns}
    whole = notes.mark(shared)
    if len(rows) == 1 and len(columns) > COLUMNS:
        texts = ", ".join(
            f"{column}: {shown(figure)}".replace(" ", "\xa0") for (_, (_, column)), figure in cells.items()
        )
        label = f"{corner.strip()}, {in_words(rows[0])} {whole}".removeprefix(", ").strip()
        filled = textwrap.fill(f"{label}  {texts}", LINE, initial_indent="  ", subsequent_indent="    ")
        return filled.replace("\xa0", " ").split("\n")
    heads = [head for head, _ in columns]
    above = ["" if head in heads[:place] else head for place, head in enumerate(heads)]
    names = [f"{column[1]} {notes.mark(of_column[column])}".strip() for column in columns]
    grid = [["", *above, ""]] if any(above) else []
    grid.append([f"{corner} {whole}".rstrip(), *names, ""])
    for at in rows:
        line = [f"  {in_words(at)}"]
        for column in columns:
            if (at, column) not in cells:
                line.append("–")
                continue
            own = without(without(without(said[at, column], shared), of_row[at]), of_column[column])
            line.append(f"{shown(cells[at, column])} {notes.mark(own)}".strip())
        unit = next(figure.unit for key, figure in cells.items() if key[0] == at)
        grid.append([*line, f"{unit} {notes.mark(of_row[at])}".strip()])
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    return [aligned(line, widths) for line in grid]


def common(conditions: Iterable[Conditions]) -> Conditions:
    """What all of them say."""
    first, *others = conditions
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def without(conditions: Conditions, said: Conditions) -> Conditions:
    return {key: value for key, value in conditions.items() if key not in said}


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *values, last = cells
    middle = [f"{cell:>{width}}" for cell, width in zip(values, widths[1:-1], strict=True)]
    return "  ".join([f"{first:{widths[0]}}", *middle, last]).rstrip()


def shown(figure: Figure) -> str:
    """`104.93 ± 0.27`: to two digits of the standard error, or four of the value; a warned one has a mark."""
    value, error = figure.value, figure.error
    mark = "! " if figure.warning else ""
    if not math.isfinite(value):
        return f"{mark}{value}"
    if error is None or not math.isfinite(error) or error <= ROUNDING * abs(value):
        return mark + (f"{value:,}" if isinstance(value, int) else f"{value + 0.0:.4g}")
    digits = max(0, 1 - math.floor(math.log10(error)))
    value = round(value, digits) + 0.0  # a zero without a sign
    return f"{mark}{value:,.{digits}f} ± {error:,.{digits}f}"


def warnings(evaluations: Sequence[Evaluation], heads: Sequence[str]) -> list[str]:
    return [
        f"{of(head, evaluations)}{name}: {each.warning}"
        for evaluation, head in zip(evaluations, heads, strict=True)
        for name, each in evaluation.figures.items()
        if each.warning
    ]


def left_out(evaluations: Sequence[Evaluation], heads: Sequence[str]) -> list[str]:
    found: dict[str, list[str]] = {}
    for evaluation, head in zip(evaluations, heads, strict=True):
        for name, each in together(evaluation.left_out.values()):
            found.setdefault(f"{name}: {each.reason}", []).append(head)
    return [
        f"{of('all' if len(runs) == len(evaluations) else ', '.join(runs), evaluations)}{reason}"
        for reason, runs in found.items()
    ]


def together(missing: Iterable[LeftOut]) -> list[tuple[str, LeftOut]]:
    """What is left out, with its name; what is left out of one topic for one reason, in one line."""
    lines: dict[tuple[str, str], list[LeftOut]] = {}
    for each in missing:
        lines.setdefault((Name(each.name).topic, each.reason), []).append(each)
    return [
        (", ".join([first.name, *(Name(each.name).within for each in others)]), first)
        for first, *others in lines.values()
    ]


def of(head: str, evaluations: Sequence[Evaluation]) -> str:
    return f"{head}, " if len(evaluations) > 1 else ""
