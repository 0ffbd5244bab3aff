"""What does a form need that not every installation has?"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from genkit.data.raster import EXTRA
from genkit.errors import DataError


def library(module: str, path: Path, form: str, package: str | None = None) -> Any:
    """A library of the extra `formats`, imported.

    Args:
        module: its name to Python.
        path: of the file that needs it, for the message.
        form: of the file, in words: "Parquet".
        package: its name to pip, where that is another.

    Raises:
        DataError: when it isn't installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(f"{path}: {form} is read by {package or module}, which isn't here; {EXTRA}") from error
