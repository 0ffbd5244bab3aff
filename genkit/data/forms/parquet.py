"""Tables of images: Parquet files and Arrow files as Hugging Face's `datasets` writes them, in one shard or many.

What the columns mean is for `features` to say, and how they are read for `columns`. Here they become images: encoded
ones are `Pictures`, and lists of numbers are `Arrays`. Only columns that are used are ever read.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from genkit.data import DataOptions
from genkit.data.decode import FORMATS, BadImage
from genkit.data.findings import Findings
from genkit.data.forms import tables
from genkit.data.forms.annotations import MAX_TABLE
from genkit.data.forms.arrays import Arrays
from genkit.data.forms.columns import DAMAGED, ArrowShard, ParquetShard, Shard, stored
from genkit.data.forms.features import Columns, Feature, features_of
from genkit.data.forms.layout import part_of_file
from genkit.data.forms.listing import shown
from genkit.data.forms.pictures import Item, Pictures
from genkit.data.forms.places import Place
from genkit.data.forms.source import Source
from genkit.data.forms.stored import Holder, Name, Stored, reading
from genkit.data.pack import PARTS
from genkit.data.survey import Survey
from genkit.errors import DataError
from genkit.wording import counted

#: A shard's number and how many there are, and what else in a file's name tells no split.
SHARD = re.compile(r"-(\d+)-of-(\d+)(?=\.[^.]*$|$)")
#: Rows of labels that are read at once.
ROWS = 1 << 16
#: Attributes at most; a table of more is hardly one of attributes.
MAX_ATTRIBUTES = 1024


def opened(place: Place, files: Sequence[str], options: DataOptions) -> Source:
    """Files of tables, as one source.

    Raises:
        DataError: when one is damaged, they don't belong together, or it can't be told what is in them.
    """
    with reading(place.path / files[0], DAMAGED):
        table = Table(place, files, options)
    return Shards(table) if table.meaning.way in ("encoded", "paths") else PixelShards(table, options)


#: What a column is called that says which split a row is of.
SPLITS = {"split", "usage", "subset", "partition"}


class Table:
    """Shards one after the other, train's first, and all that is known of their rows but the images.

    A row is left out that has no label where others have one, as in the test splits of competitions.

    Attributes:
        shards: in order.
        starts: int64 (shards + 1,), the place of each one's first row among all rows, and the end.
        meaning: of the columns.
        kept: bool (rows,), the rows that are read; None for all.
        labels, classes, parts, attributes, attribute_names, left_out, notes, warnings: as a `Source` has them, of the
            rows that are kept.
    """

    def __init__(self, place: Place, files: Sequence[str], options: DataOptions):
        self.place = place
        self.split_column = ""
        self.path = place.path / files[0] if len(files) == 1 else place.path
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []
        self.warnings: list[str] = []
        parts = _parts_of(place.path, files)
        order = sorted(files, key=lambda file: (PARTS.index(parts[file] or "train"), _natural(file)))
        self.shards: list[Shard] = [
            (ArrowShard if _is_arrow(place, file) else ParquetShard)(place, file) for file in order
        ]
        self.arrow = self.shards[0].arrow
        counts = [shard.count for shard in self.shards]
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        if not self.starts[-1]:
            raise DataError(f"{self.path}: holds no row; give a file that holds images")
        self._warn_of_missing_shards(files)

        self.features = features_of(self.shards[0].schema.metadata)
        self._of_rows = np.repeat(np.arange(len(counts)), counts)
        columns = Columns(
            self.arrow, self.shards[0].path, self.shards[0].schema, self.features, self._begins_as_picture
        )
        self.meaning = columns.meaning(options.images, options.labels)
        self._require_alike()
        codes = [PARTS.index(parts[file] or "train") for file in order]
        of_rows = np.repeat(np.array(codes, np.uint8), counts)
        if not any(parts.values()):
            of_rows = self._parts_by_column(of_rows)
        self.kept: np.ndarray | None = None
        self.labels, self.classes = self._read_labels(of_rows)
        self.attributes, self.attribute_names = self._read_attributes()
        if self.kept is not None:
            of_rows = of_rows[self.kept]
        self.count = len(of_rows)
        self.parts = of_rows if len(np.unique(of_rows)) > 1 else None
        self._tell(parts)

    def _warn_of_missing_shards(self, files: Sequence[str]) -> None:
        found: dict[tuple[str, str], set[str]] = {}
        for file in files:
            numbered = SHARD.search(file)
            if numbered:
                found.setdefault((file[: numbered.start()], numbered[2]), set()).add(numbered[1])
        for (stem, total), numbers in found.items():
            if len(numbers) != int(total):
                self.warnings.append(
                    f"{len(numbers):,} of the {int(total):,} files {posixpath.basename(stem)}-…-of-{total}, so that "
                    "images are missing" + ("; give the folder to read all that are there" if len(files) == 1 else "")
                )

    def _begins_as_picture(self, name: str) -> bool:
        """Whether the first value of a column of bytes is a picture."""
        for block in islice(self.shards[0].blocks([name], rows=4), 256):
            for value in block.column(0).to_pylist():
                content = value.get("bytes") if isinstance(value, dict) else value
                if content is not None:
                    return _is_picture(content)
        return False

    def _require_alike(self) -> None:
        """Raises DataError where a shard hasn't the columns of the first, or has them of other types."""
        first = self.shards[0]
        wanted = [
            *self.meaning.images,
            *([self.meaning.labels] if self.meaning.labels else []),
            *self.meaning.attributes,
        ]
        for shard in self.shards[1:]:
            for name in wanted:
                kinds = [each.schema.field(name).type if name in each.schema.names else None for each in (first, shard)]
                if kinds[0] != kinds[1] and not (
                    self.meaning.way == "encoded" and name in self.meaning.images and kinds[1]
                ):
                    has = f"has {name!a} of {kinds[1]!s:.60}" if kinds[1] else f"has no {name!a}"
                    raise DataError(
                        f"{shard.path}: {has}, where {first.file} has {kinds[0]!s:.60}; give tables of one kind"
                    )

    # -- columns that are held whole -----------------------------------------------------------------------------------

    def _whole(self, name: str) -> Any:
        """A column of all shards, as one of pyarrow's arrays, that takes MAX_TABLE bytes at most.

        Raises:
            DataError: when it takes more, or is damaged.
        """
        pieces, held = [], 0
        for shard in self.shards:
            for block in shard.blocks([name], ROWS):
                column = stored(self.arrow, block.column(0))
                held += column.nbytes
                if held > MAX_TABLE:
                    raise DataError(
                        f"{shard.path}: the column {name!a} takes more than {MAX_TABLE:,} bytes; save shorter values"
                    )
                pieces.append(column)
        with reading(self.path, DAMAGED):
            return self.arrow.concat_arrays(pieces)

    def _parts_by_column(self, otherwise: np.ndarray) -> np.ndarray:
        """The split of each row, uint8 (rows,), where files don't say it and a column does; else `otherwise`.

        A column of words that aren't all splits is told: images to test on shouldn't be trained on in silence.
        """
        name = next((each for each in self.meaning.unused if each.lower() in SPLITS), None)
        types = self.arrow.types
        if name is None or not all(name in shard.schema.names for shard in self.shards):
            return otherwise
        column = self._whole(name)
        if not (types.is_string(column.type) or types.is_large_string(column.type)):
            return otherwise
        with reading(self.path, DAMAGED):
            encoded = column.fill_null("").dictionary_encode()
            words = encoded.dictionary.to_pylist()
        said = [part_of_file(word) for word in words]
        if None in said or len(set(said)) < 2:
            odd = next((word for word, part in zip(words, said, strict=True) if part is None), words[0])
            self.warnings.append(
                f"{name} doesn't say the splits, {odd[:40]!a} being {'none' if None in said else 'all'}; not used"
            )
            return otherwise
        self.meaning = self.meaning._replace(unused=tuple(each for each in self.meaning.unused if each != name))
        self.split_column = name
        codes = np.array([PARTS.index(str(part)) for part in said], np.uint8)
        return codes[encoded.indices.to_numpy(zero_copy_only=False)]

    def _read_labels(self, parts: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """int64 (count,), an index into the classes, and these; rows without a label are taken out of `kept`."""
        name = self.meaning.labels
        if name is None:
            return None, ()
        column = self._whole(name)
        types = self.arrow.types
        where = f"{self.path}: the labels {name!a}"
        if types.is_boolean(column.type):
            column = column.cast("int8")
        if types.is_floating(column.type) or types.is_decimal(column.type):
            column = self._as_integers(column, where)
        if not (types.is_integer(column.type) or types.is_string(column.type) or types.is_large_string(column.type)):
            raise DataError(
                f"{where} are of {column.type!s:.60}, and not one number or word for each image; choose others with "
                "--labels, or leave them with --labels none"
            )
        missing = np.asarray(column.is_null())
        names: tuple[str, ...] = ()
        said = self._names_in_shards(name) if types.is_integer(column.type) else [()]
        if types.is_integer(column.type):
            values = column.fill_null(0).to_numpy(zero_copy_only=False)
            if any(said) or all((values[parts == part] == -1).all() for part in set(parts[values == -1].tolist())):
                missing |= values == -1  # as `datasets` has it where nobody knows the class
        else:
            with reading(self.path, DAMAGED):
                encoded = column.fill_null("").dictionary_encode()
                words = encoded.dictionary.to_pylist()
            order = np.argsort(np.array(words, dtype=object), kind="stable") if words else np.empty(0, np.int64)
            rank = np.empty(len(words), np.int64)
            rank[order] = np.arange(len(words))
            values = rank[encoded.indices.to_numpy(zero_copy_only=False)]
            names = tuple(str(words[index]) for index in order)
            missing |= np.asarray([word == "" for word in words], bool)[order][values] if words else False
        if missing.all():
            self.notes.append(f"{name} has no label for any image; it isn't used")
            return None, ()
        if missing.any():
            for part in np.unique(parts[missing]):
                of_part = PARTS[part] if len(np.unique(parts)) > 1 else "the table"
                self.left_out[f"images of {of_part} without a label"] += int((missing & (parts == part)).sum())
            self.kept = ~missing
        labels = values[~missing].astype(np.int64)
        if any(said):
            names, labels = self._by_names(name, said, self._of_rows[~missing], labels)
        else:
            present, labels = np.unique(labels, return_inverse=True)
            labels = labels.reshape(-1).astype(np.int64)
            names = tuple(names[index] for index in present) if names else tuple(map(str, present))
        odd_name = next((each for each in names if not each.isprintable() or not each), None)
        if odd_name is not None:
            raise DataError(f"{where}: {odd_name!a} is empty or has a control character; rename the class")
        if len(names) < 2:
            return None, ()
        return labels, names

    def _names_in_shards(self, name: str) -> list[tuple[str, ...]]:
        """What `datasets` says in each shard of the classes that a column's numbers stand for."""
        first, own = self.shards[0].schema.metadata, self.features.get(name, Feature("")).names
        return [
            own if (said := shard.schema.metadata) == first else features_of(said).get(name, Feature("")).names
            for shard in self.shards
        ]

    def _by_names(
        self, name: str, said: Sequence[tuple[str, ...]], shards: np.ndarray, numbers: np.ndarray
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """All classes of a column, and numbers of them that mean the same in all shards.

        Args:
            said: their names in each shard; those that were saved apart may number the same classes otherwise.
            shards: that the numbers stand in. What the others say doesn't count.

        Raises:
            DataError: when a number has no name, or it can't be told which classes are the same.
        """
        used = np.unique(shards).tolist()
        alike = len({said[index] for index in used}) == 1
        names = tuple(dict.fromkeys(each for index in used for each in said[index]))
        found = numbers.copy()
        for index in used:
            own, path = said[index], self.shards[index].path
            if not own or (len(set(own)) < len(own) and not alike):
                odd = "gives two classes one name" if own else "doesn't say which classes its numbers stand for"
                raise DataError(
                    f"{path}: {name!a} {odd}, where other files have other names; save all with the same names"
                )
            here = shards == index
            low, high = int(numbers[here].min()), int(numbers[here].max())
            if low < 0 or high >= len(own):
                raise DataError(
                    f"{path}: the numbers in {name!a} go to {low if low < 0 else high}, where its schema names "
                    f"{counted(len(own), 'class')}; save it again"
                )
            if not alike:
                found[here] = np.array([names.index(each) for each in own])[numbers[here]]
        return (said[used[0]] if alike else names), found

    def _as_integers(self, column: Any, where: str) -> Any:
        """Floats that stand for whole numbers, as pandas makes them of integers some of which are missing."""
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        whole = np.isfinite(values)
        if (values[whole] != np.rint(values[whole])).any() or (np.abs(values[whole]) > 2**53).any():
            raise DataError(
                f"{where} are numbers with fractions, and no classes; choose others with --labels, or leave them with "
                "--labels none"
            )
        return self.arrow.array(np.where(whole, values, 0).astype(np.int64), mask=~whole)

    def _read_attributes(self) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """bool (count, A) of columns of yes and no, and of those of several classes a row."""
        columns: list[np.ndarray] = []
        names: list[str] = []
        total = int(self.starts[-1])
        for name in self.meaning.attributes:
            column = self._whole(name)
            if column.null_count:
                self.notes.append(f"{name} isn't known of {counted(column.null_count, 'image')}; not used")
                continue
            if self.arrow.types.is_boolean(column.type):
                columns.append(column.to_numpy(zero_copy_only=False)[:, None])
                names.append(name)
                continue
            said = self._names_in_shards(name)
            width = len(set().union(*said))
            if not 0 < width <= MAX_ATTRIBUTES or width * total > MAX_TABLE:
                self.notes.append(f"{name} has {counted(width, 'class')}, which are too many attributes; not used")
                continue
            classes, table = self._one_column_a_class(column, name, said)
            columns.append(table)
            names += classes
        if not columns:
            return None, ()
        try:
            headings = tables.attribute_names(self.path, names)
        except DataError as error:
            self.notes.append(f"{str(error).removeprefix(f'{self.path}: ')}; the attributes aren't used")
            return None, ()
        values = np.concatenate(columns, axis=1)
        return values if self.kept is None else values[self.kept], headings

    def _one_column_a_class(
        self, column: Any, name: str, said: list[tuple[str, ...]]
    ) -> tuple[tuple[str, ...], np.ndarray]:
        """The classes, and bool (rows, classes), of a column of lists of their numbers."""
        rows = np.repeat(np.arange(len(column)), np.asarray(column.value_lengths()))
        values = column.flatten()
        if not self.arrow.types.is_integer(values.type) or values.null_count:
            raise DataError(f"{self.path}: {name!a} holds other things than numbers of its classes; save it again")
        if not len(values):
            return said[0], np.zeros((len(column), len(said[0])), bool)
        numbers = values.to_numpy(zero_copy_only=False).astype(np.int64)
        names, numbers = self._by_names(name, said, self._of_rows[rows], numbers)
        table = np.zeros((len(column), len(names)), bool)
        table[rows, numbers] = True
        return names, table

    # -- what is said of it --------------------------------------------------------------------------------------------

    def _tell(self, parts: dict[str, str | None]) -> None:
        meaning = self.meaning
        images = meaning.images[0] if len(meaning.images) == 1 else f"the {len(meaning.images):,} columns of numbers"
        labels = f", labels are {meaning.labels} ({counted(len(self.classes), 'class')})" if self.classes else ""
        attributes = f", attributes are {shown(list(meaning.attributes))}" if self.attribute_names else ""
        self.notes.append(f"images are {images}{labels}{attributes}")
        if self.parts is not None and self.split_column:
            rows = np.bincount(self.parts, minlength=len(PARTS))
            found = ", ".join(
                f"{part} ({counted(rows[code], 'image')})" for code, part in enumerate(PARTS) if rows[code]
            )
            self.notes.append(f"splits are those of the column {self.split_column}: {found}")
        elif self.parts is not None:
            files = Counter(parts[shard.file] for shard in self.shards)
            found = ", ".join(f"{part} ({counted(files[part], 'file')})" for part in PARTS if files[part])
            self.notes.append(f"splits: {found}")
        if meaning.unused:
            self.notes.append(f"not used: {shown(list(meaning.unused))}")

    def state(self) -> Any:
        """JSON values that change when the files do, or what is understood of them."""
        meaning = hashlib.sha256(json.dumps([self.meaning, self.classes, self.attribute_names]).encode())
        for column in (self.labels, self.parts, self.kept):
            meaning.update(b"-" if column is None else column.tobytes())
        return [self.place.stamp([shard.file for shard in self.shards]), meaning.hexdigest()]


class Shards(Pictures):
    """Encoded pictures in a column of tables, or in files that a column names."""

    heeds = Pictures.heeds | {"images", "labels"}
    form = "a table of pictures"

    def __init__(self, table: Table):
        self.table, self.place = table, table.place
        self.path = table.path
        self.count, self.labels, self.classes, self.parts = table.count, table.labels, table.classes, table.parts
        self.attributes, self.attribute_names = table.attributes, table.attribute_names
        self.left_out = dict(table.left_out)
        self.notes, self.warnings = table.notes, table.warnings
        self.faults: list[str] = []
        self._refuse_paths_alone()

    @property
    def base(self) -> Path:
        return self.place.path

    def state(self) -> Any:
        return [*self.table.state(), *self._stamps()]

    def _stamps(self) -> list[str]:
        """A sum over size and time of all files that a column names; none where it names none.

        Archives have a stamp of their own. A million files take a few seconds, as those of a folder do.
        """
        name, digest = self.table.meaning.images[0], hashlib.sha256()
        asked = False
        for shard in self.table.shards:
            columns = self._parts_of_column(shard)
            if f"{name}.bytes" in columns:
                if f"{name}.path" not in columns or not shard.may_lack(f"{name}.bytes"):
                    continue
                columns = [f"{name}.path"]
            for block in shard.blocks(columns, ROWS):
                column = stored(self.table.arrow, block.column(0))
                if self.table.arrow.types.is_struct(column.type):
                    column = column.field(column.type.get_field_index("path"))
                if not (
                    self.table.arrow.types.is_string(column.type) or self.table.arrow.types.is_large_string(column.type)
                ):
                    break
                for value in column.to_pylist():
                    file = self._file_named(shard, value) if value else None
                    path = None if file is None else self.place.path_of(file)
                    try:
                        status = None if path is None else path.stat()
                    except (OSError, ValueError):  # what is wrong with it is said where it is read
                        status = None
                    digest.update(b"-" if status is None else b"%d %d;" % (status.st_size, status.st_mtime_ns))
                    asked = asked or status is not None
        return [digest.hexdigest()] if asked else []

    def check(self, findings: Findings, survey: Survey | None = None) -> None:
        super().check(findings, survey)
        findings.files = len(self.table.shards)

    def each(self) -> Iterator[Item]:
        kept, place, row = self.table.kept, 0, 0
        for shard in self.table.shards:
            with reading(shard.path, DAMAGED):
                for block in shard.blocks(self._parts_of_column(shard)):
                    for value in self._values(block.column(0)):
                        if kept is None or kept[place]:
                            yield Item(row, self._content(shard, value))
                            row += 1
                        place += 1

    def _parts_of_column(self, shard: Shard) -> list[str]:
        """What is read of a struct: its bytes and its path, whatever else it has."""
        name = self.table.meaning.images[0]
        kind = shard.schema.field(name).type
        if not self.table.arrow.types.is_struct(kind):
            return [name]
        fields = {kind.field(index).name for index in range(kind.num_fields)}
        return [f"{name}.{field}" for field in ("bytes", "path") if field in fields]

    def _refuse_paths_alone(self) -> None:
        """Raises DataError where the first rows have nothing but paths of files that aren't here."""
        shard = self.table.shards[0]
        values = [
            value
            for block in islice(shard.blocks(self._parts_of_column(shard), rows=4), 4)
            for value in self._values(block.column(0))
        ]
        paths = [value for value in values if isinstance(value, str)]
        if (
            paths
            and len(paths) == len(values)
            and all(isinstance(self._content(shard, each), BadImage) for each in paths)
        ):
            raise DataError(
                f"{shard.path}: has only the paths of its pictures, such as {paths[0][:120]!a}, and they don't lie "
                "beside it; put them there under these paths, or save it again with the pictures in it"
            )

    def _values(self, column: Any) -> Iterator[Any]:
        """Of each row the picture's bytes, its path, or None."""
        column = stored(self.table.arrow, column)
        if not self.table.arrow.types.is_struct(column.type):
            yield from column.to_pylist()
            return
        fields = {column.type.field(index).name: index for index in range(column.type.num_fields)}
        contents = column.field(fields["bytes"]).to_pylist() if "bytes" in fields else [None] * len(column)
        if None not in contents and not column.null_count:
            yield from contents
            return
        for content, row in zip(contents, column.to_pylist(), strict=True):
            yield None if row is None else row.get("path") if content is None else content

    def _content(self, shard: Shard, value: Any) -> Path | bytes | BadImage:
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str) or not value:
            return BadImage("has no picture")
        file = self._file_named(shard, value)
        if file is None:
            return BadImage(f"has only a path, which leads out of {self.base}")
        try:
            self.place.size(file)
            return self.place.content(file)
        except BadImage as error:
            return error
        except Exception:  # as many kinds as there are places
            return BadImage("has only a path, and no such file lies beside the table")

    def _file_named(self, shard: Shard, value: str) -> str | None:
        """The file that a path in a shard means; None where that leads out of the folder."""
        folder = posixpath.dirname(shard.file)
        file = posixpath.normpath(posixpath.join(folder, value.replace("\\", "/")))
        return None if posixpath.isabs(file) or file.startswith("..") or "\0" in file else file

    def name(self, row: int) -> str:
        table = self.table
        place = int(row if self._places is None else self._places[row])
        index = int(np.searchsorted(table.starts, place, side="right")) - 1
        where = f"{table.shards[index].file}, row {place - int(table.starts[index])}"
        path = self._paths[row].as_py() if self._paths is not None else None
        return f"{where} ({tables.printable(path)})" if path else where

    def names(self, without: Collection[str] = ()) -> list[str]:
        names = [self.name(row) for row in range(self.count)]
        paths = None if self._paths is None else self._paths.to_pylist()
        if paths and all(paths) and len(set(paths)) == len(paths):
            return [path for path, name in zip(paths, names, strict=True) if name not in without]
        return [name for name in names if name not in without]

    @cached_property
    def _places(self) -> np.ndarray | None:
        """Of each row its place among all rows of the table."""
        return None if self.table.kept is None else np.flatnonzero(self.table.kept)

    @cached_property
    def _paths(self) -> Any:
        """Of each row the path that stands beside its picture; None where there is none."""
        table, name = self.table, self.table.meaning.images[0]
        arrow = table.arrow
        pieces = []
        for shard in table.shards:
            columns = self._parts_of_column(shard)
            kind = shard.schema.field(name).type
            if f"{name}.path" in columns:
                columns = [f"{name}.path"]
            elif table.meaning.way == "encoded":
                return None
            for block in shard.blocks(columns, ROWS):
                column = stored(arrow, block.column(0))
                if arrow.types.is_struct(kind):
                    column = column.field(column.type.get_field_index("path"))
                if not (arrow.types.is_string(column.type) or arrow.types.is_large_string(column.type)):
                    return None
                pieces.append(column.cast(arrow.large_string()))
        paths = arrow.chunked_array(pieces)
        return paths if table.kept is None else paths.filter(arrow.array(table.kept))


class PixelShards(Arrays):
    """Images as lists of numbers in a column of tables, or as a column for each pixel."""

    def __init__(self, table: Table, options: DataOptions):
        self.table = table
        # Which columns are meant is settled: the table knows their names.
        labels = "none" if options.labels == "none" else None
        super().__init__(PixelHolder(table), options.model_copy(update={"images": None, "labels": labels}))
        self.path = table.path
        if table.meaning.labels is not None:
            if self.labels is not None:
                raise DataError(
                    f"{self.path}: {table.meaning.images[0]!a} begins with a number that may be a label, beside those "
                    f"in {table.meaning.labels!a}; save the pixels alone"
                )
            self.labels, self.classes = table.labels, table.classes
        self.parts = table.parts
        self.attributes, self.attribute_names = table.attributes, table.attribute_names
        self.left_out = dict(table.left_out)
        self.notes, self.warnings = [*table.notes, *self.notes], [*table.warnings, *self.warnings]

    def state(self) -> Any:
        return self.table.state()


class PixelHolder(Holder):
    """The numbers of a table's images as one array."""

    form = "a table of numbers"

    def __init__(self, table: Table):
        super().__init__(table.place, table.shards[0].file)
        self.table = table
        self.path = table.path
        images = table.meaning.images
        self.names = [Name(self.file, images[0] if len(images) == 1 else "pixels")]

    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        return {name: Pixels(self.table, name) for name in names}

    def files(self) -> list[str]:
        return [shard.file for shard in self.table.shards]


class Pixels(Stored):
    """Lists of numbers, all of one length (or lists of such), or columns beside each other, one number a row each."""

    def __init__(self, table: Table, name: Name):
        self.table, self.path, self.name = table, table.path, name
        first = next(table.shards[0].blocks(list(table.meaning.images), rows=1))
        images = self._images(table.shards[0], first, 0)
        self.shape, self.dtype = (table.count, *images.shape[1:]), images.dtype

    def rows(self, step: int) -> Iterator[np.ndarray]:
        place = 0
        for shard in self.table.shards:
            start = 0
            for block in shard.blocks(list(self.table.meaning.images)):
                images = self._images(shard, block, start)
                if images.shape[1:] != self.shape[1:] or images.dtype != self.dtype:
                    raise DataError(
                        f"{shard.path}: {images.dtype} of {images.shape[1:]} from row {start} on, and "
                        f"{self.dtype} of {self.shape[1:]} before; make them alike"
                    )
                kept = self.table.kept
                wanted = images if kept is None else images[kept[place : place + len(images)]]
                for first in range(0, len(wanted), step):
                    yield wanted[first : first + step]
                start, place = start + len(images), place + len(images)

    def _images(self, shard: Shard, block: Any, start: int) -> np.ndarray:
        """Some rows, (B, ...).

        Raises:
            DataError: when their lists are of different lengths, or something is missing in them.
        """
        arrow = self.table.arrow
        columns = [stored(arrow, column) for column in block.columns]
        if len(columns) > 1:
            if any(column.null_count for column in columns):
                raise DataError(
                    f"{shard.path}: a pixel is missing in one of the rows from {start} on; put a number there"
                )
            return np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)
        column = columns[0]
        shape = [len(column)]
        while not (
            arrow.types.is_integer(column.type)
            or arrow.types.is_floating(column.type)
            or arrow.types.is_boolean(column.type)
        ):
            lengths = np.unique(np.asarray(column.value_lengths())) if not column.null_count else np.empty(0)
            if len(lengths) != 1:
                raise DataError(
                    f"{shard.path}: the lists in {block.schema.names[0]!a} are missing or of different lengths within "
                    f"the rows from {start} on; make all images of one size"
                )
            shape.append(int(lengths[0]))
            column = stored(arrow, column.flatten())
        if column.null_count:
            raise DataError(f"{shard.path}: a pixel is missing in one of the rows from {start} on; put a number there")
        return column.to_numpy(zero_copy_only=False).reshape(shape)


def _is_arrow(place: Place, file: str) -> bool:
    try:
        with place.open(file) as opened_file:
            return opened_file.read(4) != b"PAR1"
    except OSError as error:
        raise DataError(f"{place.path / file}: can't be read ({error.strerror})") from error


def _is_picture(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # a picture, and a damaged one
        return True


def _natural(file: str) -> list[tuple[int, str]]:
    """A key by which `part-10` follows `part-9`."""
    return [(int(digits), "") if digits else (-1, text) for digits, text in re.findall(r"(\d{1,18})|(\D+)", file)]


def _parts_of(root: Path, files: Sequence[str]) -> dict[str, str | None]:
    """The split of each file, by its name or else by its nearest folder that says one; None where nothing does.

    Raises:
        DataError: when some files say it and others don't.
    """
    parts = {file: part_of_file(file) for file in files}
    if len(files) > 1 and any(parts.values()) and not all(parts.values()):
        strange = next(file for file, part in parts.items() if part is None)
        raise DataError(
            f"{root}: {strange} is of no split, where other files are called by theirs; call it train, val or test, or "
            "move it out"
        )
    return parts
