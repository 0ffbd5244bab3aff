"""`genkit data`: which image sets are there, fetch one, check one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from genkit.cli.command import Command
from genkit.cli.output import emit, json_option
from genkit.wording import counted

if TYPE_CHECKING:
    from genkit.data.sets.table import Named


@click.group()
def data() -> None:
    """List, fetch and check image sets.

    Sets live in $GENKIT_DATA (by default the user's cache folder); with GENKIT_OFFLINE=1 nothing is ever fetched.
    """


@data.command(name="list", cls=Command)
@json_option
def list_sets(as_json: bool) -> None:
    """List the sets that --dataset knows by name."""
    from genkit.data.sets.table import SETS

    emit({"sets": {name: each.as_json() for name, each in SETS.items()}}, listed(SETS), as_json)


def listed(sets: Mapping[str, Named]) -> Iterator[str]:
    """A line a set, under what they are of; the larger sizes of sets are only mentioned."""
    from genkit.data.sets.table import GROUPS, megabytes

    usual = {name: each for name, each in sets.items() if not each.larger_of}
    rows = {
        name: [each.images, *(f"{count:,}" if count else "" for count in each.splits)] for name, each in usual.items()
    }
    widths = [max(map(len, column)) for column in zip(*rows.values(), ["images", "train", "val", "test"], strict=True)]
    width = max(map(len, usual))

    def line(name: str, cells: Sequence[str], fetched: str, words: str) -> str:
        images, *counts = (f"{cell:{side}{size}}" for cell, size, side in zip(cells, widths, "<>>>", strict=True))
        return f"  {name:{width}}  {images}  {'  '.join(counts)}  {fetched:>7}  {words}"

    yield line("", ["images", "train", "val", "test"], "fetched", "what (licence)")
    for group in GROUPS:
        yield group
        for name, each in usual.items():
            if each.group == group:
                origin = f"; {each.origin}" if each.origin else ""
                fetched = "" if each.origin else megabytes(each.download)
                yield line(name, rows[name], fetched, f"{each.what} ({each.licence}{origin})")
        larger = [name for name, each in sets.items() if each.group == group and each.larger_of]
        if larger:
            sizes = dict.fromkeys(name.rpartition("-")[2] for name in larger)
            yield f"  each also of {', '.join(sizes)} pixels: {larger[0]}, ..."
    yield "Images of your own are named by their path: a folder, an archive or a file (docs/data.md has the forms)."


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
