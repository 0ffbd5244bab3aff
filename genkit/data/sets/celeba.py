"""CelebA, which its publisher lets nobody but a person fetch: from the archive as it comes, or unpacked.

Liu, Luo, Wang & Tang, ICCV 2015, arXiv 1411.7766.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from genkit.data import DataOptions, Missing, pack, store
from genkit.data.dataset import Dataset
from genkit.data.decode import without_warnings
from genkit.data.findings import Findings
from genkit.data.forms import tables
from genkit.data.forms.archives import Zip
from genkit.data.forms.pictures import Item, Pictures
from genkit.data.forms.places import Folder, Place
from genkit.data.sets import published
from genkit.errors import DataError

NAME = "celeba"
ARCHIVE, ATTRIBUTES, PARTITION = (each.name for each in published.of(NAME).files)
#: The folder in the archive.
PICTURES = Path(ARCHIVE).stem


def load(options: DataOptions) -> Dataset:
    """The faces with their attributes and the publisher's splits, in which no person stands in two."""
    folder = _unpacked()
    key = published.key(NAME, options) if folder is None else _key_of(folder, options)
    # One source, however often it is begun: it learns from its first attempt.
    faces = cache(lambda: _faces(folder))
    with without_warnings():
        packed = pack.open_or_write(key, lambda: faces().contents(options))
    if packed.skipped:
        faces().tell_of(packed, options)
    return packed.told()


def fetch(name: str) -> list[Path]:
    """Where a person has put the files, after checking those whose sums were published."""
    folder = _unpacked()
    if folder is None:
        return list(_checked().values())
    published.checked(NAME, without=(ARCHIVE,))
    return [folder / PICTURES, folder / ATTRIBUTES, folder / PARTITION]


def missing(name: str) -> Missing | None:
    """Which files aren't here, and where a person puts them; None where all are."""
    gone = [] if _unpacked() else published.gone(NAME)
    return Missing(_ask_for(gone), False) if gone else None


def verify(name: str) -> Findings:
    """Check the sums of the files, decode every picture, and check packs."""
    folder = _unpacked()
    if folder is not None:
        return published.verified(NAME, lambda paths: Faces(Folder(folder), paths), without=(ARCHIVE,))
    if published.gone(NAME):
        raise DataError(_ask_for(published.gone(NAME)))
    return published.verified(NAME, lambda paths: Faces(_archive(paths), paths))


class Faces(Pictures):
    """The pictures in the folder `img_align_celeba` of a place, and tables that say more of them.

    Args:
        paths: of the tables, by their published names.
    """

    kind = "folder"
    form = "CelebA"

    def __init__(self, place: Place, paths: dict[str, Path]):
        self.place, self.path = place, place.path
        self.files = _pictures_in(place)
        self.count = len(self.files)
        self.labels, self.classes = None, ()
        self.attribute_names, self.attributes = tables.read_attributes(paths[ATTRIBUTES], self.files)
        self.parts = tables.read_partition(paths[PARTITION], self.files)
        self.left_out: dict[str, int] = {}
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.faults: list[str] = []

    def state(self) -> Any:
        return self.place.stamp(self.files)

    def each(self) -> Iterator[Item]:
        for row, (_, content) in enumerate(self.place.each(self.files)):
            yield Item(row, content)

    def name(self, row: int) -> str:
        return self.files[row]

    def stamp_of(self, row: int) -> tuple[int, int] | None:
        path = self.place.path_of(self.files[row])
        if path is None:
            return None
        status = path.stat()
        return status.st_size, status.st_mtime_ns


def _faces(folder: Path | None) -> Faces:
    """The faces, once the files whose sums were published have been checked."""
    if folder is not None:
        return Faces(Folder(folder), published.checked(NAME, without=(ARCHIVE,)))
    paths = _checked()
    return Faces(_archive(paths), paths)


def _archive(paths: dict[str, Path]) -> Zip:
    return Zip(Folder(paths[ARCHIVE].parent), ARCHIVE)


def _pictures_in(place: Place) -> list[str]:
    if isinstance(place, Zip):
        names = [name for name in place.directory.names if name.startswith(f"{PICTURES}/")]
    else:
        names = [f"{PICTURES}/{path.name}" for path in (place.path / PICTURES).iterdir()]
    files = sorted(name for name in names if name.endswith(".jpg"))
    if not files:
        raise DataError(f"{place.path}: has no pictures in {PICTURES}/; unpack {ARCHIVE} there, or put it there")
    return files


def _key_of(folder: Path, options: DataOptions) -> pack.Key:
    """Which pack of an unpacked archive is meant: nobody has published the sums of its pictures."""
    place = Folder(folder)
    source = {"set": NAME, Faces.kind: str(place.path), **pack.form_of(options)}
    return pack.Key(NAME, source, place.stamp([*_pictures_in(place), ATTRIBUTES, PARTITION]))


def _unpacked() -> Path | None:
    """A folder `celeba` with `img_align_celeba/` and both tables in it, where there is no archive."""
    for root in store.roots():
        folder = root / NAME
        complete = all((folder / file).is_file() for file in (ATTRIBUTES, PARTITION))
        if (folder / PICTURES).is_dir() and complete and not (folder / ARCHIVE).is_file():
            return folder
    return None


def _checked() -> dict[str, Path]:
    """Raises DataError where a person must fetch them first, or they aren't what was published."""
    gone = published.gone(NAME)
    if gone:
        raise DataError(_ask_for(gone))
    return published.checked(NAME)


def _ask_for(gone: list[str]) -> str:
    are, them = ("is", "it") if len(gone) == 1 else ("are", "them")
    return (
        f"{NAME}: {published.listed(gone)} {are} not here, and no program may fetch {them}; download {them} from "
        f"{published.of(NAME).home} (Align&Cropped Images, Anno, Eval) into {store.roots()[0] / NAME} as they come; "
        f"the archive may be unpacked there, and the folder be a link"
    )
