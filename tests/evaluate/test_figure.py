from __future__ import annotations

import pytest

from genkit.evaluate.figure import Name


@pytest.mark.parametrize(
    ("text", "topic", "row", "column"),
    [
        ("likelihood", "likelihood", "", ""),
        ("likelihood/nll", "likelihood", "nll", ""),
        ("representation/svm_all_labels/code", "representation", "svm_all_labels", "code"),
        ("samples/share_of_each_class/and/or", "samples", "share_of_each_class", "and/or"),
    ],
)
def test_a_name_comes_apart_at_its_first_two_slashes_and_is_its_text(
    text: str, topic: str, row: str, column: str
) -> None:
    name = Name(text)
    assert (name.topic, name.row, name.column) == (topic, row, column)
    assert name.within == text.removeprefix(topic).removeprefix("/")
    assert name == text
    assert {name: 1}[text] == 1


def test_what_a_person_has_named_cant_add_a_part() -> None:
    name = Name.of("arithmetic", "a/b - c", "and/or")
    assert name == "arithmetic/a∕b - c/and∕or"
    assert (name.topic, name.row, name.column) == ("arithmetic", "a∕b - c", "and∕or")
    assert Name.of("likelihood", "nll") == "likelihood/nll"
