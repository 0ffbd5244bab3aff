"""What was measured, as a table for a person and as JSON for a program."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from genkit.evaluate.figure import Figure, LeftOut
from genkit.evaluate.subject import Subject

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
}
#: The longest name of a run that heads a column.
WIDEST = 24


class Evaluation(NamedTuple):
    """One model's figures.

    Attributes:
        about: what stands above them: run, checkpoint, model, …, as JSON takes it.
    """

    subject: Subject
    found: list[Figure | LeftOut]
    about: Mapping[str, Any]

    @property
    def figures(self) -> dict[str, Figure]:
        return {each.name: each for each in self.found if isinstance(each, Figure)}

    @property
    def left_out(self) -> dict[str, LeftOut]:
        return {each.name: each for each in self.found if isinstance(each, LeftOut)}

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
    heads = [each.subject.name for each in evaluations]
    if max(map(len, heads)) > WIDEST or len(set(heads)) < len(heads):
        heads = [f"({number})" for number in range(1, len(heads) + 1)]
    names = list(dict.fromkeys(name for each in evaluations for name in each.figures))
    notes = Footnotes()
    rows = [row(name, evaluations, notes) for name in names]
    text = [heading(each, head, len(evaluations) > 1) for each, head in zip(evaluations, heads, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    if len(evaluations) > 1 and rows:
        widths = [
            widths[0],
            *(max(width, len(head)) for width, head in zip(widths[1:-1], heads, strict=True)),
            widths[-1],
        ]
        text += ["", aligned(["", *heads, ""], widths)]
    topic = ""
    for name, cells in zip(names, rows, strict=True):
        if name.partition("/")[0] != topic:
            topic = name.partition("/")[0]
            text += ["", topic]
        text.append(aligned(cells, widths))
    text += ["", *notes.lines()] if notes.numbers else []
    for what, said in (("warning", warnings(evaluations, heads)), ("left out", left_out(evaluations, heads))):
        text += ["", *(f"{what}: {each}" for each in said)] if said else []
    return text


def heading(evaluation: Evaluation, head: str, several: bool) -> str:
    subject, about = evaluation.subject, evaluation.about
    name = f"{head}: " if several and head != subject.name else ""
    conditions = subject.conditions
    trained = f"{subject.kind}, {about['epochs']:g} epoch{'' if about['epochs'] == 1 else 's'}"
    return (
        f"{name}{subject.name} ({trained}): {len(subject.images):,} {conditions['split']} images of "
        f"{conditions['dataset']}, {conditions['resolution']}"
    )


class Footnotes:
    """The conditions of figures, numbered in the order in which they are met."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, figure: Figure, subject: Subject) -> str:
        """The footnote's mark, `[1]`, for what a figure depends on besides what the heading says."""
        above = {**subject.conditions, "n": len(subject.images)}
        said = {key: value for key, value in figure.conditions.items() if above.get(key) != value}
        text = ", ".join(condition(key, value) for key, value in said.items())
        return f"[{self.numbers.setdefault(text, len(self.numbers) + 1)}]" if text else ""

    def lines(self) -> list[str]:
        return [f"[{number}] {text}" for text, number in self.numbers.items()]


def condition(key: str, value: str | int | float) -> str:
    name = key.replace("_", " ")
    return f"{name} {value:,}" if isinstance(value, int) and key != "seed" else f"{name} {value}"


def row(name: str, evaluations: Sequence[Evaluation], notes: Footnotes) -> list[str]:
    """The cells of one figure's row: its name, a value a model, and its unit, with a footnote where they share it."""
    found = [each.figures.get(name) for each in evaluations]
    marks = [notes.number(each, of.subject) if each else "" for each, of in zip(found, evaluations, strict=True)]
    shared = len({mark for mark, each in zip(marks, found, strict=True) if each}) == 1
    unit = next(each.unit for each in found if each)
    words = [WORDS.get(word, word) for word in name.partition("/")[2].split("_")]
    label = "  " + " ".join(words).replace("− ", "−")
    cells = [
        "–" if each is None else shown(each) + ("" if shared else f" {mark}")
        for each, mark in zip(found, marks, strict=True)
    ]
    mark = next(mark for mark, each in zip(marks, found, strict=True) if each) if shared else ""
    return [label, *cells, f"{unit} {mark}".strip()]


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
    if error is None or not math.isfinite(error) or error <= 0:
        return mark + (f"{value:,}" if isinstance(value, int) else f"{value:.4g}")
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{mark}{value:,.{digits}f} ± {error:,.{digits}f}"


def warnings(evaluations: Sequence[Evaluation], heads: Sequence[str]) -> list[str]:
    return [
        f"{of(head, evaluations)}{name}: {each.warning}"
        for evaluation, head in zip(evaluations, heads, strict=True)
        for name, each in evaluation.figures.items()
        if each.warning
    ]


def left_out(evaluations: Sequence[Evaluation], heads: Sequence[str]) -> list[str]:
    return [
        f"{of(head, evaluations)}{name}: {each.reason}"
        for evaluation, head in zip(evaluations, heads, strict=True)
        for name, each in evaluation.left_out.items()
    ]


def of(head: str, evaluations: Sequence[Evaluation]) -> str:
    return f"{head}, " if len(evaluations) > 1 else ""
