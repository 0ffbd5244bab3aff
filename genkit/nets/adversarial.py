"""Generator and discriminator of residual blocks, at any image size, that leave no checkerboard.

The generator's sizes grow by nearest neighbours, in one convolution with the one that follows (Karras et al., ICLR
2018): that costs what a transposed convolution costs, and lays the same weights on every pixel. The critic's shrink by
strided convolutions, since what it is to judge is the finest detail. The code scales and shifts the generator's
features at each level (self-modulation: Chen et al., ICLR 2019), which are normalised an image at a time, so that no
sample depends on its batch and no colour on a running mean. What is told of an image, as its class, goes with the code,
and is held against the discriminator's features by an inner product (projection: Miyato and Koyama, ICLR 2018).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from genkit.contract import ImageShape
from genkit.nets.plain import halve, pyramid, widths

#: What a leaky rectifier leaves of a negative number.
SLOPE = 0.2
#: Channels of a group that is normalised together, and channels of a level at most.
GROUP, MOST = 8, 256
#: Beside a variance whose root is taken.
EPSILON = 1e-8
#: Added to the squares of what is told, so that what no image of a batch is told does no harm.
RIDGE = 1e-3

Size = tuple[int, int]


class Generator(nn.Module):
    """Codes (B, latent_dim), with what is told beside them, to images (B, C, H, W) in [0, 1].

    Args:
        image: the shape of the images.
        width: channels at the images' own size; each further level doubles them, up to MOST.
        latent_dim: numbers of a code.
        levels: blocks, each of which doubles height and width.
        told: how many numbers it is told besides.
    """

    def __init__(self, image: ImageShape, width: int, latent_dim: int, levels: int, told: int = 0):
        super().__init__()
        sizes, channels = pyramid(image, levels), widths(width, levels + 1, MOST)
        numbers = latent_dim + told
        first = nn.Linear(numbers, ImageShape(channels[-1], *sizes[-1]).numbers)
        nn.init.normal_(first.weight, 0, numbers**-0.5)
        self.first = nn.Sequential(first, nn.Unflatten(1, (channels[-1], *sizes[-1])))
        self.blocks = nn.ModuleList(
            UpBlock(channels[level + 1], channels[level], sizes[level + 1], sizes[level], numbers)
            for level in reversed(range(levels))
        )
        self.modulated = Modulated(channels[0], numbers)
        self.last = signal_kept(nn.Conv2d(channels[0], image.channels, 3, padding=1))

    def forward(self, code: Tensor) -> Tensor:
        hidden = self.first(code)
        for block in self.blocks:
            hidden = block(hidden, code)
        return self.last(self.modulated(hidden, code)).sigmoid()


class Critic(nn.Module):
    """Images (B, C, H, W) in [0, 1] to the logits (B,) of being real.

    Args:
        image: the shape of the images.
        width: channels after the first convolution, which halves height and width; each further level doubles them.
        levels: halvings of height and width.
        spectral: whether each layer's weights are divided by their largest singular value.
        told: how many numbers it is told of an image besides.
    """

    def __init__(self, image: ImageShape, width: int, levels: int, spectral: bool, told: int = 0):
        super().__init__()
        sizes, channels = pyramid(image, levels), widths(width, levels, MOST)
        self.first = signal_kept(halve(image.channels, channels[0], sizes[0]))
        self.blocks = nn.ModuleList(
            DownBlock(channels[level - 1], channels[level], sizes[level], sizes[level + 1])
            for level in range(1, levels)
        )
        features = ImageShape(channels[-1], *sizes[-1]).numbers
        self.head = nn.Linear(2 * features, 1)
        nn.init.normal_(self.head.weight, 0, (2 * features) ** -0.5)
        nn.init.zeros_(self.head.bias)
        if told:
            self.told = Projection(told, features)
        if spectral:
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d) or module is self.head:
                    spectral_norm(module)

    def forward(self, images: Tensor, *told: Tensor) -> Tensor:
        features = self.features(images)
        logits = self.head(with_spread(features, *told)).flatten()
        for rows in told:
            logits = logits + self.told(rows, features)
        return logits.to(images.dtype)

    def features(self, images: Tensor) -> Tensor:
        """What the last block makes of images, after its activation, flattened: (B, F)."""
        return self.maps(images)[-1].flatten(1)

    def maps(self, images: Tensor) -> list[Tensor]:
        """What each level makes of images (B, C, H, W), after an activation, the outermost first."""
        hidden = self.first(2 * images - 1)
        found = [F.leaky_relu(hidden, SLOPE)]
        for block in self.blocks:
            hidden = block(hidden, found[-1])
            found.append(F.leaky_relu(hidden, SLOPE))
        return found


class UpBlock(nn.Module):
    """Twice the height and width: modulated, rectified and convolved, beside it the features as they are, and to both a
    bias at each place."""

    def __init__(self, inputs: int, outputs: int, before: Size, after: Size, numbers: int):
        super().__init__()
        self.modulated = Modulated(inputs, numbers)
        self.up = signal_kept(UpConv(inputs, outputs, before, after))
        self.beside = beside(inputs, outputs)
        # Where a pixel lies is else known from the first map's alone, and the code's scales and shifts know no place.
        self.places = nn.Parameter(torch.zeros(outputs, *after))
        self.after = after

    def forward(self, hidden: Tensor, code: Tensor) -> Tensor:
        return self.up(self.modulated(hidden, code)) + F.interpolate(self.beside(hidden), self.after) + self.places


class DownBlock(nn.Module):
    """Half the height and width: convolved after an activation, and beside it the means of the features as they are.

    The convolution is strided, with weights of its own for each of the pixels that it steps over: a mean over them
    would hide from the critic what is finer than its next map, as the edges of drawings are.
    """

    def __init__(self, inputs: int, outputs: int, before: Size, after: Size):
        super().__init__()
        self.down = signal_kept(halve(inputs, outputs, before))
        self.beside = beside(inputs, outputs)
        self.after = after

    def forward(self, hidden: Tensor, active: Tensor) -> Tensor:
        return self.down(active) + self.beside(means(hidden, self.after))


class Modulated(nn.Module):
    """Features (B, C, H, W), normalised by groups of channels, scaled and shifted as the code says, and rectified."""

    def __init__(self, channels: int, numbers: int):
        super().__init__()
        self.groups = channels // GROUP if channels % GROUP == 0 else 1
        self.linear = nn.Linear(numbers, 2 * channels)
        nn.init.normal_(self.linear.weight, 0, 0.5 * numbers**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.linear(code)[:, :, None, None].chunk(2, 1)
        loud = torch.addcmul(shift, F.group_norm(hidden, self.groups), scale + 1)
        return F.leaky_relu(loud, SLOPE, inplace=True)


class Projection(nn.Module):
    """How well what is told (B, told) goes with features (B, F): a row of logits (B,)."""

    def __init__(self, told: int, features: int):
        super().__init__()
        self.rows = nn.Linear(told, features, bias=False)
        nn.init.normal_(self.rows.weight, 0, 0.3 * features**-0.5)

    def forward(self, told: Tensor, features: Tensor) -> Tensor:
        return (self.rows(told) * features).sum(1)


class UpConv(nn.Conv2d):
    """Nearest neighbours from one size to a larger one, then a 3×3 convolution; as one where both sides double.

    Of the nine pixels that it sees then, only four are different. With the weights that meet the same pixel added up it
    is a transposed 4×4 convolution of stride 2, which takes less than half of the time.
    """

    def __init__(self, inputs: int, outputs: int, before: Size, after: Size):
        super().__init__(inputs, outputs, 3, padding=1)
        self.after = after
        self.doubles = after == (2 * before[0], 2 * before[1])

    def forward(self, hidden: Tensor) -> Tensor:
        if not self.doubles:
            return super().forward(F.interpolate(hidden, self.after))
        # A transposed convolution turns its kernel around.
        kernels = on_squares(self.weight.flip(2, 3)).transpose(0, 1)
        return F.conv_transpose2d(hidden, kernels, self.bias, stride=2, padding=1)


def on_squares(kernels: Tensor) -> Tensor:
    """Kernels (O, I, 3, 3) with each weight on a square of 2×2 pixels: (O, I, 4, 4)."""
    outputs, inputs = kernels.shape[:2]
    row = torch.eye(4, 3, dtype=kernels.dtype, device=kernels.device)
    row = row + row.roll(1, 0)  # (4, 3): where each weight of a row lies
    places = torch.einsum("ai,bj->abij", row, row).reshape(16, 9)
    # The channels of a pixel lie side by side, as they do where the kernels come from: nothing is copied.
    wide = places @ kernels.permute(0, 2, 3, 1).reshape(outputs, 9, inputs)
    return wide.reshape(outputs, 4, 4, inputs).permute(0, 3, 1, 2)


def means(hidden: Tensor, size: Size) -> Tensor:
    """Features (B, C, H, W) brought down to a size, each pixel the mean of those that it covers."""
    return hidden if hidden.shape[2:] == size else F.adaptive_avg_pool2d(hidden, size)


def with_spread(features: Tensor, *told: Tensor) -> Tensor:
    """Features (B, F) and beside each its standard deviation over the batch, (B, 2F): what a collapse shows in.

    After Karras et al. (ICLR 2018), who hand over its mean. Where something is told of the images (B, told), it is the
    deviation from what that predicts, of a class from the class's mean: a generator that has one image for each class
    would else pass for a varied one. The root is of something above 0, so that a gradient of its gradient is finite
    where all are alike.
    """
    spread = (variance(features, *told) + EPSILON).sqrt()
    return torch.cat([features, spread.expand_as(features)], 1)


def variance(features: Tensor, *told: Tensor) -> Tensor:
    """Of features (B, F) over the batch, (F,); that which `told` (B, told) leaves unexplained, where there is any."""
    for rows in told:
        predicted, free = prediction(rows)
        return (features - predicted @ features).square().sum(0) / free.clamp(min=1)
    return features.var(0, unbiased=False)


@torch.no_grad()
def prediction(told: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix (B, B) that turns a batch's features into what a linear regression on `told` (B, told) predicts, and
    how many of the B degrees of freedom it leaves."""
    with torch.autocast(told.device.type, enabled=False):
        known = torch.cat([told.float(), told.new_ones(len(told), 1, dtype=torch.float32)], 1)
        square = known.T @ known + RIDGE * torch.eye(known.shape[1], device=known.device)
        # Unchecked, as a check would wait for the device; with the ridge there is always a solution.
        matrix = known @ torch.linalg.solve_ex(square, known.T).result
        return matrix.to(told.dtype), len(told) - matrix.trace()


def beside(inputs: int, outputs: int) -> nn.Module:
    """The way past a block, which changes nothing but the number of channels."""
    return nn.Identity() if inputs == outputs else signal_kept(nn.Conv2d(inputs, outputs, 1, bias=False))


def signal_kept(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with initial weights N(0, 1 / inputs), under which a signal keeps its size, and no biases."""
    nn.init.normal_(layer.weight, 0, layer.weight[0].numel() ** -0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
