"""Which topics there are, what each needs, and which file measures it. A topic is one file with one function:

    figures(subject: Subject, asked: Asked) -> list[Found]

and one line here, which says what a model must be able to do (`contract/ability.py`); of one that can't, the topic is
left out without being asked. A figure's name begins with its topic (`figure.Name`). What the images don't allow is a
`LeftOut`, too; no topic asks for a model by its name. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from genkit.errors import UsageError

if TYPE_CHECKING:
    from genkit.contract import Model
    from genkit.contract.ability import Ability
    from genkit.evaluate.figure import Found
    from genkit.evaluate.subject import Asked, Subject


class Topic(NamedTuple):
    """What is measured by one file.

    Attributes:
        file: its name in this folder.
        needs: the names of the abilities that a model must have: "encodes".
        otherwise: what measures the same topic of a model that lacks them.
    """

    file: str
    needs: tuple[str, ...] = ()
    otherwise: Topic | None = None


#: In the order in which they are shown.
TOPICS = {
    "reconstruction": Topic("reconstruction", needs=("encodes", "generates")),
    "likelihood": Topic("likelihood", needs=("likelihood",), otherwise=Topic("density", needs=("density",))),
    "classification": Topic("classification", needs=("classifies",)),
    "domains": Topic("domains", needs=("adapts",)),
    "samples": Topic("samples", needs=("generates",)),
    "representation": Topic("representation"),
    "disentanglement": Topic("disentanglement", needs=("encodes",)),
    "interpolation": Topic("interpolation", needs=("generates",)),
    "arithmetic": Topic("arithmetic", needs=("generates",)),
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


def lacking(model: Model | type[Model], topic: str) -> Ability | None:
    """The first ability that a topic needs and that a model, or every model of a class, lacks."""
    from genkit.contract import ability

    known = {each.name: each for each in ability.ABILITIES}
    chosen = means(model, topic)
    return next((known[need] for need in chosen.needs if not ability.has(model, known[need])), None)


def means(model: Model | type[Model], topic: str) -> Topic:
    """What measures a topic of a model, or of every model of a class: the topic's own file, or the other one.

    Where it allows neither, the own.
    """
    from genkit.contract import ability

    known = {each.name: each for each in ability.ABILITIES}
    own = TOPICS[topic]
    each: Topic | None = own
    while each is not None:
        if all(ability.has(model, known[need]) for need in each.needs):
            return each
        each = each.otherwise
    return own


def measure(subject: Subject, asked: Asked, topics: Iterable[str]) -> list[Found]:
    """All figures of the topics, in order; one that is no finite number has a warning."""
    from genkit.evaluate.figure import LeftOut

    found: list[Found] = []
    for topic in topics:
        if lacks := lacking(subject.model, topic):
            found.append(LeftOut(topic, f"{subject.kind} {lacks.lacks}"))
            continue
        try:
            found += import_module(f"genkit.evaluate.{means(subject.model, topic).file}").figures(subject, asked)
        except UsageError as error:  # what other topics have measured is kept
            found.append(LeftOut(topic, str(error)))
    return [warned(each) for each in found]


def warned(found: Found) -> Found:
    from genkit.evaluate.figure import Figure

    if not isinstance(found, Figure) or math.isfinite(found.value):
        return found
    reason = f"it is {found.value}: the model's weights or what it makes of these images are no finite numbers"
    return dataclasses.replace(found, warning=reason)
