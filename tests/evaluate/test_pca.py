"""PCA and principal angles against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from genkit.data.dataset import Dataset
from genkit.evaluate import pca


def test_principal_angles_of_a_known_rotation() -> None:
    """Planes in four dimensions that are turned against each other by 20° and 1e-5°, whatever spans them."""
    first = torch.eye(4, dtype=torch.float64)[:, :2]
    a, b = math.radians(20), math.radians(1e-5)
    second = torch.tensor([[math.cos(a), 0, math.sin(a), 0], [0, math.cos(b), 0, math.sin(b)]], dtype=torch.float64).T
    mixed = second @ torch.tensor([[3.0, 1.0], [-2.0, 5.0]], dtype=torch.float64)
    angles = pca.principal_angles(first, mixed)
    torch.testing.assert_close(angles, torch.tensor([1e-5, 20.0], dtype=torch.float64), rtol=1e-6, atol=0)
    right = pca.principal_angles(first, torch.eye(4, dtype=torch.float64)[:, 2:])
    torch.testing.assert_close(right, torch.full((2,), 90.0, dtype=torch.float64))


def test_pca_error_is_the_rest_of_the_variance(digits: Dataset) -> None:
    """On the images that it is fitted to, PCA errs by the eigenvalues that it leaves out: Eckart and Young (1936)."""
    pixels = digits.train.images().flatten(1).double() / 255
    eigenvalues = torch.linalg.svdvals(pixels - pixels.mean(0)).square() / len(pixels)
    components = pca.fit(digits.train, 30)
    assert float(components.squared_error(digits.train).mean()) == pytest.approx(
        float(eigenvalues[30:].sum()), rel=1e-9
    )
    identity = torch.eye(30, dtype=torch.float64)
    torch.testing.assert_close(components.axes.T @ components.axes, identity, rtol=0, atol=1e-10)


def test_pca_codes_and_images_are_each_others_way_back(digits: Dataset) -> None:
    components = pca.fit(digits.train, 784)
    some = digits.test.take(slice(0, 5))
    pixels = some.images().flatten(1).double() / 255
    torch.testing.assert_close(components.images(components.codes(some)), pixels, rtol=0, atol=1e-9)
