"""What models that learn distances share: an encoder, the pairs within a batch, and how a collapse is seen."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from genkit import contract, nets
from genkit.contract import Batch, Facts, Fault, ImageShape, Model, Phase, Resolved, defaults
from genkit.contract.images import TrainingImages
from genkit.errors import DataError

#: Steps of a run where nobody says how long to train.
FEWEST_STEPS, MOST_STEPS = 1_000, 10_000
#: Codes whose spread is below this share of the margin are all alike.
COLLAPSED = 0.1
#: Numbers in a code from which on there is room enough around each point.
ROOMY = 16


class Metric(Model):
    """An encoder that is trained by the distances of labelled images' codes, and by nothing else.

    It is monitored by how often the neighbours of a code are of its class: the loss is of the pairs that are still
    wrong, and stays as it is while these become fewer.
    """

    class Options(contract.TrainingOptions):
        latent_dim: contract.LatentDim = 2
        epochs: contract.Epochs = 5
        batch_size: Annotated[
            int, Field(ge=2, le=65536, description="Images a training step, among which the pairs are found.")
        ] = 128
        lr: contract.LearningRate = 3e-3
        weight_decay: contract.WeightDecay = 0.05
        width: nets.ConvWidth = 32
        margin: Annotated[
            float, Field(gt=0, le=1e6, description="How far images of different classes are to be kept apart.")
        ] = 1.0

    monitor = "knn_error"

    def __init__(self, image: ImageShape, options: Options):
        super().__init__(image, options)
        self.body = nets.ConvNet(image, options.width)
        self.head = nn.Linear(nets.ConvNet.FEATURES, options.latent_dim)

    @classmethod
    def defaults_for(cls, options: Any, images: Facts) -> Mapping[str, Resolved]:
        return defaults.training(options, images, FEWEST_STEPS, MOST_STEPS)

    @classmethod
    def options_for(cls, options: Any, dataset: TrainingImages) -> Any:
        labels = dataset.train.labels
        if labels is None:
            raise DataError(
                f"{dataset.name} has no labels, which say what is alike; give a folder with a folder for each class"
            )
        sizes = labels.bincount()
        if len(sizes.nonzero()) < 2:
            name = dataset.classes[int(sizes.argmax())]
            raise DataError(f"{dataset.name}: all training images are of the class {name}; give at least two classes")
        if int(sizes.max()) < 2:
            raise DataError(f"{dataset.name}: no two training images are of one class; give several of each")
        return options

    def phases(self) -> list[Phase]:
        return [Phase("", self, self.losses, self.options.optimizer())]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of the batch's pairs or triplets; it is 0 where there are none. Of a process, those of its share."""
        assert batch.labels is not None
        codes = self.encode(batch.images).to(batch.images.dtype)
        return self.of_distances(distances_of(codes), *pairs_of(batch.labels))

    @abstractmethod
    def of_distances(self, distances: Tensor, same: Tensor, other: Tensor) -> dict[str, Tensor]:
        """The loss of a batch, and what is logged beside it.

        Args:
            distances: (B, B), Euclidean, of the codes.
            same: bool (B, B), whether two different images are of one class.
            other: bool (B, B), whether they are of two.
        """

    def encode(self, images: Tensor) -> Tensor:
        return self.head(self.body.features(images))

    def watch(self, history: Sequence[Mapping[str, float]]) -> Mapping[str, Fault | str]:
        spread, margin = history[-1].get("spread"), self.options.margin
        if spread is None or spread >= COLLAPSED * margin:
            return {}
        shows = f"the codes are {spread:.2g} from their mean, with a margin of {margin:g}, and so all alike"
        return {"collapse": Fault(shows, [*self.against_collapse(), f"a lower --lr (it is {self.options.lr:g})"])}

    def against_collapse(self) -> list[str]:
        """The options that usually help when all codes are alike, and aren't set already."""
        return [f"--latent-dim {ROOMY}"] if self.options.latent_dim < ROOMY else []


def distances_of(codes: Tensor) -> Tensor:
    """Euclidean distances (B, B) of codes (B, D), whose gradient is 0 where two coincide.

    They are taken without a matrix product, by which twins would be at a distance that depends on where they lie.
    """
    return torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist")


def pairs_of(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which images of a batch, by their labels (B,), are of one class, and which of two: bool (B, B) each.

    No image is a pair with itself.
    """
    alike = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return alike & ~itself, ~alike


def mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean () of those values (…) that are chosen, bool (…); 0 where none is."""
    return values.where(chosen, 0.0).sum() / chosen.sum().clamp(min=1)
