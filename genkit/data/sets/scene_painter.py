"""Where do colour pictures with classes come from when nothing can be downloaded? Solids before textures, by seed.

Each scene shows one of ten shapes, of any size, turn and place, with a texture and a light of its own, that throws a
shadow on a textured ground; in half of them something lies across it. The class is the shape and nothing else: colours,
textures, grounds and light are drawn without regard to it.

As in `painter.py`, a scene is one row of uniform random numbers, and pixels see only sums, products, quotients, square
roots and comparisons, which IEEE 754 rounds the same way everywhere; so directions come from the rational
parametrisation of the circle, and waves are triangles instead of sines. Noise is value noise: random numbers on
lattices of several widths, interpolated (Perlin, "An Image Synthesizer", SIGGRAPH 1985, describes sums of octaves).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genkit.data.sets.painter import Column, Floats, Number, between, coin, colour, palette
from genkit.errors import UsageError

CLASSES = ("disc", "ring", "square", "triangle", "star", "cross", "crescent", "heart", "arrow", "leaf")
COUNT = 5_000
SMALLEST, LARGEST = 16, 128

#: Pixels painted at a time: few enough that they stay in the processor's cache from one layer to the next.
CHUNK = 1 << 15
#: Cells a side of the lattices of a noise, from its broad forms to its grain.
OCTAVES = (3, 6, 12, 24)
LATTICE = sum((cells + 1) * (cells + 1) for cells in OCTAVES)
#: Noises of a scene: of its ground and of its solid.
NOISES = 2


def draw(count: int = COUNT, size: int = 32, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw scenes 0 to `count` - 1 of `seed`.

    A scene depends on `seed` and its number only: a larger `count` appends scenes, a larger `size` shows the same ones
    in more detail.

    Returns:
        images: uint8 (count, 3, size, size), RGB.
        labels: int64 (count,), indices into `CLASSES`, each class as often as any other, in turn.

    Raises:
        UsageError: for a `size` outside SMALLEST..LARGEST, or a negative `count` or `seed`.
    """
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"scenes can't be drawn {size} pixels wide; give a size from {SMALLEST} to {LARGEST}")
    if count < 0 or seed < 0:
        raise UsageError(f"scenes can't be drawn with count {count} and seed {seed}; give numbers that aren't negative")
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    random = np.random.Generator(np.random.PCG64(seed))
    images = np.empty((count, 3, size, size), np.uint8)
    step = max(1, CHUNK // (size * size))
    for start in range(0, count, step):
        shapes = labels[start : start + step]
        table = random.random((len(shapes), len(Traits._fields) + NOISES * LATTICE))  # filled scene by scene
        traits = Traits(*table[:, : len(Traits._fields)].T)
        lattices = table[:, len(Traits._fields) :].astype(np.float32).reshape(len(shapes), NOISES, LATTICE)
        images[start : start + step] = paint(traits, lattices, shapes, size)
    return images, labels


class Traits(NamedTuple):
    """One column of random numbers a trait, float64 (N,), uniform in [0, 1) and independent of every other."""

    # The ground.
    ground: Column
    ground_light: Column
    ground_dark: Column
    ground_tone: Column
    ground_turn: Column
    ground_pitch: Column
    ground_phase: Column
    ground_warp: Column
    ground_edge: Column
    horizon: Column
    # The solid.
    x: Column
    y: Column
    scale: Column
    turn: Column
    slant: Column
    body_light: Column
    body_dark: Column
    body: Column
    body_turn: Column
    body_pitch: Column
    body_phase: Column
    body_edge: Column
    relief: Column
    # The light.
    light: Column
    height: Column
    shadow: Column
    warmth: Column
    exposure: Column
    contrast: Column
    vignette: Column
    # What lies across.
    across: Column
    across_kind: Column
    across_turn: Column
    across_place: Column
    across_width: Column
    across_colour: Column


# A trait slides along its palette from the first colour to the last and blends neighbours.
GROUND = palette(
    "20303c", "3f5b66", "7d97a0", "b9c6c4", "e6dcc6", "cfb185", "a07f52", "6e5434", "46513a", "6f8a4f", "a6b26a",
    "d8c9a0", "a9876f", "7b4a3c", "4b3440", "5d5f86", "8fa3c8", "c9d8e8",
)  # fmt: skip
BODY = palette(
    "c8342c", "e8713a", "f2b33d", "f6e27a", "9cc24a", "3f8f4f", "2f8f8a", "3fa7d6", "2f62b5", "5a3f9e", "a0408f",
    "e2709a", "f4ece0", "8a6a4f", "2a2a33",
)  # fmt: skip
SHADE = palette("10121c")[:, :, None, None]
GLINT = palette("fffaf0")[:, :, None, None]
WARM, COOL = (palette(each)[0, :, None, None] for each in ("ffe6c4", "d2e2ff"))

#: cos and sin of 36° and of 60°: literals, because libraries of C round functions of their own ways.
STAR = (0.809016994375, 0.587785252292)
THIRD = (0.5, 0.866025403784)
#: The normal of a star's edge, from its point at (0, 1) to the notch at radius 0.45.
NOTCH = (0.923320355282, 0.384030625759)
#: tan 22.5°, by which a quarter of the circle is parametrised.
QUARTER = 0.414213562373


def direction(trait: Column) -> tuple[Floats, Floats]:
    """Points of the unit circle, nearly uniform: float32 (N, 1, 1) each.

    A quarter of the circle is ((1 - t²) / (1 + t²), 2t / (1 + t²)) for t between -tan 22.5° and tan 22.5°.
    """
    quarter = (trait * 4).astype(np.int64)
    t = ((trait * 4 - quarter) * 2 - 1) * QUARTER
    x, y = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    turns = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])[quarter].T
    pair = turns[0] * x - turns[1] * y, turns[1] * x + turns[0] * y
    return pair[0].astype(np.float32)[:, None, None], pair[1].astype(np.float32)[:, None, None]


def smooth(x: Floats) -> Floats:
    """From 0 to 1 without a kink at either: 3x² - 2x³ of numbers in [0, 1]."""
    return x * x * (3 - 2 * x)


def wave(x: Floats, edge: Floats) -> Floats:
    """A wave with period 1 between 0 and 1: round for an `edge` of 1, with sharper steps the larger it is."""
    triangle = np.abs(x - np.floor(x) - 0.5) * 2
    return smooth(np.clip((triangle - 0.5) * edge + 0.5, 0, 1))


# ---------------------------------------------------------------------------------------------------------------------
# Noise and textures
# ---------------------------------------------------------------------------------------------------------------------


class Noise:
    """Value noise of N scenes on `size`² pixels; `lattice` is float32 (N, LATTICE) in [0, 1)."""

    def __init__(self, lattice: Floats, size: int):
        self.lattice, self.size = lattice, size

    def octave(self, which: int) -> Floats:
        """One octave, float32 (N, size, size) in [0, 1)."""
        cells = OCTAVES[which]
        first = sum((each + 1) * (each + 1) for each in OCTAVES[:which])
        points = self.lattice[:, first : first + (cells + 1) * (cells + 1)].reshape(-1, cells + 1, cells + 1)
        place = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size * cells
        index = place.astype(np.int64)
        share = smooth(place - index.astype(np.float32))
        rows = points[:, index] + share[:, None] * (points[:, index + 1] - points[:, index])
        return rows[:, :, index] + share * (rows[:, :, index + 1] - rows[:, :, index])

    def sum(self, shares: Sequence[float]) -> Floats:
        """Octaves from the broadest on, by their shares: float32 (N, size, size) in [0, 1)."""
        total = shares[0] * self.octave(0)
        for which, share in enumerate(shares[1:], start=1):
            if share:
                total += share * self.octave(which)
        return total


class Surface(NamedTuple):
    """Where a texture lies, and how it is drawn: arrays float32, (N, size, size) or (N, 1, 1).

    Attributes:
        x, y: coordinates along the texture and across it, in sides of the picture.
        noise: of these scenes.
        pitch: periods a side.
        phase, warp: by how many periods it is moved, and bent by noise.
        edge: how sharp its steps are.
        down: the height in the picture, from 0 at the top to 1.
        horizon: where the ground begins.
    """

    x: Floats
    y: Floats
    noise: Noise
    pitch: Floats
    phase: Floats
    warp: Floats
    edge: Floats
    down: Floats
    horizon: Floats

    def of(self, rows: NDArray[np.int64]) -> Surface:
        """That of some of the scenes."""
        noise = Noise(self.noise.lattice[rows], self.noise.size)
        parts = {name: part[rows] for name, part in self._asdict().items() if name != "noise"}
        return Surface(**parts, noise=noise)


def plain(s: Surface) -> Floats:
    """A slope from one colour to the other, with clouds."""
    return np.clip(0.5 + s.x * 0.7 + (s.noise.sum((0.5, 0.3, 0.2)) - 0.5) * 0.5, 0, 1)


def clouds(s: Surface) -> Floats:
    """Broad and fine noise."""
    return np.clip((s.noise.sum((0.4, 0.3, 0.2, 0.1)) - 0.5) * 2.2 + 0.5, 0, 1)


def grain(s: Surface) -> Floats:
    """Fine noise, as of sand or grass."""
    return np.clip((s.noise.sum((0.15, 0.0, 0.35, 0.5)) - 0.5) * 1.8 + 0.5, 0, 1)


def veins(s: Surface) -> Floats:
    """Lines where noise crosses its mean, as in marble."""
    return np.clip(np.abs(s.noise.sum((0.45, 0.35, 0.2)) - 0.5) * 5, 0, 1)


def stripes(s: Surface) -> Floats:
    """Bands, bent by noise."""
    return wave(s.x * s.pitch + s.phase + (s.noise.octave(0) - 0.5) * s.warp, s.edge)


def checks(s: Surface) -> Floats:
    """Two waves across each other."""
    one, other = wave(s.x * s.pitch + s.phase, s.edge), wave(s.y * s.pitch + s.phase, s.edge)
    return one + other - 2 * one * other


def dots(s: Surface) -> Floats:
    """Discs in rows that are set off against each other."""
    y = s.y * s.pitch + s.phase
    row = np.floor(y)
    x = s.x * s.pitch + s.phase + (row - 2 * np.floor(row / 2)) * 0.5
    dx, dy = x - np.floor(x) - 0.5, y - row - 0.5
    return np.clip((0.34 - np.sqrt(dx * dx + dy * dy)) * s.edge * 3 + 0.5, 0, 1)


def landscape(s: Surface) -> Floats:
    """A slope above the horizon, noise below it, with a hard edge between."""
    edge = s.horizon + (s.noise.octave(1) - 0.5) * 0.16
    below = np.clip((s.down - edge) * 24 + 0.5, 0, 1)
    sky = 0.75 + (s.horizon - s.down) * 0.5
    ground = s.noise.sum((0.1, 0.2, 0.4, 0.3)) * 0.55
    return np.clip(sky + (ground - sky) * below, 0, 1)


GROUNDS: tuple[Callable[[Surface], Floats], ...] = (plain, clouds, grain, veins, stripes, checks, dots, landscape)
BODIES: tuple[Callable[[Surface], Floats], ...] = (plain, plain, clouds, grain, veins, stripes, checks, dots)


def textured(kinds: Sequence[Callable[[Surface], Floats]], trait: Column, surface: Surface) -> Floats:
    """Each scene's texture of those in `kinds`: float32 (N, size, size) in [0, 1]."""
    chosen = (trait * len(kinds)).astype(np.int64)
    result = np.empty(surface.x.shape, np.float32)
    for number, kind in enumerate(kinds):
        rows = np.flatnonzero(chosen == number)
        if len(rows):
            result[rows] = kind(surface.of(rows))
    return result


# ---------------------------------------------------------------------------------------------------------------------
# Shapes: distances to an outline around (0, 0) that reaches to about 1, negative within
# ---------------------------------------------------------------------------------------------------------------------


def length(x: Floats, y: Floats) -> Floats:
    return np.sqrt(x * x + y * y)


def box(x: Floats, y: Floats, rx: Number, ry: Number) -> Floats:
    return np.maximum(np.abs(x) - rx, np.abs(y) - ry)


def disc(x: Floats, y: Floats) -> Floats:
    return length(x, y) - 0.9


def ring(x: Floats, y: Floats) -> Floats:
    return np.abs(length(x, y) - 0.72) - 0.24


def square(x: Floats, y: Floats) -> Floats:
    return box(x, y, 0.78, 0.78)


def triangle(x: Floats, y: Floats) -> Floats:
    return np.maximum(y, THIRD[1] * np.abs(x) - THIRD[0] * y) - 0.55


def star(x: Floats, y: Floats) -> Floats:
    """Five points: the plane is folded onto a tenth of it, where the edge is one line."""
    # Mirrored so that the nearest point of the star lies straight up, at most 36° away.
    x, y = np.abs(x), -y
    beyond = np.maximum(x * STAR[0] - y * STAR[1], 0)
    x, y = np.abs(x - 2 * STAR[0] * beyond), y + 2 * STAR[1] * beyond
    beyond = np.maximum(x * STAR[0] - y * STAR[1], 0)
    x, y = np.abs(x - 2 * STAR[0] * beyond), y + 2 * STAR[1] * beyond
    # From the point at (0, 1) to the notch between two.
    return x * NOTCH[0] + (y - 1) * NOTCH[1]


def cross(x: Floats, y: Floats) -> Floats:
    return np.minimum(box(x, y, 0.95, 0.32), box(x, y, 0.32, 0.95))


def crescent(x: Floats, y: Floats) -> Floats:
    return np.maximum(length(x - 0.1, y) - 0.95, 0.78 - length(x - 0.5, y))


def heart(x: Floats, y: Floats) -> Floats:
    """A square on its corner, with a disc on each of the upper sides."""
    x, y = np.abs(x), y + 0.02
    diamond = (x + np.abs(y - 0.1)) * 0.707106781187 - 0.57
    return np.minimum(diamond, length(x - 0.4, y + 0.3) - 0.57)


def arrow(x: Floats, y: Floats) -> Floats:
    head = np.maximum(-0.05 - x, (np.abs(y) + x) * 0.707106781187 - 0.62)
    return np.minimum(head, box(x + 0.45, y, 0.5, 0.24))


def leaf(x: Floats, y: Floats) -> Floats:
    """What two discs share."""
    return length(x, np.abs(y) + 0.75) - 1.25


SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "disc": disc, "ring": ring, "square": square, "triangle": triangle, "star": star, "cross": cross,
    "crescent": crescent, "heart": heart, "arrow": arrow, "leaf": leaf,
}  # fmt: skip


def outlined(labels: NDArray[np.int64], x: Floats, y: Floats) -> Floats:
    """The distance to each scene's shape: float32 (N, size, size)."""
    result = np.empty(x.shape, np.float32)
    for number, name in enumerate(CLASSES):
        rows = np.flatnonzero(labels == number)
        if len(rows):
            result[rows] = SHAPES[name](x[rows], y[rows])
    return result


# ---------------------------------------------------------------------------------------------------------------------
# How it is painted
# ---------------------------------------------------------------------------------------------------------------------


def paint(t: Traits, lattices: Floats, labels: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Paint the scenes, back to front: uint8 (N, 3, size, size).

    Args:
        lattices: float32 (N, NOISES, LATTICE) in [0, 1).
        labels: (N,), indices into CLASSES.
    """
    pixel = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = (np.broadcast_to(each, (len(labels), size, size)) for each in (pixel[None, :], pixel[:, None]))
    light_x, light_y = direction(t.light)
    ground_noise, body_noise = (Noise(lattices[:, which], size) for which in range(NOISES))

    # The ground: one colour, another, and a tone of a third one in broad patches.
    cos, sin = direction(t.ground_turn)
    along, across = (x - 0.5) * cos + (y - 0.5) * sin, (y - 0.5) * cos - (x - 0.5) * sin
    surface = Surface(
        x=along,
        y=across,
        noise=ground_noise,
        pitch=between(t.ground_pitch, 2.5, 8.0),
        phase=between(t.ground_phase, 0, 1),
        warp=between(t.ground_warp, 0, 1.6),
        edge=between(t.ground_edge, 1, 4),
        down=y,
        horizon=between(t.horizon, 0.3, 0.7),
    )
    field = textured(GROUNDS, t.ground, surface)[:, None]
    dark, bright = colour(t.ground_dark, GROUND), colour(t.ground_light, GROUND)
    patches = (body_noise.octave(0) - 0.5)[:, None] * (colour(t.ground_tone, GROUND) - 0.5) * 0.5
    pixels = dark * 0.8 + (bright - dark * 0.8) * field + patches

    def lay(hue: Floats, cover: Floats) -> None:
        nonlocal pixels
        pixels += (hue - pixels) * cover[:, None]

    # The solid's own coordinates.
    scale = between(t.scale, 0.19, 0.36)
    cos, sin = direction(t.turn)
    slant = between(t.slant, 0.8, 1.0)
    centre_x, centre_y = between(t.x, 0.32, 0.68), between(t.y, 0.32, 0.68)

    def inside(from_x: Floats, from_y: Floats) -> tuple[Floats, Floats]:
        return (from_x * cos + from_y * sin) / scale, (from_y * cos - from_x * sin) / (scale * slant)

    # Its shadow, away from the light, softer the farther it falls.
    fall = between(t.height, 0.04, 0.13)
    shadow = outlined(labels, *inside(x - centre_x + light_x * fall, y - centre_y + light_y * fall)) * scale
    lay(SHADE, np.clip(0.5 - shadow / (fall * 0.9), 0, 1) * between(t.shadow, 0.25, 0.75))

    # The solid: two colours by its texture, brighter towards the light, with an edge in relief.
    body_x, body_y = inside(x - centre_x, y - centre_y)
    outline = outlined(labels, body_x, body_y) * scale
    cover = np.clip(outline * -size + 0.5, 0, 1)
    cos, sin = direction(t.body_turn)
    surface = Surface(
        x=(body_x * cos + body_y * sin) * 0.5,
        y=(body_y * cos - body_x * sin) * 0.5,
        noise=body_noise,
        pitch=between(t.body_pitch, 2.0, 4.5),
        phase=between(t.body_phase, 0, 1),
        warp=between(t.body_phase, 0, 1),
        edge=between(t.body_edge, 1, 4),
        down=y,
        horizon=between(t.horizon, 0.3, 0.7),
    )
    field = textured(BODIES, t.body, surface)[:, None]
    dark, bright = colour(t.body_dark, BODY), colour(t.body_light, BODY)
    towards = ((x - centre_x) * light_x + (y - centre_y) * light_y) / scale
    rim = np.clip(1 + outline / (scale * 0.28), 0, 1)
    shading = 0.86 + towards * between(t.relief, 0.2, 0.4) - rim * rim * between(t.relief, 0.35, 0.1)
    lay((dark + (bright - dark) * field) * shading[:, None], cover)
    glint = length(x - centre_x - light_x * scale * 0.4, y - centre_y - light_y * scale * 0.4) / scale
    lay(GLINT, np.clip(1 - glint * 2.5, 0, 1) * cover * between(t.relief, 0.1, 0.6))

    # What lies across: a twig, or a pebble at the solid's edge.
    cos, sin = direction(t.across_turn)
    off_x, off_y = x - centre_x, y - centre_y
    width = between(t.across_width, 0.018, 0.05)
    twig = np.abs(off_y * cos - off_x * sin - between(t.across_place, -0.8, 0.8) * scale) - width
    pebble_x, pebble_y = off_x - cos * scale * 0.8, off_y - sin * scale * 0.8
    pebble = length(pebble_x, pebble_y) - width * 2 - 0.03
    is_twig = coin(t.across_kind, 0.5)
    lying = pebble + (twig - pebble) * is_twig
    there = coin(t.across, 0.5)
    lay(SHADE, np.clip(0.5 - (lying - 0.012) / 0.06, 0, 1) * there * 0.4)
    lit = 0.85 + (pebble_x * light_x + pebble_y * light_y) * (1 - is_twig) * 3
    lay(colour(t.across_colour, GROUND) * lit[:, None], np.clip(lying * -size + 0.5, 0, 1) * there)

    # The light over all: from one side, darker in the corners, warm or cool, bright or dim.
    middle_x, middle_y = x - 0.5, y - 0.5
    lit = 1 + (middle_x * light_x + middle_y * light_y) * 0.35
    lit -= (middle_x * middle_x + middle_y * middle_y) * between(t.vignette, 0, 0.7)
    tint = COOL + (WARM - COOL) * between(t.warmth, 0, 1)[:, None]
    pixels *= (lit * between(t.exposure, 1.0, 1.5))[:, None] * tint
    pixels = 0.48 + (pixels - 0.45) * between(t.contrast, 0.9, 1.4)[:, None]
    return (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
