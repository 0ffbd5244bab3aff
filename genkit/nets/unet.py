"""Nets that predict a field over noisy images or codes at a noise level: a small U-Net, and a residual MLP.

The U-Net is that of Ho, Jain and Abbeel, "Denoising diffusion probabilistic models" (NeurIPS 2020), with the noise
level as scale and shift of each block's normalised maps (Dhariwal and Nichol, NeurIPS 2021). It sees squares of pixels
as channels, which makes it several times as fast on a CPU.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genkit.nets.residual import ResidualBlock, begun_at_zero, group_norm

#: Cosines and sines by which a net is told the noise level, and the longest of their periods in ln σ.
FREQUENCIES, LONGEST = 32, 60.0
#: Positions of a map up to which its positions attend to each other.
ATTENDED = 100
#: Positions on the longer side up to which a net sees pixels as they are, and not squares of them as channels.
MOST_SIDE = 24


class LevelEmbedding(nn.Module):
    """A noise level, ln σ (B,), and a class (B,) where there are any, as (B, size).

    Args:
        classes: how many there are. The one behind the last stands for none of them.
    """

    frequencies: Tensor

    def __init__(self, size: int, classes: int = 0):
        super().__init__()
        octaves = [6 * number / (FREQUENCIES - 1) for number in range(FREQUENCIES)]
        self.register_buffer("frequencies", torch.tensor([2 * math.pi / LONGEST * 2**each for each in octaves]))
        self.layers = nn.Sequential(nn.Linear(2 * FREQUENCIES, size), nn.SiLU(), nn.Linear(size, size))
        self.classes = nn.Embedding(classes + 1, size) if classes else None

    def forward(self, level: Tensor, condition: Tensor | None = None) -> Tensor:
        angles = level[:, None] * self.frequencies
        hidden = self.layers(torch.cat([angles.cos(), angles.sin()], 1))
        if self.classes is not None and condition is not None:
            hidden = hidden + self.classes(condition)
        return F.silu(hidden)


class Attention(nn.Module):
    """Each position of maps (B, C, H, W) attends to all others, beside the identity; heads of 32 channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.heads = max(1, channels // 32)
        self.heads = next(heads for heads in range(self.heads, 0, -1) if channels % heads == 0)
        self.norm, self.inputs = group_norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.outputs = begun_at_zero(nn.Conv2d(channels, channels, 1))

    def forward(self, maps: Tensor) -> Tensor:
        count, channels, height, width = maps.shape
        parts = self.inputs(self.norm(maps)).reshape(count, 3, self.heads, channels // self.heads, height * width)
        query, key, value = parts.unbind(1)
        weights = (query.transpose(2, 3) @ key / math.sqrt(query.shape[2])).softmax(3)
        found = (value @ weights.transpose(2, 3)).reshape(count, channels, height, width)
        return maps + self.outputs(found)


def patch_for(height: int, width: int) -> int:
    """The side of the squares of pixels that a net sees as one position: the least with `MOST_SIDE` a side or fewer."""
    patch = 1
    while max(height, width) > MOST_SIDE * patch:
        patch *= 2
    return patch


class UNet(nn.Module):
    """Maps (B, inputs, H, W) at noise levels (B,) to maps (B, outputs, H, W), at any size; 0 before it has learned.

    Squares of pixels become channels of one position, the image padded with its edge to whole ones. Each further level
    has half the positions a side, down to about 6, and twice as many channels as the first.

    Args:
        height, width: of the maps.
        channels: of the first level.
        blocks: on each level of fewer positions, on the way down and on the way up; the first has one each way.
        classes: as in `LevelEmbedding`.
        patch: the squares' side.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        height: int,
        width: int,
        *,
        channels: int,
        blocks: int,
        classes: int,
        patch: int,
    ):
        super().__init__()
        self.patch, self.size = patch, (height, width)
        self.padding = (-width % patch, -height % patch)
        grid = ((height + self.padding[1]) // patch, (width + self.padding[0]) // patch)
        levels = 1 + max(0, round(math.log2(max(grid) / 6)))
        self.grids = [grid]
        for _ in range(levels - 1):
            self.grids.append(((self.grids[-1][0] + 1) // 2, (self.grids[-1][1] + 1) // 2))
        size = 4 * channels
        self.embedding = LevelEmbedding(size, classes)
        square = patch * patch
        widths = [channels, *[2 * channels] * (levels - 1)]
        self.enter = nn.Conv2d(inputs * square, channels, 3, padding=1)
        self.down, self.halving, self.up, self.doubling = (nn.ModuleList() for _ in range(4))
        for level, wide in enumerate(widths):
            count = blocks if level or levels == 1 else 1
            self.down.append(nn.ModuleList(ResidualBlock(wide, told=size) for _ in range(count)))
            # On the way up each block also sees what the one on the way down has made.
            self.up.append(nn.ModuleList(ResidualBlock(2 * wide, wide, told=size) for _ in range(count)))
            if level < levels - 1:
                self.halving.append(nn.Conv2d(wide, widths[level + 1], 3, 2, 1))
                self.doubling.append(nn.Conv2d(widths[level + 1], wide, 1))
        self.attends = self.grids[-1][0] * self.grids[-1][1] <= ATTENDED
        self.attention = nn.ModuleList(Attention(widths[-1]) for _ in range(2 if self.attends else 0))
        self.leave = nn.Sequential(
            group_norm(channels), nn.SiLU(), begun_at_zero(nn.Conv2d(channels, outputs * square, 3, padding=1))
        )

    def forward(self, maps: Tensor, level: Tensor, condition: Tensor | None = None) -> Tensor:
        embedding = self.embedding(level, condition)
        hidden, kept = self.inwards(maps, embedding)
        for place in reversed(range(len(self.grids))):
            for block in self.up[place]:  # type: ignore[attr-defined]  # each is a ModuleList
                hidden = block(torch.cat([hidden, kept.pop()], 1), embedding)
            if place:
                hidden = F.interpolate(self.doubling[place - 1](hidden), size=self.grids[place - 1])
        output = self.leave(hidden)
        if self.patch > 1:
            output = F.pixel_shuffle(output, self.patch)
        return output[..., : self.size[0], : self.size[1]]

    def inwards(self, maps: Tensor, embedding: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The innermost maps, and what each block on the way has made."""
        if any(self.padding):
            maps = F.pad(maps, (0, self.padding[0], 0, self.padding[1]), mode="replicate")
        if self.patch > 1:
            maps = F.pixel_unshuffle(maps, self.patch)
        hidden, kept = self.enter(maps), []
        for place, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                hidden = block(hidden, embedding)
                kept.append(hidden)
            if place < len(self.halving):
                hidden = self.halving[place](hidden)
        for attention in self.attention:
            hidden = attention(hidden)
        return hidden, kept

    def features(self, maps: Tensor, level: Tensor, condition: Tensor | None = None) -> Tensor:
        """What stands for maps (B, inputs, H, W): the mean and the largest of each of the innermost ones, (B, F)."""
        hidden, _ = self.inwards(maps, self.embedding(level, condition))
        return torch.cat([hidden.mean((2, 3)), hidden.amax((2, 3))], 1)

    def keep_features(self) -> None:
        """Drop what they don't need: the way up."""
        del self.up, self.doubling, self.leave


class ResidualMLP(nn.Module):
    """Codes (B, size) at noise levels (B,) to as many numbers, by residual blocks; 0 before it has learned.

    Args:
        width: units of each layer.
        blocks: of two layers each.
        classes: as in `LevelEmbedding`.
    """

    def __init__(self, size: int, width: int, blocks: int, classes: int):
        super().__init__()
        self.embedding = LevelEmbedding(width, classes)
        self.enter = nn.Linear(size, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.told = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(blocks))
        self.second = nn.ModuleList(begun_at_zero(nn.Linear(width, width)) for _ in range(blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), begun_at_zero(nn.Linear(width, size)))

    def forward(self, codes: Tensor, level: Tensor, condition: Tensor | None = None) -> Tensor:
        embedding, hidden = self.embedding(level, condition), self.enter(codes)
        for norm, first, told, second in zip(self.norms, self.first, self.told, self.second, strict=True):
            scale, shift = told(embedding).chunk(2, 1)
            hidden = hidden + second(F.silu(torch.addcmul(shift, first(norm(hidden)), 1 + scale)))
        return self.leave(hidden)
