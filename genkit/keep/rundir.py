"""The run directory: created under a fresh number, found again, locked. Nothing in it is ever overwritten.

A run is found without torch, and torch is imported when a checkpoint of it is opened.

runs/00003-vae-mnist/
    config.json        every value that the run was made with, and where it came from
    environment.json   versions, git revision, device, command line
    log.txt            what was printed
    metrics.jsonl      one line a logging interval and a validation
    tb/                the same for TensorBoard, with the pictures
    reals.png          what the model should learn
    samples-000430.png, reconstructions-000430.png   after that many steps, from fixed noise and images
    checkpoints/000430/
    former/            curves and pictures of a run that lost its checkpoints and began anew
    README.md          the model card, written at the end
    pictures/ embeddings/ exports/ evaluation.json evaluation/ report.html   of the commands that are named so
    .lock              held by the process that trains
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from genkit.errors import CheckpointError, GenkitError, GoneError, NoSuchRunError, UnreadableError, UsageError
from genkit.files import expanded, write_folder
from genkit.keep import description

if TYPE_CHECKING:
    from genkit.keep.checkpoint import Checkpoint

T = TypeVar("T")

logger = logging.getLogger("genkit")

RUN_NAME = re.compile(r"(\d{5,})-.+")
STEP = re.compile(r"\d{6,12}")
#: What a checkpoint of a run can be called besides its step.
BEST, LAST = "best", "last"
#: Of the files that commands write; those of one stem belong together.
FILE_SUFFIXES = (".png", ".gif", ".npz", ".svg", ".csv", ".html", ".json")


#: How often a checkpoint is chosen anew because the run, which trains, has removed it meanwhile.
TRIES = 100


class Found(NamedTuple):
    """What a RUN argument stands for. Which checkpoint that is may change while the run trains.

    Attributes:
        choose: gives the checkpoint that is meant now, then those that can stand in for it if it is damaged.
        run: the run that they belong to, if they still lie in one.
    """

    choose: Callable[[], list[Path]]
    run: RunDirectory | None

    @property
    def checkpoints(self) -> list[Path]:
        """What `choose` gives now."""
        return self.choose()

    def read(self) -> Checkpoint:
        """Open the checkpoint that is meant, or else, with a warning for each that is damaged, the next one.

        Raises:
            CheckpointError: when none is whole.
        """
        from genkit.keep import checkpoint  # which takes torch along

        return self.first_whole(checkpoint.read)

    def first_whole(self, read: Callable[[Path], T]) -> T:
        """What `read` makes of the checkpoint that is meant, or of the next one, as `read` above."""
        damaged: set[Path] = set()
        tries = 0
        while True:
            there = self.checkpoints
            path = next((each for each in there if each not in damaged), there[-1])
            try:
                return read(path)
            except GoneError:  # and the run has newer ones
                tries += 1
                if tries == TRIES:
                    raise
            except CheckpointError as error:
                if damaged.issuperset(set(there) - {path}):
                    raise
                damaged.add(path)
                logger.warning("%s; another checkpoint of the run is used in its place", error)


class RunDirectory:
    """One run on disk.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, parent: Path, name: str, files: Mapping[str, bytes]) -> RunDirectory:
        """Make `parent/NNNNN-name`, with these files, under the next free number; safe when several runs start at once.

        It appears with its files in it: a run that can be seen can be resumed, whenever its process dies.

        Raises:
            GenkitError: when the folder can't be made; then nothing is left of it.
        """
        from filelock import FileLock

        try:
            parent.mkdir(parents=True, exist_ok=True)
            with FileLock(parent / ".lock"):
                for left_by_a_killed_process in parent.glob(".[0-9][0-9][0-9][0-9][0-9]*-*"):
                    shutil.rmtree(left_by_a_killed_process, ignore_errors=True)
                numbers = [int(match[1]) for entry in parent.iterdir() if (match := RUN_NAME.fullmatch(entry.name))]
                path = parent / f"{max(numbers, default=-1) + 1:05d}-{name}"
                write_folder(path, files)
            (path / "checkpoints").mkdir()
            return cls(path)
        except OSError as error:
            raise GenkitError(
                f"can't make a run in {parent}: {error.strerror}; name another folder with --out"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one process that trains this run. The system frees the lock however the process ends.

        Raises:
            GenkitError: when another process holds it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise GenkitError(
                f"another process is training {self.path}; wait until it has ended, or stop it first"
            ) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first; whether they are whole is seen when they are read.

        Raises:
            UnreadableError: when what is there can't be seen.
        """
        folder = self.path / "checkpoints"
        try:
            found = [path for path in folder.iterdir() if STEP.fullmatch(path.name)]
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not folder.is_symlink():
                return []
            raise UnreadableError(f"{folder} can't be read ({error.strerror}); mend that, or allow it") from error
        return sorted(found, key=lambda path: int(path.name))

    def undisturbed(self, look: Callable[[list[Path]], T]) -> T:
        """What `look` finds out of the checkpoints, at a moment when a run that trains has removed none of them."""
        for _ in range(TRIES):
            checkpoints = self.checkpoints
            found = look(checkpoints)
            if all(map(os.path.lexists, checkpoints)):
                break
        return found

    def checkpoint_path(self, step: int) -> Path:
        return self.path / "checkpoints" / f"{step:06d}"

    @property
    def saved_at(self) -> float:
        """When its newest checkpoint was written, in seconds since 1970; 0 where there is none."""
        with suppress(OSError, IndexError):  # a run that trains may have removed it
            return self.checkpoints[-1].stat().st_mtime
        return 0

    def by_merit(self) -> list[Path]:
        """The checkpoints, the best first: by the metric that their model is monitored by, and by age where that ties.

        Raises:
            CheckpointError: when the run has none.
        """
        ranked = self.undisturbed(
            lambda those: sorted(those, key=lambda path: (monitored_value(path), -int(path.name)))
        )
        if not ranked:
            raise CheckpointError(
                f"{self.path} has no checkpoint yet; wait for its first, or, if it died before, go on with "
                f"genkit train --resume {self.path}"
            )
        return ranked

    def choose(self, which: str | None = None) -> list[Path]:
        """The checkpoint that is meant, then those that can stand in for it if it is damaged.

        Args:
            which: `best`, `last`, or a step, for which none stands in; None for what the run's model opens with.

        Raises:
            CheckpointError: when the run has none.
            NoSuchRunError: when it has none of that step.
            UsageError: when `which` is no checkpoint's name.
        """
        if which is not None and re.fullmatch("[0-9]{1,12}", which):
            return [self.of_step(int(which))]
        if which not in (None, BEST, LAST):
            raise UsageError(f"--checkpoint {which}: give {LAST}, {BEST}, or the step of a checkpoint")
        by_merit = self.by_merit()
        return self.checkpoints[::-1] if (which or self.opens_with) == LAST else by_merit

    @property
    def opens_with(self) -> str:
        """Which checkpoint is opened where nobody says: the best or the last, as the newest one has it."""

        def said(checkpoints: list[Path]) -> str:
            for path in reversed(checkpoints):
                with suppress(CheckpointError):
                    return description.describe(path).opens
            return BEST

        return self.undisturbed(said)

    def of_step(self, step: int) -> Path:
        """Raises NoSuchRunError, naming those that there are, where the run has no checkpoint of this step."""
        there = {int(path.name): path for path in self.checkpoints}
        if step in there:
            return there[step]
        have = f"it has {', '.join(f'{each:,}' for each in there)}" if there else "it has none yet"
        raise NoSuchRunError(
            f"{self.path} has no checkpoint of step {step:,} ({have}); training keeps the newest, the best, and those "
            "of every N epochs with --keep-every N"
        )

    def called(self, checkpoint: Path) -> list[str]:
        """What a checkpoint is among the run's: `best`, `last`, both, or neither."""
        places = {BEST: self.by_merit()[:1], LAST: self.checkpoints[-1:]}
        return [name for name, paths in places.items() if checkpoint.name in (path.name for path in paths)]

    def set_aside(self, damaged: Path) -> Path:
        """Take a damaged checkpoint out of the run, but keep it for whoever wants to know what happened to it."""
        aside = unused(damaged.with_name(f"damaged-{damaged.name}"))
        damaged.rename(aside)
        return aside

    def none_whole(self, damage: CheckpointError) -> CheckpointError:
        """What is said where no checkpoint is left to go on from; `damage` is that of the last that was tried."""
        return CheckpointError(
            f"{damage}; no other is left of {self.path}: delete its folder checkpoints to begin again, "
            "or start a new run"
        )

    def tidy(self) -> None:
        """Remove what a killed process has left half-written. Only while `locked`.

        Raises:
            UnreadableError: as `checkpoints`, before anything is touched.
        """
        if not self.checkpoints:
            (self.path / "checkpoints").mkdir(exist_ok=True)
        for path in (each for where in ("", "tb/", "checkpoints/*/") for each in self.path.glob(f"{where}.genkit-*")):
            path.unlink(missing_ok=True)
        for path in (self.path / "checkpoints").glob(".[0-9]*-*"):
            shutil.rmtree(path, ignore_errors=True)


def monitored_value(path: Path) -> float:
    """The value by which checkpoints of a run are compared; infinite where none was measured, or can be read."""
    try:
        about = description.describe(path)
    except CheckpointError:
        return float("inf")
    return about.metrics.get(f"val/{about.monitor}", float("inf"))


def find(run: str | None, which: str | None = None) -> Found:
    """The checkpoints that a RUN argument means.

    Args:
        run: a run's folder, a checkpoint's folder, an exported one, a folder of runs (the newest is taken), the number
            of a run, or None for the newest run in `runs/` (or `GENKIT_OUT`).
        which: of a run's checkpoints, as `RunDirectory.choose` has it.

    Raises:
        CheckpointError: when there is no such thing; NoSuchRunError when what was named isn't there.
        UsageError: when a checkpoint of a run is asked for, and what was named is no run.
    """
    path = path_of(run)
    if path is not None and (path / description.MANIFEST).is_file():
        if which is not None:
            raise UsageError(f"--checkpoint chooses among those of a run, and {path} is one; leave --checkpoint out")
        inside = path.parent.name == "checkpoints" and (path.parent.parent / "config.json").is_file()
        return Found(lambda: [path], RunDirectory(path.parent.parent) if inside else None)
    if path is not None and is_run(path):
        return chosen(RunDirectory(path), which)
    if path is not None and (files := [*path.glob("*.onnx"), *path.glob("*.pt2")]):
        kind = files[0].suffix.removeprefix(".")
        raise NoSuchRunError(
            f"{path} holds an export as {kind}, which its README.md says how to use; genkit opens a run, a "
            "checkpoint, or what `genkit export --format safetensors` wrote"
        )
    parent = path or default_parent()
    newest = newest_in(parent)
    if newest is not None:
        return chosen(newest, which)
    without = [each.name for each in (*runs_in(parent), *named_in(parent))]
    none_yet = f" (none yet: {', '.join(without[-3:])})" if without else ""
    raise CheckpointError(
        f"no run with a checkpoint lies in {parent}{none_yet}; make one with `genkit train`, or name a run"
    )


def newest_in(parent: Path) -> RunDirectory | None:
    """Of the runs with a checkpoint that of the highest number; one without a number, if it was saved after that."""
    numbered = (RunDirectory(each) for each in reversed(runs_in(parent)))
    named = [RunDirectory(each) for each in named_in(parent)]
    last = next((run for run in numbered if run.checkpoints), None)
    saved = [run for run in (last, *named) if run is not None and run.checkpoints]
    return max(saved, key=lambda run: run.saved_at, default=None)


def chosen(run: RunDirectory, which: str | None) -> Found:
    """A run's checkpoint, where it has one; raises as `RunDirectory.choose`."""
    run.choose(which)
    return Found(partial(run.choose, which), run)


def find_run(run: str) -> RunDirectory:
    """The run that is to be resumed, by its folder or number. (Not the newest of several: to go on changes a run.)

    Raises:
        NoSuchRunError: when there is no such run.
        CheckpointError: when its config.json is no file.
    """
    path = path_of(run)
    if path is not None and (path / "config.json").is_file():
        return RunDirectory(path)
    if path is not None and path.parent.name == "checkpoints":
        raise NoSuchRunError(
            f"{run} is a checkpoint; --resume {path.parent.parent} goes on from the newest, and --init-from {run} "
            "begins a new run with its weights"
        )
    damaged = path is not None and os.path.lexists(path / "config.json")
    kind = CheckpointError if damaged else NoSuchRunError
    raise kind(f"{run} is no run that can be resumed: it has no config.json; give the folder of one run")


def path_of(run: str | None) -> Path | None:
    """The folder that a RUN argument names, be it by its path or by a run's number.

    Raises:
        NoSuchRunError: when there is none.
    """
    if run is None:
        return None
    path, parent = expanded(run), default_parent()
    if not path.exists() and re.fullmatch("[0-9]{1,9}", run):
        runs = runs_in(parent)
        meant = [entry for entry in runs if number_of(entry) == int(run)]
        if not meant:
            numbers = ", ".join(map(str, dict.fromkeys(map(number_of, runs))))
            there = f"of {len(runs)}: {numbers}" if runs else "of none at all"
            raise NoSuchRunError(f"{parent.resolve()} has no run number {run} ({there}); give a run's folder")
        if len(meant) > 1:
            names = " and ".join(str(entry) for entry in meant)
            raise NoSuchRunError(f"{len(meant)} runs have the number {run}: {names}; give the folder of one")
        return meant[0]
    if path.exists() and not path.is_dir():
        above = next((each for each in path.absolute().parents if is_run(each)), None)
        instead = f"{above}, in which it lies" if above else "a run's folder, a checkpoint's, or a folder of runs"
        raise NoSuchRunError(f"{path} is a file, and a RUN is a folder; give {instead}")
    if not path.is_dir():
        raise NoSuchRunError(f"there is no run or checkpoint at {path}; `genkit train` makes one")
    return path


def default_parent() -> Path:
    return expanded(os.environ.get("GENKIT_OUT") or "runs")


def is_run(path: Path) -> bool:
    return (path / "config.json").is_file() or (path / "checkpoints").is_dir()


def runs_in(parent: Path) -> list[Path]:
    """The run folders in `parent`, by number."""
    if not parent.is_dir():
        return []
    runs = [entry for entry in parent.iterdir() if RUN_NAME.fullmatch(entry.name) and is_run(entry)]
    return sorted(runs, key=lambda run: (number_of(run), run.name))


def named_in(parent: Path) -> list[Path]:
    """The run folders in `parent` that somebody has given names without a number."""
    if not parent.is_dir():
        return []
    others = sorted(each for each in parent.iterdir() if not RUN_NAME.fullmatch(each.name) and each.name[0] != ".")
    # What is somebody else's and can't be looked into is none of ours.
    return [each for each in others if all(map(os.path.lexists, (each / "config.json", each / "checkpoints")))]


def number_of(run: Path) -> int:
    return int(run.name.partition("-")[0])


def unused(path: Path) -> Path:
    """`path`, or with -2, -3, … before its suffix where a file beside it has that stem: nothing is overwritten."""
    beside = {entry.name for entry in path.parent.iterdir()} if path.parent.is_dir() else set()
    # A run may be called a.b: what follows a dot is a suffix only where it is one of a file.
    suffix = path.suffix if path.suffix in FILE_SUFFIXES else ""
    stem = path.name.removesuffix(suffix)

    def taken(candidate: str) -> bool:
        return not beside.isdisjoint(candidate + ending for ending in ("", "-projector", *FILE_SUFFIXES))

    candidate, count = stem, 1
    while taken(candidate):
        count += 1
        candidate = f"{stem}-{count}"
    return path.with_name(candidate + suffix)
