"""Does arithmetic on codes do what it says? `male&glasses - male&!glasses + !male&!glasses`, judged by a classifier.

The experiment of Radford, Metz and Chintala (ICLR 2016, figure 7), repeated over many draws of the exemplars and
counted: they average three codes a term, show the sum among eight noisy neighbours, and the same sum of the pixels as a
control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from genkit.contract import GenerativeModel, ability
from genkit.data.dataset import Dataset
from genkit.errors import UsageError
from genkit.evaluate.figure import Figure, share
from genkit.evaluate.judge import Judge
from genkit.evaluate.subject import progress
from genkit.latent import sampling
from genkit.latent.arithmetic import Exemplars, Term, combine, matching, parse
from genkit.latent.images import to_float
from genkit.latent.pictures import condition_of
from genkit.step.passes import conditions_of

#: Of the paper: U(-0.25, 0.25) about a code whose prior is U(-1, 1), in standard deviations of the prior.
JITTER = 0.25 * 3**0.5
NEIGHBOURS = 8
#: Chunks of the sampler that are judged at once, between two steps of the bar.
JUDGED = 2
#: Samples from the prior by which chance is measured, and among which a model without an encoder finds its exemplars.
SAMPLES = 2000

SHARE = "share of images"


class Pool(NamedTuple):
    """What fits a term: codes (N, D), images (N, C, H, W), and their conditions (N, …) where the model takes them."""

    codes: Tensor
    images: Tensor
    conditions: Tensor | None


def literals(term: str) -> dict[str, bool]:
    """What a term of attributes says of each that it names: `male & !glasses` is {"male": True, "glasses": False}.

    Raises:
        UsageError: when it is no term of attributes, or contradicts itself.
    """
    named: dict[str, bool] = {}
    for part in (each.strip() for each in term.split("&")):
        name = part.removeprefix("!").strip()
        if named.setdefault(name, not part.startswith("!")) == part.startswith("!"):
            raise UsageError(f"--arithmetic: '{term}' wants '{name}' both ways")
    return named


def wanted(terms: Sequence[Term]) -> dict[str, bool]:
    """The attributes that the sum's result should have (True) or lack (False).

    Each term counts ½ for an attribute that it has, −½ for one that it lacks, and nothing for one that it doesn't name;
    the signed sum says "has" above zero, "lacks" below, and nothing at zero. For `a - b + c` where all three name the
    attribute this is a − b + c of ones and zeros: glasses 1 − 0 + 0 = 1, male 1 − 1 + 0 = 0.

    Raises:
        UsageError: when the sum says nothing of any attribute.
    """
    sums: dict[str, Fraction] = {}
    for term in terms:
        for name, has in literals(term.text).items():
            sums[name] = sums.get(name, Fraction()) + term.sign * (Fraction(1, 2) if has else Fraction(-1, 2))
    found = {name: total > 0 for name, total in sums.items() if total}
    if not found:
        raise UsageError("--arithmetic: the sum asks for no attribute, with or without; write 'a - b + c'")
    return found


def figures(
    model: GenerativeModel,
    dataset: Dataset,
    expression: str,
    judge: Judge,
    *,
    seed: int = 0,
    draws: int = 100,
    exemplars: int = 3,
) -> list[Figure]:
    """How often a sum of codes has all the attributes that it should have: means over draws, with standard errors.

    A draw takes `exemplars` images a term, and judges the sum of their mean codes with its eight neighbours. Beside it,
    by the same exemplars: `last_added_term_alone`, with as many neighbours; `pixels`, the same sum of the mean images;
    and `chance`, the share among samples from the prior.

    Exemplars are test images; of a model that doesn't encode, samples that the judge sees as the term says.

    Args:
        model: in evaluation mode, on its device.
        dataset: with attributes; the images that the model was trained on.
        judge: of attributes (`judge.of(…, target="attributes")`).

    Raises:
        UsageError: when the expression isn't one of attributes that the data has, or a term has too few exemplars.
    """
    terms = parse(expression)
    for term in terms:
        require_attributes(term, judge)
    goal = wanted(terms)
    added = [at for at, term in enumerate(terms) if term.sign > 0]
    if not added:
        raise UsageError(f"--arithmetic: '{expression}' adds nothing; write 'a - b + c'")
    moments = sampling.PriorMoments(model)
    own = conditions_of_samples(model, dataset)
    samples = sampling.seed_codes(model, range(SAMPLES), own)
    pictures = sampling.decode(model, samples, own)
    chance = succeeds(judge, pictures, goal)
    if ability.encodes(model):
        pools = image_pools(model, dataset, terms, draws * exemplars, seed)
    else:
        pools = sample_pools(judge, samples, pictures, terms, own)
    for term, (codes, *_) in zip(terms, pools, strict=True):
        if len(codes) < exemplars:
            source = "test images" if ability.encodes(model) else f"of {SAMPLES:,} samples"
            raise UsageError(f"--arithmetic: only {len(codes)} {source} are '{term.text}'; {exemplars} are needed")

    in_latent: list[Tensor] = []
    alone: list[Tensor] = []
    in_pixels: list[Tensor] = []
    told: list[Tensor] = []  # what the decoder is told of a draw's sum, and of its last added term
    told_alone: list[Tensor] = []
    generator = torch.Generator().manual_seed(seed)
    for draw in range(draws):
        chosen = []
        for term, (codes, images, conditions_of_term) in zip(terms, pools, strict=True):
            rows = torch.randperm(len(codes), generator=generator)[:exemplars]
            also = None if conditions_of_term is None else conditions_of_term[rows]
            chosen.append(Exemplars(term, images[rows], codes[rows.to(codes.device)], also))
        noise_seed = (seed * draws + draw) * NEIGHBOURS
        last = [chosen[added[-1]]]
        for found, found_told, some, code in (
            (in_latent, told, chosen, combine(chosen, lambda each: sampling.on_shell(model, each.code))),
            (alone, told_alone, last, last[0].code),
        ):
            condition = None if model.condition is None else condition_of(model.condition, some)
            found_told += [] if condition is None else [condition] * (1 + NEIGHBOURS)
            _, spread = moments(condition)
            code = sampling.on_shell(model, code)
            around = sampling.on_shell(model, sampling.neighbours(code, spread, JITTER, NEIGHBOURS, noise_seed))
            found.append(torch.cat([code[None], around]))
        in_pixels.append(combine(chosen, lambda each: each.images.mean(0)).clamp(0, 1))

    conditions: dict[str, str | int | float] = {
        "expression": expression,
        "wanted": ", ".join(name if has else f"not {name}" for name, has in goal.items()),
        "exemplars": f"{exemplars} {'test images' if ability.encodes(model) else 'judged samples'} a term",
        "drawn from": ", ".join(f"{len(codes)} {term.text}" for term, (codes, *_) in zip(terms, pools, strict=True)),
        "seed": seed,
        "judge": judge.name,
    }

    def over_draws(name: str, codes: list[Tensor], conditions_of_sums: list[Tensor]) -> Figure:
        parts = []
        inputs = [torch.cat(each) for each in (codes, conditions_of_sums) if each]
        for part, *also in zip(*(each.split(sampling.CHUNK * JUDGED) for each in inputs), strict=True):
            parts.append(succeeds(judge, sampling.decode(model, part, *also), goal))
            bar.update(len(part))
        success = torch.cat(parts).view(draws, -1).mean(1)
        return share(f"arithmetic/{name}", success, SHARE, images_a_draw=1 + NEIGHBOURS, jitter=JITTER, **conditions)

    by_chance = {key: value for key, value in conditions.items() if key != "drawn from"}
    with progress(f"sums {expression}", 2 * draws * (1 + NEIGHBOURS)) as bar:
        return [
            over_draws("success", in_latent, told),
            over_draws("last_added_term_alone", alone, told_alone),
            share("arithmetic/pixels", succeeds(judge, torch.stack(in_pixels), goal), SHARE, **conditions),
            share("arithmetic/chance", chance, SHARE, **{**by_chance, "exemplars": "samples from the prior"}),
        ]


def conditions_of_samples(model: GenerativeModel, dataset: Dataset) -> Tensor | None:
    """What samples 0 to SAMPLES - 1 are of, (SAMPLES, …): each seed's own; test images where the model is told one."""
    if model.condition is None or model.condition.kind != "image":
        return sampling.seed_conditions(model, range(SAMPLES))
    chosen = dataset.test.take(torch.arange(SAMPLES) * len(dataset.test) // SAMPLES)
    return conditions_of(model, chosen, sampling.device_of(model))


def require_attributes(term: Term, judge: Judge) -> None:
    """Refuse a term that names something else than attributes which the judge tells.

    Raises:
        UsageError
    """
    for name in literals(term.text):
        if name not in judge.attributes:
            raise UsageError(
                f"--arithmetic: '{name}' is no attribute of {judge.dataset}, which sums are judged by "
                f"(it has {', '.join(judge.attributes) or 'none'})"
            )


def agree(seen: Tensor, goal: Mapping[str, bool], judge: Judge) -> Tensor:
    """Which rows of attributes (N, attributes) are as `goal` says in all that it names: bool (N,)."""
    mask = torch.ones(len(seen), dtype=torch.bool)
    for name, has in goal.items():
        mask &= seen[:, judge.attributes.index(name)] == has
    return mask


def succeeds(judge: Judge, images: Tensor, goal: Mapping[str, bool]) -> Tensor:
    """1 for each image (N, C, H, W) in which the judge sees all attributes as they should be, else 0: float (N,)."""
    return agree(judge.has(images), goal, judge).float()


def image_pools(model: GenerativeModel, dataset: Dataset, terms: Sequence[Term], most: int, seed: int) -> list[Pool]:
    """For each term, up to `most` test images that fit it, drawn by `seed`."""
    pools = []
    for term in terms:
        fitting = matching(term.text, dataset, dataset.test)
        order = torch.randperm(len(fitting), generator=torch.Generator().manual_seed(seed))
        chosen = dataset.test.take(fitting[order[:most]])
        images, own = to_float(chosen.images()), conditions_of(model, chosen, sampling.device_of(model))
        pools.append(Pool(sampling.encode(model, images, own), images, own))
    return pools


def sample_pools(
    judge: Judge, codes: Tensor, images: Tensor, terms: Sequence[Term], conditions: Tensor | None = None
) -> list[Pool]:
    """For each term, the samples in which the judge sees what it says."""
    seen = judge.has(images)
    masks = [agree(seen, literals(term.text), judge) for term in terms]
    return [
        Pool(codes[mask.to(codes.device)], images[mask], None if conditions is None else conditions[mask])
        for mask in masks
    ]
