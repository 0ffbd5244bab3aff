"""Inception-v3 up to its pooled features (Szegedy et al., CVPR 2016), as the Fréchet Inception distance takes it.

Weights are called as torchvision and pytorch-fid call them, so that a file of theirs fits. There are two variants,
whose weights have the same names and shapes: torchvision's; and the one of FID (Heusel et al., NeurIPS 2017), the
network that TensorFlow published in 2015. Its average pooling leaves the zeros of the border out of its means, and its
last block takes a maximum where all others take a mean. One with the weights of the other says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Pixels a side of the images that it was trained on, and numbers that it makes of one.
SIDE, FEATURES = 299, 2048

Size = int | tuple[int, int]
Pool = Callable[[Tensor], Tensor]
#: Names of convolutions that follow one another; several in brackets each take the same, and their outputs are joined.
Path = Sequence[str | tuple[str, ...]]
POOL = "pool"


class ConvNorm(nn.Module):
    """A convolution without a bias, batch normalisation and a ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: int = 1, padding: Size = 0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Paths that begin with the same maps (B, C, H, W), and end side by side among the channels of the output.

    Args:
        convolutions: by their names.
        paths: of which each consists; POOL stands for `pool`.
    """

    def __init__(self, pool: Pool, paths: Sequence[Path], **convolutions: ConvNorm):
        super().__init__()
        self.pool, self.paths = pool, paths
        for name, each in convolutions.items():
            self.add_module(name, each)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.along(path, x) for path in self.paths], 1)

    def along(self, path: Path, x: Tensor) -> Tensor:
        for step in path:
            if isinstance(step, tuple):
                x = torch.cat([self.get_submodule(each)(x) for each in step], 1)
            else:
                x = self.pool(x) if step == POOL else self.get_submodule(step)(x)
        return x


class InceptionV3(nn.Module):
    """Images (B, 3, 299, 299) in [-1, 1] to features (B, 2048), the means of the last maps.

    Args:
        fid: whether it is FID's variant, or else torchvision's.
    """

    def __init__(self, fid: bool = True):
        super().__init__()
        mean = mean_without_border if fid else mean_with_border
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3)
        self.Mixed_5b = block_a(192, 32, mean)
        self.Mixed_5c = block_a(256, 64, mean)
        self.Mixed_5d = block_a(288, 64, mean)
        self.Mixed_6a = block_b(288)
        self.Mixed_6b = block_c(768, 128, mean)
        self.Mixed_6c = block_c(768, 160, mean)
        self.Mixed_6d = block_c(768, 160, mean)
        self.Mixed_6e = block_c(768, 192, mean)
        self.Mixed_7a = block_d(768)
        self.Mixed_7b = block_e(1280, mean)
        self.Mixed_7c = block_e(2048, maximum if fid else mean)

    def forward(self, images: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = halved(x)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = halved(x)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))


def halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2)


def maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 1, 1)


def mean_with_border(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1)


def mean_without_border(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


# ---------------------------------------------------------------------------------------------------------------------
# The blocks of figures 5 to 7 of the paper, and the two between them that halve the maps
# ---------------------------------------------------------------------------------------------------------------------


def block_a(inputs: int, pooled: int, pool: Pool) -> Mixed:
    """To 224 + `pooled` channels."""
    return Mixed(
        pool,
        [
            ["branch1x1"],
            ["branch5x5_1", "branch5x5_2"],
            ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
            [POOL, "branch_pool"],
        ],
        branch1x1=ConvNorm(inputs, 64, 1),
        branch5x5_1=ConvNorm(inputs, 48, 1),
        branch5x5_2=ConvNorm(48, 64, 5, padding=2),
        branch3x3dbl_1=ConvNorm(inputs, 64, 1),
        branch3x3dbl_2=ConvNorm(64, 96, 3, padding=1),
        branch3x3dbl_3=ConvNorm(96, 96, 3, padding=1),
        branch_pool=ConvNorm(inputs, pooled, 1),
    )


def block_b(inputs: int) -> Mixed:
    """To 480 channels and those of the input, at half the size."""
    return Mixed(
        halved,
        [["branch3x3"], ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"], [POOL]],
        branch3x3=ConvNorm(inputs, 384, 3, stride=2),
        branch3x3dbl_1=ConvNorm(inputs, 64, 1),
        branch3x3dbl_2=ConvNorm(64, 96, 3, padding=1),
        branch3x3dbl_3=ConvNorm(96, 96, 3, stride=2),
    )


def block_c(inputs: int, inner: int, pool: Pool) -> Mixed:
    """To 768 channels, by convolutions of 1×7 and 7×1 with `inner` channels."""
    return Mixed(
        pool,
        [
            ["branch1x1"],
            ["branch7x7_1", "branch7x7_2", "branch7x7_3"],
            ["branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"],
            [POOL, "branch_pool"],
        ],
        branch1x1=ConvNorm(inputs, 192, 1),
        branch7x7_1=ConvNorm(inputs, inner, 1),
        branch7x7_2=ConvNorm(inner, inner, (1, 7), padding=(0, 3)),
        branch7x7_3=ConvNorm(inner, 192, (7, 1), padding=(3, 0)),
        branch7x7dbl_1=ConvNorm(inputs, inner, 1),
        branch7x7dbl_2=ConvNorm(inner, inner, (7, 1), padding=(3, 0)),
        branch7x7dbl_3=ConvNorm(inner, inner, (1, 7), padding=(0, 3)),
        branch7x7dbl_4=ConvNorm(inner, inner, (7, 1), padding=(3, 0)),
        branch7x7dbl_5=ConvNorm(inner, 192, (1, 7), padding=(0, 3)),
        branch_pool=ConvNorm(inputs, 192, 1),
    )


def block_d(inputs: int) -> Mixed:
    """To 512 channels and those of the input, at half the size."""
    return Mixed(
        halved,
        [
            ["branch3x3_1", "branch3x3_2"],
            ["branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"],
            [POOL],
        ],
        branch3x3_1=ConvNorm(inputs, 192, 1),
        branch3x3_2=ConvNorm(192, 320, 3, stride=2),
        branch7x7x3_1=ConvNorm(inputs, 192, 1),
        branch7x7x3_2=ConvNorm(192, 192, (1, 7), padding=(0, 3)),
        branch7x7x3_3=ConvNorm(192, 192, (7, 1), padding=(3, 0)),
        branch7x7x3_4=ConvNorm(192, 192, 3, stride=2),
    )


def block_e(inputs: int, pool: Pool) -> Mixed:
    """To 2048 channels, by pairs of convolutions of 1×3 and 3×1 side by side."""
    return Mixed(
        pool,
        [
            ["branch1x1"],
            ["branch3x3_1", ("branch3x3_2a", "branch3x3_2b")],
            ["branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")],
            [POOL, "branch_pool"],
        ],
        branch1x1=ConvNorm(inputs, 320, 1),
        branch3x3_1=ConvNorm(inputs, 384, 1),
        branch3x3_2a=ConvNorm(384, 384, (1, 3), padding=(0, 1)),
        branch3x3_2b=ConvNorm(384, 384, (3, 1), padding=(1, 0)),
        branch3x3dbl_1=ConvNorm(inputs, 448, 1),
        branch3x3dbl_2=ConvNorm(448, 384, 3, padding=1),
        branch3x3dbl_3a=ConvNorm(384, 384, (1, 3), padding=(0, 1)),
        branch3x3dbl_3b=ConvNorm(384, 384, (3, 1), padding=(1, 0)),
        branch_pool=ConvNorm(inputs, 192, 1),
    )
