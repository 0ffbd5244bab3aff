"""stdout and stderr closed, full or read by nobody: work stays done, and a result that can't be printed is an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genkit.keep import checkpoint
from genkit.keep.rundir import RunDirectory

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
COMMANDS = ("data list", "--help", "data list --json")


def shell(command: str, tail: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command as a shell starts it, with what follows it there (`2>&-`)."""
    line = f"{sys.executable} -m genkit {command} {tail}"
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, env={**os.environ, **environment}, check=False, timeout=100
    )


@pytest.mark.parametrize("tail", ["2>&-", pytest.param("2>/dev/full", marks=FULL), "0<&-"])
def test_what_nobody_can_hear_goes_unsaid(tail: str, tmp_path: Path) -> None:
    process = shell("data list", tail)
    assert (process.returncode, process.stderr) == (0, b"")
    assert process.stdout.count(b"\n  mnist ") == 1
    missing = shell(f"sample {tmp_path}", tail)
    assert (missing.returncode, missing.stdout) == (1, b"")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("tail", "why"),
    [(">&-", b"it is closed"), pytest.param(">/dev/full", b"No space left on device", marks=FULL)],
    ids=["closed", "full"],
)
def test_a_result_that_cannot_be_printed_is_an_error(command: str, tail: str, why: bytes) -> None:
    process = shell(command, tail)
    assert (process.returncode, process.stderr) == (1, b"genkit: can't write to stdout: " + why + b"\n")


def test_where_there_is_nothing_to_print_the_error_is_the_command_s(tmp_path: Path) -> None:
    for tail in (">&-", ">&- 2>&-"):
        assert shell("train --bogus", tail).returncode == 2
    assert shell(f"sample {tmp_path}", ">&-").stderr.count(b"\n") == 1


def test_a_reader_that_is_gone_is_told_nothing() -> None:
    for command in COMMANDS:
        process = shell(command, "| true; exit ${PIPESTATUS[0]}", PYTHONPATH=str(Path(__file__).parents[1]))
        assert process.stderr == b""
        assert process.returncode in (0, 1)  # it may have printed all before


def test_training_is_complete_whatever_becomes_of_its_streams(tmp_path: Path) -> None:
    """A file that is opened next would take the number of a closed stream, and what is said would get into it."""
    command = "train ae --dataset mnist5k --hidden 4 --latent-dim 2 --epochs 1 --batch-size 500 --device cpu --out"
    closed = shell(f"{command} {tmp_path / 'closed'}", "0<&- 2>&-")
    assert (closed.returncode, closed.stderr) == (0, b"")
    for tail in [">/dev/full"] if Path("/dev/full").exists() else [">&-"]:
        full = shell(f"{command} {tmp_path / 'full'}", tail)
        assert full.returncode == 1
        assert full.stderr.splitlines()[-1].startswith(b"genkit: can't write to stdout: ")
        assert b"a fault in" not in full.stderr
    for out in ("closed", "full"):
        (run,) = (path for path in (tmp_path / out).iterdir() if path.is_dir())
        assert (run / "README.md").exists()
        checkpoint.read(RunDirectory(run).checkpoints[-1])
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert any("test/loss" in row for row in rows)


def test_a_name_with_bytes_that_are_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfc.npz"
    line = [os.fsencode(sys.executable), b"-m", b"genkit", b"data", b"verify", name]
    process = subprocess.run(line, capture_output=True, check=False)
    assert process.returncode == 2
    assert process.stderr.count(b"\n") == 1
    assert b"a fault" not in process.stderr
    told = subprocess.run([*line, b"--json"], capture_output=True, check=False).stdout
    assert json.loads(told)["exit_code"] == process.returncode


def test_letters_that_an_encoding_lacks_are_escaped() -> None:
    process = shell("train --help", "", PYTHONIOENCODING="ascii")
    assert (process.returncode, process.stderr) == (0, b"")
    assert process.stdout.isascii()
