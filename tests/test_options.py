"""How fields are described, and recipes: what is read, and that whatever else is passed for one ends in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
from pydantic import BaseModel, Field, model_validator

from genkit.errors import UsageError
from genkit.options import MAX_RECIPE, Described, Flag, describe, read_recipe, validate


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
        read_recipe(path)
    message = str(caught.value)
    assert message.isprintable(), "one line"
    assert len(message) < 1000
    return message


def test_values_come_as_a_person_would_type_them(recipe):
    path = recipe('model = "vae"\nlr = 1e-3\nbatch-size = 128\nhidden = [512, 256]\nlabels = true\nname = "é"\n')
    assert read_recipe(path) == {
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
    assert read_recipe(recipe('"a\\nb" = 1\n')) == {r"'a\nb'": "1"}


def test_a_recipe_of_the_largest_size(recipe):
    content = "lr = 1\n"
    assert read_recipe(recipe(content + "#" * (MAX_RECIPE - len(content)))) == {"lr": "1"}


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


class Example(BaseModel):
    count: Annotated[int, Field(ge=1, lt=2**63, description="Some.")] = 1
    share: Annotated[float | None, Field(gt=0, le=1.0, json_schema_extra={"none": "all"})] = None
    kind: Annotated[Literal[1, "two"], Field(json_schema_extra={"needs": "count"})] = 1
    sizes: tuple[int, ...] = (3, 2)
    quiet: bool = False
    name: Annotated[str, Field(json_schema_extra={"default": "as the data say"})] = "x"
    filled: Annotated[int, Field(json_schema_extra={"flag": False})] = 0


DESCRIBED = (
    Described(name="count", kind="whole", min=1, max=2**63, max_open=True, metavar="N", help="Some.", default="1"),
    Described(name="share", kind="number", min=0, min_open=True, max=1.0, metavar="X", default="all"),
    Described(name="kind", kind="choice", choices=("1", "two"), default="1", needs="count"),
    Described(name="sizes", kind="text", metavar="N,N,…", default="3,2"),
    Described(name="quiet", kind="switch", default="False"),
    Described(name="name", kind="text", default="as the data say"),
)


def test_a_description_holds_all_that_a_flag_shows_and_checks():
    assert describe(Example) == DESCRIBED
    again = tuple(Described.model_validate_json(each.model_dump_json()) for each in describe(Example))
    assert again == DESCRIBED
    command = click.Command("example", params=[Flag(each) for each in again])
    shown = dict(each.get_help_record(click.Context(command)) for each in command.params)
    assert shown == {
        "--count N": "Some.  [default: 1; 1<=x<9223372036854775808]",
        "--share X": "[default: all; 0<x<=1.0]",
        "--kind [1|two]": "[default: 1]",
        "--sizes N,N,…": "[default: 3,2]",
        "--quiet / --no-quiet": "[default: False]",
        "--name TEXT": "[default: as the data say]",
    }


class Apart(BaseModel):
    """Of at most two sizes, and either quiet or of a name."""

    sizes: Annotated[tuple[int, ...], Field(max_length=2)] = ()
    quiet: bool = False
    name: str = ""

    @model_validator(mode="after")
    def _is_either(self):
        if self.quiet and self.name:
            raise ValueError("--quiet has no --name: leave one of them out")
        return self


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sizes": (1, 2, 3)}, "--sizes must have at most 2 parts (got (1, 2, 3))"),
        ({"sizes": ("x",)}, "--sizes must be a whole number (got 'x')"),
        ({"quiet": True, "name": "x"}, "--quiet has no --name: leave one of them out"),
    ],
)
def test_what_options_refuse_is_one_line(given, said):
    with pytest.raises(UsageError) as caught:
        validate(Apart, given)
    assert str(caught.value) == said
