"""What isn't typed: what the models suggest for sets of all sizes, and what a run makes of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from genkit import registry
from genkit.contract import Facts, ImageShape, Resolved, TrainingOptions, defaults

DIGITS = Facts(55_000, ImageShape(1, 28, 28), classes=10, extremes=0.9)


@pytest.mark.parametrize(
    ("count", "size"), [(1, 16), (48, 16), (127, 16), (128, 32), (320, 64), (511, 64), (512, 128), (10**6, 128)]
)
def test_a_small_set_is_several_batches(count: int, size: int) -> None:
    assert defaults.batch_size_for(count) == size


def test_a_run_has_steps_enough_and_not_too_many() -> None:
    def steps(count: int, **given: Any) -> int:
        options = TrainingOptions(**given)
        found = defaults.training(options, Facts(count, ImageShape(3, 32, 32)), 5_000, 40_000)
        values = {**options.model_dump(), **{name: each.value for name, each in found.items()}}
        return values["epochs"] * (max(1, count // values["batch_size"]))

    assert steps(48) == 5_001  # 3 steps a pass
    assert steps(320) == 5_000  # 5
    assert steps(9_000) == 5_040  # 72
    assert steps(55_000) == 20 * 429  # as by default
    assert steps(10**6) == 5 * 7_812
    assert steps(320, batch_size=320) == 5_000
    assert steps(320, epochs=7) == 7 * 5


def test_a_warm_up_keeps_its_share_of_the_run() -> None:
    found = defaults.training(TrainingOptions(), Facts(10**6, ImageShape(1, 8, 8)), 5_000, 40_000)
    assert {name: each.value for name, each in found.items()} == {"epochs": 5, "lr_warmup": 0.125}
    held = defaults.training(TrainingOptions(lr_warmup=2), Facts(10**6, ImageShape(1, 8, 8)), 5_000, 40_000)
    assert held.keys() == {"epochs"}


def suggested(model: str, facts: Facts) -> Mapping[str, Resolved]:
    kind = registry.find(model)
    return kind.defaults_for(kind.Options(), facts)


@pytest.mark.parametrize("model", ["ae", "conv-ae", "vae"])
def test_digits_are_learned_by_what_the_class_has(model: str) -> None:
    assert suggested(model, DIGITS) == {}


def of_gan(facts: Facts, **given: Any) -> dict[str, Any]:
    """The options of a GAN of such images, with what they suggest, as a run would have them."""
    kind = registry.find("dcgan")
    options = kind.Options(**given)
    found = {name: each.value for name, each in kind.defaults_for(options, facts).items() if name not in given}
    return kind.Options(**{**given, **found}).model_dump()


def test_a_gan_of_digits_is_what_the_class_has() -> None:
    assert suggested("dcgan", DIGITS) == {}
    few = suggested("dcgan", replace(DIGITS, count=400))
    assert few["augment"].value == ("translation", "cutout")
    assert not few.keys() & {"net", "flips", "loss"}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(60, ImageShape(3, 64, 64)), {"net": "residual", "width": 8, "batch_size": 16, "flips": True}),
        (Facts(400, ImageShape(1, 64, 64)), {"net": "residual", "critic_width": 16, "flips": True, "r1": 0.1}),
        (Facts(10_000, ImageShape(3, 32, 32)), {"net": "residual", "width": 16, "augment": (), "flips": True}),
        (Facts(10**6, ImageShape(3, 32, 32)), {"net": "residual", "flips": False, "augment": (), "batch_size": 64}),
    ],
)
def test_a_gan_of_other_images_is_residual(facts: Facts, expected: dict[str, Any]) -> None:
    options = of_gan(facts)
    assert options | expected == options
    steps = options["epochs"] * (facts.count // options["batch_size"])
    assert 10_000 <= steps <= 40_000
    assert bool(options["augment"]) == (facts.count < 5_000)


def test_what_is_given_of_a_gan_stays() -> None:
    colour = Facts(10_000, ImageShape(3, 32, 32))
    assert of_gan(colour, net="conv")["loss"] == "bce"
    assert of_gan(colour, loss="hinge", r1=0.0)["loss"] == "hinge"
    spectral, paper = of_gan(colour, recipe="spectral"), of_gan(colour, recipe="paper")
    plain = registry.find("dcgan").Options().model_dump()
    assert {name for name in plain if spectral[name] != plain[name]} == {"recipe", "epochs"}
    assert paper == registry.find("dcgan").Options(recipe="paper").model_dump()
