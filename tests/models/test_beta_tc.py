"""The β-TCVAE: what its KL term is made of, against closed forms, and that it is the VAE at a weight of 1."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from conftest import Genkit
from torch import Tensor

from genkit.contract import Batch, ImageShape
from genkit.distributions import gaussian_kl
from genkit.models import beta_tc
from genkit.models.beta_tc import BetaTCVAE, decomposed, stratified
from genkit.models.vae import VAE
from genkit.testing import random_images

IMAGE = ImageShape(1, 6, 5)


def batch(images: Tensor, epoch: float = math.inf) -> Batch:
    return Batch(images, None, torch.tensor(epoch))


def both(shared: dict[str, Any] | None = None, **options: object) -> tuple[VAE, BetaTCVAE]:
    """A VAE and a β-TCVAE with the same weights; the VAE has the shared options alone."""
    common = {"hidden": (16,), "latent_dim": 3, **(shared or {})}
    plain = VAE(IMAGE, VAE.Options(**common))
    other = BetaTCVAE(IMAGE, BetaTCVAE.Options(**common, training_images=500, **options))
    other.load_state_dict(plain.state_dict())
    return plain, other


def losses(model: VAE, images: Tensor, epoch: float = math.inf) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: value.detach() for name, value in model.losses(batch(images, epoch)).items()}


@pytest.mark.parametrize(
    "shared",
    [{}, {"likelihood": "logistic"}, {"shortcut": "linear"}, {"likelihood": "gaussian"}, {"binarize": "dynamic"}],
    ids=str,
)
def test_at_a_weight_of_1_it_is_the_vae_to_the_bit(shared: dict[str, Any]) -> None:
    images = torch.rand(20, *IMAGE)
    plain, other = both(shared, beta=1)
    for parameter in plain.parameters():  # none is 0, as some begin
        torch.nn.init.normal_(parameter, std=0.1)
    other.load_state_dict(plain.state_dict())
    theirs, ours = losses(plain, images), losses(other, images)
    assert {name: float(value) for name, value in ours.items() if name in theirs} == {
        name: float(value) for name, value in theirs.items()
    }


def test_the_weight_is_of_the_total_correlation_alone_and_rises_with_the_warm_up() -> None:
    images = torch.rand(20, *IMAGE)
    _, model = both(beta=5, kl_warmup=4)
    for epoch, share in ((0, 0), (1, 0.25), (4, 1), (math.inf, 1)):
        found = {name: float(value) for name, value in losses(model, images, epoch).items()}
        weighed = found["kl"] + 4 * found["total_correlation"]
        assert found["loss"] == pytest.approx(found["reconstruction"] + share * weighed, rel=1e-5)
        assert found["neg_elbo"] == pytest.approx(found["reconstruction"] + found["kl"], rel=1e-6)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_weights_of_a_batch_stand_for_all_images(count: int) -> None:
    weights = stratified(count, 100).double()
    assert torch.allclose(weights.sum(1), torch.ones(count, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(weights.diagonal(), torch.full((count,), 0.01, dtype=torch.float64))
    assert (weights > 0).all()


def test_a_batch_of_all_images_has_each_once() -> None:
    assert torch.allclose(stratified(8, 8), torch.full((8, 8), 1 / 8))


def test_the_parts_of_a_known_gaussian() -> None:
    """Of means from a Gaussian with correlation ρ, and narrow posteriors, the total correlation is −½ ln(1 − ρ²)."""
    correlation, count = 0.8, 1200
    covariance = torch.tensor([[1, correlation], [correlation, 1]])
    mean = torch.randn(count, 2) @ torch.linalg.cholesky(covariance).T
    log_variance = torch.full((count, 2), math.log(0.02))
    z = mean + (log_variance / 2).exp() * torch.randn(count, 2)
    parts = decomposed(z, mean, log_variance, count)
    # The aggregate posterior's covariance is that of the means and the posteriors' own.
    of_all = covariance + 0.02 * torch.eye(2)
    assert float(parts.total_correlation) == pytest.approx(
        0.5 * math.log(float(of_all[0, 0] * of_all[1, 1] / torch.det(of_all))), abs=0.05
    )
    assert float(parts.marginal_kl) == pytest.approx(
        2 * float(gaussian_kl(torch.tensor(0.0), of_all[0, 0].log())), abs=0.05
    )
    sampled = float(parts.mutual_information + parts.total_correlation + parts.marginal_kl)
    assert sampled == pytest.approx(float(gaussian_kl(mean, log_variance).sum(1).mean()), rel=0.02)


def test_independent_codes_have_no_total_correlation_and_equal_ones_no_information() -> None:
    mean, log_variance = torch.randn(1500, 2), torch.full((1500, 2), math.log(0.1))
    z = mean + (log_variance / 2).exp() * torch.randn(1500, 2)
    assert float(decomposed(z, mean, log_variance, 1500).total_correlation) == pytest.approx(0, abs=0.05)
    alike = decomposed(torch.randn(300, 2), torch.zeros(300, 2), torch.zeros(300, 2), 300)
    for part in alike:
        assert float(part) == pytest.approx(0, abs=1e-5)


def test_a_batch_of_one_image_is_no_error() -> None:
    _, model = both(beta=5)
    found = losses(model, torch.rand(1, *IMAGE))
    assert all(value.isfinite() for value in found.values())
    assert float(found["total_correlation"]) == pytest.approx(0, abs=1e-5)


def test_the_data_says_how_many_images_there_are() -> None:
    images = random_images(IMAGE)
    options = BetaTCVAE.options_for(BetaTCVAE.Options(), images)
    assert options.training_images == len(images.train)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"objective": "iwae"}, "Invalid value for '--objective': 'iwae' is not 'elbo'."),
        ({"k": 2}, "Invalid value for '--k': 2 is not in the range 1<=x<=1."),
    ],
)
def test_it_has_one_code_and_one_objective(genkit: Genkit, wrong: dict, said: str) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=name):
        BetaTCVAE.Options(**wrong)
    outcome = genkit("train", "beta-tc", "--dataset", "mnist5k", f"--{name}", value, "-n")
    assert outcome.code == 2
    assert outcome.err == f"genkit: {said} (see genkit train beta-tc --help)\n"


def test_many_codes_are_taken_apart_in_pieces_with_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    given = [torch.randn(11, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    sizes: list[int] = []
    real = beta_tc.log_density

    def watched(*each: Tensor) -> Tensor:
        found = real(*each)
        sizes.append(found.numel())
        return found

    def measured() -> tuple[Tensor, ...]:
        parts = decomposed(*given, images=100)
        return (torch.stack(parts).detach(), *torch.autograd.grad(parts.total_correlation + 2 * parts[0], given))

    whole = measured()
    monkeypatch.setattr(beta_tc, "AT_ONCE", 70)
    monkeypatch.setattr(beta_tc, "log_density", watched)
    for ours, theirs in zip(measured(), whole, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert max(sizes) <= 70
