"""Models from outside, for tests: written as files and as installed packages."""

from __future__ import annotations

from pathlib import Path

#: An autoencoder in one file. LINE stands where a test puts a fault.
TINY = '''"""Tiny autoencoder of somebody else's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from genkit import contract
from genkit.contract import Batch, GenerativeModel, ImageShape, Phase


class Tiny(GenerativeModel):
    class Options(contract.Options):
        latent_dim: contract.LatentDim = 4

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(image.numbers, options.latent_dim))
        self.decoder = nn.Sequential(nn.Linear(options.latent_dim, image.numbers), nn.Unflatten(1, tuple(image)))

    def phases(self) -> list[Phase]:
        return [Phase("", self, self.losses, self.options.optimizer())]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        output = self.decoder(self.encoder(batch.images))
        return {"loss": F.mse_loss(output, batch.images)}

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).clamp(0, 1)

    def prior(self, noise: Tensor) -> Tensor:
        return noise
'''

#: One that is trained on two sets: it gives back the images of both, and tells the classes of the second's, if any.
PAIR = (
    TINY.replace("Tiny", "Pair")
    .replace(
        """    def losses(self, batch: Batch) -> dict[str, Tensor]:
        output = self.decoder(self.encoder(batch.images))
        return {"loss": F.mse_loss(output, batch.images)}
""",
        """    def losses(self, batch: Batch) -> dict[str, Tensor]:
        first, second = (
            F.mse_loss(self.decoder(self.encoder(images)), images) for images in (batch.images, batch.beside)
        )
        losses = {"loss": first + second, "second": second}
        if batch.beside_labels is not None:
            losses["told"] = F.cross_entropy(self.head(self.encoder(batch.beside)), batch.beside_labels)
            losses["loss"] = losses["loss"] + losses["told"]
        return losses

    def fit_prior(self, batches) -> None:
        self.mean.copy_(self.encoder(next(iter(batches)).beside).mean(0))
""",
    )
    .replace("    class Options", "    needs_beside = True\n\n    class Options")
    .replace(
        """        self.decoder = """,
        """        self.register_buffer("mean", torch.zeros(options.latent_dim))
        self.head = nn.Linear(options.latent_dim, 10)
        self.decoder = """,
    )
    .replace("import torch.nn.functional", "import torch\nimport torch.nn.functional")
    .replace("return noise", "return noise + self.mean")
)


def write_file(path: Path, source: str = TINY) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


def install(site: Path, package: str, version: str, entry: str, files: dict[str, str]) -> None:
    """What pip would leave in `site` of a distribution with this line in its group `genkit.models`."""
    for name, source in files.items():
        write_file(site / name, source)
    info = site / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[genkit.models]\n{entry}\n")
