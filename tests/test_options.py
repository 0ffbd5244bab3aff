"""Recipes: what is read, and that whatever else somebody passes for one ends in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from genkit.errors import UsageError
from genkit.options import MAX_RECIPE, read_config


@pytest.fixture
def recipe(tmp_path: Path):
    """Write a recipe; gives its path."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_config(path)
    message = str(caught.value)
    assert message.isprintable(), "one line"
    assert len(message) < 1000
    return message


def test_values_come_as_a_person_would_type_them(recipe):
    path = recipe('model = "vae"\nlr = 1e-3\nbatch-size = 128\nhidden = [512, 256]\nlabels = true\nname = "é"\n')
    assert read_config(path) == {
        "model": "vae",
        "lr": "0.001",
        "batch_size": "128",
        "hidden": "512,256",
        "labels": "True",
        "name": "é",
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("lr = ", "is not TOML: Invalid value (at end of document); mend it"),
        (b"\xff\xfe", "is not TOML: 'utf-8' codec can't decode byte 0xff"),
        ("seed = " + "9" * 5000, "is not TOML: Exceeds the limit (4300 digits)"),
        ("seed = 0x" + "9" * 5000, "is not TOML: Exceeds the limit (4300 digits)"),
        ("a = " + "[" * 50_000, "is nested too deeply; a recipe is a line for each option"),
        ("a = " + "{a = " * 10_000, "is nested too deeply"),
        (".".join("a" * 30_000) + " = 1", "has a line of more than 100 dots; a recipe is a line for each option"),
        ("[train]\nlr = 1\n", ": train is a table; a recipe is a line for each option"),
        ("train.lr = 1\n", ": train is a table; a recipe is a line for each option"),
        ("train = {lr = 1}\n", ": train is a table; a recipe is a line for each option"),
        ("[[train]]\nlr = 1\n", ": train is a list of lists or tables; a recipe is a line for each option"),
        ("hidden = [[1], [2]]\n", ": hidden is a list of lists or tables; a recipe is a line for each option"),
        ("image-size = 8\nimage_size = 16\n", "has image-size twice; keep one"),
        ('"a\\nb" = {}\n', r": 'a\nb' is a table"),
        ("#" * (MAX_RECIPE + 1), "has 65,537 bytes, and a recipe at most 65,536; is it one?"),
    ],
)
def test_no_recipe(recipe, content, problem):
    path = recipe(content)
    message = refusal(path)
    assert message.startswith(str(path))
    assert problem in message


def test_a_key_with_a_line_break_is_shown_in_one_line(recipe):
    assert read_config(recipe('"a\\nb" = 1\n')) == {r"'a\nb'": "1"}


def test_a_recipe_of_the_largest_size(recipe):
    content = "lr = 1\n"
    assert read_config(recipe(content + "#" * (MAX_RECIPE - len(content)))) == {"lr": "1"}


def test_what_is_no_file(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path} is no file; give a recipe in TOML"
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == f"{tmp_path}/pipe is no file; give a recipe in TOML"
    assert refusal(tmp_path / "none") == f"can't read {tmp_path}/none: No such file or directory"
    assert refusal(Path("a\0b")) == r"can't read 'a\x00b': embedded null byte"
    assert refusal(tmp_path / ("a" * 300)).endswith(": File name too long")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert refusal(tmp_path / "circle").endswith(": Too many levels of symbolic links")


def test_a_large_file_is_not_read(tmp_path):
    """10 GB, of which the disk holds nothing."""
    path = tmp_path / "large.toml"
    with path.open("wb") as file:
        file.truncate(10**10)
    assert "has 10,000,000,000 bytes" in refusal(path)
