from __future__ import annotations

import gzip
import hashlib
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from genkit.data import store
from genkit.errors import DataError

CONTENT = bytes(range(256)) * 40


def keep(content: bytes) -> bytes:
    """What `download` keeps: the decompressed content, if it is the published one."""
    plain = store.gunzip(content, len(CONTENT))
    if plain != CONTENT:
        raise ValueError("not the published content")
    return plain


def download(urls: list[str], target: Path) -> None:
    store.download(urls, target, limit=20_000, accept=keep)


def test_the_first_mirror_is_enough(home, mirrors, files_in):
    mirrors.files["/a/file.gz"] = gzip.compress(CONTENT)
    download([f"{mirrors.url}/a/file.gz", f"{mirrors.url}/b/file.gz"], home / "set" / "file")
    assert (home / "set" / "file").read_bytes() == CONTENT
    assert (home / "set" / "file").stat().st_mode & 0o777 == 0o444
    assert mirrors.asked == ["/a/file.gz"]
    assert files_in(home) == ["set/file"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (gzip.compress(CONTENT[::-1]), "not the published content"),
        (gzip.compress(CONTENT)[:-9], "cut short"),
        (b"<html>404</html>", "damaged"),
        (gzip.compress(CONTENT * 2), "decompresses to more than the 10,240 bytes that were published"),
        (bytes(20_001), "sends more than the 20,000 bytes that were published"),
        (None, "HTTP 404"),
    ],
)
def test_a_bad_mirror_gives_way_to_the_next(home, mirrors, files_in, caplog, bad, reason):
    if bad is not None:
        mirrors.files["/bad/file.gz"] = bad
    mirrors.files["/good/file.gz"] = gzip.compress(CONTENT)
    download([f"{mirrors.url}/bad/file.gz", f"{mirrors.url}/good/file.gz"], home / "file")
    assert (home / "file").read_bytes() == CONTENT
    assert reason in caplog.messages[0]
    assert files_in(home) == ["file"]


def test_all_mirrors_fail(home, mirrors, files_in):
    mirrors.files["/bad/file.gz"] = b"nonsense"
    dead = "http://127.0.0.1:1/file.gz"  # nothing listens there
    with pytest.raises(DataError) as caught:
        download([f"{mirrors.url}/bad/file.gz", f"{mirrors.url}/none/file.gz", dead], home / "set" / "file")
    message = str(caught.value)
    assert message.startswith("file: no mirror gave it (127.0.0.1:")
    assert "damaged" in message
    assert "HTTP 404" in message
    assert "127.0.0.1:1: can't be reached" in message
    assert message.endswith(f"put {mirrors.url}/bad/file.gz into {home / 'set'}")
    assert "\n" not in message
    assert files_in(home) == []


def test_offline_asks_nobody(home, mirrors, monkeypatch):
    monkeypatch.setenv("GENKIT_OFFLINE", "1")
    with pytest.raises(
        DataError, match=r"file is missing and GENKIT_OFFLINE is set; unset it, or put http.* into .*set"
    ):
        download([f"{mirrors.url}/file.gz"], home / "set" / "file")
    assert mirrors.asked == []


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("", False), ("0", False), ("no", False)])
def test_offline_is_a_switch(monkeypatch, value, offline):
    monkeypatch.setenv("GENKIT_OFFLINE", value)
    assert store.offline() == offline


def test_a_file_is_written_whole_or_not_at_all(home, files_in):
    target = home / "file"
    target.mkdir(parents=True)  # so that the last step, the renaming, fails
    with pytest.raises(DataError, match=r"file: can't be written \(.*\); set GENKIT_DATA"):
        store.write_once(target, CONTENT)
    assert files_in(home) == []


def test_a_folder_without_write_bits_is_left_alone(home, tmp_path, monkeypatch):
    """Even by root, whom the system would let write there."""
    home.mkdir()
    assert store.writable_root() == home
    home.chmod(0o555)
    assert store.writable_root() == tmp_path / "cache" / "genkit"
    assert list(home.iterdir()) == []
    (tmp_path / "cache" / "genkit").chmod(0o555)
    with pytest.raises(DataError, match="home: can't be written; set GENKIT_DATA to a folder that can"):
        store.writable_root()


def test_files_are_found_in_the_data_folder_before_the_cache(home, tmp_path):
    cached = tmp_path / "cache" / "genkit" / "set" / "file"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert store.find("set", ["file", "file.gz"]) == cached
    ours = home / "set" / "file.gz"
    ours.parent.mkdir(parents=True)
    ours.touch()
    assert store.find("set", ["file", "file.gz"]) == ours
    assert store.find("set", ["other"], [cached.parent]) is None


def test_a_gzip_bomb_is_stopped_at_the_limit():
    bomb = gzip.compress(bytes(100 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than the 1,000 bytes"):
            store.gunzip(bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match="huge: 1,099,511,627,776 bytes, where at most 10 were expected"):
        store.read(path, limit=10)


# ---------------------------------------------------------------------------------------------------------------------
# To disk
# ---------------------------------------------------------------------------------------------------------------------

LARGE = np.random.default_rng(0).integers(0, 256, 5_000_000, np.uint8).tobytes()


class Cutting:
    """An HTTP server that sends at most `piece` bytes a connection, from where it is asked to if it `resumes`."""

    def __init__(self, content: bytes, piece: int, resumes: bool = True, says: int | None = None):
        """
        Args:
            says: what it claims the length to be.
        """
        self.asked: list[str | None] = []
        cutting = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                cutting.asked.append(asked)
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and resumes else 0
                if start >= len(content):
                    self.send_response(416)
                    self.end_headers()
                    return
                self.send_response(206 if asked and resumes else 200)
                if asked and resumes:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.send_header("Content-Length", str(says or len(content) - start))
                self.end_headers()
                self.wfile.write(content[start : start + piece])

            def log_message(self, *arguments: object) -> None:
                """Tests print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/file"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def cutting() -> Iterator[Callable[..., Cutting]]:
    servers = []

    def start(*arguments, **options) -> Cutting:
        servers.append(Cutting(*arguments, **options))
        return servers[-1]

    yield start
    for each in servers:
        each.server.shutdown()
        each.server.server_close()


def to_disk(urls: list[str], target: Path, content: bytes = LARGE, **changes: object) -> None:
    options = {
        "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
        "size": len(content),
        "limit": len(content),
        "by_hand": "put it there",
    }
    store.download_to_disk(urls, target, **(options | changes))


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_large_file_comes_to_disk(home, mirrors, files_in, algorithm):
    mirrors.files["/b/file"] = LARGE
    checksum = f"{algorithm}:{hashlib.new(algorithm, LARGE).hexdigest()}"
    to_disk([f"{mirrors.url}/a/file", f"{mirrors.url}/b/file"], home / "set" / "file", checksum=checksum)
    assert (home / "set" / "file").read_bytes() == LARGE
    assert (home / "set" / "file").stat().st_mode & 0o777 == 0o444
    assert files_in(home) == ["set/file"]
    to_disk([f"{mirrors.url}/a/file"], home / "set" / "file")  # another process was first
    assert mirrors.asked == ["/a/file", "/b/file"]


def test_memory_stays_flat(home, mirrors):
    content = bytes(40 << 20)
    mirrors.files["/file"] = content
    tracemalloc.start()
    try:
        to_disk([f"{mirrors.url}/file"], home / "file", content)
        # The server is in this process; what it sends is no copy.
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [len(LARGE), None])
def test_a_connection_that_is_cut_is_taken_up(home, cutting, files_in, size):
    server = cutting(LARGE, 2_000_000)
    to_disk([server.url], home / "file", size=size)
    assert (home / "file").read_bytes() == LARGE
    assert server.asked == [None, "bytes=2000000-", "bytes=4000000-"]
    assert files_in(home) == ["file"]


def test_a_server_that_ends_too_soon_without_an_error_is_asked_to_go_on(home, cutting):
    server = cutting(LARGE, 2_500_000, says=2_500_000)
    to_disk([server.url], home / "file")
    assert (home / "file").read_bytes() == LARGE
    assert server.asked == [None, "bytes=2500000-"]


def test_a_server_that_cant_go_on_gives_way_and_the_next_goes_on(home, cutting, files_in):
    deaf, good = cutting(LARGE, 2_000_000, resumes=False), cutting(LARGE, 5_000_000)
    to_disk([deaf.url, good.url], home / "file")
    assert (home / "file").read_bytes() == LARGE
    assert good.asked == ["bytes=2000000-"]
    assert files_in(home) == ["file"]


def test_what_has_come_is_kept_for_the_next_time(home, cutting, files_in, caplog):
    deaf = cutting(LARGE, 2_000_000, resumes=False)
    with pytest.raises(DataError, match=r"file: no mirror gave it \(.*: cut after 2,000,000 bytes\); check"):
        to_disk([deaf.url], home / "file")
    assert files_in(home) == [".file.part"]
    good = cutting(LARGE, 5_000_000)
    to_disk([good.url], home / "file")
    assert good.asked == ["bytes=2000000-"]
    assert (home / "file").read_bytes() == LARGE
    assert files_in(home) == ["file"]


@pytest.mark.parametrize("length", [1_000_000, 4_999_999, 5_000_000, 6_000_000])
def test_a_part_of_something_else_is_no_hindrance(home, cutting, files_in, length):
    home.mkdir()
    (home / ".file.part").write_bytes(bytes(length))
    to_disk([cutting(LARGE, 5_000_000).url], home / "file")
    assert (home / "file").read_bytes() == LARGE
    assert files_in(home) == ["file"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (LARGE[::-1], "not the published file (wrong MD5)"),
        (LARGE[:-1], "sends 4,999,999 bytes, where 5,000,000 were published"),
        (LARGE + b"\0", "sends more than the 5,000,000 bytes that were published"),
        (b"\n<!DOCTYPE HTML><html>Please confirm</html>", "sends a web page instead of the file"),
        (b"", "sends 0 bytes, where 5,000,000 were published"),
        (None, "HTTP 404"),
    ],
)
def test_a_wrong_file_gives_way_to_the_next_mirror(home, mirrors, files_in, caplog, bad, reason):
    if bad is not None:
        mirrors.files["/bad"] = bad
    with pytest.raises(DataError) as caught:
        to_disk([f"{mirrors.url}/bad"], home / "file")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("; check the network, or put it there")
    assert files_in(home) == []
    mirrors.files["/good"] = LARGE
    caplog.clear()
    to_disk([f"{mirrors.url}/bad", "http://127.0.0.1:1/file", f"{mirrors.url}/good"], home / "file")
    assert (home / "file").read_bytes() == LARGE
    assert reason in caplog.messages[0]
    assert "can't be reached" in caplog.messages[1]
    assert files_in(home) == ["file"]


def test_a_compressed_file_is_kept_as_it_lies_there(home, mirrors):
    """Some servers say of a .gz that it is a page that they have compressed, and clients then unpack it."""
    content = gzip.compress(LARGE[:1000])
    mirrors.files["/file.gz"] = content
    mirrors.encoding = "gzip"
    to_disk([f"{mirrors.url}/file.gz"], home / "file.gz", content)
    assert (home / "file.gz").read_bytes() == content


def test_no_room(home, mirrors, monkeypatch, files_in):
    mirrors.files["/file"] = LARGE
    usage = shutil.disk_usage(home.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(DataError, match="file: needs 5 MB more, and 1 MB are free; make room, or set GENKIT_DATA"):
        to_disk([f"{mirrors.url}/file"], home / "file")
    assert files_in(home) == []


def test_a_folder_that_cant_be_written(home, mirrors):
    mirrors.files["/file"] = LARGE
    home.write_bytes(b"a file where a folder should be")
    with pytest.raises(DataError, match=r"can't be written \(.*\); set GENKIT_DATA to another folder"):
        to_disk([f"{mirrors.url}/file"], home / "set" / "file")


def test_offline_asks_nobody_for_a_large_file(home, mirrors, monkeypatch):
    monkeypatch.setenv("GENKIT_OFFLINE", "1")
    with pytest.raises(DataError, match="file is missing and GENKIT_OFFLINE is set; unset it, or put it there"):
        to_disk([f"{mirrors.url}/file"], home / "file")
    assert mirrors.asked == []


def test_checksums_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(LARGE)
    assert store.checksums_of(tmp_path / "file", ["md5", "sha256"]) == {
        "md5": hashlib.md5(LARGE).hexdigest(),
        "sha256": hashlib.sha256(LARGE).hexdigest(),
    }
    with pytest.raises(DataError, match="none: can't be read"):
        store.checksums_of(tmp_path / "none", ["md5"])
