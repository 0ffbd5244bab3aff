"""`genkit fit-prior [RUN]`: fit what new codes are drawn by, to a model that is trained."""

from __future__ import annotations

from contextlib import nullcontext

import click

from genkit.cli.command import Command
from genkit.cli.output import emit, json_option
from genkit.cli.shared import DEVICE_HELP, RUN_HELP, checkpoint_option, load_run, loading, looked_up
from genkit.errors import UsageError


@click.command(cls=Command, name="fit-prior", epilog=RUN_HELP)
@click.argument("run", required=False)
@checkpoint_option
@click.option(
    "--prior",
    "kind",
    type=click.Choice(["gaussian", "gmm", "flow"]),
    default="gmm",
    show_default=True,
    help="One Gaussian, as many as held-out codes speak for, or coupling layers; of each class where there are labels.",
)
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@json_option
def fit_prior(run: str | None, kind: str, device: str, as_json: bool) -> None:
    """Fit a prior to the codes of a model's training images, and keep it in its checkpoint.

    A run does so by itself when it ends (`genkit train --prior`), for the checkpoint that it opens with. This is for
    other checkpoints, for runs of earlier versions, and for another kind of prior, which takes the place of the one
    that is there. The weights stay as they are. Prints the checkpoint.
    """
    found = looked_up(run)
    with loading():
        from genkit.contract import ability
        from genkit.keep import checkpoint
        from genkit.run import prior

    opened = load_run(found, device)
    if not ability.takes_prior(opened.model):
        raise UsageError(f"{opened.name} is a {opened.kind}, which {ability.without_prior(opened.model)}")
    with nullcontext() if opened.run is None else opened.run.locked():
        dataset = opened.dataset()
        seed = opened.description.seed or 0
        fitted = prior.fitted(opened.model, dataset, opened.device, seed, kind)  # type: ignore[arg-type]
        if fitted is None:
            raise UsageError(f"{opened.name}: no prior can be fitted to its codes; its samples stay as they are")
        checkpoint.add_prior(opened.checkpoint.path, fitted)
    result = {"checkpoint": opened.checkpoint.path, "prior": kind, "classes": fitted.classes}
    emit(result, [str(opened.checkpoint.path)], as_json)
