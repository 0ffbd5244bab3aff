"""How is HEIF read, what phones take photographs in, where pillow-heif is installed?

Pillow isn't told of it, so that nothing changes for a program that uses genkit.
"""

from __future__ import annotations

from importlib import import_module
from typing import BinaryIO

from PIL import Image

from genkit.data.raster import EXTRA, BadImage

#: What files of HEVC may call themselves; they and others may also say that they are any HEIF, or name it second.
BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"}
ANY_BRANDS = {b"mif1", b"msf1", b"mif2", b"1pic"}
#: Endings of names, and the library that reads them.
LIBRARY = "pillow_heif"
ENDINGS = (".heic", ".heif", ".hif")
#: Larger files aren't read: they are held whole.
MOST_BYTES = 1 << 30


def is_heif(beginning: bytes) -> bool:
    """Whether a file is one, other than AVIF, which Pillow reads."""
    if beginning[4:8] != b"ftyp":
        return False
    length = min(int.from_bytes(beginning[:4], "big"), len(beginning))
    brands = {beginning[8:12], *(beginning[at : at + 4] for at in range(16, length - 3, 4))}
    return bool(brands & BRANDS) or bool(brands & ANY_BRANDS and not brands & {b"avif", b"avis"})


def opened(file: BinaryIO, size: int) -> Image.Image:
    """The first picture, which the file calls its primary one, turned as the file says.

    Args:
        size: bytes of the file.

    Raises:
        BadImage: when pillow-heif isn't installed.
        Exception: whatever a damaged file makes it stumble over.
    """
    if size > MOST_BYTES:
        raise BadImage(f"is a HEIF of {size:,} bytes, which is held whole and therefore not read; make it smaller")
    try:
        plugin = import_module("pillow_heif.as_plugin")
    except ImportError:
        raise BadImage(f"is HEIF, which is read by pillow-heif, which isn't here; {EXTRA}") from None
    image: Image.Image = plugin.HeifImageFile(file)
    return image
