"""The likelihood by a flow's own ODE: where it can't be had, the reason is said in its place."""

from __future__ import annotations

import dataclasses
import re

import pytest
from conftest import small_model, subject_of

from genkit.data.dataset import Dataset
from genkit.evaluate import density, topics
from genkit.evaluate.figure import Figure, LeftOut
from genkit.evaluate.subject import Asked, Subject
from genkit.models.ae import AE
from genkit.models.flow import Flow


def of_two_images(model: Flow, digits: Dataset) -> Subject:
    subject = subject_of(model, digits, model="flow")
    return dataclasses.replace(subject, images=digits.test.take(slice(0, 2)))


def test_an_ode_that_more_steps_solve_otherwise_has_no_likelihood(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model("flow", digits.shape, width=4, blocks=1, patch=14)
    assert isinstance(model, Flow)
    subject = of_two_images(model, digits)
    monkeypatch.setattr(density, "STEPS", 2)
    monkeypatch.setattr(density, "CONVERGED", -1.0)
    (found,) = density.figures(subject, Asked())
    assert isinstance(found, LeftOut)
    assert found.name == "likelihood/ode_nll"
    assert re.fullmatch(
        r"with 4 steps of the solver instead of 2 it changes by [+-]\d+\.\d{3} bits a number: the ODE isn't solved "
        "well enough for a likelihood",
        found.reason,
    )
    monkeypatch.setattr(density, "CONVERGED", 1000.0)
    figures = density.figures(subject, Asked())
    assert all(isinstance(each, Figure) for each in figures)
    assert [each.name for each in figures] == [
        "likelihood/ode_nll", "likelihood/ode_nll_bits", "likelihood/code_square",
    ]  # fmt: skip


def test_a_flow_of_codes_has_no_likelihood_of_images(digits: Dataset) -> None:
    source = AE(digits.shape, AE.Options(hidden=(4,), latent_dim=3))
    options = Flow.Options(width=4, blocks=1, **(Flow.options_from(source) or {}))
    subject = of_two_images(Flow(digits.shape, Flow.options_for(options, digits)), digits)
    assert topics.measure(subject, Asked(), ["likelihood"]) == [
        LeftOut("likelihood", "it is a flow of codes, whose density says nothing of images")
    ]
