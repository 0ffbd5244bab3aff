"""What a model measures on training images before its first step (`Model.begin_on`)."""

from __future__ import annotations

import torch

from genkit import device
from genkit.contract import Model
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.step.passes import evaluation_batch

#: Training images that it is measured on.
IMAGES = 10_000


@torch.no_grad()
def measure(model: Model, train: Split, where: torch.device, seed: int, beside: Split | None = None) -> None:
    """Let a model measure what it begins with, where it does; training's random generators stay as they were.

    Args:
        train: the training images.
        where: the model's device.
        seed: of what is drawn.
        beside: training images of the second set, where there is one.
    """
    if type(model).begin_on is Model.begin_on:
        return
    chosen = train.take(train.spread(IMAGES))
    model.eval()
    with device.seeded(seed, where):
        model.begin_on(in_order(chosen, evaluation_batch(model.image), where, beside))
