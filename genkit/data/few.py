"""Which images are left when only a few labels a class may be used, or a few images of a second set?"""

from __future__ import annotations

from dataclasses import replace

import torch

from genkit.data import DataOptions
from genkit.data.dataset import Dataset
from genkit.errors import DataError


def with_few_labels(dataset: Dataset, options: DataOptions) -> Dataset:
    """The data set with as many labels as `options` allow: all of them, or `labelled`."""
    if options.labels_per_class is None:
        return dataset
    return labelled(dataset, options.labels_per_class, options.labels_seed)


def with_few_images(beside: Dataset, options: DataOptions) -> Dataset:
    """A second set with as many training images as `options` allow, drawn without a look at labels.

    Raises:
        DataError: where it has too few.
    """
    wanted = options.beside_images
    if wanted is None:
        return beside
    count = len(beside.train)
    if count < wanted:
        raise DataError(
            f"{beside.name} has {count:,} training images, of which --beside-images would draw {wanted:,}; give "
            f"{count:,} or less"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(options.labels_seed))
    return replace(beside, train=beside.train.take(order[:wanted].sort().values))


def labelled(dataset: Dataset, per_class: int, seed: int) -> Dataset:
    """The data set with `per_class` training images of each class, drawn by `seed`; val and test stay whole.

    The draw of N + 1 images holds that of N, so that figures over a growing number of labels are of nested sets.

    Raises:
        DataError: without classes, or where a class has too few images.
    """
    labels = dataset.train.labels
    if labels is None:
        raise DataError(f"{dataset.name} has no classes, which --labels-per-class would draw from; leave it out")
    counts = torch.bincount(labels, minlength=len(dataset.classes))
    if int(counts.min()) < per_class:
        least = int(counts.argmin())
        few = f"only {int(counts[least]):,}" if counts[least] else "no"
        advice = f"give --labels-per-class {int(counts[least]):,} or less" if counts[least] else "leave it out"
        raise DataError(
            f"{dataset.name}: {few} training images are of the class {dataset.classes[least]}, of which "
            f"--labels-per-class would draw {per_class:,}; {advice}"
        )
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    drawn = [order[labels[order] == label][:per_class] for label in range(len(dataset.classes))]
    return replace(dataset, train=dataset.train.take(torch.cat(drawn).sort().values))
