"""What a recipe measures of chains: how good samples of the prior they draw, and what they make of half an image.

Beside both stands what is had without them: codes drawn from the prior itself, and the likeliest code.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from genkit.contract import GenerativeModel, ability
from genkit.errors import UsageError
from genkit.evaluate import by_chains, figure
from genkit.evaluate.by_chains import By, Plan
from genkit.evaluate.chains import Worth
from genkit.evaluate.distances import frechet_distance
from genkit.evaluate.figure import Figure, LeftOut
from genkit.latent import completion, sampling
from genkit.latent.completion import Views
from genkit.latent.images import to_float, to_uint8
from genkit.reproduce.bench import TrainedRun
from genkit.reproduce.needs import Count, Seed
from genkit.run.validation import diversity
from genkit.step.passes import conditions_of

Part = Literal["top-half", "bottom-half", "left-half", "right-half"]

#: Chains of the prior; images whose spread is compared with that of codes' maxima.
PRIOR_CHAINS, COMPARED = 100, 100


def worth_of(by: By, worth: Worth, **conditions: str | int | float) -> Iterable[Figure]:
    """Acceptance, effective samples a second, and the worst R-hat."""
    conditions = {**conditions, "draws": worth.draws}
    found = worth.measured()
    yield Figure(f"{by}/acceptance", found["acceptance"], None, "", conditions)
    yield Figure(f"{by}/effective_a_second", found["effective_samples_a_second"], None, "a second", conditions)
    yield Figure(f"{by}/rhat", found["rhat"], None, "", conditions)


def prior(
    run: TrainedRun, by: By, samples: Count = 5000, draws: Count = 500, warmup: Count = 500, seed: Seed = 0
) -> Iterable[Figure | LeftOut]:
    """Samples of p(z) by chains beside as many that are drawn at once, by their Fréchet distance to test images.

    Also how far apart the images of maxima of p(z) are, as a share of the same among test images.
    """
    model, test = run.model, run.images.test
    test = test.take(test.spread(min(samples, len(test))))
    condition = conditions_of(model, test, run.device)
    chains = min(PRIOR_CHAINS, len(test))
    ran, worth = by_chains.of_prior(model, by, Plan(chains, max(draws, -(-len(test) // chains)), warmup, seed))
    yield from worth_of(by, worth, chains=chains)
    spread = torch.linspace(0, len(ran.draws) * chains - 1, len(test)).long()
    started = time.perf_counter()
    ancestral = by_chains.starts(model, len(test), seed)
    rate = len(test) / (time.perf_counter() - started)
    yield Figure("ancestral/effective_a_second", rate, None, "a second", {"draws": len(test)})
    count = min(COMPARED, len(test))
    tops = by_chains.likeliest_of_prior(model, count, seed).float()
    shown = sampling.decode(
        model, tops, None if condition is None else condition[:1].expand(count, *condition.shape[1:])
    )
    real = to_float(test.images(test.spread(count)))
    yield Figure("map/diversity", diversity(shown, real), None, "of real images'", {"n": count})
    judge = run.subject.judge()
    if isinstance(judge, LeftOut):
        for name in (by, "ancestral"):
            yield replace(judge, name=f"{name}/frechet")
        return
    seen = judge.features(to_float(test.images()))
    for name, codes in ((by, ran.draws.flatten(0, 1)[spread]), ("ancestral", ancestral)):
        made = judge.features(to_float(to_uint8(decoded(model, codes, condition))))
        unit = f"squared, of features by {judge.by}"
        yield Figure(
            f"{name}/frechet", frechet_distance(made, seen), None, unit, {"n": len(made), "features": judge.name}
        )


def decoded(model: GenerativeModel, codes: Tensor, condition: Tensor | None) -> Tensor:
    return sampling.decode(model, codes.float(), condition)


def completions(
    run: TrainedRun,
    by: By,
    given: Part,
    images: Count = 100,
    chains: Count = 4,
    draws: Count = 500,
    warmup: Count = 300,
    seed: Seed = 0,
) -> Iterable[Figure]:
    """ln p of the hidden half of test images, given the other: by chains, by the likeliest code, by the prior alone."""
    views = views_of(run, given, images, seed)
    found = by_chains.complete(run.model, views, by, Plan(chains, draws, warmup, seed))
    conditions: dict[str, str | int | float] = {"given": given, "split": "test"}
    assert found.worth is not None
    yield from (
        replace(each, name=f"given/{each.name}") for each in worth_of(by, found.worth, **conditions, chains=chains)
    )
    for name, each in found.predictive.items():
        codes = 1 if name == "map" else found.worth.draws
        yield figure.mean(f"given/{name}", each, "nats an image", **conditions, codes=codes, seed=seed)
    gained = found.predictive[by] - found.predictive["map"]
    yield figure.mean("given/over_map", gained, "nats an image", **conditions, codes=found.worth.draws, seed=seed)


def views_of(run: TrainedRun, given: Part, count: int, seed: int) -> Views:
    """Evenly spaced test images, of which a part is given.

    Raises:
        UsageError: where they have no such part.
    """
    chosen = run.images.test.take(run.images.test.spread(count))
    if not ability.tells_pixels(run.trained):
        raise UsageError(f"{run.name} {ability.PIXELS.lacks}")
    seen = completion.observed(run.model, to_float(chosen.images()), seed)
    return Views(seen, completion.part_of(given, run.model.image), conditions_of(run.model, chosen, run.device))
