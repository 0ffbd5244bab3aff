"""Which files lie in a folder or an archive, and which of them aren't read?

Links are followed: clusters lay data sets out with them. Whatever they lead to, each folder is read once, only plain
files are opened, nothing is followed in a circle or into /proc and /sys, and there is a bound to how often the same may
be reached again. What is left out is counted by kind.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from genkit.data.decode import BEGINNING, EXTENSIONS, UNREAD
from genkit.data.dicom import ENDINGS, is_dicom
from genkit.data.findings import in_words
from genkit.data.forms import tables
from genkit.data.forms.archives import Archive, Joined
from genkit.data.forms.labels import LABELS
from genkit.data.forms.places import Folder, Place
from genkit.data.forms.webdataset import BESIDE, key_of
from genkit.errors import DataError
from genkit.wording import not_text, why_not_text

#: Folders that programs make beside one's own, in lower case: thumbnails, bins, and what archives from Macs bring.
NOT_ONES_OWN = {
    "__macosx",
    "@eadir",
    "#recycle",
    "@recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__pycache__",
}

#: Endings of files that lie beside images and hold none: nobody misses them, as one does a table of labels.
COMPANIONS = re.compile(
    r"\.(txt|md|rst|json|xml|ya?ml|toml|ini|cfg|conf|log|html?|css|js|py|ipynb|sh|bib|sha1|sha256|md5|url|lnk|lock)"
)
#: The same for names without an ending.
COMPANION_NAMES = re.compile(r"(?i)readme|licen[cs]e|copying|authors|notice|changelog|version|makefile|.*sums?")

#: How many folders and files may be reached once more through links, after the first time.
MOST_AGAIN = 1_000_000
#: How many entries of a folder that isn't read are looked at, to count its images.
MOST_COUNTED = 100_000
#: How many files are noted that are no pictures.
MOST_OTHERS = 100_000
#: Whether pydicom is here.
READS_DICOM = UNREAD.keys().isdisjoint(ENDINGS)
#: How many names are given as examples.
EXAMPLES = 3


class Listing(NamedTuple):
    """What lies in a folder or an archive."""

    place: Place
    files: list[str]  # the pictures, by their paths in the place with "/", sorted
    tables: list[str]  # those that say something of pictures, likewise
    stamps: dict[str, tuple[int, int]]  # bytes and time (ns) of each picture and table on disk; differs when they do
    targets: dict[str, str]  # where those pictures and tables really lie that are reached through a link
    bare: list[str]  # folders without a picture in them or below, the topmost of each tree
    others: list[str]  # files that may be images in another form; not more than MOST_OTHERS
    left_out: dict[str, int]  # kind to number, `others` among them
    beside: Sequence[str] = ()  # in an archive, files that may say what is on the pictures beside, as WebDataset's do

    @property
    def root(self) -> Path:
        return self.place.path


def shown(names: list[str]) -> str:
    """The first few of some names, which may be anybody's, in one line."""
    some = [name if name.isprintable() else ascii(name) for name in names[:EXAMPLES]]
    return ", ".join([*some, "..."] if len(names) > EXAMPLES else some)


def scan(folder: Path) -> Listing:
    """Find the pictures in a folder.

    Raises:
        DataError: as `look`, and when there is no picture.
    """
    listing = look(Folder(folder), folder)
    require_pictures(listing, folder)
    return listing


def require_pictures(listing: Listing, named: Path) -> None:
    """Raises DataError when there is no picture; what is said of it begins with the path that was named."""
    if not listing.files:
        others = f" (left out: {in_words(listing.left_out)})" if listing.left_out else ""
        raise DataError(
            f"{named}: no image files in it{others}; put some there (.png, .jpg, ..., in subfolders by class)"
        )


def look(place: Place, named: Path) -> Listing:
    """Find the pictures in a place by their names' endings, and tables by their names.

    A link's own name is what counts, not that of its target; sizes and times are the target's.

    Args:
        named: the path that was given, for messages.

    Raises:
        DataError: when a folder can't be read, or links lead to the same folders without end.
    """
    if isinstance(place, Archive):
        return _listed(place)
    if isinstance(place, Joined):
        return _joined(place, look(place.base, named))
    walk = _Walk(place.path, named)
    files = sorted(name for name in walk.found if not _is_table(name))
    stamps = {name: (status.st_size, status.st_mtime_ns) for name, status in sorted(walk.found.items())}
    found = sorted(stamps.keys() - set(files))
    bare = _topmost_bare(walk.folders, files)
    return Listing(place, files, found, stamps, walk.targets, bare, sorted(walk.others), walk.counted())


def _listed(archive: Archive) -> Listing:
    """The same of an archive, whose names are known."""
    directory = archive.directory
    files: list[str] = []
    found: list[str] = []
    others: list[str] = []
    beside: list[str] = []
    kinds: Counter[str] = Counter()
    folders = set(directory.folders)
    hidden_of: dict[str, str | None] = {}
    for name in directory.names:
        folder, _, last = name.rpartition("/")
        ending = _ending(last)
        hidden = hidden_of[folder] if folder in hidden_of else hidden_of.setdefault(folder, _hidden_part(folder))
        if hidden is None:
            hidden = _hidden_part(last)
        if hidden is not None:
            if ending in EXTENSIONS:
                kinds["hidden images" if hidden_of[folder] is None else f"images in {shown([hidden])}/"] += 1
            continue
        folders.add(folder)
        if _is_table(name):
            found.append(name)
        elif ending in EXTENSIONS:
            files.append(name)
        elif ending in BESIDE:
            beside.append(name)
            continue
        else:
            _count_other(name, ending, kinds, others)
            continue
        require_fit_to_show(f"{archive.path}/{name}")
    for folder in list(folders):
        while folder and (folder := folder.rpartition("/")[0]) not in folders:
            folders.add(folder)
    bare = _topmost_bare([folder for folder in folders if folder and _hidden_part(folder) is None], files)
    targets = {name: f"{archive.path}/{target}" for name, target in directory.links.items()}
    keys = {key_of(file) for file in files} if beside else set()
    for name in beside:
        if key_of(name) not in keys:
            _count_other(name, _ending(name), kinds, others)
    return Listing(
        place=archive,
        files=sorted(files),
        tables=sorted(found),
        stamps={},
        targets=targets,
        bare=bare,
        others=sorted(others),
        left_out={**directory.left_out, **kinds},
        beside=[name for name in beside if key_of(name) in keys],
    )


def _joined(place: Joined, beside: Listing) -> Listing:
    """The same of several archives, and of the tables that lie beside them."""
    listings = {name: _listed(archive) for name, archive in place.archives.items()}
    left_out = Counter(beside.left_out)
    for name in place.archives:
        left_out[_kind(name, _ending(name)) or ""] -= 1
    for each in listings.values():
        left_out.update(each.left_out)

    def full(names: Callable[[Listing], Iterable[str]]) -> list[str]:
        return sorted(f"{archive}/{name}" for archive, each in listings.items() for name in names(each))

    return Listing(
        place=place,
        files=full(lambda each: each.files),
        tables=beside.tables + full(lambda each: each.tables),
        stamps={},
        targets={f"{name}/{file}": target for name, each in listings.items() for file, target in each.targets.items()},
        bare=full(lambda each: each.bare),
        others=full(lambda each: each.others),
        left_out={kind: count for kind, count in left_out.items() if count > 0},
        beside=full(lambda each: each.beside),
    )


def _hidden_part(name: str) -> str | None:
    """The first part of a path that is hidden, or nobody's own."""
    return next((part for part in name.split("/") if part.startswith(".") or part.lower() in NOT_ONES_OWN), None)


def _count_other(name: str, ending: str, kinds: Counter[str], others: list[str]) -> None:
    """Enter a file that is no picture, by its path."""
    kind = _kind(name.rpartition("/")[2], ending)
    if kind:
        kinds[kind] += 1
        if len(others) < MOST_OTHERS:
            others.append(name)


def _is_table(relative: str) -> bool:
    """Whether a path from the root is a table's; those that give labels may also lie in a split's folder."""
    name = relative.rpartition("/")[2]
    return relative in tables.ATTRIBUTES or relative == tables.PARTITION or name in LABELS


class _File(NamedTuple):
    name: str
    status: os.stat_result
    target: str | None  # of a link
    is_picture: bool


class _Subfolder(NamedTuple):
    name: str
    real: str
    linked: bool


class _Content(NamedTuple):
    """What one folder holds, wherever it was reached from."""

    real: str
    files: list[_File]
    folders: list[_Subfolder]


class _Way(NamedTuple):
    """A folder as it is reached: the folders that one came through are behind `before`."""

    relative: str  # from the root, with "/" at its end unless empty
    real: str
    linked: bool  # whether a link was followed on the way
    before: _Way | None

    def leads_back(self, real: str) -> bool:
        """Whether `real` is a folder that one came through, or holds one."""
        way: _Way | None = self
        while way is not None:
            if way.real == real or way.real.startswith(real.rstrip("/") + "/"):
                return True
            way = way.before
        return False


class _Walk:
    """All that is found from a root on."""

    def __init__(self, root: Path, named: Path):
        self.root, self.named = root, named
        self.found: dict[str, os.stat_result] = {}
        self.targets: dict[str, str] = {}
        self.folders: list[str] = []
        self.others: list[str] = []
        self._kinds: Counter[str] = Counter()
        self._dangling: list[str] = []
        self._circles: list[str] = []
        self._known: dict[str, _Content] = {}
        self._again = 0
        self._systems = {_device("/proc"), _device("/sys")} - {None, _device(str(root))}
        ways = [_Way("", str(root), False, None)]
        while ways:
            ways.extend(self._enter(ways.pop()))

    def counted(self) -> dict[str, int]:
        kinds = dict(self._kinds)
        for links, kind in ((self._dangling, "links to nothing"), (self._circles, "links in a circle")):
            if links:
                kinds[f"{kind} ({shown(sorted(links))})"] = len(links)
        return kinds

    def _enter(self, way: _Way) -> Iterator[_Way]:
        """Take over what is in a folder, and go on to those in it."""
        content = self._known.get(way.real)
        if content is None:
            content = self._known[way.real] = self._read(way)
        else:
            self._again += 1 + len(content.files) + len(content.folders)
            if self._again > MOST_AGAIN:
                raise DataError(
                    f"{self.named}: its links lead to the same folders again and again, {way.relative[:80]!a} for "
                    "example; remove some of them"
                )
        if way.relative:
            self.folders.append(way.relative[:-1])
        for file in content.files:
            relative = way.relative + file.name
            if not (file.is_picture or _is_table(relative)):
                continue
            require_fit_to_show(f"{self.root}/{relative}")
            self.found[relative] = file.status
            if file.target is not None or way.linked:
                self.targets[relative] = file.target or f"{way.real}/{file.name}"
        for folder in content.folders:
            if folder.linked and way.leads_back(folder.real):
                self._circles.append(way.relative + folder.name)
                continue
            yield _Way(f"{way.relative}{folder.name}/", folder.real, way.linked or folder.linked, way)

    def _read(self, way: _Way) -> _Content:
        content = _Content(way.real, [], [])
        try:
            with os.scandir(way.real) as entries:
                for entry in entries:
                    self._sort(entry, way, content)
        except OSError as error:
            raise DataError(
                f"{error.filename or way.real}: can't be read ({error.strerror}); allow it, or move it out of "
                f"{self.named}"
            ) from error
        return content

    def _sort(self, entry: os.DirEntry[str], way: _Way, content: _Content) -> None:
        """Enter one name into a folder's content, or among what is left out."""
        name = entry.name
        target = None
        if name.startswith(".") or name.lower() in NOT_ONES_OWN:
            self._count_hidden(entry)
            return
        if entry.is_symlink():
            try:
                target = os.path.realpath(entry.path, strict=True)
                status = Path(target).stat()
            except (OSError, RuntimeError) as error:  # before Python 3.13, a circle may be a RuntimeError
                if isinstance(error, PermissionError):
                    raise
                circle = isinstance(error, RuntimeError) or error.errno == errno.ELOOP
                (self._circles if circle else self._dangling).append(way.relative + name)
                return
            if stat.S_ISDIR(status.st_mode):
                if status.st_dev in self._systems:
                    self._kinds["links into /proc or /sys"] += 1
                else:
                    content.folders.append(_Subfolder(name, target, True))
                return
        elif entry.is_dir(follow_symlinks=False):
            content.folders.append(_Subfolder(name, f"{way.real.rstrip('/')}/{name}", False))
            return
        ending = _ending(name)
        # A table may be one in the one place and not in the other: `_enter` decides.
        is_picture = ending in EXTENSIONS or _is_unnamed_dicom(entry, ending)
        if not is_picture and name not in (*tables.ATTRIBUTES, tables.PARTITION, *LABELS):
            _count_other(way.relative + name, ending, self._kinds, self.others)
            return
        if target is None:
            status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and status.st_dev not in self._systems:
            content.files.append(_File(name, status, target, is_picture))
        else:
            self._kinds["special files"] += 1

    def _count_hidden(self, entry: os.DirEntry[str]) -> None:
        if _ending(entry.name.lstrip(".")) in EXTENSIONS and not entry.is_dir(follow_symlinks=False):
            self._kinds["hidden images"] += 1
        elif entry.is_dir(follow_symlinks=False):
            images = _images_below(entry.path)
            if images:
                self._kinds[f"images in {shown([entry.name])}/"] += images


def require_fit_to_show(path: str) -> None:
    """Raises DataError where a path can't be shown in a line."""
    if not path.isprintable() and any(unicodedata.category(each) in ("Cc", "Cs") for each in path):
        why = why_not_text(path) if not_text(path) else "a name with a control character; rename it"
        raise DataError(f"{path!a}: {why}")


def _is_unnamed_dicom(entry: os.DirEntry[str], ending: str) -> bool:
    """Whether a file is DICOM by its content: scanners call them by numbers, with points between or none."""
    if (ending and not ending[1:].isdigit()) or not READS_DICOM or not entry.is_file():
        return False
    try:
        with Path(entry.path).open("rb") as file:
            return is_dicom(file.read(BEGINNING))
    except OSError:
        return False


def _ending(name: str) -> str:
    before, _, ending = name.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if before.strip(".") else ""


def kind_of(file: str) -> str | None:
    """What a file that isn't read is counted as, by its path; None where it isn't counted."""
    name = file.rpartition("/")[2]
    return _kind(name, _ending(name))


def _kind(name: str, ending: str) -> str | None:
    """What to call a file that isn't read; None for what nobody takes for an image."""
    if COMPANIONS.fullmatch(ending):
        return None
    if not ending:
        return None if COMPANION_NAMES.fullmatch(name) else "files without an ending"
    if ending in UNREAD:
        return f"{ending} ({UNREAD[ending]})"
    return ending if re.fullmatch(r"\.(?=.*[a-z])[a-z0-9_-]{1,10}", ending) else "files with other endings"


def _images_below(folder: str) -> int:
    """How many images a folder that isn't read holds, by their names."""
    images = seen = 0
    for _, folders, names in os.walk(folder):
        images += sum(_ending(name) in EXTENSIONS for name in names)
        seen += len(folders) + len(names)
        if seen > MOST_COUNTED:
            break
    return images


def _topmost_bare(folders: list[str], files: list[str]) -> list[str]:
    """The folders without a picture in them or below, but not those in one of them."""
    full = {""}
    for parent in {file.rpartition("/")[0] for file in files}:
        while parent not in full:
            full.add(parent)
            parent = parent.rpartition("/")[0]
    return sorted(each for each in folders if each not in full and each.rpartition("/")[0] in full)


def _device(path: str) -> int | None:
    try:
        return Path(path).stat().st_dev
    except OSError:
        return None
