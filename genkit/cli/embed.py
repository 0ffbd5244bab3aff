"""`genkit embed [RUN]`: the test images' codes in two dimensions, as a plot, a table and a TensorBoard projector."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from genkit.cli.output import emit, json_option
from genkit.cli.shared import DEVICE_HELP, RUN_HELP, load_run

logger = logging.getLogger("genkit")


@click.command(epilog=RUN_HELP)
@click.argument("run", required=False)
@click.option(
    "--method",
    type=click.Choice(["pca", "tsne", "umap"]),
    default="pca",
    show_default=True,
    help="How codes become 2-D points; a 2-D latent space is shown as it is.",
)
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True, help="Images.")
@click.option("--limit", type=click.IntRange(3), default=10_000, show_default=True, help="Use the first N images.")
@click.option("--color-by", metavar="ATTRIBUTE", help="Colour by this attribute instead of by class.")
@click.option("--thumbnails", is_flag=True, help="Draw the images themselves where they don't overlap.")
@click.option("--projector", is_flag=True, help="Also write the full codes for TensorBoard's projector.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of t-SNE and UMAP.")
@click.option("--dataset", metavar="NAME|PATH", help="Other images than those that the run was trained on.")
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the files. [default: the run's]")
@json_option
def embed(
    run: str | None,
    method: str,
    split: str,
    limit: int,
    color_by: str | None,
    thumbnails: bool,
    projector: bool,
    seed: int,
    dataset: str | None,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Plot a model's latent space in two dimensions, and say how well its classes keep apart there.

    Writes the plot as PNG and SVG and the points as CSV. A model without an encoder is shown by its discriminator's
    last features.
    """
    from genkit import embedding, evaluate, rundir

    opened = load_run(run, device, out)
    images = opened.dataset(dataset)
    rows = images.splits()[split].take(slice(limit))
    labels, classes = opened.coloring(images, rows, color_by)
    features = evaluate.features_of_split(opened.model, rows, opened.device)
    points = embedding.project(features, method, seed)
    scores = embedding.scores(points, labels)

    used = "native" if features.shape[1] == 2 else method
    stem = rundir.unused(opened.folder("embeddings") / f"{split}-{used}.png").with_suffix("")
    title = f"{opened.name}: {len(rows):,} {split} images of {images.name}"
    paths = embedding.write(stem, points, rows, labels, classes, title=title, method=used, thumbnails=thumbnails)
    if projector:
        paths["projector"] = embedding.write_projector(stem.with_name(f"{stem.name}-projector"), features, labels, classes, rows.images())
    result = {"checkpoint": opened.checkpoint.path, "method": used, "split": split, "n": len(rows), "scores": scores, "files": paths}
    emit(result, [*map(str, paths.values()), *embedding.score_lines(scores)], as_json)
