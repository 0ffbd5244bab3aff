"""Which of somebody's arrays is what? Their names say it, of members and of files, and of folders between.

`x_train` and `y_test` of Keras, `train_images` and `val_labels` of MedMNIST, `fea` and `gnd` of MATLAB's sets,
`train-images-idx3-ubyte.gz`, `train/data` in HDF5, `trainX`: words that name a part of a set, and words that name what
an array is. No array is opened for this, but where names leave a choice that shapes don't.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from genkit.data import DataOptions
from genkit.data.forms.layout import PART_NAMES
from genkit.data.forms.places import Place
from genkit.data.forms.stored import Holder, Name
from genkit.data.pack import PARTS
from genkit.errors import DataError
from genkit.wording import one_line

#: Words that name a part of a set: those that folders have, and those of IDX files and MATLAB's variables.
SPLITS = {**PART_NAMES, "t10k": "test", "tr": "train", "trn": "train", "te": "test", "tst": "test"}
#: Words for what an array is, and how sure they are: of two names, that with the surer word is meant.
IMAGES = {
    **dict.fromkeys(("images", "image", "imgs", "img", "x"), 0),
    **dict.fromkeys(("data", "fea", "features", "faces", "digits", "pixels", "pictures", "photos", "inputs"), 1),
}
LABELS = {
    **dict.fromkeys(("labels", "label", "labs", "lab", "y", "gnd", "targets", "target", "ans"), 0),
    **dict.fromkeys(("classes", "class", "category", "categories", "gt", "nlab"), 1),
}
ATTRIBUTES = dict.fromkeys(("attributes", "attribute", "attrs", "attr"), 0)
ROLES: dict[str, Mapping[str, int]] = {"images": IMAGES, "labels": LABELS, "attributes": ATTRIBUTES}
#: Words that say nothing of what an array is.
FILLERS = {"set", "array", "arr", "idx", "ubyte", "uint8", "int", "all", "split", "full", "mat", "raw", "orig"}
#: Words that make something else of it: `image_paths`, `y_mean`.
OTHERS = {
    *("path", "paths", "file", "files", "filename", "filenames", "id", "ids", "index", "indices", "idxs", "number"),
    *("mean", "std", "size", "sizes", "shape", "count", "counts", "per", "height", "width", "url", "values", "weight"),
    *("weights", "mask", "masks", "box", "boxes", "extra", "unlabeled", "unlabelled"),
}
#: What files of images are called, by what those of their labels are.
BESIDE = {
    "labels": ("images", "imgs", "data", "X", "x"),
    "label": ("image", "img", "data"),
    "targets": ("data", "images"),
    "y": ("X", "x"),
    "Y": ("X",),
    "gnd": ("fea",),
}
#: How many names a message lists, and how many arrays are opened to find the one that could be images.
SHOWN, OPENED = 20, 64


class Roles(NamedTuple):
    """The arrays of a holder by what they are.

    Attributes:
        splits: of each of `images`, "train", "val" or "test"; all "all" where there are none.
        images: one after the other, those of one split together.
        labels, attributes: one for each of `images`, or none.
        label_names, attribute_names: the array of the names of classes (or of several labels) and of attributes.
        name_classes: where each array is of one class, its name for each of `images`; else ().
        ignored: the names of arrays that are none of these, by the reason.
    """

    splits: tuple[str, ...]
    images: list[Name]
    labels: list[Name]
    attributes: list[Name]
    label_names: Name | None
    attribute_names: Name | None
    name_classes: tuple[str, ...]
    ignored: dict[str, list[Name]]


class Word(NamedTuple):
    """What a name says.

    Attributes:
        role: "images", "labels", "attributes", "label_names", "attribute_names", or None.
        split: "train", "val", "test", or "all" where it names none.
        doubt: 0 of the surest names; larger where words are in it that aren't known.
    """

    role: str | None
    split: str
    doubt: int


def roles_of(
    holder: Holder,
    options: DataOptions,
    could_be_images: Callable[[Name], bool],
    is_empty: Callable[[Name], bool],
) -> Roles:
    """What each array is, by the names and by what a person has said.

    Args:
        could_be_images: whether an array's type and shape are such; asked only where names leave a choice.
        is_empty: whether an array has no elements; asked only of what would be labels or attributes.

    Raises:
        DataError: when there are no images, or it can't be told in one way which they are.
    """
    names = list(holder.names)
    if not names:
        raise DataError(f"{holder.path}: holds no array")
    alone = {name for name in names if _alone(name, names)}
    words = {name: word_of(name, name in alone) for name in names}
    if options.images is not None:
        images = named(holder, options.images, "--images")
        # Of a file that has other things, too, those are meant.
        images = [name for name in images if words[name].role == "images" or len(images) == 1] or images
    elif classes := _classes_by_name(names, words, alone, could_be_images):
        images = _in_order(holder, names, words)
        classes = tuple(classes[names.index(name)] for name in images)
        splits = [words[name].split for name in images]
        return _joined(holder, Roles(tuple(splits), images, [], [], None, None, classes, {}))
    else:
        images = _images(holder, words, could_be_images)
    images = _in_order(holder, images, words)
    splits = [words[name].split for name in images]
    others = [name for name in names if name not in images and not (words[name].role and is_empty(name))]
    ignored: dict[str, list[Name]] = {}

    chosen = _of_labels(holder, options, others, words, splits)
    bare = [] if options.images is not None else _held_out_without(images, chosen, words)
    if bare:
        images = [name for name in images if name not in bare]
        splits = [words[name].split for name in images]
        reason = (
            "left out, since the images for training have labels and these have none; --labels none takes all, and "
            "--images NAME these alone"
        )
        ignored[reason] = bare

    def beside(role: str, chosen: Sequence[Name]) -> list[Name]:
        """Of some arrays, one for each of the images; none where some lack one, which is said."""
        found = _paired(images, chosen, words)
        left = chosen if found is None else []
        if left:
            ignored.setdefault(f"not used, since not every array of images has {role}", []).extend(left)
        return found or []

    if options.labels in (None, "none"):
        labels = beside("labels", chosen)
    else:
        labels = _paired(images, chosen, words) or []
        if not labels:
            raise DataError(
                f"{holder.path}: --labels {options.labels} is {shown(chosen)}, and there are {len(images)} arrays of "
                f"images, {shown(images)}; name labels of each, or --labels none"
            )
    attributes = beside("attributes", _surest(holder, "attributes", others, words, splits))
    label_names = next((name for name in others if words[name].role == "label_names" and name not in labels), None)
    if label_names is None and labels:
        # `classes` beside `labels` are their names.
        label_names = next((name for name in others if name not in labels and _last(name) == "classes"), None)
    attribute_names = next((name for name in others if words[name].role == "attribute_names"), None)
    # Each split may come with the same names of the classes.
    names_of_classes = {name for name in others if label_names and _last(name) == _last(label_names)} - {*labels}
    used = {*images, *labels, *attributes, attribute_names} | names_of_classes
    told = {name for names in ignored.values() for name in names}
    unused = [name for name in names if name not in used | told]
    if unused:
        ignored = {"not used": unused, **ignored}
    return _joined(holder, Roles(tuple(splits), images, labels, attributes, label_names, attribute_names, (), ignored))


def word_of(name: Name, alone: bool = False) -> Word:
    """What a name says of its array.

    Args:
        alone: whether its file holds no other array, so that the file's name is the array's, too.
    """
    own, outer = _split_words(name.member or ""), _split_words(name.file, path=True)
    split = next((SPLITS[word] for words in (own, outer) for word in reversed(words) if word in SPLITS), "all")
    role, doubt = _role(own)
    if role is None and alone:
        role, doubt = _role(outer)
    return Word(role, split, doubt)


def _role(words: Sequence[str]) -> tuple[str | None, int]:
    """What an array is by the words of its name, and the doubt in that."""
    words = [word for word in words if word not in SPLITS and word not in FILLERS and not word.isdigit()]
    if OTHERS.intersection(words):
        return None, 0
    if words[:1] == ["latents"]:  # dSprites' factors
        return ("attributes", 0) if words == ["latents", "classes"] else (None, 0)
    if {"names", "name"}.intersection(words) or words == ["list", "classes"]:
        return next(
            (role for role, its in (("attribute_names", ATTRIBUTES), ("label_names", LABELS)) if {*its} & {*words}),
            None,
        ), 0
    if words in (["classnames"], ["labelnames"]):
        return "label_names", 0
    for word in reversed(words):
        for role, its in ROLES.items():
            if word in its:
                unknown = any(not any(each in known for known in ROLES.values()) for each in words)
                return role, its[word] + 2 * unknown
    return None, 0


def _split_words(text: str, path: bool = False) -> list[str]:
    """The words of a name, in lower case: `X_train`, `trainX`, `train/data`, `t10k-images.idx3-ubyte.gz`."""
    if path:
        folders, _, file = text.rpartition("/")
        # What stands behind the first dot is the file's form.
        text = f"{folders}/{file.lstrip('.').partition('.')[0]}"
    text = re.sub(r"(?i)t10k", "test", re.sub(r"\d+[x×]\d+|idx\d", " ", text))
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+", text)]


def _alone(name: Name, names: Sequence[Name]) -> bool:
    return name.member is None or sum(each.file == name.file for each in names) == 1


def _last(name: Name) -> str:
    return (_split_words(name.member or name.file, path=name.member is None) or [""])[-1]


def _images(holder: Holder, words: Mapping[Name, Word], could_be: Callable[[Name], bool]) -> list[Name]:
    """The arrays of images by their names, or else the one that could be images by its shape."""
    names = list(words)
    if len(names) == 1:
        return names
    candidates = [name for name in names if words[name].role == "images"]
    if not candidates:
        possible = [name for name in names if words[name].role is None and len(names) <= OPENED and could_be(name)]
        if len(possible) == 1:
            return possible
        none = "" if possible or len(names) > OPENED else ", none of which is of a shape that images have"
        raise DataError(f"{holder.path}: holds {shown(names)}{none}; {_say(possible or names)}")
    doubt = min(words[name].doubt for name in candidates)
    if doubt > 0:
        candidates = [name for name in candidates if could_be(name)] or candidates
        doubt = min(words[name].doubt for name in candidates)
    chosen = [name for name in candidates if words[name].doubt == doubt]
    by_split: dict[str, list[Name]] = {}
    for name in chosen:
        by_split.setdefault(words[name].split, []).append(name)
    for split, same in by_split.items():
        if len(same) > 1:
            usable = [name for name in same if could_be(name)]
            # The cells of one array are all called alike, so that a square among them says little.
            cells = {str(name.member).rpartition("{")[0] for name in same}
            if len(usable) != 1 or (len(cells) == 1 and "" not in cells):
                raise DataError(
                    f"{holder.path}: {' and '.join(map(_called, same[:SHOWN]))} may all be images; {_say(same)}"
                )
            by_split[split] = usable
    return [name for same in by_split.values() for name in same]


def _say(names: Sequence[Name]) -> str:
    """What tells them apart, in the words of a command."""
    return f"say which are the images, as --images {one_line(_called(names[0]), 60)}, and --labels NAME or none"


def _surest(
    holder: Holder, role: str, others: Sequence[Name], words: Mapping[Name, Word], splits: Sequence[str]
) -> list[Name]:
    """The arrays of a role, one for each split, by the surest names."""
    of_role = [name for name in others if words[name].role == role]
    if not of_role:
        return []
    best: dict[str, Name] = {}
    for name in sorted(of_role, key=lambda name: words[name].doubt):
        split = words[name].split
        if split not in best:
            best[split] = name
        elif words[name].doubt == words[best[split]].doubt:
            raise DataError(
                f"{holder.path}: {_called(best[split])} and {_called(name)} are both {role}; "
                f"say which, as --labels {_called(best[split])}, or --labels none"
            )
    return [name for name in of_role if name in best.values()]


def _of_labels(
    holder: Holder, options: DataOptions, others: Sequence[Name], words: Mapping[Name, Word], splits: Sequence[str]
) -> list[Name]:
    """The arrays of labels, by their names or as a person says."""
    if options.labels == "none":
        return []
    if options.labels is not None:
        return named(holder, options.labels, "--labels")
    return _surest(holder, "labels", others, words, splits)


def _held_out_without(images: Sequence[Name], labels: Sequence[Name], words: Mapping[Name, Word]) -> list[Name]:
    """The images for validation and testing that have no labels, where all for training have them; else none."""
    labelled = {words[name].split for name in labels}
    training = [name for name in images if words[name].split in ("train", "all")]
    bare = [name for name in images if words[name].split not in labelled]
    kept = [name for name in images if name not in bare]
    if not training or not set(training) <= {*kept} or _paired(kept, labels, words) is None:
        return []
    return bare


def _paired(images: Sequence[Name], chosen: Sequence[Name], words: Mapping[Name, Word]) -> list[Name] | None:
    """One of some arrays for each of the images, by the splits of their names; None where that doesn't come out."""
    if len(images) == len(chosen) == 1:
        its = {words[images[0]].split, words[chosen[0]].split}
        return list(chosen) if len(its) == 1 or "all" in its else None
    found = []
    for name in images:
        same = [each for each in chosen if words[each].split == words[name].split]
        place = [each for each in images if words[each].split == words[name].split].index(name)
        if place >= len(same):
            return None
        found.append(same[place])
    return found


def _in_order(holder: Holder, images: Sequence[Name], words: Mapping[Name, Word]) -> list[Name]:
    """By the splits; of one split as they were named.

    Raises:
        DataError: where some are of no split, and others of train.
    """
    there = {words[name].split for name in images}
    if {"all", "train"} <= there:
        first = next(name for name in images if words[name].split == "all")
        second = next(name for name in images if words[name].split == "train")
        raise DataError(f"{holder.path}: holds both {_called(first)} and {_called(second)}; {_say([second])}")
    return sorted(images, key=lambda name: ["all", *PARTS].index(words[name].split))


def _joined(holder: Holder, roles: Roles) -> Roles:
    """The same with splits that mean something: images beside those of a test split are for training, and those of
    one split alone aren't one."""
    if len(set(roles.splits)) == 1:
        return roles._replace(splits=("all",) * len(roles.splits))
    return roles._replace(splits=tuple("train" if split == "all" else split for split in roles.splits))


def _classes_by_name(
    names: Sequence[Name], words: Mapping[Name, Word], alone: set[Name], could_be: Callable[[Name], bool]
) -> tuple[str, ...]:
    """Of arrays that are all images, and nothing else that is known, the classes that they are called by.

    So files `apple.npy` and `cat.npy`, as QuickDraw's drawings come, and arrays `train_faces`, `train_nonfaces`,
    `test_faces`, `test_nonfaces`. () where they are anything else.
    """
    by_group = _classes_by_group(names, words)
    if by_group:
        return by_group if all(could_be(name) for name in names) else ()
    surely = any(words[name].role is not None and words[name].doubt == 0 for name in names)
    if not 2 <= len(names) <= 4096 or surely or any(words[name].role == "labels" for name in names):
        return ()
    if set(names) == alone:
        stems = [PurePosixPath(name.file).name.partition(".")[0] for name in names]
        first, last = min(stems), max(stems)
        same = next((place for place, pair in enumerate(zip(first, last, strict=False)) if len({*pair}) > 1), 0)
        same = max(first[:same].rfind(mark) for mark in "_- ") + 1
        classes = tuple(stem[same:] for stem in stems)
    else:
        rests = ([word for word in _split_words(name.member or "") if word not in SPLITS] for name in names)
        classes = tuple(" ".join(rest) for rest in rests)
        splits = {words[name].split for name in names}
        if "all" in splits or len(names) != len(splits) * len(set(classes)):
            return ()
    places = {(words[name].split, stem) for name, stem in zip(names, classes, strict=True)}
    odd = any(not stem or stem.isdigit() or stem in SPLITS for stem in classes)
    if len(places) < len(names) or odd or len(set(classes)) < 2:
        return ()
    return classes if all(could_be(name) for name in names) else ()


def _classes_by_group(names: Sequence[Name], words: Mapping[Name, Word]) -> tuple[str, ...]:
    """The classes of arrays in groups that are called by them, `data/cat/imgs` and `data/dog/imgs`; () of others."""
    if not 2 <= len(names) <= 4096 or any(words[name].role not in (None, "images") for name in names):
        return ()
    paths = [[part for part in (name.member or "").split("/") if part.lower() not in SPLITS] for name in names]
    if len({name.file for name in names}) > 1 or len({len(path) for path in paths}) > 1:
        return ()
    differ = [place for place, parts in enumerate(zip(*paths, strict=True)) if len(set(parts)) > 1]
    if len(differ) != 1 or differ[0] == len(paths[0]) - 1:
        return ()
    classes = tuple(path[differ[0]] for path in paths)
    places = {(words[name].split, one) for name, one in zip(names, classes, strict=True)}
    return classes if len(places) == len(names) else ()


# ---------------------------------------------------------------------------------------------------------------------
# What a person names
# ---------------------------------------------------------------------------------------------------------------------


def named(holder: Holder, said: str, option: str) -> list[Name]:
    """The arrays that a person means: by a member's name, a file's with or without its ending, or FILE:MEMBER.

    Args:
        said: one name, or several with commas between them.
        option: the flag.

    Raises:
        DataError: when there is no such array; the message lists those that there are.
    """
    # A name may have a comma in it.
    parts = [said] if _matching(holder.names, said) else [part.strip() for part in said.split(",")]
    found: list[Name] = []
    for part in parts:
        matching = _matching(holder.names, part)
        if not matching:
            raise DataError(
                f"{holder.path}: has no array {one_line(part, 60)!r}, as {option} says; it holds {shown(holder.names)}"
            )
        found += [name for name in matching if name not in found]
    return found


def images_beside(place: Place, file: str) -> str | None:
    """The file that is called as a file of labels is, but for the word that says so; None where there is none."""
    folder, slash, name = file.rpartition("/")
    for word, others in BESIDE.items():
        for found in re.finditer(rf"(?<![a-zA-Z]){word}(?![a-z])|(?<=[a-z]){word.capitalize()}(?![a-z])", name):
            for other in others:
                renamed = f"{name[: found.start()]}{other}{name[found.end() :]}"
                for candidate in (renamed, re.sub(r"idx1-ubyte|idx2-int", "idx3-ubyte", renamed)):
                    try:
                        place.size(f"{folder}{slash}{candidate}")
                    except OSError:
                        continue
                    return f"{folder}{slash}{candidate}"
    return None


def is_named(holder: Holder, said: str) -> bool:
    """Whether `named` finds anything."""
    return any(_matching(holder.names, part.strip()) for part in [said, *said.split(",")])


def _matching(names: Sequence[Name], said: str) -> list[Name]:
    """All that are called so; of several ways to call them, the first in which any is."""

    def spellings(name: Name) -> tuple[str, ...]:
        path = PurePosixPath(name.file)
        stem = path.name.partition(".")[0]
        member = name.member
        if member is None:
            return (name.file, path.name, stem)
        within = member.rpartition("/")[2]
        return (member, str(name), f"{path.name}:{member}", f"{stem}:{member}", within, name.file, path.name, stem)

    for fold in (str, str.casefold):
        for way in range(8):
            found = [name for name in names if way < len(ways := spellings(name)) and fold(ways[way]) == fold(said)]
            if found:
                return found
    return []


def _called(name: Name) -> str:
    """What tells an array from others: its member's name, of one that is a file the file's without its ending."""
    return one_line(name.member or PurePosixPath(name.file).stem, 100)


def shown(names: Iterable[Name], among: Iterable[Name] = ()) -> str:
    """Names in a line, as many as can be read; with their files where others `among` which they are have the same."""
    names = list(names)
    others = [_called(name) for name in {*names, *among}]
    called = [_called(name) for name in names]
    called = called if len(set(others)) == len(others) else [one_line(str(name), 100) for name in names]
    rest = f" and {len(called) - SHOWN:,} more" if len(called) > SHOWN else ""
    return f"{', '.join(called[:SHOWN])}{rest}"
