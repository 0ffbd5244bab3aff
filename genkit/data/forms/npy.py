"""NumPy's files: a `.npz`, or one or more `.npy`.

Nobody vouches for them: nothing is unpickled, and no more is allocated than a few rows at a time.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from genkit.data.forms.places import MAX_INFLATION, Place, is_compressed, plain
from genkit.data.forms.stored import Holder, Name, Stored, reading
from genkit.data.forms.turned import Turned, last_axis_first
from genkit.errors import DataError

#: How large the directory of a .npz may be, which lists its arrays: four are ours, and whatever else somebody keeps.
MAX_DIRECTORY = 1 << 16
REMEDY = "save it again with numpy.save or numpy.savez"


class Npy(Holder):
    """A `.npy`, compressed or not, the one array in it being called as the file is."""

    form = "a NumPy array"

    def __init__(self, place: Place, file: str):
        super().__init__(place, file)
        self.names = [Name(file)]
        self.is_compressed = is_compressed(place, file)

    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        with reading(self.path, REMEDY), plain(self.place, self.file) as file:
            size = self.place.size(self.file)
            return {name: _array(self, name, self.path, file, size, self.is_compressed) for name in names}

    @contextmanager
    def opened(self, name: Name) -> Iterator[IO[bytes]]:
        with plain(self.place, self.file) as file:
            yield file


class Npz(Holder):
    """Arrays in one `.npz`."""

    form = "a NumPy archive"

    def __init__(self, place: Place, file: str):
        super().__init__(place, file)
        self.names = []
        with reading(self.path, REMEDY), self._archive() as archive:
            size = place.size(file)
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    _check_member(info, size)
                    self.names.append(Name(file, info.filename.removesuffix(".npy")))
                    if self.names.count(self.names[-1]) > 1:
                        raise ValueError(f"it holds {self.names[-1].member} twice")

    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        with reading(self.path, REMEDY), self._archive() as archive:
            found: dict[Name, Stored] = {}
            for name in names:
                info = archive.getinfo(f"{name.member}.npy")
                with archive.open(info) as file:
                    found[name] = _array(self, name, self.path, file, info.file_size)
            return found

    @contextmanager
    def opened(self, name: Name) -> Iterator[IO[bytes]]:
        with self._archive() as archive, archive.open(f"{name.member}.npy") as file:
            yield file

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        """Raises ValueError when its directory is larger than MAX_DIRECTORY, and DataError when it has none."""
        with self.place.open(self.file) as opened, _ArchiveFile(opened) as file:
            try:
                archive = zipfile.ZipFile(file)  # type: ignore[arg-type]  # any file that can be read
            except zipfile.BadZipFile as error:
                why = "it ends without a directory, so that it isn't whole" if "not a zip" in str(error) else error
                raise DataError(f"{self.path}: {why}; copy or download it again, or {REMEDY}") from error
            with archive:
                file.limit = None
                yield archive


def _array(holder: Npy | Npz, name: Name, path: Path, file: IO[bytes], size: int, compressed: bool = False) -> Stored:
    """One array by its header. Of one in Fortran's order the axes are turned as it is read."""
    array = _NumPyArray(holder, name, path, file, size, compressed)
    return Turned(array, range(len(array.shape))[::-1]) if array.fortran_order else array


class _NumPyArray(Stored):
    """The elements in the order in which they lie, the last axis varying fastest."""

    def __init__(self, holder: Npy | Npz, name: Name, path: Path, file: IO[bytes], size: int, compressed: bool):
        """
        Args:
            size: bytes of header and elements, or, where they are `compressed`, of what they were compressed to.

        Raises:
            ValueError: when the header claims more than that can hold, or, of what isn't compressed, less.
        """
        self.holder, self.name, self.path = holder, name, path
        # Later versions differ in allowing headers of up to 4 GB, which no plain array needs.
        try:
            version = np.lib.format.read_magic(file)
        except ValueError:
            raise ValueError("it isn't an array in NumPy's format, whatever its name says") from None
        if version != (1, 0):
            raise ValueError("not in version 1.0 of NumPy's format")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        self.fortran_order = fortran_order and len(shape) > 1
        self.shape = tuple(shape[::-1] if self.fortran_order else shape)
        self.dtype, self.offset = dtype, file.tell()
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which aren't read")
        needed = self.offset + math.prod(shape) * dtype.itemsize
        agree = needed <= size * MAX_INFLATION + 64 if compressed else needed == size
        if min(shape, default=0) < 0 or not agree:
            raise ValueError(f"{size:,} bytes, which isn't what an array {shape} of {dtype} takes; is it whole?")

    def rows(self, step: int) -> Iterator[np.ndarray]:
        count, *rest = self.shape
        with reading(self.path, REMEDY), self.holder.opened(self.name) as file:
            file.read(self.offset)
            for start in range(0, count, step):
                wanted = min(step, count - start) * self.row_bytes
                content = file.read(wanted)
                if len(content) != wanted:
                    raise ValueError("it ends too soon")
                yield np.frombuffer(content, self.dtype).reshape(-1, *rest)
            if file.read(1):
                raise ValueError("it goes on behind the last element that its header counts")

    def last_axis_first(self) -> Stored | None:
        return last_axis_first(self)

    def file(self) -> Path | None:
        as_it_is = isinstance(self.holder, Npy) and not self.holder.is_compressed
        return self.holder.place.path_of(self.name.file) if as_it_is else None


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


class _ArchiveFile(io.BufferedReader):
    """A file of which zipfile may read no more than `limit` bytes at once.

    It reads the directory in one piece, and makes an object of every 46 bytes of it, before anybody can ask how large
    it is.
    """

    limit: int | None = MAX_DIRECTORY

    def __init__(self, file: BinaryIO):
        super().__init__(file)  # type: ignore[arg-type]  # any file that can be read

    def read(self, size: int | None = -1, /) -> bytes:
        if self.limit is not None and size is not None and size > self.limit:
            raise ValueError(f"its directory takes {size:,} bytes, {self.limit:,} being enough for any arrays")
        return super().read(size)
