"""The sets that are drawn rather than downloaded, `faces` and `scenes`: once by their painters, then packed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data import DataOptions, pack
from genkit.data.dataset import Dataset
from genkit.data.factors import Factor
from genkit.data.findings import Findings
from genkit.data.pixels import wanted_shape
from genkit.data.sets import painter, scene_painter
from genkit.errors import DataError
from genkit.files import sha256_of

SIZE = 32
PAINTERS: dict[str, ModuleType] = {"faces": painter, "scenes": scene_painter}
#: Up to which number of the trait `beard` it is full, stubble, and only a moustache (`painter.paint`).
BEARDS = (0.25, 0.45, 0.65)


def load(options: DataOptions) -> Dataset:
    """The pictures, drawn `image_size` pixels wide; test and val held out."""
    return _pack(options).dataset


def fetch(name: str) -> list[Path]:
    """Where the pictures are packed, after drawing them in their usual size if that hasn't been done."""
    return sorted(_pack(DataOptions(dataset=name)).folder.iterdir())


def verify(name: str) -> Findings:
    """Check the packs of the pictures, of whatever size."""
    findings = Findings(source=name)
    pack.verify_packs_of({"set": name}, findings)
    findings.files = len(findings.sums)  # the packs are all there is of this set
    if not findings.sums and not findings.problems:
        raise DataError(f"{name} haven't been drawn yet; run `genkit data fetch {name}`")
    return findings


def factors(name: str, rows: Tensor) -> list[Factor]:
    """What the faces at these rows of the set, int64 (N,), were painted from: the painter's 25 traits; [] of scenes.

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
    name, shape = options.dataset, wanted_shape(ImageShape(3, SIZE, SIZE), options)
    # Whoever changes how they are drawn gets new ones, without having to remember a version number.
    state = sha256_of(Path(str(PAINTERS[name].__file__)))
    return pack.open_or_write(pack.Key(name, {"set": name, "shape": shape}, state), lambda: _contents(name, shape))


def _contents(name: str, shape: ImageShape) -> pack.Contents:
    size = max(shape.height, shape.width)
    if name == "faces":
        images, attributes = painter.draw(size=size)
        pixels = pack.converted(images, shape)
        return pack.Contents(shape, len(images), pixels, attributes=attributes, attribute_names=painter.ATTRIBUTES)
    images, labels = scene_painter.draw(size=size)
    pixels = pack.converted(images, shape)
    return pack.Contents(shape, len(images), pixels, labels=labels, classes=scene_painter.CLASSES)
