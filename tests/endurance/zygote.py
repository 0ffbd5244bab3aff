"""A process that has torch loaded and runs genkit's commands in forks of itself, with faults where they are asked for.

    python -m endurance.zygote        (within tests/)

reads a list of jobs a line on stdin, as JSON: `arguments` and `fault`. They run at once, each in its fork. It answers
with a line for each that has begun (`pid`), and then for each that has ended (`status`: the exit code, or minus the
signal; `printed`: on stdout and stderr).

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
import torch.utils._device
from safetensors.torch import save_file

import genkit.cli
import genkit.data.batches
import genkit.data.forms.arrays  # a command loads it, and what it needs, when it is asked for; here each fork would
import genkit.run.keeper
import genkit.run.trainer
import genkit.step.training
from genkit import registry


def main() -> None:
    torch.set_num_threads(1)  # threads of this process would be missing in its forks
    for name in registry.names():
        registry.find(name)
    print("ready", flush=True)
    for line in sys.stdin:
        for pid, output in [begin(job) for job in json.loads(line)]:
            with open(output, errors="replace") as pipe:  # noqa: PTH123
                printed = pipe.read()
            _, status = os.waitpid(pid, 0)
            print(json.dumps({"status": os.waitstatus_to_exitcode(status), "printed": printed}), flush=True)


def begin(job: dict[str, Any]) -> tuple[int, int]:
    """The fork that carries out a job, and the file descriptor from which its output can be read."""
    ours, theirs = os.pipe()  # not a file, which a full disk would cut short
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        carry_out(job, theirs)
    os.close(theirs)
    print(json.dumps({"pid": pid}), flush=True)
    return pid, ours


def carry_out(job: dict[str, Any], target: int) -> None:
    """Be the process of one command, whose output goes to the file descriptor `target`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a script's background job ignores
    try:
        for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, target), (2, target)):
            os.dup2(source, descriptor)
        for name, value in (job.get("fault") or {}).items():
            FAULTS[name](value)
        sys.argv[1:] = job["arguments"]
        genkit.cli.program()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)


# ---------------------------------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------------------------------


def at_step(step: int, action: Any) -> None:
    """Call `action` once that many steps are taken, before anybody looks at the last one."""
    train = genkit.run.trainer.train

    def watched(state: genkit.step.training.TrainingState, batches: Any) -> Iterator[Any]:
        for metrics in train(state, batches):
            if state.step == step:
                action()
            yield metrics

    genkit.run.trainer.train = watched


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


def file_limit(size: int) -> None:
    """No file can grow beyond that many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


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
    init = genkit.step.training.TrainingState.__init__

    def __init__(self: genkit.step.training.TrainingState, *arguments: Any) -> None:
        init(self, *arguments)

        def losses(phase: Any, batch: Any) -> dict[str, torch.Tensor]:
            values = phase.losses(batch)
            if self.step + 1 == step:
                if what == "loss":
                    return {**values, "loss": values["loss"] * math.nan}
                next(phase.module.parameters()).register_hook(one_nan)
            return values

        self.phases = [
            phase._replace(losses=functools.partial(losses, phase)) if phase.name == wanted else phase
            for phase in self.phases
        ]

    genkit.step.training.TrainingState.__init__ = __init__


def one_nan(gradient: torch.Tensor) -> torch.Tensor:
    gradient = gradient.clone()
    gradient.view(-1)[0] = math.nan
    return gradient


def environment(variables: dict[str, str]) -> None:
    """No fault: variables of this process alone."""
    os.environ.update(variables)


def keep_weights_at(value: list[Any]) -> None:
    """[file, step]: no fault: the weights that this process has after that many steps are written to a file."""
    file, step = value
    train = genkit.run.trainer.train

    def watched(state: genkit.step.training.TrainingState, batches: Any) -> Iterator[Any]:
        for metrics in train(state, batches):
            if state.step == step:
                save_file({name: each.detach().contiguous() for name, each in state.model.named_parameters()}, file)
            yield metrics

    genkit.run.trainer.train = watched


def fast_clock(factor: float) -> None:
    """The training run's clock goes that much faster: a minute passes in no time."""
    clock = types.SimpleNamespace(monotonic=lambda: factor * time.monotonic())
    genkit.run.trainer.time = genkit.run.keeper.time = clock  # type: ignore[assignment]


def on_disk(_value: bool) -> None:
    """No fault: the images stay in their file and are read ahead, as if they were too many for the memory."""
    genkit.data.batches.MEMORY_BYTES = 0


FAULTS = {
    "environment": environment,
    "keep_weights_at": keep_weights_at,
    "fast_clock": fast_clock,
    "on_disk": on_disk,
    "signal_at": signal_at,
    "kill_at_operation": kill_at_operation,
    "file_limit_at": file_limit_at,
    "file_limit": file_limit,
    "fill_at": fill_at,
    "not_finite_at": not_finite_at,
}

if __name__ == "__main__":
    main()
