"""`genkit train MODEL`: every option is a field of a pydantic class, so nothing is listed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from genkit import models
from genkit.cli.output import emit, json_flag


class Train(click.Group):
    """A command for each model file; a model is imported only when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(models.names())

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return train_model(name) if name in models.names() else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Models"):
            formatter.write_dl(list(models.names().items()))

    def resolve_command(self, context: click.Context, arguments: list[str]) -> Any:
        if arguments[0] not in models.names():
            context.fail(f"no model is called '{arguments[0]}'; there are {', '.join(models.names())}")
        return super().resolve_command(context, arguments)

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Let a recipe name the model: `genkit train --config FILE` without MODEL."""
        if arguments and arguments[0].partition("=")[0] == "--config":
            return super().parse_args(context, [model_of_recipe(arguments), *arguments])
        if arguments and arguments[0].startswith("-") and arguments[0] not in ("-h", "--help"):
            context.fail(f"name the model before its options: genkit train MODEL {arguments[0]} …")
        return super().parse_args(context, arguments)


@click.command(cls=Train, subcommand_metavar="MODEL [OPTIONS]")
def train() -> None:
    """Train a model on images; prints the run's folder.

    `genkit train MODEL --help` shows the model's options. `genkit train --config FILE.toml` takes the model's name and
    its options from a recipe.
    """


def model_of_recipe(arguments: list[str]) -> str:
    from genkit.options import read_config

    name = arguments[0].partition("=")[2] or "".join(arguments[1:2])
    if not name:
        raise click.UsageError("--config needs a file")
    model = read_config(Path(name)).get("model")
    if not isinstance(model, str):
        raise click.UsageError(f'{name} names no model; add a line like model = "vae", or give it: genkit train vae …')
    return model


class SectionedCommand(click.Command):
    """A command whose help lists its options under headings."""

    def __init__(self, name: str, *, sections: dict[str, list[click.Parameter]], **kwargs: Any):
        params = [each for section in sections.values() for each in section]
        super().__init__(name, params=params, **kwargs)
        self.sections = sections

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for title, parameters in self.sections.items():
            records = [record for each in parameters if (record := each.get_help_record(context))]
            with formatter.section(title):
                formatter.write_dl(records)


def train_model(name: str) -> click.Command:
    """The command that trains one model, with that model's options, the data's and the run's as flags."""
    from genkit import options
    from genkit.data import DataOptions
    from genkit.model import Options
    from genkit.run import Config, RunOptions, start

    model = models.find(name)
    training_fields = Options.model_fields.keys() - {"latent_dim"}
    model_flags = options.flags(model.Options)

    @click.pass_context
    def callback(context: click.Context, config: Path | None, dry_run: bool, as_json: bool, **_values: Any) -> int:
        given = options.given(context)
        settings = Config(
            name,
            options.validate(model.Options, given),
            options.validate(DataOptions, given),
            options.validate(RunOptions, given),
            options.sources(
                context, [each for part in (model.Options, DataOptions, RunOptions) for each in part.model_fields]
            ),
        )
        if dry_run:
            described = settings.as_json()
            emit(described, described_lines(described), as_json)
            return 0
        result = start(settings)
        outcome = {
            "run": result.run,
            "checkpoint": result.checkpoint,
            "steps": result.steps,
            "seconds": round(result.seconds, 3),
            "metrics": result.metrics,
        }
        emit(outcome, [str(result.run)], as_json)
        return 128 + result.stopped if result.stopped else 0

    return SectionedCommand(
        name,
        callback=callback,
        help=f"{models.names()[name]}\n\nPrints the folder of the run on stdout.",
        sections={
            "Model": [each for each in model_flags if each.name not in training_fields],
            "Training": [each for each in model_flags if each.name in training_fields],
            "Data": list(options.flags(DataOptions)),
            "Run": [
                *options.flags(RunOptions),
                click.Option(
                    ["--config"],
                    type=click.Path(dir_okay=False, path_type=Path),
                    is_eager=True,
                    callback=load_config,
                    help="A recipe: TOML with `model` and any of these options.",
                ),
                click.Option(
                    ["--dry-run", "-n"],
                    is_flag=True,
                    help="Print every setting and where it comes from, and do nothing.",
                ),
                json_flag(),
            ],
        },
    )


def load_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Make a recipe's values the defaults of all other options."""
    from genkit.options import check_config_keys, read_config

    if path is not None:
        values = read_config(path)
        model = values.pop("model", context.command.name)
        if model != context.command.name:
            raise click.UsageError(f"{path} is a recipe for {model}, not for {context.command.name}")
        known = [str(each.name) for each in context.command.params if each.name not in ("config", "as_json", "dry_run")]
        check_config_keys(values, known, path)
        context.default_map = values
    return path


def described_lines(described: dict[str, Any]) -> list[str]:
    """A resolved configuration as a table: option, value, where it came from."""
    rows = [("model", described["model"], "")]
    for part in ("options", "data", "run"):
        for option, value in described[part].items():
            rows.append((option.replace("_", "-"), str(value), described["sources"][option]))
    return [f"{option:20} {value:24} {source}".rstrip() for option, value, source in rows]
