"""What do a table's columns mean: which are the pictures, which the labels, which the attributes?

Hugging Face's `datasets` writes it into the schema. Without that, types and names say it; what could be meant in two
ways is refused, and asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from genkit.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

#: What columns of pictures are called, and of paths to them.
IMAGES = (
    "image",
    "images",
    "img",
    "imgs",
    "image_bytes",
    "img_bytes",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "picture",
    "photo",
)
PATHS = ("image_path", "img_path", "path", "file_name", "filename", "file", "filepath", "file_path", *IMAGES)
PIXELS = ("pixels", "pixel_values", "data", "x", "array", "features", *IMAGES)
#: What columns of labels are called.
LABELS = ("label", "labels", "class", "target", "targets", "y", "category", "digit", "class_id", "label_id")
#: Columns of one pixel each, from which on they are taken for that.
FEWEST_PIXELS = 16

#: How a column holds images: encoded, as paths of files, as lists of numbers; or several columns, one number each.
Way = Literal["encoded", "paths", "pixels", "columns"]


class Feature(NamedTuple):
    """What `datasets` says of a column.

    Attributes:
        kind: "Image", "ClassLabel", "Sequence" of ClassLabel, or anything else.
        names: of the classes, of ClassLabel and of a sequence of such.
    """

    kind: str
    names: tuple[str, ...] = ()


class Meaning(NamedTuple):
    """What was understood of the columns.

    Attributes:
        images: the columns of the images: one, or all of way "columns".
        way: how they hold them.
        labels: the column of the labels, or None.
        attributes: columns of yes and no, or of several classes a row.
        unused: all others.
    """

    images: tuple[str, ...]
    way: Way
    labels: str | None
    attributes: tuple[str, ...]
    unused: tuple[str, ...]


def features_of(metadata: dict[bytes, bytes] | None) -> dict[str, Feature]:
    """What the metadata of a schema say of each column; {} where they don't, or can't be understood."""
    try:
        said = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = said["info"]["features"]
        return {str(name): feature for name, each in features.items() if (feature := _feature(each))}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}


def _feature(said: Any) -> Feature | None:
    if isinstance(said, list) and len(said) == 1:  # as earlier versions wrote sequences
        said = {"_type": "Sequence", "feature": said[0]}
    if not isinstance(said, dict) or not isinstance(said.get("_type"), str):
        return None
    inner = said.get("feature")
    if said["_type"] in ("Sequence", "List", "LargeList"):
        of = _feature(inner)
        return Feature("Sequence", of.names) if of and of.kind == "ClassLabel" else Feature(f"List of {of and of.kind}")
    names = said.get("names")
    if said["_type"] == "ClassLabel" and isinstance(names, list) and all(isinstance(name, str) for name in names):
        return Feature("ClassLabel", tuple(names))
    return Feature(said["_type"])


class Columns:
    """The columns of a table, to be told apart.

    Args:
        arrow: pyarrow.
        path: for messages.
        schema: types as they are stored.
        features: what `datasets` says of them.
        begins_as_picture: whether what a column holds first is a picture; asked of columns of bytes only.
    """

    def __init__(self, arrow: Any, path: Path, schema: pa.Schema, features: dict[str, Feature], begins_as_picture: Any):
        self.types, self.path, self.schema, self.features = arrow.types, path, schema, features
        self.begins_as_picture = begins_as_picture
        self.names: list[str] = schema.names
        twice = {name for name in self.names if self.names.count(name) > 1} if len(self.names) < 10_000 else set()
        if twice or len(set(self.names)) < len(self.names):
            raise DataError(f"{path}: has two columns of one name, {min(twice, default='')!a}; rename one")

    def meaning(self, images: str | None, labels: str | None) -> Meaning:
        """
        Args:
            images, labels: names of the columns that somebody has given.

        Raises:
            DataError: when there are no images, or more than one column could be it.
        """
        for option, name in (("--images", images), ("--labels", labels)):
            if name is not None and name not in self.names and not (name == "none" and option == "--labels"):
                raise DataError(f"{self.path}: has no column {name!a} for {option}; it has {self._listed(self.names)}")
        label = self._labels(labels)
        where, way = self._images(images, label)
        used = {*where, label}
        attributes = tuple(name for name in self.names if name not in used and self._is_attribute(name))
        unused = tuple(name for name in self.names if name not in used and name not in attributes)
        return Meaning(where, way, label, attributes, unused)

    def _images(self, given: str | None, label: str | None) -> tuple[tuple[str, ...], Way]:
        if given is not None:
            way = self._way(given)
            if way is None:
                kind = self.schema.field(given).type
                raise DataError(f"{self.path}: --images {given}: a column of {kind!s:.60} holds no images")
            return (given,), way
        others = [name for name in self.names if name != label]
        said = [name for name in others if self.features.get(name, Feature("")).kind == "Image"]
        ways = {name: way for name in others if (way := self._way(name))}
        candidates: Iterable[list[str]] = (
            said,
            [name for name, way in ways.items() if way == "encoded" and self.begins_as_picture(name)],
            [name for name, way in ways.items() if way == "encoded" and name.lower() in IMAGES],
            [name for name, way in ways.items() if way == "pixels" and name.lower() in PIXELS],
            [name for name, way in ways.items() if way == "pixels"],
            [name for name, way in ways.items() if way == "paths" and name.lower() in PATHS],
        )
        for found in candidates:
            if len(found) > 1:
                raise DataError(
                    f"{self.path}: {' and '.join(map(ascii, found[:8]))} may each be the images; choose with "
                    f"--images {found[0]}"
                )
            if found:
                way = ways.get(found[0])
                if way is not None:
                    return (found[0],), way
        numbers = tuple(name for name in others if self._is_number(self.schema.field(name).type))
        if len(numbers) >= FEWEST_PIXELS:
            return numbers, "columns"
        raise DataError(
            f"{self.path}: none of its columns holds images ({self._listed(self.names)}); name the one that does with "
            "--images"
        )

    def _way(self, name: str) -> Way | None:
        """How a column may hold images, by its type."""
        kind = self._value(self.schema.field(name).type)
        if self.types.is_struct(kind):
            fields = {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}
            there = self._is_binary(fields.get("bytes")) or self._is_string(fields.get("path"))
            return "encoded" if there else None
        if self._is_binary(kind):
            return "encoded"
        if self._is_string(kind):
            return "paths"
        depth = 0
        while self._is_list(kind):
            kind, depth = self._value(kind.value_type), depth + 1
        return "pixels" if depth and (self._is_number(kind) or self.types.is_boolean(kind)) else None

    def _labels(self, given: str | None) -> str | None:
        if given is not None:
            return None if given == "none" else given
        said = [name for name, feature in self.features.items() if feature.kind == "ClassLabel" and name in self.names]
        if not said:
            said = [name for name in self.names if name.lower() in LABELS and self._is_label(name)]
        named = [name for name in said if name.lower() in ("label", "labels")]
        found = named if len(named) == 1 else said
        if len(found) > 1:
            raise DataError(
                f"{self.path}: {' and '.join(map(ascii, found[:8]))} may each be the labels; choose with --labels "
                f"{found[0]}, or leave them with --labels none"
            )
        return found[0] if found else None

    def _is_label(self, name: str) -> bool:
        kind = self._value(self.schema.field(name).type)
        return self._is_number(kind) or self._is_string(kind) or bool(self.types.is_boolean(kind))

    def _is_attribute(self, name: str) -> bool:
        feature = self.features.get(name)
        kind = self._value(self.schema.field(name).type)
        return bool(self.types.is_boolean(kind) or (feature and feature.kind == "Sequence" and self._is_list(kind)))

    def _value(self, kind: Any) -> Any:
        """A type, of a dictionary that of what it stands for."""
        return kind.value_type if self.types.is_dictionary(kind) else kind

    def _is_binary(self, kind: Any) -> bool:
        types = self.types
        return kind is not None and (
            types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
        )

    def _is_string(self, kind: Any) -> bool:
        return kind is not None and (self.types.is_string(kind) or self.types.is_large_string(kind))

    def _is_number(self, kind: Any) -> bool:
        return bool(self.types.is_integer(kind) or self.types.is_floating(kind))

    def _is_list(self, kind: Any) -> bool:
        types = self.types
        return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))

    @staticmethod
    def _listed(names: Sequence[str]) -> str:
        some = ", ".join(map(ascii, names[:12]))
        return f"{some} and {len(names) - 12:,} more" if len(names) > 12 else some or "no column"
