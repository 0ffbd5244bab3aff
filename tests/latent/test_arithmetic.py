"""Reading expressions, and finding what their terms mean in real data."""

from __future__ import annotations

import pytest
import torch

from genkit.data.dataset import Dataset, Split
from genkit.errors import UsageError
from genkit.latent.arithmetic import Exemplars, Term, combine, is_file_term, matching, parse
from genkit.latent.numbers import parse_numbers


@pytest.mark.parametrize(
    ("expression", "terms"),
    [
        ("a - b + c", [(1, "a"), (-1, "b"), (1, "c")]),
        ("male&glasses - male&!glasses", [(1, "male&glasses"), (-1, "male&!glasses")]),
        ("facing-left - !facing-left", [(1, "facing-left"), (-1, "!facing-left")]),
        ("- a + b", [(-1, "a"), (1, "b")]),
        ("@3,8-9 - ./a-b.png", [(1, "@3,8-9"), (-1, "./a-b.png")]),
        ("alone", [(1, "alone")]),
    ],
)
def test_parse(expression: str, terms: list[tuple[int, str]]) -> None:
    assert parse(expression) == [Term(*term) for term in terms]


@pytest.mark.parametrize("expression", ["", "a - ", "a - - b", "a + "])
def test_an_empty_term_is_refused(expression: str) -> None:
    with pytest.raises(UsageError, match="empty term"):
        parse(expression)


@pytest.mark.parametrize(("text", "numbers"), [("3", [3]), ("0-3,8", [0, 1, 2, 3, 8]), (" 5 , 2-2", [5, 2])])
def test_numbers(text: str, numbers: list[int]) -> None:
    assert parse_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-1", "0-99999999", "9" * 30])
def test_bad_numbers(text: str) -> None:
    with pytest.raises(UsageError):
        parse_numbers(text)


def test_labels_of_real_digits(digits: Dataset) -> None:
    positions = matching("label:7", digits, digits.test)
    assert set(digits.test.labels[positions].tolist()) == {7}
    assert len(positions) == int((digits.test.labels == 7).sum())


def attributed() -> tuple[Dataset, Split]:
    attributes = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0], [1, 1]], dtype=torch.bool)
    split = Split(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.arange(5), attributes=attributes)
    return Dataset("faces", split, split, split, attributes=("male", "glasses")), split


@pytest.mark.parametrize(
    ("term", "expected"),
    [("male", [0, 1, 4]), ("male&glasses", [0, 4]), ("male & !glasses", [1]), ("!male&!glasses", [3])],
)
def test_attributes(term: str, expected: list[int]) -> None:
    assert matching(term, *attributed()).tolist() == expected


@pytest.mark.parametrize("term", ["beard", "label:3", "male&!male"])
def test_what_the_data_lacks_is_named(term: str) -> None:
    with pytest.raises(UsageError, match=term.partition(":")[2] or term.partition("&")[0]):
        matching(term, *attributed())


def test_a_class_that_is_not_there_is_refused_with_those_that_are(digits: Dataset) -> None:
    with pytest.raises(UsageError, match="no class 'x'; it has 0, 1, 2"):
        matching("label:x", digits, digits.test)


def test_sum_of_means() -> None:
    def exemplars(sign: int, codes: list[list[float]]) -> Exemplars:
        return Exemplars(Term(sign, ""), torch.zeros(len(codes), 1, 2, 2), torch.tensor(codes))

    terms = [exemplars(1, [[1.0, 2], [3, 4]]), exemplars(-1, [[1.0, 1]]), exemplars(1, [[10.0, 0], [0, 10]])]
    assert combine(terms, lambda term: term.code).tolist() == [6.0, 7.0]


@pytest.mark.parametrize(("term", "expected"), [("a.png", True), ("x/a.png,b.jpg", True), ("male", False)])
def test_file_terms(term: str, expected: bool) -> None:
    assert is_file_term(term) == expected


def test_a_class_in_an_attributes_place_is_told_how_to_be_written(digits: Dataset) -> None:
    with pytest.raises(UsageError, match=r"no attribute '7', but a class of that name; did you mean label:7\?"):
        matching("7", digits, digits.test)
    with pytest.raises(UsageError, match="no attribute 'cat' "):
        matching("cat", digits, digits.test)
