"""`genkit embed [RUN]`: the test images' codes in two dimensions, as a plot, a table and a TensorBoard projector."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genkit.cli.command import Command, PathType
from genkit.cli.output import emit, json_option
from genkit.cli.shared import (
    DEVICE_HELP,
    RUN_HELP,
    SPLIT_HELP,
    checkpoint_option,
    load_run,
    loading,
    looked_up,
    require_folder,
    results,
)
from genkit.data.choice import CHOICES
from genkit.errors import UsageError
from genkit.wording import counted

if TYPE_CHECKING:
    from genkit.data.dataset import Split
    from genkit.keep.opened import Opened

logger = logging.getLogger("genkit")


@click.command(cls=Command, epilog=RUN_HELP)
@click.argument("run", required=False)
@checkpoint_option
@click.option(
    "--method",
    type=click.Choice(["pca", "tsne", "umap"]),
    default="pca",
    show_default=True,
    help="How codes become 2-D points; a 2-D latent space is shown as it is.",
)
@click.option("--split", type=click.Choice(CHOICES), help=SPLIT_HELP)
@click.option(
    "--limit", type=click.IntRange(3), default=10_000, show_default=True, help="Use at most N images, evenly spaced."
)
@click.option("--color-by", metavar="ATTRIBUTE", help="Colour by this attribute instead of by class.")
@click.option("--thumbnails", is_flag=True, help="Draw the images themselves where they don't overlap.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of t-SNE and UMAP.")
@click.option("--dataset", metavar="NAME|PATH", help="Other images than those that the run was trained on.")
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@click.option("--out", type=PathType(), metavar="FOLDER", help="Folder for the files.  [default: in the run]")
@json_option
def embed(
    run: str | None,
    method: str,
    split: str | None,
    limit: int,
    color_by: str | None,
    thumbnails: bool,
    seed: int,
    dataset: str | None,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Plot a model's latent space in two dimensions, and say how well its classes keep apart there.

    Writes the plot as PNG and SVG, the points as CSV, and the codes for TensorBoard's projector. A GAN, which has no
    encoder, is shown by its discriminator's last features.
    """
    require_folder(out, "a plot, a table and a folder for TensorBoard")
    sought = looked_up(run, dataset)
    with loading():
        from genkit.data import choice
        from genkit.keep import rundir
        from genkit.latent import projection, projector, scatter, scores
        from genkit.step import passes

    opened = load_run(sought, device)
    images, everything, split = opened.chosen(dataset, split)
    rows = everything.take(everything.spread(limit))
    require_room(opened, rows)
    labels, classes = scatter.coloring(images, rows, color_by)
    features = passes.features_of_split(opened.model, rows, opened.device)
    found = projection.project(features, method, seed)  # type: ignore[arg-type]  # click has checked the choice
    if found.method == "native":
        logger.info("these codes have two dimensions already and are shown as they are, whatever the --method")
    separation = scores.separation(found.points, labels, rows.fingerprinted().fingerprints)
    told = scatter.told_of_color(opened.model, rows, color_by)
    if told:
        logger.info("%s", told)

    stem = rundir.unused(results(opened, out, "embeddings") / f"{split}-{found.method}.png").with_suffix("")
    files = {
        "png": stem.with_suffix(".png"),
        "svg": stem.with_suffix(".svg"),
        "csv": stem.with_suffix(".csv"),
        "projector": stem.with_name(f"{stem.name}-projector"),
    }
    with ThreadPoolExecutor(1) as aside:
        # The projector's sheet of images is encoded while the plot is drawn.
        written = aside.submit(
            projector.write_projector, files["projector"], features, labels, classes, rows.rows, rows
        )
        scatter.plot(
            found.points,
            labels,
            classes,
            files["png"],
            files["svg"],
            title=f"{opened.name}: {counted(len(rows), f'{choice.of_split(split)}image')} of {images.name}",
            subtitle="; ".join(filter(None, [in_words(separation), told])),
            axes=found.axes,
            thumbnails=rows if thumbnails else None,
        )
        projector.write_csv(files["csv"], found.points, labels, classes, rows.rows)
        written.result()
    logger.info("open the codes in TensorBoard's projector with: tensorboard --logdir %s", files["projector"])
    result = {
        "checkpoint": opened.checkpoint.path,
        "method": found.method,
        "split": split,
        **separation,
        "files": files,
    }
    emit(result, [*map(str, files.values()), in_words(separation)], as_json)


def require_room(opened: Opened, rows: Split) -> None:
    """Refuse more features than there is room for, by what one image's are.

    Raises:
        UsageError
    """
    from genkit.latent.bounds import MOST_NUMBERS
    from genkit.step import passes

    width = passes.features_of_split(opened.model, rows.take(slice(0, 1)), opened.device).shape[1]
    if width * len(rows) > MOST_NUMBERS:
        raise UsageError(
            f"the features of {len(rows):,} images, {width:,} numbers each, would take "
            f"{4 * width * len(rows) / 1e9:.1f} GB, and at most {4 * MOST_NUMBERS / 1e9:.1f} GB are used; "
            f"give --limit {MOST_NUMBERS // width}"
        )


def in_words(scores: dict[str, Any]) -> str:
    """The scores of the 2-D points as one line: what is known, and why something isn't."""
    parts = []
    if scores["knn_accuracy"] is not None:
        parts.append(f"{scores['k']}-NN accuracy {scores['knn_accuracy']:.3f} (leave one out)")
    if scores["silhouette"] is not None:
        parts.append(f"silhouette {scores['silhouette']:.3f}")
    if "note" in scores:
        parts.append(f"no score: {scores['note']}")
    left_out = f" (and {scores['copies']:,} copies of the same images, left out)" if scores["copies"] else ""
    return f"{', '.join(parts)}, of {scores['n']:,} points in 2-D{left_out}"
