"""What each kind of sample shows: which images are made, and how they are laid out on a sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor

from genkit.contract import GenerativeModel
from genkit.latent import images, sampling
from genkit.latent.arithmetic import Exemplars, combine
from genkit.latent.images import Row

#: Images side by side in a band of reconstructions.
BAND = 16
#: Dimensions that a traversal shows where none are named: those that change the image most.
TRAVERSED = 16


class Picture(NamedTuple):
    """One sample, ready to be saved.

    Attributes:
        sheet: the page for a person.
        images: what is new on it, (N, C, H, W) in [0, 1], for --each and --npz.
        codes: their codes (N, latent_dim).
        frames: images (T, C, H, W) of the animation, where the sample is a path.
        notes: lines for the log.
        measured: figures about it.
        rows: what the sheet shows, for whoever lays it out otherwise; empty for a plain grid.
    """

    sheet: Image
    images: Tensor
    codes: Tensor
    frames: Tensor | None = None
    notes: Sequence[str] = ()
    measured: Mapping[str, float] = MappingProxyType({})
    rows: Sequence[Row] = ()


def samples(model: GenerativeModel, seeds: Sequence[int], columns: int | None) -> Picture:
    """A plain grid, an image a seed."""
    codes = sampling.seed_codes(model, seeds)
    decoded = sampling.decode(model, codes)
    return Picture(images.to_pil(images.grid(decoded, columns)), decoded, codes)


def reconstructions(model: GenerativeModel, originals: Tensor, names: Sequence[str], title: str) -> Picture:
    """Originals above what the model makes of their codes, with the mean squared error summed over an image."""
    codes = sampling.encode(model, originals)
    decoded = sampling.decode(model, codes)
    error = (decoded - originals.cpu()).square().flatten(1).sum(1)
    rows = [Row("original", originals), Row("reconstruction", decoded, names)]
    note = f"squared error {error.mean():.4g} an image, over {len(error)} image{'' if len(error) == 1 else 's'}"
    return Picture(
        images.sheet(images.bands(rows, BAND), title=f"{title}\n{note}"),
        decoded,
        codes,
        None,
        [note],
        {"squared_error": error.mean().item()},
        rows,
    )


def interpolation(
    model: GenerativeModel, waypoints: Tensor, names: Sequence[str], steps: int, path: sampling.Path, title: str
) -> Picture:
    """A row for each way from one waypoint to the next, both ends included."""
    centre, _ = sampling.prior_moments(model)
    segments = sampling.interpolate(waypoints, steps, path, centre)
    decoded = sampling.decode(model, torch.cat(segments)).split(steps)
    rows = [Row(f"{start} → {end}", row) for start, end, row in zip(names, names[1:], decoded, strict=False)]
    # A waypoint ends one segment and begins the next: the film shows it once.
    keep = torch.cat([torch.cat(segments[:1]), *(segment[1:] for segment in segments[1:])])
    frames = torch.cat([decoded[0], *(row[1:] for row in decoded[1:])])
    return Picture(images.sheet(rows, title=f"{title}, {path}"), frames, keep, frames, rows=rows)


def arithmetic(
    model: GenerativeModel, terms: Sequence[Exemplars], expression: str, jitter: float, title: str
) -> Picture:
    """Each term's exemplars and mean, the sum with its eight noisy neighbours, and the same sum done on pixels."""
    _, spread = sampling.prior_moments(model)
    result = combine(terms, lambda term: term.code)
    around = sampling.neighbours(result, spread, jitter)
    codes = torch.cat([around[:4], result[None], around[4:]])
    decoded = sampling.decode(model, codes)
    means = sampling.decode(model, torch.stack([term.code for term in terms]))
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
    return Picture(images.sheet(rows, title=f"{title}\n{expression}"), decoded, codes, rows=rows)


def traversal(
    model: GenerativeModel, z: Tensor, dims: Sequence[int] | None, reach: float, steps: int, title: str
) -> Picture:
    """A row for each latent dimension, swept about the prior's mean while the others keep the code `z` (latent_dim,).

    Where no dimensions are named and there are many, those that change the image most are shown, the strongest first.
    """
    chosen = list(range(len(z))) if dims is None else list(dims)
    codes = sampling.traverse(model, z, reach, steps, chosen)
    decoded = sampling.decode(model, codes.flatten(0, 1)).unflatten(0, (len(chosen), steps))
    notes = []
    if dims is None and len(chosen) > TRAVERSED:
        strongest = sampling.effects(decoded).argsort(descending=True, stable=True)[:TRAVERSED]
        chosen, codes, decoded = [chosen[k] for k in strongest.tolist()], codes[strongest], decoded[strongest]
        notes = [f"{TRAVERSED} of {len(z)} dimensions are shown, those that change the image most; --dims names others"]
    headings = [f"{round(value, 1) + 0.0:+.1f}σ" for value in torch.linspace(-reach, reach, steps).tolist()]
    rows = [Row(f"z[{dim}]", row) for dim, row in zip(chosen, decoded, strict=True)]
    sheet, frames = images.sheet(rows, headings, title), decoded.flatten(0, 1)
    return Picture(sheet, frames, codes.flatten(0, 1), frames, notes, rows=rows)


def manifold(model: GenerativeModel, side: int) -> Picture:
    """A two-dimensional latent space, whole: a plain grid, each cell as probable as any other."""
    codes = sampling.manifold(model, side)
    decoded = sampling.decode(model, codes)
    return Picture(images.to_pil(images.grid(decoded, side, gap=0)), decoded, codes)
