"""Every command, run as a person runs it, on real digits."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GENERATIVE, Genkit, run_of
from PIL import Image

from genkit import registry
from genkit.contract import ability
from genkit.data.dataset import Dataset
from genkit.keep import checkpoint
from genkit.latent import bounds


def picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def codes_in(path: Path) -> np.ndarray:
    with np.load(path) as file:
        return file["codes"]


def frames(path: Path) -> int:
    with Image.open(path) as image:
        return image.n_frames


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


every_model = pytest.mark.parametrize("name", list(registry.names()))
every_generator = pytest.mark.parametrize("name", GENERATIVE)


# Training


@every_model
def test_a_run_holds_what_it_should(runs: Path, name: str) -> None:
    run = run_of(runs, name)
    config = json.loads((run / "config.json").read_text())
    assert config["model"] == name
    assert config["options"]["epochs"] == 2
    assert config["sources"]["epochs"] == "flag"
    assert config["sources"]["lr"] == "default"
    assert json.loads((run / "environment.json").read_text())["torch"]
    assert picture(run / "reals.png").size == (686, 686), "8 x 8 digits, three times enlarged, with gaps of 2"
    assert len(list(run.glob("samples-*.png"))) == (2 if name in GENERATIVE else 0)
    given_back = name in GENERATIVE and ability.encodes(registry.find(name))
    assert len(list(run.glob("reconstructions-*.png"))) == (2 if given_back else 0)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    validations = [row for row in rows if any(key.startswith("val/") for key in row)]
    assert [row["epoch"] for row in validations] == [1, 2]
    assert any(key.startswith("test/") for key in rows[-1])
    assert list((run / "tb").glob("events*"))
    assert bool(re.search(rf"genkit sample \S*/{run.name}\b", (run / "README.md").read_text())) == (name in GENERATIVE)
    assert "epoch 2/2  val  " in (run / "log.txt").read_text()
    steps = sorted(int(path.name) for path in (run / "checkpoints").iterdir())
    assert steps[-1] == 30, "2 epochs of 4,000 images in batches of 256, the rest left out"


def test_training_learns(runs: Path) -> None:
    for name, metric in (("ae", "loss"), ("conv-ae", "loss"), ("vae", "neg_elbo")):
        rows = [json.loads(line) for line in (run_of(runs, name) / "metrics.jsonl").read_text().splitlines()]
        values = [row[f"train/{metric}"] for row in rows if f"train/{metric}" in row]
        assert values[-1] < 0.97 * values[0], "they begin with the mean image, which is hard to beat in 30 steps"


def test_train_prints_its_run_and_json_its_metrics(genkit: Genkit, tmp_path: Path) -> None:
    common = ["train", "vae", "--dataset", "mnist5k", "--epochs", "1", "--hidden", "16", "--out", tmp_path]
    plain = genkit(*common)
    assert plain.out.strip() == str(tmp_path / "00000-vae-mnist5k")
    assert "device" in plain.err
    result = genkit(*common, "--json").json
    assert result["schema_version"] == 1
    assert result["run"] == str(tmp_path / "00001-vae-mnist5k"), "the first is never overwritten"
    assert result["steps"] == 31
    assert result["metrics"].keys() >= {"test/loss", "test/neg_elbo", "test/kl", "test/active_units"}
    assert Path(result["checkpoint"]).is_dir()


def test_the_same_command_gives_the_same_bits(genkit: Genkit, tmp_path: Path) -> None:
    common = ["train", "vae", "--dataset", "mnist5k", "--epochs", "1", "--hidden", "16", "--out", tmp_path, "--json"]
    first, second = (Path(genkit(*common).json["checkpoint"]) for _ in range(2))
    other = Path(genkit(*common, "--seed", "1").json["checkpoint"])
    weights = [(path / "model.safetensors").read_bytes() for path in (first, second, other)]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_dry_run_makes_nothing_and_says_where_values_come_from(
    genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "vae"\ndataset = "mnist5k"\nlr = 0.5\nhidden = [32, 16]\nepochs = 7\nbatch-size = 9\n')
    monkeypatch.setenv("GENKIT_EPOCHS", "8")
    monkeypatch.setenv("GENKIT_BATCH_SIZE", "10")
    result = genkit("train", "--config", recipe, "--batch-size", 11, "--out", tmp_path / "runs", "-n", "--json").json
    options, sources = result["options"], result["sources"]
    assert (options["batch_size"], sources["batch_size"]) == (11, "flag"), "before the variable and the file"
    assert (options["epochs"], sources["epochs"]) == (8, "variable"), "before the file"
    assert (options["lr"], sources["lr"]) == (0.5, "config file")
    assert options["hidden"] == [32, 16]
    assert sources["beta1"] == "default"
    assert not (tmp_path / "runs").exists()


def test_a_paper_recipe_fills_in_what_is_not_given(genkit: Genkit) -> None:
    options = genkit("train", "dcgan", "--recipe", "paper", "--width", 16, "-n", "--json").json["options"]
    assert (options["critic_norm"], options["latent"], options["width"]) == ("batch", "uniform", 16)


def test_divergence_names_the_step_and_exits_with_3(genkit: Genkit, tmp_path: Path) -> None:
    outcome = genkit(
        *["train", "ae", "--dataset", "mnist5k", "--lr", "10", "--lr-warmup", "0", "--hidden", "32", "--epochs", "9"],
        *["--activation", "relu", "--weight-decay", "10", "--schedule", "constant", "--log-every", "3"],
        *["--out", tmp_path, "--json"],
    )
    assert outcome.code == 3
    assert "no longer finite at step" in outcome.json["error"]
    assert outcome.json["exit_code"] == 3
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_samples(genkit: Genkit, tmp_path: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "genkit", "train", "ae", "--dataset", "mnist5k", "--hidden", "16"]
    process = subprocess.Popen(
        [*command, "--epochs", "10000", "--out", str(tmp_path)],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a script's background job ignores
    )
    try:
        while not list(tmp_path.glob("*/samples-*.png")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert b"Traceback" not in err
    assert genkit("sample", tmp_path, "--seeds", "0-3", "--device", "cpu").code == 0


def test_divergence_seen_first_in_validation_is_divergence(genkit: Genkit, tmp_path: Path) -> None:
    """One step an epoch: the loss before the step is finite, the validation after it is not."""
    outcome = genkit(
        *["train", "vae", "--dataset", "mnist5k", "--lr", "10", "--batch-size", "65536", "--epochs", "2"],
        *["--hidden", ",".join(["64"] * 8), "--latent-dim", "2", "--lr-warmup", "0", "--out", tmp_path],
    )
    assert outcome.code == 3
    assert "the validation's " in outcome.err
    for line in next(tmp_path.glob("*/metrics.jsonl")).read_text().splitlines():
        json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))


def test_the_card_says_where_values_came_from(genkit: Genkit, tmp_path: Path) -> None:
    command = ["train", "ae", "--dataset", "mnist5k", "--hidden", "8", "--epochs", "1", "--batch-size", "500"]
    card = (Path(genkit(*command, "--out", tmp_path, "--json").json["run"]) / "README.md").read_text()
    assert "| batch-size | 500 | flag |" in card
    assert "| lr | 0.001 | default |" in card


def test_a_batch_of_one_cannot_be_normalised(genkit: Genkit, tmp_path: Path) -> None:
    outcome = genkit("train", "conv-ae", "--dataset", "mnist5k", "--batch-size", "1", "--out", tmp_path)
    assert outcome.code == 2
    assert "--batch-size" in outcome.err
    assert not list(tmp_path.iterdir())


# Sampling


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--images", "3,17"], "--images goes with"),
        (["--interpolate", "--dims", "1"], "--dims goes with --traverse"),
        (["--reconstruct", "--seeds", "1"], "--seeds goes with"),
        (["--interpolate", "--dataset", "mnist5k"], "name some with --images"),
        (["--interpolate", "--seeds", "0-2", "--dataset", "mnist5k"], "leave one of them out"),
        (["--reconstruct", "--file", "a.png", "--dataset", "mnist5k"], "name some with --images"),
        (["--traverse", "--seeds", "1,2"], "one code at a time"),
        (["--arithmetic", "@1 - @2", "--exemplars", "9"], "--exemplars is of images that are chosen"),
        (["--arithmetic", "@1 - @2", "--dataset", "mnist5k"], "--dataset is of images that are chosen"),
        (["--arithmetic", ""], "empty term"),
        (["--arithmetic", "@1 - @2", "--jitter", "nan"], "not a finite number"),
        (["--arithmetic", "@1 - @2", "--split", "val"], "--split is of images that are chosen"),
        (["--interpolate", "--seeds", "0-2", "--split", "val"], "name some with --images"),
        (["--seeds", "0-2", "--split", "val"], "--split goes with"),
    ],
    ids=str,
)
def test_an_option_that_would_be_ignored_is_refused(
    genkit: Genkit, runs: Path, arguments: list[str], says: str
) -> None:
    outcome = genkit("sample", run_of(runs, "vae"), *arguments)
    assert outcome.code == 2
    assert says in outcome.err


def pictures(outcome: object) -> list[Path]:
    assert outcome.code == 0, outcome.err
    paths = [Path(line) for line in outcome.out.split()]
    assert all(path.exists() for path in paths)
    return paths


@every_generator
def test_sample_grid(genkit: Genkit, runs: Path, name: str) -> None:
    (path,) = pictures(genkit("sample", run_of(runs, name), "--seeds", "0-8"))
    assert path.parent == run_of(runs, name) / "pictures"
    assert picture(path).size == (3 * 84 + 4, 3 * 84 + 4)


def test_an_image_does_not_change_with_its_neighbours(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    for seeds in ("5", "0-40"):
        genkit("sample", run_of(runs, "vae"), "--seeds", seeds, "--each", "--npz", "--out", tmp_path / seeds)
    alone = np.asarray(picture(tmp_path / "5" / "samples" / "seed-00005.png"))
    among = np.asarray(picture(tmp_path / "0-40" / "samples" / "seed-00005.png"))
    assert alone.shape == (28, 28)
    assert np.array_equal(alone, among)
    with np.load(tmp_path / "0-40" / "samples.npz") as file:
        arrays = dict(file)
    assert arrays["images"].shape == (41, 1, 28, 28)
    assert arrays["codes"].shape == (41, 2)
    assert np.array_equal(arrays["images"][5, 0], among)


def test_nothing_is_overwritten(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    first = pictures(genkit("sample", run_of(runs, "vae"), "--out", tmp_path))
    before = first[0].read_bytes()
    second = pictures(genkit("sample", run_of(runs, "vae"), "--out", tmp_path, "--seeds", "100-163"))
    assert second != first
    assert first[0].read_bytes() == before


@every_generator
def test_reconstruct(genkit: Genkit, runs: Path, name: str) -> None:
    measured = genkit("sample", run_of(runs, name), "--reconstruct", "--images", "3,200", "--npz", "--json").json
    assert measured["squared_error"] > 0
    (path,) = pictures(genkit("sample", run_of(runs, name), "--reconstruct", "--images", "3,200"))
    assert picture(path).height > 2 * 84


def test_reconstruct_a_file_of_ones_own(genkit: Genkit, runs: Path, digits: Dataset, tmp_path: Path) -> None:
    """The test image as a file, four times as large and in colour, gives the same code as itself."""
    digit = Image.fromarray(digits.test.images()[7, 0].numpy()).convert("RGB").resize((112, 112), Image.NEAREST)
    digit.save(tmp_path / "digit.png")
    run = run_of(runs, "ae")
    pictures(genkit("sample", run, "--reconstruct", "--file", tmp_path / "digit.png", "--npz", "--out", tmp_path))
    pictures(genkit("sample", run, "--reconstruct", "--images", "7", "--npz", "--out", tmp_path / "test"))
    by_file, by_index = (codes_in(each / "reconstruct.npz") for each in (tmp_path, tmp_path / "test"))
    assert np.abs(by_file - by_index).max() < 0.2 * np.abs(by_index).max()


@every_generator
def test_interpolate_between_seeds(genkit: Genkit, runs: Path, name: str) -> None:
    sheet, gif = pictures(genkit("sample", run_of(runs, name), "--interpolate", "--seeds", "1,2,3", "--steps", "4"))
    assert sheet.suffix == ".png"
    assert frames(gif) == 12, "7 images there (the middle waypoint once), and 5 back"


def test_interpolate_between_test_images(genkit: Genkit, runs: Path) -> None:
    pictures(genkit("sample", run_of(runs, "vae"), "--interpolate", "--images", "3,17,42", "--path", "lerp"))


@pytest.mark.parametrize("expression", ["label:7 - label:1 + label:4", "@3,8,9 - @12,4,7 + @1,5,2"])
@pytest.mark.parametrize("name", ["vae", "dcgan"])
def test_arithmetic(genkit: Genkit, runs: Path, name: str, expression: str) -> None:
    (sheet,) = pictures(genkit("sample", run_of(runs, name), "--arithmetic", expression, "--npz"))[:1]
    codes = codes_in(sheet.with_suffix(".npz"))
    assert codes.shape[0] == 9


def test_arithmetic_of_seeds_is_the_sum_of_their_codes(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    run = run_of(runs, "vae")
    genkit("sample", run, "--arithmetic", "@1,2 - @3 + @4,5,6", "--npz", "--out", tmp_path)
    genkit("sample", run, "--seeds", "1-6", "--npz", "--out", tmp_path)
    z = codes_in(tmp_path / "samples.npz")
    expected = z[:2].mean(0) - z[2] + z[3:6].mean(0)
    nine = codes_in(tmp_path / "arithmetic.npz")
    assert np.allclose(nine[4], expected, atol=1e-6), "the result is the middle one of nine"
    assert np.abs(nine - expected).max() <= 0.433 * 1.05
    assert len(np.unique(nine.round(6), axis=0)) == 9


def test_traverse_and_manifold(genkit: Genkit, runs: Path) -> None:
    _, gif = pictures(genkit("sample", run_of(runs, "vae"), "--traverse"))
    assert frames(gif) > 11
    (manifold,) = pictures(genkit("sample", run_of(runs, "vae"), "--manifold", "--side", "5"))
    assert picture(manifold).size == (5 * 84, 5 * 84)
    refused = genkit("sample", run_of(runs, "ae"), "--manifold")
    assert refused.code == 2
    assert "--latent-dim 2" in refused.err


# Files, and where they go


def test_out_may_name_the_one_picture(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    run, named = run_of(runs, "vae"), tmp_path / "new" / "Walk.PNG"
    assert genkit("sample", run, "--seeds", "0-3", "--out", named).out.split() == [str(named)]
    genkit("sample", run, "--seeds", "0-3", "--out", tmp_path / "folder")
    assert named.read_bytes() == (tmp_path / "folder" / "samples.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "new"]
    again = genkit("sample", run, "--seeds", "4-7", "--out", named)
    assert again.code == 1
    assert "stays as it is" in again.err
    assert named.read_bytes() == (tmp_path / "folder" / "samples.png").read_bytes()
    (tmp_path / "a.png").mkdir()
    assert genkit("sample", run, "--manifold", "--side", "2", "--out", tmp_path / "a.png").code == 0, "a folder it is"
    assert (tmp_path / "a.png" / "manifold.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sample", "--interpolate", "--out", "walk.png"], "its animation comes with it; name a folder"),
        (["sample", "--each", "--npz", "--out", "a.png"], "a folder of images and an archive of arrays comes with it"),
        (["sample", "--out", "a.jpg"], "pictures are written as PNG"),
        (["sample", "--out", "a.npz"], "pictures are written as PNG"),
        (["embed", "--out", "plot.png"], "a plot, a table and a folder for TensorBoard; name a folder"),
        (["evaluate", "--out", "figures.json"], "name a folder"),
        (["export", "--out", "weights.safetensors"], "name a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_files_name_for_several_files_is_refused(
    genkit: Genkit, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    command, *options = arguments
    outcome = genkit(command, run_of(runs, "vae"), *options)
    assert outcome.code == 2
    assert says in outcome.err
    assert not list(tmp_path.iterdir())


def test_files_of_each_image_are_called_by_what_it_is_of(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    def names(*arguments: object) -> list[str]:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        result = genkit("sample", run_of(runs, "vae"), *arguments, "--each", "--out", out, "--json").json
        return sorted(path.name for path in Path(result["files"]["each"]).iterdir())

    assert names("--seeds", "7,3,3,123456") == [
        "seed-00003-2.png",
        "seed-00003.png",
        "seed-00007.png",
        "seed-123456.png",
    ]
    assert names("--reconstruct", "--images", "3,17", "--split", "val") == ["val-17.png", "val-3.png"]
    (tmp_path / "a").mkdir()
    for place in ("x y.png", "a/X_Y.png", "a/x y.bmp"):
        Image.new("L", (28, 28), 99).save(tmp_path / place)
    files = [each for name in ("x y.png", "a/x y.bmp") for each in ("--file", tmp_path / name)]
    assert names("--reconstruct", *files) == ["x-y-2.png", "x-y.png"]
    assert names("--interpolate", "--seeds", "0,1", "--steps", "2") == ["00000.png", "00001.png"]


@pytest.fixture
def scans(digits: Dataset, tmp_path: Path) -> Path:
    """Three digits as files, and a file that is none."""
    (tmp_path / "scans").mkdir()
    for name, row in (("b", 3), ("a", 300), ("c", 17)):
        Image.fromarray(digits.test.images()[row, 0].numpy()).save(tmp_path / "scans" / f"{name}.png")
    (tmp_path / "scans" / "notes.txt").write_text("none")
    return tmp_path / "scans"


def test_files_are_named_one_by_one_by_folder_or_by_pattern(
    genkit: Genkit, runs: Path, scans: Path, tmp_path: Path
) -> None:
    found = []
    run = run_of(runs, "ae")
    for place, named in enumerate(([scans], [scans / "*.png"], [scans / f"{name}.png" for name in "abc"])):
        files = [each for name in named for each in ("--file", name)]
        outcome = genkit("sample", run, "--reconstruct", *files, "--npz", "--out", tmp_path / str(place))
        assert outcome.code == 0, outcome.err
        found.append(codes_in(tmp_path / str(place) / "reconstruct.npz"))
    assert len(found[0]) == 3
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    none = genkit("sample", run, "--reconstruct", "--file", scans / "*.tif")
    assert none.code == 2
    assert "there is no such image" in none.err


def test_a_pattern_that_the_shell_has_replaced_is_told(genkit: Genkit, runs: Path, scans: Path) -> None:
    files = sorted(scans.glob("*.png"))
    for before in ([], [run_of(runs, "vae")]):
        outcome = genkit("sample", *before, "--reconstruct", "--file", *files)
        assert outcome.code == 2
        assert f"{files[1]} stands alone" in outcome.err
        assert "--file '*.png'" in outcome.err
        assert len(outcome.err.splitlines()) == 1


def test_own_pictures_are_meant_all_and_of_a_run_its_test_images(
    genkit: Genkit, runs: Path, scans: Path, tmp_path: Path
) -> None:
    def taken(*arguments: object) -> int:
        return genkit("sample", run_of(runs, "ae"), "--reconstruct", *arguments, "--json").json["n"]

    (scans / "notes.txt").unlink()
    assert taken("--dataset", scans) == 3
    assert taken("--dataset", scans, "--split", "test") == 1
    assert taken("--images", "0-499") == 500
    assert genkit("sample", run_of(runs, "ae"), "--reconstruct", "--images", "500").code == 2
    assert taken("--images", "4999", "--split", "all") == 1
    table = genkit("embed", run_of(runs, "ae"), "--dataset", scans, "--out", tmp_path / "out", "--json").json
    assert table["n"] == 3
    assert table["split"] == "all"


def test_files_that_a_picture_has_no_room_for_are_not_even_read(
    genkit: Genkit, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_text("no picture")
    monkeypatch.setattr(bounds, "MOST_NUMBERS", 4 * 28 * 28)
    outcome = genkit("sample", run_of(runs, "ae"), "--reconstruct", "--file", tmp_path)
    assert outcome.code == 2
    assert "6 images of 1×28×28 would take" in outcome.err


def test_a_walk_between_pictures_shows_them(genkit: Genkit, runs: Path, scans: Path, tmp_path: Path) -> None:
    """At the ends of its rows, as they are; what is animated and kept are the model's images alone."""
    marked = Image.new("L", (28, 28), 0)
    marked.paste(137, (0, 0, 28, 28))
    marked.save(scans / "b.png")
    files = ["--file", scans / "a.png", "--file", scans / "b.png", "--file", scans / "c.png"]
    sheet, gif, archive = pictures(
        genkit("sample", run_of(runs, "vae"), "--interpolate", *files, "--steps", "4", "--npz", "--out", tmp_path / "o")
    )
    columns = np.flatnonzero(((np.asarray(picture(sheet)) == 137).all(-1)).sum(0) > 80)
    assert len(columns) == 2 * 84, "at the end of the first row, and at the beginning of the second"
    assert columns[84] - columns[0] == 5 * (84 + 4)
    assert len(codes_in(archive)) == 7
    assert frames(gif) == 12


# Pictures too large


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--interpolate", "--seeds", "0-4999", "--steps", "1000"], "fewer places to go through, or fewer --steps"),
        (["--interpolate", "--seeds", "0-200", "--steps", "1000"], "million pixels, and at most 134 million are drawn"),
        (["--seeds", "0-999999"], "1,000,000 images of 1×28×28 would take 3.1 GB, and at most 1.1 GB are used"),
        (["--seeds", "0-4999", "--columns", "1", "--images", "3"], "--images goes with"),
        (["--arithmetic", "@0-499999 - @1"], "fewer terms, or fewer exemplars"),
        (["--traverse", "--dims", ",".join(["0,1"] * 1000), "--steps", "1000"], "fewer --dims or --steps"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_picture_that_would_be_too_large_is_refused_at_once(
    genkit: Genkit, runs: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    from genkit.latent import sampling

    monkeypatch.setattr(sampling, "in_chunks", lambda *_, **__: pytest.fail("was begun"))
    outcome = genkit("sample", run_of(runs, "vae"), *arguments)
    assert outcome.code == 2
    assert says in outcome.err


# Embedding and description


@every_model
def test_embed(genkit: Genkit, runs: Path, name: str) -> None:
    result = genkit("embed", run_of(runs, name), "--json", "--thumbnails").json
    files = {kind: Path(path) for kind, path in result["files"].items()}
    assert result["method"] == ("native" if name in ("vae", "beta-tc", "siamese", "triplet") else "pca")
    assert picture(files["png"]).width == 1600
    assert "<svg" in files["svg"].read_text()
    rows = table(files["csv"])
    assert len(rows) == result["n"] == 500
    assert 0 < result["knn_accuracy"] <= 1
    assert -1 <= result["silhouette"] <= 1
    assert (files["projector"] / "projector_config.pbtxt").exists()


def test_copies_are_no_neighbours(genkit: Genkit, runs: Path, digits: Dataset, tmp_path: Path) -> None:
    """Of four pictures, 20 times each, each one's neighbours were its own copies, and the score was 1."""
    assert digits.train.labels is not None
    some = digits.train.take(torch.arange(4) * 1000)
    np.savez(tmp_path / "four.npz", images=some.images().repeat(20, 1, 1, 1), labels=some.labels.repeat(20))
    outcome = genkit("embed", run_of(runs, "vae"), "--dataset", tmp_path / "four.npz", "--split", "train")
    assert "no score: of 2 points none has 10 neighbours, of 2 points in 2-D" in outcome.out
    assert "(and 38 copies of the same images, left out)" in outcome.out


def test_a_native_embedding_is_the_code(genkit: Genkit, runs: Path, digits: Dataset) -> None:
    run = run_of(runs, "vae")
    rows = table(Path(genkit("embed", run, "--json").json["files"]["csv"]))
    model = checkpoint.read(Path(genkit("info", run, "--json").json["checkpoint"])).model
    codes = model.encode(digits.test.images().float() / 255).numpy()
    points = np.array([[float(row["x"]), float(row["y"])] for row in rows])
    assert np.allclose(points, codes, atol=1e-4)
    assert [int(row["label"]) for row in rows] == digits.test.labels.tolist()


@every_model
def test_info(genkit: Genkit, runs: Path, name: str) -> None:
    run = run_of(runs, name)
    result = genkit("info", run, "--json").json
    assert result["model"] == name
    assert result["data"]["dataset"] == "mnist5k"
    assert result["run"] == str(run)
    assert "every SHA-256 agrees" in genkit("info", run).out


def test_a_run_is_found_by_folder_number_checkpoint_and_parent(
    genkit: Genkit, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENKIT_OUT", str(runs))
    run = sorted(runs.iterdir())[-1]
    found = genkit("info", "--json").json
    assert found["run"] == str(run)
    for same in (run, runs, int(run.name[:5]), found["checkpoint"]):
        assert genkit("info", same, "--json").json["checkpoint"] == found["checkpoint"]


def test_a_checkpoint_opens_away_from_its_run(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    source = Path(genkit("info", run_of(runs, "vae"), "--json").json["checkpoint"])
    alone = tmp_path / "moved"
    alone.mkdir()
    for file in source.iterdir():
        (alone / file.name).write_bytes(file.read_bytes())
    assert genkit("sample", alone, "--seeds", "0-3", "--out", tmp_path).code == 0


# Data


def test_data_list(genkit: Genkit) -> None:
    sets = genkit("data", "list", "--json").json["sets"]
    assert {"mnist", "fashion-mnist", "kmnist", "cifar10", "mnist5k", "faces", "svhn", "emnist-letters"} <= set(sets)
    assert sets["svhn"]["classes"] == list("0123456789")
    assert all(each["licence"] for each in sets.values())
    shown = genkit("data", "list").out.splitlines()
    assert any(line.split()[:4] == ["usps", "16x16", "grey", "7,291"] for line in shown)


def test_data_fetch_and_verify(genkit: Genkit) -> None:
    assert genkit("data", "fetch", "mnist5k", "--json").json["files"]
    report = genkit("data", "verify", "mnist5k", "--json").json
    assert report["ok"]
    assert report["images"] == 5000


# Bad input: one line, the right code, no traceback


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["train", "gan"], 2, "no model is called 'gan'"),
        (["train", "--lr", "1", "vae"], 2, "name the model before its options"),
        (["train", "vae", "--lr", "0"], 2, "--lr"),
        (["train", "vae", "--lr", "fast"], 2, "--lr"),
        (["train", "vae", "--hidden", "1,x"], 2, "--hidden"),
        (["train", "vae", "--ema", "1"], 2, "--ema"),
        (["train", "vae", "--device", "cuda:99", "--dataset", "mnist5k"], 2, "cuda:99"),
        (["train", "vae", "--device", "toaster", "--dataset", "mnist5k"], 2, "toaster"),
        (["train", "vae", "--dataset", "/no/such/folder"], 2, "/no/such/folder"),
        (["train", "vae", "--dataset", ""], 2, "--dataset"),
        (["train", "vae", "--config", "/no/such.toml"], 2, "/no/such.toml"),
        (["train", "vae", "--learning-rate", "1"], 2, "--learning-rate"),
        (["sample", "/no/such/run"], 2, "/no/such/run"),
        (["sample", "--interpolate", "--traverse"], 2, "one at a time"),
        (["sample", "--seeds", "x"], 2, "'x'"),
        (["embed", "/no/such/run"], 2, "/no/such/run"),
        (["info", __file__], 2, "test_cli.py is a file, and a RUN is a folder"),
        (["info", "12345"], 2, "12345"),
        (["data", "fetch", "imagenet"], 2, "imagenet"),
        (["data", "verify", "/no/such"], 2, "/no/such"),
        (["nonsense"], 2, "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input(genkit: Genkit, tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    os.chdir(tmp_path)
    outcome = genkit(*arguments)
    assert outcome.code == code, outcome.err
    assert says in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not outcome.out
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    machine = genkit(*arguments, "--json")
    assert machine.json["exit_code"] == code


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ('model = "vae"\nlearning-rate = 1\n', "learning-rate"),
        ('model = "vae"\nlatent-dims = 3\n', "did you mean 'latent-dim'"),
        ('model = "ae"\n', "recipe for ae"),
        ("lr = \n", "not TOML"),
        ('model = "vae"\nlr = -1\n', "lr"),
        ('model = "vae"\nepochs = 1.9\n', "epochs"),
        ('model = "vae"\nepochs = true\n', "epochs"),
    ],
)
def test_bad_recipe(genkit: Genkit, tmp_path: Path, recipe: str, says: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe)
    outcome = genkit("train", "vae", "--config", path)
    assert outcome.code == 2
    assert says in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_damaged_checkpoint_is_refused(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    source = Path(genkit("info", run_of(runs, "vae"), "--json").json["checkpoint"])
    for file in source.iterdir():
        data = bytearray(file.read_bytes())
        if file.name == "model.safetensors":
            data[-1] ^= 1
        (tmp_path / file.name).write_bytes(bytes(data))
    outcome = genkit("sample", tmp_path)
    assert outcome.code == 1
    assert "damaged" in outcome.err


# Start-up


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["sample", "--help"], ["data", "list"]], ids=str
)
def test_help_never_imports_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom genkit.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as e:\n    assert not e.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_what_a_command_loads_is_left_to_no_collector() -> None:
    code = """
import gc
from genkit.cli.shared import loading
collections = []
gc.callbacks.append(lambda phase, info: collections.append(phase))
with loading():
    import torch
assert not collections, "collected meanwhile"
assert gc.isenabled(), "never collected afterwards"
assert gc.get_freeze_count() > 100_000, "what stays would be gone through again"
kept = gc.get_freeze_count()
with loading():
    garbage = [[] for _ in range(10_000)]
assert gc.get_freeze_count() <= kept, "a later command's garbage would stay"
gc.disable()
with loading():
    pass
assert not gc.isenabled(), "the caller's choice"
gc.enable()
try:
    with loading():
        raise ImportError
except ImportError:
    assert gc.isenabled(), "off after an error"
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert not ended.returncode, ended.stderr


def test_training_is_collected_for_and_its_modules_are_not(tmp_path: Path) -> None:
    code = (
        "import gc, sys\n"
        "from genkit.cli import main\n"
        "try:\n    main(['train', 'vae', '--dry-run'])\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        "assert gc.isenabled()\n"
        "assert gc.get_freeze_count() > 100_000\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert not ended.returncode, ended.stderr


def test_training_never_imports_torchs_compiler(tmp_path: Path) -> None:
    """Which takes longer than torch itself. Whatever the model, and whether it is trained or its checkpoint read."""
    few = tmp_path / "few.npy"
    np.save(few, np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8))
    code = f"""
import sys
from genkit.cli import main
for name in {GENERATIVE!r}:
    small = ["--hidden", "4"] if name in ("ae", "rbm", "vae") else ["--width", "1"]
    train = ["train", name, "--dataset", {str(few)!r}, "--batch-size", "8", *small, "--epochs", "1", "--device", "cpu"]
    for command in ([*train, "--out", {str(tmp_path)!r} + "/" + name], ["info", {str(tmp_path)!r} + "/" + name]):
        try:
            main(command)
        except SystemExit as ended:
            assert not ended.code
    assert "torch" in sys.modules
    found = [each for each in sys.modules if each.startswith(("torch._dynamo", "torch._inductor"))]
    assert not found, (name, found[0])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr


@every_model
def test_every_option_shows_help_and_default(genkit: Genkit, name: str) -> None:
    import click

    from genkit.cli.train import train_model

    command = train_model(name)
    text = " ".join(genkit("train", name, "--help").out.split())
    for option in command.params:
        assert isinstance(option, click.Option)
        assert option.help, f"{option.name} has no help"
        assert option.opts[0] in text
        if option.name not in ("config", "resume", "dry_run", "as_json"):
            record = option.get_help_record(click.Context(command))
            assert "[default: " in record[1], f"{option.name} shows no default"


def test_every_command_takes_json() -> None:
    import click

    from genkit.cli import COMMANDS, genkit_command
    from genkit.cli.train import train_model

    commands = [train_model(name) for name in registry.names()]
    for name in COMMANDS:
        command = genkit_command.get_command(click.Context(genkit_command), name)
        if name != "train":
            commands += list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for command in commands:
        assert "--json" in [opt for each in command.params for opt in each.opts], f"{command.name} lacks --json"


def test_a_broken_model_file_is_named_and_takes_no_other_along(tmp_path: Path) -> None:
    """In a copy of the package: the model's author is told the file and the line."""
    shutil.copytree(Path(registry.__file__).parent, tmp_path / "genkit")
    broken = tmp_path / "genkit" / "models" / "broken.py"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "genkit", "train", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    broken.write_text('"""Broken."""\nx = (\n')
    assert "broken.py, line 2" in run("--help").stdout
    assert run("ae", "-n").returncode == 0
    failed = run("broken", "-n")
    assert failed.returncode == 2
    assert "models/broken.py can't be loaded: broken.py, line 2" in failed.stderr
    broken.write_text(
        (tmp_path / "genkit" / "models" / "conv_ae.py").read_text() + "\n    def phases(self):\n        return 1 / 0\n"
    )
    failed = run("broken", "--dataset", "mnist5k")
    assert "a fault in genkit/models/broken.py, line" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["data", "list"], 0), (["no-command"], 2)])
def test_a_process_ends_at_once_but_says_and_does_all_it_should(arguments: list[str], code: int) -> None:
    """Neither what was printed into a pipe nor a handler that waits for the end is lost."""
    program = (
        "import atexit, sys\n"
        "from genkit import cli\n"
        "atexit.register(print, 'a handler')\n"
        "class Torn:\n"
        "    def __del__(self): print('taken apart')\n"
        "cli.kept = Torn()\n"
        f"sys.argv = ['genkit', *{arguments!r}]\n"
        "print('unflushed', end=' ')\n"
        "cli.program()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.startswith("unflushed")
    assert done.stdout.endswith("a handler\n")
