from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from genkit.contract import ImageShape
from genkit.data import pack
from genkit.data.dataset import fingerprint
from genkit.errors import DataError

SHAPE = ImageShape(1, 28, 28)
KEY = pack.Key("My set!", {"folder": "/somewhere"}, [1, 2])


def contents(pictures: np.ndarray, keep: int = 100, error: BaseException | None = None) -> pack.Contents:
    """A pack of 100 digits, of which the first `keep` come, and then `error`."""

    def chunks() -> Iterator[pack.Chunk]:
        for rows in np.split(np.arange(keep), range(16, keep, 16)):
            yield pack.Chunk(rows, pictures[rows, None], fingerprint(pictures[rows]))
        if error is not None:
            raise error

    return pack.Contents(SHAPE, 100, chunks(), labels=np.arange(100), classes=tuple(map(str, range(100))))


def test_what_is_packed_comes_back(pictures, home):
    dataset = pack.open_or_write(KEY, lambda: contents(pictures)).dataset
    assert dataset.name == "My set!"
    assert dataset.shape == SHAPE
    for split in dataset.splits().values():
        assert (split.images()[:, 0].numpy() == pictures[split.labels]).all()
    again = pack.open_or_write(KEY, lambda: pytest.fail("packed twice")).dataset
    assert torch.equal(again.test.images(), dataset.test.images())


def test_the_files_say_what_they_are(pictures, home):
    pack.open_or_write(KEY, lambda: contents(pictures))
    folder = pack.find(KEY).folder
    assert folder.parent == home / "packed"
    assert folder.name.startswith("My-set-")
    images = np.load(folder / "images.npy")
    assert (images[:, 0] == pictures).all()
    manifest = json.loads((folder / "pack.json").read_text())
    assert manifest["sums"]["images.npy"] == hashlib.sha256(images).hexdigest()
    assert manifest["source"] == {"name": "My set!", "folder": "/somewhere"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}


def test_fewer_images_than_were_expected(pictures):
    dataset = pack.open_or_write(KEY, lambda: contents(pictures, keep=9)).dataset
    assert sum(map(len, dataset.splits().values())) == 9
    assert np.load(pack.find(KEY).folder / "images.npy").shape == (9, 1, 28, 28)


@pytest.mark.parametrize("error", [DataError("bad"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_nothing_is_left_of_a_pack_that_failed(pictures, home, files_in, error):
    with pytest.raises((DataError, KeyboardInterrupt)):
        pack.open_or_write(KEY, lambda: contents(pictures, error=error))
    assert files_in(home) == []
    assert [path.suffix for path in (home / "packed").iterdir()] == [".lock"]


def test_a_full_disk(pictures, home, files_in, monkeypatch):
    """/dev/full is a disk that is."""
    fill = pack._fill

    def fill_a_full_disk(folder: Path, key: pack.Key, contents: pack.Contents) -> pack.Manifest:
        (folder / "images.npy").symlink_to("/dev/full")
        return fill(folder, key, contents)

    monkeypatch.setattr(pack, "_fill", fill_a_full_disk)
    with pytest.raises(DataError, match="packed: No space left on device; make room, or set GENKIT_DATA"):
        pack.open_or_write(KEY, lambda: contents(pictures))
    assert files_in(home) == []


def test_what_a_killed_process_left_is_removed(pictures, home):
    stale = home / "packed" / f".{KEY.stem}.abc.part"
    stale.mkdir(parents=True)
    (stale / "images.npy").touch()
    pack.open_or_write(KEY, lambda: contents(pictures))
    assert not stale.exists()


@pytest.mark.parametrize("file", ["images.npy", "splits.npy", "labels.npy", "pack.json"])
@pytest.mark.parametrize("how", ["cut", "gone", "nonsense", "empty"])
def test_a_damaged_pack_is_packed_again(pictures, caplog, file, how):
    expected = pack.open_or_write(KEY, lambda: contents(pictures)).dataset.test.images()
    path = pack.find(KEY).folder / file
    path.chmod(0o644)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": path.read_bytes()[:-7], "nonsense": b"nonsense", "empty": b""}[how])
    with caplog.at_level(logging.WARNING, "genkit"):
        dataset = pack.open_or_write(KEY, lambda: contents(pictures)).dataset
    assert torch.equal(dataset.test.images(), expected)
    assert pack.verify(pack.find(KEY).folder).ok
    assert (f"{path.parent}: the pack is damaged" in caplog.text) or (file, how) == ("pack.json", "gone")


def test_one_packs_and_the_others_wait(pictures, home):
    packed = []

    def make() -> pack.Contents:
        packed.append(1)
        return contents(pictures)

    # The lock is the system's, on an open file: it holds between threads as it does between processes.
    with ThreadPoolExecutor(4) as pool:
        datasets = list(pool.map(lambda _: pack.open_or_write(KEY, make).dataset, range(4)))
    assert len(packed) == 1
    assert all(torch.equal(dataset.train.rows, datasets[0].train.rows) for dataset in datasets)


def test_larger_than_memory_can_be_mapped(home):
    """Linux refuses a private writable map of more than its memory; ours is read-only. (The file is sparse.)"""
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 2 // SHAPE.numbers
    path = home / "images.npy"
    home.mkdir()
    with path.open("wb") as file:
        pack._write_header(file, size, SHAPE)
        try:
            file.truncate(file.tell() + size * SHAPE.numbers)
        except OSError:
            pytest.skip("the file system has no sparse files of that size")
    storage, _ = pack._map(path, size, SHAPE)
    assert storage[size - 1].sum() == 0


def test_a_damaged_pack_in_a_read_only_folder_does_not_stop_us(pictures, home, tmp_path):
    pack.open_or_write(KEY, lambda: contents(pictures))
    images = pack.find(KEY).folder / "images.npy"
    images.chmod(0o644)
    images.write_bytes(b"")
    home.chmod(0o555)
    try:
        assert pack.open_or_write(KEY, lambda: contents(pictures)).folder.is_relative_to(tmp_path / "cache")
    finally:
        home.chmod(0o755)
