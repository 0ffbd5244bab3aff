"""Flow matching: an ODE from noise to images, or to another model's codes; its code is the noise.

After Lipman et al., "Flow matching for generative modeling" (ICLR 2023), and Liu, Gong and Liu, "Flow straight and
fast" (ICLR 2023): on the straight way x(t) = (1 − t)·data + t·noise a net learns the velocity noise − data, of which
the ODE dx/dt = E[noise − data | x(t)] carries N(0, I) at t = 1 to the data at t = 0. `decode` solves it in few steps,
`encode` backwards. Noise levels σ = t / (1 − t), their spacing and the preconditioned output are those of Karras et
al., "Elucidating the design space of diffusion-based generative models" (NeurIPS 2022).

Grey values of 8 bits are spread evenly over their bins (Theis, van den Oord and Bethge, ICLR 2016), or images would
have no density, and their codes no N(0, I). With `--init-from` an autoencoder or a VAE, the same is trained on that
model's codes, which stays as it is: of a VAE, on samples of its posteriors, as Rombach et al., "High-resolution image
synthesis with latent diffusion models" (CVPR 2022), since means of directions that it doesn't use have no spread.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from genkit import contract, nets, registry
from genkit.contract import Batch, Condition, GenerativeModel, ImageShape, Phase, ability, defaults
from genkit.contract.condition import labels_for, of_labels
from genkit.contract.defaults import Facts, Resolved
from genkit.contract.images import TrainingImages
from genkit.errors import ModelError, UsageError

#: Grey values of an image, and the pixel that they are in [−1, 1].
LEVELS = 256
#: σ at which the ODE ends and begins backwards, of images and of codes, both standardised. A grey value's bin is about
#: 0.01 wide, whose edges are to be sharp.
LEAST_SIGMA, LEAST_CODE_SIGMA = 1e-4, 1e-3
#: σ from which on the net is told no more, and that of the solver's first step from pure noise.
MOST_SIGMA, FIRST_SIGMA = 60.0, 40.0
#: Karras et al.'s ρ: its root of σ is spaced evenly. Theirs is 7, of σ from 0.002; a bin's edges take further steps.
RHO = 12.0
#: ln σ in training: normal with this mean and deviation, and even over its whole range for this share of images.
MEAN_LEVEL, LEVEL_DEVIATION, EVEN = -0.7, 1.4, 0.25
#: σ at which the net's inner maps stand for an image.
FEATURES_SIGMA = 0.2
#: Units of the net for codes, by `width`.
UNITS = 8
#: Steps of a run where nobody says how long to train: of images, and of codes, with more of these a step.
FEWEST_STEPS, MOST_STEPS = 5_000, 8_000
CODE_STEPS, CODES_A_STEP = 8_000, 256

Solver = Literal["euler", "dpm", "midpoint", "heun", "rk4"]


class Body(BaseModel):
    """Another model whose codes the flow is of, with all that its architecture needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    options: dict[str, Any]
    codes: Annotated[int, Field(ge=1, le=2**20)]
    provider: registry.Provider | None = None

    @model_validator(mode="after")
    def _can_be_built(self) -> Body:
        """A checkpoint's or a configuration's may have been written by anybody."""
        try:
            kind = registry.find_again(self.model, self.provider)
        except ModelError:
            raise
        except UsageError:
            kind = Flow
        if kind is Flow or not (ability.has(kind, ability.ENCODES) and ability.has(kind, ability.GENERATES)):
            raise ValueError(f"{ascii(self.model)[:80]} is no model whose codes a flow could be of")
        kind.Options.model_validate(self.options)
        return self


class Flow(GenerativeModel):
    class Options(contract.Options):
        latent_dim: Annotated[
            int, contract.filled_in("Numbers in a code: as many as an image, or the codes, have.")
        ] = 1
        epochs: contract.Epochs = 6
        batch_size: contract.BatchSize = 64
        lr: contract.LearningRate = 1.5e-3
        lr_warmup: contract.LrWarmup = 0.2
        beta2: contract.Beta2 = 0.99
        grad_clip: contract.GradClip = 1.0
        ema: contract.Ema = 0.999
        width: Annotated[
            int,
            Field(
                ge=1,
                le=1024,
                description="Channels of the U-Net's first level; further levels have twice as many. Of a flow of "
                f"codes, {UNITS} times as many are the units of a layer.",
            ),
        ] = 48
        blocks: Annotated[int, Field(ge=1, le=16, description="Residual blocks of each further level, each way.")] = 2
        patch: Annotated[
            int | None,
            Field(
                ge=1,
                le=64,
                description="Side of the squares of pixels that the net sees as one position.",
                json_schema_extra={"none": f"as leaves {nets.MOST_SIDE} positions a side at most"},
            ),
        ] = None
        condition: Annotated[
            Literal["none", "label"], Field(description="What the net is told besides: an image's label.")
        ] = "none"
        unconditional: Annotated[
            float,
            Field(
                ge=0,
                le=1,
                description="With --condition: share of training images whose label isn't told, for guidance; with 0 "
                "there is none.",
            ),
        ] = 0.1
        classes: Annotated[int, contract.filled_in("How many classes are told; 0 where none are.")] = 0
        body: Annotated[Body | None, contract.filled_in("The model whose codes the flow is of; none of images.")] = None

    class Sampling(contract.SamplingOptions):
        solver: Annotated[
            Solver, Field(description="Of the ODE; midpoint and heun ask the net twice a step, rk4 four times.")
        ] = "dpm"
        steps: Annotated[int, Field(ge=1, le=10_000, description="Of the solver.")] = 25
        guidance: Annotated[
            float,
            Field(
                ge=0,
                le=100,
                description="Of a model with --condition: how far to go from no class to the class; 1 is the class's "
                "own distribution, more makes its images more typical.",
            ),
        ] = 1.0

    codes_are_noise = True

    mean: Tensor
    scale: Tensor
    measured: Tensor
    offsets: Tensor
    turns: Tensor
    signs: Tensor

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        size = image.numbers if options.body is None else options.body.codes
        self.options = options.model_copy(update={"latent_dim": size})
        classes = 0 if self.condition is None else self.condition.size
        self.body: GenerativeModel | None = None
        if options.body is None:
            patch = options.patch or nets.patch_for(image.height, image.width)
            # It sees an image, and how far it is from black and white; and says as many numbers of each pixel.
            shape = (3 * image.channels, 3 * image.channels, image.height, image.width)
            self.net: nn.Module = nets.UNet(
                *shape, channels=options.width, blocks=options.blocks, classes=classes, patch=patch
            )
            self.shape, self.least_sigma = tuple(image), LEAST_SIGMA
            self.register_buffer("mean", torch.zeros(image.channels, 1, 1))
            self.register_buffer("scale", torch.ones(1, 1, 1))
            for name, values in bin_noise(image.numbers).items():
                self.register_buffer(name, values)
        else:
            self.body = build_body(image, options.body).eval().requires_grad_(False)
            self.net = nets.ResidualMLP(size, UNITS * options.width, options.blocks + 1, classes)
            self.shape, self.least_sigma = (size,), LEAST_CODE_SIGMA
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("scale", torch.ones(size))
        self.register_buffer("measured", torch.zeros(()))

    # -- what the images say -------------------------------------------------------------------------------------------

    @classmethod
    def condition_for(cls, options: Any) -> Condition | None:
        return of_labels(options)

    @classmethod
    def defaults_for(cls, options: Any, images: Facts) -> Mapping[str, Resolved]:
        """Steps enough, by how many images there are; more images a step where the net is a small one of codes."""
        if options.body is None:
            flips = {}
            if images.few and not images.two_valued and "flips" not in options.model_fields_set:
                flips["flips"] = Resolved(True, f"only {images.count:,} training images, which aren't line drawings")
            return {**flips, **defaults.training(options, images, FEWEST_STEPS, MOST_STEPS)}
        found: dict[str, Resolved] = {}
        size = options.batch_size
        if "batch_size" not in options.model_fields_set:
            size = defaults.batch_size_for(images.count, CODES_A_STEP)
            found["batch_size"] = Resolved(size, "a flow of codes, of which a step takes little")
        return {**found, **defaults.budget(options, images, CODE_STEPS, CODE_STEPS, size)}

    @classmethod
    def options_for(cls, options: Any, dataset: TrainingImages) -> Any:
        classes = labels_for(options.condition, dataset, attributes=False)["classes"]
        size = dataset.shape.numbers if options.body is None else options.body.codes
        return options.model_copy(update={"classes": classes, "latent_dim": size})

    @classmethod
    def options_from(cls, source: GenerativeModel) -> dict[str, Any] | None:  # type: ignore[override]
        if isinstance(source, cls):
            return super().options_from(source)
        kind = registry.name_of(type(source))
        if not (ability.encodes(source) and ability.generates(source)):
            raise UsageError(f"--init-from: a {kind} has no encoder and decoder, between which codes could be drawn")
        if source.condition is not None:
            raise UsageError(f"--init-from: this {kind} takes a condition; give one without")
        own = source.options.model_dump(mode="json", exclude=set(contract.TRAINING_FIELDS))
        provider = asdict(registry.provider_of(kind))
        return {"body": {"model": kind, "options": own, "codes": source.options.latent_dim, "provider": provider}}

    def weights_from(self, source: Any) -> Mapping[str, Tensor]:
        if isinstance(source, Flow):
            return super().weights_from(source)
        return {f"body.{name}": value for name, value in source.state_dict().items()}

    @torch.no_grad()
    def begin_on(self, batches: Iterable[Batch]) -> None:
        """Take mean and spread of images, or of each number of the codes, by which they are standardised."""
        if self.measured:  # by the flow that this one begins with
            return
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for batch in batches:
            values = self.data(batch.images, torch.rand_like(batch.images)).cpu().double()
            over = (0, 2, 3) if self.body is None else (0,)
            count, total = count + values.numel() // self.mean.numel(), total + values.sum(over)
            squares = squares + values.square().sum(over)
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=1e-4)
        self.mean.copy_(mean.reshape(self.mean.shape))
        self.scale.copy_((variance.mean() if self.body is None else variance).sqrt().reshape(self.scale.shape))
        self.measured.fill_(1)

    # -- training ------------------------------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        return [Phase("", self.net, self.losses, self.options.optimizer())]

    def train(self, mode: bool = True) -> Flow:
        super().train(mode)
        if self.body is not None:
            self.body.eval()
        return self

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The squared error of the velocity, averaged over an image's numbers, at one noise level an image."""
        count, device = len(batch.images), batch.images.device
        with torch.no_grad():
            data = self.data(batch.images, torch.rand_like(batch.images)).to(batch.images.dtype)
            data = (data - self.mean) / self.scale
        noise = torch.randn_like(data)
        # Levels spread evenly over a batch make the loss less noisy (Kingma et al., NeurIPS 2021).
        places = (torch.arange(count, device=device) + torch.rand(count, device=device)) / count
        times = self.training_levels(places).sigmoid()
        t = times.reshape(-1, *[1] * (data.ndim - 1))
        condition = self.condition_of(batch)
        if condition is not None and self.net.training:
            untold = torch.rand(count, device=device) < self.options.unconditional
            condition = condition.masked_fill(untold, self.options.classes)
        found = self.velocity(torch.lerp(data, noise, t), times, condition)
        return {"loss": (found - (noise - data)).square().mean()}

    def training_levels(self, places: Tensor) -> Tensor:
        """ln σ of places (B,) in [0, 1), by the inverse of its distribution's two parts."""
        low, high = math.log(self.least_sigma), math.log(MOST_SIGMA)
        even = low + (high - low) * places / EVEN
        within = ((places - EVEN) / (1 - EVEN)).clamp(1e-4, 1 - 1e-4)
        normal = MEAN_LEVEL + LEVEL_DEVIATION * torch.special.ndtri(within)
        return torch.where(places < EVEN, even, normal.clamp(low, high))

    # -- the velocity --------------------------------------------------------------------------------------------------

    def velocity(self, x: Tensor, times: Tensor, condition: Tensor | None = None) -> Tensor:
        """E[noise − data | x(t)] of standardised x (B, …) at times (B,) in (0, 1], of classes (B,).

        The net's output stands for what is left of the velocity of Gaussian data (Karras et al.'s preconditioning). Of
        a pixel it also says how likely it is black or white, as most are in drawings: its velocity is known then, and
        is too steep at small σ for a net to learn, by the mean of what is left of a grey value's bin.
        """
        condition = self.told(x, condition)
        t = times.reshape(-1, *[1] * (x.ndim - 1))
        level = (times / (1 - times).clamp(min=1e-6)).clamp(max=MOST_SIGMA).log()
        size = (t.square() + (1 - t).square()).sqrt()
        if self.body is not None:
            return self.gaussian(x, t, size) - self.net(x / size, level, condition).to(x.dtype) / size
        # Positions of x in a bin's own units of noise, of black and of white.
        half, centres = self.bins()
        distances = [(x - (1 - t) * centre) / t for centre in centres]
        reach = half * (1 - t) / t
        seen = torch.cat([x / size, *(3 * torch.tanh(each / 3) for each in distances)], 1)
        rest, *odds = self.net(seen, level, condition).to(x.dtype).chunk(3, 1)
        found = [self.gaussian(x, t, size) - rest / size]
        logits = [torch.zeros_like(rest)]
        for distance, centre, logit in zip(distances, centres, odds, strict=True):
            found.append(distance - centre - half / t * mean_in_bin(distance, reach))
            logits.append(logit - 2 - 0.5 * (distance.abs() - reach).clamp(min=0).square())
        weights = torch.stack(logits).softmax(0)
        return (weights * torch.stack(found)).sum(0)

    def told(self, x: Tensor, condition: Tensor | None) -> Tensor | None:
        """The classes (B,) that the net is told: where none are given, the number behind the last, which is no class.

        None where it is told nothing.
        """
        if self.condition is None or condition is not None:
            return condition
        return torch.full((x.shape[0],), self.condition.size, device=x.device)

    @staticmethod
    def gaussian(x: Tensor, t: Tensor, size: Tensor) -> Tensor:
        """The velocity, were the data N(0, I)."""
        return x * (2 * t - 1) / size.square()

    def bins(self) -> tuple[Tensor, list[Tensor]]:
        """Half the width of a grey value's bin, and the centres of the first and the last one, standardised."""
        half = 1 / LEVELS
        return half / self.scale, [(side * (1 - half) - self.mean) / self.scale for side in (-1, 1)]

    def field(self, x: Tensor, time: float, condition: Tensor | None, guidance: float | None = None) -> Tensor:
        """The velocity (B, …) at one time, with classifier-free guidance (Ho and Salimans, 2022).

        Raises:
            UsageError: of guidance by a model that has always been told the class.
        """
        strength = self.sampling.guidance if guidance is None else guidance  # type: ignore[attr-defined]
        times = x.new_full((x.shape[0],), time)
        if strength != 1 and condition is not None and self.options.unconditional == 0:
            raise UsageError(
                "guidance: it was trained with --unconditional 0, so it doesn't know images of no class; leave it at 1"
            )
        if condition is None or strength == 0:
            return self.velocity(x, times)
        told = self.velocity(x, times, condition)
        return told if strength == 1 else torch.lerp(self.velocity(x, times), told, strength)

    # -- the ODE -------------------------------------------------------------------------------------------------------

    def times(self, steps: int) -> list[float]:
        """From 1, pure noise, down to the least σ: `steps` + 1 times, with the root of σ spaced evenly."""
        if steps == 1:
            return [1.0, time_of(self.least_sigma)]
        first, last = FIRST_SIGMA ** (1 / RHO), self.least_sigma ** (1 / RHO)
        return [1.0, *(time_of((first + (last - first) * each / (steps - 1)) ** RHO) for each in range(steps))][
            : steps + 1
        ]

    def solved(self, x: Tensor, times: Sequence[float], condition: Tensor | None) -> Tensor:
        """x (B, …) at the last of these times, from that at the first."""
        solver: Solver = self.sampling.solver  # type: ignore[attr-defined]
        return solve(lambda at, time: self.field(at, time, condition), x, times, solver)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        times = self.times(self.sampling.steps)  # type: ignore[attr-defined]
        x = self.solved(z.reshape(-1, *self.shape), times, condition) / (1 - times[-1])
        values = x * self.scale + self.mean
        if self.body is not None:
            return self.body.decode(values)
        return (((values + 1) * LEVELS - 1) / (2 * (LEVELS - 1))).clamp(0, 1)

    def encode(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """The noise (B, latent_dim) that the ODE comes from to these images (B, C, H, W).

        Of a flow of a VAE's codes, which is trained on samples of q(z|x), it begins at the posterior's mean, so that
        what comes back is the VAE's own reconstruction. Such noise isn't quite N(0, I): it is nearer to 0 in the
        directions that the VAE doesn't use, where all posteriors have the prior's variance and their means hardly any.
        """
        times = self.times(self.sampling.steps)[::-1]  # type: ignore[attr-defined]
        if self.body is None:
            data = self.data(images, self.places_in_bins(images))
        else:
            data = self.body.encode(images)  # type: ignore[operator]
        x = (data - self.mean) / self.scale * (1 - times[0])
        return self.solved(x, times, condition).flatten(1)

    def prior(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return noise

    def data(self, images: Tensor, places: Tensor) -> Tensor:
        """What the flow is of, before it is standardised: images spread over their bins, in [−1, 1]; or codes (B, D).

        Args:
            images: (B, C, H, W) in [0, 1].
            places: of each pixel in its grey value's bin, in [0, 1), of the same shape.
        """
        if self.body is None:
            return ((LEVELS - 1) * images + places) * (2 / LEVELS) - 1
        if ability.tells_likelihood(self.body):
            mean, log_variance = self.body.posterior(images)
            return torch.addcmul(mean, (log_variance / 2).exp(), torch.randn_like(mean))
        return self.body.encode(images)  # type: ignore[operator]

    def places_in_bins(self, images: Tensor) -> Tensor:
        """Where `encode` puts each pixel in its grey value's bin: as good as random, and a function of the image.

        In the middle of their bins, pixels that are black in every image would all have the code 0. The sum is of whole
        numbers, which no order of adding rounds, so that neither a batch's size nor another library changes it.
        """
        values = ((LEVELS - 1) * images).round().flatten(1)
        sums = values @ self.signs
        sums = sums - (sums / 1024).floor() * 1024
        places = self.offsets + sums[:, None] * self.turns
        return (places - places.floor()).clamp(1 / 512, 1 - 1 / 512).reshape(images.shape)

    # -- what else it can do -------------------------------------------------------------------------------------------

    def features(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """The net's innermost maps at a low noise level, pooled, as in Baranchuk et al. (ICLR 2022); of a flow of codes
        the codes.

        They know nothing of the condition, which they would else tell.
        """
        if self.body is not None:
            return self.body.features(images)
        t = time_of(FEATURES_SIGMA)
        x = (self.data(images, torch.full_like(images, 0.5)) - self.mean) / self.scale * (1 - t)
        _, centres = self.bins()
        size = math.sqrt(t * t + (1 - t) ** 2)
        distances = [3 * torch.tanh((x - (1 - t) * centre) / (3 * t)) for centre in centres]
        level = x.new_full((x.shape[0],), math.log(FEATURES_SIGMA))
        return self.net.features(torch.cat([x / size, *distances], 1), level, self.told(x, None))  # type: ignore[operator]

    def keep_features(self) -> None:
        if self.body is None:
            self.net.keep_features()  # type: ignore[operator]
        else:
            self.body.keep_features()
            del self.net

    def log_density(self, pixels: Tensor, probes: Tensor, steps: int, condition: Tensor | None = None) -> Tensor:
        """ln p(x) in nats of pixels (B, C, H, W), grey values from 0 to 256 with their place in the bin: (B,).

        By the instantaneous change of variables, d ln p(x(t)) / dt = −div v (Chen et al., NeurIPS 2018), whose trace is
        estimated by probes ε, as ε·∂v/∂x·ε (Hutchinson, 1990; Grathwohl et al., ICLR 2019). A Runge-Kutta step of
        fourth order is even in ln σ, in which v and its divergence change evenly.

        Args:
            probes: of ±1, (P, B, C, H, W), the same at every step.
            steps: of the solver, each of which asks the net four times a probe.

        Raises:
            UsageError: of a flow of codes, which has a density of those and none of images.
        """
        if self.body is not None:
            raise UsageError("it is a flow of codes, whose density says nothing of images")
        x = (pixels * (2 / LEVELS) - 1 - self.mean) / self.scale
        numbers = self.image.numbers
        volume = numbers * math.log(2 / LEVELS) - numbers * self.scale.log().mean()
        low, high = math.log(self.least_sigma), math.log(MOST_SIGMA)
        first = time_of(math.exp(low))
        state: tuple[Tensor, ...] = (x * (1 - first), torch.zeros(len(x), dtype=x.dtype, device=x.device))
        total = volume + numbers * math.log(1 - first)

        def slope(state: tuple[Tensor, ...], level: float) -> tuple[Tensor, ...]:
            time = time_of(math.exp(level))
            velocity, divergence = self.with_divergence(state[0], time, probes, condition)
            return velocity * (time * (1 - time)), divergence * (time * (1 - time))

        width = (high - low) / steps
        for number in range(steps):
            state = runge_kutta(slope, state, low + number * width, width)
        time = time_of(math.exp(high))
        # The rest of the way, to pure noise, is nearly straight: one step of Heun's.
        x, found = state
        velocity, divergence = self.with_divergence(x, time, probes, condition)
        last_velocity, last_divergence = self.with_divergence(x + (1 - time) * velocity, 1.0, probes, condition)
        x = x + (1 - time) / 2 * (velocity + last_velocity)
        found = found + (1 - time) / 2 * (divergence + last_divergence)
        normal = -0.5 * (x.double().square() + math.log(2 * math.pi)).flatten(1).sum(1)
        return normal + found.double() + total

    def with_divergence(
        self, x: Tensor, time: float, probes: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The velocity (B, …) at one time, and its divergence (B,) as the probes (P, B, …) estimate it."""
        with torch.enable_grad():
            at = x.detach().requires_grad_(True)
            velocity = self.field(at, time, condition, guidance=1.0)
            found = torch.zeros(len(x), dtype=x.dtype, device=x.device)
            for turn, probe in enumerate(probes):
                (product,) = torch.autograd.grad(velocity, at, probe, retain_graph=turn + 1 < len(probes))
                found = found + (product * probe).flatten(1).sum(1)
        return velocity.detach(), found / len(probes)


# ---------------------------------------------------------------------------------------------------------------------
# Solvers
# ---------------------------------------------------------------------------------------------------------------------


def log_sigma(time: float) -> float:
    """ln σ at a time in (0, 1)."""
    return math.log(time / (1 - time))


def time_of(sigma: float) -> float:
    """The time t at which the noise is σ = t / (1 − t) times the data."""
    return sigma / (1 + sigma)


def solve(field: Callable[[Tensor, float], Tensor], x: Tensor, times: Sequence[float], solver: Solver) -> Tensor:
    """Solve dx/dt = field(x, t) along times in (0, 1], from x (B, …) at the first to what it is at the last.

    Args:
        solver: "euler"; "dpm", the second-order multistep DPM-Solver++ of Lu et al. (2022), which asks once a step;
            "midpoint" and "heun", of second order, which ask twice; "rk4", of fourth order, which asks four times.
    """
    before: tuple[Tensor, float] | None = None
    for start, end in itertools.pairwise(times):
        width, here = end - start, field(x, start)
        if solver == "euler":
            step = here
        elif solver == "dpm":
            # What the data are taken for is carried on in a straight line in ln σ; pure noise has none.
            data = x - start * here
            if before is None or end >= 1:
                step = (here + field(x + width * here, end)) / 2
            elif before[1] >= 1:
                step = here
            else:
                ratio = (log_sigma(end) - log_sigma(start)) / (log_sigma(start) - log_sigma(before[1]))
                step = (x - torch.lerp(before[0], data, 1 + ratio / 2)) / start
            before = (data, start)
        elif solver == "midpoint":
            step = field(x + width / 2 * here, start + width / 2)
        elif solver == "heun":
            step = (here + field(x + width * here, end)) / 2
        else:
            second = field(x + width / 2 * here, start + width / 2)
            third = field(x + width / 2 * second, start + width / 2)
            step = (here + 2 * second + 2 * third + field(x + width * third, end)) / 6
        x = x + width * step
    return x


def runge_kutta(
    slope: Callable[[tuple[Tensor, ...], float], tuple[Tensor, ...]],
    state: tuple[Tensor, ...],
    at: float,
    width: float,
) -> tuple[Tensor, ...]:
    """One step of fourth order of several tensors at once."""

    def moved(by: tuple[Tensor, ...], share: float) -> tuple[Tensor, ...]:
        return tuple(each + share * width * slope for each, slope in zip(state, by, strict=True))

    first = slope(state, at)
    second = slope(moved(first, 0.5), at + width / 2)
    third = slope(moved(second, 0.5), at + width / 2)
    fourth = slope(moved(third, 1.0), at + width)
    slopes = zip(first, second, third, fourth, strict=True)
    return moved(tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in slopes), 1.0)


def mean_in_bin(distance: Tensor, reach: Tensor) -> Tensor:
    """The mean of N(distance, 1), cut to [−reach, reach], as a share of `reach`: in [−1, 1].

    Of narrow bins, where differences of the normal's functions lose their digits, the first term of its series; far
    outside, where it is hardly anybody's mean, that of a place nearer by.
    """
    wide = reach.clamp(min=0.05)
    near = torch.minimum(torch.maximum(distance, -wide - 3), wide + 3)
    lower, upper = -wide - near, wide - near
    mass = 0.5 * (torch.erf(upper / math.sqrt(2)) - torch.erf(lower / math.sqrt(2)))
    densities = (torch.exp(-0.5 * lower.square()) - torch.exp(-0.5 * upper.square())) / math.sqrt(2 * math.pi)
    inside = (near + densities / mass.clamp(min=1e-6)) / wide
    return torch.where(reach < 0.05, distance * reach / 3, inside).clamp(-1, 1)


def bin_noise(numbers: int) -> dict[str, Tensor]:
    """What `places_in_bins` draws of: a place and a turn in [0, 1) for each pixel, and a sign. The same everywhere."""

    # By NumPy, because torch without memory for weights would import its compiler for these functions.
    places = np.arange(1, numbers + 1, dtype=np.float64)

    def hashed(salt: float) -> np.ndarray:
        values = np.sin(places * 12.9898 + salt * 78.233) * 43758.5453
        return values - np.floor(values)

    found = {"offsets": hashed(1), "turns": hashed(2), "signs": np.where(hashed(3) < 0.5, -1.0, 1.0)}
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in found.items()}


def build_body(image: ImageShape, body: Body) -> GenerativeModel:
    """The model whose codes the flow is of, with random weights."""
    kind = registry.find(body.model)
    return kind(image, kind.Options.model_validate(body.options))  # type: ignore[return-value]
