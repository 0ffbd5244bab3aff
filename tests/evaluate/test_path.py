"""Evenness of paths, against decoders whose steps are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genkit.errors import DataError, UsageError
from genkit.evaluate.path import unevenness


def same(values: Tensor) -> Tensor:
    return values


def ends(count: int = 5, dim: int = 7) -> tuple[Tensor, Tensor]:
    first, second = torch.randn(2, count, dim, dtype=torch.float64)
    return first, second


def test_a_linear_decoder_is_even_along_a_line() -> None:
    mixing = torch.randn(7, 12, dtype=torch.float64)
    found = unevenness(lambda z: z @ mixing + 3, lambda images: images[:, :9] * 2, *ends(), path="lerp")
    assert found.value == pytest.approx(1)
    assert found.error == pytest.approx(0, abs=1e-9)
    assert found.n == 5


def test_the_sphere_is_even_along_its_great_circles_and_not_along_chords() -> None:
    first, second = (torch.nn.functional.normalize(each) for each in ends())
    assert unevenness(same, same, first, second, path="slerp").value == pytest.approx(1)
    assert unevenness(torch.nn.functional.normalize, same, first, second, path="slerp").value == pytest.approx(1)
    outward = unevenness(torch.nn.functional.normalize, same, first, second, path="lerp")
    assert outward.value > 1.05
    centre = torch.full((7,), 9.0, dtype=torch.float64)
    assert unevenness(same, same, first + centre, second + centre, "slerp", centre=centre).value == pytest.approx(1)


@pytest.mark.parametrize("points", [3, 17])
def test_a_single_jump_is_as_uneven_as_can_be(points: int) -> None:
    first, second = -torch.ones(4, 1), torch.full((4, 1), 1.5)
    found = unevenness(lambda z: (z > 0).float(), same, first, second, "lerp", points)
    assert found.value == pytest.approx(points - 1)


def test_of_known_steps() -> None:
    """t² at 0, ½ and 1 makes steps of ¼ and ¾, which are on average ½."""
    found = unevenness(same, torch.square, torch.zeros(1, 1), torch.ones(1, 1), "lerp", points=3)
    assert found == (1.5, None, 1)


def test_a_path_without_change_is_left_out() -> None:
    first, second = torch.zeros(3, 2), torch.tensor([[1.0, 0], [0, 0], [0, 2]])
    assert unevenness(same, same, first, second, "lerp").n == 2
    with pytest.raises(DataError, match="don't change on any path"):
        unevenness(torch.zeros_like, same, first, second)


def test_paths_that_cant_be_measured_are_refused() -> None:
    with pytest.raises(UsageError, match="3 points or more"):
        unevenness(same, same, *ends(), points=2)
    with pytest.raises(DataError, match="aren't finite"):
        unevenness(same, torch.log, -torch.ones(1, 2), torch.ones(1, 2), "lerp")
