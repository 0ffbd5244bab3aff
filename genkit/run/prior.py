"""What is measured on training images outside of training's steps: before the first, what a model begins with; before
it is drawn from or kept, the prior of a model whose training gives it none.
"""

from __future__ import annotations

import torch

from genkit import device
from genkit.contract import Model, ability
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.step.passes import evaluation_batch

#: Training images that either is measured on.
IMAGES = 10_000


class PriorFit:
    """Fits a model's prior to training images, once a step.

    Args:
        train: the training images.
        where: the model's device.
        seed: of what the fit draws.
        beside: training images of the second set, where there is one.
    """

    def __init__(self, train: Split, where: torch.device, seed: int, beside: Split | None = None):
        self.train, self.where, self.seed, self.beside = train, where, seed, beside
        self.fitted_at: int | None = None

    @torch.no_grad()
    def fit(self, model: Model, step: int) -> None:
        """Fit the prior, where there is one, to the model as it is after this step."""
        model.eval()
        if not ability.generates(model) or self.fitted_at == step:
            return
        self.fitted_at = step
        chosen = self.train.take(self.train.spread(IMAGES))
        # A checkpoint more or less must not change what training draws next.
        with device.seeded(self.seed, self.where):
            model.fit_prior(in_order(chosen, evaluation_batch(model.image), self.where, self.beside))


@torch.no_grad()
def measure(model: Model, train: Split, where: torch.device, seed: int, beside: Split | None = None) -> None:
    """Let a model measure what it begins with (`Model.begin_on`) on training images.

    Args: as of `PriorFit`.
    """
    if type(model).begin_on is Model.begin_on:
        return
    chosen = train.take(train.spread(IMAGES))
    model.eval()
    with device.seeded(seed, where):
        model.begin_on(in_order(chosen, evaluation_batch(model.image), where, beside))
