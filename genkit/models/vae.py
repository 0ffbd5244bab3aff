"""Variational autoencoder: fully connected, convolutional or residual; Bernoulli, Gaussian or discretised logistic.

After Kingma and Welling, "Auto-encoding variational Bayes" (ICLR 2014): a diagonal Gaussian posterior, sampled by
reparameterisation. The objective is summed over pixels and averaged over images, in nats, and is the same function in
training and evaluation.

With `shortcut` it begins as probabilistic PCA of the training images (Tipping and Bishop, 1999), whose encoder and
decoder are linear and known in closed form, and to which its nets add what isn't linear.

With `condition` it is the conditional one of Sohn, Lee and Yan, "Learning structured output representation using deep
conditional generative models" (NeurIPS 2015): encoder and decoder are told an image's label or its attributes, and the
prior of the code stays N(0, I).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from genkit import contract, nets
from genkit.contract import Batch, Condition, Facts, Fault, GenerativeModel, ImageShape, Phase, Resolved
from genkit.contract.condition import given, labels_for, of_labels
from genkit.contract.images import TrainingImages, TrainingStart
from genkit.distributions import (
    bernoulli_log_likelihood,
    bounded_log_variance,
    gaussian_kl,
    logistic_log_likelihood,
    logistic_scale,
)
from genkit.errors import UsageError
from genkit.models import _pictures

#: Numbers that the decoder gives at once in a validation with several codes an image: 128 MiB.
NUMBERS_AT_ONCE = 1 << 25
NOT_BINARY = "--binarize dynamic draws each pixel as 0 or 1, which --likelihood {0} isn't of: leave one of them out"


class VAE(GenerativeModel):
    class Options(contract.Options):
        latent_dim: contract.LatentDim = 20
        lr: contract.LearningRate = 4e-3
        beta2: contract.Beta2 = 0.99
        net: Annotated[
            Literal["mlp", "conv", "residual"],
            Field(description="Encoder and decoder: fully connected, plain convolutions, or residual blocks of them."),
        ] = "mlp"
        hidden: Annotated[nets.Widths, Field(description=f"Of --net mlp. {nets.WIDTHS_HELP}")] = (512, 256)
        width: Annotated[nets.ConvWidth, Field(description=f"Not of --net mlp. {nets.CONV_WIDTH_HELP}")] = 16
        activation: nets.Activation = "gelu"
        shortcut: nets.Shortcut = "none"
        likelihood: Annotated[
            Literal["bernoulli", "gaussian", "logistic"],
            Field(
                description="Of a pixel given the code: its grey value as a Bernoulli probability; a Gaussian density; "
                "or the probabilities of its 256 grey values, by a logistic whose scale each channel learns."
            ),
        ] = "bernoulli"
        sigma: Annotated[
            float | None,
            Field(
                gt=0,
                le=1,
                description="Standard deviation of the Gaussian or logistic likelihood.",
                json_schema_extra={"none": "learned"},
            ),
        ] = None
        binarize: Annotated[
            Literal["none", "dynamic"],
            Field(description="`dynamic` draws each pixel as 0 or 1 with its grey value's odds, afresh at every use."),
        ] = "none"
        objective: Annotated[
            Literal["elbo", "iwae"],
            Field(
                description="The evidence lower bound, or the tighter one of K importance-weighted codes (needs --k)."
            ),
        ] = "elbo"
        k: Annotated[int, Field(ge=1, le=4096, description="Codes drawn for an image in a training step.")] = 1
        beta: Annotated[float, Field(ge=0, description="Weight of the KL term; 1 is the ELBO.")] = 1.0
        kl_warmup: Annotated[float, Field(ge=0, description="Epochs over which the KL term's weight rises from 0.")] = (
            0.0
        )

        condition: Annotated[
            Literal["none", "label", "attributes"],
            Field(description="What encoder and decoder are told besides: an image's label, or its attributes."),
        ] = "none"
        classes: Annotated[int, contract.filled_in("How many classes are told; 0 where none are.")] = 0
        attributes: Annotated[
            dict[str, float], contract.filled_in("The attributes that are told, with their shares of the images.")
        ] = Field(default_factory=dict)
        input_scale: nets.InputScale = 1.0

        @model_validator(mode="after")
        def _has_one_kl_term(self) -> VAE.Options:
            """The weights of the importance-weighted bound hold prior and posterior; there is no KL term to weigh."""
            if self.objective == "iwae" and (self.beta != 1 or self.kl_warmup):
                raise ValueError("--objective iwae has no KL term: leave --beta at 1 and --kl-warmup at 0")
            return self

        @model_validator(mode="after")
        def _is_of_the_pixels_it_is_given(self) -> VAE.Options:
            if self.likelihood == "logistic" and self.binarize == "dynamic":
                raise ValueError(NOT_BINARY.format(self.likelihood))
            return self

    LEVELS = 3
    monitor = "neg_elbo"
    log_sigma: Tensor
    log_scale: Tensor

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        latent, activation = options.latent_dim, options.activation
        told = 0 if self.condition is None else self.condition.size
        if options.likelihood == "bernoulli":
            self.pixels = "bits" if options.binarize == "dynamic" else "odds"
        elif options.likelihood == "logistic":
            self.pixels = "levels"
        if options.objective == "iwae" and options.k > 1:
            self.monitor = "iwae"
        self.encoder: nn.Module
        self.decoder: nn.Module
        if options.net == "mlp":
            sizes = [image.numbers, *options.hidden]
            into = [sizes[0] + told, *sizes[1:], 2 * latent]
            self.encoder = nn.Sequential(nn.Flatten(), nets.mlp(into, activation, options.input_scale))
            out = nets.mlp([latent + told, *sizes[::-1]], activation)
            self.decoder = nn.Sequential(out, nn.Unflatten(1, tuple(image)))
        else:
            seen = image._replace(channels=image.channels + told)
            if options.net == "conv":
                shape = (options.width, 2 * latent, self.LEVELS, activation)
                self.encoder = nets.ConvEncoder(seen, *shape, options.input_scale)
                self.decoder = nets.ConvDecoder(image, options.width, latent + told, self.LEVELS, activation)
            else:
                self.encoder = nets.ResidualEncoder(
                    seen, options.width, 2 * latent, activation=activation, scale=options.input_scale
                )
                drafts = options.shortcut == "linear"
                self.decoder = nets.ResidualDecoder(
                    image, options.width, latent + told, activation=activation, drafts=drafts
                )
        self.shortcut = nets.LinearShortcut(image, latent) if options.shortcut == "linear" else None
        self.begins_trained = self.shortcut is not None
        deviation = options.sigma or 0.1
        if options.likelihood == "gaussian":
            self.own("log_sigma", torch.tensor(math.log(deviation)))
        if options.likelihood == "logistic":
            self.own("log_scale", torch.full((image.channels, 1, 1), math.log(logistic_scale(deviation))))

    def own(self, name: str, value: Tensor) -> None:
        """Keep a number of the likelihood's width: learned, unless `sigma` says it."""
        if self.options.sigma is None:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    @classmethod
    def condition_for(cls, options: Any) -> Condition | None:
        return of_labels(options)

    @classmethod
    def defaults_for(cls, options: Any, images: Facts) -> Mapping[str, Resolved]:
        """Of digits and the like what the class has; else residual nets begun at PCA, and grey values of 8 bits."""
        if _pictures.digits(images):
            return _pictures.for_digits(options, images)
        found = _pictures.suggested(options, images)
        if options.binarize == "none":
            found["likelihood"] = Resolved("logistic", "grey values, each with its probability")
        return found

    @classmethod
    def options_for(cls, options: Any, dataset: TrainingImages) -> Any:
        if options.likelihood == "gaussian" and options.binarize == "dynamic":  # runs of 0.1.0 may have it
            raise UsageError(NOT_BINARY.format(options.likelihood))
        found = labels_for(options.condition, dataset)
        if "input_scale" not in options.model_fields_set:
            image, width = dataset.shape, options.width
            widest = {
                "mlp": image.numbers,
                "conv": nets.ConvEncoder.features(image, width, cls.LEVELS),
                "residual": nets.ResidualEncoder.features(image, width),
            }
            found["input_scale"] = nets.scale_for(widest[options.net])
        return options.model_copy(update=found)

    def phases(self) -> list[Phase]:
        return [Phase("", self, self.losses, self.options.optimizer())]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The training loss and the ELBO's terms, from one sample of z an image, or `k`.

        `neg_elbo` is always at a KL weight of 1; `loss` has `beta` and its warm-up. With one sample both objectives
        are the same.
        """
        images = torch.bernoulli(batch.images) if self.options.binarize == "dynamic" else batch.images
        condition = self.condition_of(batch)
        mean, log_variance = self.posterior(images, condition)
        if self.options.k > 1:
            return self.losses_of_several(images, condition, mean, log_variance, batch.epoch)
        z = torch.addcmul(mean, (log_variance / 2).exp(), torch.randn_like(mean))
        # Summed at once: a sum over each image's pixels and a mean of those take longer, and longer still backwards.
        output = self.output(z, condition).to(images.dtype)
        reconstruction = self.negative_log_likelihood(output, images).sum() / len(images)
        kl = gaussian_kl(mean, log_variance).sum() / len(images)
        return {
            "loss": reconstruction + self.kl_weight(batch.epoch) * kl,
            "neg_elbo": reconstruction + kl,
            "reconstruction": reconstruction,
            "kl": kl,
            **self.in_bits(reconstruction + kl),
        }

    def in_bits(self, nats: Tensor) -> dict[str, Tensor]:
        """A bound on −ln p(x) in bits a number of the image, of a likelihood of its 256 grey values."""
        if self.options.likelihood != "logistic":
            return {}
        return {"bits_per_dim": nats / (self.image.numbers * math.log(2))}

    def losses_of_several(
        self, images: Tensor, condition: Tensor | None, mean: Tensor, log_variance: Tensor, epoch: Tensor
    ) -> dict[str, Tensor]:
        """The same from `k` codes an image: of their mean bound, or of the bound of their mean weight.

        `iwae` is −ln (1/k) Σ w, after Burda, Grosse and Salakhutdinov (ICLR 2016), with the weights
        w = p(x|z) p(z) / q(z|x); `neg_elbo` is that of the same codes, as tight as with one, and less noisy.
        """
        shape = (len(mean), self.options.k, mean.shape[1])
        noise = torch.randn(shape, dtype=mean.dtype, device=mean.device)
        z = torch.addcmul(mean.unsqueeze(1), (log_variance / 2).exp().unsqueeze(1), noise)
        log_likelihood = self.in_pieces(z, images, condition)
        reconstruction = -log_likelihood.mean()
        kl = gaussian_kl(mean, log_variance).sum() / len(images)
        terms = {"neg_elbo": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
        if self.options.objective == "elbo":
            return {"loss": reconstruction + self.kl_weight(epoch) * kl, **terms, **self.in_bits(terms["neg_elbo"])}
        # The normalising constants of prior and posterior are the same but for σ.
        prior_to_posterior = 0.5 * (noise.square() - z.square()).sum(2) + 0.5 * log_variance.sum(1, keepdim=True)
        log_weights = log_likelihood + prior_to_posterior
        bound = math.log(self.options.k) - log_weights.logsumexp(1).mean()
        return {"loss": bound, **terms, "iwae": bound, **self.in_bits(bound)}

    def begin_at(self, mean: Tensor) -> None:
        nets.make_at_first(self.decoder, mean, logits=self.options.likelihood == "bernoulli")

    def begin_with(self, images: TrainingStart) -> None:
        """At probabilistic PCA, by the maximum of its likelihood in closed form.

        With the variances λ along the principal axes U and the noise σ² of what they leave, x = Wz + μ + ε has
        W = U (Λ − σ²)^½; the posterior of z, of independent numbers, has the mean Λ⁻¹ Wᵀ (x − μ) and variances σ² / λ.
        """
        if self.shortcut is None:
            return super().begin_with(images)
        principal, sigma = images.principal_axes(self.options.latent_dim), self.options.sigma
        noise = principal.rest if sigma is None else sigma**2
        variances = principal.variances.clamp(min=noise)
        back = (variances - noise).sqrt()
        self.shortcut.begin(principal, back / variances, back)
        nets.silence(self.encoder)
        nets.silence(self.decoder)
        with torch.no_grad():
            bias = nets.last_layer(self.encoder).bias
            assert bias is not None
            bias[self.options.latent_dim :][: len(variances)] = (noise / variances).log() / nets.GAIN
            if sigma is None and self.options.likelihood == "gaussian":
                self.log_sigma.fill_(math.log(noise) / 2)
            if sigma is None and self.options.likelihood == "logistic":
                self.log_scale.fill_(math.log(logistic_scale(math.sqrt(noise))))
        return None

    def kl_weight(self, epoch: Tensor) -> Tensor | float:
        """`beta`, reached linearly after `kl_warmup` epochs."""
        if not self.options.kl_warmup:
            return self.options.beta
        return self.options.beta * (epoch / self.options.kl_warmup).clamp(max=1)

    def watch(self, history: Sequence[Mapping[str, float]]) -> Mapping[str, Fault]:
        """Posterior collapse: hardly any unit tells images apart, so the decoder has learned to do without the code."""
        active, options = history[-1].get("active_units"), self.options
        if active is None or active > options.latent_dim / 20:
            return {}
        helps = []
        if options.objective == "elbo":
            helps += [] if options.kl_warmup else ["--kl-warmup 5"]
            helps += ["a --beta below 1"] if options.beta == 1 else []
            helps += [f"a lower --beta (it is {options.beta:g})"] if options.beta > 1 else []
        helps += [f"a lower --lr (it is {options.lr:g})"]
        shows = f"{active:.0f} of {options.latent_dim} latent units are active, so the code says little"
        return {"posterior collapse": Fault(shows, helps)}

    def told(self, inputs: Tensor, condition: Tensor | None) -> Tensor:
        """What a net is given: images (B, C, H, W) or codes (B, latent_dim), with the condition (B,) or (B, A) beside.

        A class is a row of zeros and a one. Fully connected nets take it, or the attributes, as further numbers,
        convolutions as further channels, each the same all over.
        """
        if self.condition is None:
            return inputs
        if condition is None:
            raise TypeError(f"the model takes a condition ({self.condition.kind}) as one more argument")
        if self.condition.kind == "class":
            rows = condition[:, None] == torch.arange(self.condition.size, device=condition.device)
        else:
            rows = condition
        rows = rows.to(inputs.dtype)
        if inputs.ndim == 2:
            return torch.cat([inputs, rows], 1)
        if self.options.net == "mlp":
            return torch.cat([inputs.flatten(1), rows], 1)
        return torch.cat([inputs, rows[:, :, None, None].expand(-1, -1, *inputs.shape[2:])], 1)

    def posterior(self, images: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z|x), each (B, latent_dim)."""
        mean, raw = self.encoded(images, condition)
        return mean, bounded_log_variance(raw)

    def encoded(self, images: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the encoder says of the posterior: its mean, and its log variance before it is bounded."""
        mean, raw = self.encoder(self.told(images, condition)).to(images.dtype).chunk(2, 1)
        if self.shortcut is None:
            return mean, raw
        return self.shortcut.encode(images) + nets.GAIN * mean, nets.GAIN * raw

    def output(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Of codes (B, latent_dim), what the likelihood is given: (B, C, H, W), log-odds of a Bernoulli's pixels."""
        told = self.told(z, condition)
        if self.shortcut is None:
            return self.decoder(told)
        return self.shortcut.added_to(self.decoder, z, told, self.options.likelihood == "bernoulli")

    def negative_log_likelihood(self, output: Tensor, images: Tensor) -> Tensor:
        """−ln p(x|z) of each pixel, in nats: (B, C, H, W). `output` is that of codes, before its sigmoid."""
        if self.options.likelihood == "bernoulli":
            return F.binary_cross_entropy_with_logits(output, images, reduction="none")
        if self.options.likelihood == "logistic":
            return -logistic_log_likelihood(output, self.log_scale, images)
        standardised = (images - output) * (-self.log_sigma).exp()
        return 0.5 * standardised.square() + self.log_sigma + 0.5 * math.log(2 * math.pi)

    def log_likelihood(self, z: Tensor, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """ln p(x|z) in nats of images (B, C, H, W) under K codes (B, K, latent_dim) each: (B, K).

        The sum over pixels of −`negative_log_likelihood`, which would need every image K times.
        """
        if condition is not None:
            condition = condition.repeat_interleave(z.shape[1], 0)
        output = self.output(z.flatten(0, 1), condition).to(images.dtype)
        if self.options.likelihood == "logistic":
            each = logistic_log_likelihood(output.unflatten(0, z.shape[:2]), self.log_scale, images.unsqueeze(1))
            return each.flatten(2).sum(2)
        output, pixels = output.reshape(*z.shape[:2], -1), images.flatten(1)
        if self.options.likelihood == "bernoulli":
            return bernoulli_log_likelihood(output, pixels)
        squares = (output - pixels.unsqueeze(1)).square().sum(2) * (-2 * self.log_sigma).exp()
        return -0.5 * squares - pixels.shape[1] * (self.log_sigma + 0.5 * math.log(2 * math.pi))

    def pixel_log_likelihood(self, z: Tensor, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """ln p of each number of images (B, C, H, W) under a code (B, latent_dim) each, in nats: (B, C, H, W)."""
        return -self.negative_log_likelihood(self.output(z, condition).to(images.dtype), images)

    def in_pieces(self, z: Tensor, images: Tensor, condition: Tensor | None) -> Tensor:
        """The same. A validation's batch is larger than training's, and needs its K images each only one by one."""
        if z.requires_grad:
            return self.log_likelihood(z, images, condition)
        size = max(1, NUMBERS_AT_ONCE // (z.shape[1] * self.image.numbers))
        parts = [each.split(size) for each in (z, images, *given(condition))]
        return torch.cat([self.log_likelihood(*each) for each in zip(*parts, strict=True)])

    def encode(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.encoded(images, condition)[0]

    def keep_features(self) -> None:
        del self.decoder
        for width in {"log_sigma", "log_scale"} & {name for name, _ in self.named_parameters(recurse=False)}:
            delattr(self, width)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        output = self.output(z, condition)
        return output.sigmoid() if self.options.likelihood == "bernoulli" else output.clamp(0, 1)

    def prior(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        return noise
