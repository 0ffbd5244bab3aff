"""The DCGAN against the paper's facts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from genkit import nets
from genkit.contract import Batch, ImageShape
from genkit.models.dcgan import DCGAN
from genkit.step.training import TrainingState, train

IMAGE = ImageShape(3, 64, 64)


def paper(**options: object) -> DCGAN:
    return DCGAN(IMAGE, DCGAN.Options(recipe="paper", **options))


def test_the_papers_recipe() -> None:
    model = paper()
    assert model.options.latent_dim == 100
    assert model.options.batch_size == 128
    assert (model.options.lr, model.options.beta1) == (2e-4, 0.5)
    transposed = [each for each in model.generator.modules() if isinstance(each, nn.ConvTranspose2d)]
    assert [each.in_channels for each in transposed] == [1024, 512, 256, 128]
    assert transposed[-1].out_channels == 3
    first = next(each for each in model.generator.modules() if isinstance(each, nn.Linear))
    assert first.out_features == 4 * 4 * 1024
    norms = [each for each in model.critic.modules() if isinstance(each, nn.BatchNorm2d)]
    assert [each.num_features for each in norms] == [256, 512, 1024], "none on the discriminator's input layer"
    assert not any(isinstance(each, nn.MaxPool2d | nn.AvgPool2d) for each in model.modules())
    weights = torch.cat([each.weight.detach().flatten() for each in transposed])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)


def test_what_is_given_goes_before_the_recipe() -> None:
    assert DCGAN.Options(recipe="paper", width=16).width == 16
    assert DCGAN.Options(recipe="paper").width == 128


def test_uniform_prior() -> None:
    z = paper(width=8).prior(torch.randn(2000, 100)).flatten()
    assert float(z.abs().max()) <= 1
    quarters = torch.histc(z, 4, -1, 1) / len(z)
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.005, rtol=0)


def test_losses_at_equilibrium() -> None:
    """A discriminator that can't tell says ½: its loss is 2 ln 2, and the generator's ln 2."""
    model = DCGAN(ImageShape(1, 28, 28), DCGAN.Options(width=8, critic_norm="batch"))
    nn.init.zeros_(model.critic.head.weight)
    batch = Batch(torch.rand(4, 1, 28, 28), None, torch.tensor(0.0))
    of_generator = model.generator_losses(batch)
    assert of_generator["loss"].item() == pytest.approx(math.log(2))
    assert model.critic_losses(batch.after(of_generator))["loss"].item() == pytest.approx(2 * math.log(2))


def test_generator_loss_does_not_saturate() -> None:
    """Where the discriminator is sure of the fake, the generator still gets a gradient of nearly 1 in the logit."""
    model = DCGAN(ImageShape(1, 28, 28), DCGAN.Options(width=8, critic_norm="batch"))
    nn.init.zeros_(model.critic.head.weight)
    model.critic.head.bias.data.fill_(-20)
    batch = Batch(torch.rand(4, 1, 28, 28), None, torch.tensor(0.0))
    model.generator_losses(batch)["loss"].backward()
    assert float(model.critic.head.bias.grad) == pytest.approx(-1, abs=1e-3)


def test_both_phases_of_a_step_see_the_same_samples() -> None:
    """Made once, by the generator as it is at the step's beginning, and without a gradient for it."""
    model = DCGAN(ImageShape(1, 28, 28), DCGAN.Options(width=8, critic_norm="batch"))
    drawn, seen = [], []
    model.generator.register_forward_hook(lambda *hooked: drawn.append(hooked[2].detach().clone()))
    model.critic.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    list(train(TrainingState(model, 1, 1), [Batch(torch.rand(4, 1, 28, 28), None, torch.tensor(0.0))]))
    (samples,) = drawn
    for_generator, _real, for_critic = seen
    assert torch.equal(for_generator, samples)
    assert torch.equal(for_critic, samples)
    assert not for_critic.requires_grad


def test_spectral_norm_holds_the_default_critic() -> None:
    model = DCGAN(ImageShape(1, 28, 28), DCGAN.Options(width=8)).eval()
    assert not any(isinstance(each, nn.BatchNorm2d) for each in model.critic.modules())
    largest = torch.linalg.matrix_norm(model.critic.head.weight.detach(), 2)
    assert float(largest) == pytest.approx(1, rel=1e-3)


def test_the_averaged_critic_still_judges() -> None:
    """Spectral norm's vectors change sign as they please: averaged, they would blow the weights up."""
    torch.manual_seed(0)
    model = DCGAN(ImageShape(1, 16, 16), DCGAN.Options(width=8, ema=0.9))
    state = TrainingState(model, 60, 60)
    images = torch.rand(8, 1, 16, 16)
    list(train(state, [Batch(images, None, torch.tensor(0.0))] * 60))
    averaged = state.best_model.eval()
    for critic in (model.critic.eval(), averaged.critic):
        for layer in critic.layers:
            if isinstance(layer, nn.Conv2d):
                assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) < 1.5


@pytest.mark.parametrize(
    ("diversities", "collapsed"),
    [([0.2], False), ([0.2, 0.4], False), ([0.2, 0.3, 0.4], True), ([0.2, 0.9, 1.0, 0.6], False), ([1.0, 0.4], True)],
)
def test_mode_collapse_is_diversity_that_falls_or_never_comes(diversities: list[float], collapsed: bool) -> None:
    model = DCGAN(ImageShape(1, 8, 8), DCGAN.Options(width=1))
    history = [{"critic/real": 0.6, "critic/fake": 0.4, "diversity": each} for each in diversities]
    assert (model.watch(history).keys() == {"mode collapse"}) == collapsed


@pytest.mark.parametrize(("real", "fake", "saturated"), [(0.99, 0.01, True), (0.99, 0.3, False), (0.7, 0.01, False)])
def test_a_saturated_discriminator_is_named(real: float, fake: float, saturated: bool) -> None:
    model = DCGAN(ImageShape(1, 8, 8), DCGAN.Options(width=1))
    found = model.watch([{"critic/real": real, "critic/fake": fake, "diversity": 1.0}])
    assert (found.keys() == {"saturated discriminator"}) == saturated


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_representation_is_every_layer_pooled_to_4_by_4(norm: str) -> None:
    model = paper(width=8, critic_norm=norm).eval()
    images = torch.rand(3, *IMAGE)
    maps = model.critic.maps(images)
    assert [tuple(each.shape[1:]) for each in maps] == [(8, 32, 32), (16, 16, 16), (32, 8, 8), (64, 4, 4)]
    torch.testing.assert_close(maps[-1].flatten(1), model.features(images))
    found = model.representation(images)
    assert found.shape == (3, 16 * (8 + 16 + 32 + 64))
    # The second layer's third channel: 4×4 squares of 4 pixels a side, of which the last is at the lower right.
    assert torch.equal(found[:, 16 * (8 + 2) + 15], maps[1][:, 2, 12:, 12:].amax((1, 2)))
    torch.testing.assert_close(model.representation(images[:1]), found[:1])


def test_a_map_smaller_than_4_by_4_stays_as_it_is() -> None:
    maps = [torch.rand(2, 3, 9, 5), torch.rand(2, 5, 3, 7)]
    found = nets.pooled_layers(maps)
    assert found.shape == (2, 3 * 16 + 5 * 3 * 4)
    assert torch.equal(found[:, 48:].view(2, 5, 3, 4)[..., 0], maps[1][..., :2].amax(3))
