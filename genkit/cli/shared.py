"""What the commands that open a run have in common."""

from __future__ import annotations

import gc
import glob
import itertools
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from genkit.errors import GenkitError, UsageError
from genkit.wording import counted

if TYPE_CHECKING:
    from genkit.keep.description import Description
    from genkit.keep.opened import Opened
    from genkit.keep.rundir import Found, RunDirectory

logger = logging.getLogger("genkit")

RUN_HELP = (
    "RUN is a run's folder or number, a checkpoint's folder, exported weights, or a folder of runs; left out, it is "
    "the newest run in runs/, or in $GENKIT_OUT. Of a run, the best checkpoint is used, of a GAN the last."
)
SPLIT_HELP = "Of the images.  [default: test; of a --dataset that brings no splits, all]"
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


#: How people end the name of a file, and not that of a folder.
PICTURES = (".png", ".gif", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".svg", ".pdf", ".ppm")
TABLES = (".csv", ".tsv", ".npz", ".npy", ".parquet", ".json")
FILES = (*PICTURES, *TABLES, ".html", ".htm", ".txt", ".zip", ".onnx", ".pt", ".pt2", ".safetensors")


class Target(NamedTuple):
    """What --out names: the one file that is written, or the folder of what is; neither where it isn't given."""

    folder: Path | None = None
    file: Path | None = None


def target(out: Path | None, others: str | None) -> Target:
    """Where a picture goes that --out may name.

    Args:
        others: what is written besides it, in words, which goes with it into a folder; None where it is alone.

    Raises:
        UsageError: where --out is the name of a file of another kind, or of a single one where several are written.
        GenkitError: where something lies there, which must not be overwritten.
    """
    if out is None or out.is_dir() or out.suffix.lower() not in FILES:
        return Target(out)
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: pictures are written as PNG; give a name that ends in .png, or a folder")
    if others is not None:
        raise UsageError(f"--out {out}: the picture isn't alone, {others} comes with it; name a folder for all of it")
    require_free(out)
    return Target(out.parent, out)


def require_free(out: Path, how: str = "name another with --out") -> None:
    """Refuse to overwrite a file, or to write beneath one, before work is done whose result would have no place.

    Args:
        how: another name is given.

    Raises:
        GenkitError
    """
    if out.exists() or out.is_symlink():
        raise GenkitError(f"{out} is there already and stays as it is; {how}")
    beneath = next((each for each in out.parents if each.exists()), None)
    if beneath is not None and not beneath.is_dir():
        raise GenkitError(f"can't write to {out}: {beneath} is a file and no folder; {how}")


def require_folder(out: Path | None, written: str) -> None:
    """Refuse a --out that is called as a file is, where several come out.

    Args:
        written: what comes out, in words.

    Raises:
        UsageError
    """
    if out is not None and not out.is_dir() and out.suffix.lower() in FILES:
        raise UsageError(f"--out {out}: what is written is {written}; name a folder for them")


def require_quoted(option: str, arguments: Sequence[str]) -> None:
    """Refuse a pattern of files that the shell has replaced by their names, of which the option takes the first alone.

    Raises:
        UsageError
    """
    if not any(each == option or each.startswith(f"{option}=") for each in arguments):
        return
    for before, each in itertools.pairwise(["", *arguments]):
        if not before.startswith("-") and Path(each).suffix.lower() in PICTURES and Path(each).is_file():
            raise UsageError(
                f"{each} stands alone, as a shell leaves the files of a pattern; put the pattern in quotes, "
                f"{option} '*.png', or give {option} before each file"
            )


def images_in(files: Sequence[Path]) -> tuple[Path, ...]:
    """Image files as they are named: those of a folder, and those that fit a pattern, sorted.

    Raises:
        UsageError: where there is none.
    """
    found: list[Path] = []
    for file in files:
        if file.is_dir():
            from genkit.data.decode import EXTENSIONS

            some = sorted(each for each in file.iterdir() if each.suffix.lower() in EXTENSIONS and each.is_file())
        elif glob.has_magic(str(file)) and not file.exists():
            matching = glob.iglob(str(file))  # noqa: PTH207 (Path's takes no absolute pattern)
            some = [each for each in map(Path, sorted(matching)) if each.is_file()]
        else:
            some = [file]
        if not some:
            raise UsageError(f"--file {file}: there is no such image; give a file, a folder of images, or a pattern")
        found += some
    return tuple(found)


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
        counted(about.epoch, "epoch"),
        devices.describe(where),
    )
    return opened
