"""How evenly does the image change on the way from one code to another? A jump on the way hints at memorised images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from genkit.contract.condition import given
from genkit.errors import DataError, UsageError
from genkit.evaluate.estimate import Estimate, checked, estimate
from genkit.latent import sampling


@torch.no_grad()
def unevenness(
    decode: Callable[..., Tensor],
    features: Callable[[Tensor], Tensor],
    starts: Tensor,
    ends: Tensor,
    path: sampling.Path = "slerp",
    points: int = 17,
    centre: Tensor | None = None,
    conditions: Tensor | None = None,
) -> Estimate:
    """The largest step along a path over its mean step: 1 for a path that is walked evenly, points − 1 for one jump.

    Radford et al. (ICLR 2016) look for sharp transitions along such paths, which would show that images were memorised;
    this number for what they look at is our own. Steps are Euclidean distances between features of neighbouring
    points, so it depends on the features and on how many points there are.

    Args:
        decode: codes (B, D) to images (B, C, H, W); with `conditions`, of codes and their conditions (B, …).
        features: images to (B, F).
        starts, ends: codes (P, D), the two ends of each path.
        points: on a path, both ends included; at least 3.
        centre: (D,) about which slerp turns, as in `sampling.interpolate`, or (P, D), a path's own each.
        conditions: (P, …), of a decoder that takes one: the whole of a path is of one.

    Returns:
        The mean over the paths on which features change at all, with its standard error.

    Raises:
        DataError: when they change on no path, or some aren't finite.
        UsageError: with fewer than 3 points, where every path would be even.
    """
    if points < 3:
        raise UsageError(f"a path of {points} points has no two steps to compare; take 3 points or more")
    ratios = []
    centres = [centre] * len(starts) if centre is None or centre.ndim == 1 else list(centre)
    for start, end, about, *also in zip(starts, ends, centres, *given(conditions), strict=True):
        (codes,) = sampling.interpolate(torch.stack([start, end]), points, path, about)
        images = decode(codes, *(each.expand(points, *each.shape) for each in also))
        steps = checked(features(images)).diff(dim=0).square().sum(1).sqrt()
        if steps.any():
            ratios.append(steps.max() / steps.mean())
    if not ratios:
        raise DataError("the features don't change on any path: there are none, or the decoder ignores its code")
    return estimate(torch.stack(ratios))
