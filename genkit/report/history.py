"""The curves of a run as metrics.jsonl has them, as far as it can be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from genkit.errors import in_one_line
from genkit.files import read_plain
from genkit.report.blocks import Missing, without_folders
from genkit.run.curves import METRICS, TEST, row_of

#: Bytes; a line has some hundred, and a long run some ten thousand lines.
MAX_SIZE = 1 << 28
#: Metrics of a run that are read; the rest is taken for nonsense.
MOST_METRICS = 100
#: Numbers beyond it can't be drawn beside any other.
LARGEST = 1e30


class Point(NamedTuple):
    """One value on a curve."""

    step: int
    epoch: float
    value: float


@dataclass(frozen=True)
class History:
    """What a run logged.

    Attributes:
        train, val: metric -> its points in the order of their steps; validation comes at the ends of epochs.
        test: metric -> its value on the test split; empty where the run hasn't come to its end.
        tested_step: the step of the checkpoint that was measured there; None where none was.
        damaged: lines that can't be read.
    """

    train: dict[str, list[Point]]
    val: dict[str, list[Point]]
    test: dict[str, float]
    damaged: int
    tested_step: int | None = None


def read(run: Path) -> History | Missing:
    """The curves of a run, or why there are none."""
    path = run / METRICS
    if not path.exists():
        return Missing(f"the run has no {METRICS}: nothing was logged yet, or it was deleted")
    try:
        content = read_plain(path, MAX_SIZE)
    except (OSError, ValueError) as error:
        return Missing(f"{METRICS} can't be read: {without_folders(in_one_line(error))}")
    history = History({}, {}, {}, 0)
    damaged = 0
    tested_step = None
    for line in content.splitlines(keepends=True):
        row = row_of(line)
        damaged += row is None
        if row is not None:
            enter(history, row)
            tested_step = row["step"] if any(key.startswith(TEST) for key in row) else tested_step
    for curves in (history.train, history.val):
        for points in curves.values():
            points.sort()
    if not (history.train or history.val or history.test):
        what = f"none of its {damaged:,} lines can be read" if damaged else "nothing was logged yet"
        return Missing(f"{METRICS} has no curves: {what}")
    return History(history.train, history.val, history.test, damaged, tested_step)


def enter(history: History, row: dict[str, Any]) -> None:
    """Enter the numbers of one line."""
    step, epoch = number(row["step"]), number(row.get("epoch"))
    for key, value in row.items():
        split, _, name = key.partition("/")
        value = number(value)
        if not name or value is None or step is None:
            continue
        if split == "test":
            if name in history.test or len(history.test) < MOST_METRICS:
                history.test[name] = value
        elif split in ("train", "val") and epoch is not None:
            curves = history.train if split == "train" else history.val
            if name in curves or len(curves) < MOST_METRICS:
                curves.setdefault(name, []).append(Point(int(step), epoch, value))


def number(value: object) -> float | None:
    """A finite number of bearable size as a float, and None for everything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if abs(value) <= LARGEST else None  # which NaN isn't either
