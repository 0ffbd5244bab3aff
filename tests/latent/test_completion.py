"""Images of which a part is given, against a VAE of which everything is known: a linear decoder of Gaussian pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genkit.contract import ImageShape
from genkit.errors import UsageError
from genkit.evaluate import by_chains
from genkit.evaluate.by_chains import Plan
from genkit.latent import completion
from genkit.latent.completion import PARTS, Views, part_of
from genkit.models.vae import VAE

SHAPE = ImageShape(1, 4, 4)
SIGMA = 0.5


class Known:
    """A VAE x = Wz + b + σε, and p(z|a) and p(b|a) of its images' halves, which are Gaussians."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.model = VAE(SHAPE, VAE.Options(latent_dim=3, hidden=(), likelihood="gaussian", sigma=SIGMA)).eval()
        (layer,) = [each for each in self.model.decoder.modules() if isinstance(each, torch.nn.Linear)]
        with torch.no_grad():
            layer.weight.copy_(torch.randn(16, 3) * torch.tensor([0.5, 0.3, 0.1]))
            layer.bias.copy_(torch.rand(16))
        with torch.no_grad():
            images = self.model.output(torch.randn(2, 3)) + SIGMA * torch.randn(2, *SHAPE)
        self.w, self.b = layer.weight.detach().double(), layer.bias.detach().double()
        self.views = Views(images, part_of("top-half", SHAPE))

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Means (2, 3) and the covariance (3, 3) of the codes, given the first eight pixels."""
        w = self.w[:8]
        covariance = (torch.eye(3).double() + w.T @ w / SIGMA**2).inverse()
        return (self.views.images.flatten(1)[:, :8] - self.b[:8]) @ w / SIGMA**2 @ covariance, covariance

    def log_predictive(self, mean: Tensor, covariance: Tensor) -> Tensor:
        """Of the other eight pixels, where the code is N(mean, covariance): (2,)."""
        w = self.w[8:]
        spread = w @ covariance @ w.T + SIGMA**2 * torch.eye(8).double()
        hidden = torch.distributions.MultivariateNormal(mean @ w.T + self.b[8:], spread)
        return hidden.log_prob(self.views.images.flatten(1)[:, 8:].double())


@pytest.fixture(scope="module")
def known() -> Known:
    return Known()


@pytest.mark.parametrize("by", ["langevin", "hmc"])
def test_chains_draw_from_the_posterior_of_a_linear_vae(known: Known, by: by_chains.By) -> None:
    """Codes' means and covariance, the likeliest code, and the other half's probability, all in closed form."""
    draws = 1200 if by == "langevin" else 200
    found = by_chains.complete(known.model, known.views, by, Plan(8, draws, 200))
    mean, covariance = known.posterior()
    assert found.codes is not None
    assert found.worth is not None
    codes = found.codes.permute(1, 0, 2, 3).flatten(1, 2)
    deviations = covariance.diagonal().sqrt()
    assert float(((codes.mean(1) - mean) / deviations).abs().max()) < 0.15
    for some in codes:
        relative = torch.cov(some.T) / deviations[:, None] / deviations
        torch.testing.assert_close(relative, covariance / deviations[:, None] / deviations, rtol=0, atol=0.2)
    torch.testing.assert_close(found.likeliest, mean, rtol=0, atol=2e-3)
    none = torch.zeros(3, 3).double()
    expected = {
        by: known.log_predictive(mean, covariance),
        "map": known.log_predictive(mean, none),
        "prior": known.log_predictive(torch.zeros(2, 3).double(), torch.eye(3).double()),
    }
    assert found.predictive.keys() == expected.keys()
    for name, each in expected.items():
        torch.testing.assert_close(found.predictive[name], each, rtol=0, atol=0.02 if name == "map" else 0.2)
    assert float(found.worth.rhat.max()) < 1.05


def test_the_predictive_is_the_logarithm_of_the_mean(known: Known) -> None:
    """Of two codes, one of which explains nothing, it is ln ½ below the better one's: the mean of logarithms isn't."""
    good = known.posterior()[0]
    both = torch.stack([good, good + 100])
    alone = completion.log_predictive(known.model, good[None], known.views)
    torch.testing.assert_close(completion.log_predictive(known.model, both, known.views), alone - math.log(2))
    many = torch.cat([both] * 700)  # in several pieces
    torch.testing.assert_close(completion.log_predictive(known.model, many, known.views), alone - math.log(2))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "logistic"])
def test_the_likelihoods_of_both_parts_are_that_of_the_image(likelihood: str) -> None:
    """Each image under each of its own codes; of a model that is told the class, under its own class."""
    model = VAE(ImageShape(3, 5, 7), VAE.Options(likelihood=likelihood, latent_dim=4, condition="label", classes=3))
    images, classes = (torch.rand(2, 3, 5, 7) * 255).round() / 255, torch.tensor([2, 0])
    views = Views(images, part_of("left-half", model.image), classes)
    z = torch.randn(6, 4, dtype=torch.float64)
    with torch.no_grad():
        parts = [completion.likelihood_of(model, z, views, part, 3) for part in (views.part, views.hidden)]
        whole = model.log_likelihood(z.float().view(2, 3, 4), images, classes).flatten()
    torch.testing.assert_close(sum(parts).float(), whole, rtol=1e-5, atol=1e-2)
    assert parts[0].dtype == torch.float64
    density = completion.posterior_log_density(model, views, 3)(z)
    torch.testing.assert_close(density - parts[0], -0.5 * z.square().sum(1) - 2 * math.log(2 * math.pi))


def test_what_is_given_stays_and_the_rest_is_of_others() -> None:
    views = Views(torch.zeros(2, *SHAPE), part_of("right-half", SHAPE))
    filled = views.filled(torch.ones(6, *SHAPE))
    assert filled.shape == (6, *SHAPE)
    assert bool((filled[..., 2:] == 0).all())
    assert bool((filled[..., :2] == 1).all())


def test_opposite_halves_are_an_image() -> None:
    image = ImageShape(3, 5, 7)
    for one, other in (("top-half", "bottom-half"), ("left-half", "right-half")):
        assert torch.equal(part_of(one, image), ~part_of(other, image))
    assert part_of("top-half", image)[:, :2].all()
    assert not part_of("top-half", image)[:, 2:].any()
    assert part_of("right-half", image)[:, :, 3:].all()


def test_what_cannot_be_halved_is_refused() -> None:
    with pytest.raises(UsageError, match="no two halves that way"):
        part_of("top-half", ImageShape(1, 1, 9))


def test_the_commands_halves_are_those_that_there_are() -> None:
    from genkit.cli import sample

    assert tuple(PARTS) == sample.PARTS


def test_pixels_of_a_binary_likelihood_are_drawn_once() -> None:
    model = VAE(SHAPE, VAE.Options(binarize="dynamic"))
    images = torch.full((100, *SHAPE), 0.25)
    one, same, other = (completion.observed(model, images, seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert float(one.mean()) == pytest.approx(0.25, abs=0.04)
    assert torch.equal(completion.observed(VAE(SHAPE, VAE.Options()), images, 0), images)


@pytest.mark.parametrize("by", ["langevin", "hmc"])
def test_chains_of_the_prior_are_normal(known: Known, by: by_chains.By) -> None:
    """Though they begin with states that are twice as wide."""
    ran, worth = by_chains.of_prior(known.model, by, Plan(200, 100, 200))
    assert float(ran.draws.mean(dim=(0, 1)).abs().max()) < 0.05
    torch.testing.assert_close(torch.cov(ran.draws.flatten(0, 1).T), torch.eye(3).double(), rtol=0, atol=0.05)
    assert worth.draws == 20_000


def test_the_likeliest_code_of_the_prior_is_its_mode(known: Known) -> None:
    assert float(by_chains.likeliest_of_prior(known.model, 5, 0).abs().max()) < 1e-3


def test_draws_that_would_not_fit_in_memory_are_refused(known: Known) -> None:
    with pytest.raises(UsageError, match="give fewer --draws or --chains"):
        by_chains.of_prior(known.model, "hmc", Plan(1000, 1_000_000, 0))
