"""Where does a training step's time go? Part by part, for the fully connected VAE of docs/speed.md, on the CPU.

    GENKIT_DATA=~/data python benchmarks/step.py [--batch-size 128] [--steps 400]

The parts are those of `training.train` and `VAE.losses`, taken one after the other with a clock between them; each is
the median over the steps. The bare products of the same shapes are taken in turn with the steps, so that both see the
same machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch

from genkit import data, device
from genkit.data import DataOptions
from genkit.data.batches import TrainingBatches
from genkit.models.vae import VAE, gaussian_kl
from genkit.training import TrainingState, clip_gradients

sys.path.insert(0, str(Path(__file__).parent / "rivals"))
from floor_vae import Products

WARM_UP = 50


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
    parser.add_argument("--steps", type=int, default=400)
    given = parser.parse_args()
    device.keep_freed_memory()
    dataset = data.load(DataOptions(dataset="mnist"))
    options = VAE.Options(hidden=(400,), activation="relu", latent_dim=20, batch_size=given.batch_size)
    model = VAE(dataset.shape, options).train()
    state = TrainingState(model, 100_000, 1)
    (optimizer,) = state.optimizers
    batches = TrainingBatches(dataset.train, given.batch_size, 0, torch.device("cpu"))
    products = Products(given.batch_size)
    clock, steps = Clock(), 0
    for epoch in range(1_000):
        for batch in batches.epoch(epoch):
            clock("gather the batch")
            mean, log_variance = model.posterior(batch.images)
            clock("encoder")
            z = torch.addcmul(mean, (log_variance / 2).exp(), torch.randn_like(mean))
            clock("sample z")
            output = model.decoder(z)
            clock("decoder")
            reconstruction = model.negative_log_likelihood(output, batch.images).sum() / given.batch_size
            clock("Bernoulli loss")
            kl = gaussian_kl(mean, log_variance).sum() / given.batch_size
            loss = reconstruction + kl
            clock("KL")
            optimizer.zero_grad()
            loss.backward()
            clock("backward")
            clip_gradients(optimizer.gradients, 0)
            clock("the gradient's norm")
            optimizer.step(1.0)
            clock("optimiser")
            products.multiply()
            clock("the bare products, beside it")
            steps += 1
            if steps == WARM_UP + given.steps:
                report(clock.parts, given.batch_size)
                return


def report(parts: dict[str, list[float]], batch_size: int) -> None:
    medians = {part: 1000 * statistics.median(times[WARM_UP:]) for part, times in parts.items()}
    floor = medians.pop("the bare products, beside it")
    total = sum(medians.values())
    print(f"VAE 784-400-20, batch {batch_size}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| part of a step | ms | share |\n|---|---|---|")
    for part, spent in medians.items():
        print(f"| {part} | {spent:.2f} | {spent / total:.0%} |")
    print(f"| together | {total:.2f} | |\n| the bare products | {floor:.2f} | {floor / total:.0%} |")


if __name__ == "__main__":
    main()
