"""Domains: a probe on features that are apart, and alike; accuracies before and after, counted by hand."""

from __future__ import annotations

import dataclasses
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from conftest import SOURCE, small_model, subject_of
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError
from genkit.evaluate import domains, topics
from genkit.evaluate.figure import Figure, Found, LeftOut
from genkit.evaluate.subject import Asked
from genkit.models.adda import Adda
from genkit.models.classifier import Classifier
from genkit.reproduce.measures import MEASURES

IMAGE = ImageShape(1, 8, 8)


def normal(count: int, seed: int, mean: float = 0.0) -> Tensor:
    return mean + torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


def test_sets_that_are_apart_are_always_told() -> None:
    pytest.importorskip("sklearn")
    right = domains.told_apart(normal(50, 0), normal(50, 1, 30), normal(40, 2), normal(30, 3, 30))
    assert right.tolist() == [1.0] * 70


def test_sets_that_are_alike_are_told_by_chance() -> None:
    """Within four standard errors of ½; of what it has learned from, a probe would know more than that."""
    pytest.importorskip("sklearn")
    right = domains.told_apart(normal(400, 0), normal(400, 1), normal(1000, 2), normal(1000, 3))
    assert len(right) == 2000
    assert abs(float(right.mean()) - 0.5) < 4 * (0.25 / 2000) ** 0.5


def test_features_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError):
        domains.told_apart(normal(9, 0), normal(9, 1) * torch.inf, normal(9, 2), normal(9, 3))


def images(name: str, grey: int, count: int = 40, size: int = 8, labels: bool = True) -> Dataset:
    """Noise about a grey value, in two classes."""
    noise = torch.Generator().manual_seed(grey)

    def split(some: int) -> Split:
        pixels = torch.randint(grey, grey + 50, (some, 1, size, size), generator=noise)
        return Split(pixels.byte(), torch.arange(some), torch.arange(some) % 2 if labels else None)

    return Dataset(name, split(count), split(20), split(30), ("even", "odd") if labels else ())


def adapted(**options: Any) -> Adda:
    """Before, all images are told to be of the class 0, and after, of the class 1; features are bright pixels."""
    model = small_model("adda", IMAGE, source={**SOURCE, "classes": 2}, **options)
    assert isinstance(model, Adda)
    for classifier, answer in ((model.source, 0), (model.target, 1)):
        with torch.no_grad():
            classifier.head.weight.zero_()
            classifier.head.bias.copy_(torch.eye(2)[answer])
    model.source.features = lambda images: images.flatten(1)[:, :4]  # type: ignore[method-assign]
    model.target.features = lambda images: 0 * images.flatten(1)[:, :4]  # type: ignore[method-assign]

    def tells(classifier: Classifier, answer: int) -> Any:
        return lambda images: torch.eye(2)[answer].expand(len(images), 2)

    model.source.probabilities = tells(model.source, 0)  # type: ignore[method-assign]
    model.target.probabilities = tells(model.target, 1)  # type: ignore[method-assign]
    return model


def by_name(found: list[Found]) -> dict[str, Figure]:
    return {each.name: each for each in found if isinstance(each, Figure)}


def test_figures_are_of_the_second_set_and_held_out() -> None:
    pytest.importorskip("sklearn")
    dataset = dataclasses.replace(images("dark", 20), beside=images("bright", 180, size=16))
    labels = torch.tensor([1] * 24 + [0] * 6)
    assert dataset.beside is not None
    second = dataclasses.replace(dataset.beside, test=dataclasses.replace(dataset.beside.test, labels=labels))
    dataset = dataclasses.replace(dataset, beside=second)
    found = by_name(topics.measure(subject_of(adapted(), dataset, model="adda"), Asked(), ["domains"]))
    values = {name.removeprefix("domains/"): each.value for name, each in found.items()}
    assert values == {
        "accuracy/before": 0.2,
        "accuracy/after": 0.8,
        "accuracy_of_those_adapted_to/before": 0.5,
        "accuracy_of_those_adapted_to/after": 0.5,
        "domain_probe/pixels": 1.0,
        "domain_probe/before": 1.0,
        "domain_probe/after": pytest.approx(0.5, abs=0.5),
    }
    of_accuracy, of_probe = (found[f"domains/{name}"] for name in ("accuracy/after", "domain_probe/before"))
    assert of_accuracy.error == pytest.approx((0.8 * 0.2 / 29) ** 0.5)
    assert (of_accuracy.conditions["dataset"], of_accuracy.conditions["n"]) == ("bright", 30)
    assert (of_probe.error, of_probe.conditions["n"], of_probe.conditions["training images"]) == (1 / 61, 60, 80)
    given = MEASURES["domains"]
    patterns = [*given.gives, *(each for names in given.gives_where.values() for each in names)]
    assert all(any(fnmatchcase(name, each) for each in patterns) for name in values)
    assert len(patterns) == len(values)


def test_features_that_have_become_alike_are_told_by_chance() -> None:
    """In the fixture above both sets' features after the adaptation: of the first as they were, of the second all 0."""
    pytest.importorskip("sklearn")
    dataset = dataclasses.replace(images("dark", 20, 400), beside=images("as dark", 20, 400))
    dann = adapted(method="dann")
    found = by_name(domains.figures(subject_of(dann, dataset, model="adda"), Asked()))
    assert found["domains/domain_probe/after"].value == 0.5, "all features are 0"
    assert found["domains/domain_probe/before"].value == 0.5, "the images are the same"


def test_what_is_left_out_and_why() -> None:
    dataset = dataclasses.replace(images("dark", 20), beside=images("bright", 180))

    def reasons(dataset: Dataset, split: str = "test", **about: Any) -> dict[str, str]:
        found = domains.figures(subject_of(adapted(), dataset, split, model="adda", **about), Asked())
        return {each.name: each.reason for each in found if isinstance(each, LeftOut)}

    assert "choose --split test or val" in reasons(dataset, "train")["domains"]
    assert "nobody knows the second set" in reasons(dataclasses.replace(dataset, beside=None))["domains"]
    unlabelled = dataclasses.replace(dataset, beside=images("bright", 180, labels=False))
    assert reasons(unlabelled) == {"domains/accuracy": "bright has no classes, which adda tells"}
    said = reasons(dataset, classes=("a", "b"))
    assert said == {"domains/accuracy": "the classes of bright aren't those that adda tells"}
