"""Samples of a density that is known up to a constant, by Markov chains, and its maximum, by climbing.

Two samplers, whose steps differ in how far they go before they are accepted or not:

- Langevin's with a Metropolis step, MALA (Roberts and Tweedie, Bernoulli, 1996): noise, and half a step uphill.
- Hamiltonian Monte Carlo (Duane et al., Physics Letters B, 1987; Neal, "MCMC using Hamiltonian dynamics", 2011): the
  noise is a momentum, with which the state slides along several leapfrog steps.

A Langevin step whose noise has the variance ε² is one of Hamiltonian Monte Carlo with a single leapfrog of ε (Neal), so
both are one function here. Steps are adapted in a warm-up, and the same from then on: only so is what follows a Markov
chain whose distribution is the one that is asked for.

Any number of chains move at once, (B, D). States, log densities and decisions are float64 on the CPU; a density that
asks a net takes the states to where that computes. All that is drawn comes from one generator: the same seed, the same
chains.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from genkit.step.optim import AdamW

#: ln p of states (B, D), each by itself, up to a constant: (B,), which gradients go through.
LogDensity = Callable[[Tensor], Tensor]

#: Acceptance that steps are adapted to. Langevin's is the best in many dimensions (Roberts and Rosenthal, JRSS B,
#: 1998); that of several leapfrogs is above the best, 0.65: too long a step costs more than too short a one.
LANGEVIN_ACCEPTANCE, HMC_ACCEPTANCE = 0.574, 0.8
#: Leapfrogs of a step at most. How many is drawn each time, or in a direction in which just so many lead back to where
#: they began no chain would ever move.
LEAPFROGS = 16
#: Where adaptation begins.
STEP_SIZE = 0.1
#: Of the warm-up: when the widths of the density are measured anew, from the states since the last time.
MEASURED_AT = (0.25, 0.5, 0.75)


class Point(NamedTuple):
    """States (B, D) with their log densities (B,), and the slopes of these (B, D)."""

    z: Tensor
    log_density: Tensor
    slope: Tensor


class Chains(NamedTuple):
    """What T steps of B chains came to, after the warm-up.

    Attributes:
        draws: the state after each step, (T, B, D) float64.
        log_densities: theirs, (T, B).
        acceptance: the mean probability with which a chain's steps were accepted, (B,), from 0 to 1.
        step_size: of each chain and number, (B, D).
    """

    draws: Tensor
    log_densities: Tensor
    acceptance: Tensor
    step_size: Tensor


def langevin(
    log_density: LogDensity,
    start: Tensor,
    *,
    draws: int,
    warmup: int,
    target: float = LANGEVIN_ACCEPTANCE,
    step_size: float = STEP_SIZE,
    together: int | None = None,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> Chains:
    """Chains of Langevin's dynamics with a Metropolis step, z + ½ε² ∇ln p + ε·noise; all else is as `hmc` has it."""
    return hmc(
        log_density,
        start,
        draws=draws,
        warmup=warmup,
        leapfrogs=1,
        target=target,
        step_size=step_size,
        together=together,
        seed=seed,
        advance=advance,
    )


def hmc(
    log_density: LogDensity,
    start: Tensor,
    *,
    draws: int,
    warmup: int,
    leapfrogs: int = LEAPFROGS,
    target: float = HMC_ACCEPTANCE,
    step_size: float = STEP_SIZE,
    together: int | None = None,
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> Chains:
    """Chains of Hamiltonian Monte Carlo.

    Args:
        start: states (B, D) to begin with.
        draws: steps that are kept; those of the warm-up come before them.
        leapfrogs: of a step, at most: 1 to so many, equally often.
        target: mean acceptance that the warm-up adapts step sizes to.
        step_size: to begin with; without a warm-up the one that is used.
        together: how many chains in a row are of one density, and share what is adapted; all by default.
        advance: called after each step.
    """
    generator = torch.Generator().manual_seed(seed)
    point = at(log_density, start.detach().cpu().double())
    count, dim = point.z.shape
    size = AdaptedSize(count // (together or count), together or count, dim, step_size, target)
    kept, log_densities, accepted = [], [], torch.zeros(count, dtype=torch.float64)
    measured = {round(share * warmup) for share in MEASURED_AT}
    for step in range(warmup + draws):
        moves = int(torch.randint(1, leapfrogs + 1, (), generator=generator))
        point, acceptance = transition(log_density, point, size.of_each(), moves, generator)
        if step < warmup:
            size.learn(acceptance, point.z)
            if step + 1 in measured:
                size.measure()
            if step + 1 == warmup:
                size.settle()
        else:
            kept.append(point.z)
            log_densities.append(point.log_density)
            accepted += acceptance / draws
        advance()
    return Chains(torch.stack(kept), torch.stack(log_densities), accepted, size.of_each())


def transition(
    log_density: LogDensity, point: Point, size: Tensor, leapfrogs: int, generator: torch.Generator
) -> tuple[Point, Tensor]:
    """One step of each chain, and the probabilities (B,) with which they were accepted.

    Args:
        size: of the leapfrogs, (B, D).
    """
    momentum = torch.randn(point.z.shape, generator=generator, dtype=torch.float64)
    end, last = leapfrog(log_density, point, momentum, size, leapfrogs)
    gained = end.log_density - point.log_density - 0.5 * (last.square() - momentum.square()).sum(1)
    gained = gained.nan_to_num(nan=-math.inf, posinf=math.inf)  # from where there is no density, anywhere is better
    lucky = torch.rand(len(gained), generator=generator, dtype=torch.float64).log() < gained
    return chosen(lucky, end, point), gained.clamp(max=0).exp()


def chosen(first: Tensor, one: Point, other: Point) -> Point:
    """Of each state the one or the other, by bool (B,)."""
    rows = first[:, None]
    return Point(
        torch.where(rows, one.z, other.z),
        torch.where(first, one.log_density, other.log_density),
        torch.where(rows, one.slope, other.slope),
    )


def leapfrog(
    log_density: LogDensity, point: Point, momentum: Tensor, size: Tensor | float, count: int
) -> tuple[Point, Tensor]:
    """Where the states slide to with these momenta (B, D), which are in units of the density's widths.

    It goes back the same way with the momentum turned round, keeps volumes, and keeps ½|p|² − ln p(z) up to an error of
    the second order in the size.

    Args:
        size: of a step, in each direction; the widths are a part of it. Broadcast to (B, D).
    """
    for _ in range(count):
        momentum = momentum + 0.5 * size * point.slope
        point = at(log_density, point.z + size * momentum)
        momentum = momentum + 0.5 * size * point.slope
    return point, momentum


def at(log_density: LogDensity, z: Tensor) -> Point:
    """States (B, D) with what the density says of them."""
    z = z.detach().requires_grad_(True)
    with torch.enable_grad():
        values = log_density(z)
        (slope,) = torch.autograd.grad(values.sum(), z)
    return Point(z.detach(), values.detach().double(), slope)


class AdaptedSize:
    """Step sizes that are learned while chains run: one a group of chains, times the density's width in each direction.

    The size by dual averaging, so that the mean acceptance comes to a target (Hoffman and Gelman, "The No-U-turn
    sampler", JMLR 2014, algorithm 5); the widths are the standard deviations of the states so far.
    """

    #: As in the paper: how strongly all is drawn to ten times the first size, how early steps are damped, and how soon
    #: they are forgotten.
    SHRINKAGE, DAMPING, FORGETTING = 0.05, 10, 0.75
    #: States that a width of 0.03 is taken to have been seen in before any.
    BEFORE, NARROW = 5, 1e-3

    def __init__(self, groups: int, chains: int, dim: int, size: float, target: float):
        self.groups, self.chains, self.target = groups, chains, target
        self.widths = torch.ones(groups, dim, dtype=torch.float64)
        self.states: list[Tensor] = []
        self.begin(torch.full((groups,), math.log(size), dtype=torch.float64))

    def begin(self, log_size: Tensor) -> None:
        self.log_size, self.averaged = log_size, log_size
        self.centre, self.steps = log_size + math.log(10), 0
        self.missing = torch.zeros_like(log_size)

    def of_each(self) -> Tensor:
        """(B, D)."""
        return (self.log_size.exp()[:, None] * self.widths).repeat_interleave(self.chains, 0)

    def learn(self, acceptance: Tensor, states: Tensor) -> None:
        """Take in what a step of this size came to: (B,) and (B, D)."""
        self.states.append(states.view(self.groups, self.chains, -1))
        self.steps += 1
        missing = self.target - acceptance.view(self.groups, self.chains).mean(1)
        weight = 1 / (self.steps + self.DAMPING)
        self.missing = (1 - weight) * self.missing + weight * missing
        self.log_size = self.centre - self.steps**0.5 / self.SHRINKAGE * self.missing
        forgotten = self.steps**-self.FORGETTING
        self.averaged = forgotten * self.log_size + (1 - forgotten) * self.averaged

    def measure(self) -> None:
        """Take the widths from the states since the last time, and begin anew with the size."""
        seen = torch.cat(self.states, 1)
        count = seen.shape[1]
        if count < 2 * self.BEFORE:
            return
        variances = (count * seen.var(1) + self.BEFORE * self.NARROW) / (count + self.BEFORE)
        before, self.widths, self.states = self.widths, variances.sqrt(), []
        self.begin(self.averaged + (before.log() - self.widths.log()).mean(1))

    def settle(self) -> None:
        """From here on the size is the mean of what was learned."""
        self.log_size = self.averaged


def climb(
    log_density: LogDensity,
    start: Tensor,
    steps: int = 500,
    lr: float = 0.2,
    advance: Callable[[], object] = lambda: None,
) -> Point:
    """The highest points that ascents from `start` (B, D) come to, each by itself: by Adam, whose rate falls to 0."""
    z = start.detach().cpu().double().clone().requires_grad_(True)
    optimizer, best = AdamW([z], lr=lr), at(log_density, z)
    for step in range(steps):
        point = best if step == 0 else at(log_density, z)
        higher = point.log_density > best.log_density
        best = chosen(higher, point, best)
        z.grad = -point.slope
        optimizer.step(0.5 * (1 + math.cos(math.pi * step / steps)))
        advance()
    return best
