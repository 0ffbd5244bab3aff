"""A linear way between images and codes, beside a net's: what a model begins with that begins at PCA."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from genkit.contract import ImageShape
from genkit.contract.images import PrincipalAxes
from genkit.nets.plain import LEAST_ODDS
from genkit.nets.residual import begun_at_zero

#: By what a net's output is multiplied before it is added. An optimiser like Adam moves every weight of its last layer
#: by the learning rate, and so an output by hundreds of times that in its first steps: more than is left to improve.
GAIN = 0.3


def in_full(device: torch.device) -> AbstractContextManager[object]:
    """No autocast inside: half precision is coarser than grey levels.

    Where there is none, nothing is done: it would stand in what is exported, and "meta" tensors know none.
    """
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class LinearShortcut(nn.Module):
    """Projection of images on principal axes, and the way back: what encoder and decoder add their own outputs to.

    Codes (x − mean)·axisₖ·intoₖ of images, and images mean + Σ zₖ·backₖ·axisₖ of codes, to which `GAIN` times what the
    nets say is added. All of it is fixed when training begins, and kept with the weights: an optimiser's first steps,
    which move every weight alike, would undo it. Until `begin` is called it gives 0 both ways.

    Args:
        image: the shape of the images.
        dim: numbers in a code.
    """

    mean: Tensor
    axes: Tensor
    into: Tensor
    back: Tensor

    def __init__(self, image: ImageShape, dim: int):
        super().__init__()
        self.shape = tuple(image)
        self.register_buffer("mean", torch.zeros(image.numbers))
        self.register_buffer("axes", torch.zeros(dim, image.numbers))
        self.register_buffer("into", torch.zeros(dim))
        self.register_buffer("back", torch.zeros(dim))

    @torch.no_grad()
    def begin(self, principal: PrincipalAxes, into: Tensor, back: Tensor) -> None:
        """Take over axes (K, C, H, W), and by what codes are scaled on either way, (K,) each; further codes stay 0."""
        count = len(principal.axes)
        self.mean.copy_(principal.mean.flatten())
        self.axes[:count] = principal.axes.flatten(1).to(self.axes)
        self.into[:count], self.back[:count] = into.to(self.into), back.to(self.back)

    def encode(self, images: Tensor) -> Tensor:
        """Codes (B, dim) of images (B, C, H, W)."""
        with in_full(images.device):
            return torch.mm(images.flatten(1).to(self.mean.dtype) - self.mean, self.axes.T) * self.into

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W), unbounded, of codes (B, dim)."""
        with in_full(z.device):
            return torch.addmm(self.mean, z.to(self.mean.dtype) * self.back, self.axes).unflatten(1, self.shape)

    def added_to(self, decoder: nn.Module, z: Tensor, told: Tensor, odds: bool) -> Tensor:
        """The linear image of codes (B, dim) and `GAIN` times what a decoder makes of `told`: (B, C, H, W).

        A `ResidualDecoder` that takes drafts is given the linear image, too.

        Args:
            odds: whether the decoder's output is log-odds, and so the sum.
        """
        linear = self.decode(z)
        added = decoder(told, linear - 0.5) if getattr(decoder, "drafts", False) else decoder(told)
        return GAIN * added + (as_log_odds(linear) if odds else linear)


def as_log_odds(pixels: Tensor) -> Tensor:
    """The log-odds of pixels that may lie outside of [0, 1]: those are taken for nearly 0, and nearly 1."""
    return pixels.clamp(LEAST_ODDS, 1 - LEAST_ODDS).logit()


def last_layer(net: nn.Module) -> nn.Linear | nn.Conv2d | nn.ConvTranspose2d:
    """The layer with weights that a net's output comes from, where it is the last that was added to it."""
    return [each for each in net.modules() if isinstance(each, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)][-1]


def silence(net: nn.Module) -> None:
    """Begin a net's last layer at 0, so that it gives 0 whatever it is given."""
    begun_at_zero(last_layer(net))
