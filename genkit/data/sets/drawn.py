"""The sets that are drawn rather than downloaded: once by their painters, then packed.

`faces`, `scenes`, and `textured-digits`, whose digits are those of `mnist5k`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data import DataOptions, Missing, pack
from genkit.data.dataset import Dataset
from genkit.data.factors import Factor
from genkit.data.findings import Findings
from genkit.data.pixels import conform, wanted_shape
from genkit.data.sets import digit_painter, mnist5k, painter, scene_painter
from genkit.errors import DataError
from genkit.files import sha256_of

SIZE, DIGITS_SIZE = 32, 28
DIGITS = "textured-digits"
PAINTERS: dict[str, ModuleType] = {"faces": painter, "scenes": scene_painter, DIGITS: digit_painter}
#: Up to which number of the trait `beard` it is full, stubble, and only a moustache (`painter.paint`).
BEARDS = (0.25, 0.45, 0.65)


def load(options: DataOptions) -> Dataset:
    """The pictures, drawn `image_size` pixels wide; test and val held out."""
    return _pack(options).dataset


def fetch(name: str) -> list[Path]:
    """Where the pictures are packed, after drawing them in their usual size if that hasn't been done."""
    return sorted(_pack(DataOptions(dataset=name)).folder.iterdir())


def missing(name: str) -> Missing | None:
    """Why the pictures can't be drawn here, in words; None where they can."""
    return mnist5k.missing(name) if name == DIGITS else None


def verify(name: str) -> Findings:
    """Check the packs of the pictures, of whatever size."""
    findings = Findings(source=name)
    pack.verify_packs_of({"set": name}, findings)
    findings.files = len(findings.sums)  # the packs are all there is of this set
    if not findings.sums and not findings.problems:
        raise DataError(f"{name} haven't been drawn yet; run `genkit data fetch {name}`")
    return findings


def factors(name: str, rows: Tensor) -> list[Factor]:
    """What the faces at these rows of the set, int64 (N,), were painted from: the painter's 25 traits; [] of others.

    Those that a face has or lacks are the attributes, a haircut is one of five, a beard is full, stubble, a moustache
    or none; all else is a number in [0, 1).
    """
    if name != "faces":
        return []
    traits = painter.traits(painter.COUNT, 0)
    values = {name: torch.from_numpy(column)[rows] for name, column in traits._asdict().items()}
    levels: dict[str, tuple[Tensor, int]] = {
        name: ((values[name] < 0.5).double(), 2) for name in traits._fields[: len(painter.ATTRIBUTES)]
    }
    levels["haircut"] = (values["haircut"] * len(painter.MENS_HAIR)).floor(), len(painter.MENS_HAIR)
    levels["beard"] = torch.bucketize(values["beard"], torch.tensor(BEARDS), right=True).double(), len(BEARDS) + 1
    return [Factor(name.replace("_", "-"), *levels.get(name, (column, 0))) for name, column in values.items()]


def _pack(options: DataOptions) -> pack.Pack:
    name = options.dataset
    size = DIGITS_SIZE if name == DIGITS else SIZE
    shape = wanted_shape(ImageShape(3, size, size), options)
    # Whoever changes how they are drawn gets new ones, without having to remember a version number.
    painted = sha256_of(Path(str(PAINTERS[name].__file__)))
    state: str | list[str] = painted
    if name == DIGITS:
        state = [painted, sha256_of(Path(str(scene_painter.__file__))), mnist5k.SHA256]
    return pack.open_or_write(pack.Key(name, {"set": name, "shape": shape}, state), lambda: _contents(name, shape))


def _contents(name: str, shape: ImageShape) -> pack.Contents:
    size = max(shape.height, shape.width)
    if name == "faces":
        images, attributes = painter.draw(size=size)
        pixels = pack.converted(images, shape)
        return pack.Contents(shape, len(images), pixels, attributes=attributes, attribute_names=painter.ATTRIBUTES)
    if name == DIGITS:
        digits, labels, parts = _digits(size)
        pixels = pack.converted(digit_painter.draw(digits), shape)
        return pack.Contents(shape, len(digits), pixels, labels=labels, parts=parts, classes=mnist5k.CLASSES)
    images, labels = scene_painter.draw(size=size)
    pixels = pack.converted(images, shape)
    return pack.Contents(shape, len(images), pixels, labels=labels, classes=scene_painter.CLASSES)


def _digits(size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8]]:
    """The digits of `mnist5k`, uint8 (5,000, size, size), int64 (5,000,) labels, and of which split each is there.

    The splits are kept: what is held out of one of the two sets is in no other form among the other's training images.
    """
    dataset = mnist5k.load(DataOptions(dataset=mnist5k.NAME))
    labels, parts = np.empty(mnist5k.COUNT, np.int64), np.empty(mnist5k.COUNT, np.uint8)
    for name, split in dataset.splits().items():
        assert split.labels is not None
        labels[split.rows], parts[split.rows] = split.labels, pack.PARTS.index(name)
    digits = conform(dataset.train.storage.numpy(), ImageShape(1, size, size))
    return digits[:, 0], labels, parts
