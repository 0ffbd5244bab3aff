"""A recipe, carried out: train what is missing, measure, draw, and keep the record."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch

from genkit import data, device, options, registry
from genkit.data import few
from genkit.data.dataset import Dataset
from genkit.errors import CheckpointError, ModelError, UsageError
from genkit.files import from_json, read_plain
from genkit.keep import checkpoint, config, description, rundir
from genkit.keep.config import Config
from genkit.keep.rundir import RunDirectory
from genkit.reproduce import results, sheets, soundness
from genkit.reproduce.bench import Bench, TrainedRun
from genkit.reproduce.measures import MEASURES, SUMMARIES
from genkit.reproduce.recipe import Recipe, named_runs
from genkit.reproduce.results import Measured, Record, Row, Trained
from genkit.reproduce.sheets import PICTURES
from genkit.run import preparation, record, trainer
from genkit.step.accelerate import precision_kept
from genkit.version import __version__

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
    shelf = Shelf(Path(recipe.out), Images())
    for name in recipe.runs:
        plans[name] = planned(recipe, name, plans, shelf)
    return plans


def missing(recipe: Recipe) -> list[data.Missing]:
    """The sets of images that a recipe needs and that aren't on this machine."""
    asked = [each for run in recipe.runs.values() for each in (run.data, data.second_of(run.data)) if each is not None]
    found = {each.dataset: data.missing(each) for each in asked}
    return [each for each in found.values() if each is not None]


def planned(recipe: Recipe, name: str, before: Mapping[str, Plan], shelf: Shelf) -> Plan:
    """What there is of one run.

    Args:
        before: the plans of the runs that stand before it in the recipe.
    """
    wanted = recipe.runs[name]
    source = before.get(wanted.run.init_from or "")
    if source is not None:
        if not (source.directory and source.complete):
            return Plan(wanted, None, False)
        wanted = shelf.begun_with(wanted, source.directory)
    directory = shelf.find(wanted)
    return Plan(wanted, directory, directory is not None and shelf.is_complete(directory))


class Images:
    """The images of a recipe's runs, each set read once, whatever is done to its labels."""

    def __init__(self) -> None:
        self.whole: dict[data.DataOptions, Dataset] = {}
        self.found: dict[data.DataOptions, Dataset] = {}

    def __getitem__(self, asked: data.DataOptions) -> Dataset:
        """Raises DataError where they aren't there; what is published is fetched first."""
        if asked not in self.found:
            every = asked.as_they_are().as_read().model_copy(update={"beside": asked.beside})
            if every not in self.whole:
                self.whole[every] = data.load_for_training(every)
            found = data.finished(self.whole[every], asked)
            beside = None if found.beside is None else few.with_few_images(found.beside, asked)
            self.found[asked] = replace(found, beside=beside)
        return self.found[asked]

    def digests(self, asked: data.DataOptions) -> tuple[str, str] | None:
        """`Dataset.digest` of them and of a second set, "" where there is none; None where not all of it is here."""
        if not self.are_here(asked):
            return None
        found = self[asked]
        return found.digest(), "" if found.beside is None else found.beside.digest()

    def are_here(self, asked: data.DataOptions) -> bool:
        """Whether they are on this machine, the second set too, where there is one."""
        second = data.second_of(asked)
        return data.missing(asked) is None and (second is None or data.missing(second) is None)


class Shelf:
    """The runs that lie in a folder, of which each file is read once; what has come since is seen."""

    def __init__(self, folder: Path, images: Images):
        self.folder, self.images = folder, images
        self.known: dict[Path, Config | None] = {}
        self.carried: dict[tuple[str, Path], dict[str, Any] | None] = {}

    def find(self, wanted: Config) -> RunDirectory | None:
        """The newest run of exactly this configuration and these images; the complete ones go first."""
        runs = rundir.runs_in(self.folder)
        if not runs:
            return None
        deciding = decisive(self.fitted(wanted).located())
        configured = [(path, self.configured(path)) for path in runs]
        found = [RunDirectory(path) for path, theirs in configured if theirs and decisive(theirs) == deciding]
        found = [each for each in found if self.is_of(each, wanted.data)]
        return max(found, key=lambda each: (self.is_complete(each), rundir.number_of(each.path)), default=None)

    def fitted(self, wanted: Config) -> Config:
        """The configuration as a run of it has it: with the options that its images fill in, where they are there."""
        if not self.images.are_here(wanted.data):
            return wanted
        return preparation.fitted_to(self.images[wanted.data], wanted)

    def configured(self, path: Path) -> Config | None:
        """A run's configuration; None for somebody else's that can't be read, which is none of ours."""
        if path not in self.known:
            try:
                self.known[path] = config.read(path)
            except (CheckpointError, ModelError):  # of a model that isn't here, say
                self.known[path] = None
        return self.known[path]

    def is_complete(self, directory: RunDirectory) -> bool:
        """Whether a run has its last checkpoint, of as many steps as it was to take by its own configuration."""
        settings = self.configured(directory.path)
        try:
            if settings is None or not directory.checkpoints:
                return False
            last = description.describe(directory.checkpoints[-1])
            by_steps, steps = settings.options.steps is not None, settings.options.steps or 0
            return last.step >= steps if by_steps else last.epoch >= settings.options.epochs
        except CheckpointError:
            return False

    def is_of(self, directory: RunDirectory, asked: data.DataOptions) -> bool:
        """Whether a run was trained on the images that are there now, as far as it says and they are there."""
        if not directory.checkpoints:
            return True
        try:
            about = description.describe(directory.checkpoints[-1])
        except CheckpointError:  # which resuming puts aside
            return True
        now = self.images.digests(asked)
        return now is None or about.data_digest == "" or (about.data_digest, about.beside_digest) == now

    def begun_with(self, settings: Config, weights: RunDirectory) -> Config:
        """The configuration with what another run opens with to begin with, and with that run's own options.

        As `genkit train --init-from` has it: what the recipe says goes before what the other run was told.

        Raises:
            UsageError: when a run of this model can't begin with such weights.
        """
        path = weights.choose()[0].resolve()
        kind = registry.find(settings.model)
        if (settings.model, path) not in self.carried:
            self.carried[settings.model, path] = kind.options_from(checkpoint.read(path).model)
        own = self.carried[settings.model, path]
        if own is None:
            raise UsageError(f"init-from: {weights.path} is of another model than {settings.model}, and can't carry it")
        values = settings.options.model_dump()
        said = {key: values[key] for key in values if settings.sources[key] == "recipe"}
        return settings._replace(
            options=options.validate(kind.Options, {**own, **said}),
            run=settings.run.model_copy(update={"init_from": str(path)}),
            sources={**settings.sources, **dict.fromkeys(own.keys() - said.keys(), "init-from")},
        )


def decisive(settings: Config) -> dict[str, Any]:
    """All that decides what comes out of a run, but what only the images or the run that it begins with can say."""
    fields = type(settings.options).model_fields
    filled = {key for key, field in fields.items() if not options.is_flag(field)}
    values = {key: value for key, value in settings.values().items() if key not in ELSEWHERE | filled}
    return {"model": settings.model, **values}


def given(settings: Config) -> dict[str, Any]:
    """The options that a recipe says something about, with their values."""
    told = {key: value for key, value in settings.values().items() if settings.sources[key] == "recipe"}
    return {key: value for key, value in told.items() if key not in ELSEWHERE}


def carry_out(recipe: Recipe, folder: Path) -> Outcome:
    """Train what is missing, measure, draw, and write the record and the table.

    Args:
        folder: of the table (README.md), the records (results/) and the pictures (pictures/NAME/).

    Raises:
        DataError: before anything is trained, when images are missing.
        GenkitError: as training does, and when a file can't be written.
    """
    results.require_ready(folder)
    machine = results.machine(device.describe(where := device.pick(recipe.device)))
    images = Images()
    sets = {settings.data: images[settings.data] for settings in recipe.runs.values()}
    soundness.check_with_images(recipe, sets)
    shelf = Shelf(Path(recipe.out), images)
    plans: dict[str, Plan] = {}
    for name in recipe.runs:
        plans[name] = planned(recipe, name, plans, shelf)
        result = train_missing(name, plans[name])
        if isinstance(result, int):
            return Outcome(None, None, [], result)
        plans[name] = Plan(plans[name].config, result, True)
    trained = {name: each.directory for name, each in plans.items() if each.directory is not None}
    started = time.monotonic()
    bench = open_bench(recipe, trained, sets, where, folder)
    drawn = measure_and_draw(bench)
    show(bench, drawn, folder)
    written = keep(bench, time.monotonic() - started, machine)
    return Outcome(written, results.save(written, folder), drawn)


def train_missing(name: str, planned: Plan) -> RunDirectory | int:
    """The trained run, or the signal that has stopped its training."""
    if planned.directory is not None and planned.complete:
        logger.info("%s  is there: %s", name, planned.directory.path)
        return planned.directory
    logger.info("%s  %s", name, "is trained" if planned.directory is None else f"goes on: {planned.directory.path}")
    with precision_kept():  # what is measured next is so by whoever finds the run trained, too
        result = trainer.start(planned.config) if planned.directory is None else trainer.resume(planned.directory, {})
    return RunDirectory(result.run) if result.stopped is None else result.stopped


def open_bench(
    recipe: Recipe,
    trained: Mapping[str, RunDirectory],
    images: Mapping[data.DataOptions, Dataset],
    where: torch.device,
    folder: Path,
) -> Bench:
    opened = {
        name: TrainedRun(name, directory.path, images[recipe.runs[name].data], where)
        for name, directory in trained.items()
    }
    pictures = folder / results.PICTURES / f"{recipe.name}{'-quick' if recipe.quick else ''}"
    return Bench(recipe, opened, pictures)


def measure_and_draw(bench: Bench) -> list[Path]:
    """Take the measurements, then draw the pictures; returns their files."""
    contents, quick = bench.recipe.contents, bench.recipe.quick
    for step in contents.measure:
        asked = step.asked(quick)
        if step.name in SUMMARIES:
            bench.figures |= {each.name: each for each in SUMMARIES[step.name].function(bench, **asked)}
            continue
        chosen = bench.named(named_runs(asked) or bench.runs)
        asked = {key: value for key, value in asked.items() if key not in ("run", "runs")}
        for opened in chosen:
            logger.info("%s  measuring %s", opened.name, step.name)
            bench.enter(opened.name, MEASURES[step.name].function(opened, **asked))
    drawn = []
    for step in contents.picture:
        asked = step.asked(quick)
        bench.folder.mkdir(parents=True, exist_ok=True)
        path = bench.folder / f"{step.stem}.png"
        PICTURES[step.name].function(bench, path, **asked)
        if quick:
            sheets.stamp(path, f"a quick run of {bench.recipe.name}: no result")
        drawn.append(path)
    return drawn


def show(bench: Bench, drawn: Sequence[Path], folder: Path) -> None:
    """Keep the picture that the README is to show, small enough for a repository; of a quick run none.

    Raises:
        GenkitError: when it can't be written.
    """
    wanted = bench.recipe.contents.show
    for path in drawn:
        if path.stem == wanted and not bench.recipe.quick:
            sheets.save_small(results.small_picture(folder, bench.recipe.name), path)


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
            "genkit": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
        },
        revision=results.revision(),
        date=results.today(),
    )


def about(opened: TrainedRun, settings: Config) -> Trained:
    """What the record says of a run."""
    told = {key: list(value) if isinstance(value, tuple) else value for key, value in given(settings).items()}
    newest = description.describe(RunDirectory(opened.run).checkpoints[-1])
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
