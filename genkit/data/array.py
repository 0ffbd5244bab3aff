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
from genkit.data.pixels import conform, wanted_shape
from genkit.errors import DataError, in_one_line
from genkit.files import expanded

#: What the arrays of a .npz may be called. One that is alone is the images, whatever it is called.
IMAGES = ("images", "x")
LABELS = ("labels", "y")
ATTRIBUTES = ("attributes",)
ATTRIBUTE_NAMES = ("attribute_names",)

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
    """The images of an array, test and val held out.

    - Images are (N, H, W), (N, C, H, W) or (N, H, W, C) with 1, 3 or (RGB and alpha, shown on white) 4 channels, of
      type uint8, bool, or floats in [0, 1].
    - A `.npz` holds them as `images` or `x` (or alone), and may hold `labels` or `y`, (N,) numbers or strings, and
      `attributes`, (N, A) of 0 and 1 or -1 and 1, with `attribute_names`, (A,) strings.

    A uint8 `.npy` in one of the first two layouts is memory-mapped as it lies; anything else is converted into a pack.

    Raises:
        DataError: when the file is damaged, or holds something else.
    """
    path = expanded(options.dataset).resolve()
    with _reading(path):
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns]
    source = {"array": str(path), "image_size": options.image_size, "channels": options.channels}
    return pack.open_or_write(pack.Key(options.dataset, source, state), lambda: _contents(path, options)).dataset


def verify(name_or_path: str) -> Findings:
    """Read an array whole, check its values, count duplicates, and check packs of it."""
    path = expanded(name_or_path).resolve()
    findings = Findings(source=str(path), files=1)
    fingerprints = []
    try:
        arrays = _arrays(path)
        images = _images(path, arrays)
        layout = _layout(images)
        with tqdm(total=images.shape[0], desc="verifying", unit="images", disable=None) as bar:
            for block in _blocks(images, layout):
                fingerprints.append(fingerprint(block))
                bar.update(len(block))
        findings.count(np.concatenate(fingerprints), f"{layout.shape.width}x{layout.shape.height}", str(images.dtype))
        _labels(arrays, images.shape[0])
        _attributes(arrays, images.shape[0])
    except DataError as error:
        findings.problems.append(str(error))
    pack.verify_packs_of({"array": str(path)}, findings)
    return findings


def _contents(path: Path, options: DataOptions) -> pack.Contents:
    arrays = _arrays(path)
    images = _images(path, arrays)
    layout = _layout(images)
    count = images.shape[0]
    shape = wanted_shape(layout.shape, options)
    labels, classes = _labels(arrays, count)
    attributes, attribute_names = _attributes(arrays, count)

    def chunks() -> Iterator[pack.Chunk]:
        start = 0
        for block in _blocks(images, layout):
            yield pack.Chunk(np.arange(start, start + len(block)), conform(block, shape), fingerprint(block))
            start += len(block)

    serves_as_it_is = (
        images.member is None
        and images.dtype == np.uint8
        and shape == layout.shape
        and layout.axes != "HWC"
        and layout.channels != 4
    )
    return pack.Contents(
        shape=shape,
        count=count,
        images=path if serves_as_it_is else chunks(),
        labels=labels,
        attributes=attributes,
        classes=classes,
        attribute_names=attribute_names,
    )


# ---------------------------------------------------------------------------------------------------------------------
# What the arrays mean
# ---------------------------------------------------------------------------------------------------------------------


class Layout(NamedTuple):
    axes: str  # of one image: "HW", "CHW" or "HWC"
    channels: int  # that are stored: 1, 3 or 4
    shape: ImageShape  # of an image once it is plain grey or RGB


def _images(path: Path, arrays: dict[str, Stored]) -> Stored:
    images = _pick(arrays, IMAGES) or (next(iter(arrays.values())) if len(arrays) == 1 else None)
    if images is None:
        raise DataError(f"{path}: holds {', '.join(arrays) or 'no array'}; call the images 'images'")
    return images


def _layout(images: Stored) -> Layout:
    """Raises DataError unless type and shape are those of images, and can be read in one way only."""
    shown = f"{images}: {images.dtype} of shape {images.shape}"
    if images.dtype != np.uint8 and images.dtype.kind not in "bf":
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
        raise DataError(f"{shown}, which {ways}; make it (N, H, W), or (N, C, H, W) with 1, 3 or 4 channels")
    axes, channels = fitting[0]
    sizes = dict(zip(axes, images.shape[1:], strict=True))
    if not MIN_PIXELS <= sizes["H"] * sizes["W"] <= MAX_PIXELS:
        raise DataError(f"{shown}; an image must have {MIN_PIXELS} pixels at least and {MAX_PIXELS:,} at most")
    if images.row_bytes > MAX_IMAGE:
        raise DataError(f"{shown}; an image may take {MAX_IMAGE:,} bytes at most, save it as uint8")
    return Layout(axes, channels, ImageShape(1 if channels == 1 else 3, sizes["H"], sizes["W"]))


def _blocks(images: Stored, layout: Layout) -> Iterator[np.ndarray]:
    """All images, some at a time, as uint8 (B, C, H, W), C being 1 or 3.

    Raises:
        DataError: when the file ends too soon, is damaged, or has floats outside [0, 1].
    """
    # Floats take more room than the bytes that they become.
    step = max(1, pack.chunk_length(layout.shape) // images.dtype.itemsize)
    for block in _rows(images, step):
        if block.dtype.kind == "f":
            if not (block.min() >= 0 and block.max() <= 1):
                raise DataError(
                    f"{images}: floats from {block.min():g} to {block.max():g}, where 0 to 1 (black to white) is "
                    "expected; rescale them, or save as uint8"
                )
            block = np.rint(block * 255.0)
        elif block.dtype.kind == "b":
            block = block * np.uint8(255)
        pixels = block.astype(np.uint8, copy=False)
        if layout.axes == "HW":
            pixels = pixels[:, None]
        elif layout.axes == "HWC":
            pixels = pixels.transpose(0, 3, 1, 2)
        if layout.channels == 4:
            pictures = (Image.fromarray(np.ascontiguousarray(each.transpose(1, 2, 0))) for each in pixels)
            pixels = np.stack([np.asarray(flatten(picture)).transpose(2, 0, 1) for picture in pictures])
        yield pixels


def _labels(arrays: dict[str, Stored], count: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Each image's class, int64 (N,), and the classes' names: the sorted values themselves."""
    stored = _pick(arrays, LABELS)
    if stored is None:
        return None, ()
    if stored.shape not in ((count,), (count, 1)) or stored.dtype.kind not in "iubU":
        raise DataError(f"{stored}: {stored.dtype} of shape {stored.shape}; make it {count} integers or strings")
    values, labels = np.unique(_whole(stored).reshape(count), return_inverse=True)
    classes = tuple(map(str, values))
    odd = [name for name in classes if not name.isprintable()]
    if odd:
        raise DataError(f"{stored}: {odd[0]!a} has a line break or another control character; rename the class")
    return labels.reshape(count).astype(np.int64), classes


def _attributes(arrays: dict[str, Stored], count: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """bool (N, A), and the attributes' names."""
    stored, stored_names = _pick(arrays, ATTRIBUTES), _pick(arrays, ATTRIBUTE_NAMES)
    if stored is None:
        return None, ()
    if len(stored.shape) != 2 or stored.shape[0] != count or stored.dtype.kind not in "iufb":
        raise DataError(f"{stored}: {stored.dtype} of shape {stored.shape}; make it ({count}, A), of 0 and 1")
    if stored_names is None or stored_names.shape != stored.shape[1:] or stored_names.dtype.kind != "U":
        raise DataError(f"{stored}: has no names; add 'attribute_names', {stored.shape[1]} strings")
    values = _whole(stored)
    if not np.isin(values, (-1, 0, 1)).all():
        raise DataError(f"{stored}: other values than 0 and 1, or -1 and 1")
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


def _pick(arrays: dict[str, Stored], names: Sequence[str]) -> Stored | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _arrays(path: Path) -> dict[str, Stored]:
    """The arrays in a file by name; the one in a .npy is called `images`."""
    with _reading(path):
        size = path.stat().st_size
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return {"images": _header(file, path, None, size)}
        if path.suffix.lower() != ".npz":
            raise DataError(f"{path}: give a folder of images, a .npy or a .npz file")
        with _archive(path) as archive:
            arrays: dict[str, Stored] = {}
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    name = info.filename.removesuffix(".npy")
                    _check_member(info, size)
                    if name in arrays:
                        raise ValueError(f"it holds {name} twice")
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
    if np.lib.format.read_magic(file) != (1, 0):
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
