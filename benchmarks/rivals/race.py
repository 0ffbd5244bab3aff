"""What the contenders share: MNIST as everybody reads it, and the answer to "run another round"."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

#: The files of each part, with the bytes that their headers take.
FILES = {
    "train": (("train-images-idx3-ubyte", 16), ("train-labels-idx1-ubyte", 8)),
    "test": (("t10k-images-idx3-ubyte", 16), ("t10k-labels-idx1-ubyte", 8)),
}


def mnist(part: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` images of `train` or `test`, uint8 (N, 28, 28), and their labels, from GENKIT_DATA/mnist."""
    folder = Path(os.environ["GENKIT_DATA"]) / "mnist"
    images, labels = (np.fromfile(folder / name, np.uint8, offset=header) for name, header in FILES[part])
    return images.reshape(-1, 28, 28)[:count], labels[:count]


def parser(description: str | None) -> argparse.ArgumentParser:
    """The flags that every contender of a race has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--batch-size", type=int, default=128)
    made.add_argument("--images", type=int, default=60_000, help="of a round; the whole training set by default")
    made.add_argument("--workers", type=int, default=0, help="of the DataLoader, where the contender has one")
    made.add_argument("--device", default="cpu")
    return made


def serve(one_round: Callable[[], tuple[int, float]]) -> None:
    """Run a round for every line on stdin; answer each with its seconds for every 60,000 images.

    `one_round` returns how many images it has trained on, and in how many seconds.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    for _ in sys.stdin:
        images, seconds = one_round()
        print(60_000 * seconds / images, file=answers, flush=True)
