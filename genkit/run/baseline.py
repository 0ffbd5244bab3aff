"""What a model that gives images back is held against at the end of training: the mean image, and PCA.

A bounded look, of some seconds at most: the topic reconstruction of `genkit evaluate` takes all images, and PCA itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from genkit import device
from genkit.contract import Model, ability
from genkit.data.batches import in_order
from genkit.data.dataset import Dataset, Split
from genkit.step.passes import evaluation_batch, told
from genkit.wording import counted

#: Images that are given back, images that PCA is fitted to, and numbers that either may be: fewer where they are large.
TEST_IMAGES, TRAIN_IMAGES, NUMBERS = 1000, 5000, 2**25
#: Images that a model gives back whose codes are the noise, which asks its net as often as its solver has steps.
FEW_IMAGES = 64
#: Images × numbers × components that PCA takes: some seconds.
PRODUCTS = 2**30
#: Components beyond those that are wanted, by which the randomised algorithm finds these well.
OVERSAMPLED = 8
#: A model is no worse whose error is within this factor: no linear autoencoder beats PCA, and none should be told so.
TOLERANCE = 1.1


class Baseline(NamedTuple):
    """Squared errors of test images, summed over an image and averaged over images.

    Attributes:
        model: of the images that it gives back.
        mean: where the training images' mean is given for each.
        pca: by as many components of the training images as the code has numbers; None where that wasn't measured.
        components: how many those are: fewer, where there are hardly as many training images.
    """

    model: float
    mean: float
    pca: float | None
    components: int

    @property
    def pca_in_words(self) -> str:
        return f"PCA with {counted(self.components, 'component')}"

    @property
    def beaten_by(self) -> list[str]:
        """What reconstructs better than the model."""
        found = {"the mean training image": self.mean, self.pca_in_words: self.pca}
        return [name for name, value in found.items() if value is not None and self.model > TOLERANCE * value]

    def __str__(self) -> str:
        pca = "" if self.pca is None else f", and {self.pca_in_words} {self.pca:.4g}"
        return (
            f"images are given back with a squared error of {self.model:.4g} each; the mean training image has "
            f"{self.mean:.4g}{pca}"
        )


@torch.no_grad()
def measure(model: Model, dataset: Dataset, where: torch.device, seed: int) -> Baseline | None:
    """Hold a model in evaluation mode against both; None of one that doesn't give images back.

    PCA is left out of a code with as many numbers as an image has, or where it would take too long.
    """
    if not (ability.encodes(model) and ability.generates(model)):
        return None
    numbers = model.image.numbers
    most = FEW_IMAGES if ability.codes_are_noise(model) else TEST_IMAGES
    test = dataset.test.take(dataset.test.spread(min(most, max(1, NUMBERS // numbers))))
    mean = dataset.train.mean().flatten()
    errors = {"model": 0.0, "mean": 0.0, "pca": 0.0}
    axes = principal_axes(dataset.train, mean, model.options.latent_dim, seed)
    components = model.options.latent_dim if axes is None else axes.shape[1]
    for batch in in_order(test, evaluation_batch(model.image), where):
        also = told(model, batch)
        output = model.decode(model.encode(batch.images, *also), *also)  # type: ignore[operator]  # a module, for mypy
        centred = batch.images.flatten(1).cpu() - mean
        errors["model"] += float((output - batch.images).double().square().sum())
        errors["mean"] += float(centred.double().square().sum())
        if axes is not None:
            errors["pca"] += float((centred - centred @ axes @ axes.T).double().square().sum())
    shares = {name: value / len(test) for name, value in errors.items()}
    return Baseline(shares["model"], shares["mean"], None if axes is None else shares["pca"], components)


def principal_axes(train: Split, mean: Tensor, components: int, seed: int) -> Tensor | None:
    """The first principal axes (P, components) of training images, or all that they have; None of as many as pixels.

    By the randomised algorithm of Halko, Martinsson and Tropp (SIAM Review, 2011), from evenly spaced images; of few
    images, exactly.
    """
    numbers, width = len(mean), components + OVERSAMPLED
    chosen = train.spread(max(1, min(TRAIN_IMAGES, NUMBERS // numbers, PRODUCTS // (numbers * width))))
    few = width >= min(len(chosen), numbers)
    if components >= numbers or len(chosen) < 2 or (few and len(chosen) < min(len(train), components)):
        return None
    pixels = torch.cat([train.images(part).flatten(1) for part in chosen.split(500)]).float() / 255
    if few:
        axes = torch.linalg.svd(pixels - mean, full_matrices=False)[2]
        return axes[: min(components, len(chosen) - 1)].T
    with device.seeded(seed, torch.device("cpu")):
        return torch.svd_lowrank(pixels - mean, width)[2][:, :components]
