"""The small nets of Zhang et al., "Understanding deep learning requires rethinking generalization" (ICLR 2017).

A perceptron, a small AlexNet and a small Inception, with the layers of the paper's appendix A. They are made for 28×28
pixels in colour, where they have 1,209,866 weights (one layer of 512), 1,387,786 and 1,649,402, a last linear layer to
ten classes counted, and take any size. Each image is brought to mean 0 and variance 1 by itself first. None of them
drops units, and weights are told to decay by the optimiser alone, so that what regularises can be left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genkit.contract import ImageShape
from genkit.nets.plain import he_initialised, mlp

#: Channels of the two kinds of convolution of each module of the small Inception, 1×1 and 3×3; a number alone is of a
#: module that halves the sides, whose other half is the largest pixel of each 3×3.
MODULES: tuple[tuple[int, int] | int, ...] = (
    *((32, 32), (32, 48), 80),
    *((112, 48), (96, 64), (80, 80), (48, 96), 96),
    *((176, 160), (176, 160)),
)
#: Channels of its first convolution.
FIRST = 96
#: Neighbouring channels that the small AlexNet normalises together, and by how much: those of its authors' tutorial.
NEIGHBOURS, ALPHA, BETA = 9, 1e-3, 0.75
#: Channels of its convolutions, and units of its hidden layers.
CHANNELS, UNITS = 64, (384, 192)


class SmallNet(nn.Module):
    """Images (B, C, H, W) in [0, 1], each standardised by itself, to features (B, `outputs`)."""

    outputs: int
    layers: nn.Sequential

    def features(self, images: Tensor) -> Tensor:
        return self.layers(standardised(images))


class Perceptron(SmallNet):
    """Linear layers and rectifiers on all pixels.

    Args:
        image: the shape of the images.
        hidden: units of each layer; by none the features are the pixels.
    """

    def __init__(self, image: ImageShape, hidden: Sequence[int]):
        super().__init__()
        rectified = [mlp([image.numbers, *hidden], "relu"), nn.ReLU()] if hidden else []
        self.layers = nn.Sequential(nn.Flatten(), *rectified)
        self.outputs = hidden[-1] if hidden else image.numbers
        he_initialised(self)


class SmallAlexNet(SmallNet):
    """Two 5×5 convolutions, each with a maximum over 3×3 pixels in steps of two and a normalisation by neighbouring
    channels, then two linear layers.

    Args:
        image: the shape of the images.
    """

    def __init__(self, image: ImageShape):
        super().__init__()
        height, width = (halved(halved(side)) for side in (image.height, image.width))
        sizes = [CHANNELS * height * width, *UNITS]
        self.layers = nn.Sequential(
            *(nn.Conv2d(image.channels, CHANNELS, 5, padding=2), nn.ReLU(), largest(), neighbours()),
            *(nn.Conv2d(CHANNELS, CHANNELS, 5, padding=2), nn.ReLU(), neighbours(), largest()),
            *(nn.Flatten(), mlp(sizes, "relu"), nn.ReLU()),
        )
        self.outputs = UNITS[-1]
        begun_for_rectifiers(self)


class SmallInception(SmallNet):
    """Modules of 1×1 and 3×3 convolutions side by side, which halve the sides twice, and the mean over all pixels.

    Each convolution has one vector, its bias: batch normalisation has neither scale nor shift.

    Args:
        image: the shape of the images.
    """

    def __init__(self, image: ImageShape):
        super().__init__()
        layers: list[nn.Module] = [convolution(image.channels, FIRST, 3)]
        channels = FIRST
        for module in MODULES:
            if isinstance(module, int):
                layers.append(Halving(channels, module))
                channels += module
            else:
                layers.append(SideBySide(channels, *module))
                channels = sum(module)
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.outputs = channels
        begun_for_rectifiers(self)


class SideBySide(nn.Module):
    """Maps (B, `inputs`, H, W) to those of a 1×1 and of a 3×3 convolution, one after the other."""

    def __init__(self, inputs: int, pointwise: int, wide: int):
        super().__init__()
        self.pointwise, self.wide = convolution(inputs, pointwise, 1), convolution(inputs, wide, 3)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([self.pointwise(maps), self.wide(maps)], 1)


class Halving(nn.Module):
    """Maps (B, `inputs`, H, W) to half the size: those of a 3×3 convolution in steps of two, and the largest of 3×3."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.convolution, self.largest = convolution(inputs, outputs, 3, stride=2), largest()

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([self.convolution(maps), self.largest(maps)], 1)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution, batch normalisation without scale and shift, and a rectifier."""
    # The bias of the convolution is of no effect in training, where the mean goes; the paper's count has it.
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs, affine=False), nn.ReLU())


def largest() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, 1)


def neighbours() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(NEIGHBOURS, ALPHA, BETA)


def halved(side: int) -> int:
    """Pixels that `largest` leaves of a side."""
    return (side + 1) // 2


def begun_for_rectifiers(net: nn.Module) -> None:
    """Weights as `he_initialised` has them, of convolutions, too."""
    he_initialised(net)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0, (2 / module.weight[0].numel()) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def standardised(images: Tensor) -> Tensor:
    """Images (B, C, H, W), each with mean 0 and variance 1; one without any contrast becomes 0."""
    pixels = (1, 2, 3)
    centred = images - images.mean(pixels, keepdim=True)
    # No image is made louder than one whose numbers are all alike but for one.
    spread = centred.square().mean(pixels, keepdim=True).sqrt().clamp(min=images[0].numel() ** -0.5)
    return centred / spread
