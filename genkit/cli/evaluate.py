"""`genkit evaluate [RUN…]`: figures of trained models, each with its error and all that it depends on."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genkit.cli.output import SCHEMA_VERSION, emit, finite, json_option
from genkit.cli.shared import DEVICE_HELP, RUN_HELP, OpenedRun, load_run
from genkit.errors import DataError, GenkitError, UsageError
from genkit.evaluate import topics

if TYPE_CHECKING:
    from genkit.evaluate.figure import Found
    from genkit.evaluate.report import Evaluation
    from genkit.evaluate.subject import Subject

logger = logging.getLogger("genkit")

NAME = "evaluation.json"
MAX_SIZE = 1 << 24


@click.command(epilog=RUN_HELP)
@click.argument("runs", nargs=-1, metavar="[RUN]…")
@click.option("--only", metavar="TOPIC,…", help=f"Of {', '.join(topics.TOPICS)}.  [default: all that the model allows]")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True, help="Images.")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Use at most N images, evenly spaced.  [default: all]"
)
@click.option(
    "--k",
    type=click.IntRange(1),
    metavar="N",
    default=5000,
    show_default=True,
    help="Codes an image of the likelihood.",
)
@click.option(
    "--nll-images",
    type=click.IntRange(1),
    metavar="N",
    default=1000,
    show_default=True,
    help="Measure the likelihood, which takes longest, on at most N images, evenly spaced.",
)
@click.option(
    "--samples",
    type=click.IntRange(6),
    metavar="N",
    help="Samples to hold against real images.  [default: half as many as there are images, at most 10,000]",
)
@click.option(
    "--arithmetic",
    "expressions",
    metavar="EXPR",
    multiple=True,
    help="A sum of attributes to judge, 'male&glasses - male&!glasses + !male&!glasses'; may be repeated.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", default=0, show_default=True, help="Of all noise."
)
@click.option("--dataset", metavar="NAME|PATH", help="Other images than those that the run was trained on.")
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for evaluation.json.  [default: the run]"
)
@json_option
def evaluate(
    runs: tuple[str, ...],
    only: str | None,
    split: str,
    limit: int | None,
    k: int,
    nll_images: int,
    samples: int | None,
    expressions: tuple[str, ...],
    seed: int,
    dataset: str | None,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure trained models: how well they give images back, how likely images are under them, how near samples are
    to real images, what codes tell of classes, and how evenly images change between codes.

    Every figure has its standard error, where it can be known, and says what it depends on; what a model doesn't allow
    is left out with the reason. Several runs stand side by side. Each run keeps its figures in evaluation.json, and its
    samples beside their nearest training images in evaluation/nearest.png.

    Samples are judged by a classifier of their data set, which is trained the first time: some minutes.
    """
    from genkit import device as devices
    from genkit.evaluate import arithmetic, report
    from genkit.evaluate.subject import Asked
    from genkit.files import to_json, write_file

    chosen = topics.chosen(only)
    if expressions and "arithmetic" not in chosen:
        raise UsageError("--arithmetic is measured by the topic arithmetic, which --only leaves out")
    devices.keep_freed_memory()
    evaluations: list[Evaluation] = []
    files: list[Path] = []
    for run in runs or (None,):
        opened = load_run(run, device, out)
        file = opened.folder("") / NAME if len(runs) < 2 or out is None else opened.folder("") / f"{opened.name}.json"
        before = require_own(file, opened)
        subject = subject_of(opened, dataset, split, limit)
        for expression in expressions:
            arithmetic.check(expression, subject.dataset)
        if samples is not None and samples > len(subject.images):
            logger.warning("--samples: there are only %d images, and so as many samples", len(subject.images))
        found = topics.measure(subject, Asked(k, nll_images, seed, samples, expressions), chosen)
        prefix = f"{opened.name}-" if len(runs) > 1 and out is not None else ""
        drawn = save_pictures(opened, found, prefix, before)
        description = opened.checkpoint.description
        about = {
            "run": opened.directory.path if opened.directory else None,
            "checkpoint": opened.checkpoint.path,
            "sum": subject.sum,
            "model": subject.kind,
            "epochs": description.epoch,
            **subject.conditions,
            "images": len(subject.images),
            "pictures": drawn,
        }
        evaluation = report.Evaluation(subject, found, about)
        write_file(file, to_json({"schema_version": SCHEMA_VERSION, **finite(evaluation.as_json())}))
        evaluations.append(evaluation)
        files.append(file)
    for file in files:
        logger.info("kept in %s", file)
    result = [{**each.as_json(), "file": file} for each, file in zip(evaluations, files, strict=True)]
    drawings = [str(picture) for each in evaluations for picture in each.about["pictures"].values()]
    emit({"runs": result}, [*report.lines(evaluations), *([""] if drawings else []), *drawings], as_json)


def subject_of(opened: OpenedRun, dataset: str | None, split: str, limit: int | None) -> Subject:
    """The model of an opened run, and the images to measure it by.

    Raises:
        DataError: when there are none.
    """
    from genkit import checkpoint
    from genkit.evaluate.subject import Subject
    from genkit.files import sha256_of

    images = opened.dataset(dataset)
    everything = images.splits()[split]
    if not len(everything):
        raise DataError(f"{images.name} has no {split} images; choose another --split")
    rows = everything if limit is None else everything.take(everything.spread(limit))
    kind = opened.checkpoint.description.model
    total = sha256_of(opened.checkpoint.path / checkpoint.MANIFEST)
    options = opened.data_options(dataset)
    own = options == opened.data_options()
    return Subject(opened.name, opened.model, kind, images, split, rows, options, own, opened.device, total)


def save_pictures(opened: OpenedRun, found: Sequence[Found], prefix: str, before: dict[str, str]) -> dict[str, Path]:
    """Write an evaluation's pictures in place of those of the one `before`; nothing else is overwritten."""
    from genkit import images, rundir
    from genkit.evaluate.figure import Picture

    drawn = {}
    for each in found:
        if isinstance(each, Picture):
            path = opened.folder("evaluation") / f"{prefix}{each.name}.png"
            earlier = Path(before.get(each.name, ""))
            ours = earlier.parent == path.parent and re.fullmatch(rf"{re.escape(path.stem)}(-\d+)?\.png", earlier.name)
            drawn[each.name] = earlier if ours else rundir.unused(path)
            images.save_png(drawn[each.name], each.page)
    return drawn


def require_own(file: Path, opened: OpenedRun) -> dict[str, str]:
    """Accept a file's name if nothing stands there, or an earlier evaluation of the same run or checkpoint.

    Returns:
        The paths of the pictures that the earlier one drew.

    Raises:
        GenkitError: when it is anything else, which must not be overwritten.
    """
    from genkit.files import from_json, read_plain

    if not file.exists() and not file.is_symlink():
        return {}
    ours = opened.directory.path if opened.directory else opened.checkpoint.path
    try:
        before: Any = from_json(read_plain(file, MAX_SIZE))
        known = before["run"] or before["checkpoint"]
        if "figures" in before and Path(known).resolve() == ours.resolve():
            return {name: str(path) for name, path in before.get("pictures", {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise GenkitError(f"{file} is no evaluation of {ours} and stays as it is; name another folder with --out")
