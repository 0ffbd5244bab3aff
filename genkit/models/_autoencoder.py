"""What the plain autoencoders share: a deterministic code, a pixel loss, and a prior fitted afterwards."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genkit import contract, nets
from genkit.contract import Batch, Facts, GenerativeModel, ImageShape, Phase, Resolved, defaults
from genkit.contract.images import TrainingImages

Loss = Annotated[
    Literal["mse", "cross-entropy"],
    Field(description="Summed over an image's pixels: squared error, or the grey values' cross-entropy in nats."),
]


class Autoencoder(GenerativeModel):
    """An encoder and a decoder, trained to give each image back. A subclass builds the two nets.

    It has no prior of its own: `fit_prior` fits a Gaussian with full covariance to the training codes.
    """

    class Options(contract.Options):
        latent_dim: contract.LatentDim = 30
        activation: nets.Activation = "gelu"
        loss: Loss = "mse"
        input_scale: nets.InputScale = 1.0

    monitor = "squared_error"

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        self.pixels = "odds" if options.loss == "cross-entropy" else "value"
        self.encoder, self.decoder = self.build()
        self.codes = nets.FittedGaussian(options.latent_dim)

    @classmethod
    @abstractmethod
    def widest(cls, image: ImageShape, options: Any) -> int:
        """How many inputs the encoder's widest linear layer has, which `input_scale` is for."""

    @classmethod
    def defaults_for(cls, options: Any, images: Facts) -> Mapping[str, Resolved]:
        return defaults.training(options, images, fewest=4_000)

    @classmethod
    def options_for(cls, options: Any, dataset: TrainingImages) -> Any:
        if "input_scale" in options.model_fields_set:
            return options
        return options.model_copy(update={"input_scale": nets.scale_for(cls.widest(dataset.shape, options))})

    @abstractmethod
    def build(self) -> tuple[nn.Module, nn.Module]:
        """Encoder, (B, C, H, W) to (B, latent_dim), and decoder, back to (B, C, H, W) before `to_pixels`."""

    def phases(self) -> list[Phase]:
        return [Phase("", self, self.losses, self.options.optimizer())]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss, and the squared error of the pixels, both summed over an image and averaged over the batch."""
        output = self.decoder(self.encoder(batch.images))
        with torch.no_grad():
            error = F.mse_loss(self.to_pixels(output), batch.images, reduction="sum")
        if self.options.loss == "mse":
            loss = F.mse_loss(output, batch.images, reduction="sum")
        else:
            loss = F.binary_cross_entropy_with_logits(output, batch.images, reduction="sum")
        return {"loss": loss / len(batch.images), "squared_error": error / len(batch.images)}

    def begin_at(self, mean: Tensor) -> None:
        nets.make_at_first(self.decoder, mean, logits=self.options.loss == "cross-entropy")

    def keep_features(self) -> None:
        del self.decoder, self.codes

    def to_pixels(self, output: Tensor) -> Tensor:
        """The decoder's output as images in [0, 1]: clipped under squared error, by a sigmoid under cross-entropy."""
        return output.clamp(0, 1) if self.options.loss == "mse" else output.sigmoid()

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def decode(self, z: Tensor) -> Tensor:
        return self.to_pixels(self.decoder(z))

    def prior(self, noise: Tensor) -> Tensor:
        return self.codes(noise)

    def fit_prior(self, batches: Iterable[Batch]) -> None:
        self.codes.fit(torch.cat([self.encode(batch.images) for batch in batches]))
