"""One training run, from its configuration to a model on disk: data, model, loop, logs, pictures, checkpoints."""

from __future__ import annotations

import logging
import math
import platform
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from tqdm import tqdm

import genkit
from genkit import checkpoint, data, device, evaluate, images, models, sampling
from genkit.data.batches import TrainingBatches, in_order
from genkit.data.dataset import Dataset
from genkit.errors import DivergedError, UsageError
from genkit.model import Encodes, GenerativeModel, Options
from genkit.rundir import RunDirectory
from genkit.training import TrainingState, train

logger = logging.getLogger("genkit")

#: Images in the pictures that a run draws of itself, and training images that a prior is fitted to.
PICTURE_COUNT = 64
PRIOR_IMAGES = 10_000


class RunOptions(BaseModel):
    """How a run is carried out, whatever the model and the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Annotated[str, Field(description="Folder in which the run's own folder is made.")] = "runs"
    seed: Annotated[
        int, Field(ge=0, lt=2**63, description="Of the weights, the order of the images and all noise.")
    ] = 0
    device: Annotated[str, Field(description="auto (cuda, then mps, then cpu), cpu, cuda, cuda:1 or mps.")] = "auto"
    log_every: Annotated[int, Field(ge=1, description="Steps from one logged training loss to the next.")] = 50
    picture_every: Annotated[int, Field(ge=1, description="Epochs from one drawn picture to the next.")] = 1
    checkpoint_every: Annotated[int, Field(ge=1, description="Epochs from one checkpoint to the next.")] = 1


class Config(NamedTuple):
    """All that decides a run, resolved and validated."""

    model: str
    options: Options
    data: data.DataOptions
    run: RunOptions
    sources: dict[str, str]  # option -> where its value came from

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "options": self.options.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "run": self.run.model_dump(mode="json"),
            "sources": self.sources,
        }


class Result(NamedTuple):
    """What a run came to.

    Attributes:
        run: its folder.
        checkpoint: the checkpoint that RUN stands for from now on (the best).
        steps, seconds: taken by training.
        metrics: of that checkpoint on the test split (`test/neg_elbo`, …); empty for a run that was stopped.
        stopped: the signal that ended it early, or None.
    """

    run: Path
    checkpoint: Path
    steps: int
    seconds: float
    metrics: dict[str, float]
    stopped: int | None


def start(config: Config) -> Result:
    """Carry out a run.

    Raises:
        DataError, UsageError: before anything is made.
        DivergedError: when a loss is no longer finite; the last good checkpoint stays.
    """
    where = device.pick(config.run.device)
    dataset = data.load(config.data)
    torch.manual_seed(config.run.seed)
    model = build(config, dataset).to(where)
    directory = RunDirectory.create(Path(config.run.out), f"{config.model}-{file_name(dataset.name)}")
    directory.write_json("config.json", config.as_json())
    directory.write_json("environment.json", environment(where))
    with log_file(directory.path / "log.txt"):
        logger.info("device   %s", device.describe(where))
        logger.info("data     %s: %s", dataset.name, describe_data(dataset))
        logger.info("model    %s: %s weights", config.model, f"{sum(p.numel() for p in model.parameters()):,}")
        logger.info("run      %s", directory.path)
        return Training(config, dataset, model, directory, where).carry_out()


class Training:
    """The caller of the loop: between two steps, it logs, draws, validates, saves and stops."""

    def __init__(
        self, config: Config, dataset: Dataset, model: GenerativeModel, directory: RunDirectory, where: torch.device
    ):
        options = config.options
        self.config, self.dataset, self.directory, self.where = config, dataset, directory, where
        self.batches = TrainingBatches(dataset.train, options.batch_size, config.run.seed, where)
        self.total_steps = options.epochs * len(self.batches)
        self.state = TrainingState(model, self.total_steps, len(self.batches))

    def carry_out(self) -> Result:
        epochs = self.config.options.epochs
        # Imported here: TensorBoard takes as long as torch to load, and `--help` needs neither.
        from torch.utils.tensorboard import SummaryWriter

        started = time.perf_counter()
        with ExitStack() as stack:
            self.board = stack.enter_context(SummaryWriter(str(self.directory.path / "tb")))
            self.bar = stack.enter_context(progress_bar(self.total_steps, self.batches.batch_size))
            stop = stack.enter_context(stop_signals())
            self.draw_reals()
            for epoch in range(epochs):
                interval: list[dict[str, Tensor]] = []
                for metrics in train(self.state, self.batches.epoch(epoch)):
                    interval.append(metrics)
                    self.bar.update(self.batches.batch_size)
                    if len(interval) == self.config.run.log_every or stop:
                        self.log_steps(interval)
                        interval = []
                    if stop:
                        break
                self.log_steps(interval)
                if stop:
                    break
                last = epoch + 1 == epochs
                values = self.validate(epoch + 1)
                if last or (epoch + 1) % self.config.run.checkpoint_every == 0:
                    self.save(epoch + 1, values)
                if last or (epoch + 1) % self.config.run.picture_every == 0:
                    self.draw()
            if stop and not self.directory.checkpoint_path(self.state.step).exists():
                self.fit_prior()
                self.save(self.state.step / len(self.batches), {})
        return self.finish(time.perf_counter() - started, stop[0] if stop else None)

    def log_steps(self, interval: list[dict[str, Tensor]]) -> None:
        """Read the interval's metrics back from the device, all at once, and log their mean.

        Raises:
            DivergedError: naming the first step of the interval whose metrics are not all finite.
        """
        if not interval:
            return
        names = list(interval[0])
        table = torch.stack([torch.stack([metrics[name] for name in names]) for metrics in interval]).cpu()
        finite = table.isfinite().all(1)
        if not finite.all():
            bad = int(finite.logical_not().nonzero()[0])
            name = names[int(table[bad].isfinite().logical_not().nonzero()[0])]
            step = self.state.step - len(interval) + bad + 1
            raise self.diverged(name, step)
        values = dict(zip(names, table.mean(0).tolist(), strict=True))
        self.bar.set_postfix_str(" ".join(f"{name} {value:.4g}" for name, value in list(values.items())[:3]))
        self.record("train", self.state.step / len(self.batches), values)

    def diverged(self, name: str, step: int) -> DivergedError:
        return DivergedError(
            f"{name} is no longer finite at step {step}; try a lower --lr or --grad-clip 1. "
            f"The run so far: {self.directory.path}"
        )

    def record(self, split: str, epoch: float, values: dict[str, float]) -> None:
        """One line in metrics.jsonl and a point on each TensorBoard curve.

        Raises:
            DivergedError: for a value that is not finite.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                raise self.diverged(f"{split}/{name}", self.state.step)
        row = {f"{split}/{name}": value for name, value in values.items()}
        self.directory.append_metrics({"step": self.state.step, "epoch": round(epoch, 4), **row})
        for name, value in row.items():
            self.board.add_scalar(name, value, self.state.step)

    def validate(self, epoch: int) -> dict[str, float]:
        values = evaluate.validate(self.state.best_model, self.dataset.val, self.where)
        self.record("val", epoch, values)
        self.fit_prior()
        shown = "  ".join(f"{name} {value:.5g}" for name, value in values.items())
        logger.info("epoch %*d/%d  %s", len(str(self.config.options.epochs)), epoch, self.config.options.epochs, shown)
        return values

    @torch.no_grad()
    def fit_prior(self) -> None:
        model = self.state.best_model.eval()
        chosen = self.dataset.train.take(self.dataset.train.spread(PRIOR_IMAGES))
        model.fit_prior(in_order(chosen, evaluate.evaluation_batch(model.image), self.where))

    def save(self, epoch: float, values: dict[str, float]) -> None:
        description = {
            "model": self.config.model,
            "monitor": self.state.model.monitor,
            "epoch": round(epoch, 4),
            "metrics": {f"val/{name}": value for name, value in values.items()},
            "data": data.located(self.config.data).model_dump(mode="json"),
            "classes": list(self.dataset.classes),
            "attributes": list(self.dataset.attributes),
        }
        checkpoint.write(self.directory.checkpoint_path(self.state.step), self.state, description)
        self.directory.prune()

    def draw_reals(self) -> None:
        reals = images.grid(self.dataset.val.images(self.dataset.val.spread(PICTURE_COUNT)))
        images.save_png(self.directory.path / "reals.png", reals)
        self.board.add_image("reals", reals, 0)

    @torch.no_grad()
    def draw(self) -> None:
        """Samples from fixed noise, and fixed validation images with their reconstructions below them."""
        model = self.state.best_model.eval()
        pictures = {"samples": images.grid(sampling.decode(model, sampling.seed_codes(model, range(PICTURE_COUNT))))}
        if isinstance(model, Encodes):
            val = self.dataset.val
            originals = images.to_float(val.images(val.spread(PICTURE_COUNT // 2)))
            pairs = zip(originals.split(8), sampling.reconstruct(model, originals).split(8), strict=True)
            pictures["reconstructions"] = images.grid(torch.cat([row for pair in pairs for row in pair]), columns=8)
        for name, picture in pictures.items():
            images.save_png(self.directory.path / f"{name}-{self.state.step:06d}.png", picture)
            self.board.add_image(name, picture, self.state.step)

    def finish(self, seconds: float, stopped: int | None) -> Result:
        best = self.directory.best_checkpoint()
        metrics: dict[str, float] = {}
        if stopped is None:
            model = checkpoint.read(best).model.to(self.where)
            values = evaluate.validate(model, self.dataset.test, self.where)
            metrics = {f"test/{name}": value for name, value in values.items()}
            self.directory.append_metrics({"step": int(best.name), **metrics})
            logger.info("test  %s", "  ".join(f"{name} {value:.5g}" for name, value in values.items()))
        result = Result(self.directory.path, best, self.state.step, seconds, metrics, stopped)
        (self.directory.path / "README.md").write_text(card(self.config, self.dataset, result), encoding="utf-8")
        return result


def build(config: Config, dataset: Dataset) -> GenerativeModel:
    """The untrained model for these images.

    Raises:
        UsageError: when it would have to normalise a batch of a single image.
    """
    model = models.find(config.model)(dataset.shape, config.options)
    normalises = any(isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) for each in model.modules())
    if normalises and min(config.options.batch_size, len(dataset.train)) < 2:
        raise UsageError(f"{config.model} uses batch normalisation, which needs a --batch-size of 2 and as many images")
    return model


def describe_data(dataset: Dataset) -> str:
    counts = " + ".join(f"{len(split):,} {name}" for name, split in dataset.splits().items())
    extra = [f"{len(dataset.classes)} classes"] if dataset.classes else []
    extra += [f"attributes {', '.join(dataset.attributes)}"] if dataset.attributes else []
    return ", ".join([f"{counts} images of {dataset.shape}", *extra])


def file_name(dataset: str) -> str:
    """A dataset's name, or the last part of its path, fit for a folder's name."""
    stem = Path(dataset).stem if "/" in dataset or "." in dataset else dataset
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem).strip("-") or "images"


def environment(where: torch.device) -> dict[str, Any]:
    """What else a result depends on: versions, device, command line."""
    return {
        "genkit": genkit.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": device.describe(where),
        "platform": platform.platform(),
        "command": sys.argv,
    }


def progress_bar(steps: int, batch_size: int) -> tqdm:
    """Counts images on stderr, with their speed and the time left; silent where stderr is no terminal."""
    return tqdm(total=steps * batch_size, unit=" images", unit_scale=True, dynamic_ncols=True, disable=None)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, so that a step is finished first. A second one ends the process at once."""
    received: list[int] = []

    def receive(number: int, _frame: object) -> None:
        received.append(number)
        for each, handler in before.items():
            signal.signal(each, handler if handler is not None else signal.SIG_DFL)
        logger.warning("stopping after this step; once more quits at once")

    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        for each in before:
            signal.signal(each, receive)
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def card(config: Config, dataset: Dataset, result: Result) -> str:
    """The model card: what this run is, how it did, and how to use it."""
    options = "\n".join(
        f"| {name} | {value} | {config.sources[name.replace('-', '_')]} |" for name, value in options_of(config)
    )
    metrics = "\n".join(f"| {name} | {value:.6g} |" for name, value in result.metrics.items())
    measured = (
        f"## Measured on the test split\n\n| metric | value |\n|---|---|\n{metrics}\n"
        if metrics
        else ("The run was stopped before its last epoch, so nothing was measured on the test split.\n")
    )
    return f"""# {result.run.name}

A `{config.model}` trained by genkit {genkit.__version__} on `{dataset.name}` ({describe_data(dataset)}):
{result.steps:,} steps in {result.seconds:.0f} s. `checkpoints/{result.checkpoint.name}` is the best by validation.

{measured}
![real images](reals.png)

## Settings

| option | value | from |
|---|---|---|
{options}

## Use

    genkit sample {result.run}
    genkit sample {result.run} --interpolate
    genkit embed {result.run}
"""


def options_of(config: Config) -> list[tuple[str, Any]]:
    parts = (config.data, config.options, config.run)
    return [(name.replace("_", "-"), value) for part in parts for name, value in part.model_dump().items()]
