"""The models, found by file name: `conv_ae.py` is `conv-ae` on the command line."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from genkit.errors import UsageError

if TYPE_CHECKING:
    from genkit.model import GenerativeModel


def names() -> dict[str, str]:
    """Every model's name and the first line of its file's docstring, read without importing torch."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem.replace("_", "-")] = docstring.partition("\n")[0]
    return found


def find(name: str) -> type[GenerativeModel]:
    """The one model class that the file of this name defines.

    Raises:
        UsageError: when there is no such model.
    """
    from genkit.model import GenerativeModel

    if name not in names():
        raise UsageError(f"no model is called '{name}'; there are {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    (model,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, GenerativeModel) and value.__module__ == module.__name__
    )
    return model
