"""`genkit data`: which image sets are there, fetch one, check one."""

from __future__ import annotations

import click

from genkit.cli.command import Command
from genkit.cli.output import emit, json_option
from genkit.wording import counted


@click.group()
def data() -> None:
    """List, fetch and check image sets.

    Sets live in $GENKIT_DATA (by default the user's cache folder); with GENKIT_OFFLINE=1 nothing is ever fetched.
    """


@data.command(name="list", cls=Command)
@json_option
def list_sets(as_json: bool) -> None:
    """List the sets that --dataset knows by name."""
    from genkit.data import names

    sets = names()
    width = max(map(len, sets))
    lines = [f"{name:{width}}  {description}" for name, description in sets.items()]
    emit({"sets": sets}, [*lines, "A folder of images, a .npy or a .npz file is named by its path."], as_json)


@data.command(cls=Command)
@click.argument("name")
@json_option
def fetch(name: str, as_json: bool) -> None:
    """Download a set, check it, and print its files. What already lies there is checked and used as it is."""
    from genkit import data as sources

    files = sources.fetch(name)
    emit({"name": name, "files": files}, map(str, files), as_json)


@data.command(cls=Command)
@click.argument("name_or_path", metavar="NAME|PATH")
@json_option
def verify(name_or_path: str, as_json: bool) -> int:
    """Read every byte of a set, folder or array anew, and list every fault. Exits with 1 if there is one."""
    from genkit import data as sources

    sources.require_known(name_or_path)
    from genkit.data.findings import in_words

    findings = sources.verify(name_or_path)
    lines = [
        f"source      {findings.source}",
        f"files       {findings.files:,}",
        f"images      {findings.images:,} ({findings.duplicates:,} exact duplicates)",
        *(f"size        {size}: {count:,}" for size, count in findings.sizes.items()),
        *(f"mode        {mode}: {count:,}" for mode, count in findings.modes.items()),
        *(f"note        {note}" for note in findings.notes),
        *([f"left out    {in_words(findings.left_out)}"] if findings.left_out else []),
        *(f"sha256      {total}  {file}" for file, total in findings.sums.items()),
        *(f"fault       {problem}" for problem in findings.problems),
        "all is well" if findings.ok else counted(len(findings.problems), "fault"),
    ]
    emit({**findings.model_dump(), "ok": findings.ok}, lines, as_json)
    return 0 if findings.ok else 1
