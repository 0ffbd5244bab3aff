"""Which device to compute on, its memory, and its random numbers."""

from __future__ import annotations

import ctypes
import os
import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from genkit.errors import UsageError
from genkit.wording import counted

#: Where Linux says what a container may take.
CGROUP = Path("/sys/fs/cgroup")


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


def memory_of(device: torch.device) -> int | None:
    """Bytes that a device has in all, used or not; None where that isn't known."""
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else all_memory()


def free_memory() -> int:
    """Bytes that this process can still take without pushing others out, as far as the system tells."""
    try:
        with Path("/proc/meminfo").open() as file:
            free = next(1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # no Linux
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        except (AttributeError, ValueError, OSError):
            return 4 << 30
    limit = container_limit()
    if limit is None:
        return free
    try:
        used = int((CGROUP / "memory.current").read_text())
        counts = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        # Files that were read are counted among what is used, and give way.
        return min(free, max(0, limit - used + int(counts.get("inactive_file", 0))))
    except (OSError, ValueError):
        return min(free, limit)


def all_memory() -> int | None:
    """Bytes that this process could ever have; None where the system doesn't tell."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    limit = container_limit()
    return there if limit is None else min(there, limit)


def container_limit() -> int | None:
    """Bytes that a container may take (Linux's control groups, version 2); None where there is no limit."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        return None if limit == "max" else int(limit)
    except (OSError, ValueError):
        return None
