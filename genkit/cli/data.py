"""`genkit data`: which image sets are there, fetch one, look at one, check one, write one plain."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genkit import options as all_options
from genkit.cli.command import Command, PathType
from genkit.cli.output import emit, json_option
from genkit.cli.shared import FILES, loading, require_free
from genkit.data import DataOptions
from genkit.errors import UsageError
from genkit.wording import counted

if TYPE_CHECKING:
    from genkit.data.overview import Counts, Overview
    from genkit.data.sets.table import Named

logger = logging.getLogger("genkit")

#: Options of what somebody's files mean, and of how images are read.
MEANING = ("images", "labels", "pages", "transpose", "white_level")
READING = (*MEANING, "image_size", "skip_bad")
#: Endings of files that images are kept in, and that none is written as.
OTHER_FILES = (".h5", ".hdf5", ".mat", ".arrow", ".feather", ".tar", ".gz", ".tgz", ".pkl", ".heic", ".dcm", ".avif")
#: Classes, and attributes, that are listed; of more the first, and the rarest.
LISTED, FIRST, RAREST = 24, 12, 6
#: Sizes, and modes, that are listed.
MOST_SIZES = 6


def flags_of(names: Sequence[str]) -> list[click.Parameter]:
    """Some of the flags that say how images are read, as `train` has them."""
    return [each for each in all_options.flags(all_options.describe(DataOptions)) if each.name in names]


def as_options(dataset: str, given: Mapping[str, Any]) -> DataOptions:
    """The images that are meant, once it is known that there are such.

    Raises:
        UsageError
    """
    from genkit import data as sources

    sources.require_known(dataset)
    known = {name: value for name, value in given.items() if value is not None}
    return all_options.validate(DataOptions, {"dataset": dataset, **known})


@click.group()
def data() -> None:
    """List, fetch, look at, check and convert image sets.

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


@data.command(cls=Command, params=flags_of(MEANING))
@click.argument("name_or_path", metavar="NAME|PATH")
@json_option
def verify(name_or_path: str, as_json: bool, **given: Any) -> int:
    """Read every byte of a set, folder or array anew, and list every fault. Exits with 1 if there is one."""
    from genkit import data as sources

    wanted = as_options(name_or_path, given)
    from genkit.data.findings import in_words

    findings = sources.verify(wanted)
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


@data.command(cls=Command, params=flags_of(READING))
@click.argument("what", metavar="NAME|PATH")
@click.option(
    "--out",
    type=PathType(),
    metavar="FILE.png",
    help="Where the contact sheet goes.  [default: among the packed images, in $GENKIT_DATA]",
)
@json_option
def info(what: str, out: Path | None, as_json: bool, **given: Any) -> int:
    """Say what images are, before they are trained on: form, sizes, splits, classes, attributes, copies, what is wrong.

    Reads every image once. Works where training would refuse them: of several sizes, damaged, mislabelled; and says
    what to type to train on them. Draws some images of each class on a contact sheet. Exits with 0 where there are
    images, be they good or bad (`verify` judges).
    """
    if out is not None:
        if out.suffix.lower() != ".png":
            raise UsageError(f"--out {out}: the sheet is written as PNG; give a name that ends in .png")
        require_free(out)
    wanted = as_options(what, given)
    with loading():
        from genkit.data import overview, store
        from genkit.latent import contact_sheet, images

    found, survey = overview.look(wanted)
    sheet = None
    if found.images:
        sheet = out or store.sheet_of(found.source)
        name = what if what in all_sets() else Path(found.source).name
        images.save_png(sheet, contact_sheet.draw(survey, f"{name}: {counted(found.images, 'image')}"))
    emit({**found.model_dump(), "files": {"sheet": sheet}}, told(found, sheet), as_json)
    return 0 if found.images else 1


def all_sets() -> dict[str, str]:
    from genkit import data as sources

    return sources.names()


def told(found: Overview, sheet: Path | None) -> Iterator[str]:
    """What `info` prints for a person."""
    yield f"source      {found.source}"
    if found.form:
        yield f"form        {found.form}"
    if found.files:
        yield f"files       {found.files:,}"
    for array in found.arrays if len(found.arrays) > 1 or not found.images else []:
        of = f"{array.type} of shape ({', '.join(map(str, array.shape))})" if array.type else "can't be read"
        yield f"array       {array.name}: {of}"
    if found.images:
        yield from told_of_images(found)
    for problem in found.problems:
        yield f"fault       {problem}"
    if sheet is not None:
        yield f"sheet       {sheet}"
    lines = [*([found.next.command] if found.next.command else []), *found.next.because]
    for number, line in enumerate(lines):
        yield f"{'' if number else 'next':11} {line}"


def told_of_images(found: Overview) -> Iterator[str]:
    from genkit.data.findings import in_words

    copies = f" ({found.duplicates:,} of them exact copies of others)" if found.duplicates else ""
    yield f"images      {found.images:,}{copies}"
    yield from by_number("size", found.sizes)
    yield from by_number("mode", found.modes)
    yield f"colour      {colour(found)}"
    for each in found.values:
        kind = f"integers of {each.bits} bits" if each.bits else "floats"
        ends = "" if each.black == 0 else f"{each.black:,.9g} is black, "
        yield f"values      {each.low:,.9g} to {each.high:,.9g}, {kind}; {ends}{each.white:,.9g} is white"
    yield f"splits      {splits(found)}"
    for shared in found.shared:
        stand = f"{counted(shared.images, 'image')} of {shared.split} stand in {shared.also_in}, too"
        yield f"shared      {stand}; training leaves them out of {shared.split}"
    yield from table("classes", "class", found.classes, found)
    if found.contradictory:
        yield f"            {counted(found.contradictory, 'picture')} with copies in several classes"
    yield from table("attributes", "attribute", found.attributes, found)
    for note in found.notes:
        yield f"note        {note}"
    for warning in found.warnings:
        yield f"warning     {warning}"
    if found.left_out:
        yield f"left out    {in_words(found.left_out)}"


def by_number(name: str, counts: Mapping[str, int]) -> Iterator[str]:
    """A line each of the commonest."""
    rows = list(counts.items())
    for kind, count in rows[:MOST_SIZES]:
        yield f"{name:11} {kind}: {count:,}"
    others = rows[MOST_SIZES:]
    if others:
        yield f"{name:11} {counted(len(others), 'other')}: {sum(count for _, count in others):,}"


def colour(found: Overview) -> str:
    if found.grey == found.images:
        return "grey"
    if found.colourless == found.images:
        return "grey, though stored as colours"
    return "colour" + (f" ({counted(found.colourless, 'image')} without any)" if found.colourless else "")


def splits(found: Overview) -> str:
    counts = ", ".join(f"{name} {count:,}" for name, count in found.splits.items())
    missing = [name for name in ("val", "test") if name not in found.splits]
    if not counts:
        return "none of its own; val and test, a tenth each, are held out when it is trained on"
    return counts + (f"; {' and '.join(missing)} will be held out of train" if missing else "")


def table(title: str, one: str, rows: list[Counts], found: Overview) -> Iterator[str]:
    """How many images are of each class, or have each attribute; of many, the first and the rarest."""
    if not rows:
        return
    number = f"{len(rows):,}"
    listed = rows
    if len(rows) > LISTED:
        listed = rows[:FIRST]
        counts = sorted(each.images for each in rows)
        span = f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"
        number += f", of {span} images each; the first:"
    yield f"{title:11} {number}"
    yield from aligned(listed, found, one)
    if len(rows) > LISTED and counts[0] < counts[-1]:
        yield "            the rarest:"
        yield from aligned(sorted(rows, key=lambda each: each.images)[:RAREST], found, one)


def aligned(rows: list[Counts], found: Overview, one: str) -> Iterator[str]:
    width = min(40, max(len(row.name) for row in rows))
    digits = max(len(f"{row.images:,}") for row in rows)
    for row in rows:
        share = f"  {100 * row.images / max(1, found.images):5.1f} %" if one == "attribute" else ""
        parts = ", ".join(f"{name} {count:,}" for name, count in row.splits.items())
        line = f"            {row.name:{width}}  {row.images:>{digits},}{share}"
        yield f"{line}  ({parts})" if len(row.splits) > 1 else line


@data.command(cls=Command, params=flags_of((*READING, "fit", "channels")))
@click.argument("what", metavar="NAME|PATH")
@click.argument("out", type=PathType(), metavar="OUT.npz|OUT.parquet|FOLDER")
@click.option("--hold-out", is_flag=True, help="Also write the splits that training makes where there are none.")
@json_option
def convert(what: str, out: Path, hold_out: bool, as_json: bool, **given: Any) -> None:
    """Write images once, plain: pixels of 8 bits, with their splits, labels, names of classes, and attributes.

    \b
    OUT.npz      images (N, H, W) or (N, H, W, 3), labels, class_names, attributes,
                 attribute_names; with splits train_images, train_labels, and so on
    OUT.parquet  what `datasets` takes: a file, or, with splits, a folder of that
                 name with a file for each, train-00000-of-00001.parquet
    FOLDER       SPLIT/CLASS/NAME.png, with attributes.csv

    genkit reads each as what it was written from. The splits are the source's own; of a named set, and with --hold-out,
    those that are trained with. Without --image-size, images of several sizes keep them, but for an .npz, which has
    one. Nothing is overwritten. Prints what was written.
    """
    require_writable(out)
    require_free(out, "give another name")
    wanted = as_options(what, given)
    with loading():
        from genkit.data import convert as writing

    written = writing.convert(wanted, out, hold_out)
    logger.info("%s", ", ".join(counted(count, f"{part} image".lstrip()) for part, count in written.items()))
    of_splits = {part: count for part, count in written.items() if part}
    result = {"source": what, "images": sum(written.values()), "splits": of_splits, "files": {"out": out}}
    emit(result, [str(out)], as_json)


def require_writable(out: Path) -> None:
    """Refuse a name that says another kind of file, or needs a library that isn't here.

    Raises:
        UsageError
    """
    ending = out.suffix.lower()
    if ending in (*FILES, *OTHER_FILES) and ending not in (".npz", ".parquet"):
        raise UsageError(f"{out}: images are written as .npz, as .parquet, or as a folder; give such a name")
    if ending == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UsageError(f"{out}: Parquet needs pyarrow; pip install 'latent-genkit[formats]', or write .npz")
