"""What a recipe measures of samples and of representations: by the judge of the images, and by few labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from genkit import sampling
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.device import seeded
from genkit.evaluate import attributes, judge, probe, samples
from genkit.evaluate.figure import Figure, LeftOut
from genkit.evaluate.passes import evaluation_batch
from genkit.images import to_float
from genkit.model import Model
from genkit.reproduce.bench import Opened

Conditions = dict[str, str | int | float]


def distances(run: Opened, count: int = 5000) -> Iterable[Figure | LeftOut]:
    """How far samples are from test images, by the judge's features; and how far test images are from one another.

    Args:
        count: samples, and images in each of the floor's two sets; at most half of the test images.
    """
    judged = judge.of(run.settings.data, run.device, "classes" if len(run.images.classes) > 1 else "attributes")
    if isinstance(judged, LeftOut):
        yield judged
        return
    count = min(count, len(run.images.test) // 2)
    real = judged.features(to_float(run.images.test.images()))
    some = real[run.images.test.spread(count)]
    drawn = sampling.decode(run.model, sampling.seed_codes(run.model, range(count)))
    ours = judged.features(drawn)
    conditions: Conditions = {"split": "test", "samples": count, "images": count, "extractor": judged.name}
    kernel, least = samples.kernel_distance(ours, some), samples.floor(samples.kernel_distance, real, count)
    yield Figure("kernel_distance", kernel.value, kernel.error, "", conditions)
    yield Figure("kernel_distance_floor", least.value, least.error, "", conditions)
    yield Figure("frechet_distance", samples.frechet_distance(ours, some), None, "", conditions)
    yield Figure("frechet_distance_floor", samples.floor(samples.frechet_distance, real, count), None, "", conditions)
    for name, value in samples.precision_recall(ours, some)._asdict().items():
        yield Figure(name, value, None, "", conditions)
    if judged.classes:
        effective = samples.class_histogram(judged.labels(drawn), len(judged.classes)).effective
        yield Figure("effective_classes", effective.value, effective.error, "", conditions)


def arithmetic(run: Opened, expression: str, label: str, draws: int = 100) -> Iterable[Figure | LeftOut]:
    """How often a sum of codes has the attributes that it should have, beside the best of its controls.

    Args:
        expression: `male&glasses - male&!glasses + !male&!glasses`.
        label: what its figures' names begin with: `glasses/success`.
        draws: of the exemplars.
    """
    judged = judge.of(run.settings.data, run.device, "attributes")
    if isinstance(judged, LeftOut):
        yield judged
        return
    found = attributes.figures(run.model, run.images, expression, judged, draws=draws)
    named = {each.name.rpartition("/")[2]: each for each in found}
    best = max((each for kind, each in named.items() if kind != "success"), key=lambda each: each.value)
    for kind, each in {**named, "best_control": best}.items():
        yield Figure(f"{label}/{kind}", each.value, each.error, each.unit, each.conditions)


def few_labels(
    run: Opened, labels: Sequence[int] = (1, 10, 100), images: int = 10_000, draws: int = 5
) -> Iterable[Figure]:
    """Accuracy of a linear SVM on the model's representation, on random weights' of the same model, and on pixels.

    Args:
        labels: labelled images a class.
        images: of the training split, evenly spaced, from which they are drawn, and that give the unit of length.
        draws: of the labelled images.
    """
    train = run.images.train.take(run.images.train.spread(images))
    test = run.images.test
    assert train.labels is not None
    assert test.labels is not None
    with seeded(0, run.device):
        untrained = type(run.trained)(run.trained.image, run.trained.options).to(run.device).eval()

    def represented(model: Model) -> Callable[[Split], Tensor]:
        def of(split: Split) -> Tensor:
            with torch.no_grad():
                batches = in_order(split, evaluation_batch(model.image), run.device)
                return torch.cat([model.representation(batch.images).cpu() for batch in batches])

        return of

    for name, features in (
        ("representation", represented(run.trained)),
        ("random", represented(untrained)),
        ("pixels", lambda split: to_float(split.images()).flatten(1)),
    ):
        scores = probe.probe(
            features(train), train.labels, features(test), test.labels, "svm", tuple(labels), draws=draws
        )
        for score in scores:
            if score.accuracy is not None:
                conditions: Conditions = {"split": "test", "labels a class": score.per_class or 0, "draws": draws}
                yield Figure(f"{name}@{score.per_class}", score.accuracy.value, score.accuracy.error, "", conditions)
