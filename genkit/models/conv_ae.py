"""Convolutional autoencoder: four strided convolutions down, four transposed ones up, or residual blocks; any size."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from genkit import contract, nets
from genkit.contract import ImageShape
from genkit.models._autoencoder import Autoencoder


class ConvAE(Autoencoder):
    class Options(Autoencoder.Options):
        epochs: contract.Epochs = 10
        lr: contract.LearningRate = 3e-3
        net: Annotated[
            Literal["conv", "residual"],
            Field(description="Encoder and decoder: plain convolutions, or residual blocks of them."),
        ] = "conv"
        width: nets.ConvWidth = 32

    LEVELS = 4

    @classmethod
    def widest(cls, image: ImageShape, options: Any) -> int:
        if options.net == "residual":
            return nets.ResidualEncoder.features(image, options.width)
        return nets.ConvEncoder.features(image, options.width, cls.LEVELS)

    def build(self) -> tuple[nn.Module, nn.Module]:
        if self.options.net == "residual":
            of, activation = (self.image, self.options.width, self.options.latent_dim), self.options.activation
            encoder = nets.ResidualEncoder(*of, activation=activation, scale=self.options.input_scale)
            drafts = self.options.shortcut == "linear"
            return encoder, nets.ResidualDecoder(*of, activation=activation, drafts=drafts)
        shape = (self.image, self.options.width, self.options.latent_dim, self.LEVELS, self.options.activation)
        return nets.ConvEncoder(*shape, self.options.input_scale), nets.ConvDecoder(*shape)
