"""What is measured: a model, the images that it is held against, and what was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tqdm import tqdm

from genkit.data.dataset import Dataset, Split
from genkit.model import GenerativeModel


@dataclass(frozen=True)
class Subject:
    """A trained model and the images to measure it by.

    Attributes:
        name: of the run, for people.
        model: in evaluation mode, on `device`.
        kind: the model's name: `vae`.
        dataset: all splits, of the model's own shape; a measurement may fit something to `dataset.train`.
        split: the name of the split that `images` are of.
        images: those to measure by, at least one.
        device: where the model is.
        sum: SHA-256 of the checkpoint's manifest, which holds the SHA-256 of its every file.
    """

    name: str
    model: GenerativeModel
    kind: str
    dataset: Dataset
    split: str
    images: Split
    device: torch.device
    sum: str

    @property
    def conditions(self) -> dict[str, str | int | float]:
        """What every figure of it depends on."""
        return {"dataset": self.dataset.name, "split": self.split, "resolution": str(self.model.image)}


@dataclass(frozen=True)
class Asked:
    """What a person can choose of a measurement.

    Attributes:
        k: codes an image of the importance-weighted likelihood.
        nll_images: images that it is measured by, at most; evenly spaced.
        seed: of all noise.
    """

    k: int = 5000
    nll_images: int = 1000
    seed: int = 0


def progress(what: str, total: float) -> tqdm:
    """A bar on stderr that leaves nothing behind; silent where stderr is no terminal."""
    return tqdm(
        desc=what,
        total=total,
        unit=" images",
        disable=None,
        leave=False,
        dynamic_ncols=True,
        bar_format="{l_bar}{bar}| {n:.0f}/{total_fmt} [{elapsed}<{remaining}]",
    )
