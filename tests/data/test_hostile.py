"""Files that somebody damaged with intent: each ends in a documented error, and takes no more than it deserves."""

from __future__ import annotations

import io
import random
import resource
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genkit.contract import ImageShape
from genkit.data.decode import BadImage, decode, read_header, without_warnings
from genkit.errors import DataError

FORMATS = ["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "ico", "tga", "jpeg2000"]


def mutations(content: bytes, count: int, seed: int) -> list[bytes]:
    """`content` with bytes changed, cut out, doubled or set to extremes: mostly in front, where headers are."""
    random_ = random.Random(seed)
    mutated = []
    for _ in range(count):
        damaged = bytearray(content)
        for _ in range(random_.choice([1, 1, 2, 5])):
            place = int(len(damaged) * random_.random() ** random_.choice([1, 4]))
            length = random_.choice([1, 2, 4])
            match random_.randrange(5):
                case 0:
                    damaged[place : place + length] = random_.randbytes(length)
                case 1:
                    damaged[place : place + length] = random_.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * length
                case 2:
                    del damaged[place : place + random_.choice([1, 4, 100])]
                case 3:
                    damaged[place:place] = damaged[place : place + random_.choice([1, 4, 100])]
                case 4:
                    del damaged[place:]
        mutated.append(bytes(damaged))
    return mutated


@pytest.fixture
def little_memory():
    """A process that asks for more than 2 GB beyond what it has gets an error."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:  # noqa: PTH123
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def problems(attempt: Callable[[bytes], object], contents: list[bytes], documented: type[Exception]) -> list[str]:
    """What the documented error said of those that weren't fine; any other error ends the test."""
    messages = []
    for content in contents:
        try:
            attempt(content)
        except documented as error:
            messages.append(str(error))
    return messages


@pytest.mark.parametrize("format", FORMATS)
def test_pictures(tmp_path, pictures, format, little_memory):
    buffer = io.BytesIO()
    picture = Image.fromarray(pictures[:16].reshape(4, 4, 28, 28).transpose(0, 2, 1, 3).reshape(112, 112))
    picture.convert("RGB" if format != "gif" else "P").save(buffer, format)
    path = tmp_path / "picture"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        decode(path, read_header(path), ImageShape(1, 28, 28))

    with without_warnings():
        messages = problems(read, mutations(buffer.getvalue(), 80, seed=0), BadImage)
    assert len(messages) > 20
    assert not [message for message in messages if "\n" in message or "memory" in message]


@pytest.mark.parametrize("kind", ["npy", "floats", "npz", "stored npz"])
def test_arrays(tmp_path, pictures, of, kind, little_memory):
    buffer = io.BytesIO()
    match kind:
        case "npy":
            np.save(buffer, pictures[:20])
        case "floats":
            np.save(buffer, (pictures[:20] / 255).astype(np.float32))
        case "npz":
            np.savez_compressed(buffer, images=pictures[:20], labels=np.arange(20))
        case "stored npz":
            np.savez(buffer, images=pictures[:20], labels=np.arange(20))
    path = tmp_path / ("array.npz" if "npz" in kind else "array.npy")

    def read(content: bytes) -> None:
        path.write_bytes(content)
        of(path)

    messages = problems(read, mutations(buffer.getvalue(), 60, seed=1), DataError)
    assert len(messages) > 20
    assert not [message for message in messages if "\n" in message or str(path) not in message]


def test_a_small_file_takes_little_memory(tmp_path, of):
    """400 kB of zip that stand for 400 MB are read in pieces, and stopped at the first that's wrong."""
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, images=np.broadcast_to(np.float32(2), (1_000, 316, 316)))
    assert path.stat().st_size < 410_000
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="all of its numbers are 2"):
            of(path)
        assert tracemalloc.get_traced_memory()[1] < 250 << 20
    finally:
        tracemalloc.stop()


def test_a_slow_format_may_not_claim_much(tmp_path):
    """A DDS file is decoded in Python, pixel by pixel: 50 million of them out of 50 kB would take a minute."""
    buffer = io.BytesIO()
    Image.new("RGB", (128, 128)).save(buffer, "dds")
    content = bytearray(buffer.getvalue())
    assert content[12:20] == (128).to_bytes(4, "little") * 2
    content[12:20] = (7_000).to_bytes(4, "little") * 2
    path = tmp_path / "picture.dds"
    path.write_bytes(content)
    with pytest.raises(BadImage, match="claims 7000x7000 pixels in 49,280 bytes"):
        read_header(path)


def zip_of(path: Path, members: list[tuple[str, bytes]], **changes: int) -> None:
    """A zip of these members, in whose entries of the directory `changes` are made (flag_bits, file_size, ...)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of a name that it writes twice
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
            for info in archive.infolist():
                for field, value in changes.items():
                    setattr(info, field, value)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


DIGITS = npy(np.zeros((6, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("members", "changes", "problem"),
    [
        ([("images.npy", DIGITS), ("images.npy", DIGITS)], {}, "it holds images twice"),
        ([("images.npy", DIGITS), ("a\nb.npy", DIGITS)], {}, r"'a\nb.npy' is no name for an array"),
        ([("images.npy", DIGITS)], {"flag_bits": 1}, "images.npy is encrypted, which isn't read"),
        ([("images.npy", DIGITS)], {"file_size": 1 << 30}, "images.npy claims to be larger than it can be"),
        ([("images.npy", DIGITS)], {"compress_size": 1 << 30}, "images.npy claims to be larger than it can be"),
        ([("images.npy", DIGITS)], {"file_size": len(DIGITS) - 1}, "is it whole"),
        ([("images.npy", DIGITS)], {"CRC": 1}, "Bad CRC-32"),
        ([("images.npy", DIGITS)], {"compress_type": zipfile.ZIP_LZMA}, "compressed in a way that NumPy doesn't use"),
        ([("images.npy", DIGITS), ("labels.npy", npy(np.array([{}], object)))], {}, "Python objects"),
        ([("images.npy", npy(np.array([1, [2]], object)))], {}, "Python objects"),
        ([(f"{number}.npy", b"") for number in range(2000)], {}, "bytes, 65,536 being enough for any arrays"),
    ],
)
def test_archives(tmp_path, of, home, files_in, members, changes, problem):
    path = tmp_path / "array.npz"
    zip_of(path, members, **changes)
    with pytest.raises(DataError) as caught:
        of(path)
    assert problem in str(caught.value)
    assert str(caught.value).isprintable(), "one line"
    assert files_in(home) == []


def test_nothing_of_an_archive_is_written_under_its_own_name(tmp_path, of, files_in):
    folder = tmp_path / "here"
    folder.mkdir()
    pictures = np.arange(6 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(6, 28, 28)
    pictures[:, 0, 0] = range(6)
    zip_of(folder / "a.npz", [("images.npy", npy(pictures)), ("../out.npy", DIGITS), (f"{tmp_path}/abs.npy", DIGITS)])
    assert len(of(folder / "a.npz").train) == 4
    assert [name for name in files_in(tmp_path) if name.endswith((".npy", ".npz")) and "packed" not in name] == [
        "here/a.npz"
    ]


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"images": np.broadcast_to(np.float64(0), (2, 4000, 3000, 3))}, "an image may take 268,435,455 bytes at most"),
        ({"images": np.broadcast_to(np.uint8(0), (60_000_000, 1, 2, 2))}, "an image must have 16 pixels at least"),
        (
            {"images": np.zeros((100_000, 4, 4), np.uint8), "labels": np.broadcast_to(np.array("a" * 800), (100_000,))},
            "labels: takes more than 268,435,456 bytes",
        ),
    ],
)
def test_arrays_that_would_take_more_than_they_deserve(tmp_path, of, arrays, problem):
    """Each is at most 1 MB of zip, and would take GBs of memory."""
    path = tmp_path / "large.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(
                    member, {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
                )
                element = array[(0,) * array.ndim].tobytes()
                for start in range(0, array.size, 1 << 16):
                    member.write(element * min(1 << 16, array.size - start))
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=problem):
            of(path)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
