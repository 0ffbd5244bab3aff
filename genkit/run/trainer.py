"""One training run, from its configuration to a model on disk: the caller of the loop.

What is logged, kept and drawn is the business of ledger.py, keeper.py and gallery.py; this file says when.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from genkit import data, device
from genkit.contract import Model, ability
from genkit.contract.fault import any_of
from genkit.data.dataset import Dataset
from genkit.errors import CheckpointError, DivergedError, GenkitError
from genkit.files import remedy, to_json, write_file
from genkit.keep import checkpoint, rundir, state
from genkit.keep import config as configuration
from genkit.keep.config import Config, RunOptions, continued
from genkit.keep.rundir import RunDirectory
from genkit.nets.priors import CodePrior
from genkit.options import as_text
from genkit.run import baseline, record, timing
from genkit.run.curves import Curves
from genkit.run.gallery import Gallery
from genkit.run.keeper import Keeper, begin_anew
from genkit.run.ledger import NotFiniteError
from genkit.run.preparation import (
    fitted_to,
    require_likely_size,
    require_room,
    require_room_for_weights,
    require_same_past,
    require_same_place,
    require_sets,
    require_short_names,
)
from genkit.run.prior import PriorFit, fitted, require_encoder
from genkit.run.process import log_file, progress_bar, stop_signals
from genkit.run.rehearsal import rehearse
from genkit.run.result import Result
from genkit.run.setup import Setup
from genkit.run.validation import validate
from genkit.run.watch import Watch, more_steps, steadier
from genkit.step.accelerate import described
from genkit.step.distributed import Team, lost_process
from genkit.step.training import train
from genkit.wording import OF_A_DENSITY, counted

logger = logging.getLogger("genkit")


def start(config: Config, team: Team | None = None, resumable: bool = True, by_images: bool = False) -> Result:
    """Carry out a new run.

    Args:
        team: the processes that carry it out together, each of which calls this; by default this one is alone.
        resumable: False where the run's folder won't be there to go on with, and so nobody is told to.
        by_images: whether what nobody has given is resolved as the images suggest, and not by the model's own defaults.

    Raises:
        DataError, UsageError: before anything is made.
        DivergedError: when a loss or a gradient is no longer finite; the last good checkpoint stays.
        GenkitError: when the disk doesn't take what has to be written; the last checkpoint stays whole.
    """
    require_sets(config)
    require_encoder(config)
    config, team = config.located(), team or Team(device.pick(config.run.device))
    dataset = team.one_a_machine_first(lambda: data.load_for_training(config.data))
    asked, config = config, fitted_to(dataset, config, by_images)
    require_room_for_weights(config, dataset, team.device)
    require_room(config, dataset)
    require_short_names(dataset, config)
    if config.options.minutes is not None and config.options.steps is None:
        config = planned_in_steps(asked, config, dataset, team, by_images)
        require_room(config, dataset)
    setup = Setup(config, dataset, team)
    setup.take_initial_weights()
    if not team.leads:
        return Follower(setup).carry_out()
    untrained = rehearse(setup)
    files = {"config.json": config.as_json(), record.ENVIRONMENT: record.environment(setup.where, team.size)}
    directory = RunDirectory.create(
        Path(config.run.out),
        f"{config.model}-{file_name(dataset.name)}",
        {name: to_json(value) for name, value in files.items()},
    )
    with disk_errors(directory.path), directory.locked(), log_file(directory.path / "log.txt"):
        return Leader(setup, directory, resumable, untrained).carry_out()


def planned_in_steps(asked: Config, fitted: Config, dataset: Dataset, team: Team, by_images: bool) -> Config:
    """The configuration of a run whose minutes are made steps. All call it.

    Args:
        asked: before it was fitted to the images.
        fitted: to them, without steps.
    """
    found = timing.plan(fitted, asked.run, dataset, team, by_images)
    asked = asked._replace(
        options=asked.options.model_copy(update={"steps": found.steps}),
        sources={**asked.sources, "steps": "minutes"},
        reasons={**asked.reasons, "steps": found.reason},
    )
    return fitted_to(dataset, asked, by_images, found.every)


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
        before = configuration.read(directory.path)
        config = continued(before, given, directory.path)
        require_sets(config)
        require_same_place(before, config, directory)
        data.require_there(config.data, f"genkit train --resume {directory.path} ")
        team = team or Team(device.pick(config.run.device))
        dataset = team.one_a_machine_first(lambda: data.load_for_training(config.data))
        require_likely_size(config, dataset, directory)
        setup = Setup(config, dataset, team)
        team.wait()  # or the leader might put a damaged checkpoint aside while another still looks at it
        if not leads:
            setup.restore(directory)
            return Follower(setup).carry_out()
        with log_file(directory.path / "log.txt"):
            setup.restore(directory)
            require_same_past(before, setup.state, directory)
            if config != before:
                config.save(directory.path)
            if setup.restored_step is None:
                begin_anew(directory, config.run)
            for change in record.changes(directory.path, setup.where):
                logger.warning("the run goes on, but perhaps not to the same bits, with another %s", change)
            return Leader(setup, directory).carry_out()


class Trainer:
    """Takes the steps of a run, and says when it is time to log, to end an epoch and to save.

    Where several processes train together, one leads, and has the run's folder; the others follow it through the same
    steps, and meet it where the description of a method says that all call it.
    """

    #: Of this process; where several train, the leader's is what counts.
    checkpoint_is_due = False

    def __init__(self, setup: Setup):
        self.setup = setup
        self.config, self.team, self.batches = setup.config, setup.team, setup.batches
        self.state, self.ledger = setup.state, setup.ledger
        self.seconds, self.total_steps = setup.seconds, setup.total_steps
        self.lowest, self.lowest_epoch, self.stale = setup.lowest, setup.lowest_epoch, setup.stale

    @property
    def gains_no_more(self) -> bool:
        """Whether the metric that the run is monitored by has been no better for as many epochs as somebody waits."""
        patience = self.config.run.patience
        return patience is not None and self.stale >= patience

    def run_epochs(self, received: Sequence[int]) -> int | None:
        """Train until the last epoch is done, or the last that gains; or a signal arrives: then until the step, or the
        epoch's end, is done.

        All call it, and stop at the same step, whoever received the signal.

        Returns:
            The signal.
        """
        state, batches, bar_size = self.state, len(self.batches), self.batches.batch_size
        with progress_bar(self.total_steps, state.step, bar_size, shown=self.team.leads) as bar:
            stop, _ = self.team.agree(received, False)
            started = time.monotonic() - self.seconds
            _, over = self.team.agree([], self.gains_no_more)
            if state.step == 0 and state.model.begins_trained and self.setup.restored_step is None:
                self.keep_beginning()
            while state.step < self.total_steps and not stop and not over:
                epoch, done = divmod(state.step, batches)
                ahead = islice(self.batches.epoch(epoch, done), self.total_steps - state.step)
                for metrics in train(state, ahead):
                    self.ledger.add(metrics)
                    bar.update(bar_size)
                    self.seconds = time.monotonic() - started
                    ended = self.ends_epoch
                    if self.ledger.full or (ended and self.validates(epoch + 1)) or state.stage_ends:
                        means = self.log()
                        bar.set_postfix_str(" ".join(f"{name} {value:.4g}" for name, value in list(means.items())[:3]))
                    elif ended and self.draws(epoch + 1):
                        self.ledger.read(state.step)  # nothing is drawn by weights that are no longer finite
                    stop, due = self.team.agree(received, self.checkpoint_is_due)
                    if stop:
                        break
                    if due and not ended:
                        self.save({})
                if self.ends_epoch:
                    values, due = self.end_epoch(epoch + 1)
                    if self.team.agree([], due)[1]:
                        self.save(values)
                    self.seconds = time.monotonic() - started
                    stop, over = self.team.agree(received, self.gains_no_more)
        stop, missing = self.team.agree(received, self.checkpoint_is_missing())
        if stop and missing:
            self.save({})
        return stop[0] if stop else None

    def keep_beginning(self) -> None:
        """Validate and save what a model begins with, which may be better than what it learns. All call it."""
        values, due = self.end_epoch(0)
        if self.team.agree([], due)[1]:
            self.save(values)

    @property
    def ends_epoch(self) -> bool:
        """Whether the last step was the last of a pass over the images, or of the run."""
        return self.state.step % len(self.batches) == 0 or self.state.step == self.total_steps

    def validates(self, epoch: int) -> bool:
        """Whether the model is validated at the end of an epoch, counted from 1."""
        return epoch % self.config.run.validate_every == 0 or self.state.step == self.total_steps

    def draws(self, epoch: int) -> bool:
        """Whether pictures are drawn at the end of an epoch, counted from 1."""
        return epoch % self.config.run.picture_every == 0 or self.state.step == self.total_steps

    def log(self) -> dict[str, float]:
        """The means of the metrics since the last time. All call it."""
        return self.ledger.log(self.state.step)

    def end_epoch(self, epoch: int) -> tuple[dict[str, float], bool]:
        """What is measured at an epoch's end, and whether a checkpoint is due."""
        return {}, False

    def save(self, values: dict[str, float]) -> None:
        """Keep the state. All call it: each one's random generators are in it."""
        self.ledger.read(self.state.step)
        self.team.gather(state.random_tensors(self.team.own_device))

    def checkpoint_is_missing(self) -> bool:
        """Whether there is no checkpoint of the step that training has come to."""
        return False


class Follower(Trainer):
    """A process that trains with one that leads."""

    def carry_out(self) -> Result:
        """Train to the end. All call it."""
        self.state.phases = self.team.distribute(self.state.phases)
        try:
            with stop_signals(alone=False, speaks=False) as received:
                stopped = self.run_epochs(received)
        except NotFiniteError:
            raise DivergedError("the training has diverged") from None
        return Result(Path(), Path(), self.state.step, self.seconds, {}, stopped)


class Leader(Trainer):
    """The process that has the run's folder: it alone validates, draws, keeps and speaks.

    Args:
        resumable: whether a person may go on with the run where it stops.
        untrained: what was measured before the first step.
    """

    curves: Curves
    keeper: Keeper
    gallery: Gallery

    def __init__(
        self,
        setup: Setup,
        directory: RunDirectory,
        resumable: bool = True,
        untrained: Mapping[str, float] | None = None,
    ):
        super().__init__(setup)
        self.directory, self.dataset, self.resumable = directory, setup.dataset, resumable
        self.watch = Watch(self.state, untrained)
        beside = setup.dataset.beside_split("train")
        self.prior = PriorFit(setup.dataset.train, setup.where, setup.config.run.seed, beside)

    def carry_out(self) -> Result:
        """Train to the end. All call it."""
        with lost_process(self.directory.path):
            self.state.phases = self.team.distribute(self.state.phases)
            self.introduce()
            begins = self.setup.restored_step is None
            with ExitStack() as stack:
                until = -1 if self.setup.restored_step is None else self.setup.restored_step
                self.curves = self.ledger.curves = stack.enter_context(Curves(self.directory.path, until))
                writer = stack.enter_context(ThreadPoolExecutor(1))
                self.keeper = Keeper(self.directory, self.curves, self.config.run, writer)
                self.gallery = Gallery(self.directory, self.curves, self.dataset)
                with stop_signals(alone=self.team.size == 1) as received:
                    if begins:
                        self.gallery.draw_reals()
                    try:
                        stopped = self.run_epochs(received)
                    except NotFiniteError as error:
                        raise self.diverged(error) from None
                    self.keeper.settle()
                if received and stopped is None:  # it came after the last step that would have heeded it
                    signal.raise_signal(received[0])
                return self.finish(stopped)

    def introduce(self) -> None:
        """Say what is trained, on what, and where."""
        config, setup = self.config, self.setup
        together = f", one of {self.team.size} processes" if self.team.size > 1 else ""
        how = described(config.run, setup.where, self.total_steps)
        logger.info("device   %s%s%s", device.describe(setup.where), together, how)
        what = f"{record.describe_data(self.dataset)}, {self.batches.place}"
        logger.info("data     %s: %s", self.dataset.name, what)
        if self.dataset.beside is not None:
            what = f"{record.describe_data(self.dataset.beside)}, {self.batches.beside_place}"
            logger.info("beside   %s: %s", self.dataset.beside.name, what)
        weights = sum(each.numel() for each in self.state.model.parameters())
        logger.info("model    %s: %s weights", config.model, f"{weights:,}")
        if ability.tells_density(self.state.model):
            logger.info("loss     %s", OF_A_DENSITY)
        if setup.restored_step is None:
            for name, reason in config.reasons.items():
                value = as_text(config.values()[name])
                logger.info("chosen   --%s %s: %s", name.replace("_", "-"), value, reason)
            warn_of_rare_best(config.run)
        if self.resumable:
            logger.info("run      %s", self.directory.path)
        if config.run.init_from is not None and setup.restored_step is None:
            which = "" if setup.begun_with else "random; only the architecture is "
            own = [name for name, _ in self.state.model.named_parameters() if name not in setup.begun_with]
            but = f", but for {', '.join(own)}, which are random" if setup.begun_with and own else ""
            logger.info("weights  %sfrom %s%s", which, config.run.init_from, but)
        if setup.restored_step is not None:
            logger.info("resumed  after %s of %s steps", f"{self.state.step:,}", f"{self.total_steps:,}")
            if self.gains_no_more and self.state.step < self.total_steps:
                self.tell_gains_no_more(self.state.step // len(self.batches))

    def tell_gains_no_more(self, epoch: int) -> None:
        waited = counted(self.config.run.patience or 0, "epoch")
        more = ", and a larger one goes on" if self.resumable else ""
        text = "ended    early: no better %s than at epoch %d, for %s (--patience%s)"
        logger.info(text, self.state.model.monitor, epoch - self.stale, waited, more)

    @property
    def checkpoint_is_due(self) -> bool:  # type: ignore[override]
        return self.keeper.due

    def checkpoint_is_missing(self) -> bool:
        self.keeper.settle()
        return not self.directory.checkpoint_path(self.state.step).exists()

    def log(self) -> dict[str, float]:
        self.keeper.settle(wait=False)  # a disk that is full is told now, and not at the next checkpoint
        return super().log()

    def end_epoch(self, epoch: int) -> tuple[dict[str, float], bool]:
        """Validate, draw, and see whether to save, in this order: a checkpoint vouches for all that came before it."""
        every, keep_every = self.config.run.checkpoint_epochs, self.config.run.keep_every
        step, model = self.state.step, self.state.best_model
        whole = step % len(self.batches) == 0
        kept = keep_every is not None and whole and epoch > 0 and epoch % keep_every == 0
        values = self.validate(epoch) if self.validates(epoch) else {}
        last = step == self.total_steps or self.gains_no_more
        if last or self.draws(epoch):
            self.prior.fit(model, step)
            self.gallery.draw(model, step)
        # With patience, a run is to come to its best epoch, however rare its checkpoints are.
        kept = kept or (bool(values) and self.config.run.patience is not None and self.stale == 0)
        if every:
            return values, last or kept or epoch % every == 0
        return values, last or kept or self.keeper.due or self.keeper.is_best(values.get(self.state.model.monitor))

    def validate(self, epoch: int) -> dict[str, float]:
        """Measure the model on the validation images, and say what it came to and what is wrong with it."""
        epochs, step = self.config.options.epochs, self.state.step
        values = self.measured(self.state.best_model, "val", step)
        self.count_stale(values.get(self.state.model.monitor), epoch)
        self.ledger.enter("val", values, step)
        shown = "  ".join(f"{name} {value:.5g}" for name, value in values.items())
        logger.info("epoch %*d/%d  val  %s", len(str(epochs)), epoch, epochs, shown)
        self.watch.look(values, step == self.total_steps or self.gains_no_more)
        if self.gains_no_more and step < self.total_steps:
            self.tell_gains_no_more(epoch)
        return values

    def count_stale(self, value: float | None, epoch: int) -> None:
        """Enter what an epoch came to by the metric that the run is monitored by."""
        if value is None:
            return  # a stage that doesn't measure it
        if self.lowest is None or not value >= self.lowest:
            self.lowest, self.lowest_epoch = value, epoch
        self.stale = epoch - self.lowest_epoch

    def measured(self, model: Model, split: str, step: int) -> dict[str, float]:
        """The metrics of a model of this step on a split, `val` or `test`."""
        images, beside = self.dataset.splits()[split], self.dataset.beside_split(split)
        train = self.dataset.train if split == "val" else None
        return validate(model, images, self.setup.where, phases=self.state.phases_of(step), beside=beside, train=train)

    def save(self, values: dict[str, float]) -> None:
        """Copy the state, and have it written while training goes on; nothing that isn't finite gets into it.

        All call it: each one's random generators are in it.

        Raises:
            CheckpointError: when the disk didn't take the one before.
            NotFiniteError
        """
        pending = self.ledger.read(self.state.step)
        random = self.team.gather(state.random_tensors(self.team.own_device))
        self.prior.fit(self.state.best_model, self.state.step)
        self.keeper.settle()  # before the copy is made, or there would be two in memory
        snapshot = checkpoint.snapshot(
            self.state,
            pending,
            random,
            model=self.config.model,
            monitor=self.state.model.monitor,
            opens=self.state.model.opens,
            lowest=self.lowest,
            lowest_epoch=self.lowest_epoch,
            stale=self.stale,
            epoch=round(self.state.step / len(self.batches), 4),
            seconds=round(self.seconds, 3),
            metrics={f"val/{name}": value for name, value in values.items()},
            data=self.config.data,
            data_digest=self.setup.data_digest,
            beside_digest=self.setup.beside_digest,
            seed=self.config.run.seed,
            classes=self.dataset.classes,
            attributes=self.dataset.attributes,
            whites=self.dataset.whites,
        )
        self.keeper.save(snapshot, self.gallery.handed_over())

    def finish(self, stopped: int | None) -> Result:
        """Measure the checkpoint that RUN stands for, as it lies on disk, on the test split; write the model card."""
        chosen = rundir.Found(self.directory.choose, self.directory)
        metrics: dict[str, float] = {}
        beside = prior = ""
        path = chosen.checkpoints[0]
        if stopped is not None:
            done = f"{self.state.step:,} of {self.total_steps:,}"
            again = f"genkit train --resume {self.directory.path}"
            together = "" if self.team.size == 1 else f" by torchrun, with {self.team.size} processes"
            how = f"; go on with: {again}{together}" if self.resumable else ""
            logger.info("stopped  after %s steps%s", done, how)
        else:
            path, model, about = chosen.read()
            model.to(self.setup.where)
            prior = self.keep_prior(path, model)
            values = self.measured(model, "test", about.step)
            metrics = {f"test/{name}": value for name, value in values.items()}
            self.curves.add_test(about.step, values)
            logger.info("test  %s", "  ".join(f"{name} {value:.5g}" for name, value in values.items()))
            lacking = self.dataset.lacking(self.dataset.test)
            if lacking and ability.classifies(model) and not model.options.attributes:
                logger.warning("no test image is of the class %s: the test error says nothing of it", lacking)
            beside = self.hold_against_baselines(model)
        which, density = self.directory.called(path), ability.tells_density(self.state.model)
        result = Result(
            self.directory.path, path, self.state.step, self.seconds, metrics, stopped, which, beside, density, prior
        )
        write_file(self.directory.path / "README.md", record.card(self.config, self.dataset, result).encode(), False)
        return result

    def keep_prior(self, path: Path, model: Model) -> str:
        """Fit what new codes are drawn by to the model of a checkpoint, and keep it there, if it hasn't got it yet.

        It is a function of the model and its images alone, so that a run that is killed here, and resumed, keeps the
        same.

        Returns:
            What new codes are drawn by, for people; "" of a model that makes no images.
        """
        if not ability.generates(model):
            return ""
        kept = model.fitted
        if isinstance(kept, CodePrior):
            return kept.in_words()
        found = fitted(model, self.dataset, self.setup.where, self.config.run.seed, self.config.run.prior or "own")
        if found is not None:
            try:
                checkpoint.add_prior(path, found)
            except CheckpointError:
                raise
            except GenkitError as error:
                if not isinstance(error.__cause__, OSError):
                    raise
                raise GenkitError(
                    f"the prior of {path} could not be written ({error.__cause__.strerror}); "
                    + remedy(error.__cause__, "then", f"go on with genkit train --resume {self.directory.path}")
                ) from error.__cause__
            model.draw_by(found)
        return "the model's own prior" if found is None else found.in_words()

    def hold_against_baselines(self, model: Model) -> str:
        """Say what the mean image and PCA reach where the model gives images back; a warning, where that is less."""
        if self.dataset.beside is not None:  # which such a model's encoder may need
            return ""
        found = baseline.measure(model, self.dataset, self.setup.where, self.config.run.seed)
        if found is None:
            return ""
        said = str(found)
        if found.beaten_by:
            options = self.config.options
            length, value = options.length
            longer = (
                f"more --patience (it is {self.config.run.patience})"
                if self.gains_no_more
                else f"more --{length} (they are {value})"
            )
            helps = any_of([longer, f"another --lr (it is {options.lr:g})"])
            more = "" if self.gains_no_more else more_steps(self.state)
            said += f": the model loses to {' and '.join(found.beaten_by)}"
            logger.warning("%s; %s", said, more or f"what usually helps: {helps}")
        else:
            logger.info("compared %s", said)
        return said

    def diverged(self, error: NotFiniteError) -> DivergedError:
        """What has become of the run, and what usually helps."""
        phase, _, metric = error.name.removeprefix("val/").removeprefix("train/").rpartition("/")
        in_validation = error.name.startswith("val/")
        what = {"grad_norm": "gradient"}.get(metric, f"validation's {metric}" if in_validation else metric)
        path = self.directory.path
        advice = any_of(steadier(self.config.options, len(self.batches)))
        with suppress(CheckpointError, OSError):  # the worse news goes first
            self.keeper.settle()
        saved = self.directory.checkpoints and self.directory.by_merit()
        again = f"genkit train {self.config.model}" + (f" --init-from {saved[0]}" if saved else "")
        return DivergedError(
            f"the {what} {f'of the phase {phase} ' if phase else ''}is no longer finite at step {error.step}; "
            f"what usually helps is a new run with {advice}: {again} … (what there is of this one: {path})"
        )


def warn_of_rare_best(run: RunOptions) -> None:
    """Say where epochs that are validated and epochs that are kept seldom meet, among which the best is chosen."""
    kept, measured = run.checkpoint_epochs, run.validate_every
    if kept is None or run.patience is not None or kept % measured == 0 or measured % kept == 0:
        return
    logger.warning(
        "--validate-every %d and --checkpoint-every %d meet once in %d epochs, and the best is chosen among those "
        "alone; --checkpoint-every %d keeps each that is validated",
        measured,
        kept,
        math.lcm(measured, kept),
        measured,
    )


@contextmanager
def disk_errors(run: Path) -> Iterator[None]:
    """One line where a file of the run can't be written, or the whole run is gone."""
    try:
        yield
    except (OSError, GenkitError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause or error, OSError | CheckpointError) and not os.path.lexists(run):
            raise GenkitError(
                f"{run} is gone, and with it where the run writes; if it has another name or place now, go on with "
                "genkit train --resume and that"
            ) from error
        if isinstance(error, GenkitError):
            raise
        raise GenkitError(
            f"{error.filename or run}: can't be written ({error.strerror or error}); "
            + remedy(error, "then", f"go on with genkit train --resume {run}")
        ) from error


def file_name(dataset: str) -> str:
    """A dataset's name, or the last part of its path, fit for a folder's name."""
    stem = Path(dataset).stem if "/" in dataset or "." in dataset else dataset
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem).strip("-") or "images"
