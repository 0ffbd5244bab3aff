"""One optimiser's share of a training step, as a model declares it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from genkit.contract.batch import Batch

Function = TypeVar("Function", bound=Callable[..., Any])


class Phase(NamedTuple):
    """One optimiser's share of a training step, and of the run.

    Attributes:
        name: prefix of its metrics: "critic" gives "critic/loss", "" gives "loss". No two phases have the same.
        module: the only parameters that it may move.
        losses: of a batch, scalars that are averaged over it: "loss" is minimised, all are logged. What isn't a scalar
            isn't logged: the step's later phases find it in `Batch.earlier`. It may take gradients itself, as a
            gradient penalty does, in validation too.
        optimizer: arguments of the optimiser, and its `kind`: `adamw` where none is said (lr, betas, weight_decay), or
            `sgd` (lr, momentum, weight_decay), or `rmsprop` (lr, alpha, momentum, weight_decay).
        begins, ends: shares of the run, in [0, 1], between which it trains; `TrainingOptions.share` makes one of
            epochs. Outside of its time nothing moves its weights, not even momentum, and its module is in evaluation
            mode; warm-up and schedule of the learning rate are those of its own time.
        steps: updates that it makes of each batch, one after the other, as a critic makes five.
    """

    name: str
    module: nn.Module
    losses: Callable[[Batch], dict[str, Tensor]]
    optimizer: dict[str, Any]
    begins: float = 0.0
    ends: float = 1.0
    steps: int = 1

    def window(self, total_steps: int) -> range:
        """The steps, of all of a run, in which it trains."""
        return range(round(self.begins * total_steps), round(self.ends * total_steps))


def scalars(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of what a phase's losses return, the part that is logged."""
    return {name: value for name, value in losses.items() if value.ndim == 0}


def uncompiled(method: Function) -> Function:
    """A decorator of a model's method that `--compile` is to leave as it is: of a part of the losses that takes a
    gradient which is then differentiated itself, as a gradient penalty does. torch can't compile that.

    `torch.compiler.disable` would load torch's compiler for two seconds, in all runs.
    """
    method.stays_uncompiled = True  # type: ignore[attr-defined]
    return method
