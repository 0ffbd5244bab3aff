"""What do the folders mean that images lie in: splits, classes, masks, or nothing?

All is decided by names, and by folders instead of files, of which there may be a million. A test split never becomes a
class, whatever it is called: either it is understood, and a line says how, or it is refused.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np

from genkit.data.forms import labels as tables_of_labels
from genkit.data.forms import webdataset
from genkit.data.forms.labels import Attributes, Labels, Name
from genkit.data.forms.listing import Listing, shown
from genkit.data.forms.places import Place
from genkit.data.forms.tables import BadTable
from genkit.data.pack import PARTS
from genkit.errors import DataError
from genkit.wording import counted

#: Words that name a split, as Hugging Face's `datasets` has them.
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "holdout": "test",
    "heldout": "test",
}

#: Words that say nothing: `train_images` is `train`.
FILLERS = "sets?|splits?|images?|imgs?|pictures?|photos?|data|dataset|jpe?g|png|x|samples?|class|object|fine|coarse"
#: Words for pictures that are somebody's answer to other pictures.
MASKS = "masks?|groundtruths?|gt|annotations?|labels?|segmentations?"
#: Words for images that nobody has labelled, beside splits that are.
UNLABELLED = "pred|predict|predictions?|submission|unlabell?ed|unknown"

#: A picture's mask beside it: `benign (1)_mask.png`, of `benign (1).png`.
MASK_BESIDE = re.compile(r"(?i)(.+)[_-](?:masks?|gt|ground_?truth|segmentation)(?:_\d+)?")
#: StyleGAN's folders, and FFHQ's: the thousand that the numbers in the files' names belong to.
SHARD = re.compile(r"[0-9]{5}")


#: Endings of files of many images.
ENDINGS = re.compile(r"(?i)(?:\.(?:[a-z]\w{0,6}|7z))?(?:\.(?:gz|bz2|xz))?$")
#: What numbers a file among others of the same: `-00000-of-00003`, `_001`, and with it a sum of the content.
NUMBER = re.compile(r"(?i)[-_.]?idx\d-[a-z]+$|[-_.]\d+-of-\d+(?:-[0-9a-f]{8,})?$|[-_.]?\d{3,}$")


class Layout(NamedTuple):
    """What is known of images without opening them.

    Attributes:
        files: the N that are read, sorted.
        labels: int64 (N,), an index into `classes`, or None.
        classes: their names.
        parts: uint8 (N,), an index into pack.PARTS, or None where there are no splits.
        left_out: images that aren't read, by kind.
        warnings: lines on what a person may not have meant.
        notes: lines on what was understood where it isn't plain.
        attributes: what `metadata.*` says of the files.
    """

    files: list[str]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    parts: np.ndarray | None
    left_out: dict[str, int]
    warnings: list[str]
    notes: list[str]
    attributes: Attributes | None = None

    def in_order(self, files: list[str]) -> Layout:
        """The same with its files in another order."""
        if files == self.files:
            return self
        place = {file: index for index, file in enumerate(self.files)}
        order = np.array([place[file] for file in files], np.int64)
        labels, parts = (None if column is None else column[order] for column in (self.labels, self.parts))
        return self._replace(files=files, labels=labels, parts=parts)

    def unlearnt(self) -> list[str]:
        """A line if there are classes that no image is of that training may see."""
        if self.labels is None:
            return []
        return unlearnt(self.classes, self.labels if self.parts is None else self.labels[self.parts == 0])


def unlearnt(classes: Sequence[str], labels: np.ndarray) -> list[str]:
    """A line if there are classes that none of the training images, labels int64 (N,), is of."""
    counts = np.bincount(labels, minlength=len(classes))
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if not missing:
        return []
    return [f"{counted(len(missing), 'class')} without an image in train: no model learns {shown(missing)}"]


def lay_out(listing: Listing) -> Layout:
    """Understand the folders in a listing.

    Raises:
        DataError: when they can't be understood in one way only, or a table of labels doesn't fit.
    """
    said = tables_of_labels.read(listing.place, listing.tables, listing.files)
    samples = None if said.of else webdataset.read(listing.place, listing.files, listing.beside)
    files = listing.files
    if samples:
        files, said = samples.files, samples.labels
    reading = _Reading(listing.place, _without_masks_beside(files))
    reading.notes += said.remarks
    if samples:
        reading.left_out.update(samples.further)
    if len(reading.files) < len(files):
        reading.left_out["masks beside images"] = len(files) - len(reading.files)
    reading.unwrap()
    reading.leave_masks_out()
    reading.find_splits()
    reading.leave_masks_out()
    reading.strip_repeated_names()
    if not said.of and not any(reading.paths.values()):
        in_train = [file for file in reading.files if reading.part_of(file) in ("train", None)]
        said = tables_of_labels.of_competition(listing.place, listing.others, in_train) or said
        reading.left_out[".csv"] -= bool(said.of)  # it was counted among what isn't read
    if said.of and not said.of.keys().isdisjoint(reading.files):
        labels, classes = reading.labels_of(said)
    else:
        reading.join_shards(said.shards)
        reading.leave_unlabelled_splits_out()
        labels, classes = reading.labels_by_folder()
    reading.leave_repeated_links_out(listing.targets, labels)
    reading.tell_of_splits()
    reading.tell_of_classes_alike(classes)
    reading.tell_of_bare_folders(listing.bare)

    kept = reading.files
    parts = [reading.part_of(file) or "train" for file in kept]
    return Layout(
        files=kept,
        labels=np.array([labels[file] for file in kept], np.int64) if labels else None,
        classes=tuple(classes) if labels else (),
        parts=np.array([PARTS.index(part) for part in parts], np.uint8) if len(set(parts)) > 1 else None,
        left_out={kind: count for kind, count in reading.left_out.items() if count},
        warnings=reading.warnings,
        notes=reading.notes,
        attributes=said.attributes,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------------------------------------------------------


class _Name(NamedTuple):
    """What a folder's name says."""

    part: str | None  # one of PARTS
    rest: str  # all words that aren't understood
    numbers: str
    masks: bool
    unlabelled: bool

    @classmethod
    def of(cls, name: str) -> _Name:
        """`X_train`, `trainingSet`, `train2017` and `seg_train` are train; `train_station` is, too, with a rest."""
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).lower()
        words = re.findall(r"[^\W\d_]+|\d+", re.sub(r"ground[ _-]truth", "groundtruth", spaced))
        # `testset` is two words.
        words = [re.sub(f"^({'|'.join(PART_NAMES)})(?:{FILLERS})$", r"\1", word) for word in words]
        parts = {PART_NAMES[word] for word in words if word in PART_NAMES}
        understood = re.compile("|".join([*PART_NAMES, FILLERS, MASKS, UNLABELLED, r"\d+"]))
        return cls(
            part=parts.pop() if len(parts) == 1 else None,
            rest=" ".join(word for word in words if not understood.fullmatch(word)),
            numbers=" ".join(word for word in words if word.isdigit()),
            masks=any(re.fullmatch(MASKS, word) for word in words),
            unlabelled=any(re.fullmatch(UNLABELLED, word) for word in words),
        )

    @property
    def says_nothing(self) -> bool:
        return not (self.part or self.rest or self.numbers or self.masks)

    @property
    def companion(self) -> str | None:
        """Why it isn't read beside splits."""
        if self.masks and (self.part or not self.rest):
            return "masks"
        return "unlabelled" if self.unlabelled else None


def part_of_file(path: str) -> str | None:
    """The split that a file of many images is by its name, or by a folder that it lies in; None where neither says so.

    `mnist_test.csv`, `data/train-00000-of-00003.parquet`, `train/data-00000-of-00001.arrow`, `t10k-images-idx3-ubyte`.
    """
    *folders, name = path.split("/")
    return next((part for each in (stem(name), *reversed(folders)) if (part := _Name.of(each).part)), None)


def set_of_file(path: str) -> str:
    """What a file's path says beside the split and whether it holds images or labels: files of the same are one set."""
    *folders, name = path.split("/")
    rests = [_Name.of(each).rest for each in (*folders, stem(name)) if each.lower() != "default"]
    return " ".join(word for rest in rests for word in rest.split() if word != "y")


def stem(name: str) -> str:
    """A file's name without its endings, its number among others, and what IDX files are called besides."""
    plain = re.sub(ENDINGS, "", name)
    return re.sub("(?i)t10k", "test", re.sub(NUMBER, "", plain))


class _Splits(NamedTuple):
    """Folders beside each other, some of which are splits."""

    parts: dict[str, str]  # folder to one of PARTS
    classes: dict[str, str]  # folder to the class that its name says besides: `trainA`, `testA`, `trainB`, ...
    companions: dict[str, str]  # folder to why it isn't read


def _splits_among(place: str, names: Iterable[str]) -> _Splits | None:
    """The splits among folders beside each other ("" for loose images); None where there are none.

    Raises:
        DataError: where some are, and others can't be told.
    """
    said = {name: _Name.of(name) for name in names}
    companions = {name: each.companion for name, each in said.items() if each.companion}
    named = {name: each for name, each in said.items() if each.part and name not in companions}
    plain = {each.part for each in named.values() if not each.rest}
    if plain:  # `test_public` beside `train` is its test, where nothing is called just `test`
        named = {
            name: each._replace(rest="")
            for name, each in named.items()
            if not each.rest or ("train" in plain and each.part not in plain)
        }
    found = {str(each.part) for each in named.values()}
    if "train" not in found or (len(found) == 1 and not _belong_to_train(named, [said[name] for name in companions])):
        return None
    strangers = sorted(set(said) - set(named) - set(companions))
    by_rest = defaultdict(set)
    for each in named.values():
        by_rest[each.rest].add(str(each.part))
    if len(by_rest) > 1 and (strangers or any("train" not in parts or len(parts) == 1 for parts in by_rest.values())):
        return None  # `train_station` and `test_tube`
    if strangers:
        others = ", ".join(f"{name}/" for name in strangers if name) or "loose images"
        raise DataError(f"{place}: {others} beside the splits {' and '.join(sorted(found))}; move them out")
    numbers = defaultdict(set)
    for each in named.values():
        numbers[(each.rest, each.part)].add(each.numbers)
    if sum(len(each) > 1 for each in numbers.values()) > 1:
        raise DataError(
            f"{place}: several sets of splits in {shown(sorted(named))}, which may share images; move all but one out"
        )
    return _Splits(
        {name: str(each.part) for name, each in named.items()},
        {name: each.rest for name, each in named.items()} if len(by_rest) > 1 else {},
        companions,
    )


def _belong_to_train(train: dict[str, _Name], others: list[_Name]) -> bool:
    """Whether names are made as train's: `seg_pred` of `seg_train`, `train_masks`. A class may be a `train`, too."""
    rests = {each.rest for each in train.values()} - {""}
    return any(each.part == "train" or each.rest in rests for each in others)


def _without_masks_beside(files: Sequence[str]) -> list[str]:
    """`files` without those that are named as the mask of one that lies beside them."""
    suspects = {file: each[1] for file in files if (each := MASK_BESIDE.fullmatch(file.rpartition(".")[0]))}
    if not suspects:
        return list(files)
    stems = {file.rpartition(".")[0] for file in files}
    return [file for file in files if suspects.get(file) not in stems]


# ---------------------------------------------------------------------------------------------------------------------
# Folders
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class _Reading:
    """What has been understood so far.

    Attributes:
        paths: each folder that holds images to what isn't understood of its path yet; () for loose images.
        parts: each of these folders to its split, where there are splits.
        split_names: each split to the folders that are it.
    """

    place: Place
    files: list[str]
    paths: dict[str, tuple[str, ...]] = field(init=False)
    parts: dict[str, str] = field(default_factory=dict)
    split_names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    left_out: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.count = Counter(file.rpartition("/")[0] for file in self.files)
        self.paths = {folder: self.place.meant(folder) for folder in self.count}

    @property
    def root(self) -> Path:
        return self.place.path

    def part_of(self, file: str) -> str | None:
        return self.parts.get(file.rpartition("/")[0])

    def _tops(self) -> list[str]:
        return sorted({path[0] if path else "" for path in self.paths.values()})

    def _drop(self, why: dict[str, str]) -> None:
        """Leave folders out, for the reason of each."""
        for folder, reason in why.items():
            self.left_out[f"images in {reason}"] += self.count[folder]
            del self.paths[folder]
            self.parts.pop(folder, None)
        if why:
            self.files = [file for file in self.files if file.rpartition("/")[0] not in why]

    def unwrap(self) -> None:
        """Forget folders that all images are in, which tell nothing apart."""
        while all(self.paths.values()) and len(self._tops()) == 1:
            self.paths = {folder: path[1:] for folder, path in self.paths.items()}

    def find_splits(self) -> None:
        """Find splits in the topmost folders, or the same in each of these."""
        outer = _splits_among(str(self.root), self._tops())
        if outer:
            self._take(outer, dict.fromkeys(self.paths, ()))
            return
        self._refuse_what_may_be_a_split()
        inner: dict[str, _Splits | None] = {}
        for top in self._tops():
            inside = {path[1] if len(path) > 1 else "" for path in self.paths.values() if path and path[0] == top}
            inner[top] = _splits_among(f"{self.root}/{top}", inside) if top else None
        if all(inner.values()):
            for top, splits in inner.items():
                assert splits
                within = {folder: path[:1] for folder, path in self.paths.items() if path[0] == top}
                self._take(splits, within)
            self.notes.append(f"each of its {len(inner)} folders has splits of its own: the folders are the classes")
            return
        self._refuse_deeper_splits()

    def _take(self, splits: _Splits, within: dict[str, tuple[str, ...]]) -> None:
        """Take the folders of these splits out of the paths, which are `within` others."""
        unread: dict[str, str] = {}
        for folder, before in within.items():
            name, *after = self.paths[folder][len(before) :]
            if name in splits.companions:
                unread[folder] = f"{shown([name])}/ ({splits.companions[name]})"
                continue
            self.parts[folder] = splits.parts[name]
            self.split_names[splits.parts[name]].add(name)
            self.paths[folder] = (*before, *([splits.classes[name]] if splits.classes else []), *after)
        self._drop(unread)

    def _refuse_what_may_be_a_split(self) -> None:
        """Raises DataError where images beside `train/` lie in folders of the same names as those in it, or splits lie
        apart from each other: `a/train` and `b/test`."""
        inside = defaultdict(set)
        for path in self.paths.values():
            if len(path) > 1:
                inside[path[0]].add(path[1])
        train = next((top for top in inside if _Name.of(top)[:3] == ("train", "", "")), None)
        alike = sorted(top for top in inside if top != train and train and inside[top] >= inside[train])
        if train and alike:
            raise DataError(
                f"{self.root}: {alike[0]}/ has the same folders as {train}/; call it test or val if it is a split, or "
                "move it out"
            )
        names = {top: {_Name.of(name).part for name in inside[top] if not _Name.of(name).rest} for top in inside}
        alone = {top: found.pop() for top, found in names.items() if len(inside[top]) == len(found) == 1}
        if "train" in alone.values() and {"val", "test"} & set(alone.values()):
            raise DataError(
                f"{self.root}: the splits in {shown(sorted(alone))} lie apart from each other; put them beside each "
                "other, as train/ and test/"
            )

    def _refuse_deeper_splits(self) -> None:
        """Raises DataError where folders further down are splits, and others beside them have none."""
        beside = defaultdict(set)
        for path in self.paths.values():
            for depth in range(1, len(path)):
                beside[path[:depth]].add(path[depth])
        for place, names in sorted(beside.items()):
            splits = _splits_among("/".join([str(self.root), *place]), names)
            if splits:
                raise DataError(
                    f"{self.root}: {'/'.join(place)}/ has splits of its own ({', '.join(sorted(splits.parts))}), which "
                    "not all folders beside it have; give it alone, or move the splits to the top"
                )

    def leave_masks_out(self) -> None:
        """Leave `masks/` out where it lies beside `images/`, and `ground_truth/` beside anything."""
        tops = {top: _Name.of(top) for top in self._tops() if top}
        masks = {top for top, name in tops.items() if name.masks and not name.rest and not name.numbers}
        images = {top for top, name in tops.items() if name.says_nothing}
        if not images:
            masks = {top for top in masks if re.fullmatch(r"ground[_ -]?truths?|gt(fine|coarse)?", top.lower())}
        if masks and len(masks) < len(tops):
            unread = {folder: path[0] for folder, path in self.paths.items() if path and path[0] in masks}
            self._drop({folder: f"{shown([top])}/ (masks)" for folder, top in unread.items()})
            if not self.parts:
                self.unwrap()

    def strip_repeated_names(self) -> None:
        """`seg_train/seg_train/cat` and `train/images/cat` as `train/cat`."""
        for part in set(self.parts.values()):
            while True:
                inside = {path[0] if path else "" for folder, path in self.paths.items() if self.parts[folder] == part}
                name = _Name.of(min(inside))
                again = name.says_nothing or (name.part == part and not name.masks)
                if len(inside) > 1 or "" in inside or not (again or (part != "train" and name.unlabelled)):
                    break
                self.paths |= {folder: path[1:] for folder, path in self.paths.items() if self.parts[folder] == part}

    def join_shards(self, said: bool) -> None:
        """Forget folders that only hold a thousand files each: StyleGAN's, if a table says so or names fit."""
        if not all(len(path) == 1 and SHARD.fullmatch(path[0]) for path in self.paths.values()):
            return
        if said or all(self._is_in_its_thousand(file) for file in self.files):
            self.paths = dict.fromkeys(self.paths, ())
            self.notes.append(f"folders {shown(sorted(self.paths))} only number the files: no classes")

    def _is_in_its_thousand(self, file: str) -> bool:
        folder, _, name = file.rpartition("/")
        number = re.fullmatch(r"(?:img)?([0-9]{5,8})\.\w+", name)
        if number is None:
            return False
        thousand = int(number[1]) // 1000
        return int(self.paths[folder][0]) in (thousand, thousand * 1000)

    def leave_unlabelled_splits_out(self) -> None:
        """Leave a flat test split out where train has classes: without labels it can't be measured on as train is."""
        classes = {path[0] if path else "" for folder, path in self.paths.items() if self.parts.get(folder) == "train"}
        if len(classes) < 2 or "" in classes:
            return
        for part in set(self.parts.values()) - {"train"}:
            folders = [folder for folder in self.paths if self.parts[folder] == part]
            if not any(self.paths[folder] for folder in folders):
                self._leave_split_out(part, folders, "in no class, as those of train are")

    def _leave_split_out(self, part: str, folders: list[str], why: str) -> None:
        names = shown(sorted(self.split_names.pop(part)))
        self._drop(dict.fromkeys(folders, f"{names}/ ({why})"))

    # -- classes -------------------------------------------------------------------------------------------------------

    def labels_by_folder(self) -> tuple[dict[str, int], list[str]]:
        """Each file's class by what is left of its folder's path, and the classes' names."""
        loose = sum(self.count[folder] for folder, path in self.paths.items() if not path)
        classes = sorted({path[0] for path in self.paths.values() if path})
        if loose and classes:
            self.warnings.append(
                f"{counted(loose, 'image')} beside the subfolders, so that these aren't taken for classes"
            )
        elif len(classes) == 1 and any(len(path) > 1 for path in self.paths.values()):
            self.notes.append(f"all images are in one class, {shown(classes)}; folders in it aren't taken for classes")
        if loose or len(classes) < 2:
            return {}, []
        deeper = sorted({path[1] for path in self.paths.values() if len(path) > 1})
        if deeper:
            self.notes.append(f"folders in the classes tell nothing apart ({shown(deeper)})")
        said = {name: _Name.of(name) for name in classes}
        # `cat_masks` beside `cat` may be masks, and `with_mask` beside `without_mask`, or `label:7`, are classes.
        whose = {("", "")} | {(each.rest, each.numbers) for each in said.values() if not each.masks}
        masks = [name for name, each in said.items() if each.masks and (each.rest, each.numbers) in whose]
        if masks:
            self.warnings.append(f"{shown(masks)} are taken for classes; if they are masks, move them out")
        splits = [name for name in classes if _Name.of(name).part and not _Name.of(name).rest]
        if splits:
            others = [name for name in classes if name not in splits]
            self.warnings.append(
                f"{shown(splits)} and {shown(others)} are taken for classes; if they are splits, call them train, val "
                "and test"
            )
        index = {name: number for number, name in enumerate(classes)}
        number_of = {folder: index[path[0]] for folder, path in self.paths.items()}
        return {file: number_of[file.rpartition("/")[0]] for file in self.files}, classes

    def labels_of(self, said: Labels) -> tuple[dict[str, int], list[str]]:
        """The same by a table; a split that it says nothing of is left out.

        Raises:
            BadTable: when it names only some of the images of a split, or of all.
        """
        bare = [file for file in self.files if file not in said.of]
        for part in {self.part_of(file) for file in bare} - {"train", None}:
            if part and all(file not in said.of for file in self.files if self.part_of(file) == part):
                folders = [folder for folder in self.paths if self.parts[folder] == part]
                self._leave_split_out(part, folders, "without labels")
        bare = [file for file in self.files if file not in said.of]
        if bare:
            some = f"{len(bare):,} of {counted(len(self.files), 'image')}"
            raise BadTable([f"{self.root / said.tables[0]}: {some} have no label, for example {bare[0]}; add them"])
        values: list[Name] = sorted({said.of[file] for file in self.files})  # type: ignore[type-var]  # all of one type
        if len(values) < 2:
            return {}, []
        self.notes.append(f"classes are those of {shown(said.tables)}")
        index = {value: number for number, value in enumerate(values)}
        return {file: index[said.of[file]] for file in self.files}, [
            said.called.get(value, str(value)) for value in values
        ]

    def leave_repeated_links_out(self, targets: dict[str, str], labels: dict[str, int]) -> None:
        """Leave a file out that is reached again through a link, unless that puts it in another split or class."""
        if not targets:
            return
        seen: dict[tuple[str, str | None, int | None], str] = {}
        places: dict[str, set[int | None]] = defaultdict(set)
        again = set()
        for file in sorted(self.files, key=lambda file: (file in targets, file)):
            real = targets.get(file) or f"{self.root}/{file}"
            label = labels.get(file)
            if seen.setdefault((real, self.part_of(file), label), file) != file:
                again.add(file)
            places[real].add(label)
        if again:
            self.left_out["links to an image that is there already"] += len(again)
            self.files = [file for file in self.files if file not in again]
        several = sum(len(each) > 1 for each in places.values())
        if several:
            self.warnings.append(f"{counted(several, 'image')} in more than one class, through links; counted in each")
        inside = f"{self.root}/"
        outside = Counter(real.rpartition("/")[0] for real in set(targets.values()) if not real.startswith(inside))
        if outside:
            common = os.path.commonpath([folder or "/" for folder in outside])
            where = [common] if common != "/" else sorted({"/".join(folder.split("/")[:3]) for folder in outside})
            self.notes.append(f"links lead to {counted(outside.total(), 'image')} in {shown(where)}")

    # -- what is said of it --------------------------------------------------------------------------------------------

    def tell_of_splits(self) -> None:
        if self.parts:
            spelled = [
                f"{part} ({shown(sorted(f'{name}/' for name in self.split_names[part]))})"
                for part in PARTS
                if part in self.split_names
            ]
            self.notes.append(f"splits: {', '.join(spelled)}")

    def tell_of_classes_alike(self, classes: list[str]) -> None:
        alike = defaultdict(list)
        for name in classes:
            alike[normalize("NFC", name).casefold()].append(name)
        for names in alike.values():
            if len(names) > 1:
                self.warnings.append(
                    f"classes {', '.join(map(ascii, names))} differ only in case or in how letters are encoded, and "
                    "are taken for different ones"
                )

    def tell_of_bare_folders(self, bare: list[str]) -> None:
        if bare:
            names = shown([f"{folder}/" for folder in bare])
            self.warnings.append(f"{counted(len(bare), 'folder')} without an image ({names})")
