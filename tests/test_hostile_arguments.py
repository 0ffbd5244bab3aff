"""Whatever is typed: exit code 0, 1 or 2, one line that says why, never a fault in genkit. Nothing here needs torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from conftest import Genkit
from PIL import Image

from genkit import cli, errors
from genkit.wording import counted, nearest, one_line

LONG = 5_000
NASTY = (
    "",
    "~nobody",
    "~nobody/x",
    "a" * LONG,
    "a/" * (LONG // 2),
    "\udcff\udcfe.npy",
    "x\ny\r",
    "\x1b[31mred",
    "n\0l",
    "/dev/null",
    "/nowhere/x",
    "1e999",
    "-1",
    "9" * 40,
    "１２",
    "=",
    "[",
    "%(x)s",
    "\u202egnk",
    "http://x/y",
)


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All of them but the models' own, whose flags are made of their options; `train` itself is here."""
    context = click.Context(command)
    if isinstance(command, click.Group) and path != ("train",):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, *path, name)
    else:
        yield path, command


ALL = dict(commands(cli.genkit_command))


def assert_told_well(outcome: object, typed: tuple[str, ...]) -> None:
    code, err = outcome.code, outcome.err  # type: ignore[attr-defined]
    assert code in (0, 1, 2), typed
    assert "a fault in" not in err, typed
    assert "Traceback" not in err, typed
    assert all(letter.isprintable() or letter == "\n" for letter in err), typed
    if code:
        (said,) = [line for line in err.splitlines() if line.startswith("genkit: ")]
        assert err.endswith(said + "\n"), typed
        assert len(said) < 1500, typed


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_any_option_and_argument_of_any_command(
    path: tuple[str, ...], genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder without a run; RUN is one that isn't there, so that each is refused before torch is asked for."""
    monkeypatch.chdir(tmp_path)
    takes_run = any(param.name == "run" for param in ALL[path].params)
    run = ["none"] if takes_run else []
    for value in NASTY:
        for typed in ([*path, value], [*path, *run, "--" + value], [*path, *run, "", value]):
            assert_told_well(genkit(*typed), tuple(typed))
        for param in ALL[path].params:
            if isinstance(param, click.Option) and not param.is_flag and (takes_run or path == ("train",)):
                typed = [*path, *run, param.opts[0], value]
                assert_told_well(genkit(*typed), tuple(typed))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", ["GENKIT_DATA", "GENKIT_OUT", "GENKIT_MODELS", "GENKIT_DEVICE"])
def test_any_variable(variable: str, genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in NASTY:
        if "\0" not in value:  # which no variable can have
            monkeypatch.setenv(variable, value)
            for typed in (("data", "list"), ("info",), ("models",)):
                assert_told_well(genkit(*typed), (variable, value, *typed))


def test_a_folder_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    code = (
        f"import os; os.chdir({str(folder)!r}); os.rmdir({str(folder)!r}); import sys; sys.argv[1:] = "
        "['data', 'verify', 'x/y.npy']; from genkit.cli import program; program()"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert process.returncode in (1, 2)
    assert process.stderr.count("\n") == 1
    assert "a fault in" not in process.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(36, "File name too long", "aaa"), "aaa: File name too long"),
        (
            OSError(28, "No space left on device"),
            "No space left on device; make room, or name another place",
        ),
        (ValueError("embedded null byte"), "a path has a NUL character in it, which no file's name can have"),
        (
            UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
            "the name of a file or folder has bytes",
        ),
        (ValueError("of another kind"), None),
        (OSError("without a number or a name"), None),
    ],
)
def test_what_is_the_system_s_is_no_fault(error: Exception, said: str | None) -> None:
    found = cli.of_the_system(error)
    assert (found is None) == (said is None)
    assert said is None or (found or "").startswith(said)


def test_the_nearest_name_is_offered(genkit: Genkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for typed, meant in (
        (["trian"], "train"),
        (["train", "vea"], "vae"),
        (["train", "VAE"], "vae"),
        (["TRAIN"], "train"),
        (["train", "vae", "--dataset", "minst"], "mnist"),
        (["data", "fetch", "minst"], "mnist"),
    ):
        outcome = genkit(*typed)
        assert outcome.code == 2
        assert f"did you mean '{meant}'?" in outcome.err
    assert nearest("zzz", ["train"]) == ""


def test_counts_in_words() -> None:
    assert [counted(count, "image") for count in (0, 1, 2, 1000)] == ["0 images", "1 image", "2 images", "1,000 images"]
    assert [counted(count, "class") for count in (1, 10)] == ["1 class", "10 classes"]
    assert [counted(count, "epoch") for count in (0.5, 1.0, 12345.0)] == ["0.5 epochs", "1 epoch", "12,345 epochs"]


def test_one_line_is_one() -> None:
    assert one_line("a\nb\x1b[0m\u202e\udcff c") == "a b?[0m?? c"
    assert one_line("a" * 50 + "b" * 50, 10) == "aaaaa…bbbbb"
    assert errors.in_one_line(OSError(2, "No such file", "x\ny")) == "x y: No such file"


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode elsewhere")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("café".encode(), "can't be read in this locale, of ascii; set LC_ALL=C.UTF-8, or PYTHONUTF8=1"),
        (b"caf\xe9", "has bytes that are no text in UTF-8; rename it"),
    ],
)
def test_a_name_that_the_locale_cant_read_is_not_to_be_renamed(tmp_path: Path, name: bytes, said: str) -> None:
    images = tmp_path / "images"
    images.mkdir()
    folder = os.fsencode(images) + b"/" + name
    Path(os.fsdecode(folder)).mkdir()
    Image.new("L", (8, 8)).save(Path(os.fsdecode(folder), "a.png"))
    env = {
        **{key: value for key, value in os.environ.items() if key not in ("LANG", "LC_CTYPE")},
        **{"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    for path in (folder, os.fsencode(images)):
        command = [sys.executable, "-m", "genkit", "data", "verify", path]
        process = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        assert process.returncode in (1, 2)
        assert said in process.stderr.splitlines()[-1]
