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
from genkit.contract import Batch, Facts, GenerativeModel, ImageShape, Phase, Resolved
from genkit.contract.images import TrainingImages, TrainingStart
from genkit.models import _pictures

#: Of codes along axes that training images don't tell apart by more: those aren't made larger than others by it.
LEAST_VARIANCE = 1e-6

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
        shortcut: nets.Shortcut = "none"
        input_scale: nets.InputScale = 1.0

    monitor = "squared_error"

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        self.pixels = "odds" if options.loss == "cross-entropy" else "value"
        self.encoder, self.decoder = self.build()
        self.shortcut = nets.LinearShortcut(image, options.latent_dim) if options.shortcut == "linear" else None
        self.begins_trained = self.shortcut is not None
        self.codes = nets.FittedGaussian(options.latent_dim)

    @classmethod
    @abstractmethod
    def widest(cls, image: ImageShape, options: Any) -> int:
        """How many inputs the encoder's widest linear layer has, which `input_scale` is for."""

    @classmethod
    def defaults_for(cls, options: Any, images: Facts) -> Mapping[str, Resolved]:
        """Of digits and the like what the class has; else nets that begin at PCA, residual where they can be."""
        if _pictures.digits(images):
            return _pictures.for_digits(options, images, fewest=4_000)
        return _pictures.suggested(options, images)

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
        output = self.output(self.encode(batch.images))
        with torch.no_grad():
            error = F.mse_loss(self.to_pixels(output), batch.images, reduction="sum")
        if self.options.loss == "mse":
            loss = F.mse_loss(output, batch.images, reduction="sum")
        else:
            loss = F.binary_cross_entropy_with_logits(output, batch.images, reduction="sum")
        return {"loss": loss / len(batch.images), "squared_error": error / len(batch.images)}

    def begin_at(self, mean: Tensor) -> None:
        nets.make_at_first(self.decoder, mean, logits=self.options.loss == "cross-entropy")

    def begin_with(self, images: TrainingStart) -> None:
        """At PCA: codes are of variance 1 then."""
        if self.shortcut is None:
            return super().begin_with(images)
        principal = images.principal_axes(self.options.latent_dim)
        back = principal.variances.clamp(min=LEAST_VARIANCE).sqrt()
        self.shortcut.begin(principal, 1 / back, back)
        nets.silence(self.encoder)
        nets.silence(self.decoder)
        return None

    def keep_features(self) -> None:
        del self.decoder, self.codes

    def to_pixels(self, output: Tensor) -> Tensor:
        """The decoder's output as images in [0, 1]: clipped under squared error, by a sigmoid under cross-entropy."""
        return output.clamp(0, 1) if self.options.loss == "mse" else output.sigmoid()

    def output(self, z: Tensor) -> Tensor:
        """The images of codes before `to_pixels`."""
        if self.shortcut is None:
            return self.decoder(z)
        return self.shortcut.added_to(self.decoder, z, z, self.options.loss == "cross-entropy")

    def encode(self, images: Tensor) -> Tensor:
        code = self.encoder(images)
        return code if self.shortcut is None else self.shortcut.encode(images) + nets.GAIN * code

    def decode(self, z: Tensor) -> Tensor:
        return self.to_pixels(self.output(z))

    def prior(self, noise: Tensor) -> Tensor:
        return self.codes(noise)

    def fit_prior(self, batches: Iterable[Batch]) -> None:
        self.codes.fit(torch.cat([self.encode(batch.images) for batch in batches]))
