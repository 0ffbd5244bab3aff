"""What images are compared by when their pixels aren't: a net's features, and a name that says whose they are."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Extractor(ABC):
    """A net that makes features of images.

    Features of different extractors can't be compared, and neither can anything that is computed of them. So a figure
    has its extractor's `name` among its conditions, `by` in its unit, and `prefix` in its own name.

    Attributes:
        digest: SHA-256 of its weights.
        prefix: before the names of figures: `inception_` of `samples/inception_frechet`. That of the classifier of
            the data set, the judge where nobody says otherwise, is empty.
        classes: those that it tells, by name; () where it tells none, and `labels_of` isn't asked.
    """

    digest: str
    prefix: str = ""
    classes: tuple[str, ...] = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is, what it was trained by, and what it is given, for a figure's conditions."""

    @property
    @abstractmethod
    def by(self) -> str:
        """The same in a few words, for a unit: `the classifier 3f2a9c1d`."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Of images (N, C, H, W) in [0, 1]: (N, F) float32 on the CPU."""

    def labels_of(self, features: Tensor) -> Tensor:
        """The likeliest class of the images with these features (N, F): int64 (N,), an index into `classes`."""
        raise NotImplementedError(f"{self.by} tells no classes")
