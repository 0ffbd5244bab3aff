"""WebDataset's archives: the files of one sample stand beside each other and have one name, `0017.jpg` and `0017.cls`.

https://github.com/webdataset/webdataset; a name goes up to its first dot, what follows says what a file is.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from genkit.data.decode import BadImage
from genkit.data.forms.labels import Labels, Name
from genkit.data.forms.places import Place
from genkit.data.forms.tables import BadTable
from genkit.errors import DataError

#: Endings of files that may say something of a sample.
BESIDE = (".cls", ".json", ".txt")
#: What a label is called in a `.json`; the first that is there.
LABEL = ("label", "class", "cls", "class_id", "class_name")
#: Bytes of a `.cls` or a `.json`.
MAX_BYTES = 1 << 20
#: So many `.json` are looked at, to see whether they have labels.
LOOKED_AT = 16


class Samples(NamedTuple):
    """What WebDataset's archives hold.

    Attributes:
        files: a picture of each sample.
        further: how many pictures of the same samples aren't read, by their endings.
        labels: of these pictures.
    """

    files: list[str]
    further: dict[str, int]
    labels: Labels


def key_of(file: str) -> str:
    """What a sample is called: a path up to the first dot of its last part."""
    folder, slash, name = file.rpartition("/")
    return folder + slash + name.partition(".")[0]


def read(place: Place, files: Sequence[str], beside: Sequence[str]) -> Samples | None:
    """The samples in a place; None where its files aren't WebDataset's, or have no labels.

    Args:
        files: the pictures.
        beside: files whose endings are of BESIDE.

    Raises:
        DataError: when a label can't be read.
    """
    if not beside:
        return None
    keys = {key_of(file) for file in files}
    by_ending = {ending: [file for file in beside if file.endswith(ending)] for ending in BESIDE}
    ending = ".cls"
    named = [file for file in by_ending[ending] if key_of(file) in keys]
    if not named:
        ending = ".json"
        named = [file for file in by_ending[ending] if key_of(file) in keys]
        some = [_label(place, file, content) for file, content in _contents(place, named[:LOOKED_AT])]
        if not some or None in some:
            return None
    of_key = {key_of(file): _label(place, file, content) for file, content in _contents(place, named)}
    files, further = _one_each(files)
    of = {file: label for file in files if (label := of_key.get(key_of(file))) is not None}
    if len({type(label) for label in of.values()}) > 1:
        raise BadTable([f"{place.path}: its *{ending} are numbers and words; write one of them"])
    remarks = [f"{len(by_ending['.txt']):,} captions (.txt) aren't used"] if by_ending[".txt"] else []
    return Samples(files, further, Labels(of, [f"*{ending}"], False, remarks, {}))


def _contents(place: Place, files: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for file, content in place.each(place.in_order(files)):
        if isinstance(content, BadImage) or not isinstance(content, bytes) or len(content) > MAX_BYTES:
            raise DataError(f"{place.path / file}: can't be read as a label; is the archive whole?")
        yield file, content


def _label(place: Place, file: str, content: bytes) -> Name | None:
    """The label that the content of a file says; None where a `.json` says none."""
    try:
        text = content.decode("utf-8-sig").strip()
        if file.endswith(".json"):
            said = json.loads(text)
            label = next((said[name] for name in LABEL if name in said), None) if isinstance(said, dict) else None
            if type(label) in (int, str, type(None)):
                return label
            raise ValueError(f"{str(label)[:80]!a} where a number or a word is expected")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place.path / file}: isn't read as a label ({error}); write a number or a word") from error
    if re.fullmatch("-?[0-9]{1,18}", text):
        return int(text)
    if not text or not text.isprintable() or len(text) > 256:
        raise DataError(f"{place.path / file}: {text[:80]!a} is no label; write a number or a word")
    return text


def _one_each(files: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """One picture of each sample, and the number of all others by their endings.

    It is of the ending that most samples have, of the shortest among such: `.jpg` beside `.seg.png`.
    """
    endings = [file[len(key_of(file)) :].lower() for file in files]
    common = Counter(endings)
    rank = {ending: place for place, ending in enumerate(sorted(common, key=lambda each: (-common[each], len(each))))}
    best: dict[str, int] = {}
    for file, ending in zip(files, endings, strict=True):
        key = key_of(file)
        best[key] = min(rank[ending], best.get(key, rank[ending]))
    further: Counter[str] = Counter()
    chosen = []
    for file, ending in zip(files, endings, strict=True):
        if rank[ending] == best[key_of(file)]:
            chosen.append(file)
        else:
            further[f"further pictures of a sample (*{ending})"] += 1
    return chosen, dict(further)
