"""How is a column of a Parquet or Arrow file read, a few rows at a time and never more than the file can hold?

Parquet's footer and Arrow's messages say how much is to come. Nobody vouches for them: what they say is held against
the file's own size first, and what Arrow has read is checked before its places in memory are believed.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from genkit.data.forms.needs import library
from genkit.data.forms.places import Place
from genkit.data.forms.stored import reading
from genkit.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

#: Of Thrift's compact protocol the type of a struct, and how deeply they may lie in each other.
STRUCT, MAX_DEPTH = 12, 24
#: Parquet's own number of a type.
BYTE_ARRAY = 6
#: Bytes of a column that are read at once, and rows, whichever are fewer.
BLOCK_BYTES, BLOCK_ROWS = 8 << 20, 1024
#: How many bytes a compressed byte of a column may stand for (deflate's limit; pictures are compressed already).
MAX_RATIO = 1032
#: Below this, a column of a row group may be as large as it claims.
SMALL = 64 << 20
#: Bytes that are read ahead of the page that is decoded. Without it, Arrow reads all of a row group's column at once.
BUFFER = 1 << 20
#: Bytes of a page's header: of most, and of one that holds a long smallest and largest value.
PAGE_HEADER, MAX_PAGE_HEADER = 256, 1 << 16
#: Bytes of a footer, or of a schema's metadata, that are read.
MAX_FOOTER = 64 << 20
#: Bytes that rows which are read at once may take where they repeat what the file holds once, unless one row is larger.
MAX_REPEATED = 64 << 20
#: Bytes that a compressed batch of Arrow's may unpack to: it is only ever unpacked as a whole.
MAX_BATCH = 1 << 30

#: What a message of Arrow's may bring.
DICTIONARY_BATCH, RECORD_BATCH = 2, 3
#: Of a page: those of values that are repeated by their number, and values that begin as those before them do.
DICTIONARY_PAGE, DELTA_BYTE_ARRAY = 2, 7
#: Bytes of a number, by what Parquet calls its type.
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}

DAMAGED = "the file is damaged; fetch or save it again"


class Shard(ABC):
    """A file of columns, whose schema and number of rows are known.

    Attributes:
        file: its path in its place.
        path: what messages call it.
        count: of its rows.
        schema: pyarrow's, of what is stored: the types that `datasets` adds are what they are stored as.
    """

    form: str
    count: int
    schema: pa.Schema

    def __init__(self, place: Place, file: str):
        """
        Raises:
            DataError: when it is damaged, claims more than it can hold, or pyarrow isn't installed.
        """
        self.place, self.file = place, file
        self.path = place.path / file
        self.arrow = library("pyarrow", self.path, self.form)
        with reading(self.path, DAMAGED):
            self.size = place.size(file)
            self._open()
            # A row takes a byte or more; in as many as a false footer claims, the labels alone would fill memory.
            if not 0 <= self.count <= self.size:
                raise DataError(f"{self.path}: claims {self.count:,} rows in {self.size:,} bytes; {DAMAGED}")
            self.schema = self._plain(self.schema)

    @abstractmethod
    def _open(self) -> None:
        """Find out `count` and `schema`."""

    @abstractmethod
    def may_lack(self, column: str) -> bool:
        """Whether some rows may have nothing in a column, as far as that is known without reading its values."""

    @abstractmethod
    def _blocks(self, columns: Sequence[str], rows: int | None) -> Iterator[pa.RecordBatch]:
        """What `blocks` gives, as it is in the file."""

    def blocks(self, columns: Sequence[str], rows: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of some columns, some at a time.

        Args:
            columns: their names, or a part of one: `image.bytes`. Of Arrow files the whole column comes all the same.
            rows: how many at once, of columns of short values; None for as many as fit into BLOCK_BYTES.

        Raises:
            DataError: when the file is damaged.
        """
        with reading(self.path, DAMAGED):
            read = 0
            for block in self._blocks(columns, rows):
                read += block.num_rows
                if read > self.count:
                    break
                yield block
            if read != self.count:
                raise DataError(f"{self.path}: has other than its {self.count:,} rows in it; {DAMAGED}")

    def source(self) -> Any:
        """The file for pyarrow."""
        path = self.place.path_of(self.file)
        if path is not None:
            return self.arrow.OSFile(str(path))
        return self.arrow.PythonFile(self.place.open(self.file), mode="r")

    def _plain(self, schema: pa.Schema) -> pa.Schema:
        fields = [field.with_type(stored_as(self.arrow, field.type)) for field in schema]
        return self.arrow.schema(fields, schema.metadata)


class ParquetShard(Shard):
    form = "Parquet"

    def _open(self) -> None:
        with self._opened() as file:
            footer = file.metadata
            self.count, self.schema = footer.num_rows, file.schema_arrow
            self._require_sound_sizes(file.schema)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        parquet = library("pyarrow.parquet", self.path, self.form)
        with self.source() as source:
            # pyarrow reads as many bytes for the footer as the file's last bytes say, and Thrift's claims are bounded.
            file = parquet.ParquetFile(
                source,
                pre_buffer=False,
                buffer_size=BUFFER,
                page_checksum_verification=True,
                thrift_string_size_limit=MAX_FOOTER,
                thrift_container_size_limit=1 << 20,
            )
            with file:
                yield file

    def _require_sound_sizes(self, schema: Any) -> None:
        """Refuse a file whose statistics of sizes don't fit its columns.

        pyarrow throws where it is asked for such a column's place, in a way that ends the process.

        Raises:
            ValueError: also where the footer can't be made sense of.
        """
        with self.place.open(self.file) as file:
            file.seek(self.size - 8)
            length = int.from_bytes(file.read(4), "little")
            if length > self.size - 12:
                raise ValueError("its footer is longer than the file")
            file.seek(self.size - 8 - length)
            footer, _ = _value(file.read(length), 0, STRUCT)
        levels = [
            (column.max_repetition_level + 1, column.max_definition_level + 1)
            for column in (schema.column(number) for number in range(len(schema)))
        ]
        for group in footer.get(4) or ():
            for (repetition, definition), chunk in zip(levels, group.get(1) or (), strict=False):
                about = chunk.get(3) or {}
                sizes = about.get(16) or {}
                fitting = len(sizes.get(2) or ()) in (0, repetition) and len(sizes.get(3) or ()) in (0, definition)
                if not fitting or (1 in sizes and about.get(1) != BYTE_ARRAY):
                    raise ValueError("its statistics of sizes aren't those of its columns")

    def _blocks(self, columns: Sequence[str], rows: int | None) -> Iterator[pa.RecordBatch]:
        with self._opened() as file, self.place.open(self.file) as pages:
            footer = file.metadata
            for number in range(footer.num_row_groups):
                step = self._step(footer.row_group(number), columns, rows, pages)
                for batch in file.iter_batches(step, row_groups=[number], columns=list(columns), use_threads=False):
                    batch.validate(full=True)
                    yield batch

    def may_lack(self, column: str) -> bool:
        with self._opened() as file:
            groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
            chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
            known = [chunk.statistics for chunk in chunks if chunk.path_in_schema == column]
            return not all(each is not None and each.has_null_count and each.null_count == 0 for each in known)

    def _step(self, group: Any, columns: Sequence[str], rows: int | None, pages: BinaryIO) -> int:
        """How many rows of a row group to read at once; refused where its columns claim more than they can hold."""
        claimed = longest = 0
        for index in range(group.num_columns):
            chunk = group.column(index)
            name = chunk.path_in_schema
            if not any(name == column or name.startswith(f"{column}.") for column in columns):
                continue
            self._require_possible(name, chunk.total_uncompressed_size, chunk.total_compressed_size)
            plain, repeated = self._unpacked(chunk, pages)
            claimed += plain
            longest += repeated
        fitting = BLOCK_BYTES * max(1, group.num_rows) // max(1, claimed)
        return max(1, min(rows or min(BLOCK_ROWS, fitting), MAX_REPEATED // max(1, longest)))

    def _require_possible(self, name: str, plain: int, packed: int, most: int | None = None) -> None:
        """Raises DataError where a column, or a page of it, claims to unpack to more than it can."""
        most = self.size if most is None else most
        if not (0 <= packed <= most and 0 <= plain <= max(SMALL, packed * MAX_RATIO)):
            raise DataError(
                f"{self.path}: {name} claims {plain:,} bytes, packed in {packed:,}: damaged, or a decompression bomb; "
                "fetch or save it again"
            )

    def _unpacked(self, chunk: Any, pages: BinaryIO) -> tuple[int, int]:
        """The bytes that a column of a row group takes in memory, and those of its longest value that may be repeated.

        Each of its pages is looked at: Arrow allocates what their headers say, whatever the footer says.

        Raises:
            DataError: when they can't be so many.
        """
        name, width = chunk.path_in_schema, WIDTHS.get(chunk.physical_type, 0)
        place = chunk.data_page_offset
        if chunk.has_dictionary_page and chunk.dictionary_page_offset:  # some writers say 0 of none
            place = min(place, chunk.dictionary_page_offset)
        end = place + chunk.total_compressed_size
        if not 0 <= place <= end <= self.size:
            raise DataError(f"{self.path}: {name} lies beyond the file's end; {DAMAGED}")
        plain = values = longest = 0
        begin_alike = False
        while place < end:
            page = self._page(pages, place)
            self._require_possible(f"a page of {name}", page.plain, page.packed, end - place - page.length)
            plain += page.plain
            if page.kind == DICTIONARY_PAGE:
                longest = max(longest, page.plain)
            else:
                values += page.values
                begin_alike = begin_alike or page.encoding == DELTA_BYTE_ARRAY
            place += page.length + page.packed
        if width:  # a run of one number takes a few bytes, however long it is
            self._require_possible(name, values * width, chunk.total_compressed_size)
            return max(plain, values * width), 0
        return plain, plain if begin_alike else longest

    def _page(self, pages: BinaryIO, place: int) -> Page:
        for most in (PAGE_HEADER, MAX_PAGE_HEADER):
            pages.seek(place)
            try:
                return page_of(pages.read(most))
            except IndexError:
                continue
        raise DataError(f"{self.path}: a page begins with no header of a page; {DAMAGED}")


class ArrowShard(Shard):
    """Arrow's own format, as a stream (`datasets` saves it so) or as a file, which is a stream between two marks.

    Attributes:
        begin: where the stream begins.
        batches: how many it has.
    """

    form = "Arrow"

    def _open(self) -> None:
        with self.place.open(self.file) as file:
            self.begin = 8 if file.read(6) == b"ARROW1" else 0
            self.count = self.batches = 0
            for rows in self._rows_of_batches(file):
                self.count, self.batches = self.count + rows, self.batches + 1
        with self._stream(None, mapped=True) as stream:
            self.schema = stream.schema

    def _rows_of_batches(self, file: BinaryIO) -> Iterator[int]:
        """The rows of each batch, by the messages that go before them; nothing is unpacked.

        Raises:
            DataError: when a batch would unpack to more than it can, or than MAX_BATCH.
        """
        place = self.begin
        while place + 4 <= self.size:
            file.seek(place)
            length = int.from_bytes(file.read(4), "little")
            place += 4
            if length == 0xFFFFFFFF:  # before version 0.15 the length came first
                length = int.from_bytes(file.read(4), "little")
                place += 4
            if not length:
                return
            if length > min(MAX_FOOTER, self.size - place):
                raise DataError(f"{self.path}: a message lies beyond the file's end; {DAMAGED}")
            message = message_of(file.read(length))
            place += length
            if not 0 <= message.body <= self.size - place:
                raise DataError(f"{self.path}: a message lies beyond the file's end; {DAMAGED}")
            if message.compressed:
                self._require_bounded(message, file, place)
            if message.kind == RECORD_BATCH:
                yield message.rows
            place += message.body

    def _require_bounded(self, message: Message, file: BinaryIO, place: int) -> None:
        """Raises DataError where the pieces of a compressed batch say that they unpack to too much."""
        plain = 0
        for offset, length in sorted(message.pieces):  # which never seeks back
            if not (offset >= 0 and 0 <= length <= message.body - offset):
                raise DataError(f"{self.path}: a batch's columns lie beyond its end; {DAMAGED}")
            if length:
                file.seek(place + offset)
                claimed = int.from_bytes(file.read(8), "little", signed=True)
                plain += length if claimed == -1 else max(0, claimed)  # -1 is not compressed
        if plain > max(SMALL, message.body * MAX_RATIO):
            raise DataError(
                f"{self.path}: a batch claims {plain:,} bytes, packed in {message.body:,}: damaged, or a decompression "
                "bomb; fetch or save it again"
            )
        if plain > MAX_BATCH:
            raise DataError(
                f"{self.path}: a compressed batch of {message.rows:,} rows takes {plain:,} bytes, and {MAX_BATCH:,} "
                "are read at once; save it in batches of fewer rows"
            )

    @contextmanager
    def _stream(self, columns: Sequence[str] | None, mapped: bool) -> Iterator[Any]:
        """Its batches; `mapped` ones cost only what is looked at."""
        ipc = library("pyarrow.ipc", self.path, self.form)
        path = self.place.path_of(self.file)
        included = None
        if columns is not None:
            names = {column.partition(".")[0] for column in columns}
            included = [index for index, name in enumerate(self.schema.names) if name in names]
        options = ipc.IpcReadOptions(included_fields=included, use_threads=False)
        with self.arrow.memory_map(str(path)) if mapped and path is not None else self.source() as source:
            source.seek(self.begin)
            with ipc.open_stream(source, options=options) as stream:
                yield stream

    def may_lack(self, column: str) -> bool:
        name, _, field = column.partition(".")
        return any(
            block.column(0).null_count or (field and stored(self.arrow, block.column(0)).field(field).null_count)
            for block in self.blocks([name], BLOCK_ROWS)
        )

    def _blocks(self, columns: Sequence[str], rows: int | None) -> Iterator[pa.RecordBatch]:
        # What is read with a number of rows is small beside the rest, which a mapping leaves on disk.
        with self._stream(columns, mapped=rows is not None) as stream:
            for _ in range(self.batches):
                batch = stream.read_next_batch()
                batch.validate(full=True)
                fitting = BLOCK_BYTES * max(1, batch.num_rows) // max(1, batch.nbytes)
                longest = sum(repeated(self.arrow, column) for column in batch.columns)
                step = max(1, min(rows or min(BLOCK_ROWS, fitting), MAX_REPEATED // max(1, longest)))
                for start in range(0, batch.num_rows, step):
                    yield batch.slice(start, step)


def repeated(arrow: Any, column: Any) -> int:
    """Bytes that the longest value which a column repeats by its number may have."""
    if isinstance(column, arrow.ExtensionArray):
        return repeated(arrow, column.storage)
    if arrow.types.is_dictionary(column.type):
        return int(column.dictionary.nbytes)
    if arrow.types.is_struct(column.type):
        return sum(repeated(arrow, column.field(index)) for index in range(column.type.num_fields))
    return 0


class Message(NamedTuple):
    """What goes before a batch of Arrow's says of it.

    Attributes:
        kind: RECORD_BATCH, or another.
        body: bytes that follow.
        rows: of a batch.
        compressed: whether its pieces are.
        pieces: offset and bytes of each in the body.
    """

    kind: int
    body: int
    rows: int = 0
    compressed: bool = False
    pieces: tuple[tuple[int, int], ...] = ()


def message_of(content: bytes) -> Message:
    """A message's metadata, a FlatBuffer (github.com/apache/arrow, format/Message.fbs).

    Raises:
        struct.error: when it is cut, or isn't one.
    """
    root = _Table(content, _unsigned(content, 0))
    kind, body = root.number("B", 1), root.number("<q", 3)
    batch = root.table(2)
    if kind == DICTIONARY_BATCH and batch:
        batch = batch.table(1)
    elif kind != RECORD_BATCH:
        return Message(kind, body)
    if batch is None:
        raise struct.error("a batch without a description")
    place = batch.vector(2)
    count = _unsigned(content, place) if place else 0
    pieces = struct.unpack_from(f"<{2 * min(count, len(content))}q", content, place + 4) if count else ()
    # Version 0.17 said it beside the batch, and is still understood.
    compressed = batch.table(3) is not None or b"ARROW:experimental_compression" in content
    return Message(kind, body, batch.number("<q", 0), compressed, tuple(zip(pieces[::2], pieces[1::2], strict=True)))


def _unsigned(content: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", content, place)[0])


class _Table:
    """A table of a FlatBuffer, whose fields are found by their numbers."""

    def __init__(self, content: bytes, place: int):
        self.content, self.place = content, place
        self.fields = place - struct.unpack_from("<i", content, place)[0]
        if self.fields < 0:
            raise struct.error("a table before its beginning")
        self.size = struct.unpack_from("<H", content, self.fields)[0]

    def _place(self, field: int) -> int:
        """Where a field lies; 0 where it is left out, which is its default."""
        if 4 + 2 * field + 2 > self.size:
            return 0
        offset = struct.unpack_from("<H", self.content, self.fields + 4 + 2 * field)[0]
        return self.place + offset if offset else 0

    def number(self, kind: str, field: int) -> int:
        place = self._place(field)
        return int(struct.unpack_from(kind, self.content, place)[0]) if place else 0

    def vector(self, field: int) -> int:
        """Where what a field points to lies; 0 where it is left out."""
        place = self._place(field)
        return place + _unsigned(self.content, place) if place else 0

    def table(self, field: int) -> _Table | None:
        place = self.vector(field)
        return _Table(self.content, place) if place else None


class Page(NamedTuple):
    """What the header of a page of a Parquet file says.

    Attributes:
        kind: DICTIONARY_PAGE, or another.
        plain, packed: bytes of the page, and when it is compressed.
        values: in it, each number of a list counted, and what is missing.
        encoding: of the values.
        length: bytes of the header itself.
    """

    kind: int
    plain: int
    packed: int
    values: int
    encoding: int
    length: int


def page_of(content: bytes) -> Page:
    """The header of a page, a struct in Thrift's compact protocol (github.com/apache/parquet-format, PageHeader).

    Raises:
        ValueError: when it isn't one.
        IndexError: when it is cut.
    """
    said, length = _value(content, 0, STRUCT)
    about: dict[int, Any] = next((said[field] for field in (5, 7, 8) if isinstance(said.get(field), dict)), {})
    kind, plain, packed = (said.get(field, -1) for field in (1, 2, 3))
    values, encoding = about.get(1, 0), about.get(4 if 8 in said else 2, -1)
    if not all(isinstance(number, int) for number in (kind, plain, packed, values, encoding)) or values < 0:
        raise ValueError("a page's header of another kind")
    return Page(kind, plain, packed, values, encoding, length)


def _value(content: bytes, place: int, kind: int, depth: int = 0) -> tuple[Any, int]:
    """A value of any type: structs as dicts by the numbers of their fields, lists as lists; and where it ends.

    Raises:
        ValueError, IndexError: when it isn't one, or is cut.
    """
    if depth > MAX_DEPTH:
        raise ValueError("a footer that is nested too deeply")
    if kind == STRUCT:
        found: dict[int, Any] = {}
        field = 0
        while content[place]:
            delta, inner = content[place] >> 4, content[place] & 15
            place += 1
            if not delta:
                number, place = _number(content, place)
                field = (number >> 1) ^ -(number & 1)
            field += delta
            found[field], place = _value(content, place, inner, depth + 1)
        return found, place + 1
    if kind in (4, 5, 6):
        number, place = _number(content, place)
        return (number >> 1) ^ -(number & 1), place
    if kind in (9, 10):  # lists and sets
        count, inner = content[place] >> 4, content[place] & 15
        place += 1
        if count == 15:
            count, place = _number(content, place)
        if count > len(content) - place:
            raise ValueError("a list in the footer that is longer than the file")
        values = []
        for _ in range(count):
            if inner in (1, 2):  # in a list, a truth takes a byte
                place += 1
                continue
            value, place = _value(content, place, inner, depth + 1)
            values.append(value)
        return values, place
    end = _after(content, place, kind)
    if end > len(content):
        raise IndexError("a footer that is cut")
    return None, end  # nobody asks for it


def _number(content: bytes, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends."""
    number = shift = 0
    while True:
        number |= (content[place] & 127) << shift
        place, shift = place + 1, shift + 7
        if content[place - 1] < 128:
            return number, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits in a page's header")


def _after(content: bytes, place: int, kind: int) -> int:
    """Where a value of one of Thrift's other types ends: those that a page's header may have."""
    if kind in (1, 2):  # the type is the value
        return place
    if kind == 3:
        return place + 1
    if kind == 7:
        return place + 8
    if kind == 8:
        length, place = _number(content, place)
        return place + length
    raise ValueError("a page's header of another kind")


def stored_as(arrow: Any, kind: Any) -> Any:
    """A type without what others have added to it: `datasets` registers some of its own where it is imported."""
    return stored_as(arrow, kind.storage_type) if isinstance(kind, arrow.BaseExtensionType) else kind


def stored(arrow: Any, column: Any) -> Any:
    """An array without the same, and without a dictionary."""
    if isinstance(column, arrow.ExtensionArray):
        return stored(arrow, column.storage)
    return column.dictionary_decode() if arrow.types.is_dictionary(column.type) else column
