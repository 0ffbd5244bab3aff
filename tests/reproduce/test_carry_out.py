"""`genkit reproduce`, from training to the row: what is there is used, what fails is said, what counts is kept."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from conftest import Genkit, Outcome

from genkit import run
from genkit.errors import GenkitError
from genkit.reproduce import results

RECIPE = """
shows = "A few numbers an image beat none."
paper = "Somebody, Something (2006)"
minutes = 1
dataset = "mnist5k"
image-size = 8
hidden = []
batch-size = 512
latent-dim = 2
epochs = 2

[runs.first]
model = "ae"

[runs.second]
model = "ae"
init-from = "first"
lr = 1e-4

[quick]
epochs = 1

[[measure]]
name = "squared-error"

[[picture]]
name = "reconstructions"
runs = ["first"]
count = 4

[[report]]
what = "squared error"
figure = "second: squared_error"
paper = "100"
below = {below}

[[report]]
what = "PCA's"
figure = "first: pca/squared_error"
"""


@pytest.fixture
def reproduce(genkit: Genkit, tmp_path: Path):
    """Carry out the recipe in a folder of its own; gives what the command came to."""

    def carry_out(*arguments: object, below: float = 1000) -> Outcome:
        path = tmp_path / "tiny.toml"
        path.write_text(RECIPE.replace("{below}", str(below)))
        return genkit("reproduce", path, "--out", tmp_path / "runs", "--results", tmp_path / "table", *arguments)

    return carry_out


def rows(folder: Path) -> list[list[str]]:
    lines = (folder / "table" / "README.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


def test_from_training_to_the_row(reproduce, tmp_path: Path) -> None:
    """A quick run, the same again, a full one, and a quick one after it."""
    quick = reproduce("--quick", "--json")
    assert quick.code == 0, quick.err
    record = json.loads((tmp_path / "table" / "results" / "tiny-quick.json").read_text())
    assert record.items() <= quick.json.items()
    assert record["rows"][0]["met"] is None  # a smoke run is held to nothing
    assert record["runs"]["second"]["settings"]["epochs"] == 1
    assert Path(quick.json["pictures"][0]).read_bytes().startswith(b"\x89PNG")
    (first, second) = rows(tmp_path)
    assert first[:3] == ["`tiny`, a quick run: no result", "squared error", "100"]
    assert second[1] == "PCA's"
    assert len(list((tmp_path / "runs").glob("0*"))) == 2

    again = reproduce("--quick", "--json")
    assert len(list((tmp_path / "runs").glob("0*"))) == 2  # nothing was trained
    assert again.json["figures"] == quick.json["figures"]
    assert "is there" in again.err

    full = reproduce("--json")
    assert full.code == 0, full.err
    assert full.json["rows"][0]["met"] is True
    table = rows(tmp_path)
    value = full.json["figures"]["second: squared_error"]
    assert table[0][0] == "`tiny`"
    assert table[0][3] == f"{value['value']:.4g} ± {value['error']:.2g} an image"
    assert table[0][4] == "< 1000: met"
    assert "epochs 2" in table[0][5]

    assert reproduce("--quick").code == 0
    assert rows(tmp_path) == table  # a quick run doesn't take a full one's row


def test_a_criterion_that_is_not_met_fails(reproduce, tmp_path: Path) -> None:
    outcome = reproduce(below=1)
    assert outcome.code == 1
    assert "squared error: " in outcome.out
    assert "NOT MET" in outcome.out
    assert rows(tmp_path)[0][4] == "< 1: **not met**"
    assert json.loads((tmp_path / "table" / "results" / "tiny.json").read_text())["rows"][0]["met"] is False


def test_a_run_that_was_interrupted_goes_on(reproduce, genkit: Genkit, tmp_path: Path) -> None:
    """What lies there of an unfinished run with the same configuration is gone on with, to the same figures."""
    whole = reproduce("--json").json["figures"]
    (first, _) = sorted((tmp_path / "runs").glob("0*"))
    newest = sorted((first / "checkpoints").iterdir())[-1]
    newest.rename(tmp_path / "lost")
    dry = reproduce("--json", "--dry-run").json["runs"]
    assert [each["todo"] for each in dry.values()] == ["resume", "train"]
    assert reproduce("--json").json["figures"] == whole
    assert len(list((tmp_path / "runs").glob("0*"))) == 2
    assert newest.exists()


def test_the_readme_around_the_table_stays(reproduce, tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.mkdir()
    (table / "README.md").write_text("# Mine\n\nBefore.\n")
    reproduce("--quick")
    text = (table / "README.md").read_text()
    assert text.startswith("# Mine\n\nBefore.\n\n<!-- results")
    (table / "README.md").write_text(text + "\nAfter.\n")
    results.write_table(table)
    text = (table / "README.md").read_text()
    assert text.startswith("# Mine\n\nBefore.\n\n<!-- results")
    assert text.endswith("<!-- end of results -->\n\nAfter.\n")
    assert len(re.findall("<!-- results", text)) == 1
    torn = text.replace(results.END, "")
    (table / "README.md").write_text(torn)
    with pytest.raises(GenkitError, match="put it back"):
        results.write_table(table)
    assert (table / "README.md").read_text() == torn


def test_missing_images_are_said_before_anything_is_trained(genkit: Genkit, tmp_path: Path) -> None:
    outcome = genkit("reproduce", "linear-ae", "--out", tmp_path / "runs", "--results", tmp_path / "table")
    assert outcome.code == 1
    assert "mnist" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_an_interrupt_leaves_what_is_trained(reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT in the second run's training: exit code 130, no record, and the same command needs only the rest."""
    whole, begun = run.Training.run_epochs, []

    def interrupted(training: run.Training, received: list[int]) -> int | None:
        begun.append(training)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(training, received)

    monkeypatch.setattr(run.Training, "run_epochs", interrupted)
    # Where the tests are started in the background, the signal may be ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = reproduce("--json")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (outcome.code, outcome.json["stopped"]) == (130, True)
    assert not (tmp_path / "table").exists()
    assert [each["todo"] for each in reproduce("-n", "--json").json["runs"].values()] == ["is there", "resume"]
    assert reproduce().code == 0
    assert len(list((tmp_path / "runs").glob("0*"))) == 2
    assert len(begun) == 3
