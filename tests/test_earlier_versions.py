"""Runs, checkpoints and an export that 0.1.0 wrote: they open, make the same images, and go on as they did then.

`fixtures/0.1.0/expected.json` holds what 0.1.0 itself made of them: pixels of samples and reconstructions, and the test
metrics after `genkit train --resume RUN --epochs N`. They are small (8×8 digits); the last was stopped within an epoch.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Genkit

import genkit as package

FIXTURES = Path(__file__).parent / "fixtures" / "0.1.0"
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text())

every_run = pytest.mark.parametrize("name", list(EXPECTED))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A copy of the folder of runs, which can be written to."""
    return Path(shutil.copytree(FIXTURES / "runs", tmp_path / "runs"))


@every_run
def test_it_is_whole(genkit: Genkit, kept: Path, name: str) -> None:
    outcome = genkit("info", kept / name, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["damaged"] == []
    assert outcome.json["data"]["dataset"] == "mnist5k"


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name, about in EXPECTED.items() for kind in ("samples", "reconstruct") if kind in about],
)
def test_it_makes_the_same_images(genkit: Genkit, kept: Path, tmp_path: Path, name: str, kind: str) -> None:
    which = ["--seeds", "0-3"] if kind == "samples" else ["--reconstruct", "--images", "0-3"]
    outcome = genkit("sample", kept / name, *which, "--npz", "--device", "cpu", "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    with np.load(outcome.json["files"]["npz"]) as arrays:
        pixels = arrays["images"].reshape(4, -1).astype(int)
    assert np.abs(pixels - np.array(EXPECTED[name][kind])).max() <= 1  # another machine may round otherwise


@every_run
def test_it_goes_on(genkit: Genkit, kept: Path, name: str) -> None:
    outcome = genkit("train", "--resume", kept / name, "--epochs", EXPECTED[name]["epochs"], "--json")
    assert outcome.code == 0, outcome.err
    # Of two nets that train against each other, the last bits by which machines differ grow: 2.4 % were seen.
    close = 5e-2 if "dcgan" in name else 1e-2
    assert outcome.json["metrics"] == pytest.approx(EXPECTED[name]["test"], rel=close)


def test_an_export_opens() -> None:
    model = package.load(FIXTURES / "exported-ae")
    images = model.sample(4, seed=0).mul(255).round().numpy().reshape(4, -1)
    assert np.abs(images - np.array(EXPECTED["00001-ae-mnist5k"]["samples"])).max() <= 1
