"""What are somebody's images, and what is to be typed to train on them?

Also of images that training would refuse as they are: of several sizes, damaged, mislabelled. That is when one wants to
know it.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from genkit.data import MAX_SIDE, MIN_SIDE, SOURCES, DataOptions, load, missing, pack
from genkit.data.dataset import fingerprint
from genkit.data.decode import without_warnings
from genkit.data.findings import Findings
from genkit.data.pixels import LITTLE
from genkit.data.survey import Survey
from genkit.errors import DataError
from genkit.files import expanded
from genkit.options import as_text
from genkit.wording import counted

#: Widths that are proposed: the largest that most pictures have.
SIDES = (8, 16, 28, 32, 48, 64)
#: Arrays of a file that are listed.
MOST_ARRAYS = 64
#: Pixels, wide or high, of which fewer are proposed, because a first model would take hours.
MANY = 128


class Values(BaseModel):
    """The numbers that pixels are stored as.

    Attributes:
        bits: of a pixel in a channel; 0 of floats.
        low, high: the smallest and the largest.
        black, white: the numbers that are taken for these.
    """

    bits: int
    low: float
    high: float
    black: float
    white: float


class Counts(BaseModel):
    """How many images are of a class, or have an attribute; in all, and in each of the source's own splits.

    Attributes:
        name: of the class, or the attribute.
        images: in all.
        splits: by the name of a split, as far as there are any.
    """

    name: str
    images: int
    splits: dict[str, int] = Field(default_factory=dict)


class Shared(BaseModel):
    """How many images of one split stand in another, too: `images` of `split` in `also_in`."""

    split: str
    also_in: str
    images: int


class Array(BaseModel):
    """What a file of arrays, or of columns, holds: `--images` and `--labels` take the names.

    Attributes:
        name: of the array.
        shape: numbers of its axes.
        type: of its elements, as NumPy calls it, of a column as Arrow does; of one that can't be read, "".
    """

    name: str
    shape: list[int]
    type: str


class Next(BaseModel):
    """What to type to train on the images.

    Attributes:
        command: None where they can't be trained on as they are.
        because: of each option, why, or what is to be mended.
    """

    command: str | None
    because: list[str] = Field(default_factory=list)


class Overview(Findings):
    """All that is known of a source, and what is wrong with it.

    Attributes:
        form: what it is, in words: "a folder of pictures".
        arrays: of a file of arrays, at most MOST_ARRAYS of them; of a table that isn't understood, its columns.
        grey: how many of its images are stored without colour; if all are, they stay grey.
        colourless: how many of them have no pixel that isn't grey, however they are stored.
        values: of the pixels as they are stored, one for each number of bits.
        own_splits: whether the splits are the source's own; what is missing is held out.
        splits: by name, how many images.
        shared: images that stand in two splits, from the first of which training leaves them out.
        contradictory: how many different pictures have copies in several classes.
        classes, attributes: in their order.
        warnings: what a person may not have meant.
        next: what to type.
    """

    form: str = ""
    arrays: list[Array] = Field(default_factory=list)
    grey: int = 0
    colourless: int = 0
    values: list[Values] = Field(default_factory=list)
    own_splits: bool = False
    splits: dict[str, int] = Field(default_factory=dict)
    shared: list[Shared] = Field(default_factory=list)
    contradictory: int = 0
    classes: list[Counts] = Field(default_factory=list)
    attributes: list[Counts] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    next: Next = Next(command=None)


def look(options: DataOptions) -> tuple[Overview, Survey]:
    """Read every image, and say what they are; the survey has some of them, to be shown.

    Of a file of arrays, or of columns, of which it can't be told what they are, only these are listed.

    Raises:
        DataError: when there are no images, or a named set isn't here.
    """
    if options.dataset in SOURCES:
        overview, survey = _of_set(options)
    else:
        arrays = list(_arrays_in(options))
        try:
            with without_warnings():
                overview, survey = _of_path(options)
        except DataError as error:
            arrays = arrays or list(_columns_in(options))
            if not arrays:
                raise
            overview = Overview(source=str(expanded(options.dataset).resolve()), files=1, problems=[str(error)])
            overview.arrays = arrays
            return overview, Survey(0)
        overview.arrays = arrays
    overview.next = _next(options, overview, len(survey.seen))
    return overview, survey


def _arrays_in(options: DataOptions) -> Iterator[Array]:
    """The arrays of a file, if it is one that holds some."""
    from genkit.data import forms
    from genkit.data.forms.places import Folder

    path = expanded(options.dataset).resolve()
    with suppress(DataError):
        form = forms.form_of(Folder(path.parent), path.name) if path.is_file() else None
        if form not in forms.HOLDERS:
            return
        holder = forms.named(forms.HOLDERS[form])(Folder(path.parent), path.name)
        for name in holder.names[:MOST_ARRAYS]:
            try:
                array = holder.open([name])[name]
                yield Array(name=array.member, shape=[*array.shape], type=str(array.dtype))
            except DataError:
                yield Array(name=name.member or name.file, shape=[], type="")


def _columns_in(options: DataOptions) -> Iterator[Array]:
    """The columns of a file that is a table, Parquet or Arrow."""
    from genkit.data import forms
    from genkit.data.forms.columns import ArrowShard, ParquetShard
    from genkit.data.forms.places import Folder

    path = expanded(options.dataset).resolve()
    kinds = {"parquet": ParquetShard, "arrow": ArrowShard}
    with suppress(DataError):
        form = forms.form_of(Folder(path.parent), path.name) if path.is_file() else None
        if form in kinds:
            shard = kinds[form](Folder(path.parent), path.name)
            for field in list(shard.schema)[:MOST_ARRAYS]:
                name = field.name if field.name.isprintable() else ascii(field.name)
                yield Array(name=name, shape=[shard.count], type=f"{field.type!s:.60}")


def _of_path(options: DataOptions) -> tuple[Overview, Survey]:
    from genkit.data import forms

    source = forms.understood(options)
    if not source.faults:
        source.complete()
    overview = Overview(source=str(expanded(options.dataset).resolve()), form=source.form)
    survey = Survey(source.count, source.labels, source.classes, source.attributes, source.attribute_names)
    source.enter(overview)
    overview.warnings = list(source.warnings)
    overview.notes = [note for note in overview.notes if note not in source.warnings]
    overview.next.because = list(source.faults)
    try:
        source.check(overview, survey)
    except DataError as error:
        overview.problems.append(str(error))
    parts = {} if source.parts is None else {name: source.parts == code for code, name in enumerate(pack.PARTS)}
    overview.own_splits = bool(parts)
    _count(overview, survey, parts, source.labels, source.classes)
    overview.attributes = _having(survey, parts, source.attributes, source.attribute_names)
    return overview, survey


def _of_set(options: DataOptions) -> tuple[Overview, Survey]:
    gone = missing(options)
    if gone is not None:
        raise DataError(f"{gone.what}; run `genkit data fetch {options.dataset}`" if gone.fetched else gone.what)
    # Some are packed, and in their full size would take hours.
    dataset = load(options)
    overview = Overview(source=options.dataset, form=SOURCES[options.dataset].description)
    overview.notes = list(dataset.notes)
    splits = [split for split in dataset.splits().values() if len(split)]

    def column(name: str) -> np.ndarray | None:
        """Of all images, those of one split after the other."""
        columns = [getattr(split, name) for split in splits]
        return None if any(each is None for each in columns) else np.concatenate([each.numpy() for each in columns])

    labels, attributes = column("labels"), column("attributes")
    survey = Survey(sum(map(len, splits)), labels, dataset.classes, attributes, dataset.attributes)
    survey.know(dataset.whites)
    start = 0
    for split in splits:
        for first in range(0, len(split), split.block_length()):
            images = split.images(slice(first, first + split.block_length())).numpy()
            survey.take_block(start, images, fingerprint(images), 8)
            start += len(images)
    shape = dataset.shape
    overview.count(survey.fingerprints, f"{shape.width}x{shape.height}", "L" if shape.channels == 1 else "RGB")
    codes = np.repeat(np.arange(len(pack.PARTS)), [len(split) for split in dataset.splits().values()])
    parts = {name: codes == code for code, name in enumerate(pack.PARTS)}
    _count(overview, survey, parts, labels, dataset.classes)
    overview.attributes = _having(survey, parts, attributes, dataset.attributes)
    return overview, survey


def _count(
    overview: Overview,
    survey: Survey,
    parts: Mapping[str, np.ndarray],
    labels: np.ndarray | None,
    classes: Sequence[str],
) -> None:
    """Enter what the survey has seen.

    Args:
        parts: of each split, which of the images (count,) are in it.
    """
    seen = survey.seen
    parts = {name: seen & those for name, those in parts.items() if those.any()}
    overview.grey, overview.colourless = survey.grey, survey.colourless
    overview.splits = {name: int(those.sum()) for name, those in parts.items()}
    for split, also_in in (("train", "test"), ("train", "val"), ("val", "test")):
        if split in parts and also_in in parts:
            both = np.isin(survey.fingerprints[parts[split]], survey.fingerprints[parts[also_in]])
            if both.any():
                overview.shared.append(Shared(split=split, also_in=also_in, images=int(both.sum())))
    for bits in sorted(survey.lows):
        found = survey.values(bits)
        white = survey.whites.get(bits, {8: 255, 16: 65535}.get(bits, 1))
        overview.values.append(
            Values(bits=bits, low=found.low, high=found.high, black=survey.blacks.get(bits, 0), white=white)
        )
    if labels is None:
        return

    def counts(those: np.ndarray) -> list[int]:
        return np.bincount(labels[those], minlength=len(classes)).tolist()

    by_split = {name: counts(those) for name, those in parts.items()}
    overview.classes = [
        Counts(name=name, images=images, splits={split: found[label] for split, found in by_split.items()})
        for label, (name, images) in enumerate(zip(classes, counts(seen), strict=True))
    ]
    pictures = np.unique(survey.fingerprints[seen], return_inverse=True)[1].reshape(-1)
    pairs = np.unique(pictures * len(classes) + labels[seen])
    overview.contradictory = int((np.bincount(pairs // len(classes)) > 1).sum()) if len(pairs) else 0


def _having(
    survey: Survey, parts: Mapping[str, np.ndarray], attributes: np.ndarray | None, names: Sequence[str]
) -> list[Counts]:
    """How many images have each attribute."""
    if attributes is None:
        return []

    def counts(those: np.ndarray) -> list[int]:
        return attributes[those].sum(0).tolist()

    by_split = {name: counts(survey.seen & those) for name, those in parts.items() if those.any()}
    return [
        Counts(name=name, images=images, splits={split: found[column] for split, found in by_split.items()})
        for column, (name, images) in enumerate(zip(names, counts(survey.seen), strict=True))
    ]


# ---------------------------------------------------------------------------------------------------------------------
# What to type
# ---------------------------------------------------------------------------------------------------------------------


def _next(options: DataOptions, overview: Overview, count: int) -> Next:
    """The command that trains on these images.

    Args:
        count: how many there are, bad ones included.
    """
    because = list(overview.next.because)
    if because:
        return Next(command=None, because=because)
    if overview.images - overview.duplicates < 3:
        return Next(command=None, because=["to train, validate and test takes three different images at least"])
    given = options.model_dump(exclude_defaults=True, exclude={"dataset"})
    if count > overview.images:
        bad = count - overview.images
        if bad > options.skip_bad:
            given["skip_bad"] = bad
            because.append(f"--skip-bad {bad}: {counted(bad, 'image')} can't be used; or mend what is bad")
    sizes = {tuple(map(int, size.split("x"))): number for size, number in overview.sizes.items()}
    if "image_size" not in given and (len(sizes) > 1 or max(map(max, sizes)) > MANY):
        side = _side(sizes)
        given["image_size"] = side
        why = f"there are {len(sizes):,} sizes" if len(sizes) > 1 else "a first model of fewer pixels is done sooner"
        because.append(f"--image-size {side}: {why}; any width from {MIN_SIDE} to {MAX_SIDE:,} will do")
        cut = sum(number for size, number in sizes.items() if 100 * min(size) < LITTLE * max(size))
        if "fit" not in given and 2 * cut > overview.images:
            given["fit"] = "pad"
            because.append(f"--fit pad: of most of the images a square would keep less than {LITTLE} %")
    if "channels" not in given and overview.grey < overview.images and overview.colourless == overview.images:
        given["channels"] = 1
        because.append("--channels 1: stored as colours, all pixels are grey")
    return Next(command=command("train vae", options.dataset, given), because=because)


def command(name: str, dataset: str, given: Mapping[str, Any]) -> str:
    """The line to type, with these options."""
    words = ["genkit", *name.split(), "--dataset", dataset]
    for option, value in given.items():
        flag = option.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", as_text(value)]
    return shlex.join(words)


def _side(sizes: Mapping[tuple[int, ...], int]) -> int:
    """A width for images of these sizes, of each so many: the largest proposed one that half of them have."""
    narrow = sorted((min(size), number) for size, number in sizes.items())
    half = sum(number for _, number in narrow) / 2
    totals = itertools.accumulate(number for _, number in narrow)
    median = next(side for (side, _), total in zip(narrow, totals, strict=True) if total >= half)
    return max((side for side in SIDES if side <= median), default=SIDES[0])
