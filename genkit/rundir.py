"""The run directory: created under a fresh number, found again, written to. Nothing in it is ever overwritten.

runs/00003-vae-mnist/
    config.json        every value that the run was made with, and where it came from
    environment.json   versions, device, command line
    log.txt            what was printed
    metrics.jsonl      one line a logging interval and a validation
    tb/                the same for TensorBoard, with the pictures
    reals.png          what the model should learn
    samples-000430.png, reconstructions-000430.png   after that many steps, from fixed noise and images
    checkpoints/000430/
    README.md          the model card, written at the end
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from genkit.errors import CheckpointError, GenkitError

logger = logging.getLogger("genkit")

RUN_NAME = re.compile(r"(\d{5,})-.+")
#: Newest checkpoints that are kept, besides the best.
KEPT = 2


class Found(NamedTuple):
    """What a RUN argument stands for: a checkpoint, and the run that it belongs to, if it still lies in one."""

    checkpoint: Path
    run: RunDirectory | None


class RunDirectory:
    """One run on disk.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, parent: Path, name: str) -> RunDirectory:
        """Make `parent/NNNNN-name` with the next free number; safe when several runs start at once.

        Raises:
            GenkitError: when the folder can't be made.
        """
        try:
            parent.mkdir(parents=True, exist_ok=True)
            with FileLock(parent / ".lock"):
                numbers = [int(match[1]) for entry in parent.iterdir() if (match := RUN_NAME.fullmatch(entry.name))]
                path = parent / f"{max(numbers, default=-1) + 1:05d}-{name}"
                path.mkdir()
                (path / "checkpoints").mkdir()
            return cls(path)
        except OSError as error:
            raise GenkitError(
                f"can't make a run in {parent}: {error.strerror}; name another folder with --out"
            ) from error

    @property
    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        found = [path for path in (self.path / "checkpoints").iterdir() if re.fullmatch("[0-9]+", path.name)]
        return sorted((path for path in found if (path / "manifest.json").exists()), key=lambda path: int(path.name))

    def checkpoint_path(self, step: int) -> Path:
        return self.path / "checkpoints" / f"{step:06d}"

    def best_checkpoint(self) -> Path:
        """The checkpoint with the lowest value of the metric that its model is monitored by; else the newest.

        Raises:
            CheckpointError: when the run has none.
        """
        checkpoints = self.checkpoints
        if not checkpoints:
            raise CheckpointError(f"{self.path} has no checkpoint: it stopped before its first; see its log.txt")
        return min(reversed(checkpoints), key=monitored_value)

    def prune(self) -> None:
        """Delete all checkpoints but the newest two and the best."""
        keep = {*self.checkpoints[-KEPT:], self.best_checkpoint()}
        for path in self.checkpoints:
            if path not in keep:
                # The manifest goes first: a half-deleted folder must not look whole.
                for file in sorted(path.iterdir(), key=lambda file: file.name != "manifest.json"):
                    file.unlink()
                path.rmdir()

    def write_json(self, name: str, value: Any) -> None:
        (self.path / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")


def monitored_value(checkpoint: Path) -> float:
    """The value by which checkpoints of a run are compared; infinite where none was measured."""
    try:
        description = json.loads((checkpoint / "checkpoint.json").read_bytes())
        value = description["metrics"].get(f"val/{description['monitor']}")
    except (OSError, ValueError, KeyError, AttributeError):
        return float("inf")
    return float("inf") if value is None else float(value)


def find(run: str | None) -> Found:
    """The checkpoint that a RUN argument means.

    Args:
        run: a run's folder (its best checkpoint is taken), a checkpoint's folder, a folder of runs (the newest is
            taken), the number of a run, or None for the newest run in `runs/` (or `GENKIT_OUT`).

    Raises:
        CheckpointError: when there is no such thing.
    """
    parent = Path(os.environ.get("GENKIT_OUT", "runs"))
    if run is None:
        return newest(parent)
    path = Path(run)
    if not path.exists() and re.fullmatch("[0-9]+", run):
        matches = [entry for entry in runs_in(parent) if int(entry.name.partition("-")[0]) == int(run)]
        numbers = [str(int(entry.name.partition("-")[0])) for entry in runs_in(parent)]
        if not matches:
            raise CheckpointError(f"{parent} has no run number {run}; it has {', '.join(numbers) or 'none'}")
        path = matches[-1]
    if (path / "manifest.json").is_file():
        inside = path.parent.name == "checkpoints" and (path.parent.parent / "config.json").is_file()
        return Found(path, RunDirectory(path.parent.parent) if inside else None)
    if (path / "checkpoints").is_dir():
        directory = RunDirectory(path)
        return Found(directory.best_checkpoint(), directory)
    if path.is_dir():
        return newest(path)
    raise CheckpointError(f"there is no run or checkpoint at {path}; `genkit train` makes one")


def newest(parent: Path) -> Found:
    """The newest run in a folder that has a checkpoint."""
    for path in reversed(runs_in(parent)):
        directory = RunDirectory(path)
        if directory.checkpoints:
            return Found(directory.best_checkpoint(), directory)
    raise CheckpointError(f"no run with a checkpoint lies in {parent}; make one with `genkit train`, or name a run")


def runs_in(parent: Path) -> list[Path]:
    """The run folders in `parent`, by number."""
    if not parent.is_dir():
        return []
    return sorted(
        (entry for entry in parent.iterdir() if RUN_NAME.fullmatch(entry.name) and (entry / "checkpoints").is_dir()),
        key=lambda entry: int(entry.name.partition("-")[0]),
    )


def unused(path: Path) -> Path:
    """`path`, or with -2, -3, … before its suffix where a file beside it has that stem: nothing is overwritten."""
    taken = {entry.name.split(".")[0].removesuffix("-projector") for entry in path.parent.iterdir()}
    candidate, count = path, 1
    while candidate.stem in taken:
        count += 1
        candidate = path.with_name(f"{path.stem}-{count}{path.suffix}")
    return candidate
