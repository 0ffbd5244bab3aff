"""Which recipes are there, and what does one say? `experiments/NAME.toml`, read, and its runs resolved.

A recipe trains its runs, takes its measurements, draws its pictures and reports its figures, in the order of the file:

    shows = "One sentence: what is to be seen."
    paper = "Author, Title (Venue, year), section"
    minutes = 5                                 # on two cores, roughly
    show = "curve"                              # the picture, of those below, that the README shows, if any
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

    [[picture]]                                 # a function of `sheets.py`
    name = "curve"
    runs = ["vae"]
    over = "latent-dim"
    figure = "nll"

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
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genkit import data, options, registry
from genkit.contract.options import BUDGETS
from genkit.errors import GenkitError, UsageError, in_one_line, plainly
from genkit.files import expanded, read_plain
from genkit.wording import nearest

if TYPE_CHECKING:
    from genkit.keep.config import Config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_SIZE = 1 << 16


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Step(BaseModel):
    """A measurement or a picture: its name, and what its function is asked besides.

    Attributes:
        run, runs: that it is of.
        stem: of a picture's file; `file`, or else the name.
        quick: what is asked otherwise in a smoke run.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    run: str | None = None
    runs: tuple[str, ...] | None = None
    file: str | None = None
    quick: dict[str, Any] = Field(default_factory=dict)

    @property
    def stem(self) -> str:
        return self.name if self.file is None else self.file

    def asked(self, quick: bool = False) -> dict[str, Any]:
        """What its function is asked; in a quick run with what `quick` says of it instead (`quick.k = 100`)."""
        named = {"run": self.run, "runs": self.runs}
        said = {key: value for key, value in named.items() if value is not None} | (self.model_extra or {})
        if quick:
            said |= self.quick
        return {key.replace("-", "_"): value for key, value in said.items()}


class Claim(Strict):
    """`[[report]]`, a row of the table: one figure, and the bounds that it must keep.

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

    @model_validator(mode="after")
    def _bounded(self) -> Claim:
        if (self.near is None) != (self.within is None):
            raise ValueError("near = … and within = … go together")
        if self.times != 1 and not isinstance(self.below, str) and not isinstance(self.above, str):
            raise ValueError("times = … multiplies another figure, and neither below nor above names one")
        return self

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
    """The keys of a recipe's file; all others are options that its runs share.

    Attributes:
        minutes: on two cores, roughly.
        note: what a reader of the rows has to know besides.
        show: the picture, by its file or name, that the README shows.
    """

    shows: str
    paper: str
    minutes: Annotated[float, Field(gt=0)]
    note: str = ""
    show: str | None = None
    runs: dict[str, dict[str, Any]] = Field(min_length=1)
    measure: tuple[Step, ...] = ()
    picture: tuple[Step, ...] = ()
    report: tuple[Claim, ...] = Field(min_length=1)
    quick: dict[str, Any] = Field(default_factory=dict)


class Recipe:
    """A recipe, resolved for a full run or a quick one: its runs are runs that there can be.

    Whether its steps can be taken of them, and its rows be filled, `soundness.check` says.

    Attributes:
        name: the file's, without its ending.
        contents: what it says.
        quick: whether it is a smoke run.
        path: of its file.
        runs: each run's configuration by name, in the order in which they are trained. Where one begins with another's
            weights, `run.init_from` is that other's name.
        full, smoke: the same of a full run and of a quick one, whichever this is.
        out, device: the folder for runs, and where to compute.
    """

    def __init__(self, path: Path, quick: bool = False, out: str = "runs", device: str = "auto"):
        require_own_name(path)
        self.path, self.name, self.quick, self.out, self.device = path, path.stem, quick, out, device
        self.contents = contents(path)
        shared = {key: value for key, value in read(path).items() if key not in Contents.model_fields}
        check_keys(path, self.contents, shared)
        elsewhere = {"out": out, "device": device}
        # What a quick run does otherwise is held to the rules in a full run too, and the other way round.
        self.full, self.smoke = (resolved(path, self.contents, shared | elsewhere, each) for each in (False, True))
        self.runs = self.smoke if quick else self.full
        check_files(path, self.contents)

    def named(self, name: str) -> list[str]:
        """The runs that a name stands for: itself, or all that a sweep of that name makes.

        Raises:
            UsageError: when there is none.
        """
        return named_in(self.path, self.runs, name)


def resolved(path: Path, contents: Contents, shared: Mapping[str, Any], quick: bool) -> dict[str, Config]:
    """Each run's configuration by name.

    Raises:
        UsageError: when an option isn't one, or is out of its bounds, or begins with a run that isn't there yet.
    """
    runs: dict[str, Config] = {}
    overrides = contents.quick if quick else {}
    for name, own in contents.runs.items():
        # Options of all runs first, then the run's own; a quick run's shared ones go before both.
        shorter = {key: value for key, value in overrides.items() if key != "runs"}
        given: dict[str, Any] = {}
        for layer in (shared, own, shorter, overrides.get("runs", {}).get(name, {})):
            if not layer.keys().isdisjoint(BUDGETS):  # one says anew how long to train
                given = {key: value for key, value in given.items() if key not in BUDGETS}
            given |= layer
        for label, varied in swept(f"{path}: the run {name}", given):
            run = f"{name}/{label}" if label else name
            config = configure(f"{path}: the {'quick ' if quick else ''}run {run}", varied)
            if config.run.init_from is not None and config.run.init_from not in runs:
                raise UsageError(f"{path}: init-from {config.run.init_from} names no run that stands before it")
            runs[run] = config
    return runs


def check_keys(path: Path, contents: Contents, shared: Mapping[str, Any]) -> None:
    """Refuse a key of the file that is no option of any run, and a quick run's settings of what isn't there.

    Raises:
        UsageError
    """
    from genkit.keep.config import RunOptions

    kinds = {str(each.get("model", shared.get("model"))) for each in contents.runs.values()}
    if not kinds <= registry.names().keys():
        return  # that is said of the run, and nobody knows its options
    parts: list[type[BaseModel]] = [data.DataOptions, RunOptions, *(registry.find(kind).Options for kind in kinds)]
    known = ["sweep", *(field.replace("_", "-") for part in parts for field in part.model_fields)]
    for key in shared:
        if key.replace("_", "-") not in {"model", *known}:
            hint = nearest(key, [*Contents.model_fields, *known])
            raise UsageError(f"{path}: '{key}' is neither a key of a recipe nor an option of its runs{hint}")
    own = contents.quick.get("runs", {})
    if not isinstance(own, dict) or not all(isinstance(each, dict) for each in own.values()):
        raise UsageError(f"{path}: quick.runs must be a table of runs")
    for name in own:
        require(path, "run", name, contents.runs)


def check_files(path: Path, contents: Contents) -> None:
    """Refuse pictures whose files can't be told apart, or would lie elsewhere.

    Raises:
        UsageError
    """
    files = [step.stem for step in contents.picture]
    for file in files:
        if not re.fullmatch(r"[\w.-]+", file) or file.startswith("."):
            raise UsageError(f"{path}: a picture's file is a plain name, without folders, and not {file!r}")
        if files.count(file) > 1:
            raise UsageError(f"{path}: two pictures would be called {file}; give one of them another file = …")
    if contents.show is not None:
        require(path, "picture", contents.show, files)


def require_own_name(path: Path) -> None:
    """Refuse a name that can't be a record's, or is that of another recipe, whose record it would replace.

    Raises:
        UsageError
    """
    if not re.fullmatch(r"[\w.-]+", path.stem) or path.stem.endswith("-quick"):
        raise UsageError(
            f"{path}: a recipe's records and pictures have its name, which is of letters, digits, . and -, and doesn't "
            "end in -quick; give the file another"
        )
    shipped = paths().get(path.stem)
    if shipped is not None and path.exists() and path.read_bytes() != shipped.read_bytes():
        raise UsageError(
            f"{path}: {path.stem} is the name of a recipe that comes with genkit, whose record this one would replace; "
            "give the file another"
        )


def named_in(path: Path, runs: Mapping[str, Config], name: str) -> list[str]:
    """The runs that a name stands for: itself, or all that a sweep of that name makes.

    Raises:
        UsageError: when there is none.
    """
    found = [run for run in runs if run == name or run.startswith(f"{name}/")]
    if not found:
        require(path, "run", name, runs)
    return found


def named_runs(asked: Mapping[str, Any]) -> list[str]:
    """The names of runs among what a step asks."""
    return [*([asked["run"]] if "run" in asked else []), *asked.get("runs", [])]


def require(path: Path, kind: str, name: str, known: Iterable[str]) -> None:
    """Raise UsageError where no such thing is known, with the nearest that is."""
    if name not in known:
        hint = nearest(name, known) or f"; there are {', '.join(list(known)[:12])}"
        raise UsageError(f"{path}: no {kind} is called '{name}'{hint}")


def swept(where: str, given: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A run's options for every combination of what it sweeps over, each with the combination in words.

    Raises:
        UsageError: naming `where`.
    """
    swept_over = given.get("sweep", {})
    if not isinstance(swept_over, dict) or not all(isinstance(values, list) for values in swept_over.values()):
        raise UsageError(f"{where}: sweep.KEY is a list of an option's values, and not {swept_over!r}")
    for key, values in swept_over.items():
        if not values or any(values.count(value) > 1 for value in values):
            raise UsageError(f"{where}: sweep.{key} must have values, each once")
    plain = {key: value for key, value in given.items() if key != "sweep" and key not in swept_over}
    for values in itertools.product(*swept_over.values()):
        chosen = dict(zip(swept_over, values, strict=True))
        yield ",".join(f"{key}={options.as_text(value)}" for key, value in chosen.items()), {**plain, **chosen}


def configure(where: str, given: Mapping[str, Any]) -> Config:
    """The configuration of a run, from options of `genkit train`; all others have their defaults.

    Raises:
        UsageError: naming `where`, when one is unknown or out of its bounds.
    """
    from genkit.keep.config import Config, RunOptions

    values = {key.replace("-", "_"): value for key, value in given.items()}
    name = values.pop("model", None)
    if not isinstance(name, str) or name not in registry.names():
        said = "has no model" if name is None else f"has the model {name!r}"
        raise UsageError(f"{where} {said}; there are {', '.join(registry.names())}")
    parts = (registry.find(name).Options, data.DataOptions, RunOptions)
    known = [field for part in parts for field in part.model_fields]
    try:
        options.check_config_keys(values, known, Path(where))
        if len(budgets := [name for name in BUDGETS if name in values]) > 1:
            raise UsageError(f"{' and '.join(budgets)} both say how long to train; keep one")
        if "minutes" in values:
            raise UsageError("minutes are other steps on another machine; give epochs or steps")
        model, images, run = (options.validate(part, values) for part in parts)
    except UsageError as error:
        said = str(error).removeprefix("--")  # here an option is no flag
        raise UsageError(said if said.startswith(where) else f"{where}: {said}") from error
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
    known = {key: values[key] for key in values.keys() & Contents.model_fields.keys()}
    try:
        return Contents.model_validate(known)
    except ValidationError as error:
        raise UsageError(f"{path}: {in_words(error.errors()[0], values)}") from error


#: What stands in the tables of a recipe that are of one kind each.
FIELDS = {"report": Claim.model_fields, "measure": Step.model_fields, "picture": Step.model_fields}


def in_words(fault: Any, values: Mapping[str, Any]) -> str:
    """What pydantic found wrong in a recipe of these values: "report 2: 'belo' means nothing here"."""
    place = [*fault["loc"]]
    if not place:
        return plainly(fault)
    if place[-1] in ("float", "str"):  # of a bound, which may be either
        return in_words({**fault, "loc": place[:-1], "type": "", "msg": "must be a number or a figure's name"}, values)
    *outer, key = place
    if len(outer) and isinstance(key, int) and fault["type"] != "value_error":
        return in_words({**fault, "loc": outer}, values)
    if isinstance(key, int):  # of a row as a whole
        return f"{outer[0]} {key + 1}: {plainly(fault)}"
    where = " ".join(str(each + 1 if isinstance(each, int) else each) for each in outer)
    known = FIELDS.get(outer[0], Contents.model_fields) if outer else Contents.model_fields
    inside: Any = values
    for each in outer:
        inside = inside[each] if isinstance(inside, (dict, list)) else {}
    hint = ""
    if fault["type"] == "missing":  # perhaps it is there, under a wrong name
        close = difflib.get_close_matches(str(key), [each for each in inside if each not in known], n=1)
        hint = f"; there is a '{close[0]}'" if close else ""
    elif fault["type"] == "extra_forbidden":
        hint = nearest(str(key), known)
    words = f"'{key}' {plainly(fault)}{hint}"
    return f"{where}: {words}" if where else words


def read(path: Path) -> dict[str, Any]:
    """The TOML of a recipe.

    Raises:
        UsageError: when it can't be read, or isn't TOML.
    """
    try:
        text = read_plain(path, MAX_SIZE).decode("utf-8-sig")
        if any(line.count(".") > options.MAX_DOTS for line in text.split("\n")):
            raise ValueError(f"it has a line of more than {options.MAX_DOTS} dots")
        return tomllib.loads(text)
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
    package = Path(__file__).parents[1]
    for place in (package / "experiments", package.parent / "experiments"):
        if next(place.glob("*.toml"), None):
            return place
    raise GenkitError(f"{package} has no recipes; install genkit again, or name a recipe's file")


def paths() -> dict[str, Path]:
    """Every recipe's name and file."""
    return {path.stem: path for path in sorted(folder().glob("*.toml"))}


def find(name: str) -> Path:
    """The file of a recipe, by its name or its path, whose `.toml` may be left out.

    Raises:
        UsageError: when there is none, with the nearest name.
    """
    known = paths()
    path = expanded(name)
    if name in known and not path.suffix:
        return known[name]
    with_ending = path.parent / f"{path.name}.toml"
    if name.endswith(".toml") or "/" in name or os.sep in name:
        found = next((each for each in (path, with_ending) if each.is_file()), None)
        if found is not None:
            return found
        there = sorted(each.stem for each in path.parent.glob("*.toml")) if path.parent.is_dir() else []
        folder = path.parent.absolute()
        listed = f"; in {folder} there are {', '.join(there[:12])}" if there else f"; none lies in {folder}"
        raise UsageError(f"there is no recipe at {name}{nearest(path.stem, there) or listed}")
    if path.is_file() or with_ending.is_file():
        here = path if path.is_file() else with_ending
        raise UsageError(f"no recipe is called '{name}'; for the file that is here, write ./{here}")
    hint = nearest(name, known) or f"; there are {', '.join(known)}"
    raise UsageError(f"no recipe is called '{name}'{hint}")
