from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from genkit.data import dataset
from genkit.data.dataset import Dataset, Split, divide, fingerprint, hold_out
from genkit.errors import DataError


def block(*values: int) -> Split:
    """One 1x2x2 image a value, all of its pixels being the value."""
    storage = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    return Split(storage, torch.arange(len(values)), labels=torch.tensor(values))


def values(split: Split) -> list[int]:
    assert split.labels is not None
    assert torch.equal(split.images()[:, 0, 0, 0].long(), split.labels), "labels left their images"
    return split.labels.tolist()


def test_the_mean_is_that_of_evenly_spaced_images(digits: Dataset) -> None:
    pixels = digits.test.images().double() / 255
    torch.testing.assert_close(digits.test.mean(), pixels.mean(0).float())
    torch.testing.assert_close(digits.test.mean(100), pixels[:: len(pixels) // 100].mean(0).float())


def test_large_images_are_looked_at_a_few_at_a_time(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = torch.empty(1, dtype=torch.uint8).expand(50, 3, 4000, 3000)
    assert Split(huge, torch.arange(50)).block_length() == 1
    assert digits.test.block_length() == 1024

    def found() -> tuple[str, torch.Tensor, torch.Tensor]:
        prints = replace(digits.test, fingerprints=None).fingerprinted().fingerprints
        assert prints is not None
        return digits.digest(), digits.test.mean(), prints

    whole = found()
    monkeypatch.setattr(dataset, "BLOCK_BYTES", 3 * 784)
    assert digits.test.block_length() == 3
    pieces = found()
    assert pieces[0] == whole[0]
    assert all(torch.equal(*pair) for pair in zip(pieces[1:], whole[1:], strict=True))


def test_fingerprints_are_equal_for_equal_pixels_only():
    images = block(7, 8, 7).images().numpy()
    first, other, again = fingerprint(images)
    assert first == again != other
    # A part of BLAKE2b, so that a split made today is the split made in ten years.
    assert first == np.frombuffer(bytes.fromhex("972a4bfcf612ca64"), "<i8")[0]


def test_take_carries_every_column():
    split = Split(
        torch.arange(24, dtype=torch.uint8).reshape(6, 1, 2, 2),
        torch.tensor([1, 3, 5]),
        torch.tensor([10, 30, 50]),
        torch.tensor([[True], [False], [True]]),
    ).fingerprinted()
    taken = split.take(torch.tensor([False, True, True]))
    assert taken.rows.tolist() == [3, 5]
    assert taken.labels.tolist() == [30, 50]
    assert taken.attributes.tolist() == [[False], [True]]
    assert taken.fingerprints.tolist() == fingerprint(taken.images().numpy()).tolist()
    assert taken.images(torch.tensor([1])).flatten().tolist() == [20, 21, 22, 23]


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


@pytest.mark.parametrize("images", [[], [1], [1, 1, 1], [1, 2, 2]])
def test_too_few_different_images(images: list[int]):
    with pytest.raises(
        DataError, match=r"^mine: too few to hold some out: \d image.*give at least 3 different images$"
    ):
        divide("mine", {"all": block(*images)})


def test_no_image_for_training():
    with pytest.raises(DataError, match="mine: none of its images is for training"):
        divide("mine", {"val": block(1), "test": block(2)})


def test_every_image_for_training_is_also_for_test():
    with pytest.raises(DataError, match="mine: every image of train also stands in test"):
        divide("mine", {"train": block(1, 2), "test": block(2, 1)})


@pytest.mark.parametrize("column", ["storage", "rows", "labels", "attributes"])
def test_the_sum_changes_with_a_single_value_of_any_column(column: str):
    def split(changed: str) -> Split:
        columns = {
            "storage": torch.arange(24, dtype=torch.uint8).reshape(6, 1, 2, 2),
            "rows": torch.tensor([1, 3, 4]),
            "labels": torch.tensor([10, 30, 50]),
            "attributes": torch.tensor([[True], [False], [True]]),
        }
        if changed:
            columns[changed].view(-1)[-5 if changed == "storage" else -1] ^= True
        return Split(**columns)

    whole, other = (Dataset("x", split(""), split(""), split(changed)) for changed in ("", column))
    assert whole.digest() == Dataset("y", split(""), split(""), split("")).digest()
    assert whole.digest() != other.digest()
