"""Splits by content: as large as they should be whatever the copies, with every class, and without a leak."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genkit import data
from genkit.data import few
from genkit.data.dataset import Dataset, Split
from genkit.data.splits import divide, hold_out, name_copies
from genkit.errors import DataError


def block(*values: int, labels: Sequence[int] | None = None) -> Split:
    """One 1x2x2 image a value, all of its pixels being the value, which is its label too if none is given."""
    storage = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    return Split(storage, torch.arange(len(values)), labels=torch.tensor(values if labels is None else labels))


def values(split: Split) -> list[int]:
    assert split.labels is not None
    assert torch.equal(split.images()[:, 0, 0, 0].long(), split.labels), "labels left their images"
    return split.labels.tolist()


def test_hold_out_depends_on_pixels_not_on_order():
    forwards = block(*range(100))
    backwards = block(*reversed(range(100)))
    kept, held = hold_out(forwards)
    assert len(held) == 10
    assert sorted(values(kept) + values(held)) == list(range(100))
    assert set(values(hold_out(backwards)[1])) == set(values(held))


def test_duplicates_stay_together():
    everything = block(*[value for value in range(50) for _ in range(4)])
    for fraction in (0.03, 0.1, 0.5):
        kept, held = hold_out(everything, fraction=fraction)
        assert not set(values(kept)) & set(values(held))
        assert len(held) == 4 * int(fraction * 50)


def test_a_large_group_of_duplicates_is_not_all_that_is_kept_or_held():
    train, val, test = divide("twins", {"all": block(*[1] * 98, 2, 3)})
    assert sorted(map(len, (train, val, test))) == [1, 1, 98]


def test_a_tenth_each_is_held_out(digits: Dataset):
    train, val, test = (set(split.fingerprinted().fingerprints.tolist()) for split in digits.splits().values())
    assert (len(train), len(val), len(test)) == (4000, 500, 500)
    assert not train & val
    assert not train & test
    assert not val & test


def test_the_nearer_to_training_the_sooner_a_shared_image_goes(caplog: pytest.LogCaptureFixture):
    parts = {"train": block(1, 2, 3, 3, 4, 5), "val": block(3, 4, 6), "test": block(4, 5, 7)}
    with caplog.at_level(logging.WARNING, "genkit"):
        train, val, test = divide("mine", parts)
    assert values(train) == [1, 2]
    assert values(val) == [3, 6]
    assert values(test) == [4, 5, 7]
    assert caplog.messages == [
        "mine: left out: 2 images of train that test has, too",
        "mine: left out: 1 image of val that test has, too",
        "mine: left out: 2 images of train that val has, too",
    ]


def test_val_is_held_out_of_train_where_only_test_is_given():
    train, val, test = divide("mine", {"train": block(*range(100)), "test": block(*range(90, 110))})
    assert values(test) == list(range(90, 110))
    assert len(val) == 9
    assert sorted(values(train) + values(val)) == list(range(90))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([1], "a single image is no set, of which some could be held out"),
        ([1, 1, 1], "3 images, all the same, are too few to hold some out"),
        ([1, 2, 2], "3 images, 2 of them distinct, are too few to hold some out"),
        ([1, 2], "2 images are too few to hold some out"),
    ],
)
def test_too_few_different_images(images: list[int], said: str):
    with pytest.raises(DataError) as refused:
        divide("mine", {"all": block(*images)})
    assert str(refused.value) == f"mine: {said}; give at least 3 different images"


def test_too_few_different_images_for_training():
    with pytest.raises(DataError, match=r"^mine: 3 images, all the same, .* 2 different images for training$"):
        divide("mine", {"train": block(1, 1, 1, 2), "test": block(2, 3)})


@pytest.mark.parametrize("images", [[1, 2, 3], [1, 2, 3, 3, 3, 3], [1] * 94 + [2] * 3 + [3] * 3])
def test_three_different_images_make_three_splits(images: list[int]):
    train, val, test = divide("mine", {"all": block(*images)})
    assert sorted(values(train) + values(val) + values(test)) == images
    assert {len(set(values(split))) for split in (train, val, test)} == {1}
    assert len(train) == max(map(images.count, images))


def test_no_image_for_training():
    with pytest.raises(DataError, match="mine: none of its images is for training"):
        divide("mine", {"val": block(1), "test": block(2)})


def test_every_image_for_training_is_also_for_test():
    with pytest.raises(DataError, match="mine: every image of train also stands in test"):
        divide("mine", {"train": block(1, 2), "test": block(2, 1)})


# Copies


def with_copies(sizes: Sequence[int], seed: int, labels: Sequence[int] | None = None) -> Split:
    """Groups of copies of random 4×4 images, in random order; a label a group, or else none."""
    rng = np.random.default_rng(seed)
    of = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    pixels = torch.from_numpy(rng.integers(0, 256, (len(sizes), 1, 4, 4), dtype=np.uint8))
    labels_of = None if labels is None else torch.tensor(labels)[of]
    return Split(pixels[of], torch.arange(len(of)), labels_of)


def groups(split: Split) -> Counter[int]:
    """How many copies there are of each picture."""
    fingerprints = split.fingerprinted().fingerprints
    assert fingerprints is not None
    return Counter(fingerprints.tolist())


def by_rank_alone(everything: Split, fraction: float) -> Split:
    """What is held out of a set without a large group and with all classes, as 0.1.0 did it."""
    fingerprints = everything.fingerprinted().fingerprints
    _, of, sizes = torch.unique(fingerprints, return_inverse=True, return_counts=True)
    count = max(1, int((sizes.cumsum(0) <= round(fraction * len(everything))).sum()))
    return everything.take(of < count)


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(40, 400),
    side=st.integers(2, 8),
    colour=st.integers(0, 255),
    share=st.floats(0, 0.6),
    classes=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_copies_of_one_picture_wreck_no_split(
    size: int, side: int, colour: int, share: float, classes: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (size, 3, side, side), dtype=np.uint8))
    blank = torch.from_numpy(rng.permutation(size))[: int(share * size)]
    images[blank] = colour
    labels = torch.from_numpy(rng.integers(0, classes, size))
    labels[blank] = classes
    everything = Split(images, torch.arange(size), labels)
    train, val, test = divide("mine", {"all": everything})
    assert sorted(torch.cat([train.rows, val.rows, test.rows]).tolist()) == list(range(size))
    for held in (val, test):
        assert abs(len(held) - size / 10) <= max(1.5, size / 100)  # 1, and what rounding to whole images may add
        assert max(groups(held).values()) <= max(2, len(held) // 9)
        for label in range(classes):
            assert bool((held.labels == label).any()) or int((labels == label).sum()) < 3
    assert set(labels.tolist()) == set(train.labels.tolist())
    assert not groups(train).keys() & groups(val).keys()
    assert not (groups(train) + groups(val)).keys() & groups(test).keys()
    again = divide("mine", {"all": everything.take(torch.arange(size - 1, -1, -1))})
    assert [split.rows.sort().values.tolist() for split in again] == [
        split.rows.tolist() for split in (train, val, test)
    ]


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(1, 3), st.integers(1, 150)), min_size=3, max_size=80),
    labelled=st.booleans(),
    seed=st.integers(0, 10**6),
    more=st.integers(0, 1),
)
def test_a_split_is_as_near_to_its_size_as_whole_groups_allow(
    sizes: list[int], labelled: bool, seed: int, more: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, len(sizes)).tolist() if labelled else None
    everything = with_copies(sizes, seed, labels)
    kept, held = hold_out(everything, more=more)
    due = round(0.1 * len(everything))
    large = [size for size in groups(held).values() if size > max(2, due / 10)]
    left = [size for size in groups(kept).values() if size > max(2, due / 10)]
    half = max([*large, *([min(left)] if left else [])], default=0) / 2
    as_few_as_must_be = len(groups(held)) == 1 or len(groups(kept)) == 1 + more
    assert abs(len(held) - due) <= max(1, due / 10, half) or as_few_as_must_be
    assert len(groups(kept)) >= 1 + more
    assert not groups(kept).keys() & groups(held).keys()


@settings(max_examples=80, deadline=None)
@given(sizes=st.lists(st.integers(1, 2), min_size=3, max_size=300), seed=st.integers(0, 10**6), more=st.integers(0, 1))
def test_a_set_without_many_copies_is_split_as_it_always_was(sizes: list[int], seed: int, more: int) -> None:
    everything = with_copies(sizes, seed)
    for fraction in (0.1, 1 / 9):
        held = hold_out(everything, fraction=fraction, more=more)[1]
        assert held.rows.tolist() == by_rank_alone(everything, fraction).rows.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_a_set_with_all_classes_is_split_as_it_always_was(seed: int) -> None:
    sizes = np.random.default_rng(seed).integers(1, 15, 800).tolist()  # of 6,000, so that none is large
    everything = with_copies(sizes, seed, [number % 5 for number in range(800)])
    _, val, test = divide("mine", {"all": everything})
    before = by_rank_alone(everything, 0.1)
    assert test.rows.tolist() == before.rows.tolist()
    rest = everything.take(~torch.isin(everything.rows, before.rows))
    assert val.rows.tolist() == by_rank_alone(rest, 1 / 9).rows.tolist()


def test_every_third_digit_is_blank(digits: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    some = digits.train.take(digits.train.spread(2000))
    assert some.labels is not None
    images, labels = some.images().numpy(), some.labels.numpy().copy()
    images[::3], labels[::3] = 0, 10
    np.savez(tmp_path / "third.npz", images=images, labels=labels)
    with caplog.at_level(logging.WARNING, "genkit"):
        found = data.load(data.DataOptions(dataset=str(tmp_path / "third.npz")))
    assert (len(found.train), len(found.val), len(found.test)) == (1600, 200, 200)
    counts = [torch.bincount(split.labels, minlength=11) for split in found.splits().values()]
    assert [int(count[10]) for count in counts] == [667, 0, 0]
    assert all(count[:10].all() for count in counts)
    assert caplog.messages == [
        f"{tmp_path}/third.npz: copies of one picture make up 42 % of train (667 of its 1,600 images); "
        "delete those that shouldn't count"
    ]
    drawn = few.labelled(found, 3, 0)
    assert torch.bincount(drawn.train.labels).tolist() == [3] * 11


def test_a_third_of_sixty_tiles_is_blank() -> None:
    train, val, test = divide("tiles", {"all": with_copies([20] + [1] * 40, 0)})
    assert (len(train), len(val), len(test)) == (48, 6, 6)
    assert [max(groups(split).values()) for split in (train, val, test)] == [20, 1, 1]


def test_copies_in_a_sources_own_training_images_stay_there() -> None:
    everything = with_copies([60] + [1] * 90, 1)
    train, val, test = divide("mine", {"train": everything, "test": block(*range(1, 30))})
    assert (len(train), len(val), len(test)) == (135, 15, 29)
    assert max(groups(val).values()) == 1


def named(caplog: pytest.LogCaptureFixture, **splits: Split) -> list[str]:
    with caplog.at_level(logging.WARNING, "genkit"):
        name_copies("mine", {name: split.fingerprinted() for name, split in splits.items()})
    return caplog.messages


def test_copies_are_named_once_for_all_splits(caplog: pytest.LogCaptureFixture) -> None:
    train, val, test = block(*range(60)), block(*range(60, 100), 60, 60), block(*[100] * 3, *range(101, 157))
    assert named(caplog, train=train, val=val, test=test) == [
        "mine: copies of one picture make up 7 % of val (3 of its 42 images), 5 % of test (3 of its 59 images); "
        "delete those that shouldn't count"
    ]


def test_nothing_is_said_of_a_twentieth_or_of_pairs(caplog: pytest.LogCaptureFixture) -> None:
    assert named(caplog, train=block(1, 1, 2, 2), val=block(3, 3, 4), test=block(*[5] * 3, *range(6, 63))) == []


# Classes


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("pictures", "present"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (5, None)])
def test_a_rare_class_stands_in_each_split_that_it_has_pictures_for(
    seed: int, pictures: int, present: tuple[int, ...] | None
) -> None:
    everything = with_copies([1] * 200, seed, [1] * pictures + [0] * (200 - pictures))
    splits = divide("mine", {"all": everything})
    assert [len(split) for split in splits] == [160, 20, 20]
    found = tuple(int((split.labels == 1).sum()) for split in splits)
    assert found == present if present else min(found) >= 1


def test_a_class_whose_other_picture_has_many_copies_keeps_that_for_training() -> None:
    for seed in range(10):
        everything = with_copies([40, 1, *[1] * 100], seed, [1, 1, *[0] * 100])
        train, val, test = divide("mine", {"all": everything})
        assert [int((split.labels == 1).sum()) for split in (train, val, test)] == [40, 0, 1]


def test_copies_with_different_labels_are_of_all_their_classes() -> None:
    """The one picture of class 1 is also of class 0, and stays for training."""
    for value in range(100):
        everything = block(*range(100), value, labels=[0] * 100 + [1])
        train, val, test = divide("mine", {"all": everything})
        assert train.labels.tolist().count(1) == 1
        assert int((train.images() == value).all(1).all(1).all(1).sum()) == 2
        assert min(len(val), len(test)) >= 9


def test_where_each_image_has_a_class_of_its_own_splits_are_by_rank() -> None:
    everything = with_copies([1] * 100, 0, list(range(100)))
    train, val, test = divide("mine", {"all": everything})
    assert (len(train), len(val), len(test)) == (80, 10, 10)
    assert test.rows.tolist() == by_rank_alone(everything, 0.1).rows.tolist()


def test_more_classes_than_a_split_has_images() -> None:
    """None can be in all splits, but each keeps an image for training."""
    everything = with_copies([1] * 100, 3, [number // 2 for number in range(100)])
    train, val, test = divide("mine", {"all": everything})
    assert (len(train), len(val), len(test)) == (80, 10, 10)
    assert set(train.labels.tolist()) == set(range(50))
