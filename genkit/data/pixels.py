"""How is any picture brought to the wanted size and channels? One way for all sources, so that results agree."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image

from genkit.contract import ImageShape
from genkit.data import DataOptions, Fit
from genkit.data.levels import Whites

#: Pillow widens the filter when it shrinks an image, so this is antialiased; it rings less than Lanczos on drawn edges.
RESAMPLING = Image.Resampling.BICUBIC
#: Percent of a picture, of which it isn't said that no more is left: photographs of 3:2 keep 67.
LITTLE = 60


class Form(NamedTuple):
    """What images a model takes, and how any picture becomes one: as those that it was trained on did.

    Attributes:
        shape: of the images.
        fit: `DataOptions.fit`.
        whites: by the bits of a stored pixel, the number that is white in the set; see `levels`. None where it is what
            the format says, whatever the pixels are.
        white_level: `DataOptions.white_level` of the set.
    """

    shape: ImageShape
    fit: Fit = "crop"
    whites: Whites | None = MappingProxyType({})
    white_level: int | None = None


def wanted_shape(shape: ImageShape, options: DataOptions) -> ImageShape:
    """The shape that images of `shape` get."""
    size = options.image_size
    height, width = (size, size) if isinstance(size, int) else size or (shape.height, shape.width)
    return ImageShape(options.channels or shape.channels, height, width)


def conform(images: np.ndarray, shape: ImageShape, fit: Fit = "crop") -> np.ndarray:
    """uint8 (N, C, H, W), C being 1 or 3, brought to `shape` as `prepare` does; the same array if it has it already."""
    if images.shape[1:] == shape:
        return images
    pictures = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    return np.stack([prepare(Image.fromarray(picture), shape, fit) for picture in np.ascontiguousarray(pictures)])


def prepare(image: Image.Image, shape: ImageShape, fit: Fit = "crop") -> np.ndarray:
    """A picture of mode L or RGB as uint8 `shape`.

    Grey is made from colour by luma (ITU-R 601), colour from grey by repeating it.

    Args:
        fit: what becomes of a picture of another size. "crop" cuts it to the largest centred rectangle of the wanted
            proportions and resizes that; "pad" resizes all of it to fit, and puts black on both sides of it, or above
            and below; "stretch" resizes it to other proportions.
    """
    if shape.channels == 1:
        image = image.convert("L")
    if image.size != (shape.width, shape.height):
        image = _FITTED[fit](image, shape)
    if shape.channels == 3:
        image = image.convert("RGB")
    pixels = np.asarray(image)
    return pixels[None] if shape.channels == 1 else pixels.transpose(2, 0, 1)


def _cropped(image: Image.Image, shape: ImageShape) -> Image.Image:
    width = min(image.width, round(image.height * shape.width / shape.height))
    height = min(image.height, round(image.width * shape.height / shape.width))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.resize((shape.width, shape.height), RESAMPLING, box=(left, top, left + width, top + height))


def _padded(image: Image.Image, shape: ImageShape) -> Image.Image:
    width = min(shape.width, max(1, round(image.width * shape.height / image.height)))
    height = min(shape.height, max(1, round(image.height * shape.width / image.width)))
    canvas = Image.new(image.mode, (shape.width, shape.height))
    canvas.paste(image.resize((width, height), RESAMPLING), ((shape.width - width) // 2, (shape.height - height) // 2))
    return canvas


def _stretched(image: Image.Image, shape: ImageShape) -> Image.Image:
    return image.resize((shape.width, shape.height), RESAMPLING)


_FITTED = {"crop": _cropped, "pad": _padded, "stretch": _stretched}


def loss_by_crop(sizes: Iterable[tuple[int, int]], options: DataOptions) -> str | None:
    """What is to be said of how much of pictures, of these widths and heights, the crop leaves.

    None where that is what a photograph of usual proportions loses, or less.
    """
    if options.image_size is None or options.fit != "crop":
        return None
    wide, high = (1, 1) if isinstance(options.image_size, int) else options.image_size[::-1]
    shares = [100 * min(width * high, height * wide) / max(width * high, height * wide) for width, height in sizes]
    least, most = min(shares), max(shares)
    if least >= LITTLE:
        return None
    kept = f"{least:.0f} %" if round(least) == round(most) else f"{least:.0f} % to {most:.0f} %"
    what = "central square" if wide == high else f"centre of {wide}x{high}"
    return f"the {what} keeps {kept} of each picture; --fit pad keeps all of it"
