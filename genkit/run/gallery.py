"""What is drawn: the images that a run should learn, and what its model makes of noise and of them meanwhile."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from genkit.contract import GenerativeModel, Model, ability
from genkit.data.dataset import Dataset, Split
from genkit.keep.rundir import RunDirectory
from genkit.latent import images, sampling
from genkit.run.curves import Curves
from genkit.step import passes

#: Images in a picture.
COUNT = 64


class Gallery:
    """Draws a run's pictures, as files of the run and in TensorBoard.

    Args:
        directory: the run's.
        curves: of the run.
        dataset: whose validation images are shown.

    Attributes:
        unsaved: the files that no checkpoint vouches for yet.
    """

    def __init__(self, directory: RunDirectory, curves: Curves, dataset: Dataset):
        self.directory, self.curves, self.dataset = directory, curves, dataset
        self.unsaved: list[Path] = []

    def draw_reals(self) -> None:
        """What the model should learn."""
        val = self.dataset.val
        self.show("reals", images.grid(val.images(val.spread(COUNT))), self.directory.path / "reals.png", 0)

    def draw(self, model: Model, step: int) -> None:
        """Samples from fixed noise, and fixed validation images with their reconstructions below them.

        Nothing of a model that makes no images.
        """
        for name, picture in pictures_of(model, self.dataset.val).items():
            self.show(name, picture, self.directory.path / f"{name}-{step:06d}.png", step)

    def show(self, name: str, picture: Tensor, path: Path, step: int) -> None:
        """A picture (C, H, W) as a file of the run and in TensorBoard, compressed once."""
        content = images.as_png(picture)
        images.save_png(path, content, parents=False)
        self.unsaved.append(path)
        self.curves.add_image(name, content, (picture.shape[2], picture.shape[1]), step)

    def handed_over(self) -> list[Path]:
        """The files that no checkpoint vouches for yet, for the one that now will."""
        handed, self.unsaved = self.unsaved, []
        return handed


@torch.no_grad()
def pictures_of(model: Model, val: Split) -> dict[str, Tensor]:
    """Grids (C, H, W) of samples from fixed noise, and of fixed validation images with their reconstructions below.

    Nothing of a model that makes no images.
    """
    model.eval()
    if not ability.generates(model):
        return {}
    pictures = {"samples": images.grid(samples(model, val, COUNT))}
    if ability.encodes(model):
        some = val.take(val.spread(COUNT // 2))
        originals, own = images.to_float(some.images()), passes.conditions_of(model, some, sampling.device_of(model))
        pairs = zip(originals.split(8), sampling.reconstruct(model, originals, own).split(8), strict=True)
        pictures["reconstructions"] = images.grid(torch.cat([row for pair in pairs for row in pair]), columns=8)
    return pictures


def samples(model: GenerativeModel, val: Split, count: int) -> Tensor:
    """Images (count, C, H, W) of the first seeds, each under its seed's own condition, where the model takes one.

    An image is a condition that a seed hasn't got: then they are those of validation images.
    """
    if model.condition is not None and model.condition.kind == "image":
        some = val.take(torch.arange(count) % len(val))
        condition = passes.conditions_of(model, some, sampling.device_of(model))
    else:
        condition = sampling.seed_conditions(model, range(count))
    return sampling.decode(model, sampling.seed_codes(model, range(count), condition), condition)
