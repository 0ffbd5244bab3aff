from __future__ import annotations

import errno
import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genkit.contract import ImageShape
from genkit.data import decode as decode_module
from genkit.data.decode import MAX_PIXELS, MAX_PIXELS_PER_BYTE, BadImage, decode, read_header, remedy, without_warnings

#: Neither square nor symmetric, so that a wrong turn shows.
GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def read(path: Path) -> np.ndarray:
    """As uint8 (C, H, W), in the channels that the header announces."""
    header = read_header(path)
    return decode(path, header, ImageShape(1 if header.grey else 3, header.height, header.width))[0]


@pytest.mark.parametrize("extension", ["png", "bmp", "gif", "tif", "pgm", "webp", "qoi", "tga"])
def test_colour_in_lossless_formats(tmp_path, extension):
    picture = Image.fromarray(COLOUR)
    path = tmp_path / f"picture.{extension.replace('pgm', 'ppm')}"
    if extension == "gif":
        picture = picture.quantize(24)
    picture.save(path, **({"lossless": True} if extension == "webp" else {}))
    assert (read(path) == np.asarray(picture.convert("RGB")).transpose(2, 0, 1)).all()


@pytest.mark.parametrize(
    ("file", "picture"),
    [
        ("8.png", Image.fromarray(GREY)),
        ("8.gif", Image.fromarray(GREY)),
        ("palette.png", Image.fromarray(GREY).convert("P")),
        ("palette.tif", Image.fromarray(GREY).convert("P")),
        ("palette.bmp", Image.fromarray(GREY).convert("P")),
        ("16.png", Image.fromarray(GREY.astype(np.uint16) * 257)),
        ("16.tif", Image.fromarray(GREY.astype(np.uint16) * 257)),
        ("16.pgm", Image.fromarray(GREY.astype(np.uint16) * 257)),
        ("32.tif", Image.fromarray(GREY.astype(np.int32) * 257)),
        ("float.tif", Image.fromarray(GREY.astype(np.float32) / 255)),
        ("alpha.png", Image.fromarray(GREY).convert("LA")),
    ],
)
def test_grey_however_it_is_stored(tmp_path, file, picture):
    picture.save(tmp_path / file)
    assert read(tmp_path / file).tolist() == [GREY.tolist()]


def test_one_bit_is_black_or_white(tmp_path):
    Image.fromarray(GREY > 100).save(tmp_path / "bits.png")
    assert (read(tmp_path / "bits.png") == (GREY > 100) * 255).all()


def test_sixteen_bits_are_rounded_not_cut(tmp_path):
    Image.fromarray(np.array([[0, 128, 129, 65535]], np.uint16)).save(tmp_path / "16.png")
    assert read(tmp_path / "16.png").tolist() == [[[0, 0, 1, 255]]]


def test_transparency_shows_white(tmp_path):
    alpha = np.tile(np.array([0, 51, 255], np.uint8), (4, 2))
    over_white = np.rint(COLOUR * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255))
    Image.fromarray(np.dstack([COLOUR, alpha])).save(tmp_path / "rgba.png")
    assert np.abs(read(tmp_path / "rgba.png").transpose(1, 2, 0) - over_white).max() <= 1

    Image.fromarray(np.dstack([GREY, alpha])).save(tmp_path / "la.png")
    grey_over_white = np.rint(GREY * (alpha / 255) + 255 * (1 - alpha / 255))
    assert np.abs(read(tmp_path / "la.png")[0] - grey_over_white).max() <= 1

    palette = Image.fromarray(COLOUR).quantize(24)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((2, 1)))
    assert read(tmp_path / "palette.png")[:, 1, 2].tolist() == [255, 255, 255]


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "cyan.jpg", quality=100)
    red, green, blue = read(tmp_path / "cyan.jpg")[:, 4, 4].tolist()
    assert red < 10
    assert min(green, blue) > 245


@pytest.mark.parametrize("extension", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (3, 5)), (6, (0, 3)), (8, (5, 0)), (2, (0, 5))])
def test_pictures_are_turned_upright(tmp_path, extension, orientation, corner):
    """`corner` is where the first pixel, the only bright one, has to appear."""
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:8, :8] = 255
    exif = Image.Exif()
    exif[0x112] = orientation
    path = tmp_path / f"turned.{extension}"
    Image.fromarray(stored).save(path, exif=exif)
    header = read_header(path)
    assert (header.width, header.height) == ((32, 48) if orientation > 4 else (48, 32))
    blocks = read(path).mean(0).reshape(header.height // 8, 8, header.width // 8, 8).mean((1, 3))
    assert np.unravel_index(blocks.argmax(), blocks.shape) == corner


def test_broken_exif_does_not_matter(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "picture.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert (read(tmp_path / "picture.png") == COLOUR.transpose(2, 0, 1)).all()


def test_only_the_first_frame_counts(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert (read(tmp_path / "film.gif") == GREY).all()


def test_fingerprints_are_of_the_picture_not_of_what_it_is_brought_to(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    Image.fromarray(GREY).save(tmp_path / "a.tif")
    Image.fromarray(GREY[::-1]).save(tmp_path / "b.png")

    def fingerprint(file: str, shape: ImageShape) -> int:
        return decode(tmp_path / file, read_header(tmp_path / file), shape)[1]

    first = fingerprint("a.png", ImageShape(1, 4, 6))
    assert fingerprint("a.tif", ImageShape(3, 8, 8)) == first
    assert fingerprint("b.png", ImageShape(1, 4, 6)) != first


def png(width: int, height: int, data: bytes) -> bytes:
    """A grey PNG that claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_bomb_is_known_by_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    for side in (50_000, 9_500):  # beyond Pillow's limit, and within it
        path.write_bytes(png(side, side, zlib.compress(bytes(20_000))))
        with (
            without_warnings(),
            pytest.raises(BadImage, match="has more than 89,478,485 pixels, as decompression bombs do"),
        ):
            read_header(path)
    assert MAX_PIXELS > 9000 * 9000
    path.write_bytes(png(9000, 9000, zlib.compress(bytes(100))))
    with pytest.raises(BadImage, match=r"claims 9000x9000 pixels in [0-9]+ bytes"):
        read_header(path)


def test_a_flat_picture_is_no_bomb(tmp_path):
    """As much as deflate can compress, a byte a pixel."""
    Image.new("L", (4000, 4000), 255).save(tmp_path / "flat.png", optimize=True)
    assert 700 < 4000 * 4000 / (tmp_path / "flat.png").stat().st_size < MAX_PIXELS_PER_BYTE
    assert read_header(tmp_path / "flat.png").width == 4000
    Image.new("1", (1024, 1024)).save(tmp_path / "bits.png", optimize=True)
    assert 1024 * 1024 / (tmp_path / "bits.png").stat().st_size > MAX_PIXELS_PER_BYTE
    assert (read(tmp_path / "bits.png") == 0).all(), "small enough to be allowed whatever its file's size"


def test_a_flat_picture_of_bits_might_be_one(tmp_path):
    """What the bound costs: its file is eight times as dense as any of a byte a pixel."""
    Image.new("1", (4000, 4000)).save(tmp_path / "flat.png", optimize=True)
    with pytest.raises(BadImage, match=r"claims 4000x4000 pixels in 2,\d\d\d bytes: damaged, or a decompression bomb"):
        read_header(tmp_path / "flat.png")


def test_the_sum_is_that_of_the_file(tmp_path, monkeypatch):
    """Read once, or, where it is large, twice."""
    path = tmp_path / "picture.png"
    Image.fromarray(COLOUR).save(path)
    header, shape = read_header(path), ImageShape(3, 4, 6)
    for limit in (decode_module.READ_AT_ONCE, 10):
        monkeypatch.setattr(decode_module, "READ_AT_ONCE", limit)
        pixels, fingerprint, digest = decode_module.decode_and_hash(path, header, shape)
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (pixels == COLOUR.transpose(2, 0, 1)).all()
        assert fingerprint == decode(path, header, shape)[1]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.png", b"", "is no image"),
        ("text.png", b"hello", "is no image"),
        ("zip.png", b"PK\x03\x04" + bytes(100), "is no image"),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "is no image"),
    ],
)
def test_no_image(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadImage, match=problem):
        read_header(tmp_path / name)


@pytest.mark.parametrize("extension", ["png", "jpg", "gif", "bmp", "tif", "webp"])
def test_a_truncated_picture_is_bad(tmp_path, extension, pictures):
    buffer = io.BytesIO()
    Image.fromarray(pictures[0]).save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(extension, extension))
    path = tmp_path / f"cut.{extension}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 2 // 3])
    with pytest.raises(BadImage, match=r"can't be decoded|is no image"):
        read(path)


@pytest.mark.parametrize("big", [False, True])
def test_pages_are_those_of_a_tiff(tmp_path, big):
    """Those that Pillow finds, without smaller copies and masks."""
    path = tmp_path / "stack.tif"
    page = Image.new("L", (8, 8))
    copy = Image.new("L", (4, 4))
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    page.save(path, save_all=True, append_images=[page, copy, page], big_tiff=big)
    with Image.open(path) as image:
        assert image.n_frames == 4
    assert read_header(path).pages == 3
    assert read_header(path)[:3] == (8, 8, "L")


def test_pages_in_a_circle_or_without_end(tmp_path):
    path = tmp_path / "stack.tif"
    page = Image.new("L", (8, 8))
    page.save(path, save_all=True, append_images=[page])
    content = path.read_bytes()
    first = int.from_bytes(content[4:8], "little")
    link = first + 2 + 12 * int.from_bytes(content[first : first + 2], "little")
    for place, pages in ((first, 1), (len(content), 2), (2**32 - 1, 2)):  # one beyond the end was cut off
        path.write_bytes(content[:link] + place.to_bytes(4, "little") + content[link + 4 :])
        assert read_header(path).pages == pages, place
    # Empty directories of six bytes, each after the other.
    chain = b"".join(b"\0\0" + (len(content) + 6 * number).to_bytes(4, "little") for number in range(1, 10_000))
    path.write_bytes(content[:link] + len(content).to_bytes(4, "little") + content[link + 4 :] + chain)
    assert read_header(path).pages == 4096


@pytest.mark.parametrize(("bits", "code"), [(8, "<BB"), (16, "<HH")])
def test_a_tiff_in_which_0_is_white(tmp_path, bits, code):
    """By hand: Pillow neither writes nor heeds it in 16 bits."""
    path, largest = tmp_path / "x.tif", 2**bits - 1
    for photometric, stored in ((0, (0, largest)), (1, (largest, 0))):
        tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 122, 277: 1, 278: 1, 279: bits // 4}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        head = b"II*\0" + struct.pack("<IH", 8, len(tags))
        path.write_bytes(head + entries + bytes(4) + struct.pack(code, *stored))
        assert decode(path, read_header(path), ImageShape(1, 1, 2))[0].tolist() == [[[255, 0]]]


def test_a_file_that_may_not_be_read_or_is_gone_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadImage, match=r"^is gone$") as gone:
        read_header(tmp_path / "x.png")
    assert remedy(str(gone.value)) == "bring it back"

    def refuse(*_: object) -> None:  # as the system refuses nobody who is its superuser
        raise PermissionError(errno.EACCES, "Permission denied", "x.png")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadImage, match=r"^can't be read \(Permission denied\)$") as refused:
        read_header(tmp_path / "x.png")
    assert remedy(str(refused.value)) == "allow it"
    assert remedy("is no image") == "mend or remove it"


def test_a_pointer_to_a_picture_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(BadImage, match="is a pointer to a file in Git LFS, which `git lfs pull` fetches"):
        read_header(path)
