"""Which data sets are there, and how does a name or a path on the command line become images?

One file a source; this one only says which. It imports neither torch nor a source before one is asked for.
"""

from __future__ import annotations

import errno
import math
import os
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, Field, field_validator, model_validator

from genkit.data.sets.table import SETS
from genkit.errors import DataError, UsageError
from genkit.files import expanded
from genkit.wording import nearest

if TYPE_CHECKING:
    from genkit.data.dataset import Dataset
    from genkit.data.findings import Findings


#: What becomes of pictures of other proportions than the wanted ones; `pixels.prepare` says it.
Fit: TypeAlias = Literal["crop", "pad", "stretch"]


#: Pixels that an image is brought to, in each direction.
MIN_SIDE, MAX_SIDE = 8, 1024
#: What stands before the share of labels that are drawn anew.
CORRUPT = "corrupt:"


class DataOptions(BaseModel, extra="forbid", frozen=True):
    """Which images to use, and in which form: one set, or for some models a second one beside it."""

    dataset: Annotated[
        str,
        Field(
            min_length=1,
            description="A set that `genkit data list` names, or a path: a folder, an archive or a file of images, in "
            "one of the forms that docs/data.md lists.",
        ),
    ] = "mnist"
    image_size: Annotated[
        int | tuple[int, int] | None,
        Field(
            description="Bring each image to a square of this width, or to this height and width, by --fit. Of pixels "
            "that lie in rows it says how many there are.",
            json_schema_extra={"none": "as they are", "text": "N|H,W"},
        ),
    ] = None
    fit: Annotated[
        Fit,
        Field(description="With --image-size: crop each image to its centre, pad it with black, or stretch it."),
    ] = "crop"
    channels: Annotated[
        Literal[1, 3] | None,
        Field(description="1 for grey, 3 for colour.", json_schema_extra={"none": "detected"}),
    ] = None
    skip_bad: Annotated[
        int,
        Field(ge=0, description="Leave out up to this many files of a folder that can't be read, and name them."),
    ] = 0

    images: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Of a file of several arrays, variables or columns: which holds the images.",
            json_schema_extra={"none": "by their names"},
        ),
    ] = None
    labels: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Which holds the labels, likewise; `none` for no labels. Or, of any set, what becomes of the "
            "training images' labels: `random`, drawn from all classes; `corrupt:P`, each with odds P; `true`.",
            json_schema_extra={"none": "by their names, and true", "text": "NAME|none|true|random|corrupt:P"},
        ),
    ] = None
    pages: Annotated[
        Literal["first", "all"] | None,
        Field(
            description="Of files with several pages or frames (TIFF, GIF, APNG, WebP): the first, or all of them.",
            json_schema_extra={"none": "all of a file that is named itself, the first of each in a folder"},
        ),
    ] = None
    transpose: Annotated[
        bool | None,
        Field(
            description="Swap rows and columns of each image of an array, where what is found isn't right.",
            json_schema_extra={"none": "of MATLAB's and EMNIST's files, which lie so"},
        ),
    ] = None
    white_level: Annotated[
        int | None,
        Field(
            description="The stored number that is white, where what is found isn't right: 4095 for 12 bits in 16.",
            json_schema_extra={"none": "auto", "text": "auto|N"},
        ),
    ] = None

    only_classes: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Use the images of these classes alone, of every split: names, or numbers counted from 0, and "
            "ranges of either: 0-4,7.",
            json_schema_extra={"none": "all", "text": "NAME,N-N,…", "also": "classes"},
        ),
    ] = None
    labels_per_class: Annotated[
        int | None,
        Field(
            ge=1,
            description="Train on this many images of each class only; val, which picks the checkpoint, stays whole.",
            json_schema_extra={"none": "all"},
        ),
    ] = None
    labels_seed: Annotated[int, Field(ge=0, lt=2**63, description="Of the draw of --labels-per-class.")] = 0
    pixels: Annotated[
        Literal["true", "shuffled", "permuted", "gaussian"],
        Field(
            description="What becomes of all images' pixels: nothing; one permutation for all images; another for each "
            "image; or noise of the training images' mean and variance in their place."
        ),
    ] = "true"
    draw_seed: Annotated[int, Field(ge=0, lt=2**63, description="Of the draws of --labels and --pixels.")] = 0
    crop: Annotated[
        int | None,
        Field(
            ge=MIN_SIDE,
            le=MAX_SIDE,
            description="Cut each image to a square of so many pixels: training images at another place every epoch, "
            "all others at their centre.",
            json_schema_extra={"none": "whole"},
        ),
    ] = None
    crop_at: Annotated[
        Literal["random", "centre"],
        Field(description="With --crop: whether training images are cut at random places, or at their centre."),
    ] = "random"
    beside_images: Annotated[
        int | None,
        Field(
            ge=1,
            description="Of the second set, train on this many images only, drawn by --labels-seed whatever their "
            "labels; its val and test stay whole.",
            json_schema_extra={"none": "all"},
        ),
    ] = None
    beside: Annotated[
        str | None,
        Field(
            min_length=1,
            description="A second set, named as --dataset is, for a model that needs one. Its images get the first "
            "one's size and channels: cut to its proportions and resized (bilinear); --image-size is of both.",
            json_schema_extra={"none": "none"},
        ),
    ] = None

    def in_words(self) -> str:
        """`mnist`, `mnist (only classes 0-4)`, `mnist (random labels)`, or `mnist beside usps`."""
        facts = [] if self.only_classes is None else [f"only classes {self.only_classes}"]
        if self.corrupted is not None:
            facts.append("random labels" if self.labels == "random" else f"labels {self.labels}")
        facts += [] if self.pixels == "true" else [f"{self.pixels} pixels"]
        facts += [] if self.crop is None else [f"cut to {self.crop}×{self.crop}"]
        some = f" ({', '.join(facts)})" if facts else ""
        return f"{self.dataset}{some}" + ("" if self.beside is None else f" beside {self.beside}")

    @property
    def corrupted(self) -> float | None:
        """The odds by which a training image's label is drawn anew; None where the labels are left alone."""
        if self.labels is None or not (self.labels == "random" or self.labels.startswith(CORRUPT)):
            return None
        return 1.0 if self.labels == "random" else float(self.labels.removeprefix(CORRUPT))

    def as_read(self) -> DataOptions:
        """The options by which the images are read, before anything is done to labels or pixels."""
        labels = None if self.labels == "true" or self.corrupted is not None else self.labels
        done = {"labels": labels, "pixels": "true", "draw_seed": 0, "crop": None, "crop_at": "random"}
        return self.model_copy(update=done)

    def as_they_are(self) -> DataOptions:
        """The options of the same images with their own labels, all of them, and without a second set."""
        labels = {"labels": self.as_read().labels, "labels_per_class": None, "labels_seed": 0}
        return self.model_copy(update={**labels, "beside": None, "beside_images": None})

    @field_validator("labels")
    @classmethod
    def _odds(cls, value: str | None) -> str | None:
        """`corrupt:0.5` has a share in [0, 1]."""
        if value is None or not re.fullmatch("corrupt(:.*)?", value):
            return value
        try:
            odds = float(value.removeprefix(CORRUPT))
        except ValueError:
            odds = math.nan
        if not 0 <= odds <= 1:
            raise ValueError("give the share of labels that is drawn anew, from 0 to 1: corrupt:0.5")
        return value

    @model_validator(mode="after")
    def _go_together(self) -> DataOptions:
        if self.crop is None and self.crop_at != "random":
            raise ValueError("--crop-at says nothing without --crop; give that too, or leave --crop-at out")
        if self.crop is not None and self.crop_at == "random" and self.pixels != "true":
            raise ValueError(
                f"--pixels {self.pixels} and crops at random: a part of moved pixels is no part of an image; give "
                "--crop-at centre, or leave --crop out"
            )
        return self

    @field_validator("image_size", mode="before")
    @classmethod
    def _size(cls, value: object) -> object:
        """`28` is a square, `28,20` a height and a width."""
        if isinstance(value, str):
            parts = value.split(",")
            if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
                raise ValueError("give a width, such as 64, or a height and a width, such as 64,48")
            value = tuple(int(part) for part in parts) if len(parts) == 2 else int(value)
        sides = value if isinstance(value, tuple | list) else [value]
        if any(isinstance(side, int) and not MIN_SIDE <= side <= MAX_SIDE for side in sides):
            raise ValueError(f"images are {MIN_SIDE} to {MAX_SIDE} pixels wide and high")
        return value

    @field_validator("white_level", mode="before")
    @classmethod
    def _level(cls, value: object) -> object:
        """`auto` is None: what is found out of the pixels."""
        if value == "auto":
            return None
        if isinstance(value, str) and not value.isdigit():
            raise ValueError("give `auto`, or the number that is white, such as 4095")
        if isinstance(value, str | int) and not 1 <= int(value) <= 65535:
            raise ValueError("white is a number from 1 to 65,535")
        return value

    @property
    def side(self) -> int | None:
        """The width of the squares that images become; None where they become none."""
        return self.image_size if isinstance(self.image_size, int) else None

    @field_validator("channels", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        """A literal compares without converting, and the command line and variables bring strings."""
        return int(value) if value in ("1", "3") else value


#: By their names; each has a module in `sets`.
SOURCES = SETS


def names() -> dict[str, str]:
    """Each named set and one line about it."""
    return {name: source.description for name, source in SOURCES.items()}


def load(options: DataOptions | str | os.PathLike[str]) -> Dataset:
    """The images that `options` describe, split into train, val and test; fetched or packed first where needed.

    Args:
        options: or the name of a set, or a path, with which all else is as by default.

    Raises:
        DataError: when they aren't there, aren't what they should be, or can't be used; the message says what to do.
    """
    from genkit.data import some_classes

    if isinstance(options, str | os.PathLike):
        options = DataOptions(dataset=os.fspath(options))
    if not isinstance(options, DataOptions):
        raise DataError(f"load takes DataOptions, or a set's name or path, and not {type(options).__name__}")
    module = module_of(options.dataset)
    read = options.as_read()
    _require_of_use(read)
    return finished(some_classes.with_some_classes(module.load(read), options), options)


def finished(dataset: Dataset, options: DataOptions) -> Dataset:
    """What `load` returns, of images that have been read and narrowed to some classes.

    Raises:
        DataError, UsageError: where nothing is left of them, or that can't be done to them.
    """
    from genkit.data import few, randomised

    return randomised.as_asked(few.with_few_labels(dataset, options), options)


#: Options that say what somebody's own files mean. What those of a named set mean is known.
OF_FILES = ("images", "labels", "pages", "transpose", "white_level")


def _require_of_use(options: DataOptions) -> None:
    """Raises UsageError where an option says of a named set what its files mean."""
    given = [f"--{name.replace('_', '-')}" for name in OF_FILES if getattr(options, name) is not None]
    if given and options.dataset in SOURCES:
        raise UsageError(
            f"{' and '.join(given)}: of {options.dataset} that is known; leave {'it' if len(given) == 1 else 'them'} "
            "out, or name a file of yours by its path"
        )


def load_for_training(options: DataOptions) -> Dataset:
    """The same, with the second set beside it where `options` have one. Only training needs both.

    Raises:
        DataError: as `load`, of either.
        UsageError: when they have different sizes, which batches only bring together by cutting, and `fit` isn't that.
    """
    from genkit.data import few

    dataset, second = load(options), second_of(options)
    if second is None:
        return dataset
    beside = few.with_few_images(load(second), options)
    if options.fit != "crop" and beside.shape[1:] != dataset.shape[1:]:
        raise UsageError(
            f"--fit {options.fit}: {beside.name} has images of {beside.shape}, and {dataset.name} of {dataset.shape}; "
            "give --image-size, by which both are brought to one size"
        )
    return replace(dataset, beside=beside)


def at_hand_for_training(options: DataOptions) -> Dataset | None:
    """The same where all of it lies on this machine; else None. Nothing is fetched.

    Raises:
        DataError, UsageError: as `load_for_training`.
    """
    second = second_of(options)
    if missing(options) is not None or (second is not None and missing(second) is not None):
        return None
    return load_for_training(options)


def second_of(options: DataOptions) -> DataOptions | None:
    """The options by which the second set is loaded, in its own form but for --image-size; None where there is none.

    --channels, --only-classes, --labels-per-class and what is done to labels and pixels are of the first alone, and
    --beside-images is of training. The images get their channels as they get their size, when batches are made of them.
    """
    if options.beside is None:
        return None
    return DataOptions(
        dataset=options.beside, image_size=options.image_size, fit=options.fit, skip_bad=options.skip_bad
    )


class Missing(NamedTuple):
    """Images that aren't on this machine.

    Attributes:
        what: isn't here, in words, and how it gets here.
        fetched: whether `load` would fetch it.
    """

    what: str
    fetched: bool


def missing(options: DataOptions) -> Missing | None:
    """What `load` wouldn't find here; None where all is here. Nothing is fetched or packed."""
    try:
        module = module_of(options.dataset)
        return module.missing(options.dataset) if hasattr(module, "missing") else None
    except DataError as error:
        return Missing(str(error), False)


def located(options: DataOptions) -> DataOptions:
    """The same options with paths made absolute, so that they mean the same from any folder."""

    def absolute(name_or_path: str) -> str:
        return name_or_path if name_or_path in SOURCES else str(expanded(name_or_path).resolve())

    beside = options.beside and absolute(options.beside)
    return options.model_copy(update={"dataset": absolute(options.dataset), "beside": beside})


def lost(options: DataOptions) -> dict[str, str]:
    """The paths of images that aren't there (any more), by the option that names them."""
    named = {"dataset": options.dataset, "beside": options.beside}
    return {
        option: path
        for option, path in named.items()
        if path is not None and path not in SOURCES and file_of(expanded(path)) is None
    }


def require_there(options: DataOptions, instead: str) -> None:
    """Refuse to look for images where they lay once and don't any more.

    Args:
        instead: how to say where they are now, to which the options are added: "genkit train --resume RUN".

    Raises:
        DataError
    """
    gone = lost(options)
    if gone:
        flags = " ".join(f"--{option} NEW" for option in gone)
        raise DataError(
            f"{' and '.join(gone.values())}: the images that the run was trained on aren't there any more; where they "
            f"lie elsewhere now, say so with {instead}{flags}"
        )


def require_known(name_or_path: str) -> None:
    """Refuse what somebody has typed where it is neither a set's name nor the path of anything.

    Raises:
        UsageError
    """
    try:
        require_there_is(name_or_path)
    except DataError as error:
        raise UsageError(str(error)) from error


def fetch(name: str) -> list[Path]:
    """Make sure that a named set's files are on this machine, and are the right ones; return where they are.

    Raises:
        UsageError: when there is no such set.
        DataError: when it can't be had, or files that lie there aren't what was published.
    """
    if name not in SOURCES:
        raise UsageError(f"{name}: there is no such set to fetch; `genkit data list` names them{_meant(name)}")
    return module_of(name).fetch(name)


def verify(name_or_path: DataOptions | str | os.PathLike[str]) -> Findings:
    """Read every byte of a set, folder, array or packed set anew, and say what was found, faults included.

    Raises:
        DataError: when there is nothing to check.
    """
    name = name_or_path.dataset if isinstance(name_or_path, DataOptions) else os.fspath(name_or_path)
    module = module_of(name)
    if name in SOURCES:
        if isinstance(name_or_path, DataOptions):
            _require_of_use(name_or_path.as_read())
        return module.verify(name)
    return module.verify(name_or_path if isinstance(name_or_path, DataOptions) else DataOptions(dataset=name))


def module_of(name_or_path: str):  # type: ignore[no-untyped-def]  # a module of this package
    """The module that reads a set, or `forms`, which reads what lies at a path. A name goes before a path of the same
    spelling; `./mnist` is always the path.

    Raises:
        DataError: when there is neither.
    """
    require_there_is(name_or_path)
    in_package = f"sets.{SOURCES[name_or_path].module}" if name_or_path in SOURCES else "forms"
    return import_module(f"genkit.data.{in_package}")


def file_of(path: Path) -> Path | None:
    """The file or folder that lies at a path, or the file that it leads into: `a.zip` of `a.zip/train`.

    Raises:
        DataError: when a folder of the path isn't open to us.
    """
    try:
        return path if path.is_dir() else next((each for each in (path, *path.parents) if each.is_file()), None)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        raise DataError(f"{path}: can't be read ({error.strerror or error}); allow it") from error


def require_there_is(name_or_path: str) -> None:
    """Raises DataError where it is neither a set's name nor the path of a file or folder."""
    if not name_or_path or not (name_or_path in SOURCES or file_of(expanded(name_or_path))):
        raise DataError(
            f"{name_or_path}: no such file or folder, and no such set; `genkit data list` names those that there are"
            f"{_meant(name_or_path)}"
        )


def _meant(name: str) -> str:
    """What somebody may have meant by a name that no set has, for the end of a message."""
    # What is published together comes as several sets.
    parts = [known for known, each in SOURCES.items() if getattr(each, "folder", "") == name and not each.larger_of]
    return f"; {name} comes as {', '.join(parts)}" if parts else nearest(name, SOURCES)
