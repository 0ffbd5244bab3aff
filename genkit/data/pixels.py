"""How is any picture brought to the wanted size and channels? One way for all sources, so that results agree."""

from __future__ import annotations

import numpy as np
from PIL import Image

from genkit.contract import ImageShape
from genkit.data import DataOptions

#: Pillow widens the filter when it shrinks an image, so this is antialiased; it rings less than Lanczos on drawn edges.
RESAMPLING = Image.Resampling.BICUBIC


def wanted_shape(shape: ImageShape, options: DataOptions) -> ImageShape:
    """The shape that images of `shape` get."""
    size = options.image_size
    height, width = (shape.height, shape.width) if size is None else (size, size)
    return ImageShape(options.channels or shape.channels, height, width)


def conform(images: np.ndarray, shape: ImageShape) -> np.ndarray:
    """uint8 (N, C, H, W), C being 1 or 3, brought to `shape` as `prepare` does; the same array if it has it already."""
    if images.shape[1:] == shape:
        return images
    pictures = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    return np.stack([prepare(Image.fromarray(picture), shape) for picture in np.ascontiguousarray(pictures)])


def prepare(image: Image.Image, shape: ImageShape) -> np.ndarray:
    """A picture of mode L or RGB as uint8 `shape`.

    A picture of another size is cut to the largest centred rectangle of the wanted proportions and resized. Grey is
    made from colour by luma (ITU-R 601), colour from grey by repeating it.
    """
    if shape.channels == 1:
        image = image.convert("L")
    if image.size != (shape.width, shape.height):
        width = min(image.width, round(image.height * shape.width / shape.height))
        height = min(image.height, round(image.width * shape.height / shape.width))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.resize((shape.width, shape.height), RESAMPLING, box=(left, top, left + width, top + height))
    if shape.channels == 3:
        image = image.convert("RGB")
    pixels = np.asarray(image)
    return pixels[None] if shape.channels == 1 else pixels.transpose(2, 0, 1)
