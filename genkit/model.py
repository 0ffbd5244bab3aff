"""The contract between a model and everything else: loop, sampler, checkpoint, command line.

A model is one file in `genkit/models/` with one subclass of `Model`, or of `GenerativeModel` where it makes images;
nothing else is touched. The file's name is the model's name on the command line, the first line of its docstring is its
help, and its `Options` are its flags.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

if TYPE_CHECKING:
    from genkit.data.dataset import Dataset


class ImageShape(NamedTuple):
    """The shape of one image. Any height and width, and 1 or 3 channels, are normal cases."""

    channels: int
    height: int
    width: int

    @property
    def numbers(self) -> int:
        """How many numbers one image holds, channels counted."""
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"{self.channels}×{self.height}×{self.width}"


class Batch(NamedTuple):
    """What one step of training or evaluation sees, all on the model's device."""

    images: Tensor  # (B, C, H, W) float in [0, 1]
    labels: Tensor | None  # (B,) int64
    epoch: Tensor  # () float: passes over the training data so far, for warm-ups; infinite in evaluation
    attributes: Tensor | None = None  # (B, A) bool
    earlier: Mapping[str, Tensor] = {}  # what the step's earlier phases hand to this one, detached

    def after(self, losses: Mapping[str, Tensor]) -> Batch:
        """What the next phase of the step sees: this, and what the phase that returned these losses hands on."""
        handed_on = {name: value.detach() for name, value in losses.items() if value.ndim}
        return self._replace(earlier={**self.earlier, **handed_on}) if handed_on else self


class Phase(NamedTuple):
    """One optimiser's share of a training step."""

    name: str  # prefix of its metrics: "critic" gives "critic/loss", "" gives "loss"
    module: nn.Module  # the only parameters that this phase may move
    #: Scalars, averaged over the batch: "loss" is minimised, all are logged. What isn't a scalar isn't logged: the
    #: step's later phases find it in `Batch.earlier`.
    losses: Callable[[Batch], dict[str, Tensor]]
    optimizer: dict[str, Any]  # arguments of torch.optim.AdamW: lr, betas, weight_decay


def scalars(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of what a phase's losses return, the part that is logged."""
    return {name: value for name, value in losses.items() if value.ndim == 0}


LatentDim = Annotated[int, Field(ge=1, le=65536, description="Numbers in a latent code.")]
Epochs = Annotated[int, Field(ge=1, le=100_000, description="Passes over the training images.")]
BatchSize = Annotated[int, Field(ge=1, le=65536, description="Images a training step.")]
LearningRate = Annotated[float, Field(gt=0, le=10, description="Adam's peak learning rate.")]
Beta1 = Annotated[float, Field(ge=0, lt=1, description="Adam's decay of the gradient's running mean.")]
Beta2 = Annotated[float, Field(ge=0, lt=1, description="Adam's decay of the squared gradient's running mean.")]
WeightDecay = Annotated[float, Field(ge=0, le=10, description="Decoupled weight decay, as in AdamW.")]
Schedule = Annotated[
    Literal["constant", "cosine"], Field(description="Learning rate after the warm-up: held, or a half cosine to 0.")
]
LrWarmup = Annotated[
    float, Field(ge=0, le=100_000, description="Epochs over which the learning rate rises linearly from 0.")
]
GradClip = Annotated[float, Field(ge=0, description="Largest gradient norm of a phase; 0 doesn't clip.")]
Ema = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="Decay of the weights' moving average that validation and sampling use; 0 keeps none.",
    ),
]


def filled_in(description: str) -> Any:
    """The field of an option that is no flag: the data or another run says what it is."""
    return Field(description=description, json_schema_extra={"flag": False})


class TrainingOptions(BaseModel):
    """How a model is trained. A model's own `Options` inherits these, changes defaults and adds its own.

    Every field becomes, by itself, a flag with help and bounds, a key of the config file and a part of the checkpoint.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: Epochs = 20
    batch_size: BatchSize = 128
    lr: LearningRate = 1e-3
    schedule: Schedule = "cosine"
    lr_warmup: LrWarmup = 0.5
    beta1: Beta1 = 0.9
    beta2: Beta2 = 0.999
    weight_decay: WeightDecay = 0.0
    grad_clip: GradClip = 0.0
    ema: Ema = 0.0

    def optimizer(self) -> dict[str, Any]:
        """These options as the arguments of torch.optim.AdamW, for a `Phase`."""
        return {"lr": self.lr, "betas": (self.beta1, self.beta2), "weight_decay": self.weight_decay}


class Options(TrainingOptions):
    """What every generative model can be told."""

    latent_dim: LatentDim = 32


#: The options that say how a model is trained; all others say what it is.
TRAINING_FIELDS = TrainingOptions.model_fields.keys()


class Model(nn.Module, ABC):
    """What can be trained.

    Args:
        image: the shape of the images that it is built for.
        options: an instance of this class's own `Options`.
    """

    Options: ClassVar[type[TrainingOptions]] = TrainingOptions
    #: The validation metric that picks the best checkpoint, lower is better: one that a phase logs, or one of
    #: `evaluate.validation.SAMPLE_METRICS`.
    monitor: str = "loss"

    def __init__(self, image: ImageShape, options: Any):
        super().__init__()
        self.image = image
        self.options = options

    @abstractmethod
    def phases(self) -> Sequence[Phase]:
        """The training step, in order: one phase for an autoencoder; generator, then critic, for a GAN."""

    def watch(self, history: Sequence[Mapping[str, float]]) -> dict[str, str]:
        """What has gone wrong in training, short of numbers that aren't finite.

        Args:
            history: the metrics of each validation so far, the newest last; at least one.

        Returns:
            The field's name for each fault ("posterior collapse"), with what shows it and what usually helps.
        """
        return {}

    def features(self, images: Tensor) -> Tensor:
        """What stands for an image (B, C, H, W) when images are compared or plotted: (B, F), by default its code."""
        if isinstance(self, Encodes):
            return self.encode(images)
        raise NotImplementedError(f"{type(self).__name__} neither encodes images nor defines features")

    def representation(self, images: Tensor) -> Tensor:
        """What a classifier is given to tell images (B, C, H, W) apart: (B, F), by default their `features`."""
        return self.features(images)

    def keep_features(self) -> None:
        """Drop what `features` doesn't need, for a model that goes on as a part of another; by default nothing."""

    def begin_at(self, mean: Tensor) -> None:
        """Begin with what can be read off the training images, their mean (C, H, W) in [0, 1]; by default nothing.

        Called once, before the first step of a run that doesn't begin with another's weights. A model that makes images
        may make the mean one from the start, and so needn't first learn it.
        """

    @classmethod
    def options_for(cls, options: Any, dataset: Dataset) -> Any:
        """The options with what only the images can say, before a new run is made; by default as they are.

        Raises:
            DataError, UsageError: where the model can't be trained on them.
        """
        return options

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
    """A latent space and the way from it to images."""

    Options: ClassVar[type[TrainingOptions]] = Options
    #: What `decode` says of a pixel: its value; the odds that it is 1, learned from grey values (`odds`) or from images
    #: whose pixels were drawn as 0 or 1 with their grey values' odds (`bits`).
    pixels: Literal["value", "odds", "bits"] = "value"

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] of the codes (B, latent_dim)."""

    @abstractmethod
    def prior(self, noise: Tensor) -> Tensor:
        """Codes (B, latent_dim) as the model's prior draws them, from N(0, I) noise of the same shape."""

    def fit_prior(self, batches: Iterable[Batch]) -> None:
        """Fit what `prior` needs to the training images, for a model whose training doesn't give it a prior."""


@runtime_checkable
class Encodes(Protocol):
    """A model that finds an image's code by itself. Autoencoders and VAEs do; a GAN simply lacks the method."""

    def encode(self, images: Tensor) -> Tensor:
        """Codes (B, latent_dim) of images (B, C, H, W) in [0, 1]; of a distribution over codes, its mean."""
        ...


@runtime_checkable
class Classifies(Protocol):
    """A model that tells classes or attributes. Its `options` have how many classes there are, or which attributes."""

    options: Any

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, classes or attributes) of images (B, C, H, W) in [0, 1]."""
        ...

    def probabilities(self, images: Tensor) -> Tensor:
        """Of each class, (B, classes); or of each attribute in `options.attributes`, (B, attributes)."""
        ...


@runtime_checkable
class Likelihood(Protocol):
    """A model that says how likely an image is given its code, and where its code lies: a VAE."""

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the diagonal Gaussian q(z|x) of images (B, C, H, W): two of (B, latent_dim)."""
        ...

    def log_likelihood(self, z: Tensor, images: Tensor) -> Tensor:
        """ln p(x|z) in nats, summed over pixels, of images (B, C, H, W) under K codes (B, K, latent_dim) each: (B, K).

        The prior of the codes is N(0, I).
        """
        ...
