"""The loop, and all that its steps change.

Nothing in this file knows which model it trains, reads the device, or does I/O.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from genkit.contract import Batch, Model, Phase, TrainingOptions, scalars
from genkit.errors import ModelError, UsageError
from genkit.step.optim import Optimizer, make
from genkit.wording import counted

#: Seldom enough to cost nothing, and so often that, with beta1 at 0.9, no moment comes from `optim.VANISHED` to where
#: numbers are denormal; with a smaller one it is denormal for a few steps.
STEPS_BETWEEN_SWEEPS = 64
#: What a checkpoint calls the optimiser of the phase without a name.
UNNAMED = "model"


class TrainingState:
    """Everything that a training step changes: the model's weights, their average, the optimisers, the step count.

    Attributes:
        model: the model that the steps move.
        free_module: the part of it whose weights aren't frozen; None before the first step.
        averaged: its moving average (`Options.ema`), or None.
        phases: the model's, or those of them that are given.
        optimizers: one a phase, in the phases' order.
        windows: the steps in which each phase trains.
        step: steps taken so far.

    Raises:
        UsageError: where the run is too short for one of the phases.
        ModelError: where the model's phases can't be meant.
    """

    def __init__(self, model: Model, total_steps: int, steps_per_epoch: int, phases: Sequence[Phase] | None = None):
        self.model = model
        self.free_module: nn.Module | None = None
        self.phases = list(model.phases() if phases is None else phases)
        self.optimizers = [make(phase.module.parameters(), **phase.optimizer) for phase in self.phases]
        self.windows = windows(self.phases, total_steps)
        self.step = 0
        self.total_steps = total_steps
        self.steps_per_epoch = steps_per_epoch
        self.averaged = copy.deepcopy(model).requires_grad_(False) if model.options.ema else None
        # The phases in their time, by their numbers, and the step until which they are these: unknown before the first.
        self.active: list[int] = []
        self.until = 0

    @property
    def best_model(self) -> Model:
        """The model to validate and to sample from: the averaged one where an average is kept."""
        return self.model if self.averaged is None else self.averaged

    @property
    def stage_ends(self) -> bool:
        """Whether other phases train in the next step than in the last one."""
        return any(0 < edge == self.step for window in self.windows for edge in (window.start, window.stop))

    def phases_of(self, step: int) -> list[str]:
        """The names of the phases that trained in the last of so many steps, by which a model of then is judged."""
        return [self.phases[turn].name for turn in active(self.windows, max(0, step - 1))]

    def ready(self) -> list[tuple[Phase, Optimizer, float]]:
        """The phases that train in the next step, with their optimisers and the shares of their peak learning rates.

        What isn't in its time is in evaluation mode, or its batch statistics would go on to change.
        """
        if self.step >= self.until or not self.phases[self.active[0]].module.training:
            self.active = active(self.windows, self.step)
            ahead = (edge for window in self.windows for edge in (window.start, window.stop) if edge > self.step)
            self.until = min(ahead, default=self.total_steps)
            self.model.train()
            for phase in self.phases:
                phase.module.eval()
            for turn in self.active:
                self.phases[turn].module.train()
        return [(self.phases[turn], self.optimizers[turn], self.lr_factor(turn)) for turn in self.active]

    def lr_factor(self, turn: int = 0) -> float:
        """Of a phase's next step, as a share of its peak learning rate; its warm-up is that of its own time."""
        window = self.windows[turn]
        return lr_factor(self.model.options, self.step - window.start, len(window), self.steps_per_epoch)

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
            for turn in self.active:
                self.optimizers[turn].sweep()

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

    In a step every phase in its time moves its own module, in turn, with all other weights frozen, so that no gradient
    is computed which nobody uses. The caller logs, draws, saves and stops, between the steps.
    """
    for batch in batches:
        metrics = {}
        for phase, optimizer, lr_factor in state.ready():
            state.free(phase.module)
            for _ in range(phase.steps):
                losses = phase.losses(batch)
                optimizer.zero_grad()
                losses["loss"].backward()
                losses["grad_norm"] = clip_gradients(optimizer.gradients, state.model.options.grad_clip)
                optimizer.step(lr_factor)
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


# ---------------------------------------------------------------------------------------------------------------------
# Phases and their time
# ---------------------------------------------------------------------------------------------------------------------


def windows(phases: Sequence[Phase], total_steps: int) -> list[range]:
    """The steps of a run in which each phase trains.

    Raises:
        UsageError: where the run is too short for one of them.
        ModelError: where two phases have one name; a phase's name, time or number of steps is none, or it has no
            weights; or there are steps in which nothing would train.
    """
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise ModelError(f"the model has two phases of one name, of {', '.join(map(repr, names))}; give each its own")
    for phase in phases:
        if "/" in phase.name or phase.name == UNNAMED:
            raise ModelError(f"the model has a phase '{phase.name}'; its name has no slash, and isn't '{UNNAMED}'")
        if not (0 <= phase.begins <= phase.ends <= 1 and isinstance(phase.steps, int) and phase.steps >= 1):
            raise ModelError(
                f"the model's phase '{phase.name}' begins at {phase.begins}, ends at {phase.ends} and takes "
                f"{phase.steps} steps of a batch; its time lies in the run, from 0 to 1, and it takes at least one"
            )
        if not any(True for _ in phase.module.parameters()):
            raise ModelError(
                f"the model's phase '{phase.name}' has a module without weights, so that nothing can train"
            )
    found = [phase.window(total_steps) for phase in phases]
    for phase, window in zip(phases, found, strict=True):
        if not window and phase.ends > 0:  # one that ends where the run begins is left out on purpose
            raise UsageError(
                f"the run has {counted(total_steps, 'step')}, and none is left for the model's phase '{phase.name}'; "
                "give more --epochs (or --steps), or a smaller --batch-size"
            )
    edges = [0, *(window.stop for window in found if window.stop < total_steps)]
    if idle := [edge for edge in edges if not active(found, edge)]:
        raise ModelError(f"none of the model's phases trains in step {idle[0]:,}; have one begin where another ends")
    return found


def active(windows: Sequence[range], step: int) -> list[int]:
    """Which phases train in a step, by their number."""
    return [turn for turn, window in enumerate(windows) if step in window]
