"""Tells what goes wrong in training: what a model sees of its own (`Model.watch`), and a validation gone astray."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from genkit.contract import Fault, TrainingOptions
from genkit.contract.fault import any_of
from genkit.step.training import TrainingState
from genkit.wording import counted

logger = logging.getLogger("genkit")

#: Fewer steps than these are the first reason for whatever goes wrong: 400 faces of 64×64 pixels are two steps an
#: epoch, and after 40 of them nothing else that is changed helps.
FEW_STEPS = 300
#: A value so many times as far from 0 as the best one is from it is astray, if the gap is also this share at least of
#: what training has gained.
ASTRAY, SHARE = 10, 0.1


class Watch:
    """Asks after each validation what has gone wrong.

    It knows the validations of this process alone: what is watched is a trend, and a resumed run soon shows it again.

    Args:
        state: of the training.
        untrained: what a few images measure of the model before its first step; empty where that isn't known.
    """

    def __init__(self, state: TrainingState, untrained: Mapping[str, float] | None = None):
        self.state, self.model = state, state.model
        self.validations: list[Mapping[str, float]] = []
        self.untrained = untrained[self.model.monitor] if untrained else None
        self.monitored = [] if self.untrained is None else [self.untrained]
        self.seen: set[str] = set()
        self.told: set[str] = set()
        self.astray = False

    def look(self, values: Mapping[str, float], last: bool = False) -> None:
        """Warn of each fault by its name when it is known to last, and not again while it does.

        What a model sees may be gone after some more steps: it is told once it has been there in two validations, after
        enough steps, or after the last one.

        Args:
            last: whether the run ends with it.
        """
        self.validations.append(values)
        found = dict(self.model.watch(self.validations))
        early = self.state.step < min(FEW_STEPS, self.state.total_steps / 2)
        lasting = {name for name in found if last or (name in self.seen and not early)}
        for name in sorted(lasting - self.told):
            logger.warning("%s: %s", name, self.in_words(found[name]))
        self.seen, self.told = set(found), lasting | (self.told & set(found))
        self.compare(values)

    def in_words(self, fault: Fault | str) -> str:
        """A fault and what usually helps: more steps, where there are few."""
        more = more_steps(self.state)
        if not more:
            return str(fault)
        shows = fault if isinstance(fault, str) else fault.shows
        return f"{shows}; {more}"

    def compare(self, values: Mapping[str, float]) -> None:
        """Warn, when it comes to that, of a validation many times worse than the best so far."""
        name = self.model.monitor
        if name not in values:
            return
        value = values[name]
        if self.monitored:
            best = min(self.monitored)
            gap = value - best
            astray = gap > (ASTRAY - 1) * abs(best) and gap > SHARE * (max(self.monitored) - best)
            if astray and not self.astray:
                when = " (before the first step)" if best == self.untrained else ""
                helps = any_of(steadier(self.model.options, self.state.steps_per_epoch))
                logger.warning(
                    "divergence: the validation's %s is %.4g, and was %.4g at its best%s; what usually helps: %s",
                    *(name, value, best, when, helps),
                )
            self.astray = astray
        self.monitored.append(value)


def more_steps(state: TrainingState) -> str:
    """That a run has only few steps, and what it takes to have enough; empty where it has them."""
    if state.total_steps >= FEW_STEPS:
        return ""
    epochs = 10 * math.ceil(FEW_STEPS / state.steps_per_epoch / 10)
    more = f"--epochs {epochs}" if state.model.options.steps is None else f"--steps {FEW_STEPS}"
    return f"the run has only {counted(state.total_steps, 'step')}, and what usually helps is more: {more}"


def steadier(options: TrainingOptions, steps_per_epoch: int) -> list[str]:
    """What usually keeps a training from diverging, as far as it isn't set already."""
    warmup = max(1, min(math.ceil(100 / steps_per_epoch), options.epochs // 10))
    helps = [f"a lower --lr (it is {options.lr:g})"]
    helps += [] if options.grad_clip else ["--grad-clip 1"]
    helps += [] if options.lr_warmup >= warmup else [f"--lr-warmup {warmup}"]
    return helps
