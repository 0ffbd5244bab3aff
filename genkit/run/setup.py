"""All that a run is made of before its next step: images in batches, model, optimisers, weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from genkit import device
from genkit.data.batches import TrainingBatches
from genkit.data.dataset import Dataset
from genkit.errors import CheckpointError, UnreadableError
from genkit.keep import checkpoint
from genkit.keep.config import Config
from genkit.keep.rundir import RunDirectory
from genkit.run.beginning import Beginning, measure
from genkit.run.ledger import Ledger
from genkit.run.preparation import build, load_weights, require_equal_shares, require_unedited
from genkit.step.accelerate import accelerated
from genkit.step.distributed import Team
from genkit.step.training import TrainingState
from genkit.wording import counted

logger = logging.getLogger("genkit")


class Setup:
    """What a process trains with, alone or as one of several.

    Attributes:
        config, dataset, team: what it was made of.
        where: the device.
        data_digest, beside_digest: `Dataset.digest`, and that of the second set, "" where there is none.
        batches: of the training images.
        total_steps: of the run.
        state: what the steps change.
        ledger: of the metrics; those that weren't logged are restored with the weights.
        seconds: that training has taken so far.
        lowest, lowest_epoch, stale: the lowest value of the metric that the run is monitored by, the epoch that came to
            it, and from there to the last validation.
        restored_step: at which the run goes on; None where it begins.
        begun_with: the names of those weights with which it begins as another run's.

    Raises:
        UsageError: when the model can't be trained so.
    """

    def __init__(self, config: Config, dataset: Dataset, team: Team):
        options, seed = config.options, config.run.seed
        self.config, self.dataset, self.data_digest = config, dataset, dataset.digest()
        self.beside_digest = "" if dataset.beside is None else dataset.beside.digest()
        self.team, self.where = team, team.device
        device.make_deterministic(config.run.deterministic)
        device.keep_freed_memory()
        device.seed_everything(seed)
        require_equal_shares(config, dataset, team.size)
        model = team.normalising(build(config, dataset, team.size))
        # Convolutions take less time where the channels of a pixel lie side by side: up to a third on a CPU.
        model.to(self.where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        beside = dataset.beside_split("train")
        self.batches = TrainingBatches(
            dataset.train, options.batch_size, seed, self.where, team.rank, team.size, beside, options.flips
        )
        team.seed_noise(seed)
        self.total_steps = options.total_steps(len(self.batches))
        self.state = TrainingState(model, self.total_steps, len(self.batches))
        self.state.phases = accelerated(self.state.phases, self.where, config.run, self.total_steps)
        self.ledger = Ledger(team, config.run.log_every, len(self.batches))
        self.seconds = 0.0
        self.lowest: float | None = None
        self.lowest_epoch = self.stale = 0
        self.restored_step: int | None = None
        self.begun_with: frozenset[str] = frozenset()

    def take_initial_weights(self) -> None:
        """Those of `init_from`, if that is given; else what a look at the training images says of them.

        Raises:
            CheckpointError: when they are gone or damaged.
            UsageError: when they don't fit.
        """
        if self.config.run.init_from is not None:
            source = checkpoint.read(Path(self.config.run.init_from))
            self.begun_with = load_weights(self.state.model, source, self.dataset)
        else:
            self.state.model.begin_with(Beginning(self.dataset.train, self.config.run.seed, self.config.options.flips))
        beside = self.dataset.beside_split("train")
        measure(self.state.model, self.dataset.train, self.where, self.config.run.seed, beside)
        if self.state.averaged is not None:
            self.state.averaged.load_state_dict(self.state.model.state_dict())

    def restore(self, directory: RunDirectory) -> None:
        """Take over the state of the newest whole checkpoint; damaged ones are put aside with a warning. All call it.

        Raises:
            CheckpointError
        """
        if self.team.leads:
            restored = self.restore_newest(directory, directory.checkpoints)
            self.team.from_leader(self.state.step if restored else -1)
        else:
            step = self.team.from_leader(-1)
            restored = step >= 0 and self.restore_newest(directory, [directory.checkpoint_path(step)])
        if not restored:
            self.take_initial_weights()

    def restore_newest(self, directory: RunDirectory, checkpoints: Sequence[Path]) -> bool:
        """Take over the state of the last of these that is whole; False where there is none.

        Raises:
            CheckpointError
        """
        damaged: list[Path] = []
        for path in reversed(checkpoints):
            try:
                self.restore_from(path, directory)
            except DamagedError as error:
                if path == checkpoints[0]:
                    raise directory.none_whole(error) from error
                logger.warning("%s; going on from the checkpoint before it", error)
                damaged.append(path)
                continue
            for each in damaged:
                logger.warning("it is kept as %s", directory.set_aside(each))
            return True
        return False

    def restore_from(self, path: Path, directory: RunDirectory) -> None:
        """Take over the state of one checkpoint.

        Raises:
            DamagedError: when it is damaged.
            CheckpointError: when it may not be read, isn't of these images, or not of what config.json says.
        """
        require_unedited(self.config, path, directory)
        try:
            about, pending = checkpoint.restore(path, self.state, self.team.rank, self.team.own_device)
        except UnreadableError:
            raise
        except CheckpointError as error:
            raise DamagedError(str(error)) from error
        second = self.dataset.beside
        if about.data_digest != self.data_digest or about.beside_digest != self.beside_digest:
            altered = self.dataset if about.data_digest != self.data_digest or second is None else second
            raise CheckpointError(
                f"{path}: the images of {altered.name} aren't those that the run was trained on, or were divided "
                "otherwise then (by an earlier version, if there are many copies of one or rare classes); bring them "
                f"back (--dataset names another place), or start a new run with --init-from {directory.path}"
            )
        try:
            self.ledger.restore({name: values.to(self.where) for name, values in pending.items()})
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        if about.processes != self.team.size:
            logger.warning(
                "the run goes on with %s, from a checkpoint of %d: the order of the images stays, but "
                "the noise that further steps draw is other, and so is rounding",
                counted(self.team.size, "process"),
                about.processes,
            )
        if self.team.rank >= about.processes:
            self.team.seed_noise(self.config.run.seed, self.state.step)
        self.seconds, self.lowest, self.stale = about.seconds, about.lowest, about.stale
        # Earlier versions don't say it, which validated every epoch.
        before = self.state.step // len(self.batches) - about.stale
        self.lowest_epoch = before if about.lowest_epoch is None else about.lowest_epoch
        self.restored_step = self.state.step


class DamagedError(CheckpointError):
    """A checkpoint that can't be read; another may stand in for it."""
