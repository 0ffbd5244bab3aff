"""The models, found by file name: `conv_ae.py` is `conv-ae` on the command line."""

from __future__ import annotations

import ast
import functools
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from genkit.errors import GenkitError, UsageError

if TYPE_CHECKING:
    from genkit.contract import Model


def names() -> dict[str, str]:
    """Every model's name and the first line of its file's docstring, read without importing torch."""
    found = {}
    for path in sorted((Path(__file__).parent / "models").glob("[!_]*.py")):
        status = path.stat()
        found[path.stem.replace("_", "-")] = _first_line(path, status.st_mtime_ns, status.st_size)
    return found


@functools.lru_cache(256)
def _first_line(path: Path, _changed: int, _size: int) -> str:
    try:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    except SyntaxError as error:  # one broken file must not take the others along
        docstring = f"(can't be loaded: {path.name}, line {error.lineno}: {error.msg})"
    return docstring.partition("\n")[0]


def name_of(kind: type[Model]) -> str:
    """The name of a model that was found: its file's."""
    return kind.__module__.rpartition(".")[2].replace("_", "-")


def require(name: str) -> None:
    """Refuse a name that no model has.

    Raises:
        UsageError
    """
    if name not in names():
        raise UsageError(f"no model is called '{name}'; there are {', '.join(names())}")


def source(name: str) -> Path:
    """The file that defines the model of this name."""
    return Path(__file__).parent / "models" / f"{name.replace('-', '_')}.py"


def find(name: str) -> type[Model]:
    """The one model class that the file of this name defines.

    Raises:
        UsageError: when there is no such model.
        GenkitError: when its file can't be imported.
    """
    require(name)
    from genkit.contract import Model  # which takes torch along

    try:
        module = importlib.import_module(f"genkit.models.{name.replace('-', '_')}")
    except (SyntaxError, ImportError, NameError, AttributeError) as error:
        raise GenkitError(f"models/{name.replace('-', '_')}.py can't be loaded: {error}") from error
    (model,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Model) and value.__module__ == module.__name__
    )
    return model
