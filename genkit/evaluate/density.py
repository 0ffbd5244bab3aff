"""How likely are the images under a model that maps them to noise and back? Its own density, along the ODE.

Grey values of 8 bits are spread evenly over their bins, so that ln p of a density is, in the mean, a bound from below
of ln P of the grey values (Theis, van den Oord and Bethge, ICLR 2016): the figure may be held against a VAE's bound on
the same images in bits a number, and is no bound of that kind itself.

The protocol: `STEPS` steps of a solver of fourth order, one Rademacher probe an image for the trace (Hutchinson), noise
and probe by the seed and the image's place. Some images are measured with twice the steps: where that changes the mean
by more than `CONVERGED` bits a number, the ODE isn't solved well enough, and no figure is given.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from genkit.contract import ability
from genkit.contract.condition import given
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.evaluate.figure import Figure, LeftOut, mean
from genkit.evaluate.likelihood import image_generator, likelihood_of
from genkit.evaluate.reconstruction import not_below
from genkit.evaluate.subject import Asked, Subject, progress

#: Images that are measured, and those of them on which the steps are doubled.
IMAGES, DOUBLED = 128, 32
#: Steps of the solver, and bits a number by which twice as many may change the mean.
STEPS, CONVERGED = 32, 0.01
#: Images at once: of each, what its gradient needs is held in memory.
AT_ONCE = 32
#: What an image's random numbers are for, beside those of `likelihood`.
BINS = 3


def figures(subject: Subject, asked: Asked) -> list[Figure | LeftOut]:
    model = subject.model
    assert ability.has_density(model)
    numbers = model.image.numbers
    chosen = subject.images.take(subject.images.spread(min(asked.nll_images, IMAGES)))
    found: list[Tensor] = []
    again: list[Tensor] = []
    with progress("density", len(chosen) + 2 * min(DOUBLED, len(chosen))) as bar:
        for batch, rows in zip(in_order(chosen, AT_ONCE, subject.device), chosen.rows.split(AT_ONCE), strict=True):
            pixels, probes = observed(batch.images, rows, asked.seed)
            also = given(model.condition_of(batch))
            found.append(-model.log_density(pixels, probes, STEPS, *also).cpu().double())
            bar.update(len(rows))
            left = DOUBLED - sum(len(each) for each in again)
            if left > 0:
                part = [each[:left] for each in (pixels, *also)]
                again.append(-model.log_density(part[0], probes[:, :left], 2 * STEPS, *part[1:]).cpu().double())
                bar.update(2 * len(part[0]))
    nll, doubled = torch.cat(found), torch.cat(again)
    change = float((doubled - nll[: len(doubled)]).mean()) / (numbers * math.log(2))
    if not abs(change) <= CONVERGED:  # NaN included
        reason = (
            f"with {2 * STEPS} steps of the solver instead of {STEPS} it changes by {change:+.3f} bits a number: the "
            "ODE isn't solved well enough for a likelihood"
        )
        return [LeftOut("likelihood/ode_nll", reason)]
    conditions = {
        **subject.conditions,
        "targets": "grey values of 8 bits, spread evenly over their bins",
        **likelihood_of(subject),
        "solver": f"rk4, {STEPS} steps",
        "with twice the steps": f"{change:+.4f} bits a number",
        "probes": 1,
        "seed": asked.seed,
    }
    in_nats = mean("likelihood/ode_nll", nll, "nats an image", **conditions)
    in_bits = mean(
        "likelihood/ode_nll_bits", nll / (numbers * math.log(2)), "bits a number, of 256 grey values", **conditions
    )
    return [in_nats, not_below(in_bits, 0.0, "any probability"), shell(subject, chosen)]


def observed(images: Tensor, places: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) in [0, 1] as grey values from 0 to 256, spread over their bins, and a probe (1, B, C, H, W).

    Each of an image's random numbers is a function of the seed and of its place in the set.
    """
    spread, probes = [], []
    for place in places:
        generator = image_generator(seed, int(place), BINS)
        spread.append(torch.rand(images.shape[1:], generator=generator))
        probes.append(torch.randint(0, 2, images.shape[1:], generator=generator) * 2.0 - 1)
    return (images * 255).round() + torch.stack(spread).to(images), torch.stack(probes).to(images)[None]


@torch.no_grad()
def shell(subject: Subject, chosen: Split) -> Figure:
    """The mean square of the codes' numbers, which of N(0, I) is 1: whether images lie where codes are drawn."""
    model = subject.model
    assert ability.encodes(model)
    squares = [
        model.encode(batch.images, *given(model.condition_of(batch))).square().mean(1).cpu().double()
        for batch in in_order(chosen, AT_ONCE, subject.device)
    ]
    return dataclasses.replace(
        mean("likelihood/code_square", torch.cat(squares), "of a code's number; of N(0, I) it is 1"),
        conditions={**subject.conditions, **subject.given, "n": len(chosen)},
    )
