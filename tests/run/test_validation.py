"""Validation and distances against exact values."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from conftest import small_model

from genkit.contract import ImageShape
from genkit.data.dataset import Dataset
from genkit.latent import scores
from genkit.models.ae import AE
from genkit.models.triplet import Triplet
from genkit.models.vae import VAE
from genkit.run import validation

CPU = torch.device("cpu")


def test_losses_are_averaged_over_images_not_batches(digits: Dataset) -> None:
    """The last batch of 1,100 images is smaller, and must not weigh as much as the others."""
    split = digits.train.take(slice(1100))
    model = AE(digits.shape, AE.Options(hidden=(8,), latent_dim=2))
    images = split.images().float() / 255
    with torch.no_grad():
        expected = (model.decode(model.encode(images)) - images).square().sum() / 1100
    measured = validation.validate(model, split, CPU)["squared_error"]
    assert measured == pytest.approx(float(expected), rel=1e-5)


def test_validation_is_the_same_every_time_and_leaves_the_random_state(digits: Dataset) -> None:
    model = VAE(digits.shape, VAE.Options(hidden=(8,)))
    before = torch.get_rng_state()
    first = validation.validate(model, digits.val, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert validation.validate(model, digits.val, CPU) == first


@pytest.mark.parametrize("name", ["vae", "conv-ae", "dcgan"])
def test_of_a_single_image_nothing_is_said_that_takes_several(digits: Dataset, name: str) -> None:
    """No code varies over one image, and none has a nearest other: neither is a fault of the model's."""
    model = small_model(name, digits.shape, latent_dim=4)
    measured = validation.validate(model, digits.val.take(slice(1)), CPU)
    assert all(map(math.isfinite, measured.values()))
    assert not {"active_units", "diversity"} & measured.keys()
    assert not model.watch([measured] * 3)
    assert {"active_units", "diversity"} & validation.validate(model, digits.val.take(slice(2)), CPU).keys()


def test_half_everywhere_costs_ln_2_a_pixel(digits: Dataset) -> None:
    model = VAE(digits.shape, VAE.Options(hidden=(8,)))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    assert validation.validate(model, digits.test, CPU)["neg_elbo"] == pytest.approx(543.43, abs=0.01)


def test_constant_mean_image_costs_the_entropy_of_the_mean(mnist: Dataset) -> None:
    mean = mnist.test.images().double().div(255).mean(0).clamp(1e-9, 1 - 1e-9)
    model = VAE(mnist.shape, VAE.Options(hidden=(8,)))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    model.decoder[0][-1].bias.data = mean.logit().float().flatten()
    entropy = -(mean * mean.log() + (1 - mean) * (1 - mean).log()).sum()
    assert validation.validate(model, mnist.test, CPU)["reconstruction"] == pytest.approx(float(entropy), abs=1e-3)
    assert float(entropy) == pytest.approx(205.65, abs=0.01)


def test_cross_entropy_of_the_test_set_with_itself_is_its_pixels_entropy(mnist: Dataset) -> None:
    """45.53 nats an image, below which no model of grey MNIST can come."""
    model = VAE(mnist.shape, VAE.Options())
    images = mnist.test.images().float() / 255
    nll = model.negative_log_likelihood(images.clamp(1e-7, 1 - 1e-7).logit(), images)
    assert float(nll.sum() / len(images)) == pytest.approx(45.53, abs=0.01)


def test_active_units() -> None:
    codes = torch.randn(1000, 4) * torch.tensor([1.0, 0.2, 0.05, 0.0])
    assert validation.active_units(codes) == 2


def test_a_model_of_codes_is_monitored_by_their_neighbours(digits: Dataset) -> None:
    """Of labelled images alone; and of one that has nobody beside it, it is wrong."""
    model = Triplet(digits.shape, Triplet.Options(width=2)).eval()
    found = validation.validate(model, digits.val, CPU)
    with torch.no_grad():
        codes = model.encode(digits.val.images().float() / 255).double()
    assert digits.val.labels is not None
    assert found["knn_error"] == pytest.approx(scores.knn_error(codes, digits.val.labels), abs=2 / len(codes))
    assert found["spread"] == pytest.approx(float((codes - codes.mean(0)).square().sum(1).mean().sqrt()), rel=1e-4)
    alone = validation.validate(model, digits.val.take(slice(1)), CPU)
    assert alone["knn_error"] == 1
    assert "spread" not in alone
    unlabelled = dataclasses.replace(digits.val, labels=None)
    ae = AE(digits.shape, AE.Options(hidden=(8,), latent_dim=2))
    ae.monitor = "knn_error"
    assert "knn_error" in validation.validate(ae, digits.val, CPU)
    assert "knn_error" not in validation.validate(ae, unlabelled, CPU)


def test_spread_is_the_root_of_the_mean_squared_distance_from_the_mean() -> None:
    assert validation.spread(torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 4.0], [0.0, -4.0]])) == math.sqrt(12.5)
    assert validation.spread(torch.full((5, 3), 1e4)) == 0


def test_sliced_wasserstein_of_equal_sets_is_zero_and_grows_with_the_shift(digits: Dataset) -> None:
    real = digits.val.images().float() / 255
    order = torch.randperm(len(real))
    assert validation.sliced_wasserstein(real[order], real) == pytest.approx(0, abs=1e-6)
    distances = [validation.sliced_wasserstein((real + shift).clamp(0, 1), real) for shift in (0.1, 0.2, 0.4)]
    assert distances == sorted(distances)
    assert distances[0] > 0.005


def test_sliced_wasserstein_sees_a_collapse(digits: Dataset) -> None:
    real = digits.val.images().float() / 255
    other = digits.test.images().float() / 255
    one_digit = other[digits.test.labels == 1]
    collapsed = one_digit[torch.arange(len(real)) % len(one_digit)]
    assert validation.sliced_wasserstein(collapsed, real) > 3 * validation.sliced_wasserstein(other, real)


@pytest.mark.parametrize("shape", [ImageShape(3, 5, 9), ImageShape(1, 8, 8), ImageShape(3, 45, 100)], ids=str)
def test_sliced_wasserstein_at_any_size(shape: ImageShape) -> None:
    images = torch.rand(6, *shape)
    assert validation.sliced_wasserstein(images, images) == 0
    assert validation.sliced_wasserstein(images, 1 - images) > 0


def test_diversity_is_a_ratio_of_nearest_distances(digits: Dataset) -> None:
    real = digits.test.images(slice(0, 200)).float() / 255
    assert validation.diversity(real, real) == 1
    assert validation.diversity(real / 2, real) == pytest.approx(0.5, rel=1e-4)
    assert validation.diversity(real[:1].expand(200, -1, -1, -1), real) == pytest.approx(0, abs=5e-3)
    few = real[:4].repeat(50, 1, 1, 1)  # four images, over and over
    assert validation.diversity(few, real) == pytest.approx(0, abs=5e-3)
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]).reshape(3, 1, 1, 2)
    assert validation.diversity(corners, 2 * corners) == pytest.approx(0.5)
