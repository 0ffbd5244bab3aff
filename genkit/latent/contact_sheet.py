"""What do somebody's images look like? A sheet with some of each class, in their own proportions, names beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from genkit.data.survey import Group, Survey
from genkit.latent.images import FAINT_INK, FRAME_INK, INK, font, text_size, wrap
from genkit.wording import counted

#: Behind a picture that isn't as wide as it is high; pictures are hardly ever of just this grey.
GROUND = (236, 236, 240)
MARGIN, GAP, COLUMN_GAP, TEXT_GAP = 20, 4, 36, 12
#: Pixels that rows stand beside each other in, if they fit.
WIDEST = 2400
TITLE_SIZE, NAME_SIZE, COUNT_SIZE = 20, 15, 12
NAME_WIDTH, NAME_LINES = 190, 2
#: Pictures a row where there are neither classes nor attributes.
IN_BLOCK = 10


class Cell(NamedTuple):
    """The room that each picture has.

    Attributes:
        width, height: in pixels; those of the widest and of the highest picture.
        ground: whether it is seen, because the pictures differ.
    """

    width: int
    height: int
    ground: bool

    @classmethod
    def of(cls, pictures: Sequence[np.ndarray], side: int) -> Cell:
        """Of pictures whose longer side may be `side`."""
        sizes = {tile(each, side).size for each in pictures} or {(side, side)}
        widths, heights = zip(*sizes, strict=True)
        return cls(max(widths), max(heights), len(sizes) > 1)


def columns_of(rows: int, width: int, height: int) -> int:
    """In how many columns rows of this size stand, so that the sheet is about as wide as it is high; few in one."""
    if rows <= 12:
        return 1
    candidates = [each for each in range(1, rows + 1) if each * (width + COLUMN_GAP) <= WIDEST] or [1]
    return min(candidates, key=lambda each: abs(math.log(each * (width + COLUMN_GAP) / (-(-rows // each) * height))))


def draw(survey: Survey, title: str) -> Image.Image:
    """The sheet of what a survey has seen.

    Args:
        title: above all; cut where it is longer than the sheet is wide.
    """
    rows = [Row(group, pictures, int(survey.seen.sum())) for group, pictures in survey.shown()]
    if len(rows) == 1 and not rows[0].group.kind:
        return _page(title, _block(rows[0].pictures), [])
    kinds = [kind for kind in ("class", "attribute") if any(row.group.kind == kind for row in rows)]
    everything = [picture for row in rows for picture in row.pictures]
    cell = Cell.of(everything, 96 if len(rows) <= 10 else 72 if len(rows) <= 30 else 64)
    texts = [row.texts() for row in rows]
    text_width = max(max(text_size(name, NAME_SIZE)[0], text_size(count, COUNT_SIZE)[0]) for name, count in texts)
    most = max((len(row.pictures) for row in rows), default=0)
    width = text_width + TEXT_GAP + most * (cell.width + GAP)
    parts = []
    for kind in kinds:
        some = [(row, text) for row, text in zip(rows, texts, strict=True) if row.group.kind == kind]
        if len(kinds) > 1:
            parts.append(_heading("Classes" if kind == "class" else "Attributes"))
        parts.append(_rows(some, text_width, width, cell))
    return _page(
        title, _stacked(parts), [f"Not shown: {_others(kind, names)}" for kind, names in survey.left_out.items()]
    )


def of_rows(
    title: str, rows: Sequence[tuple[str, str, Sequence[np.ndarray]]], remarks: Sequence[str] = ()
) -> Image.Image:
    """A sheet of pictures that are put together for any reason, a row each.

    Args:
        title: above all.
        rows: what stands before each, above and in small letters below it, and its pictures, uint8 (H, W) or (H, W, 3).
        remarks: below all, a line each.
    """
    some = [(Row(Group("", name, len(pictures), 0), list(pictures), 0), (name, said)) for name, said, pictures in rows]
    cell = Cell.of([picture for row, _ in some for picture in row.pictures], 96)
    texts = [text_size(name, NAME_SIZE)[0] for name, _, _ in rows] + [
        text_size(said, COUNT_SIZE)[0] for _, said, _ in rows
    ]
    most = max(len(row.pictures) for row, _ in some)
    width = max(texts) + TEXT_GAP + most * (cell.width + GAP)
    return _page(title, _rows(some, max(texts), width, cell), remarks)


class Row(NamedTuple):
    group: Group
    pictures: list[np.ndarray]
    total: int

    def texts(self) -> tuple[str, str]:
        """The name, wrapped, and the count that stands below it."""
        # Lines may break behind what stands for a space.
        spaced = self.group.name.replace("_", "_\u200b ")
        lines = wrap(spaced, NAME_SIZE, NAME_WIDTH).replace("_\u200b ", "_").replace("_\u200b", "_").split("\n")
        if len(lines) > NAME_LINES:
            lines = [*lines[: NAME_LINES - 1], _cut(" ".join(lines[NAME_LINES - 1 :]), NAME_SIZE, NAME_WIDTH)]
        share = f", {100 * self.group.images / max(1, self.total):.3g} %" if self.group.kind == "attribute" else ""
        return "\n".join(lines), counted(self.group.images, "image") + share


def _cut(text: str, size: int, width: int) -> str:
    """A line that is no wider than this, with … in its middle: what tells names apart often stands at their end."""
    letters = font(size)
    kept = len(text)
    shown = text
    while kept > 1 and letters.getlength(shown) > width:
        kept -= 1
        shown = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
    return shown


def _others(kind: str, names: Sequence[str]) -> str:
    several = "classes" if kind == "class" else "attributes"
    return names[0] if len(names) == 1 else f"{len(names):,} further {several}, {names[0]} to {names[-1]}"


def tile(picture: np.ndarray, side: int) -> Image.Image:
    """A picture, uint8 (H, W) or (H, W, 3), as large as fits into a square: small ones enlarged by a whole number."""
    image = Image.fromarray(picture).convert("RGB")
    longest = max(image.size)
    if longest > side:
        scale = side / longest
        return image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
        )
    factor = side // longest
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _paste(page: Image.Image, picture: np.ndarray, left: int, top: int, side: int, cell: Cell) -> None:
    """A picture in the middle of its cell."""
    image = tile(picture, side)
    draw = ImageDraw.Draw(page)
    if cell.ground:
        draw.rectangle((left, top, left + cell.width - 1, top + cell.height - 1), fill=GROUND)
    left, top = left + (cell.width - image.width) // 2, top + (cell.height - image.height) // 2
    # A faint frame, without which a white picture would melt into the page.
    draw.rectangle((left - 1, top - 1, left + image.width, top + image.height), outline=FRAME_INK)
    page.paste(image, (left, top))


def _rows(some: Sequence[tuple[Row, tuple[str, str]]], text_width: int, width: int, cell: Cell) -> Image.Image:
    """Rows below each other, in columns that are read one after the other."""
    tall = max(text_size(name, NAME_SIZE)[1] + 4 + text_size(count, COUNT_SIZE)[1] for _, (name, count) in some)
    height = max(cell.height, tall) + 2 * GAP
    columns = columns_of(len(some), width, height)
    depth = math.ceil(len(some) / columns)
    page = Image.new("RGB", (columns * (width + COLUMN_GAP) - COLUMN_GAP, depth * height), "white")
    draw = ImageDraw.Draw(page)
    for number, (row, (name, count)) in enumerate(some):
        left, top = number // depth * (width + COLUMN_GAP), number % depth * height
        name_height = text_size(name, NAME_SIZE)[1]
        text_top = top + (height - name_height - 4 - text_size(count, COUNT_SIZE)[1]) // 2
        draw.multiline_text((left, text_top), name, INK, font(NAME_SIZE))
        draw.text((left, text_top + name_height + 4), count, FAINT_INK, font(COUNT_SIZE))
        for place, picture in enumerate(row.pictures):
            at = left + text_width + TEXT_GAP + place * (cell.width + GAP)
            _paste(page, picture, at, top + (height - cell.height) // 2, max(cell[:2]), cell)
    return page


def _block(pictures: Sequence[np.ndarray]) -> Image.Image:
    """Pictures alone, in rows."""
    cell = Cell.of(pictures, 96)
    columns = max(1, min(IN_BLOCK, len(pictures)))
    wide, high = cell.width + GAP, cell.height + GAP
    page = Image.new("RGB", (columns * wide, max(1, math.ceil(len(pictures) / columns)) * high), "white")
    for number, picture in enumerate(pictures):
        left, top = number % columns * wide + 1, number // columns * high + 1
        _paste(page, picture, left, top, max(cell[:2]), cell)
    return page


def _heading(text: str) -> Image.Image:
    width, height = text_size(text, NAME_SIZE)
    page = Image.new("RGB", (width, height + 10), "white")
    ImageDraw.Draw(page).text((0, 4), text, FAINT_INK, font(NAME_SIZE))
    return page


def _stacked(parts: Sequence[Image.Image]) -> Image.Image:
    page = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        page.paste(part, (0, top))
        top += part.height
    return page


def _page(title: str, content: Image.Image, remarks: Sequence[str]) -> Image.Image:
    width = max(content.width, 320)
    title = _cut(title, TITLE_SIZE, width)
    remarks = [_cut(remark, COUNT_SIZE, width) for remark in remarks]
    head = text_size(title, TITLE_SIZE)[1] + 12
    foot = sum(text_size(remark, COUNT_SIZE)[1] + 6 for remark in remarks) + (6 if remarks else 0)
    page = Image.new("RGB", (width + 2 * MARGIN, head + content.height + foot + 2 * MARGIN), "white")
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN), title, INK, font(TITLE_SIZE))
    page.paste(content, (MARGIN, MARGIN + head))
    top = MARGIN + head + content.height + 6
    for remark in remarks:
        draw.text((MARGIN, top), remark, FAINT_INK, font(COUNT_SIZE))
        top += text_size(remark, COUNT_SIZE)[1] + 6
    return page
