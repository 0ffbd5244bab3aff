"""How long does a drag over the explorer's map wait for its picture? Over HTTP, from a client on the same machine.

    GENKIT_DATA=~/data python benchmarks/drag.py [RUN …] [--questions 500] [--json FILE]

Each model is served by a process of its own, as `genkit explore` serves it, and asked one question after another, each
for a place a step further on a random walk over the map, as a page does that never has two of them on the way. A
question's time goes from before the connection is opened to after the answer's last byte. Where no runs are named, the
models are untrained, since weights don't change what a decoder takes: the default VAE on MNIST, by each kind of map,
and a DCGAN of 64×64 colour images.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from speed import environment

from genkit.run.process import load_average

WARM_UP = 50
#: Milliseconds that 95 of 100 answers may take.
BARS = {"vae-mnist": 50.0, "vae-mnist-tsne": 50.0, "dcgan-64": 150.0}


def serve(name: str) -> None:
    """Serve an untrained model, its address on stdout, until the process is ended."""
    import torch

    from genkit import data
    from genkit.contract import ImageShape
    from genkit.explore.server import Server, listen
    from genkit.explore.space import Space
    from genkit.models.dcgan import DCGAN
    from genkit.models.vae import VAE

    torch.manual_seed(0)
    if name.startswith("vae"):
        dataset = data.load(data.DataOptions(dataset="mnist"))
        vae = VAE(dataset.shape, VAE.Options()).eval().requires_grad_(False)
        method, limit = ("tsne", 2000) if name.endswith("tsne") else ("pca", 10_000)
        space = Space(vae, name, lambda: dataset, ("mnist", (), ()), method=method, limit=limit)  # type: ignore[arg-type]
    else:
        gan = DCGAN(ImageShape(3, 64, 64), DCGAN.Options()).eval().requires_grad_(False)
        space = Space(gan, name, lambda: data.load(data.DataOptions(dataset="faces")), ("faces", (), ()))
    with listen(0) as listening:
        server = Server(space, listening)
        print(json.dumps({"address": server.desk.address}), flush=True)
        server.serve_forever()


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """The address that a process serves."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(command)} has ended")
        yield json.loads(line)["address"]
    finally:
        process.terminate()
        process.wait()


def ask(address: str, name: str, body: bytes | None = None) -> bytes:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
    connection.request("GET" if body is None else "POST", parts.path + name, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{name}: {answer.status} {content.decode(errors='replace')}")
    return content


def drag(address: str, questions: int) -> dict[str, Any]:
    """Milliseconds that answers take."""
    about = json.loads(ask(address, "about.json"))
    points = np.frombuffer(ask(address, "points.bin"), "<f4").reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    generator, place = np.random.default_rng(0), points.mean(0)
    taken = []
    for _ in range(WARM_UP + questions):
        place = np.clip(place + generator.normal(0, 0.03, 2) * (high - low), low, high)
        body = place.astype("<f4").tobytes()
        began = perf_counter()
        ask(address, "under", body)
        taken.append(1e3 * (perf_counter() - began))
    taken = sorted(taken[WARM_UP:])
    return {
        "map": about["map"]["method"],
        "points": about["count"],
        "questions": questions,
        "median": round(statistics.median(taken), 2),
        "p95": round(taken[int(0.95 * len(taken))], 2),
        "largest": round(taken[-1], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="*", help="runs instead of untrained models")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    commands = {name: [sys.executable, __file__, "--serve", name] for name in BARS}
    if given.runs:
        explore = [sys.executable, "-m", "genkit", "explore", "--no-browser", "--json"]
        commands = {Path(run).name: [*explore, run] for run in given.runs}
    about, rows = {**environment(), "load before": load_average()}, {}
    print("| model | map | points | median, ms | 95th percentile, ms | largest, ms | bar, ms |")
    print("|---|---|---|---|---|---|---|")
    for name, command in commands.items():
        with served(command) as address:
            rows[name] = row = drag(address, given.questions)
        figures = [f"{row[key]:.1f}" for key in ("median", "p95", "largest")]
        bar = f"{BARS[name]:g}" if name in BARS else ""
        print(f"| {name} | {row['map']} | {row['points']:,} | {' | '.join(figures)} | {bar} |", flush=True)
    print("\n" + ", ".join(f"{key}: {value}" for key, value in about.items() if value))
    if given.json:
        given.json.write_text(json.dumps({"environment": about, "milliseconds": rows}, indent=2) + "\n")
    missed = [name for name, row in rows.items() if row["p95"] > BARS.get(name, float("inf"))]
    if missed:
        raise SystemExit(f"slower than their bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
