"""The flow against closed forms: of Gaussian data the velocity, the ODE's solution and its density are known."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Genkit, saved_checkpoint, small_model
from torch import Tensor

from genkit.contract import Batch, ImageShape
from genkit.contract.defaults import Facts
from genkit.errors import UsageError
from genkit.models import flow
from genkit.models.ae import AE
from genkit.models.flow import Flow, mean_in_bin
from genkit.models.vae import VAE
from genkit.step.training import TrainingState, train
from genkit.testing import random_images

IMAGE = ImageShape(1, 4, 3)
MEAN = torch.linspace(-0.5, 0.5, 12).reshape(1, *IMAGE)
DEVIATION = torch.linspace(0.3, 1.2, 12).reshape(1, *IMAGE)


def small(image: ImageShape = IMAGE, **options: Any) -> Flow:
    torch.manual_seed(0)
    return Flow(image, Flow.Options(width=8, blocks=1, **options)).eval()


def exact(**sampling: Any) -> Flow:
    """A flow whose velocity is that of data N(MEAN, DEVIATION²), E[noise − data | x(t)]."""
    model = small()

    def velocity(x: Tensor, times: Tensor, condition: Tensor | None = None) -> Tensor:
        t = times.reshape(-1, 1, 1, 1)
        variance = ((1 - t) * DEVIATION).square() + t.square()
        return (t - (1 - t) * DEVIATION.square()) / variance * (x - (1 - t) * MEAN) - MEAN

    model.velocity = velocity  # type: ignore[method-assign]
    model.sampling = model.Sampling(**sampling)
    return model


def codes(count: int = 6) -> Tensor:
    return torch.randn(count, IMAGE.numbers, generator=torch.Generator().manual_seed(1))


def ends(model: Flow, z: Tensor) -> Tensor:
    """Where the ODE carries codes to, before it is brought to pixels."""
    times = model.times(model.sampling.steps)
    return model.solved(z.reshape(-1, *IMAGE), times, None) / (1 - times[-1])


# -- the ODE -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)])
def test_a_solver_has_its_order(solver: flow.Solver, order: int) -> None:
    """On dx/dt = x cos t, whose solution is exp(sin t): twice the steps divide the error by 2 to the order."""

    def error(steps: int) -> float:
        times = [2 * each / steps for each in range(steps + 1)]
        found = flow.solve(lambda x, t: x * math.cos(t), torch.ones(1, dtype=torch.float64), times, solver)
        return abs(float(found) - math.exp(math.sin(2)))

    assert error(40) / error(80) == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize("solver", ["dpm", "heun", "midpoint", "rk4"])
def test_codes_are_carried_to_the_gaussian(solver: str) -> None:
    z = codes()
    expected = MEAN + DEVIATION * z.reshape(-1, *IMAGE)
    torch.testing.assert_close(ends(exact(solver=solver, steps=100), z), expected, atol=0.01, rtol=0)


def test_there_and_back_again() -> None:
    model, z = exact(solver="heun", steps=50), codes()
    times = model.times(50)
    back = model.solved(ends(model, z) * (1 - times[-1]), times[::-1], None).flatten(1)
    torch.testing.assert_close(back, z, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("solver", "order"), [("dpm", 2), ("heun", 2)])
def test_a_solver_has_its_order_between_noise_levels(solver: flow.Solver, order: int) -> None:
    """Of Gaussian data between σ = 3 and σ = 0.05, there and back: x goes with the deviation of x(t)."""

    def error(steps: int, back: bool) -> float:
        times = [flow.time_of(3 * (0.05 / 3) ** (each / steps)) for each in range(steps + 1)]
        deviations = [math.sqrt((0.5 * (1 - t)) ** 2 + t**2) for t in times]
        times, deviations = (each[::-1] if back else each for each in (times, deviations))

        def field(x: Tensor, t: float) -> Tensor:
            return x * (t - (1 - t) * 0.25) / ((0.5 * (1 - t)) ** 2 + t**2)

        found = flow.solve(field, torch.ones(1, dtype=torch.float64), times, solver)
        return abs(float(found) - deviations[-1] / deviations[0])

    for back in (False, True):
        assert error(80, back) / error(160, back) == pytest.approx(2**order, rel=0.2)


@pytest.mark.parametrize("steps", [1, 2, 7, 25])
def test_times_go_from_noise_to_the_least_noise(steps: int) -> None:
    times = small().times(steps)
    assert len(times) == steps + 1
    assert times[0] == 1
    assert times[-1] / (1 - times[-1]) == pytest.approx(flow.LEAST_SIGMA)
    assert all(later < earlier for earlier, later in itertools.pairwise(times))


# -- the density -------------------------------------------------------------------------------------------------------


def test_the_density_is_the_gaussians() -> None:
    """Also in grey values, of which 128 make 1: each number then has −ln 128 more."""
    data = MEAN + DEVIATION * codes().reshape(-1, *IMAGE)
    standardised = ((data - MEAN) / DEVIATION).square() / 2 + DEVIATION.log() + math.log(2 * math.pi) / 2
    expected = -(standardised + math.log(128)).flatten(1).sum(1)
    probes = torch.randint(0, 2, (1, 6, *IMAGE)) * 2.0 - 1  # of a diagonal matrix any probe gives the trace
    found = exact().log_density((data + 1) * 128, probes, 40)
    torch.testing.assert_close(found.float(), expected, atol=2e-3, rtol=0)


def test_the_density_counts_the_standardisation() -> None:
    """Of standardised data N(0, 1), were they MEAN + 2 · N(0, 1) before."""
    model = small()
    model.velocity = lambda x, times, condition=None: Flow.gaussian(  # type: ignore[method-assign]
        x, times.reshape(-1, 1, 1, 1), (times.square() + (1 - times).square()).sqrt().reshape(-1, 1, 1, 1)
    )
    model.mean.fill_(0.25)
    model.scale.fill_(2.0)
    z = codes().reshape(-1, *IMAGE)
    found = model.log_density((0.25 + 2 * z + 1) * 128, torch.ones(2, 6, *IMAGE), 40)
    expected = -(z.square() / 2 + math.log(2 * math.pi) / 2 + math.log(2 * 128)).flatten(1).sum(1)
    torch.testing.assert_close(found.float(), expected, atol=2e-3, rtol=0)


def test_probes_give_the_trace_of_the_nets_own_jacobian() -> None:
    """Their mean over all vectors of ±1 of three numbers is exact."""
    image = ImageShape(1, 1, 3)
    model = small(image)
    for parameter in model.net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    x = torch.randn(1, *image)
    every = torch.tensor([[(number >> bit & 1) * 2.0 - 1 for bit in range(3)] for number in range(8)])
    _, found = model.with_divergence(x, 0.4, every.reshape(8, 1, *image), None)
    jacobian = torch.autograd.functional.jacobian(lambda at: model.field(at, 0.4, None), x)
    trace = jacobian.reshape(3, 3).trace()
    assert abs(float(trace)) > 0.01
    torch.testing.assert_close(found[0], trace)


# -- the velocity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("distance", "reach"), [(0.3, 0.02), (0.9, 0.3), (-2.0, 1.5), (4.0, 3.0), (19.0, 20.0)])
def test_the_mean_in_a_bin_is_that_of_a_cut_normal(distance: float, reach: float) -> None:
    places = torch.linspace(-reach, reach, 200_001, dtype=torch.float64)
    weights = torch.exp(-(places - distance).square() / 2)
    expected = float((places * weights).sum() / weights.sum() / reach)
    found = float(mean_in_bin(torch.tensor([distance]), torch.tensor([reach])))
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("t", [1e-4, 1e-3, 0.1, 0.7, 1.0])
def test_a_pixel_known_to_be_black_has_the_velocity_of_its_bin(t: float) -> None:
    """The net says so by its second output; the velocity is then (x − E[data]) / t, of data in the first bin."""
    model = small()
    model.net.forward = (
        lambda seen, level, condition: torch.cat(  # type: ignore[method-assign]
            [torch.zeros_like(seen[:, :1]), torch.full_like(seen[:, :1], 60.0), torch.zeros_like(seen[:, :1])], 1
        )
    )
    data = -1 + torch.rand(5, *IMAGE, generator=torch.Generator().manual_seed(2)) / 128
    noise = codes(5).reshape(-1, *IMAGE)
    x = (1 - t) * data + t * noise
    if t >= 0.1:  # of a bin that is narrow beside the noise, the mean is its centre
        expected = (x - (-1 + 1 / 256)) / t
        torch.testing.assert_close(model.velocity(x, torch.full((5,), t)), expected, atol=0.05, rtol=0)
    found = x - t * model.velocity(x, torch.full((5,), t))
    assert found.min() >= -1 - 1e-5
    assert found.max() <= -1 + 1 / 128 + 1e-5


def test_before_it_has_learned_it_is_nearly_that_of_gaussian_data() -> None:
    """Where a pixel is as far from black as from white."""
    model, t = small(), torch.tensor([0.5])
    x = torch.full((1, *IMAGE), 0.0)
    torch.testing.assert_close(model.velocity(x, t), torch.zeros_like(x), atol=1e-4, rtol=0)


def test_it_learns_one_image() -> None:
    """Of a single image every code is carried to it, after a few steps of training."""
    torch.manual_seed(0)
    image = torch.tensor([0.0, 1.0, 1.0, 0.0, 100 / 255, 0.0]).reshape(1, 1, 2, 3)
    model = Flow(ImageShape(1, 2, 3), Flow.Options(width=16, blocks=1, epochs=1, lr=3e-3, lr_warmup=0))
    batch = Batch(image.repeat(64, 1, 1, 1), None, torch.tensor(0.0))
    losses = [float(each["loss"]) for each in train(TrainingState(model, 120, 120), [batch] * 120)]
    assert losses[-1] < losses[0] / 10
    made = model.eval().decode(torch.randn(8, 6))
    assert (made - image).abs().mean() < 0.03


# -- codes -------------------------------------------------------------------------------------------------------------


def test_pixels_are_put_evenly_into_their_bins_and_always_alike() -> None:
    """Where every image is black, too, or a border's codes would all be 0."""
    model = small(ImageShape(1, 40, 50))
    images = torch.zeros(3, 1, 40, 50)
    images[1, 0, 3, 4] = 1.0
    places = model.places_in_bins(images)
    assert torch.equal(places[0], places[2])
    assert torch.equal(model.places_in_bins(images[1:2])[0], places[1])
    for each in places[:2].flatten(1):
        counts = torch.histc(each, 10, 0, 1) / 2000
        assert (counts - 0.1).abs().max() < 0.03
    together = torch.corrcoef(places[:2].flatten(1))[0, 1]
    assert together.abs() < 0.1, "of two images they have nothing to do with each other"


def test_an_image_is_given_back() -> None:
    images = (torch.randint(0, 256, (4, *IMAGE), generator=torch.Generator().manual_seed(0))) / 255
    model = exact(solver="heun", steps=50)
    torch.testing.assert_close(model.decode(model.encode(images)), images, atol=4e-3, rtol=0)


ALWAYS_TOLD = "guidance: it was trained with --unconditional 0, so it doesn't know images of no class; leave it at 1"


def test_there_is_no_guidance_by_a_model_that_is_always_told_the_class() -> None:
    model = small(condition="label", classes=3, unconditional=0.0)
    x, of_class = torch.randn(2, *model.shape), torch.tensor([0, 2])
    model.field(x, 0.5, of_class)
    for strength in (0, 3):
        with pytest.raises(UsageError, match=ALWAYS_TOLD):
            model.field(x, 0.5, of_class, guidance=strength)


def test_so_the_command_says(genkit: Genkit, tmp_path: Path) -> None:
    shape = ImageShape(1, 8, 8)
    model = small_model("flow", shape, width=4, blocks=1, patch=4, condition="label", unconditional=0.0)
    folder = saved_checkpoint(tmp_path / "told", model)
    command = ("sample", folder, "--class", "class 3", "--seeds", "0", "--set", "steps=1", "--out", tmp_path / "out")
    outcome = genkit(*command, "--set", "guidance=2")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1] == f"genkit: {ALWAYS_TOLD}"
    assert genkit(*command, "--set", "guidance=1").code == 0


def test_guidance() -> None:
    """1 is the class's own velocity, 0 that of no class, and what lies beyond goes on from the one to the other."""
    model = small(condition="label", classes=3, unconditional=0.5)
    for parameter in model.net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    x, t, of_class = torch.randn(2, *IMAGE), torch.full((2,), 0.5), torch.tensor([0, 2])
    told, untold = model.velocity(x, t, of_class), model.velocity(x, t, None)
    assert not torch.allclose(told, untold)
    assert torch.equal(model.field(x, 0.5, of_class), told)
    assert torch.equal(model.field(x, 0.5, of_class, guidance=0), untold)
    torch.testing.assert_close(model.field(x, 0.5, of_class, guidance=3), untold + 3 * (told - untold))
    assert not torch.allclose(told[:1], model.velocity(x[:1], t[:1], torch.tensor([1])))


# -- of codes ----------------------------------------------------------------------------------------------------------


def of_codes(source: Any) -> Flow:
    options = Flow.Options(width=4, **(Flow.options_from(source) or {}))
    model = Flow(source.image, Flow.options_for(options, random_images(source.image)))
    model.load_state_dict({**model.state_dict(), **model.weights_from(source)})
    return model


@pytest.mark.parametrize("kind", [AE, VAE])
def test_a_flow_of_codes_leaves_their_model_as_it_is(kind: Any) -> None:
    torch.manual_seed(0)
    source = kind(IMAGE, kind.Options(hidden=(8,), latent_dim=5)).eval()
    model = of_codes(source)
    assert model.options.latent_dim == 5
    images = torch.rand(16, *IMAGE)
    batch = Batch(images, None, torch.tensor(0.0))
    model.begin_on([batch])
    before = {name: value.clone() for name, value in source.state_dict().items()}
    list(train(TrainingState(model, 3, 3), [batch] * 3))
    assert all(torch.equal(model.body.state_dict()[name], value) for name, value in before.items())  # type: ignore[union-attr]
    if kind is AE:
        found = (source.encode(images) - model.mean) / model.scale
        torch.testing.assert_close(found.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
        torch.testing.assert_close(found.std(0, unbiased=False), torch.ones(5), atol=1e-2, rtol=0)
    model.sampling = model.Sampling(solver="heun", steps=50)
    expected = source.decode(source.encode(images))
    torch.testing.assert_close(model.eval().decode(model.encode(images)), expected, atol=0.02, rtol=0)
    with pytest.raises(UsageError, match="density says nothing of images"):
        model.log_density(images, images[None], 4)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("dcgan", {"width": 2}, "a dcgan has no encoder and decoder, between which codes could be drawn"),
        ("classifier", {"width": 2}, "a classifier has no encoder and decoder, between which codes could be drawn"),
        ("vae", {"hidden": (8,), "condition": "label"}, "this vae takes a condition; give one without"),
    ],
)
def test_what_cannot_carry_a_flow_is_refused(
    genkit: Genkit, tmp_path: Path, name: str, options: dict[str, Any], said: str
) -> None:
    folder = saved_checkpoint(tmp_path / name, small_model(name, ImageShape(1, 8, 8), **options))
    outcome = genkit("train", "flow", "--init-from", folder, "-n")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"genkit: --init-from: {said}\n"


@pytest.mark.parametrize("name", ["dcgan", "classifier", "flow"])
def test_a_file_that_names_such_a_model_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is no model whose codes a flow could be of"):
        flow.Body(model=name, options={}, codes=4)


def test_it_is_told_no_attributes() -> None:
    images = replace(random_images(IMAGE), classes=("one",))
    assert images.attributes
    with pytest.raises(
        UsageError, match=r"^--condition label: noise has fewer than two classes; leave --condition out$"
    ):
        Flow.options_for(Flow.Options(condition="label"), images)


# -- what the images say -----------------------------------------------------------------------------------------------


def test_pixels_are_standardised_by_the_images() -> None:
    model = small(ImageShape(2, 3, 3))
    images = torch.stack([torch.full((50, 3, 3), 0.2), torch.rand(50, 3, 3)], 1)
    model.begin_on([Batch(part, None, torch.tensor(0.0)) for part in images.split(20)])
    data = (model.data(images, torch.full_like(images, 0.5)) - model.mean) / model.scale
    torch.testing.assert_close(data.mean((0, 2, 3)), torch.zeros(2), atol=0.01, rtol=0)
    assert float(data.square().mean()) == pytest.approx(1, abs=0.02)


def test_defaults_give_few_images_steps_enough() -> None:
    options = Flow.Options()
    assert Flow.defaults_for(options, Facts(60_000, ImageShape(1, 28, 28), extremes=0.9)) == {}
    few = {name: each.value for name, each in Flow.defaults_for(options, Facts(400, ImageShape(1, 64, 64))).items()}
    assert few["flips"] is True
    assert few["epochs"] * (400 // few.get("batch_size", 64)) >= flow.FEWEST_STEPS
