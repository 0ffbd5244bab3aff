"""Beta-TCVAE: a variational autoencoder with a code of independent numbers, so that each may mean one thing.

After Chen, Li, Grosse and Duvenaud, "Isolating sources of disentanglement in variational autoencoders" (NeurIPS 2018).
Averaged over images, the KL term of the ELBO is a sum of three: the mutual information of image and code; the total
correlation, by which the aggregate posterior q(z) differs from the product of its marginals; and how far each marginal
is from the prior. `--beta` weighs the total correlation alone. (A VAE's weighs all three, and so also takes away what
the code says of the image.) With `--beta 1` it is the VAE.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from genkit import contract
from genkit.contract import Batch, Facts, Resolved, defaults
from genkit.contract.images import TrainingImages
from genkit.distributions import gaussian_kl
from genkit.models.vae import VAE

#: Numbers of codes under posteriors that are held at once, 64 MiB; of more, those that gradients need are made again.
AT_ONCE = 1 << 24


class BetaTCVAE(VAE):
    class Options(VAE.Options):
        objective: Annotated[
            Literal["elbo"], Field(description="The evidence lower bound; its KL term is what is taken apart.")
        ] = "elbo"
        k: Annotated[int, Field(ge=1, le=1, description="Codes drawn for an image in a training step: one.")] = 1
        beta: Annotated[float, Field(ge=0, description="Weight of the total correlation; 1 is the ELBO.")] = 6.0
        training_images: Annotated[int, contract.filled_in("How many images it is trained on.")] = 0

    @classmethod
    def defaults_for(cls, options: Any, images: Facts) -> Mapping[str, Resolved]:
        """How long it is trained alone: axes of PCA, which a VAE begins with, aren't what varies independently."""
        return defaults.training(options, images)

    @classmethod
    def options_for(cls, options: Any, dataset: TrainingImages) -> Any:
        return super().options_for(options, dataset).model_copy(update={"training_images": len(dataset.train)})

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The training loss and the ELBO's terms, from one sample of z an image, as the VAE's.

        The KL term is in closed form; `mutual_information`, `total_correlation` and `marginal_kl`, whose sum it is on
        average, are estimated from the batch, and the total correlation's weight above that of the ELBO is added.
        """
        images = torch.bernoulli(batch.images) if self.options.binarize == "dynamic" else batch.images
        condition = self.condition_of(batch)
        mean, log_variance = self.posterior(images, condition)
        z = torch.addcmul(mean, (log_variance / 2).exp(), torch.randn_like(mean))
        output = self.output(z, condition).to(images.dtype)
        reconstruction = self.negative_log_likelihood(output, images).sum() / len(images)
        kl = gaussian_kl(mean, log_variance).sum() / len(images)
        parts = decomposed(z, mean, log_variance, self.options.training_images)
        weighed = kl + (self.options.beta - 1) * parts.total_correlation
        return {
            "loss": reconstruction + self.warmed_up(batch.epoch) * weighed,
            "neg_elbo": reconstruction + kl,
            "reconstruction": reconstruction,
            "kl": kl,
            **self.in_bits(reconstruction + kl),
            **parts._asdict(),
        }

    def warmed_up(self, epoch: Tensor) -> Tensor | float:
        """The weight of all three terms: 1, reached linearly after `kl_warmup` epochs."""
        return (epoch / self.options.kl_warmup).clamp(max=1) if self.options.kl_warmup else 1.0


class Parts(NamedTuple):
    """What the KL term is made of, each averaged over images, in nats."""

    mutual_information: Tensor
    total_correlation: Tensor
    marginal_kl: Tensor


def decomposed(z: Tensor, mean: Tensor, log_variance: Tensor, images: int) -> Parts:
    """The three terms of E KL(q(z|x) ‖ N(0, I)), estimated from a batch.

    q(z) is the mixture of all training images' posteriors. Its density at a code is estimated from those of the batch
    by stratified sampling, after appendix C of the paper.

    Args:
        z: (B, D), a sample of each image's posterior.
        mean, log_variance: (B, D), of the posteriors.
        images: how many training images the batch is drawn from.
    """
    log_weights = stratified(len(z), max(images, len(z)), z.device).log().to(z.dtype)
    rows = max(1, AT_ONCE // mean.numel())
    if rows >= len(z):
        log_joint, log_marginals = under_all(z, log_weights, mean, log_variance)
    else:
        parts = [
            checkpoint(under_all, *some, mean, log_variance, use_reentrant=False, preserve_rng_state=False)
            for some in zip(z.split(rows), log_weights.split(rows), strict=True)
        ]
        log_joint, log_marginals = (torch.cat(each) for each in zip(*parts, strict=True))
    own = log_density(z, mean, log_variance).sum(1)
    log_prior = log_density(z, torch.zeros_like(z), torch.zeros_like(z)).sum(1)
    return Parts(
        (own - log_joint).mean(),
        (log_joint - log_marginals).mean(),
        (log_marginals - log_prior).mean(),
    )


def under_all(z: Tensor, log_weights: Tensor, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """ln q(z) of codes (R, D), and the sum of ln q of each of their numbers, (R,) each, under B posteriors.

    Args:
        log_weights: (R, B), of the posteriors in the density at each code.
        mean, log_variance: (B, D).
    """
    densities = log_density(z[:, None], mean[None], log_variance[None])  # (R, B, D)
    log_joint = (log_weights + densities.sum(2)).logsumexp(1)
    return log_joint, (log_weights[:, :, None] + densities).logsumexp(1).sum(1)


def stratified(count: int, images: int, device: torch.device | None = None) -> Tensor:
    """The weights (B, B) of the posteriors of a batch in the density of q(z) at each of its codes; rows sum to 1.

    That of the code's own image counts 1 / N, what it is among all N, and the others, a fair draw of those that are
    left, share the rest equally: so the estimated density is right on average, and exact where the batch has all
    images. (The paper gives one of the others another weight, which is neither in that case.) A batch of a single image
    has nothing but its own.
    """
    if count == 1:
        return torch.ones(1, 1, device=device)
    weights = torch.full((count, count), (images - 1) / (images * (count - 1)), device=device)
    return weights.fill_diagonal_(1 / images)


def log_density(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """ln N(z; mean, variance) of every element, in nats."""
    return -0.5 * ((z - mean).square() * (-log_variance).exp() + log_variance + math.log(2 * math.pi))
