"""The space of a model that encodes and makes no images: a map of codes, with nothing between its points.

Where another model draws what belongs to a code, this shows the image of the map whose code is nearest to it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from genkit.explore.chart import nearest
from genkit.explore.space import Space

NOTE = "the image whose code is nearest"


class BareSpace(Space):
    """The points of a map, and what is near; `model` is asked for codes alone."""

    makes_images = False

    def about(self) -> dict[str, Any]:
        about = super().about()
        return {**about, "map": {**about["map"], "note": NOTE}}

    def decode(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.originals(nearest(codes, self.all_codes, 1)[1][:, 0])

    def moments(self) -> tuple[Tensor, Tensor]:
        """Of the points' codes, as there is no prior."""
        return self.all_codes.mean(0), self.all_codes.std(0, unbiased=False)

    def strongest(self) -> list[int]:
        return []
