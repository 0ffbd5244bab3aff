"""Where do somebody's files lie: in a folder, or within an archive that is read in place?

Whoever reads a file asks its place for it, and needn't know which of them it is. Nothing is ever extracted.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from genkit.data.decode import BadImage

#: Deflate makes so many bytes of one at most. What bzip2 or xz made smaller still is for its owner to decompress.
MAX_INFLATION = 1032
#: Bytes that are read of a compressed file at once.
CHUNK = 1 << 16
#: What xz may take to decompress: twice what its highest level does.
XZ_MEMORY = 1 << 27


class Place(ABC):
    """Files by their paths within it, with "/" between the folders.

    Attributes:
        path: of the folder or the archive, resolved. `path / name` is how messages call a file.
    """

    path: Path

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A file, at its beginning, which can be sought in; within an archive, seeking may cost decompression.

        Raises:
            OSError: when it can't be opened. Of an archive also whatever its library raises where it is damaged.
        """

    @abstractmethod
    def size(self, name: str) -> int:
        """Bytes of a file, as its folder or archive says.

        Raises:
            OSError
        """

    @abstractmethod
    def content(self, name: str) -> Path | bytes:
        """A picture's file for `decode`: its path where it has one, else its bytes.

        Raises:
            BadImage: when it can't be read from an archive, or would be larger than any picture that is read.
        """

    @abstractmethod
    def stamp(self, names: Iterable[str]) -> list[object]:
        """JSON values that change when these files do, for `pack.Key.state`."""

    def path_of(self, name: str) -> Path | None:
        """Where a file lies by itself; None within an archive."""
        return None

    def meant(self, folder: str) -> tuple[str, ...]:
        """The folders that a folder's path means; () of the place itself."""
        return tuple(folder.split("/")) if folder else ()

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Files in the order in which `each` reads them soonest."""
        return list(names)

    def each(self, names: Iterable[str]) -> Iterator[tuple[str, Path | bytes | BadImage]]:
        """Files and their `content`, in the order of `names`, one at a time; why it can't be had of one that is bad.

        One thread asks for all of them, whatever others make of what they get.
        """
        for name in names:
            yield name, self.content(name)


class Folder(Place):
    """Files on disk."""

    def __init__(self, path: Path):
        self.path = path.resolve()

    def open(self, name: str) -> BinaryIO:
        return (self.path / name).open("rb")

    def size(self, name: str) -> int:
        return (self.path / name).stat().st_size

    def content(self, name: str) -> Path:
        return self.path / name

    def path_of(self, name: str) -> Path:
        return self.path / name

    def stamp(self, names: Iterable[str]) -> list[object]:
        statuses = ((name, (self.path / name).stat()) for name in names)
        return [[name, status.st_size, status.st_mtime_ns] for name, status in statuses]


# ---------------------------------------------------------------------------------------------------------------------
# Files that are compressed one by one
# ---------------------------------------------------------------------------------------------------------------------


class Inflate:
    """zlib's decompressor, used as bz2's and lzma's are.

    Attributes:
        eof: whether the stream is at its end.
        unused_data: what came behind it.
        needs_input: whether more must come in before more can come out.
    """

    def __init__(self, bits: int):
        """`bits` as in zlib: 15 for its own header, 31 for gzip's, whose sum is then checked."""
        self._zlib = zlib.decompressobj(bits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, content: bytes, most: int) -> bytes:
        try:
            found = self._zlib.decompress(self._zlib.unconsumed_tail + content, most)
        except zlib.error as error:  # as bz2 has it
            raise ValueError(f"damaged ({error})") from error
        self.needs_input = len(found) < most
        return found


def _unxz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


#: How compressed files begin, and what decompresses one stream of them.
COMPRESSED: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: Inflate(31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": _unxz,
}


def plain(place: Place, name: str) -> BinaryIO:
    """A file, or what it holds where gzip, bzip2 or xz compressed it, which its mark tells; decompressed as it is read.

    Seeking back costs decompression from the beginning. It ends at its first fault, with an error of its library or
    ValueError, and where more comes out of it than MAX_INFLATION allows.

    Raises:
        OSError: as Place.open.
    """
    file = place.open(name)
    beginning = file.read(6)
    file.seek(0)
    make = next((make for mark, make in COMPRESSED.items() if beginning.startswith(mark)), None)
    return file if make is None else io.BufferedReader(Unpacked(file, make), CHUNK)  # type: ignore[return-value]


def is_compressed(place: Place, name: str) -> bool:
    """Whether `plain` would decompress it."""
    with place.open(name) as file:
        return file.read(6).startswith(tuple(COMPRESSED))


class Unpacked(io.RawIOBase):
    """What a compressed file holds, or a part of a file that begins where the file stands."""

    def __init__(self, file: BinaryIO, make: Callable[[], Any], size: int | None = None):
        """
        Args:
            file: closed with this one.
            make: makes the decompressor of one stream; several may follow each other, with zeros between.
            size: bytes of the part; None for all to the file's end.
        """
        self.file, self.make, self.size = file, make, size
        self.first = file.tell()
        self.one: Any = None  # the decompressor
        self.came = self.went = 0  # bytes that came out, and that went in
        self._rewind()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.came

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("a compressed file doesn't know its end")
        target = offset + (self.came if whence == io.SEEK_CUR else 0)
        if target < self.came:
            self._rewind()
        while self.came < target and self.read(min(CHUNK, target - self.came)):
            pass
        return self.came

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer)
        found = b""
        while wanted and not found:
            if self.one.eof:
                content = self._behind(self.one.unused_data)
                if not content:
                    return 0
                self.one = self.make()
            else:
                content = self._compressed() if self.one.needs_input else b""
                if self.one.needs_input and not content:
                    raise EOFError("it ends too soon")
            found = self.one.decompress(content, wanted)
        self.came += len(found)
        if self.came > self.went * MAX_INFLATION + CHUNK:
            raise ValueError(f"it holds more than {MAX_INFLATION:,} times its own size")
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        self.file.close()
        super().close()

    def _rewind(self) -> None:
        self.file.seek(self.first)
        self.one = self.make()
        self.came = self.went = 0

    def _compressed(self) -> bytes:
        content = self.file.read(CHUNK if self.size is None else min(CHUNK, self.size - self.went))
        self.went += len(content)
        return content

    def _behind(self, content: bytes) -> bytes:
        """What follows a stream and its zeros; b"" at the end."""
        content = content or self._compressed()
        while content and not (stripped := content.lstrip(b"\0")):
            content = self._compressed()
        return stripped if content else b""
