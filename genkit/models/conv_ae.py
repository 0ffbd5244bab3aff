"""Convolutional autoencoder: four strided convolutions down, four transposed ones up, at any image size."""

from __future__ import annotations

from typing import Any

from torch import nn

from genkit import contract, nets
from genkit.contract import ImageShape
from genkit.models._autoencoder import Autoencoder


class ConvAE(Autoencoder):
    class Options(Autoencoder.Options):
        epochs: contract.Epochs = 10
        lr: contract.LearningRate = 3e-3
        width: nets.ConvWidth = 32

    LEVELS = 4

    @classmethod
    def widest(cls, image: ImageShape, options: Any) -> int:
        return nets.ConvEncoder.features(image, options.width, cls.LEVELS)

    def build(self) -> tuple[nn.Module, nn.Module]:
        shape = (self.image, self.options.width, self.options.latent_dim, self.LEVELS, self.options.activation)
        return nets.ConvEncoder(*shape, self.options.input_scale), nets.ConvDecoder(*shape)
