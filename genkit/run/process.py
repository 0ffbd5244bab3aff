"""The process that a run lives in: the signals that stop it, the log that it writes, the bar that it shows."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from genkit.errors import GenkitError
from genkit.files import require_plain
from genkit.wording import one_line

logger = logging.getLogger("genkit")


@contextmanager
def stop_signals(alone: bool = True, speaks: bool = True) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, so that a step is finished first. A second one ends the process at once.

    A signal that the process was started to ignore (SIGINT of a job in a script's background) stays ignored.

    Args:
        alone: False for one of several processes: a second signal is left aside there, because a cluster and torchrun
            may both pass on the same one. torchrun itself ends those that take too long.
        speaks: whether to say so on stderr.
    """
    received: list[int] = []

    def receive(number: int, _frame: object) -> None:
        first = not received
        received.append(number)
        if alone:
            restore()
        if speaks and first:
            again = b"; once more quits at once" if alone else b""
            with suppress(OSError):  # not by logging, in the middle of which the signal may have come
                os.write(2, b"\nwarning: stopping after this step" + again + b"\n")

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler if handler is not None else signal.SIG_DFL)

    watched = (each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) != signal.SIG_IGN)
    before = {each: signal.getsignal(each) for each in watched}
    try:
        for each in before:
            signal.signal(each, receive)
        yield received
    finally:
        restore()


class LogFile(logging.FileHandler):
    """Lines with the time. A full disk is an error of the run, where logging would print a traceback and go on."""

    def __init__(self, path: Path):
        super().__init__(path, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # called by logging while it handles the error


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Write what is logged to `path` too, and the error that ends the run, which is printed elsewhere."""
    if path.is_symlink() or path.exists():
        try:
            require_plain(path)
        except ValueError as error:
            raise GenkitError(f"{path}: {error}; remove it") from error
    handler = LogFile(path)
    logger.addHandler(handler)
    try:
        yield
    except (GenkitError, OSError) as error:
        logger.removeHandler(handler)
        with suppress(OSError):  # where the disk is full, that is the error
            handler.emit(logger.makeRecord("genkit", logging.ERROR, __file__, 0, str(error), (), None))
        raise
    finally:
        logger.removeHandler(handler)
        with suppress(OSError):
            handler.close()


def progress_bar(steps: int, done: int, batch_size: int, shown: bool = True) -> tqdm:
    """Counts images on stderr, with their speed and the time left; silent where stderr is no terminal."""
    return tqdm(
        total=steps * batch_size,
        initial=done * batch_size,
        unit=" images",
        unit_scale=True,
        dynamic_ncols=True,
        disable=None if shown else True,
    )


def load_average() -> float | None:
    """Processes that have been running or waiting to, a minute's mean; None where the system doesn't say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None
