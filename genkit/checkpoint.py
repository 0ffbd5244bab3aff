"""One checkpoint: written atomically, verified at every load. The only place where weights meet the disk.

A checkpoint is a folder that opens alone: nothing else is needed to build its model again, or to go on training.

    model.safetensors      the weights
    averaged.safetensors   their moving average, where one is kept
    training.safetensors   the optimisers, the random generators, and the metrics of steps that aren't logged yet
    checkpoint.json        everything else (`Description`)
    manifest.json          the SHA-256 of every other file

One that was exported lacks what only training needs: its model.safetensors holds the weights to use, and there is
neither an average nor a training state beside it.

Both are written under a temporary name, so a folder with its final name is whole; and because both safetensors and
pickled files load a flipped bit without a word, every load hashes every file. Nothing in it is ever unpickled, and no
number in it makes anything larger than the file itself be allocated.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.overrides import TorchFunctionMode

from genkit import models
from genkit.data import SOURCES, DataOptions
from genkit.errors import CheckpointError, GenkitError, in_one_line
from genkit.files import from_json, read_plain, require_plain, sha256_of, to_json, write_folder
from genkit.model import ImageShape, Model
from genkit.optim import fresh_state
from genkit.training import TrainingState

FORMAT = 1
MODEL, AVERAGED, TRAINING = "model.safetensors", "averaged.safetensors", "training.safetensors"
DESCRIPTION, MANIFEST = "checkpoint.json", "manifest.json"
FILES = (MODEL, AVERAGED, TRAINING, DESCRIPTION)
#: What AdamW keeps of a parameter: a count, and two moments of the parameter's shape.
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
#: Bytes. Larger JSON is refused before it is read; the longest real part of it are the names of the classes.
MAX_JSON = 16 << 20

T = TypeVar("T")
Side = Annotated[int, Field(ge=1, le=65536)]


class Image(BaseModel):
    """`ImageShape` in checkpoint.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: Side
    height: Side
    width: Side


class Description(BaseModel):
    """checkpoint.json: what a checkpoint is of.

    Attributes:
        format: of the checkpoint's files.
        model: the model's name.
        image: the shape of the images that it is built for.
        options: the model's, as its own `Options` take them.
        step, epoch: training steps taken, and passes over the training images.
        seconds: spent in training so far.
        monitor: the metric by which the run's checkpoints are compared, without its `val/`.
        metrics: measured on the validation images at this step; empty for a checkpoint between two validations.
        data: the images that it was trained on, a path being absolute.
        data_sum: `Dataset.sum` of them.
        classes, attributes: the names of the labels, and of the attributes.
        processes: that trained together; the state of each one's random generators is kept.
        exported: that this is an exported one, which can be used but not trained on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: int = FORMAT
    model: str
    image: Image
    options: dict[str, Any]
    step: Annotated[int, Field(ge=0)]
    epoch: Annotated[float, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0)] = 0
    monitor: str = "loss"
    metrics: dict[str, float] = Field(default_factory=dict)
    data: DataOptions = Field(default_factory=DataOptions)
    data_sum: str = ""
    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    processes: Annotated[int, Field(ge=1)] = 1
    exported: bool = False


class Checkpoint(NamedTuple):
    """A checkpoint read from disk.

    Attributes:
        path: its folder.
        model: the trained model (its averaged weights, where it keeps an average), in evaluation mode, on the CPU.
        description: the rest.
    """

    path: Path
    model: Model
    description: Description


# ---------------------------------------------------------------------------------------------------------------------
# Write
# ---------------------------------------------------------------------------------------------------------------------


class Snapshot(NamedTuple):
    """What a checkpoint is to hold: a copy on the CPU, which training no longer changes.

    Attributes:
        tensors: file name -> name -> tensor.
        description: the rest.
    """

    tensors: dict[str, dict[str, Tensor]]
    description: Description


def snapshot(
    state: TrainingState,
    pending: Mapping[str, Tensor] | None = None,
    random: Sequence[Mapping[str, Tensor]] | None = None,
    **about: Any,
) -> Snapshot:
    """Copy the state of a training run.

    Args:
        pending: metrics of the steps since the last that was logged, (steps,) each.
        random: `random_tensors` of each of the processes that train together, by rank; by default of this one alone.
        about: the fields of `Description` that aren't known from the state.
    """
    own, *others = [random_tensors()] if random is None else random
    description = Description(
        image=Image(**state.model.image._asdict()),
        options=state.model.options.model_dump(mode="json"),
        step=state.step,
        processes=1 + len(others),
        **about,
    )
    files = {
        MODEL: state.model.state_dict(),
        TRAINING: {
            **optimizer_tensors(state),
            **own,
            **{f"rank-{rank}/{name}": value for rank, each in enumerate(others, 1) for name, value in each.items()},
            **pending_tensors(pending or {}),
        },
    }
    if state.averaged is not None:
        files[AVERAGED] = state.averaged.state_dict()
    copies = {name: {key: copied(value) for key, value in tensors.items()} for name, tensors in files.items()}
    return Snapshot(copies, description)


def copied(tensor: Tensor) -> Tensor:
    """On the CPU, in memory of its own."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def write(folder: Path, snapshot: Snapshot) -> Path:
    """Write a checkpoint to `folder`, all of it or nothing.

    Args:
        folder: must not exist; its parent must.

    Raises:
        CheckpointError: when the disk doesn't take it; then nothing is left there.
    """
    contents = {name: save(tensors) for name, tensors in snapshot.tensors.items()}
    contents[DESCRIPTION] = to_json(snapshot.description.model_dump(mode="json"))
    contents[MANIFEST] = manifest_of(contents)
    try:
        write_folder(folder, contents)
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {folder} could not be written ({error.strerror}); make room, then go on with "
            f"genkit train --resume {folder.parent.parent}"
        ) from error
    return folder


def write_exported(folder: Path, opened: Checkpoint, readme: str) -> Path:
    """Write what it takes to use a checkpoint, and nothing that only training needs; all of it or nothing.

    A folder of images is named by its last part alone: what is sent to others shouldn't say where one keeps them.

    Args:
        folder: must not exist; its parent must.
        readme: its README.md, which no hash vouches for.

    Raises:
        CheckpointError: when the disk doesn't take it; then nothing is left there.
    """
    about = opened.description
    images = about.data.dataset if about.data.dataset in SOURCES else f"./{Path(about.data.dataset).name}"
    changes = {"exported": True, "processes": 1, "data": about.data.model_copy(update={"dataset": images})}
    description = about.model_copy(update=changes)
    contents = {
        MODEL: save({name: copied(value) for name, value in opened.model.state_dict().items()}),
        DESCRIPTION: to_json(description.model_dump(mode="json")),
    }
    contents[MANIFEST] = manifest_of(contents)
    try:
        write_folder(folder, {**contents, "README.md": readme.encode()})
    except OSError as error:
        raise CheckpointError(
            f"{folder} could not be written ({error.strerror}); make room, or name another folder with --out"
        ) from error
    return folder


def manifest_of(contents: Mapping[str, bytes]) -> bytes:
    """The manifest of files with these contents."""
    return to_json({name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})


def size(kind: type[Model], image: ImageShape, options: Any) -> int:
    """About how many bytes a checkpoint of such a model takes: the weights, two moments of each, and their average.

    Raises:
        RuntimeError: as `shapes_of`.
    """
    return weights_size(kind, image, options) * (4 if options.ema else 3)


def weights_size(kind: type[Model], image: ImageShape, options: Any) -> int:
    """Bytes of such a model's weights.

    Raises:
        RuntimeError: as `shapes_of`.
    """
    return 4 * sum(shape.numel() for shape in shapes_of(kind, image, options).values())


# ---------------------------------------------------------------------------------------------------------------------
# Read
# ---------------------------------------------------------------------------------------------------------------------


def read(folder: Path) -> Checkpoint:
    """Open a checkpoint: check every byte, build its model, load its weights.

    Raises:
        CheckpointError: when anything in it is missing, altered, or not what this version writes.
    """

    def open_model() -> Checkpoint:
        contents = read_verified(folder, {DESCRIPTION, MODEL, AVERAGED})
        description = parse_description(contents[DESCRIPTION])
        averaged = description.options.get("ema") and not description.exported
        weights = load(contents[AVERAGED if averaged else MODEL])
        del contents
        return Checkpoint(folder, build_for(description, weights).eval().requires_grad_(False), description)

    return refusing_damage(folder, open_model)


def restore(
    folder: Path, state: TrainingState, rank: int = 0, device: torch.device | None = None
) -> tuple[Description, dict[str, Tensor]]:
    """Bring a fresh training state, and all random generators, to where they were when the checkpoint was written.

    Args:
        rank: of this process among those that train together. Where the checkpoint is of fewer, its random generators
            stay as they are.
        device: the one whose random generator is this process's, where there are several.

    Returns:
        The checkpoint's description, and the metrics of the steps that weren't logged yet, (steps,) each.

    Raises:
        CheckpointError: when it is damaged or isn't of the same model; then the state is of no more use.
    """

    def load_all() -> tuple[Description, dict[str, Tensor]]:
        wanted = {DESCRIPTION, MODEL, TRAINING} | ({AVERAGED} if state.averaged is not None else set())
        contents = read_verified(folder, wanted)
        description = parse_description(contents[DESCRIPTION])
        if description.exported:
            raise CheckpointError(f"{folder} was exported, without its training state; begin with its weights instead")
        tensors = load(contents[TRAINING])
        state.model.load_state_dict(load(contents[MODEL]))
        state.step = description.step
        if state.averaged is not None:
            state.averaged.load_state_dict(load(contents[AVERAGED]))
        restore_optimizers(state, tensors)
        if rank < description.processes:
            restore_random(part_of(tensors, f"rank-{rank}") if rank else tensors, device)
        return description, restore_pending(tensors)

    return refusing_damage(folder, load_all)


def verify(folder: Path) -> None:
    """Hold every file of a checkpoint against its SHA-256.

    Raises:
        CheckpointError: when one is missing or altered.
    """
    refusing_damage(folder, lambda: read_verified(folder, {DESCRIPTION}))


def describe(folder: Path) -> Description:
    """What a checkpoint says of itself, unchecked but for its form: to choose one, not to use it.

    Raises:
        CheckpointError
    """
    return refusing_damage(folder, lambda: parse_description(read_plain(folder / DESCRIPTION, MAX_JSON)))


def refusing_damage(folder: Path, action: Callable[[], T]) -> T:
    """The result of `action`; whatever a strange file makes it stumble over is one CheckpointError."""
    try:
        return action()
    except (CheckpointError, torch.OutOfMemoryError):  # a device that others fill is no damage
        raise
    except (
        OSError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
        OverflowError,
        MemoryError,
        SafetensorError,
        GenkitError,
    ) as error:
        raise CheckpointError(f"{folder} is no checkpoint that this genkit can open: {in_one_line(error)}") from error


def read_verified(folder: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """The contents of the `wanted` files, once every file that the manifest names has been held against its SHA-256.

    `wanted` holds the description, which says what else has to be there. What is returned is what was hashed: a file
    isn't read twice, so nobody can change it in between.
    """
    manifest = read_plain(folder / MANIFEST, MAX_JSON)
    sums = TypeAdapter(dict[str, str]).validate_python(from_json(manifest))
    if to_json(sums) != manifest:
        raise CheckpointError(f"{folder / MANIFEST} is damaged: it isn't as it was written")
    contents = {}
    for name, expected in sums.items():
        if name not in FILES:
            raise CheckpointError(f"{folder / MANIFEST} names {ascii(name)[:80]}, which is no file of a checkpoint")
        require_plain(folder / name)
        if name in wanted:
            contents[name] = (folder / name).read_bytes()
            found = hashlib.sha256(contents[name]).hexdigest()
        else:
            found = sha256_of(folder / name)
        if found != expected:
            raise CheckpointError(f"{folder / name} is damaged: its SHA-256 isn't the manifest's")
    missing = {DESCRIPTION, MODEL, TRAINING} - sums.keys()
    if missing == {TRAINING} and parse_description(contents[DESCRIPTION]).exported:
        return contents
    for name in missing:
        raise CheckpointError(f"{folder / MANIFEST} doesn't name {name}, so that nothing vouches for it")
    return contents


def parse_description(content: bytes) -> Description:
    if len(content) > MAX_JSON:
        raise ValueError(f"{DESCRIPTION} has {len(content):,} bytes")
    value = from_json(content)
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise ValueError(f"its format is {value.get('format')!r}, and this version reads {FORMAT}")
    return Description.model_validate(value)


def build_for(description: Description, weights: Mapping[str, Tensor]) -> Model:
    """The described model with these weights.

    It is built without memory first ("meta" device), and only if it has exactly the weights that the file holds is it
    built in earnest: else a few bytes of JSON could ask for a model of any size.
    """
    kind = models.find(description.model)
    options = kind.Options.model_validate(description.options)
    image = ImageShape(**description.image.model_dump())
    expected = shapes_of(kind, image, options)
    found = {name: tensor.shape for name, tensor in weights.items()}
    if expected != found:
        name = min(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ValueError(f"its weights aren't those of the model that it describes, beginning with {name}")
    model = kind(image, options)
    model.load_state_dict(weights)
    return model


def shapes_of(kind: type[Model], image: ImageShape, options: Any) -> dict[str, torch.Size]:
    """The names and shapes of a model's weights, without memory for them.

    Raises:
        RuntimeError: when its constructor reads the value of a tensor, which has none here.
    """
    with torch.device("meta"), Valueless():
        return {name: tensor.shape for name, tensor in kind(image, options).state_dict().items()}


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


# ---------------------------------------------------------------------------------------------------------------------
# Optimisers and random generators as flat, named tensors
# ---------------------------------------------------------------------------------------------------------------------


def pending_tensors(pending: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With their order, which safetensors doesn't keep: `pending/0/loss`."""
    return {f"pending/{index}/{name}": value for index, (name, value) in enumerate(pending.items())}


def restore_pending(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Raises ValueError where they aren't as many of each."""
    found = {}
    for key, value in part_of(tensors, "pending").items():
        index, _, name = key.partition("/")
        found[int(index)] = (name, value)
    if any(value.dtype != torch.float32 or value.ndim != 1 for _, value in found.values()) or (
        len({len(value) for _, value in found.values()}) > 1
    ):
        raise ValueError("the metrics that aren't logged yet aren't as many of each")
    return dict(found[index] for index in sorted(found))


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`/, without it."""
    return {name.removeprefix(f"{prefix}/"): each for name, each in tensors.items() if name.startswith(f"{prefix}/")}


def optimizer_tensors(state: TrainingState) -> dict[str, Tensor]:
    """The optimisers' state: `optimizer/critic/3/exp_avg` is of the critic's fourth parameter."""
    return {
        f"optimizer/{phase.name or 'model'}/{index}/{name}": value
        for phase, optimizer in zip(state.phases, state.optimizers, strict=True)
        for index, values in optimizer.state.items()
        for name, value in values.items()
    }


def restore_optimizers(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    """Give each parameter its moments.

    The fused kernel trusts their sizes: it would read and write beyond a moment that is smaller than its parameter.

    Raises:
        ValueError: when there are others than the parameters', or of another shape or type.
    """
    for phase, optimizer in zip(state.phases, state.optimizers, strict=True):
        found = part_of(tensors, f"optimizer/{phase.name or 'model'}")
        moments: dict[int, dict[str, Tensor]] = {}
        for index, parameter in enumerate(optimizer.parameters):
            own = {name: found.pop(f"{index}/{name}") for name in MOMENTS if f"{index}/{name}" in found}
            if not own:
                continue  # of the first step, or a parameter that no loss depends on
            expected = dict.fromkeys(MOMENTS, parameter.shape) | {"step": torch.Size()}
            if {name: value.shape for name, value in own.items()} != expected or any(
                value.dtype != torch.float32 for value in own.values()
            ):
                raise ValueError(f"the optimiser's state of parameter {index} isn't of its shape and type")
            moments[index] = fresh_state(parameter)
            for name, value in own.items():
                moments[index][name].copy_(value)
        if found:
            raise ValueError(f"the optimiser has a state of {min(found)}, which is no parameter")
        optimizer.state = moments


def random_tensors(device: torch.device | None = None) -> dict[str, Tensor]:
    """The state of every random generator that a model may draw from: torch's on each device, NumPy's and Python's.

    Args:
        device: the only one that is this process's, where several train together.
    """
    _, numpy_key, numpy_place, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc]
    _, python_state, python_gauss = random.getstate()
    states = {
        "random/cpu": torch.get_rng_state(),
        "random/numpy": torch.tensor([*map(int, numpy_key), numpy_place, has_gauss], dtype=torch.int64),
        "random/numpy-gauss": torch.tensor(gauss, dtype=torch.float64),
        "random/python": torch.tensor(python_state, dtype=torch.int64),
        "random/python-gauss": torch.tensor(
            float("nan") if python_gauss is None else python_gauss, dtype=torch.float64
        ),
    }
    # Asked for only where CUDA is in use: to ask is to start it, which takes memory on every device.
    if torch.cuda.is_initialized() and device is not None:
        states["random/cuda/0"] = torch.cuda.get_rng_state(device)
    elif torch.cuda.is_initialized():
        states |= {f"random/cuda/{index}": value for index, value in enumerate(torch.cuda.get_rng_state_all())}
    if torch.backends.mps.is_available():
        states["random/mps"] = torch.mps.get_rng_state()
    return states


def restore_random(tensors: Mapping[str, Tensor], device: torch.device | None = None) -> None:
    """The way back from `random_tensors`. Raises ValueError or RuntimeError where a state isn't one."""
    states = part_of(tensors, "random")
    torch.set_rng_state(states["cpu"])
    *numpy_key, numpy_place, has_gauss = states["numpy"].tolist()
    if not 0 <= numpy_place <= 624 or len(numpy_key) != 624:  # NumPy itself would read beyond its memory
        raise ValueError("the state of NumPy's random generator is none")
    np.random.set_state(
        ("MT19937", np.array(numpy_key, np.uint32), numpy_place, has_gauss, float(states["numpy-gauss"]))
    )
    python_gauss = float(states["python-gauss"])
    random.setstate((3, tuple(states["python"].tolist()), None if python_gauss != python_gauss else python_gauss))
    if torch.cuda.is_initialized() and device is not None:
        if "cuda/0" in states:
            torch.cuda.set_rng_state(states["cuda/0"], device)
    elif torch.cuda.is_initialized():
        for index, value in part_of(states, "cuda").items():
            if int(index) < torch.cuda.device_count():
                torch.cuda.set_rng_state(value, int(index))
    if torch.backends.mps.is_available() and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
