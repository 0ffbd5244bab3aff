"""One checkpoint: written atomically, verified at every load. The only place where weights meet the disk.

A checkpoint is a folder that opens alone: nothing else is needed to build its model again, or to go on training.

    model.safetensors      the weights
    averaged.safetensors   their moving average, where one is kept
    prior.safetensors      what was fitted to the model's codes once it was trained, where that is wanted
    training.safetensors   the optimisers, the random generators, and the metrics of steps that aren't logged yet
    checkpoint.json        everything else (`Description`)
    manifest.json          the SHA-256 of every other file

The fitted prior comes last, into a checkpoint that is there: it is written beside the others first, and the manifest
that names it then takes the place of the one before, so that the checkpoint is whole at any time.

One that was exported lacks what only training needs: its model.safetensors holds the weights to use, and there is
neither an average nor a training state beside it.

Both are written under a temporary name, so a folder with its final name is whole; and because both safetensors and
pickled files load a flipped bit without a word, every load hashes every file. Nothing in it is ever unpickled, and no
number in it makes anything larger than the file itself be allocated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor

from genkit import registry
from genkit.contract import ImageShape, Model, ability
from genkit.contract.weightless import shapes_of
from genkit.data import SOURCES
from genkit.errors import CheckpointError
from genkit.files import from_json, read_plain, remedy, to_json, write_file, write_folder
from genkit.keep.description import (
    AVERAGED,
    DESCRIPTION,
    MANIFEST,
    MAX_JSON,
    MODEL,
    PRIOR,
    TRAINING,
    Description,
    Image,
    manifest_of,
    parse_description,
    read_verified,
    refusing_damage,
    verify,
)
from genkit.keep.state import (
    optimizer_tensors,
    part_of,
    pending_tensors,
    random_tensors,
    restore_optimizers,
    restore_pending,
    restore_random,
)
from genkit.nets.priors import CodePrior, from_tensors
from genkit.step.training import TrainingState
from genkit.wording import counted


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
        provider=registry.provider_of(about["model"]),
        image=Image(**state.model.image._asdict()),
        options=state.model.options.model_dump(mode="json"),
        step=state.step,
        processes=1 + len(others),
        weights=count(state.model),
        density=ability.tells_density(state.model),
        generates=ability.generates(state.model),
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


def count(model: Model) -> int:
    """How many numbers training moves."""
    return sum(each.numel() for each in model.parameters())


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
    contents[DESCRIPTION] = to_json(snapshot.description.as_json())
    contents[MANIFEST] = manifest_of(contents)
    try:
        write_folder(folder, contents, parents=False)
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {folder} could not be written ({error.strerror}); "
            + remedy(error, "then", f"go on with genkit train --resume {folder.parent.parent}")
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

    def last_part(name_or_path: str) -> str:
        return name_or_path if name_or_path in SOURCES else f"./{Path(name_or_path).name}"

    beside = about.data.beside and last_part(about.data.beside)
    data = about.data.model_copy(update={"dataset": last_part(about.data.dataset), "beside": beside})
    changes = {"exported": True, "processes": 1, "data": data, "weights": count(opened.model)}
    description = about.model_copy(update=changes)
    contents = {
        MODEL: save({name: copied(value) for name, value in opened.model.state_dict().items()}),
        DESCRIPTION: to_json(description.as_json()),
    }
    prior = getattr(opened.model, "fitted", None)
    if isinstance(prior, CodePrior):
        contents[PRIOR] = save({name: copied(value) for name, value in prior.tensors().items()})
    contents[MANIFEST] = manifest_of(contents)
    try:
        write_folder(folder, {**contents, "README.md": readme.encode()})
    except OSError as error:
        raise CheckpointError(
            f"{folder} could not be written ({error.strerror}); {remedy(error, 'or', 'name another folder with --out')}"
        ) from error
    return folder


def add_prior(folder: Path, prior: CodePrior) -> None:
    """Keep what was fitted to a model's codes in its checkpoint, in place of what is there of an earlier fit.

    Raises:
        CheckpointError: when the checkpoint is damaged.
        GenkitError: when the disk doesn't take it; the checkpoint is whole all the same.
    """
    verify(folder)
    named = from_json(read_plain(folder / MANIFEST, MAX_JSON))
    content = save({name: copied(value) for name, value in prior.tensors().items()})
    if named.pop(PRIOR, None) is not None:
        write_file(folder / MANIFEST, to_json(named), parents=False)
    write_file(folder / PRIOR, content, parents=False)
    write_file(folder / MANIFEST, to_json({**named, PRIOR: hashlib.sha256(content).hexdigest()}), parents=False)


def size(kind: type[Model], image: ImageShape, options: Any) -> int:
    """About how many bytes a checkpoint of such a model takes: the weights, two moments of each at most, their average.

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
        contents = read_verified(folder, {DESCRIPTION, MODEL, AVERAGED, PRIOR})
        description = parse_description(contents[DESCRIPTION])
        weights = load(contents[description.weights_file])
        prior = load(contents[PRIOR]) if PRIOR in contents else None
        del contents
        model = build_for(description, weights).eval().requires_grad_(False)
        if prior is not None:
            model.draw_by(prior_for(model, prior))  # type: ignore[operator]  # a module, for mypy
        return Checkpoint(folder, model, description)

    return refusing_damage(folder, open_model)


def prior_for(model: Model, tensors: Mapping[str, Tensor]) -> CodePrior:
    """The prior that was fitted to a model's codes.

    Raises:
        ValueError: when it isn't one of its codes.
    """
    prior = from_tensors(tensors)
    if not ability.generates(model) or prior.dim != model.options.latent_dim:
        raise ValueError(f"the fitted prior is of codes of {counted(prior.dim, 'number')}, and not of the model's")
    return prior


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


def build_for(description: Description, weights: Mapping[str, Tensor]) -> Model:
    """The described model with these weights.

    It is built without memory first ("meta" device), and only if it has exactly the weights that the file holds is it
    built in earnest: else a few bytes of JSON could ask for a model of any size.
    """
    kind = registry.find_again(description.model, description.provider)
    options = kind.Options.model_validate(description.options)
    image = ImageShape(**description.image.model_dump())
    expected = shapes_of(kind, image, options)
    found = {name: tensor.shape for name, tensor in weights.items()}
    if expected != found:
        name = min(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        before, now = description.provider or registry.GENKIT, registry.provider_of(description.model)
        other = "" if str(before) == str(now) else f" (it was of {before}, and is here of {now})"
        raise ValueError(f"its weights aren't those of the model that it describes, beginning with {name}{other}")
    model = kind(image, options)
    model.load_state_dict(weights)
    return model
