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
    by_steps = defaults.training(TrainingOptions(steps=1000), Facts(1000, ImageShape(1, 8, 8)))
    assert {name: each.value for name, each in by_steps.items()} == {"lr_warmup": 3.571}  # 2.5 % of 143 passes


def test_a_set_of_which_one_pass_is_too_long_gets_steps() -> None:
    found = defaults.training(TrainingOptions(lr_warmup=0), Facts(10**7, ImageShape(1, 8, 8)), 5_000, 40_000)
    assert {name: each.value for name, each in found.items()} == {"steps": 40_000}
    assert found["steps"].reason == "10,000,000 images make 78,125 steps a pass, and a run takes 40,000 at most"


@pytest.mark.parametrize("given", [{"epochs": 3}, {"steps": 7}, {"minutes": 2.0}])
def test_how_long_to_train_is_left_to_whoever_says_it(given: dict[str, Any]) -> None:
    found = defaults.training(TrainingOptions(**given, lr_warmup=0), Facts(48, ImageShape(1, 8, 8)))
    assert found.keys() == {"batch_size"}


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
        (
            Facts(400, ImageShape(1, 64, 64)),
            {"net": "residual", "critic_width": 16, "flips": True, "r1": 1.0, "lr": 2e-3, "batch_size": 32},
        ),
        (Facts(10_000, ImageShape(3, 32, 32)), {"net": "residual", "augment": (), "flips": True, "batch_size": 32}),
        (Facts(10**6, ImageShape(3, 32, 32)), {"net": "residual", "flips": False, "augment": (), "batch_size": 32}),
    ],
)
def test_a_gan_of_other_images_is_residual(facts: Facts, expected: dict[str, Any]) -> None:
    options = of_gan(facts)
    assert options | expected == options
    steps = options["epochs"] * (facts.count // options["batch_size"])
    assert 20_000 <= steps <= 40_000
    assert bool(options["augment"]) == (facts.count < 5_000)


def test_what_has_a_side_is_not_mirrored() -> None:
    """Sprites, which mostly face one way, and images whose attributes may say which."""
    faces = Facts(16_000, ImageShape(3, 32, 32), attributes=4, extremes=0.04)
    assert of_gan(faces)["flips"]
    assert of_gan(faces, condition="label")["flips"]
    assert not of_gan(faces, condition="attributes")["flips"]
    assert not of_gan(replace(faces, extremes=0.8))["flips"]


def test_what_is_given_of_a_gan_stays() -> None:
    colour = Facts(10_000, ImageShape(3, 32, 32))
    assert of_gan(colour, net="conv")["loss"] == "bce"
    assert of_gan(colour, loss="hinge", r1=0.0)["loss"] == "hinge"
    normed = of_gan(colour, critic_norm="batch")  # which is of the paper's nets alone
    assert (normed["net"], normed["critic_norm"], normed["loss"], normed["width"]) == ("conv", "batch", "bce", 32)
    spectral, paper = of_gan(colour, recipe="spectral"), of_gan(colour, recipe="paper")
    plain = registry.find("dcgan").Options().model_dump()
    assert {name for name in plain if spectral[name] != plain[name]} == {"recipe", "epochs"}
    assert paper == registry.find("dcgan").Options(recipe="paper").model_dump()


def of_vae(facts: Facts, model: str = "vae", **given: Any) -> dict[str, Any]:
    kind = registry.find(model)
    options = kind.Options(**given)
    found = {name: each.value for name, each in kind.defaults_for(options, facts).items() if name not in given}
    return kind.Options(**{**given, **found}).model_dump()


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(48, ImageShape(3, 64, 64)), {"latent_dim": 8, "width": 16, "batch_size": 16, "flips": True}),
        (Facts(320, ImageShape(1, 64, 64)), {"latent_dim": 40, "width": 16, "batch_size": 32}),
        (Facts(9_000, ImageShape(3, 32, 32)), {"latent_dim": 128, "width": 32, "batch_size": 64}),
        (Facts(10**6, ImageShape(3, 32, 32)), {"latent_dim": 128, "flips": False}),
        (Facts(1, ImageShape(1, 1, 1)), {"latent_dim": 1}),
        (replace(DIGITS, shape=ImageShape(1, 64, 64)), {"latent_dim": 128}),
        (Facts(5_000, ImageShape(1, 64, 64), extremes=0.95), {"latent_dim": 128, "flips": False}),
    ],
)
@pytest.mark.parametrize("model", ["vae", "ae", "conv-ae"])
def test_what_is_no_digit_begins_at_pca(model: str, facts: Facts, expected: dict[str, Any]) -> None:
    options = of_vae(facts, model)
    if model == "ae":
        expected = {name: value for name, value in expected.items() if name not in ("width", "batch_size")}
    assert options | {**expected, "shortcut": "linear"} == options
    assert model == "ae" or options["net"] == "residual"
    assert model != "vae" or options["likelihood"] == "logistic"


@pytest.mark.parametrize("model", ["vae", "ae", "conv-ae"])
def test_few_digits_begin_at_pca(model: str) -> None:
    few = of_vae(replace(DIGITS, count=500), model)
    plain = registry.find(model).Options().model_dump()
    changed = {name for name in plain if few[name] != plain[name]}
    assert few["shortcut"] == "linear"
    assert changed <= {"shortcut", "batch_size", "epochs", "lr_warmup"}


def test_what_is_given_of_a_vae_stays() -> None:
    colour = Facts(9_000, ImageShape(3, 32, 32))
    plain = of_vae(colour, net="conv", likelihood="gaussian", latent_dim=20)
    assert (plain["net"], plain["likelihood"], plain["latent_dim"], plain["width"]) == ("conv", "gaussian", 20, 16)
    assert of_vae(colour, hidden=(64,))["net"] == "mlp"
    assert of_vae(colour, binarize="dynamic")["likelihood"] == "bernoulli"
    assert of_vae(colour, "beta-tc")["shortcut"] == "none"


@pytest.mark.parametrize("count", [48, 320, 9_000, 54_000, 1_000_000])
@pytest.mark.parametrize("model", ["ae", "conv-ae", "vae", "dcgan"])
def test_sets_of_all_sizes_get_steps_enough_and_not_too_many(model: str, count: int) -> None:
    for shape in (ImageShape(1, 64, 64), ImageShape(3, 32, 32)):
        found = suggested(model, Facts(count, shape, extremes=0.05))
        values = {**registry.find(model).Options().model_dump(), **{name: each.value for name, each in found.items()}}
        a_pass = max(1, count // values["batch_size"])
        assert 2_500 <= (values["steps"] or values["epochs"] * a_pass) <= 40_000
