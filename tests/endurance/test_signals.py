"""A signal at any instant, most of all while a command begins: none is lost, and nothing is half-written.

Real processes, for it is in their imports that a signal is most easily lost.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from endurance.conftest import FULL, Table
from endurance.harness import Zygote, only_run, result_of, training
from PIL import Image

COUNT = 500 if FULL else 6
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
#: So that a training takes as long as its imports.
LONGER = ("--epochs", "20", "--picture-every", "10")
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
#: What is imported before genkit is in charge; until then Python tells of a SIGINT, in as many lines as it likes.
FIRST = {"__init__", "__main__", "ending", "version"}
#: Of these a signal is how it is meant to end.
WELCOME = {("explore", signal.SIGINT)}


class Started(NamedTuple):
    """A command in a process of its own, in its own folder."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def out(self) -> str:
        return (self.folder / "out.txt").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err.txt").read_text()


def started(arguments: list[str], folder: Path) -> Started:
    folder.mkdir()
    with (folder / "out.txt").open("wb") as out, (folder / "err.txt").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "genkit", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GENKIT_DATA": str(folder / "data")},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a background job ignores
        )
    return Started(process, folder)


@pytest.fixture(scope="module")
def drawings(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 600 PNG files, which are decoded by several threads and packed."""
    folder = tmp_path_factory.mktemp("drawings")
    for index, image in enumerate(np.load(few_digits)):
        Image.fromarray(image).save(folder / f"{index:03d}.png")
    return folder


def test_at_any_instant_of_a_process(
    zygote: Zygote, few_digits: Path, drawings: Path, tmp_path: Path, table: Table
) -> None:
    """Training that was stopped is resumed; what comes out is what comes out where nothing happened."""
    random_ = random.Random(4)
    whole = {}
    for name, source in (("vae", few_digits), ("ae", drawings)):
        assert zygote.run(training(name, tmp_path / name, source, *LONGER)).status == 0
        whole[name] = result_of(only_run(tmp_path / name))
    run = str(only_run(tmp_path / "vae"))
    commands: dict[str, Callable[[Path], list[str]]] = {
        "train": lambda folder: training("vae", folder / "made", few_digits, *LONGER),
        "train on a folder": lambda folder: training("ae", folder / "made", drawings, *LONGER),
        "sample": lambda folder: ["sample", run, "--out", str(folder / "made"), "--interpolate"],
        "embed": lambda folder: ["embed", run, "--out", str(folder / "made")],
        "evaluate": lambda folder: ["evaluate", run, "--only", "reconstruction", "--out", str(folder / "made")],
        "explore": lambda folder: ["explore", run, "--no-browser"],
        "export": lambda folder: ["export", run, "--out", str(folder / "made")],
        "data verify": lambda folder: ["data", "verify", str(drawings)],
    }
    if not FULL:
        commands = {name: commands[name] for name in ("train on a folder", "sample", "data verify")}
    takes = {}
    for index, (name, command) in enumerate(commands.items()):
        began = time.monotonic()
        first = started(command(tmp_path / f"whole-{index}"), tmp_path / f"whole-{index}")
        while first.process.poll() is None and not (name == "explore" and first.out):
            time.sleep(0.01)
        takes[name] = time.monotonic() - began
        if name == "explore":
            first.process.kill()
        assert first.process.wait() == (-signal.SIGKILL if name == "explore" else 0), first.err
    sent = before = resumed = tried = 0
    while sent < COUNT:
        name = list(commands)[sent % len(commands)]
        number = random_.choice(list(CODES))
        tried += 1
        one = started(commands[name](tmp_path / str(tried)), tmp_path / str(tried))
        time.sleep(random_.uniform(0, takes[name]))
        if one.process.poll() is not None or (one.out and name != "explore"):
            one.process.wait()
            continue  # it was too late to stop anything
        one.process.send_signal(number)
        try:
            status = one.process.wait(60)
        finally:
            one.process.kill()
        sent += 1
        what = f"{name}, {number.name}: exit {status}, {one.err}"
        python = number == signal.SIGINT and status == 1 and "genkit: " not in one.err  # it can't begin, it says
        if status == -number or python:
            before += 1
            assert number == signal.SIGINT or not one.err, what
            assert {*re.findall(r"genkit/(\w+)", one.err)} <= FIRST, what
        elif (name, number) in WELCOME and status == 0:
            assert one.out, what
        else:
            assert status == CODES[number], what
            assert "Traceback" not in one.err, what
            stopped_well = one.err.endswith(f"genkit: {WORDS[number]}\n") or "stopped  after" in one.err
            assert stopped_well, what
        left = [path for path in one.folder.rglob(".*") if path.name != ".lock" and not path.name.endswith(".lock")]
        assert not left, (what, left)
        made = only_run(one.folder / "made") if name.startswith("train") else None
        if made is not None:
            ended = zygote.run(["train", "--resume", str(made)], environment={"GENKIT_DATA": str(one.folder / "data")})
            assert ended.status == 0, (what, ended.printed)
            assert result_of(made) == whole["vae" if name == "train" else "ae"], what
            resumed += 1
        shutil.rmtree(one.folder)
    table.row(
        22,
        f"SIGINT or SIGTERM at random instants of a process, from its start: {sent} in {len(commands)} commands "
        f"({', '.join(commands)}), {before} of them before Python came to genkit's first lines",
        f"0 lost: all others ended with 130 or 143 (the page, on SIGINT, with 0), and none left anything half-written; "
        f"of {resumed} runs that had begun, all resume to the bit",
    )
