"""A page read as a browser reads it, as far as the tests ask."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Reading(HTMLParser):
    """What is on a page.

    Attributes:
        elements: every element's tag and attributes.
        sections: id of a section -> its text.
        tables: caption -> rows of cells.
        pictures: (section, alt, Pillow image).
        errors: tags that don't close what is open.
    """

    def __init__(self, content: bytes):
        super().__init__()
        self.content = content
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {"": ""}
        self.tables: dict[str, list[list[str]]] = {}
        self.pictures: list[tuple[str, str, Image.Image]] = []
        self.open: list[str] = []
        self.errors: list[str] = []
        self.section = ""
        self.caption = ""
        self.feed(content.decode())
        assert self.open == []
        assert self.errors == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = found["id"] or ""
            self.sections[self.section] = ""
        elif tag == "caption":
            self.caption = ""
        elif tag == "tr":
            self.tables.setdefault(self.caption, []).append([])
        elif tag in ("td", "th"):
            self.tables[self.caption][-1].append("")
        elif tag == "img":
            kind, _, data = (found["src"] or "").partition(",")
            assert kind == "data:image/png;base64"
            picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            picture.load()
            assert picture.format == "PNG"
            assert picture.size == (int(found["width"] or 0), int(found["height"] or 0))
            self.pictures.append((self.section, found["alt"] or "", picture))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.errors.append(tag)
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.sections[self.section] += data
        if "caption" in self.open:
            self.caption += data
        elif {"td", "th"} & set(self.open):
            self.tables[self.caption][-1][-1] += data

    def text(self, section: str) -> str:
        return " ".join(self.sections[section].split())

    def row(self, caption: str, first: str) -> list[str]:
        """The cells of the one row that begins so, without those of footnotes."""
        (found,) = [row for row in self.tables[caption] if row[0].split(" ")[0] == first or row[0] == first]
        return found

    def pictures_of(self, section: str) -> list[Image.Image]:
        return [picture for at, _, picture in self.pictures if at == section]

    def require_self_contained(self) -> None:
        """Nothing on the page leads anywhere, loads anything or runs."""
        assert len(self.content) < 5_000_000
        ids = {found["id"] for _, found in self.elements if "id" in found}
        assert len(ids) == sum("id" in found for _, found in self.elements)
        for tag, found in self.elements:
            assert tag not in {"script", "link", "iframe", "object", "embed", "form", "base", "use", "image"}
            assert not [name for name in found if name.startswith("on") or name in ("style", "srcset", "xlink:href")]
            if "href" in found:
                assert tag == "a"
                assert (found["href"] or "")[0] == "#"
                assert (found["href"] or "")[1:] in ids
            if "src" in found:
                assert tag == "img"
        styles = re.findall(rb"<style>(.*?)</style>", self.content, re.DOTALL)
        assert len(styles) == 1
        assert b"url(" not in styles[0]
        assert b"@import" not in styles[0]
        assert b"http://" not in self.content.replace(b"http://www.w3.org", b"")
        assert b"https://" not in self.content
        assert all(alt for _, alt, _ in self.pictures)
