"""What a run needs before its first step, and what is refused before it: options, room on the disk, model, weights.

`rehearsal.py` refuses what only a look at a few images shows.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from genkit import registry
from genkit.contract import TRAINING_FIELDS, Facts, ImageShape, Model, Resolved, TrainingOptions, ability
from genkit.contract.weightless import without_memory
from genkit.data.dataset import Dataset
from genkit.device import free_memory
from genkit.errors import CheckpointError, GenkitError, ModelError, UnreadableError, UsageError, plainly
from genkit.files import to_json
from genkit.keep import checkpoint, description
from genkit.keep.config import MAX_SIZE as MAX_CONFIG
from genkit.keep.config import Config, RunOptions
from genkit.keep.rundir import RunDirectory
from genkit.options import as_text, is_flag
from genkit.run.keeper import KEPT
from genkit.run.prior import prior_for
from genkit.step.training import TrainingState, windows
from genkit.wording import counted

#: From so many weights on, it is said where they come from images that are larger than LARGE on a side.
MANY_WEIGHTS = 50_000_000
LARGE, SMALLER = 128, 64
#: Bytes of memory for each weight: itself, its gradient, and AdamW's two moments.
BYTES_PER_WEIGHT = 16

#: Images, and numbers of them, that are looked at for what they suggest.
LOOKED_AT, NUMBERS_LOOKED_AT = 1000, 2**24
#: The brightest level of 8 bits that is within 1/32 of black.
DARK = 7

#: Validations of a run at most, where nobody says how many, and of the epochs that somebody waits for a better one.
VALIDATIONS, VALIDATIONS_WAITED = 100, 5

#: What a run needs on disk besides its checkpoints: curves, pictures, logs.
OTHER_FILES = 64 << 20

logger = logging.getLogger("genkit")


def fitted_to(dataset: Dataset, config: Config, by_images: bool = False, rarest: int = 1) -> Config:
    """The configuration with what only the images can say of the model's options.

    Args:
        by_images: whether what nobody has given is resolved as they suggest (`Model.defaults_for`); else it is what the
            model's class has, as in a recipe of a published result.
        rarest: epochs from one validation to the next at least, where nobody says how many.

    Raises:
        DataError, UsageError: where the model can't be trained on them.
        ModelError: where the model suggests what its own options refuse.
    """
    kind = registry.find(config.model)
    suggested = suggestions(kind, dataset, config) if by_images else {}
    options = kind.options_for(with_suggested(config, suggested), dataset)
    filled_in = {name for name, value in options if value != getattr(config.options, name)}
    options = counted_in_epochs(options, dataset)
    rare = {**cadence(options, config.run, rarest), **prior_for(kind, config.run)} if by_images else {}
    by_steps = ("epochs", "passes") if options.steps is not None else ()
    return config._replace(
        options=options,
        run=config.run.model_copy(update={name: each.value for name, each in rare.items()}),
        sources={
            **config.sources,
            **dict.fromkeys([*filled_in, *suggested, *rare], "data"),
            **dict.fromkeys(by_steps, "steps"),
        },
        reasons={**config.reasons, **{name: each.reason for name, each in {**suggested, **rare}.items()}},
    )


def counted_in_epochs(options: Any, dataset: Dataset) -> Any:
    """A model's options; where the run is planned in steps, with the epochs that these make of its images."""
    count = len(dataset.train)
    return options.counted_in_epochs(count // min(options.batch_size, count))


def cadence(options: TrainingOptions, run: RunOptions, rarest: int = 1) -> dict[str, Resolved]:
    """How rarely a run of many epochs is validated, drawn and kept, as far as nobody has said it.

    An epoch of 60 images is a few steps, and 1,500 validations would take most of the run. Somebody who waits for a few
    epochs that are no better (`patience`) has them measured several times meanwhile.
    """
    every = max(rarest, math.ceil(options.epochs / VALIDATIONS))
    if run.patience is not None:
        every = min(every, max(1, run.patience // VALIDATIONS_WAITED))
    if "validate_every" in run.model_fields_set:
        every = run.validate_every
    if every == 1:
        return {}
    times = counted(math.ceil(options.epochs / every), "validation")
    found = {
        "validate_every": Resolved(every, f"{counted(options.epochs, 'epoch')} with {times}"),
        "picture_every": Resolved(every, "as --validate-every"),
        "checkpoint_every": Resolved(str(every), "as --validate-every"),
    }
    return {name: each for name, each in found.items() if name not in run.model_fields_set}


def suggestions(kind: type[Model], dataset: Dataset, config: Config) -> dict[str, Resolved]:
    """What the images suggest of options that nobody has given."""
    given = config.options.model_fields_set
    suggested = kind.defaults_for(config.options, facts_of(dataset))
    return {name: each for name, each in suggested.items() if name not in given}


def with_suggested(config: Config, suggested: Mapping[str, Resolved]) -> Any:
    """A model's options with what is given, and what the images suggest besides.

    Raises:
        ModelError: where the options refuse it.
    """
    if not suggested:
        return config.options
    given = {name: getattr(config.options, name) for name in config.options.model_fields_set}
    try:
        return type(config.options).model_validate({**given, **{name: each.value for name, each in suggested.items()}})
    except ValidationError as error:
        first = error.errors()[0]
        fault = plainly(first)
        if first["loc"]:  # of one option, and not of several together, which the class's own words name
            fault = f"{'.'.join(map(str, first['loc']))}: {fault} (got {first['input']!r})"
        raise ModelError(
            f"{registry.shown_by_name(config.model)}: its defaults_for suggests what its Options refuse: {fault}"
        ) from error


def facts_of(dataset: Dataset) -> Facts:
    """What defaults are made of, by a look at some images: the same every time, to the bit."""
    train, numbers = dataset.train, dataset.shape.numbers
    looked_at = train.spread(max(1, min(LOOKED_AT, NUMBERS_LOOKED_AT // numbers)))
    extremes = 0
    for part in looked_at.split(100):
        pixels = train.images(part)
        extremes += int(((pixels <= DARK) | (pixels >= 255 - DARK)).sum())
    return Facts(
        count=len(train),
        shape=dataset.shape,
        classes=len(dataset.classes),
        attributes=len(dataset.attributes),
        extremes=extremes / (len(looked_at) * numbers),
    )


def require_sets(config: Config) -> None:
    """Refuse a second set of images that the model doesn't see, and a model that needs one without it.

    Raises:
        UsageError
    """
    needed = ability.has(registry.find(config.model), ability.SECOND_SET)
    if needed and config.data.beside is None:
        raise UsageError(f"{config.model} is trained on two sets of images: name the second with --beside NAME|PATH")
    if not needed and config.data.beside is not None:
        by_variable = config.sources.get("beside") == "variable"
        leave = "unset the variable GENKIT_BESIDE," if by_variable else "leave out --beside"
        raise UsageError(f"{config.model} {ability.SECOND_SET.lacks}: {leave} {config.data.beside}")
    if config.data.beside is None and config.data.beside_images is not None:
        raise UsageError(f"{config.model} {ability.SECOND_SET.lacks}: leave out --beside-images")


def require_room(config: Config, dataset: Dataset) -> None:
    """Refuse, before anything of its size is allocated, a model whose checkpoints don't fit on the disk.

    Raises:
        GenkitError: then, and where the model can't be built without memory for its weights.
    """
    try:
        size = checkpoint.size(registry.find(config.model), dataset.shape, config.options)
    except (RuntimeError, TypeError) as error:
        raise GenkitError(
            f"{registry.shown_by_name(config.model)}: its __init__ can't be run without memory for its weights "
            f"({registry.blamed(error)}), so that its checkpoints couldn't be checked before they are loaded; if it "
            "needs the values of tensors, compute those without torch"
        ) from error
    for_good = config.options.epochs // config.run.keep_every if config.run.keep_every else 0
    require_space(Path(config.run.out), size, for_good)


def require_room_for_weights(config: Config, dataset: Dataset, where: torch.device) -> None:
    """Say of a model that large images make so large what makes it smaller, and refuse what a CPU has no memory for.

    Nothing of its size has been allocated then.

    Raises:
        GenkitError
    """
    image, kind = dataset.shape, registry.find(config.model)
    try:
        weights = checkpoint.weights_size(kind, image, config.options) // 4
    except (RuntimeError, TypeError):
        return  # `require_room` says so
    if weights < MANY_WEIGHTS:
        return
    size = f"{config.model} has {weights:,} weights on images of {image}, and {len(dataset.train):,} to be trained on"
    remedy = "make it smaller"
    if max(image.height, image.width) > LARGE:
        remedy = f"give --image-size {SMALLER}, say"
        try:
            square = ImageShape(image.channels, SMALLER, SMALLER)
            fewer = checkpoint.weights_size(kind, square, config.options) // 4
            remedy += f", which leaves {fewer:,} of them"
        except (GenkitError, RuntimeError, TypeError):
            pass  # a model that isn't for such images
        if getattr(config.options, "net", None) == "mlp":
            remedy += ", or --net conv"
    needed, free = BYTES_PER_WEIGHT * weights, free_memory()
    if where.type == "cpu" and needed > free:
        raise GenkitError(f"{size}: {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free; {remedy}")
    if max(image.height, image.width) > LARGE:
        logger.warning("%s; %s", size, remedy)


def require_short_names(dataset: Dataset, config: Config) -> None:
    """Refuse, before training, a dataset whose run couldn't be read again for the length of its names.

    They stand in its checkpoints, and those of the attributes that a classifier tells in its config.json, too.

    Raises:
        GenkitError
    """
    names = len(to_json([*dataset.classes, *dataset.attributes]))
    if names > description.MAX_JSON // 2:
        raise GenkitError(
            f"{dataset.name}: the names of its classes and attributes take {names:,} bytes; give it fewer, or shorter"
        )
    size = len(to_json(config.as_json()))
    if size > MAX_CONFIG:
        raise GenkitError(
            f"{dataset.name}: the run's configuration would take {size:,} bytes, by the names of attributes in it; "
            "name one with --target, or give the images fewer"
        )


def require_likely_size(config: Config, dataset: Dataset, directory: RunDirectory) -> None:
    """Before a run's model is built: a few bytes of config.json must not ask for one of any size.

    Raises:
        CheckpointError: when it would be larger than the weights in the run's checkpoints, or those are all damaged.
        GenkitError: when there are none, as `require_room`.
    """
    there = directory.checkpoints
    if not there:
        return require_room(config, dataset)
    wanted = checkpoint.weights_size(registry.find(config.model), dataset.shape, config.options)
    for path in there:
        with suppress(OSError):
            if (path / description.MODEL).stat().st_size >= wanted:
                return None
    for path in reversed(there):
        try:
            description.verify(path)
        except UnreadableError:
            raise
        except CheckpointError as error:
            damage = error
        else:
            raise CheckpointError(f"{directory.path}: its config.json is of a larger model than its checkpoints")
    raise directory.none_whole(damage)


def require_equal_shares(config: Config, dataset: Dataset, processes: int) -> None:
    """Refuse batches that the processes can't share equally: their gradients couldn't just be averaged.

    Raises:
        UsageError
    """
    size = min(config.options.batch_size, len(dataset.train))
    if size % processes:
        what = "--batch-size" if size == config.options.batch_size else "there are few training images: a batch of"
        raise UsageError(
            f"{what} {size} can't be shared equally by {processes} processes; give a --batch-size of "
            f"{max(1, size // processes) * processes}, or start as many processes as divide it"
        )


def build(config: Config, dataset: Dataset, processes: int = 1) -> Model:
    """The untrained model for these images.

    Raises:
        UsageError: when a process would have to normalise a batch of a single image.
    """
    model = registry.find(config.model)(dataset.shape, config.options)
    normalises = any(isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) for each in model.modules())
    if normalises and min(config.options.batch_size, len(dataset.train)) < 2 * processes:
        needs = f"a --batch-size of {2 * processes}"
        raise UsageError(f"{config.model} uses batch normalisation, which needs {needs} and as many images")
    return model


def load_weights(model: Model, source: checkpoint.Checkpoint, dataset: Dataset) -> frozenset[str]:
    """Give `model` the weights that it takes from a checkpoint's; returns their names.

    Those that mean classes or attributes (`Model.of_labels`) stay random where `dataset` has others.

    Raises:
        UsageError: when they don't fit, with what differs.
    """
    if model.options_from(source.model) is None:
        name = registry.name_of(type(model))
        raise UsageError(f"--init-from: {source.path} is of the model {source.description.model}, not {name}")
    left = model.of_labels if tells_others(model, source, dataset) else ()
    taken, own = (
        {key: value for key, value in weights.items() if not key.startswith(left)}
        for weights in (model.weights_from(source.model), model.state_dict())
    )
    same_kind = type(model) is type(source.model)
    if all(key in own and own[key].shape == value.shape for key, value in taken.items()) and (
        not (same_kind and taken) or taken.keys() == own.keys()
    ):
        model.load_state_dict({**model.state_dict(), **taken})
        return frozenset(taken)
    theirs, fields = source.model.options.model_dump(), type(model.options).model_fields
    differences = [
        f"{'--' if is_flag(fields[key]) else ''}{key.replace('_', '-')} {as_text(value)} (there {as_text(theirs[key])})"
        for key, value in model.options.model_dump().items()
        if key in theirs and theirs[key] != value and key not in TRAINING_FIELDS
    ]
    if source.model.image != model.image:
        shapes = f"images of {model.image} (there {source.model.image}; --image-size and --channels change it)"
        differences = [*differences, shapes] if same_kind else [shapes]
    raise UsageError(f"--init-from: the weights of {source.path} don't fit {', '.join(differences) or 'this model'}")


def tells_others(model: Model, source: checkpoint.Checkpoint, dataset: Dataset) -> bool:
    """Whether other classes or attributes stand behind a model's labels than behind those of a checkpoint's."""
    about = source.description
    if (about.classes, about.attributes) != (dataset.classes, dataset.attributes):
        return True
    told = ("classes", "attributes")  # which of them, its options say
    return any(getattr(model.options, each, None) != getattr(source.model.options, each, None) for each in told)


def require_same_place(before: Config, now: Config, directory: RunDirectory) -> None:
    """Refuse another place of the images of a run that has no checkpoint, which alone would know them again.

    Raises:
        UsageError
    """
    if now.data != before.data and not directory.checkpoints:
        raise UsageError(
            f"{directory.path} has no checkpoint yet, which would tell whether {now.data.in_words()} are the same "
            "images; begin a new run with them"
        )


def require_unedited(config: Config, path: Path, directory: RunDirectory) -> None:
    """Refuse a config.json that somebody has edited: what it says now isn't what the run was trained with.

    Args:
        path: a checkpoint of the run, which recorded that; a damaged one is left to whoever reads it.

    Raises:
        CheckpointError
    """
    try:
        about = description.describe(path)
        recorded = type(config.options).model_validate(about.options).model_dump()
    except (CheckpointError, ValueError):
        return
    ours = config.options.model_dump()
    length, value = config.options.length
    if recorded[length] is not None and value > recorded[length]:  # raised on resuming
        recorded |= {name: ours[name] for name in ("epochs", "steps", "passes")}
    if about.seed is not None:
        ours["seed"], recorded["seed"] = config.run.seed, about.seed
    differences = [
        f"{name.replace('_', '-')} {as_text(value)} (trained with {as_text(recorded[name])})"
        for name, value in ours.items()
        if name in recorded and value != recorded[name]
    ]
    if not differences:
        return
    try:
        description.verify(path)
    except CheckpointError:
        return
    raise CheckpointError(
        f"{directory.path / 'config.json'} has been edited: {', '.join(differences)}; put it back to go on, or start a "
        f"new run with --init-from {directory.path}"
    )


def require_same_past(before: Config, state: TrainingState, directory: RunDirectory) -> None:
    """Refuse a longer run where a phase that is over, or hadn't begun, would in it have trained at another time.

    Args:
        before: the configuration that the run had.
        state: of the run that goes on, restored.

    Raises:
        UsageError
    """
    total_steps = before.options.total_steps(state.steps_per_epoch)
    if total_steps == state.total_steps:
        return
    with without_memory():
        phases = type(state.model)(state.model.image, before.options).phases()
    earlier = windows(phases, total_steps)
    for phase, was, now in zip(phases, earlier, state.windows, strict=True):
        if was[: max(0, state.step - was.start)] != now[: max(0, state.step - now.start)]:
            raise UsageError(
                f"{directory.path}: its phase '{phase.name}' had steps {was.start:,} to {was.stop:,}, a share of a run "
                f"that with more --{before.options.length[0]} would be another; start a new run with --init-from "
                f"{directory.path}"
            )


def require_space(parent: Path, checkpoint_size: int, for_good: int = 0) -> None:
    """Refuse to begin a run whose checkpoints won't fit on the disk.

    Args:
        parent: where the run's folder is to be; it, or a folder above it, exists.
        checkpoint_size: bytes of one.
        for_good: how many are kept besides the newest and the best.

    Raises:
        GenkitError
    """
    place = parent.absolute()
    while not place.exists():
        place = place.parent
    # The newest, the best, and the one that is being written.
    needed = (KEPT + 2 + for_good) * checkpoint_size + OTHER_FILES
    free = shutil.disk_usage(place).free
    if free < needed:
        raise GenkitError(
            f"{parent}: {free / 1e6:,.0f} MB are free, and a run of this model needs {needed / 1e6:,.0f} MB; "
            "make room, or name another folder with --out"
        )
