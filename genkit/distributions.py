"""Densities and divergences in closed form, of which models make their losses and evaluation its figures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Of a posterior whose variance is of the prior's order, as all are that training hasn't thrown far off: the deviation
#: is e there.
MOST_LOG_VARIANCE = 2.0


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
