"""What decides a run, and what may change when it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genkit import data, registry
from genkit.errors import CheckpointError, UsageError
from genkit.keep import config
from genkit.keep.config import Config, RunOptions
from genkit.models.vae import VAE


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    made = Config("vae", VAE.Options(epochs=5), data.DataOptions(dataset=str(tmp_path / "scans")), RunOptions(), {})
    return made._replace(sources=dict.fromkeys(made.values(), "default"))


def test_what_is_saved_is_read(settings: Config, tmp_path: Path) -> None:
    settings.save(tmp_path)
    assert config.read(tmp_path) == settings._replace(provider=registry.GENKIT)


def test_an_option_that_a_run_is_older_than_has_its_default(settings: Config, tmp_path: Path) -> None:
    saved = json.loads(json.dumps(settings.as_json()))
    del saved["run"]["deterministic"], saved["sources"]["deterministic"], saved["provider"]
    saved["run"]["checkpoint_every"] = 1  # a number once
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert config.read(tmp_path) == settings


@pytest.mark.parametrize(
    "change",
    [
        {"model": "../vae"},
        {"model": 3},
        {"provider": {"package": "two words", "version": "1"}},
        {"provider": {"package": "genkit"}},
        {"provider": "genkit"},
        {"options": {"latent_dim": -1}},
        {"options": {"evil": 1}},
        {"data": []},
        {"run": {"seed": "x"}},
        {"sources": {"lr": 3}},
        {"evil": 1},
    ],
    ids=str,
)
def test_a_forged_configuration_is_refused(settings: Config, tmp_path: Path, change: dict) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings.as_json() | change))
    with pytest.raises(CheckpointError, match=r"config\.json is no configuration of a run"):
        config.read(tmp_path)


def test_epochs_may_be_raised(settings: Config, tmp_path: Path) -> None:
    longer = config.continued(settings, {"epochs": "7"}, tmp_path)
    assert longer.options == settings.options.model_copy(update={"epochs": 7})
    assert longer.sources["epochs"] == "resume"


def test_options_may_be_repeated(settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is the same from wherever it is named."""
    monkeypatch.chdir(tmp_path)
    given = {"epochs": 5, "lr": "0.004", "hidden": "512,256", "dataset": "scans", "out": "../x/../runs", "seed": "0"}
    monkeypatch.chdir(tmp_path)
    given["out"] = str(Path("runs").resolve())
    assert config.continued(settings, given, tmp_path) == settings


def test_all_that_disagrees_is_named(settings: Config, tmp_path: Path) -> None:
    given = {"epochs": "4", "lr": "0.1", "beta1": "0.9", "hidden": "8", "seed": "1", "dataset": "mnist"}
    with pytest.raises(UsageError) as refusal:
        config.continued(settings, given, tmp_path)
    named = {part.split()[0] for part in str(refusal.value).split("--")[1:]}
    assert named == {"epochs", "lr", "hidden", "seed", "dataset", "init-from", "patience"}
    assert "--lr 0.1 (the run has 0.004)" in str(refusal.value)
    assert "--epochs 4 (the run has 5)" in str(refusal.value)


@pytest.mark.parametrize(("text", "epochs", "seconds"), [("3", 3, float("inf")), ("10min", None, 600.0)])
def test_intervals_of_checkpoints(text: str, epochs: int | None, seconds: float) -> None:
    options = RunOptions(checkpoint_every=text)
    assert (options.checkpoint_epochs, options.checkpoint_seconds) == (epochs, seconds)


@pytest.mark.parametrize("text", ["0", "0min", "1.5", "min", "-1", "1 min", "1min\n", "1h"])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="give epochs, like 2, or whole minutes"):
        RunOptions(checkpoint_every=text)
