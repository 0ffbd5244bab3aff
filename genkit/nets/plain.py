"""Fully connected nets, and plain convolutional ones at any image size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from genkit.contract import ImageShape

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}

#: Inputs of a linear layer above which `linear` scales them down: about as many as a small image has pixels.
MOST_INPUTS = 1024

#: What a pixel that is 0 in every image is taken for, where its log-odds are wanted.
LEAST_ODDS = 0.005

Activation = Annotated[
    Literal["relu", "gelu", "silu", "tanh", "sigmoid"], Field(description="Nonlinearity of the hidden layers.")
]


def _split_commas(value: object) -> object:
    """`"1000,500"` as `("1000", "500")`, and `"none"` as `()`, so that a flag can hold a list."""
    if isinstance(value, str):
        return tuple(part for part in value.replace("none", "").split(",") if part.strip())
    return value


WIDTHS_HELP = "Units of the encoder's hidden layers, mirrored in the decoder: `512,256`, or `none`."
CONV_WIDTH_HELP = "Channels of the outermost convolution; each level inwards doubles them."

Widths = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65536)], ...],
    BeforeValidator(_split_commas),
    Field(max_length=64, description=WIDTHS_HELP),
]
ConvWidth = Annotated[int, Field(ge=1, le=1024, description=CONV_WIDTH_HELP)]
#: See nets/shortcut.py.
Shortcut = Annotated[
    Literal["none", "linear"],
    Field(
        description="What encoder and decoder add their outputs to: nothing, or a linear way each, which is PCA of the "
        "training images when a run begins, so that it begins where PCA ends."
    ),
]
#: An option that is filled in, by `scale_for`, and is 1 in runs that were made without it.
InputScale = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description="By what the inputs of the encoder's widest linear layer are scaled.",
        json_schema_extra={"flag": False},
    ),
]


class ScaledLinear(nn.Linear):
    """A linear layer x ↦ s·Wx + b, whose initial weights are 1/s times as large as those of torch's own.

    An optimiser like Adam moves every weight by about the learning rate, however small its gradient, and so moves an
    output by up to the sum of the inputs times that: hundreds in the first step, where the inputs are the pixels of a
    large image. With s = m / inputs it moves as far as with m inputs. It is the learning rate in 1 / inputs that Yang
    et al., "Tensor Programs V" (2022), take for such a layer, without one of its own.
    """

    def __init__(self, inputs: int, outputs: int, scale: float):
        super().__init__(inputs, outputs)
        self.scale = scale
        with torch.no_grad():
            self.weight.div_(scale)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.addmm(self.bias, inputs, self.weight.T, alpha=self.scale)


def linear(inputs: int, outputs: int, scale: float = 1.0) -> nn.Linear:
    """A linear layer whose inputs are scaled; see `scale_for`."""
    return nn.Linear(inputs, outputs) if scale == 1 else ScaledLinear(inputs, outputs, scale)


def scale_for(inputs: int) -> float:
    """By what the inputs of a linear layer are scaled in new runs: 1, and less where they are more than MOST_INPUTS."""
    return min(1.0, MOST_INPUTS / inputs)


def mlp(sizes: Sequence[int], activation: str, scale: float = 1.0) -> nn.Sequential:
    """Linear layers from `sizes[0]` to `sizes[-1]` inputs, with the activation between them and none after the last.

    Args:
        scale: of the first one's inputs.
    """
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers += [linear(inputs, outputs, 1.0 if number else scale), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def he_initialised(net: nn.Module) -> None:
    """Weights N(0, 2 / inputs) and no biases: a signal keeps its size through layers of rectifiers.

    After He et al., "Delving deep into rectifiers" (ICCV 2015). torch's own linear layers begin at a sixth of that
    variance, so that a deep net's first codes hardly depend on the image.
    """
    for module in net.modules():
        if isinstance(module, nn.Linear):
            scale = module.scale if isinstance(module, ScaledLinear) else 1.0
            nn.init.normal_(module.weight, 0, (2 / module.in_features) ** 0.5 / scale)
            nn.init.zeros_(module.bias)


def xavier_initialised(net: nn.Module, gain: float = 1.0) -> None:
    """Weights even in ±gain·√(6 / (inputs + outputs)) and no biases: signal and gradient both keep their size.

    After Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (AISTATS 2010).

    Args:
        gain: 1 over the activation's slope at 0: 4 for sigmoids.
    """
    for module in net.modules():
        if isinstance(module, nn.Linear):
            scale = module.scale if isinstance(module, ScaledLinear) else 1.0
            nn.init.xavier_uniform_(module.weight, gain / scale)
            nn.init.zeros_(module.bias)


@torch.no_grad()
def make_at_first(decoder: nn.Module, image: Tensor, logits: bool) -> None:
    """Set the biases of a decoder's last layer so that, before it has learned anything, it makes about this image.

    Args:
        decoder: its last layer with weights is a linear one with an output a pixel, or a convolution, which can only
            make each channel's mean. One without biases stays as it is.
        image: (C, H, W) in [0, 1].
        logits: whether the outputs are log-odds, of pixels that are neither quite 0 nor quite 1 then.
    """
    last = [each for each in decoder.modules() if isinstance(each, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)][-1]
    if not isinstance(last.bias, Tensor):
        return
    pixels = image if isinstance(last, nn.Linear) else image.mean((1, 2))
    pixels = pixels.flatten().to(last.bias)
    last.bias.copy_(pixels.clamp(LEAST_ODDS, 1 - LEAST_ODDS).logit() if logits else pixels)


def pyramid(image: ImageShape, levels: int) -> list[tuple[int, int]]:
    """(height, width) of the image and of each level below it, every level half the one above, rounded down.

    A side stays 1 once it is 1, so that any image size has any number of levels.
    """
    sizes = [(image.height, image.width)]
    for _ in range(levels):
        height, width = sizes[-1]
        sizes.append((max(1, height // 2), max(1, width // 2)))
    return sizes


def widths(first: int, levels: int, most: int = 1024) -> list[int]:
    """Channels of each level: `first`, doubled level by level, never above `most` (or `first`, if that is more)."""
    return [min(first * 2**level, max(first, most)) for level in range(levels)]


def halve(inputs: int, outputs: int, size: tuple[int, int], bias: bool = True) -> nn.Conv2d:
    """A 4×4 convolution from `size` down to half of it, rounded down (a side of 1 stays 1)."""
    kernel = tuple(4 if side > 1 else 1 for side in size)
    stride = tuple(2 if side > 1 else 1 for side in size)
    padding = tuple(1 if side > 1 else 0 for side in size)
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias)  # type: ignore[arg-type]


def double(inputs: int, outputs: int, size: tuple[int, int], bias: bool = True) -> nn.ConvTranspose2d:
    """The way back from `halve`: a 4×4 transposed convolution that gives exactly `size`, be it even or odd.

    Kernel 4 with stride 2 lays the same number of taps on every pixel, so that it draws no checkerboard; an odd size
    is the doubled one plus one row or column, which `output_padding` adds.
    """
    kernel = tuple(4 if side > 1 else 1 for side in size)
    stride = tuple(2 if side > 1 else 1 for side in size)
    padding = tuple(1 if side > 1 else 0 for side in size)
    odd = tuple(side % 2 if side > 1 else 0 for side in size)
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, odd, bias=bias)  # type: ignore[arg-type]


def pooled_layers(maps: Sequence[Tensor], side: int = 4) -> Tensor:
    """Feature maps (B, C, H, W) of several layers as one row an image (B, F): each pooled, then flattened.

    After Radford et al. (ICLR 2016), who max-pool every layer of the discriminator to 4×4. A map that is smaller than
    `side` in a direction stays as it is there.
    """
    pooled = [F.adaptive_max_pool2d(each, (min(side, each.shape[2]), min(side, each.shape[3]))) for each in maps]
    return torch.cat([each.flatten(1) for each in pooled], 1)


class ConvEncoder(nn.Module):
    """Strided convolutions, then one linear layer: images (B, C, H, W) to (B, outputs).

    Args:
        image: the shape of the images.
        width: channels of the first convolution; each further level doubles them.
        outputs: numbers returned an image.
        levels: convolutions, each of which halves height and width.
        activation: a key of `ACTIVATIONS`.
        scale: of the linear layer's inputs.
    """

    def __init__(self, image: ImageShape, width: int, outputs: int, levels: int, activation: str, scale: float = 1.0):
        super().__init__()
        sizes, channels = pyramid(image, levels), [image.channels, *widths(width, levels)]
        layers: list[nn.Module] = []
        for level in range(levels):
            layers += [
                halve(channels[level], channels[level + 1], sizes[level], bias=False),
                nn.BatchNorm2d(channels[level + 1]),
                ACTIVATIONS[activation](),
            ]
        last = linear(self.features(image, width, levels), outputs, scale)
        self.layers = nn.Sequential(*layers, nn.Flatten(), last)

    @staticmethod
    def features(image: ImageShape, width: int, levels: int) -> int:
        """How many numbers the last convolution makes of an image."""
        return ImageShape(widths(width, levels)[-1], *pyramid(image, levels)[-1]).numbers

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class ConvDecoder(nn.Module):
    """One linear layer, then transposed convolutions: codes (B, inputs) to images (B, C, H, W), unbounded.

    The mirror of `ConvEncoder`, with the same arguments but `scale`.
    """

    def __init__(self, image: ImageShape, width: int, inputs: int, levels: int, activation: str):
        super().__init__()
        sizes, channels = pyramid(image, levels), [image.channels, *widths(width, levels)]
        shape = (channels[-1], *sizes[-1])
        layers: list[nn.Module] = [nn.Linear(inputs, ImageShape(*shape).numbers), nn.Unflatten(1, shape)]
        for level in reversed(range(levels)):
            layers += [
                nn.BatchNorm2d(channels[level + 1]),
                ACTIVATIONS[activation](),
                double(channels[level + 1], channels[level], sizes[level]),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)
