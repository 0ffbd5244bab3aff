"""Convolutional autoencoder: four strided convolutions down, four transposed ones up, at any image size."""

from __future__ import annotations

from torch import nn

from genkit import contract, nets
from genkit.models._autoencoder import Autoencoder


class ConvAE(Autoencoder):
    class Options(Autoencoder.Options):
        epochs: contract.Epochs = 10
        lr: contract.LearningRate = 3e-3
        width: nets.ConvWidth = 32

    LEVELS = 4

    def build(self) -> tuple[nn.Module, nn.Module]:
        shape = (self.image, self.options.width, self.options.latent_dim, self.LEVELS, self.options.activation)
        return nets.ConvEncoder(*shape), nets.ConvDecoder(*shape)
