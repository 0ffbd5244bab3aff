"""`genkit evaluate`, run as a person runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import GENERATIVE, Genkit, run_of

pytestmark = pytest.mark.usefixtures("quick_evaluation")

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
    assert kept["figures"] == result["runs"][0]["figures"]
    assert kept["run"] == str(run)
    for figure in figures(result).values():
        assert figure["conditions"]["split"] == "test"
        assert figure["conditions"]["dataset"] == "mnist5k"
        assert figure["conditions"]["resolution"] == "1×28×28"
        assert figure["warning"] is None
        assert isinstance(figure["value"], int | float)
    found, missing = figures(result), left_out(result)
    assert ("reconstruction/ssim" in found) != ("reconstruction" in missing)
    assert ("likelihood/nll" in found) != ("likelihood" in missing)
    if name == "vae":
        nll = found["likelihood/nll"]
        assert (nll["conditions"]["n"], nll["conditions"]["k"]) == (30, 20)
        assert "no likelihood of discrete data" in nll["conditions"]["targets"]
        assert nll["value"] > 45
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
    assert f"left out: {run_of(runs, 'ae').name}, likelihood: ae has no posterior" in outcome.out
    assert "[1] " in outcome.out
    assert "k 20" in outcome.out
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".png", ".png"]


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
    assert json.loads((tmp_path / "evaluation.json").read_text())["figures"] == json.loads(before)["figures"]
    for content in ("my notes", "{}", before.replace(str(bare), "/elsewhere")):
        (tmp_path / "evaluation.json").write_text(content)
        refused = genkit(*command)
        assert refused.code == 1
        assert "stays as it is" in refused.err.splitlines()[-1]
        assert (tmp_path / "evaluation.json").read_text() == content


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--only", "likelyhood"], 2, "no topic is called 'likelyhood'"),
        (["--only", ","], 2, "names no topic"),
        (["--k", 0], 2, "--k"),
        (["--limit", 0], 2, "--limit"),
        (["--split", "all"], 2, "--split"),
        (["--dataset", "nowhere"], 1, "no such file or folder"),
        (["--device", "toaster"], 2, "toaster"),
    ],
)
def test_bad_input_is_one_line(runs: Path, genkit: Genkit, arguments: list[object], code: int, says: str) -> None:
    outcome = genkit("evaluate", run_of(runs, "vae"), *arguments)
    assert outcome.code == code
    assert outcome.out == ""
    assert says in outcome.err.splitlines()[-1]
