"""What is done to labels and pixels: against direct computation, in which splits, and told apart from the true ones."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit

from genkit import data
from genkit.data import DataOptions, randomised
from genkit.data.batches import TrainingBatches
from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError, UsageError
from genkit.reproduce.carry_out import Images

CPU = torch.device("cpu")


def loaded(**options: object) -> Dataset:
    return data.load(DataOptions(dataset="mnist5k", **options))


def coloured(count: int = 40) -> Dataset:
    """Small images in colour, of which each pixel tells its place; the test images in a block of their own."""
    noise = torch.Generator().manual_seed(1)
    storage = torch.randint(0, 256, (count, 3, 9, 10), dtype=torch.uint8, generator=noise)
    rows = torch.arange(count)
    labels = rows % 4
    train, val = (Split(storage, rows[part::4], labels[part::4]) for part in (0, 1))
    test = Split(storage[2::4].clone(), torch.arange(len(rows[2::4])), labels[2::4])
    return Dataset("some", train, val, test, tuple("abcd"))


# -- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odds", [0.0, 0.2, 0.7, 1.0])
def test_labels_are_drawn_anew_with_these_odds_and_for_training_alone(digits: Dataset, odds: float) -> None:
    """A share of P·(1 − 1/K) is another then, within five binomial standard deviations."""
    drawn = loaded(labels=f"corrupt:{odds}")
    assert drawn.randomised
    n, share = len(digits.train), odds * (1 - 1 / 10)
    others = int((drawn.train.labels != digits.train.labels).sum())
    assert abs(others - n * share) <= 5 * math.sqrt(n * share * (1 - share))
    for name in ("val", "test"):
        assert torch.equal(drawn.splits()[name].labels, digits.splits()[name].labels)
    assert torch.equal(drawn.train.images(), digits.train.images())
    assert torch.equal(loaded(labels=f"corrupt:{odds}").train.labels, drawn.train.labels), "the same draw every time"


def test_random_labels_are_uniform_and_more_of_them_hold_those_of_fewer(digits: Dataset) -> None:
    drawn = loaded(labels="random").train.labels
    n = len(drawn)
    counts = torch.bincount(drawn, minlength=10)
    assert (counts - n / 10).abs().max() < 5 * math.sqrt(n * 0.09)
    assert torch.equal(drawn, loaded(labels="corrupt:1").train.labels)
    some = loaded(labels="corrupt:0.3").train.labels
    changed = some != digits.train.labels
    assert torch.equal(some[changed], drawn[changed])
    assert not torch.equal(drawn, loaded(labels="random", draw_seed=1).train.labels)
    assert loaded(labels="true").digest() == digits.digest()


def test_few_labels_are_drawn_by_the_true_ones_and_then_anew() -> None:
    few = loaded(labels_per_class=20)
    both = loaded(labels_per_class=20, labels="random")
    assert torch.equal(both.train.rows, few.train.rows)
    assert torch.bincount(few.train.labels).tolist() == [20] * 10
    assert both.train.labels.unique().numel() == 10
    assert not torch.equal(both.train.labels, few.train.labels)


@pytest.mark.parametrize("text", ["corrupt:1.5", "corrupt:-0.1", "corrupt:nan", "corrupt:", "corrupt", "corrupt:much"])
def test_odds_that_are_none_are_refused_in_a_line(genkit: Genkit, text: str, tmp_path: Path) -> None:
    outcome = genkit("train", "classifier", "--dataset", "mnist5k", "--labels", text, "--out", tmp_path)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "from 0 to 1: corrupt:0.5" in outcome.err
    assert not list(tmp_path.iterdir())


def test_images_without_labels_are_refused(digits: Dataset) -> None:
    bare = replace(digits, train=replace(digits.train, labels=None), classes=())
    with pytest.raises(DataError, match="has no classes, from which --labels would draw"):
        randomised.relabelled(bare, 1.0, 0)


def test_a_files_array_is_still_chosen_and_its_labels_drawn_anew(tmp_path: Path, digits: Dataset) -> None:
    some = digits.train.take(slice(100))
    np.savez(tmp_path / "a.npz", images=some.images().numpy(), labels=some.labels.numpy(), others=some.labels.numpy())
    options = DataOptions(dataset=str(tmp_path / "a.npz"), labels="labels")
    chosen = data.load(options)
    with pytest.raises(DataError, match="has no array 'rando', as --labels says"):
        data.load(options.model_copy(update={"labels": "rando"}))
    drawn = data.load(options.model_copy(update={"labels": None}))
    assert torch.equal(drawn.train.labels, chosen.train.labels)
    assert options.as_read() == options
    assert options.model_copy(update={"labels": "random"}).as_read().labels is None


# -- pixels ------------------------------------------------------------------------------------------------------------


def test_shuffled_is_one_permutation_of_places_for_all_images() -> None:
    whole = coloured()
    found = randomised.with_pixels(whole, "shuffled", 3)
    assert not found.randomised, "held-out images are as the training images are"
    orders = set()
    for name, split in whole.splits().items():
        before, after = (each.images().flatten(2) for each in (split, found.splits()[name]))
        matches = (after[:, :, :, None] == before[:, :, None, :]).all(1)  # (B, to, from), by all channels at once
        order = matches.all(0).int().argmax(1)
        assert torch.equal(before[:, :, order], after)
        assert order.sort().values.tolist() == list(range(90))
        assert order.tolist() != list(range(90))
        orders.add(tuple(order.tolist()))
    assert len(orders) == 1, "the same in all splits"
    again = randomised.with_pixels(replace(whole, train=whole.train.take(slice(3))), "shuffled", 3)
    assert torch.equal(again.test.images(), found.test.images()), "and however many images are trained on"
    assert not torch.equal(randomised.with_pixels(whole, "shuffled", 4).test.images(), found.test.images())


def test_permuted_is_another_permutation_for_each_image() -> None:
    whole = coloured()
    found = randomised.with_pixels(whole, "permuted", 3)
    assert found.randomised
    orders = set()
    for name, split in whole.splits().items():
        for before, after in zip(split.images().flatten(2), found.splits()[name].images().flatten(2), strict=True):
            order = (after[:, :, None] == before[:, None, :]).all(0).int().argmax(1)
            assert torch.equal(before[:, order], after)
            assert before.flatten(1).T.unique(dim=0).equal(after.flatten(1).T.unique(dim=0)), "the same pixels"
            orders.add(tuple(order.tolist()))
    assert len(orders) == len(whole.train) + len(whole.val) + len(whole.test)


def test_gaussian_has_the_training_images_mean_and_variance() -> None:
    """Of images that are far from black and white, so that nothing is cut off."""
    noise = torch.Generator().manual_seed(2)
    means, spreads = torch.tensor([100.0, 120.0, 150.0]), torch.tensor([4.0, 12.0, 20.0])
    values = torch.randn(2000, 3, 8, 8, generator=noise) * spreads.view(3, 1, 1) + means.view(3, 1, 1)
    storage, rows = values.round().clamp(0, 255).to(torch.uint8), torch.arange(2000)
    train, test = (Split(storage, part, part % 2) for part in rows.split((1500, 500)))
    whole = Dataset("some", train, test, test, ("a", "b"))
    found = randomised.with_pixels(whole, "gaussian", 0)
    assert found.randomised
    for split in (found.train, found.test):
        numbers = split.images().double().transpose(0, 1).flatten(1)
        torch.testing.assert_close(numbers.mean(1), means.double(), atol=0.5, rtol=0)
        torch.testing.assert_close(numbers.std(1), spreads.double(), atol=0.5, rtol=0)
        assert torch.corrcoef(numbers).sub(torch.eye(3)).abs().max() < 0.02
    assert torch.equal(found.train.labels, whole.train.labels)
    assert not (found.train.images() == train.images()).flatten(1).all(1).any()


def test_each_is_told_from_the_others(digits: Dataset, tmp_path: Path) -> None:
    """By its digest, by which runs and judges know their images; and a file's pack is the same for all of them."""
    options = [
        {},
        {"labels": "random"},
        {"labels": "corrupt:0.5"},
        *({"pixels": each} for each in ("shuffled", "permuted", "gaussian")),
        {"pixels": "shuffled", "draw_seed": 1},
        {"crop": 20},
    ]
    digests = [loaded(**each).digest() for each in options]
    assert len(set(digests)) == len(options)
    images = Images()
    assert [images[DataOptions(dataset="mnist5k", **each)].digest() for each in options] == digests
    assert len(images.whole) == 1, "a recipe reads them once"
    assert all(DataOptions(dataset="x", **each).as_read() == DataOptions(dataset="x") for each in options)
    assert DataOptions(dataset="x", labels="random", pixels="shuffled", draw_seed=2).as_they_are() == DataOptions(
        dataset="x", pixels="shuffled", draw_seed=2
    )
    words = {DataOptions(dataset="x", **each).in_words() for each in options[:6]}
    assert len(words) == 6
    assert DataOptions(dataset="x", labels="random", crop=20).in_words() == "x (random labels, cut to 20×20)"


# -- crops -------------------------------------------------------------------------------------------------------------


def test_all_but_training_batches_see_the_centre(digits: Dataset) -> None:
    found = loaded(crop=21)
    assert found.shape == (1, 21, 21)
    for name, split in digits.splits().items():
        assert torch.equal(found.splits()[name].images(), split.images()[:, :, 3:24, 3:24])
    still = loaded(crop=21, crop_at="centre")
    assert torch.equal(still.train.images(), found.train.images())
    (batch,) = TrainingBatches(still.train.take(slice(8)), 8, 0, CPU).epoch(0)
    assert batch.images.shape == (8, 1, 21, 21)
    known = {image.numpy().tobytes() for image in still.train.images(slice(8))}
    assert {(image * 255).round().to(torch.uint8).numpy().tobytes() for image in batch.images} == known


def test_crops_are_a_function_of_seed_and_epoch_and_are_everywhere() -> None:
    """The same images in the same order, each cut at some place; all places come; resumed anywhere, and in parts."""
    whole = coloured(400)
    cut = randomised.cropped(whole, 8, at_random=True)  # 2 × 3 places

    def places(batches: TrainingBatches, epoch: int, start: int = 0) -> list[tuple[int, int]]:
        plain = TrainingBatches(whole.train, 20, 5, CPU)
        order = torch.cat(list(plain.positions(epoch, start)))
        images = torch.cat([batch.images for batch in batches.epoch(epoch, start)]).mul(255).round().to(torch.uint8)
        found = []
        for position, image in zip(order, images, strict=True):
            windows = whole.train.images(position[None])[0].unfold(1, 8, 1).unfold(2, 8, 1)
            same = (windows.permute(1, 2, 0, 3, 4) == image).flatten(2).all(2)
            assert int(same.sum()) == 1
            found.append(tuple(same.nonzero()[0].tolist()))
        return found

    batches = TrainingBatches(cut.train, 20, 5, CPU)
    first = places(batches, 0)
    assert set(first) == {(top, left) for top in range(2) for left in range(3)}
    assert min(first.count(each) for each in set(first)) > 4
    assert places(TrainingBatches(cut.train, 20, 5, CPU), 0, 2) == first[40:]
    assert places(batches, 1) != first
    halves = [TrainingBatches(cut.train, 20, 5, CPU, rank, 2) for rank in (0, 1)]
    together = [torch.cat([a.images, b.images]) for a, b in zip(*(each.epoch(0) for each in halves), strict=True)]
    assert torch.equal(torch.cat(together), torch.cat([batch.images for batch in batches.epoch(0)]))
    some = cut.train.take(slice(30))
    assert len(some.whole) == 30, "narrowed, both are"


def test_crops_that_can_not_be_meant_are_refused(digits: Dataset, genkit: Genkit, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--crop 29: mnist5k has images of 28×28 pixels"):
        loaded(crop=29)
    assert loaded(crop=28).digest() == digits.digest()
    command = ["train", "classifier", "--dataset", "mnist5k", "--out", tmp_path]
    for flags in (["--crop", 20, "--pixels", "permuted"], ["--crop-at", "centre"]):
        outcome = genkit(*command, *flags)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    moved = loaded(crop=20, crop_at="centre", pixels="shuffled")
    centre = digits.test.images()[:, :, 4:24, 4:24]
    assert torch.equal(moved.test.images().flatten(2).sort(2).values, centre.flatten(2).sort(2).values)


def test_images_that_memory_has_no_room_for_are_refused(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randomised, "free_memory", lambda: 1_000_000)
    with pytest.raises(DataError, match=r"--pixels shuffled keeps its images in memory, 0\.0 GB"):
        randomised.with_pixels(digits, "shuffled", 0)
