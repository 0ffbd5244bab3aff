"""SGD and RMSprop against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from genkit.errors import GenkitError
from genkit.step import optim


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("sgd", {"lr": 0.05}),
        ("sgd", {"lr": 0.05, "momentum": 0.9}),
        ("sgd", {"lr": 0.05, "momentum": 0.5, "weight_decay": 2e-2}),
        ("rmsprop", {"lr": 1e-3}),
        ("rmsprop", {"lr": 1e-3, "alpha": 0.8, "momentum": 0.7, "weight_decay": 2e-2}),
    ],
)
def test_they_move_as_torchs_do(kind: str, settings: dict[str, Any]) -> None:
    """In double precision, with a rate that changes and a parameter that gets no gradient."""
    ours, theirs = (
        nn.ModuleList([nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), nn.Linear(2, 2)]).double()
        for _ in range(2)
    )
    theirs.load_state_dict(ours.state_dict())
    mine = optim.make(ours.parameters(), kind, **settings)
    reference = {"sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}[kind](theirs.parameters(), **settings)
    for step in range(30):
        inputs = torch.randn(7, 6, dtype=torch.float64)
        for net, optimizer in ((ours, mine), (theirs, reference)):
            optimizer.zero_grad()
            net[0](inputs).square().mean().backward()
        share = 1 / (1 + step)
        reference.param_groups[0]["lr"] = settings["lr"] * share
        mine.step(share)
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-15)
    assert mine.state.keys() == {0, 1, 2, 3}


def test_running_means_that_have_vanished_are_swept() -> None:
    net = nn.Linear(2, 1, bias=False)
    for kind in ("sgd", "rmsprop"):
        optimizer = optim.make(net.parameters(), kind, lr=0.1, momentum=0.9)
        net.weight.grad = torch.tensor([[1e-38, 1.0]])
        optimizer.step()
        optimizer.sweep()
        assert all((value[0, 0] == 0) and (value[0, 1] != 0) for value in optimizer.state[0].values())


def test_what_it_does_not_know_is_refused() -> None:
    weights = list(nn.Linear(1, 1).parameters())
    with pytest.raises(GenkitError, match="no optimiser is called 'adagrad'; there are adamw, sgd, rmsprop"):
        optim.make(weights, "adagrad", lr=0.1)
    with pytest.raises(GenkitError, match="sgd of a phase needs its lr"):
        optim.make(weights, "sgd", momentum=0.9)
    with pytest.raises(GenkitError, match="sgd knows no 'betas'; it takes lr, momentum, weight_decay"):
        optim.make(weights, "sgd", lr=0.1, betas=(0.9, 0.999))
