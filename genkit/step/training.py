"""The loop, and all that its steps change.

Nothing in this file knows which model it trains, reads the device, or does I/O.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from genkit.contract import Batch, Model, TrainingOptions, scalars
from genkit.step.optim import AdamW

#: Seldom enough to cost nothing, and so often that, with beta1 at 0.9, no moment comes from `optim.VANISHED` to where
#: numbers are denormal; with a smaller one it is denormal for a few steps.
STEPS_BETWEEN_SWEEPS = 64


class TrainingState:
    """Everything that a training step changes: the model's weights, their average, the optimisers, the step count.

    Attributes:
        model: the model that the steps move.
        free_module: the part of it whose weights aren't frozen; None before the first step.
        averaged: its moving average (`Options.ema`), or None.
        optimizers: one AdamW a phase, in the phases' order.
        step: steps taken so far.
    """

    def __init__(self, model: Model, total_steps: int, steps_per_epoch: int):
        self.model = model
        self.free_module: nn.Module | None = None
        self.phases = list(model.phases())
        self.optimizers = [AdamW(phase.module.parameters(), **phase.optimizer) for phase in self.phases]
        self.step = 0
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.averaged = copy.deepcopy(model).requires_grad_(False) if model.options.ema else None

    @property
    def best_model(self) -> Model:
        """The model to validate and to sample from: the averaged one where an average is kept."""
        return self.model if self.averaged is None else self.averaged

    @property
    def lr_factor(self) -> float:
        """Of the step that comes next, as a share of the peak learning rate."""
        return lr_factor(self.model.options, self.step, self.total_steps, self.steps_per_epoch)

    def free(self, module: nn.Module) -> None:
        """Freeze all weights but this module's, where that isn't so already."""
        if module is not self.free_module:
            self.model.requires_grad_(False)
            module.requires_grad_(True)
            self.free_module = module

    def count_step(self) -> None:
        """A step is over: the average follows, and now and then the moments are rid of what moves nothing."""
        self.step += 1
        self.move_average()
        if self.step % STEPS_BETWEEN_SWEEPS == 0:
            for optimizer in self.optimizers:
                optimizer.sweep()

    @torch.no_grad()
    def move_average(self) -> None:
        """Bring the average, if there is one, up to the step that has just been taken.

        Weights are averaged and buffers copied: the mean of two spectral-norm vectors is no such vector.
        """
        if self.averaged is None:
            return
        # A young average forgets fast, or the first random weights would stay in it for 1 / (1 - decay) steps.
        decay = min(self.model.options.ema, (1 + self.step) / (10 + self.step)) if self.step > 1 else 0
        weights: list[Tensor] = list(self.averaged.parameters())
        torch._foreach_lerp_(weights, list(self.model.parameters()), 1 - decay)
        for average, current in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            average.copy_(current)


def train(state: TrainingState, batches: Iterable[Batch]) -> Iterator[dict[str, Tensor]]:
    """Take one step a batch; yield its metrics, still on the device, after each.

    In a step every phase in turn moves its own module, with all other weights frozen, so that no gradient is computed
    which nobody uses. The caller logs, draws, saves and stops, between the steps.
    """
    for batch in batches:
        if not state.model.training:
            state.model.train()
        metrics = {}
        for phase, optimizer in zip(state.phases, state.optimizers, strict=True):
            state.free(phase.module)
            losses = phase.losses(batch)
            optimizer.zero_grad()
            losses["loss"].backward()
            losses["grad_norm"] = clip_gradients(optimizer.gradients, state.model.options.grad_clip)
            optimizer.step(state.lr_factor)
            prefix = f"{phase.name}/" if phase.name else ""
            metrics.update({prefix + name: value.detach() for name, value in scalars(losses).items()})
            batch = batch.after(losses)
        state.count_step()
        yield metrics


@torch.no_grad()
def clip_gradients(gradients: list[Tensor], largest: float) -> Tensor:
    """Scale the gradients so that their common norm is `largest` at most (0: don't), and return what it was before.

    The norm tells of a gradient that is no longer finite at the step where it happens, while the loss is still fine.
    """
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if largest:
        torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp(max=1))
    return norm


def lr_factor(options: TrainingOptions, step: int, total_steps: int, steps_per_epoch: int) -> float:
    """The learning rate of a step (counted from 0) as a share of the peak, in (0, 1].

    It rises linearly over `lr_warmup` epochs, then is held or falls along half a cosine to 0 after the last step.
    """
    warmup = min(round(options.lr_warmup * steps_per_epoch), total_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if options.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total_steps - warmup)))
