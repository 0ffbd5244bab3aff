"""`genkit models`: every model that `genkit train` can be given, what it can do, and whose it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from genkit import registry
from genkit.cli.command import Command
from genkit.cli.output import emit, json_option
from genkit.cli.shared import loading
from genkit.errors import ModelError


@click.command(cls=Command)
@json_option
def models(as_json: bool) -> int:
    """List the models: those of genkit, and those from outside.

    A model from outside is one of an installed package, or a file in a folder that the variable GENKIT_MODELS names.
    `genkit train ./my_model.py` takes a file without either. Each is loaded, to see what it can do; one that can't be
    is listed with the reason.
    """
    registry.warn_of_clashes()
    found = [described(offer) for offer, *_ in registry.offers().values()]
    rows = [(each["name"], ", ".join(each["abilities"]), each["from"]) for each in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [
                *(f"{text:{width}}" for text, width in zip(row, widths, strict=True)),
                each["help"] or each["problem"] or "",
            ]
        )
        for row, each in zip(rows, found, strict=True)
    ]
    emit({"models": found}, [line.rstrip() for line in lines], as_json)
    return 0


def described(offer: registry.Offer) -> dict[str, Any]:
    """What is said of one model."""
    with loading():
        from genkit.contract import ability
    about: dict[str, Any] = {"name": offer.name, "abilities": [], "from": offer.whose, "provider": None}
    try:
        loaded = registry.load(offer.name)
    except ModelError as error:
        return {**about, "help": "", "problem": str(error).removeprefix(f"{registry.shown(offer)} ")}
    abilities = [each.name for each in ability.of(loaded.kind)]
    return {
        **about,
        "abilities": abilities,
        "provider": asdict(loaded.provider),
        "help": registry.help_of(offer),
        "problem": None,
    }
