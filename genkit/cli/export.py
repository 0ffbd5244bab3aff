"""`genkit export [RUN]`: a model as files that other programs open."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from genkit.cli.command import Command, PathType
from genkit.cli.output import emit, json_option
from genkit.cli.shared import (
    DEVICE_HELP,
    RUN_HELP,
    checkpoint_option,
    load_run,
    loading,
    looked_up,
    require_folder,
    results,
)
from genkit.errors import UsageError

logger = logging.getLogger("genkit")


@click.command(cls=Command, epilog=RUN_HELP)
@click.argument("run", required=False)
@checkpoint_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(["safetensors", "onnx", "pt2"]),
    default="safetensors",
    show_default=True,
    help="The weights, for genkit.load; or each function as a file of its own, ONNX or torch.export.",
)
@click.option(
    "--dataset", metavar="NAME|PATH", help="Other images to compare on than those that the run was trained on."
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    envvar="GENKIT_DEVICE",
    help=f"Where the model computes that the files are compared with: {DEVICE_HELP}",
)
@click.option(
    "--out",
    type=PathType(),
    metavar="FOLDER",
    help="Where the new folder is made.  [default: exports/ in the run]",
)
@json_option
def export(run: str | None, kind: str, dataset: str | None, device: str, out: Path | None, as_json: bool) -> None:
    """Write a model as files that other programs open, in a new folder with a README on how to call them.

    As onnx or pt2, encoder and decoder (or the classifier) are files of their own, for any number of images at once.
    They are held against the model on test images and on samples; if one differs by more than 1e-4, nothing is written.
    Prints the files.
    """
    require_folder(out, "a new folder of files")
    if kind == "safetensors" and dataset is not None:
        raise UsageError("--dataset goes with --format onnx or pt2: to write weights, no images are needed")
    found = looked_up(run, dataset)
    with loading():
        from genkit import export as work
        from genkit.keep import rundir
        from genkit.latent import images
        from genkit.step import passes

    work.require(kind)
    opened = load_run(found, device)
    folder = rundir.unused(results(opened, out, "exports") / f"{opened.name}-{kind}")
    if kind == "safetensors":
        made = work.weights(opened.checkpoint, opened.name, folder)
    else:
        test = opened.dataset(dataset).test
        chosen = test.take(test.spread(max(work.BATCHES)))
        some, own = images.to_float(chosen.images()), passes.conditions_of(opened.model, chosen, opened.device)
        made = work.functions(opened.checkpoint, opened.name, folder, kind, some, own)  # type: ignore[arg-type]
    for note in made.notes:
        logger.info("%s", note)
    for part, gap in made.differences.items():
        logger.info("%-10s at most %.1e from the model, in batches of %s", part, gap, work.BATCHES_IN_WORDS)
    result = {
        "checkpoint": opened.checkpoint.path,
        "format": kind,
        "folder": made.folder,
        "differences": made.differences,
        "files": made.files,
    }
    emit(result, map(str, made.files.values()), as_json)
