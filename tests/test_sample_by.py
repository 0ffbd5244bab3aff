"""`genkit sample --by langevin|hmc|map`, run as a person runs it: codes by chains, and images completed by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Genkit, run_of
from PIL import Image

from genkit.data.dataset import Dataset

#: Few and short, but with enough draws to say something.
SHORT = ["--draws", "30", "--warmup", "20"]
GIVEN = ["--given", "top-half", "--images", "3,17"]


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("by", ["langevin", "hmc", "map"])
def test_codes_of_the_prior(genkit: Genkit, runs: Path, tmp_path: Path, by: str) -> None:
    """A grid, an image a chain; MAP's are all one."""
    options = ["--chains", "4", *([] if by == "map" else SHORT)]
    result = genkit("sample", run_of(runs, "vae"), "--by", by, *options, "--npz", "--out", tmp_path, "--json").json
    assert (result["by"], result["given"], result["n"]) == (by, None, 4)
    assert Path(result["files"]["sheet"]).name == f"{by}.png"
    codes = arrays(tmp_path / f"{by}.npz")["codes"]
    apart = float(np.abs(codes - codes[:1]).max())
    if by == "map":
        assert apart == pytest.approx(0, abs=1e-3)
        assert np.abs(codes).max() < 1e-3
        assert result["farthest_apart"] < 1e-3
    else:
        assert apart > 0.1
        assert 0 < result["acceptance"] <= 1
        assert result["effective_samples"] > 1
        assert result["effective_samples_a_second"] > 0
        assert result["rhat"] > 0.9


def test_completions_show_image_part_chains_and_map(
    genkit: Genkit, runs: Path, digits: Dataset, tmp_path: Path
) -> None:
    """What is given stays in each completion; the figures are those of the function that makes them."""
    arguments = [
        "sample",
        run_of(runs, "vae"),
        "--by",
        "hmc",
        *GIVEN,
        *SHORT,
        "--chains",
        3,
        "--npz",
        "--each",
        "--out",
        tmp_path,
    ]
    outcome = genkit(*arguments, "--json")
    result = outcome.json
    found = arrays(tmp_path / "hmc-given-top-half.npz")
    assert found["images"].shape == (8, 1, 28, 28), "of two images, three chains and MAP"
    for number, place in enumerate((3, 17)):
        original = digits.test.images()[place, 0].numpy()
        for completed in found["images"][4 * number : 4 * number + 4, 0]:
            assert np.array_equal(completed[:14], original[:14])
            assert not np.array_equal(completed[14:], original[14:])
    names = sorted(path.name for path in Path(result["files"]["each"]).iterdir())
    assert names[:4] == ["test-17-chain-0.png", "test-17-chain-1.png", "test-17-chain-2.png", "test-17-map.png"]
    assert result["predictive_map"] < 0
    assert result["predictive_hmc"] > result["predictive_prior"] - 50
    assert "ln p of the hidden half, given the other, in nats, over 2 images: hmc -" in outcome.err
    assert "effective samples an image of 90 (" in outcome.err
    with Image.open(result["files"]["sheet"]) as sheet:
        assert sheet.width > 7 * 84, "image, given, three chains, MAP, hidden"
        assert sheet.height > 2 * 84


@pytest.mark.parametrize("given", [[], GIVEN], ids=["prior", "given"])
def test_the_same_seed_draws_the_same_picture(genkit: Genkit, runs: Path, tmp_path: Path, given: list[str]) -> None:
    def drawn(name: str, *seed: str) -> bytes:
        path = tmp_path / f"{name}.png"
        outcome = genkit(
            "sample", run_of(runs, "vae"), "--by", "hmc", "--chains", 3, *given, *SHORT, *seed, "--out", path
        )
        assert outcome.code == 0, outcome.err
        return path.read_bytes()

    first = drawn("a")
    assert first == drawn("b", "--seed", "0")
    assert first != drawn("c", "--seed", "1")


def test_map_alone_completes_too(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    arguments = ["sample", run_of(runs, "beta-tc"), "--by", "map", "--given", "right-half", "--images", "3"]
    result = genkit(*arguments, "--npz", "--out", tmp_path, "--json").json
    assert arrays(tmp_path / "map-given-right-half.npz")["images"].shape == (1, 1, 28, 28)
    assert result.keys() >= {"predictive_map", "predictive_prior"}
    assert "rhat" not in result


def test_a_model_that_is_told_the_class_completes_with_it(genkit: Genkit, digits: Dataset, tmp_path: Path) -> None:
    """An image's own class, or the one that is named; chains of the prior have the seeds' classes."""
    train = ["train", "vae", "--dataset", "mnist5k", "--epochs", 1, "--hidden", 16, "--latent-dim", 2]
    run = genkit(*train, "--condition", "label", "--prior", "own", "--out", tmp_path, "--json").json["run"]

    def conditions(name: str, *options: object) -> list[int]:
        outcome = genkit("sample", run, *options, "--npz", "--out", tmp_path / name)
        assert outcome.code == 0, outcome.err
        return arrays(next((tmp_path / name).glob("*.npz")))["conditions"].tolist()

    places = [3, int((digits.test.labels != digits.test.labels[3]).nonzero()[0])]
    named = ["--given", "top-half", "--images", ",".join(map(str, places))]
    completed = ["--by", "hmc", *named, "--chains", 2, "--draws", 8, "--warmup", 8]
    expected = [label for label in digits.test.labels[places].tolist() for _ in range(3)]
    assert conditions("own", *completed) == expected
    assert conditions("named", *completed, "--class", "7") == [7] * 6
    assert conditions("prior", "--by", "hmc", "--chains", 3, "--draws", 8) == [0, 1, 2]


def test_a_file_of_ones_own_is_completed(genkit: Genkit, runs: Path, digits: Dataset, tmp_path: Path) -> None:
    Image.fromarray(digits.test.images()[7, 0].numpy()).save(tmp_path / "digit.png")
    command = ["sample", run_of(runs, "vae"), "--by", "map", "--given", "top-half", "--npz", "--json"]
    by_file = genkit(*command, "--file", tmp_path / "digit.png", "--out", tmp_path / "a").json
    by_place = genkit(*command, "--images", 7, "--out", tmp_path / "b").json
    assert by_file["predictive_map"] == by_place["predictive_map"]


def test_chains_that_do_not_move_are_told_of(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    command = ["sample", run_of(runs, "vae"), "--by", "langevin", "--warmup", 0, "--draws", 40, "--out", tmp_path]
    outcome = genkit(*command)
    assert outcome.code == 0
    (line,) = [each for each in outcome.err.splitlines() if "don't move" in each]
    assert line.startswith("warning: chains don't move for p(z): steps are so short")
    assert "give more --warmup" in line
    assert "warning: R-hat is above 1.01 for p(z)" in outcome.err
    assert "or --by hmc" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--given", "top-half"], "--given goes with --by"),
        (["--chains", "3"], "--chains goes with --by"),
        (["--by", "hmc", "--seeds", "1"], "--seeds goes with"),
        (["--by", "hmc", "--manifold"], "ask for one at a time"),
        (["--by", "hmc", "--images", "3"], "--images is nothing without --given; leave it out"),
        (["--by", "hmc", "--split", "val"], "--split is nothing without --given"),
        (["--by", "hmc", "--file", "a.png"], "--file is nothing without --given"),
        (["--by", "hmc", *GIVEN, "--columns", "3"], "--columns is nothing with --given"),
        (["--by", "map", "--draws", "9"], "--draws is of chains, and --by map has none"),
        (["--by", "map", "--given", "top-half", "--warmup", "9"], "--warmup is of chains"),
        (["--by", "hmc", "--prior", "fitted"], "--by goes by the model's own prior"),
        (["--by", "hmc", "--class", "7"], "a class is of codes that are drawn, of seeds; leave it out"),
        (["--by", "gibbs"], "'gibbs' is not one of"),
        (["--by", "hmc", "--given", "middle"], "'middle' is not one of"),
        (["--by", "hmc", "--draws", "1000000", "--chains", "10000"], "fewer --draws or --chains"),
        (["--by", "hmc", *GIVEN[:2], "--images", "5000"], "the test split has 500 images"),
    ],
    ids=str,
)
def test_what_would_be_ignored_or_is_not_there_is_refused(
    genkit: Genkit, runs: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    outcome = genkit("sample", run_of(runs, "vae"), *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert says in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["ae", "dcgan", "flow", "classifier"])
def test_a_model_that_tells_no_likelihood_is_refused_in_a_line(genkit: Genkit, runs: Path, name: str) -> None:
    outcome = genkit("sample", run_of(runs, name), "--by", "langevin")
    assert outcome.code == 2
    (line,) = [each for each in outcome.err.splitlines() if each.startswith("genkit: ")]
    assert ("doesn't say how likely an image is" in line) == (name != "classifier")
    assert "Traceback" not in outcome.err
