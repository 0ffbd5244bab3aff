"""Somebody else's autoencoder that is told an image's brightness."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genkit import contract
from genkit.contract import Batch, Condition, GenerativeModel, ImageShape, Phase


class Coloured(GenerativeModel):
    class Options(contract.Options):
        latent_dim: contract.LatentDim = 4

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        self.encoder = nn.Linear(2 * image.numbers, options.latent_dim)
        self.decoder = nn.Linear(options.latent_dim + image.numbers, image.numbers)

    @classmethod
    def condition_for(cls, options: Any) -> Condition:
        return Condition("image")

    def condition_of(self, batch: Batch) -> Tensor:
        return batch.images.mean(1, keepdim=True).expand_as(batch.images)

    def phases(self) -> list[Phase]:
        return [Phase("", self, self.losses, self.options.optimizer())]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        told = self.condition_of(batch)
        return {"loss": F.mse_loss(self.decode(self.encode(batch.images, told), told), batch.images)}

    def encode(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.encoder(torch.cat([images.flatten(1), condition.flatten(1)], 1))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.decoder(torch.cat([z, condition.flatten(1)], 1)).sigmoid().unflatten(1, tuple(self.image))

    def prior(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return noise
