"""The optimisers by name: AdamW, SGD with momentum, RMSprop.

They move as torch's own do. Those would import torch's compiler for two seconds when they are made, and spend longer in
Python at every step than a small model's update takes. AdamW runs torch's fused kernel: one pass over each weight where
the plain one takes ten.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from genkit.errors import GenkitError, ModelError

#: What stands beside a small second moment's root, as in torch.
EPSILON = 1e-8
#: A mean gradient below it moves a weight by 1e-22 of the learning rate at most, and the root of a mean square below it
#: is nothing beside EPSILON.
VANISHED = 1e-30
#: torch's, which isn't public: a version that lacks it is used by its own functional form.
KERNEL = getattr(torch, "_fused_adamw_", None)


class Optimizer(ABC):
    """What moves the weights of a phase.

    Args:
        parameters: what it moves.
        lr: the peak learning rate; each step takes a share of it.

    Attributes:
        state: by a parameter's index, what is remembered of its gradients, by name. A parameter that never had a
            gradient has none.
    """

    #: Running means that dwindle to nothing where gradients stay away: `sweep` goes over them.
    RUNNING: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parameters: Iterable[Tensor], lr: float):
        self.parameters = list(parameters)
        if len({(each.device, each.dtype) for each in self.parameters}) > 1:
            raise GenkitError("the weights that a phase moves must be on one device and of one type; see its module")
        self.lr = lr
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
                self.state[index] = self.fresh_state(self.parameters[index])
        if moved:
            self.move([self.parameters[index] for index in moved], self.gradients, moved, self.lr * share)

    @abstractmethod
    def fresh_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """What is remembered of a parameter that has not been moved yet; float32, each of its shape or ()."""

    @abstractmethod
    def move(self, parameters: list[Tensor], gradients: list[Tensor], indices: list[int], lr: float) -> None:
        """Move these parameters, and what is remembered of them under their indices, in place."""

    def remembered(self, name: str, indices: list[int]) -> list[Tensor]:
        """What is remembered under this name of each of these parameters."""
        return [self.state[index][name] for index in indices]

    @torch.no_grad()
    def sweep(self) -> None:
        """Set running means to 0 that are below `VANISHED`.

        That of a weight that gets no gradient, as of a pixel that is black in nearly every image, dwindles to a
        denormal number, which rounding then keeps from ever reaching 0: after a thousand steps on MNIST, half of a
        first layer's. Some CPUs compute with such numbers many times more slowly.
        """
        for state in self.state.values():
            for name in self.RUNNING:
                if name in state:
                    state[name].copy_(hardshrink(state[name], VANISHED))


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019): the bits of torch's fused one.

    Args:
        parameters, lr: as in `Optimizer`.
        betas: decay of the gradient's running mean, and of its square's.
        weight_decay: the share of a weight, times the learning rate, that it loses in a step.

    Its state is `step`, () float32, the updates that a parameter has had, and `exp_avg` and `exp_avg_sq`, the running
    means, of its shape.
    """

    RUNNING = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ):
        super().__init__(parameters, lr)
        self.betas, self.weight_decay = betas, weight_decay

    def fresh_state(self, parameter: Tensor) -> dict[str, Tensor]:
        return {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),  # laid out as the parameter is, which the kernel relies on
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    def move(self, parameters: list[Tensor], gradients: list[Tensor], indices: list[int], lr: float) -> None:
        fused_adamw(
            parameters,
            gradients,
            *(self.remembered(name, indices) for name in ("exp_avg", "exp_avg_sq", "step")),
            lr=lr,
            betas=self.betas,
            weight_decay=self.weight_decay,
        )


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch has it.

    Args:
        parameters, lr: as in `Optimizer`.
        momentum: the share of its last movement that a weight keeps in the next.
        weight_decay: the share of a weight that is added to its gradient.

    Its state is `momentum_buffer`, the decayed sum of the gradients, of a parameter's shape; none without momentum.
    """

    RUNNING = ("momentum_buffer",)

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.0, weight_decay: float = 0.0):
        super().__init__(parameters, lr)
        self.momentum, self.weight_decay = momentum, weight_decay

    def fresh_state(self, parameter: Tensor) -> dict[str, Tensor]:
        return {"momentum_buffer": torch.zeros_like(parameter)} if self.momentum else {}

    def move(self, parameters: list[Tensor], gradients: list[Tensor], indices: list[int], lr: float) -> None:
        if self.weight_decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=self.weight_decay))
        if self.momentum:
            buffers = self.remembered("momentum_buffer", indices)
            torch._foreach_mul_(buffers, self.momentum)
            torch._foreach_add_(buffers, gradients)
            gradients = buffers
        torch._foreach_add_(parameters, gradients, alpha=-lr)


class RMSprop(Optimizer):
    """RMSprop, as torch has it.

    After Hinton's lecture 6e (2012): a gradient is divided by the root of its square's running mean.

    Args:
        parameters, lr: as in `Optimizer`.
        alpha: decay of the squared gradient's running mean.
        momentum, weight_decay: as in `SGD`.

    Its state is `square_avg`, that mean, and, with momentum, `momentum_buffer`, each of a parameter's shape.
    """

    RUNNING = ("square_avg", "momentum_buffer")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        alpha: float = 0.99,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ):
        super().__init__(parameters, lr)
        self.alpha, self.momentum, self.weight_decay = alpha, momentum, weight_decay

    def fresh_state(self, parameter: Tensor) -> dict[str, Tensor]:
        names = ("square_avg", "momentum_buffer") if self.momentum else ("square_avg",)
        return {name: torch.zeros_like(parameter) for name in names}

    def move(self, parameters: list[Tensor], gradients: list[Tensor], indices: list[int], lr: float) -> None:
        if self.weight_decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=self.weight_decay))
        squares = self.remembered("square_avg", indices)
        torch._foreach_mul_(squares, self.alpha)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - self.alpha)
        roots = list(torch._foreach_sqrt(squares))
        torch._foreach_add_(roots, EPSILON)
        if not self.momentum:
            torch._foreach_addcdiv_(parameters, gradients, roots, -lr)
            return
        buffers = self.remembered("momentum_buffer", indices)
        torch._foreach_mul_(buffers, self.momentum)
        torch._foreach_addcdiv_(buffers, gradients, roots)
        torch._foreach_add_(parameters, buffers, alpha=-lr)


#: By name, as a phase names them; the docstring of `contract.Phase` lists them for whoever writes a model.
KINDS: dict[str, type[Optimizer]] = {"adamw": AdamW, "sgd": SGD, "rmsprop": RMSprop}


def make(parameters: Iterable[Tensor], kind: str = "adamw", **arguments: Any) -> Optimizer:
    """The optimiser of that kind; the arguments are those of its class.

    Raises:
        ModelError: when there is none, it knows no such argument, or lacks one.
    """
    if kind not in KINDS:
        raise ModelError(f"no optimiser is called '{kind}'; there are {', '.join(KINDS)}")
    known = list(inspect.signature(KINDS[kind]).parameters)[1:]
    if unknown := [name for name in arguments if name not in known]:
        raise ModelError(f"the optimiser {kind} knows no '{unknown[0]}'; it takes {', '.join(known)}")
    if "lr" not in arguments:
        raise ModelError(f"the optimiser {kind} of a phase needs its lr")
    return KINDS[kind](parameters, **arguments)


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
