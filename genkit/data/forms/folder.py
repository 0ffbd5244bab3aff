"""A folder of pictures: subfolders are classes or splits, and tables beside the pictures say more."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from genkit.data.findings import Findings
from genkit.data.forms import tables
from genkit.data.forms.labels import Attributes
from genkit.data.forms.layout import Layout, lay_out
from genkit.data.forms.listing import Listing
from genkit.data.forms.pictures import Item, Pictures
from genkit.errors import DataError
from genkit.wording import counted

T = TypeVar("T")


class FolderOfPictures(Pictures):
    """The pictures in a folder and its subfolders, or in an archive.

    - Channels: 1 if every file is stored without colour, else 3.
    - Size: without an `image_size`, all pictures must have the same one; it needn't be square.
    - Classes: the names of the first subfolders, sorted. Pictures that lie beside subfolders mean no classes.
    - Attributes, and CelebA's splits: see `tables`.
    - Splits: subfolders `train` and `val` or `test`, in one of the spellings that `layout` knows, with the classes in
      them. What they don't bring is held out; a picture that stands in two of them is left out of the one nearer to
      training.
    - Labels: of `dataset.json` or `metadata.*` instead of the folders, where they lie there; see `labels`.
    - Links are followed; see `listing`. A line counts all that isn't read.
    - Rows: in a folder in the order of the files' names, in an archive in the order in which they stand there.
    """

    def __init__(self, listing: Listing):
        """`listing` has pictures."""
        self.listing, self.place = listing, listing.place
        self.form = f"{getattr(self.place, 'form', 'a folder')} of pictures"
        self.path = self.place.path
        self.faults = []
        nothing = Layout(listing.files, None, (), None, {}, [], [])
        self.layout = self._sound(lambda: lay_out(listing)) or nothing
        self.layout = self.layout.in_order(self.place.in_order(self.layout.files))
        self.files = self.layout.files
        self.count = len(self.files)
        self.labels, self.classes = self.layout.labels, self.layout.classes
        self.parts = self.layout.parts
        self.attributes, self.attribute_names = None, ()
        named = next((name for name in tables.ATTRIBUTES if name in listing.tables), None)
        if named is not None:
            read = self._sound(lambda: tables.read_attributes(self.path / named, self.files, self.place))
            self.attribute_names, self.attributes = read or ((), None)
        elif self.layout.attributes is not None:
            self.attribute_names, self.attributes = self._attributes(self.layout.attributes)
        if tables.PARTITION in listing.tables:
            table = self.path / tables.PARTITION
            self.parts = self._sound(lambda: tables.read_partition(table, self.files, self.place))
        left_out = Counter(listing.left_out)
        left_out.update(self.layout.left_out)
        self.left_out = {kind: count for kind, count in left_out.items() if count > 0}
        self.notes, self.warnings = self.layout.notes, self.layout.warnings

    def _attributes(self, said: Attributes) -> tuple[tuple[str, ...], np.ndarray | None]:
        """Those of `metadata.*`, where it has a line for every picture."""
        rows = [said.rows.get(file, -1) for file in self.files]
        missing = rows.count(-1)
        if missing:
            self.layout.notes.append(
                f"{', '.join(said.names)} aren't used as attributes: {counted(missing, 'image')} without a line in the "
                "table"
            )
            return (), None
        return said.names, said.values[rows]

    def _sound(self, read: Callable[[], T]) -> T | None:
        """What is read of tables or folders; None where they have faults, which are entered."""
        try:
            return read()
        except tables.BadTable as error:
            self.faults += error.faults
        except DataError as error:
            self.faults.append(str(error))
        return None

    def state(self) -> Any:
        # A pack of the same files that were understood otherwise is another pack.
        meaning = hashlib.sha256(json.dumps(self.classes).encode())
        for column in (self.layout.labels, self.layout.parts):
            meaning.update(b"-" if column is None else column.tobytes())
        if self.layout.attributes is not None and self.attributes is not None:
            meaning.update(json.dumps(self.attribute_names).encode() + self.attributes.tobytes())
        stamps = self.listing.stamps or self.place.stamp([*self.files, *self.listing.tables])
        return [self.files, stamps, self.listing.targets, meaning.hexdigest()]

    def each(self) -> Iterator[Item]:
        for row, (_, content) in enumerate(self.place.each(self.files)):
            yield Item(row, content)

    def name(self, row: int) -> str:
        return self.files[row]

    def stamp_of(self, row: int) -> tuple[int, int] | None:
        return self.listing.stamps.get(self.files[row])

    def enter(self, findings: Findings) -> None:
        super().enter(findings)
        findings.notes += self.layout.unlearnt()
