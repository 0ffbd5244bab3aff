"""From pydantic fields to flags and back: each option is written once, in its `Options` class.

A value comes from the first that has it: the flag, the `GENKIT_*` variable, the `--config` file, the field's default.
click already resolves in that order once the file's values are its `default_map`, and remembers where each came from.

Between a class and its flags stands what is `described` of each field: plain data, which can be kept for a command that
refuses a value without importing the model.
"""

from __future__ import annotations

import stat
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
import click
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from genkit.errors import UsageError, plainly
from genkit.wording import nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


#: Bytes of the largest recipe that is read; real ones have a few hundred.
MAX_RECIPE = 1 << 16
#: Dots in a line of a recipe. A key of N dots (`a.a.a = 1`) takes tomllib N^2 steps and bytes: 1 GB for 16,000.
MAX_DOTS = 100


class Described(BaseModel, extra="forbid", frozen=True):
    """An option as plain data: all that its flag shows, and all that it checks as soon as a value is typed.

    Attributes:
        name: of the field.
        kind: of the value.
        choices: among which it is.
        min, max: of a number; min_open, max_open: that it must not be the bound itself.
        metavar: what stands for the value in the help; None lets click name it.
        help: what the option says.
        default: in words.
        needs: another option, without which this one says nothing.
        also: a second, shorter spelling of its flag.
    """

    name: str
    kind: Literal["switch", "whole", "number", "choice", "text"]
    choices: tuple[str, ...] = ()
    min: int | float | None = None
    max: int | float | None = None
    min_open: bool = False
    max_open: bool = False
    metavar: str | None = None
    help: str | None = None
    default: str
    needs: str | None = None
    also: str | None = None

    @property
    def click_type(self) -> click.ParamType | None:
        """What checks a value, within the field's own bounds; None of a switch, which takes none."""
        bounds: tuple[Any, ...] = (self.min, self.max, self.min_open, self.max_open)
        return {
            "switch": lambda: None,
            "whole": lambda: click.IntRange(*bounds),
            "number": lambda: click.FloatRange(*bounds),
            "choice": lambda: click.Choice(self.choices),
            "text": lambda: click.STRING,
        }[self.kind]()


class Flag(click.Option):
    """An option made from its description: its default is shown in the help, but left to pydantic to set.

    So "given" and "left alone" stay apart, which recipes and the run's record need.
    """

    def __init__(self, about: Described):
        kebab = about.name.replace("_", "-")
        also = [f"--{about.also}"] if about.also else []
        super().__init__(
            [f"--{kebab}/--no-{kebab}" if about.kind == "switch" else f"--{kebab}", *also, about.name],
            type=about.click_type,
            metavar=about.metavar,
            help=about.help,
            default=None,
            envvar=f"GENKIT_{about.name.upper()}",
        )
        self.shown_default = about.default

    def get_help_extra(self, context: click.Context) -> Any:
        return {**super().get_help_extra(context), "default": self.shown_default}


def flags(described: Iterable[Described]) -> list[Flag]:
    """One flag an option, with its bounds, default and help, and its variable `GENKIT_NAME`."""
    return [Flag(each) for each in described]


def describe(options: type[BaseModel]) -> tuple[Described, ...]:
    """The fields of a class that become flags.

    A field whose `json_schema_extra` is {"flag": False} doesn't: it is filled in by the data or by another run. One of
    {"text": METAVAR} is typed as text, whatever its type, and its own validator makes a value of that. One of
    {"also": NAME} has a second flag, --NAME.
    """
    return tuple(described(name, field) for name, field in options.model_fields.items() if is_flag(field))


def described(name: str, field: FieldInfo) -> Described:
    """One of them."""
    annotation, needs, also = value_type(field), extra(field).get("needs"), extra(field).get("also")
    about: dict[str, Any] = {"kind": "text"}
    if "text" in extra(field):
        about["metavar"] = extra(field)["text"]
    elif get_origin(annotation) is Literal:
        about = {"kind": "choice", "choices": tuple(str(value) for value in get_args(annotation))}
    elif annotation is bool:
        about = {"kind": "switch"}
    elif annotation is int:
        about = {"kind": "whole", "metavar": "N", **bounds_of(field)}
    elif annotation is float:
        about = {"kind": "number", "metavar": "X", **bounds_of(field)}
    elif get_origin(field.annotation) is tuple:
        named = get_origin(get_args(field.annotation)[0]) is Literal
        about = {"kind": "text", "metavar": "NAME,NAME,…" if named else "N,N,…"}
    return Described(
        name=name,
        help=field.description and " ".join(field.description.split()),
        default=" ".join(shown_default(field).split()),
        needs=None if needs is None else str(needs),
        also=None if also is None else str(also),
        **about,
    )


def is_flag(field: FieldInfo) -> bool:
    """Whether a person can set the field."""
    return bool(extra(field).get("flag", True))


def extra(field: FieldInfo) -> dict[str, Any]:
    """What a field says of itself to this file."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def bounds_of(field: FieldInfo) -> dict[str, Any]:
    """The bounds of a number, as click calls them."""
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
    return bounds


def value_type(field: FieldInfo) -> Any:
    """The field's type, without the None that stands for "not given"."""
    if get_origin(field.annotation) in (Union, types.UnionType):
        return next(part for part in get_args(field.annotation) if part is not type(None))
    return field.annotation


def shown_default(field: FieldInfo) -> str:
    """The default in words: a field whose default is None says with `json_schema_extra={"none": …}` what that means.

    One whose default the images change says it with {"default": …}.
    """
    if field.default is None:
        return str(extra(field).get("none", "none"))
    if "default" in extra(field):
        return str(extra(field)["default"])
    if isinstance(field.default, tuple):
        return ",".join(map(str, field.default)) or "none"
    return str(field.default)


def sources(context: click.Context) -> dict[str, str]:
    """Where the value of each parameter came from, in words: "flag", "variable", "config file" or "default"."""
    words = {"COMMANDLINE": "flag", "ENVIRONMENT": "variable", "DEFAULT_MAP": "config file"}
    found = {name: context.get_parameter_source(name) for name in context.params}
    return {name: words.get(source.name, "default") if source else "default" for name, source in found.items()}


def strongest(names: Sequence[str], sources: Mapping[str, str]) -> list[str]:
    """Of options that say the same, those that go before the others: of none or one of them.

    Args:
        sources: of every option, as `sources` has them.

    Raises:
        UsageError: where two are given in one way.
    """
    for way in ("flag", "variable", "config file"):
        given = [name for name in names if sources.get(name) == way]
        if len(given) > 1:
            flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(f"{flags} say the same in different ways; give one of them")
        if given:
            return given
    return []


def default_as_text(field: FieldInfo, value: object) -> str:
    """A default that nobody has changed; of one that depends on the images, on what."""
    return str(extra(field)["default"]) if "default" in extra(field) else as_text(value)


def as_text(value: object) -> str:
    """A value as a flag would take it: `512,256`, `none`, `true`; of one with parts, each: `model vae, features 20`."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        parts = {str(key).replace("_", "-"): each for key, each in value.items()}
        texts = {
            key: f"({as_text(each)})" if isinstance(each, Mapping) else as_text(each) for key, each in parts.items()
        }
        return ", ".join(f"{key} {text}" for key, text in texts.items()) or "none"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def require_needed(described: Iterable[Described], given: Mapping[str, Any]) -> None:
    """Refuse an option that says nothing without another, which wasn't given.

    Raises:
        UsageError
    """
    for option in described:
        if given.get(option.name) and option.needs is not None and option.needs not in given:
            flag, other = (each.replace("_", "-") for each in (option.name, option.needs))
            raise UsageError(f"--{flag} says nothing without --{other}; give that too, or leave --{flag} out")


def validate(options: type[BaseModel], values: Mapping[str, Any]) -> Any:
    """An instance of `options` from those of the values that it knows; what is missing takes its default.

    Raises:
        UsageError: in the flag's name, with what pydantic found wrong; of several that contradict each other, in the
            words of `options`.
    """
    known = {name: value for name, value in values.items() if name in options.model_fields}
    try:
        return options(**known)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # several that contradict each other, which the class's own words name
            raise UsageError(plainly(first)) from error
        where = "--" + str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"{where} {plainly(first)} (got {first['input']!r})") from error


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe: flat TOML, each key a flag's name without the dashes. Returned with underscores.

    Raises:
        UsageError: when the file can't be read, is no file or a large one, isn't TOML, or has tables.
    """
    shown = _printable(str(path))
    try:
        # Looked at before it is opened, for a pipe that nobody writes into would keep us waiting.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{shown} is no file; give a recipe in TOML")
        if status.st_size > MAX_RECIPE:
            raise UsageError(f"{shown} has {status.st_size:,} bytes, and a recipe at most {MAX_RECIPE:,}; is it one?")
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        raise UsageError(f"can't read {shown}: {getattr(error, 'strerror', None) or error}") from error
    try:
        text = content.decode("utf-8-sig")  # Notepad begins with a byte-order mark
        if any(line.count(".") > MAX_DOTS for line in text.split("\n")):
            raise UsageError(f"{shown} has a line of more than {MAX_DOTS} dots; a recipe is a line for each option")
        return _flat(tomllib.loads(text), shown)
    except RecursionError:
        raise UsageError(f"{shown} is nested too deeply; a recipe is a line for each option") from None
    except ValueError as error:  # also of a number of too many digits
        raise UsageError(f"{shown} is not TOML: {' '.join(str(error).split())[:200]}; mend it") from error


def _flat(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The values as text, so that they are held to the same rules as the flags'.

    Raises:
        UsageError: where one is a table, or a list of something else than plain values, or two keys mean one option.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        parts = value if isinstance(value, list) else [value]
        if any(isinstance(part, (dict, list)) for part in parts):
            kind = "a list of lists or tables" if isinstance(value, list) else "a table"
            raise UsageError(f"{path}: {_printable(key)} is {kind}; a recipe is a line for each option")
        name = _printable(key.replace("-", "_"))
        if name in flat:
            raise UsageError(f"{path} has {name.replace('_', '-')} twice; keep one")
        flat[name] = ",".join(map(str, parts))
    return flat


def _printable(text: str) -> str:
    """What a person wrote, in one line of a message."""
    return text if text.isprintable() else ascii(text)


def check_config_keys(values: Mapping[str, Any], known: list[str], path: Path) -> None:
    """Refuse a key that is no option of the command, naming the nearest one that is.

    Raises:
        UsageError
    """
    for key in values:
        if key not in known:
            hint = nearest(key.replace("_", "-"), (each.replace("_", "-") for each in known))
            raise UsageError(f"{path} has '{key.replace('_', '-')}', which is no option of this model{hint}")
