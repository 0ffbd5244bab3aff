"""The trained runs of a recipe, opened for measuring."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from genkit.contract import GenerativeModel, Model, ability
from genkit.data.dataset import Dataset
from genkit.evaluate import pca
from genkit.evaluate.figure import Figure, LeftOut
from genkit.evaluate.subject import Subject
from genkit.keep import config
from genkit.keep.config import Config
from genkit.keep.opened import Opened
from genkit.latent import images
from genkit.reproduce.recipe import Recipe


@dataclass(frozen=True)
class TrainedRun:
    """A trained run of a recipe, its images, and where to compute.

    Attributes:
        name: in the recipe.
        run: its folder.
    """

    name: str
    run: Path
    images: Dataset
    device: torch.device

    @cached_property
    def opened(self) -> Opened:
        """The checkpoint that `genkit sample` opens, read when it is first asked for."""
        return Opened.find(str(self.run), self.device)

    @property
    def trained(self) -> Model:
        """The model, whatever it is, on the device."""
        return self.opened.model

    @property
    def model(self) -> GenerativeModel:
        """The same, where it makes images.

        Raises:
            UsageError: where it doesn't.
        """
        return ability.generator(self.trained, f"{self.name} is a {self.settings.model}")

    @cached_property
    def settings(self) -> Config:
        return config.read(self.run)

    @property
    def subject(self) -> Subject:
        """The run as `evaluate` measures it, by its test images."""
        return Subject(
            opened=self.opened, data=self.settings.data, dataset=self.images, split="test", images=self.images.test
        )

    @property
    def code_size(self) -> int:
        return int(self.model.options.latent_dim)

    def pca(self) -> pca.Components:
        """PCA of the training images, with as many components as the code has numbers."""
        return pca.fit(self.images.train, self.code_size)

    def some_test_images(self, count: int) -> Tensor:
        """Evenly spaced images of the test split, (count, C, H, W) in [0, 1]."""
        return images.to_float(self.images.test.images(self.images.test.spread(count)))


@dataclass
class Bench:
    """What pictures are drawn from.

    Attributes:
        recipe: what is carried out.
        runs: the trained runs, by name.
        folder: where pictures go.
        figures: what has been measured so far, by name.
        left_out: what couldn't be, and why.
    """

    recipe: Recipe
    runs: dict[str, TrainedRun]
    folder: Path
    figures: dict[str, Figure] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def named(self, names: Iterable[str]) -> list[TrainedRun]:
        """The runs that these names stand for, in the recipe's order."""
        return [self.runs[run] for name in names for run in self.recipe.named(name)]

    def enter(self, run: str, found: Iterable[Figure | LeftOut]) -> None:
        """Keep figures under `RUN: NAME`."""
        for each in found:
            name = f"{run}: {each.name}"
            if isinstance(each, LeftOut):
                self.left_out[name] = each.reason
            elif math.isfinite(each.value):
                self.figures[name] = each
            else:
                self.left_out[name] = f"it is {each.value}, which is no measurement"
