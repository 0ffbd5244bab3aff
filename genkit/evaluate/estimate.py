"""A mean with its standard error, and what features must be before anything is measured on them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from genkit.errors import DataError


class Estimate(NamedTuple):
    """What was measured, and how sure that is.

    Attributes:
        value: the mean of `n` measurements.
        error: its standard error, in the same unit; None where there was a single measurement.
        n: how many measurements there were.
    """

    value: float
    error: float | None
    n: int


def estimate(values: Tensor) -> Estimate:
    """The mean of independent measurements (N,), N at least 1, with its standard error std / √N."""
    values = values.double()
    error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
    return Estimate(float(values.mean()), error, len(values))


def checked(features: Tensor, fewest: int = 2) -> Tensor:
    """Features (N, F) as they are measured on: float64, on the CPU, at least `fewest` of them.

    Single precision isn't enough: distances and covariances are small differences of large numbers, and not every
    device has doubles.

    Raises:
        DataError: when there are too few, or some aren't finite.
    """
    if features.ndim != 2:
        raise DataError(f"features are a row of numbers an image, and these have shape {tuple(features.shape)}")
    if len(features) < fewest:
        raise DataError(f"this needs {fewest} images or more, not {len(features)}; use a larger split or more samples")
    features = features.detach().cpu().double()
    if not features.isfinite().all():
        raise DataError("some features aren't finite numbers: the model's training diverged; use an earlier checkpoint")
    return features


def compared(ours: Tensor, real: Tensor, fewest: int = 2) -> tuple[Tensor, Tensor]:
    """Two sets of features (N, F) and (M, F), `checked`.

    Raises:
        DataError: also when they have different widths.
    """
    ours, real = checked(ours, fewest), checked(real, fewest)
    if ours.shape[1] != real.shape[1]:
        raise DataError(f"features of {ours.shape[1]} and of {real.shape[1]} numbers can't be compared")
    return ours, real
