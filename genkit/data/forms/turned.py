"""Arrays that are read otherwise than they are stored: with their axes in another order, or some columns or rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from genkit.data.forms.stored import Stored

#: Bytes that are gathered in one pass over the file, and of the blocks in which it is read meanwhile.
GATHERED, READ = 32 << 20, 8 << 20


class Turned(Stored):
    """Another array with its axes in the order `axes`, as `numpy.transpose` takes them.

    Where the first axis isn't the first of the file, rows lie scattered all over it: it is read once for every
    GATHERED bytes of them, so that memory stays flat and nothing needs to be mapped.
    """

    def __init__(self, stored: Stored, axes: Sequence[int]):
        self.stored, self.axes = stored, tuple(axes)
        self.path, self.name, self.dtype = stored.path, stored.name, stored.dtype
        self.columns_first = stored.columns_first
        self.shape = tuple(stored.shape[axis] for axis in axes)

    def rows(self, step: int) -> Iterator[np.ndarray]:
        if self.axes[0] == 0:
            yield from (block.transpose(self.axes) for block in self.stored.rows(step))
            return
        count, along = self.shape[0], self.axes[0]
        gathered = max(step, GATHERED // max(1, self.row_bytes) // step * step)
        for start in range(0, count, gathered):
            end = min(start + gathered, count)
            part = np.empty([*self.stored.shape[:along], end - start, *self.stored.shape[along + 1 :]], self.dtype)
            done = 0
            for block in self.stored.rows(max(1, READ // max(1, self.stored.row_bytes))):
                part[done : done + len(block)] = block[(slice(None),) * along + (slice(start, end),)]
                done += len(block)
            part = part.transpose(self.axes)
            yield from (part[at : at + step] for at in range(0, len(part), step))
            del part  # before the next is made

    def last_axis_first(self) -> Stored | None:
        axes = _with_last_first(self.shape)
        return None if axes is None else last_axis_first(self.stored, [self.axes[axis] for axis in axes])


class Columns(Stored):
    """Some of an array's columns, from `start` to before `end`; a single one is (N,)."""

    def __init__(self, stored: Stored, start: int, end: int):
        self.stored, self.start, self.end = stored, start, end
        self.path, self.name, self.dtype = stored.path, stored.name, stored.dtype
        self.columns_first = stored.columns_first
        count = stored.shape[0]
        self.shape = (count,) if end - start == 1 else (count, end - start)

    def rows(self, step: int) -> Iterator[np.ndarray]:
        for block in self.stored.rows(step):
            yield block[:, self.start : self.end].reshape(len(block), *self.shape[1:])


class Rows(Stored):
    """Those rows of an array that are `kept`, bool (N,)."""

    def __init__(self, stored: Stored, kept: np.ndarray):
        self.stored, self.kept = stored, kept
        self.path, self.name, self.dtype = stored.path, stored.name, stored.dtype
        self.columns_first, self.images_last = stored.columns_first, stored.images_last
        self.shape = (int(kept.sum()), *stored.shape[1:])

    def rows(self, step: int) -> Iterator[np.ndarray]:
        start = 0
        for block in self.stored.rows(step):
            kept = self.kept[start : start + len(block)]
            start += len(block)
            if kept.any():
                yield block[kept]


def last_axis_first(stored: Stored, axes: Sequence[int] | None = None) -> Stored | None:
    """`Stored.last_axis_first` by reading the file several times; None where a row of it is too large to be held.

    Args:
        axes: another order of them.
    """
    axes = _with_last_first(stored.shape) if axes is None else axes
    if axes is None or math.prod(stored.shape[1:]) * stored.dtype.itemsize > 8 * GATHERED:
        return None
    return Turned(stored, axes)


def _with_last_first(shape: Sequence[int]) -> list[int] | None:
    """The order of axes in which the last of more than one element stands first."""
    last = max((axis for axis, size in enumerate(shape) if size > 1), default=0)
    return [last, *(axis for axis in range(len(shape)) if axis != last)] if last else None
