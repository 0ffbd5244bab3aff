"""The likelihood's estimate against a model whose likelihood is known: a linear decoder with Gaussian pixels."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import subject_of
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data.dataset import Dataset, Split
from genkit.distributions import bernoulli_log_likelihood, gaussian_kl
from genkit.evaluate import likelihood, table, topics
from genkit.evaluate.figure import Figure, LeftOut
from genkit.evaluate.subject import Asked
from genkit.models.vae import VAE

SHAPE = ImageShape(1, 4, 3)
SIGMA = 0.3
COUNT = 40
PLACES = torch.arange(COUNT)


class Linear:
    """x = Wz + b + σε, so that p(x) = N(b, WWᵀ + σ²I). W's columns are orthogonal, so p(z|x) has independent numbers.

    Args:
        shift, widen: how far q(z|x) is from p(z|x): its mean is moved by `shift`, its deviation `widen` times as large.
    """

    def __init__(self, shift: float = 0.0, widen: float = 1.0):
        generator = torch.Generator().manual_seed(1)
        orthogonal = torch.linalg.qr(torch.randn(SHAPE.numbers, 3, generator=generator, dtype=torch.float64))[0]
        self.w = orthogonal * torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64)
        self.b = torch.rand(SHAPE.numbers, generator=generator, dtype=torch.float64)
        self.shift, self.widen = shift, widen
        z = torch.randn(COUNT, 3, generator=generator, dtype=torch.float64)
        noise = torch.randn(COUNT, SHAPE.numbers, generator=generator, dtype=torch.float64)
        self.images = (z @ self.w.T + self.b + SIGMA * noise).reshape(COUNT, *SHAPE)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        precision = self.w.square().sum(0) / SIGMA**2 + 1
        mean = (images.flatten(1) - self.b) @ self.w / SIGMA**2 / precision
        return mean + self.shift, (self.widen**2 / precision).log().expand_as(mean)

    def log_likelihood(self, z: Tensor, images: Tensor) -> Tensor:
        gap = images.flatten(1).unsqueeze(1) - z @ self.w.T - self.b
        return -0.5 * gap.square().sum(2) / SIGMA**2 - SHAPE.numbers * math.log(SIGMA * math.sqrt(2 * math.pi))

    def exact(self) -> Tensor:
        """−ln p(x): (COUNT,)."""
        covariance = self.w @ self.w.T + SIGMA**2 * torch.eye(SHAPE.numbers, dtype=torch.float64)
        return -torch.distributions.MultivariateNormal(self.b, covariance).log_prob(self.images.flatten(1))


@pytest.mark.parametrize("k", [1, 7, 600])
def test_with_the_exact_posterior_the_estimate_is_exact_for_any_k(k: int) -> None:
    """All weights are then equal to p(x): there is nothing left to chance."""
    model = Linear()
    found = likelihood.estimate(model, model.images, PLACES, k)
    torch.testing.assert_close(found.nll, model.exact())
    torch.testing.assert_close(found.neg_elbo, model.exact())
    torch.testing.assert_close(found.effective, torch.full((COUNT,), float(k), dtype=torch.float64))


def test_with_another_posterior_it_comes_down_to_the_exact_value() -> None:
    model = Linear(shift=0.15, widen=1.2)
    estimates = [likelihood.estimate(model, model.images, PLACES, k).nll for k in (1, 10, 4000)]
    gaps = [float((each - model.exact()).mean()) for each in estimates]
    assert gaps[0] > gaps[1] > abs(gaps[2])
    assert gaps[2] == pytest.approx(0, abs=0.01)


def test_the_elbo_lies_below_by_the_posteriors_divergence() -> None:
    """−ELBO − NLL = KL(q(z|x) ‖ p(z|x)), in closed form."""
    model, exact = Linear(shift=0.15, widen=1.2), Linear()
    (mean, log_variance), (_, true) = model.posterior(model.images), exact.posterior(model.images)
    divergence = gaussian_kl(torch.full_like(mean, 0.15) / (true / 2).exp(), log_variance - true).sum(1).mean()
    found = likelihood.estimate(model, model.images, PLACES, 4000)
    assert float((found.neg_elbo - model.exact()).mean()) == pytest.approx(float(divergence), rel=0.02)


def test_one_sample_is_the_elbo_to_the_bit() -> None:
    model = Linear(shift=0.15)
    found = likelihood.estimate(model, model.images, PLACES, 1)
    assert torch.equal(found.nll, found.neg_elbo)
    mean, log_variance = model.posterior(model.images)
    noise = torch.stack([next(likelihood.codes_noise(0, place, 1, 3)) for place in range(COUNT)])
    assert torch.equal(found.neg_elbo, -likelihood.log_weights(model, model.images, mean, log_variance, noise)[:, 0])


def test_it_depends_neither_on_batches_nor_on_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Linear(shift=0.15)
    whole = likelihood.estimate(model, model.images, PLACES, 300)
    monkeypatch.setattr(likelihood, "CPU_NUMBERS", 50 * SHAPE.numbers)
    for found, expected in zip(likelihood.estimate(model, model.images, PLACES, 300), whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    alone = likelihood.estimate(model, model.images[7:8], PLACES[7:8], 300)
    torch.testing.assert_close(alone.nll, whole.nll[7:8], rtol=1e-12, atol=1e-12)
    assert not torch.equal(likelihood.estimate(model, model.images, PLACES, 300, seed=1).nll, whole.nll)


def test_sums_of_weights_beyond_what_floats_hold() -> None:
    sums = likelihood.WeightSums(2)
    for part in (torch.tensor([[-2000.0, -1000.0], [900.0, 900.0]]), torch.tensor([[-1001.0], [900.0]])):
        sums.add(part)
    found = sums.estimate()
    assert found.nll.tolist() == pytest.approx([1000 - math.log((1 + math.exp(-1)) / 3), -900])
    assert found.neg_elbo.tolist() == pytest.approx([4001 / 3, -900])
    assert found.effective.tolist() == pytest.approx([(1 + math.exp(-1)) ** 2 / (1 + math.exp(-2)), 3])


@pytest.mark.parametrize("options", [{}, {"net": "conv", "width": 2}, {"likelihood": "gaussian"}], ids=str)
def test_a_vaes_likelihood_is_that_of_its_training(options: dict[str, object]) -> None:
    shape = ImageShape(3, 9, 8)
    model = VAE(shape, VAE.Options(hidden=(8,), latent_dim=4, **options)).eval()
    images, z = torch.rand(5, *shape), 30 * torch.randn(5, 6, 4)
    expected = -model.negative_log_likelihood(model.decoder(z.flatten(0, 1)), images.repeat_interleave(6, 0))
    expected = expected.flatten(1).sum(1)
    torch.testing.assert_close(model.log_likelihood(z, images), expected.view(5, 6), rtol=1e-5, atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(model.log_likelihood(z, images), expected.view(5, 6), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("numbers", [1, 2, 31, 96, 784])
def test_bernoulli_pixels_in_place(numbers: int) -> None:
    """Logits of all sizes, those included whose exponential single precision doesn't hold."""
    logits = torch.randn(3, 4, numbers) * torch.tensor([0.0, 1.0, 10.0, 200.0])[:, None]
    pixels = torch.rand(3, numbers)
    expected = -torch.nn.functional.binary_cross_entropy_with_logits(
        logits.double(), pixels.double().unsqueeze(1).expand_as(logits), reduction="none"
    ).sum(2)
    found = bernoulli_log_likelihood(logits.clone(), pixels)
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=1e-3)
    found = bernoulli_log_likelihood(logits.clone().requires_grad_(), pixels)
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=1e-3)


def test_aggregate_kl_in_closed_form() -> None:
    """Means at ±a in one dimension, and posteriors of variance v: N(0, a² + v) against N(0, 1)."""
    means = torch.tensor([[2.0, 0.5], [-2.0, 0.5]]).double()
    variances = torch.tensor([[1.0, 0.2], [1.0, 0.4]]).double()
    expected = 0.5 * (5 - 1 - math.log(5)) + 0.5 * (0.3 + 0.25 - 1 - math.log(0.3))
    assert likelihood.aggregate_kl(means, variances) == pytest.approx(expected)
    assert likelihood.aggregate_kl(torch.zeros(5, 1).double(), torch.ones(5, 1).double()) == pytest.approx(0)
    by_image = gaussian_kl(means, variances.log()).sum(1).mean()
    assert likelihood.aggregate_kl(means, variances) <= float(by_image)


def test_aggregate_mmd_is_zero_in_expectation_for_codes_of_the_prior() -> None:
    codes = torch.randn(10_000, 4).double()
    same = likelihood.aggregate_mmd(codes, 0, {})
    assert abs(same.value) < 4 * same.error
    assert same.conditions["blocks"] == 40
    moved = likelihood.aggregate_mmd(codes + 0.5, 0, {})
    assert moved.value > 10 * moved.error
    assert isinstance(likelihood.aggregate_mmd(codes[:300], 0, {}), LeftOut)


def test_binary_pixels_are_drawn_with_their_grey_values_odds_by_their_place(digits: Dataset) -> None:
    model = VAE(digits.shape, VAE.Options(hidden=(4,), binarize="dynamic")).eval()
    subject = subject_of(model, digits)
    drawn = torch.cat([images for images, *_ in likelihood.observed(subject, digits.test, Asked())])
    grey = digits.test.images().float() / 255
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(drawn[grey == 1], torch.ones(int((grey == 1).sum())))
    middle = (grey > 0.3) & (grey < 0.7)
    assert float((drawn - grey)[middle].mean()) == pytest.approx(0, abs=0.01)
    few = digits.test.take(torch.tensor([7, 400]))
    again, places, _ = next(iter(likelihood.observed(subject, few, Asked())))
    assert torch.equal(again, drawn[[7, 400]]), "whatever other images are measured"
    assert torch.equal(places, digits.test.rows[[7, 400]])


@torch.no_grad()
def test_the_bound_samples_its_codes(digits: Dataset) -> None:
    """With q(z|x) = N(0, I) and pixels N(Wz, σ²), −ELBO = (‖x‖² + ‖W‖²) / 2σ² + D ln σ√(2π); at z = μ, ‖W‖² is lost."""
    model = VAE(digits.shape, VAE.Options(hidden=(), latent_dim=3, likelihood="gaussian", sigma=0.5)).eval()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.normal_(model.decoder[0][0].weight, std=0.3)
    subject = subject_of(model, digits)
    bound = likelihood.elbo(subject, Asked())
    images = digits.test.images().flatten(1).double() / 255
    weights = model.decoder[0][0].weight.double().square().sum()
    expected = (images.square().sum(1).mean() + weights) / (2 * 0.25) + 784 * math.log(0.5 * math.sqrt(2 * math.pi))
    assert float(bound.reconstruction.mean()) == pytest.approx(float(expected), abs=0.1 * float(weights) / 0.5)
    assert float(bound.kl.abs().max()) == 0


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic"])
@pytest.mark.parametrize("sigma", [1e-5, 0.0011, 0.02])
def test_bits_of_pixels_that_are_always_the_same_are_not_below_0(likelihood: str, sigma: float) -> None:
    """There, a density rises without bound as its deviation falls; of a step's noise it is best at that noise's."""
    image, rows = ImageShape(3, 4, 4), torch.arange(20)
    split = Split(torch.full((20, *image), 77, dtype=torch.uint8), rows)
    options = VAE.Options(hidden=(), latent_dim=2, likelihood=likelihood, sigma=sigma)
    model = VAE(image, options).eval()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(model.decoder[0][0].bias, 77 / 255)
    found = topics.measure(subject_of(model, Dataset("grey", split, split, split)), Asked(k=3), ["likelihood"])
    figures = {each.name: each for each in found if isinstance(each, Figure)}
    for name in ("likelihood/neg_elbo", "likelihood/nll", "likelihood/neg_elbo_of_nll_images"):
        bits, nats = figures[f"{name}_bits"], figures[name]
        assert bits.warning is None
        assert bits.value >= -1e-6
        steps = math.log2(255) if likelihood == "gaussian" else 0
        assert bits.value == pytest.approx(nats.value / (48 * math.log(2)) + steps)
    # The deviation of uniform noise as wide as a step is 0.0011: ½ ln(2πe / 12) nats are lost to the Gaussian's shape.
    if likelihood == "gaussian" and sigma == 0.0011:
        assert figures["likelihood/nll_bits"].value == pytest.approx(0.5 * math.log2(math.tau * math.e / 12), abs=0.05)


def test_figures_of_a_model_that_is_no_longer_finite_are_warned_of(digits: Dataset) -> None:
    model = VAE(digits.shape, VAE.Options(hidden=(4,), latent_dim=2)).eval()
    torch.nn.init.constant_(model.decoder[0][0].weight, math.nan)
    subject = subject_of(model, digits)
    found = topics.measure(subject, Asked(k=5, nll_images=20), ["reconstruction", "likelihood"])
    figures = {each.name: each for each in found if isinstance(each, Figure)}
    for name in ("reconstruction/cross_entropy", "reconstruction/ssim", "likelihood/nll", "likelihood/neg_elbo"):
        assert "no finite numbers" in str(figures[name].warning)
    lines = table.lines([table.Evaluation(subject, found, {"epochs": 1})])
    assert any(line.startswith("  NLL") and "! nan" in line for line in lines)
    assert any(line.startswith("warning: likelihood/nll: it is nan") for line in lines)
