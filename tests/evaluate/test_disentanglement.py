"""Scores of disentanglement against closed forms: codes that are the factors, that mix them, that say nothing."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from conftest import Genkit, saved_checkpoint, small_model, subject_of
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data import DataOptions, factors
from genkit.data.dataset import Dataset, Split
from genkit.data.factors import Factor
from genkit.data.sets import drawn, painter
from genkit.evaluate import disentanglement
from genkit.evaluate.figure import Figure, LeftOut
from genkit.evaluate.subject import Asked

COUNT = 2000


def numbers() -> tuple[Tensor, list[Factor]]:
    """Four independent numbers and two independent coins, as codes and as factors."""
    values = torch.cat([torch.rand(COUNT, 4), (torch.rand(COUNT, 2) < 0.5).float()], 1).double()
    known = [Factor(f"number {place}", values[:, place]) for place in range(4)]
    return values, [*known, *(Factor(f"coin {place}", values[:, place], 2) for place in (4, 5))]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_codes_that_are_the_factors_have_the_best_scores() -> None:
    values, known = numbers()
    order = torch.tensor([3, 5, 0, 4, 1, 2])
    found = disentanglement.scores(-2 * values[:, order] + 1, known, generator())
    assert found["mig"] == pytest.approx(1, abs=0.01)
    assert found["dci_disentanglement"] == pytest.approx(1)
    assert found["dci_completeness"] == pytest.approx(1)
    assert found["dci_informativeness"] == pytest.approx(1, abs=1e-3)
    assert found["factorvae"] == 1
    # Of a coin, by how much a right threshold is better than a useless one, which gets half.
    assert found["sap"] == pytest.approx((4 * 1 + 2 * 0.5) / 6, abs=0.03)


def test_codes_that_say_nothing_have_none() -> None:
    _, known = numbers()
    found = disentanglement.scores(torch.randn(COUNT, 6).double(), known, generator())
    assert found["mig"] == pytest.approx(0, abs=0.01)
    assert found["sap"] == pytest.approx(0, abs=0.02)
    assert found["factorvae"] == pytest.approx(1 / 6, abs=0.06)
    for name in ("disentanglement", "completeness", "informativeness"):
        assert found[f"dci_{name}"] == pytest.approx(0, abs=0.05)


def test_codes_that_mix_all_factors_are_informative_and_not_disentangled() -> None:
    values, known = numbers()
    standard = (values - values.mean(0)) / values.std(0)
    hadamard = torch.tensor([[1.0, 1], [1, -1]]).double()
    mixing = torch.kron(hadamard, torch.eye(3).double()) / math.sqrt(2)  # each number is of two factors, equally
    found = disentanglement.scores(standard @ mixing, known)
    assert found["dci_informativeness"] == pytest.approx(1, abs=1e-3)
    assert found["dci_disentanglement"] == pytest.approx(1 - math.log(2) / math.log(6), abs=0.02)
    assert found["mig"] < 0.05


@pytest.mark.parametrize("permutation", [[0, 1, 2], [2, 0, 1]])
def test_importances_that_are_a_permutation_are_concentrated(permutation: list[int]) -> None:
    matrix = torch.diag(torch.tensor([1.0, 5, 0.2])).double()[permutation]
    assert disentanglement.concentration(matrix) == (pytest.approx(1), pytest.approx(1))
    assert disentanglement.concentration(torch.ones(3, 3).double()) == (pytest.approx(0), pytest.approx(0))


def test_two_numbers_for_one_factor_are_disentangled_and_not_complete() -> None:
    found = disentanglement.concentration(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]).double())
    assert found == (pytest.approx(1), pytest.approx(1 - math.log(2) / math.log(4)))


def test_mutual_information_of_levels_is_their_entropy() -> None:
    levels = torch.arange(1200) % 3
    information, entropies = disentanglement.mutual_information(
        torch.stack([levels, 1 - levels, torch.arange(1200) // 3 % 2], 1).double(), [Factor("x", levels.double(), 3)]
    )
    assert float(entropies) == pytest.approx(math.log(3), abs=1e-3)
    assert information[:, 0].tolist() == pytest.approx([math.log(3), math.log(3), 0], abs=2e-3)


def test_bins_hold_as_many_each_and_never_part_equal_values() -> None:
    values = torch.cat([torch.arange(40), torch.full((40,), 100)]).double()[torch.randperm(80)]
    bins = disentanglement.binned(values[:, None], 8)[:, 0]
    assert torch.bincount(bins[values < 100]).tolist() == [10, 10, 10, 10]
    assert len(bins[values == 100].unique()) == 1


def test_the_best_threshold_is_found_whatever_its_side() -> None:
    codes = torch.tensor([[1.0, 9], [2, 8], [3, 9], [3, 1]]).double()
    answers = torch.tensor([False, False, True, True])
    # In the first column 3 and 3 are above 2; in the second 9 stands on both sides.
    assert disentanglement.best_threshold(codes, answers).tolist() == [1, 0.75]


def test_the_lasso_is_that_of_orthogonal_inputs() -> None:
    inputs = torch.linalg.qr(torch.randn(500, 3).double())[0] * math.sqrt(500)
    weak = 0.5 * math.sqrt(2 * math.log(6) / 500)
    weights = torch.tensor([[1.0, weak], [0, -0.5], [0.3, 0]]).double()
    found = disentanglement.lasso(inputs, inputs @ weights)
    weights[0, 1] = 0  # below the penalty
    assert torch.allclose(found, weights, atol=1e-5)


def test_noise_has_no_weights_however_often_it_is_drawn() -> None:
    """Else a single one would be as concentrated as can be, and the floor of DCI high."""
    answers = disentanglement.standardised(torch.randn(1000, 30).double())
    for _ in range(50):
        assert not disentanglement.lasso(disentanglement.standardised(torch.randn(1000, 20).double()), answers).any()


def test_equal_seeds_give_equal_scores_and_errors_are_of_the_spread() -> None:
    values, known = numbers()
    codes = values + 0.3 * torch.randn(COUNT, 6).double()
    first, second = (disentanglement.scores(codes, known, generator()) for _ in range(2))
    assert first == second
    errors = disentanglement.jackknife(codes, known)
    again = disentanglement.scores(values + 0.3 * torch.randn(COUNT, 6).double(), known)
    for name, error in errors.items():
        assert abs(again[name] - first[name]) < 6 * error + 1e-9, name


# ---------------------------------------------------------------------------------------------------------------------
# What factors there are
# ---------------------------------------------------------------------------------------------------------------------


def test_attributes_of_which_each_image_has_one_are_one_factor() -> None:
    names = ("shape-square", "shape-heart", "shape-oval", "hat-on", "hat-off", "glasses")
    shape = torch.arange(6) % 3
    columns = torch.stack([shape == 0, shape == 1, shape == 2, shape == 0, shape != 0, shape == 1], 1)
    found = {each.name: (each.values.tolist(), each.levels) for each in factors.of_attributes(names, columns)}
    assert found["shape"] == ([0, 1, 2, 0, 1, 2], 3)
    assert found["glasses"] == ([0, 1, 0, 0, 1, 0], 2)
    assert set(found) == {"shape", "hat-on", "hat-off", "glasses"}


def test_faces_know_what_they_were_painted_from() -> None:
    rows = torch.tensor([0, 7, 19_999])
    found = {each.name: each for each in drawn.factors("faces", rows)}
    assert len(found) == 25
    traits = painter.traits(painter.COUNT, 0)
    assert found["sky"].values.tolist() == traits.sky[rows.numpy()].tolist()
    known = painter.attributes(traits)[rows.numpy()]
    for place, name in enumerate(painter.ATTRIBUTES):
        assert found[name].values.bool().tolist() == known[:, place].tolist()
        assert found[name].levels == 2
    everyone = {each.name: each for each in drawn.factors("faces", torch.arange(2000))}
    for name in ("haircut", "beard"):
        assert everyone[name].values.unique().tolist() == list(range(everyone[name].levels))


def test_codes_that_do_not_vary_have_no_gap() -> None:
    _, known = numbers()
    found = disentanglement.scores(torch.zeros(COUNT, 4).double(), known, generator())
    assert {name: found[name] for name in ("mig", "sap", "dci_disentanglement")} == {
        "mig": 0,
        "sap": 0,
        "dci_disentanglement": 0,
    }
    assert all(math.isfinite(each) for each in found.values())


# ---------------------------------------------------------------------------------------------------------------------
# The topic
# ---------------------------------------------------------------------------------------------------------------------


def with_attributes(digits: Dataset) -> Dataset:
    """The digits with three attributes, of which all images have the last."""

    def split(some: Split) -> Split:
        assert some.labels is not None
        columns = [some.labels % 2 == 0, some.labels > 4, torch.ones(len(some), dtype=torch.bool)]
        return dataclasses.replace(some, attributes=torch.stack(columns, 1))

    parts = {name: split(some) for name, some in digits.splits().items()}
    return dataclasses.replace(digits, **parts, attributes=("even", "large", "digit"))


def test_figures_stand_beside_their_floor(digits: Dataset) -> None:
    subject = subject_of(small_model("ae", digits.shape, latent_dim=4, hidden=(8,)), with_attributes(digits))
    found = disentanglement.figures(subject, Asked())
    assert {each.name.rpartition("/")[2] for each in found} == {"code", "shuffled"}
    figures = {each.name: each for each in found if isinstance(each, Figure)}
    assert len(figures) == 12
    for each in figures.values():
        assert each.conditions["factors"] == "2 (0 numbers, 2 of levels)"
        assert each.error is not None
        assert math.isfinite(each.value)
    assert figures["disentanglement/mig/shuffled"].value < 0.02


def test_a_factor_in_which_too_few_images_differ_is_left_out_by_name(digits: Dataset) -> None:
    dataset = with_attributes(digits)
    columns = dataset.test.attributes
    assert columns is not None
    columns[7, 2] = False  # the one that isn't a "digit"
    subject = subject_of(small_model("ae", digits.shape, latent_dim=4, hidden=(8,)), dataset)
    for each in disentanglement.figures(subject, Asked()):
        assert isinstance(each, Figure)
        assert each.conditions["factors"] == "2 (0 numbers, 2 of levels)"
        assert each.conditions["left out"] == "digit, in which too few images differ"
        assert each.error is not None
        assert math.isfinite(each.error)
    alone = dataclasses.replace(
        dataset, test=dataclasses.replace(dataset.test, attributes=columns[:, 2:]), attributes=("digit",)
    )
    (found,) = disentanglement.figures(subject_of(subject.model, alone), Asked())
    assert isinstance(found, LeftOut)
    assert found.reason == "too few images differ in digit"


@pytest.mark.parametrize(("few", "reason"), [(False, "neither attributes nor factors"), (True, "it needs 100 images")])
def test_it_is_left_out_with_a_reason(digits: Dataset, few: bool, reason: str) -> None:
    dataset = with_attributes(digits) if few else digits
    subject = subject_of(small_model("ae", digits.shape, latent_dim=4, hidden=(8,)), dataset)
    subject = dataclasses.replace(subject, images=subject.images.take(slice(0, None, 10 if few else 1)))
    (found,) = disentanglement.figures(subject, Asked())
    assert isinstance(found, LeftOut)
    assert reason in found.reason


def test_attributes_in_which_no_images_differ_are_none(digits: Dataset) -> None:
    dataset = with_attributes(digits)
    columns = torch.ones(len(dataset.test), 3, dtype=torch.bool)
    dataset = dataclasses.replace(dataset, test=dataclasses.replace(dataset.test, attributes=columns))
    (found,) = disentanglement.figures(subject_of(small_model("ae", digits.shape, hidden=(8,)), dataset), Asked())
    assert found == LeftOut(
        "disentanglement", "mnist5k has no attribute in which images differ that a code could stand for"
    )


@pytest.mark.parametrize(
    ("numbers", "weight", "reason"),
    [
        (513, 0.0, "codes have 513 numbers, and it takes up to 512"),
        (4, math.nan, "some codes aren't finite numbers: the model's training diverged; use an earlier checkpoint"),
    ],
)
def test_codes_that_cannot_be_measured_say_why(digits: Dataset, numbers: int, weight: float, reason: str) -> None:
    model = small_model("ae", digits.shape, latent_dim=numbers, hidden=(4,))
    with torch.no_grad():
        next(model.encoder.parameters()).fill_(weight)
    found = disentanglement.figures(subject_of(model, with_attributes(digits)), Asked())
    assert found == [LeftOut("disentanglement", reason)]


def test_images_without_factors_alone_are_an_error(genkit: Genkit, tmp_path: Path) -> None:
    model = small_model("ae", ImageShape(1, 28, 28), latent_dim=2, hidden=(4,))
    folder = saved_checkpoint(tmp_path / "plain", model, data=DataOptions(dataset="mnist5k"))
    outcome = genkit("evaluate", folder, "--only", "disentanglement", "--device", "cpu", "--out", tmp_path / "out")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines()[-1] == (
        "genkit: nothing was measured: disentanglement: mnist5k has neither attributes nor factors that a code could "
        "stand for"
    )


def test_options_of_a_set_without_factors_give_its_attributes(digits: Dataset) -> None:
    dataset = with_attributes(digits)
    found = factors.of(DataOptions(dataset="mnist5k"), dataset, dataset.test)
    assert [each.name for each in found] == ["even", "large"]
