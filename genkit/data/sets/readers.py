"""Files in forms that one set alone is published in, as arrays: USPS, STL-10, Omniglot, Larochelle's binarized MNIST.

All of them have been checked by their sums before they are read, so that what doesn't fit here is a fault of ours or of
the disk; it is refused in one line all the same.
"""

from __future__ import annotations

import bz2
import io
import tarfile
import zipfile
from abc import abstractmethod
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from genkit.data.forms.stored import Name, Stored, reading
from genkit.errors import DataError

REMEDY = "delete it and fetch it again"
#: Bytes of a file of labels, of which STL-10 has a few thousand.
MOST_LABELS = 1 << 20


class Known(Stored):
    """An array that is known without a file, or has been read whole."""

    def __init__(self, path: Path, values: np.ndarray):
        self.path, self.name, self.values = path, Name(path.name), values
        self.shape, self.dtype = values.shape, values.dtype

    def rows(self, step: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.values), step):
            yield self.values[start : start + step]


class Changed(Stored):
    """An array of a file, with each of its rows changed.

    Args:
        change: a block of rows to as many.
    """

    def __init__(self, stored: Stored, change: Callable[[np.ndarray], np.ndarray]):
        self.path, self.name, self.stored, self.change = stored.path, stored.name, stored, change
        with reading(self.path, REMEDY):
            example = change(np.zeros((1, *stored.shape[1:]), stored.dtype))
        self.shape, self.dtype = (stored.shape[0], *example.shape[1:]), example.dtype

    def rows(self, step: int) -> Iterator[np.ndarray]:
        with reading(self.path, REMEDY):
            for block in self.stored.rows(step):
                yield self.change(block)


class _Records(Stored):
    """Rows of one length, one after the other, with nothing before or between them."""

    def __init__(self, path: Path, member: str | None, count: int, shape: tuple[int, ...], dtype: type = np.uint8):
        self.path, self.name = path, Name(path.name, member)
        self.shape, self.dtype = (count, *shape), np.dtype(dtype)

    #: Bytes of a row as it is stored.
    record: int

    @abstractmethod
    def opened(self) -> AbstractContextManager[IO[bytes]]:
        """The file, at the first row."""

    @abstractmethod
    def parsed(self, records: np.ndarray) -> np.ndarray:
        """uint8 (B, record) as (B, *shape); raises ValueError where that isn't what they are."""

    def rows(self, step: int) -> Iterator[np.ndarray]:
        with reading(self.path, REMEDY), self.opened() as file:
            for start in range(0, self.shape[0], step):
                wanted = min(step, self.shape[0] - start) * self.record
                content = file.read(wanted)
                if len(content) != wanted:
                    raise ValueError("it ends too soon")
                yield self.parsed(np.frombuffer(content, np.uint8).reshape(-1, self.record))


class Amat(_Records):
    """Larochelle's binarized MNIST: a line an image, of 784 digits 0 or 1 with a blank between each two.

    Rows are bool (28, 28), true where there is ink.
    """

    record = 2 * 784

    def __init__(self, path: Path):
        with reading(path, REMEDY):
            count, rest = divmod(path.stat().st_size, self.record)
            if rest:
                raise ValueError(f"its lines aren't {self.record:,} bytes long")
        super().__init__(path, None, count, (28, 28), bool)

    def opened(self) -> AbstractContextManager[IO[bytes]]:
        return self.path.open("rb")

    def parsed(self, records: np.ndarray) -> np.ndarray:
        pairs = records.reshape(-1, 784, 2)
        digits = pairs[:, :, 0] - np.uint8(ord("0"))
        if (digits > 1).any() or (pairs[:, :-1, 1] != ord(" ")).any() or (pairs[:, -1, 1] != ord("\n")).any():
            raise ValueError("holds other characters than 784 digits 0 and 1 a line, with a blank between them")
        return digits.reshape(-1, 28, 28).astype(bool)


class StlArchive:
    """STL-10's archive, which can be read from its beginning on only: it is compressed as a whole.

    Attributes:
        sizes: bytes of its files.
    """

    def __init__(self, path: Path):
        """Reads it once.

        Raises:
            DataError: when it is damaged.
        """
        self.path = path
        self.sizes: dict[str, int] = {}
        self._labels: dict[str, np.ndarray] = {}
        with reading(path, REMEDY):
            for name, size, file in self._files():
                self.sizes[name] = size
                if name.endswith("_y.bin") and size <= MOST_LABELS:
                    self._labels[name] = np.frombuffer(file.read(), np.uint8)

    def images(self, part: str) -> StlImages:
        """Raises DataError where it hasn't got them."""
        self._require(f"{part}_X.bin", self.sizes)
        return StlImages(self, f"{part}_X.bin")

    def labels(self, part: str) -> Known:
        """uint8 (N,) of a part, "train" or "test", from 0 on; the file's are from 1 on.

        Raises:
            DataError: where it hasn't got them.
        """
        self._require(f"{part}_y.bin", self._labels)
        return Known(self.path, self._labels[f"{part}_y.bin"] - 1)

    def _require(self, name: str, there: Container[str]) -> None:
        if name not in there:
            raise DataError(f"{self.path}: has no {name}; {REMEDY}")

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """A file of it."""
        for found, _, file in self._files():
            if found == name:
                yield file
                return

    def _files(self) -> Iterator[tuple[str, int, IO[bytes]]]:
        with tarfile.open(self.path, "r|gz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    yield member.name.rpartition("/")[2], member.size, file


class StlImages(_Records):
    """Images of STL-10: three channels of 96 columns of 96 pixels. Rows are (3, 96, 96) with rows before columns."""

    record = 3 * 96 * 96

    def __init__(self, archive: StlArchive, file: str):
        super().__init__(archive.path, file, archive.sizes[file] // self.record, (3, 96, 96))
        self.archive, self.file_name = archive, file

    def opened(self) -> AbstractContextManager[IO[bytes]]:
        return self.archive.opened(self.file_name)

    def parsed(self, records: np.ndarray) -> np.ndarray:
        return records.reshape(-1, *self.shape[1:]).transpose(0, 1, 3, 2)


def usps(path: Path) -> tuple[Known, Known]:
    """Images uint8 (N, 16, 16) and labels int64 (N,) of a file of LIBSVM: bzip2 of a line an image, its class from 1 on
    (1 is the digit 0) and, by their numbers from 1 on, the pixels that aren't 0, from -1 (paper) to 1 (ink).

    Raises:
        DataError: when it is anything else.
    """
    images, labels = [], []
    with reading(path, REMEDY), bz2.open(path) as file:
        for line in file:
            label, *pairs = line.replace(b":", b" ").split()
            values = np.array([float(each) for each in pairs]).reshape(-1, 2)
            image = np.zeros(256)
            places = values[:, 0].astype(np.int64) - 1
            known = (places >= 0) & (places < 256) & (np.abs(values[:, 1]) <= 1)
            if not (known.all() and 1 <= float(label) <= 10):
                raise ValueError("holds other pixels than 256 of -1 to 1, or other classes than 1 to 10")
            image[places] = values[:, 1]
            images.append(np.rint((image + 1) * 127.5).astype(np.uint8).reshape(16, 16))
            labels.append(int(float(label)) - 1)
        return Known(path, np.stack(images)), Known(path, np.array(labels))


class Omniglot(Stored):
    """One of Omniglot's archives: `images_background/Latin/character01/0683_01.png`, 105x105 of 1 bit, ink being 0.

    Rows are bool (105, 105), true where there is ink, in the order of the files' names.

    Attributes:
        characters: of each row, `Latin/character01`.
    """

    def __init__(self, path: Path):
        self.path, self.name = path, Name(path.name)
        with reading(path, REMEDY), zipfile.ZipFile(path) as archive:
            self.files = sorted(name for name in archive.namelist() if name.endswith(".png") and name.count("/") == 3)
            if not self.files:
                raise ValueError("it holds no images")
        self.characters = ["/".join(name.split("/")[1:3]) for name in self.files]
        self.shape, self.dtype = (len(self.files), 105, 105), np.dtype(bool)

    def rows(self, step: int) -> Iterator[np.ndarray]:
        with reading(self.path, REMEDY), zipfile.ZipFile(self.path) as archive:
            for start in range(0, len(self.files), step):
                yield ~np.stack([self._picture(archive, name) for name in self.files[start : start + step]])

    def _picture(self, archive: zipfile.ZipFile, name: str) -> np.ndarray:
        with archive.open(name) as file, Image.open(io.BytesIO(file.read(1 << 16))) as picture:
            if picture.size != (105, 105) or picture.mode != "1":
                raise ValueError(f"{name} isn't a picture of 105x105 in black and white")
            return np.asarray(picture)


def numbered(columns: Sequence[Omniglot]) -> tuple[list[Known], tuple[str, ...]]:
    """The labels of each archive, int64 (N,), and the classes: the first archive's characters before the second's."""
    classes = tuple(dict.fromkeys(name for column in columns for name in column.characters))
    index = {name: number for number, name in enumerate(classes)}
    return [Known(each.path, np.array([index[name] for name in each.characters])) for each in columns], classes
