"""What do somebody's arrays mean: which are the images, which way do their axes go, and what number is white?

The same for all files that hold arrays; how each is read is for its `Holder`. No more is allocated than a few images at
a time, and labels and attributes, which are bounded.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from genkit.contract import ImageShape
from genkit.data import DataOptions, pack
from genkit.data.dataset import fingerprint
from genkit.data.decode import MAX_PIXELS, flatten
from genkit.data.findings import Findings
from genkit.data.forms import tables
from genkit.data.forms.source import Source
from genkit.data.forms.stored import Holder, Name, Stored
from genkit.data.levels import Range, Whites, dark, depth_of, remark, require_floats, to_bytes, white_of
from genkit.data.pixels import conform, loss_by_crop, wanted_shape
from genkit.data.survey import Survey
from genkit.errors import DataError

#: What the arrays of a .npz may be called. One that is alone is the images, whatever it is called.
ROLES = {
    "images": "images",
    "image": "images",
    "imgs": "images",
    "x": "images",
    "labels": "labels",
    "label": "labels",
    "y": "labels",
    "attributes": "attributes",
    "attribute_names": "attribute_names",
}
#: The name of a split, before or behind: `x_train` as Keras has it, `train_images` as MedMNIST.
PART_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

#: Bytes of one image, as stored: the largest picture that is read, in three channels.
MAX_IMAGE = 3 * MAX_PIXELS
#: Pixels of the smallest image. (Smaller ones would take less room than what is noted of each.)
MIN_PIXELS = 16
#: Bytes of all labels, or of all attributes, which are held in memory.
MAX_TABLE = 1 << 28


class Arrays(Source):
    """Images, labels and attributes in the arrays of a holder."""

    kind = "array"

    def __init__(self, holder: Holder, options: DataOptions):
        """Reads the headers of the arrays that are wanted, and labels and attributes whole.

        Raises:
            DataError: when the holder has no images, or it can't be told which they are; when tables don't fit them.
        """
        self.holder = holder
        self.form, self.path = holder.form, holder.path
        self.content = _read_headers(holder)
        self.count = self.content.total
        self.parts = self.content.parts()
        self.labels, self.classes = _labels(self.content)
        self.attributes, self.attribute_names = _attributes(self.content)
        self.left_out: dict[str, int] = {}
        self.notes = self.content.unused()
        self.warnings: list[str] = []
        self.faults: list[str] = []

    def state(self) -> Any:
        return self.holder.place.stamp(self.holder.files())

    def contents(self, options: DataOptions) -> pack.Contents:
        content, layout = self.content, self.content.layout
        scale, notes = _scale(content)
        shape = wanted_shape(layout.shape, options)
        loss = loss_by_crop([(layout.shape.width, layout.shape.height)], options)

        def chunks() -> Iterator[pack.Chunk]:
            start = 0
            for block in _blocks(content, scale):
                rows = np.arange(start, start + len(block))
                yield pack.Chunk(rows, conform(block, shape, options.fit), fingerprint(block))
                start += len(block)

        serves_as_it_is = (
            content.images[0].dtype == np.uint8
            and scale.white == 255
            and shape == layout.shape
            and layout.axes != "HWC"
            and layout.channels != 4
        )
        file = content.images[0].file() if serves_as_it_is and len(content.images) == 1 else None
        return pack.Contents(
            shape=shape,
            count=content.total,
            images=chunks() if file is None else file,
            labels=self.labels,
            attributes=self.attributes,
            parts=self.parts,
            classes=self.classes,
            attribute_names=self.attribute_names,
            whites=scale.whites,
            notes=(*notes, *([loss] if loss else [])),
        )

    def check(self, findings: Findings, survey: Survey | None = None) -> None:
        content, shape = self.content, self.content.layout.shape
        findings.files = len(self.holder.files())
        fingerprints = []
        start = 0
        scale, notes = _scale(content)
        findings.notes += notes
        with tqdm(total=content.total, desc="verifying", unit="images", disable=None) as bar:
            for block in _blocks(content, scale):
                fingerprints.append(fingerprint(block))
                if survey is not None:
                    survey.take_block(start, block, fingerprints[-1], _bits(content))
                start += len(block)
                bar.update(len(block))
        if survey is not None and content.images[0].dtype != np.uint8:
            stored = Range(_bits(content))
            for values in _stored_blocks(content):
                stored.see(values)
            survey.take_stored(stored)
            survey.whites = scale.whites
        findings.count(np.concatenate(fingerprints), f"{shape.width}x{shape.height}", str(content.images[0].dtype))

    def originals(self, options: DataOptions) -> Iterator[tuple[int, np.ndarray]]:
        scale, _ = _scale(self.content)
        yield from enumerate(chain.from_iterable(_blocks(self.content, scale)))


# ---------------------------------------------------------------------------------------------------------------------
# What the arrays mean
# ---------------------------------------------------------------------------------------------------------------------


class Content(NamedTuple):
    """The arrays of a holder, by what they are. Those of several splits stand one after the other, in the same order.

    Attributes:
        splits: of each of `images`, "train", "val" or "test"; ("all",) of a file that has none.
        images, labels, attributes: one for each split; labels and attributes may be missing, all or none.
        attribute_names: one, or None.
        layout: of all images.
        ignored: the names of arrays that are none of these, and why.
    """

    path: Path
    splits: tuple[str, ...]
    images: list[Stored]
    labels: list[Stored]
    attributes: list[Stored]
    attribute_names: Stored | None
    layout: Layout
    ignored: dict[str, list[str]]

    @property
    def total(self) -> int:
        """How many images there are."""
        return sum(each.shape[0] for each in self.images)

    def parts(self) -> np.ndarray | None:
        """The split of each image, as an index into `pack.PARTS`; None where there are none."""
        if self.splits == ("all",):
            return None
        codes = [pack.PARTS.index(split) for split in self.splits]
        return np.repeat(np.array(codes, np.uint8), [each.shape[0] for each in self.images])

    def unused(self) -> list[str]:
        """What is to be said of arrays that nothing is made of."""
        return [f"{', '.join(names)}: {reason}" for reason, names in self.ignored.items()]


def _role(name: str) -> tuple[str, str] | None:
    """What an array is by its name, and of which split ("all" without one): `x_train` is ("images", "train")."""
    words = name.lower().replace("-", "_")
    if words in ROLES:
        return ROLES[words], "all"
    first, _, rest = words.partition("_")
    if first in PART_NAMES and rest in ROLES:
        return ROLES[rest], PART_NAMES[first]
    rest, _, last = words.rpartition("_")
    return (ROLES[rest], PART_NAMES[last]) if last in PART_NAMES and rest in ROLES else None


def _words(name: Name) -> str:
    """What tells the role of an array: its member's name, of one that is a file the file's without its ending."""
    return PurePosixPath(name.file).stem if name.member is None else name.member


def _read_headers(holder: Holder) -> Content:
    """What a holder has, its shapes and types checked.

    Raises:
        DataError: when it holds no images, or it can't be told which.
    """
    path, names = holder.path, holder.names
    found: dict[tuple[str, str], Name] = {}
    ignored: dict[str, list[str]] = {}
    for name in names:
        role = ("images", "all") if len(names) == 1 else _role(_words(name))
        if role is None:
            ignored.setdefault("not used", []).append(_words(name))
        elif role in found:
            raise DataError(f"{path}: {_words(found[role])} and {_words(name)} are both {role[0]}; keep one")
        else:
            found[role] = name
    splits = [split for split in ("all", *pack.PARTS) if ("images", split) in found]
    if not splits:
        raise DataError(f"{path}: holds {', '.join(map(_words, names)) or 'no array'}; call the images 'images'")
    if len(splits) > 1 and splits[0] == "all":  # x, y, x_test, y_test
        if splits[1] == "train":
            raise DataError(
                f"{path}: holds both {_words(found['images', 'all'])} and {_words(found['images', 'train'])}; keep "
                "one of them"
            )
        found = {(role, "train" if split == "all" else split): name for (role, split), name in found.items()}
        splits[0] = "train"
    elif splits == ["train"]:
        found = {(role, "all" if split == "train" else split): name for (role, split), name in found.items()}
        splits = ["all"]

    def columns(role: str) -> list[Name]:
        """The arrays of a role, one for each split, or none; those that can't be used are noted."""
        there = [name for (each, _), name in found.items() if each == role]
        wanted = [found[role, split] for split in splits if (role, split) in found]
        if len(wanted) < len(splits):
            wanted = []
        left = [name for name in there if name not in wanted]
        if left:
            why = f"not used, since not every array of images has {role}"
            ignored.setdefault(why, []).extend(map(_words, left))
        return wanted

    by_role = {role: columns(role) for role in ("images", "labels", "attributes")}
    named = next((name for (role, _), name in found.items() if role == "attribute_names"), None)
    arrays = holder.open([*chain.from_iterable(by_role.values()), *([named] if named else [])])
    images, labels, attributes = ([arrays[name] for name in names] for names in by_role.values())
    layouts = [_layout(each) for each in images]
    for each, layout in zip(images, layouts, strict=True):
        if layout != layouts[0] or each.dtype != images[0].dtype:
            raise DataError(
                f"{images[0]}: {images[0].dtype} of shape {images[0].shape}, and {each.member}: {each.dtype} of shape "
                f"{each.shape}; give both the same type, size and channels"
            )
    return Content(
        path, tuple(splits), images, labels, attributes, arrays[named] if named else None, layouts[0], ignored
    )


def _bits(content: Content) -> int:
    """Of a number, as `levels` tells them apart."""
    dtype = content.images[0].dtype
    return 0 if dtype.kind == "f" else 8 if dtype in (np.uint8, np.bool_) else 16


class Layout(NamedTuple):
    axes: str  # of one image: "HW", "CHW" or "HWC"
    channels: int  # that are stored: 1, 3 or 4
    shape: ImageShape  # of an image once it is plain grey or RGB


def _layout(images: Stored) -> Layout:
    """Raises DataError unless type and shape are those of images, and can be read in one way only."""
    shown = f"{images}: {images.dtype} of shape {images.shape}"
    if images.dtype.kind not in "buif":
        raise DataError(f"{shown}; make it uint8, bool, or floats from 0 to 1")
    if 0 in images.shape:
        raise DataError(f"{shown}; it holds no images")
    candidates = {
        3: [("HW", 1)],
        4: [("CHW", images.shape[1]), ("HWC", images.shape[-1])] if len(images.shape) == 4 else [],
    }.get(len(images.shape), [])
    fitting = [(axes, channels) for axes, channels in candidates if channels in (1, 3, 4)]
    if len(fitting) != 1:
        ways = "can be read in two ways" if fitting else "isn't one of images"
        remedy = _remedy(images.shape) or "make it (N, H, W), or (N, C, H, W) with 1, 3 or 4 channels"
        raise DataError(f"{shown}, which {ways}; {remedy}")
    likely_other = _remedy(images.shape)
    if likely_other:
        count, height, width = images.shape
        raise DataError(
            f"{shown}, which would be {count:,} grey images of {width}x{height}, and hardly is; {likely_other}, or, if "
            "that is what they are, save x[:, None]"
        )
    axes, channels = fitting[0]
    sizes = dict(zip(axes, images.shape[1:], strict=True))
    if not MIN_PIXELS <= sizes["H"] * sizes["W"] <= MAX_PIXELS:
        raise DataError(f"{shown}; an image must have {MIN_PIXELS} pixels at least and {MAX_PIXELS:,} at most")
    if images.row_bytes > MAX_IMAGE:
        raise DataError(f"{shown}; an image may take {MAX_IMAGE:,} bytes at most, save it as uint8")
    return Layout(axes, channels, ImageShape(1 if channels == 1 else 3, sizes["H"], sizes["W"]))


def _remedy(shape: tuple[int, ...]) -> str | None:
    """What makes images of an array x that is probably stored in another way than genkit's; None where it may be."""
    match shape:
        case (_, length) if (side := math.isqrt(length)) ** 2 == length and side > 1:
            return f"save x.reshape(-1, {side}, {side})"
        case (_, length) if length % 3 == 0 and (side := math.isqrt(length // 3)) ** 2 * 3 == length and side > 1:
            return f"save x.reshape(-1, 3, {side}, {side}), or x.reshape(-1, {side}, {side}, 3) if colours come last"
        case (count, 1, length) | (count, length, 1) if (
            count != length and (side := math.isqrt(length)) ** 2 == length and side > 1
        ):
            return f"save x.reshape(-1, {side}, {side}) of pixels that were laid in a row"
        case (height, width, 1 | 3 | 4 as channels) if min(height, width) > 4:
            kind = "grey" if channels == 1 else "colour"
            return f"of several such {kind} images, save numpy.stack([...]), which is (N, H, W, {channels})"
        case (3, height, width) if min(height, width) > 4:
            return "of several such colour images, save numpy.stack([...]), which is (N, 3, H, W)"
        case (height, width, count) if height == width != count:
            return "if the images' number comes last, save numpy.moveaxis(x, -1, 0)"
        case (_, _, 1 | 3 | 4, _):
            return "if the images' number comes last, save numpy.moveaxis(x, -1, 0)"
    return None


class Scale(NamedTuple):
    """How an array's numbers become bytes.

    Attributes:
        white: the number that is white; 255 of what needs no scaling.
        opaque: of integers with alpha, the number that is opaque.
        whites: for `Contents.whites`.
    """

    white: int
    opaque: int
    whites: Whites


def _scale(content: Content) -> tuple[Scale, list[str]]:
    """What is white in all images of a file, and what is to be said of it. They are read until that is settled.

    Raises:
        DataError: when their numbers aren't brightness, or not on a scale that is read.
    """
    dtype, alpha = content.images[0].dtype, content.layout.channels == 4
    if dtype.kind == "b":
        return Scale(1, 1, {8: 1}), []
    bits = 0 if dtype.kind == "f" else 8 if dtype == np.uint8 else 16
    # Only what can be neither negative nor too large is settled before all has been seen.
    may_stop = dtype in (np.uint8, np.uint16) and not alpha
    found, opacity = Range(bits), Range(bits)
    for block in _stored_blocks(content):
        if alpha:
            axis = 3 if content.layout.axes == "HWC" else 1
            block, opacities = np.split(block, [3], axis)
            opacity.see(opacities)
        found.see(block)
        if may_stop and found.settled:
            break
    try:
        if bits == 0:
            for each in (found, opacity) if alpha else (found,):
                require_floats(each)
            note, scale = dark(found.high * 255), Scale(1, 1, {})
        else:
            white = white_of(found)
            if alpha and not 0 <= opacity.low <= opacity.high <= 65535:
                raise DataError(f"holds alpha of {opacity}, where 0 to 255 is read")
            opaque = 1 if opacity.high == 1 else depth_of(opacity) if alpha else 1
            note, scale = remark(found, white), Scale(white, opaque, {bits: white})
    except DataError as error:
        raise DataError(f"{content.images[0] if len(content.images) == 1 else content.path}: {error}") from error
    return scale, [note] if note else []


def _stored_blocks(content: Content) -> Iterator[np.ndarray]:
    """All images as they are stored, some at a time."""
    for images in content.images:
        # Larger numbers take more room than the bytes that they become.
        yield from images.rows(max(1, pack.chunk_length(content.layout.shape) // images.dtype.itemsize))


def _blocks(content: Content, scale: Scale) -> Iterator[np.ndarray]:
    """All images, some at a time, as uint8 (B, C, H, W), C being 1 or 3.

    Raises:
        DataError: when the file ends too soon, or is damaged.
    """
    layout = content.layout
    for block in _stored_blocks(content):
        if block.dtype.kind == "f":
            block = block.clip(0, 1)
        if layout.axes == "HW":
            block = block[:, None]
        elif layout.axes == "HWC":
            block = block.transpose(0, 3, 1, 2)
        if layout.channels != 4:
            yield to_bytes(block, scale.white)
            continue
        pixels = np.concatenate([to_bytes(block[:, :3], scale.white), to_bytes(block[:, 3:], scale.opaque)], 1)
        pictures = (Image.fromarray(np.ascontiguousarray(each.transpose(1, 2, 0))) for each in pixels)
        yield np.stack([np.asarray(flatten(picture)).transpose(2, 0, 1) for picture in pictures])


def _labels(content: Content) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Each image's class, int64 (N,), and the classes' names: the sorted values themselves."""
    if not content.labels:
        return None, ()
    for stored, images in zip(content.labels, content.images, strict=True):
        count = images.shape[0]
        if stored.shape not in ((count,), (count, 1)) or stored.dtype.kind not in "iubU":
            rows = stored.shape == (count, *stored.shape[1:2]) and len(stored.shape) == 2
            remedy = ", with y.argmax(1) of rows that are 1 in one place; several at once are 'attributes'"
            raise DataError(
                f"{stored}: {stored.dtype} of shape {stored.shape}; make it {count} integers or strings"
                f"{remedy if rows else ''}"
            )
        if (stored.dtype.kind == "U") != (content.labels[0].dtype.kind == "U"):
            others = content.labels[0]
            raise DataError(
                f"{stored}: {stored.dtype}, and {others.member}: {others.dtype}; make both integers, or both strings"
            )
    everything = np.concatenate([_whole(stored).reshape(-1) for stored in content.labels])
    values, labels = np.unique(everything, return_inverse=True)
    classes = tuple(map(str, values))
    odd = [name for name in classes if not name.isprintable()]
    if odd:
        where = content.labels[0]
        raise DataError(f"{where}: {odd[0]!a} has a line break or another control character; rename the class")
    return labels.reshape(-1).astype(np.int64), classes


def _attributes(content: Content) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """bool (N, A), and the attributes' names."""
    if not content.attributes:
        return None, ()
    stored_names = content.attribute_names
    for stored, images in zip(content.attributes, content.images, strict=True):
        count = images.shape[0]
        if len(stored.shape) != 2 or stored.shape[0] != count or stored.dtype.kind not in "iufb":
            raise DataError(f"{stored}: {stored.dtype} of shape {stored.shape}; make it ({count}, A), of 0 and 1")
        if stored_names is None or stored_names.shape != stored.shape[1:] or stored_names.dtype.kind != "U":
            raise DataError(f"{stored}: has no names; add 'attribute_names', {stored.shape[1]} strings")
    assert stored_names is not None
    values = np.concatenate([_whole(stored) for stored in content.attributes])
    first = content.attributes[0]
    if not np.isin(values, (-1, 0, 1)).all():
        raise DataError(f"{first}: other values than 0 and 1, or -1 and 1")
    for column in values.T:
        if len(np.unique(column)) == 3:
            raise DataError(f"{first}: -1, 0 and 1 in one column; make it 0 and 1, or -1 and 1")
    return values > 0, tables.attribute_names(stored_names.path, [str(name) for name in _whole(stored_names)])


def _whole(stored: Stored) -> np.ndarray:
    """Raises DataError where it is larger than labels and attributes are, or has strings that aren't text."""
    if math.prod(stored.shape) * stored.dtype.itemsize > MAX_TABLE:
        raise DataError(f"{stored}: takes more than {MAX_TABLE:,} bytes; save shorter strings or smaller numbers")
    blocks = list(stored.rows(1 << 16))
    whole = np.concatenate(blocks) if blocks else np.empty(stored.shape, stored.dtype)
    if stored.dtype.kind == "U":
        # NumPy takes any 32 bits for a character, on which Python then fails, and half a pair can't be written.
        codes = whole.reshape(-1).view(np.dtype(np.uint32).newbyteorder(stored.dtype.byteorder))
        if ((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))).any():
            raise DataError(f"{stored}: holds characters that don't exist; save the strings again")
    return whole
