"""What every command makes of what is typed: `~` in a path, an option that is given twice, an empty variable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from conftest import Genkit, run_of

from genkit import cli
from genkit.cli.command import Command, PathType
from genkit.keep import rundir
from genkit.keep.config import RunOptions


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    """All that do something; of the models' own, that of the VAE."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in ["vae"] if path == ("train",) else command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, *path, name)


ALL = dict(commands(cli.genkit_command))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and a working directory beside it."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize("name", ALL)
def test_every_command_takes_paths_and_options_by_the_same_rules(name: str) -> None:
    command = ALL[name]
    assert isinstance(command, Command)
    paths = [each for each in command.params if isinstance(each.type, click.Path)]
    assert [each.name for each in paths if not isinstance(each.type, PathType)] == []


def test_a_tilde_is_the_home_folder_wherever_a_path_is_given(
    genkit: Genkit, home: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "mine").symlink_to(runs)
    vae = f"~/mine/{run_of(runs, 'vae').name}"
    for typed, made in (
        (["sample", vae, "--seeds", "0", "--out=~/a.png"], "a.png"),
        (["sample", vae, "--reconstruct", "--file=~/a.png", "--out=~/b.png"], "b.png"),
        (["sample", vae, "--reconstruct", "--file=~/a*.png", "--out=~/b2.png"], "b2.png"),
        (["sample", vae, "--arithmetic", "~/a.png - ~/b.png", "--out=~/c.png"], "c.png"),
        (["encode", vae, "--limit=2", "--out=~/codes.csv"], "codes.csv"),
        (["export", vae, "--out=~/exports"], "exports"),
        (["report", vae, "--out=~/report.html"], "report.html"),
        (["explore", vae, "--export=~/page.html"], "page.html"),
    ):
        outcome = genkit(*typed)
        assert outcome.code == 0, (typed, outcome.err)
        assert (home / made).exists(), typed
    assert genkit("info", vae).code == 0
    monkeypatch.setenv("GENKIT_OUT", "~/mine")
    assert genkit("info", "0").code == 0
    assert list(Path.cwd().iterdir()) == []


def test_a_tilde_in_a_recipe_and_of_what_a_run_begins_with(genkit: Genkit, home: Path, runs: Path) -> None:
    (home / "mine").symlink_to(runs)
    (home / "r.toml").write_bytes(b'\xef\xbb\xbfmodel = "vae"\nout = "~/x"\nepochs = 1\n')
    plan = genkit("train", "--config=~/r.toml", "--dry-run", "--json")
    assert plan.json["run"]["out"] == str(home / "x"), plan.err
    vae = f"~/mine/{run_of(runs, 'vae').name}"
    plan = genkit("train", "vae", f"--init-from={vae}", "--out=~/y", "--dry-run", "--json")
    assert plan.code == 0, plan.err
    assert plan.json["run"]["out"] == str(home / "y")
    plan = genkit("train", f"--resume={vae}", "--dry-run", "--json")
    assert plan.json["model"] == "vae", plan.err
    plan = genkit("reproduce", "conv-ae", "--dry-run", "--out=~/z", "--json")
    assert {each["run"]["out"] for each in plan.json["runs"].values()} == {str(home / "z")}
    assert list(Path.cwd().iterdir()) == []


def test_run_options_in_python_know_the_home_folder_too(home: Path) -> None:
    options = RunOptions(out="~/x", init_from="~/y")
    assert (options.out, options.init_from) == (str(home / "x"), str(home / "y"))
    assert RunOptions(out="~nobody-at-all/x").out == "~nobody-at-all/x"


def test_an_empty_variable_is_none(home: Path, genkit: Genkit, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OUT", "DEVICE", "DATASET", "DATA", "MODELS", "EPOCHS", "OFFLINE"):
        monkeypatch.setenv(f"GENKIT_{name}", "")
    assert rundir.default_parent() == Path("runs")
    plan = genkit("train", "vae", "--dry-run", "--json")
    assert plan.json["run"]["out"] == "runs"
    assert set(plan.json["sources"].values()) == {"default"}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["train", "vae", "--dataset", "a", "--dataset=b"], "--dataset is given twice; keep one"),
        (["train", "vae", *["--epochs=1"] * 3], "--epochs is given several times; keep one"),
        (["train", "vae", "--deterministic", "--no-deterministic"], "--deterministic or --no-deterministic is given"),
        (["sample", "--seeds", "1", "0", "--seeds", "2"], "--seeds is given twice"),
        (["encode", "--out", "a.csv", "--out", "b.csv"], "--out is given twice"),
        (["reproduce", "--list", "--device", "cpu", "--device", "cuda"], "--device is given twice"),
    ],
)
def test_an_option_that_is_given_twice_is_refused(genkit: Genkit, home: Path, typed: list[str], said: str) -> None:
    outcome = genkit(*typed)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert said in outcome.err


def test_what_says_the_same_twice_or_may_be_repeated_is_taken(genkit: Genkit, home: Path, runs: Path) -> None:
    assert genkit("data", "list", "--json", "--json").code == 0
    assert genkit("train", "vae", "-n", "--dry-run").code == 0
    assert "is given twice" not in genkit("sample", "--help", "--seeds", "1", "--seeds", "2").err
    run = run_of(runs, "vae")
    assert genkit("sample", run, "--seeds=0", f"--out={home}/a.png").code == 0
    both = genkit("sample", run, "--reconstruct", *[f"--file={home}/a.png"] * 2, f"--out={home}/b.png")
    assert both.code == 0, both.err
