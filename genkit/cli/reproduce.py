"""`genkit reproduce NAME`: a published result, from training to the row in the table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genkit.cli.output import emit, json_option
from genkit.cli.shared import DEVICE_HELP

if TYPE_CHECKING:
    from genkit.reproduce.carry_out import Plan
    from genkit.reproduce.recipe import Recipe
    from genkit.reproduce.results import Record


logger = logging.getLogger("genkit")


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="List the recipes, with what each shows and what it takes.")
@click.option("--quick", is_flag=True, help="A smoke run, of seconds or minutes: recorded as such, and not judged.")
@click.option("--dry-run", "-n", is_flag=True, help="Say what would be trained and measured, and do nothing.")
@click.option(
    "--out",
    default="runs",
    show_default=True,
    envvar="GENKIT_OUT",
    help="Folder for the runs. A run of the same configuration that lies there is used, or gone on with.",
)
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("experiments"),
    show_default=True,
    help="Folder for the table (README.md), the records and the pictures.",
)
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@json_option
def reproduce(
    name: str | None, listed: bool, quick: bool, dry_run: bool, out: str, results: Path, device: str, as_json: bool
) -> int:
    """Reproduce a published result: train what is missing, measure, draw, and write a row of paper against ours.

    NAME is a recipe that --list names, or the path of one (TOML). Prints the record's file, the pictures, and each
    figure with its criterion; where one isn't met, the exit code is 1.
    """
    if listed == (name is not None):
        raise click.UsageError("name one recipe, or give --list" if name is None else "--list takes no recipe")
    if listed or name is None:
        return show_list(as_json)
    from genkit.reproduce import carry_out, recipe

    chosen = recipe.Recipe(recipe.find(name), quick, out, device)
    if dry_run:
        plans = carry_out.plan(chosen)
        emit(described(chosen, plans), plan_lines(chosen, plans), as_json)
        return 0
    outcome = carry_out.carry_out(chosen, results)
    if outcome.record is None or outcome.path is None:
        logger.info("stopped  what is trained stays; the same command goes on from there")
        emit({"recipe": chosen.name, "stopped": True}, [], as_json)
        return 128 + (outcome.stopped or 0)
    found = {
        "stopped": False,
        "record": outcome.path,
        "pictures": outcome.pictures,
        **outcome.record.model_dump(mode="json"),
    }
    emit(found, [str(outcome.path), *map(str, outcome.pictures), *result_lines(outcome.record)], as_json)
    return 1 if outcome.record.failed else 0


def show_list(as_json: bool) -> int:
    """The recipes; no torch is imported."""
    from genkit.reproduce import recipe

    found = {name: recipe.contents(path) for name, path in recipe.paths().items()}
    listed = {name: {"shows": each.shows, "paper": each.paper, "minutes": each.minutes} for name, each in found.items()}
    width = max(map(len, found))
    lines = [f"{name:{width}}  {cost(each.minutes):>7}  {each.shows}" for name, each in found.items()]
    emit({"recipes": listed}, lines, as_json)
    return 0


def cost(minutes: float) -> str:
    """A recipe's rough time on two cores."""
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:g} min"


def described(recipe: Recipe, plans: dict[str, Plan]) -> dict[str, Any]:
    """A dry run for a program."""
    contents = recipe.contents
    return {
        "recipe": recipe.name,
        "quick": recipe.quick,
        "minutes": None if recipe.quick else contents.minutes,
        "runs": {
            name: {
                "todo": each.todo,
                "run": each.directory and each.directory.path,
                **each.config.as_json(),
            }
            for name, each in plans.items()
        },
        "measures": [step.name for step in contents.measure],
        "pictures": [step.name for step in contents.picture],
        "reports": [{"what": row.what, "paper": row.paper, "criterion": row.criterion()} for row in contents.report],
    }


def plan_lines(recipe: Recipe, plans: dict[str, Plan]) -> list[str]:
    """A dry run for a person."""
    from genkit.options import as_text
    from genkit.reproduce.carry_out import given

    contents, lines = recipe.contents, []
    lines += [contents.shows, contents.paper, ""]
    for name, each in plans.items():
        told = " ".join(f"--{key.replace('_', '-')} {as_text(value)}" for key, value in given(each.config).items())
        where = f" ({each.directory.path})" if each.directory else ""
        lines.append(f"{each.todo:9} {name}: {each.config.model} {told}{where}")
    lines += [f"measure   {step.name}" for step in contents.measure]
    lines += [f"draw      {step.name}" for step in contents.picture]
    lines += [f"report    {row.what}: paper {row.paper}; {row.criterion() or 'no bound'}" for row in contents.report]
    if not recipe.quick:
        lines += ["", f"in all about {cost(contents.minutes)} on two cores, where nothing is there yet"]
    return lines


def result_lines(record: Record) -> list[str]:
    """Each reported figure: ours, the paper's, and whether it keeps its bound."""
    from genkit.reproduce import results

    words = {True: "met", False: "NOT MET", None: "a quick run, not judged" if record.quick else "no bound"}
    lines = []
    for row in record.rows:
        judged = f"{row.criterion} {words[row.met]}".strip()
        lines.append(f"{row.what}: {results.ours(record, row)}; paper {row.paper}; {judged}")
    return lines
