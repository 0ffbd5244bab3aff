"""What the tests of the explorer share: a small trained VAE, its server, and a real browser that looks at it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray

from genkit import cli
from genkit.contract import GenerativeModel, ability
from genkit.keep import rundir

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

#: A desktop's and a phone's window.
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


def chromium() -> str:
    """Where Debian's Chromium lies; skips where it doesn't."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium isn't installed: apt-get install chromium")
    return found


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Headless Chromium, started once."""
    executable = chromium()
    api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed: pip install playwright")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox"],
            handle_sigint=False,
            handle_sigterm=False,
            handle_sighup=False,
        )
        yield launched
        launched.close()


def train(out: Path, model: str, dataset: Path | str, *options: str) -> Path:
    """The folder of a run that the command trains."""
    with pytest.raises(SystemExit) as exit_info:
        cli.main(["train", model, "--dataset", str(dataset), "--device", "cpu", "--out", str(out), *options])
    assert not exit_info.value.code
    return next(path for path in out.iterdir() if path.name.startswith("00000-"))


@pytest.fixture(scope="package")
def vae_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE of digits with codes of five numbers, of which the map is a projection."""
    shape = ("--hidden", "64", "--latent-dim", "5", "--epochs", "3", "--batch-size", "128")
    return train(tmp_path_factory.mktemp("vae"), "vae", "mnist5k", *shape)


@pytest.fixture(scope="package")
def vae(vae_run: Path) -> GenerativeModel:
    return model_of(vae_run)


@pytest.fixture(scope="package")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars of random colours, 12×20, as an array with attributes: whether they stand, and whether they are red."""
    generator = np.random.default_rng(0)
    attributes = generator.integers(0, 2, (120, 2)).astype(bool)
    images = np.zeros((120, 12, 20, 3), np.uint8)
    for image, (upright, red) in zip(images, attributes, strict=True):
        at = generator.integers(0, 8)
        bar = image[:, at : at + 4] if upright else image[at : at + 4]
        bar[:] = [230, 40, 30] if red else generator.integers(60, 255, 3)
    path = tmp_path_factory.mktemp("coloured") / "bars.npz"
    np.savez(path, images=images, attributes=attributes, attribute_names=np.array(["upright", "red"]))
    return path


@pytest.fixture(scope="package")
def dcgan_run(coloured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DCGAN of coloured bars, barely trained."""
    shape = ("--width", "4", "--latent-dim", "8", "--epochs", "1", "--batch-size", "16")
    return train(tmp_path_factory.mktemp("dcgan"), "dcgan", coloured, *shape)


def model_of(run: Path) -> GenerativeModel:
    """The model of a run, as a command opens it."""
    return ability.generator(rundir.find(str(run)).read().model, run.name).eval()


@contextmanager
def serving(run: Path, *arguments: str) -> Iterator[str]:
    """The address that `genkit explore RUN` prints, as long as it serves."""
    command = [sys.executable, "-m", "genkit", "explore", str(run), "--no-browser", "--device", "cpu", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        address = server.stdout.readline().strip()
        try:
            assert address, server.stderr.read()
            yield address
        finally:
            server.kill()


Open = Callable[..., "Page"]


def replaced(route: Route, old: str, new: str) -> None:
    """Let a script come as if it had been written with `new` in the place of `old`."""
    response = route.fetch()
    assert old in response.text()
    route.fulfill(response=response, body=response.text().replace(old, new))


@contextmanager
def opening(browser: Browser, tolerated: tuple[str, ...] = ()) -> Iterator[Open]:
    """Open pages in windows of their own. At the end, none may have complained or asked anybody but its server.

    Args:
        tolerated: what complaints of the console may hold, where a test provokes them.
    """
    contexts: list[Any] = []
    asked: list[tuple[str, str]] = []
    complaints: list[str] = []

    def open_page(
        address: str, size: str = "desktop", *, instead: tuple[str, str, str] | None = None, **settings: Any
    ) -> Page:
        """`instead`: what of a script is replaced, and by what: the script's name, and the two."""
        width, height = SIZES[size]
        phone = {"is_mobile": True, "has_touch": True} if size == "phone" else {}
        context = browser.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce", **{**phone, **settings}
        )
        contexts.append(context)
        if instead is not None:
            script, old, new = instead
            context.route(f"**/{script}", lambda route: replaced(route, old, new))
        page = context.new_page()
        page.on("request", lambda request: asked.append((address, request.url)))
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.wait_for_selector("body[data-ready=true]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    tolerated += ("willReadFrequently",)  # it's the tests that read canvases often
    assert [each for each in complaints if not any(part in each for part in tolerated)] == []
    for address, url in asked:
        parts = urlsplit(url)
        assert parts.scheme in ("data", "blob") or url.startswith(address), url
        assert parts.hostname in (None, "127.0.0.1")


@contextmanager
def answered(page: Page) -> Iterator[None]:
    """After the block, wait until the page has asked what it had to ask, and shows the answers."""
    yield
    page.wait_for_selector("body[data-busy=false]")


def pixels_of(page: Page, canvas: str = "#picture") -> NDArray[np.uint8]:
    """What a canvas shows: uint8 (H, W), or (H, W, 3) where it isn't grey."""
    height, width, values = page.evaluate(
        """(name) => {
            const canvas = document.querySelector(name);
            const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.height, canvas.width, Array.from(image.data)];
        }""",
        canvas,
    )
    image = np.array(values, np.uint8).reshape(height, width, 4)
    assert (image[..., 3] == 255).all()
    grey = (image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all()
    return image[..., 0] if grey else image[..., :3]


def code_of(page: Page) -> NDArray[np.float32]:
    """The code that the page shows, in full precision."""
    return np.array(json.loads(page.input_value("#code")), np.float32)
