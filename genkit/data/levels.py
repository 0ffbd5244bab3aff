"""Which of the numbers that a set's pixels are stored as is white?

Formats say it, and people don't keep to them: masks are 0 and 1 in a byte, scanners put 12 bits into 16. Read by the
format such pictures are near black, and a model learns black with a splendid loss. So it is asked of a set as a whole:
a single mask may be all 0, and a single scan underexposed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from genkit.errors import DataError

#: The number that is white, or those that are black and white.
White: TypeAlias = int | tuple[float, float]
#: By the bits of a pixel in a file, 8, 16 or 0 for floats, its white: what was found out of a set.
Whites: TypeAlias = Mapping[int, White]

#: Bits that a pixel may mean, of those that it is stored in.
DEPTHS = {8: (8,), 16: (8, 10, 12, 14, 16)}
#: The largest number of a set, but for 1, up to which it is no brightness: 5 bits, what maps of classes are made of.
FEW = 31
#: Where the brightest of all pixels is darker, in 8 bits, it is said.
DARK = 64
#: By so much floats may lie outside of 0 to 1: half a level of grey, which rounding takes away.
SLACK = 0.5 / 255


class Range:
    """The smallest and the largest number of a set's pixels, as far as they were seen.

    Args:
        bits: of a pixel, as it is stored: 8, 16, or 0 for floats.
    """

    whole = True  # no number seen has a fraction

    def __init__(self, bits: int):
        self.bits = bits
        self.low: float = math.inf
        self.high: float = -math.inf
        self.finite = True

    def see(self, values: np.ndarray) -> None:
        """Any number of pixels, at least one."""
        low, high = values.min(), values.max()
        self.finite = self.finite and bool(np.isfinite(low) and np.isfinite(high))
        self.low, self.high = min(self.low, low.item()), max(self.high, high.item())

    def include(self, other: Range) -> None:
        self.finite, self.whole = self.finite and other.finite, self.whole and other.whole
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    @property
    def settled(self) -> bool:
        """Whether more pixels wouldn't change what is white. (Of floats, and of what may be negative, all must be
        seen.)"""
        return {8: self.high >= DARK, 16: self.high >= 2 ** DEPTHS[16][-2], 0: False}[self.bits]

    def __str__(self) -> str:
        return f"{shown(self.low)} to {shown(self.high)}"


def shown(value: float) -> str:
    """A number with all the digits that tell it from its neighbours among 32-bit floats."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.9g}"


def white_of(found: Range) -> int:
    """The number that is white, by the range of a whole set of integers.

    Of 0 and 1, 1 is white. Larger numbers are of the smallest depth that holds them.

    Raises:
        DataError: when they aren't within 0 to 65,535, or too small for brightness; the message goes on after the name
            of a set.
    """
    if found.low < 0 or found.high > 65535:
        raise DataError(
            f"holds pixels of {found}, where integers from 0 to 65,535 are read; rescale them to 0 to 255, as uint8"
        )
    if found.high == 1:
        return 1
    if 1 < found.high <= FEW:
        raise DataError(
            f"holds pixels of 0 to {shown(found.high)} alone, as maps of classes do; taken for brightness they are "
            f"near black. With --white-level {found.high} they go from black to white, be they brightness or a map"
        )
    return depth_of(found)


def depth_of(found: Range) -> int:
    """The number that is white by the smallest depth that holds all of a range, be they as small as they may."""
    return next(2**bits - 1 for bits in DEPTHS[found.bits] if found.high < 2**bits)


def white_of_one(image_range: Range, whites: Whites, white_level: int | None = None) -> White:
    """What is white in a picture that comes alone, by what is known of the set that it is for.

    Where it doesn't fit into that, or nothing is known, its own range has to do; but `white_level`, which a person
    gave for the set, is of all its pictures.
    """
    known = whites.get(image_range.bits)
    if known is not None and (isinstance(known, tuple) or known == white_level):
        return known
    if image_range.bits == 0 or image_range.low < 0 or image_range.high > 65535:
        return scale_of_pictures(image_range)[0]
    if known is not None and image_range.high <= known and not (known == 255 and image_range.high == 1):
        return known
    return 1 if image_range.high == 1 else depth_of(image_range)


def ends_of(bits: int, whites: Whites) -> tuple[float, float]:
    """The numbers that are black and white; those of the format where nothing is known."""
    white = whites.get(bits, {8: 255, 16: 65535, 0: 1}[bits])
    return white if isinstance(white, tuple) else (0, white)


def to_bytes(values: np.ndarray, white: float, black: float = 0) -> np.ndarray:
    """Numbers from `black` to `white` as uint8 from 0 to 255, rounded; the same array where they are that already.

    What lies outside is cut.
    """
    if white == 255 and black == 0 and values.dtype == np.uint8:
        return values
    if black:
        values = values.astype(np.float64) - black
    return np.rint((values * (255 / (white - black))).clip(0, 255)).astype(np.uint8)


def remark(found: Range, white: int) -> str | None:
    """What is to be said of how integers were read, to go on after the name of a set; None where it goes without."""
    if white == 1:
        return "all pixels are 0 or 1, and 1 is taken for white"
    if found.bits == 16:
        depth = white.bit_length()
        if depth == 16:
            return f"pixels of 16 bits: {white:,} is taken for white"
        return f"pixels go from {found}, which {depth} bits hold: {white:,} is taken for white"
    return dark(found.high * 255 / white, int(found.high))


def dark(brightest: float, level: int | None = None) -> str | None:
    """What is to be said of a set whose brightest pixel is this, of 255, and `level` as it is stored."""
    if not 0 < brightest < DARK:
        return None
    remedy = "brighten the images" if level is None else f"--white-level {level} takes that for white"
    return f"the brightest of all pixels is {brightest:.0f} of 255, nearly black; {remedy}, if it should be bright"


def require_floats(found: Range) -> None:
    """Refuse floats that don't go from 0 (black) to 1 (white), by the range of a whole set.

    Raises:
        DataError: the message goes on after the name of a set.
    """
    if not found.finite:
        raise DataError("holds NaN or infinity; leave those images out, or put numbers there")
    low, high = found.low, found.high
    if low >= -SLACK and high <= 1 + SLACK:
        if 0 < high * 255 <= FEW:
            raise DataError(
                f"floats from {found}, of which 1 is white, so that all is near black; save x / {shown(high)}, or "
                "x * 255 if they were divided twice"
            )
        return
    if low >= -1 - SLACK and high <= 1 + SLACK:
        remedy = "save (x + 1) / 2"
    elif low >= -SLACK and high > FEW and high <= 65535:
        white = next(2**bits - 1 for bits in DEPTHS[16] if high < 2**bits)
        remedy = f"save x / {white}"
    elif low >= -0.1 and high <= 1.1:
        remedy = "save numpy.clip(x, 0, 1)"
    else:
        remedy = "rescale them: (x - x.min()) / (x.max() - x.min())"
    raise DataError(f"floats from {found}, where 0 (black) to 1 (white) is expected; {remedy}")


# ---------------------------------------------------------------------------------------------------------------------
# Arrays, which have no format that says it
# ---------------------------------------------------------------------------------------------------------------------

#: By so much floats may lie outside of 0 to 1, or of -1 to 1, and be cut: what resizing by splines leaves.
OVERSHOOT = 0.1


class Numbers(Range):
    """The same, with whether all of them are whole, of floats, too."""

    def see(self, values: np.ndarray) -> None:
        if values.dtype.kind == "f":
            # Sums of extremes are warned of, and are found below.
            with np.errstate(all="ignore"):
                super().see(values)
                self.low, self.high = float(self.low), float(self.high)
                self.whole = self.whole and self.finite and bool((values == np.rint(values)).all())
        else:
            super().see(values)


class Scale(NamedTuple):
    """How an array's numbers become bytes.

    Attributes:
        black, white: the numbers that are 0 and 255; what lies outside is cut.
        bits: of a pixel, as it is stored: 8, 16, or 0 for floats that aren't whole.
        note: what is to be said of it, or None where it is plain.
    """

    black: float
    white: float
    bits: int
    note: str | None = None

    def to_bytes(self, values: np.ndarray) -> np.ndarray:
        """Numbers of any shape as uint8, rounded; the same array where they are that already."""
        if values.dtype == np.uint8 and (self.black, self.white) == (0, 255):
            return values
        # A float32 has digits enough for the usual scales, and float64 for all.
        if values.dtype != np.float32 or self.black != 0 or self.white < 1:
            values = values.astype(np.float64)
        scaled = (values - self.black if self.black else values) * (255 / (self.white - self.black))
        return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)

    @property
    def whites(self) -> Whites:
        """By the bits of a pixel the number that is white, for pictures that come later."""
        return {self.bits: int(self.white)} if self.bits and self.black == 0 and self.white <= 65535 else {}


def scale_of(found: Range, white_level: int | None = None) -> Scale:
    """The scale of an array, by the range of all its numbers.

    Whole numbers from 0 on are of the smallest depth that holds them, or, where they are 31 at most, up to the largest;
    floats go from 0 to 1 or from -1 to 1. All else goes from the least number, black, to the largest, white.

    Args:
        white_level: the number that is white, black being 0.

    Raises:
        DataError: when they aren't finite, or all the same; the message goes on after the name of an array.
    """
    if not found.finite:
        raise DataError("holds NaN or infinity; leave those images out, or put numbers there")
    low, high, bits = found.low, found.high, found.bits
    if low == high != 0:
        raise DataError(f"all of its numbers are {shown(low)}, in which there is no picture; is it the right array?")
    if white_level is not None:
        cut = f"; pixels go from {found}, and those outside are cut" if low < 0 or high > white_level else ""
        return Scale(0, white_level, bits, f"{white_level:,} is taken for white, as --white-level says{cut}")
    if bits == 0 and low >= -OVERSHOOT and high * 255 > FEW and high <= 1 + OVERSHOOT:
        within = low >= -SLACK and high <= 1 + SLACK
        cut = f"pixels go from {found}: 0 is taken for black, 1 for white"
        return Scale(0, 1, 0, dark(high * 255) if within else cut)
    if low >= 0 and found.whole and high <= 65535:
        # Floats hold bytes as often as they hold more.
        whole = Range(bits or (8 if high <= 255 else 16))
        whole.low, whole.high = int(low), int(high)
        if FEW >= high > 1:
            note = (
                f"pixels are whole numbers up to {whole.high}: {whole.high} is taken for white, though a map of "
                "classes would look so, too; --white-level N says otherwise"
            )
            return Scale(0, whole.high, whole.bits, note)
        white = 1 if high == 1 else depth_of(whole)
        return Scale(0, white, whole.bits, remark(whole, white))
    if bits == 0 and low >= -SLACK and 127.5 < high <= 255.5:
        return Scale(0, 255, 0, f"pixels go from {found}: 255 is taken for white")
    if -1 - OVERSHOOT <= low <= -OVERSHOOT and high <= 1 + OVERSHOOT and max(-low, high) >= 0.5:
        return Scale(-1, 1, 0, f"pixels go from {found}: -1 is taken for black, 1 for white")
    if not 1e-300 < high - low < 1e300:
        raise DataError(f"pixels go from {found}, which is no scale of brightness; rescale them to 0 to 255, as uint8")
    return Scale(low, high, 0, f"pixels go from {found}: {shown(low)} is taken for black, {shown(high)} for white")


# ---------------------------------------------------------------------------------------------------------------------
# Pictures, whose format says something
# ---------------------------------------------------------------------------------------------------------------------


def scale_of_pictures(found: Range, white_level: int | None = None) -> tuple[White, str | None]:
    """What is white in pictures of one kind, by the range of all their pixels, and what is to be said of it.

    Integers from 0 to 65,535 are as `white_of` says. All else, which is what was measured rather than brightness, is as
    numbers of arrays are.

    Args:
        white_level: the number that is white, black being 0; of 8 bits only if it is one of them.

    Raises:
        DataError: when they aren't finite, or are taken for a map of classes; the message goes on after the name of a
            set.
    """
    if found.bits == 8 and white_level is not None and white_level > 255:
        white_level = None
    if white_level is None and found.bits and found.low >= 0 and found.high <= 65535:
        white = white_of(found)
        return white, remark(found, white)
    scale = scale_of(found, white_level)
    if scale.black == 0 and scale.white == int(scale.white) <= 65535 and found.bits:
        return int(scale.white), scale.note
    return (scale.black, scale.white), scale.note
