"""The evaluations that lie in a run, as `genkit evaluate` has kept them in evaluation.json."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from genkit.data import choice
from genkit.errors import GenkitError, in_one_line
from genkit.evaluate import kept
from genkit.evaluate.figure import Figure, LeftOut, Name
from genkit.report.blocks import Missing, last_part, without_folders
from genkit.wording import counted

Conditions = dict[str, str | int | float]
#: Letters of a SHA-256, enough to recognise it by.
RECOGNISED = 12


class On(NamedTuple):
    """The images that a model was measured by. Only figures on the same ones can be compared.

    Attributes:
        resolution: `1×28×28`.
        images: how many.
        data_digest: `Dataset.digest` of their set, which may change under its name; None in files of earlier versions.
    """

    dataset: str
    split: str
    resolution: str
    images: int
    data_digest: str | None

    def __str__(self) -> str:
        images = counted(self.images, f"{choice.of_split(self.split)}image")
        return f"{images} of {last_part(self.dataset)}, {self.resolution}"

    @property
    def content(self) -> str:
        """What tells sets of one name apart, in words."""
        return (
            "of which nobody knows the content"
            if self.data_digest is None
            else f"sha256 {self.data_digest[:RECOGNISED]}"
        )


@dataclass(frozen=True)
class Evaluation:
    """One model's figures on some images.

    Attributes:
        figures: by their names, `likelihood/nll`.
        left_out: what can't be had, with the reason.
        said: the conditions that all figures share, which `on` says already.
    """

    on: On
    figures: dict[Name, Figure]
    left_out: list[LeftOut]
    said: Conditions

    def unsaid(self, figure: Figure) -> Conditions:
        """What a figure depends on besides what stands above all of them."""
        return {key: value for key, value in figure.conditions.items() if self.said.get(key) != value}


def read(run: Path, digest: str) -> list[Evaluation] | Missing:
    """The evaluations of the checkpoint whose manifest has this SHA-256, the newest first; or why there are none."""
    path = run / kept.NAME
    if not path.exists():
        return Missing("it hasn't been evaluated")
    try:
        ours = [evaluation(entry) for entry in kept.read(path) if entry["sum"] == digest]
    except (GenkitError, ValueError) as error:
        return Missing(f"{kept.NAME} can't be read: {without_folders(in_one_line(error.__cause__ or error))}")
    if not ours:
        return Missing("another checkpoint of it has been evaluated, not this one")
    newest: dict[On, Evaluation] = {}
    for each in reversed(ours):
        newest.setdefault(each.on, each)
    return list(newest.values())


def evaluation(entry: dict[str, Any]) -> Evaluation:
    """One evaluation of those that `kept.read` gives.

    Raises:
        ValueError: where a figure isn't as it was written.
    """
    figures = TypeAdapter(list[Figure]).validate_python([with_nan(each) for each in entry["figures"]])
    left_out = TypeAdapter(list[LeftOut]).validate_python(entry["left_out"])
    about = {key: entry[key] for key in ("dataset", "split", "resolution")}
    on = On(**about, images=entry["images"], data_digest=entry.get("data_sum"))
    return Evaluation(on, {Name(each.name): each for each in figures}, left_out, {**about, "n": on.images})


def with_nan(figure: dict[str, Any]) -> dict[str, Any]:
    """A figure with NaN where it has null: JSON has no numbers that aren't finite. Its error may be missing, though."""
    conditions = {key: math.nan if value is None else value for key, value in figure["conditions"].items()}
    return {**figure, "value": math.nan if figure["value"] is None else figure["value"], "conditions": conditions}
