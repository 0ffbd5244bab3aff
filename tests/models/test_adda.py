"""Domain adaptation: what moves and what doesn't, losses in closed form; and no label of the second set is seen."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SOURCE, Genkit, random_batch, small_model
from safetensors.torch import load_file
from torch import Tensor

from genkit.contract import ImageShape
from genkit.errors import UsageError
from genkit.keep.rundir import RunDirectory
from genkit.models.adda import Adda, domain_loss
from genkit.models.classifier import Classifier
from genkit.models.vae import VAE
from genkit.step.training import TrainingState, train
from genkit.testing import contract, random_images

IMAGE = ImageShape(1, 12, 12)
FEW = (ImageShape(1, 28, 28), ImageShape(3, 12, 20))


class TestDann(contract("adda", method="dann", source=SOURCE, discriminator=(8,))):  # type: ignore[misc]
    """ADDA itself is held to the contract as all models are."""

    shapes = FEW


def small(**options: Any) -> Adda:
    model = small_model("adda", IMAGE, discriminator=(8,), **options)
    assert isinstance(model, Adda)
    return model


def begun(**options: Any) -> tuple[Adda, Classifier]:
    """A model with the weights of a classifier whose batch statistics aren't those of a new one."""
    classifier = Classifier(IMAGE, Classifier.Options(**SOURCE))
    list(train(TrainingState(classifier, 4, 4), [random_batch(IMAGE)] * 4))
    model = small(**options)
    model.load_state_dict({**model.state_dict(), **model.weights_from(classifier)})
    return model, classifier.eval()


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in module.state_dict().items()}


def test_it_begins_with_the_classifier_twice() -> None:
    model, classifier = begun()
    model.eval()
    images = torch.rand(5, *IMAGE)
    assert torch.equal(model(images), classifier(images))
    assert torch.equal(model.before()(images), classifier(images))
    assert torch.equal(model.probabilities(images), classifier.probabilities(images))
    assert torch.equal(model.features(images), model.first_features(images))
    shared = {id(each) for each in model.source.parameters()} & {id(each) for each in model.target.parameters()}
    assert not shared


@pytest.mark.parametrize("method", ["adda", "dann"])
def test_the_first_classifier_stays_to_the_bit(method: str) -> None:
    """Its batch statistics, too: it is in evaluation mode while all else is trained."""
    model, _ = begun(method=method, ema=0.5, weight_decay=0.1)
    before, head = weights(model.source), weights(model.target.head)
    state = TrainingState(model, 6, 6)
    for number, _ in enumerate(train(state, [random_batch(IMAGE) for _ in range(6)])):
        assert model.training
        assert not any(each.training for each in model.source.modules())
        if number == 2:
            model.eval()  # as a validation does
    assert state.averaged is not None
    for kept in (model.source, state.averaged.source):
        assert all(torch.equal(each, before[name]) for name, each in kept.state_dict().items())
    moved = [
        name for name, each in model.target.body.state_dict().items() if not torch.equal(each, before[f"body.{name}"])
    ]
    assert len(moved) == len(model.target.body.state_dict()), "all of the other encoder moves"
    same = all(torch.equal(each, head[name]) for name, each in model.target.head.state_dict().items())
    assert same == (method == "adda"), "the last layer is the classifier's own, but of DANN"


def fixed(model: Adda, first: float, second: float) -> Adda:
    """With a discriminator that says `first` of all that is bright, and `second` of all that is dark."""

    def judged(features: Tensor) -> Tensor:
        bright = features.mean(1) > 0.5
        return torch.where(bright, first, second) + 0 * features.sum(1)

    def shown(images: Tensor) -> Tensor:
        return images.flatten(1)[:, :1].expand(-1, model.target.head.in_features)

    model.judged = judged  # type: ignore[method-assign]
    model.source.features = model.target.features = shown  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize(("first", "second"), [(0.0, 0.0), (2.0, -1.0), (-0.5, 3.0)])
def test_losses_are_cross_entropies(first: float, second: float) -> None:
    """Of bright images in the first set and dark ones in the second, whose logits are known."""
    model = fixed(small(), first, second)
    batch = random_batch(IMAGE)._replace(images=torch.ones(8, *IMAGE), beside=torch.zeros(8, *IMAGE))
    encoder = model.encoder_losses(batch)
    assert encoder["loss"].item() == pytest.approx(math.log(1 + math.exp(-second)), rel=1e-6)
    found = model.discriminator_losses(batch.after(encoder))
    wanted = math.log(1 + math.exp(-first)) + math.log(1 + math.exp(second))
    assert found["loss"].item() == pytest.approx(wanted, rel=1e-6)
    assert found["accuracy"].item() == ((first > 0) + (second < 0)) / 2


def test_dann_takes_the_discriminators_loss_away_by_a_ramp() -> None:
    model = fixed(small(method="dann", epochs=10, strength=0.5), 2.0, -1.0)
    batch = random_batch(IMAGE)._replace(images=torch.ones(8, *IMAGE), beside=torch.zeros(8, *IMAGE))
    for part in model.target.head.parameters():
        torch.nn.init.zeros_(part)
    for epoch, share in ((0.0, 0.0), (3.0, 2 / (1 + math.exp(-3)) - 1), (math.inf, 2 / (1 + math.exp(-10)) - 1)):
        found = model.dann_losses(batch._replace(epoch=torch.tensor(epoch)))
        against = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))
        assert found["cross_entropy"].item() == pytest.approx(math.log(10), rel=1e-6)
        assert found["loss"].item() == pytest.approx(math.log(10) - 0.5 * share * against, rel=1e-5)


def test_a_reversed_gradient_is_the_papers() -> None:
    """What the encoder gets of −λ times the loss is −λ times what the discriminator's own pass would give it."""
    first, second = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    judge = torch.nn.Linear(3, 1)
    loss = domain_loss(judge(first)[:, 0], judge(second)[:, 0])
    own = torch.autograd.grad(loss, [first, second], retain_graph=True)
    reversed_ = torch.autograd.grad(-0.3 * loss, [first, second])
    for ours, theirs in zip(reversed_, own, strict=True):
        torch.testing.assert_close(ours, -0.3 * theirs)
    belief = torch.sigmoid(judge(second)[:, 0])
    torch.testing.assert_close(own[1], belief[:, None] * judge.weight / 4)


@pytest.mark.parametrize("method", ["adda", "dann"])
def test_no_label_of_the_second_set_is_seen_in_training(method: str) -> None:
    """Shuffled, or taken away, they leave every weight and all metrics of training as they are."""
    found = []
    for labels in (torch.arange(8), torch.randperm(8), None):
        torch.manual_seed(1)
        model, _ = begun(method=method)
        batches = [random_batch(IMAGE)._replace(beside_labels=labels) for _ in range(3)]
        metrics = list(train(TrainingState(model, 3, 3), batches))
        found.append((weights(model), metrics))
    for state, metrics in found[1:]:
        assert all(torch.equal(each, found[0][0][name]) for name, each in state.items())
        for ours, theirs in zip(metrics, found[0][1], strict=True):
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
            assert not any("error" in name for name in ours)


def test_in_evaluation_labels_are_counted_and_change_nothing_else() -> None:
    model, classifier = begun()
    model.eval()
    batch = random_batch(IMAGE)
    assert batch.beside is not None
    told = model(batch.beside).argmax(1)
    half = torch.where(torch.arange(8) < 4, told, (told + 1) % 10)
    found = model.encoder_losses(batch._replace(beside_labels=half))
    assert found["error"].item() == found["error_before"].item() == 0.5
    odds = classifier.probabilities(batch.beside).mean(0)
    assert found["classes_told"].item() == pytest.approx(math.exp(-(odds * odds.log()).sum().item()), rel=1e-5)
    without = model.encoder_losses(batch._replace(beside_labels=None))
    assert without.keys() == found.keys() - {"error", "error_before"}
    assert torch.equal(without["loss"], found["loss"])


GOOD = {"discriminator/accuracy": 0.7, "encoder/classes_told": 9.5, "encoder/error": 0.2, "encoder/error_before": 0.3}


@pytest.mark.parametrize(
    ("metrics", "fault", "says"),
    [
        ({"discriminator/accuracy": 0.999}, "saturated discriminator", "99.9% of the features"),
        ({"encoder/classes_told": 3.2}, "class collapse", "of 3.2 classes"),
        ({"encoder/error": 0.4}, "negative transfer", "40.0% of the second set's labelled images are told wrongly"),
        ({"encoder/error": 0.31}, None, ""),
    ],
)
def test_what_goes_wrong_is_named(metrics: dict[str, float], fault: str | None, says: str) -> None:
    model = small()
    assert model.watch([GOOD]) == {}
    unlabelled = {name: value for name, value in GOOD.items() if "error" not in name}
    assert model.watch([unlabelled]) == {}
    found = model.watch([GOOD, {**GOOD, **metrics}])
    assert list(found) == ([fault] if fault else [])
    assert all(says in each.shows and each.helps for each in found.values())


def test_a_classifier_is_needed_and_one_of_classes() -> None:
    with pytest.raises(UsageError, match="begins with a classifier of the first set: name its run with --init-from"):
        Adda.options_for(Adda.Options(), random_images(IMAGE, beside=True))
    with pytest.raises(
        UsageError, match=r"--init-from: this is a run of vae, and adda begins with one of classifier, on the first set"
    ):
        Adda.options_from(VAE(IMAGE, VAE.Options(hidden=(4,))))
    of_attributes = Classifier(IMAGE, Classifier.Options(width=4, attributes={"round": 0}))
    with pytest.raises(UsageError, match=r"--init-from: this classifier tells attributes"):
        Adda.options_from(of_attributes)


def test_sets_of_other_classes_are_refused() -> None:
    images = random_images(IMAGE, beside=True)
    assert images.beside is not None
    options = Adda.Options(source=SOURCE)
    assert Adda.options_for(options, images) == options
    others = dataclasses.replace(images, beside=dataclasses.replace(images.beside, classes=tuple("abcdefghij")))
    with pytest.raises(
        UsageError, match=r"--beside: the classes of more noise \(a, b, c, d, e, …\) aren't those of noise"
    ):
        Adda.options_for(options, others)
    unknown = random_images(IMAGE, "nothing", beside=True)
    assert Adda.options_for(options, dataclasses.replace(images, beside=unknown.beside)) == options, "needs no labels"
    with pytest.raises(UsageError, match="tells 3 classes, and noise has 10"):
        Adda.options_for(Adda.Options(source={**SOURCE, "classes": 3}), images)
    with pytest.raises(UsageError, match="--method dann learns the classes of noise, which has none"):
        Adda.options_for(Adda.Options(source=SOURCE, method="dann"), unknown)


# -- by the command ----------------------------------------------------------------------------------------------------

SHORT = ("--epochs", "2", "--batch-size", "60", "--device", "cpu", "--discriminator", "16")


@pytest.fixture
def sets(digits: Any, tmp_path: Path) -> tuple[Path, Path]:
    """300 digits, and 200 of another size, thinner: with their classes."""
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    some = digits.train.spread(500)
    images, labels = digits.train.images(some).numpy(), digits.train.labels[some].numpy()
    np.savez(first, images=images[::2], labels=labels[::2])
    save_split(second, images[1::2, :, 4:24, 4:24] // 2, labels[1::2])
    return first, second


def save_split(path: Path, images: Any, labels: Any) -> None:
    """With splits of its own: those that are made for a set see to it that each has all classes."""
    parts = {"train": slice(0, 200), "val": slice(200, 225), "test": slice(225, 250)}
    columns = {f"{name}_images": images[part] for name, part in parts.items()}
    np.savez(path, **columns, **{f"{name}_labels": labels[part] for name, part in parts.items()})


def test_a_run_adapts_a_classifiers_run(genkit: Genkit, sets: tuple[Path, Path], tmp_path: Path) -> None:
    """Beside one line a thing that can't be: no classifier, another size, another model, and no second set."""
    first, second = sets
    out = ("--out", tmp_path / "runs", "--json")
    classifier = genkit("train", "classifier", "--dataset", first, "--width", "4", *SHORT[:6], *out).json["run"]
    command = ["train", "adda", "--init-from", classifier, "--beside", second, *SHORT, *out]
    outcome = genkit(*command)
    assert outcome.code == 0, outcome.err
    run = RunDirectory(Path(outcome.json["run"]))
    assert outcome.json["metrics"].keys() >= {"test/encoder/error", "test/encoder/error_before"}
    assert outcome.json["checkpoint"] == str(run.checkpoints[-1]), "the last, and not the best"
    begun_with = load_file(RunDirectory(Path(classifier)).choose()[0] / "model.safetensors")
    ended_with = load_file(run.checkpoints[-1] / "model.safetensors")
    assert all(torch.equal(ended_with[f"source.{name}"], each) for name, each in begun_with.items())
    assert not torch.equal(ended_with["target.body.layers.0.weight"], begun_with["body.layers.0.weight"])

    # The same run with the second set's labels in another order: not a bit of it changes.
    with np.load(second) as arrays:
        images, labels = (
            np.concatenate([arrays[f"{part}_{what}"] for part in ("train", "val", "test")])
            for what in ("images", "labels")
        )
    save_split(second, images, np.roll(labels, 7))
    again = RunDirectory(Path(genkit(*command).json["run"]))
    told = load_file(again.checkpoints[-1] / "model.safetensors")
    assert all(torch.equal(told[name], each) for name, each in ended_with.items())

    def refused(*arguments: object) -> str:
        outcome = genkit(*arguments)
        assert outcome.code == 2, outcome.err
        assert "Traceback" not in outcome.err
        return outcome.err.splitlines()[-1]

    both = ("--dataset", first, "--beside", second, *SHORT, *out)
    assert refused("train", "adda", *both) == (
        "genkit: adda begins with a classifier of the first set: name its run with --init-from RUN"
    )
    said = refused("train", "adda", "--init-from", classifier, *both, "--image-size", "16")
    assert "don't fit images of 1×16×16 (there 1×28×28; --image-size and --channels change it)" in said
    said = refused("train", "adda", "--init-from", classifier, *SHORT, *out)
    assert said == "genkit: adda is trained on two sets of images: name the second with --beside NAME|PATH"
    ae = genkit("train", "ae", "--dataset", first, "--hidden", "8", *SHORT[:6], *out).json["run"]
    said = refused("train", "adda", "--init-from", ae, *both)
    assert said == "genkit: --init-from: this is a run of ae, and adda begins with one of classifier, on the first set"
