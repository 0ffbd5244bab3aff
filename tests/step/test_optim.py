"""The optimiser against torch's own, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genkit.step import optim


def nets(count: int) -> list[nn.Module]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5)).to(memory_format=torch.channels_last)
    unused = nn.Linear(2, 2)
    every = [nn.ModuleList([net, unused])]
    while len(every) < count:
        every.append(
            nn.ModuleList([nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5)), nn.Linear(2, 2)])
        )
        every[-1].load_state_dict(every[0].state_dict())
        every[-1].to(memory_format=torch.channels_last)
    return every


@pytest.mark.parametrize("kernel", ["fused", "fallback"])
def test_it_gives_torchs_bits(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With weight decay, a changing rate, a parameter that gets no gradient, and weights that aren't contiguous."""
    if kernel == "fallback":
        monkeypatch.setattr(optim, "KERNEL", None)
    else:
        assert optim.KERNEL is not None
    settings = {"lr": 3e-3, "betas": (0.7, 0.98), "weight_decay": 0.1}
    ours, theirs = nets(2)
    assert not next(ours.parameters()).is_contiguous()
    mine = optim.AdamW(ours.parameters(), **settings)
    reference = torch.optim.AdamW(theirs.parameters(), **settings, fused=True)
    for step in range(20):
        images = torch.randn(4, 3, 8, 8)
        for net in (ours, theirs):
            net[0](images).square().mean().backward()
        share = 1 / (1 + step)
        reference.param_groups[0]["lr"] = settings["lr"] * share
        mine.step(share)
        reference.step()
        mine.zero_grad()
        reference.zero_grad()
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(one, other)
    moments = reference.state_dict()["state"]
    assert mine.state.keys() == moments.keys() == {0, 1, 2, 3}
    assert all(torch.equal(mine.state[i][name], moments[i][name]) for i in moments for name in moments[i])
