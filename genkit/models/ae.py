"""Fully connected autoencoder; without hidden layers, the linear one that finds PCA's subspace.

The shape of Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks" (Science, 2006),
trained from scratch instead of layer by layer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from genkit import nets
from genkit.contract import ImageShape
from genkit.models._autoencoder import Autoencoder


class AE(Autoencoder):
    class Options(Autoencoder.Options):
        hidden: nets.Widths = (1000, 500, 250)
        init: Annotated[
            Literal["torch", "he"],
            Field(description="Initial weights: as torch's layers come, or He's, with which a deep net learns faster."),
        ] = "torch"

    @classmethod
    def widest(cls, image: ImageShape, options: Any) -> int:
        return image.numbers

    def build(self) -> tuple[nn.Module, nn.Module]:
        sizes = [self.image.numbers, *self.options.hidden, self.options.latent_dim]
        encoder = nn.Sequential(nn.Flatten(), nets.mlp(sizes, self.options.activation, self.options.input_scale))
        decoder = nn.Sequential(nets.mlp(sizes[::-1], self.options.activation), nn.Unflatten(1, tuple(self.image)))
        if self.options.init == "he":
            nets.he_initialised(encoder)
            nets.he_initialised(decoder)
        return encoder, decoder
