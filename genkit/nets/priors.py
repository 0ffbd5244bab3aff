"""Priors that are fitted to codes after training: one Gaussian, a mixture of them, or coupling layers.

A model's prior is what its noise becomes codes by. Where codes of real images lie otherwise than that says, what is
drawn from it isn't like any image; a density that is fitted to the codes once the model is trained draws codes that the
decoder knows. After Ghosh et al., "From variational to deterministic autoencoders" (ICLR 2020), who call it ex-post
density estimation.

The noise N(0, I) of a code's own length stays the only input of each: the same noise gives the same code. Where a
component has to be chosen, or a class, the first number's normal CDF chooses it, and what of it is left is noise again
(`choose`). All of it is computed in float64 on the CPU, so that codes don't depend on the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genkit.contract.weightless import without_memory
from genkit.wording import counted

#: Numbers of all covariances together above which they are diagonal: 16 MiB.
MOST_NUMBERS = 1 << 22
#: Least variance of a component, in overall variances of the codes' own numbers.
FLOOR = 1e-4
#: Steps of Lloyd's and of the EM algorithm at most, and the gain in nats a code at which the latter ends.
LLOYD_STEPS, EM_STEPS, GAIN = 8, 12, 2e-2
#: Codes among which the first centres are sought, and codes a component, at least.
SEEDED, LEAST = 4000, 16
#: Of coupling layers: how many there are, and their units; steps, codes in each, learning rate, and the steps from one
#: look at held-out codes to the next.
FLOW_LAYERS, FLOW_WIDTH = 8, 128
FLOW_STEPS, FLOW_BATCH, FLOW_RATE, FLOW_MEASURED = 1500, 512, 1e-3, 50
#: Units, layers, classes and numbers of a code that coupling layers in a file may be of.
MOST_SIDE = 1 << 16
#: Numbers that are held at once, in float32.
AT_ONCE = 1 << 23
#: Beyond this a normal number isn't told apart: once in 10¹¹.
REACH = 7.0

# -- the normal distribution, by arithmetic that every format of export knows ------------------------------------------

#: Φ(−x) exp(x²/2) as a quotient, after Hart et al., "Computer approximations" (1968), no. 5666: within 2e-16.
TAIL = (
    (220.206867912376, 221.213596169931, 112.079291497871, 33.912866078383, 6.37396220353165, 0.700383064443688,
     3.52624965998911e-02),
    (440.413735824752, 793.826512519948, 637.333633378831, 296.564248779674, 86.7807322029461, 16.064177579207,
     1.75566716318264, 8.83883476483184e-02),
)  # fmt: skip
#: Φ⁻¹ about ½, towards the ends, and at them, after Wichura's AS 241 (Applied Statistics, 1988): 16 digits.
CENTRAL = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
OUTER = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2, 7.86869131145613259100e-4,
     1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip


def quotient(polynomials: tuple[Sequence[float], Sequence[float]], x: Tensor) -> Tensor:
    """One polynomial of x by another; coefficients from the constant on."""
    values = []
    for coefficients in polynomials:
        value = torch.full_like(x, coefficients[-1])
        for each in coefficients[-2::-1]:
            value = value * x + each
        values.append(value)
    return values[0] / values[1]


def normal_tail(x: Tensor) -> Tensor:
    """Φ(−x), the probability beyond x, of float64 x from 0 to `REACH`."""
    return (-x * x / 2).exp() * quotient(TAIL, x)


def normal_quantile(p: Tensor) -> Tensor:
    """Φ⁻¹(p) of float64 p in (0, 1)."""
    centred = p - 0.5
    r = (-torch.minimum(p, 1 - p).log()).sqrt()
    outer = torch.where(r <= 5, quotient(OUTER, r - 1.6), quotient(FAR, r - 5)) * centred.sign()
    return torch.where(centred.abs() <= 0.425, centred * quotient(CENTRAL, 0.180625 - centred * centred), outer)


class Choice(NamedTuple):
    """What normal numbers (B,) choose: a place each, int64 (B,), and the number that is left of each, N(0, 1) again."""

    places: Tensor
    left: Tensor


class Shares(NamedTuple):
    """How the unit interval is divided, (R, M) each: the parts, of which some may be 0, and what is below and above."""

    parts: Tensor
    below: Tensor
    above: Tensor

    @classmethod
    def of(cls, weights: Tensor) -> Shares:
        """Of non-negative weights (R, M), not all 0 in a row."""
        parts = weights / weights.sum(1, keepdim=True)
        # Each is summed from its own end, where it is exact.
        return cls(parts, parts.cumsum(1) - parts, parts.flip(1).cumsum(1).flip(1) - parts)

    def rows(self, rows: Tensor) -> Shares:
        return Shares(*(each[rows] for each in self))


def choose(x: Tensor, shares: Shares) -> Choice:
    """One of M places by each normal number x (B,), float64, as often as its share of `shares` (B, M) or (1, M).

    A number's CDF lies evenly in the unit interval, and within a place's part of it evenly again. It is measured from
    the nearer end of the interval, where a float64 knows how far it is.
    """
    tail = normal_tail(x.abs().clamp(max=REACH))
    upper = x > 0
    value = torch.where(upper, 1 - tail, tail)[:, None]
    places = (value >= shares.below[:, 1:]).sum(1)
    rows = places[:, None]

    def at(table: Tensor) -> Tensor:
        return table.expand(x.shape[0], -1).gather(1, rows)[:, 0]

    distance = tail - torch.where(upper, at(shares.above), at(shares.below))
    left = normal_quantile((distance / at(shares.parts)).clamp(1e-15, 1 - 1e-15))
    return Choice(places, torch.where(upper, -left, left))


# -- the priors --------------------------------------------------------------------------------------------------------


class FittedGaussian(nn.Module):
    """N(mean, covariance) over codes, fitted after training: the prior of a model that was trained without one.

    Until `fit` is called it is N(0, I). The parameters are buffers, so they travel with the weights.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.eye(dim))

    @torch.no_grad()
    def fit(self, codes: Tensor) -> None:
        """Take mean and full covariance of the codes (N, dim). Any N from 1 on will do.

        The square root is taken by eigenvalues, which a singular covariance (fewer codes than dimensions, or a dead
        unit) leaves well defined, where a Cholesky factor would fail.
        """
        codes = codes.cpu().double()  # not every device has doubles, or eigenvalues
        mean = codes.mean(0)
        covariance = (codes - mean).T @ (codes - mean) / max(1, len(codes) - 1)
        values, vectors = torch.linalg.eigh(covariance)
        self.mean.copy_(mean)
        self.scale.copy_(vectors * values.clamp(min=0).sqrt())

    def forward(self, noise: Tensor) -> Tensor:
        """Codes (B, dim) from N(0, I) noise (B, dim)."""
        return self.mean + noise @ self.scale.T


class CodePrior(nn.Module):
    """A density of codes, by class where it was fitted so: what the noise of a trained model becomes codes by.

    Attributes:
        dim: numbers in a code.
        classes: how many classes it knows; 0 where it knows none.
        shares: float64 (classes,), how often each was among the codes; (1,) where it knows none.
    """

    kind: ClassVar[str]
    shares: Tensor

    def __init__(self, dim: int, shares: Tensor):
        super().__init__()
        self.dim, self.classes = dim, len(shares) if len(shares) > 1 else 0
        self.register_buffer("shares", shares)

    def forward(self, noise: Tensor, classes: Tensor | None = None) -> Tensor:
        """Codes (B, dim), on the noise's device and of its type, from N(0, I) noise (B, dim).

        Args:
            classes: int64 (B,), whose each code is to be; by default each as often as there were.
        """
        exact = noise.to("cpu", torch.float64)
        if classes is None or not self.classes:
            return self.draw(exact, None).to(noise.device, noise.dtype)
        classes = classes.cpu()
        there = (self.shares > 0)[classes]
        drawn = self.draw(exact, torch.where(there, classes, self.shares.argmax()))
        # Of a class without codes nothing is known but what all have in common.
        return torch.where(there[:, None], drawn, self.draw(exact, None)).to(noise.device, noise.dtype)

    def draw(self, noise: Tensor, classes: Tensor | None) -> Tensor:
        """The same, in float64 on the CPU."""
        raise NotImplementedError

    def log_density(self, codes: Tensor, classes: Tensor | None = None) -> Tensor:
        """ln p(z) of codes (N, dim), in nats: (N,); with classes ln p(z, class)."""
        raise NotImplementedError

    def knows(self, number: int) -> bool:
        """Whether there were codes of a class."""
        return number < self.classes and bool(self.shares[number] > 0)

    def tensors(self) -> dict[str, Tensor]:
        """All that it is, for `from_tensors`."""
        return dict(self.state_dict())

    def in_words(self) -> str:
        """What it is, for people."""
        raise NotImplementedError


class Mixture(CodePrior):
    """Gaussians, some of each class: the components of a class stand together, in the order of the classes.

    Args:
        weights: float64 (M,), how often each component is drawn.
        means: (M, dim).
        scales: what unit noise is multiplied by: (M, dim, dim), or (M, dim) of diagonal covariances.
        owners: int64 (M,), each component's class, ascending; 0 where there are no classes.
        classes: how many there are; 0 where there are none.
    """

    kind = "mixture"
    weights: Tensor
    means: Tensor
    scales: Tensor
    owners: Tensor

    def __init__(self, weights: Tensor, means: Tensor, scales: Tensor, owners: Tensor, classes: int = 0):
        weights = weights.double() / weights.double().sum()
        super().__init__(
            means.shape[1], torch.zeros(max(1, classes), dtype=torch.float64).index_add(0, owners, weights)
        )
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("scales", scales)
        self.register_buffer("owners", owners)
        counts = torch.bincount(owners, minlength=max(1, classes))
        self.first = counts.cumsum(0) - counts
        own = torch.zeros(len(counts), int(counts.max()), dtype=torch.float64)
        own[owners, torch.arange(len(owners)) - self.first[owners]] = weights
        self.of_all, self.of_class = Shares.of(weights[None]), Shares.of(own)

    def draw(self, noise: Tensor, classes: Tensor | None) -> Tensor:
        chosen = choose(noise[:, 0], self.of_all if classes is None else self.of_class.rows(classes))
        component = chosen.places if classes is None else chosen.places + self.first[classes]
        noise = torch.cat([chosen.left[:, None], noise[:, 1:]], 1)
        scales = self.scales[component].double()
        moved = scales * noise if scales.ndim == 2 else (scales @ noise[:, :, None])[:, :, 0]
        return self.means[component].double() + moved

    def log_density(self, codes: Tensor, classes: Tensor | None = None) -> Tensor:
        found = []
        for part in codes.split(max(1, AT_ONCE // self.means.numel())):
            each = log_densities(part.float(), self.means.float(), inverses(self.scales)) + self.weights.float().log()
            found.append(each)
        every = torch.cat(found)
        if classes is not None:
            every = every.masked_fill(self.owners != classes[:, None], -torch.inf)
        return every.logsumexp(1)

    def in_words(self) -> str:
        count = len(self.weights)
        shape = "" if self.scales.ndim == 3 else ", each number by itself"
        by = f", each of one of {counted(self.classes, 'class')}" if self.classes else ""
        return f"{counted(count, 'Gaussian')}{by}{shape}"


class CouplingFlow(CodePrior):
    """Affine coupling layers over a Gaussian, after Dinh et al., "Density estimation using Real NVP" (ICLR 2017).

    Each layer scales and shifts half of the numbers by what a small net says of the other half, and of the class; so
    that it is undone exactly, and the density of a code is known. Before the first the numbers are brought to N(0, I)
    as far as mean and covariance tell; it begins as that Gaussian.

    Args:
        dim: numbers in a code.
        shares: as `CodePrior` has them.
        layers, width: how many there are, and units of each one's two hidden layers.
    """

    kind = "coupling"
    mean: Tensor
    scale: Tensor
    unscale: Tensor

    def __init__(self, dim: int, shares: Tensor, layers: int, width: int):
        super().__init__(dim, shares)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.eye(dim))
        self.register_buffer("unscale", torch.eye(dim))
        self.kept = [(dim + 1 - turn % 2) // 2 if dim > 1 else 0 for turn in range(layers)]
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Linear(kept + self.classes, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
                nn.Linear(width, 2 * (dim - kept)),
            )
            for kept in self.kept
        )  # fmt: skip
        for net in self.nets:
            last = net[-1]  # type: ignore[index]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @torch.no_grad()
    def begin_with(self, codes: Tensor) -> None:
        """Be the Gaussian with the codes' mean and covariance (N, dim)."""
        spread = codes.std(0, unbiased=False)
        spread = spread.clamp(min=max(1e-3 * float(spread.max()), 1e-12)).double()
        centred = (codes.double() - codes.double().mean(0)) / spread
        factor = torch.linalg.cholesky(floored(centred.T @ centred / len(codes))) * spread[:, None]
        self.mean.copy_(codes.double().mean(0))
        self.scale.copy_(factor)
        self.unscale.copy_(torch.linalg.inv(factor))

    def told(self, classes: Tensor | None, like: Tensor) -> Tensor:
        """A class (N,) as a row of zeros and a one, (N, classes)."""
        if classes is None or not self.classes:
            return like.new_empty(len(like), 0)
        return (classes[:, None] == torch.arange(self.classes)).to(like)

    def parts(self, turn: int, held: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """ln of the scale, within ±2, and the shift, that a layer has for the other half of the numbers."""
        scale, shift = self.nets[turn](torch.cat([held, told], 1)).chunk(2, 1)
        return 2 * (scale / 2).tanh(), shift

    def draw(self, noise: Tensor, classes: Tensor | None) -> Tensor:
        if classes is None and self.classes:
            chosen = choose(noise[:, 0], Shares.of(self.shares[None]))
            classes, noise = chosen.places, torch.cat([chosen.left[:, None], noise[:, 1:]], 1)
        z, told = noise.to(self.mean), self.told(classes, noise.to(self.mean))
        for turn, kept in enumerate(self.kept):
            held, moved = z[:, :kept], z[:, kept:]
            scale, shift = self.parts(turn, held, told)
            z = torch.cat([moved * scale.exp() + shift, held], 1)  # so that the other half is held next
        return (self.mean + z @ self.scale.T).to(noise)

    def log_density(self, codes: Tensor, classes: Tensor | None = None) -> Tensor:
        if classes is None and self.classes:
            numbers = [number for number in range(self.classes) if self.knows(number)]
            every = [self.log_density(codes, torch.full((len(codes),), number)) for number in numbers]
            return torch.stack(every, 1).logsumexp(1)
        z = (codes.to(self.mean) - self.mean) @ self.unscale.T
        told, total = self.told(classes, z), torch.linalg.slogdet(self.unscale).logabsdet.expand(len(z))
        for turn in reversed(range(len(self.kept))):
            kept = self.kept[turn]
            moved, held = z[:, : self.dim - kept], z[:, self.dim - kept :]
            scale, shift = self.parts(turn, held, told)
            z = torch.cat([held, (moved - shift) * (-scale).exp()], 1)
            total = total - scale.sum(1)
        total = total - 0.5 * z.square().sum(1) - 0.5 * self.dim * math.log(2 * math.pi)
        return total if classes is None or not self.classes else total + self.shares[classes].log().to(total)

    def in_words(self) -> str:
        by = f", of {self.classes} classes" if self.classes else ""
        return f"{len(self.nets)} coupling layers of {self.nets[0][0].out_features} units{by}"  # type: ignore[index]


# -- fitting -----------------------------------------------------------------------------------------------------------


class Inverses(NamedTuple):
    """What brings a component's codes to N(0, I): factors (M, dim, dim), or (M, dim), and ln of their determinants."""

    factors: Tensor
    logdets: Tensor


def inverses(scales: Tensor) -> Inverses:
    """Of scales as `Mixture` has them."""
    scales = scales.double()
    factors = 1 / scales if scales.ndim == 2 else torch.linalg.inv(scales)
    logdets = factors.log().sum(1) if scales.ndim == 2 else torch.linalg.slogdet(factors).logabsdet
    return Inverses(factors.float(), logdets.float())


def log_densities(codes: Tensor, means: Tensor, inverse: Inverses) -> Tensor:
    """ln N(z; mean, covariance) of codes (N, dim) under each of M components, in nats: (N, M)."""
    factors, logdets = inverse
    count, dim = means.shape
    if factors.ndim == 2:
        precisions = factors.square()
        squares = codes.square() @ precisions.T - 2 * codes @ (precisions * means).T + (precisions * means**2).sum(1)
    else:
        offsets = (factors @ means[:, :, None])[:, :, 0]
        moved = (codes @ factors.flatten(0, 1).T).view(-1, count, dim)
        squares = (moved - offsets).square().sum(2)
    return logdets - 0.5 * (squares.clamp(min=0) + dim * math.log(2 * math.pi))


def clusters(codes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Which of `count` clusters each code (N, dim) is in, int64 (N,): by k-means, begun as k-means++ begins."""
    some = codes[torch.randperm(len(codes), generator=generator)[:SEEDED]]
    centres = some[:1]
    nearest = torch.full((len(some),), torch.inf)
    for _ in range(1, count):
        nearest = torch.minimum(nearest, (some - centres[-1]).square().sum(1))
        odds = nearest if nearest.sum() > 0 else torch.ones_like(nearest)
        centres = torch.cat([centres, some[torch.multinomial(odds, 1, generator=generator)]])
    places = torch.zeros(len(codes), dtype=torch.int64)
    for _ in range(LLOYD_STEPS):
        before = places
        places = (centres.square().sum(1) - 2 * codes @ centres.T).argmin(1)
        if torch.equal(places, before):
            break
        numbers = torch.bincount(places, minlength=count)
        sums = torch.zeros_like(centres).index_add(0, places, codes)
        centres = torch.where(numbers[:, None] > 0, sums / numbers.clamp(min=1)[:, None], centres)
    return places


@torch.no_grad()
def fitted_mixture(
    codes: Tensor, components: int, labels: Tensor | None = None, classes: int = 0, seed: int = 0
) -> Mixture:
    """Gaussians of the codes (N, dim): `components` of each class, or of all; fewer where there are too few codes.

    By the EM algorithm from k-means, of each class by itself. A component's covariance is drawn towards the mean one of
    all components, as if that had been seen in as many codes as these have numbers: the mode of an inverse Wishart
    prior, so that a few codes have a covariance, too.

    Args:
        labels: int64 (N,), the codes' classes, of `classes`; None where there are none.
        seed: of where k-means begins.
    """
    generator = torch.Generator().manual_seed(seed)
    codes = codes.cpu().float()
    dim = codes.shape[1]
    centre, spread = codes.mean(0), codes.std(0, unbiased=False)
    spread = spread.clamp(min=max(1e-3 * float(spread.max()), 1e-12))
    codes = (codes - centre) / spread
    groups = torch.zeros(len(codes), dtype=torch.int64) if labels is None else labels.cpu()
    group_rows = {number: (groups == number).nonzero()[:, 0] for number in groups.unique().tolist()}
    counts = {number: min(components, max(1, len(rows) // LEAST)) for number, rows in group_rows.items()}
    begun = {number: clusters(codes[rows], counts[number], generator) for number, rows in group_rows.items()}
    full = sum(counts.values()) * dim * dim <= MOST_NUMBERS
    scatter = torch.zeros((dim, dim) if full else (dim,), dtype=torch.float64)
    for number, rows in group_rows.items():
        some, places = codes[rows], begun[number]
        numbers = torch.bincount(places, minlength=counts[number]).clamp(min=1)[:, None]
        means = torch.zeros(counts[number], dim).index_add(0, places, some) / numbers
        scatter += scatter_of(some - means[places], full)
    common = floored(scatter / len(codes))
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    owners = []
    for number, rows in group_rows.items():
        found = em(codes[rows], F.one_hot(begun[number], counts[number]).float(), common)
        parts.append((found[0] * len(rows), *found[1:]))
        owners.append(torch.full((counts[number],), 0 if labels is None else number))
    weights, at, scales = (torch.cat(each) for each in zip(*parts, strict=True))
    scales = scales * (spread[:, None] if full else spread)
    return Mixture(weights, at * spread + centre, scales, torch.cat(owners), 0 if labels is None else classes)


def scatter_of(centred: Tensor, full: bool) -> Tensor:
    """Σ x xᵀ of centred codes (N, dim), or of each number by itself; float64."""
    return (centred.T @ centred if full else centred.square().sum(0)).double()


def floored(covariance: Tensor) -> Tensor:
    """A covariance (dim, dim), or variances (dim,), with `FLOOR` more of each number's own."""
    return covariance + FLOOR * (torch.eye(len(covariance)).to(covariance) if covariance.ndim == 2 else 1)


def em(codes: Tensor, odds: Tensor, common: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (M,), means (M, dim) and scales of a mixture of the codes (N, dim), begun with whose each is, (N, M).

    Args:
        common: the covariance that each is drawn towards.
    """
    full, last = common.ndim == 2, -math.inf
    count, dim = odds.shape[1], codes.shape[1]
    strength = float(dim)
    for step in range(EM_STEPS):
        numbers = odds.sum(0).double().clamp(min=1e-6)
        means = (odds.T @ codes) / numbers[:, None].float()
        covariances = []
        for component in range(count):
            rows = (odds[:, component] > 1e-3).nonzero()[:, 0]
            centred = (codes[rows] - means[component]) * odds[rows, component].sqrt()[:, None]
            found = (scatter_of(centred, full) + strength * common) / (numbers[component] + strength)
            covariances.append(floored(found))
        spread = torch.stack(covariances)
        scales = (torch.linalg.cholesky(spread) if full else spread.sqrt()).float()
        weights = numbers / numbers.sum()
        if count == 1 or step == EM_STEPS - 1:
            break
        inverse, logs, total = inverses(scales), weights.log().float(), 0.0
        parts = []
        for part in codes.split(max(1, AT_ONCE // (count * dim))):
            each = log_densities(part, means, inverse) + logs
            summed = each.logsumexp(1, keepdim=True)
            total += float(summed.double().sum())
            parts.append((each - summed).exp())
        odds = torch.cat(parts)
        if total / len(codes) - last < GAIN:
            break
        last = total / len(codes)
    return weights, means, scales


def fitted_flow(
    codes: Tensor,
    held: Tensor,
    labels: Tensor | None = None,
    held_labels: Tensor | None = None,
    classes: int = 0,
    seed: int = 0,
    steps: int = FLOW_STEPS,
) -> CouplingFlow:
    """Coupling layers with the greatest likelihood of the codes (N, dim), as far as that of held-out ones rises, too.

    Args:
        held: other codes (N', dim), by which it is seen when to stop; with `held_labels`.
        labels, classes: as `fitted_mixture` has them.
        seed: of the first weights, and of the order of the codes.
        steps: of the optimiser, at most.
    """
    with torch.random.fork_rng([]), torch.enable_grad():
        torch.manual_seed(seed)
        codes, held = codes.cpu().float(), held.cpu().float()
        shares = torch.ones(1, dtype=torch.float64)
        if labels is not None:
            labels = labels.cpu()
            shares = torch.bincount(labels, minlength=classes).double() / len(labels)
        flow = CouplingFlow(codes.shape[1], shares, FLOW_LAYERS, FLOW_WIDTH)
        flow.begin_with(codes)
        optimizer = torch.optim.Adam(flow.parameters(), FLOW_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        best, highest = {name: each.clone() for name, each in flow.state_dict().items()}, -math.inf
        for step in range(steps):
            if step % FLOW_MEASURED == 0 or step == steps - 1:
                with torch.no_grad():
                    reached = float(flow.log_density(held, held_labels).mean())
                if reached > highest:
                    best, highest = {name: each.clone() for name, each in flow.state_dict().items()}, reached
                elif step >= 10 * FLOW_MEASURED and reached < highest - 1:
                    break
            rows = torch.randint(len(codes), (FLOW_BATCH,))
            loss = -flow.log_density(codes[rows], None if labels is None else labels[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
            optimizer.step()
            schedule.step()
        flow.load_state_dict(best)
    return flow.requires_grad_(False)


def from_tensors(tensors: Mapping[str, Tensor]) -> CodePrior:
    """The prior whose `tensors` these are, which may be anybody's: nothing larger than they themselves is made.

    Raises:
        ValueError: when they are none's.
    """
    if not all(bool(each.isfinite().all()) for each in tensors.values()):
        raise ValueError("the fitted prior holds numbers that aren't finite")
    if tensors.keys() == {"shares", "weights", "means", "scales", "owners"}:
        return mixture_of(**tensors)
    widths = [tensors[name].shape for name in tensors if name.endswith(".0.weight")]
    known = tensors.keys() >= {"shares", "mean", "scale", "unscale"} and tensors["shares"].ndim == 1
    if not known or tensors["mean"].ndim != 1 or not widths or not widths[0]:
        raise ValueError("the fitted prior is none that this version knows")
    shape = (len(tensors["mean"]), len(widths), widths[0][0])
    if max(*shape, tensors["shares"].numel()) > MOST_SIDE:
        raise ValueError("the fitted prior's layers are wider than any")
    with without_memory():
        meant = CouplingFlow(shape[0], torch.zeros(tensors["shares"].shape, dtype=torch.float64), *shape[1:])
        expected = {name: each.shape for name, each in meant.state_dict().items()}
    if expected != {name: each.shape for name, each in tensors.items()}:
        raise ValueError("the fitted prior's layers don't fit each other")
    flow = CouplingFlow(shape[0], tensors["shares"].double(), *shape[1:])
    flow.load_state_dict(tensors)
    return flow.requires_grad_(False).eval()


def mixture_of(shares: Tensor, weights: Tensor, means: Tensor, scales: Tensor, owners: Tensor) -> Mixture:
    """A mixture of tensors that may be anybody's.

    Raises:
        ValueError: when they don't fit each other.
    """
    classes = len(shares) if shares.ndim == 1 and len(shares) > 1 else 0
    fits = means.ndim == 2 and scales.shape in (means.shape, (*means.shape, means.shape[-1]))
    fits = fits and means.numel() > 0 and weights.shape == owners.shape == means.shape[:1] and shares.numel() > 0
    if not fits or owners.dtype != torch.int64 or not weights.is_floating_point() or not scales.is_floating_point():
        raise ValueError("the fitted prior's tensors don't fit each other")
    ordered = bool((owners.diff() >= 0).all()) and int(owners[0]) >= 0 and int(owners[-1]) < max(1, classes)
    largest = int(torch.bincount(owners).max()) if ordered else 0
    if not ordered or not bool((weights > 0).all()) or max(1, classes) * largest > MOST_NUMBERS:
        raise ValueError("the fitted prior's components have no such weights or classes")
    return Mixture(weights, means, scales, owners, classes).eval()
