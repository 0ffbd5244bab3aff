"""Every model that is found, held to the contract as a stranger's is, by genkit.testing; and what only ours have.

A further model is tested by lying in genkit/models/.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from conftest import SOURCE, random_batch, small_model
from torch import nn

from genkit import registry
from genkit.contract import ImageShape
from genkit.errors import UsageError
from genkit.testing import contract

every_model = pytest.mark.parametrize("name", list(registry.names()))


def build(name: str, image: ImageShape, **options: object) -> Any:
    torch.manual_seed(0)
    return small_model(name, image, width=8, **options)


def test_the_models_are_found() -> None:
    assert {"ae", "conv-ae", "dcgan", "flow", "rbm", "vae"} <= registry.names().keys()
    assert all(registry.names().values()), "every model's docstring opens with its help"


@every_model
def test_all_that_is_kept_for_features_gets_a_gradient(name: str) -> None:
    """As a part of a classifier, it is trained by nothing else."""
    model = build(name, ImageShape(3, 16, 16), latent_dim=4).eval()
    model.keep_features()
    model.features(torch.rand(3, 3, 16, 16)).square().sum().backward()
    assert all(each.grad is not None for each in model.parameters())


class Clip(NamedTuple):
    """An image with an axis more, as those of `ImageShape` are named."""

    frames: int
    channels: int
    height: int
    width: int


@every_model
@pytest.mark.parametrize("shape", [Clip(4, 1, 28, 28), (1, 28, 28), (28, 28)], ids=["clip", "no names", "two"])
def test_other_axes_are_refused_before_anything_is_built(name: str, shape: Any, monkeypatch: Any) -> None:
    def built(*_: object) -> None:
        raise AssertionError("a layer was built")

    kind = registry.find(name)
    known = {"classes": 10}.items() & dict.fromkeys(kind.Options.model_fields, 10).items()
    options = kind.Options(**dict(known))
    monkeypatch.setattr(nn.Linear, "__init__", built)
    monkeypatch.setattr(nn.Conv2d, "__init__", built)
    with pytest.raises(UsageError, match="takes images of channels × height × width, and these are"):
        kind(shape, options)


@every_model
def test_a_phase_moves_all_of_its_module(name: str) -> None:
    """Where several processes train, each weight that a phase has needs a gradient of it."""
    model = build(name, ImageShape(1, 28, 28))
    batch = random_batch(model.image)
    for phase in model.phases():
        model.zero_grad()
        model.requires_grad_(False)
        phase.module.requires_grad_(True)
        losses = phase.losses(batch)
        losses["loss"].backward()
        batch = batch.after(losses)
        assert all(each.grad is not None for each in phase.module.parameters()), phase.name


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


#: Of each model of ours, the options that make it small.
SMALL = {"width": 8, "hidden": (32,), "latent_dim": 16, "blocks": 1, "patch": 8, "source": SOURCE}

for _name in registry.names():
    _small = {option: value for option, value in SMALL.items() if option in registry.find(_name).Options.model_fields}
    globals()[f"Test_{_name.replace('-', '_')}"] = contract(_name, **_small)

#: And with the nets that colour and small sets are given.
Test_vae_residual = contract("vae", net="residual", likelihood="logistic", shortcut="linear", width=4, latent_dim=8)
