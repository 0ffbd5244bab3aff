"""The door to the command `genkit`: before anything is imported, it looks whether the package `genkit` is this one.

The package index has another `genkit`, of Google's. pip lets each overwrite what the other has in the folder `genkit`,
and says nothing.
"""

import sys
from importlib.util import find_spec

#: How this one's own genkit/__init__.py begins.
MARK = b'"""genkit: learn, see and measure a latent space'


def program() -> None:
    """Run the command line, or say why it can't be."""
    found = find_spec("genkit")
    if found is None or not is_this_one(found.origin):
        where = f", {next(iter(found.submodule_search_locations or ()), '')}" if found else ""
        sys.stderr.write(
            f"genkit: another package called genkit has been put in the place of this one{where}; run pip uninstall "
            "genkit latent-genkit, and then install this one again from its folder\n"
        )
        sys.exit(1)
    from genkit.__main__ import program

    program()


def is_this_one(origin: str | None) -> bool:
    """Whether that is the path of this package's __init__.py; None is a folder that has lost it."""
    if origin is None:
        return False
    with open(origin, "rb") as file:  # noqa: PTH123  # pathlib takes longer to import than all of this
        return file.read(len(MARK)) == MARK
