from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
import torch
from conftest import Genkit

from genkit.contract import Facts, ImageShape, Resolved
from genkit.data import DataOptions
from genkit.data.dataset import Dataset, Split
from genkit.errors import GenkitError, ModelError
from genkit.keep.config import Config, RunOptions
from genkit.models.vae import VAE
from genkit.run import preparation
from genkit.run.preparation import facts_of, fitted_to, require_room_for_weights


def prepared(shape: ImageShape, **options: object) -> tuple[Config, Dataset]:
    """A VAE on 12 images of a shape; they take no memory, and neither does it."""
    storage = torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(12, *shape)
    split = Split(storage, torch.arange(12))
    dataset = Dataset("photos", split, split, split)
    return Config("vae", VAE.Options(**options), DataOptions(dataset="photos"), RunOptions(), {}), dataset


def test_a_model_that_large_images_make_too_large_for_memory_is_refused_with_what_makes_it_smaller() -> None:
    with pytest.raises(GenkitError) as caught:
        require_room_for_weights(*prepared(ImageShape(3, 40_000, 50_000)), torch.device("cpu"))
    said = str(caught.value)
    assert said.startswith("vae has ")
    assert " weights on images of 3×40000×50000, and 12 to be trained on: " in said
    assert " GB of memory, and " in said
    assert said.endswith("; give --image-size 64, say, which leaves 12,874,280 of them, or --net conv")


def test_a_large_model_of_large_images_is_said(caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(preparation, "free_memory", lambda: 1 << 60)
    with caplog.at_level(logging.WARNING, "genkit"):
        require_room_for_weights(*prepared(ImageShape(3, 300, 400)), torch.device("cpu"))
        (said,) = caplog.messages
        assert "give --image-size 64, say, which leaves" in said
        caplog.clear()
        require_room_for_weights(*prepared(ImageShape(3, 64, 64)), torch.device("cpu"))
        require_room_for_weights(*prepared(ImageShape(1, 200, 200), net="conv"), torch.device("cpu"))
        assert caplog.messages == []


def test_what_a_gpu_holds_is_for_it_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "free_memory", lambda: 1 << 20)
    require_room_for_weights(*prepared(ImageShape(3, 300, 400)), torch.device("cuda"))


def test_what_nobody_has_given_is_as_the_images_suggest_and_says_why() -> None:
    config, dataset = prepared(ImageShape(1, 8, 8), lr=0.5)
    fitted = fitted_to(dataset, config, by_images=True)
    assert (fitted.options.batch_size, fitted.options.lr) == (16, 0.5)
    assert fitted.options.epochs == 5000  # one step each
    assert {name: fitted.sources[name] for name in ("batch_size", "epochs", "lr_warmup")} == dict.fromkeys(
        ["batch_size", "epochs", "lr_warmup"], "data"
    )
    assert fitted.reasons["batch_size"] == "12 training images"
    assert fitted.as_json()["reasons"] == fitted.reasons


def test_what_is_given_stays_and_so_does_all_of_a_recipe() -> None:
    config, dataset = prepared(ImageShape(1, 8, 8), epochs=3, batch_size=12, shortcut="none")
    fitted = fitted_to(dataset, config, by_images=True)
    assert (fitted.options.epochs, fitted.options.batch_size, set(fitted.reasons)) == (3, 12, {"prior"})
    config, dataset = prepared(ImageShape(1, 8, 8))
    fitted = fitted_to(dataset, config)
    assert (fitted.options.epochs, fitted.options.batch_size, dict(fitted.reasons)) == (20, 128, {})


@pytest.mark.parametrize(
    ("suggested", "fault"),
    [
        ({"lr": -1}, "lr: must be above 0 (got -1)"),
        (
            {"objective": "iwae", "beta": 2.0},
            "--objective iwae has no KL term: leave --beta at 1 and --kl-warmup at 0",
        ),
    ],
)
def test_a_suggestion_that_the_options_refuse_is_the_models_fault(
    genkit: Genkit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suggested: dict[str, object], fault: str
) -> None:
    found = {name: Resolved(value, "by mistake") for name, value in suggested.items()}
    monkeypatch.setattr(VAE, "defaults_for", classmethod(lambda *_: found))
    said = f"models/vae.py: its defaults_for suggests what its Options refuse: {fault}"
    config, dataset = prepared(ImageShape(1, 8, 8))
    with pytest.raises(ModelError, match=f"^{re.escape(said)}$"):
        fitted_to(dataset, config, by_images=True)
    outcome = genkit("train", "vae", "--dataset", "mnist5k", "--hidden", 8, "--steps", 1, "--out", tmp_path)
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"genkit: {said}\n")
    assert not list(tmp_path.iterdir())


def test_facts_say_how_many_pixels_are_black_or_white() -> None:
    levels = torch.tensor([0, 7, 8, 128, 247, 248, 255, 100], dtype=torch.uint8)
    split = Split(levels.reshape(1, 1, 1, 8).expand(3, 1, 4, 8), torch.arange(3))
    facts = facts_of(Dataset("photos", split, split, split))
    assert facts == Facts(3, ImageShape(1, 4, 8), extremes=0.5)
