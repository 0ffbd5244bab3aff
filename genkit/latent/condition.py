"""Read what a person says of a condition (`7`, `cat`, `male&!hat`), and say in words what a decoder was told.

Whoever names a class means all of it. Attributes are changed one by one: those that are named are as they are named,
and all others stay what they were, of a seed its own, of an image the image's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genkit.contract import Condition, Model
from genkit.errors import DataError, UsageError
from genkit.latent.images import to_float
from genkit.wording import counted

#: What a person wants of a condition: a class, some attributes by their columns, or an image (C, H, W).
Wanted = int | Mapping[int, float] | Tensor

#: Names that a message lists.
LISTED = 20


class Conditions:
    """What a model's decoder takes, with the names that people give it.

    Args:
        condition: the model's own.
        names: of its classes, or its attributes; numbers stand for those that aren't known.

    Attributes:
        names: a name each; none of an image.
    """

    def __init__(self, condition: Condition, names: Sequence[str] = ()):
        self.condition = condition
        known = tuple(names) if len(names) == condition.size else ()
        self.names = known or tuple(str(number) for number in range(condition.size))

    @classmethod
    def of(cls, model: Model, classes: Sequence[str], attributes: Sequence[str]) -> Conditions | None:
        """Those of a model that was trained on images with these classes and attributes; None where it takes none."""
        if model.condition is None:
            return None
        return cls(model.condition, {"class": classes, "attributes": attributes, "image": ()}[model.condition.kind])

    @classmethod
    def drawn_by(cls, model: Model, classes: Sequence[str]) -> Conditions | None:
        """The classes whose codes can be drawn of a model that takes no condition; None where none are known."""
        fitted = getattr(model, "fitted", None)
        if model.condition is not None or fitted is None or not fitted.classes:
            return None
        return cls(Condition("class", fitted.classes), classes)

    # -- from words ----------------------------------------------------------------------------------------------------

    def class_of(self, name: str, flag: str = "--class") -> int:
        """The class of this name; where no class is called by a number, also of this number, from 0.

        Raises:
            UsageError: when there is none, with those that there are; or when the model takes no class.
        """
        self.require("class", flag)
        if name in self.names:
            return self.names.index(name)
        numbered = any(re.fullmatch("[0-9]+", each) for each in self.names)
        if not numbered and re.fullmatch("[0-9]{1,9}", name) and int(name) < len(self.names):
            return int(name)
        raise UsageError(f"{flag}: there is no class '{name[:80]}'; there are {self.listed()}")

    def classes_of(self, text: str, flag: str = "--classes") -> list[int]:
        """The classes of `cat,dog` or `0-9`, in this order.

        Raises:
            UsageError: as `class_of`.
        """
        self.require("class", flag)
        found: list[int] = []
        for part in (each.strip() for each in text.split(",")):
            span = re.fullmatch("([0-9]{1,9})-([0-9]{1,9})", part)
            if part in self.names or not span or int(span[2]) < int(span[1]):
                found.append(self.class_of(part, flag))
                continue
            first, last = (self.class_of(end, flag) for end in span.groups())
            if self.names[first] == span[1]:
                # The ends are names: what lies between them are those of the numbers in between.
                found += [self.class_of(str(each), flag) for each in range(int(span[1]), int(span[2]) + 1)]
            else:
                found += range(first, last + 1)
        return found

    def attributes_of(self, text: str, flag: str = "--condition") -> dict[int, float]:
        """What `male&glasses&!hat` says of each attribute that it names, by its column: 1 or 0.

        Raises:
            UsageError: when one isn't there, with those that there are, or is wanted both ways.
        """
        self.require("attributes", flag)
        found: dict[int, float] = {}
        for part in (each.strip() for each in text.split("&")):
            name = part.removeprefix("!").strip()
            wanted = 0.0 if part.startswith("!") else 1.0
            if found.setdefault(self.column_of(name, flag), wanted) != wanted:
                raise UsageError(f"{flag}: '{text}' wants '{name}' both ways")
        return found

    def column_of(self, attribute: str, flag: str) -> int:
        if attribute not in self.names:
            raise UsageError(f"{flag}: there is no attribute '{attribute[:80]}'; there are {self.listed()}")
        return self.names.index(attribute)

    def require(self, kind: str, flag: str) -> None:
        """Refuse a flag of another kind of condition than the model's.

        Raises:
            UsageError
        """
        if self.condition.kind != kind:
            right = {
                "class": f"a class, one of {self.listed()}: --class NAME",
                "attributes": f"attributes, {self.listed()}: --condition 'a&!b'",
                "image": "an image: --condition FILE",
            }[self.condition.kind]
            raise UsageError(f"{flag}: the model's decoder takes {right}")

    def listed(self) -> str:
        more = ", …" if len(self.names) > LISTED else ""
        return ", ".join(self.names[:LISTED]) + more

    # -- from Python ---------------------------------------------------------------------------------------------------

    def read(self, given: Any, count: int, own: Tensor | None = None) -> Tensor:
        """What `genkit.load(…)` is given as a condition, for so many images: (count, …), on the CPU.

        Args:
            given: of classes a name or a number, or one an image, as a list or an array; of attributes an expression
                (`male&!hat`), a mapping of names to numbers in [0, 1], or an array, (A,) or (count, A), of numbers in
                [0, 1] or bool; of an image an array, (C, H, W) or (count, C, H, W), in [0, 1] or uint8.
            own: what the attributes that aren't named are; not there by default.

        Raises:
            UsageError: when there is no such class or attribute.
            DataError: when it is of another kind, shape or range.
        """
        kind = self.condition.kind
        if isinstance(given, np.ndarray) and given.dtype.kind in "fiub":
            given = torch.from_numpy(np.ascontiguousarray(given, given.dtype.newbyteorder("=")))
        if kind == "class":
            return self._classes(given, count)
        if kind == "attributes" and isinstance(given, str):
            return self._found(self.rows(self.attributes_of(given, "condition"), own, count))
        if kind == "attributes" and isinstance(given, Mapping):
            wanted = {self.column_of(str(name), "condition"): float(value) for name, value in given.items()}
            return within(self._found(self.rows(wanted, own, count)))
        if not isinstance(given, Tensor):
            words = "an expression, a mapping or an array of attributes" if kind == "attributes" else "an array"
            raise DataError(f"condition is {words}, and not {type(given).__name__}")
        row = (self.condition.size,) if kind == "attributes" else tuple(self.condition.shape or ())
        values = given.detach()
        # Of pixels uint8 goes to 255; an attribute that is there is 1, whatever kind of number that is.
        values = (to_float(values) if kind == "image" and values.dtype == torch.uint8 else values).float()
        if tuple(values.shape) not in (row, (count, *row)):
            shape = ", ".join(map(str, row))
            raise DataError(f"the condition is ({shape}), or ({count}, {shape}), and this one {tuple(values.shape)}")
        return within(values.expand(count, *row))

    def _classes(self, given: Any, count: int) -> Tensor:
        if isinstance(given, Tensor) and not given.is_floating_point() and given.ndim < 2:
            given = given.tolist()
        one = not isinstance(given, list | tuple)
        found = []
        for each in [given] if one else given:
            if isinstance(each, str):
                found.append(self.class_of(each, "condition"))
            elif isinstance(each, int | np.integer) and not isinstance(each, bool):
                if not 0 <= each < self.condition.size:
                    raise UsageError(f"condition: of {counted(self.condition.size, 'class')} none is number {each}")
                found.append(int(each))
            else:
                raise DataError(f"a class is a name or a whole number, and not {type(each).__name__}; convert it")
        if not one and len(found) != count:
            raise DataError(
                f"condition is of {counted(len(found), 'class')}, for {counted(count, 'image')}; give one each, or one"
            )
        return torch.tensor(found * count if one else found, dtype=torch.int64)

    @staticmethod
    def _found(rows: Tensor | None) -> Tensor:
        assert rows is not None  # something was given
        return rows

    # -- rows ----------------------------------------------------------------------------------------------------------

    def rows(self, wanted: Wanted | None, own: Tensor | None, count: int) -> Tensor | None:
        """The conditions (count, …) of as many codes: their own, changed to what is wanted.

        None where there is neither. Attributes that nobody knows are not there.
        """
        if wanted is None:
            return own
        if isinstance(wanted, int):
            return torch.full((count,), wanted, dtype=torch.int64)
        if isinstance(wanted, Tensor):
            return wanted.expand(count, *wanted.shape)
        rows = torch.zeros(count, self.condition.size) if own is None else own.clone()
        for column, value in wanted.items():
            rows[:, column] = value
        return rows

    def in_words(self, row: Tensor) -> str:
        """What one condition (…) is: `class 7`, `male & glasses`, `no attributes`, `an image`."""
        if self.condition.kind == "class":
            return f"class {self.names[int(row)]}"
        if self.condition.kind == "image":
            return "an image"
        parts = []
        for name, value in zip(self.names, row.tolist(), strict=True):
            if value:
                parts.append(name if value == 1 else f"{value:.2g} {name}")
        return " & ".join(parts) or "no attributes"


def within(values: Tensor) -> Tensor:
    """The values, where all are in [0, 1].

    Raises:
        DataError
    """
    if not bool(((values >= 0) & (values <= 1)).all()):  # false for NaN, too
        raise DataError("a condition of attributes or pixels is within [0, 1], and this one isn't; rescale it")
    return values


def shared(own: Tensor) -> bool:
    """Whether all conditions (N, …) are one."""
    return bool((own == own[:1]).all())


def of_sum(condition: Condition, signs: Iterable[int], terms: Sequence[Tensor]) -> Tensor:
    """The condition (1, …) of a signed sum of codes, from those of each term's exemplars, (N, …) a term.

    Attributes are summed as the codes are, each term's mean, and clipped to [0, 1]. Classes and images can't be: they
    are those of the first exemplar.
    """
    if condition.kind != "attributes":
        return terms[0][:1]
    return torch.stack([sign * each.mean(0) for sign, each in zip(signs, terms, strict=True)]).sum(0).clamp(0, 1)[None]
