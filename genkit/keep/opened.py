"""A trained model, opened: what commands, evaluation, reports, recipes and `genkit.load` work with."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from genkit import data
from genkit.contract import GenerativeModel, Model, ability
from genkit.data import DataOptions, choice
from genkit.data.dataset import Dataset, Split
from genkit.data.pixels import Form
from genkit.errors import DataError, GenkitError, UsageError
from genkit.files import sha256_of
from genkit.keep import checkpoint, config, rundir
from genkit.keep.checkpoint import Checkpoint
from genkit.keep.description import MANIFEST, Description, refusing_damage
from genkit.keep.rundir import Found, RunDirectory

logger = logging.getLogger("genkit")


@dataclass(frozen=True)
class Opened:
    """A checkpoint whose model is ready to use, and the run that it lies in.

    Attributes:
        checkpoint: every byte of it verified.
        run: its run, or None for a checkpoint by itself.
        device: where its model is, in evaluation mode and without gradients.
        digest: SHA-256 of the checkpoint's manifest, which holds the SHA-256 of its every file.
    """

    checkpoint: Checkpoint
    run: RunDirectory | None
    device: torch.device
    digest: str

    @classmethod
    def find(cls, run: str | None, device: torch.device, which: str | None = None) -> Opened:
        """Open what a RUN argument means (`rundir.find`), and bring its model to the device.

        Args:
            which: of a run's checkpoints: `best`, `last`, or a step; by default the one that its model opens with.

        Raises:
            CheckpointError: when there is no such thing, or none of its checkpoints is whole.
        """
        return cls.read(rundir.find(run, which), device)

    @classmethod
    def read(cls, found: Found, device: torch.device) -> Opened:
        """Open what was found.

        Raises:
            CheckpointError: when none of its checkpoints is whole.
        """

        def whole(path: Path) -> tuple[Checkpoint, str]:
            # Both now, because a run that is being trained may drop the checkpoint while it is used.
            return checkpoint.read(path), refusing_damage(path, lambda: sha256_of(path / MANIFEST))

        opened, digest = found.first_whole(whole)
        opened.model.to(device)
        return cls(opened, found.run, device, digest)

    @property
    def name(self) -> str:
        """Of the run, or of a checkpoint by itself; for people."""
        return (self.run or self.checkpoint).path.name

    @property
    def place(self) -> Path:
        """The run's folder, or that of a checkpoint by itself."""
        return (self.run or self.checkpoint).path

    @property
    def model(self) -> Model:
        return self.checkpoint.model

    @property
    def description(self) -> Description:
        return self.checkpoint.description

    @property
    def kind(self) -> str:
        """The model's name: `vae`."""
        return self.description.model

    @property
    def form(self) -> Form:
        """How a person's picture becomes one that the model takes."""
        data = self.description.data
        return Form(self.model.image, data.fit, self.description.whites, data.white_level)

    @property
    def generator(self) -> GenerativeModel:
        """The model, for what needs its images.

        Raises:
            UsageError: when it makes none.
        """
        return ability.generator(self.model, f"{self.name} is a {self.kind}")

    @property
    def weights(self) -> int:
        """How many numbers the model has learned."""
        return sum(each.numel() for each in self.model.parameters())

    def dataset(self, other: str | None = None) -> Dataset:
        """The images that the model was trained on, or another set brought to the same shape.

        Raises:
            UsageError: when there is no such other set, or their shape isn't the model's.
            DataError: when they aren't there (any more), or aren't those of the run.
        """
        if other is not None:
            data.require_known(other)
        options = self.data_options(other)
        if other is None:
            data.require_there(options.model_copy(update={"beside": None}), "")
        images = data.load(options)
        self.require_shape(images)
        if other is None:
            self.require_own(images)
        return images

    def require_own(self, images: Dataset) -> None:
        """Refuse images at another place that aren't the run's; warn of those at its own place that aren't any more.

        Raises:
            DataError
        """
        if self.description.is_of(images.digest()) is not False:
            return
        if images.name != self.description.data.dataset:
            raise DataError(
                f"{images.name}: these aren't the images that {self.name} was trained on, which were in "
                f"{self.description.data.dataset}; name another place with --dataset"
            )
        logger.warning(
            "%s aren't the images that %s was trained on, or were divided otherwise then: images of any split may be "
            "among those that it has seen",
            images.name,
            self.name,
        )

    def chosen(self, other: str | None, split: str | None) -> tuple[Dataset, Split, str]:
        """The images of `dataset`, those of the split that a person means who has named this one or none, and its name.

        Raises:
            UsageError, DataError: as `dataset`, and when the split is empty.
        """
        images = self.dataset(other)
        # By its place, too: where a run was given some labels only, the whole set has another digest.
        own = other is None or self._is_at(other) or self.description.is_of(images.digest())
        name = choice.split_to_take(split, None if own else self.data_options(other))
        return images, choice.taken(images, name), name

    def require_shape(self, images: Dataset) -> None:
        """Refuse images of another shape than the model's, or without the classes or attributes that it is told.

        Raises:
            UsageError
        """
        if images.shape != self.model.image:
            raise UsageError(
                f"{images.name} has images of {images.shape}, and {self.name} was trained on {self.model.image}"
            )
        condition = self.model.condition
        if condition is None or condition.kind == "image":
            return
        what = "classes" if condition.kind == "class" else "attributes"
        there, wanted = getattr(images, what), getattr(self.description, what)
        if there != wanted:
            offer = f"has the {what} {', '.join(there[:20])}" if there else f"has no {what}"
            raise UsageError(f"{images.name} {offer}, and {self.name} has to be told {', '.join(wanted[:20])}")

    def data_options(self, other: str | None = None) -> DataOptions:
        """What `dataset` loads."""
        options = self.description.data
        if other is None:
            return self.moved() or options
        size = self.model.image
        changes = {
            "dataset": other,
            "image_size": size.height if size.height == size.width else (size.height, size.width),
            "channels": size.channels,
            "only_classes": None,
            "labels_per_class": None,
            "labels": options.as_read().labels,
            "pixels": "shuffled" if options.pixels == "shuffled" else "true",
            "crop": None,
            "crop_at": "random",
        }
        # What says which of a file's arrays are the images, and so on, goes for another file of the kind.
        of_the_kind = Path(other).suffix and Path(other).suffix == Path(options.dataset).suffix
        if not (of_the_kind or self._is_at(other)):
            changes |= dict.fromkeys(data.OF_FILES)
        return options.model_copy(update=changes)

    def _is_at(self, other: str) -> bool:
        """Whether a path is that of the run's own images."""
        return data.located(DataOptions(dataset=other)).dataset == self.description.data.dataset

    def moved(self) -> DataOptions | None:
        """Where the run's images lie now, as it has been told on resuming; None where nothing needs to be asked."""
        recorded = self.description.data
        if self.run is None or not data.lost(recorded.model_copy(update={"beside": None})):
            return None
        try:
            now = config.read(self.run.path).data
        except GenkitError:
            return None
        places = dict.fromkeys(config.PLACES, "")
        return now if now.model_copy(update=places) == recorded.model_copy(update=places) else None
