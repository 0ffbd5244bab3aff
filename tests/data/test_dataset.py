from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from genkit.data import dataset
from genkit.data.dataset import Dataset, Split, fingerprint


def block(*values: int) -> Split:
    """One 1x2x2 image a value, all of its pixels being the value."""
    storage = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    return Split(storage, torch.arange(len(values)), labels=torch.tensor(values))


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
