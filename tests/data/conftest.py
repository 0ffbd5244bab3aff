"""What the tests of data sources share: a data folder of their own, digits as files, and mirrors on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genkit.data import DataOptions, load
from genkit.data.dataset import Dataset


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """GENKIT_DATA: empty, and so is the user's cache behind it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("GENKIT_DATA", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GENKIT_OFFLINE", raising=False)
    return folder


@pytest.fixture(scope="session")
def pictures(digits: Dataset) -> np.ndarray:
    """100 different real digits, uint8 (100, 28, 28), ten a class in the order of the classes."""
    assert digits.train.labels is not None
    rows = [position for label in range(10) for position in (digits.train.labels == label).nonzero()[:10, 0]]
    return digits.train.images(np.array(rows))[:, 0].numpy()


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write uint8 (N, H, W[, 3]) pictures as FOLDER/CLASS/NUMBER.png; ten a class, or all in FOLDER itself."""

    def write(pictures: np.ndarray, folder: str = "pictures", classes: bool = False) -> Path:
        for number, picture in enumerate(pictures):
            path = tmp_path / folder / (str(number // 10) if classes else "") / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
        return tmp_path / folder

    return write


@pytest.fixture
def of() -> Callable[..., Dataset]:
    """Load a name or a path with options, as the command line does."""
    return lambda dataset, **options: load(DataOptions(dataset=str(dataset), **options))


class Mirrors:
    """An HTTP server on this machine. `files` maps paths to what is served; the rest is 404.

    `encoding` is what it says of how the content is compressed.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.encoding: str | None = None
        self.asked: list[str] = []
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirrors.asked.append(self.path)
                content = mirrors.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                if mirrors.encoding:
                    self.send_header("Content-Encoding", mirrors.encoding)
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *arguments: object) -> None:
                """Tests print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def mirrors() -> Iterator[Mirrors]:
    mirrors = Mirrors()
    yield mirrors
    mirrors.server.shutdown()
    mirrors.server.server_close()


@pytest.fixture
def files_in() -> Callable[[Path], list[str]]:
    """The files in a folder and below, but for the empty ones that lock packs."""
    return lambda folder: sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"
    )
