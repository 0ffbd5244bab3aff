"""A package of models that genkit knows nothing of, installed by pip: every command, and its own tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import Genkit
from endurance.harness import result_of

import genkit as package
from genkit import cli, registry
from genkit.keep import checkpoint
from genkit.keep.rundir import RunDirectory

SOURCE = Path(__file__).with_name("plugin")
MODELS = {"wgan-gp": ["--width", "32", "--latent-dim", "4"], "boltzmann": ["--width", "32", "--latent-dim", "4"]}

every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path into which pip has installed the package."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(SOURCE, folder / "source")  # pip builds in it
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    done = subprocess.run(
        [*pip, "--target", folder / "site", folder / "source"], capture_output=True, text=True, timeout=300
    )
    assert not done.returncode, done.stderr
    sys.path.insert(0, str(folder / "site"))
    registry._entry_points.cache_clear()
    yield folder / "site"
    sys.path.remove(str(folder / "site"))
    registry._meant.clear()
    registry._entry_points.cache_clear()
    for name in [each for each in sys.modules if each.partition(".")[0] == "strange_models"]:
        del sys.modules[name]
        registry._loaded.pop(name, None)


@pytest.fixture(scope="module")
def strange_runs(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each model, of two epochs: the machines of `boltzmann` have one each."""
    out = tmp_path_factory.mktemp("strange")
    for name, small in MODELS.items():
        arguments = ["train", name, "--dataset", "mnist5k", "--epochs", "2", "--batch-size", "250", "--device", "cpu"]
        with pytest.raises(SystemExit) as exit_info:
            cli.main([*arguments, "--out", str(out), *small])
        assert not exit_info.value.code
    return out


def environment(site: Path) -> dict[str, str]:
    """For a process that finds the package, and this genkit."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(Path(package.__file__).parents[1])])}


def run_of(runs: Path, name: str) -> Path:
    return next(runs.glob(f"[0-9]????-{name}-mnist5k"))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(path).model.state_dict()


def test_a_stage_that_does_not_measure_the_monitor_takes_no_patience(
    genkit: Genkit, strange_runs: Path, tmp_path: Path
) -> None:
    few = ["--dataset", "mnist5k", "--epochs", "4", "--batch-size", "500", "--device", "cpu", "--out", tmp_path]
    result = genkit("train", "boltzmann", *few, *MODELS["boltzmann"], "--patience", "1", "--json").json
    assert result["steps"] > 2 * 8, "both machines have been trained"


@every_model
def test_they_are_listed_with_what_they_can_do(genkit: Genkit, site: Path, name: str) -> None:
    found = {each["name"]: each for each in genkit("models", "--json").json["models"]}[name]
    assert found["from"] == "strange-models 1.0"
    assert found["abilities"] == [*([] if name == "wgan-gp" else ["encodes"]), "generates", "features"]
    help_of_train = genkit("train", "--help").out
    assert name in help_of_train
    assert "--momentum" in genkit("train", "boltzmann", "--help").out


@every_model
def test_a_run_goes_on_to_the_same_bits(genkit: Genkit, strange_runs: Path, tmp_path: Path, name: str) -> None:
    """From its first epoch's end, which for `boltzmann` is where one machine hands over to the other."""
    whole = run_of(strange_runs, name)
    begun = Path(shutil.copytree(whole, tmp_path / whole.name))
    first, last = RunDirectory(begun).checkpoints
    shutil.rmtree(last)
    outcome = genkit("train", "--resume", begun, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["steps"] == 32
    assert result_of(begun) == result_of(whole)
    ended = weights(RunDirectory(begun).checkpoints[-1])
    moved = {key.partition(".")[0] for key, value in weights(first).items() if not torch.equal(value, ended[key])}
    assert moved >= ({"second"} if name == "boltzmann" else {"critic", "generator"})
    assert "first" not in moved, "its time is over"


def test_a_critic_takes_its_steps_and_each_machine_has_its_time(strange_runs: Path) -> None:
    def rows(name: str) -> list[dict]:
        lines = (run_of(strange_runs, name) / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if any(key.startswith("train/") for key in row)]

    of_first, of_second = rows("boltzmann")
    assert "train/first/error" in of_first
    assert "train/second/error" not in of_first
    assert "train/second/error" in of_second
    assert "train/first/error" not in of_second
    assert all(row.keys() >= {"train/critic/penalty", "train/generator/loss"} for row in rows("wgan-gp"))
    with torch.no_grad():
        kept = checkpoint.read(run_of(strange_runs, "boltzmann") / "checkpoints" / "000032").model
    assert kept.first.weight.abs().max() > 0.05, "the first machine has learned something"


@every_model
@pytest.mark.parametrize(
    "command",
    [
        ["info"],
        ["sample"],
        ["sample", "--interpolate", "--seeds", "1,2"],
        ["sample", "--reconstruct"],
        ["sample", "--traverse"],
        ["embed"],
        ["evaluate", "--split", "test", "--limit", "200"],
        ["export"],
        ["export", "--format", "pt2"],
        ["export", "--format", "onnx"],
        ["report"],
    ],
    ids=" ".join,
)
def test_every_command_takes_a_run(
    genkit: Genkit, strange_runs: Path, quick_evaluation: None, tmp_path: Path, name: str, command: list[str]
) -> None:
    if "onnx" in command:
        pytest.importorskip("onnxscript")
    first, *more = command
    out = [] if first == "info" else ["--out", tmp_path / ("report.html" if first == "report" else "out")]
    outcome = genkit(first, run_of(strange_runs, name), *more, *out, "--json")
    assert outcome.code == 0, outcome.err
    assert "a fault" not in outcome.err
    if first == "info":
        assert outcome.json["model"] == name
        assert outcome.json["provider"] == {"package": "strange-models", "version": "1.0"}
        assert f"{name} of strange-models 1.0" in genkit("info", run_of(strange_runs, name)).out
        assert f"The model `{name}` of strange-models 1.0" in (run_of(strange_runs, name) / "README.md").read_text()
    elif first == "evaluate":
        assert outcome.json["runs"]
    else:
        assert list(tmp_path.rglob("*.*"))


@every_model
def test_it_is_explored(genkit: Genkit, site: Path, strange_runs: Path, tmp_path: Path, name: str) -> None:
    """As a page that needs no server, and by one."""
    page, run = tmp_path / "latent.html", run_of(strange_runs, name)
    outcome = genkit("explore", run, "--export", page, "--limit", "50", "--json")
    assert outcome.code == 0, outcome.err
    assert page.stat().st_size > 10_000
    command = [sys.executable, "-m", "genkit", "explore", run, "--no-browser", "--limit", "50"]
    with subprocess.Popen(command, env=environment(site), stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            with urllib.request.urlopen(serving.stdout.readline().strip(), timeout=60) as answer:
                assert b"<canvas" in answer.read()
        finally:
            serving.terminate()


def test_their_own_repository_holds_them_to_the_contract(site: Path, tmp_path: Path) -> None:
    tests = Path(shutil.copytree(SOURCE / "tests", tmp_path / "tests"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tests, tests],
        env=environment(site),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert not done.returncode, done.stdout
    assert "failed" not in done.stdout
    assert " passed" in done.stdout
