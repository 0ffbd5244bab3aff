"""One training run, from its configuration to a model on disk: data, model, loop, curves, pictures, checkpoints."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from genkit import data, device, registry
from genkit.contract import TRAINING_FIELDS, Model, ability
from genkit.data.batches import TrainingBatches, in_order
from genkit.data.dataset import Dataset
from genkit.errors import CheckpointError, DivergedError, GenkitError, UsageError
from genkit.files import sync_file, to_json, write_file
from genkit.keep import checkpoint, description, rundir, state
from genkit.keep.config import MAX_SIZE as MAX_CONFIG
from genkit.keep.config import Config, continued
from genkit.keep.config import read as read_config
from genkit.keep.rundir import RunDirectory
from genkit.latent import images, sampling
from genkit.options import as_text, is_flag
from genkit.run import record
from genkit.run.curves import Curves
from genkit.run.process import log_file, progress_bar, stop_signals
from genkit.run.validation import validate
from genkit.step.accelerate import accelerated, described
from genkit.step.distributed import Team, lost_process
from genkit.step.passes import evaluation_batch
from genkit.step.training import TrainingState, train

logger = logging.getLogger("genkit")

#: Images in the pictures that a run draws of itself, and training images that a prior is fitted to.
PICTURE_COUNT = 64
PRIOR_IMAGES = 10_000


class Result(NamedTuple):
    """What a run came to.

    Attributes:
        run: its folder, and below: all that a follower in a team of processes doesn't know is left empty.
        checkpoint: the checkpoint that RUN stands for from now on (the best).
        steps, seconds: taken by training, resumed or not.
        metrics: of that checkpoint on the test split (`test/neg_elbo`, …); empty for a run that was stopped.
        stopped: the signal that ended it early, or None.
    """

    run: Path
    checkpoint: Path
    steps: int
    seconds: float
    metrics: dict[str, float]
    stopped: int | None


def start(config: Config, team: Team | None = None, resumable: bool = True) -> Result:
    """Carry out a new run.

    Args:
        team: the processes that carry it out together, each of which calls this; by default this one is alone.
        resumable: False where the run's folder won't be there to go on with, and so nobody is told to.

    Raises:
        DataError, UsageError: before anything is made.
        DivergedError: when a loss or a gradient is no longer finite; the last good checkpoint stays.
        GenkitError: when the disk doesn't take what has to be written; the last checkpoint stays whole.
    """
    config, team = config.located(), team or Team(device.pick(config.run.device))
    dataset = team.one_a_machine_first(lambda: data.load(config.data))
    config = fitted_to(dataset, config)
    require_room(config, dataset)
    require_short_names(dataset, config)
    training = Training(config, dataset, team)
    training.resumable = resumable
    training.take_initial_weights()
    if not team.leads:
        return training.carry_out(None)
    files = {"config.json": config.as_json(), record.ENVIRONMENT: record.environment(training.where, team.size)}
    directory = RunDirectory.create(
        Path(config.run.out),
        f"{config.model}-{file_name(training.dataset.name)}",
        {name: to_json(value) for name, value in files.items()},
    )
    with disk_errors(directory.path), directory.locked(), log_file(directory.path / "log.txt"):
        return training.carry_out(directory)


def resume(directory: RunDirectory, given: Mapping[str, Any], team: Team | None = None) -> Result:
    """Go on with a run where its newest whole checkpoint leaves it, or at its beginning where it has none.

    On the machine and the versions that it began with, it comes to the same bits as if it had never stopped (on CUDA,
    with `deterministic`).

    Args:
        given: options that somebody gave with it, as in `config.continued`.
        team: as in `start`.

    Raises:
        UsageError: when they disagree with the run's.
        CheckpointError: when all checkpoints are damaged, or the images aren't those that it was trained on.
        And what `start` raises.
    """
    leads = team is None or team.leads
    with disk_errors(directory.path), directory.locked() if leads else nullcontext():
        if leads:
            directory.tidy()
        before = read_config(directory.path)
        config = continued(before, given, directory.path)
        team = team or Team(device.pick(config.run.device))
        dataset = team.one_a_machine_first(lambda: data.load(config.data))
        require_likely_size(config, dataset, directory)
        training = Training(config, dataset, team)
        team.wait()  # or the leader might put a damaged checkpoint aside while another still looks at it
        if not leads:
            training.restore(directory)
            return training.carry_out(None)
        with log_file(directory.path / "log.txt"):
            training.restore(directory)
            if config != before:
                config.save(directory.path)
            for change in record.changes(directory.path, training.where):
                logger.warning("the run goes on, but perhaps not to the same bits, with another %s", change)
            return training.carry_out(directory)


class Training:
    """The caller of the loop: between two steps, it logs, draws, validates, saves and stops.

    Where several processes train together, only the one that leads has a directory and does all this. The others go
    through the same steps, and meet it where the description of a method says that all call it.
    """

    directory: RunDirectory
    curves: Curves
    writer: Executor
    #: The checkpoint that is on its way to the disk, while training goes on.
    writing: Future[None] | None = None
    #: Whether a person may go on with the run where it stops.
    resumable = True

    def __init__(self, config: Config, dataset: Dataset, team: Team):
        options = config.options
        self.config, self.dataset, self.data_digest = config, dataset, dataset.digest()
        self.team, self.where = team, team.device
        device.make_deterministic(config.run.deterministic)
        device.keep_freed_memory()
        device.seed_everything(config.run.seed)
        require_equal_shares(config, dataset, team.size)
        model = team.normalising(build(config, dataset, team.size))
        # Convolutions take less time where the channels of a pixel lie side by side: up to a third on a CPU.
        model.to(self.where, memory_format=torch.channels_last)  # type: ignore[call-overload]
        seed = config.run.seed
        self.batches = TrainingBatches(dataset.train, options.batch_size, seed, self.where, team.rank, team.size)
        team.seed_noise(seed)
        self.total_steps = options.epochs * len(self.batches)
        self.state = TrainingState(model, self.total_steps, len(self.batches))
        self.state.phases = accelerated(self.state.phases, self.where, config.run, self.total_steps)
        # Metrics of the steps since the last that was logged, still on the device.
        self.pending: list[dict[str, Tensor]] = []
        self.seconds = 0.0
        self.saved_at = time.monotonic()
        # Of this process: what is watched is a trend, and a resumed run soon shows it again.
        self.validations: list[dict[str, float]] = []
        self.faults: set[str] = set()
        # Pictures that no checkpoint vouches for yet.
        self.drawn: list[Path] = []
        self.prior_of_step: int | None = None
        # How many of the other run's weights it began with.
        self.begun_with = 0
        # The step up to which the curves of the run are to be kept.
        self.curves_until = -1

    def restore(self, directory: RunDirectory) -> None:
        """Take over the state of the newest whole checkpoint; damaged ones are put aside with a warning. All call it.

        Raises:
            CheckpointError
        """
        if self.team.leads:
            restored = self.restore_newest(directory, directory.checkpoints)
            self.team.told(self.state.step if restored else -1)
        else:
            step = self.team.told(-1)
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
                about, pending = checkpoint.restore(path, self.state, self.team.rank, self.team.own_device)
            except CheckpointError as error:
                if path == checkpoints[0]:
                    raise CheckpointError(
                        f"{error}; no other is left of {directory.path}: delete its folder checkpoints to begin again, "
                        "or start a new run"
                    ) from error
                logger.warning("%s; going on from the checkpoint before it", error)
                damaged.append(path)
                continue
            if about.data_digest != self.data_digest:
                raise CheckpointError(
                    f"{path}: the images of {self.dataset.name} aren't those that the run was trained on; bring them "
                    f"back, or start a new run with --init-from {directory.path}"
                )
            steps = len(next(iter(pending.values()), ()))
            if steps >= self.config.run.log_every:
                raise CheckpointError(f"{path}: its metrics of {steps:,} steps should have been logged; use another")
            if about.processes != self.team.size:
                logger.warning(
                    "the run goes on with %d process%s, from a checkpoint of %d: the order of the images stays, but "
                    "the noise that further steps draw is other, and so is rounding",
                    self.team.size,
                    "" if self.team.size == 1 else "es",
                    about.processes,
                )
            if self.team.rank >= about.processes:
                self.team.seed_noise(self.config.run.seed, self.state.step)
            self.seconds = about.seconds
            self.curves_until = self.state.step
            pending = {name: values.to(self.where) for name, values in pending.items()}
            self.pending = [{name: values[index] for name, values in pending.items()} for index in range(steps)]
            for each in damaged:
                logger.warning("it is kept as %s", directory.set_aside(each))
            return True
        return False

    def take_initial_weights(self) -> None:
        """Those of `init_from`, if that is given; else what the training images' mean says of them.

        Raises:
            CheckpointError: when they are gone or damaged.
            UsageError: when they don't fit.
        """
        if self.config.run.init_from is not None:
            source = checkpoint.read(Path(self.config.run.init_from))
            self.begun_with = load_weights(self.state.model, source)
        else:
            self.state.model.begin_at(self.dataset.train.mean())
        if self.state.averaged is not None:
            self.state.averaged.load_state_dict(self.state.model.state_dict())

    def carry_out(self, directory: RunDirectory | None) -> Result:
        """Train to the end. All call it, the followers without a directory."""
        if directory is None:
            self.state.phases = self.team.distribute(self.state.phases)
            with stop_signals(alone=False, speaks=False) as received:
                stopped = self.run_epochs(received)
            return Result(Path(), Path(), self.state.step, self.seconds, {}, stopped)
        self.directory = directory
        with lost_process(directory.path):
            self.state.phases = self.team.distribute(self.state.phases)
            together = f", one of {self.team.size} processes" if self.team.size > 1 else ""
            how = described(self.config.run, self.where, self.total_steps)
            logger.info("device   %s%s%s", device.describe(self.where), together, how)
            what = f"{record.describe_data(self.dataset)}, {self.batches.place}"
            logger.info("data     %s: %s", self.dataset.name, what)
            weights = sum(each.numel() for each in self.state.model.parameters())
            logger.info("model    %s: %s weights", self.config.model, f"{weights:,}")
            if self.resumable:
                logger.info("run      %s", directory.path)
            if self.config.run.init_from is not None and self.curves_until < 0:
                which = "" if self.begun_with else "random; only the architecture is "
                logger.info("weights  %sfrom %s", which, self.config.run.init_from)
            if self.state.step:
                logger.info("resumed  after %s of %s steps", f"{self.state.step:,}", f"{self.total_steps:,}")
            with ExitStack() as stack:
                self.curves = stack.enter_context(Curves(directory.path, self.curves_until))
                self.writer = stack.enter_context(ThreadPoolExecutor(1))
                with stop_signals(alone=self.team.size == 1) as received:
                    stopped = self.run_epochs(received)
                return self.finish(stopped)

    def run_epochs(self, received: Sequence[int]) -> int | None:
        """Train until the last epoch is done, or a signal arrives: then until the step, or the epoch's end, is done.

        All call it, and stop at the same step, whoever received the signal.

        Returns:
            The signal.
        """
        if self.curves_until < 0 and self.team.leads:
            self.draw_reals()
        batches, bar_size = len(self.batches), self.batches.batch_size
        with progress_bar(self.total_steps, self.state.step, bar_size, shown=self.team.leads) as self.bar:
            stop, _ = self.team.agree(received, False)
            started = time.monotonic() - self.seconds
            while self.state.step < self.total_steps and not stop:
                epoch, done = divmod(self.state.step, batches)
                for metrics in train(self.state, self.batches.epoch(epoch, done)):
                    self.pending.append(metrics)
                    self.bar.update(bar_size)
                    self.seconds = time.monotonic() - started
                    ended = self.state.step % batches == 0
                    if len(self.pending) == self.config.run.log_every or ended:
                        self.log_pending()
                    stop, due = self.team.agree(received, self.save_is_due())
                    if stop:
                        break
                    if not ended and due:
                        self.save({})
                if self.state.step % batches == 0:
                    self.end_epoch(self.state.step // batches)
                    self.seconds = time.monotonic() - started
                    stop, _ = self.team.agree(received, False)
        self.settle()
        missing = self.team.leads and not self.directory.checkpoint_path(self.state.step).exists()
        stop, missing = self.team.agree(received, missing)
        if stop and missing:
            self.save({})
            self.settle()
        return stop[0] if stop else None

    def end_epoch(self, epoch: int) -> None:
        """Validate, draw and save, in this order: a checkpoint vouches for all that came before it. All call it."""
        values, due = self.judge(epoch) if self.team.leads else ({}, False)
        if self.team.agree([], due)[1]:
            self.save(values)

    def judge(self, epoch: int) -> tuple[dict[str, float], bool]:
        """Validate and draw; returns the metrics, and whether a checkpoint is due."""
        epochs, every = self.config.options.epochs, self.config.run.checkpoint_epochs
        last = epoch == epochs
        values = validate(self.state.best_model, self.dataset.val, self.where)
        self.enter("val", values)
        shown = "  ".join(f"{name} {value:.5g}" for name, value in values.items())
        logger.info("epoch %*d/%d  %s", len(str(epochs)), epoch, epochs, shown)
        self.validations.append(values)
        self.warn_of(self.state.model.watch(self.validations))
        if last or epoch % self.config.run.picture_every == 0:
            self.draw()
        due = epoch % every == 0 if every else self.save_is_due() or self.is_best(values)
        return values, last or due

    def log_pending(self) -> None:
        """Log the mean of the metrics of the steps since the last time, and over the processes. All call it."""
        if self.writing is not None and self.writing.done():
            self.settle()
        values = self.read_pending()
        self.pending = []
        if not self.team.leads:
            return
        means = {name: value.mean().item() for name, value in values.items()}
        self.bar.set_postfix_str(" ".join(f"{name} {value:.4g}" for name, value in list(means.items())[:3]))
        self.enter("train", means)

    def read_pending(self) -> dict[str, Tensor]:
        """The metrics of the steps that aren't logged yet, (steps,) each, read back from the device all at once.

        They are means over the processes, so that what isn't finite in one is so in all. All call it.

        Raises:
            DivergedError: naming the first step whose metrics are not all finite.
        """
        if not self.pending:
            return {}
        names = list(self.pending[0])
        if any(metrics.keys() != self.pending[0].keys() for metrics in self.pending):
            raise CheckpointError("the run's checkpoint holds metrics that this model doesn't have; start a new run")
        table = torch.stack([torch.stack([metrics[name] for name in names]) for metrics in self.pending]).cpu()
        table = self.team.mean(table)
        finite = table.isfinite()
        if not finite.all():
            bad = int(finite.all(1).logical_not().nonzero()[0])
            name = names[int(finite[bad].logical_not().nonzero()[0])]
            raise self.diverged(name, self.state.step - len(table) + bad + 1)
        return dict(zip(names, table.unbind(1), strict=True))

    def diverged(self, name: str, step: int) -> DivergedError:
        if not self.team.leads:
            return DivergedError("the training has diverged")
        phase, _, metric = name.removeprefix("val/").rpartition("/")
        what = {"grad_norm": "gradient"}.get(metric, f"validation's {metric}" if name.startswith("val/") else metric)
        options, path = self.config.options, self.directory.path
        advice = f"a lower --lr (it is {options.lr:g})"
        advice += "" if options.grad_clip else " or --grad-clip 1"
        advice += "" if options.lr_warmup else " or --lr-warmup 1"
        with suppress(CheckpointError, OSError):  # the worse news goes first
            self.settle()
        saved = self.directory.checkpoints
        again = f"genkit train {self.config.model}" + (f" --init-from {saved[-1]}" if saved else "")
        return DivergedError(
            f"the {what} {f'of the phase {phase} ' if phase else ''}is no longer finite at step {step}; "
            f"what usually helps is a new run with {advice}: {again} … (what there is of this one: {path})"
        )

    def enter(self, split: str, values: dict[str, float]) -> None:
        """Enter values in the curves.

        Raises:
            DivergedError: for a value that is not finite.
        """
        for name, value in values.items():
            if not math.isfinite(value):
                raise self.diverged(f"{split}/{name}", self.state.step)
        step = self.state.step
        self.curves.add(step, step / len(self.batches), {f"{split}/{name}": value for name, value in values.items()})

    def warn_of(self, faults: dict[str, str]) -> None:
        """Warn of each fault by its name when it appears, and not again while it lasts."""
        for name in faults.keys() - self.faults:
            logger.warning("%s: %s", name, faults[name])
        self.faults = set(faults)

    @torch.no_grad()
    def fit_prior(self) -> None:
        """Fit the prior, where there is one, to the model as it is now, once a step."""
        model = self.state.best_model.eval()
        if not ability.generates(model) or self.prior_of_step == self.state.step:
            return
        self.prior_of_step = self.state.step
        chosen = self.dataset.train.take(self.dataset.train.spread(PRIOR_IMAGES))
        # A checkpoint more or less must not change what training draws next.
        with device.seeded(self.config.run.seed, self.where):
            model.fit_prior(in_order(chosen, evaluation_batch(model.image), self.where))

    def save_is_due(self) -> bool:
        """Whether the minutes between two checkpoints have passed, by the leader's clock."""
        return self.team.leads and time.monotonic() - self.saved_at >= self.config.run.checkpoint_seconds

    def is_best(self, values: dict[str, float]) -> bool:
        """Whether no checkpoint of the run is better than these validation metrics."""
        self.settle()
        saved = [rundir.monitored_value(path) for path in self.directory.checkpoints]
        return values.get(self.state.model.monitor, math.inf) < min(saved, default=math.inf)

    def save(self, values: dict[str, float]) -> None:
        """Copy the state, and have it written while training goes on; nothing that isn't finite gets into it.

        All call it: each one's random generators are in it.

        Raises:
            CheckpointError: when the disk didn't take the one before.
            DivergedError
        """
        pending = self.read_pending()
        random = self.team.gather(state.random_tensors(self.team.own_device))
        if not self.team.leads:
            return
        self.fit_prior()
        self.settle()
        snapshot = checkpoint.snapshot(
            self.state,
            pending,
            random,
            model=self.config.model,
            monitor=self.state.model.monitor,
            epoch=round(self.state.step / len(self.batches), 4),
            seconds=round(self.seconds, 3),
            metrics={f"val/{name}": value for name, value in values.items()},
            data=self.config.data,
            data_digest=self.data_digest,
            classes=self.dataset.classes,
            attributes=self.dataset.attributes,
        )
        path, pictures, self.drawn = self.directory.checkpoint_path(self.state.step), self.drawn, []
        self.writing = self.writer.submit(self.write, path, snapshot, pictures)
        self.saved_at = time.monotonic()

    def write(self, path: Path, snapshot: checkpoint.Snapshot, pictures: Sequence[Path]) -> None:
        """All that led to a checkpoint, then the checkpoint."""
        for picture in pictures:
            if picture.exists():  # somebody may have deleted it
                sync_file(picture)
        self.curves.sync()
        checkpoint.write(path, snapshot)
        self.directory.prune()

    def settle(self) -> None:
        """Wait for the checkpoint that is being written.

        Raises:
            CheckpointError, OSError: when the disk doesn't take it.
        """
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()

    def draw_reals(self) -> None:
        reals = images.grid(self.dataset.val.images(self.dataset.val.spread(PICTURE_COUNT)))
        self.show("reals", reals, self.directory.path / "reals.png", 0)

    @torch.no_grad()
    def draw(self) -> None:
        """Samples from fixed noise, and fixed validation images with their reconstructions below them.

        Nothing of a model that makes no images.
        """
        model = self.state.best_model.eval()
        if not ability.generates(model):
            return
        self.fit_prior()
        pictures = {"samples": images.grid(sampling.decode(model, sampling.seed_codes(model, range(PICTURE_COUNT))))}
        if ability.encodes(model):
            val = self.dataset.val
            originals = images.to_float(val.images(val.spread(PICTURE_COUNT // 2)))
            pairs = zip(originals.split(8), sampling.reconstruct(model, originals).split(8), strict=True)
            pictures["reconstructions"] = images.grid(torch.cat([row for pair in pairs for row in pair]), columns=8)
        for name, picture in pictures.items():
            self.show(name, picture, self.directory.path / f"{name}-{self.state.step:06d}.png", self.state.step)

    def show(self, name: str, picture: Tensor, path: Path, step: int) -> None:
        """A picture (C, H, W) as a file of the run and in TensorBoard, compressed once."""
        content = images.as_png(picture)
        images.save_png(path, content)
        self.drawn.append(path)
        self.curves.add_image(name, content, (picture.shape[2], picture.shape[1]), step)

    def finish(self, stopped: int | None) -> Result:
        """Measure the best checkpoint, as it lies on disk, on the test split, and write the model card."""
        best = rundir.Found(self.directory.by_merit(), self.directory)
        metrics: dict[str, float] = {}
        path = best.checkpoints[0]
        if stopped is not None:
            done = f"{self.state.step:,} of {self.total_steps:,}"
            again = f"genkit train --resume {self.directory.path}"
            together = "" if self.team.size == 1 else f" by torchrun, with {self.team.size} processes"
            how = f"; go on with: {again}{together}" if self.resumable else ""
            logger.info("stopped  after %s steps%s", done, how)
        else:
            path, model, about = best.read()
            values = validate(model.to(self.where), self.dataset.test, self.where)
            metrics = {f"test/{name}": value for name, value in values.items()}
            self.curves.add_test(about.step, values)
            logger.info("test  %s", "  ".join(f"{name} {value:.5g}" for name, value in values.items()))
        result = Result(self.directory.path, path, self.state.step, self.seconds, metrics, stopped)
        write_file(self.directory.path / "README.md", record.card(self.config, self.dataset, result).encode())
        return result


def fitted_to(dataset: Dataset, config: Config) -> Config:
    """The configuration with what only the images can say of the model's options.

    Raises:
        DataError, UsageError: where the model can't be trained on them.
    """
    options = registry.find(config.model).options_for(config.options, dataset)
    filled_in = {name for name, value in options if value != getattr(config.options, name)}
    return config._replace(options=options, sources={**config.sources, **dict.fromkeys(filled_in, "data")})


def require_room(config: Config, dataset: Dataset) -> None:
    """Refuse, before anything of its size is allocated, a model whose checkpoints don't fit on the disk.

    Raises:
        GenkitError: then, and where the model can't be built without memory for its weights.
    """
    try:
        size = checkpoint.size(registry.find(config.model), dataset.shape, config.options)
    except (RuntimeError, TypeError) as error:
        raise GenkitError(
            f"models/{config.model.replace('-', '_')}.py: its __init__ needs the values of tensors ({error}), so that "
            "its checkpoints couldn't be checked before they are loaded; compute those values without torch"
        ) from error
    rundir.require_space(Path(config.run.out), size)


def require_short_names(dataset: Dataset, config: Config) -> None:
    """Refuse, before training, a dataset whose run couldn't be read again for the length of its names.

    They stand in its checkpoints, and those of the attributes that a classifier tells in its config.json, too.

    Raises:
        GenkitError
    """
    names = len(to_json([*dataset.classes, *dataset.attributes]))
    if names > description.MAX_JSON // 2:
        raise GenkitError(
            f"{dataset.name}: the names of its classes and attributes take {names:,} bytes; give it fewer, or shorter"
        )
    size = len(to_json(config.as_json()))
    if size > MAX_CONFIG:
        raise GenkitError(
            f"{dataset.name}: the run's configuration would take {size:,} bytes, by the names of attributes in it; "
            "name one with --target, or give the images fewer"
        )


def require_likely_size(config: Config, dataset: Dataset, directory: RunDirectory) -> None:
    """Before a run's model is built: a few bytes of config.json must not ask for one of any size.

    Raises:
        CheckpointError: when it would be larger than the weights in the run's checkpoints.
        GenkitError: when there are none, as `require_room`.
    """
    files = [path / description.MODEL for path in directory.checkpoints]
    largest = max((file.stat().st_size for file in files if file.is_file()), default=None)
    if largest is None:
        require_room(config, dataset)
    elif checkpoint.weights_size(registry.find(config.model), dataset.shape, config.options) > largest:
        raise CheckpointError(f"{directory.path}: its config.json is of a larger model than its checkpoints")


def require_equal_shares(config: Config, dataset: Dataset, processes: int) -> None:
    """Refuse batches that the processes can't share equally: their gradients couldn't just be averaged.

    Raises:
        UsageError
    """
    size = min(config.options.batch_size, len(dataset.train))
    if size % processes:
        what = "--batch-size" if size == config.options.batch_size else "there are few training images: a batch of"
        raise UsageError(
            f"{what} {size} can't be shared equally by {processes} processes; give a --batch-size of "
            f"{max(1, size // processes) * processes}, or start as many processes as divide it"
        )


def build(config: Config, dataset: Dataset, processes: int = 1) -> Model:
    """The untrained model for these images.

    Raises:
        UsageError: when a process would have to normalise a batch of a single image.
    """
    model = registry.find(config.model)(dataset.shape, config.options)
    normalises = any(isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) for each in model.modules())
    if normalises and min(config.options.batch_size, len(dataset.train)) < 2 * processes:
        needs = f"a --batch-size of {2 * processes}"
        raise UsageError(f"{config.model} uses batch normalisation, which needs {needs} and as many images")
    return model


def load_weights(model: Model, source: checkpoint.Checkpoint) -> int:
    """Give `model` the weights that it takes from a checkpoint's; returns how many tensors they are.

    Raises:
        UsageError: when they don't fit, with what differs.
    """
    if model.options_from(source.model) is None:
        name = registry.name_of(type(model))
        raise UsageError(f"--init-from: {source.path} is of the model {source.description.model}, not {name}")
    taken, own = model.weights_from(source.model), model.state_dict()
    same_kind = type(model) is type(source.model)
    if all(key in own and own[key].shape == value.shape for key, value in taken.items()) and (
        not (same_kind and taken) or taken.keys() == own.keys()
    ):
        model.load_state_dict({**own, **taken})
        return len(taken)
    theirs, fields = source.model.options.model_dump(), type(model.options).model_fields
    differences = [
        f"{'--' if is_flag(fields[key]) else ''}{key.replace('_', '-')} {as_text(value)} (there {as_text(theirs[key])})"
        for key, value in model.options.model_dump().items()
        if key in theirs and theirs[key] != value and key not in TRAINING_FIELDS
    ]
    if source.model.image != model.image:
        shapes = f"images of {model.image} (there {source.model.image}; --image-size and --channels change it)"
        differences = [*differences, shapes] if same_kind else [shapes]
    raise UsageError(f"--init-from: the weights of {source.path} don't fit {', '.join(differences) or 'this model'}")


@contextmanager
def disk_errors(run: Path) -> Iterator[None]:
    """One line where a file of the run can't be written."""
    try:
        yield
    except OSError as error:
        raise GenkitError(
            f"{error.filename or run}: can't be written ({error.strerror or error}); make room, then go on with "
            f"genkit train --resume {run}"
        ) from error


def file_name(dataset: str) -> str:
    """A dataset's name, or the last part of its path, fit for a folder's name."""
    stem = Path(dataset).stem if "/" in dataset or "." in dataset else dataset
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem).strip("-") or "images"
