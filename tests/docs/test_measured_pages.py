"""The pages of figures say what their JSON files hold; and what stands between a race and its page."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genkit.data import DataOptions
from genkit.data.dataset import Dataset

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A program of benchmarks/, as a module; those beside it are found, and forgotten afterwards."""
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        path = REPOSITORY / "benchmarks" / f"{name}.py"
        monkeypatch.syspath_prepend(str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - before:
        if str(REPOSITORY / "benchmarks") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(("page", "name"), [("page", "speed"), ("pictures/page", "pictures")])
def test_the_page_says_what_was_measured(program: Any, page: str, name: str) -> None:
    results = json.loads((REPOSITORY / "docs" / f"{name}.json").read_text(encoding="utf-8"))
    assert (REPOSITORY / "docs" / f"{name}.md").read_text(encoding="utf-8") == program(page).page(results)


def of(row: str, **values: dict[str, float]) -> dict[str, Any]:
    return {row: {"contenders": {name.replace("_", " "): {"values": each} for name, each in values.items()}}}


def every(page: Any, row: str, **values: dict[str, float]) -> dict[str, Any]:
    """A row whose other contenders of any figure were tried, and are worse than all."""
    found = of(row, **values)
    for figure in page.FIGURES:
        for name in (figure.ours, *figure.theirs) if figure.row == row else ():
            worst = -1e9 if figure.most else 1e9
            each = found[row]["contenders"].setdefault(name, {"values": {}})["values"]
            each.setdefault(figure.other if name in figure.theirs and figure.other else figure.value, worst)
    return found


def test_ours_which_is_fixed_beforehand_is_held_against_the_best_of_theirs(program: Any) -> None:
    page = program("pictures/page")
    kinds = {(each.row, each.how, each.value): each for each in page.FIGURES}
    cifar = next(each for each in page.FIGURES if each.row == "cifar")
    found = every(
        page, "cifar", genkit_dcgan={"kernel": 0.2}, genkit_vae={"kernel": 0.1}, earlier_dcgan={"kernel": 0.8}
    )
    assert page.number_of(cifar, found) == (0.25, "earlier dcgan", None)
    over = kinds["faces", "excess", "kernel"]
    of_faces = {"genkit_dcgan": {"kernel": 0.03, "kernel_floor": 0.01}, "earlier_dcgan": {"kernel": 0.09}}
    assert page.number_of(over, every(page, "faces", **of_faces)) == (pytest.approx(0.25), "earlier dcgan", None)
    less = kinds["elbo", "difference", "test/neg_elbo"]
    found = of("elbo", genkit_vae={"test/neg_elbo": 99.0}, earlier_vae={"test/neg_elbo": 101.5})
    assert page.number_of(less, found) == (-2.5, "earlier vae", None)
    assert "**-2.5**" in page.table(found)
    varied = kinds["olivetti", "value", "diversity"]
    found = every(page, "olivetti", genkit_dcgan={"diversity": 0.9}, genkit_vae={"diversity": 0.8})
    assert page.number_of(varied, found) == (0.8, "", None)


def test_a_likelihood_is_held_against_a_bound_on_the_same_images(program: Any) -> None:
    page = program("pictures/page")
    ode = {"likelihood/ode_nll_bits": 1.0, "likelihood/ode_nll_bits_error": 0.03}
    bound = {"likelihood/neg_elbo_of_nll_images_bits": 1.25, "likelihood/neg_elbo_of_nll_images_bits_error": 0.04}
    found = of("flow", genkit_flow=ode, genkit_vae_of_grey_values={**bound, "likelihood/neg_elbo_bits": 9.0})
    assert "a VAE's bound on the same 128 images | ≤ 0 |  | **-0.25** ± 0.05 |" in page.table(found)


def test_whoever_failed_or_is_not_measured_yet_is_not_passed_over(program: Any) -> None:
    page = program("pictures/page")
    cifar = next(each for each in page.FIGURES if each.row == "cifar")
    alone = of("cifar", genkit_dcgan={"kernel": 0.2}, earlier_vae={"kernel": 0.8})
    assert page.number_of(cifar, alone) is None
    assert page.number_of(cifar, {}) is None
    found = every(page, "cifar", genkit_dcgan={"kernel": 0.2}, earlier_vae={"kernel": 0.8})
    found["cifar"]["contenders"]["earlier dcgan"] = {"failed": "no room"}
    assert "of genkit before | ≤ 0.5 | ≤ 0.3 | 0.25 (failed: earlier dcgan) | earlier vae |" in page.table(found)
    found["cifar"]["contenders"]["earlier vae"] = {"failed": "no room"}
    assert "of genkit before | ≤ 0.5 | ≤ 0.3 | failed: earlier dcgan, earlier vae | |" in page.table(found)


def test_what_is_worse_without_a_warning_is_counted(program: Any) -> None:
    page = program("pictures/page")
    fine, told = {"against_mean": 0.3, "against_pca": 1.05, "told": 0.0}, {"against_pca": 2.0, "told": 1.0}
    assert page.untold_of({}) is None
    assert page.untold_of(of("sets", a=fine, b=told)) == 0
    assert page.untold_of(of("sets", a=fine, b={**told, "told": 0.0}, c={"against_mean": 1.2, "told": 0.0})) == 2
    assert page.untold_of({"sets": {"contenders": {"a": {"failed": "no room"}, "b": {"values": fine}}}}) == 1
    assert "0 of the 2 of 12 that are measured" in page.table(of("sets", a=fine, b=told))
    assert "**0**" in page.table({"sets": {"contenders": {name: {"values": fine} for name in page.SETS}}})


def test_a_revision_is_that_at_which_it_was_measured(program: Any) -> None:
    page = program("pictures/page")
    common = {"version": page.CURRENT, "values": {}, "seconds": 1.0, "cpu_seconds": 1.0, "asked": {"threads": 1}}
    some = {
        name: {**common, "environment": {"revision": revision}} for name, revision in (("a", "abc1"), ("b", "def2"))
    }
    text = page.section("mnist", {"title": "Digits", "minutes": 5, "images": "MNIST", "contenders": some})
    assert "5 minutes each, on 1 thread." in text
    assert "revision abc1 |" in text
    assert "revision def2 |" in text
    assert "of several revisions of genkit" in text
    assert page.CURRENT not in text


def test_a_folder_of_samples_and_an_archive_are_read_alike(program: Any, tmp_path: Path) -> None:
    score = program("pictures/score")
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), np.uint8)
    (tmp_path / "some").mkdir()
    for number, each in enumerate(images):
        Image.fromarray(each.transpose(1, 2, 0)).save(tmp_path / "some" / f"{number}.png")
    np.savez(tmp_path / "some.npz", images=images, conditions=np.arange(6))
    loose, _ = score.read(tmp_path / "some", 3, (8, 8))
    packed, told = score.read(tmp_path / "some.npz", 3, (8, 8))
    assert torch.equal(loose, packed)
    assert (packed.numpy() == images).all()
    assert told.tolist() == list(range(6))
    halved, _ = score.read(tmp_path / "some.npz", 3, (4, 4))
    assert (halved.numpy() == images.reshape(6, 3, 4, 2, 4, 2).mean((3, 5)).round()).all()
    grey, _ = score.read(tmp_path / "some.npz", 1, (8, 8))
    luma = (images * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1).round()
    assert np.abs(grey.numpy()[:, 0] - luma).max() <= 1
    assert grey.shape == (6, 1, 8, 8)


@pytest.mark.usefixtures("quick_evaluation")
def test_real_images_score_as_real_ones_and_noise_does_not(program: Any, digits: Dataset) -> None:
    score = program("pictures/score")
    judge = score.judge_of(DataOptions(dataset="mnist5k"), digits)
    real, labels = digits.test.images(), digits.test.labels
    own = score.score(real, digits, judge, labels)
    assert own["kernel"] < 2 * own["kernel_error"]  # below 0, as each is among those that it is held against
    assert own["agreement"] == pytest.approx(judge.accuracy, abs=1e-6)
    assert own["diversity"] == pytest.approx(1, abs=0.1)
    noise = torch.randint(0, 256, real.shape, dtype=torch.uint8)
    found = score.score(noise, digits, judge)
    assert found["kernel"] > 20 * found["kernel_error"]
    assert found["kernel_floor"] == own["kernel_floor"]
    assert score.score(real[:1].expand(100, -1, -1, -1), digits, None)["diversity"] < 0.01


def test_a_smoke_run_does_not_overwrite_what_was_measured(program: Any, monkeypatch: Any, capsys: Any) -> None:
    make = program("pictures/make")
    for flags, why in (
        (["--minutes-scale", "0.05", "--out", str(REPOSITORY / "docs")], "a smoke run's numbers don't go to docs"),
        (["--rows", "nothing"], "no row is called nothing"),
        (["--example", "nowhere"], "there is no file nowhere"),
    ):
        monkeypatch.setattr(sys, "argv", ["make.py", *flags])
        with pytest.raises(SystemExit) as ended:
            make.main()
        assert ended.value.code == 2
        assert why in capsys.readouterr().err


def test_what_is_measured_is_not_measured_again(program: Any, tmp_path: Path) -> None:
    make = program("pictures/make")
    contender = make.ROWS["mnist"].contenders["genkit dcgan"]
    settings = make.settings_of(contender, 5, "MNIST", 1)
    about = {"title": "Digits", "minutes": 5, "images": "MNIST"}
    values = {"values": {"kernel": 0.02, "kernel_error": 0.001}, "steps": 10, "seconds": 1.0, "cpu_seconds": 2.0}
    make.Store(tmp_path, smoke=False).enter("mnist", about, "genkit dcgan", {"asked": settings, **values})
    store, another = make.Store(tmp_path, smoke=False), make.Store(tmp_path, smoke=False)
    assert store.has("mnist", "genkit dcgan", settings)
    assert not store.has("mnist", "genkit dcgan", make.settings_of(contender, 10, "MNIST", 1))
    assert not store.has("mnist", "genkit dcgan", make.settings_of(contender, 5, "MNIST", 2))
    assert not store.has("mnist", "genkit flow", settings)
    for other in ("genkit vae", "genkit flow"):
        worse = {"values": {"kernel": 0.5, "kernel_error": 0.1}}
        (store if other == "genkit vae" else another).enter(
            "mnist", about, other, {"asked": settings, **values, **worse}
        )
    store.read()
    assert store.has("mnist", "genkit vae", settings)
    assert store.has("mnist", "genkit flow", settings)
    assert "| ≤ 0.03 | ≤ 0.015 | **0.02** |  |" in (tmp_path / "pictures.md").read_text()
    store.enter("mnist", about, "genkit dcgan", {"asked": settings, "failed": "no room"})
    assert make.Store(tmp_path, smoke=False).has("mnist", "genkit dcgan", settings)  # by what it came to before
    others = {**settings, "threads": 2}
    store.enter("mnist", about, "genkit dcgan", {"asked": others, "failed": "no room"})
    assert not make.Store(tmp_path, smoke=False).has("mnist", "genkit dcgan", others)
