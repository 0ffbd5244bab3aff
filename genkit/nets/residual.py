"""Convolutional nets of residual blocks: at any image size, with any batch size, and without a checkerboard.

Blocks are those of He et al., "Identity mappings in deep residual networks" (ECCV 2016): normalisation and nonlinearity
come before each convolution, and the second convolution of a block begins at 0, so that a new net is as shallow as its
resampling. Normalisation is by groups of channels of one image (Wu and He, ECCV 2018), which a batch of two or of one
leaves as it is. An image is made larger by repeating each pixel and a 3×3 convolution of the result, which lays the
same weights on every pixel (Odena, Dumoulin and Olah, "Deconvolution and checkerboard artifacts", Distill, 2016).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from genkit.contract import ImageShape
from genkit.nets.plain import ACTIVATIONS, halve, linear, pyramid, widths

#: The fewest channels that are normalised together, where there are so many: of a single one of a single pixel nothing
#: would be left.
GROUP = 8
#: A side at which a net needn't halve an image any more.
SMALLEST = 4


def group_norm(channels: int, least: int = GROUP) -> nn.GroupNorm:
    """Group normalisation of maps (B, channels, H, W): as many equal groups of `least` channels or more as can be."""
    groups = next(count for count in range(max(1, channels // least), 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels)


def begun_at_zero(layer: nn.Module) -> nn.Module:
    """The layer, whose weights and biases are 0: it gives 0 until it has learned something."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def levels_for(image: ImageShape, least: int = SMALLEST) -> int:
    """How often an image is halved until its smaller side is about `least` pixels: at least once, at most 6 times."""
    side, levels = min(image.height, image.width), 0
    while side >= 2 * least and levels < 6:
        side, levels = side // 2, levels + 1
    return max(1, levels)


class ResidualBlock(nn.Module):
    """x + f(x), f two 3×3 convolutions: maps (B, inputs, H, W) to (B, outputs, H, W).

    Args:
        inputs: channels.
        outputs: channels; as many as `inputs` by default. Where they differ, x goes through a 1×1 convolution.
        activation: a key of `ACTIVATIONS`.
        norm: whether both convolutions' inputs are normalised by groups.
        told: numbers of what an image's block is told besides, 0 for nothing: a time or a class as a vector (B, told),
            by which the second convolution's normalised inputs are scaled and shifted channel by channel, as Dhariwal
            and Nichol do in "Diffusion models beat GANs" (NeurIPS 2021). Needs `norm`.
    """

    def __init__(
        self, inputs: int, outputs: int | None = None, activation: str = "silu", norm: bool = True, told: int = 0
    ):
        super().__init__()
        outputs = outputs or inputs
        self.first_norm = group_norm(inputs) if norm else nn.Identity()
        self.second_norm = group_norm(outputs) if norm else nn.Identity()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = begun_at_zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.activation = ACTIVATIONS[activation]()
        self.around = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.scale_and_shift = begun_at_zero(nn.Linear(told, 2 * outputs)) if told else None

    def forward(self, maps: Tensor, told: Tensor | None = None) -> Tensor:
        inner = self.second_norm(self.first(self.activation(self.first_norm(maps))))
        if self.scale_and_shift is not None:
            scale, shift = self.scale_and_shift(told)[:, :, None, None].chunk(2, 1)
            inner = inner * (1 + scale) + shift
        return self.around(maps) + self.second(self.activation(inner))


class Enlarge(nn.Module):
    """Maps (B, inputs, h, w) to (B, outputs, *size): pixels are repeated up to that size, then convolved, 3×3."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]):
        super().__init__()
        self.size = size
        # Channels are made fewer before there are four times as many pixels.
        self.fewer = nn.Identity() if inputs <= outputs else nn.Conv2d(inputs, outputs, 1)
        self.convolution = nn.Conv2d(min(inputs, outputs), outputs, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.convolution(F.interpolate(self.fewer(maps), size=self.size, mode="nearest"))


class ResidualEncoder(nn.Module):
    """Images (B, C, H, W) to (B, outputs): each level is halved by a 4×4 convolution and goes through its blocks.

    Args:
        image: the shape of the images.
        width: channels of the first level, at half the image's size; each further level doubles them, up to 8 times.
        outputs: numbers returned an image.
        levels: of which each halves height and width; by default down to about 4 pixels.
        blocks: residual blocks a level.
        activation: a key of `ACTIVATIONS`.
        norm: whether blocks normalise by groups.
        scale: of the last linear layer's inputs.
    """

    def __init__(
        self,
        image: ImageShape,
        width: int,
        outputs: int,
        levels: int | None = None,
        blocks: int = 1,
        activation: str = "silu",
        norm: bool = True,
        scale: float = 1.0,
    ):
        super().__init__()
        levels = levels or levels_for(image)
        sizes, channels = pyramid(image, levels), [image.channels, *widths(width, levels, 8 * width)]
        layers: list[nn.Module] = []
        for level in range(levels):
            layers.append(halve(channels[level], channels[level + 1], sizes[level]))
            layers += [ResidualBlock(channels[level + 1], None, activation, norm) for _ in range(blocks)]
        self.body = nn.Sequential(*layers, ACTIVATIONS[activation](), nn.Flatten())
        self.last = linear(self.features(image, width, levels), outputs, scale)

    @staticmethod
    def features(image: ImageShape, width: int, levels: int | None = None) -> int:
        """How many numbers the last level makes of an image."""
        levels = levels or levels_for(image)
        return ImageShape(widths(width, levels, 8 * width)[-1], *pyramid(image, levels)[-1]).numbers

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.body(images))


class ResidualDecoder(nn.Module):
    """Codes (B, inputs) to images (B, C, H, W), unbounded: the mirror of `ResidualEncoder`, with the same arguments.

    A level's blocks come before it is made larger, so that at the full size there is one convolution, and the last.

    Args:
        drafts: whether it is given, beside the code, a draft of the image (B, C, H, W). Then it sees it at every level,
            as a U-Net does (Ronneberger et al., MICCAI 2015), and what it learns of edges and texture holds anywhere in
            the image, where a code says what is where.
    """

    def __init__(
        self,
        image: ImageShape,
        width: int,
        inputs: int,
        levels: int | None = None,
        blocks: int = 1,
        activation: str = "silu",
        norm: bool = True,
        drafts: bool = False,
    ):
        super().__init__()
        levels = levels or levels_for(image)
        sizes, channels = pyramid(image, levels), widths(width, levels, 8 * width)
        shape, outermost = (channels[-1], *sizes[-1]), max(8, width // 2)
        self.first = nn.Sequential(nn.Linear(inputs, ImageShape(*shape).numbers), nn.Unflatten(1, shape))
        down = [image.channels, *channels]
        self.halved = nn.ModuleList(
            halve(down[level], down[level + 1], sizes[level]) for level in range(levels * drafts)
        )
        self.levels = nn.ModuleList()
        for level in reversed(range(levels)):
            layers: list[nn.Module] = [ResidualBlock(channels[level], None, activation, norm) for _ in range(blocks)]
            layers.append(Enlarge(channels[level], channels[level - 1] if level else outermost, sizes[level]))
            self.levels.append(nn.Sequential(*layers))
        self.drafts = drafts
        self.activation = ACTIVATIONS[activation]()
        self.last = nn.Conv2d(outermost, image.channels, 3, padding=1)

    def forward(self, z: Tensor, draft: Tensor | None = None) -> Tensor:
        maps, seen = self.first(z), []
        if draft is not None:
            for layer in self.halved:
                draft = layer(draft)
                seen.append(draft)
        for level in self.levels:
            maps = level(maps + seen.pop() if seen else maps)
        return self.last(self.activation(maps))
