"""`python -m genkit`, which is also what torchrun starts, and the command `genkit`."""

from typing import NoReturn

from genkit import ending


def program() -> NoReturn:
    """Run the command line as a process of its own; what it imports may be stopped as well."""
    ending.listen()
    from genkit import cli

    cli.program()


if __name__ == "__main__":
    program()
