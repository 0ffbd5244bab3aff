"""A second set of images beside the first: in which order it comes, who gets what of it, and in which form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genkit import data
from genkit.contract import ImageShape
from genkit.data import DataOptions, batches
from genkit.data.batches import ON_DEVICE, ON_DISK, TrainingBatches, conformed, in_order
from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError

CPU = torch.device("cpu")
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
#: Of the first set, in batches of 8: 6 an epoch, and 2 images left over.
COUNT, BATCH, STEPS = 50, 8, 6


def numbered(count: int, shape: tuple[int, int, int] = (1, 2, 2)) -> Split:
    """Images that each have their number for every pixel, and for a label."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, *shape).contiguous()
    return Split(images, torch.arange(count), torch.arange(count), torch.arange(count)[:, None] % 2 == 0)


def numbers(images: Tensor | None) -> list[int]:
    """Which ones of those they are."""
    assert images is not None
    return (images[:, 0, 0, 0] * 255).round().long().tolist()


def batches_of(beside: Split, seed: int = 3, **more: int) -> TrainingBatches:
    return TrainingBatches(numbered(COUNT), BATCH, seed, CPU, beside=beside, **more)


@pytest.mark.parametrize("count", [1, 5, 8, 48, 50, 200])
def test_every_image_of_the_second_set_is_seen_as_often_as_any_other(count: int) -> None:
    """At any time, in a shorter set and in a longer one, whatever is left over of the first."""
    data_of = batches_of(numbered(count))
    seen = torch.zeros(count, dtype=torch.int64)
    for epoch in range(9):
        for batch in data_of.epoch(epoch):
            found = numbers(batch.beside)
            assert len(found) == BATCH
            seen += torch.bincount(torch.tensor(found), minlength=count)
            assert int(seen.max() - seen.min()) <= 1
    assert int(seen.sum()) == 9 * STEPS * BATCH


def order(data_of: TrainingBatches, epoch: int, start: int = 0) -> list[list[int]]:
    return [numbers(batch.beside) for batch in data_of.epoch(epoch, start)]


@pytest.mark.parametrize("count", [5, 50, 70])
def test_its_order_is_a_function_of_seed_and_epoch(count: int) -> None:
    """Nobody has to have drawn what came before."""
    beside = numbered(count)
    data_of = batches_of(beside)
    whole = [order(data_of, epoch) for epoch in range(4)]
    for epoch in (3, 1, 2):
        for start in range(STEPS + 1):
            assert order(batches_of(beside), epoch, start) == whole[epoch][start:]
    assert order(batches_of(beside, seed=4), 0) != whole[0]
    assert len({str(each) for each in whole}) == 4


def test_the_second_set_changes_nothing_about_the_first_and_goes_its_own_way() -> None:
    data_of = batches_of(numbered(COUNT))
    alone = TrainingBatches(numbered(COUNT), BATCH, 3, CPU)
    first = [numbers(batch.images) for batch in data_of.epoch(0)]
    assert first == [numbers(batch.images) for batch in alone.epoch(0)]
    assert first != order(data_of, 0)
    assert all(batch.beside is None and batch.beside_labels is None for batch in alone.epoch(0))


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("count", [5, 70])
def test_several_processes_see_what_one_sees(count: int, size: int) -> None:
    beside = numbered(count)
    shares = [batches_of(beside, rank=rank, size=size) for rank in range(size)]
    for epoch in (0, 2):
        for whole, *parts in zip(*(each.epoch(epoch) for each in (batches_of(beside), *shares)), strict=True):
            assert [len(part.beside) for part in parts] == [BATCH // size] * size
            for field in ("images", "beside", "beside_labels", "beside_attributes"):
                joined = torch.cat([getattr(part, field) for part in parts])
                assert torch.equal(joined, getattr(whole, field))


def test_labels_and_attributes_go_along() -> None:
    for batch in batches_of(numbered(70)).epoch(1):
        assert batch.beside_labels.tolist() == numbers(batch.beside)
        assert batch.beside_attributes[:, 0].tolist() == [number % 2 == 0 for number in numbers(batch.beside)]
    unknown = replace(numbered(70), labels=None, attributes=None)
    for batch in batches_of(unknown).epoch(1):
        assert batch.beside_labels is None
        assert batch.beside_attributes is None
        assert batch.labels is not None


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
@pytest.mark.parametrize("count", [30, 400])
def test_the_same_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, count: int) -> None:
    """In a file that is read ahead, of another shape than the first, which stays in memory; from any start."""
    path = tmp_path / "noise.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (count, 3, 9, 8), np.uint8))
    split, where = data.load(DataOptions(dataset=str(path))).train, torch.device(device)
    plain = TrainingBatches(numbered(COUNT), BATCH, 3, CPU, beside=Split(split.storage.clone(), split.rows))
    near = TrainingBatches(numbered(COUNT), BATCH, 3, where, beside=split)
    monkeypatch.setattr(batches, "MEMORY_BYTES", 0)
    monkeypatch.setattr(batches, "DEVICE_SHARE", 0)
    far = TrainingBatches(numbered(COUNT), BATCH, 3, where, beside=split)
    assert far.beside_place == ON_DISK
    assert device == "cpu" or near.beside_place == ON_DEVICE
    for epoch, start in ((0, 0), (5, 4)):
        for expected, *found in zip(*(each.epoch(epoch, start) for each in (plain, near, far)), strict=True):
            for batch in found:
                assert batch.beside.device.type == device
                assert torch.allclose(batch.beside.cpu(), expected.beside, atol=0 if device == "cpu" else 1e-6)


def test_in_order_it_begins_again_where_it_is_shorter() -> None:
    found = list(in_order(numbered(10), 4, CPU, numbered(3)))
    assert [numbers(batch.images) for batch in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [numbers(batch.beside) for batch in found] == [[0, 1, 2, 0], [1, 2, 0, 1], [2, 0]]
    longer = list(in_order(numbered(3), 2, CPU, numbered(10)))
    assert [numbers(batch.beside) for batch in longer] == [[0, 1], [2]]
    assert all(batch.beside is None for batch in in_order(numbered(3), 2, CPU))


# ---------------------------------------------------------------------------------------------------------------------
# Form
# ---------------------------------------------------------------------------------------------------------------------


def test_a_ramp_stays_a_ramp_when_it_is_enlarged() -> None:
    """USPS beside MNIST: pixel i of 28 lies at (i + ½) · 16/28 − ½ of 16."""
    ramp = (torch.arange(16) / 32).expand(2, 1, 16, 16)
    found = conformed(ramp, ImageShape(1, 28, 28))
    assert found.shape == (2, 1, 28, 28)
    expected = ((torch.arange(28) + 0.5) * 16 / 28 - 0.5).clamp(0, 15) / 32
    torch.testing.assert_close(found, expected.expand(2, 1, 28, 28))


def test_a_fine_pattern_becomes_grey_when_it_is_shrunk() -> None:
    """And not black or white, as where a few of its pixels stand for all."""
    stripes = (torch.arange(64) % 4 % 3 == 0).float().expand(1, 1, 64, 64)
    found = conformed(stripes, ImageShape(1, 16, 16))
    assert float((found - 0.5).abs().max()) < 0.08


def test_the_middle_is_kept_in_its_proportions() -> None:
    images = torch.zeros(1, 1, 4, 8)
    images[..., 2:6] = 1
    assert torch.equal(conformed(images, ImageShape(1, 2, 2)), torch.ones(1, 1, 2, 2))
    assert torch.equal(conformed(images.transpose(2, 3), ImageShape(1, 2, 2)), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("sides", [(9, 31), (10, 28), (64, 9)])
def test_values_stay_in_their_range(sides: tuple[int, int]) -> None:
    """Of images that are white all over, shares may add up to a little more than 1, which is no odds."""
    side, other = sides
    for channels in (1, 3):
        found = conformed(torch.ones(3, 3, side, side), ImageShape(channels, other, other))
        assert float(found.max()) <= 1
        torch.testing.assert_close(found, torch.ones_like(found))


def test_channels_are_made_as_everywhere() -> None:
    """Grey by luma, as Pillow makes it up to its rounding to 8 bits; colour by repeating."""
    from genkit.data.pixels import conform

    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 6), np.uint8)
    colour = torch.from_numpy(pixels) / 255
    grey = conformed(colour, ImageShape(1, 6, 6))
    expected = torch.from_numpy(conform(pixels, ImageShape(1, 6, 6))) / 255
    torch.testing.assert_close(grey, expected, atol=1.01 / 255, rtol=0)
    assert torch.equal(conformed(grey, ImageShape(3, 6, 6)), grey.expand(5, 3, 6, 6))
    assert conformed(colour, ImageShape(3, 6, 6)) is colour


# ---------------------------------------------------------------------------------------------------------------------
# Options
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def arrays(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "first.npy", tmp_path / "second.npy"
    for path, shape in zip(paths, ((60, 1, 8, 8), (40, 3, 12, 10)), strict=True):
        np.save(path, np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    return paths


def test_both_are_loaded_for_training_alone(arrays: tuple[Path, Path]) -> None:
    first, second = arrays
    options = DataOptions(dataset=str(first), beside=str(second))
    both = data.load_for_training(options)
    assert both.beside is not None
    assert (both.shape, both.beside.shape) == (ImageShape(1, 8, 8), ImageShape(3, 12, 10))
    assert both.beside_split("val") is both.beside.val
    alone = data.load(options)
    assert (alone.beside, alone.beside_split("val")) == (None, None)
    assert both.digest() == alone.digest()
    cut = data.load_for_training(options.model_copy(update={"image_size": 9}))
    assert cut.beside is not None
    assert (cut.shape, cut.beside.shape) == (ImageShape(1, 9, 9), ImageShape(3, 9, 9))
    second.unlink()
    data.load(options)
    with pytest.raises(DataError, match=r"second\.npy: no such file"):
        data.load_for_training(options)


def test_labels_per_class_is_of_the_first_alone(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    for name in ("first", "second"):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(60) % 2)
    options = DataOptions(
        dataset=str(tmp_path / "first.npz"), beside=str(tmp_path / "second.npz"), labels_per_class=3, channels=3
    )
    both = data.load_for_training(options)
    assert both.beside is not None
    assert (len(both.train), len(both.beside.train)) == (6, 48)
    assert both.beside.shape.channels == 1  # which batches have in the first one's form


def test_both_are_located(arrays: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(arrays[0].parent)
    found = data.located(DataOptions(dataset="./first.npy", beside="second.npy"))
    assert (found.dataset, found.beside) == tuple(map(str, arrays))
    named = DataOptions(dataset="mnist5k", beside="mnist")
    assert data.located(named) == named
    assert data.located(DataOptions(dataset="mnist5k")).beside is None


def test_some_images_of_a_second_set_are_drawn_whatever_their_labels(tmp_path: Path) -> None:
    """The same for a seed; more of them hold fewer; its held-out images stay, and so does all of the first set."""
    numbers = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), np.uint8)
    for name, labels in (("a", np.arange(60) % 3), ("b", np.arange(60) % 5)):
        parts = {"train": slice(0, 40), "val": slice(40, 50), "test": slice(50, 60)}
        columns = {f"{part}_images": numbers[rows] for part, rows in parts.items()}
        np.savez(
            tmp_path / f"{name}.npz", **columns, **{f"{part}_labels": labels[rows] for part, rows in parts.items()}
        )

    def of(beside: str = "a", **options: Any) -> Dataset:
        paths = {"dataset": str(tmp_path / "a.npz"), "beside": str(tmp_path / f"{beside}.npz")}
        return data.load_for_training(DataOptions(**paths, **options))

    few, more, other = of(beside_images=10), of(beside_images=25), of(beside_images=10, labels_seed=1)
    assert few.beside is not None
    assert more.beside is not None
    assert other.beside is not None
    assert (len(few.beside.train), len(few.beside.val), len(few.beside.test)) == (10, 10, 10)
    assert len(few.train) == 40
    assert set(few.beside.train.rows.tolist()) < set(more.beside.train.rows.tolist())
    assert few.beside.train.rows.tolist() != other.beside.train.rows.tolist()
    told_otherwise = of("b", beside_images=10).beside
    assert told_otherwise is not None
    assert torch.equal(told_otherwise.train.rows, few.beside.train.rows)
    with pytest.raises(DataError, match=r"a\.npz has 40 training images, .* draw 41; give 40 or less"):
        of(beside_images=41)
