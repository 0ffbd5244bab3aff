"""Which recipes are there, and what does one say? `experiments/NAME.toml`, read and checked whole before it is run.

A recipe trains its runs, takes its measurements, draws its pictures and reports its figures, in the order of the file:

    shows = "One sentence: what is to be seen."
    paper = "Author, Title (Venue, year), section"
    minutes = 5                                 # on two cores, roughly
    dataset = "mnist"                           # options of `genkit train` that all runs share

    [runs.vae]                                  # a run: a model and its own options
    model = "vae"
    sweep.latent-dim = [2, 20]                  # one run a value: vae/latent-dim=2, vae/latent-dim=20
    # init-from = "other"                       # the weights, and the options, of a run that stands before it

    [[measure]]                                 # a function of `measures.py`, and what it is asked
    name = "likelihood"
    runs = ["vae"]
    k = 5000
    quick.k = 100                               # in a smoke run

    [[report]]                                  # a row of the table, with what it must be
    what = "−ELBO, 20 numbers"
    figure = "vae/latent-dim=20: neg_elbo"
    below = 110

    [quick]                                     # what a smoke run does otherwise: options of all runs
    epochs = 1
"""

from __future__ import annotations

import difflib
import itertools
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import genkit
from genkit import data, models, options
from genkit.errors import GenkitError, UsageError, in_one_line
from genkit.files import read_plain

if TYPE_CHECKING:
    from genkit.config import Config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_SIZE = 1 << 16


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Step(BaseModel):
    """A measurement or a picture: its name, and what its function is asked besides."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    run: str | None = None
    runs: tuple[str, ...] | None = None
    quick: dict[str, Any] = Field(default_factory=dict)

    def asked(self, quick: bool = False) -> dict[str, Any]:
        """What its function is asked; in a quick run with what `quick` says of it instead (`quick.k = 100`)."""
        named = {"run": self.run, "runs": self.runs}
        said = {key: value for key, value in named.items() if value is not None} | (self.model_extra or {})
        if quick:
            said |= self.quick
        return {key.replace("-", "_"): value for key, value in said.items()}


class Report(Strict):
    """A row of the table: one figure, and the bounds that it must keep.

    Attributes:
        what: the figure in words.
        figure: `RUN: NAME`, or `NAME` for a figure that is of no single run.
        paper: what is published, in words ("3.00").
        below, above: bounds, either a number or another figure.
        times: by which that other figure is multiplied first.
        near, within: |figure - near| must be at most `within`.
    """

    what: str
    figure: str
    paper: str = "–"
    below: float | str | None = None
    above: float | str | None = None
    times: float = 1.0
    near: float | None = None
    within: float | None = None

    def criterion(self) -> str:
        """The bounds in words; empty where there are none."""

        def bound(value: float | str) -> str:
            times = f"{self.times:g} × " if isinstance(value, str) and self.times != 1 else ""
            return f"{times}{value}" if isinstance(value, str) else f"{value:g}"

        parts = [] if self.below is None else [f"< {bound(self.below)}"]
        parts += [] if self.above is None else [f"≥ {bound(self.above)}"]
        parts += [] if self.near is None else [f"{self.near:g} ± {self.within or 0:g}"]
        return ", ".join(parts)

    def met(self, values: Mapping[str, float]) -> bool | None:
        """Whether a full run keeps the bounds; None where there are none. A figure that is missing keeps none."""
        if not self.criterion():
            return None

        def bound(value: float | str) -> float:
            return self.times * values[value] if isinstance(value, str) else value

        try:
            value = values[self.figure]
            return (
                (self.below is None or value < bound(self.below))
                and (self.above is None or value >= bound(self.above))
                and (self.near is None or abs(value - self.near) <= (self.within or 0))
            )
        except KeyError:
            return False


class Contents(Strict):
    """The keys of a recipe's file; all others are options that its runs share."""

    shows: str
    paper: str
    minutes: Annotated[float, Field(gt=0)]
    note: str = ""
    runs: dict[str, dict[str, Any]] = Field(min_length=1)
    measure: tuple[Step, ...] = ()
    picture: tuple[Step, ...] = ()
    report: tuple[Report, ...] = Field(min_length=1)
    quick: dict[str, Any] = Field(default_factory=dict)


class Recipe:
    """A recipe, resolved for a full run or a quick one.

    Attributes:
        name: the file's, without its ending.
        contents: what it says.
        quick: whether it is a smoke run.
        runs: each run's configuration by name, in the order in which they are trained. Where one begins with another's
            weights, `run.init_from` is that other's name.
    """

    def __init__(self, path: Path, quick: bool = False, out: str = "runs", device: str = "auto"):
        self.name, self.quick = path.stem, quick
        self.contents = contents(path)
        shared = {key: value for key, value in read(path).items() if key not in Contents.model_fields}
        self.runs: dict[str, Config] = {}
        overrides = self.contents.quick if quick else {}
        for name, own in self.contents.runs.items():
            # Options of all runs first, then the run's own; a quick run's shared ones go before both.
            given = {**shared, **own, **{key: value for key, value in overrides.items() if key != "runs"}}
            given |= overrides.get("runs", {}).get(name, {})
            for label, varied in swept(given):
                run = f"{name}/{label}" if label else name
                self.runs[run] = configure(f"{path}: the run {run}", {**varied, "out": out, "device": device})
        self.check(path)

    def check(self, path: Path) -> None:
        """Refuse a step or a row that means nothing, before anything is trained.

        Raises:
            UsageError
        """
        from genkit.reproduce.measures import MEASURES, SUMMARIES
        from genkit.reproduce.sheets import PICTURES

        for kind, steps, known in (
            ("measure", self.contents.measure, {**MEASURES, **SUMMARIES}),
            ("picture", self.contents.picture, PICTURES),
        ):
            for step in steps:
                require(path, kind, step.name, known)
                for run in named_runs(step.asked()):
                    self.named(run, path)
        files = [step.asked().get("file", step.name) for step in self.contents.picture]
        for file in files:
            if not isinstance(file, str) or not re.fullmatch(r"[\w.-]+", file) or file.startswith("."):
                raise UsageError(f"{path}: a picture's file is a plain name, without folders, and not {file!r}")
            if files.count(file) > 1:
                raise UsageError(f"{path}: two pictures would be called {file}; give one of them another file = …")
        for index, config in enumerate(self.runs.values()):
            if config.run.init_from is not None and config.run.init_from not in list(self.runs)[:index]:
                raise UsageError(f"{path}: init-from {config.run.init_from} names no run that stands before it")

    def named(self, name: str, path: Path | None = None) -> list[str]:
        """The runs that a name stands for: itself, or all that a sweep of that name makes.

        Raises:
            UsageError: when there is none.
        """
        found = [run for run in self.runs if run == name or run.startswith(f"{name}/")]
        if not found:
            require(path or Path(self.name), "run", name, self.runs)
        return found


def named_runs(asked: Mapping[str, Any]) -> list[str]:
    """The names of runs among what a step asks."""
    return [*([asked["run"]] if "run" in asked else []), *asked.get("runs", [])]


def require(path: Path, kind: str, name: str, known: Mapping[str, Any]) -> None:
    """Raise UsageError where no such thing is known, with the nearest that is."""
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else f"; there are {', '.join(known)}"
        raise UsageError(f"{path}: no {kind} is called '{name}'{hint}")


def swept(given: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A run's options for every combination of what it sweeps over, each with the combination in words."""
    swept_over = given.get("sweep", {})
    if not isinstance(swept_over, dict) or not all(isinstance(values, list) for values in swept_over.values()):
        raise UsageError(f"sweep.KEY is a list of an option's values, and not {swept_over!r}")
    plain = {key: value for key, value in given.items() if key != "sweep" and key not in swept_over}
    for values in itertools.product(*swept_over.values()):
        chosen = dict(zip(swept_over, values, strict=True))
        yield ",".join(f"{key}={options.as_text(value)}" for key, value in chosen.items()), {**plain, **chosen}


def configure(where: str, given: Mapping[str, Any]) -> Config:
    """The configuration of a run, from options of `genkit train`; all others have their defaults.

    Raises:
        UsageError: naming `where`, when one is unknown or out of its bounds.
    """
    from genkit.config import Config, RunOptions

    values = {key.replace("-", "_"): value for key, value in given.items()}
    name = values.pop("model", None)
    if not isinstance(name, str) or name not in models.names():
        raise UsageError(f"{where} has the model {name!r}; there are {', '.join(models.names())}")
    parts = (models.find(name).Options, data.DataOptions, RunOptions)
    known = [field for part in parts for field in part.model_fields]
    try:
        options.check_config_keys(values, known, Path(where))
        model, images, run = (options.validate(part, values) for part in parts)
    except UsageError as error:
        raise UsageError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error
    config = Config(name, model, images, run, {})
    return config._replace(
        data=data.located(images),
        sources={field: "recipe" if field in values else "default" for field in config.values()},
    )


def contents(path: Path) -> Contents:
    """What a recipe says, short of its runs' options; without torch.

    Raises:
        UsageError: when it lacks a key, or has one that isn't as it should be.
    """
    values = read(path)
    try:
        return Contents.model_validate({key: values[key] for key in values.keys() & Contents.model_fields.keys()})
    except ValidationError as error:
        raise UsageError(f"{path}: {in_one_line(error)}") from error


def read(path: Path) -> dict[str, Any]:
    """The TOML of a recipe.

    Raises:
        UsageError: when it can't be read, or isn't TOML.
    """
    try:
        return tomllib.loads(read_plain(path, MAX_SIZE).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} can't be read as a recipe: {in_one_line(error)}") from error


# ---------------------------------------------------------------------------------------------------------------------
# Where they are
# ---------------------------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Where the recipes lie: in an installed genkit within the package, in a clone beside it.

    Raises:
        GenkitError: where they are missing.
    """
    package = Path(genkit.__file__).parent
    for place in (package / "experiments", package.parent / "experiments"):
        if next(place.glob("*.toml"), None):
            return place
    raise GenkitError(f"{package} has no recipes; install genkit again, or name a recipe's file")


def paths() -> dict[str, Path]:
    """Every recipe's name and file."""
    return {path.stem: path for path in sorted(folder().glob("*.toml"))}


def find(name: str) -> Path:
    """The file of a recipe, by its name or its path.

    Raises:
        UsageError: when there is none, with the nearest name.
    """
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    known = paths()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"there are {', '.join(known)}"
        raise UsageError(f"no recipe is called '{name}'; {hint}")
    return known[name]
