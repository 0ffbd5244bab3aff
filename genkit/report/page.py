"""All of it on one page: HTML that needs nothing but itself, and that may do nothing but be read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from genkit.latent.projection import Method
from genkit.report import card, figures, gallery, training
from genkit.report.account import Account
from genkit.report.blocks import Block, Png, Section, printable
from genkit.version import __version__

#: Bytes of a page's pictures, as PNG, and how many sections of each run share them. A page stays below 5 MB.
PICTURES, SECTIONS = 3_200_000, 8
#: What a page says it was made by, so that it is recognised and may be replaced.
MARK = '<meta name="generator" content="genkit report'
#: Bytes at a page's beginning within which that stands.
BEGINNING = 2000


class Page(NamedTuple):
    """A report.

    Attributes:
        content: of the file.
        missing: section's title -> what isn't in it, and why.
    """

    content: bytes
    missing: dict[str, list[str]]


class Making(NamedTuple):
    """A section of pictures: how they are made, and the sentence below its title."""

    title: str
    make: gallery.Maker
    about: str


GALLERY = (
    Making("Samples while it trained", gallery.through_time, "The same seeds, from the first epoch on."),
    Making("Reconstruction", gallery.reconstructions, "Test images, and below each what the model makes of its code."),
    Making("Samples", gallery.samples, "An image a seed, from the prior, by the checkpoint on the card."),
    Making("Interpolation", gallery.interpolation, "From code to code; each row begins where the one above it ends."),
    Making(
        "Arithmetic",
        gallery.sums,
        "The mean codes of some test images, added and subtracted; below it the same sum done on pixels.",
    ),
    Making(
        "Dimensions",
        gallery.traversal,
        f"One number of the code of seed 0 at a time, swept from −{gallery.REACH:g}σ to +{gallery.REACH:g}σ.",
    ),
    Making("Manifold", gallery.manifold, "The whole latent space; every cell is as probable as any other."),
)


def make(accounts: Sequence[Account], method: Method = "pca") -> Page:
    """The report of one run, or of several side by side.

    Args:
        method: of the embedding.
    """
    sections = [each for each in all_sections(accounts, method) if any(each.columns)]
    missing = {each.title: each.missing for each in sections if each.missing}
    css = read("page.css")
    text = (
        environment()
        .from_string(read("page.html"))
        .render(
            title=" and ".join(each.name for each in accounts),
            sentences=[card.sentence(each) for each in accounts],
            names=[each.name for each in accounts],
            sections=[each for each in sections if not each.left_out],
            left_out=by_reason({each.title: each.missing for each in sections if each.left_out}),
            version=__version__,
            css=Markup(css),
            css_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        )
    )
    return Page(text.encode("utf-8", "replace"), missing)


def all_sections(accounts: Sequence[Account], method: Method) -> list[Section]:
    """In the order in which a reader asks."""
    limit = PICTURES // SECTIONS // len(accounts)

    def drawn(title: str, make: gallery.Maker, about: str) -> Section:
        columns = [gallery.guarded(make, each, limit) for each in accounts]
        return Section(title.lower().replace(" ", "-"), title, columns, about)

    def embedded(account: Account, limit: int) -> list[Block]:
        return gallery.embedded(account, limit, method)

    return [
        Section("card", "What it is", [card.card(accounts)]),
        Section("settings", "Settings", [card.settings(accounts)]),
        Section("training", "Training", training.sections(accounts), training.about(accounts)),
        *(drawn(*each) for each in GALLERY),
        drawn(
            "Embedding", embedded, "Test images in two dimensions; those that the model takes for alike lie together."
        ),
        drawn("Distances", gallery.distances, "Of the codes of two test images; the two curves should keep apart."),
        Section("evaluation", "Evaluation", [figures.section(accounts)]),
        Section("use", "Go on", [card.uses(each) for each in accounts]),
    ]


def by_reason(left_out: dict[str, list[str]]) -> dict[str, list[str]]:
    """Reason -> the sections that it keeps out."""
    found: dict[str, list[str]] = {}
    for title, reasons in left_out.items():
        found.setdefault("; ".join(reasons), []).append(title)
    return found


def is_ours(content: bytes) -> bool:
    """Whether a file begins as a report does."""
    return MARK.encode() in content[:BEGINNING]


def environment() -> Environment:
    """Whatever comes from a run is escaped, and what can't be printed is a question mark."""
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=shown)
    made.filters["png"] = data_of
    return made


def shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def data_of(png: Png) -> Markup:
    return Markup("data:image/png;base64," + base64.b64encode(png.content).decode())


def read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
