"""What is fitted to codes: the place that noise chooses, densities in closed form, and what a file may say of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genkit.nets import priors
from genkit.nets.priors import CouplingFlow, Mixture, Shares, choose, fitted_flow, fitted_mixture, from_tensors

ORIGIN = torch.zeros(1, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _small_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priors, "FLOW_LAYERS", 4)
    monkeypatch.setattr(priors, "FLOW_WIDTH", 24)
    monkeypatch.setattr(priors, "FLOW_RATE", 5e-3)


def two_gaussians(count: int = 6000) -> tuple[Tensor, Tensor]:
    """Codes (N, 2) of which a quarter is N((-3, 0), diag(1, ¼)), and the others N((3, 1), [[1, .8], [.8, 1]])."""
    torch.manual_seed(0)
    labels = (torch.arange(count) % 4 > 0).long()
    first = torch.randn(count, 2) * torch.tensor([1.0, 0.5]) + torch.tensor([-3.0, 0.0])
    second = torch.randn(count, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]]) + torch.tensor([3.0, 1.0])
    return torch.where(labels[:, None] == 0, first, second), labels


def covariances(mixture: Mixture) -> Tensor:
    return mixture.scales @ mixture.scales.mT


def grid(reach: float = 7.0, side: int = 141) -> tuple[Tensor, float]:
    """Points (side², 2) of a square, and the area of each."""
    line = torch.linspace(-reach, reach, side)
    return torch.cartesian_prod(line, line), (2 * reach / (side - 1)) ** 2


def test_the_normal_distribution_is_that_of_torch() -> None:
    x = torch.linspace(0, priors.REACH, 10_001, dtype=torch.float64)
    torch.testing.assert_close(priors.normal_tail(x), torch.special.ndtr(-x), atol=2e-16, rtol=0)
    p = torch.cat([torch.logspace(-250, -1, 1000, dtype=torch.float64), torch.linspace(0.001, 0.999, 999).double()])
    torch.testing.assert_close(priors.normal_quantile(p), torch.special.ndtri(p), atol=1e-12, rtol=1e-12)


def test_a_number_chooses_by_its_share_and_is_a_normal_number_again() -> None:
    shares = Shares.of(torch.tensor([[0.5, 0.2, 0.0, 0.3]], dtype=torch.float64))
    evenly = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    places, left = choose(torch.special.ndtri(evenly), shares)
    assert torch.bincount(places, minlength=4).tolist() == [50_000, 20_000, 0, 30_000]
    for place, count in ((0, 50_000), (1, 20_000), (3, 30_000)):
        expected = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
        torch.testing.assert_close(left[places == place], expected, atol=1e-6, rtol=0)


def test_one_place_leaves_a_number_as_it_is_far_out_too() -> None:
    x = torch.tensor([-6.0, -3.0, -1e-3, 0.0, 0.5, 4.0, 6.0], dtype=torch.float64)
    torch.testing.assert_close(choose(x, Shares.of(torch.ones(1, 1).double())).left, x, atol=1e-7, rtol=0)


def test_a_mixture_of_two_known_gaussians_is_found() -> None:
    codes, _ = two_gaussians()
    found = fitted_mixture(codes, 2)
    order = found.means[:, 0].argsort()
    torch.testing.assert_close(found.weights[order].float(), torch.tensor([0.25, 0.75]), atol=0.01, rtol=0)
    torch.testing.assert_close(found.means[order], torch.tensor([[-3.0, 0.0], [3.0, 1.0]]), atol=0.08, rtol=0)
    expected = torch.tensor([[[1.0, 0.0], [0.0, 0.25]], [[1.0, 0.8], [0.8, 1.0]]])
    torch.testing.assert_close(covariances(found)[order], expected, atol=0.08, rtol=0)


def test_of_classes_each_has_its_own_gaussian() -> None:
    codes, labels = two_gaussians()
    found = fitted_mixture(codes, 1, labels, 3)
    assert found.classes == 3
    assert [found.knows(number) for number in range(4)] == [True, True, False, False]
    torch.testing.assert_close(found.shares, torch.tensor([0.25, 0.75, 0.0]).double())
    noise = torch.randn(4000, 2)
    for number in (0, 1):
        drawn = found(noise, torch.full((4000,), number))
        own = codes[labels == number]
        torch.testing.assert_close(drawn.mean(0), own.mean(0), atol=0.1, rtol=0)
        torch.testing.assert_close(drawn.T.cov(), own.T.cov(), atol=0.1, rtol=0)
    everything = found(noise)
    assert float((everything[:, 0] < 0).double().mean()) == pytest.approx(0.25, abs=0.02)
    # Of a class that had no codes nothing is known but what all have in common.
    assert torch.equal(found(noise, torch.full((4000,), 2)), everything)


@pytest.mark.parametrize("classes", [0, 2])
def test_densities_integrate_to_one(classes: int) -> None:
    codes, labels = two_gaussians(800)
    codes, given = codes / 2, labels if classes else None
    points, area = grid()
    for prior in (
        fitted_mixture(codes, 3, given, classes),
        fitted_flow(codes, codes, *((labels, labels, 2) if classes else ()), steps=15),
    ):
        assert float(prior.log_density(points).double().exp().sum() * area) == pytest.approx(1, abs=2e-3)
        if classes:
            shares = [prior.log_density(points, torch.full((len(points),), k)).double().exp().sum() for k in (0, 1)]
            assert [float(each * area) for each in shares] == pytest.approx([0.25, 0.75], abs=2e-3)


def test_what_coupling_layers_draw_has_the_density_that_they_say() -> None:
    """−ln p(z) = ln |∂z/∂noise| − ln N(noise), by the Jacobian of what is drawn."""
    torch.manual_seed(1)
    flow = CouplingFlow(3, torch.ones(1, dtype=torch.float64), 4, 8)
    for each in flow.parameters():
        torch.nn.init.normal_(each, 0, 0.5)
    flow.double()
    flow.begin_with(torch.randn(50, 3) @ torch.randn(3, 3))
    noise = torch.randn(5, 3, dtype=torch.float64)
    for row in noise:
        stretch = torch.autograd.functional.jacobian(lambda x: flow.draw(x[None], None)[0], row)
        normal = -0.5 * row.square().sum() - 1.5 * math.log(2 * math.pi)
        expected = normal - torch.linalg.slogdet(stretch).logabsdet
        torch.testing.assert_close(flow.log_density(flow.draw(row[None], None))[0], expected)


def test_coupling_layers_learn_what_no_gaussian_has() -> None:
    """A ring: codes at a distance of about 2 from the origin, where a Gaussian has most of its mass."""
    torch.manual_seed(0)
    angle = 2 * math.pi * torch.rand(3000)
    codes = (2 + 0.2 * torch.randn(3000))[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    flow = fitted_flow(codes[::2], codes[1::2], steps=200)
    gaussian = fitted_mixture(codes[::2], 1)
    assert flow.log_density(codes[1::2]).mean() > gaussian.log_density(codes[1::2]).mean() + 0.3
    assert float((flow(torch.randn(1000, 2)).norm(dim=1) < 1).double().mean()) < 0.15


def test_few_codes_have_a_covariance_and_a_dead_number_stays_dead() -> None:
    torch.manual_seed(0)
    codes = torch.cat([torch.randn(7, 9), torch.full((7, 1), 5.0)], 1)
    found = fitted_mixture(codes, 4)
    drawn = found(torch.randn(500, 10))
    assert found.in_words() == "1 Gaussian"
    assert drawn.isfinite().all()
    torch.testing.assert_close(drawn[:, 9], torch.full((500,), 5.0), atol=1e-3, rtol=0)
    assert found.log_density(codes).isfinite().all()


def test_a_class_of_few_codes_has_the_common_covariance_but_for_what_they_say() -> None:
    """The mode of an inverse Wishart prior: (S + D · common) / (n + D), of codes in units of their own spread."""
    torch.manual_seed(0)
    labels = torch.tensor([0] * 300 + [1] * 5)
    codes = torch.randn(305, 3) @ torch.randn(3, 3) + 4.0 * labels[:, None]
    found = fitted_mixture(codes, 1, labels, 2)
    spread = codes.std(0, unbiased=False)
    apart = [codes[labels == label] / spread for label in (0, 1)]
    scatters = [(each - each.mean(0)).T @ (each - each.mean(0)) for each in apart]
    common = sum(scatters) / 305 + priors.FLOOR * torch.eye(3)
    for scatter, count, covariance in zip(scatters, (300, 5), covariances(found), strict=True):
        expected = (scatter + 3 * common) / (count + 3) + priors.FLOOR * torch.eye(3)
        torch.testing.assert_close(covariance, expected * spread * spread[:, None], atol=1e-3, rtol=1e-3)


def test_many_numbers_have_variances_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priors, "MOST_NUMBERS", 5)
    codes, labels = two_gaussians()
    found = fitted_mixture(codes, 1, labels, 2)
    assert found.scales.shape == (2, 2)
    torch.testing.assert_close(found.scales**2, torch.tensor([[1.0, 0.25], [1.0, 1.0]]), atol=0.08, rtol=0)
    expected = torch.distributions.Normal(found.means[1], found.scales[1]).log_prob(codes).sum(1) + math.log(0.75)
    torch.testing.assert_close(found.log_density(codes, torch.ones(len(codes), dtype=torch.int64)), expected)


def test_the_same_noise_gives_the_same_code_whatever_its_neighbours_are() -> None:
    codes, labels = two_gaussians()
    noise = torch.randn(70, 2)
    for prior in (fitted_mixture(codes, 3, labels, 2), fitted_mixture(codes, 40)):
        assert torch.equal(prior(noise)[7], prior(noise[7:8])[0])
        assert torch.equal(prior(noise), from_tensors(prior.tensors())(noise))
    assert torch.equal(fitted_mixture(codes, 3, labels, 2)(noise), fitted_mixture(codes, 3, labels, 2)(noise))


def test_a_fit_leaves_the_random_generators_as_they_are() -> None:
    codes, _ = two_gaussians(200)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    flow = fitted_flow(codes, codes, steps=3)
    fitted_mixture(codes, 3)
    assert torch.equal(torch.get_rng_state(), before)
    again = from_tensors(flow.tensors())
    assert torch.equal(again(codes), flow(codes))


NO_NUMBERS = "the fitted prior holds numbers that aren't finite"
UNKNOWN = "the fitted prior is none that this version knows"
NO_FIT = "the fitted prior's tensors don't fit each other"
NO_CLASSES = "the fitted prior's components have no such weights or classes"
BROKEN = {
    "a class too many": ("owners", torch.tensor([0, 1, 5]), NO_CLASSES),
    "no order": ("owners", torch.tensor([1, 0, 1]), NO_CLASSES),
    "no weight": ("weights", torch.tensor([0.5, 0.0, 0.5]).double(), NO_CLASSES),
    "no number": ("means", torch.full((3, 2), torch.nan), NO_NUMBERS),
    "other means": ("means", torch.zeros(3, 4), NO_FIT),
    "other scales": ("scales", torch.zeros(3, 2, 5), NO_FIT),
    "another tensor": ("layers", ORIGIN, UNKNOWN),
}


@pytest.mark.parametrize("what", BROKEN)
def test_tensors_that_are_no_priors_are_refused(what: str) -> None:
    mixture = Mixture(torch.ones(3), torch.zeros(3, 2), torch.eye(2).repeat(3, 1, 1), torch.tensor([0, 1, 1]), 2)
    name, value, says = BROKEN[what]
    assert from_tensors(mixture.tensors()).classes == 2
    with pytest.raises(ValueError, match=f"^{says}$"):
        from_tensors({**mixture.tensors(), name: value})


def test_a_file_cannot_ask_for_layers_that_it_does_not_hold() -> None:
    """An empty tensor may have any width; what it is of isn't made before all shapes are known to fit."""
    tensors = CouplingFlow(4, torch.ones(1, dtype=torch.float64), 2, 8).tensors()
    assert from_tensors(tensors).dim == 4
    apart = "the fitted prior's layers don't fit each other"
    for name, value, says in (
        ("nets.0.0.weight", torch.empty(1 << 40, 0), "the fitted prior's layers are wider than any"),
        ("nets.0.0.weight", torch.zeros(9, 2), apart),
        ("nets.0.0.weight", torch.zeros(()), UNKNOWN),
        ("mean", torch.zeros(5), apart),
        ("mean", torch.zeros(4, 1), UNKNOWN),
        ("unscale", torch.zeros(4, 5), apart),
        ("shares", torch.zeros(()), UNKNOWN),
        ("scale", torch.full((4, 4), torch.inf), NO_NUMBERS),
    ):
        with pytest.raises(ValueError, match=f"^{says}$"):
            from_tensors({**tensors, name: value})
    for name in ("shares", "mean", "scale", "unscale"):
        with pytest.raises(ValueError, match=f"^{UNKNOWN}$"):
            from_tensors({each: value for each, value in tensors.items() if each != name})
