"""Which module reads a file that somebody has? Its content says so, and not its name.

Like every module of a source, one of a form has `load(options)`, `verify(path)` and `has_own_splits(path)`.
"""

from __future__ import annotations

from pathlib import Path

from genkit.errors import DataError

#: How files of a form begin, and the module that reads them.
MODULES = {
    b"\x93NUMPY": "array",
    b"PK\x03\x04": "array",
}
#: How files begin that are no data, and what they are.
NO_DATA = {
    b"<!doctype html": "a web page, perhaps the one that a download ends at when it fails",
    b"<html": "a web page, perhaps the one that a download ends at when it fails",
    b"\\documentclass": "a LaTeX document",
    b"%pdf": "a PDF document",
    b"version https://git-lfs": "a pointer to a file in Git LFS, and not the file; fetch it with `git lfs pull`",
}


def module_of(path: Path) -> str:
    """The module of this package that reads a file.

    Raises:
        DataError: when it is something else than data; the message says what.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(512)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    words = beginning.lstrip().lower()
    for start, what in NO_DATA.items():
        if words.startswith(start):
            raise DataError(f"{path}: is {what}")
    return next((module for start, module in MODULES.items() if beginning.startswith(start)), "array")
