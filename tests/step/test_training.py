"""The loop, its schedule and its average against closed forms and torch's own optimiser."""

from __future__ import annotations

import copy
import math
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import Genkit, random_batch, small_model
from torch.utils._python_dispatch import TorchDispatchMode

from genkit import registry
from genkit.contract import Batch, ImageShape, Options, Phase
from genkit.data.batches import TrainingBatches, in_order
from genkit.data.dataset import Dataset
from genkit.keep.config import RunOptions
from genkit.models.ae import AE
from genkit.models.dcgan import DCGAN
from genkit.step import training
from genkit.step.accelerate import LONG_RUN, accelerated, compiles, precision_kept
from genkit.step.training import TrainingState, lr_factor, train

CPU = torch.device("cpu")
IMAGE = ImageShape(1, 6, 6)


def batches(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    return [Batch(torch.rand(8, *IMAGE, generator=generator), None, torch.tensor(0.0)) for _ in range(count)]


def small(**options: object) -> AE:
    torch.manual_seed(0)
    return AE(IMAGE, AE.Options(hidden=(7,), latent_dim=2, schedule="constant", lr_warmup=0, **options))


def test_the_loop_is_plain_adam() -> None:
    ours, theirs = small(), small()
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    for batch in batches(5):
        optimizer.zero_grad()
        theirs.losses(batch)["loss"].backward()
        optimizer.step()
    list(train(TrainingState(ours, 5, 5), batches(5)))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


def test_moments_that_have_died_away_are_zero_and_the_weights_are_as_without_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pixel that is lit in the first batch and never again, as a corner of MNIST: its weights get no gradient."""
    tiny = torch.finfo(torch.float32).tiny
    lit, dark = batches(2)
    dark.images[:, :, 0] = 0
    trained, denormals = [], []
    for between in (training.STEPS_BETWEEN_SWEEPS, 10_000):
        monkeypatch.setattr(training, "STEPS_BETWEEN_SWEEPS", between)
        state = TrainingState(small(), 1100, 1100)
        torch.manual_seed(0)
        list(train(state, [lit] + [dark] * 1099))
        (optimizer,) = state.optimizers
        moments = torch.cat(
            [each[name].flatten() for each in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
        )
        denormals.append(int(((moments != 0) & (moments.abs() < tiny)).sum()))
        trained.append(list(state.model.parameters()))
    assert denormals[0] == 0
    assert denormals[1] >= 6 * 7  # a row of pixels, each with a weight to each hidden unit
    assert all(torch.equal(*pair) for pair in zip(*trained, strict=True))


def test_metrics_are_detached_and_named_by_phase() -> None:
    (metrics,) = train(TrainingState(small(), 1, 1), batches(1))
    assert metrics.keys() == {"loss", "squared_error", "grad_norm"}
    assert not any(value.requires_grad for value in metrics.values())


def test_cosine_with_warm_up() -> None:
    options = Options(schedule="cosine", lr_warmup=2)
    factors = [lr_factor(options, step, total_steps=100, steps_per_epoch=10) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 21)
    assert factors[19] == pytest.approx(20 / 21)
    assert factors[20] == 1
    assert factors[60] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert factors[20:] == sorted(factors[20:], reverse=True)


def test_constant_is_held() -> None:
    options = Options(schedule="constant", lr_warmup=0)
    assert {lr_factor(options, step, 100, 10) for step in range(100)} == {1.0}


def test_weight_decay_is_decoupled() -> None:
    """With a gradient of zero, AdamW's decay alone shrinks a weight by lr · decay a step."""
    model = small(weight_decay=0.5, lr=0.1)
    model.losses = lambda batch: {"loss": 0 * sum(p.sum() for p in model.parameters())}  # type: ignore[method-assign]
    before = copy.deepcopy(dict(model.named_parameters()))
    list(train(TrainingState(model, 1, 1), batches(1)))
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, before[name] * (1 - 0.1 * 0.5))


def test_gradient_is_clipped_by_its_norm() -> None:
    model = small(grad_clip=1e-3)
    list(train(TrainingState(model, 1, 1), batches(1)))
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
    assert norm == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_the_gradients_norm_is_that_before_it_is_clipped(clip: float) -> None:
    ours, theirs = small(grad_clip=clip), small()
    (metrics,) = train(TrainingState(ours, 1, 1), batches(1))
    theirs.losses(batches(1)[0])["loss"].backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in theirs.parameters()]).norm()
    torch.testing.assert_close(metrics["grad_norm"], expected)


def test_average_follows_its_recursion() -> None:
    model = small(ema=0.9, lr=0.05)
    state = TrainingState(model, 40, 40)
    expected = None
    for _ in train(state, batches(40)):
        current = model.encoder[1][0].weight.detach().clone()
        decay = min(0.9, (1 + state.step) / (10 + state.step))
        expected = current if expected is None else decay * expected + (1 - decay) * current
    torch.testing.assert_close(state.best_model.encoder[1][0].weight, expected)
    assert not torch.equal(state.best_model.encoder[1][0].weight, current)


def test_order_is_a_function_of_seed_and_epoch(digits: Dataset) -> None:
    ours, again, other = (TrainingBatches(digits.train, 256, seed, CPU) for seed in (0, 0, 1))
    epoch = [batch.images for batch in ours.epoch(3)]
    assert all(torch.equal(a, b.images) for a, b in zip(epoch, again.epoch(3), strict=True))
    assert not torch.equal(epoch[0], next(other.epoch(3)).images)
    assert not torch.equal(epoch[0], next(again.epoch(4)).images)
    rest = [batch.images for batch in again.epoch(3, start=10)]
    assert all(torch.equal(a, b) for a, b in zip(epoch[10:], rest, strict=True))


def test_an_epoch_shows_every_image_once(digits: Dataset) -> None:
    data = TrainingBatches(digits.train, 250, 0, CPU)
    seen = torch.cat([batch.images for batch in data.epoch(0)]).flatten(1)
    assert len(seen) == len(digits.train)
    expected = digits.train.images().float().flatten(1) / 255
    torch.testing.assert_close(seen.sum(0), expected.sum(0))
    assert len(seen.unique(dim=0)) == len(expected.unique(dim=0))


def test_batches_are_floats_from_0_to_1_with_their_labels(digits: Dataset) -> None:
    batch = next(in_order(digits.test, 500, CPU))
    assert batch.images.dtype == torch.float32
    assert (float(batch.images.min()), float(batch.images.max())) == (0.0, 1.0)
    assert torch.equal(batch.labels, digits.test.labels[:500])
    assert math.isinf(float(batch.epoch))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="sets glibc's allocator")
def test_a_warm_step_faults_no_pages() -> None:
    """In a process of its own: what the allocator is told holds for all of it."""
    code = """
import resource, statistics, torch
from genkit import device
from genkit import registry
from genkit.contract import Batch, ImageShape
from genkit.step.training import TrainingState, train
device.keep_freed_memory()
image = ImageShape(1, 28, 28)
kind = registry.find("dcgan")
batch = Batch(torch.rand(64, *image), None, torch.zeros(()))
faults = []
for _ in train(TrainingState(kind(image, kind.Options(width=16)), 24, 24), [batch] * 24):
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(statistics.median(after - before for before, after in zip(faults[-11:], faults[-10:])))
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(printed) <= 5


def plain_optimizer(phase: Phase) -> torch.optim.Optimizer:
    """torch's own of the kind that a phase names."""
    arguments = dict(phase.optimizer)
    kinds = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
    return kinds[arguments.pop("kind", "adamw")](phase.module.parameters(), **arguments)


@pytest.mark.parametrize("model", registry.names())
def test_the_fast_step_gives_the_plain_steps_weights(model: str) -> None:
    """The plain step freezes nothing, keeps channels apart, and is torch's own optimiser over each phase's weights.

    In double precision, where another order of sums differs by 1e-16: Adam makes a full step of any gradient, so that
    in float32 the noise in a gradient near zero would decide where its weight goes.
    """
    torch.set_default_dtype(torch.float64)
    try:
        image = ImageShape(3, 12, 12)
        torch.manual_seed(0)
        plain = small_model(
            model, image, latent_dim=4, weight_decay=0.1, grad_clip=2.0, schedule="constant", lr_warmup=0
        )
        fast = copy.deepcopy(plain).to(memory_format=torch.channels_last)
        steps = [random_batch(image) for _ in range(4)]

        torch.manual_seed(1)
        list(train(TrainingState(fast, 4, 4), steps))
        torch.manual_seed(1)
        optimizers = [plain_optimizer(phase) for phase in plain.phases()]
        for number, step in enumerate(steps):
            batch = step
            for phase, optimizer in zip(plain.phases(), optimizers, strict=True):
                if number not in phase.window(len(steps)):
                    continue
                plain.zero_grad()
                losses = phase.losses(batch)
                losses["loss"].backward()
                batch = batch.after(losses)
                torch.nn.utils.clip_grad_norm_(phase.module.parameters(), plain.options.grad_clip)
                optimizer.step()
        for (name, ours), theirs in zip(fast.named_parameters(), plain.parameters(), strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-8, atol=1e-8), name
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_step_trains_in_training_mode_and_leaves_only_its_last_phase_free() -> None:
    """Whatever a validation before it has left."""
    model = DCGAN(ImageShape(1, 8, 8), DCGAN.Options(width=2, latent_dim=3, critic_norm="batch", ema=0))
    state = TrainingState(model, 2, 2)
    batch = Batch(torch.rand(8, 1, 8, 8), None, torch.tensor(0.0))
    for _ in train(state, [batch, batch]):
        assert all(each.requires_grad for each in model.critic.parameters())
        assert not any(each.requires_grad for each in model.generator.parameters())
        counted = [int(value) for name, value in model.generator.named_buffers() if name.endswith("batches_tracked")]
        assert counted == [state.step] * len(counted)
        counted = [int(value) for name, value in model.critic.named_buffers() if name.endswith("batches_tracked")]
        assert counted == [3 * state.step] * len(counted)  # for the generator, of real images, of samples
        model.eval()


def test_the_average_begins_with_the_first_step_and_copies_buffers() -> None:
    model = DCGAN(ImageShape(1, 8, 8), DCGAN.Options(width=2, latent_dim=3, ema=0.9))
    state = TrainingState(model, 3, 3)
    batch = Batch(torch.rand(8, 1, 8, 8), None, torch.tensor(0.0))
    for _ in train(state, [batch] * 3):
        assert state.averaged is not None
        pairs = zip(state.averaged.parameters(), model.parameters(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs) == (state.step == 1)
        buffers = list(zip(state.averaged.buffers(), model.buffers(), strict=True))
        assert buffers
        assert all(torch.equal(*pair) for pair in buffers)


class NoReadBack(TorchDispatchMode):
    """Refuses to bring a number from a tensor to Python, for which a GPU would have to be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert function is not torch.ops.aten._local_scalar_dense.default, "a step reads a tensor back"
        assert function is not torch.ops.aten.nonzero.default, "a step waits for a size that the device decides"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", registry.names())
def test_a_step_reads_nothing_back(model: str) -> None:
    image = ImageShape(1, 12, 12)
    state = TrainingState(small_model(model, image, latent_dim=4, grad_clip=1.0, ema=0.9), 2, 2)
    steps = [random_batch(image) for _ in range(2)]
    with NoReadBack(), pytest.raises(AssertionError, match="reads a tensor back"):
        torch.zeros(()).item()
    with NoReadBack():
        assert len(list(train(state, steps))) == 2


def test_a_measurement_goes_on_in_its_own_precision() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    with precision_kept():
        torch.backends.cuda.matmul.allow_tf32 = not before
    assert torch.backends.cuda.matmul.allow_tf32 == before


@pytest.mark.parametrize("change", [{"amp": "bf16"}, {"compile": "on"}], ids=str)
def test_accelerated_losses_are_the_same_within_their_precision(change: dict[str, str]) -> None:
    if "compile" in change and shutil.which("g++") is None:
        pytest.skip("needs a compiler")
    model = small()
    plain = model.phases()
    (phase,) = accelerated(plain, CPU, RunOptions(**change), total_steps=10)
    batch = batches(1)[0]
    expected, found = plain[0].losses(batch), phase.losses(batch)
    assert phase.losses is not plain[0].losses
    gradients = []
    for losses in (expected, found):
        assert {value.dtype for value in losses.values()} == {torch.float32}
        gradients.append(torch.autograd.grad(losses["loss"], model.decoder.parameters()))
    precision = 0.05 if "amp" in change else 1e-5
    if "amp" in change:
        assert not torch.equal(found["loss"], expected["loss"])
    torch.testing.assert_close(found["loss"], expected["loss"], rtol=precision, atol=0)
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours - theirs).norm() <= precision * theirs.norm()


def test_auto_compiles_only_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    assert not compiles("auto", CPU, 10**9)
    monkeypatch.setattr("genkit.step.accelerate.find_spec", lambda name: None)
    assert not compiles("auto", cuda, 10**9), "without Triton"
    monkeypatch.setattr("genkit.step.accelerate.compiles_well", lambda device: True)
    assert not compiles("auto", cuda, LONG_RUN - 1)
    assert compiles("auto", cuda, LONG_RUN)
    assert not compiles("off", cuda, LONG_RUN)
    assert compiles("on", cuda, 1)


def test_compiling_without_a_compiler_is_refused_before_anything_is_made(
    genkit: Genkit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    outcome = genkit("train", "ae", "--dataset", "mnist5k", "--compile", "on", "--device", "cpu", "--out", tmp_path)
    assert outcome.code == 2
    assert "no-such-compiler isn't on the PATH" in outcome.err
    assert not list(tmp_path.iterdir())
