"""Files that somebody damaged with intent: each ends in a documented error, and takes no more than it deserves."""

from __future__ import annotations

import io
import random
import resource
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from genkit.data.decode import BadImage, decode, read_header, without_warnings
from genkit.errors import DataError
from genkit.model import ImageShape

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
        with pytest.raises(DataError, match="floats from 2 to 2"):
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
