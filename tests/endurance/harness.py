"""Runs for the endurance tests: a command in a fork of the zygote, and what is left on disk afterwards."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from genkit.keep.rundir import RunDirectory

TESTS = Path(__file__).parents[1]

#: Runs of STEPS steps, 10 an epoch, of all four models.
STEPS = 30
SMALL = {
    "ae": ["--hidden", "64", "--latent-dim", "4"],
    "conv-ae": ["--width", "1", "--latent-dim", "4"],
    "dcgan": ["--width", "1", "--latent-dim", "4"],
    "vae": ["--hidden", "64", "--latent-dim", "4", "--binarize", "dynamic"],
}
COMMON = ["--batch-size", "48", "--epochs", "3", "--log-every", "4", "--picture-every", "2", "--device", "cpu"]


def training(model: str, out: Path, dataset: Path, *more: object) -> list[str]:
    """The command of a small run on the images of the fixture `few_digits`; `more` options go before the usual ones."""
    options = [*SMALL[model], *COMMON, *map(str, more)]
    chosen = dict(zip(options[::2], options[1::2], strict=True))
    return ["train", model, "--dataset", str(dataset), "--out", str(out), *itertools.chain(*chosen.items())]


class Ended(NamedTuple):
    """A command that has ended: its exit code, or minus the signal that killed it, and what it printed."""

    status: int
    printed: str


class Zygote:
    """See zygote.py. `prefix` is put before its command line (`unshare …`)."""

    def __init__(self, prefix: Sequence[str] = ()):
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "endurance.zygote"],
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.answer() == "ready\n"

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def run(self, arguments: list[str], *, after: tuple[int, float] | None = None, **fault: Any) -> Ended:
        """Run a command to its end.

        Args:
            after: (signal, seconds): send it that signal after so long.
            fault: of those in zygote.FAULTS.
        """
        self.ask([{"arguments": arguments, "fault": fault}])
        pid = json.loads(self.answer())["pid"]
        timer = None
        if after is not None:
            timer = threading.Timer(after[1], lambda: os.kill(pid, after[0]))
            timer.start()
        ended = self.ended()
        if timer is not None:
            timer.cancel()
        return ended

    def run_together(self, arguments: list[str], faults: Sequence[dict[str, Any]]) -> list[Ended]:
        """Run a command in several processes at once, one for each entry of `faults`, to the end of all."""
        self.ask([{"arguments": arguments, "fault": fault} for fault in faults])
        for _ in faults:
            assert "pid" in json.loads(self.answer())
        return [self.ended() for _ in faults]

    def ask(self, jobs: list[dict[str, Any]]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(jobs) + "\n")
        self.process.stdin.flush()

    def ended(self) -> Ended:
        ended = Ended(**json.loads(self.answer()))
        assert "Traceback" not in ended.printed, ended.printed
        return ended

    def close(self) -> None:
        self.process.communicate()


def only_run(out: Path) -> Path | None:
    """The one run in a folder, if there is one."""
    runs = sorted(path for path in out.glob("0*") if path.is_dir())
    assert len(runs) <= 1, runs
    return runs[0] if runs else None


def result_of(run: Path) -> dict[str, str]:
    """What two runs must have in common to be the same, bit for bit: file, or what is read from it -> SHA-256."""
    directory = RunDirectory(run)
    newest = directory.checkpoints[-1]
    contents = {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}
    contents |= {path.name: path.read_bytes() for path in run.glob("*.png")}
    contents["metrics.jsonl"] = (run / "metrics.jsonl").read_bytes()
    contents["best"] = (directory.by_merit()[0] / "model.safetensors").read_bytes()
    contents["curves"] = repr(curves(run)).encode()
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def curves(run: Path) -> list[tuple[int, str, float | str]]:
    """Every point and picture in TensorBoard's files: step, name, value."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    points: list[tuple[int, str, float | str]] = []
    for path in sorted((run / "tb").iterdir()):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.HasField("image"):
                    content: float | str = hashlib.sha256(value.image.encoded_image_string).hexdigest()
                else:
                    content = value.simple_value
                points.append((event.step, value.tag, content))
    return points


def assert_tidy(run: Path) -> None:
    """No temporary file or folder is left."""
    left = [path for path in run.rglob(".*") if path.name != ".lock"]
    assert not left, left


KILL = signal.SIGKILL
