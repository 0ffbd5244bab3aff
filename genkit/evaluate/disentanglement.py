"""Does each number of a code stand for one thing in which images differ? Four scores of the field, with their floors.

Locatello, Bauer, Lucic, Rätsch, Gelly, Schölkopf and Bachem, "Challenging common assumptions in the unsupervised
learning of disentangled representations" (ICML 2019) compare them. Each is measured on the codes (of a distribution,
its mean) and the known factors of a split's images, and once more with the codes shuffled against the factors: what a
code comes to that says nothing of its image.

DCI's importances are those of a Lasso, as in its paper, by our own solver, so that no figure depends on what is
installed. It sees of a factor what is linear in the code; MIG and FactorVAE's score see more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from genkit.contract import ability
from genkit.data import factors as known
from genkit.data.factors import Factor
from genkit.evaluate.estimate import error_of_share
from genkit.evaluate.figure import Figure, Found, LeftOut, Name
from genkit.evaluate.subject import Asked, Subject, progress
from genkit.step.passes import encode_split
from genkit.wording import one_line

#: Images at most, evenly spaced, and at least; numbers of a code at most.
IMAGES, FEWEST, NUMBERS = 10_000, 100, 512
#: Bins of as many images each that a number of a code, and a factor that is a number, are put into.
CODE_BINS, FACTOR_BINS = 20, 10
#: Groups of images that are left out in turn for a standard error, and shuffles that the floor is the mean of.
GROUPS, SHUFFLES = 10, 5
#: Of the Lasso: steps of its solver, and what keeps the least squares on what it has chosen from being singular.
STEPS, RIDGE = 500, 1e-6
#: Of the FactorVAE score: images that share a factor's value, and votes to learn from, as many as to be asked about.
ALIKE, VOTES = 64, 1000
#: The share of the largest variance from which on a number of a code is used at all.
USED = 0.01
#: What is said of codes that nothing can be measured by.
FAILED = "some codes aren't finite numbers: the model's training diverged; use an earlier checkpoint"
#: Numbers that are held in memory at once.
AT_ONCE = 1 << 24


def figures(subject: Subject, asked: Asked) -> list[Found]:
    images = subject.images.take(subject.images.spread(IMAGES))
    factors = known.of(subject.data, subject.dataset, images)
    if not factors:
        what = "neither attributes nor factors" if images.attributes is None else "no attribute in which images differ"
        return [LeftOut("disentanglement", f"{subject.dataset.name} has {what} that a code could stand for")]
    if len(images) < FEWEST:
        return [LeftOut("disentanglement", f"it needs {FEWEST} images, and there are {len(images)}")]
    rare = [each.name for each in factors if not varies(each)]
    factors = [each for each in factors if varies(each)]
    if not factors:
        return [LeftOut("disentanglement", f"too few images differ in {one_line(', '.join(rare), 100)}")]
    assert ability.encodes(subject.model)
    codes = encode_split(subject.model, images, subject.device).flatten(1).double()
    if codes.shape[1] > NUMBERS:
        return [LeftOut("disentanglement", f"codes have {codes.shape[1]:,} numbers, and it takes up to {NUMBERS}")]
    if not bool(codes.isfinite().all()):
        return [LeftOut("disentanglement", FAILED)]
    generator = torch.Generator().manual_seed(asked.seed)
    floors: list[dict[str, float]] = []
    with progress("disentanglement", 1 + GROUPS + SHUFFLES, "measurements") as bar:
        found = scores(codes, factors, generator)
        bar.update()
        errors = jackknife(codes, factors, bar.update)
        for _ in range(SHUFFLES):
            shuffled = codes[torch.randperm(len(codes), generator=generator)]
            floors.append(scores(shuffled, factors, generator))
            bar.update()
    numbers = sum(each.levels == 0 for each in factors)
    about = {
        **subject.conditions,
        **subject.given,
        "n": len(images),
        "factors": f"{len(factors)} ({numbers} numbers, {len(factors) - numbers} of levels)",
        "numbers of a code": codes.shape[1],
        **({"left out": f"{one_line(', '.join(rare), 100)}, in which too few images differ"} if rare else {}),
    }
    results: list[Found] = []
    for name, value in found.items():
        also = {**CONDITIONS[name], **({"seed": asked.seed} if name == "factorvae" else {})}
        error = error_of_share(value, VOTES) if name == "factorvae" else errors[name]
        results.append(Figure(Name.of("disentanglement", name, "code"), value, error, UNITS[name], {**about, **also}))
        floor = torch.tensor([each[name] for each in floors], dtype=torch.float64)
        spread = float(floor.std() / len(floor) ** 0.5)
        conditions = {**about, **also, "shuffles": SHUFFLES, "seed": asked.seed}
        shuffled_name = Name.of("disentanglement", name, "shuffled")
        results.append(Figure(shuffled_name, float(floor.mean()), spread, UNITS[name], conditions))
    return results


UNITS = {
    "mig": "of a factor's entropy",
    "sap": "gap",
    "factorvae": "accuracy",
    "dci_disentanglement": "",
    "dci_completeness": "",
    "dci_informativeness": "of a factor's variance",
}
CONDITIONS: dict[str, dict[str, str | int | float]] = {
    "mig": {"bins": f"{CODE_BINS} of a code's number, {FACTOR_BINS} of a factor's"},
    "sap": {"by": "R² of numbers, a threshold's balanced accuracy of two levels, the correlation ratio of more"},
    "factorvae": {"votes": VOTES, "images a vote": ALIKE, "bins of a number": FACTOR_BINS},
    "dci_disentanglement": {"importances": "weights of a Lasso"},
    "dci_completeness": {"importances": "weights of a Lasso"},
    "dci_informativeness": {"by": "a Lasso, of images that it hasn't seen"},
}


def scores(codes: Tensor, factors: Sequence[Factor], generator: torch.Generator | None = None) -> dict[str, float]:
    """All scores of codes (N, D), float64, whose rows are the factors'.

    Args:
        generator: of FactorVAE's votes, which are left out where there is none.
    """
    dci = dci_scores(codes, factors)
    found = {"mig": mutual_information_gap(codes, factors), "sap": separated_attributes(codes, factors)}
    if generator is not None:
        found["factorvae"] = factor_vae_score(codes, factors, generator)
    return {**found, **{f"dci_{name}": value for name, value in dci._asdict().items()}}


def jackknife(codes: Tensor, factors: Sequence[Factor], each: Callable[[], object] = lambda: None) -> dict[str, float]:
    """Standard errors of all scores but FactorVAE's: groups of images are left out in turn (Efron and Stein, 1981)."""
    group = torch.arange(len(codes)) % GROUPS
    parts: list[dict[str, float]] = []
    for left in range(GROUPS):
        kept = group != left
        parts.append(scores(codes[kept], [one._replace(values=one.values[kept]) for one in factors]))
        each()
    columns = {name: torch.tensor([part[name] for part in parts], dtype=torch.float64) for name in parts[0]}
    scale = (GROUPS - 1) / GROUPS
    return {name: math.sqrt(scale * float((some - some.mean()).square().sum())) for name, some in columns.items()}


def varies(factor: Factor) -> bool:
    """Whether images differ in a factor whichever group of the jackknife is left out, as every score needs."""
    group = torch.arange(len(factor.values)) % GROUPS
    return all(len(factor.values[group != left].unique()) > 1 for left in range(GROUPS))


# ---------------------------------------------------------------------------------------------------------------------
# Mutual information
# ---------------------------------------------------------------------------------------------------------------------


def binned(values: Tensor, bins: int) -> Tensor:
    """Each column of values (N, D) in bins of as many images each, int64 (N, D); equal values in the same bin."""
    ordered = values.sort(0).values.T.contiguous()
    columns = values.T.contiguous()
    # The middle of the ranks that equal values share.
    low = torch.searchsorted(ordered, columns)
    high = torch.searchsorted(ordered, columns, right=True)
    middle = (low + high - 1).double() / 2
    return (middle * bins / len(values)).floor().long().T


def levels_of(factor: Factor) -> tuple[Tensor, int]:
    """A factor's levels, int64 (N,), and how many there may be; of a number, `FACTOR_BINS`."""
    if factor.levels:
        return factor.values.long(), factor.levels
    return binned(factor.values[:, None], FACTOR_BINS)[:, 0], FACTOR_BINS


def mutual_information(codes: Tensor, factors: Sequence[Factor]) -> tuple[Tensor, Tensor]:
    """I(z; v) of every number of a code with every factor, (D, F), and the factors' entropies (F,), all in nats.

    Entropies of histograms with Miller's correction (1955): (cells that aren't empty − 1) / 2N is added to each.
    """
    bins = binned(codes, CODE_BINS)
    numbers, size = codes.shape[1], len(codes)
    of_codes = entropy(torch.stack([torch.bincount(column, minlength=CODE_BINS) for column in bins.T]), size)
    columns = []
    entropies = []
    for factor in factors:
        levels, count = levels_of(factor)
        entropies.append(entropy(torch.bincount(levels, minlength=count), size))
        # The joint histogram of every number of the code with this factor, at once.
        cells = torch.arange(numbers)[:, None] * CODE_BINS * count + bins.T * count + levels
        joint = torch.bincount(cells.flatten(), minlength=numbers * CODE_BINS * count)
        columns.append(of_codes + entropies[-1] - entropy(joint.reshape(numbers, -1), size))
    return torch.stack(columns, 1).clamp(min=0), torch.stack(entropies)


def entropy(counts: Tensor, size: int) -> Tensor:
    """Of histograms (..., cells) of so many values each, in nats, with Miller's correction: (...)."""
    shares = counts.double() / size
    return -torch.xlogy(shares, shares).sum(-1) + ((counts > 0).sum(-1) - 1) / (2 * size)


def mutual_information_gap(codes: Tensor, factors: Sequence[Factor]) -> float:
    """MIG of Chen, Li, Grosse and Duvenaud (NeurIPS 2018), the mean over factors, in [0, 1].

    By how much one number of the code says more of a factor than any other one does, as a share of its entropy.
    """
    information, entropies = mutual_information(codes, factors)
    return float((gap(information) / entropies).mean())


def gap(values: Tensor) -> Tensor:
    """Of each column (D, F), its largest value less the second largest; of one row the value itself, of none 0."""
    if not len(values):
        return values.new_zeros(values.shape[1])
    first, *others = values.topk(min(2, len(values)), 0).values
    return first - others[0] if others else first


# ---------------------------------------------------------------------------------------------------------------------
# A number of a code for a factor
# ---------------------------------------------------------------------------------------------------------------------


def separated_attributes(codes: Tensor, factors: Sequence[Factor]) -> float:
    """SAP of Kumar, Sattigeri and Balakrishnan (ICLR 2018), the mean over factors.

    By how much one number of the code tells a factor better than any other one does: of a factor that is a number, by
    its R²; of one of two levels, by the balanced accuracy of the best threshold, which is the linear classifier of one
    number; of more levels, by the share of the code's variance that lies between them.
    """
    used = codes[:, codes.var(0) > USED * codes.var(0).max()] if len(codes) > 1 else codes
    found = []
    for factor in factors:
        if factor.levels == 2:
            found.append(best_threshold(used, factor.values > 0.5))
        elif factor.levels:
            found.append(correlation_ratio(used, factor.values.long(), factor.levels))
        else:
            found.append(standardised(used).T.mul(standardised(factor.values[:, None])[:, 0]).mean(1).square())
    return float(gap(torch.stack(found, 1)).mean())


def standardised(values: Tensor) -> Tensor:
    """Each column (N, D) with mean 0 and variance 1; one without variance is 0."""
    centred = values - values.mean(0)
    deviation = centred.square().mean(0).sqrt()
    return centred / torch.where(deviation > 0, deviation, torch.ones_like(deviation))


def best_threshold(codes: Tensor, answers: Tensor) -> Tensor:
    """The balanced accuracy by which each number of a code tells answers (N,), above or below one threshold: (D,)."""
    ordered, order = codes.sort(0)
    yes = answers[order].double()
    shares = torch.stack([(yes.cumsum(0) / yes.sum(0)), ((1 - yes).cumsum(0) / (1 - yes).sum(0))])
    # Between equal values there is no threshold.
    ends = torch.cat([ordered[1:] > ordered[:-1], torch.ones_like(ordered[:1], dtype=torch.bool)])
    apart = torch.where(ends, (shares[0] - shares[1]).abs(), torch.zeros_like(ordered))
    return (1 + apart.amax(0)) / 2


def correlation_ratio(codes: Tensor, levels: Tensor, count: int) -> Tensor:
    """The share of the variance of each number of a code (N, D) that lies between levels (N,): (D,)."""
    centred = codes - codes.mean(0)
    rows = torch.nn.functional.one_hot(levels, count).double()
    sums, counts = rows.T @ centred, rows.sum(0).clamp(min=1)
    total = centred.square().sum(0)
    return (sums.square() / counts[:, None]).sum(0) / torch.where(total > 0, total, torch.ones_like(total))


# ---------------------------------------------------------------------------------------------------------------------
# DCI
# ---------------------------------------------------------------------------------------------------------------------


class DCI(NamedTuple):
    """Each in [0, 1]; informativeness, measured on images that the regression hasn't seen, may be below 0."""

    disentanglement: float
    completeness: float
    informativeness: float


def dci_scores(codes: Tensor, factors: Sequence[Factor]) -> DCI:
    """Disentanglement, completeness and informativeness of Eastwood and Williams (ICLR 2018).

    A Lasso tells each factor, and each level of one that has some, from the code. Informativeness is the share of
    variance that it explains of images that it hasn't seen, a mean over factors.
    """
    columns, owner = targets(factors)
    inputs = standardised(codes)
    learned = torch.arange(len(codes)) % 2 == 0
    half = lasso(inputs[learned], columns[learned] - columns[learned].mean(0))
    rest = columns[~learned] - columns[learned].mean(0)
    explained = 1 - (rest - inputs[~learned] @ half).square().mean(0) / rest.square().mean(0).clamp(min=1e-12)
    weights = lasso(inputs, columns)
    importance = torch.zeros(codes.shape[1], len(factors), dtype=torch.float64)
    importance.index_add_(1, owner, weights.square())
    shares = torch.zeros(len(factors), dtype=torch.float64).index_add_(0, owner, explained)
    informative = float((shares / torch.bincount(owner, minlength=len(factors))).mean())
    return DCI(*concentration(importance.sqrt()), informative)


def targets(factors: Sequence[Factor]) -> tuple[Tensor, Tensor]:
    """What is told of each image (N, T), each column of mean 0 and variance 1, and the factor that each is of (T,)."""
    columns, owner = [], []
    for place, factor in enumerate(factors):
        some = [factor.values]
        if factor.levels:
            first = 1 if factor.levels == 2 else 0
            some = [(factor.values == level).double() for level in range(first, factor.levels)]
        columns += some
        owner += [place] * len(some)
    return standardised(torch.stack(columns, 1)), torch.tensor(owner)


def lasso(inputs: Tensor, answers: Tensor) -> Tensor:
    """The weights (D, T) of the inputs (N, D) that a Lasso chooses for each answer (N, T), all of variance about 1.

    Its penalty is 2 √(ln DT / N), √2 times the universal threshold of Donoho and Johnstone (Biometrika, 1994). The odds
    that noise passes it, in any of DT correlations, are below 1 / DT; it passes the threshold itself one time in five.
    So a code that says nothing has no weights, and not some few that would be all the more concentrated. What is chosen
    gets the weights of least squares (the relaxed Lasso of Meinshausen, 2007).

    Solved by FISTA: Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm" (SIAM Journal on Imaging
    Sciences, 2009). It needs the covariances alone, whatever the number of images.
    """
    covariance, goal = inputs.T @ inputs / len(inputs), inputs.T @ answers / len(inputs)
    penalty = 2 * math.sqrt(math.log(max(2, goal.numel())) / len(inputs))
    step = 1 / max(float(torch.linalg.eigvalsh(covariance)[-1]), 1e-12)
    weights = ahead = torch.zeros_like(goal)
    momentum = 1.0
    for _ in range(STEPS):
        moved = ahead - step * (covariance @ ahead - goal)
        new = moved.sign() * (moved.abs() - step * penalty).clamp(min=0)
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - weights)
        done = bool((new - weights).abs().max() < 1e-7)
        weights, momentum = new, following
        if done:
            break
    relaxed = torch.zeros_like(weights)
    for column in range(weights.shape[1]):
        chosen = torch.nonzero(weights[:, column]).flatten()
        if len(chosen):
            some = covariance[chosen[:, None], chosen] + RIDGE * torch.eye(len(chosen), dtype=torch.float64)
            relaxed[chosen, column] = torch.linalg.solve(some, goal[chosen, column])
    return relaxed


def concentration(importance: Tensor) -> tuple[float, float]:
    """How far each number of a code stands for one factor, and each factor is told by one number, of (D, F).

    One less the entropy of its importances, as a share of what it could be; numbers are weighed by their importance
    for all factors, and factors by all that tells them, so that those of no importance don't count. 0 where none has.
    """
    total = importance.sum()
    if not total > 0:
        return 0.0, 0.0

    def of(rows: Tensor) -> float:
        own = rows.sum(1)
        shares = rows / torch.where(own > 0, own, torch.ones_like(own))[:, None]
        entropy = -torch.xlogy(shares, shares).sum(1)
        most = math.log(rows.shape[1]) if rows.shape[1] > 1 else 1.0
        return float(((1 - entropy / most) * own / total).sum())

    return of(importance), of(importance.T)


# ---------------------------------------------------------------------------------------------------------------------
# The FactorVAE score
# ---------------------------------------------------------------------------------------------------------------------


def factor_vae_score(codes: Tensor, factors: Sequence[Factor], generator: torch.Generator) -> float:
    """The score of Kim and Mnih, "Disentangling by factorising" (ICML 2018): an accuracy in [0, 1].

    A vote: some images that share the value of one factor, chosen by chance; the number of the code that varies least
    among them, as a share of its variance among all, should say which factor it was. Each number's commonest factor is
    learned from `VOTES` of them, and asked about as many others. Chance is 1 / factors, or a little more.
    """
    variances = codes.var(0)
    used = torch.nonzero(variances > USED * variances.max()).flatten()
    if not len(used):
        return 1 / len(factors)
    codes = (codes - codes.mean(0))[:, used] / variances[used].sqrt()
    chosen = torch.randint(len(factors), (2 * VOTES,), generator=generator)
    least = torch.empty(2 * VOTES, dtype=torch.long)
    for place, factor in enumerate(factors):
        levels, count = levels_of(factor)
        order = levels.argsort(stable=True)
        counts = torch.bincount(levels, minlength=count)
        starts = counts.cumsum(0) - counts
        votes = torch.nonzero(chosen == place).flatten()
        shared = levels[torch.randint(len(levels), (len(votes),), generator=generator)]
        draws = (torch.rand(len(votes), ALIKE, generator=generator) * counts[shared][:, None]).long()
        rows = order[starts[shared][:, None] + draws]
        for some in torch.arange(len(votes)).split(max(1, AT_ONCE // (ALIKE * len(used)))):
            least[votes[some]] = codes[rows[some]].var(1).argmin(1)
    table = torch.zeros(len(used), len(factors), dtype=torch.long)
    table.index_put_((least[:VOTES], chosen[:VOTES]), torch.ones(VOTES, dtype=torch.long), accumulate=True)
    answers = table.argmax(1)
    return float((answers[least[VOTES:]] == chosen[VOTES:]).double().mean())
