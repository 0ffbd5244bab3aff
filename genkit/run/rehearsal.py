"""Refuses a model that would fail at an epoch's end, by doing once, on a few images, what a run does there.

A model's fault there would else come to light after an epoch, or, of a phase that begins late, after most of the run.
Neither weights nor random generators are changed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from genkit.contract import ability
from genkit.data.batches import in_order
from genkit.device import memory_of, seeded
from genkit.errors import ModelError, UsageError
from genkit.run.gallery import samples
from genkit.run.setup import Setup
from genkit.run.validation import frozen, validate
from genkit.step.training import active

#: Images that are looked at: what is measured of several needs more than one.
IMAGES = 3
#: Images of which it is counted what a step makes, to see what one more takes.
COUNTED = (2, 4)


def rehearse(setup: Setup) -> dict[str, float]:
    """Measure each stage's losses, the metric that the run is monitored by, and draw a sample.

    Returns:
        What the last stage's losses, and that metric, are before the first step.

    Raises:
        UsageError: where a step can't fit into memory.
        ModelError: where a phase has no loss, or the last of them don't measure that metric.
    """
    state, model = setup.state, setup.state.model
    require_memory_of_step(setup)
    val = setup.dataset.val
    some, train = val.take(val.spread(IMAGES)), setup.dataset.train.take(slice(IMAGES))
    beside = setup.dataset.beside_split("val")
    measured: dict[str, float] = {}
    for step in sorted({window.start for window in state.windows if window}):
        names = [state.phases[turn].name for turn in active(state.windows, step)]
        measured = validate(model, some, setup.where, phases=names, beside=beside, train=train)
        for name in names:
            if (f"{name}/loss" if name else "loss") not in measured:
                raise ModelError(f"the losses of the model's phase '{name}' have no 'loss' to minimise; return one")
    if model.monitor not in measured:
        raise ModelError(
            f"the model's monitor, {model.monitor}, is nothing that its last phases measure: they have "
            f"{', '.join(measured)[:300]}; name one of these, or the checkpoint of another stage would be the best"
        )
    if ability.generates(model):
        with torch.no_grad():
            samples(model, val, 1)
    return measured


def require_memory_of_step(setup: Setup) -> None:
    """Refuse batches of which a step can't fit into the memory that there is at all, by what a few images take.

    A system that is asked for more may grant it, and end the process without a word when it is used.

    Raises:
        UsageError
    """
    there = memory_of(setup.where)
    size = setup.batches.batch_size // setup.team.size
    fewer, more = COUNTED
    if there is None or len(setup.dataset.train) < more:
        return
    for step in sorted({window.start for window in setup.state.windows if window}):
        names = {setup.state.phases[turn].name for turn in active(setup.state.windows, step)}
        # All that is made for one image more, without what doesn't grow with the batch. Half of it, at least, is
        # remembered for the gradients, and half of that where it is remembered in bf16.
        needed = (made(setup, names, more) - made(setup, names, fewer)) // (more - fewer) * size // 2
        needed //= 1 if setup.config.run.amp == "none" else 2
        if needed > there:
            raise UsageError(
                f"a step on {size:,} images needs about {needed / 1e9:,.0f} GB of memory, and there are "
                f"{there / 1e9:,.0f} GB; give a smaller --batch-size, or options with which the model takes less"
            )


def made(setup: Setup, names: set[str], count: int) -> int:
    """Bytes of all tensors that the losses of some phases make on the way, of so many images."""
    some, model = setup.dataset.train.take(slice(0, count)), setup.state.model
    model.eval()
    with seeded(0, setup.where), frozen(model):
        (batch,) = in_order(some, count, setup.where, setup.dataset.beside_split("train"))
        with Counted() as counted:
            for phase in model.phases():
                if phase.name in names:
                    batch = batch.after(phase.losses(batch))
    return counted.bytes


class Counted(TorchFunctionMode):
    """Counts the bytes of the tensors that torch's functions return inside; of what only shows another one's, nothing.

    Not a TorchDispatchMode, which would see what they make on the way, too, and imports torch's compiler.
    """

    bytes = 0

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        given = {storage_of(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        new = [each for each in tree_leaves(result) if isinstance(each, Tensor) and storage_of(each) not in given]
        self.bytes += sum(each.untyped_storage().nbytes() for each in new)
        return result


def storage_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
