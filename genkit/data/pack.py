"""How are images that took work to make (decoded, resized, drawn) kept, so that the work is done only once?

A pack is a folder `packed/NAME-SOURCE-STATE` in GENKIT_DATA, or in the user's cache where that can't be written:

    images.npy      uint8 (N, C, H, W), memory-mapped (missing where the source is an array that serves as it is)
    splits.npy      uint8 (N,), an index into PARTS, or LEFT_OUT for a duplicate across the source's own splits
    labels.npy      int64 (N,), if the source has labels
    attributes.npy  bool (N, A), if it has attributes
    sources.json    of each file that an image was read from: its bytes, its time (ns) and its SHA-256
    pack.json       everything else, and the SHA-256 of each array's elements and of sources.json

It appears whole or not at all, is never changed, and gives way to its successor when the source has changed. The empty
`.NAME-SOURCE.lock` beside it makes sure that one process at a time packs a source.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from pydantic import BaseModel, Field
from torch import Tensor
from tqdm import tqdm

from genkit.contract import ImageShape
from genkit.data import OF_FILES, DataOptions, store
from genkit.data.dataset import Dataset, ImageFile, Split, as_tensor, fingerprint, mapped_file
from genkit.data.findings import Findings
from genkit.data.levels import White, Whites
from genkit.data.pixels import conform
from genkit.data.splits import Together, divide, name_copies
from genkit.errors import DataError
from genkit.files import remedy, scratch_folder, sha256_of
from genkit.wording import counted

MANIFEST = "pack.json"
SOURCES = "sources.json"
#: 1 had no sources.json; 2 let copies of one picture take a whole split, and took numbers for what their format says;
#: 3 had colour of 16 bits a channel only with its upper 8.
FORMAT = 4
PARTS = ("train", "val", "test")
LEFT_OUT = len(PARTS)

#: What a damaged manifest or array raises: pydantic's error is a ValueError, NumPy's for an empty file EOFError.
DAMAGED = (OSError, ValueError, EOFError)

log = logging.getLogger("genkit")


#: False where a pack that isn't there isn't to be written.
may_write: ContextVar[bool] = ContextVar("may_write", default=True)


class NotPackedError(DataError):
    """The images aren't packed yet, and weren't to be."""


class BeginAgainError(Exception):
    """Raised while chunks are made: they were of the wrong form. Contents that are made anew now have the right one."""


class Chunk(NamedTuple):
    """Some of the images of a pack that is being written.

    Splits are made by `originals`, so that they are the same whatever size and channels the images are brought to.
    """

    rows: np.ndarray  # int64 (B,), ascending; a row that no chunk brings is left out
    images: np.ndarray  # uint8 (B, C, H, W)
    originals: np.ndarray  # int64 (B,), the images' fingerprints before they were converted
    unchanged: bool = False  # whether nothing was converted, so that images are the same where their originals are


class SourceFile(NamedTuple):
    """A file that an image was read from, as it was then."""

    bytes: int
    time: int  # of its last change, ns
    sum: str  # SHA-256


@dataclass
class Contents:
    """What goes into a pack. Tables have a row for each of `count` images.

    Attributes:
        shape: of every image.
        count: how many images there are if none has to be left out.
        images: one chunk after the other; or the path of a .npy file that holds them all as they are wanted, which the
            pack then only points to.
        labels: int64 (count,), or None.
        attributes: bool (count, A), or None.
        parts: uint8 (count,), the source's own split as an index into PARTS, or None for "divide them".
        groups: int64 (count,), equal for images that belong together, as pages of one file: held out together or not at
            all. None where each is for itself.
        classes, attribute_names: names of the labels and of the attributes' columns.
        skipped: file to what is wrong with it, for those that were left out; may grow while the chunks are made.
        sources: each file that was packed, and what was read of it; asked for once the chunks are made.
        left_out: what the files hold besides and isn't packed, by kind; may grow while the chunks are made.
        whites: what was taken for white, where that was found out of the pixels.
        notes: what is to be said of how the images were read, each time that they are used; may grow likewise.
    """

    shape: ImageShape
    count: int
    images: Iterable[Chunk] | Path
    labels: np.ndarray | None = None
    attributes: np.ndarray | None = None
    parts: np.ndarray | None = None
    groups: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    sources: Iterable[tuple[str, SourceFile]] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    whites: Whites = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def form_of(options: DataOptions) -> dict[str, Any]:
    """What `options` say of the form that images get, for `Key.source`; a pack's name depends on it."""
    form: dict[str, Any] = {"image_size": options.image_size, "channels": options.channels}
    # What is as by default isn't mentioned, so that a new option doesn't give every pack another name.
    chosen = {name: getattr(options, name) for name in ("fit", *OF_FILES)}
    return form | {
        name: value for name, value in chosen.items() if value is not None and (name, value) != ("fit", "crop")
    }


def chunk_length(shape: ImageShape) -> int:
    """How many images to convert before they are written: some, but not more than 32 MB of them."""
    return max(1, min(256, (32 << 20) // shape.numbers))


def converted(images: np.ndarray, shape: ImageShape) -> Iterator[Chunk]:
    """uint8 (N, C, H, W) in chunks, every image brought to `shape`."""
    step = chunk_length(shape)
    for start in range(0, len(images), step):
        some = images[start : start + step]
        yield Chunk(np.arange(start, start + len(some)), conform(some, shape), fingerprint(some))


class Manifest(BaseModel, extra="forbid"):
    """pack.json."""

    format: int
    source: dict[str, Any]
    shape: tuple[int, int, int]
    count: int
    images: str  # a path; relative to the pack
    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    skipped: dict[str, str]
    left_out: dict[str, int] = Field(default_factory=dict)  # earlier versions didn't count
    sums: dict[str, str]
    whites: dict[int, White] = {}
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Key:
    """Which pack is meant.

    Attributes:
        name: what the person calls the source.
        source: JSON values that say which images these are: path or set, size, channels, ...
        state: JSON values that change when the source does.
    """

    name: str
    source: dict[str, Any]
    state: Any

    @cached_property
    def stem(self) -> str:
        """The same for all states of a source."""
        return self._stem(FORMAT)

    @property
    def former_stems(self) -> list[str]:
        """What earlier versions called packs of the source."""
        return [self._stem(format) for format in range(1, FORMAT)]

    @cached_property  # the state of a million files takes seconds to hash
    def folder(self) -> str:
        return f"{self.stem}-{_short_hash(self.state)}"

    def _stem(self, format: int) -> str:
        slug = re.sub(r"[^A-Za-z0-9]+", "-", Path(self.name).resolve().name).strip("-") or "images"
        return f"{slug[:40]}-{_short_hash([format, self.source])}"


def _short_hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


class Pack(NamedTuple):
    """A pack in good shape."""

    folder: Path
    dataset: Dataset
    skipped: dict[str, str]  # bad files that were left out, and what is wrong with each
    left_out: dict[str, int]  # what the files hold besides, by kind

    def told(self) -> Dataset:
        """The data set, once its notes have been logged."""
        for note in self.dataset.notes:
            log.info("%s: %s", self.dataset.name, note)
        return self.dataset


def find(key: Key) -> Pack | None:
    """The pack, if there is one."""
    for root in store.roots():
        folder = root / "packed" / key.folder
        try:
            if (folder / MANIFEST).is_file():
                return _open(folder, key.name)
        except DAMAGED as error:
            log.warning("%s: the pack is damaged (%s); it isn't used", folder, error)
    return None


def open_or_write(key: Key, make: Callable[[], Contents]) -> Pack:
    """The pack, which is written first if there is none; `make` is called only then.

    A pack of the same source in another state, or from an earlier version, is removed.

    Raises:
        DataError: when the images can't be packed, or (`NotPackedError`) aren't to be. Nothing is left behind.
    """
    found = find(key)
    if found is not None:
        return found
    if not may_write.get():
        raise NotPackedError(f"{key.name}: isn't packed yet")
    packed = store.writable_root() / "packed"
    with _disk_errors(packed):
        packed.mkdir(exist_ok=True)
        # Where another process packs the same source (a rank of the same run, say), we wait and use its pack.
        with FileLock(packed / f".{key.stem}.lock"):
            found = find(key)
            if found is None:
                for left_by_a_killed_process in packed.glob(f".{key.stem}.*.part"):
                    shutil.rmtree(left_by_a_killed_process)
                while True:
                    try:
                        _write(packed / key.folder, key, make())
                        break
                    except BeginAgainError:
                        continue
                found = _open(packed / key.folder, key.name)
                for stem in [key.stem, *key.former_stems]:
                    for superseded in packed.glob(f"{stem}-*"):
                        if superseded.name != key.folder:
                            log.info("%s was packed anew; removing its former pack %s", key.name, superseded)
                            shutil.rmtree(superseded)
    return found


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: {error.strerror or error}; {remedy(error, 'or', 'set GENKIT_DATA to another folder')}"
        ) from error


# ---------------------------------------------------------------------------------------------------------------------
# Write
# ---------------------------------------------------------------------------------------------------------------------


def _write(folder: Path, key: Key, contents: Contents) -> None:
    """Make the pack under a temporary name and then give it its own."""
    with scratch_folder(folder.parent, f".{key.stem}.") as temporary:
        manifest = _fill(temporary, key, contents)
        for file in temporary.iterdir():
            file.chmod(0o444)
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if folder.exists():  # damaged, or we wouldn't be here
            shutil.rmtree(folder)
        temporary.rename(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    log.info("%s: packed %s into %s (%.1f MB)", key.name, counted(manifest.count, "image"), folder, size / 1e6)


def _fill(folder: Path, key: Key, contents: Contents) -> Manifest:
    """Write the arrays, then the manifest."""
    sums: dict[str, str] = {}
    if isinstance(contents.images, Path):
        images, written = str(contents.images), None
        rows = np.arange(contents.count)
    else:
        images = "images.npy"
        written = _write_images(folder / images, key.name, contents, contents.images)
        rows, sums[images] = written.rows, written.sum
    storage, image_file = _map(folder / images, len(rows), contents.shape)
    labels = None if contents.labels is None else contents.labels[rows]
    of_images = None if labels is None else torch.from_numpy(labels)
    marks = torch.from_numpy(written.originals) if written is not None and written.unchanged else None
    everything = Split(storage, torch.arange(len(storage)), of_images, fingerprints=marks, file=image_file)
    parts = None if contents.parts is None else contents.parts[rows]
    groups = None if contents.groups is None else contents.groups[rows]
    tables = {
        "splits.npy": _divide(
            key.name, everything, None if written is None or written.unchanged else written.originals, parts, groups
        ),
        "labels.npy": labels,
        "attributes.npy": None if contents.attributes is None else contents.attributes[rows],
    }
    for file, table in tables.items():
        if table is not None:
            np.save(folder / file, table, allow_pickle=False)
    _write_sources(folder / SOURCES, contents.sources)
    manifest = Manifest(
        format=FORMAT,
        source={"name": key.name, **key.source},
        shape=contents.shape,
        count=len(rows),
        images=images,
        classes=contents.classes,
        attributes=contents.attribute_names,
        skipped=contents.skipped,
        left_out=contents.left_out,
        whites=dict(contents.whites),
        notes=tuple(contents.notes),
        sums={path.name: sums.get(path.name) or _sum(path) for path in sorted(folder.iterdir())},
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return manifest


def _write_sources(path: Path, sources: Iterable[tuple[str, SourceFile]]) -> None:
    """A line for each file, one after the other: of a million, all of them would take 400 MB. No file for none."""
    lines = (f'{json.dumps(file)}: [{each.bytes}, {each.time}, "{each.sum}"]' for file, each in sources)
    first = next(lines, None)
    if first is not None:
        with path.open("w", encoding="utf-8") as file:
            file.write("{\n" + first)
            file.writelines(f",\n{line}" for line in lines)
            file.write("\n}\n")


class _Written(NamedTuple):
    """The images of a pack, as they were written.

    Attributes:
        rows: int64 (N,), that came.
        originals: int64 (N,), see `Chunk`.
        unchanged: whether that is so of all chunks.
        sum: SHA-256 of all elements.
    """

    rows: np.ndarray
    originals: np.ndarray
    unchanged: bool
    sum: str


def _write_images(path: Path, name: str, contents: Contents, chunks: Iterable[Chunk]) -> _Written:
    """Write the chunks one after the other, in a thread, while the next is made.

    A plain sequential write, not a writable memory map: on a full disk that one kills the process.
    """
    expected = contents.count * contents.shape.numbers
    free = shutil.disk_usage(path.parent).free
    if expected > free:
        raise DataError(
            f"{path.parent.parent}: the {expected / 1e9:.1f} GB of images of {name} don't fit, {free / 1e9:.1f} GB are "
            "free; make room, set GENKIT_DATA to another folder, or give a smaller --image-size"
        )
    rows, originals = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    unchanged = True
    digest = hashlib.sha256()
    with (
        path.open("wb") as file,
        tqdm(total=contents.count, desc=f"packing {name}", unit="images", disable=None) as bar,
        ThreadPoolExecutor(1) as writer,
    ):
        _write_header(file, contents.count, contents.shape)
        start = file.tell()

        def write(chunk: Chunk) -> None:
            images = np.ascontiguousarray(chunk.images)
            file.write(images.data)
            digest.update(images.reshape(-1).data)
            rows.append(chunk.rows)
            originals.append(chunk.originals)
            bar.update(len(chunk.rows))

        before: Future[None] | None = None
        for chunk in chunks:
            unchanged = unchanged and chunk.unchanged
            if before is not None:
                before.result()
            before = writer.submit(write, chunk)
        if before is not None:
            before.result()
        kept = np.concatenate(rows)
        # The header keeps room for a longer number, so that the true count fits where the first guess stood.
        file.seek(0)
        _write_header(file, len(kept), contents.shape)
        assert file.tell() == start
    return _Written(kept, np.concatenate(originals), unchanged, digest.hexdigest())


def _write_header(file: BinaryIO, count: int, shape: ImageShape) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(file, header)


def _divide(
    name: str,
    everything: Split,
    originals: np.ndarray | None,
    parts: np.ndarray | None,
    groups: np.ndarray | None,
) -> np.ndarray:
    """The content of splits.npy: divided by the original images, then freed of those that have become the same."""
    converted_images = everything.fingerprinted()
    whole = converted_images
    if originals is not None:
        whole = replace(whole, fingerprints=torch.from_numpy(originals))
    if parts is None:
        given = {"all": whole}
    else:
        given = {PARTS[index]: whole.take(torch.from_numpy(parts == index)) for index in np.unique(parts)}
    together = None
    if groups is not None:
        assert whole.fingerprints is not None
        together = Together(whole.fingerprints.numpy(), groups)
    splits = divide(name, given, together)
    if originals is not None:
        splits = divide(
            name, {part: converted_images.take(split.rows) for part, split in zip(PARTS, splits, strict=True)}
        )
    name_copies(name, dict(zip(PARTS, splits, strict=True)))
    codes = np.full(len(everything), LEFT_OUT, np.uint8)
    for index, split in enumerate(splits):
        codes[split.rows.numpy()] = index
    return codes


# ---------------------------------------------------------------------------------------------------------------------
# Read
# ---------------------------------------------------------------------------------------------------------------------


def _open(folder: Path, name: str) -> Pack:
    """Raises one of DAMAGED where files are missing or cut; a flipped bit is for `verify` to find."""
    manifest = _read_manifest(folder)
    storage, images = _map(folder / manifest.images, manifest.count, ImageShape(*manifest.shape))
    codes, labels, attributes = (
        np.load(folder / file, allow_pickle=False) if file in manifest.sums else None
        for file in ("splits.npy", "labels.npy", "attributes.npy")
    )
    if codes is None or any(table is not None and len(table) != len(storage) for table in (codes, labels, attributes)):
        raise ValueError("its tables don't belong together")

    def split(index: int) -> Split:
        rows = np.flatnonzero(codes == index)
        return Split(
            storage,
            torch.from_numpy(rows),
            None if labels is None else torch.from_numpy(labels[rows]),
            None if attributes is None else torch.from_numpy(attributes[rows]),
            file=images,
        )

    train, val, test = (split(index) for index in range(len(PARTS)))
    read: dict[str, Any] = {"whites": manifest.whites, "notes": manifest.notes}
    dataset = Dataset(name, train, val, test, manifest.classes, manifest.attributes, **read)
    return Pack(folder, dataset, manifest.skipped, manifest.left_out)


def _read_manifest(folder: Path) -> Manifest:
    """Raises one of DAMAGED where it is missing, damaged, or another version's."""
    return Manifest.model_validate_json((folder / MANIFEST).read_bytes())


def _map(path: Path, count: int, shape: ImageShape) -> tuple[Tensor, ImageFile | None]:
    """A file of images as a tensor (count, *shape), memory-mapped, and itself (see `Split.file`).

    Raises:
        ValueError: where it holds anything else.
    """
    images = np.load(path, mmap_mode="r", allow_pickle=False).reshape(count, *shape)
    return as_tensor(images), mapped_file(images)


def _sum(path: Path) -> str:
    """SHA-256 of a file; of an array's elements in C order, which is hashlib.sha256(numpy.load(path))."""
    if path.suffix != ".npy":
        return sha256_of(path)
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("it isn't as packs are written")
        shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
        if in_columns:
            return store.sha256(np.load(path, allow_pickle=False).reshape(-1).view(np.uint8).data)
        # Not by a mapping: what is touched of it counts as this process's memory, in the end the whole file.
        digest, left = hashlib.sha256(), math.prod(shape) * dtype.itemsize
        while left:
            piece = file.read(min(left, 1 << 20))
            if not piece:
                raise EOFError("it ends too soon")
            digest.update(piece)
            left -= len(piece)
        return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# Verify
# ---------------------------------------------------------------------------------------------------------------------


def verify(folder: Path) -> Findings:
    """Hash a pack's files anew and hold the sums against its manifest.

    Raises:
        DataError: when it has no readable manifest.
    """
    remedy = f"delete {folder}, and it is packed again when it is next used"
    try:
        manifest = _read_manifest(folder)
    except DAMAGED as error:
        raise DataError(f"{folder / MANIFEST}: not the manifest of a pack; {remedy}") from error
    findings = Findings(source=str(folder), images=manifest.count)
    for file, expected in manifest.sums.items():
        findings.files += 1
        try:
            found = _sum(folder / file)
        except DAMAGED as error:
            findings.problems.append(f"{folder / file}: can't be read ({error}); {remedy}")
            continue
        findings.sums[file] = found
        if found != expected:
            findings.problems.append(f"{folder / file}: has changed since it was written; {remedy}")
    return findings


def verify_packs_of(source: dict[str, Any], findings: Findings) -> None:
    """Enter into a source's findings what there is to say of its packs: those whose `Key.source` has these items."""
    for folder in _packs_of(source):
        findings.include(verify(folder))


def sources_of(source: dict[str, Any]) -> Iterator[dict[str, SourceFile]]:
    """What each pack of a source, as in `verify_packs_of`, was read from; packs that don't say, or are damaged, aside.

    Nothing of a damaged `sources.json` is believed: it is `verify` that complains of it.
    """
    for folder in _packs_of(source):
        try:
            content = (folder / SOURCES).read_bytes()
            if store.sha256(content) == _read_manifest(folder).sums.get(SOURCES):
                yield {file: SourceFile(*known) for file, known in json.loads(content).items()}
        except DAMAGED:
            continue


def _packs_of(source: dict[str, Any]) -> Iterator[Path]:
    for root in store.roots():
        for path in sorted(root.glob(f"packed/*/{MANIFEST}")):
            try:
                manifest = _read_manifest(path.parent)
            except DAMAGED:
                continue  # nobody knows whose it is, and nobody opens it
            if source.items() <= manifest.source.items():
                yield path.parent
