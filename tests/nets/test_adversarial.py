"""Blocks of GANs: what they are composed of, and what the critic's view of an image keeps of it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from genkit.contract import ImageShape
from genkit.nets import adversarial
from genkit.nets.augment import GREY, augmented, colour, cutout, translation


@pytest.mark.parametrize(
    ("before", "after"), [((4, 6), (8, 12)), ((4, 5), (9, 10)), ((1, 3), (1, 6)), ((1, 1), (2, 2))]
)
def test_upwards_is_nearest_neighbours_and_a_convolution(before: tuple[int, int], after: tuple[int, int]) -> None:
    layer, hidden = adversarial.UpConv(3, 5, before, after), torch.randn(2, 3, *before)
    apart = F.conv2d(F.interpolate(hidden, after), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(hidden), apart)


def test_downwards_sees_what_is_finest() -> None:
    """A chessboard and its negative, between which a mean over four pixels sees no difference."""
    block = adversarial.DownBlock(2, 4, (8, 8), (4, 4))
    row = torch.arange(8)
    chessboard = (1.0 - 2 * ((row[:, None] + row) % 2)).expand(1, 2, 8, 8)
    one, other = block(chessboard, chessboard), block(-chessboard, -chessboard)
    assert float((one - other)[..., 1:-1, 1:-1].detach().abs().max()) > 0.1


def test_each_place_has_a_bias_of_its_own() -> None:
    block = adversarial.UpBlock(3, 2, (4, 4), (8, 8), 5)
    hidden, code = torch.randn(1, 3, 4, 4), torch.randn(1, 5)
    before = block(hidden, code)
    with torch.no_grad():
        block.places[1, 6, 2] = 0.5
    moved = block(hidden, code) - before
    assert float(moved[0, 1, 6, 2].detach()) == pytest.approx(0.5, abs=1e-6)
    assert int(moved.count_nonzero()) == 1


def test_a_flat_map_comes_out_flat() -> None:
    """Every pixel away from the edge gets the same sum of weights; DCGAN's own layers give four that differ."""
    flat = torch.ones(1, 4, 6, 6)
    ours = adversarial.UpConv(4, 1, (6, 6), (12, 12))(flat).detach()[0, 0, 2:-2, 2:-2]
    theirs = nn.ConvTranspose2d(4, 1, 4, 2, 1)(flat).detach()[0, 0, 2:-2, 2:-2]
    assert float(ours.std()) == pytest.approx(0, abs=1e-6)
    assert float(theirs.std()) > 0.01


@pytest.mark.parametrize("image", [ImageShape(3, 32, 32), ImageShape(1, 33, 20), ImageShape(3, 1, 9)], ids=str)
def test_shapes(image: ImageShape) -> None:
    levels = 3
    generator = adversarial.Generator(image, 4, 5, levels, told=2)
    critic = adversarial.Critic(image, 6, levels, spectral=False, told=2)
    images = generator(torch.randn(3, 7))
    assert images.shape == (3, *image)
    assert critic(images, torch.rand(3, 2)).shape == (3,)
    assert [each.shape[1] for each in critic.maps(images)] == [6, 12, 24]
    torch.testing.assert_close(critic.maps(images)[-1].flatten(1), critic.features(images))


def test_gradients_of_gradients_are_finite_where_all_images_are_alike() -> None:
    critic = adversarial.Critic(ImageShape(1, 8, 8), 4, 1, spectral=False)
    images = torch.full((3, 1, 8, 8), 0.3, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    slope.square().sum().backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in critic.parameters())


# -- augmentation ------------------------------------------------------------------------------------------------------


def test_nothing_is_changed_that_was_not_named() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert augmented(images, ()) is images
    torch.manual_seed(0)
    both = augmented(images, ("translation", "cutout"))
    torch.manual_seed(0)
    assert torch.equal(both, cutout(translation(images)))


def test_a_shift_is_by_an_eighth_at_most_and_brings_in_grey() -> None:
    images = torch.zeros(400, 1, 16, 8)
    images[:, 0, 8, 4] = 1
    moved = translation(images)
    places = (moved == 1).nonzero()
    assert len(places) == 400, "each image's one white pixel is still there"
    down, right = places[:, 2] - 8, places[:, 3] - 4
    assert {*down.tolist()} == {-2, -1, 0, 1, 2}
    assert {*right.tolist()} == {-1, 0, 1}
    assert {*moved.unique().tolist()} == {0, GREY, 1}
    first = moved[int((down == 2).nonzero()[0])]
    assert (first[0, :2] == GREY).all()


def test_a_cut_is_a_square_of_half_the_side() -> None:
    images = torch.zeros(300, 3, 8, 8)
    cut = cutout(images)
    counts = (cut[:, 0] == GREY).sum((1, 2))
    assert int(counts.max()) == 16
    assert int(counts.min()) == 4, "a corner's quarter, where the centre is the corner"
    assert torch.equal(cut[:, 0], cut[:, 2])


def test_colours_move_as_the_paper_moves_them() -> None:
    images = torch.rand(500, 3, 6, 6)
    changed = colour(images)
    lighter = changed.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert float(lighter.abs().max()) == pytest.approx(0.25, abs=0.01)
    assert float(lighter.mean()) == pytest.approx(0, abs=0.03)
    grey = images.mean(1, keepdim=True)
    contrast = (changed.mean(1) - changed.mean((1, 2, 3))[:, None, None]).flatten(1).norm(dim=1)
    contrast = contrast / (grey[:, 0] - grey.mean((1, 2, 3))[:, None, None]).flatten(1).norm(dim=1)
    assert float(contrast.min()) == pytest.approx(0.5, abs=0.02)
    assert float(contrast.max()) == pytest.approx(1.5, abs=0.02)
    saturation = (changed - changed.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    saturation = saturation / (images - grey).flatten(1).norm(dim=1) / contrast
    assert float(saturation.min()) == pytest.approx(0, abs=0.03)
    assert float(saturation.max()) == pytest.approx(2, abs=0.03)


def test_gradients_go_through() -> None:
    images = torch.rand(4, 3, 8, 8, requires_grad=True)
    augmented(images, ("colour", "translation", "cutout")).sum().backward()
    assert images.grad.flatten(1).abs().sum(1).min() > 0


def test_the_spread_is_within_a_class_where_it_is_told() -> None:
    """What is left of the variance once each class's mean is taken off, over the degrees of freedom that leaves."""
    torch.manual_seed(0)
    features, labels = torch.randn(24, 5, dtype=torch.float64), torch.arange(24) % 3
    features = features + 10 * labels[:, None]
    told = F.one_hot(labels, 4).double()  # of the last class there is no image
    means = torch.stack([features[labels == label].mean(0) for label in range(3)])
    expected = (features - means[labels]).square().sum(0) / (24 - 3)
    torch.testing.assert_close(adversarial.variance(features, told), expected, rtol=1e-2, atol=0)
    torch.testing.assert_close(adversarial.variance(features), features.var(0, unbiased=False))
    one_of_each = (10 * labels[:, None] * torch.ones(5, dtype=torch.float64)).requires_grad_()
    spread = adversarial.with_spread(one_of_each, told)[:, 5:]
    assert float(spread.detach().max()) < 0.05
    assert float(adversarial.with_spread(one_of_each)[:, 5:].detach().min()) > 8
    (slope,) = torch.autograd.grad(spread.sum(), one_of_each)
    assert slope.isfinite().all()


def test_the_spread_is_what_attributes_do_not_predict() -> None:
    """By a linear regression on them."""
    torch.manual_seed(0)
    told = (torch.rand(40, 3) < 0.4).double()
    features = told @ torch.randn(3, 6, dtype=torch.float64) + torch.randn(40, 6, dtype=torch.float64)
    known = torch.cat([told, torch.ones(40, 1, dtype=torch.float64)], 1)
    left = torch.linalg.lstsq(known, features).solution
    expected = (features - known @ left).square().sum(0) / (40 - 4)
    torch.testing.assert_close(adversarial.variance(features, told), expected, rtol=1e-2, atol=0)
