"""What is logged: the metrics of the steps, read back from the device all at once, and the curves that they make."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from genkit.errors import CheckpointError, ModelError
from genkit.run.curves import Curves
from genkit.step.distributed import Team


class NotFiniteError(Exception):
    """A metric is NaN or infinite.

    Attributes:
        name: the metric's: `critic/loss`, `val/loss`.
        step: the first at which it is so.
    """

    def __init__(self, name: str, step: int):
        super().__init__(f"{name} is not finite at step {step}")
        self.name, self.step = name, step


class Ledger:
    """The metrics of a run. Those of a step stay on the device until they are logged, many steps at once.

    Args:
        team: the processes that train together; each has a ledger, and the metrics are means over them.
        interval: steps from one logged mean to the next.
        steps_per_epoch: of the run.
        curves: where the means go; None for a process that follows.
    """

    def __init__(self, team: Team, interval: int, steps_per_epoch: int, curves: Curves | None = None):
        self.team, self.interval, self.steps_per_epoch, self.curves = team, interval, steps_per_epoch, curves
        # Metrics of the steps since the last that was logged.
        self.pending: list[dict[str, Tensor]] = []

    def restore(self, pending: Mapping[str, Tensor]) -> None:
        """Begin with the metrics, (steps,) each and on the device, that a checkpoint has of steps that weren't logged.

        Raises:
            CheckpointError: when they are so many that they should have been.
        """
        steps = len(next(iter(pending.values()), ()))
        if steps >= self.interval:
            raise CheckpointError(f"its metrics of {steps:,} steps should have been logged; use another")
        self.pending = [{name: values[index] for name, values in pending.items()} for index in range(steps)]

    def add(self, metrics: dict[str, Tensor]) -> None:
        """The metrics of one more step."""
        self.pending.append(metrics)

    @property
    def full(self) -> bool:
        """Whether so many steps have gone by that they are to be logged."""
        return len(self.pending) == self.interval

    def log(self, step: int) -> dict[str, float]:
        """Enter the means of the metrics of the steps since the last time; `step` is the last of them. All call it.

        Returns:
            The means; of a process that follows, none.

        Raises:
            NotFiniteError
        """
        values = self.read(step)
        self.pending = []
        if self.curves is None:
            return {}
        means = {name: value.mean().item() for name, value in values.items()}
        self.enter("train", means, step)
        return means

    def read(self, step: int) -> dict[str, Tensor]:
        """The metrics of the steps that aren't logged yet, up to `step`: (steps,) each, on the CPU.

        They are means over the processes, so that what isn't finite in one is so in all. All call it.

        Raises:
            NotFiniteError: for the first step whose metrics are not all finite.
        """
        if not self.pending:
            return {}
        names = list(self.pending[0])
        if any(metrics.keys() != self.pending[0].keys() for metrics in self.pending):
            other = next(set(metrics) ^ set(names) for metrics in self.pending if metrics.keys() != set(names))
            raise ModelError(
                f"the model logs other metrics in one step than in the next, {', '.join(sorted(other))[:200]}; a phase "
                "logs the same in every step (or the run was begun by a version of it that did so: start a new run)"
            )
        table = torch.stack([torch.stack([metrics[name] for name in names]) for metrics in self.pending]).cpu()
        table = self.team.mean(table)
        finite = table.isfinite()
        if not finite.all():
            bad = int(finite.all(1).logical_not().nonzero()[0])
            name = names[int(finite[bad].logical_not().nonzero()[0])]
            raise NotFiniteError(name, step - len(table) + bad + 1)
        return dict(zip(names, table.unbind(1), strict=True))

    def enter(self, split: str, values: Mapping[str, float], step: int) -> None:
        """Enter values in the curves.

        Raises:
            NotFiniteError
        """
        assert self.curves is not None, "only the process that leads has curves"
        named = {f"{split}/{name}": value for name, value in values.items()}
        for name, value in named.items():
            if not math.isfinite(value):
                raise NotFiniteError(name, step)
        self.curves.add(step, step / self.steps_per_epoch, named)
