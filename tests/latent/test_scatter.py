from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from genkit.data.dataset import Split
from genkit.latent import projection, scatter

DIGITS = [str(digit) for digit in range(10)]

Plot = Callable[..., tuple[Image.Image, ElementTree.Element]]


@pytest.fixture
def plot(tmp_path: Path) -> Plot:
    """Draw a plot; gives the PNG and the SVG."""

    def draw(
        points: NDArray[np.floating], labels: Tensor | None = None, classes: list[str] = DIGITS, **options: object
    ) -> tuple[Image.Image, ElementTree.Element]:
        png, svg = tmp_path / "plot.png", tmp_path / "plot.svg"
        scatter.plot(points, labels, classes, png, svg, "a title", **options)  # type: ignore[arg-type]
        assert {path.name for path in tmp_path.iterdir()} == {"plot.png", "plot.svg"}
        with Image.open(png) as picture:
            return picture.convert("RGB"), ElementTree.parse(svg).getroot()

    return draw


def parts(svg: ElementTree.Element, prefix: str) -> list[ElementTree.Element]:
    """The groups of an SVG by matplotlib's names: `PathCollection` for points, `legend`."""
    return [group for group in svg.iter("{http://www.w3.org/2000/svg}g") if group.get("id", "").startswith(prefix)]


def markers(group: ElementTree.Element) -> list[tuple[float, float]]:
    """Where a part of an SVG has markers."""
    uses = group.iter("{http://www.w3.org/2000/svg}use")
    return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in uses if "y" in use.attrib]


def test_legend_names_each_class_beside_all_points(plot: Plot, pixels: Tensor, labels: Tensor) -> None:
    png, svg = plot(projection.project(pixels).points, labels, axes=("x", "y"))
    assert png.size == (1600, 1280)
    (points,) = parts(svg, "PathCollection")
    (legend,) = parts(svg, "legend")
    assert len(markers(points)) == 400
    assert len(markers(legend)) == 10
    assert max(x for x, _ in markers(points)) < min(x for x, _ in markers(legend))


def test_each_point_has_the_colour_of_its_class(plot: Plot) -> None:
    numbers = torch.tensor([0, 3, 1, 1, 8, 0, 5])
    _, svg = plot(np.stack([np.arange(7.0), np.zeros(7)], 1), numbers)
    (group,) = parts(svg, "PathCollection")
    drawn = [x for x, _ in markers(group)]
    assert drawn != sorted(drawn)  # in no order of theirs, or the last class would hide the others
    uses = sorted(group.iter("{http://www.w3.org/2000/svg}use"), key=lambda use: float(use.attrib["x"]))
    for use, number in zip(uses, numbers.tolist(), strict=True):
        assert f"fill: {scatter.COLOURS[number]}" in use.attrib["style"]


def test_axes_have_the_same_scale(plot: Plot) -> None:
    points = np.array([[0, 0], [10, 0], [0, 1], [10, 1]], float)
    (left, top), (right, bottom) = (
        edge(zip(*markers(parts(plot(points)[1], "PathCollection")[0]), strict=True)) for edge in (low, high)
    )
    assert (right - left) / (bottom - top) == pytest.approx(10, rel=1e-3)


def low(columns: object) -> list[float]:
    return [min(column) for column in columns]  # type: ignore[attr-defined]


def high(columns: object) -> list[float]:
    return [max(column) for column in columns]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["_hidden", "$a$b", r"$\frac$", "a\tb\nc", "", "é σ"])
def test_any_class_name_can_be_shown(plot: Plot, name: str) -> None:
    points = np.random.default_rng(0).normal(size=(20, 2))
    _, svg = plot(points, torch.arange(20) % 2, [name, "other"])
    assert len(markers(parts(svg, "legend")[0])) == 2


def test_many_classes_differ_in_marker_or_colour_and_the_rarest_are_put_together() -> None:
    sizes = [3] * 45
    sizes[7] = 1  # with ties, the classes that come last are left over
    labels = torch.arange(45).repeat_interleave(torch.tensor(sizes))
    groups = scatter._groups(labels, [f"c{number}" for number in range(45)], len(labels))
    assert len({(group.colour, group.marker) for group in groups}) == 41
    assert [group.name for group in groups[-2:]] == ["c40", "5 others"]
    assert "c7" not in {group.name for group in groups}
    assert np.sum([group.members for group in groups], axis=0).tolist() == [1] * len(labels)


def test_a_class_keeps_its_colour_where_others_are_missing() -> None:
    everything = scatter._groups(torch.arange(10), DIGITS, 10)
    some = scatter._groups(torch.tensor([3, 7]), DIGITS, 2)
    assert [group.colour for group in some] == [everything[3].colour, everything[7].colour]


def linear(colour: str) -> NDArray[np.float64]:
    """A hexadecimal sRGB colour as linear RGB."""
    encoded = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def oklab(rgb: NDArray[np.floating]) -> NDArray[np.floating]:
    """Linear RGB in Ottosson's OKLab, where distances are about as large as they look; black to white is 100."""
    cones = np.cbrt(
        np.clip(rgb, 0, 1)
        @ np.array(
            [
                [0.4122214708, 0.2119034982, 0.0883024619],
                [0.5363325363, 0.6806995451, 0.2817188376],
                [0.0514459929, 0.1073969566, 0.6299787005],
            ]
        )
    )
    return 100 * (
        cones
        @ np.array(
            [
                [0.2104542553, 1.9779984951, 0.0259040371],
                [0.7936177850, -2.4285922050, 0.7827717662],
                [-0.0040720468, 0.4505937099, -0.8086757660],
            ]
        )
    )


@pytest.mark.parametrize(
    "vision",
    [
        np.eye(3),
        # Machado, Oliveira and Fernandes (2009), severity 1: protanopia, deuteranopia, tritanopia.
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ],
    ids=["normal", "protanopia", "deuteranopia", "tritanopia"],
)
def test_colours_differ_for_colour_blind_people_too(vision: NDArray[np.floating]) -> None:
    seen = [oklab(linear(colour) @ np.array(vision).T) for colour in scatter.COLOURS]
    # matplotlib's own ten colours come down to 0.7.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 8.5


def test_the_same_plot_has_the_same_bytes_and_no_date(tmp_path: Path, pixels: Tensor, labels: Tensor) -> None:
    points = projection.project(pixels).points[:100]
    for name in "ab":
        scatter.plot(
            points, labels[:100], DIGITS, tmp_path / f"{name}.png", tmp_path / f"{name}.svg", "title", "subtitle"
        )
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert b"date>" not in (tmp_path / "a.svg").read_bytes()


def test_settings_of_ones_own_neither_change_a_plot_nor_are_changed(plot: Plot) -> None:
    import matplotlib

    points = np.random.default_rng(0).normal(size=(20, 2))
    expected, _ = plot(points)
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30}):
        assert plot(points)[0].tobytes() == expected.tobytes()
        assert matplotlib.rcParams["font.size"] == 30


def test_many_points_become_one_picture_in_the_svg(plot: Plot, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(6000, 2))
    _, svg = plot(points, torch.arange(6000) % 10)
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}image"))) == 1
    assert (tmp_path / "plot.svg").stat().st_size < 1.5e6
    _, svg = plot(points[:100])
    assert not list(svg.iter("{http://www.w3.org/2000/svg}image"))


@pytest.mark.parametrize("points", [np.zeros((1, 2)), np.zeros((5, 2)), np.array([[0, 0], [1e-30, 0], [1e6, 0]])])
def test_degenerate_points_are_drawn(plot: Plot, points: NDArray[np.floating]) -> None:
    png, _ = plot(points, torch.zeros(len(points), dtype=torch.int64))
    assert (np.asarray(png) == [0x33, 0x22, 0x88]).all(-1).any()  # the first class's colour: legend and point


def test_thumbnails_are_framed_in_their_class_colour_upright_and_in_place(plot: Plot) -> None:
    points = np.array([[0, 0], [1, 0], [0, 1]], float)
    upper, lower = torch.tensor([250, 100, 30]), torch.tensor([30, 100, 250])
    images = torch.zeros(3, 3, 20, 20, dtype=torch.uint8)
    images[2, :, :10], images[2, :, 10:] = upper[:, None, None], lower[:, None, None]
    png, svg = plot(points, torch.tensor([0, 1, 1]), thumbnails=Split(images, torch.arange(3)))
    pixels = np.asarray(png)
    (top_rows, top_columns), (bottom_rows, bottom_columns) = (
        np.nonzero((pixels == colour.numpy()).all(-1)) for colour in (upper, lower)
    )
    assert top_rows.max() < bottom_rows.min()
    assert len(top_rows) == pytest.approx(40 * 20, rel=0.3)  # but for the rows that blur into each other
    assert abs(top_columns.mean() - bottom_columns.mean()) < 1
    red = (pixels == [0xDC, 0x05, 0x0C]).all(-1)
    left, middle = top_columns.min() - 1, bottom_rows.min()
    assert red[middle, left - 2 : left + 1].all()
    # The image lies on its point, which is the highest of the three; an SVG's unit is 1/72 inch.
    x, y = min(itertools.chain(*map(markers, parts(svg, "PathCollection"))), key=lambda place: place[1])
    centre = (top_columns.mean(), (top_rows.min() + bottom_rows.max()) / 2)
    assert centre == pytest.approx((x * scatter.DPI / 72, y * scatter.DPI / 72), abs=1.5)


def overlaps(corners: NDArray[np.floating], sizes: NDArray[np.floating]) -> list[tuple[int, int]]:
    """The pairs of rectangles that overlap, given top left corners (N, 2) and sizes (N, 2)."""
    return [
        (a, b)
        for a, b in itertools.combinations(range(len(corners)), 2)
        if (np.minimum(corners[a] + sizes[a], corners[b] + sizes[b]) - np.maximum(corners[a], corners[b]) > 0).all()
    ]


def test_thumbnails_keep_the_first_that_fit() -> None:
    corners = np.random.default_rng(0).integers(-20, 200, (300, 2))
    size = np.array([30, 20])
    kept = scatter.fitting(corners, size, (200, 150))
    assert kept == sorted(kept)
    assert (corners[kept] >= 0).all()
    assert (corners[kept] + size <= (200, 150)).all()
    assert not overlaps(corners[kept], np.tile(size, (len(kept), 1)))
    for index in set(range(300)) - set(kept):
        outside = (corners[index] < 0).any() or (corners[index] + size > (200, 150)).any()
        earlier = [index, *(other for other in kept if other < index)]
        assert outside or overlaps(corners[earlier], np.tile(size, (len(earlier), 1)))


def test_names_are_pushed_apart_only_where_they_overlap() -> None:
    generator = np.random.default_rng(0)
    centres = np.vstack([generator.uniform(300, 400, (15, 2)), [[900, 900], [395, 0]]])
    sizes = generator.uniform([20, 20], [90, 30], (17, 2))
    low, high = np.zeros(2), np.full(2, 1000)
    assert overlaps(centres - sizes / 2, sizes)
    placed = scatter.spread(centres, sizes, low, high)
    assert not overlaps(placed - sizes / 2, sizes)
    assert placed[15].tolist() == [900, 900]
    assert (placed - sizes / 2 >= low).all()
    assert np.abs(placed - centres).max() < 150
    same = scatter.spread(np.full((4, 2), 500.0), np.full((4, 2), 30.0), low, high)
    assert not overlaps(same - 15, np.full((4, 2), 30.0))
