"""One checkpoint: written atomically, verified at every load. The only place where weights meet the disk.

A checkpoint is a folder of safetensors (weights, averaged weights, the optimisers' and random generators' state) and
JSON (everything else), and it opens alone: nothing but the folder is needed to build its model again. `manifest.json`
holds the SHA-256 of every other file. It is written last, into a folder that still has a temporary name, so a folder
with its final name is whole; and because both safetensors and pickled files load a flipped bit without a word, every
load hashes every file. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from genkit import models
from genkit.errors import CheckpointError, GenkitError
from genkit.model import GenerativeModel, ImageShape
from genkit.training import TrainingState

FORMAT = 1
MANIFEST = "manifest.json"
DESCRIPTION = "checkpoint.json"


class Checkpoint(NamedTuple):
    """A checkpoint read from disk.

    Attributes:
        path: its folder.
        model: the trained model (its averaged weights, where it keeps an average), in evaluation mode, on the CPU.
        description: the rest: model name, image shape, options, data, step, epoch, metrics.
    """

    path: Path
    model: GenerativeModel
    description: dict[str, Any]


def write(folder: Path, state: TrainingState, description: Mapping[str, Any]) -> Path:
    """Write the state of a training run to `folder`, all of it or nothing.

    Args:
        folder: must not exist; its parent must.
        description: what else a reader needs: `model` (its name), `data`, `epoch`, `metrics`. JSON values only.

    Raises:
        CheckpointError: when the disk doesn't take it; then nothing is left there.
    """
    files = {
        "model.safetensors": state.model.state_dict(),
        "training.safetensors": {**optimizer_tensors(state), **random_tensors()},
    }
    if state.averaged is not None:
        files["averaged.safetensors"] = state.averaged.module.state_dict()
    about = {
        "format": FORMAT,
        "image": state.model.image._asdict(),
        "options": state.model.options.model_dump(mode="json"),
        "step": state.step,
        **description,
    }
    contents = {
        name: save({key: value.cpu().clone() for key, value in tensors.items()}) for name, tensors in files.items()
    }
    contents[DESCRIPTION] = to_json(about)
    contents[MANIFEST] = to_json({name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        temporary.chmod(0o777 & ~current_umask())  # mkdtemp makes it private; a run is as readable as its other files
        for name, data in contents.items():
            write_synced(temporary / name, data)
        sync_folder(temporary)
        temporary.rename(folder)
        sync_folder(folder.parent)
        temporary = None
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {folder} could not be written ({error.strerror}); free some space and try again"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def read(folder: Path) -> Checkpoint:
    """Open a checkpoint: check every byte, build its model, load its weights.

    Raises:
        CheckpointError: when anything in it is missing, altered, or not what this version writes.
    """
    contents = read_verified(folder)
    try:
        description = json.loads(contents[DESCRIPTION])
        if description["format"] != FORMAT:
            raise CheckpointError(
                f"{folder} has checkpoint format {description['format']}, and this genkit reads {FORMAT}; "
                "use the version that wrote it"
            )
        model_class = models.find(description["model"])
        model = model_class(ImageShape(**description["image"]), model_class.Options(**description["options"]))
        weights = contents.get("averaged.safetensors", contents["model.safetensors"])
        model.load_state_dict(load(weights))
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, ValidationError, SafetensorError, GenkitError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{folder} is not a checkpoint that this genkit can open: {reason}") from error
    return Checkpoint(folder, model.eval().requires_grad_(False), description)


def read_verified(folder: Path) -> dict[str, bytes]:
    """The contents of every file that the manifest names, each checked against its SHA-256."""
    try:
        sums = dict(json.loads((folder / MANIFEST).read_bytes()))
        contents = {name: (folder / name).read_bytes() for name in sums if is_plain_name(name)}
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder} is no whole checkpoint: {error}") from error
    for name, expected in sums.items():
        if name not in contents or hashlib.sha256(contents[name]).hexdigest() != expected:
            raise CheckpointError(
                f"{folder / name} is damaged: its SHA-256 is not the manifest's; use another checkpoint"
            )
    return contents


def is_plain_name(name: str) -> bool:
    """Whether a file name from a manifest stays in its folder."""
    return Path(name).name == name


def optimizer_tensors(state: TrainingState) -> dict[str, Tensor]:
    """The optimisers' state as flat names: `optimizer/critic/3/exp_avg`."""
    return {
        f"optimizer/{phase.name or 'model'}/{index}/{name}": value
        for phase, optimizer in zip(state.phases, state.optimizers, strict=True)
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def random_tensors() -> dict[str, Tensor]:
    """The state of torch's random generators: `random/cpu`, `random/cuda/0`, …"""
    states = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"random/cuda/{index}": value for index, value in enumerate(torch.cuda.get_rng_state_all())}
    return states


def to_json(value: Any) -> bytes:
    """Indented, with a final newline; NaN and infinity, which JSON lacks, as an error."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the folder's own entries durable, which fsync of its files doesn't do. Not a thing on Windows."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
