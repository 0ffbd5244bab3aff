"""A model that is trained on two sets of images, from outside: `genkit train pair --dataset A --beside B`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Genkit
from endurance.harness import Ended, Zygote, only_run, result_of
from safetensors.torch import load_file
from strangers import PAIR, write_file

from genkit import registry
from genkit.data.dataset import Dataset
from genkit.evaluate import judge
from genkit.keep import config, description
from genkit.keep.rundir import RunDirectory
from genkit.run import trainer
from genkit.testing import Contract

SMALL = ["--batch-size", "60", "--device", "cpu", "--log-every", "3"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_file(tmp_path_factory.mktemp("models") / "pair.py", PAIR).parent


@pytest.fixture(autouse=True)
def _found(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.VARIABLE, str(models))


class TestContract(Contract):
    """What `genkit.testing` asks of every model."""

    model = "pair"


@pytest.fixture
def sets(digits: Dataset, tmp_path: Path) -> tuple[Path, Path]:
    """300 digits of 28×28, of which 240 are for training: 4 steps an epoch; and 137 of 16×16, with their classes."""
    first, second = tmp_path / "first.npy", tmp_path / "second.npz"
    np.save(first, digits.train.images(slice(0, 300)).numpy())
    some = digits.train.spread(137)
    small = F.interpolate(digits.train.images(some).float(), (16, 16), mode="bilinear", antialias=True)
    np.savez(second, images=small.round().clamp(0, 255).byte().numpy(), labels=digits.train.labels[some].numpy())
    return first, second


@pytest.fixture
def command(sets: tuple[Path, Path], tmp_path: Path) -> list[object]:
    return ["train", "pair", "--dataset", sets[0], "--beside", sets[1], *SMALL, "--out", tmp_path / "runs"]


@pytest.fixture
def run(genkit: Genkit, command: list[object]) -> Path:
    outcome = genkit(*command, "--epochs", "2", "--json")
    assert outcome.code == 0, outcome.err
    return Path(outcome.json["run"])


def refused(genkit: Genkit, *arguments: object, code: int = 2) -> str:
    """The one line in which it is; those before it say which images were packed."""
    outcome = genkit(*arguments)
    *before, said = outcome.err.splitlines()
    assert outcome.code == code, outcome.err
    assert all("packed" in line for line in before), outcome.err
    return said


def test_it_is_trained_on_both_and_all_say_so(
    genkit: Genkit, run: Path, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = sets
    log = (run / "log.txt").read_text()
    assert f"data     {first}: 240 train + 30 val + 30 test images of 1×28×28, in memory" in log
    assert f"beside   {second}: 109 train + 14 val + 14 test images of 1×16×16, 10 classes, in memory" in log
    about = description.describe(RunDirectory(run).checkpoints[-1])
    assert (about.data.dataset, about.data.beside) == (str(first), str(second))
    assert len(about.beside_digest) == 64
    assert about.beside_digest != about.data_digest
    assert config.read(run).data == about.data
    assert {"val/loss", "val/second", "val/told"} <= about.metrics.keys()
    assert f"from {first} beside {second}" in genkit("info", run).out
    card = (run / "README.md").read_text()
    assert f"on `{first}` (240 train + 30 val + 30 test images of 1×28×28), beside `{second}` (109 train" in card
    assert f"| beside | {second} | flag |" in card
    assert "| test/second |" in card
    page = Path(genkit("report", run, "--out", tmp_path / "report.html").out.strip().splitlines()[0])
    assert "on 240 images of first.npy beside second.npz" in page.read_text()
    assert str(tmp_path) not in page.read_text().replace(str(run), "")
    for arguments in (("sample",), ("embed",), ("evaluate", "--only", "reconstruction")):
        outcome = genkit(arguments[0], run, *arguments[1:])
        assert outcome.code == 0, outcome.err


def test_what_uses_a_model_needs_no_second_set(genkit: Genkit, run: Path, sets: tuple[Path, Path]) -> None:
    sets[1].unlink()
    for arguments in (("info",), ("sample", "--reconstruct"), ("evaluate", "--only", "reconstruction"), ("report",)):
        outcome = genkit(arguments[0], run, *arguments[1:])
        assert outcome.code == 0, outcome.err


def test_an_export_says_nothing_of_where_it_lies(genkit: Genkit, run: Path, tmp_path: Path) -> None:
    assert genkit("export", run, "--out", tmp_path / "exported").code == 0
    (found,) = (tmp_path / "exported").rglob("checkpoint.json")
    written = json.loads(found.read_text())
    assert (written["data"]["dataset"], written["data"]["beside"]) == ("./first.npy", "./second.npz")
    assert str(tmp_path) not in found.read_text()
    assert "`first.npy` beside `second.npz`" in (found.parent / "README.md").read_text()


@pytest.mark.parametrize("more", [[], ["-n"]])
def test_sets_that_are_not_the_models_are_refused(
    genkit: Genkit, sets: tuple[Path, Path], tmp_path: Path, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sets
    out = ["--out", tmp_path / "runs", *more]
    said = refused(genkit, "train", "pair", "--dataset", first, *out)
    assert said == "genkit: pair is trained on two sets of images: name the second with --beside NAME|PATH"
    said = refused(genkit, "train", "ae", "--dataset", first, "--beside", second, *out)
    assert said == f"genkit: ae is trained on one set of images: leave out --beside {second}"
    monkeypatch.setenv("GENKIT_BESIDE", str(second))
    said = refused(genkit, "train", "ae", "--dataset", first, *out)
    assert said == f"genkit: ae is trained on one set of images: unset the variable GENKIT_BESIDE, {second}"
    said = refused(genkit, "train", "pair", "--dataset", first, "--beside", "nowhere", *out)
    assert "nowhere: no such file or folder" in said
    assert not (tmp_path / "runs").exists()


def test_no_prior_is_fitted_to_the_codes_of_two_sets(
    genkit: Genkit, command: list[object], run: Path, tmp_path: Path
) -> None:
    """Its encoder is there, and may say another thing of images of either set."""
    why = "is trained on two sets of images, of whose codes none is fitted"
    said = refused(genkit, *command[:-1], tmp_path / "none", "--prior", "gmm")
    assert said == f"genkit: --prior gmm: pair {why}; leave it out"
    assert not (tmp_path / "none").exists()
    outcome = genkit("fit-prior", run)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1] == f"genkit: {run.name} is a pair, which {why}"


def test_a_model_says_that_it_needs_one(genkit: Genkit) -> None:
    found = {each["name"]: each["abilities"] for each in genkit("models", "--json").json["models"]}
    assert "second set" in found["pair"]
    assert "second set" not in found["vae"]


def stopped_at(genkit: Genkit, command: list[object], step: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run of a command that was interrupted after so many steps."""
    train = trainer.train

    def interrupted(state: Any, batches: Any) -> Iterator[Any]:
        for metrics in train(state, batches):
            if state.step == step:
                os.kill(os.getpid(), signal.SIGINT)
            yield metrics

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train", interrupted)
        outcome = genkit(*command, "--json")
    assert outcome.code == 130, outcome.err
    return Path(outcome.json["run"])


@pytest.mark.parametrize("images", [7, 137, 900])
@pytest.mark.parametrize("step", [2, 5])
def test_a_run_is_resumed_to_the_bit_whatever_the_second_sets_length(
    genkit: Genkit,
    command: list[object],
    sets: tuple[Path, Path],
    digits: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interruptible: None,
    images: int,
    step: int,
) -> None:
    np.savez(sets[1], images=digits.train.images(slice(0, images)).numpy())
    command = [*command, "--epochs", "3"]
    whole = Path(genkit(*command, "--json").json["run"])
    parts = stopped_at(genkit, command, step, monkeypatch)
    assert [path.name for path in RunDirectory(parts).checkpoints][-1] == f"{step:06d}"
    outcome = genkit("train", "--resume", parts, "--json")
    assert (outcome.code, outcome.json["steps"]) == (0, 12), outcome.err
    assert result_of(parts) == result_of(whole)


def test_an_altered_or_absent_second_set_is_refused(
    genkit: Genkit, run: Path, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    second = sets[1]
    whole = second.read_bytes()
    with np.load(second) as arrays:
        np.savez(second, images=arrays["images"][::-1], labels=arrays["labels"])
    said = refused(genkit, "train", "--resume", run, "--epochs", "3", code=1)
    assert f"the images of {second} aren't those that the run was trained on" in said
    second.unlink()
    assert f"{second}: the images that the run" in refused(genkit, "train", "--resume", run, "--epochs", "3", code=1)
    second.write_bytes(whole)
    other = tmp_path / "other.npz"
    with np.load(second) as arrays:
        np.savez(other, images=arrays["images"][::-1], labels=arrays["labels"])
    said = refused(genkit, "train", "--resume", run, "--beside", other, "--epochs", "3", code=1)
    assert f"the images of {other} aren't those that the run was trained on" in said
    shutil.copy(second, other)
    assert genkit("train", "--resume", run, "--beside", other, "--epochs", "3").code == 0, "the same at another place"
    assert config.read(run).data.beside == str(other)


def test_it_is_named_from_any_folder(
    genkit: Genkit, command: list[object], sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(sets[0].parent)
    command[3], command[5] = "first.npy", "second.npz"
    run = Path(genkit(*command, "--epochs", "1", "--json").json["run"])
    monkeypatch.chdir("/")
    assert genkit("train", "--resume", run, "--epochs", "2").code == 0


def test_begun_with_anothers_weights_a_run_takes_its_sets_over(
    genkit: Genkit, run: Path, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    def resolved(model: str, *more: object) -> tuple[dict, dict]:
        outcome = genkit("train", model, "--init-from", run, *more, "-n", "--json")
        assert outcome.code == 0, outcome.err
        return outcome.json["data"], outcome.json["sources"]

    first, second = map(str, sets)
    found, sources = resolved("pair")
    assert (found["dataset"], found["beside"], sources["beside"]) == (first, second, "init-from")
    found, sources = resolved("pair", "--beside", "mnist5k")
    assert (found["dataset"], found["beside"], sources["beside"]) == (first, "mnist5k", "flag")
    assert "two sets of images" in refused(genkit, "train", "pair", "--init-from", run, "--dataset", "mnist5k", "-n")
    found, _ = resolved("classifier")  # which is trained on one
    assert (found["dataset"], found["beside"]) == (first, None)


def test_the_judge_of_its_images_is_trained_on_the_first_set_alone(
    genkit: Genkit, models: Path, sets: tuple[Path, Path], tmp_path: Path, quick_evaluation: None
) -> None:
    command = ["train", "pair", "--dataset", sets[1], "--beside", sets[0], *SMALL, "--out", tmp_path / "runs"]
    run = Path(genkit(*command, "--epochs", "1", "--json").json["run"])
    found = judge.of(config.read(run).data, torch.device("cpu"))
    assert isinstance(found, judge.Judge)
    assert len(found.classes) == 10


def test_a_recipe_has_two_sets(genkit: Genkit, sets: tuple[Path, Path], tmp_path: Path) -> None:
    """They are there, or it is said; what it trained is used again, unless the second has changed."""
    first, second = sets
    text = (
        f'shows = "s"\npaper = "p"\nminutes = 1\ndataset = "{first}"\nbeside = "{second}"\n'
        'epochs = 1\nbatch-size = 60\n[runs.two]\nmodel = "pair"\n[[measure]]\nname = "losses"\n'
        '[[report]]\nwhat = "w"\nfigure = "two: second"\nabove = 0\n'
    )
    path = tmp_path / "own.toml"
    path.write_text(text)
    arguments = ["reproduce", path, "--out", tmp_path / "runs", "--results", tmp_path / "table"]
    outcome = genkit(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["rows"][0]["met"] is True
    assert genkit(*arguments, "-n", "--json").json["runs"]["two"]["todo"] == "is there"
    with np.load(second) as arrays:
        np.savez(second, images=arrays["images"][::-1], labels=arrays["labels"])
    assert genkit(*arguments, "-n", "--json").json["runs"]["two"]["todo"] == "train"
    second.unlink()
    dry = genkit(*arguments, "-n")
    assert (dry.code, f"missing   {second}: no such file" in dry.out) == (1, True)
    path.write_text(text.replace('"pair"', '"ae"'))
    assert "the run two: ae is trained on one set of images" in refused(genkit, *arguments)
    path.write_text(text.replace(f'beside = "{second}"\n', ""))
    assert "the run two: pair is trained on two sets of images" in refused(genkit, *arguments)


# ---------------------------------------------------------------------------------------------------------------------
# Several processes
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def zygote(_found: None) -> Iterator[Zygote]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
        zygote = Zygote()
    yield zygote
    zygote.close()


def test_two_processes_at_half_the_batch_are_one(
    genkit: Genkit, zygote: Zygote, command: list[object], tmp_path: Path
) -> None:
    command = [*command[:-1], tmp_path / "alone", "--epochs", "2"]
    alone = Path(genkit(*command, "--json").json["run"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{"environment": {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}} for rank in range(2)]
    arguments = [str(tmp_path / "pair") if each == tmp_path / "alone" else str(each) for each in command]
    leader, follower = zygote.run_together(arguments, ranks)
    assert (leader.status, follower) == (0, Ended(0, "")), leader
    together = only_run(tmp_path / "pair")
    assert together is not None
    ours, theirs = (load_file(RunDirectory(run).checkpoints[-1] / "model.safetensors") for run in (together, alone))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-5)
