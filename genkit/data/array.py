"""A NumPy array of images: a `.npy` file, or a `.npz` file that may bring labels and attributes.

Nobody vouches for the file: nothing is unpickled, and no more is allocated than a few images at a time.
"""

from __future__ import annotations

import io
import math
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from genkit.contract import ImageShape
from genkit.data import DataOptions, pack, tables
from genkit.data.dataset import Dataset, fingerprint
from genkit.data.decode import MAX_PIXELS, flatten
from genkit.data.findings import Findings
from genkit.data.levels import Range, Whites, dark, depth_of, remark, require_floats, to_bytes, white_of
from genkit.data.pixels import conform, loss_by_crop, wanted_shape
from genkit.errors import DataError, in_one_line
from genkit.files import expanded

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

#: Deflate makes so many bytes of one at most.
MAX_INFLATION = 1032
#: How large the directory of a .npz may be, which lists its arrays: four are ours, and whatever else somebody keeps.
MAX_DIRECTORY = 1 << 16
#: Bytes of one image, as stored: the largest picture that is read, in three channels.
MAX_IMAGE = 3 * MAX_PIXELS
#: Pixels of the smallest image. (Smaller ones would take less room than what is noted of each.)
MIN_PIXELS = 16
#: Bytes of all labels, or of all attributes, which are held in memory.
MAX_TABLE = 1 << 28


def load(options: DataOptions) -> Dataset:
    """The images of an array, test and val held out where it doesn't bring them.

    - Images are (N, H, W), (N, C, H, W) or (N, H, W, C) with 1, 3 or (RGB and alpha, shown on white) 4 channels: bool,
      integers, whose white `levels` finds, or floats in [0, 1].
    - A `.npz` holds them as `images` or `x` (or alone), and may hold `labels` or `y`, (N,) numbers or strings, and
      `attributes`, (N, A) of 0 and 1 or -1 and 1, with `attribute_names`, (A,) strings. With `train`, `val` or `test`
      before such a name or behind it (`x_train`, `test_images`) they are splits.

    A uint8 `.npy` in one of the first two layouts is memory-mapped as it lies; anything else is converted into a pack.

    Raises:
        DataError: when the file is damaged, or holds something else.
    """
    path = expanded(options.dataset).resolve()
    with _reading(path):
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns]
    source = {"array": str(path), **pack.form_of(options)}
    return pack.open_or_write(pack.Key(options.dataset, source, state), lambda: _contents(path, options)).told()


def has_own_splits(path: Path) -> bool:
    """Whether the file says which of its images are for training, and which for testing.

    Raises:
        DataError: when it can't be read, or made sense of.
    """
    return _read_headers(path).splits != ("all",)


def verify(name_or_path: str) -> Findings:
    """Read an array whole, check its values, count duplicates, and check packs of it."""
    path = expanded(name_or_path).resolve()
    findings = Findings(source=str(path), files=1)
    fingerprints = []
    try:
        content = _read_headers(path)
        layout = content.layout
        scale, findings.notes = _scale(content)
        findings.notes += content.unused()
        with tqdm(total=content.total, desc="verifying", unit="images", disable=None) as bar:
            for block in _blocks(content, scale):
                fingerprints.append(fingerprint(block))
                bar.update(len(block))
        mode = str(content.images[0].dtype)
        findings.count(np.concatenate(fingerprints), f"{layout.shape.width}x{layout.shape.height}", mode)
        _labels(content)
        _attributes(content)
    except DataError as error:
        findings.problems.append(str(error))
    pack.verify_packs_of({"array": str(path)}, findings)
    return findings


def _contents(path: Path, options: DataOptions) -> pack.Contents:
    content = _read_headers(path)
    layout = content.layout
    scale, notes = _scale(content)
    shape = wanted_shape(layout.shape, options)
    loss = loss_by_crop([(layout.shape.width, layout.shape.height)], options)
    labels, classes = _labels(content)
    attributes, attribute_names = _attributes(content)

    def chunks() -> Iterator[pack.Chunk]:
        start = 0
        for block in _blocks(content, scale):
            rows = np.arange(start, start + len(block))
            yield pack.Chunk(rows, conform(block, shape, options.fit), fingerprint(block))
            start += len(block)

    serves_as_it_is = (
        path.suffix.lower() == ".npy"
        and content.images[0].dtype == np.uint8
        and scale.white == 255
        and shape == layout.shape
        and layout.axes != "HWC"
        and layout.channels != 4
    )
    return pack.Contents(
        shape=shape,
        count=content.total,
        images=path if serves_as_it_is else chunks(),
        labels=labels,
        attributes=attributes,
        parts=content.parts(),
        classes=classes,
        attribute_names=attribute_names,
        whites=scale.whites,
        notes=(*notes, *([loss] if loss else []), *content.unused()),
    )


# ---------------------------------------------------------------------------------------------------------------------
# What the arrays mean
# ---------------------------------------------------------------------------------------------------------------------


class Content(NamedTuple):
    """The arrays of a file, by what they are. Those of several splits stand one after the other, in the same order.

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


def _read_headers(path: Path) -> Content:
    """What a file holds, its shapes and types checked.

    Raises:
        DataError: when it holds no images, or it can't be told which.
    """
    names = _names(path)
    found: dict[tuple[str, str], str] = {}
    ignored: dict[str, list[str]] = {}
    for name in names:
        role = ("images", "all") if len(names) == 1 else _role(name)
        if role is None:
            ignored.setdefault("not used", []).append(name)
        elif role in found:
            raise DataError(f"{path}: {found[role]} and {name} are both {role[0]}; keep one")
        else:
            found[role] = name
    splits = [split for split in ("all", *pack.PARTS) if ("images", split) in found]
    if not splits:
        raise DataError(f"{path}: holds {', '.join(names) or 'no array'}; call the images 'images'")
    if len(splits) > 1 and splits[0] == "all":  # x, y, x_test, y_test
        if splits[1] == "train":
            raise DataError(
                f"{path}: holds both {found['images', 'all']} and {found['images', 'train']}; keep one of them"
            )
        found = {(role, "train" if split == "all" else split): name for (role, split), name in found.items()}
        splits[0] = "train"
    elif splits == ["train"]:
        found = {(role, "all" if split == "train" else split): name for (role, split), name in found.items()}
        splits = ["all"]

    def columns(role: str) -> list[str]:
        """The arrays of a role, one for each split, or none; those that can't be used are noted."""
        there = [name for (each, _), name in found.items() if each == role]
        wanted = [found[role, split] for split in splits if (role, split) in found]
        if len(wanted) < len(splits):
            wanted = []
        left = [name for name in there if name not in wanted]
        if left:
            ignored.setdefault(f"not used, since not every array of images has {role}", []).extend(left)
        return wanted

    by_role = {role: columns(role) for role in ("images", "labels", "attributes")}
    named = next((name for (role, _), name in found.items() if role == "attribute_names"), None)
    arrays = _arrays(path, [*chain.from_iterable(by_role.values()), *([named] if named else [])])
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
        yield from _rows(images, max(1, pack.chunk_length(content.layout.shape) // images.dtype.itemsize))


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


# ---------------------------------------------------------------------------------------------------------------------
# How they are read
# ---------------------------------------------------------------------------------------------------------------------


class Stored(NamedTuple):
    """An array in a file, whose header has been read and agrees with the file's size."""

    path: Path
    member: str | None  # of a .npz
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int  # where the elements begin

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}, {self.member}"


def _names(path: Path) -> list[str]:
    """The names of the arrays in a file, whatever they hold; the one in a .npy is called `images`."""
    if path.suffix.lower() == ".npy":
        return ["images"]
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path}: give a folder of images, a .npy or a .npz file")
    with _reading(path), _archive(path) as archive:
        size = path.stat().st_size
        names = []
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                _check_member(info, size)
                names.append(info.filename.removesuffix(".npy"))
                if names.count(names[-1]) > 1:
                    raise ValueError(f"it holds {names[-1]} twice")
        return names


def _arrays(path: Path, names: Sequence[str]) -> dict[str, Stored]:
    """The headers of the arrays in a file that have these names, of those that `_names` gave."""
    with _reading(path):
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return {"images": _header(file, path, None, path.stat().st_size)}
        arrays = {}
        with _archive(path) as archive:
            for name in names:
                info = archive.getinfo(f"{name}.npy")
                with archive.open(info) as file:
                    arrays[name] = _header(file, path, info.filename, info.file_size)
        return arrays


def _check_member(info: zipfile.ZipInfo, size: int) -> None:
    """Raises ValueError where an archive of `size` bytes, which zipfile trusts, lies about a member, or hides it."""
    # The name is only compared, and nothing is written under it; but it is shown.
    if not info.filename.isprintable():
        raise ValueError(f"{info.filename!a} is no name for an array")
    if info.flag_bits & 1:
        raise ValueError(f"{info.filename} is encrypted, which isn't read")
    # Other methods than these have no bound.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is compressed in a way that NumPy doesn't use")
    if info.compress_size > size or info.file_size > info.compress_size * MAX_INFLATION + 64:
        raise ValueError(f"{info.filename} claims to be larger than it can be")


def _header(file: IO[bytes], path: Path, member: str | None, size: int) -> Stored:
    """Read the header of an array that takes `size` bytes with it. Raises ValueError when they don't agree."""
    # Later versions differ in allowing headers of up to 4 GB, which no plain array needs.
    try:
        version = np.lib.format.read_magic(file)
    except ValueError:
        raise ValueError("it isn't an array in NumPy's format, whatever its name says") from None
    if version != (1, 0):
        raise ValueError("not in version 1.0 of NumPy's format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    offset = file.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which aren't read")
    if fortran_order and len(shape) > 1:
        raise ValueError("its elements are in Fortran's order; pass it through numpy.ascontiguousarray")
    if min(shape, default=0) < 0 or offset + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{size:,} bytes, which isn't what an array {shape} of {dtype} takes; is it whole?")
    return Stored(path, member, shape, dtype, offset)


def _whole(stored: Stored) -> np.ndarray:
    """Raises DataError where it is larger than labels and attributes are, or has strings that aren't text."""
    if math.prod(stored.shape) * stored.dtype.itemsize > MAX_TABLE:
        raise DataError(f"{stored}: takes more than {MAX_TABLE:,} bytes; save shorter strings or smaller numbers")
    blocks = list(_rows(stored, 1 << 16))
    whole = np.concatenate(blocks) if blocks else np.empty(stored.shape, stored.dtype)
    if stored.dtype.kind == "U":
        # NumPy takes any 32 bits for a character, on which Python then fails, and half a pair can't be written.
        codes = whole.reshape(-1).view(np.dtype(np.uint32).newbyteorder(stored.dtype.byteorder))
        if ((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))).any():
            raise DataError(f"{stored}: holds characters that don't exist; save the strings again")
    return whole


def _rows(stored: Stored, step: int) -> Iterator[np.ndarray]:
    """The array, `step` rows at a time."""
    count, *rest = stored.shape
    with _reading(stored.path), _opened(stored.path, stored.member) as file:
        file.read(stored.offset)
        for start in range(0, count, step):
            wanted = min(step, count - start) * stored.row_bytes
            content = file.read(wanted)
            if len(content) != wanted:
                raise ValueError("it ends too soon")
            yield np.frombuffer(content, stored.dtype).reshape(-1, *rest)


@contextmanager
def _opened(path: Path, member: str | None) -> Iterator[IO[bytes]]:
    if member is None:
        with path.open("rb") as file:
            yield file
    else:
        with _archive(path) as archive, archive.open(member) as file:
            yield file


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Raises ValueError when its directory is larger than MAX_DIRECTORY."""
    with _ArchiveFile(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        file.limit = None
        yield archive


class _ArchiveFile(io.BufferedReader):
    """A file of which zipfile may read no more than `limit` bytes at once.

    It reads the directory in one piece, and makes an object of every 46 bytes of it, before anybody can ask how large
    it is.
    """

    limit: int | None = MAX_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is not None and size is not None and size > self.limit:
            raise ValueError(f"its directory takes {size:,} bytes, {self.limit:,} being enough for any arrays")
        return super().read(size)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a damaged file makes `zipfile` or NumPy stumble over, in one line."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        problem = in_one_line(error)
        raise DataError(f"{path}: {problem}; save it again with numpy.save or numpy.savez") from error
