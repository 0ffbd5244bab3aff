"""What the commands that open a run have in common."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from genkit.errors import GenkitError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from genkit.contract import GenerativeModel, Model
    from genkit.data import DataOptions
    from genkit.data.dataset import Dataset, Split
    from genkit.keep.checkpoint import Checkpoint
    from genkit.keep.rundir import Found, RunDirectory

logger = logging.getLogger("genkit")

RUN_HELP = (
    "RUN is a run's folder (its best checkpoint is used) or number, a checkpoint's folder, exported weights, or a "
    "folder of runs; left out, it is the newest run in runs/, or in $GENKIT_OUT."
)
DEVICE_HELP = "auto (cuda, then mps, then cpu), cpu, cuda, cuda:1 or mps."


def epochs(count: float) -> str:
    return f"{count:g} epoch{'' if count == 1 else 's'}"


@contextmanager
def loading() -> Iterator[None]:
    """Import what a command needs without the garbage collector.

    torch makes some hundred thousand objects that stay until the process ends. The collector would go through them
    again and again meanwhile, and once more at the end, for half a second in all. So it waits until they are there, and
    then leaves them aside. Only the first time: what another command of the same process has left is to be collected.
    """
    enabled, first = gc.isenabled(), "torch" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if first:
            gc.freeze()
        if enabled:
            gc.enable()


def typed(context: click.Context, option: str) -> bool:
    """Whether a person gave this option on the command line, be it at its default's value."""
    return context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


class OpenedRun(NamedTuple):
    """A checkpoint with its model on a device, and where its pictures go."""

    checkpoint: Checkpoint
    directory: RunDirectory | None
    device: torch.device
    out: Path | None

    @property
    def model(self) -> Model:
        return self.checkpoint.model

    @property
    def generator(self) -> GenerativeModel:
        """The model, for what needs its images.

        Raises:
            UsageError: when it makes none.
        """
        from genkit.contract import ability

        return ability.generator(self.model, f"{self.name} is a {self.checkpoint.description.model}")

    @property
    def name(self) -> str:
        return self.directory.path.name if self.directory else self.checkpoint.path.name

    def folder(self, kind: str) -> Path:
        """The folder for results of one kind: `--out`, else in the run, else here. Made if it is missing."""
        path = self.out or (self.directory.path / kind if self.directory else Path())
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GenkitError(f"can't write to {path}: {error.strerror}; name another folder with --out") from error
        return path

    def dataset(self, other: str | None = None) -> Dataset:
        """The images that the model was trained on, or another set, which was `looked_up`, brought to the same shape.

        Raises:
            UsageError: when their shape isn't the model's.
        """
        from genkit import data

        images = data.load(self.data_options(other))
        self.require_shape(images)
        return images

    def require_shape(self, images: Dataset) -> None:
        """Refuse images of another shape than the model's, or without the classes or attributes that it is told.

        Raises:
            UsageError
        """
        if images.shape != self.model.image:
            raise UsageError(
                f"{images.name} has images of {images.shape}, and {self.name} was trained on {self.model.image}"
            )
        about, condition = self.checkpoint.description, self.model.condition
        if condition is None or condition.kind == "image":
            return
        what = "classes" if condition.kind == "class" else "attributes"
        there, wanted = getattr(images, what), getattr(about, what)
        if there != wanted:
            offer = f"has the {what} {', '.join(there[:20])}" if there else f"has no {what}"
            raise UsageError(f"{images.name} {offer}, and {self.name} has to be told {', '.join(wanted[:20])}")

    def data_options(self, other: str | None = None) -> DataOptions:
        """What `dataset` loads."""
        options = self.checkpoint.description.data
        if other is None:
            return options
        size = self.model.image
        square = size.height if size.height == size.width else None
        changes = {"dataset": other, "image_size": square, "channels": size.channels, "labels_per_class": None}
        return options.model_copy(update=changes)

    def coloring(self, images: Dataset, rows: Split, attribute: str | None) -> tuple[Tensor | None, tuple[str, ...]]:
        """What to colour points by, with its names: `attribute`, else the class, else the first attribute, else none.

        Raises:
            UsageError: when there is no such attribute.
        """
        if attribute is None and rows.labels is not None:
            return rows.labels, images.classes
        if attribute is None and not images.attributes:
            return None, ()
        name = attribute or images.attributes[0]
        if name not in images.attributes or rows.attributes is None:
            offer = ", ".join(images.attributes) or "none"
            raise UsageError(f"--color-by: {images.name} has no attribute '{name}' (it has {offer})")
        return rows.attributes[:, images.attributes.index(name)].long(), (f"not {name}", name)


def looked_up(run: str | None, dataset: str | None = None) -> Found:
    """What RUN stands for, once it is known that there are such images: all that is refused before torch is imported.

    Raises:
        CheckpointError: when there is no such run.
        UsageError: when there are no such images.
    """
    from genkit import data
    from genkit.keep import rundir

    found = rundir.find(run)
    if dataset is not None:
        data.require_known(dataset)
    return found


def load_run(found: Found, device: str, out: Path | None) -> OpenedRun:
    """Check and open a run's best checkpoint, and bring its model to the device."""
    with loading():
        from genkit import device as devices

    where = devices.pick(device)
    opened = found.read()
    about = opened.description
    logger.info(
        "using %s: %s on %s, %s, on %s",
        opened.path,
        about.model,
        about.data.dataset,
        epochs(about.epoch),
        devices.describe(where),
    )
    opened.model.to(where)
    return OpenedRun(opened, found.run, where, out)
