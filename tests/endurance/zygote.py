"""A process that has torch loaded and runs genkit's commands in forks of itself, with faults where they are asked for.

    python -m endurance.zygote        (within tests/)

reads one job a line on stdin, as JSON: `arguments` and `fault`. It answers with a line when the fork has begun (`pid`)
and one when it has ended (`status`: the exit code, or minus the signal; `printed`: on stdout and stderr).

Loading torch takes longer than the runs that are killed here; a fork of this process begins at once.
"""

from __future__ import annotations

import functools
import json
import math
import os
import resource
import signal
import sys
import time
import traceback
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import genkit.cli
import genkit.data.batches
import genkit.run
import genkit.training
from genkit import models


def main() -> None:
    torch.set_num_threads(1)  # threads of this process would be missing in its forks
    for name in models.names():
        models.find(name)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # its first one imports for two seconds
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        ours, theirs = os.pipe()  # not a file, which a full disk would cut short
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            carry_out(job, theirs)
        os.close(theirs)
        print(json.dumps({"pid": pid}), flush=True)
        with open(ours, errors="replace") as pipe:  # noqa: PTH123
            printed = pipe.read()
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "printed": printed}), flush=True)


def carry_out(job: dict[str, Any], target: int) -> None:
    """Be the process of one command, whose output goes to the file descriptor `target`."""
    code = 70
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a script's background job ignores
    try:
        for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, target), (2, target)):
            os.dup2(source, descriptor)
        for name, value in (job.get("fault") or {}).items():
            FAULTS[name](value)
        genkit.cli.main(job["arguments"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


# ---------------------------------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------------------------------


def at_step(step: int, action: Any) -> None:
    """Call `action` once that many steps are taken, before anybody looks at the last one."""
    train = genkit.run.train

    def watched(state: genkit.training.TrainingState, batches: Any) -> Iterator[Any]:
        for metrics in train(state, batches):
            if state.step == step:
                action()
            yield metrics

    genkit.run.train = watched


def signal_at(value: list[int]) -> None:
    """[signal, step], or [signal, step, times]"""
    number, step, times = (*value, 1)[:3]

    def send() -> None:
        for _ in range(times):
            os.kill(os.getpid(), number)

    at_step(step, send)


def kill_at_operation(value: list[Any]) -> None:
    """[part, n]: kill -9 right before the n-th operation on a file whose path has that part."""
    part, left = value

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        known = event.startswith(("os.", "shutil.")) or event == "open"
        if known and arguments and isinstance(arguments[0], str) and part in arguments[0]:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def file_limit_at(value: list[int]) -> None:
    """[bytes, step]: from then on, no file can grow beyond that many bytes."""
    size, step = value
    at_step(step, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


def fill_at(value: list[Any]) -> None:
    """[file, bytes, step]: then the file takes all room of its file system but that many bytes."""
    file, left, step = value

    def fill() -> None:
        system = os.statvfs(Path(file).parent)
        with open(file, "wb") as ballast:  # noqa: PTH123
            os.posix_fallocate(ballast.fileno(), 0, max(1, system.f_bavail * system.f_frsize - left))

    at_step(step, fill)


def not_finite_at(value: list[Any]) -> None:
    """[what, phase, step]: the "loss" or the "gradient" of that phase becomes NaN in that step (the first is 1)."""
    what, wanted, step = value
    prepare = genkit.training.prepare_update

    def poisoned(optimizer: torch.optim.Optimizer, peak_lr: float, state: genkit.training.TrainingState) -> Any:
        phase = state.phases[state.optimizers.index(optimizer)]
        if what == "gradient" and phase.name == wanted and state.step + 1 == step:
            optimizer.param_groups[0]["params"][0].grad.view(-1)[0] = math.nan
        return prepare(optimizer, peak_lr, state)

    genkit.training.prepare_update = poisoned
    if what == "loss":
        init = genkit.training.TrainingState.__init__

        def __init__(self: genkit.training.TrainingState, *arguments: Any) -> None:
            init(self, *arguments)

            def losses(original: Any, batch: Any) -> dict[str, torch.Tensor]:
                values = original(batch)
                return {**values, "loss": values["loss"] * math.nan} if self.step + 1 == step else values

            self.phases = [
                phase._replace(losses=functools.partial(losses, phase.losses)) if phase.name == wanted else phase
                for phase in self.phases
            ]

        genkit.training.TrainingState.__init__ = __init__


def fast_clock(factor: float) -> None:
    """The training run's clock goes that much faster: a minute passes in no time."""
    genkit.run.time = types.SimpleNamespace(monotonic=lambda: factor * time.monotonic())  # type: ignore[assignment]


def on_disk(_value: bool) -> None:
    """No fault: the images stay in their file and are read ahead, as if they were too many for the memory."""
    genkit.data.batches.MEMORY_BYTES = 0


FAULTS = {
    "fast_clock": fast_clock,
    "on_disk": on_disk,
    "signal_at": signal_at,
    "kill_at_operation": kill_at_operation,
    "file_limit_at": file_limit_at,
    "fill_at": fill_at,
    "not_finite_at": not_finite_at,
}

if __name__ == "__main__":
    main()
