"""Where does a second domain with the classes of digits come from? Real digits, in coloured ink on textures, by seed.

In the manner of MNIST-M (Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016), whose grounds are
photographs; these are the textures that `scenes` are drawn with. The ink is brighter than the ground, as in MNIST, so
that the class is where it was, among much that means nothing. As there, pixels see only what IEEE 754 rounds the same
way everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genkit.data.sets.painter import Column, Floats, between, colour, palette
from genkit.data.sets.scene_painter import (
    CHUNK,
    GROUND,
    GROUNDS,
    LATTICE,
    Noise,
    Surface,
    direction,
    textured,
)
from genkit.errors import UsageError

SMALLEST, LARGEST = 16, 128

INK = palette("ffffff", "fff1c0", "c8f4ff", "d8ffc8", "ffd8d0", "ece0ff", "ffffff")


class Traits(NamedTuple):
    """One column of random numbers a trait, float64 (N,), uniform in [0, 1) and independent of every other."""

    ground: Column
    light: Column
    dark: Column
    turn: Column
    pitch: Column
    phase: Column
    warp: Column
    edge: Column
    horizon: Column
    shade: Column
    ink: Column


def draw(digits: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """Draw each digit on a texture of its own.

    A texture depends on `seed` and the digit's number only: it is the same in more detail where digits are larger.

    Args:
        digits: uint8 (N, size, size), 0 where there is no ink and 255 where there is nothing else.

    Returns:
        uint8 (N, 3, size, size), RGB.

    Raises:
        UsageError: for a `size` outside SMALLEST..LARGEST, or a negative `seed`.
    """
    count, size = digits.shape[:2]
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"textures can't be drawn {size} pixels wide; give a size from {SMALLEST} to {LARGEST}")
    if seed < 0:
        raise UsageError(f"textures can't be drawn with seed {seed}; give one that isn't negative")
    random = np.random.Generator(np.random.PCG64(seed))
    images = np.empty((count, 3, size, size), np.uint8)
    step = max(1, CHUNK // (size * size))
    for start in range(0, count, step):
        some = digits[start : start + step]
        table = random.random((len(some), len(Traits._fields) + LATTICE))  # filled digit by digit
        traits = Traits(*table[:, : len(Traits._fields)].T)
        images[start : start + step] = paint(some, traits, table[:, len(Traits._fields) :].astype(np.float32))
    return images


def paint(digits: NDArray[np.uint8], t: Traits, lattices: Floats) -> NDArray[np.uint8]:
    """Paint the digits: uint8 (N, 3, size, size).

    Args:
        lattices: float32 (N, LATTICE) in [0, 1).
    """
    size = digits.shape[1]
    pixel = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = (np.broadcast_to(each, digits.shape) for each in (pixel[None, :], pixel[:, None]))
    cos, sin = direction(t.turn)
    surface = Surface(
        x=(x - 0.5) * cos + (y - 0.5) * sin,
        y=(y - 0.5) * cos - (x - 0.5) * sin,
        noise=Noise(lattices, size),
        pitch=between(t.pitch, 1.5, 4.0),
        phase=between(t.phase, 0, 1),
        warp=between(t.warp, 0, 1.6),
        edge=between(t.edge, 1, 3),
        down=y,
        horizon=between(t.horizon, 0.3, 0.7),
    )
    field = textured(GROUNDS, t.ground, surface)[:, None]
    dark, light = colour(t.dark, GROUND), colour(t.light, GROUND)
    ground = (dark * 0.6 + (light - dark * 0.6) * field) * between(t.shade, 0.4, 0.8)[:, None]
    ink = (digits.astype(np.float32) / 255)[:, None]
    pixels = ground + (colour(t.ink, INK) - ground) * ink
    return (np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
