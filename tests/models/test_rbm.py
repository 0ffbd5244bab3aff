"""Boltzmann machines against enumeration: of 4×3 units every state can be counted, and so likelihood and gradient."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Genkit, random_batch, saved_checkpoint
from torch import Tensor

from genkit.contract import Batch, ImageShape
from genkit.data.dataset import Dataset
from genkit.latent import sampling
from genkit.models import rbm
from genkit.models.ae import AE
from genkit.models.rbm import DRAWN, RBM, Machine, Noise, noise_by
from genkit.run.validation import validate
from genkit.step.training import TrainingState, train
from genkit.testing import contract, random_images, random_split

CPU = torch.device("cpu")
IMAGE = ImageShape(1, 6, 5)
VISIBLE, HIDDEN = 4, 3
#: Every state of so many binary units, a row each.
STATES = torch.tensor(list(itertools.product((0.0, 1.0), repeat=VISIBLE)), dtype=torch.float64)
HIDDEN_STATES = torch.tensor(list(itertools.product((0.0, 1.0), repeat=HIDDEN)), dtype=torch.float64)

Test_persistent = contract(
    "rbm", hidden=(16,), latent_dim=6, chains="persistent", cd_steps=2, fantasies=7, code="binary", initial_epochs=0.5
)
Test_persistent.shapes = (ImageShape(1, 28, 28), ImageShape(3, 8, 8))


def machine(linear: bool = False, hidden: int = HIDDEN, **options: Any) -> Machine:
    """One of large weights and biases, in double precision."""
    torch.manual_seed(0)
    made = Machine(VISIBLE, hidden, linear, **options).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0, 1)
    return made


def small(image: ImageShape = IMAGE, **options: Any) -> RBM:
    torch.manual_seed(0)
    return RBM(image, RBM.Options(**{"hidden": (9, 7), "latent_dim": 3, **options}))


def energies(of: Machine) -> Tensor:
    """E(v, h) of every state of both, as the sum over units and pairs of units: (16, 8)."""
    joint = torch.zeros(len(STATES), len(HIDDEN_STATES), dtype=torch.float64)
    for i in range(VISIBLE):
        joint = joint - of.visible_bias[i] * STATES[:, i, None]
    for j in range(HIDDEN):
        joint = joint - of.hidden_bias[j] * HIDDEN_STATES[None, :, j]
        for i in range(VISIBLE):
            joint = joint - of.weight[j, i] * STATES[:, i, None] * HIDDEN_STATES[None, :, j]
    return joint


def log_probabilities(of: Machine) -> Tensor:
    """ln p(v) of every visible state, by the sum over all of both: (16,)."""
    joint = energies(of)
    return (-joint).logsumexp(1) - (-joint).flatten().logsumexp(0)


# -- one machine -------------------------------------------------------------------------------------------------------


def test_the_free_energy_is_that_of_all_hidden_states() -> None:
    of = machine()
    torch.testing.assert_close(of.free_energy(STATES), -(-energies(of)).logsumexp(1))


def test_the_free_energy_of_linear_units_is_that_of_an_integral() -> None:
    """∫exp(−E(v, h)) dh over one hidden unit, by the trapezoidal rule; √2π is the same of every v."""
    of = machine(linear=True, hidden=1)
    h = torch.linspace(-30, 30, 20_001, dtype=torch.float64)
    inputs = STATES @ of.weight[0]
    energy = h.square() / 2 - (STATES @ of.visible_bias)[:, None] - (of.hidden_bias + inputs[:, None]) * h
    summed = torch.trapezoid((-energy).exp(), h).log()
    torch.testing.assert_close(of.free_energy(STATES), 0.5 * math.log(2 * math.pi) - summed)


def test_with_the_models_own_samples_the_loss_has_the_likelihoods_gradient() -> None:
    """Each state as the sample, with its probability: the gradient is linear in what the samples are."""
    of = machine()
    images = STATES[[1, 1, 6, 11, 14]]
    log_p = log_probabilities(of)
    likelihood = log_p[[1, 1, 6, 11, 14]].mean()
    expected = torch.autograd.grad(likelihood, list(of.parameters()), retain_graph=True)
    weighed = zip(log_p.exp().detach(), STATES, strict=True)
    loss = torch.stack([p * of.divergence(images, state[None]) for p, state in weighed]).sum()
    for found, wanted in zip(torch.autograd.grad(loss, list(of.parameters())), expected, strict=True):
        torch.testing.assert_close(found, -wanted)
        assert wanted.abs().min() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("noise", [DRAWN, noise_by(torch.tensor(3))], ids=["torch's", "by a key"])
def test_gibbs_sampling_leaves_the_models_distribution_as_it_is(noise: Noise) -> None:
    """By the chance of each way through the hidden states; and what is drawn from one state goes those ways."""
    of = machine()
    odds = of.hidden_given(STATES)[:, None]
    up = (HIDDEN_STATES * odds + (1 - HIDDEN_STATES) * (1 - odds)).prod(2)
    odds = of.visible_given(HIDDEN_STATES)[:, None]
    down = (STATES * odds + (1 - STATES) * (1 - odds)).prod(2)
    p, step = log_probabilities(of).exp(), up @ down
    torch.testing.assert_close(p @ step, p)

    torch.manual_seed(0)
    count = 40_000
    for start in (0, 13):
        drawn = of.gibbs(STATES[start].expand(count, -1), 1, noise)
        found = (drawn @ torch.tensor([8.0, 4, 2, 1], dtype=torch.float64)).long().bincount(minlength=16) / count
        assert (found - step[start]).abs().max() < 4 * 0.5 / count**0.5
        two = of.gibbs(STATES[start].expand(count, -1), 2, noise)
        assert (two.mean(0) - (step @ step)[start] @ STATES).abs().max() < 4 * 0.5 / count**0.5


@pytest.mark.parametrize("linear", [False, True], ids=["binary", "linear"])
@pytest.mark.parametrize("steps", [1, 3])
def test_contrastive_divergence_is_that_of_the_authors_code(linear: bool, steps: int) -> None:
    """Hidden units drawn, visible ones their odds; products of data and model; a decay of the weights alone."""
    of = machine(linear=linear, steps=steps, decay=0.3)
    data = torch.rand(5, VISIBLE, dtype=torch.float64)
    torch.manual_seed(7)
    losses = of.losses(data)
    found = torch.autograd.grad(losses["loss"], [of.weight, of.visible_bias, of.hidden_bias])

    def hidden(v: Tensor) -> Tensor:
        inputs = v @ of.weight.T + of.hidden_bias
        return inputs if linear else torch.sigmoid(inputs)

    torch.manual_seed(7)
    model, first = data, data
    for step in range(steps):
        drawn = hidden(model)
        drawn = drawn + torch.randn_like(drawn) if linear else (torch.rand_like(drawn) < drawn).double()
        model = torch.sigmoid(drawn @ of.weight + of.visible_bias)
        first = model if step == 0 else first
    products = (hidden(data).T @ data - hidden(model).T @ model) / 5
    torch.testing.assert_close(found[0], -products + 0.3 * of.weight)
    torch.testing.assert_close(found[1], -(data - model).mean(0))
    torch.testing.assert_close(found[2], -(hidden(data) - hidden(model)).mean(0))
    torch.testing.assert_close(losses["error"], (first - data).square().sum(1).mean())


def test_first_weights_and_biases_are_those_of_the_authors_code() -> None:
    torch.manual_seed(0)
    of = Machine(200, 300, linear=False)
    assert float(of.weight.detach().std()) == pytest.approx(0.1, rel=0.02)
    assert not of.visible_bias.any()
    assert not of.hidden_bias.any()


# -- the stack ---------------------------------------------------------------------------------------------------------


def test_each_machine_has_its_time_and_first_a_smaller_momentum() -> None:
    phases = small(hidden=(9,), epochs=8, initial_epochs=1, lr=0.2, code_lr=0.02).phases()
    said = [(each.name, each.window(80), each.optimizer["lr"], each.optimizer["momentum"]) for each in phases]
    assert said == [
        ("layer1-initial", range(10), 0.2, 0.5),
        ("layer1", range(10, 40), 0.2, 0.9),
        ("layer2-initial", range(40, 50), 0.02, 0.5),
        ("layer2", range(50, 80), 0.02, 0.9),
    ]
    assert [each.name for each in small(epochs=9, initial_epochs=3).phases()] == [
        f"layer{k}-initial" for k in (1, 2, 3)
    ]
    assert [each.name for each in small(initial_epochs=0).phases()] == ["layer1", "layer2", "layer3"]
    assert [each.linear for each in small().stack] == [False, False, True]
    assert [each.linear for each in small(code="binary").stack] == [False, False, False]


def test_a_machine_learns_what_the_ones_below_make_of_images_and_moves_none_of_them() -> None:
    model = small(initial_epochs=0)
    state = TrainingState(model, 9, 9)
    seen: list[Tensor] = []
    model.stack[2].losses = lambda visible, own=model.stack[2].losses: seen.append(visible) or own(visible)  # type: ignore
    before = {name: each.clone() for name, each in model.named_parameters()}
    batch = random_batch(IMAGE)
    for step, _ in enumerate(train(state, [batch] * 9), 1):
        moved = {name.split(".")[1] for name, each in model.named_parameters() if not torch.equal(each, before[name])}
        assert moved == {str(number) for number in range(3) if step > 3 * number}
    images = batch.images.flatten(1)
    below = [each.weight for each in model.stack], [each.hidden_bias for each in model.stack]
    expected = torch.sigmoid(torch.sigmoid(images @ below[0][0].T + below[1][0]) @ below[0][1].T + below[1][1])
    assert len(seen) == 3
    torch.testing.assert_close(seen[-1], expected)


def test_a_validation_has_the_error_of_the_images_themselves() -> None:
    model = small().eval()
    batch = random_batch(IMAGE)
    back = model.decode(model.encode(batch.images))
    found = model.phases()[-1].losses(batch)["squared_error"]
    torch.testing.assert_close(found, (back - batch.images).square().flatten(1).sum(1).mean())
    assert model.monitor == "layer3/squared_error"


def test_a_stack_learns_to_give_digits_back(digits: Dataset) -> None:
    """Through both machines, better than the mean image after a few seconds."""
    torch.manual_seed(0)
    model = RBM(digits.shape, RBM.Options(hidden=(64,), latent_dim=12, epochs=1, initial_epochs=0.5, code_lr=5e-3))
    images = digits.train.images().float() / 255
    batches = [Batch(part, None, torch.tensor(0.0)) for _ in range(12) for part in images.split(100)[:40]]
    list(train(TrainingState(model, len(batches), len(batches)), batches))
    test = digits.test.images().float() / 255
    with torch.no_grad():
        error = (model.eval().decode(model.encode(test)) - test).square().flatten(1).sum(1).mean()
    of_mean = (test - images.mean(0)).square().flatten(1).sum(1).mean()
    assert float(error) < 0.8 * float(of_mean)


def test_an_error_that_rises_is_told_with_what_helps() -> None:
    model = small(initial_epochs=1)
    history = [{"layer1/error": 3.0}, {"layer2-initial/error": 8.0}, {"layer2/error": 6.0}, {"layer2/error": 6.5}]
    assert not any(model.watch(history[: count + 1]) for count in range(len(history)))
    told = model.watch([*history, {"layer2/error": 6.7}])
    said = str(told["rising error"])
    assert "layer 2 gives its input back with an error of 6.7, and did with 6; what usually helps: a lower --lr" in said
    assert "--code-lr (it is 0.001)" in str(model.watch([{"layer3/error": 1.0}, {"layer3/error": 2.0}])["rising error"])
    persistent = small(chains="persistent", initial_epochs=1)
    assert not persistent.watch([{"layer3/error": 1.0}, {"layer3/error": 2.0}])


# -- persistent chains -------------------------------------------------------------------------------------------------


def test_a_step_moves_the_chains_of_its_machine_and_a_validation_none() -> None:
    model = small(chains="persistent", initial_epochs=0, fantasies=6)
    state = TrainingState(model, 3, 3)
    images = random_split(IMAGE, 9)
    chains = [each.chains.clone() for each in model.stack]
    for step, _ in enumerate(train(state, [random_batch(IMAGE)] * 3)):
        moved = [not torch.equal(each.chains, before) for each, before in zip(model.stack, chains, strict=True)]
        assert moved == [number == step for number in range(3)]
        chains = [each.chains.clone() for each in model.stack]
        assert set(chains[step].unique().tolist()) == {0.0, 1.0}
        assert validate(model, images, CPU) == validate(model, images, CPU)
        assert all(torch.equal(each.chains, before) for each, before in zip(model.stack, chains, strict=True))


def test_persistent_chains_are_the_samples_of_the_loss() -> None:
    of = machine(chains=8).eval()
    of.chains.copy_(STATES[:8])
    data = torch.rand(5, VISIBLE, dtype=torch.float64)
    loss = of.losses(data)["loss"]
    torch.testing.assert_close(loss, of.divergence(data, of.gibbs(STATES[:8], 1, noise_by(of.key))))


def test_random_numbers_by_a_key_are_splitmix64s() -> None:
    """Its first outputs of the seed 1234567 as they are published; and even or normal, and others with each draw."""
    golden, seed = rbm.GOLDEN, torch.tensor(1234567)
    found = rbm.mixed(seed + torch.arange(1, 4) * golden)
    assert [int(each) % 2**64 for each in found] == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    noise, like = noise_by(torch.tensor(7)), torch.empty(300, 200)
    drawn = [noise.uniform(like), noise.uniform(like), noise_by(torch.tensor(8)).uniform(like)]
    assert torch.equal(drawn[1], drawn[2])  # the second of a key is the first of the next, as chains go on
    assert torch.equal(drawn[0], noise_by(torch.tensor(7)).uniform(like))
    counts = drawn[0].flatten().mul(10).long().bincount(minlength=10)
    assert (counts - 6000).abs().max() < 5 * 6000**0.5
    assert 0 < drawn[0].min() < drawn[0].max() < 1
    assert abs(float(torch.corrcoef(torch.stack([each.flatten() for each in drawn[:2]]))[0, 1])) < 5 / 60_000**0.5
    normal = noise.normal(like)
    assert float(normal.mean()) == pytest.approx(0, abs=5 / 60_000**0.5)
    assert float(normal.std()) == pytest.approx(1, abs=0.02)


def test_chains_are_alike_whatever_else_two_processes_draw_and_see() -> None:
    """Of the same weights: those are kept equal, and the images, and torch's random numbers, are each process's own."""
    ours, theirs = machine(chains=5), machine(chains=5)
    for step in range(3):
        torch.manual_seed(step)
        ours.losses(torch.rand(4, VISIBLE, dtype=torch.float64))
        torch.manual_seed(step + 10)
        theirs.losses(torch.rand(3, VISIBLE, dtype=torch.float64))
        assert torch.equal(ours.chains, theirs.chains)


# -- chains of the sampler ---------------------------------------------------------------------------------------------


def test_a_chain_draws_from_the_topmost_machine() -> None:
    """Many codes' chains have the mean of the distribution, which none of the codes says anything of."""
    model = RBM(ImageShape(1, 2, 2), RBM.Options(hidden="none", latent_dim=HIDDEN, code="binary")).double().eval()
    of = machine()
    model.stack[0].load_state_dict(of.state_dict())
    model.sampling = model.Sampling(gibbs=30)
    count = 4000
    with torch.no_grad():
        found = model.decode(torch.randn(count, HIDDEN, dtype=torch.float64)).flatten(1).mean(0)
        expected = log_probabilities(of).exp() @ STATES
    assert (found - expected).abs().max() < 4 * 0.5 / count**0.5
    assert (expected - 0.5).abs().max() > 0.1


def test_a_seed_has_one_image_whatever_its_neighbours_are() -> None:
    model = small().eval()
    model.sampling = model.Sampling(gibbs=7)
    many = sampling.decode(model, sampling.seed_codes(model, range(40)))
    torch.rand(5)  # the sampler's own random numbers are no others'
    assert torch.equal(sampling.decode(model, sampling.seed_codes(model, [35, 3])), many[[35, 3]])
    model.sampling = model.Sampling(gibbs=8)
    assert not torch.equal(sampling.decode(model, sampling.seed_codes(model, [3])), many[[3]])


# -- unrolled ----------------------------------------------------------------------------------------------------------


def trained(image: ImageShape, **options: Any) -> RBM:
    model = small(image, **options)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    return model.eval()


def unrolled(source: RBM) -> AE:
    options = AE.options_for(AE.Options(**(AE.options_from(source) or {})), random_images(source.image))
    model = AE(source.image, options).eval()
    taken = model.weights_from(source)
    assert taken.keys() == {name for name, _ in model.named_parameters()}
    model.load_state_dict({**model.state_dict(), **taken})
    return model


@pytest.mark.parametrize("hidden", [(9, 7), ()], ids=str)
def test_an_autoencoder_begins_as_the_stack(hidden: tuple[int, ...]) -> None:
    source = trained(IMAGE, hidden=hidden)
    model, images = unrolled(source), torch.rand(5, *IMAGE)
    torch.testing.assert_close(model.encode(images), source.encode(images))
    torch.testing.assert_close(model.decode(model.encode(images)), source.decode(source.encode(images)))


def test_an_autoencoder_of_large_images_begins_so_too() -> None:
    image = ImageShape(3, 30, 20)
    source = trained(image)
    model, images = unrolled(source), torch.rand(5, *image)
    assert model.options.input_scale == pytest.approx(1024 / 1800)
    torch.testing.assert_close(model.encode(images), source.encode(images), rtol=1e-4, atol=1e-4)


def test_train_ae_begins_with_a_run_and_refuses_what_it_cannot_be(genkit: Genkit, tmp_path: Path) -> None:
    source = saved_checkpoint(tmp_path / "rbm", small(ImageShape(1, 28, 28), initial_epochs=0, hidden=(9,)))
    common = ("train", "ae", "--dataset", "mnist5k", "--init-from", source, "--out", tmp_path / "runs")
    options = genkit(*common, "-n", "--json").json["options"]
    assert options["hidden"] == [9]
    assert (options["latent_dim"], options["activation"], options["loss"]) == (3, "sigmoid", "cross-entropy")
    assert options["shortcut"] == "none"
    for more, says in (
        (("--activation", "relu"), "unrolled, an rbm has activation sigmoid; leave out --activation relu"),
        (("--loss", "mse"), "unrolled, an rbm has loss cross-entropy; leave out --loss mse"),
        (("--latent-dim", 4), "don't fit --latent-dim 4 (there 3)"),
        (("--hidden", "8"), "don't fit --hidden 8 (there 9)"),
        (("--image-size", 20), "don't fit"),
    ):
        outcome = genkit(*common, *more)
        assert outcome.code == 2
        assert says in outcome.err.splitlines()[-1]
        assert "Traceback" not in outcome.err
    binary = saved_checkpoint(
        tmp_path / "binary", small(ImageShape(1, 28, 28), initial_epochs=0, code="binary", hidden=(9,))
    )
    outcome = genkit("train", "ae", "--dataset", "mnist5k", "--init-from", binary)
    assert outcome.code == 2
    assert "give one that was trained with --code linear" in outcome.err
    assert not (tmp_path / "runs").exists()
