"""What chains are worth, against draws whose autocorrelation and distances are known."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor

from genkit.evaluate import chains
from genkit.evaluate.chains import Worth, effective_samples, rank_normalised, rhat, split, split_rhat
from genkit.latent.chains import Chains, langevin


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def autoregressive(correlation: float, count: int, number: int) -> Tensor:
    """Stationary chains z' = ρz + √(1 − ρ²) noise: (T, M, 1)."""
    steps = noise(count, number, 1)
    draws = [steps[0]]
    for each in steps[1:]:
        draws.append(correlation * draws[-1] + math.sqrt(1 - correlation**2) * each)
    return torch.stack(draws)


@pytest.mark.parametrize("correlation", [0.9, 0.5, 0.0, -0.4])
def test_effective_samples_of_an_autoregressive_chain(correlation: float) -> None:
    """Σ ρᵗ over all lags is (1 + ρ) / (1 − ρ), the number of draws that one independent draw is worth."""
    draws = autoregressive(correlation, 10_000, 8)
    expected = (1 - correlation) / (1 + correlation)
    assert float(effective_samples(draws)) / draws.numel() == pytest.approx(expected, rel=0.1)


def test_autocovariances_are_those_of_the_sum() -> None:
    draws = noise(30, 2, 3)
    centred = draws - draws.mean(0)
    for lag in (0, 1, 7):
        expected = (centred[lag:] * centred[: 30 - lag]).sum(0) / 30
        torch.testing.assert_close(chains.autocovariances(draws)[lag], expected)


def test_chains_that_lie_apart_are_worth_hardly_more_than_their_number() -> None:
    draws = noise(1000, 4, 1) + 10 * torch.arange(4.0)[:, None]
    assert float(effective_samples(draws)) < 8
    assert float(effective_samples(noise(1000, 4, 1))) > 3000


def test_draws_that_alternate_are_worth_more_than_their_number_within_a_bound() -> None:
    """Of z, −z, z, −z, … the mean is known at once."""
    draws = noise(1, 4, 1) * (-1.0) ** torch.arange(1000)[:, None, None]
    assert float(effective_samples(draws)) == pytest.approx(4000 * math.log10(4000))


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_rhat_of_chains_with_a_known_shift(shift: float) -> None:
    """Two chains whose four halves have the same variance, and means of ±shift: the variance of these is 4/3 shift²."""
    half = noise(50, 1, 1)
    half = (half - half.mean()) / half.std()
    draws = torch.cat([half, half.flip(0)]) + torch.tensor([-shift, shift]).double()[:, None]
    expected = math.sqrt(49 / 50 + 4 / 3 * shift**2)
    assert float(split_rhat(draws)) == pytest.approx(expected, rel=1e-9)


def test_rhat_sees_a_drift_that_all_chains_share() -> None:
    draws = noise(400, 4, 1) + torch.linspace(-2, 2, 400)[:, None, None]
    assert float(rhat(draws)) > 1.3
    assert float(rhat(noise(400, 4, 1))) < 1.01


def test_rhat_sees_chains_of_different_widths_by_how_far_they_are_from_the_median() -> None:
    draws = noise(1000, 4, 1) * torch.tensor([1.0, 1.0, 1.0, 4.0])[:, None]
    assert float(split_rhat(rank_normalised(draws))) < 1.01
    assert float(rhat(draws)) > 1.1


def test_rhat_is_of_ranks_and_needs_no_moments() -> None:
    draws = noise(200, 4, 2)
    torch.testing.assert_close(split_rhat(rank_normalised(draws)), split_rhat(rank_normalised(draws.exp())))
    cauchy = (torch.pi * (torch.special.ndtr(draws) - 0.5)).tan()
    assert float(rhat(cauchy).max()) < 1.02


def test_ranks_are_the_means_of_those_that_are_equal() -> None:
    draws = noise(20, 3, 2).round(decimals=1)
    for column in range(2):
        ranks = torch.from_numpy(rankdata(draws[:, :, column].flatten())).view(20, 3)
        expected = torch.special.ndtri((ranks - 0.375) / 60.25)
        torch.testing.assert_close(rank_normalised(draws)[:, :, column], expected)


def test_halves_are_chains_and_an_odd_draw_in_the_middle_is_in_none() -> None:
    draws = torch.arange(10.0).view(5, 2, 1)
    assert split(draws)[:, :, 0].tolist() == [[0, 1, 6, 7], [2, 3, 8, 9]]


def test_chains_that_never_move_are_worth_nothing() -> None:
    still = noise(1, 4, 2).expand(50, 4, 2)
    assert rhat(still).tolist() == [math.inf, math.inf]
    assert effective_samples(still).tolist() == [0, 0]
    found = chains.worth(Chains(still, still[:, :, 0], torch.zeros(4), torch.ones(4, 2)), 2, 1.0)
    assert found.effective.tolist() == [0, 0]
    assert [each.split(":")[0] for each in found.warnings(["a", "b"])] == [
        "chains don't move for a, b",
        "R-hat is above 1.01 for a, b, at most inf",
    ]


def test_the_worst_number_and_each_density_count() -> None:
    """Two densities of 4 chains: in one of them a number's chains lie apart."""
    draws = noise(500, 8, 3)
    draws[:, 6, 1] += 5
    found = chains.worth(Chains(draws, draws[:, :, 0], torch.full((8,), 0.5), torch.ones(8, 3)), 4, 2.0)
    assert found.draws == 2000
    assert float(found.effective[0]) > 1500
    assert float(found.effective[1]) < 50
    assert float(found.rhat[0]) < 1.01 < 1.2 < float(found.rhat[1])
    assert found.effective_a_second == pytest.approx(float(found.effective.sum()) / 2)
    assert found.measured()["rhat"] == float(found.rhat[1])


@pytest.mark.parametrize(
    ("acceptance", "rhat", "said"),
    [
        (0.6, 1.005, []),
        (0.01, 1.005, ["chains don't move for a: steps are too long"]),
        (0.999, 1.005, ["chains don't move for a: steps are so short"]),
        (0.6, 1.3, ["R-hat is above 1.01 for a, at most 1.300: the chains don't agree"]),
        (0.6, math.nan, ["R-hat is above 1.01 for a, at most nan"]),
    ],
)
def test_what_cannot_be_trusted_is_told_with_what_to_do(acceptance: float, rhat: float, said: list[str]) -> None:
    each = (torch.tensor([value, 1.0 if value == rhat else 0.5]) for value in (acceptance, 10.0, rhat))
    warnings = Worth(*each, 100, 1.0).warnings(["a", "b"], "langevin")
    assert [warning.startswith(words) for warning, words in zip(warnings, said, strict=True)] == [True] * len(said)
    assert all("; give more --" in warning for warning in warnings)


def test_a_sampler_that_mixes_and_one_that_does_not() -> None:
    """Langevin's on a normal distribution, from states that are far apart, with steps that are too short for it."""

    def normal(z: Tensor) -> Tensor:
        return -0.5 * z.square().sum(1)

    start = 5 * noise(8, 2)
    good = langevin(normal, start, draws=1000, warmup=300)
    crawling = langevin(normal, start, draws=300, warmup=0, step_size=0.01)
    assert float(chains.worth(good, 8, 1.0).rhat) < 1.02
    worth = chains.worth(crawling, 8, 1.0)
    assert float(worth.rhat) > 2
    assert len(worth.warnings(["p(z)"])) == 2
