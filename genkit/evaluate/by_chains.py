"""Codes of a model with the prior N(0, I), by chains or as the likeliest: all, and those that fit a part of an image.

What is drawn comes with what it is worth (`chains.py`), and of a part with how likely it makes the rest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genkit.contract import GenerativeModel
from genkit.errors import UsageError
from genkit.evaluate import chains as diagnostics
from genkit.evaluate.chains import Worth
from genkit.evaluate.subject import progress
from genkit.latent import chains
from genkit.latent.bounds import MOST_NUMBERS
from genkit.latent.chains import Chains, LogDensity
from genkit.latent.completion import Views, log_predictive, posterior_log_density, prior_log_density
from genkit.step.passes import evaluation_batch

By = Literal["langevin", "hmc"]

#: Steps of an ascent, and how many there are of an image, beside chains.
ASCENT, ASCENTS = 500, 8
#: How much wider than the prior the states are that its own chains begin with: that they were there must be lost.
WIDER = 2.0
#: Codes of the prior that a part is completed with where there are no chains, whose number they else have.
PRIOR_DRAWS = 1000
#: What codes of the prior are for: to begin with, and to complete images by.
STARTS, PREDICTIVE = 1, 2


class Plan(NamedTuple):
    """How many chains run, and how long.

    Attributes:
        chains: of each density.
        draws, warmup: steps of each chain that are kept, and before them.
        seed: of all that is drawn.
    """

    chains: int
    draws: int
    warmup: int
    seed: int = 0


class Completed(NamedTuple):
    """Codes of N images of which a part is given.

    Attributes:
        codes: what chains drew, (T, N, M, latent_dim) float64; None where none ran.
        likeliest: the highest p(z|a) that ascents have found, (N, latent_dim).
        predictive: ln p(b|a) of the rest, in nats, (N,) float64: by what chains drew, by the likeliest code alone
            (`map`), and by as many codes of the prior as chains drew (`prior`).
        worth: of the chains.
    """

    codes: Tensor | None
    likeliest: Tensor
    predictive: Mapping[str, Tensor]
    worth: Worth | None


def run(by: By, log_density: LogDensity, start: Tensor, plan: Plan) -> tuple[Chains, Worth]:
    """Chains of one or several densities, `plan.chains` of each in a row.

    Raises:
        UsageError: when their states would take too much memory.
    """
    numbers = plan.draws * start.numel()
    if numbers > MOST_NUMBERS:
        raise UsageError(
            f"{plan.draws:,} draws of {len(start):,} chains are {numbers:,} numbers, and at most {MOST_NUMBERS:,} are "
            "kept; give fewer --draws or --chains"
        )
    sampler = chains.hmc if by == "hmc" else chains.langevin
    started = time.perf_counter()
    with progress(by, plan.warmup + plan.draws, "steps") as bar:
        found = sampler(
            log_density,
            start,
            draws=plan.draws,
            warmup=plan.warmup,
            together=plan.chains,
            seed=plan.seed,
            advance=bar.update,
        )
    return found, diagnostics.worth(found, plan.chains, time.perf_counter() - started)


def of_prior(model: GenerativeModel, by: By, plan: Plan) -> tuple[Chains, Worth]:
    """Chains of p(z), from states that are spread more widely."""
    return run(by, prior_log_density, WIDER * starts(model, plan.chains, plan.seed), plan)


def likeliest_of_prior(model: GenerativeModel, count: int, seed: int) -> Tensor:
    """Where ascents of p(z) from so many of its codes end: (count, latent_dim)."""
    with progress("map", ASCENT, "steps") as bar:
        start = starts(model, count, seed)
        return chains.climb(prior_log_density, start, ASCENT, advance=bar.update).z


def complete(model: GenerativeModel, views: Views, by: By | None, plan: Plan) -> Completed:
    """Codes that fit the given part of each image.

    Args:
        by: what draws them; None where the likeliest is enough, which as many ascents as chains look for then.
    """
    images = len(views.images)
    start = starts(model, images * plan.chains, plan.seed)
    codes, found, count, ascents = None, None, PRIOR_DRAWS, plan.chains
    if by is not None:
        ran, found = run(by, posterior_log_density(model, views, plan.chains), start, plan)
        codes, count, ascents = ran.draws.unflatten(1, (images, plan.chains)), plan.draws * plan.chains, ASCENTS
    likeliest = likeliest_given(model, views, ascents, plan.seed)
    prior = starts(model, count * images, plan.seed, PREDICTIVE).unflatten(0, (count, images))
    sets = {"map": likeliest[None], "prior": prior}
    if by is not None and codes is not None:
        sets = {by: codes.transpose(1, 2).flatten(0, 1), **sets}
    predictive = {}
    rows = max(1, evaluation_batch(model.image) // images)
    with progress("predictive", sum(-(-len(each) // rows) for each in sets.values()), "steps") as bar:
        for name, each in sets.items():
            predictive[name] = log_predictive(model, each, views, bar.update)
    return Completed(codes, likeliest, predictive, found)


def in_words(predictive: Mapping[str, Tensor]) -> list[str]:
    """Of each image, a line for each way in which the rest was predicted."""
    rows = zip(*(each.tolist() for each in predictive.values()), strict=True)
    return ["\n".join(f"{name} {each:.1f} nats" for name, each in zip(predictive, row, strict=True)) for row in rows]


def likeliest_given(model: GenerativeModel, views: Views, ascents: int, seed: int) -> Tensor:
    """The highest p(z|a) that so many ascents from codes of the prior come to, of each image: (N, latent_dim)."""
    count = len(views.images)
    with progress("map", ASCENT, "steps") as bar:
        start = starts(model, count * ascents, seed)
        top = chains.climb(posterior_log_density(model, views, ascents), start, ASCENT, advance=bar.update)
    best = top.log_density.view(count, ascents).nan_to_num(nan=-torch.inf).argmax(1)
    return top.z.view(count, ascents, -1)[torch.arange(count), best]


def starts(model: GenerativeModel, count: int, seed: int, purpose: int = STARTS) -> Tensor:
    """Codes of the prior, (count, latent_dim) float64, that have nothing to do with what chains of this seed draw."""
    state = np.random.SeedSequence([seed, purpose]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state >> 1))
    return torch.randn(count, model.options.latent_dim, generator=generator, dtype=torch.float64)
