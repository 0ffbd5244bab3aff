"""What each kind of sample shows: which images are made, and how they are laid out on a sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor

from genkit.contract import Condition, GenerativeModel, ability
from genkit.latent import images, sampling
from genkit.latent.arithmetic import Exemplars, combine
from genkit.latent.bounds import require_room
from genkit.latent.completion import Views
from genkit.latent.condition import of_sum
from genkit.latent.images import Row
from genkit.wording import counted

#: Images side by side in a band of reconstructions.
BAND = 16
#: Dimensions that a traversal shows where none are named: those that change the image most.
TRAVERSED = 16
#: Grey of what is hidden of an image.
HIDDEN = 0.5
#: Completions of an image at most.
COMPLETIONS = 6
#: Numbers of images and codes that are held at once to find out which these are.
SWEPT_AT_ONCE = 1 << 24


class Picture(NamedTuple):
    """One sample, ready to be saved.

    Attributes:
        sheet: the page for a person.
        images: what is new on it, (N, C, H, W) in [0, 1], for --each and --npz.
        codes: their codes (N, latent_dim).
        conditions: what the decoder was told of each, (N, …); None of a model that takes no condition.
        frames: images (T, C, H, W) of the animation, where the sample is a path.
        notes: lines for the log.
        measured: figures about it.
        rows: what the sheet shows, for whoever lays it out otherwise; empty for a plain grid.
        names: of `images`, for the files of --each; empty where they are numbered.
        classes: int64 (N,), whose codes were drawn, of a model whose decoder is told none; None where nobody said.
    """

    sheet: Image
    images: Tensor
    codes: Tensor
    frames: Tensor | None = None
    notes: Sequence[str] = ()
    measured: Mapping[str, float] = MappingProxyType({})
    rows: Sequence[Row] = ()
    conditions: Tensor | None = None
    names: Sequence[str] = ()
    classes: Tensor | None = None


def samples(
    model: GenerativeModel,
    seeds: Sequence[int],
    columns: int | None,
    condition: Tensor | None = None,
    classes: Tensor | None = None,
) -> Picture:
    """A plain grid, an image a seed; of the conditions (N, …), by default each seed's own.

    Args:
        classes: as `sampling.seed_codes` has them.

    Raises:
        UsageError: here and below, when the picture would be too large (`bounds`).
    """
    across = min(len(seeds), columns or math.ceil(math.sqrt(len(seeds))))
    require_room(model.image, math.ceil(len(seeds) / across), across, "fewer --seeds", gap=images.GRID_GAP)
    condition = sampling.seed_conditions(model, seeds) if condition is None else condition
    codes = sampling.seed_codes(model, seeds, condition, classes)
    decoded = sampling.decode(model, codes, condition)
    sheet, names = images.to_pil(images.grid(decoded, columns)), [of_seed(seed) for seed in seeds]
    return Picture(sheet, decoded, codes, conditions=condition, names=names, classes=classes)


def of_seed(seed: int) -> str:
    """What a seed's image is called among files, which so stand in the order of the seeds."""
    return f"seed-{seed:05d}"


def by_condition(
    model: GenerativeModel, seeds: Sequence[int], rows: Sequence[tuple[str, Tensor]], title: str
) -> Picture:
    """A row for each of some conditions, with its name, as often as it is there: the same seeds in each.

    Of a model without a condition each is a class whose codes are drawn.
    """
    require_room(model.image, len(rows), len(seeds), "fewer --seeds or --classes")
    told = torch.cat([row for _, row in rows])
    conditions, classes = (None, told) if model.condition is None else (told, None)
    each = ((None, row) if model.condition is None else (row, None) for row in told.split(len(seeds)))
    codes = torch.cat([sampling.seed_codes(model, seeds, *either) for either in each])
    decoded = sampling.decode(model, codes, conditions)
    shown = [Row(name, part) for (name, _), part in zip(rows, decoded.split(len(seeds)), strict=True)]
    sheet = images.sheet(shown, [f"seed {seed}" for seed in seeds], title)
    names = [f"{name}-{of_seed(seed)}" for name, _ in rows for seed in seeds]
    return Picture(sheet, decoded, codes, rows=shown, conditions=conditions, names=names, classes=classes)


def reconstructions(
    model: GenerativeModel,
    originals: Tensor,
    names: Sequence[str],
    title: str,
    own: Tensor | None = None,
    condition: Tensor | None = None,
) -> Picture:
    """Originals above what the model makes of their codes, with the mean squared error summed over an image.

    Args:
        own: their conditions (N, …), by which they are encoded.
        condition: by which their codes are decoded; their own by default.
    """
    require_reconstructions(model, len(originals))
    condition = own if condition is None else condition
    codes = sampling.encode(model, originals, own)
    decoded = sampling.decode(model, codes, condition)
    error = (decoded - originals.cpu()).square().flatten(1).sum(1)
    rows = [Row("original", originals), Row("reconstruction", decoded, names)]
    note = f"squared error {error.mean():.4g} an image, over {counted(len(error), 'image')}"
    return Picture(
        images.sheet(images.bands(rows, BAND), title=f"{title}\n{note}"),
        decoded,
        codes,
        None,
        [note],
        {"squared_error": error.mean().item()},
        rows,
        condition,
        names,
    )


def require_reconstructions(model: GenerativeModel, count: int) -> None:
    """Refuse more originals than a picture of `reconstructions` has room for, before they are read.

    Raises:
        UsageError
    """
    require_room(model.image, 2 * math.ceil(count / BAND), min(count, BAND), "fewer --images")


def interpolation(
    model: GenerativeModel,
    waypoints: Tensor,
    names: Sequence[str],
    steps: int,
    path: sampling.Path,
    title: str,
    condition: Tensor | None = None,
    originals: Tensor | None = None,
) -> Picture:
    """A row for each way from one waypoint to the next, both ends included; all of one condition (1, …).

    Args:
        originals: the images (N, C, H, W) that the waypoints are the codes of, to stand at the ends of the rows.
    """
    require_walk(model, len(waypoints), steps)
    centre, _ = sampling.prior_moments(model, condition)
    segments = sampling.interpolate(waypoints, steps, path, centre)
    everything = torch.cat(segments)
    decoded = sampling.decode(model, everything, sampling.repeated(condition, len(everything))).split(steps)
    rows = [Row(f"{start} → {end}", row) for start, end, row in zip(names, names[1:], decoded, strict=False)]
    headings = []
    if originals is not None:
        ends = originals.split(1)
        rows = [
            row._replace(images=torch.cat([start, row.images, end]))
            for row, start, end in zip(rows, ends, ends[1:], strict=False)
        ]
        headings = ["original", *[""] * steps, "original"]
    # A waypoint ends one segment and begins the next: the film shows it once.
    keep = torch.cat([torch.cat(segments[:1]), *(segment[1:] for segment in segments[1:])])
    frames = torch.cat([decoded[0], *(row[1:] for row in decoded[1:])])
    told = sampling.repeated(condition, len(frames))
    sheet = images.sheet(rows, headings, f"{title}, {path}")
    return Picture(sheet, frames, keep, frames, rows=rows, conditions=told)


def require_walk(model: GenerativeModel, stops: int, steps: int) -> None:
    """Refuse a walk that a picture has no room for, before its stops are looked for.

    Raises:
        UsageError
    """
    require_room(model.image, max(1, stops - 1), steps + 2, "fewer places to go through, or fewer --steps", film=True)


def arithmetic(
    model: GenerativeModel,
    terms: Sequence[Exemplars],
    expression: str,
    jitter: float,
    title: str,
    condition: Tensor | None = None,
) -> Picture:
    """Each term's exemplars and mean, the sum with its eight noisy neighbours, and the same sum done on pixels.

    Args:
        condition: of the sum, (1, …); by default what `condition.of_sum` makes of the terms' own.
    """
    require_sum(model, [len(term.images) for term in terms])
    if model.condition is not None and condition is None:
        condition = condition_of(model.condition, terms)
    _, spread = sampling.prior_moments(model, condition)
    result = sampling.on_shell(model, combine(terms, lambda term: sampling.on_shell(model, term.code)))
    around = sampling.on_shell(model, sampling.neighbours(result, spread, jitter))
    codes = torch.cat([around[:4], result[None], around[4:]])
    told = sampling.repeated(condition, len(codes))
    decoded = sampling.decode(model, codes, told)
    means_told = None
    if model.condition is not None:
        means_told = torch.cat([condition_of(model.condition, [unsigned(term)]) for term in terms])
    means = sampling.decode(model, torch.stack([sampling.on_shell(model, term.code) for term in terms]), means_told)
    on_pixels = combine(terms, lambda term: term.images.mean(0)).clamp(0, 1)

    block = images.grid(decoded, columns=3)
    rows = []
    for term, mean in zip(terms, means, strict=True):
        sign = "−" if term.term.sign < 0 else "+"
        labels = [*[""] * len(term.images), "mean code"]
        rows.append(Row(f"{sign} {term.term.text}", torch.cat([term.images, mean[None]]), labels))
    rows += [
        Row("= in latent space", decoded[4:5]),
        Row("the same, among\neight noisy neighbours", block[None]),
        Row("control:\nthe sum of the pixels", on_pixels[None]),
    ]
    return Picture(images.sheet(rows, title=f"{title}\n{expression}"), decoded, codes, rows=rows, conditions=told)


def require_sum(model: GenerativeModel, counts: Sequence[int]) -> None:
    """Refuse a sum of terms of so many exemplars that a picture has no room for, before they are made.

    Raises:
        UsageError
    """
    # Three rows more for what comes of it, one of them of three images on each other.
    require_room(model.image, len(counts) + 5, max(counts, default=0) + 1, "fewer terms, or fewer exemplars of each")


def condition_of(condition: Condition, terms: Sequence[Exemplars]) -> Tensor:
    """The condition (1, …) of a sum."""
    known = [term.conditions for term in terms if term.conditions is not None]
    return of_sum(condition, [term.term.sign for term in terms], known)


def unsigned(term: Exemplars) -> Exemplars:
    return term._replace(term=term.term._replace(sign=1))


def traversal(
    model: GenerativeModel,
    z: Tensor,
    dims: Sequence[int] | None,
    reach: float,
    steps: int,
    title: str,
    condition: Tensor | None = None,
) -> Picture:
    """A row for each latent dimension, swept about the prior's mean while the others keep the code `z` (latent_dim,).

    Where no dimensions are named and there are many, those that change the image most are shown, the strongest first.
    All are of one condition (1, …).
    """
    require_traversal(model, dims, steps)
    chosen = list(range(len(z))) if dims is None else list(dims)
    shown = TRAVERSED if dims is None and len(chosen) > TRAVERSED else len(chosen)
    notes = []
    if shown < len(chosen):
        chosen = strongest(model, z, reach, steps, condition)[:shown]
        notes = [f"{shown} of {len(z)} dimensions are shown, those that change the image most; --dims names others"]
    codes = sampling.traverse(model, z, reach, steps, chosen, condition)
    everything = codes.flatten(0, 1)
    decoded = sampling.decode(model, everything, sampling.repeated(condition, len(everything)))
    decoded = decoded.unflatten(0, (len(chosen), steps))
    headings = [f"{round(value, 1) + 0.0:+.1f}σ" for value in torch.linspace(-reach, reach, steps).tolist()]
    rows = [Row(f"z[{dim}]", row) for dim, row in zip(chosen, decoded, strict=True)]
    sheet, frames = images.sheet(rows, headings, title), decoded.flatten(0, 1)
    told = sampling.repeated(condition, len(frames))
    return Picture(sheet, frames, codes.flatten(0, 1), frames, notes, rows=rows, conditions=told)


def require_traversal(model: GenerativeModel, dims: Sequence[int] | None, steps: int) -> None:
    """Refuse a traversal that a picture has no room for, before the code that it begins with is looked for.

    Raises:
        UsageError
    """
    shown = min(TRAVERSED, model.options.latent_dim) if dims is None else len(dims)
    require_room(model.image, shown, steps, "fewer --dims or --steps", film=True)


def strongest(model: GenerativeModel, z: Tensor, reach: float, steps: int, condition: Tensor | None) -> list[int]:
    """All dimensions, those first whose sweeps, as those of `traversal`, change the image most."""
    if ability.codes_are_noise(model):  # none of them is of more weight than another, and each is a pixel's at first
        return list(range(len(z)))
    effects = []
    # Some at a time: all their sweeps would take as many times an image's memory as there are dimensions.
    for dims in torch.arange(len(z)).split(max(1, SWEPT_AT_ONCE // (steps * max(model.image.numbers, len(z))))):
        codes = sampling.traverse(model, z, reach, steps, dims.tolist(), condition).flatten(0, 1)
        decoded = sampling.decode(model, codes, sampling.repeated(condition, len(codes)))
        effects.append(sampling.effects(decoded.unflatten(0, (len(dims), steps))))
    return torch.cat(effects).argsort(descending=True, stable=True).tolist()


def manifold(model: GenerativeModel, side: int, condition: Tensor | None = None) -> Picture:
    """A two-dimensional latent space, whole: a plain grid, each cell as probable as any other, of one condition."""
    require_room(model.image, side, side, "a smaller --side", gap=0)
    codes = sampling.manifold(model, side, condition)
    told = sampling.repeated(condition, len(codes))
    decoded = sampling.decode(model, codes, told)
    return Picture(images.to_pil(images.grid(decoded, side, gap=0)), decoded, codes, conditions=told)


def chains(
    model: GenerativeModel, codes: Tensor, columns: int | None, title: str, condition: Tensor | None = None
) -> Picture:
    """A plain grid of what chains have come to, an image a chain: codes (N, latent_dim), of the conditions (N, …)."""
    codes = codes.float()
    decoded = sampling.decode(model, codes, condition)
    names = [f"{title}-{number:03d}" for number in range(len(codes))]
    sheet = images.to_pil(images.grid(decoded, columns))
    return Picture(sheet, decoded, codes, conditions=condition, names=names)


def require_chains(model: GenerativeModel, count: int, columns: int | None) -> None:
    """Refuse more chains than a picture of `chains` has room for, before they run.

    Raises:
        UsageError
    """
    across = min(count, columns or math.ceil(math.sqrt(count)))
    require_room(model.image, math.ceil(count / across), across, "fewer --chains", gap=images.GRID_GAP)


def completions(
    model: GenerativeModel,
    views: Views,
    names: Sequence[str],
    said: Sequence[str],
    codes: Tensor,
    likeliest: Tensor,
    title: str,
) -> Picture:
    """A row for each image: itself, what is given of it, what codes make of the rest, and what is hidden.

    What is given stays as it is in a completion; what it shows besides is the decoder's mean of each pixel.

    Args:
        names: of the images; `said` of each stands below its own.
        codes: of different chains, (N, K, latent_dim), K from 0.
        likeliest: (N, latent_dim).
    """
    require_completions(model, len(names))
    count = codes.shape[1]
    everything = torch.cat([codes, likeliest[:, None]], 1).flatten(0, 1).float()
    told = None if views.condition is None else views.condition.repeat_interleave(count + 1, 0)
    made = views.filled(sampling.decode(model, everything, told))
    rows = []
    for image, some, name, more in zip(views.images, made.split(count + 1), names, said, strict=True):
        seen, rest = (torch.where(each, image, HIDDEN) for each in (views.part, views.hidden))
        rows.append(Row(f"{name}\n{more}".rstrip(), torch.cat([image[None], seen[None], some, rest[None]])))
    headings = ["image", "given", *(f"chain {number}" for number in range(count)), "MAP", "hidden"]
    files = [f"{name}-{each}" for name in names for each in (*(f"chain-{number}" for number in range(count)), "map")]
    sheet = images.sheet(rows, headings, title)
    return Picture(sheet, made, everything, rows=rows, conditions=told, names=files)


def require_completions(model: GenerativeModel, count: int) -> None:
    """Refuse more images than a picture of `completions` has room for, before any chain runs.

    Raises:
        UsageError
    """
    require_room(model.image, count, COMPLETIONS + 4, "fewer --images")
