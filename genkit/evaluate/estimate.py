"""A mean with its standard error, and what features must be before anything is measured on them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from genkit.errors import DataError

#: How the error of a share is found that is 0 or 1, in words.
WILSON = "the end of Wilson's interval"


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


def estimate_share(values: Tensor) -> Estimate:
    """The mean of independent shares (N,) in [0, 1], N at least 1; of answers that are 0 or 1, too.

    Where they are all 0, or all 1, their spread says nothing of the error: see `error_of_share`.
    """
    found = estimate(values)
    return found._replace(error=error_of_share(found.value, found.n)) if found.value in (0, 1) else found


def error_of_share(share: float, n: int) -> float:
    """The standard error of a share of `n` independent answers, √(p(1 − p)/n).

    Of none or all of them that is 0, however few they were. There it is the far end of Wilson's interval of one
    standard deviation (Wilson, 1927), 1/(n + 1).
    """
    return 1 / (n + 1) if share in (0, 1) else (share * (1 - share) / n) ** 0.5


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
