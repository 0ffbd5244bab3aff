"""Image distances against closed forms, and PCA against its own definition."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import subject_of

from genkit.data.dataset import Dataset
from genkit.evaluate import pca, reconstruction, topics
from genkit.evaluate.figure import Figure
from genkit.evaluate.subject import Asked
from genkit.models.ae import AE

CPU = torch.device("cpu")
SHAPES = [(2, 1, 28, 28), (2, 3, 11, 40), (2, 1, 7, 12), (2, 3, 1, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ssim_of_an_image_with_itself_is_1(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    torch.testing.assert_close(reconstruction.ssim(images, images), torch.ones(2))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_ssim_of_constant_images_is_that_of_their_luminance(shape: tuple[int, ...]) -> None:
    """(2ab + C₁) / (a² + b² + C₁), for there is neither contrast nor structure."""
    for a, b in ((0.2, 0.6), (0.0, 1.0), (0.0, 0.0)):
        expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
        found = reconstruction.ssim(torch.full(shape, a).double(), torch.full(shape, b).double())
        torch.testing.assert_close(found, torch.full((2,), expected).double())


def test_ssim_of_a_checkerboard_and_its_negative() -> None:
    """Both have mean ½ and the same variance v, and their covariance is −v: (C₂ − 2v) / (C₂ + 2v), but for the window's
    mean, which a Gaussian of deviation 1.5 brings to ½ within 1e-9."""
    board = ((torch.arange(20)[:, None] + torch.arange(20)) % 2).double()[None, None]
    expected = (9e-4 - 2 * 0.25) / (9e-4 + 2 * 0.25)
    assert float(reconstruction.ssim(board, 1 - board)) == pytest.approx(expected, abs=1e-5)


def test_ssim_by_its_definition_place_by_place() -> None:
    ours, theirs = torch.rand(1, 1, 14, 13).double(), torch.rand(1, 1, 14, 13).double()
    distances = torch.arange(11).double() - 5
    line = torch.exp(-distances.square() / (2 * 1.5**2))
    window = torch.outer(line, line) / line.sum() ** 2
    values = []
    for top in range(4):
        for left in range(3):
            a, b = (each[0, 0, top : top + 11, left : left + 11] for each in (ours, theirs))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            variance_a, variance_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            values.append(luminance * (2 * covariance + 9e-4) / (variance_a + variance_b + 9e-4))
    torch.testing.assert_close(reconstruction.ssim(ours, theirs)[0], torch.stack(values).mean())


def test_psnr_and_squared_error_of_a_constant_shift() -> None:
    images = torch.zeros(3, 3, 5, 4)
    torch.testing.assert_close(reconstruction.psnr(images + 0.1, images), torch.full((3,), 20.0))
    torch.testing.assert_close(reconstruction.squared_error(images + 0.1, images), torch.full((3,), 0.6))
    assert reconstruction.psnr(images, images).tolist() == [100.0] * 3


def test_cross_entropy_is_least_at_the_grey_values_themselves() -> None:
    images = torch.rand(4, 1, 6, 6)
    images[0, 0, 0] = torch.tensor([0.0, 1, 0, 1, 0, 1])
    torch.testing.assert_close(reconstruction.cross_entropy(images, images), reconstruction.entropy(images))
    assert (reconstruction.cross_entropy(images.square(), images) > reconstruction.entropy(images)).all()
    half = reconstruction.cross_entropy(torch.full_like(images, 0.5), images)
    torch.testing.assert_close(half, torch.full((4,), 36 * math.log(2)))


def test_a_cross_entropy_below_the_pixels_entropy_is_warned_of() -> None:
    figure = Figure("reconstruction/cross_entropy", 45.0, 0.1, "nats")
    assert "45.53" in str(reconstruction.not_below(figure, 45.53, "the entropy").warning)
    assert reconstruction.not_below(figure, 44.0, "the entropy").warning is None
    assert topics.warned(Figure("a/b", math.nan, None, "")).warning


def test_pca_is_that_of_the_training_images(digits: Dataset) -> None:
    pixels = digits.train.images().flatten(1).double() / 255
    centre, axes = pca.fit(digits.train, 30)
    torch.testing.assert_close(centre, pixels.mean(0))
    _, _, expected = torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    angles = torch.linalg.svdvals(expected[:30] @ axes)
    torch.testing.assert_close(angles, torch.ones(30).double(), atol=1e-9, rtol=0)


def figures_of(digits: Dataset, **options: object) -> dict[str, Figure]:
    model = AE(digits.shape, AE.Options(hidden=(), latent_dim=30, **options)).eval()
    subject = subject_of(model, digits)
    return {each.name: each for each in reconstruction.figures(subject, Asked()) if isinstance(each, Figure)}


def test_figures_are_means_over_images(digits: Dataset) -> None:
    found = figures_of(digits, loss="cross-entropy")
    model = AE(digits.shape, AE.Options(hidden=(), latent_dim=30, loss="cross-entropy"))
    assert found.keys() >= {f"reconstruction/{name}" for name in ("squared_error", "cross_entropy", "psnr", "ssim")}
    figure = found["reconstruction/squared_error"]
    assert figure.conditions["n"] == 500
    assert found["reconstruction/squared_error_per_pixel"].value == pytest.approx(figure.value / 784)
    assert found["reconstruction/squared_error_per_pixel"].error == pytest.approx(figure.error / 784)
    assert model.pixels == "odds"
    assert "reconstruction/cross_entropy" not in figures_of(digits), "whose output is a value, not odds"


def test_pca_with_30_components_on_mnist(mnist: Dataset) -> None:
    centre, axes = pca.fit(mnist.train, 30)
    test = mnist.test.images().flatten(1).double() / 255 - centre
    error = (test - test @ axes @ axes.T).square().sum(1).mean()
    assert float(error) == pytest.approx(13.87, abs=0.1)
