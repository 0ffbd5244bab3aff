"""What the commands that open a run have in common."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from genkit.errors import GenkitError
from genkit.wording import counted

if TYPE_CHECKING:
    from genkit.keep.opened import Opened
    from genkit.keep.rundir import Found

logger = logging.getLogger("genkit")

RUN_HELP = (
    "RUN is a run's folder (its best checkpoint is used) or number, a checkpoint's folder, exported weights, or a "
    "folder of runs; left out, it is the newest run in runs/, or in $GENKIT_OUT."
)
DEVICE_HELP = "auto (cuda, then mps, then cpu), cpu, cuda, cuda:1 or mps."


@contextmanager
def loading() -> Iterator[None]:
    """Import what a command needs without the garbage collector.

    torch makes some hundred thousand objects that stay until the process ends. The collector would go through them
    again and again meanwhile, and once more at the end, for half a second in all. So it waits until they are there, and
    then leaves them aside. Only the first time: what another command of the same process has left is to be collected.
    """
    enabled, first = gc.isenabled(), "torch" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if first:
            gc.freeze()
        if enabled:
            gc.enable()


def typed(context: click.Context, option: str) -> bool:
    """Whether a person gave this option on the command line, be it at its default's value."""
    return context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


def results(opened: Opened, out: Path | None, kind: str) -> Path:
    """The folder for results of one kind: `--out`, else in the run, else here. It is made with the first of them."""
    path = out or (opened.run.path / kind if opened.run else Path())
    try:
        made = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(parents=True, exist_ok=True)  # whether it can be is seen before what takes long
        for each in made:
            each.rmdir()
    except OSError as error:
        raise GenkitError(f"can't write to {path}: {error.strerror}; name another folder with --out") from error
    return path


def looked_up(run: str | None, dataset: str | None = None) -> Found:
    """What RUN stands for, once it is known that there are such images: all that is refused before torch is imported.

    Raises:
        CheckpointError: when there is no such run.
        UsageError: when there are no such images.
    """
    from genkit import data
    from genkit.keep import rundir

    found = rundir.find(run)
    if dataset is not None:
        data.require_known(dataset)
    return found


def load_run(found: Found, device: str) -> Opened:
    """Check and open a run's best checkpoint, and bring its model to the device."""
    with loading():
        from genkit import device as devices
        from genkit.keep.opened import Opened

    where = devices.pick(device)
    opened = Opened.read(found, where)
    about = opened.description
    logger.info(
        "using %s: %s on %s, %s, on %s",
        opened.checkpoint.path,
        about.model,
        about.data.in_words(),
        counted(about.epoch, "epoch"),
        devices.describe(where),
    )
    return opened
