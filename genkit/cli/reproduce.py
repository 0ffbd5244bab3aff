"""`genkit reproduce NAME`: a published result, from training to the row in the table."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genkit.cli.command import Command, PathType
from genkit.cli.output import emit, json_option
from genkit.cli.shared import DEVICE_HELP
from genkit.wording import counted

if TYPE_CHECKING:
    from genkit.data import Missing
    from genkit.reproduce.carry_out import Plan
    from genkit.reproduce.recipe import Recipe, Step
    from genkit.reproduce.results import Record


logger = logging.getLogger("genkit")


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--list", "listed", is_flag=True, help="List the recipes, with what each shows and what it takes.")
@click.option("--quick", is_flag=True, help="A smoke run, of seconds or minutes: recorded as such, and not judged.")
@click.option(
    "--dry-run",
    "-n",
    is_flag=True,
    help="Say what would be trained and measured, and which images are missing, and do nothing.",
)
@click.option(
    "--out",
    type=PathType(),
    default="runs",
    show_default=True,
    envvar="GENKIT_OUT",
    help="Folder for the runs. A run of the same configuration that lies there is used, or gone on with.",
)
@click.option(
    "--results",
    type=PathType(file_okay=False),
    default=Path("experiments"),
    show_default=True,
    help="Folder for the table (README.md), the records and the pictures.",
)
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@json_option
def reproduce(
    name: str | None, listed: bool, quick: bool, dry_run: bool, out: Path, results: Path, device: str, as_json: bool
) -> int:
    """Reproduce a published result: train what is missing, measure, draw, and write a row of paper against ours.

    NAME is a recipe that --list names, or the path of one (TOML). Prints the record's file, the pictures, and each
    figure with its criterion; where one isn't met, the exit code is 1.
    """
    if listed == (name is not None):
        raise click.UsageError("name one recipe, or give --list" if name is None else "--list takes no recipe")
    if listed or name is None:
        return show_list(as_json)
    from genkit.reproduce import recipe

    path = recipe.find(name)  # before torch is imported
    from genkit.reproduce import carry_out, soundness

    chosen = recipe.Recipe(path, quick, str(out), device)
    soundness.check(chosen)
    if dry_run:
        plans, missing = carry_out.plan(chosen), carry_out.missing(chosen)
        emit(described(chosen, plans, missing), plan_lines(chosen, plans, missing), as_json)
        return 0 if all(each.fetched for each in missing) else 1
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


def described(recipe: Recipe, plans: dict[str, Plan], missing: list[Missing]) -> dict[str, Any]:
    """A dry run for a program."""
    from genkit.reproduce.soundness import abilities_of_run

    contents = recipe.contents
    return {
        "recipe": recipe.name,
        "quick": recipe.quick,
        "minutes": None if recipe.quick else contents.minutes,
        "runs": {
            name: {
                "todo": each.todo,
                "run": each.directory and each.directory.path,
                "needs": abilities_of_run(recipe, name),
                **each.config.as_json(),
            }
            for name, each in plans.items()
        },
        "missing": [each._asdict() for each in missing],
        "measures": [step.name for step in contents.measure],
        "pictures": [step.name for step in contents.picture],
        "reports": [{"what": row.what, "paper": row.paper, "criterion": row.criterion()} for row in contents.report],
    }


def plan_lines(recipe: Recipe, plans: dict[str, Plan], missing: list[Missing]) -> list[str]:
    """A dry run for a person."""
    from genkit.reproduce.carry_out import given
    from genkit.reproduce.soundness import abilities

    def needs(step: Step) -> str:
        found = abilities(recipe, step)
        return f"  (needs: {', '.join(found)})" if found else ""

    contents = recipe.contents
    lines = [contents.shows, contents.paper, ""]
    lines += [f"missing   {each.what}" for each in missing]
    for name in contents.runs:
        named = recipe.named(name)
        lines += run_lines(name, [plans[each] for each in named], [given(recipe.runs[each]) for each in named])
    lines += [f"measure   {step.name}{of(step)}{needs(step)}" for step in contents.measure]
    lines += [f"draw      {step.stem}{of(step)}{needs(step)}" for step in contents.picture]
    if recipe.quick:
        return [*lines, "", "a smoke run: what it measures is recorded as such, and held to nothing"]
    rows = [
        (f"report    {row.what}", "" if row.paper == "–" else f"paper: {row.paper}", row.criterion())
        for row in contents.report
    ]
    cost_in_all = f"in all about {cost(contents.minutes)} on two cores, where nothing is there yet"
    return [*lines, *aligned(rows), "", cost_in_all]


def of(step: Step) -> str:
    names = [step.run] if step.run else step.runs
    return f" of {', '.join(names)}" if names else ""


def run_lines(name: str, plans: list[Plan], given: list[dict[str, Any]]) -> list[str]:
    """A run, or all that a sweep makes: what is to be done, and the options that all of them have.

    Args:
        given: what the recipe tells each.
    """
    from genkit.options import as_text

    told = [{key: as_text(value) for key, value in each.items()} for each in given]
    shared = {key: value for key, value in told[0].items() if all(each.get(key) == value for each in told)}
    flags = "".join(f" --{key.replace('_', '-')} {value}" for key, value in shared.items())
    model = plans[0].config.model
    if len(plans) == 1:
        (each,) = plans
        where = f" ({each.directory.path})" if each.directory else ""
        return [f"{each.todo:9} {name}: {model}{flags}{where}"]
    swept = [
        f"{key.replace('_', '-')} {', '.join(dict.fromkeys(each[key] for each in told))}"
        for key in told[0]
        if key not in shared
    ]
    counts = Counter(each.todo for each in plans)
    return [
        f"{todo:9} {name}, {counted(count, 'run')}: {model}{flags}, of {'; '.join(swept)}"
        for todo, count in counts.items()
    ]


def result_lines(record: Record) -> list[str]:
    """Each reported figure: ours, the paper's, and whether it keeps its bound."""
    from genkit.reproduce import results

    words = {True: "met", False: "NOT MET", None: ""}
    rows = [("", "paper", "ours", "" if record.quick else "criterion")]
    for row in record.rows:
        judged = "" if record.quick else f"{results.criterion(record, row)}  {words[row.met]}"
        rows.append((row.what, row.paper, results.ours(record, row), judged))
    left_out = [f"left out: {name}: {reason}" for name, reason in record.left_out.items()]
    said = ["a quick run: no result, and held to nothing"] if record.quick else []
    return ["", *said, *aligned(rows), *([""] if left_out else []), *left_out]


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of cells as lines with columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
