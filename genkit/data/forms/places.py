"""Where do somebody's files lie: in a folder, or within an archive that is read in place?

Whoever reads a file asks its place for it, and needn't know which of them it is. Nothing is ever extracted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO


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

    def each(self, names: Iterable[str]) -> Iterator[tuple[str, Path | bytes]]:
        """Files and their `content`, in the order of `names`, one at a time."""
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
