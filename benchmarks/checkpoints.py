"""What do checkpoints cost? The time by which they delay training, as a share of the rest of an epoch.

    GENKIT_DATA=~/data python benchmarks/checkpoints.py [--dataset mnist] [--epochs 5] [MODEL …]

Each model is trained with its defaults, a checkpoint an epoch. Two runs, or two epochs, differ by more than that
takes, so the delay is measured directly: the time for which the loop stands still for it, and the time by which steps
that are taken while it is being written exceed the median of the other steps of their epoch.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch

from genkit import registry
from genkit.data import DataOptions
from genkit.keep.config import Config, RunOptions
from genkit.run import trainer


class Watched(trainer.Leader):
    """A training run that notes how long its steps and its checkpoints take."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.stood_still: list[float] = []  # seconds an epoch
        self.slowed: list[float] = []
        self.lasted: list[float] = []
        self.steps: list[tuple[float, bool]] = []  # seconds, whether a checkpoint was being written
        self.began = time.perf_counter()
        trainer.train = self.timed(trainer.train)
        watched.append(self)

    def timed(self, train: Any) -> Any:
        def steps(*arguments: Any) -> Iterator[Any]:
            taken = train(*arguments)
            while True:
                began = time.perf_counter()
                metrics = next(taken, None)
                if metrics is None:
                    return
                writing = self.keeper.writing is not None and not self.keeper.writing.done()
                self.steps.append((time.perf_counter() - began, writing))
                yield metrics

        return steps

    def save(self, values: dict[str, float]) -> None:
        began = time.perf_counter()
        super().save(values)
        ended = time.perf_counter()
        usual = statistics.median(seconds for seconds, writing in self.steps if not writing)
        self.stood_still.append(ended - began)
        self.slowed.append(sum(seconds - usual for seconds, writing in self.steps if writing))
        self.lasted.append(ended - self.began)
        self.steps, self.began = [], ended


watched: list[Watched] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(registry.names()))
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    logging.getLogger("genkit").setLevel(logging.WARNING)
    print(
        f"{arguments.dataset}, torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.epochs} epochs"
    )
    leader, train = trainer.Leader, trainer.train
    for model in arguments.models:
        trainer.Leader, trainer.train = Watched, train  # type: ignore[misc]
        with tempfile.TemporaryDirectory(dir=".") as out:
            options = registry.find(model).Options(epochs=arguments.epochs + 1)
            settings = Config(model, options, DataOptions(dataset=arguments.dataset), RunOptions(out=out), {})
            trainer.start(settings._replace(sources=dict.fromkeys(settings.values(), "benchmark")))
        found = watched.pop()
        # The checkpoint of one epoch is written during the next: the first epoch has no predecessor, so it is left out.
        epochs = list(zip(found.stood_still[:-1], found.slowed[1:], found.lasted[1:], strict=True))
        shares = [(still + slowed) / (lasted - still - slowed) for still, slowed, lasted in epochs]
        still, slowed, lasted = (statistics.median(column) for column in zip(*epochs, strict=True))
        print(
            f"{model:8}  {statistics.median(shares):5.2%}  (medians: stands still {1e3 * still:.0f} ms, slower steps "
            f"{1e3 * slowed:.0f} ms, of an epoch of {lasted:.1f} s)",
            flush=True,
        )
    trainer.Leader = leader  # type: ignore[misc]


if __name__ == "__main__":
    main()
