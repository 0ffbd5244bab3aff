"""What of a run nobody has typed, as the images suggest it: how many steps, how many images a step.

A model says in `Model.defaults_for` what else of its options depends on them. Every value comes with its reason, which
the run prints and keeps. Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from genkit.contract.options import MAX_EPOCHS, TrainingOptions
from genkit.contract.shape import ImageShape
from genkit.wording import counted

#: Steps below which a run has hardly begun, and above which one that nobody has asked for takes too long, where a model
#: says nothing else.
FEWEST_STEPS, MOST_STEPS = 5_000, 40_000
#: Images in the smallest batch, and into how many batches a small set is divided at least.
SMALLEST_BATCH, BATCHES = 16, 4
#: Sets of fewer training images are small: a model sees each hundreds of times, and can learn it by heart.
FEW_IMAGES = 2_000


@dataclass(frozen=True)
class Facts:
    """What defaults are made of: the training images, as far as it is cheap to look at them.

    Attributes:
        count: how many there are; at least 1.
        shape: of each.
        classes: how many classes are named; 0 of images without labels.
        attributes: how many attributes are named; 0 of images without any.
        extremes: share of all pixel numbers that are within 1/32 of 0 or 1, in [0, 1]: 0.9 of digits, some hundredths
            of photographs.
    """

    count: int
    shape: ImageShape
    classes: int = 0
    attributes: int = 0
    extremes: float = 0.0

    @property
    def few(self) -> bool:
        """Whether they are so few that a model can learn them by heart."""
        return self.count < FEW_IMAGES

    @property
    def in_colour(self) -> bool:
        return self.shape.channels > 1

    @property
    def two_valued(self) -> bool:
        """Whether nearly all pixels are black or white, as of digits and line drawings."""
        return self.extremes > 0.5


class Resolved(NamedTuple):
    """A value of an option that nobody has given.

    Attributes:
        value: what the option's field takes.
        reason: why, in a few words that end a line: "400 training images".
    """

    value: Any
    reason: str


def batch_size_for(count: int, most: int = 128) -> int:
    """Images a step: `most`, and of a small set a power of two that leaves it several steps a pass."""
    if count >= most * BATCHES:
        return most
    return min(most, max(SMALLEST_BATCH, 2 ** int(math.log2(max(1, count // BATCHES)))))


def steps_a_pass(count: int, batch_size: int) -> int:
    """Steps of one pass over so many images: whole batches, and at least one."""
    return max(1, count // batch_size)


def budget(
    options: TrainingOptions,
    images: Facts,
    fewest: int = FEWEST_STEPS,
    most: int = MOST_STEPS,
    batch_size: int | None = None,
) -> dict[str, Resolved]:
    """Epochs by which a run has at least `fewest` steps, and at most `most`; none where the default epochs do.

    A set of which one pass has more than that gets steps, by which the pass is cut short. A warm-up of the learning
    rate keeps its share of the run.

    Args:
        options: with what has been given in `model_fields_set`; nothing is resolved where that says how long to train.
        batch_size: that the run will have; by default that of `options`.
    """
    a_pass = steps_a_pass(images.count, options.batch_size if batch_size is None else batch_size)
    steps = options.epochs * a_pass
    each = f"{counted(images.count, 'image')} make {counted(a_pass, 'step')} a pass"
    found: dict[str, Resolved] = {}
    if options.steps is not None:
        passes = options.steps / a_pass
    elif options.minutes is not None or "epochs" in options.model_fields_set or fewest <= steps <= most:
        return {}
    elif most < a_pass:
        passes = most / a_pass
        found["steps"] = Resolved(most, f"{each}, and a run takes {most:,} at most")
    else:
        enough = min(MAX_EPOCHS, math.ceil(fewest / a_pass))
        passes = enough if steps < fewest else most // a_pass
        bound = f"at least {fewest:,}" if steps < fewest else f"{most:,} at most"
        found["epochs"] = Resolved(passes, f"{each}, and a run takes {bound}")
    if options.lr_warmup and "lr_warmup" not in options.model_fields_set:
        share = options.lr_warmup / type(options).model_fields["epochs"].default
        found["lr_warmup"] = Resolved(float(f"{share * passes:.4g}"), f"{share:.1%} of the run")
    return found


def training(
    options: TrainingOptions,
    images: Facts,
    fewest: int = FEWEST_STEPS,
    most: int = MOST_STEPS,
    batch_size: Resolved | None = None,
) -> Mapping[str, Resolved]:
    """Batch size and epochs: what nearly every model can begin its `defaults_for` with.

    Args:
        batch_size: of a set that isn't small; by default that of `options`.
    """
    size = options.batch_size
    found: dict[str, Resolved] = {}
    if "batch_size" not in options.model_fields_set:
        usual = size if batch_size is None else batch_size.value
        size = batch_size_for(images.count, usual)
        if size != usual:
            found["batch_size"] = Resolved(size, f"{counted(images.count, 'training image')}")
        elif batch_size is not None:
            found["batch_size"] = batch_size
    return {**found, **budget(options, images, fewest, most, size)}
