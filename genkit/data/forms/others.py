"""Which of a place's files, none of them a picture, are the data, and do they belong together?

Files of one form are one set, in the splits that their names say. Archives are the folders that they would be unpacked
into. What can't be told is refused, with the names.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from genkit.data.forms import ARCHIVES, HOLDERS, form_of, in_place, named, of_files
from genkit.data.forms.archives import Joined
from genkit.data.forms.layout import part_of_file, set_of_file
from genkit.data.forms.listing import Listing, shown
from genkit.data.forms.source import Source
from genkit.errors import DataError
from genkit.wording import counted

if TYPE_CHECKING:
    from genkit.data import DataOptions

#: So many files are opened, to see what they are.
MOST_OPENED = 10_000
#: Forms of one file of several arrays: such files are one set only where their names say its splits.
WHOLE = {"npz", "matlab", "hdf5", "table"}
#: So many pictures may only lie beside the data, if this is so many times as large.
FEW, SHARE = 16, 4
#: Endings of files that hold many images, and seldom anything else.
DATA = re.compile(r"(?i)(\.(parquet|arrow|np[yz]|mat|h5|hdf5|zip|tar|tgz|tbz2|txz)|ubyte(\.gz)?|\.tar\.\w+)$")
#: What a file's name says of its arrays: images and labels of one set may lie in a file each, `test_x.h5`, `test_y.h5`.
ROLE = re.compile(r"(?i)(?:^|(?<=/)|[_ -])(?:x|y|images?|imgs?|labels?|targets?)(?=(?:\.\w+)+$)")
#: A file that may lie beside what it was made of.
COMPRESSED = re.compile(r"(.+)\.(?:gz|bz2|xz)")
#: What archives of parts of one folder are called, before their numbers.
SHARD = re.compile(
    r"(?i)(.*?)(?:[-_. ]?(?:part|shard|chunk|batch|vol|volume|piece)[-_. ]?\d+|[-_. ]\d{3,}|(?<![^/])(?:0\d\d+|\d{5,}))"
    r"(?:[-_. ]?of[-_. ]?\d+)?"
)
#: What is numbered and no part of anything.
CLASS = re.compile(r"(?i)(.*[-_. ])?(class|label|category|digit|person|subject)")


def source_of(listing: Listing, options: DataOptions) -> Source | None:
    """The images in those files of a listing that are no pictures; None where none of them is of a form that is read.

    Raises:
        DataError: when it can't be told which are meant, or they belong together.
    """
    forms = forms_of(listing)
    archives = [file for file, form in forms.items() if form in ARCHIVES]
    others = [file for file, form in forms.items() if form not in ARCHIVES and form != "table"]
    tables = [file for file, form in forms.items() if form == "table"]
    if archives and others:
        raise _several(listing, "data of several forms", [archives[0], others[0]])
    if archives:
        return _of_archives(listing, archives, forms, options)
    chosen = others or tables
    if not chosen:
        return None
    chosen, warnings = _of_one_set(listing, chosen, forms)
    source = of_files(listing.place, {file: forms[file] for file in chosen}, options)
    source.warnings += warnings
    source.left_out |= _left_out(listing, chosen)
    if listing.files:
        source.left_out["images beside the data"] = len(listing.files)
        source.warnings.append(
            f"{counted(len(listing.files), 'picture')} beside the data ({shown(listing.files)}), not read; to read "
            "pictures alone, give a folder of them"
        )
    return source


def are_beside(listing: Listing) -> bool:
    """Whether the pictures of a listing, a few, only lie beside what is plainly the data: a logo beside shards."""
    if len(listing.files) > FEW:
        return False
    place = listing.place
    files = [file for file in listing.others if DATA.search(file)][:MOST_OPENED]
    return sum(map(place.size, files)) > SHARE * sum(map(place.size, listing.files))


def forms_of(listing: Listing) -> dict[str, str]:
    """The form of each file that is of one that is read.

    Raises:
        DataError: when one of them that is called as data are is none, as a pointer to data; or all are something else.
    """
    found: dict[str, str] = {}
    errors = []
    for file in listing.others[:MOST_OPENED]:
        try:
            form = form_of(listing.place, file)
        except DataError as error:
            if DATA.search(file):  # without it, its images would be missed, or its split be held out of another
                raise
            errors.append(error)
            continue
        if form is not None and form != "picture":
            found[file] = form
    if errors and not found:
        raise errors[0]
    return found


def _of_one_set(listing: Listing, files: list[str], forms: dict[str, str]) -> tuple[list[str], list[str]]:
    """Those files that are one set, and lines on those that aren't.

    Raises:
        DataError: when they are of several sets.
    """
    there = set(files)
    files = [file for file in files if not (each := COMPRESSED.fullmatch(file)) or each[1] not in there]
    kinds = {form: file for file in reversed(files) for form in ["arrays" if forms[file] in HOLDERS else forms[file]]}
    if len(kinds) > 1:
        raise _several(listing, "data of several forms", sorted(kinds.values()))
    parts = {file: part_of_file(file) for file in files}
    has_splits = "train" in parts.values()
    outside = [file for file in files if has_splits and parts[file] is None]
    files = [file for file in files if file not in outside]
    by_set = defaultdict(list)
    for file in files:
        if forms[file] == "npy":  # its name says what it holds
            said = posixpath.dirname(file)
        else:
            said = ROLE.sub("", file) if forms[file] in WHOLE and not has_splits else set_of_file(file)
        by_set[said].append(file)
    if len(by_set) > 1:
        raise _several(listing, "several sets", [some[0] for some in by_set.values()])
    return files, [f"{shown(outside)}: neither train, val nor test by the name; left out"] if outside else []


def _several(listing: Listing, what: str, files: list[str]) -> DataError:
    """The refusal of a place of several sets, with a file of each."""
    names = files
    above = [file.split("/")[:-1] for file in files]
    for folders in above:
        while folders and part_of_file(folders[-1]):
            folders.pop()
    if all(above) and len({tuple(each) for each in above}) == len(files):
        names = [f"{'/'.join(each)}/" for each in above]
    one = listing.root / names[0].rstrip("/")
    return DataError(f"{listing.root}: holds {what} ({shown(names)}); name one of them, as {one}")


def _left_out(listing: Listing, used: Sequence[str]) -> dict[str, int]:
    """What a listing leaves out, but for those files that are used after all."""
    from genkit.data.forms.listing import kind_of

    left_out = Counter(listing.left_out)
    for file in used:
        left_out[kind_of(file) or ""] -= 1
    return {kind: count for kind, count in left_out.items() if count > 0}


def _of_archives(listing: Listing, files: list[str], forms: dict[str, str], options: DataOptions) -> Source:
    """Several archives as one folder, or what a single one holds."""
    place = listing.place
    archives = {file: named(ARCHIVES[forms[file]])(place, file) for file in files}
    if len(files) == 1 and not listing.tables:
        archives[files[0]].without_top()
        source = in_place(archives[files[0]], options)
        source.left_out |= _left_out(listing, files)
        return source
    folders = folders_of(files)
    source = in_place(Joined(place, archives, folders), options)
    if len(files) > len(set(folders.values())):
        source.notes.insert(0, f"{shown(files)} are parts of one folder" + " each" * (len(set(folders.values())) > 1))
    return source


def folders_of(files: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The folder that each archive would be unpacked into; those that are only numbered are unpacked into one."""
    folders = {}
    for file in files:
        *above, name = file.split("/")
        plain = re.sub(r"(?i)\.(zip|tar|tgz|tbz2?|txz)?(\.(gz|bz2|xz))?$", "", name)
        numbered = SHARD.fullmatch(plain)
        if numbered and not CLASS.fullmatch(numbered[1]):
            plain = numbered[1]
        folders[file] = (*above, *([plain] if plain else []))
    return folders
