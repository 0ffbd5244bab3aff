"""How do encoded pictures become a pack, wherever they come from: a folder, an archive, a table?

All headers are read first, because the shape is decided by them; then all pictures are decoded, by several threads, and
written as they come. Nothing is held of a picture but a few numbers, so that a million take little memory.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from genkit.contract import ImageShape
from genkit.data import DataOptions, pack
from genkit.data.decode import (
    BadImage,
    Content,
    Header,
    Page,
    bits_of,
    decode_and_hash,
    range_of,
    read_header,
    remedy,
    without_warnings,
)
from genkit.data.findings import Findings, in_words
from genkit.data.forms.layout import unlearnt
from genkit.data.forms.source import Source, log
from genkit.data.levels import Range, Whites, dark, remark, require_floats, white_of
from genkit.data.pixels import loss_by_crop, wanted_shape
from genkit.data.survey import Glimpse, Survey
from genkit.errors import DataError
from genkit.wording import counted

#: Pictures that a thread takes at once: to hand one over takes as long as to decode a small one.
AT_ONCE = 16
#: Pictures, and bytes of them, that are handed to the threads before the first result is taken back.
WINDOW, WINDOW_BYTES = 1024, 64 << 20

T = TypeVar("T")


class Item(NamedTuple):
    """A picture as it comes: its row, and its file, or the content of one, or a page, or why that can't be had."""

    row: int
    content: Content | BadImage


class Pictures(Source):
    """Encoded pictures. Rows are numbered in the order in which they are read."""

    kind = "folder"

    @abstractmethod
    def each(self) -> Iterator[Item]:
        """All pictures, one after the other; may be asked for any number of times.

        Raises:
            DataError: when what they lie in is damaged.
        """

    @abstractmethod
    def name(self, row: int) -> str:
        """What a picture is called, so that `base / name` finds it."""

    @property
    def base(self) -> Path:
        """The folder or archive that `name` starts from."""
        return self.path

    def file_of(self, row: int) -> str:
        """What the file that a picture lies in is called."""
        return self.name(row)

    def stamp_of(self, row: int) -> tuple[int, int] | None:
        """Bytes and time (ns) of a picture's own file; None where it has none."""
        return None

    def names(self, without: Collection[str] = ()) -> list[str] | None:
        return [name for row in range(self.count) if (name := self.name(row)) not in without]

    # -- packing -------------------------------------------------------------------------------------------------------

    def contents(self, options: DataOptions) -> pack.Contents:
        """Read all headers, decide on the shape by them, and be ready to decode."""
        skipped: dict[str, str] = {}
        sources: dict[str, pack.SourceFile] = {}
        headers: dict[int, Header] = {}
        with tqdm(total=self.count, desc=f"reading {options.dataset}", unit="files", disable=None) as bar:
            for row, header in attempt_all(read_header, self.each()):
                bar.update()
                if isinstance(header, BadImage):
                    skipped[self.name(row)] = str(header)
                else:
                    headers[row] = header
        self._refuse_if_too_many(skipped, options.skip_bad)
        if not headers:
            raise DataError(f"{self.path}: none of its {self.count:,} image files can be read")
        shape = wanted_shape(self._common_shape(headers, options), options)
        whites, notes = self._whites(headers)
        loss = loss_by_crop([(header.width, header.height) for header in headers.values()], options)

        def chunks() -> Iterator[pack.Chunk]:
            def decoded(item: Item) -> tuple[np.ndarray, int, str]:
                return decode_and_hash(content_of(item), headers[item.row], shape, options.fit, whites)

            good = (item for item in self.each() if item.row in headers)
            results = attempt_all_items(decoded, good)
            step = pack.chunk_length(shape)
            while some := list(islice(results, step)):
                rows, images, fingerprints = [], [], []
                for row, result in some:
                    if isinstance(result, BadImage):
                        skipped[self.name(row)] = str(result)
                        self._refuse_if_too_many(skipped, options.skip_bad)
                        continue
                    rows.append(row)
                    images.append(result[0])
                    fingerprints.append(result[1])
                    stamp = self.stamp_of(row)
                    if stamp is not None:
                        sources[self.file_of(row)] = pack.SourceFile(*stamp, result[2])
                if rows:
                    yield pack.Chunk(np.array(rows), np.stack(images), np.array(fingerprints, np.int64))

        return pack.Contents(
            shape=shape,
            count=self.count,
            images=chunks(),
            labels=self.labels,
            attributes=self.attributes,
            parts=self.parts,
            classes=self.classes,
            attribute_names=self.attribute_names,
            left_out=further_pages(headers.values()),
            skipped=skipped,
            sources=sources,
            whites=whites,
            notes=(*notes, *([loss] if loss else [])),
        )

    def tell_of(self, packed: pack.Pack, options: DataOptions) -> None:
        left_out = {**self.left_out, **packed.left_out}
        if left_out:
            log.warning("%s: left out: %s", self.path, in_words(left_out))
        labels = packed.dataset.train.labels
        for line in [] if labels is None else unlearnt(packed.dataset.classes, labels.numpy()):
            log.warning("%s: %s", self.path, line)
        self._refuse_if_too_many(packed.skipped, options.skip_bad, all_known=True)
        for file, problem in packed.skipped.items():
            log.warning("left out: %s %s", self.base / file, problem)

    def originals(self, options: DataOptions) -> Iterator[tuple[int, np.ndarray]]:
        skipped: dict[str, str] = {}
        headers: dict[int, Header] = {}
        for row, header in attempt_all(read_header, self.each()):
            if isinstance(header, BadImage):
                skipped[self.name(row)] = str(header)
            else:
                headers[row] = header
        self._refuse_if_too_many(skipped, options.skip_bad)
        whites, _ = self._whites(headers)

        def decoded(item: Item) -> np.ndarray:
            header = headers[item.row]
            shape = ImageShape(1 if header.grey else 3, header.height, header.width)
            return decode_and_hash(content_of(item), header, shape, whites=whites)[0]

        for row, image in attempt_all_items(decoded, (item for item in self.each() if item.row in headers)):
            if isinstance(image, BadImage):
                skipped[self.name(row)] = str(image)
                self._refuse_if_too_many(skipped, options.skip_bad)
            else:
                yield row, image

    # -- checking ------------------------------------------------------------------------------------------------------

    def check(self, findings: Findings, survey: Survey | None = None) -> None:
        """Decode every picture, read its tables, and hold the files against those that were packed.

        A picture that decodes but whose bytes aren't those that were packed, although its size and time are, has
        rotted: no program that writes a file leaves its time as it was.
        """
        findings.files = self.count
        sizes: Counter[str] = Counter()
        modes: Counter[str] = Counter()
        fingerprints = set()
        rotten = set()
        packed = list(pack.sources_of({self.kind: str(self.path)}))
        with without_warnings():
            read = dict(attempt_all(read_header, self.each()))
        headers = {row: header for row, header in read.items() if not isinstance(header, BadImage)}
        whites: Whites = {}
        try:
            whites, notes = self._whites(headers)
            findings.notes += notes
            if survey is not None:
                survey.whites.update(whites)
        except DataError as error:
            findings.problems.append(str(error))

        def inspect(item: Item) -> tuple[int, str, Glimpse | None, Range | None]:
            header = read[item.row]
            if isinstance(header, BadImage):
                raise header
            shape = ImageShape(1 if header.grey else 3, header.height, header.width)
            pixels, fingerprint, digest = decode_and_hash(content_of(item), header, shape, whites=whites)
            if survey is None:
                return fingerprint, digest, None, None
            stored = None if bits_of(header.mode) == 8 else range_of(content_of(item))
            return fingerprint, digest, survey.glimpse(item.row, pixels), stored

        def rotted(row: int, digest: str) -> bool:
            name, stamp = self.file_of(row), self.stamp_of(row)
            before = [sources[name] for sources in packed if name in sources]
            return any((each.bytes, each.time) == stamp and each.sum != digest for each in before)

        with without_warnings(), tqdm(total=self.count, desc="verifying", unit="images", disable=None) as bar:
            for row, result in attempt_all_items(inspect, self.each()):
                bar.update()
                file = self.base / self.name(row)
                if isinstance(result, BadImage):
                    findings.problems.append(f"{file}: {result}; {remedy(str(result))}, or use --skip-bad")
                    continue
                fingerprint, digest, glimpse, stored = result
                if self.file_of(row) not in rotten and rotted(row, digest):
                    rotten.add(self.file_of(row))
                    findings.problems.append(
                        f"{self.base / self.file_of(row)}: has changed since it was packed although its size and time "
                        "are the same; restore it from a copy, or `touch` it to accept it as it is"
                    )
                findings.images += 1
                findings.duplicates += fingerprint in fingerprints
                fingerprints.add(fingerprint)
                sizes[f"{headers[row].width}x{headers[row].height}"] += 1
                modes[headers[row].mode] += 1
                if survey is not None and glimpse is not None:
                    survey.take(row, fingerprint, glimpse, bits_of(headers[row].mode))
                    if stored is not None:
                        survey.take_stored(stored)
        findings.sizes, findings.modes = dict(sizes.most_common()), dict(modes.most_common())
        findings.left_out |= further_pages(headers.values())

    # -- what is common to all of them ---------------------------------------------------------------------------------

    def _whites(self, headers: dict[int, Header]) -> tuple[Whites, list[str]]:
        """The numbers that are white in these pictures, and what is to be said of them.

        Pictures are decoded until more of them would make no difference: in most folders, the first.

        Raises:
            DataError: when their numbers aren't brightness.
        """
        found = {bits: Range(bits) for bits in (8, 16, 0)}
        open_bits = Counter(bits_of(header.mode) for header in headers.values() if header.mode != "1")

        def look(item: Item) -> Range | None:
            mode = headers[item.row].mode
            return None if mode == "1" or found[bits_of(mode)].settled else range_of(content_of(item))

        def until_settled() -> Iterator[Item]:
            for item in self.each():
                if all(found[bits].settled for bits in open_bits):
                    return
                if item.row in headers:
                    yield item

        for _, seen in attempt_all_items(look, until_settled()):
            if isinstance(seen, Range):
                found[seen.bits].include(seen)
        whites: dict[int, int] = {}
        notes: list[str | None] = []
        try:
            for bits in (8, 16):
                if found[bits].high >= 0:
                    whites[bits] = white_of(found[bits])
                    notes.append(remark(found[bits], whites[bits]))
            if found[0].high >= 0:
                require_floats(found[0])
                notes.append(dark(found[0].high * 255))
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        return whites, [note for note in notes if note]

    def _common_shape(self, headers: dict[int, Header], options: DataOptions) -> ImageShape:
        """The shape of all pictures; of any of them where `image_size` makes them alike."""
        sizes = Counter((header.width, header.height) for header in headers.values())
        if len(sizes) > 1 and options.image_size is None:
            commonest = ", ".join(f"{width}x{height} ({count:,})" for (width, height), count in sizes.most_common(3))
            smallest = min(min(size) for size in sizes)
            raise DataError(
                f"{self.path}: images of {len(sizes):,} sizes, most often {commonest}; give --image-size N to make "
                f"them alike (the smallest is {smallest} pixels wide or high)"
            )
        (width, height), _ = sizes.most_common(1)[0]
        return ImageShape(1 if all(header.grey for header in headers.values()) else 3, height, width)

    def _refuse_if_too_many(self, skipped: dict[str, str], allowed: int, all_known: bool = False) -> None:
        """Raises DataError; unless `all_known`, there may be more bad files than have been found so far."""
        if len(skipped) > allowed:
            number = f"--skip-bad {len(skipped)}" if all_known else f"--skip-bad {len(skipped)} or more"
            file, problem = next(iter(skipped.items()))
            others = f" (and {counted(len(skipped) - 1, 'other bad file')})" if len(skipped) > 1 else ""
            raise DataError(
                f"{self.base / file} {problem}{others}; {remedy(problem)}, or leave bad files out with {number} "
                f"(`genkit data verify {self.path}` names them all)"
            )


def further_pages(headers: Iterable[Header]) -> dict[str, int]:
    """What files hold besides the picture that is read."""
    headers = list(headers)
    further = [header.pages - 1 for header in headers if header.pages > 1]
    animated = sum(header.animated for header in headers)
    found = {
        f"further pages of {counted(len(further), 'file')} (--pages all)": sum(further),
        "animations (all but the first frame; --pages all)": animated,
    }
    return {kind: count for kind, count in found.items() if count}


def content_of(item: Item) -> Content:
    """Raises BadImage where it can't be had."""
    if isinstance(item.content, BadImage):
        raise item.content
    return item.content


def attempt_all(function: Callable[[Content], T], items: Iterable[Item]) -> Iterator[tuple[int, T | BadImage]]:
    """`function` of each picture's file or content, as `attempt_all_items`."""
    return attempt_all_items(lambda item: function(content_of(item)), items)


def attempt_all_items(function: Callable[[Item], T], items: Iterable[Item]) -> Iterator[tuple[int, T | BadImage]]:
    """`function` of each item, in order, by several threads: Pillow decodes and resizes without Python's lock."""

    def attempt(item: Item) -> tuple[int, T | BadImage]:
        try:
            return item.row, function(item)
        except BadImage as error:
            return item.row, error

    def attempt_some(some: list[Item]) -> list[tuple[int, T | BadImage]]:
        return [attempt(item) for item in some]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for window in _windows(iter(items)):
            pieces = [window[first : first + AT_ONCE] for first in range(0, len(window), AT_ONCE)]
            yield from chain.from_iterable(pool.map(attempt_some, pieces))


def _windows(items: Iterator[Item]) -> Iterator[list[Item]]:
    """Some of the items at a time, not more of them than may be held in memory."""
    window: list[Item] = []
    held = 0
    for item in items:
        window.append(item)
        if isinstance(item.content, bytes):
            held += len(item.content)
        elif isinstance(item.content, Page):
            held += item.content.held
        if len(window) == WINDOW or held >= WINDOW_BYTES:
            yield window
            window, held = [], 0
    if window:
        yield window
