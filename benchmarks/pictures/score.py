"""How near are samples to real images? One program for every contender, whoever made the samples.

    python benchmarks/pictures/score.py SAMPLES --dataset NAME|PATH [--image-size N]

SAMPLES is a folder of PNG files, or a .npz with `images` (N, C, H, W) of 8 bits as `genkit sample --npz` writes it;
where that has `conditions` too, they are the classes asked for. Prints a line of JSON: `samples`, `real`, `judge`, and
each figure by name. Distances are genkit's own (genkit/evaluate/distances.py) in the features of the set's own judge,
as in `genkit evaluate`, against all test images, at most MOST; the floor holds one half of these against the other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from genkit import data
from genkit.data import DataOptions
from genkit.data.dataset import Dataset
from genkit.evaluate import judge as judges
from genkit.evaluate.distances import class_histogram, floor, frechet_distance, kernel_distance, precision_recall
from genkit.evaluate.judge import Judge
from genkit.latent.images import to_float
from genkit.run.validation import diversity

#: Real images at most, and of them those whose nearest neighbours are looked for.
MOST, NEIGHBOURS = 10_000, 1000


def read(path: Path, channels: int, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
    """Samples as uint8 (N, C, H, W), and the class that each was to be of, if that is known.

    Of another size they are averaged over whole blocks of pixels, or resized; colour becomes grey by its luma.

    Raises:
        SystemExit: when there are no images there.
    """
    conditions = None
    if path.is_dir():
        files = sorted(path.rglob("*.png"))
        if not files:
            raise SystemExit(f"{path} has no PNG files")
        pictures = [np.asarray(Image.open(file).convert("L" if channels == 1 else "RGB")) for file in files]
        images = np.stack(pictures).reshape(len(pictures), *pictures[0].shape[:2], channels).transpose(0, 3, 1, 2)
    else:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["images"]
            if "conditions" in arrays and arrays["conditions"].ndim == 1:
                conditions = torch.from_numpy(arrays["conditions"].astype(np.int64))
    found = torch.from_numpy(np.ascontiguousarray(images))
    if found.shape[1] == 3 and channels == 1:
        luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        found = (found * luma).sum(1, keepdim=True).round().byte()
    if found.shape[1] == 1 and channels == 3:
        found = found.expand(-1, 3, -1, -1)
    if tuple(found.shape[2:]) != size:
        whole = found.shape[2] % size[0] == 0 == found.shape[3] % size[1]
        how: dict[str, Any] = {"mode": "area"} if whole else {"mode": "bilinear", "antialias": True}
        found = torch.nn.functional.interpolate(found.float(), size=size, **how).round().clamp(0, 255).byte()
    return found, conditions


def score(samples: Tensor, dataset: Dataset, judge: Judge | None, conditions: Tensor | None = None) -> dict[str, Any]:
    """Figures of samples, uint8 (N, C, H, W): see the head of this file."""
    real = dataset.test.take(dataset.test.spread(MOST)) if len(dataset.test) > MOST else dataset.test
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    ours = to_float(samples)
    found: dict[str, Any] = {"samples": len(samples), "real": len(real)}
    train = dataset.train.take(dataset.train.spread(min(NEIGHBOURS, len(samples), len(dataset.train))))
    found["diversity"] = diversity(ours[: len(train)], to_float(train.images()))
    if judge is None:
        return found
    found["judge"] = judge.name
    features = judge.features(ours)
    everything = torch.cat([judge.features(to_float(real.images(rows))) for rows in order.split(1000)])
    kernel = kernel_distance(features, everything)
    least = floor(kernel_distance, everything, len(everything) // 2)
    found |= {"kernel": kernel.value, "kernel_error": kernel.error, "kernel_floor": least.value}
    found["frechet"] = frechet_distance(features, everything)
    count = min(len(features), len(everything))
    found |= precision_recall(features[:count], everything[:count])._asdict()
    if judge.classes:
        labels = judge.labels_of(features)
        found["smallest_share"] = float(class_histogram(labels, len(judge.classes)).shares.min())
        if conditions is not None:
            found["agreement"] = float((labels == conditions).float().mean())
    return found


def judge_of(options: DataOptions, dataset: Dataset) -> Judge | None:
    """The set's own judge, of classes or else of attributes; None where it has neither."""
    target = "classes" if len(dataset.classes) > 1 else "attributes"
    found = judges.of(options, torch.device("cpu"), target)
    return found if isinstance(found, Judge) else None


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("samples", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--image-size", type=int)
    given = parser.parse_args()
    options = DataOptions(dataset=given.dataset, image_size=given.image_size)
    dataset = data.load(options)
    samples, conditions = read(given.samples, dataset.shape.channels, (dataset.shape.height, dataset.shape.width))
    print(json.dumps(score(samples, dataset, judge_of(options, dataset), conditions)))


if __name__ == "__main__":
    main()
