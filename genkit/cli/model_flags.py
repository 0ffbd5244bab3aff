"""A model's flags without the model: what its last import said of them is kept, until anything changes that it ran.

To import a model is to import torch, a second for a help text or a slip of the pen. What is kept is plain data
(`options.Described`), and only shown and held against what is typed: the values that a run is made with are checked by
the model's own class. It lies beside the data sets, in `flags/`, is written by the first command that imports the
model, and can be deleted at any time.

Of a model from outside more may decide than the files that Python loads, a list that it reads or a variable: before a
value is refused for what is kept of it, the model itself is asked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pydantic
from pydantic import BaseModel, field_validator

from genkit import registry
from genkit.cli.shared import loading
from genkit.data import store
from genkit.errors import GenkitError
from genkit.files import read_plain, whole_file
from genkit.options import Described, describe
from genkit.version import __version__

#: Of the kept files; bytes of the largest that is read.
FORMAT, MAX_SIZE = 1, 4 << 20
#: How many are kept of a model: of other versions, interpreters and paths.
MOST = 8
#: When this process began, about, and how long before a file must have been changed for the last time: later, what was
#: imported may not be what lies there, and one change may have the time of another. Nanoseconds.
BEGAN, SETTLED = time.time_ns(), 2 * 10**9


class Kept(BaseModel, extra="forbid", frozen=True, strict=True):
    """What is kept of a model's import.

    Attributes:
        model: SHA-256 of its file.
        files: size and time of the last change of every file that Python had loaded by then, torch's among them.
        flags: what was described.
    """

    model: str
    files: dict[str, tuple[int, int]]
    flags: tuple[Described, ...]

    @field_validator("flags")
    @classmethod
    def _printable(cls, flags: tuple[Described, ...]) -> tuple[Described, ...]:
        """Whoever can write into the folder mustn't write to the terminal."""
        for each in flags:
            if not "".join((each.name, each.metavar or "", each.help or "", each.default, *each.choices)).isprintable():
                raise ValueError("not printable")
        return flags

    def holds(self, file: Path) -> bool:
        """Whether all is still as it was."""
        try:
            return self.model == sha256(file) and all(stamp(path) == each for path, each in self.files.items())
        except (OSError, ValueError):
            return False


class Flags(NamedTuple):
    """What the flags of a model are.

    Attributes:
        about: each of them.
        final: whether what they refuse is refused; else the model itself has to be asked first.
    """

    about: tuple[Described, ...]
    final: bool


def of(name: str, ask: bool = False) -> Flags:
    """What the flags of a model are, from what is kept where that holds, else from the model itself.

    Args:
        ask: the model itself in any case.

    Raises:
        UsageError, ModelError: as `registry.find`.
    """
    offer = registry.meant(name)
    file = offer.file
    new = "torch" not in sys.modules  # else there is nothing to gain, and what is loaded may be old
    if new and not ask and file is not None and (kept := read(file, name)) is not None:
        return Flags(kept, offer.package == registry.GENKIT)
    with loading():
        model = registry.find(name)
    flags = describe(model.Options)
    if new and file is not None:
        with suppress(GenkitError, OSError, ValueError):
            keep(file, name, flags)
    return Flags(flags, True)


def read(file: Path, name: str) -> tuple[Described, ...] | None:
    """What is kept of the model in a file, if it holds."""
    for root in store.roots():
        with suppress(OSError, ValueError):
            kept = Kept.model_validate_json(read_plain(root / place(file, name), MAX_SIZE))
            if kept.holds(file):
                return kept.flags
    return None


def keep(file: Path, name: str, flags: tuple[Described, ...]) -> None:
    """Keep what was described of a model that this process has just imported.

    Raises:
        GenkitError, OSError, ValueError: when that can't be.
    """
    paths = {getattr(module, "__dict__", {}).get("__file__") for module in list(sys.modules.values())}
    files = {path: stamp(path) for path in paths if isinstance(path, str) and Path(path).is_absolute()}
    if max(changed for _, changed in files.values()) > BEGAN - SETTLED:
        return
    kept = Kept(model=sha256(file), files=files, flags=flags)
    path = store.writable_root() / place(file, name)
    with whole_file(path) as temporary:
        temporary.write_text(kept.model_dump_json(), encoding="utf-8")
    prune(path.parent, name)


def prune(folder: Path, name: str) -> None:
    """Delete what was kept of a model long ago."""
    form = re.compile(re.escape(name) + "-[0-9a-f]{16}[.]json")
    old = sorted(
        (each for each in folder.iterdir() if form.fullmatch(each.name)), key=lambda each: each.lstat().st_mtime
    )
    for each in old[:-MOST]:
        each.unlink()


def place(file: Path, name: str) -> Path:
    """Where it is kept in a root; elsewhere for another interpreter, or another path of imports."""
    path = [str(Path(each).absolute()) for each in sys.path]
    decides = [FORMAT, str(file.absolute()), path, sys.version, pydantic.VERSION, __version__]
    return Path("flags") / f"{name}-{hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]}.json"


def stamp(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116  # a thousand of them
    return status.st_size, status.st_mtime_ns


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
