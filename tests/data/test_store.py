from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

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
