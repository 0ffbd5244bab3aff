"""Where do published files lie, how do they get here, and are they what was published?"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs
from tqdm import tqdm

from genkit.data import Missing
from genkit.ending import unfinished
from genkit.errors import DataError
from genkit.files import expanded, remedy, sync_file

#: Seconds without a byte after which a mirror is given up.
TIMEOUT = 30
#: How often a mirror is asked to go on where its connection was cut, as long as each time brings something.
RESUMED = 20
#: Bytes that are read, hashed and written at once.
PIECE = 1 << 20
#: Bytes of a file from which on a bar shows how far it has been read.
LARGE = 1 << 27
#: What a server says that is asked for bytes behind a file's last.
BEYOND_THE_END = 416
#: What checksums are called in messages, by what hashlib calls them.
ALGORITHMS = {"sha256": "SHA-256", "md5": "MD5"}
#: How a web page begins, which some servers send instead of saying that a file isn't there.
WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|head)\b", re.IGNORECASE)

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


def checksums_of(path: Path, algorithms: Iterable[str]) -> dict[str, str]:
    """Checksums of a file's bytes, which are read once, piece by piece.

    Args:
        algorithms: of "sha256" and "md5".

    Raises:
        DataError: when it can't be read.
    """
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    try:
        size = path.stat().st_size
        with path.open("rb") as file, _bar(f"checking {path.name}", size, hidden=size < LARGE) as bar:
            while piece := file.read(PIECE):
                for digest in digests.values():
                    digest.update(piece)
                bar.update(len(piece))
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _bar(what: str, size: int | None, start: int = 0, hidden: bool = False) -> tqdm:
    """A bar that counts bytes; on a terminal only."""
    # None is "on a terminal only".
    return tqdm(total=size, initial=start, desc=what, unit="B", unit_scale=True, disable=True if hidden else None)


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


def missing(name: str, what: str, folder: str | None = None) -> Missing:
    """That something of a set isn't here, and how it gets here.

    Args:
        folder: of the set, where it isn't called as the set is.
    """
    if offline():
        where = roots()[0] / (folder or name)
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


def download_to_disk(
    urls: Sequence[str],
    target: Path,
    *,
    checksum: str,
    size: int | None,
    limit: int,
    by_hand: str,
) -> None:
    """Fetch a file of any size from the first mirror that serves the right bytes, and keep it read-only.

    It is written to `.NAME.part` as it comes, and renamed once its checksum is right. A connection that is cut is taken
    up where it ended, and so is a download that was interrupted, or that no mirror finished: what has come is kept.

    Args:
        urls: the same bytes on several mirrors, tried in this order.
        target: where they are kept.
        checksum: of these bytes: "sha256:" or "md5:" and the digest in hexadecimal.
        size: in bytes, where it is known.
        limit: bytes; a mirror that sends more is given up at once.
        by_hand: what a person may do instead, for the message: "put https://... into /data/set".

    Raises:
        DataError: when the network is forbidden (GENKIT_OFFLINE), the disk is full, or no mirror gave the file.
    """
    if offline():
        raise DataError(f"{target.name} is missing and GENKIT_OFFLINE is set; unset it, or {by_hand}")
    failures = []
    with _writing(target), _one_at_a_time(target):
        if target.is_file():  # another process has fetched it meanwhile
            return
        part = _Part(target, checksum, size, limit)
        try:
            for url in urls:
                log.info("fetching %s", url)
                try:
                    part.receive(url)
                except ValueError as error:
                    log.warning("%s failed: %s", url, error)
                    failures.append(f"{urlsplit(url).netloc}: {error}")
                else:
                    part.finish()
                    return
        finally:
            part.leave()
    raise DataError(f"{target.name}: no mirror gave it ({'; '.join(failures)}); check the network, or {by_hand}")


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """A disk that fails as a DataError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DataError(
            f"{target}: can't be written ({error.strerror or error}); "
            f"{remedy(error, 'or', 'set GENKIT_DATA to another folder')}"
        ) from error


@contextmanager
def _one_at_a_time(target: Path) -> Iterator[None]:
    """Other processes that want the same file wait."""
    from filelock import FileLock

    with FileLock(target.with_name(f".{target.name}.lock")):
        yield


class _Part:
    """A file on its way here, as far as it has come."""

    def __init__(self, target: Path, checksum: str, size: int | None, limit: int):
        self.target, self.size, self.limit = target, size, limit
        self.algorithm, _, self.expected = checksum.partition(":")
        self.path = target.with_name(f".{target.name}.part")
        self._begin()
        if self.path.is_file() and self.path.stat().st_size > limit:
            self.path.unlink()
        if self.path.is_file():
            with self.path.open("rb") as file:
                while piece := file.read(PIECE):
                    self._count(piece)
            log.info("%s: going on after %s bytes", target.name, f"{self.received:,}")

    def receive(self, url: str) -> None:
        """Fetch what is missing, and check the whole.

        Raises:
            ValueError: when it isn't the published file, or can't be had; the message says why in a few words.
            OSError: when the disk fails.
        """
        import requests  # which pooch takes along
        import urllib3

        went_on = self.received > 0
        for _ in range(RESUMED):
            before = self.received
            try:
                with requests.get(url, headers=self._headers(), stream=True, timeout=TIMEOUT) as response:
                    response.raise_for_status()
                    self._take(response)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                status = getattr(getattr(error, "response", None), "status_code", None)
                if status == BEYOND_THE_END and before:
                    break
                if self.received <= before:
                    raise ValueError(f"cut after {before:,} bytes" if before else _reason(error)) from None
            else:
                if self.size is None or self.received >= self.size or self.received <= before:
                    break
            log.info("%s: cut after %s bytes; going on", url, f"{self.received:,}")
        wrong = self._fault()
        if wrong is None:
            return
        self._start_over()
        if not went_on:
            raise ValueError(wrong)
        self.receive(url)  # what lay there may have been another file's beginning

    def finish(self) -> None:
        """Give it its name."""
        sync_file(self.path)
        self.path.chmod(0o444)
        self.path.replace(self.target)

    def leave(self) -> None:
        """Keep what there is to go on with, and no empty file."""
        if not self.received:
            self.path.unlink(missing_ok=True)

    def _headers(self) -> dict[str, str]:
        # The bytes as they lie there: of a .gz some servers say that it is a page that they have compressed.
        headers = {"Accept-Encoding": "identity"}
        return headers | ({"Range": f"bytes={self.received}-"} if self.received else {})

    def _take(self, response: Any) -> None:
        """Write what comes; raises ValueError where it can't be the file."""
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {self.received}-")
        if self.received and not (response.status_code == 206 and goes_on):
            self._start_over()
        length = int(response.headers.get("Content-Length") or 0)
        total = self.size or (self.received + length if length else None)
        self._require_room(total)
        bar = _bar(self.target.name, total, self.received)
        with self.path.open("ab" if self.received else "wb") as file, bar:
            for piece in response.raw.stream(PIECE, decode_content=False):
                if not self.received and WEB_PAGE.match(piece):
                    raise ValueError("sends a web page instead of the file")
                if self.received + len(piece) > self.limit:
                    self._start_over()
                    raise ValueError(f"sends more than the {self.limit:,} bytes that were published")
                file.write(piece)
                self._count(piece)
                bar.update(len(piece))

    def _require_room(self, total: int | None) -> None:
        missing, free = (total or 0) - self.received, shutil.disk_usage(self.path.parent).free
        if missing > free:
            raise DataError(
                f"{self.target}: needs {missing / 1e6:,.0f} MB more, and {free / 1e6:,.0f} MB are free; make room, or "
                "set GENKIT_DATA to another folder"
            )

    def _fault(self) -> str | None:
        if self.size is not None and self.received != self.size:
            return f"sends {self.received:,} bytes, where {self.size:,} were published"
        if self._digest.hexdigest() != self.expected:
            return f"not the published file (wrong {ALGORITHMS[self.algorithm]})"
        return None

    def _count(self, piece: bytes) -> None:
        self._digest.update(piece)
        self.received += len(piece)

    def _start_over(self) -> None:
        """Begin anew, with nothing."""
        self.path.unlink(missing_ok=True)
        self._begin()

    def _begin(self) -> None:
        self.received = 0
        self._digest = hashlib.new(self.algorithm, usedforsecurity=False)


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
