"""How are those TIFFs read that Pillow doesn't read, or reads wrongly, where tifffile is installed?

Floats of 16 and 64 bits, signed bytes, large integers, and colours that lie plane by plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from genkit.data.raster import EXTRA, BadImage, Raster, silence

#: How a file begins, in two orders of bytes, each also as BigTIFF.
MARKS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
#: Tags (TIFF 6.0, section 8), and values of some.
BITS, DESCRIPTION, PLANES, SAMPLE_FORMAT = 258, 270, 284, 339
SEPARATE, SIGNED = 2, 2
#: By the letter of its type (NumPy's) and its bytes, what `Raster.mode` says of numbers, after "RGB;" if of colours.
MODES = {("b", 1): "1", ("u", 1): "L", ("u", 2): "I;16", ("f", 2): "F", ("f", 4): "F", ("f", 8): "F"}


def is_misread(image: Image.Image) -> bool:
    """Whether Pillow takes the numbers of a TIFF for others than they are."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    tags = image.tag_v2
    bits = tags.get(BITS, (1,))
    signed = SIGNED in tags.get(SAMPLE_FORMAT, (1,))
    planes = tags.get(PLANES, 1) == SEPARATE and len(bits) > 1
    return (
        (signed and max(bits) <= 8)
        or (max(bits) > 16 and image.mode == "I" and not signed)
        or (planes and max(bits) > 8)
    )


@contextmanager
def opened(file: BinaryIO) -> Iterator[Raster]:
    """The first page.

    Raises:
        BadImage: when tifffile isn't installed, or the page is of a kind that isn't read.
        Exception: whatever a damaged file makes it stumble over.
    """
    try:
        tifffile = import_module("tifffile")
    except ImportError:
        raise BadImage(f"is a TIFF of a kind that is read by tifffile, which isn't here; {EXTRA}") from None
    silence("tifffile")
    with tifffile.TiffFile(file) as whole:
        yield _Page(whole.pages[0])


class _Page(Raster):
    """A page that tifffile has opened."""

    format = "TIFF"

    def __init__(self, page: Any):
        self.page = page
        self.size, self.info = (page.imagewidth, page.imagelength), {}
        photometric = getattr(page.photometric, "name", str(page.photometric))
        if photometric not in ("MINISBLACK", "MINISWHITE", "RGB"):
            raise BadImage(f"is a TIFF of {photometric}, which isn't read in this depth; save it as grey or RGB")
        if page.samplesperpixel not in (1, 3, 4) or page.imagedepth != 1 or page.dtype is None:
            raise BadImage(f"is a TIFF of {page.samplesperpixel} channels, where 1, 3 or 4 are read; save some of them")
        self.negative = photometric == "MINISWHITE"
        dtype = np.dtype(page.dtype)
        mode = MODES.get((dtype.kind, dtype.itemsize), "I")
        if page.samplesperpixel > 1:
            colour = "RGB" if page.samplesperpixel == 3 else "RGBA"
            mode = {"L": colour, "I;16": f"{colour};16"}.get(mode, f"{colour};{mode}")
        self.mode = mode

    def numbers(self) -> np.ndarray:
        try:
            values: np.ndarray = self.page.asarray(maxworkers=1)
        except (KeyError, ValueError) as error:
            if "imagecodecs" not in str(error):
                raise
            compression = getattr(self.page.compression, "name", "unknown")
            raise BadImage(
                f"is a TIFF compressed as {compression}, which tifffile decodes with imagecodecs alone; "
                "pip install imagecodecs"
            ) from None
        if self.page.samplesperpixel == 1:
            return values.reshape(self.height, self.width)
        if self.page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        return values.reshape(self.height, self.width, self.page.samplesperpixel)
