"""Read a list of numbers as a person types it: `0-7,12`. Nothing here imports torch."""

from __future__ import annotations

import re

from genkit.errors import UsageError


def parse_numbers(text: str) -> list[int]:
    """`0-3,8` as [0, 1, 2, 3, 8].

    Raises:
        UsageError: for anything else, or more than a million numbers.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise UsageError(f"'{text}' is no list of numbers; write it like 0-7,12")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first + len(numbers) >= 1_000_000:
            raise UsageError(f"'{text}' names more than a million numbers")
        numbers.extend(range(first, last + 1))
    return numbers
