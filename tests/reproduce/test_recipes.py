"""Recipes: those that are here are sound, and a wrong one is refused in one line before anything is trained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Genkit

from genkit.errors import UsageError
from genkit.reproduce import recipe, results
from genkit.reproduce.recipe import Recipe, Report

SOUND = """
shows = "Something."
paper = "Somebody, Something (2006)"
minutes = 1
dataset = "mnist5k"
epochs = 3

[runs.net]
model = "ae"
hidden = []
sweep.latent-dim = [2, 4]
sweep.seed = [0, 1]

[[measure]]
name = "squared-error"
runs = ["net"]

[[report]]
what = "error"
figure = "net/latent-dim=2,seed=1: squared_error"
below = 3

[quick]
epochs = 1
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "own.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", recipe.paths())
def test_every_recipe_here_is_sound(name: str, quick: bool) -> None:
    """Its options are options, and every row is of a run that there is."""
    made = Recipe(recipe.find(name), quick)
    for row in made.contents.report if not quick else ():
        for figure in (row.figure, row.below, row.above):
            if isinstance(figure, str) and ": " in figure:
                assert figure.partition(": ")[0] in made.runs


def test_list_names_every_recipe_without_torch(genkit: Genkit) -> None:
    listed = genkit("reproduce", "--list", "--json").json["recipes"]
    assert {"linear-ae", "hinton-2006", "hinton-2006-2d"} <= listed.keys() == recipe.paths().keys()
    program = (
        "import sys; from genkit.cli.reproduce import show_list; show_list(True); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_a_sweep_is_a_run_for_each_combination(written) -> None:
    runs = Recipe(written(SOUND)).runs
    assert [(run.options.latent_dim, run.run.seed) for run in runs.values()] == [(2, 0), (2, 1), (4, 0), (4, 1)]
    assert list(runs)[1] == "net/latent-dim=2,seed=1"
    assert {run.options.epochs for run in runs.values()} == {3}
    assert {run.options.epochs for run in Recipe(written(SOUND), quick=True).runs.values()} == {1}


@pytest.mark.parametrize(
    ("sound", "broken", "said"),
    [
        ("epochs = 3", "epoch = 3", "did you mean 'epochs'"),
        ("epochs = 3", "epochs = 0", "epochs"),
        ('model = "ae"', 'model = "ea"', "there are ae"),
        ("minutes = 1", "", "minutes"),
        ('name = "squared-error"', 'name = "squared-eror"', "did you mean 'squared-error'"),
        ('runs = ["net"]', 'runs = ["nets"]', "no run is called 'nets'"),
        ("below = 3", "belo = 3", "belo"),
        ("[runs.net]", "[runs.net", "can't be read as a recipe"),
        ("hidden = []", 'init-from = "other"', "names no run"),
        ("sweep.seed = [0, 1]", "sweep.seed = 1", "list of an option's values"),
        ('model = "ae"', 'model = ["ae"]', "there are ae"),
        ('runs = ["net"]', "runs = 5", "runs"),
        ("[[report]]", '[[picture]]\nname = "reconstructions"\nfile = "../up"\n[[report]]', "a plain name"),
        ("[[report]]", '[[picture]]\nname = "samples"\n[[picture]]\nname = "samples"\n[[report]]', "two pictures"),
    ],
)
def test_a_broken_recipe_is_refused_in_one_line(
    written, genkit: Genkit, sound: str, broken: str, said: str, tmp_path: Path
) -> None:
    assert sound in SOUND
    outcome = genkit("reproduce", written(SOUND.replace(sound, broken, 1)), "--out", tmp_path / "runs")
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_an_unknown_name_is_answered_with_the_nearest(genkit: Genkit) -> None:
    outcome = genkit("reproduce", "linear-ea")
    assert (outcome.code, "did you mean 'linear-ae'" in outcome.err) == (2, True)
    assert genkit("reproduce").code == genkit("reproduce", "linear-ae", "--list").code == 2


def test_dry_run_says_what_would_be_done_and_does_nothing(written, genkit: Genkit, tmp_path: Path) -> None:
    outcome = genkit(
        "reproduce", written(SOUND), "-n", "--json", "--out", tmp_path / "runs", "--results", tmp_path / "r"
    )
    assert [each["todo"] for each in outcome.json["runs"].values()] == ["train"] * 4
    assert [each.name for each in tmp_path.iterdir()] == ["own.toml"]


def test_criteria() -> None:
    values = {"a": 2.0, "b": 1.0}
    row = {"what": "w", "figure": "a"}
    assert Report(**row).met(values) is None
    assert Report(**row, below=2.0).met(values) is False  # below is below
    assert Report(**row, above=2.0).met(values) is True  # and at least is at least
    assert Report(**row, above="b", times=2).met(values) is True
    assert Report(**row, above="b", times=2.1).met(values) is False
    assert Report(**row, near=2.5, within=0.5).met(values) is True
    assert Report(**row, near=2.6, within=0.5).met(values) is False
    assert Report(**row, below="gone").met(values) is False
    assert Report(what="w", figure="gone", above=0).met(values) is False


def test_a_path_is_a_recipe_too(written) -> None:
    assert recipe.find(str(written(SOUND))).name == "own.toml"
    with pytest.raises(UsageError, match="can't be read as a recipe"):
        Recipe(recipe.find("nowhere.toml"))


def test_the_table_here_is_what_its_records_say() -> None:
    """No row is typed by hand, and none is of a quick run."""
    found = results.records(recipe.folder())
    text = (recipe.folder() / "README.md").read_text(encoding="utf-8")
    assert text.partition(results.START)[2].partition(results.END)[0].strip() == results.table(found)
    assert not any(record.quick for record in found)
