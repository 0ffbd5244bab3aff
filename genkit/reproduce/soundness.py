"""What of a recipe could only fail after minutes of training, found before it: steps, their words, and the rows.

`measures.py` and `sheets.py` say of each step which figures it gives, and what it needs of a run and of its images.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from genkit.data import DataOptions
from genkit.data.dataset import Dataset
from genkit.errors import UsageError, plainly
from genkit.keep.config import Config
from genkit.options import as_text
from genkit.reproduce.measures import MEASURES, SUMMARIES
from genkit.reproduce.needs import Kind, number_in
from genkit.reproduce.recipe import Contents, Recipe, Step, named_in, nearest, require
from genkit.reproduce.sheets import PICTURES
from genkit.run.preparation import build, fitted_to, require_sets
from genkit.run.validation import validate

Runs = Mapping[str, Config]


def check(recipe: Recipe) -> None:
    """Refuse a step that means nothing, or that a run can't do, and a row that nothing measures.

    For whoever opens a recipe to carry it out, or to say what would be. What a quick run does otherwise is held to the
    rules in a full run too, and the other way round.

    Raises:
        UsageError
    """
    path, contents = recipe.path, recipe.contents
    for runs, quick in ((recipe.full, False), (recipe.smoke, True)):
        for run, settings in runs.items():
            try:
                require_sets(settings)
            except UsageError as error:
                raise UsageError(f"{path}: the {'quick ' if quick else ''}run {run}: {error}") from error
        for step in (*contents.measure, *contents.picture):
            check_step(path, contents, step, runs, quick)
    # Only of a full run: a smoke run may leave out some of a sweep, and has no figures of these.
    check_rows(path, contents, figures(path, contents, recipe.full))


def check_step(path: Path, contents: Contents, step: Step, runs: Runs, quick: bool) -> None:
    where, kind = known(path, contents, step)
    asked = step.asked(quick)
    check_words(where, kind.function, asked)
    chosen = {run: effective(runs, run) for run in runs_of(path, runs, asked)}
    for run, settings in chosen.items():
        if reason := kind.unfit(settings, asked):
            raise UsageError(f"{where}: the run {run} {reason}")
    if reason := kind.unfit_together(chosen):
        raise UsageError(f"{where}: {reason}")
    if kind in PICTURES.values() and "run" in asked and asked["run"] not in runs:
        several = ", ".join(named_in(path, runs, asked["run"])[:3])
        raise UsageError(f"{where} is of one run, and {asked['run']} is several; name one of {several}, …")
    if {"over", "figure", "runs"} <= asked.keys():
        check_sweep(where, asked, {run: runs[run] for run in chosen}, figures(path, contents, runs))


def check_with_images(recipe: Recipe, images: Mapping[DataOptions, Dataset]) -> None:
    """The same, as far as only the images can tell: classes, attributes, and what a model measures of its training.

    Args:
        images: those that are there; a run of others is taken to be sound.

    Raises:
        UsageError
    """
    path, contents, runs = recipe.path, recipe.contents, recipe.runs
    for step in (*contents.measure, *contents.picture):
        where, kind = known(path, contents, step)
        asked = step.asked(recipe.quick)
        for run in runs_of(path, runs, asked):
            here = images.get(runs[run].data)
            if here is not None and (reason := kind.unfit_images(effective(runs, run), here, asked)):
                raise UsageError(f"{where}: {reason}")
    if not recipe.quick:
        check_rows(path, contents, figures(path, contents, runs, images))


def abilities(recipe: Recipe, step: Step) -> list[str]:
    """What a step needs each of its runs' models to be able to do, by the abilities' names."""
    return [each.name for each in known(recipe.path, recipe.contents, step)[1].abilities]


def abilities_of_run(recipe: Recipe, run: str) -> list[str]:
    """What all steps together need a run's model to be able to do."""
    steps = [
        step
        for step in (*recipe.contents.measure, *recipe.contents.picture)
        if run in runs_of(recipe.path, recipe.runs, step.asked(recipe.quick))
    ]
    return list(dict.fromkeys(name for step in steps for name in abilities(recipe, step)))


def known(path: Path, contents: Contents, step: Step) -> tuple[str, Kind]:
    """Where a step stands, in words, and its kind.

    Raises:
        UsageError: when there is no such kind.
    """
    if any(step is each for each in contents.picture):
        require(path, "picture", step.name, PICTURES)
        return f"{path}: the picture {step.name}", PICTURES[step.name]
    require(path, "measure", step.name, {**MEASURES, **SUMMARIES})
    return f"{path}: the measure {step.name}", {**MEASURES, **SUMMARIES}[step.name]


def check_words(where: str, function: Callable[..., Any], asked: Mapping[str, Any]) -> None:
    """Refuse a word that the function doesn't take, a value that it can't take, and one that is missing.

    Raises:
        UsageError
    """
    hints = typing.get_type_hints(function, include_extras=True)
    of_a_run = "bench" not in hints  # then which, the step says, and not an argument
    words = {
        name: each
        for name, each in inspect.signature(function).parameters.items()
        if name not in ("bench", "path") and not (of_a_run and name == "run")
    }
    for name, value in asked.items():
        if of_a_run and name in ("run", "runs"):
            continue
        if name not in words:
            raise UsageError(f"{where} knows no '{name}'{nearest(name, words)}")
        try:
            TypeAdapter(hints[name]).validate_python(value, strict=True)
        except ValidationError as error:
            raise UsageError(f"{where}: {name} {plainly(error.errors()[0])} (got {value!r})") from error
    for name, each in words.items():
        if each.default is inspect.Parameter.empty and name not in asked:
            raise UsageError(f"{where} lacks '{name}'")


def runs_of(path: Path, runs: Runs, asked: Mapping[str, Any]) -> list[str]:
    """The runs that a step is of; all where it names none."""
    names = [*([asked["run"]] if "run" in asked else []), *asked.get("runs", [])]
    return [run for name in names for run in named_in(path, runs, name)] or list(runs)


def effective(runs: Runs, name: str) -> Config:
    """A run's configuration with the options that it takes over from the run whose weights it begins with."""
    settings = runs[name]
    source = runs.get(settings.run.init_from or "")
    if source is None or source.model != settings.model:
        return settings
    own = effective(runs, settings.run.init_from or "").options.model_dump()
    taken = {key: value for key, value in own.items() if settings.sources[key] != "recipe"}
    return settings._replace(options=settings.options.model_copy(update=taken))


def figures(
    path: Path, contents: Contents, runs: Runs, images: Mapping[DataOptions, Dataset] | None = None
) -> dict[str, str | None]:
    """The names of all figures that a recipe measures, as patterns of `fnmatch`, with why one can't be, or None.

    Args:
        images: by which that is known, as far as they are there.
    """
    found: dict[str, str | None] = {}
    for step in contents.measure:
        asked = step.asked()
        if step.name in SUMMARIES:
            found |= dict.fromkeys(means(path, runs, asked))
            continue
        kind = MEASURES[step.name]
        for run in runs_of(path, runs, asked):
            here, settings = (images or {}).get(runs[run].data), effective(runs, run)
            names: dict[str, str | None] = dict.fromkeys(
                losses_of(settings, here) if step.name == "losses" and here is not None else kind.gives
            )
            for need, those in kind.gives_where.items():
                names |= dict.fromkeys(those, None if here is None else need(settings, here, asked))
            found |= {f"{run}: {name.format(**asked)}": reason for name, reason in names.items()}
    return found


def means(path: Path, runs: Runs, asked: Mapping[str, Any]) -> list[str]:
    """The names of `mean-over`'s figures."""
    over = str(asked["over"])
    return [
        f"{asked['figure']} of {name}, {over}={place(runs[run], over)}"
        for name in asked["runs"]
        for run in named_in(path, runs, name)
    ]


def place(settings: Config, over: str) -> str:
    return as_text(settings.values().get(over.replace("-", "_")))


def losses_of(settings: Config, images: Dataset) -> list[str]:
    """What a model measures of its training (`validation.validate`), by a look at three images, untrained."""
    some = images.test.take(torch.arange(min(3, len(images.test))))
    model = build(fitted_to(images, settings), images).eval()
    return list(validate(model, some, torch.device("cpu"), beside=images.beside_split("test")))


def check_sweep(
    where: str, asked: Mapping[str, Any], runs: Mapping[str, Config], given: Mapping[str, str | None]
) -> None:
    """Refuse a curve or a mean over what is no option of the runs, or of a figure that isn't measured.

    Raises:
        UsageError
    """
    key = asked["over"].replace("-", "_")
    for run, settings in runs.items():
        values = settings.values()
        if key not in values:
            raise UsageError(f"{where}: the run {run} has no option '{asked['over']}'{nearest(key, values)}")
        if where.endswith("picture curve") and number_in(values[key]) is None:
            raise UsageError(f"{where}: a curve is drawn over numbers, and {asked['over']} is none in the run {run}")
        require_measured(where, f"{run}: {asked['figure']}", given)


def check_rows(path: Path, contents: Contents, given: Mapping[str, str | None]) -> None:
    """Refuse a row whose figure, or whose bound's, isn't measured.

    Raises:
        UsageError
    """
    for row in contents.report:
        for name in (row.figure, row.below, row.above):
            if isinstance(name, str):
                require_measured(f"{path}: the row '{row.what}'", name, given)


def require_measured(where: str, name: str, given: Mapping[str, str | None]) -> None:
    """Raise UsageError where no pattern is of that figure, with what there is of its run, or else at all."""
    reasons = [reason for pattern, reason in given.items() if fnmatchcase(name, escaped(pattern))]
    if None in reasons:
        return
    if reasons:
        raise UsageError(f"{where}: '{name}' can't be measured: {reasons[0]}")
    run, colon, figure = name.rpartition(": ")
    of_run = [each.removeprefix(run + colon) for each in given if each.startswith(run + colon)] if colon else []
    hint = nearest(figure, of_run) if of_run else nearest(name, given)
    there = f"; {f'of {run} ' if of_run else ''}there are {', '.join((of_run or [*given])[:8])}" if given else ""
    raise UsageError(f"{where}: nothing measures '{name}'{hint or there}")


def escaped(pattern: str) -> str:
    """A pattern in which a name's own brackets mean themselves."""
    return pattern.replace("[", "[[]")
