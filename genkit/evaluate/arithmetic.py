"""Do sums of codes have the attributes that they should? The sums that were asked for, judged by `attributes.py`."""

from __future__ import annotations

import dataclasses

import torch

from genkit.contract import ability
from genkit.data.dataset import Dataset
from genkit.errors import UsageError
from genkit.evaluate import attributes
from genkit.evaluate.figure import Found, LeftOut, Name
from genkit.evaluate.subject import Asked, Subject
from genkit.latent.arithmetic import parse


@torch.no_grad()
def figures(subject: Subject, asked: Asked) -> list[Found]:
    model, dataset = subject.model, subject.dataset
    assert ability.generates(model)
    if not dataset.attributes:
        return [LeftOut("arithmetic", f"{dataset.name} has no attributes by which a sum could be judged")]
    if not asked.expressions:
        return [LeftOut("arithmetic", "no sum was asked for; name one with --arithmetic 'a - b + c'")]
    judge = subject.judge("attributes")
    if isinstance(judge, LeftOut):
        return [LeftOut("arithmetic", judge.reason)]
    found: list[Found] = []
    for expression in asked.expressions:
        row = " ".join(expression.split())
        try:
            # Each draw has seeds of its own, which end at 2⁶³.
            measured = attributes.figures(model, dataset, expression, judge, seed=asked.seed % 2**48)
        except UsageError as error:  # too few exemplars: what is wrong with the expression itself, `check` has found
            found.append(LeftOut(Name.of("arithmetic", row), str(error).removeprefix("--arithmetic: ")))
            continue
        for each in measured:
            # The exemplars are test images, whatever the others are measured by.
            conditions = {**subject.conditions, **subject.given, "split": "test", **each.conditions, "seed": asked.seed}
            name = Name.of("arithmetic", row, Name(each.name).row)
            found.append(dataclasses.replace(each, name=name, conditions=conditions))
    return found


def check(expression: str, dataset: Dataset) -> None:
    """Refuse, before anything is measured, a sum that can't be judged on this data.

    Raises:
        UsageError
    """
    terms = parse(expression)
    for term in terms:
        for name in attributes.literals(term.text):
            if name not in dataset.attributes:
                offer = ", ".join(dataset.attributes) or "none"
                raise UsageError(f"--arithmetic: '{name}' is no attribute of {dataset.name} (it has {offer})")
    attributes.wanted(terms)
    if not any(term.sign > 0 for term in terms):
        raise UsageError(f"--arithmetic: '{expression}' adds nothing; write 'a - b + c'")
