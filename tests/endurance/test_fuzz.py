"""What the readers make of damaged files: a documented error or a result, in little memory, ten thousand times a kind.

In a short run it is 100 times, which finds what goes wrong often.

Each kind runs in a process of its own, whose peak memory is its own and whose death is seen. They are forks of one
that has imported torch and Hypothesis, and has had Hypothesis look for values to try, which takes longer than a hundred
files do. `python -m endurance.test_fuzz KIND COUNT FOLDER`, tests/ being on PYTHONPATH, is a fresh one of one kind.
"""

from __future__ import annotations

import bz2
import contextlib
import copy
import faulthandler
import functools
import gc
import gzip
import hashlib
import io
import itertools
import json
import logging
import lzma
import math
import os
import re
import struct
import subprocess
import sys
import tarfile
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import hypothesis.strategies as st
import numpy as np
import pytest
from endurance.conftest import FULL, Table
from endurance.harness import TESTS, Ended
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from PIL import Image

from genkit.data import DataOptions, load
from genkit.errors import CheckpointError, DataError, UsageError

#: What is fuzzed, with its place in the table.
KINDS = {
    "idx": (40, "IDX files"),
    "png": (41, "PNG files"),
    "jpeg": (42, "JPEG files"),
    "npz": (43, ".npz files of fuzzed arrays"),
    "zip": (44, ".npz files, fuzzed as zip archives"),
    "toml": (45, "recipes"),
    "checkpoint": (46, "checkpoints whose hashes are right"),
    "config": (47, "config.json of a run to be resumed"),
    "idx_file": (50, "IDX files of somebody's own, plain and compressed"),
    "table": (51, "tables of pixels"),
    "matlab": (52, "MATLAB files of versions 4, 6 and 7"),
    "hdf5": (53, "HDF5 files, and MATLAB's of version 7.3"),
    "zip_of_pictures": (58, "zip archives of pictures and arrays"),
    "tar_of_pictures": (59, "tar archives of pictures, plain and compressed"),
    "parquet": (57, "Parquet and Arrow files"),
    "stack": (54, "TIFF stacks and animations"),
    "dicom": (55, "DICOM files"),
    "heif": (56, "HEIF files"),
}
COUNT = 10_000 if FULL else 100
#: Seconds that one file may take before the process is ended: no test of speed, but the end of a hang.
PATIENCE = 60
#: Hypothesis remembers every file of a run, which would count as memory that the readers take.
BATCH = 500


class Nursery:
    """A process that forks one for each kind of files."""

    def __init__(self, folder: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "endurance.test_fuzz"],
            cwd=folder,  # where Hypothesis may leave its notes
            env={**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object) -> Ended:
        """Have a kind's files read: kind, count and folder, as `main` takes them."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(each) for each in arguments]) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak memory of one process")
@pytest.mark.parametrize("kind", KINDS)
def test_fuzzed_files(kind: str, nursery: Nursery, tmp_path: Path, table: Table) -> None:
    ended = nursery.run(kind, COUNT, tmp_path)
    assert ended.status == 0, ended.printed
    result = Result(**json.loads(ended.printed.splitlines()[-1]))
    count = result.refused + result.read
    assert count == COUNT
    assert result.refused > count / 4
    # Of a hundred, all may be refused; that undamaged ones are read is seen before.
    assert result.read > 0 or not FULL
    assert result.grown < 2 * result.largest + (200 << 20)
    place, name = KINDS[kind]
    table.row(
        place,
        f"{count:,} fuzzed {name}",
        f"{result.refused:,} refused with a documented error, {result.read:,} read; 0 other errors; "
        f"peak memory +{result.grown / 1e6:.0f} MB",
    )


class Result(NamedTuple):
    refused: int  # with a documented error, whose message is one line
    read: int
    largest: int  # bytes of the largest file
    grown: int  # bytes of memory that the process took at its peak, beyond what it had taken for undamaged files


class Reader(NamedTuple):
    """One kind of files, and how the commands read them."""

    files: st.SearchStrategy[bytes]
    undamaged: list[bytes]
    read: Callable[[bytes], object]


# ---------------------------------------------------------------------------------------------------------------------
# The process that reads them
# ---------------------------------------------------------------------------------------------------------------------


def main(kind: str, count: int, folder: Path) -> Result:
    """Read `count` files of a kind.

    Raises:
        Exception: whatever a reader raised beyond the documented errors, and AssertionError for a message of several
            lines. The file that caused it, made as small as could be, is left in the folder.
    """
    os.environ |= {"GENKIT_DATA": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache"), "GENKIT_OFFLINE": "1"}
    logging.disable()
    files, undamaged, read = {
        "idx": idx,
        "png": png,
        "jpeg": jpeg,
        "npz": npz,
        "zip": zip_container,
        "toml": toml,
        "checkpoint": checkpoint,
        "config": config,
        "idx_file": idx_file,
        "table": pixel_table,
        "matlab": matlab,
        "hdf5": hdf5,
        "zip_of_pictures": zip_of_pictures,
        "tar_of_pictures": tar_of_pictures,
        "parquet": parquet,
        "stack": stack,
        "dicom": dicom,
        "heif": heif,
    }[kind](folder)
    for content in undamaged:
        read(content)
    counts: Counter[str] = Counter()
    largest = 0

    def attempt(content: bytes) -> None:
        nonlocal largest
        largest = max(largest, len(content))
        # Also ends what hangs within a C library, where no signal handler of Python's would run.
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        try:
            read(content)
        except (CheckpointError, DataError, UsageError) as error:
            if len(str(error).splitlines()) != 1:
                raise AssertionError("a message of several lines") from error
            counts["refused"] += 1
        else:
            counts["read"] += 1
        finally:
            faulthandler.cancel_dump_traceback_later()

    def batch(function: Callable[[bytes], None], number: int, size: int) -> None:
        run = settings(
            max_examples=size,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
            verbosity=Verbosity.quiet,  # the smallest file that fails lies in the folder, and would fill the screen
        )
        run(seed(number)(given(files)(function)))()
        gc.collect()

    # Without reading any: for values to try, Hypothesis parses the source of all modules, which takes 200 MB.
    batch(lambda content: None, 0, min(BATCH, count // 10))
    with contextlib.suppress(PermissionError):  # where it isn't allowed, the bound is a little harder to exceed
        Path("/proc/self/clear_refs").write_text("5")  # forgets that peak, proc(5)
    before = peak_memory()
    for number in range(0, count, BATCH):
        batch(attempt, number, min(BATCH, count - number))
    return Result(counts["refused"], counts["read"], largest, peak_memory() - before)


def peak_memory() -> int:
    """Bytes. (Not getrusage's figure, which a process inherits from the one that started it.)"""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


# ---------------------------------------------------------------------------------------------------------------------
# Damage
# ---------------------------------------------------------------------------------------------------------------------

#: Numbers at which arithmetic goes wrong.
EXTREMES = [0, 1, 2, *(2**bits + more for bits in (7, 8, 15, 16, 31, 32, 63, 64) for more in (-1, 0))]


@st.composite
def damaged(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """One of `files` with up to four faults: mostly in front, where headers are, and at the end."""
    content = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 4))):
        length = len(content)
        first, last = draw(st.sampled_from([(0, 64), (0, length), (length - 128, length)]))
        place = draw(st.integers(max(0, first), min(last, length)))
        match draw(st.integers(0, 6)):
            case 0 if place < length:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case 1:
                new = draw(st.binary(min_size=1, max_size=4))
                content[place : place + len(new)] = new
            case 2:
                size = draw(st.sampled_from([1, 2, 4, 8]))
                number = draw(st.sampled_from(EXTREMES)) % (1 << 8 * size)
                content[place : place + size] = number.to_bytes(size, draw(st.sampled_from(["big", "little"])))
            case 3:
                del content[place : place + draw(st.sampled_from([1, 2, 4, 64, 1024]))]
            case 4:
                content[place:place] = draw(st.binary(min_size=1, max_size=64))
            case 5:
                other = draw(st.integers(0, length))
                content[place:place] = content[other : other + draw(st.sampled_from([1, 4, 64, 1024]))]
            case _:
                del content[place:]
    return bytes(content)


def anything(*better: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """`better` in equal shares, and some wholly random bytes."""
    return st.integers(0, 15).flatmap(lambda n: better[n % len(better)] if n else st.binary(max_size=4096))


@functools.cache
def digits() -> np.ndarray:
    """Real ones, uint8 (100, 28, 28)."""
    return load(DataOptions(dataset="mnist5k")).test.images(slice(100))[:, 0].numpy()


# ---------------------------------------------------------------------------------------------------------------------
# The kinds
# ---------------------------------------------------------------------------------------------------------------------


def idx(folder: Path) -> Reader:
    """A set of its own that has no published sums, which nothing damaged would get past; plain and gzipped."""
    from genkit.data.sets import mnist as module

    name = "digits-idx3-ubyte"
    module.FILES[name] = (20, 28, 28)
    module.SETS["fuzzed"] = module.IdxSet(mirrors=(), classes=())
    plain = struct.pack(">BBBB3I", 0, 0, 8, 3, 20, 28, 28) + digits()[:20].tobytes()

    def read(content: bytes) -> None:
        path = folder / (f"{name}.gz" if content[:2] == module.GZIP else name)
        path.write_bytes(content)
        images = module._read("fuzzed", name, path)
        assert images.shape == (20, 28, 28)
        if path.name == name:
            assert images.tobytes() == content[16:]

    packed = damaged([plain]).map(lambda content: gzip.compress(content, 1))
    bomb = st.integers(0, 2**22).map(lambda size: gzip.compress(plain[:16] + bytes(size), 1))
    files = anything(damaged([plain]), damaged([gzip.compress(plain)]), packed, bomb)
    return Reader(files, [plain, gzip.compress(plain)], read)


def picture(folder: Path) -> Callable[[bytes], None]:
    """As a folder of pictures is read: the header, then the pixels."""
    from genkit.contract import ImageShape
    from genkit.data.decode import BadImage, decode_and_hash, read_header, without_warnings

    path = folder / "picture"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        try:
            with without_warnings():
                header = read_header(path)
                pixels, _, _ = decode_and_hash(path, header, ImageShape(1 if header.grey else 3, 28, 28))
        except BadImage as error:
            raise DataError(str(error)) from error
        assert pixels.dtype == np.uint8
        assert pixels.shape == (1 if header.grey else 3, 28, 28)

    return read


def every_page(folder: Path) -> Callable[[bytes], None]:
    """As `--pages all` reads a picture: the number of its pages, then each one's header, range and pixels."""
    from genkit.contract import ImageShape
    from genkit.data.decode import BadImage, decode_and_hash, range_of, read_header, without_warnings
    from genkit.data.forms.pages import count_pages, pages_of

    path = folder / "picture"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        try:
            with without_warnings():
                count = count_pages(path)
                for page in itertools.islice(pages_of(path) if count > 1 else [path], 40):
                    if isinstance(page, BadImage):
                        raise page
                    header = read_header(page)
                    range_of(page)
                    pixels, _, _ = decode_and_hash(page, header, ImageShape(1 if header.grey else 3, 28, 28))
                    assert pixels.dtype == np.uint8
                    assert pixels.shape == (1 if header.grey else 3, 28, 28)
        except BadImage as error:
            raise DataError(str(error)) from error

    return read


def stack(folder: Path) -> Reader:
    import tifffile

    pictures = digits()[:4]
    coloured = np.stack([pictures.astype(np.uint16) * 257] * 3, -1)
    whole = []
    for pages, options in [
        (pictures, {}),
        (pictures.astype(np.uint16) * 16, {"compression": "zlib", "predictor": True}),
        (pictures.astype(np.float64) / 3, {"tile": (16, 16)}),
        (pictures.astype(np.int8), {"rowsperstrip": 5}),
        (coloured, {"photometric": "rgb"}),
        (coloured.transpose(0, 3, 1, 2), {"photometric": "rgb", "planarconfig": "separate"}),
    ]:
        for big in (False, True):
            buffer = io.BytesIO()
            with tifffile.TiffWriter(buffer, bigtiff=big) as file:
                for page in pages:
                    file.write(page, contiguous=False, **options)
            whole.append(buffer.getvalue())
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pictures, imagej=True, truncate=True)
    whole.append(buffer.getvalue())
    first, *others = map(Image.fromarray, pictures)
    animations = [saved(first, format, save_all=True, append_images=others) for format in ("gif", "png", "webp")]

    @st.composite
    def claiming(draw: st.DrawFn) -> bytes:
        """Other numbers in the directories of pages."""
        content = bytearray(draw(st.sampled_from(whole)))
        size = int.from_bytes(content[4:6], "little") if content[2] == 43 else 4
        for _ in range(draw(st.integers(1, 4))):
            tag = draw(
                st.sampled_from([254, 256, 257, 258, 259, 262, 270, 273, 277, 278, 279, 284, 317, 322, 324, 339])
            )
            places = [found.start() for found in re.finditer(re.escape(struct.pack("<H", tag)), content)]
            if places:
                place = draw(st.sampled_from(places)) + draw(st.sampled_from([2, 4, 4 + size, 4 + size]))
                number = draw(st.one_of(st.sampled_from([*EXTREMES, len(content)]), st.integers(0, 300)))
                wide = draw(st.sampled_from([2, 4]))
                content[place : place + wide] = (number % (1 << 8 * wide)).to_bytes(wide, "little")
        return bytes(content)

    return Reader(anything(damaged(whole), claiming(), damaged(animations)), [*whole, *animations], every_page(folder))


def dicom(folder: Path) -> Reader:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, generate_uid

    pictures = digits()[:3]

    def saved_as(pixels: np.ndarray, syntax: str, **said: object) -> bytes:
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        image.Rows, image.Columns = 28, 28
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 8 * pixels.dtype.itemsize
        image.HighBit = image.BitsStored - 1
        image.PixelRepresentation = int(pixels.dtype.kind == "i")
        image.PixelData = pixels.tobytes()
        for name, value in said.items():
            setattr(image, name, value)
        if syntax == RLELossless:
            image.compress(RLELossless)
        buffer = io.BytesIO()
        image.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    measured = pictures.astype(np.int16) * 8
    ramp = (np.arange(256) * 257).astype(np.uint16).tobytes()
    colours = ("Red", "Green", "Blue")
    palette = {f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 16] for colour in colours}
    palette |= {f"{colour}PaletteColorLookupTableData": ramp for colour in colours}  # type: ignore[misc]
    coloured = {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    whole = [
        saved_as(measured[0], ImplicitVRLittleEndian, RescaleSlope="2.5", RescaleIntercept=-1024, PixelPaddingValue=0),
        saved_as(pictures, ExplicitVRLittleEndian, NumberOfFrames=3),
        saved_as(measured, RLELossless, NumberOfFrames=3),
        saved_as(pictures[0], ExplicitVRLittleEndian, PhotometricInterpretation="PALETTE COLOR", **palette),
        saved_as(
            np.stack([pictures[0]] * 3, -1), ExplicitVRLittleEndian, PhotometricInterpretation="YBR_FULL", **coloured
        ),
    ]

    @st.composite
    def claiming(draw: st.DrawFn) -> bytes:
        """Other numbers in the group that describes the pixels, and in the lengths of elements."""
        content = bytearray(draw(st.sampled_from(whole)))
        places = [found.start() for found in re.finditer(rb"\x28\x00|\xe0\x7f|\xfe\xff", content)]
        for _ in range(draw(st.integers(1, 4))):
            place = draw(st.sampled_from(places)) + draw(st.sampled_from([2, 4, 6, 8, 8, 8, 12]))
            number = draw(st.one_of(st.sampled_from([*EXTREMES, len(content)]), st.integers(0, 300)))
            wide = draw(st.sampled_from([2, 4]))
            content[place : place + wide] = (number % (1 << 8 * wide)).to_bytes(wide, "little")
        return bytes(content)

    return Reader(anything(damaged(whole), claiming(), claiming()), whole, every_page(folder))


def heif(folder: Path) -> Reader:
    import pillow_heif

    pictures = np.pad(digits()[:3], ((0, 0), (2, 2), (2, 2)))
    whole = []
    for mode, count in (("L", 1), ("RGB", 3), ("RGBA", 1)):
        file, buffer = pillow_heif.HeifFile(), io.BytesIO()
        for picture in pictures[:count]:
            file.add_from_pillow(Image.fromarray(picture).convert(mode))
        file.save(buffer, quality=50)
        whole.append(buffer.getvalue())
    return Reader(anything(damaged(whole), damaged(whole)), whole, every_page(folder))


def sheet(side: int) -> Image.Image:
    """`side` x `side` digits, in grey."""
    pictures = digits()[: side * side].reshape(side, side, 28, 28)
    return Image.fromarray(pictures.transpose(0, 2, 1, 3).reshape(side * 28, side * 28))


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(folder: Path) -> Reader:
    grey = sheet(3)
    whole = [
        saved(grey, "png"),
        saved(grey.convert("RGB"), "png"),
        saved(grey.convert("RGBA"), "png", pnginfo=None),
        saved(grey.convert("P"), "png", transparency=0),
        saved(grey.convert("1"), "png"),
        saved(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "png"),
        saved(grey, "png", save_all=True, append_images=[grey.rotate(90)]),
    ]

    def with_sums(content: bytes) -> bytes:
        """Each chunk with the sum that it should have, so that damage gets further than to the first sum."""
        parts, place = [content[:8]], 8
        while place + 12 <= len(content):
            end = place + 8 + int.from_bytes(content[place : place + 4], "big")
            if end + 4 > len(content):
                break
            parts += [content[place:end], zlib.crc32(content[place + 4 : end]).to_bytes(4, "big")]
            place = end + 4
        return b"".join([*parts, content[place:]])

    sides = st.sampled_from([0, 1, 28, 84, 1024, 5000, 9000, 30_000, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
    header = st.tuples(
        sides,
        sides,
        st.sampled_from([0, 1, 2, 4, 8, 16, 17]),
        st.integers(0, 8),
        st.integers(0, 1),
        st.integers(0, 1),
        st.integers(0, 2),
    )

    def claiming(content: bytes, fields: tuple[int, ...]) -> bytes:
        return content[:16] + struct.pack(">IIBBBBB", *fields) + content[29:]

    headers = st.builds(claiming, st.sampled_from(whole), header).map(with_sums)
    files = anything(damaged(whole), damaged(whole).map(with_sums), damaged(whole).map(with_sums), headers)
    return Reader(files, whole, picture(folder))


def jpeg(folder: Path) -> Reader:
    grey = sheet(3)
    exif = Image.Exif()
    exif[0x112] = 6
    whole = [
        saved(grey, "jpeg"),
        saved(grey.convert("RGB"), "jpeg", exif=exif),
        saved(grey.convert("RGB"), "jpeg", progressive=True, subsampling=0),
        saved(grey.convert("CMYK"), "jpeg", restart_marker_rows=1),
        saved(grey.convert("RGB"), "jpeg", progressive=True, optimize=True, icc_profile=bytes(200)),
    ]

    @st.composite
    def claiming(draw: st.DrawFn) -> bytes:
        """With another size, precision or number of components in the frame's header."""
        content = bytearray(draw(st.sampled_from(whole)))
        frame = re.search(rb"\xff[\xc0\xc2]", content)
        assert frame
        place = frame.start() + draw(st.integers(4, 9))
        number = draw(st.sampled_from(EXTREMES)) % 65536
        content[place : place + 2] = number.to_bytes(2, "big")
        return bytes(content)

    return Reader(anything(damaged(whole), damaged(whole), damaged(whole), claiming()), whole, picture(folder))


def array(folder: Path) -> Callable[[bytes], None]:
    """As `--dataset FILE.npz` is read: whole, into a pack."""
    path = folder / "array.npz"
    times = iter(range(1, 2**62))

    def read(content: bytes) -> None:
        path.write_bytes(content)
        # Two files within one tick of the clock would pass for the same, which is packed already.
        time = next(times)
        os.utime(path, ns=(time, time))
        dataset = load(DataOptions(dataset=str(path)))
        for split in dataset.splits().values():
            assert len(split.images()) == len(split) > 0

    return read


def arrays() -> list[dict[str, np.ndarray]]:
    """What a .npz may hold, in several types."""
    images = digits()[:12]
    return [
        {"images": images, "labels": np.arange(12) % 3},
        {"x": (images / 255).astype(np.float32)[..., None], "y": np.array(list("abcabcabcabc"))},
        {"images": images > 127},
        {
            "images": images[:, None].repeat(3, 1),
            "attributes": np.stack([np.arange(12) % 2, np.arange(12) > 5], 1),
            "attribute_names": np.array(["odd", "late"]),
        },
        # In rows, in columns, images last, and in Fortran's order.
        {"x_train": images.reshape(12, 784), "y_train": np.eye(3)[np.arange(12) % 3]},
        {"fea": images.reshape(12, 784).T / 127.5 - 1, "gnd": np.arange(12.0)[None] % 3},
        {"scans": images.transpose(1, 2, 0), "labels": np.arange(12)[:, None] % 3, "classes": np.array(list(b"abc"))},
        {"imgs": np.asfortranarray(images), "latents_classes": np.arange(48).reshape(12, 4) // [1, 2, 9, 25]},
        {"images": images[:, None].repeat(3, 1).reshape(12, -1), "label": np.array([b"a", b"\xff", b"c"] * 4)},
    ]


def zipped(members: Iterable[tuple[str, bytes]], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=1) as archive:
        for name, content in members:
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


def npz(folder: Path) -> Reader:
    """Sound archives of damaged arrays."""

    def npy(array: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()

    sets = [{name: npy(each) for name, each in these.items()} for these in arrays()]

    @st.composite
    def with_damage(draw: st.DrawFn) -> bytes:
        """One array of a set damaged anywhere."""
        members = dict(draw(st.sampled_from(sets)))
        name = draw(st.sampled_from(sorted(members)))
        members[name] = draw(damaged([members[name]]))
        return zipped(members.items(), draw(METHODS))

    sizes = st.one_of(st.sampled_from([*EXTREMES, -1, 3, 4, 12, 28]), st.integers(0, 100))
    plain = ["|u1", "|b1", "<f4", ">f8", "<f2", "<f16", "<c8", "|O", "<U1", ">U1", "<U0", "<U300", "|S4", "|V8", "<i8"]
    types = st.sampled_from([*plain, "<M8[s]", "x", "<u1,<u1", ("|u1", (2,)), [("a", "|u1")]])

    @st.composite
    def claiming(draw: st.DrawFn) -> bytes:
        """One array of a set with another header, perhaps of a size that fits it."""
        members = dict(draw(st.sampled_from(sets)))
        name = draw(st.sampled_from(sorted(members)))
        shape = tuple(draw(st.lists(sizes, max_size=5)))
        header = {"descr": draw(types), "fortran_order": draw(st.booleans()), "shape": shape}
        body = draw(st.integers(0, 1 << 16))
        with contextlib.suppress(TypeError, ValueError):
            needed = math.prod(shape) * np.dtype(header["descr"]).itemsize
            body = needed if 0 <= needed < 1 << 20 else body
        text = repr(header).encode() + b"\n"
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
        members[name] = content + draw(st.sampled_from([b"\0", b"\1", b"\xff"])) * body
        return zipped(members.items(), draw(METHODS))

    whole = [zipped(these.items(), zipfile.ZIP_DEFLATED) for these in sets]
    return Reader(anything(with_damage(), with_damage(), claiming()), whole, array(folder))


def whole_file(folder: Path) -> Callable[[bytes], None]:
    """As `genkit data verify` reads a file, whatever it is: every array by its own, then what was made of them."""
    from genkit.data import forms
    from genkit.data.forms.places import Folder

    path, place = folder / "some", Folder(folder)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        form = forms.form_of(place, path.name)
        if form in forms.HOLDERS:
            holder = forms.named(forms.HOLDERS[form])(place, path.name)
            for name in holder.names:
                # One array may be damaged, and another not.
                with contextlib.suppress(DataError):
                    stored = holder.open([name])[name]
                    for each in (stored, stored.last_axis_first()):
                        if each is not None and each.row_bytes < 1 << 20:
                            step = max(1, (1 << 20) // max(1, each.row_bytes))
                            assert sum(len(block) for block in each.rows(step)) == each.shape[0]
        findings = forms.verify(DataOptions(dataset=str(path)))
        if findings.problems:
            raise DataError(findings.problems[0])

    return read


def idx_file(folder: Path) -> Reader:
    pictures = digits()[:20]
    plain = struct.pack(">BBBB3I", 0, 0, 8, 3, 20, 28, 28) + pictures.tobytes()
    floats = struct.pack(">BBBB3I", 0, 0, 13, 3, 20, 28, 28) + (pictures / 255).astype(">f4").tobytes()
    compressed = [gzip.compress(plain, 1), bz2.compress(plain), lzma.compress(plain, preset=1)]
    compress = st.sampled_from([gzip.compress, bz2.compress, lambda content: lzma.compress(content, preset=1)])
    packed = st.builds(lambda make, content: make(content), compress, damaged([plain]))
    bomb = st.builds(lambda make, size: make(plain[:16] + bytes(size)), compress, st.integers(0, 2**22))
    files = anything(damaged([plain, floats]), damaged(compressed), packed, bomb)
    return Reader(files, [plain, floats, *compressed], whole_file(folder))


def parquet(folder: Path) -> Reader:
    """Tables of pictures, of pixels and of labels, in both of Arrow's formats, too; bytes anywhere are damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = digits()[:12]
    encoded = [saved(Image.fromarray(picture), "png") for picture in pictures]
    names = {"label": {"_type": "ClassLabel", "names": ["a", "b", "c"]}, "image": {"_type": "Image"}}
    said = {"huggingface": json.dumps({"info": {"features": names}})}
    rows = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(encoded)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    words = pa.array(["x", "y", "z"] * 4).dictionary_encode()
    tables = [
        pa.table({"image": pa.array(rows, kind), "label": np.arange(12) % 3}).replace_schema_metadata(said),
        pa.table({"blob": encoded, "label": words, "odd": np.arange(12) % 2 == 1}),
        pa.table({"pixels": pa.array(pictures.tolist(), pa.list_(pa.list_(pa.uint8(), 28))), "y": np.arange(12) % 3}),
    ]

    def in_parquet(table: Any, **options: Any) -> bytes:
        file = io.BytesIO()
        pq.write_table(table, file, row_group_size=5, **options)
        return file.getvalue()

    def in_arrow(table: Any, make: Callable[..., Any], compression: str | None = None) -> bytes:
        file = io.BytesIO()
        with make(file, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table, max_chunksize=5)
        return file.getvalue()

    whole = [
        *(in_parquet(table, compression=method) for table in tables for method in ("none", "snappy", "zstd")),
        in_parquet(tables[0], compression="none", write_page_checksum=True, data_page_version="2.0"),
        *(in_arrow(table, make) for table in tables for make in (pa.ipc.new_stream, pa.ipc.new_file)),
        *(in_arrow(table, pa.ipc.new_stream, method) for table in tables for method in ("lz4", "zstd")),
    ]
    return Reader(anything(damaged(whole)), whole, whole_file(folder))


def pixel_table(folder: Path) -> Reader:
    pictures = digits()[::5].reshape(20, -1)[:, 300:364]

    def text(delimiter: str, headings: bool, floats: bool, nested: bool) -> bytes:
        lines = [["label", *(f"pixel{number}" for number in range(64))]] if headings else []
        for number, picture in enumerate(pictures):
            lines.append([str(number % 5), *(f"{pixel / 255:.4f}" if floats else str(pixel) for pixel in picture)])
        if nested:
            splits = ["Training", "PublicTest", "PrivateTest"]
            lines = [[line[0], " ".join(line[1:]), splits[at % 3]] for at, line in enumerate(lines[headings:])]
            lines.insert(0, ["emotion", "pixels", "Usage"])
        return "".join(f"{delimiter.join(line)}\n" for line in lines).encode()

    whole = [
        text(",", True, False, False),
        text(";", False, False, False),
        text(" ", False, True, False),
        text("\t", True, True, False),
        text(",", True, False, True),
    ]
    characters = st.sampled_from(
        [b"", b",", b"\n", b"\r\n", b'"', b"-", b".", b"e9", b"nan", b"9" * 20, b"\0", b"x", b" "]
    )

    @st.composite
    def edited(draw: st.DrawFn) -> bytes:
        content = draw(st.sampled_from(whole))
        for _ in range(draw(st.integers(1, 3))):
            place = draw(st.integers(0, len(content)))
            content = content[:place] + draw(characters) + content[place + draw(st.integers(0, 2)) :]
        return content

    return Reader(anything(damaged(whole), edited()), whole, whole_file(folder))


def matlab(folder: Path) -> Reader:
    import scipy.io

    pictures = digits()[:10, 4:24, 4:24]
    cells = np.empty(3, object)
    cells[:] = list(pictures[:3])
    rows: dict[str, Any] = {"images": pictures.reshape(10, -1), "labels": np.arange(10) % 3}
    more = rows | {
        "images": pictures.transpose(1, 2, 0),
        "halves": pictures / 255,
        "bits": pictures > 127,
        "words": np.array(["cat", "tiger"]),
        "names": np.array(["cat", "größer"], dtype=object),
        "cells": cells,
        "about": {"made": {"mean": np.arange(4.0), "with": "scipy"}, "of": "this"},
    }

    def saved_as(variables: dict[str, Any], **options: Any) -> bytes:
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, variables, **options)
        return buffer.getvalue()

    whole = [saved_as(rows, format="4"), saved_as(more), saved_as(more, do_compression=True)]
    return Reader(anything(damaged(whole[:2]), damaged(whole)), whole, whole_file(folder))


def hdf5(folder: Path) -> Reader:
    import h5py

    pictures = digits()[:20, 4:24, 4:24]

    def saved_as(datasets: dict[str, dict[str, Any]], **options: Any) -> bytes:
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", **options) as file:
            for name, how in datasets.items():
                file.create_dataset(name, **how)
            if options.get("userblock_size"):
                cells = []
                for number, word in enumerate(("cat", "dog")):
                    codes = np.array([[ord(letter)] for letter in word], np.uint16)
                    cells.append(file.create_dataset(f"#refs#/{number}", data=codes))
                    cells[-1].attrs["MATLAB_class"] = np.bytes_("char")
                references = np.array([[cell.ref for cell in cells]], h5py.ref_dtype)
                file.create_dataset("names", data=references, dtype=h5py.ref_dtype)
        content = buffer.getvalue()
        mark = b"MATLAB 7.3 MAT-file" if options.get("userblock_size") else b""
        return mark + content[len(mark) :]

    words: dict[str, Any] = {"data": [f"c{number % 3}" for number in range(20)], "dtype": h5py.string_dtype()}
    packed: dict[str, Any] = {"chunks": (4, 20, 20), "compression": "gzip", "shuffle": True}
    whole = [
        saved_as({"train/images": {"data": pictures, **packed}, "train/labels": {"data": np.arange(20) % 3}}),
        saved_as({"images": {"data": pictures}, "labels": words, "names": {"data": np.array([b"a", b"bb"])}}),
        saved_as({"x": {"data": pictures / 255, "chunks": (5, 9, 9), "compression": "lzf"}}, libver="latest"),
        saved_as(
            {
                "x": {"data": pictures, "chunks": (5, 20, 20), "maxshape": (None, 20, 20), "fletcher32": True},
                "y": {**words, "chunks": (7,), "compression": "gzip"},
                "bits": {"data": pictures > 127},
            },
            libver="latest",
        ),
        saved_as({"X": {"data": pictures, **packed}, "y": {"data": np.arange(20.0)[None]}}, userblock_size=512),
    ]
    return Reader(anything(damaged(whole)), whole, whole_file(folder))


def zip_container(folder: Path) -> Reader:
    """Sound arrays in damaged archives."""
    whole = []
    for these in arrays():
        for save in (np.savez, np.savez_compressed):
            buffer = io.BytesIO()
            save(buffer, **these)
            whole.append(buffer.getvalue())

    @st.composite
    def claiming(draw: st.DrawFn) -> bytes:
        """Another number in the records of the directory, of the members, or of the end."""
        content = bytearray(draw(st.sampled_from(whole)))
        for _ in range(draw(st.integers(1, 3))):
            signature, length = draw(st.sampled_from([(b"PK\1\2", 46), (b"PK\3\4", 30), (b"PK\5\6", 22)]))
            places = [found.start() for found in re.finditer(re.escape(signature), content)]
            if not places:
                break
            place = draw(st.sampled_from(places)) + draw(st.integers(4, length - 2))
            size = draw(st.sampled_from([2, 4]))
            number = draw(st.one_of(st.sampled_from([*EXTREMES, len(content)]), st.integers(0, 4096)))
            content[place : place + size] = (number % (1 << 8 * size)).to_bytes(size, "little")
        return bytes(content)

    return Reader(anything(claiming(), damaged(whole), claiming(), damaged(whole)), whole, array(folder))


def members() -> list[dict[str, bytes]]:
    """What archives hold: classes of pictures with a table, samples as WebDataset has them, and an array."""
    pictures = [saved(Image.fromarray(each), "png") for each in digits()[:6]]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=digits()[:12])
    table = "file_name,label\n" + "".join(f"{number}.png,{number % 2}\n" for number in range(6))
    return [
        {f"set/{number % 2}/{number}.png": each for number, each in enumerate(pictures)},
        {"metadata.csv": table.encode(), **{f"{number}.png": each for number, each in enumerate(pictures)}},
        {
            f"{number}.{ending}": each if ending == "png" else b"7"
            for number, each in enumerate(pictures)
            for ending in ("png", "cls")
        },
        {"digits.npz": buffer.getvalue(), "README": b"digits"},
    ]


def zip_of_pictures(folder: Path) -> Reader:
    whole = []
    for these in members():
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", method) as archive:
                for name, content in these.items():
                    archive.writestr(name, content)
            whole.append(buffer.getvalue())

    @st.composite
    def claiming(draw: st.DrawFn) -> bytes:
        """Other numbers in the records of the directory, of the members, or of the end."""
        content = bytearray(draw(st.sampled_from(whole)))
        for _ in range(draw(st.integers(1, 3))):
            signature, length = draw(st.sampled_from([(b"PK\1\2", 46), (b"PK\3\4", 30), (b"PK\5\6", 22)]))
            places = [found.start() for found in re.finditer(re.escape(signature), content)]
            if not places:
                break
            place = draw(st.sampled_from(places)) + draw(st.integers(4, length - 2))
            size = draw(st.sampled_from([2, 4]))
            number = draw(st.one_of(st.sampled_from([*EXTREMES, len(content)]), st.integers(0, 4096)))
            content[place : place + size] = (number % (1 << 8 * size)).to_bytes(size, "little")
        return bytes(content)

    return Reader(anything(claiming(), damaged(whole), claiming(), damaged(whole)), whole, whole_file(folder))


def tar_of_pictures(folder: Path) -> Reader:
    plain = []
    for these in members():
        for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
                for name, content in these.items():
                    info = tarfile.TarInfo(name if format == tarfile.USTAR_FORMAT else f"{'long/' * 30}{name}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
                if len(these) == 6:
                    link = tarfile.TarInfo("set/1/link.png")
                    link.type, link.linkname = tarfile.SYMTYPE, "../0/0.png"
                    archive.addfile(link)
            plain.append(buffer.getvalue().rstrip(b"\0") + bytes(1024))

    def with_sums(content: bytes) -> bytes:
        """Each block that may be a header with the sum that it should have."""
        blocks = [content[at : at + 512] for at in range(0, len(content), 512)]
        for at, block in enumerate(blocks):
            if len(block) == 512 and block[257:262] == b"ustar":
                total = 256 + sum(block[:148]) + sum(block[156:])
                blocks[at] = block[:148] + b"%06o\0 " % total + block[156:]
        return b"".join(blocks)

    def packed(content: bytes) -> bytes:
        return [gzip.compress(content, 1), bz2.compress(content, 1), lzma.compress(content, preset=0)][len(content) % 3]

    compressed = [pack(plain[0]) for pack in (gzip.compress, bz2.compress, lzma.compress)]
    files = anything(
        damaged(plain),
        damaged(plain).map(with_sums),
        damaged(plain).map(with_sums),
        damaged(plain).map(with_sums).map(packed),
        damaged(compressed),
    )
    return Reader(files, [*plain, *compressed], whole_file(folder))


def toml(folder: Path) -> Reader:
    """Recipes, as `genkit train --config FILE --dry-run` takes them: read, and held against the model's options."""
    from genkit.cli.train import train
    from genkit.options import read_recipe
    from genkit.registry import names

    path = folder / "recipe.toml"
    commands = {name: train.get_command(click.Context(train), name) for name in names()}

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                command = commands.get(read_recipe(path).get("model", ""))
                if command is None:
                    raise UsageError("no such model")
                command.main(["--config", str(path), "--dry-run"], "genkit train", standalone_mode=False)
            except click.ClickException as error:  # as the command line shows it
                raise UsageError(error.format_message().replace("\n", " ")) from error

    recipes = Path(__file__).parents[2] / "experiments" / "train"
    whole = [each.read_bytes() for each in sorted(recipes.glob("*.toml"))]
    keys = ["lr", "epochs", "batch-size", "latent-dim", "dataset", "image-size", "channels", "seed", "model", "out"]
    keys += ["a.b", '"a b"', '"\\n"', "''", "batch_size", "no-such", "é", "hidden", "device", "skip-bad"]
    good = ["1", "2", "8", "16", "0.5", '"1"', '"2"', '"cpu"', '"mnist"', *(f'"{name}"' for name in names())]
    bad = ["-1", "0", "1e-3", "1e400", "inf", "nan", "true", '"x"', '"\\u0000"', "[1, 2]", "[[1]]", "{a = 1}", "[]"]
    bad += ["1979-05-27T07:32:00Z", "07:32:00", '"""\nx\n"""', "9" * 30, "0x" + "f" * 4000, "9" * 5000, "[" * 2000]
    bad += ["{a = " * 2000, "'\x1b[2J'", '"\\r\\n"', '[""]', "1_000", "0b1", "[1, [2]]", '"' + "x" * 3000 + '"']
    line = st.builds("{} = {}\n".format, st.sampled_from(keys), st.sampled_from([*good, *good, *bad]))
    lines = st.builds(
        lambda model, lines: f'model = "{model}"\n{"".join(lines)}'.encode(),
        st.sampled_from(sorted(names())),
        st.lists(line, min_size=1, max_size=5),
    )
    longer = st.builds(
        lambda content, line: content + b"\n" + line.encode(),
        st.sampled_from(whole),
        st.one_of(line, st.text(max_size=80)),
    )
    return Reader(anything(damaged(whole), lines, longer), whole, read)


def checkpoint(folder: Path) -> Reader:
    """One file of a checkpoint is damaged, and the manifest vouches for it: what the hashes don't catch.

    A fuzzed file is the name of the one that is damaged, a NUL, and its content.
    """
    import torch

    from genkit import registry
    from genkit.contract import Batch, ImageShape
    from genkit.files import to_json
    from genkit.keep import checkpoint as module
    from genkit.step.training import TrainingState, train

    kinds = {"vae": {"hidden": (5,), "latent_dim": 2, "ema": 0.5}, "ae": {"hidden": (5,), "latent_dim": 2}}
    shape = ImageShape(1, 8, 8)
    whole: dict[str, dict[str, bytes]] = {}

    def fresh(name: str) -> TrainingState:
        kind = registry.find(name)
        return TrainingState(kind(shape, kind.Options(**kinds[name])), 2, 2)

    for name in kinds:
        state = fresh(name)
        list(train(state, [Batch(torch.rand(4, *shape), None, torch.tensor(0.0))]))
        pending = {"loss": torch.rand(3), "kl": torch.rand(3)}
        path = module.write(
            folder / name, module.snapshot(state, pending, model=name, metrics={"val/loss": 1.0}, classes=("a", "b"))
        )
        whole[name] = {file.name: file.read_bytes() for file in path.iterdir()}

    def read(content: bytes) -> None:
        head, _, damaged_content = content.partition(b"\0")
        name, _, file = head.decode("latin-1").partition("/")
        name, file = (name, file) if name in whole else ("vae", module.MANIFEST)
        path = folder / "fuzzed"
        path.mkdir(exist_ok=True)
        contents = {**whole[name], file: damaged_content}
        if file != module.MANIFEST:
            sums = {
                each: hashlib.sha256(data).hexdigest() for each, data in contents.items() if each != module.MANIFEST
            }
            contents[module.MANIFEST] = to_json(sums)
        for each in path.iterdir():
            each.unlink()
        for each, data in contents.items():
            (path / each).write_bytes(data)
        module.read(path)
        module.restore(path, fresh(name))

    def named(name: str, file: str, content: bytes) -> bytes:
        return f"{name}/{file}\0".encode() + content

    undamaged = [named(name, file, content) for name, files in whole.items() for file, content in files.items()]
    some = st.sampled_from([(name, file) for name, files in whole.items() for file in files])
    bytes_of_one = some.flatmap(lambda one: damaged([whole[one[0]][one[1]]]).map(lambda content: named(*one, content)))
    of_name = {name: json.loads(files[module.DESCRIPTION]) for name, files in whole.items()}
    values_of_one = st.sampled_from(sorted(whole)).flatmap(
        lambda name: altered(of_name[name]).map(lambda value: named(name, module.DESCRIPTION, value))
    )
    return Reader(anything(bytes_of_one, values_of_one), undamaged, read)


def config(folder: Path) -> Reader:
    """As `genkit train --resume RUN` reads it."""
    from genkit import registry
    from genkit.keep import config as module

    whole = []
    for name in registry.names():
        options = registry.find(name).Options()
        settings_ = module.Config(name, options, DataOptions(), module.RunOptions(), {})
        settings_ = settings_._replace(sources=dict.fromkeys(settings_.values(), "default"))
        whole.append(json.dumps(settings_.as_json()).encode())

    def read(content: bytes) -> None:
        (folder / module.NAME).write_bytes(content)
        module.read(folder)

    values = st.sampled_from(whole).flatmap(lambda content: altered(json.loads(content)))
    return Reader(anything(damaged(whole), values), whole, read)


#: Any JSON value, of sizes and kinds that nobody expects.
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([*EXTREMES, *(-number for number in EXTREMES), 10**400, 1e308, 1e-320])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["vae", "../vae", "/dev/zero", "\0", "x" * 5000]),
    lambda value: st.lists(value, max_size=4) | st.dictionaries(st.text(max_size=8), value, max_size=4),
    max_leaves=8,
)


@st.composite
def altered(draw: st.DrawFn, value: Any) -> bytes:
    """A JSON value with some of its parts replaced, taken out or added, and sometimes far too deep."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        place = value
        while True:
            key = (
                draw(st.sampled_from(sorted(place))) if place and draw(st.integers(0, 9)) else draw(st.text(max_size=8))
            )
            if not isinstance(place.get(key), dict) or draw(st.integers(0, 3)) == 0:
                break
            place = place[key]
        if draw(st.integers(0, 3)) == 0:
            place.pop(key, None)
        else:
            place[key] = draw(JSON)
    content = json.dumps(value).encode()
    return content.replace(b"null", b"[" * 5000 + b"]" * 5000, 1) if draw(st.integers(0, 49)) == 0 else content


# ---------------------------------------------------------------------------------------------------------------------
# Its processes
# ---------------------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Read a line for each kind, [kind, count, folder], and answer how the fork that reads its files has ended."""
    os.environ |= {"GENKIT_DATA": str(Path.cwd()), "GENKIT_OFFLINE": "1"}
    digits()
    values = st.integers() | st.binary() | st.text()  # for which all modules' source is looked through, once
    settings(max_examples=1, database=None, deadline=None)(given(values)(lambda value: None))()
    for line in sys.stdin:
        ours, theirs = os.pipe()
        if (pid := os.fork()) == 0:
            carry_out(json.loads(line), theirs)
        os.close(theirs)
        with open(ours, errors="replace") as pipe:  # noqa: PTH123
            printed = pipe.read()
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "printed": printed}), flush=True)


def carry_out(arguments: list[str], target: int) -> None:
    """Be the process of one kind, which prints to the file descriptor `target`."""
    kind, count, folder = arguments
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    status = 1
    try:
        os.chdir(folder)
        print(json.dumps(main(kind, int(count), Path(folder))._asdict()))
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        serve()
    else:
        print(json.dumps(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))._asdict()))
