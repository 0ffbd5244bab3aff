"""The sets that are drawn rather than downloaded, `faces` and `scenes`: once by their painters, then packed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from genkit.contract import ImageShape
from genkit.data import DataOptions, pack
from genkit.data.dataset import Dataset
from genkit.data.findings import Findings
from genkit.data.pixels import wanted_shape
from genkit.data.sets import painter, scene_painter
from genkit.errors import DataError
from genkit.files import sha256_of

SIZE = 32
PAINTERS: dict[str, ModuleType] = {"faces": painter, "scenes": scene_painter}


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
