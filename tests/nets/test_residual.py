"""Residual nets: any size, any batch, the same weights on every pixel."""

from __future__ import annotations

import pytest
import torch

from genkit import nets
from genkit.contract import ImageShape

SHAPES = [ImageShape(1, 1, 1), ImageShape(3, 5, 2), ImageShape(1, 28, 28), ImageShape(3, 37, 64)]


@pytest.mark.parametrize("image", SHAPES, ids=str)
def test_nets_of_any_size_take_a_single_image(image: ImageShape) -> None:
    encoder, decoder = nets.ResidualEncoder(image, 4, 6), nets.ResidualDecoder(image, 4, 6)
    codes = encoder(torch.rand(1, *image))
    assert codes.shape == (1, 6)
    assert decoder(codes).shape == (1, *image)


def test_a_decoder_sees_its_draft_at_every_level() -> None:
    image = ImageShape(3, 21, 16)
    decoder, draft = nets.ResidualDecoder(image, 4, 6, drafts=True), torch.rand(2, *image, requires_grad=True)
    output = decoder(torch.zeros(2, 6), draft)
    assert output.shape == (2, *image)
    output.square().sum().backward()
    assert draft.grad is not None
    assert all(each.weight.grad.any() for each in decoder.halved)


def test_what_an_image_becomes_does_not_depend_on_its_batch() -> None:
    image = ImageShape(3, 9, 8)
    net = torch.nn.Sequential(nets.ResidualEncoder(image, 8, 6), nets.ResidualDecoder(image, 8, 6)).train()
    images = torch.rand(5, *image)
    torch.testing.assert_close(net(images)[2:3], net(images[2:3]))


def test_a_block_begins_as_the_way_around_it() -> None:
    maps = torch.randn(2, 12, 4, 4)
    assert torch.equal(nets.ResidualBlock(12)(maps), maps)
    block = nets.ResidualBlock(12, 5, told=3)
    assert torch.equal(block(maps, torch.randn(2, 3)), block.around(maps))


def test_a_block_is_told_by_scale_and_shift() -> None:
    """With all that it is told at 0 it is the block without; a number of its own channel's moves the channel."""
    block = nets.ResidualBlock(6, told=2)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    maps, told = torch.randn(3, 6, 4, 4), torch.randn(3, 2)
    assert not torch.equal(block(maps, told), block(maps, -told))
    block.scale_and_shift.weight.data.zero_(), block.scale_and_shift.bias.data.zero_()
    assert torch.equal(block(maps, told), block(maps, -told))


@pytest.mark.parametrize("size", [(8, 12), (9, 11)])
def test_what_is_flat_stays_flat_away_from_the_border(size: tuple[int, int]) -> None:
    """A checkerboard is a pattern that a net makes of a flat map."""
    maps = nets.Enlarge(6, 3, size)(torch.randn(2, 6, 1, 1).expand(-1, -1, 4, 6))
    torch.testing.assert_close(maps[:, :, 1:-1, 1:-1], maps[:, :, 1:2, 1:2].expand(-1, -1, size[0] - 2, size[1] - 2))


def test_groups_have_at_least_eight_channels_where_there_are_so_many() -> None:
    assert [nets.group_norm(channels).num_groups for channels in (1, 7, 8, 11, 12, 24, 64)] == [1, 1, 1, 1, 1, 3, 8]
