"""What a section of a report is made of. The template knows how each kind is written; nothing here is HTML but SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

from markupsafe import Markup

#: A path in a sentence: a slash that ends no word, and what can't be the sentence's again.
ABSOLUTE = re.compile(r"(?<![\w<>/.])~?/[^\s'\":;,()<>]+")


@dataclass(frozen=True)
class Missing:
    """Something that isn't there, and why, as one sentence without its full stop."""

    why: str
    kind: ClassVar[str] = "missing"


@dataclass(frozen=True)
class Text:
    """A paragraph; a quiet one is an aside."""

    text: str
    quiet: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Code:
    """Lines to type, with what they do above them."""

    lines: Sequence[str]
    about: str = ""
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Png:
    """A picture as the content of a PNG file.

    Attributes:
        alt: what it shows, for whoever can't see it.
        width, height: in pixels; it is shown no larger.
    """

    content: bytes
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class Strips:
    """Pictures below each other, each with a caption; or side by side, where they fit."""

    rows: Sequence[tuple[str, Png]]
    beside: bool = False
    kind: ClassVar[str] = "strips"


@dataclass(frozen=True)
class Tiles:
    """Small pictures side by side, as many as fit, each with a caption."""

    tiles: Sequence[tuple[str, Png]]
    kind: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Plot:
    """A drawing in dark ink on white, which may be inverted where the page is dark; no photograph."""

    png: Png
    kind: ClassVar[str] = "plot"


@dataclass(frozen=True)
class Charts:
    """Drawings of curves, SVG that is safe to be put into a page as it is."""

    charts: Sequence[Markup]
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        note: the number of the footnote that belongs to it.
        strong: it stands out from its neighbours.
        number: it is set flush right.
        faint: it matters less than its neighbours.
        unit: in small type behind the text; the footnote's number comes after it.
    """

    text: str
    note: int | None = None
    strong: bool = False
    number: bool = False
    faint: bool = False
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first of each row being its heading.

    Attributes:
        about: what the table is of.
        head: the columns' headings; empty for a table that needs none.
        folded: the text to click on where the table is closed at first; empty for an open one.
        titled: whether what it is of stands above it, where it isn't folded; else only who can't see it is told.
    """

    about: str
    head: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    folded: str = ""
    titled: bool = True
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Footnotes:
    """Numbered from 1; the tables' cells refer to them."""

    notes: Sequence[str]
    kind: ClassVar[str] = "footnotes"


Block: TypeAlias = Missing | Text | Code | Strips | Tiles | Plot | Charts | Table | Footnotes


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        name: of its place on the page, for links: letters and hyphens.
        columns: blocks for each run, side by side; or one list that is about all of them.
        about: one sentence on what is to be seen.
    """

    name: str
    title: str
    columns: Sequence[Sequence[Block]]
    about: str = ""

    @property
    def missing(self) -> list[str]:
        """The reasons for what isn't in it."""
        blocks = [block for column in self.columns for block in column]
        return list(dict.fromkeys(block.why for block in blocks if isinstance(block, Missing)))

    @property
    def left_out(self) -> bool:
        """Whether there is nothing in it but such reasons."""
        return all(isinstance(block, Missing) for column in self.columns for block in column)


def last_part(path: str) -> str:
    """The last part of a path: a report is sent to others, whom it is no business where one keeps one's files."""
    return Path(path).name or path


def without_folders(text: str) -> str:
    """A sentence in which the absolute paths are only their last parts."""
    return ABSOLUTE.sub(lambda found: last_part(found[0]), text)


def printable(text: str) -> str:
    """A text without what can't be seen, or turns what comes after it around."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
