"""How large may a picture become? What is more is refused before anything of its size is allocated.

Small images are enlarged only as far as there is room, so that what is refused is too large as it is.
"""

from __future__ import annotations

from genkit.contract import ImageShape
from genkit.errors import UsageError

#: Pixels of a sheet. Of more than 179 million Pillow believes that somebody means harm, and viewers and browsers give
#: up, too.
MOST_PIXELS = 1 << 27
#: Pixels of all frames of an animation, there and back.
MOST_FILM = 1 << 28
#: Numbers that images come to in all: a gigabyte of float32.
MOST_NUMBERS = 1 << 28
#: Pixels between a sheet's images, and between its rows.
GAP, ROW_GAP = 4, 10


def require_room(
    image: ImageShape, rows: int, columns: int, instead: str, *, film: bool = False, gap: int = GAP
) -> None:
    """Refuse a picture of rows × columns images that wouldn't fit.

    Args:
        image: the shape of one.
        instead: what to ask for, "fewer --seeds".
        film: whether its images are the frames of an animation, too.
        gap: pixels between images of a plain grid; of a sheet of rows, GAP.

    Raises:
        UsageError: with what it would come to, and how much is allowed.
    """
    count = rows * columns
    below = ROW_GAP if gap == GAP else gap
    sheet = rows * (image.height + below) * columns * (image.width + gap)
    frames = 2 * count * image.height * image.width if film else 0
    what = f"{count:,} images of {image}"
    if count * image.numbers > MOST_NUMBERS:
        raise UsageError(
            f"{what} would take {4 * count * image.numbers / 1e9:,.1f} GB, and at most {4 * MOST_NUMBERS / 1e9:.1f} GB "
            f"are used; give {instead}"
        )
    if sheet > MOST_PIXELS:
        raise UsageError(
            f"{what} would be a sheet of {sheet / 1e6:,.0f} million pixels, and at most {MOST_PIXELS / 1e6:.0f} "
            f"million are drawn; give {instead}"
        )
    if frames > MOST_FILM:
        raise UsageError(
            f"{what} would be an animation of {frames / 1e6:,.0f} million pixels, and at most {MOST_FILM / 1e6:.0f} "
            f"million are written; give {instead}"
        )
