"""From pydantic fields to flags and back: each option is written once, in its `Options` class.

A value comes from the first that has it: the flag, the `GENKIT_*` variable, the `--config` file, the field's default.
click already resolves in that order once the file's values are its `default_map`, and remembers where each came from.
"""

from __future__ import annotations

import difflib
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
import click
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from genkit.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Flag(click.Option):
    """An option made from a field: its default is shown in the help, but left to pydantic to set.

    So "given" and "left alone" stay apart, which recipes and the run's record need.
    """

    def __init__(self, name: str, field: FieldInfo):
        kebab = name.replace("_", "-")
        kind = click_type(field)
        super().__init__(
            [f"--{kebab}/--no-{kebab}" if kind is click.BOOL else f"--{kebab}", name],
            type=None if kind is click.BOOL else kind,
            metavar=metavar(field, kind),
            help=field.description,
            default=None,
            envvar=f"GENKIT_{name.upper()}",
        )
        self.shown_default = shown_default(field)

    def get_help_extra(self, context: click.Context) -> Any:
        return {**super().get_help_extra(context), "default": self.shown_default}


def flags(options: type[BaseModel]) -> list[click.Option]:
    """One flag a field, with its bounds, default and help, and its variable `GENKIT_NAME`."""
    return [Flag(name, field) for name, field in options.model_fields.items()]


def click_type(field: FieldInfo) -> click.ParamType:
    """The click type that checks a value as soon as it is typed, within the field's own bounds."""
    annotation = value_type(field)
    if get_origin(annotation) is Literal:
        return click.Choice([str(value) for value in get_args(annotation)])
    bounds: dict[str, Any] = {}
    for constraint in field.metadata:
        match constraint:
            case annotated_types.Ge(ge):
                bounds |= {"min": ge}
            case annotated_types.Gt(gt):
                bounds |= {"min": gt, "min_open": True}
            case annotated_types.Le(le):
                bounds |= {"max": le}
            case annotated_types.Lt(lt):
                bounds |= {"max": lt, "max_open": True}
    kinds: dict[Any, click.ParamType] = {
        bool: click.BOOL,
        int: click.IntRange(**bounds),
        float: click.FloatRange(**bounds),
    }
    return kinds.get(annotation, click.STRING)


def value_type(field: FieldInfo) -> Any:
    """The field's type, without the None that stands for "not given"."""
    if get_origin(field.annotation) in (Union, types.UnionType):
        return next(part for part in get_args(field.annotation) if part is not type(None))
    return field.annotation


def metavar(field: FieldInfo, kind: click.ParamType) -> str | None:
    """What stands for the value in the help; None lets click name it."""
    if isinstance(kind, click.IntRange):
        return "N"
    if isinstance(kind, click.FloatRange):
        return "X"
    if get_origin(field.annotation) is tuple:
        return "N,N,…"
    return None


def shown_default(field: FieldInfo) -> str:
    """The default in words: a field whose default is None says with `json_schema_extra={"none": …}` what that means."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if field.default is None:
        return str(extra.get("none", "none"))
    if isinstance(field.default, tuple):
        return ",".join(map(str, field.default)) or "none"
    return str(field.default)


def given(context: click.Context) -> dict[str, Any]:
    """The values that somebody gave: by a flag, a variable or the config file, not by a default."""
    defaults = (click.core.ParameterSource.DEFAULT, None)
    return {name: value for name, value in context.params.items() if context.get_parameter_source(name) not in defaults}


def sources(context: click.Context, names: list[str]) -> dict[str, str]:
    """Where each value came from, in words: "flag", "variable", "config file" or "default"."""
    words = {"COMMANDLINE": "flag", "ENVIRONMENT": "variable", "DEFAULT_MAP": "config file"}
    found = {name: context.get_parameter_source(name) for name in names}
    return {name: words.get(source.name, "default") if source else "default" for name, source in found.items()}


def validate(options: type[BaseModel], values: Mapping[str, Any]) -> Any:
    """An instance of `options` from those of the values that it knows; what is missing takes its default.

    Raises:
        UsageError: in the flag's name, with what pydantic found wrong.
    """
    known = {name: value for name, value in values.items() if name in options.model_fields}
    try:
        return options(**known)
    except ValidationError as error:
        first = error.errors()[0]
        where = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else "the options"
        raise UsageError(f"{where}: {first['msg']} (got {first['input']!r})") from error


def read_config(path: Path) -> dict[str, Any]:
    """A recipe: flat TOML, each key a flag's name without the dashes. Returned with underscores.

    Raises:
        UsageError: when the file can't be read or isn't TOML.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    return {
        # As text, so that a value is held to the same rules as the flag's.
        key.replace("-", "_"): ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in values.items()
    }


def check_config_keys(values: Mapping[str, Any], known: list[str], path: Path) -> None:
    """Refuse a key that is no option of the command, naming the nearest one that is.

    Raises:
        UsageError
    """
    for key in values:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean '{nearest[0].replace('_', '-')}'?" if nearest else ""
            raise UsageError(f"{path} has '{key.replace('_', '-')}', which is no option of this model{hint}")
