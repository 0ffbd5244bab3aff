"""Which images of a set does a command mean: those of one split, or all of them?"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from genkit.data import SOURCES, DataOptions, module_of
from genkit.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from genkit.data.dataset import Dataset, Split

ALL = "all"
#: What `--split` takes.
CHOICES = ("train", "val", "test", ALL)

log = logging.getLogger("genkit")


def has_own_splits(options: DataOptions) -> bool:
    """Whether images come with splits that somebody has made on purpose, as published sets do.

    Raises:
        DataError: when they can't be read.
    """
    return options.dataset in SOURCES or module_of(options.dataset).has_own_splits(options)


def split_to_take(wanted: str | None, other: DataOptions | None) -> str:
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
    line = "%s has no splits of its own, so all of its images are meant; --split test takes a tenth of them"
    log.info(line, other.dataset)
    return ALL


def of_split(split: str) -> str:
    """`test `, to stand before `images`; nothing of all of them."""
    return "" if split == ALL else f"{split} "


def taken(dataset: Dataset, split: str) -> Split:
    """The images of one split, or all of them, in their order; those of different files one after the other.

    Raises:
        DataError: when there are none.
    """
    import torch

    from genkit.data.dataset import Split

    parts = meant(dataset, split)
    if not any(len(part) for part in parts.values()):
        raise DataError(f"{dataset.name} has no {of_split(split)}images; choose another --split")
    if len(parts) == 1:
        return parts[split]
    splits = list(parts.values())

    def joined(name: str) -> torch.Tensor | None:
        columns = [getattr(part, name) for part in splits]
        return None if any(column is None for column in columns) else torch.cat(columns)

    storages, rows = together(splits)
    storage = storages[0] if len(storages) == 1 else torch.cat(storages)
    file = splits[0].file if len(storages) == 1 else None
    whole = Split(storage, rows, joined("labels"), joined("attributes"), joined("fingerprints"), file)
    return whole.take(rows.argsort())


def origins(dataset: Dataset, split: str) -> tuple[Tensor, list[str]]:
    """Of each image that is `taken`, its row in the file in which it lies, int64 (N,), and the name of its split."""
    import torch

    parts = meant(dataset, split)
    order = together(list(parts.values()))[1].argsort()
    names = [name for name, part in parts.items() for _ in range(len(part))]
    return torch.cat([part.rows for part in parts.values()])[order], [names[place] for place in order.tolist()]


def meant(dataset: Dataset, split: str) -> dict[str, Split]:
    """The splits that are meant, by their names."""
    return dataset.splits() if split == ALL else {split: dataset.splits()[split]}


def together(splits: list[Split]) -> tuple[list[Tensor], Tensor]:
    """The storages of some splits, each once, and the rows of all of them in these, one after the other."""
    import torch

    storages = list({id(part.storage): part.storage for part in splits}.values())
    starts = {id(each): sum(map(len, storages[:number])) for number, each in enumerate(storages)}
    return storages, torch.cat([part.rows + starts[id(part.storage)] for part in splits])


def files_of(options: DataOptions) -> list[str]:
    """What somebody's own images are called, by rows; [] where they have no names, as in arrays."""
    from genkit.data import forms

    return [] if options.dataset in SOURCES else forms.files_of(options)
