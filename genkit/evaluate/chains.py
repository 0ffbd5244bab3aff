"""What are the draws of Markov chains worth? Acceptance, effective samples, and whether the chains agree.

After Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization: an improved R̂"
(Bayesian Analysis, 2021). Autocorrelations are summed as long as Geyer's initial sequences allow ("Practical Markov
chain Monte Carlo", Statistical Science, 1992). Draws are (T, M, Q): T of M chains, of Q numbers, each looked at by
itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from genkit.latent.chains import Chains
from genkit.wording import counted

#: Above which chains haven't come to one distribution, by the paper.
MOST_RHAT = 1.01
#: Acceptance outside of which chains don't move, or in steps that are far too short.
LEAST_ACCEPTANCE, MOST_ACCEPTANCE = 0.05, 0.995
#: Of a variance, against the mean square: what rounding leaves of draws that are all the same.
ROUNDING = 1e-24


class Worth(NamedTuple):
    """What the chains of R densities came to, (R,) float64 each.

    Attributes:
        acceptance: mean, from 0 to 1.
        effective: independent draws that tell as much of the mean, of the number of which they tell least.
        rhat: of the number of which the chains agree least; 1 where they agree, infinite where they don't move.
        draws: of all chains of a density together.
        seconds: that all of them took, the warm-up included.
    """

    acceptance: Tensor
    effective: Tensor
    rhat: Tensor
    draws: int
    seconds: float

    @property
    def effective_a_second(self) -> float:
        return float(self.effective.sum()) / self.seconds

    def measured(self) -> dict[str, float]:
        """The figures, for a program: the mean acceptance and effective samples of a density, and the worst R-hat."""
        return {
            "acceptance": float(self.acceptance.mean()),
            "effective_samples": float(self.effective.mean()),
            "effective_samples_a_second": self.effective_a_second,
            "rhat": float(self.rhat.max()),
        }

    def in_words(self, what: str = "") -> str:
        """The same in a line; `what` is what each density is of, "an image", where there are several."""
        of, most = (f" {what}", "at most ") if what else ("", "")
        acceptance, effective = float(self.acceptance.mean()), float(self.effective.mean())
        return (
            f"acceptance {acceptance:.2f}, {effective:,.0f} effective samples{of} "
            f"of {self.draws:,} ({self.effective_a_second:,.0f} a second in all, warm-up included), "
            f"R-hat {most}{float(self.rhat.max()):.3f}"
        )

    def warnings(self, names: list[str], by: str = "hmc") -> list[str]:
        """What shows that the draws can't be trusted, and what to do.

        Args:
            names: of the densities.
            by: the sampler, of which there may be a better one.
        """
        found = []
        slow = [name for name, each in zip(names, self.acceptance, strict=True) if each < LEAST_ACCEPTANCE]
        short = [name for name, each in zip(names, self.acceptance, strict=True) if each > MOST_ACCEPTANCE]
        apart = [name for name, each in zip(names, self.rhat, strict=True) if not each <= MOST_RHAT]
        for those, why in (
            (slow, "steps are too long, and hardly any is taken"),
            (short, "steps are so short that all are taken and none leads far"),
        ):
            if those:
                found.append(f"chains don't move {listed(those)}: {why}; give more --warmup, which adapts them")
        if apart:
            found.append(
                f"R-hat is above {MOST_RHAT} {listed(apart)}, at most {float(self.rhat.max()):.3f}: the chains don't "
                f"agree yet; give more --draws and --warmup{'' if by == 'hmc' else ', or --by hmc'}; where they lie in "
                "different modes, that won't help, and what one chain shows is one of several answers"
            )
        return found


def listed(names: list[str]) -> str:
    """`for test 3, test 17 and 5 others`."""
    shown = ", ".join(names[:3])
    return f"for {shown}" + (f" and {counted(len(names) - 3, 'other')}" if len(names) > 3 else "")


def worth(chains: Chains, together: int, seconds: float) -> Worth:
    """What chains are worth, of which so many in a row are of one density, and which took so long."""
    draws = chains.draws.unflatten(1, (-1, together))  # (T, R, M, D)
    found = []
    for row in draws.unbind(1):
        found.append((effective_samples(split(rank_normalised(row))).min(), rhat(row).max()))
    effective, apart = (torch.stack(each) for each in zip(*found, strict=True))
    acceptance = chains.acceptance.view(-1, together).mean(1)
    return Worth(acceptance, effective, apart, draws.shape[0] * together, seconds)


# ---------------------------------------------------------------------------------------------------------------------
# Of draws (T, M, Q)
# ---------------------------------------------------------------------------------------------------------------------


def autocovariances(draws: Tensor) -> Tensor:
    """Of each chain about its own mean, at lags 0 to T − 1, divided by T: (T, M, Q)."""
    count = len(draws)
    spectrum = torch.fft.rfft(draws - draws.mean(0), n=2 * count, dim=0)
    return torch.fft.irfft(spectrum.abs().square(), n=2 * count, dim=0)[:count] / count


def effective_samples(draws: Tensor) -> Tensor:
    """How many independent draws tell as much of the mean as these (T, M, Q) do: (Q,).

    T·M / (1 + 2 Σ ρ), with autocorrelations ρ at all lags, of all chains together: that chains are apart counts as an
    autocorrelation that doesn't fall. Sums of neighbours, ρ₂ₖ + ρ₂ₖ₊₁, are positive and fall, of a reversible chain; so
    they are summed up to the first that isn't positive, and none counts more than the one before it. Where each draw is
    on the other side of the last it may exceed T·M; it is bounded by T·M·log₁₀(T·M). Of chains that never move it is 0.
    """
    count, chains, _ = draws.shape
    covariances = autocovariances(draws)
    unbiased = count / (count - 1)
    within = covariances[0].mean(0) * unbiased
    total = within / unbiased + (draws.mean(0).var(0) if chains > 1 else 0.0)
    correlations = 1 - (within - covariances.mean(1) * unbiased) / total
    correlations[0] = 1
    pairs = correlations[: count - count % 2].unflatten(0, (-1, 2)).sum(1)
    positive = (pairs > 0).cumprod(0)
    falling = torch.cummin(pairs, 0).values
    time = 2 * (falling * positive).sum(0) - 1
    most = math.log10(count * chains)
    moves = within > ROUNDING * draws.square().flatten(0, 1).mean(0)
    return torch.where(moves, count * chains / time.clamp(min=1 / most), 0.0)


def split(draws: Tensor) -> Tensor:
    """The halves of each chain as chains of their own, by which a drift is seen: (T // 2, 2M, Q)."""
    half = len(draws) // 2
    return torch.cat([draws[:half], draws[-half:]], 1)


def rank_normalised(draws: Tensor) -> Tensor:
    """Each draw in place of its rank among all of its number, as the normal quantile of (rank − 3/8) / (T·M + 1/4)."""
    flat = draws.flatten(0, 1)
    ranks = torch.empty_like(flat)
    for number, column in enumerate(flat.unbind(1)):  # those that are equal have their mean rank
        _, places, counts = column.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0)
        ranks[:, number] = (last - (counts - 1) / 2).double()[places]
    return torch.special.ndtri((ranks - 0.375) / (len(flat) + 0.25)).view_as(draws)


def split_rhat(draws: Tensor) -> Tensor:
    """√(total / within), of the variances that all draws have and that the halves of chains have: (Q,), 1 at best."""
    halves = split(draws)
    count = len(halves)
    within, between = halves.var(0).mean(0), count * halves.mean(0).var(0)
    found = ((count - 1) / count + between / within / count).sqrt()
    return found.nan_to_num(nan=math.inf, posinf=math.inf)


def rhat(draws: Tensor) -> Tensor:
    """The larger of two `split_rhat`, of ranks: of the draws, and of how far they are from the median: (Q,).

    The one sees chains that are at different places, the other chains that are differently wide; neither needs moments.
    """
    folded = (draws - draws.flatten(0, 1).median(0).values).abs()
    return torch.maximum(split_rhat(rank_normalised(draws)), split_rhat(rank_normalised(folded)))
