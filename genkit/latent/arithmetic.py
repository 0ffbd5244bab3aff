"""Read `male&glasses - male&!glasses + !male&!glasses`, and find the exemplars that each term stands for."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from genkit.data.dataset import Dataset, Split
from genkit.errors import UsageError

log = logging.getLogger("genkit")


class Term(NamedTuple):
    """One term of an expression: `sign` is 1 or -1, `text` is what was written."""

    sign: int
    text: str


def parse(expression: str) -> list[Term]:
    """Split `a - b + c` at its signs, which stand between blanks (names and paths may hold a `-` themselves).

    Raises:
        UsageError: when a term is missing.
    """
    pieces = re.split(r"(?<!\S)([+-])(?!\S)", expression.strip())
    signs, texts = ["+", *pieces[1::2]], [piece.strip() for piece in pieces[0::2]]
    terms = [Term(-1 if sign == "-" else 1, text) for sign, text in zip(signs, texts, strict=True)]
    if terms[0].text == "" and len(terms) > 1:
        terms = terms[1:]  # a sign before the first term
    if not all(term.text for term in terms):
        raise UsageError(
            f"--arithmetic: '{expression}' has an empty term; write 'a - b + c', with blanks around the signs"
        )
    return terms


def matching(term: str, dataset: Dataset, split: Split, which: str = "test") -> Tensor:
    """Positions (int64) in a split of the images that a term of labels or attributes describes.

    `label:7` and `label:sneaker` go by class; `male&!glasses` by attributes, all of which must hold.

    Args:
        which: how the split is called in a message.

    Raises:
        UsageError: when the data has no such class or attribute, or no image matches.
    """
    if term.startswith("label:"):
        mask = of_class(term.removeprefix("label:"), dataset, split)
    else:
        mask = with_attributes(term, dataset, split)
    positions = mask.nonzero().flatten()
    if len(positions) == 0:
        raise UsageError(f"--arithmetic: no image of {in_words(which)} is '{term}'")
    return positions


def in_words(split: str) -> str:
    """`the test split`; of all images, the set itself."""
    return "the set" if split == "all" else f"the {split} split"


def exemplars_among(term: str, dataset: Dataset, split: Split, count: int, seed: int, which: str = "test") -> Tensor:
    """Positions (int64) in a split of `count` images that a term of labels or attributes describes, drawn by `seed`.

    Raises:
        UsageError: as `matching`.
    """
    fitting = matching(term, dataset, split, which)
    if len(fitting) < count:
        log.warning("only %d images of %s are '%s'", len(fitting), in_words(which), term)
    return fitting[torch.randperm(len(fitting), generator=torch.Generator().manual_seed(seed))[:count]]


def of_class(name: str, dataset: Dataset, split: Split) -> Tensor:
    if split.labels is None:
        raise UsageError(
            f"--arithmetic: {dataset.name} has no labels, so 'label:{name}' means nothing; name seeds or files"
        )
    if name not in dataset.classes:
        raise UsageError(
            f"--arithmetic: {dataset.name} has no class '{name}'; it has {', '.join(dataset.classes[:20])} "
            "(a sign needs blanks around it)"
        )
    return split.labels == dataset.classes.index(name)


def with_attributes(term: str, dataset: Dataset, split: Split) -> Tensor:
    mask = torch.ones(len(split), dtype=torch.bool)
    for part in term.split("&"):
        name = part.strip()
        wanted = not name.startswith("!")
        name = name.removeprefix("!").strip()
        if split.attributes is None or name not in dataset.attributes:
            if name in dataset.classes:
                raise UsageError(
                    f"--arithmetic: {dataset.name} has no attribute '{name}', but a class of that name; did you mean "
                    f"label:{name}?"
                )
            offer = (
                f"it has {', '.join(dataset.attributes)}"
                if dataset.attributes
                else "it has none; use label:, @seeds or files"
            )
            raise UsageError(f"--arithmetic: {dataset.name} has no attribute '{name}' ({offer})")
        mask &= split.attributes[:, dataset.attributes.index(name)] == wanted
    return mask


class Exemplars(NamedTuple):
    """What a term's code is the mean of: the images (N, C, H, W) in [0, 1] and their codes (N, latent_dim).

    Of a model that takes a condition, also theirs, (N, …).
    """

    term: Term
    images: Tensor
    codes: Tensor
    conditions: Tensor | None = None

    @property
    def code(self) -> Tensor:
        return self.codes.mean(0)


def combine(exemplars: Sequence[Exemplars], of: Callable[[Exemplars], Tensor]) -> Tensor:
    """The signed sum of something over the terms: `of` gives each term's code, or its mean picture for the control."""
    return torch.stack([each.term.sign * of(each) for each in exemplars]).sum(0)


def is_file_term(term: str) -> bool:
    """Whether a term names image files: `a.png`, or several with commas between them."""
    return all(Path(part).suffix and not part.startswith("label:") for part in term.split(","))
