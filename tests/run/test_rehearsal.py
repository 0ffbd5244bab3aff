"""What a stranger's model does wrong at an epoch's end is said before the run has a folder, by the command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Genkit

from genkit.run import rehearsal

STAGES = '''
"""Two stages."""
import torch
import torch.nn.functional as F
from torch import nn
from genkit import contract
from genkit.contract import GenerativeModel, Phase


class Stages(GenerativeModel):
    class Options(contract.Options):
        latent_dim: contract.LatentDim = 2

    monitor = "two/loss"

    def __init__(self, image, options):
        super().__init__(image, options)
        self.one = nn.Linear(image.numbers, 2)
        self.two = nn.Linear(2, image.numbers)

    def phases(self):
        sgd = {"kind": "sgd", "lr": 0.01}
        return [
            Phase("one", self.one, self.losses, sgd, ends=self.options.share(1)),
            Phase("two", self.two, self.losses, sgd, begins=self.options.share(1)),
        ]

    def losses(self, batch):
        made = self.decode(self.encode(batch.images))
        return {"loss": F.mse_loss(made, batch.images)}

    def encode(self, images):
        return self.one(images.flatten(1))

    def decode(self, z):
        return self.two(z).sigmoid().unflatten(1, tuple(self.image))

    def prior(self, noise):
        return noise
'''


@pytest.mark.parametrize(
    ("sound", "broken", "code", "said"),
    [
        ("", "", 0, ""),
        ('monitor = "two/loss"', 'monitor = "one/loss"', 2, "the model's monitor, one/loss, is nothing that its last"),
        ('monitor = "two/loss"', 'monitor = "los"', 2, "they have two/loss"),
        ('return {"loss":', 'return {"los":', 2, "phase 'one' have no 'loss' to minimise"),
        ("self.two(z).sigmoid()", "self.three(z)", 1, "stages.py, line"),
    ],
    ids=["sound", "of another stage", "misspelt", "no loss", "decode"],
)
def test_it_is_said_before_anything_is_made(
    genkit: Genkit, tmp_path: Path, sound: str, broken: str, code: int, said: str
) -> None:
    file = tmp_path / "stages.py"
    file.write_text(STAGES.replace(sound, broken, 1) if sound else STAGES)
    out = tmp_path / "runs"
    outcome = genkit("train", file, "--dataset", "mnist5k", "--epochs", 2, "--batch-size", 500, "--out", out)
    assert (outcome.code, said in outcome.err) == (code, True), outcome.err
    assert out.exists() == (code == 0)


def test_a_run_too_short_for_its_last_stage_is_refused(genkit: Genkit, tmp_path: Path) -> None:
    file = tmp_path / "stages.py"
    file.write_text(STAGES)
    outcome = genkit("train", file, "--dataset", "mnist5k", "--epochs", 1, "--out", tmp_path / "runs")
    assert outcome.code == 2
    assert "none is left for the model's phase 'two'; give more --epochs" in outcome.err
    assert not (tmp_path / "runs").exists()


def test_a_step_that_cannot_fit_into_memory_is_refused(
    genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what some images take, so that codes an image count, too; and one that does fit is trained."""
    command = ["train", "vae", "--dataset", "mnist5k", "--hidden", "16", "--epochs", "1", "--out", tmp_path / "runs"]
    monkeypatch.setattr(rehearsal, "memory_of", lambda _: 10**9)
    refused = genkit(*command, "--objective", "iwae", "--k", "200", "--batch-size", "65536")
    assert refused.code == 2
    assert "a step on 4,000 images needs about" in refused.err
    assert "there are 1 GB; give a smaller --batch-size" in refused.err
    assert not (tmp_path / "runs").exists()
    assert genkit(*command, "--objective", "iwae", "--k", "2", "--batch-size", "65536").code == 0


def test_what_is_made_for_images_is_counted() -> None:
    with rehearsal.Counted() as counted:
        made = torch.ones(3, 100)
        made.view(100, 3).add_(1)
        torch.relu(made)
    assert counted.bytes == 2 * 1200, "neither the view nor what is done in place"
