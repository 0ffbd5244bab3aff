"""AdamW over torch's fused kernel: one pass over each weight where the plain one takes ten.

The same bits as `torch.optim.AdamW(fused=True)`, whose constructor imports torch's compiler for two seconds, and whose
every step spends longer in Python than a small model's update takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from genkit.errors import GenkitError

#: What stands beside a small second moment's root, as in torch.
EPSILON = 1e-8
#: A mean gradient below it moves a weight by 1e-22 of the learning rate at most, and the root of a mean square below it
#: is nothing beside EPSILON.
VANISHED = 1e-30
#: torch's, which isn't public: a version that lacks it is used by its own functional form.
KERNEL = getattr(torch, "_fused_adamw_", None)


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019).

    Args:
        parameters: what it moves.
        lr: the peak learning rate; each step takes a share of it.
        betas: decay of the gradient's running mean, and of its square's.
        weight_decay: the share of a weight, times the learning rate, that it loses in a step.

    Attributes:
        state: by a parameter's index, `step`: () float32, the updates it has had; `exp_avg` and `exp_avg_sq`: the
            running means, of its shape. A parameter that never had a gradient has none.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ):
        self.parameters = list(parameters)
        if len({(each.device, each.dtype) for each in self.parameters}) > 1:
            raise GenkitError("the weights that a phase moves must be on one device and of one type; see its module")
        self.lr, self.betas, self.weight_decay = lr, betas, weight_decay
        self.state: dict[int, dict[str, Tensor]] = {}

    @property
    def gradients(self) -> list[Tensor]:
        """Those that the last backward pass left."""
        return [each.grad for each in self.parameters if each.grad is not None]

    def zero_grad(self) -> None:
        """Forget the gradients, and their memory."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, share: float = 1.0) -> None:
        """Move each parameter that has a gradient, by `share` of the peak learning rate."""
        moved = [index for index, each in enumerate(self.parameters) if each.grad is not None]
        for index in moved:
            if index not in self.state:
                self.state[index] = fresh_state(self.parameters[index])
        if not moved:
            return
        fused_adamw(
            [self.parameters[index] for index in moved],
            self.gradients,
            [self.state[index]["exp_avg"] for index in moved],
            [self.state[index]["exp_avg_sq"] for index in moved],
            [self.state[index]["step"] for index in moved],
            lr=self.lr * share,
            betas=self.betas,
            weight_decay=self.weight_decay,
        )

    @torch.no_grad()
    def sweep(self) -> None:
        """Set moments to 0 that are below `VANISHED`.

        The moment of a weight that gets no gradient, as of a pixel that is black in nearly every image, dwindles to a
        denormal number, which rounding then keeps from ever reaching 0: after a thousand steps on MNIST, half of a
        first layer's. Some CPUs compute with such numbers many times more slowly.
        """
        for state in self.state.values():
            for moment in (state["exp_avg"], state["exp_avg_sq"]):
                moment.copy_(hardshrink(moment, VANISHED))


def fresh_state(parameter: Tensor) -> dict[str, Tensor]:
    """Of a parameter that has not been moved yet."""
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        "exp_avg": torch.zeros_like(parameter),  # laid out as the parameter is, which the kernel relies on
        "exp_avg_sq": torch.zeros_like(parameter),
    }


def fused_adamw(
    parameters: list[Tensor],
    gradients: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """Update parameters, moments and steps in place. All lists are equally long."""
    arguments: dict[str, Any] = {
        "lr": lr,
        "beta1": betas[0],
        "beta2": betas[1],
        "weight_decay": weight_decay,
        "eps": EPSILON,
    }
    if KERNEL is not None:
        torch._foreach_add_(steps, 1)
        KERNEL(parameters, gradients, exp_avgs, exp_avg_sqs, [], steps, **arguments, amsgrad=False, maximize=False)
    else:
        from torch.optim.adamw import adamw

        adamw(
            parameters,
            gradients,
            exp_avgs,
            exp_avg_sqs,
            [],
            steps,
            **arguments,
            amsgrad=False,
            maximize=False,
            fused=True,
        )
