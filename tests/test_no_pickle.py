"""Nothing is unpickled, evaluated or extracted: neither in the code as it is written, nor when the commands run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import genkit
from genkit.run.curves import row_of  # noqa: F401  # so that the module is there to be walked

SOURCES = sorted(Path(genkit.__file__).parent.rglob("*.py"))
MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {"extract", "extractall", "unpack_archive", "load_module", "read_pickle", "unsafe_load"}
#: Calls that unpickle unless they are told not to, with what tells them.
TOLD = {("np", "load"): ("allow_pickle", False), ("numpy", "load"): ("allow_pickle", False)}
NEVER = {("torch", "load"), ("torch", "save"), ("torch", "hub")}


def faults(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in MODULES]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in NEVER:
            found.append(f"{node.value.id}.{node.attr}")
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.append(node.func.id)
        if isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            if node.func.attr in METHODS:
                found.append(node.func.attr)
            if (owner, node.func.attr) in TOLD:
                name, value = TOLD[owner, node.func.attr]
                keywords = {each.arg: getattr(each.value, "value", None) for each in node.keywords}
                if keywords.get(name) is not value:
                    found.append(f"{owner}.{node.func.attr} without {name}={value}")
    return found


def test_no_code_can_reach_a_pickle() -> None:
    assert len(SOURCES) > 40
    assert {path.name: found for path in SOURCES if (found := faults(ast.parse(path.read_text("utf-8"))))} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(x)",
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
        "exec(x)",
        "archive.extractall()",
    ],
)
def test_the_walk_sees(code: str) -> None:
    assert faults(ast.parse(code))


#: Runs commands and says of each pickle that names a class, or is refused, who asked for it.
HOOKED = """
import sys, traceback
found = []
def hook(event, arguments):
    if event in ("pickle.find_class", "marshal.load", "shelve.open", "os.system"):
        found.append((event, str(arguments)))
from genkit.cli import main
import genkit.run.trainer, genkit.latent.projection, genkit.latent.scatter
sys.addaudithook(hook)
for command in sys.argv[1:]:
    try:
        main(command.split(";"))
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{command} ended with {ended.code}")
sys.exit(str(found) if found else 0)
"""


def test_no_command_unpickles(tmp_path: Path) -> None:
    out = str(tmp_path / "runs")
    train = ["train", "vae", "--dataset", "mnist5k", "--hidden", "8", "--latent-dim", "2", "--batch-size", "500"]
    run = f"{out}/00000-vae-mnist5k"
    commands = [
        [*train, "--epochs", "1", "--out", out],
        ["train", "--resume", run, "--epochs", "2"],
        [*train, "--epochs", "1", "--out", out, "--init-from", run],
        ["sample", run],
        ["sample", run, "--interpolate"],
        ["sample", run, "--arithmetic", "label:7 - label:1 + label:4"],
        ["embed", run],
        ["info", run],
        ["export", run],
        ["info", f"{run}/exports/00000-vae-mnist5k-safetensors"],
        ["export", run, "--format", "pt2"],
        ["export", run, "--format", "onnx"],
        ["data", "list"],
        ["data", "verify", "mnist5k"],
    ]
    ended = subprocess.run(
        [sys.executable, "-c", HOOKED, *(";".join(command) for command in commands)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
