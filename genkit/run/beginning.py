"""What a model may know of its training images before its first step: their mean, axes, or what it measures itself."""

from __future__ import annotations

import torch
from torch import Tensor

from genkit import device
from genkit.contract import Model
from genkit.contract.images import PrincipalAxes
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.step.passes import evaluation_batch

#: Images that are looked at, and numbers that they may be: fewer where they are large.
IMAGES, NUMBERS = 10_000, 2**25
#: Images × numbers × axes of one product of the randomised algorithm, which takes six: some seconds.
PRODUCTS = 2**33
#: Axes beyond those that are wanted, by which the randomised algorithm finds these well, and its power iterations.
OVERSAMPLED, ITERATIONS = 16, 3
#: The most axes that are looked for; and up to how many images, or numbers of one, the decomposition is exact anyway.
MOST_AXES, EXACT = 1024, 512
#: No variance is below this: of values that are rounded to 256 grey levels.
LEAST_VARIANCE = (1 / 255) ** 2 / 12


class Beginning:
    """A look at training images: the same every time, to the bit, and bounded.

    Args:
        train: the images.
        seed: of the randomised algorithm.
        mirrored: whether each image is taken with its mirror image, as in a training that mirrors them at random.
    """

    def __init__(self, train: Split, seed: int, mirrored: bool = False):
        self.train, self.seed, self.mirrored = train, seed, mirrored

    def mean(self) -> Tensor:
        mean = self.train.mean()
        return (mean + mean.flip(2)) / 2 if self.mirrored else mean

    @torch.no_grad()
    def principal_axes(self, count: int) -> PrincipalAxes:
        """See `contract.images.TrainingStart`.

        By the randomised algorithm of Halko, Martinsson and Tropp (SIAM Review, 2011), from evenly spaced images, or by
        an exact decomposition where there are hardly more images or numbers than axes.
        """
        shape = self.train.storage.shape[1:]
        numbers = shape.numel()
        count = min(count, MOST_AXES)
        width, copies = count + OVERSAMPLED, 1 + self.mirrored
        most = min(IMAGES, NUMBERS // (numbers * copies), PRODUCTS // (numbers * width * copies))
        chosen = self.train.spread(max(1, most))
        pixels = torch.cat([self.train.images(part) for part in chosen.split(500)]).float() / 255
        if self.mirrored:
            pixels = torch.cat([pixels, pixels.flip(3)])
        pixels = pixels.flatten(1)
        mean = pixels.mean(0)
        pixels -= mean
        rank = min(len(pixels) - 1, numbers)
        count = min(count, rank)
        if width < rank and rank > EXACT:
            with device.seeded(self.seed, torch.device("cpu")):
                _, sizes, axes = torch.svd_lowrank(pixels, width, ITERATIONS)
        else:
            _, sizes, axes = torch.linalg.svd(pixels, full_matrices=False)
            axes = axes.T
        axes, variances = axes.T[:count].contiguous(), (sizes[:count].double() ** 2 / len(pixels)).float()
        left = float(pixels.double().square().sum()) / len(pixels) - float(variances.double().sum())
        rest = max(left / (numbers - count), LEAST_VARIANCE) if numbers > count else LEAST_VARIANCE
        # An axis points either way; so that all machines take the same, its largest number is positive.
        if count:
            largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
            axes *= largest.sign()
        return PrincipalAxes(mean.view(shape), axes.view(count, *shape), variances, rest)


@torch.no_grad()
def measure(model: Model, train: Split, where: torch.device, seed: int, beside: Split | None = None) -> None:
    """Let a model measure what it begins with, where it does; training's random generators stay as they were.

    Args:
        train: the training images.
        where: the model's device.
        seed: of what is drawn.
        beside: training images of the second set, where there is one.
    """
    if type(model).begin_on is Model.begin_on:
        return
    chosen = train.take(train.spread(IMAGES))
    model.eval()
    with device.seeded(seed, where):
        model.begin_on(in_order(chosen, evaluation_batch(model.image), where, beside))
