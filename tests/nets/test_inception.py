"""Inception-v3 against what its layers come to by hand: on maps that are equal everywhere, it is a net of vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from genkit.nets import inception
from genkit.nets.inception import ConvNorm, InceptionV3

#: The blocks of Szegedy et al.'s figures 5 to 7 as torchvision has them: paths, by the ends of their layers' names.
A = ("1x1", "5x5_1 5x5_2", "3x3dbl_1 3x3dbl_2 3x3dbl_3", "_pool")
B = ("3x3", "3x3dbl_1 3x3dbl_2 3x3dbl_3", "")
C = ("1x1", "7x7_1 7x7_2 7x7_3", "7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5", "_pool")
D = ("3x3_1 3x3_2", "7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4", "")
E = ("1x1", "3x3_1 3x3_2a|3x3_2b", "3x3dbl_1 3x3dbl_2 3x3dbl_3a|3x3dbl_3b", "_pool")
BLOCKS = {"5b": A, "5c": A, "5d": A, "6a": B, "6b": C, "6c": C, "6d": C, "6e": C, "7a": D, "7b": E, "7c": E}


@pytest.fixture(scope="module")
def net() -> InceptionV3:
    """With random weights in the middle of each kernel alone, and random normalisation: maps stay equal everywhere."""
    torch.manual_seed(0)
    net = InceptionV3().eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, ConvNorm):
            weight = module.conv.weight
            height, width = weight.shape[2:]
            middle = torch.randn(weight.shape[:2]) * (2 / weight.shape[1]) ** 0.5
            weight.zero_()[:, :, height // 2, width // 2] = middle
            for each, low in ((module.bn.weight, 0.5), (module.bn.running_var, 0.5), (module.bn.bias, -0.2)):
                each.uniform_(low, low + 0.6)
            module.bn.running_mean.normal_(0, 0.1)
    return net


def by_hand(net: nn.Module, colour: np.ndarray) -> np.ndarray:
    """Its features of an image of one colour, in double precision: a layer is ReLU(γ (Wx − μ) / √(σ² + 0.001) + β)."""
    weights = {name: each.double().numpy() for name, each in net.state_dict().items()}

    def layer(name: str, x: np.ndarray) -> np.ndarray:
        kernel = weights[f"{name}.conv.weight"].sum((2, 3))
        gamma, beta, mean, var = (
            weights[f"{name}.bn.{each}"] for each in ("weight", "bias", "running_mean", "running_var")
        )
        return np.maximum(gamma * (kernel @ x - mean) / np.sqrt(var + 0.001) + beta, 0)

    x = colour
    for name in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3"):
        x = layer(f"Conv2d_{name}", x)
    for block, paths in BLOCKS.items():
        ends = []
        for path in paths:
            end = x
            for step in path.split():
                end = np.concatenate([layer(f"Mixed_{block}.branch{each}", end) for each in step.split("|")])
            ends.append(end)
        x = np.concatenate(ends)
    return x


def test_it_is_what_its_layers_come_to_by_hand(net: InceptionV3) -> None:
    colour = np.array([0.3, -0.7, 0.9])
    image = torch.from_numpy(colour).float()[None, :, None, None].expand(1, 3, 299, 299)
    expected = by_hand(net, colour)
    assert expected.shape == (inception.FEATURES,)
    assert expected.std() > 0.05
    np.testing.assert_allclose(net(image)[0].numpy(), expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_its_maps_have_the_papers_sizes(net: InceptionV3) -> None:
    """Table 1 of the paper, but for its second convolution's border: 149, 147, 147, 73, 71, 35, 17 and 8 pixels."""
    sizes: dict[str, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_hook(lambda *args, name=name: sizes.update({name: tuple(args[2].shape[1:])}))
        for name, module in net.named_children()
    ]
    net(torch.zeros(1, 3, 299, 299))
    for hook in hooks:
        hook.remove()
    assert sizes["Conv2d_1a_3x3"] == (32, 149, 149)
    assert sizes["Conv2d_2a_3x3"] == (32, 147, 147)
    assert sizes["Conv2d_2b_3x3"] == (64, 147, 147)
    assert sizes["Conv2d_3b_1x1"] == (80, 73, 73)
    assert sizes["Conv2d_4a_3x3"] == (192, 71, 71)
    assert [sizes[f"Mixed_5{each}"] for each in "bcd"] == [(256, 35, 35), (288, 35, 35), (288, 35, 35)]
    assert [sizes[f"Mixed_6{each}"] for each in "abcde"] == [(768, 17, 17)] * 5
    assert [sizes[f"Mixed_7{each}"] for each in "abc"] == [(1280, 8, 8), (2048, 8, 8), (2048, 8, 8)]
    assert sum(each.numel() for each in net.parameters()) == 21_785_568  # torchvision's, less fc and AuxLogits


def test_fids_variant_pools_otherwise() -> None:
    """Means without the border's zeros, and a maximum in the last block; torchvision's counts them, and has a mean."""
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    fid, torchvision = InceptionV3(True), InceptionV3(False)
    corner = [0 + 1 + 3 + 4, 4]
    for name in ("Mixed_5b", "Mixed_6e", "Mixed_7b"):
        assert float(fid.get_submodule(name).pool(x)[0, 0, 0, 0]) == corner[0] / corner[1]
        assert float(torchvision.get_submodule(name).pool(x)[0, 0, 0, 0]) == pytest.approx(corner[0] / 9)
    assert float(fid.Mixed_7c.pool(x)[0, 0, 0, 0]) == 4
    assert float(torchvision.Mixed_7c.pool(x)[0, 0, 1, 1]) == 4
    assert float(torchvision.Mixed_7c.pool(x)[0, 0, 0, 0]) == pytest.approx(8 / 9)
    assert set(fid.state_dict()) == set(torchvision.state_dict())
