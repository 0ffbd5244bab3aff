"""The same commands on a CUDA device; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ALONE, GENERATIVE, Genkit
from endurance.harness import result_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", GENERATIVE)
def test_train_there_and_sample_on_both(genkit: Genkit, tmp_path: Path, name: str) -> None:
    """The noise is the CPU's, so a seed gives the same image on both devices, up to their rounding."""
    trained = genkit(
        *["train", name, "--dataset", "mnist5k", "--epochs", "2", "--batch-size", "256", "--device", "cuda"],
        *["--out", tmp_path, "--json"],
    )
    assert trained.code == 0, trained.err
    assert "cuda" in trained.err
    for device in ("cuda", "cpu"):
        command = ["sample", trained.json["run"], "--seeds", "0-9", "--npz", "--device", device]
        assert genkit(*command, "--out", tmp_path / device).code == 0
    pixels = []
    for device in ("cuda", "cpu"):
        with np.load(tmp_path / device / "samples.npz") as arrays:
            pixels.append(arrays["images"].astype(int))
    assert np.abs(pixels[0] - pixels[1]).max() <= 2
    assert genkit("embed", trained.json["run"], "--device", "cuda").code == 0


# Of stages that are shares of a run, a longer one has others, and isn't gone on with.
@pytest.mark.parametrize("name", [each for each in ALONE if each != "rbm"])
def test_a_run_resumes_to_the_bit_there(genkit: Genkit, tmp_path: Path, name: str) -> None:
    """An epoch, and then one more, against two; `--log-every 7` leaves metrics that aren't logged yet."""
    common = ["--dataset", "mnist5k", "--batch-size", "256", "--schedule", "constant", "--device", "cuda"]
    command = ["train", name, *common, "--deterministic", "--log-every", "7", "--json"]
    whole = genkit(*command, "--epochs", "2", "--out", tmp_path / "whole").json["run"]
    again = genkit(*command, "--epochs", "2", "--out", tmp_path / "again").json["run"]
    begun = genkit(*command, "--epochs", "1", "--out", tmp_path / "begun").json["run"]
    assert genkit("train", "--resume", begun, "--epochs", "2").code == 0
    expected = result_of(Path(whole))["training.safetensors"]
    assert result_of(Path(again))["training.safetensors"] == expected
    assert result_of(Path(begun))["training.safetensors"] == expected
