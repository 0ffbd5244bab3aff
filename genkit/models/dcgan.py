"""Deep convolutional GAN, at any image size, with the paper's recipe, a steadier one, or residual nets.

After Radford, Metz and Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
networks" (ICLR 2016). `--recipe spectral` replaces the discriminator's batchnorm by spectral norm (Miyato et al., ICLR
2018), shows it how far the batch spreads, and averages the generator's weights. For colour and for few images there are
nets of residual blocks (`nets/adversarial.py`), the hinge loss (Lim and Ye 2017) and the relativistic one of pairs
(Jolicoeur-Martineau, ICLR 2019; Huang et al., NeurIPS 2024), gradient penalties R1 and R2 (Mescheder et al., ICML 2018)
and differentiable augmentation (Zhao et al., NeurIPS 2020).

With `condition` the generator is told an image's label or its attributes beside the code, and the discriminator holds
them against its features (projection: Miyato and Koyama, ICLR 2018).
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
from genkit.contract import Batch, Condition, Facts, Fault, GenerativeModel, ImageShape, Phase, Resolved, defaults
from genkit.contract.condition import labels_for, of_labels
from genkit.contract.images import TrainingImages
from genkit.contract.phase import uncompiled
from genkit.nets import adversarial
from genkit.nets.augment import Augmentations, augmented
from genkit.wording import counted

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

#: What `--recipe spectral` pins: the defaults, which else the images may change.
SPECTRAL = {
    "net": "conv",
    "width": 32,
    "batch_size": 64,
    "lr": 1e-3,
    "beta1": 0.5,
    "beta2": 0.999,
    "critic_norm": "spectral",
    "loss": "bce",
    "r1": 0.0,
    "r2": 0.0,
    "augment": (),
    "flips": False,
    "critic_steps": 1,
    "ema": 0.995,
    "schedule": "constant",
    "lr_warmup": 0.0,
}

#: What residual nets are trained with where nobody says otherwise, and images a step. After 160 seconds on one core the
#: kernel distance is 0.089 on the drawn faces (0.083 with three times r1), and 0.026 on photographs of CIFAR-10, where
#: real ones come to 0.015.
RESIDUAL: dict[str, Any] = {
    "critic_norm": "none",
    "r1": 1.0,
    "lr": 2e-3,
    "beta1": 0.0,
    "beta2": 0.99,
    "ema": 0.999,
}
RESIDUAL_BATCH = 32
#: Its widths at 32 pixels a side: the generator's at the images' own size, the discriminator's at half of it. Twice the
#: side has half of the width.
GENERATOR_WIDTH, CRITIC_WIDTH, LEAST_WIDTH = 16, 32, 8
#: Steps of its runs at least.
STEPS = 20_000
#: Fewer images than these are seen so often that a discriminator learns them by heart.
AUGMENTED_BELOW, FLIPPED_BELOW = 5_000, 30_000

RECIPES: dict[str, dict[str, Any]] = {"paper": PAPER, "spectral": SPECTRAL}

#: When `watch` speaks: the discriminator's doubt of real images, and its belief in samples, or the share that is left
#: of its hinge loss; the diversity of samples,
#: of what it was and of what it is in three validations.
SATURATED = 0.02
HINGE_AT_A_LOSS = 2.0
COLLAPSED = 0.5


class DCGAN(GenerativeModel):
    class Options(contract.Options):
        recipe: Annotated[
            Literal["default", "spectral", "paper"],
            Field(
                description="What is set wherever nothing else is given: `paper` the paper's recipe, `spectral` a "
                "steadier one of the same nets, `default` what suits the images."
            ),
        ] = "default"
        latent_dim: contract.LatentDim = 100
        latent: Annotated[
            Literal["normal", "uniform"], Field(description="Prior of each latent number: N(0, 1) or U(-1, 1).")
        ] = "normal"
        net: Annotated[
            Literal["conv", "residual"],
            Field(
                description="Generator and discriminator: the paper's strided convolutions, or residual blocks.",
                json_schema_extra={"default": "conv for digits, residual for others"},
            ),
        ] = "conv"
        width: nets.ConvWidth = 32
        critic_width: Annotated[
            int | None,
            Field(
                ge=1,
                le=1024,
                description="The discriminator's own width.",
                json_schema_extra={"none": "as --width"},
            ),
        ] = None
        critic_norm: Annotated[
            Literal["spectral", "batch", "none"],
            Field(
                description="What keeps the discriminator in bounds; `none` leaves it to --r1.",
                json_schema_extra={"default": "spectral, none with residual nets"},
            ),
        ] = "spectral"
        loss: Annotated[
            Literal["bce", "hinge", "relativistic"],
            Field(
                description="Cross-entropy of real against fake; hinge; or cross-entropy of which of a real image and "
                "a sample is real.",
            ),
        ] = "bce"
        r1: Annotated[
            float,
            Field(
                ge=0,
                le=1e6,
                description="Weight of the penalty on the discriminator's gradient at real images; 0: none.",
                json_schema_extra={"default": "0, 1 with residual nets"},
            ),
        ] = 0.0
        r2: Annotated[float, Field(ge=0, le=1e6, description="The same at samples.")] = 0.0
        penalty_every: Annotated[
            int,
            Field(
                ge=1,
                le=65536,
                description="Penalise the gradient of one image in so many, which costs and does on average what "
                "penalising all at every so many steps does.",
            ),
        ] = 8
        augment: Augmentations = ()
        critic_steps: Annotated[
            int, Field(ge=1, le=100, description="Steps of the discriminator for one of the generator.")
        ] = 1
        condition: Annotated[
            Literal["none", "label", "attributes"],
            Field(description="What both nets are told besides: an image's label, or its attributes."),
        ] = "none"
        classes: Annotated[int, contract.filled_in("How many classes are told; 0 where none are.")] = 0
        attributes: Annotated[
            dict[str, float], contract.filled_in("The attributes that are told, with their shares of the images.")
        ] = Field(default_factory=dict)
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
            if isinstance(given, dict) and given.get("recipe") in RECIPES:
                return {**RECIPES[given["recipe"]], **given}
            return given

        @model_validator(mode="after")
        def _has_its_norm(self) -> DCGAN.Options:
            if self.net == "residual" and self.critic_norm == "batch":
                raise ValueError("--critic-norm batch is of --net conv: give spectral or none with --net residual")
            return self

    monitor = "sliced_wasserstein"
    opens = "last"

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        levels = max(1, round(math.log2(min(image.height, image.width) / 4)))
        told = 0 if self.condition is None else self.condition.size
        self.generator: Generator | adversarial.Generator
        self.critic: Critic | adversarial.Critic
        critic_width = options.critic_width or options.width
        if options.net == "residual":
            self.generator = adversarial.Generator(image, options.width, options.latent_dim, levels, told)
            self.critic = adversarial.Critic(image, critic_width, levels, options.critic_norm == "spectral", told)
        else:
            self.generator = Generator(image, options.width, options.latent_dim + told, levels)
            self.critic = Critic(image, critic_width, levels, options.critic_norm, told)

    @classmethod
    def condition_for(cls, options: Any) -> Condition | None:
        return of_labels(options)

    @classmethod
    def defaults_for(cls, options: Any, images: Facts) -> Mapping[str, Resolved]:
        """Residual nets for all that isn't digits or line drawings, and what keeps few images from being learned by
        heart; nothing of a recipe that has a name but its length."""
        if options.recipe != "default":
            return defaults.budget(options, images)
        found: dict[str, Resolved] = {}
        digits = images.two_valued and not images.in_colour
        net = options.net
        batchnorm = options.critic_norm == "batch"  # which somebody has given, and residual nets haven't got
        if "net" not in options.model_fields_set and not digits and not batchnorm:
            net = "residual"
            found["net"] = Resolved(net, "images in colour" if images.in_colour else "images of many greys")
        if net == "residual":
            scale = min(images.shape.height, images.shape.width) / 32
            for name, width in (("width", GENERATOR_WIDTH), ("critic_width", CRITIC_WIDTH)):
                narrower = max(LEAST_WIDTH, round(width / max(1, scale) / 8) * 8)
                found[name] = Resolved(narrower, f"residual nets for images of {images.shape}")
            found.update({name: Resolved(value, "residual nets") for name, value in RESIDUAL.items()})
        how_many = f"only {counted(images.count, 'training image')}"
        if images.few or (images.count < AUGMENTED_BELOW and not digits):
            kinds = ("translation", "cutout") if digits else ("colour", "translation", "cutout")
            found["augment"] = Resolved(kinds, how_many)
        if images.count < FLIPPED_BELOW and not images.two_valued and options.condition != "attributes":
            found["flips"] = Resolved(True, f"{how_many}, neither drawings nor writing by their greys")
        if net == "residual":
            batch = Resolved(RESIDUAL_BATCH, "residual nets")
            return {**found, **defaults.training(options, images, STEPS, batch_size=batch)}
        return {**found, **defaults.training(options, images)}

    @classmethod
    def options_for(cls, options: Any, dataset: TrainingImages) -> Any:
        return options.model_copy(update=labels_for(options.condition, dataset))

    def begin_at(self, mean: Tensor) -> None:
        """The residual generator begins with samples of about the images' mean colour."""
        if self.options.net == "residual":
            nets.make_at_first(self.generator, mean, logits=True)

    def phases(self) -> list[Phase]:
        optimizer = self.options.optimizer()
        critic_optimizer = {**optimizer, "lr": self.options.critic_lr or self.options.lr}
        return [
            Phase("generator", self.generator, self.generator_losses, optimizer),
            Phase("critic", self.critic, self.critic_losses, critic_optimizer, steps=self.options.critic_steps),
        ]

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        """How ill the discriminator tells real from fake, and the penalty on its gradients.

        Cross-entropy is 2 ln 2 when it is at a loss, of pairs ln 2, the hinge loss 2. `real` is its belief in real
        images, `fake` in samples; of pairs, `real` is its belief in the real one of a real image and a sample.
        """
        told, samples = self.rows(self.condition_of(batch), batch.images), batch.earlier["samples"]
        on_real, on_fake = self.judged(batch.images, *told), self.judged(samples, *told)
        real, fake = on_real, on_fake
        if self.options.loss == "hinge":
            loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
        elif self.options.loss == "relativistic":
            loss = F.softplus(on_fake - on_real).mean()
            real, fake = on_real - on_fake, on_fake - on_real
        else:
            loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        penalties = {
            name: self.penalty(images, *told)
            for name, weight, images in (("r1", self.options.r1, batch.images), ("r2", self.options.r2, samples))
            if weight
        }
        for name, penalty in penalties.items():
            loss = loss + getattr(self.options, name) / 2 * penalty
        return {
            "loss": loss,
            "real": real.detach().sigmoid().mean(),
            "fake": fake.detach().sigmoid().mean(),
            **penalties,
        }

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The non-saturating loss, −ln D(G(z)), ln 2 when the discriminator is at a loss; of pairs the same; or the
        hinge loss's, −D(G(z)).

        Its samples are handed to the discriminator's phase, which would else have to make others.
        """
        told = self.rows(self.condition_of(batch), batch.images)
        samples = self.generator(self.with_told(self.draw(batch), *told))
        on_fake = self.judged(samples, *told)
        if self.options.loss == "hinge":
            loss = -on_fake.mean()
        elif self.options.loss == "relativistic":
            loss = F.softplus(self.judged(batch.images, *told) - on_fake).mean()
        else:
            loss = F.softplus(-on_fake).mean()
        return {"loss": loss, "samples": samples}

    def judged(self, images: Tensor, *told: Tensor) -> Tensor:
        """The discriminator's logits (B,) of images (B, C, H, W), which in training it sees augmented."""
        return self.critic(self.shown(images), *told)

    def shown(self, images: Tensor) -> Tensor:
        return augmented(images, self.options.augment) if self.critic.training else images

    @uncompiled
    def penalty(self, images: Tensor, *told: Tensor) -> Tensor:
        """The mean squared norm of the logits' gradient in images (B, C, H, W), taken as in [-1, 1], of some of them.

        Of a share of every batch instead of whole batches now and then (Karras et al., CVPR 2020): a step then needn't
        know its number, and all cost the same. Computed in float32, whatever the precision around it.
        """
        few = max(2, math.ceil(len(images) / self.options.penalty_every))  # a spread is of two at least
        with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
            seen = self.shown(images[:few].detach()).requires_grad_()
            logits = self.critic(seen, *(each[:few] for each in told))
            (slope,) = torch.autograd.grad(logits.sum(), seen, create_graph=True)
            return slope.square().sum((1, 2, 3)).mean() / 4

    def watch(self, history: Sequence[Mapping[str, float]]) -> Mapping[str, Fault]:
        """A discriminator that is never fooled teaches nothing; a generator that repeats itself has collapsed.

        Samples are alike before the generator has learned much: a collapse is diversity that falls, or never comes.
        """
        real, fake = history[-1]["critic/real"], history[-1]["critic/fake"]
        diversity = [metrics["diversity"] for metrics in history if "diversity" in metrics]
        options, found = self.options, {}
        spectral = ["--critic-norm spectral"] if options.critic_norm == "batch" else []
        calmer = [*spectral, "--augment colour,translation,cutout"] if not options.augment else spectral
        if options.critic_norm == "none" or options.r1:
            calmer = [*calmer, f"a larger --r1 (it is {options.r1:g})"]
        saturated = real > 1 - SATURATED and fake < SATURATED
        sure = f"it takes real images for real with {real:.1%}, and samples with {fake:.1%}"
        follows = "which leaves the generator no gradient"
        if options.loss == "relativistic":
            sure = f"of a real image and a sample it takes the real one for real with {real:.1%}"
        if options.loss == "hinge":  # has no gradient beyond its margin, long before its belief is near 0 and 1
            hinge = history[-1]["critic/loss"] - self.penalised(history[-1])
            saturated = hinge < HINGE_AT_A_LOSS * SATURATED
            sure = f"its hinge loss is {hinge:.3f}, and {HINGE_AT_A_LOSS:g} where it can't tell samples from images"
            follows = "so it learns nothing more"
        if saturated:
            found["saturated discriminator"] = Fault(
                f"{sure}, {follows}",
                [*calmer, f"a lower --critic-lr (it is {options.critic_lr or options.lr:g})"],
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
                    *calmer,
                ],
            )
        return found

    def penalised(self, metrics: Mapping[str, float]) -> float:
        """What of the discriminator's loss is penalties."""
        return sum(getattr(self.options, name) / 2 * metrics.get(f"critic/{name}", 0.0) for name in ("r1", "r2"))

    def draw(self, batch: Batch) -> Tensor:
        """As many fresh codes from the prior as the batch has images."""
        return self.prior(torch.randn(len(batch.images), self.options.latent_dim, device=batch.images.device))

    def rows(self, condition: Tensor | None, like: Tensor) -> tuple[Tensor, ...]:
        """A condition (B,) or (B, A) as what the nets are told, (B, size): of a class, zeros and a one; or nothing.

        Raises:
            TypeError: of a model that takes a condition, without one.
        """
        if self.condition is None:
            return ()
        if condition is None:
            raise TypeError(f"the model takes a condition ({self.condition.kind}) as one more argument")
        if self.condition.kind == "class":
            condition = condition[:, None] == torch.arange(self.condition.size, device=condition.device)
        return (condition.to(like.dtype),)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.generator(self.with_told(z, *self.rows(condition, z)))

    def with_told(self, z: Tensor, *told: Tensor) -> Tensor:
        """Codes (B, latent_dim) with what the generator is told (B, size) beside them, as loud as the whole code is.

        A class is one number of many, which among a hundred normal ones would hardly be heard at first.
        """
        if self.condition is None:
            return z
        ones = 1 if self.condition.kind == "class" else self.condition.size
        return torch.cat([z, *(math.sqrt(z.shape[1] / ones) * each for each in told)], 1)

    def prior(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        # erf(x / √2) is the normal's cumulative distribution stretched to (-1, 1), so it makes normal noise uniform.
        return torch.erf(noise / math.sqrt(2)) if self.options.latent == "uniform" else noise

    def features(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """The discriminator's last convolution, flattened."""
        return self.critic.features(images)

    def representation(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """The paper's: each convolution of the discriminator, max-pooled to 4×4, all in one row."""
        return nets.pooled_layers(self.critic.maps(images))

    def keep_features(self) -> None:
        del self.generator, self.critic.head
        if self.condition is not None:
            del self.critic.told


def normal_init(module: nn.Module) -> None:
    """The paper's initial weights: N(0, 0.02), batchnorm's gain N(1, 0.02), no bias."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)
    if getattr(module, "bias", None) is not None:
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


class Generator(nn.Module):
    """Codes (B, latent_dim), with what is told beside them, to images (B, C, H, W) in [0, 1]."""

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
        told: how many numbers it is told of an image besides.
        norm: "batch" normalises by the batch, as the paper does. "spectral" normalises the weights; since the
            discriminator then no longer sees the batch as a whole, each feature's standard deviation over the batch is
            handed to its last layer (after Karras et al., ICLR 2018, who hand over their mean), or a generator that
            favours a few classes would go unnoticed.
    """

    def __init__(self, image: ImageShape, width: int, levels: int, norm: str, told: int = 0):
        super().__init__()
        sizes, channels = nets.pyramid(image, levels), [image.channels, *nets.widths(width, levels)]
        layers: list[nn.Module] = []
        for level in range(levels):
            batchnorm = norm == "batch" and level > 0
            layers.append(nets.halve(channels[level], channels[level + 1], sizes[level], bias=not batchnorm))
            layers += [nn.BatchNorm2d(channels[level + 1])] if batchnorm else []
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.sees_spread = norm != "batch"
        features = ImageShape(channels[-1], *sizes[-1]).numbers
        self.head = nn.Linear(2 * features if self.sees_spread else features, 1)
        if told:
            self.told = adversarial.Projection(told, features)
        if norm == "batch":
            self.apply(normal_init)
        else:
            for module in [*self.layers, self.head]:
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.orthogonal_(module.weight)
                    if norm == "spectral":
                        spectral_norm(module)

    def forward(self, images: Tensor, *told: Tensor) -> Tensor:
        features = self.features(images)
        if self.sees_spread:
            logits = self.head(adversarial.with_spread(features, *told)).flatten()
        else:
            logits = self.head(features).flatten()
        for rows in told:
            logits = logits + self.told(rows, features)
        return logits.to(images.dtype)

    def features(self, images: Tensor) -> Tensor:
        """The last convolution, flattened: (B, F)."""
        return self.layers(2 * images - 1)

    def maps(self, images: Tensor) -> list[Tensor]:
        """What each convolution makes of images (B, C, H, W), after its activation, the outermost first."""
        found, hidden = [], 2 * images - 1
        for layer in self.layers:
            hidden = layer(hidden)
            if isinstance(layer, nn.LeakyReLU):
                found.append(hidden)
        return found
