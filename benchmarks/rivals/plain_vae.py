"""A plain loop without a DataLoader: all images as floats in memory, batches by index, torch's default Adam.

The example's network and loss; no loss is read back.
"""

from __future__ import annotations

import time

import race
import torch
from example_vae import VAE, loss_function, reconstruct


def main() -> None:
    given = race.parser(__doc__).parse_args()
    images = torch.from_numpy(race.mnist("train", given.images)[0]).float().div(255).view(-1, 784)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def one_round() -> tuple[int, float]:
        began = time.perf_counter()
        for rows in torch.randperm(len(images)).split(given.batch_size):
            optimizer.zero_grad()
            loss_function(*reconstruct(model, images[rows])).backward()
            optimizer.step()
        return len(images), time.perf_counter() - began

    race.serve(one_round)


if __name__ == "__main__":
    main()
