"""How many steps fit into some minutes (`--minutes`): by the time that some take of a model that is thrown away.

What a run does besides its steps is timed with them: validations, pictures, checkpoints, and what is measured at its
end. Afterwards the run is one of so many steps, as if somebody had given them with `--steps`, to the bit.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from genkit.contract import Batch, Model, ability
from genkit.contract.options import MAX_EPOCHS, MAX_STEPS
from genkit.data.dataset import Dataset
from genkit.device import seeded
from genkit.keep import checkpoint
from genkit.keep.config import Config, RunOptions
from genkit.latent import images
from genkit.nets.priors import FLOW_STEPS, LEAST, fitted_flow, fitted_mixture
from genkit.run import baseline
from genkit.run.gallery import pictures_of
from genkit.run.preparation import VALIDATIONS
from genkit.run.prior import FITTED, OF_A_CLASS, OF_ALL, Kind, PriorFit, codes_of, known_classes
from genkit.run.rehearsal import rehearse
from genkit.run.setup import Setup
from genkit.run.validation import validate
from genkit.step.distributed import Team
from genkit.step.training import train
from genkit.wording import counted

logger = logging.getLogger("genkit")

#: Steps of each stage of the training that aren't timed, since the first ones take longer; seconds that the timed ones
#: take together, where they are many, as a share of the run; and how many are timed at least and at most.
WARM_UP, SHARE, STEPS = 3, 0.03, (4, 400)
#: Validation images that are timed, of many.
VALIDATED = 500
#: Largest share of the run's time that validations, pictures and checkpoints take, where nobody says how many.
LOOKS = 0.2
#: Codes by which it is seen what fitting a prior takes; into how many parts a flow's steps are divided, of which one is
#: timed.
CODES, FLOW_TIMED = 3000, 30
#: Bytes of a checkpoint that are hashed and written in a second, by a thread beside the training.
WRITTEN = 3e8


class Costs(NamedTuple):
    """Seconds that the parts of a run take.

    Attributes:
        step: the mean over the whole run.
        validation, picture, checkpoint: each.
        end: what comes before the first step, and after the last but for its validation, picture and checkpoint.
    """

    step: float
    validation: float
    picture: float
    checkpoint: float
    end: float


class Plan(NamedTuple):
    """What fits into the time.

    Attributes:
        steps: of the run; at least 1.
        every: epochs from one validation to the next, where nobody says how many.
        reason: how that was found.
    """

    steps: int
    every: int
    reason: str


def plan(config: Config, asked: RunOptions, dataset: Dataset, team: Team, by_images: bool) -> Plan:
    """How many steps `minutes` are, by timing some. All call it, and have the leader's plan.

    Neither random generators that the run goes on with nor its weights depend on it: `Setup` begins both anew.

    Args:
        config: fitted to the images.
        asked: how the run is carried out, before that was fitted to them: with what somebody has set.
        by_images: whether what nobody has set is open.

    Raises:
        UsageError, ModelError: where the model can't be trained so.
    """
    begun, minutes = time.monotonic(), config.options.minutes
    assert minutes is not None
    found = Plan(1, 1, "as the leading process timed it")
    if team.leads:
        logger.info("timing   some steps, to see how many fit into %g min", minutes)
        costs = measured(config, dataset, Team(team.device), team.size, 60 * minutes)
        left = 60 * minutes - (time.monotonic() - begun)
        size = min(config.options.batch_size, len(dataset.train))
        found = fitting(left, costs, len(dataset.train) // size, intervals(asked, by_images))
        found = found._replace(reason=f"{found.reason}, in {minutes:g} min")
    steps, every = team.from_leader(found.steps), team.from_leader(found.every)
    return found._replace(steps=steps, every=every)


def intervals(run: RunOptions, by_images: bool) -> tuple[float | None, float | None, float | None]:
    """Epochs between validations, pictures and checkpoints as somebody has said them; None where that is open.

    Pictures and checkpoints of which nobody says how many come with the validations. Checkpoints that come every few
    minutes count as none.
    """
    given = run.model_fields_set if by_images else type(run).model_fields.keys()
    validations = run.validate_every if "validate_every" in given else None
    return (
        validations,
        run.picture_every if "picture_every" in given else validations,
        (run.checkpoint_epochs or math.inf) if "checkpoint_every" in given else validations,
    )


def fitting(
    seconds: float, costs: Costs, steps_per_epoch: int, given: tuple[float | None, float | None, float | None]
) -> Plan:
    """How many steps fit into the seconds that are left, and how rarely a validation does.

    What happens every few epochs is spread evenly over the steps; the last step has one of each, which is taken off
    before. However little a step takes, a run has no more passes than `--epochs` may be.

    Args:
        given: as `intervals`.
    """
    each = (costs.validation, costs.picture, costs.checkpoint)
    usable = max(0.0, seconds - costs.end - sum(each))
    said = sum(cost / every for cost, every in zip(each, given, strict=True) if every is not None)
    unsaid = sum(cost for cost, every in zip(each, given, strict=True) if every is None)
    training = steps_per_epoch * costs.step

    def epochs(every: int) -> float:
        return usable / (training + said + unsaid / every)

    most = min(MAX_EPOCHS * steps_per_epoch, MAX_STEPS)  # steps
    every = min(MAX_EPOCHS, max(1, math.ceil(unsaid * (1 - LOOKS) / (training * LOOKS))))
    every = max(every, math.ceil(min(epochs(every), most / steps_per_epoch) / VALIDATIONS))
    fits = max(1, int(epochs(every) * steps_per_epoch))
    if fits <= every * steps_per_epoch:  # the last validation is the only one
        fits = max(1, min(int(usable / costs.step), every * steps_per_epoch))
    steps = min(fits, most)
    looks = max(1, math.ceil(steps / steps_per_epoch / (given[0] or every)))
    bound = ", the most that a run has" if steps < fits else ""
    return Plan(steps, every, f"{1000 * costs.step:.3g} ms each, and {counted(looks, 'validation')}{bound}")


# ---------------------------------------------------------------------------------------------------------------------
# What is timed
# ---------------------------------------------------------------------------------------------------------------------


def measured(config: Config, dataset: Dataset, alone: Team, processes: int, seconds: float) -> Costs:
    """What the parts of such a run take, by doing each once, and some steps.

    Args:
        alone: this process by itself, which takes a process's share of each batch.
        processes: that share it.
        seconds: that the run has.
    """
    options = config.options.model_copy(update={"batch_size": max(1, config.options.batch_size // processes)})
    clock = Clock(alone.device)
    begun = clock.now()
    setup = Setup(config._replace(options=options), dataset, alone)
    setup.take_initial_weights()
    rehearse(setup)
    preparing = clock.now() - begun  # which the run does again
    step = clock.step(setup, SHARE * seconds)
    if not all(bool(each.isfinite().all()) for each in setup.state.model.state_dict().values()):
        # The run will say at which step it diverges; nothing can be fitted to the codes of such weights.
        setup = Setup(setup.config, dataset, alone)
        setup.take_initial_weights()
    model = setup.state.best_model
    names = setup.state.phases_of(setup.total_steps)

    def validated(split: str, count: int) -> float:
        images_of, beside = dataset.splits()[split], dataset.beside_split(split)
        some = images_of.take(images_of.spread(count))
        train = dataset.train.take(slice(5 * count)) if split == "val" else None
        return clock.seconds(lambda: validate(model, some, alone.device, phases=names, beside=beside, train=train))

    validation = validated("val", VALIDATED) * len(dataset.val) / min(VALIDATED, len(dataset.val))
    if len(dataset.val) > VALIDATED and validation < SHARE * seconds:
        validation = validated("val", len(dataset.val))
    prior = PriorFit(dataset.train, alone.device, 0, dataset.beside_split("train"))

    def draw() -> None:
        prior.fit(model, 0)
        for picture in pictures_of(model, dataset.val).values():
            images.as_png(picture)

    drawing = clock.seconds(draw)
    size = checkpoint.size(type(model), dataset.shape, options)
    end = preparing + validation * len(dataset.test) / len(dataset.val)
    if model.begins_trained:  # what it begins with is validated, drawn and kept, too
        end += validation + drawing + size / WRITTEN
    if dataset.beside is None:
        end += clock.seconds(lambda: baseline.measure(model.eval(), dataset, alone.device, 0))
    end += clock.seconds_of_prior(model.eval(), dataset, config.run.prior or "own")
    return Costs(step, validation, drawing, size / WRITTEN, end + size / WRITTEN)


class Clock:
    """Times what a device does.

    Args:
        device: which is waited for.
    """

    def __init__(self, device: torch.device):
        self.device = device

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def seconds(self, action: Callable[[], object]) -> float:
        begun = self.now()
        action()
        return self.now() - begun

    def seconds_of_prior(self, model: Model, dataset: Dataset, kind: Kind) -> float:
        """About what the prior takes that is fitted at the end: by some codes, of a model that knows nothing yet."""
        if kind == "own" or not ability.takes_prior(model):
            return 0.0
        images = min(FITTED, len(dataset.train))
        begun = self.now()
        with torch.no_grad(), seeded(0, self.device):
            some = codes_of(model, dataset.train.take(dataset.train.spread(CODES)), self.device)
        count, classes = len(some.codes), known_classes(model, dataset)
        encoding = (self.now() - begun) * (images + min(FITTED, len(dataset.val))) / count
        if not bool(some.codes.isfinite().all()):  # to which nothing is fitted
            return encoding
        labels = some.labels if classes else None
        if kind == "flow":
            steps = FLOW_STEPS // FLOW_TIMED
            fit = lambda: fitted_flow(some.codes, some.codes, labels, labels, classes, steps=steps)  # noqa: E731
            return encoding + FLOW_TIMED * self.seconds(fit)
        numbers = (1,) if kind == "gaussian" else OF_A_CLASS if classes else OF_ALL
        most = max([each for each in numbers if LEAST * each * max(1, classes) <= count], default=1)
        fitting = self.seconds(lambda: fitted_mixture(some.codes, most, labels, classes))
        # As if all numbers were tried that the run's codes are enough for: the time grows with their sum.
        tried = sum(each for each in numbers if LEAST * each * max(1, classes) <= images) or 1
        return encoding + fitting * images / count * tried / most

    def step(self, setup: Setup, seconds: float) -> float:
        """Seconds of a training step: of each stage, weighed by how long it is."""
        state, total = setup.state, 0.0
        ahead = endless(setup)
        edges = {edge for window in state.windows if window for edge in (window.start, window.stop)}
        starts = sorted(edge for edge in edges if edge < setup.total_steps)
        for start, end in zip(starts, [*starts[1:], setup.total_steps], strict=True):
            state.step = start
            steps = train(state, ahead)
            for _ in range(WARM_UP):
                state.step = start  # of a stage that may have fewer steps than are taken here
                next(steps)
            begun, count = self.now(), 0
            while count < STEPS[0] or (count < STEPS[1] and time.perf_counter() - begun < seconds / len(starts)):
                state.step = start
                next(steps)
                count += 1
            total += (end - start) / setup.total_steps * (self.now() - begun) / count
        return total


def endless(setup: Setup) -> Iterator[Batch]:
    """The batches of one epoch after the other."""
    epoch = 0
    while True:
        yield from setup.batches.epoch(epoch)
        epoch += 1
