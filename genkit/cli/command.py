"""What every command makes of what is typed: `~` in a path, and an option that is given twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from genkit.files import expanded


class PathType(click.Path):
    """A path, with `~` as the home folder: of `--out=~/x` a shell leaves that to us."""

    def __init__(self, **kinds: Any):
        super().__init__(path_type=Path, **kinds)

    def convert(
        self, value: str | os.PathLike[str], parameter: click.Parameter | None, context: click.Context | None
    ) -> Any:
        return super().convert(expanded(value), parameter, context)


class Command(click.Command):
    """Refuses an option that is given twice, of which the last would win without a word.

    A switch that is only ever put on says the same twice, and is let be.
    """

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        given = list(arguments)  # which parsing empties
        rest = super().parse_args(context, arguments)
        _, _, parameters = self.make_parser(context).parse_args(given)
        options = [each for each in parameters if isinstance(each, click.Option) and takes_one(each)]
        for each in options:
            if options.count(each) > 1:
                name = max(each.opts, key=len)
                names = f"{name} or {each.secondary_opts[0]}" if each.secondary_opts else name
                context.fail(f"{names} is given {'twice' if options.count(each) == 2 else 'several times'}; keep one")
        return rest


def takes_one(option: click.Option) -> bool:
    """Whether to give an option twice is to say two things of which one can be meant."""
    return not option.multiple and not option.count and (not option.is_flag or bool(option.secondary_opts))
