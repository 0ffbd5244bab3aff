"""The DCGAN against the paper's facts."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import Genkit
from pydantic import ValidationError
from torch import Tensor, nn

from genkit import nets
from genkit.contract import Batch, Fault, ImageShape, Phase
from genkit.keep.config import RunOptions
from genkit.models.dcgan import DCGAN
from genkit.step.accelerate import accelerated, leave_uncompiled
from genkit.step.training import TrainingState, train
from genkit.testing import contract

IMAGE = ImageShape(3, 64, 64)
SMALL = ImageShape(3, 8, 8)
CPU = torch.device("cpu")
RESIDUAL = {"net": "residual", "width": 4, "latent_dim": 6, "critic_norm": "none", "loss": "relativistic", "r1": 1.0}

TestResidual = contract("dcgan", **RESIDUAL, augment="colour,translation,cutout", condition="label", flips=True)
TestResidual.shapes = (ImageShape(3, 28, 28), ImageShape(1, 20, 33), ImageShape(3, 8, 8), ImageShape(1, 1, 9))
TestOfAttributes = contract(
    "dcgan", width=2, latent_dim=6, loss="hinge", r2=1.0, critic_steps=2, condition="attributes"
)
TestOfAttributes.shapes = (ImageShape(1, 20, 33),)
TestOfAttributes.test_a_run_stopped_after_every_step_comes_to_the_same_bits = None  # type: ignore[assignment]


def paper(**options: object) -> DCGAN:
    return DCGAN(IMAGE, DCGAN.Options(recipe="paper", **options))


def test_the_papers_recipe() -> None:
    model = paper()
    assert model.options.latent_dim == 100
    assert model.options.batch_size == 128
    assert (model.options.lr, model.options.beta1) == (2e-4, 0.5)
    transposed = [each for each in model.generator.modules() if isinstance(each, nn.ConvTranspose2d)]
    assert [each.in_channels for each in transposed] == [1024, 512, 256, 128]
    assert transposed[-1].out_channels == 3
    first = next(each for each in model.generator.modules() if isinstance(each, nn.Linear))
    assert first.out_features == 4 * 4 * 1024
    norms = [each for each in model.critic.modules() if isinstance(each, nn.BatchNorm2d)]
    assert [each.num_features for each in norms] == [256, 512, 1024], "none on the discriminator's input layer"
    assert not any(isinstance(each, nn.MaxPool2d | nn.AvgPool2d) for each in model.modules())
    weights = torch.cat([each.weight.detach().flatten() for each in transposed])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)


def test_what_is_given_goes_before_the_recipe() -> None:
    assert DCGAN.Options(recipe="paper", width=16).width == 16
    assert DCGAN.Options(recipe="paper").width == 128


def test_uniform_prior() -> None:
    z = paper(width=8).prior(torch.randn(2000, 100)).flatten()
    assert float(z.abs().max()) <= 1
    quarters = torch.histc(z, 4, -1, 1) / len(z)
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.005, rtol=0)


def test_losses_at_equilibrium() -> None:
    """A discriminator that can't tell says ½: its loss is 2 ln 2, and the generator's ln 2."""
    model = DCGAN(ImageShape(1, 28, 28), DCGAN.Options(width=8, critic_norm="batch"))
    nn.init.zeros_(model.critic.head.weight)
    batch = Batch(torch.rand(4, 1, 28, 28), None, torch.tensor(0.0))
    of_generator = model.generator_losses(batch)
    assert of_generator["loss"].item() == pytest.approx(math.log(2))
    assert model.critic_losses(batch.after(of_generator))["loss"].item() == pytest.approx(2 * math.log(2))


def test_generator_loss_does_not_saturate() -> None:
    """Where the discriminator is sure of the fake, the generator still gets a gradient of nearly 1 in the logit."""
    model = DCGAN(ImageShape(1, 28, 28), DCGAN.Options(width=8, critic_norm="batch"))
    nn.init.zeros_(model.critic.head.weight)
    model.critic.head.bias.data.fill_(-20)
    batch = Batch(torch.rand(4, 1, 28, 28), None, torch.tensor(0.0))
    model.generator_losses(batch)["loss"].backward()
    assert float(model.critic.head.bias.grad) == pytest.approx(-1, abs=1e-3)


def test_both_phases_of_a_step_see_the_same_samples() -> None:
    """Made once, by the generator as it is at the step's beginning, and without a gradient for it."""
    model = DCGAN(ImageShape(1, 28, 28), DCGAN.Options(width=8, critic_norm="batch"))
    drawn, seen = [], []
    model.generator.register_forward_hook(lambda *hooked: drawn.append(hooked[2].detach().clone()))
    model.critic.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    list(train(TrainingState(model, 1, 1), [Batch(torch.rand(4, 1, 28, 28), None, torch.tensor(0.0))]))
    (samples,) = drawn
    for_generator, _real, for_critic = seen
    assert torch.equal(for_generator, samples)
    assert torch.equal(for_critic, samples)
    assert not for_critic.requires_grad


def test_spectral_norm_holds_the_default_critic() -> None:
    model = DCGAN(ImageShape(1, 28, 28), DCGAN.Options(width=8)).eval()
    assert not any(isinstance(each, nn.BatchNorm2d) for each in model.critic.modules())
    largest = torch.linalg.matrix_norm(model.critic.head.weight.detach(), 2)
    assert float(largest) == pytest.approx(1, rel=1e-3)


def test_the_averaged_critic_still_judges() -> None:
    """Spectral norm's vectors change sign as they please: averaged, they would blow the weights up."""
    torch.manual_seed(0)
    model = DCGAN(ImageShape(1, 16, 16), DCGAN.Options(width=8, ema=0.9))
    state = TrainingState(model, 60, 60)
    images = torch.rand(8, 1, 16, 16)
    list(train(state, [Batch(images, None, torch.tensor(0.0))] * 60))
    averaged = state.best_model.eval()
    for critic in (model.critic.eval(), averaged.critic):
        for layer in critic.layers:
            if isinstance(layer, nn.Conv2d):
                assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) < 1.5


@pytest.mark.parametrize(
    ("diversities", "collapsed"),
    [([0.2], False), ([0.2, 0.4], False), ([0.2, 0.3, 0.4], True), ([0.2, 0.9, 1.0, 0.6], False), ([1.0, 0.4], True)],
)
def test_mode_collapse_is_diversity_that_falls_or_never_comes(diversities: list[float], collapsed: bool) -> None:
    model = DCGAN(ImageShape(1, 8, 8), DCGAN.Options(width=1))
    history = [{"critic/real": 0.6, "critic/fake": 0.4, "diversity": each} for each in diversities]
    assert (model.watch(history).keys() == {"mode collapse"}) == collapsed


@pytest.mark.parametrize(("real", "fake", "saturated"), [(0.99, 0.01, True), (0.99, 0.3, False), (0.7, 0.01, False)])
def test_a_saturated_discriminator_is_named(real: float, fake: float, saturated: bool) -> None:
    model = DCGAN(ImageShape(1, 8, 8), DCGAN.Options(width=1))
    found = model.watch([{"critic/real": real, "critic/fake": fake, "diversity": 1.0}])
    assert (found.keys() == {"saturated discriminator"}) == saturated


@pytest.mark.parametrize(("loss", "saturated"), [(0.03, True), (0.6, False)])
def test_a_hinge_loss_is_saturated_at_its_margin(loss: float, saturated: bool) -> None:
    model = DCGAN(ImageShape(1, 8, 8), DCGAN.Options(width=1, loss="hinge", r1=2.0))
    beyond = {"critic/real": 0.75, "critic/fake": 0.25, "diversity": 1.0}  # logits of ±1.1
    found = model.watch([{**beyond, "critic/loss": loss + 0.5, "critic/r1": 0.5}])
    assert (found.keys() == {"saturated discriminator"}) == saturated
    if saturated:
        assert "its hinge loss is 0.030" in found["saturated discriminator"].shows


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_representation_is_every_layer_pooled_to_4_by_4(norm: str) -> None:
    model = paper(width=8, critic_norm=norm).eval()
    images = torch.rand(3, *IMAGE)
    maps = model.critic.maps(images)
    assert [tuple(each.shape[1:]) for each in maps] == [(8, 32, 32), (16, 16, 16), (32, 8, 8), (64, 4, 4)]
    torch.testing.assert_close(maps[-1].flatten(1), model.features(images))
    found = model.representation(images)
    assert found.shape == (3, 16 * (8 + 16 + 32 + 64))
    # The second layer's third channel: 4×4 squares of 4 pixels a side, of which the last is at the lower right.
    assert torch.equal(found[:, 16 * (8 + 2) + 15], maps[1][:, 2, 12:, 12:].amax((1, 2)))
    torch.testing.assert_close(model.representation(images[:1]), found[:1])


def test_a_map_smaller_than_4_by_4_stays_as_it_is() -> None:
    maps = [torch.rand(2, 3, 9, 5), torch.rand(2, 5, 3, 7)]
    found = nets.pooled_layers(maps)
    assert found.shape == (2, 3 * 16 + 5 * 3 * 4)
    assert torch.equal(found[:, 48:].view(2, 5, 3, 4)[..., 0], maps[1][..., :2].amax(3))


# -- other losses, penalties, conditions -------------------------------------------------------------------------------


def told(labels: list[int]) -> Batch:
    return Batch(torch.rand(len(labels), *SMALL), torch.tensor(labels), torch.tensor(0.0))


def with_logits(model: DCGAN, real: list[float], fake: list[float], monkeypatch: pytest.MonkeyPatch) -> Batch:
    """A batch whose discriminator says this of its images and of its samples."""
    batch = Batch(torch.rand(len(real), *SMALL), None, torch.tensor(0.0), earlier={"samples": torch.rand(2, *SMALL)})
    said = {id(batch.images): torch.tensor(real), id(batch.earlier["samples"]): torch.tensor(fake)}
    monkeypatch.setattr(model, "judged", lambda images: said[id(images)])
    return batch


@pytest.mark.parametrize(
    ("loss", "value", "real"),
    [
        ("hinge", (0 + 0.5) / 2 + (0 + 3) / 2, (2.0, 0.5)),
        ("relativistic", (math.log1p(math.exp(-4 - 2)) + math.log1p(math.exp(2 - 0.5))) / 2, (6.0, -1.5)),
    ],
)
def test_losses_in_closed_form(loss: str, value: float, real: tuple[float, float], monkeypatch) -> None:
    model = DCGAN(SMALL, DCGAN.Options(width=1, loss=loss))
    losses = model.critic_losses(with_logits(model, [2.0, 0.5], [-4.0, 2.0], monkeypatch))
    assert losses["loss"].item() == pytest.approx(value)
    assert losses["real"].item() == pytest.approx(sum(1 / (1 + math.exp(-each)) for each in real) / 2)


@pytest.mark.parametrize(("loss", "gradient"), [("hinge", -0.5), ("relativistic", -0.5 / (1 + math.exp(-3)))])
def test_what_the_generator_is_told(loss: str, gradient: float, monkeypatch) -> None:
    """Where samples are believed by 3 less than images: of pairs nearly the whole gradient, as of the hinge loss."""
    model = DCGAN(SMALL, DCGAN.Options(width=1, loss=loss))
    seen: list[Tensor] = []

    def judged(images: Tensor) -> Tensor:
        if images.requires_grad:
            seen.append((0 * images.sum((1, 2, 3)) - 1).detach().requires_grad_())
            return seen[0]
        return torch.full((2,), 2.0)

    monkeypatch.setattr(model, "judged", judged)
    model.generator_losses(Batch(torch.rand(2, *SMALL), None, torch.tensor(0.0)))["loss"].backward()
    assert seen[0].grad.tolist() == pytest.approx([gradient] * 2)


def test_r1_of_a_linear_discriminator_is_the_norm_of_its_weights() -> None:
    """In the units of images in [-1, 1], as everywhere; half of it, times its weight, is in the loss."""
    model = DCGAN(SMALL, DCGAN.Options(width=1, r1=3.0, penalty_every=2))

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.randn(SMALL))

        def forward(self, images: Tensor) -> Tensor:
            return (self.weights * (2 * images - 1)).sum((1, 2, 3)) ** 2

    del model.critic
    model.critic = Linear()
    images = torch.rand(4, *SMALL)
    batch = Batch(images, None, torch.tensor(0.0), earlier={"samples": torch.rand(4, *SMALL)})
    with_penalty = model.critic_losses(batch)
    weights = model.critic.weights.detach()
    slopes = 2 * (weights * (2 * images[:2] - 1)).sum((1, 2, 3)) * weights.norm()
    assert with_penalty["r1"].item() == pytest.approx(slopes.square().mean().item(), rel=1e-4)
    model.options = DCGAN.Options(width=1)
    without = model.critic_losses(batch)
    assert without.keys() == {"loss", "real", "fake"}
    assert (with_penalty["loss"] - without["loss"]).item() == pytest.approx(1.5 * with_penalty["r1"].item(), rel=1e-4)
    with_penalty["r1"].backward()
    assert model.critic.weights.grad.norm() > 0


@pytest.mark.parametrize("net", ["conv", "residual"])
def test_a_batch_of_one_image_has_a_penalty(net: str) -> None:
    """Whose spread is 0, where a root has no gradient."""
    torch.manual_seed(0)
    model = DCGAN(SMALL, DCGAN.Options(net=net, width=2, latent_dim=3, r1=1.0))
    state = TrainingState(model, 3, 3)
    list(train(state, [Batch(torch.rand(1, *SMALL), None, torch.tensor(0.0))] * 3))
    assert all(each.isfinite().all() for each in model.parameters())


@pytest.mark.parametrize("net", ["conv", "residual"])
def test_both_nets_are_told_the_class(net: str) -> None:
    model = DCGAN(SMALL, DCGAN.Options(net=net, width=4, latent_dim=3, condition="label", classes=3)).eval()
    z, labels = torch.randn(1, 3).expand(3, 3), torch.tensor([0, 1, 1])
    one, other, same = model.decode(z, labels)
    assert not torch.allclose(one, other)
    torch.testing.assert_close(other, same)
    image = torch.rand(1, *SMALL).expand(3, *SMALL)
    one, other, same = model.critic(image, *model.rows(labels, image)).tolist()
    assert one != pytest.approx(other)
    assert other == pytest.approx(same)
    with pytest.raises(TypeError, match=r"takes a condition \(class\)"):
        model.decode(z)
    plain = DCGAN(SMALL, DCGAN.Options(net=net, width=4, latent_dim=3))
    assert not any("told" in name for name in plain.state_dict())


@pytest.mark.parametrize("net", ["conv", "residual"])
def test_a_critic_that_is_told_the_class_sees_one_image_a_class_as_a_collapse(net: str) -> None:
    """Over the whole batch such samples are as far apart as the classes are, which passed for variety."""
    options = DCGAN.Options(net=net, width=4, latent_dim=3, condition="label", classes=3, critic_norm="none")
    model = DCGAN(SMALL, options)
    critic = model.critic
    with torch.no_grad():
        critic.told.rows.weight.zero_()
        critic.head.bias.zero_()
        critic.head.weight[:] = torch.cat(
            [torch.zeros(critic.head.in_features // 2), torch.ones(critic.head.in_features // 2)]
        )
    labels = torch.arange(12) % 3
    one_of_each, varied = torch.rand(3, *SMALL)[labels], torch.rand(12, *SMALL)
    told = model.rows(labels, varied)
    collapsed, apart = float(critic(one_of_each, *told)[0].detach()), float(critic(varied, *told)[0].detach())
    assert collapsed < 0.1 * apart


def test_samples_are_judged_by_the_class_that_they_were_asked_for() -> None:
    """Those of the batch: a discriminator that believes any image of class 1 and no other is fooled by its samples."""
    model = DCGAN(SMALL, DCGAN.Options(net="residual", width=4, latent_dim=3, condition="label", classes=2))
    model.critic.forward = lambda images, rows: 20 * (2 * rows[:, 1] - 1) + 0 * images.sum((1, 2, 3))
    assert model.generator_losses(told([1, 1]))["loss"].item() == pytest.approx(0, abs=1e-6)
    assert model.generator_losses(told([0, 1]))["loss"].item() == pytest.approx(10)


def test_the_residual_generator_begins_with_the_mean_colour() -> None:
    model = DCGAN(SMALL, DCGAN.Options(net="residual", width=8)).eval()
    model.begin_at(torch.tensor([0.9, 0.5, 0.1])[:, None, None].expand(SMALL))
    with torch.no_grad():
        model.generator.last.weight.zero_()
        means = model.decode(torch.randn(2, 100)).mean((0, 2, 3))
    torch.testing.assert_close(means, torch.tensor([0.9, 0.5, 0.1]))


def test_no_sample_of_the_residual_generator_depends_on_its_batch() -> None:
    model = DCGAN(SMALL, DCGAN.Options(net="residual", width=4, latent_dim=3)).train()
    z = torch.randn(5, 3)
    torch.testing.assert_close(model.decode(z)[:2], model.decode(z[:2]))


def test_augmentation_is_of_training_alone() -> None:
    model = DCGAN(SMALL, DCGAN.Options(width=1, augment="cutout"))
    images = torch.rand(4, *SMALL)
    assert not torch.equal(model.shown(images), images)
    model.eval()
    assert model.shown(images) is images


def test_the_spectral_recipe_is_what_the_class_itself_begins_with() -> None:
    """Recipes in experiments/ that name no other get these nets and losses, whatever the images."""
    pinned, plain = DCGAN.Options(recipe="spectral"), DCGAN.Options()
    assert pinned.model_dump(exclude={"recipe"}) == plain.model_dump(exclude={"recipe"})
    assert {"net", "loss", "width", "batch_size", "lr", "flips", "augment"} <= pinned.model_fields_set


@pytest.mark.parametrize("norm", [["--critic-norm", "batch"], ["--recipe", "paper"]])
def test_batchnorm_is_not_for_the_residual_discriminator(genkit: Genkit, norm: list[str]) -> None:
    with pytest.raises(ValidationError, match="--critic-norm batch is of --net conv"):
        DCGAN.Options(net="residual", critic_norm="batch")
    outcome = genkit("train", "dcgan", "--dataset", "mnist5k", "--net", "residual", *norm, "-n")
    assert outcome.code == 2
    assert outcome.err == ("genkit: --critic-norm batch is of --net conv: give spectral or none with --net residual\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("blur", "--augment must be 'colour', 'translation' or 'cutout' (got 'blur')"),
        ("colour,cutout,colour,cutout", "--augment must have at most 3 parts (got 'colour,cutout,colour,cutout')"),
    ],
)
def test_what_is_no_augmentation_is_refused(genkit: Genkit, given: str, said: str) -> None:
    outcome = genkit("train", "dcgan", "--dataset", "mnist5k", "--augment", given, "-n")
    assert (outcome.code, outcome.err) == (2, f"genkit: {said}\n")


SURE = {"critic/real": 0.99, "critic/fake": 0.01, "critic/loss": 0.03, "diversity": 1.0}
AUGMENT = "--augment colour,translation,cutout"


@pytest.mark.parametrize(
    ("options", "shows", "helps"),
    [
        (
            {"critic_norm": "batch"},
            "it takes real images for real with 99.0%, and samples with 1.0%, which leaves the generator no gradient",
            ["--critic-norm spectral", AUGMENT, "a lower --critic-lr (it is 0.001)"],
        ),
        (
            {"loss": "hinge", "augment": "cutout", "critic_lr": 0.02},
            "its hinge loss is 0.030, and 2 where it can't tell samples from images, so it learns nothing more",
            ["a lower --critic-lr (it is 0.02)"],
        ),
        (
            RESIDUAL,
            "of a real image and a sample it takes the real one for real with 99.0%, which leaves the generator no "
            "gradient",
            [AUGMENT, "a larger --r1 (it is 1)", "a lower --critic-lr (it is 0.001)"],
        ),
    ],
)
def test_what_a_saturated_discriminator_shows_and_what_helps(options: dict, shows: str, helps: list[str]) -> None:
    model = DCGAN(SMALL, DCGAN.Options(**{"width": 1, **options}))
    assert model.watch([SURE]) == {"saturated discriminator": Fault(shows, helps)}


@pytest.mark.parametrize(("diversities", "best"), [([1.0, 0.4], " (it was up to 1.00 times)"), ([0.2, 0.3, 0.4], "")])
def test_what_a_collapse_shows_and_what_helps(diversities: list[float], best: str) -> None:
    model = DCGAN(SMALL, DCGAN.Options(width=1))
    history = [{"critic/real": 0.6, "critic/fake": 0.4, "diversity": each} for each in diversities]
    assert str(model.watch(history)["mode collapse"]) == (
        "a sample is 0.40 times as far from its nearest other sample as a real image from its nearest"
        f"{best}; what usually helps: a larger --batch-size (it is 64), a lower --lr (it is 0.001) or {AUGMENT}"
    )


def gradients(phases: list[Phase], batch: Batch) -> tuple[dict[str, float], Tensor]:
    """What both phases log, and the gradients of the discriminator's weights."""
    torch.manual_seed(3)
    generator, critic = phases
    losses = critic.losses(batch.after(generator.losses(batch)))
    found = torch.autograd.grad(losses["loss"], list(critic.module.parameters()))
    return {name: float(each.detach()) for name, each in losses.items()}, torch.cat([each.flatten() for each in found])


def test_a_penalty_in_mixed_precision_is_in_full() -> None:
    torch.manual_seed(0)
    model = DCGAN(SMALL, DCGAN.Options(**RESIDUAL, r2=1.0))
    batch = Batch(torch.rand(8, *SMALL), None, torch.tensor(0.0))
    expected, slope = gradients(model.phases(), batch)
    found, ours = gradients(accelerated(model.phases(), CPU, RunOptions(amp="bf16"), 10), batch)
    assert found == pytest.approx(expected, rel=0.05, abs=0.05)
    assert found["r1"] == pytest.approx(expected["r1"], rel=1e-5)
    assert (ours - slope).norm() <= 0.05 * slope.norm()


def test_a_penalty_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch can't compile a gradient's gradient: it refuses, at the first backward pass."""
    left: list[object] = []
    monkeypatch.setattr(torch.compiler, "disable", lambda method: left.append(method) or method)
    model = DCGAN(SMALL, DCGAN.Options(**RESIDUAL))
    leave_uncompiled(model.critic_losses)
    assert left == [DCGAN.penalty.__get__(model)]
