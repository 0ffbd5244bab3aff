"""What training itself measures, after every epoch: a model's losses on held-out images, and what ranks checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from genkit.contract import Model, ability, scalars
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.device import seeded
from genkit.latent.scores import knn_error
from genkit.step.passes import encode_split, evaluation_batch, told

#: Samples, and as many real images, that a sample metric compares during training; fewer where images are large.
SAMPLE_COUNT, SAMPLE_NUMBERS = 1000, 2**27
#: Images whose codes are looked at: enough to tell a dead unit, and a small part of a validation.
ENCODED = 2000
#: Before the name of a monitor that is measured of training images, and how many of them, evenly spaced, at most.
OF_TRAINING, TRAINING_COUNT = "train_", 5000
#: Side of the patches that `sliced_wasserstein` compares, and how many places of each scale it looks at.
PATCH = 8
PLACES = 8


def validate(
    model: Model,
    split: Split,
    device: torch.device,
    seed: int = 0,
    phases: Collection[str] | None = None,
    beside: Split | None = None,
    train: Split | None = None,
) -> dict[str, float]:
    """The model's own losses over a split, averaged over its images, plus the metric that it is monitored by.

    A model that is trained on two sets sees the images of `beside` with them, one with each, from the first again where
    they are fewer.

    The losses are those of `phases`, by their names; by default of all. A loss may take gradients itself, as a gradient
    penalty does: the weights are frozen, so that no others are computed.

    A model that is monitored by what it comes to on its training images (`train_error`) is measured by up to
    TRAINING_COUNT of `train`, in evaluation mode too, where those are given.

    What only several images can tell, `active_units`, `spread` and `diversity`, is left out of a split of one.

    Noise (z, binarisation) is drawn from `seed`, so two validations see the same, and the training's random generators
    are left as they were.
    """
    model.eval()
    with seeded(seed, device), frozen(model):
        metrics = mean_losses(model, split, device, phases, beside)
        if train is not None and model.monitor.startswith(OF_TRAINING):
            some = mean_losses(model, train.take(train.spread(TRAINING_COUNT)), device, phases, None)
            wanted = model.monitor.removeprefix(OF_TRAINING)
            metrics |= {model.monitor: some[wanted]} if wanted in some else {}
        if ability.encodes(model):
            metrics |= of_codes(model, split.take(split.spread(ENCODED)), device)
        if ability.generates(model) and model.monitor in SAMPLE_METRICS:
            size = evaluation_batch(model.image)
            chosen = split.take(split.spread(min(SAMPLE_COUNT, max(2, SAMPLE_NUMBERS // model.image.numbers))))
            batches = [(batch.images, told(model, batch)) for batch in in_order(chosen, size, device)]
            real = torch.cat([images for images, _ in batches])
            noise = torch.randn(len(real), model.options.latent_dim, device=device)
            pairs = zip(noise.split(size), (condition for _, condition in batches), strict=True)
            samples = torch.cat([model.decode(model.prior(part, *also), *also) for part, also in pairs])
            metrics[model.monitor] = SAMPLE_METRICS[model.monitor](samples, real)
            if len(real) > 1:
                metrics["diversity"] = diversity(samples, real)
    return metrics


def mean_losses(
    model: Model, split: Split, device: torch.device, phases: Collection[str] | None, beside: Split | None
) -> dict[str, float]:
    """The losses of these phases, or of all, averaged over a split's images."""
    collected: dict[str, list[Tensor]] = {}
    counts = []
    for batch in in_order(split, evaluation_batch(model.image), device, beside):
        counts.append(len(batch.images))
        for phase in model.phases():
            if phases is not None and phase.name not in phases:
                continue
            prefix = f"{phase.name}/" if phase.name else ""
            losses = phase.losses(batch)
            batch = batch.after(losses)
            for name, value in scalars(losses).items():
                collected.setdefault(prefix + name, []).append(value.detach())
    shares = torch.tensor(counts, dtype=torch.float64) / len(split)
    return {name: float(torch.stack(values).cpu().double() @ shares) for name, values in collected.items()}


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """No gradient of a weight is computed inside, or remembered for; afterwards, what could move can move again."""
    free = [each for each in model.parameters() if each.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for each in free:
            each.requires_grad_(True)


def of_codes(model: Model, some: Split, device: torch.device) -> dict[str, float]:
    """What is measured of a model's codes of these images: the active units, and what it is monitored by, if that is
    one of `CODE_METRICS`, with how far the codes spread. The latter only of labelled images."""
    labels = some.labels if model.monitor in CODE_METRICS else None
    counted = len(some) > 1 and not ability.codes_are_noise(model)
    if labels is None and not counted:
        return {}
    codes = encode_split(model, some, device)
    found: dict[str, float] = {"active_units": active_units(codes)} if counted else {}
    if labels is not None:
        found[model.monitor] = CODE_METRICS[model.monitor](codes, labels)
        found |= {"spread": spread(codes)} if len(some) > 1 else {}
    return found


def active_units(codes: Tensor) -> int:
    """How many latent dimensions carry something: those whose code varies over the data by more than 0.01.

    For a VAE, whose code is the posterior mean, this is Var_x(E[z|x]) > 0.01 of Burda et al. (ICLR 2016).
    """
    return int((codes.var(0, unbiased=False) > 0.01).sum())


def spread(codes: Tensor) -> float:
    """How far codes (N, D) are from their mean: the root of the mean squared distance, in the codes' unit."""
    return float(codes.double().var(0, unbiased=False).sum().sqrt())


def sliced_wasserstein(samples: Tensor, real: Tensor, directions: int = 256) -> float:
    """How far two sets of images are apart, from fine texture to whole shapes; 0 for equal sets, in pixel units.

    After the sliced Wasserstein distance of Karras et al. (ICLR 2018): at every scale, from the full size down to at
    most 8 pixels a side, small patches at the same places of both sets are projected on random directions, and the
    sorted projections compared. It needs neither labels nor a network, so it can pick a GAN's best checkpoint
    whatever the data.

    Args:
        samples, real: (N, C, H, W) in [0, 1], as many of each.
    """
    generator = torch.Generator().manual_seed(0)
    distances = []
    while True:
        for top, left, side in patch_places(real.shape[2], real.shape[3], generator):
            place = (..., slice(top, top + side), slice(left, left + side))
            ours, theirs = samples[place].flatten(1), real[place].flatten(1)
            direction = torch.randn(ours.shape[1], directions, generator=generator).to(ours)
            direction /= direction.norm(dim=0)
            gap = (ours @ direction).sort(0).values - (theirs @ direction).sort(0).values
            distances.append(gap.abs().mean() / side)
        if min(real.shape[2:]) <= PATCH:
            return float(torch.stack(distances).mean())
        samples, real = F.avg_pool2d(samples, 2), F.avg_pool2d(real, 2)


def diversity(samples: Tensor, real: Tensor) -> float:
    """How far a sample is from its nearest other sample, as a share of the same among real images; means of both.

    About 1 for samples as varied as the images, near 0 for a generator that repeats itself (mode collapse).

    Args:
        samples, real: (N, C, H, W) in [0, 1], as many of each, at least 2. Sides above 32 pixels are halved first.
    """

    def nearest(images: Tensor) -> Tensor:
        while min(images.shape[2:]) > 32:
            images = F.avg_pool2d(images, 2)
        flat = images.flatten(1)
        distances = torch.cdist(flat, flat)
        return distances.fill_diagonal_(torch.inf).min(1).values.mean()

    return float(nearest(samples) / nearest(real).clamp(min=1e-12))


def patch_places(height: int, width: int, generator: torch.Generator) -> list[tuple[int, int, int]]:
    """(top, left, side) of the patches to compare at one scale; a single one where a patch fills the image."""
    side = min(PATCH, height, width)
    if height == width == side:
        return [(0, 0, side)]
    tops = torch.randint(height - side + 1, (PLACES,), generator=generator).tolist()
    lefts = torch.randint(width - side + 1, (PLACES,), generator=generator).tolist()
    return [(top, left, side) for top, left in zip(tops, lefts, strict=True)]


#: What a model can name as its `monitor` that no phase logs: of samples and as many real images; of codes and labels.
SAMPLE_METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {"sliced_wasserstein": sliced_wasserstein}
CODE_METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {"knn_error": knn_error}
