"""The classifier that judges samples: trained once on a labelled data set, kept, and verified whenever it is used.

It is the model `classifier` with a fixed recipe and seed. It lies as a checkpoint in the folder `judges` of
GENKIT_DATA, or of the user's cache where that can't be written (`judge_store.py`); `.NAME-KEY.lock` beside it sees to
it that one process trains it. Images without labels are judged by `self_supervised.py`. This is the one file of
evaluation that imports a model: whatever is measured, this very class judges it, and its options, its features and its
last layer are used.
Training anew on the same machine gives the same bits. On another it may not: a figure names the judge with its hash.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from genkit import data
from genkit.contract import Model, ability
from genkit.contract.ability import Classifies
from genkit.data import DataOptions
from genkit.data.dataset import Dataset
from genkit.device import seeded
from genkit.errors import CheckpointError, DivergedError, GenkitError, in_one_line
from genkit.evaluate import judge_store
from genkit.evaluate.extractor import Extractor
from genkit.evaluate.figure import LeftOut
from genkit.evaluate.judge_store import found_or_trained, make_room, unwritable
from genkit.files import scratch_folder, sha256_of
from genkit.keep import checkpoint, config, description
from genkit.keep.checkpoint import Checkpoint
from genkit.models.classifier import ALL_ATTRIBUTES, Classifier
from genkit.run import trainer
from genkit.step.accelerate import precision_kept
from genkit.step.distributed import Team
from genkit.step.passes import evaluation_batch
from genkit.step.training import TrainingState

logger = logging.getLogger("genkit")

#: Of the recipe below; another number is another judge.
RECIPE_VERSION = 2
#: Training images that a judge should have seen in all, and the epochs that this may come to. On mnist5k, 5 epochs give
#: an accuracy of 98.0 %, 8 and 12 of 98.4 % and 20 of 98.6 %, on 500 test images, where one standard error is 0.5 %.
IMAGES_SEEN, EPOCHS = 200_000, (3, 12)
WIDTH = 32
#: Pixels a side that it sees of larger images. An epoch of 800 images takes 26 s of one core at 128, 5 s at 64.
SEEN_AT = 64
#: What few images can't gain any more isn't waited for: of fewer than SMALL, training ends after PATIENCE epochs that
#: are no better on val. Fewer would be too few: while the learning rate is high, the error goes up and down. Of 1,000
#: drawn shapes it was 51 % after the 1st epoch, 81 % after the 4th, and 9 % after the 12th.
SMALL, PATIENCE = 2_000, 6
#: Options that its recipe doesn't set, and that a judge of an earlier version hadn't got.
UNSET = {"steps", "minutes", "passes"}
#: Images a step of a small set, of which the usual 128 would make a few dozen steps in all.
BATCH = 32


class Judge(Extractor):
    """A trained classifier of one data set.

    Attributes:
        classes, attributes: what it tells, by name: classes or attributes, the others being ().
        accuracy: on the test split; of attributes, the mean over them.
        accuracies: of each attribute.
        digest: SHA-256 of its weights' file.
    """

    def __init__(self, opened: Checkpoint, dataset: str, device: torch.device):
        self.model: Model = opened.model.to(device)
        assert ability.classifies(self.model)
        self.classifier: Classifies = self.model
        self.head = self.model.get_submodule("head")
        self.device, self.dataset = device, dataset
        self.attributes = tuple(self.model.options.attributes)
        self.classes = () if self.attributes else opened.description.classes
        metrics = opened.description.metrics
        self.accuracy = 1 - metrics["test/error"]
        self.accuracies = {
            name: 1 - metrics.get(f"test/error_{name}", metrics["test/error"]) for name in self.attributes
        }
        self.digest = sha256_of(opened.path / description.MODEL)

    @property
    def name(self) -> str:
        """For a figure's conditions: `classifier of mnist 3f2a9c1d (test accuracy 99.3 %)`."""
        return f"classifier of {self.dataset} {self.digest[:8]} (test accuracy {self.accuracy:.1%})".replace("%", " %")

    @property
    def by(self) -> str:
        return f"the classifier {self.digest[:8]}"

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees of images (N, C, H, W) in [0, 1]: (N, F) float32 on the CPU."""
        return self._over(images, self.model.features)

    def probabilities(self, images: Tensor) -> Tensor:
        """Of each class, (N, classes), or of each attribute, (N, attributes), on the CPU."""
        return self._over(images, self.classifier.probabilities)

    def labels(self, images: Tensor) -> Tensor:
        """The likeliest class of each image: int64 (N,), an index into `classes`."""
        return self.probabilities(images).argmax(1)

    @torch.no_grad()
    def labels_of(self, features: Tensor) -> Tensor:
        """The same of the images' `features` (N, F)."""
        return self.head(features.to(self.device)).argmax(1).cpu()

    def has(self, images: Tensor) -> Tensor:
        """Which attributes each image has: bool (N, attributes)."""
        return self.probabilities(images) > 0.5

    @torch.no_grad()
    def _over(self, images: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        parts = images.split(evaluation_batch(self.model.image))
        return torch.cat([function(part.to(self.device)).cpu() for part in parts])


def of(options: DataOptions, device: torch.device, target: str = "classes") -> Judge | LeftOut:
    """The judge of a data set, trained first if there is none yet; or why there can't be one.

    The random generators are left as they were.

    Args:
        options: the images. How many labels a run was given doesn't matter: a judge learns from all of them.
        target: what it is to tell, "classes" or "attributes".

    Raises:
        GenkitError: when the images can't be read, or no folder takes the judge.
    """
    whole = {"labels_per_class": None, "labels_seed": 0, "beside": None, "beside_images": None}
    options = data.located(options.model_copy(update=whole))
    dataset = data.load(options)
    if not (len(dataset.classes) > 1 if target == "classes" else dataset.attributes):
        return LeftOut("judge", f"{dataset.name} has no {target} that a classifier could learn")
    settings = recipe(options, dataset, target)
    name = folder_name(settings, dataset)
    with seeded(settings.run.seed, device):  # initial weights are drawn even where a model is only read
        found = found_or_trained(name, lambda: find(name, settings), lambda folder: train(settings, folder, device))
    return Judge(found, Path(dataset.name).name, device)


def recipe(options: DataOptions, dataset: Dataset, target: str) -> config.Config:
    """How the judge of these images is trained: by all that there is of `Classifier`, and a set number of images.

    Of a small set it is the most; training ends as soon as it gains nothing on val.
    """
    epochs = min(max(round(IMAGES_SEEN / len(dataset.train)), EPOCHS[0]), EPOCHS[1])
    small = len(dataset.train) < SMALL
    asked = {
        "epochs": epochs,
        "width": WIDTH,
        "seen_at": SEEN_AT,
        "target": ALL_ATTRIBUTES if target == "attributes" else None,
        **({"batch_size": BATCH} if small else {}),
    }
    own = Classifier.options_for(Classifier.Options.model_validate(asked), dataset)
    run = config.RunOptions(seed=0, picture_every=epochs, patience=PATIENCE if small else None)
    return config.Config("classifier", own, options, run, {})


def folder_name(settings: config.Config, dataset: Dataset) -> str:
    """Where the judge lies: another one for other images, another shape of them, or another recipe."""
    key = [
        RECIPE_VERSION,
        dataset.digest(),
        list(dataset.shape),
        settings.options.model_dump(mode="json", exclude=UNSET),
    ]
    return judge_store.folder_name(dataset.name, key)


def find(name: str, settings: config.Config) -> Checkpoint | None:
    """The judge, if it has been trained and every byte of it is as it was written."""
    for folder in judge_store.folders(name):
        try:
            if not folder.is_dir():
                continue
            opened = checkpoint.read(folder)
            if opened.model.options != settings.options or "test/error" not in opened.description.metrics:
                raise CheckpointError(f"{folder} isn't the judge that its name says")
            return opened
        except (CheckpointError, OSError) as error:
            logger.warning("%s; it isn't used", in_one_line(error))
    return None


def train(settings: config.Config, folder: Path, device: torch.device) -> Checkpoint:
    """Train the judge, measure it, and keep it as `folder`, in place of a damaged one.

    Raises:
        GenkitError: when it can't be trained or written.
    """
    what = "attributes" if settings.options.model_dump()["attributes"] else "classes"
    logger.info("training the judge of %s (its %s) once, some minutes", settings.data.dataset, what)
    try:
        make_room(folder)
        with scratch_folder(folder.parent, f".{folder.name}.") as out:
            settings = settings._replace(
                run=settings.run.model_copy(update={"out": str(out)}),
                sources=dict.fromkeys(settings.values(), "judge"),
            )
            # A measurement, which needs a judge, may have turned gradients off, and goes on in its own precision.
            with torch.enable_grad(), precision_kept():
                result = trainer.start(settings, Team(device), resumable=False)
            if result.stopped is not None:
                signal.raise_signal(result.stopped)  # the person meant the command, not only this part of it
                raise GenkitError("the training of the judge was stopped")  # by whom the signal doesn't end
            opened = checkpoint.read(result.checkpoint)
            kept = checkpoint.snapshot(
                TrainingState(opened.model, 1, 1),
                **opened.description.model_dump(include={"model", "monitor", "epoch", "seconds", "data_digest"}),
                classes=opened.description.classes,
                attributes=opened.description.attributes,
                metrics={**opened.description.metrics, **result.metrics},
            )
            checkpoint.write(folder, kept)
    except OSError as error:
        raise unwritable(folder, error) from error
    except DivergedError as error:
        raise GenkitError(f"the judge of {settings.data.dataset} can't be trained: its loss isn't finite") from error
    except GenkitError as error:
        # What a run says then is how to go on with it, and this one lies in a folder that is gone.
        if isinstance(error.__cause__, OSError):
            raise unwritable(folder, error.__cause__) from error
        raise
    opened = checkpoint.read(folder)
    logger.info("the judge is %s, kept in %s", Judge(opened, settings.data.dataset, device).name, folder)
    return opened
