"""Which images are left where only some classes may be used?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import torch

from genkit.data import DataOptions
from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError, UsageError
from genkit.wording import counted, nearest

#: Classes that are named in a message.
NAMED = 20


def with_some_classes(dataset: Dataset, options: DataOptions) -> Dataset:
    """The data set with the classes that `options` allow: all of them, or `narrowed`."""
    if options.only_classes is None:
        return dataset
    return narrowed(dataset, places(options.only_classes, dataset))


def narrowed(dataset: Dataset, chosen: Sequence[int]) -> Dataset:
    """The data set with the images of these classes alone, which are its classes then, in the same order.

    Its splits are those of the whole set: what was held out of that stays held out.

    Raises:
        DataError: where a split is left without an image.
    """
    new = torch.full((len(dataset.classes),), -1)
    new[list(chosen)] = torch.arange(len(chosen))

    def some(split: Split) -> Split:
        assert split.labels is not None
        labels = new[split.labels]
        return replace(split.take(labels >= 0), labels=labels[labels >= 0])

    found = {name: some(split) for name, split in dataset.splits().items()}
    for name, split in found.items():
        if not len(split) and len(dataset.splits()[name]):
            raise DataError(f"{dataset.name}: none of its {name} images is of --only-classes; name more of them")
    classes = tuple(dataset.classes[each] for each in chosen)
    return replace(dataset, train=found["train"], val=found["val"], test=found["test"], classes=classes)


def places(text: str, dataset: Dataset, flag: str = "--only-classes") -> list[int]:
    """The classes that a person means, as indices into the set's, ascending: `0-4,7`, `cat`, `cat,dog`.

    What is a class's name means that class; another whole number is an index from 0. `a-b` is all from a to b.

    Raises:
        DataError: where the images have no classes.
        UsageError: where there is no such class.
    """
    names = dataset.classes
    if dataset.train.labels is None or not names:
        raise DataError(f"{dataset.name} has no classes, of which {flag} would choose some; leave it out")
    if text in names:
        return [names.index(text)]
    found: set[int] = set()
    for part in text.split(","):
        found |= set(_part(part.strip(), names, dataset.name, flag))
    return sorted(found)


def _part(part: str, names: Sequence[str], of: str, flag: str) -> range:
    alone = _place(part, names)
    if alone is not None:
        return range(alone, alone + 1)
    # Names may have hyphens of their own.
    for hyphen in re.finditer("-", part):
        first, last = (_place(each.strip(), names) for each in (part[: hyphen.start()], part[hyphen.end() :]))
        if first is not None and last is not None:
            if first > last:
                raise UsageError(f"{flag} {part}: {names[first]} comes after {names[last]}; write the range forwards")
            return range(first, last + 1)
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
    raise UsageError(
        f"{flag}: {of} has no class '{part}', of {counted(len(names), 'class')}: {listed}{nearest(part, names)}"
    )


def _place(text: str, names: Sequence[str]) -> int | None:
    if text in names:
        return names.index(text)
    return int(text) if re.fullmatch("[0-9]{1,9}", text) and int(text) < len(names) else None
