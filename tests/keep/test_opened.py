"""A trained model, opened: by a run or a checkpoint of 0.1.0."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit

from genkit.data.dataset import Dataset
from genkit.errors import UsageError
from genkit.keep.opened import Opened

EARLIER = Path(__file__).parents[1] / "fixtures" / "0.1.0"
CPU = torch.device("cpu")


def test_a_run_knows_its_checkpoint_and_its_images(digits: Dataset) -> None:
    run = EARLIER / "runs" / "00000-vae-mnist5k"
    (told,) = json.loads((run / "evaluation.json").read_text())["evaluations"]
    opened = Opened.find(str(run), CPU)
    assert (opened.name, opened.place, opened.kind) == (run.name, run, "vae")
    assert opened.checkpoint.path.name == Path(told["checkpoint"]).name
    assert opened.digest == told["sum"]
    assert not opened.model.training
    assert opened.weights == sum(each.numel() for each in opened.generator.state_dict().values())
    images = opened.dataset()
    assert images.digest() == told["data_sum"]
    assert opened.description.is_of(images.digest()) is True
    assert opened.description.is_of(images.digest()[::-1]) is False
    assert opened.description.is_of(None) is None
    with pytest.raises(UsageError, match="and 00000-vae-mnist5k was trained on 1×8×8"):
        opened.require_shape(digits)


def test_another_set_is_brought_to_the_shape_of_the_models(digits: Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "others.npy", digits.test.images(slice(0, 60)).numpy())
    opened = Opened.find(str(EARLIER / "runs" / "00000-vae-mnist5k"), CPU)
    others = opened.dataset(str(tmp_path / "others.npy"))
    assert others.shape == opened.model.image == (1, 8, 8)
    assert opened.description.is_of(others.digest()) is False


def test_what_a_file_means_goes_for_another_file_of_its_kind_alone(
    genkit: Genkit, digits: Dataset, tmp_path: Path
) -> None:
    """Trained on one of two arrays, a run is asked of the same in another file; a folder has no arrays."""
    small = digits.test.images(slice(0, 60))[:, 0, ::2, ::2].numpy()
    np.savez(tmp_path / "mine.npz", left=small, right=255 - small)
    np.savez(tmp_path / "other.npz", left=small[:, ::-1], right=255 - small[:, ::-1])
    ran = genkit("train", "ae", "--dataset", tmp_path / "mine.npz", "--images", "right", "--epochs", 1, "--hidden", 8)
    opened = Opened.find(ran.out.strip(), CPU)
    other = opened.data_options(str(tmp_path / "other.npz"))
    assert other.images == "right"
    assert opened.dataset(str(tmp_path / "other.npz")).train.mean().mean() > 0.5
    assert opened.chosen(str(tmp_path / "other.npz"), None)[2] == "all"
    assert opened.data_options(str(tmp_path)).images is None
    assert opened.data_options("mnist5k").images is None


def test_a_checkpoint_by_itself_has_no_run() -> None:
    opened = Opened.find(str(EARLIER / "exported-ae"), CPU)
    assert (opened.run, opened.name, opened.place) == (None, "exported-ae", EARLIER / "exported-ae")


def test_a_model_without_images_says_so_by_its_runs_name() -> None:
    opened = Opened.find(str(EARLIER / "runs" / "00004-classifier-mnist5k"), CPU)
    with pytest.raises(UsageError, match="00004-classifier-mnist5k is a classifier: it makes no images"):
        _ = opened.generator
