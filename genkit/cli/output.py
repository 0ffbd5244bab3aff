"""What every command prints, and how: results on stdout as lines or one JSON object, the rest on stderr."""

from __future__ import annotations

import codecs
import errno
import io
import json
import logging
import math
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import click

from genkit.errors import GenkitError
from genkit.wording import one_line

SCHEMA_VERSION = 1
#: Letters of an error at most.
LONGEST = 1200

_JSON: dict[str, Any] = {"is_flag": True, "help": "Print the result as one JSON object on stdout."}

#: The flag that makes a command's result machine-readable, as a decorator; `json_flag` is for a command built by hand.
json_option = click.option("--json", "as_json", **_JSON)


def json_flag() -> click.Option:
    return click.Option(["--json", "as_json"], **_JSON)


# ---------------------------------------------------------------------------------------------------------------------
# Streams
# ---------------------------------------------------------------------------------------------------------------------


class Results(io.FileIO):
    """stdout: a result that can't be printed is an error, of which a reader that is gone need not be told."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.EAGAIN):
                raise
            why = "it is closed" if error.errno == errno.EBADF else error.strerror
            raise GenkitError(f"can't write to stdout: {why}") from error


class Remarks(io.FileIO):
    """stderr: what nobody can hear goes unsaid, be it closed, full or a terminal that is gone, and no work is lost."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


def take_streams() -> None:
    """Make the streams of this process what a command needs of them, whatever it was started with.

    Where one was closed, the next file that is opened would take its place, and what is said would get into it.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):  # so that writing a result is an error
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    codecs.register_error("genkit.printable", printable)
    sys.stdout = stream(Results(1, "w", closefd=False), sys.stdout, "genkit.printable", os.isatty(1))
    sys.stderr = stream(Remarks(2, "w", closefd=False), sys.stderr, "backslashreplace", by_line=True)


def stream(raw: io.FileIO, before: Any, errors: str, by_line: bool) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=by_line)


def printable(error: UnicodeError) -> tuple[str | bytes, int]:
    """What an encoding lacks: of a file's name the bytes that it has, of another letter an escape."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


# ---------------------------------------------------------------------------------------------------------------------
# What is said
# ---------------------------------------------------------------------------------------------------------------------


def emit(result: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Print a command's result: `lines` for a person, `result` for a program."""
    if as_json:
        click.echo(as_json_line({"schema_version": SCHEMA_VERSION, **finite(result)}))
    else:
        for line in lines:
            click.echo(line)


def as_json_line(value: Any) -> str:
    """JSON in one line; the bytes of a name that aren't text as what Python reads them as again."""
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


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
    message = one_line(message, LONGEST)  # a person's own words are in it, and names of files
    with suppress(OSError):  # where stderr is a file on the full disk that is the error
        click.echo(f"genkit: {message}", err=True)
    if as_json:
        with suppress(OSError, GenkitError):  # as stdout may be
            click.echo(as_json_line({"schema_version": SCHEMA_VERSION, "error": message, "exit_code": code}))
    return code


class LogHandler(logging.Handler):
    """Log lines on stderr, above a progress bar that may be running."""

    def emit(self, record: logging.LogRecord) -> None:
        said = one_line(record.getMessage())
        message = f"warning: {said}" if record.levelno >= logging.WARNING else said
        if "tqdm" in sys.modules:
            from tqdm import tqdm

            tqdm.write(message, file=sys.stderr)
        else:
            click.echo(message, err=True)
