"""What a run came to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Result(NamedTuple):
    """What a run came to.

    Attributes:
        run: its folder, and below: all that a follower in a team of processes doesn't know is left empty.
        checkpoint: the checkpoint that RUN stands for from now on.
        steps, seconds: taken by training, resumed or not.
        metrics: of that checkpoint on the test split (`test/neg_elbo`, …); empty for a run that was stopped.
        stopped: the signal that ended it early, or None.
        which: what that checkpoint is among the run's: `best`, `last`, or both.
        beside: what its reconstructions are held against, in words; empty where that wasn't measured.
        density: whether the losses are of a density of grey values.
        prior: what new codes are drawn by, in words; empty of a model that makes no images, and of a stopped run.
    """

    run: Path
    checkpoint: Path
    steps: int
    seconds: float
    metrics: dict[str, float]
    stopped: int | None
    which: Sequence[str] = ()
    beside: str = ""
    density: bool = False
    prior: str = ""
