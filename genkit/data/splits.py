"""Which images are for training, for choosing and for testing, where a source doesn't say so itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from genkit.data.dataset import Split
from genkit.errors import DataError
from genkit.wording import counted

#: Share of all images that each held-out split takes where a source brings no split of its own.
HELD_OUT = 0.1
#: By which share of what it is due a split may be too small, and copies of one picture up to which share may go to it.
TOLERANCE = 0.1
#: Through so many files that share pictures it is followed what belongs together.
ROUNDS = 100
#: The share of a split from which one picture, of which there are COPIES or more in it, is named to the person.
NAMED, COPIES = 0.05, 3
#: Of the images that are in no large group of copies, each held-out split gets so many times its fraction at most.
MOST = 3

log = logging.getLogger("genkit")

Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]


class Together:
    """Images that belong together, as pages of one file: whatever is held out has all of them, or none.

    Exact copies belong together, too, and what they belong to. A picture is known by its fingerprint.

    Args:
        fingerprints: int64 (N,).
        groups: int64 (N,), equal for images that belong together.
    """

    def __init__(self, fingerprints: np.ndarray, groups: np.ndarray):
        self.known, of_picture = np.unique(fingerprints, return_inverse=True)
        _, of_group = np.unique(groups, return_inverse=True)
        self.ranks = self.known.copy()
        for _ in range(ROUNDS):
            least = np.full(int(of_group.max(initial=0)) + 1, np.iinfo(np.int64).max)
            np.minimum.at(least, of_group, self.ranks[of_picture])
            spread = self.ranks.copy()
            np.minimum.at(spread, of_picture, least[of_group])
            if (spread == self.ranks).all():
                break
            self.ranks = spread

    def rank(self, fingerprints: torch.Tensor) -> torch.Tensor:
        """The smallest fingerprint of all that a picture belongs to, int64 (N,)."""
        return torch.from_numpy(self.ranks[np.searchsorted(self.known, fingerprints.numpy())])


def hold_out(
    everything: Split, *, fraction: float = HELD_OUT, more: int = 0, together: Together | None = None
) -> tuple[Split, Split]:
    """Split `everything` into (kept, held out) by the images' own content: the same every time, and without a leak.

    The images are ranked by their fingerprints and the first `fraction` of them is due to be held out, so the choice
    depends neither on file names nor on their order. Duplicates have the same rank and go to the same side: they can't
    sit in training and test at once. Rather than cut through a group of duplicates, fewer images are held out.

    From this order is departed for two reasons only.

    A group of more than two copies that is more than a tenth of what is due is large. It is kept, unless the other
    groups are too few, of whose images no more than three times the fraction is held out; then large ones follow, as
    long as each brings the number nearer to what is due. With d due and s the size of the largest group of copies that
    is held out or of the smallest large one that is kept, the number differs from d by max(1, d / 10, s / 2) at most;
    at least one group is held out, whatever its size.

    A class of a single group is kept. Of one with more, where no fewer images are due than there are such classes, a
    group is held out that isn't large, and one is kept, or 1 + `more` if it has as many besides: so a class stands in
    two splits if it has two pictures, and in three if it has three. Where too few images would be held out by this, as
    in a set with a class for each image, classes go without. A group of copies with different labels is of all of
    their classes.

    Args:
        more: how many further splits are to be held out of what is kept.
        together: what is to stay together besides copies: it counts as copies of one picture do.

    Raises:
        DataError: when fewer than 2 + `more` distinct images are given.
    """
    everything = everything.fingerprinted()
    assert everything.fingerprints is not None
    ranks = everything.fingerprints if together is None else together.rank(everything.fingerprints)
    _, group_of, counts = torch.unique(ranks, return_inverse=True, return_counts=True)
    sizes = counts.numpy()
    if len(sizes) < 2 + more:
        raise DataError(_too_few(len(everything), len(sizes)))
    due = _Due(sizes, round(fraction * len(everything)), fraction, more)
    labels = everything.labels
    chosen = due.chosen() if labels is None else _with_classes(due, group_of.numpy(), labels.numpy())
    held = torch.from_numpy(chosen)[group_of]
    return everything.take(~held), everything.take(held)


def _too_few(images: int, distinct: int) -> str:
    if images == 1:
        return "a single image is no set, of which some could be held out"
    if distinct == images:
        return f"{counted(images, 'image')} are too few to hold some out"
    of_them = "all the same" if distinct == 1 else f"{distinct:,} of them distinct"
    return f"{counted(images, 'image')}, {of_them}, are too few to hold some out"


class _Due:
    """How many images are to be held out, of groups in the order of their rank.

    Attributes:
        sizes: (G,), of each group.
        images: that are due.
        large: (G,), the groups that are too large for a split.
    """

    def __init__(self, sizes: Indices, images: int, fraction: float, more: int):
        self.sizes, self.images, self.more = sizes, images, more
        self.large: Mask = sizes > max(2, TOLERANCE * images)
        self.most = min(images, round(MOST * fraction * int(sizes[~self.large].sum())))

    def chosen(self, first: Mask | None = None, last: Mask | None = None) -> Mask:
        """The groups to hold out (G,): by rank, but for those that go `first` and `last` among their like."""
        none = np.zeros(len(self.sizes), bool)
        first, last = none if first is None else first, none if last is None else last
        order = np.lexsort((~first, last, self.large))
        small, large = np.split(order, [int((~self.large).sum())])
        # A group that doesn't fit is the end, and isn't stepped over for a smaller one: it leaves little room.
        taken = small[: int((self.sizes[small].cumsum() <= self.most).sum())].tolist()
        missing = self.images - int(self.sizes[taken].sum())
        for group in large.tolist():
            enough = missing <= max(1, TOLERANCE * self.images)
            if enough or len(taken) + 1 + self.more >= len(self.sizes):
                break
            if self.sizes[group] < 2 * missing:
                taken.append(group)
                missing -= int(self.sizes[group])
        if not taken:
            taken = small[:1].tolist() or [int(np.lexsort((self.sizes, last))[0])]
        none[taken] = True
        return none


class _Membership(NamedTuple):
    """That a group has images of a class: the pairs, in the order of class, then those to be kept last.

    Attributes:
        groups, classes: (P,) of each pair; classes are numbered from 0.
        spare: (P,), whether the class has enough groups without it.
        room: whether the split is large enough for all classes that have two groups.
    """

    groups: Indices
    classes: Indices
    spare: Mask
    room: bool


def _with_classes(due: _Due, group_of: Indices, labels: Indices) -> Mask:
    """The groups to hold out (G,), so that classes stand on both sides.

    Args:
        group_of, labels: of each image (N,).
    """
    present, classes = np.unique(labels, return_inverse=True)
    members = _memberships(due, group_of, classes)
    count = len(due.sizes)
    kept = np.zeros(count, bool)
    kept[members.groups[~members.spare]] = True
    # By the smallest group of a class, so that there is room for all.
    fit = members.spare & ~kept[members.groups] & ~due.large[members.groups]
    fitting = np.flatnonzero(fit)[np.lexsort((due.sizes[members.groups[fit]], members.classes[fit]))]
    of_class, places = np.unique(members.classes[fitting], return_index=True)
    representative = np.full(len(present), -1)
    representative[of_class] = members.groups[fitting[places]]

    first, last = np.zeros(count, bool), np.zeros(count, bool)
    while True:
        chosen = due.chosen(first, last)
        before = int(first.sum()), int(last.sum())
        last |= chosen & kept
        if members.room:
            there = np.zeros(len(present), bool)
            there[members.classes[chosen[members.groups]]] = True
            wanted = representative[~there]
            first[wanted[wanted >= 0]] = True
        if before == (int(first.sum()), int(last.sum())):
            return chosen


def _memberships(due: _Due, group_of: Indices, classes: Indices) -> _Membership:
    """Of which classes (N,), numbered from 0, each group is."""
    number = int(classes.max()) + 1
    pairs = np.unique(group_of * number + classes)
    groups, of = pairs // number, pairs % number
    order = np.lexsort((groups, due.large[groups], of))
    groups, of = groups[order], of[order]
    counts = np.bincount(of, minlength=number)
    place = np.arange(len(of)) - np.repeat(counts.cumsum() - counts, counts)
    room = due.images >= int((counts > 1).sum())
    kept = np.minimum(1 + due.more if room else 1, np.maximum(1, counts - 1))
    return _Membership(groups, of, place < (counts - kept)[of], room)


def divide(name: str, parts: Mapping[str, Split], together: Together | None = None) -> tuple[Split, Split, Split]:
    """The train, val and test splits of a source, none of whose images stands in two of them.

    Args:
        name: what to call the source in a message.
        parts: the source's own splits, `train` with `val` or `test` or both, or else its images as `all`.
        together: what isn't to be parted where images are held out.

    What the source doesn't bring is held out: a tenth of all images for test, and as many for val. Where the source's
    own splits share an image, the copy that is nearer to training goes: test stays whole, so that results on it
    compare with anybody's, val loses what stands in test, and train what stands in either. How many went is logged.

    Raises:
        DataError: when the images are too few, or too much alike, to make three splits.
    """
    if parts.keys().isdisjoint({"all", "train"}):
        raise DataError(f"{name}: none of its images is for training; move some to its training split")
    parts = {part: split.fingerprinted() for part, split in parts.items()}
    rest = parts["all"] if "all" in parts else parts["train"]
    needed = 3 - len(parts.keys() & {"val", "test"})
    try:
        if "test" in parts:
            test = parts["test"]
            rest = _without(rest, test, name, "train", "test")
        else:
            rest, test = hold_out(rest, more=needed - 2, together=together)
        if "val" in parts:
            val = _without(parts["val"], test, name, "val", "test")
            train = _without(rest, val, name, "train", "val")
        else:
            # After test's tenth has gone, val's tenth of all images is a ninth of the rest.
            share = HELD_OUT if "test" in parts else HELD_OUT / (1 - HELD_OUT)
            train, val = hold_out(rest, fraction=share, together=together)
    except DataError as error:
        where = "" if "all" in parts else " for training"
        raise DataError(f"{name}: {error}; give at least {counted(needed, 'different image')}{where}") from None
    return train, val, test


def _without(split: Split, other: Split, name: str, split_name: str, other_name: str) -> Split:
    """`split` without the images that stand in `other`; both have fingerprints."""
    assert split.fingerprints is not None
    assert other.fingerprints is not None
    shared = torch.isin(split.fingerprints, other.fingerprints)
    if shared.any():
        images = counted(int(shared.sum()), "image")
        log.warning("%s: left out: %s of %s that %s has, too", name, images, split_name, other_name)
    if shared.all():
        raise DataError(f"every image of {split_name} also stands in {other_name}")
    return split.take(~shared)


def name_copies(name: str, splits: Mapping[str, Split]) -> None:
    """Log one line about the picture that makes up most of a split, where that is more than a twentieth of it.

    Args:
        name: what to call the source.
        splits: by name, with fingerprints.
    """
    found = []
    for split_name, split in splits.items():
        assert split.fingerprints is not None
        copies = int(split.fingerprints.unique(return_counts=True)[1].max())
        if copies >= COPIES and copies > NAMED * len(split):
            share = f"{copies / len(split):.0%}".replace("%", " %")
            found.append(f"{share} of {split_name} ({copies:,} of its {len(split):,} images)")
    if found:
        log.warning("%s: copies of one picture make up %s; delete those that shouldn't count", name, ", ".join(found))
