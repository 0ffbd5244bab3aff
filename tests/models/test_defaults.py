"""What isn't typed: what the models suggest for sets of all sizes, and what a run makes of that."""

from __future__ import annotations

from collections.abc import Mapping
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
