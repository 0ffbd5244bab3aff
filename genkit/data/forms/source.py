"""What is common to everything that people have their images in, from the path that was named to the data set?"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from genkit.data import DataOptions, pack
from genkit.data.findings import Findings, in_words
from genkit.data.survey import Survey

log = logging.getLogger("genkit")


class Source(ABC):
    """Somebody's own images, opened: what they are is known, and hardly a pixel was read.

    Attributes:
        kind: what `pack.Key` calls the path; the same for all forms of one family.
        heeds: which of `data.OF_FILES` say something of it.
        form: what it is, in words: "a folder of pictures".
        path: of the file or folder, resolved.
        count: how many images there are, bad ones included.
        labels: int64 (count,), an index into `classes`, or None.
        classes: their names.
        parts: uint8 (count,), an index into `pack.PARTS`, or None where the source has no splits of its own.
        attributes: bool (count, A), or None.
        attribute_names: their names.
        left_out: what is there and isn't read, by kind.
        notes: lines on what was understood where that isn't plain.
        warnings: lines on what a person may not have meant.
        faults: lines on what must be mended before the images can be used.
    """

    kind: ClassVar[str]
    heeds: ClassVar[frozenset[str]]
    form: str
    path: Path
    count: int
    labels: np.ndarray | None
    classes: tuple[str, ...]
    parts: np.ndarray | None
    attributes: np.ndarray | None
    attribute_names: tuple[str, ...]
    left_out: dict[str, int]
    notes: list[str]
    warnings: list[str]
    faults: list[str]

    @abstractmethod
    def state(self) -> Any:
        """JSON values that change when the files do, or what is understood of them."""

    @abstractmethod
    def contents(self, options: DataOptions) -> pack.Contents:
        """What is to be packed.

        Raises:
            DataError: when the images can't be used as `options` want them.
        """

    @abstractmethod
    def check(self, findings: Findings, survey: Survey | None = None) -> None:
        """Read every image, and enter into `findings` what was found, faults included.

        `findings` has what is known without it: what is left out, and notes.

        Args:
            survey: looks at each image that can be read, as it is before it is brought to any size.
        """

    def complete(self) -> None:  # noqa: B027 (most have nothing to do)
        """Know `count` and the tables for good, where files must be read for that, as those that have pages."""

    @abstractmethod
    def originals(self, options: DataOptions) -> Iterator[tuple[int, np.ndarray]]:
        """Each row with its image, uint8 (C, H, W), as it is before it is brought to any size or channels.

        Those that can't be read don't come, as far as `options.skip_bad` allows it.

        Raises:
            DataError: when more can't be read, or nobody knows what is white in them.
        """

    def enter(self, findings: Findings) -> None:
        """Enter what is known without reading on."""
        findings.left_out |= self.left_out
        findings.notes += [*self.notes, *self.warnings]
        findings.problems += self.faults

    def tell(self) -> None:
        """Log what was understood."""
        for note in self.notes:
            log.info("%s: %s", self.path, note)
        for warning in self.warnings:
            log.warning("%s: %s", self.path, warning)

    def tell_of(self, packed: pack.Pack, options: DataOptions) -> None:
        """Log what is known once the images are packed.

        Raises:
            DataError: when more files were left out than `options` allow.
        """
        if self.left_out:
            log.warning("%s: left out: %s", self.path, in_words(self.left_out))

    def names(self, without: Collection[str] = ()) -> list[str] | None:
        """What each image is called, where it has a name of its own; None of arrays.

        Args:
            without: names, as a pack's `skipped` has them, of images that don't count.
        """
        return None

    def key(self, options: DataOptions) -> pack.Key:
        return pack.Key(options.dataset, {self.kind: str(self.path), **pack.form_of(options)}, self.state())
