"""Triplet network: codes of labelled images, each nearer to those of its class than to all others by a margin.

A triplet is an anchor, another image of its class and one of another class; its loss is how much nearer the one of the
other class is than it may be, max(0, d(anchor, same) − d(anchor, other) + margin). They are found within a batch:
`all` of them, averaged over those whose loss isn't 0; those that are `semi-hard` (Schroff, Kalenichenko and Philbin,
"FaceNet", CVPR 2015), whose order is right and whose margin isn't kept; or of each anchor the `hard` one, the farthest
of its class with the nearest of the others (Hermans, Beyer and Leibe, "In defense of the triplet loss for person
re-identification", 2017). Codes of two numbers are easily drawn into one point by the hard ones, where the loss is the
margin: on a plane there is no way around others.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genkit.models._metric import Metric


class Triplet(Metric):
    class Options(Metric.Options):
        mining: Annotated[
            Literal["all", "semi-hard", "hard"],
            Field(
                description="Which triplets of a batch count: all, those in the right order within the margin, or each "
                "anchor's worst."
            ),
        ] = "all"

    def of_distances(self, distances: Tensor, same: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The mean loss of the triplets that have one, and which share of all that count these are."""
        margin = self.options.margin
        if self.options.mining == "hard":
            found = hardest(distances, same, other, margin)
        else:
            found = within(distances, same, other, margin, semi_hard=self.options.mining == "semi-hard")
        return {"loss": found.loss / found.active.clamp(min=1), "active": found.active / found.every.clamp(min=1)}

    def against_collapse(self) -> list[str]:
        easier = [] if self.options.mining == "all" else ["--mining all"]
        return [*easier, *super().against_collapse()]


class Mined(NamedTuple):
    """What a batch's triplets come to.

    Attributes:
        loss: the sum of their losses, ().
        active: how many have one, ().
        every: how many there are, ().
    """

    loss: Tensor
    active: Tensor
    every: Tensor


def within(distances: Tensor, same: Tensor, other: Tensor, margin: float, semi_hard: bool = False) -> Mined:
    """All triplets of a batch, or the semi-hard ones, in memory that grows with B² and not with their number.

    Of an anchor and another of its class at the distance d, the active triplets are those with the images of other
    classes that are nearer than d + margin: of such distances, sorted, the first k, whose losses are k (d + margin)
    less the sum of the first k.

    Args:
        distances, same, other: as `Metric.of_distances` has them.
        semi_hard: only those whose image of the other class is farther away than d.
    """
    limits = distances + margin
    ordered = distances.where(other, torch.inf).sort(1).values
    sums = F.pad(ordered.where(ordered.isfinite(), 0.0).cumsum(1), (1, 0))
    active = torch.searchsorted(ordered.detach(), limits.detach())
    total = sums.gather(1, active)
    count = other.sum(1, keepdim=True).expand_as(active)
    if semi_hard:
        nearer = torch.searchsorted(ordered.detach(), distances.detach(), right=True)
        active, count, total = active - nearer, count - nearer, total - sums.gather(1, nearer)
    losses = active * limits - total
    return Mined(losses.where(same, 0.0).sum(), active.where(same, 0).sum(), count.where(same, 0).sum())


def hardest(distances: Tensor, same: Tensor, other: Tensor, margin: float) -> Mined:
    """Of each anchor that has both, the farthest of its class with the nearest of the others."""
    farthest = distances.where(same, -torch.inf).amax(1)
    nearest = distances.where(other, torch.inf).amin(1)
    there = same.any(1) & other.any(1)
    losses = F.relu((farthest - nearest).where(there, -torch.inf) + margin)
    return Mined(losses.sum(), (losses > 0).sum(), there.sum())
