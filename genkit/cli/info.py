"""`genkit info [RUN]`: what a run or a checkpoint is."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genkit.cli.command import Command
from genkit.cli.output import emit, json_option
from genkit.cli.shared import checkpoint_option, in_words, loading, looked_up
from genkit.errors import CheckpointError, GenkitError, GoneError
from genkit.wording import OF_A_DENSITY, counted

if TYPE_CHECKING:
    from genkit.keep.description import Description


@click.command(cls=Command)
@click.argument("run", required=False)
@checkpoint_option
@json_option
def info(run: str | None, as_json: bool) -> int:
    """Describe a run or a checkpoint, after checking every byte of it and of the run's other checkpoints.

    RUN is a run's folder or number, a checkpoint's folder, or a folder of runs; left out, it is the newest run. Of a
    run, the checkpoint is described that other commands open: the best by validation, or the last of a GAN.
    """
    from genkit.contract import ImageShape
    from genkit.keep import config, description
    from genkit.options import as_text

    found = looked_up(run)
    opened, about = found.first_whole(lambda path: (path, description.examine(path)))
    damaged: dict[Path, CheckpointError] = {}
    for path in found.run.checkpoints if found.run else []:
        try:
            if path != opened:
                description.examine(path)
        except GoneError:  # a run that trains needs it no more
            continue
        except CheckpointError as error:
            damaged[path] = error
    weights = weights_of(opened) if about.weights is None else about.weights
    fitted = description.prior_in_words(opened)
    own = "the model's own" if about.generates and "latent_dim" in about.options else None
    prior = f"fitted to its codes: {fitted}" if fitted else own
    chosen = config.reasons(found.run.path) if found.run else {}
    result = {
        "run": found.run.path if found.run else None,
        "checkpoint": opened,
        "checkpoints": [path.name for path in found.run.checkpoints] if found.run else [],
        "which": found.run.called(opened) if found.run else [],
        "damaged": [path.name for path in damaged],
        **about.as_json(),
        "weights": weights,
        "prior": prior,
        "chosen": chosen,
    }
    of = "" if about.provider is None or about.provider.is_genkit else f" of {about.provider}"
    lines = [
        f"run         {found.run.path if found.run else 'none (a checkpoint by itself)'}",
        f"checkpoint  {opened} (whole: every SHA-256 agrees)",
        *([f"which       {which}"] if (which := in_words(found.run, opened, about)) else []),
        f"model       {about.model}{of}, {weights:,} weights",
        f"images      {ImageShape(**about.image.model_dump())}, from {about.data.in_words()}",
        f"trained     {counted(about.step, 'step')}, {counted(about.epoch, 'epoch')}, {about.seconds:.0f} s",
        *(f"{name:11} {value:.6g}" for name, value in about.metrics.items()),
        *([f"note        {OF_A_DENSITY}"] if about.density and min(about.metrics.values(), default=0) < 0 else []),
        f"options     {as_text(said(about))}",
        *([f"prior       {prior}"] if prior else []),
        *(f"chosen      {name.replace('_', '-')} {why}" for name, why in chosen.items()),
    ]
    lines += [f"damaged     {problem}" for problem in damaged.values()]
    emit(result, lines, as_json)
    return 1 if damaged else 0


def said(about: Description) -> dict[str, Any]:
    """A model's options without those that nobody can set and that its images haven't said, as far as that is known
    without its import: how many classes, of a model that is told none."""
    from genkit import registry
    from genkit.cli import model_flags

    flags = None
    with suppress(GenkitError):
        file = (registry.same_file(about.model, about.provider) or registry.meant(about.model)).file
        flags = None if file is None else model_flags.read(file, about.model)
    if flags is None:
        return about.options
    known = {each.name for each in flags}
    return {name: value for name, value in about.options.items() if name in known or value}


def weights_of(checkpoint: Path) -> int:
    """How many weights a checkpoint's model has, by building it: one of an early version doesn't say."""
    with loading():
        from genkit.keep.checkpoint import count, read

    return count(read(checkpoint).model)
