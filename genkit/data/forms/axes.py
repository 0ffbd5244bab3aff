"""Which way do the axes of an array of images go, and of which size are images whose pixels lie in a row?

Most shapes say it: (N, H, W), (N, 3, H, W), (H, W, 3, N), (N, 784). Where they leave a choice, the number of labels
decides, then what is square, then the pixels: neighbours in an image are alike, and neighbours in the file, read the
wrong way, aren't. What remains open is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.data.decode import MAX_PIXELS
from genkit.data.forms.stored import Stored
from genkit.data.forms.turned import Columns, last_axis_first
from genkit.errors import DataError

#: Bytes of one image, as stored: the largest picture that is read, in three channels.
MAX_IMAGE = 3 * MAX_PIXELS
#: Pixels of the smallest image. (Smaller ones would take less room than what is noted of each.)
MIN_PIXELS = 16
#: Pixels in a row of the smallest square that is taken for one: 7x7, to which people shrink MNIST.
MIN_SQUARE = 49
#: Channels of colour, and of colour with alpha.
COLOURS = (3, 4)
#: Different numbers up to which a column may be labels.
MAX_CLASSES = 200
#: Bytes, and images, of the beginning of a file that are looked at.
LOOKED_AT, IMAGES_LOOKED_AT = 16 << 20, 256
#: By so much less neighbours must differ one way than the other, for that to decide.
DECISIVE = 0.9
#: By so much less they must differ along both axes of an image than along the images' own.
APART = 0.7
#: Sides of the squares that digits are (scikit-learn's, USPS, MNIST). Their publishers laid them by rows, and MATLAB's
#: users pass them on so.
BY_ROWS = (8, 16, 28)
#: From `_sideways` of this on, images lie on their side. (Of 40 public sets that don't, the most was 1.3.)
SIDEWAYS = 1.6
#: Handwriting is ink on an empty ground: at least this share of the border is ground. (Of USPS 0.77, of faces 0.48.)
EMPTY = 0.7
#: It is higher than wide, by this logarithm of the ratio and for so many more images than the other way round. (Of
#: fifteen sets of digits and letters, it was 0.26 and 0.64 at least; of things on an empty ground 0.02.)
HIGHER, MORE_OFTEN = 0.2, 0.5
#: From this share of the difference of any two pixels on, neighbours are no more alike than any others.
UNLIKE = 0.95
#: Up to this correlation of neighbouring pixels, over all images, these are no pixels; few images say nothing. (Of 60
#: public sets of images it was 0.33 at least; of Karhunen and Loeve's features, and of pixels in disorder, 0.03.)
UNRELATED, ENOUGH = 0.15, 16


class View(NamedTuple):
    """An array as images.

    Attributes:
        stored: with the images' axis first.
        last: whether that is the last one of the file's.
        grid: the sizes of an image's axes, as its numbers lie.
        axes: which each of them is, of "C", "H" and "W".
        notes: what is to be said of it.
        warnings: what a person may not have meant.
    """

    stored: Stored
    last: bool
    grid: tuple[int, ...]
    axes: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return self.stored.shape[0]

    @property
    def channels(self) -> int:
        """Those that are stored: 1, 3 or 4."""
        return dict(zip(self.axes, self.grid, strict=True)).get("C", 1)

    @property
    def shape(self) -> ImageShape:
        """Of an image once it is plain grey or RGB."""
        sizes = dict(zip(self.axes, self.grid, strict=True))
        return ImageShape(1 if self.channels == 1 else 3, sizes["H"], sizes["W"])

    @property
    def as_it_lies(self) -> bool:
        """Whether the file's bytes are those of (N, C, H, W)."""
        return self.axes in ("HW", "CHW") and not self.last

    def images(self, block: np.ndarray) -> np.ndarray:
        """Rows of the array as (B, C, H, W)."""
        block = block.reshape(len(block), *self.grid)
        if "C" not in self.axes:
            block = block[:, None]
        axes = self.axes if "C" in self.axes else f"C{self.axes}"
        return block.transpose(0, *(1 + axes.index(axis) for axis in "CHW"))

    def of(self, other: Stored) -> View:
        """Another array, read in the same way.

        Raises:
            DataError: when its images aren't of the same size.
        """
        turned = _with_last_first(other) if self.last else other
        if turned is None or _plain(turned.shape[1:]) != _plain(self.stored.shape[1:]):
            raise DataError(
                f"{self.stored}: {self.stored.dtype} of shape {self.stored.shape}, and {other.member}: {other.dtype} "
                f"of shape {other.shape}; give both the same size and channels"
            )
        return self._replace(stored=turned)


def view_of(images: Sequence[Stored], counts: Iterable[int], options: DataOptions) -> View:
    """How the first of some arrays of the same kind is read as images.

    Args:
        images: those of all splits.
        counts: how many labels or attributes the first one has; () where there are none.

    Raises:
        DataError: when they are no images, or can be read in several ways.
    """
    first, counts = images[0], tuple(counts)
    shown = f"{first}: {first.dtype} of shape {first.shape}"
    if first.dtype.kind not in "buif":
        raise DataError(f"{shown}, which isn't one of images; --images NAME says which array holds them")
    if 0 in first.shape:
        raise DataError(f"{shown}; it holds no images")
    sizes = [size for size in first.shape if size > 1]
    if len(sizes) < 2:
        raise DataError(f"{shown}, which isn't one of images; make it (N, H, W), or (N, C, H, W)")
    if first.shape[0] == 1 or (first.shape[-1] == 1 and len(sizes) == 2 and sizes[0] == sizes[1]):
        raise DataError(f"{shown}, which is one picture; of several save numpy.stack([...]), which is (N, H, W)")
    match len(sizes):
        case 2:
            view = _flat(first, counts, images[1:], options)
        case 3:
            view = _three(first, counts, options)
        case 4:
            view = _four(first, counts)
        case _:
            raise DataError(f"{shown}, which isn't one of images; make it (N, H, W), or (N, C, H, W)")
    view = _turned(view, options)
    pixels = view.shape.height * view.shape.width
    if not MIN_PIXELS <= pixels <= MAX_PIXELS:
        raise DataError(f"{shown}; an image must have {MIN_PIXELS} pixels at least and {MAX_PIXELS:,} at most")
    if view.stored.row_bytes > MAX_IMAGE:
        raise DataError(f"{shown}; an image may take {MAX_IMAGE:,} bytes at most, save it as uint8")
    return view


def with_a_label(images: Stored) -> tuple[Stored, Stored, str] | None:
    """Images in rows of which each begins or ends with its label: the images, the labels, and which of both it is.

    So tables of MNIST and USPS come: 785 columns, where 784 are a square. None of anything else.
    """
    if len(images.shape) != 2 or images.dtype.kind not in "iuf" or images.shape[0] < 2:
        return None
    pixels = images.shape[1] - 1
    if not _square(pixels) or _side(pixels + 1, DataOptions()) is not None:
        return None
    if _side(images.shape[0], DataOptions()) is not None:  # 785 images, one a column?
        beginning = _sample(images, spread=False)
        across, down = _dip(beginning, 1, pixels), _dip(beginning, 0, images.shape[0])
        if across > min(down, DECISIVE):
            return None
    sample = _sample(images)
    ends = {}
    for column, place in ((0, "first"), (pixels, "last")):
        values = np.unique(sample[:, column])
        if 1 < len(values) <= MAX_CLASSES and (values == np.rint(values)).all():
            ends[place] = len(values), column
    if not ends:
        return None
    place, (_, column) = min(ends.items(), key=lambda end: end[1])
    start = 1 if column == 0 else 0
    return Columns(images, start, start + pixels), Columns(images, column, column + 1), place


def could_be_images(stored: Stored) -> bool:
    """Whether its type and shape are such as images have, more than one of 16 pixels or more."""
    sizes = [size for size in stored.shape if size > 1]
    return (
        stored.dtype.kind in "buif"
        and 2 <= len(sizes) <= 4
        and 0 not in stored.shape
        and math.prod(sizes) // max(sizes) >= MIN_PIXELS
        and (len(sizes) > 2 or any(_square(size) for size in sizes))
    )


# ---------------------------------------------------------------------------------------------------------------------
# By the number of axes
# ---------------------------------------------------------------------------------------------------------------------


def _four(stored: Stored, counts: Sequence[int]) -> View:
    """(N, C, H, W), (N, H, W, C), (H, W, C, N) or (C, H, W, N), C being 3 or 4."""
    one, two, three, four = [size for size in stored.shape if size > 1]
    ways = [
        (False, (two, three, four), "CHW"),
        (False, (two, three, four), "HWC"),
        (True, (one, two, three), "HWC"),
        (True, (one, two, three), "CHW"),
    ]
    fitting = [
        (last, grid, axes)
        for last, grid, axes in ways
        if grid[axes.index("C")] in COLOURS and min(grid[axes.index("H")], grid[axes.index("W")]) > max(COLOURS)
    ]
    told = [way for way in fitting if (four if way[0] else one) in counts]
    first = [way for way in told or fitting if not way[0]] or told or fitting
    if len(first) != 1:
        ways_ = "can be read in two ways" if first else "isn't one of images"
        raise DataError(f"{_shown(stored)}, which {ways_}; make it (N, H, W), or (N, C, H, W) with 1, 3 or 4 channels")
    return _view(stored, *first[0])


def _three(stored: Stored, counts: Sequence[int], options: DataOptions) -> View:
    """(N, H, W) or (H, W, N); (N, 3, H·W) or (N, H·W, 3)."""
    one, two, three = [size for size in stored.shape if size > 1]
    first, last = (False, (two, three), "HW"), (True, (one, two), "HW")
    told = [way for way, count in ((first, one), (last, three)) if count in counts]
    # Of images with a channel of 1, its place says which axis is theirs.
    if len(stored.shape) == 4 and 1 in stored.shape[1:]:
        told = told or [last if stored.shape.index(1, 1) == 2 else first]
    side = _side(max(two, three), options)
    in_rows = side is not None and math.prod(side) == max(two, three) >= MIN_PIXELS and min(two, three) in COLOURS
    # (N, H·W, 3) may as well be one picture; labels say that it is none.
    if side is not None and in_rows and (two in COLOURS or first in told):
        grid = (two, *side) if two in COLOURS else (*side, three)
        return _view(stored, False, grid, "CHW" if two in COLOURS else "HWC")
    if told:
        return _view(stored, *told[0])
    if one in COLOURS or (three in COLOURS and two not in COLOURS):
        shape = f"(N, {', '.join(map(str, stored.shape))})"
        raise DataError(
            f"{_shown(stored)}, which is one picture in colour, or {min(one, three)} in grey; of several save "
            f"numpy.stack([...]), which is {shape}"
        )
    if two == three and one != two:
        return _view(stored, *first)
    if one == two and two != three:
        return _view(stored, *last)
    if stored.images_last or _changes_most_along_last(stored):
        return _view(stored, *last)
    return _view(stored, *first)


def _flat(stored: Stored, counts: Sequence[int], others: Sequence[Stored], options: DataOptions) -> View:
    """(N, P) or (P, N), P being the pixels of an image in a row."""
    one, two = [size for size in stored.shape if size > 1]
    last = _last_of_two(stored, one, two, counts, others, options)
    pixels = one if last else two
    turned = _with_last_first(stored) if last else stored
    side = _side(pixels, options)
    if turned is None:
        raise DataError(f"{_shown(stored)}; the images' number comes last, save numpy.moveaxis(x, -1, 0)")
    if side is None:
        raise DataError(
            f"{_shown(stored)}: {pixels:,} pixels in a row, which make no square; say how high and wide the "
            f"images are, --image-size H,W{_guess(turned, pixels)}"
        )
    channels = pixels // math.prod(side)
    notes = [f"{stored.shape}: {turned.shape[0]:,} images, one a {'column' if last else 'row'}, of {side[1]}x{side[0]}"]
    sample = _sample(turned)
    view = View(turned, last, side, "HW")
    if channels > 1:
        planes, mixed = (channels, *side), (*side, channels)
        apart, beside = (_roughness(sample, grid, axes) for grid, axes in ((planes, "CHW"), (mixed, "HWC")))
        view = View(turned, last, *((mixed, "HWC") if beside < apart else (planes, "CHW")))
        order = "pixel after pixel" if beside < apart else "channel after channel"
        notes[0] += f", {order}"
    elif side[0] != side[1] and options.transpose is None:
        rows, columns = _roughness(sample, side, "HW"), _roughness(sample, side[::-1], "WH")
        by_columns = turned.columns_first
        if min(rows, columns) < DECISIVE * max(rows, columns):
            by_columns = columns < rows
        if by_columns:
            view = View(turned, last, side[::-1], "WH")
    warnings = []
    related = _relation(sample, view.grid, view.axes) if len(sample) >= ENOUGH else 1.0
    if _roughness(sample, view.grid, view.axes) > UNLIKE * _any_two(sample) or related < UNRELATED:
        warnings.append(
            f"{stored.shape} was taken for images of {side[1]}x{side[0]}, whose neighbouring pixels are no more alike "
            "than distant ones; are these images, and of this size? --image-size H,W says another"
        )
    return view._replace(notes=tuple(notes), warnings=tuple(warnings))


def _last_of_two(
    stored: Stored, one: int, two: int, counts: Sequence[int], others: Sequence[Stored], options: DataOptions
) -> bool:
    """Whether the images' number is the second of two axes: by the labels, the other splits, the size, the pixels."""
    if {one, two} & {*counts}:
        return one not in counts
    for other in others:
        sizes = [size for size in other.shape if size > 1]
        if len(sizes) == 2 and (sizes[0] == one) != (sizes[1] == two):
            return sizes[0] == one
    if options.image_size is not None:
        fits = [_by_size(pixels, options) is not None for pixels in (two, one)]
        if fits[0] != fits[1]:
            return fits[1]
    sides = [_side(pixels, options) is None for pixels in (two, one)]
    if sides[0] != sides[1]:
        return sides[0]
    if all(sides):  # as it will be refused, and a size is guessed
        turned = _with_last_first(stored)
        return turned is not None and _likely(turned, one)[0] < _likely(stored, two)[0]
    if one == two:
        raise DataError(
            f"{_shown(stored)}, which is one picture, or as many as it has pixels; of several save "
            "numpy.stack([...]), which is (N, H, W)"
        )
    sample = _sample(stored, spread=False)
    across, down = _dip(sample, 1, two), _dip(sample, 0, one)
    if min(across, down) < DECISIVE:
        return down < across
    return stored.columns_first and one > two


def _view(stored: Stored, last: bool, grid: tuple[int, ...], axes: str) -> View:
    """Raises DataError where the images' number comes last and can't be read so."""
    turned = _with_last_first(stored) if last else stored
    if turned is None:
        raise DataError(f"{_shown(stored)}; the images' number comes last, save numpy.moveaxis(x, -1, 0)")
    kind = "images" if "C" in axes else "grey images"
    note = f"{stored.shape}: {turned.shape[0]:,} {kind}, their number coming last"
    return View(turned, last, grid, axes, (note,) if last else ())


def _turned(view: View, options: DataOptions) -> View:
    """With rows and columns as they are in the file, or as a person says."""
    by_columns = view.stored.columns_first if options.transpose is None else options.transpose
    is_so = view.axes.index("W") < view.axes.index("H")
    height, width = (view.grid[view.axes.index(axis)] for axis in "HW")
    # Of images in a row that are no squares, the pixels have said it.
    flat = math.prod(view.stored.shape[1:]) == max(view.stored.shape[1:])
    if options.transpose is None and flat and height != width and view.channels == 1:
        by_columns = is_so
    elif options.transpose is None and flat and by_columns and height == width:
        looks = _upright(_sample(view.stored).reshape(-1, *view.grid)) if view.channels == 1 else 0
        if looks > 0:
            note = "their pixels lie row by row, or they would lie on their side; --transpose if that is wrong"
            return view._replace(notes=(*view.notes, note))
        if looks == 0 and height in BY_ROWS:
            note = "their pixels are taken to lie row by row, as those of MNIST do; --transpose if that is wrong"
            return view._replace(notes=(*view.notes, note))
    if by_columns == is_so:
        told = by_columns and options.transpose is None
        line = "their pixels lie column by column; --no-transpose if that is wrong"
        return view._replace(notes=(*view.notes, line)) if told else view
    axes = view.axes.translate(str.maketrans("HW", "WH"))
    grid = view.grid
    if flat and height != width:  # the height stays what was said
        grid = tuple({"H": height, "W": width}.get(axis, size) for axis, size in zip(axes, grid, strict=True))
    swapped = (
        "rows and columns of each image are swapped, as MATLAB and EMNIST lay them; --no-transpose if that is wrong"
    )
    notes = (swapped,) if options.transpose is None else ()
    return view._replace(axes=axes, grid=grid, notes=(*view.notes, *notes))


# ---------------------------------------------------------------------------------------------------------------------
# Sizes
# ---------------------------------------------------------------------------------------------------------------------


def _with_last_first(stored: Stored) -> Stored | None:
    """The same with its last axis first, those of one element aside; None where it can't be read so."""
    return stored.last_axis_first() if stored.shape[-1] > 1 else last_axis_first(stored)


def _plain(sizes: Iterable[int]) -> list[int]:
    return [size for size in sizes if size > 1]


def _shown(stored: Stored) -> str:
    return f"{stored}: {stored.dtype} of shape {stored.shape}"


def _square(length: int) -> bool:
    return length >= MIN_SQUARE and math.isqrt(length) ** 2 == length


def _by_size(pixels: int, options: DataOptions) -> tuple[int, int] | None:
    """Height and width as --image-size has them, where they make so many pixels, in grey or in colour."""
    size = options.image_size
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return (height, width) if pixels in [height * width * channels for channels in (1, *COLOURS)] else None


def _side(pixels: int, options: DataOptions) -> tuple[int, int] | None:
    """Height and width of images of so many pixels in a row: as said, else a square, or three of them."""
    said = _by_size(pixels, options)
    if said is not None:
        return said
    if _square(pixels):
        return math.isqrt(pixels), math.isqrt(pixels)
    if pixels % 3 == 0 and _square(pixels // 3):
        return math.isqrt(pixels // 3), math.isqrt(pixels // 3)
    return None


def _guess(stored: Stored, pixels: int) -> str:
    """What size is likely, to go on after `--image-size H,W`."""
    step = _likely(stored, pixels)[1]
    if step is None:
        return ""
    height, width = (step, pixels // step) if stored.columns_first else (pixels // step, step)
    return f", perhaps {height},{width}"


def _likely(stored: Stored, pixels: int) -> tuple[float, int | None]:
    """After how many pixels in a row the next line begins, if that makes images of usual proportions.

    Also how alike neighbours then are, from 0 to 1: as much as any two pixels.
    """
    steps = [step for step in range(8, pixels // 8 + 1) if pixels % step == 0 and 1 / 3 <= pixels / step**2 <= 3]
    sample = _sample(stored)
    if not steps or sample.size == 0:
        return 1.0, None
    roughness = {step: _roughness(sample, (pixels // step, step), "HW") for step in steps}
    best = min(steps, key=roughness.__getitem__)
    return roughness[best] / max(_any_two(sample), 1e-30), best


# ---------------------------------------------------------------------------------------------------------------------
# Pixels
# ---------------------------------------------------------------------------------------------------------------------


def _sample(stored: Stored, spread: bool = True) -> np.ndarray:
    """Rows from the beginning of a file, float32 (B, P); none where a row is too large to be looked at.

    Args:
        spread: over the whole beginning, since files are often sorted by classes; else those that come first.
    """
    row_bytes = max(1, stored.row_bytes)
    most = min(stored.shape[0], LOOKED_AT // row_bytes, LOOKED_AT if spread else 4 * IMAGES_LOOKED_AT)
    if most == 0:
        return np.empty((0, 0), np.float32)
    stride = max(1, most // IMAGES_LOOKED_AT) if spread else 1
    rows: list[np.ndarray] = []
    read = 0
    for block in stored.rows(max(1, (1 << 20) // row_bytes // stride) * stride):
        rows.append(block[::stride].reshape(-(-len(block) // stride), -1))
        read += len(block)
        if read >= most:
            break
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.concatenate(rows).astype(np.float32), posinf=0, neginf=0)


def _mean_step(values: np.ndarray, axis: int) -> float:
    """The mean difference of neighbours along an axis."""
    return float(np.abs(np.diff(values, axis=axis)).mean(dtype=np.float64)) if values.shape[axis] > 1 else 0.0


def _roughness(sample: np.ndarray, grid: Sequence[int], axes: str) -> float:
    """By how much neighbouring pixels differ, along rows and columns, in images that are read so."""
    if sample.size == 0:
        return 0.0
    images = sample.reshape(len(sample), *grid)
    return sum(_mean_step(images, 1 + axes.index(axis)) for axis in "HW") / 2


def _relation(sample: np.ndarray, grid: Sequence[int], axes: str) -> float:
    """The mean correlation of neighbouring pixels over all images; 1 where none of them varies."""
    with np.errstate(all="ignore"):
        centred = sample - sample.mean(0, dtype=np.float64)
        deviation = centred.std(0)
    varying = deviation > 1e-6 * max(float(deviation.max()), 1e-30)
    scaled = (centred / np.where(varying, deviation, np.inf)).reshape(len(sample), *grid)
    found, where = [], varying.reshape(grid)
    for axis in (axes.index("H"), axes.index("W")):
        product = np.delete(scaled, 0, 1 + axis) * np.delete(scaled, -1, 1 + axis)
        both = np.delete(where, 0, axis) & np.delete(where, -1, axis)
        found.append(product.mean(0)[both])
    related = np.concatenate(found)
    return float(related.mean()) if related.size else 1.0


def _any_two(sample: np.ndarray) -> float:
    """By how much two pixels of an image differ wherever they are: once those of all are shuffled alike."""
    if sample.size == 0:
        return math.inf
    shuffled = sample[:, np.random.default_rng(0).permutation(sample.shape[1])]
    return _mean_step(shuffled, 1)


def _changes_most_along_last(stored: Stored) -> bool:
    """Whether, of an array of three axes, the last is the one along which there are other images, and no neighbours."""
    sizes = [size for size in stored.shape if size > 1]
    most = min(sizes[0], LOOKED_AT // max(1, stored.row_bytes), IMAGES_LOOKED_AT)
    if most < 2:
        return False
    block = next(stored.rows(most)).reshape(-1, *sizes[1:])
    with np.errstate(all="ignore"):
        values = np.nan_to_num(block.astype(np.float32), posinf=0, neginf=0)
    *others, last = (_mean_step(values, axis) for axis in range(3))
    return max(others) < APART * last


def _sideways(images: np.ndarray) -> float:
    """How much less alike left and right are than top and bottom, in images (B, H, W) and in their mean; 1 if as much.

    Faces, things and most signs are symmetrical from left to right, if at all.
    """
    if len(images) == 0:
        return 1.0
    product = 1.0
    for each in (images.mean(0, keepdims=True), images):
        across, down = np.abs(each - each[:, :, ::-1]).mean(), np.abs(each - each[:, ::-1]).mean()
        product *= float(across) / max(float(down), 1e-30)
    return product


def _higher(images: np.ndarray) -> int:
    """Whether what is drawn on an empty ground, in images (B, H, W), is higher than wide, as handwriting is.

    1 where it is, -1 where it is wider than high, 0 where that isn't plain, or there is no empty ground.
    """
    if len(images) == 0:
        return 0
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1)
    ground, span = np.median(border), images.max() - images.min()
    if span == 0 or (np.abs(border - ground) <= 0.1 * span).mean() < EMPTY:
        return 0
    ink = np.abs(images - ground) > 0.25 * span
    rows, columns = ink.any(2), ink.any(1)
    drawn = rows.any(1)
    if not drawn.any():
        return 0
    height, width = (each.shape[1] - each.argmax(1) - each[:, ::-1].argmax(1) for each in (rows[drawn], columns[drawn]))
    ratio, often = float(np.log(height / width).mean()), float(np.sign(height - width).mean())
    return int(np.sign(ratio)) if abs(ratio) > HIGHER and often * np.sign(ratio) > MORE_OFTEN else 0


def _upright(images: np.ndarray) -> int:
    """Whether grey images (B, H, W) stand upright, 1, or lie on their side, -1; 0 where nothing tells."""
    with np.errstate(all="ignore"):
        symmetry = _sideways(images)
        by_symmetry = -1 if symmetry > SIDEWAYS else 1 if symmetry < 1 / SIDEWAYS else 0
        return int(np.sign(by_symmetry + _higher(images)))


def _dip(sample: np.ndarray, axis: int, length: int) -> float:
    """How much more alike values are that lie a row of a square image apart than those that lie a little more or less.

    1 where they aren't, and of an axis that numbers images: it has no rows.
    """
    width = math.isqrt(length)
    steps = [width, width - width // 3, width + width // 3]
    if sample.ndim != 2 or sample.shape[axis] <= steps[-1]:
        return 1.0
    values = sample if axis == 0 else sample.T
    row, *others = (float(np.abs(values[step:] - values[:-step]).mean(dtype=np.float64)) for step in steps)
    return row / max(sum(others) / 2, 1e-30)
