"""What is told of a training that goes wrong, when, and with which advice."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from conftest import small_model

from genkit.contract import Fault, ImageShape, Model
from genkit.run.watch import Watch, more_steps, steadier
from genkit.step.training import TrainingState

IMAGE = ImageShape(1, 8, 8)
COLLAPSED, ALIVE = {"active_units": 0.0}, {"active_units": 20.0}


def state_of(model: Model, epochs: int, steps_per_epoch: int) -> TrainingState:
    return TrainingState(model, epochs * steps_per_epoch, steps_per_epoch)


def vae(**options: object) -> Model:
    return small_model("vae", IMAGE, hidden=(4,), latent_dim=20, **options)


def told(
    caplog: pytest.LogCaptureFixture,
    state: TrainingState,
    validations: list[Mapping[str, float]],
    untrained: Mapping[str, float] | None = None,
) -> list[tuple[int, str]]:
    """What is said after each of the epochs, by its number."""
    watch, said = Watch(state, untrained), []
    for epoch, values in enumerate(validations, 1):
        caplog.clear()
        state.step = epoch * state.steps_per_epoch
        watch.look(values, last=state.step == state.total_steps)
        said += [(epoch, record.getMessage()) for record in caplog.records]
    return said


def test_a_fault_is_told_once_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    """A collapse at the first epoch that is gone by the second is none; one that comes back is told again."""
    state = state_of(vae(), 9, 400)
    history = [COLLAPSED, ALIVE, COLLAPSED, COLLAPSED, COLLAPSED, ALIVE, COLLAPSED, COLLAPSED, ALIVE]
    assert [epoch for epoch, _ in told(caplog, state, history)] == [4, 8]


def test_a_fault_of_the_last_validation_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert [epoch for epoch, _ in told(caplog, state_of(vae(), 3, 400), [ALIVE, ALIVE, COLLAPSED])] == [3]


def test_what_may_pass_with_more_steps_waits_for_them(caplog: pytest.LogCaptureFixture) -> None:
    """Two steps an epoch: the first dozens of validations see next to nothing."""
    state = state_of(vae(), 200, 2)
    assert [epoch for epoch, _ in told(caplog, state, [COLLAPSED] * 120)] == [100]
    state = state_of(vae(), 1000, 2)
    assert [epoch for epoch, _ in told(caplog, state, [COLLAPSED] * 200)] == [150]


def test_few_steps_are_the_advice_where_there_are_few(caplog: pytest.LogCaptureFixture) -> None:
    ((epoch, said),) = told(caplog, state_of(vae(), 20, 2), [COLLAPSED] * 20)
    assert epoch == 10
    assert said == (
        "posterior collapse: 0 of 20 latent units are active, so the code says little; "
        "the run has only 40 steps, and what usually helps is more: --epochs 150"
    )
    assert more_steps(state_of(vae(), 150, 2)) == ""
    planned = more_steps(TrainingState(vae(steps=40), 40, 2))
    assert planned == "the run has only 40 steps, and what usually helps is more: --steps 300"


@pytest.mark.parametrize(
    ("options", "helps"),
    [
        ({}, ["--kl-warmup 5", "a --beta below 1", "a lower --lr (it is 0.004)"]),
        ({"kl_warmup": 10.0, "beta": 0.5, "lr": 1e-3}, ["a lower --lr (it is 0.001)"]),
        ({"kl_warmup": 10.0, "beta": 8.0}, ["a lower --beta (it is 8)", "a lower --lr (it is 0.004)"]),
        ({"objective": "iwae", "k": 5}, ["a lower --lr (it is 0.004)"]),
    ],
)
def test_advice_names_what_is_not_set(options: dict[str, object], helps: list[str]) -> None:
    fault = vae(**options).watch([COLLAPSED])["posterior collapse"]
    assert isinstance(fault, Fault)
    assert list(fault.helps) == helps


def test_a_gan_is_not_told_to_use_the_norm_that_it_has() -> None:
    history = [{"critic/real": 0.99, "critic/fake": 0.01, "diversity": 0.1}] * 3
    for norm, named in (("spectral", False), ("batch", True)):
        for fault in small_model("dcgan", IMAGE, width=1, critic_norm=norm).watch(history).values():
            assert ("--critic-norm spectral" in fault.helps) is named


def test_a_validation_many_times_worse_is_told_when_it_comes_to_that(caplog: pytest.LogCaptureFixture) -> None:
    state = state_of(vae(grad_clip=1.0, lr_warmup=1.0), 20, 400)
    history = [{"neg_elbo": value} for value in (150.0, 120.0, 300.0, 1e10, 1e9, 110.0, 1e10)]
    said = told(caplog, state, history, {"neg_elbo": 200.0})
    assert said == [
        (4, "divergence: the validation's neg_elbo is 1e+10, and was 120 at its best; what usually helps: a lower --lr "
            "(it is 0.004)"),
        (7, "divergence: the validation's neg_elbo is 1e+10, and was 110 at its best; what usually helps: a lower --lr "
            "(it is 0.004)"),
    ]  # fmt: skip


def test_so_is_a_first_one_that_is_worse_than_no_training(caplog: pytest.LogCaptureFixture) -> None:
    state = state_of(vae(), 20, 1)
    ((epoch, said),) = told(caplog, state, [{"neg_elbo": 2.4e15}, {"neg_elbo": 2e15}], {"neg_elbo": 136_000.0})
    assert epoch == 1
    assert "2.4e+15, and was 1.36e+05 at its best (before the first step)" in said


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 0.01, 0.02],  # a share of errors that was nothing
        [-3.0, 30.0, -5.0],  # a density's logarithm on its way through 0
        [-2000.0, -1500.0, -2100.0],
    ],
)
def test_small_ups_and_downs_are_not_told(caplog: pytest.LogCaptureFixture, values: list[float]) -> None:
    assert not told(caplog, state_of(vae(), 20, 400), [{"neg_elbo": each} for each in [500.0, *values]])


def test_what_keeps_a_training_steady_is_named_where_it_is_not_set() -> None:
    assert steadier(vae().options, 400) == ["a lower --lr (it is 0.004)", "--grad-clip 1", "--lr-warmup 1"]
    assert steadier(vae(grad_clip=5.0, lr_warmup=1.0).options, 400) == ["a lower --lr (it is 0.004)"]
    # Half an epoch of a single step is no warm-up.
    assert steadier(vae(epochs=100, grad_clip=1.0).options, 1)[-1] == "--lr-warmup 10"
