"""How evenly do images change between random codes, on the straight line and on the great circle? By `path.py`."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from genkit.contract import ability
from genkit.errors import DataError
from genkit.evaluate.figure import Figure, Found, LeftOut
from genkit.evaluate.judge import Judge
from genkit.evaluate.path import unevenness
from genkit.evaluate.subject import Asked, Subject
from genkit.latent import sampling
from genkit.step.passes import conditions_of

PATHS, POINTS = 100, 17


@torch.no_grad()
def figures(subject: Subject, asked: Asked) -> list[Found]:
    model = subject.model
    assert ability.generates(model)
    judge = subject.classifier()
    seeds = [(asked.seed * 2 * PATHS + index) % 2**63 for index in range(2 * PATHS)]
    # A path is of one class, and the paths are as often of each as the images.
    chosen = subject.images.take(torch.arange(PATHS) * len(subject.images) // PATHS)
    own = conditions_of(model, chosen, subject.device)
    starts, ends = sampling.seed_codes(model, seeds, None if own is None else torch.cat([own, own])).split(PATHS)
    moments = sampling.PriorMoments(model)
    centre = moments(None)[0] if own is None else torch.stack([moments(each[None])[0] for each in own])
    conditions = {
        **subject.conditions,
        "points": POINTS,
        "seeds": f"{seeds[0]}-{seeds[-1]}",
        "features": judge.name if isinstance(judge, Judge) else "pixels",
        **subject.given,
    }
    by = f"of features by {judge.by}" if isinstance(judge, Judge) else "of pixels"
    unit = f"largest step over the mean, {by}"
    found: list[Found] = []
    for path in get_args(sampling.Path):
        try:
            measured = unevenness(
                lambda codes, *condition: sampling.decode(model, codes, *condition),
                judge.features if isinstance(judge, Judge) else pixels,
                starts,
                ends,
                path,
                POINTS,
                centre,
                own,
            )
        except DataError as error:
            found.append(LeftOut(f"interpolation/{path}", str(error)))
            continue
        about = {**conditions, "paths": measured.n}
        found.append(Figure(f"interpolation/{path}", measured.value, measured.error, unit, about))
    return found


def pixels(images: Tensor) -> Tensor:
    return images.flatten(1)
