"""`genkit info [RUN]`: what a run or a checkpoint is."""

from __future__ import annotations

import click

from genkit.cli.output import emit, json_option
from genkit.cli.shared import epochs, loading
from genkit.errors import CheckpointError
from genkit.keep import description


@click.command()
@click.argument("run", required=False)
@json_option
def info(run: str | None, as_json: bool) -> int:
    """Describe a run or a checkpoint, after checking every byte of it and of the run's other checkpoints.

    RUN is a run's folder or number, a checkpoint's folder, or a folder of runs; left out, it is the newest run.
    """
    with loading():
        from genkit.keep import rundir
        from genkit.options import as_text

    found = rundir.find(run)
    damaged = {}
    for path in found.checkpoints:
        try:
            description.verify(path)
        except CheckpointError as error:
            damaged[path] = str(error)
    opened = found.read()
    about = opened.description
    weights = sum(each.numel() for each in opened.model.parameters())
    result = {
        "run": found.run.path if found.run else None,
        "checkpoint": opened.path,
        "checkpoints": [path.name for path in found.run.checkpoints] if found.run else [],
        "damaged": [path.name for path in damaged],
        "weights": weights,
        **about.as_json(),
    }
    lines = [
        f"run         {found.run.path if found.run else 'none (a checkpoint by itself)'}",
        f"checkpoint  {opened.path} (whole: every SHA-256 agrees)",
        f"model       {about.model}, {weights:,} weights",
        f"images      {opened.model.image}, from {about.data.dataset}",
        f"trained     {about.step:,} steps, {epochs(about.epoch)}, {about.seconds:.0f} s",
        *(f"{name:11} {value:.6g}" for name, value in about.metrics.items()),
        f"options     {as_text(about.options)}",
    ]
    lines += [f"damaged     {problem}" for problem in damaged.values()]
    emit(result, lines, as_json)
    return 1 if damaged else 0
