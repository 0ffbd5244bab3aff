"""`genkit evaluate`, run as a person runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import GENERATIVE, Genkit, run_of

from genkit.data.dataset import Dataset
from genkit.evaluate import kept as evaluations
from genkit.evaluate.figure import Name

pytestmark = pytest.mark.usefixtures("quick_evaluation")

#: Runs of 0.1.0.
EARLIER = Path(__file__).parents[1] / "fixtures" / "0.1.0" / "runs"
QUICK = ("--limit", 100, "--k", 20, "--nll-images", 30, "--device", "cpu")


def figures(result: dict, run: int = 0) -> dict[str, dict]:
    return {each["name"]: each for each in result["runs"][run]["figures"]}


def left_out(result: dict, run: int = 0) -> dict[str, str]:
    return {each["name"]: each["reason"] for each in result["runs"][run]["left_out"]}


@pytest.mark.parametrize("name", GENERATIVE)
def test_every_model_has_its_figures_or_the_reasons(runs: Path, genkit: Genkit, name: str) -> None:
    run = run_of(runs, name)
    outcome = genkit("evaluate", run, *QUICK, "--json")
    assert outcome.code == 0, outcome.err
    result = outcome.json
    assert result["schema_version"] == 1
    kept = json.loads((run / "evaluation.json").read_text())
    assert kept["schema_version"] == 2
    assert kept["evaluations"][-1]["figures"] == result["runs"][0]["figures"]
    assert kept["run"] == str(run)
    for figure in figures(result).values():
        assert figure["conditions"]["split"] == "test"
        assert figure["conditions"]["dataset"] == "mnist5k"
        assert figure["conditions"]["resolution"] == "1×28×28"
        few = figure["name"] == "samples/frechet"
        assert ("50 images leave the covariance of 128 features singular" in (figure["warning"] or "")) == few
        assert few or figure["warning"] is None
        assert isinstance(figure["value"], int | float)
    found, missing = figures(result), left_out(result)
    assert ("reconstruction/ssim" in found) != ("reconstruction" in missing)
    told = "likelihood/nll" in found or "likelihood/ode_nll" in found  # of a flow, by its ODE
    assert told != ("likelihood" in missing)
    if name == "vae":
        nll = found["likelihood/nll"]
        assert (nll["conditions"]["n"], nll["conditions"]["k"]) == (30, 20)
        assert "no likelihood of discrete data" in nll["conditions"]["targets"]
        assert nll["value"] > 45
        same = found["likelihood/neg_elbo_of_nll_images"]
        assert same["conditions"]["n"] == 30
        assert same["value"] == pytest.approx(nll["value"] + found["likelihood/gap"]["value"])
        assert same["value"] != pytest.approx(found["likelihood/neg_elbo"]["value"], abs=1e-3)
        assert found["likelihood/gap"]["value"] > 3 * found["likelihood/gap"]["error"]
        assert 1 < found["likelihood/effective_codes"]["value"] < 20
        assert found["likelihood/neg_elbo"]["value"] == pytest.approx(
            found["likelihood/reconstruction"]["value"] + found["likelihood/kl"]["value"]
        )


def test_the_bound_is_that_of_training(runs: Path, genkit: Genkit) -> None:
    """The same images, other noise: within what the sampling of one code an image leaves open."""
    rows = [json.loads(line) for line in (run_of(runs, "vae") / "metrics.jsonl").read_text().splitlines()]
    measured = figures(genkit("evaluate", run_of(runs, "vae"), *QUICK[2:], "--only", "likelihood", "--json").json)
    for name in ("neg_elbo", "kl", "reconstruction"):
        assert measured[f"likelihood/{name}"]["value"] == pytest.approx(rows[-1][f"test/{name}"], rel=5e-3)
    assert measured["likelihood/active_units"]["value"] == rows[-1]["test/active_units"]


def test_the_same_command_gives_the_same_figures_and_another_seed_others(runs: Path, genkit: Genkit) -> None:
    first, second, other = (
        figures(genkit("evaluate", run_of(runs, "vae"), *QUICK, "--only", "likelihood", "--seed", seed, "--json").json)
        for seed in (0, 0, 1)
    )
    assert first == second
    assert first["likelihood/nll"]["value"] != other["likelihood/nll"]["value"]
    assert not any(name.startswith("reconstruction") for name in first)


def test_pixels_that_are_drawn_are_drawn_once(genkit: Genkit, tmp_path: Path) -> None:
    trained = genkit(
        "train", "vae", "--dataset", "mnist5k", "--epochs", 1, "--hidden", 16, "--binarize", "dynamic", "--objective",
        "iwae", "--k", 3, "--out", tmp_path, "--json",
    )  # fmt: skip
    assert trained.json["metrics"]["test/iwae"] < trained.json["metrics"]["test/neg_elbo"]
    result = figures(genkit("evaluate", trained.json["run"], *QUICK, "--json").json)
    assert result["likelihood/nll"]["conditions"]["targets"] == "pixels drawn as 0 or 1, once, with seed 0"


def test_runs_stand_side_by_side(runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    outcome = genkit("evaluate", run_of(runs, "vae"), run_of(runs, "ae"), *QUICK, "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    (row,) = [line for line in outcome.out.splitlines() if line.startswith("  SSIM")]
    assert row.count("±") == 2
    (row,) = [line for line in outcome.out.splitlines() if line.startswith("  NLL")]
    assert row.count("±") == 1
    assert row.count("–") == 1
    assert f"left out: {run_of(runs, 'ae').name}, likelihood: ae doesn't say how likely an image is" in outcome.out
    assert "[1] " in outcome.out
    lines = outcome.out.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("representation"))
    assert lines[at - 1].split() == [run_of(runs, "vae").name, run_of(runs, "ae").name]
    assert [each for each in lines[at].split() if "[" not in each] == ["representation"] + 2 * [
        "code", "pixels", "untrained",
    ]  # fmt: skip
    (row,) = [line for line in lines if line.startswith("  SVM 10 per class")]
    assert row.count("±") >= 4, "two draws may agree"
    assert "left out: all, arithmetic: mnist5k has no attributes" in outcome.out
    assert "k 20" in outcome.out
    assert sorted(path.suffix for path in tmp_path.glob("[!.]*")) == [".json", ".json", ".png", ".png"]


def test_checkpoints_outside_a_run_stand_side_by_side(
    runs: Path, genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        shutil.copytree(Path(genkit("info", run_of(runs, "vae"), "--json").json["checkpoint"]), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    outcome = genkit("evaluate", "one", "two", "--limit", 100, "--only", "reconstruction", "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.err
    assert [Path(each["file"]).name for each in outcome.json["runs"]] == ["one.json", "two.json"]
    Path("one.json").unlink()
    shutil.copytree("one", "below/one")
    refused = genkit("evaluate", "one", "below/one", "--limit", 100, "--only", "reconstruction", "--device", "cpu")
    assert refused.code == 2
    assert "two of the runs are called one" in refused.err


def test_a_number_of_a_topic_that_is_left_out_is_told_of(runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    command = ("evaluate", run_of(runs, "vae"), "--limit", 100, "--only", "reconstruction", "--out", tmp_path)
    assert "--k is of the topic likelihood, which --only leaves out" in genkit(*command, "--k", 50).err
    assert "--only leaves out" not in genkit(*command).err


def test_a_bare_checkpoints_figures_go_where_out_says_and_nothing_else_is_overwritten(
    runs: Path, genkit: Genkit, tmp_path: Path
) -> None:
    source = Path(genkit("info", run_of(runs, "vae"), "--json").json["checkpoint"])
    bare = tmp_path / "bare"
    shutil.copytree(source, bare)
    command = ("evaluate", bare, *QUICK, "--only", "reconstruction", "--out", tmp_path)
    assert genkit(*command).code == 0
    before = (tmp_path / "evaluation.json").read_text()
    assert genkit(*command, "--seed", 1).code == 0, "an evaluation of the same checkpoint is replaced"
    assert json.loads((tmp_path / "evaluation.json").read_text()) == json.loads(before)
    for content in ("my notes", "{}", before.replace(str(bare), "/elsewhere")):
        (tmp_path / "evaluation.json").write_text(content)
        refused = genkit(*command)
        assert refused.code == 1
        assert "stays as it is" in refused.err.splitlines()[-1]
        assert (tmp_path / "evaluation.json").read_text() == content


def test_a_narrower_measurement_loses_nothing(
    runs: Path, genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> list[dict]:
        return json.loads((tmp_path / "evaluation.json").read_text())["evaluations"]

    run = run_of(runs, "vae")
    assert genkit("evaluate", run, *QUICK, "--only", "samples,reconstruction", "--out", tmp_path).code == 0
    (full,) = kept()
    picture = Path(full["pictures"]["nearest"])
    drawn = picture.read_bytes()
    assert genkit("evaluate", run, *QUICK, "--only", "likelihood", "--out", tmp_path).code == 0
    (both,) = kept()
    assert {each["name"].partition("/")[0] for each in both["figures"]} == {"reconstruction", "likelihood", "samples"}
    assert both["pictures"] == full["pictures"]
    again = genkit("evaluate", run, "--only", "samples", "--limit", 60, "--device", "cpu", "--out", tmp_path, "--json")
    assert kept()[0] == both
    assert kept()[1]["images"] == 60
    assert Path(kept()[1]["pictures"]["nearest"]) != picture, "each has a picture of its own"
    assert again.json["runs"][0]["pictures"] == kept()[1]["pictures"]
    assert picture.read_bytes() == drawn
    # Figures that are refused leave the pictures beside those of before, too.
    monkeypatch.setattr(evaluations, "MAX_SIZE", len((tmp_path / "evaluation.json").read_bytes()) + 10)
    before = kept()
    wider = ("--only", "samples,interpolation", "--seed", 3)
    refused = genkit("evaluate", run, *QUICK, *wider, "--out", tmp_path)
    assert refused.code == 1
    assert "would have" in refused.err
    assert kept() == before
    assert picture.read_bytes() == drawn


def test_all_is_checked_before_the_first_is_measured(runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    (tmp_path / f"{run_of(runs, 'ae').name}.json").write_text("mine")
    outcome = genkit("evaluate", run_of(runs, "vae"), run_of(runs, "ae"), *QUICK, "--out", tmp_path)
    assert outcome.code == 1
    assert "stays as it is" in outcome.err.splitlines()[-1]
    assert len(list(tmp_path.iterdir())) == 1


def test_where_everything_is_left_out_that_is_an_error(runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    outcome = genkit("evaluate", run_of(runs, "ae"), *QUICK, "--only", "likelihood", "--out", tmp_path)
    assert outcome.code == 1
    assert outcome.out == ""
    assert "nothing was measured: likelihood: ae doesn't say how likely an image is" in outcome.err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_what_a_model_cant_do_is_said_before_images_are_read(runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    """Here there are none: the folder is empty."""
    where = ("--dataset", tmp_path)
    outcome = genkit("evaluate", run_of(runs, "dcgan"), "--only", "reconstruction,likelihood", *where)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].endswith(
        "nothing was measured: reconstruction: dcgan has no encoder; "
        "likelihood: dcgan doesn't say how likely an image is"
    )
    # Where one of them can be measured, the images are asked for.
    both = genkit("evaluate", run_of(runs, "dcgan"), "--only", "likelihood,samples", *where)
    assert (both.code, str(tmp_path) in both.err) == (1, True)


def test_runs_by_different_images_have_a_remark(genkit: Genkit, runs: Path, digits: Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", digits.train.images(slice(0, 1000)).numpy())
    trained = genkit(
        "train", "ae", "--dataset", tmp_path / "other.npy", "--epochs", 1, "--hidden", 8, "--out", tmp_path / "runs"
    )
    command = ("evaluate", run_of(runs, "vae"), "--only", "reconstruction", "--limit", 50, "--out", tmp_path / "out")
    assert "measured by different images" in genkit(*command, trained.out.strip()).out
    assert "different images" not in genkit(*command, run_of(runs, "ae")).out


def test_the_same_images_by_another_name_are_its_own(runs: Path, genkit: Genkit, tmp_path: Path) -> None:
    command = ("evaluate", run_of(runs, "vae"), *QUICK, "--only", "samples", "--json", "--out", tmp_path)
    result = genkit(*command, "--dataset", "mnist5k").json
    assert "samples/memorisation_ratio" in figures(result)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--only", "likelyhood"], 2, "no topic is called 'likelyhood'"),
        (["--only", ","], 2, "names no topic"),
        (["--k", 0], 2, "--k"),
        (["--limit", 0], 2, "--limit"),
        (["--split", "some"], 2, "--split"),
        (["--dataset", "nowhere"], 2, "no such file or folder"),
        (["--device", "toaster"], 2, "toaster"),
    ],
)
def test_bad_input_is_one_line(runs: Path, genkit: Genkit, arguments: list[object], code: int, says: str) -> None:
    outcome = genkit("evaluate", run_of(runs, "vae"), *arguments)
    assert outcome.code == code
    assert outcome.out == ""
    assert says in outcome.err.splitlines()[-1]


def test_the_evaluation_of_an_earlier_version_is_gone_on_with(genkit: Genkit, tmp_path: Path) -> None:
    """Of 0.1.0: one topic is measured anew, with the same outcome, and the other stays as it was."""
    run = tmp_path / "00000-vae-mnist5k"
    shutil.copytree(EARLIER / run.name, run)
    (before,) = evaluations.read(run / "evaluation.json")
    outcome = genkit("evaluate", run, "--only", "reconstruction", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    (after,) = evaluations.read(run / "evaluation.json")  # and not two: the checkpoint and the images are the same
    assert after.keys() == before.keys()
    assert [each["name"] for each in after["figures"]] == [each["name"] for each in before["figures"]]
    assert Path(after["checkpoint"]).parent.parent == run
    for now, earlier in zip(after["figures"], before["figures"], strict=True):
        if Name(now["name"]).topic == "likelihood":
            assert now == earlier
        else:
            assert now == {**earlier, **{key: pytest.approx(earlier[key], rel=1e-4) for key in ("value", "error")}}


def test_a_figure_of_classes_says_of_which_there_is_no_image(genkit: Genkit, digits: Dataset, tmp_path: Path) -> None:
    """All blank images are one picture, which stays for training."""
    some = digits.train.take(digits.train.spread(300))
    assert some.labels is not None
    images, labels = some.images()[:, :, ::2, ::2].numpy().copy(), some.labels.numpy().copy()
    images[::3], labels[::3] = 0, 10
    path = tmp_path / "blank.npz"
    np.savez(path, images=images, labels=labels)
    options = ["--epochs", 1, "--width", 4, "--device", "cpu", "--out", tmp_path, "--json"]
    trained = genkit("train", "classifier", "--dataset", path, *options)
    assert "11 classes (no image of 10 in val and test)" in trained.err
    assert "warning: no test image is of the class 10: the test error says nothing of it" in trained.err
    run = Path(trained.json["run"])
    assert "11 classes (no image of 10 in val and test)" in (run / "README.md").read_text()

    command = ["evaluate", run, "--only", "classification,representation", "--device", "cpu"]
    outcome = genkit(*command, "--json")
    assert "was trained on" not in outcome.err
    measured = figures(outcome.json)
    assert {name.split("/")[0] for name in measured} == {"classification", "representation"}
    assert all(each["conditions"]["no test image of class"] == "10" for each in measured.values())
    assert "no training image of class" not in str(measured)
    assert "] no test image of class 10" in genkit(*command).out

    np.savez(path, images=images[::-1], labels=labels[::-1])
    assert f"{path} aren't the images that {run.name} was trained on, or were divided otherwise" in genkit(*command).err
    said = genkit("embed", run, "--method", "pca", "--limit", 20, "--device", "cpu").err
    assert f"{path} aren't the images that {run.name} was trained on, or were divided otherwise" in said
