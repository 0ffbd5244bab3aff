"""Passes on what a model says of its own training (`Model.watch`): faults by name, each when it appears."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from genkit.contract import Model

logger = logging.getLogger("genkit")


class Watch:
    """Asks a model after each validation what has gone wrong.

    It knows the validations of this process alone: what is watched is a trend, and a resumed run soon shows it again.
    """

    def __init__(self, model: Model):
        self.model = model
        self.validations: list[Mapping[str, float]] = []
        self.faults: set[str] = set()

    def look(self, values: Mapping[str, float]) -> None:
        """Warn of each fault by its name when it appears, and not again while it lasts."""
        self.validations.append(values)
        faults = self.model.watch(self.validations)
        for name in faults.keys() - self.faults:
            logger.warning("%s: %s", name, faults[name])
        self.faults = set(faults)
