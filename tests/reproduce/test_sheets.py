"""What becomes of the pictures of recipes: curves that can be read, words above, and few enough bytes."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genkit.contract import ImageShape
from genkit.models.rbm import RBM
from genkit.reproduce import results, sheets


def test_a_curve_has_its_places_for_ticks() -> None:
    """All of them, none on another, and nothing else."""
    from matplotlib.figure import Figure as Page

    for places in ((1, 5, 10, 50), (2, 3, 5, 10, 20, 200), (0, 1, 2)):
        page = Page(figsize=(6, 4), dpi=150, layout="constrained")
        plane = page.add_subplot()
        sheets.plot_curves(plane, {"one": {place: [1.0, 3.0] for place in places}, "other": {places[0]: [2.0]}})
        page.draw_without_rendering()
        labels = plane.get_xticklabels()
        assert [each.get_text() for each in labels] == [str(place) for place in places]
        assert len(plane.get_xticks(minor=True)) == 0
        ends = [(box.x0, box.x1) for box in (each.get_window_extent() for each in labels)]
        assert all(right < left for (_, right), (left, _) in itertools.pairwise(ends))
        low, high = plane.get_ylim()
        assert 0 < 2 - 2**0.5 - low < 0.5  # the bar is a standard deviation
        assert 0 < high - (2 + 2**0.5) < 0.5


def test_words_stand_above_a_picture_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "drawn.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    sheets.stamp(path, "a quick run: no result")
    with Image.open(path) as stamped:
        found = np.asarray(stamped)
    assert np.array_equal(found[-40:, :30], pixels)
    assert found[:-40].min() < 100  # ink
    assert found[-40:, 30:].min() == 255


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_small_picture_is_small(tmp_path: Path, mode: str) -> None:
    """Noise, which no format makes small, gets fewer pixels; what is small already keeps them all."""
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(tmp_path / "noise.png")
    sheets.save_small(tmp_path / "small.png", tmp_path / "noise.png")
    assert (tmp_path / "small.png").stat().st_size <= 100_000
    with Image.open(tmp_path / "small.png") as small:
        assert small.width <= 800
        assert small.width / small.height == pytest.approx(4 / 3, rel=0.01)
    flat = np.zeros((60, 90), np.uint8)
    flat[20:40, 30:60] = 200
    Image.fromarray(flat).convert(mode).save(tmp_path / "flat.png")
    sheets.save_small(tmp_path / "small.png", tmp_path / "flat.png")
    with Image.open(tmp_path / "small.png") as small:
        assert np.array_equal(np.asarray(small.convert("L")), flat)


def test_samples_are_drawn_as_asked_and_the_model_stays_as_it_was(tmp_path: Path) -> None:
    model = RBM(ImageShape(1, 6, 6), RBM.Options(hidden=(5,), latent_dim=3)).eval()
    bench: Any = SimpleNamespace(named=lambda _: [SimpleNamespace(model=model)])
    sheets.samples(bench, tmp_path / "usual.png", "run", 4)
    sheets.samples(bench, tmp_path / "chains.png", "run", 4, {"gibbs": 5})
    assert model.sampling == RBM.Sampling()
    model.sampling = RBM.Sampling(gibbs=5)
    sheets.samples(bench, tmp_path / "usual again.png", "run", 4)
    drawn = [(tmp_path / f"{name}.png").read_bytes() for name in ("usual", "usual again", "chains")]
    assert drawn[0] == drawn[1] != drawn[2]


def test_digits() -> None:
    """Four that count, so that nearly 1 isn't taken for 1."""
    found = {each: results.digits(each) for each in (1.0, 1.00002, 0.837, 13.8712, 86.757, 12345.6, 0.0, 12.0)}
    assert found == {
        1.0: "1",
        1.00002: "1.000",
        0.837: "0.8370",
        13.8712: "13.87",
        86.757: "86.76",
        12345.6: "1.235e+04",
        0.0: "0",
        12.0: "12",
    }
