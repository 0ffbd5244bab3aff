"""The judge: trained once, the same every time, and never trusted when a byte of it has changed."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from genkit import data
from genkit.data import DataOptions
from genkit.data.dataset import Dataset
from genkit.errors import DataError
from genkit.evaluate import judge
from genkit.evaluate.figure import LeftOut
from genkit.evaluate.judge import Judge
from genkit.keep import description
from genkit.latent.images import to_float

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A narrow net for three epochs, kept in a folder of the test's own."""
    monkeypatch.setattr(judge, "WIDTH", 4)
    monkeypatch.setattr(judge, "EPOCHS", (1, 3))
    monkeypatch.setenv("GENKIT_DATA", str(tmp_path / "data"))


@pytest.fixture
def options(digits: Dataset, tmp_path: Path) -> DataOptions:
    """600 digits at 14×14 with their classes."""
    some = digits.train.take(digits.train.spread(600))
    assert some.labels is not None
    images = some.images()[:, :, ::2, ::2].contiguous()
    np.savez(tmp_path / "small.npz", images=images.numpy(), labels=some.labels.numpy())
    return DataOptions(dataset=str(tmp_path / "small.npz"))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "genkit"):
        yield caplog


def kept() -> list[Path]:
    return sorted(Path(os.environ["GENKIT_DATA"], "judges").glob("[!.]*"))


def judged(options: DataOptions, target: str = "classes") -> Judge:
    found = judge.of(options, CPU, target)
    assert isinstance(found, Judge)
    return found


def test_trained_once_and_the_same_every_time(options: DataOptions, log: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(3)
    first = judged(options)
    drawn = torch.rand(1)
    (folder,) = kept()
    assert log.text.count("training the judge") == 1
    again = judged(options)
    assert log.text.count("training the judge") == 1
    few = judged(options.model_copy(update={"labels_per_class": 2}))
    assert log.text.count("training the judge") == 1, "how few labels a run had is nothing to its judge"
    assert first.digest == again.digest == few.digest
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1)), "the caller's random numbers are as if nothing had been trained"

    import shutil

    shutil.rmtree(folder)
    torch.manual_seed(99)
    assert judged(options).digest == first.digest
    assert list(folder.parent.glob(".*part")) == [], "the run that trained it is gone"


def test_what_it_says(options: DataOptions) -> None:
    found = judged(options)
    dataset = data.load(options)
    images = to_float(dataset.test.images())
    probabilities = found.probabilities(images)
    assert probabilities.shape == (len(images), 10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(images)))
    assert torch.equal(found.labels(images), probabilities.argmax(1))
    features = found.features(images)
    assert features.ndim == 2
    assert features.shape[1] <= 256
    torch.testing.assert_close(found.model.head(features).softmax(1), probabilities)
    accuracy = float((found.labels(images) == dataset.test.labels).float().mean())
    assert found.accuracy == pytest.approx(accuracy, abs=1e-6), "its test accuracy is what it says"
    assert found.classes == dataset.classes
    assert re.fullmatch(r"classifier of small.npz [0-9a-f]{8} \(test accuracy \d+\.\d %\)", found.name)


def test_other_images_have_another_judge(options: DataOptions) -> None:
    small = judged(options)
    resized = judged(options.model_copy(update={"image_size": 10}))
    assert len(kept()) == 2
    assert small.model.image != resized.model.image


@pytest.mark.parametrize("file", [description.MODEL, description.DESCRIPTION])
def test_a_flipped_byte_is_seen_and_the_judge_trained_anew(
    options: DataOptions, log: pytest.LogCaptureFixture, file: str
) -> None:
    first = judged(options)
    (folder,) = kept()
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    second = judged(options)
    assert "is damaged" in log.text
    assert log.text.count("training the judge") == 2
    assert second.digest == first.digest
    assert judged(options).digest == first.digest
    assert log.text.count("training the judge") == 2


def test_an_interrupted_training_advises_nothing_that_cannot_be_done(
    options: DataOptions, log: pytest.LogCaptureFixture, interruptible: None
) -> None:
    class AtTheFirstEpoch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("epoch 1/"):
                os.kill(os.getpid(), signal.SIGINT)

    handler = AtTheFirstEpoch()
    logging.getLogger("genkit").addHandler(handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            judge.of(options, CPU)
    finally:
        logging.getLogger("genkit").removeHandler(handler)
    assert "stopped  after" in log.text
    assert "--resume" not in log.text
    assert ".part" not in log.text, "its folder is nothing to look for"
    assert kept() == []


def test_a_folder_that_takes_no_judge_is_one_line(options: DataOptions, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "judges").write_text("mine")
    with pytest.raises(DataError, match=r"judges: can't be written \(.*\); set GENKIT_DATA"):
        judge.of(options, CPU)


@pytest.mark.parametrize(
    ("images", "epochs", "batch_size", "patience"),
    [
        (54_000, 4, 128, None),
        (16_000, 12, 128, None),
        (4_000, 12, 128, None),
        (500_000, 3, 128, None),
        (1_999, 12, 32, 6),
        (80, 12, 32, 6),
    ],
)
def test_its_recipe_is_a_number_of_images(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, images: int, epochs: int, batch_size: int, patience: int | None
) -> None:
    """Those of MNIST and of the faces stay as they are, or all would be judged by others."""
    monkeypatch.undo()
    many = dataclasses.replace(digits, train=digits.train.take(torch.zeros(images, dtype=torch.int64)))
    found = judge.recipe(DataOptions(), many, "classes")
    assert (found.options.epochs, found.options.batch_size) == (epochs, batch_size)
    assert found.run.patience == patience


def test_it_isnt_trained_on_where_it_gains_nothing(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """Dark images and bright ones: all of val are right after an epoch or two, of twelve."""
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    images = rng.integers(0, 100, (300, 1, 12, 12)) + 150 * labels[:, None, None, None]
    np.savez(tmp_path / "bright.npz", images=images.astype(np.uint8), labels=labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "EPOCHS", (3, 12))
        found = judged(DataOptions(dataset=str(tmp_path / "bright.npz")))
    assert found.accuracy == 1
    assert "ended    early: no better error than at epoch " in log.text
    assert "a larger one goes on" not in log.text, "its run is gone"
    assert "epoch 11/12" not in log.text


def test_of_another_recipe_there_is_another_judge(options: DataOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = data.load(options)
    settings = judge.recipe(options, dataset, "classes")
    assert judge.RECIPE_VERSION == 2, "1 saw images of any size as they are, and went on to the last epoch"
    name = judge.folder_name(settings, dataset)
    monkeypatch.setattr(judge, "RECIPE_VERSION", 1)
    assert judge.folder_name(settings, dataset) != name


def test_data_without_labels_has_none_for_a_reason(digits: Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "bare.npy", digits.train.images(slice(0, 60)).numpy())
    bare = DataOptions(dataset=str(tmp_path / "bare.npy"))
    for target in ("classes", "attributes"):
        found = judge.of(bare, CPU, target)
        assert isinstance(found, LeftOut)
        assert f"has no {target}" in found.reason
    assert not (tmp_path / "data" / "judges").exists()
