"""`genkit encode [RUN]`: the codes of images, with all that is known of each, as one file for other programs."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import click

from genkit.cli.command import Command, PathType
from genkit.cli.output import emit, json_option
from genkit.cli.shared import (
    DEVICE_HELP,
    RUN_HELP,
    checkpoint_option,
    load_run,
    loading,
    looked_up,
    require_free,
    results,
)
from genkit.data.choice import ALL, CHOICES
from genkit.errors import UsageError

logger = logging.getLogger("genkit")

#: The kinds of files, by their endings.
ENDINGS = (".npz", ".csv", ".parquet")


@click.command(cls=Command, epilog=RUN_HELP)
@click.argument("run", required=False)
@checkpoint_option
@click.option("--dataset", metavar="NAME|PATH", help="Other images than those that the run was trained on.")
@click.option("--split", type=click.Choice(CHOICES), default=ALL, show_default=True, help="Of the images.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N images, evenly spaced.  [default: all]")
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@click.option(
    "--out",
    type=PathType(),
    metavar="FILE",
    help="FILE.npz, FILE.csv, or FILE.parquet (which needs pyarrow).  [default: a new .npz in the run]",
)
@json_option
def encode(
    run: str | None,
    dataset: str | None,
    split: str,
    limit: int | None,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write the codes of images into one file, with what is known of each: file, row, split, label, attributes.

    A code of a VAE is the mean of its distribution; each depends on its own image alone. The images are read some at a
    time, however many there are. In an .npz, `codes` (N, latent dim) stand beside `rows`, `splits`, `files`, `labels`
    with `classes`, and `attributes` with `attribute_names`, as far as there are any; a table has a line an image, whose
    code are the columns z0, z1, … Prints the file.
    """
    sought = looked_up(run, dataset)
    if out is not None:
        if out.is_dir():
            raise UsageError(f"--out {out}: is a folder; give the name of a file in it, {out / 'codes.npz'}")
        require_writable(out)
        require_free(out)
    with loading():
        from genkit.contract import ability
        from genkit.data import choice
        from genkit.keep import rundir
        from genkit.latent import codes

    opened = load_run(sought, device)
    if not ability.encodes(opened.model):
        other = (
            "; genkit sample --reconstruct searches for the codes of some" if ability.generates(opened.model) else ""
        )
        raise UsageError(f"{opened.name} is a {opened.kind}: it {ability.ENCODES.lacks}{other}")
    images, everything, which = opened.chosen(dataset, split)
    rows, splits = choice.origins(images, which)
    positions = everything.spread(len(everything) if limit is None else limit)
    chosen, rows = everything.take(positions), rows[positions]
    files = choice.files_of(opened.data_options(dataset))
    known = codes.Known(
        rows.numpy(),
        [splits[position] for position in positions.tolist()],
        [files[row] for row in rows.tolist()] if files else [],
        None if chosen.labels is None else chosen.labels.numpy(),
        None if chosen.attributes is None else chosen.attributes.numpy(),
        images.classes,
        images.attributes,
    )
    path = out or rundir.unused(results(opened, None, "codes") / f"{which}.npz")
    width = codes.write(path, codes.encoded(opened.model, chosen, opened.device), known)
    logger.info("%s codes of %d numbers", f"{len(chosen):,}", width)
    result = {
        "checkpoint": opened.checkpoint.path,
        "dataset": images.name,
        "split": which,
        "n": len(chosen),
        "latent_dim": width,
        "files": {"codes": path},
    }
    emit(result, [str(path)], as_json)


def require_writable(path: Path) -> None:
    """Refuse the name of a file that can't be written, before anything is encoded.

    Raises:
        UsageError
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"--out {path}: codes are written as .npz, .csv or .parquet; give a name that ends so")
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UsageError(f"--out {path}: Parquet needs pyarrow; pip install pyarrow, or give a name that ends in .csv")
