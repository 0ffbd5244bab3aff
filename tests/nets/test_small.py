"""The nets of Zhang et al.: as many weights as the paper's table has, and each image standardised by itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genkit.contract import ImageShape
from genkit.models.classifier import Classifier
from genkit.nets import small

PHOTOGRAPH = ImageShape(3, 28, 28)


@pytest.mark.parametrize(
    ("net", "hidden", "weights"),
    [
        ("mlp", "512", 1_209_866),
        ("mlp", "512,512,512", 1_735_178),
        ("alexnet-small", "none", 1_387_786),
        ("inception-small", "none", 1_649_402),
    ],
)
def test_as_many_weights_as_in_the_paper(net: str, hidden: str, weights: int) -> None:
    with torch.device("meta"):
        model = Classifier(PHOTOGRAPH, Classifier.Options(net=net, hidden=hidden, classes=10))
    assert sum(each.numel() for each in model.parameters()) == weights


def test_nothing_regularises_but_what_is_asked_for() -> None:
    for net in (small.Perceptron(PHOTOGRAPH, (4,)), small.SmallAlexNet(PHOTOGRAPH), small.SmallInception(PHOTOGRAPH)):
        assert not [each for each in net.modules() if isinstance(each, nn.Dropout | nn.Dropout2d)]


@pytest.mark.parametrize("image", [PHOTOGRAPH, ImageShape(1, 8, 8), ImageShape(1, 20, 33)], ids=str)
def test_sides_are_halved_twice_and_features_are_as_many_as_said(image: ImageShape) -> None:
    images = torch.rand(2, *image)
    for net, features in (
        (small.Perceptron(image, (7, 5)), 5),
        (small.Perceptron(image, ()), image.numbers),
        (small.SmallAlexNet(image), 192),
        (small.SmallInception(image), 336),
    ):
        assert net.features(images).shape == (2, net.outputs)
        assert net.outputs == features
    maps = small.SmallInception(image).layers[:-2](images)
    assert maps.shape[2:] == (-(-image.height // 4), -(-image.width // 4))


def test_each_image_is_standardised_by_itself() -> None:
    """To mean 0 and variance 1 over all its numbers; one without contrast, and what is nearly so, isn't made louder."""
    images = torch.rand(3, *PHOTOGRAPH) * torch.tensor([1.0, 0.2, 0.0]).view(3, 1, 1, 1) + 0.3
    found = small.standardised(images).flatten(1)
    torch.testing.assert_close(found.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:2].square().mean(1), torch.ones(2), atol=1e-4, rtol=0)
    assert found[2].abs().max() < 1e-3
    assert torch.equal(small.standardised(images[1:2]).flatten(1), found[1:2]), "whatever else is in the batch"
