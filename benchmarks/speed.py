"""How fast is genkit, beside others and beside the machine's limit? `make bench` writes docs/speed.md and speed.json.

    GENKIT_DATA=~/data python benchmarks/speed.py [--rows vae-128,command] [--rounds N] [--images N] [--out docs]

Every contender of a race is a process of its own (benchmarks/rivals), so that none sees another's allocator or threads.
It prepares itself, takes a first round that isn't counted, and then waits; the rounds of all contenders are
interleaved, one at a time, in an order that turns round every time. A ratio is the median of the rounds' ratios. A
rival with a DataLoader races with the number of workers that was fastest in a trial before.

speed.json holds every machine's rows apart. Those that aren't run keep what it holds, with the revision and day of
their own; `--rows ""` writes the page anew from it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import importlib.metadata
import json
import os
import platform
import pty
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from page import page, spreads, table

RIVALS = Path(__file__).parent / "rivals"
REPOSITORY = Path(__file__).parents[1]
OURS = "genkit"
WORKERS = (0, 1, 2)

#: The network of the well-known VAE example, in genkit's words.
EXAMPLE_VAE = {"hidden": [400], "activation": "relu", "latent_dim": 20}
#: The well-known DCGAN example's: batchnorm in both networks, 64 channels outermost, no averaged weights.
EXAMPLE_DCGAN = {"critic_norm": "batch", "width": 64, "lr": 2e-4, "ema": 0.0}
#: `genkit train vae --dataset mnist …` that ends at or below this test −ELBO, in nats.
TO_QUALITY = {
    105: ["--epochs", "3", "--batch-size", "160", "--hidden", "400", "--lr", "8e-3", "--lr-warmup", "0.1"],
    100: ["--epochs", "14"],
}
#: Epochs after which a rival that hasn't come there is stopped.
CAP = 40
#: Images of the set that doesn't fit, and of the one that it is held against.
FEW, MANY = 10_000, 1_000_000


class Contender:
    """A program of benchmarks/rivals that waits to be told to run a round.

    Its stderr is a terminal, so that bars are drawn as they are for a person.
    """

    def __init__(self, program: str, *flags: str):
        self.program, self.folder = program, tempfile.TemporaryDirectory()
        self.terminal, stderr = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, str(RIVALS / f"{program}.py"), *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=self.folder.name,
        )
        os.close(stderr)
        self.said: deque[bytes] = deque(maxlen=20)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        with contextlib.suppress(OSError):  # raised on Linux when the program has ended
            while said := os.read(self.terminal, 65536):
                self.said.append(said)

    def round(self) -> float:
        """Seconds for every 60,000 images, in one more round."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(file=self.process.stdin, flush=True)
        if answer := self.process.stdout.readline():
            return float(answer)
        self.process.wait()
        raise SystemExit(f"{self.program} has failed:\n{b''.join(self.said).decode(errors='replace')[-3000:]}")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        os.close(self.terminal)
        self.folder.cleanup()


def race(contenders: dict[str, list[str]], tuned: Sequence[str], rounds: int) -> dict[str, Any]:
    """Seconds for every 60,000 images, of each contender in each round.

    Args:
        contenders: name -> program and its flags.
        tuned: those whose --workers are to be tried out.
    """
    running, notes = {}, {}
    for name, command in contenders.items():
        variants = {
            count: Contender(*command, "--workers", str(count)) for count in WORKERS if name in tuned or not count
        }
        trials: dict[int, float] = {}
        for _ in range(2 if len(variants) > 1 else 1):  # the first of two warms up
            trials = {count: variant.round() for count, variant in variants.items()}
        best = min(trials, key=trials.__getitem__)
        for count, variant in variants.items():
            if count != best:
                variant.close()
        running[name] = variants[best]
        if name in tuned:
            notes[name] = f"workers: {best}"
    times: dict[str, list[float]] = {name: [] for name in running}
    for number in range(rounds):
        for name in list(running)[:: -1 if number % 2 else 1]:
            times[name].append(running[name].round())
    for contender in running.values():
        contender.close()
    return {"unit": "s per 60,000 images", "times": times, "notes": notes}


def vae(batch_size: int) -> Callable[[argparse.Namespace], dict[str, Any]]:
    def run(given: argparse.Namespace) -> dict[str, Any]:
        size = ["--batch-size", str(batch_size), "--images", str(given.images or 60_000)]
        contenders = {
            OURS: ["ours", *size, "--options", json.dumps(EXAMPLE_VAE)],
            "example script": ["example_vae", *size],
            "pythae": ["pythae_vae", *size],
            "plain loop": ["plain_vae", *size],
            "bare products": ["floor_vae", *size],
        }
        return race(present(contenders), ["example script", "pythae"], given.rounds or 7)

    return run


def conv_ae(given: argparse.Namespace) -> dict[str, Any]:
    size = ["--batch-size", "128", "--images", str(given.images or 6_400)]
    contenders = {OURS: ["ours", *size, "--model", "conv-ae"], "example's way": ["example_conv_ae", *size]}
    return race(contenders, ["example's way"], given.rounds or 7)


def dcgan(given: argparse.Namespace) -> dict[str, Any]:
    size = ["--batch-size", "64", "--images", str(given.images or 3_200)]
    ours = ["ours", *size, "--model", "dcgan", "--image-size", "32", "--options", json.dumps(EXAMPLE_DCGAN)]
    return race({OURS: ours, "example script": ["example_dcgan", *size]}, ["example script"], given.rounds or 5)


def whole_run(given: argparse.Namespace) -> dict[str, Any]:
    size = ["ours", "--batch-size", "128"]
    contenders = {
        OURS: [*size, "--part", "run"],
        "bare loop": [*size, "--part", "loop"],
        "bare loop, validated": [*size, "--part", "validated"],
    }
    return race(contenders, [], given.rounds or 9)


def nll(given: argparse.Namespace) -> dict[str, Any]:
    """A race whose images are few, because each takes 5,000 passes through the decoder."""
    size = ["--images", str(given.images or 20)]
    result = race(present({OURS: ["ours_nll", *size], "pythae": ["pythae_nll", *size]}), [], given.rounds or 7)
    times = {name: [seconds / 60 for seconds in spent] for name, spent in result["times"].items()}
    return {**result, "unit": "s per 1,000 images", "times": times}


def step(given: argparse.Namespace) -> dict[str, Any]:
    """Where a step's time goes, beside the bare products: benchmarks/step.py."""
    return {"unit": "ms a step", "times": beside("step", "--rounds", str(given.rounds or 5)), "notes": {}}


def larger(given: argparse.Namespace) -> dict[str, Any]:
    """A million colour images that are read ahead from the disk: benchmarks/larger_than_memory.py."""
    found = beside("larger_than_memory", "ae", "--counts", str(FEW), str(MANY), "--rounds", str(given.rounds or 5))

    def times(count: int, way: str) -> list[float]:
        some = [each for each in found["steps"] if (each["count"], each["way"]) == (count, way)]
        return [60_000 / each["images_per_second"] for each in some]

    contenders = {OURS: (MANY, "read ahead"), "in memory": (MANY, "in memory"), "ten thousand": (FEW, "read ahead")}
    peak = found["whole"]["peak_mb"] / 1024
    return {
        "unit": "s per 60,000 images",
        "times": {name: times(*which) for name, which in contenders.items()},
        "notes": {OURS: f"a whole epoch in {found['whole']['seconds']:.0f} s, at most {peak:.2f} GB resident"},
        "more": {"peak": peak},
    }


def beside(program: str, *flags: str) -> Any:
    """What another program of this folder measures, as its --json holds it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "found.json")
        subprocess.run([sys.executable, Path(__file__).with_name(f"{program}.py"), *flags, "--json", file], check=True)
        return json.loads(file.read_text())


def waits(given: argparse.Namespace) -> dict[str, Any]:
    """Commands that don't train, or haven't begun to: benchmarks/waits.py."""
    return {"unit": "s", "times": beside("waits", "--rounds", str(given.rounds or 5)), "notes": {}}


def refusals(given: argparse.Namespace) -> dict[str, Any]:
    """Commands that need no model, or nothing of it but its flags: benchmarks/refusals.py."""
    return {"unit": "s", "times": beside("refusals", "--rounds", str(given.rounds or 7)), "notes": {}}


def cuda_vae(given: argparse.Namespace) -> dict[str, Any]:
    size = ["--batch-size", "128", "--images", str(given.images or 60_000), "--device", "cuda"]
    contenders = {OURS: ["ours", *size, "--options", json.dumps(EXAMPLE_VAE)], "example script": ["example_vae", *size]}
    return race(contenders, ["example script"], given.rounds or 7)


def cuda_dcgan(given: argparse.Namespace) -> dict[str, Any]:
    size = ["--batch-size", "64", "--images", str(given.images or 60_000), "--device", "cuda"]
    ours = ["ours", *size, "--model", "dcgan", "--image-size", "32", "--options", json.dumps(EXAMPLE_DCGAN)]
    return race({OURS: ours, "example, in memory": ["example_dcgan", *size, "--in-memory"]}, [], given.rounds or 7)


def command(given: argparse.Namespace) -> dict[str, Any]:
    """Whole processes, from their start to their end: one epoch and what each does after it."""
    size = ["--images", str(given.images or 60_000)]
    flags = ["--dataset", "mnist", "--hidden", "400", "--activation", "relu", "--latent-dim", "20"]
    commands = {
        OURS: genkit_train(*flags, "--batch-size", "128", "--epochs", "1"),
        "example script": script("example_vae", *size),
        "pythae": script("pythae_vae", *size),
    }
    commands, notes = present(commands), {}
    for name in commands.keys() - {OURS}:
        workers = fastest_workers(*commands[name])
        commands[name] += ["--epochs", "1", "--workers", workers]
        notes[name] = f"workers: {workers}"
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(given.rounds or 5):
        for name in list(times)[:: -1 if number % 2 else 1]:
            times[name].append(seconds_of(commands[name]))
    return {"unit": "s", "times": times, "notes": notes}


@functools.cache
def fastest_workers(*arguments: str) -> str:
    """The number of workers with which a rival's script is through one epoch first."""
    took = {str(count): seconds_of([*arguments, "--epochs", "1", "--workers", str(count)]) for count in WORKERS}
    return min(took, key=took.__getitem__)


def seconds_of(arguments: Sequence[str]) -> float:
    """From a process's start to its end, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(arguments, cwd=folder, capture_output=True, check=True)
        return time.perf_counter() - began


def quality(nats: int) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """Time from a command to a test −ELBO of `nats`. Ours is the whole command, whose own last line measures it."""

    def run(given: argparse.Namespace) -> dict[str, Any]:
        size = ["--images", str(given.images or 60_000)]
        rivals = {
            "example script": script("example_vae", *size),
            "pythae": script("pythae_vae", "--readme", *size),
        }
        rivals, flags = present(rivals), TO_QUALITY[nats]
        workers = {name: fastest_workers(*command) for name, command in rivals.items()}
        times: dict[str, list[float]] = {name: [] for name in (OURS, *rivals)}
        notes, missed = {}, set()
        for _ in range(given.rounds or 1):
            for name, spent in times.items():
                if name == OURS:
                    seconds, epochs, loss = time_ours(flags)
                else:
                    more = ["--epochs", str(CAP), "--workers", workers[name]]
                    seconds, epochs, loss = time_rival([*rivals[name], *more], nats)
                spent.append(seconds)
                notes[name] = f"{epochs} epochs, test −ELBO {loss:.1f}"
                if loss > nats:
                    missed.add(name)
        notes[OURS] += f" ({' '.join(flags)})"
        for name, count in workers.items():
            notes[name] += f", workers: {count}"
        return {"unit": "s", "times": times, "notes": notes, "missed": sorted(missed)}

    return run


def time_ours(flags: Sequence[str]) -> tuple[float, int, float]:
    """Seconds, epochs and test −ELBO of a whole command."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = subprocess.run(
            genkit_train("--dataset", "mnist", "--json", *flags), cwd=folder, capture_output=True, check=True
        )
        seconds = time.perf_counter() - began
        result = json.loads(done.stdout)
        epochs = json.loads((Path(folder, result["run"]) / "config.json").read_text())["options"]["epochs"]
    return seconds, epochs, result["metrics"]["test/neg_elbo"]


def time_rival(arguments: Sequence[str], nats: float) -> tuple[float, int, float]:
    """Seconds from the start to the line that tells of the wanted test loss, or to the end; epochs; the loss there."""
    seconds, epochs, loss = 0.0, 0, float("inf")
    with tempfile.TemporaryDirectory() as folder, Path(folder, "stderr").open("wb") as stderr:
        began = time.perf_counter()
        with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.match(r"epoch (\d+): test loss ([\d.]+)", line):
                    seconds, epochs, loss = time.perf_counter() - began, int(found[1]), float(found[2])
                    if loss <= nats:
                        process.kill()
                        break
    if not epochs:
        raise SystemExit(f"{' '.join(arguments)} has failed")
    return seconds, epochs, loss


def genkit_train(*flags: str) -> list[str]:
    return [sys.executable, "-m", "genkit", "train", "vae", *flags]


def script(program: str, *flags: str) -> list[str]:
    return [sys.executable, str(RIVALS / f"{program}.py"), *flags]


def present(contenders: dict[str, list[str]]) -> dict[str, list[str]]:
    """Those of them whose packages are installed."""
    return {name: command for name, command in contenders.items() if name != "pythae" or version("pythae")}


ROWS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "vae-128": vae(128),
    "vae-512": vae(512),
    "command": command,
    "quality-105": quality(105),
    "quality-100": quality(100),
    "conv-ae": conv_ae,
    "dcgan": dcgan,
    "whole-run": whole_run,
    "nll": nll,
    "larger": larger,
    "waits": waits,
    "refusals": refusals,
    "step": step,
    "cuda-vae": cuda_vae,
    "cuda-dcgan": cuda_dcgan,
}


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """Where and with what a row is measured."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=REPOSITORY, check=False
    ).stdout.strip()
    return {
        "day": str(date.today()),
        "revision": revision or "unknown",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pythae": version("pythae") or "not installed",
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def cpu() -> str:
    """The processor's name, with its family and model where the name alone doesn't tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    return (
        f"{facts.get('model name', platform.machine())} (family {facts.get('cpu family')}, model {facts.get('model')})"
    )


@contextlib.contextmanager
def plain_mnist() -> Iterator[None]:
    """GENKIT_DATA as a temporary folder with MNIST decompressed, as a download leaves it, the same for everybody.

    Exits with 2 where it isn't there.
    """
    source = Path(os.environ.get("GENKIT_DATA", "")).expanduser() / "mnist"
    names = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "mnist")
        target.mkdir()
        for name in names:
            if (source / name).is_file():
                content = (source / name).read_bytes()
            elif (source / f"{name}.gz").is_file():
                content = gzip.decompress((source / f"{name}.gz").read_bytes())
            else:
                print(f"{source / name} isn't there; `genkit data fetch mnist` with GENKIT_DATA set", file=sys.stderr)
                raise SystemExit(2)
            (target / name).write_bytes(content)
        # Wherever a contender runs, it is this genkit.
        os.environ |= {"GENKIT_DATA": folder, "GENKIT_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)}
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, help="instead of each row's own number")
    parser.add_argument("--images", type=int, help="a round, instead of each row's own number, for a quick try")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs", help="where speed.md and speed.json go")
    given = parser.parse_args()
    rows = [name for name in given.rows.split(",") if name]
    if unknown := set(rows) - ROWS.keys():
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    store = given.out / "speed.json"
    machines = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    where = environment()  # asked once: what is written below makes the revision "dirty"
    machine = f"{where['cpu']} with {where['cores']} cores" + (f" and {where['gpu']}" if where["gpu"] else "")
    with plain_mnist() if rows else contextlib.nullcontext():
        for name in rows:
            if name.startswith("cuda") and not torch.cuda.is_available():
                print(f"{name}: no GPU here", file=sys.stderr)
                continue
            print(f"{name} …", file=sys.stderr, flush=True)
            load = round(os.getloadavg()[0], 1)
            asked = {key: value for key in ("images", "rounds") if (value := getattr(given, key))}
            found = machines.get(machine, {})
            found[name] = {**ROWS[name](given), "asked": asked, "load": load, "environment": where}
            machines[machine] = {each: found[each] for each in ROWS if each in found}
            store.parent.mkdir(parents=True, exist_ok=True)
            store.write_text(json.dumps(machines, indent=1) + "\n", encoding="utf-8")
            print(spreads({machine: {name: found[name]}}), file=sys.stderr, flush=True)
    (given.out / "speed.md").write_text(page(machines), encoding="utf-8")
    print(table(machines))


if __name__ == "__main__":
    main()
