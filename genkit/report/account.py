"""What is known of a run, read from its folder once: each part, or why it isn't there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genkit.contract import GenerativeModel, Model, ability
from genkit.data.dataset import Dataset
from genkit.errors import CheckpointError, GenkitError, UsageError, in_one_line
from genkit.files import from_json, read_plain
from genkit.keep import config
from genkit.keep.config import Config
from genkit.keep.description import Description
from genkit.keep.opened import Opened
from genkit.report import evaluations, history
from genkit.report.blocks import Missing, last_part, without_folders
from genkit.report.evaluations import Evaluation, On
from genkit.report.history import History
from genkit.run import record

#: Why a checkpoint by itself has no curves and the like.
ALONE = "this is a checkpoint by itself, without its run"


@dataclass(frozen=True)
class Account:
    """A run and the checkpoint that it opens with, or another that was asked for.

    Attributes:
        name: of the run, for people: its own, or with a number where several are of one name.
        path: what opens it: the run's folder, or the checkpoint's where it isn't the one that the run opens with.
        dataset: the images that it was trained on.
        environment: where it was trained.
        evaluations: of this checkpoint, the newest first.
    """

    name: str
    path: Path
    opened: Opened
    dataset: Dataset | Missing
    config: Config | Missing
    environment: dict[str, Any] | Missing
    history: History | Missing
    evaluations: list[Evaluation] | Missing

    @property
    def kind(self) -> str:
        """The model's name: `vae`."""
        return self.opened.kind

    @property
    def model(self) -> Model:
        return self.opened.model

    @property
    def description(self) -> Description:
        return self.opened.description

    @property
    def which(self) -> str:
        """What to call the checkpoint: "best", "last", or "this"; a GAN's last is called so though it be the best."""
        if self.opened.run is None:
            return "this"
        names = self.opened.run.called(self.opened.checkpoint.path)
        return next((name for name in (self.description.opens, *names) if name in names), "this")

    @property
    def generator(self) -> GenerativeModel:
        """The model, for what needs its images.

        Raises:
            UsageError: when it makes none.
        """
        if not ability.generates(self.model):
            raise UsageError(f"a {self.kind} {ability.GENERATES.lacks}")
        return self.model

    @property
    def own_evaluation(self) -> Evaluation | None:
        """The newest by images of the set that it was trained on, if there is one."""
        found = [] if isinstance(self.evaluations, Missing) else self.evaluations
        about = self.description

        def own(on: On) -> bool:
            same = about.is_of(on.data_digest)
            return on.dataset == about.data.dataset if same is None else same

        return next((each for each in found if own(each.on)), None)

    def epoch_of(self, step: int) -> float:
        """How many passes over the images a number of steps is."""
        return step * self.description.epoch / max(1, self.description.step)


def read(opened: Opened, name: str | None = None, load: Callable[[], Dataset] | None = None) -> Account:
    """All there is to know of a run that has been opened.

    Args:
        name: what to call it, if not by its own name.
        load: gives the images if it can; by default those that it was trained on.
    """
    dataset = images_of(opened.description, load or opened.dataset)
    alone = Missing(ALONE)
    run = opened.run.path if opened.run else None
    own = opened.run is not None and opened.run.choose()[0] == opened.checkpoint.path
    return Account(
        name or opened.name,
        opened.place if own else opened.checkpoint.path,
        opened,
        dataset,
        alone if run is None else read_config(run),
        alone if run is None else read_environment(run),
        alone if run is None else history.read(run),
        alone if run is None else evaluations.read(run, opened.digest),
    )


def images_of(description: Description, load: Callable[[], Dataset]) -> Dataset | Missing:
    try:
        dataset = load()
        same = description.is_of(dataset.digest())
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
