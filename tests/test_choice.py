"""Which of a run's checkpoints is opened: a GAN's last, with averaged weights; of all others the best by validation."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit, run_of
from safetensors.torch import load_file

import genkit as package
from genkit.data.dataset import Dataset
from genkit.keep import description
from genkit.keep.rundir import RunDirectory

pytestmark = pytest.mark.usefixtures("begun_at_random")

GAN = ["dcgan", "--dataset", "mnist5k", "--image-size", "8", "--labels-per-class", "7", "--width", "4", "--latent-dim"]
#: All images of few at once, so that an epoch is a step.
AT_ONCE = ("--batch-size", "64")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GAN of three epochs of one step, all kept, whose first one had the best luck with its validation."""
    from genkit import cli

    out = tmp_path_factory.mktemp("runs")
    command = ["train", *GAN, "3", *AT_ONCE, "--epochs", "3", "--keep-every", "1", "--device", "cpu", "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        cli.main(command)
    assert not ended.value.code
    (run,) = out.glob("0*")
    assert [int(path.name) for path in RunDirectory(run).checkpoints] == [1, 2, 3]
    value_at(run, 1, 1e-6)
    return run


def value_at(run: Path, step: int, value: float) -> None:
    """Have a checkpoint be whole, with this as what its validation measured."""
    path = RunDirectory(run).checkpoint_path(step)
    about = json.loads((path / description.DESCRIPTION).read_text())
    about["metrics"][f"val/{about['monitor']}"] = value
    content = json.dumps(about).encode()
    (path / description.DESCRIPTION).write_bytes(content)
    sums = json.loads((path / description.MANIFEST).read_text())
    sums[description.DESCRIPTION] = hashlib.sha256(content).hexdigest()
    (path / description.MANIFEST).write_bytes(description.to_json(sums))


def test_a_gan_opens_with_its_last_checkpoint_and_its_averaged_weights(genkit: Genkit, trained: Path) -> None:
    outcome = genkit("info", trained, "--json")
    assert outcome.json["step"] == 3
    assert outcome.json["which"] == ["last"]
    assert "which       the last, averaged weights" in genkit("info", trained).out
    own = package.load(trained).model.state_dict()
    averaged = load_file(trained / "checkpoints" / "000003" / "averaged.safetensors")
    plain = load_file(trained / "checkpoints" / "000003" / "model.safetensors")
    name = "generator.layers.0.weight"
    assert torch.equal(own[name], averaged[name])
    assert not torch.equal(own[name], plain[name])


def test_the_figures_at_the_end_of_training_are_those_of_what_commands_open(genkit: Genkit, trained: Path) -> None:
    assert genkit("train", "--resume", trained).code == 0  # it has come to its end, and is measured again
    last = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()][-1]
    assert last["step"] == 3
    assert "test/sliced_wasserstein" in last
    assert "Commands open `checkpoints/000003`, the last, with averaged weights." in (trained / "README.md").read_text()


@pytest.mark.parametrize(("which", "step"), [("best", 1), ("last", 3), ("2", 2), ("000002", 2)])
def test_a_person_chooses(genkit: Genkit, trained: Path, tmp_path: Path, which: str, step: int) -> None:
    asked = (trained, "--checkpoint", which, "--device", "cpu", "--out")
    for outcome in (
        genkit("sample", *asked, tmp_path, "--seeds", "0-3", "--json"),
        genkit("embed", *asked, tmp_path, "--limit", "9", "--json"),
        genkit("export", *asked, tmp_path, "--json"),
    ):
        assert outcome.code == 0, outcome.err
        assert int(Path(outcome.json["checkpoint"]).name) == step
    assert genkit("info", trained, "--checkpoint", which, "--json").json["step"] == step
    assert package.load(trained, checkpoint=which).description.step == step
    report = genkit("report", *asked, tmp_path / "report.html", "--json")
    assert [int(Path(each).name) for each in report.json["checkpoints"]] == [step]
    said = {1: " (best)", 2: "", 3: " (last)"}[step]
    assert f"{step:06d}{said}, sha256" in (tmp_path / "report.html").read_text()


def test_a_step_that_there_is_not_is_refused(genkit: Genkit, trained: Path) -> None:
    outcome = genkit("sample", trained, "--checkpoint", "7")
    assert outcome.code == 2
    assert "no checkpoint of step 7 (it has 1, 2, 3)" in outcome.err
    assert genkit("sample", trained / "checkpoints" / "000002", "--checkpoint", "last").code == 2
    assert genkit("info", trained, "--checkpoint", "newest").code == 2


def test_figures_of_two_checkpoints_stay_apart(genkit: Genkit, trained: Path) -> None:
    """Each has its own in evaluation.json, and neither takes the other's place."""

    def kept() -> dict[int, float]:
        found = json.loads((trained / "evaluation.json").read_text())["evaluations"]
        return {int(Path(each["checkpoint"]).name): each["figures"][0]["value"] for each in found}

    asked = ("evaluate", trained, "--only", "representation", "--limit", 20, "--device", "cpu")
    assert genkit(*asked, "--checkpoint", "best").code == 0
    best = kept()
    assert best.keys() == {1}
    assert genkit(*asked).code == 0
    assert kept().keys() == {1, 3}
    assert kept()[1] == best[1]
    assert genkit(*asked, "--checkpoint", "1").code == 0
    assert kept().keys() == {1, 3}


def test_what_has_a_likelihood_opens_with_the_best(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    assert "best" in genkit("info", run_of(runs, "vae"), "--json").json["which"]
    assert genkit("info", run_of(runs, "vae"), "--json").json["opens"] == "best"


def test_it_is_kept_for_good_at_its_epoch_though_checkpoints_are_rarer(genkit: Genkit, tmp_path: Path) -> None:
    rarely = ["--epochs", "5", "--checkpoint-every", "30min", "--keep-every", "2", "--out", tmp_path, "--json"]
    outcome = genkit("train", "vae", *GAN[1:7], "--hidden", "4", *AT_ONCE, *rarely)
    assert outcome.code == 0, outcome.err
    steps = {int(path.name) for path in RunDirectory(Path(outcome.json["run"])).checkpoints}
    assert {2, 4, 5} <= steps


def test_the_set_of_a_run_on_few_labels_is_its_own(genkit: Genkit, tmp_path: Path, digits: Dataset) -> None:
    """Though the whole set, named anew, has other images for training, its test images are those that are meant."""
    assert digits.train.labels is not None
    images, labels = digits.train.images(slice(0, 100))[:, 0].numpy(), digits.train.labels[:100].numpy()
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    few = ["--dataset", tmp_path / "mine.npz", "--labels-per-class", "2", "--epochs", "1", "--batch-size", "20"]
    run = genkit("train", "ae", *few, "--hidden", "8", "--device", "cpu", "--out", tmp_path / "runs", "--json").json
    taken = genkit("sample", run["run"], "--reconstruct", "--dataset", tmp_path / "mine.npz", "--json").json
    assert taken["n"] == 10
