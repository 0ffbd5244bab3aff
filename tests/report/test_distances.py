"""How far codes of one class and of two are apart, as a report draws it."""

from __future__ import annotations

import pytest
import torch
from conftest import opened_model, small_model

from genkit.data.dataset import Dataset
from genkit.report import account, gallery
from genkit.report.blocks import Charts, Missing


def test_a_histogram_has_the_shares_of_each_kind() -> None:
    """From 0 to the largest but for the hundredth part, in 40 steps."""
    values = torch.cat([torch.arange(40) + 0.5, torch.full((60,), 39.9), torch.tensor([1000.0])]).double()
    kinds = {"same": torch.arange(101) < 40, "other": torch.arange(101) >= 40}
    same, other = gallery.shares_of(values, kinds)
    assert (same.name, other.name) == ("same", "other")
    assert [x for x, _ in same.points] == pytest.approx([(at + 0.5) * 39.9 / 40 for at in range(40)])
    assert [share for _, share in same.points] == pytest.approx([1 / 40] * 40)
    assert [share for _, share in other.points] == pytest.approx([0] * 39 + [60 / 61])


def test_only_of_a_model_that_is_chosen_by_its_codes_neighbours(digits: Dataset) -> None:
    model = small_model("triplet", digits.shape, width=2)
    about = {"model": "triplet", "monitor": "knn_error", "data_sum": digits.digest()}
    made = account.read(opened_model(model, **about), load=lambda: digits)
    drawn, said = gallery.distances(made, 0)
    assert isinstance(drawn, Charts)
    assert 'class="line same"' in drawn.charts[0]
    assert 'class="line other"' in drawn.charts[0]
    assert "All pairs of 500 test images" in said.text  # type: ignore[union-attr]
    vae = small_model("vae", digits.shape, hidden=(8,))
    other = account.read(opened_model(vae, monitor="neg_elbo", data_sum=digits.digest()), load=lambda: digits)
    assert gallery.distances(other, 0) == []
    with torch.no_grad():
        for each in model.parameters():
            each.fill_(torch.nan)
    (missing,) = gallery.distances(made, 0)
    assert isinstance(missing, Missing)
