"""Which images of a set does a command mean: those of one split, or all of them?"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from genkit.data import SOURCES
from genkit.errors import DataError

if TYPE_CHECKING:
    from genkit.data.dataset import Dataset, Split

ALL = "all"
#: What `--split` takes.
CHOICES = ("train", "val", "test", ALL)

log = logging.getLogger("genkit")


def has_own_splits(name_or_path: str) -> bool:
    """Whether images come with splits that somebody has made on purpose, as published sets do.

    A folder has some where it has folders for them; an array has none.

    Raises:
        DataError: when a folder can't be read.
    """
    from genkit.data import folder

    path = Path(name_or_path).expanduser()
    return name_or_path in SOURCES or (path.is_dir() and folder.has_own_splits(path))


def split_to_take(wanted: str | None, other: str | None) -> str:
    """The split that is meant.

    Args:
        wanted: what a person has named.
        other: the images that they have named in place of the run's own.

    Returns:
        Where they have named no split, "test"; but all of somebody's own images, of which genkit has made the splits
        itself, only to train on.
    """
    if wanted is not None:
        return wanted
    if other is None or has_own_splits(other):
        return "test"
    log.info("%s has no splits of its own, so all of its images are meant; --split test takes a tenth of them", other)
    return ALL


def of_split(split: str) -> str:
    """`test `, to stand before `images`; nothing of all of them."""
    return "" if split == ALL else f"{split} "


def taken(dataset: Dataset, split: str) -> Split:
    """The images of one split, or all of them, in their order; train, val and test one after the other where they lie
    in different files.

    Raises:
        DataError: when there are none.
    """
    import torch

    from genkit.data.dataset import Split

    parts = [dataset.splits()[split]] if split != ALL else list(dataset.splits().values())
    if not any(len(part) for part in parts):
        raise DataError(f"{dataset.name} has no {split} images; choose another --split")
    if len(parts) == 1:
        return parts[0]

    def joined(name: str) -> torch.Tensor | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(column is None for column in columns) else torch.cat(columns)

    storages = list({id(part.storage): part.storage for part in parts}.values())
    starts = {id(each): sum(map(len, storages[:number])) for number, each in enumerate(storages)}
    rows = torch.cat([part.rows + starts[id(part.storage)] for part in parts])
    storage = storages[0] if len(storages) == 1 else torch.cat(storages)
    file = parts[0].file if len(storages) == 1 else None
    whole = Split(storage, rows, joined("labels"), joined("attributes"), joined("fingerprints"), file)
    return whole.take(rows.argsort())
