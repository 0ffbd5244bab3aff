"""`genkit.load` and what it gives, against the bare model and the command line."""

from __future__ import annotations

import doctest
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Genkit, run_of, saved_checkpoint, small_model

import genkit as package
from genkit import export, registry
from genkit.contract import ImageShape, ability
from genkit.errors import CheckpointError, DataError, GenkitError, UsageError
from genkit.keep import checkpoint, description
from genkit.latent import images, sampling
from genkit.loaded import LoadedModel

IMAGE = ImageShape(3, 9, 13)
PAGE = Path(__file__).parent.parent / "docs" / "python.md"

every_model = pytest.mark.parametrize("name", list(registry.names()))


def small(tmp_path: Path, name: str, image: ImageShape = IMAGE, **options: Any) -> LoadedModel:
    torch.manual_seed(0)
    model = small_model(name, image, width=4, latent_dim=5, hidden=(16,), **options)
    return package.load(saved_checkpoint(tmp_path / "checkpoint", model))


def test_importing_genkit_does_not_import_torch() -> None:
    code = "import genkit, sys; genkit.load; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- what is opened ----------------------------------------------------------------------------------------------------


def test_a_run_a_checkpoint_a_number_an_export_and_the_newest(
    genkit: Genkit, runs: Path, tmp_path, monkeypatch
) -> None:
    run = run_of(runs, "vae")
    exported = genkit("export", run, "--out", tmp_path, "--json").json
    best, number = Path(exported["checkpoint"]), int(run.name[:5])
    monkeypatch.setenv("GENKIT_OUT", str(runs))
    opened = [package.load(each) for each in (run, str(run), best, number, str(number), exported["folder"])]
    assert len({each.sample(2).numpy().tobytes() for each in opened}) == 1
    assert {each.path for each in opened} == {best, Path(exported["folder"])}
    newest = max(runs.glob("[0-9]*"))
    assert package.load().path.parent.parent == newest
    assert package.load(runs).path.parent.parent == newest


def test_what_cannot_be_opened(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no run or checkpoint at"):
        package.load(tmp_path / "nothing")
    with pytest.raises(UsageError, match="no device"):
        package.load(run_of(runs, "vae"), device="abacus")


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = small(tmp_path, "ae").path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        package.load(path.parent)


# -- what it does ------------------------------------------------------------------------------------------------------


@every_model
def test_it_does_what_the_model_does(name: str, tmp_path: Path) -> None:
    model = small(tmp_path, name)
    bare: Any = model.model
    batch = torch.rand(3, *IMAGE)
    assert model.image == IMAGE
    assert model.classes == tuple(f"class {k}" for k in range(10))
    assert model.description == description.describe(model.path)
    assert str(IMAGE) in repr(model)
    torch.testing.assert_close(model.features(batch), bare.features(batch))
    if ability.generates(bare):
        z = torch.randn(3, bare.options.latent_dim)
        assert model.latent_dim == (IMAGE.numbers if name == "flow" else 5)
        torch.testing.assert_close(model.decode(z), bare.decode(z))
        assert torch.equal(model.draw(3, seed=7), sampling.seed_codes(bare, [7, 8, 9]))
        assert torch.equal(model.sample(3, seed=7), sampling.decode(bare, sampling.seed_codes(bare, [7, 8, 9])))
        ends = model.interpolate(z[0], z[1], steps=5)
        assert ends.shape == (5, *IMAGE)
        torch.testing.assert_close(ends[[0, -1]], bare.decode(z[:2]))
        centre, _ = sampling.prior_moments(bare)
        arc = centre + sampling.slerp(z[0] - centre, z[1] - centre, torch.tensor([[0.5]]))
        torch.testing.assert_close(ends[2], bare.decode(arc)[0])
        middle = model.interpolate(z[0], z[1], steps=3, path="lerp")[1]
        torch.testing.assert_close(middle, bare.decode((z[:1] + z[1:2]) / 2)[0])
    else:
        assert model.latent_dim == (5 if ability.encodes(bare) else 0)
        for ask in (model.sample, model.draw, lambda n: model.decode(torch.randn(n, 5)), lambda n: model.invert(batch)):
            with pytest.raises(UsageError, match="makes no images"):
                ask(1)
    if ability.encodes(bare):
        torch.testing.assert_close(model.encode(batch), bare.encode(batch))
    if ability.encodes(bare) and ability.generates(bare):
        torch.testing.assert_close(model.reconstruct(batch), bare.decode(bare.encode(batch)))
    if ability.classifies(bare):
        torch.testing.assert_close(model.classify(batch), bare(batch).softmax(1))
        assert model.targets == model.classes
    else:
        assert model.targets == ()
        with pytest.raises(UsageError, match="genkit train classifier"):
            model.classify(batch)


def test_a_classifier_of_attributes_names_them(tmp_path: Path) -> None:
    model = small(tmp_path, "classifier", classes=0, attributes={"smiling": 2})
    batch = torch.rand(3, *IMAGE)
    assert model.targets == ("smiling",)
    torch.testing.assert_close(model.classify(batch), model.model(batch).sigmoid())


def test_samples_are_the_command_lines(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    for name in ("ae", "dcgan"):
        run = run_of(runs, name)
        outcome = genkit("sample", run, "--seeds", "40-59", "--npz", "--out", tmp_path, "--json")
        with np.load(outcome.json["files"]["npz"]) as saved:
            assert (images.to_uint8(package.load(run).sample(20, seed=40)).numpy() == saved["images"]).all()


def test_without_an_encoder_codes_are_searched_for(tmp_path: Path) -> None:
    model = small(tmp_path, "dcgan")
    batch = model.sample(2, seed=1)
    with pytest.raises(UsageError, match=r"a dcgan has no encoder; invert\(images\)"):
        model.encode(batch)
    found = model.invert(batch, steps=3)
    assert torch.equal(found, sampling.invert(model.model, batch, steps=3))
    assert torch.equal(model.invert(batch[1], steps=3), found[1])


# -- what it takes -----------------------------------------------------------------------------------------------------


def test_it_answers_in_kind(tmp_path: Path) -> None:
    """A tensor for a tensor, an array for an array, one for one; and the same numbers."""
    model = small(tmp_path, "vae")
    pixels = torch.randint(0, 256, (3, *IMAGE), dtype=torch.uint8)
    expected = model.model.encode(pixels / 255)
    wide = np.asarray(pixels, np.float64) / 255
    fixed = pixels.numpy().copy()
    fixed.flags.writeable = False
    for given in (pixels, pixels / 255, fixed, wide, wide.astype(">f4"), wide[::-1][::-1], (pixels / 255).double()):
        found = model.encode(given)
        assert type(found) is type(given)
        assert found.dtype in (torch.float32, np.float32)
        torch.testing.assert_close(torch.as_tensor(found), expected)
        one = model.encode(given[1])
        assert type(one) is type(given)
        torch.testing.assert_close(torch.as_tensor(one), expected[1])
    z = expected.numpy()
    assert isinstance(model.decode(z), np.ndarray)
    assert model.decode(z[0]).shape == IMAGE
    assert isinstance(model.interpolate(z[0], z[1]), np.ndarray)
    assert isinstance(model.reconstruct(wide), np.ndarray)
    assert not model.encode((pixels / 255).requires_grad_()).requires_grad
    torch.testing.assert_close(model.encode(pixels / 255 + 1e-6), expected, atol=1e-4, rtol=0)


GOOD = np.full((2, *IMAGE), 0.5)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([[0.5]], "not list"),
        (np.full((2, 1, 9, 13), 0.5), r"images \(N, 3, 9, 13\).* \(2, 1, 9, 13\)"),
        (np.full((1, 2, *IMAGE), 0.5), r"\(1, 2, 3, 9, 13\)"),
        (np.full((9, 13), 0.5), r"\(9, 13\)"),
        (np.full((2, 9, 13, 3), 0.5), "channels come first"),
        (GOOD[:0], "no image"),
        (GOOD * 400, r"\[200, 200\]; divide by 255"),
        (GOOD * 2 - 1.5, "add 1 and halve"),
        (np.where(np.arange(13) == 4, np.nan, GOOD), "NaN or infinity"),
        (np.where(np.arange(13) == 4, np.inf, GOOD), "NaN or infinity"),
        ((GOOD * 200).astype(np.int64), "int64; convert"),
        (GOOD.astype(bool), "bool; convert"),
        (GOOD.astype(str), "U3.*convert"),
    ],
    ids=[
        *("list", "channels", "five dimensions", "two dimensions", "channels last", "none", "to 255", "from -1"),
        *("nan", "infinity", "int64", "bool", "text"),
    ],
)
def test_what_is_no_image_is_refused(given: Any, says: str, tmp_path: Path) -> None:
    model = small(tmp_path, "vae")
    with pytest.raises(DataError, match=says):
        model.encode(given)


def test_grey_images_may_come_without_their_channel(tmp_path: Path) -> None:
    model = small(tmp_path, "vae", ImageShape(1, 9, 13))
    for shape in ((9, 13), (4, 9, 13)):
        grey = torch.rand(shape)
        codes = model.encode(grey)
        assert codes.shape == (*shape[:-2], 5)
        assert codes.equal(model.encode(grey[..., None, :, :]))
        assert model.reconstruct(grey).shape == shape
    assert model.encode(grey[:1]).shape == (5,)  # (1, H, W) is one image
    with pytest.raises(DataError, match=r"model takes images \(N, 1, 9, 13\)"):
        model.encode(torch.rand(4, 13, 9))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([0.5] * 5, "not list"),
        (np.zeros((2, 4)), r"\(N, 5\).* \(2, 4\)"),
        (np.zeros((1, 2, 5)), r"\(1, 2, 5\)"),
        (np.zeros((0, 5)), "no code"),
        (np.zeros((2, 5), int), "int64; convert"),
        (np.full((2, 5), np.nan), "NaN or infinity"),
        (np.full(5, 1e300), "NaN or infinity"),
    ],
    ids=["list", "size", "three dimensions", "none", "int64", "nan", "beyond float32"],
)
def test_what_is_no_code_is_refused(given: Any, says: str, tmp_path: Path) -> None:
    model = small(tmp_path, "vae")
    with pytest.raises(DataError, match=says):
        model.decode(given)


def test_numbers_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    model = small(tmp_path, "vae")
    z = model.draw(2)
    asks: list[Any] = [
        lambda: model.sample(0),
        lambda: model.sample(2.5),  # type: ignore[arg-type]
        lambda: model.sample(1, seed=-1),
        lambda: model.sample(10**9),
        lambda: model.interpolate(z[0], z[1], steps=1),
        lambda: model.interpolate(z[0], z[1], path="arc"),  # type: ignore[arg-type]
        lambda: model.interpolate(z, z),
        lambda: model.invert(torch.rand(IMAGE), steps=0),
    ]
    for ask in asks:
        with pytest.raises(GenkitError, match=r"\w+"):
            ask()
    assert model.sample(np.int64(2)).shape == (2, *IMAGE)


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_is_right(genkit: Genkit, runs: Path, tmp_path: Path, monkeypatch) -> None:
    """Its examples run, on such runs as its first lines train, and print what they say."""
    monkeypatch.setenv("GENKIT_OUT", str(tmp_path / "runs"))
    for number, name in enumerate(("vae", "dcgan", "classifier")):
        shutil.copytree(run_of(runs, name), tmp_path / "runs" / f"{number:05d}-{name}-mnist5k")
    told = ["--dataset", "mnist5k", "--latent-dim", "2", "--condition", "label", "--hidden", "32", "--epochs", "1"]
    assert genkit("train", "vae", *told, "--device", "cpu", "--out", tmp_path / "runs").code == 0
    exports = tmp_path / "runs" / "00000-vae-mnist5k" / "exports"
    exports.mkdir()
    export.weights(
        checkpoint.read(package.load(0).path), "00000-vae-mnist5k", exports / "00000-vae-mnist5k-safetensors"
    )
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(PAGE.read_text(encoding="utf-8"), {}, "python.md", str(PAGE), 0)
    assert len(test.examples) > 15
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert not result.failed, "".join(said)
