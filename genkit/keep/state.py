"""What only training needs, as flat, named tensors: optimisers, random generators, metrics that aren't logged yet."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from genkit.step.training import UNNAMED, TrainingState


def pending_tensors(pending: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With their order, which safetensors doesn't keep: `pending/0/loss`."""
    return {f"pending/{index}/{name}": value for index, (name, value) in enumerate(pending.items())}


def restore_pending(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Raises ValueError where they aren't as many of each."""
    found = {}
    for key, value in part_of(tensors, "pending").items():
        index, _, name = key.partition("/")
        found[int(index)] = (name, value)
    if any(value.dtype != torch.float32 or value.ndim != 1 for _, value in found.values()) or (
        len({len(value) for _, value in found.values()}) > 1
    ):
        raise ValueError("the metrics that aren't logged yet aren't as many of each")
    return dict(found[index] for index in sorted(found))


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`/, without it."""
    return {name.removeprefix(f"{prefix}/"): each for name, each in tensors.items() if name.startswith(f"{prefix}/")}


def optimizer_tensors(state: TrainingState) -> dict[str, Tensor]:
    """The optimisers' state: `optimizer/critic/3/exp_avg` is of the critic's fourth parameter."""
    return {
        f"optimizer/{phase.name or UNNAMED}/{index}/{name}": value
        for phase, optimizer in zip(state.phases, state.optimizers, strict=True)
        for index, values in optimizer.state.items()
        for name, value in values.items()
    }


def restore_optimizers(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    """Give each parameter what its optimiser remembers of it.

    The fused kernel trusts the sizes: it would read and write beyond a moment that is smaller than its parameter.

    Raises:
        ValueError: when there are others than the parameters', or of another shape or type.
    """
    for phase, optimizer in zip(state.phases, state.optimizers, strict=True):
        found = part_of(tensors, f"optimizer/{phase.name or UNNAMED}")
        remembered: dict[int, dict[str, Tensor]] = {}
        for index, parameter in enumerate(optimizer.parameters):
            own = {name.partition("/")[2]: each for name, each in found.items() if name.startswith(f"{index}/")}
            if not own:
                continue  # of the first step, or a parameter that no loss depends on
            fresh = optimizer.fresh_state(parameter)
            expected = {name: value.shape for name, value in fresh.items()}
            if {name: value.shape for name, value in own.items()} != expected or any(
                value.dtype != torch.float32 for value in own.values()
            ):
                raise ValueError(f"the optimiser's state of parameter {index} isn't of its shape and type")
            for name in own:
                fresh[name].copy_(found.pop(f"{index}/{name}"))
            remembered[index] = fresh
        if found:
            raise ValueError(f"the optimiser has a state of {min(found)}, which is no parameter")
        optimizer.state = remembered


def random_tensors(device: torch.device | None = None) -> dict[str, Tensor]:
    """The state of every random generator that a model may draw from: torch's on each device, NumPy's and Python's.

    Args:
        device: the only one that is this process's, where several train together.
    """
    _, numpy_key, numpy_place, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc]
    _, python_state, python_gauss = random.getstate()
    states = {
        "random/cpu": torch.get_rng_state(),
        "random/numpy": torch.tensor([*map(int, numpy_key), numpy_place, has_gauss], dtype=torch.int64),
        "random/numpy-gauss": torch.tensor(gauss, dtype=torch.float64),
        "random/python": torch.tensor(python_state, dtype=torch.int64),
        "random/python-gauss": torch.tensor(
            float("nan") if python_gauss is None else python_gauss, dtype=torch.float64
        ),
    }
    # Asked for only where CUDA is in use: to ask is to start it, which takes memory on every device.
    if torch.cuda.is_initialized() and device is not None:
        states["random/cuda/0"] = torch.cuda.get_rng_state(device)
    elif torch.cuda.is_initialized():
        states |= {f"random/cuda/{index}": value for index, value in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        states["random/mps"] = torch.mps.get_rng_state()
    return states


def restore_random(tensors: Mapping[str, Tensor], device: torch.device | None = None) -> None:
    """The way back from `random_tensors`. Raises ValueError or RuntimeError where a state isn't one."""
    states = part_of(tensors, "random")
    torch.set_rng_state(states["cpu"])
    *numpy_key, numpy_place, has_gauss = states["numpy"].tolist()
    if not 0 <= numpy_place <= 624 or len(numpy_key) != 624:  # NumPy itself would read beyond its memory
        raise ValueError("the state of NumPy's random generator is none")
    np.random.set_state(
        ("MT19937", np.array(numpy_key, np.uint32), numpy_place, has_gauss, float(states["numpy-gauss"]))
    )
    python_gauss = float(states["python-gauss"])
    random.setstate((3, tuple(states["python"].tolist()), None if python_gauss != python_gauss else python_gauss))
    if torch.cuda.is_initialized() and device is not None:
        if "cuda/0" in states:
            torch.cuda.set_rng_state(states["cuda/0"], device)
    elif torch.cuda.is_initialized():
        for index, value in part_of(states, "cuda").items():
            if int(index) < torch.cuda.device_count():
                torch.cuda.set_rng_state(value, int(index))
    if torch.backends.mps.is_available() and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
