"""Which device to compute on, and its random numbers."""

from __future__ import annotations

import ctypes
import os
import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from genkit.errors import UsageError
from genkit.wording import counted


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
        threads = torch.get_num_threads()
        return f"cpu ({counted(threads, 'thread')})"
    return str(device)


def seed_everything(seed: int) -> None:
    """Seed every generator that a model may draw from: torch's on all devices, NumPy's and Python's."""
    torch.manual_seed(seed)
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))
    random.seed(seed)


def make_deterministic(wanted: bool) -> None:
    """Ask torch for the same bits every time also where that costs speed, or is an error for want of such an algorithm.

    The CPU's algorithms are so anyway, for a given number of threads. cuBLAS needs its variable before it starts.
    """
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if wanted != torch.are_deterministic_algorithms_enabled():  # else the call imports torch's compiler for nothing
        torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step instead of giving it back to the kernel.

    Every step allocates the same large activations again. By default each comes from the kernel, page by page: some
    10,000 page faults a step in a convolutional net, for up to a third of the step's time.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, mmap_threshold = -1, -3  # their numbers in malloc.h
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25)  # older versions take at most 32 MiB


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from `seed`, whatever the generator, and put all generators back afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            seed_everything(seed)
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if mps_state is not None:  # fork_rng knows only the CPU and CUDA
            torch.mps.set_rng_state(mps_state)
