from __future__ import annotations

import logging

import pytest
import torch

from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.data.dataset import Dataset, Split
from genkit.errors import GenkitError
from genkit.keep.config import Config, RunOptions
from genkit.models.vae import VAE
from genkit.run import preparation
from genkit.run.preparation import require_memory


def prepared(shape: ImageShape, **options: object) -> tuple[Config, Dataset]:
    """A VAE on 12 images of a shape; they take no memory, and neither does it."""
    storage = torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(12, *shape)
    split = Split(storage, torch.arange(12))
    dataset = Dataset("photos", split, split, split)
    return Config("vae", VAE.Options(**options), DataOptions(dataset="photos"), RunOptions(), {}), dataset


def test_a_model_that_large_images_make_too_large_for_memory_is_refused_with_what_makes_it_smaller() -> None:
    with pytest.raises(GenkitError) as caught:
        require_memory(*prepared(ImageShape(3, 40_000, 50_000)), torch.device("cpu"))
    said = str(caught.value)
    assert said.startswith("vae has ")
    assert " weights on images of 3×40000×50000, and 12 to be trained on: " in said
    assert " GB of memory, and " in said
    assert said.endswith("; give --image-size 64, say, which leaves 12,874,280 of them, or --net conv")


def test_a_large_model_of_large_images_is_said(caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(preparation, "free_memory", lambda: 1 << 60)
    with caplog.at_level(logging.WARNING, "genkit"):
        require_memory(*prepared(ImageShape(3, 300, 400)), torch.device("cpu"))
        (said,) = caplog.messages
        assert "give --image-size 64, say, which leaves" in said
        caplog.clear()
        require_memory(*prepared(ImageShape(3, 64, 64)), torch.device("cpu"))
        require_memory(*prepared(ImageShape(1, 200, 200), net="conv"), torch.device("cpu"))
        assert caplog.messages == []


def test_what_a_gpu_holds_is_for_it_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "free_memory", lambda: 1 << 20)
    require_memory(*prepared(ImageShape(3, 300, 400)), torch.device("cuda"))
