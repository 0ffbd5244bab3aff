"""What is it that somebody has, and who reads it? Its content says so, and not its name.

A form is a way in which people keep images. Each is opened as a `Source`: `Pictures` of encoded files, or `Arrays` of
pixels, and from there on all go the same way, through one pack.
"""

from __future__ import annotations

import lzma
import zlib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from genkit.data import OF_FILES, file_of
from genkit.data.findings import Findings
from genkit.data.forms.no_data import what_it_is
from genkit.data.forms.places import Folder, Place, is_compressed, plain
from genkit.data.heif import is_heif
from genkit.errors import DataError, in_one_line
from genkit.files import expanded

if TYPE_CHECKING:
    from genkit.data import DataOptions
    from genkit.data.dataset import Dataset
    from genkit.data.forms.source import Source

#: Bytes of a file's beginning that tell what it is; in a tar archive, its mark stands behind the first name.
BEGINNING = 512
#: How files of a form begin, and the name of the form. (What is compressed is asked for what it holds.)
MAGIC = {
    b"\x93NUMPY": "npy",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # an empty one
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"MATLAB 5.0 MAT-file": "matlab",
    b"MATLAB 7.3 MAT-file": "hdf5",
    b"PAR1": "parquet",
    b"ARROW1\x00\x00": "arrow",
    b"\xff\xff\xff\xff": "arrow",  # a stream of record batches, as `datasets` saves it
    b"\x89PNG\r\n\x1a\n": "picture",
    b"\xff\xd8\xff": "picture",
    b"GIF8": "picture",
    b"II*\x00": "picture",
    b"MM\x00*": "picture",
    b"II+\x00": "picture",
    b"MM\x00+": "picture",
    b"BM": "picture",
}
#: The same of marks that stand further on: (offset, mark).
MAGIC_WITHIN = {
    (257, b"ustar"): "tar",
    (8, b"WEBP"): "picture",
    (4, b"ftypavif"): "picture",
    (4, b"ftypavis"): "picture",
    (128, b"DICM"): "picture",
}
#: Forms whose files hold arrays, and the `Holder` of each: module of this package and class.
HOLDERS = {
    "npy": ("npy", "Npy"),
    "npz": ("npy", "Npz"),
    "idx": ("idx", "Idx"),
    "table": ("pixel_tables", "PixelTable"),
    "matlab": ("matlab", "Matlab"),
    "hdf5": ("hdf5", "Hdf5"),
}
#: Forms whose files hold encoded pictures, and what opens several such files: module and class, or function.
PICTURES = {
    "parquet": ("parquet", "opened"),
    "arrow": ("parquet", "opened"),
    "picture": ("pages", "NamedPictures"),
}
#: Archives of files in any of these forms, and the `Place` that each is: module and class.
ARCHIVES = {
    "zip": ("archives", "Zip"),
    "tar": ("archives", "Tar"),
}
#: Forms whose files may be compressed by gzip, bzip2 or xz, since they are read from front to back.
STREAMED = {"idx", "table", "tar", "npy"}


def load(options: DataOptions) -> Dataset:
    """The images in what lies at the path `options.dataset`, packed first where they aren't yet.

    Raises:
        DataError: when they can't be read, or used as `options` want them.
    """
    from genkit.data import pack
    from genkit.data.decode import without_warnings

    source = opened(options)
    source.tell()
    with without_warnings():
        packed = pack.open_or_write(source.key(options), lambda: source.contents(options))
    source.tell_of(packed, options)
    return packed.told()


def verify(options: DataOptions) -> Findings:
    """Read all of it anew, and check its packs; or check one pack, named by its folder.

    Raises:
        DataError: when it is a folder with nothing in it that is read.
    """
    from genkit.data import pack
    from genkit.data.decode import without_warnings

    path = expanded(options.dataset)
    if (path / pack.MANIFEST).is_file():
        return pack.verify(path)
    findings = Findings(source=str(path.resolve()))
    try:
        source = understood(options)
    except DataError as error:
        if not path.is_file():
            raise
        findings.files, findings.problems = 1, [str(error)]
        return findings
    source.enter(findings)
    try:
        with without_warnings():
            source.check(findings)
    except DataError as error:
        findings.problems.append(str(error))
    pack.verify_packs_of({source.kind: str(source.path)}, findings)
    return findings


def has_own_splits(options: DataOptions) -> bool:
    """Whether it says which of its images are for training, and which for testing.

    Raises:
        DataError: when it can't be read, or made sense of.
    """
    return opened(options).parts is not None


def files_of(options: DataOptions) -> list[str]:
    """What the images that `load` packed are called, in their order; [] where they have no names.

    Raises:
        DataError: when they aren't packed as they lie there now.
    """
    from genkit.data import pack

    source = opened(options)
    packed = pack.find(source.key(options))
    if packed is None:
        raise DataError(f"{options.dataset}: has changed while it was read; try again")
    return source.names(packed.skipped) or []


def opened(options: DataOptions) -> Source:
    """What lies at a path, understood as far as that goes without reading it whole.

    Raises:
        DataError: when it is nothing that is read, or can't be understood in one way only.
    """
    source = understood(options)
    if source.faults:
        raise DataError(source.faults[0])
    return source


def understood(options: DataOptions) -> Source:
    """The same with its faults, as far as there is anything to be read all the same."""
    from genkit.data.forms.pages import as_wanted

    source = _found(options)
    _refuse_what_says_nothing(source, options)
    return as_wanted(source, options)


def _refuse_what_says_nothing(source: Source, options: DataOptions) -> None:
    """Raises DataError where an option is given that means nothing for a form: somebody expects it to do something."""
    given = [name for name in OF_FILES if getattr(options, name) is not None and name not in source.heeds]
    if given:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        one = "says" if len(given) == 1 else "say"
        raise DataError(f"{source.path}: is {source.form}, of which {flags} {one} nothing; leave that out")


def _found(options: DataOptions) -> Source:
    path = expanded(options.dataset)
    if path.is_dir():
        return in_place(Folder(path), options)
    file = file_of(path) or path
    within = path.relative_to(file).as_posix() if file != path else ""
    file = file.resolve()
    return _of_file(Folder(file.parent), file.name, within, options)


def _of_file(place: Place, file: str, within: str, options: DataOptions) -> Source:
    """What a file holds; of an archive, what lies `within` it at a path, "" for all."""
    form = form_of(place, file)
    if form not in ARCHIVES:
        if within:
            raise DataError(f"{place.path / file}: is no archive, so that {within} can't lie in it")
        files: dict[str, str | None] = {file: form}
        if form == "idx":
            from genkit.data.forms.idx import labels_beside

            labels = labels_beside(place, file)
            files |= {labels: form} if labels else {}
        return of_files(place, files, options)
    archive = named(ARCHIVES[form])(place, file)
    if within:
        if within in archive.directory:
            return _of_file(archive, within, "", options)
        archive.enter(within)
    else:
        archive.without_top()
    return in_place(archive, options)


def in_place(place: Place, options: DataOptions) -> Source:
    """What lies in a folder or an archive: pictures, or files that hold images in another form.

    Raises:
        DataError: when there is nothing that is read, or it can't be told what is meant.
    """
    from genkit.data.forms.folder import FolderOfPictures
    from genkit.data.forms.listing import look, require_pictures
    from genkit.data.forms.others import are_beside, source_of

    named = expanded(options.dataset)
    listing = look(place, named)
    if listing.others and (not listing.files or are_beside(listing)):
        source = source_of(listing, options)
        if source is not None:
            return source
    require_pictures(listing, named)
    return FolderOfPictures(listing)


def of_files(place: Place, forms: dict[str, str | None], options: DataOptions) -> Source:
    """Files of a place, each with its form, as one source.

    Raises:
        DataError: when they are of no form that is read, or of several.
    """
    unknown = [file for file, form in forms.items() if form is None]
    if unknown:
        raise DataError(f"{place.path / unknown[0]}: is of no form that is read; docs/data.md lists those that are")
    kinds = {str(form) for form in forms.values()}
    if kinds <= PICTURES.keys() and len(kinds) == 1:
        return named(PICTURES[kinds.pop()])(place, list(forms), options)
    if kinds <= HOLDERS.keys():
        from genkit.data.forms.arrays import Arrays
        from genkit.data.forms.stored import together

        return Arrays(together([named(HOLDERS[str(form)])(place, file) for file, form in forms.items()]), options)
    raise DataError(f"{place.path}: holds files of several forms ({', '.join(sorted(kinds))}); name one of them")


def named(where: tuple[str, str]) -> Any:
    """A class or function of this package, imported only now: some need a library that not everybody has."""
    module, name = where
    return getattr(import_module(f"{__name__}.{module}"), name)


def form_of(place: Place, file: str) -> str | None:
    """The name of a file's form; None where it is of none that is known.

    Raises:
        DataError: when it is something else than data; the message says what.
    """
    path = place.path / file
    shown = str(path) if str(path).isprintable() else ascii(str(path))  # a member may be called anything
    try:
        with plain(place, file) as opened_file:
            beginning = opened_file.read(BEGINNING)
        compressed = is_compressed(place, file)
    except OSError as error:
        raise DataError(f"{shown}: can't be read ({error.strerror or error})") from error
    except (EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{shown}: can't be decompressed ({in_one_line(error)}); download or copy it again") from error
    what = what_it_is(path.name, beginning)
    if what is not None:
        raise DataError(f"{shown}: is {what}")
    form = next((form for start, form in MAGIC.items() if beginning.startswith(start)), None)
    form = form or next((form for (at, mark), form in MAGIC_WITHIN.items() if beginning[at:].startswith(mark)), None)
    form = form or _form_without_a_mark(beginning)
    if compressed and form not in STREAMED and form is not None:
        raise DataError(f"{shown}: is a compressed file of the form {form}, which is read uncompressed; decompress it")
    its_ending = path.suffix.lower().removeprefix(".")
    if (form, its_ending) == ("zip", "npz"):
        return "npz" if _may_hold_arrays(place, file) else form
    # One that doesn't begin as a .npy or .npz is damaged.
    return its_ending if form is None and its_ending in ("npy", "npz") else form


def _may_hold_arrays(place: Place, file: str) -> bool:
    """Whether a zip archive is one of arrays, as NumPy writes them, or damaged, which its reader says."""
    from genkit.data.forms.archives import Zip

    try:
        names = Zip(place, file).directory.names
    except DataError:
        return True
    return not names or any(name.endswith(".npy") for name in names)


def _form_without_a_mark(beginning: bytes) -> str | None:
    """The form of a file that is told by more than a fixed mark."""
    from genkit.data.forms.archives import is_tar
    from genkit.data.forms.idx import is_idx
    from genkit.data.forms.matlab import is_version_4
    from genkit.data.forms.pixel_tables import is_table

    if is_heif(beginning):
        return "picture"
    if is_idx(beginning):
        return "idx"
    if is_version_4(beginning):
        return "matlab"
    if is_tar(beginning):
        return "tar"
    return "table" if is_table(beginning) else None
