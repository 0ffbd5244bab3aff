"""What a model begins with, against closed forms: PCA, and probabilistic PCA."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from genkit.contract import Batch, ImageShape
from genkit.data.dataset import Split
from genkit.evaluate.likelihood import log_weights
from genkit.models.ae import AE
from genkit.models.conv_ae import ConvAE
from genkit.models.vae import VAE
from genkit.run import beginning
from genkit.run.beginning import LEAST_VARIANCE, Beginning

IMAGE = ImageShape(3, 5, 4)


def images(count: int, image: ImageShape = IMAGE) -> Split:
    """Blurred noise, so that its axes are of unequal variance."""
    pixels = torch.randn(count, image.numbers, generator=torch.Generator().manual_seed(count))
    mixed = pixels @ torch.randn(image.numbers, image.numbers, generator=torch.Generator().manual_seed(1))
    grey = (128 + 4 * mixed).clamp(0, 255).to(torch.uint8).view(count, *image)
    return Split(grey, torch.arange(count))


def decomposed(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, largest first, and eigenvectors (P, P) of the covariance of (N, P)."""
    covariance = torch.cov(pixels.double().T, correction=0)
    values, vectors = torch.linalg.eigh(covariance)
    return values.flip(0), vectors.flip(1)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("exact", "within"), [(512, 1e-5), (0, 0.01)])
def test_principal_axes_are_those_of_the_covariance(
    exact: int, within: float, mirrored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "EXACT", exact)
    split = images(300)
    found = Beginning(split, 0, mirrored).principal_axes(7)
    pixels = split.images().float() / 255
    if mirrored:
        pixels = torch.cat([pixels, pixels.flip(3)])
    values, vectors = decomposed(pixels.flatten(1))
    torch.testing.assert_close(found.variances.double(), values[:7], rtol=within, atol=0)
    cosines = (found.axes.flatten(1).double() * vectors[:, :7].T).sum(1).abs()
    torch.testing.assert_close(cosines, torch.ones(7).double(), rtol=0, atol=4 * within)
    assert found.rest == pytest.approx(float(values[7:].mean()), rel=within)
    torch.testing.assert_close(found.mean, pixels.mean(0))
    again = Beginning(split, 0, mirrored).principal_axes(7)
    assert torch.equal(found.axes, again.axes)


def test_of_few_images_there_are_fewer_axes() -> None:
    found = Beginning(images(6), 0).principal_axes(50)
    assert found.axes.shape == (5, *IMAGE)
    assert found.rest == LEAST_VARIANCE
    assert Beginning(images(1), 0).principal_axes(50).axes.shape == (0, *IMAGE)


@pytest.mark.parametrize("net", ["mlp", "residual"])
def test_a_gaussian_vae_begins_at_probabilistic_pca(net: str) -> None:
    """Its posterior is the exact one: whatever the code, ln p(x, z) − ln q(z|x) is ln p(x) of N(μ, WWᵀ + σ²)."""
    split = images(200)
    model = VAE(
        IMAGE, VAE.Options(net=net, width=4, hidden=(8,), latent_dim=6, likelihood="gaussian", shortcut="linear")
    )
    model.begin_with(Beginning(split, 0))
    pixels = split.images().float() / 255
    values, vectors = decomposed(pixels.flatten(1))
    noise = values[6:].mean()
    kept = torch.cat([values[:6], noise.expand(IMAGE.numbers - 6)])
    exact = torch.distributions.MultivariateNormal(
        pixels.flatten(1).double().mean(0), vectors @ kept.diag() @ vectors.T
    )
    with torch.no_grad():
        found = log_weights(model, pixels, *model.posterior(pixels), torch.randn(200, 3, 6))
    expected = exact.log_prob(pixels.flatten(1).double())[:, None].expand(-1, 3)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("likelihood", ["logistic", "bernoulli"])
def test_a_vae_begins_as_good_as_pca(likelihood: str) -> None:
    """But for its prior, which makes a code smaller by its share of noise σ² / λ, and the error larger by σ⁴ / λ."""
    split = images(400)
    model = VAE(IMAGE, VAE.Options(hidden=(8,), latent_dim=9, likelihood=likelihood, shortcut="linear"))
    model.begin_with(Beginning(split, 0))
    values, _ = decomposed(split.images().flatten(1).float() / 255)
    noise = values[9:].mean()
    held_against_pca(model, split, 9, float((noise**2 / values[:9]).sum()))
    if likelihood == "logistic":
        deviation = math.pi / math.sqrt(3) * float(model.log_scale[0].detach().exp())
        assert deviation == pytest.approx(float(noise.sqrt()), rel=1e-3)


@pytest.mark.parametrize("model", [AE, ConvAE], ids=lambda each: each.__name__)
@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_an_autoencoder_begins_at_pca(model: type[AE] | type[ConvAE], loss: str) -> None:
    split = images(400)
    made = model(IMAGE, model.Options(latent_dim=9, loss=loss, shortcut="linear"))
    made.begin_with(Beginning(split, 0))
    held_against_pca(made, split, 9)
    codes = made.eval().encode(split.images().float() / 255)
    torch.testing.assert_close(codes.var(0, correction=0), torch.ones(9), rtol=1e-2, atol=0)


def held_against_pca(model: VAE | AE | ConvAE, split: Split, components: int, more: float = 0.0) -> None:
    """Squared error at most that of PCA, the sum of the smallest eigenvalues, and `more`; a step has gradients."""
    pixels = split.images().float() / 255
    left = float(decomposed(pixels.flatten(1))[0][components:].sum())
    with torch.no_grad():
        error = float((model.eval().decode(model.encode(pixels)) - pixels).square().sum()) / len(pixels)
    assert error < 1.001 * (left + more)
    before = {name: each.clone() for name, each in model.named_buffers() if name.startswith("shortcut")}
    model.train().losses(Batch(pixels, None, torch.tensor(0.0)))["loss"].backward()
    assert any(each.grad is not None and each.grad.any() for each in model.parameters())
    assert len(before) == 4
    assert not any(each.requires_grad for each in before.values())


def test_what_has_no_shortcut_begins_at_the_mean() -> None:
    split = images(40)
    model = AE(IMAGE, AE.Options(hidden=(8,), latent_dim=3))
    model.begin_with(Beginning(split, 0))
    torch.testing.assert_close(model.decoder[0][-1].bias, split.mean().flatten())
