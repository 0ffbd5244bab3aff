"""Codes of many dimensions in two: by PCA, t-SNE or UMAP."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genkit.errors import DataError, UsageError

log = logging.getLogger("genkit")

Method = Literal["pca", "tsne", "umap"]

#: t-SNE and UMAP compare distances between images. They see this many principal components: what lies beyond is mostly
#: noise, and costs time.
NEIGHBOUR_COMPONENTS = 50
#: Fewer points than this have no neighbourhoods to keep.
FEWEST_POINTS = 4
#: Up to this width the covariance is decomposed exactly; a wider one by subspace iteration.
EXACT_WIDTH = 2048


class Projection(NamedTuple):
    """Features in two dimensions.

    Attributes:
        points: float64 (N, 2).
        method: `pca`, `tsne`, `umap`, or `native` where the features had two dimensions or one to begin with.
        axes: the names of x and y, or None where positions along an axis mean nothing.
        principal: of `pca`, the axes themselves: the way from features to points and back.
    """

    points: NDArray[np.float64]
    method: str
    axes: tuple[str, str] | None
    principal: PrincipalAxes | None = None

    @property
    def name(self) -> str:
        """The method as it is written in a text: `t-SNE`."""
        return {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP", "native": "2-D codes"}[self.method]


def project(features: Tensor, method: Method = "pca", seed: int = 0) -> Projection:
    """Bring features (N, F) to two dimensions; the same features and seed give the same points.

    Two features stay as they are, and one becomes x beside a y of zero, whatever the method.

    Raises:
        DataError: when there are no features, or some aren't finite.
        UsageError: when the method's package isn't installed, or there are too few points for it.
    """
    features = features.detach().cpu()
    count, width = features.shape
    if count == 0:
        raise DataError("there are no images to embed; use a data set whose test split isn't empty")
    if not features.isfinite().all():
        raise DataError("some codes aren't finite numbers: the model's training diverged; use an earlier checkpoint")
    if width <= 2:
        padding = torch.zeros(count, 2 - width)
        axes = ("latent 1", "latent 2" if width == 2 else "")
        return Projection(torch.cat([features, padding], 1).double().numpy(), "native", axes)
    if method == "pca":
        found = principal_axes(features, 2, seed)
        return Projection(found.coordinates.numpy(), "pca", axis_names(found), found)
    if count < FEWEST_POINTS:
        raise UsageError(f"--method {method} needs {FEWEST_POINTS} images or more, not {count}; use --method pca")
    components, _ = principal_components(features, NEIGHBOUR_COMPONENTS, seed)
    points = (_tsne if method == "tsne" else _umap)(components.numpy(), seed)
    return Projection(points.astype(np.float64), method, None)


class PrincipalAxes(NamedTuple):
    """The directions in which features vary most.

    Attributes:
        mean: (F,), of the features.
        axes: (F, count), columns of unit length, the first of the greatest variance; zero where there are fewer points
            than axes. float64, or float32 where the features are wide.
        coordinates: float64 (N, count), where the features lie along them.
        shares: each axis' share of the variance.
    """

    mean: Tensor
    axes: Tensor
    coordinates: Tensor
    shares: list[float]


def principal_axes(features: Tensor, count: int, seed: int = 0) -> PrincipalAxes:
    """The first min(count, F) principal axes of features (N, F).

    An axis points to where its largest loading is positive, so signs don't depend on the machine.
    """
    wide = features.shape[1] > EXACT_WIDTH
    centred = features.float() if wide else features.double()
    mean = centred.mean(0)
    centred = centred - mean
    count = min(count, features.shape[1])
    if wide:
        axes = _leading_axes(centred, count, seed)
    else:
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -count:].flip(1)
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    coordinates = (centred @ axes).double()
    total = centred.square().sum(dtype=torch.float64).item()
    shares = [energy / total if total else 0.0 for energy in coordinates.square().sum(0).tolist()]
    missing = count - axes.shape[1]  # fewer points than axes that were asked for
    axes, coordinates = (torch.nn.functional.pad(each, (0, missing)) for each in (axes, coordinates))
    return PrincipalAxes(mean, axes, coordinates, shares + [0.0] * missing)


def axis_names(principal: PrincipalAxes) -> tuple[str, str]:
    """The first two axes, with their shares of the variance."""
    shares = enumerate(principal.shares[:2], 1)
    first, second = (f"principal component {axis} ({share:.1%} of the variance)" for axis, share in shares)
    return first, second


def principal_components(features: Tensor, count: int, seed: int = 0) -> tuple[Tensor, list[float]]:
    """The coordinates of features (N, F) along their `principal_axes`.

    Returns:
        float64 (N, min(count, F)), and each axis' share of the variance.
    """
    found = principal_axes(features, count, seed)
    return found.coordinates, found.shares


def _leading_axes(centred: Tensor, count: int, seed: int) -> Tensor:
    """The first principal axes of a wide (N, F), as columns (F, at most `count`: never more than N)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # More directions and rounds than are usual: neighbouring axes of images differ little in variance, and with
        # the defaults the second one comes out wrong.
        width = min(count + 30, *centred.shape)
        return torch.svd_lowrank(centred, q=width, niter=20)[2][:, :count]


def _tsne(components: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    """t-SNE (N, 2) that starts from the first two principal components, which keeps the classes' arrangement."""
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits  # comes with scikit-learn
    except ImportError as error:
        raise UsageError("--method tsne needs scikit-learn: pip install scikit-learn") from error
    count = len(components)
    start = components[:, :2] / max(components[:, 0].std(), 1e-12) * 1e-4
    tsne = TSNE(init=start.astype(np.float32), perplexity=min(30, (count - 1) / 3), random_state=seed)
    log.info("t-SNE of %d points; ten thousand take minutes", count)
    # Threads add up their shares in the order in which they happen to finish, and t-SNE magnifies the difference.
    with threadpool_limits(1):
        return tsne.fit_transform(components)


def _umap(components: NDArray[np.float64], seed: int) -> NDArray[np.float32]:
    try:
        from umap import UMAP
    except ImportError as error:
        raise UsageError("--method umap needs umap-learn: pip install umap-learn") from error
    return UMAP(n_neighbors=min(15, len(components) - 1), random_state=seed, n_jobs=1).fit_transform(components)
