"""The page in a real browser, against the functions that `genkit sample` uses."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from conftest import Genkit
from explore.conftest import SIZES, Open, answered, code_of, model_of, opening, pixels_of, serving
from numpy.typing import NDArray
from PIL import Image

from genkit import data
from genkit.contract import GenerativeModel
from genkit.data.dataset import Dataset
from genkit.explore import stored
from genkit.latent import arithmetic, images, projection, sampling
from genkit.step.passes import encode_split

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

everywhere = pytest.mark.parametrize("size", SIZES)


@pytest.fixture(scope="module")
def address(vae_run: Path, browser: Browser) -> Iterator[str]:
    with serving(vae_run) as printed:
        yield printed


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    with opening(browser) as opener:
        yield opener


@torch.no_grad()
def decoded(model: GenerativeModel, code: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What `genkit sample` makes of a code: uint8 (H, W), or (H, W, 3) in colour."""
    pixels = images.to_uint8(sampling.decode(model, torch.from_numpy(code)[None]))[0]
    return pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()


def assert_alike(shown: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    """At most 1/255 apart."""
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected.astype(int)).max() <= 1


def middle(page: Page) -> tuple[int, int]:
    """The whole pixel in the middle of the map, which is scrolled into sight."""
    canvas = page.locator("#map-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    return round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)


def click_map(page: Page, dx: float, dy: float) -> None:
    """Click at an offset from the map's middle."""
    x, y = middle(page)
    with answered(page):
        page.mouse.click(x + dx, y + dy)


def hold(page: Page, name: str) -> list[Route]:
    """From now on, questions of this name come into the list, and aren't asked until the test lets them go on."""
    held: list[Route] = []
    page.route(f"**/{name}", lambda route: held.append(route))
    return held


def wait_for(page: Page, held: list[Route], number: int) -> None:
    for _ in range(500):
        if len(held) == number:
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"{len(held)} questions, and not {number}")


def name_of(dataset: Dataset, index: int) -> str:
    assert dataset.test.labels is not None
    return f"test image {index} ({dataset.classes[dataset.test.labels[index]]})"


# Map


@everywhere
def test_what_is_dragged_over_is_decoded(
    open_page: Open, address: str, vae: GenerativeModel, digits: Dataset, size: str
) -> None:
    page = open_page(address, size)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    x, y = middle(page)
    shown = []
    page.mouse.move(x - 90, y - 30)
    page.mouse.down()
    for dx, dy in [(-90, -30), (30, 90), (-30, 30)]:  # the last lies in the middle of the others
        with answered(page):
            page.mouse.move(x + dx, y + dy, steps=6)
        shown.append(code_of(page))
        assert_alike(pixels_of(page), decoded(vae, shown[-1]))
    page.mouse.up()
    assert np.abs(shown[0] - shown[1]).max() > 0.1
    np.testing.assert_allclose(shown[2], (shown[0] + shown[1]) / 2, atol=1e-5)

    # The middle of the map is the middle of the points, brought back from PCA.
    drawn = projection.project(encode_split(vae, digits.test, torch.device("cpu")))
    assert drawn.principal is not None
    centre = torch.from_numpy((drawn.points.min(0) + drawn.points.max(0)) / 2)
    with answered(page):
        page.mouse.click(x, y)
    expected = drawn.principal.mean + drawn.principal.axes.double() @ centre
    np.testing.assert_allclose(code_of(page), expected, atol=0.02)  # the pointer stands on whole pixels
    assert "back-projection of PCA" in page.inner_text("#panel-map")


def test_a_quick_drag_ends_where_the_pointer_is_and_leaves_no_queue(open_page: Open, address: str) -> None:
    page = open_page(address)
    x, y = middle(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    with answered(page):
        page.evaluate(
            """([x, y]) => {
                const send = (kind, dx) => document.querySelector("#map-canvas").dispatchEvent(
                    new PointerEvent(kind, { pointerId: 7, clientX: x + dx, clientY: y, bubbles: true }));
                send("pointerdown", 0);
                for (let dx = 1; dx <= 100; dx++) send("pointermove", dx);
                send("pointerup", 100);
            }""",
            [x, y],
        )
    assert asked.count("under") == 2  # the first, and the last of those that came meanwhile
    quick = code_of(page)
    click_map(page, 100, 0)
    np.testing.assert_array_equal(code_of(page), quick)


def test_the_map_zooms_moves_and_filters(open_page: Open, address: str) -> None:
    page = open_page(address)
    x, y = middle(page)

    def code_at(dx: float, dy: float) -> NDArray[np.float32]:
        click_map(page, dx, dy)
        return code_of(page)

    origin, side = code_at(0, 0), code_at(100, 0)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -208)  # e^(208/300) is 2
    page.wait_for_timeout(100)
    np.testing.assert_allclose(code_at(0, 0), origin, atol=1e-5)
    np.testing.assert_allclose(code_at(100, 0) - origin, (side - origin) / np.exp(208 / 300), atol=1e-4)
    with answered(page):
        page.mouse.move(x, y)
        page.mouse.down(button="right")
        page.mouse.move(x + 50, y, steps=3)
        page.mouse.up(button="right")
    np.testing.assert_allclose(code_at(50, 0), origin, atol=1e-4)
    page.click("#zoom-all")
    np.testing.assert_allclose(code_at(100, 0), side, atol=1e-5)

    chips = page.locator("#legend button")
    assert chips.count() == 10
    chips.nth(3).click()
    assert page.locator("#legend [aria-pressed=true]").all_inner_texts() == ["3"]
    chips.nth(7).click()
    assert page.locator("#legend [aria-pressed=true]").all_inner_texts() == ["3", "7"]
    for chip in (3, 7):
        chips.nth(chip).click()
    assert page.locator("#legend [aria-pressed=true]").count() == 10


def test_points_lie_where_their_codes_do_and_show_their_originals(
    open_page: Open, address: str, vae: GenerativeModel, digits: Dataset
) -> None:
    page = open_page(address)
    drawn = projection.project(encode_split(vae, digits.test, torch.device("cpu")))
    assert drawn.principal is not None
    mean, axes = drawn.principal.mean.double().numpy(), drawn.principal.axes.double().numpy()
    x, y = middle(page)
    places = []
    for dx in (0, 100):
        click_map(page, dx, 0)
        places.append((code_of(page) - mean) @ axes)
    scale = 100 / (places[1] - places[0])[0]
    distances = np.linalg.norm(drawn.points[:, None] - drawn.points[None], axis=2)
    loneliest = np.argsort(np.partition(distances, 1, axis=1)[:, 1])[-3:]
    for index in loneliest.tolist():
        across, up = (drawn.points[index] - places[0]) * scale
        with answered(page):
            page.mouse.move(x + across, y - up)
        assert page.inner_text("#tip") == name_of(digits, index)
        shown = pixels_of(page, "#tip canvas")
        np.testing.assert_array_equal(shown, digits.test.images(np.array([index]))[0, 0].numpy())
        around = page.evaluate(
            """([x, y]) => {
                const canvas = document.querySelector("#map-canvas");
                const box = canvas.getBoundingClientRect();
                const context = canvas.getContext("2d");
                return Array.from(context.getImageData(x - box.left - 2, y - box.top - 2, 5, 5).data);
            }""",
            [x + across, y - up],
        )
        pixels = np.array(around).reshape(25, 4)
        assert (pixels[:, 3] > 100).any(), "nothing is drawn there"


def test_keys_move_the_cursor(open_page: Open, address: str) -> None:
    page = open_page(address)
    for key, place in {"ArrowUp": (0, -8), "ArrowLeft": (-8, 0), "Shift+ArrowDown": (0, 40)}.items():
        click_map(page, *place)
        expected = code_of(page)
        click_map(page, 0, 0)
        with answered(page):
            page.keyboard.press(key)
        np.testing.assert_allclose(code_of(page), expected, atol=1e-5)


def test_two_fingers_zoom(open_page: Open, address: str) -> None:
    page = open_page(address, "phone")
    x, y = middle(page)
    click_map(page, 60, 0)
    side = code_of(page)
    click_map(page, 0, 0)
    origin = code_of(page)
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": px, "y": py, "id": k} for k, (px, py) in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    with answered(page):
        touch("touchStart", (x - 30, y))
        touch("touchStart", (x - 30, y), (x + 30, y))
        touch("touchMove", (x - 60, y), (x + 60, y))
        touch("touchEnd")
    click_map(page, 60, 0)
    np.testing.assert_allclose(code_of(page) - origin, (side - origin) / 2, atol=1e-4)


def test_pictures_of_points_make_room_and_are_fetched_again(open_page: Open, address: str) -> None:
    thumbs = []
    for room, again in (("64e6", False), ("3 * 28 * 28", True)):
        page = open_page(address, instead=("originals.js", "MOST_KEPT = 64e6;", f"MOST_KEPT = {room};"))
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url.rpartition("/")[2]))
        for dx in (-60, 60, -60):
            asked.clear()
            click_map(page, dx, 0)
            thumbs.append([pixels_of(page, f"#map-near .item:nth-child({k}) canvas") for k in range(1, 9)])
        assert ("originals" in asked) == again
    for first, later in ((0, 2), (0, 3), (1, 4), (0, 5)):
        np.testing.assert_array_equal(thumbs[first], thumbs[later])
    assert np.abs(np.subtract(thumbs[0], thumbs[1], dtype=int)).max() > 100


# Walk


@everywhere
def test_a_walk_goes_from_stop_to_stop_plays_and_is_saved(
    open_page: Open, address: str, vae: GenerativeModel, size: str, tmp_path: Path
) -> None:
    page = open_page(address, size)
    page.click("#tab-walk")
    page.fill("#walk-steps", "5")
    stops = []
    for dx, dy in [(-80, 20), (70, -60), (10, 90)]:
        click_map(page, dx, dy)
    assert page.locator("#stops [role=listitem]").count() == 3
    assert page.get_attribute("#player", "data-frames") == "9"
    codes = []
    for frame in range(9):
        page.locator("#scrub").fill(str(frame))
        codes.append(code_of(page))
        assert_alike(pixels_of(page), decoded(vae, codes[-1]))
    for number in range(3):
        page.locator("#stops .thumb").nth(number).click()
        stops.append(code_of(page))
        np.testing.assert_array_equal(stops[-1], codes[4 * number])
    centre, _ = sampling.prior_moments(vae)
    segments = sampling.interpolate(torch.tensor(np.array(stops)), 5, "slerp", centre)
    expected = torch.cat([segments[0], segments[1][1:]])
    np.testing.assert_allclose(np.array(codes), expected, atol=1e-5)

    page.uncheck("#loop")
    page.locator("#scrub").fill("0")
    page.click("#play")
    page.wait_for_selector("#play[aria-pressed=true]")
    page.wait_for_selector("#play[aria-pressed=false]")  # at its end
    assert page.inner_text("#frame-number") == "9 / 9"
    np.testing.assert_array_equal(code_of(page), codes[-1])
    page.check("#loop")
    page.locator("#scrub").fill("7")
    page.click("#play")
    page.wait_for_selector("#frame-number:text-is('3 / 9')")  # past the end, and on from the beginning
    page.click("#play")
    stopped = page.inner_text("#frame-number")
    page.wait_for_timeout(200)
    assert page.inner_text("#frame-number") == stopped

    with page.expect_download() as download:
        page.click("#save-gif")
    download.value.save_as(tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as film:
        assert (film.n_frames, film.size, film.info["loop"], film.info["duration"]) == (9, (280, 280), 0, 80)
        for frame, code in enumerate(codes):
            film.seek(frame)
            grey = np.asarray(film.convert("L"))
            np.testing.assert_array_equal(grey, np.kron(grey[::10, ::10], np.ones((10, 10), np.uint8)))
            assert_alike(grey[::10, ::10], decoded(vae, code))

    page.check("input[value=lerp]")
    page.wait_for_selector("#player:not([hidden])")
    page.locator("#scrub").fill("2")
    np.testing.assert_allclose(code_of(page), (stops[0] + stops[1]) / 2, atol=1e-5)


def test_stops_come_from_seeds_test_images_and_the_picture(
    open_page: Open, address: str, vae: GenerativeModel, digits: Dataset
) -> None:
    page = open_page(address)
    page.click("#tab-walk")
    with answered(page):
        page.fill("#stop-number", "5")
        page.click("#stop-add")
    with answered(page):
        page.click("#stops-random")
    names = [each.get_attribute("aria-label") or "" for each in page.locator("#stops .thumb").all()]
    assert names[0] == "Stop 1: seed 5"
    page.locator("#stops .thumb").nth(0).click()
    np.testing.assert_array_equal(code_of(page), sampling.seed_codes(vae, [5])[0])
    page.select_option("#stop-kind", "point")
    page.fill("#stop-number", "123")
    with answered(page):
        page.click("#stop-add")
    assert page.locator("#stops .thumb").nth(5).get_attribute("aria-label") == f"Stop 6: {name_of(digits, 123)}"
    for stop, index in ((2, int(names[2].split()[4])), (5, 123)):
        page.locator("#stops .thumb").nth(stop).click()
        original = images.to_float(digits.test.images(np.array([index])))
        np.testing.assert_allclose(code_of(page), sampling.encode(vae, original)[0], atol=1e-5)
    before = code_of(page)
    with answered(page):
        page.click("#stop-current")
    page.locator("#stops .thumb").nth(6).click()
    np.testing.assert_array_equal(code_of(page), before)
    with answered(page):
        page.locator("#stops .remove").nth(0).click()
    assert page.locator("#stops .thumb").nth(0).get_attribute("aria-label") == names[1].replace("Stop 2", "Stop 1")


def test_a_walk_that_comes_too_late_is_not_shown(open_page: Open, address: str) -> None:
    page = open_page(address)
    before = page.inner_text("#what")
    page.click("#tab-walk")
    held = hold(page, "place")
    page.click("#stops-random")
    wait_for(page, held, 1)
    page.click("#stops-clear")
    with answered(page):
        held[0].continue_()
    assert page.inner_text("#what") == before
    assert page.is_hidden("#player")


# Calculate


def test_a_sum_is_that_of_genkit_sample(
    open_page: Open, address: str, vae_run: Path, vae: GenerativeModel, genkit: Genkit, tmp_path: Path
) -> None:
    expression = "label:7 - label:1 + label:4"
    sampled = genkit("sample", vae_run, "--arithmetic", expression, "--jitter", 0, "--npz", "--json", "--out", tmp_path)
    with np.load(sampled.json["files"]["npz"]) as arrays:
        expected = arrays["codes"][4]
    for size in SIZES:
        calculate(open_page(address, size), vae, expected)


def calculate(page: Page, vae: GenerativeModel, expected: NDArray[np.float32]) -> None:
    """Put 7 − 1 + 4 together, whose code is `expected`, and other sums."""
    page.click("#tab-calculate")
    for sign, label in (("+", "7"), ("−", "1"), ("+", "4")):
        page.locator("#next-sign label", has_text=sign).click()
        page.select_option("#term-label", label)
        with answered(page):
            page.click("#term-add")
    np.testing.assert_allclose(code_of(page), expected, atol=1e-5)
    assert_alike(pixels_of(page, "#sum-picture"), decoded(vae, code_of(page)))
    assert_alike(pixels_of(page), decoded(vae, code_of(page)))
    assert page.inner_text("#what") == "7 − 1 + 4"
    assert page.locator("#sum-near .thumb").count() == 8
    exemplars = [
        [pixels_of(page, f"#terms .term:nth-child({term}) canvas:nth-child({k})").astype(float) for k in (1, 2, 3)]
        for term in (1, 2, 3)
    ]
    seven, one, four = (np.mean(each, axis=0) for each in exemplars)
    assert_alike(pixels_of(page, "#sum-control"), np.clip(seven - one + four, 0, 255).round().astype(np.uint8))

    # The sign of a term turns, and what was clicked on the map, a seed and the picture itself are terms too.
    with answered(page):
        page.click("#terms-clear")
    picture = code_of(page)
    for kind in ("current", "seed"):
        page.select_option("#term-kind", kind)
        with answered(page):
            page.click("#term-add")
    np.testing.assert_allclose(code_of(page), picture + sampling.seed_codes(vae, [0])[0].numpy(), atol=1e-5)
    with answered(page):
        page.locator("#terms .sign").nth(1).click()
    np.testing.assert_allclose(code_of(page), picture - sampling.seed_codes(vae, [0])[0].numpy(), atol=1e-5)
    click_map(page, 20, 20)
    assert page.locator("#terms .name").nth(2).inner_text().startswith("test image ")


def test_a_sum_that_comes_too_late_is_not_shown(open_page: Open, address: str) -> None:
    page = open_page(address)
    before, code = page.inner_text("#what"), code_of(page)
    page.click("#tab-calculate")
    held = hold(page, "sum")
    page.click("#sum-example")
    wait_for(page, held, 1)
    page.locator("#terms .remove").nth(1).click()
    held[0].continue_()
    wait_for(page, held, 2)  # of the terms that are left
    assert page.inner_text("#what") == before
    page.click("#terms-clear")
    with answered(page):
        held[1].continue_()
    assert page.is_hidden("#sum-result")
    page.click("#sum-example")
    wait_for(page, held, 3)
    page.click("#tab-map")
    with answered(page):
        held[2].continue_()
    assert page.inner_text("#what") == before
    np.testing.assert_array_equal(code_of(page), code)
    page.click("#tab-calculate")
    assert page.is_visible("#sum-result")


def test_what_has_been_cleared_is_no_longer_on_show(open_page: Open, address: str, vae: GenerativeModel) -> None:
    page = open_page(address)
    for tab, add, clear, what in (
        ("#tab-calculate", "#sum-example", "#terms-clear", "7 − 1 + 4"),
        ("#tab-walk", "#stops-random", "#stops-clear", "Frame 1 of a walk over 4 stops"),
    ):
        page.click(tab)
        with answered(page):
            page.click(add)
        assert page.inner_text("#what") == what
        with answered(page):
            page.click(clear)
        assert page.inner_text("#what").startswith("Under the cursor, at ")
        assert_alike(pixels_of(page), decoded(vae, code_of(page)))
    with answered(page):
        page.click("#stops-random")
    page.click("#tab-sliders")
    with answered(page):
        page.click("#random-code")
    what = page.inner_text("#what")
    assert what.startswith("Seed ")
    page.click("#tab-walk")
    with answered(page):
        page.click("#stops-clear")
    assert page.inner_text("#what") == what  # which is no picture of the walk


def test_points_of_a_thinned_map_are_numbered_as_in_their_split(
    browser: Browser, vae_run: Path, vae: GenerativeModel, digits: Dataset
) -> None:
    positions = digits.test.spread(40).tolist()
    with serving(vae_run, "--limit", "40") as address, opening(browser) as open_page:
        page = open_page(address)
        page.click("#tab-calculate")
        page.select_option("#term-kind", "point")
        assert page.get_attribute("#term-number", "max") == str(positions[-1])
        assert int(page.input_value("#term-number")) in positions  # the one nearest to the cursor
        page.fill("#term-number", str(positions[7]))
        with answered(page):
            page.click("#term-add")
        assert page.locator("#terms .name").inner_text() == name_of(digits, positions[7])
        image = images.to_float(digits.test.images(torch.tensor(positions[7:8])))
        np.testing.assert_allclose(code_of(page), sampling.encode(vae, image)[0], atol=1e-5)
        page.fill("#term-number", str(positions[7] + 1))
        page.click("#term-add")
        page.wait_for_selector("#status.error")
        assert f"0 to {positions[-1]}, evenly spaced" in page.inner_text("#status")

        page.click("#tab-walk")
        page.select_option("#stop-kind", "point")
        page.fill("#stop-number", str(positions[3]))
        with answered(page):
            page.click("#stop-add")
        assert page.get_attribute("#stops .thumb", "title") == f"Stop 1: {name_of(digits, positions[3])}"


# Sliders


def test_sliders_move_one_number_of_a_code(open_page: Open, address: str, vae: GenerativeModel) -> None:
    page = open_page(address)
    page.click("#tab-sliders")
    with answered(page):
        page.click("#random-code")
    seed = int(page.input_value("#seed"))
    start = code_of(page)
    np.testing.assert_array_equal(start, sampling.seed_codes(vae, [seed])[0])
    dims = [int(each.get_attribute("data-dim") or -1) for each in page.locator("#sliders input").all()]
    assert sorted(dims) == list(range(5))
    moved = dims[1]
    slider = page.locator(f"#slider-{moved}")
    with answered(page):
        slider.fill("1.25")
    expected = start.copy()
    expected[moved] = 1.25
    np.testing.assert_array_equal(code_of(page), expected)
    assert_alike(pixels_of(page), decoded(vae, expected))
    mean, spread = sampling.prior_moments(vae)
    strip = pixels_of(page, f".slider:has(#slider-{moved}) canvas")
    for k, share in enumerate(np.linspace(-3, 3, 9)):
        swept = expected.copy()
        swept[moved] = mean[moved] + share * spread[moved]
        assert_alike(strip[:, 28 * k : 28 * (k + 1)], decoded(vae, swept))
    with answered(page):
        page.click("#to-mean")
    np.testing.assert_allclose(code_of(page), mean, atol=1e-6)


def test_a_code_is_copied_and_pasted_in_full_precision(open_page: Open, address: str, vae: GenerativeModel) -> None:
    page = open_page(address, permissions=["clipboard-read", "clipboard-write"])
    code = sampling.seed_codes(vae, [3])[0].numpy()
    with answered(page):
        page.fill("#code", str(code.tolist()))
        page.press("#code", "Tab")
    assert_alike(pixels_of(page), decoded(vae, code))
    page.click("#copy-code")
    page.wait_for_selector("#status:has-text('Copied the code')")
    copied = page.evaluate("navigator.clipboard.readText()")
    np.testing.assert_array_equal(np.array(json.loads(copied), np.float32), code)
    page.fill("#code", "[1, 2, 1e999, 0, 0]")
    page.press("#code", "Tab")
    assert "That isn't a code" in page.inner_text("#status")
    page.fill("#code", "[1, 2]")
    page.press("#code", "Tab")
    assert page.inner_text("#status") == "A code of this model has 5 numbers, not 2."
    assert_alike(pixels_of(page), decoded(vae, code))


# Reconstruct


@everywhere
def test_a_dropped_image_is_reconstructed(
    open_page: Open, address: str, vae: GenerativeModel, digits: Dataset, size: str, tmp_path: Path
) -> None:
    drawn = Image.fromarray(digits.test.images(np.array([7]))[0, 0].numpy()).resize((61, 61)).convert("RGB")
    drawn.save(tmp_path / "mine.png")
    original = images.read_image(tmp_path / "mine.png", vae.image)
    page = open_page(address, size)
    page.click("#tab-reconstruct")
    carried = page.evaluate_handle(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], "mine.png", { type: "image/png" }));
            return carried;
        }""",
        base64.b64encode((tmp_path / "mine.png").read_bytes()).decode(),
    )
    with answered(page):
        page.dispatch_event("#drop", "drop", {"dataTransfer": carried})
    assert_alike(pixels_of(page, "#original"), images.to_uint8(original)[0].numpy())
    expected = images.to_uint8(sampling.reconstruct(vae, original[None]))[0, 0].numpy()
    assert_alike(pixels_of(page, "#reconstructed"), expected)
    assert_alike(pixels_of(page), expected)
    np.testing.assert_allclose(code_of(page), sampling.encode(vae, original[None])[0], atol=1e-5)
    assert page.inner_text("#what") == "Reconstruction of mine.png"


def test_what_goes_wrong_is_said_and_passes(browser: Browser, address: str, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no image")
    with opening(browser, tolerated=("Failed to load resource",)) as open_page:
        page = open_page(address)
        page.click("#tab-reconstruct")
        with answered(page):
            page.set_input_files("#file", tmp_path / "notes.png")
        assert page.get_attribute("#status", "class") == "error"
        assert len(page.inner_text("#status").splitlines()) == 1
        page.context.set_offline(True)
        click_map(page, 10, 10)
        assert "The server doesn't answer any more" in page.inner_text("#status")
        page.context.set_offline(False)
        click_map(page, 20, 10)
        assert page.inner_text("#status") == ""


def test_what_is_said_stays_until_the_next_thing_is_done(open_page: Open, address: str) -> None:
    page = open_page(address, permissions=["clipboard-read", "clipboard-write"])
    x, y = middle(page)
    page.wait_for_selector("body[data-busy=false]")  # what is near the first place has been asked
    held = hold(page, "near")
    page.mouse.click(x, y)
    wait_for(page, held, 1)
    page.fill("#code", "[1, 2]")
    page.press("#code", "Tab")
    with answered(page):
        held[0].continue_()
    assert page.inner_text("#status") == "A code of this model has 5 numbers, not 2."
    page.keyboard.press("Shift")
    assert page.inner_text("#status") == ""
    page.click("#copy-code")
    page.wait_for_selector("#status:has-text('Copied the code')")
    page.mouse.click(x, y)
    assert page.inner_text("#status") == ""


# Without an encoder, and in colour


def test_a_model_without_an_encoder_says_so_and_searches(
    browser: Browser, dcgan_run: Path, coloured: Path, tmp_path: Path
) -> None:
    gan = model_of(dcgan_run)
    Image.fromarray(decoded(gan, sampling.seed_codes(gan, [9])[0].numpy())).save(tmp_path / "mine.png")
    Image.new("RGB", (20, 12), "teal").save(tmp_path / "other.png")
    with serving(dcgan_run, "--limit", "40") as address, opening(browser) as open_page:
        page = open_page(address)
        assert "40 samples" in page.inner_text("#facts")
        click_map(page, 30, 30)
        assert_alike(pixels_of(page), decoded(gan, code_of(page)))

        page.click("#tab-reconstruct")
        assert "has no encoder" in page.inner_text("#encoder-note")
        assert page.is_hidden("#random-original")
        page.set_input_files("#file", tmp_path / "other.png")
        page.wait_for_selector("#file-progress:not([hidden])")
        page.set_input_files("#file", tmp_path / "mine.png")  # which takes the other's place
        # The other may have been found already, if its search was quick.
        page.wait_for_selector("#original-caption:text-is('mine.png')", timeout=60_000)
        page.wait_for_selector("#reconstruction:not([hidden])", timeout=60_000)
        assert page.inner_text("#status") == ""
        assert page.is_hidden("#file-progress")
        assert page.text_content("#file-steps") == "299 / 300"
        assert_alike(pixels_of(page, "#reconstructed"), decoded(gan, code_of(page)))

        page.click("#tab-calculate")
        page.select_option("[data-attribute=upright]", "with")
        page.select_option("[data-attribute=red]", "without")
        page.click("#term-add")
        page.wait_for_selector("#sum-result:not([hidden])", timeout=60_000)
        assert page.inner_text("#terms .name") == "upright, not red"
        dataset = data.load(data.DataOptions(dataset=str(coloured)))
        chosen = arithmetic.exemplars_among("upright&!red", dataset, dataset.test, 3, 0)
        originals = images.to_float(dataset.test.images(chosen))
        control = images.to_uint8(originals.mean(0)).permute(1, 2, 0).numpy()
        assert_alike(pixels_of(page, "#sum-control"), control)
        np.testing.assert_allclose(code_of(page), sampling.encode(gan, originals).mean(0), atol=1e-3)

        page.select_option("#term-kind", "file")
        page.set_input_files("#term-file", tmp_path / "other.png")
        with page.expect_response("**/file"):
            page.click("#term-add")
        page.set_input_files("#term-file", tmp_path / "mine.png")
        page.click("#term-add")
        page.wait_for_selector("#status:has-text('other.png isn\\'t in the sum')")
        page.wait_for_selector("#terms .term:nth-child(2)", timeout=60_000)
        assert page.locator("#terms .name").all_inner_texts() == ["upright, not red", "mine.png"]


# For everybody


def test_tabs_turn_by_keys_and_the_walk_by_enter(open_page: Open, address: str) -> None:
    page = open_page(address)
    page.focus("#tab-map")
    names = ["map", "walk", "calculate", "sliders", "reconstruct"]
    keys = ["ArrowRight"] * 5 + ["ArrowLeft", "Home", "End"]
    for key, name in zip(keys, [*names[1:], "map", "reconstruct", "map", "reconstruct"], strict=True):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == f"tab-{name}"
        assert page.locator("[role=tab][aria-selected=true]").get_attribute("id") == f"tab-{name}"
        assert page.locator("[role=tabpanel]:visible").get_attribute("id") == f"panel-{name}"
    page.click("#tab-walk")
    page.focus("#map")
    with answered(page):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
    assert page.locator("#stops [role=listitem]").count() == 1


def test_every_control_has_a_name(open_page: Open, address: str) -> None:
    page = open_page(address)
    for tab in page.locator("[role=tab]").all():
        with answered(page):
            tab.click()
        for more in ("#stops-random", "#sum-example", "#random-original"):
            if page.is_visible(more):
                with answered(page):
                    page.click(more)
        nameless = page.evaluate(
            """() => Array.from(document.querySelectorAll("button, input, select, textarea, [role=img]"))
                .filter((each) => each.checkVisibility())
                .filter((each) => !(each.getAttribute("aria-label") || (each.labels && each.labels.length
                    && each.labels[0].textContent.trim()) || /[\\p{L}\\p{N}]/u.test(each.textContent)))
                .map((each) => each.outerHTML)"""
        )
        assert nameless == []


# The scripts by themselves


@pytest.fixture(scope="module")
def scripts(browser: Browser) -> Iterator[Page]:
    """An empty page with the scripts that need no page."""
    page = browser.new_page()
    for name in ("latent.js", "gif.js"):
        page.add_script_tag(content=stored.alone(name))
    yield page
    page.close()


@pytest.mark.parametrize("kind", ["slerp", "lerp"])
@pytest.mark.parametrize("case", ["any", "centred", "parallel", "opposite", "zero"])
def test_paths_are_those_of_sampling(scripts: Page, kind: Any, case: str) -> None:
    waypoints = torch.randn(3, 7, generator=torch.Generator().manual_seed(1))
    centre = torch.linspace(-1, 1, 7) if case == "centred" else torch.zeros(7)
    if case == "parallel":
        waypoints[1] = 2.5 * waypoints[0]
    if case == "opposite":
        waypoints[1] = -waypoints[0]
    if case == "zero":
        waypoints[1] = 0
    found = scripts.evaluate(
        """([waypoints, kind, centre]) => {
            const codes = waypoints.map((each) => Float32Array.from(each));
            return genkit.latent.path(codes, 6, kind, centre).map((each) => Array.from(each));
        }""",
        [waypoints.tolist(), kind, centre.tolist()],
    )
    first, second = sampling.interpolate(waypoints, 6, kind, centre)
    np.testing.assert_allclose(np.array(found), torch.cat([first, second[1:]]), atol=1e-5)


def test_sweeps_are_those_of_sampling(scripts: Page, vae: GenerativeModel) -> None:
    code = sampling.seed_codes(vae, [2])[0]
    mean, spread = sampling.prior_moments(vae)
    found = scripts.evaluate(
        """([code, prior]) => [0, 3].map((dim) => {
            return genkit.latent.sweep(code, dim, 2.5, 7, prior).map((each) => Array.from(each));
        })""",
        [code.tolist(), {"mean": mean.tolist(), "spread": spread.tolist()}],
    )
    np.testing.assert_allclose(np.array(found), sampling.traverse(vae, code, 2.5, 7, [0, 3]), atol=1e-5)


def test_a_written_code_is_the_same_code(scripts: Page) -> None:
    numbers = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    numbers[:6] = [0, 1e-30, -1e6, 1 / 3, 16777216, 1.1754944e-38]
    text = scripts.evaluate("(numbers) => genkit.latent.write(Float32Array.from(numbers))", numbers.tolist())
    np.testing.assert_array_equal(np.array(json.loads(text), np.float32), numbers)
    assert max(map(len, text.split(", "))) <= 16


def gif_frames(page: Page, frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Frames (T, H, W, C) through the page's encoder and Pillow's decoder."""
    count, height, width, channels = frames.shape
    content = page.evaluate(
        """([width, height, channels, content]) => {
            const frames = content.map((each) => Uint8Array.from(atob(each), (letter) => letter.charCodeAt(0)));
            const bytes = genkit.gif.encode({ width, height, channels, frames });
            return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        }""",
        [width, height, channels, [base64.b64encode(frame.tobytes()).decode() for frame in frames]],
    )
    with Image.open(io.BytesIO(base64.b64decode(content))) as film:
        assert film.n_frames == count
        shown = []
        for frame in range(count):
            film.seek(frame)
            shown.append(np.asarray(film.convert("RGB")))
    return shown


@pytest.mark.parametrize("size", [(1, 1), (300, 301), (40, 7)])
def test_grey_animations_are_exact(scripts: Page, size: tuple[int, int]) -> None:
    """Noise fills the table of codes many times over; what is flat makes it grow slowest."""
    noise = np.random.default_rng(0).integers(0, 256, (2, *size, 1), np.uint8)
    frames = np.concatenate([noise, np.full((1, *size, 1), 255, np.uint8)])
    factor = max(1, -(-256 // max(size)))
    for shown, frame in zip(gif_frames(scripts, frames), frames, strict=True):
        expected = frame.repeat(factor, 0).repeat(factor, 1).repeat(3, 2)
        np.testing.assert_array_equal(shown, expected)


def test_colours_are_exact_up_to_256_and_near_beyond(scripts: Page) -> None:
    generator = np.random.default_rng(0)
    palette = generator.integers(0, 256, (256, 3), np.uint8)
    few = palette[generator.permutation(np.arange(64 * 64) % 256)].reshape(64, 64, 3)
    across, down = np.meshgrid(np.arange(64), np.arange(64))
    many = np.stack([4 * across, 4 * down, 2 * (across + down)], 2).astype(np.uint8)
    shown = [each[::4, ::4] for each in gif_frames(scripts, np.stack([few, many]))]
    np.testing.assert_array_equal(shown[0], few)
    difference = np.abs(shown[1].astype(int) - many.astype(int))
    assert difference.mean() < 4
    assert difference.max() < 32
