"""What decides a run: the model and its options, the images, and how the run is carried out. `config.json` holds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, field_validator

from genkit import data, options, registry
from genkit.contract import TrainingOptions
from genkit.contract.options import BUDGETS
from genkit.data import DataOptions
from genkit.errors import CheckpointError, GenkitError, ModelError, UsageError, in_one_line
from genkit.files import expanded, from_json, read_plain, to_json, write_file
from genkit.registry import Provider

NAME = "config.json"
MAX_SIZE = 1 << 20
#: The options that say where images lie.
PLACES = ("dataset", "beside")


def _interval(value: object) -> str:
    if not re.fullmatch("[1-9][0-9]{0,5}(min)?", str(value)):
        raise ValueError("give epochs, like 2, or whole minutes, like 10min")
    return str(value)


Interval = Annotated[
    str,
    BeforeValidator(_interval),
    Field(
        description="Epochs from one checkpoint to the next, or minutes (`10min`), also within an epoch.",
        json_schema_extra={"default": "1, or as --validate-every"},
    ),
]


class RunOptions(BaseModel):
    """How a run is carried out, whatever the model and the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Annotated[str, Field(description="Folder in which the run's own folder is made.")] = "runs"
    init_from: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Begin with the weights of this run or checkpoint, its model's own options and its images.",
            json_schema_extra={"none": "random weights"},
        ),
    ] = None
    seed: Annotated[
        int, Field(ge=0, lt=2**63, description="Of the weights, the order of the images and all noise.")
    ] = 0
    device: Annotated[str, Field(description="auto (cuda, then mps, then cpu), cpu, cuda, cuda:1 or mps.")] = "auto"
    deterministic: Annotated[
        bool, Field(description="Have CUDA compute the same bits every time, too; slower, and some models can't.")
    ] = False
    amp: Annotated[
        Literal["none", "bf16"],
        Field(description="Mixed precision: bf16 where it is safe. For GPUs; on most CPUs it is many times slower."),
    ] = "none"
    compile: Annotated[
        Literal["auto", "on", "off"],
        Field(description="Compile the losses with torch.compile; auto: on CUDA, in runs long enough to gain by it."),
    ] = "auto"
    log_every: Annotated[int, Field(ge=1, description="Steps from one logged training loss to the next.")] = 50
    validate_every: Annotated[
        int,
        Field(
            ge=1,
            description="Epochs from one validation to the next; the last epoch has one.",
            json_schema_extra={"default": "1, of more than 100 epochs so many that there are about 100 validations"},
        ),
    ] = 1
    picture_every: Annotated[
        int,
        Field(
            ge=1,
            description="Epochs from one drawn picture to the next.",
            json_schema_extra={"default": "1, or as --validate-every"},
        ),
    ] = 1
    checkpoint_every: Interval = "1"
    keep_every: Annotated[
        int | None,
        Field(
            ge=1,
            description="Keep the checkpoint of every N-th epoch for good, besides the newest and the best.",
            json_schema_extra={"none": "only the newest two and the best"},
        ),
    ] = None
    patience: Annotated[
        int | None,
        Field(
            ge=1,
            description="End the run when the metric that picks its best checkpoint hasn't become better on val for so "
            "many epochs. The learning rate is planned for all --epochs; --schedule constant holds it.",
            json_schema_extra={"none": "all epochs"},
        ),
    ] = None
    prior: Annotated[
        Literal["own", "gaussian", "gmm", "flow"] | None,
        Field(
            description="What new codes are drawn by, of a model with an encoder: its own prior; or what is fitted to "
            "its codes at the end, one Gaussian, or as many as held-out codes speak for, or coupling layers, of each "
            "class where there are labels.",
            json_schema_extra={"none": "gmm of a model with an encoder, in a recipe of a result its own"},
        ),
    ] = None

    @field_validator("out", "init_from")
    @classmethod
    def _home(cls, path: str | None) -> str | None:
        """`~` is the home folder wherever a path is given: a shell leaves that of `--out=~/x` to us, as TOML does."""
        return path and str(expanded(path))

    @property
    def checkpoint_epochs(self) -> int | None:
        """Epochs between checkpoints, or None where they are counted in minutes."""
        return None if self.checkpoint_every.endswith("min") else int(self.checkpoint_every)

    @property
    def checkpoint_seconds(self) -> float:
        """Seconds between checkpoints; infinite where they are counted in epochs."""
        return 60 * float(self.checkpoint_every[:-3]) if self.checkpoint_epochs is None else float("inf")


class Config(NamedTuple):
    """All that decides a run, resolved and validated.

    Attributes:
        model: its name.
        options: an instance of its own `Options`.
        data, run: the rest.
        sources: option -> where its value came from.
        provider: whose the model was when the run was made; None of a run that is only being made.
        reasons: option -> why it has its value, of those whose source is "data" and that the images suggested.
    """

    model: str
    options: TrainingOptions
    data: DataOptions
    run: RunOptions
    sources: dict[str, str]
    provider: Provider | None = None
    reasons: Mapping[str, str] = MappingProxyType({})

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "provider": asdict(self.provider or registry.provider_of(self.model)),
            "options": self.options.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "run": self.run.model_dump(mode="json"),
            "sources": self.sources,
            "reasons": dict(self.reasons),
        }

    def values(self) -> dict[str, Any]:
        """Every option and its value."""
        return {
            name: value for part in (self.data, self.options, self.run) for name, value in part.model_dump().items()
        }

    def source_in_words(self, name: str) -> str:
        """Where an option's value came from, and why where that is known: "data: 48 training images"."""
        reason = self.reasons.get(name)
        return f"{self.sources[name]}: {reason}" if reason else self.sources[name]

    def located(self) -> Config:
        """The same with absolute paths of images and initial weights, so that it can be resumed from anywhere."""
        init_from = self.run.init_from and str(Path(self.run.init_from).resolve())
        run = self.run.model_copy(update={"init_from": init_from})
        return self._replace(data=data.located(self.data), run=run)

    def save(self, run: Path) -> None:
        """Write or replace a run's config.json."""
        write_file(run / NAME, to_json(self.as_json()), parents=False)


def reasons(run: Path) -> dict[str, str]:
    """Why options of a run have the values that its images suggested, by the options' names; {} where nothing says so.

    Without its model's import, so that a run can be shown whose model isn't here.
    """
    try:
        said = TypeAdapter(dict[str, Any]).validate_python(from_json(read_plain(run / NAME, MAX_SIZE)))
        found = TypeAdapter(dict[str, str]).validate_python(said.get("reasons", {}))
        values = {**said["run"], **said["options"]}
        return {
            name: f"{options.as_text(values[name])}: {in_one_line(ValueError(reason))}"
            for name, reason in found.items()
        }
    except (OSError, ValueError, TypeError, KeyError, RecursionError, GenkitError):
        return {}


def read(run: Path) -> Config:
    """The configuration that a run was made with.

    Raises:
        CheckpointError: when its config.json is missing or isn't what this version writes.
    """
    try:
        value = TypeAdapter(dict[str, Any]).validate_python(from_json(read_plain(run / NAME, MAX_SIZE)))
        if value.keys() - {"provider", "reasons"} != {"model", "options", "data", "run", "sources"}:
            raise ValueError(f"it has the keys {', '.join(value)[:200]}")
        # Older runs have none, nor reasons.
        provider = TypeAdapter(Provider | None).validate_python(value.get("provider"))
        config = Config(
            value["model"],
            registry.find_again(value["model"], provider).Options.model_validate(value["options"]),
            DataOptions.model_validate(value["data"]),
            RunOptions.model_validate(value["run"]),
            TypeAdapter(dict[str, str]).validate_python(value["sources"]),
            provider,
            TypeAdapter(dict[str, str]).validate_python(value.get("reasons", {})),
        )
    except ModelError:
        raise
    except (OSError, ValueError, TypeError, RecursionError, GenkitError) as error:
        raise CheckpointError(
            f"{run / NAME} is no configuration of a run: {in_one_line(error)}; mend it, or start a new run with "
            f"--init-from {run}"
        ) from error
    # An option that this version has added has its default in an older run.
    return config._replace(sources={**dict.fromkeys(config.values(), "default"), **config.sources})


def continued(config: Config, given: Mapping[str, Any], run: Path) -> Config:
    """The configuration with which a run goes on.

    Args:
        config: the run's own.
        given: options that somebody gave together with --resume. They may repeat what the run has; only `epochs`, or
            the `steps` of a run that was planned in steps, may be more than they were, and `patience` another, and the
            images may lie elsewhere: whether they are the same is seen when they are loaded.

    Raises:
        UsageError: with each option that disagrees.
    """

    def updated(part: BaseModel) -> Any:
        return options.validate(type(part), {**part.model_dump(), **given})

    length, value = config.options.length
    wanted = config._replace(data=updated(config.data), options=updated(config.options), run=updated(config.run))
    ours, theirs = config.located().values(), wanted.located().values()
    if Path(ours["out"]).resolve() == Path(theirs["out"]).resolve():
        theirs["out"] = ours["out"]
    if ours["init_from"] and Path(theirs["init_from"]) / "checkpoints" == Path(ours["init_from"]).parent:
        theirs["init_from"] = ours["init_from"]  # the run, of which that is a checkpoint
    others = [name for name in BUDGETS if name != length and theirs[name] != ours[name]]
    if others:
        raise UsageError(
            f"{run} is planned in {length}, and can't go on with --{others[0]}: give --{length} N, more than {value:,}"
        )
    differences = [
        f"--{name.replace('_', '-')} {options.as_text(theirs[name])} (the run has {options.as_text(ours[name])})"
        for name in ours
        if theirs[name] != ours[name]
        and name != "patience"
        and not (name == length and theirs[name] is not None and theirs[name] > value)
        and not (name in PLACES and theirs[name] is not None and ours[name] is not None)
    ]
    if differences:
        raise UsageError(
            f"{run} can't go on with {', '.join(differences)}: only --{length} may be raised, --patience changed, and "
            f"--dataset may name another place of the same images; "
            f"for a new run with its weights, give --init-from {run}"
        )
    changed = [name for name in (length, "patience", *PLACES) if theirs[name] != ours[name]]
    if not changed:
        return config
    options_, passes = wanted.options, config.options.passes
    if options_.steps is not None and passes:
        options_ = options_.counted_in_epochs(round(value / passes))
    return config._replace(
        options=options_,
        data=config.data.model_copy(update={name: theirs[name] for name in PLACES}),
        run=config.run.model_copy(update={"patience": wanted.run.patience}),
        sources={**config.sources, **dict.fromkeys(changed, "resume")},
        reasons={name: reason for name, reason in config.reasons.items() if name not in changed},
    )
