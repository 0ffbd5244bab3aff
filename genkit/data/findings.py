"""What `genkit data verify` found."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, Field

#: How many kinds of what is left out are named.
KINDS = 8


def in_words(left_out: Mapping[str, int]) -> str:
    """`100 .heic, 3 .zip`: the commonest first."""
    ordered = sorted(left_out.items(), key=lambda item: -item[1])
    words = [f"{count:,} {_of_one(kind) if count == 1 else kind}" for kind, count in ordered[:KINDS]]
    others = sum(count for _, count in ordered[KINDS:])
    return ", ".join([*words, f"{others:,} others"] if others else words)


def _of_one(kind: str) -> str:
    """`hidden images` as `hidden image`; a file's ending stays."""
    return kind if kind.startswith(".") else re.sub(r"s\b", "", kind, count=1)


class Findings(BaseModel, extra="forbid"):
    """The result of reading every byte of a source anew.

    Attributes:
        source: what was checked, as it was named.
        files: how many files were read.
        images: how many images they hold that can be used.
        duplicates: how many of these are the exact copy of an earlier one.
        sizes: "WIDTHxHEIGHT" to the number of images of it.
        modes: how the pixels are stored ("L", "RGB", "uint8", ...) to the number of images.
        left_out: what was there and isn't read, by kind (".heic", "hidden images", ...) to its number.
        notes: one line each on how the source is understood, where that isn't plain: its splits, classes, tables, and
            how its pixels are read; no fault.
        sums: file to the SHA-256 that was found, for sources whose sums are known.
        problems: one line a fault, with the file it is in; empty when all is well.
    """

    source: str
    files: int = 0
    images: int = 0
    duplicates: int = 0
    sizes: dict[str, int] = Field(default_factory=dict)
    modes: dict[str, int] = Field(default_factory=dict)
    left_out: dict[str, int] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    sums: dict[str, str] = Field(default_factory=dict)
    problems: list[str] = Field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def count(self, fingerprints: np.ndarray, size: str, mode: str) -> None:
        """Enter the images with these fingerprints, int64 (N,), all of one size and mode."""
        self.images = len(fingerprints)
        self.duplicates = len(fingerprints) - len(np.unique(fingerprints))
        self.sizes = {size: len(fingerprints)}
        self.modes = {mode: len(fingerprints)}

    def include(self, other: Findings) -> None:
        """Enter a pack of the same images; its files aren't the source's, and aren't counted among them."""
        self.sums |= {f"{other.source}/{file}": found for file, found in other.sums.items()}
        self.problems += other.problems
