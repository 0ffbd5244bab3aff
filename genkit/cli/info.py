"""`genkit info [RUN]`: what a run or a checkpoint is."""

from __future__ import annotations

import click

from genkit.cli.output import emit, json_option


@click.command()
@click.argument("run", required=False)
@json_option
def info(run: str | None, as_json: bool) -> None:
    """Describe a run or a checkpoint, after checking every byte of it.

    RUN is a run's folder or number, a checkpoint's folder, or a folder of runs; left out, it is the newest run.
    """
    from genkit import rundir

    found = rundir.find(run)
    opened = found.read()
    about = opened.description
    weights = sum(each.numel() for each in opened.model.parameters())
    result = {
        "run": found.run.path if found.run else None,
        "checkpoint": opened.path,
        "checkpoints": [path.name for path in found.run.checkpoints] if found.run else [],
        "weights": weights,
        **about.model_dump(mode="json"),
    }
    lines = [
        f"run         {found.run.path if found.run else 'none (a checkpoint by itself)'}",
        f"checkpoint  {opened.path} (whole: every SHA-256 agrees)",
        f"model       {about.model}, {weights:,} weights, latent dim {opened.model.options.latent_dim}",
        f"images      {opened.model.image}, from {about.data.dataset}",
        f"trained     {about.step:,} steps, {about.epoch:g} epochs, {about.seconds:.0f} s",
        *(f"{name:11} {value:.6g}" for name, value in about.metrics.items()),
        "options     " + ", ".join(f"{name.replace('_', '-')} {value}" for name, value in about.options.items()),
    ]
    emit(result, lines, as_json)
