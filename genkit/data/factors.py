"""What is known of how images vary: the factors that each was made from, or else its attributes."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from torch import Tensor

from genkit.data import SOURCES, DataOptions, module_of
from genkit.data.dataset import Dataset, Split


class Factor(NamedTuple):
    """One thing in which images differ.

    Attributes:
        name: what it is called: `glasses`, `sky`.
        values: float64 (N,), of each image; of levels, whole numbers from 0.
        levels: how many values there are; 0 of a number that may have any.
    """

    name: str
    values: Tensor
    levels: int = 0


def of(options: DataOptions, dataset: Dataset, split: Split) -> list[Factor]:
    """The factors of a split's images, without those in which none of them differ; none where nothing is known.

    A set that draws its images knows the numbers that it drew them from. Of others the attributes are factors of two
    levels; attributes of which each image has just one, and whose names begin alike (`shape-square`, `shape-heart`),
    are the levels of one factor.

    Args:
        options: that `dataset` was loaded by.
        split: images of it.
    """
    found: list[Factor] = []
    module = module_of(options.dataset) if options.dataset in SOURCES else None
    if module is not None and hasattr(module, "factors"):
        found = module.factors(options.dataset, split.rows)
    elif split.attributes is not None:
        found = of_attributes(dataset.attributes, split.attributes)
    return [each for each in found if len(each.values.unique()) > 1]


def of_attributes(names: tuple[str, ...], columns: Tensor) -> list[Factor]:
    """Attributes (N, A) as factors of levels."""
    factors = []
    for stem, group in itertools.groupby(range(len(names)), lambda place: names[place].rpartition("-")[0]):
        places = list(group)
        some = columns[:, places]
        if stem and len(places) > 2 and bool((some.sum(1) == 1).all()):
            factors.append(Factor(stem, some.int().argmax(1).double(), len(places)))
        else:
            factors += [Factor(names[place], columns[:, place].double(), 2) for place in places]
    return factors
