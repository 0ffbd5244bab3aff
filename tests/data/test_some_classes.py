"""`--only-classes`: which classes are meant, and that what was held out stays held out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import Genkit

from genkit.data import DataOptions, load, some_classes
from genkit.data.dataset import Dataset
from genkit.errors import DataError, UsageError

NAMES = ("cat", "t-shirt", "3", "dog", "a,b")


def named(digits: Dataset) -> Dataset:
    """Five classes, one called by another's index, one with a hyphen and one with a comma."""
    few = {name: split.take(split.labels < 5) for name, split in digits.splits().items()}  # type: ignore[operator]
    return dataclasses.replace(digits, **few, classes=NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", [0]),
        ("t-shirt", [1]),
        ("3", [2]),  # the class of that name, not the one at that place
        ("2", [2]),
        ("4", [4]),
        ("0-1", [0, 1]),
        ("cat-t-shirt", [0, 1]),
        ("t-shirt-dog", [1, 2, 3]),
        ("dog, cat", [0, 3]),
        ("0-1,1-2,dog", [0, 1, 2, 3]),
        ("a,b", [4]),
        ("4-4", [4]),
    ],
)
def test_names_indices_and_ranges(digits: Dataset, text: str, expected: list[int]) -> None:
    assert some_classes.places(text, named(digits)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "mnist5k has no class '5', of 5 classes: cat, t-shirt, 3, dog, a,b"),
        ("catt", "did you mean 'cat'?"),
        ("dog-cat", "^--only-classes dog-cat: dog comes after cat; write the range forwards$"),
        ("cat,", "no class ''"),
        ("-1", "no class '-1'"),
        ("0-9", "no class '0-9'"),
    ],
)
def test_what_is_no_class_is_refused(digits: Dataset, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        some_classes.places(text, named(digits))


def test_a_set_without_classes_has_none_to_choose(digits: Dataset) -> None:
    bare = dataclasses.replace(
        digits, **{name: dataclasses.replace(split, labels=None) for name, split in digits.splits().items()}
    )
    with pytest.raises(DataError, match="has no classes, of which --only-classes would choose some"):
        some_classes.places("0", bare)


def test_splits_are_those_of_the_whole_set(digits: Dataset) -> None:
    some = load(DataOptions(dataset="mnist5k", only_classes="7,2-3"))
    assert some.classes == ("2", "3", "7")
    for name, whole in digits.splits().items():
        split, chosen = some.splits()[name], torch.isin(whole.labels, torch.tensor([2, 3, 7]))
        assert torch.equal(split.rows, whole.rows[chosen])
        assert torch.equal(split.images(), whole.images(chosen))
        assert torch.equal(torch.tensor([2, 3, 7])[split.labels], whole.labels[chosen])
    assert some.digest() != digits.digest()


def test_few_labels_are_drawn_of_the_chosen_classes() -> None:
    some = load(DataOptions(dataset="mnist5k", only_classes="7,8", labels_per_class=3))
    assert some.train.labels.bincount().tolist() == [3, 3]


def test_a_class_that_a_split_lacks_is_refused(digits: Dataset) -> None:
    lacking = dataclasses.replace(digits, test=digits.test.take(digits.test.labels != 4))
    with pytest.raises(DataError, match="none of its test images is of --only-classes"):
        some_classes.narrowed(lacking, [4])


def test_a_run_says_what_it_was_trained_on_and_opens_with_it(genkit: Genkit, tmp_path: Path, digits: Dataset) -> None:
    small = ("--hidden", 8, "--epochs", 1, "--batch-size", 64, "--device", "cpu", "--out", tmp_path)
    run = genkit("train", "ae", "--dataset", "mnist5k", "--classes", "1", *small).out.strip()
    assert "mnist5k (only classes 1)" in genkit("info", run).out
    assert genkit("encode", run, "--split", "test", "--json").json["n"] == int((digits.test.labels == 1).sum())
    wrong = genkit("train", "ae", "--dataset", "mnist5k", "--only-classes", "x", *small)
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
