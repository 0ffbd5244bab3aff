"""`genkit score [RUN]`: how unlike its training images each of some images is to a model, and which are flagged."""

from __future__ import annotations

import csv
import importlib.util
import io
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
    require_free,
)
from genkit.data.choice import CHOICES, of_split
from genkit.errors import DataError, GenkitError, UsageError
from genkit.wording import counted, nearest

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from genkit.data.dataset import Dataset, Split
    from genkit.evaluate.anomaly import Area, Scores
    from genkit.keep.opened import Opened

logger = logging.getLogger("genkit")

#: The kinds of files, by their endings, and what is written into a folder.
ENDINGS = (".csv", ".npz", ".parquet")
IN_FOLDER = "scores.csv"
#: Images that the summary names, and those in a row of the picture.
NAMED, SHOWN = 5, 12


@click.command(cls=Command, epilog=RUN_HELP)
@click.argument("run", required=False)
@checkpoint_option
@click.option(
    "--dataset",
    metavar="NAME|PATH",
    help="Other images than those that the run was trained on.  [default: its own, of all their classes]",
)
@click.option("--split", type=click.Choice(CHOICES), help=SPLIT_HELP)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N images, evenly spaced.  [default: all]")
@click.option(
    "--by",
    metavar="SCORE",
    default="combined",
    show_default=True,
    help="What images are flagged and ordered by: squared_error, dissimilarity, neg_elbo, code_distance, neighbours; "
    "or combined, which is of the first two.",
)
@click.option(
    "--quantile",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="X",
    default=0.99,
    show_default=True,
    help="Flag what scores above this share of the validation images.",
)
@click.option(
    "--normal",
    metavar="NAME,N-N,…",
    help="The classes that are no anomalies, as --only-classes of genkit train takes them.  [default: those that the "
    "run was trained on]",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", default=0, show_default=True, help="Of all noise."
)
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@click.option(
    "--out",
    type=PathType(),
    metavar="FILE|FOLDER",
    help="FILE.csv, FILE.npz or FILE.parquet (which needs pyarrow), with a picture FILE.png beside it; of a folder, "
    f"{IN_FOLDER} in it.  [default: CSV on stdout, where that is no terminal]",
)
@json_option
def score(
    run: str | None,
    dataset: str | None,
    split: str | None,
    limit: int | None,
    by: str,
    quantile: float,
    normal: str | None,
    seed: int,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Tell which images are unlike those that a model was trained on: a line an image, as CSV.

    Each score is higher for odder images: the squared error of the reconstruction; its dissimilarity, 1 − SSIM; of a
    VAE, the −ELBO; the code's distance from the training images' codes, as a whole and from the nearest ones. An image
    is flagged whose score is above nearly all validation images' (--quantile). Where some of the images' classes are
    anomalies, the AUROC says how well they are told apart, with its standard error and PCA's beside it.

    \b
    genkit train ae --dataset mnist --only-classes 7     on one class alone
    genkit score                                         how well are the others told from it?
    genkit score --dataset ~/scans --out scores.csv      what is odd in a folder, and a picture of it
    """
    sought = looked_up(run, dataset)
    files = None if out is None else targets(out)
    with loading():
        from genkit.data import choice
        from genkit.evaluate import anomaly

    opened = load_run(sought, device)
    chosen_name = chosen_score(by, opened)
    own = opened.dataset()
    given = scored(opened, own, dataset, split)
    everything = choice.taken(given.dataset, given.split)
    normal_labels = normal_of(normal, given.dataset, everything, own)
    rows, splits = choice.origins(given.dataset, given.split)
    positions = everything.spread(len(everything) if limit is None else limit)
    images, rows = everything.take(positions), rows[positions]
    found, usual = anomaly.measured(opened.model, own, images, opened.device, seed)
    values, known = found.columns[chosen_name], usual.columns[chosen_name]
    limit_value = anomaly.threshold(known, quantile)
    flagged = values > limit_value
    files_of = choice.files_of(opened.data_options(dataset)) if dataset is not None else choice.files_of(given.options)
    result = Result(
        opened=opened,
        name=chosen_name,
        dataset=given.dataset,
        split=given.split,
        images=images,
        rows=rows.tolist(),
        splits=[splits[position] for position in positions.tolist()],
        files=[files_of[row] for row in rows.tolist()] if files_of else [],
        scores=found,
        threshold=limit_value,
        quantile=quantile,
        usual=len(known),
        flagged=flagged,
    )
    areas: dict[str, Area] = {}
    components = 0
    if normal_labels is not None and images.labels is not None:
        areas, components = areas_of(result, own, normal_labels, seed)
    said = summary(result, areas, components, normal_labels)
    report = as_result(result, areas, components, normal_labels)
    if files is not None:
        write(files, result)
        report["files"] = {"scores": files.table, "picture": files.picture}
        for line in said:
            logger.info("%s", line)
        emit(report, [str(files.table), str(files.picture)], as_json)
    elif as_json or sys.stdout.isatty():
        emit(report, said, as_json)
    else:
        for line in said:
            logger.info("%s", line)
        text = io.StringIO()
        write_csv(text, table(result))
        click.echo(text.getvalue(), nl=False)


class Targets(NamedTuple):
    """What --out names."""

    table: Path
    picture: Path


def targets(out: Path) -> Targets:
    """Where the table and the picture go.

    Raises:
        UsageError: where it is the name of a file of another kind, or of one that can't be written here.
        GenkitError: where something lies there.
    """
    file = out / IN_FOLDER if out.is_dir() or not out.suffix else out
    ending = file.suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"--out {out}: scores are written as .csv, .npz or .parquet; give a name that ends so")
    if ending == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UsageError(f"--out {out}: Parquet needs pyarrow; pip install pyarrow, or give a name that ends in .csv")
    found = Targets(file, file.with_suffix(".png"))
    for each in found:
        require_free(each)
    return found


def chosen_score(by: str, opened: Opened) -> str:
    """The score that a person means.

    Raises:
        UsageError: where there is none of this name, or the model doesn't allow it.
    """
    from genkit.evaluate import anomaly

    name = by.replace("-", "_")
    if name not in anomaly.WORDS:
        raise UsageError(
            f"--by: no score is called '{by}'; there are {', '.join(anomaly.WORDS)}{nearest(name, anomaly.WORDS)}"
        )
    try:
        there = anomaly.names(opened.model)
    except UsageError as error:
        raise UsageError(f"{opened.name} is a {opened.kind}: {error}") from error
    if name not in there:
        raise UsageError(f"--by {by}: {opened.name} is a {opened.kind}, of which there are {', '.join(there)}")
    return name


class Given(NamedTuple):
    """The images that are scored."""

    dataset: Dataset
    split: str
    options: Any


def scored(opened: Opened, own: Dataset, dataset: str | None, split: str | None) -> Given:
    """The images that are meant: of the run's own set those of all classes, whatever it was trained on.

    Raises:
        UsageError, DataError: as `Opened.chosen`.
    """
    from genkit import data

    if dataset is not None:
        images, _, name = opened.chosen(dataset, split)
        logger.info("%s: its images are brought to %s, which the model takes", images.name, opened.model.image)
        return Given(images, name, opened.data_options(dataset))
    options = opened.data_options().model_copy(update={"only_classes": None, "labels_per_class": None})
    images = own if options == opened.data_options() else data.load(options)
    opened.require_shape(images)
    return Given(images, split or "test", options)


def normal_of(text: str | None, dataset: Dataset, images: Split, own: Dataset) -> list[int] | None:
    """The labels of the scored images that are no anomalies; None where nobody can say.

    Args:
        text: what a person gave; None for the classes that the model was trained on, where there are others, too.

    Raises:
        UsageError, DataError: where there are no such classes, or the images are all normal, or all anomalous.
    """
    from genkit.data import some_classes

    if text is None:
        found = [place for place, name in enumerate(dataset.classes) if name in own.classes]
        if images.labels is None or not found:
            return None
        there = set(images.labels.unique().tolist())
        return found if there & set(found) and there - set(found) else None
    found = some_classes.places(text, dataset, "--normal")
    assert images.labels is not None
    there = set(images.labels.unique().tolist())
    if not there & set(found):
        raise DataError(
            f"--normal {text}: none of the images is of {classes_in_words(found, dataset)}, so nothing is normal"
        )
    if not there - set(found):
        raise DataError(f"--normal {text}: all images are of {classes_in_words(found, dataset)}; name fewer classes")
    return found


def classes_in_words(places: Sequence[int], dataset: Dataset) -> str:
    names = [dataset.classes[each] for each in places]
    return ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


class Result(NamedTuple):
    """What was found of N images.

    Attributes:
        name: of the score that they are flagged by.
        rows, splits, files: where each comes from; `files` is empty where images have no names.
        threshold: the score above which an image is flagged.
        usual: how many validation images that is of.
        flagged: bool (N,).
    """

    opened: Opened
    name: str
    dataset: Dataset
    split: str
    images: Split
    rows: list[int]
    splits: list[str]
    files: list[str]
    scores: Scores
    threshold: float
    quantile: float
    usual: int
    flagged: Tensor

    @property
    def values(self) -> Tensor:
        return self.scores.columns[self.name]

    def called(self, position: int) -> str:
        """What an image is called: its file, or its row."""
        return self.files[position] if self.files else f"row {self.rows[position]}"


def areas_of(result: Result, own: Dataset, normal: Sequence[int], seed: int) -> tuple[dict[str, Area], int]:
    """The area under the curve by every score, and PCA's as `pca squared_error`, `pca combined`; PCA's components."""
    import torch

    from genkit.evaluate import anomaly

    assert result.images.labels is not None
    odd = ~torch.isin(result.images.labels, torch.tensor(list(normal)))
    if not 0 < int(odd.sum()) < len(odd):
        return {}, 0  # --limit has left out all of one kind
    found = {name: anomaly.area(values, odd) for name, values in result.scores.columns.items()}
    linear = anomaly.by_pca(result.opened.model, own, result.images, seed)
    if linear is None:
        return found, 0
    for name in ("squared_error", "combined"):
        found[f"pca {name}"] = anomaly.area(linear.scores.columns[name], odd)
    return found, linear.components


def summary(result: Result, areas: dict[str, Area], components: int, normal: Sequence[int] | None) -> list[str]:
    """What a person wants to know first."""
    from genkit.evaluate import anomaly

    count = int(result.flagged.sum())
    images = counted(len(result.rows), f"{of_split(result.split)}image")
    lines = [
        f"{images} of {result.dataset.name}, by {anomaly.WORDS[result.name]}",
        f"flagged: {count:,} ({100 * count / len(result.rows):.3g} %), above {result.threshold:.4g}, which "
        f"{100 * result.quantile:g} % of {counted(result.usual, 'validation image')} don't exceed",
    ]
    if anomaly.below(result.usual, result.quantile) == result.usual:
        lines.append("for that quantile these are few: the threshold is the highest score among them")
    if areas:
        assert normal is not None
        lines.append(
            f"AUROC {shown(areas[result.name])}, {classes_in_words(normal, result.dataset)} being normal"
            + (
                f"; PCA with {counted(components, 'number')} {shown(areas['pca squared_error'])} by its squared error, "
                f"{shown(areas['pca combined'])} combined"
                if components
                else ""
            )
        )
    lines.append("most anomalous:")
    for position in ordered(result)[:NAMED]:
        label = (
            "" if result.images.labels is None else f"  {result.dataset.classes[int(result.images.labels[position])]}"
        )
        lines.append(f"  {float(result.values[position]):.4g}  {result.called(position)}{label}")
    return lines


def shown(area: Area) -> str:
    return f"{area.value:.4f} ± {area.error:.4f}"


def ordered(result: Result) -> list[int]:
    """The images' positions, the most anomalous first."""
    return result.values.argsort(descending=True, stable=True).tolist()


def as_result(result: Result, areas: dict[str, Area], components: int, normal: Sequence[int] | None) -> dict[str, Any]:
    """The same for a program."""
    pca = {name.removeprefix("pca "): each._asdict() for name, each in areas.items() if name.startswith("pca ")}
    return {
        "checkpoint": result.opened.checkpoint.path,
        "dataset": result.dataset.name,
        "split": result.split,
        "n": len(result.rows),
        "by": result.name,
        "quantile": result.quantile,
        "threshold": result.threshold,
        "validation_images": result.usual,
        "flagged": int(result.flagged.sum()),
        "normal": None if normal is None else [result.dataset.classes[each] for each in normal],
        "auroc": {name: each._asdict() for name, each in areas.items() if not name.startswith("pca ")},
        "pca": {"components": components, **pca} if pca else None,
        "most_anomalous": [
            {"image": result.called(each), "row": result.rows[each], "score": float(result.values[each])}
            for each in ordered(result)[:NAMED]
        ],
    }


# ---------------------------------------------------------------------------------------------------------------------
# What is written
# ---------------------------------------------------------------------------------------------------------------------


def table(result: Result) -> dict[str, list[Any]]:
    """A column's name and its values: what is known of each image, its scores, whether it is flagged."""
    columns: dict[str, list[Any]] = {"row": result.rows}
    if result.files:
        columns["file"] = result.files
    columns["split"] = result.splits
    if result.images.labels is not None:
        columns["label"] = result.images.labels.tolist()
        columns["class"] = [result.dataset.classes[each] for each in columns["label"]]
    columns["score"] = result.values.tolist()
    columns["flagged"] = ["yes" if each else "no" for each in result.flagged.tolist()]
    for name, values in result.scores.columns.items():
        if name != "combined" or "squared_error" in result.scores.columns:
            columns[name] = values.tolist()
    return columns


def write_csv(file: Any, columns: dict[str, list[Any]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([f"{each:.9g}" if isinstance(each, float) else each for each in row])


def write_npz(path: Path, result: Result, columns: dict[str, list[Any]]) -> None:
    """Arrays called as `genkit encode` calls them: `rows`, `splits`, `files`, `labels`, `classes`; and the scores."""
    import numpy as np

    called = {"row": "rows", "split": "splits", "file": "files", "label": "labels"}
    arrays = {called.get(name, name): np.array(values) for name, values in columns.items() if name != "class"}
    arrays["flagged"] = result.flagged.numpy()
    if result.images.labels is not None:
        arrays["classes"] = np.array(result.dataset.classes)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # names of arrays, for mypy the next argument


def write(files: Targets, result: Result) -> None:
    """Both files, each whole or not at all.

    Raises:
        GenkitError: when one can't be written.
    """
    from genkit.files import whole_file
    from genkit.latent.images import save_png

    columns = table(result)
    try:
        files.table.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GenkitError(
            f"can't write to {files.table.parent}: {error.strerror}; name another place with --out"
        ) from error
    with whole_file(files.table) as temporary:
        if files.table.suffix.lower() == ".csv":
            with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                write_csv(file, columns)
        elif files.table.suffix.lower() == ".npz":
            write_npz(temporary, result, columns)
        else:
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.table(columns), temporary)
    save_png(files.picture, sheet(result))


def sheet(result: Result) -> Any:
    """The picture: the oddest images, those about the threshold, and the most usual ones."""
    from genkit.latent import contact_sheet

    order = ordered(result)
    count = int(result.flagged.sum())
    groups = [("most anomalous", order[:SHOWN])]
    if given_back := reconstructed(result, order[:SHOWN]):
        groups.append(("as given back", []))
    groups += [
        ("just flagged", order[max(0, count - SHOWN) : count]),
        ("just not flagged", order[count : count + SHOWN]),
        ("least anomalous", order[::-1][:SHOWN]),
    ]
    rows = []
    for name, positions in groups:
        if name == "as given back":
            rows.append((name, "", given_back))
        elif positions:
            values = result.values[positions]
            said = f"{float(values.max()):.4g} to {float(values.min()):.4g}"
            rows.append((name, said, pictures(result.images.images(as_index(positions)))))
    title = f"{Path(result.dataset.name).name}, by {result.opened.name}"
    return contact_sheet.of_rows(
        title, rows, [f"flagged above {result.threshold:.4g}: {count:,} of {len(result.rows):,}"]
    )


def as_index(positions: Sequence[int]) -> Tensor:
    import torch

    return torch.tensor(list(positions), dtype=torch.int64)


def reconstructed(result: Result, positions: Sequence[int]) -> list[np.ndarray]:
    """What the model gives back of some images; nothing where it doesn't."""
    import torch

    from genkit.evaluate import anomaly
    from genkit.latent.images import to_float
    from genkit.step import passes

    model: Any = result.opened.model
    if not anomaly.gives_back(model):
        return []
    some = result.images.take(as_index(positions))
    also = passes.conditions_of(model, some, result.opened.device)
    given = [] if also is None else [also.to(result.opened.device)]
    with torch.no_grad():
        inputs = to_float(some.images()).to(result.opened.device)
        output = model.decode(model.encode(inputs, *given), *given)
    return pictures((output.cpu() * 255).round().to(torch.uint8))


def pictures(images: Tensor) -> list[np.ndarray]:
    """uint8 (N, C, H, W) as pictures (H, W) or (H, W, 3)."""
    return [each[0].numpy() if len(each) == 1 else each.permute(1, 2, 0).contiguous().numpy() for each in images]
