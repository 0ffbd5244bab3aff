"""The contract between a model and everything else: loop, sampler, checkpoint, command line.

A model is one file with one subclass of `Model`, or of `GenerativeModel` where it makes images. The file's name is the
model's name on the command line, the first line of its docstring is its help, and its `Options` are its flags.
docs/adding-a-model.md begins with an empty folder; `genkit.testing` holds a model to what is written here.
"""

from genkit.contract.batch import Batch
from genkit.contract.model import GenerativeModel, Model
from genkit.contract.options import (
    TRAINING_FIELDS,
    BatchSize,
    Beta1,
    Beta2,
    Ema,
    Epochs,
    GradClip,
    LatentDim,
    LearningRate,
    LrWarmup,
    Options,
    Schedule,
    TrainingOptions,
    WeightDecay,
    filled_in,
)
from genkit.contract.phase import Phase, scalars
from genkit.contract.shape import ImageShape

__all__ = [
    "TRAINING_FIELDS",
    "Batch",
    "BatchSize",
    "Beta1",
    "Beta2",
    "Ema",
    "Epochs",
    "GenerativeModel",
    "GradClip",
    "ImageShape",
    "LatentDim",
    "LearningRate",
    "LrWarmup",
    "Model",
    "Options",
    "Phase",
    "Schedule",
    "TrainingOptions",
    "WeightDecay",
    "filled_in",
    "scalars",
]
