"""How likely are the images under a model? The evidence lower bound with its terms, and the likelihood itself.

ln p(x) is estimated by importance sampling, as Burda, Grosse and Salakhutdinov (ICLR 2016) do to compare models: with
z₁ … zₖ from the posterior q(z|x), and the weights w = p(x|z) p(z) / q(z|x), it is ln (1/k) Σ w. The expectation of that
is below ln p(x) for every k, and rises to it with k; for k = 1 it is the evidence lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genkit.model import Likelihood

#: Codes of an image that are drawn at once. Those of an image are a function of the seed and the image's place in its
#: set: neither the other images, nor how many fit in memory, nor k changes the first of them.
PIECE = 256
#: Numbers that a decoder may return at once: on a CPU what its caches hold, on a GPU what keeps it busy.
CPU_NUMBERS, GPU_NUMBERS = 1 << 19, 1 << 26


class Estimate(NamedTuple):
    """What importance sampling finds for each of N images.

    Attributes:
        nll: −ln p(x) in nats, from above: (N,) float64.
        neg_elbo: −ELBO in nats, the mean of −ln w over the same codes: (N,) float64.
        effective: (Σ w)² / Σ w², from 1 to k: how many equally good codes the k are worth. (N,) float64.
    """

    nll: Tensor
    neg_elbo: Tensor
    effective: Tensor


@torch.no_grad()
def estimate(
    model: Likelihood,
    images: Tensor,
    places: Tensor,
    k: int,
    seed: int = 0,
    advance: Callable[[float], object] = lambda images: None,
) -> Estimate:
    """Estimate the likelihood of images (N, C, H, W) from k codes each.

    The encoder runs once an image. Memory doesn't grow with k: the sums over the weights are running ones, of
    logarithms in double precision.

    Args:
        places: int64 (N,), of the images in their set; the noise of an image depends on its place and on `seed` alone.
        advance: called with the share of an image that has been done, again and again.
    """
    means, log_variances = model.posterior(images)
    rows = max(1, numbers_at_once(images.device) // images[0].numel())
    found = []
    for some in torch.arange(len(images)).split(max(1, rows // min(k, PIECE))):
        chosen = some.to(images.device)
        mean, log_variance, these = (each[chosen] for each in (means, log_variances, images))
        sums = WeightSums(len(some))
        for noise in zip(*(codes_noise(seed, int(place), k, mean.shape[1]) for place in places[some]), strict=True):
            for part in torch.stack(noise).split(max(1, rows // len(some)), 1):
                sums.add(log_weights(model, these, mean, log_variance, part.to(images.device)))
            advance(len(some) * len(noise[0]) / k)
        found.append(sums.estimate())
    return Estimate(*(torch.cat(values) for values in zip(*found, strict=True)))


def log_weights(model: Likelihood, images: Tensor, mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """ln w = ln p(x|z) + ln p(z) − ln q(z|x) of z = mean + σ·noise, in nats: (B, K).

    Args:
        images: (B, C, H, W).
        mean, log_variance: of q(z|x), (B, latent_dim) each.
        noise: N(0, I), (B, K, latent_dim).
    """
    z = torch.addcmul(mean.unsqueeze(1), (log_variance / 2).exp().unsqueeze(1), noise)
    # The normalising constants of the two Gaussians are the same but for σ.
    prior_to_posterior = 0.5 * (noise.square() - z.square()).sum(2) + 0.5 * log_variance.sum(1, keepdim=True)
    return model.log_likelihood(z, images) + prior_to_posterior


def codes_noise(seed: int, place: int, k: int, dim: int) -> Iterator[Tensor]:
    """The N(0, I) noise of an image's k codes, piece by piece: (up to PIECE, dim) on the CPU."""
    generator = image_generator(seed, place)
    for start in range(0, k, PIECE):
        yield torch.randn(PIECE, dim, generator=generator)[: k - start]


def image_generator(seed: int, place: int, purpose: int = 0) -> torch.Generator:
    """The random numbers of one image, independent of all others'."""
    state = np.random.SeedSequence([seed, purpose, place]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))


def numbers_at_once(device: torch.device) -> int:
    return CPU_NUMBERS if device.type == "cpu" else GPU_NUMBERS


class WeightSums:
    """Running sums over the weights of B images, as logarithms, which neither overflow nor lose the small ones."""

    def __init__(self, images: int):
        self.count = 0
        self.log_sum = torch.full((images,), -math.inf, dtype=torch.float64)
        self.log_sum_of_squares = self.log_sum.clone()
        self.sum_of_logs = torch.zeros(images, dtype=torch.float64)

    def add(self, log_weights: Tensor) -> None:
        """Take in ln w of further codes: (B, K)."""
        values = log_weights.cpu().double()  # not every device has doubles
        self.count += values.shape[1]
        self.log_sum = torch.logaddexp(self.log_sum, values.logsumexp(1))
        self.log_sum_of_squares = torch.logaddexp(self.log_sum_of_squares, (2 * values).logsumexp(1))
        self.sum_of_logs += values.sum(1)

    def estimate(self) -> Estimate:
        return Estimate(
            math.log(self.count) - self.log_sum,
            -self.sum_of_logs / self.count,
            (2 * self.log_sum - self.log_sum_of_squares).exp(),
        )
