"""The explorer of a decoder that is told something: what its server takes, its page offers and its file holds."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from conftest import Genkit, small_model
from explore.conftest import Open, answered, code_of, opening, pixels_of, serving, train
from explore.test_server import JSON, LATENT, ask, exchange, floats, png, request, started
from explore.test_stored import ask as backend

import genkit as package
from genkit import registry
from genkit.contract import ability
from genkit.data.dataset import Dataset
from genkit.explore import program, stored
from genkit.explore.server import Server
from genkit.explore.space import Space, Term
from genkit.latent import sampling
from genkit.loaded import LoadedModel

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ATTRIBUTES = {"even": 0.5, "early": 0.5, "odd": 0.25}


def with_attributes(digits: Dataset) -> Dataset:
    from dataclasses import replace

    def known(split):  # type: ignore[no-untyped-def]
        assert split.labels is not None
        columns = [split.labels % 2 == 0, split.labels < 5, split.labels % 2 == 1]
        return replace(split, labels=None, attributes=torch.stack(columns, 1))

    parts = {name: known(split) for name, split in digits.splits().items()}
    return replace(digits, classes=(), attributes=tuple(ATTRIBUTES), **parts)


def space_of(dataset: Dataset, condition: str, **more: object) -> Space:
    torch.manual_seed(1)
    told = {"attributes": ATTRIBUTES} if condition == "attributes" else {}
    shape = {"hidden": (32,), "latent_dim": LATENT, "width": 4}
    built = small_model("vae", dataset.shape, condition=condition, **shape, **told, **more).eval().requires_grad_(False)
    assert ability.generates(built)
    return Space(built, "a run", lambda: dataset, (dataset.name, dataset.classes, dataset.attributes), limit=60)


@pytest.fixture(scope="module")
def of_classes(digits: Dataset) -> Iterator[Server]:
    yield from started(space_of(digits, "label"))


@pytest.fixture(scope="module")
def of_attributes(digits: Dataset) -> Iterator[Server]:
    yield from started(space_of(with_attributes(digits), "attributes"))


# ---------------------------------------------------------------------------------------------------------------------
# The server
# ---------------------------------------------------------------------------------------------------------------------


def test_it_says_what_can_be_told(of_classes: Server, of_attributes: Server) -> None:
    about = json.loads(ask(of_classes, "about.json").body)
    assert about["condition"] == {"kind": "class", "names": [*"0123456789"], "first": [0]}
    about = json.loads(ask(of_attributes, "about.json").body)
    assert about["condition"]["kind"] == "attributes"
    assert about["condition"]["names"] == ["even", "early", "odd"]
    assert len(about["condition"]["first"]) == 3


def test_points_are_encoded_with_their_own_labels(of_classes: Server) -> None:
    space = of_classes.desk.space
    assert space.split is not None
    images, labels = space.split.images().float() / 255, space.split.labels
    torch.testing.assert_close(space.all_codes, space.model.encode(images, labels), atol=1e-5, rtol=1e-4)  # type: ignore[operator]


def test_each_question_is_answered_as_of_its_condition(of_classes: Server, of_attributes: Server) -> None:
    for server, numbers, row in (
        (of_classes, [7.0], torch.tensor([7])),
        (of_attributes, [1.0, 0.0, 0.25], torch.tensor([[1, 0, 0.25]])),
    ):
        space, told = server.desk.space, floats(*numbers)
        codes = space.codes(torch.tensor([3, 33]))
        flat = codes.numpy().tobytes()
        expected = space.decode(codes, row)
        assert ask(server, "decode", told + flat).body == expected.numpy().tobytes()
        assert (space.decode(codes, space.condition) != expected).any()
        direct = space.model.decode(codes, row.expand(2, *row.shape[1:]))
        assert (expected.int() - (direct.permute(0, 2, 3, 1) * 255).round().int()).abs().max() <= 1
        code, pixels = space.under(0.25, -0.5, row)
        assert ask(server, "under", told + floats(0.25, -0.5)).body == code.numpy().tobytes() + pixels.numpy().tobytes()
        seeds = np.array([0, 7], "<u4").tobytes()
        assert ask(server, "seeds", told + seeds).body == space.seeds([0, 7], row).numpy().tobytes()
        assert len(ask(server, "near", told + codes[:1].numpy().tobytes()).body) == 32
        assert ask(server, "place", told + flat).body == space.place(codes, row).numpy().tobytes()
        body = {"terms": [{"sign": 1, "term": "point:3"}, {"sign": 1, "term": "seed:5"}], "condition": numbers}
        found = json.loads(ask(server, "sum", json.dumps(body).encode(), JSON).body)
        summed = space.sum([Term(1, "point:3"), Term(1, "seed:5")], row)
        assert found["code"] == summed.code.tolist()
        assert base64.b64decode(found["pixels"]) == summed.pixels.numpy().tobytes()
        line = json.loads(ask(server, "file", told + png()).body)
        (whole,) = space.file(space.read(png()), row)
        assert whole.code is not None
        assert line["code"] == whole.code.tolist()
        (other,) = space.file(space.read(png()), space.condition)
        assert other.code is not None
        assert not other.code.equal(whole.code)


@pytest.mark.parametrize("condition", [-1.0, 10.0, 0.5, 1e9, math.nan, math.inf, -math.inf])
def test_a_class_that_is_not_there_is_refused(of_classes: Server, condition: float) -> None:
    flat = floats(*[0.0] * LATENT)
    for name, body in (("decode", flat), ("under", floats(0, 0)), ("place", flat), ("near", flat), ("file", png())):
        reply = ask(of_classes, name, floats(condition) + body)
        assert (reply.status, reply.body) == (400, b"there are 10 classes, 0 to 9"), name
    assert ask(of_classes, "seeds", floats(condition) + b"\0\0\0\0").status == 400


@pytest.mark.parametrize(
    "condition",
    [None, 7, "7", [], [7, 7], ["7"], [None], [True], [7.5], [-1], [10], [1e400], {"class": 7}, [[7]]],
    ids=str,
)
def test_a_sum_of_no_class_is_refused(of_classes: Server, condition: object) -> None:
    body = {"terms": [{"sign": 1, "term": "point:3"}], "condition": condition}
    reply = ask(of_classes, "sum", json.dumps(body).encode(), JSON)
    assert reply.status == 400
    assert b"there are 10 classes" in reply.body


def test_shares_beyond_their_range_and_bodies_too_short_are_refused(of_classes: Server, of_attributes: Server) -> None:
    flat = floats(*[0.0] * LATENT)
    for numbers in ([1.5, 0, 0], [0, -0.1, 0], [0, 0, math.nan]):
        reply = ask(of_attributes, "decode", floats(*numbers) + flat)
        assert (reply.status, reply.body) == (400, b"a condition is 3 numbers in [0, 1]")
        body = {"terms": [{"sign": 1, "term": "point:3"}], "condition": numbers}
        text = json.dumps(body).encode()
        assert ask(of_attributes, "sum", text, JSON).status == 400
    for server in (of_classes, of_attributes):
        for name in ("decode", "under", "place", "near", "seeds", "file"):
            for body in (b"", b"\0", b"\0\0\0"):
                assert ask(server, name, body).status == 400, name
        assert ask(server, "decode", flat).status == 400  # a code alone
        assert exchange(server, request(server, "GET", "about.json")).startswith(b"HTTP/1.1 200")


def test_64_codes_and_a_condition_fit(of_attributes: Server) -> None:
    reply = ask(of_attributes, "decode", floats(1, 0, 1) + floats(*[0.5] * 64 * LATENT))
    assert len(reply.body) == 64 * 784
    assert ask(of_attributes, "decode", floats(1, 0, 1) + floats(*[0.5] * 65 * LATENT)).status == 400


# ---------------------------------------------------------------------------------------------------------------------
# The file
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_the_steps_of_one_condition_are_the_models(digits: Dataset, net: str) -> None:
    for condition, row in (("label", torch.tensor([4])), ("attributes", torch.tensor([[1, 0.5, 0]]))):
        dataset = digits if condition == "label" else with_attributes(digits)
        model = space_of(dataset, condition, net=net).model
        z, images = torch.randn(6, LATENT), torch.rand(6, 1, 28, 28)
        rows = sampling.repeated(row, 6)
        steps = program.read(model, "decode", z[:1], row)
        torch.testing.assert_close(steps.run(z), model.decode(z, rows), rtol=1e-5, atol=1e-5)
        if net == "conv":
            with pytest.raises(program.RefusedError, match="puts images side by side"):
                program.read(model, "encode", images[:1], row)
            continue
        steps = program.read(model, "encode", images[:1], row)
        torch.testing.assert_close(steps.run(images), model.encode(images, rows), rtol=1e-4, atol=1e-5)  # type: ignore[operator]


def test_a_file_is_of_the_class_that_was_asked_for(genkit: Genkit, told_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "seven.html"
    outcome = genkit("explore", told_run, "--class", "7", "--limit", 50, "--export", path, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["difference"] <= 2
    assert "all that this file decodes is class 7, the one condition that it was written for" in outcome.err
    text = path.read_text()
    assert "All that this file decodes is class 7" in text
    assert '"condition":null' in text


def test_what_the_explorer_refuses(genkit: Genkit, told_run: Path, vae_run: Path, tmp_path: Path) -> None:
    for run, arguments, why in (
        (told_run, ["--class", "ten"], "there is no class 'ten'; there are 0, 1"),
        (told_run, ["--condition", "even"], "takes a class"),
        (vae_run, ["--condition", "even"], "takes no condition"),
        (vae_run, ["--set", "steps=3"], "a vae has no options of its sampling"),
    ):
        outcome = genkit("explore", run, *arguments, "--export", tmp_path / "page.html")
        assert outcome.code == 2
        assert why in outcome.err
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------------------------
# The page
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional VAE of digits."""
    shape = ("--hidden", "64", "--latent-dim", "5", "--epochs", "2", "--batch-size", "128", "--condition", "label")
    return train(tmp_path_factory.mktemp("told"), "vae", "mnist5k", *shape)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    with opening(browser) as opener:
        yield opener


def assert_shows(page: Page, model: LoadedModel, condition: object, canvas: str = "#picture") -> None:
    """The picture of the page's code as of a condition, within 1/255."""
    expected = model.decode(code_of(page), condition) * 255
    shown = pixels_of(page, canvas).astype(float)
    shown = shown[None] if shown.ndim == 2 else shown.transpose(2, 0, 1)
    assert np.abs(shown - expected).max() <= 1.01


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_page_decodes_as_the_class_that_is_chosen(
    open_page: Open, told_run: Path, browser: Browser, size: str
) -> None:
    model = package.load(told_run)
    with serving(told_run, "--class", "3") as address:
        page = open_page(address, size)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.input_value("#told select") == "3"
        assert_shows(page, model, 3)
        code = code_of(page)
        page.focus("#told select")
        with answered(page):
            page.keyboard.press("7")  # by its name, as the browser finds an option
        assert page.input_value("#told select") == "7"
        assert code_of(page).tolist() == code.tolist()
        assert_shows(page, model, 7)
        if size == "desktop":
            box = page.locator("#map").bounding_box()
            assert box is not None
            with answered(page):
                page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"])
                page.mouse.down()
                page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
                page.mouse.up()
            assert code_of(page).tolist() != code.tolist()
            assert_shows(page, model, 7)

        # A walk and a sum follow.
        page.click("#tab-walk")
        with answered(page):
            page.click("#stops-random")
        assert_shows(page, model, 7)
        stop = pixels_of(page, "#stops canvas")
        with answered(page):
            page.select_option("#told select", "1")
        assert_shows(page, model, 1)
        assert (pixels_of(page, "#stops canvas") != stop).any()
        page.click("#tab-calculate")
        with answered(page):
            page.click("#sum-example")
        assert_shows(page, model, 1, "#sum-picture")
        with answered(page):
            page.select_option("#told select", "8")
        assert_shows(page, model, 8, "#sum-picture")
        page.click("#tab-sliders")
        with answered(page):
            page.click("#show-seed")
        assert_shows(page, model, 8)
        np.testing.assert_allclose(code_of(page), model.draw(1, condition=8)[0].numpy(), atol=1e-6)


def test_a_reconstruction_is_of_the_images_own_class(open_page: Open, told_run: Path, digits: Dataset) -> None:
    assert digits.test.labels is not None
    with serving(told_run) as address:
        page = open_page(address)
        page.click("#tab-reconstruct")
        assert "takes your image for what is chosen above" in page.inner_text("#encoder-note")
        for _ in range(3):
            with answered(page):
                page.click("#random-original")
            name = page.inner_text("#original-caption")
            index = int(name.split()[2])
            label = int(digits.test.labels[index])
            assert page.input_value("#told select") == str(label)
            assert_shows(page, package.load(told_run), label, "#reconstructed")
        with answered(page):
            page.select_option("#told select", str((label + 1) % 10))
        assert_shows(page, package.load(told_run), (label + 1) % 10, "#reconstructed")


def test_attributes_are_chosen_one_by_one(open_page: Open, coloured: Path, tmp_path: Path) -> None:
    shape = ("--hidden", "16", "--latent-dim", "3", "--epochs", "2", "--batch-size", "16", "--condition", "attributes")
    run = train(tmp_path / "runs", "vae", coloured, *shape)
    model = package.load(run)
    with serving(run, "--condition", "upright&!red") as address:
        page = open_page(address)
        boxes = page.locator("#told input")
        assert [each.is_checked() for each in boxes.all()] == [True, False]
        assert_shows(page, model, "upright & !red")
        boxes.nth(1).focus()
        with answered(page):
            page.keyboard.press("Space")
        assert_shows(page, model, "upright & red")
        page.click("#tab-reconstruct")
        with answered(page):
            page.click("#random-original")
        told = {name: float(box.is_checked()) for name, box in zip(("upright", "red"), boxes.all(), strict=True)}
        assert_shows(page, model, told, "#reconstructed")


def test_a_page_without_a_condition_has_no_chooser(
    open_page: Open, vae_run: Path, told_run: Path, tmp_path: Path
) -> None:
    with serving(vae_run) as address:
        page = open_page(address)
        with answered(page):
            assert page.is_hidden("#told")


def test_the_file_shows_its_one_class(open_page: Open, genkit: Genkit, told_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "seven.html"
    assert genkit("explore", told_run, "--class", "7", "--limit", 50, "--export", path).code == 0
    page = open_page(path.as_uri())
    assert page.is_hidden("#told")
    shown = pixels_of(page).astype(float)
    expected = package.load(told_run).decode(code_of(page), 7)[0] * 255
    assert np.abs(shown - expected).max() <= stored.TOLERANCE + 0.5


def test_a_file_shows_each_seed_as_what_it_is(
    open_page: Open, genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an encoder the points are seeds, each of its own class, and the file decodes one class alone."""
    monkeypatch.setenv(registry.VARIABLE, str(Path(__file__).parents[1] / "outside"))
    run = train(tmp_path / "runs", "drawn", "mnist5k", "--epochs", "3", "--batch-size", "50", "--lr", "0.02")
    path = tmp_path / "seven.html"
    outcome = genkit("explore", run, "--class", "7", "--limit", 30, "--export", path, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["mode"] == "decoder"
    page = open_page(path.as_uri())
    model, some = package.load(run), [0, 3, 7, 29]
    shown = np.array(backend(page, "(b, k) => b.originals(k)", some)).reshape(4, 28, 28)
    for seed, image in zip(some, shown, strict=True):
        own, seven = (model.sample(1, seed, condition)[0, 0].numpy() * 255 for condition in (None, 7))
        assert np.abs(image - own).max() <= 1.01
        assert (np.abs(image - seven).max() < 20) == (seed == 7)
