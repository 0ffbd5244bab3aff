"""What is a model's representation good for? Classes told from few labels and from many, by a linear SVM and by k-NN.

The experiment of Radford, Metz and Chintala (ICLR 2016) with few labels, beside two baselines: the pixels themselves,
and the same net with random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from genkit.contract import Model
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.device import seeded
from genkit.errors import UsageError
from genkit.evaluate.figure import Figure, Found, LeftOut, Name
from genkit.evaluate.probe import NEIGHBOURS, PENALTY, Method, probe
from genkit.evaluate.subject import Asked, Subject, progress
from genkit.step.passes import evaluation_batch, told

#: Training images and test images at most, evenly spaced, and numbers of all features of the training images.
TRAIN, TEST, NUMBERS = 10_000, 5_000, 1 << 23
DRAWS = 5


@torch.no_grad()
def figures(subject: Subject, asked: Asked) -> list[Found]:
    model, dataset = subject.model, subject.dataset
    if dataset.train.labels is None or len(dataset.classes) < 2:
        return [LeftOut("representation", f"{dataset.name} has no classes to tell apart")]
    if model.condition is not None and model.condition.kind == "class":
        return [LeftOut("representation", f"{subject.kind} is told the class that a probe would have to tell")]
    if len(dataset.train.labels.unique()) < 2:
        return [LeftOut("representation", f"the training images of {dataset.name} are all of one class")]
    if subject.split in ("train", "all"):
        return [LeftOut("representation", "a probe learns from training images; choose --split test or val")]
    try:
        width = features(model, subject.images.take(slice(0, 1)), subject).shape[1]
    except UsageError as error:
        return [LeftOut("representation", str(error))]
    train = dataset.train.take(dataset.train.spread(min(TRAIN, NUMBERS // max(width, model.image.numbers))))
    test = subject.images.take(subject.images.spread(TEST))
    with seeded(asked.seed, subject.device):
        untrained = type(model)(model.image, model.options).to(subject.device).eval()
    contestants = {
        "code": (model, f"{width:,} numbers of {subject.kind}"),
        "pixels": (None, f"{model.image.numbers:,} pixels"),
        "untrained": (untrained, f"{width:,} numbers of {subject.kind} with random weights, seed {asked.seed}"),
    }
    found: list[Found] = []
    with progress("representation", len(contestants) * len(get_args(Method)), "probes") as bar:
        for name, (seer, words) in contestants.items():
            known, questions = (features(seer, split, subject) for split in (train, test))
            for method in get_args(Method):
                conditions = {**subject.conditions, **subject.lacking, "features": words, "training images": len(train)}
                if seer is not None:
                    conditions |= subject.given
                found += scores(method, name, known, train, questions, test, conditions, asked.seed, dataset.classes)
                bar.update()
    return unique(found)


def unique(found: list[Found]) -> list[Found]:
    """What is left out of all three is left out once."""
    kept: list[Found] = []
    for each in found:
        if isinstance(each, Figure) or each not in kept:
            kept.append(each)
    return kept


def features(model: Model | None, split: Split, subject: Subject) -> Tensor:
    """The representation of a split's images (N, F), on the CPU; their pixels where there is no model."""
    parts = []
    for batch in in_order(split, evaluation_batch(subject.model.image), subject.device):
        if model is None:
            parts.append(batch.images.flatten(1).cpu())
        else:
            parts.append(model.representation(batch.images, *told(model, batch)).cpu())
    return torch.cat(parts)


def scores(
    method: Method,
    name: str,
    known: Tensor,
    train: Split,
    questions: Tensor,
    test: Split,
    conditions: dict,
    seed: int,
    classes: Sequence[str],
) -> list[Found]:
    """The accuracies of one method on one set of features, at each number of labels."""
    assert train.labels is not None
    assert test.labels is not None
    try:
        results = probe(known, train.labels, questions, test.labels, method, draws=DRAWS, seed=seed, names=classes)
    except UsageError as error:
        return [LeftOut(f"representation/{method}", str(error))]
    found: list[Found] = []
    for score in results:
        labels = "all_labels" if score.per_class is None else f"{score.per_class}_per_class"
        row = f"{method}_{labels}"
        if score.accuracy is None:
            found.append(LeftOut(Name.of("representation", row), score.reason or ""))
            continue
        about = {**conditions, "test images": len(test), "draws": score.accuracy.n, "seed": seed}
        if method == "svm":
            about["weight of errors (C)"] = PENALTY
        else:
            about["neighbours"] = f"{NEIGHBOURS}, or as many as a class has"
        found.append(
            Figure(Name.of("representation", row, name), score.accuracy.value, score.accuracy.error, "accuracy", about)
        )
    return found
