"""Arithmetic, judged: what a sum should give, and that what is counted is what is seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from genkit.contract import Batch, Condition, GenerativeModel, ImageShape, Options, Phase
from genkit.data.dataset import Dataset, Split
from genkit.errors import UsageError
from genkit.evaluate import attributes
from genkit.evaluate.attributes import figures, literals, wanted
from genkit.latent.arithmetic import parse


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("male&glasses - male&!glasses + !male&!glasses", {"glasses": True, "male": False}),
        ("smile&!male - !smile&!male + !smile&male", {"smile": True, "male": True}),
        ("male - !male", {"male": True}),
        ("!male - male", {"male": False}),
        ("glasses - !glasses + !male", {"glasses": True, "male": False}),
        ("male&glasses - male", {"glasses": True}),
        ("male&smile - male&!smile + !male&smile", {"male": False, "smile": True}),
    ],
)
def test_what_a_sum_should_give(expression: str, result: dict[str, bool]) -> None:
    assert wanted(parse(expression)) == result


def test_where_all_three_terms_name_it_this_is_a_minus_b_plus_c() -> None:
    for a, b, c in [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]:
        text = ["!it", "it"]
        total = a - b + c
        if total in (0, 1):
            assert wanted(parse(f"{text[a]} - {text[b]} + {text[c]}")) == {"it": total == 1}


def test_a_sum_that_says_nothing_and_a_contradiction_are_refused() -> None:
    with pytest.raises(UsageError, match="asks for no attribute"):
        wanted(parse("male - male"))
    with pytest.raises(UsageError, match="both ways"):
        literals("male & !male")


IMAGE = ImageShape(1, 2, 2)


class Additive(GenerativeModel):
    """A code is the four pixels of an image; the prior is N(0.5, 0.01²) of each."""

    Options = Options

    def __init__(self) -> None:
        super().__init__(IMAGE, Options(latent_dim=4))
        self.anything = torch.nn.Parameter(torch.zeros(1))

    def phases(self) -> list[Phase]:
        return []

    def decode(self, z: Tensor) -> Tensor:
        return z.view(-1, *IMAGE).clamp(0, 1)

    def prior(self, noise: Tensor) -> Tensor:
        return 0.5 + 0.01 * noise

    def encode(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class Stub:
    """Attributes are seen where their pixel is above 0.6 (`male` the first, `glasses` the second)."""

    attributes = ("male", "glasses")
    dataset = "stub"
    name = "stub"

    def has(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :2] > 0.6


def pictures(level: int) -> Dataset:
    """100 images whose first two pixels show their two attributes at this grey level, and are otherwise black."""
    columns = torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=torch.bool).repeat(25, 1)
    storage = torch.zeros(100, *IMAGE, dtype=torch.uint8)
    storage.view(100, 4)[:, :2] = columns * level
    split = Split(storage, torch.arange(100), attributes=columns)
    return Dataset("stub", split, split, split, attributes=("male", "glasses"))


def measured(level: int = 255, expression: str = "male&glasses - male&!glasses + !male&!glasses", **more: Any) -> dict:
    found = figures(Additive(), pictures(level), expression, Stub(), draws=20, **more)  # type: ignore[arg-type]
    return {figure.name.removeprefix("arithmetic/"): figure for figure in found}


def test_a_linear_model_adds_without_fault() -> None:
    found = measured()
    assert {name: (each.value, each.error) for name, each in found.items()} == {
        "success": (1.0, 1 / 21),
        "last_added_term_alone": (0.0, 1 / 21),
        "pixels": (1.0, 1 / 21),
        "chance": (0.0, 1 / 2001),
    }, "of all of 20 draws, and of none of 2,000 samples, little is known, but not nothing"
    conditions = found["success"].conditions
    assert conditions["n"] == 20
    assert conditions["wanted"] == "not male, glasses"
    assert conditions["judge"] == "stub"
    assert conditions["drawn from"] == "25 male&glasses, 25 male&!glasses, 25 !male&!glasses"
    assert conditions["error"] == "the end of Wilson's interval"
    assert "drawn from" not in found["chance"].conditions


class OfImage(Additive):
    """Told the image itself: its prior is as wide as that image is bright, and of a black one no number differs."""

    @classmethod
    def condition_for(cls, options: Any) -> Condition:
        return Condition("image")

    def condition_of(self, batch: Batch) -> Tensor:
        return batch.images

    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        return z.view(-1, *IMAGE)

    def encode(self, images: Tensor, condition: Tensor) -> Tensor:
        return super().encode(images)

    def prior(self, noise: Tensor, condition: Tensor) -> Tensor:
        return 0.5 + noise * condition.flatten(1)


def test_neighbours_of_a_sum_are_as_far_as_its_own_prior_reaches() -> None:
    """Each sum is told an image of both attributes, whose two pixels the prior spreads; the last term, one of one."""
    seen: list[Tensor] = []

    class Watching(Stub):
        def has(self, images: Tensor) -> Tensor:
            seen.append(images.flatten(1))
            return super().has(images)

    expression = "male&glasses - male&!glasses + !male&glasses"
    found = figures(OfImage(), pictures(255), expression, Watching(), draws=20)  # type: ignore[arg-type]
    assert {figure.name for figure in found} >= {"arithmetic/success", "arithmetic/chance"}
    samples, *judged, _ = seen
    assert len(samples) == attributes.SAMPLES
    apart = torch.cat(judged).view(2, 20, 1 + attributes.NEIGHBOURS, 4).std(2) > 0
    assert (apart[0] == torch.tensor([True, True, False, False])).all()
    assert (apart[1] == torch.tensor([False, True, False, False])).all()


def test_what_the_judge_does_not_see_is_no_success() -> None:
    """At half the brightness the glasses are there, and not seen."""
    assert measured(level=128)["success"].value == 0
    assert measured(level=128)["pixels"].value == 0


def test_all_attributes_must_be_as_they_should() -> None:
    """The sum gives glasses and, wrongly, a man: `glasses` alone is right, both together aren't."""
    sums = attributes.wanted(parse("glasses&male - !glasses&male + !glasses&!male"))
    seen = torch.tensor([[True, True], [False, True], [False, False]])
    assert attributes.agree(seen, sums, Stub()).tolist() == [False, True, False]  # type: ignore[arg-type]


def test_terms_that_are_not_attributes_are_refused() -> None:
    with pytest.raises(UsageError, match="'label:7' is no attribute of stub"):
        measured(expression="label:7 - male")
    with pytest.raises(UsageError, match="only 25 test images are 'male&glasses'; 26 are needed"):
        measured(exemplars=26)
