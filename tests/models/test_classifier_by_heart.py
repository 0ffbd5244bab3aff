"""The classifier on random labels, with the nets of Zhang et al.; and begun with another classifier's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from conftest import Genkit

import genkit.testing
from genkit import data
from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.data.dataset import Dataset
from genkit.errors import UsageError
from genkit.evaluate.figure import Figure, LeftOut
from genkit.keep import checkpoint, config
from genkit.keep.rundir import RunDirectory
from genkit.models.classifier import Classifier
from genkit.reproduce import measures
from genkit.reproduce.bench import TrainedRun
from genkit.run import trainer
from genkit.run.validation import validate

CPU = torch.device("cpu")
SMALLEST = ImageShape(1, 8, 8)


class TestPerceptron(genkit.testing.Contract):
    model = "classifier"
    options: ClassVar = {"net": "mlp", "hidden": (16, 8), "optimizer_kind": "sgd"}
    shapes = (ImageShape(3, 28, 28), ImageShape(1, 20, 33))
    image = SMALLEST


class TestSmallAlexNet(genkit.testing.Contract):
    model = "classifier"
    options: ClassVar = {"net": "alexnet-small"}
    shapes = (ImageShape(3, 8, 8), ImageShape(1, 20, 33))
    image = SMALLEST


class TestSmallInception(genkit.testing.Contract):
    model = "classifier"
    options: ClassVar = {"net": "inception-small", "optimizer_kind": "sgd"}
    shapes = (ImageShape(3, 8, 8), ImageShape(1, 20, 13))
    image = SMALLEST


def test_sgd_has_a_learning_rate_and_a_decay_of_its_own() -> None:
    """Which nobody has to give; what is given is taken."""
    plain = Classifier.Options(optimizer_kind="sgd")
    assert plain.optimizer() == {"kind": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0}
    given = Classifier.Options(optimizer_kind="sgd", lr=0.1, weight_decay=5e-4)
    assert given.optimizer() == {"kind": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    assert Classifier.Options().optimizer() == {"lr": 3e-3, "betas": (0.9, 0.999), "weight_decay": 0.05}
    assert Classifier.Options.model_validate(plain.model_dump()) == plain


# -- by heart ----------------------------------------------------------------------------------------------------------


def settings(out: Path, images: DataOptions, run: dict[str, Any] | None = None, **options: Any) -> config.Config:
    chosen = config.RunOptions(out=str(out), device="cpu", **(run or {}))
    made = config.Config("classifier", Classifier.Options(**options), images, chosen, {})
    return made._replace(sources=dict.fromkeys(made.values(), "default"))


def few(**options: Any) -> DataOptions:
    return DataOptions(dataset="mnist5k", **{"labels_per_class": 20, **options})


BY_HEART = {"net": "mlp", "hidden": (256,), "optimizer_kind": "sgd", "batch_size": 50, "epochs": 60}


def test_random_labels_are_learned_by_heart_and_tell_nothing_of_others(tmp_path: Path) -> None:
    """All of 200, in evaluation mode; of the test images, which have their own labels, as many as by chance."""
    result = trainer.start(settings(tmp_path, few(labels="random"), {"picture_every": 60}, **BY_HEART))
    model = checkpoint.read(result.checkpoint).model
    images = data.load(few(labels="random"))
    with torch.no_grad():
        told = model(images.train.images().float() / 255).argmax(1)
    assert torch.equal(told, images.train.labels)
    # Five standard deviations of a share of 500 images.
    assert abs(result.metrics["test/error"] - 0.9) < 5 * (0.09 / 500) ** 0.5
    assert "test/train_error" not in result.metrics
    history = measures.validations(result.run)
    assert history[0]["train_error"] > 0.5
    assert history[-1]["train_error"] == 0
    assert checkpoint.read(result.checkpoint).description.monitor == "train_error"
    assert checkpoint.read(result.checkpoint).description.metrics["val/train_error"] == 0
    run = TrainedRun("net", result.run, images, CPU)
    found = {each.name: each.value for each in measures.fit(run, share=0.9) if isinstance(each, Figure)}
    passes = 1 + next(epoch for epoch, values in enumerate(history) if values["train_error"] <= 0.1)
    assert found == {"train/error": 0, "passes_to_fit": passes}
    assert 3 < passes < 60
    written = json.loads((result.run / "config.json").read_text())
    assert written["data"]["labels"] == "random"
    assert "training labels are wrong on purpose" in (result.run / "README.md").read_text()


def test_the_same_labels_after_resuming(tmp_path: Path, genkit: Genkit) -> None:
    """And the same crops: to the bit."""
    images = few(labels="corrupt:0.5", crop=24)
    options = {**BY_HEART, "hidden": (8,), "schedule": "constant"}
    whole = trainer.start(settings(tmp_path / "whole", images, **{**options, "epochs": 3}))
    begun = trainer.start(settings(tmp_path / "begun", images, **{**options, "epochs": 1}))
    resumed = trainer.resume(RunDirectory(begun.run), {"epochs": 3})
    assert whole.steps == resumed.steps == 12
    one, other = (checkpoint.read(each.run / "checkpoints" / "000012").model for each in (whole, resumed))
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    early = list(measures.fit(TrainedRun("net", begun.run, data.load(images), CPU)))
    assert [each.name for each in early if isinstance(each, LeftOut)] == ["passes_to_fit"]
    refused = genkit("train", "--resume", begun.run, "--labels", "random")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--labels random (the run has corrupt:0.5)" in refused.err


def test_what_it_is_monitored_by(digits: Dataset) -> None:
    """The training error wherever held-out images can't tell; not where all of them are moved alike."""
    for options, monitor in (
        ({}, "error"),
        ({"pixels": "shuffled"}, "error"),
        ({"pixels": "permuted"}, "train_error"),
        ({"pixels": "gaussian"}, "train_error"),
        ({"labels": "random"}, "train_error"),
        ({"labels": "corrupt:0"}, "train_error"),
    ):
        images = data.load(few(**options))
        made = Classifier(images.shape, Classifier.options_for(Classifier.Options(net="mlp", hidden=(64,)), images))
        assert made.monitor == monitor, options
    measured = validate(made, images.val, CPU, train=images.train)
    with torch.no_grad():
        wrong = (made(images.train.images().float() / 255).argmax(1) != images.train.labels).double().mean()
    assert measured["train_error"] == pytest.approx(float(wrong))
    assert measured["train_error"] != measured["error"], "of other images"
    assert "train_error" not in validate(made, images.val, CPU)


# -- begun with another classifier -------------------------------------------------------------------------------------


def test_a_classifier_of_other_classes_begins_with_the_body_alone(genkit: Genkit, tmp_path: Path) -> None:
    """As many classes, and others; the same classes have the last layer, too; a body of another shape is refused."""
    common = ["--out", tmp_path, "--device", "cpu", "--epochs", 1, "--labels-per-class", 10, "--json"]
    still = ["--lr", "1e-12", "--weight-decay", 0, "--seed", 3]
    first = genkit("train", "classifier", "--dataset", "mnist5k", "--only-classes", "0-4", "--width", 4, *common).json

    def begun(*flags: object) -> tuple[Classifier, str]:
        outcome = genkit("train", "classifier", "--init-from", first["run"], *flags, *common, *still)
        assert outcome.code == 0, outcome.err
        opened = checkpoint.read(Path(outcome.json["checkpoint"])).model
        assert isinstance(opened, Classifier)
        return opened, outcome.err.partition("weights  ")[2].partition("\n")[0]

    source = checkpoint.read(Path(first["checkpoint"])).model
    assert isinstance(source, Classifier)
    theirs = dict(source.named_parameters())
    (others, said), (more, _), (same, said_of_same) = begun("--classes", "5-9"), begun("--classes", "3-9"), begun()
    for model in (others, more, same):
        for name, weight in model.named_parameters():
            if name.startswith("body."):
                torch.testing.assert_close(weight, theirs[name], atol=1e-6, rtol=0)
    assert not torch.allclose(others.head.weight, source.head.weight, atol=0.01)
    assert more.head.out_features == 7
    torch.testing.assert_close(same.head.weight, source.head.weight, atol=1e-6, rtol=0)
    assert said.endswith(", but for head.weight, head.bias, which are random")
    assert "random" not in said_of_same
    scratch, _ = begun("--classes", "5-9", "--from-scratch")
    assert not torch.allclose(dict(scratch.named_parameters())["body.layers.0.weight"], theirs["body.layers.0.weight"])
    wider = genkit("train", "classifier", "--init-from", first["run"], "--classes", "5-9", "--width", 8, *common)
    assert (wider.code, wider.err.count("\n")) == (2, 1)
    assert "don't fit --width 8 (there 4)" in wider.err


def test_a_net_of_another_kind_is_refused(tmp_path: Path) -> None:
    made = settings(tmp_path, few(), net="mlp", hidden=(8,), epochs=1)
    source = trainer.start(made)
    other = settings(tmp_path, few(), {"init_from": str(source.checkpoint)}, net="conv", width=4, epochs=1)
    with pytest.raises(UsageError, match="--net conv"):
        trainer.start(other)
