"""Fully connected autoencoder; without hidden layers, the linear one that finds PCA's subspace.

The shape of Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks" (Science, 2006),
trained from scratch instead of layer by layer; or, as they do, on the weights of a stack of restricted Boltzmann
machines (`--init-from` a run of `rbm`), which go up in the encoder and, transposed, down in the decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from genkit import nets
from genkit.contract import ImageShape, Model
from genkit.errors import UsageError
from genkit.models._autoencoder import Autoencoder
from genkit.models.rbm import RBM, Machine

#: What an autoencoder has to be to do what a stack of machines does, and what makes it so.
UNROLLED = {"activation": "sigmoid", "loss": "cross-entropy", "shortcut": "none"}


class AE(Autoencoder):
    class Options(Autoencoder.Options):
        hidden: nets.Widths = (1000, 500, 250)
        init: Annotated[
            Literal["torch", "he", "xavier"],
            Field(
                description="Initial weights: as torch's layers come; He's, with which a deep net of rectifiers learns "
                "faster; or Glorot's (Xavier), four times as large for sigmoids, whose slope is ¼."
            ),
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
        elif self.options.init == "xavier":
            gain = 4.0 if self.options.activation == "sigmoid" else 1.0
            nets.xavier_initialised(encoder, gain)
            nets.xavier_initialised(decoder, gain)
        return encoder, decoder

    @classmethod
    def options_from(cls, source: Model) -> dict[str, Any] | None:
        """Of a stack of machines its shape, and sigmoids; the code is linear there, too."""
        if not isinstance(source, RBM):
            return super().options_from(source)
        if source.options.code != "linear":
            raise UsageError(
                f"--init-from: this rbm has a code of {source.options.code} units, and an autoencoder's are linear; "
                "give one that was trained with --code linear"
            )
        return {"hidden": source.options.hidden, "latent_dim": source.options.latent_dim, **UNROLLED}

    def weights_from(self, source: Model) -> Mapping[str, Tensor]:
        if not isinstance(source, RBM):
            return super().weights_from(source)
        other = [name for name, value in UNROLLED.items() if getattr(self.options, name) != value]
        if other:
            raise UsageError(
                f"--init-from: unrolled, an rbm has {other[0]} {UNROLLED[other[0]]}; leave out --{other[0]} "
                f"{getattr(self.options, other[0])}"
            )
        return {**unrolled("encoder", self.encoder, source.stack), **unrolled("decoder", self.decoder, source.stack)}


def unrolled(part: str, net: nn.Module, stack: Sequence[Machine]) -> dict[str, Tensor]:
    """A stack's weights by the names of an encoder's linear layers, or transposed by those of a decoder's.

    Args:
        part: "encoder", which has the machines' order, or "decoder", which has the other.
    """
    found = {}
    layers = [(name, each) for name, each in net.named_modules(prefix=part) if isinstance(each, nn.Linear)]
    order = stack if part == "encoder" else stack[::-1]
    # Of other widths than the stack's, all that both have is compared, and so refused.
    for (name, layer), machine in zip(layers, order, strict=False):
        scale = getattr(layer, "scale", 1.0)
        found[f"{name}.weight"] = (machine.weight if part == "encoder" else machine.weight.T) / scale
        found[f"{name}.bias"] = machine.hidden_bias if part == "encoder" else machine.visible_bias
    return found
