"""Which topics there are, and which file measures each. A topic is one file with one function, and one line here:

    figures(subject: Subject, asked: Asked) -> list[Found]

A figure's name begins with its topic: `likelihood/nll`. One of three parts, `representation/svm_all_labels/code`, is
a table's: topic, row and column. What a model or its images don't allow is a `LeftOut`; no topic
asks for a model by its name. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from genkit.errors import UsageError

if TYPE_CHECKING:
    from genkit.evaluate.figure import Found
    from genkit.evaluate.subject import Asked, Subject

#: Topic to its file in this folder, in the order in which they are shown.
TOPICS = {
    "reconstruction": "reconstruction",
    "likelihood": "likelihood",
    "classification": "classification",
    "samples": "sample_quality",
    "representation": "representation",
    "interpolation": "interpolation",
    "arithmetic": "arithmetic",
}


def chosen(only: str | None) -> list[str]:
    """The topics of a comma-separated list; all where there is none.

    Raises:
        UsageError: for a name that is no topic.
    """
    if only is None:
        return list(TOPICS)
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in TOPICS]:
        raise UsageError(f"--only: no topic is called '{unknown[0]}'; there are {', '.join(TOPICS)}")
    if not names:
        raise UsageError(f"--only names no topic; there are {', '.join(TOPICS)}")
    return [name for name in TOPICS if name in names]


def measure(subject: Subject, asked: Asked, topics: Iterable[str]) -> list[Found]:
    """All figures of the topics, in order; one that is no finite number has a warning."""
    found: list[Found] = []
    for topic in topics:
        found += import_module(f"genkit.evaluate.{TOPICS[topic]}").figures(subject, asked)
    return [warned(each) for each in found]


def warned(found: Found) -> Found:
    from genkit.evaluate.figure import Figure

    if not isinstance(found, Figure) or math.isfinite(found.value):
        return found
    reason = f"it is {found.value}: the model's weights or what it makes of these images are no finite numbers"
    return dataclasses.replace(found, warning=reason)
