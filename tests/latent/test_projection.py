from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from genkit.errors import DataError, UsageError
from genkit.latent import projection, scores


def test_two_features_stay_as_they_are_whatever_the_method() -> None:
    features = torch.tensor([[1.0, -2.0], [3.5, 0.25]])
    for method in ("pca", "tsne", "umap"):
        found = projection.project(features, method)  # type: ignore[arg-type]
        assert found.points.tolist() == features.tolist()
        assert found.method == "native"
    assert projection.project(features[:, :1]).points.tolist() == [[1.0, 0.0], [3.5, 0.0]]


def test_pca_turns_to_the_axes_of_greatest_variance() -> None:
    # Spread 3 along (0, 0.6, 0.8), 2 along x, 1 along (0, -0.8, 0.6), all three uncorrelated.
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))
    axes = torch.tensor([[0, 0.6, 0.8], [1, 0, 0], [0, -0.8, 0.6]])
    found = projection.project(corners * torch.tensor([3.0, 2.0, 1.0]) @ axes + 5)
    assert found.points == pytest.approx((corners * torch.tensor([3.0, 2.0, 1.0]))[:, :2].numpy(), abs=1e-6)
    assert found.axes == (
        "principal component 1 (64.3% of the variance)",
        "principal component 2 (28.6% of the variance)",
    )


def test_pca_agrees_with_scikit_learn_on_digits(pixels: Tensor) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    ours, shares = projection.principal_components(pixels, 5)
    reference = decomposition.PCA(5, svd_solver="full").fit(pixels.double().numpy())
    theirs = reference.transform(pixels.double().numpy())
    assert np.allclose(np.abs(ours.numpy()), np.abs(theirs), atol=1e-6)
    assert shares == pytest.approx(reference.explained_variance_ratio_.tolist())


def test_the_largest_loading_of_every_axis_is_positive(pixels: Tensor) -> None:
    components, _ = projection.principal_components(pixels, 30)
    loadings = (pixels - pixels.mean(0)).double().T @ components
    largest = loadings.gather(0, loadings.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


def test_wide_features_have_the_same_components(pixels: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, exact_shares = projection.principal_components(pixels, 2)
    before = torch.get_rng_state()
    monkeypatch.setattr(projection, "EXACT_WIDTH", 100)
    wide, shares = projection.principal_components(pixels, 2)
    assert torch.allclose(wide, exact, atol=1e-3)
    assert shares == pytest.approx(exact_shares, rel=1e-4)
    assert projection.principal_components(pixels, 2)[0].equal(wide)
    assert torch.get_rng_state().equal(before)


def test_axes_lead_from_features_to_points_and_back(pixels: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (2048, 100):
        monkeypatch.setattr(projection, "EXACT_WIDTH", width)
        found = projection.principal_axes(pixels, 5)
        mean, axes = found.mean.double(), found.axes.double()
        assert torch.allclose(axes.T @ axes, torch.eye(5).double(), atol=1e-5)
        assert torch.allclose((pixels - mean) @ axes, found.coordinates, atol=1e-4)
        back = mean + found.coordinates @ axes.T
        rest = (pixels - back).square().sum() / (pixels - mean).square().sum()
        assert rest.item() == pytest.approx(1 - sum(found.shares), abs=1e-4)
        assert projection.project(pixels).principal is not None
    assert projection.project(pixels[:, :2]).principal is None


def test_fewer_images_than_components_are_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.eye(3, 300)
    for width in (2048, 100):
        monkeypatch.setattr(projection, "EXACT_WIDTH", width)
        components, shares = projection.principal_components(features[:1], 2)
        assert components.tolist() == [[0, 0]]
        assert projection.principal_axes(features[:1], 2).axes.shape == (300, 2)
        assert shares == [0, 0]
        # Three corners of a triangle with sides √2 keep their distances in two dimensions.
        assert torch.pdist(projection.principal_components(features, 2)[0]).tolist() == pytest.approx(
            [math.sqrt(2)] * 3
        )


def test_tsne_separates_digits_better_than_pca_and_the_same_way_each_time(pixels: Tensor, labels: Tensor) -> None:
    pytest.importorskip("sklearn")
    found = projection.project(pixels, "tsne", seed=1)
    assert found.axes is None
    assert found.name == "t-SNE"
    separated = scores.separation(found.points, labels)["knn_accuracy"]
    assert separated > scores.separation(projection.project(pixels).points, labels)["knn_accuracy"] + 0.2
    assert np.array_equal(projection.project(pixels, "tsne", seed=1).points, found.points)


def test_tsne_of_few_or_equal_points_is_finite() -> None:
    pytest.importorskip("sklearn")
    assert np.isfinite(projection.project(torch.randn(4, 5), "tsne").points).all()
    assert np.isfinite(projection.project(torch.ones(12, 5), "tsne").points).all()


@pytest.mark.filterwarnings("ignore")  # umap's own
def test_umap_is_reproducible(pixels: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    # Interpreted: to compile takes longer than to lay out so few points.
    monkeypatch.setattr(pytest.importorskip("numba").config, "DISABLE_JIT", True)
    pytest.importorskip("umap")
    found = projection.project(pixels[:6], "umap", seed=3)
    assert found.points.shape == (6, 2)
    assert found.method == "umap"
    assert np.array_equal(projection.project(pixels[:6], "umap", seed=3).points, found.points)
    assert projection.project(pixels[:4], "umap").points.shape == (4, 2)


@pytest.mark.parametrize(
    ("method", "package", "command"),
    [("tsne", "sklearn.manifold", r"pip install scikit-learn"), ("umap", "umap", "pip install umap-learn")],
)
def test_a_missing_package_names_its_command(
    method: projection.Method, package: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=f"--method {method} needs .*: {command}"):
        projection.project(torch.randn(9, 5), method)


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_too_few_points_for_neighbourhoods_are_refused(method: projection.Method) -> None:
    with pytest.raises(UsageError, match="needs 4 images or more, not 3; use --method pca"):
        projection.project(torch.randn(3, 5), method)


def test_codes_that_cant_be_shown_are_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        projection.project(torch.zeros(0, 5))
    with pytest.raises(DataError, match="aren't finite"):
        projection.project(torch.tensor([[0.0, math.nan]]))
