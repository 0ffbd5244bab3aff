"""What is a picture that Pillow doesn't decode, or not wholly: of colours of 16 bits, of numbers that were measured?"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

#: What installs every library beyond NumPy and Pillow that some form of images needs.
EXTRA = "pip install 'latent-genkit[formats]'"


def is_here(module: str) -> bool:
    """Whether a library is installed. It isn't imported."""
    return find_spec(module) is not None


def silence(library: str) -> None:
    """Keep what a library logs of odd files off the screen, where a program hasn't said where else to put it."""
    logger = logging.getLogger(library)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


class BadImage(ValueError):
    """A file that can't be used; the message continues a sentence that begins with the file's name."""


class Raster(ABC):
    """A picture whose header was read. It has the attributes of Pillow's that are asked for.

    Attributes:
        size: width and height.
        mode: "1", "L", "RGB" or "RGBA" of 8 bits, "I;16", "I" (which may be negative), "RGB;16" or "RGBA;16" of more,
            "F" or "RGB;F" of floats.
        format: as Pillow would call it.
        pages: of its file.
        negative: whether the least number is white.
        info: nothing; the picture is upright.
    """

    size: tuple[int, int]
    mode: str
    format: str
    pages: int = 1
    negative: bool = False
    info: dict[Any, Any]

    @property
    def width(self) -> int:
        return self.size[0]

    @property
    def height(self) -> int:
        return self.size[1]

    @abstractmethod
    def numbers(self) -> np.ndarray:
        """Its pixels as they are stored: (H, W), or (H, W, C) where C is 3, or 4 with opacity as the last.

        Raises:
            Exception: whatever a damaged file makes a decoder stumble over.
        """

    def getexif(self) -> Mapping[int, Any]:
        """Of what the camera noted."""
        return {}
