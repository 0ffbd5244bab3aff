"""Deep convolutional GAN, at any image size, with the paper's recipe or a steadier default.

After Radford, Metz and Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
networks" (ICLR 2016). The default replaces the discriminator's batchnorm by spectral norm (Miyato et al., ICLR 2018),
shows it how far the batch spreads, and averages the generator's weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from genkit import contract, nets
from genkit.contract import Batch, Fault, GenerativeModel, ImageShape, Phase

#: What `--recipe paper` sets where nothing else is said.
PAPER = {
    "width": 128,
    "batch_size": 128,
    "lr": 2e-4,
    "critic_norm": "batch",
    "latent": "uniform",
    "ema": 0.0,
    "schedule": "constant",
    "lr_warmup": 0.0,
    "epochs": 25,
}

#: When `watch` speaks: the discriminator's doubt of real images, and its belief in samples; the diversity of samples,
#: of what it was and of what it is in three validations.
SATURATED = 0.02
COLLAPSED = 0.5


class DCGAN(GenerativeModel):
    class Options(contract.Options):
        recipe: Annotated[
            Literal["default", "paper"],
            Field(description="`paper` sets the paper's recipe wherever nothing else is given."),
        ] = "default"
        latent_dim: contract.LatentDim = 100
        latent: Annotated[
            Literal["normal", "uniform"], Field(description="Prior of each latent number: N(0, 1) or U(-1, 1).")
        ] = "normal"
        width: nets.ConvWidth = 32
        critic_norm: Annotated[
            Literal["spectral", "batch"], Field(description="What keeps the discriminator in bounds.")
        ] = "spectral"
        lr: contract.LearningRate = 1e-3
        critic_lr: Annotated[
            float | None,
            Field(
                gt=0,
                le=10,
                description="The discriminator's own learning rate.",
                json_schema_extra={"none": "as --lr"},
            ),
        ] = None
        beta1: contract.Beta1 = 0.5
        epochs: contract.Epochs = 10
        batch_size: contract.BatchSize = 64
        ema: contract.Ema = 0.995
        schedule: contract.Schedule = "constant"
        lr_warmup: contract.LrWarmup = 0.0

        @model_validator(mode="before")
        @classmethod
        def _recipe(cls, given: Any) -> Any:
            if isinstance(given, dict) and given.get("recipe") == "paper":
                return {**PAPER, **given}
            return given

    monitor = "sliced_wasserstein"
    opens = "last"

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        levels = max(1, round(math.log2(min(image.height, image.width) / 4)))
        self.generator = Generator(image, options.width, options.latent_dim, levels)
        self.critic = Critic(image, options.width, levels, options.critic_norm)

    def phases(self) -> list[Phase]:
        optimizer = self.options.optimizer()
        critic_optimizer = {**optimizer, "lr": self.options.critic_lr or self.options.lr}
        return [
            Phase("generator", self.generator, self.generator_losses, optimizer),
            Phase("critic", self.critic, self.critic_losses, critic_optimizer),
        ]

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """Binary cross-entropy of telling real from fake, on logits; 2 ln 2 when the discriminator is at a loss."""
        on_real, on_fake = self.critic(batch.images), self.critic(batch.earlier["samples"])
        return {
            "loss": F.softplus(-on_real).mean() + F.softplus(on_fake).mean(),
            "real": on_real.detach().sigmoid().mean(),
            "fake": on_fake.detach().sigmoid().mean(),
        }

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The non-saturating loss, −ln D(G(z)); ln 2 when the discriminator is at a loss.

        Its samples are handed to the discriminator's phase, which would else have to make others.
        """
        samples = self.generator(self.draw(batch))
        return {"loss": F.softplus(-self.critic(samples)).mean(), "samples": samples}

    def watch(self, history: Sequence[Mapping[str, float]]) -> Mapping[str, Fault]:
        """A discriminator that is never fooled teaches nothing; a generator that repeats itself has collapsed.

        Samples are alike before the generator has learned much: a collapse is diversity that falls, or never comes.
        """
        real, fake = history[-1]["critic/real"], history[-1]["critic/fake"]
        diversity = [metrics["diversity"] for metrics in history if "diversity" in metrics]
        options, found = self.options, {}
        spectral = [] if options.critic_norm == "spectral" else ["--critic-norm spectral"]
        if real > 1 - SATURATED and fake < SATURATED:
            found["saturated discriminator"] = Fault(
                f"it takes real images for real with {real:.1%}, and samples with {fake:.1%}, which leaves the "
                "generator no gradient",
                [*spectral, f"a lower --critic-lr (it is {options.critic_lr or options.lr:g})"],
            )
        fallen = bool(diversity) and diversity[-1] < COLLAPSED * max(diversity)
        if fallen or (len(diversity) >= 3 and max(diversity[-3:]) < COLLAPSED):
            best = f" (it was up to {max(diversity):.2f} times)" if max(diversity) > diversity[-1] else ""
            found["mode collapse"] = Fault(
                f"a sample is {diversity[-1]:.2f} times as far from its nearest other sample as a real image from its "
                f"nearest{best}",
                [
                    f"a larger --batch-size (it is {options.batch_size})",
                    f"a lower --lr (it is {options.lr:g})",
                    *spectral,
                ],
            )
        return found

    def draw(self, batch: Batch) -> Tensor:
        """As many fresh codes from the prior as the batch has images."""
        return self.prior(torch.randn(len(batch.images), self.options.latent_dim, device=batch.images.device))

    def decode(self, z: Tensor) -> Tensor:
        return self.generator(z)

    def prior(self, noise: Tensor) -> Tensor:
        # erf(x / √2) is the normal's cumulative distribution stretched to (-1, 1), so it makes normal noise uniform.
        return torch.erf(noise / math.sqrt(2)) if self.options.latent == "uniform" else noise

    def features(self, images: Tensor) -> Tensor:
        """The discriminator's last convolution, flattened."""
        return self.critic.layers(2 * images - 1)

    def representation(self, images: Tensor) -> Tensor:
        """The paper's: each convolution of the discriminator, max-pooled to 4×4, all in one row."""
        return nets.pooled_layers(self.critic.maps(images))

    def keep_features(self) -> None:
        del self.generator, self.critic.head


def normal_init(module: nn.Module) -> None:
    """The paper's initial weights: N(0, 0.02), batchnorm's gain N(1, 0.02), no bias."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)
    if getattr(module, "bias", None) is not None:
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


class Generator(nn.Module):
    """Codes (B, latent_dim) to images (B, C, H, W) in [0, 1]."""

    def __init__(self, image: ImageShape, width: int, latent_dim: int, levels: int):
        super().__init__()
        sizes, channels = nets.pyramid(image, levels), nets.widths(width, levels)
        shape = (channels[-1], *sizes[-1])
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, ImageShape(*shape).numbers, bias=False),
            nn.Unflatten(1, shape),
            nn.BatchNorm2d(channels[-1]),
            nn.ReLU(),
        ]
        for level in reversed(range(1, levels)):
            layers += [
                nets.double(channels[level], channels[level - 1], sizes[level], bias=False),
                nn.BatchNorm2d(channels[level - 1]),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nets.double(channels[0], image.channels, sizes[0]), nn.Tanh())
        self.apply(normal_init)

    def forward(self, z: Tensor) -> Tensor:
        return (self.layers(z) + 1) / 2


class Critic(nn.Module):
    """Images (B, C, H, W) in [0, 1] to the logits (B,) of being real.

    Args:
        norm: "batch" normalises by the batch, as the paper does. "spectral" normalises the weights; since the
            discriminator then no longer sees the batch as a whole, each feature's standard deviation over the batch is
            handed to its last layer (after Karras et al., ICLR 2018, who hand over their mean), or a generator that
            favours a few classes would go unnoticed.
    """

    def __init__(self, image: ImageShape, width: int, levels: int, norm: str):
        super().__init__()
        sizes, channels = nets.pyramid(image, levels), [image.channels, *nets.widths(width, levels)]
        layers: list[nn.Module] = []
        for level in range(levels):
            batchnorm = norm == "batch" and level > 0
            layers.append(nets.halve(channels[level], channels[level + 1], sizes[level], bias=not batchnorm))
            layers += [nn.BatchNorm2d(channels[level + 1])] if batchnorm else []
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.sees_spread = norm == "spectral"
        features = ImageShape(channels[-1], *sizes[-1]).numbers
        self.head = nn.Linear(2 * features if self.sees_spread else features, 1)
        if norm == "batch":
            self.apply(normal_init)
        else:
            for module in [*self.layers, self.head]:
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.orthogonal_(module.weight)
                    spectral_norm(module)

    def forward(self, images: Tensor) -> Tensor:
        features = self.layers(2 * images - 1)
        if self.sees_spread:
            spread = features.std(0, unbiased=False)
            features = torch.cat([features, spread.expand_as(features)], 1)
        return self.head(features).flatten().to(images.dtype)

    def maps(self, images: Tensor) -> list[Tensor]:
        """What each convolution makes of images (B, C, H, W), after its activation, the outermost first."""
        found, hidden = [], 2 * images - 1
        for layer in self.layers:
            hidden = layer(hidden)
            if isinstance(layer, nn.LeakyReLU):
                found.append(hidden)
        return found
