"""How a model is trained, as options: each is written once, with its bounds, its default and its help.

Nothing here imports torch, for a flag that is refused needs none.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Self

from genkit.errors import UsageError
from genkit.wording import counted

#: The options that say how long a run is, of which one is given.
BUDGETS = ("epochs", "steps", "minutes")

#: Passes over the training images that a run has at most, and steps.
MAX_EPOCHS, MAX_STEPS = 100_000, 10**9

LatentDim = Annotated[int, Field(ge=1, le=65536, description="Numbers in a latent code.")]
Epochs = Annotated[int, Field(ge=1, le=MAX_EPOCHS, description="Passes over the training images.")]
Steps = Annotated[
    int | None,
    Field(
        ge=1,
        le=MAX_STEPS,
        description="Steps in all, in place of --epochs; the last pass over the images may be cut short.",
        json_schema_extra={"none": "as many as --epochs make"},
    ),
]
Minutes = Annotated[
    float | None,
    Field(
        gt=0,
        le=100_000,
        description="About how long the run takes from when its images are loaded, in place of --epochs: some steps "
        "are timed first, and so many are taken as fit.",
        json_schema_extra={"none": "as long as --epochs take"},
    ),
]
BatchSize = Annotated[int, Field(ge=1, le=65536, description="Images a training step.")]
LearningRate = Annotated[float, Field(gt=0, le=10, description="Peak learning rate.")]
Beta1 = Annotated[float, Field(ge=0, lt=1, description="AdamW's decay of the gradient's running mean.")]
Beta2 = Annotated[float, Field(ge=0, lt=1, description="AdamW's decay of the squared gradient's running mean.")]
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
Flips = Annotated[
    bool,
    Field(
        description="Mirror each training image left to right with odds of one half, afresh every epoch: twice as many "
        "images, where both ways round are as likely. Labels and attributes stay."
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
    steps: Steps = None
    minutes: Minutes = None
    passes: Annotated[float | None, filled_in("Passes over the training images that --steps make.")] = None
    batch_size: BatchSize = 128
    lr: LearningRate = 1e-3
    schedule: Schedule = "cosine"
    lr_warmup: LrWarmup = 0.5
    beta1: Beta1 = 0.9
    beta2: Beta2 = 0.999
    weight_decay: WeightDecay = 0.0
    grad_clip: GradClip = 0.0
    ema: Ema = 0.0
    flips: Flips = False

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Refuse a model whose own option has the name of another: what it means would decide how long a run is.

        Raises:
            TypeError
        """
        for name in ("epochs", "steps", "minutes", "passes"):
            ours, theirs = TrainingOptions.model_fields[name], cls.model_fields[name]
            if ours.annotation != theirs.annotation:
                raise TypeError(f"an option of its own is called {name}, as one that says how long to train; rename it")

    def share(self, epochs: float) -> float:
        """How much of the run so many epochs are, for a `Phase` that begins or ends after them: in [0, 1]."""
        return min(1.0, max(0.0, epochs / (self.passes or self.epochs)))

    def total_steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole run."""
        return self.epochs * steps_per_epoch if self.steps is None else self.steps

    def counted_in_epochs(self, steps_per_epoch: int) -> Self:
        """The same; where a run is planned in steps, with the passes and (begun) epochs that these make.

        Raises:
            UsageError: where they are more than a run can have.
        """
        if self.steps is None:
            return self
        passes = self.steps / steps_per_epoch
        if passes > MAX_EPOCHS:
            raise UsageError(
                f"--steps {self.steps}: a pass over the training images has {counted(steps_per_epoch, 'step')}, and a "
                f"run at most {MAX_EPOCHS:,} passes; give fewer --steps, or a smaller --batch-size"
            )
        return self.model_copy(update={"passes": passes, "epochs": math.ceil(passes)})

    @property
    def length(self) -> tuple[str, int]:
        """The option that says how long a run is, and its value."""
        return ("epochs", self.epochs) if self.steps is None else ("steps", self.steps)

    def optimizer(self) -> dict[str, Any]:
        """These options as the arguments of AdamW, for a `Phase`."""
        return {"lr": self.lr, "betas": (self.beta1, self.beta2), "weight_decay": self.weight_decay}


class SamplingOptions(BaseModel):
    """What a model can be told each time that it makes images, as the steps of a solver or the strength of guidance.

    A generative model's own `Sampling` inherits this and adds its fields, each with bounds, default and help as those
    of `Options`. `genkit sample RUN --set NAME=VALUE` and `genkit.load(…).sample(n, name=value)` set them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Options(TrainingOptions):
    """What every generative model can be told."""

    latent_dim: LatentDim = 32


#: The options that say how a model is trained; all others say what it is.
TRAINING_FIELDS = TrainingOptions.model_fields.keys()
