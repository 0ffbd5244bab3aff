"""The drawn scenes: the same bytes everywhere, a class that is the shape alone, and enough in them to be hard."""

import hashlib

import numpy as np
import pytest

from genkit.data.sets import scene_painter
from genkit.errors import UsageError


@pytest.mark.parametrize(
    ("size", "digest"),
    [
        (32, "883a5cc9f5622b54ac9d3cd911ee85f54c182b88ef09d60f6763d8cbccb1e2a1"),
        (64, "39be614576561eeb48fe09faec874008d82a3d3716763de678eef699dfcac69f"),
    ],
)
def test_the_bytes_are_the_same_on_every_machine(size, digest):
    images, labels = scene_painter.draw(64, size)
    assert images.shape == (64, 3, size, size)
    assert images.dtype == np.uint8
    assert hashlib.sha256(images.tobytes()).hexdigest() == digest
    assert labels.tolist() == [number % 10 for number in range(64)]


def test_pixels_are_computed_in_single_precision():
    """Twice as fast as in double, into which one array of integers would turn all that follows."""
    surface = scene_painter.Noise(np.zeros((2, scene_painter.LATTICE), np.float32), 16)
    assert surface.octave(1).dtype == np.float32
    assert {each.dtype for each in scene_painter.direction(np.array([0.1, 0.9]))} == {np.dtype(np.float32)}


def test_a_scene_depends_on_its_number_and_the_seed_only():
    images, _ = scene_painter.draw(70, seed=3)  # more than one chunk
    assert np.array_equal(scene_painter.draw(5, seed=3)[0], images[:5])
    assert not np.array_equal(scene_painter.draw(5, seed=4)[0], images[:5])
    assert len(np.unique(images.reshape(70, -1), axis=0)) == 70


@pytest.mark.parametrize("size", [16, 32, 47, 64])
def test_a_larger_size_shows_the_same_scenes_in_more_detail(size):
    small, _ = scene_painter.draw(32, size)
    large, _ = scene_painter.draw(32, 2 * size)
    averaged = large.reshape(32, 3, size, 2, size, 2).mean(axis=(3, 5))
    # Of 255; two different scenes are 50 apart. What is finer than a pixel of 1/16 is lost.
    assert np.abs(averaged - small).mean() < (6 if size == 16 else 3)


def test_no_scenes_is_an_empty_set():
    images, labels = scene_painter.draw(0)
    assert images.shape == (0, 3, 32, 32)
    assert labels.shape == (0,)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 15}, "15 pixels wide; give a size from 16 to 128"),
        ({"size": 129}, "129 pixels wide; give a size from 16 to 128"),
        ({"count": -1}, "with count -1 and seed 0; give numbers that aren't negative"),
        ({"seed": -1}, "with count 1 and seed -1; give numbers that aren't negative"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong, said):
    with pytest.raises(UsageError, match=f"^scenes can't be drawn {said}$"):
        scene_painter.draw(**{"count": 1, **wrong})


def test_directions_are_of_length_one_and_go_all_the_way_round():
    x, y = scene_painter.direction(np.linspace(0, 1, 1000, endpoint=False))
    assert np.abs(x * x + y * y - 1).max() < 1e-6
    angles = np.sort(np.arctan2(y, x).ravel())
    steps = np.diff(angles) / (2 * np.pi / 1000)
    assert steps.min() > 0.85  # nearly uniform
    assert steps.max() < 1.15


@pytest.mark.parametrize("name", scene_painter.CLASSES)
def test_a_shape_fills_its_place_and_is_no_other(name):
    x, y = (each.astype(np.float32) for each in np.meshgrid(*[np.linspace(-1.3, 1.3, 131)] * 2))
    within = scene_painter.SHAPES[name](x, y) < 0
    assert 0.12 < within[(np.abs(x) < 1) & (np.abs(y) < 1)].mean() < 0.8
    reach = np.sqrt(x * x + y * y)[within].max()
    assert 0.85 < reach < 1.15
    assert not within[0].any()
    assert not within[:, 0].any()
    for other in set(scene_painter.CLASSES) - {name}:
        also = scene_painter.SHAPES[other](x, y) < 0
        assert (within & also).sum() < 0.85 * (within | also).sum(), other


def test_the_star_has_five_points():
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False).astype(np.float32)
    edge = [scene_painter.star(r * np.sin(angle), -r * np.cos(angle)) for r in (0.97, 0.44, 0.47)]
    inside = edge[0] < 0
    assert (np.diff(inside.astype(int), append=inside[0]) == 1).sum() == 5  # runs of what reaches so far
    assert (edge[1] < 0).all()
    assert not (edge[2] < 0).all()


def test_colours_and_grounds_say_nothing_of_the_class():
    images, labels = scene_painter.draw(2000, 16)
    corners = images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].reshape(2000, -1)
    member = np.eye(10)[labels]
    correlation = np.corrcoef(corners, member, rowvar=False)[: corners.shape[1], corners.shape[1] :]
    assert np.abs(correlation).max() < 0.1  # chance: 0.022


def test_a_linear_classifier_fails():
    """Nor do a few directions hold the pictures: the class is in no sum of pixels."""
    images, labels = scene_painter.draw(1500, 16)
    pixels, signs = images.reshape(1500, -1) / 127.5 - 1, np.eye(10)[labels] - 0.1
    train, test = pixels[:1000], pixels[1000:]
    ridge = np.linalg.solve(train @ train.T + 50 * np.eye(1000), signs[:1000])  # in its dual form
    assert ((test @ train.T @ ridge).argmax(1) == labels[1000:]).mean() < 0.3
