"""What a checkpoint's files are, what it says of itself, and whether every byte of it is as it was written.

Nothing here imports torch: a checkpoint is chosen, described and verified without it.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from safetensors import SafetensorError, deserialize

from genkit import registry
from genkit.data import DataOptions
from genkit.errors import CheckpointError, GenkitError, GoneError, ModelError, UnreadableError, in_one_line
from genkit.files import from_json, read_plain, require_plain, sha256_of, to_json
from genkit.registry import Provider
from genkit.wording import counted

FORMAT = 1
MODEL, AVERAGED, TRAINING = "model.safetensors", "averaged.safetensors", "training.safetensors"
PRIOR = "prior.safetensors"
DESCRIPTION, MANIFEST = "checkpoint.json", "manifest.json"
FILES = (MODEL, AVERAGED, TRAINING, PRIOR, DESCRIPTION)
#: Bytes. Larger JSON is refused before it is read; the longest real part of it are the names of the classes.
MAX_JSON = 16 << 20

T = TypeVar("T")
Bits = Annotated[int, Field(ge=0, le=16)]
White = Annotated[int, Field(ge=1, le=65535)] | tuple[float, float]
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
        provider: whose it was: a package with its version, or a file with its hash; None where that wasn't recorded.
        image: the shape of the images that it is built for.
        options: the model's, as its own `Options` take them.
        step, epoch: training steps taken, and passes over the training images.
        seconds: spent in training so far.
        monitor: the metric by which the run's checkpoints are compared, without its `val/`.
        opens: which of them is opened where nobody says: the best by that metric, or the last.
        lowest: value of that metric in the run so far; None before the first, and where an earlier version wrote it.
        lowest_epoch: the epoch that came to it, 0 before the first; None where a version wrote it that validated every
            epoch.
        stale: epochs from there to the last validation.
        metrics: measured on the validation images at this step; empty for a checkpoint between two validations.
        data: the images that it was trained on, a path being absolute.
        data_digest: `Dataset.digest` of them; `data_sum` in the file.
        beside_digest: that of the second set, "" where there is none.
        classes, attributes: the names of the labels, and of the attributes.
        whites: by the bits of a stored pixel, the number that was white in the images, or those that were
            black and white; see `data.levels`. None of a
            version that went by the formats alone.
        processes: that trained together; the state of each one's random generators is kept.
        exported: that this is an exported one, which can be used but not trained on.
        weights: how many numbers training moves; None where a version wrote it that didn't count them.
        density: whether the model's losses are of a density of grey values, and so can be negative.
        generates: whether the model makes images; taken for granted where a version wrote it that didn't record it.
        seed: of the run; None where a version wrote it that didn't record it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    format: int = FORMAT
    model: str
    provider: Provider | None = None
    image: Image
    options: dict[str, Any]
    step: Annotated[int, Field(ge=0)]
    epoch: Annotated[float, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0)] = 0
    monitor: str = "loss"
    opens: Literal["best", "last"] = "best"
    lowest: float | None = None
    lowest_epoch: Annotated[int, Field(ge=0)] | None = None
    stale: Annotated[int, Field(ge=0)] = 0
    metrics: dict[str, float] = Field(default_factory=dict)
    data: DataOptions = Field(default_factory=DataOptions)
    data_digest: str = Field(default="", alias="data_sum")
    beside_digest: str = ""
    classes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    whites: dict[Bits, White] | None = None
    processes: Annotated[int, Field(ge=1)] = 1
    exported: bool = False
    weights: Annotated[int, Field(ge=0)] | None = None
    density: bool = False
    generates: bool = True
    seed: Annotated[int, Field(ge=0)] | None = None

    @property
    def weights_file(self) -> str:
        """The file of the weights to use: the averaged ones, where an average is kept."""
        return AVERAGED if self.averages and not self.exported else MODEL

    @property
    def averages(self) -> bool:
        """Whether the weights to use are averaged over steps."""
        return bool(self.options.get("ema"))

    def is_of(self, digest: str | None) -> bool | None:
        """Whether it was trained on the images with this `Dataset.digest`; None where either isn't known."""
        return digest == self.data_digest if digest and self.data_digest else None

    def as_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return self.model_dump(mode="json", by_alias=True)


def manifest_of(contents: Mapping[str, bytes]) -> bytes:
    """The manifest of files with these contents."""
    return to_json({name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})


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


def examine(folder: Path) -> Description:
    """What a whole checkpoint says of itself: every byte is checked, its model is known, and its weights are there.

    That they are weights of this model is seen when it is opened.

    Raises:
        CheckpointError: when something is missing or altered, or when there is no such model here.
    """

    def examined() -> Description:
        contents = read_verified(folder, {DESCRIPTION, MODEL, AVERAGED})
        about = parse_description(contents[DESCRIPTION])
        registry.require_again(about.model, about.provider)
        held = numbers_in(contents[about.weights_file])
        if about.weights is not None and about.weights > held:
            raise ValueError(
                f"{about.weights_file} holds {held:,} numbers, and {about.weights:,} weights are described"
            )
        return about

    return refusing_damage(folder, examined)


def prior_in_words(folder: Path) -> str | None:
    """What was fitted to the codes of a checkpoint's model, as `CodePrior.in_words` says it; None where nothing was.

    Raises:
        CheckpointError
    """

    def said() -> str | None:
        if PRIOR not in from_json(read_plain(folder / MANIFEST, MAX_JSON)):
            return None
        shapes = {name: tensor["shape"] for name, tensor in deserialize((folder / PRIOR).read_bytes())}
        classes = counted(shapes["shares"][0], "class") if shapes["shares"][0] > 1 else ""
        if "weights" in shapes:
            by = f", each of one of {classes}" if classes else ""
            alone = "" if len(shapes["scales"]) == 3 else ", each number by itself"
            return f"{counted(shapes['weights'][0], 'Gaussian')}{by}{alone}"
        widths = [shape[0] for name, shape in shapes.items() if name.endswith(".0.weight")]
        return f"{len(widths)} coupling layers of {widths[0]} units{f', of {classes}' if classes else ''}"

    return refusing_damage(folder, said)


def numbers_in(content: bytes) -> int:
    """How many numbers a safetensors file holds.

    Raises:
        SafetensorError: when it is none.
    """
    return sum(math.prod(tensor["shape"]) for _, tensor in deserialize(content))


def refusing_damage(folder: Path, action: Callable[[], T]) -> T:
    """The result of `action`; whatever a strange file makes it stumble over is one CheckpointError.

    That its model isn't here, or fails by its own code, is no damage, and is left as it is.
    """
    try:
        return action()
    except (CheckpointError, ModelError):
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
        if type(error).__name__ == "OutOfMemoryError":  # torch's: a device that others fill is no damage
            raise
        if registry.fault_of(error) and not isinstance(error, GenkitError):
            raise
        if not os.path.lexists(folder) and isinstance(error, FileNotFoundError):
            raise GoneError(f"{folder} is gone; a run that trains keeps its newest checkpoints and the best") from error
        if isinstance(error, PermissionError):
            raise UnreadableError(f"{folder} can't be read ({in_one_line(error)}); allow it") from error
        raise CheckpointError(f"{folder} is no checkpoint that this genkit can open: {in_one_line(error)}") from error


def read_verified(folder: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """The contents of the `wanted` files, once every file that the manifest names has been held against its SHA-256.

    `wanted` holds the description, which says what else has to be there. What is returned is what was hashed: a file
    isn't read twice, so nobody can change it in between. Where another prior takes the place of one meanwhile, it is
    read as it is then.
    """
    while True:
        manifest = read_plain(folder / MANIFEST, MAX_JSON)
        try:
            return held_against(manifest, folder, wanted)
        except (CheckpointError, FileNotFoundError):
            if read_plain(folder / MANIFEST, MAX_JSON) == manifest:
                raise


def held_against(manifest: bytes, folder: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """The contents of the `wanted` files, where every file is as this manifest says."""
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
