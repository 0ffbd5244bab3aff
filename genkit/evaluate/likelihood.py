"""How likely are the images under a model? The evidence lower bound with its terms, and the likelihood itself.

ln p(x) is estimated by importance sampling, as Burda, Grosse and Salakhutdinov (ICLR 2016) do to compare models: with
z₁ … zₖ from the posterior q(z|x), and the weights w = p(x|z) p(z) / q(z|x), it is ln (1/k) Σ w. The expectation of that
is below ln p(x) for every k, and rises to it with k; for k = 1 it is the evidence lower bound.

Of a model that takes a condition y, all of it is given y: ln p(x|y), p(x|z,y), q(z|x,y).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genkit.contract import ability
from genkit.contract.ability import Likelihood
from genkit.contract.condition import given
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.distributions import bits_per_dimension, gaussian_kl
from genkit.evaluate.figure import Figure, LeftOut, mean
from genkit.evaluate.reconstruction import ROUNDING, entropy, not_below
from genkit.evaluate.subject import Asked, Subject, progress
from genkit.run.validation import active_units
from genkit.step.passes import evaluation_batch

#: Codes of an image that are drawn at once. Those of an image are a function of the seed and the image's place in its
#: set: neither the other images, nor how many fit in memory, nor k changes the first of them.
PIECE = 1000
#: Numbers that a decoder may return at once: what keeps all cores, or all of a GPU, busy.
CPU_NUMBERS, GPU_NUMBERS = 1 << 21, 1 << 26
#: What an image's random numbers are for: the codes of the likelihood, the one of the bound, its pixels.
CODES, ELBO, BITS, LEVELS = 0, 1, 2, 3
#: Of an image's numbers, from 0 to 1, so many steps apart.
STEPS = 255
#: Codes in each of the blocks in which the aggregated posterior is held against the prior.
BLOCK = 250


class Weighed(NamedTuple):
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
    condition: Tensor | None = None,
) -> Weighed:
    """Estimate the likelihood of images (N, C, H, W) from k codes each.

    The encoder runs once an image. Memory doesn't grow with k: the sums over the weights are running ones, of
    logarithms in double precision.

    Args:
        places: int64 (N,), of the images in their set; the noise of an image depends on its place and on `seed` alone.
        advance: called with the share of an image that has been done, again and again.
        condition: of the images, (N, …), where the model takes one.
    """
    means, log_variances = model.posterior(images, *given(condition))
    rows = max(1, numbers_at_once(images.device) // images[0].numel())
    found = []
    for some in torch.arange(len(images)).split(max(1, rows // min(k, PIECE))):
        chosen = some.to(images.device)
        mean, log_variance, these, *also = (each[chosen] for each in (means, log_variances, images, *given(condition)))
        sums = WeightSums(len(some))
        for noise in zip(*(codes_noise(seed, int(place), k, mean.shape[1]) for place in places[some]), strict=True):
            for part in torch.stack(noise).split(max(1, rows // len(some)), 1):
                sums.add(log_weights(model, these, mean, log_variance, part.to(images.device), *also))
            advance(len(some) * len(noise[0]) / k)
        found.append(sums.estimate())
    return Weighed(*(torch.cat(values) for values in zip(*found, strict=True)))


def log_weights(
    model: Likelihood,
    images: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    noise: Tensor,
    condition: Tensor | None = None,
) -> Tensor:
    """ln w = ln p(x|z) + ln p(z) − ln q(z|x) of z = mean + σ·noise, in nats: (B, K).

    Args:
        images: (B, C, H, W).
        mean, log_variance: of q(z|x), (B, latent_dim) each.
        noise: N(0, I), (B, K, latent_dim).
        condition: of the images, (B, …), where the model takes one.
    """
    z = torch.addcmul(mean.unsqueeze(1), (log_variance / 2).exp().unsqueeze(1), noise)
    # The normalising constants of the two Gaussians are the same but for σ.
    prior_to_posterior = 0.5 * (noise.square() - z.square()).sum(2) + 0.5 * log_variance.sum(1, keepdim=True)
    return model.log_likelihood(z, images, *given(condition)) + prior_to_posterior


def codes_noise(seed: int, place: int, k: int, dim: int) -> Iterator[Tensor]:
    """The N(0, I) noise of an image's k codes, piece by piece: (up to PIECE, dim) on the CPU."""
    generator = image_generator(seed, place)
    for start in range(0, k, PIECE):
        yield torch.randn(PIECE, dim, generator=generator)[: k - start]


def image_generator(seed: int, place: int, purpose: int = CODES) -> torch.Generator:
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

    def estimate(self) -> Weighed:
        return Weighed(
            math.log(self.count) - self.log_sum,
            -self.sum_of_logs / self.count,
            (2 * self.log_sum - self.log_sum_of_squares).exp(),
        )


# ---------------------------------------------------------------------------------------------------------------------
# The figures
# ---------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def figures(subject: Subject, asked: Asked) -> list[Figure | LeftOut]:
    model = subject.model
    assert ability.tells_likelihood(model)
    bound = elbo(subject, asked)
    chosen = subject.images.take(subject.images.spread(asked.nll_images))
    entropies = pixel_entropies(subject, subject.images)
    conditions = {
        **subject.conditions,
        "targets": targets_in_words(subject, entropies, asked.seed),
        **likelihood_of(subject),
    }
    with progress(f"likelihood, {asked.k:,} codes an image", len(chosen)) as bar:
        parts = [
            estimate(model, images, places, asked.k, asked.seed, bar.update, condition)
            for images, places, condition in observed(subject, chosen, asked)
        ]
    found = Weighed(*(torch.cat(values) for values in zip(*parts, strict=True)))
    weighted = {**conditions, "k": asked.k, "seed": asked.seed}
    sampled = {**conditions, "codes": "one, sampled, an image", "seed": asked.seed}
    nll = mean("likelihood/nll", found.nll, "nats an image", **weighted)
    gap = mean("likelihood/gap", found.neg_elbo - found.nll, "nats an image", **weighted)
    if gap.value < -ROUNDING:
        nll = dataclasses.replace(nll, warning=f"it is above the −ELBO of the same codes by {-gap.value:.2f}: a fault")
    neg_elbo = mean("likelihood/neg_elbo", bound.reconstruction + bound.kl, "nats an image", **sampled)
    of_nll_images = mean("likelihood/neg_elbo_of_nll_images", found.neg_elbo, "nats an image", **weighted)
    codes = {**subject.conditions, **subject.given, "n": len(bound.kl), "latent_dim": model.options.latent_dim}
    return [
        not_below(neg_elbo, float(entropies.mean()), "the pixels' own entropy"),
        *bits(subject, neg_elbo),
        mean("likelihood/reconstruction", bound.reconstruction, "nats an image", **sampled),
        mean("likelihood/kl", bound.kl, "nats an image", **sampled),
        # The −ELBO above is of all images, and these may be easier or harder: their NLL is below this one.
        of_nll_images,
        *bits(subject, of_nll_images),
        not_below(nll, float(pixel_entropies(subject, chosen).mean()), "the pixels' own entropy"),
        *bits(subject, nll),
        gap,
        mean("likelihood/effective_codes", found.effective, f"of {asked.k:,}", **weighted),
        counted(bound.means, codes),
        Figure("likelihood/aggregate_kl", aggregate_kl(bound.means, bound.variances), None, "nats", codes),
        aggregate_mmd(bound.codes, asked.seed, codes),
    ]


def bits(subject: Subject, figure: Figure) -> list[Figure]:
    """A figure in nats an image in bits a number, too, where it is of grey values of 8 bits; else none.

    A density is one of grey values to which noise as wide as a step was added, and its mean logarithm is then below
    that of the grey values' probability: by either likelihood it is a bound from above, and never below 0.
    """
    if subject.model.pixels not in ("value", "levels"):
        return []
    numbers, steps = subject.model.image.numbers, STEPS if subject.model.pixels == "value" else 1
    found = dataclasses.replace(
        figure,
        name=f"{figure.name}_bits",
        value=bits_per_dimension(figure.value, numbers, steps),
        error=None if figure.error is None else bits_per_dimension(figure.error, numbers),
        unit="bits a number, of 256 grey values",
    )
    return [not_below(found, 0.0, "any probability")]


def counted(means: Tensor, codes: Mapping[str, str | int | float]) -> Figure | LeftOut:
    """The active units, which a single image tells nothing of."""
    if len(means) < 2:
        return LeftOut("likelihood/active_units", "over one image no code varies; take several")
    return Figure("likelihood/active_units", active_units(means), None, f"of {means.shape[1]}", codes)


class Bound(NamedTuple):
    """Of N images: the two terms of −ELBO from one sampled code each, in nats (N,), and the posteriors (N, D)."""

    reconstruction: Tensor
    kl: Tensor
    means: Tensor
    variances: Tensor
    codes: Tensor


def elbo(subject: Subject, asked: Asked) -> Bound:
    """One pass over the subject's images."""
    model = subject.model
    assert ability.tells_likelihood(model)
    parts = []
    with progress("evidence lower bound", len(subject.images)) as bar:
        for images, places, condition in observed(subject, subject.images, asked):
            mean, log_variance = model.posterior(images, *given(condition))
            noise = torch.stack(
                [torch.randn(mean.shape[1], generator=image_generator(asked.seed, int(each), ELBO)) for each in places]
            )
            z = torch.addcmul(mean, (log_variance / 2).exp(), noise.to(mean))
            reconstruction = -model.log_likelihood(z.unsqueeze(1), images, *given(condition))[:, 0]
            kl = gaussian_kl(mean, log_variance).sum(1)
            parts.append([each.cpu().double() for each in (reconstruction, kl, mean, log_variance.exp(), z)])
            bar.update(len(images))
    return Bound(*(torch.cat(values) for values in zip(*parts, strict=True)))


def observed(subject: Subject, split: Split, asked: Asked) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """A split's images (B, C, H, W) as the model's likelihood is of them, their places (B,), and their conditions,
    where the model takes them, batch by batch.

    Where it is of binary pixels, each is drawn once, with its grey value's odds, by the seed and the image's place.
    Where it is a density of grey values, each gets uniform noise as wide as a step, likewise: a density has no bound at
    values that are always the same, and this one's can't rise above their probability's.
    """
    size = evaluation_batch(subject.model.image)
    for batch, places in zip(in_order(split, size, subject.device), split.rows.split(size), strict=True):
        images = batch.images
        if subject.model.pixels == "bits":
            generators = [image_generator(asked.seed, int(place), BITS) for place in places]
            draws = torch.stack([torch.rand(*subject.model.image, generator=each) for each in generators])
            images = (draws.to(images) < images).to(images.dtype)
        if subject.model.pixels == "value":
            generators = [image_generator(asked.seed, int(place), LEVELS) for place in places]
            draws = torch.stack([torch.rand(*subject.model.image, generator=each) for each in generators])
            images = images + (draws.to(images) - 0.5) / STEPS
        yield images, places, subject.model.condition_of(batch)


def pixel_entropies(subject: Subject, split: Split) -> Tensor:
    """Of each image, the nats below which its −ln p(x|z) can't be, whatever the code: (N,) float64.

    Binary pixels and grey values with a probability each have none; of a density there is no such bound.
    """
    if subject.model.pixels != "odds":
        least = -math.inf if subject.model.pixels == "value" else 0.0
        return torch.full((len(split),), least, dtype=torch.float64)
    batches = in_order(split, evaluation_batch(subject.model.image), subject.device)
    return torch.cat([entropy(batch.images).cpu().double() for batch in batches])


def likelihood_of(subject: Subject) -> dict[str, str]:
    """What the likelihood is given, where it is given anything."""
    return {name: f"{what} y: p(x|y), not p(x)" for name, what in subject.given.items()}


def targets_in_words(subject: Subject, entropies: Tensor, seed: int) -> str:
    """What the likelihood is of."""
    if subject.model.pixels == "bits":
        return f"pixels drawn as 0 or 1, once, with seed {seed}"
    if subject.model.pixels == "value":
        return f"grey values with uniform noise, drawn once, with seed {seed}, as a density"
    if subject.model.pixels == "levels":
        return "grey values of 8 bits, each with its probability"
    return "grey values as odds: no likelihood of discrete data" if entropies.any() else "binary images"


# ---------------------------------------------------------------------------------------------------------------------
# The aggregated posterior: the mixture of all images' q(z|x), which the prior stands for when codes are drawn
# ---------------------------------------------------------------------------------------------------------------------


def aggregate_kl(means: Tensor, variances: Tensor) -> float:
    """KL of the Gaussian with the aggregated posterior's mean and covariance from the prior N(0, I), in nats.

    ½ (tr C + m·m − D − ln det C), with C the covariance of the means plus the mean of the variances. Both are (N, D)
    float64. It is 0 where the first two moments are the prior's, whatever the rest; and never above the mean KL.
    """
    centre = means.mean(0)
    covariance = torch.cov(means.T, correction=0).reshape(len(centre), -1) + torch.diag(variances.mean(0))
    trace, log_determinant = covariance.trace(), torch.linalg.slogdet(covariance).logabsdet
    return float(0.5 * (trace + centre @ centre - len(centre) - log_determinant))


def aggregate_mmd(codes: Tensor, seed: int, conditions: dict[str, str | int | float]) -> Figure | LeftOut:
    """Maximum mean discrepancy, squared and unbiased, of codes (N, D), one sampled an image, from draws of the prior.

    Its kernel is the inverse multiquadric 2D / (2D + ‖a − b‖²) of Tolstikhin et al. (ICLR 2018). It is measured in
    blocks that share nothing, so that their mean has a standard error (Zaremba, Gretton and Blaschko, NeurIPS 2013).
    """
    name = "likelihood/aggregate_mmd"
    if len(codes) < 2 * BLOCK:
        return LeftOut(name, f"it compares blocks of {BLOCK} codes, and there are {len(codes)}")
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    blocks = codes[order].split(BLOCK)[: len(codes) // BLOCK]
    draws = torch.randn(len(blocks), *blocks[0].shape, generator=torch.Generator().manual_seed(seed)).double()
    values = torch.stack([mmd(ours, theirs) for ours, theirs in zip(blocks, draws, strict=True)])
    figure = mean(name, values, "squared")
    return dataclasses.replace(figure, conditions={**conditions, "blocks": len(blocks), "seed": seed})


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """The unbiased estimate of the squared discrepancy between two samples (N, D) of as many points: ()."""
    scale, count = 2 * a.shape[1], len(a)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return scale / (scale + torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square())

    within = sum((kernel(x, x).sum() - count) / (count * (count - 1)) for x in (a, b))
    return within - 2 * kernel(a, b).mean()
