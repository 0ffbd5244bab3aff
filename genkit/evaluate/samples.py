"""How far are a model's samples from real images, what do they miss, and are they copies of the training images?

Distances are of features, and the features are those of the data set's own judge (`judge.py`, `self_supervised.py`), or
of a net that somebody gives (`judge_file.py`): only an Inception-v3 of FID's makes a figure comparable with published
ones. Beside each stands what other real images come to at the same number, which is what a perfect model would have.
What needs no features is measured on pixels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from genkit.contract import GenerativeModel, ability
from genkit.contract.condition import given
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.errors import DataError
from genkit.evaluate.distances import (
    ClassHistogram,
    class_histogram,
    floor,
    frechet_distance,
    kernel_distance,
    nearer_than_usual,
    precision_recall,
)
from genkit.evaluate.estimate import WILSON, Estimate
from genkit.evaluate.extractor import Extractor
from genkit.evaluate.figure import Figure, Found, LeftOut, Name, Picture
from genkit.evaluate.judge import Judge
from genkit.evaluate.neighbours import Neighbours, nearest
from genkit.evaluate.subject import Asked, Subject, progress
from genkit.latent import images as pictures
from genkit.latent import sampling
from genkit.latent.images import Row, to_float, to_uint8
from genkit.run.validation import sliced_wasserstein
from genkit.step.passes import conditions_of, evaluation_batch

#: Samples at most, where nothing else is asked for; and at least, or a neighbourhood would hold all of them.
MOST, FEWEST = 10_000, 6
#: Numbers of samples that are kept as pixels, whose distances need them all at once.
PIXEL_NUMBERS = 1 << 26
#: Samples, and held-out images, whose nearest training image is looked for; images with longer sides are halved first.
LOOKED_UP, SIDE = 2000, 32
#: Training images at a time.
BLOCK = 4096
#: Samples in each of the two halves of the picture.
SHOWN = 12

#: What the shares by neighbourhoods are of. They say where samples lie in the judge's features, not how they look: real
#: images that are far from all others have wide neighbourhoods, in which useless samples lie, too.
OVERLAP = {
    "precision": "of samples, within reach of a real image",
    "recall": "of real images, within reach of a sample",
    "density": "1 for samples that lie as densely as real images",
    "coverage": "of real images, with a sample nearby",
}
NEIGHBOURHOODS = {
    "neighbours": "3, of density 5",
    "says": "where samples lie, not how they look: a few odd real images reach far",
}
DISTANCES = ("frechet", "kernel", "precision", "recall", "density", "coverage")
OF_CLASSES = ("smallest_share", "class_entropy", "effective_classes", "share_of_each_class")


class Seen(NamedTuple):
    """A set of images as they are measured.

    Attributes:
        pixels: uint8 (N', C, H, W), of the first ones; as many as `PIXEL_NUMBERS` allows.
        features: (N, F) by the judge; None where there is none.
    """

    pixels: Tensor
    features: Tensor | None


@torch.no_grad()
def figures(subject: Subject, asked: Asked) -> list[Found]:
    model = subject.model
    assert ability.generates(model)
    available = len(subject.images)
    count = min(asked.samples or min(MOST, available // 2), available)
    if count < FEWEST:
        needed = FEWEST if asked.samples else 2 * FEWEST
        return [LeftOut("samples", f"this needs {needed} images and {FEWEST} samples or more; there are {available}")]
    judge = subject.extractor()
    # 2⁶³ is where a generator's seeds end.
    seeds = [(asked.seed * count + index) % 2**63 for index in range(count)]
    chosen = subject.images.take(subject.images.spread(2 * count))
    # In the order in which `floor` takes them: the first half, which samples are held against, is one of its two sets.
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(asked.seed))
    # Of the classes, or whatever it is, of the very images that they are held against.
    condition = conditions_of(model, chosen.take(order[:count]), subject.device)
    ours = draw(model, seeds, judge, condition)
    if ours is None:
        reason = "some samples aren't finite numbers: the model's training diverged; use an earlier checkpoint"
        return [LeftOut("samples", reason)]
    real = look_at(chosen, subject, judge)
    conditions = {**subject.conditions, "n": count, "seeds": f"{seeds[0]}-{seeds[-1]}"}
    if condition is not None:
        conditions["given"] = f"{subject.given['given']}, as often as among {count:,} real ones"
    found: list[Found] = []
    if isinstance(judge, LeftOut):
        found += [LeftOut(f"samples/{name}", judge.reason) for name in (*DISTANCES, *OF_CLASSES)]
    else:
        assert ours.features is not None
        assert real.features is not None
        found += judged(ours.features, real.features, order, count, judge, conditions, asked.seed)
    found += on_pixels(ours.pixels, chosen, order, seeds, asked.seed, conditions)
    return [*found, *copies(subject, ours.pixels, seeds)]


def draw(
    model: GenerativeModel, seeds: Sequence[int], judge: Extractor | LeftOut, condition: Tensor | None = None
) -> Seen | None:
    """The samples that the seeds give, as `genkit sample` gives them; None where some aren't finite.

    Of a model that takes a condition, those of the conditions (N, …).

    They are rounded to 8 bits, as the real images are, or their fine grain would tell them apart.
    """
    keep = PIXEL_NUMBERS // model.image.numbers
    pixels, features = [], []
    codes, size = sampling.seed_codes(model, seeds, condition), evaluation_batch(model.image)
    parts = zip(*(each.split(size) for each in (codes, *given(condition))), strict=True)
    with progress("samples", len(codes)) as bar:
        for start, (part, *also) in enumerate(parts):
            made = sampling.decode(model, part, *also)
            if not made.isfinite().all():
                return None
            made = to_uint8(made)
            pixels.append(made[: max(0, keep - start * size)])
            if isinstance(judge, Extractor):
                features.append(judge.features(to_float(made)))
            bar.update(len(part))
    return Seen(torch.cat(pixels), torch.cat(features) if features else None)


def look_at(split: Split, subject: Subject, judge: Extractor | LeftOut) -> Seen:
    """Real images, with the judge's features; their pixels are read where they are needed."""
    none = torch.empty(0, *subject.model.image, dtype=torch.uint8)
    if isinstance(judge, LeftOut):
        return Seen(none, None)
    features = []
    with progress("real images", len(split)) as bar:
        for batch in in_order(split, evaluation_batch(subject.model.image), subject.device):
            features.append(judge.features(batch.images))
            bar.update(len(batch.images))
    return Seen(none, torch.cat(features))


# ---------------------------------------------------------------------------------------------------------------------
# By the judge
# ---------------------------------------------------------------------------------------------------------------------


def judged(
    ours: Tensor, everything: Tensor, order: Tensor, count: int, judge: Extractor, conditions: dict, seed: int
) -> list[Found]:
    """Distances, overlap and classes of features (N, F), each beside what real images come to.

    All but the classifier's figures are called after what made the features: nobody takes them for one another.
    """
    real = everything[order[:count]]
    conditions = {**conditions, "features": judge.name}
    by, before = f"by {judge.by}", judge.prefix
    share = f"a share, {by}"
    measures: list[tuple[Mapping[str, str], Callable[[Tensor, Tensor], Any], dict]] = [
        ({f"{before}frechet": f"squared, of features {by}"}, frechet_distance, {}),
        ({f"{before}kernel": f"squared MMD, of features {by}"}, partial(kernel_distance, seed=seed), {}),
        ({f"{before}{name}": f"{unit}, {by}" for name, unit in OVERLAP.items()}, precision_recall, NEIGHBOURHOODS),
    ]
    found: list[Found] = []
    two_sets = len(everything) >= 2 * count
    with progress("distances", len(measures) * (1 + two_sets), "steps") as bar:
        for units, distance, more in measures:
            found += as_figures(units, distance(ours, real), {**conditions, **more})
            bar.update()
            if not two_sets:
                found += [LeftOut(f"samples/{name}_floor", too_few(count, len(everything))) for name in units]
                continue
            floors, said = floor(distance, everything, count, seed), of_real({**conditions, **more}, seed)
            found += as_figures({f"{name}_floor": unit for name, unit in units.items()}, floors, said)
            bar.update()
    found = [warned_if_few(each, count, ours.shape[1]) for each in found]
    if not judge.classes:
        attributes = isinstance(judge, Judge)
        reason = "the images have attributes and no classes" if attributes else f"{judge.by} tells no classes"
        return [*found, *(LeftOut(f"samples/{name}", reason) for name in OF_CLASSES)]
    histograms = [class_histogram(judge.labels_of(each), len(judge.classes)) for each in (ours, real)]
    for name, unit in (("smallest_share", share), ("class_entropy", f"nats, {by}"), ("effective_classes", by)):
        for histogram, suffix in zip(histograms, ("", "_floor"), strict=True):
            estimate = of_classes(histogram)[name]
            said = of_real(conditions, seed) if suffix else conditions
            if name == "smallest_share" and estimate.value in (0, 1):
                said = {**said, "error": WILSON}
            found.append(Figure(f"samples/{name}{suffix}", estimate.value, estimate.error, unit, said))
    for name, each, error in zip(judge.classes, histograms[0].shares, histograms[0].errors, strict=True):
        said = {**conditions, "error": WILSON} if float(each) in (0, 1) else conditions
        found.append(Figure(Name.of("samples", "share_of_each_class", name), float(each), float(error), share, said))
    return found


def as_figures(units: Mapping[str, str], result: float | Estimate | tuple, conditions: dict) -> list[Figure]:
    """A distance, or several shares, under their names, each with its unit."""
    if isinstance(result, Estimate):
        ((name, unit),) = units.items()
        return [Figure(f"samples/{name}", result.value, result.error, unit, conditions)]
    values = result if isinstance(result, tuple) else (result,)
    return [
        Figure(f"samples/{name}", value, None, unit, conditions)
        for (name, unit), value in zip(units.items(), values, strict=True)
    ]


def warned_if_few(found: Found, count: int, features: int) -> Found:
    """A Fréchet distance with a warning where so few images have no covariance of so many features."""
    if not isinstance(found, Figure) or not found.name.endswith("frechet") or count > features:
        return found
    reason = (
        f"{count:,} images leave the covariance of {features:,} features singular, and the distance far too large; "
        f"take more than {features:,}, and hold it against its floor alone"
    )
    return dataclasses.replace(found, warning=reason)


def too_few(count: int, available: int) -> str:
    return f"two sets of {count:,} real images need {2 * count:,}, and there are {available:,}"


def of_real(conditions: dict, seed: int) -> dict:
    """What a figure of real images depends on: not on the samples' seeds, but on the one that chooses the images."""
    return {**{key: value for key, value in conditions.items() if key != "seeds"}, "seed": seed}


def of_classes(histogram: ClassHistogram) -> dict[str, Estimate]:
    least = int(histogram.shares.argmin())
    smallest = Estimate(float(histogram.shares[least]), float(histogram.errors[least]), histogram.entropy.n)
    return {
        "smallest_share": smallest,
        "class_entropy": histogram.entropy,
        "effective_classes": histogram.effective,
    }


# ---------------------------------------------------------------------------------------------------------------------
# By pixels
# ---------------------------------------------------------------------------------------------------------------------


def on_pixels(
    ours: Tensor, chosen: Split, order: Tensor, seeds: Sequence[int], seed: int, conditions: dict
) -> list[Found]:
    """The sliced Wasserstein distance of patches, which needs neither labels nor a net; and of other real images."""
    count = len(ours)  # of large images not all are held
    real = to_float(chosen.images(order[:count]))
    conditions = {**conditions, "n": count, "seeds": f"{seeds[0]}-{seeds[count - 1]}", "features": "pixels"}
    unit = "of a pixel's range, over patches"
    found: list[Found] = [
        Figure("samples/sliced_wasserstein", sliced_wasserstein(to_float(ours), real), None, unit, conditions)
    ]
    name = "samples/sliced_wasserstein_floor"
    if len(order) < 2 * count:
        return [*found, LeftOut(name, too_few(count, len(order)))]
    others = to_float(chosen.images(order[count : 2 * count]))
    return [*found, Figure(name, sliced_wasserstein(others, real), None, unit, of_real(conditions, seed))]


def copies(subject: Subject, pixels: Tensor, seeds: Sequence[int]) -> list[Found]:
    """Whether samples are nearer to the training images than held-out images are; and the picture of both."""
    if not subject.own:
        return [LeftOut("samples/memorisation", "these aren't the images that the model was trained on")]
    splits = subject.dataset.splits()
    held_apart = subject.split in ("val", "test")
    name = subject.split if held_apart else ("test" if len(splits["test"]) else "val")
    held_out = subject.images if subject.split == name else splits[name]
    train = subject.dataset.train
    if not len(held_out) or not len(train):
        return [LeftOut("samples/memorisation", "there are no training images, or no held-out ones")]
    held_out = held_out.take(held_out.spread(LOOKED_UP))
    samples = pixels[:LOOKED_UP]
    queries = torch.cat([compact(samples), compact(held_out.images())])
    found = in_training(queries, train)
    distances = found.distances[:, 0]
    try:
        result = nearer_than_usual(*distances.split([len(samples), len(held_out)]))
    except DataError as error:
        return [LeftOut("samples/memorisation", str(error))]
    side = halved(samples[:1].float()).shape[-2:]
    conditions = {
        **subject.conditions,
        "n": len(samples),
        "held out": f"{len(held_out):,} {name} images",
        "training images": len(train),
        "features": "pixels" if side == samples.shape[-2:] else f"pixels, halved to {side[0]}×{side[1]}",
        "seeds": f"{seeds[0]}-{seeds[len(samples) - 1]}",
    }
    unit = "1 for samples as new as held-out images, 0 for copies"
    nearer = "½ for samples as new as held-out images, 1 for copies"
    return [
        Figure("samples/memorisation_ratio", result.ratio, None, unit, conditions),
        Figure("samples/memorisation_nearer", result.nearer, None, nearer, conditions),
        Picture("nearest", sheet(subject, samples, held_out, found, seeds)),
    ]


def halved(images: Tensor) -> Tensor:
    """Images (N, C, H, W) with the shorter side brought to `SIDE` or less, by halving."""
    while min(images.shape[-2:]) > SIDE:
        images = F.avg_pool2d(images, 2)
    return images


def compact(pixels: Tensor) -> Tensor:
    """uint8 images (N, C, H, W) as rows (N, F) in [0, 1] to be held against one another."""
    return torch.cat([halved(to_float(part)).flatten(1) for part in pixels.split(BLOCK)])


def in_training(queries: Tensor, train: Split) -> Neighbours:
    """The nearest training image of each query (N, F), as `nearest` finds it, without all of them in memory."""
    indices = torch.zeros(len(queries), 1, dtype=torch.int64)
    distances = torch.full((len(queries), 1), math.inf, dtype=torch.float64)
    with progress("nearest training images", len(train)) as bar:
        for positions in torch.arange(len(train)).split(BLOCK):
            near = nearest(queries, compact(train.images(positions)))
            closer = near.distances < distances
            distances = torch.where(closer, near.distances, distances)
            indices = torch.where(closer, positions[near.indices], indices)
            bar.update(len(positions))
    return Neighbours(indices, distances)


def sheet(
    subject: Subject, samples: Tensor, held_out: Split, found: Neighbours, seeds: Sequence[int]
) -> pictures.Image.Image:
    """Samples above their nearest training images: those that are nearest of all, and the first ones.

    Below them, as a measure of both, held-out images that are nearest of all to training images.

    Args:
        found: of the samples, then of the held-out images.
    """
    ours, usual = found.distances[:, 0].split([len(samples), len(held_out)])
    nearest_real = usual.argsort(stable=True)[:SHOWN]
    rows: list[Row] = []
    for caption, distances, first, chosen, shown in (
        ("samples, nearest of all", ours, 0, ours.argsort(stable=True)[:SHOWN], samples),
        ("samples, the first", ours, 0, torch.arange(len(samples))[:SHOWN], samples),
        ("real held-out images, nearest of all", usual, len(samples), nearest_real, None),
    ):
        images = held_out.images(chosen) if shown is None else shown[chosen]
        names = [] if shown is None else [f"seed {seeds[index]}" for index in chosen.tolist()]
        training = subject.dataset.train.images(found.indices[first + chosen, 0])
        if rows:
            rows.append(Row("", samples[:0]))
        apart = [f"{distances[index]:.2f}" for index in chosen.tolist()]
        rows += [Row(caption, images, names), Row("nearest training image, and its distance", training, apart)]
    title = (
        f"{subject.opened.name}, checkpoint {subject.opened.checkpoint.path.name}: {len(samples):,} samples and their "
        "nearest training images. Their distance is the root of the summed squares of differences of pixels, which go "
        f"from 0 to 1: {ours.quantile(0.5):.2f} in the median, and {usual.quantile(0.5):.2f} that of "
        f"{len(held_out):,} real held-out images from theirs"
    )
    return pictures.sheet(rows, title=title)
