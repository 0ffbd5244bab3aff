"""A folder of pictures: subfolders are classes, a table gives attributes, and all is decoded once into a pack."""

from __future__ import annotations

import logging
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from genkit.contract import ImageShape
from genkit.data import DataOptions, pack, tables
from genkit.data.dataset import Dataset
from genkit.data.decode import EXTENSIONS, BadImage, Header, decode_and_hash, read_header, without_warnings
from genkit.data.findings import Findings
from genkit.data.pixels import wanted_shape
from genkit.errors import DataError
from genkit.files import expanded
from genkit.wording import counted

#: Folders of these names are the folder's own splits.
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}

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
    - Splits: subfolders `train` and `val` or `test` (see PART_NAMES for other spellings), with the classes in them.
      What they don't bring is held out; a picture that stands in two of them is left out of the one nearer to training.

    Raises:
        DataError: when there is no picture, more than `options.skip_bad` files can't be used, sizes differ, or a table
            doesn't fit.
    """
    listing = scan(expanded(options.dataset))
    source = {"folder": str(listing.root), "image_size": options.image_size, "channels": options.channels}
    key = pack.Key(options.dataset, source, [listing.files, listing.stamps])
    with without_warnings():
        packed = pack.open_or_write(key, lambda: _contents(listing, options))
    _refuse_if_too_many(listing.root, packed.skipped, options.skip_bad, all_known=True)
    for file, problem in packed.skipped.items():
        log.warning("left out: %s %s", listing.root / file, problem)
    return packed.dataset


def verify(name_or_path: str) -> Findings:
    """Decode every picture of a folder, read its tables, and check its packs; or check one pack, named by its folder.

    A picture that decodes but whose bytes aren't those that were packed, although its size and time are, has rotted: no
    program that writes a file leaves its time as it was.
    """
    path = expanded(name_or_path)
    if (path / pack.MANIFEST).is_file():
        return pack.verify(path)
    listing = scan(path)
    findings = Findings(source=str(listing.root), files=len(listing.files))
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    fingerprints = set()
    stamps = listing.stamp_of()
    packed = list(pack.sources_of({"folder": str(listing.root)}))

    def inspect(file: str) -> tuple[Header, int, str]:
        path = listing.root / file
        header = read_header(path)
        shape = ImageShape(1 if header.grey else 3, header.height, header.width)
        _, fingerprint, digest = decode_and_hash(path, header, shape)
        return header, fingerprint, digest

    def rotted(file: str, digest: str) -> bool:
        before = [sources[file] for sources in packed if file in sources]
        return any((each.bytes, each.time) == stamps[file] and each.sum != digest for each in before)

    with without_warnings(), tqdm(total=len(listing.files), desc="verifying", unit="images", disable=None) as bar:
        for file, result in _attempt_all(inspect, listing.files):
            bar.update()
            if isinstance(result, BadImage):
                findings.problems.append(f"{listing.root / file}: {result}; mend or remove it, or use --skip-bad")
                continue
            header, fingerprint, digest = result
            if rotted(file, digest):
                findings.problems.append(
                    f"{listing.root / file}: has changed since it was packed although its size and time are the same; "
                    "restore it from a copy, or `touch` it to accept it as it is"
                )
            findings.images += 1
            findings.duplicates += fingerprint in fingerprints
            fingerprints.add(fingerprint)
            sizes[f"{header.width}x{header.height}"] += 1
            modes[header.mode] += 1
    findings.sizes, findings.modes = dict(sizes.most_common()), dict(modes.most_common())
    findings.problems += _faults_of_tables(listing)
    pack.verify_packs_of({"folder": str(listing.root)}, findings)
    return findings


# ---------------------------------------------------------------------------------------------------------------------
# Which files
# ---------------------------------------------------------------------------------------------------------------------


class Listing(NamedTuple):
    """What lies in a folder."""

    root: Path  # resolved
    files: list[str]  # the pictures, by their paths from `root` with "/", sorted
    stamps: list[tuple[str, int, int]]  # name, bytes and time (ns) of each picture and table; differs when they do

    def tables(self) -> set[str]:
        return {name for name, _, _ in self.stamps} - set(self.files)

    def stamp_of(self) -> dict[str, tuple[int, int]]:
        """Bytes and time by name."""
        return {name: (size, time) for name, size, time in self.stamps}


def scan(folder: Path) -> Listing:
    """Find the pictures by their names' endings. Hidden files, and links that lead out of the folder, are left out.

    Raises:
        DataError: when there is none, or a folder can't be read.
    """
    root = folder.resolve()
    found: dict[str, os.stat_result] = {}
    outside = 0
    wanted = {*tables.ATTRIBUTES, tables.PARTITION}

    def stop(error: OSError) -> None:
        raise DataError(f"{error.filename}: can't be read ({error.strerror}); allow it, or move it out of {folder}")

    for place, folders, names in os.walk(root, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        for name in names:
            path = Path(place, name)
            relative = path.relative_to(root).as_posix()
            if name.startswith(".") or not (path.suffix.lower() in EXTENSIONS or relative in wanted):
                continue
            if not str(path).isprintable() and any(unicodedata.category(each) in ("Cc", "Cs") for each in str(path)):
                raise DataError(f"{str(path)!a}: a name with a control character, or not in UTF-8; rename it")
            try:
                if path.is_symlink() and not path.resolve().is_relative_to(root):
                    outside += 1
                    continue
                status = path.stat()
            except (OSError, RuntimeError) as error:  # a broken link, or a circle of them
                raise DataError(f"{path}: can't be read ({error}); remove it") from error
            if stat.S_ISREG(status.st_mode):
                found[relative] = status
    if outside:
        log.warning("%s: left out: %s out of the folder; copy the files instead", folder, counted(outside, "link"))
    files = sorted(found.keys() - wanted)
    if not files:
        raise DataError(f"{folder}: no image files in it; put some there (.png, .jpg, ..., in subfolders by class)")
    return Listing(root, files, [(name, each.st_size, each.st_mtime_ns) for name, each in sorted(found.items())])


class Description(NamedTuple):
    """What is known of N files without opening them. See `pack.Contents`."""

    labels: np.ndarray | None
    classes: tuple[str, ...]
    parts: np.ndarray | None
    attributes: np.ndarray | None
    attribute_names: tuple[str, ...]


def _describe(listing: Listing) -> Description:
    """Raises DataError when folders or tables can't be made sense of."""
    paths = _unwrapped([file.split("/") for file in listing.files])
    parts = _parts(listing.root, paths)
    if parts is not None:
        paths = [path[1:] for path in paths]
    labels, classes = _labels(listing.root, paths)

    attribute_names, attributes = _attributes(listing)
    partition = _partition(listing)
    return Description(labels, classes, parts if partition is None else partition, attributes, attribute_names)


def _faults_of_tables(listing: Listing) -> list[str]:
    """What `_describe` would stop at, and what it would then stop at next."""
    faults = []
    for read in (_attributes, _partition, _describe):
        try:
            read(listing)
        except tables.BadTable as error:
            faults += error.faults
        except DataError as error:
            faults.append(str(error))
    return list(dict.fromkeys(faults))


def _attributes(listing: Listing) -> tuple[tuple[str, ...], np.ndarray | None]:
    """The names of the attributes, and bool (N, A) if there is a table of them."""
    table = next((name for name in tables.ATTRIBUTES if name in listing.tables()), None)
    return ((), None) if table is None else tables.read_attributes(listing.root / table, listing.files)


def _partition(listing: Listing) -> np.ndarray | None:
    """CelebA's splits, uint8 (N,), if there is a table of them."""
    if tables.PARTITION not in listing.tables():
        return None
    return tables.read_partition(listing.root / tables.PARTITION, listing.files)


def _unwrapped(paths: list[list[str]]) -> list[list[str]]:
    """Paths without the folders that all of them are in, which tell nothing apart."""
    while all(len(path) > 1 and path[0] == paths[0][0] for path in paths):
        paths = [path[1:] for path in paths]
    return paths


def _parts(root: Path, paths: list[list[str]]) -> np.ndarray | None:
    """Which of pack.PARTS each file is in, uint8 (N,), if the topmost folders are splits."""
    tops = [path[0] if len(path) > 1 else "" for path in paths]
    known = {top: PART_NAMES.get(top.lower()) for top in set(tops)}
    found = set(known.values()) - {None}
    if "train" not in found or len(found) == 1:
        return None
    strangers = sorted(top for top, part in known.items() if part is None)
    if strangers:
        others = ", ".join(f"{top}/" for top in strangers if top) or "loose images"
        raise DataError(f"{root}: {others} beside the splits {' and '.join(sorted(map(str, found)))}; move them out")
    return np.array([pack.PARTS.index(str(known[top])) for top in tops], np.uint8)


def _labels(root: Path, paths: list[list[str]]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Each file's class, int64 (N,), and the classes' names."""
    loose = sum(len(path) == 1 for path in paths)
    classes = sorted({path[0] for path in paths if len(path) > 1})
    if loose and classes:
        log.warning("%s: %d images lie beside the subfolders, so that these aren't taken for classes", root, loose)
    if loose or len(classes) < 2:
        return None, ()
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[path[0]] for path in paths], np.int64), tuple(classes)


# ---------------------------------------------------------------------------------------------------------------------
# What is in them
# ---------------------------------------------------------------------------------------------------------------------


def _contents(listing: Listing, options: DataOptions) -> pack.Contents:
    """Read all headers, decide on the shape by them, and be ready to decode."""
    description = _describe(listing)
    skipped: dict[str, str] = {}
    stamps = listing.stamp_of()
    sources: dict[str, pack.SourceFile] = {}
    headers: dict[str, Header] = {}
    with tqdm(total=len(listing.files), desc=f"reading {options.dataset}", unit="files", disable=None) as bar:
        for file, header in _attempt_all(lambda file: read_header(listing.root / file), listing.files):
            bar.update()
            if isinstance(header, BadImage):
                skipped[file] = str(header)
            else:
                headers[file] = header
    _refuse_if_too_many(listing.root, skipped, options.skip_bad)
    if not headers:
        raise DataError(f"{listing.root}: none of its {len(listing.files):,} image files can be read")
    shape = wanted_shape(_common_shape(listing.root, headers, options), options)

    def chunks() -> Iterator[pack.Chunk]:
        row_of = {file: row for row, file in enumerate(listing.files)}
        good = list(headers)
        step = pack.chunk_length(shape)
        for start in range(0, len(good), step):
            rows, images, fingerprints = [], [], []
            some = good[start : start + step]
            results = _attempt_all(lambda file: decode_and_hash(listing.root / file, headers[file], shape), some)
            for file, result in results:
                if isinstance(result, BadImage):
                    skipped[file] = str(result)
                    _refuse_if_too_many(listing.root, skipped, options.skip_bad)
                    continue
                rows.append(row_of[file])
                images.append(result[0])
                fingerprints.append(result[1])
                sources[file] = pack.SourceFile(*stamps[file], result[2])
            if rows:
                yield pack.Chunk(np.array(rows), np.stack(images), np.array(fingerprints, np.int64))

    return pack.Contents(
        shape=shape,
        count=len(listing.files),
        images=chunks(),
        labels=description.labels,
        attributes=description.attributes,
        parts=description.parts,
        classes=description.classes,
        attribute_names=description.attribute_names,
        skipped=skipped,
        sources=sources,
    )


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
            f"{root / file} {problem}{others}; mend or remove it, or leave bad files out with {number} "
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
