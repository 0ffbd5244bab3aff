"""What the tests of latent spaces share: real digits, and their pixels as features."""

from __future__ import annotations

import pytest
from torch import Tensor

from genkit.data.dataset import Dataset, Split


@pytest.fixture(scope="module")
def some(digits: Dataset) -> Split:
    """400 real digits of all classes."""
    return digits.test.take(digits.test.spread(400))


@pytest.fixture(scope="module")
def pixels(some: Split) -> Tensor:
    """Their pixels as features, float (400, 784)."""
    return some.images().flatten(1).float() / 255


@pytest.fixture(scope="module")
def labels(some: Split) -> Tensor:
    assert some.labels is not None
    return some.labels
