"""Digits on textures: the same bytes everywhere, the ink where it was, and a ground that says nothing of the class."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from genkit.data.dataset import Dataset
from genkit.data.sets import digit_painter
from genkit.errors import UsageError

#: SHA-256 of the first 64.
FIRST = "f2c554403864df021a688c97dc07fbaa6beb79df4cc130e521b3734ff5801dd2"


def some(digits: Dataset, count: int, size: int = 28) -> np.ndarray:
    images = digits.train.images(digits.train.spread(count)).numpy()[:, 0]
    return images if size == 28 else images.repeat(size // 28, 1).repeat(size // 28, 2)


def test_the_bytes_are_the_same_on_every_machine(digits: Dataset) -> None:
    images = digit_painter.draw(some(digits, 64))
    assert images.shape == (64, 3, 28, 28)
    assert images.dtype == np.uint8
    assert (
        hashlib.sha256(images.tobytes()).hexdigest()
        == "f2c554403864df021a688c97dc07fbaa6beb79df4cc130e521b3734ff5801dd2"
    )


def test_a_texture_depends_on_its_number_and_the_seed_only(digits: Dataset) -> None:
    found = digit_painter.draw(some(digits, 70), seed=3)  # more than one chunk
    assert np.array_equal(digit_painter.draw(some(digits, 70)[:5], seed=3), found[:5])
    assert not np.array_equal(digit_painter.draw(some(digits, 70)[:5], seed=4), found[:5])
    grounds = digit_painter.draw(np.zeros((70, 28, 28), np.uint8), seed=3)
    assert len(np.unique(grounds.reshape(70, -1), axis=0)) == 70
    away = np.broadcast_to(some(digits, 70)[:, None] == 0, found.shape)
    assert np.array_equal(found[away], grounds[away]), "where there is no ink, the ground is as it was"


def test_a_larger_size_shows_the_same_in_more_detail(digits: Dataset) -> None:
    small, large = (digit_painter.draw(some(digits, 32, size)) for size in (28, 56))
    averaged = large.reshape(32, 3, 28, 2, 28, 2).mean(axis=(3, 5))
    assert np.abs(averaged - small).mean() < 4  # of 255


def test_ink_is_brighter_than_its_ground(digits: Dataset) -> None:
    """In nearly all of them by far; so that a person can read them all."""
    shapes = some(digits, 500)
    images = digit_painter.draw(shapes).mean(1)
    ink = np.array([image[shape > 200].mean() for image, shape in zip(images, shapes, strict=True)])
    ground = np.array([image[shape == 0].mean() for image, shape in zip(images, shapes, strict=True)])
    assert (ink - ground).min() > 40
    assert np.median(ink - ground) > 120
    spread = [image[shape == 0].std() for image, shape in zip(images, shapes, strict=True)]
    assert np.median(spread) > 6, "the ground isn't plain"


def test_the_ground_says_nothing_of_the_class(digits: Dataset) -> None:
    rows = digits.train.spread(2000)
    assert digits.train.labels is not None
    images = digit_painter.draw(digits.train.images(rows).numpy()[:, 0])
    corners = images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(2000, -1)
    member = np.eye(10)[digits.train.labels[rows].numpy()]
    correlation = np.corrcoef(corners, member, rowvar=False)[: corners.shape[1], corners.shape[1] :]
    assert np.abs(correlation).max() < 0.1  # chance: 0.022


@pytest.mark.parametrize(
    ("size", "seed", "said"),
    [(15, 0, "15 pixels wide; give a size from 16 to 128"), (129, 0, "129 pixels wide"), (28, -1, "with seed -1")],
)
def test_what_cannot_be_drawn_is_refused(size: int, seed: int, said: str) -> None:
    with pytest.raises(UsageError, match=f"^textures can't be drawn {said}"):
        digit_painter.draw(np.zeros((1, size, size), np.uint8), seed)


@pytest.mark.parametrize("size", [None, 20])
def test_the_set_has_the_digits_of_mnist5k_in_their_splits(of, digits: Dataset, size: int | None) -> None:
    """So that no digit that is held out of one stands in the other's training images."""
    dataset = of("textured-digits", image_size=size)
    assert dataset.shape == (3, size or 28, size or 28)
    assert dataset.classes == digits.classes
    for name, split in dataset.splits().items():
        theirs = digits.splits()[name]
        assert torch.equal(split.rows, theirs.rows)
        assert torch.equal(split.labels, theirs.labels)
    if size is None:
        shapes = digits.train.storage.numpy()[:300, 0]
        images = digit_painter.draw(shapes)
        order = torch.cat([split.rows for split in dataset.splits().values()]).argsort()
        every = torch.cat([split.images() for split in dataset.splits().values()])[order]
        assert np.array_equal(every[:300].numpy(), images)
