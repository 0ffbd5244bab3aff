"""The map of docs/design.md, held against the code: imports point one way, and nothing goes round in a circle."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECK = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", CHECK]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "genkit", tmp_path / "genkit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_point_one_way(copy: Path) -> None:
    outcome = checked(copy)
    assert outcome.returncode == 0, outcome.stdout
    assert "0 broken" in outcome.stdout


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("models/vae.py", "from genkit.keep import checkpoint", "genkit.models is not allowed to import genkit.keep"),
        ("contract/shape.py", "import genkit.latent.images", "genkit.contract is not allowed to import genkit.latent"),
        ("run/curves.py", "from genkit.run import trainer", "No cycles are allowed in genkit.run"),
        ("unheard_of.py", "", "unheard_of"),
    ],
)
def test_an_import_that_points_up_or_round_is_found(copy: Path, file: str, line: str, said: str) -> None:
    path = copy / "genkit" / file
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + f"\n{line}\n", encoding="utf-8")
    outcome = checked(copy)
    assert outcome.returncode == 1
    assert said in " ".join(outcome.stdout.split())


def test_what_a_model_can_do_is_asked_in_one_place() -> None:
    """By `contract/ability.py`: no other file looks at a model's class, or for a method of it."""
    asked = re.compile(
        r"isinstance\([^)]*(\bmodel\b|\.model\b|\bModel\b|Encodes|Classifies|Likelihood|GenerativeModel)"
        r"|issubclass\([^)]*(Model|Encodes)|hasattr\([^)]*\bmodel\b"
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "genkit").rglob("*.py"))
        if path.relative_to(ROOT / "genkit").parts not in {("contract", "ability.py"), ("registry.py",)}
        for line in path.read_text(encoding="utf-8").splitlines()
        if asked.search(line)
    ]
    assert found == ["genkit/cli/train.py: if not isinstance(model, str):"]  # a name in a recipe
