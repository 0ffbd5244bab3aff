"""Training in several processes at once, on several GPUs or machines. torchrun starts them; this is what they share.

The loop knows nothing of it. Each process takes its share of every batch, and what is distributed is the `losses` of a
phase: wrapped in DistributedDataParallel, they are one forward and one backward a step, however often the model calls
its nets in between, and the gradients of `phase.module` come out averaged over the processes.

Of these, the one of rank 0 leads: it alone writes, draws, validates and speaks. The others follow it.
"""

from __future__ import annotations

import inspect
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor, nn

from genkit import device
from genkit.contract import Batch, Model, Phase
from genkit.errors import GenkitError, UsageError, in_one_line

logger = logging.getLogger("genkit")

#: What torchrun sets.
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
#: How long a process waits for another. The leader may validate for hours, and torchrun ends those that wait in vain.
PATIENCE = timedelta(days=7)
#: How long a process that has failed waits for the leader, which may have failed for the same reason and say so.
COURTESY = timedelta(seconds=10)

T = TypeVar("T")


class Team:
    """The processes that train one model together, as one of them sees them; by default it is alone.

    Every method with "all call it" in its description is one where each process waits for the others.

    Attributes:
        device: this process's own.
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number among those of its machine.
    """

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1, local_rank: int = 0):
        self.device = device
        self.rank = rank
        self.size = size
        self.local_rank = local_rank

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def own_device(self) -> torch.device | None:
        """The one device whose random generator is this process's, if there are several processes."""
        return None if self.size == 1 else self.device

    def normalising(self, model: Model) -> Model:
        """The model, normalising by the statistics of the whole batch on CUDA; torch can do so nowhere else."""
        if self.size > 1 and self.device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def distribute(self, phases: Sequence[Phase]) -> list[Phase]:
        """The same phases with losses that are of this process's share, and gradients that are of the whole batch.

        All call it; they then have the leader's weights.
        """
        return list(phases) if self.size == 1 else [phase._replace(losses=in_parallel(phase)) for phase in phases]

    def seed_noise(self, seed: int, step: int = 0) -> None:
        """Have a follower draw other noise than the leader, which goes on with the generators as they are."""
        if not self.leads:
            sequence = np.random.SeedSequence(seed, spawn_key=(self.rank, step))
            device.seed_everything(int(sequence.generate_state(1, np.uint64)[0] >> 1))

    def agree(self, stop: Sequence[int], wish: bool) -> tuple[list[int], bool]:
        """A signal that any process has received, if one has, and whether any has a wish. All call it."""
        if self.size == 1:
            return list(stop), wish
        flags = torch.tensor([max(stop, default=0), wish])
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        received, wished = flags.tolist()
        return [received] if received else [], bool(wished)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes of values on the CPU, float32, of any shape. All call it.

        Taken in double precision, so that the mean of equal values is that value.
        """
        if self.size == 1:
            return values
        total = values.double()
        dist.all_reduce(total)
        return (total / self.size).to(values.dtype)

    def from_leader(self, number: int) -> int:
        """The leader's number. All call it."""
        if self.size == 1:
            return number
        value = torch.tensor(number)
        dist.broadcast(value, 0)
        return int(value)

    def gather(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """The named tensors of every process, by rank, for the leader; nothing for the others. All call it.

        They travel as the bytes of a safetensors file, so that nothing is pickled.
        """
        if self.size == 1:
            return [dict(tensors)]
        own = torch.frombuffer(bytearray(save(dict(tensors))), dtype=torch.uint8)
        lengths = [torch.zeros((), dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor(len(own)))
        longest = int(max(lengths))
        padded = torch.cat([own, own.new_zeros(longest - len(own))])
        received = [torch.empty_like(padded) for _ in range(self.size)] if self.leads else None
        dist.gather(padded, received)
        pairs = zip(received or [], lengths, strict=False)
        return [load(content[: int(length)].numpy().tobytes()) for content, length in pairs]

    def one_a_machine_first(self, action: Callable[[], T]) -> T:
        """What `action` returns, in each process; one of each machine goes first, and makes what the others find.

        All call it.
        """
        if self.size == 1:
            return action()
        result = action() if self.local_rank == 0 else None
        self.wait()
        return action() if result is None else result

    def wait(self) -> None:
        """Until all processes have come here. All call it."""
        if self.size > 1:
            dist.all_reduce(torch.zeros(1))

    def leader_ends(self) -> bool:
        """Wait for the leader to end, which closes its connection; False if it goes on."""
        began = time.monotonic()
        with suppress(RuntimeError):  # both of a connection that is closed and of a time that is up
            work = dist.irecv(torch.zeros(1), src=0)
            if work is not None:
                work.wait(COURTESY)
        return time.monotonic() - began < COURTESY.total_seconds()


class Share(nn.Module):
    """A phase's losses as the forward of a module that owns what the phase moves: what DistributedDataParallel wraps.

    A net of the model that is wrapped itself could run only once before each backward, where a critic runs twice.
    """

    def __init__(self, phase: Phase):
        super().__init__()
        self.module = phase.module
        self.losses = phase.losses

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        # Only the loss is differentiated: gradients that another output would have are not waited for.
        return {name: value if name == "loss" else value.detach() for name, value in self.losses(batch).items()}


def in_parallel(phase: Phase) -> nn.parallel.DistributedDataParallel:
    """The phase's losses; a backward through them averages the gradients of its module over the processes.

    Buffers stay each process's own: to copy them in between would change a batchnorm's in the middle of a step.
    """
    wrapper: Any = nn.parallel.DistributedDataParallel
    known = inspect.signature(wrapper).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # torch < 2.13
    phase.module.requires_grad_(True)  # only such parameters are looked after, though the loop freezes them again
    # Looked for are also the parameters that no loss depends on. It keeps torch from regrouping the gradients after the
    # first step, too, with which the sums of three and more would round differently in a run that was resumed.
    parallel = wrapper(Share(phase), find_unused_parameters=True, **{buffers: False})
    phase.module.requires_grad_(False)
    return parallel


@contextmanager
def joined(device_name: str) -> Iterator[Team]:
    """The team that torchrun has put this process in; alone where it hasn't.

    Inside, a follower logs nothing, and its errors lose their message where the leader fails too, and so has said it.

    Args:
        device_name: as in `device.pick`.

    Raises:
        UsageError: when the device isn't one for several processes.
        GenkitError: when another process has ended.
    """
    size = int(os.environ.get("WORLD_SIZE") or 1)
    if size == 1:
        yield Team(device.pick(device_name))
        return
    if missing := [name for name in VARIABLES if name not in os.environ]:
        raise UsageError(
            f"WORLD_SIZE is {size} without {', '.join(missing)}; start several processes with torchrun, or unset it"
        )
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    team = Team(own_device(device_name, local_rank), rank, size, local_rank)
    meet(team)
    level = logger.level
    if not team.leads:
        logger.setLevel(logging.CRITICAL)
    try:
        with lost_process():
            yield team
            team.wait()
        dist.destroy_process_group()
    except GenkitError as error:
        if not team.leads and not isinstance(error, LostProcessError) and team.leader_ends():
            error.args = ("",)
        raise
    finally:
        logger.setLevel(level)


def meet(team: Team) -> None:
    """Connect the processes. A signal ends the wait for the others, which torch by itself wouldn't notice.

    Raises:
        GenkitError: when they don't come together.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        backend = "cpu:gloo,cuda:nccl" if team.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE, rank=team.rank, world_size=team.size)
        team.wait()
    except RuntimeError as error:
        address = ":".join(os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise GenkitError(f"the processes couldn't meet at {address}: {in_one_line(error)}") from error
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def leads() -> bool:
    """Whether this process is the one that speaks, before there is a team."""
    return os.environ.get("RANK", "0") == "0" or int(os.environ.get("WORLD_SIZE") or 1) == 1


def own_device(name: str, local_rank: int) -> torch.device:
    """The device of that name for one of several processes of a machine.

    Raises:
        UsageError: when there are fewer GPUs than processes, or the device can't be divided.
    """
    picked = device.pick(name)
    if picked.type == "cpu":
        return picked
    if picked.type != "cuda":
        raise UsageError(f"--device: several processes can't share {picked}; give cpu, or start a single one")
    if picked.index is not None:
        raise UsageError(f"--device: each process takes a GPU of its own, so give cuda, not {picked}")
    if local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"--device: there are {torch.cuda.device_count()} GPUs here for more processes than that; "
            "give torchrun as many with --nproc-per-node"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


class LostProcessError(GenkitError):
    """Another process of the team has ended before its time."""


@contextmanager
def lost_process(run: Path | None = None) -> Iterator[None]:
    """One line where another process has ended, in place of the error of whatever this one was waiting in."""
    if not dist.is_initialized():
        yield
        return
    try:
        yield
    except RuntimeError as error:
        said = str(error).lower()
        if not isinstance(error, dist.DistError) and "connection" not in said and "gloo" not in said:
            raise
        advice = "" if run is None else f"; then go on with genkit train --resume {run}"
        raise LostProcessError(
            "another process of this training has ended, and so this one does; what it says, or torchrun of it, tells "
            f"why{advice}"
        ) from error
