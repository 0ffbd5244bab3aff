from __future__ import annotations

import numpy as np
from PIL import Image

from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.data.pixels import conform, prepare, wanted_shape


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
