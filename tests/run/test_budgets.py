"""How long a run is: in epochs, in steps, in minutes; and how rarely one of many epochs is validated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from conftest import Genkit
from pydantic import Field
from torch import Tensor

from genkit import registry
from genkit.contract import Batch, Phase, TrainingOptions
from genkit.data import DataOptions
from genkit.data.dataset import Dataset
from genkit.keep import config
from genkit.keep.config import Config, RunOptions
from genkit.keep.description import describe
from genkit.keep.rundir import RunDirectory
from genkit.models.ae import AE
from genkit.run import timing, trainer
from genkit.run.preparation import cadence
from genkit.run.setup import Setup
from genkit.step.distributed import Team
from genkit.step.training import windows
from genkit.testing import Stopping, contents_of

pytestmark = pytest.mark.usefixtures("begun_at_random")

#: Training images of the set, and a batch: 5 steps a pass.
IMAGES, BATCH = 40, 8


@pytest.fixture(scope="module")
def images(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 digits, of which 40 are trained on."""
    path = tmp_path_factory.mktemp("images") / "digits.npy"
    np.save(path, digits.train.images(slice(0, 50)).numpy())
    return path


@pytest.fixture
def command(images: Path, tmp_path: Path) -> list[object]:
    small = ["--hidden", "8", "--latent-dim", "3", "--shortcut", "none", "--batch-size", BATCH, "--device", "cpu"]
    return ["train", "ae", "--dataset", images, *small, "--out", tmp_path / "runs"]


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def validated(run: Path) -> list[int]:
    """The steps after which a run was validated."""
    return [row["step"] for row in rows_of(run) if "val/loss" in row]


# -- steps -------------------------------------------------------------------------------------------------------------


def test_a_run_takes_exactly_its_steps_and_ends_its_last_pass_early(genkit: Genkit, command: list[object]) -> None:
    outcome = genkit(*command, "--steps", 12, "--log-every", 4, "--json")
    run = Path(outcome.json["run"])
    assert outcome.json["steps"] == 12
    assert validated(run) == [5, 10, 12]
    assert "epoch 3/3  val" in outcome.err
    assert (run / "samples-000012.png").is_file()
    assert [path.name for path in RunDirectory(run).checkpoints][-1] == "000012"
    assert outcome.json["metrics"].keys() == {"test/loss", "test/squared_error", "test/active_units"}
    made = config.read(run)
    assert (made.options.steps, made.options.epochs, made.options.passes) == (12, 3, 2.4)
    assert (made.sources["steps"], made.sources["epochs"]) == ("flag", "steps")
    assert "| steps | 12 | flag |" in (run / "README.md").read_text()
    assert genkit("report", run).code == 0
    assert "genkit train --resume" in (text := (run / "report.html").read_text())
    assert "--steps 24" in text


def test_as_many_steps_as_epochs_make_come_to_the_same_bits(genkit: Genkit, command: list[object]) -> None:
    by_epochs = Path(genkit(*command, "--epochs", 2, "--lr-warmup", 0.4, "--json").json["run"])
    by_steps = Path(genkit(*command, "--steps", 10, "--lr-warmup", 0.4, "--json").json["run"])
    assert contents_of(by_steps) == contents_of(by_epochs)


def test_a_cut_run_stopped_after_every_step_comes_to_the_same_bits(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings(out: str) -> Config:
        run = RunOptions(out=str(tmp_path / out), device="cpu", log_every=3, validate_every=2, checkpoint_every="2")
        options = AE.Options(steps=5, batch_size=20, hidden=(8,), latent_dim=3, ema=0.5)
        made = Config("ae", options, DataOptions(dataset=str(images)), run, {})
        return made._replace(sources=dict.fromkeys(made.values(), "default"))

    whole = trainer.start(settings("whole"))
    assert validated(whole.run) == [4, 5]
    stopping = Stopping(AE.phases)
    monkeypatch.setattr(AE, "phases", stopping.phases)
    stopping.armed = True
    result, stops = trainer.start(settings("pieces")), 0
    while result.stopped is not None:
        stops, stopping.armed = stops + 1, True
        result = trainer.resume(RunDirectory(result.run), {})
    assert stops >= 4
    assert contents_of(result.run) == contents_of(whole.run)


def test_more_steps_go_on_where_the_last_pass_was_cut(genkit: Genkit, command: list[object]) -> None:
    run = Path(genkit(*command, "--steps", 7, "--json").json["run"])
    assert genkit("train", "--resume", run, "--steps", 13, "-n", "--json").json["options"]["passes"] == 2.6
    assert genkit("train", "--resume", run, "--steps", 13, "--json").json["steps"] == 13
    assert validated(run) == [5, 7, 10, 13]
    made = config.read(run)
    assert (made.options.epochs, made.options.passes, made.sources["steps"]) == (3, 2.6, "resume")
    assert genkit("train", "--resume", run, "--steps", 13, "--json").json["steps"] == 13


@pytest.mark.parametrize(
    ("planned", "given", "said"),
    [
        (["--steps", 7], ["--steps", 6], "--steps 6 (the run has 7): only --steps may be raised"),
        (["--steps", 7], ["--epochs", 9], "planned in steps, and can't go on with --epochs: give --steps N, more"),
        (["--epochs", 1], ["--steps", 9], "in epochs, and can't go on with --steps: give --epochs N, more than 1"),
        (["--epochs", 1], ["--minutes", 9], "is planned in epochs, and can't go on with --minutes"),
    ],
)  # fmt: skip
def test_a_run_goes_on_by_what_it_was_planned_in(
    genkit: Genkit, command: list[object], planned: list[object], given: list[object], said: str
) -> None:
    run = genkit(*command, *planned, "--json").json["run"]
    outcome = genkit("train", "--resume", run, *given)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


def test_how_long_to_train_is_said_once(
    genkit: Genkit, command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = genkit(*command, "--steps", 7, "--epochs", 2)
    assert both.code == 2
    assert both.err == "genkit: --epochs and --steps say the same in different ways; give one of them\n"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("epochs = 2\nminutes = 3\n")
    both = genkit(*command, "--config", recipe)
    assert both.code == 2
    assert both.err == "genkit: --epochs and --minutes say the same in different ways; give one of them\n"
    # A flag goes before a variable, and that before a recipe, as for every option.
    recipe.write_text("epochs = 2\n")
    monkeypatch.setenv("GENKIT_STEPS", "8")
    by_variable = genkit(*command, "--config", recipe, "-n", "--json").json
    assert (by_variable["options"]["steps"], by_variable["sources"]["epochs"]) == (8, "steps")
    by_flag = genkit(*command, "--config", recipe, "--epochs", 3, "-n", "--json").json["options"]
    assert (by_flag["steps"], by_flag["epochs"]) == (None, 3)
    monkeypatch.delenv("GENKIT_STEPS")
    recipe.write_text("steps = 2\n")
    assert genkit(*command, "--config", recipe, "--epochs", 3, "-n", "--json").json["sources"]["steps"] == "default"
    # So it does where the same is given once more to a run that goes on.
    recipe.write_text('model = "ae"\nepochs = 3\n')
    run = genkit(*command, "--config", recipe, "--steps", 2, "--json").json["run"]
    assert genkit("train", "--config", recipe, "--steps", 3, "--resume", run, "--json").json["steps"] == 3


def test_more_passes_than_a_run_can_have_are_refused(genkit: Genkit, command: list[object]) -> None:
    outcome = genkit(*command, "--steps", 500_001)
    assert outcome.code == 2
    assert outcome.err == (
        "genkit: --steps 500001: a pass over the training images has 5 steps, and a run at most 100,000 passes; give "
        "fewer --steps, or a smaller --batch-size\n"
    )


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("steps", "0", "Invalid value for '--steps': 0 is not in the range 1<=x<=1000000000."),
        ("steps", "1.5", "Invalid value for '--steps': '1.5' is not a valid integer range."),
        ("minutes", "0", "Invalid value for '--minutes': 0.0 is not in the range 0<x<=100000."),
        ("minutes", "inf", "Invalid value for '--minutes': inf is not in the range 0<x<=100000."),
        ("minutes", "nan", "--minutes must be finite (got nan)"),
        ("validate-every", "0", "Invalid value for '--validate-every': 0 is not in the range x>=1."),
    ],
)
def test_what_is_no_number_of_them_is_refused(
    genkit: Genkit, command: list[object], tmp_path: Path, option: str, value: str, said: str
) -> None:
    outcome = genkit(*command, f"--{option}", value)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"genkit: {said}")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_phase_that_begins_after_epochs_begins_at_their_step() -> None:
    options = TrainingOptions(steps=50).counted_in_epochs(20)
    assert (options.passes, options.epochs) == (2.5, 3)
    module = torch.nn.Linear(1, 1)
    begins = options.share(1)
    phases = [Phase("first", module, dict, {}, 0, begins), Phase("second", module, dict, {}, begins)]
    assert windows(phases, options.total_steps(20)) == [range(20), range(20, 50)]


def test_an_option_of_a_models_own_may_not_be_called_as_a_budget() -> None:
    with pytest.raises(TypeError, match="an option of its own is called steps, as one that says how long to train"):

        class Options(TrainingOptions):
            steps: int = 1000  # type: ignore[assignment]

    class Fine(TrainingOptions):
        steps: Annotated[int | None, Field(ge=10)] = 100

    assert Fine().total_steps(7) == 100


# -- what isn't typed --------------------------------------------------------------------------------------------------


def test_a_dry_run_shows_what_images_suggest_that_are_here(genkit: Genkit, images: Path, tmp_path: Path) -> None:
    dry = ["train", "ae", "--dataset", images, "--hidden", 8, "--out", tmp_path / "runs", "-n"]
    known = genkit(*dry)
    (line,) = [line for line in known.out.splitlines() if line.startswith("batch-size ")]
    assert line.split(None, 2) == ["batch-size", "16", "data: 40 training images"]
    assert genkit(*dry, "--json").json["reasons"]["batch_size"] == "40 training images"
    assert "batch_size" not in genkit(*dry, "--batch-size", 5, "--json").json["reasons"]
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_fetches_nothing(genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENKIT_DATA", str(tmp_path))
    outcome = genkit("train", "ae", "--dataset", "svhn", "-n", "--json")
    assert outcome.code == 0
    assert outcome.err == "warning: what the images of svhn suggest isn't shown: they aren't on this machine yet\n"
    assert outcome.json["reasons"] == {}
    empty = tmp_path / "none"
    empty.mkdir()
    outcome = genkit("train", "ae", "--dataset", empty, "-n", "--json")
    assert outcome.code == 0
    assert outcome.err.startswith(f"warning: what the images of {empty} suggest isn't shown: {empty}: ")


# -- minutes -----------------------------------------------------------------------------------------------------------

OPEN = (None, None, None)


def test_minutes_are_as_many_steps_as_fit_beside_all_else() -> None:
    def steps(
        seconds: float, given: tuple[float | None, ...] = OPEN, epoch: int = 100, **costs: float
    ) -> tuple[int, int]:
        known = {"step": 1 / 64, "validation": 0.0, "picture": 0.0, "checkpoint": 0.0, "end": 0.0, **costs}
        found = timing.fitting(seconds, timing.Costs(**known), epoch, given)
        return found.steps, found.every

    assert steps(100) == (6400, 1)
    assert steps(100, end=50) == (3200, 1)
    # An epoch takes 1 s and its validation another; the last one is taken off before.
    assert steps(201, (1, 1, 1), epoch=64, validation=1) == (6400, 1)
    # An epoch takes 1 s, and so does a validation, which takes a fifth of the time every four epochs.
    assert steps(126, epoch=64, validation=0.5, picture=0.25, checkpoint=0.25) == (6400, 4)
    # What is given stays: a picture of 1 s after each epoch.
    assert steps(2 + 100 * 2.25, (None, 1, None), epoch=64, validation=1, picture=1) == (6400, 4)
    # About 100 validations, however little they take.
    assert steps(1000, epoch=1) == (64_000, 640)
    # Where not a pass is done in the time, nothing but the last validation is.
    assert steps(11, validation=1, epoch=10_000) == (640, 1)
    assert steps(1, end=7) == (1, 1)
    # Nor more passes than a run can have, with their 100 validations, though more would fit.
    assert steps(1e7, epoch=3) == (300_000, 1000)
    assert steps(1e9, epoch=100_000) == (10**9, 100)
    assert steps(1e5, epoch=1, validation=1e6) == (1, 100_000)
    assert "the most that a run has" in timing.fitting(1e6, timing.Costs(1e-3, 0, 0, 0, 0), 3, OPEN).reason


def test_what_somebody_has_said_of_intervals_is_what_they_typed() -> None:
    assert timing.intervals(RunOptions(), True) == OPEN
    assert timing.intervals(RunOptions(), False) == (1, 1, 1)
    # Pictures and checkpoints come with the validations, where nobody says otherwise.
    assert timing.intervals(RunOptions(validate_every=4), True) == (4, 4, 4)
    assert timing.intervals(RunOptions(picture_every=2, checkpoint_every="5min"), True) == (None, 2, float("inf"))


def test_a_stage_shorter_than_what_is_timed_is_timed_by_itself(digits: Dataset, tmp_path: Path) -> None:
    options = AE.Options(steps=2, batch_size=8, hidden=(8,), latent_dim=3, lr_warmup=0)
    config = Config("ae", options, DataOptions(), RunOptions(device="cpu", out=str(tmp_path)), {})
    setup = Setup(config, digits, Team(torch.device("cpu")))
    assert timing.Clock(torch.device("cpu")).step(setup, 0) > 0
    assert setup.state.step == 1


def test_what_diverges_while_it_is_timed_says_so_as_any_run(
    genkit: Genkit, command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = AE.losses

    def diverging(model: AE, batch: Batch) -> dict[str, Tensor]:
        found = losses(model, batch)
        return {**found, "loss": found["loss"] * float("nan")} if model.training else found

    monkeypatch.setattr(AE, "losses", diverging)
    monkeypatch.setattr(timing, "STEPS", (1, 1))
    command = ["8" if each == "3" else each for each in command]  # of some sizes no covariance of NaN has eigenvalues
    outcome = genkit(*command, "--minutes", 0.05)
    assert outcome.code == 3
    assert "is no longer finite at step 1" in outcome.err
    # However seldom it is validated, nothing is drawn of it.
    outcome = genkit(*command, "--epochs", 9, "--validate-every", 4, "--picture-every", 1)
    assert outcome.code == 3
    assert not list((tmp_path / "runs").rglob("samples-*.png"))


def test_what_is_timed_changes_nothing_of_the_run(
    genkit: Genkit, command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some steps are timed, and the run is one of 7 whatever they took."""
    seen: list[timing.Costs] = []

    def fitting(seconds: float, costs: timing.Costs, epoch: int, given: object) -> timing.Plan:
        assert (epoch, given) == (5, (None, 1, None))
        seen.append(costs)
        return timing.Plan(7, 2, "2 ms each")

    monkeypatch.setattr(timing, "fitting", fitting)
    more = ["--picture-every", 1, "--json"]
    outcome = genkit(*command, *more, "--minutes", 0.5)
    (costs,) = seen
    assert min(costs) > 0
    assert "chosen   --steps 7: 2 ms each, in 0.5 min" in outcome.err
    assert "chosen      steps 7: 2 ms each, in 0.5 min\n" in genkit("info", outcome.json["run"]).out
    assert "| steps | 7 | minutes: 2 ms each, in 0.5 min |" in (Path(outcome.json["run"]) / "README.md").read_text()
    timed, plain = Path(outcome.json["run"]), Path(genkit(*command, *more, "--steps", 7).json["run"])
    made = config.read(timed)
    assert (made.options.minutes, made.options.steps, made.sources["steps"]) == (0.5, 7, "minutes")
    assert made.reasons["steps"] == "2 ms each, in 0.5 min"
    assert (made.run.validate_every, made.run.picture_every) == (2, 1)
    assert validated(timed) == [7]
    weights = [RunDirectory(run).checkpoints[-1] / "model.safetensors" for run in (timed, plain)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert genkit("train", "--resume", timed, "--steps", 8, "--json").json["steps"] == 8
    resumed = config.read(timed)
    assert (resumed.sources["steps"], "steps" in resumed.reasons) == ("resume", False)
    refused = genkit("train", "--resume", timed, "--minutes", 1)
    assert refused.code == 2
    assert "planned in steps, and can't go on with --minutes: give --steps N, more than 8" in refused.err


def test_a_dry_run_says_what_is_timed(genkit: Genkit, command: list[object]) -> None:
    lines = {
        line.split()[0]: line.split(None, 1)[1] for line in genkit(*command, "--minutes", 1, "-n").out.splitlines()
    }
    for name in ("epochs", "steps", "validate-every", "lr-warmup"):
        assert lines[name].split("  ")[0] == "as the timing says"
    assert lines["minutes"].split() == ["1.0", "flag"]
    assert "timing" not in genkit(*command, "--steps", 3, "-n").out


# -- validations -------------------------------------------------------------------------------------------------------


def resolved(epochs: int, **run: Any) -> dict[str, Any]:
    return {name: each.value for name, each in cadence(TrainingOptions(epochs=epochs), RunOptions(**run)).items()}


def test_a_run_of_many_epochs_has_about_a_hundred_validations() -> None:
    assert resolved(100) == {}
    assert resolved(101) == {"validate_every": 2, "picture_every": 2, "checkpoint_every": "2"}
    assert resolved(1500) == {"validate_every": 15, "picture_every": 15, "checkpoint_every": "15"}
    assert resolved(1500, picture_every=1, checkpoint_every="5min") == {"validate_every": 15}
    assert resolved(20, validate_every=4) == {"picture_every": 4, "checkpoint_every": "4"}
    # Somebody who waits for 10 epochs has 5 validations meanwhile.
    assert resolved(1500, patience=10)["validate_every"] == 2
    assert resolved(1500, patience=3) == {}


def test_a_run_is_validated_drawn_and_kept_as_rarely_as_it_says(genkit: Genkit, command: list[object]) -> None:
    outcome = genkit(*command, "--epochs", 7, "--validate-every", 3, "--json")
    run = Path(outcome.json["run"])
    assert validated(run) == [15, 30, 35]
    assert sorted(int(path.stem[-6:]) for path in run.glob("samples-*.png")) == [15, 30, 35]
    # Every step is in one mean of the training's metrics; 50 would be the first to be logged before a validation.
    assert [row["step"] for row in rows_of(run) if "train/loss" in row] == [15, 30, 35]
    assert "chosen   --picture-every 3: as --validate-every" in outcome.err


def test_patience_counts_epochs_however_rarely_they_are_validated(genkit: Genkit, command: list[object]) -> None:
    """At a learning rate that moves nothing, no validation is better than the first."""
    still = [*command, "--lr", "1e-20", "--epochs", 30, "--validate-every", 4, "--patience", 8, "--json"]
    outcome = genkit(*still)
    run = Path(outcome.json["run"])
    assert validated(run) == [20, 40, 60]
    assert "no better squared_error than at epoch 4, for 8 epochs" in outcome.err
    assert "; what usually helps: more --patience (it is 8) or another --lr (it is 1e-20)\n" in outcome.err


def test_patience_counts_from_the_last_validation_of_a_run_that_was_raised(images: Path, tmp_path: Path) -> None:
    options = AE.Options(epochs=7, batch_size=8, hidden=(8,), latent_dim=3, lr=1e-20)
    run = RunOptions(out=str(tmp_path / "runs"), device="cpu", validate_every=5, patience=50)
    made = Config("ae", options, DataOptions(dataset=str(images)), run, {})
    begun = trainer.start(made._replace(sources=dict.fromkeys(made.values(), "default")))
    result = trainer.resume(RunDirectory(begun.run), {"epochs": 11})
    about = {path.name: describe(path) for path in RunDirectory(result.run).checkpoints}
    assert (about["000055"].lowest_epoch, about["000055"].stale) == (5, 6)


def test_a_best_epoch_that_is_seldom_kept_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for every, kept in ((5, "5"), (10, "5"), (1, "5"), (5, "10min")):
        trainer.warn_of_rare_best(RunOptions(validate_every=every, checkpoint_every=kept))
    trainer.warn_of_rare_best(RunOptions(validate_every=5, checkpoint_every="3", patience=9))
    assert not caplog.records
    trainer.warn_of_rare_best(RunOptions(validate_every=5, checkpoint_every="3"))
    assert caplog.messages == [
        "--validate-every 5 and --checkpoint-every 3 meet once in 15 epochs, and the best is chosen among those alone; "
        "--checkpoint-every 5 keeps each that is validated"
    ]


def test_so_it_is_where_a_run_begins(genkit: Genkit, command: list[object]) -> None:
    outcome = genkit(*command, "--steps", 2, "--validate-every", 3, "--checkpoint-every", 7)
    assert outcome.code == 0
    assert "warning: --validate-every 3 and --checkpoint-every 7 meet once in 21 epochs, and the best " in outcome.err


def test_a_run_of_steps_that_learns_nothing_is_advised_in_steps(genkit: Genkit, command: list[object]) -> None:
    outcome = genkit(*command, "--lr", "1e-20", "--steps", 300, "--validate-every", 60)
    assert outcome.code == 0
    (said,) = [line for line in outcome.err.splitlines() if "the model loses to " in line]
    assert said.endswith("; what usually helps: more --steps (they are 300) or another --lr (it is 1e-20)")


def test_recipes_say_how_long_to_train_once(genkit: Genkit, tmp_path: Path) -> None:
    recipe = tmp_path / "short.toml"
    text = (
        'shows = "A run."\npaper = "Nobody, Nothing (2006)"\nminutes = 1\ndataset = "mnist5k"\n'
        '[runs.a]\nmodel = "ae"\nsteps = 9\n[quick]\nepochs = 1\n'
        '[[measure]]\nname = "squared-error"\nruns = ["a"]\n'
        '[[report]]\nwhat = "error"\nfigure = "a: squared_error"\nbelow = 1\n'
    )
    recipe.write_text(text)
    runs = genkit("reproduce", recipe, "-n", "--json").json["runs"]
    assert runs["a"]["options"]["steps"] == 9
    runs = genkit("reproduce", recipe, "-n", "--quick", "--json").json["runs"]
    assert (runs["a"]["options"]["steps"], runs["a"]["options"]["epochs"]) == (None, 1)
    recipe.write_text(text.replace("steps = 9", "steps = 9\nepochs = 2"))
    outcome = genkit("reproduce", recipe, "-n")
    assert outcome.code == 2
    assert "the run a: epochs and steps both say how long to train; keep one" in outcome.err
    recipe.write_text(text.replace("steps = 9", "minutes = 9"))
    outcome = genkit("reproduce", recipe, "-n")
    assert outcome.code == 2
    assert "the run a: minutes are other steps on another machine; give epochs or steps" in outcome.err


def test_models_of_genkit_may_be_told_steps() -> None:
    for name in registry.names():
        assert registry.find(name).Options(steps=5).total_steps(100) == 5
