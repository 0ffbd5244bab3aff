"""Wasserstein GAN with a gradient penalty: five steps of its critic for one of its generator.

After Gulrajani et al., "Improved training of Wasserstein GANs" (NeurIPS 2017), with fully connected nets.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from genkit import contract
from genkit.contract import Batch, GenerativeModel, ImageShape, Phase


class WGANGP(GenerativeModel):
    class Options(contract.Options):
        latent_dim: contract.LatentDim = 16
        width: Annotated[int, Field(ge=1, le=4096, description="Units of each hidden layer.")] = 64
        penalty: Annotated[float, Field(ge=0, description="Weight of the gradient penalty.")] = 10.0
        critic_steps: Annotated[
            int, Field(ge=1, le=100, description="Steps of the critic for one of the generator.")
        ] = 5
        beta1: contract.Beta1 = 0.5
        schedule: contract.Schedule = "constant"

    monitor = "sliced_wasserstein"

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        width = options.width
        self.generator = nn.Sequential(
            nn.Linear(options.latent_dim, width),
            nn.ReLU(),
            nn.Linear(width, image.numbers),
            nn.Sigmoid(),
            nn.Unflatten(1, tuple(image)),
        )
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(image.numbers, width), nn.LeakyReLU(0.2))
        self.critic = nn.Sequential(self.hidden, nn.Linear(width, 1))

    def phases(self) -> list[Phase]:
        optimizer = self.options.optimizer()
        return [
            Phase("critic", self.critic, self.critic_losses, optimizer, steps=self.options.critic_steps),
            Phase("generator", self.generator, self.generator_losses, optimizer),
        ]

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Minus the estimated distance, and how far the critic's slope between real images and samples is from 1."""
        real, fake = batch.images, self.samples(batch).detach()
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = torch.lerp(real, fake, share).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        distance = self.critic(real).mean() - self.critic(fake).mean()
        return {"loss": self.options.penalty * penalty - distance, "distance": distance, "penalty": penalty}

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": -self.critic(self.samples(batch)).mean()}

    def samples(self, batch: Batch) -> Tensor:
        return self.generator(torch.randn(len(batch.images), self.options.latent_dim, device=batch.images.device))

    def decode(self, z: Tensor) -> Tensor:
        return self.generator(z)

    def prior(self, noise: Tensor) -> Tensor:
        return noise

    def features(self, images: Tensor) -> Tensor:
        """The critic's hidden layer."""
        return self.hidden(images)

    def keep_features(self) -> None:
        del self.generator, self.critic
