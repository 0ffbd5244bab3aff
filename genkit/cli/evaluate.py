"""`genkit evaluate [RUN…]`: figures of trained models, each with its error and all that it depends on."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import click

from genkit.cli.command import Command, PathType
from genkit.cli.output import emit, finite, json_option
from genkit.cli.shared import (
    DEVICE_HELP,
    RUN_HELP,
    checkpoint_option,
    load_run,
    loading,
    looked_up,
    require_folder,
    results,
    typed,
)
from genkit.data.choice import CHOICES
from genkit.errors import GenkitError, UsageError
from genkit.evaluate import topics

if TYPE_CHECKING:
    from genkit.data import DataOptions
    from genkit.data.dataset import Dataset
    from genkit.evaluate.figure import Found, Picture
    from genkit.evaluate.judge_file import FileJudge
    from genkit.evaluate.subject import Subject
    from genkit.evaluate.table import Evaluation
    from genkit.keep.opened import Opened

logger = logging.getLogger("genkit")

#: What pixels of an ONNX judge are.
Range = Literal["0..1", "-1..1", "imagenet"]
RANGES = get_args(Range)
#: The topic that a number is of, without which it says nothing.
OF_TOPICS = {"k": "likelihood", "nll_images": "likelihood", "samples": "samples"}


@click.command(cls=Command, epilog=RUN_HELP)
@click.argument("runs", nargs=-1, metavar="[RUN]…")
@checkpoint_option
@click.option("--only", metavar="TOPIC,…", help=f"Of {', '.join(topics.TOPICS)}.  [default: all that the model allows]")
@click.option("--split", type=click.Choice(CHOICES), default="test", show_default=True, help="Images.")
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
@click.option(
    "--judge",
    type=PathType(),
    metavar="FILE",
    help="Compare samples by a net of your own: an ONNX file, or an Inception-v3's weights as safetensors.  "
    "[default: a net that is trained on the images once]",
)
@click.option(
    "--judge-range",
    type=click.Choice(RANGES),
    help="Pixels as the ONNX file takes them; imagenet: less ImageNet's mean, by its deviation.  [default: 0..1]",
)
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@click.option(
    "--out",
    type=PathType(),
    metavar="FOLDER",
    help="Folder for evaluation.json.  [default: the run]",
)
@json_option
@click.pass_context
def evaluate(
    context: click.Context,
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
    judge: Path | None,
    judge_range: Range | None,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure trained models: how well they give images back, how likely images are under them, how often a
    classifier is right, how near samples are to real images, what codes tell of classes, and how evenly images change
    between codes.

    Every figure has its standard error, where it can be known, and says what it depends on; what a model doesn't allow
    is left out with the reason. Several runs stand side by side. Each run keeps its figures in evaluation.json, where a
    further command replaces only what it measures anew, and its samples beside their nearest training images in
    evaluation/nearest.png.

    Samples are judged by a classifier of their data set, or, where that has no labels, by a self-supervised net; it is
    trained the first time: some minutes. --judge takes another one.
    """
    require_folder(out, "evaluation.json, and pictures in a folder of its own")
    chosen = topics.chosen(only)
    if expressions and "arithmetic" not in chosen:
        raise UsageError("--arithmetic is measured by the topic arithmetic, which --only leaves out")
    for option, topic in OF_TOPICS.items():
        if topic not in chosen and typed(context, option):
            logger.warning("--%s is of the topic %s, which --only leaves out", option.replace("_", "-"), topic)
    if judge is None and judge_range is not None:
        raise UsageError("--judge-range says what the file of --judge takes; give that, too")
    if judge is not None and "samples" not in chosen:
        logger.warning("--judge is of the topic samples, which --only leaves out")
    sought = [looked_up(run, dataset) for run in runs or (None,)]
    with loading():
        from genkit import device as devices
        from genkit.evaluate import table
        from genkit.evaluate.subject import Asked

    devices.keep_freed_memory()
    # All that can be wrong is found before the first of them is measured, which may take minutes.
    loaded: dict[DataOptions, Dataset] = {}
    prepared: list[Prepared] = []
    opened = [load_run(each, device) for each in sought]
    require_ability(opened, chosen)
    judges = given_judges(judge, judge_range, opened)
    for each in opened:
        prepared.append(prepare(each, out, len(runs) > 1, dataset, split, limit, expressions, loaded, judges))
        require_other_names(prepared)
    if samples is not None and samples > min(len(each.subject.images) for each in prepared):
        fewest = min(len(each.subject.images) for each in prepared)
        logger.warning("--samples: there are only %d images, and so as many samples", fewest)
    evaluations: list[Evaluation] = []
    files: list[Path | None] = []
    for ready in prepared:
        found = topics.measure(ready.subject, Asked(k, nll_images, seed, samples, expressions), chosen)
        evaluations.append(table.Evaluation(ready.subject, found, about(ready)))
        files.append(keep(ready, evaluations[-1]) if evaluations[-1].figures else None)
    if not any(files):
        raise GenkitError(f"nothing was measured: {'; '.join(table.missing(evaluations))}")
    for file in files:
        if file is not None:
            logger.info("kept in %s", file)
    result = [{**each.as_json(), "file": file} for each, file in zip(evaluations, files, strict=True)]
    drawings = [str(picture) for each in evaluations for picture in each.about["pictures"].values()]
    if as_json and (remark := table.remark(evaluations)):
        logger.warning("%s", remark)
    emit({"runs": result}, [*table.lines(evaluations), *([""] if drawings else []), *drawings], as_json)


def require_ability(opened: Sequence[Opened], chosen: Sequence[str]) -> None:
    """Refuse, before images are read, topics of which no model allows any.

    Raises:
        GenkitError
    """
    found = {(topic, each.kind): topics.lacking(each.model, topic) for topic in chosen for each in opened}
    if all(found.values()):
        reasons = [f"{topic}: {kind} {lacks.lacks}" for (topic, kind), lacks in found.items() if lacks]
        raise GenkitError(f"nothing was measured: {'; '.join(reasons)}")


def given_judges(path: Path | None, scale: Range | None, opened: Sequence[Opened]) -> dict[str, FileJudge]:
    """The judge that lies in a file, for the runs on each device, by that; none where no file is given.

    Raises:
        UsageError: when it can't be used, or not for the images of these runs.
    """
    if path is None:
        return {}
    from genkit.evaluate import judge_file

    found: dict[str, FileJudge] = {}
    for each in opened:
        key = str(each.device)
        if key not in found:
            found[key] = judge_file.opened(path, each.device, scale)
        found[key].require_channels(each.model.image)
    return found


class Prepared(NamedTuple):
    """A run that is about to be measured.

    Attributes:
        file: its evaluations.
        out: the folder that was named for them, if one was.
        prefix: of its pictures' names, where several runs share a folder.
    """

    subject: Subject
    file: Path
    out: Path | None
    prefix: str

    @property
    def opened(self) -> Opened:
        return self.subject.opened

    @property
    def run(self) -> Path | None:
        return self.opened.run.path if self.opened.run else None


def prepare(
    opened: Opened,
    out: Path | None,
    several: bool,
    dataset: str | None,
    split: str,
    limit: int | None,
    expressions: Sequence[str],
    loaded: dict[DataOptions, Dataset],
    judges: Mapping[str, FileJudge],
) -> Prepared:
    """An opened run with the images to measure it by, once all has been checked that can be.

    Args:
        loaded: the images that other runs are measured by, and then this one's too.
        judges: what was given to compare images by, by the device.

    Raises:
        GenkitError
    """
    from genkit.evaluate import arithmetic, kept

    shared = several and (out is not None or opened.run is None)
    file = results(opened, out, "") / (f"{opened.name}.json" if shared else kept.NAME)
    options = opened.data_options(dataset)
    if options in loaded:
        opened.require_shape(loaded[options])
        if dataset is None:
            opened.require_own(loaded[options])
    else:
        loaded[options] = opened.dataset(dataset)
    subject = subject_of(opened, options, loaded[options], split, limit, judges.get(str(opened.device)))
    for expression in expressions:
        arithmetic.check(expression, subject.dataset)
    result = Prepared(subject, file, out, f"{opened.name}-" if shared else "")
    kept.own(file, result.run, opened.checkpoint.path)
    return result


def require_other_names(prepared: Sequence[Prepared]) -> None:
    """Refuse a run whose figures would go where those of another one of this command go.

    Raises:
        UsageError
    """
    *others, last = prepared
    for each in others:
        if each.file == last.file and each.opened.place.resolve() != last.opened.place.resolve():
            raise UsageError(f"two of the runs are called {last.opened.name}; give each its own --out, one by one")


def subject_of(
    opened: Opened,
    options: DataOptions,
    images: Dataset,
    split: str,
    limit: int | None,
    judge_file: FileJudge | None = None,
) -> Subject:
    """The model of an opened run, and the images to measure it by.

    Raises:
        DataError: when there are none.
    """
    from genkit.data import choice
    from genkit.evaluate.subject import Subject

    everything = choice.taken(images, split)
    rows = everything if limit is None else everything.take(everything.spread(limit))
    return Subject(opened=opened, data=options, dataset=images, split=split, images=rows, judge_file=judge_file)


def about(prepared: Prepared) -> dict[str, Any]:
    """What stands above a run's figures."""
    subject, opened = prepared.subject, prepared.opened
    return {
        "run": prepared.run,
        "checkpoint": opened.checkpoint.path,
        "sum": opened.digest,
        "model": opened.kind,
        "epochs": opened.description.epoch,
        **subject.conditions,
        "images": len(subject.images),
        "data_sum": subject.data_digest,
        "pictures": {},
    }


def keep(prepared: Prepared, evaluation: Evaluation) -> Path:
    """Put an evaluation, and its pictures, among those that the run has; returns their file.

    The pictures are entered in the evaluation. Where its figures are refused, they aren't drawn: those of before stay
    beside their own figures.

    Raises:
        GenkitError: when the file has become somebody else's meanwhile, or something can't be written.
    """
    from genkit.evaluate import kept
    from genkit.latent import images

    with kept.locked(prepared.file):
        # Read again: another command may have measured something meanwhile.
        before = kept.own(prepared.file, prepared.run, prepared.opened.checkpoint.path)
        known = kept.earlier(before, finite(evaluation.about))
        for lost in kept.coarser(known, finite(evaluation.as_json())) if known else ():
            logger.warning("this replaces a finer measurement in %s, %s", prepared.file.name, lost)
        drawn = to_draw(prepared, evaluation.found, known["pictures"] if known else {})
        evaluation.about["pictures"] |= {picture.name: path for path, picture in drawn.items()}
        kept.write(prepared.file, prepared.run, kept.merged(before, finite(evaluation.as_json())))
        for path, picture in drawn.items():
            images.save_png(path, picture.page)
    return prepared.file


def to_draw(prepared: Prepared, found: Sequence[Found], before: Mapping[str, str]) -> dict[Path, Picture]:
    """Where an evaluation's pictures go: in place of its own of `before`, by name; nothing else is overwritten."""
    from genkit.evaluate.figure import Picture
    from genkit.keep import rundir

    places = {}
    for each in found:
        if isinstance(each, Picture):
            path = results(prepared.opened, prepared.out, "evaluation") / f"{prepared.prefix}{each.name}.png"
            earlier = Path(before.get(each.name, ""))
            named = re.fullmatch(rf"{re.escape(path.stem)}(-\d+)?\.png", earlier.name)
            # What lies in a run's own folder is the run's, wherever that was moved from.
            home = prepared.out is None and prepared.run is not None
            ours = named and (home or earlier.parent.resolve() == path.parent.resolve())
            places[path.with_name(earlier.name) if ours else rundir.unused(path)] = each
    return places
