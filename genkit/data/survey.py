"""What is seen of a source's images while each of them is read once, besides what is wrong with them?

Nothing is kept of an image but a few numbers, and a small picture of some that stand for their class: so a million take
little memory, and nothing is read twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from genkit.data.levels import Range, Whites, ends_of

#: Pixels of the longer side of a picture that is kept to be shown. Smaller ones are kept as they are.
THUMBNAIL = 96
#: Classes and attributes of which pictures are kept.
MOST_GROUPS = 120
#: Pictures of a source without either.
WITHOUT_GROUPS = 60
#: Images that are tried for one place on the sheet, should the first be damaged.
TRIED = 4


class Glimpse(NamedTuple):
    """What is seen of one image.

    Attributes:
        low, high: its darkest and its brightest number, of 0 to 255.
        grey: whether it is stored without colour.
        colourless: whether all its pixels are grey, however they are stored.
        thumbnail: uint8 (H, W) or (H, W, 3), where it may be shown.
    """

    low: int
    high: int
    grey: bool
    colourless: bool
    thumbnail: np.ndarray | None


class Group(NamedTuple):
    """Images that belong together: those of a class, or with an attribute; all, where there is neither.

    Attributes:
        kind: "class", "attribute" or "".
        name: of the class or the attribute.
        images: how many there are, bad ones included.
        places: how many of them are to be shown.
    """

    kind: str
    name: str
    images: int
    places: int


class Survey:
    """What is seen of images, in whatever order they come.

    Args:
        count: how many images there are, bad ones included; a row each in the tables.
        labels: int64 (count,), or None.
        classes: their names.
        attributes: bool (count, A), or None.
        attribute_names: their names.

    Attributes:
        fingerprints: int64 (count,), of the rows that are `seen`.
        seen: bool (count,), the images that could be read.
        ranges: of the numbers as they are stored, by the bits of a pixel; 0 of floats.
        lows, highs: the same of the bytes that they became.
        blacks, whites: by the bits of a pixel, the stored numbers that were taken for black and for white.
        grey: how many images are stored without colour.
        colourless: how many have no pixel that isn't grey.
        groups: what the sheet shows, in its order.
        left_out: the names of the classes and attributes that it doesn't show, by kind.
    """

    def __init__(
        self,
        count: int,
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        attributes: np.ndarray | None = None,
        attribute_names: Sequence[str] = (),
    ):
        self.fingerprints, self.seen = np.zeros(count, np.int64), np.zeros(count, bool)
        self.ranges: dict[int, Range] = {}
        self.lows: dict[int, int] = {}
        self.highs: dict[int, int] = {}
        self.blacks: dict[int, float] = {}
        self.whites: dict[int, float] = {}
        self.grey = self.colourless = 0
        self.groups: list[Group] = []
        self.left_out: dict[str, tuple[str, ...]] = {}
        self._places: dict[int, list[tuple[int, int]]] = {}  # of a row: (group, place)
        self._thumbnails: dict[tuple[int, int], np.ndarray] = {}
        of_classes = [] if labels is None else classes
        kinds = {"class": of_classes, "attribute": () if attributes is None else attribute_names}
        number = min(sum(map(len, kinds.values())), MOST_GROUPS)
        places = 10 if number <= 30 else 8 if number <= 60 else 5
        if labels is not None:
            order = np.argsort(labels, kind="stable")
            ends = np.searchsorted(labels[order], np.arange(len(classes) + 1))
            for label, name in enumerate(classes[:MOST_GROUPS]):
                self._add("class", name, order[ends[label] : ends[label + 1]], places)
        if attributes is not None:
            for column, name in enumerate(attribute_names[: MOST_GROUPS - len(self.groups)]):
                self._add("attribute", name, np.flatnonzero(attributes[:, column]), places)
        for kind, names in kinds.items():
            others = tuple(names[sum(group.kind == kind for group in self.groups) :])
            if others:
                self.left_out[kind] = others
        if not number:
            self._add("", "", np.arange(count), WITHOUT_GROUPS)

    def _add(self, kind: str, name: str, rows: np.ndarray, places: int) -> None:
        """Choose images of a group, evenly spaced, and for each place some that follow, in case of need."""
        count = len(rows)
        places = min(places, count)
        for place in range(places):
            start, end = place * count // places, (place + 1) * count // places
            for row in rows[start : min(end, start + TRIED)].tolist():
                self._places.setdefault(row, []).append((len(self.groups), place))
        self.groups.append(Group(kind, name, count, places))

    def know(self, whites: Whites) -> None:
        """Enter what is known of black and white."""
        for bits in whites:
            self.blacks[bits], self.whites[bits] = ends_of(bits, whites)

    def glimpse(self, row: int, image: np.ndarray) -> Glimpse:
        """Look at an image, uint8 (C, H, W). Several threads may."""
        grey = len(image) == 1
        colourless = grey or bool((image[0] == image[1]).all() and (image[1] == image[2]).all())
        wanted = any(place not in self._thumbnails for place in self._places.get(row, ()))
        return Glimpse(int(image.min()), int(image.max()), grey, colourless, thumbnail(image) if wanted else None)

    def take(self, row: int, fingerprint: int, glimpse: Glimpse, bits: int) -> None:
        """Enter what was seen of an image whose pixels are stored in so many bits. Rows come in their order."""
        self.fingerprints[row], self.seen[row] = fingerprint, True
        self._take_range(bits, glimpse.low, glimpse.high)
        self.grey += glimpse.grey
        self.colourless += glimpse.colourless
        self._keep(row, glimpse.thumbnail)

    def take_block(self, start: int, images: np.ndarray, fingerprints: np.ndarray, bits: int) -> None:
        """The same of uint8 (B, C, H, W), whose first image is in row `start`."""
        rows = slice(start, start + len(images))
        self.fingerprints[rows], self.seen[rows] = fingerprints, True
        self._take_range(bits, int(images.min()), int(images.max()))
        grey = images.shape[1] == 1
        self.grey += len(images) if grey else 0
        self.colourless += len(images) if grey else int((images == images[:, :1]).all((1, 2, 3)).sum())
        for row in range(start, start + len(images)):
            if row in self._places:
                self._keep(row, thumbnail(images[row - start]))

    def values(self, bits: int) -> Range:
        """The numbers of these bits as they are stored. Of 8 bits they follow from the bytes that they became."""
        if bits in self.ranges:
            return self.ranges[bits]
        found = Range(bits)
        black, white = self.blacks.get(bits, 0), self.whites.get(bits, 255)
        found.low, found.high = (
            round(black + each * (white - black) / 255) for each in (self.lows[bits], self.highs[bits])
        )
        return found

    def take_stored(self, found: Range) -> None:
        """Enter the range of some images' numbers as they are stored."""
        known = self.ranges.setdefault(found.bits, Range(found.bits))
        known.include(found)

    def _take_range(self, bits: int, low: int, high: int) -> None:
        self.lows[bits] = min(low, self.lows.get(bits, low))
        self.highs[bits] = max(high, self.highs.get(bits, high))

    def _keep(self, row: int, thumbnail: np.ndarray | None) -> None:
        if thumbnail is not None:
            for place in self._places.get(row, ()):
                self._thumbnails.setdefault(place, thumbnail)

    def shown(self) -> Iterator[tuple[Group, list[np.ndarray]]]:
        """Each group with the pictures of it."""
        for number, group in enumerate(self.groups):
            found = (self._thumbnails.get((number, place)) for place in range(group.places))
            yield group, [each for each in found if each is not None]


def thumbnail(image: np.ndarray) -> np.ndarray:
    """uint8 (C, H, W) as (H, W) or (H, W, 3), brought to THUMBNAIL where it is larger; a copy."""
    pixels = np.ascontiguousarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    height, width = pixels.shape[:2]
    if max(height, width) <= THUMBNAIL:
        return pixels.copy()
    scale = THUMBNAIL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # `reducing_gap` keeps it quick for large pictures, and is as good to the eye.
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX, reducing_gap=3.0))
