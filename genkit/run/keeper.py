"""What is kept: which checkpoints a run has, and how they get to the disk while training goes on."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

from genkit.errors import CheckpointError
from genkit.files import remove_folder, sync_file
from genkit.keep import checkpoint, description, rundir
from genkit.keep.checkpoint import Snapshot
from genkit.keep.config import RunOptions
from genkit.keep.rundir import RunDirectory
from genkit.run.curves import BOARD, METRICS, Curves, recorded_epochs
from genkit.wording import counted

logger = logging.getLogger("genkit")

#: What is drawn after an epoch, with the step in its name.
PICTURES = ("samples", "reconstructions")
#: Newest checkpoints that are kept, besides the best.
KEPT = 2


class Keeper:
    """Writes a run's checkpoints, one at a time, in a thread.

    Args:
        directory: the run's.
        curves: of the run; a checkpoint vouches for what is in them.
        options: how often a checkpoint is due by the clock, and which are kept for good.
        writer: runs one thing after the other; it outlives the keeper.
    """

    def __init__(self, directory: RunDirectory, curves: Curves, options: RunOptions, writer: Executor):
        self.directory, self.curves, self.writer = directory, curves, writer
        self.seconds, self.keep_every = options.checkpoint_seconds, options.keep_every
        self.saved_at = time.monotonic()
        self.writing: Future[None] | None = None

    @property
    def due(self) -> bool:
        """Whether the time between two checkpoints has passed."""
        return time.monotonic() - self.saved_at >= self.seconds

    def is_best(self, value: float | None) -> bool:
        """Whether no checkpoint of the run has a lower value of the metric that it is monitored by.

        Raises:
            CheckpointError, OSError: as `settle`.
        """
        self.settle()
        saved = [rundir.monitored_value(path) for path in self.directory.checkpoints]
        return value is not None and value < min(saved, default=math.inf)

    def save(self, snapshot: Snapshot, pictures: Sequence[Path]) -> None:
        """Have a snapshot written, once the one before it is.

        Args:
            pictures: drawn since the last one; they are on the disk before the checkpoint is.

        Raises:
            CheckpointError, OSError: as `settle`.
        """
        self.settle()
        path = self.directory.checkpoint_path(snapshot.description.step)
        self.writing = self.writer.submit(self.write, path, snapshot, pictures)
        self.saved_at = time.monotonic()

    def write(self, path: Path, snapshot: Snapshot, pictures: Sequence[Path]) -> None:
        """All that led to a checkpoint, then the checkpoint."""
        for picture in pictures:
            if picture.exists():  # somebody may have deleted it
                sync_file(picture)
        self.curves.sync()
        checkpoint.write(path, snapshot)
        prune(self.directory, self.keep_every)

    def settle(self, wait: bool = True) -> None:
        """Wait for the checkpoint that is being written; or, without `wait`, only look whether it is done.

        Raises:
            CheckpointError, OSError: when the disk didn't take it.
        """
        if self.writing is not None and (wait or self.writing.done()):
            writing, self.writing = self.writing, None
            writing.result()


def prune(directory: RunDirectory, keep_every: int | None = None) -> None:
    """Delete all checkpoints of a run but the newest, the best, and those of every `keep_every` epochs."""
    keep = {*directory.checkpoints[-KEPT:], directory.by_merit()[0]}
    for path in directory.checkpoints:
        if path not in keep and not is_kept_for_good(path, keep_every):
            remove_folder(path)


def begin_anew(directory: RunDirectory, options: RunOptions) -> None:
    """Say of a run without a checkpoint, which is resumed, that it begins anew; first, put aside what it recorded.

    A run that was killed before its first epoch's end has lost nothing: its few lines are written again.
    """
    run = directory.path
    epochs = recorded_epochs(run / METRICS)
    if epochs < 1 and (options.checkpoint_epochs or not epochs):
        logger.info("anew     from the beginning: %s has no checkpoint yet", run)
        return
    aside = rundir.unused(run / "former")
    aside.mkdir()
    pictures = [path for name in PICTURES for path in run.glob(f"{name}-[0-9]*.png")]
    for path in (
        *pictures,
        run / "README.md",
        run / BOARD,
        run / METRICS,
    ):  # the last is what shows that there was more
        if path.exists():
            path.rename(aside / path.name)
    logger.warning(
        "%s has no checkpoint, and begins anew; what was recorded of its %s is kept in %s",
        run,
        counted(int(epochs), "epoch") if epochs >= 1 else "first epoch",
        aside,
    )


def is_kept_for_good(path: Path, keep_every: int | None) -> bool:
    """Whether a checkpoint is of an epoch that is to stay; one that can't be read stays, too, for whoever asks why."""
    if keep_every is None:
        return False
    try:
        epoch = description.describe(path).epoch
        return epoch > 0 and epoch % keep_every == 0
    except CheckpointError:
        return True
