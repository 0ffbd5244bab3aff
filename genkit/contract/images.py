"""What a model may ask of the images that it is to be trained on, before it is built."""

from __future__ import annotations

from typing import NamedTuple, Protocol

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
        randomised: whether labels or pixels of the training images are random, so that held-out ones tell nothing of
            how far a model has come.
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

    @property
    def randomised(self) -> bool: ...


class PrincipalAxes(NamedTuple):
    """Principal component analysis of training images, whose pixels are numbers in [0, 1].

    Attributes:
        mean: of the images that were looked at, (C, H, W).
        axes: orthonormal, (K, C, H, W), by descending variance.
        variances: of the images along each axis, (K,).
        rest: their mean variance along a direction that is orthogonal to all axes: the noise of probabilistic PCA.
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor
    rest: float


class TrainingStart(Protocol):
    """What can be read off training images before the first step. Each is computed when it is asked for."""

    def mean(self) -> Tensor:
        """Of the images, (C, H, W), in [0, 1]."""
        ...

    def principal_axes(self, count: int) -> PrincipalAxes:
        """The first `count` axes, or as many as are defined: fewer than there are images, at most 1,024."""
        ...
