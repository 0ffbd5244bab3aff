"""A folder of pictures: subfolders are classes or splits, and tables beside the pictures say more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from genkit.data import DataOptions
from genkit.data.findings import Findings
from genkit.data.forms import tables
from genkit.data.forms.layout import Layout, lay_out
from genkit.data.forms.listing import scan
from genkit.data.forms.pictures import Item, Pictures
from genkit.data.forms.places import Folder
from genkit.errors import DataError
from genkit.files import expanded

T = TypeVar("T")


class FolderOfPictures(Pictures):
    """The pictures in a folder and its subfolders.

    - Channels: 1 if every file is stored without colour, else 3.
    - Size: without an `image_size`, all pictures must have the same one; it needn't be square.
    - Classes: the names of the first subfolders, sorted. Pictures that lie beside subfolders mean no classes.
    - Attributes, and CelebA's splits: see `tables`.
    - Splits: subfolders `train` and `val` or `test`, in one of the spellings that `layout` knows, with the classes in
      them. What they don't bring is held out; a picture that stands in two of them is left out of the one nearer to
      training.
    - Labels: of `dataset.json` or `metadata.*` instead of the folders, where they lie there; see `labels`.
    - Links are followed; see `listing`. A line counts all that isn't read.
    """

    form = "a folder of pictures"

    def __init__(self, place: Folder, options: DataOptions):
        """
        Raises:
            DataError: when there is no picture.
        """
        self.place = place
        self.listing = scan(expanded(options.dataset))
        self.path = self.listing.root
        self.faults = []
        nothing = Layout(self.listing.files, None, (), None, {}, [], [])
        self.layout = self._sound(lambda: lay_out(self.listing)) or nothing
        self.files = self.layout.files
        self.count = len(self.files)
        self.labels, self.classes = self.layout.labels, self.layout.classes
        self.parts = self.layout.parts
        self.attributes, self.attribute_names = None, ()
        named = next((name for name in tables.ATTRIBUTES if name in self.listing.stamps), None)
        if named is not None:
            read = self._sound(lambda: tables.read_attributes(self.path / named, self.files))
            self.attribute_names, self.attributes = read or ((), None)
        if tables.PARTITION in self.listing.stamps:
            table = self.path / tables.PARTITION
            self.parts = self._sound(lambda: tables.read_partition(table, self.files))
        self.left_out = {**self.listing.left_out, **self.layout.left_out}
        self.notes, self.warnings = self.layout.notes, self.layout.warnings

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
        return [self.files, self.listing.stamps, self.listing.targets, meaning.hexdigest()]

    def each(self) -> Iterator[Item]:
        for row, (_, content) in enumerate(self.place.each(self.files)):
            yield Item(row, content)

    def name(self, row: int) -> str:
        return self.files[row]

    def stamp_of(self, row: int) -> tuple[int, int] | None:
        return self.listing.stamps[self.files[row]]

    def enter(self, findings: Findings) -> None:
        super().enter(findings)
        findings.notes += self.layout.unlearnt()
