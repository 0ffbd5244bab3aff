"""CelebA, which its publisher lets nobody but a person fetch: from the archive as it comes, or unpacked.

Liu, Luo, Wang & Tang, ICCV 2015, arXiv 1411.7766.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genkit.data import DataOptions, Missing, forms, pack, store
from genkit.data.dataset import Dataset
from genkit.data.decode import BadImage, without_warnings
from genkit.data.findings import Findings
from genkit.data.forms import tables
from genkit.data.forms.pictures import Item, Pictures
from genkit.data.forms.stored import reading
from genkit.data.sets import published
from genkit.errors import DataError

NAME = "celeba"
ARCHIVE, ATTRIBUTES, PARTITION = (each.name for each in published.of(NAME).files)
#: What the archive holds, and where its pictures lie when somebody has unpacked it.
FOLDER = Path(ARCHIVE).stem
#: Bytes of a picture in the archive: most have 7,000.
LARGEST = 1 << 20


def load(options: DataOptions) -> Dataset:
    """The faces with their attributes and the publisher's splits, in which no person stands in two."""
    folder = _unpacked()
    if folder is not None:
        return forms.load(options.model_copy(update={"dataset": str(folder)}))
    key = published.key(NAME, options)
    with without_warnings():
        return pack.open_or_write(key, lambda: _Archive(_files()).contents(options)).told()


def fetch(name: str) -> list[Path]:
    """Where a person has put the files, after checking them."""
    folder = _unpacked()
    return [folder] if folder is not None else list(_files().values())


def missing(name: str) -> Missing | None:
    """Which files aren't here, and where a person puts them; None where all are."""
    if _unpacked() is not None:
        return None
    gone = published.gone(NAME)
    return Missing(_ask_for(gone), False) if gone else None


def verify(name: str) -> Findings:
    """Check the sums of the files, decode every picture, and check packs."""
    folder = _unpacked()
    if folder is not None:
        return forms.verify(DataOptions(dataset=str(folder)))
    if published.gone(NAME):
        raise DataError(_ask_for(published.gone(NAME)))
    return published.verified(NAME, lambda paths: _Archive(paths))


def _unpacked() -> Path | None:
    """A folder `celeba` with `img_align_celeba/` and both tables in it, where there is no archive."""
    for root in store.roots():
        folder = root / NAME
        tables_there = all((folder / file).is_file() for file in (ATTRIBUTES, PARTITION))
        if (folder / FOLDER).is_dir() and tables_there and not (folder / ARCHIVE).is_file():
            return folder
    return None


def _files() -> dict[str, Path]:
    """Raises DataError where a person must fetch them first, or they aren't what was published."""
    gone = published.gone(NAME)
    if gone:
        raise DataError(_ask_for(gone))
    return published.checked(NAME)


def _ask_for(gone: list[str]) -> str:
    are = "is" if len(gone) == 1 else "are"
    return (
        f"{NAME}: {published.listed(gone)} {are} not here, and no program may fetch it; download "
        f"{'it' if len(gone) == 1 else 'them'} from {published.of(NAME).home} (Align&Cropped Images, Anno, Eval) into "
        f"{store.roots()[0] / NAME} as they are, or name a folder that holds {FOLDER}/, {ATTRIBUTES} and {PARTITION}"
    )


class _Archive(Pictures):
    """The pictures in the archive, with the tables that lie beside it."""

    kind = "set"
    form = "CelebA's archive"

    def __init__(self, paths: Mapping[str, Path]):
        self.path = paths[ARCHIVE]
        with reading(self.path, "download it again"), zipfile.ZipFile(self.path) as archive:
            members = {
                info.filename: info.file_size
                for info in archive.infolist()
                if info.filename.startswith(f"{FOLDER}/") and info.filename.endswith(".jpg")
            }
        self.files = sorted(members)
        self.count = len(self.files)
        self.labels, self.classes = None, ()
        self.attribute_names, self.attributes = tables.read_attributes(paths[ATTRIBUTES], self.files)
        self.parts = tables.read_partition(paths[PARTITION], self.files)
        self.left_out: dict[str, int] = {}
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.faults: list[str] = []

    def state(self) -> Any:
        return None

    def each(self) -> Iterator[Item]:
        with reading(self.path, "download it again"), zipfile.ZipFile(self.path) as archive:
            for row, name in enumerate(self.files):
                with archive.open(name) as file:
                    content = file.read(LARGEST + 1)
                large = BadImage(f"is larger than {LARGEST:,} bytes")
                yield Item(row, content if len(content) <= LARGEST else large)

    def name(self, row: int) -> str:
        return self.files[row]
