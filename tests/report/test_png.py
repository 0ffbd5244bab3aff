"""Pictures that are as small as they must be, and no poorer."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genkit.report import png
from genkit.report.blocks import Png


def rgba(picture: Png) -> np.ndarray:
    opened = Image.open(io.BytesIO(picture.content))
    assert opened.size == (picture.width, picture.height)
    return np.asarray(opened.convert("RGBA")).astype(int)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_fit_are_kept_and_what_lies_between_is_transparent(channels: int) -> None:
    images = torch.randint(0, 256, (3, channels, 64, 64), dtype=torch.uint8)
    images[0, :, 0, 0] = torch.tensor([1, 2, 1][:channels], dtype=torch.uint8)  # what stands for "transparent"
    seen = rgba(png.of_images(images, 2, "noise", 1 << 20))
    assert seen.shape == (131, 131, 4)
    for at, (top, left) in enumerate(((0, 0), (0, 67), (67, 0))):
        tile = seen[top : top + 64, left : left + 64]
        assert (tile[..., 3] == 255).all()
        assert np.abs(tile[..., :channels] - images[at].permute(1, 2, 0).numpy()).max() <= 1
    assert (seen[:, 64:67, 3] == 0).all()
    assert (seen[67:, 67:, 3] == 0).all()  # the place of a fourth image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("limit", [200_000, 50_000, 3_000])
def test_no_picture_is_larger_than_it_may_be(channels: int, limit: int) -> None:
    images = torch.rand(9, channels, 200, 120)
    picture = png.of_images(images, 3, "noise", limit)
    assert len(picture.content) <= limit
    seen = rgba(picture)
    assert seen[0, 0, 3] == 255
    middle = seen[..., :channels][seen[..., 3] == 255].mean()
    assert 110 < middle < 145  # still the same noise, not black or white


def test_a_drawing_is_no_larger_than_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "drawing.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)).save(path)
    large, small = (png.of_drawing(path, "noise", limit) for limit in (1 << 20, 20_000))
    assert (large.width, large.height) == (500, 400)
    assert len(small.content) <= 20_000
    assert small.width < 500


def test_few_grey_levels_still_reach_black_and_white() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    covered = torch.ones(16, 16, dtype=torch.bool)
    seen = np.asarray(Image.open(io.BytesIO(png.poorer(ramp[0], covered))).convert("L")).astype(int)
    assert len(np.unique(seen)) == png.GREYS
    assert (seen.min(), seen.max()) == (0, 255)
    assert np.abs(seen.flatten() - np.arange(256)).max() <= 8
