"""What a recipe measures as `genkit evaluate` does: a topic's figures, and sums of attributes beside their controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from genkit.errors import UsageError
from genkit.evaluate import attributes, judge, samples, topics
from genkit.evaluate.figure import Figure, LeftOut, Name, Picture
from genkit.evaluate.subject import Asked
from genkit.reproduce.bench import TrainedRun
from genkit.reproduce.needs import Count

#: What the topic `samples` measures, as patterns: without a judge, in the features of one, and by a judge of classes.
ON_PIXELS = ("sliced_wasserstein", "sliced_wasserstein_floor", "memorisation_ratio", "memorisation_nearer")
BY_JUDGE = tuple(f"{name}{floor}" for name in samples.DISTANCES for floor in ("", "_floor"))
OF_CLASSES = tuple(f"{name}*" for name in samples.OF_CLASSES)
#: Images whose codes are averaged for a term of a sum.
EXEMPLARS = 3


def topic(name: str) -> Callable[[TrainedRun], Iterable[Figure | LeftOut]]:
    """The measure of a topic's figures, of test images, under their names without the topic: `kernel_floor`."""

    def measure(run: TrainedRun) -> Iterable[Figure | LeftOut]:
        for each in topics.measure(run.subject, Asked(), [name]):
            if not isinstance(each, Picture):
                yield replace(each, name=Name(each.name).within or name)

    return measure


def arithmetic(run: TrainedRun, expression: str, label: str, draws: Count = 100) -> Iterable[Figure | LeftOut]:
    """How often a sum of codes has the attributes that it should have, beside the best of its controls.

    Args:
        expression: `male&glasses - male&!glasses + !male&!glasses`.
        label: what its figures' names begin with: `glasses/success`.
        draws: of the exemplars.
    """
    judged = judge.of(run.settings.data, run.device, "attributes")
    if isinstance(judged, LeftOut):
        yield replace(judged, name=label)
        return
    try:
        found = attributes.figures(run.model, run.images, expression, judged, draws=draws, exemplars=EXEMPLARS)
    except UsageError as error:  # a model whose samples show too few exemplars of a term
        yield LeftOut(label, str(error))
        return
    named = {Name(each.name).row: each for each in found}
    best = max((each for kind, each in named.items() if kind != "success"), key=lambda each: each.value)
    for kind, each in {**named, "best_control": best}.items():
        yield Figure(f"{label}/{kind}", each.value, each.error, each.unit, each.conditions)
