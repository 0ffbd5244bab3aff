"""The contract between a model and everything else: loop, sampler, checkpoint, command line.

A model is one file with one subclass of `Model`, or of `GenerativeModel` where it makes images. The file's name is the
model's name on the command line, the first line of its docstring is its help, and its `Options` are its flags.
docs/adding-a-model.md begins with an empty folder; `genkit.testing` holds a model to what is written here.

What stands on torch is imported when it is first asked for: a command that refuses an option needs the options alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genkit.contract.defaults import Facts, Resolved
from genkit.contract.fault import Fault
from genkit.contract.options import (
    TRAINING_FIELDS,
    BatchSize,
    Beta1,
    Beta2,
    Ema,
    Epochs,
    Flips,
    GradClip,
    LatentDim,
    LearningRate,
    LrWarmup,
    Options,
    SamplingOptions,
    Schedule,
    TrainingOptions,
    WeightDecay,
    filled_in,
)
from genkit.contract.shape import ImageShape

if TYPE_CHECKING:
    from genkit.contract.batch import Batch
    from genkit.contract.condition import Condition
    from genkit.contract.model import GenerativeModel, Model
    from genkit.contract.phase import Phase, scalars

#: Name to the file of this folder that defines it, of all that stands on torch.
ON_TORCH = {
    "Batch": "batch",
    "Condition": "condition",
    "GenerativeModel": "model",
    "Model": "model",
    "Phase": "phase",
    "scalars": "phase",
}

__all__ = [
    "TRAINING_FIELDS",
    "Batch",
    "BatchSize",
    "Beta1",
    "Beta2",
    "Condition",
    "Ema",
    "Epochs",
    "Facts",
    "Fault",
    "Flips",
    "GenerativeModel",
    "GradClip",
    "ImageShape",
    "LatentDim",
    "LearningRate",
    "LrWarmup",
    "Model",
    "Options",
    "Phase",
    "Resolved",
    "SamplingOptions",
    "Schedule",
    "TrainingOptions",
    "WeightDecay",
    "filled_in",
    "scalars",
]


def __getattr__(name: str) -> Any:
    if name in ON_TORCH:
        return getattr(import_module(f"{__name__}.{ON_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
