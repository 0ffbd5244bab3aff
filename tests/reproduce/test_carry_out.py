"""`genkit reproduce`, from training to the row: what is there is used, what fails is said, what counts is kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit, Outcome
from PIL import Image

from genkit.data.dataset import Dataset
from genkit.errors import GenkitError
from genkit.reproduce import results
from genkit.run import trainer

RECIPE = """
shows = "A few numbers an image beat none."
paper = "Somebody, Something (2006)"
minutes = 1
show = "reconstructions"
dataset = "{dataset}"
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

    def carry_out(*arguments: object, below: object = 1000, dataset: object = "mnist5k") -> Outcome:
        path = tmp_path / "tiny.toml"
        path.write_text(RECIPE.replace("{below}", str(below)).replace("{dataset}", str(dataset)))
        return genkit("reproduce", path, "--out", tmp_path / "runs", "--results", tmp_path / "table", *arguments)

    return carry_out


def section(folder: Path, heading: str) -> str:
    """What the README says of a recipe."""
    text = (folder / "table" / "README.md").read_text()
    return text.partition(f"### {heading}\n")[2].partition("<!--")[0]


def rows(folder: Path, heading: str = "`tiny`") -> list[list[str]]:
    lines = section(folder, heading).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


def test_from_training_to_the_row(reproduce, tmp_path: Path) -> None:
    """A quick run, the same again, a full one, and a quick one after it."""
    quick = reproduce("--quick", "--json")
    assert quick.code == 0, quick.err
    record = json.loads((tmp_path / "table" / "results" / "tiny-quick.json").read_text())
    assert record.items() <= quick.json.items()
    assert record["rows"][0]["met"] is None  # a smoke run is held to nothing
    assert record["runs"]["second"]["settings"]["epochs"] == 1
    (drawn,) = quick.json["pictures"]
    (first, second) = rows(tmp_path, "`tiny`, a quick run: no result")
    assert first[:2] == ["squared error", "100"]
    assert second[0] == "PCA's"
    assert len(list((tmp_path / "runs").glob("0*"))) == 2
    assert not (tmp_path / "table" / "pictures" / "tiny.png").exists()

    again = reproduce("--quick", "--json")
    assert len(list((tmp_path / "runs").glob("0*"))) == 2  # nothing was trained
    assert again.json["figures"] == quick.json["figures"]
    assert "is there" in again.err

    full = reproduce("--json")
    assert full.code == 0, full.err
    assert full.json["rows"][0]["met"] is True
    table = rows(tmp_path)
    value = full.json["figures"]["second: squared_error"]
    assert table[0][2:] == [f"{value['value']:.4g} ± {value['error']:.2g} an image", "< 1000: met"]
    assert "epochs 2" in section(tmp_path, "`tiny`")
    with Image.open(drawn) as smoke, Image.open(full.json["pictures"][0]) as whole:
        assert smoke.height > whole.height + 20  # it says above that it is of a quick run
    assert "![A few numbers an image beat none.](pictures/tiny.png)" in section(tmp_path, "`tiny`")
    assert (tmp_path / "table" / "pictures" / "tiny.png").stat().st_size <= 100_000

    assert reproduce("--quick").code == 0
    assert rows(tmp_path) == table  # a quick run doesn't take a full one's row


def test_a_bound_that_is_a_figure_is_shown_by_its_value(reproduce, tmp_path: Path) -> None:
    outcome = reproduce("--json", below='"first: pca/squared_error"')
    value = outcome.json["figures"]["first: pca/squared_error"]["value"]
    assert rows(tmp_path)[0][3].startswith(f"< {value:.4g}: ")


def test_other_images_are_trained_on_anew(reproduce, digits: Dataset, tmp_path: Path) -> None:
    """A run of the same configuration isn't the recipe's where its images have changed since."""
    array = tmp_path / "array.npy"
    np.save(array, digits.train.images(torch.arange(300))[:, 0].numpy())
    assert reproduce("--quick", dataset=array).code == 0
    dry = reproduce("-n", "--quick", "--json", dataset=array)
    assert [each["todo"] for each in dry.json["runs"].values()] == ["is there", "is there"]
    np.save(array, digits.train.images(torch.arange(300, 600))[:, 0].numpy())
    dry = reproduce("-n", "--quick", "--json", dataset=array)
    assert [each["todo"] for each in dry.json["runs"].values()] == ["train", "train"]
    array.unlink()
    dry = reproduce("-n", "--quick", "--json", dataset=array)
    assert (dry.code, [each["fetched"] for each in dry.json["missing"]]) == (1, [False])


@pytest.mark.parametrize("content", ['{"name": "somebody else"}', '{"schema_version": 1, "rec', "[1]", '{"rows": NaN}'])
def test_a_strange_record_is_said_before_anything_is_trained(reproduce, tmp_path: Path, content: str) -> None:
    strange = tmp_path / "table" / "results" / "package.json"
    strange.parent.mkdir(parents=True)
    strange.write_text(content)
    outcome = reproduce("--quick")
    assert outcome.code == 1
    assert f"{strange} is no record that genkit reproduce wrote, or is damaged (" in outcome.err
    assert outcome.err.count("\n") == 1
    assert "Input should" not in outcome.err
    assert strange.read_text() == content
    assert not (tmp_path / "runs").exists()


def test_a_criterion_that_is_not_met_fails(reproduce, tmp_path: Path) -> None:
    outcome = reproduce(below=1)
    assert outcome.code == 1
    assert re.search(r"^squared error +100 +[\d.]+ ± [\d.]+ an image +< 1  NOT MET$", outcome.out, re.MULTILINE)
    assert rows(tmp_path)[0][3] == "< 1: **not met**"
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
    shutil.rmtree(tmp_path / "runs")
    outcome = reproduce("--quick")
    assert (outcome.code, "put it back" in outcome.err) == (1, True)
    assert not (tmp_path / "runs").exists()  # it is said before anything is trained
    assert (table / "README.md").read_text() == torn


def test_missing_images_are_said_before_anything_is_trained(genkit: Genkit, tmp_path: Path) -> None:
    outcome = genkit("reproduce", "linear-ae", "--out", tmp_path / "runs", "--results", tmp_path / "table")
    assert outcome.code == 1
    assert "mnist" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_an_interrupt_leaves_what_is_trained(reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT in the second run's training: exit code 130, no record, and the same command needs only the rest."""
    whole, begun = trainer.Trainer.run_epochs, []

    def interrupted(training: trainer.Trainer, received: list[int]) -> int | None:
        begun.append(training)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(training, received)

    monkeypatch.setattr(trainer.Trainer, "run_epochs", interrupted)
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
