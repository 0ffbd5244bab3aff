"""What can go wrong, as one line for the person at the terminal, and the exit code that goes with it.

Raise these where the fault is found, with a message that says what is wrong (naming the file) and what to do. The
command line prints the message without a traceback (`--debug` shows it) and exits with the class's code.
"""

from typing import Any

from genkit.wording import one_line


def in_one_line(error: BaseException) -> str:
    """What an error says, if it says anything, without line breaks and control characters."""
    said = str(error)
    if hasattr(error, "errors"):  # pydantic's, of several lines: the first fault with its place
        fault = error.errors()[0]
        said = ": ".join([".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")])
    elif isinstance(error, OSError) and error.strerror and error.filename:
        said = f"{error.filename}: {error.strerror}"
    return one_line(" ".join(said.split())[:300]) or type(error).__name__


#: A fault of pydantic's, by its type, in words that follow the name of what has it.
WORDS = {
    "missing": "is missing",
    "extra_forbidden": "means nothing here",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be finite",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("tuple_type", "list_type", "is_instance_of"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a table"),
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} parts",
    "literal_error": "must be {expected}",
}


def plainly(fault: Any) -> str:
    """One of a pydantic error's `errors()`, in words that follow the name of what has it: "must be at least 1"."""
    words = WORDS.get(fault["type"])
    bounds = {name: f"{each:g}" if isinstance(each, float) else each for name, each in fault.get("ctx", {}).items()}
    return words.format(**bounds) if words else fault["msg"].removeprefix("Value error, ")


class GenkitError(Exception):
    """Failed: bad data, a missing file, a broken checkpoint."""

    exit_code = 1


class DataError(GenkitError):
    """The images, or the files that hold them, can't be used as they are."""


class CheckpointError(GenkitError):
    """A checkpoint or run directory is missing, damaged, or not genkit's."""


class GoneError(CheckpointError):
    """A checkpoint isn't there any more: a run that trains removes those that newer ones take the place of."""


class UnreadableError(CheckpointError):
    """A checkpoint is there, and this person may not read it: that is no damage."""


class NoSuchRunError(CheckpointError):
    """What was typed for a run stands for none: the person can mend it by typing another."""

    exit_code = 2


class UsageError(GenkitError):
    """The command's options contradict each other or the model: the person can mend it by typing another command."""

    exit_code = 2


class ModelError(UsageError):
    """A model isn't there, or its file or package can't be loaded."""


class DivergedError(GenkitError):
    """Training produced a loss that is no longer finite."""

    exit_code = 3
