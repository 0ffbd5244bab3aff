"""What a decoder is told besides a code: the class of the image that it makes, its attributes, or another image.

    class Mine(GenerativeModel):
        @classmethod
        def condition_for(cls, options):
            return Condition("class", size=options.classes)

        def decode(self, z, condition):      # (B, latent_dim) and int64 (B,)
            ...

A model that has one takes it as one more argument wherever it makes or reads an image: `decode(z, condition)`,
`prior(noise, condition)`, and, where it has them, `encode(images, condition)`, `features`, `representation`,
`posterior(images, condition)`, `log_likelihood(z, images, condition)` and `pixel_log_likelihood(z, images, condition)`.
All others are called as ever.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import Tensor

from genkit.contract.images import TrainingImages
from genkit.contract.shape import ImageShape
from genkit.errors import UsageError

Kind = Literal["class", "attributes", "image"]


class Condition(NamedTuple):
    """What a model's decoder takes besides a code.

    Attributes:
        kind: "class", int64 (B,) from 0 to `size` - 1; "attributes", float32 (B, `size`) in [0, 1]; "image", float32
            (B, *`shape`) in [0, 1].
        size: how many classes or attributes there are; 0 of an image.
        shares: how often each attribute is there among the training images, by which a seed draws its own; ½ each
            where nothing is said.
        shape: of the image; where nothing is said, that of the model's own images.
    """

    kind: Kind
    size: int = 0
    shares: tuple[float, ...] = ()
    shape: ImageShape | None = None


def given(condition: Tensor | None) -> tuple[Tensor, ...]:
    """A condition as what a model's methods are called with besides: nothing where there is none."""
    return () if condition is None else (condition,)


def of_labels(options: Any) -> Condition | None:
    """The condition of a model whose options are `condition` (none, label or attributes), `classes`, `attributes`."""
    if options.condition == "none":
        return None
    if options.condition == "label":
        return Condition("class", options.classes)
    return Condition("attributes", len(options.attributes), tuple(options.attributes.values()))


def labels_for(wanted: str, dataset: TrainingImages, attributes: bool = True) -> dict[str, Any]:
    """What the images say of these options: how many `classes` they have, and which `attributes`, with their shares.

    Args:
        wanted: `--condition`: none, label or attributes.
        attributes: whether the model can be told those.

    Raises:
        UsageError: where they have none.
    """
    found: dict[str, Any] = {"classes": 0, "attributes": {}}
    if wanted == "label":
        if dataset.train.labels is None or len(dataset.classes) < 2:
            offer = "--condition attributes" if attributes and dataset.attributes else "leave --condition out"
            raise UsageError(f"--condition label: {dataset.name} has fewer than two classes; {offer}")
        found["classes"] = len(dataset.classes)
    if wanted == "attributes":
        if dataset.train.attributes is None or not dataset.attributes:
            offer = "--condition label" if dataset.classes else "leave --condition out"
            raise UsageError(f"--condition attributes: {dataset.name} has none; {offer}")
        shares = dataset.train.attributes.double().mean(0).tolist()
        found["attributes"] = {name: round(share, 4) for name, share in zip(dataset.attributes, shares, strict=True)}
    return found
