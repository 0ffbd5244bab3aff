"""Phases in their time: who trains in which step, how often, by which optimiser, and that nothing else moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genkit.contract import Batch, ImageShape, Model, Phase, TrainingOptions
from genkit.data.batches import TrainingBatches
from genkit.data.dataset import Dataset
from genkit.errors import GenkitError, UsageError
from genkit.run.validation import validate
from genkit.step.training import TrainingState, lr_factor, train, windows

IMAGE = ImageShape(1, 28, 28)


class Stages(Model):
    """A first layer for the first half of the run, a second for the rest, each with batch statistics of its own."""

    def __init__(self, image: ImageShape = IMAGE, options: Any = None, **phases: Any):
        super().__init__(image, options or TrainingOptions(lr_warmup=0, schedule="cosine"))
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(image.numbers, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(8, 10), nn.BatchNorm1d(10))
        self.other = nn.Linear(8, 10)
        self.phase_options = phases

    def phases(self) -> list[Phase]:
        sgd = {"kind": "sgd", "lr": 0.05, "momentum": 0.9}
        return [
            Phase("first", self.first, self.first_losses, sgd, ends=0.5),
            Phase("second", self.second, self.second_losses, {"kind": "rmsprop", "lr": 1e-3}, begins=0.5),
        ]

    def first_losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self.other(self.first(batch.images)), batch.labels)}

    def second_losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self.second(self.first(batch.images)), batch.labels)}

    def features(self, images: Tensor) -> Tensor:
        return self.first(images)


@pytest.fixture
def batches(digits: Dataset) -> TrainingBatches:
    return TrainingBatches(digits.train.take(slice(0, 400)), 40, 0, torch.device("cpu"))


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_outside_its_time_nothing_of_a_phase_moves(batches: TrainingBatches) -> None:
    """Neither weights, though its momentum is full, nor batch statistics, though its module is used."""
    model = Stages()
    state = TrainingState(model, total_steps=20, steps_per_epoch=10)
    first, second = copy_of(model.first), copy_of(model.second)
    names = [set(metrics) for metrics in train(state, batches.epoch(0))]
    assert same(copy_of(model.second), second)
    assert not same(copy_of(model.first), first)
    finished = copy_of(model.first)
    assert float(state.optimizers[0].state[0]["momentum_buffer"].abs().max()) > 0
    names += [set(metrics) for metrics in train(state, batches.epoch(1))]
    assert same(copy_of(model.first), finished)
    assert not same(copy_of(model.second), second)
    assert names == [{"first/loss", "first/grad_norm"}] * 10 + [{"second/loss", "second/grad_norm"}] * 10


def test_what_is_in_its_time_is_back_in_training_mode_after_a_validation(batches: TrainingBatches) -> None:
    model = Stages()
    state = TrainingState(model, 20, 10)
    list(train(state, batches.epoch(0)))
    statistics = copy_of(model.second)["1.running_mean"]
    model.eval()
    next(iter(train(state, batches.epoch(1))))
    assert (model.second.training, model.first.training) == (True, False)
    assert not torch.equal(model.second[1].running_mean, statistics)


def test_each_phase_has_the_schedule_of_its_own_time() -> None:
    state = TrainingState(Stages(options=TrainingOptions(lr_warmup=0.5)), 40, 10)
    found = []
    for step in range(40):
        state.step = step
        ((_, _, share),) = state.ready()
        found.append(share)
    assert found == [lr_factor(state.model.options, step % 20, 20, 10) for step in range(40)]


def test_where_the_stage_ends() -> None:
    state = TrainingState(Stages(), 20, 10)
    ends = []
    for step in range(21):
        state.step = step
        ends.append(state.stage_ends)
    assert [step for step, each in enumerate(ends) if each] == [10, 20]
    assert (state.phases_of(0), state.phases_of(10), state.phases_of(11)) == (["first"], ["first"], ["second"])


class Critic(Model):
    """Five steps of the critic a batch, with a gradient penalty, after one of the generator."""

    def __init__(self, steps: int = 5):
        super().__init__(IMAGE, TrainingOptions(lr_warmup=0, schedule="constant"))
        self.critic = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Tanh(), nn.Linear(16, 1))
        self.generator = nn.Sequential(nn.Linear(4, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)))
        self.steps = steps

    def phases(self) -> list[Phase]:
        sgd = {"kind": "sgd", "lr": 1e-2, "momentum": 0.5}
        return [
            Phase("generator", self.generator, self.generator_losses, sgd),
            Phase("critic", self.critic, self.critic_losses, sgd, steps=self.steps),
        ]

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": -self.critic(self.generator(torch.ones(len(batch.images), 4))).mean()}

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        made = self.generator(torch.ones(len(batch.images), 4)).detach()
        between = (0.5 * (batch.images + made)).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return {"loss": self.critic(made).mean() - self.critic(batch.images).mean() + 10 * penalty, "penalty": penalty}

    def features(self, images: Tensor) -> Tensor:
        return self.critic[:3](images)


def test_a_critics_five_steps_are_those_of_one_optimiser(batches: TrainingBatches) -> None:
    """Held against torch's SGD, called five times a batch by hand."""
    torch.manual_seed(0)
    model = Critic()
    torch.manual_seed(0)
    plain = Critic()
    list(train(TrainingState(model, 10, 10), batches.epoch(0)))
    parts = [(plain.generator, plain.generator_losses, 1), (plain.critic, plain.critic_losses, 5)]
    optimizers = [torch.optim.SGD(module.parameters(), lr=1e-2, momentum=0.5) for module, _, _ in parts]
    for batch in batches.epoch(0):
        for (_, losses, steps), optimizer in zip(parts, optimizers, strict=True):
            for _ in range(steps):
                plain.zero_grad()
                losses(batch)["loss"].backward()
                optimizer.step()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_loss_that_takes_gradients_itself_can_be_validated(digits: Dataset) -> None:
    """Its weights are frozen meanwhile, and can move again afterwards."""
    model = Critic()
    model.critic.requires_grad_(False)
    values = validate(model, digits.val.take(slice(0, 30)), torch.device("cpu"))
    assert {"generator/loss", "critic/loss", "critic/penalty"} <= values.keys()
    assert all(each.requires_grad for each in model.generator.parameters())
    assert not any(each.requires_grad for each in model.critic.parameters())
    assert all(each.grad is None for each in model.parameters())


def test_a_validation_is_of_the_phases_that_train(digits: Dataset) -> None:
    some = digits.val.take(slice(0, 30))
    assert validate(Stages(), some, torch.device("cpu"), phases=["second"]).keys() == {"second/loss"}
    assert validate(Stages(), some, torch.device("cpu")).keys() == {"first/loss", "second/loss"}


def phase(name: str = "", **time: Any) -> Phase:
    return Phase(name, nn.Linear(1, 1), lambda batch: {}, {"lr": 1.0}, **time)


@pytest.mark.parametrize(
    ("shares", "steps", "wanted"),
    [
        ([(0, 1)], 7, [range(0, 7)]),
        ([(0, 0.5), (0.5, 1)], 7, [range(0, 4), range(4, 7)]),
        ([(0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1)], 30, [range(0, 10), range(10, 20), range(20, 30)]),
        ([(0, 0.6), (0.4, 1)], 10, [range(0, 6), range(4, 10)]),
        ([(0, 0), (0, 1)], 10, [range(0, 0), range(0, 10)]),
    ],
)
def test_shares_become_steps(shares: list[tuple[float, float]], steps: int, wanted: list[range]) -> None:
    phases = [phase(str(k), begins=begins, ends=ends) for k, (begins, ends) in enumerate(shares)]
    assert windows(phases, steps) == wanted


@pytest.mark.parametrize("epochs", [1, 3, 7, 10, 49, 100])
def test_a_share_of_epochs_is_those_epochs(epochs: int) -> None:
    """Whatever their number, in steps, and whatever the rounding of the share."""
    options = TrainingOptions(epochs=epochs)
    for each in range(epochs + 1):
        for per_epoch in (1, 31, 468):
            window = phase(begins=0, ends=options.share(each)).window(epochs * per_epoch)
            assert len(window) == each * per_epoch
    assert options.share(epochs + 5) == 1


@pytest.mark.parametrize(
    ("phases", "steps", "error", "said"),
    [
        ([phase("a"), phase("a")], 10, GenkitError, "two phases of one name"),
        ([phase("a"), phase("b", begins=0.5, ends=0.5)], 10, UsageError, "'b'; give more --epochs"),
        ([phase("a"), phase("b", begins=1, ends=1)], 10, UsageError, "'b'; give more --epochs"),
        ([phase("a", begins=0.6, ends=0.5)], 10, GenkitError, "'a' begins at 0.6"),
        ([phase("gan"), phase("gan/critic")], 10, GenkitError, "'gan/critic'; its name has no slash"),
        ([phase(""), phase("model")], 10, GenkitError, "isn't 'model'"),
        ([phase("a", steps=2.5)], 10, GenkitError, "takes 2.5 steps"),
        ([phase("a")._replace(module=nn.ReLU())], 10, GenkitError, "'a' has a module without weights"),
        ([phase("a", ends=1.5)], 10, GenkitError, "ends at 1.5"),
        ([phase("a", steps=0)], 10, GenkitError, "takes 0 steps"),
        ([phase("a", begins=0.2)], 10, GenkitError, "trains in step 0"),
        ([phase("a", ends=0.3), phase("b", begins=0.6)], 10, GenkitError, "trains in step 3"),
        ([phase("a", ends=0.1), phase("b", begins=0.1)], 2, UsageError, "'a'; give more --epochs"),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused(
    phases: list[Phase], steps: int, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        windows(phases, steps)
