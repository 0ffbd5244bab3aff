"""Where do pictures with known attributes come from when nothing can be downloaded? Cartoon faces, drawn by seed.

Each face is one row of uniform random numbers (`Traits`). They choose its colours and proportions, and it is painted
back to front, each shape being a distance from an outline that fades over one pixel. Pixels see only sums, products,
quotients, square roots and comparisons: IEEE 754 rounds those the same way everywhere, so the bytes are the same too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genkit.errors import UsageError

ATTRIBUTES = ("male", "glasses", "smile", "facing-left")
COUNT = 20_000
SMALLEST, LARGEST = 16, 128

#: Pixels painted at a time: few enough that they stay in the processor's cache from one shape to the next.
CHUNK = 1 << 15

Floats = NDArray[np.floating]
Number = float | Floats
Column = NDArray[np.float64]


def draw(count: int = COUNT, size: int = 32, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw faces 0 to `count` - 1 of `seed`.

    A face depends on `seed` and its number only: a larger `count` appends faces, a larger `size` shows the same ones
    in more detail.

    Returns:
        images: uint8 (count, 3, size, size), RGB.
        attributes: bool (count, 4), one column an entry of `ATTRIBUTES`, fair coins all independent of each other.

    Raises:
        UsageError: for a `size` outside SMALLEST..LARGEST, or a negative `count` or `seed`.
    """
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"faces can't be drawn {size} pixels wide; give a size from {SMALLEST} to {LARGEST}")
    if count < 0 or seed < 0:
        raise UsageError(f"faces can't be drawn with count {count} and seed {seed}; give numbers that aren't negative")
    everyone = traits(count, seed)
    images = np.empty((count, 3, size, size), np.uint8)
    step = max(1, CHUNK // size**2)
    for start in range(0, count, step):
        rows = slice(start, start + step)
        images[rows] = paint(Traits(*(column[rows] for column in everyone)), size)
    return images, attributes(everyone)


# ---------------------------------------------------------------------------------------------------------------------
# What varies
# ---------------------------------------------------------------------------------------------------------------------


class Traits(NamedTuple):
    """One column of random numbers a trait, float64 (N,), uniform in [0, 1) and independent of every other."""

    # In the order of ATTRIBUTES; each is on below one half.
    male: Column
    glasses: Column
    smile: Column
    facing_left: Column
    # Everything else: where the head is, its build, what it wears.
    x: Column
    y: Column
    scale: Column
    turn: Column
    width: Column
    jaw: Column
    skin: Column
    hair: Column
    haircut: Column
    hairline: Column
    beard: Column
    brow: Column
    eye: Column
    iris: Column
    lips: Column
    mouth: Column
    frame: Column
    lens: Column
    shirt: Column
    sky: Column
    ground: Column


def traits(count: int, seed: int) -> Traits:
    """The random numbers of faces 0 to `count` - 1 of `seed`. The table is filled face by face."""
    table = np.random.Generator(np.random.PCG64(seed)).random((count, len(Traits._fields)))
    return Traits(*table.T)


def attributes(t: Traits) -> NDArray[np.bool_]:
    """Which attributes each face has: bool (N, 4)."""
    return np.stack(t[: len(ATTRIBUTES)], axis=1) < 0.5


class Hair(NamedTuple):
    """A haircut, in head units (see `Canvas`)."""

    volume: float  # how far it stands off the skull
    length: float  # the height at which it ends: 0 at the ears, 1 at the chin; BALD above the skull
    opening: float  # half the width of the face that it leaves free
    knot: tuple[float, float, float, float]  # centre and radii of the quiff, bun, tail or mane
    cap: float  # 1 under a baseball cap, else 0


BALD = -3.0
NO_KNOT = (0.0, -0.3, 0.1, 0.1)  # hidden by the head
MENS_HAIR = (
    Hair(0.05, 0.02, 0.76, NO_KNOT, cap=0),  # cropped
    Hair(0.06, -0.05, 0.78, (-0.25, -0.98, 0.55, 0.26), cap=0),  # quiff
    Hair(0.17, 0.00, 0.76, NO_KNOT, cap=0),  # thick
    Hair(0.00, BALD, 0.80, NO_KNOT, cap=0),  # bald
    Hair(0.04, 0.15, 0.78, NO_KNOT, cap=1),  # under a cap
)
WOMENS_HAIR = (
    Hair(0.14, 1.70, 0.62, NO_KNOT, cap=0),  # long
    Hair(0.16, 0.80, 0.60, NO_KNOT, cap=0),  # bob
    Hair(0.07, 0.30, 0.66, (0.25, -1.12, 0.42, 0.36), cap=0),  # bun
    Hair(0.07, 0.30, 0.66, (1.12, 0.35, 0.32, 0.80), cap=0),  # ponytail
    Hair(0.10, 0.70, 0.62, (0.10, -0.02, 1.22, 1.16), cap=0),  # round and big
)


def palette(*colours: str) -> Floats:
    """Hexadecimal RGB colours as float32 (len(colours), 3) in [0, 1]."""
    return np.array([list(bytes.fromhex(colour)) for colour in colours], np.float32) / 255


# A trait slides along its palette from the first colour to the last and blends neighbours.
SKIN = palette("ffe2cc", "f9cba9", "e8ad84", "c98a5e", "9c6444", "704632")
HAIR = palette("1d1a22", "4a2c1e", "7d4524", "b8481e", "e0a030", "f7dc78", "c4c8d0")
IRIS = palette("24160f", "4b3018", "1f5a3a", "1f5f95")
BARE_LIPS = palette("b0605a", "8c403a", "b0685e")  # slides with the skin
LIPSTICK = palette("d6203c", "c01840", "e03c5c")
FRAME = palette("101018", "34101c", "101c48", "101018")
SHIRT = palette("d94f4f", "e8b04a", "4f9e6a", "3f78b5", "7a5aa8", "dfe3ea", "38404e")
BACKDROP = palette("ffc9c9", "ffe6a8", "cdebb0", "a6e3d7", "a3d2fb", "c2b9ff", "f0bde6", "8fb4d0", "e8ecf2")

INK = palette("201820")[:, :, None, None]
WHITE = palette("ffffff")[:, :, None, None]
BLUSH = palette("ff5a5a")[:, :, None, None]
LENS = palette("e6f6ff")[:, :, None, None]
INSIDE = palette("5a1420")[:, :, None, None]


def between(trait: Column, low: Number, high: Number) -> Floats:
    """`trait` moved from [0, 1) to [low, high), as float32 (N, 1, 1)."""
    return low + trait.astype(np.float32)[:, None, None] * (high - low)


def coin(trait: Column, chance: float) -> Floats:
    """1 where `trait` is below `chance` and 0 elsewhere, as float32 (N, 1, 1)."""
    return (trait < chance).astype(np.float32)[:, None, None]


def colour(trait: Column, colours: Floats) -> Floats:
    """The colour at `trait` along a palette, as float32 (N, 3, 1, 1)."""
    place = trait * (len(colours) - 1)
    index = place.astype(np.int64)
    share = (place - index).astype(np.float32)[:, None]
    return (colours[index] + share * (colours[index + 1] - colours[index]))[:, :, None, None]


def haircut(trait: Column, male: Floats) -> tuple[Floats, ...]:
    """Volume, length, opening, the knot's x, y and two radii, and cap of each face, float32 (N, 1, 1) each."""
    cuts = [[(*cut[:3], *cut.knot, cut.cap) for cut in cuts] for cuts in (WOMENS_HAIR, MENS_HAIR)]
    table = np.array(cuts, np.float32)
    chosen = table[male.ravel().astype(np.int64), (trait * table.shape[1]).astype(np.int64)]
    return tuple(chosen.T[:, :, None, None])


# ---------------------------------------------------------------------------------------------------------------------
# How it is painted
# ---------------------------------------------------------------------------------------------------------------------


class Canvas:
    """N pictures, and shapes to put on them.

    Shapes are written in head units: the face looks towards -x, the chin is at y = 1, the crown at y = -1 and the eyes'
    height is about 0. A shape is a float32 (N, size, size) distance to its outline, negative within: `np.maximum` of
    two shapes is what they share, `np.minimum` both together, and a minus sign the outside. Their parameters are
    numbers or (N, 1, 1) arrays.
    """

    def __init__(self, size: int, x: Floats, y: Floats, scale: Floats, width: Floats, left: Floats):
        """Put the heads' centres at (x, y) and their height at 2 * `scale`, as shares of the picture's side."""
        pixel = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x = (pixel[None, None, :] - x) / (scale * width) * (2 * left - 1)
        self.y = (pixel[None, :, None] - y) / scale
        self.height = pixel[None, None, :, None]
        self.sharpness = scale * size  # pixels in a head unit
        self.pixels = np.zeros((len(x), 3, size, size), np.float32)

    def paint(self, colour: Floats, shape: Floats, opacity: Number = 1.0) -> None:
        """Lay `colour`, (N or 1, 3, 1, 1), over the inside of `shape`, `opacity` of it in 0..1."""
        cover = shape * -self.sharpness
        cover += 0.5
        np.clip(cover, 0, 1, out=cover)
        cover *= opacity
        self.pixels += (colour - self.pixels) * cover[:, None]

    def ellipse(self, x: Number, y: Number, rx: Number, ry: Number) -> Floats:
        """An ellipse around (x, y). The distance is exact to first order, which is all that the fading edge shows."""
        dx, dy = (self.x - x) / rx, (self.y - y) / ry
        level = np.sqrt(dx * dx + dy * dy)
        dx, dy = dx / rx, dy / ry
        slope = np.sqrt(dx * dx + (dy * dy + 1e-9))  # not 0 / 0 in the centre
        return level * (level - 1) / slope

    def box(self, x: Number, y: Number, rx: Number, ry: Number, corner: Number) -> Floats:
        """A box around (x, y) with half sides `rx` and `ry` and rounded corners.

        Deep inside, the distance stops at -`corner`: a corner of over half a pixel is enough.
        """
        dx = np.maximum(np.abs(self.x - x) - (rx - corner), 0)
        dy = np.maximum(np.abs(self.y - y) - (ry - corner), 0)
        return np.sqrt(dx * dx + dy * dy) - corner

    def line(self, start: tuple[Number, Number], end: tuple[Number, Number], radius: Number) -> Floats:
        """A straight stroke with round ends, `radius` on each side."""
        along_x, along_y = end[0] - start[0], end[1] - start[1]
        dx, dy = self.x - start[0], self.y - start[1]
        length = along_x * along_x + along_y * along_y
        nearest = np.clip(dx * (along_x / length) + dy * (along_y / length), 0, 1)
        dx, dy = dx - nearest * along_x, dy - nearest * along_y
        return np.sqrt(dx * dx + dy * dy) - radius

    def images(self) -> NDArray[np.uint8]:
        """The pictures so far, uint8 (N, 3, size, size)."""
        return (self.pixels * 255 + 0.5).astype(np.uint8)


def paint(t: Traits, size: int) -> NDArray[np.uint8]:
    """Paint the faces of `t`, back to front: uint8 (N, 3, size, size)."""
    male, glasses, smile, left = attributes(t).T.astype(np.float32)[:, :, None, None]
    female = 1 - male
    skin, hair = colour(t.skin, SKIN), colour(t.hair, HAIR)
    shade = skin * 0.78
    volume, length, opening, *knot, cap = haircut(t.haircut, male)

    canvas = Canvas(
        size,
        x=between(t.x, 0.46, 0.54),
        y=between(t.y, 0.48, 0.55),
        scale=between(t.scale, 0.33, 0.38),
        width=between(t.width, 0.93, 1.08),
        left=left,
    )
    middle = -between(t.turn, 0.22, 0.32)  # of the face, which has turned away from the head's

    # Backdrop: from one colour at the top to another at the bottom.
    sky, ground = colour(t.sky, BACKDROP), colour(t.ground, BACKDROP)
    canvas.pixels += sky + (ground - sky) * canvas.height

    # Hair behind the head, neck, shirt.
    mane = canvas.box(0.06, 0.95, 0.82 + volume, 1.97 + volume, 0.80 + volume)
    mane = np.maximum(mane, canvas.y - length)
    canvas.paint(hair * 0.8, mane)
    canvas.paint(hair, canvas.ellipse(*knot))
    canvas.paint(shade, canvas.box(0.05, 1.1, 0.26 + 0.12 * male, 0.6, 0.2))
    canvas.paint(colour(t.shirt, SHIRT), canvas.ellipse(0.08, 2.05, 1.0 + 0.25 * male, 0.85))

    # Head: an ear at the back, a round skull, and a jaw that is broad or pointed.
    jaw = between(t.jaw, 0.46, 0.54) + 0.16 * male
    head = np.minimum(canvas.ellipse(0.02, -0.16, 0.80, 0.84), canvas.box(-0.10, 0.38, jaw, 0.62, jaw - 0.10 * male))
    canvas.paint(shade, canvas.ellipse(0.80, 0.12, 0.16, 0.22))
    canvas.paint(skin, head)
    face = canvas.box(middle, between(t.hairline, -0.62, -0.42) + 2.0, opening, 2.0, 0.45)
    fringe = np.maximum(mane, -face)
    canvas.paint(shade, np.maximum(fringe - 0.07, head), 0.7)  # the shadow that sets fair hair off from the skin
    for side in (-1, 1):
        cheek = canvas.ellipse(middle + side * 0.42, 0.32, 0.18, 0.12)
        canvas.paint(BLUSH, np.maximum(cheek, head), 0.28 * female)

    # Beard: full, stubble, only a moustache (below), or none.
    full, stubble, moustache = coin(t.beard, 0.25), coin(t.beard, 0.45), coin(t.beard, 0.65)
    beard = np.maximum(head, -canvas.box(middle - 0.05, -0.4, 0.62, 0.85, 0.5))
    canvas.paint(hair, np.maximum(beard, 0.1 - canvas.y), male * (0.35 * stubble + 0.65 * full))

    # Nose: it points to where the face looks.
    canvas.paint(shade, canvas.line((middle - 0.02, 0.02), (middle - 0.16, 0.26), 0.06))
    canvas.paint(shade, canvas.ellipse(middle - 0.12, 0.27, 0.13, 0.08))

    # Mouth: a straight line, or a wide bowl with teeth.
    lips = colour(t.skin, BARE_LIPS) * male[..., None] + colour(t.lips, LIPSTICK) * female[..., None]
    x, y = middle - 0.02, 0.58
    canvas.paint(hair, canvas.ellipse(x, 0.44, 0.34, 0.10), male * (moustache - stubble))
    straight = canvas.box(x, y, between(t.mouth, 0.18, 0.24), 0.06 + 0.02 * female, 0.06)
    canvas.paint(lips, straight, 1 - smile)
    bowl = canvas.ellipse(x, y - 0.05, between(t.mouth, 0.33, 0.39), 0.30)
    bowl = np.maximum(bowl, -canvas.ellipse(x, y - 0.26, 0.5, 0.22))
    canvas.paint(lips, bowl - 0.04, smile)
    canvas.paint(INSIDE, bowl + 0.02, smile)
    canvas.paint(WHITE, np.maximum(bowl + 0.01, canvas.y - (y + 0.12)), smile)

    # Eyes, the far one foreshortened, with lashes, under brows that are heavy or thin.
    eye, tilt = between(t.eye, 0.9, 1.1), between(t.brow, -0.03, 0.03)
    far, near = (-1, middle - 0.32, 0.88), (1, middle + 0.34, 1.0)
    for side, x, breadth in (far, near):
        y, wide = 0.0, breadth * eye
        canvas.paint(WHITE, canvas.ellipse(x, y, 0.16 * wide, 0.15 * eye))
        canvas.paint(colour(t.iris, IRIS), canvas.ellipse(x - 0.04, y, 0.11 * wide, 0.13 * eye))
        lash = canvas.ellipse(x, y - 0.01, 0.21 * wide, 0.20 * eye)
        lash = np.maximum(lash, -canvas.ellipse(x, y + 0.05, 0.19 * wide, 0.19 * eye))
        canvas.paint(INK, np.maximum(lash, canvas.y - y), female)
        inner, outer = (x - side * 0.15 * breadth, -0.31 - tilt), (x + side * 0.17 * breadth, -0.31 + tilt)
        canvas.paint(hair * 0.7, canvas.line(inner, outer, 0.035 + 0.05 * male))

    # Glasses' arm, to the ear or into the hair.
    frame, corner = colour(t.frame, FRAME), between(t.lens, 0.12, 0.28)
    canvas.paint(frame, canvas.line((middle + 0.64, -0.03), (0.82, 0.0), 0.05), glasses)

    # Hair in front of the head.
    canvas.paint(hair, fringe)

    # Baseball cap.
    cloth = colour(t.shirt, SHIRT)
    canvas.paint(cloth, np.maximum(canvas.ellipse(0.04, -0.30, 0.90, 0.84), canvas.y + 0.40), cap)
    canvas.paint(cloth * 0.7, canvas.line((-0.3, -0.42), (-1.15, -0.38), 0.1), cap)

    # Glasses' rims and bridge.
    for _, x, breadth in (far, near):
        rim = canvas.box(x, 0.01, 0.30 * breadth, 0.28, corner * breadth)
        canvas.paint(LENS, rim, 0.3 * glasses)
        canvas.paint(frame, np.abs(rim) - 0.05, glasses)
    canvas.paint(frame, canvas.box(middle, -0.03, 0.09, 0.05, 0.05), glasses)
    return canvas.images()
