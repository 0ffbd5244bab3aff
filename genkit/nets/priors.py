"""Priors that are fitted to codes after training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FittedGaussian(nn.Module):
    """N(mean, covariance) over codes, fitted after training: the prior of a model that was trained without one.

    Until `fit` is called it is N(0, I). The parameters are buffers, so they travel with the weights.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.eye(dim))

    @torch.no_grad()
    def fit(self, codes: Tensor) -> None:
        """Take mean and full covariance of the codes (N, dim). Any N from 1 on will do.

        The square root is taken by eigenvalues, which a singular covariance (fewer codes than dimensions, or a dead
        unit) leaves well defined, where a Cholesky factor would fail.
        """
        codes = codes.cpu().double()  # not every device has doubles, or eigenvalues
        mean = codes.mean(0)
        covariance = (codes - mean).T @ (codes - mean) / max(1, len(codes) - 1)
        values, vectors = torch.linalg.eigh(covariance)
        self.mean.copy_(mean)
        self.scale.copy_(vectors * values.clamp(min=0).sqrt())

    def forward(self, noise: Tensor) -> Tensor:
        """Codes (B, dim) from N(0, I) noise (B, dim)."""
        return self.mean + noise @ self.scale.T
