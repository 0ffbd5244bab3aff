"""docs/adding-a-model.md, carried out as it stands: its files are written and its commands run, in an empty folder.

In an environment of its own, which sees what is installed here, so that `pip install -e .` changes nothing of it. That
one command is given what it takes to do without a network; all others are run word for word.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import genkit as package
from genkit.contract import GenerativeModel, Model, Phase, ability

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-model.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PIP = "--quiet --no-build-isolation --no-deps --no-index"


def script() -> str:
    """The page as a shell script: a block with a file's name is written, one of sh is run."""
    parts = ["set -eu"]
    for kind, name, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if name:
            parts.append(f"mkdir -p $(dirname {name})\ncat > {name} <<'END_OF_FILE'\n{text}END_OF_FILE")
        else:
            assert kind == "sh", f"a block of {kind} that no test runs"
            parts.append(text)
    return "\n".join(parts)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A virtual environment that has all that this Python has, and commands of its own."""
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=60)
    paths = {"base": str(home), "platbase": str(home)}
    own = Path(sysconfig.get_path("purelib", "venv", paths))
    lines = [f"import site; site.addsitedir({folder!r})" for folder in site.getsitepackages()]
    (own / "all_that_is_here.pth").write_text("\n".join(lines) + "\n")
    for name, further in {"genkit": "", "pytest": "", "pip": PIP}.items():
        command = home / "bin" / name
        python = shlex.quote(str(home / "bin" / "python"))
        command.write_text(f'#!/bin/sh\nexec {python} -m {name} "$@" {further}\n')
        command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GENKIT_M", "PIP_", "PYTEST"))}
    # This genkit, wherever the one that is installed may lie.
    here = str(Path(package.__file__).parents[1])
    return {**kept, "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": here}


@pytest.mark.skipif(os.name != "posix", reason="the page's commands are a shell's")
def test_from_an_empty_folder_to_an_installed_package(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    done = subprocess.run(
        ["sh", "-c", script()], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )
    assert not done.returncode, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    runs = sorted((folder / "runs").glob("0*"))
    providers = [json.loads((run / "config.json").read_text())["provider"] for run in runs]
    assert [list(each) for each in providers] == [["file", "sha256"], ["file", "sha256"], ["package", "version"]]
    assert providers[-1] == {"package": "genkit-denoising", "version": "0.1.0"}
    listed = [line.split() for line in done.stdout.splitlines() if line.startswith("denoising ")]
    assert [line[1:4] for line in listed] == [["encodes,", "generates,", "features"]] * 2
    assert " passed" in done.stdout
    assert list((runs[0] / "pictures").glob("reconstruct*.png"))


def test_the_tables_name_what_the_contract_has() -> None:
    """All that is public of both classes and of a phase, and nothing else; each ability with its methods."""
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index("| you write |") : page.index("**What a model can do**")]
    named = set(
        re.findall(r"`(\w+)(?:\([\w, ]*\))?`", "\n".join(row.split("|")[1] for row in table.splitlines()[2:-1]))
    )
    public = {name for kind in (Model, GenerativeModel) for name in vars(kind) if not name.startswith("_")}
    optional = {method for each in ability.ABILITIES for method in each.methods}
    assert public <= named
    assert named <= public | optional
    for each in ability.ABILITIES:
        by = [*each.methods, *each.any_of, *([each.declared] if each.declared else [])]
        names = ", ".join(f"`{name}`" for name in by)
        assert f"| {each.name} | {'any of ' if each.any_of else ''}{names} |" in page
    (signature,) = re.findall(r"^    Phase\((.*)\)$", page, re.MULTILINE)
    defaults = Phase._field_defaults
    assert signature == ", ".join(f"{name}={defaults[name]}" if name in defaults else name for name in Phase._fields)
