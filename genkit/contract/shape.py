"""What one image is: channels, height, width; and how a model that takes no other axes refuses an image that has them.

An image with an axis more, as a clip's time, is to be another class of named axes beside `ImageShape`.
"""

from __future__ import annotations

from typing import NamedTuple

from genkit.errors import UsageError


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


def require_axes(name: str, axes: tuple[str, ...], shape: tuple[int, ...]) -> None:
    """Refuse images that have other axes than a model takes, or none that have names.

    Args:
        name: of the model.
        axes: that it takes, in order, by their names: `Model.axes`.
        shape: of one image: an `ImageShape`.

    Raises:
        UsageError
    """
    found = getattr(shape, "_fields", ())
    if found != axes:
        sizes = "×".join(map(str, shape))
        what = f"{' × '.join(found)}, {sizes}" if found else f"{sizes}, without names of axes"
        raise UsageError(f"{name} takes images of {' × '.join(axes)}, and these are {what}")
