"""The endurance tests: what a run survives, counted. `make endurance` counts in full and writes docs/endurance.md.

Within `make test` each count is a tenth, or less. Every test enters its row of the table with `table.row`, after its
assertions.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from endurance.harness import SMALL, Zygote, only_run, result_of, training

from genkit.data.dataset import Dataset

FULL = os.environ.get("GENKIT_ENDURANCE") == "full"
PAGE = Path(__file__).parents[2] / "docs" / "endurance.md"
ROW = "endurance row"
#: What the page has, by place: it is written when all has been counted, and a part is only shown.
PLACES = {10, 20, 21, 22, 25, 30, 31, 32, *range(40, 48), *range(50, 60)}
#: Those that the tests of this session have entered: place, what, figure.
rows: list[list] = []


def scaled(count: int) -> int:
    """`count` in full; a tenth of it, but at least one, in a short run."""
    return count if FULL else max(1, count // 10)


class Table:
    """What a test found out, on its way to the page: pytest carries it, from another process too."""

    def __init__(self, properties: list[tuple[str, object]]):
        self.properties = properties

    def row(self, place: int, what: str, figure: str) -> None:
        """One row of the page, `place` being its order."""
        self.properties.append((ROW, [place, what, figure]))


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Table:
    return Table(request.node.user_properties)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        rows.extend(value for name, value in report.user_properties if name == ROW)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, if everything was counted in full, nothing failed, and this isn't a worker of xdist's."""
    if not FULL or not rows or session.testsfailed or hasattr(session.config, "workerinput"):
        return
    if {place for place, _, _ in rows} == PLACES:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(f"\n{lines()}")


def lines() -> str:
    return "\n".join(f"| {what} | {figure} |" for _, what, figure in sorted(rows))


def page() -> str:
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=PAGE.parent, check=False
    ).stdout.strip()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    return f"""# Endurance

What a run survives, as counted by `make endurance`, which writes this page. [Trust](trust.md) says what is promised.

| what was done | what came of it |
|---|---|
{lines()}

Counted on {date.today()} at revision {revision or "unknown"}: Python {platform.python_version()}, torch
{torch.__version__}, {machine}.
"""


@pytest.fixture(scope="session")
def few_digits(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 real digits of 12x12 as a .npy, which is memory-mapped: 480 for training."""
    path = tmp_path_factory.mktemp("digits") / "digits.npy"
    small = torch.nn.functional.interpolate(digits.train.images(slice(0, 600)).float(), size=12, mode="area")
    np.save(path, small.round().byte().numpy()[:, 0])
    return path


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture(scope="module")
def uninterrupted(
    zygote: Zygote, few_digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """What each model's small run comes to when nothing happens to it: model -> `result_of`."""
    out = tmp_path_factory.mktemp("uninterrupted")
    for model in SMALL:
        assert zygote.run(training(model, out / model, few_digits)).status == 0
    return {model: result_of(only_run(out / model)) for model in SMALL}
