"""How does a file, or a folder of files, get to the disk whole or not at all?

Both are written under a temporary name beside the place where they belong, and renamed when they are complete. A rename
is atomic on every file system that people train on, so whoever looks sees either nothing or everything.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from genkit.ending import unfinished
from genkit.errors import GenkitError

#: What the system says where there is no room, and where it refuses.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def remedy(error: OSError, link: str, other: str) -> str:
    """What helps where something couldn't be written: "make room, or name another place".

    Args:
        link, other: what there is besides, or instead where the cause is none that room or leave would mend.
    """
    first = "make room" if error.errno in NO_ROOM else "allow writing there" if error.errno in REFUSED else None
    return f"{first}, {link} {other}" if first else other


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with `~` and `~name` as the folder that it stands for; a name that nobody has stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # Path.expanduser makes an error of such a name


@contextmanager
def whole_file(path: Path, durable: bool = False, parents: bool = True) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it becomes `path` at the end, or nothing is left.

    Args:
        durable: wait until the disk has it, so that a loss of power leaves the old file or the new one.
        parents: whether to make the folders above it; not of a file of a folder that somebody may have renamed.

    Raises:
        GenkitError: when the file can't be written.
    """
    # Not from tempfile, which makes files that only their owner can read.
    temporary = path.with_name(f".genkit-{uuid.uuid4().hex}{path.suffix}")
    try:
        with unfinished(temporary), parents_of(path) if parents else nullcontext():
            try:
                yield temporary
                if durable:
                    sync_file(temporary)
                temporary.replace(path)
                if durable:
                    sync_folder(path.parent)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise GenkitError(
            f"{path}: can't be written ({error.strerror or error}); {remedy(error, 'or', 'name another place')}"
        ) from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, which must not exist, to write to; it becomes `path` at the end, or nothing is left.

    Raises:
        GenkitError: when it can't be written.
    """
    temporary = path.with_name(f".genkit-{uuid.uuid4().hex}")
    try:
        with unfinished(temporary), parents_of(path):
            temporary.mkdir()  # not from tempfile, whose folders only their owner can read
            try:
                yield temporary
                temporary.rename(path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
    except OSError as error:
        raise GenkitError(
            f"{path}: can't be written ({error.strerror or error}); {remedy(error, 'or', 'name another place')}"
        ) from error


@contextmanager
def parents_of(path: Path) -> Iterator[None]:
    """The folders above `path`, made where they are missing; on an error those that were made, if empty, go again."""
    made = [each for each in path.parents if not each.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something else lies there by now
            for each in made:
                each.rmdir()
        raise


@contextmanager
def scratch_folder(parent: Path, prefix: str, suffix: str = ".part") -> Iterator[Path]:
    """A new folder in `parent` that is gone afterwards, unless it has been given another name.

    Raises:
        OSError: when it can't be made.
    """
    temporary = parent / f"{prefix}{uuid.uuid4().hex}{suffix}"
    with unfinished(temporary):
        temporary.mkdir()
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_file(path: Path, content: bytes, parents: bool = True) -> None:
    """Write or replace one file, durably; with `parents`, the folders above it are made.

    Raises:
        GenkitError: when it can't be written; what stood there before still does.
    """
    with whole_file(path, durable=True, parents=parents) as temporary:
        temporary.write_bytes(content)


def write_folder(path: Path, contents: Mapping[str, bytes], parents: bool = True) -> None:
    """Write a new folder of files, durably: once it has its name, a loss of power can't take any of it away.

    Args:
        path: must not exist.
        contents: file name to content, in the order in which they are written.
        parents: whether to make the folders above it.

    Raises:
        OSError: when the disk doesn't take it; then nothing is left there.
    """
    above = parents_of(path) if parents else nullcontext()
    with above, scratch_folder(path.parent, f".{path.name}-", "") as temporary:
        for name, content in contents.items():
            write_synced(temporary / name, content)
        sync_folder(temporary)
        temporary.rename(path)
    sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Delete a folder so that nobody ever sees half of it: it loses its name before it loses its files."""
    doomed = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    with unfinished(doomed):
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Wait until the disk has a file as it is now."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the folder's own entries durable, which fsync of its files doesn't do. Not a thing on Windows."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_plain(path: Path, limit: int | None = None) -> None:
    """Accept a regular file only: no link, which can lead anywhere, and no pipe or device, which may never end.

    Raises:
        OSError: when it isn't there.
        ValueError: when it is something else, or larger than `limit` bytes.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is no regular file")
    if limit is not None and status.st_size > limit:
        raise ValueError(f"{path.name} has {status.st_size:,} bytes, where at most {limit:,} were expected")


def read_plain(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError, ValueError: as `require_plain`.
    """
    require_plain(path, limit)
    return path.read_bytes()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def to_json(value: Any) -> bytes:
    """Indented, with a final newline; NaN and infinity, which JSON lacks, as an error."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def from_json(content: bytes) -> Any:
    """The value of strict JSON.

    Raises:
        ValueError: when it is no JSON, holds NaN or infinity, or is nested beyond all reason.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(content, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
