"""One number, with all that it depends on: what every measurement returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from PIL import Image
from torch import Tensor

from genkit.evaluate.estimate import WILSON, estimate, estimate_share


@dataclass(frozen=True)
class Figure:
    """A number that a reader can hold against another's.

    Attributes:
        name: topic and what is measured: `likelihood/nll`.
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
