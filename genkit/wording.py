"""How is something said in one line: a count, and words that may hold anything?"""

from __future__ import annotations

import sys
from collections.abc import Iterable

#: Of losses that are minus the logarithm of a density, for whoever sees one below 0.
OF_A_DENSITY = "nats of a density; can be negative"


def counted(count: float, what: str) -> str:
    """`1 image`, `2 images`, `1,000 classes`, `0.5 epochs`."""
    several = what if count == 1 else f"{what}{'es' if what.endswith('s') else 's'}"
    return f"{int(count):,} {several}" if count == int(count) else f"{count:g} {several}"


def one_line(text: str, most: int | None = None) -> str:
    """A text without line breaks and control characters; of one that is longer than `most`, its beginning and end."""
    words = " ".join(text.splitlines())
    if most is not None and len(words) > most:
        words = f"{words[: most // 2]}…{words[-(most // 2) :]}"
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def not_text(name: str) -> bool:
    """Whether it has bytes of a file's name that are no text, which Python keeps as halves of letters."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


def why_not_text(name: str) -> str:
    """Of a name that is `not_text`, what is wrong, and what to do: the name's bytes may be well, and the locale not."""
    try:
        name.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return "has bytes that are no text in UTF-8; rename it"
    return f"can't be read in this locale, of {sys.getfilesystemencoding()}; set LC_ALL=C.UTF-8, or PYTHONUTF8=1"


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean 'epochs'?", or nothing; capitals count as small letters."""
    from difflib import get_close_matches  # only where something is wrong

    spelled = {each.casefold(): each for each in known}
    found = get_close_matches(name[:100].casefold(), spelled, n=1)
    return f"; did you mean '{spelled[found[0]]}'?" if found else ""
