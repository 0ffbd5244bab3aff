"""A decoder that is told what to make: the conditional VAE of real digits and drawn faces, and two models of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Genkit, run_of, small_model
from PIL import Image
from torch import Tensor

import genkit as package
from genkit import cli, registry
from genkit.contract import Condition, ImageShape, Model, ability
from genkit.data.dataset import Dataset
from genkit.errors import DataError, UsageError
from genkit.latent import sampling
from genkit.latent.condition import Conditions, of_sum
from genkit.testing import contract

OUTSIDE = Path(__file__).parent / "outside"

TestConditionalVAE = contract("vae", condition="label", hidden=(32,), latent_dim=5)
TestVAEOfAttributes = contract("vae", condition="attributes", net="conv", width=4, latent_dim=5)
TestSteered = contract(str(OUTSIDE / "steered.py"))
TestColoured = contract(str(OUTSIDE / "coloured.py"))


def trained(out: Path, *arguments: object) -> Path:
    with pytest.raises(SystemExit) as exit_info:
        cli.main([str(each) for each in ("train", *arguments, "--device", "cpu", "--out", out)])
    assert not exit_info.value.code
    return max(out.glob("[0-9]*"))


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional VAE of real digits, of some seconds."""
    more = ["--condition", "label", "--hidden", "200", "--latent-dim", 2, "--epochs", 12, "--batch-size", 64]
    return trained(tmp_path_factory.mktemp("told"), "vae", "--dataset", "mnist5k", *more)


@pytest.fixture(scope="module")
def faces_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    more = ["--condition", "attributes", "--hidden", "32", "--latent-dim", 3, "--epochs", 1]
    return trained(tmp_path_factory.mktemp("told"), "vae", "--dataset", "faces", *more)


@pytest.fixture(scope="module")
def outside_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    out = tmp_path_factory.mktemp("outside")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(registry.VARIABLE, str(OUTSIDE))
        yield {
            name: trained(out, name, "--dataset", "mnist5k", "--epochs", 1, "--batch-size", 500)
            for name in ("steered", "coloured")
        }


def arrays_of(outcome: Any) -> dict[str, np.ndarray]:
    assert outcome.code == 0, outcome.err
    with np.load(outcome.json["files"]["npz"]) as arrays:
        return dict(arrays)


def nearest_mean(dataset: Dataset, images: Tensor) -> Tensor:
    """The class whose mean training image is nearest to each image."""
    pixels, labels = dataset.train.images().flatten(1).float() / 255, dataset.train.labels
    assert labels is not None
    means = torch.stack([pixels[labels == label].mean(0) for label in range(10)])
    return torch.cdist(images.flatten(1), means).argmin(1)


# -- what a model says of itself ---------------------------------------------------------------------------------------


def test_whether_a_model_takes_a_condition_is_an_ability() -> None:
    image = ImageShape(1, 8, 8)
    plain = small_model("vae", image, hidden=(8,))
    told = small_model("vae", image, hidden=(8,), condition="label")
    assert ability.has(registry.find("vae"), ability.CONDITION)
    assert not ability.has(registry.find("ae"), ability.CONDITION)
    assert not ability.has(plain, ability.CONDITION)
    assert ability.has(told, ability.CONDITION)
    assert plain.condition is None
    assert told.condition == registry.find("vae").condition_for(told.options) == Condition("class", 10)


def test_without_a_condition_nothing_of_the_vae_is_other_than_before() -> None:
    """Its weights have the same names and shapes, and each net is called with what it was called with."""
    for net in ("mlp", "conv"):
        torch.manual_seed(0)
        plain = small_model("vae", ImageShape(1, 12, 12), net=net, hidden=(8,), width=4, latent_dim=3)
        torch.manual_seed(0)
        told = small_model("vae", ImageShape(1, 12, 12), net=net, hidden=(8,), width=4, latent_dim=3, condition="label")
        assert plain.state_dict().keys() == told.state_dict().keys()
        images, z = torch.rand(2, 1, 12, 12), torch.randn(2, 3)
        assert plain.told(images, None) is images
        assert plain.told(z, None) is z
        with pytest.raises(TypeError, match=r"takes a condition \(class\)"):
            told.decode(z)


@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_the_condition_reaches_encoder_and_decoder(net: str) -> None:
    model = small_model("vae", ImageShape(3, 12, 10), net=net, hidden=(8,), width=4, latent_dim=3, condition="label")
    model.eval()
    images, z = torch.rand(4, 3, 12, 10), torch.randn(4, 3)
    one, other = torch.tensor([1, 1, 1, 1]), torch.tensor([1, 2, 1, 1])
    for answers in (
        (model.encode(images, one), model.encode(images, other)),
        (model.decode(z, one), model.decode(z, other)),
    ):
        same = [torch.allclose(a, b, atol=1e-6) for a, b in zip(*answers, strict=True)]
        assert same == [True, False, True, True]
    codes = torch.randn(4, 5, 3)
    whole = model.log_likelihood(codes, images, other)
    apart = [model.log_likelihood(codes[k : k + 1], images[k : k + 1], other[k : k + 1]) for k in range(4)]
    torch.testing.assert_close(whole, torch.cat(apart))


def test_images_without_what_it_is_told_are_refused_before_training(
    genkit: Genkit, digits: Dataset, tmp_path: Path
) -> None:
    pixels = digits.train.images(slice(0, 20)).numpy()
    (tmp_path / "one" / "cats").mkdir(parents=True)
    for number, image in enumerate(pixels):
        Image.fromarray(image[0]).save(tmp_path / "one" / "cats" / f"{number}.png")
    np.savez(tmp_path / "sevens.npz", images=pixels, labels=np.full(20, 7))
    for dataset, condition, why in (
        ("faces", "label", "faces has fewer than two classes; --condition attributes"),
        (tmp_path / "one", "label", "one has fewer than two classes; leave --condition out"),
        (tmp_path / "sevens.npz", "label", "sevens.npz has fewer than two classes; leave --condition out"),
        ("mnist5k", "attributes", "mnist5k has none; --condition label"),
    ):
        outcome = genkit("train", "vae", "--dataset", dataset, "--condition", condition, "--out", tmp_path / "runs")
        assert outcome.code == 2
        assert why in outcome.err
    assert not list(tmp_path.glob("runs/*"))


def test_a_classifier_does_not_begin_with_a_model_that_is_told_the_class(
    genkit: Genkit, digits_run: Path, tmp_path
) -> None:
    outcome = genkit("train", "classifier", "--init-from", digits_run, "--out", tmp_path)
    assert outcome.code == 2
    assert "this vae is told the class that it would have to tell" in outcome.err


# -- samples -----------------------------------------------------------------------------------------------------------


def test_a_class_is_what_is_drawn(genkit: Genkit, digits_run: Path, digits: Dataset, tmp_path: Path) -> None:
    """By the mean images of real digits: chance is 0.1."""
    for label in ("7", "0", "1"):
        found = arrays_of(
            genkit("sample", digits_run, "--class", label, "--seeds", "0-199", "--npz", "--out", tmp_path, "--json")
        )
        seen = nearest_mean(digits, torch.from_numpy(found["images"]) / 255)
        assert (seen == int(label)).float().mean() > 0.5, label
        assert set(found["conditions"].tolist()) == {int(label)}


def test_an_image_depends_on_seed_and_class_alone(genkit: Genkit, digits_run: Path, tmp_path: Path) -> None:
    def sample(*arguments: object) -> np.ndarray:
        return arrays_of(genkit("sample", digits_run, *arguments, "--npz", "--out", tmp_path, "--json"))["images"]

    sevens = sample("--class", "7", "--seeds", "0-40")
    assert (sample("--class", "7", "--seeds", "33,2") == sevens[[33, 2]]).all()
    rows = sample("--classes", "5,7-9", "--seeds", "0-4").reshape(4, 5, -1)
    assert (rows[1] == sevens[:5].reshape(5, -1)).all()
    assert (rows[0] != rows[1]).any()
    # Without a class, seed k has the class k mod 10.
    plain = sample("--seeds", "0-30")
    assert (plain[[7, 17, 27]] == sevens[[7, 17, 27]]).all()
    assert (sample("--seeds", "17") == plain[17]).all()
    model = package.load(digits_run)
    assert ((model.sample(41, condition="7") * 255).round().numpy() == sevens).all()


def test_a_sheet_of_classes_has_their_names(genkit: Genkit, digits_run: Path, tmp_path: Path) -> None:
    outcome = genkit("sample", digits_run, "--classes", "0-9", "--out", tmp_path, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["n"] == 100
    assert outcome.json["conditions"] == [f"class {k}" for k in range(10)]


def test_seeds_have_attributes_of_their_own() -> None:
    """Each by its share of the training images, and independent of the noise."""
    told = small_model("vae", ImageShape(1, 8, 8), hidden=(8,), condition="attributes", attributes={"a": 0.9, "b": 0.2})
    drawn = sampling.seed_conditions(told, range(2000))
    assert drawn is not None
    assert drawn.mean(0).tolist() == pytest.approx([0.9, 0.2], abs=0.04)
    assert set(drawn.unique().tolist()) == {0, 1}
    assert torch.equal(sampling.seed_conditions(told, [1999]), drawn[1999:])
    sizes = sampling.noise(range(2000), 20).abs()  # of which a normal number's first uniform one decides
    together = torch.corrcoef(torch.cat([sizes, drawn], 1).T)[:20, 20:]
    assert together.abs().max() < 0.12


def test_named_attributes_change_and_others_stay(genkit: Genkit, faces_run: Path, tmp_path: Path) -> None:
    def sample(*arguments: object) -> dict[str, np.ndarray]:
        return arrays_of(
            genkit("sample", faces_run, "--seeds", "0-15", *arguments, "--npz", "--out", tmp_path, "--json")
        )

    own, changed = sample()["conditions"], sample("--condition", "male & !glasses")["conditions"]
    assert (changed[:, 0] == 1).all()
    assert (changed[:, 1] == 0).all()
    assert (changed[:, 2:] == own[:, 2:]).all()
    assert own[:, 0].min() == 0


# -- images, walks, sums -----------------------------------------------------------------------------------------------


def test_images_are_encoded_with_their_own_label(genkit: Genkit, digits_run: Path, digits: Dataset, tmp_path) -> None:
    positions = [0, 100, 200, 300, 400]
    found = arrays_of(
        genkit(
            "sample",
            digits_run,
            "--reconstruct",
            "--images",
            ",".join(map(str, positions)),
            "--npz",
            "--out",
            tmp_path,
            "--json",
        )
    )
    assert digits.test.labels is not None
    assert found["conditions"].tolist() == digits.test.labels[positions].tolist()
    model = package.load(digits_run).model
    images = digits.test.images(torch.tensor(positions)).float() / 255
    labels = digits.test.labels[positions]
    torch.testing.assert_close(torch.from_numpy(found["codes"]), model.encode(images, labels), atol=1e-5, rtol=1e-4)
    # With another class, the same codes are decoded as of that.
    other = arrays_of(
        genkit(
            "sample",
            digits_run,
            "--reconstruct",
            "--images",
            "0,100",
            "--class",
            "3",
            "--npz",
            "--out",
            tmp_path,
            "--json",
        )
    )
    assert (other["codes"] == found["codes"][:2]).all()
    assert other["conditions"].tolist() == [3, 3]


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles of the sheets that are laid out."""
    from genkit.latent import images

    seen: list[str] = []
    lay_out = images.sheet
    monkeypatch.setattr(
        images,
        "sheet",
        lambda rows, headings=(), title="": (seen.append(title), lay_out(rows, headings, title))[1],
    )
    return seen


@pytest.mark.parametrize(
    ("which", "given", "said"),
    [
        ("digits_run", [], "00000-vae-mnist5k\n"),
        ("digits_run", ["--class", "3"], "00000-vae-mnist5k, decoded as class 3\n"),
        ("faces_run", ["--condition", "male & !smile"], "00000-vae-faces, decoded as male&!smile\n"),
    ],
)
def test_the_title_says_as_what_images_are_decoded(
    genkit: Genkit, which: str, given: list[str], said: str, titles: list[str], request: Any, tmp_path: Path
) -> None:
    run = request.getfixturevalue(which)
    assert genkit("sample", run, "--reconstruct", "--images", "0,1", *given, "--out", tmp_path).code == 0
    assert titles[0].startswith(said)


def test_a_class_that_is_named_twice_has_two_rows(genkit: Genkit, digits_run: Path, tmp_path: Path) -> None:
    more = ["--classes", "5,5,1", "--seeds", "0-1", "--npz", "--out", tmp_path, "--json"]
    assert arrays_of(genkit("sample", digits_run, *more))["conditions"].tolist() == [5, 5, 5, 5, 1, 1]


def test_what_is_not_said_of_a_file_is_absent_and_said_once(genkit: Genkit, faces_run: Path, tmp_path: Path) -> None:
    from genkit.latent.images import save_png

    save_png(tmp_path / "mine.png", torch.full((3, 32, 32), 128, dtype=torch.uint8))
    file = tmp_path / "mine.png"
    line = "what --condition doesn't name is absent: glasses, facing-left"
    for kind in (["--reconstruct", "--file", file], ["--arithmetic", f"{file} - {file} + {file}"]):
        outcome = genkit("sample", faces_run, *kind, "--condition", "male&!smile", "--out", tmp_path)
        assert outcome.code == 0
        assert outcome.err.count(line) == 1
    whole = "male&!smile&glasses&!facing-left"
    outcome = genkit("sample", faces_run, "--reconstruct", "--file", file, "--condition", whole, "--out", tmp_path)
    assert "absent" not in outcome.err


def test_a_file_needs_its_class(genkit: Genkit, digits_run: Path, digits: Dataset, tmp_path: Path) -> None:
    from genkit.latent.images import save_png

    save_png(tmp_path / "mine.png", digits.test.images(torch.tensor([0]))[0])
    for kind in (["--reconstruct", "--file", tmp_path / "mine.png"], ["--arithmetic", f"{tmp_path}/mine.png"]):
        outcome = genkit("sample", digits_run, *kind, "--out", tmp_path)
        assert outcome.code == 2
        assert "has to be told an image's class; say it with --class" in outcome.err
        assert genkit("sample", digits_run, *kind, "--class", "4", "--out", tmp_path).code == 0


def test_a_walk_keeps_one_class(genkit: Genkit, digits_run: Path, digits: Dataset, tmp_path: Path) -> None:
    assert digits.test.labels is not None
    sevens = (digits.test.labels == 7).nonzero().flatten()[:3].tolist()
    named = ",".join(map(str, sevens))
    for arguments, label, said in (
        (["--images", named], 7, ""),
        (["--images", f"{named},0", "--class", "2"], 2, ""),
        (["--images", f"{named},{int((digits.test.labels == 1).nonzero()[0])}"], 7, "the walk keeps class 7"),
        (["--seeds", "4,14"], 4, ""),
        (["--seeds", "4,5"], 4, "the walk keeps class 4"),
    ):
        outcome = genkit("sample", digits_run, "--interpolate", *arguments, "--npz", "--out", tmp_path, "--json")
        assert set(arrays_of(outcome)["conditions"].tolist()) == {label}, arguments
        assert ("keeps class" in outcome.err) == bool(said)
        assert said in outcome.err


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        (["--traverse", "--seeds", "6"], 6),
        (["--traverse", "--seeds", "6", "--class", "1"], 1),
        (["--manifold", "--side", "3"], 0),
        (["--manifold", "--side", "3", "--class", "9"], 9),
        (["--arithmetic", "label:7 - label:1 + label:4"], 7),
        (["--arithmetic", "@3,13 - @5 + @6", "--class", "8"], 8),
    ],
)
def test_sweeps_sheets_and_sums_are_of_one_class(
    genkit: Genkit, digits_run: Path, tmp_path: Path, kind: list[str], label: int
) -> None:
    found = arrays_of(genkit("sample", digits_run, *kind, "--npz", "--out", tmp_path, "--json"))
    assert set(found["conditions"].tolist()) == {label}


def test_attributes_are_summed_as_codes_are(genkit: Genkit, faces_run: Path, tmp_path: Path) -> None:
    attributes = Condition("attributes", 3)
    terms = [torch.tensor([[1.0, 1, 0], [1, 1, 1]]), torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 0, 1]])]
    assert of_sum(attributes, [1, -1, 1], terms).tolist() == [[0, 1, 1]]
    assert of_sum(Condition("class", 9), [1, -1], [torch.tensor([4, 5]), torch.tensor([6])]).tolist() == [4]
    expression = "male&glasses - male&!glasses + !male&!glasses"
    outcome = genkit("sample", faces_run, "--arithmetic", expression, "--npz", "--out", tmp_path, "--json")
    assert arrays_of(outcome)["conditions"][0, :2].tolist() == [0, 1]


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_what_a_model_does_not_take_is_refused(
    genkit: Genkit, runs: Path, digits_run: Path, faces_run: Path, tmp_path
) -> None:
    plain = run_of(runs, "vae")
    for run, arguments, why in (
        (plain, ["--condition", "male"], "takes no condition"),
        (digits_run, ["--class", "ten"], "there is no class 'ten'; there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (digits_run, ["--classes", "3-12"], "there is no class '12'"),
        (digits_run, ["--classes", "0-9", "--class", "3"], "leave --class out"),
        (digits_run, ["--classes", "0-9", "--columns", "3"], "leave --columns out"),
        (digits_run, ["--classes", "0-9", "--interpolate"], "--classes goes with a plain grid"),
        (digits_run, ["--condition", "male"], "takes a class, one of 0, 1, "),
        (faces_run, ["--class", "7"], "takes attributes, male, glasses, smile, facing-left"),
        (faces_run, ["--condition", "bald"], "there is no attribute 'bald'; there are male, glasses"),
        (faces_run, ["--condition", "male&!male"], "wants 'male' both ways"),
        (plain, ["--set", "steps=50"], "--set steps: no such option of the sampling; a vae has no options"),
    ):
        outcome = genkit("sample", run, *arguments, "--out", tmp_path / "out")
        assert outcome.code == 2, (arguments, outcome.err)
        assert why in outcome.err
        assert outcome.err.count("\n") <= 2
    assert not list((tmp_path / "out").glob("*"))


def test_images_of_other_classes_are_refused(genkit: Genkit, digits_run: Path, tmp_path: Path) -> None:
    np.savez(
        tmp_path / "other.npz",
        images=np.random.default_rng(0).integers(0, 255, (50, 28, 28), np.uint8),
        labels=np.array(["cat", "dog"] * 25),
    )
    for command in ("evaluate", "embed"):
        outcome = genkit(command, digits_run, "--dataset", tmp_path / "other.npz", "--out", tmp_path)
        assert outcome.code == 2
        assert "has the classes cat, dog, and 00000-vae-mnist5k has to be told 0, 1, 2" in outcome.err


def test_names_before_numbers() -> None:
    named = Conditions(Condition("class", 3), ("cat", "dog-1", "1-2"))
    assert named.classes_of("dog-1,1-2,cat") == [1, 2, 0]
    assert named.classes_of("0-2") == [0, 1, 2]  # no class is called by a number
    assert named.class_of("2") == 2
    numbered = Conditions(Condition("class", 3), ("1", "2", "10"))
    assert numbered.class_of("10") == 2
    with pytest.raises(UsageError, match="no class '0'"):
        numbered.class_of("0")
    with pytest.raises(UsageError, match="no class '3'"):
        numbered.classes_of("1-10")
    assert numbered.classes_of("1-2") == [0, 1]


# -- in Python ---------------------------------------------------------------------------------------------------------


def test_what_a_condition_may_be_in_python(digits_run: Path, faces_run: Path) -> None:
    model = package.load(digits_run)
    assert model.conditions == tuple("0123456789")
    expected = model.sample(3, seed=5, condition="7")
    for condition in (7, np.int64(7), ["7", 7, "7"], np.array([7, 7, 7]), torch.tensor([7, 7, 7])):
        assert torch.equal(model.sample(3, 5, condition), expected)
    codes = model.draw(3, seed=5, condition=7)
    assert torch.equal(model.decode(codes, condition=7), expected)
    assert isinstance(model.decode(codes.numpy(), 7), np.ndarray)
    assert model.interpolate(codes[0], codes[1], condition=7)[0].equal(expected[0])
    assert model.encode(expected, condition=[1, 2, 3]).shape == model.features(expected, 1).shape == (3, 2)
    assert model.reconstruct(expected[0], condition="7").shape == (1, 28, 28)

    faces = package.load(faces_run)
    assert faces.conditions == ("male", "glasses", "smile", "facing-left")
    base = torch.stack([*sampling.seed_conditions(faces.model, range(2))])
    base[:, 0], base[:, 1] = 1, 0.5
    expected = faces.sample(2, condition={"male": 1, "glasses": 0.5})
    assert torch.equal(faces.sample(2, condition=base), expected)
    assert torch.equal(faces.sample(2, condition="male & !smile"), faces.sample(2, condition={"male": 1, "smile": 0}))


@pytest.mark.parametrize(
    ("call", "error", "why"),
    [
        (lambda model: model.decode(model.draw(2)), UsageError, "has to be told the class of an image, of 0, 1"),
        (lambda model: model.encode(torch.rand(2, 1, 28, 28)), UsageError, "has to be told the class"),
        (lambda model: model.sample(2, condition="x"), UsageError, "there is no class 'x'"),
        (lambda model: model.sample(2, condition=10), UsageError, "of 10 classes none is number 10"),
        (lambda model: model.sample(2, condition=-1), UsageError, "of 10 classes none is number -1"),
        (lambda model: model.sample(2, condition=[1]), DataError, "is of 1 class, for 2 images"),
        (lambda model: model.sample(2, condition=True), DataError, "and not bool"),
        (lambda model: model.sample(2, condition=np.array([1.0, 2.0])), DataError, "and not"),
        (lambda model: model.sample(2, steps=3), UsageError, "steps: no such option of the sampling; a vae has no"),
    ],
)
def test_what_a_condition_may_not_be(digits_run: Path, call: Any, error: type, why: str) -> None:
    with pytest.raises(error, match=why):
        call(package.load(digits_run))


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool", "float64"])
def test_an_attribute_that_is_there_is_one(faces_run: Path, kind: str) -> None:
    model = package.load(faces_run)
    expected = model.sample(2, condition="male&!glasses&smile&!facing-left")
    given = np.array([1, 0, 1, 0], kind)
    for condition in (given, torch.from_numpy(given), np.stack([given, given])):
        assert torch.equal(model.sample(2, condition=condition), expected)


def test_pixels_of_an_image_as_a_condition() -> None:
    told = Conditions(Condition("image", shape=ImageShape(1, 2, 2)))
    bright = np.full((1, 2, 2), 255, np.uint8)
    assert (told.read(bright, 3) == 1).all()
    assert (told.read(bright > 0, 3) == 1).all()
    with pytest.raises(DataError, match="rescale it"):
        told.read(bright.astype(np.int64), 3)


def test_shares_lie_in_a_range(faces_run: Path) -> None:
    model = package.load(faces_run)
    for condition in ({"male": 1.5}, np.array([0, 0, 0, np.nan]), torch.tensor([-1.0, 0, 0, 0])):
        with pytest.raises(DataError, match=r"within \[0, 1\]"):
            model.sample(2, condition=condition)
    with pytest.raises(DataError, match=r"is \(4\), or \(2, 4\), and this one \(3,\)"):
        model.sample(2, condition=np.ones(3))
    with pytest.raises(UsageError, match="no attribute 'bald'"):
        model.sample(2, condition={"bald": 1})


def test_a_model_without_refuses_in_python(runs: Path) -> None:
    model = package.load(run_of(runs, "dcgan"))
    assert model.conditions == ()
    with pytest.raises(UsageError, match="this dcgan takes no condition"):
        model.sample(1, condition=3)


# -- everything else ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_evaluation")
@pytest.mark.parametrize("which", ["digits_run", "faces_run"])
def test_all_topics_give_each_image_its_own_condition(genkit: Genkit, which: str, request: Any, tmp_path: Path) -> None:
    expression = "male&glasses - male&!glasses + !male&!glasses"
    more = ["--only", "reconstruction,likelihood,arithmetic", "--arithmetic", expression] * (which == "faces_run")
    outcome = genkit(
        "evaluate",
        request.getfixturevalue(which),
        "--limit",
        60,
        "--k",
        20,
        "--nll-images",
        10,
        *more,
        "--out",
        tmp_path,
        "--json",
    )
    assert outcome.code == 0, outcome.err
    (found,) = outcome.json["runs"]
    figures = {each["name"]: each for each in found["figures"]}
    told = "class" if which == "digits_run" else "attributes"
    assert figures["reconstruction/squared_error"]["conditions"]["given"] == f"each image's {told}"
    assert "p(x|y), not p(x)" in figures["likelihood/nll"]["conditions"]["given"]
    if more:
        assert figures[f"arithmetic/{expression}/success"]["value"] >= 0
    else:
        assert "as often as among 30 real ones" in figures["samples/frechet"]["conditions"]["given"]
        assert figures["interpolation/slerp"]["conditions"]["given"]
        assert "vae is told the class that a probe would have to tell" in str(found["left_out"])
        assert not [name for name in figures if name.startswith("representation")]


def test_the_likelihood_is_given_the_class(digits_run: Path, digits: Dataset) -> None:
    """An image's own class makes it likelier than another one does."""
    from genkit.evaluate.likelihood import estimate

    model: Any = package.load(digits_run).model
    images, labels = digits.test.images(slice(0, 500)).float() / 255, digits.test.labels
    assert labels is not None
    chosen = torch.arange(0, 500, 10)
    own, other = (
        estimate(model, images[chosen], chosen, 50, condition=each[chosen]).nll.mean()
        for each in (labels[:500], (labels[:500] + 1) % 10)
    )
    assert own < other - 5


def test_samples_are_of_the_images_classes(digits_run: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from genkit.evaluate import samples, self_supervised
    from genkit.evaluate.subject import Asked, Subject
    from genkit.keep.opened import Opened

    labels = digits.test.labels
    assert labels is not None
    opened = Opened.find(str(digits_run), torch.device("cpu"))
    plain = replace(digits, classes=())
    few = digits.test.take(slice(0, 60))
    subject = Subject(opened=opened, data=opened.data_options(), dataset=plain, split="test", images=few)
    monkeypatch.setattr(self_supervised, "STEPS", 2)  # what judges images without classes has no say here
    seen: list[Tensor] = []
    decode, compare = sampling.decode, samples.sliced_wasserstein
    against: list[Tensor] = []
    monkeypatch.setattr(sampling, "decode", lambda *given: (seen.append(given[2]), decode(*given))[1])
    monkeypatch.setattr(samples, "sliced_wasserstein", lambda a, b: (against.append(b), compare(a, b))[1])
    samples.figures(subject, Asked(samples=20, seed=3))
    pixels = few.images().flatten(1).float() / 255
    same = torch.cdist(against[0].flatten(1), pixels).argmin(1)
    assert torch.cat(seen).tolist() == labels[:60][same].tolist()


@pytest.mark.parametrize("which", ["digits_run", "faces_run"])
def test_it_is_reported_embedded_and_goes_on(genkit: Genkit, which: str, request: Any, tmp_path: Path) -> None:
    run = Path(shutil.copytree(request.getfixturevalue(which), tmp_path / "runs" / "00000-vae"))
    outcome = genkit("report", run, "--out", tmp_path / "report.html", "--json")
    assert outcome.code == 0, outcome.err
    assert not [each for each in outcome.json["missing"] if "couldn" in str(each)]
    report = (tmp_path / "report.html").read_text()
    assert "The decoder takes a condition, which here is" in report
    outcome = genkit("embed", run, "--limit", 50, "--out", tmp_path, "--json")
    assert outcome.code == 0
    what = "class" if which == "digits_run" else "attributes"
    said = f"the model is told each image's {what}, so how far the colours"
    assert said in outcome.err
    assert "the model is told" in Path(outcome.json["files"]["svg"]).read_text()
    assert "the model is told each image" in report
    epochs = json.loads((run / "config.json").read_text())["options"]["epochs"]
    assert genkit("train", "--resume", run, "--epochs", epochs + 1).code == 0


@pytest.mark.parametrize("which", ["digits_run", "faces_run"])
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_an_export_takes_the_condition(genkit: Genkit, which: str, kind: str, request: Any, tmp_path: Path) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    run = request.getfixturevalue(which)
    outcome = genkit("export", run, "--format", kind, "--out", tmp_path, "--json")
    assert outcome.code == 0, outcome.err
    model = package.load(run)
    z = torch.randn(5, model.latent_dim)
    told = torch.tensor([3, 1, 4, 1, 5]) if which == "digits_run" else torch.rand(5, 4)
    file = Path(outcome.json["files"][f"decoder.{kind}"])
    if kind == "onnx":
        import onnxruntime

        (images,) = onnxruntime.InferenceSession(str(file)).run(None, {"codes": z.numpy(), "condition": told.numpy()})
    else:
        images = torch.export.load(file).module()(z, told).detach().numpy()
    np.testing.assert_allclose(images, model.decode(z, told).numpy(), atol=1e-5)
    readme = (Path(outcome.json["folder"]) / "README.md").read_text()
    assert "`condition` (N)" in readme or "`condition` (N, 4)" in readme


# -- models of others --------------------------------------------------------------------------------------------------


def test_options_of_the_sampling_are_given_each_time(
    genkit: Genkit, outside_runs: dict[str, Path], tmp_path: Path
) -> None:
    run = outside_runs["steered"]

    def sample(*arguments: object) -> Any:
        return genkit("sample", run, "--seeds", "0-4", *arguments, "--npz", "--out", tmp_path, "--json")

    plain, more = sample(), sample("--set", "steps=50", "--set", "guidance=2.5")
    assert plain.json["sampling"] == {"steps": 2, "guidance": 1.0}
    assert more.json["sampling"] == {"steps": 50, "guidance": 2.5}
    arrays = arrays_of(more)
    assert json.loads(str(arrays["sampling"])) == more.json["sampling"]
    assert (arrays["images"] != arrays_of(plain)["images"]).any()
    assert (arrays_of(sample("--set", "steps=2"))["images"] == arrays_of(plain)["images"]).all()
    model = package.load(run)
    assert ((model.sample(5, steps=50, guidance=2.5) * 255).round().numpy() == arrays["images"]).all()
    assert ((model.sample(5) * 255).round().numpy() == arrays_of(plain)["images"]).all()  # as if nothing had been set
    for given, why in (
        ("steps=0", "--set steps must be at least 1"),
        ("steps=many", "--set steps"),
        ("step=3", "--set step: no such option of the sampling; there are steps, guidance"),
        ("steps", "write it like --set steps=50"),
    ):
        outcome = sample("--set", given)
        assert outcome.code == 2, given
        assert why in outcome.err
    with pytest.raises(UsageError, match="steps must be at most 100"):
        model.sample(1, steps=101)
    codes, images = model.draw(2, condition=3), model.sample(2, condition=3, steps=50)
    walk = model.interpolate(codes[0], codes[1], steps=4, condition=3, steps_=50, guidance=2.5)
    assert len(walk) == 4
    torch.testing.assert_close(walk[[0, -1]], model.decode(codes, 3, steps=50, guidance=2.5), atol=1e-4, rtol=0)
    assert (walk[[0, -1]] - model.decode(codes, 3)).abs().max() > 0.1
    found = model.invert(images, 3, condition=3, guidance=2.5)
    assert not found.equal(model.invert(images, 3, condition=3))
    assert model.model.sampling.guidance == 1
    with pytest.raises(UsageError, match="step: no such option of the sampling"):
        model.invert(images, 3, condition=3, step=2)


def test_help_after_a_run_lists_the_options_of_its_sampling(
    genkit: Genkit, outside_runs: dict[str, Path], runs: Path
) -> None:
    words = " ".join(genkit("sample", outside_runs["steered"], "--help").out.split())
    assert "steps=N Steps of the solver. [default: 2; 1<=x<=100]" in words
    assert "guidance=X How much the class counts." in words
    assert "a vae has no options of its sampling" in " ".join(
        genkit("sample", run_of(runs, "vae"), "--help").out.split()
    )
    assert "With --set" not in genkit("sample", "--help").out
    assert genkit("sample", "nowhere", "--help").code == 0


def test_a_decoder_without_an_encoder_is_told_in_a_search(outside_runs: dict[str, Path]) -> None:
    """The code that an image was made of is found again under its own class."""
    model: Any = package.load(outside_runs["steered"]).model
    with torch.no_grad():
        model.net.weight.mul_(20)
    labels = torch.tensor([3, 8, 3])
    codes = sampling.seed_codes(model, [11, 12, 13], labels)
    images = sampling.decode(model, codes, labels)
    found = sampling.invert(model, images, labels)
    torch.testing.assert_close(sampling.decode(model, found, labels), images, atol=0.02, rtol=0)


@pytest.mark.usefixtures("quick_evaluation")
def test_an_image_as_a_condition(
    genkit: Genkit, outside_runs: dict[str, Path], digits: Dataset, tmp_path: Path
) -> None:
    from genkit.latent.images import save_png

    run = outside_runs["coloured"]
    assert list(run.glob("samples-*.png"))
    outcome = genkit("sample", run, "--out", tmp_path)
    assert outcome.code == 2
    assert "the model's decoder takes an image; give one with --condition FILE" in outcome.err
    save_png(tmp_path / "told.png", digits.test.images(torch.tensor([0]))[0])
    outcome = genkit(
        "sample", run, "--condition", tmp_path / "told.png", "--seeds", "0-2", "--npz", "--out", tmp_path, "--json"
    )
    assert arrays_of(outcome)["conditions"].shape == (3, 1, 28, 28)
    assert genkit("sample", run, "--reconstruct", "--out", tmp_path).code == 0
    outcome = genkit(
        "evaluate",
        run,
        "--only",
        "reconstruction,samples,interpolation",
        "--limit",
        40,
        "--samples",
        10,
        "--out",
        tmp_path,
        "--json",
    )
    assert outcome.code == 0, outcome.err
    names = {each["name"] for each in outcome.json["runs"][0]["figures"]}
    assert {"reconstruction/squared_error", "samples/frechet", "interpolation/slerp", "interpolation/lerp"} <= names


def test_abilities_are_listed(genkit: Genkit, outside_runs: dict[str, Path]) -> None:
    found = {each["name"]: each["abilities"] for each in genkit("models", "--json").json["models"]}
    assert "takes a condition" in found["vae"]
    assert "takes a condition" in found["steered"]
    assert "takes a condition" not in found["ae"]


def test_a_base_model_takes_none() -> None:
    assert Model.condition_for(None) is None
