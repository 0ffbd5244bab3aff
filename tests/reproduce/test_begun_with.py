"""Recipes whose runs begin with another's weights, and figures that are of several runs."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from genkit import data
from genkit.keep import checkpoint, config
from genkit.reproduce.carry_out import carry_out, plan
from genkit.reproduce.recipe import Recipe, Step

RECIPE = """
shows = "s"
paper = "p"
minutes = 1
dataset = "mnist5k"
image-size = 8

[runs.net]
model = "ae"
hidden = [12]
latent-dim = 3
activation = "tanh"
epochs = 1

[runs.further]
model = "ae"
init-from = "net"
activation = "silu"
epochs = 1

[runs.told]
model = "classifier"
init-from = "net"
epochs = 1
sweep.labels-per-class = [1, 2]
sweep.labels-seed = [0, 1, 2]

[[measure]]
name = "test-error"
runs = ["told"]

[[measure]]
name = "mean-over"
runs = ["told"]
figure = "error"
over = "labels-per-class"

[[report]]
what = "error"
figure = "error of told, labels-per-class=2"
"""


def counted(patch: pytest.MonkeyPatch, module: ModuleType, name: str, counts: Counter[str]) -> None:
    """Count a function's calls, which go on as before."""
    function = getattr(module, name)

    def counting(*arguments: object) -> object:
        counts[f"{module.__name__}.{name}"] += 1
        return function(*arguments)

    patch.setattr(module, name, counting)


def test_weights_bring_their_options_and_the_runs_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(RECIPE)
    recipe = Recipe(path, out=str(tmp_path / "runs"))
    record = carry_out(recipe, tmp_path / "table").record
    assert record is not None
    plans = plan(recipe)
    assert [each.todo for each in plans.values()] == ["is there"] * 8

    # However many runs there are, each file of theirs is read once.
    with monkeypatch.context() as patch:
        read: Counter[str] = Counter()
        for module, name in ((config, "read"), (checkpoint, "read"), (data, "load")):
            counted(patch, module, name, read)
        plan(recipe)
        assert read == {"genkit.keep.config.read": 8, "genkit.keep.checkpoint.read": 2, "genkit.data.load": 1}

    further = config.read(plans["further"].directory.path).options
    assert (further.hidden, further.latent_dim) == ((12,), 3)  # of the run whose weights it took
    assert further.activation == "silu"  # but what the recipe says goes first
    told = config.read(plans["told/labels-per-class=1,labels-seed=0"].directory.path).options
    assert told.body.options["hidden"] == [12]

    errors = [record.figures[f"told/labels-per-class=2,labels-seed={seed}: error"].value for seed in range(3)]
    found = record.figures["error of told, labels-per-class=2"]
    mean = sum(errors) / 3
    assert found.value == pytest.approx(mean)
    assert found.error == pytest.approx(math.sqrt(sum((each - mean) ** 2 for each in errors) / 2 / 3))
    assert found.conditions == {"runs": 3}
    assert "at a load of" in record.machine


def test_a_run_whose_epochs_the_images_fill_in_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "few.toml"
    path.write_text(
        'shows = "s"\npaper = "p"\nminutes = 1\ndataset = "mnist5k"\nimage-size = 8\nlabels-per-class = 2\n'
        'checkpoint-every = 50\npicture-every = 200\n[runs.told]\nmodel = "classifier"\nwidth = 8\n'
        "[[measure]]\nname = 'test-error'\n[[report]]\nwhat = 'w'\nfigure = 'told: error'\n"
    )
    recipe = Recipe(path, out=str(tmp_path / "runs"))
    assert plan(recipe)["told"].todo == "train"
    carry_out(recipe, tmp_path / "table")
    planned = plan(recipe)["told"]
    assert planned.todo == "is there"
    assert config.read(planned.directory.path).options.epochs == 100 > planned.config.options.epochs
    *_, last = planned.directory.checkpoints
    shutil.rmtree(last)
    assert plan(recipe)["told"].todo == "resume", "50 of 100 epochs, though a classifier's default is 4"
    carry_out(recipe, tmp_path / "table")
    assert [each.name for each in (tmp_path / "runs").glob("0*")] == [planned.directory.path.name]
    assert last.exists()


def test_a_quick_run_asks_otherwise() -> None:
    step = Step.model_validate({"name": "likelihood", "k": 5000, "images": 7, "quick": {"k": 10}})
    assert step.asked() == {"k": 5000, "images": 7}
    assert step.asked(quick=True) == {"k": 10, "images": 7}
