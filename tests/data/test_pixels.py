from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.data.pixels import conform, loss_by_crop, prepare, wanted_shape


def test_wanted_shape():
    shape = ImageShape(1, 45, 100)
    assert wanted_shape(shape, DataOptions()) == (1, 45, 100)
    assert wanted_shape(shape, DataOptions(image_size=28)) == (1, 28, 28)
    assert wanted_shape(shape, DataOptions(channels=3)) == (3, 45, 100)


def test_a_picture_of_the_wanted_shape_stays_as_it_is(pictures):
    images = pictures[:, None]
    assert conform(images, ImageShape(1, 28, 28)) is images


def test_colour_from_grey_repeats_and_grey_from_colour_is_luma(pictures):
    colour = conform(pictures[:, None], ImageShape(3, 28, 28))
    assert (colour == pictures[:, None]).all()
    assert (conform(colour, ImageShape(1, 28, 28)) == pictures[:, None]).all()
    primaries = np.eye(3, dtype=np.uint8)[:, :, None, None] * np.uint8(255)
    # ITU-R 601: 0.299, 0.587 and 0.114 of 255
    assert conform(primaries, ImageShape(1, 1, 1)).flatten().tolist() == [76, 150, 29]


def test_the_central_square_is_cut_out():
    image = np.zeros((1, 1, 4, 10), np.uint8)
    image[..., 3:7] = 200
    assert (conform(image, ImageShape(1, 4, 4)) == 200).all()
    assert (conform(image.transpose(0, 1, 3, 2), ImageShape(1, 4, 4)) == 200).all()


def test_shrinking_averages_rather_than_picks():
    checks = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    small = conform(checks[None, None].astype(np.uint8), ImageShape(1, 8, 8))
    assert np.abs(small.astype(int) - 127).max() <= 2


def test_sizes_need_be_neither_square_nor_even(pictures):
    for size in (28, 45, 100, 8):
        assert prepare(Image.fromarray(pictures[0]), ImageShape(3, size, size)).shape == (3, size, size)


@pytest.mark.parametrize(("size", "band"), [((32, 8), slice(6, 10)), ((8, 32), slice(6, 10)), ((16, 16), slice(0, 16))])
def test_pad_keeps_all_and_adds_black(size, band):
    width, height = size
    image = np.full((1, 1, height, width), 200, np.uint8)
    expected = np.zeros((16, 16))
    expected[(band, slice(None)) if width >= height else (slice(None), band)] = 200
    assert (conform(image, ImageShape(1, 16, 16), "pad")[0, 0] == expected).all()
    colour = conform(image, ImageShape(3, 16, 16), "pad")[0]
    assert (colour == expected).all()


def test_stretch_keeps_all_and_adds_nothing():
    halves = np.zeros((1, 1, 4, 32), np.uint8)
    halves[..., 16:] = 255
    found = conform(halves, ImageShape(1, 16, 16), "stretch")[0, 0]
    assert (found[:, :6] == 0).all()
    assert (found[:, 10:] == 255).all()
    cropped = conform(halves, ImageShape(1, 16, 16))[0, 0]
    assert (cropped == conform(halves[..., 14:18], ImageShape(1, 16, 16))[0, 0]).all()


@given(width=st.integers(1, 200), height=st.integers(1, 200), fit=st.sampled_from(["crop", "pad", "stretch"]))
def test_every_fit_makes_the_wanted_shape_of_any(width, height, fit):
    image = Image.new("L", (width, height), 255)
    found = prepare(image, ImageShape(1, 8, 12), fit)
    assert found.shape == (1, 8, 12)
    white = (found == 255).sum() / found.size
    share = min(width / height / 1.5, height * 1.5 / width)
    assert white == 1 if fit != "pad" else abs(white - share) <= 1 / 8 + 1e-9  # a row or a column by rounding


def test_what_the_central_square_leaves_is_said_where_it_is_little():
    def said(*sizes, **options):
        return loss_by_crop(sizes, DataOptions(**options))

    assert said((100, 20), (100, 50), image_size=16) == (
        "the central square keeps 20 % to 50 % of each picture; --fit pad keeps all of it"
    )
    assert said((16, 160), image_size=16).startswith("the central square keeps 10 % of each picture")
    assert said((3000, 2000), (2000, 3000), (64, 64), image_size=16) is None
    assert said((100, 20), (100, 50), image_size=16, fit="pad") is None
    assert said((100, 20)) is None
