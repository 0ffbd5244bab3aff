"""Has a classifier been adapted to a second set of images? How often it is right there, and whether a linear probe can
still tell the two sets apart in its features.

Both stand beside what they were before; and the probe beside one on pixels. Labels of the second set are looked at here
and nowhere before. In the protocol of Tzeng et al. (CVPR 2017) a model is tested on the images that it was adapted to;
beside those stand images that were held out of the adaptation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genkit import data
from genkit.contract import ability
from genkit.data import few
from genkit.data.batches import conformed, in_order
from genkit.data.dataset import Dataset, Split
from genkit.errors import UsageError
from genkit.evaluate.figure import Figure, Found, LeftOut, Name, share
from genkit.evaluate.probe import PENALTY, scaled, svm
from genkit.evaluate.subject import Asked, Subject, progress
from genkit.step.passes import evaluation_batch

#: Images of each set that a probe learns from, and that it is asked about, at most; evenly spaced.
TRAIN, TEST = 2_000, 2_000

#: Of images (B, C, H, W), rows (B, …).
Function = Callable[[Tensor], Tensor]


@torch.no_grad()
def figures(subject: Subject, asked: Asked) -> list[Found]:
    if subject.split in ("train", "all"):
        return [LeftOut("domains", "a probe learns from training images; choose --split test or val")]
    second = second_set(subject)
    if isinstance(second, LeftOut):
        return [second]
    return [*accuracies(subject, second), *probes(subject, second)]


def second_set(subject: Subject) -> Dataset | LeftOut:
    """The images that the model was adapted to, with those held out; or why they can't be had."""
    if subject.dataset.beside is not None:
        return subject.dataset.beside
    options = data.second_of(subject.data)
    if options is None:
        return LeftOut("domains", f"nobody knows the second set that {subject.kind} was trained on")
    if missing := data.missing(options):
        return LeftOut("domains", missing.what)
    return few.with_few_images(data.load(options), subject.data)


def accuracies(subject: Subject, second: Dataset) -> list[Found]:
    """How often answers are right of the second set, after the adaptation and before."""
    model = subject.model
    assert ability.adapts(model)
    assert ability.classifies(model)
    before = model.before()
    assert ability.classifies(before)
    if second.train.labels is None:
        return [LeftOut("domains/accuracy", f"{second.name} has no classes, which {subject.kind} tells")]
    known = subject.opened.description.classes
    if known and second.classes != known:
        reason = f"the classes of {second.name} aren't those that {subject.kind} tells"
        return [LeftOut("domains/accuracy", reason)]
    found: list[Found] = []
    for row, name in (("accuracy", subject.split), ("accuracy_of_those_adapted_to", "train")):
        split = second.splits()[name]
        assert split.labels is not None
        about = {**subject.conditions, "dataset": second.name, "split": name}
        for column, tells in (("before", before.probabilities), ("after", model.probabilities)):
            right = (rows_of(subject, split, tells).argmax(1) == split.labels).double()
            found.append(share(Name.of("domains", row, column), right, "of answers are right", **about))
    return found


def probes(subject: Subject, second: Dataset) -> list[Found]:
    """How often a linear probe tells the sets of held-out images: ½ where it can't, as of as many of each."""
    contestants = {"pixels": (pixels_of, pixels_of), **seen_by(subject)}
    asked_about = (subject.images, second.splits()[subject.split])
    learned, tested = [
        balanced(pair, most) for pair, most in (((subject.dataset.train, second.train), TRAIN), (asked_about, TEST))
    ]
    conditions = {**subject.conditions, "beside": second.name, "weight of errors (C)": PENALTY}
    conditions["training images"] = 2 * len(learned[0])
    found: list[Found] = []
    with progress("domains", len(contestants), "probes") as bar:
        for column, functions in contestants.items():
            seen = [
                [rows_of(subject, split, tells) for split, tells in zip(pair, functions, strict=True)]
                for pair in (learned, tested)
            ]
            try:
                right = told_apart(*seen[0], *seen[1])
            except UsageError as error:
                return [LeftOut("domains/domain_probe", str(error))]
            name = Name.of("domains", "domain_probe", column)
            figure: Figure = share(name, right, "of sets are told", **conditions, features=f"{seen[0][0].shape[1]:,}")
            found.append(figure)
            bar.update()
    return found


def seen_by(subject: Subject) -> dict[str, tuple[Function, Function]]:
    """The features of the first set and of the second, before the adaptation and after it."""
    model = subject.model
    assert ability.adapts(model)
    before = model.before()
    return {"before": (before.features, before.features), "after": (model.first_features, model.features)}


def told_apart(first: Tensor, second: Tensor, first_asked: Tensor, second_asked: Tensor) -> Tensor:
    """Which of some features a linear SVM takes for those of the right set, 0 or 1: float64 (N + M,).

    Args:
        first, second: features (…, F) of each set, that it learns from.
        first_asked, second_asked: others (N, F) and (M, F), that it is asked about.

    Raises:
        DataError: when some aren't finite, or there are none.
        UsageError: when there is no scikit-learn.
    """
    known, asked = scaled(torch.cat([first, second]), torch.cat([first_asked, second_asked]))
    sets = torch.arange(2).repeat_interleave(torch.tensor([len(first), len(second)]))
    truth = torch.arange(2).repeat_interleave(torch.tensor([len(first_asked), len(second_asked)]))
    return (svm(known, sets, asked) == truth).double()


def balanced(pair: tuple[Split, Split], most: int) -> tuple[Split, Split]:
    """As many images of each, evenly spaced."""
    count = min(most, *(len(each) for each in pair))
    first, second = (each.take(each.spread(count)) for each in pair)
    return first, second


@torch.no_grad()
def rows_of(subject: Subject, split: Split, tells: Function) -> Tensor:
    """What a function says of a split's images, brought to the model's form: (N, …), on the CPU."""
    shape = subject.model.image
    batches = in_order(split, evaluation_batch(shape), subject.device)
    return torch.cat([tells(conformed(batch.images, shape)).cpu() for batch in batches])


def pixels_of(images: Tensor) -> Tensor:
    return images.flatten(1)
