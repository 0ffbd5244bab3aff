"""`genkit report [RUN…]`: what a run is and what it makes, as one file of HTML that opens from disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from genkit.cli.command import Command, PathType
from genkit.cli.output import emit, json_option
from genkit.cli.shared import DEVICE_HELP, RUN_HELP, checkpoint_option, load_run, loading, looked_up, results
from genkit.errors import GenkitError, UsageError, in_one_line

if TYPE_CHECKING:
    from genkit.keep.opened import Opened
    from genkit.report.account import Account

logger = logging.getLogger("genkit")

NAME = "report.html"
SUFFIXES = (".html", ".htm")


@click.command(cls=Command, epilog=RUN_HELP)
@click.argument("runs", nargs=-1, metavar="[RUN]…")
@checkpoint_option
@click.option(
    "--method",
    type=click.Choice(["pca", "tsne", "umap"]),
    default="pca",
    show_default=True,
    help="How codes become points of the embedding.",
)
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@click.option(
    "--out",
    type=PathType(),
    metavar="FILE.html",
    help="The file; an earlier report there is replaced.  [default: a new one in the run, or beside several runs]",
)
@json_option
def report(runs: tuple[str, ...], method: str, device: str, out: Path | None, as_json: bool) -> None:
    """Write all there is to see of a run into one HTML file: card, curves, pictures, embedding, evaluation.

    It opens from disk, needs no network and runs no script, so it can be sent to anybody. Several runs stand side by
    side. What isn't there (a GAN's reconstructions, an evaluation that nobody has asked for) says why. Prints the file.
    """
    if out is not None:
        require_own(out)
    found = [looked_up(run) for run in runs or (None,)]
    with loading():
        from genkit.files import write_file
        from genkit.report import page

    if out is not None:
        require_own(out)
    opened = [load_run(each, device) for each in found]
    made = page.make(accounts(opened), method)  # type: ignore[arg-type]  # click has checked the choice
    file = out or place(opened)
    write_file(file, made.content)
    result = {
        "report": file,
        "bytes": len(made.content),
        "runs": [each.run.path if each.run else None for each in opened],
        "checkpoints": [each.checkpoint.path for each in opened],
        "missing": made.missing,
    }
    emit(result, [str(file)], as_json)


def accounts(opened: Sequence[Opened]) -> list[Account]:
    """What is known of the runs; those of one name get numbers."""
    from genkit.report import account

    names = [each.name for each in opened]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    return [account.read(each, name) for name, each in zip(names, opened, strict=True)]


def place(opened: Sequence[Opened]) -> Path:
    """A name that is free: in the run, in the folder of the first of several, or here for a checkpoint by itself."""
    from genkit.keep import rundir

    first = opened[0]
    folder = results(first, None, "")
    if len(opened) > 1 and first.run is not None:
        folder = first.run.path.parent
    return rundir.unused(folder / NAME)


def require_own(file: Path) -> None:
    """Accept a file's name if nothing stands there, or an earlier report.

    Raises:
        UsageError: when it is no name for a page.
        GenkitError: when something else stands there, which must not be overwritten.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out: {file} is no name for a page; give one that ends in .html")
    if not file.exists() and not file.is_symlink():
        return
    with loading():
        from genkit.files import read_plain
        from genkit.report import page

    try:
        ours = page.is_ours(read_plain(file))
    except (OSError, ValueError) as error:
        raise GenkitError(f"{file} stays as it is ({in_one_line(error)}); name another with --out") from error
    if not ours:
        raise GenkitError(f"{file} is no report and stays as it is; name another with --out")
