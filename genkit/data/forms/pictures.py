"""How do encoded pictures become a pack, wherever they come from: a folder, an archive, a table?

All headers decide on the shape. It is guessed by the first, and all pictures are decoded at once, by several threads,
and written as they come; where the guess was wrong, it begins again with all headers. Nothing is held of a picture but
a few numbers, so that a million take little memory.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
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
    may_be_anything,
    range_of,
    read,
    read_header,
    remedy,
    without_warnings,
)
from genkit.data.findings import Findings, in_words
from genkit.data.forms.layout import unlearnt
from genkit.data.forms.source import Source, log
from genkit.data.levels import Numbers, Range, White, Whites, scale_of_pictures
from genkit.data.pixels import loss_by_crop, wanted_shape
from genkit.data.survey import Glimpse, Survey
from genkit.errors import DataError
from genkit.wording import counted

#: Pictures, and bytes of them, that a thread takes at once: to hand one over takes as long as to decode a small one.
AT_ONCE, PIECE_BYTES = 32, 1 << 20
#: How many times that many are handed to each thread before the first result is taken back, and bytes of all of them.
AHEAD, MAX_HELD = 8, 64 << 20
SHA256_BYTES = 32
#: Pictures that are looked at before it is decided how all are read.
FIRST = 64

T = TypeVar("T")


class Item(NamedTuple):
    """A picture as it comes: its row, and its file, or the content of one, or a page, or why that can't be had."""

    row: int
    content: Content | BadImage


class Headers:
    """The headers of many pictures, each of which most often equals others: a number for each row of `count`."""

    def __init__(self, count: int):
        self._number_of = np.full(count, -1, np.int32)
        self._numbers: dict[Header, int] = {}
        self._headers: list[Header] = []

    def __setitem__(self, row: int, header: Header) -> None:
        number = self._numbers.get(header)
        if number is None:
            number = self._numbers[header] = len(self._headers)
            self._headers.append(header)
        self._number_of[row] = number

    def __getitem__(self, row: int) -> Header:
        """Raises KeyError where a row has none."""
        number = self._number_of[row]
        if number < 0:
            raise KeyError(row)
        return self._headers[number]

    def __contains__(self, row: int) -> bool:
        return bool(self._number_of[row] >= 0)

    def __bool__(self) -> bool:
        return bool(self._headers)

    def values(self) -> list[Header]:
        """Each that occurs, once."""
        return self._headers

    def modes(self) -> set[str]:
        """Those of which it must be found out what is white."""
        return {header.mode for header in self._headers if header.mode != "1"}

    def counts(self) -> Iterator[tuple[Header, int]]:
        """Each that occurs, with the number of rows that have it."""
        counts = np.bincount(self._number_of[self._number_of >= 0], minlength=len(self._headers))
        return zip(self._headers, counts.tolist(), strict=True)


class _Plan(NamedTuple):
    """How pictures are to be read.

    Attributes:
        shape: that they are brought to.
        whites, notes: the numbers that are white, and what is said of them.
        headers: of all that are read; None where only the first were looked at.
        as_first: in that case, whether a picture is as these.
    """

    shape: ImageShape
    whites: Whites
    notes: list[str]
    headers: Headers | None
    as_first: Callable[[Header], bool] | None = None

    def expects(self, row: int, header: Header) -> bool:
        """Whether a picture with this header can be read by the plan."""
        if self.headers is None:
            return self.as_first is None or self.as_first(header)
        before = self.headers[row]
        return (header.width, header.height, header.grey) == (before.width, before.height, before.grey)


class _Decoded(NamedTuple):
    """Some pictures that a thread decoded.

    Attributes:
        chunk: those that could be; None of none.
        headers: how many have each.
        digests: of the files of the chunk's rows, where they are wanted.
        bad: the rows of the others, and what is wrong with each.
    """

    chunk: pack.Chunk | None
    headers: Counter[Header]
    digests: list[str]
    bad: list[tuple[int, str]]


class Pictures(Source):
    """Encoded pictures. Rows are numbered in the order in which they are read."""

    kind = "folder"
    heeds = frozenset({"pages", "white_level"})
    #: `DataOptions.white_level`.
    white_level: int | None = None
    #: Whether some were found to be otherwise than the first.
    _misled = False

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
        """What is to be packed, in one pass where the first pictures say how all are read.

        Nearly always all pictures have the size of the first ones, or are brought to one; colour or none, as they; and
        numbers whose white is known by them. So they are decoded at once, each with its header. Where one is otherwise,
        or bad, `pack.BeginAgainError` is raised, and the next call reads all headers before it decodes any.
        """
        plan = None if self._misled else self._plan_by_first(options)
        if plan is not None:
            return self._contents(plan, {}, options)
        headers, bad = self._read_all_headers(options)
        shape = wanted_shape(self._common_shape(headers, options), options)
        whites, notes = self._whites(headers)
        return self._contents(_Plan(shape, whites, notes, headers), bad, options)

    def _plan_by_first(self, options: DataOptions) -> _Plan | None:
        """How all pictures are read, if they are as the first are; None where these don't settle it."""
        first = Headers(self.count)
        for row, header in attempt_all(read_header, islice(self.each(), FIRST)):
            if isinstance(header, BadImage):
                return None
            first[row] = header
        found = self._ranges(first, islice(self.each(), FIRST))
        modes = first.modes()
        if not first or not self._settled(found, modes):
            return None
        bits = {bits_of(mode) for mode in modes}
        sizes = {(header.width, header.height) for header in first.values()}
        if len(sizes) > 1 and options.image_size is None:
            return None
        all_grey = all(header.grey for header in first.values())
        whites, notes = self._whites_of(found)

        def as_first(header: Header) -> bool:
            return (
                (options.image_size is not None or (header.width, header.height) in sizes)
                and (header.grey or not all_grey or options.channels is not None)
                and (header.mode == "1" or (bits_of(header.mode) in bits and not may_be_anything(header.mode)))
            )

        return _Plan(wanted_shape(self._common_shape(first, options), options), whites, notes, None, as_first)

    def _read_all_headers(self, options: DataOptions) -> tuple[Headers, dict[str, str]]:
        """The headers, and what is wrong with each picture that has none.

        Raises:
            DataError: when more pictures are bad than `options` allow, or all are.
        """
        headers = Headers(self.count)
        bad: dict[str, str] = {}
        with tqdm(total=self.count, desc=f"reading {options.dataset}", unit="files", disable=None) as bar:
            for row, header in attempt_all(read_header, self.each()):
                bar.update()
                if isinstance(header, BadImage):
                    bad[self.name(row)] = str(header)
                else:
                    headers[row] = header
        self._refuse_if_too_many(bad, options.skip_bad)
        if not headers:
            raise DataError(f"{self.path}: none of its {self.count:,} image files can be read")
        return headers, bad

    def _contents(self, plan: _Plan, skipped: dict[str, str], options: DataOptions) -> pack.Contents:
        """What is packed by a plan; `skipped` has what is known to be bad."""
        left_out: dict[str, int] = {}
        notes = list(plan.notes)
        shape, fit, whites = plan.shape, options.fit, plan.whites
        hashed = self.stamp_of(0) is not None
        digests = np.zeros((self.count if hashed else 0, SHA256_BYTES), np.uint8)
        read_rows = np.zeros(len(digests), bool)

        def decoded(items: list[Item]) -> _Decoded:
            rows, pictures, bad = [], [], []
            for item in items:
                try:
                    expected = partial(plan.expects, item.row)
                    found = read(content_of(item), shape, fit, whites, expected=expected, hashed=hashed)
                except BadImage as error:
                    bad.append((item.row, str(error)))
                    continue
                if isinstance(found, Header):
                    bad.append((item.row, "has changed while it was read"))
                else:
                    rows.append(item.row)
                    pictures.append(found)
            headers = Counter(picture.header for picture in pictures)
            if not rows:
                return _Decoded(None, headers, [], bad)
            images = np.stack([picture.pixels for picture in pictures])
            marks = np.array([picture.fingerprint for picture in pictures], np.int64)
            chunk = pack.Chunk(np.array(rows), images, marks, all(header.shape == shape for header in headers))
            return _Decoded(chunk, headers, [picture.digest for picture in pictures] if hashed else [], bad)

        def chunks() -> Iterator[pack.Chunk]:
            seen: Counter[Header] = Counter()
            wanted = self.each() if plan.headers is None else (it for it in self.each() if it.row in plan.headers)
            for some in in_threads(decoded, wanted, shape.numbers):
                if some.bad and plan.headers is None:
                    self._misled = True
                    raise pack.BeginAgainError
                for row, problem in some.bad:
                    skipped[self.name(row)] = problem
                    self._refuse_if_too_many(skipped, options.skip_bad)
                seen.update(some.headers)
                if some.chunk is None:
                    continue
                if hashed:
                    content = bytes.fromhex("".join(some.digests))
                    digests[some.chunk.rows] = np.frombuffer(content, np.uint8).reshape(-1, SHA256_BYTES)
                    read_rows[some.chunk.rows] = True
                yield some.chunk
            left_out.update(further_pages(seen.items()))
            loss = loss_by_crop({(header.width, header.height) for header in seen}, options)
            notes.extend([loss] if loss else [])

        def sources() -> Iterator[tuple[str, pack.SourceFile]]:
            before = None
            for row in np.flatnonzero(read_rows).tolist():
                file, stamp = self.file_of(row), self.stamp_of(row)
                if file != before and stamp is not None:  # the pages of a file follow each other
                    yield file, pack.SourceFile(*stamp, digests[row].tobytes().hex())
                before = file

        return pack.Contents(
            shape=shape,
            count=self.count,
            images=chunks(),
            labels=self.labels,
            attributes=self.attributes,
            parts=self.parts,
            classes=self.classes,
            attribute_names=self.attribute_names,
            left_out=left_out,
            skipped=skipped,
            sources=sources(),
            whites=whites,
            notes=notes,
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
        self.complete()
        headers, skipped = self._read_all_headers(options)
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
        for file, problem in skipped.items():
            log.warning("left out: %s %s", self.base / file, problem)

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
        headers = Headers(self.count)
        bad: dict[int, BadImage] = {}
        with without_warnings():
            for row, header in attempt_all(read_header, self.each()):
                if isinstance(header, BadImage):
                    bad[row] = header
                else:
                    headers[row] = header
        whites: Whites = {}
        try:
            whites, notes = self._whites(headers)
            findings.notes += notes
            if survey is not None:
                survey.know(whites)
        except DataError as error:
            findings.problems.append(str(error))

        def inspect(item: Item) -> tuple[int, str, Glimpse | None, Range | None]:
            if item.row in bad:
                raise bad[item.row]
            header = headers[item.row]
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
        findings.left_out |= further_pages(headers.counts())

    # -- what is common to all of them ---------------------------------------------------------------------------------

    def _whites(self, headers: Headers) -> tuple[Whites, list[str]]:
        """The numbers that are white in these pictures, and what is to be said of them.

        Pictures are decoded until more of them would make no difference: in most folders, the first.

        Raises:
            DataError: when their numbers aren't brightness.
        """
        return self._whites_of(self._ranges(headers, self.each()))

    def _ranges(self, headers: Headers, items: Iterable[Item]) -> dict[int, Range]:
        """What numbers the pixels of some pictures are, by the bits of a pixel; no more are read than settle it."""
        found: dict[int, Range] = {bits: Numbers(bits) for bits in (8, 16, 0)}
        modes = headers.modes()

        def look(item: Item) -> Range | None:
            mode = headers[item.row].mode
            return None if mode == "1" or self._settled(found, {mode}) else range_of(content_of(item))

        def until_settled() -> Iterator[Item]:
            for item in items:
                if self._settled(found, modes):
                    return
                if item.row in headers:
                    yield item

        for _, seen in attempt_all_items(look, until_settled()):
            if isinstance(seen, Range):
                found[seen.bits].include(seen)
        return found

    def _settled(self, found: dict[int, Range], modes: set[str]) -> bool:
        """Whether more pictures of these modes wouldn't change what is white, and what is said of it."""
        for mode in modes:
            of_mode = found[bits_of(mode)]
            # That larger numbers than a person's white are cut is told.
            told = self.white_level is None or of_mode.high > self.white_level
            if may_be_anything(mode) or not of_mode.settled or not told:
                return False
        return True

    def _whites_of(self, found: dict[int, Range]) -> tuple[Whites, list[str]]:
        """Raises DataError when the numbers aren't brightness."""
        seen = {bits: each for bits, each in found.items() if each.low <= each.high or not each.finite}
        if self.white_level is not None and self.white_level > 255 and seen.keys() == {8}:
            raise DataError(
                f"{self.path}: --white-level {self.white_level} of pixels that all have 8 bits, which hold 255 "
                "at most; leave it away"
            )
        whites: dict[int, White] = {}
        notes: list[str | None] = []
        try:
            for bits, each in seen.items():
                whites[bits], note = scale_of_pictures(each, self.white_level)
                notes.append(note)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        return whites, [note for note in notes if note]

    def _common_shape(self, headers: Headers, options: DataOptions) -> ImageShape:
        """The shape of all pictures; of any of them where `image_size` makes them alike."""
        sizes: Counter[tuple[int, int]] = Counter()
        for header, count in headers.counts():
            sizes[header.width, header.height] += count
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


def further_pages(headers: Iterable[tuple[Header, int]]) -> dict[str, int]:
    """What files hold besides the picture that is read, by headers and how many files have each."""
    files = pages = animated = 0
    for header, count in headers:
        files += count if header.pages > 1 else 0
        pages += count * (header.pages - 1)
        animated += count if header.animated else 0
    found = {
        f"further pages of {counted(files, 'file')} (--pages all)": pages,
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
    """`function` of each item, in order, by several threads."""

    def attempt(item: Item) -> tuple[int, T | BadImage]:
        try:
            return item.row, function(item)
        except BadImage as error:
            return item.row, error

    for some in in_threads(lambda items: [attempt(item) for item in items], items):
        yield from some


def in_threads(function: Callable[[list[Item]], T], items: Iterable[Item], result_bytes: int = 0) -> Iterator[T]:
    """`function` of some items at a time, in order, by several threads: Pillow decodes without Python's lock.

    Args:
        result_bytes: what the result of an item takes of memory: of large ones, fewer wait to be taken.
    """
    threads = min(8, os.cpu_count() or 1)
    waiting: deque[tuple[int, Future[T]]] = deque()
    held = 0
    with ThreadPoolExecutor(threads) as pool:
        for piece, size in _pieces(items, result_bytes):
            waiting.append((size, pool.submit(function, piece)))
            held += size
            while len(waiting) > AHEAD * threads or held > MAX_HELD:
                size, result = waiting.popleft()
                yield result.result()
                held -= size
        while waiting:
            yield waiting.popleft()[1].result()


def _pieces(items: Iterable[Item], result_bytes: int) -> Iterator[tuple[list[Item], int]]:
    """Items, as many at a time as a thread takes, and the bytes of memory that they and their results hold."""
    piece: list[Item] = []
    held = 0
    for item in items:
        piece.append(item)
        held += result_bytes
        if isinstance(item.content, bytes):
            held += len(item.content)
        elif isinstance(item.content, Page):
            held += item.content.held
        if len(piece) == AT_ONCE or held >= PIECE_BYTES:
            yield piece, held
            piece, held = [], 0
    if piece:
        yield piece, held
