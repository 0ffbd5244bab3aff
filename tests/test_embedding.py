from __future__ import annotations

import csv
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError, UsageError
from genkit.latent import embedding

DIGITS = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def some(digits: Dataset) -> Split:
    """400 real digits of all classes."""
    return digits.test.take(digits.test.spread(400))


@pytest.fixture(scope="module")
def pixels(some: Split) -> Tensor:
    """Their pixels as features, float (400, 784)."""
    return some.images().flatten(1).float() / 255


@pytest.fixture(scope="module")
def labels(some: Split) -> Tensor:
    assert some.labels is not None
    return some.labels


# To two dimensions


def test_two_features_stay_as_they_are_whatever_the_method() -> None:
    features = torch.tensor([[1.0, -2.0], [3.5, 0.25]])
    for method in ("pca", "tsne", "umap"):
        projection = embedding.project(features, method)  # type: ignore[arg-type]
        assert projection.points.tolist() == features.tolist()
        assert projection.method == "native"
    assert embedding.project(features[:, :1]).points.tolist() == [[1.0, 0.0], [3.5, 0.0]]


def test_pca_turns_to_the_axes_of_greatest_variance() -> None:
    # Spread 3 along (0, 0.6, 0.8), 2 along x, 1 along (0, -0.8, 0.6), all three uncorrelated.
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))
    axes = torch.tensor([[0, 0.6, 0.8], [1, 0, 0], [0, -0.8, 0.6]])
    projection = embedding.project(corners * torch.tensor([3.0, 2.0, 1.0]) @ axes + 5)
    assert projection.points == pytest.approx((corners * torch.tensor([3.0, 2.0, 1.0]))[:, :2].numpy(), abs=1e-6)
    assert projection.axes == (
        "principal component 1 (64.3% of the variance)",
        "principal component 2 (28.6% of the variance)",
    )


def test_pca_agrees_with_scikit_learn_on_digits(pixels: Tensor) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    ours, shares = embedding.principal_components(pixels, 5)
    reference = decomposition.PCA(5, svd_solver="full").fit(pixels.double().numpy())
    theirs = reference.transform(pixels.double().numpy())
    assert np.allclose(np.abs(ours.numpy()), np.abs(theirs), atol=1e-6)
    assert shares == pytest.approx(reference.explained_variance_ratio_.tolist())


def test_the_largest_loading_of_every_axis_is_positive(pixels: Tensor) -> None:
    components, _ = embedding.principal_components(pixels, 30)
    loadings = (pixels - pixels.mean(0)).double().T @ components
    largest = loadings.gather(0, loadings.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


def test_wide_features_have_the_same_components(pixels: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, exact_shares = embedding.principal_components(pixels, 2)
    before = torch.get_rng_state()
    monkeypatch.setattr(embedding, "EXACT_WIDTH", 100)
    wide, shares = embedding.principal_components(pixels, 2)
    assert torch.allclose(wide, exact, atol=1e-3)
    assert shares == pytest.approx(exact_shares, rel=1e-4)
    assert embedding.principal_components(pixels, 2)[0].equal(wide)
    assert torch.get_rng_state().equal(before)


def test_axes_lead_from_features_to_points_and_back(pixels: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (2048, 100):
        monkeypatch.setattr(embedding, "EXACT_WIDTH", width)
        found = embedding.principal_axes(pixels, 5)
        mean, axes = found.mean.double(), found.axes.double()
        assert torch.allclose(axes.T @ axes, torch.eye(5).double(), atol=1e-5)
        assert torch.allclose((pixels - mean) @ axes, found.coordinates, atol=1e-4)
        back = mean + found.coordinates @ axes.T
        rest = (pixels - back).square().sum() / (pixels - mean).square().sum()
        assert rest.item() == pytest.approx(1 - sum(found.shares), abs=1e-4)
        assert embedding.project(pixels).principal is not None
    assert embedding.project(pixels[:, :2]).principal is None


def test_fewer_images_than_components_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.eye(3, 300)
    for width in (2048, 100):
        monkeypatch.setattr(embedding, "EXACT_WIDTH", width)
        components, shares = embedding.principal_components(features[:1], 2)
        assert components.tolist() == [[0, 0]]
        assert embedding.principal_axes(features[:1], 2).axes.shape == (300, 2)
        assert shares == [0, 0]
        # Three corners of a triangle with sides √2 keep their distances in two dimensions.
        assert torch.pdist(embedding.principal_components(features, 2)[0]).tolist() == pytest.approx([math.sqrt(2)] * 3)


def test_tsne_separates_digits_better_than_pca_and_the_same_way_each_time(pixels: Tensor, labels: Tensor) -> None:
    pytest.importorskip("sklearn")
    projection = embedding.project(pixels, "tsne", seed=1)
    assert projection.axes is None
    assert projection.name == "t-SNE"
    separated = embedding.scores(projection.points, labels)["knn_accuracy"]
    assert separated > embedding.scores(embedding.project(pixels).points, labels)["knn_accuracy"] + 0.2
    assert np.array_equal(embedding.project(pixels, "tsne", seed=1).points, projection.points)


def test_tsne_of_few_or_equal_points_is_finite() -> None:
    pytest.importorskip("sklearn")
    assert np.isfinite(embedding.project(torch.randn(4, 5), "tsne").points).all()
    assert np.isfinite(embedding.project(torch.ones(12, 5), "tsne").points).all()


@pytest.mark.filterwarnings("ignore")  # umap's own
def test_umap_is_reproducible(pixels: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    # Interpreted: to compile takes longer than to lay out so few points.
    monkeypatch.setattr(pytest.importorskip("numba").config, "DISABLE_JIT", True)
    pytest.importorskip("umap")
    projection = embedding.project(pixels[:6], "umap", seed=3)
    assert projection.points.shape == (6, 2)
    assert projection.method == "umap"
    assert np.array_equal(embedding.project(pixels[:6], "umap", seed=3).points, projection.points)
    assert embedding.project(pixels[:4], "umap").points.shape == (4, 2)


@pytest.mark.parametrize(
    ("method", "package", "command"),
    [("tsne", "sklearn.manifold", r"pip install 'genkit\[analysis\]'"), ("umap", "umap", "pip install umap-learn")],
)
def test_a_missing_package_names_its_command(
    method: embedding.Method, package: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=f"--method {method} needs .*: {command}"):
        embedding.project(torch.randn(9, 5), method)


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_too_few_points_for_neighbourhoods_are_refused(method: embedding.Method) -> None:
    with pytest.raises(UsageError, match="needs 4 images or more, not 3; use --method pca"):
        embedding.project(torch.randn(3, 5), method)


def test_codes_that_cant_be_shown_are_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        embedding.project(torch.zeros(0, 5))
    with pytest.raises(DataError, match="aren't finite"):
        embedding.project(torch.tensor([[0.0, math.nan]]))


# Scores


def test_a_point_doesnt_vote_for_itself() -> None:
    # 0 1 0 1 ... around a circle: both neighbours of every point are of the other class.
    angles = torch.arange(10) / 10 * 2 * math.pi
    points = torch.stack([angles.cos(), angles.sin()], 1).numpy()
    assert embedding.scores(points, torch.arange(10) % 2, k=2)["knn_accuracy"] == 0
    # 0 0 0 0 0 1 1 1 1 1: each point has a neighbour of its own class, and the lower class wins the ties of four.
    assert embedding.scores(points, torch.arange(10) // 5, k=2)["knn_accuracy"] == 0.8


def test_equally_distant_points_share_votes_so_order_doesnt_matter() -> None:
    # The point at the origin has four neighbours at distance 1, three of them of class 1, and k asks for two.
    points = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [50, 0], [51, 0], [50, 1]], float)
    labels = torch.tensor([1, 1, 0, 1, 1, 0, 0, 0])
    accuracies = set()
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(8)
        accuracies.add(embedding.scores(points[order], labels[order], k=2)["knn_accuracy"])
    # Wrong is only the one point of class 0 among those of class 1.
    assert accuracies == {7 / 8}


def test_tied_points_have_no_more_votes_than_are_left() -> None:
    distances = torch.tensor([[math.inf, 0.5, 0.5, 2, 2, 2]])
    membership = torch.nn.functional.one_hot(torch.tensor([1, 1, 1, 0, 0, 0])).double()
    assert embedding._vote(distances, membership, k=3).tolist() == [1]
    assert embedding._vote(distances, membership, k=5).tolist() == [0]


def test_twins_are_nearest_however_far_from_the_origin() -> None:
    points = 1e6 + np.repeat(np.arange(20.0), 2)[:, None] * [1e-3, 0]
    assert embedding.scores(points, torch.arange(40) // 2 % 2, k=1)["knn_accuracy"] == 1


def test_equally_many_votes_go_to_the_lower_class() -> None:
    points = np.array([[0, 0], [1, 0], [2, 0]], float)
    # The two others have a vote each. Where these differ, class 0 wins: right for the two points of class 0 ...
    assert embedding.scores(points, torch.tensor([0, 0, 1]), k=2)["knn_accuracy"] == pytest.approx(2 / 3)
    # ... and wrong for the two points of class 1.
    assert embedding.scores(points, torch.tensor([0, 1, 1]), k=2)["knn_accuracy"] == 0


def test_silhouette_in_closed_form() -> None:
    # Two pairs: a = 2 within a pair; the distances to the other one are 10 and 12, or 8 and 10.
    points = np.array([[0, 0], [2, 0], [10, 0], [12, 0]], float)
    expected = ((11 - 2) / 11 + (9 - 2) / 9) / 2
    scores = embedding.scores(points, torch.tensor([5, 5, 2, 2]))
    assert scores["silhouette"] == pytest.approx(expected)
    # A class of one counts 0.
    alone = embedding.scores(np.vstack([points[:2], points[2:3]]), torch.tensor([0, 0, 1]))["silhouette"]
    assert alone == pytest.approx(((10 - 2) / 10 + (8 - 2) / 8) / 3)


def test_scores_agree_with_scikit_learn_on_digits(
    pixels: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, neighbours = pytest.importorskip("sklearn.metrics"), pytest.importorskip("sklearn.neighbors")
    points = embedding.project(pixels).points
    nearest = neighbours.NearestNeighbors(n_neighbors=10).fit(points).kneighbors(return_distance=False)
    votes = np.stack([np.bincount(row, minlength=10) for row in labels.numpy()[nearest]])
    expected = {
        "n": 400,
        "k": 10,
        "knn_accuracy": (votes.argmax(1) == labels.numpy()).mean(),
        "silhouette": pytest.approx(metrics.silhouette_score(points, labels)),
    }
    assert embedding.scores(points, labels) == expected
    monkeypatch.setattr(embedding, "DISTANCES", 3 * 400)  # three points at a time, and one at the end
    assert embedding.scores(points, labels) == expected


def test_scores_that_make_no_sense_are_left_out_and_say_why() -> None:
    points = np.random.default_rng(0).normal(size=(8, 2))
    halves = torch.arange(8) % 2
    none = {"n": 8, "k": 10, "knn_accuracy": None, "silhouette": None}
    assert embedding.scores(points, None) == {**none, "note": "the data has no labels"}
    assert embedding.scores(points, torch.full((8,), 3)) == {**none, "note": "fewer than 2 classes"}
    few = embedding.scores(points, halves)
    assert few["knn_accuracy"] is None
    assert few["silhouette"] is not None
    assert few["note"] == "8 points have no 10 neighbours each"
    assert embedding.scores(points, halves, k=8)["knn_accuracy"] is None
    assert embedding.scores(points, halves, k=7)["knn_accuracy"] is not None


def test_collapsed_codes_score_nothing() -> None:
    scores = embedding.scores(np.zeros((40, 2)), torch.arange(40) % 4)
    assert scores["silhouette"] == 0
    assert scores["knn_accuracy"] == 0  # of the others, one fewer is of a point's own class than of each other one


def test_pca_of_mnist_scores_what_it_is_known_to(mnist: Dataset) -> None:
    """PCA's 2-D codes of t10k are known to give 0.449, which is met with both components scaled to unit variance."""
    assert mnist.test.labels is not None
    points = embedding.project(mnist.test.images().flatten(1).float() / 255).points
    assert embedding.scores(points, mnist.test.labels)["knn_accuracy"] == pytest.approx(0.4462, abs=2e-4)
    scaled = points / points.std(0)
    assert embedding.scores(scaled, mnist.test.labels)["knn_accuracy"] == pytest.approx(0.4492, abs=2e-4)


# The picture

Plot = Callable[..., tuple[Image.Image, ElementTree.Element]]


@pytest.fixture
def plot(tmp_path: Path) -> Plot:
    """Draw a plot; gives the PNG and the SVG."""

    def draw(
        points: NDArray[np.floating], labels: Tensor | None = None, classes: list[str] = DIGITS, **options: object
    ) -> tuple[Image.Image, ElementTree.Element]:
        png, svg = tmp_path / "plot.png", tmp_path / "plot.svg"
        embedding.plot(points, labels, classes, png, svg, "a title", **options)  # type: ignore[arg-type]
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
    png, svg = plot(embedding.project(pixels).points, labels, axes=("x", "y"))
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
        assert f"fill: {embedding.COLOURS[number]}" in use.attrib["style"]


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
    groups = embedding._groups(labels, [f"c{number}" for number in range(45)], len(labels))
    assert len({(group.colour, group.marker) for group in groups}) == 41
    assert [group.name for group in groups[-2:]] == ["c40", "5 others"]
    assert "c7" not in {group.name for group in groups}
    assert np.sum([group.members for group in groups], axis=0).tolist() == [1] * len(labels)


def test_a_class_keeps_its_colour_where_others_are_missing() -> None:
    everything = embedding._groups(torch.arange(10), DIGITS, 10)
    some = embedding._groups(torch.tensor([3, 7]), DIGITS, 2)
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
    seen = [oklab(linear(colour) @ np.array(vision).T) for colour in embedding.COLOURS]
    # matplotlib's own ten colours come down to 0.7.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 8.5


def test_the_same_plot_has_the_same_bytes_and_no_date(tmp_path: Path, pixels: Tensor, labels: Tensor) -> None:
    points = embedding.project(pixels).points[:100]
    for name in "ab":
        embedding.plot(
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
    png, svg = plot(points, torch.tensor([0, 1, 1]), thumbnails=images)
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
    assert centre == pytest.approx((x * embedding.DPI / 72, y * embedding.DPI / 72), abs=1.5)


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
    kept = embedding.fitting(corners, size, (200, 150))
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
    placed = embedding.spread(centres, sizes, low, high)
    assert not overlaps(placed - sizes / 2, sizes)
    assert placed[15].tolist() == [900, 900]
    assert (placed - sizes / 2 >= low).all()
    assert np.abs(placed - centres).max() < 150
    same = embedding.spread(np.full((4, 2), 500.0), np.full((4, 2), 30.0), low, high)
    assert not overlaps(same - 15, np.full((4, 2), 30.0))


# Files


def test_csv_gives_rows_of_the_data_set_and_quotes_names(tmp_path: Path) -> None:
    points = np.array([[1 / 3, -2.0], [1e-20, 12345.678]], np.float32)
    embedding.write_csv(tmp_path / "a.csv", points, torch.tensor([1, 0]), ["cat", "dog, old"], torch.tensor([7, 9]))
    text = (tmp_path / "a.csv").read_bytes().decode()
    assert text == 'index,x,y,label,class\n7,0.333333343,-2,1,"dog, old"\n9,9.99999968e-21,12345.6777,0,cat\n'
    read = list(csv.DictReader(text.splitlines()))
    assert np.array_equal(np.array([[row["x"], row["y"]] for row in read], np.float32), points)
    embedding.write_csv(tmp_path / "b.csv", points[:1], None, [], torch.tensor([7]))
    assert (tmp_path / "b.csv").read_text() == "index,x,y,label,class\n7,0.333333343,-2,,\n"


def served(folder: Path, route: str) -> bytes:
    """What TensorBoard's own projector answers when `--logdir` is `folder`."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    provider = MultiplexerDataProvider(EventMultiplexer(), str(folder))
    plugin = ProjectorPlugin(TBContext(logdir=str(folder), data_provider=provider))
    apps = plugin.get_plugin_apps()
    answer = Client(apps[route]).get("/", query_string={"run": ".", "name": "latents"})
    assert answer.status_code == 200, answer.data
    return answer.data


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_shows_the_projector(tmp_path: Path, digits: Dataset, labels: Tensor) -> None:
    features = torch.randn(7, 3)
    classes = ["zero\tor\nO", *DIGITS[1:]]
    embedding.write_projector(
        tmp_path, features, labels[:7], classes, torch.arange(20, 27), digits.test.images(slice(7))
    )
    config = served(tmp_path, "/info").decode()
    assert '"tensorShape": [\n        7,\n        3\n      ]' in config
    assert '"singleImageDim": [\n          28,\n          28\n        ]' in config
    tensors = np.frombuffer(served(tmp_path, "/tensor"), np.float32).reshape(7, 3)
    assert tensors == pytest.approx(features.numpy(), rel=1e-5)
    lines = served(tmp_path, "/metadata").decode().splitlines()
    assert lines[0] == "index\tlabel\tclass"
    names = ["zero or O", *DIGITS[1:]]
    assert lines[1:] == [f"{20 + row}\t{label}\t{names[label]}" for row, label in enumerate(labels[:7].tolist())]
    assert served(tmp_path, "/sprite_image") == (tmp_path / "sprite.png").read_bytes()
    with Image.open(tmp_path / "sprite.png") as picture:
        sprite = np.asarray(picture)
    assert sprite.shape == (84, 84)  # 3 x 3 cells, though 7 images would do with fewer rows of another length
    assert (sprite[56:, :28] == digits.test.images(slice(7))[6, 0].numpy()).all()
    assert not sprite[56:, 28:].any()


@pytest.mark.filterwarnings("ignore")
def test_projector_without_labels_has_no_header_and_without_images_no_sprite(tmp_path: Path) -> None:
    embedding.write_projector(tmp_path, torch.randn(3, 2), None, [], torch.tensor([5, 6, 9]))
    assert served(tmp_path, "/metadata") == b"5\n6\n9\n"
    assert b"sprite" not in served(tmp_path, "/info")


def test_projector_of_wide_features_gets_their_components(tmp_path: Path, pixels: Tensor, labels: Tensor) -> None:
    embedding.write_projector(tmp_path, pixels, labels, DIGITS, torch.arange(400))
    components, _ = embedding.principal_components(pixels, 200)
    assert np.allclose(np.loadtxt(tmp_path / "tensors.tsv"), components.numpy(), rtol=1e-5, atol=1e-5)


def test_a_sprite_is_never_larger_than_tensorboard_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "SPRITE_SIDE", 100)
    images = torch.full((10, 3, 40, 60), 77, dtype=torch.uint8)
    picture, size = embedding.sprite(images)
    assert size == (25, 16)
    assert picture.size == (100, 64)
    assert (np.asarray(picture)[:32] == 77).all()
