"""A process that is told to end does, wherever it is, and leaves nothing half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

#: A process that is genkit's own and is sent a signal by itself; what it still prints is what it went on to do.
BEGINNING = """
import os, signal, sys, threading
from pathlib import Path
from genkit import ending, files
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a script's background job ignores
ending.listen()
place, number = Path(sys.argv[1]), int(sys.argv[2])
"""
#: Where an exception is lost: Python says so or nobody does, and goes on.
SWALLOWED = {
    "in an import that takes whatever comes": """
try:
    os.kill(os.getpid(), number)
except BaseException:
    pass
""",
    "in a finaliser": """
class Final:
    def __del__(self):
        os.kill(os.getpid(), number)
Final()
""",
    "in a callback of the garbage collector": """
import gc
gc.callbacks.append(lambda phase, info: os.kill(os.getpid(), number))
gc.collect()
""",
    "in a callback from C": """
import ctypes
ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), number))()
""",
    "while a thread is waited for": """
from concurrent.futures import ThreadPoolExecutor
import time
threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
with ThreadPoolExecutor(2) as pool:
    list(pool.map(time.sleep, [60, 60]))
""",
}


def ended(code: str, place: Path, number: int, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEGINNING + code + "\nprint('went on')", str(place), str(int(number)), *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize("where", SWALLOWED)
def test_no_signal_is_lost(where: str, tmp_path: Path) -> None:
    for number, code, word in ((signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")):
        process = ended(SWALLOWED[where], tmp_path, number)
        assert (process.returncode, process.stdout, process.stderr) == (code, "", f"genkit: {word}\n")


WRITING = {
    "file": "with files.whole_file(place / 'new' / 'a.png') as path: path.write_bytes(b'half'); {}",
    "folder": "with files.whole_folder(place / 'a') as path: (path / 'b').write_bytes(b'half'); {}",
    "scratch": "with files.scratch_folder(place, '.a.') as path: (path / 'b').write_bytes(b'half'); {}",
    "store": "from genkit.data import store; store.os.fsync = lambda _: {}; store.write_once(place / 'a', b'whole')",
    "checkpoint": "files.sync_folder = lambda _: {}; files.write_folder(place / 'a', dict(b=b'whole'))",
    "removal": "(place / 'a').mkdir(); files.shutil = type('', (), dict(rmtree=lambda *_, **__: {})); "
    "files.remove_folder(place / 'a')",
}


@pytest.mark.parametrize("what", WRITING)
def test_nothing_is_left_half_written(what: str, tmp_path: Path) -> None:
    process = ended(WRITING[what].format("os.kill(os.getpid(), number)"), tmp_path, signal.SIGTERM)
    assert (process.returncode, process.stdout, process.stderr) == (143, "", "genkit: terminated\n")
    assert [path for path in tmp_path.rglob("*") if path.name != "new"] == []


def test_a_thread_writes_nothing_more_into_a_folder_that_goes(tmp_path: Path) -> None:
    """The signal comes to the main thread, while another writes one file after the other."""
    process = ended(
        """
def write():
    with files.whole_folder(place / "whole") as path:
        for index in range(10**9):
            (path / str(index)).write_bytes(b"x")
            if index == 100: begun.set()
from concurrent.futures import ThreadPoolExecutor
begun = threading.Event()
ThreadPoolExecutor(1).submit(write)
begun.wait()
os.kill(os.getpid(), number)
""",
        tmp_path,
        signal.SIGTERM,
    )
    assert (process.returncode, process.stderr) == (143, "genkit: terminated\n")
    assert list(tmp_path.iterdir()) == []


def test_what_is_whole_stays(tmp_path: Path) -> None:
    code = "files.write_file(place / 'a', b'whole'); os.kill(os.getpid(), number)"
    assert ended(code, tmp_path, signal.SIGTERM).returncode == 143
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_a_program_is_told_on_stdout(tmp_path: Path) -> None:
    process = ended("os.kill(os.getpid(), number)", tmp_path, signal.SIGTERM, "--json")
    assert process.stdout == '{"schema_version": 1, "error": "terminated", "exit_code": 143}\n'


def test_a_welcome_signal_is_no_fault(tmp_path: Path) -> None:
    code = "with ending.welcome(number): os.kill(os.getpid(), number)"
    process = ended(code, tmp_path, signal.SIGINT)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


def test_what_the_process_was_started_to_ignore_is_ignored(tmp_path: Path) -> None:
    code = "signal.signal(number, signal.SIG_IGN); ending.listen(); os.kill(os.getpid(), number)"
    for number in (signal.SIGINT, signal.SIGTERM):
        assert ended(code, tmp_path, number).stdout == "went on\n"


def test_nobody_need_be_there_to_hear_it(tmp_path: Path) -> None:
    code = "os.close(2); os.close(1); os.kill(os.getpid(), number)"
    assert ended(code, tmp_path, signal.SIGTERM, "--json").returncode == 143
