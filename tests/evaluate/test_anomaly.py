"""Scores of anomaly: the area under the curve with ties, exact thresholds, distances in codes against closed forms."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from conftest import small_model

from genkit.contract import ImageShape
from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError
from genkit.evaluate import anomaly
from genkit.evaluate.neighbours import nearest

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("odd", "normal", "expected"),
    [
        ([3.0, 4], [1, 2], 1),
        ([1.0, 2], [3, 4], 0),
        ([1.0, 1], [1, 1], 0.5),
        ([2.0, 2, 1], [2, 1], (0.5 + 1 + 0.5 + 1 + 0 + 0.5) / 6),
        ([math.pi, -1e9, 7], [7, 0], (1 + 0 + 0 + 0 + 1 + 0.5) / 6),
    ],
)
def test_the_area_counts_pairs_and_ties_as_half(odd: list[float], normal: list[float], expected: float) -> None:
    order = torch.randperm(len(odd) + len(normal))
    scores = torch.tensor([*odd, *normal])[order]
    anomalous = (torch.arange(len(scores)) < len(odd))[order]
    assert anomaly.area(scores, anomalous).value == pytest.approx(expected, abs=1e-12)


def test_the_areas_error_is_delongs() -> None:
    odd, normal = (torch.randn(20) + 0.7).round(decimals=1), torch.randn(30).round(decimals=1)
    wins = (odd[:, None] > normal).double() + 0.5 * (odd[:, None] == normal).double()
    variance = wins.mean(1).var() / 20 + wins.mean(0).var() / 30
    found = anomaly.area(torch.cat([normal, odd]), torch.arange(50) >= 30)
    assert found.value == pytest.approx(float(wins.mean()))
    assert found.error == pytest.approx(float(variance.sqrt()))


def test_all_told_apart_is_no_certainty() -> None:
    assert anomaly.area(torch.arange(10.0), torch.arange(10) >= 4) == (1, pytest.approx(1 / 5))


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert anomaly.ranks(torch.tensor([5.0, 1, 5, 7, 1, 1])).tolist() == [4.5, 2, 4.5, 6, 2, 2]


@pytest.mark.parametrize(("count", "quantile"), itertools.product((1, 7, 100, 600), (0.01, 0.5, 0.9, 0.99)))
def test_the_threshold_is_the_least_that_the_share_does_not_exceed(count: int, quantile: float) -> None:
    values = torch.randperm(count).double()
    found = anomaly.threshold(values, quantile)
    assert found in values.tolist()
    assert float((values <= found).double().mean()) >= quantile - 1e-9
    lower = values[values < found]
    assert not len(lower) or float((values <= lower.max()).double().mean()) < quantile


@pytest.mark.parametrize(
    ("count", "quantile", "expected"),
    [
        (10, 0.9, 9),
        (10, 0.91, 10),
        (100, 0.99, 99),
        (100, 0.07, 7),
        (99, 0.99, 99),
        (1, 0.01, 1),
        (1000, 0.001, 1),
        (3, 0.5, 2),
    ],
)
def test_a_threshold_has_so_many_below_it(count: int, quantile: float, expected: int) -> None:
    """However a product of decimals is rounded: of 10 values one is above the quantile 0.9."""
    assert anomaly.below(count, quantile) == expected
    values = torch.arange(count).double()
    assert int((values <= anomaly.threshold(values, quantile)).sum()) == expected


def test_a_threshold_of_equal_values_flags_none_of_them() -> None:
    assert anomaly.threshold(torch.full((50,), 3.0), 0.99) == 3


def test_distances_are_those_of_mahalanobis_and_of_neighbours_in_that_metric() -> None:
    codes = torch.randn(400, 3).double() @ torch.tensor([[3.0, 1, 0], [0, 0.5, 0], [0, 0, 20]]).double() + 5
    asked = torch.randn(10, 3).double() * 10
    centred = codes - codes.mean(0)
    covariance = centred.T @ centred / len(codes)
    share = anomaly.SHRINKAGE
    covariance = (1 - share) * covariance + share * covariance.trace() / 3 * torch.eye(3).double()
    found = anomaly.Codes.of(codes).distances(asked)
    away = asked - codes.mean(0)
    expected = (away @ torch.linalg.inv(covariance) * away).sum(1).sqrt()
    assert torch.allclose(found["code_distance"], expected)
    root = torch.linalg.inv(torch.linalg.cholesky(covariance)).T
    assert torch.allclose(found["neighbours"], nearest(asked @ root, codes @ root, 5).distances[:, -1])


def test_codes_without_variance_or_wide_ones_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = anomaly.Codes.of(torch.ones(30, 4).double())
    assert flat.distances(torch.ones(2, 4).double())["code_distance"].tolist() == [0, 0]
    monkeypatch.setattr(anomaly, "CORRELATED", 2)
    codes = torch.randn(500, 3).double() * torch.tensor([1.0, 2, 3])
    wide = anomaly.Codes.of(codes)
    away = (codes - codes.mean(0)) / codes.std(0, correction=0)
    assert torch.allclose(wide.distances(codes)["code_distance"], away.square().sum(1).sqrt(), rtol=0.01)


def test_the_combined_score_is_the_mean_of_standardised_logarithms() -> None:
    usual = {"squared_error": torch.tensor([1.0, math.e**2]), "dissimilarity": torch.tensor([1.0, math.e])}
    found = {"squared_error": torch.tensor([math.e**4, 0.0]), "dissimilarity": torch.tensor([math.e, math.e])}
    scores = anomaly.combined(found, usual).columns["combined"]
    # (4 − 1) / 1 and (1 − 0.5) / 0.5
    assert float(scores[0]) == pytest.approx((3 + 1) / 2)
    assert scores.isfinite().all()
    alone = anomaly.combined({"neighbours": torch.tensor([1.0, 3])}, {"neighbours": torch.tensor([1.0])})
    assert alone.columns["combined"].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("ae", ["squared_error", "dissimilarity", "code_distance", "neighbours", "combined"]),
        ("vae", ["squared_error", "dissimilarity", "neg_elbo", "code_distance", "neighbours", "combined"]),
        ("classifier", ["code_distance", "neighbours", "combined"]),
        ("dcgan", ["code_distance", "neighbours", "combined"]),
    ],
)
def test_what_a_model_allows_is_measured_whatever_stands_beside_an_image(
    digits: Dataset, name: str, wanted: list[str]
) -> None:
    model = small_model(name, digits.shape, hidden=(8,), latent_dim=3, width=4).eval()
    few = dataclasses.replace(
        digits, train=digits.train.take(slice(0, 40)), val=digits.val.take(slice(0, 20)), test=digits.test
    )
    assert anomaly.names(model) == wanted
    found, usual = anomaly.measured(model, few, few.test.take(slice(0, 12)), CPU)
    assert list(found.columns) == wanted
    assert (len(found), len(usual)) == (12, 20)
    alone, _ = anomaly.measured(model, few, few.test.take(torch.tensor([7])), CPU)
    for each, values in alone.columns.items():
        assert float(values) == pytest.approx(float(found.columns[each][7]), rel=1e-4, abs=1e-5), each


def test_an_image_of_another_kind_scores_higher(digits: Dataset) -> None:
    """PCA of ones alone, by the same scores: nearly every zero is odder than nearly every one."""

    def of(split: Split, label: int) -> Split:
        assert split.labels is not None
        return split.take(split.labels == label)

    ones = dataclasses.replace(digits, train=of(digits.train, 1), val=of(digits.val, 1))
    model = small_model("ae", digits.shape, latent_dim=10)
    test = digits.test.take(torch.cat([torch.nonzero(digits.test.labels == each).flatten() for each in (0, 1)]))
    found = anomaly.by_pca(model, ones, test)
    assert found is not None
    assert found.components == 10
    zero = test.labels == 0
    for name in ("squared_error", "dissimilarity", "combined"):
        assert anomaly.area(found.scores.columns[name], zero).value > 0.99


def test_pixels_of_pca_are_within_what_a_pixel_can_be_as_a_models_are() -> None:
    """The reconstruction of white by this axis, longer than one of PCA is, would be far brighter than white."""
    mean, axes = torch.full((64,), 0.75), torch.full((64, 1), 0.5)
    pixels = torch.ones(1, 1, 8, 8, dtype=torch.uint8) * 255
    split = Split(pixels, torch.arange(1), None, None)
    assert float(anomaly._linear(mean, axes, split)["squared_error"]) == 0


def test_pca_makes_no_sense_of_as_many_components_as_images(digits: Dataset) -> None:
    few = dataclasses.replace(digits, train=digits.train.take(slice(0, 10)))
    assert anomaly.by_pca(small_model("ae", digits.shape, latent_dim=10), few, digits.test) is None


def test_numbers_that_are_none_are_refused(digits: Dataset) -> None:
    model = small_model("ae", ImageShape(1, 28, 28), hidden=(8,), latent_dim=3).eval()
    said = "aren't finite numbers: the model's training diverged; use an earlier checkpoint$"
    for part, what in ((model.decoder, "scores"), (model.encoder, "codes")):
        with torch.no_grad():
            next(part.parameters()).fill_(math.nan)
        with pytest.raises(DataError, match=f"^some {what} {said}"):
            anomaly.measured(model, digits, digits.test.take(slice(0, 5)), CPU)


def test_without_validation_images_there_is_no_threshold(digits: Dataset) -> None:
    model = small_model("ae", digits.shape, hidden=(8,), latent_dim=3).eval()
    said = "mnist5k has no validation images, by which scores would be judged"
    with pytest.raises(DataError, match=f"^{said}$"):
        anomaly.measured(model, dataclasses.replace(digits, val=digits.val.take(slice(0, 0))), digits.test, CPU)
