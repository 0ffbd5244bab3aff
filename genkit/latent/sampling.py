"""Walking in a latent space: seeds to codes, codes to images, and the paths, sweeps and grids between them.

One sampler for every model: it asks only for what the contract gives. Each seed's noise is drawn by itself, on the CPU,
so an image depends neither on its neighbours nor on the device.

Of a model that takes a condition (`contract/condition.py`), every function here takes the conditions (N, …) of its N
codes or images as well; where one is left out, a seed has its own (`seed_conditions`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor
from tqdm import tqdm

from genkit.contract import GenerativeModel, Model, SamplingOptions, ability
from genkit.contract.condition import given
from genkit.errors import UsageError, plainly
from genkit.step.optim import AdamW
from genkit.step.passes import evaluation_batch

Path = Literal["slerp", "lerp"]

#: Images decoded or encoded at once, where they aren't large (`chunk_of`). The last batch is padded to this size:
#: matrix products of different heights may round differently, and an image must not change with the number of its
#: neighbours.
CHUNK = 32
#: Noise vectors from which the prior's centre and spread are measured.
MOMENT_DRAWS = 10_000


def options_of(model: GenerativeModel, values: Mapping[str, Any], name: str, flag: str = "") -> SamplingOptions:
    """The model's options of sampling with these values, and the defaults of all others.

    Args:
        values: as the person gave them; those of `model.Sampling`.
        name: of the model for the person, "a vae"; `flag` stands before each option's name.

    Raises:
        UsageError: when the model has no such option, or it can't have this value.
    """
    there = [each.replace("_", "-") if flag else each for each in model.Sampling.model_fields]
    for each in values:
        if each not in model.Sampling.model_fields:
            offer = f"there are {', '.join(there)}" if there else f"{name} has no options of its sampling"
            raise UsageError(f"{flag}{each}: no such option of the sampling; {offer}")
    try:
        return model.Sampling(**values)
    except ValidationError as error:
        fault = error.errors()[0]
        if not fault["loc"]:  # several that contradict each other, which the class's own words name
            raise UsageError(plainly(fault)) from error
        raise UsageError(f"{flag}{fault['loc'][0]} {plainly(fault)} (got {fault['input']!r})") from error


def noise(seeds: Iterable[int], dim: int) -> Tensor:
    """One N(0, I) vector a seed: (len(seeds), dim) float32 on the CPU, each row a function of its seed alone."""
    rows = [torch.randn(dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, dim)


def device_of(model: GenerativeModel) -> torch.device:
    return next(model.parameters()).device


def chunk_of(model: Model) -> int:
    """How many images are decoded or encoded at once: fewer of large ones, whose activations would fill the memory."""
    return min(CHUNK, evaluation_batch(model.image))


def seed_conditions(model: GenerativeModel, seeds: Iterable[int]) -> Tensor | None:
    """What each seed's image is of where nobody says it, (N, …) on the CPU: a function of the seed alone.

    Seed k has the class k mod the number of classes; each of its attributes is drawn by the seed, with its share of
    the training images. None of a model that takes no condition.

    Raises:
        UsageError: where the model takes an image, which no seed has.
    """
    condition = model.condition
    if condition is None:
        return None
    if condition.kind == "class":
        return torch.tensor([seed % condition.size for seed in seeds], dtype=torch.int64)
    if condition.kind == "image":
        raise UsageError("the model's decoder takes an image, which a seed hasn't got; give one")
    shares = torch.tensor(condition.shares or [0.5] * condition.size)
    draws = [torch.rand(condition.size, generator=attribute_generator(seed)) for seed in seeds]
    return (torch.stack(draws) < shares).float() if draws else torch.empty(0, condition.size)


def attribute_generator(seed: int) -> torch.Generator:
    """The random numbers of a seed's attributes, which aren't those of its noise: they would depend on each other."""
    state = np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> 1))


def seed_codes(
    model: GenerativeModel, seeds: Iterable[int], condition: Tensor | None = None, classes: Tensor | None = None
) -> Tensor:
    """The codes (N, latent_dim) that are drawn by the seeds' noise, each a function of its seed alone.

    By what was fitted to the model's codes, where that is kept; else by the model's own prior.

    Args:
        classes: int64 (N,), whose each code is to be, of a model without a condition whose fitted prior knows classes.
    """
    device, seeds = device_of(model), list(seeds)
    drawn = noise(seeds, model.options.latent_dim)
    told = given(seed_conditions(model, seeds) if condition is None else condition)
    if not len(drawn):
        return drawn.to(device)
    if model.fitted is not None:
        if model.condition is not None and model.condition.kind == "class":
            classes = told[0]
        return in_chunks(model.fitted, drawn, *given(classes), size=chunk_of(model)).to(device)
    return in_chunks(model.prior, *on(device, drawn, *told), size=chunk_of(model)).to(device)


def require_class(model: GenerativeModel, number: int, name: str) -> None:
    """Refuse a class of which no codes can be drawn.

    Args:
        model: whose fitted prior knows classes (`Conditions.drawn_by`).

    Raises:
        UsageError
    """
    assert model.fitted is not None
    if not model.fitted.knows(number):
        raise UsageError(f"no training image was of the class {name}, so that none of its codes can be drawn")


@torch.no_grad()
def decode(model: GenerativeModel, z: Tensor, condition: Tensor | None = None) -> Tensor:
    """Images (N, C, H, W) in [0, 1], on the CPU, of the codes (N, latent_dim)."""
    return in_chunks(model.decode, *on(device_of(model), z, condition), size=chunk_of(model))


@torch.no_grad()
def encode(model: GenerativeModel, images: Tensor, condition: Tensor | None = None, *, steps: int = 300) -> Tensor:
    """The codes (N, latent_dim) of images (N, C, H, W) in [0, 1], by the encoder; by `invert` where there is none."""
    if ability.encodes(model):
        given_images = on(device_of(model), images, condition)
        return in_chunks(model.encode, *given_images, size=chunk_of(model)).to(device_of(model))
    return invert(model, images, condition, steps=steps)


def reconstruct(model: GenerativeModel, images: Tensor, condition: Tensor | None = None) -> Tensor:
    """The images (N, C, H, W) as the model gives them back."""
    return decode(model, encode(model, images, condition), condition)


def on(device: torch.device, *inputs: Tensor | None) -> tuple[Tensor, ...]:
    """Those of the inputs that there are, on a device."""
    return tuple(each.to(device) for each in inputs if each is not None)


def in_chunks(function: Callable[..., Tensor], *inputs: Tensor, size: int = CHUNK) -> Tensor:
    """What `function` makes of each row of its inputs (N, …), on the CPU: the same whatever its neighbours are.

    Args:
        size: rows at once.
    """
    found = None
    for start in range(0, len(inputs[0]), size):
        chunks = [each[start : start + size] for each in inputs]
        count = len(chunks[0])
        padded = [torch.cat([chunk, chunk[-1:].expand(size - count, *chunk.shape[1:])]) for chunk in chunks]
        output = function(*padded)[:count].cpu()
        if found is None:  # the one place for all of them: put together at the end, they would be there twice
            found = output.new_empty(len(inputs[0]), *output.shape[1:])
        found[start : start + count] = output
    if found is None:
        raise ValueError("no rows")
    return found


def invert(
    model: GenerativeModel,
    images: Tensor,
    condition: Tensor | None = None,
    *,
    steps: int = 300,
    draws: int = 1000,
    lr: float = 0.05,
) -> Tensor:
    """Codes whose images come closest to the given ones in squared error, found by optimising the prior's noise.

    Each search starts from the best of `draws` random codes. Optimising the noise rather than the code keeps the result
    where the prior can reach it. Deterministic; each image is searched for by itself, some at a time.

    Args:
        images: (N, C, H, W) in [0, 1].

    Returns:
        (N, latent_dim), on the model's device.
    """
    size, codes = chunk_of(model), []
    length = (steps + len(range(0, draws, size))) * len(range(0, len(images), size))
    with tqdm(desc="searching codes", total=length, unit="step", disable=None, leave=False) as bar:
        for start in range(0, len(images), size):
            some, *told = (each[start : start + size] for each in (images, *given(condition)))
            best = Approach(0, some)
            for best in inversion(model, some, *told, steps=steps, draws=draws, lr=lr):  # noqa: B007 (the last)
                bar.update()
            codes.append(best.codes)
    return torch.cat(codes)


class Approach(NamedTuple):
    """How far a search has come: `steps` that were made, and the best codes (N, latent_dim) so far."""

    steps: int
    codes: Tensor


def inversion(
    model: GenerativeModel,
    images: Tensor,
    condition: Tensor | None = None,
    *,
    steps: int = 300,
    draws: int = 1000,
    lr: float = 0.05,
) -> Iterator[Approach]:
    """The search of `invert`, a little at a time: after some of the draws, after all of them, and after each step.

    Whoever goes through it may do something else meanwhile, in the same thread too.
    """
    images = images.to(device_of(model))
    told = on(images.device, condition)
    candidates = noise(range(draws), model.options.latent_dim).to(images.device)
    distances = torch.empty(len(images), 0)
    # An image is compared with what the draws come to under its own condition: each that there is, once.
    kinds, kind_of = torch.unique(told[0], dim=0, return_inverse=True) if told else (None, None)
    for some in candidates.split(chunk_of(model)):
        if kinds is None or kind_of is None:
            pictures = decode(model, model.prior(some)).flatten(1)
            further = torch.cdist(images.flatten(1).cpu(), pictures)
        else:
            further = torch.empty(len(images), len(some))
            for number, kind in enumerate(kinds):
                rows = repeated(kind[None], len(some))
                pictures = decode(model, model.prior(some, *given(rows)), rows).flatten(1)
                of_kind = kind_of == number
                further[of_kind.cpu()] = torch.cdist(images[of_kind].flatten(1).cpu(), pictures)
        distances = torch.cat([distances, further], 1)
        found = candidates[distances.argmin(1)]
        with torch.no_grad():
            codes = model.prior(found.clone(), *told)
        yield Approach(0, codes)
    found.requires_grad_(True)
    # Adam treats every number by itself and the loss is a sum over images, so a batch is a row of separate searches.
    optimizer = AdamW([found], lr=lr)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            loss = (model.decode(model.prior(found, *told), *told) - images).square().sum()
        (found.grad,) = torch.autograd.grad(loss, found)
        optimizer.step()
        with torch.no_grad():
            codes = model.prior(found.detach().clone(), *told)
        yield Approach(step, codes)


def repeated(condition: Tensor | None, count: int) -> Tensor | None:
    """One condition (1, …) for `count` codes: (count, …)."""
    return None if condition is None else condition.expand(count, *condition.shape[1:])


@torch.no_grad()
def prior_moments(model: GenerativeModel, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every latent number under the prior: two (latent_dim,) tensors.

    Args:
        condition: one, (1, …); by default those of the first seeds, all together.
    """
    if ability.codes_are_noise(model):
        zeros = torch.zeros(model.options.latent_dim, device=device_of(model))
        return zeros, torch.ones_like(zeros)
    draws = torch.randn(MOMENT_DRAWS, model.options.latent_dim, generator=torch.Generator().manual_seed(0))
    if condition is None:
        rows = seed_conditions(model, range(MOMENT_DRAWS))
        rows = None if rows is None else torch.cat([rows, rows]).to(device_of(model))
    else:
        rows = repeated(condition.to(device_of(model)), 2 * MOMENT_DRAWS)  # an image isn't copied as often
    codes = model.prior(torch.cat([draws, -draws]).to(device_of(model)), *given(rows))
    return codes.mean(0), codes.std(0)


def on_shell(model: GenerativeModel, codes: Tensor) -> Tensor:
    """Codes (..., latent_dim) brought to the length √latent_dim, of a model whose codes are the noise itself; else as
    they are.

    Nearly all of N(0, I) has this length in many dimensions. The sum of three such codes is √3 times as long, the mean
    of six 1/√6 times, and what a decoder makes of either it has never learned. A code of length 0 stays.
    """
    if not ability.codes_are_noise(model):
        return codes
    return codes * (codes.shape[-1] ** 0.5 / codes.norm(dim=-1, keepdim=True).clamp(min=1e-12))


class PriorMoments:
    """`prior_moments` of one condition after another, each measured once."""

    def __init__(self, model: GenerativeModel):
        self.model = model
        self.measured: dict[bytes, tuple[Tensor, Tensor]] = {}

    def __call__(self, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        key = b"" if condition is None else condition.cpu().numpy().tobytes()
        if key not in self.measured:
            self.measured[key] = prior_moments(self.model, condition)
        return self.measured[key]


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The straight line from `a` (..., D) at t = 0 to `b` (..., D) at t = 1; `t` is (T, 1)."""
    return a + t * (b - a)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The great circle from `a` (D,) at t = 0 to `b` (D,) at t = 1, after White, "Sampling generative networks" (2016).

    In many dimensions nearly all of a Gaussian's mass lies on a shell, which a straight line leaves and this doesn't.
    The direction turns at an even pace, and the length goes evenly from one to the other; were vectors of unequal
    length weighted as they are, the way between two that are nearly opposite would fly off far beyond both. Where the
    circle isn't defined (parallel or opposite vectors, or a zero), it is the straight line.

    Args:
        t: (T, 1).

    Returns:
        (T, D).
    """
    if not (a.any() and b.any()):
        return lerp(a, b, t)
    from_a, to_b = a / a.norm(), b / b.norm()
    # Not the arc cosine, which in float32 knows an angle near 0 or π to three digits only.
    angle = 2 * torch.atan2((from_a - to_b).norm(), (from_a + to_b).norm())
    if torch.sin(angle) < 1e-4:
        return lerp(a, b, t)
    direction = (torch.sin((1 - t) * angle) * from_a + torch.sin(t * angle) * to_b) / torch.sin(angle)
    return lerp(a.norm(), b.norm(), t) * direction


def interpolate(waypoints: Tensor, steps: int, path: Path = "slerp", centre: Tensor | None = None) -> list[Tensor]:
    """The way through all waypoints (N, D), a segment at a time: N - 1 tensors (steps, D), both ends included.

    Args:
        steps: codes a segment, at least 2.
        centre: (D,) about which slerp turns; the origin by default. `prior_moments` gives the right one for a model
            whose codes aren't centred.

    Raises:
        UsageError: with fewer than two waypoints.
    """
    if len(waypoints) < 2:
        raise UsageError("an interpolation needs at least two points to go between")
    t = torch.linspace(0, 1, steps, device=waypoints.device)[:, None]
    if path == "lerp":
        return [lerp(a, b, t) for a, b in itertools.pairwise(waypoints)]
    offset = torch.zeros_like(waypoints[0]) if centre is None else centre
    return [slerp(a - offset, b - offset, t) + offset for a, b in itertools.pairwise(waypoints)]


def neighbours(z: Tensor, spread: Tensor, jitter: float, count: int = 8, seed: int = 0) -> Tensor:
    """`count` noisy copies of a code (D,): z + U(-jitter, jitter) standard deviations of the prior. (count, D).

    Radford et al. (2016) add U(-0.25, 0.25) to a code whose prior is U(-1, 1), which is a jitter of 0.25 · √3 = 0.433.
    """
    draws = torch.stack([torch.rand(len(z), generator=torch.Generator().manual_seed(seed + k)) for k in range(count)])
    return z + jitter * (2 * draws.to(z) - 1) * spread


def traverse(
    model: GenerativeModel,
    z: Tensor,
    reach: float,
    steps: int,
    dims: Iterable[int] | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """Sweep each latent dimension of one code (D,) over ±`reach` standard deviations about the prior's mean.

    Args:
        condition: of the prior, as `prior_moments` takes it.

    Returns:
        Codes (len(dims), steps, D); all dimensions where none are named.
    """
    mean, spread = prior_moments(model, condition)
    chosen = list(range(len(z))) if dims is None else list(dims)
    codes = z.repeat(len(chosen), steps, 1)
    sweep = torch.linspace(-reach, reach, steps, device=z.device)
    for row, dim in enumerate(chosen):
        codes[row, :, dim] = mean[dim] + sweep * spread[dim]
    return codes


def effects(images: Tensor) -> Tensor:
    """How much each sweep of `traverse` changes the image: the variance along it, summed over pixels.

    Args:
        images: what its codes are decoded to, (dims, steps, C, H, W).

    Returns:
        (dims,).
    """
    return images.var(1).flatten(1).sum(1)


def manifold(model: GenerativeModel, side: int, condition: Tensor | None = None) -> Tensor:
    """A 2-D latent space as an even grid on the unit square, through the inverse normal CDF and the prior.

    The picture of Kingma and Welling (2014): every cell has the same probability.

    Args:
        condition: one, (1, …), of a model that takes one.

    Returns:
        Codes (side², 2), row by row, the second coordinate falling from top to bottom.

    Raises:
        UsageError: when the latent space isn't two-dimensional.
    """
    if model.options.latent_dim != 2:
        raise UsageError(
            f"--manifold shows a latent space of 2 dimensions, and this one has {model.options.latent_dim}; "
            "train with --latent-dim 2, or use --traverse"
        )
    quantile = torch.special.ndtri((torch.arange(side) + 0.5) / side)
    rows, columns = torch.meshgrid(quantile.flip(0), quantile, indexing="ij")
    grid = torch.stack([columns.flatten(), rows.flatten()], 1)
    return model.prior(*on(device_of(model), grid, repeated(condition, len(grid))))
