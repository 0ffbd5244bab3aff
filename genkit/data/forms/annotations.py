"""What do somebody's arrays say of each image: its class, or attributes?

A class an image, as numbers or as text; one that is 1 among zeros; several at once, which are attributes; factors of a
drawn set, whose values each become an attribute.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from genkit.data.forms import tables
from genkit.data.forms.stored import Stored
from genkit.errors import DataError
from genkit.wording import one_line

#: Bytes of all labels, or of all attributes, which are held in memory.
MAX_TABLE = 1 << 28
#: Values of a factor up to which each becomes an attribute, and how many attributes come of factors altogether.
MAX_VALUES, MAX_ATTRIBUTES = 16, 64
#: Factors of published sets, by how many values each has: files don't say what they are called.
FACTORS: dict[tuple[int, ...], tuple[str, ...]] = {
    (1, 3, 6, 40, 32, 32): ("color", "shape", "scale", "orientation", "position-x", "position-y"),  # dSprites
    (10, 10, 10, 8, 4, 15): ("floor-hue", "wall-hue", "object-hue", "scale", "shape", "orientation"),  # 3dshapes
}
NONE = "--labels none"


class Annotations(NamedTuple):
    """What is known of each image.

    Attributes:
        labels: int64 (N,), an index into `classes`, or None.
        classes: their names.
        attributes: bool (N, A), or None.
        attribute_names: their names.
        notes: what is to be said of how they were read.
        unlabelled: bool (N,), of labels of some images only: those whose class nobody knows; else None.
    """

    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    attributes: np.ndarray | None = None
    attribute_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unlabelled: np.ndarray | None = None


def counts_of(stored: Stored) -> tuple[int, ...]:
    """How many images a table of labels or attributes may be of, by its shape; the likelier first."""
    sizes = [size for size in stored.shape if size > 1] or [1]
    return (sizes[0],) if len(sizes) == 1 else (sizes[0], sizes[-1])


def labels_of(given: Sequence[Stored], counts: Sequence[int], names: Stored | None) -> Annotations:
    """Classes, or several labels at once as attributes.

    Args:
        given: one for each array of images.
        counts: how many images each of these has.
        names: of the classes or labels, as strings, or None.

    Raises:
        DataError: when they don't fit the images, or are something else.
    """
    if not given:
        return Annotations()
    first = given[0]
    wanted = f"integers or strings, or give {NONE}"
    parts = [_table(stored, count, wanted) for stored, count in zip(given, counts, strict=True)]
    kinds = {"text" if part.dtype.kind == "U" else "numbers" for part in parts}
    if len(kinds) > 1 or len({part.shape[1] for part in parts}) > 1:
        kind = (first.dtype.kind, first.shape[1:])
        others = next(stored for stored in given if (stored.dtype.kind, stored.shape[1:]) != kind)
        raise DataError(
            f"{first}: {first.dtype}, and {others.member}: {others.dtype}; make both integers, or both strings"
        )
    values = np.concatenate(parts)
    called = None if names is None else _names(names)
    if values.shape[1] == 1:
        return _classes(first, values[:, 0], names, called)
    if values.dtype.kind == "U":
        raise DataError(f"{first}: {values.shape[1]} strings an image; make it one, or give {NONE}")
    if np.isin(values, (0, 1)).all() or np.isin(values, (-1, 1)).all():
        if ((values == 1).sum(1) == 1).all():
            found = _classes(first, values.argmax(1), names, called)
            return found._replace(
                notes=(f"{first.member}: 1 in one of {values.shape[1]} columns, which is the class", *found.notes)
            )
        return _flags(first, values, called or [f"label-{number}" for number in range(values.shape[1])])
    return _factors(first, values, called, "label")


def attributes_of(given: Sequence[Stored], counts: Sequence[int], names: Stored | None) -> Annotations:
    """Attributes, yes and no; or factors of few values.

    Raises:
        DataError: when they don't fit the images, or are something else.
    """
    if not given:
        return Annotations()
    first = given[0]
    parts = [_table(stored, count, "rows of 0 and 1") for stored, count in zip(given, counts, strict=True)]
    if len({part.shape[1] for part in parts}) > 1 or any(part.dtype.kind == "U" for part in parts):
        raise DataError(f"{first}: make it ({counts[0]}, A), of 0 and 1, of each split the same number")
    values = np.concatenate(parts)
    called = None if names is None else _names(names)
    if not np.isin(values, (-1, 0, 1)).all():
        return _factors(first, values, called, "attribute")
    return _flags(first, values, called or [f"attribute-{number}" for number in range(values.shape[1])])


def _classes(first: Stored, values: np.ndarray, names: Stored | None, called: list[str] | None) -> Annotations:
    """Of one value an image."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise DataError(
                f"{first}: holds NaN or infinity, which is no class; give {NONE}, or leave those images out"
            )
        if not (values == np.rint(values)).all() or np.abs(values).max(initial=0) >= 2**53:
            raise DataError(f"{first}: {first.dtype} that aren't whole, and so no classes; give {NONE}")
        values = values.astype(np.int64)
    unlabelled = _unlabelled(values)
    found, labels = np.unique(values if unlabelled is None else values[~unlabelled], return_inverse=True)
    classes = [str(value) for value in found]
    notes = []
    if called is not None and names is not None and values.dtype.kind in "iub":
        start = 0 if found[0] == 0 or len(called) > found[-1] else 1
        if found[0] >= start and found[-1] - start < len(called) and len(set(called)) == len(called):
            classes = [called[int(value) - start] for value in found]
            if start == 1:
                notes.append(f"{names.member}: the first is the name of class 1")
        else:
            notes.append(f"{names.member}: not used, {len(called)} names for labels of {found[0]} to {found[-1]}")
    odd = [name for name in classes if not name.isprintable()]
    if odd:
        raise DataError(f"{first}: {odd[0]!a} has a line break or another control character; rename the class")
    if unlabelled is None:
        return Annotations(labels.reshape(-1).astype(np.int64), tuple(classes), notes=tuple(notes))
    of_all = np.full(len(values), -1)
    of_all[~unlabelled] = labels.reshape(-1)
    return Annotations(of_all, tuple(classes), notes=tuple(notes), unlabelled=unlabelled)


def _unlabelled(values: np.ndarray) -> np.ndarray | None:
    """Which labels are -1 where that is no class, beside two others from 0 on; None where it is one, or isn't there.

    So STL-10, scikit-learn and Hugging Face have it. (-1 and 1 are two classes.)
    """
    if values.dtype.kind != "i":
        return None
    found = np.unique(values)
    return values == -1 if len(found) > 2 and found[0] == -1 and found[1] >= 0 else None


def _flags(first: Stored, values: np.ndarray, called: list[str]) -> Annotations:
    """Of 0 and 1, or -1 and 1, in each column."""
    if len(called) != values.shape[1]:
        raise DataError(f"{first}: {values.shape[1]} columns and {len(called)} names; give each a name")
    for column in values.T:
        if len(np.unique(column)) == 3:
            raise DataError(f"{first}: -1, 0 and 1 in one column; make it 0 and 1, or -1 and 1")
    return Annotations(attributes=values > 0, attribute_names=tables.attribute_names(first.path, called))


def _factors(first: Stored, values: np.ndarray, called: list[str] | None, word: str) -> Annotations:
    """Each value of columns that have few of them as an attribute; of a column of two, the larger one."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{first}: holds NaN or infinity, which is no value; give {NONE}, or leave those images out")
    each = [np.unique(column, return_inverse=True) for column in values.T]
    numbers = tuple(len(found) for found, _ in each)
    called = called if called and len(called) == len(each) else None
    names = called or FACTORS.get(numbers) or [f"{word}-{number}" for number in range(len(each))]
    columns: list[np.ndarray] = []
    headings: list[str] = []
    left: list[str] = []
    for name, (found, indices) in zip(names, each, strict=True):
        some = 1 if len(found) == 2 else len(found)
        if len(found) == 1 or len(found) > MAX_VALUES or len(columns) + some > MAX_ATTRIBUTES:
            left.append(f"{one_line(name, 40)} ({len(found):,})")
            continue
        small = np.issubdtype(found.dtype, np.integer) and found[0] >= 0 and found[-1] < 1000
        for index, value in enumerate(found):
            if len(found) == 2 and index == 0:
                continue
            columns.append(indices.reshape(-1) == index)
            headings.append(name if len(found) == 2 else f"{name}-{value if small else index}")
    if not columns:
        what = "no classes" if word == "label" else "no attributes, which are 0 and 1, or -1 and 1"
        raise DataError(
            f"{first}: {first.dtype} of shape {first.shape}, and so {what}; make it whole numbers or rows of 0 and 1, "
            f"or give {NONE}"
        )
    notes = [f"{first.member}: an attribute for each value of a factor: {_range(headings)}"]
    if left:
        notes.append(
            f"{first.member}: not used, having one value or more than {MAX_VALUES}, or more than {MAX_ATTRIBUTES} in "
            f"all: {', '.join(left[:20])}"
        )
    return Annotations(
        attributes=np.stack(columns, 1),
        attribute_names=tables.attribute_names(first.path, headings),
        notes=tuple(notes),
    )


def _range(headings: Sequence[str]) -> str:
    return ", ".join(headings) if len(headings) <= 8 else f"{', '.join(headings[:4])}, … {headings[-1]}"


def _names(stored: Stored) -> list[str]:
    """Raises DataError unless they are strings or numbers in a row."""
    if len([size for size in stored.shape if size > 1]) > 1 or stored.dtype.kind not in "USiub":
        raise DataError(f"{stored}: {stored.dtype} of shape {stored.shape}, and no names; make it strings in a row")
    return [str(name) for name in whole(stored).reshape(-1)]


def _table(stored: Stored, count: int, wanted: str) -> np.ndarray:
    """(count, K) numbers or strings, of (count,), (1, count), (count, K) or (K, count)."""
    sizes = [size for size in stored.shape if size > 1]
    fits = math.prod(stored.shape) == count or (len(sizes) == 2 and count in sizes) or (count == 1 and len(sizes) == 1)
    if not fits or stored.dtype.kind not in "iubfUS":
        raise DataError(f"{stored}: {stored.dtype} of shape {stored.shape}; make it {count} {wanted}")
    values = whole(stored)
    if values.size == count:
        return values.reshape(count, 1)
    return values.reshape(sizes) if sizes[0] == count else values.reshape(sizes).T


def whole(stored: Stored) -> np.ndarray:
    """Labels or names, bytes as strings.

    Raises:
        DataError: where it is larger than labels and attributes are, or has strings that aren't text.
    """
    if not stored.shape:
        raise DataError(f"{stored}: is a single value; make it as many as there are")
    if math.prod(stored.shape) * stored.dtype.itemsize > MAX_TABLE:
        raise DataError(f"{stored}: takes more than {MAX_TABLE:,} bytes; save shorter strings or smaller numbers")
    blocks = list(stored.rows(1 << 16))
    everything = np.concatenate(blocks) if blocks else np.empty(stored.shape, stored.dtype)
    if stored.dtype.kind == "S":
        if stored.dtype.itemsize * 4 * everything.size > MAX_TABLE:
            raise DataError(f"{stored}: takes more than {MAX_TABLE:,} bytes; save shorter strings")
        try:
            return np.char.decode(everything, "utf-8") if everything.size else everything.astype("U1")
        except UnicodeDecodeError:
            return np.char.decode(everything, "latin-1")
    if stored.dtype.kind == "U":
        # NumPy takes any 32 bits for a character, on which Python then fails, and half a pair can't be written.
        codes = np.ascontiguousarray(everything).reshape(-1)
        codes = codes.view(np.dtype(np.uint32).newbyteorder(stored.dtype.byteorder))
        if ((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))).any():
            raise DataError(f"{stored}: holds characters that don't exist; save the strings again")
    return everything
