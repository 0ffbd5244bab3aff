"""A trained model as files for other programs: each of its functions as ONNX or `torch.export`, or its weights alone.

Each file holds one function with its weights, of any number of rows, and is held against the model itself before
anybody sees it: at several batch sizes, on real images and on samples.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from genkit import registry
from genkit.contract import GenerativeModel, Model, ability
from genkit.contract.condition import given
from genkit.errors import GenkitError, UsageError, in_one_line
from genkit.files import sha256_of, whole_folder
from genkit.keep import checkpoint
from genkit.keep.checkpoint import Checkpoint
from genkit.latent import sampling
from genkit.latent.condition import Conditions
from genkit.version import __version__

Format = Literal["safetensors", "onnx", "pt2"]
#: The largest difference between a file and the model that is accepted: absolute for numbers up to 1, and relative to
#: the largest where there are larger ones, of which float32 keeps seven digits.
TOLERANCE = 1e-4
#: Batch sizes at which they are compared: one is a case of its own to an exporter, and seven no power of two.
BATCHES = (1, 2, 7)
BATCHES_IN_WORDS = "1, 2 and 7"
#: Rows of the example that a function is traced with. With one, the exporter would take one for the only size.
TRACED = 3

Function = Callable[..., Sequence[Tensor]]


class Value(NamedTuple):
    """What goes into a function, or comes out of it, in rows.

    Attributes:
        name: of the input or output.
        shape: of one row.
        meaning: what the numbers are, and their range.
        dtype: of the numbers.
    """

    name: str
    shape: tuple[int, ...]
    meaning: str
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        return f"`{self.name}` ({', '.join(map(str, ('N', *self.shape)))}): {self.meaning}"


class Part(NamedTuple):
    """One function of a model, which becomes one file.

    Attributes:
        name: of the file.
        module: takes the inputs as its arguments, and returns the output, or a tuple of them.
        input, outputs: what they are.
        condition: what the module takes besides, of a model that takes a condition.
    """

    name: str
    module: nn.Module
    input: Value
    outputs: tuple[Value, ...]
    condition: Value | None = None

    @property
    def inputs(self) -> tuple[Value, ...]:
        return (self.input,) if self.condition is None else (self.input, self.condition)


class Exported(NamedTuple):
    """What came of an export.

    Attributes:
        folder: the new folder.
        files: name → file in it.
        differences: part → the largest difference of the file from the model, as `TOLERANCE` counts it.
        notes: lines for the log.
    """

    folder: Path
    files: dict[str, Path]
    differences: dict[str, float]
    notes: Sequence[str] = ()


# ---------------------------------------------------------------------------------------------------------------------
# What a model can do, as modules of one argument, or of two where it takes a condition
# ---------------------------------------------------------------------------------------------------------------------


class Method(nn.Module):
    """One of a model's methods as a module of its own."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model


class Encoder(Method):
    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.model.encode(images, *given(condition))


class Decoder(Method):
    def forward(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.model.decode(codes, *given(condition))


class Prior(Method):
    """What new codes are drawn by: what was fitted to codes, or the model's own prior."""

    def __init__(self, model: Any):
        super().__init__(model)
        self.fitted = model.fitted  # which is no part of the model itself

    def forward(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.fitted is None:
            return self.model.prior(noise, *given(condition))
        takes_class = self.model.condition is not None and self.model.condition.kind == "class"
        return self.fitted(noise, condition if takes_class else None)


class Classifier(Method):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.model(images), self.model.probabilities(images)


@torch.no_grad()
def parts_of(model: Model) -> list[Part]:
    """The functions that a model is exported as: encoder, decoder, and a prior that isn't N(0, I); or the classifier.

    Raises:
        UsageError: when it has none of them.
    """
    images = Value("images", tuple(model.image), "pixels in [0, 1]")
    condition = condition_value(model)
    parts = []
    numbers = getattr(model.options, "latent_dim", None)  # which a model from outside, that only encodes, may not have
    if ability.encodes(model) and numbers is not None:
        what = "the means of their distributions" if ability.tells_likelihood(model) else "unbounded"
        found = Value("codes", (numbers,), what)
        parts.append(Part("encoder", Encoder(model), images, (found,), condition))
    if ability.generates(model):
        size = model.options.latent_dim
        codes = Value("codes", (size,), "any finite numbers")
        parts.append(Part("decoder", Decoder(model), codes, (images,), condition))
        if not has_normal_prior(model):
            noise = Value("noise", (size,), "drawn from N(0, 1)")
            drawn = Value("codes", (size,), "as the prior draws them, for the decoder")
            parts.append(Part("prior", Prior(model), noise, (drawn,), condition))
    if ability.classifies(model):
        size = model(torch.zeros(1, *model.image, device=next(model.parameters()).device)).shape[1]
        told = "attribute" if getattr(model.options, "attributes", None) else "class"
        logits = Value("logits", (size,), f"unbounded, one a {told}")
        share = "each by itself" if told == "attribute" else "which sum to 1"
        odds = Value("probabilities", (size,), f"of the same, in [0, 1], {share}")
        parts.append(Part("classifier", Classifier(model), images, (logits, odds)))
    if not parts:
        raise UsageError("the model neither encodes, decodes nor classifies; --format safetensors takes its weights")
    return parts


def condition_value(model: Model) -> Value | None:
    """What the functions of a model that takes a condition take besides."""
    condition = model.condition
    if condition is None:
        return None
    if condition.kind == "class":
        return Value("condition", (), f"the class, int64 from 0 to {condition.size - 1}", torch.int64)
    if condition.kind == "attributes":
        return Value("condition", (condition.size,), "how much there is of each attribute, in [0, 1]")
    return Value("condition", tuple(condition.shape or ()), "pixels in [0, 1]")


def some_conditions(model: GenerativeModel, count: int) -> Tensor | None:
    """Conditions (count, …), where the model takes them: those of seeds, or grey images."""
    if model.condition is not None and model.condition.kind == "image":
        return torch.full((count, *(model.condition.shape or ())), 0.5)
    return sampling.seed_conditions(model, range(count))


def has_normal_prior(model: GenerativeModel) -> bool:
    """Whether the prior is N(0, I) itself, so that noise is a code."""
    noise = sampling.noise(range(8), model.options.latent_dim).to(sampling.device_of(model))
    return torch.equal(Prior(model)(*sampling.on(noise.device, noise, some_conditions(model, 8))), noise)


def plain_copy(model: Model) -> Model:
    """A copy on the CPU whose weights are what they come to: of a spectral norm, weight over norm, once and for all.

    It is built anew, because to take a norm off a deep copy takes half of it off the original.
    """
    plain = type(model)(model.image, model.options)
    plain.load_state_dict(model.state_dict())
    if ability.generates(model) and ability.generates(plain):
        plain.sampling = model.sampling
        plain.draw_by(model.fitted)
    for module in list(plain.eval().requires_grad_(False).modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]  # a ModuleDict
                parametrize.remove_parametrizations(module, name)
    return plain


# ---------------------------------------------------------------------------------------------------------------------
# Export
# ---------------------------------------------------------------------------------------------------------------------


def weights(opened: Checkpoint, name: str, folder: Path) -> Exported:
    """Write the model's weights and description to a folder that `genkit.load` and every command open.

    Args:
        name: what people call the model.
        folder: must not exist; its parent must.

    Raises:
        CheckpointError: when it can't be written.
    """
    checkpoint.write_exported(folder, opened, readme_of_weights(opened, name, folder))
    return Exported(folder, {path.name: path for path in sorted(folder.iterdir())}, {})


def functions(
    opened: Checkpoint,
    name: str,
    folder: Path,
    kind: Literal["onnx", "pt2"],
    images: Tensor,
    condition: Tensor | None = None,
) -> Exported:
    """Write each of the model's functions as a file of its own, once it has been held against the model.

    Args:
        opened: the model is on the device that it is to be compared on; the files are made for the CPU.
        name: what people call the model.
        folder: must not exist.
        images: real ones to compare on, (N, C, H, W) in [0, 1], N at least 1.
        condition: theirs, (N, …), where the model takes one.

    Raises:
        GenkitError: when the model can't be exported, or a file differs from it or can't be written; nothing is left.
        UsageError: when it has nothing to export, or what it takes isn't installed.
    """
    require(kind)
    model = opened.model
    examples = examples_of(model, images, condition)
    differences = {}
    with whole_folder(folder) as temporary:
        for part, plain in zip(parts_of(model), parts_of(plain_copy(model)), strict=True):
            file = f"{part.name}.{kind}"
            with refused(part.name, kind), quiet():
                write_part(plain, temporary / file, kind)
                written = open_part(temporary / file, kind, [each.name for each in part.inputs])
            found = difference(part, written, examples[part.input.name])
            if not found <= TOLERANCE:  # NaN included
                raise GenkitError(
                    f"{file} differs from the model by {found:.2g}, and {TOLERANCE:g} is accepted, so nothing was "
                    "written; --format safetensors has the weights as they are"
                )
            differences[part.name] = found
        sums = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        readme = readme_of_functions(opened, name, kind, parts_of(model), differences, sums)
        (temporary / "README.md").write_text(readme, encoding="utf-8")
    notes = []
    if "decoder" in differences and "encoder" not in differences:
        notes.append(f"a {opened.description.model} has no encoder, so there is no way from images to codes to export")
    return Exported(folder, {name: folder / name for name in [*sums, "README.md"]}, differences, notes)


def require(kind: str) -> None:
    """Refuse to begin without what a format needs.

    Raises:
        UsageError
    """
    missing = [each for each in ("onnx", "onnxscript", "onnxruntime") if kind == "onnx" and find_spec(each) is None]
    if missing:
        raise UsageError(f"--format onnx needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def write_part(part: Part, path: Path, kind: str) -> None:
    """Write a part of a `plain_copy` of a model as one file."""
    program = program_of(part)
    if kind == "pt2":
        content = io.BytesIO()  # torch's own writer ends the process when the disk is full
        torch.export.save(program, content)
        path.write_bytes(content.getvalue())
        return
    outputs = [each.name for each in part.outputs]
    names, batch = [each.name for each in part.inputs], tuple({0: "N"} for _ in part.inputs)
    onnx = torch.onnx.export(
        program, dynamo=True, input_names=names, output_names=outputs, dynamic_shapes=batch, verbose=False
    )
    assert onnx is not None
    onnx.save(str(path))


def program_of(part: Part) -> torch.export.ExportedProgram:
    """A part as a graph of any number of rows, with the weights that it uses and no others."""
    program = trace(part.module, part.inputs)
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    unused = [names[node.name] for node in program.graph.nodes if node.name in names and not node.users]
    if unused:
        # A decoder's file would else hold the encoder's weights as well.
        module = copy.deepcopy(part.module)
        for each in unused:
            owner, _, attribute = each.rpartition(".")
            setattr(module.get_submodule(owner), attribute, None)
        program = trace(module, part.inputs)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where genkit lies on this machine
    return program


def trace(module: nn.Module, values: Sequence[Value]) -> torch.export.ExportedProgram:
    examples = tuple(torch.zeros(TRACED, *value.shape, dtype=value.dtype) for value in values)
    return torch.export.export(module, examples, dynamic_shapes=tuple({0: torch.export.Dim.DYNAMIC} for _ in values))


def open_part(path: Path, kind: str, input_names: Sequence[str]) -> Function:
    """A file as a function, as another program would open it."""
    if kind == "pt2":
        module = torch.export.load(path).module()

        def by_torch(*inputs: Tensor) -> Sequence[Tensor]:
            outputs = module(*inputs)
            return outputs if isinstance(outputs, tuple) else (outputs,)

        return by_torch
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def by_onnx(*inputs: Tensor) -> Sequence[Tensor]:
        named = {name: each.numpy() for name, each in zip(input_names, inputs, strict=True)}
        return [torch.from_numpy(each) for each in session.run(None, named)]

    return by_onnx


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the exporters have to say of themselves. What is wrong, they raise."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def refused(part: str, kind: str) -> Iterator[None]:
    """Whatever an exporter stumbles over is one GenkitError; a disk that doesn't take the file is `whole_folder`'s."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        place = registry.fault_of(error)
        said = f"{place}: {in_one_line(error)}" if place else in_one_line(error)
        raise GenkitError(f"the {part} can't be exported as {kind}, so nothing was written: {said}") from error


# ---------------------------------------------------------------------------------------------------------------------
# Compare
# ---------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def examples_of(model: Model, images: Tensor, condition: Tensor | None = None) -> dict[str, list[tuple[Tensor, ...]]]:
    """What to compare on, by the input's name: real images and samples, their codes, and noise; on the CPU.

    Each is of as many rows as the largest batch; where there are fewer images, they are repeated. Where the model takes
    a condition, that stands behind it.
    """
    count = max(BATCHES)
    device = next(model.parameters()).device
    chosen = torch.arange(count) % len(images)
    real, own = images[chosen].cpu(), tuple(each[chosen].cpu() for each in given(condition))
    examples: dict[str, list[tuple[Tensor, ...]]] = {"images": [(real, *own)], "codes": [], "noise": []}
    if ability.generates(model):
        noise, also = sampling.noise(range(count), model.options.latent_dim), given(some_conditions(model, count))
        drawn = Prior(model)(*sampling.on(device, noise, *also))
        examples["noise"].append((noise, *also))
        examples["codes"].append((drawn.cpu(), *also))
        examples["images"].append((model.decode(*sampling.on(device, drawn, *also)).cpu(), *also))
        if ability.encodes(model):
            examples["codes"].append((model.encode(*sampling.on(device, real, *own)).cpu(), *own))
    return examples


@torch.no_grad()
def difference(part: Part, written: Function, examples: Sequence[tuple[Tensor, ...]]) -> float:
    """The largest difference of a file from the model's own part, over all examples and batch sizes.

    Returns:
        As `TOLERANCE` counts it; infinite where the shapes differ, NaN where a number is none.
    """
    device = next(part.module.parameters()).device
    worst = 0.0
    # A GPU would else round to three digits.
    with torch.backends.cudnn.flags(True, allow_tf32=False) if device.type == "cuda" else nullcontext():
        for example in examples:
            for size in BATCHES:
                inputs = [each[:size].contiguous() for each in example]
                expected = part.module(*(each.to(device) for each in inputs))
                expected = expected if isinstance(expected, tuple) else (expected,)
                for ours, theirs in zip(expected, written(*inputs), strict=True):
                    if ours.shape != theirs.shape:
                        return float("inf")
                    gap = (ours.cpu() - theirs).abs().max() / ours.cpu().abs().max().clamp(min=1)
                    if not float(gap) <= worst:
                        worst = float(gap)
                    if worst != worst:
                        return worst
    return worst


# ---------------------------------------------------------------------------------------------------------------------
# What the folder says of itself
# ---------------------------------------------------------------------------------------------------------------------


def headline(opened: Checkpoint, name: str, form: str) -> str:
    about = opened.description
    sets = [about.data.dataset, *([about.data.beside] if about.data.beside else [])]
    images = " beside ".join(f"`{Path(each).name}`" for each in sets)
    return f"""# {name}, as {form}

The model `{about.model}` for images of {opened.model.image} (channels × height × width), trained for {about.step:,}
steps on {images}. Written by genkit {__version__} with PyTorch {torch.__version__}."""


def readme_of_weights(opened: Checkpoint, name: str, folder: Path) -> str:
    call = {
        True: "images = model.sample(16)  # (16, C, H, W) in [0, 1]; the seeds 0 to 15",
        False: "features = model.features(images)  # (N, F), of images (N, C, H, W), uint8 or in [0, 1]",
    }[ability.generates(opened.model)]
    provider = opened.description.provider
    needs = "" if provider is None or provider.is_genkit else f" and {provider}, which has the model,"
    return f"""{headline(opened, name, "weights")}

- `model.safetensors`: the weights (the averaged ones, where an average was kept), by their names in the model.
- `checkpoint.json`: the model's name, options and image shape, and how it was trained.
- `manifest.json`: the SHA-256 of both, which is checked whenever the folder is opened.

What only training needs isn't in it. In Python, with genkit{needs} installed:

```python
import genkit

model = genkit.load({folder.name!r})  # the path of this folder
{call}
```

Every command takes the folder in a run's place: `genkit info {folder.name}`.
"""


def readme_of_functions(
    opened: Checkpoint,
    name: str,
    kind: str,
    parts: Sequence[Part],
    differences: Mapping[str, float],
    sums: Mapping[str, str],
) -> str:
    form = {"onnx": "ONNX", "pt2": "torch.export"}[kind]
    rows = "\n".join(
        f"| `{part.name}.{kind}` | {'; '.join(map(str, part.inputs))} | {'; '.join(map(str, part.outputs))} "
        f"| {differences[part.name]:.1e} |"
        for part in parts
    )
    whole = opened.model.condition is not None and opened.model.condition.kind == "class"
    return f"""{headline(opened, name, form)}

Each file is one function, with the weights in it. N is any number of rows, and all numbers are float32\
{" but the class" if whole else ""}.

| file | input | outputs | from the model |
|---|---|---|---|
{rows}

The last column is the largest difference from the model's own answers, in batches of {BATCHES_IN_WORDS}, on real images
and on samples (relative to the largest number, where that is above 1).
{notes_on(opened, parts)}
```python
{call_of(opened, kind, parts)}
```

SHA-256:

{chr(10).join(f"    {sums[file]}  {file}" for file in sums)}
"""


def notes_on(opened: Checkpoint, parts: Sequence[Part]) -> str:
    """What else a caller has to know: where codes come from, and what the columns are."""
    names = {part.name for part in parts}
    lines = []
    if "decoder" in names and "encoder" not in names:
        lines.append(f"A `{opened.description.model}` has no encoder, so there is no way from images to codes here.")
    if "prior" in names:
        lines.append("New images: draw noise from N(0, 1), make codes of it by the prior, and decode them.")
    elif "decoder" in names:
        lines.append("New images: draw codes from N(0, 1), and decode them.")
    return "".join(f"\n{line}\n" for line in lines)


def call_of(opened: Checkpoint, kind: str, parts: Sequence[Part]) -> str:
    """Lines of Python that call every part, from this folder."""
    shape = ", ".join(map(str, opened.model.image))
    if kind == "onnx":
        lines = ["import numpy as np", "import onnxruntime", "", "draw = np.random.default_rng(0)"]
        lines += [f'{part.name} = onnxruntime.InferenceSession("{part.name}.onnx")' for part in parts]
        images = f"images = draw.random((2, {shape}), dtype=np.float32)  # put yours here"
        noise = "draw.standard_normal((5, {}), dtype=np.float32)"
    else:
        lines = ["import torch", ""]
        lines += [f'{part.name} = torch.export.load("{part.name}.pt2").module()' for part in parts]
        images = f"images = torch.rand(2, {shape})  # put yours here"
        noise = "torch.randn(5, {})"

    by_name = {part.name: part for part in parts}
    known = Conditions.of(opened.model, opened.description.classes, opened.description.attributes)
    if known is not None and known.names:
        lines.append(f"names = {list(known.names)!r}  # of what condition says, in order")

    def call(part: str, inputs: str, outputs: str) -> str:
        names = [inputs] if by_name[part].condition is None else [inputs, "condition"]
        if kind == "onnx":
            each = outputs if "," in outputs else f"({outputs},)"
            return f"{each} = {part}.run(None, {{{', '.join(f'{chr(34)}{name}{chr(34)}: {name}' for name in names)}}})"
        return f"{outputs} = {part}({', '.join(names)})"

    def told(part: str, count: int) -> list[str]:
        """The line that makes a condition of `count` rows, where there is one."""
        condition = by_name[part].condition
        if condition is None:
            return []
        library, whole = "np" if kind == "onnx" else "torch", condition.dtype == torch.int64
        size = ", ".join(map(str, (count, *condition.shape))) + ("," if not condition.shape else "")
        dtype = f"{library}.{'int64' if whole else 'float32'}"
        return [f"condition = {library}.zeros(({size}), dtype={dtype})  # {condition.meaning}"]

    lines.append("")
    if "encoder" in by_name or "classifier" in by_name:
        lines.append(images)
    if "encoder" in by_name:
        lines += [*told("encoder", 2), call("encoder", "images", "codes")]
    if "decoder" in by_name:
        lines += [call("decoder", "codes", "images"), ""] if "encoder" in by_name else []
        size = by_name["decoder"].input.shape[0]
        first = "noise" if "prior" in by_name else "codes"
        lines += [f"{first} = {noise.format(size)}", *told("decoder", 5)]
        lines += [call("prior", "noise", "codes")] if "prior" in by_name else []
        lines.append(call("decoder", "codes", "images"))
    if "classifier" in by_name:
        names = tuple(getattr(opened.model.options, "attributes", ())) or opened.description.classes
        lines += [call("classifier", "images", "logits, probabilities"), f"names = {list(names)!r}  # of the columns"]
    return "\n".join(lines)
