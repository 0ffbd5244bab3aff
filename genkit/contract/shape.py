"""What one image is: channels, height, width."""

from __future__ import annotations

from typing import NamedTuple


class ImageShape(NamedTuple):
    """The shape of one image. Any height and width, and 1 or 3 channels, are normal cases."""

    channels: int
    height: int
    width: int

    @property
    def numbers(self) -> int:
        """How many numbers one image holds, channels counted."""
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"{self.channels}×{self.height}×{self.width}"
