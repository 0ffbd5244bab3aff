"""Somebody else's generator of classes, without an encoder, whose decoder a page can calculate."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genkit import contract
from genkit.contract import Batch, Condition, GenerativeModel, ImageShape, Phase


class Drawn(GenerativeModel):
    class Options(contract.Options):
        latent_dim: contract.LatentDim = 2
        classes: Annotated[int, contract.filled_in("How many classes there are.")] = 0

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        self.net = nn.Linear(options.latent_dim + options.classes, image.numbers)

    @classmethod
    def condition_for(cls, options: Any) -> Condition:
        return Condition("class", options.classes)

    @classmethod
    def options_for(cls, options: Any, dataset: Any) -> Any:
        return options.model_copy(update={"classes": len(dataset.classes)})

    def phases(self) -> list[Phase]:
        return [Phase("", self, self.losses, self.options.optimizer())]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        z = self.prior(torch.randn(len(batch.images), self.options.latent_dim, device=batch.images.device))
        return {"loss": F.mse_loss(self.decode(z, self.condition_of(batch)), batch.images)}

    def features(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        return images.flatten(1)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        rows = (condition[:, None] == torch.arange(self.options.classes, device=z.device)).to(z.dtype)
        return self.net(torch.cat([z, rows], 1)).sigmoid().unflatten(1, tuple(self.image))

    def prior(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return noise
