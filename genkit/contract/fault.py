"""What has gone wrong in a training, as a model says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Fault(NamedTuple):
    """Something that has gone wrong in a training, short of numbers that aren't finite.

    Attributes:
        shows: what shows it: "0 of 20 latent units are active".
        helps: what usually helps, each an option that isn't set already: "--kl-warmup 5", "a lower --lr (it is 0.01)".
    """

    shows: str
    helps: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{self.shows}; what usually helps: {any_of(self.helps)}" if self.helps else self.shows


def any_of(options: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last
