"""A model without memory for its weights: to know their shapes before anything of their size is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from genkit.contract.model import Model
from genkit.contract.shape import ImageShape


def shapes_of(kind: type[Model], image: ImageShape, options: Any) -> dict[str, torch.Size]:
    """The names and shapes of a model's weights, without memory for them.

    Raises:
        RuntimeError: when its constructor reads the value of a tensor, which has none here.
    """
    with without_memory():
        return {name: tensor.shape for name, tensor in kind(image, options).state_dict().items()}


@contextmanager
def without_memory() -> Iterator[None]:
    """Tensors that are made inside have a shape and a type, and neither memory nor values."""
    with torch.device("meta"), Valueless():
        yield


class Valueless(TorchFunctionMode):
    """Knows what some functions of "meta" tensors return, for which torch would import its compiler to find it out.

    They are those of the weights that our models begin with; anything else works as well, two seconds later.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (torch.nn.init.normal_, Tensor.normal_, torch.nn.functional.normalize):
            return args[0] if args else next(iter(kwargs.values()))
        if function is Tensor.div and isinstance(args[1], Tensor) and args[1].ndim == 0:
            return args[0]
        if function in (torch.mv, torch.vdot):
            return args[0].new_empty(args[0].shape[:-1])
        if function is torch.eye and all(isinstance(size, int) for size in args):
            return torch.empty(args[0], args[-1])
        return function(*args, **kwargs)
