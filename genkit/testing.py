"""The contract, as tests that a model's author runs in a repository of their own:

    import genkit.testing

    TestContract = genkit.testing.contract("my-model", latent_dim=8)

pytest collects the class as any other, with an id a test: `test_my_model.py::TestContract::test_validation`. The
options make the model small; what they leave out has its default. For images of other shapes than `Contract.shapes`, or
tests of one's own beside these, inherit from `Contract`. Nothing is needed but pytest; the images are noise, of a
second set, too, for a model that needs one.

A model may refuse what it can't be trained on, with a `genkit.errors.UsageError` or `DataError`: a test of such images
is skipped with that line. What a model can't do, by `contract.ability`, is not asked of it.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from genkit import registry
from genkit.contract import Batch, Facts, ImageShape, Model, Phase, ability, weightless
from genkit.contract.condition import given
from genkit.data import DataOptions
from genkit.data.batches import in_order
from genkit.data.dataset import Dataset, Split
from genkit.errors import DataError, UsageError
from genkit.keep import checkpoint
from genkit.keep.config import Config, RunOptions
from genkit.keep.rundir import RunDirectory
from genkit.latent import sampling
from genkit.options import is_flag
from genkit.run import trainer
from genkit.run.validation import CODE_METRICS, SAMPLE_METRICS, validate
from genkit.step import passes
from genkit.step.training import TrainingState, train

CPU = torch.device("cpu")
#: Classes and attributes of the images.
CLASSES = tuple(f"class {k}" for k in range(10))
ATTRIBUTES = ("round", "tall", "dark")
#: What is known of images besides their pixels, in each of the ways in which a data set may come.
KNOWN = {
    "labels": (True, False),
    "attributes": (False, True),
    "labels and attributes": (True, True),
    "nothing": (False, False),
}
#: Images of the run that is stopped and resumed, its epochs, and images a step: a dozen steps.
RUN_IMAGES, RUN_EPOCHS, RUN_BATCH = 50, 3, 10
#: Images of a second set, for a model that needs one, and their shape, which is another than the first one's.
BESIDE_IMAGES, BESIDE = 37, ImageShape(3, 16, 12)


#: Steps of a run of which a test takes the first, enough for each phase to have some.
STEPS = 100


class Clip(NamedTuple):
    """The shape of an image with an axis more, which no model takes that doesn't say so."""

    frames: int
    channels: int
    height: int
    width: int


def contract(model: str, **options: Any) -> type[Contract]:
    """The tests of a model, as a class for pytest.

    Args:
        model: its name, or the path of its file.
        options: those of its `Options` that make it small.
    """
    return type("TestContract", (Contract,), {"model": model, "options": options, "__doc__": Contract.__doc__})


class Contract:
    """A model held to the contract.

    Attributes:
        model: its name, or the path of its file.
        options: those of its `Options` that make it small.
        shapes: of the images that it is built for.
        image: the shape where one is enough.
    """

    model: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    shapes: ClassVar[tuple[ImageShape, ...]] = (
        *(ImageShape(channels, side, side) for side in (28, 32, 45) for channels in (1, 3)),
        ImageShape(1, 20, 33),
        ImageShape(3, 8, 8),
    )
    image: ClassVar[ImageShape] = ImageShape(1, 28, 28)

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """The cases of each test, as pytest asks a class for them."""
        if "shape" in metafunc.fixturenames:
            metafunc.parametrize("shape", self.shapes, ids=str)
        if "ema" in metafunc.fixturenames:
            metafunc.parametrize("ema", (0.0, 0.9))
        if "known" in metafunc.fixturenames:
            metafunc.parametrize("known", KNOWN)

    # -- what it is made of --------------------------------------------------------------------------------------------

    def test_it_is_found_by_its_name(self) -> None:
        name, kind = self.found()
        assert registry.name_of(kind) == name
        assert registry.names()[name], "the first line of its docstring is its help, and there is none"

    def test_every_option_has_help_and_a_default(self) -> None:
        name, kind = self.found()
        for option, field in kind.Options.model_fields.items():
            assert field.description, f"--{option} of {name} has no help"
            assert not field.is_required(), f"--{option} of {name} has no default"

    def test_shapes_and_ranges(self, shape: ImageShape) -> None:
        model = self.build(shape).eval()
        batch = self.batch(shape, 5)
        images, told = batch.images, passes.told(model, batch)
        for what in ("features", "representation"):
            rows = self.allowed(partial(getattr(model, what), images, *told))
            assert rows.ndim == 2, f"{what} of 5 images are (5, F), not {tuple(rows.shape)}"
            assert len(rows) == 5, f"{what} of 5 images are (5, F), not {tuple(rows.shape)}"
        if ability.classifies(model):
            likely = model.probabilities(images)
            assert likely.shape == model(images).shape, "probabilities and logits are of as many classes"
            assert likely.min() >= 0, "probabilities lie in [0, 1]"
            assert likely.max() <= 1, "probabilities lie in [0, 1]"
        if not ability.generates(model):
            return
        dim = model.options.latent_dim
        z = model.prior(torch.randn(5, dim) * 3, *told)
        pictures = model.decode(z, *told)
        assert z.shape == (5, dim), f"prior gives codes (B, {dim}), not {tuple(z.shape)}"
        assert pictures.shape == (5, *shape), f"decode gives images of {shape}, not {tuple(pictures.shape)}"
        assert pictures.min() >= 0, "pixels lie in [0, 1]"
        assert pictures.max() <= 1, "pixels lie in [0, 1]"
        if ability.encodes(model):
            codes = model.encode(images, *told)
            assert codes.shape == (5, dim), f"encode gives codes (B, {dim}), not {tuple(codes.shape)}"

    def test_images_with_an_axis_more_are_refused(self) -> None:
        """In a line, before anything is built for them; a model that takes them says so by `axes`."""
        _, kind = self.found()
        if kind.axes == Clip._fields:
            skip("takes them")
        options = self.build(self.image).options
        try:
            kind(Clip(4, *self.image), options)  # type: ignore[arg-type]
        except UsageError:
            return
        raise AssertionError("it was built for clips, whose time it drops")

    def test_its_shapes_are_known_without_memory(self) -> None:
        """What a checkpoint's weights are held against before anything is allocated for them."""
        model = self.build(self.image)
        shapes = weightless.shapes_of(type(model), model.image, model.options)
        assert shapes == {key: value.shape for key, value in model.state_dict().items()}

    def test_what_features_do_not_need_can_be_dropped(self) -> None:
        """All that is left gets a gradient where anything was dropped, and the features are the same."""
        model = self.build(self.image).eval()
        batch = self.batch(self.image, 3)
        images, told = batch.images, passes.told(model, batch)
        before, weights = self.allowed(lambda: model.features(images, *told)), len(list(model.parameters()))
        model.keep_features()
        after = model.features(images, *told)
        assert torch.equal(before, after), "its features are others after keep_features"
        if len(list(model.parameters())) < weights:
            after.square().sum().backward()
            left = [name for name, each in model.named_parameters() if each.grad is None]
            assert not left, f"keep_features leaves what features don't need: {', '.join(left)}"

    # -- how it is trained ---------------------------------------------------------------------------------------------

    def test_no_gradient_reaches_a_frozen_module(self) -> None:
        model = self.build(self.image)
        phases = list(model.phases())
        assert len({phase.name for phase in phases}) == len(phases), "two phases have one name"
        batch = self.batch(self.image)
        for phase in phases:
            model.zero_grad()
            model.requires_grad_(False)
            phase.module.requires_grad_(True)
            losses = phase.losses(batch)
            assert losses["loss"].ndim == 0, f"the loss of the phase '{phase.name}' is no scalar"
            losses["loss"].backward()
            batch = batch.after(losses)
            own = {id(parameter) for parameter in phase.module.parameters()}
            reached = {name: id(each) for name, each in model.named_parameters() if each.grad is not None}
            others = [name for name, each in reached.items() if each not in own]
            assert reached, f"no gradient of the phase '{phase.name}' reaches anything"
            assert not others, (
                f"a gradient of the phase '{phase.name}' reaches {', '.join(others)}, which isn't its own"
            )
            assert not any(value.requires_grad for value in batch.earlier.values())

    def test_a_step_moves_what_its_phase_says_and_nothing_else(self, shape: ImageShape) -> None:
        model = self.build(shape)
        phases = list(model.phases())
        for turn, phase in enumerate(phases):
            batch = self.batch(shape)
            model.requires_grad_(True)
            for earlier in phases[:turn]:
                batch = batch.after(earlier.losses(batch))
            before = {key: value.detach().clone() for key, value in model.named_parameters()}
            self.step(model, phase, batch)
            own = {id(parameter) for parameter in phase.module.parameters()}
            moved = {key: each for key, each in model.named_parameters() if not torch.equal(before[key], each)}
            others = [key for key, each in moved.items() if id(each) not in own]
            assert not others, f"the phase '{phase.name}' moved {', '.join(others)}, which isn't its own"
            assert moved, f"the phase '{phase.name}' moved nothing"

    def test_images_with(self, known: str) -> None:
        """It is trained and validated on images of which this is known, or refuses them before it is built."""
        model = self.build(self.image, known)
        batch = self.batch(self.image, known=known)
        for metrics in (
            {name: float(value) for name, value in next(train(TrainingState(model, STEPS, STEPS), [batch])).items()},
            self.validated(model, known),
        ):
            assert all(np.isfinite(value) for value in metrics.values()), metrics

    def test_validation(self) -> None:
        """Is finite, repeats itself, measures what the model is monitored by, and changes nothing of training."""
        model = self.build(self.image)
        weights = {name: each.clone() for name, each in model.state_dict().items()}
        random = torch.get_rng_state()
        metrics = self.validated(model)
        assert torch.equal(torch.get_rng_state(), random), "it draws from training's random generator"
        assert metrics == self.validated(model), "it draws noise from elsewhere than torch's, NumPy's or Python's"
        assert all(np.isfinite(value) for value in metrics.values()), metrics
        others = ", ".join([*SAMPLE_METRICS, *CODE_METRICS])
        assert model.monitor in metrics, f"monitor is {model.monitor}, and no phase logs it (nor is it of {others})"
        changed = [name for name, each in model.state_dict().items() if not torch.equal(each, weights[name])]
        assert not changed, f"a validation changes {', '.join(changed)}"
        assert all(each.grad is None for each in model.parameters()), "a validation leaves gradients"

    def test_what_it_suggests_for_few_images_and_many_is_what_its_options_take(self) -> None:
        _, kind = self.found()
        asked = kind.Options(**self.options)
        for count, extremes in itertools.product((1, 48, 320, 9_000, 54_000, 1_000_000), (0.05, 0.9)):
            facts = Facts(count, self.image, len(CLASSES), len(ATTRIBUTES), extremes)
            found = kind.defaults_for(asked, facts)
            assert found == kind.defaults_for(asked, facts), "it suggests something else each time that it is asked"
            unknown = found.keys() - {name for name, field in kind.Options.model_fields.items() if is_flag(field)}
            assert not unknown, f"it suggests {', '.join(sorted(unknown))}, which nobody can set"
            assert all(each.reason for each in found.values()), "it gives no reason"
            set_ = {name: each.value for name, each in found.items() if name not in asked.model_fields_set}
            kind.Options.model_validate({**self.options, **set_})

    def test_a_run_stopped_after_every_step_comes_to_the_same_bits(self, tmp_path: Path, monkeypatch: Any) -> None:
        """By its own checkpoints, through the bounds of its phases, as `genkit train --resume` goes on."""
        monkeypatch.setenv("GENKIT_DATA", str(tmp_path / "data"))
        name, kind = self.found()
        images = tmp_path / "images.npz"
        every = random_split(self.image, RUN_IMAGES)
        labels, attributes = np.array(CLASSES)[np.arange(RUN_IMAGES) % 10], every.attributes
        assert attributes is not None
        np.savez(
            images,
            images=every.images().numpy(),
            labels=labels,
            attributes=attributes.numpy(),
            attribute_names=np.array(ATTRIBUTES),
        )
        short = {**self.options, "epochs": RUN_EPOCHS, "batch_size": RUN_BATCH}
        data = DataOptions(dataset=str(images))
        if ability.has(kind, ability.SECOND_SET):
            others = random_split(BESIDE, BESIDE_IMAGES)
            np.savez(tmp_path / "beside.npz", images=others.images().numpy(), labels=labels[:BESIDE_IMAGES])
            data = DataOptions(dataset=str(images), beside=str(tmp_path / "beside.npz"))

        def settings(out: str) -> Config:
            run = RunOptions(out=str(tmp_path / out), device="cpu", log_every=3)
            made = Config(name, kind.Options(**short), data, run, {})
            return made._replace(sources=dict.fromkeys(made.values(), "default"))

        whole = self.allowed(lambda: trainer.start(settings("whole")))
        stopping = Stopping(kind.phases)
        monkeypatch.setattr(kind, "phases", stopping.phases)
        stopping.armed = True
        result, stops = trainer.start(settings("pieces")), 0
        while result.stopped is not None:
            stops, stopping.armed = stops + 1, True
            result = trainer.resume(RunDirectory(result.run), {})
        assert stops >= RUN_EPOCHS, "it was hardly ever stopped, and nothing is shown"
        ours, theirs = contents_of(result.run), contents_of(whole.run)
        other = sorted(file for file in ours.keys() | theirs.keys() if ours.get(file) != theirs.get(file))
        assert not other, f"stopped and resumed, it comes to another {', '.join(other)}: some state is no buffer"

    # -- what is kept and drawn ----------------------------------------------------------------------------------------

    def test_a_checkpoint_opens_alone_and_gives_the_same_images(self, ema: float, tmp_path: Path) -> None:
        model = self.build(self.image, ema=ema)
        state = TrainingState(model, STEPS, STEPS)
        list(train(state, [self.batch(self.image) for _ in range(3)]))
        best = state.best_model.eval()
        if ability.generates(best):
            with torch.no_grad():
                images = self.images(self.image)
                best.fit_prior(in_order(images.train, 4, CPU, images.beside_split("train")))
        path = tmp_path / "000003"
        checkpoint.write(path, checkpoint.snapshot(state, model=registry.name_of(type(model))))
        opened = checkpoint.read(path)
        assert opened.description.step == 3
        assert opened.model.options == model.options
        found, expected = opened.model.state_dict(), best.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)
        if ema:
            averaged = [not torch.equal(found[key], value) for key, value in model.state_dict().items()]
            assert any(averaged), "its moving average is what it is now"
        if ability.generates(best):
            own = best.condition_of(random_batch(self.image, 5))
            codes = sampling.seed_codes(best, range(5), own)
            assert ability.generates(opened.model)
            assert opened.model.condition == best.condition
            same = torch.equal(sampling.seed_codes(opened.model, range(5), own), codes)
            same &= torch.equal(sampling.decode(opened.model, codes, own), sampling.decode(best, codes, own))
            assert same, "opened again, it makes other images: something of it is neither parameter nor buffer"

    def test_an_image_depends_on_its_seed_alone(self) -> None:
        model = self.generator()
        everything = model.condition_of(random_batch(self.image, 100))

        def pixels(seeds: list[int]) -> Tensor:
            told = None if everything is None else everything[seeds]
            return sampling.decode(model, sampling.seed_codes(model, seeds, told), told)

        many = pixels(list(range(100)))
        assert torch.equal(pixels([7])[0], many[7]), "an image depends on those that are made with it"
        assert torch.equal(pixels([99, 7, 3])[1], many[7]), "an image depends on those that are made with it"
        assert torch.equal(pixels(list(range(40, 73)))[10], many[50]), "an image depends on its place"
        assert not torch.equal(many[7], many[8]), "all seeds give one image"

    def test_the_prior_is_symmetric(self) -> None:
        """About prior(0), so that the sampler's centre and spread can be measured from ± pairs."""
        model = self.generator()
        told = model.condition_of(random_batch(self.image, 1))
        mean, spread = sampling.prior_moments(model, told)
        centre = model.prior(torch.zeros(1, model.options.latent_dim), *given(told))[0]
        torch.testing.assert_close(mean, centre, atol=1e-4, rtol=0)
        assert (spread > 0).all(), "a latent number is the same for every seed"

    # -- what they share -----------------------------------------------------------------------------------------------

    def found(self) -> tuple[str, type[Model]]:
        """The model's name and its class."""
        name = registry.add(self.model) if registry.is_path(self.model) else self.model
        return name, registry.find(name)

    def allowed(self, action: Callable[[], Any]) -> Any:
        """What it returns; a model's refusal skips the test."""
        try:
            return action()
        except (UsageError, DataError) as error:
            return skip(str(error))

    def build(self, image: ImageShape, known: str = "labels and attributes", **options: Any) -> Model:
        """The model with its small options, and what the images would fill in of them."""
        _, kind = self.found()
        torch.manual_seed(0)
        given = kind.Options(**{**self.options, **options})
        dataset = self.images(image, known)
        return self.allowed(lambda: kind(image, kind.options_for(given, dataset)))

    def batch(self, image: ImageShape, count: int = 8, known: str = "labels and attributes") -> Batch:
        """A batch as the model is trained on, with images of a second set where it needs one."""
        return random_batch(image, count, known, beside=ability.has(self.found()[1], ability.SECOND_SET))

    def images(self, image: ImageShape, known: str = "labels and attributes") -> Dataset:
        """A data set as the model is trained on, with a second one where it needs one."""
        return random_images(image, known, beside=ability.has(self.found()[1], ability.SECOND_SET))

    def validated(self, model: Model, known: str = "labels and attributes") -> dict[str, float]:
        images = self.images(self.image, known)
        return validate(model, images.val, CPU, beside=images.beside_split("val"), train=images.train)

    def generator(self) -> Any:
        model = self.build(self.image).eval()
        if not ability.generates(model):
            skip("makes no images")
        return model

    def step(self, model: Model, phase: Phase, batch: Batch) -> None:
        """One step of this phase alone, whenever its time is."""
        list(train(TrainingState(model, STEPS, STEPS, [phase._replace(begins=0.0, ends=1.0)]), [batch]))


class Stopping:
    """A model's phases, of which one sends the process a signal, once, when it is next trained."""

    def __init__(self, phases: Callable[[Model], Any]):
        self.original, self.armed = phases, False

    @property
    def phases(self) -> Callable[[Model], list[Phase]]:
        def phases(model: Model) -> list[Phase]:
            return [phase._replace(losses=self.watched(model, phase)) for phase in self.original(model)]

        return phases

    def watched(self, model: Model, phase: Phase) -> Callable[[Batch], dict[str, Tensor]]:
        def losses(batch: Batch) -> dict[str, Tensor]:
            if self.armed and model.training:
                self.armed = False
                signal.raise_signal(signal.SIGTERM)  # the step is finished, and a checkpoint written
            return phase.losses(batch)

        return losses


def skip(reason: str) -> Any:
    import pytest

    pytest.skip(reason)


def random_batch(
    image: ImageShape, count: int = 8, known: str = "labels and attributes", beside: bool = False
) -> Batch:
    """Random images, labelled 0 to 9 in turn, at half an epoch; with as many of a second set where it is wanted."""
    labels, attributes = KNOWN[known]

    def flags() -> Tensor | None:
        return torch.rand(count, len(ATTRIBUTES)) > 0.5 if attributes else None

    numbers = torch.arange(count) % 10 if labels else None
    batch = Batch(torch.rand(count, *image), numbers, torch.tensor(0.5), flags())
    if not beside:
        return batch
    return batch._replace(beside=torch.rand(count, *image), beside_labels=numbers, beside_attributes=flags())


def random_split(image: ImageShape, count: int, known: str = "labels and attributes") -> Split:
    labels, attributes = KNOWN[known]
    noise = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, *image), dtype=torch.uint8, generator=noise)
    flags = torch.rand(count, len(ATTRIBUTES), generator=noise) > 0.5
    rows = torch.arange(count)
    return Split(pixels, rows, rows % 10 if labels else None, flags if attributes else None)


def random_images(image: ImageShape, known: str = "labels and attributes", beside: bool = False) -> Dataset:
    """A data set of noise; with another one, of another shape, where a second one is wanted."""
    labels, attributes = KNOWN[known]

    def noise(name: str, image: ImageShape, *counts: int) -> Dataset:
        train, val, test = (random_split(image, count, known) for count in counts)
        return Dataset(name, train, val, test, CLASSES if labels else (), ATTRIBUTES if attributes else ())

    found = noise("noise", image, 24, 12, 13)
    return replace(found, beside=noise("more noise", BESIDE, 17, 5, 6)) if beside else found


def contents_of(run: Path) -> dict[str, bytes]:
    """What two runs must have in common to be the same, bit for bit, by the names of the files."""
    directory = RunDirectory(run)
    files = [*directory.checkpoints[-1].glob("*.safetensors"), *run.glob("*.png"), run / "metrics.jsonl"]
    best = directory.choose()[0] / "model.safetensors"
    return {**{path.name: path.read_bytes() for path in files}, "best checkpoint": best.read_bytes()}
