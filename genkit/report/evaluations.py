"""The evaluations that lie in a run, as `genkit evaluate` has kept them in evaluation.json."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from genkit.errors import in_one_line
from genkit.evaluate.figure import Figure, LeftOut
from genkit.files import from_json, read_plain
from genkit.report.blocks import Missing

NAME = "evaluation.json"
MAX_SIZE = 1 << 24

Conditions = dict[str, str | int | float]


class On(NamedTuple):
    """The images that a model was measured by. Only figures on the same ones can be compared."""

    dataset: str
    split: str
    images: int

    def __str__(self) -> str:
        return f"{self.images:,} {self.split} images of {self.dataset}"


@dataclass(frozen=True)
class Evaluation:
    """One model's figures on some images.

    Attributes:
        figures: by their names, `likelihood/nll`.
        left_out: what can't be had, with the reason.
        said: the conditions that all figures share, which `on` says already.
    """

    on: On
    figures: dict[str, Figure]
    left_out: list[LeftOut]
    said: Conditions

    def unsaid(self, figure: Figure) -> Conditions:
        """What a figure depends on besides what stands above all of them."""
        return {key: value for key, value in figure.conditions.items() if self.said.get(key) != value}


def read(run: Path, checkpoint_sum: str) -> list[Evaluation] | Missing:
    """The evaluations of the checkpoint whose manifest has this SHA-256, the newest first; or why there are none."""
    if not (run / NAME).exists():
        return Missing("it hasn't been evaluated")
    try:
        entries = entries_of(from_json(read_plain(run / NAME, MAX_SIZE)))
        ours = [evaluation(entry) for entry in entries if entry["sum"] == checkpoint_sum]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ValidationError) as error:
        return Missing(f"{NAME} can't be read: {in_one_line(error)}")
    if not ours:
        return Missing("another checkpoint of it has been evaluated, not this one")
    newest: dict[On, Evaluation] = {}
    for each in reversed(ours):
        newest.setdefault(each.on, each)
    return list(newest.values())


def entries_of(content: Any) -> list[dict[str, Any]]:
    """What evaluation.json holds, the newest last: one evaluation as the whole file, or several in a list."""
    return content.get("evaluations", [content])


def evaluation(entry: dict[str, Any]) -> Evaluation:
    """One evaluation as it was written.

    Raises:
        LookupError, TypeError, ValidationError: where it wasn't written so.
    """
    figures = TypeAdapter(list[Figure]).validate_python([with_nan(each) for each in entry["figures"]])
    left_out = TypeAdapter(list[LeftOut]).validate_python(entry["left_out"])
    about = {key: entry[key] for key in ("dataset", "split", "resolution")}
    on = On(str(about["dataset"]), str(about["split"]), int(entry["images"]))
    return Evaluation(on, {each.name: each for each in figures}, left_out, {**about, "n": on.images})


def with_nan(figure: dict[str, Any]) -> dict[str, Any]:
    """A figure with NaN where it has null: JSON has no numbers that aren't finite. Its error may be missing, though."""
    conditions = {key: math.nan if value is None else value for key, value in figure["conditions"].items()}
    return {**figure, "value": math.nan if figure["value"] is None else figure["value"], "conditions": conditions}
