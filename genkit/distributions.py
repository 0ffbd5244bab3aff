"""Densities and divergences in closed form, of which models make their losses and evaluation its figures."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

#: Of a posterior whose variance is of the prior's order, as all are that training hasn't thrown far off: the deviation
#: is e there.
MOST_LOG_VARIANCE = 2.0
#: Of a logistic distribution of grey values: at this scale all of it lies in one grey value, many times over.
LEAST_LOG_SCALE = -12.0


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)) of every element, in nats: ½(μ² + σ² − 1 − ln σ²). Same shape as `mean`."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def bounded_log_variance(raw: Tensor) -> Tensor:
    """A net's output as a log variance: itself up to `MOST_LOG_VARIANCE`, and a plus the logarithm of what is above.

    Beyond that bound a, v becomes a + ln(1 + v − a), so that the variance grows with v and no longer with its
    exponential, which a net's first steps could send beyond any number; and, unlike a clamp's, its gradient never
    vanishes. To the bit the identity below.
    """
    below = raw.clamp(max=MOST_LOG_VARIANCE)
    return below + (raw - below).log1p()


def bernoulli_log_likelihood(logits: Tensor, pixels: Tensor) -> Tensor:
    """Σ x·l − ln(1 + eˡ), in nats, of pixels x (B, N) under K sets of logits l (B, K, N) each: (B, K).

    With ln(1 + eˡ) = ½ (l + |l|) − ln σ(|l|), the parts that are linear in l and |l| are matrix products, and the sum
    of logarithms is the logarithm of a product: one is taken where 32 would be. A factor is at least ½, so that 32 of
    them don't underflow. All is done in the logits' own memory, where no gradient is wanted.
    """
    if logits.requires_grad:
        with torch.autocast(logits.device.type, enabled=False):  # sums of hundreds of nats don't fit in bf16
            return torch.bmm(logits, pixels.unsqueeze(2)).squeeze(2) - F.softplus(logits).sum(2)
    # One product an image: a batch of products with a single column each takes torch seven times as long.
    linear = torch.stack([each @ weights for each, weights in zip(logits, pixels - 0.5, strict=True)])
    sizes = logits.abs_()
    linear -= sizes @ torch.full_like(pixels[0], 0.5)
    factors = sizes.sigmoid_()
    for _ in range(5):
        half, odd = divmod(factors.shape[2], 2)
        if odd or not half:
            break
        factors = factors[..., :half].mul_(factors[..., half:])
    return linear + factors.log_().sum(2)


def logistic_log_likelihood(mean: Tensor, log_scale: Tensor, pixels: Tensor) -> Tensor:
    """ln P(x) in nats of every grey value x of 8 bits under a discretised logistic: as `pixels`, broadcast.

    With F the logistic distribution's function, P(x) = F((x + ½ − μ) / s) − F((x − ½ − μ) / s) in grey levels, and all
    that is below 0 or above 255 belongs to these two, as in Kingma et al., "Improved variational inference with inverse
    autoregressive flow" (NeurIPS 2016), and Salimans et al., "PixelCNN++" (ICLR 2017): the 256 probabilities sum to 1.
    The difference F(a) − F(b) is F(a)·F(−b)·(1 − e^(b − a)), whose logarithm neither over- nor underflows.

    Args:
        mean: of the logistic, in grey values of [0, 1].
        log_scale: ln s, likewise; its standard deviation is s·π / √3. Below `LEAST_LOG_SCALE` taken as that.
        pixels: grey values in [0, 1], taken as the nearest of the 256 levels.
    """
    levels = (pixels * 255).round()
    precision = (-log_scale.clamp(min=LEAST_LOG_SCALE)).exp()
    centred, half = (levels / 255 - mean) * precision, precision * (0.5 / 255)
    above_all_below = -F.softplus(-(centred + half))  # ln F(a), of all values up to x
    below_all_above = -F.softplus(centred - half)  # ln F(−b), of all values from x on
    inside = torch.log(-torch.expm1(-2 * half))
    darkest, brightest = levels <= 0, levels >= 255
    return (
        above_all_below.masked_fill(brightest, 0)
        + below_all_above.masked_fill(darkest, 0)
        + torch.where(darkest | brightest, 0.0, inside)
    )


def logistic_scale(deviation: float) -> float:
    """The scale of a logistic distribution with this standard deviation."""
    return deviation * math.sqrt(3) / math.pi


def bits_per_dimension(nats: float, numbers: int, levels: int = 1) -> float:
    """−ln p of an image with so many numbers in bits a number.

    Args:
        levels: of a density of values in [0, 1] that were rounded to so many steps of 1 / `levels`, and dequantised by
            uniform noise as wide as a step (Theis, van den Oord and Bethge, ICLR 2016); 1 of discrete values.
    """
    return nats / (numbers * math.log(2)) + math.log2(levels)
