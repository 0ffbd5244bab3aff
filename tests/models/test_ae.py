"""Autoencoders against principal component analysis, on real digits."""

from __future__ import annotations

import pytest
import torch

from genkit.contract import Batch, ImageShape
from genkit.data.batches import TrainingBatches
from genkit.data.dataset import Dataset
from genkit.models._autoencoder import Autoencoder
from genkit.models.ae import AE
from genkit.models.conv_ae import ConvAE
from genkit.step.training import TrainingState, train
from genkit.testing import random_images

CPU = torch.device("cpu")


def test_a_linear_autoencoder_spans_pcas_subspace(digits: Dataset) -> None:
    """Principal angles under 5 degrees, and a squared error within 1 % of PCA's."""
    codes = 6  # where the spectrum has a gap: the seventh component explains a quarter less than the sixth
    options = AE.Options(hidden="none", latent_dim=codes, epochs=120, lr=1e-2, batch_size=250, lr_warmup=0)
    model = AE(digits.shape, options)
    batches = TrainingBatches(digits.train, options.batch_size, 0, CPU)
    state = TrainingState(model, options.epochs * len(batches), len(batches))
    for epoch in range(options.epochs):
        list(train(state, batches.epoch(epoch)))

    images = digits.train.images().flatten(1).float() / 255
    centred = images - images.mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    pca = axes[:codes].T
    learned, _ = torch.linalg.qr(model.decoder[0][0].weight.detach())
    cosines = torch.linalg.svdvals(pca.T @ learned)
    angles = torch.rad2deg(torch.acos(cosines.clamp(max=1)))
    assert float(angles.max()) < 5

    error_of_pca = (centred - centred @ pca @ pca.T).square().sum(1).mean()
    with torch.no_grad():
        output = model.decoder(model.encoder(images.unflatten(1, tuple(digits.shape)))).flatten(1)
    assert float((output - images).square().sum(1).mean()) == pytest.approx(float(error_of_pca), rel=0.01)


def test_hidden_layers_mirror() -> None:
    model = AE(ImageShape(1, 28, 28), AE.Options(hidden="1000,500,250", latent_dim=30))
    widths = [each.out_features for each in model.modules() if isinstance(each, torch.nn.Linear)]
    assert widths == [1000, 500, 250, 30, 250, 500, 1000, 784]


def test_he_keeps_the_signal_where_torchs_weights_lose_it(digits: Dataset) -> None:
    """Through four rectified layers the code's spread over images stays that of the input; torch's shrinks tenfold."""
    images = digits.test.images().float() / 255
    spread = {}
    for init in ("torch", "he"):
        torch.manual_seed(0)
        model = AE(digits.shape, AE.Options(activation="relu", init=init))
        with torch.no_grad():
            spread[init] = float(model.encode(images).std(0).mean() / images.flatten(1).std(0).norm() * 784**0.5)
        layers = [each for each in model.modules() if isinstance(each, torch.nn.Linear)]
        if init == "he":
            assert all(not each.bias.any() for each in layers)
            for each in layers:
                assert float(each.weight.detach().std()) == pytest.approx((2 / each.in_features) ** 0.5, rel=0.02)
    assert spread["he"] > 10 * spread["torch"]


@pytest.mark.parametrize(("activation", "gain"), [("sigmoid", 4), ("tanh", 1)])
def test_xaviers_weights_are_even_and_larger_for_sigmoids(activation: str, gain: float) -> None:
    torch.manual_seed(0)
    options = AE.Options(hidden=(300, 200), latent_dim=100, activation=activation, init="xavier", input_scale=0.5)
    for number, each in enumerate(
        layer for layer in AE(ImageShape(1, 28, 28), options).modules() if isinstance(layer, torch.nn.Linear)
    ):
        assert not each.bias.any()
        bound = gain * (6 / (each.in_features + each.out_features)) ** 0.5 / (0.5 if number == 0 else 1)
        weights = each.weight.detach()
        assert 0.99 * bound < float(weights.abs().max()) <= bound
        assert float(weights.std()) == pytest.approx(bound / 3**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(AE, {"hidden": (64,)}), (AE, {"init": "he"}), (AE, {"init": "xavier"}), (ConvAE, {"width": 16})],
)
def test_large_images_are_scaled_and_codes_begin_as_they_would(kind: type[Autoencoder], options: dict) -> None:
    image, images = ImageShape(3, 128, 128), torch.rand(3, 3, 128, 128)
    given = kind.Options(**options)
    scaled = kind.options_for(given, random_images(image))
    inputs = image.numbers if kind is AE else 128 * 8 * 8
    assert scaled.input_scale == pytest.approx(1024 / inputs)
    codes = []
    for chosen in (scaled, given):
        torch.manual_seed(0)
        codes.append(kind(image, chosen).eval().encode(images).detach())
    torch.testing.assert_close(*codes, rtol=1e-3, atol=1e-4)


def test_four_convolutions_down_and_four_up() -> None:
    model = ConvAE(ImageShape(3, 45, 45), ConvAE.Options(width=4))
    kinds = [type(each).__name__ for each in model.modules()]
    assert kinds.count("Conv2d") == 4
    assert kinds.count("ConvTranspose2d") == 4


@pytest.mark.parametrize("loss", ["mse", "cross-entropy"])
def test_losses_are_summed_over_pixels_and_averaged_over_images(loss: str) -> None:
    image = ImageShape(1, 4, 3)
    model = AE(image, AE.Options(hidden=(5,), latent_dim=2, loss=loss))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    losses = model.losses(Batch(torch.ones(7, *image), None, torch.tensor(0.0)))
    if loss == "mse":  # an output of 0, where 1 is wanted
        assert losses["loss"].item() == pytest.approx(12)
        assert losses["squared_error"].item() == pytest.approx(12)
    else:  # a logit of 0 is a pixel of ½
        assert losses["loss"].item() == pytest.approx(12 * 0.693147, rel=1e-5)
        assert losses["squared_error"].item() == pytest.approx(12 * 0.25)
