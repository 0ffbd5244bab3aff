"""The VAE's objective against closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import Genkit

from genkit.contract import Batch, ImageShape
from genkit.data.dataset import Dataset
from genkit.distributions import (
    MOST_LOG_VARIANCE,
    bernoulli_log_likelihood,
    bounded_log_variance,
    gaussian_kl,
    logistic_log_likelihood,
)
from genkit.errors import UsageError
from genkit.models import vae
from genkit.models.vae import VAE
from genkit.step.training import TrainingState, train
from genkit.testing import random_images

IMAGE = ImageShape(1, 6, 5)


def batch(images: torch.Tensor, epoch: float = math.inf) -> Batch:
    return Batch(images, None, torch.tensor(epoch))


@pytest.mark.parametrize(("mean", "sigma", "expected"), [(1, 1, 0.5), (0, 2, 0.806853), (0, 0.5, 0.318147), (0, 1, 0)])
def test_kl_of_a_gaussian(mean: float, sigma: float, expected: float) -> None:
    kl = gaussian_kl(torch.tensor(float(mean)), torch.tensor(2 * math.log(sigma)))
    assert float(kl) == pytest.approx(expected, abs=1e-6)


def silent(**options: object) -> VAE:
    """A VAE whose weights are all zero: its posterior is N(0, 1) and its decoder's output 0 everywhere."""
    model = VAE(IMAGE, VAE.Options(hidden=(4,), latent_dim=3, **options))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return model


def test_bernoulli_is_summed_over_pixels_in_nats() -> None:
    losses = silent().losses(batch(torch.rand(7, *IMAGE)))
    assert losses["reconstruction"].item() == pytest.approx(IMAGE.numbers * math.log(2), rel=1e-6)
    assert losses["kl"].item() == 0


def test_gaussian_is_a_density_in_nats() -> None:
    images = torch.rand(7, *IMAGE)
    losses = silent(likelihood="gaussian", sigma=0.3).losses(batch(images))
    normal = torch.distributions.Normal(0.0, 0.3)
    assert losses["reconstruction"].item() == pytest.approx(float(-normal.log_prob(images).sum() / 7), rel=1e-5)


def test_a_given_sigma_is_kept_and_a_learned_one_moves() -> None:
    fixed = VAE(IMAGE, VAE.Options(likelihood="gaussian", sigma=0.3))
    learned = VAE(IMAGE, VAE.Options(likelihood="gaussian"))
    assert "log_sigma" not in dict(fixed.named_parameters())
    assert "log_sigma" in dict(learned.named_parameters())


def test_loss_weighs_the_kl_by_beta_and_its_warm_up_but_the_elbo_does_not() -> None:
    model = VAE(IMAGE, VAE.Options(beta=4, kl_warmup=10))
    for epoch, weight in ((0.0, 0.0), (5.0, 2.0), (10.0, 4.0), (math.inf, 4.0)):
        losses = model.losses(batch(torch.rand(7, *IMAGE), epoch))
        expected = losses["reconstruction"] + weight * losses["kl"]
        torch.testing.assert_close(losses["loss"], expected)
        torch.testing.assert_close(losses["neg_elbo"], losses["reconstruction"] + losses["kl"])


def test_without_a_warm_up_the_first_step_has_the_whole_kl() -> None:
    losses = VAE(IMAGE, VAE.Options()).losses(batch(torch.rand(7, *IMAGE), 0.0))
    torch.testing.assert_close(losses["loss"], losses["neg_elbo"])


def test_the_elbo_samples_z() -> None:
    """Evaluated at the mean, a VAE looks better than it is: two evaluations with other noise must differ."""
    model, images = VAE(IMAGE, VAE.Options()), batch(torch.rand(7, *IMAGE))
    first, second = (model.losses(images)["reconstruction"].item() for _ in range(2))
    assert first != second


def test_binarisation_is_drawn_afresh_with_the_grey_values_odds() -> None:
    model = VAE(IMAGE, VAE.Options(binarize="dynamic"))
    seen = []
    model.negative_log_likelihood = lambda output, images: seen.append(images) or output  # type: ignore
    grey = torch.full((1, *IMAGE), 0.3).expand(4000, *IMAGE)
    model.losses(batch(grey))
    model.losses(batch(grey))
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}
    assert float(seen[0].mean()) == pytest.approx(0.3, abs=0.01)
    assert not torch.equal(seen[0], seen[1])


def test_posterior_is_reparameterised() -> None:
    """The gradient of the reconstruction reaches the encoder's variance, through the sample."""
    model = VAE(IMAGE, VAE.Options())
    model.losses(batch(torch.rand(7, *IMAGE)))["reconstruction"].backward()
    last = [module for module in model.encoder.modules() if isinstance(module, torch.nn.Linear)][-1]
    assert float(last.weight.grad[model.options.latent_dim :].abs().sum()) > 0


@pytest.mark.parametrize(
    ("active", "latent", "collapsed"), [(0, 2, True), (1, 2, False), (1, 20, True), (2, 20, False)]
)
def test_posterior_collapse_is_named(active: int, latent: int, collapsed: bool) -> None:
    model = VAE(ImageShape(1, 8, 8), VAE.Options(latent_dim=latent, hidden=(8,)))
    assert (model.watch([{"active_units": 9}, {"active_units": active}]).keys() == {"posterior collapse"}) == collapsed


def test_a_log_variance_is_itself_to_the_bit_where_it_is_ordinary() -> None:
    raw = torch.cat([torch.linspace(-60, MOST_LOG_VARIANCE, 997), torch.randn(997).clamp(max=MOST_LOG_VARIANCE)])
    assert torch.equal(bounded_log_variance(raw), raw)


def test_a_variance_grows_with_the_nets_output_where_that_is_large_and_is_still_learned() -> None:
    """Above the bound a, exp(f(v)) is eᵃ (1 + v − a), and what it costs has a gradient however large v is."""
    raw = torch.tensor([MOST_LOG_VARIANCE + 1, 40.0, 4e4], requires_grad=True)
    variance = bounded_log_variance(raw).exp()
    expected = math.exp(MOST_LOG_VARIANCE) * (1 + raw.detach() - MOST_LOG_VARIANCE)
    torch.testing.assert_close(variance, expected, rtol=1e-5, atol=0)
    gaussian_kl(torch.zeros(3), bounded_log_variance(raw)).sum().backward()
    assert raw.grad is not None
    assert bool((raw.grad > 1).all())


@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_a_first_step_moves_codes_of_large_images_no_farther_than_those_of_small_ones(net: str) -> None:
    """Each weight moves by the learning rate, and there are thousands of inputs."""

    def moved(side: int, scaled: bool) -> float:
        torch.manual_seed(0)
        image = ImageShape(3, side, side)
        images = F.interpolate(torch.rand(16, 3, 2, 2), size=(side, side))
        options = VAE.Options(net=net, hidden=(64,))
        model = VAE(image, VAE.options_for(options, random_images(image)) if scaled else options)
        before = model.encoder(images).detach()
        next(train(TrainingState(model, 100, 1), [batch(images)]))  # no warm-up: there are few images
        return float((model.encoder(images).detach() - before).abs().max())

    small = moved(16, scaled=True)
    assert moved(128, scaled=True) < 3 * small
    assert moved(128, scaled=False) > 10 * small


@pytest.mark.parametrize(("net", "width"), [("mlp", 16), ("conv", 64)])
def test_scaled_inputs_are_the_same_model_that_learns_more_slowly(net: str, width: int) -> None:
    """At first it makes what the plain one makes; and images of MNIST's size are scaled by 1."""
    image, images = ImageShape(1, 48, 48), torch.rand(3, 1, 48, 48)
    options = VAE.options_for(VAE.Options(net=net, width=width), random_images(image))
    assert options.input_scale == pytest.approx({"mlp": 1024 / 48**2, "conv": 1024 / (256 * 6 * 6)}[net])
    codes = []
    for chosen in (options, VAE.Options(net=net, width=width)):
        torch.manual_seed(0)
        codes.append(VAE(image, chosen).eval().encode(images).detach())
    torch.testing.assert_close(*codes)
    assert VAE.options_for(VAE.Options(net=net), random_images(ImageShape(1, 28, 28))).input_scale == 1
    kept = VAE.Options(net=net, width=width, input_scale=1.0)  # another run's, with whose weights it begins
    assert VAE.options_for(kept, random_images(image)).input_scale == 1


def fresh(**options: object) -> VAE:
    """Of the same weights whatever the objective."""
    torch.manual_seed(0)
    return VAE(IMAGE, VAE.Options(hidden=(6,), latent_dim=3, **options)).double()


def gradients(model: VAE, images: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(seed)
    loss = model.losses(batch(images))["loss"]
    return loss.detach(), list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("options", [{}, {"likelihood": "gaussian"}], ids=str)
def test_iwae_of_one_code_is_the_elbo(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    images = torch.rand(7, *IMAGE).double()
    loss, expected = gradients(fresh(**options), images)
    found, slopes = gradients(fresh(objective="iwae", k=1, **options), images)
    assert torch.equal(found, loss)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(slopes, expected, strict=True))


def test_iwae_is_minus_the_logarithm_of_the_mean_weight() -> None:
    """Each weight by torch's own distributions, from the same draws."""
    model = fresh(objective="iwae", k=5)
    images = torch.rand(7, *IMAGE).double()
    torch.manual_seed(3)
    losses = model.losses(batch(images))
    torch.manual_seed(3)
    mean, log_variance = model.posterior(images)
    noise = torch.randn(7, 5, 3, dtype=torch.float64)
    posterior = torch.distributions.Normal(mean[:, None], (log_variance / 2).exp()[:, None])
    z = posterior.loc + posterior.scale * noise
    pixels = torch.distributions.Bernoulli(
        logits=model.decoder(z.flatten(0, 1)).view(7, 5, *IMAGE), validate_args=False
    )
    log_weights = (
        pixels.log_prob(images[:, None]).sum((2, 3, 4))
        + torch.distributions.Normal(0, 1).log_prob(z).sum(2)
        - posterior.log_prob(z).sum(2)
    )
    torch.testing.assert_close(losses["loss"], -log_weights.exp().mean(1).log().mean())
    torch.testing.assert_close(losses["iwae"], losses["loss"])
    torch.testing.assert_close(losses["reconstruction"], -pixels.log_prob(images[:, None]).sum((2, 3, 4)).mean())
    torch.testing.assert_close(
        losses["neg_elbo"], losses["reconstruction"] + gaussian_kl(mean, log_variance).sum(1).mean()
    )
    # Burda et al., equation 13: each code's gradient counts by its share of the weights.
    shares = log_weights.softmax(1).detach()
    expected = torch.autograd.grad(-(shares * log_weights).sum(1).mean(), list(model.parameters()))
    found = torch.autograd.grad(losses["loss"], list(model.parameters()))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_more_codes_tighten_the_iwae_bound_and_leave_the_elbo() -> None:
    images = torch.rand(200, *IMAGE).double()
    means = {}
    for k in (1, 2, 30):
        model = fresh(objective="iwae", k=k)
        torch.nn.init.normal_(model.decoder[0][0].weight, std=3)  # so that codes differ in what they say of an image
        drawn = [model.losses(batch(images)) for _ in range(20)]
        means[k] = {name: sum(float(each[name]) for each in drawn) / 20 for name in ("loss", "neg_elbo")}
    assert means[1]["loss"] > means[2]["loss"] + 0.05 > means[30]["loss"] + 0.1
    assert means[30]["neg_elbo"] == pytest.approx(means[1]["neg_elbo"], abs=0.1)


@torch.no_grad()
def test_several_codes_of_the_elbo_are_averaged() -> None:
    images = torch.rand(50, *IMAGE).double()
    plain, several = fresh(), fresh(k=64)
    expected = sum(float(plain.losses(batch(images))["loss"]) for _ in range(64)) / 64
    assert float(several.losses(batch(images))["loss"]) == pytest.approx(expected, abs=0.05)
    assert "iwae" not in several.losses(batch(images))


def test_the_best_checkpoint_is_that_of_the_objective() -> None:
    assert fresh().monitor == fresh(k=5).monitor == fresh(objective="iwae").monitor == "neg_elbo"
    assert fresh(objective="iwae", k=5).monitor == "iwae"


@pytest.mark.parametrize("options", [{"beta": 2.0}, {"kl_warmup": 1.0}], ids=str)
def test_iwae_has_no_kl_term_to_weigh(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no KL term"):
        VAE.Options(objective="iwae", k=5, **options)


def test_several_codes_are_weighed_in_full_precision_under_bf16() -> None:
    """Sums of hundreds of nats have steps of 2 and more in bf16, against which weights would be noise."""
    logits = (20 * torch.randn(2, 3, 784)).requires_grad_()
    pixels = torch.rand(2, 784)
    exact = bernoulli_log_likelihood(logits, pixels)
    with torch.autocast("cpu", torch.bfloat16):
        cast = bernoulli_log_likelihood(logits, pixels)
    torch.testing.assert_close(cast, exact)


@torch.no_grad()
def test_a_validation_decodes_its_codes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit; each image's codes and its weights are the same."""
    images = torch.rand(50, *ImageShape(1, 8, 8))
    model = VAE(ImageShape(1, 8, 8), VAE.Options(hidden=(8,), latent_dim=2, objective="iwae", k=20)).eval()
    decoded: list[int] = []
    model.decoder.register_forward_hook(lambda _module, inputs, _output: decoded.append(len(inputs[0])))

    def losses() -> dict[str, float]:
        torch.manual_seed(3)
        return {name: float(value) for name, value in model.losses(Batch(images, None, torch.tensor(0.5))).items()}

    whole = losses()
    assert decoded == [50 * 20]
    monkeypatch.setattr(vae, "NUMBERS_AT_ONCE", 7 * 20 * 64)
    decoded.clear()
    assert losses() == pytest.approx(whole, rel=1e-6)
    assert decoded == [7 * 20] * 7 + [20]


@pytest.mark.parametrize("scale", [1e-4, 0.003, 0.07, 2.0, 100.0])
def test_a_logistics_256_probabilities_sum_to_1(scale: float) -> None:
    levels = (torch.arange(256) / 255).double()[:, None]
    means = torch.tensor([-3.0, -0.01, 0.0, 0.2, 0.5003, 1.0, 1.4]).double()
    log_scale = torch.tensor(scale).double().log()
    sums = logistic_log_likelihood(means, log_scale, levels).exp().sum(0)
    torch.testing.assert_close(sums, torch.ones(7).double(), rtol=0, atol=1e-9)


def test_a_logistic_is_the_difference_of_two_sigmoids() -> None:
    levels, mean, scale = (torch.arange(256) / 255).double(), 0.41, 0.03
    upper = ((levels + 0.5 / 255 - mean) / scale).sigmoid()
    lower = ((levels - 0.5 / 255 - mean) / scale).sigmoid()
    upper[-1], lower[0] = 1, 0
    found = logistic_log_likelihood(torch.tensor(mean), torch.tensor(scale).log(), levels)
    torch.testing.assert_close(found, (upper - lower).log(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("log_scale", [-200.0, -20.0, -5.0, 5.0])
def test_a_logistic_is_finite_far_from_its_mean(log_scale: float) -> None:
    mean, scale = torch.tensor([-50.0, 0.5, 70.0], requires_grad=True), torch.tensor(log_scale, requires_grad=True)
    found = logistic_log_likelihood(mean, scale, torch.tensor([[0.0], [0.5], [1.0]]))
    found.sum().backward()
    for each in (found, mean.grad, scale.grad):
        assert each.isfinite().all()


def test_pixels_that_are_drawn_are_only_of_a_likelihood_of_binary_ones(digits: Dataset) -> None:
    with pytest.raises(ValueError, match="which --likelihood logistic isn't of"):
        VAE.Options(likelihood="logistic", binarize="dynamic")
    # A run of before, which may be so, is still opened.
    with pytest.raises(UsageError, match="which --likelihood gaussian isn't of"):
        VAE.options_for(VAE.Options(likelihood="gaussian", binarize="dynamic"), digits)


@pytest.mark.parametrize("model", ["vae", "beta-tc"])
@pytest.mark.parametrize("likelihood", ["gaussian", "logistic"])
def test_so_the_command_says(genkit: Genkit, tmp_path: Path, model: str, likelihood: str) -> None:
    options = ("--binarize", "dynamic", "--likelihood", likelihood, "--hidden", 8, "--steps", 1)
    outcome = genkit("train", model, "--dataset", "mnist5k", *options, "--out", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        f"genkit: --binarize dynamic draws each pixel as 0 or 1, which --likelihood {likelihood} isn't of: leave one "
        "of them out\n"
    )
    assert not list(tmp_path.iterdir())


def test_logistic_likelihood_is_in_nats_and_bits_and_the_same_of_several_codes() -> None:
    image = ImageShape(3, 6, 5)
    model = VAE(image, VAE.Options(hidden=(4,), latent_dim=3, likelihood="logistic"))
    assert model.log_scale.shape == (3, 1, 1)
    assert model.pixels == "levels"
    model.log_scale.data = torch.tensor([-3.0, -2.0, -1.0]).view(3, 1, 1)
    images, z = torch.rand(5, *image), torch.randn(5, 6, 3)
    output = model.output(z.flatten(0, 1))
    expected = -model.negative_log_likelihood(output, images.repeat_interleave(6, 0)).flatten(1).sum(1)
    torch.testing.assert_close(model.log_likelihood(z, images).flatten(), expected)
    losses = model.losses(batch(images))
    assert losses["bits_per_dim"].item() == pytest.approx(losses["neg_elbo"].item() / 90 / math.log(2))
    torch.testing.assert_close(model.decode(z[0]), output[:6].clamp(0, 1))
