"""`genkit score`: a line an image, a threshold of the validation split, and how well classes are told apart."""

from __future__ import annotations

import csv
import io
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit, Outcome, run_of, saved_checkpoint, small_model
from PIL import Image
from strangers import TINY, write_file

from genkit import registry
from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.data.dataset import Dataset
from genkit.evaluate import anomaly


@pytest.fixture(scope="module")
def ones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained on ones alone."""
    from genkit import cli

    out = tmp_path_factory.mktemp("ones")
    command = ["train", "ae", "--dataset", "mnist5k", "--only-classes", "1", "--hidden", "32", "--latent-dim", "4"]
    with pytest.raises(SystemExit):
        cli.main([*command, "--epochs", "15", "--batch-size", "32", "--device", "cpu", "--out", str(out)])
    return next(out.glob("0*"))


def rows(outcome: Outcome) -> list[dict[str, str]]:
    assert outcome.code == 0, outcome.err
    return list(csv.DictReader(io.StringIO(outcome.out)))


def test_a_run_of_one_class_tells_the_others_from_it(genkit: Genkit, ones: Path, digits: Dataset) -> None:
    outcome = genkit("score", ones, "--seed", 1)
    found = rows(outcome)
    assert [int(row["row"]) for row in found] == digits.test.rows.tolist()
    assert [int(row["label"]) for row in found] == digits.test.labels.tolist()
    assert {row["split"] for row in found} == {"test"}
    assert all(row["score"] == row["combined"] for row in found)
    said = genkit("score", ones, "--json").json
    assert said["normal"] == ["1"]
    assert said["auroc"]["combined"]["value"] > 0.95
    assert 0 < said["auroc"]["combined"]["error"] < 0.02
    assert set(said["pca"]) == {"components", "squared_error", "combined"}
    scores = torch.tensor([float(row["score"]) for row in found]).double()
    assert anomaly.area(scores, digits.test.labels != 1).value == pytest.approx(
        said["auroc"]["combined"]["value"], abs=1e-6
    )
    assert f"AUROC {said['auroc']['combined']['value']:.4f}" in outcome.err
    flagged = [row["flagged"] == "yes" for row in found]
    assert flagged == [float(row["score"]) > said["threshold"] for row in found]
    assert said["validation_images"] == int((digits.val.labels == 1).sum())
    assert said["flagged"] == sum(flagged)


def test_the_threshold_is_the_quantile_of_the_validation_images(genkit: Genkit, ones: Path) -> None:
    half = genkit("score", ones, "--split", "val", "--normal", "1", "--quantile", "0.5", "--json").json
    found = rows(genkit("score", ones, "--split", "val"))
    known = torch.tensor([float(row["score"]) for row in found if row["class"] == "1"]).double()
    assert half["threshold"] == pytest.approx(anomaly.threshold(known, 0.5), abs=1e-6)
    assert half["validation_images"] == len(known)


def test_who_is_normal_can_be_said(genkit: Genkit, ones: Path) -> None:
    both = genkit("score", ones, "--normal", "1,7", "--by", "squared-error", "--json").json
    assert both["normal"] == ["1", "7"]
    assert both["by"] == "squared_error"
    assert both["auroc"]["squared_error"]["value"] < 1


def test_own_pictures_of_any_size_are_named_and_shown(
    genkit: Genkit, ones: Path, digits: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    for label in (0, 1):
        (folder / f"{label}").mkdir(parents=True)
        places = torch.nonzero(digits.test.labels == label).flatten()[:6]
        for place, pixels in enumerate(digits.test.images(places)):
            picture = Image.fromarray(pixels[0].numpy()).convert("RGB").resize((40, 40))
            picture.save(folder / f"{label}" / f"{place}.png")
    outcome = genkit("score", ones, "--dataset", folder, "--out", tmp_path / "scores.csv")
    assert outcome.code == 0, outcome.err
    assert outcome.out.split() == [str(tmp_path / "scores.csv"), str(tmp_path / "scores.png")]
    assert "its images are brought to 1×28×28" in outcome.err
    assert "AUROC" in outcome.err  # folders are classes, of which the run knows one
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert sorted(row["file"] for row in found) == sorted(
        f"{each}/{place}.png" for each in (0, 1) for place in range(6)
    )
    oddest = max(found, key=lambda row: float(row["score"]))
    assert oddest["class"] == "0"
    assert f"most anomalous:\n  {float(oddest['score']):.4g}  {oddest['file']}  0" in outcome.err
    with Image.open(tmp_path / "scores.png") as picture:
        assert picture.width > 600


def test_the_same_in_other_forms(genkit: Genkit, ones: Path, tmp_path: Path) -> None:
    found = rows(genkit("score", ones, "--limit", 30))
    assert genkit("score", ones, "--limit", 30, "--out", tmp_path / "scores.npz").code == 0
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert arrays["score"].tolist() == pytest.approx([float(row["score"]) for row in found], rel=1e-7)
    assert arrays["rows"].tolist() == [int(row["row"]) for row in found]
    assert arrays["flagged"].tolist() == [row["flagged"] == "yes" for row in found]
    assert arrays["classes"].tolist() == list("0123456789")
    pyarrow = pytest.importorskip("pyarrow.parquet")
    assert genkit("score", ones, "--limit", 30, "--out", tmp_path / "table.parquet").code == 0
    assert pyarrow.read_table(tmp_path / "table.parquet").column_names == list(found[0])


def test_a_folder_gets_a_table_and_a_picture(genkit: Genkit, ones: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert genkit("score", ones, "--limit", 20, "--out", tmp_path / "out").code == 0
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["scores.csv", "scores.png"]
    again = genkit("score", ones, "--out", tmp_path / "out")
    assert (again.code, again.out) == (1, "")
    assert "is there already and stays as it is" in again.err


def test_every_model_has_scores_or_a_reason(genkit: Genkit, runs: Path) -> None:
    for name, columns in {"dcgan": {"neighbours"}, "classifier": {"code_distance"}, "vae": {"neg_elbo"}}.items():
        found = rows(genkit("score", run_of(runs, name), "--limit", 10))
        assert columns <= set(found[0])
        assert ("squared_error" in found[0]) == (name == "vae")
        assert "combined" in found[0] or found[0]["score"] == found[0]["neighbours"]


def test_the_bound_is_that_of_evaluate(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    run = run_of(runs, "vae")
    found = [float(row["neg_elbo"]) for row in rows(genkit("score", run, "--limit", 60, "--seed", 3))]
    quick = ("--limit", 60, "--seed", 3, "--k", 2, "--nll-images", 2, "--out", tmp_path)
    figures = genkit("evaluate", run, "--only", "likelihood", *quick, "--json").json["runs"][0]["figures"]
    expected = next(each["value"] for each in figures if each["name"] == "likelihood/neg_elbo")
    assert sum(found) / len(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--by", "beauty"), 2, "no score is called 'beauty'"),
        (("--by", "neg_elbo"), 2, "is a ae, of which there are squared_error"),
        (("--normal", "77"), 2, "no class '77'"),
        (("--normal", "0-9"), 1, "all images are of 0, 1"),
        (("--quantile", "1"), 2, "--quantile"),
        (("--out", "scores.txt"), 2, "give a name that ends so"),
        (("--dataset", "/nowhere"), 2, "no such file or folder"),
        (("--limit", "0"), 2, "--limit"),
    ],
)
def test_refusals_are_one_line(
    genkit: Genkit, ones: Path, arguments: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    outcome = genkit("score", ones, *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    *_, last = outcome.err.splitlines()
    assert last.startswith("genkit: ")
    assert said in last
    assert "Traceback" not in outcome.err


def test_what_needs_a_library_or_a_place_says_so(
    genkit: Genkit, ones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    place = tmp_path / "file" / "scores.csv"
    outcome = genkit("score", ones, "--limit", 5, "--out", place)
    assert (outcome.code, outcome.out) == (1, "")
    # That line alone: nothing was scored before.
    assert (
        outcome.err
        == f"genkit: can't write to {place}: {place.parent} is a file and no folder; name another with --out\n"
    )
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    table = tmp_path / "scores.parquet"
    outcome = genkit("score", ones, "--out", table)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        f"genkit: --out {table}: Parquet needs pyarrow; pip install pyarrow, or give a name that ends in .csv\n"
    )


def test_few_validation_images_for_a_quantile_are_told(genkit: Genkit, ones: Path) -> None:
    few = "for that quantile these are few: the threshold is the highest score among them"
    assert few in genkit("score", ones, "--limit", 5, "--quantile", "0.9999").err.splitlines()
    assert few not in genkit("score", ones, "--limit", 5, "--quantile", "0.5").err


def test_images_of_which_none_is_normal_have_no_area(
    genkit: Genkit, ones: Path, digits: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    for part, label in (("train", 0), ("train", 1), ("test", 0)):
        (folder / part / f"{label}").mkdir(parents=True)
        split = digits.splits()[part]
        for place, pixels in enumerate(split.images(torch.nonzero(split.labels == label).flatten()[:12])):
            Image.fromarray(pixels[0].numpy()).save(folder / part / f"{label}" / f"{place}.png")
    outcome = genkit("score", ones, "--dataset", folder, "--split", "test", "--normal", "1")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-1] == "genkit: --normal 1: none of the images is of 1, so nothing is normal"


def test_a_model_that_sees_nothing_of_an_image_has_no_scores(
    genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "models" / "blind.py", TINY.replace("Tiny", "Blind").replace("def encode", "def hidden"))
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "models"))
    folder = saved_checkpoint(tmp_path / "untold", small_model("blind", ImageShape(1, 8, 8)))
    outcome = genkit("score", folder)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1] == (
        "genkit: untold is a blind: it neither encodes images nor defines features, so images have no score by it"
    )


def test_a_model_that_has_diverged_has_no_scores(genkit: Genkit, tmp_path: Path) -> None:
    model = small_model("vae", ImageShape(1, 28, 28), hidden=(4,), latent_dim=2)
    with torch.no_grad():
        next(model.encoder.parameters()).fill_(math.nan)
    folder = saved_checkpoint(tmp_path / "diverged", model, data=DataOptions(dataset="mnist5k"))
    outcome = genkit("score", folder, "--limit", 5)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-1] == (
        "genkit: some codes aren't finite numbers: the model's training diverged; use an earlier checkpoint"
    )


def test_images_without_classes_have_none_that_are_normal(
    genkit: Genkit, ones: Path, digits: Dataset, tmp_path: Path
) -> None:
    np.save(tmp_path / "bare.npy", digits.test.images(slice(0, 40)).numpy())
    outcome = genkit("score", ones, "--dataset", tmp_path / "bare.npy", "--normal", "1")
    assert (outcome.code, outcome.out) == (1, "")
    assert "has no classes, of which --normal would choose some" in outcome.err
    assert genkit("score", ones, "--dataset", tmp_path / "bare.npy", "--json").json["auroc"] == {}


def test_a_run_whose_images_are_gone_says_so(genkit: Genkit, digits: Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", digits.test.images(slice(0, None, 5)).numpy())
    small = ("--hidden", 8, "--epochs", 1, "--device", "cpu", "--out", tmp_path / "runs")
    run = Path(genkit("train", "ae", "--dataset", tmp_path / "own.npy", *small).out.strip())
    shutil.move(tmp_path / "own.npy", tmp_path / "other.npy")
    outcome = genkit("score", run, "--dataset", tmp_path / "other.npy")
    assert outcome.code == 1
    assert "aren't there any more" in outcome.err.splitlines()[-1]
