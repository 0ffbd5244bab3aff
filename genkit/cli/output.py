"""What every command prints, and how: results on stdout as lines or one JSON object, the rest on stderr."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import click

SCHEMA_VERSION = 1

_JSON: dict[str, Any] = {"is_flag": True, "help": "Print the result as one JSON object on stdout."}

#: The flag that makes a command's result machine-readable, as a decorator; `json_flag` is for a command built by hand.
json_option = click.option("--json", "as_json", **_JSON)


def json_flag() -> click.Option:
    return click.Option(["--json", "as_json"], **_JSON)


def emit(result: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Print a command's result: `lines` for a person, `result` for a program."""
    if as_json:
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **finite(result)}, ensure_ascii=False))
    else:
        for line in lines:
            click.echo(line)


def finite(value: Any) -> Any:
    """The same value with null in place of NaN and infinity, which JSON lacks, and strings in place of paths."""
    if isinstance(value, dict):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)


def emit_error(message: str, code: int, as_json: bool) -> int:
    """Say what went wrong, on stderr and, for a program, on stdout; returns the exit code.

    Nothing is said where there is no message, because another process has said it (`distributed.joined`).
    """
    if not message:
        return code
    with suppress(OSError):  # where stderr is a file on the full disk that is the error
        click.echo(f"genkit: {message}", err=True)
    if as_json:
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, "error": message, "exit_code": code}))
    return code


class LogHandler(logging.Handler):
    """Log lines on stderr, above a progress bar that may be running."""

    def emit(self, record: logging.LogRecord) -> None:
        message = f"warning: {record.getMessage()}" if record.levelno >= logging.WARNING else record.getMessage()
        if "tqdm" in sys.modules:
            from tqdm import tqdm

            tqdm.write(message, file=sys.stderr)
        else:
            click.echo(message, err=True)
