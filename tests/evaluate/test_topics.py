"""The topics' wiring: what is held against what, which images a probe learns from, whose seeds are drawn."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Genkit, opened_model, run_of, small_model, subject_of
from torch import Tensor

from genkit.contract import Batch, Condition, GenerativeModel, ImageShape, Model, Options, Phase, ability
from genkit.data import DataOptions
from genkit.data.dataset import Dataset, Split
from genkit.device import seeded
from genkit.errors import UsageError
from genkit.evaluate import (
    arithmetic,
    classification,
    interpolation,
    representation,
    samples,
    self_supervised,
    table,
    topics,
)
from genkit.evaluate.figure import Figure, Found, LeftOut, Picture
from genkit.evaluate.neighbours import nearest
from genkit.evaluate.samples import frechet_distance, kernel_distance, precision_recall
from genkit.evaluate.subject import Asked, Subject
from genkit.keep.rundir import RunDirectory
from genkit.latent import sampling
from genkit.latent.images import to_uint8
from genkit.models.classifier import Classifier

CPU = torch.device("cpu")


def by_name(found: list[Found]) -> dict[str, Figure]:
    return {each.name: each for each in found if isinstance(each, Figure)}


def reasons(found: list[Found]) -> dict[str, str]:
    return {each.name: each.reason for each in found if isinstance(each, LeftOut)}


def bare(split: Split) -> Split:
    return dataclasses.replace(split, labels=None)


@pytest.fixture
def unlabelled(digits: Dataset, tmp_path: Path) -> tuple[Dataset, DataOptions]:
    """The digits without labels, and where a judge would find them."""
    np.save(tmp_path / "bare.npy", digits.train.images(slice(0, 60)).numpy())
    plain = Dataset("bare.npy", *(bare(each) for each in digits.splits().values()))
    return plain, DataOptions(dataset=str(tmp_path / "bare.npy"))


class Line(GenerativeModel):
    """A code is its image, of four pixels, whatever their values; the prior is N(10, 1) of each."""

    Options = Options

    def __init__(self) -> None:
        super().__init__(ImageShape(1, 2, 2), Options(latent_dim=4))
        self.anything = torch.nn.Parameter(torch.zeros(1))

    def phases(self) -> list[Phase]:
        return []

    def decode(self, z: Tensor) -> Tensor:
        return z.view(-1, 1, 2, 2)

    def prior(self, noise: Tensor) -> Tensor:
        return 10 + noise

    def encode(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def test_a_probe_of_training_images_of_one_class_is_left_out(digits: Dataset) -> None:
    """That they were all of one class ended the whole command."""
    assert digits.train.labels is not None
    threes = dataclasses.replace(digits, train=digits.train.take(digits.train.labels == 3))
    subject = subject_of(small_model("ae", digits.shape, hidden=(8,)), threes)
    found = topics.measure(subject, Asked(), ["representation"])
    assert reasons(found) == {"representation": "the training images of mnist5k are all of one class"}
    assert subject.lacking == {"no training image of class": "0, 1, 2, 4, 5, 6, 7, 8, 9"}


class Stub:
    """A judge whose features are handed to it, and which sees the class in the first of them."""

    name, digest, dataset = "classifier of stub 12345678 (test accuracy 99.0 %)", "1234567890", "stub"
    by, prefix = "the classifier 12345678", ""
    classes: tuple[str, ...] = ("low", "high")
    attributes = ("male", "glasses")

    def labels_of(self, features: Tensor) -> Tensor:
        return (features[:, 0] > 0).long()

    def has(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :2] > 0.6


class TestSamples:
    def test_they_are_held_against_one_half_and_that_against_the_other(self) -> None:
        everything, ours = torch.randn(60, 5), torch.randn(20, 5) + 1
        order = torch.randperm(60, generator=torch.Generator().manual_seed(7))
        one, other = everything[order[:20]], everything[order[20:40]]
        found = by_name(samples.judged(ours, everything, order, 20, Stub(), {"n": 20, "seeds": "0-19"}, 7))  # type: ignore[arg-type]
        assert found["samples/frechet"].value == frechet_distance(ours, one)
        assert found["samples/frechet_floor"].value == frechet_distance(one, other)
        assert found["samples/kernel"].value == kernel_distance(ours, one, seed=7).value
        assert found["samples/kernel_floor"].value == kernel_distance(one, other, seed=7).value
        overlap, floor = precision_recall(ours, one), precision_recall(one, other)
        assert [found[f"samples/{name}"].value for name in overlap._fields] == list(overlap)
        assert [found[f"samples/{name}_floor"].value for name in floor._fields] == list(floor)
        assert found["samples/share_of_each_class/high"].value == float((ours[:, 0] > 0).double().mean())
        assert found["samples/effective_classes_floor"].value > found["samples/effective_classes"].value
        for name, figure in found.items():
            assert figure.conditions["features"] == Stub.name
            assert figure.conditions["n"] == 20
            assert ("seeds" in figure.conditions) == ("_floor" not in name), "real images have no seed"

    def test_fewer_images_than_features_are_warned_of(self) -> None:
        def warned(count: int) -> set[str]:
            everything, order = torch.randn(2 * count, 30), torch.arange(2 * count)
            found = samples.judged(torch.randn(count, 30), everything, order, count, Stub(), {}, 0)  # type: ignore[arg-type]
            return {name for name, figure in by_name(found).items() if figure.warning}

        assert warned(30) == {"samples/frechet"}
        assert warned(31) == set()

    def test_a_class_without_samples_has_an_error(self) -> None:
        everything, order = torch.randn(40, 5), torch.arange(40)
        found = by_name(samples.judged(-torch.rand(20, 5), everything, order, 20, Stub(), {}, 0))  # type: ignore[arg-type]
        for name, value in (("smallest_share", 0), ("share_of_each_class/high", 0), ("share_of_each_class/low", 1)):
            figure = found[f"samples/{name}"]
            assert (figure.value, figure.error) == (value, 1 / 21)
            assert figure.conditions["error"] == "the end of Wilson's interval"
        assert "error" not in found["samples/smallest_share_floor"].conditions

    def test_the_picture_says_what_it_is_of_and_how_far_real_images_are(
        self, digits: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown: dict[str, Any] = {}
        monkeypatch.setattr(samples.pictures, "sheet", lambda rows, title: shown.update(rows=rows, title=title))
        subject = subject_of(small_model("vae", digits.shape), digits)
        read = subject.opened.checkpoint._replace(path=Path("000032"))
        opened = dataclasses.replace(subject.opened, checkpoint=read, run=RunDirectory(Path("run")))
        subject = dataclasses.replace(subject, opened=opened)
        samples.copies(subject, digits.val.images(slice(0, 20)), range(20))
        held_out = nearest(samples.compact(digits.test.images()), samples.compact(digits.train.images()))
        assert shown["title"].startswith("run, checkpoint 000032: 20 samples and their nearest training images.")
        median = held_out.distances[:, 0].quantile(0.5)
        assert f"{median:.2f} that of 500 real held-out images" in shown["title"]
        reals, training = shown["rows"][-2:]
        first = int(held_out.distances[:, 0].argmin())
        assert torch.equal(reals.images[0], digits.test.images(slice(first, first + 1))[0])
        assert torch.equal(training.images[0], digits.train.images(held_out.indices[first])[0])
        assert training.labels[0] == f"{held_out.distances[first, 0]:.2f}"

    def test_without_images_for_two_halves_there_is_no_floor(self) -> None:
        everything = torch.randn(39, 5)
        order = torch.randperm(39)
        found = samples.judged(torch.randn(20, 5), everything, order, 20, Stub(), {}, 0)  # type: ignore[arg-type]
        assert "samples/frechet" in by_name(found)
        assert reasons(found)["samples/frechet_floor"] == "two sets of 20 real images need 40, and there are 39"

    def test_each_is_what_its_seed_gives(self, digits: Dataset, unlabelled: tuple[Dataset, DataOptions]) -> None:
        model = small_model("vae", digits.shape, hidden=(16,), latent_dim=2)
        assert ability.generates(model)
        seeds = range(40, 600)
        seen = samples.draw(model.eval(), seeds, LeftOut("judge", ""))
        assert seen is not None
        expected = to_uint8(sampling.decode(model, sampling.seed_codes(model, seeds)))
        assert torch.equal(seen.pixels, expected)
        assert len(expected.flatten(1).unique(dim=0)) == 560

    def test_unlabelled_images_have_what_needs_no_classes(
        self, unlabelled: tuple[Dataset, DataOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(self_supervised, "STEPS", 2)
        monkeypatch.setenv("GENKIT_DATA", str(tmp_path))
        dataset, options = unlabelled
        subject = subject_of(small_model("vae", dataset.shape), dataset, data=options)
        subject = dataclasses.replace(subject, images=dataset.test.take(slice(0, 100)))
        found = samples.figures(subject, Asked(seed=3))
        figures = by_name(found)
        assert not {"samples/frechet", "samples/kernel"} & set(figures), "those are of a classifier's features"
        for name in samples.DISTANCES:
            each = figures[f"samples/self_supervised_{name}"]
            assert re.search(r"by the self-supervised net [0-9a-f]{8}$", each.unit)
            assert "self-supervised net of bare.npy" in str(each.conditions["features"])
            assert f"samples/self_supervised_{name}_floor" in figures
        assert figures["samples/self_supervised_frechet"].warning, "50 samples, and 128 features"
        assert reasons(found)["samples/class_entropy"].endswith("tells no classes")
        assert figures["samples/sliced_wasserstein"].value > 3 * figures["samples/sliced_wasserstein_floor"].value
        assert figures["samples/sliced_wasserstein"].conditions["features"] == "pixels"
        assert figures["samples/sliced_wasserstein"].conditions["seeds"] == "150-199", "another seed draws others"
        assert reasons(interpolation.figures(subject, Asked())) == {}

    def test_copies_are_found_and_named(self, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(samples, "BLOCK", 300)
        subject = subject_of(small_model("vae", digits.shape), digits)
        positions = torch.arange(100) * 37
        copied = digits.train.images(positions)
        found = samples.copies(subject, copied, range(100))
        assert by_name(found)["samples/memorisation_ratio"].value == 0
        assert by_name(found)["samples/memorisation_nearer"].value == 1
        (picture,) = (each for each in found if isinstance(each, Picture))
        assert picture.name == "nearest"
        assert picture.page.width > 1000
        near = samples.in_training(samples.compact(copied), digits.train)
        assert near.indices[:, 0].tolist() == positions.tolist()
        assert near.distances.max() == 0
        new = by_name(samples.copies(subject, digits.val.images(), range(500)))
        assert 0.9 < new["samples/memorisation_ratio"].value < 1.1
        assert 0.4 < new["samples/memorisation_nearer"].value < 0.6
        assert new["samples/memorisation_ratio"].conditions["held out"] == "500 test images"

    def test_others_images_accuse_nobody(self, digits: Dataset) -> None:
        subject = subject_of(small_model("vae", digits.shape), digits, data_digest="of others")
        found = samples.copies(subject, digits.train.images(slice(0, 10)), range(10))
        assert "aren't the images that the model was trained on" in reasons(found)["samples/memorisation"]


class TestRepresentation:
    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(representation, "TRAIN", 600)
        monkeypatch.setattr(representation, "DRAWS", 2)

    def test_a_probe_learns_from_the_training_split_alone(self, digits: Dataset) -> None:
        """There, every digit is called by the name of the next."""
        assert digits.train.labels is not None
        renamed = dataclasses.replace(digits.train, labels=(digits.train.labels + 1) % 10)
        subject = subject_of(small_model("ae", digits.shape, latent_dim=8), dataclasses.replace(digits, train=renamed))
        found = by_name(representation.figures(subject, Asked()))
        for method in ("svm", "knn"):
            assert found[f"representation/{method}_all_labels/pixels"].value < 0.1
        found = by_name(representation.figures(subject_of(subject.model, digits), Asked()))
        assert found["representation/svm_all_labels/pixels"].value > 0.8
        about = found["representation/svm_50_per_class/pixels"].conditions
        assert (about["training images"], about["test images"], about["draws"]) == (600, 500, 2)

    def test_untrained_is_the_same_net_with_random_weights(self, digits: Dataset) -> None:
        with seeded(5, CPU):
            model = small_model("ae", digits.shape, hidden=(16,), latent_dim=8)
        found = by_name(representation.figures(subject_of(model, digits), Asked(seed=5)))
        other = by_name(representation.figures(subject_of(model, digits), Asked(seed=6)))
        for row in ("svm_10_per_class", "knn_all_labels"):
            name = f"representation/{row}"
            assert found[f"{name}/untrained"].value == found[f"{name}/code"].value
            assert other[f"{name}/untrained"].value != other[f"{name}/code"].value
            assert found[f"{name}/pixels"].value != found[f"{name}/code"].value

    def test_what_cannot_be_probed_says_why(self, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
        model = small_model("ae", digits.shape, latent_dim=8)
        assert (
            "--split" in reasons(representation.figures(subject_of(model, digits, "train"), Asked()))["representation"]
        )
        plain = dataclasses.replace(digits, train=bare(digits.train), test=bare(digits.test), classes=())
        assert "no classes" in reasons(representation.figures(subject_of(model, plain), Asked()))["representation"]
        assert "neither encodes" in reasons(
            representation.figures(subject_of(NoEncoder(), digits), Asked())
        )["representation"]  # fmt: skip
        monkeypatch.setitem(sys.modules, "sklearn.svm", None)
        found = representation.figures(subject_of(model, digits), Asked())
        assert "pip install scikit-learn" in reasons(found)["representation/svm"]
        assert "representation/knn_all_labels/code" in by_name(found)
        assert "of the 600 training images here, only" in reasons(found)["representation/knn_100_per_class"]
        assert len([each for each in found if isinstance(each, LeftOut)]) == 2, "once, not once for each of three"


class NoEncoder(GenerativeModel):
    Options = Options

    def __init__(self) -> None:
        super().__init__(ImageShape(1, 28, 28), Options())

    def phases(self) -> list[Phase]:
        return []

    def decode(self, z: Tensor) -> Tensor:
        return z

    def prior(self, noise: Tensor) -> Tensor:
        return noise


def pictures() -> Dataset:
    """100 images whose first two pixels show their two attributes."""
    columns = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=torch.bool).repeat(25, 1)
    storage = torch.zeros(100, 1, 2, 2, dtype=torch.uint8)
    storage.view(100, 4)[:, :2] = columns * 255
    split = Split(storage, torch.arange(100), attributes=columns)
    return Dataset("stub", split, split, split, attributes=("male", "glasses"))


class Judged(Subject):
    """With a judge of its own."""

    def judge(self, target: str = "classes") -> Any:
        return Stub()


class Teller(Model):
    """Says of an image the attributes, or the class, that its first pixels show: the brighter, the likelier."""

    def __init__(self, **options: Any) -> None:
        super().__init__(ImageShape(1, 2, 2), Classifier.Options(**options))
        self.anything = torch.nn.Parameter(torch.zeros(1))

    def phases(self) -> list[Phase]:
        return []

    def probabilities(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, : len(self.options.attributes) or self.options.classes]


@pytest.mark.parametrize("topic", topics.TOPICS)
def test_a_topic_asks_for_no_more_and_no_less_than_its_abilities(topic: str, digits: Dataset) -> None:
    """A model that lacks nothing else is told, by the ability's words; and its class, before there is any model."""
    known = {each.name: each for each in ability.ABILITIES}
    every = {name for each in ability.ABILITIES for name in each.methods}
    for need in topics.TOPICS[topic].needs:
        methods = every - set(known[need].methods)
        other = topics.TOPICS[topic].otherwise
        methods -= {name for each in (other.needs if other else ()) for name in known[each].methods}
        kind = type("Made", (Teller,), {"probabilities": None, **{name: lambda self, *_: None for name in methods}})
        assert topics.lacking(kind, topic) == known[need]
        found = topics.measure(subject_of(kind(classes=3), digits, model="made"), Asked(), [topic])
        assert reasons(found) == {topic: f"made {known[need].lacks}"}
    able = type("Able", (Teller,), {name: lambda self, *_: None for name in every})
    assert topics.lacking(able, topic) is None


class TestClassification:
    def test_of_attributes_it_is_the_mean_over_them_and_each(self) -> None:
        """Half of the images are of men, and half wear glasses; here 25 of 100 have lost their first pixel."""
        dataset = pictures()
        storage = dataset.test.storage.clone()
        storage.view(25, 4, 4)[:, 0, 0] = 0  # men with glasses
        columns = torch.cat([torch.zeros(100, 1, dtype=torch.bool), dataset.test.attributes], 1)
        test = dataclasses.replace(dataset.test, storage=storage, attributes=columns)
        train = dataclasses.replace(dataset.train, attributes=columns)
        dataset = dataclasses.replace(dataset, test=test, train=train, attributes=("tall", "male", "glasses"))
        subject = subject_of(
            Teller(attributes={"male": 0, "glasses": 1}), dataset, model="teller"
        )  # once in columns 0, 1
        found = by_name(classification.figures(subject, Asked()))
        assert {name.partition("/")[2]: each.value for name, each in found.items()} == {
            "accuracy": 0.875,
            "commonest_answer": 0.5,
            "accuracy_of_each_attribute/male": 0.75,
            "accuracy_of_each_attribute/glasses": 1,
        }
        spread = torch.tensor([0.5, 1, 1, 1]).repeat(25)
        assert found["classification/accuracy"].error == pytest.approx(float(spread.std() / 10))
        assert found["classification/accuracy_of_each_attribute/glasses"].error == 1 / 101
        renamed = dataclasses.replace(dataset, attributes=("tall", "male", "beard"))
        subject = dataclasses.replace(subject, dataset=renamed)
        assert "has no attribute 'glasses'" in reasons(classification.figures(subject, Asked()))["classification"]

    def test_of_classes_it_is_of_those_images(self) -> None:
        storage = torch.zeros(8, 1, 2, 2, dtype=torch.uint8)
        said, labels = torch.tensor([0, 0, 1, 2, 0, 2, 2, 0]), torch.tensor([0, 0, 0, 0, 0, 2, 2, 2])
        storage.view(8, 4)[torch.arange(8), said] = 255
        split = Split(storage, torch.arange(8), labels)
        dataset = Dataset("stub", split.take(slice(5, 8)), split, split, classes=("a", "b/c", "d"))
        subject = subject_of(Teller(classes=3), dataset, classes=("a", "b/c", "d"))
        found = by_name(classification.figures(subject, Asked()))
        assert {name.partition("/")[2]: (each.value, each.conditions["n"]) for name, each in found.items()} == {
            "accuracy": (5 / 8, 8),
            "commonest_answer": (3 / 8, 8),  # of the training split: always the last
            "accuracy_of_each_class/a": (0.6, 5),
            "accuracy_of_each_class/d": (pytest.approx(2 / 3), 3),
        }
        learned = opened_model(subject.model, classes=("a", "b", "c"))
        for other in ({"opened": learned}, {"dataset": dataclasses.replace(dataset, classes=("a", "d"))}):
            found = classification.figures(dataclasses.replace(subject, **other), Asked())
            assert "aren't those" in reasons(found)["classification"]


class TestInterpolation:
    def test_a_linear_decoder_is_even_on_lines_and_nearly_so_on_circles_about_the_priors_mean(
        self, unlabelled: tuple[Dataset, DataOptions]
    ) -> None:
        found = by_name(interpolation.figures(subject_of(Line(), unlabelled[0], data=unlabelled[1]), Asked()))
        assert found["interpolation/lerp"].value == pytest.approx(1, abs=1e-4)
        assert 1 < found["interpolation/slerp"].value < 1.35, "lengths differ; about the origin it would be 1.00"
        assert found["interpolation/slerp"].value > 1.02
        assert found["interpolation/lerp"].conditions["features"] == "pixels"
        assert found["interpolation/lerp"].conditions["paths"] == 100

    def test_a_path_turns_about_the_centre_of_its_own_class(self, unlabelled: tuple[Dataset, DataOptions]) -> None:
        """Classes whose priors lie far apart are as uneven as one alone: about a common centre they would be even."""

        class Apart(Line):
            @classmethod
            def condition_for(cls, options: Any) -> Condition:
                return Condition("class", 2)

            def condition_of(self, batch: Batch) -> Tensor:
                return torch.arange(len(batch.images)) % 2

            def decode(self, z: Tensor, condition: Tensor) -> Tensor:
                return super().decode(z)

            def prior(self, noise: Tensor, condition: Tensor) -> Tensor:
                return 1000 * condition[:, None] + noise

        alone, apart = (
            by_name(interpolation.figures(subject_of(model, unlabelled[0], data=unlabelled[1]), Asked()))
            for model in (Line(), Apart())
        )
        assert apart["interpolation/slerp"].value == pytest.approx(alone["interpolation/slerp"].value, rel=1e-2)


def test_what_other_topics_have_measured_is_kept(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(subject: Subject, asked: Asked) -> list[Found]:
        raise UsageError("the model's decoder takes an image")

    monkeypatch.setattr(interpolation, "figures", refusing)
    subject = subject_of(small_model("ae", digits.shape, hidden=(8,)).eval(), digits)
    found = topics.measure(subject, Asked(), ["reconstruction", "interpolation"])
    assert "reconstruction/squared_error" in by_name(found)
    assert reasons(found)["interpolation"] == "the model's decoder takes an image"


class TestArithmetic:
    def test_each_sum_is_a_row(self) -> None:
        dataset = pictures()
        subject = Judged(**vars(subject_of(Line(), dataset, "val")))
        sums = ("male&glasses - male&!glasses + !male&!glasses", "male  - !male")
        found = by_name(arithmetic.figures(subject, Asked(expressions=sums)))
        assert len(found) == 8
        assert found[f"arithmetic/{sums[0]}/pixels"].value == 1
        assert found["arithmetic/male - !male/pixels"].conditions["wanted"] == "male"
        assert found[f"arithmetic/{sums[0]}/success"].conditions["split"] == "test"
        assert "--arithmetic" in reasons(arithmetic.figures(subject, Asked()))["arithmetic"]


class TestReport:
    def test_a_table_says_once_what_its_cells_share(self, digits: Dataset) -> None:
        subject = subject_of(small_model("ae", digits.shape), digits)
        found = [
            Figure(f"representation/{row}/{column}", value, None, "accuracy", {"seed": 3, "of": column, "k": row})
            for row, values in (("svm_1", (0.25, 0.5)), ("svm_2", (0.75, 1.0)))
            for column, value in zip(("code", "pixels"), values, strict=True)
        ]
        found += [
            Figure("samples/frechet", 4.0, None, "squared", {}),
            Figure("samples/frechet_floor", 1.0, None, "", {}),
        ]
        found += [LeftOut("samples/kernel", "no labels"), LeftOut("samples/recall", "no labels")]
        lines = table.lines([table.Evaluation(subject, found, {"epochs": 1})])
        assert [line.split() for line in lines[2:6]] == [
            ["representation", "[1]", "code", "[2]", "pixels", "[3]"],
            ["SVM", "1", "0.25", "0.5", "accuracy", "[4]"],
            ["SVM", "2", "0.75", "1", "accuracy", "[5]"],
            [],
        ]
        assert [line.split() for line in lines[6:8]] == [
            ["samples", "samples", "real", "images"],
            ["Fréchet", "distance", "4", "1", "squared"],
        ]
        assert lines[9:14] == ["[1] seed 3", "[2] of code", "[3] of pixels", "[4] k svm_1", "[5] k svm_2"]
        assert lines[-1] == "left out: samples/kernel, recall: no labels"

    def test_a_zero_has_no_sign(self) -> None:
        for value, error, text in (
            (-0.0, None, "0"),
            (-0.0004, 0.02, "0.000 ± 0.020"),
            (-0.03, 0.02, "-0.030 ± 0.020"),
        ):
            assert table.shown(Figure("x", value, error, "")) == text

    def test_what_rounding_leaves_of_an_error_is_none(self) -> None:
        assert table.shown(Figure("x", 0.438999999999999946, 2.8e-17, "")) == "0.439"
        assert table.shown(Figure("x", 0.439, 2.8e-5, "")) == "0.439000 ± 0.000028"

    def test_many_columns_of_one_row_follow_one_another(self, digits: Dataset) -> None:
        subject = subject_of(small_model("ae", digits.shape), digits)
        found = [Figure(f"samples/share_of_each_class/{name}", 0.1, 0.01, "") for name in range(10)]
        lines = table.lines([table.Evaluation(subject, found, {"epochs": 1})])
        assert lines[2].startswith("  samples, share of each class  0: 0.100 ± 0.010, 1: 0.100 ± 0.010,")
        assert max(map(len, lines)) <= 100
        assert "9: 0.100 ± 0.010" in lines[-1]


@pytest.mark.usefixtures("quick_evaluation")
class TestCommand:
    QUICK = ("--limit", 100, "--device", "cpu", "--json")

    def test_samples_of_a_run(self, runs: Path, genkit: Genkit, tmp_path: Path) -> None:
        command = ("evaluate", run_of(runs, "dcgan"), "--only", "samples,interpolation", "--out", tmp_path, *self.QUICK)
        (tmp_path / "nearest.png").write_bytes(b"mine")
        first = genkit(*command)
        assert first.code == 0, first.err
        (result,) = first.json["runs"]
        figures = {each["name"]: each for each in result["figures"]}
        for name in ("samples/frechet", "samples/kernel_floor", "samples/coverage", "interpolation/slerp"):
            assert figures[name]["conditions"]["features"].startswith("classifier of mnist5k ")
            assert figures[name]["conditions"]["split"] == "test"
        assert figures["samples/frechet"]["conditions"]["n"] == 50
        assert figures["samples/frechet"]["value"] > 3 * figures["samples/frechet_floor"]["value"]
        shares = [each["value"] for name, each in figures.items() if name.startswith("samples/share_of_each_class/")]
        assert len(shares) == 10
        assert sum(shares) == pytest.approx(1)
        assert result["pictures"]["nearest"] == str(tmp_path / "nearest-2.png")
        again = genkit(*command).json["runs"][0]
        assert again["figures"] == result["figures"]
        assert again["pictures"] == result["pictures"]
        there = sorted(path.name for path in tmp_path.glob("[!.]*"))
        assert there == ["evaluation.json", "nearest-2.png", "nearest.png"]
        assert (tmp_path / "nearest.png").read_bytes() == b"mine"

    def test_as_many_samples_as_are_asked_for(self, runs: Path, genkit: Genkit, tmp_path: Path) -> None:
        (result,) = genkit(
            "evaluate", run_of(runs, "vae"), "--only", "samples", "--samples", 100, "--out", tmp_path, *self.QUICK
        ).json["runs"]
        figures = {each["name"]: each for each in result["figures"]}
        assert figures["samples/frechet"]["conditions"]["n"] == 100
        assert (
            "two sets of 100" in {each["name"]: each["reason"] for each in result["left_out"]}["samples/frechet_floor"]
        )

    def test_a_classifier_has_a_representation_and_no_samples(self, runs: Path, genkit: Genkit, tmp_path: Path) -> None:
        outcome = genkit("evaluate", run_of(runs, "classifier"), "--out", tmp_path, *self.QUICK)
        assert outcome.code == 0, outcome.err
        (result,) = outcome.json["runs"]
        left_out = {each["name"]: each["reason"] for each in result["left_out"]}
        for topic in ("samples", "interpolation", "arithmetic"):
            assert left_out[topic] == "classifier makes no images"
        figures = {each["name"]: each["value"] for each in result["figures"]}
        assert figures["representation/svm_10_per_class/code"] > figures["representation/svm_10_per_class/pixels"]
        rows = [json.loads(line) for line in (run_of(runs, "classifier") / "metrics.jsonl").read_text().splitlines()]
        (every,) = genkit(
            "evaluate", run_of(runs, "classifier"), "--only", "classification", "--out", tmp_path / "all", "--json"
        ).json["runs"]
        figures = {each["name"]: each for each in every["figures"]}
        accuracy = figures["classification/accuracy"]
        assert accuracy["value"] == pytest.approx(1 - rows[-1]["test/error"])
        assert accuracy["conditions"]["n"] == 500
        assert accuracy["error"] == pytest.approx((accuracy["value"] * (1 - accuracy["value"]) / 499) ** 0.5)
        of_classes = [each for name, each in figures.items() if "accuracy_of_each_class" in name]
        assert sum(each["value"] * each["conditions"]["n"] for each in of_classes) == pytest.approx(
            500 * accuracy["value"]
        )

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["--arithmetic", "male - !male"], "'male' is no attribute of mnist5k (it has none)"),
            (["--arithmetic", "male - "], "empty term"),
            (["--arithmetic", "male", "--only", "samples"], "--only leaves out"),
            (["--samples", 5], "--samples"),
        ],
    )
    def test_a_wrong_wish_is_one_line(
        self, runs: Path, genkit: Genkit, tmp_path: Path, arguments: list[object], says: str
    ) -> None:
        outcome = genkit("evaluate", run_of(runs, "vae"), "--out", tmp_path, *arguments)
        assert outcome.code == 2
        assert says in outcome.err.splitlines()[-1]
        assert not list(tmp_path.iterdir())
