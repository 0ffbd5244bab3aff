"""What is fitted to a run's codes at its end: kept with its weights, by class, the same after a kill; and watched."""

from __future__ import annotations

import errno
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit, saved_checkpoint, small_model
from torch import Tensor

import genkit as package
from genkit import cli, registry
from genkit.contract import ImageShape, ability
from genkit.data import DataOptions
from genkit.data.dataset import Dataset, Split
from genkit.errors import CheckpointError, GenkitError
from genkit.keep import checkpoint, description
from genkit.keep.description import MANIFEST, PRIOR, prior_in_words, verify
from genkit.latent import sampling
from genkit.nets.priors import Mixture, fitted_flow, fitted_mixture
from genkit.run import prior
from genkit.run.prior import Codes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder of real digits, of some seconds."""
    out = tmp_path_factory.mktemp("runs")
    more = ["--hidden", "128", "--latent-dim", "6", "--epochs", "3", "--lr", "3e-3", "--device", "cpu", "--out"]
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["train", "ae", "--dataset", "mnist5k", *more, str(out)])
    assert not exit_info.value.code
    return max(out.glob("[0-9]*"))


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "runs" / run.name))


def opened_of(run: Path) -> Path:
    """The checkpoint that a run opens with, which has its prior."""
    (found,) = [path.parent for path in run.glob(f"checkpoints/*/{PRIOR}")]
    return found


def without_prior(folder: Path) -> None:
    """The checkpoint as it was before its prior was fitted."""
    (folder / PRIOR).unlink()
    named = json.loads((folder / MANIFEST).read_text())
    del named[PRIOR]
    (folder / MANIFEST).write_bytes(checkpoint.to_json(named))


def arrays_of(genkit: Genkit, *arguments: object) -> dict[str, np.ndarray]:
    outcome = genkit("sample", *arguments, "--npz", "--device", "cpu", "--json")
    assert outcome.code == 0, outcome.err
    with np.load(outcome.json["files"]["npz"]) as arrays:
        return dict(arrays)


def nearest_mean(dataset: Dataset, images: np.ndarray) -> Tensor:
    """The class whose mean training image is nearest to each image (N, C, H, W), uint8."""
    labels = dataset.train.labels
    assert labels is not None
    pixels = dataset.train.images().flatten(1).float()
    means = torch.stack([pixels[labels == label].mean(0) for label in range(10)])
    return torch.cdist(torch.from_numpy(images).flatten(1).float(), means).argmin(1)


# -- what a run keeps --------------------------------------------------------------------------------------------------


def test_a_run_opens_with_a_prior_of_its_codes_whose_samples_depend_on_their_seeds_alone(
    genkit: Genkit, run: Path, tmp_path: Path
) -> None:
    some = arrays_of(genkit, run, "--seeds", "0-9", "--out", tmp_path)
    again = arrays_of(genkit, run, "--seeds", "9,3", "--out", tmp_path)
    assert np.array_equal(some["images"][[9, 3]], again["images"])
    own = arrays_of(genkit, run, "--seeds", "0-9", "--prior", "own", "--out", tmp_path)
    assert not np.allclose(own["codes"], some["codes"], atol=0.1)
    model = checkpoint.read(opened_of(run)).model
    assert np.allclose(own["codes"], model.prior(sampling.noise(range(10), 6)).numpy(), atol=1e-5)
    assert "fitted" not in " ".join(model.state_dict())


def test_each_class_has_a_row_of_its_own(genkit: Genkit, run: Path, digits: Dataset, tmp_path: Path) -> None:
    rows = arrays_of(genkit, run, "--classes", "0-9", "--seeds", "0-19", "--out", tmp_path)
    assert rows["classes"].tolist() == [label for label in range(10) for _ in range(20)]
    right = nearest_mean(digits, rows["images"]) == torch.from_numpy(rows["classes"])
    assert float(right.double().mean()) > 0.55  # of real digits it is 0.8
    sevens = arrays_of(genkit, run, "--class", "7", "--seeds", "0-19", "--out", tmp_path)
    assert np.array_equal(sevens["images"], rows["images"][140:160])
    walk = genkit(
        "sample", run, "--interpolate", "--seeds", "1,2", "--class", "7", "--out", tmp_path, "--npz", "--json"
    )
    with np.load(walk.json["files"]["npz"]) as arrays:
        assert np.allclose(arrays["codes"][[0, -1]], sevens["codes"][[1, 2]], atol=1e-5)
    loaded = package.load(run, device="cpu")
    assert np.array_equal((loaded.sample(20, condition="7") * 255).round().byte().numpy(), sevens["images"])
    assert torch.equal(loaded.draw(2, condition=[7, 3])[0], torch.from_numpy(sevens["codes"][0]))


def test_a_run_killed_before_its_prior_was_kept_comes_to_the_same(genkit: Genkit, copied: Path) -> None:
    folder = opened_of(copied)
    expected = {name: (folder / name).read_bytes() for name in (PRIOR, MANIFEST)}
    without_prior(folder)
    assert checkpoint.read(folder).model.fitted is None
    assert genkit("train", "--resume", copied).code == 0
    assert {name: (folder / name).read_bytes() for name in expected} == expected
    (folder / PRIOR).write_bytes(b"left half-written by a process that was killed")
    without = json.loads((folder / MANIFEST).read_text())
    del without[PRIOR]
    (folder / MANIFEST).write_bytes(checkpoint.to_json(without))
    assert genkit("train", "--resume", copied).code == 0
    assert {name: (folder / name).read_bytes() for name in expected} == expected


def test_the_checkpoint_is_whole_wherever_the_disk_fails(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = opened_of(copied)
    found, weights = checkpoint.read(folder).model.fitted, (folder / "model.safetensors").read_bytes()
    for failing in range(3):
        calls = iter(range(10))

        def full(path: Path, content: bytes, parents: bool, calls=calls, failing=failing, real=checkpoint.write_file):
            if next(calls) == failing:
                raise GenkitError("no room")
            real(path, content, parents)

        monkeypatch.setattr(checkpoint, "write_file", full)
        with pytest.raises(GenkitError, match="no room"):
            checkpoint.add_prior(folder, found)
        monkeypatch.undo()
        verify(folder)
        checkpoint.add_prior(folder, found)
    assert checkpoint.read(folder).model.fitted is not None
    assert (folder / "model.safetensors").read_bytes() == weights


def test_a_prior_that_is_damaged_or_of_other_codes_is_refused(genkit: Genkit, copied: Path) -> None:
    folder = opened_of(copied)
    content = bytearray((folder / PRIOR).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / PRIOR).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(folder)
    without_prior(folder)
    checkpoint.add_prior(folder, fitted_mixture(torch.randn(50, 4), 1))
    said = "the fitted prior is of codes of 4 numbers, and not of the model's"
    with pytest.raises(CheckpointError, match=said):
        checkpoint.read(folder)
    outcome = genkit("sample", folder, "--out", copied)
    assert outcome.code == 1
    assert said in outcome.err.splitlines()[-1]


def test_exported_weights_keep_it(genkit: Genkit, run: Path, tmp_path: Path) -> None:
    folder = genkit("export", run, "--out", tmp_path, "--json").json["folder"]
    ours, theirs = package.load(folder, device="cpu"), package.load(run, device="cpu")
    assert torch.equal(ours.sample(4, condition=3), theirs.sample(4, condition=3))


# -- what is refused, in a line ----------------------------------------------------------------------------------------


def test_what_has_no_such_prior_says_so(genkit: Genkit, run: Path, copied: Path, tmp_path: Path) -> None:
    without_prior(opened_of(copied))
    gan = small_model("dcgan", ImageShape(1, 8, 8), width=4, latent_dim=5)
    gan = saved_checkpoint(tmp_path / "gan", gan)
    flow = small_model("flow", ImageShape(1, 8, 8), latent_dim=64)
    flow = saved_checkpoint(tmp_path / "flow", flow, classes=tuple("0123456789"))
    for arguments, why in (
        (["sample", copied, "--class", "7"], f"no prior is fitted to its codes; genkit fit-prior {copied}"),
        (["sample", copied, "--prior", "fitted"], "--prior fitted: none is kept with"),
        (["sample", run, "--prior", "own", "--class", "7"], "leave --prior own out"),
        (["sample", run, "--class", "cat"], "--class: there is no class 'cat'; there are 0, 1"),
        (
            ["sample", run, "--reconstruct", "--class", "7"],
            "a class is of codes that are drawn, of seeds; leave it out",
        ),
        (["sample", gan, "--class", "7"], "its codes aren't known by class; leave --class out"),
        (["sample", gan, "--classes", "0-9"], "its codes aren't known by class; leave --classes out"),
        (["fit-prior", gan], "has no codes of images to fit a prior to"),
        (
            ["sample", gan, "--prior", "fitted"],
            "is a dcgan, which has no codes of images to fit a prior to; leave it out",
        ),
        (["sample", flow, "--class", "7"], "its codes aren't known by class; leave --class out"),
        (["fit-prior", flow], "is a flow, which has codes that are N(0, I) already"),
        (
            ["train", "dcgan", "--dataset", "mnist5k", "--prior", "gmm", "--dry-run"],
            "--prior gmm: dcgan has no codes of images to fit a prior to; leave it out",
        ),
        (
            ["train", "flow", "--dataset", "mnist5k", "--prior", "flow", "--dry-run"],
            "--prior flow: flow has codes that are N(0, I) already; leave it out",
        ),
        (["sample", run, "--manifold", "--class", "7"], "a class is of codes that are drawn, of seeds; leave it out"),
        (
            ["sample", run, "--arithmetic", "label:7 - label:1", "--class", "7"],
            "a class is of codes that are drawn, of seeds; leave it out",
        ),
        (
            ["sample", run, "--classes", "0-9", "--class", "7"],
            "--classes has a row for each class; leave --class out",
        ),
        (
            ["sample", run, "--classes", "0-9", "--columns", 3],
            "--classes has a row for each class; leave --columns out",
        ),
    ):
        outcome = genkit(*arguments)
        assert outcome.code == 2, arguments
        *_, said = outcome.err.splitlines()  # behind which run it is of
        assert said.startswith("genkit: ")
        assert why in said


def test_a_class_of_which_no_training_image_was_is_refused(genkit: Genkit, tmp_path: Path) -> None:
    folder = saved_checkpoint(tmp_path / "of-one", small_model("ae", ImageShape(1, 8, 8), hidden=(8,), latent_dim=2))
    checkpoint.add_prior(folder, fitted_mixture(torch.randn(50, 2), 1, torch.zeros(50).long(), 10))
    for arguments in (["--class", "class 3"], ["--classes", "class 0,class 3"]):
        outcome = genkit("sample", folder, *arguments, "--out", tmp_path / "pictures")
        assert outcome.code == 2
        *_, said = outcome.err.splitlines()
        assert said == "genkit: no training image was of the class class 3, so that none of its codes can be drawn"
    assert genkit("sample", folder, "--class", "class 0", "--out", tmp_path / "pictures").code == 0


def test_codes_that_are_no_numbers_have_no_prior(genkit: Genkit, tmp_path: Path) -> None:
    model = small_model("vae", ImageShape(1, 28, 28), hidden=(8,), latent_dim=2)
    with torch.no_grad():
        next(model.encoder.parameters()).fill_(math.nan)
    folder = saved_checkpoint(tmp_path / "diverged", model, data=DataOptions(dataset="mnist5k"))
    outcome = genkit("fit-prior", folder, "--device", "cpu")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-2:] == [
        "warning: prior    none is fitted to the codes: some aren't finite numbers",
        "genkit: diverged: no prior can be fitted to its codes; its samples stay as they are",
    ]
    assert not (folder / PRIOR).exists()


def test_a_checkpoint_says_which_it_has(genkit: Genkit, run: Path, copied: Path) -> None:
    folder = opened_of(copied)
    words = checkpoint.read(folder).model.fitted.in_words()
    assert f"prior       fitted to its codes: {words}\n" in genkit("info", copied).out
    assert f"New codes are drawn by {words}." in (run / "README.md").read_text()
    for each in (fitted_mixture(torch.randn(50, 6), 1), fitted_flow(*[torch.randn(50, 6)] * 2, steps=1)):
        checkpoint.add_prior(folder, each)
        assert prior_in_words(folder) == each.in_words()
    without_prior(folder)
    assert genkit("info", copied, "--json").json["prior"] == "the model's own"


def test_a_checkpoint_is_read_while_another_prior_takes_its_place(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = opened_of(copied)
    other, read = fitted_mixture(torch.randn(50, 6), 1), description.read_plain

    def replaced(path: Path, most: int) -> bytes:
        content = read(path, most)
        monkeypatch.setattr(description, "read_plain", read)
        checkpoint.add_prior(folder, other)
        return content

    monkeypatch.setattr(description, "read_plain", replaced)
    assert len(checkpoint.read(folder).model.fitted.weights) == 1


def test_a_prior_that_the_disk_does_not_take_is_fitted_when_the_run_goes_on(
    copied: Path, genkit: Genkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_prior(opened_of(copied))

    def full(folder: Path, found: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise GenkitError("can't be written; make room, or name another place") from error

    monkeypatch.setattr(checkpoint, "add_prior", full)
    outcome = genkit("train", "--resume", copied)
    assert outcome.code == 1
    assert f"make room, then go on with genkit train --resume {copied}" in outcome.err


def test_an_earlier_run_gets_one_and_another_takes_its_place(genkit: Genkit, copied: Path) -> None:
    folder = opened_of(copied)
    without_prior(folder)
    weights = (folder / "model.safetensors").read_bytes()
    assert genkit("fit-prior", copied, "--json").json["classes"] == 10
    assert len(checkpoint.read(folder).model.fitted.weights) > 10
    assert genkit("fit-prior", copied, "--prior", "gaussian").code == 0
    assert len(checkpoint.read(folder).model.fitted.weights) == 10
    assert (folder / "model.safetensors").read_bytes() == weights
    assert genkit("info", copied, "--json").json["damaged"] == []


# -- how it is fitted --------------------------------------------------------------------------------------------------


def images_of(count: int, labels: Tensor | None) -> Split:
    torch.manual_seed(count)
    pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
    return Split(pixels, torch.arange(count), labels)


def fitted_to(
    count: int, kind: prior.Kind, labelled: Callable[[int], Tensor | None] = lambda _: None, **options: object
) -> Mixture:
    classes = ("a", "b") if labelled(1) is not None else ()
    train, val = (images_of(each, labelled(each)) for each in (count, max(2, count // 10)))
    dataset = Dataset("noise", train, val, val, classes, ())
    torch.manual_seed(0)
    model = small_model("vae", ImageShape(1, 8, 8), **{"latent_dim": 3, "hidden": (8,), "classes": 2, **options})
    found = prior.fitted(model.eval(), dataset, CPU, 0, kind)
    assert isinstance(found, Mixture)
    return found


def halves(count: int) -> Tensor:
    return torch.arange(count) % 2


def test_sixty_images_have_three_gaussians_at_most() -> None:
    assert len(fitted_to(60, "gmm").weights) <= 3
    assert len(fitted_to(2, "gmm").weights) == 1
    assert len(fitted_to(60, "gaussian", halves).weights) == 2


def test_classes_of_few_images_are_not_told_apart() -> None:
    assert fitted_to(20, "gmm", halves).classes == 2
    assert fitted_to(19, "gmm", halves).classes == 0


def test_a_model_that_is_told_the_class_draws_codes_of_that_class() -> None:
    torch.manual_seed(0)
    model = small_model("vae", ImageShape(1, 8, 8), latent_dim=2, hidden=(8,), condition="label", classes=2).eval()
    apart = torch.tensor([[-50.0, 0.0], [50.0, 0.0]])
    model.draw_by(Mixture(torch.ones(2), apart, torch.eye(2).repeat(2, 1, 1), torch.tensor([0, 1]), 2))
    codes = sampling.seed_codes(model, range(8))
    assert (codes[:, 0] > 0).tolist() == [seed % 2 == 1 for seed in range(8)]


def test_of_other_conditions_no_class_is_known() -> None:
    model = small_model("vae", ImageShape(1, 8, 8), latent_dim=2, hidden=(8,), condition="attributes")
    labels = halves(100)
    dataset = Dataset("noise", images_of(100, labels), images_of(10, labels[:10]), images_of(4, None), ("a", "b"), ())
    assert prior.known_classes(model, dataset) == 0
    assert prior.known_classes(small_model("ae", ImageShape(1, 8, 8)), dataset) == 2


def test_held_out_codes_choose_as_many_gaussians_as_there_are() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[-8.0, 0.0], [0.0, 8.0], [8.0, 0.0]])
    codes = centres[torch.arange(1200) % 3] + torch.randn(1200, 2)
    found = prior.fit_kind("gmm", Codes(codes[:900], None), Codes(codes[900:], None), 0, 0)
    assert len(found.weights) == 3  # type: ignore[arg-type]


def of_six_clusters(lone: int) -> tuple[Codes, Codes]:
    """Training codes of two classes of three clusters each, and one at this place of a third class; few held-out ones,
    of which one is of a class that no training code has."""
    torch.manual_seed(0)
    cluster = torch.arange(940) % 6
    triangle = torch.tensor([[-8.0, 0.0], [0.0, 8.0], [8.0, 0.0]])
    codes = torch.cat([triangle, triangle * torch.tensor([1.0, -1.0])])[cluster] + torch.randn(940, 2)
    labels = (cluster > 2).long()
    labels[lone], labels[-1] = 2, 3
    return Codes(codes[:900], labels[:900]), Codes(codes[900:], labels[900:])


@pytest.mark.parametrize("lone", [4, 5])
def test_a_class_of_which_only_held_out_codes_are_hides_no_others(lone: int) -> None:
    train, held = of_six_clusters(lone)
    found = prior.fit_kind("gmm", train, held, 4, 0)
    assert torch.bincount(found.owners, minlength=4).tolist() == [3, 3, 1, 0]  # type: ignore[union-attr, arg-type]
    many = Codes(held.codes.repeat(3, 1), held.labels.repeat(3))  # type: ignore[union-attr]
    found = prior.fit_kind("gmm", train, many, 4, 0)
    assert torch.bincount(found.owners, minlength=4).tolist() == [3, 3, 1, 0]  # type: ignore[union-attr, arg-type]


def test_a_flow_is_fitted_to_a_code_of_each_class_and_held_against_codes_of_these(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, Tensor] = {}

    def fitted(codes: Tensor, held: Tensor, labels: Tensor, held_labels: Tensor, *more: object) -> None:
        seen.update(codes=codes, held=held, labels=labels, held_labels=held_labels)

    monkeypatch.setattr(prior, "fitted_flow", fitted)
    prior.fit_kind("flow", *of_six_clusters(4), 4, 0)
    assert torch.bincount(seen["labels"]).tolist() == [360, 360, 1]
    assert torch.bincount(seen["held_labels"]).tolist() == [90 + 21, 89 + 18]
    assert [len(seen["codes"]), len(seen["held"])] == [721, 218]


def test_no_fit_takes_more_codes_than_it_can_afford(monkeypatch: pytest.MonkeyPatch) -> None:
    train, held = of_six_clusters(7)
    sizes: list[int] = []
    real = prior.fitted_mixture

    def fitted(codes: Tensor, components: int, labels: Tensor, *more: int) -> Mixture:
        sizes.append(components * len(codes))
        assert len(labels.unique()) == 3
        return real(codes, components, labels, *more)

    monkeypatch.setattr(prior, "fitted_mixture", fitted)
    monkeypatch.setattr(prior, "PRODUCTS", 4 * 1800)  # of codes of two numbers: three Gaussians are fitted to 600
    prior.fit_kind("gmm", train, held, 4, 0)
    assert max(sizes) <= 3 * 601


def test_a_prior_that_repeats_its_training_images_is_seen() -> None:
    torch.manual_seed(1)
    train, held = Codes(torch.randn(300, 5), None), Codes(torch.randn(100, 5), None)
    good = prior.fit_kind("gmm", train, held, 0, 0)
    copies = Mixture(torch.ones(300), train.codes, 0.05 * torch.eye(5).repeat(300, 1, 1), torch.zeros(300).long())
    assert prior.nearness(good, train, held, 0) == pytest.approx(1, abs=0.15)
    assert prior.nearness(copies, train, held, 0) < prior.TOO_NEAR / 2  # type: ignore[operator]


def test_it_is_said_that_a_prior_repeats_its_training_images(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted_to(300, "gaussian")
    assert not caplog.records
    monkeypatch.setattr(prior, "TOO_NEAR", 3)
    fitted_to(300, "gaussian")
    (said,) = caplog.messages
    assert re.fullmatch(
        r"the fitted prior repeats its training images: what it draws lies at [012]\.\d\d of the distance from them "
        "that held-out images have; more images help, or --prior gaussian",
        said,
    )


@pytest.mark.parametrize(
    ("codes", "why"),
    [
        ([], "there is none"),
        ([1.0], "there is only one"),
        ([1.0, math.inf], "some aren't finite numbers"),
        ([3e38, -3e38], "they are too large"),
        ([1.2e38] * 3, "they are too large"),
        ([1.0, 1.0], None),
        ([1e38, -1e38], None),
    ],
)
@pytest.mark.parametrize("kind", ["gaussian", "gmm"])
def test_what_nothing_can_be_fitted_to(codes: list[float], why: str | None, kind: prior.Kind) -> None:
    train = Codes(torch.tensor(codes)[:, None].expand(-1, 3), None)
    held = Codes(torch.zeros(1, 3), None)
    assert prior.unfit(train, held) == why
    if why is None:
        tensors = prior.fit_kind(kind, train, held, 0, 0).tensors()
        assert all(each.isfinite().all() for each in tensors.values())
        assert prior.unfit(train, Codes(torch.full((1, 3), math.nan), None)) == "some aren't finite numbers"


def test_which_models_take_one() -> None:
    takes = {
        name: ability.takes_prior(registry.find(name))
        for name in ("ae", "conv-ae", "vae", "dcgan", "flow", "classifier")
    }
    assert takes == {
        "ae": True, "conv-ae": True, "vae": True, "dcgan": False, "flow": False, "classifier": False,
    }  # fmt: skip
