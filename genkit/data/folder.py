"""A folder of pictures: subfolders are classes, a table gives attributes, and all is decoded once into a pack."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from genkit.contract import ImageShape
from genkit.data import DataOptions, pack, tables
from genkit.data.dataset import Dataset
from genkit.data.decode import (
    BadImage,
    Header,
    bits_of,
    decode_and_hash,
    range_of,
    read_header,
    remedy,
    without_warnings,
)
from genkit.data.findings import Findings, in_words
from genkit.data.layout import Layout, lay_out, unlearnt
from genkit.data.levels import Range, Whites, dark, remark, require_floats, white_of
from genkit.data.listing import Listing, scan
from genkit.data.pixels import loss_by_crop, wanted_shape
from genkit.errors import DataError
from genkit.files import expanded
from genkit.wording import counted

#: Files that a thread takes at once.
FILES_AT_ONCE = 16

log = logging.getLogger("genkit")
T = TypeVar("T")


def load(options: DataOptions) -> Dataset:
    """The pictures in a folder and its subfolders, `wanted_shape` being what `options` say.

    - Channels: 1 if every file is stored without colour, else 3.
    - Size: without an `image_size`, all pictures must have the same one; it needn't be square.
    - Classes: the names of the first subfolders, sorted. Pictures that lie beside subfolders mean no classes.
    - Attributes, and CelebA's splits: see `tables`.
    - Splits: subfolders `train` and `val` or `test`, in one of the spellings that `layout` knows, with the classes in
      them. What they don't bring is held out; a picture that stands in two of them is left out of the one nearer to
      training.
    - Labels: of `dataset.json` or `metadata.*` instead of the folders, where they lie there; see `labels`.
    - Links are followed; see `listing`. A line counts all that isn't read.

    Raises:
        DataError: when there is no picture, more than `options.skip_bad` files can't be used, sizes differ, or a table
            doesn't fit.
    """
    listing, layout, key = _sought(options)
    for note in layout.notes:
        log.info("%s: %s", listing.root, note)
    for warning in layout.warnings:
        log.warning("%s: %s", listing.root, warning)
    with without_warnings():
        packed = pack.open_or_write(key, lambda: _contents(listing, layout, options))
    left_out = {**listing.left_out, **layout.left_out, **packed.left_out}
    if left_out:
        log.warning("%s: left out: %s", listing.root, in_words(left_out))
    labels = packed.dataset.train.labels
    for line in [] if labels is None else unlearnt(packed.dataset.classes, labels.numpy()):
        log.warning("%s: %s", listing.root, line)
    _refuse_if_too_many(listing.root, packed.skipped, options.skip_bad, all_known=True)
    for file, problem in packed.skipped.items():
        log.warning("left out: %s %s", listing.root / file, problem)
    return packed.told()


def _sought(options: DataOptions) -> tuple[Listing, Layout, pack.Key]:
    """What lies in the folder, what it means, and the pack of it."""
    listing = scan(expanded(options.dataset))
    layout = lay_out(listing)
    source = {"folder": str(listing.root), **pack.form_of(options)}
    state = [layout.files, listing.stamps, listing.targets, _meaning(layout)]
    return listing, layout, pack.Key(options.dataset, source, state)


def has_own_splits(folder: Path) -> bool:
    """Whether the folder says which of its pictures are for training, and which for testing.

    Raises:
        DataError: when it can't be read, or made sense of.
    """
    listing = scan(folder)
    return tables.PARTITION in listing.stamps or lay_out(listing).parts is not None


def files_of(options: DataOptions) -> list[str]:
    """The pictures that `load` packed, by their paths from the folder, in the order of the pack's images.

    Raises:
        DataError: when they aren't packed as they lie there now.
    """
    _, layout, key = _sought(options)
    packed = pack.find(key)
    if packed is None:
        raise DataError(f"{options.dataset}: has changed while it was read; try again")
    return [file for file in layout.files if file not in packed.skipped]


def verify(name_or_path: str) -> Findings:
    """Decode every picture of a folder, read its tables, and check its packs; or check one pack, named by its folder.

    A picture that decodes but whose bytes aren't those that were packed, although its size and time are, has rotted: no
    program that writes a file leaves its time as it was.
    """
    path = expanded(name_or_path)
    if (path / pack.MANIFEST).is_file():
        return pack.verify(path)
    listing = scan(path)
    findings = Findings(source=str(listing.root), left_out=listing.left_out)
    files = listing.files
    try:
        layout = lay_out(listing)
    except tables.BadTable as error:
        findings.problems += error.faults
    except DataError as error:
        findings.problems.append(str(error))
    else:
        files = layout.files
        findings.left_out |= layout.left_out
        findings.notes = layout.notes + layout.warnings + layout.unlearnt()
    findings.files = len(files)
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    fingerprints = set()
    packed = list(pack.sources_of({"folder": str(listing.root)}))

    with without_warnings():
        read = dict(_attempt_all(lambda file: read_header(listing.root / file), files))
    headers = {file: header for file, header in read.items() if not isinstance(header, BadImage)}
    whites: Whites = {}
    try:
        whites, notes = _whites(listing.root, headers)
        findings.notes += notes
    except DataError as error:
        findings.problems.append(str(error))

    def inspect(file: str) -> tuple[int, str]:
        header = read[file]
        if isinstance(header, BadImage):
            raise header
        shape = ImageShape(1 if header.grey else 3, header.height, header.width)
        return decode_and_hash(listing.root / file, header, shape, whites=whites)[1:]

    def rotted(file: str, digest: str) -> bool:
        before = [sources[file] for sources in packed if file in sources]
        return any((each.bytes, each.time) == listing.stamps[file] and each.sum != digest for each in before)

    with without_warnings(), tqdm(total=len(files), desc="verifying", unit="images", disable=None) as bar:
        for file, result in _attempt_all(inspect, files):
            bar.update()
            if isinstance(result, BadImage):
                findings.problems.append(f"{listing.root / file}: {result}; {remedy(str(result))}, or use --skip-bad")
                continue
            fingerprint, digest = result
            if rotted(file, digest):
                findings.problems.append(
                    f"{listing.root / file}: has changed since it was packed although its size and time are the same; "
                    "restore it from a copy, or `touch` it to accept it as it is"
                )
            findings.images += 1
            findings.duplicates += fingerprint in fingerprints
            fingerprints.add(fingerprint)
            sizes[f"{headers[file].width}x{headers[file].height}"] += 1
            modes[headers[file].mode] += 1
    findings.sizes, findings.modes = dict(sizes.most_common()), dict(modes.most_common())
    findings.left_out |= _further_pages(headers.values())
    findings.problems += _faults_of_tables(listing, files)
    pack.verify_packs_of({"folder": str(listing.root)}, findings)
    return findings


# ---------------------------------------------------------------------------------------------------------------------
# What is known of files without opening them
# ---------------------------------------------------------------------------------------------------------------------


def _attributes(listing: Listing, files: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray | None]:
    """The names of the attributes, and bool (N, A) if there is a table of them."""
    table = next((name for name in tables.ATTRIBUTES if name in listing.stamps), None)
    return ((), None) if table is None else tables.read_attributes(listing.root / table, files)


def _partition(listing: Listing, files: Sequence[str]) -> np.ndarray | None:
    """CelebA's splits, uint8 (N,), if there is a table of them."""
    if tables.PARTITION not in listing.stamps:
        return None
    return tables.read_partition(listing.root / tables.PARTITION, files)


def _faults_of_tables(listing: Listing, files: Sequence[str]) -> list[str]:
    """What `_contents` would stop at, and what it would then stop at next."""
    faults = []
    for read in (_attributes, _partition):
        try:
            read(listing, files)
        except tables.BadTable as error:
            faults += error.faults
        except DataError as error:
            faults.append(str(error))
    return faults


def _meaning(layout: Layout) -> str:
    """SHA-256 of splits and labels: a pack of the same files that were understood otherwise is another pack."""
    found = hashlib.sha256(json.dumps(layout.classes).encode())
    for column in (layout.labels, layout.parts):
        found.update(b"-" if column is None else column.tobytes())
    return found.hexdigest()


def _further_pages(headers: Iterable[Header]) -> dict[str, int]:
    """What files hold besides the picture that is read."""
    headers = list(headers)
    further = [header.pages - 1 for header in headers if header.pages > 1]
    animated = sum(header.animated for header in headers)
    found = {
        f"further pages of {counted(len(further), 'TIFF')}": sum(further),
        "animations (all but the first frame)": animated,
    }
    return {kind: count for kind, count in found.items() if count}


# ---------------------------------------------------------------------------------------------------------------------
# What is in them
# ---------------------------------------------------------------------------------------------------------------------


def _contents(listing: Listing, layout: Layout, options: DataOptions) -> pack.Contents:
    """Read tables and all headers, decide on the shape by them, and be ready to decode."""
    files = layout.files
    attribute_names, attributes = _attributes(listing, files)
    partition = _partition(listing, files)
    skipped: dict[str, str] = {}
    sources: dict[str, pack.SourceFile] = {}
    headers: dict[str, Header] = {}
    with tqdm(total=len(files), desc=f"reading {options.dataset}", unit="files", disable=None) as bar:
        for file, header in _attempt_all(lambda file: read_header(listing.root / file), files):
            bar.update()
            if isinstance(header, BadImage):
                skipped[file] = str(header)
            else:
                headers[file] = header
    _refuse_if_too_many(listing.root, skipped, options.skip_bad)
    if not headers:
        raise DataError(f"{listing.root}: none of its {len(files):,} image files can be read")
    shape = wanted_shape(_common_shape(listing.root, headers, options), options)
    whites, notes = _whites(listing.root, headers)
    loss = loss_by_crop([(header.width, header.height) for header in headers.values()], options)

    def decoded(file: str) -> tuple[np.ndarray, int, str]:
        return decode_and_hash(listing.root / file, headers[file], shape, options.fit, whites)

    def chunks() -> Iterator[pack.Chunk]:
        row_of = {file: row for row, file in enumerate(files)}
        good = list(headers)
        step = pack.chunk_length(shape)
        for start in range(0, len(good), step):
            rows, images, fingerprints = [], [], []
            some = good[start : start + step]
            results = _attempt_all(decoded, some)
            for file, result in results:
                if isinstance(result, BadImage):
                    skipped[file] = str(result)
                    _refuse_if_too_many(listing.root, skipped, options.skip_bad)
                    continue
                rows.append(row_of[file])
                images.append(result[0])
                fingerprints.append(result[1])
                sources[file] = pack.SourceFile(*listing.stamps[file], result[2])
            if rows:
                yield pack.Chunk(np.array(rows), np.stack(images), np.array(fingerprints, np.int64))

    return pack.Contents(
        shape=shape,
        count=len(files),
        images=chunks(),
        labels=layout.labels,
        attributes=attributes,
        parts=layout.parts if partition is None else partition,
        classes=layout.classes,
        attribute_names=attribute_names,
        left_out=_further_pages(headers.values()),
        skipped=skipped,
        sources=sources,
        whites=whites,
        notes=(*notes, *([loss] if loss else [])),
    )


def _whites(root: Path, headers: Mapping[str, Header]) -> tuple[Whites, list[str]]:
    """The numbers that are white in these pictures, and what is to be said of them.

    Pictures are decoded until more of them would make no difference: in most folders, the first.

    Raises:
        DataError: when their numbers aren't brightness.
    """
    found = {bits: Range(bits) for bits in (8, 16, 0)}

    def look(file: str) -> Range | None:
        mode = headers[file].mode
        return None if mode == "1" or found[bits_of(mode)].settled else range_of(root / file)

    for _, seen in _attempt_all(look, list(headers)):
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
        raise DataError(f"{root}: {error}") from error
    return whites, [note for note in notes if note]


def _common_shape(root: Path, headers: dict[str, Header], options: DataOptions) -> ImageShape:
    """The shape of all pictures; of any of them where `image_size` makes them alike."""
    sizes = Counter((header.width, header.height) for header in headers.values())
    if len(sizes) > 1 and options.image_size is None:
        commonest = ", ".join(f"{width}x{height} ({count:,})" for (width, height), count in sizes.most_common(3))
        smallest = min(min(size) for size in sizes)
        raise DataError(
            f"{root}: images of {len(sizes):,} sizes, most often {commonest}; give --image-size N to make them alike "
            f"(the smallest is {smallest} pixels wide or high)"
        )
    (width, height), _ = sizes.most_common(1)[0]
    return ImageShape(1 if all(header.grey for header in headers.values()) else 3, height, width)


def _refuse_if_too_many(root: Path, skipped: dict[str, str], allowed: int, all_known: bool = False) -> None:
    """Raises DataError; unless `all_known`, there may be more bad files than have been found so far."""
    if len(skipped) > allowed:
        number = f"--skip-bad {len(skipped)}" if all_known else f"--skip-bad {len(skipped)} or more"
        file, problem = next(iter(skipped.items()))
        others = f" (and {counted(len(skipped) - 1, 'other bad file')})" if len(skipped) > 1 else ""
        raise DataError(
            f"{root / file} {problem}{others}; {remedy(problem)}, or leave bad files out with {number} "
            f"(`genkit data verify {root}` names them all)"
        )


def _attempt_all(function: Callable[[str], T], files: Sequence[str]) -> Iterator[tuple[str, T | BadImage]]:
    """`function` of each file, in order, by several threads: Pillow decodes and resizes without Python's lock."""

    def attempt(file: str) -> T | BadImage:
        try:
            return function(file)
        except BadImage as error:
            return error

    def attempt_some(some: Sequence[str]) -> list[T | BadImage]:
        return [attempt(file) for file in some]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), 1024):
            some = files[start : start + 1024]
            # To hand over a file takes as long as to decode a small one.
            pieces = [some[first : first + FILES_AT_ONCE] for first in range(0, len(some), FILES_AT_ONCE)]
            yield from zip(some, chain.from_iterable(pool.map(attempt_some, pieces)), strict=True)
