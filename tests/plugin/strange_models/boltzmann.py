"""Two restricted Boltzmann machines, one after the other: the second learns the first's hidden units.

After Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets" (Neural Computation, 2006), by
contrastive divergence of one step and SGD with momentum.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genkit import contract, nets
from genkit.contract import Batch, GenerativeModel, ImageShape, Phase

Share = Annotated[float, Field(gt=0, lt=1, description="Share of the run after which the second machine takes over.")]


class RBM(nn.Module):
    """A machine of binary units, of which this many are visible and hidden."""

    def __init__(self, visible: int, hidden: int):
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(hidden, visible))
        self.visible_bias, self.hidden_bias = nn.Parameter(torch.zeros(visible)), nn.Parameter(torch.zeros(hidden))

    def up(self, visible: Tensor) -> Tensor:
        return F.linear(visible, self.weight, self.hidden_bias).sigmoid()

    def down(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.weight.T, self.visible_bias).sigmoid()

    def free_energy(self, visible: Tensor) -> Tensor:
        return -visible @ self.visible_bias - F.softplus(F.linear(visible, self.weight, self.hidden_bias)).sum(1)

    def losses(self, visible: Tensor) -> dict[str, Tensor]:
        """What has the gradient of one step of contrastive divergence, and the error of that step."""
        with torch.no_grad():
            back = self.down(torch.bernoulli(self.up(visible)))
        loss = self.free_energy(visible).mean() - self.free_energy(back).mean()
        return {"loss": loss, "error": (back - visible).square().sum(1).mean()}


class DeepBeliefNet(GenerativeModel):
    class Options(contract.Options):
        latent_dim: contract.LatentDim = 16
        width: Annotated[int, Field(ge=1, le=4096, description="Hidden units of the first machine.")] = 64
        first: Share = 0.5
        lr: contract.LearningRate = 0.05
        momentum: Annotated[float, Field(ge=0, lt=1, description="Of the gradient descent.")] = 0.5

    monitor = "second/error"

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        self.first = RBM(image.numbers, options.width)
        self.second = RBM(options.width, options.latent_dim)
        self.codes = nets.FittedGaussian(options.latent_dim)

    def phases(self) -> list[Phase]:
        given = self.options
        descent: dict[str, Any] = {"kind": "sgd", "lr": given.lr, "momentum": given.momentum}
        return [
            Phase(
                "first", self.first, lambda batch: self.first.losses(batch.images.flatten(1)), descent, ends=given.first
            ),
            Phase("second", self.second, self.second_losses, descent, begins=given.first),
        ]

    def second_losses(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            hidden = self.first.up(batch.images.flatten(1))
        return self.second.losses(hidden)

    def encode(self, images: Tensor) -> Tensor:
        return self.second.up(self.first.up(images.flatten(1)))

    def decode(self, z: Tensor) -> Tensor:
        return self.first.down(self.second.down(z)).unflatten(1, tuple(self.image))

    def prior(self, noise: Tensor) -> Tensor:
        return self.codes(noise)

    def fit_prior(self, batches: Iterable[Batch]) -> None:
        self.codes.fit(torch.cat([self.encode(batch.images) for batch in batches]))
