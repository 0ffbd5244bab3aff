"""The drawn faces: the same bytes everywhere, fair and independent attributes, and each one plain to see."""

import hashlib

import numpy as np
import pytest

from genkit.data.sets import painter
from genkit.errors import UsageError


def changed(name: str) -> np.ndarray:
    """Draw 64 faces with the attribute and without: the largest change over the channels, int (64, 32, 32)."""
    everyone = painter.traits(64, 1)
    on, off = (painter.paint(everyone._replace(**{name: np.full(64, value)}), 32) for value in (0.25, 0.75))
    return np.abs(on.astype(int) - off).max(axis=1)


@pytest.mark.parametrize(
    ("size", "digest"),
    [
        (32, "9015294e3ddd637af5ddaa8815fb6cc5663f6ceeb4a8ab56b93f7ca34e9950e9"),
        (64, "667453d2320f0c43ccc12730969f9542bdde7c3f2d5103fcf40f5edd15f7bb04"),
    ],
)
def test_the_bytes_are_the_same_on_every_machine(size, digest):
    images, attributes = painter.draw(64, size)
    assert images.shape == (64, 3, size, size)
    assert images.dtype == np.uint8
    assert hashlib.sha256(images.tobytes()).hexdigest() == digest
    assert attributes.shape == (64, 4)
    assert attributes.dtype == np.bool_
    assert attributes[:3].tolist() == [[0, 1, 1, 1], [1, 0, 0, 0], [0, 1, 0, 1]]  # by eye


def test_a_face_depends_on_its_number_and_the_seed_only():
    images, attributes = painter.draw(70, seed=3)  # more than one chunk
    first, first_attributes = painter.draw(5, seed=3)
    assert np.array_equal(first, images[:5])
    assert np.array_equal(first_attributes, attributes[:5])
    assert not np.array_equal(painter.draw(5, seed=4)[0], first)
    assert len(np.unique(images.reshape(70, -1), axis=0)) == 70


@pytest.mark.parametrize("size", [16, 32, 47, 64])
def test_a_larger_size_shows_the_same_faces_in_more_detail(size):
    small, attributes = painter.draw(32, size)
    large, large_attributes = painter.draw(32, 2 * size)
    assert np.array_equal(attributes, large_attributes)
    averaged = large.reshape(32, 3, size, 2, size, 2).mean(axis=(3, 5))
    assert np.abs(averaged - small).mean(axis=(1, 2, 3)).max() < 5  # of 255; two different faces are 53 apart


def test_no_faces_is_an_empty_set():
    images, attributes = painter.draw(0)
    assert images.shape == (0, 3, 32, 32)
    assert attributes.shape == (0, 4)


@pytest.mark.parametrize("wrong", [{"size": 15}, {"size": 129}, {"count": -1}, {"seed": -1}])
def test_what_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(UsageError, match=str(next(iter(wrong.values())))):
        painter.draw(**{"count": 1, **wrong})


def test_attributes_are_fair_coins_independent_of_all_that_varies():
    everyone = painter.traits(painter.COUNT, 0)
    coins = painter.attributes(everyone)
    assert np.abs(coins.mean(axis=0) - 0.5).max() < 0.015
    rest = everyone[len(painter.ATTRIBUTES) :]
    correlation = np.corrcoef(np.column_stack([coins, *rest]), rowvar=False)
    assert np.abs(correlation - np.eye(len(everyone))).max() < 0.03  # four deviations of chance, 1 / sqrt(20,000)


def test_the_backdrop_tells_nothing_of_the_attributes():
    images, coins = painter.draw(2000, 16)
    corners = images[:, :, 0, [0, -1]].reshape(2000, -1)
    correlation = np.corrcoef(corners, coins, rowvar=False)[: corners.shape[1], corners.shape[1] :]
    assert np.abs(correlation).max() < 0.1  # chance: 0.022; the long hair of women never reaches the upper corners


def test_facing_right_is_the_mirror_of_facing_left():
    everyone = painter.traits(64, 1)._replace(x=np.full(64, 0.5))  # in the middle
    left = painter.paint(everyone._replace(facing_left=np.full(64, 0.25)), 32)
    right = painter.paint(everyone._replace(facing_left=np.full(64, 0.75)), 32)
    assert np.array_equal(right, left[..., ::-1])


def test_a_face_that_looks_left_has_its_eyes_on_the_left():
    plain = painter.traits(64, 1)._replace(x=np.full(64, 0.5), glasses=np.full(64, 0.25))
    bare = plain._replace(glasses=np.full(64, 0.75))
    for value, side in ((0.25, -1), (0.75, 1)):
        turned = {"facing_left": np.full(64, value)}
        rims = np.abs(painter.paint(plain._replace(**turned), 32) * 1.0 - painter.paint(bare._replace(**turned), 32))
        weight = rims.sum(axis=(1, 2))
        centre = (weight * np.arange(-15.5, 16)).sum(axis=1) / weight.sum(axis=1)
        assert (side * centre > 1).all()  # a pixel or more off the middle


def test_glasses_change_the_eyes_and_nothing_else():
    change = changed("glasses")
    rows = np.flatnonzero(change.any(axis=(0, 2)))
    assert rows.min() >= 9
    assert rows.max() <= 22
    assert (change > 40).sum(axis=(1, 2)).min() >= 40  # pixels


def test_a_smile_changes_the_mouth_and_nothing_else():
    change = changed("smile")
    rows = np.flatnonzero(change.any(axis=(0, 2)))
    assert rows.min() >= 16
    assert rows.max() <= 28
    assert (change > 40).sum(axis=(1, 2)).min() >= 12  # pixels


def test_men_and_women_differ_all_over_the_head():
    assert (changed("male") > 40).sum(axis=(1, 2)).min() >= 40  # pixels


def test_even_a_linear_classifier_reads_every_attribute_from_the_pixels():
    images, attributes = painter.draw(3000, 32, seed=5)
    pixels, signs = images.reshape(3000, -1) / 127.5 - 1, attributes * 2.0 - 1
    train, test = pixels[:2000], pixels[2000:]
    ridge = np.linalg.solve(train @ train.T + 50 * np.eye(2000), signs[:2000])  # in its dual form
    accuracy = ((test @ train.T @ ridge > 0) == attributes[2000:]).mean(axis=0)
    assert accuracy.min() > 0.97, dict(zip(painter.ATTRIBUTES, accuracy, strict=True))
