"""Codes of images with all that is known of each image, as a file: .npz, .csv or .parquet, written some at a time."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from genkit.contract import Model, ability
from genkit.data.dataset import Split
from genkit.files import whole_file
from genkit.latent import sampling
from genkit.latent.images import to_float
from genkit.step import passes

#: Images, or rows of a table, that are worked on together.
BLOCK = 1024


class Known(NamedTuple):
    """What is known of N images besides their codes.

    Attributes:
        rows: int64 (N,), each one's place in its source.
        splits: the name of each one's split.
        files: each one's file; empty where they come from none.
        labels: int64 (N,), an index into `classes`, or None.
        attributes: bool (N, A), a column an entry of `attribute_names`, or None.
    """

    rows: NDArray[np.int64]
    splits: Sequence[str]
    files: Sequence[str]
    labels: NDArray[np.int64] | None
    attributes: NDArray[np.bool_] | None
    classes: Sequence[str]
    attribute_names: Sequence[str]


@torch.no_grad()
def encoded(model: Model, images: Split, device: torch.device) -> Iterator[NDArray[np.float32]]:
    """The codes (B, latent_dim) of some images after the other; of a distribution over codes, its mean.

    Each is that of `sampling.encode`: it depends on no other image.

    Raises:
        DataError: when the images lack what the model is told, or can't be read.
    """
    assert ability.encodes(model)
    size = sampling.chunk_of(model)
    step = max(1, min(BLOCK, images.block_length()) // size) * size
    for start in range(0, len(images), step):
        some = images.take(slice(start, start + step))
        inputs = sampling.on(device, to_float(some.images()), passes.conditions_of(model, some, device))
        yield sampling.in_chunks(model.encode, *inputs, size=size).numpy()


def write(path: Path, codes: Iterator[NDArray[np.float32]], known: Known) -> int:
    """Write the file, whole or not at all; returns how many numbers a code has.

    Raises:
        GenkitError: when it can't be written.
    """
    writer = {".npz": write_npz, ".csv": write_csv, ".parquet": write_parquet}[path.suffix.lower()]
    with whole_file(path) as temporary:
        return writer(temporary, codes, known)


# ---------------------------------------------------------------------------------------------------------------------
# Arrays
# ---------------------------------------------------------------------------------------------------------------------


def write_npz(path: Path, codes: Iterator[NDArray[np.float32]], known: Known) -> int:
    """`codes` (N, latent_dim), `rows`, `splits`, and what else there is: for numpy.load, without a pickle.

    `labels` and `classes`, `attributes` and `attribute_names` are called as genkit takes them from an .npz of images.
    """
    first = next(codes)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with member(archive, "codes", np.dtype("<f4"), (len(known.rows), first.shape[1])) as file:
            file.write(np.ascontiguousarray(first, "<f4").data)
            for block in codes:
                file.write(np.ascontiguousarray(block, "<f4").data)
        columns: dict[str, Any] = {"rows": known.rows, "labels": known.labels, "attributes": known.attributes}
        for name, column in columns.items():
            if column is not None:
                with member(archive, name, column.dtype, column.shape) as file:
                    file.write(np.ascontiguousarray(column).data)
        for name, texts in (
            ("splits", known.splits),
            ("files", known.files),
            ("classes", known.classes if known.labels is not None else ()),
            ("attribute_names", known.attribute_names if known.attributes is not None else ()),
        ):
            if len(texts):
                write_texts(archive, name, texts)
    return first.shape[1]


def member(archive: zipfile.ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> IO[bytes]:
    """An array of the archive whose header is written, to write its elements to."""
    file = archive.open(f"{name}.npy", "w", force_zip64=True)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def write_texts(archive: zipfile.ZipFile, name: str, texts: Sequence[str]) -> None:
    """Texts of one width, which NumPy reads without a pickle; some at a time, as it keeps four bytes a character."""
    dtype = np.dtype(f"<U{max(1, *map(len, texts))}")
    with member(archive, name, dtype, (len(texts),)) as file:
        for start in range(0, len(texts), BLOCK):
            file.write(np.array(texts[start : start + BLOCK], dtype).view(np.uint8).data)


# ---------------------------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------------------------


def blocks_of(codes: Iterator[NDArray[np.float32]], known: Known) -> Iterator[tuple[dict[str, Any], Any]]:
    """What is known of some images after the other, as the columns of a table, and their codes."""
    start = 0
    for block in codes:
        part = slice(start, start + len(block))
        columns: dict[str, Any] = {"row": known.rows[part].tolist()}
        if len(known.files):
            columns["file"] = known.files[part]
        columns["split"] = known.splits[part]
        if known.labels is not None:
            columns["label"] = known.labels[part].tolist()
            columns["class"] = [known.classes[label] for label in columns["label"]]
        if known.attributes is not None:
            for name, column in zip(known.attribute_names, known.attributes[part].T, strict=True):
                columns[named(name, columns)] = column.astype(np.uint8).tolist()
        yield columns, block
        start += len(block)


def named(attribute: str, others: dict[str, Any]) -> str:
    """An attribute as the name of a column, which may be that of one of ours."""
    return f"attribute {attribute}" if attribute in others or attribute.removeprefix("z").isdecimal() else attribute


def write_csv(path: Path, codes: Iterator[NDArray[np.float32]], known: Known) -> int:
    """A line an image: `row`, `file`, `split`, `label`, `class`, the attributes as 0 and 1, then `z0`, `z1`, …

    Nine digits hold a float32 as it is.
    """
    width = None
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for columns, block in blocks_of(codes, known):
            if width is None:
                width = block.shape[1]
                writer.writerow([*columns, *(f"z{index}" for index in range(width))])
            for known_of_one, code in zip(zip(*columns.values(), strict=True), block.tolist(), strict=True):
                writer.writerow([*known_of_one, *(f"{number:.9g}" for number in code)])
    return width or 0


def write_parquet(path: Path, codes: Iterator[NDArray[np.float32]], known: Known) -> int:
    """The same columns; codes are float32."""
    import pyarrow
    import pyarrow.parquet

    writer, width = None, 0
    try:
        for columns, block in blocks_of(codes, known):
            width = block.shape[1]
            numbers = {f"z{index}": np.ascontiguousarray(block[:, index]) for index in range(width)}
            table = pyarrow.table({**columns, **numbers})
            writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    return width
