"""What does it cost to train on more images than fit in memory? Speed and memory, from ten thousand to a million.

    python benchmarks/larger_than_memory.py [--rounds 5] [--steps 100] [--folder /tmp] [--json FILE] [MODEL …]

Arrays of 32×32 colour images (noise, whose pixels cost what others do) are written to a temporary folder, 3.4 GB in
all, and packed as any array is. Each measurement is a process of its own that loads a set and takes some steps of the
real loop, its images either read ahead from the disk or all in memory; the ways take turns, and ratios are medians over
rounds. At the end a whole epoch of a million images, by the command that a person types.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COUNTS = (10_000, 100_000, 1_000_000)
SHAPE = (3, 32, 32)
WARM_UP = 10
READ, HELD = "read ahead", "in memory"
WHOLE = ("ae", "--epochs", "1", "--picture-every", "1", "--device", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["ae", "conv-ae", "dcgan"])
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--folder", help="where 4 GB are free", default=None)
    parser.add_argument("--whole", action=argparse.BooleanOptionalAction, default=True, help="the whole epoch, too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(json.loads(arguments.child))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="genkit-") as folder:
        results = measure(Path(folder), arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that is measured, printed as it comes."""
    starts, steps = [], []
    for count in arguments.counts:
        write_images(folder / f"{count}.npy", count)
        packed, loaded = (ask(folder, {"task": "load", "count": count}) for _ in range(2))
        starts.append({"count": count, "pack": packed["load"], **loaded})
        print(
            f"{count:>9,} images: packed in {packed['load']:.1f} s; at every start loaded in {loaded['load']:.2f} s, "
            f"summed in {loaded['sum']:.2f} s; an epoch's order in {loaded['order']:.3f} s",
            flush=True,
        )
    for model, number in itertools.product(arguments.models, range(arguments.rounds)):
        # Each way goes first as often as the other.
        for count, way in sorted(itertools.product(arguments.counts, (READ, HELD)), reverse=bool(number % 2)):
            task = {"task": "steps", "model": model, "count": count, "way": way, "steps": arguments.steps}
            steps.append({**task, "round": number, **ask(folder, task)})
    for model in arguments.models:
        print_table(model, [each for each in steps if each["model"] == model], arguments.counts)
    results = {"starts": starts, "steps": steps}
    if arguments.whole:
        results["whole"] = ask(folder, {"task": "whole", "count": max(arguments.counts)})
        print(
            f"genkit train {' '.join(WHOLE)}, {max(arguments.counts):,} images: {results['whole']['seconds']:.0f} s, "
            f"peak {results['whole']['peak_mb']:,.0f} MB"
        )
    return results


def write_images(path: Path, count: int) -> None:
    import numpy as np

    random = np.random.default_rng(count)
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *SHAPE)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, 10_000):
            file.write(random.bytes(min(10_000, count - start) * int(np.prod(SHAPE))))


def print_table(model: str, steps: list[dict[str, Any]], counts: list[int]) -> None:
    """Speeds and peaks as medians, ratios as medians of the rounds' ratios."""

    def column(name: str, count: int, way: str) -> list[float]:
        return [each[name] for each in steps if (each["count"], each["way"]) == (count, way)]

    def ratio(above: list[float], below: list[float]) -> float:
        return statistics.median(one / other for one, other in zip(above, below, strict=True))

    print(f"\n{model:12} {'images/s':>21}  {'read/held':>9}  {'of fewest':>9}  {'peak MB':>19}")
    print(f"{'':12} {READ:>11} {HELD:>9}  {'':>9}  {READ:>9}  {READ:>10} {HELD:>8}")
    for count in counts:
        read, held = (column("images_per_second", count, way) for way in (READ, HELD))
        peaks = [max(column("peak_mb", count, way)) for way in (READ, HELD)]
        flat = ratio(read, column("images_per_second", counts[0], READ))
        speeds = f"{statistics.median(read):>11,.0f} {statistics.median(held):>9,.0f}  {ratio(read, held):>9.3f}"
        print(f"{count:>12,} {speeds}  {flat:>9.3f}  {peaks[0]:>10,.0f} {peaks[1]:>8,.0f}", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# One measurement, in a process of its own
# ---------------------------------------------------------------------------------------------------------------------


def ask(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    """What a fresh process measures."""
    task = {**task, "folder": str(folder)}
    environment = {**os.environ, "GENKIT_DATA": str(folder), "GENKIT_OFFLINE": "1"}
    command = [sys.executable, __file__, "--child", json.dumps(task)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def child(task: dict[str, Any]) -> None:
    result = {"load": load, "steps": take_steps, "whole": whole}[task["task"]](task)
    print(json.dumps({**result, "peak_mb": peak_mb()}))


def options_of(task: dict[str, Any]) -> Any:
    from genkit.data import DataOptions

    return DataOptions(dataset=str(Path(task["folder"], f"{task['count']}.npy")))


def load(task: dict[str, Any]) -> dict[str, float]:
    """What comes before the first step, once torch is there."""
    import torch

    from genkit import data
    from genkit.data.batches import TrainingBatches

    times = [time.perf_counter()]
    dataset = data.load(options_of(task))
    times.append(time.perf_counter())
    dataset.digest()
    times.append(time.perf_counter())
    found = dict(zip(("load", "sum"), (b - a for a, b in itertools.pairwise(times)), strict=True))
    training = TrainingBatches(dataset.train, 1, 0, torch.device("cpu"))
    began = time.perf_counter()
    next(training.positions(0, 0))
    return {**found, "order": time.perf_counter() - began}


def take_steps(task: dict[str, Any]) -> dict[str, float]:
    """Steps of the real loop on a set that is shuffled over all its images."""
    import torch

    from genkit import data, registry
    from genkit.data import batches
    from genkit.keep.config import Config, RunOptions
    from genkit.run.setup import Setup
    from genkit.step.distributed import Team
    from genkit.step.training import train

    batches.MEMORY_BYTES, batches.MEMORY_SHARE = (1 << 62, 1.0) if task["way"] == HELD else (0, 0.0)
    options = registry.find(task["model"]).Options()
    settings = Config(task["model"], options, options_of(task), RunOptions(device="cpu"), {})
    training = Setup(settings, data.load(settings.data), Team(torch.device("cpu")))
    assert training.batches.place == {READ: batches.ON_DISK, HELD: batches.IN_MEMORY}[task["way"]]
    done, wanted = 0, WARM_UP + task["steps"]
    for epoch in itertools.count():
        for _ in train(training.state, training.batches.epoch(epoch)):
            done += 1
            if done == WARM_UP:
                began = time.perf_counter()
            if done == wanted:
                seconds = time.perf_counter() - began
                return {"images_per_second": task["steps"] * training.batches.batch_size / seconds}
    raise AssertionError


def whole(task: dict[str, Any]) -> dict[str, float]:
    """An epoch with its validation, its pictures and its checkpoint, by the command itself."""
    from genkit import cli

    began = time.perf_counter()
    out = Path(task["folder"], "runs")
    try:
        cli.main(["train", *WHOLE, "--dataset", options_of(task).dataset, "--out", str(out), "--json"])
    except SystemExit as end:
        if end.code:
            raise
    return {"seconds": time.perf_counter() - began}


def peak_mb() -> float:
    """The most memory that this process has had, of its own and mapped (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
