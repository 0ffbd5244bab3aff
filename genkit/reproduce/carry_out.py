"""A recipe, carried out: train what is missing, measure, draw, and keep the record."""

from __future__ import annotations

import inspect
import logging
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch

import genkit
from genkit import checkpoint, config, data, device, models, options, record, run, rundir
from genkit.config import Config
from genkit.data.dataset import Dataset
from genkit.errors import CheckpointError, UsageError
from genkit.files import from_json, read_plain
from genkit.reproduce import results
from genkit.reproduce.bench import Bench, Opened
from genkit.reproduce.measures import MEASURES, SUMMARIES
from genkit.reproduce.recipe import Recipe, named_runs
from genkit.reproduce.results import Measured, Record, Row, Trained
from genkit.reproduce.sheets import PICTURES
from genkit.rundir import RunDirectory

logger = logging.getLogger("genkit")

#: Where a run is carried out and where it lies don't change what comes out.
ELSEWHERE = {"out", "device"}


class Outcome(NamedTuple):
    """What came of a recipe.

    Attributes:
        record: None for one that was stopped.
        path: the record's file.
        pictures: the files that were drawn.
        stopped: the signal that ended it early, or None.
    """

    record: Record | None
    path: Path | None
    pictures: list[Path]
    stopped: int | None = None


class Plan(NamedTuple):
    """One run of a recipe: what there is of it.

    Attributes:
        config: as it is to be trained.
        directory: of a run with exactly this configuration, or None.
        complete: whether it has been trained to its end.
    """

    config: Config
    directory: RunDirectory | None
    complete: bool

    @property
    def todo(self) -> str:
        return "train" if self.directory is None else "is there" if self.complete else "resume"


def plan(recipe: Recipe) -> dict[str, Plan]:
    """What there is of each run, and what has to be trained; nothing is changed."""
    plans: dict[str, Plan] = {}
    for name, wanted in recipe.runs.items():
        source = plans.get(wanted.run.init_from or "")
        if source is not None:
            if not (source.directory and source.complete):
                plans[name] = Plan(wanted, None, False)
                continue
            wanted = begun_with(wanted, source.directory)
        directory = find_run(wanted)
        plans[name] = Plan(wanted, directory, directory is not None and is_complete(directory, wanted))
    return plans


def begun_with(settings: Config, weights: RunDirectory) -> Config:
    """The configuration with another run's best checkpoint to begin with, and with that run's own options.

    As `genkit train --init-from` has it: what the recipe says goes before what the other run was told.

    Raises:
        UsageError: when a run of this model can't begin with such weights.
    """
    path = weights.by_merit()[0].resolve()
    kind = models.find(settings.model)
    own = kind.options_from(checkpoint.read(path).model)
    if own is None:
        raise UsageError(f"init-from: {weights.path} is of another model than {settings.model}, and can't carry it")
    values = settings.options.model_dump()
    said = {key: values[key] for key in values if settings.sources[key] == "recipe"}
    return settings._replace(
        options=options.validate(kind.Options, {**own, **said}),
        run=settings.run.model_copy(update={"init_from": str(path)}),
        sources={**settings.sources, **dict.fromkeys(own.keys() - said.keys(), "init-from")},
    )


def find_run(wanted: Config) -> RunDirectory | None:
    """The newest run of exactly this configuration that lies in the folder for runs; the complete ones go first."""
    found = []
    for path in rundir.runs_in(Path(wanted.run.out)):
        try:
            if decisive(config.read(path)) == decisive(wanted.located()):
                found.append(RunDirectory(path))
        except CheckpointError:  # somebody else's run that can't be read is none of ours
            continue
    return max(found, key=lambda each: (is_complete(each, wanted), rundir.number_of(each.path)), default=None)


def decisive(settings: Config) -> dict[str, Any]:
    """All that decides what comes out of a run, but what the images or the run that it begins with fill in."""
    fields = type(settings.options).model_fields
    filled = {key for key, field in fields.items() if not options.is_flag(field)}
    values = {key: value for key, value in settings.values().items() if key not in ELSEWHERE | filled}
    return {"model": settings.model, **values}


def given(settings: Config) -> dict[str, Any]:
    """The options that a recipe says something about, with their values."""
    told = {key: value for key, value in settings.values().items() if settings.sources[key] == "recipe"}
    return {key: value for key, value in told.items() if key not in ELSEWHERE}


def is_complete(directory: RunDirectory, settings: Config) -> bool:
    """Whether a run has its last checkpoint."""
    try:
        return bool(directory.checkpoints) and (
            checkpoint.describe(directory.checkpoints[-1]).epoch >= settings.options.epochs
        )
    except CheckpointError:
        return False


def carry_out(recipe: Recipe, folder: Path) -> Outcome:
    """Train what is missing, measure, draw, and write the record and the table.

    Args:
        folder: of the table (README.md), the records (results/) and the pictures (pictures/NAME/).

    Raises:
        DataError: before anything is trained, when images are missing.
        GenkitError: as training does, and when a file can't be written.
    """
    machine = results.machine(device.describe(where := device.pick(next(iter(recipe.runs.values())).run.device)))
    images = {settings.data: data.load(settings.data) for settings in recipe.runs.values()}
    trained: dict[str, RunDirectory] = {}
    for name in recipe.runs:
        result = train_missing(recipe, name)
        if isinstance(result, int):
            return Outcome(None, None, [], result)
        trained[name] = result
    started = time.monotonic()
    bench = open_bench(recipe, trained, images, where, folder)
    drawn = measure_and_draw(bench)
    written = keep(bench, time.monotonic() - started, machine)
    return Outcome(written, results.save(written, folder), drawn)


def train_missing(recipe: Recipe, name: str) -> RunDirectory | int:
    """The trained run of that name, or the signal that has stopped its training."""
    # The plan is made anew each time: what one run begins with may have been trained a moment ago.
    planned = plan(recipe)[name]
    if planned.directory is not None and planned.complete:
        logger.info("%s  is there: %s", name, planned.directory.path)
        return planned.directory
    logger.info("%s  %s", name, "is trained" if planned.directory is None else f"goes on: {planned.directory.path}")
    if planned.directory is None:
        result = run.start(planned.config)
    else:
        result = run.resume(planned.directory, {})
    return RunDirectory(result.run) if result.stopped is None else result.stopped


def open_bench(
    recipe: Recipe,
    trained: Mapping[str, RunDirectory],
    images: Mapping[data.DataOptions, Dataset],
    where: torch.device,
    folder: Path,
) -> Bench:
    opened = {
        name: Opened(name, directory.path, images[recipe.runs[name].data], where) for name, directory in trained.items()
    }
    pictures = folder / "pictures" / f"{recipe.name}{'-quick' if recipe.quick else ''}"
    return Bench(recipe, opened, pictures)


def measure_and_draw(bench: Bench) -> list[Path]:
    """Take the measurements, then draw the pictures; returns their files.

    Raises:
        UsageError: for a word of a step that its function doesn't know.
    """
    contents, quick = bench.recipe.contents, bench.recipe.quick
    for step in contents.measure:
        asked = step.asked(quick)
        if step.name in SUMMARIES:
            bench.figures |= {each.name: each for each in calling(step.name, SUMMARIES[step.name], bench, **asked)}
            continue
        chosen = bench.named(named_runs(asked) or bench.runs)
        asked = {key: value for key, value in asked.items() if key not in ("run", "runs")}
        for opened in chosen:
            logger.info("%s  measuring %s", opened.name, step.name)
            bench.enter(opened.name, calling(step.name, MEASURES[step.name], opened, **asked))
    drawn = []
    for step in contents.picture:
        asked = step.asked(quick)
        bench.folder.mkdir(parents=True, exist_ok=True)
        path = bench.folder / f"{asked.pop('file', step.name)}.png"
        calling(step.name, PICTURES[step.name], bench, path, **asked)
        drawn.append(path)
    return drawn


def calling(name: str, function: Any, *arguments: Any, **asked: Any) -> Any:
    """A step's function, on what the recipe asks of it.

    Raises:
        UsageError: when it asks for something that there isn't.
    """
    try:
        inspect.signature(function).bind(*arguments, **asked)
    except TypeError as error:
        raise UsageError(f"the recipe's step {name}: {error}") from error
    return function(*arguments, **asked)


def keep(bench: Bench, seconds: float, machine: str) -> Record:
    """The record of what was trained and measured.

    Args:
        seconds: that measuring took.
        machine: in words, with the load that it was under when the command began.
    """
    recipe, contents = bench.recipe, bench.recipe.contents
    values = {name: figure.value for name, figure in bench.figures.items()}
    trained = {name: about(opened, recipe.runs[name]) for name, opened in bench.runs.items()}
    return Record(
        recipe=recipe.name,
        quick=recipe.quick,
        shows=contents.shows,
        paper=contents.paper,
        note=contents.note,
        rows=tuple(
            Row(
                what=row.what,
                figure=row.figure,
                paper=row.paper,
                criterion=row.criterion(),
                met=None if recipe.quick else row.met(values),
            )
            for row in contents.report
        ),
        figures={
            name: Measured(
                value=each.value,
                error=each.error,
                unit=each.unit,
                conditions=dict(each.conditions),
                warning=each.warning,
            )
            for name, each in bench.figures.items()
        },
        left_out=bench.left_out,
        runs=trained,
        training_seconds=round(sum(each.seconds for each in trained.values()), 1),
        measuring_seconds=round(seconds, 1),
        machine=machine,
        versions={
            "genkit": genkit.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
        revision=results.revision(),
        date=results.today(),
    )


def about(opened: Opened, settings: Config) -> Trained:
    """What the record says of a run."""
    told = {key: list(value) if isinstance(value, tuple) else value for key, value in given(settings).items()}
    newest = checkpoint.describe(RunDirectory(opened.run).checkpoints[-1])
    return Trained(
        folder=opened.run.name,
        settings={"model": settings.model, **told},
        seconds=round(newest.seconds, 1),
        machine=trained_on(opened.run),
    )


def trained_on(path: Path) -> str:
    """The device that a run's environment.json names, and the load that it began under; "unknown" where it doesn't."""
    try:
        found = from_json(read_plain(path / record.ENVIRONMENT, config.MAX_SIZE))
        return f"{found['device']}{results.under(found.get('load'))}"
    except (OSError, ValueError, TypeError, KeyError):
        return "unknown"
