"""Images as the well-known example scripts serve them: each made a picture, then a tensor, whenever it is asked for.

This is what torchvision's MNIST and its transforms do, without their cost of import.
"""

from __future__ import annotations

import numpy as np
import race
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset


class Digits(Dataset):
    """MNIST as pairs of an image, float (1, H, W), and its class.

    Args:
        part: "train" or "test".
        count: how many of its images; all by default.
        size: to which they are resized, each time anew, if that isn't theirs.
        centred: whether they are in [-1, 1], as GANs want them, instead of [0, 1].
    """

    def __init__(self, part: str, count: int | None = None, size: int = 28, centred: bool = False):
        images, labels = race.mnist(part, count)
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)
        self.size, self.centred = size, centred

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.images[index].numpy())
        if self.size != picture.width:
            picture = picture.resize((self.size, self.size), Image.Resampling.BILINEAR)
        image = to_tensor(picture)
        return (image - 0.5) / 0.5 if self.centred else image, int(self.labels[index])


def to_tensor(picture: Image.Image) -> Tensor:
    """A grey picture as (1, H, W) float in [0, 1]."""
    pixels = torch.from_numpy(np.array(picture))
    return pixels.view(picture.height, picture.width, 1).permute(2, 0, 1).contiguous().float().div(255)
