"""Siamese network: codes of labelled images, near for one class and apart for two, learned from pairs.

After Hadsell, Chopra and LeCun, "Dimensionality reduction by learning an invariant mapping" (CVPR 2006): a pair of one
class is drawn together by the square of its distance, and one of two classes is pushed apart as long as it is nearer
than the margin. The pairs are all of a batch's. Of ten classes nine pairs in ten are of two, so that the two kinds are
averaged each for itself and count alike.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from genkit.models._metric import Metric, mean_of


class Siamese(Metric):
    def of_distances(self, distances: Tensor, same: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The contrastive loss, and the mean distance of each kind of pair."""
        loss = contrastive(distances, same, other, self.options.margin)
        apart = distances.detach()
        return {"loss": loss, "same_class": mean_of(apart, same), "other_class": mean_of(apart, other)}


def contrastive(distances: Tensor, same: Tensor, other: Tensor, margin: float) -> Tensor:
    """½ d² of the pairs of one class and ½ max(0, margin − d)² of those of two, each averaged, and added: ().

    Args:
        distances, same, other: as `Metric.of_distances` has them.
    """
    together = mean_of(distances.square(), same)
    apart = mean_of(F.relu(margin - distances).square(), other)
    return (together + apart) / 2
