"""One number, with its name and all that it depends on: what every measurement returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from PIL import Image
from torch import Tensor

from genkit.evaluate.estimate import WILSON, estimate, estimate_share


class Name(str):
    """What a figure is called: `likelihood/nll`, or in a table of its topic `representation/svm_all_labels/code`.

    What is left out may be a whole topic, `likelihood`. It is the text itself, as evaluation.json has it.
    """

    __slots__ = ()

    @classmethod
    def of(cls, topic: str, row: str, column: str = "") -> Name:
        """Put together from its parts; a slash in one, of a sum or a class, becomes the sign `∕`, which looks alike."""
        return cls("/".join(part.replace("/", "∕") for part in (topic, row, column) if part))

    @property
    def topic(self) -> str:
        return self.partition("/")[0]

    @property
    def within(self) -> str:
        """The name without its topic: `svm_all_labels/code`."""
        return self.partition("/")[2]

    @property
    def row(self) -> str:
        """What was measured: `nll`, `svm_all_labels`."""
        return self.within.partition("/")[0]

    @property
    def column(self) -> str:
        """Of what, in a table: `code`; else empty. What a class is called may hold further slashes in older files."""
        return self.within.partition("/")[2]


@dataclass(frozen=True)
class Figure:
    """A number that a reader can hold against another's.

    Attributes:
        name: topic and what is measured, as `Name` takes it apart: `likelihood/nll`.
        value: what was measured.
        error: its standard error, in the same unit; None where there is nothing that it could be estimated from.
        unit: `nats an image`.
        conditions: what it depends on: split, n, binarisation, k, resolution, extractor.
        warning: why it can't be right, or says nothing of what it is meant to.
    """

    name: str
    value: float
    error: float | None
    unit: str
    conditions: Mapping[str, str | int | float] = field(default_factory=dict)
    warning: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """A figure, or a topic's, that can't be had of this model or these images, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Picture:
    """What a topic shows beside its figures; `name` is that of its file, without suffix."""

    name: str
    page: Image.Image


#: What a topic may come to.
Found: TypeAlias = Figure | LeftOut | Picture


def mean(name: str, values: Tensor, unit: str, **conditions: str | int | float) -> Figure:
    """The mean of values (N,) that were measured independently, an image each, with its standard error."""
    found = estimate(values)
    return Figure(name, found.value, found.error, unit, {"n": found.n, **conditions})


def share(name: str, values: Tensor, unit: str, **conditions: str | int | float) -> Figure:
    """The same of shares (N,) in [0, 1], or of answers that are 0 or 1: of none and of all, too, an error is known."""
    found = estimate_share(values)
    if found.value in (0, 1):
        conditions |= {"error": WILSON}
    return Figure(name, found.value, found.error, unit, {"n": found.n, **conditions})
