#!/usr/bin/env bash
# PyTorch 2.13.0 (CPU, gloo): DistributedDataParallel and a gradient penalty.
#
# Its documentation warns that the module doesn't work with torch.autograd.grad, so it is often left out of a WGAN-GP's
# critic. Yet a penalty that takes the gradient of the critic's INPUT with create_graph=True, and is one term of the loss
# that backward() then differentiates, comes out averaged over the processes like any other term, also where the wrapped
# critic is called three times before. What goes wrong, without an error or a warning, is a loss that is the penalty alone,
# as where it is differentiated apart from the rest: the critic's last bias has no gradient then, its bucket never fills,
# and every process keeps the gradients of its own share. `find_unused_parameters=True` doesn't see it, for the bias is used
# in what the forward returned. It does where the wrapped module's forward is the penalty itself.
#
# Seen, as the largest difference of a gradient from that of one process with the whole batch: 0.98 for the penalty alone,
# with find_unused_parameters and without; below 1e-5 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.2.6
cat > "$folder/penalty.py" <<'PYTHON'
import os
import socket
import warnings

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

warnings.simplefilter("ignore")


def critic():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))


def penalty(net, x):
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    return 10 * (slope.norm(dim=1) - 1).square().mean()


LOSSES = {
    "penalty alone": penalty,
    "one call and a penalty": lambda net, x: net(x).mean() + penalty(net, x),
    "two calls and a penalty": lambda net, x: net(x).mean() - net(x + 1).mean() + penalty(net, x),
}


def batch():
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(1))


class Inside(nn.Module):
    """The penalty as the forward of the module that is wrapped."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return penalty(self.net, x)


def share(rank, port, queue, form, look_for_unused, inside):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    net = critic()
    module = Inside(net) if inside else net
    # It has to live until the backward pass is over.
    wrapped = nn.parallel.DistributedDataParallel(module, find_unused_parameters=look_for_unused)
    own = batch().chunk(2)[rank]
    (wrapped(own) if inside else LOSSES[form](wrapped, own)).backward()
    if rank == 0:
        queue.put([None if each.grad is None else each.grad.tolist() for each in net.parameters()])
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    assert torch.__version__.startswith("2.13.0"), torch.__version__
    cases = [(form, False, False) for form in LOSSES]
    for form, look_for_unused, inside in [*cases, ("penalty alone", True, False), ("penalty alone", True, True)]:
        loss = LOSSES[form]
        alone = critic()
        loss(alone, batch()).backward()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        context = mp.get_context("spawn")
        queue = context.Queue()
        processes = [context.Process(target=share, args=(rank, port, queue, form, look_for_unused, inside)) for rank in (0, 1)]
        for process in processes:
            process.start()
        together = queue.get(timeout=120)
        for process in processes:
            process.join()
        apart = 0.0
        for mine, theirs in zip(together, alone.parameters(), strict=True):
            if theirs.grad is not None:
                apart = max(apart, float((torch.tensor(mine) - theirs.grad).abs().max()))
        where = "within the wrapped forward" if inside else "outside"
        print(f"{form}, {where}, find_unused_parameters={look_for_unused}: largest difference {apart:.1e}")
        if form == "penalty alone" and not inside:
            assert apart > 0.1, "the processes' gradients have been averaged"
        else:
            assert apart < 1e-5
PYTHON
OMP_NUM_THREADS=1 "$folder/venv/bin/python" "$folder/penalty.py"
