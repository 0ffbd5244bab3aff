"""How well does a model give images back? Squared error, cross-entropy, PSNR and SSIM, with PCA beside them.

Images are encoded to their code, of a distribution its mean, and decoded. Everything is measured an image and averaged
over images.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from genkit.contract import ability
from genkit.data.batches import in_order
from genkit.evaluate import pca
from genkit.evaluate.figure import Figure, LeftOut, mean
from genkit.evaluate.subject import Asked, Subject, progress
from genkit.step.passes import evaluation_batch, told

#: SSIM as Wang et al. define it: the window's side and deviation in pixels, and the two constants.
WINDOW, DEVIATION, K1, K2 = 11, 1.5, 0.01, 0.03
#: Decibels that PSNR counts an image with which is given back to the bit.
HIGHEST_PSNR = 100.0
#: Numbers an image up to which PCA is fitted: its covariance matrix has their square.
PCA_NUMBERS = 4096
#: Images that are given back by a model whose codes are the noise, which asks its net dozens of times for each.
FEW_IMAGES = 500
#: Nats by which rounding may bring a cross-entropy below the least there can be.
ROUNDING = 1e-2


@torch.no_grad()
def figures(subject: Subject, asked: Asked) -> list[Figure | LeftOut]:
    model = subject.model
    assert ability.encodes(model)
    assert ability.generates(model)
    odds = model.pixels in ("odds", "bits")
    values: dict[str, list[Tensor]] = {}
    images = subject.images
    if ability.codes_are_noise(model):
        images = images.take(images.spread(FEW_IMAGES))
    with progress("reconstruction", len(images)) as bar:
        for batch in in_order(images, evaluation_batch(model.image), subject.device):
            also = told(model, batch)
            output = model.decode(model.encode(batch.images, *also), *also)  # type: ignore[operator]  # a module, for mypy
            found = {
                "squared_error": squared_error(output, batch.images),
                "psnr": psnr(output, batch.images),
                "ssim": ssim(output, batch.images),
            }
            if odds:
                found |= {"cross_entropy": cross_entropy(output, batch.images), "entropy": entropy(batch.images)}
            for name, each in found.items():
                values.setdefault(name, []).append(each.cpu())
            bar.update(len(batch.images))
    columns = {name: torch.cat(parts) for name, parts in values.items()}
    conditions = {**subject.conditions, **subject.given}
    pixels = model.image.numbers
    side = min(WINDOW, smaller_odd(model.image.height), smaller_odd(model.image.width))
    results: list[Figure | LeftOut] = [
        mean("reconstruction/squared_error", columns["squared_error"], "an image, summed over pixels", **conditions),
        mean("reconstruction/squared_error_per_pixel", columns["squared_error"] / pixels, "a pixel", **conditions),
        mean("reconstruction/psnr", columns["psnr"], "dB", **conditions),
        mean("reconstruction/ssim", columns["ssim"], "", window=side, **conditions),
    ]
    if odds:
        targets = "grey values as odds" if bool((columns["entropy"] > 0).any()) else "binary images"
        figure = mean(
            "reconstruction/cross_entropy", columns["cross_entropy"], "nats an image", targets=targets, **conditions
        )
        results.insert(2, not_below(figure, float(columns["entropy"].mean()), "the pixels' own entropy"))
    else:
        reason = "the model's output is a pixel's value, not the odds that it is 1"
        results.append(LeftOut("reconstruction/cross_entropy", reason))
    return [*results, *pca_figures(subject)]


def not_below(figure: Figure, least: float, what: str) -> Figure:
    """The figure, with a warning where it is less than anything can be."""
    if not figure.value < least - ROUNDING:  # NaN is neither, and `topics` warns of it
        return figure
    return dataclasses.replace(figure, warning=f"it is below {what}, {least:.2f}, and so can't be right")


# ---------------------------------------------------------------------------------------------------------------------
# An image against another: each takes two (B, C, H, W) in [0, 1] and gives (B,)
# ---------------------------------------------------------------------------------------------------------------------


def squared_error(output: Tensor, images: Tensor) -> Tensor:
    """Summed over an image's pixels."""
    return (output - images).square().flatten(1).sum(1)


def cross_entropy(odds: Tensor, images: Tensor) -> Tensor:
    """−Σ x ln p + (1 − x) ln(1 − p), in nats, of grey values x under the odds p that a pixel is 1.

    Odds are known to 6e-8, a single-precision number's resolution at 1: nearer to 0 or 1 they count as that.
    """
    least = 2.0**-24
    odds = odds.clamp(least, 1 - least)
    return -(images * odds.log() + (1 - images) * (-odds).log1p()).flatten(1).sum(1)  # torch's own refuses NaN


def entropy(images: Tensor) -> Tensor:
    """−Σ x ln x + (1 − x) ln(1 − x) of grey values, in nats: the least that a cross-entropy with them can be."""
    return -(torch.xlogy(images, images) + torch.xlogy(1 - images, 1 - images)).flatten(1).sum(1)


def psnr(output: Tensor, images: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels, 10 lg(1 / mean squared error); at most `HIGHEST_PSNR`."""
    return (-10 * (output - images).square().flatten(1).mean(1).log10()).clamp(max=HIGHEST_PSNR)


def ssim(output: Tensor, images: Tensor) -> Tensor:
    """Structural similarity of Wang, Bovik, Sheikh and Simoncelli (IEEE Transactions on Image Processing, 2004).

    Means, variances and covariance under a Gaussian window of 11×11 pixels and deviation 1.5, at every place where the
    whole window fits; averaged over places and channels. On images of fewer than 11 pixels a side, the window is the
    largest odd one that fits, of the same deviation.
    """
    channels = images.shape[1]
    rows, columns = (gaussian(min(WINDOW, smaller_odd(side))).to(images) for side in images.shape[2:])
    kernels = [kernel.expand(channels, 1, *kernel.shape) for kernel in (rows[:, None], columns[None])]

    def blurred(values: Tensor) -> Tensor:
        for kernel in kernels:
            values = F.conv2d(values, kernel, groups=channels)
        return values

    c1, c2 = K1**2, K2**2
    ours, theirs = blurred(output), blurred(images)
    products = ours * theirs
    squares = ours.square() + theirs.square()
    covariance = blurred(output * images) - products
    variances = blurred(output.square() + images.square()) - squares
    similarity = (2 * products + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return similarity.flatten(1).mean(1)


def gaussian(side: int) -> Tensor:
    """A window (side,) that sums to 1."""
    places = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    window = (-places.square() / (2 * DEVIATION**2)).exp()
    return window / window.sum()


def smaller_odd(side: int) -> int:
    """The largest odd number that isn't above `side`."""
    return side - 1 + side % 2


# ---------------------------------------------------------------------------------------------------------------------
# PCA
# ---------------------------------------------------------------------------------------------------------------------


def pca_figures(subject: Subject) -> list[Figure | LeftOut]:
    """What the best linear code of as many numbers reaches on the same images."""
    name, image, count = "reconstruction/pca_squared_error", subject.model.image, subject.model.options.latent_dim
    if image.numbers > PCA_NUMBERS:
        size = f"PCA is fitted to images of up to {PCA_NUMBERS:,} numbers, and these have {image.numbers:,}"
        return [LeftOut(name, size)]
    if count >= min(image.numbers, len(subject.dataset.train)):
        return [LeftOut(name, f"with {count:,} components PCA gives every image back")]
    errors = pca.fit(subject.dataset.train, count).squared_error(subject.images)
    fitted = f"the {len(subject.dataset.train):,} training images"
    conditions = {**subject.conditions, "components": count, "fitted to": fitted}
    return [mean(name, errors, "an image, summed over pixels", **conditions)]
