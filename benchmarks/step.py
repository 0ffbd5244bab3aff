"""Where does a training step's time go? Part by part, for the fully connected VAE of docs/speed.md, on the CPU.

    GENKIT_DATA=~/data python benchmarks/step.py [--batch-size 128] [--rounds 5] [--steps 100] [--json FILE]

The parts are those of `training.train` and `VAE.losses`, taken one after the other with a clock between them; a round's
figure is the median over its steps. The bare products of the same shapes are taken in turn with the steps, so that both
see the same machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch

from genkit import data, device
from genkit.data import DataOptions
from genkit.data.batches import TrainingBatches
from genkit.distributions import gaussian_kl
from genkit.models.vae import VAE
from genkit.step.training import TrainingState, clip_gradients

sys.path.insert(0, str(Path(__file__).parent / "rivals"))
from floor_vae import Products

WARM_UP = 50
PRODUCTS = "the bare products"


class Clock:
    """Adds the time since the last call to a part."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = defaultdict(list)
        self.last = time.perf_counter()

    def __call__(self, part: str) -> None:
        now = time.perf_counter()
        self.parts[part].append(now - self.last)
        self.last = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="of a round")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device.keep_freed_memory()
    dataset = data.load(DataOptions(dataset="mnist"))
    options = VAE.Options(hidden=(400,), activation="relu", latent_dim=20, batch_size=given.batch_size)
    model = VAE(dataset.shape, options).train()
    state = TrainingState(model, 100_000, 1)
    (optimizer,) = state.optimizers
    batches = TrainingBatches(dataset.train, given.batch_size, 0, torch.device("cpu"))
    products = Products(given.batch_size)
    clock = Clock()
    endless = itertools.chain.from_iterable(map(batches.epoch, itertools.count()))
    for batch in itertools.islice(endless, WARM_UP + given.rounds * given.steps):
        clock("gathering the batch")
        mean, log_variance = model.posterior(batch.images)
        clock("encoder")
        z = torch.addcmul(mean, (log_variance / 2).exp(), torch.randn_like(mean))
        clock("sampling z")
        output = model.decoder(z)
        clock("decoder")
        reconstruction = model.negative_log_likelihood(output, batch.images).sum() / given.batch_size
        clock("Bernoulli loss")
        loss = reconstruction + gaussian_kl(mean, log_variance).sum() / given.batch_size
        clock("KL")
        optimizer.zero_grad()
        loss.backward()
        clock("backward")
        clip_gradients(optimizer.gradients, 0)
        clock("the gradient's norm")
        optimizer.step(1.0)
        clock("optimiser")
        with torch.no_grad():
            products.multiply()
        clock(PRODUCTS)
    rounds = {
        part: [1000 * statistics.median(some) for some in chunks(times[WARM_UP:], given.steps)]
        for part, times in clock.parts.items()
    }
    for part, times in rounds.items():
        print(f"{part:20} {statistics.median(times):6.2f} ms")
    if given.json:
        given.json.write_text(json.dumps(rounds) + "\n")


def chunks(times: list[float], size: int) -> list[list[float]]:
    return [times[start : start + size] for start in range(0, len(times), size)]


if __name__ == "__main__":
    main()
