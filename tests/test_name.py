"""The package index has another `genkit`: nobody is sent to it, and where it lies over this one, that is said."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def started(*site: Path) -> subprocess.CompletedProcess[str]:
    """What the console script that pip writes does, with these folders on the path."""
    return subprocess.run(
        [sys.executable, "-c", "import sys; from latent_genkit import program; sys.exit(program())", "--version"],
        cwd=ROOT / "tests",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, site)), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """As pip leaves it, where a file of another distribution lies over ours, or has gone with it."""
    shutil.copy(ROOT / "latent_genkit.py", tmp_path)
    shutil.copytree(ROOT / "genkit", tmp_path / "genkit", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_door_leads_to_this_one(site: Path) -> None:
    process = started(site)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("genkit, version ")


@pytest.mark.parametrize("content", ["raise ImportError('no module named anyio')", None], ids=["over it", "taken away"])
def test_another_package_in_its_place_is_named(site: Path, content: str | None) -> None:
    (site / "genkit" / "__init__.py").unlink()
    if content is not None:
        (site / "genkit" / "__init__.py").write_text(content)
    process = started(site)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == (
        f"genkit: another package called genkit has been put in the place of this one, {site / 'genkit'}; "
        "run pip uninstall genkit latent-genkit, and then install this one again from its folder\n"
    )


def test_another_package_before_a_clone_on_the_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "genkit").mkdir()
    (tmp_path / "genkit" / "__init__.py").write_text("")
    process = started(tmp_path, ROOT)
    assert (process.returncode, process.stderr.count("\n")) == (1, 1)
    assert str(tmp_path / "genkit") in process.stderr


def test_nobody_is_sent_to_the_other() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["name"] == "latent-genkit"
    asked = re.compile(r"pip install[^\n]*[ '\"]genkit\b(?!-)|[\"']genkit\[")
    files = [*ROOT.glob("genkit/**/*.py"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    found = [f"{path}: {line}" for path in files for line in path.read_text().splitlines() if asked.search(line)]
    assert [each for each in found if "**Not `pip install genkit`**" not in each] == []
    for path in (ROOT / "docs" / "adding-a-model.md", ROOT / "tests" / "plugin" / "pyproject.toml"):
        assert 'dependencies = ["latent-genkit"]' in path.read_text()
