"""How do codes of many dimensions look in two, how well are the classes apart there, and how is that shown and kept?"""

from __future__ import annotations

import csv
import io
import logging
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from genkit.errors import DataError, UsageError
from genkit.files import whole_file
from genkit.latent.images import save_png, to_pil, to_uint8

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger("genkit")

Method = Literal["pca", "tsne", "umap"]


# ---------------------------------------------------------------------------------------------------------------------
# To two dimensions
# ---------------------------------------------------------------------------------------------------------------------

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
        raise UsageError("--method tsne needs scikit-learn: pip install 'genkit[analysis]'") from error
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


# ---------------------------------------------------------------------------------------------------------------------
# How far the classes are apart
# ---------------------------------------------------------------------------------------------------------------------

#: Distances held in memory at once: 128 MiB of float64.
DISTANCES = 1 << 24


def scores(points: NDArray[np.floating], labels: Tensor | None, k: int = 10) -> dict[str, Any]:
    """How well the points (N, 2) tell the classes (int64 (N,)) apart.

    Returns:
        n: how many points.
        k: how many neighbours vote.
        knn_accuracy: share of the points whose class is that of most of their k nearest neighbours, themselves not
            counted. Points at the same distance as the k-th share the votes that are left, so the order of the points
            doesn't matter; classes with equally many votes go by their number, as in scikit-learn.
        silhouette: the mean over points of (b - a) / max(a, b), with a the mean distance to the point's own class and b
            that to the nearest other one (Rousseeuw 1987); 0 for a point that is alone in its class.
        note: why one of these is None; only where one is.
    """
    result: dict[str, Any] = {"n": len(points), "k": k, "knn_accuracy": None, "silhouette": None}
    if labels is None:
        return {**result, "note": "the data has no labels"}
    present, classes = labels.cpu().unique(return_inverse=True)
    if len(present) < 2:
        return {**result, "note": "fewer than 2 classes"}
    votes_right, silhouettes = [], []
    coordinates = torch.from_numpy(np.asarray(points, np.float64))
    membership = torch.nn.functional.one_hot(classes).double()
    for positions in torch.arange(len(points)).split(max(1, DISTANCES // len(points))):
        # The faster way through a matrix product makes distances of equal points unequal.
        distances = torch.cdist(coordinates[positions], coordinates, compute_mode="donot_use_mm_for_euclid_dist")
        silhouettes.append(_silhouettes(distances, classes[positions], membership))
        distances[torch.arange(len(positions)), positions] = math.inf
        if len(points) > k:
            votes_right.append(_vote(distances, membership, k) == classes[positions])
    result["silhouette"] = torch.cat(silhouettes).mean().item()
    if not votes_right:
        return {**result, "note": f"{len(points)} points have no {k} neighbours each"}
    result["knn_accuracy"] = torch.cat(votes_right).double().mean().item()
    return result


def _vote(distances: Tensor, membership: Tensor, k: int) -> Tensor:
    """The class (B,) that the k nearest of N points vote for, given distances (B, N) and membership (N, classes)."""
    values, nearest = distances.topk(k, largest=False)
    farthest = values[:, -1:]
    votes = membership[nearest].sum(1)
    # Rarely more points than k are as near as the k-th; only then do all of them have to be asked.
    crowded = (distances <= farthest).sum(1) > k
    if crowded.any():
        distances, farthest = distances[crowded], farthest[crowded]
        closer, tied = (distances < farthest).double(), (distances == farthest).double()
        share = (k - closer.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)
        votes[crowded] = (closer + share * tied) @ membership
    return votes.argmax(1)


def _silhouettes(distances: Tensor, own: Tensor, membership: Tensor) -> Tensor:
    """Each point's silhouette (B,), given its distances to all points (B, N), itself among them at 0."""
    sizes = membership.sum(0)
    sums = distances @ membership
    inside = sums.gather(1, own[:, None])[:, 0] / (sizes[own] - 1).clamp(min=1)
    outside = (sums / sizes).scatter(1, own[:, None], math.inf).amin(1)
    larger = torch.maximum(inside, outside)
    return torch.where((sizes[own] > 1) & (larger > 0), (outside - inside) / larger, 0.0)


# ---------------------------------------------------------------------------------------------------------------------
# The picture
# ---------------------------------------------------------------------------------------------------------------------

#: Paul Tol's "muted" colours, with his pure red for the rose, which red-green blind people take for the teal, and with
#: black. Further classes take the same colours with another marker.
COLOURS = (
    "#332288", "#dc050c", "#88ccee", "#117733", "#ddcc77", "#aa4499", "#44aa99", "#882255", "#999933", "#000000",
)  # fmt: skip
MARKERS = ("o", "^", "s", "D")
REST_COLOUR, REST_MARKER = "#c8c8c8", "."
#: Classes that have a style of their own; the rest, the rarest ones, share one.
STYLES = len(COLOURS) * len(MARKERS)
#: Up to so many classes are named in the plot itself.
NAMED_IN_PLOT = 20
#: From so many points on, an SVG holds them as one picture: as shapes they would be megabytes.
RASTER_POINTS = 5000
DPI = 200
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "genkit",
    "font.size": 9,
    "axes.linewidth": 0.6,
    "text.parse_math": False,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
}
#: The longer side of a thumbnail and its frame, in pixels of a picture 1600 wide.
THUMBNAIL, FRAME = 46, 3


class Group(NamedTuple):
    """The points that are drawn alike: one class, or all of them."""

    name: str
    colour: str
    marker: str
    members: NDArray[np.bool_]  # (N,)


def plot(
    points: NDArray[np.floating],
    labels: Tensor | None,
    classes: Sequence[str],
    path_png: Path,
    path_svg: Path | None,
    title: str,
    subtitle: str = "",
    axes: tuple[str, str] | None = None,
    thumbnails: Tensor | None = None,
    width: int = 1600,
) -> None:
    """Draw points (N, 2), coloured by class with a legend; the same bytes for the same arguments.

    Args:
        labels: int64 (N,), an index into `classes`, or None for points without a class.
        path_png, path_svg: the files to write; the second may be left out.
        axes: the names of x and y, or None to leave both axes without numbers.
        thumbnails: the points' images (N, C, H, W), of which as many are shown as fit without overlapping.
        width: in pixels of the PNG. Letters keep their size: in a narrow picture, they take more of it.

    Raises:
        GenkitError: when a file can't be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    groups = _groups(labels, classes, len(points))
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a person's own matplotlibrc doesn't change our pictures
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width / DPI, 0.8 * width / DPI), dpi=DPI, layout="constrained")
        plane = figure.add_subplot()
        _draw_points(plane, points, groups)
        _draw_surroundings(plane, title, subtitle, axes)
        if labels is not None:
            _draw_legend(plane, groups)
        # What follows is placed by the pixel, so everything has to be where it will stay.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        plane.set_autoscale_on(False)
        if thumbnails is not None:
            _draw_thumbnails(plane, points, groups, thumbnails)
        elif labels is not None and len(groups) <= NAMED_IN_PLOT:
            _name_groups(plane, points, groups)
        for path, metadata in ((path_png, {"Software": None}), (path_svg, {"Date": None, "Creator": None})):
            if path is not None:
                with whole_file(path) as temporary:
                    figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)


def _groups(labels: Tensor | None, classes: Sequence[str], count: int) -> list[Group]:
    """The classes that occur, in their order; beyond STYLES of them, the rarest in one group at the end."""
    if labels is None:
        return [Group("", COLOURS[0], MARKERS[0], np.ones(count, bool))]
    numbers = labels.cpu().numpy()
    present, sizes = np.unique(numbers, return_counts=True)
    styled = np.sort(present[np.argsort(-sizes, kind="stable")[:STYLES]])
    # Where there are few classes, a class has the same colour whichever classes occur beside it.
    ranks = styled if len(classes) <= STYLES else range(len(styled))
    groups = [
        Group(
            classes[number],
            COLOURS[rank % len(COLOURS)],
            MARKERS[rank // len(COLOURS)],
            numbers == number,
        )
        for rank, number in zip(ranks, styled, strict=True)
    ]
    if len(present) > len(styled):
        rest = ~np.isin(numbers, styled)
        groups.append(Group(f"{len(present) - len(styled)} others", REST_COLOUR, REST_MARKER, rest))
    return groups


def _draw_points(plane: Axes, points: NDArray[np.floating], groups: Sequence[Group]) -> None:
    count = len(points)
    area = float(np.clip(600 / math.sqrt(count), 4, 50))
    alpha = float(np.clip(25 / math.sqrt(count), 0.4, 0.9))
    # In random order, or the last class would hide the others; a marker's points have to be drawn together.
    order = np.random.default_rng(0).permutation(count)
    colours = np.empty(count, object)
    for group in groups:
        colours[group.members] = group.colour
    for marker in reversed(dict.fromkeys(group.marker for group in groups)):  # the rest below all
        members = np.any([group.members for group in groups if group.marker == marker], axis=0)
        chosen = order[members[order]]
        plane.scatter(
            points[chosen, 0],
            points[chosen, 1],
            s=area,
            c=colours[chosen].tolist(),
            marker=marker,
            alpha=alpha,
            linewidths=0,
            rasterized=count > RASTER_POINTS,
        )


def _draw_surroundings(plane: Axes, title: str, subtitle: str, axes: tuple[str, str] | None) -> None:
    """Titles above the axes, and their names."""
    plane.set_aspect("equal", adjustable="datalim")
    plane.spines[["top", "right"]].set_visible(False)
    if axes is None:
        plane.set(xticks=[], yticks=[])
        plane.spines[["left", "bottom"]].set_visible(False)
    else:
        plane.set(xlabel=axes[0], ylabel=axes[1])
    lines = textwrap.wrap(subtitle, 100)
    plane.set_title(textwrap.fill(title, 75), loc="left", fontsize=12, pad=10 + 12 * len(lines))
    note = plane.annotate(
        "\n".join(lines), (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", color="#52525b"
    )
    note.set_in_layout(False)  # it may stretch over the legend's column, above the legend


def _draw_legend(plane: Axes, groups: Sequence[Group]) -> None:
    """The classes, to the right of the axes, where no points are."""
    from matplotlib.lines import Line2D

    plane.legend(
        [Line2D([], [], color=group.colour, marker=group.marker, linestyle="none", markersize=6) for group in groups],
        [_short(group.name, 28) for group in groups],
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
        frameon=False,
        ncols=math.ceil(len(groups) / 30),
        handletextpad=0.3,
    )


def _name_groups(plane: Axes, points: NDArray[np.floating], groups: Sequence[Group]) -> None:
    """Write each class's name at the median of its points; where names would overlap, a line leads there."""
    medians = np.array([np.median(points[group.members], axis=0) for group in groups])
    names = [
        plane.annotate(
            _short(group.name, 20),
            median,
            ha="center",
            va="center",
            fontsize=10,
            bbox={"boxstyle": "round,pad=0.25", "fc": "white", "ec": group.colour, "lw": 1.2, "alpha": 0.85},
            zorder=5,
        )
        for group, median in zip(groups, medians.tolist(), strict=True)
    ]
    extents = [name.get_window_extent() for name in names]
    sizes = (
        np.array([(extent.width, extent.height) for extent in extents]) + 20
    )  # the boxes, which aren't in the extent
    page = plane.get_window_extent()
    places = spread(plane.transData.transform(medians), sizes, np.array(page.min), np.array(page.max))
    places = plane.transData.inverted().transform(places)
    for name, group, (x, y), (median_x, median_y) in zip(names, groups, places.tolist(), medians.tolist(), strict=True):
        name.set_position((x, y))
        plane.plot([x, median_x], [y, median_y], color=group.colour, linewidth=1.2, zorder=4)


def spread(
    centres: NDArray[np.floating], sizes: NDArray[np.floating], low: NDArray[np.floating], high: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Push rectangles with centres (N, 2) and sizes (N, 2) apart, within the page between corners `low` and `high`.

    Those that overlap with none stay in place. Where the page is too full for all of them, some still overlap.
    """
    centres = centres.copy()
    for _ in range(500):
        before = centres.copy()
        for first in range(len(centres)):
            for second in range(first):
                offset = centres[first] - centres[second]
                overlap = (sizes[first] + sizes[second]) / 2 - np.abs(offset)
                if (overlap > 0).all():
                    axis = int(overlap.argmin())
                    push = (overlap[axis] + 1) / 2 * (1 if offset[axis] >= 0 else -1)
                    centres[first, axis] += push
                    centres[second, axis] -= push
        centres = np.clip(centres, low + sizes / 2, high - sizes / 2)
        if (centres == before).all():
            break
    return centres


def _draw_thumbnails(plane: Axes, points: NDArray[np.floating], groups: Sequence[Group], images: Tensor) -> None:
    """Lay the images, framed in their classes' colours, over the points: one transparent picture of the axes' size."""
    from matplotlib.colors import to_rgb

    box = plane.get_window_extent()
    width, height = round(box.width), round(box.height)
    scale = (THUMBNAIL - 2 * FRAME) / max(images.shape[-2:])
    size = (max(1, round(images.shape[3] * scale)), max(1, round(images.shape[2] * scale)))
    outer = np.array(size) + 2 * FRAME
    # Pillow counts rows from the top, matplotlib from the bottom.
    corners = (plane.transData.transform(points) - box.min) * [1, -1] + [0, height] - outer / 2
    layer = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    for index in fitting(corners.round().astype(int), outer, (width, height)):
        colour = next(group.colour for group in groups if group.members[index])
        left, top = corners[index].round().astype(int).tolist()
        frame = tuple(round(255 * channel) for channel in to_rgb(colour))
        layer.paste((*frame, 255), (left, top, left + int(outer[0]), top + int(outer[1])))
        picture = to_pil(images[index]).convert("RGB").resize(size, Image.Resampling.LANCZOS)
        layer.paste(picture, (left + FRAME, top + FRAME))
    plane.imshow(
        np.asarray(layer), extent=(0, 1, 0, 1), transform=plane.transAxes, aspect="auto", interpolation="none", zorder=4
    )


def fitting(corners: NDArray[np.integer], size: NDArray[np.integer], page: tuple[int, int]) -> list[int]:
    """Which of N rectangles of one size (width, height), with top left corners (N, 2), lie on the page and apart.

    The first come first. Each one kept is filed in a lattice of cells as large as a rectangle, so that only the cells
    around a new one need to be searched.
    """
    kept: dict[tuple[int, int], int] = {}
    for index, corner in enumerate(corners):
        if (corner < 0).any() or (corner + size > page).any():
            continue
        column, row = (corner // size).tolist()
        around = [(column + x, row + y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
        near = [kept[cell] for cell in around if cell in kept]
        if all((np.abs(corners[other] - corner) >= size).any() for other in near):
            kept[column, row] = index
    return list(kept.values())


def _short(name: str, width: int) -> str:
    """A class's name on one line; before 3.10, matplotlib left one out that begins with an underscore."""
    name = textwrap.shorten(name, width, placeholder="…")
    return f"\u200b{name}" if name.startswith("_") else name


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------

#: TensorBoard refuses a sprite that is wider or higher.
SPRITE_SIDE = 8192
#: Of wider vectors TensorBoard itself takes only as many random projections.
PROJECTOR_COMPONENTS = 200


def write_csv(
    path: Path, points: NDArray[np.floating], labels: Tensor | None, classes: Sequence[str], rows: Tensor
) -> None:
    """Write `index,x,y,label,class`, one line a point; the last two are empty where there are no labels.

    Args:
        points: (N, 2).
        labels: int64 (N,), an index into `classes`, or None.
        rows: int64 (N,), each point's place in the data set.

    Raises:
        GenkitError: when the file can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "x", "y", "label", "class"])
    known = [("", "")] * len(points) if labels is None else [(label, classes[label]) for label in labels.tolist()]
    for index, (x, y), (label, name) in zip(rows.tolist(), points.tolist(), known, strict=True):
        writer.writerow([index, f"{x:.9g}", f"{y:.9g}", label, name])
    _write_text(path, text.getvalue())


def write_projector(
    folder: Path,
    features: Tensor,
    labels: Tensor | None,
    classes: Sequence[str],
    rows: Tensor,
    images: Tensor | None = None,
) -> None:
    """Export features (N, F) for TensorBoard's projector, which `tensorboard --logdir FOLDER` then shows.

    Features wider than 200 are brought to their first 200 principal components.

    Args:
        labels, classes, rows: as in `write_csv`.
        images: (N, C, H, W), shown in place of the points.

    Raises:
        GenkitError: when a file can't be written.
    """
    features = features.detach().cpu()
    if features.shape[1] > PROJECTOR_COMPONENTS:
        features, _ = principal_components(features, PROJECTOR_COMPONENTS)
    tensors = io.StringIO()
    np.savetxt(tensors, features.numpy(), fmt="%.6g", delimiter="\t")
    _write_text(folder / "tensors.tsv", tensors.getvalue())
    _write_text(folder / "metadata.tsv", _metadata(labels, classes, rows))
    config = 'embeddings {\n  tensor_name: "latents"\n  tensor_path: "tensors.tsv"\n  metadata_path: "metadata.tsv"\n'
    if images is not None:
        picture, (width, height) = sprite(images)
        save_png(folder / "sprite.png", picture)
        config += f'  sprite {{\n    image_path: "sprite.png"\n    single_image_dim: [{width}, {height}]\n  }}\n'
    # Last, because this is the file by which TensorBoard finds the others.
    _write_text(folder / "projector_config.pbtxt", config + "}\n")


def _metadata(labels: Tensor | None, classes: Sequence[str], rows: Tensor) -> str:
    """One line a point. TensorBoard takes the first line for a header if and only if there are several columns."""
    if labels is None:
        return "".join(f"{row}\n" for row in rows.tolist())
    # A tab or line break in a class's name would begin a new column or point.
    names = [" ".join(name.split()) for name in classes]
    lines = [f"{row}\t{label}\t{names[label]}\n" for row, label in zip(rows.tolist(), labels.tolist(), strict=True)]
    return "".join(["index\tlabel\tclass\n", *lines])


def sprite(images: Tensor) -> tuple[Image.Image, tuple[int, int]]:
    """All images (N, C, H, W) in one picture, row by row, and the (width, height) of a cell.

    There are as many rows as columns: TensorBoard mistakes one number for the other when it looks for an image's row.
    The images are shrunk where the picture would be larger than TensorBoard takes.
    """
    cells = math.ceil(math.sqrt(len(images)))
    height, width = images.shape[2:]
    scale = min(1.0, SPRITE_SIDE / cells / max(height, width))
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    if size == (width, height):
        # All at once, which takes a hundredth of the time.
        pixels = torch.zeros(cells * cells, *images.shape[1:], dtype=torch.uint8)
        pixels[: len(images)] = to_uint8(images)
        rows = pixels.view(cells, cells, -1, height, width).permute(2, 0, 3, 1, 4)
        return to_pil(rows.reshape(-1, cells * height, cells * width)), size
    picture = Image.new("L" if images.shape[1] == 1 else "RGB", (cells * size[0], cells * size[1]))
    for index, image in enumerate(images):
        place = (index % cells * size[0], index // cells * size[1])
        picture.paste(to_pil(image).resize(size, Image.Resampling.BOX), place)
    return picture, size


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
