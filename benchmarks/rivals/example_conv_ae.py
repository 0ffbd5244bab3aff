"""The network of `genkit train conv-ae` (28x28, width 32, 30-D code) in the way of the example scripts.

Images decoded one at a time in a DataLoader, torch's default Adam, squared error, the loss read at every step.
"""

from __future__ import annotations

import itertools
import time

import race
import torch
import torch.nn.functional as F
from example_data import Digits
from torch import nn
from torch.utils.data import DataLoader


def network() -> nn.Sequential:
    """28x28 over 14, 7 and 3 to 1 and back; the decoder's odd sizes come by output padding."""
    channels = [1, 32, 64, 128, 256]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(channels):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.GELU()]
    layers += [nn.Flatten(), nn.Linear(256, 30), nn.Linear(30, 256), nn.Unflatten(1, (256, 1, 1))]
    for inputs, outputs, odd in ((256, 128, 1), (128, 64, 1), (64, 32, 0), (32, 1, 0)):
        layers += [nn.BatchNorm2d(inputs), nn.GELU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, odd)]
    return nn.Sequential(*layers)


def main() -> None:
    given = race.parser(__doc__).parse_args()
    loader = DataLoader(
        Digits("train", given.images), batch_size=given.batch_size, shuffle=True, num_workers=given.workers
    )
    model = network().to(given.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def one_round() -> tuple[int, float]:
        began, total = time.perf_counter(), 0.0
        model.train()
        for images, _ in loader:
            images = images.to(given.device)
            optimizer.zero_grad()
            loss = F.mse_loss(model(images), images, reduction="sum") / len(images)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return given.images, time.perf_counter() - began

    race.serve(one_round)


if __name__ == "__main__":
    main()
