"""The two kinds of model: what can be trained, and what also makes images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor, nn

from genkit.contract.batch import Batch
from genkit.contract.condition import Condition
from genkit.contract.defaults import Facts, Resolved
from genkit.contract.fault import Fault
from genkit.contract.images import TrainingImages, TrainingStart
from genkit.contract.options import TRAINING_FIELDS, Options, SamplingOptions, TrainingOptions
from genkit.contract.phase import Phase
from genkit.contract.shape import ImageShape, require_axes
from genkit.errors import DataError, UsageError


class FittedPrior(Protocol):
    """What is fitted to the codes of a trained model, to draw new ones (`nets.priors.CodePrior`).

    Attributes:
        classes: how many classes it can draw codes of; 0 where it knows none.
    """

    classes: int

    def __call__(self, noise: Tensor, classes: Tensor | None = None) -> Tensor:
        """Codes (B, latent_dim) from N(0, I) noise of the same shape, of classes, int64 (B,), where those are given."""
        ...

    def knows(self, number: int) -> bool:
        """Whether it can draw codes of this class."""
        ...

    def in_words(self) -> str:
        """What it is, for people."""
        ...


class Model(nn.Module, ABC):
    """What can be trained.

    Args:
        image: the shape of the images that it is built for.
        options: an instance of this class's own `Options`.

    Attributes:
        condition: what its methods take besides codes and images; None where they take nothing.

    Raises:
        UsageError: for images with other axes than its own.
    """

    Options: ClassVar[type[TrainingOptions]] = TrainingOptions
    #: The validation metric that picks the best checkpoint, lower is better: one that a phase logs, or one of samples
    #: (`run.validation.SAMPLE_METRICS`) or of labelled images' codes (`CODE_METRICS` there). `train_` before one that a
    #: phase logs has it measured of training images, in evaluation mode: of random labels, say, of which held-out
    #: images tell nothing.
    monitor: str = "loss"
    #: Which checkpoint of a run is opened where nobody says: the best by `monitor`, or the last, of a model whose
    #: monitor is a distance of samples, too noisy to tell a finished model from a lucky draw.
    opens: ClassVar[Literal["best", "last"]] = "best"
    #: The axes of an image, in order, that the model is written for; others are refused before anything is built.
    axes: ClassVar[tuple[str, ...]] = ImageShape._fields
    #: Whether it is trained on two sets of images: `Batch.beside` then holds those of the second one (`--beside`).
    needs_beside: ClassVar[bool] = False
    #: How the names of those weights begin that mean the images' classes or attributes, as a last layer's. A run that
    #: begins with another's takes all but these where it is of others, and has random ones.
    of_labels: ClassVar[tuple[str, ...]] = ()
    #: Whether what it begins with is already a model, as PCA is: it is validated before the first step then, and may
    #: stay the best checkpoint.
    begins_trained: bool = False

    def __init__(self, image: ImageShape, options: Any):
        super().__init__()
        require_axes(type(self).__name__, self.axes, image)
        self.image = image
        self.options = options
        self.condition = self.condition_for(options)
        if self.condition is not None and self.condition.kind == "image" and self.condition.shape is None:
            self.condition = self.condition._replace(shape=image)

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """The training step, in order: one phase for an autoencoder; generator, then critic, for a GAN."""

    def watch(self, history: Sequence[Mapping[str, float]]) -> Mapping[str, Fault | str]:
        """What has gone wrong in training, short of numbers that aren't finite.

        Args:
            history: the metrics of each validation so far, the newest last; at least one.

        Returns:
            The field's name for each fault ("posterior collapse"), with what shows it and what usually helps: the
            options that aren't set already. A run tells of one that lasts, and of too few steps in place of options.
        """
        return {}

    # What stands behind the images is for a model that takes a condition, and for type checkers, which would else
    # refuse a model that takes none.
    def features(self, images: Tensor, *condition: Any, **_: Any) -> Tensor:
        """What stands for an image (B, C, H, W) when images are compared or plotted: (B, F), by default its code.

        Raises:
            UsageError: of a model without codes that doesn't define it.
        """
        encode = getattr(self, "encode", None)
        if encode is not None:
            return encode(images, *condition)
        raise UsageError(f"{type(self).__name__} neither encodes images nor says what their features are")

    def representation(self, images: Tensor, *condition: Any, **_: Any) -> Tensor:
        """What a classifier is given to tell images (B, C, H, W) apart: (B, F), by default their `features`."""
        return self.features(images, *condition)

    def keep_features(self) -> None:
        """Drop what `features` doesn't need, for a model that goes on as a part of another; by default nothing."""

    def begin_at(self, mean: Tensor) -> None:
        """Begin with what can be read off the training images, their mean (C, H, W) in [0, 1]; by default nothing.

        Called once, before the first step of a run that doesn't begin with another's weights. A model that makes images
        may make the mean one from the start, and so needn't first learn it.
        """

    def begin_with(self, images: TrainingStart) -> None:
        """The same, for a model that begins with more than the mean; by default `begin_at` is given the mean.

        A model with as many linear numbers may begin at the images' principal axes, and so with what those reach.
        """
        self.begin_at(images.mean())

    def begin_on(self, batches: Iterable[Batch]) -> None:
        """Measure on training images what the first step needs, as the spread of the codes that it standardises.

        Called once, before the first step, on up to 10,000 of them, in evaluation mode; by default nothing. What is
        measured belongs in buffers. A run that begins with another's weights has them already.
        """

    @classmethod
    def condition_for(cls, options: Any) -> Condition | None:
        """What a model of these options takes besides codes and images; by default nothing."""
        return None

    def condition_of(self, batch: Batch) -> Tensor | None:
        """The condition of a batch's images, as `condition` has it: their labels, or their attributes; or None.

        A model whose condition is an image, or anything else that it makes of a batch, has its own.

        Raises:
            DataError: when the images have no such labels.
            UsageError: of a model that takes an image and doesn't define it.
        """
        if self.condition is None:
            return None
        if self.condition.kind == "image":
            raise UsageError(f"{type(self).__name__} takes an image, and doesn't say with condition_of which")
        known = batch.labels if self.condition.kind == "class" else batch.attributes
        if known is None:
            what = "classes" if self.condition.kind == "class" else "attributes"
            raise DataError(f"the model takes the {what} of its images, and these have none; give others")
        return known if self.condition.kind == "class" else known.to(batch.images.dtype)

    @classmethod
    def options_for(cls, options: Any, dataset: TrainingImages) -> Any:
        """The options with what only the images can say, before a new run is made; by default as they are.

        Raises:
            DataError, UsageError: where the model can't be trained on them.
        """
        return options

    @classmethod
    def defaults_for(cls, options: Any, images: Facts) -> Mapping[str, Resolved]:
        """The options that these images suggest where nobody has given any; by default none.

        Asked before `options_for`. What is given is left alone, whatever this says of it; where one value depends on
        another, `options.model_fields_set` tells whether that is given. `contract.defaults` has what most models need.

        Args:
            options: with what is given; all else has the class's own defaults.

        Returns:
            Values with their reasons by the field's name, of those that differ from the class's own defaults.
        """
        return {}

    @classmethod
    def options_from(cls, source: Model) -> dict[str, Any] | None:
        """The options that a new run takes over, where none are given, from the model that it begins with.

        None where it can't begin with such a model; by default, with any but one of its own kind.
        """
        return source.options.model_dump(exclude=set(TRAINING_FIELDS)) if type(source) is cls else None

    def weights_from(self, source: Model) -> Mapping[str, Tensor]:
        """The weights, by their names in this model, that it takes from the one that it begins with; by default all."""
        return source.state_dict()


class GenerativeModel(Model):
    """A latent space and the way from it to images.

    Attributes:
        sampling: what whoever asks for images can choose each time, an instance of this class's own `Sampling`. It
            changes nothing but what `prior` and `decode` do.
        fitted: what new codes are drawn by in place of `prior`, where that was fitted and is kept beside the weights.
            It is no part of the model, of its weights or of what its likelihood means.
    """

    Options: ClassVar[type[TrainingOptions]] = Options
    Sampling: ClassVar[type[SamplingOptions]] = SamplingOptions
    #: What `decode` says of a pixel: its value; the mean of what its 256 grey values are likely to be (`levels`); the
    #: odds that it is 1, learned from grey values (`odds`) or from images whose pixels were drawn as 0 or 1 with their
    #: grey values' odds (`bits`).
    pixels: Literal["value", "levels", "odds", "bits"] = "value"
    #: Whether a code is the noise itself, N(0, I), that the image is made of by a way that is gone back. All of it lies
    #: on a shell, to which the sampler brings sums and means of codes back; and no number of it is without use.
    codes_are_noise: ClassVar[bool] = False

    fitted: FittedPrior | None = None

    def __init__(self, image: ImageShape, options: Any):
        super().__init__(image, options)
        self.sampling = self.Sampling()

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] of the codes (B, latent_dim)."""

    @abstractmethod
    def prior(self, noise: Tensor) -> Tensor:
        """Codes (B, latent_dim) as the model's prior draws them, from N(0, I) noise of the same shape."""

    def fit_prior(self, batches: Iterable[Batch]) -> None:
        """Fit what `prior` needs to the training images, for a model whose training doesn't give it a prior."""

    def draw_by(self, fitted: FittedPrior | None) -> None:
        """Have new codes drawn by what was fitted to codes, or, by None, by the model's own prior."""
        object.__setattr__(self, "fitted", fitted)  # a module that were registered would be among the weights
