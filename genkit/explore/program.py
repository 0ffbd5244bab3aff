"""What a model's `decode` or `encode` does, as a short list of steps that a page can carry out by itself.

The steps are read off the graph that torch records while the method runs, so they are what the model really does, and
no model is known by its name. What a method does beyond the few operations here is refused, and named. `Program.run`
carries the same steps out in torch, to see what rounding the weights costs before the page is written;
static/decoder.js is what the page does it with.
"""

from __future__ import annotations

import base64
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

#: What one number becomes, whatever its place; with the constants that the step names.
POINTWISE: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": lambda x, slope: F.leaky_relu(x, slope),
    "affine": lambda x, scale, shift: scale * x + shift,
    "clamp": lambda x, low, high: x.clamp(low, high),
}
#: Larger than any pixel or code, for a bound that isn't there.
UNBOUNDED = 1e30


class RefusedError(Exception):
    """The method does something that isn't among the steps; says what."""


class Step(NamedTuple):
    """One operation.

    Attributes:
        op: a key of `POINTWISE`, or `linear`, `conv2d`, `conv_transpose2d`, `normalise`, `part`, `add`.
        inputs: the values that it reads, by number: 0 is the program's input, 1 the first step's result.
        settings: sizes and constants.
        weights: its matrices, which a file may round.
        offsets: its numbers a channel, which are few and stay as they are; None for a bias that it hasn't got.
    """

    op: str
    inputs: tuple[int, ...]
    settings: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    offsets: Mapping[str, Tensor | None]


class Program(NamedTuple):
    """A method's steps; `output` is the number of the value that it returns, of the shape `shape` (without a batch)."""

    steps: Sequence[Step]
    output: int
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many weights there are."""
        return sum(weight.numel() for step in self.steps for weight in step.weights.values())

    def halved(self) -> Program:
        """The same with its weights rounded to half precision."""
        steps = [
            step._replace(weights={name: weight.half().float() for name, weight in step.weights.items()})
            for step in self.steps
        ]
        return self._replace(steps=steps)

    @torch.no_grad()
    def run(self, inputs: Tensor) -> Tensor:
        """What the method returns for `inputs`, (B, ...) on the CPU."""
        values = [inputs.flatten(1)]
        for step in self.steps:
            values.append(_carried_out(step, [values[number] for number in step.inputs]))
        return values[self.output].unflatten(1, self.shape)

    def packed(self, half: bool) -> dict[str, Any]:
        """The program as JSON: each step's weights and offsets are places in two blocks of numbers."""
        steps, weights, offsets = [], _Block(), _Block()
        for step in self.steps:
            places = {name: weights.add(weight) for name, weight in step.weights.items()}
            places |= {name: offsets.add(offset) for name, offset in step.offsets.items()}
            steps.append({"op": step.op, "from": list(step.inputs), **step.settings, **places})
        return {
            "steps": steps,
            "output": self.output,
            "weights": packed(weights.whole(), half),
            "biases": packed(offsets.whole()),
        }


class _Block:
    """Tensors laid one behind the other."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.length = 0

    def add(self, part: Tensor | None) -> int | None:
        """Where it begins."""
        if part is None:
            return None
        self.parts.append(part.flatten())
        self.length += part.numel()
        return self.length - part.numel()

    def whole(self) -> Tensor:
        return torch.cat(self.parts) if self.parts else torch.empty(0)


def packed(numbers: Tensor, half: bool = False) -> dict[str, Any]:
    """Floats in single or half precision as JSON: their bytes, little-endian, in base64."""
    content = numbers.numpy().astype("<f2" if half else "<f4").tobytes()
    return {"half": half, "numbers": base64.b64encode(content).decode()}


def _carried_out(step: Step, inputs: list[Tensor]) -> Tensor:
    """One step in torch; each value is (B, numbers)."""
    first, settings, weights, offsets = inputs[0], step.settings, step.weights, step.offsets
    if step.op in POINTWISE:
        return POINTWISE[step.op](first, **settings)
    if step.op == "linear":
        return F.linear(first, weights["weight"], offsets["bias"])
    if step.op == "conv2d":
        image = first.unflatten(1, settings["before"])
        image = F.conv2d(image, weights["weight"], offsets["bias"], settings["stride"], settings["padding"])
        return image.flatten(1)
    if step.op == "conv_transpose2d":
        whole = F.conv_transpose2d(
            first.unflatten(1, settings["before"]),
            weights["weight"],
            offsets["bias"],
            settings["stride"],
            settings["padding"],
            _output_padding(settings),
        )
        return whole.flatten(1)
    if step.op == "normalise":
        scale, shift = offsets["scale"], offsets["shift"]
        assert scale is not None
        assert shift is not None
        return torch.addcmul(shift[:, None], first.unflatten(1, (-1, settings["inner"])), scale[:, None]).flatten(1)
    if step.op == "part":
        return first[:, settings["start"] : settings["start"] + settings["size"]]
    assert step.op == "add"
    return first + inputs[1]


def _output_padding(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """What a transposed convolution adds at the end to reach its size."""
    return tuple(
        after - ((before - 1) * stride - 2 * padding + kernel)
        for before, after, kernel, stride, padding in zip(
            settings["before"][1:],
            settings["after"][1:],
            settings["kernel"],
            settings["stride"],
            settings["padding"],
            strict=True,
        )
    )


# ---------------------------------------------------------------------------------------------------------------------
# Reading a method
# ---------------------------------------------------------------------------------------------------------------------


class _Value(NamedTuple):
    """A tensor that the method computes: its number, and its shape with a batch of one."""

    number: int
    shape: torch.Size


class _Part(NamedTuple):
    """A piece of a value that has been cut along its channels, not yet taken."""

    of: _Value
    start: int
    shape: torch.Size


class _Joined(NamedTuple):
    """A row of numbers with constants behind it, which the linear layer that reads it takes into its bias."""

    of: _Value
    constants: Tensor
    shape: torch.Size


class _Method(nn.Module):
    """A model's method in the place of its forward; a condition is a constant of it."""

    condition: Tensor

    def __init__(self, model: nn.Module, name: str, condition: Tensor | None):
        super().__init__()
        self.model, self.name, self.told = model, name, condition is not None
        if condition is not None:
            self.register_buffer("condition", condition)

    def forward(self, inputs: Tensor) -> Tensor:
        method = getattr(self.model, self.name)
        return method(inputs, self.condition) if self.told else method(inputs)


def read(model: nn.Module, method: str, inputs: Tensor, condition: Tensor | None = None) -> Program:
    """The steps of a model's method.

    Args:
        model: in evaluation mode.
        method: its name: `decode`.
        inputs: one input, with a batch of one, on the model's device.
        condition: (1, …), of a model that takes one: the steps are those of this one alone.

    Raises:
        RefusedError: when the method does anything that isn't among the steps.
    """
    try:
        with torch.no_grad():
            exported = torch.export.export(_Method(model, method, condition), (inputs,), strict=False)
    except Exception as error:  # as many kinds as there are ways to write a method that can't be recorded
        raise RefusedError(f"torch can't record {method}: {str(error).strip().partition(chr(10))[0][:200]}") from error
    kept = {**exported.state_dict, **exported.constants}
    given = {spec.arg.name: kept.get(spec.target or "") for spec in exported.graph_signature.input_specs}
    reader = _Reader(inputs.shape)
    found: dict[fx.Node, Any] = {}
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            weight = given[node.name]
            found[node] = reader.input if weight is None else weight.detach().cpu()
        elif node.op == "output":
            result = found.get(node.args[0][0]) if len(node.args[0]) == 1 else None
        elif node.op != "call_function":  # a region of its own, as one of another precision
            raise RefusedError("it has a part that torch records by itself")
        elif node.users:
            found[node] = reader.operation(node, found)
    if not isinstance(result, _Value):
        raise RefusedError(f"{method} returns something else than one tensor that depends on its input")
    return Program(reader.steps, result.number, tuple(result.shape[1:]))


class _Reader:
    """Turns one operation of the graph after the other into a step, or into nothing where it only gives a new shape."""

    def __init__(self, shape: torch.Size):
        self.input = _Value(0, shape)
        self.steps: list[Step] = []

    def operation(self, node: fx.Node, found: Mapping[fx.Node, Any]) -> Any:
        """What a node computes. `found` has what those before it do."""
        if node.target is operator.getitem:
            return self.taken(found[node.args[0]][node.args[1]])  # type: ignore[index]
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda each: found[each])
        name = str(node.target).removeprefix("aten.").partition(".")[0]
        if all(isinstance(found[each], Tensor) for each in node.all_input_nodes):
            return self.constant(name, node.target, args, kwargs)
        if name.endswith("_") and len(node.args[0].users) == 1:  # type: ignore[union-attr]
            name = name[:-1]  # changes its input in place, which nothing else looks at
        method = getattr(self, f"op_{name}", None)
        if method is None or not str(node.target).startswith("aten."):
            raise RefusedError(f"it uses {name}")
        self.shape = getattr(node.meta["val"], "shape", None)
        self.shapes = [each.shape for each in node.meta["val"]] if self.shape is None else []
        try:
            return method(*args, **kwargs)
        except TypeError as error:  # an argument that the method hasn't got
            raise RefusedError(f"it uses {name} in an uncommon way") from error

    def constant(self, name: str, target: Any, args: Any, kwargs: Any) -> Any:
        """What depends on the weights alone, as they are divided by their spectral norm."""
        if torch.Tag.nondeterministic_seeded in target.tags:
            raise RefusedError(f"it uses {name}")
        return target(*args, **kwargs)

    def step(
        self,
        op: str,
        *inputs: _Value,
        weights: Mapping[str, Tensor] | None = None,
        offsets: Mapping[str, Tensor | None] | None = None,
        **settings: Any,
    ) -> _Value:
        assert self.shape is not None
        if not all(isinstance(each, _Value) for each in inputs) or self.shape[0] != 1:
            raise RefusedError(f"it uses {op} of something that isn't one image or code")
        self.steps.append(Step(op, tuple(each.number for each in inputs), settings, weights or {}, offsets or {}))
        return _Value(len(self.steps), self.shape)

    def same(self, x: _Value | _Joined, *_shape: Any, **_named: Any) -> _Value | _Joined:
        """The same numbers in the same order, be it with another shape."""
        assert self.shape is not None
        if isinstance(x, _Joined) and x.shape == self.shape:
            return x
        if not isinstance(x, _Value) or math.prod(self.shape) != math.prod(x.shape):
            raise RefusedError("it changes a shape in an uncommon way")
        return _Value(x.number, self.shape)

    op_alias = op_clone = op_contiguous = op_detach = same
    op_view = op_reshape = op_flatten = op_unflatten = op_unsqueeze = op_squeeze = op__unsafe_view = same

    def op_to(self, x: _Value, dtype: torch.dtype) -> _Value:
        if dtype != torch.float32:
            raise RefusedError(f"it computes in {str(dtype).removeprefix('torch.')}")
        return x

    def op_dropout(self, x: _Value, p: float, train: bool) -> _Value:
        if train:
            raise RefusedError("it drops numbers at random")
        return x

    def op_slice(self, x: _Value, dim: int = 0, start: int | None = None, end: int | None = None) -> _Value:
        """Some channels; all of them is nothing."""
        assert self.shape is not None
        if self.shape == x.shape:
            return x
        if dim % len(x.shape) != 1:
            raise RefusedError("it cuts images apart")
        first = range(x.shape[1])[start or 0]
        return self.taken(_Part(x, first * math.prod(x.shape[2:]), self.shape))

    def op_chunk(self, x: _Value, pieces: int | list[int], dim: int = 0) -> list[_Part]:
        if dim % len(x.shape) != 1:
            raise RefusedError("it cuts images apart")
        starts = [sum(math.prod(shape) for shape in self.shapes[:index]) for index in range(len(self.shapes))]
        return [_Part(x, start, shape) for start, shape in zip(starts, self.shapes, strict=True)]

    op_split = op_split_with_sizes = op_chunk

    def taken(self, part: _Part | _Value) -> _Value:
        if isinstance(part, _Value):
            return part
        self.shape = part.shape
        return self.step("part", part.of, start=part.start, size=math.prod(part.shape))

    def op_cat(self, parts: Sequence[Any], dim: int = 0) -> _Joined:
        """Constants behind a row of numbers, as a condition is."""
        assert self.shape is not None
        first, *rest = parts
        constant = all(isinstance(each, Tensor) for each in rest)
        if not isinstance(first, _Value) or not constant or len(self.shape) != 2 or dim % 2 != 1:
            raise RefusedError("it puts images side by side")
        return _Joined(first, torch.cat(rest, 1), self.shape)

    def op_linear(self, x: _Value | _Joined, weight: Tensor, bias: Tensor | None = None) -> _Value:
        if isinstance(x, _Joined):
            own = x.of.shape[1]
            fixed = weight[:, own:].double() @ x.constants[0].double() + (0 if bias is None else bias.double())
            x, weight, bias = x.of, weight[:, :own].contiguous(), fixed.float()
        if len(x.shape) != 2:
            raise RefusedError("it uses linear of something that isn't a row of numbers")
        outputs, inputs = weight.shape
        offsets = {"bias": bias}
        return self.step("linear", x, weights={"weight": weight}, offsets=offsets, inputs=inputs, outputs=outputs)

    def op_addmm(self, bias: Tensor, x: _Value | _Joined, weight: Tensor, *, alpha: float = 1) -> _Value:
        """A linear layer whose inputs are scaled."""
        return self.op_linear(x, (weight.T * alpha).contiguous(), bias)

    def op_conv2d(
        self,
        x: _Value,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
    ) -> _Value:
        return self.convolution("conv2d", x, weight, bias, stride, padding)

    def op_conv_transpose2d(
        self,
        x: _Value,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
        output_padding: Sequence[int] = (0, 0),
    ) -> _Value:
        return self.convolution("conv_transpose2d", x, weight, bias, stride, padding)

    def convolution(
        self, op: str, x: _Value, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]
    ) -> _Value:
        """Without groups and dilation, which would be further arguments. The output's shape says how it was padded."""
        assert self.shape is not None
        if len(x.shape) != 4 or isinstance(padding, str):
            raise RefusedError(f"it uses {op} in an uncommon way")
        return self.step(
            op,
            x,
            weights={"weight": weight},
            offsets={"bias": bias},
            before=list(x.shape[1:]),
            after=list(self.shape[1:]),
            kernel=list(weight.shape[2:]),
            stride=_pair(stride),
            padding=_pair(padding),
        )

    def op_batch_norm(
        self,
        x: _Value,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        training: bool,
        momentum: float,
        eps: float,
        cudnn: bool,
    ) -> _Value:
        """After training it is a scale and a shift a channel."""
        if training or mean is None:
            raise RefusedError("it normalises by the batch")
        gain = (variance.double() + eps).rsqrt() * (1 if weight is None else weight.double())
        shift = -mean.double() * gain + (0 if bias is None else bias.double())
        offsets = {"scale": gain.float(), "shift": shift.float()}
        return self.step("normalise", x, offsets=offsets, inner=math.prod(x.shape[2:]))

    def op_relu(self, x: _Value) -> _Value:
        return self.step("relu", x)

    def op_silu(self, x: _Value) -> _Value:
        return self.step("silu", x)

    def op_tanh(self, x: _Value) -> _Value:
        return self.step("tanh", x)

    def op_sigmoid(self, x: _Value) -> _Value:
        return self.step("sigmoid", x)

    def op_gelu(self, x: _Value, approximate: str = "none") -> _Value:
        if approximate != "none":
            raise RefusedError(f"it approximates gelu by {approximate}")
        return self.step("gelu", x)

    def op_leaky_relu(self, x: _Value, slope: float = 0.01) -> _Value:
        return self.step("leaky_relu", x, slope=slope)

    def op_clamp(self, x: _Value, low: float | None = None, high: float | None = None) -> _Value:
        return self.step("clamp", x, low=-UNBOUNDED if low is None else low, high=UNBOUNDED if high is None else high)

    def op_add(self, x: Any, y: Any) -> _Value:
        if isinstance(x, _Value) and isinstance(y, _Value):
            if x.shape != y.shape:
                raise RefusedError("it adds images of different shapes")
            return self.step("add", x, y)
        return self.affine(x, 1, y) if isinstance(x, _Value) else self.affine(y, 1, x)

    def op_mul(self, x: Any, y: Any) -> _Value:
        return self.affine(x, y, 0) if isinstance(x, _Value) else self.affine(y, x, 0)

    def op_sub(self, x: Any, y: Any) -> _Value:
        return self.affine(x, 1, -_number(y)) if isinstance(x, _Value) else self.affine(y, -1, x)

    def op_rsub(self, x: _Value, y: Any) -> _Value:
        return self.affine(x, -1, y)

    def op_div(self, x: _Value, y: Any) -> _Value:
        return self.affine(x, 1 / _number(y), 0)

    def op_neg(self, x: _Value) -> _Value:
        return self.affine(x, -1, 0)

    def affine(self, x: _Value, scale: Any, shift: Any) -> _Value:
        return self.step("affine", x, scale=_number(scale), shift=_number(shift))


def _pair(sizes: Sequence[int]) -> list[int]:
    """Height's and width's, of which torch may give one for both."""
    return [*sizes] if len(sizes) == 2 else [sizes[0], sizes[0]]


def _number(value: Any) -> float:
    """One constant.

    Raises:
        RefusedError: when it is more than that.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    raise RefusedError("it calculates with images in an uncommon way")
