"""The curves of a run: metrics.jsonl, and the same with pictures for TensorBoard. Cut back when a run is resumed."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import scalar

from genkit.errors import GenkitError, in_one_line
from genkit.files import from_json, read_plain, require_plain, sync_folder, whole_file, write_file

logger = logging.getLogger("genkit")

METRICS, BOARD = "metrics.jsonl", "tb"
EVENTS = "events.out.tfevents.*"
#: Key prefix of what is measured once, at the end, of the checkpoint that the run opens with.
TEST = "test/"


class Curves:
    """Writes a run's curves, from a step on.

    Args:
        run: the run's folder.
        step: what is already there of later steps is dropped first: training repeats it. -1 drops all.
    """

    def __init__(self, run: Path, step: int):
        self.run = run
        cut_metrics(run / METRICS, step)
        cut_board(run / BOARD, step)
        self.file = (run / METRICS).open("a", encoding="utf-8")
        self.board = Board(run / BOARD)

    def add(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """One line in metrics.jsonl and a point on each curve."""
        self.write_row({"step": step, "epoch": round(epoch, 4), **values})
        for name, value in values.items():
            self.board.add(scalar(name, value), step)

    def add_test(self, step: int, values: Mapping[str, float]) -> None:
        """The line of the test split, of the checkpoint of that step."""
        self.write_row({"step": step, **{TEST + name: value for name, value in values.items()}})

    def add_image(self, name: str, png: bytes, size: tuple[int, int], step: int) -> None:
        """A picture of this width and height, as the bytes of a PNG."""
        width, height = size
        picture = Summary.Image(width=width, height=height, encoded_image_string=png)
        self.board.add(Summary(value=[Summary.Value(tag=name, image=picture)]), step)

    def write_row(self, row: Mapping[str, Any]) -> None:
        self.file.write(json.dumps(row, allow_nan=False) + "\n")
        self.file.flush()

    def sync(self) -> None:
        """Wait until all that has been added is on the disk. Other threads may add to it meanwhile."""
        for file in (self.file, self.board.file):
            os.fsync(file.fileno())
        sync_folder(self.run)
        sync_folder(self.run / BOARD)

    def close(self) -> None:
        self.file.close()
        self.board.file.close()

    def __enter__(self) -> Curves:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Board:
    """An event file for TensorBoard.

    Its own writer writes from a thread, where a full disk ends in a traceback, and a killed process loses two minutes.
    """

    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        # TensorBoard reads the files of a folder in the order of these names.
        taken = len(list(folder.glob(EVENTS)))
        self.file = (folder / f"events.out.tfevents.{int(time.time()):010d}.{taken:06d}.{os.getpid()}").open("xb")
        self.writer = RecordWriter(self.file)
        self.write(Event(file_version="brain.Event:2"))

    def add(self, summary: Summary, step: int) -> None:
        self.write(Event(summary=summary, step=step))

    def write(self, event: Event) -> None:
        event.wall_time = time.time()
        self.writer.write(event.SerializeToString())
        self.file.flush()


def cut_metrics(path: Path, step: int) -> None:
    """Drop the lines of later steps, of the test split, and the half line that a killed process may have left."""
    if not path.is_symlink() and not path.exists():
        return
    kept = []
    for line in plain(path).splitlines(keepends=True):
        row = row_of(line)
        if row is not None and row["step"] <= step and not any(name.startswith(TEST) for name in row):
            kept.append(line)
    write_file(path, b"".join(kept))


def recorded_epochs(path: Path) -> float:
    """How many epochs are on record in metrics.jsonl, of those of a run that began; 0 where there are none."""
    if not path.is_symlink() and not path.exists():
        return 0
    rows = filter(None, map(row_of, plain(path).splitlines(keepends=True)))
    epochs = [row.get("epoch") for row in rows]
    return max((each for each in epochs if isinstance(each, int | float)), default=0)


def row_of(line: bytes) -> dict[str, Any] | None:
    """One line of metrics.jsonl, or None where it isn't whole."""
    try:
        row = from_json(line)
    except ValueError:
        return None
    whole = line.endswith(b"\n") and isinstance(row, dict) and isinstance(row.get("step"), int)
    return row if whole else None


def cut_board(folder: Path, step: int) -> None:
    """Drop the events of later steps from TensorBoard's files, and what is damaged.

    TensorBoard itself could only be told to hide them (`purge_step`); every other reader would see them doubled.
    """
    for path in sorted(folder.glob(EVENTS)):
        with whole_file(path, durable=True) as temporary, temporary.open("xb") as file:
            writer = RecordWriter(file)
            for event in readable_events(path):
                if event.HasField("file_version") or event.step <= step:
                    writer.write(event.SerializeToString())
            file.flush()


def readable_events(path: Path) -> Iterator[Event]:
    """An event file's events up to the first that is damaged or cut short."""
    try:
        require_plain(path)
        yield from map(Event.FromString, RawEventFileLoader(str(path)).Load())
    except Exception as error:  # TensorFlow's where that is installed, else TensorBoard's imitation of it
        logger.warning("%s is damaged, and what follows in it is left out: %s", path, in_one_line(error))


def plain(path: Path) -> bytes:
    """Raises GenkitError where it is no regular file."""
    try:
        return read_plain(path)
    except ValueError as error:
        raise GenkitError(f"{path}: {error}; remove it") from error
