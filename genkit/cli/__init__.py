"""The command line: parse, wire, print. One file a command; nothing here imports torch before a command needs it."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from genkit import ending
from genkit.cli.output import LogHandler, emit_error, take_streams
from genkit.errors import GenkitError, UsageError, in_one_line
from genkit.files import NO_ROOM
from genkit.version import __version__
from genkit.wording import nearest, not_text, why_not_text

#: Each is the object of its own name in the file of its own name, which is imported when the command is asked for.
COMMANDS = (
    "data",
    "embed",
    "encode",
    "evaluate",
    "explore",
    "export",
    "fit-prior",
    "info",
    "models",
    "report",
    "reproduce",
    "sample",
    "score",
    "train",
)


class Commands(click.Group):
    """The commands, one file each: who makes a slip of the pen in one needn't wait for the others."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        own = name.replace("-", "_")
        return getattr(import_module(f"genkit.cli.{own}"), own) if name in COMMANDS else None

    def resolve_command(self, context: click.Context, arguments: list[str]) -> Any:
        name = arguments[0]
        if name not in COMMANDS and not name.startswith("-"):
            context.fail(f"no such command '{name}'{nearest(name, COMMANDS)}")
        return super().resolve_command(context, arguments)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="genkit")
def genkit_command() -> None:
    """Learn, see and measure a latent space from images.

    \b
    genkit train vae --dataset mnist     train a model
    genkit sample --interpolate          walk through the newest run's latent space
    genkit embed                         look at it in two dimensions
    genkit encode --out codes.npz        its codes of images, for other programs
    genkit explore                       walk through it in a browser
    genkit evaluate                      measure the model
    genkit score                         which images are unlike those that it was trained on
    genkit fit-prior                     what new codes are drawn by, fitted anew
    genkit export --format onnx          take it elsewhere
    genkit report                        all of it on one page

    Results go to stdout, everything else to stderr; --json makes the result one JSON object. Every command takes
    --debug, which shows the traceback of an error. Exit codes: 0 done, 1 failed or bad data, 2 usage, 3 diverged,
    130 interrupted, 143 terminated.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; exits. Any error becomes one line on stderr and the exit code that errors.py gives it."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug, as_json = "--debug" in arguments, "--json" in arguments
    if os.environ.get("WORLD_SIZE", "1") != "1":
        # Read when torch is loaded; each process would warn of what `distributed.in_parallel` does on purpose.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logger = logging.getLogger("genkit")
    level = logger.level
    logger.setLevel(logging.INFO)
    handler = LogHandler()
    logger.addHandler(handler)
    try:
        require_text(arguments)
        code = genkit_command.main([each for each in arguments if each != "--debug"], "genkit", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = error.exit_code
    except click.ClickException as error:
        message = error.format_message()
        where = f" (see {error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        code = emit_error(message + where, error.exit_code, as_json)
    except GenkitError as error:
        code = emit_error(str(error), error.exit_code, as_json)
        if debug:
            traceback.print_exc()
    except (KeyboardInterrupt, click.Abort):
        code = emit_error("interrupted", 130, as_json)
    except Exception as error:
        if is_out_of_memory(error):
            sys.exit(emit_error("out of memory; use a smaller --batch-size or --image-size", 1, as_json))
        reason = (str(error).strip() or "no message").splitlines()[0]
        message = f"a fault in {place_of(error)}, {type(error).__name__}: {reason}; --debug shows how it came about"
        code = emit_error(of_the_system(error) or message, 1, as_json)
        if debug:
            traceback.print_exc()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    sys.exit(code if isinstance(code, int) else 0)


def program() -> NoReturn:
    """`main` as a process of its own, which ends as soon as it is done, or is told to.

    Python would first take apart, object by object, all that torch has made: a third of a second for nothing. What has
    been registered to run at the end does run, and what was printed is flushed.
    """
    ending.listen()
    take_streams()
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except (OSError, GenkitError):  # nobody reads it any more, or it has been said that the disk is full
        code = code or 1
    sys.stderr.flush()
    os._exit(code)


def require_text(arguments: list[str]) -> None:
    """Refuse what can't be kept in a run's files, which are text.

    Raises:
        UsageError: for an argument, or a variable of genkit's, with bytes that are none.
    """
    variables = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("GENKIT_")]
    for each in [*arguments, *variables]:
        if not_text(each):
            raise UsageError(f"{each}: this {why_not_text(each)}")


def place_of(error: Exception) -> str:
    """The last line of a model from outside that ran, or else of this package: `my_model.py, line 12`."""
    from genkit import registry

    outside = registry.fault_of(error)
    if outside is not None:
        return outside
    package = Path(__file__).parents[1]
    frames = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).is_relative_to(package)]
    return f"genkit/{Path(frames[-1].filename).relative_to(package)}, line {frames[-1].lineno}" if frames else "genkit"


def of_the_system(error: Exception) -> str | None:
    """What is no fault of the program's: a path that the system won't have, or the folder that one stood in."""
    if "surrogates not allowed" in str(error):
        name = error.object if isinstance(error, UnicodeEncodeError) else "\udcff"
        return f"the name of a file or folder {why_not_text(name)}"
    if isinstance(error, ValueError) and "null" in str(error) and "embedded" in str(error):
        return "a path has a NUL character in it, which no file's name can have"
    from genkit import registry

    if not isinstance(error, OSError) or registry.fault_of(error) is not None:
        return None
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return "the folder that this was started in is gone; change to one that is there"
    if error.errno in NO_ROOM:
        return f"{in_one_line(error) if error.filename else error.strerror}; make room, or name another place"
    return in_one_line(error) if error.filename is not None else None


def is_out_of_memory(error: Exception) -> bool:
    """torch says it as a RuntimeError, in other words on every device."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(each in str(error).lower() for each in words)
