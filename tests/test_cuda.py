"""The same commands on a CUDA device; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit

from genkit import models

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", list(models.names()))
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
