"""How does a process end that is told to: at once, from whatever it is doing, with nothing half-written left behind?

Python would have the handler of a signal raise an exception wherever the process is. While torch is imported, or in a
callback from C++, that exception is swallowed or takes the process down, and the signal is lost. So nothing is raised
here: the handler itself removes what is being written, says so, and ends the process.

Imported before anything else, and so it imports next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}

#: Files and folders under the temporary names that they have until they are whole.
_unfinished: set[Path] = set()
#: Signals that are no fault just now.
_welcome: set[int] = set()


def listen() -> None:
    """Let SIGINT and SIGTERM end this process from now on. What it was started to ignore, it goes on to ignore.

    For a process that is genkit's alone: `program` calls it, and the modules that are imported never do.
    """
    for number in WORDS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


@contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """While `path` is being written under a temporary name: it doesn't outlive the process.

    Enter this before `path` is made.
    """
    _unfinished.add(path)
    try:
        yield
    finally:
        _unfinished.discard(path)


@contextmanager
def welcome(number: int) -> Iterator[None]:
    """While this signal is how a command is meant to end: without a word, and with exit code 0."""
    _welcome.add(number)
    try:
        yield
    finally:
        _welcome.discard(number)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """The handler. By descriptors alone: the streams may be in the middle of a write."""
    try:
        _remove_unfinished()
        if number not in _welcome:
            _say(WORDS[signal.Signals(number)], 128 + number)
    finally:
        os._exit(0 if number in _welcome else 128 + number)


def _say(word: str, code: int) -> None:
    with suppress(OSError):
        new_line = "\n" if os.isatty(2) else ""  # after "^C", or a bar
        os.write(2, f"{new_line}genkit: {word}\n".encode())
    if "--json" in sys.argv:
        with suppress(OSError):
            os.write(1, f'{{"schema_version": 1, "error": "{word}", "exit_code": {code}}}\n'.encode())


def _remove_unfinished() -> None:
    """Twice, because a thread that has just begun to write goes on meanwhile."""
    for _ in range(2):
        for path in list(_unfinished):
            _remove(path)


def _remove(path: Path) -> None:
    import shutil  # there already, as `files` imports it: nothing is unfinished before

    doomed = path.with_name(f"{path.stem}.ended{path.suffix}")
    with suppress(OSError):
        path.rename(doomed)  # so that a thread can't put another file into it
    for each in (doomed, path):
        with suppress(OSError):
            each.unlink()
        shutil.rmtree(each, ignore_errors=True)
