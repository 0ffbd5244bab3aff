"""Batches are the same wherever the images lie, and nothing of the reading is left behind."""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from genkit.data import DataOptions, batches, load
from genkit.data.batches import IN_MEMORY, ON_DISK, TrainingBatches, read_ahead
from genkit.data.dataset import Split
from genkit.errors import DataError

CPU = torch.device("cpu")
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def array(tmp_path: Path) -> Path:
    """700 images of noise."""
    images = np.random.default_rng(0).integers(0, 256, (700, 3, 9, 8), np.uint8)
    path = tmp_path / "noise.npy"
    np.save(path, images)
    return path


@pytest.fixture
def split(array: Path) -> Split:
    train = load(DataOptions(dataset=str(array))).train
    return Split(train.storage, train.rows, torch.arange(len(train)), file=train.file)


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MEMORY_BYTES", 0)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("genkit-reader")]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_the_same_batches_in_memory_and_read_ahead_from_any_start(
    split: Split, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    where = torch.device(device)
    split = replace(split, attributes=split.rows[:, None] % torch.tensor([2, 3]) == 0)
    plain = TrainingBatches(Split(split.storage.clone(), split.rows, split.labels, split.attributes), 40, 3, CPU)
    near = TrainingBatches(split, 40, 3, where)
    monkeypatch.setattr(batches, "MEMORY_BYTES", 0)
    monkeypatch.setattr(batches, "DEVICE_SHARE", 0)
    far = TrainingBatches(split, 40, 3, where)
    assert (near.place, far.place) == (IN_MEMORY if device == "cpu" else batches.ON_DEVICE, ON_DISK)
    assert len(near) == len(far) == 14
    expected = list(plain.epoch(5))
    for start in range(15):
        for ours in (near, far):
            found = list(ours.epoch(5, start))
            assert len(found) == 14 - start
            for batch, other in zip(found, expected[start:], strict=True):
                for name in ("images", "labels", "attributes", "epoch"):
                    assert torch.equal(getattr(batch, name).cpu(), getattr(other, name))
    assert not readers()


def test_rows_are_read_from_their_places(split: Split) -> None:
    """In any order, neighbours or not, twice or not at all."""
    assert split.file is not None
    dice = random.Random(0)
    for count in (0, 1, 2, 50):
        for _ in range(20):
            positions = torch.tensor([dice.randrange(len(split)) for _ in range(count)], dtype=torch.int64)
            assert torch.equal(split.images(positions), split.storage[split.rows[positions]])
    assert torch.equal(split.images(), split.storage[split.rows])
    assert torch.equal(split.images(slice(100, 200)), split.take(slice(100, 200)).images())


def test_a_read_that_the_system_hands_over_in_parts_is_whole(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does beyond two gigabytes."""
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, spaces, place: read(file, [spaces[0][:100]], place))
    assert torch.equal(split.images(slice(100, 103)), split.storage[split.rows[100:103]])


@pytest.mark.usefixtures("on_disk")
def test_an_epoch_left_in_its_middle_leaves_no_thread(split: Split) -> None:
    data = TrainingBatches(split, 10, 0, CPU)
    epoch = data.epoch(0)
    next(epoch)
    assert readers(), "nothing is read ahead"
    epoch.close()
    assert not readers()
    for _ in data.epoch(1):  # as a signal does it
        break
    assert not readers()


@pytest.mark.usefixtures("on_disk")
def test_a_file_that_is_cut_is_an_error_at_its_batch(split: Split, array: Path) -> None:
    epoch = TrainingBatches(split, 10, 0, CPU).epoch(0)
    next(epoch)
    os.truncate(array, array.stat().st_size // 2)
    with pytest.raises(DataError, match=r"noise\.npy: has been cut"):
        list(epoch)
    assert not readers()


@pytest.mark.usefixtures("on_disk")
def test_a_disk_that_fails_is_an_error(split: Split, array: Path) -> None:
    assert split.file is not None
    epoch = TrainingBatches(split, 10, 0, CPU).epoch(0)
    next(epoch)
    unreadable = os.open(array, os.O_WRONLY)
    os.dup2(unreadable, split.file.descriptor)
    os.close(unreadable)
    with pytest.raises(DataError, match=r"noise\.npy: can't be read \(Bad file descriptor\)"):
        list(epoch)


@pytest.mark.usefixtures("on_disk")
def test_a_file_that_is_deleted_can_still_be_read(split: Split, array: Path) -> None:
    """A pack that gives way to its successor doesn't take the images from a run that goes on."""
    expected = [batch.images for batch in TrainingBatches(split, 10, 0, CPU).epoch(0)]
    array.unlink()
    found = [batch.images for batch in TrainingBatches(split, 10, 0, CPU).epoch(0)]
    assert all(map(torch.equal, found, expected))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
@pytest.mark.usefixtures("on_disk")
def test_what_is_read_does_not_count_as_memory(split: Split, array: Path) -> None:
    for _ in TrainingBatches(split, 10, 0, CPU).epoch(0):
        pass
    lines = Path("/proc/self/smaps").read_text().splitlines()
    mapped = next(number for number, line in enumerate(lines) if line.endswith(str(array)))
    resident = next(line for line in lines[mapped:] if line.startswith("Rss:"))
    assert int(resident.split()[1]) == 0


def test_reading_ahead_keeps_the_order_and_its_distance() -> None:
    begun = []

    def read(number: int) -> int:
        begun.append(number)
        time.sleep(random.Random(number).random() / 200)
        return number

    for asked, number in enumerate(read_ahead(read, range(60), 5)):
        assert number == asked
        assert len(begun) <= asked + 6
    assert sorted(begun) == list(range(60))
    assert list(read_ahead(read, [], 5)) == []


def test_what_a_reader_raises_comes_in_its_place() -> None:
    results = read_ahead(lambda number: 12 // (3 - number), range(9), 4)
    assert [next(results) for _ in range(3)] == [4, 6, 12]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not readers()


def test_flips_are_a_function_of_seed_and_epoch(split: Split) -> None:
    """The same images in the same order, about half of them mirrored, others in another epoch; resumed anywhere."""
    plain = TrainingBatches(split, 20, 3, CPU)
    flipping = TrainingBatches(split, 20, 3, CPU, flips=True)
    as_they_are = torch.cat([batch.images for batch in plain.epoch(0)])
    mirrored = []
    for epoch in (0, 1):
        images = torch.cat([batch.images for batch in flipping.epoch(epoch)])
        resumed = torch.cat([batch.images for batch in flipping.epoch(epoch, 3)])
        assert torch.equal(images[60:], resumed)
        plains = torch.cat([batch.images for batch in plain.epoch(epoch)])
        same = (images == plains).flatten(1).all(1)
        assert torch.equal(images[~same], plains[~same].flip(3))
        assert 0.4 < float(same.float().mean()) < 0.6
        mirrored.append(same)
    assert not torch.equal(*mirrored)
    assert torch.equal(as_they_are, torch.cat([batch.images for batch in plain.epoch(0)]))
    halves = [TrainingBatches(split, 20, 3, CPU, rank, 2, flips=True) for rank in (0, 1)]
    together = [torch.cat([a.images, b.images]) for a, b in zip(*(each.epoch(0) for each in halves), strict=True)]
    assert torch.equal(torch.cat(together), torch.cat([batch.images for batch in flipping.epoch(0)]))
