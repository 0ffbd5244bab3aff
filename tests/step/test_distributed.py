"""Training in several processes: that it is the training of one, that they agree, and that none waits in vain.

The processes are forks with what torchrun would tell them, which begin at once; torchrun itself starts those of the
last test.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit
from endurance.harness import Ended, Zygote, only_run, result_of
from safetensors.torch import load_file

from genkit.data.dataset import Dataset
from genkit.keep.rundir import RunDirectory

pytestmark = pytest.mark.usefixtures("begun_at_random")

#: Runs a command in `size` processes (two), with the `faults` of each rank (none); the leader's end comes first.
Team = Callable[..., list[Ended]]

SMALL = ["--hidden", "16", "--latent-dim", "3"]
COMMON = ["--batch-size", "60", "--device", "cpu", "--log-every", "3"]


@pytest.fixture(scope="module")
def images(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 of them are for training: 4 steps an epoch."""
    path = tmp_path_factory.mktemp("images") / "digits.npy"
    np.save(path, digits.train.images(slice(0, 300)).numpy())
    return path


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")  # which the command sets before it loads torch
        zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def team(zygote: Zygote) -> Team:
    def run(*arguments: object, size: int = 2, faults: dict[int, dict] | None = None) -> list[Ended]:
        common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        ranks = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
        each = [{"environment": variables, **(faults or {}).get(rank, {})} for rank, variables in enumerate(ranks)]
        return zygote.run_together([str(each) for each in arguments], each)

    return run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def training_tensors(run: Path) -> dict[str, torch.Tensor]:
    return load_file(RunDirectory(run).checkpoints[-1] / "training.safetensors")


def test_two_processes_at_half_the_batch_are_one(genkit: Genkit, team: Team, images: Path, tmp_path: Path) -> None:
    command = ["train", "ae", "--dataset", images, *SMALL, *COMMON, "--epochs", "2", "--json", "--out"]
    alone = Path(genkit(*command, tmp_path / "alone").json["run"])
    leader, follower = team(*command, tmp_path / "pair")
    assert (leader.status, follower) == (0, Ended(0, "")), leader
    together = only_run(tmp_path / "pair")
    assert together is not None
    assert json.loads(leader.printed.splitlines()[-1])["run"] == str(together)
    ours, theirs = (load_file(RunDirectory(run).checkpoints[-1] / "model.safetensors") for run in (together, alone))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6)
    for mine, other in zip(rows(together), rows(alone), strict=True):
        assert mine == pytest.approx(other, rel=1e-5)
    assert sorted(path.name for path in together.iterdir()) == sorted(path.name for path in alone.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        ["--critic-norm", "batch"],
        ["--net", "residual", "--critic-norm", "none", "--loss", "relativistic", "--r1", "1", "--augment", "cutout"],
    ],
    ids=["batchnorm", "penalty"],
)
def test_a_gan_stays_in_step(team: Team, images: Path, tmp_path: Path, options: list[str]) -> None:
    """Its critic runs twice before one backward, and each process's batchnorm, or penalty, sees its own share."""
    files = [tmp_path / "0.safetensors", tmp_path / "1.safetensors"]
    leader, follower = team(
        *("train", "dcgan", "--dataset", images, "--width", "4", "--latent-dim", "3", *options),
        *(*COMMON, "--epochs", "2", "--out", tmp_path / "runs"),
        faults={rank: {"keep_weights_at": [str(file), 7]} for rank, file in enumerate(files)},
    )
    assert (leader.status, follower.status) == (0, 0), leader
    ours, theirs = map(load_file, files)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    run = only_run(tmp_path / "runs")
    assert run is not None
    states = training_tensors(run)
    assert not torch.equal(states["random/cpu"], states["rank-1/random/cpu"]), "both draw the same noise"


@pytest.mark.parametrize("model", ["boltzmann", "wgan_gp"])
def test_stages_and_a_critics_steps_stay_in_step(team: Team, images: Path, tmp_path: Path, model: str) -> None:
    """The second stage begins at step 4; the critic's five steps have a gradient penalty. Then stopped and resumed."""
    file = Path(__file__).parents[1] / "plugin" / "strange_models" / f"{model}.py"
    command = ["train", file, "--dataset", images, "--width", "8", "--latent-dim", "3", *COMMON, "--epochs", "2"]
    files = [tmp_path / "0.safetensors", tmp_path / "1.safetensors"]
    kept = {rank: {"keep_weights_at": [str(each), 7]} for rank, each in enumerate(files)}
    leader, follower = team(*command, "--out", tmp_path / "whole", faults=kept)
    assert (leader.status, follower.status) == (0, 0), leader
    ours, theirs = map(load_file, files)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    leader, follower = team(*command, "--out", tmp_path / "parts", faults={1: {"signal_at": [signal.SIGTERM, 2, 1]}})
    assert (leader.status, follower.status) == (143, 143), leader
    run = only_run(tmp_path / "parts")
    assert run is not None
    leader, follower = team("train", file, "--resume", run)
    assert (leader.status, follower.status) == (0, 0), leader
    whole = only_run(tmp_path / "whole")
    assert whole is not None
    assert result_of(run) == result_of(whole)


def test_interrupted_and_resumed_is_the_same_to_the_bit(
    genkit: Genkit, team: Team, images: Path, tmp_path: Path
) -> None:
    """Of three, because two numbers have the same sum in any order. Only one of them receives the signal."""
    wide = ["--hidden", "512,256", "--latent-dim", "3"]
    command = ["train", "vae", "--dataset", images, *wide, *COMMON]
    two = [*command, "--epochs", "2", "--out"]
    leader, *_ = team(*two, tmp_path / "whole", size=3)
    assert leader.status == 0, leader
    stopped = {"signal_at": [signal.SIGTERM, 2, 2]}
    leader, *followers = team(*two, tmp_path / "parts", size=3, faults={1: stopped})
    assert (leader.status, followers) == (143, [Ended(143, "")] * 2), leader
    whole, parts = only_run(tmp_path / "whole"), only_run(tmp_path / "parts")
    assert whole is not None
    assert parts is not None
    assert [path.name for path in RunDirectory(parts).checkpoints] == ["000002"]
    leader, *followers = team("train", "--resume", parts, size=3)
    assert (leader.status, followers) == (0, [Ended(0, "")] * 2), leader
    assert result_of(parts) == result_of(whole)

    outcome = genkit("train", "--resume", parts, "--epochs", "3", "--json")
    assert (outcome.code, outcome.json["steps"]) == (0, 12)
    assert "the run goes on with 1 process, from a checkpoint of 3" in outcome.err
    leader, follower = team("train", "--resume", parts, "--epochs", "4")
    assert (leader.status, follower) == (0, Ended(0, "")), leader
    assert "the run goes on with 2 processes, from a checkpoint of 1" in leader.printed
    assert "rank-1/random/cpu" in training_tensors(parts)
    leader, _ = team(*command, "--out", tmp_path / "new", "--init-from", parts, "--epochs", "1")
    assert leader.status == 0, leader


def test_shares_that_are_not_equal_are_refused(team: Team, images: Path, tmp_path: Path) -> None:
    common = [each.replace("60", "61") for each in COMMON]
    command = ["train", "ae", "--dataset", images, *SMALL, *common, "--out", tmp_path / "runs"]
    leader, follower = team(*command)
    assert leader.status == follower.status == 2
    assert leader.printed.splitlines()[-1:] == [
        "genkit: --batch-size 61 can't be shared equally by 2 processes; give a --batch-size of 60, or start as many "
        "processes as divide it"
    ]
    assert follower.printed == ""
    assert not (tmp_path / "runs").exists()


def test_a_loss_that_is_not_finite_in_one_process_ends_both(team: Team, images: Path, tmp_path: Path) -> None:
    command = ["train", "ae", "--dataset", images, *SMALL, *COMMON, "--epochs", "2", "--out", tmp_path / "runs"]
    leader, follower = team(*command, faults={1: {"not_finite_at": ["loss", "", 2]}})
    assert (leader.status, follower) == (3, Ended(3, "")), leader
    assert "genkit: the loss is no longer finite at step 2" in leader.printed


@pytest.mark.parametrize("dies", [0, 1])
def test_a_process_that_dies_takes_the_other_along(team: Team, images: Path, tmp_path: Path, dies: int) -> None:
    command = ["train", "ae", "--dataset", images, *SMALL, *COMMON, "--epochs", "2", "--out", tmp_path / "runs"]
    ended = team(*command, faults={dies: {"signal_at": [signal.SIGKILL, 2]}})
    assert ended[dies].status == -signal.SIGKILL
    assert ended[1 - dies].status == 1
    assert "another process of this training has ended" in ended[1 - dies].printed.splitlines()[-1]


def test_torchrun_passes_a_signal_on(team: Team, images: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "genkit", "train", "vae", "--dataset", images, *SMALL, *COMMON),
            *("--epochs", "100000", "--checkpoint-every", "100000", "--picture-every", "100000"),
            *("--out", tmp_path / "runs"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        while not list(tmp_path.glob("runs/0*/metrics.jsonl")) or not rows(*tmp_path.glob("runs/0*")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert said.count("warning: stopping after this step") == 1
    assert said.count("go on with: genkit train --resume") == 1
    run = only_run(tmp_path / "runs")
    assert run is not None
    (before,) = RunDirectory(run).checkpoints
    leader, follower = team("train", "--resume", run, faults={0: {"signal_at": [signal.SIGINT, int(before.name) + 2]}})
    assert (leader.status, follower.status) == (130, 130), leader
    assert int(RunDirectory(run).checkpoints[-1].name) == int(before.name) + 2
