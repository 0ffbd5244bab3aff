"""A checkpoint is whole or refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import stat
from pathlib import Path

import numpy as np
import pytest
import torch

from genkit import files
from genkit.contract import Batch, ImageShape
from genkit.errors import CheckpointError
from genkit.keep import checkpoint
from genkit.models.vae import VAE
from genkit.step.training import TrainingState, train

IMAGE = ImageShape(1, 8, 8)


@pytest.fixture
def state() -> TrainingState:
    state = TrainingState(VAE(IMAGE, VAE.Options(hidden=(9,), latent_dim=3, ema=0.5)), 2, 2)
    list(train(state, [Batch(torch.rand(4, *IMAGE), None, torch.tensor(0.0))]))
    return state


@pytest.fixture
def folder(state: TrainingState, tmp_path: Path) -> Path:
    return checkpoint.write(tmp_path / "000001", checkpoint.snapshot(state, model="vae"))


def forge(folder: Path, change: dict) -> None:
    """Alter the description, and the manifest with it."""
    data = json.dumps(json.loads((folder / "checkpoint.json").read_text()) | change).encode()
    (folder / "checkpoint.json").write_bytes(data)
    vouch(folder, "checkpoint.json")


def vouch(folder: Path, name: str) -> None:
    """Give the manifest the sum of a file as it is now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_bytes(files.to_json(manifest))


def test_no_temporary_file_stays(folder: Path) -> None:
    assert [path.name for path in folder.parent.iterdir()] == ["000001"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "averaged.safetensors",
        "checkpoint.json",
        "manifest.json",
        "model.safetensors",
        "training.safetensors",
    ]


def test_the_digest_of_the_images_keeps_its_name_on_disk(state: TrainingState, tmp_path: Path) -> None:
    """`data_sum`, which earlier versions read and wrote, and forbid anything beside."""
    folder = checkpoint.write(tmp_path / "a", checkpoint.snapshot(state, model="vae", data_digest="ab12"))
    exported = checkpoint.write_exported(tmp_path / "b", checkpoint.read(folder), "")
    for each in (folder, exported):
        written = json.loads((each / "checkpoint.json").read_text())
        assert written["data_sum"] == "ab12"
        assert "data_digest" not in written
        assert checkpoint.read(each).description.data_digest == "ab12"


def test_it_is_as_readable_as_the_umask_says(folder: Path) -> None:
    os.umask(umask := os.umask(0))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask


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
    manifest["../secret"] = hashlib.sha256(b"x").hexdigest()
    (folder / "manifest.json").write_bytes(files.to_json(manifest))
    with pytest.raises(CheckpointError, match="secret"):
        checkpoint.read(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"model": "gan"},
        {"model": ["vae"]},
        {"options": {"latent_dim": -1}},
        {"options": {"evil": 1}},
        {"image": {}},
        {"image": {"channels": 1, "height": 8, "width": 9}},
        {"step": -1},
        {"metrics": {"val/loss": "low"}},
        {"data": {"dataset": ""}},
        {"evil": 1},
    ],
    ids=str,
)
def test_a_forged_description_is_refused(folder: Path, change: dict) -> None:
    """With right sums, so that only what they mean is wrong."""
    forge(folder, change)
    with pytest.raises(CheckpointError, match="000001"):
        checkpoint.read(folder)


@pytest.mark.parametrize("change", [{"options": {"latent_dim": 60_000, "hidden": [60_000, 60_000]}}], ids=["30 GB"])
def test_a_description_cannot_ask_for_more_than_the_file_holds(folder: Path, change: dict) -> None:
    forge(folder, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="its weights aren't those of the model"):
        checkpoint.read(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_regular_files_are_read(folder: Path, tmp_path: Path, kind: str) -> None:
    """A link may lead anywhere, and a pipe would be waited for for ever."""
    weights = folder / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    match kind:
        case "link":
            weights.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(weights)
        case "folder":
            weights.mkdir()
    with pytest.raises(CheckpointError, match="is no regular file"):
        checkpoint.read(folder)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{", b"[]", b'{"a": 1}', b"\xff", b'{"model.safetensors": NaN}'])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="000001"):
        checkpoint.read(folder)


def test_a_manifest_that_lost_its_last_byte_is_refused(folder: Path) -> None:
    """It would still be JSON, and its sums would still be right."""
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="it isn't as it was written"):
        checkpoint.read(folder)


def test_a_file_that_nothing_vouches_for_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["model.safetensors"]
    (folder / "manifest.json").write_bytes(files.to_json(manifest))
    with pytest.raises(CheckpointError, match=r"doesn't name model\.safetensors"):
        checkpoint.read(folder)


def test_restoring_gives_the_same_state(folder: Path, state: TrainingState) -> None:
    """All of it: weights, average, moments, step, and what each random generator draws next."""
    drawn = torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(9), np.random.seed(9), random.seed(9)
    fresh = TrainingState(VAE(IMAGE, state.model.options), 2, 2)
    assert not torch.equal(fresh.model.encoder[1][0].weight, state.model.encoder[1][0].weight)
    about, pending = checkpoint.restore(folder, fresh)
    assert about.step == fresh.step == 1
    assert pending == {}
    for ours, theirs in ((fresh.model, state.model), (fresh.averaged, state.averaged)):
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    moments = [optimizer.state for optimizer in (fresh.optimizers[0], state.optimizers[0])]
    assert all(
        torch.equal(value, moments[1][i][name]) for i, each in moments[0].items() for name, value in each.items()
    )
    again = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(again[0], drawn[0])
    assert (again[1] == drawn[1]).all()
    assert again[2] == drawn[2]


def test_a_normal_deviate_that_is_kept_for_later_is_restored(state: TrainingState, tmp_path: Path) -> None:
    """NumPy and Python draw normal numbers in pairs, and keep the second."""
    np.random.randn(), random.gauss(0, 1)
    folder = checkpoint.write(tmp_path / "000001", checkpoint.snapshot(state, model="vae"))
    drawn = np.random.randn(), random.gauss(0, 1), random.gauss(0, 1)
    np.random.randn(), random.gauss(0, 1)
    checkpoint.restore(folder, TrainingState(VAE(IMAGE, state.model.options), 2, 2))
    assert (np.random.randn(), random.gauss(0, 1), random.gauss(0, 1)) == drawn


def test_another_models_moments_are_refused(folder: Path) -> None:
    other = TrainingState(VAE(IMAGE, VAE.Options(hidden=(10,), latent_dim=3, ema=0.5)), 2, 2)
    with pytest.raises(CheckpointError, match=r"size mismatch for encoder"):
        checkpoint.restore(folder, other)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer/model/0/exp_avg": torch.tensor(0.0)},
        {"optimizer/model/0/exp_avg": None},
        {"optimizer/model/0/exp_avg_sq": torch.zeros(9, 64, dtype=torch.float64)},
        {"optimizer/model/0/step": torch.ones(2)},
        {"optimizer/model/-1/step": torch.tensor(1.0)},
        {"optimizer/model/99/step": torch.tensor(1.0)},
        {"pending/0/loss": torch.zeros(2, 2)},
        {"pending/0/loss": torch.zeros(2), "pending/1/kl": torch.zeros(3)},
        {"pending/x/loss": torch.zeros(2)},
        {"random/cpu": torch.zeros(4, dtype=torch.uint8)},
        {"random/numpy": torch.full((626,), 700)},
        {"random/python": None},
    ],
    ids=str,
)
def test_a_forged_training_state_is_refused(folder: Path, state: TrainingState, change: dict) -> None:
    """The fused optimiser would write beyond a moment that is too small."""
    tensors = checkpoint.load((folder / "training.safetensors").read_bytes()) | change
    data = checkpoint.save({name: value for name, value in tensors.items() if value is not None})
    (folder / "training.safetensors").write_bytes(data)
    vouch(folder, "training.safetensors")
    with pytest.raises(CheckpointError, match="000001"):
        checkpoint.restore(folder, TrainingState(VAE(IMAGE, state.model.options), 2, 2))


def test_an_average_that_is_missing_is_not_replaced_by_the_weights(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["averaged.safetensors"]
    (folder / "manifest.json").write_bytes(files.to_json(manifest))
    with pytest.raises(CheckpointError, match="averaged"):
        checkpoint.read(folder)


def test_optimizer_and_random_state_are_kept(folder: Path, state: TrainingState) -> None:
    tensors = checkpoint.load((folder / "training.safetensors").read_bytes())
    moments = state.optimizers[0].state[0]["exp_avg"]
    assert torch.equal(tensors["optimizer/model/0/exp_avg"], moments)
    assert "random/cpu" in tensors


def test_a_failed_write_leaves_nothing(state: TrainingState, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match="could not be written"):
        checkpoint.write(tmp_path / "checkpoints" / "000001", checkpoint.snapshot(state, model="vae"))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
