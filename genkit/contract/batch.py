"""What one step of training or evaluation sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """What one step of training or evaluation sees, all on the model's device.

    What begins with `beside` is of a second set, for a model that declares with `Model.needs_beside` that it needs one,
    and None for all others: as many images, of the same shape. They have nothing to do with the first ones but that
    they are seen in the same step.
    """

    images: Tensor  # (B, C, H, W) float in [0, 1]
    labels: Tensor | None  # (B,) int64
    epoch: Tensor  # () float: passes over the training data so far, for warm-ups; infinite in evaluation
    attributes: Tensor | None = None  # (B, A) bool
    earlier: Mapping[str, Tensor] = {}  # what the step's earlier phases hand to this one, detached
    beside: Tensor | None = None  # (B, C, H, W) float in [0, 1]
    beside_labels: Tensor | None = None  # (B,) int64, an index into the second set's own classes
    beside_attributes: Tensor | None = None  # (B, A') bool, the second set's own

    def after(self, losses: Mapping[str, Tensor]) -> Batch:
        """What the next phase of the step sees: this, and what the phase that returned these losses hands on."""
        handed_on = {name: value.detach() for name, value in losses.items() if value.ndim}
        return self._replace(earlier={**self.earlier, **handed_on}) if handed_on else self
