"""How are colours of 16 bits a channel read, of which Pillow keeps the upper 8?"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile

from genkit.data.raster import Raster

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
        upper = np.asarray(self.image)
        self.file.seek(0)
        with Image.open(self.file, formats=[self.format]) as again:
            assert isinstance(again, ImageFile.ImageFile)
            again.tile = [_swapped(tile, self.skipped) for tile in again.tile]
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


def _raw_mode(tile: tuple) -> str:  # type: ignore[type-arg]  # Pillow's, which is a NamedTuple in some versions
    args = tile[3]
    return args if isinstance(args, str) else str(args[0]) if isinstance(args, tuple) and args else ""


def _swapped(tile: tuple, skipped: int):  # type: ignore[type-arg,no-untyped-def]
    name, extents, offset, args = tile
    changed = SWAPPED[args] if isinstance(args, str) else (SWAPPED[args[0]], *args[1:])
    return name, extents, offset + skipped, changed
