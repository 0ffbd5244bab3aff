"""A small convolutional net that tells images apart, at any image size."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from genkit.contract import ImageShape
from genkit.nets.plain import widths

#: Channels that its convolutions have at most.
MOST_CHANNELS = 256


class ConvNet(nn.Module):
    """3×3 convolutions with batch normalisation, at any image size: images (B, C, H, W) to features (B, FEATURES).

    The last maps, about 7 pixels a side, go whole into a linear layer: their mean alone would need many more epochs.
    Of images larger than `seen_at` it sees the means of squares of pixels.
    """

    FEATURES: ClassVar[int] = 128

    def __init__(self, image: ImageShape, width: int, seen_at: int | None = None):
        super().__init__()
        largest = max(image.height, image.width)
        self.square = 1 if seen_at is None else math.ceil(largest / seen_at)
        size = (math.ceil(image.height / self.square), math.ceil(image.width / self.square))
        levels = max(1, round(math.log2(min(size) / 7)))
        channels = widths(width, levels + 1, MOST_CHANNELS)
        layers = block(image.channels, channels[0])
        for inputs, outputs in itertools.pairwise(channels):
            layers += block(inputs, outputs, stride=2)
            size = (math.ceil(size[0] / 2), math.ceil(size[1] / 2))
        last = nn.Linear(channels[-1] * size[0] * size[1], self.FEATURES, bias=False)
        self.layers = nn.Sequential(*layers, nn.Flatten(), last, nn.BatchNorm1d(self.FEATURES), nn.ReLU())
        self.outputs = self.FEATURES

    def features(self, images: Tensor) -> Tensor:
        if self.square > 1:
            images = F.avg_pool2d(images, self.square, ceil_mode=True)
        return self.layers(images)


def block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
