"""Langevin and Hamiltonian Monte Carlo against densities of which everything is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genkit.latent import chains
from genkit.latent.chains import HMC_ACCEPTANCE, LANGEVIN_ACCEPTANCE, at, climb, hmc, langevin, leapfrog

COVARIANCE = torch.tensor([[1.0, 0.6, 0.0], [0.6, 2.0, -0.3], [0.0, -0.3, 0.25]], dtype=torch.float64)
MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def normal(z: Tensor) -> Tensor:
    return -0.5 * z.square().sum(1)


def gaussian(z: Tensor) -> Tensor:
    gap = z - MEAN
    return -0.5 * ((gap @ COVARIANCE.inverse()) * gap).sum(1)


def bent(z: Tensor) -> Tensor:
    """A density that is no Gaussian: its slope is no linear function."""
    return -0.25 * z.pow(4).sum(1) - 0.5 * (z[:, 0] - z[:, 1].square()).square()


def drawn(count: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lag_one(draws: Tensor) -> float:
    """The correlation of neighbouring draws (T, B, 1) of a density with mean 0."""
    return float((draws[1:] * draws[:-1]).mean() / draws.square().mean())


# A leapfrog


def test_a_leapfrog_goes_back_the_way_it_came() -> None:
    start, momentum = at(bent, 0.5 * drawn(50, 2)), drawn(50, 2, 1)
    size = torch.tensor([0.05, 0.1], dtype=torch.float64)
    end, last = leapfrog(bent, start, momentum, size, 20)
    back, first = leapfrog(bent, end, -last, size, 20)
    assert float((end.z - start.z).abs().max()) > 0.5
    torch.testing.assert_close(back.z, start.z, rtol=0, atol=1e-9)
    torch.testing.assert_close(first, -momentum, rtol=0, atol=1e-9)


def test_a_leapfrogs_error_of_the_energy_is_of_the_second_order() -> None:
    """Over the same time, steps of half the size lose a quarter as much."""
    start, momentum = at(bent, 0.5 * drawn(200, 2)), drawn(200, 2, 1)

    def lost(size: float, count: int) -> float:
        end, last = leapfrog(bent, start, momentum, size, count)
        change = end.log_density - start.log_density - 0.5 * (last.square() - momentum.square()).sum(1)
        return float(change.abs().mean())

    errors = [lost(0.05 / 2**k, 10 * 2**k) for k in range(3)]
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


def test_a_leapfrog_keeps_volumes() -> None:
    """The determinant of its Jacobian, by central differences, is 1."""
    place, step = drawn(1, 4)[0], 1e-5
    around = torch.cat([place + step * torch.eye(4).double(), place - step * torch.eye(4).double()])
    end, momentum = leapfrog(bent, at(bent, around[:, :2]), around[:, 2:], 0.2, 5)
    moved = torch.cat([end.z, momentum], 1)
    jacobian = (moved[:4] - moved[4:]).T / (2 * step)
    assert float((jacobian - torch.eye(4)).abs().max()) > 0.3
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-7)


# Autocorrelation and acceptance in closed form


@pytest.mark.parametrize("size", [0.5, 1.2, 1.7])
def test_langevin_on_a_normal_distribution_is_as_it_is_in_closed_form(size: float) -> None:
    """With h = ε²/2, it proposes (1 − h) z + ε noise, and accepts with min(1, exp(h/4 (z² − z'²))): the terms of the
    density and of the proposals leave no more. Expectations over z and the noise are sums over a fine grid.
    """
    h = size**2 / 2
    grid = torch.linspace(-8, 8, 2001, dtype=torch.float64)
    weight = (-0.5 * grid.square()).exp()
    weight = weight / weight.sum()
    z, noise = torch.meshgrid(grid, grid, indexing="ij")
    joint = weight[:, None] * weight
    there = (1 - h) * z + size * noise
    accepts = (h / 4 * (z.square() - there.square())).clamp(max=0).exp()
    acceptance = float((joint * accepts).sum())
    correlation = float((joint * z * (accepts * there + (1 - accepts) * z)).sum())
    found = langevin(normal, drawn(4000, 1), draws=50, warmup=0, step_size=size)
    assert float(found.acceptance.mean()) == pytest.approx(acceptance, abs=0.005)
    assert lag_one(found.draws) == pytest.approx(correlation, abs=0.01)
    if size == 0.5:
        assert correlation == pytest.approx(1 - h, abs=0.01), "nearly all are accepted: Langevin's without Metropolis"


@pytest.mark.parametrize("count", [1, 8])
def test_hmc_on_a_normal_distribution_turns_by_a_known_angle(count: int) -> None:
    """A leapfrog is a rotation by θ, cos θ = 1 − ε²/2, of an ellipse that is nearly a circle; l of them turn by lθ."""
    size = 0.2
    angle = math.acos(1 - size**2 / 2)
    expected = sum(math.cos(angle * moves) for moves in range(1, count + 1)) / count
    found = hmc(normal, drawn(200, 1), draws=1000, warmup=0, leapfrogs=count, step_size=size)
    assert float(found.acceptance.min()) > 0.98
    assert lag_one(found.draws) == pytest.approx(expected, abs=0.03)
    assert float(found.draws.square().mean()) == pytest.approx(1, abs=0.1)


# Distributions


@pytest.mark.parametrize(("sampler", "draws"), [(langevin, 400), (hmc, 150)])
def test_a_gaussian_has_its_mean_and_covariance(sampler, draws: int) -> None:
    """From states far off, which the warm-up leaves."""
    found = sampler(gaussian, 10 + drawn(100, 3), draws=draws, warmup=300)
    states = found.draws.flatten(0, 1)
    torch.testing.assert_close(states.mean(0), MEAN, rtol=0, atol=0.05)
    torch.testing.assert_close(torch.cov(states.T), COVARIANCE, rtol=0, atol=0.1)
    torch.testing.assert_close(found.log_densities[-1], gaussian(found.draws[-1]))


def test_steps_that_are_too_long_still_keep_the_distribution() -> None:
    """Proposals alone would have variance 1 / (1 − h/2) = 2: Metropolis makes it 1."""
    found = langevin(normal, drawn(2000, 1), draws=100, warmup=0, step_size=2**0.5)
    assert float(found.draws.square().mean()) == pytest.approx(1, abs=0.04)
    assert float(found.acceptance.mean()) < 0.9


def test_where_there_is_no_density_no_chain_goes() -> None:
    """A uniform one, of which nothing tells where it ends; and NaN, as of a net that overflows, is none."""

    def box(z: Tensor) -> Tensor:
        outside = torch.where(z[:, 0] > 0, math.nan, -math.inf).double()
        return torch.where(z.abs().amax(1) < 1, 0 * z.sum(1), outside)

    found = hmc(box, torch.zeros(500, 2), draws=100, warmup=100, leapfrogs=4)
    assert float(found.draws.abs().max()) < 1
    assert float(found.draws[-1].square().mean()) == pytest.approx(1 / 3, abs=0.04)
    outside = hmc(box, torch.full((20, 2), -1.05), draws=300, warmup=0, leapfrogs=2)
    assert float(outside.draws[-1].abs().max()) < 1, "from outside any step inside is one for the better"


# Adaptation


@pytest.mark.parametrize(("sampler", "target"), [(langevin, LANGEVIN_ACCEPTANCE), (hmc, HMC_ACCEPTANCE)])
def test_the_warm_up_finds_size_and_widths(sampler, target: float) -> None:
    widths = torch.tensor([0.01, 0.1, 1.0, 10.0], dtype=torch.float64)
    found = sampler(lambda z: -0.5 * (z / widths).square().sum(1), widths * drawn(16, 4), draws=300, warmup=800)
    assert float(found.acceptance.mean()) == pytest.approx(target, abs=0.07)
    relative = found.step_size[0] / widths
    assert float(relative.max() / relative.min()) < 1.5
    assert bool((found.step_size == found.step_size[0]).all())


def test_chains_of_different_densities_have_sizes_of_their_own() -> None:
    widths = torch.tensor([0.01, 1.0], dtype=torch.float64).repeat_interleave(8)[:, None]
    start = widths * drawn(16, 2)
    found = langevin(lambda z: -0.5 * (z / widths).square().sum(1), start, draws=300, warmup=400, together=8)
    assert float(found.step_size[8:].mean() / found.step_size[:8].mean()) == pytest.approx(100, rel=0.5)
    for some in found.acceptance.split(8):
        assert float(some.mean()) == pytest.approx(LANGEVIN_ACCEPTANCE, abs=0.1)


def test_the_same_seed_draws_the_same() -> None:
    one, same, other = (hmc(bent, drawn(5, 2), draws=20, warmup=10, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.draws, same.draws)
    assert not torch.equal(one.draws, other.draws)
    assert one.draws.dtype == torch.float64


def test_every_step_is_told() -> None:
    told: list[int] = []
    found = langevin(normal, drawn(2, 1), draws=7, warmup=3, advance=lambda: told.append(1))
    assert (len(told), found.draws.shape) == (10, (7, 2, 1))


# The maximum


def test_an_ascent_ends_at_a_maximum() -> None:
    top = climb(gaussian, 3 * drawn(4, 3))
    torch.testing.assert_close(top.z, MEAN.expand(4, 3), rtol=0, atol=1e-3)
    assert float(top.log_density.max()) == pytest.approx(0, abs=1e-5)


def test_each_ascent_has_a_maximum_of_its_own() -> None:
    def two(z: Tensor) -> Tensor:
        return torch.logsumexp(torch.stack([-2 * (z - 3).square().sum(1), 1 - 2 * (z + 3).square().sum(1)]), 0)

    top = climb(two, torch.tensor([[2.0], [-1.0]]))
    torch.testing.assert_close(top.z, torch.tensor([[3.0], [-3.0]]).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(top.log_density, torch.tensor([0.0, 1.0]).double(), rtol=0, atol=1e-4)


def test_an_ascent_never_ends_below_where_it_began() -> None:
    """With a rate that throws it about."""
    start = drawn(5, 3)
    top = climb(gaussian, start, steps=3, lr=50.0)
    assert bool((top.log_density >= gaussian(start)).all())
    assert chains.at(gaussian, top.z).log_density.tolist() == pytest.approx(top.log_density.tolist())
