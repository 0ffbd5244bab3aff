"""Refuses a model that would fail at an epoch's end, by doing once, on a few images, what a run does there.

A model's fault there would else come to light after an epoch, or, of a phase that begins late, after most of the run.
Neither weights nor random generators are changed.
"""

from __future__ import annotations

import torch

from genkit.contract import ability
from genkit.errors import ModelError
from genkit.run.gallery import samples
from genkit.run.setup import Setup
from genkit.run.validation import validate
from genkit.step.training import active

#: Images that are looked at: what is measured of several needs more than one.
IMAGES = 3


def rehearse(setup: Setup) -> dict[str, float]:
    """Measure each stage's losses, the metric that the run is monitored by, and draw a sample.

    Returns:
        What the last stage's losses, and that metric, are before the first step.

    Raises:
        ModelError: where a phase has no loss, or the last of them don't measure that metric.
    """
    state, model = setup.state, setup.state.model
    val = setup.dataset.val
    some = val.take(val.spread(IMAGES))
    beside = setup.dataset.beside_split("val")
    measured: dict[str, float] = {}
    for step in sorted({window.start for window in state.windows if window}):
        names = [state.phases[turn].name for turn in active(state.windows, step)]
        measured = validate(model, some, setup.where, phases=names, beside=beside)
        for name in names:
            if (f"{name}/loss" if name else "loss") not in measured:
                raise ModelError(f"the losses of the model's phase '{name}' have no 'loss' to minimise; return one")
    if model.monitor not in measured:
        raise ModelError(
            f"the model's monitor, {model.monitor}, is nothing that its last phases measure: they have "
            f"{', '.join(measured)[:300]}; name one of these, or the checkpoint of another stage would be the best"
        )
    if ability.generates(model):
        with torch.no_grad():
            samples(model, val, 1)
    return measured
