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

if TYPE_CHECKING:
    from genkit.keep.description import Description
    from genkit.keep.opened import Opened
    from genkit.keep.rundir import Found, RunDirectory

logger = logging.getLogger("genkit")

RUN_HELP = (
    "RUN is a run's folder or number, a checkpoint's folder, exported weights, or a folder of runs; left out, it is "
    "the newest run in runs/, or in $GENKIT_OUT. Of a run, the best checkpoint is used, of a GAN the last."
)
DEVICE_HELP = "auto (cuda, then mps, then cpu), cpu, cuda, cuda:1 or mps."


#: Where `checkpoint_option` keeps what was asked for.
CHECKPOINT = "genkit.checkpoint"


def _remember(context: click.Context, _parameter: click.Parameter, which: str | None) -> None:
    context.meta[CHECKPOINT] = which


#: Of every command that opens a run by `looked_up`, which knows what was asked for.
checkpoint_option = click.option(
    "--checkpoint",
    metavar="best|last|STEP",
    callback=_remember,
    expose_value=False,
    help="Which of a run's checkpoints.  [default: the best by validation; of a GAN the last]",
)


def epochs(count: float) -> str:
    return f"{count:g} epoch{'' if count == 1 else 's'}"


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
    """The folder for results of one kind: `--out`, else in the run, else here. Made if it is missing."""
    path = out or (opened.run.path / kind if opened.run else Path())
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GenkitError(f"can't write to {path}: {error.strerror}; name another folder with --out") from error
    return path


def looked_up(run: str | None, dataset: str | None = None) -> Found:
    """What RUN stands for, once it is known that there are such images: all that is refused before torch is imported.

    Of a run's checkpoints it is the one that --checkpoint names.

    Raises:
        CheckpointError: when there is no such run.
        UsageError: when there are no such images.
    """
    from genkit import data
    from genkit.keep import rundir

    context = click.get_current_context(silent=True)
    found = rundir.find(run, None if context is None else context.meta.get(CHECKPOINT))
    if dataset is not None:
        data.require_known(dataset)
    return found


def in_words(run: RunDirectory | None, checkpoint: Path, about: Description) -> str:
    """What a checkpoint is among the run's, and which weights are used: `the last, averaged weights`."""
    names = [] if run is None else [" and ".join(f"the {name}" for name in run.called(checkpoint))]
    weights = ["averaged weights"] if about.averages else []
    return ", ".join(filter(None, names + weights))


def load_run(found: Found, device: str) -> Opened:
    """Check and open the checkpoint that is meant, and bring its model to the device."""
    with loading():
        from genkit import device as devices
        from genkit.keep.opened import Opened

    where = devices.pick(device)
    opened = Opened.read(found, where)
    about = opened.description
    which = in_words(found.run, opened.checkpoint.path, about)
    logger.info(
        "using %s%s: %s on %s, %s, on %s",
        opened.checkpoint.path,
        f" ({which})" if which else "",
        about.model,
        about.data.in_words(),
        epochs(about.epoch),
        devices.describe(where),
    )
    return opened
