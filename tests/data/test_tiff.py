"""TIFFs and PNGs that Pillow reads in part, or as other numbers than they are; written by tifffile, and by hand."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from genkit.contract import ImageShape
from genkit.data.dataset import Dataset
from genkit.data.decode import BadImage, decode, read_header
from genkit.data.forms.pages import count_pages
from genkit.errors import DataError


def pixels_of_all(dataset: Dataset) -> np.ndarray:
    """All images, in the order of the source."""
    return dataset.train.storage.numpy()


def scaled(values: np.ndarray, black: float, white: float) -> np.ndarray:
    return np.rint((values.astype(np.float64) - black) * (255 / (white - black)))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float16", "float32", "float64", "uint64"])
def test_numbers_of_any_kind(of, tmp_path, pictures, dtype):
    """A stack of what was measured: from the least number, black, to the largest, white."""
    kind = np.dtype(dtype)
    measured = pictures.astype(np.float64)
    measured = {"i": measured - 128, "u": measured * (70_000 if kind.itemsize > 2 else 1), "f": measured / 8 - 5}[
        kind.kind
    ]
    measured = measured.astype(kind)
    with tifffile.TiffWriter(tmp_path / "stack.tif") as file:
        for each in measured:
            file.write(each, contiguous=False)
    dataset = of(tmp_path / "stack.tif")
    black, white = measured.min().item(), measured.max().item()
    assert np.abs(pixels_of_all(dataset)[:, 0] - scaled(measured, black, white)).max() == 0
    assert set(dataset.whites.values()) == {(black, white)}


def test_floats_from_0_to_1_are_as_they_are(of, tmp_path, pictures):
    with tifffile.TiffWriter(tmp_path / "stack.tif") as file:
        for each in pictures[:50]:
            file.write(each / 510, contiguous=False)
    dataset = of(tmp_path / "stack.tif")
    assert (pixels_of_all(dataset)[:, 0] == np.rint(pictures[:50] / 2)).all()


@pytest.fixture
def deep(pictures: np.ndarray) -> np.ndarray:
    """Colours of 12 bits, uint16 (100, 28, 28, 3)."""
    grey = pictures.astype(np.uint16) * 16
    return np.stack([grey + 15, 4095 - grey, grey // 2 + 7], -1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True},
        {"byteorder": ">"},
        {"tile": (16, 16)},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "zlib"},
        {"bigtiff": True},
    ],
    ids=lambda options: "-".join(map(str, options)) or "plain",
)
def test_colours_of_16_bits_in_full(of, tmp_path, deep, options):
    of_file = {name: options[name] for name in ("byteorder", "bigtiff") if name in options}
    of_page = {name: value for name, value in options.items() if name not in of_file}
    with tifffile.TiffWriter(tmp_path / "stack.tif", **of_file) as file:
        for each in deep:
            page = each.transpose(2, 0, 1) if "planarconfig" in options else each
            file.write(page, photometric="rgb", contiguous=False, **of_page)
    dataset = of(tmp_path / "stack.tif")
    assert dataset.whites == {16: 4095}
    assert (pixels_of_all(dataset).transpose(0, 2, 3, 1) == scaled(deep, 0, 4095)).all()


def png(path: Path, pixels: np.ndarray, clear: tuple[int, int, int] | None = None) -> None:
    """Write colours of 16 bits, (H, W, 3 or 4), as Pillow can't."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0)
    others = b"" if clear is None else chunk(b"tRNS", struct.pack(">HHH", *clear))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + others
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_png_of_16_bits_in_full(of, tmp_path, deep):
    for number, each in enumerate(deep):
        png(tmp_path / "set" / f"{number:03}.png", each)
    dataset = of(tmp_path / "set")
    assert dataset.whites == {16: 4095}
    assert (pixels_of_all(dataset).transpose(0, 2, 3, 1) == scaled(deep, 0, 4095)).all()


def test_png_of_16_bits_and_opacity(tmp_path, deep):
    half = np.concatenate([deep[0] * 16, np.full((28, 28, 1), 65535, np.uint16)], -1)
    half[:5, :, 3] = 0
    png(tmp_path / "set" / "a.png", half)
    found, _ = decode(tmp_path / "set" / "a.png", read_header(tmp_path / "set" / "a.png"), ImageShape(3, 28, 28))
    assert (found[:, :5] == 255).all()
    assert (found[:, 5:].transpose(1, 2, 0) == scaled(half[5:, :, :3], 0, 65535)).all()


def test_png_of_16_bits_and_a_colour_that_is_clear(tmp_path, deep):
    """A colour is the clear one in all 16 bits: one that has only its upper bytes isn't."""
    pixels = deep[0] * 16
    pixels[0, 0], pixels[0, 1] = (1000, 2000, 3000), (1000, 2000, 3001)
    png(tmp_path / "set" / "a.png", pixels, clear=(1000, 2000, 3000))
    found, _ = decode(tmp_path / "set" / "a.png", read_header(tmp_path / "set" / "a.png"), ImageShape(3, 28, 28))
    assert found[:, 0, 0].tolist() == [255, 255, 255]
    assert found[:, 0, 1].tolist() == [4, 8, 12]


# -- one directory for all ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"imagej": True, "truncate": True}, {"truncate": True}], ids=["imagej", "tifffile"]
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_stacks_of_one_directory(of, tmp_path, pictures, options, dtype):
    stored = (
        (pictures / 255).astype(dtype)
        if dtype == "float32"
        else pictures.astype(dtype) * (16 if dtype == "uint16" else 1)
    )
    tifffile.imwrite(tmp_path / "stack.tif", stored, **options)
    with Image.open(tmp_path / "stack.tif") as image:
        assert image.n_frames == 1
    assert (
        pixels_of_all(of(tmp_path / "stack.tif"))[:, 0] == pictures * (1 if dtype != "uint16" else 4080 / 4095)
    ).mean() > 0.2
    assert count_pages(tmp_path / "stack.tif") == 100


def test_colours_of_one_directory(of, tmp_path, deep):
    tifffile.imwrite(tmp_path / "stack.tif", deep, photometric="rgb", truncate=True)
    assert (pixels_of_all(of(tmp_path / "stack.tif")).transpose(0, 2, 3, 1) == scaled(deep, 0, 4095)).all()


def test_more_than_the_file_holds(tmp_path, pictures):
    tifffile.imwrite(tmp_path / "stack.tif", pictures, imagej=True, truncate=True)
    content = (tmp_path / "stack.tif").read_bytes().replace(b"images=100", b"images=999")
    (tmp_path / "stack.tif").write_bytes(content)
    assert count_pages(tmp_path / "stack.tif") == 1


def test_hyperstacks_and_ome(of, tmp_path, pictures):
    for name, options in {"a.tif": {"imagej": True}, "b.ome.tif": {"ome": True}}.items():
        tifffile.imwrite(tmp_path / name, pictures.reshape(20, 5, 28, 28), metadata={"axes": "ZCYX"}, **options)
        assert (pixels_of_all(of(tmp_path / name))[:, 0] == pictures).all()


# -- what isn't read ---------------------------------------------------------------------------------------------------


def test_without_tifffile(of, tmp_path, pictures, monkeypatch):
    tifffile.imwrite(tmp_path / "deep.tif", pictures / 255)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(DataError) as caught:
        of(tmp_path / "deep.tif")
    assert str(caught.value).startswith(
        f"{tmp_path / 'deep.tif'} is a TIFF of a kind that is read by tifffile, which isn't here; "
        "pip install 'latent-genkit[formats]'; or remove it"
    )


def test_a_compression_that_needs_more(tmp_path, pictures):
    tifffile.imwrite(tmp_path / "a.tif", pictures[0] / 255)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    place = content.index(struct.pack("<HHI", 259, 3, 1)) + 8
    content[place : place + 2] = struct.pack("<H", 5)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(BadImage) as caught:
        decode(tmp_path / "a.tif", read_header(tmp_path / "a.tif"), ImageShape(1, 28, 28))
    assert str(caught.value) == (
        "is a TIFF compressed as LZW, which tifffile decodes with imagecodecs alone; pip install imagecodecs"
    )


def test_more_channels_than_colours(tmp_path, pictures):
    tifffile.imwrite(
        tmp_path / "a.tif", pictures[:7].transpose(1, 2, 0) / 255, photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(BadImage, match="is a TIFF of 7 channels, where 1, 3 or 4 are read; save some of them"):
        read_header(tmp_path / "a.tif")
