"""`genkit train MODEL`: every option is a field of a pydantic class, so nothing is listed here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genkit import registry
from genkit.cli.command import Command, PathType
from genkit.cli.output import emit, json_flag
from genkit.cli.shared import loading
from genkit.errors import DataError, ModelError, UsageError
from genkit.files import expanded

if TYPE_CHECKING:
    from genkit.cli.model_flags import Flags
    from genkit.data import DataOptions
    from genkit.keep.config import Config
    from genkit.keep.rundir import RunDirectory

logger = logging.getLogger("genkit")

#: Parameters of the command that a recipe can't set.
NO_OPTIONS_OF_A_RUN = ("config", "resume", "as_json", "dry_run")
#: Where a value comes from that isn't known before some steps are timed.
TIMED = "timing"
#: Names that an option of a model can't have: flags of every command, and what a recipe calls the model.
RESERVED = (*NO_OPTIONS_OF_A_RUN, "json", "model", "debug", "help")


class Train(click.Group):
    """A command for each model file; a model is imported only when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(registry.names())

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return train_model(name) if name in registry.names() else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        registry.warn_of_clashes()
        with formatter.section("Models"):
            formatter.write_dl(list(registry.names().items()))

    def resolve_command(self, context: click.Context, arguments: list[str]) -> Any:
        if arguments[0] not in registry.offers():
            try:
                registry.meant(arguments[0])
            except UsageError as error:
                context.fail(str(error))
        return super().resolve_command(context, arguments)

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Let the model go unnamed where a run or a recipe names it: `genkit train --resume RUN`.

        Or let it be given by its file: `genkit train ./my_model.py`.
        """
        if arguments and arguments[0].startswith("-") and arguments[0] not in ("-h", "--help"):
            name = named_elsewhere(arguments)
            if name is None:
                context.fail(f"name the model before its options: genkit train MODEL {arguments[0]} …")
            arguments = [name, *arguments]
        elif arguments and registry.is_path(arguments[0]):
            arguments = [registry.add(arguments[0]), *arguments[1:]]
        return super().parse_args(context, arguments)


@click.command(cls=Train, subcommand_metavar="MODEL [OPTIONS]")
def train() -> None:
    """Train a model on images; prints the run's folder.

    `genkit train MODEL --help` shows the model's options. `genkit train --config FILE.toml` takes the model's name and
    its options from a recipe, and `genkit train --resume RUN` goes on with a run that was stopped or killed.
    """


def named_elsewhere(arguments: list[str]) -> str | None:
    """The model that a run or a recipe among the arguments is of; None where there is neither."""
    for option, model_of in (
        ("--resume", model_of_run),
        ("--config", model_of_recipe),
        ("--init-from", model_of_weights),
    ):
        for index, argument in enumerate(arguments):
            name, equals, value = argument.partition("=")
            if name == option:
                value = value if equals else "".join(arguments[index + 1 : index + 2])
                if not value:
                    raise click.UsageError(f"{option} needs a value")
                return model_of(value)
    return None


def model_of_run(run: str) -> str:
    from genkit.keep import config, rundir

    return config.read(rundir.find_run(run).path).model


def model_of_weights(run: str) -> str:
    from genkit.keep import rundir

    return rundir.find(run).read().description.model


def model_of_recipe(path: str) -> str:
    from genkit.options import read_recipe

    model = read_recipe(expanded(path)).get("model")
    if not isinstance(model, str):
        raise click.UsageError(f'{path} names no model; add a line like model = "vae", or give it: genkit train vae …')
    return model


class SectionedCommand(Command):
    """A command whose help lists its options under headings.

    Args:
        surer: makes the command that is asked before this one refuses what was typed; None where this one is sure.
    """

    def __init__(
        self,
        name: str,
        *,
        sections: dict[str, list[click.Parameter]],
        surer: Callable[[], click.Command] | None = None,
        **kwargs: Any,
    ):
        params = [each for section in sections.values() for each in section]
        super().__init__(name, params=params, **kwargs)
        self.sections = sections
        self.surer = surer

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if self.surer is None:
            return super().make_context(info_name, args, parent, **extra)
        try:
            return super().make_context(info_name, list(args), parent, **extra)
        except click.UsageError:
            return self.surer().make_context(info_name, args, parent, **extra)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for title, parameters in self.sections.items():
            records = [record for each in parameters if (record := each.get_help_record(context))]
            with formatter.section(title):
                formatter.write_dl(records)


def train_model(name: str, ask: bool = False) -> click.Command:
    """The command that trains one model, with that model's options, the data's and the run's as flags.

    Args:
        ask: the model itself what its options are, though it be kept.
    """
    from genkit import options
    from genkit.cli import model_flags
    from genkit.contract import TRAINING_FIELDS
    from genkit.data import DataOptions
    from genkit.keep.config import RunOptions

    flags = about, final = model_flags.of(name, ask)
    ours = [*options.describe(DataOptions), *options.describe(RunOptions)]
    taken = {*(each.name for each in ours), *(each.also for each in ours if each.also), *RESERVED}
    for field in sorted(taken & {each.name for each in about}):
        if not final:
            return train_model(name, ask=True)
        raise ModelError(f"{registry.shown_by_name(name)}: its option {field} is one of genkit's own; rename it")
    own = options.flags(about)
    offer = registry.meant(name)
    whose = "" if offer.package == registry.GENKIT else f"A model of {offer.whose}. "

    @click.pass_context
    def callback(context: click.Context, resume: str | None, dry_run: bool, as_json: bool, **_values: Any) -> int:
        from genkit.keep.rundir import find_run

        directory = None if resume is None else find_run(resume)
        if directory is None:
            refuse(context, name, flags)
        with loading():
            from genkit.run import trainer
            from genkit.step import distributed

        settings = new_settings(context, name) if directory is None else settings_of(directory, context, name)
        if dry_run:
            if directory is None and distributed.leads():
                settings = as_images_say(settings)
            described = settings.as_json()
            if directory is None:
                mark_what_is_timed(described)
            if distributed.leads():
                emit(described, described_lines(described), as_json)
            return 0
        folder = registry.folder_to_give(name)
        if folder is not None and distributed.leads():
            logger.info(
                "found    by the path that was typed; other commands find it with %s=%s", registry.VARIABLE, folder
            )
        with distributed.joined(settings.run.device) as team:
            if directory is None:
                result = trainer.start(settings, team, by_images=True)
            else:
                result = trainer.resume(directory, given_to_resume(context), team)
            outcome = {
                "run": result.run,
                "checkpoint": result.checkpoint,
                "steps": result.steps,
                "seconds": round(result.seconds, 3),
                "metrics": result.metrics,
                "stopped": result.stopped is not None,
            }
            if team.leads:
                emit(outcome, [str(result.run)], as_json)
        return 128 + result.stopped if result.stopped else 0

    return SectionedCommand(
        name,
        callback=callback,
        surer=None if final else lambda: train_model(name, ask=True),
        help=f"{registry.names()[name]}\n\n{whose}What isn't typed is as the images suggest, and "
        "is printed with its reason; the defaults below are what `genkit reproduce` has. Prints the folder of the run "
        "on stdout.",
        sections={
            "Model": [each for each in own if each.name not in TRAINING_FIELDS],
            "Training": [each for each in own if each.name in TRAINING_FIELDS],
            "Data": list(options.flags(options.describe(DataOptions))),
            "Run": [
                *options.flags(options.describe(RunOptions)),
                click.Option(
                    ["--resume"],
                    metavar="RUN",
                    help="Go on with a run where its newest checkpoint leaves it, to the bit. RUN is its folder or "
                    "number. It needs no other option, and takes none but a larger --epochs (of a run planned in "
                    "steps or minutes, --steps), another --patience, and as --dataset the place where its images lie "
                    "now.",
                ),
                click.Option(
                    ["--config"],
                    type=PathType(dir_okay=False),
                    is_eager=True,
                    callback=load_config,
                    help="A recipe: TOML with `model` and any of these options.",
                ),
                click.Option(
                    ["--dry-run", "-n"],
                    is_flag=True,
                    help="Print every setting, where it comes from and why, and train nothing.",
                ),
                json_flag(),
            ],
        },
    )


def given_by_a_person(context: click.Context) -> dict[str, Any]:
    """The options that somebody has set: by a flag, a variable or a recipe.

    How long to train, which several say, is said by the first of these that says it.

    Raises:
        UsageError: where it says so by two options.
    """
    return given_by(context, "flag", "variable", "config file")


def given_by(context: click.Context, *ways: str) -> dict[str, Any]:
    """The options that somebody has set in one of these ways; how long to train by the first of them that says it.

    Raises:
        UsageError: where it says so by two options.
    """
    from genkit import options
    from genkit.contract.options import BUDGETS

    sources = {name: way for name, way in options.sources(context).items() if way in ways}
    weaker = set(BUDGETS) - set(options.strongest(BUDGETS, sources))
    return {name: context.params[name] for name in sources if name not in weaker}


def refuse(context: click.Context, name: str, flags: Flags) -> None:
    """Refuse what can't be meant of a new run, as far as that is seen without torch.

    Args:
        name: of the model.
        flags: its own.

    Raises:
        UsageError: for an option without the one that it needs, or for images that aren't there.
        CheckpointError: for a run to begin with that isn't there.
    """
    from genkit import data, options
    from genkit.cli import model_flags
    from genkit.data import DataOptions
    from genkit.keep import rundir
    from genkit.keep.config import RunOptions

    given = given_by_a_person(context)
    try:
        options.require_needed(flags.about, given)
    except UsageError:
        if flags.final:
            raise
        options.require_needed(model_flags.of(name, ask=True).about, given)
    for each in ("dataset", "beside"):
        if given.get(each):
            data.require_known(given[each])
    if "init_from" in given:
        rundir.find(given["init_from"])
    for part in (DataOptions, RunOptions):
        options.validate(part, given)


def new_settings(context: click.Context, name: str) -> Config:
    """The configuration of a new run: flag, then variable, then recipe, then the weights' run, then default.

    Raises:
        UsageError: for options that can't be meant.
    """
    from genkit import options, registry
    from genkit.contract import ability
    from genkit.data import DataOptions
    from genkit.keep import rundir
    from genkit.keep.config import Config, RunOptions
    from genkit.run.preparation import require_sets
    from genkit.run.prior import require_encoder

    kind = registry.find(name).Options
    given = given_by_a_person(context)
    sources = {name: way for name, way in options.sources(context).items() if name in given}
    if "init_from" in given:
        weights = rundir.find(given["init_from"]).read()
        own = registry.find(name).options_from(weights.model)
        if own is None:
            raise click.UsageError(
                f"--init-from: {weights.path} is of the model {weights.description.model}, not {name}"
            )
        own |= images_of(weights.description.data, given, ability.has(registry.find(name), ability.SECOND_SET))
        sources |= dict.fromkeys(own.keys() - given.keys(), "init-from")
        given = {**own, **given, "init_from": str(weights.path)}
    model, data, run = (options.validate(part, given) for part in (kind, DataOptions, RunOptions))
    settings = Config(name, model, data, run, {})
    settings = settings._replace(sources={field: sources.get(field, "default") for field in settings.values()})
    require_sets(settings)
    require_encoder(settings)
    return settings


def as_images_say(settings: Config) -> Config:
    """The configuration with what the images suggest, where they are on this machine: nothing is fetched.

    Where they can't be used, that is said, and all else shown.
    """
    from genkit import data
    from genkit.run.preparation import fitted_to

    why = "they aren't on this machine yet"
    try:
        images = data.at_hand_for_training(settings.data)
        if images is not None:
            return fitted_to(images, settings, by_images=True)
    except (DataError, UsageError) as error:
        why = str(error)
    logger.warning("what the images of %s suggest isn't shown: %s", settings.data.in_words(), why)
    return settings


def mark_what_is_timed(described: dict[str, Any]) -> None:
    """Say of a described configuration what isn't known before some steps are timed, where minutes are given."""
    from genkit.contract.options import BUDGETS

    if described["options"]["minutes"] is None or described["options"]["steps"] is not None:
        return
    for name in (*BUDGETS, "passes", "lr_warmup", "validate_every", "picture_every", "checkpoint_every"):
        if described["sources"][name] in ("default", "data"):
            described["sources"][name] = TIMED
            described["reasons"].pop(name, None)


def images_of(theirs: DataOptions, given: Mapping[str, Any], two_sets: bool) -> dict[str, Any]:
    """What of another run's images a new run takes over that begins with its weights.

    All, if it says nothing of its own; with another set their form alone, which the weights are for.

    Args:
        two_sets: whether the model needs a second one.
    """
    if "dataset" in given:
        return theirs.model_dump(include={"image_size", "fit", "channels", "crop", "crop_at"})
    return theirs.model_dump(exclude=set() if two_sets else {"beside", "beside_images"})


def settings_of(directory: RunDirectory, context: click.Context, name: str) -> Config:
    """The configuration of a run that goes on. Variables are for new runs, and are left aside."""
    from genkit.keep import config

    settings = config.read(directory.path)
    if settings.model != name:
        raise click.UsageError(f"{directory.path} is a run of {settings.model}, not of {name}")
    return config.continued(settings, given_to_resume(context), directory.path)


def given_to_resume(context: click.Context) -> dict[str, Any]:
    from genkit.keep import rundir

    given = given_by(context, "flag", "config file")
    if "init_from" in given:
        given["init_from"] = str(rundir.path_of(given["init_from"]) or given["init_from"])
    return given


def load_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Make a recipe's values the defaults of all other options."""
    from genkit.options import check_config_keys, read_recipe

    if path is not None:
        values = read_recipe(path)
        model = values.pop("model", context.command.name)
        if model != context.command.name:
            raise click.UsageError(f"{path} is a recipe for {model}, not for {context.command.name}")
        known = [str(each.name) for each in context.command.params if each.name not in NO_OPTIONS_OF_A_RUN]
        check_config_keys(values, known, path)
        context.default_map = values
    return path


def described_lines(described: dict[str, Any]) -> list[str]:
    """A resolved configuration as a table: option, value, where it came from and why."""
    from genkit.options import as_text, default_as_text, is_flag

    fields = registry.find(described["model"]).Options.model_fields
    provider = registry.provider_of(described["model"])
    rows = [("model", described["model"], "" if provider.is_genkit else str(provider))]
    for part in ("options", "data", "run"):
        for option, value in described[part].items():
            source, text = described["sources"][option], as_text(value)
            if source == "default" and option in fields:
                text = "as the images say" if not is_flag(fields[option]) else default_as_text(fields[option], value)
            if source == TIMED:
                text = "as the timing says"
            reason = described["reasons"].get(option)
            rows.append((option.replace("_", "-"), text, f"{source}: {reason}" if reason else source))
    return [f"{option:20} {value:24} {source}".rstrip() for option, value, source in rows]
