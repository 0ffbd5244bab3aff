"""What a model may ask of the images that it is to be trained on, before it is built."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from genkit.contract.shape import ImageShape


class TrainingSplit(Protocol):
    """The images to train on.

    Attributes:
        labels: int64 (N,), an index into the set's classes, or None.
        attributes: bool (N, A), a column for each of the set's attributes, or None.
    """

    @property
    def labels(self) -> Tensor | None: ...

    @property
    def attributes(self) -> Tensor | None: ...

    def __len__(self) -> int: ...


class TrainingImages(Protocol):
    """A set of images: `data.dataset.Dataset`, as far as a model needs to know it.

    Attributes:
        name: what the person typed: `mnist`, or a path.
        shape: of every image.
        classes: the names of the labels, () where there are none.
        attributes: the names of the attributes' columns, () where there are none.
        train: those to train on.
        beside: the second set, for a model that needs one, in its own form; else None.
    """

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> ImageShape: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def attributes(self) -> tuple[str, ...]: ...

    @property
    def train(self) -> TrainingSplit: ...

    @property
    def beside(self) -> TrainingImages | None: ...
