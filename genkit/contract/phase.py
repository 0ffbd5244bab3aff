"""One optimiser's share of a training step, as a model declares it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from genkit.contract.batch import Batch


class Phase(NamedTuple):
    """One optimiser's share of a training step."""

    name: str  # prefix of its metrics: "critic" gives "critic/loss", "" gives "loss"
    module: nn.Module  # the only parameters that this phase may move
    #: Scalars, averaged over the batch: "loss" is minimised, all are logged. What isn't a scalar isn't logged: the
    #: step's later phases find it in `Batch.earlier`.
    losses: Callable[[Batch], dict[str, Tensor]]
    optimizer: dict[str, Any]  # arguments of torch.optim.AdamW: lr, betas, weight_decay


def scalars(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of what a phase's losses return, the part that is logged."""
    return {name: value for name, value in losses.items() if value.ndim == 0}
