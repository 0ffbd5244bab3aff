"""What a decoder is told besides a code: the class of the image that it makes, its attributes, or another image.

    class Mine(GenerativeModel):
        @classmethod
        def condition_for(cls, options):
            return Condition("class", size=options.classes)

        def decode(self, z, condition):      # (B, latent_dim) and int64 (B,)
            ...

A model that has one takes it as one more argument wherever it makes or reads an image: `decode(z, condition)`,
`prior(noise, condition)`, and, where it has them, `encode(images, condition)`, `features`, `representation`,
`posterior(images, condition)` and `log_likelihood(z, images, condition)`. All others are called as ever.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

from genkit.contract.shape import ImageShape

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
