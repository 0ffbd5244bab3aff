"""The judge of images without labels: it tells good from bad, is the same every time, and not used when damaged."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.data.sets import scene_painter
from genkit.errors import DataError, GenkitError
from genkit.evaluate import self_supervised
from genkit.evaluate.distances import kernel_distance
from genkit.evaluate.figure import LeftOut
from genkit.evaluate.self_supervised import SelfSupervised
from genkit.latent.images import to_float

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENKIT_DATA", str(tmp_path / "data"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_supervised, "STEPS", 2)


@pytest.fixture
def options(tmp_path: Path) -> DataOptions:
    """100 scenes at 16×16 without their classes."""
    np.save(tmp_path / "bare.npy", scene_painter.draw(100, 16)[0])
    return DataOptions(dataset=str(tmp_path / "bare.npy"))


def judged(options: DataOptions) -> SelfSupervised:
    found = self_supervised.of(options, CPU)
    assert isinstance(found, SelfSupervised)
    return found


def kept() -> list[Path]:
    return sorted(Path(os.environ["GENKIT_DATA"], "judges").glob("[!.]*"))


def blurred(images: Tensor, width: int) -> Tensor:
    kernel = torch.full((3, 1, width, width), 1 / width**2)
    return F.conv2d(F.pad(images, (width // 2,) * 4, mode="reflect"), kernel, groups=3)


def test_worse_images_are_farther_from_real_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of scenes without labels, by a thirtieth of the training: each kind of fault alone, and more of it is farther."""
    monkeypatch.setattr(self_supervised, "STEPS", 40)
    monkeypatch.setattr(self_supervised, "BATCH", 32)
    drawn = scene_painter.draw(1400, 16)[0]
    np.save(tmp_path / "scenes.npy", drawn[:600])
    judge = judged(DataOptions(dataset=str(tmp_path / "scenes.npy")))
    real, other = to_float(torch.from_numpy(drawn[600:])).split(400)
    noise = torch.randn(other.shape, generator=torch.Generator().manual_seed(0))
    mixed = other.roll(1, 0)
    seen = judge.features(real)

    def distance(images: Tensor) -> float:
        return kernel_distance(judge.features(images), seen).value

    floor = kernel_distance(judge.features(other), seen)
    assert floor.error is not None
    assert abs(floor.value) < 4 * floor.error
    for much, little in (
        (blurred(other, 5), blurred(other, 3)),
        ((other + 0.2 * noise).clamp(0, 1), (other + 0.1 * noise).clamp(0, 1)),
        (other.lerp(mixed, 0.5), other.lerp(mixed, 0.25)),
        (other[:8].repeat(50, 1, 1, 1), other[:40].repeat(10, 1, 1, 1)),
    ):
        assert distance(much) > distance(little) > floor.value + 2 * floor.error
    worst = distance(other.mean(0, keepdim=True).expand_as(other))
    assert worst > distance(blurred(other, 5))
    assert distance(torch.rand(other.shape)) > distance(blurred(other, 5))


@pytest.mark.usefixtures("quick")
def test_trained_once_and_the_same_every_time(options: DataOptions, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "genkit"):
        torch.manual_seed(3)
        first = judged(options)
        drawn = torch.rand(1)
        torch.manual_seed(3)
        again = judged(options)
        assert torch.equal(drawn, torch.rand(1)), "the caller's random numbers are as if nothing had been trained"
    assert caplog.text.count("training the judge") == 1
    images = torch.rand(5, 3, 16, 16)
    assert first.digest == again.digest
    assert torch.equal(first.features(images), again.features(images))
    (folder,) = kept()
    shutil.rmtree(folder)
    torch.manual_seed(99)
    assert judged(options).digest == first.digest
    assert first.name == f"self-supervised net of bare.npy {first.digest[:8]} (SimCLR, recipe 1: 80 images, 2 steps)"
    assert not first.net.training
    assert not any(each.requires_grad for each in first.net.parameters())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("file", [self_supervised.WEIGHTS, self_supervised.ABOUT])
def test_a_flipped_byte_is_seen_and_the_judge_trained_anew(
    options: DataOptions, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    first = judged(options)
    (folder,) = kept()
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 3] ^= 1
    (folder / file).write_bytes(content)
    with caplog.at_level(logging.INFO, "genkit"):
        assert judged(options).digest == first.digest
    (said,) = {each.getMessage() for each in caplog.records if each.levelno == logging.WARNING}
    assert said.startswith(f"{folder} is damaged (")
    assert said.endswith("); it isn't used")
    assert file != self_supervised.WEIGHTS or "model.safetensors has another SHA-256" in said
    assert caplog.text.count("training the judge") == 1
    assert len(list(folder.parent.glob(".*part"))) == 0


@pytest.mark.usefixtures("quick")
def test_other_images_or_another_recipe_have_another(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(options)
    judged(options.model_copy(update={"image_size": 12}))
    assert len(kept()) == 2
    monkeypatch.setattr(self_supervised, "RECIPE_VERSION", 0)
    judged(options)
    assert len(kept()) == 3


@pytest.mark.usefixtures("quick")
def test_one_of_another_recipe_under_its_name_is_not_used(
    options: DataOptions, caplog: pytest.LogCaptureFixture
) -> None:
    first = judged(options)
    (folder,) = kept()
    about = folder / self_supervised.ABOUT
    about.write_text(about.read_text().replace('"steps": 2', '"steps": 3'))
    assert judged(options).digest == first.digest
    assert set(caplog.messages) == {f"{folder} is damaged (it is of another recipe); it isn't used"}


@pytest.mark.usefixtures("quick")
def test_one_whose_loss_is_not_finite_is_not_kept(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_supervised, "LEARNING_RATE", math.inf)
    with pytest.raises(GenkitError) as caught:
        self_supervised.of(options, CPU)
    assert str(caught.value) == f"the judge of {options.dataset} can't be trained: its loss isn't finite"
    assert caught.value.exit_code == 1
    assert kept() == []


def test_too_few_images_have_none(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", scene_painter.draw(8, 16)[0])
    found = self_supervised.of(DataOptions(dataset=str(tmp_path / "few.npy")), CPU)
    assert isinstance(found, LeftOut)
    few = f"{tmp_path}/few.npy has 6 training images, and no classes; a judge takes 8 to learn from"
    assert found == LeftOut("judge", few)


def test_a_folder_that_takes_no_judge_is_one_line(options: DataOptions, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "judges").write_text("mine")
    with pytest.raises(DataError, match=r"judges: can't be written \(.*\); set GENKIT_DATA"):
        self_supervised.of(options, CPU)


@pytest.mark.usefixtures("quick")
def test_so_is_a_place_that_something_else_has(options: DataOptions) -> None:
    judged(options)
    (folder,) = kept()
    shutil.rmtree(folder)
    folder.write_text("mine")
    with pytest.raises(DataError, match=rf"^{re.escape(str(folder))}: can't be written \(.*\); set GENKIT_DATA"):
        self_supervised.of(options, CPU)
    assert folder.read_text() == "mine"


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 48), (3, 5, 200), (3, 128, 128)])
def test_features_of_any_size(shape: tuple[int, int, int]) -> None:
    net = self_supervised.Net(ImageShape(*shape))
    images = self_supervised.view(torch.rand(6, *shape))
    assert images.shape == (6, *shape)
    net.projected(images)  # so that normalisation knows something
    features = net.eval().features(images)
    assert features.shape == (6, self_supervised.FEATURES)
    torch.testing.assert_close(features.square().sum(1), torch.full((6,), float(self_supervised.FEATURES)))


def test_the_contrast_is_the_cross_entropy_of_the_other_view() -> None:
    """Of N images whose views agree and are at right angles to all others: ln(1 + (2N − 2) e^(−1/τ))."""
    directions = torch.eye(5)
    found = float(self_supervised.contrast(torch.cat([3 * directions, directions]), temperature=0.5))
    assert found == pytest.approx(math.log(1 + 8 * math.exp(-2)), abs=1e-6)
    # Where the other views lie the wrong way round, it is large.
    assert float(self_supervised.contrast(torch.cat([directions, directions.roll(1, 0)]), 0.5)) > 2


def test_a_view_keeps_pixels_and_mirrors_at_the_border(monkeypatch: pytest.MonkeyPatch) -> None:
    place = torch.arange(8.0).expand(400, 1, 8, 8) / 8
    moved = self_supervised.moved(place)
    assert set(moved.unique().tolist()) == {each / 8 for each in range(8)}, "no pixel is a mean of others"
    assert (moved == moved[:, :, :1]).all(), "rows are moved as wholes"
    steps = (moved.diff(dim=3) * 8).abs().unique().tolist()
    assert set(steps) <= {1.0}, "without a gap: mirrored, as 2 1 0 1 2"
    turned = (moved[:, 0, 0, 3] > moved[:, 0, 0, 4]).float().mean()
    assert 0.4 < turned < 0.6
