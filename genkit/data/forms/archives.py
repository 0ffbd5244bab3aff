"""Archives, read in place: nothing is extracted, and what they claim is held against what their bytes can bear.

A directory is kept as a few numbers a member, so that a million of them take little memory.
"""

from __future__ import annotations

import bz2
import io
import posixpath
import re
import stat
import struct
import tarfile
import zlib
from abc import abstractmethod
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import groupby, tee
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from genkit.data.decode import MAX_PIXELS, BadImage
from genkit.data.forms.places import MAX_INFLATION, Inflate, Place, Unpacked, plain
from genkit.data.forms.stored import reading
from genkit.errors import DataError, in_one_line

#: Bytes that a nearly empty member may have beyond MAX_INFLATION.
SLACK = 64
#: Bytes of a picture's file that are read into memory: of the largest picture in three channels, and its header.
MAX_PICTURE = 3 * MAX_PIXELS + (1 << 20)
#: Characters of a member's name, as systems allow of a path.
MAX_NAME = 4096
#: Bytes that a header of a tar archive may take, in which long names stand.
MAX_HEADER = 1 << 20
#: Members of a compressed archive that are listed, however small it is, and bytes of it for each one more.
MANY_MEMBERS, BYTES_A_MEMBER = 1 << 20, 32
#: Parts of a path that others take the place of, or that lead out.
ODD = re.compile(r"^$|(?:^|/)(?:\.\.?)?(?:/|$)")
#: How many links may lead to each other.
MOST_LINKS = 40
#: Members of up to so many bytes are held in memory while they are read, so that seeking in them is free.
HELD = 64 << 20
#: Bytes that are read, or skipped, at once.
PIECE = 1 << 20
REMEDY = "is it whole? Copy or download it again"


class Directory:
    """The members of an archive, in its own order.

    Attributes:
        names: of each, a path with "/" between the folders, neither absolute nor with "..".
        folders: the names of folders that it lists, which may be empty.
        links: of those that are links, to the names that they lead to.
        left_out: what can't be read, by kind.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.folders: list[str] = []
        self.links: dict[str, str] = {}
        self.left_out: Counter[str] = Counter()
        self._offsets, self._sizes, self._packed = array("q"), array("q"), array("q")
        self._sums, self._methods = array("I"), bytearray()
        self._index: dict[str, int] = {}

    def add(self, name: str, entry: Entry) -> None:
        """A member that is a file. A later one of the same name replaces an earlier one, as in unpacking."""
        if self._index.get(name) is not None:
            self.left_out["files that others of the same name come after"] += 1
            self._put(self._index[name], entry)
            return
        self._index[name] = len(self._offsets)
        self.names.append(name)
        self._offsets.append(entry.offset)
        self._sizes.append(entry.size)
        self._packed.append(entry.packed)
        self._sums.append(entry.sum)
        self._methods.append(entry.method)

    def _put(self, row: int, entry: Entry) -> None:
        self._offsets[row], self._sizes[row], self._packed[row] = entry.offset, entry.size, entry.packed
        self._sums[row], self._methods[row] = entry.sum, entry.method

    def remove(self, names: set[str]) -> None:
        self.names = [name for name in self.names if name not in names]
        for name in names:
            del self._index[name]

    def add_links(self, links: dict[str, str]) -> None:
        """Links within the archive, as names of the same files."""
        lost = []
        for name in links:
            target: str | None = name
            for _ in range(MOST_LINKS):
                if target not in links:
                    break
                target = links[target]
            if target in self._index and name not in self._index:
                self._index[name] = self._index[target]
                self.names.append(name)
                self.links[name] = target
            else:
                lost.append(name)
        if lost:
            self.left_out["links to nothing in the archive"] += len(lost)

    def __getitem__(self, name: str) -> Entry:
        """Raises FileNotFoundError."""
        row = self._index.get(name)
        if row is None:
            raise FileNotFoundError(2, "it isn't in the archive", name)
        return Entry(self._offsets[row], self._sizes[row], self._packed[row], self._sums[row], self._methods[row])

    def offset(self, name: str) -> int:
        """Where a member stands, for the order of reading."""
        return self._offsets[self._index[name]]

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def top(self) -> str:
        """The folder that all members lie in, but for what Macs put beside it; "" where there is none."""
        folders = {name.rpartition("/")[0] for name in self.names if not name.startswith("__MACOSX/")}
        return posixpath.commonpath(folders) if folders else ""

    def enter(self, folder: str) -> None:
        """Forget what doesn't lie in a folder, and name the rest by its path from there."""
        start = f"{folder}/"
        cut = len(start)
        self._index = {name[cut:]: row for name, row in self._index.items() if name.startswith(start)}
        self.names = [name[cut:] for name in self.names if name.startswith(start)]
        self.folders = [each[cut:] for each in self.folders if each.startswith(start)]
        self.links = {
            name[cut:]: target[cut:] if target.startswith(start) else f"/{target}"
            for name, target in self.links.items()
            if name.startswith(start)
        }


class Entry(NamedTuple):
    """Where a member's bytes lie, and how many they are."""

    offset: int
    size: int  # of its content
    packed: int  # in the archive
    sum: int  # CRC-32 of its content, of a zip's
    method: int  # how it is compressed, by zip's numbers


class Archive(Place):
    """Files in an archive, which is itself a file of some place."""

    #: What it is, in words.
    form: str

    def __init__(self, place: Place, file: str):
        """
        Raises:
            DataError: when its directory is damaged, or claims what can't be.
        """
        self.place, self.file = place, file
        self.path = place.path / file
        self.directory = Directory()
        with reading(self.path, REMEDY):
            self._list()

    def without_top(self) -> None:
        """Take the one folder that all its files lie in, if there is one, for the place."""
        top = self.directory.top()
        if top:
            self.enter(top)

    def enter(self, folder: str) -> None:
        """Take one of its folders for the place.

        Raises:
            DataError: when there is none of that name.
        """
        self.directory.enter(folder)
        if not self.directory.names:
            raise DataError(f"{self.path}: holds no file or folder {_shown(folder)}; give a path that it has")
        self.path /= folder

    @abstractmethod
    def _list(self) -> None:
        """Fill the directory."""

    @abstractmethod
    def _read(self, file: BinaryIO, entry: Entry) -> bytes:
        """The content of a member, its size and its sum checked; `file` is the archive.

        Raises:
            ValueError, or what a decompressor raises: when it isn't what the directory says.
        """

    @abstractmethod
    def _plain(self) -> AbstractContextManager[BinaryIO]:
        """The archive as it is sought in."""

    def size(self, name: str) -> int:
        return self.directory[name].size

    def content(self, name: str) -> bytes:
        _, content = next(self.each([name]))
        if isinstance(content, BadImage):
            raise content
        return content

    def stamp(self, names: Iterable[str]) -> list[object]:
        return self.place.stamp([self.file])

    def in_order(self, names: Iterable[str]) -> list[str]:
        return sorted(names, key=self.directory.offset)

    def each(self, names: Iterable[str]) -> Iterator[tuple[str, bytes | BadImage]]:
        with self._plain() as file:
            for name in names:
                yield name, self._picture(file, name)

    def _picture(self, file: BinaryIO, name: str) -> bytes | BadImage:
        try:
            entry = self.directory[name]
            if entry.size > MAX_PICTURE:
                return BadImage(f"is larger than the {MAX_PICTURE:,} bytes that are read of a picture; make it smaller")
            return self._read(file, entry)
        except Exception as error:  # whatever a decompressor stumbles over
            return BadImage(f"can't be taken out of its archive ({in_one_line(error)})")


# ---------------------------------------------------------------------------------------------------------------------
# Zip
# ---------------------------------------------------------------------------------------------------------------------

STORED, DEFLATED, BZIP2 = 0, 8, 12
#: Methods that aren't read, by zip's numbers (APPNOTE 6.3.10, 4.4.5).
METHODS = {1: "Shrink", 6: "Implode", 9: "Deflate64", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
#: A directory's end, with a comment behind it of up to so many bytes.
END, END_BYTES, MAX_COMMENT = b"PK\x05\x06", 22, 65535
END_64, LOCATOR_64 = b"PK\x06\x06", b"PK\x06\x07"


#: What stands before the name of a member in the directory, and how much it all may take.
FIELDS = struct.Struct("<4sxB2xHH4xLLLHHH2x2xLL")
MAX_RECORD = FIELDS.size + 3 * 65535


class _End(NamedTuple):
    """What the end of a zip archive says of its directory."""

    start: int  # where it lies in the file
    bytes: int
    before: int  # bytes that stand before the archive itself, in a program that unpacks itself


class Zip(Archive):
    """A zip archive."""

    form = "a zip archive"

    def _list(self) -> None:
        self._size = self.place.size(self.file)
        links: list[str] = []
        with self.place.open(self.file) as file:
            end = _end_of_directory(file, self._size)
            file.seek(end.start)
            left, piece, at = end.bytes, b"", 0
            while left - at >= FIELDS.size:
                if len(piece) - at < MAX_RECORD and len(piece) < left:
                    left -= at
                    piece, at = piece[at:] + file.read(min(PIECE, left - len(piece) + at)), 0
                at += self._enter(piece, at, end, links)
            if links:
                self._follow(file, links)

    def _enter(self, piece: bytes, at: int, end: _End, links: list[str]) -> int:
        """Take over a member that the directory has at a place of a piece of it; returns how many bytes it takes."""
        if len(piece) - at < FIELDS.size:
            raise ValueError("its directory ends too soon")
        mark, system, flags, method, check, packed, size, name_bytes, extra_bytes, comment_bytes, outside, offset = (
            FIELDS.unpack_from(piece, at)
        )
        if mark != b"PK\x01\x02":
            raise ValueError("its directory is damaged")
        behind = at + FIELDS.size + name_bytes
        name = _name(piece[behind - name_bytes : behind], flags, system)
        if 0xFFFFFFFF in (size, packed, offset):
            size, packed, offset = _of_64_bits(piece[behind : behind + extra_bytes], size, packed, offset)
        taken = FIELDS.size + name_bytes + extra_bytes + comment_bytes
        mode = outside >> 16
        if name.endswith("/") or stat.S_ISDIR(mode):
            folder = _within(name)
            if folder:
                self.directory.folders.append(folder)
            return taken
        if flags & 1:
            raise DataError(
                f"{self.path / _shown(name)}: is encrypted, which isn't read; unpack the archive with its password, "
                "and give the folder"
            )
        within = _within(name)
        if within is None:
            self.directory.left_out["files whose names lead out of the archive"] += 1
            return taken
        if packed > self._size or size > packed * MAX_INFLATION + SLACK or (method == STORED and size != packed):
            raise ValueError(f"{_shown(name)} claims {size:,} bytes in {packed:,}, which can't be")
        if stat.S_ISLNK(mode):
            links.append(within)
        self.directory.add(within, Entry(offset + end.before, size, packed, check, min(method, 255)))
        return taken

    def _follow(self, file: BinaryIO, links: list[str]) -> None:
        """Replace those members that are symbolic links, whose content is a path, by what they lead to."""
        targets = {}
        for name in links:
            entry = self.directory[name]
            if entry.size <= MAX_NAME:
                path = self._read(file, entry).decode("utf-8", "replace")
                targets[name] = _within(posixpath.join(posixpath.dirname(name), path)) or ""
        self.directory.remove(set(links))
        self.directory.add_links(targets)

    def _plain(self) -> AbstractContextManager[BinaryIO]:
        return self.place.open(self.file)

    def _read(self, file: BinaryIO, entry: Entry) -> bytes:
        self._seek(file, entry)
        packed = file.read(entry.packed)
        if entry.method == STORED:
            content = packed
        else:
            content = _decompressor(entry.method).decompress(packed, entry.size + 1)
        if len(content) != entry.size:
            raise ValueError(f"it isn't of the {entry.size:,} bytes that the directory says")
        if zlib.crc32(content) != entry.sum:
            raise ValueError("its bytes have changed: CRC-32")
        return content

    def _seek(self, file: BinaryIO, entry: Entry) -> None:
        """Go to the first byte of a member's content, behind its own header."""
        file.seek(entry.offset)
        header = file.read(30)
        if header[:4] != b"PK\x03\x04":
            raise ValueError("where it should be is something else")
        name_bytes, extra_bytes = struct.unpack("<2H", header[26:30])
        file.seek(name_bytes + extra_bytes, io.SEEK_CUR)

    def open(self, name: str) -> BinaryIO:
        entry = self.directory[name]
        if entry.size <= HELD:
            with self._plain() as file:
                return io.BytesIO(self._read(file, entry))
        return io.BufferedReader(_ZipMember(self, entry), PIECE)


def _decompressor(method: int) -> Any:
    """What decompresses a member of a zip archive.

    Raises:
        ValueError: when nothing does.
    """
    if method == DEFLATED:
        return Inflate(-15)
    if method == BZIP2:
        return bz2.BZ2Decompressor()
    raise ValueError(
        f"it is compressed by {METHODS.get(method, f'method {method}')}, which isn't read; pack it again with Deflate"
    )


class _ZipMember(io.RawIOBase):
    """A large member as a file. To go back, it is decompressed from its beginning."""

    def __init__(self, archive: Zip, entry: Entry):
        self._archive, self._entry = archive, entry
        self._file = archive.place.open(archive.file)
        self._restart()

    def _restart(self) -> None:
        self._archive._seek(self._file, self._entry)
        self._left = self._entry.packed
        self._place = 0
        self._sum = 0
        self._stored = self._entry.method == STORED
        self._decompressor = None if self._stored else _decompressor(self._entry.method)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset + (0, self._place, self._entry.size)[whence]
        target = min(max(0, target), self._entry.size)
        if self._stored:
            self._file.seek(target - self._place, io.SEEK_CUR)
            self._left = self._entry.packed - target
            self._place, self._sum = target, -1  # not all of it is read, so that its sum can't be told
            return target
        if target < self._place:
            self._restart()
        while self._place < target and self.read(min(PIECE, target - self._place)):
            pass
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._entry.size - self._place)
        piece = self._more(wanted) if wanted else b""
        if wanted and not piece:
            raise ValueError(f"it ends after {self._place:,} of {self._entry.size:,} bytes")
        buffer[: len(piece)] = piece
        self._place += len(piece)
        if self._sum >= 0 and piece:
            self._sum = zlib.crc32(piece, self._sum)
            if self._place == self._entry.size and self._sum != self._entry.sum:
                raise ValueError("its bytes have changed: CRC-32")
        return len(piece)

    def _more(self, wanted: int) -> bytes:
        if self._decompressor is None:
            piece = self._file.read(min(wanted, self._left))
            self._left -= len(piece)
            return piece
        piece = b""
        while not piece and not self._decompressor.eof:
            data = self._file.read(min(PIECE >> 4, self._left)) if self._decompressor.needs_input else b""
            self._left -= len(data)
            if not data and self._decompressor.needs_input:
                break
            piece = self._decompressor.decompress(data, wanted)
        return piece

    def close(self) -> None:
        self._file.close()
        super().close()


def _end_of_directory(file: BinaryIO, size: int) -> _End:
    """Raises ValueError where a zip archive of `size` bytes has no directory, or one that doesn't fit in."""
    from_end = min(size, END_BYTES + MAX_COMMENT)
    file.seek(size - from_end)
    tail = file.read(from_end)
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < END_BYTES:
        raise ValueError("it ends without a directory, so that it isn't whole")
    disk, _, _, count, length, start, _ = struct.unpack("<4H2LH", tail[at + 4 : at + END_BYTES])
    place = size - from_end + at
    if 0xFFFF in (disk, count) or 0xFFFFFFFF in (length, start):
        file.seek(max(0, place - 20))
        mark, _, where, _ = struct.unpack("<4sLQL", file.read(20))
        if mark == LOCATOR_64:
            # Behind what a program that unpacks itself has before it, it isn't where it is said to be.
            for candidate in (where, place - 20 - 56):
                file.seek(min(candidate, size))
                record = file.read(56)
                if record[:4] == END_64 and len(record) == 56:
                    length, start = struct.unpack("<2Q", record[40:56])
                    disk, place = 0, candidate
                    break
    if disk not in (0, 0xFFFF):
        raise ValueError("it is one of several parts; put them together first")
    if length > place:
        raise ValueError("its directory is larger than itself")
    before = place - length - start
    if before < 0:
        raise ValueError("its directory isn't where it says")
    return _End(place - length, length, before)


def _of_64_bits(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The numbers that don't fit into 32 bits, from a member's extra field (APPNOTE 4.5.3)."""
    numbers = [size, packed, offset]
    while len(extra) >= 4:
        kind, length = struct.unpack("<2H", extra[:4])
        if kind == 1:
            values = [int.from_bytes(extra[at : at + 8], "little") for at in range(4, 4 + length - 7, 8)]
            numbers = [values.pop(0) if number == 0xFFFFFFFF and values else number for number in numbers]
        extra = extra[4 + length :]
    return numbers[0], numbers[1], numbers[2]


def _name(raw: bytes, flags: int, system: int) -> str:
    """A member's name. Many programs write UTF-8 without saying so; else it is IBM's code page 437 (APPNOTE D.1)."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        name = raw.decode("utf-8", "replace") if flags & 0x800 else raw.decode("cp437")
    if len(name) > MAX_NAME:
        raise ValueError(f"a name of {len(name):,} letters")
    # Of DOS and Windows, some programs of which don't write "/" as they should.
    return name.replace("\\", "/") if system == 0 and "/" not in name else name


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _within(name: str) -> str | None:
    """A member's name as a path within its archive; None where it would lead out of it, or is none."""
    if not ODD.search(name):
        return name
    path = posixpath.normpath(name.lstrip("/")) if name.strip("/") else ""
    return None if path in ("", ".", "..") or path.startswith("../") else path


# ---------------------------------------------------------------------------------------------------------------------
# Tar
# ---------------------------------------------------------------------------------------------------------------------


class Tar(Archive):
    """A tar archive, plain or compressed as a whole by gzip, bzip2 or xz."""

    form = "a tar archive"

    def _list(self) -> None:
        links: dict[str, str] = {}
        self._size = self.place.size(self.file)
        letters = 0
        with self._plain() as whole, _Headers(whole) as file:
            self._compressed = isinstance(getattr(whole, "raw", None), Unpacked)
            for member in _members(file):
                letters += len(member.name)
                self._enter(member, links)
                self._require_few(len(self.directory.names) + len(self.directory.folders) + len(links), letters)
        self.directory.add_links(links)

    def _enter(self, member: tarfile.TarInfo | _Plain, links: dict[str, str]) -> None:
        name = _within(member.name)
        if name is not None and len(name) > MAX_NAME:
            raise ValueError(f"a name of {len(name):,} letters")
        if not isinstance(member, _Plain) and member.isdir():
            self.directory.folders += [name] if name else []
        elif name is None:
            self.directory.left_out["files whose names lead out of the archive"] += 1
        elif isinstance(member, _Plain) or (member.isreg() and not member.issparse()):
            most = self._size * (MAX_INFLATION if self._compressed else 1) + SLACK
            if member.size < 0 or member.offset_data + member.size > most:
                raise ValueError(f"{_shown(name)} claims {member.size:,} bytes, which the archive doesn't have")
            self.directory.add(name, Entry(member.offset_data, member.size, member.size, 0, STORED))
        elif member.issym() or member.islnk():
            start = posixpath.dirname(name) if member.issym() else ""
            links[name] = _within(posixpath.join(start, member.linkname)) or ""
        else:
            self.directory.left_out["sparse files" if member.issparse() else "special files"] += 1

    def _require_few(self, members: int, letters: int) -> None:
        if members > MANY_MEMBERS + self._size // BYTES_A_MEMBER or letters > (256 << 20) + self._size:
            raise ValueError(f"it lists {members:,} members, more than it can hold")

    def _plain(self) -> AbstractContextManager[BinaryIO]:
        return plain(self.place, self.file)

    def _read(self, file: BinaryIO, entry: Entry) -> bytes:
        file.seek(entry.offset)
        content = file.read(entry.size)
        if len(content) != entry.size:
            raise ValueError("the archive ends too soon")
        return content

    def open(self, name: str) -> BinaryIO:
        entry = self.directory[name]
        if entry.size <= HELD:
            with self._plain() as file:
                return io.BytesIO(self._read(file, entry))
        return io.BufferedReader(_Part(self._plain(), entry), PIECE)  # type: ignore[arg-type]


def is_tar(beginning: bytes) -> bool:
    """Whether a file's first 512 bytes are the header of a tar archive, be it of a version without a mark."""
    try:
        tarfile.TarInfo.frombuf(beginning[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


class _Plain(NamedTuple):
    """What is asked of a member, as `tarfile.TarInfo` has it."""

    name: str
    size: int
    offset_data: int


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo | _Plain]:
    """The members of a tar archive, one after the other.

    Headers without anything special, which most are, are read here, in a fraction of the time.

    Raises:
        ValueError: where something stands that is no header. (`tarfile` itself takes it for the end.)
    """
    archive = tarfile.TarFile(fileobj=file)
    offset = 0
    while True:
        if file.seek(offset) != offset:
            raise ValueError("it ends too soon")
        header = file.read(tarfile.BLOCKSIZE)
        if not header.strip(b"\0"):
            return
        plain = None if archive.pax_headers else _plain_member(header, offset)
        if plain is not None:
            yield plain
            offset = plain.offset_data + (plain.size + tarfile.BLOCKSIZE - 1) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
            continue
        file.seek(offset)
        try:
            yield tarfile.TarInfo.fromtarfile(archive)
        except tarfile.HeaderError as error:
            raise ValueError(f"what stands at byte {offset:,} is no member's header ({error})") from error
        if archive.offset <= offset:
            raise ValueError(f"the member at byte {offset:,} has no length")
        offset = archive.offset


def _plain_member(header: bytes, offset: int) -> _Plain | None:
    """A plain file by its header (POSIX 1003.1, ustar); None where it is something else, or damaged."""
    if len(header) != tarfile.BLOCKSIZE or header[156:157] not in b"0\0" or header[257:262] != b"ustar":
        return None
    size, check = header[124:136].strip(b" \0"), header[148:156].strip(b" \0")
    prefix = header[345:500].partition(b"\0")[0] if header[262:263] == b"\0" else b""  # of GNU, something else
    try:
        if int(check, 8) != 256 + sum(header[:148]) + sum(header[156:]):
            return None
        name = (prefix + b"/" * bool(prefix) + header[:100].partition(b"\0")[0]).decode("utf-8")
        return None if name.endswith("/") else _Plain(name, int(size, 8), offset + tarfile.BLOCKSIZE)
    except ValueError:
        return None


class _Headers(io.BufferedReader):
    """A tar archive of which no more than MAX_HEADER bytes may be read at once, which `tarfile` would."""

    def __init__(self, file: BinaryIO):
        super().__init__(file)  # type: ignore[arg-type]  # any file that can be read

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MAX_HEADER:
            raise ValueError(f"a header of more than {MAX_HEADER:,} bytes")
        return super().read(size)


class _Part(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file: BinaryIO, entry: Entry):
        self._file, self._entry = file, entry
        self._place = 0
        file.seek(entry.offset)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset + (0, self._place, self._entry.size)[whence]
        self._place = min(max(0, target), self._entry.size)
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._entry.offset + self._place)
        piece = self._file.read(min(len(buffer), self._entry.size - self._place))
        if not piece and self._place < self._entry.size:
            raise ValueError(f"it ends after {self._place:,} of {self._entry.size:,} bytes")
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


# ---------------------------------------------------------------------------------------------------------------------
# Several
# ---------------------------------------------------------------------------------------------------------------------


class Joined(Place):
    """Archives that lie beside each other, each as the folder that it would be unpacked into."""

    def __init__(self, base: Place, archives: dict[str, Archive], folders: dict[str, tuple[str, ...]]):
        """
        Args:
            base: where they lie, with what else does.
            archives: by their names there, which their files' names begin with.
            folders: what each archive means as a folder: `train-0001.tar` and `train-0002.tar` both are `train`.
        """
        self.base, self.archives, self.folders = base, archives, folders
        self.path = base.path
        self.form = f"{len(archives)} archives" if len(archives) > 1 else next(iter(archives.values())).form

    def _find(self, name: str) -> tuple[Place, str]:
        """The place of a file, and its name there."""
        end = name.find("/")
        while end >= 0:
            archive = self.archives.get(name[:end])
            if archive is not None:
                return archive, name[end + 1 :]
            end = name.find("/", end + 1)
        return self.base, name

    def open(self, name: str) -> BinaryIO:
        place, inner = self._find(name)
        return place.open(inner)

    def size(self, name: str) -> int:
        place, inner = self._find(name)
        return place.size(inner)

    def content(self, name: str) -> Path | bytes:
        place, inner = self._find(name)
        return place.content(inner)

    def stamp(self, names: Iterable[str]) -> list[object]:
        tables = [name for name in names if self._find(name)[0] is self.base]
        return [*self.base.stamp(tables), *self.base.stamp(self.archives)]

    def meant(self, folder: str) -> tuple[str, ...]:
        place, inner = self._find(f"{folder}/")
        if place is self.base:
            return super().meant(folder)
        return (*self.folders[folder[: len(folder) - len(inner)].rstrip("/")], *super().meant(inner.rstrip("/")))

    def in_order(self, names: Iterable[str]) -> list[str]:
        by_archive: dict[str, list[str]] = {}
        for name in names:
            inner = self._find(name)[1]
            by_archive.setdefault(name[: len(name) - len(inner)], []).append(inner)
        return [
            before + inner
            for before, some in by_archive.items()
            for inner in self._find(f"{before}x")[0].in_order(some)
        ]

    def each(self, names: Iterable[str]) -> Iterator[tuple[str, Path | bytes | BadImage]]:
        for place, some in groupby(names, lambda name: self._find(name)[0]):
            full, whole = tee(some)
            found = place.each(self._find(name)[1] for name in whole)
            yield from ((name, content) for name, (_, content) in zip(full, found, strict=True))
