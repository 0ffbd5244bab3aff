"""How does one image file become pixels, when nobody vouches for the file?

Every way that a file can be bad ends in `BadImage`. Its size is read from its header and bounded before anything of
that size is allocated, and only formats with a decoder of their own are opened.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from genkit.contract import ImageShape
from genkit.data import dicom, heif, tiff
from genkit.data.dataset import fingerprint_of_one
from genkit.data.deep import Deep, is_deep
from genkit.data.levels import Numbers, Range, Whites, ends_of, to_bytes
from genkit.data.pixels import Fit, prepare
from genkit.data.raster import EXTRA, BadImage, Raster, is_here
from genkit.errors import in_one_line

#: Larger pictures are refused. (Pillow itself warns from here on.)
MAX_PIXELS = 89_478_485
#: How many pixels a byte of a file may stand for: deflate packs at most 1,032 bytes into one, and a pixel is a byte or
#: more. Denser, and refused beyond SMALL pixels, is only a nearly blank picture of 1 bit a pixel (or of one colour, in
#: formats that have a code for that); to allow it, any small file would have to be allowed eight times the memory.
MAX_PIXELS_PER_BYTE = 1032
#: The same for formats that Pillow decodes pixel by pixel in Python, where a false claim would cost minutes.
MAX_PIXELS_PER_BYTE_OF = {"DDS": 2, "QOI": 62, "XPM": 2}
#: Below this, a picture is allowed whatever its file's size.
SMALL = 1 << 20
#: So many pages of a file are counted, where only the first is read.
MAX_PAGES = 4096
#: Formats whose further pages are frames. (In MPO they are the same picture for other screens, in PSD its layers.)
ANIMATIONS = {"GIF", "PNG", "WEBP", "AVIF", "FLI"}
#: Files of up to so many bytes are read only once, into memory.
READ_AT_ONCE = 16 << 20

TOO_LARGE = f"has more than {MAX_PIXELS:,} pixels, as decompression bombs do; make it smaller"

#: How a file begins that only says which one should be there.
POINTER = b"version https://git-lfs"
#: Bytes of a file's beginning that tell which library reads it.
BEGINNING = 256

#: EPS would start Ghostscript, FITS may be gzip that is decompressed without a bound (and nobody knows its white), and
#: the others are recognised by Pillow but can't be decoded by it alone.
REFUSED_FORMATS = {"EPS", "FITS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5"}

Image.preinit()  # the common formats, so that these are tried first,
Image.init()  # then all
FORMATS = [format for format in Image.ID if format not in REFUSED_FORMATS]
#: Endings of formats that a library beyond Pillow reads, its name to Python and to pip.
LIBRARIES = {
    **dict.fromkeys(heif.ENDINGS, (heif.LIBRARY, "pillow-heif")),
    **dict.fromkeys(dicom.ENDINGS, (dicom.LIBRARY, "pydicom")),
}
#: Those of them that isn't here, and what to say of it.
UNREAD = {
    ending: f"read by {package}: {EXTRA}" for ending, (module, package) in LIBRARIES.items() if not is_here(module)
}
#: File name endings, lower case with the dot, of the formats that are read.
EXTENSIONS = frozenset(LIBRARIES.keys() - UNREAD.keys()) | {
    extension for extension, format in Image.registered_extensions().items() if format in FORMATS
}


#: What is said of a file that may be whole.
UNREADABLE, GONE = "can't be read", "is gone"


def remedy(problem: str) -> str:
    """What helps against what a `BadImage` says."""
    if problem.startswith(UNREADABLE):
        return "allow it"
    if "; pip install" in problem:
        return "or remove it"
    return "bring it back" if problem.startswith(GONE) else "mend or remove it"


#: A picture that is open.
Opened: TypeAlias = Image.Image | Raster


class Header(NamedTuple):
    """What is known of a picture before it is decoded."""

    width: int
    height: int
    mode: str  # Pillow's, or `Raster`'s
    grey: bool  # stored without colour
    pages: int = 1  # of a TIFF
    animated: bool = False  # has further frames

    @property
    def shape(self) -> ImageShape:
        return ImageShape(1 if self.grey else 3, self.height, self.width)


class Page(ABC):
    """One of the pictures that a file holds, which can be read by itself.

    Attributes:
        held: bytes of memory that it takes before it is read.
    """

    held: int = 0

    @abstractmethod
    def opened(self) -> AbstractContextManager[Opened]:
        """The picture, its size not yet checked.

        Raises:
            Exception: whatever a damaged file makes a decoder stumble over.
        """

    @abstractmethod
    def file_bytes(self) -> int:
        """How large the file is that it lies in."""

    @abstractmethod
    def digest(self) -> str:
        """The SHA-256 of that file."""


#: A picture's file, the content of one, or a page.
Content: TypeAlias = Path | bytes | Page


def read_header(source: Content) -> Header:
    """What is known of a picture.

    Width and height are those that are seen, after the turn that a camera may have noted (EXIF).

    Raises:
        BadImage
    """
    with bad_image(), _opened(source) as image:
        return _header(image, source)._replace(animated=_is_animated(image, source))


def decode(
    source: Content, header: Header, shape: ImageShape, fit: Fit = "crop", whites: Whites | None = None
) -> tuple[np.ndarray, int]:
    """A picture brought to `shape`, uint8, and its fingerprint as it was before (int64).

    It is turned as EXIF says, only its first frame is taken, and what is transparent shows white.

    Args:
        whites: the number that is white, by the bits of a pixel; what the format says where it isn't there.

    Raises:
        BadImage
    """
    pixels, print_of_it, _ = decode_and_hash(source, header, shape, fit, whites)
    return pixels, print_of_it


def range_of(source: Content) -> Range | None:
    """The range of the numbers that a picture's pixels are stored as; None of one of 1 bit a pixel.

    Of pictures with a palette, and of colours, it is that of the brightness of each.

    Raises:
        BadImage
    """
    with bad_image(), _opened(source) as image:
        if image.mode == "1":
            return None
        found = Numbers(bits_of(image.mode))
        found.see(np.asarray(flatten(image)) if found.bits == 8 else _numbers(image))
        return found


def bits_of(mode: str) -> int:
    """Of a pixel in one channel, as it is decoded: 8, 16 (or more), or 0 for floats."""
    return 0 if mode.endswith("F") else 16 if mode.startswith("I") or mode.endswith((";16", ";I")) else 8


def may_be_anything(mode: str) -> bool:
    """Whether pixels may also be negative, or larger than 16 bits hold, which only all of them can tell."""
    return mode.endswith("I")


def decode_and_hash(
    source: Content, header: Header, shape: ImageShape, fit: Fit = "crop", whites: Whites | None = None
) -> tuple[np.ndarray, int, str]:
    """What `decode` gives, and the SHA-256 of the file's bytes.

    Raises:
        BadImage
    """
    with bad_image(), _opened_and_hashed(source) as (image, digest):
        return *_pixels(image, header, shape, fit, whites), digest


class Decoded(NamedTuple):
    """A picture that was decoded, and all that is known of it."""

    header: Header
    pixels: np.ndarray  # uint8, of the wanted shape
    fingerprint: int  # of the picture as it was before
    digest: str  # SHA-256 of the file's bytes; "" where nobody wanted it


def read(
    source: Content,
    shape: ImageShape,
    fit: Fit = "crop",
    whites: Whites | None = None,
    *,
    expected: Callable[[Header], bool],
    hashed: bool = True,
) -> Decoded | Header:
    """What `read_header` and `decode_and_hash` give, for hardly more than one of them costs.

    Args:
        expected: whether a picture with this header is to be decoded; else its header is all that is returned.
        hashed: whether the file's bytes are.

    Raises:
        BadImage
    """
    with bad_image(), _opened_and_hashed(source, hashed) as (image, digest):
        header = _header(image, source)
        if not expected(header):
            return header
        pixels, mark = _pixels(image, header, shape, fit, whites)
        # Whether there is a second frame is asked last: to know it, a decoder may go there.
        return Decoded(header._replace(animated=_is_animated(image, source)), pixels, mark, digest)


def _header(image: Opened, source: Content) -> Header:
    """All but `animated`."""
    width, height = image.size
    if _orientation(image) in (5, 6, 7, 8):
        width, height = height, width
    pages = 1
    if isinstance(source, Page):
        pass
    elif image.format == "TIFF":
        with open_file(source) as file:
            pages = sum(1 for _ in directories(file, MAX_PAGES))
    elif isinstance(image, Raster):
        pages = image.pages
    elif image.format == "HEIF":
        pages = getattr(image, "n_frames", 1)
    return Header(width, height, image.mode, _is_grey(image), pages)


def _pixels(
    image: Opened, header: Header, shape: ImageShape, fit: Fit, whites: Whites | None
) -> tuple[np.ndarray, int]:
    """A picture brought to `shape`, and its fingerprint as it was before."""
    if isinstance(image, Image.Image):
        image.load()
    plain = flatten(image, whites)
    turn = TURNS.get(_orientation(image))
    if turn is not None:
        plain = plain.transpose(turn)
    if plain.size != (header.width, header.height):
        raise BadImage(f"is {plain.width}x{plain.height}, where its header says {header.width}x{header.height}")
    content = plain.tobytes()
    mark = fingerprint_of_one(content)
    if plain.size == (shape.width, shape.height) and len(content) == shape.numbers:
        pixels = np.frombuffer(content, np.uint8)
        if shape.channels == 1:
            return pixels.reshape(shape), mark
        return pixels.reshape(shape.height, shape.width, shape.channels).transpose(2, 0, 1), mark
    return prepare(plain, shape, fit), mark


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence Pillow's remarks on odd metadata and on sizes (checked here). Not for use within a thread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_file(source: Path | bytes) -> BinaryIO:
    """Raises OSError."""
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


@contextmanager
def _opened(source: Content) -> Iterator[Opened]:
    """A picture, its size checked."""
    with _opened_and_hashed(source, False) as (image, _):
        yield image


@contextmanager
def _opened_and_hashed(source: Content, hashed: bool = True) -> Iterator[tuple[Opened, str]]:
    """The same, and the SHA-256 of its file; "" where nobody wants it."""
    if isinstance(source, Page):
        with source.opened() as image:
            _check_size(image, source.file_bytes())
            yield image, source.digest() if hashed else ""
    else:
        with _held(source) if hashed else open_file(source) as file:
            digest = _sum(file) if hashed else ""
            with _open(file) as image:
                yield image, digest


def _held(source: Path | bytes) -> BinaryIO:
    """A file, its content in memory unless it is large.

    Raises:
        OSError
    """
    if isinstance(source, bytes):
        return io.BytesIO(source)
    file = open(source, "rb", buffering=0)  # noqa: PTH123, SIM115  # a million times: Path.open takes twice as long
    if os.fstat(file.fileno()).st_size > READ_AT_ONCE:
        return io.BufferedReader(file)
    with file:
        return io.BytesIO(file.read())


def _sum(file: BinaryIO) -> str:
    """The SHA-256 of a file that is open at its beginning. A large one is then read again, from the system's cache."""
    if isinstance(file, io.BytesIO):
        return hashlib.sha256(file.getbuffer()).hexdigest()
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _open(file: BinaryIO) -> Iterator[Opened]:
    """The picture in a file that is open at its beginning, its size checked."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    with opened_by_its_library(file, size) as image:
        _check_size(image, size)
        yield in_full_depth(image, file)


def in_full_depth(image: Opened, file: BinaryIO, skipped: int = 0) -> Opened:
    """A picture that was opened from `file`, with all that is stored of its colours.

    Args:
        skipped: by so many bytes its pixels lie behind those that the file names.
    """
    return Deep(image, file, skipped) if isinstance(image, Image.Image) and is_deep(image) else image


def opened_by_its_library(file: BinaryIO, size: int) -> AbstractContextManager[Opened]:
    """The picture in a file of `size` bytes that is open at its beginning; its own size isn't checked."""
    beginning = file.read(BEGINNING)
    file.seek(0)
    if heif.is_heif(beginning):
        return heif.opened(file, size)
    if dicom.is_dicom(beginning):
        return dicom.opened(file)
    try:
        image = Image.open(file, formats=FORMATS)
        if not tiff.is_misread(image):
            return image
    except UnidentifiedImageError:
        if beginning.startswith(POINTER):
            raise BadImage("is a pointer to a file in Git LFS, which `git lfs pull` fetches") from None
        if not beginning.startswith(tiff.MARKS):
            raise
    file.seek(0)
    return tiff.opened(file)


@contextmanager
def bad_image() -> Iterator[None]:
    """Every way to fail on a file as `BadImage`."""
    try:
        yield
    except BadImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # where Pillow looks before we do
        raise BadImage(TOO_LARGE) from None
    except MemoryError:
        raise BadImage("needs more memory than there is") from None
    except UnidentifiedImageError:
        raise BadImage("is no image, or of a format that isn't read") from None
    except PermissionError as error:
        raise BadImage(f"{UNREADABLE} ({error.strerror})") from error
    except FileNotFoundError as error:
        raise BadImage(GONE) from error
    except Exception as error:  # whatever a damaged file makes a decoder stumble over
        raise BadImage(f"can't be decoded ({in_one_line(error)})") from error


def _check_size(image: Opened, size: int) -> None:
    """Refuse a picture whose header promises more than is allowed, or than a file of `size` bytes can hold."""
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise BadImage(TOO_LARGE)
    if pixels > max(SMALL, size * MAX_PIXELS_PER_BYTE_OF.get(image.format or "", MAX_PIXELS_PER_BYTE)):
        raise BadImage(
            f"claims {image.width}x{image.height} pixels in {size:,} bytes: damaged, or a decompression bomb"
        )


#: What brings a picture upright, by its EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Opened) -> int:
    """EXIF's number for how the camera was held, 1 for upright.

    TIFF keeps it elsewhere, and there Pillow itself turns the picture.
    """
    if "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # metadata is damaged more often than pixels, and matters less
        return 1


def directories(file: BinaryIO, most: int) -> Iterator[int]:
    """Where the directories of a TIFF's pages stand, at most `most`; a page's own smaller copies and masks are none.

    Only their chain is walked (TIFF 6.0, section 2): Pillow would read each one's tags, of which a small file may claim
    millions. There is always one. A last one beyond the file's end says that the file was cut.
    """
    size = file.seek(0, os.SEEK_END)
    end, large = _kind_of_tiff(file)
    count_bytes, entry_bytes, place_bytes = (8, 20, 8) if large else (2, 12, 4)
    seen: set[int] = set()
    found = 0
    link = 8 if large else 4  # where the place of the next directory stands
    first_place = None
    while link < size and len(seen) < most:
        file.seek(link)
        place = int.from_bytes(file.read(place_bytes), end)
        if found and place >= size:
            yield place  # of a file that was cut: who opens it says so
            break
        if place in seen or not 0 < place < size:
            break
        seen.add(place)
        first_place = first_place or place
        file.seek(place)
        entries = int.from_bytes(file.read(count_bytes), end)
        first = file.read(entry_bytes)
        # NewSubfileType stands before all other tags; its bits 0 and 2 say "smaller copy" and "mask".
        kind = int.from_bytes(first[-place_bytes:][:4], end) if int.from_bytes(first[:2], end) == 254 else 0
        if not kind & 0b101:
            found += 1
            yield place
        link = place + count_bytes + entries * entry_bytes
    if not found:
        yield first_place or 0


def _kind_of_tiff(file: BinaryIO) -> tuple[Literal["little", "big"], bool]:
    """The order of bytes, and whether it is a BigTIFF, whose numbers take eight bytes."""
    file.seek(0)
    end: Literal["little", "big"] = "little" if file.read(2) == b"II" else "big"
    return end, int.from_bytes(file.read(2), end) == 43


def first_directory(file: BinaryIO, place: int) -> bytes:
    """What a TIFF would begin with if its first page were that whose directory stands at `place`."""
    end, large = _kind_of_tiff(file)
    file.seek(0)
    return file.read(8) + place.to_bytes(8, end) if large else file.read(4) + place.to_bytes(4, end)


def _is_animated(image: Opened, source: Content) -> bool:
    """Whether there is a second frame; of a page, never. May move on to it."""
    try:
        of_frames = image.format in ANIMATIONS and not isinstance(source, Page)
        return of_frames and bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second frame; the first one is what is read
        return True


def _is_grey(image: Opened) -> bool:
    """Whether the format stores no colour: a grey picture saved as RGB counts as colour."""
    if isinstance(image, Raster):
        return not image.mode.startswith("RGB")
    if image.mode in ("P", "PA") and image.palette is not None:
        sample = Image.new("P", (1, 1))
        sample.putpalette(image.palette)  # Pillow knows the order of each format's bytes
        colours = sample.getpalette("RGB") or []
        return colours[0::3] == colours[1::3] == colours[2::3]
    return image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")


def flatten(image: Opened, whites: Whites | None = None) -> Image.Image:
    """Any picture as L (if it has no colour) or RGB, 8 bits, on white.

    Args:
        whites: the numbers that are white, by the bits of a pixel. Where it isn't there: 255 of 8, 65,535 of 16, 1 of
            floats.
    """
    bits = bits_of(image.mode)
    black, white = ends_of(bits, whites or {})
    if bits == 8 and isinstance(image, Image.Image):
        plain = _of_8_bits(image)
        if (black, white) == (0, 255) or image.mode == "1":
            return plain
        return Image.fromarray(to_bytes(np.asarray(plain), white, black))
    numbers = image.numbers() if isinstance(image, Raster) else np.asarray(image)
    if image.mode == "1":
        black, white = 0, 1
    colours = numbers[..., :3] if numbers.ndim == 3 else numbers
    levels = to_bytes(colours, white, black)
    levels = 255 - levels if _is_negative(image) else levels
    if numbers.ndim == 2 or numbers.shape[2] == 3:
        return Image.fromarray(np.ascontiguousarray(levels))
    opaque = 255 if numbers.dtype == np.uint8 else 65535 if numbers.dtype.kind == "u" else 1
    overlay = Image.fromarray(np.concatenate([levels, to_bytes(numbers[..., 3:], opaque)], -1))
    return Image.alpha_composite(Image.new("RGBA", overlay.size, "white"), overlay).convert("RGB")


def _is_negative(image: Opened) -> bool:
    """Whether 0 is white in a TIFF of more than 8 bits a pixel. (Of others Pillow itself turns it round.)"""
    if isinstance(image, Raster):
        return image.negative
    return isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0


def _of_8_bits(image: Image.Image) -> Image.Image:
    mode = "L" if _is_grey(image) else "RGB"
    if image.has_transparency_data:
        overlay = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), overlay).convert(mode)
    return image if image.mode == mode else image.convert(mode)


def _numbers(image: Opened) -> np.ndarray:
    """The numbers that brightness is stored as, opacity aside."""
    numbers = image.numbers() if isinstance(image, Raster) else np.asarray(image)
    return numbers[..., :3] if numbers.ndim == 3 else numbers
