"""What makes a step fast and isn't the model's or the loop's business: precision and compilation.

Both wrap a phase's losses, so that the loop calls them as it calls any.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor

from genkit.contract import Batch, Phase
from genkit.errors import UsageError

#: Steps from which `--compile auto` compiles on CUDA. Assumed, not measured: that a phase takes a minute to compile,
#: and that launching its kernels as one graph saves a millisecond a step.
LONG_RUN = 50_000


class Speed(Protocol):
    """The options of a run that are of this file: `keep.config.RunOptions`."""

    @property
    def amp(self) -> str: ...

    @property
    def compile(self) -> str: ...


Losses = Callable[[Batch], dict[str, Tensor]]


def accelerated(phases: Sequence[Phase], device: torch.device, options: Speed, total_steps: int) -> list[Phase]:
    """The same phases, their losses computed as fast as the device and the options allow.

    On CUDA, products of float32 are computed in TF32 (10 bits of mantissa, sums in float32).

    Raises:
        UsageError: when compilation was asked for and there is no compiler.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    compiling = compiles(options.compile, device, total_steps)
    for phase in phases if compiling else ():
        leave_uncompiled(phase.losses)
    if options.amp == "bf16":
        phases = [phase._replace(losses=in_bf16(phase.losses, device)) for phase in phases]
    if compiling:
        phases = [phase._replace(losses=compiled(phase.losses, device)) for phase in phases]
    return list(phases)


@contextmanager
def precision_kept() -> Iterator[None]:
    """Products in TF32 afterwards only if they were before: a run that is part of a measurement leaves it as it is."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def described(options: Speed, device: torch.device, total_steps: int) -> str:
    """What `accelerated` does, where it does something: ", in bf16, compiled …"."""
    precision = ", in bf16" if options.amp == "bf16" else ""
    if precision and device.type == "cpu":
        precision += " (which takes many times longer on a CPU that doesn't have it)"
    compilation = compiles(options.compile, device, total_steps)
    return precision + (", compiled before the first step, which may take minutes" if compilation else "")


def compiles(wanted: str, device: torch.device, total_steps: int) -> bool:
    """Whether to compile. On a CPU it gains next to nothing, so only where it is asked for.

    Raises:
        UsageError
    """
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")  # the one that torch calls
    if wanted == "on" and device.type == "cpu" and shutil.which(compiler) is None:
        raise UsageError(f"--compile on needs a C++ compiler, and {compiler} isn't on the PATH; install it, or set CXX")
    return wanted == "on" or (wanted == "auto" and total_steps >= LONG_RUN and compiles_well(device))


def compiles_well(device: torch.device) -> bool:
    """Whether what torch needs to compile for this device is there: a GPU of Volta's or later, Triton, a C compiler."""
    if device.type != "cuda" or torch.are_deterministic_algorithms_enabled():  # kernels are chosen by their timing
        return False
    has_compiler = any(shutil.which(name) for name in (os.environ.get("CC") or "gcc", "clang"))
    return has_compiler and find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= (7, 0)


def in_bf16(losses: Losses, device: torch.device) -> Losses:
    """Under torch's autocast: products and convolutions in bfloat16, what the losses are made of in float32.

    The latter because the models give posteriors and logits the type of the images.
    """

    def cast(batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(device.type, torch.bfloat16):
            return {name: value.float() for name, value in losses(batch).items()}

    return cast


def leave_uncompiled(losses: Losses) -> None:
    """Have torch's compiler pass over the methods of their model that are marked so (`contract.phase.uncompiled`)."""
    model = getattr(losses, "__self__", None)
    for name in dir(type(model)):
        if getattr(getattr(type(model), name, None), "stays_uncompiled", False):
            setattr(model, name, torch.compiler.disable(getattr(model, name)))


def compiled(losses: Losses, device: torch.device) -> Losses:
    """By torch.compile; on CUDA forward and backward pass are one captured graph each.

    Noise is drawn as without compilation, so that both train alike and a resumed run goes on with the same numbers.
    """
    import torch._inductor.config

    torch._inductor.config.fallback_random = True
    fast = torch.compile(losses, mode="reduce-overhead" if device.type == "cuda" else "default", dynamic=False)

    def run(batch: Batch) -> dict[str, Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's of itself
            # A captured graph writes its next results where the last ones lie, and a metric is read much later.
            return {name: value.clone() for name, value in fast(batch).items()}

    return run
