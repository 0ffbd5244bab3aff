"""How unlike its training images is an image, to a trained model? A number for each image, higher for odder ones.

Whatever the model allows is measured:

- `squared_error`, of the reconstruction, summed over pixels;
- `dissimilarity`, 1 − SSIM of image and reconstruction, which sees lost structure where few pixels differ and doesn't
  hold much ink against an image (Bergmann, Löwe, Fauser, Sattlegger and Steger, "Improving unsupervised defect
  segmentation by applying structural similarity to autoencoders", VISAPP 2019);
- `neg_elbo`, of a model that tells a likelihood, from one sampled code, in nats;
- `code_distance`, of Mahalanobis from the mean of the training images' codes;
- `neighbours`, the distance to the fifth nearest of these, by the same metric.

`combined` is the mean of the logarithms of the first two, each in deviations from its mean over the validation images;
only of a model that doesn't give images back is it `neighbours`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from genkit.contract import Model, ability
from genkit.data.batches import in_order
from genkit.data.dataset import Dataset, Split
from genkit.distributions import gaussian_kl
from genkit.errors import DataError, UsageError
from genkit.evaluate import likelihood, pca
from genkit.evaluate.neighbours import nearest
from genkit.evaluate.reconstruction import squared_error, ssim
from genkit.evaluate.subject import progress
from genkit.run.baseline import principal_axes
from genkit.step.passes import EVALUATION_BATCH, evaluation_batch, told

COMBINED = "combined"
#: What is said of each in one line.
WORDS = {
    COMBINED: "squared error and dissimilarity combined",
    "squared_error": "squared error of the reconstruction",
    "dissimilarity": "1 − SSIM of image and reconstruction",
    "neg_elbo": "−ELBO in nats",
    "code_distance": "Mahalanobis distance of the code",
    "neighbours": "distance to the fifth nearest training code",
}
#: Of these is it combined.
PARTS = ("squared_error", "dissimilarity")
#: Training images whose codes are held, evenly spaced; numbers of all of these codes; neighbours that are looked at.
TRAIN, NUMBERS, NEIGHBOURS = 10_000, 1 << 24, 5
#: Numbers of a code up to which their covariance is used; of more, their variances alone.
CORRELATED = 1024
#: The share of a covariance that is as if the numbers were independent and alike, which keeps it from being singular.
SHRINKAGE = 1e-3
#: The least that a logarithm is taken of.
LEAST = 1e-12
#: Components of PCA beside a model without codes, numbers of an image up to which it is exact, and those at all.
COMPONENTS, EXACT, LARGEST = 30, 1024, 1 << 18


class Scores(NamedTuple):
    """Of N images: each score by its name, float64 (N,); `combined` is the last."""

    columns: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.columns[COMBINED])


class Codes(NamedTuple):
    """The codes of training images, and the metric in which they have mean 0 and the unit as covariance.

    Attributes:
        mean: (D,).
        factor: (D, D), lower triangular: the covariance's Cholesky factor; or (D,), the deviations alone.
        points: (N, D), the codes in that metric.
    """

    mean: Tensor
    factor: Tensor
    points: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> Codes:
        """Of codes (N, D), float64."""
        mean, width = codes.mean(0), codes.shape[1]
        centred = codes - mean
        if width > CORRELATED:
            variances = centred.square().mean(0)
            factor = ((1 - SHRINKAGE) * variances + SHRINKAGE * variances.mean()).clamp(min=LEAST).sqrt()
        else:
            covariance = centred.T @ centred / len(codes)
            alike = (SHRINKAGE * covariance.trace() / width).clamp(min=LEAST)
            factor = torch.linalg.cholesky((1 - SHRINKAGE) * covariance + alike * torch.eye(width, dtype=torch.float64))
        return cls(mean, factor, whitened(codes, mean, factor))

    def distances(self, codes: Tensor) -> dict[str, Tensor]:
        """The two distances of codes (N, D)."""
        points = whitened(codes, self.mean, self.factor)
        neighbours = nearest(points, self.points, min(NEIGHBOURS, len(self.points))).distances[:, -1]
        return {"code_distance": points.square().sum(1).sqrt(), "neighbours": neighbours}


def whitened(codes: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    if factor.ndim == 1:
        return (codes - mean) / factor
    return torch.linalg.solve_triangular(factor, (codes - mean).T, upper=False).T


def names(model: Model) -> list[str]:
    """The scores that a model allows.

    Raises:
        UsageError: of one that allows none.
    """
    found = []
    if gives_back(model):
        found += [*PARTS]
    if ability.tells_likelihood(model):
        found.append("neg_elbo")
    if ability.has(model, ability.FEATURES):
        found += ["code_distance", "neighbours"]
    if not found:
        raise UsageError(f"it {ability.FEATURES.lacks}, so images have no score by it")
    return [*found, COMBINED]


def gives_back(model: Model) -> bool:
    """Whether what it gives back of an image tells anything of it: of a code that is the noise, any image is."""
    return ability.encodes(model) and ability.generates(model) and not ability.codes_are_noise(model)


@torch.no_grad()
def measured(
    model: Model, dataset: Dataset, images: Split, device: torch.device, seed: int = 0
) -> tuple[Scores, Scores]:
    """The scores of images, and of the validation images of the set that the model was trained on.

    Args:
        dataset: on which it was trained: codes are held against those of its training images.
        seed: of the codes that are sampled for the −ELBO; an image's is a function of this and its place.

    Raises:
        DataError: when they can't be had, or aren't finite.
    """
    if not len(dataset.val):
        raise DataError(f"{dataset.name} has no validation images, by which scores would be judged")
    codes = None
    if "neighbours" in names(model):
        codes = Codes.of(features(model, references(model, dataset.train, device), device))
    found, usual = (columns(model, codes, split, device, seed) for split in (images, dataset.val))
    return combined(found, usual), combined(usual, usual)


def references(model: Model, train: Split, device: torch.device) -> Split:
    """The training images whose codes are held: fewer where these are wide."""
    width = features(model, train.take(slice(0, 1)), device).shape[1]
    return train.take(train.spread(max(2, min(TRAIN, NUMBERS // width))))


@torch.no_grad()
def features(model: Model, split: Split, device: torch.device) -> Tensor:
    """What stands for each of a split's images: (N, F) float64, on the CPU."""
    parts = []
    with progress("codes of training images", len(split)) as bar:
        for batch in in_order(split, evaluation_batch(model.image), device):
            parts.append(model.features(batch.images, *told(model, batch)).flatten(1).cpu().double())
            bar.update(len(batch.images))
    return finite(torch.cat(parts), "codes")


def columns(model: Model, codes: Codes | None, split: Split, device: torch.device, seed: int) -> dict[str, Tensor]:
    """All scores of a split's images but `combined`."""
    parts: dict[str, list[Tensor]] = {}
    points: list[Tensor] = []
    start = 0
    with progress("scores", len(split)) as bar:
        for batch in in_order(split, evaluation_batch(model.image), device):
            also = told(model, batch)
            found: dict[str, Tensor] = {}
            if gives_back(model):
                output = model.decode(model.encode(batch.images, *also), *also)  # type: ignore[operator, union-attr]
                found["squared_error"] = squared_error(output, batch.images)
                found["dissimilarity"] = 1 - ssim(output, batch.images)
            if ability.tells_likelihood(model):
                places = split.rows[start : start + len(batch.images)].tolist()
                found["neg_elbo"] = neg_elbo(model, batch.images, places, seed, *also)
            for name, values in found.items():
                parts.setdefault(name, []).append(values.cpu().double())
            if codes is not None:
                points.append(model.features(batch.images, *also).flatten(1).cpu().double())
            start += len(batch.images)
            bar.update(len(batch.images))
    found = {name: torch.cat(values) for name, values in parts.items()}
    if codes is not None:
        found |= codes.distances(finite(torch.cat(points), "codes"))
    return {name: finite(values, "scores") for name, values in found.items()}


def neg_elbo(model: ability.Likelihood, images: Tensor, places: Sequence[int], seed: int, *condition: Tensor) -> Tensor:
    """−ELBO of images (B, C, H, W) in nats, (B,), from the codes that the topic likelihood draws for their places.

    Of the pixels as they are. The topic draws those of a model of binary pixels as 0 or 1, and spreads those of a
    density over their steps: noise that would blur the score of a single image.
    """
    mean, log_variance = model.posterior(images, *condition)
    draws = [
        torch.randn(mean.shape[1], generator=likelihood.image_generator(seed, place, likelihood.ELBO))
        for place in places
    ]
    z = torch.addcmul(mean, (log_variance / 2).exp(), torch.stack(draws).to(mean))
    return gaussian_kl(mean, log_variance).sum(1) - model.log_likelihood(z.unsqueeze(1), images, *condition)[:, 0]


def combined(found: Mapping[str, Tensor], usual: Mapping[str, Tensor]) -> Scores:
    """The scores with the one that is made of others, which are held against the usual ones.

    Args:
        usual: the same of validation images.
    """
    if not all(name in found for name in PARTS):
        name = "neighbours" if "neighbours" in found else next(iter(found))
        return Scores({**found, COMBINED: found[name]})
    sums = torch.zeros(len(found[PARTS[0]]), dtype=torch.float64)
    for name in PARTS:
        logs, known = found[name].clamp(min=LEAST).log(), usual[name].clamp(min=LEAST).log()
        deviation = known.std(correction=0)
        sums += (logs - known.mean()) / torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return Scores({**found, COMBINED: sums / len(PARTS)})


def finite(values: Tensor, what: str) -> Tensor:
    """Raises DataError unless all of them are numbers."""
    if not values.isfinite().all():
        raise DataError(f"some {what} aren't finite numbers: the model's training diverged; use an earlier checkpoint")
    return values


def threshold(values: Tensor, quantile: float) -> float:
    """The least of some values (N,) that the share `quantile` of them, or more, don't exceed."""
    return float(values.sort().values[below(len(values), quantile) - 1])


def below(count: int, quantile: float) -> int:
    """Of so many values, how many a threshold at that quantile has below it, itself counted: from 1 to `count`."""
    return min(max(math.ceil(quantile * count - 1e-9), 1), count)


class Area(NamedTuple):
    """Under the receiver operating characteristic, with its standard error."""

    value: float
    error: float


def area(scores: Tensor, anomalous: Tensor) -> Area:
    """The odds that an anomalous image scores higher than a normal one; of equal scores half (AUROC).

    Its error is that of DeLong, DeLong and Clarke-Pearson (Biometrics, 1988). Where all are told apart the spread says
    nothing; there it is the end of Wilson's interval, as if the smaller of both groups were so many answers.

    Args:
        scores: (N,).
        anomalous: bool (N,), of which some are and some aren't.
    """
    odd, normal = scores[anomalous].double(), scores[~anomalous].double()
    above = ranks(torch.cat([odd, normal]))
    of_odd = (above[: len(odd)] - ranks(odd)) / len(normal)
    of_normal = 1 - (above[len(odd) :] - ranks(normal)) / len(odd)
    value = float(of_odd.mean())
    fewest = min(len(odd), len(normal))
    if fewest < 2 or value in (0.0, 1.0):
        return Area(value, 1 / (fewest + 1))
    return Area(value, float((of_odd.var() / len(odd) + of_normal.var() / len(normal)).sqrt()))


def ranks(values: Tensor) -> Tensor:
    """Of each value (N,) its place among them from 1, float64; equal ones share the mean of theirs."""
    ordered = values.sort().values
    low, high = torch.searchsorted(ordered, values), torch.searchsorted(ordered, values, right=True)
    return (low + high + 1).double() / 2


# ---------------------------------------------------------------------------------------------------------------------
# What a model is held against
# ---------------------------------------------------------------------------------------------------------------------


class Linear(NamedTuple):
    """The same scores by PCA of the training images, which are held beside a model's."""

    components: int
    scores: Scores


def by_pca(model: Model, dataset: Dataset, images: Split, seed: int = 0) -> Linear | None:
    """Of as many components as the model's code has numbers; None where that makes no sense, or would take too long."""
    count, numbers = getattr(model.options, "latent_dim", COMPONENTS), model.image.numbers
    if count >= min(numbers, len(dataset.train)) or numbers > LARGEST:
        return None
    if numbers <= EXACT:
        mean, axes = pca.fit(dataset.train, count)
    else:
        mean = dataset.train.mean().flatten()
        some = principal_axes(dataset.train, mean, count, seed)
        if some is None:
            return None
        axes = some
    parts = [_linear(mean.float(), axes.float(), split) for split in (images, dataset.val)]
    return Linear(count, combined(*parts))


def _linear(mean: Tensor, axes: Tensor, split: Split) -> dict[str, Tensor]:
    shape = split.storage.shape[1:]
    size = max(1, min(EVALUATION_BATCH, NUMBERS // math.prod(shape)))
    errors, unlike = [], []
    for rows in torch.arange(len(split)).split(size):
        pixels = split.images(rows).float() / 255
        centred = pixels.flatten(1) - mean
        output = (mean + (centred @ axes) @ axes.T).clamp(0, 1)  # as every model's are
        errors.append((output - pixels.flatten(1)).square().sum(1).double())
        unlike.append(1 - ssim(output.reshape(-1, *shape), pixels).double())
    return {"squared_error": torch.cat(errors), "dissimilarity": torch.cat(unlike)}
