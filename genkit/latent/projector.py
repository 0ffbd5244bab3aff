"""Codes and their points as files for other programs: a CSV, and a folder for TensorBoard's projector."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from genkit.data.dataset import Split
from genkit.files import whole_file, whole_folder
from genkit.latent.images import save_png, to_pil
from genkit.latent.projection import principal_components

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
    images: Split | None = None,
) -> None:
    """Export features (N, F) for TensorBoard's projector, which `tensorboard --logdir FOLDER` then shows.

    Features wider than 200 are brought to their first 200 principal components.

    Args:
        folder: must not exist, or be empty; it is there whole or not at all.
        labels, classes, rows: as in `write_csv`.
        images: shown in place of the points.

    Raises:
        GenkitError: when a file can't be written.
    """
    features = features.detach().cpu()
    if features.shape[1] > PROJECTOR_COMPONENTS:
        features, _ = principal_components(features, PROJECTOR_COMPONENTS)
    tensors = io.StringIO()
    np.savetxt(tensors, features.numpy(), fmt="%.6g", delimiter="\t")
    texts = {"tensors.tsv": tensors.getvalue(), "metadata.tsv": _metadata(labels, classes, rows)}
    config = 'embeddings {\n  tensor_name: "latents"\n  tensor_path: "tensors.tsv"\n  metadata_path: "metadata.tsv"\n'
    with whole_folder(folder) as temporary:
        if images is not None:
            picture, (width, height) = sprite(images)
            save_png(temporary / "sprite.png", picture)
            config += f'  sprite {{\n    image_path: "sprite.png"\n    single_image_dim: [{width}, {height}]\n  }}\n'
        for name, text in {**texts, "projector_config.pbtxt": config + "}\n"}.items():
            _write_text(temporary / name, text)


def _metadata(labels: Tensor | None, classes: Sequence[str], rows: Tensor) -> str:
    """One line a point. TensorBoard takes the first line for a header if and only if there are several columns."""
    if labels is None:
        return "".join(f"{row}\n" for row in rows.tolist())
    # A tab or line break in a class's name would begin a new column or point.
    names = [" ".join(name.split()) for name in classes]
    lines = [f"{row}\t{label}\t{names[label]}\n" for row, label in zip(rows.tolist(), labels.tolist(), strict=True)]
    return "".join(["index\tlabel\tclass\n", *lines])


def sprite(images: Split) -> tuple[Image.Image, tuple[int, int]]:
    """All images in one picture, row by row, and the (width, height) of a cell; read some at a time.

    There are as many rows as columns: TensorBoard mistakes one number for the other when it looks for an image's row.
    The images are shrunk where the picture would be larger than TensorBoard takes.
    """
    cells = math.ceil(math.sqrt(len(images)))
    channels, height, width = images.storage.shape[1:]
    scale = min(1.0, SPRITE_SIDE / cells / max(height, width))
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    if size == (width, height):
        # All at once, which takes a hundredth of the time; they are no more than the picture has pixels.
        pixels = torch.zeros(cells * cells, channels, height, width, dtype=torch.uint8)
        pixels[: len(images)] = images.images()
        rows = pixels.view(cells, cells, -1, height, width).permute(2, 0, 3, 1, 4)
        return to_pil(rows.reshape(-1, cells * height, cells * width)), size
    picture = Image.new("L" if channels == 1 else "RGB", (cells * size[0], cells * size[1]))
    step = images.block_length()
    for start in range(0, len(images), step):
        for index, image in enumerate(images.images(slice(start, start + step)), start):
            place = (index % cells * size[0], index // cells * size[1])
            picture.paste(to_pil(image).resize(size, Image.Resampling.BOX), place)
    return picture, size


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
