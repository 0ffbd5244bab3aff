"""How does each page of a file become an image of its own: of a TIFF, an animation?

Pages that can be read one by one, as those of a TIFF, are found by their places and decoded by several threads. A frame
of an animation is what was drawn before, with something drawn over it, so that frames come one after the other, as a
viewer shows them; not more of them are held than `pictures` hands to its threads at once.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from genkit.data import DataOptions, dicom, pack
from genkit.data.decode import (
    ANIMATIONS,
    BadImage,
    Content,
    Opened,
    Page,
    bad_image,
    directories,
    first_directory,
    in_full_depth,
    open_file,
    opened_by_its_library,
    without_warnings,
)
from genkit.data.deep import moved
from genkit.data.findings import Findings
from genkit.data.forms.pictures import Item, Pictures, attempt_all
from genkit.data.forms.places import Place
from genkit.data.forms.source import Source
from genkit.data.raster import Raster
from genkit.data.survey import Survey
from genkit.data.tiff import BITS, DESCRIPTION
from genkit.files import sha256_of
from genkit.wording import counted

#: Of fewer files, whole ones aren't held out: too little would be left for training.
FEWEST_FILES = 5
#: Pages of one file.
MOST_PAGES = 1_000_000
#: Pixels of all pages of one file, whatever its size, and for each of its bytes (see `decode.MAX_PIXELS_PER_BYTE`).
MOST_PIXELS, MOST_PIXELS_PER_BYTE = 1 << 32, 1032


class NamedPictures(Pictures):
    """Picture files that were named themselves."""

    form = "a picture file"

    def __init__(self, place: Place, files: list[str], options: DataOptions):
        self.place, self.files = place, files
        self.path = place.path / files[0] if len(files) == 1 else place.path
        self.count = len(files)
        self.labels, self.classes, self.parts = None, (), None
        self.attributes, self.attribute_names = None, ()
        self.left_out, self.notes, self.warnings, self.faults = {}, [], [], []
        # As they are before they are read.
        statuses = [None if (file := place.path_of(name)) is None else file.stat() for name in files]
        self._stamps = [None if each is None else (each.st_size, each.st_mtime_ns) for each in statuses]

    @property
    def base(self) -> Path:
        return self.place.path

    def state(self) -> Any:
        return self.place.stamp(self.files)

    def each(self) -> Iterator[Item]:
        for row, (_, content) in enumerate(self.place.each(self.files)):
            yield Item(row, content)

    def name(self, row: int) -> str:
        return self.files[row]

    def stamp_of(self, row: int) -> tuple[int, int] | None:
        return self._stamps[row]


class Pages(Pictures):
    """Every page of every picture of a source, with what is known of the picture that it is a page of.

    Until somebody asks for the images, nothing is read, and `count`, labels and so on are still the files'.
    """

    def __init__(self, files: Pictures):
        self.of_files = files
        self.bad: dict[int, BadImage] = {}
        self.kind = files.kind  # type: ignore[misc]
        self.form, self.path, self.count = files.form, files.path, files.count
        self.labels, self.classes, self.parts = files.labels, files.classes, files.parts
        self.attributes, self.attribute_names = files.attributes, files.attribute_names
        self.left_out, self.faults = files.left_out, files.faults
        self.notes, self.warnings = files.notes, files.warnings

    @property
    def base(self) -> Path:
        return self.of_files.base

    def state(self) -> Any:
        return self.of_files.state()

    @cached_property
    def pages(self) -> np.ndarray:
        """How many pages each file has, int32 (F,); 1 of one that can't be read, which goes into `bad`."""
        counts = np.ones(self.of_files.count, np.int32)
        with without_warnings():
            for row, found in attempt_all(count_pages, self.of_files.each()):
                if isinstance(found, BadImage):
                    self.bad[row] = found
                else:
                    counts[row] = found
        return counts

    @cached_property
    def file_rows(self) -> np.ndarray:
        """The file of each page, int32 (N,)."""
        return np.repeat(np.arange(len(self.pages), dtype=np.int32), self.pages)

    @cached_property
    def starts(self) -> np.ndarray:
        """The row of each file's first page, int64 (F,)."""
        return np.cumsum(self.pages, dtype=np.int64) - self.pages

    def _spread(self) -> None:
        """Make rows of all pages."""
        files, rows = self.of_files, self.file_rows
        self.count = len(rows)
        self.labels = None if files.labels is None else files.labels[rows]
        self.parts = None if files.parts is None else files.parts[rows]
        self.attributes = None if files.attributes is None else files.attributes[rows]

    def complete(self) -> None:
        self._spread()

    def contents(self, options: DataOptions) -> pack.Contents:
        self._spread()
        contents = super().contents(options)
        several = int((self.pages > 1).sum())
        if several and len(self.pages) >= FEWEST_FILES:
            contents.groups = self.file_rows.astype(np.int64)
            contents.notes.append("the pages of a file are all in one split, where splits are held out")
        elif several:
            files = "one file is" if len(self.pages) == 1 else f"{len(self.pages)} files are"
            contents.notes.append(
                f"{files} too few to hold out whole ones, so pages are held out one by one; if they are near-copies, "
                "as frames of an animation, figures on val and test flatter"
            )
        return contents

    def check(self, findings: Findings, survey: Survey | None = None) -> None:
        self._spread()
        super().check(findings, survey)
        findings.files = self.of_files.count

    def enter(self, findings: Findings) -> None:
        self.of_files.enter(findings)

    def names(self, without: Collection[str] = ()) -> list[str] | None:
        self._spread()
        return super().names(without)

    def name(self, row: int) -> str:
        file = self.file_rows[row]
        name = self.of_files.name(file)
        return name if self.pages[file] == 1 else f"{name}, page {row - self.starts[file] + 1}"

    def file_of(self, row: int) -> str:
        return self.of_files.name(self.file_rows[row])

    def stamp_of(self, row: int) -> tuple[int, int] | None:
        return self.of_files.stamp_of(self.file_rows[row])

    def each(self) -> Iterator[Item]:
        for item in self.of_files.each():
            first, count = int(self.starts[item.row]), int(self.pages[item.row])
            if count == 1 or isinstance(item.content, BadImage):
                content = self.bad.get(item.row, item.content)
                yield from (Item(first + page, content) for page in range(count))
                continue
            assert isinstance(item.content, Path | bytes)
            row = first
            for page in pages_of(item.content):
                if row == first + count:
                    break
                yield Item(row, page)
                row += 1
            for missing in range(row, first + count):
                yield Item(missing, BadImage("is missing: the file ends before it, or has changed while it was read"))


def as_wanted(source: Source, options: DataOptions) -> Source:
    """A source with each page as an image of its own, where `DataOptions.pages` means that, and with its white."""
    if not isinstance(source, Pictures) or source.faults:
        return source
    pictures = Pages(source) if (options.pages or _by_default(source)) == "all" else source
    pictures.white_level = options.white_level
    return pictures


def _by_default(source: Pictures) -> str:
    return "all" if isinstance(source, NamedPictures) else "first"


# ---------------------------------------------------------------------------------------------------------------------
# The pages of one file
# ---------------------------------------------------------------------------------------------------------------------


class _Whole:
    """The file that pages lie in, and its hash, which is computed once.

    Attributes:
        share: bytes of memory that the file takes for each of its pages.
    """

    def __init__(self, source: Path | bytes):
        self.source, self.share = source, 0
        self.bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
        self._lock, self._digest = Lock(), ""
        self._described: Any = None

    def hold(self, pages: int) -> None:
        """Say how many pages there are."""
        self.share = len(self.source) // pages if isinstance(self.source, bytes) else 0

    def described(self, file: BinaryIO) -> Any:
        """What a DICOM file says of all of its frames, which takes long where it says something of each."""
        with self._lock:
            if self._described is None:
                self._described = dicom.described(file)
            return self._described

    def digest(self) -> str:
        with self._lock:
            if not self._digest:
                source = self.source
                self._digest = hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256_of(source)
            return self._digest


class _PageOf(Page):
    def __init__(self, whole: _Whole):
        self.whole, self.held = whole, whole.share

    def file_bytes(self) -> int:
        return self.whole.bytes

    def digest(self) -> str:
        return self.whole.digest()


class TiffPage(_PageOf):
    """A page of a TIFF, whose directory stands at `place`."""

    def __init__(self, whole: _Whole, place: int):
        super().__init__(whole)
        self.place = place

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        if self.place >= self.whole.bytes:
            raise BadImage("is missing, as all pages from here on: the file was cut")
        with open_file(self.whole.source) as file, _FromPage(file, self.place) as seen:
            if isinstance(self.whole.source, bytes):
                seen.getvalue = lambda: self.whole.source  # type: ignore[attr-defined]  # or Pillow would copy it
            with opened_by_its_library(seen, self.file_bytes()) as image:
                yield in_full_depth(image, seen)


class _FromPage(io.BufferedReader):
    """A TIFF that begins with one of its later pages: only the place of the first directory is another.

    Pillow would go through all pages before it.
    """

    def __init__(self, file: BinaryIO, place: int):
        super().__init__(_Redirected(file, first_directory(file, place)))
        self.seek(0)


class _Redirected(io.RawIOBase):
    """A file with another beginning."""

    def __init__(self, file: BinaryIO, beginning: bytes):
        self.file, self.beginning = file, beginning

    def readinto(self, buffer: Any) -> int:
        position = self.file.tell()
        piece = self.file.read(len(buffer))
        if position < len(self.beginning):
            piece = (self.beginning[position:] + piece[len(self.beginning) - position :])[: len(piece)]
        buffer[: len(piece)] = piece
        return len(piece)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.file.fileno()


class BlockPage(_PageOf):
    """A page of a TIFF that has one directory for all of them."""

    def __init__(self, whole: _Whole, number: int):
        super().__init__(whole)
        self.number = number

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        with open_file(self.whole.source) as file, Image.open(file, formats=["TIFF"]) as image:
            assert isinstance(image, TiffImagePlugin.TiffImageFile)
            skipped = self.number * _page_bytes(image)
            image.tile = [moved(tile, skipped) for tile in image.tile]
            yield in_full_depth(image, file, skipped)


def pages_in_block(image: Opened, size: int) -> int:
    """How many pages lie one behind the other, without compression, where a TIFF has a directory of the first alone.

    ImageJ writes stacks of more than 4 GB so, and tifffile those that it is told to.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not image.tile:
        return 1
    said = str(image.tag_v2.get(DESCRIPTION, ""))[:1024]
    images = re.search(r"^images=(\d{1,9})$", said, re.MULTILINE) if said.startswith("ImageJ=") else None
    shape = re.match(r'\{"shape": \[([\d, ]+)\]', said)
    page = _page_bytes(image)
    if images is not None:
        count = int(images[1])
    elif shape is not None:
        numbers = image.width * image.height * len(image.getbands())
        count = math.prod(int(number) for number in shape[1].split(",")) // numbers
    else:
        return 1
    raw = all(tile[0] == "raw" for tile in image.tile)
    return count if raw and page and min(tile[2] for tile in image.tile) + count * page <= size else 1


def _page_bytes(image: TiffImagePlugin.TiffImageFile) -> int:
    """Of a page without compression; 0 where a pixel takes no whole bytes."""
    bits = image.tag_v2.get(BITS, (1,))
    return 0 if any(each % 8 for each in bits) else image.width * image.height * sum(bits) // 8


class DicomFrame(_PageOf):
    """A frame of a DICOM image, which is decoded by itself."""

    def __init__(self, whole: _Whole, number: int):
        super().__init__(whole)
        self.number = number

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        with open_file(self.whole.source) as file:
            said = self.whole.described(file)
            with dicom.opened(file, self.number, said) as frame:
                yield frame


class Frame(_PageOf):
    """A frame of an animation, as it is seen."""

    def __init__(self, whole: _Whole, image: Image.Image):
        super().__init__(whole)
        self.image = image
        self.held += image.width * image.height * max(1, len(image.getbands()))

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        yield self.image


def count_pages(source: Content) -> int:
    """How many images a file holds; 1 of a format that has no pages.

    Raises:
        BadImage: when it can't be read, or claims more than it can hold.
    """
    assert isinstance(source, Path | bytes)
    with bad_image(), open_file(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        with opened_by_its_library(file, size) as image:
            if image.format == "TIFF":
                count = sum(1 for _ in directories(file, MOST_PAGES + 1))
                count = max(1, pages_in_block(image, size)) if count == 1 else count
            elif isinstance(image, Raster):
                count = image.pages
            elif image.format in {*ANIMATIONS, "HEIF"} and getattr(image, "is_animated", False):
                count = image.n_frames  # type: ignore[attr-defined]
            else:
                return 1
            pixels = count * image.width * image.height
            if count > MOST_PAGES or pixels > max(MOST_PIXELS, size * MOST_PIXELS_PER_BYTE):
                raise BadImage(
                    f"claims {counted(count, 'page')} of {image.width}x{image.height} pixels in {size:,} bytes: "
                    "damaged, or a decompression bomb"
                )
            return count


def pages_of(source: Path | bytes) -> Iterator[Page | BadImage]:
    """The pages of a file that has several, one after the other; none after one that can't be read."""
    whole = _Whole(source)
    try:
        with bad_image(), open_file(source) as file, opened_by_its_library(file, whole.bytes) as image:
            if image.format == "TIFF":
                places = list(directories(file, MOST_PAGES))
                in_block = pages_in_block(image, whole.bytes) if len(places) == 1 else 1
                whole.hold(max(in_block, len(places)))
                if in_block > 1:
                    yield from (BlockPage(whole, number) for number in range(in_block))
                else:
                    yield from (TiffPage(whole, place) for place in places)
                return
            if isinstance(image, Raster):
                whole.hold(image.pages)
                yield from (DicomFrame(whole, number) for number in range(image.pages))
                return
            for number in range(image.n_frames):  # type: ignore[attr-defined]
                image.seek(number)
                frame = image.copy()
                yield Frame(whole, _without_colour(frame) if image.format == "GIF" else frame)
    except BadImage as error:
        yield error


def _without_colour(frame: Image.Image) -> Image.Image:
    """A frame of a GIF in grey where it has no colour: from the second on, Pillow has no palette that would say it."""
    if frame.mode not in ("RGB", "RGBA"):
        return frame
    red, green, blue, *alpha = frame.split()
    if red.tobytes() != green.tobytes() or red.tobytes() != blue.tobytes():
        return frame
    return Image.merge("LA", [red, *alpha]) if alpha else red
