"""Fully connected autoencoder; without hidden layers, the linear one that finds PCA's subspace.

The shape of Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks" (Science, 2006),
trained from scratch instead of layer by layer.
"""

from __future__ import annotations

from torch import nn

from genkit import nets
from genkit.models._autoencoder import Autoencoder


class AE(Autoencoder):
    class Options(Autoencoder.Options):
        hidden: nets.Widths = (1000, 500, 250)

    def build(self) -> tuple[nn.Module, nn.Module]:
        sizes = [self.image.numbers, *self.options.hidden, self.options.latent_dim]
        encoder = nn.Sequential(nn.Flatten(), nets.mlp(sizes, self.options.activation))
        decoder = nn.Sequential(nets.mlp(sizes[::-1], self.options.activation), nn.Unflatten(1, tuple(self.image)))
        return encoder, decoder
