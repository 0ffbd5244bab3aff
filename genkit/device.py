"""Which device to compute on, and its random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from genkit.errors import UsageError


def pick(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises:
        UsageError: when a device that was asked for by name isn't there; nothing is silently substituted.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device: '{name}' is no device; give auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device: there is no {name} here ({torch.cuda.device_count()} CUDA devices); try --device auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device: there is no mps here; try --device auto")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"--device: '{name}' is not supported; give auto, cpu, cuda, cuda:1 or mps")
    return device


def describe(device: torch.device) -> str:
    """The device in words: "cuda (NVIDIA H100)", "cpu (8 threads)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads)"
    return str(device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from `seed`, on the CPU and on the device, and put the random generators back afterwards."""
    mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
    if mps_state is not None:  # fork_rng knows only the CPU and CUDA
        torch.mps.set_rng_state(mps_state)
