"""The nets that are told a noise level."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from genkit import nets


def unet(height: int, width: int, **options: Any) -> nets.UNet:
    torch.manual_seed(0)
    net = nets.UNet(3, 2, height, width, **{"channels": 8, "blocks": 1, "classes": 0, "patch": 1, **options})
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    return net


@pytest.mark.parametrize(("height", "width", "patch"), [(1, 1, 1), (7, 9, 2), (28, 28, 2), (5, 30, 4), (13, 3, 1)])
def test_maps_keep_their_size_and_every_pixel_is_seen(height: int, width: int, patch: int) -> None:
    net = unet(height, width, patch=patch)
    maps = torch.randn(2, 3, height, width, requires_grad=True)
    output = net(maps, torch.tensor([0.1, -2.0]))
    assert output.shape == (2, 2, height, width)
    (gradient,) = torch.autograd.grad(output.square().sum(), maps)
    assert (gradient.abs().sum(1) > 0).all()


def test_begun_it_gives_nothing_and_told_another_level_or_class_something_else() -> None:
    options = {"channels": 8, "blocks": 1, "classes": 3, "patch": 2}
    maps, level = torch.randn(2, 3, 8, 8), torch.zeros(2)
    assert not nets.UNet(3, 2, 8, 8, **options)(maps, level, torch.tensor([0, 1])).any()
    net = unet(8, 8, **options)
    first = net(maps, level, torch.tensor([0, 1]))
    assert not torch.allclose(first, net(maps, level + 1, torch.tensor([0, 1])))
    second = net(maps, level, torch.tensor([0, 2]))
    torch.testing.assert_close(first[0], second[0])
    assert not torch.allclose(first[1], second[1])


def test_the_patch_leaves_so_many_positions() -> None:
    assert [nets.patch_for(side, side) for side in (1, 24, 25, 48, 49, 128)] == [1, 1, 2, 2, 4, 8]
    assert nets.patch_for(8, 100) == 8


def test_the_mlp_is_of_codes() -> None:
    torch.manual_seed(0)
    net = nets.ResidualMLP(5, 16, 2, 0)
    assert not net(torch.randn(3, 5), torch.zeros(3)).any()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    codes = torch.randn(3, 5)
    assert not torch.allclose(net(codes, torch.zeros(3)), net(codes, torch.ones(3)))
