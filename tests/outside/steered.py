"""Somebody else's generator of classes, whose sampling has options of its own.

It has no encoder, and its prior differs from class to class.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genkit import contract
from genkit.contract import Batch, Condition, GenerativeModel, ImageShape, Phase
from genkit.errors import UsageError


class Steered(GenerativeModel):
    class Options(contract.Options):
        latent_dim: contract.LatentDim = 4
        classes: Annotated[int, contract.filled_in("How many classes there are.")] = 0

    class Sampling(contract.SamplingOptions):
        steps: Annotated[int, Field(ge=1, le=100, description="Steps of the solver.")] = 2
        guidance: Annotated[float, Field(ge=0, le=10, description="How much the class counts.")] = 1.0

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        self.means = nn.Embedding(options.classes, image.numbers)
        self.net = nn.Linear(options.latent_dim, image.numbers)
        self.starts = nn.Buffer(torch.arange(options.classes)[:, None].float() - options.classes / 2)

    @classmethod
    def condition_for(cls, options: Any) -> Condition:
        return Condition("class", options.classes)

    @classmethod
    def options_for(cls, options: Any, dataset: Any) -> Any:
        if dataset.train.labels is None:
            raise UsageError(f"{dataset.name} has no classes")
        return options.model_copy(update={"classes": len(dataset.classes)})

    def phases(self) -> list[Phase]:
        return [Phase("", self, self.losses, self.options.optimizer())]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        labels = self.condition_of(batch)
        z = self.prior(torch.randn(len(batch.images), self.options.latent_dim), labels)
        return {"loss": F.mse_loss(self.decode(z, labels), batch.images)}

    def features(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        return images.flatten(1)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        drawn = torch.zeros(len(z), self.image.numbers)
        for _ in range(self.sampling.steps):
            drawn = drawn + (self.sampling.guidance * self.means(condition) + self.net(z)) / 10
        return drawn.sigmoid().unflatten(1, tuple(self.image))

    def prior(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return noise + self.starts[condition]
