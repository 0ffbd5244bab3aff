"""What makes a step fast and isn't the model's or the loop's business: precision and compilation.

Both wrap a phase's losses, so that the loop calls them as it calls any.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genkit.errors import UsageError
from genkit.model import Batch, Phase

if TYPE_CHECKING:
    from genkit.config import RunOptions

#: Steps from which `--compile auto` compiles on CUDA, where a phase takes up to a minute to compile and then saves in
#: the order of a millisecond a step: the launches of its kernels one by one.
LONG_RUN = 50_000

Losses = Callable[[Batch], dict[str, Tensor]]


def accelerated(phases: Sequence[Phase], device: torch.device, options: RunOptions, total_steps: int) -> list[Phase]:
    """The same phases, their losses computed as fast as the device and the options allow.

    On CUDA, products of float32 are computed in TF32 (10 bits of mantissa, sums in float32).

    Raises:
        UsageError: when compilation was asked for and there is no compiler.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if options.amp == "bf16":
        phases = [phase._replace(losses=in_bf16(phase.losses, device)) for phase in phases]
    if compiles(options.compile, device, total_steps):
        phases = [phase._replace(losses=compiled(phase.losses, device)) for phase in phases]
    return list(phases)


def described(options: RunOptions, device: torch.device, total_steps: int) -> str:
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
    if wanted == "on" and device.type == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UsageError("--compile on needs a C++ compiler (g++ or clang++) on the PATH; install one, or leave it out")
    return wanted == "on" or (wanted == "auto" and device.type == "cuda" and total_steps >= LONG_RUN)


def in_bf16(losses: Losses, device: torch.device) -> Losses:
    """Under torch's autocast: products and convolutions in bfloat16, sums, exponentials and losses in float32."""

    def cast(batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(device.type, torch.bfloat16):
            return {name: value.float() for name, value in losses(batch).items()}

    return cast


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
