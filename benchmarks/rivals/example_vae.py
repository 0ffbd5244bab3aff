"""The well-known example script of a VAE on MNIST, written anew from its description: 784-400-20, Adam at 1e-3.

Images are decoded one at a time in a DataLoader, the decoder ends in a sigmoid, the loss is read at every step, and
every epoch ends with a pass over the test images and two pictures. As a script: `example_vae.py --epochs 10`.
"""

from __future__ import annotations

import time

import numpy as np
import race
import torch
import torch.nn.functional as F
from example_data import Digits
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

LOG_INTERVAL = 10


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden_in = nn.Linear(784, 400)
        self.mean = nn.Linear(400, 20)
        self.log_variance = nn.Linear(400, 20)
        self.hidden_out = nn.Linear(20, 400)
        self.pixels = nn.Linear(400, 784)

    def decode(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.pixels(F.relu(self.hidden_out(z))))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = F.relu(self.hidden_in(images.view(-1, 784)))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.decode(z), mean, log_variance


def loss_function(reconstructed: Tensor, images: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """−ELBO in nats, summed over the batch."""
    likelihood = F.binary_cross_entropy(reconstructed, images.view(-1, 784), reduction="sum")
    return likelihood - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())


def train(model: VAE, optimizer: torch.optim.Optimizer, loader: DataLoader, device: str) -> None:
    model.train()
    total = 0.0
    for step, (images, _) in enumerate(loader):
        images = images.to(device)
        optimizer.zero_grad()
        loss = loss_function(*reconstruct(model, images))
        loss.backward()
        total += loss.item()
        optimizer.step()
        if step % LOG_INTERVAL == 0:
            print(f"step {step} of {len(loader)}: loss {loss.item() / len(images):.4f}")
    print(f"training loss {total / len(loader.dataset):.4f}")  # type: ignore[arg-type]


def reconstruct(model: VAE, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The arguments of `loss_function`."""
    reconstructed, mean, log_variance = model(images)
    return reconstructed, images, mean, log_variance


@torch.no_grad()
def test(model: VAE, loader: DataLoader, device: str) -> float:
    """The mean loss of a test image; draws eight of them with their reconstructions."""
    model.eval()
    total = 0.0
    for step, (images, _) in enumerate(loader):
        images = images.to(device)
        reconstructed, *rest = reconstruct(model, images)
        total += loss_function(reconstructed, *rest).item()
        if step == 0:
            save_grid(
                torch.cat([images[:8].view(-1, 28, 28), reconstructed[:8].view(-1, 28, 28)]), "reconstruction.png"
            )
    return total / len(loader.dataset)  # type: ignore[arg-type]


def save_grid(images: Tensor, path: str) -> None:
    """Eight images (N, 28, 28) in [0, 1] a row."""
    rows = images.cpu().view(-1, 8, 28, 28).permute(0, 2, 1, 3).reshape(-1, 8 * 28)
    Image.fromarray((255 * rows.numpy()).astype(np.uint8)).save(path)


def main() -> None:
    parser = race.parser(__doc__)
    parser.add_argument("--epochs", type=int, help="train and test so often; without it, answer a race's rounds")
    given = parser.parse_args()
    settings = {"num_workers": given.workers, "pin_memory": given.device != "cpu", "batch_size": given.batch_size}
    training = DataLoader(Digits("train", given.images), shuffle=True, **settings)
    model = VAE().to(given.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def one_round() -> tuple[int, float]:
        began = time.perf_counter()
        train(model, optimizer, training, given.device)
        return given.images, time.perf_counter() - began

    if given.epochs is None:
        race.serve(one_round)
        return
    testing = DataLoader(Digits("test"), shuffle=False, **settings)
    for epoch in range(given.epochs):
        train(model, optimizer, training, given.device)
        print(f"epoch {epoch + 1}: test loss {test(model, testing, given.device):.4f}", flush=True)
        with torch.no_grad():
            save_grid(model.decode(torch.randn(64, 20, device=given.device)).view(-1, 28, 28), "sample.png")


if __name__ == "__main__":
    main()
