"""`--resume` and `--init-from` at the command line. That nothing is lost in between is counted in tests/endurance."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Genkit
from endurance.harness import result_of

from genkit.data import DataOptions
from genkit.data.dataset import Dataset
from genkit.files import remove_folder
from genkit.keep import checkpoint, config, rundir
from genkit.keep.rundir import RunDirectory
from genkit.run import trainer

pytestmark = pytest.mark.usefixtures("begun_at_random")

NOBODY = 65534


@pytest.fixture(scope="module")
def images(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "digits.npy"
    np.save(path, digits.train.images(slice(0, 300)).numpy())
    return path


@pytest.fixture
def command(images: Path, tmp_path: Path) -> list[object]:
    small = ["--hidden", "16", "--latent-dim", "3", "--batch-size", "60", "--device", "cpu", "--out", tmp_path / "runs"]
    return ["train", "vae", "--dataset", images, *small]


@pytest.fixture
def run(genkit: Genkit, command: list[object]) -> Path:
    return Path(genkit(*command, "--epochs", "2", "--json").json["run"])


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(path).model.state_dict()


def test_a_new_run_begins_with_the_mean_image_unless_it_has_anothers_weights(
    genkit: Genkit, tmp_path: Path, digits: Dataset
) -> None:
    """Seen in the last biases of a run that hardly moves."""
    train = ["train", "ae", "--dataset", "mnist5k", "--hidden", "none", "--latent-dim", "4", "--epochs", "1"]
    still = ["--lr", "1e-9", "--out", tmp_path, "--json"]

    def biases(run: str) -> torch.Tensor:
        return checkpoint.read(rundir.find(run).checkpoints[0]).model.decoder[0][0].bias

    first = genkit(*train, *still).json["run"]
    pixels = digits.train.images().double() / 255
    torch.testing.assert_close(biases(first), pixels.mean(0).flatten().float(), atol=1e-5, rtol=0)
    moved = genkit(*train, "--lr", "0.05", "--out", tmp_path, "--json").json["run"]
    further = genkit(*train, *still, "--init-from", moved).json["run"]
    assert (biases(moved) - biases(first)).abs().max() > 0.01
    torch.testing.assert_close(biases(further), biases(moved), atol=1e-5, rtol=0)


def test_the_same_command_gives_the_same_bits(genkit: Genkit, command: list[object], run: Path) -> None:
    again = Path(genkit(*command, "--epochs", "2", "--json").json["run"])
    other = Path(genkit(*command, "--epochs", "2", "--seed", "1", "--json").json["run"])
    assert again != run
    assert result_of(again) == result_of(run)
    assert result_of(other)["model.safetensors"] != result_of(run)["model.safetensors"]


def test_a_finished_run_is_left_as_it_is(genkit: Genkit, run: Path) -> None:
    """So that a script may resume until it is done."""
    before = result_of(run)
    outcome = genkit("train", "--resume", run, "--json")
    assert outcome.code == 0
    assert outcome.json["steps"] == 8
    assert result_of(run) == before


def test_a_run_is_resumed_by_its_number_and_from_anywhere(
    genkit: Genkit, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GENKIT_OUT", str(run.parent))
    monkeypatch.chdir(tmp_path)
    outcome = genkit("train", "vae", "--resume", "0", "--epochs", "3", "--json")
    assert outcome.json["steps"] == 12
    assert config.read(run).options.epochs == 3
    assert "| epochs | 3 | resume |" in (run / "README.md").read_text()


def test_flags_that_disagree_are_refused_with_a_diff(genkit: Genkit, run: Path, tmp_path: Path) -> None:
    before = sorted(run.rglob("*"))
    outcome = genkit("train", "--resume", run, "--lr", "0.5", "--hidden", "16", "--latent-dim", "7", "--epochs", "9")
    assert outcome.code == 2
    assert "--latent-dim 7 (the run has 3)" in outcome.err
    assert "--lr 0.5 (the run has 0.004)" in outcome.err
    assert "--hidden" not in outcome.err
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("lr = 0.5")
    assert "--lr 0.5" in genkit("train", "vae", "--resume", run, "--config", recipe).err
    assert "is a run of vae, not of ae" in genkit("train", "ae", "--resume", run).err
    assert sorted(run.rglob("*")) == before


def test_variables_are_for_new_runs(genkit: Genkit, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENKIT_LR", "0.5")
    assert genkit("train", "--resume", run).code == 0


def test_other_images_are_refused(genkit: Genkit, command: list[object], run: Path, digits: Dataset) -> None:
    path = Path(str(command[3]))
    whole = path.read_bytes()
    try:
        np.save(path, digits.train.images(slice(1, 301)).numpy())
        outcome = genkit("train", "--resume", run, "--epochs", "3")
    finally:
        path.write_bytes(whole)
    assert outcome.code == 1
    assert "aren't those that the run was trained on" in outcome.err
    assert genkit("train", "--resume", run, "--epochs", "3").code == 0


def test_a_second_writer_is_refused(genkit: Genkit, run: Path) -> None:
    with RunDirectory(run).locked():
        outcome = genkit("train", "--resume", run)
    assert outcome.code == 1
    assert "another process is training" in outcome.err


def test_another_machine_is_warned_of(genkit: Genkit, run: Path) -> None:
    path = run / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"torch": "1.0"}))
    outcome = genkit("train", "--resume", run)
    assert outcome.code == 0
    assert f"warning: the run goes on, but perhaps not to the same bits, with another torch {torch.__version__}" in (
        outcome.err
    )


@pytest.mark.parametrize("what", ["nothing", "a checkpoint", "a folder without a run"])
def test_what_cannot_be_resumed_is_refused(genkit: Genkit, run: Path, tmp_path: Path, what: str) -> None:
    path = {"nothing": tmp_path / "x", "a checkpoint": run / "checkpoints" / "000008"}.get(what, tmp_path / "y")
    (tmp_path / "y").mkdir()
    outcome = genkit("train", "--resume", path)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1


def test_init_from_begins_with_the_weights_alone(genkit: Genkit, command: list[object], run: Path) -> None:
    """At a learning rate of almost nothing they are still there in the end, and so are the architecture's options."""
    new = genkit("train", *command[2:4], *command[8:], "--init-from", run, "--epochs", "1", "--lr", "1e-12", "--json")
    assert new.code == 0, new.err
    theirs, ours = weights_of(rundir.find(str(run)).checkpoints[0]), weights_of(Path(new.json["checkpoint"]))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-9)
    settings = config.read(Path(new.json["run"]))
    assert settings.options.hidden == (16,)
    assert settings.sources["hidden"] == "init-from"
    assert settings.options.epochs == 1
    assert new.json["steps"] == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["vae", "--latent-dim", "4"], "--latent-dim 4 (there 3)"),
        (["vae", "--image-size", "16"], "images of 1×16×16 (there 1×28×28"),
        (["ae"], "is of the model vae, not ae"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    genkit: Genkit, images: Path, run: Path, arguments: list[str], says: str
) -> None:
    outcome = genkit("train", *arguments, "--dataset", images, "--init-from", run, "--out", run.parent)
    assert outcome.code == 2
    assert says in outcome.err
    assert len(list(run.parent.glob("0*"))) == 1


def test_initial_weights_survive_a_kill_before_the_first_checkpoint(
    genkit: Genkit, command: list[object], run: Path
) -> None:
    """Resumed without any checkpoint, a run begins again, from the same weights."""
    new = Path(genkit(*command, "--init-from", run, "--epochs", "1", "--json").json["run"])
    before = result_of(new)
    for path in (new / "checkpoints").iterdir():
        remove_folder(path)
    assert genkit("train", "--resume", new).code == 0
    assert result_of(new) == before


def test_what_a_run_recorded_that_has_lost_its_checkpoints_is_kept(genkit: Genkit, run: Path) -> None:
    before = {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    whole = result_of(run)
    shutil.rmtree(run / "checkpoints")
    outcome = genkit("train", "--resume", run)
    assert outcome.code == 0, outcome.err
    told = f"{run} has no checkpoint, and begins anew; what was recorded of its 2 epochs is kept in {run / 'former'}"
    assert outcome.err.count(told) == 1
    kept = {path.relative_to(run / "former") for path in (run / "former").rglob("*") if path.is_file()}
    assert {Path("metrics.jsonl"), Path("README.md"), Path("samples-000008.png")} < kept
    assert any(path.parent == Path("tb") for path in kept)
    assert {path: (run / "former" / path).read_bytes() for path in kept} == {path: before[path] for path in kept}
    assert result_of(run) == whole, "its curves and pictures are of its second beginning alone"


def test_a_run_that_had_no_time_for_an_epoch_has_nothing_to_keep(genkit: Genkit, run: Path) -> None:
    before = result_of(run)
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").write_text('{"step": 2, "epoch": 0.4, "train/loss": 1.0}\n')
    outcome = genkit("train", "--resume", run)
    assert outcome.code == 0, outcome.err
    assert f"anew     from the beginning: {run} has no checkpoint yet" in outcome.err
    assert not (run / "former").exists()
    assert (run / "metrics.jsonl").read_text().count("\n") > 2
    assert result_of(run).keys() == before.keys()


def contents_of(run: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name not in (".lock", "log.txt")
    }


@pytest.mark.parametrize("kind", ["a file", "a link to nothing"])
def test_a_run_whose_checkpoints_cannot_be_seen_is_left_as_it_is(genkit: Genkit, run: Path, kind: str) -> None:
    """An unmounted disk, say."""
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").write_text("") if kind == "a file" else (run / "checkpoints").symlink_to("nowhere")
    before = contents_of(run)
    for command in (["train", "--resume", run], ["sample", run]):
        outcome = genkit(*command)
        assert outcome.code == 1
        assert f"{run / 'checkpoints'} can't be read (No" in outcome.err
        assert "--resume" not in outcome.err
    assert contents_of(run) == before


@contextmanager
def nobody() -> Iterator[None]:
    """Be somebody whom the system refuses what he may not, as it doesn't the superuser."""
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(NOBODY)
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_checkpoints_that_may_not_be_read_are_not_damaged(
    genkit: Genkit, images: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        own = place / run.name
        shutil.copytree(run, own)
        shutil.copy(images, place)
        settings = (own / "config.json").read_text().replace(str(images), str(place / images.name))
        (own / "config.json").write_text(settings)
        monkeypatch.setenv("HOME", folder)
        for path in (place, *place.rglob("*")):
            os.chown(path, NOBODY if os.geteuid() == 0 else -1, -1)
        names = sorted(path.name for path in (own / "checkpoints").iterdir())
        before = contents_of(own)
        for path in (own / "checkpoints").iterdir():
            path.chmod(0)
        with nobody():
            outcome = genkit("train", "--resume", own)
            assert outcome.code == 1
            assert "can't be read" in outcome.err
            assert "Permission denied" in outcome.err
            assert "delete" not in outcome.err
            assert sorted(path.name for path in (own / "checkpoints").iterdir()) == names
            for path in (own / "checkpoints").iterdir():
                path.chmod(0o700)
        assert contents_of(own) == before


@pytest.mark.parametrize("becomes", ["renamed", "removed"])
@pytest.mark.parametrize("moment", ["end_epoch", "finish", "save"])
def test_a_run_that_is_gone_while_it_trains_is_called_that(
    genkit: Genkit, command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes: str, moment: str
) -> None:
    run = tmp_path / "runs" / "00000-vae-digits"
    act = getattr(trainer.Leader, moment)

    def gone(self: trainer.Leader, *arguments: Any) -> Any:
        if run.exists():
            run.rename(tmp_path / "other") if becomes == "renamed" else shutil.rmtree(run)
        return act(self, *arguments)

    monkeypatch.setattr(trainer.Leader, moment, gone)
    outcome = genkit(*command, "--epochs", "2")
    assert outcome.code == 1
    told = f"{run} is gone, and with it where the run writes; if it has another name or place now, go on with"
    assert told in outcome.err
    assert "make room" not in outcome.err
    assert not run.exists(), "nothing is written under the name that it had"
    if becomes == "renamed" and moment != "save":
        monkeypatch.undo()
        assert genkit("train", "--resume", tmp_path / "other").code == 0


def test_damage_to_all_checkpoints_is_called_that(genkit: Genkit, run: Path) -> None:
    """And no fault of config.json's."""
    for path in run.glob("checkpoints/*/*.safetensors"):
        os.truncate(path, 100)
    before = contents_of(run)
    outcome = genkit("train", "--resume", run)
    assert outcome.code == 1
    assert "is damaged: its SHA-256 isn't the manifest's; no other is left of" in outcome.err
    assert "larger model" not in outcome.err
    assert contents_of(run) == before


def test_a_collapse_is_named_once(genkit: Genkit, command: list[object]) -> None:
    outcome = genkit(*command, "--beta", "500", "--epochs", "3")
    assert outcome.code == 0
    assert outcome.err.count("warning: posterior collapse: 0 of 3 latent units are active") == 1


def test_once_it_has_a_checkpoint_a_run_needs_its_initial_weights_no_more(
    genkit: Genkit, command: list[object], run: Path
) -> None:
    """Their run may have pruned them."""
    new = Path(genkit(*command, "--init-from", run, "--epochs", "1", "--json").json["run"])
    shutil.rmtree(run)
    assert genkit("train", "--resume", new, "--epochs", "2").code == 0


def test_a_device_without_room_is_no_damage(genkit: Genkit, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    before = sorted(path.name for path in (run / "checkpoints").iterdir())
    monkeypatch.setattr(checkpoint, "restore_optimizers", full)
    outcome = genkit("train", "--resume", run, "--epochs", 9)
    assert outcome.code == 1
    assert "out of memory" in outcome.err
    assert "delete" not in outcome.err
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == before


def test_a_checkpoint_vouches_for_every_picture_before_it(
    genkit: Genkit, command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one a run, for those of earlier epochs too, which a resumed run wouldn't draw again."""
    synced = []
    monkeypatch.setattr("genkit.run.keeper.sync_file", lambda path: synced.append(path.name))
    made = Path(genkit(*command, "--epochs", 2, "--checkpoint-every", 2, "--json").json["run"])
    drawn = {path.name for path in made.glob("*.png")}
    assert {"reals.png"} < drawn
    assert drawn <= set(synced)


def test_a_checkpoint_that_lost_its_manifest_gives_way(genkit: Genkit, run: Path) -> None:
    before = result_of(run)
    (run / "checkpoints" / "000008" / "manifest.json").unlink()
    assert "another checkpoint of the run is used" in genkit("info", run).err
    outcome = genkit("train", "--resume", run)
    assert outcome.code == 0, outcome.err
    assert (run / "checkpoints" / "damaged-000008").is_dir()
    assert result_of(run) == before


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "log.txt", "config.json", "environment.json", "tb/events.out.tfevents.0"]
)
def test_a_pipe_or_a_link_in_a_run_is_not_followed(genkit: Genkit, run: Path, tmp_path: Path, name: str) -> None:
    """A pipe would be waited for for ever; a link could lead to any file of ours."""
    for kind in ("pipe", "link"):
        (run / name).unlink(missing_ok=True)
        (tmp_path / "elsewhere").write_text("mine")
        os.mkfifo(run / name) if kind == "pipe" else (run / name).symlink_to(tmp_path / "elsewhere")
        outcome = genkit("train", "--resume", run)
        assert outcome.code == (1 if name in ("metrics.jsonl", "log.txt", "config.json") else 0)
        assert "a fault" not in outcome.err
        assert (tmp_path / "elsewhere").read_text() == "mine"


def test_a_small_config_cannot_ask_for_a_large_model(genkit: Genkit, run: Path) -> None:
    settings = json.loads((run / "config.json").read_text())
    settings["options"]["hidden"] = [65536, 65536]
    (run / "config.json").write_text(json.dumps(settings))
    outcome = genkit("train", "--resume", run)
    assert outcome.code == 1
    assert "its config.json is of a larger model than its checkpoints" in outcome.err


def test_the_weights_that_a_run_began_with_may_be_repeated(genkit: Genkit, run: Path, command: list[object]) -> None:
    """As the run, or as the checkpoint; others are refused."""
    other = genkit(*command, "--epochs", "1", "--json").json["run"]
    second = genkit(*command, "--epochs", "1", "--init-from", run, "--json").json["run"]
    checkpoint_of_run = config.read(Path(second)).run.init_from
    for same in (run, checkpoint_of_run):
        assert genkit("train", "--resume", second, "--init-from", same).code == 0
    for wrong in (other, run.parent):
        refused = genkit("train", "--resume", second, "--init-from", wrong)
        assert refused.code == 2
        assert f"--init-from {wrong}" in refused.err


def test_images_are_those_of_the_weights_where_none_are_named(
    genkit: Genkit, command: list[object], run: Path, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of their options; with another set, only the form that the weights are for."""

    def resolved(*more: object) -> dict[str, tuple[object, str]]:
        outcome = genkit("train", command[1], "--init-from", run, "-n", "--json", *more).json
        return {name: (value, outcome["sources"][name]) for name, value in outcome["data"].items()}

    theirs = str(Path(str(command[3])).resolve())
    assert resolved()["dataset"] == (theirs, "init-from")
    assert resolved("--labels-seed", 3)["labels_seed"] == (3, "flag")
    assert resolved("--dataset", "mnist5k")["dataset"] == ("mnist5k", "flag")
    sized = genkit("train", *command[1:4], "--image-size", 14, "--skip-bad", 2, *command[8:], "--epochs", 1, "--json")
    run = sized.json["run"]
    taken = {name: value for name, (value, source) in resolved().items() if source == "init-from"}
    assert taken == DataOptions(dataset=theirs, image_size=14, skip_bad=2).model_dump(
        exclude={"beside", "beside_images"}
    )
    other = resolved("--dataset", "mnist5k")
    assert other["image_size"] == (14, "init-from")
    assert other["skip_bad"] == (0, "default")
    monkeypatch.setenv("GENKIT_DATASET", "faces")
    assert resolved()["dataset"] == ("faces", "variable")
    monkeypatch.delenv("GENKIT_DATASET")
    began = genkit("train", command[1], "--init-from", run, "--epochs", 1, "--out", tmp_path / "out", "--json")
    assert began.code == 0, began.err
    assert config.read(Path(began.json["run"])).sources["image_size"] == "init-from"


def test_a_checkpoint_is_not_taken_for_a_run_to_resume(genkit: Genkit, run: Path) -> None:
    refused = genkit("train", "--resume", RunDirectory(run).checkpoints[-1])
    assert refused.code == 2
    assert f"is a checkpoint; --resume {run} goes on" in refused.err


def test_images_that_lie_elsewhere_now_are_known_again(
    genkit: Genkit, command: list[object], run: Path, tmp_path: Path, digits: Dataset
) -> None:
    """By their content, whatever they are called; the new place is recorded, and the bits are the same."""
    before, old = result_of(run), Path(str(command[3]))
    new, other = tmp_path / "elsewhere.npy", tmp_path / "other.npy"
    content = old.read_bytes()
    try:
        old.rename(new)
        np.save(other, digits.train.images(slice(1, 301)).numpy())
        for ask in (["train", "--resume", run], ["embed", run]):
            gone = genkit(*ask)
            assert gone.code == 1
            assert str(old) in gone.err
            assert "--dataset NEW" in gone.err
        assert f"genkit train --resume {run} --dataset NEW" in genkit("train", "--resume", run).err
        wrong = genkit("train", "--resume", run, "--dataset", other)
        assert wrong.code == 1
        assert f"the images of {other} aren't those that the run was trained on" in wrong.err
        assert config.read(run).data.dataset == str(old)
        assert genkit("train", "--resume", run, "--dataset", new).code == 0
        assert result_of(run) == before
        assert config.read(run).data.dataset == str(new)
        assert config.read(run).sources["dataset"] == "resume"
        assert genkit("train", "--resume", run, "--epochs", "3").code == 0, "the new place is kept"
        assert genkit("embed", run).code == 0, "also for a checkpoint that says the old one"
        other.replace(new)
        assert "aren't those that the run was trained on" in genkit("train", "--resume", run, "--epochs", "4").err
    finally:
        old.write_bytes(content)


def test_another_place_needs_a_checkpoint_that_knows_the_images(genkit: Genkit, run: Path, tmp_path: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        remove_folder(path)
    shutil.copy(config.read(run).data.dataset, tmp_path / "same.npy")
    outcome = genkit("train", "--resume", run, "--dataset", tmp_path / "same.npy")
    assert outcome.code == 2
    assert "has no checkpoint yet" in outcome.err


def test_other_settings_of_the_images_are_no_other_place(genkit: Genkit, run: Path) -> None:
    outcome = genkit("train", "--resume", run, "--image-size", "14")
    assert outcome.code == 2
    assert "--image-size 14" in outcome.err


@pytest.mark.parametrize(
    ("part", "name", "value", "says"),
    [
        ("options", "lr", 0.5, "lr 0.5 (trained with 0.004)"),
        ("options", "batch_size", 50, "batch-size 50 (trained with 60)"),
        ("options", "latent_dim", 2, "latent-dim 2 (trained with 3)"),
        ("options", "epochs", 1, "epochs 1 (trained with 2)"),
        ("run", "seed", 7, "seed 7 (trained with 0)"),
    ],
)
def test_an_edited_config_is_told_and_nothing_is_lost(
    genkit: Genkit, run: Path, part: str, name: str, value: float, says: str
) -> None:
    before = result_of(run)
    settings = json.loads((run / "config.json").read_text())
    edited = {**settings, part: {**settings[part], name: value}}
    (run / "config.json").write_text(json.dumps(edited))
    outcome = genkit("train", "--resume", run)
    assert outcome.code == 1
    assert f"config.json has been edited: {says}" in outcome.err
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["000004", "000008"]
    (run / "config.json").write_text(json.dumps(settings))
    assert genkit("train", "--resume", run).code == 0
    assert result_of(run) == before


@pytest.fixture(scope="module")
def wavering(images: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A command whose validation goes up and down."""
    out = tmp_path_factory.mktemp("wavering")
    small = ["--hidden", "16", "--latent-dim", "3", "--batch-size", "60", "--device", "cpu", "--out", out]
    return ["train", "vae", "--dataset", images, *small, "--lr", "0.1", "--schedule", "constant", "--epochs", "12"]


def measured(run: Path) -> list[float]:
    """The metric that picks the best checkpoint, of each epoch."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["val/neg_elbo"] for row in rows if "val/neg_elbo" in row]


def test_a_run_ends_where_it_gains_no_more(genkit: Genkit, wavering: list[object]) -> None:
    whole = Path(genkit(*wavering, "--json").json["run"])
    values = measured(whole)
    assert len(values) == 12
    patient = 2
    ends = next(epoch for epoch in range(1, 13) if epoch - 1 - int(np.argmin(values[:epoch])) >= patient)
    assert 2 < ends < 12, "or this would show nothing"

    outcome = genkit(*wavering, "--patience", patient, "--json")
    run = Path(outcome.json["run"])
    assert measured(run) == values[:ends]
    assert f"no better neg_elbo than at epoch {ends - patient}, for 2 epochs (--patience" in outcome.err
    assert rundir.find(str(run)).checkpoints[0].name == f"{4 * (ends - patient):06}", "the best is what it comes to"
    assert not outcome.json["stopped"]

    # It has ended, and from an earlier checkpoint ends there again.
    again = genkit("train", "--resume", run, "--json")
    assert (again.json["steps"], again.json["metrics"]) == (4 * ends, outcome.json["metrics"])
    assert "no better neg_elbo" in again.err
    remove_folder(run / "checkpoints" / f"{4 * ends:06}")
    assert genkit("train", "--resume", run, "--json").json["metrics"] == outcome.json["metrics"]
    assert measured(run) == values[:ends]

    # With more patience it comes to what it would have come to.
    further = genkit("train", "--resume", run, "--patience", 12, "--json")
    assert further.code == 0, further.err
    assert measured(run) == values
    assert result_of(run) == result_of(whole)
