"""The well-known example script of a DCGAN at 32x32, written anew from its description: Adam at 2e-4, BCE on a sigmoid.

Images are decoded, resized and centred one at a time in a DataLoader. The discriminator learns from real images, then
from `fake.detach()`; the generator through the discriminator with the same fakes; five numbers are read at every step.
`--in-memory` serves float batches by index from the device instead.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import race
import torch
from example_data import Digits
from torch import Tensor, nn
from torch.utils.data import DataLoader

LATENT, WIDTH = 100, 64


def generator() -> nn.Sequential:
    layers: list[nn.Module] = [nn.ConvTranspose2d(LATENT, 4 * WIDTH, 4, 1, 0, bias=False)]
    for inputs, outputs in ((4 * WIDTH, 2 * WIDTH), (2 * WIDTH, WIDTH)):
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(True), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)]
    return nn.Sequential(
        *layers, nn.BatchNorm2d(WIDTH), nn.ReLU(True), nn.ConvTranspose2d(WIDTH, 1, 4, 2, 1, bias=False), nn.Tanh()
    )


def discriminator() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(1, WIDTH, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for inputs, outputs in ((WIDTH, 2 * WIDTH), (2 * WIDTH, 4 * WIDTH)):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(4 * WIDTH, 1, 4, 1, 0, bias=False), nn.Flatten(0), nn.Sigmoid())


def initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)
        nn.init.zeros_(module.bias)


def by_index(images: Tensor, batch_size: int) -> Iterable[Tensor]:
    for rows in torch.randperm(len(images), device=images.device).split(batch_size):
        yield images[rows]


def main() -> None:
    parser = race.parser(__doc__)
    parser.add_argument("--in-memory", action="store_true")
    given = parser.parse_args()
    digits = Digits("train", given.images, size=32, centred=True)
    loader = DataLoader(digits, batch_size=given.batch_size, shuffle=True, num_workers=given.workers)
    if given.in_memory:
        held = torch.cat([images for images, _ in loader]).to(given.device)
    g, d = generator().apply(initialise).to(given.device), discriminator().apply(initialise).to(given.device)
    optimizer_g = torch.optim.Adam(g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizer_d = torch.optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    criterion = nn.BCELoss()

    def one_round() -> tuple[int, float]:
        began = time.perf_counter()
        batches = by_index(held, given.batch_size) if given.in_memory else (images for images, _ in loader)
        for step, batch in enumerate(batches):
            real = batch.to(given.device)
            ones, zeros = torch.ones(len(real), device=given.device), torch.zeros(len(real), device=given.device)

            d.zero_grad()
            on_real = d(real)
            loss_real = criterion(on_real, ones)
            loss_real.backward()
            fake = g(torch.randn(len(real), LATENT, 1, 1, device=given.device))
            on_fake = d(fake.detach())
            loss_fake = criterion(on_fake, zeros)
            loss_fake.backward()
            optimizer_d.step()

            g.zero_grad()
            on_fake_after = d(fake)
            loss_g = criterion(on_fake_after, ones)
            loss_g.backward()
            optimizer_g.step()

            print(
                f"step {step}: loss D {(loss_real + loss_fake).item():.4f}, loss G {loss_g.item():.4f}, "
                f"D(x) {on_real.mean().item():.4f}, "
                f"D(G(z)) {on_fake.mean().item():.4f} / {on_fake_after.mean().item():.4f}"
            )
        return given.images, time.perf_counter() - began

    race.serve(one_round)


if __name__ == "__main__":
    main()
