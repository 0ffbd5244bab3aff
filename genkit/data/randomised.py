"""What is done to labels and pixels, to see what a net learns by heart; and images that are cut to squares.

After Zhang et al., "Understanding deep learning requires rethinking generalization" (ICLR 2017). Labels are drawn anew
for training images alone, so that the others tell what was learned of the truth. Pixels are changed in all splits: the
images are then others, of which the held-out ones are some.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.data.batches import generator
from genkit.data.dataset import Dataset, Split
from genkit.device import free_memory
from genkit.errors import DataError, UsageError

#: Of a block of images, uint8 (B, C, H, W), makes as many others.
Change: TypeAlias = Callable[[Tensor], Tensor]

#: Share of the free memory that changed images may take.
SHARE = 0.5
#: What is done to pixels, as a model card has it.
IN_WORDS = {
    "shuffled": "shuffled, by one permutation for all",
    "permuted": "shuffled, each image's by another permutation",
    "gaussian": "noise",
}
#: Of the seeds of what is drawn.
LABELS, PIXELS = 1, 2


def as_asked(dataset: Dataset, options: DataOptions) -> Dataset:
    """The data set with labels, crop and pixels as `options` have them, in this order; by default as it is.

    Raises:
        DataError: where there are no labels, or too little memory.
        UsageError: where the images are smaller than the crop.
    """
    if options.corrupted is not None:
        dataset = relabelled(dataset, options.corrupted, options.draw_seed)
    if options.crop is not None:
        dataset = cropped(dataset, options.crop, options.crop_at == "random")
    if options.pixels != "true":
        dataset = with_pixels(dataset, options.pixels, options.draw_seed)
    return dataset


def relabelled(dataset: Dataset, odds: float, seed: int) -> Dataset:
    """The data set with each training image's label drawn anew, from all classes alike, with these odds.

    A share of `odds` · (1 − 1/K) of the labels is another one then, of K classes. With larger odds the same labels are
    drawn anew, and more, each to the same class.

    Raises:
        DataError: without classes.
    """
    labels = dataset.train.labels
    if labels is None or not dataset.classes:
        raise DataError(f"{dataset.name} has no classes, from which --labels would draw; leave it out")
    noise = generator(np.random.SeedSequence(seed, spawn_key=(LABELS,)))
    drawn = torch.rand(len(labels), generator=noise, dtype=torch.float64) < odds
    others = torch.randint(len(dataset.classes), (len(labels),), generator=noise)
    new = torch.where(drawn, others, labels)
    note = f"{int((new != labels).sum()):,} of {len(labels):,} training labels are wrong on purpose"
    train = replace(dataset.train, labels=new)
    return replace(dataset, train=train, randomised=True, notes=(*dataset.notes, note))


def cropped(dataset: Dataset, side: int, at_random: bool) -> Dataset:
    """The data set with each image cut to the square of `side` pixels at its centre.

    Args:
        at_random: keep the training images whole beside that (`Split.whole`), to be cut elsewhere in each batch.

    Raises:
        UsageError: where the images are smaller.
        DataError: where there is too little memory.
    """
    channels, height, width = dataset.shape
    if side > min(height, width):
        raise UsageError(f"--crop {side}: {dataset.name} has images of {height}×{width} pixels; give fewer, or none")
    if height == width == side:
        return dataset
    top, left = (height - side) // 2, (width - side) // 2

    def centre(images: Tensor) -> Tensor:
        return images[:, :, top : top + side, left : left + side]

    found = changed(dataset, ImageShape(channels, side, side), lambda _: centre, "--crop")
    return replace(found, train=replace(found.train, whole=dataset.train)) if at_random else found


def with_pixels(dataset: Dataset, how: str, seed: int) -> Dataset:
    """The data set with other pixels in all its images.

    Args:
        how: `shuffled`, by one permutation of places for all images; `permuted`, by another for each image; or
            `gaussian`, noise with the training images' mean and variance in each channel, rounded to what a pixel can
            be. The channels of a pixel stay together where pixels are moved.
        seed: of what is drawn. The permutation for all depends on it and the images' size alone.

    Raises:
        DataError: where there is too little memory.
    """
    shape = dataset.shape
    places = shape.height * shape.width

    def noise_of(number: int) -> torch.Generator:
        return generator(np.random.SeedSequence([seed, number], spawn_key=(PIXELS,)))

    def moved(images: Tensor, order: Tensor) -> Tensor:
        """By an order of places, (H·W,) for all or (B, H·W) for each."""
        wanted = order.expand(len(images), -1)[:, None].expand(-1, shape.channels, -1)
        return images.flatten(2).gather(2, wanted).view_as(images)

    def shuffled(_: int) -> Change:
        order = torch.randperm(places, generator=noise_of(0))
        return lambda images: moved(images, order)

    def permuted(number: int) -> Change:
        noise = noise_of(number)
        return lambda images: moved(images, torch.rand(len(images), places, generator=noise).argsort(1))

    def gaussian(number: int) -> Change:
        noise, (mean, deviation) = noise_of(number), moments(dataset.train)

        def drawn(images: Tensor) -> Tensor:
            values = torch.randn(images.shape, generator=noise) * deviation + mean
            return values.round_().clamp_(0, 255).to(torch.uint8)

        return drawn

    changes = {"shuffled": shuffled, "permuted": permuted, "gaussian": gaussian}
    found = changed(dataset, shape, changes[how], f"--pixels {how}")
    note = f"their pixels are {IN_WORDS[how]}"
    return replace(found, randomised=found.randomised or how != "shuffled", notes=(*dataset.notes, note))


def moments(split: Split) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of a split's images, from 0 to 255: two of (C, 1, 1)."""
    channels = split.storage.shape[1]
    total = torch.zeros(2, channels, dtype=torch.float64)
    for block in torch.arange(len(split)).split(split.block_length()):
        values = split.images(block).double()
        total += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
    mean, square = total / (len(split) * math.prod(split.storage.shape[2:]))
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    return mean.float().view(-1, 1, 1), deviation.float().view(-1, 1, 1)


def changed(dataset: Dataset, shape: ImageShape, change: Callable[[int], Change], flag: str) -> Dataset:
    """The data set with other images in the same rows, in memory. Splits that share a block of images share a new one.

    Rows that no split has are left empty.

    Args:
        shape: of the new images.
        change: given the number of a block, what makes new images of its own, in the order of their rows.
        flag: that asks for it.

    Raises:
        DataError: where there is too little memory.
    """
    blocks: dict[int, list[Split]] = {}
    for split in dataset.splits().values():
        blocks.setdefault(id(split.storage), []).append(split)
    needed, free = sum(map(len, dataset.splits().values())) * shape.numbers, free_memory()
    if needed > SHARE * free:
        raise DataError(
            f"{dataset.name}: {flag} keeps its images in memory, {needed / 1e9:.1f} GB, of which "
            f"{free / 1e9:.1f} GB are free; give a smaller --image-size, or leave it out"
        )
    made: dict[int, Tensor] = {}
    for number, (key, splits) in enumerate(blocks.items()):
        first, one = splits[0], change(number)
        every = Split(first.storage, torch.cat([split.rows for split in splits]).unique(), file=first.file)
        made[key] = torch.zeros(len(first.storage), *shape, dtype=torch.uint8)  # memory is taken by what is written
        for part in torch.arange(len(every)).split(every.block_length()):
            made[key][every.rows[part]] = one(every.images(part))

    def with_made(split: Split) -> Split:
        return replace(split, storage=made[id(split.storage)], fingerprints=None, file=None, whole=None)

    train, val, test = (with_made(split) for split in (dataset.train, dataset.val, dataset.test))
    return replace(dataset, train=train, val=val, test=test)
