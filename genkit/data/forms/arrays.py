"""Images in somebody's arrays, and what these say of them.

The same for all files that hold arrays; how each is read is for its `Holder`. `roles` says which array is what, `axes`
which way its axes go, `annotations` what labels mean, and `levels` what number is white. No more is allocated than a
few images at a time, and labels and attributes, which are bounded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from genkit.data import DataOptions, pack
from genkit.data.dataset import fingerprint
from genkit.data.decode import flatten
from genkit.data.findings import Findings
from genkit.data.forms.annotations import Annotations, attributes_of, counts_of, labels_of
from genkit.data.forms.axes import View, could_be_images, view_of, with_a_label
from genkit.data.forms.roles import Roles, images_beside, is_named, roles_of, shown, word_of
from genkit.data.forms.source import Source, log
from genkit.data.forms.stored import Holder, Name, Stored, stacked
from genkit.data.forms.turned import Rows
from genkit.data.levels import FEW, Numbers, Range, Scale, depth_of, scale_of
from genkit.data.pixels import conform, loss_by_crop, wanted_shape
from genkit.data.survey import Survey
from genkit.errors import DataError
from genkit.wording import counted


class Arrays(Source):
    """Images, labels and attributes in the arrays of a holder."""

    kind = "array"
    heeds = frozenset({"images", "labels", "transpose", "white_level"})

    def __init__(self, holder: Holder, options: DataOptions):
        """Reads the headers of the arrays that are wanted, and labels and attributes whole.

        Raises:
            DataError: when the holder has no images, or it can't be told which they are; when tables don't fit them.
        """
        if options.images is None or not is_named(holder, options.images):
            holder = stacked(holder)
        self.holder, self.form, self.path, self.options = holder, holder.form, holder.path, options
        self.roles = roles_of(holder, options, self._could_be_images, self._is_empty)
        wanted = [*self.roles.images, *self.roles.labels, *self.roles.attributes]
        named = [name for name in (self.roles.label_names, self.roles.attribute_names) if name]
        opened = holder.open([*wanted, *named])
        images, labels, attributes = (
            [opened[name] for name in names] for names in (self.roles.images, self.roles.labels, self.roles.attributes)
        )
        if len(holder.names) == 1:
            _require_more_than_labels(images[0], holder)
        apart = [with_a_label(each) for each in images] if options.image_size is None and not labels else []
        places = {each and each[2] for each in apart}
        if len(places) == 1 and None not in places:
            images = [each[0] for each in apart if each]
            labels = [each[1] for each in apart if each and options.labels is None]
        self.views = _views(images, [*labels[:1], *attributes[:1]], options)
        found = self._annotations(labels, attributes, opened)
        self.warnings = list(self.views[0].warnings)
        if found.unlabelled is not None:
            found = self._without_unlabelled(found, found.unlabelled)
        self.count = sum(view.total for view in self.views)
        self.parts = _parts(self.roles, self.views)
        self.labels, self.classes = found.labels, found.classes
        self.attributes, self.attribute_names = found.attributes, found.attribute_names
        self.left_out: dict[str, int] = {}
        self.notes = [
            *holder.notes,
            *(f"{shown(names, holder.names)}: {reason}" for reason, names in self.roles.ignored.items()),
            *(f"the {place} column is taken for the labels" for place in places if place),
            *self.views[0].notes,
            *found.notes,
        ]
        self.faults: list[str] = []

    def _could_be_images(self, name: Name) -> bool:
        try:
            return could_be_images(self.holder.open([name])[name])
        except DataError:
            return False

    def _is_empty(self, name: Name) -> bool:
        try:
            return 0 in self.holder.open([name])[name].shape
        except DataError:
            return False

    def _annotations(
        self, labels: Sequence[Stored], attributes: Sequence[Stored], opened: dict[Name, Stored]
    ) -> Annotations:
        counts, roles = [view.total for view in self.views], self.roles
        if roles.name_classes:
            classes = sorted(set(roles.name_classes))
            indices = [classes.index(each) for each in roles.name_classes]
            note = f"each array is of one class: {', '.join(classes[:20])}{', …' if len(classes) > 20 else ''}"
            return Annotations(np.repeat(np.array(indices, np.int64), counts), tuple(classes), notes=(note,))
        of_labels = labels_of(labels, counts, roles.label_names and opened[roles.label_names])
        given = attributes_of(attributes, counts, roles.attribute_names and opened[roles.attribute_names])
        if given.attributes is None:
            return of_labels
        both = of_labels.attributes is not None and "the labels, of several columns, aren't used beside the attributes"
        notes = (*of_labels.notes, *given.notes, *([both] if both else []))
        return of_labels._replace(attributes=given.attributes, attribute_names=given.attribute_names, notes=notes)

    def _without_unlabelled(self, found: Annotations, unlabelled: np.ndarray) -> Annotations:
        """Leave out the images whose class nobody knows; or all labels, where that would leave none for training."""
        splits = np.repeat(self.roles.splits, [view.total for view in self.views])
        training = np.isin(splits, ("train", "all"))
        if not (training & ~unlabelled).any():
            self.warnings.append("the labels of all images for training are -1, so that none are used")
            return found._replace(labels=None, classes=(), unlabelled=None)
        ends = np.cumsum([view.total for view in self.views])[:-1]
        kept = np.split(~unlabelled, ends)
        some = [number for number, rows in enumerate(kept) if rows.any()]
        self.views = [
            self.views[number]._replace(stored=Rows(self.views[number].stored, kept[number])) for number in some
        ]
        splits_left = tuple(self.roles.splits[number] for number in some)
        self.roles = self.roles._replace(splits=splits_left if len(set(splits_left)) > 1 else ("all",) * len(some))
        self.warnings.append(
            f"{counted(int(unlabelled.sum()), 'image')} of the label -1, which is taken for none, left out; "
            "--labels none takes all images"
        )
        return found._replace(
            labels=None if found.labels is None else found.labels[~unlabelled],
            attributes=None if found.attributes is None else found.attributes[~unlabelled],
            unlabelled=None,
        )

    def state(self) -> Any:
        # A pack of the same arrays that were understood otherwise is another pack.
        view = self.views[0]
        understood = [self.roles.images, self.classes, self.attribute_names, view.last, view.grid, view.axes]
        meaning = hashlib.sha256(json.dumps(understood).encode())
        kept = [view.stored.kept for view in self.views if isinstance(view.stored, Rows)]
        for column in (self.labels, self.parts, *kept):
            meaning.update(b"-" if column is None else column.tobytes())
        return [self.holder.place.stamp(self.holder.files()), meaning.hexdigest()]

    def contents(self, options: DataOptions) -> pack.Contents:
        view = self.views[0]
        scale, opaque = _scales(self.views, options)
        shape = wanted_shape(view.shape, options)
        loss = loss_by_crop([(view.shape.width, view.shape.height)], options)

        def chunks() -> Iterator[pack.Chunk]:
            start = 0
            for block in _blocks(self.views, scale, opaque):
                rows = np.arange(start, start + len(block))
                yield pack.Chunk(rows, conform(block, shape, options.fit), fingerprint(block))
                start += len(block)

        serves_as_it_is = (
            len(self.views) == 1
            and view.stored.dtype == np.uint8
            and (scale.black, scale.white) == (0, 255)
            and shape == view.shape
            and view.as_it_lies
            and view.channels != 4
        )
        file = view.stored.file() if serves_as_it_is else None
        return pack.Contents(
            shape=shape,
            count=self.count,
            images=chunks() if file is None else file,
            labels=self.labels,
            attributes=self.attributes,
            parts=self.parts,
            classes=self.classes,
            attribute_names=self.attribute_names,
            whites=scale.whites,
            notes=[note for note in (scale.note, loss) if note],
        )

    def tell_of(self, packed: pack.Pack, options: DataOptions) -> None:
        super().tell_of(packed, options)
        whites = [white for white in packed.dataset.whites.values() if isinstance(white, int)]
        if options.white_level is None and any(1 < white <= FEW for white in whites):
            log.warning("%s: its pixels have few values; are they brightness, and not a map of classes?", self.path)

    def check(self, findings: Findings, survey: Survey | None = None) -> None:
        shape, dtype = self.views[0].shape, self.views[0].stored.dtype
        findings.files = len(self.holder.files())
        fingerprints = []
        start = 0
        scale, opaque = _scales(self.views, self.options)
        findings.notes += [scale.note] if scale.note else []
        with tqdm(total=self.count, desc="verifying", unit="images", disable=None) as bar:
            for block in _blocks(self.views, scale, opaque):
                fingerprints.append(fingerprint(block))
                if survey is not None:
                    survey.take_block(start, block, fingerprints[-1], _bits(dtype))
                start += len(block)
                bar.update(len(block))
        if survey is not None and dtype != np.uint8:
            stored = Range(_bits(dtype))
            for _, values in _stored_blocks(self.views):
                stored.see(values)
            survey.take_stored(stored)
        if survey is not None:
            survey.blacks[_bits(dtype)], survey.whites[_bits(dtype)] = scale.black, scale.white
        findings.count(np.concatenate(fingerprints), f"{shape.width}x{shape.height}", str(dtype))

    def originals(self, options: DataOptions) -> Iterator[tuple[int, np.ndarray]]:
        scale, opaque = _scales(self.views, options)
        yield from enumerate(chain.from_iterable(_blocks(self.views, scale, opaque)))


def _require_more_than_labels(stored: Stored, holder: Holder) -> None:
    """Raises DataError where the only array of a file is one of labels; it names the images' file beside it."""
    a_row = len([size for size in stored.shape if size > 1]) == 1
    if not a_row or stored.dtype.kind not in "iubUS" or word_of(holder.names[0], alone=True).role == "images":
        return
    beside = images_beside(holder.place, holder.file)
    where = f"{holder.place.path / beside}, or the folder that has both" if beside else "the file of the images"
    raise DataError(
        f"{stored}: {stored.dtype} of shape {stored.shape}, which looks like labels, and not like images; name {where}"
    )


def _views(images: Sequence[Stored], tables: Sequence[Stored], options: DataOptions) -> list[View]:
    """All arrays of images, read in the same way.

    Args:
        tables: labels and attributes of the first, as far as there are any.

    Raises:
        DataError: when they are no images, or not of the same size and kind.
    """
    counts = [count for table in tables for count in counts_of(table)]
    view = view_of(images, counts, options)
    for other in images[1:]:
        if other.dtype.kind.replace("i", "u") != images[0].dtype.kind.replace("i", "u"):
            raise DataError(
                f"{images[0]}: {images[0].dtype} of shape {images[0].shape}, and {other.member}: {other.dtype} of "
                f"shape {other.shape}; give both the same type, size and channels"
            )
    return [view, *(view.of(other) for other in images[1:])]


def _parts(roles: Roles, views: Sequence[View]) -> np.ndarray | None:
    """The split of each image, as an index into `pack.PARTS`; None where there are none."""
    if "all" in roles.splits:
        return None
    codes = [pack.PARTS.index(split) for split in roles.splits]
    return np.repeat(np.array(codes, np.uint8), [view.total for view in views])


def _scales(views: Sequence[View], options: DataOptions) -> tuple[Scale, float]:
    """How the numbers of all images become bytes, and of those with alpha the number that is opaque.

    They are read until that is settled.

    Raises:
        DataError: when their numbers aren't brightness.
    """
    first = views[0].stored
    alpha, dtype = views[0].channels == 4, np.result_type(*(view.stored.dtype for view in views))
    if dtype.kind == "b":
        return Scale(0, 1, 8), 1
    bits = _bits(dtype)
    # Only what can be neither negative nor too large is settled before all has been seen.
    may_stop = dtype in (np.uint8, np.uint16) and not alpha and options.white_level is None
    found, opacity = Numbers(bits), Numbers(bits)
    for view, block in _stored_blocks(views):
        if alpha:
            opacity.see(view.images(block)[:, 3:])
            block = view.images(block)[:, :3]
        found.see(block)
        if may_stop and found.settled:
            break
    try:
        scale = scale_of(found, options.white_level)
        if alpha and not 0 <= opacity.low <= opacity.high <= 65535:
            raise DataError(f"holds alpha of {opacity}, where 0 to 255 is read")
    except DataError as error:
        raise DataError(f"{first}: {error}") from error
    if not alpha or opacity.high <= 1:
        return scale, 1
    whole = Numbers(16)
    whole.high = opacity.high
    return scale, 255 if bits == 8 else depth_of(whole)


def _bits(dtype: np.dtype) -> int:
    """Of a number, as `levels` tells them apart."""
    return 0 if dtype.kind == "f" else 8 if dtype in (np.uint8, np.bool_) else 16


def _stored_blocks(views: Sequence[View]) -> Iterator[tuple[View, np.ndarray]]:
    """All images as they are stored, some at a time."""
    for view in views:
        # Larger numbers take more room than the bytes that they become.
        step = max(1, pack.chunk_length(view.shape) // view.stored.dtype.itemsize)
        for block in view.stored.rows(step):
            yield view, block


def _blocks(views: Sequence[View], scale: Scale, opaque: float) -> Iterator[np.ndarray]:
    """All images, some at a time, as uint8 (B, C, H, W), C being 1 or 3.

    Raises:
        DataError: when the file ends too soon, or is damaged.
    """
    for view, block in _stored_blocks(views):
        images = view.images(block)
        if view.channels != 4:
            yield scale.to_bytes(images)
            continue
        alpha = scale._replace(black=0, white=opaque).to_bytes(images[:, 3:])
        pixels = np.concatenate([scale.to_bytes(images[:, :3]), alpha], 1)
        pictures = (Image.fromarray(np.ascontiguousarray(each.transpose(1, 2, 0))) for each in pixels)
        yield np.stack([np.asarray(flatten(picture)).transpose(2, 0, 1) for picture in pictures])
