"""Where judges that were trained here are kept: the folder `judges` of GENKIT_DATA, or of the user's cache."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from genkit.data import store
from genkit.errors import DataError
from genkit.files import remedy, remove_folder

Found = TypeVar("Found")


def folder_name(dataset: str, key: Any) -> str:
    """Of a judge of a set of images, by all that it depends on, as JSON takes it: `mnist-3f2a9c1d0b4e`."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", Path(dataset).name).strip("-")[:40] or "images"
    return f"{slug}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]}"


def folders(name: str) -> list[Path]:
    """Where a judge of that name may lie, the likeliest first."""
    return [root / "judges" / name for root in store.roots()]


def found_or_trained(name: str, find: Callable[[], Found | None], train: Callable[[Path], Found]) -> Found:
    """A judge as `find` finds it, or as `train` makes it in a folder of that name; one process makes it, others wait.

    Raises:
        GenkitError: when no folder takes it, or by `train`.
    """
    if (found := find()) is not None:
        return found
    judges = store.writable_root() / "judges"
    try:
        judges.mkdir(exist_ok=True)
        lock = FileLock(judges / f".{name}.lock")
        lock.acquire()
    except OSError as error:
        raise unwritable(judges, error) from error
    try:
        return find() or train(judges / name)
    finally:
        lock.release()


def make_room(folder: Path) -> None:
    """Remove a damaged judge, and what is left of a killed training, which lies beside its place.

    Raises:
        OSError
    """
    if folder.is_dir():
        remove_folder(folder)
    for left in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)


def unwritable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: can't be written ({error.strerror or error}); "
        f"{remedy(error, 'or', 'set GENKIT_DATA to another folder')}"
    )
