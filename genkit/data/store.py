"""Where do published files lie, how do they get here, and are they what was published?"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import re
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from genkit.data import Missing
from genkit.ending import unfinished
from genkit.errors import DataError
from genkit.files import expanded, remedy

#: Seconds without a byte after which a mirror is given up.
TIMEOUT = 30

log = logging.getLogger("genkit")


# ---------------------------------------------------------------------------------------------------------------------
# Folders
# ---------------------------------------------------------------------------------------------------------------------


def roots() -> list[Path]:
    """The folders that data is looked for in, in order: GENKIT_DATA if it is set, then the user's cache directory."""
    chosen = os.environ.get("GENKIT_DATA")
    folders = [expanded(chosen)] if chosen else []
    return [*folders, Path(platformdirs.user_cache_dir("genkit"))]


def writable_root() -> Path:
    """The first of `roots()` that new files may go to; made if it doesn't exist.

    A folder without any write bit is left alone even where the system would let us write: that is how root, or a
    container, sees data that somebody wants kept as it is.

    Raises:
        DataError: when none can be written.
    """
    for root in roots():
        try:
            root.mkdir(parents=True, exist_ok=True)
            if root.stat().st_mode & 0o222 and os.access(root, os.W_OK | os.X_OK):
                return root
        except OSError:
            continue
    raise DataError(f"{roots()[0]}: can't be written; set GENKIT_DATA to a folder that can")


def sheet_of(source: str) -> Path:
    """Where the contact sheet of a source goes, which takes the place of the one that was drawn before.

    Args:
        source: a set's name, or a path.

    Raises:
        DataError: when it can't be written anywhere.
    """
    slug = re.sub(r"[^A-Za-z0-9]+", "-", Path(source).name).strip("-")[:40] or "images"
    known = hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()[:8]
    return writable_root() / "sheets" / f"{slug}-{known}.png"


def find(name: str, files: Sequence[str], elsewhere: Sequence[Path] = ()) -> Path | None:
    """The first of `files` (alternatives, best first) in a root's folder `name`, or in the folders `elsewhere`."""
    for folder in [*(root / name for root in roots()), *elsewhere]:
        for file in files:
            if (folder / file).is_file():
                return folder / file
    return None


def write_once(path: Path, content: bytes) -> None:
    """Write a read-only file so that it is there either whole or not at all.

    Raises:
        DataError: when the disk is full or the folder can't be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(temporary):
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.chmod(0o444)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path}: can't be written ({error.strerror}); {remedy(error, 'or', 'set GENKIT_DATA to another folder')}"
        ) from error


# ---------------------------------------------------------------------------------------------------------------------
# Content
# ---------------------------------------------------------------------------------------------------------------------


def sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


def read(path: Path, limit: int) -> bytes:
    """A file's bytes.

    Raises:
        DataError: when it can't be read, or is larger than `limit` bytes (found out before any is read).
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise DataError(f"{path}: {size:,} bytes, where at most {limit:,} were expected; delete it")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error


def gunzip(content: bytes, limit: int) -> bytes:
    """The decompressed content, at most `limit` bytes of it in memory.

    Raises:
        ValueError: when it isn't gzip, is cut short, or decompresses to more than `limit` bytes.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            plain = file.read(limit + 1)
    except EOFError:
        raise ValueError("cut short") from None
    except (OSError, zlib.error) as error:
        raise ValueError(f"damaged ({error})") from None
    if len(plain) > limit:
        raise ValueError(f"decompresses to more than the {limit:,} bytes that were published")
    return plain


# ---------------------------------------------------------------------------------------------------------------------
# Network
# ---------------------------------------------------------------------------------------------------------------------


def offline() -> bool:
    """Whether GENKIT_OFFLINE forbids the network."""
    return os.environ.get("GENKIT_OFFLINE", "").lower() not in ("", "0", "false", "no")


def missing(name: str, what: str) -> Missing:
    """That something of a set isn't here, and how it gets here."""
    if offline():
        where = roots()[0] / name
        return Missing(f"{name}: {what} not here, and GENKIT_OFFLINE is set; unset it, or put it into {where}", False)
    return Missing(f"{name}: {what} not here, and would be fetched first", True)


def download(
    urls: Sequence[str],
    target: Path,
    *,
    limit: int,
    accept: Callable[[bytes], bytes],
    alternatives: str = "",
    instead: str = "",
) -> None:
    """Fetch a file from the first mirror that serves the right bytes, and keep it read-only.

    Args:
        urls: the same file on several mirrors, tried in this order.
        target: where `accept`'s result is kept.
        limit: bytes; a mirror that sends more is given up at once.
        accept: turns the bytes that came into those to keep; raises ValueError when they aren't the published ones.
        alternatives: what else may be put there by hand, for the message.
        instead: a set that needs no network, for the message.

    Raises:
        DataError: when the network is forbidden (GENKIT_OFFLINE), or no mirror gave the file. Nothing is left behind.
    """
    import pooch  # which takes an HTTP library along

    by_hand = f"put {urls[0]} into {target.parent}{alternatives}"
    by_hand += f"; {instead} comes without a network" if instead else ""
    if offline():
        raise DataError(f"{target.name} is missing and GENKIT_OFFLINE is set; unset it, or {by_hand}")
    failures = []
    for url in urls:
        log.info("fetching %s", url)
        received = _Bounded(limit)
        downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 16, timeout=TIMEOUT)
        try:
            downloader(url, received, None)
            content = accept(received.getvalue())
        except (OSError, ValueError) as error:  # every error of requests is one of these
            log.warning("%s failed: %s", url, _reason(error))
            failures.append(f"{urlsplit(url).netloc}: {_reason(error)}")
        else:
            write_once(target, content)
            return
    raise DataError(f"{target.name}: no mirror gave it ({'; '.join(failures)}); check the network, or {by_hand}")


class _Bounded(io.BytesIO):
    """A file in memory that refuses to grow beyond `limit` bytes."""

    def __init__(self, limit: int):
        super().__init__()
        self.limit = limit

    def write(self, content) -> int:  # type: ignore[no-untyped-def, override]  # any buffer, as in io.BytesIO
        if self.tell() + len(content) > self.limit:
            raise ValueError(f"sends more than the {self.limit:,} bytes that were published")
        return super().write(content)


def _reason(error: Exception) -> str:
    """An error of `requests` in a few words: its own are nested representations of several lines."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code}"
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return str(error)
    return {"ConnectTimeout": "no answer", "ReadTimeout": "no answer", "ConnectionError": "can't be reached"}.get(
        type(error).__name__, type(error).__name__
    )
