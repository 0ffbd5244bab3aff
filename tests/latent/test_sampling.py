"""Paths, sweeps and grids in latent space, against closed forms."""

from __future__ import annotations

import math
from typing import Annotated

import pytest
import torch
from pydantic import Field, model_validator

from genkit.contract import ImageShape, SamplingOptions
from genkit.errors import UsageError
from genkit.latent import sampling
from genkit.models.ae import AE
from genkit.models.dcgan import DCGAN
from genkit.models.vae import VAE

IMAGE = ImageShape(1, 8, 8)


def test_each_seeds_noise_is_its_own() -> None:
    rows = sampling.noise([5, 3, 5], 7)
    assert torch.equal(rows[0], rows[2])
    assert torch.equal(rows[1], sampling.noise([3], 7)[0])
    assert torch.equal(rows[1], torch.randn(7, generator=torch.Generator().manual_seed(3)))
    assert sampling.noise([], 7).shape == (0, 7)


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def test_slerp_of_perpendicular_vectors_is_the_quarter_circle() -> None:
    path = sampling.slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), t(0, 1 / 3, 0.5, 1))
    expected = [[math.cos(a), math.sin(a)] for a in (0, math.pi / 6, math.pi / 4, math.pi / 2)]
    torch.testing.assert_close(path, torch.tensor(expected))


def test_slerp_keeps_the_length_that_lerp_loses() -> None:
    a, b = torch.randn(2, 100)
    b = b * a.norm() / b.norm()
    middle = t(0.5)
    torch.testing.assert_close(sampling.slerp(a, b, middle).norm(), a.norm())
    assert sampling.lerp(a, b, middle).norm() < 0.9 * a.norm()


@pytest.mark.parametrize("degrees", [1, 90, 170, 179.9])
def test_slerp_turns_and_grows_evenly(degrees: float) -> None:
    """Also between nearly opposite codes, of which the longer one would otherwise pull the way far outside."""
    angles = torch.deg2rad(torch.tensor([0, degrees]))
    a, b = torch.tensor([3.0, 1.0])[:, None] * torch.stack([angles.cos(), angles.sin()], 1)
    path = sampling.slerp(a, b, t(0, 0.25, 0.5, 0.75, 1))
    torch.testing.assert_close(path.norm(dim=1), torch.tensor([3, 2.5, 2, 1.5, 1]), rtol=1e-3, atol=0)
    turned = torch.rad2deg(torch.atan2(path[:, 1], path[:, 0]))
    torch.testing.assert_close(turned, degrees * torch.tensor([0, 0.25, 0.5, 0.75, 1]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("b", [[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], ids=["parallel", "opposite", "zero"])
def test_slerp_is_lerp_where_no_circle_is_defined(b: list[float]) -> None:
    a, steps = torch.tensor([1.0, 0.0]), t(0, 0.25, 1)
    torch.testing.assert_close(sampling.slerp(a, torch.tensor(b), steps), sampling.lerp(a, torch.tensor(b), steps))


@pytest.mark.parametrize("path", ["slerp", "lerp"])
def test_interpolation_passes_through_every_waypoint(path: sampling.Path) -> None:
    waypoints = torch.randn(4, 6) + 3
    segments = sampling.interpolate(waypoints, 9, path, centre=torch.full((6,), 3.0))
    assert [segment.shape for segment in segments] == [(9, 6)] * 3
    for index, segment in enumerate(segments):
        torch.testing.assert_close(segment[0], waypoints[index])
        torch.testing.assert_close(segment[-1], waypoints[index + 1])


def test_slerp_turns_about_the_centre() -> None:
    centre = torch.tensor([10.0, 10.0])
    (path,) = sampling.interpolate(centre + torch.eye(2), 3, "slerp", centre)
    torch.testing.assert_close((path - centre).norm(dim=1), torch.ones(3))


def test_one_point_is_no_path() -> None:
    with pytest.raises(UsageError, match="two points"):
        sampling.interpolate(torch.randn(1, 3), 5)


def test_neighbours_stay_within_the_jitter() -> None:
    z, spread = torch.randn(50), torch.rand(50) + 0.1
    around = sampling.neighbours(z, spread, 0.4)
    offset = (around - z) / spread
    assert around.shape == (8, 50)
    assert offset.abs().max() <= 0.4
    assert offset.std() == pytest.approx(0.4 / math.sqrt(3), rel=0.1)
    assert torch.equal(around, sampling.neighbours(z, spread, 0.4)), "the same every time"


def test_the_papers_jitter_on_the_uniform_prior() -> None:
    model = DCGAN(IMAGE, DCGAN.Options(latent="uniform", width=4))
    _, spread = sampling.prior_moments(model)
    torch.testing.assert_close(0.433 * spread, torch.full((100,), 0.25), atol=0.005, rtol=0)


def test_traversal_moves_one_dimension_and_keeps_the_rest() -> None:
    model = VAE(IMAGE, VAE.Options(latent_dim=5))
    z = torch.randn(5)
    codes = sampling.traverse(model, z, reach=2.0, steps=5, dims=[3, 1])
    assert codes.shape == (2, 5, 5)
    for row, dim in enumerate([3, 1]):
        others = [each for each in range(5) if each != dim]
        assert torch.equal(codes[row][:, others], z[others].expand(5, 4))
        torch.testing.assert_close(codes[row][:, dim], torch.linspace(-2, 2, 5), atol=0.05, rtol=0)


def test_manifold_is_the_even_grid_through_the_inverse_cdf() -> None:
    model = VAE(IMAGE, VAE.Options(latent_dim=2))
    codes = sampling.manifold(model, 4)
    cdf = torch.special.ndtr(codes).reshape(4, 4, 2)
    levels = torch.tensor([0.125, 0.375, 0.625, 0.875])
    torch.testing.assert_close(cdf[..., 0], levels.expand(4, 4))
    torch.testing.assert_close(cdf[..., 1], levels.flip(0)[:, None].expand(4, 4))


def test_manifold_needs_two_dimensions() -> None:
    with pytest.raises(UsageError, match="--latent-dim 2"):
        sampling.manifold(VAE(IMAGE, VAE.Options(latent_dim=3)), 4)


def test_inversion_finds_the_code_of_a_generated_image() -> None:
    torch.manual_seed(3)
    model = DCGAN(IMAGE, DCGAN.Options(latent_dim=4, width=8)).eval().requires_grad_(False)
    for module in model.generator.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.ConvTranspose2d):
            module.weight.mul_(10)  # freshly initialised, its images hardly differ
    images = sampling.decode(model, sampling.seed_codes(model, [5001, 5002]))
    spread = (images[0] - images[1]).square().sum()
    found = sampling.reconstruct(model, images)
    assert (found - images).square().flatten(1).sum(1).max() < 0.01 * spread


def test_a_code_is_a_function_of_its_seed_alone() -> None:
    """Of a fitted prior too, whose product of matrices may round otherwise for other numbers of rows."""
    model = AE(IMAGE, AE.Options(hidden=(), latent_dim=30))
    model.codes.fit(torch.randn(1000, 30) @ torch.randn(30, 30))
    codes = sampling.seed_codes(model, range(300))
    for few in (1, 3, 7, 100):
        assert torch.equal(sampling.seed_codes(model, range(few)), codes[:few])


def test_prior_of_an_autoencoder_is_the_codes_gaussian() -> None:
    model = AE(IMAGE, AE.Options(hidden=(), latent_dim=3))
    mixing = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.3, 0.1]])
    codes = torch.randn(20_000, 3) @ mixing.T + torch.tensor([1.0, -2.0, 3.0])
    model.codes.fit(codes)
    drawn = model.prior(torch.randn(200_000, 3))
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), codes.T.cov(), atol=0.05, rtol=0.02)


def test_prior_can_be_fitted_to_fewer_codes_than_dimensions() -> None:
    model = AE(IMAGE, AE.Options(hidden=(), latent_dim=10))
    codes = torch.randn(3, 10)
    model.codes.fit(codes)
    drawn = model.prior(torch.randn(50, 10)) - codes.mean(0)
    basis = torch.linalg.qr((codes - codes.mean(0)).T[:, :2])[0]
    torch.testing.assert_close(drawn @ basis @ basis.T, drawn, atol=1e-4, rtol=1e-4)


def test_options_of_the_sampling_that_contradict_each_other_are_named_by_their_class_alone() -> None:
    class Sampling(SamplingOptions):
        steps: Annotated[int, Field(ge=1)] = 2
        exact: bool = False

        @model_validator(mode="after")
        def _is_either(self) -> Sampling:
            if self.exact and "steps" in self.model_fields_set:
                raise ValueError("--set exact has no steps: leave one of them out")
            return self

    model = AE(IMAGE, AE.Options(hidden=(4,), latent_dim=2))
    model.Sampling = Sampling  # type: ignore[misc]
    for given, said in (
        ({"exact": "true", "steps": "3"}, "--set exact has no steps: leave one of them out"),
        ({"steps": "0"}, "--set steps must be at least 1 (got '0')"),
    ):
        with pytest.raises(UsageError) as caught:
            sampling.options_of(model, given, "an ae", "--set ")
        assert str(caught.value) == said
