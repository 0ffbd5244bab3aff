"""A process whose forks are like fresh ones of Python's, but import what others wrote in no time.

    python -m fresh        (within tests/)

imports torch and the other libraries, takes them out of `sys.modules` again, and reads a job a line: `arguments` of
genkit, `cwd` and `environment`. Each is carried out by a fork, in which an import of such a library puts it back and
takes a millisecond instead of two seconds; genkit itself is imported anew, from wherever Python finds it. So a command
that imports torch needlessly is seen as in a fresh process: it is in `sys.modules`. The answer is a line of JSON:
`code`, `out`, `err`, and of `torch` and `numpy` whether they were imported.
"""

from __future__ import annotations

import faulthandler
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

#: What `genkit train` loads of others, roughly; whatever is missing here is imported as ever.
LIBRARIES = (
    "click",
    "pydantic",
    "filelock",
    "platformdirs",
    "safetensors.torch",
    "tqdm",
    "PIL.Image",
    "numpy",
    "torch",
)
#: Seconds after which a command is taken to hang.
PATIENCE = 120


class Ended(NamedTuple):
    """What a command in a process of its own came to, and whether it imported torch."""

    code: int
    out: str
    err: str
    torch: bool


class Forks:
    """The process, as a test sees it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fresh"],
            cwd=Path(__file__).parent,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments: list[str], cwd: Path, environment: Mapping[str, str]) -> Ended:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {"arguments": arguments, "cwd": str(cwd), "environment": dict(environment)}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        loaded = answer.pop("torch"), answer.pop("numpy")
        assert loaded in ((True, True), (False, False)), answer
        return Ended(**answer, torch=loaded[0])

    def close(self) -> None:
        self.process.communicate()


class Kept(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules that were imported before and are nobody's yet: an import puts one back, with all of its package.

    torch is put back with all the others, some of which it imports.
    """

    def __init__(self, modules: dict[str, ModuleType]):
        self.modules = modules

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name in self.modules else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = self.modules[spec.name]
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own  # import has just replaced it by ours
        package = module.__name__.partition(".")[0]
        for name, each in self.modules.items():
            if package in ("torch", name.partition(".")[0]):
                sys.modules.setdefault(name, each)


def main() -> None:
    known = set(sys.modules)
    for name in LIBRARIES:
        importlib.import_module(name)
    kept = Kept({name: sys.modules.pop(name) for name in list(sys.modules) if name not in known})
    assert not [name for name in kept.modules if name.partition(".")[0] == "genkit"]
    sys.meta_path.insert(0, kept)
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err, tempfile.TemporaryFile() as seen:
            if (pid := os.fork()) == 0:
                carry_out(json.loads(line), out.fileno(), err.fileno(), seen.fileno())
            _, status = os.waitpid(pid, 0)
            for file in (out, err, seen):
                file.seek(0)
            loaded = seen.read().decode().split()
            answer = {"code": os.waitstatus_to_exitcode(status), "out": out.read(), "err": err.read().rstrip("\n")}
            print(json.dumps({**answer, **{name: name in loaded for name in ("torch", "numpy")}}), flush=True)


def carry_out(job: dict[str, Any], out: int, err: int, seen: int) -> None:
    """Be the process of one command, with these file descriptors for what it prints and what it has imported."""
    code: Any = 70
    try:
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.path[0] = ""
        sys.dont_write_bytecode = bool(job["environment"].get("PYTHONDONTWRITEBYTECODE"))
        importlib.invalidate_caches()
        sys.argv[1:] = job["arguments"]
        from genkit.cli import main as command

        command(sys.argv[1:])
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(seen, " ".join({"torch", "numpy"} & sys.modules.keys()).encode())
    os._exit(code)


if __name__ == "__main__":
    main()
