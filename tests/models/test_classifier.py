"""The classifier: closed forms, what it takes from another run's encoder, and what it says of data without labels."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GENERATIVE, Genkit, small_model

from genkit import data, registry
from genkit.contract import Batch, ImageShape
from genkit.data import few
from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError, GenkitError, UsageError
from genkit.keep import checkpoint, config
from genkit.models.classifier import Classifier
from genkit.run import preparation
from genkit.run.validation import validate
from genkit.step.training import TrainingState, train

IMAGE = ImageShape(1, 12, 12)
HALF = torch.tensor(0.5)


def silent(**options: object) -> Classifier:
    """A classifier whose last layer is zero: all its answers are as likely."""
    model = Classifier(IMAGE, Classifier.Options(width=4, **options)).eval()
    for parameter in model.head.parameters():
        torch.nn.init.zeros_(parameter)
    return model


def test_large_images_are_seen_as_the_means_of_squares() -> None:
    """24×17 pixels at 12: each 2×2 square is one, the last column's halves too."""
    large, small = ImageShape(3, 24, 17), ImageShape(3, 12, 9)
    images = torch.rand(5, *large)
    model = Classifier(large, Classifier.Options(width=4, classes=3, seen_at=12)).eval()
    plain = Classifier(small, Classifier.Options(width=4, classes=3)).eval()
    plain.load_state_dict(model.state_dict())
    means = images[:, :, :, :16].unflatten(3, (8, 2)).unflatten(2, (12, 2)).mean((3, 5))
    last = images[:, :, :, 16:].unflatten(2, (12, 2)).mean(3)
    torch.testing.assert_close(model(images), plain(torch.cat([means, last], 3)))


def test_images_that_are_not_larger_are_seen_as_they_are() -> None:
    model = Classifier(IMAGE, Classifier.Options(width=4, classes=3, seen_at=12)).eval()
    plain = Classifier(IMAGE, Classifier.Options(width=4, classes=3)).eval()
    plain.load_state_dict(model.state_dict())
    images = torch.rand(5, *IMAGE)
    assert torch.equal(model(images), plain(images))


@pytest.mark.parametrize("classes", [2, 7, 10])
def test_an_undecided_classifier_loses_ln_c(classes: int) -> None:
    labels = torch.arange(14) % classes
    losses = silent(classes=classes).losses(Batch(torch.rand(14, *IMAGE), labels, HALF))
    assert losses["loss"].item() == pytest.approx(math.log(classes), rel=1e-6)
    assert losses["error"].item() == pytest.approx(float((labels != 0).float().mean())), "it names the first class"
    probabilities = silent(classes=classes).probabilities(torch.rand(3, *IMAGE))
    torch.testing.assert_close(probabilities, torch.full((3, classes), 1 / classes))


def test_an_undecided_judge_of_attributes_loses_ln_2_and_counts_each() -> None:
    """`b` is the third column, `a` the first; an undecided answer is "no"."""
    attributes = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0]], dtype=torch.bool)
    batch = Batch(torch.rand(4, *IMAGE), None, HALF, attributes)
    losses = silent(attributes={"a": 0, "b": 2}).losses(batch)
    assert losses["loss"].item() == pytest.approx(math.log(2), rel=1e-6)
    assert {name: value.item() for name, value in losses.items() if name != "loss"} == {
        "error": 0.5,
        "error_a": 0.75,
        "error_b": 0.25,
    }
    assert silent(attributes={"b": 2}).losses(batch).keys() == {"loss", "error"}


def labelled(classes: int = 2, **columns: object) -> Dataset:
    split = Split(torch.zeros(6, *IMAGE, dtype=torch.uint8), torch.arange(6), **columns)
    return Dataset("some", split, split, split, tuple("abc"[:classes]), ("male", "smile"))


def test_the_data_says_what_is_told() -> None:
    labels, attributes = torch.arange(6) % 2, torch.zeros(6, 2, dtype=torch.bool)
    both = labelled(2, labels=labels, attributes=attributes)

    def told(dataset: Dataset, **given: object) -> tuple[int, dict[str, int]]:
        options = Classifier.options_for(Classifier.Options(**given), dataset)
        return options.classes, options.attributes

    assert told(both) == (2, {})
    assert told(both, target="smile") == (0, {"smile": 1})
    assert told(both, target="attributes") == (0, {"male": 0, "smile": 1})
    assert told(labelled(0, attributes=attributes)) == (0, {"male": 0, "smile": 1})
    with pytest.raises(UsageError, match="no attribute 'beard'"):
        told(both, target="beard")
    with pytest.raises(UsageError, match=r"some has no attributes \(it has the classes a, b\)"):
        Classifier.options_for(Classifier.Options(target="male"), dataclasses.replace(both, attributes=()))
    with pytest.raises(DataError, match="all images are of the class a"):
        told(labelled(1, labels=labels))


@pytest.mark.parametrize(
    ("images", "batch", "epochs"), [(6, 128, 100), (6, 2, 34), (6 * 128, 128, 17), (10_000, 128, 4)]
)
def test_few_images_are_seen_more_often(images: int, batch: int, epochs: int) -> None:
    """As often as makes 100 steps, unless somebody says how often."""
    dataset = labelled(2, labels=torch.arange(6) % 2)
    dataset = dataclasses.replace(dataset, train=dataset.train.take(torch.arange(images) % 6))

    def filled(**given: object) -> int:
        return Classifier.options_for(Classifier.Options(batch_size=batch, **given), dataset).epochs

    assert filled() == epochs
    assert filled(epochs=4) == 4


def test_from_scratch_needs_an_architecture(genkit: Genkit, few_digits: Path, tmp_path: Path) -> None:
    command = ["train", "classifier", "--out", tmp_path, "--epochs", "1", "--width", "4", "--device", "cpu"]
    refused = genkit(*command, "--dataset", few_digits, "--from-scratch")
    assert refused.code == 2
    assert "--from-scratch says nothing without --init-from" in refused.err
    assert not list(tmp_path.iterdir())
    first = genkit(*command, "--dataset", few_digits, "--json").json
    again = genkit(*command, "--init-from", first["run"], "--from-scratch", "--lr", "1e-12", "--seed", 1, "--json")
    assert again.code == 0, again.err
    one, other = (checkpoint.read(Path(each["checkpoint"])).model for each in (first, again.json))
    assert not torch.allclose(one.head.weight, other.head.weight, atol=0.01), "of a classifier, too"
    third = genkit(*command, "--init-from", again.json["run"], "--lr", "1e-12", "--weight-decay", 0, "--json")
    torch.testing.assert_close(checkpoint.read(Path(third.json["checkpoint"])).model.head.weight, other.head.weight)


def test_it_learns_the_digits(digits: Dataset) -> None:
    """2 epochs over 1,000 of them: far better than chance, which is wrong 9 times in 10."""
    from genkit.data.batches import TrainingBatches

    cpu = torch.device("cpu")
    options = Classifier.options_for(Classifier.Options(width=8, epochs=3, batch_size=50), digits)
    batches = TrainingBatches(digits.train.take(digits.train.spread(1000)), 50, 0, cpu)
    state = TrainingState(Classifier(digits.shape, options), 60, 20)
    for epoch in range(3):
        list(train(state, batches.epoch(epoch)))
    assert validate(state.model, digits.test, cpu)["error"] < 0.3


@pytest.mark.parametrize("name", GENERATIVE)
def test_begins_with_another_models_encoder_to_the_bit(name: str) -> None:
    """Its features are the other's, its last layer and all else are as its seed has them."""
    image = ImageShape(3, 16, 16)
    source = small_model(name, image, latent_dim=5, width=4, hidden=(6,)).eval()
    taken = Classifier.options_from(source)
    assert taken is not None
    options = Classifier.Options(classes=4, **taken)
    torch.manual_seed(7)
    model = Classifier(image, options).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    weights = model.weights_from(source)
    model.load_state_dict({**before, **weights})

    images = torch.rand(4, *image)
    assert torch.equal(model.features(images), source.features(images))
    assert model.head.in_features == source.features(images).shape[1]
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed <= weights.keys()
    assert {key.partition(".")[0] for key in weights} == {"body"}
    theirs = source.state_dict()
    assert all(torch.equal(model.state_dict()[key], theirs[key.removeprefix("body.")]) for key in weights)
    assert not Classifier(image, options.model_copy(update={"from_scratch": True})).weights_from(source)

    model.train()
    model.losses(Batch(images, torch.arange(4), HALF))["loss"].backward()
    assert all(each.grad is not None for each in model.parameters()), "nothing of the other is kept for nothing"


@pytest.fixture(scope="module")
def few_digits(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 digits with their labels."""
    path = tmp_path_factory.mktemp("images") / "digits.npz"
    some = digits.train.take(digits.train.spread(300))
    assert some.labels is not None
    np.savez(path, images=some.images().numpy(), labels=some.labels.numpy())
    return path


def test_a_run_on_another_runs_encoder(genkit: Genkit, few_digits: Path, tmp_path: Path) -> None:
    common = ["--dataset", few_digits, "--batch-size", "60", "--epochs", "1", "--device", "cpu", "--out", tmp_path]
    vae = genkit("train", "vae", *common, "--hidden", "16", "--latent-dim", "3", "--json").json
    frozen = ["--init-from", vae["run"], "--lr", "1e-12", "--weight-decay", "0", "--json"]
    tuned = genkit("train", "classifier", *common, *frozen)
    assert tuned.code == 0, tuned.err
    assert "weights  from" in tuned.err
    source, opened = checkpoint.read(Path(vae["checkpoint"])), checkpoint.read(Path(tuned.json["checkpoint"]))
    images = torch.rand(5, 1, 28, 28)
    torch.testing.assert_close(opened.model.features(images), source.model.features(images), atol=1e-6, rtol=0)
    assert tuned.json["metrics"].keys() >= {"test/loss", "test/error"}
    settings = json.loads((Path(tuned.json["run"]) / "config.json").read_text())
    assert settings["options"]["classes"] == 10
    assert settings["options"]["body"]["model"] == "vae"
    assert (settings["sources"]["classes"], settings["sources"]["body"]) == ("data", "init-from")

    fresh = genkit("train", "classifier", *common, *frozen, "--from-scratch")
    assert "weights  random; only the architecture is from" in fresh.err
    other = checkpoint.read(Path(fresh.json["checkpoint"])).model
    assert {key: value.shape for key, value in other.state_dict().items()} == {
        key: value.shape for key, value in opened.model.state_dict().items()
    }
    assert not torch.allclose(other.features(images), source.model.features(images), atol=0.1)

    described = genkit("train", "classifier", *frozen[:2], "-n").out
    assert f"{few_digits}" in described, "the images of the other run, where none are named"
    assert "model vae, options (latent-dim 3, " in described
    assert "{" not in described + genkit("info", tuned.json["run"]).out
    again = genkit("train", "--resume", tuned.json["run"], "--epochs", "2", "--json")
    assert again.code == 0, again.err
    refused = genkit("sample", tuned.json["run"])
    assert refused.code == 2
    assert "is a classifier: it makes no images" in refused.err
    assert genkit("embed", tuned.json["run"], "--json").json["knn_accuracy"] > 0
    assert "classifier, " in genkit("info", tuned.json["run"]).out
    assert "genkit sample" not in (Path(tuned.json["run"]) / "README.md").read_text()


@pytest.mark.parametrize("scratch", [(), ("--from-scratch",)], ids=["weights", "scratch"])
def test_an_encoder_sees_more_in_larger_images(
    genkit: Genkit, few_digits: Path, tmp_path: Path, scratch: tuple[str, ...]
) -> None:
    """A DCGAN's convolutions are the same at 28 and at 32 pixels, and what they make of an image is larger."""
    common = ["--dataset", few_digits, "--batch-size", "60", "--epochs", "1", "--device", "cpu", "--out", tmp_path]
    gan = genkit("train", "dcgan", *common, "--width", "2", "--json").json
    told = genkit("train", "classifier", *common, "--init-from", gan["run"], "--image-size", "32", *scratch, "--json")
    assert told.code == 0, told.err
    model = checkpoint.read(Path(told.json["checkpoint"])).model
    assert model.features(torch.rand(1, 1, 32, 32)).shape[1] == model.options.body.features > 0
    # At 64 pixels it has a layer more, for which there are no weights.
    more = genkit("train", "classifier", *common, "--init-from", gan["run"], "--image-size", "64", *scratch, "--json")
    assert more.code == (0 if scratch else 2), more.err
    assert scratch or "don't fit images of 1×64×64 (there 1×28×28" in more.err


def test_data_without_labels_is_refused_before_anything_is_made(
    genkit: Genkit, digits: Dataset, tmp_path: Path
) -> None:
    np.save(tmp_path / "bare.npy", digits.train.images(slice(0, 60)).numpy())
    outcome = genkit("train", "classifier", "--dataset", tmp_path / "bare.npy", "--out", tmp_path / "runs")
    assert outcome.code == 1
    assert "bare.npy has no labels to learn" in outcome.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("per_class", "seed"), [(1, 0), (10, 0), (10, 1)])
def test_few_labels(digits: Dataset, per_class: int, seed: int) -> None:
    def draw(count: int, seed: int) -> Dataset:
        return data.load(data.DataOptions(dataset="mnist5k", labels_per_class=count, labels_seed=seed))

    drawn = draw(per_class, seed)
    assert drawn.train.labels is not None
    assert torch.bincount(drawn.train.labels).tolist() == [per_class] * 10
    assert torch.equal(drawn.train.rows, draw(per_class, seed).train.rows)
    assert not torch.equal(drawn.train.rows, draw(per_class, seed + 1).train.rows)
    assert torch.isin(drawn.train.rows, draw(per_class + 1, seed).train.rows).all(), (
        "the draw of more holds that of fewer"
    )
    for split, whole in ((drawn.val, digits.val), (drawn.test, digits.test)):
        assert torch.equal(split.rows, whole.rows)
        assert not torch.isin(drawn.train.rows, split.rows).any()
    assert torch.isin(drawn.train.rows, digits.train.rows).all()
    at = torch.searchsorted(digits.train.rows, drawn.train.rows)
    assert torch.equal(drawn.train.labels, digits.train.labels[at]), "each with its own label"


def test_too_few_labels_are_refused(genkit: Genkit, few_digits: Path, tmp_path: Path) -> None:
    command = ["train", "classifier", "--out", tmp_path / "runs", "--labels-per-class", "100", "--dataset"]
    outcome = genkit(*command, few_digits)
    assert outcome.code == 1
    assert "training images are of the class" in outcome.err
    assert "give --labels-per-class" in outcome.err
    with pytest.raises(DataError, match=r"no training images are of the class c, .* leave it out"):
        few.labelled(labelled(3, labels=torch.arange(6) % 2), 2, 0)
    with pytest.raises(DataError, match="has no classes"):
        few.labelled(labelled(0, attributes=torch.zeros(6, 2, dtype=torch.bool)), 2, 0)
    assert not (tmp_path / "runs").exists()


def test_the_classifier_is_no_sampler_but_a_model() -> None:
    assert "classifier" in registry.names()
    assert "classifier" not in GENERATIVE


@pytest.mark.parametrize(
    "body",
    [
        {"model": "classifier", "options": {}, "features": 2},
        {"model": "os", "options": {}, "features": 2},
        {"model": "ae", "options": {"hidden": [-1]}, "features": 2},
        {"model": "ae", "options": {"unknown": 1}, "features": 2},
        {"model": "ae", "options": {}, "features": 10**30},
    ],
    ids=str,
)
def test_a_body_that_somebody_made_up_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="body"):
        Classifier.Options(classes=2, body=body)


def test_names_that_could_not_be_read_again_are_refused(digits: Dataset) -> None:
    """A classifier's attributes stand in its config.json; those of a set that isn't told by them don't."""
    names = tuple(f"{'a' * 500} {number}" for number in range(2200))
    columns = torch.zeros(len(digits.train), 1, dtype=torch.bool).expand(-1, len(names))
    train = dataclasses.replace(digits.train, attributes=columns)
    dataset = dataclasses.replace(digits, train=train, attributes=names)

    def settings(target: str | None) -> config.Config:
        options = Classifier.options_for(Classifier.Options(target=target), dataset)
        resolved = config.Config("classifier", options, data.DataOptions(), config.RunOptions(), {})
        return resolved._replace(sources=dict.fromkeys(resolved.values(), "default"))

    preparation.require_short_names(dataset, settings(None))
    preparation.require_short_names(dataset, settings(names[0]))
    with pytest.raises(GenkitError, match="name one with --target"):
        preparation.require_short_names(dataset, settings("attributes"))
