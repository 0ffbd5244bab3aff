"""The contract, held against every model that is found: a fifth model is tested by lying in genkit/models/."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import GENERATIVE, random_batch, small_model
from torch import nn

from genkit import registry
from genkit.contract import ImageShape, ability, scalars, weightless
from genkit.data.batches import in_order
from genkit.data.dataset import Split
from genkit.keep import checkpoint
from genkit.latent import sampling
from genkit.step.training import TrainingState, train

SHAPES = [ImageShape(channels, side, side) for side in (28, 32, 45) for channels in (1, 3)]
SHAPES += [ImageShape(1, 20, 33), ImageShape(3, 8, 8)]

every_model = pytest.mark.parametrize("name", list(registry.names()))
every_generator = pytest.mark.parametrize("name", GENERATIVE)
every_shape = pytest.mark.parametrize("image", SHAPES, ids=str)


def build(name: str, image: ImageShape, **options: object) -> Any:
    torch.manual_seed(0)
    return small_model(name, image, width=8, **options)


def random_split(image: ImageShape, count: int = 12) -> Split:
    return Split(torch.randint(0, 256, (count, *image), dtype=torch.uint8), torch.arange(count))


def test_the_four_models_are_found() -> None:
    assert {"ae", "conv-ae", "dcgan", "vae"} <= registry.names().keys()
    assert all(registry.names().values()), "every model's docstring opens with its help"


@every_model
@every_shape
def test_shapes_and_ranges(name: str, image: ImageShape) -> None:
    model = build(name, image).eval()
    features = model.features(torch.rand(5, *image))
    assert features.shape[0] == 5
    assert features.ndim == 2
    representation = model.representation(torch.rand(5, *image))
    assert representation.shape[0] == 5
    assert representation.ndim == 2
    if not ability.generates(model):
        return
    dim = model.options.latent_dim
    z = model.prior(torch.randn(5, dim) * 3)
    pictures = model.decode(z)
    assert z.shape == (5, dim)
    assert pictures.shape == (5, *image)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    if ability.encodes(model):
        assert model.encode(torch.rand(5, *image)).shape == (5, dim)


@every_model
@every_shape
def test_a_step_moves_what_its_phase_says_and_nothing_else(name: str, image: ImageShape) -> None:
    model = build(name, image)
    state = TrainingState(model, total_steps=2, steps_per_epoch=2)
    for turn, phase in enumerate(state.phases):
        alone = TrainingState(model, 2, 2, [phase])
        before = {key: value.clone() for key, value in model.named_parameters()}
        own = {id(parameter) for parameter in phase.module.parameters()}
        batch = random_batch(image)
        for earlier in state.phases[:turn]:
            batch = batch.after(earlier.losses(batch))
        list(train(alone, [batch]))
        for key, parameter in model.named_parameters():
            moved = not torch.equal(before[key], parameter)
            assert moved <= (id(parameter) in own), f"phase '{phase.name}' moved {key}, which isn't its own"
            assert (parameter.grad is None) or id(parameter) in own or torch.equal(before[key], parameter)
        assert any(not torch.equal(before[key], value) for key, value in model.named_parameters())


@every_model
def test_no_gradient_reaches_a_frozen_module(name: str) -> None:
    model = build(name, ImageShape(1, 28, 28))
    state = TrainingState(model, 2, 2)
    batch = random_batch(model.image)
    for phase in state.phases:
        for parameter in model.parameters():
            parameter.grad = None
        model.requires_grad_(False)
        phase.module.requires_grad_(True)
        losses = phase.losses(batch)
        losses["loss"].backward()
        batch = batch.after(losses)
        own = {id(parameter) for parameter in phase.module.parameters()}
        with_gradient = {id(parameter) for parameter in model.parameters() if parameter.grad is not None}
        assert with_gradient == own
        assert losses["loss"].ndim == 0
        assert scalars(losses).keys() >= {"loss"}
        assert not any(value.requires_grad for value in batch.earlier.values())


@every_generator
def test_an_image_depends_on_its_seed_alone(name: str) -> None:
    model = build(name, ImageShape(1, 28, 28), latent_dim=16).eval()

    def pixels(seeds: list[int]) -> torch.Tensor:
        return sampling.decode(model, sampling.seed_codes(model, seeds))

    many = pixels(list(range(100)))
    assert torch.equal(pixels([7])[0], many[7])
    assert torch.equal(pixels([99, 7, 3])[1], many[7])
    assert torch.equal(pixels(list(range(40, 73)))[10], many[50])
    assert not torch.equal(many[7], many[8])


@every_model
def test_its_shapes_are_known_without_memory(name: str) -> None:
    """What a checkpoint's weights are held against before anything is allocated for them."""
    model = build(name, ImageShape(3, 20, 33))
    shapes = weightless.shapes_of(type(model), model.image, model.options)
    assert shapes == {key: value.shape for key, value in model.state_dict().items()}


@every_model
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_checkpoint_opens_alone_and_gives_the_same_images(name: str, ema: float, tmp_path) -> None:
    image = ImageShape(3, 16, 16)
    model = build(name, image, latent_dim=8, ema=ema)
    state = TrainingState(model, 3, 3)
    list(train(state, [random_batch(image) for _ in range(3)]))
    best = state.best_model.eval()
    generates = ability.generates(best)
    if generates:
        with torch.no_grad():
            best.fit_prior(in_order(random_split(image), 4, torch.device("cpu")))
    checkpoint.write(tmp_path / "000003", checkpoint.snapshot(state, model=name))
    opened = checkpoint.read(tmp_path / "000003")
    assert opened.description.step == 3
    assert opened.model.options == model.options
    some = torch.rand(3, *image)
    assert torch.equal(opened.model.features(some), best.features(some))
    if ema:
        assert not torch.equal(model.eval().features(some), best.features(some))
    if not generates:
        return
    codes = sampling.seed_codes(best, range(5))
    assert torch.equal(sampling.seed_codes(opened.model, range(5)), codes)
    assert torch.equal(sampling.decode(opened.model, codes), sampling.decode(best, codes))
    if ema:
        assert not torch.equal(sampling.decode(model.eval(), codes), sampling.decode(best, codes))


@every_model
def test_what_features_do_not_need_can_be_dropped(name: str) -> None:
    """All that is left gets a gradient, and the features are the same."""
    model = build(name, ImageShape(3, 16, 16), latent_dim=4).eval()
    images = torch.rand(3, 3, 16, 16)
    before = model.features(images)
    model.keep_features()
    after = model.features(images)
    assert torch.equal(before, after)
    after.square().sum().backward()
    assert all(each.grad is not None for each in model.parameters())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ae", {"loss": "mse"}),
        ("ae", {"loss": "cross-entropy"}),
        ("conv-ae", {"loss": "mse"}),
        ("vae", {}),
        ("vae", {"net": "conv"}),
        ("vae", {"likelihood": "gaussian"}),
    ],
)
def test_a_model_can_begin_with_the_mean_image(name: str, options: dict[str, object]) -> None:
    """Whatever the code, where the weights before the last biases are 0: each pixel's mean, or its channel's."""
    image = ImageShape(3, 10, 12)
    mean = 0.02 + 0.96 * torch.rand(*image)
    model = build(name, image, hidden=(8,), latent_dim=4, **options).eval()
    model.begin_at(mean)
    last = [each for each in model.decoder.modules() if isinstance(each, nn.Linear | nn.ConvTranspose2d)][-1]
    last.weight.data.zero_()
    wanted = mean
    if isinstance(last, nn.ConvTranspose2d):
        assert model.decode(torch.randn(2, 4)).var((2, 3)).max() == 0
        wanted = mean.mean((1, 2), keepdim=True).expand_as(mean)
    torch.testing.assert_close(model.decode(torch.randn(2, 4)), wanted.expand(2, *image))


def test_what_is_black_in_every_image_has_finite_odds() -> None:
    model = build("vae", ImageShape(1, 8, 8), hidden=(8,))
    model.begin_at(torch.zeros(1, 8, 8))
    assert model.decoder[0][-1].bias.isfinite().all()
    model.begin_at(torch.ones(1, 8, 8))
    assert model.decoder[0][-1].bias.isfinite().all()


@every_model
def test_every_option_has_help(name: str) -> None:
    for option, field in registry.find(name).Options.model_fields.items():
        assert field.description, f"--{option} of {name} has no help"


@every_generator
def test_prior_of_zero_spread_noise_is_its_centre(name: str) -> None:
    """The prior is symmetric about prior(0), so the sampler's centre and spread can be measured from ± pairs."""
    model = build(name, ImageShape(1, 16, 16), latent_dim=4)
    mean, spread = sampling.prior_moments(model)
    torch.testing.assert_close(mean, model.prior(torch.zeros(1, 4))[0], atol=1e-5, rtol=0)
    assert (spread > 0.1).all()
