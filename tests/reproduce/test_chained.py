"""What recipes measure of chains, and their picture."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from conftest import Genkit

from genkit.data.dataset import Dataset
from genkit.evaluate.by_chains import Plan, complete
from genkit.evaluate.figure import Figure
from genkit.reproduce import chained
from genkit.reproduce.bench import TrainedRun
from genkit.reproduce.measures import MEASURES


@pytest.fixture
def run(genkit: Genkit, digits: Dataset, tmp_path: Path) -> TrainedRun:
    options = ["--hidden", "8", "--latent-dim", 4, "--prior", "own", "--out", tmp_path, "--json"]
    outcome = genkit("train", "vae", "--dataset", "mnist5k", "--epochs", 1, *options)
    return TrainedRun("net", Path(outcome.json["run"]), digits, torch.device("cpu"))


def figures(found: object, name: str, **asked: str) -> dict[str, Figure]:
    """By their names, each of which the measure says that it gives."""
    kind = MEASURES[name]
    known = [*kind.gives, *(each for names in kind.gives_where.values() for each in names)]
    result = {each.name: each for each in found}  # type: ignore[attr-defined]
    assert [each for each in result if not any(fnmatch(each, some.format(**asked)) for some in known)] == []
    assert [each for each in known if each.format(**asked) not in result] == []
    assert all(isinstance(each, Figure) for each in result.values())
    return result


def test_chains_of_the_prior_are_held_against_codes_that_are_drawn_at_once(run: TrainedRun, quick_evaluation) -> None:
    """Their samples are as far from test images; but MAP's are all one."""
    options = {"samples": 300, "draws": 60, "warmup": 100}
    found = figures(chained.prior(run, "hmc", **options), "prior-by-chains", by="hmc")
    assert found["hmc/frechet"].value == pytest.approx(found["ancestral/frechet"].value, rel=0.15)
    assert found["map/diversity"].value < 1e-2
    assert found["ancestral/effective_a_second"].value > found["hmc/effective_a_second"].value > 0
    assert found["hmc/rhat"].value < 1.2


def test_completions_are_those_of_the_same_test_images(run: TrainedRun) -> None:
    options = {"images": 3, "chains": 2, "draws": 20, "warmup": 20}
    found = figures(chained.completions(run, "langevin", "left-half", **options), "completions", by="langevin")
    views = chained.views_of(run, "left-half", 3, 0)
    assert torch.equal(views.images, run.some_test_images(3))
    again = complete(run.model, views, "langevin", Plan(2, 20, 20)).predictive
    for name in ("langevin", "map", "prior"):
        assert found[f"given/{name}"].value == pytest.approx(float(again[name].mean()))
    gained = again["langevin"] - again["map"]
    assert found["given/over_map"].value == pytest.approx(float(gained.mean()))
    assert found["given/over_map"].error == pytest.approx(float(gained.std()) / 3**0.5), "of pairs"
    assert (found["given/langevin"].conditions["codes"], found["given/map"].conditions["codes"]) == (40, 1)
