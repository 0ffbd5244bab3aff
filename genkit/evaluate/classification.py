"""How often is a classifier right? Of all images, by class or attribute, and beside what the commonest answer gets."""

from __future__ import annotations

import torch
from torch import Tensor

from genkit.contract import ability
from genkit.contract.ability import Classifies
from genkit.data.batches import in_order
from genkit.data.dataset import Dataset, Split
from genkit.evaluate.figure import Figure, Found, LeftOut, Name, share
from genkit.evaluate.subject import Asked, Subject, progress
from genkit.step.passes import evaluation_batch

ACCURACY = "of answers are right"


@torch.no_grad()
def figures(subject: Subject, asked: Asked) -> list[Found]:
    model, dataset = subject.model, subject.dataset
    assert ability.classifies(model)
    attributes = tuple(model.options.attributes)
    if reason := unlike(subject, attributes, model.options.classes):
        return [LeftOut("classification", reason)]
    said = answers(subject, model)
    truth = truth_of(subject.images, dataset, attributes)
    right = (said == truth).double()
    commonest = commonest_answer(truth_of(dataset.train, dataset, attributes))
    conditions = subject.conditions | ({} if attributes else subject.lacking)
    always = (truth == commonest).double()
    by_image, by_commonest = (each if each.ndim == 1 else each.mean(1) for each in (right, always))
    found: list[Found] = [
        share("classification/accuracy", by_image, ACCURACY, **conditions),
        share("classification/commonest_answer", by_commonest, "would be right, always given", **conditions),
    ]
    if attributes:
        each = dict(zip(attributes, right.unbind(1), strict=True)) if len(attributes) > 1 else {}
        return found + of_each("attribute", each, conditions)
    return found + of_each("class", {name: right[truth == at] for at, name in enumerate(dataset.classes)}, conditions)


def unlike(subject: Subject, attributes: tuple[str, ...], classes: int) -> str | None:
    """Why a classifier's answers can't be held against what is known of the images; None where they can."""
    dataset = subject.dataset
    if attributes:
        unknown = [name for name in attributes if name not in dataset.attributes]
        return f"{dataset.name} has no attribute '{unknown[0]}', which {subject.kind} tells" if unknown else None
    if subject.images.labels is None:
        return f"{dataset.name} has no classes, which {subject.kind} tells"
    if len(dataset.classes) != classes or subject.opened.description.classes != dataset.classes:
        return f"the classes of {dataset.name} aren't those that {subject.kind} tells"
    return None


def answers(subject: Subject, model: Classifies) -> Tensor:
    """The likeliest class of each image, int64 (N,); or which attributes it has, bool (N, attributes)."""
    parts = []
    with progress("classification", len(subject.images)) as bar:
        for batch in in_order(subject.images, evaluation_batch(subject.model.image), subject.device):
            odds = model.probabilities(batch.images)
            parts.append((odds > 0.5 if model.options.attributes else odds.argmax(1)).cpu())
            bar.update(len(batch.images))
    return torch.cat(parts)


def truth_of(split: Split, dataset: Dataset, attributes: tuple[str, ...]) -> Tensor:
    """What is known of a split's images, as `answers` has it."""
    if not attributes:
        assert split.labels is not None
        return split.labels
    assert split.attributes is not None
    return split.attributes[:, [dataset.attributes.index(name) for name in attributes]]


def commonest_answer(truth: Tensor) -> Tensor:
    """The commonest class (), or whether most images have each attribute (attributes,)."""
    return truth.mode().values if truth.ndim == 1 else truth.double().mean(0) > 0.5


def of_each(what: str, right: dict[str, Tensor], conditions: dict[str, str | int | float]) -> list[Figure]:
    """The accuracy by class or attribute, of those that some image is of; the parts of a name are told by slashes."""
    return [
        share(Name.of("classification", f"accuracy_of_each_{what}", name), values, ACCURACY, **conditions)
        for name, values in right.items()
        if len(values)
    ]
