"""What is measured: a model, the images that it is held against, and what was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from genkit.contract import Model
from genkit.data import DataOptions
from genkit.data.dataset import Dataset, Split
from genkit.evaluate.figure import LeftOut
from genkit.keep.opened import Opened

if TYPE_CHECKING:
    from genkit.evaluate.extractor import Extractor
    from genkit.evaluate.judge import Judge
    from genkit.evaluate.judge_file import FileJudge


#: What a model that takes a condition is told of every image that it is measured by.
TOLD = {"class": "each image's class", "attributes": "each image's attributes", "image": "an image for each"}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained model and the images to measure it by.

    Attributes:
        opened: the model.
        data: what `dataset` was loaded from.
        dataset: all splits, of the model's own shape; a measurement may fit something to `dataset.train`.
        split: the name of the split that `images` are of.
        images: those to measure by, at least one.
        judge_file: what images are compared by, where somebody gave a net of their own.
    """

    opened: Opened
    data: DataOptions
    dataset: Dataset
    split: str
    images: Split
    judge_file: FileJudge | None = None

    @property
    def model(self) -> Model:
        """In evaluation mode, on `device`."""
        return self.opened.model

    @property
    def device(self) -> torch.device:
        return self.opened.device

    @property
    def kind(self) -> str:
        """The model's name: `vae`."""
        return self.opened.kind

    @cached_property
    def data_digest(self) -> str:
        """`Dataset.digest` of the images."""
        return self.dataset.digest()

    @property
    def own(self) -> bool:
        """Whether these are the images that the model was trained on: by content, whatever the set is called."""
        same = self.opened.description.is_of(self.data_digest)
        return self.data == self.opened.data_options() if same is None else same

    @property
    def conditions(self) -> dict[str, str | int | float]:
        """What every figure of it depends on."""
        return {"dataset": self.dataset.name, "split": self.split, "resolution": str(self.model.image)}

    @property
    def lacking(self) -> dict[str, str]:
        """What a figure of classes depends on besides, where no image is of one: it says nothing of that class."""
        splits = {self.split: self.images, "training": self.dataset.train}
        found = {name: self.dataset.lacking(split) for name, split in splits.items()}
        return {f"no {name} image of class": classes for name, classes in found.items() if classes}

    @property
    def given(self) -> dict[str, str | int | float]:
        """What a figure of codes or images depends on besides, where the model takes a condition."""
        return {} if self.model.condition is None else {"given": TOLD[self.model.condition.kind]}

    def judge(self, target: str = "classes") -> Judge | LeftOut:
        """The classifier of these images (`judge.of`), trained first if there is none yet; or why there is none."""
        from genkit.evaluate import judge  # which imports all that training needs

        return judge.of(self.data, self.device, target)

    def classifier(self) -> Judge | LeftOut:
        """The judge of classes, or else of attributes; or why there is none."""
        found = self.judge() if len(self.dataset.classes) > 1 else self.judge("attributes")
        if isinstance(found, LeftOut):
            return LeftOut("judge", f"{self.dataset.name} has neither classes nor attributes for a classifier to learn")
        return found

    def extractor(self) -> Extractor | LeftOut:
        """What images are compared by; or why there is nothing.

        The net that was given; or else the classifier; or, of images without labels, the self-supervised net, which is
        trained first if there is none yet.
        """
        if self.judge_file is not None:
            return self.judge_file
        if len(self.dataset.classes) > 1 or self.dataset.attributes:
            return self.classifier()
        from genkit.evaluate import self_supervised

        return self_supervised.of(self.data, self.device)


@dataclass(frozen=True)
class Asked:
    """What a person can choose of a measurement.

    Attributes:
        k: codes an image of the importance-weighted likelihood.
        nll_images: images that it is measured by, at most; evenly spaced.
        seed: of all noise.
        samples: how many are held against real images; None for as many as there are real images in two halves.
        expressions: sums of attributes to judge, `a - b + c`.
    """

    k: int = 5000
    nll_images: int = 1000
    seed: int = 0
    samples: int | None = None
    expressions: tuple[str, ...] = ()


def progress(what: str, total: float, unit: str = "images") -> tqdm:
    """A bar on stderr that leaves nothing behind; silent where stderr is no terminal."""
    return tqdm(
        desc=what,
        total=total,
        unit=f" {unit}",
        disable=None,
        leave=False,
        dynamic_ncols=True,
        bar_format="{l_bar}{bar}| {n:.0f}/{total_fmt} [{elapsed}<{remaining}]",
    )
