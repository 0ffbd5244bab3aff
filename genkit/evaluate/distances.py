"""How far two sets of images are apart, what one of them misses of the other, and how near copies are.

All of it compares features (N, F), whoever extracted them, and so depends on the extractor: numbers of different ones
can't be compared, and neither can Fréchet distances at different N. `floor` says what real images come to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from genkit.errors import DataError
from genkit.evaluate.estimate import Estimate, checked, compared, error_of_share, estimate
from genkit.evaluate.neighbours import nearest, squared_distances

Result = TypeVar("Result")

#: A kernel distance is the mean over so many blocks, or more where there would be more images a block than this.
KERNEL_BLOCKS, KERNEL_BLOCK = 10, 1000


# ---------------------------------------------------------------------------------------------------------------------
# Distances
# ---------------------------------------------------------------------------------------------------------------------


def frechet_distance(ours: Tensor, real: Tensor) -> float:
    """Fréchet distance of the two sets' Gaussians (Heusel et al., NeurIPS 2017): the FID on Inception's features.

    |m₁ − m₂|² + tr(S₁ + S₂ − 2 (S₁S₂)^½), in the features' unit squared; from 0, for equal sets, to infinity. It is too
    large by an amount that falls about as 1/N and grows with F, so it is compared at equal N only. Covariances may be
    singular, as they are where there are fewer images than features.

    Args:
        ours, real: (N, F) and (M, F), at least 2 of each.

    Raises:
        DataError: when there are fewer, or some features aren't finite.
    """
    ours, real = compared(ours, real)
    factors = []
    for features in (ours, real):
        centred = (features - features.mean(0)) / math.sqrt(len(features) - 1)
        factors.append(torch.linalg.qr(centred, mode="r").R)  # RᵀR is the covariance
    # The eigenvalues of S₁S₂ are those of the symmetric R₁ S₂ R₁ᵀ, which is A Aᵀ with A = R₁ R₂ᵀ: so their square roots
    # are A's singular values. To take roots of eigenvalues would make 1e-8 of a zero that rounding left at 1e-16.
    shared = torch.linalg.svdvals(factors[0] @ factors[1].T).sum()
    traces = factors[0].square().sum() + factors[1].square().sum()
    distance = (ours.mean(0) - real.mean(0)).square().sum() + traces - 2 * shared
    return float(distance.clamp(min=0))


def kernel_distance(ours: Tensor, real: Tensor, block: int = KERNEL_BLOCK, seed: int = 0) -> Estimate:
    """Unbiased squared MMD with the kernel (x·y/F + 1)³ (Bińkowski et al., ICLR 2018), the KID on Inception's features.

    0 on average where both sets come from one distribution, whatever their number, so a single value may be below 0.
    The mean over disjoint random blocks of both sets, of at most `block` images each and at least 10 blocks where there
    are 20 images: no image is in two of them, so their spread gives a standard error, which random subsets that
    overlap would understate.

    Args:
        ours, real: (N, F) and (M, F), at least 2 of each; of the larger set, as many as of the smaller one are used.
        block: images of each set in a block at most, at least 2.

    Raises:
        DataError: when there are fewer, or some features aren't finite.
    """
    ours, real = compared(ours, real)
    count = min(len(ours), len(real))
    size = max(2, min(block, count // KERNEL_BLOCKS))
    generator = torch.Generator().manual_seed(seed)
    ours, real = (each[torch.randperm(len(each), generator=generator)[:count]] for each in (ours, real))
    pairs = list(zip(ours.split(size), real.split(size), strict=True))
    return estimate(torch.stack([squared_mmd(*pair) for pair in pairs if len(pair[0]) == size]))


def squared_mmd(ours: Tensor, real: Tensor) -> Tensor:
    """The unbiased estimate () of squared MMD from as many of each (N, F): no image is paired with itself."""
    count, width = ours.shape

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / width + 1) ** 3

    def within(features: Tensor) -> Tensor:
        pairs = kernel(features, features)
        return (pairs.sum() - pairs.trace()) / (count * (count - 1))

    return within(ours) + within(real) - 2 * kernel(ours, real).mean()


def floor(distance: Callable[[Tensor, Tensor], Result], real: Tensor, count: int, seed: int = 0) -> Result:
    """What a distance comes to between real images and other real images: what a perfect model would have.

    Args:
        distance: of two sets of features, such as `frechet_distance`.
        real: (N, F), at least twice `count` of them.
        count: images in each of the two disjoint sets; that of the samples, for a distance that depends on it.

    Raises:
        DataError: when there aren't enough.
    """
    if len(real) < 2 * count:
        raise DataError(f"two disjoint sets of {count} real images need {2 * count} of them, and there are {len(real)}")
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed)).to(real.device)
    return distance(real[order[:count]], real[order[count : 2 * count]])


# ---------------------------------------------------------------------------------------------------------------------
# Fidelity and variety
# ---------------------------------------------------------------------------------------------------------------------


class Overlap(NamedTuple):
    """How two sets of images lie in one another.

    Attributes:
        precision: share of the samples that lie where real images are, in [0, 1].
        recall: share of the real images that lie where samples are, in [0, 1].
        density: real neighbourhoods that a sample lies in, as a share of k; 1 for real images, and possibly more.
        coverage: share of the real images that have a sample in their neighbourhood, in [0, 1].
    """

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(ours: Tensor, real: Tensor, k: int = 3, density_k: int = 5) -> Overlap:
    """Improved precision and recall, and density and coverage.

    After Kynkäänniemi et al. (NeurIPS 2019) and Naeem et al. (ICML 2020). A neighbourhood is the closed ball about an
    image that reaches to its k-th nearest other image of the same set. Precision and recall take balls of `k`, density
    and coverage of `density_k`, both the papers' own. Compare them at equal N and M only.

    Args:
        ours, real: (N, F) and (M, F), more of each than `k` and `density_k`.

    Raises:
        DataError: when there are fewer, or some features aren't finite.
    """
    ours, real = compared(ours, real, fewest=max(k, density_k) + 1)
    real_radii = nearest(real, real, max(k, density_k), itself=True).distances.square()
    our_radii = nearest(ours, ours, k, itself=True).distances[:, -1].square()
    precise = covering = 0
    recalled, covered = torch.zeros(2, len(real), dtype=torch.bool)
    for positions, squared in squared_distances(ours, real):
        precise += int((squared <= real_radii[:, k - 1]).any(1).sum())
        recalled |= (squared <= our_radii[positions, None]).any(0)
        within = squared <= real_radii[:, density_k - 1]
        covering += int(within.sum())
        covered |= within.any(0)
    return Overlap(
        precision=precise / len(ours),
        recall=float(recalled.double().mean()),
        density=covering / (density_k * len(ours)),
        coverage=float(covered.double().mean()),
    )


class ClassHistogram(NamedTuple):
    """How samples spread over classes.

    Attributes:
        shares: float64 (K,), each class's share of the samples, in [0, 1].
        errors: float64 (K,), the shares' standard errors (`error_of_share`).
        entropy: in nats, from 0 for a single class to ln K for equal shares.
        effective: e^entropy, from 1 to K: the number of equally frequent classes with the same entropy.
    """

    shares: Tensor
    errors: Tensor
    entropy: Estimate
    effective: Estimate


def class_histogram(classes: Tensor, count: int) -> ClassHistogram:
    """How evenly samples, classified as `classes`, spread over `count` classes.

    The entropy is that of the shares, which is too low by about (K − 1)/2N. Its variance is taken to the second order
    (Harris 1975): to the first it is 0 where all classes are equally frequent, which no count of samples is.

    Args:
        classes: int64 (N,), each in [0, count), at least 2.

    Raises:
        DataError: when there are fewer, or a class isn't among the `count`.
    """
    classes = classes.detach().cpu()
    number = len(classes)
    if number < 2:
        raise DataError(f"shares of classes need 2 samples or more, not {number}")
    if classes.min() < 0 or classes.max() >= count:
        raise DataError(f"classes go from 0 to {count - 1}, and there are some from {classes.min()} to {classes.max()}")
    shares = torch.bincount(classes, minlength=count).double() / number
    present = shares[shares > 0]
    entropy = float((present * (1 / present).log()).sum())  # of a single class 0, and not −0
    # Chance alone makes shares that are equal differ, and so this by (K − 1)/N.
    chance = (len(present) - 1) / number
    first = max(0.0, float((present * present.log().square()).sum()) - entropy**2 - chance)
    error = math.sqrt((first + chance / 2) / number)
    effective = math.exp(entropy)
    return ClassHistogram(
        shares,
        torch.tensor([error_of_share(each, number) for each in shares.tolist()], dtype=torch.float64),
        Estimate(entropy, error, number),
        Estimate(effective, effective * error, number),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Memorisation
# ---------------------------------------------------------------------------------------------------------------------


class Memorisation(NamedTuple):
    """How near samples are to the images that the model was trained on, next to images that it has never seen.

    Attributes:
        ratio: the median distance of a sample from its nearest training image, over the same of held-out images. About
            1 for samples as new as they are, 0 where half of the samples or more are copies.
        nearer: the probability that a sample is nearer to its nearest training image than a held-out image to its own.
            About ½ for samples as new as they are, 1 for copies.
    """

    ratio: float
    nearer: float


def memorisation(ours: Tensor, train: Tensor, held_out: Tensor) -> Memorisation:
    """Whether samples are copies of training images; `nearer` is the statistic of Meehan et al. (AISTATS 2020).

    Smooth samples lie nearer to everything than real images do, so values a little beyond 1 and ½ don't accuse a model.

    Args:
        ours, train, held_out: (N, F), (M, F) and (L, F). Pixels are features, too, and find pixels' copies.

    Raises:
        DataError: when there are none, some aren't finite, or half of the held-out images are training images.
    """
    checked(held_out, fewest=1)
    return nearer_than_usual(*(nearest(each, train).distances[:, 0] for each in (ours, held_out)))


def nearer_than_usual(samples: Tensor, others: Tensor) -> Memorisation:
    """The same by each one's distance from its nearest training image: of samples (N,) and of held-out images (L,)."""
    usual = others.quantile(0.5)
    if usual == 0:
        raise DataError("half of the held-out images or more lie among the training images, and can't be a measure")
    ordered = others.sort().values
    # Pairs that are as near as each other count by half.
    beyond = len(others) - torch.searchsorted(ordered, samples, right=True)
    level = torch.searchsorted(ordered, samples, right=True) - torch.searchsorted(ordered, samples)
    return Memorisation(
        ratio=float(samples.quantile(0.5) / usual),
        nearer=float((beyond + level / 2).double().mean() / len(others)),
    )
