"""The set `faces`: drawn once by `painter.py`, then packed."""

from __future__ import annotations

from pathlib import Path

from genkit.contract import ImageShape
from genkit.data import DataOptions, pack
from genkit.data.dataset import Dataset
from genkit.data.findings import Findings
from genkit.data.pixels import wanted_shape
from genkit.data.sets import painter
from genkit.errors import DataError
from genkit.files import sha256_of

NAME = "faces"
SIZE = 32


def load(options: DataOptions) -> Dataset:
    """The faces, drawn `image_size` pixels wide; test and val held out."""
    return _pack(options).dataset


def fetch(name: str) -> list[Path]:
    """Where the faces are packed, after drawing them in their usual size if that hasn't been done."""
    return sorted(_pack(DataOptions(dataset=NAME)).folder.iterdir())


def verify(name: str) -> Findings:
    """Check the packs of faces, of whatever size."""
    findings = Findings(source=NAME)
    pack.verify_packs_of({"set": NAME}, findings)
    findings.files = len(findings.sums)  # the packs are all there is of this set
    if not findings.sums and not findings.problems:
        raise DataError(f"{NAME} haven't been drawn yet; run `genkit data fetch {NAME}`")
    return findings


def _pack(options: DataOptions) -> pack.Pack:
    shape = wanted_shape(ImageShape(3, SIZE, SIZE), options)
    # Whoever changes how faces are drawn gets new ones, without having to remember a version number.
    state = sha256_of(Path(painter.__file__))
    return pack.open_or_write(pack.Key(NAME, {"set": NAME, "shape": shape}, state), lambda: _contents(shape))


def _contents(shape: ImageShape) -> pack.Contents:
    images, attributes = painter.draw(size=max(shape.height, shape.width))
    return pack.Contents(
        shape,
        len(images),
        pack.converted(images, shape),
        attributes=attributes,
        attribute_names=painter.ATTRIBUTES,
    )
