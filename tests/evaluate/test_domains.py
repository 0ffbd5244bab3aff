"""Domains: a probe on features that are apart, and alike; accuracies before and after, counted by hand."""

from __future__ import annotations

import dataclasses
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SOURCE, Genkit, small_model, subject_of
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


RECIPE = """
shows = "s"
paper = "p"
minutes = 1
show = "domains"
dataset = "FIRST"
epochs = 1
batch-size = 20
[runs."of/0"]
model = "classifier"
width = 2
[runs."adapted/0"]
model = "adda"
init-from = "of/0"
beside = "SECOND"
beside-images = 30
[[measure]]
name = "domains"
runs = ["adapted"]
[[measure]]
name = "mean-over"
runs = ["adapted"]
figure = "accuracy_of_those_adapted_to/before"
over = "method"
[[picture]]
name = "domains"
run = "adapted/0"
[[report]]
what = "w"
figure = "accuracy_of_those_adapted_to/before of adapted, method=adda"
above = 0
[[report]]
what = "w"
figure = "adapted/0: domain_probe/after"
"""


def test_a_recipe_measures_and_draws_and_the_command_says_the_same(genkit: Genkit, tmp_path: Path) -> None:
    """Of the images that it was given of the second set, of which the run's own options say how many."""
    pytest.importorskip("sklearn")
    for name, grey in (("first", 20), ("second", 180)):
        splits = images(name, grey, 60).splits()
        columns = {f"{part}_images": split.images().numpy() for part, split in splits.items()}
        labels = {f"{part}_labels": split.labels.numpy() for part, split in splits.items() if split.labels is not None}
        np.savez(tmp_path / f"{name}.npz", **columns, **labels)
    recipe, out = tmp_path / "own.toml", tmp_path / "runs"
    recipe.write_text(RECIPE.replace("FIRST", f"{tmp_path}/first.npz").replace("SECOND", f"{tmp_path}/second.npz"))
    arguments = ["reproduce", recipe, "--out", out, "--results", tmp_path / "table", "--device", "cpu"]
    outcome = genkit(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["rows"][0]["met"] is True
    assert (tmp_path / "table" / "pictures" / "own.png").is_file()
    assert genkit(*arguments, "-n", "--json").json["runs"]["adapted/0"]["todo"] == "is there"

    (run,) = out.glob("*-adda-*")
    evaluated = genkit("evaluate", run, "--only", "domains", "--json")
    assert evaluated.code == 0, evaluated.err
    found = {each["name"]: each for each in evaluated.json["runs"][0]["figures"]}
    kept = outcome.json["figures"]
    for name in ("domain_probe/before", "domain_probe/after", "accuracy/after", "accuracy_of_those_adapted_to/before"):
        assert found[f"domains/{name}"]["value"] == kept[f"adapted/0: {name}"]["value"]
    assert found["domains/accuracy_of_those_adapted_to/before"]["conditions"]["n"] == 30
    assert found["domains/domain_probe/pixels"]["value"] == 1.0
    (tmp_path / "second.npz").unlink()
    gone = genkit("evaluate", run, "--only", "domains", "--json")
    assert (gone.code, "second.npz" in gone.err) == (1, True)
