"""genkit's importance-weighted likelihood, `likelihood.estimate`, of the example script's network, 784-400-20."""

from __future__ import annotations

import time

import race
import torch

from genkit import device
from genkit.contract import ImageShape
from genkit.evaluate.likelihood import estimate
from genkit.models.vae import VAE


def main() -> None:
    parser = race.parser(__doc__)
    parser.add_argument("--codes", type=int, default=5000)
    given = parser.parse_args()
    device.keep_freed_memory()
    model = VAE(ImageShape(1, 28, 28), VAE.Options(hidden=(400,), activation="relu", latent_dim=20)).eval()
    model.requires_grad_(False)
    images = torch.from_numpy(race.mnist("test", given.images)[0]).float().div(255).unsqueeze(1)

    def one_round() -> tuple[int, float]:
        began = time.perf_counter()
        estimate(model, images, torch.arange(len(images)), given.codes)
        return len(images), time.perf_counter() - began

    race.serve(one_round)


if __name__ == "__main__":
    main()
