"""How is a source written plain, so that other programs, and genkit, can read it without knowing where it came from?

As an `.npz`, as folders of PNGs, or as Parquet in the way of Hugging Face's `datasets`. Images come one after the
other, and nothing but a few of them is held; what is written is there whole or not at all.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import shutil
import zipfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from genkit.contract import ImageShape
from genkit.data import SOURCES, DataOptions, load, pack
from genkit.data.decode import EXTENSIONS, without_warnings
from genkit.data.forms.source import Source, log
from genkit.data.forms.stored import Name, Stored
from genkit.data.levels import FEW
from genkit.errors import DataError, GenkitError
from genkit.files import scratch_folder, whole_file, whole_folder
from genkit.wording import counted

#: Bytes of images that are held while they are encoded, and how many at most.
HELD, AT_ONCE = 64 << 20, 256
#: Rows, and bytes, of a group in a Parquet file: what a reader takes into memory for one image of it.
GROUP, GROUP_BYTES = 100, 16 << 20
#: Of the table that says the class of each file.
METADATA = ["file_name", "label", "class"]
#: How Hugging Face calls the splits.
HUGGING_FACE = {"train": "train", "val": "validation", "test": "test"}


@dataclass
class Plain:
    """Images and all that is known of them. Tables have a row for each of `count` images, some of which may not come.

    Attributes:
        name: what the source is called.
        images: each row with its image, uint8 (C, H, W), in the order of the rows.
        shape: of every image; None where each has its own.
        count: how many there are if none is left out.
        labels: int64 (count,), or None.
        classes: their names.
        attributes: bool (count, A), or None.
        attribute_names: their names.
        parts: uint8 (count,), an index into `pack.PARTS`, or None where the source has no splits.
        names: of the images, where they have some.
    """

    name: str
    images: Iterable[tuple[int, np.ndarray]]
    shape: ImageShape | None
    count: int
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    attributes: np.ndarray | None = None
    attribute_names: tuple[str, ...] = ()
    parts: np.ndarray | None = None
    names: list[str] | None = None

    def part(self, row: int) -> str:
        """The split of an image; "" where there are none."""
        return "" if self.parts is None else pack.PARTS[self.parts[row]]

    def splits(self) -> dict[str, int]:
        """Those that there are, and how many images each has; all images as "" where there are none."""
        if self.parts is None:
            return {"": self.count}
        counts = np.bincount(self.parts, minlength=len(pack.PARTS)).tolist()
        return {name: count for name, count in zip(pack.PARTS, counts, strict=True) if count}


def convert(options: DataOptions, out: Path, hold_out: bool = False) -> dict[str, int]:
    """Write the images that `options` describe; returns how many of each split, of all as "" where there are none.

    Args:
        out: a new `.npz`, a new `.parquet`, or, of another name, a new folder. See `Npz`, `Folders` and `Parquet`.
        hold_out: write the splits that training makes, where the source has none.

    Raises:
        DataError: when they can't be read, or not as `out` would have them.
        GenkitError: when it can't be written; nothing is left there.
    """
    kind = kind_of(out)
    if options.dataset in SOURCES or hold_out:
        return _written(_as_trained(options), out, kind)
    from genkit.data import forms

    source = forms.opened(options)
    source.tell()
    source.complete()
    while True:
        with suppress(pack.BeginAgainError):
            return _written(_of_source(source, options, one_shape=kind is Npz), out, kind)


def _written(plain: Plain, out: Path, kind: type[Writer]) -> dict[str, int]:
    """Write it, and count what was written."""
    written: dict[str, int] = {}
    brightest = 0
    with without_warnings(), kind(out, plain) as writer:
        for row, image in tqdm(plain.images, f"writing {out}", unit="images", total=plain.count, disable=None):
            writer.add(row, image)
            part = plain.part(row)
            written[part] = written.get(part, 0) + 1
            brightest = max(brightest, int(image.max())) if brightest <= FEW else brightest
        if not written:
            raise DataError(f"{plain.name}: has no image that can be read")
        writer.finish()
    if 0 < brightest <= FEW:
        log.warning("%s: is nearly black; give --white-level 255 when you use it, or it is brightened", out)
    return {part: written[part] for part in plain.splits() if part in written}


def kind_of(out: Path) -> type[Writer]:
    """What writes a file or folder of this name."""
    return {".npz": Npz, ".parquet": Parquet}.get(out.suffix.lower(), Folders)


# ---------------------------------------------------------------------------------------------------------------------
# What is written
# ---------------------------------------------------------------------------------------------------------------------


def _of_source(source: Source, options: DataOptions, one_shape: bool) -> Plain:
    shape = None
    images = source.originals(options)
    if one_shape or options.image_size is not None or options.channels is not None:
        contents = source.contents(options)
        shape = contents.shape
        if not isinstance(contents.images, Path):
            images = _told(source, contents)
    return Plain(
        options.dataset,
        images,
        shape,
        source.count,
        source.labels,
        source.classes,
        source.attributes,
        source.attribute_names,
        source.parts,
        source.names(),
    )


def _told(source: Source, contents: pack.Contents) -> Iterator[tuple[int, np.ndarray]]:
    """The images of a pack's contents, and at their end which were left out."""
    assert not isinstance(contents.images, Path)
    for chunk in contents.images:
        yield from zip(chunk.rows.tolist(), chunk.images, strict=True)
    for note in contents.notes:
        log.info("%s: %s", source.path, note)
    for file, problem in contents.skipped.items():
        log.warning("left out: %s %s", source.path / file, problem)


def _as_trained(options: DataOptions) -> Plain:
    """A set in the splits that training uses: what it doesn't bring is held out, and what would leak left out."""
    dataset = load(options)
    splits = list(dataset.splits().values())
    count = sum(map(len, splits))

    def images() -> Iterator[tuple[int, np.ndarray]]:
        row = 0
        for split in splits:
            for start in range(0, len(split), split.block_length()):
                for image in split.images(slice(start, start + split.block_length())).numpy():
                    yield row, image
                    row += 1

    def column(name: str) -> np.ndarray | None:
        columns = [getattr(split, name) for split in splits]
        return None if any(each is None for each in columns) else np.concatenate([each.numpy() for each in columns])

    parts = np.repeat(np.arange(len(splits), dtype=np.uint8), [len(split) for split in splits])
    return Plain(
        dataset.name,
        images(),
        dataset.shape,
        count,
        column("labels"),
        dataset.classes,
        column("attributes"),
        dataset.attributes,
        parts,
    )


# ---------------------------------------------------------------------------------------------------------------------
# How it is written
# ---------------------------------------------------------------------------------------------------------------------


class Writer(ABC):
    """Writes images as they come, to a place that appears once `finish` has been called, whole."""

    def __init__(self, out: Path, plain: Plain):
        self.out, self.plain = out, plain
        self.stack = ExitStack()

    def __enter__(self) -> Writer:
        try:
            self.begin()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self.stack.__exit__(*error)

    @abstractmethod
    def begin(self) -> None:
        """Make the temporary file or folder."""

    @abstractmethod
    def add(self, row: int, image: np.ndarray) -> None:
        """The image of a row, uint8 (C, H, W)."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is left."""


class Npz(Writer):
    """An `.npz`: `images`, `labels` and `attributes`, or, of a source with splits, `train_images`, `test_labels`, …

    Images are uint8 (N, H, W), of colours (N, H, W, 3). Labels are int64 (N,), indices into `class_names`. Attributes
    are bool (N, A), called `attribute_names`. Nothing is compressed, so that it is written and read quickly.
    """

    def begin(self) -> None:
        shape = self.plain.shape
        assert shape is not None
        counts = self.plain.splits()
        self.temporary = self.stack.enter_context(whole_file(self.out))
        expected = 2 * self.plain.count * shape.numbers
        free = shutil.disk_usage(self.temporary.parent).free
        if expected > free:
            raise GenkitError(
                f"{self.out}: takes {expected / 1e9:.1f} GB while it is written, {free / 1e9:.1f} GB are free; make "
                "room, name another place, or give a smaller --image-size"
            )
        self.scratch = self.stack.enter_context(scratch_folder(self.temporary.parent, ".genkit-"))
        self.layout = self._layout(counts)
        self.rows: dict[str, list[int]] = {part: [] for part in counts}
        self.files = {part: self.stack.enter_context((self.scratch / f"{part}.npy").open("wb")) for part in counts}
        for part, file in self.files.items():
            self._header(file, counts[part])

    def _layout(self, counts: Mapping[str, int]) -> str:
        """ "HW", "HWC" or "CHW": the first that genkit itself takes for what it is; sizes may look like other things.

        Raises:
            GenkitError: when there is none, as of images that are 3 pixels wide.
        """
        from genkit.data.forms.axes import view_of

        shape = self.plain.shape
        assert shape is not None
        for layout in ("HW" if shape.channels == 1 else "HWC", "CHW"):
            arrays = [_Planned(self.out, (count, *_sizes(shape, layout))) for count in counts.values()]
            labelled = self.plain.labels is not None or self.plain.attributes is not None
            with suppress(DataError):
                view = view_of(arrays, [arrays[0].shape[0]] if labelled else [], DataOptions(dataset=str(self.out)))
                read = [view, *(view.of(other) for other in arrays[1:])]
                if not view.last and view.shape == shape and [each.total for each in read] == [*counts.values()]:
                    return layout
        height, width = shape[1:]
        raise GenkitError(
            f"{self.out}: in an array, {counted(self.plain.count, 'image')} of {width}x{height} can't be told from "
            "something else; write .parquet or a folder"
        )

    def _header(self, file: IO[bytes], count: int) -> None:
        """NumPy's header, which keeps room for a longer number."""
        assert self.plain.shape is not None
        shape = (count, *_sizes(self.plain.shape, self.layout))
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})

    def add(self, row: int, image: np.ndarray) -> None:
        part = self.plain.part(row)
        self.rows[part].append(row)
        pixels = image.transpose(1, 2, 0) if self.layout == "HWC" else image
        self.files[part].write(np.ascontiguousarray(pixels).data)

    def finish(self) -> None:
        plain = self.plain
        with zipfile.ZipFile(self.temporary, "w", zipfile.ZIP_STORED) as archive:
            for part, file in self.files.items():
                start, rows = f"{part}_" if part else "", np.array(self.rows[part], np.int64)
                file.seek(0)
                self._header(file, len(rows))
                file.close()
                with (
                    Path(file.name).open("rb") as images,
                    archive.open(f"{start}images.npy", "w", force_zip64=True) as member,
                ):
                    shutil.copyfileobj(images, member, 1 << 20)
                Path(file.name).unlink()
                if plain.labels is not None:
                    _member(archive, f"{start}labels", plain.labels[rows])
                if plain.attributes is not None:
                    _member(archive, f"{start}attributes", plain.attributes[rows])
            if plain.labels is not None:
                _member(archive, "class_names", np.array(plain.classes))
            if plain.attributes is not None:
                _member(archive, "attribute_names", np.array(plain.attribute_names))


def _sizes(shape: ImageShape, layout: str) -> list[int]:
    return [{"C": shape.channels, "H": shape.height, "W": shape.width}[axis] for axis in layout]


class _Planned(Stored):
    """An array that isn't written yet, whose pixels nobody knows."""

    def __init__(self, path: Path, shape: tuple[int, ...]):
        self.path, self.name, self.shape, self.dtype = path, Name(path.name), shape, np.dtype(np.uint8)

    def rows(self, step: int) -> Iterator[np.ndarray]:
        for start in range(0, self.shape[0], step):
            yield np.zeros((min(step, self.shape[0] - start), *self.shape[1:]), np.uint8)

    def last_axis_first(self) -> Stored:
        return _Planned(self.path, (self.shape[-1], *self.shape[:-1]))


def _member(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)


class Encoded(Writer):
    """Writes images as PNGs, which are made on all cores while others come."""

    def begin(self) -> None:
        self.pool = self.stack.enter_context(ThreadPoolExecutor(min(8, os.cpu_count() or 1)))
        self.waiting: deque[tuple[int, int, Future[bytes]]] = deque()
        self.held = 0

    def add(self, row: int, image: np.ndarray) -> None:
        self.waiting.append((row, image.size, self.pool.submit(_as_png, image)))
        self.held += image.size
        while len(self.waiting) > AT_ONCE or (self.held > HELD and len(self.waiting) > 1):
            self._write_one()

    def _write_one(self) -> None:
        row, size, content = self.waiting.popleft()
        self.held -= size
        self.write(row, content.result())

    def finish(self) -> None:
        while self.waiting:
            self._write_one()

    @abstractmethod
    def write(self, row: int, content: bytes) -> None:
        """One PNG, in the order in which images came."""


def _as_png(image: np.ndarray) -> bytes:
    """uint8 (C, H, W) as the content of a file."""
    content = io.BytesIO()
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


class Parquet(Encoded):
    """Parquet as `datasets` writes it: a struct `image` of bytes and path, `label` by class names, attributes as bools.

    A file, or, of a source with splits, a folder of that name with a file for each, `train-00000-of-00001.parquet`:
    `datasets.load_dataset("parquet", data_files=FILE)` takes the one, `load_dataset(FOLDER)` the other.
    """

    def begin(self) -> None:
        import pyarrow
        import pyarrow.parquet

        self.arrow = pyarrow
        plain = self.plain
        self.attribute_columns = [
            f"attribute-{name}" if name in ("image", "label") else name for name in plain.attribute_names
        ]
        if plain.parts is None:
            files = {"": self.stack.enter_context(whole_file(self.out))}
        else:
            folder = self.stack.enter_context(whole_folder(self.out))
            files = {part: folder / f"{HUGGING_FACE[part]}-00000-of-00001.parquet" for part in plain.splits()}
        super().begin()
        schema = self._schema()
        self.rows: dict[str, list[dict[str, Any]]] = {part: [] for part in files}
        self.sizes = dict.fromkeys(files, 0)
        self.writers = {}
        for part, path in files.items():
            # A file of Python's, whose errors say what the system said.
            file = self.stack.enter_context(path.open("wb"))
            # Of PNGs, no byte would be saved.
            writer = pyarrow.parquet.ParquetWriter(file, schema, compression="NONE")
            self.writers[part] = self.stack.enter_context(_closed(writer))

    def _schema(self) -> Any:
        arrow, plain = self.arrow, self.plain
        fields = [("image", arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())]))]
        features: dict[str, Any] = {"image": {"_type": "Image"}}
        if plain.labels is not None:
            fields.append(("label", arrow.int64()))
            features["label"] = {"names": list(plain.classes), "_type": "ClassLabel"}
        for name in self.attribute_columns if plain.attributes is not None else ():
            fields.append((name, arrow.bool_()))
            features[name] = {"dtype": "bool", "_type": "Value"}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        return arrow.schema(fields, metadata=metadata)

    def write(self, row: int, content: bytes) -> None:
        plain, part = self.plain, self.plain.part(row)
        value: dict[str, Any] = {"image": {"bytes": content, "path": f"{file_name(plain, row)}.png"}}
        if plain.labels is not None:
            value["label"] = int(plain.labels[row])
        if plain.attributes is not None:
            value.update(zip(self.attribute_columns, plain.attributes[row].tolist(), strict=True))
        self.rows[part].append(value)
        self.sizes[part] += len(content)
        if len(self.rows[part]) >= GROUP or self.sizes[part] >= GROUP_BYTES:
            self._write_group(part)

    def _write_group(self, part: str) -> None:
        writer = self.writers[part]
        writer.write_table(self.arrow.Table.from_pylist(self.rows[part], writer.schema))
        self.rows[part], self.sizes[part] = [], 0

    def finish(self) -> None:
        super().finish()
        for part, rows in self.rows.items():
            if rows:
                self._write_group(part)
            self.writers[part].close()


@contextmanager
def _closed(writer: Any) -> Iterator[Any]:
    """A ParquetWriter; one that couldn't write says so by itself, and nothing of its end is wanted then."""
    try:
        yield writer
    except BaseException:
        with suppress(Exception):
            writer.close()
        raise


class Folders(Encoded):
    """A folder of PNGs, `SPLIT/CLASS/NAME.png`, as far as there are splits and classes, and `attributes.csv`.

    Where folders don't say all of the classes (their order, a name that can't be a folder's everywhere), `metadata.csv`
    has the label of each file and the name of its class.
    """

    def begin(self) -> None:
        self.folder = self.stack.enter_context(whole_folder(self.out))
        super().begin()
        plain = self.plain
        self.taken: set[int] = set()
        self.made: set[str] = set()
        self.tables: dict[str, Any] = {}
        self.class_folders, labelled = self._class_folders()
        if plain.attributes is not None:
            self._table("attributes.csv", ["file", *plain.attribute_names])
        if labelled:
            self._table("metadata.csv", METADATA)

    def _table(self, name: str, headings: Sequence[str]) -> None:
        file = self.stack.enter_context((self.folder / name).open("w", encoding="utf-8", newline=""))
        self.tables[name] = csv.writer(file, lineterminator="\n")
        self.tables[name].writerow(headings)

    def _class_folders(self) -> tuple[dict[int, str], bool]:
        """What the folder of each class is called, and whether a table has to say what they mean.

        genkit itself is asked how it understands them: some names of folders say something else, as `masks` does.
        """
        plain = self.plain
        if plain.labels is None:
            return {}, False
        present = np.unique(plain.labels).tolist()
        if len(present) < 2:
            log.warning("%s: all images are of one class, which folders don't say", self.out)
            return {}, False
        if len(present) < len(plain.classes):
            log.warning("%s: classes without an image have no folder", self.out)
        used: set[str] = set()
        named = {label: _unlike(safe(plain.classes[label]), used) for label in present}
        numbered = {label: f"class-{label:0{len(str(max(present)))}}" for label in present}
        for folders, labelled in ((named, False), (named, True), (numbered, True)):
            if self._is_understood(folders, labelled):
                return folders, labelled
        raise GenkitError(f"{self.out}: these classes can't be written as folders; name a file, .npz or .parquet")

    def _is_understood(self, folders: dict[int, str], labelled: bool) -> bool:
        """Whether genkit finds the classes and splits in folders of these names again."""
        plain = self.plain
        assert plain.labels is not None
        parts = np.zeros(plain.count, np.int64) if plain.parts is None else plain.parts
        codes, rows = np.unique(parts * np.int64(len(plain.classes)) + plain.labels, return_index=True)
        first = {divmod(code, len(plain.classes)): row for code, row in zip(codes.tolist(), rows.tolist(), strict=True)}
        with scratch_folder(self.folder.parent, ".genkit-") as probe:
            lines = []
            for (_, label), row in sorted(first.items()):
                file = probe / self._folder(row, folders) / "0.png"
                file.parent.mkdir(parents=True)
                file.write_bytes(_as_png(np.zeros((1, 4, 4), np.uint8)))
                lines.append([file.relative_to(probe).as_posix(), label, plain.classes[label]])
            if labelled:
                with (probe / "metadata.csv").open("w", encoding="utf-8", newline="") as table:
                    csv.writer(table, lineterminator="\n").writerows([METADATA, *lines])
            return self._is_meant(probe, first)

    def _is_meant(self, folder: Path, rows: Mapping[tuple[int, int], int]) -> bool:
        """Whether genkit finds these splits and classes in a folder, and no others."""
        from genkit.data import forms

        plain = self.plain
        try:
            source = forms.opened(DataOptions(dataset=str(folder)))
        except DataError:
            return False
        parts = np.zeros(source.count, np.uint8) if source.parts is None else source.parts
        if source.labels is None or (source.parts is None) != (plain.parts is None):
            return False
        present = sorted({label for _, label in rows})
        found = {(int(part), source.classes[label]) for part, label in zip(parts, source.labels, strict=True)}
        wanted = {(part, plain.classes[label]) for part, label in rows}
        return found == wanted and source.classes == tuple(plain.classes[label] for label in present)

    def _folder(self, row: int, folders: Mapping[int, str]) -> str:
        plain = self.plain
        parts = [plain.part(row), "" if plain.labels is None else folders.get(int(plain.labels[row]), "")]
        return "/".join(part for part in parts if part)

    def write(self, row: int, content: bytes) -> None:
        plain, folder = self.plain, self._folder(row, self.class_folders)
        if folder not in self.made:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
            self.made.add(folder)
        path = self._unused(folder, file_name(plain, row))
        (self.folder / path).write_bytes(content)
        if "attributes.csv" in self.tables:
            assert plain.attributes is not None
            self.tables["attributes.csv"].writerow([path, *plain.attributes[row].astype(int).tolist()])
        if "metadata.csv" in self.tables:
            assert plain.labels is not None
            label = int(plain.labels[row])
            self.tables["metadata.csv"].writerow([path, label, plain.classes[label]])

    def _unused(self, folder: str, name: str) -> str:
        """A path that no other file has, nor one on a file system to which a and A are the same."""
        for number in itertools.count(1):
            path = f"{folder}/{name}.png" if number == 1 else f"{folder}/{name}-{number}.png"
            known = hash(path.casefold())  # of a million names, their hashes take a tenth of the memory
            if known not in self.taken:
                self.taken.add(known)
                return path.removeprefix("/")
        raise AssertionError


# ---------------------------------------------------------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------------------------------------------------------


def file_name(plain: Plain, row: int) -> str:
    """What an image is called, without an ending, if it has a name of its own; else its number."""
    number = f"{row:0{max(5, len(str(plain.count - 1)))}}"
    if plain.names is None or len(plain.names) <= row:
        return number
    page = re.fullmatch(r"(.*), page ([0-9]+)", plain.names[row])
    path = PurePosixPath(page[1] if page else plain.names[row])
    if path.suffix.lower() not in EXTENSIONS:
        return number
    return safe(f"{path.stem}-{page[2]}" if page else path.stem) or number


#: What no file of Windows may be called, whatever its ending.
DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])( *\.|$)")
#: Bytes of a name at most; a file system takes 255, and some of an encrypted one 143.
MAX_NAME = 100


def safe(name: str) -> str:
    """A name as any file system takes it: the same, or with _ for what one of them doesn't."""
    name = "".join("_" if letter in '<>:"/\\|?*' or not letter.isprintable() else letter for letter in name)
    while len(name.encode(errors="replace")) > MAX_NAME:
        name = name[:-1]
    name = re.sub(r"^[. ]|[. ]$", "_", name)  # hidden, or cut off
    return f"_{name}" if DEVICES.match(name) else name


def _unlike(name: str, used: set[str]) -> str:
    """The name, or with a number where one like it is used."""
    for number in itertools.count(1):
        candidate = name if number == 1 else f"{name}-{number}"
        if candidate.casefold() not in used:
            used.add(candidate.casefold())
            return candidate
    raise AssertionError
