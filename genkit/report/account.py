"""What is known of a run, read from its folder once: each part, or why it isn't there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from genkit.contract import GenerativeModel, Model, ability
from genkit.data.dataset import Dataset
from genkit.errors import CheckpointError, GenkitError, UsageError, in_one_line
from genkit.files import from_json, read_plain, sha256_of
from genkit.keep import config
from genkit.keep.checkpoint import Checkpoint
from genkit.keep.config import Config
from genkit.keep.description import MANIFEST, Description
from genkit.keep.rundir import RunDirectory
from genkit.report import evaluations, history
from genkit.report.blocks import Missing, last_part, without_folders
from genkit.report.evaluations import Evaluation, On
from genkit.report.history import History
from genkit.run import record

#: Why a checkpoint by itself has no curves and the like.
ALONE = "this is a checkpoint by itself, without its run"


@dataclass(frozen=True)
class Account:
    """A run and its best checkpoint, or another that was asked for.

    Attributes:
        name: of the run, for people.
        path: what opens it: the run's folder, or the checkpoint's where it isn't the run's best.
        run: the run's folder, or None.
        checkpoint: the checkpoint's folder.
        digest: SHA-256 of its manifest.
        model: in evaluation mode, on `device`.
        dataset: the images that it was trained on.
        environment: where it was trained.
        evaluations: of this checkpoint, the newest first.
    """

    name: str
    path: Path
    run: Path | None
    checkpoint: Path
    digest: str
    description: Description
    model: Model
    device: torch.device
    dataset: Dataset | Missing
    config: Config | Missing
    environment: dict[str, Any] | Missing
    history: History | Missing
    evaluations: list[Evaluation] | Missing

    @property
    def which(self) -> str:
        """What to call the checkpoint: "best", or "this" where the run opens with another."""
        return "best" if self.path == self.run else "this"

    @property
    def kind(self) -> str:
        """The model's name: `vae`."""
        return self.description.model

    @property
    def generator(self) -> GenerativeModel:
        """The model, for what needs its images.

        Raises:
            UsageError: when it makes none.
        """
        if not ability.generates(self.model):
            raise UsageError(f"a {self.kind} makes no images")
        return self.model

    @property
    def weights(self) -> int:
        return sum(each.numel() for each in self.model.parameters())

    @property
    def own_evaluation(self) -> Evaluation | None:
        """The newest by images of the set that it was trained on, if there is one."""
        found = [] if isinstance(self.evaluations, Missing) else self.evaluations
        about = self.description

        def own(on: On) -> bool:
            if on.data_digest and about.data_digest:
                return on.data_digest == about.data_digest
            return on.dataset == about.data.dataset

        return next((each for each in found if own(each.on)), None)

    def epoch_of(self, step: int) -> float:
        """How many passes over the images a number of steps is."""
        return step * self.description.epoch / max(1, self.description.step)


def read(
    name: str, checkpoint: Checkpoint, run: Path | None, device: torch.device, load: Callable[[], Dataset]
) -> Account:
    """All there is to know of a run whose checkpoint has been opened; `load` gives the images if it can."""
    dataset = images_of(checkpoint.description, load)
    total = sha256_of(checkpoint.path / MANIFEST)
    alone = Missing(ALONE)
    best = run is not None and RunDirectory(run).by_merit()[0] == checkpoint.path
    return Account(
        name,
        run if run is not None and best else checkpoint.path,
        run,
        checkpoint.path,
        total,
        checkpoint.description,
        checkpoint.model,
        device,
        dataset,
        alone if run is None else read_config(run),
        alone if run is None else read_environment(run),
        alone if run is None else history.read(run),
        alone if run is None else evaluations.read(run, total),
    )


def images_of(description: Description, load: Callable[[], Dataset]) -> Dataset | Missing:
    try:
        dataset = load()
        same = dataset.digest() == description.data_digest
    except GenkitError as error:
        name = description.data.dataset
        said = str(error).replace(name, last_part(name))  # which may have spaces in it
        return Missing(f"its images aren't there: {without_folders(said)}")
    name = last_part(dataset.name)
    return dataset if same else Missing(f"the images of {name} aren't those that it was trained on")


def read_config(run: Path) -> Config | Missing:
    try:
        return config.read(run)
    except CheckpointError as error:
        return Missing(f"{config.NAME} can't be read ({without_folders(in_one_line(error.__cause__ or error))})")


def read_environment(run: Path) -> dict[str, Any] | Missing:
    try:
        found = from_json(read_plain(run / record.ENVIRONMENT, config.MAX_SIZE))
    except (OSError, ValueError) as error:
        return Missing(f"{record.ENVIRONMENT} can't be read: {without_folders(in_one_line(error))}")
    return found if isinstance(found, dict) else Missing(f"{record.ENVIRONMENT} isn't as it was written")
