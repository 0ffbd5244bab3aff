"""Points in a plane as a picture: coloured by class with a legend, or as thumbnails of their images."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from genkit.contract import Model
from genkit.data.dataset import Dataset, Split
from genkit.errors import UsageError
from genkit.files import whole_file
from genkit.latent.images import to_pil

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


def coloring(images: Dataset, rows: Split, attribute: str | None = None) -> tuple[Tensor | None, tuple[str, ...]]:
    """What to colour the points of some rows by, int64 (N,), with its names.

    That is `attribute`, else the class, else the first attribute, else nothing.

    Raises:
        UsageError: when there is no such attribute.
    """
    if attribute is None and rows.labels is not None:
        return rows.labels, images.classes
    if attribute is None and (not images.attributes or rows.attributes is None):
        return None, ()
    name = images.attributes[0] if attribute is None else attribute
    if name not in images.attributes or rows.attributes is None:
        offer = ", ".join(images.attributes) or "none"
        raise UsageError(f"--color-by: {images.name} has no attribute '{name}' (it has {offer})")
    return rows.attributes[:, images.attributes.index(name)].long(), (f"not {name}", name)


def told_of_color(model: Model, rows: Split, attribute: str | None = None) -> str | None:
    """What is to be said of points that are coloured (`coloring`) by what the model is told of each image, if they are.

    Their codes need not hold it: how far the colours are apart says nothing of what the model sees.
    """
    by_class = attribute is None and rows.labels is not None
    kind = "class" if by_class else None if rows.attributes is None else "attributes"
    if model.condition is None or model.condition.kind != kind:
        return None
    what = "class" if by_class else "attributes"
    return f"the model is told each image's {what}, so how far the colours are apart says nothing of what it sees"


def plot(
    points: NDArray[np.floating],
    labels: Tensor | None,
    classes: Sequence[str],
    path_png: Path,
    path_svg: Path | None,
    title: str,
    subtitle: str = "",
    axes: tuple[str, str] | None = None,
    thumbnails: Split | None = None,
    width: int = 1600,
) -> None:
    """Draw points (N, 2), coloured by class with a legend; the same bytes for the same arguments.

    Args:
        labels: int64 (N,), an index into `classes`, or None for points without a class.
        path_png, path_svg: the files to write; the second may be left out.
        axes: the names of x and y, or None to leave both axes without numbers.
        thumbnails: the points' images, of which as many are shown as fit without overlapping.
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


def _draw_thumbnails(plane: Axes, points: NDArray[np.floating], groups: Sequence[Group], images: Split) -> None:
    """Lay the images, framed in their classes' colours, over the points: one transparent picture of the axes' size."""
    from matplotlib.colors import to_rgb

    box = plane.get_window_extent()
    width, height = round(box.width), round(box.height)
    sides = images.storage.shape[2:]
    scale = (THUMBNAIL - 2 * FRAME) / max(sides)
    size = (max(1, round(sides[1] * scale)), max(1, round(sides[0] * scale)))
    outer = np.array(size) + 2 * FRAME
    # Pillow counts rows from the top, matplotlib from the bottom.
    corners = (plane.transData.transform(points) - box.min) * [1, -1] + [0, height] - outer / 2
    layer = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    for index in fitting(corners.round().astype(int), outer, (width, height)):
        colour = next(group.colour for group in groups if group.members[index])
        left, top = corners[index].round().astype(int).tolist()
        frame = tuple(round(255 * channel) for channel in to_rgb(colour))
        layer.paste((*frame, 255), (left, top, left + int(outer[0]), top + int(outer[1])))
        picture = (
            to_pil(images.images(slice(index, index + 1))[0]).convert("RGB").resize(size, Image.Resampling.LANCZOS)
        )
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
