"""How are colours of 16 bits a channel read, of which Pillow keeps the upper 8?"""

from __future__ import annotations

from typing import Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageFile

from genkit.data.raster import Raster

#: What Pillow knows of a piece of a picture: decoder, place, offset in the file and arguments; in some versions named.
Tile: TypeAlias = Any
#: How Pillow's decoders call colours of 16 bits, and the same with the bytes of each number swapped.
SWAPPED = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B"))
}


class Deep(Raster):
    """A picture of 16 bits a channel, which is decoded twice.

    Pillow takes the upper byte of each number, and where it is told that the bytes lie the other way round, the lower.

    Args:
        image: as Pillow opened it, not yet loaded.
        file: what it was opened from.
        skipped: by so many bytes its pixels lie behind those that the file names.
    """

    def __init__(self, image: Image.Image, file: BinaryIO, skipped: int = 0):
        self.image, self.file, self.skipped = image, file, skipped
        self.size, self.format, self.info = image.size, image.format or "", dict(image.info)
        self.mode = f"{image.mode};16"

    def getexif(self) -> Image.Exif:
        return self.image.getexif()

    def numbers(self) -> np.ndarray:
        self.image.load()
        upper = np.asarray(self.image)
        self.file.seek(0)
        with Image.open(self.file, formats=[self.format]) as again:
            assert isinstance(again, ImageFile.ImageFile)
            again.tile = [_swapped(tile, self.skipped) for tile in again.tile]
            again.load()
            lower = np.asarray(again)
        values = upper.astype(np.uint16) << 8 | lower
        clear = self.info.get("transparency")
        if values.shape[-1] == 3 and isinstance(clear, tuple) and len(clear) == 3:
            opaque = (values != np.array(clear, np.uint16)).any(-1, keepdims=True)
            values = np.concatenate([values, opaque.astype(np.uint16) * 65535], -1)
        return values


def is_deep(image: Image.Image) -> bool:
    """Whether Pillow would leave out the lower bytes, and these can be had."""
    tiles = getattr(image, "tile", [])
    return image.mode in ("RGB", "RGBA") and bool(tiles) and all(_raw_mode(tile) in SWAPPED for tile in tiles)


def _raw_mode(tile: Tile) -> str:
    args = tile[3]
    return args if isinstance(args, str) else str(args[0]) if isinstance(args, tuple) and args else ""


def _swapped(tile: Tile, skipped: int) -> Tile:
    return moved(tile, skipped, SWAPPED[tile[3]] if isinstance(tile[3], str) else (SWAPPED[tile[3][0]], *tile[3][1:]))


def moved(tile: Tile, skipped: int, arguments: Any = None) -> Tile:
    """A piece of a picture that lies `skipped` bytes further on."""
    name, extents, offset, before = tile
    values = name, extents, offset + skipped, before if arguments is None else arguments
    return type(tile)(*values) if hasattr(tile, "_fields") else values
