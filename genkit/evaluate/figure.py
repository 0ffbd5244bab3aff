"""One number, with all that it depends on: what every measurement returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Figure:
    """A number that a reader can hold against another's.

    Attributes:
        name: topic and what is measured: `likelihood/nll`.
        value: what was measured.
        error: its standard error, in the same unit; None where there is nothing that it could be estimated from.
        unit: `nats an image`.
        conditions: what it depends on: split, n, binarisation, k, resolution, extractor.
        warning: why it can't be right, where it is better than anything can be.
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
    values = values.double()
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
    return Figure(name, float(values.mean()), error, unit, {"n": len(values), **conditions})
