"""How long is a person kept who asks for help, or makes a slip of the pen? Beside importing torch, which neither needs.

    python benchmarks/refusals.py [--rounds 7] [--json FILE]

Whole processes, timed from outside, in an order that turns round every time. The first round isn't counted: it warms
the disk's cache up, and is the one in which a model's flags are kept (`genkit/cli/model_flags.py`). A ratio is the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TORCH = "importing torch alone"
HELP, VALUE, IMAGES = "genkit train vae --help", "genkit train vae --lr abc", "genkit train vae --dataset nowhere"
RUN, INFO = "genkit sample nowhere", "genkit info RUN"
#: Every command, with the exit code that it is to have. RUN is a run of the VAE.
COMMANDS = {
    "genkit --help": 0,
    HELP: 0,
    VALUE: 2,
    "genkit train vae --learning-rate 1": 2,
    IMAGES: 2,
    "genkit train vae --init-from nowhere": 2,
    "genkit train --init-from nowhere": 2,
    "genkit train --resume nowhere": 2,
    RUN: 2,
    "genkit sample --seeds abc": 2,
    "genkit embed nowhere": 2,
    "genkit evaluate nowhere": 2,
    "genkit explore nowhere": 2,
    "genkit export nowhere": 2,
    "genkit report nowhere": 2,
    "genkit info nowhere": 2,
    INFO: 0,
    "genkit data list": 0,
    "genkit data verify nowhere": 2,
}
SMALL = ("--dataset", "mnist5k", "--hidden", "400", "--latent-dim", "20", "--epochs", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="genkit-") as folder:
        found = measure(Path(folder), given.rounds)
    for name, times in found.items():
        ratio = statistics.median(ours / torch for ours, torch in zip(times, found[TORCH], strict=True))
        print(f"{name:40} {statistics.median(times):6.3f} s  {ratio:6.3f} of importing torch")
    if given.json:
        given.json.write_text(json.dumps(found) + "\n")


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each command, and of importing torch, by what it is."""
    genkit = [sys.executable, "-m", "genkit"]
    given = os.environ | {"GENKIT_DATA": str(folder / "data"), "GENKIT_OFFLINE": "1"}
    training = [*genkit, "train", "vae", *SMALL, "--out", folder / "runs"]
    subprocess.run(training, check=True, capture_output=True, env=given, cwd=folder)
    commands = {TORCH: ([sys.executable, "-c", "import torch"], 0)}
    for name, code in COMMANDS.items():
        arguments = ["runs" if each == "RUN" else each for each in name.split()[1:]]
        commands[name] = ([*genkit, *arguments], code)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name in list(commands)[:: -1 if number % 2 else 1]:
            command, code = commands[name]
            began = time.perf_counter()
            ended = subprocess.run(command, capture_output=True, env=given, cwd=folder, check=False)
            seconds = time.perf_counter() - began
            if ended.returncode != code:
                raise SystemExit(f"{name} has ended with {ended.returncode}: {ended.stderr.decode()}")
            if number:
                times[name].append(seconds)
    return times


if __name__ == "__main__":
    main()
