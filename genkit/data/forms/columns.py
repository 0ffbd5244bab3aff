"""How is a column of a Parquet or Arrow file read, a few rows at a time and never more than the file can hold?

Parquet's footer and Arrow's messages say how much is to come. Nobody vouches for them: what they say is held against
the file's own size first, and what Arrow has read is checked before its places in memory are believed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from genkit.data.forms.needs import library
from genkit.data.forms.places import Place
from genkit.data.forms.stored import reading
from genkit.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

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

    def _blocks(self, columns: Sequence[str], rows: int | None) -> Iterator[pa.RecordBatch]:
        with self._opened() as file, self.place.open(self.file) as pages:
            footer = file.metadata
            for number in range(footer.num_row_groups):
                step = self._step(footer.row_group(number), columns, rows, pages)
                for batch in file.iter_batches(step, row_groups=[number], columns=list(columns), use_threads=False):
                    batch.validate(full=True)
                    yield batch

    def _step(self, group: Any, columns: Sequence[str], rows: int | None, pages: BinaryIO) -> int:
        """How many rows of a row group to read at once; refused where its columns claim more than they can hold."""
        claimed = 0
        for index in range(group.num_columns):
            chunk = group.column(index)
            name = chunk.path_in_schema
            if not any(name == column or name.startswith(f"{column}.") for column in columns):
                continue
            packed, plain = chunk.total_compressed_size, chunk.total_uncompressed_size
            if not (0 <= packed <= self.size and 0 <= plain <= max(SMALL, packed * MAX_RATIO)):
                raise DataError(
                    f"{self.path}: {name} claims {plain:,} bytes, packed in {packed:,}: damaged, or a decompression "
                    "bomb; fetch or save it again"
                )
            self._require_sound_pages(chunk, pages)
            claimed += plain
        return rows or max(1, min(BLOCK_ROWS, BLOCK_BYTES * max(1, group.num_rows) // max(1, claimed)))

    def _require_sound_pages(self, chunk: Any, pages: BinaryIO) -> None:
        """Refuse a column whose pages say that they unpack to more than they can: Arrow allocates what they say.

        Raises:
            DataError
        """
        place = chunk.data_page_offset
        if chunk.has_dictionary_page and chunk.dictionary_page_offset:  # some writers say 0 of none
            place = min(place, chunk.dictionary_page_offset)
        end = place + chunk.total_compressed_size
        if not 0 <= place <= end <= self.size:
            raise DataError(f"{self.path}: {chunk.path_in_schema} lies beyond the file's end; {DAMAGED}")
        while place < end:
            plain, packed, length = self._page_sizes(pages, place)
            if not (0 <= packed <= end - place - length and 0 <= plain <= max(SMALL, packed * MAX_RATIO)):
                raise DataError(
                    f"{self.path}: a page of {chunk.path_in_schema} claims {plain:,} bytes, packed in {packed:,}: "
                    "damaged, or a decompression bomb; fetch or save it again"
                )
            place += length + packed

    def _page_sizes(self, pages: BinaryIO, place: int) -> tuple[int, int, int]:
        for most in (PAGE_HEADER, MAX_PAGE_HEADER):
            pages.seek(place)
            try:
                return page_sizes(pages.read(most))
            except IndexError:
                continue
        raise DataError(f"{self.path}: a page begins with no header of a page; {DAMAGED}")


class ArrowShard(Shard):
    """Arrow's own format, as a stream (`datasets` saves it so) or as a file with a footer."""

    form = "Arrow"

    def _open(self) -> None:
        self.count = 0
        self.schema = None
        with self._batches(None, mapped=True) as (schema, batches):
            self.schema = schema
            self.count = sum(batch.num_rows for batch in batches)

    @contextmanager
    def _batches(self, columns: Sequence[str] | None, mapped: bool) -> Iterator[tuple[Any, Iterator[Any]]]:
        """The schema and the batches; `mapped` ones cost only what is looked at."""
        ipc = library("pyarrow.ipc", self.path, self.form)
        path = self.place.path_of(self.file)
        included = None
        if columns is not None:
            names = {column.partition(".")[0] for column in columns}
            included = [index for index, name in enumerate(self.schema.names) if name in names]
        options = ipc.IpcReadOptions(included_fields=included, use_threads=False)
        with self.arrow.memory_map(str(path)) if mapped and path is not None else self.source() as source:
            magic = source.read(6)
            source.seek(0)
            if magic == b"ARROW1":
                file = ipc.open_file(source, options=options)
                yield file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
            else:
                with ipc.open_stream(source, options=options) as stream:
                    yield stream.schema, stream

    def _blocks(self, columns: Sequence[str], rows: int | None) -> Iterator[pa.RecordBatch]:
        # What is read with a number of rows is small beside the rest, which a mapping leaves on disk.
        with self._batches(columns, mapped=rows is not None) as (_, batches):
            for batch in batches:
                batch.validate(full=True)
                step = rows or max(1, min(BLOCK_ROWS, BLOCK_BYTES * max(1, batch.num_rows) // max(1, batch.nbytes)))
                for start in range(0, batch.num_rows, step):
                    yield batch.slice(start, step)


def page_sizes(content: bytes) -> tuple[int, int, int]:
    """Of a page of a Parquet file, by its header: its bytes when unpacked, when packed, and the header's own.

    The header is a struct in Thrift's compact protocol (github.com/apache/parquet-format, PageHeader), of which the
    fields 2 and 3 are asked for and all others are stepped over.

    Raises:
        ValueError: when it isn't one.
        IndexError: when it is cut.
    """
    sizes = {2: -1, 3: -1}
    place = field = 0
    while content[place]:
        delta, kind = content[place] >> 4, content[place] & 15
        place += 1
        if not delta:
            number, place = _number(content, place)
            field = (number >> 1) ^ -(number & 1)
        field += delta
        if field in sizes and kind == 5:
            number, place = _number(content, place)
            sizes[field] = (number >> 1) ^ -(number & 1)
        else:
            place = _after(content, place, kind)
    return sizes[2], sizes[3], place + 1


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


def _after(content: bytes, place: int, kind: int, depth: int = 0) -> int:
    """Where a value of one of Thrift's types ends: those that a page's header may have."""
    if kind in (1, 2):  # the type is the value
        return place
    if kind == 3:
        return place + 1
    if kind in (4, 5, 6):
        return _number(content, place)[1]
    if kind == 7:
        return place + 8
    if kind == 8:
        length, place = _number(content, place)
        return place + length
    if kind == 12 and depth < 8:
        while content[place]:
            inner, numbered = content[place] & 15, not content[place] >> 4
            place = _number(content, place + 1)[1] if numbered else place + 1
            place = _after(content, place, inner, depth + 1)
        return place + 1
    raise ValueError("a page's header of another kind")


def stored_as(arrow: Any, kind: Any) -> Any:
    """A type without what others have added to it: `datasets` registers some of its own where it is imported."""
    return stored_as(arrow, kind.storage_type) if isinstance(kind, arrow.BaseExtensionType) else kind


def stored(arrow: Any, column: Any) -> Any:
    """An array without the same, and without a dictionary."""
    if isinstance(column, arrow.ExtensionArray):
        return stored(arrow, column.storage)
    return column.dictionary_decode() if arrow.types.is_dictionary(column.type) else column
