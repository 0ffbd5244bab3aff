"""A checkpoint is whole or refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch

from genkit import checkpoint
from genkit.errors import CheckpointError
from genkit.model import Batch, ImageShape
from genkit.models.vae import VAE
from genkit.training import TrainingState, train

IMAGE = ImageShape(1, 8, 8)


@pytest.fixture
def state() -> TrainingState:
    state = TrainingState(VAE(IMAGE, VAE.Options(hidden=(9,), latent_dim=3, ema=0.5)), 2, 2)
    list(train(state, [Batch(torch.rand(4, *IMAGE), None, torch.tensor(0.0))]))
    return state


@pytest.fixture
def folder(state: TrainingState, tmp_path: Path) -> Path:
    return checkpoint.write(tmp_path / "000001", state, {"model": "vae", "metrics": {}})


def test_no_temporary_file_stays(folder: Path) -> None:
    assert [path.name for path in folder.parent.iterdir()] == ["000001"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "averaged.safetensors",
        "checkpoint.json",
        "manifest.json",
        "model.safetensors",
        "training.safetensors",
    ]


def test_it_is_as_readable_as_the_umask_says(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~checkpoint.current_umask()


@pytest.mark.parametrize("name", ["averaged", "checkpoint", "model", "training", "manifest"])
def test_one_flipped_bit_is_refused(folder: Path, name: str) -> None:
    (path,) = folder.glob(f"{name}.*")
    for position in (0, path.stat().st_size // 2, path.stat().st_size - 2):
        data = bytearray(path.read_bytes())
        data[position] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(CheckpointError, match="000001"):
            checkpoint.read(folder)
        data[position] ^= 1
        path.write_bytes(bytes(data))
    checkpoint.read(folder)


@pytest.mark.parametrize("name", ["averaged.safetensors", "checkpoint.json", "manifest.json"])
def test_a_missing_or_truncated_file_is_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="000001"):
        checkpoint.read(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match="000001"):
        checkpoint.read(folder)


def test_a_manifest_cannot_lead_out_of_its_folder(folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_text("x")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["../secret"] = checkpoint.hashlib.sha256(b"x").hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="secret"):
        checkpoint.read(folder)


@pytest.mark.parametrize(
    "change",
    [{"format": 99}, {"model": "gan"}, {"options": {"latent_dim": -1}}, {"options": {"evil": 1}}, {"image": {}}],
    ids=str,
)
def test_a_forged_description_is_refused(folder: Path, change: dict) -> None:
    """With right sums, so that only what they mean is wrong."""
    description = json.loads((folder / "checkpoint.json").read_text()) | change
    data = json.dumps(description).encode()
    (folder / "checkpoint.json").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["checkpoint.json"] = checkpoint.hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="000001"):
        checkpoint.read(folder)


def test_optimizer_and_random_state_are_kept(folder: Path, state: TrainingState) -> None:
    tensors = checkpoint.load((folder / "training.safetensors").read_bytes())
    moments = state.optimizers[0].state_dict()["state"][0]["exp_avg"]
    assert torch.equal(tensors["optimizer/model/0/exp_avg"], moments)
    assert "random/cpu" in tensors


def test_a_failed_write_leaves_nothing(state: TrainingState, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="could not be written"):
        checkpoint.write(tmp_path / "checkpoints" / "000001", state, {"model": "vae"})
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
