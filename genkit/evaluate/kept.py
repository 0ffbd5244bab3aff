"""evaluation.json: all that has been measured of a run, and what a new measurement replaces there.

    {"schema_version": 2, "run": …, "evaluations": [{"sum": …, "dataset": …, …, "figures": […], "left_out": […]}, …]}

An evaluation is of one checkpoint, by one set of images. A further measurement of the same checkpoint by the same
images replaces its own topics there, and nothing else; any other is put behind it. The newest is the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from genkit.errors import GenkitError
from genkit.evaluate.figure import Name
from genkit.evaluate.topics import TOPICS
from genkit.files import from_json, read_plain, to_json, write_file

NAME = "evaluation.json"
SCHEMA_VERSION = 2
MAX_SIZE = 1 << 26
#: What two measurements have in common that are of one evaluation; and `data_sum`, which older files lack.
SAME = ("sum", "dataset", "split", "images")
#: Conditions by which a figure is finer the larger they are: images that it is measured by, and codes an image.
FINENESS = ("n", "k")


class _Named(BaseModel):
    name: str


class _Figure(_Named):
    value: float | None
    error: float | None
    unit: str
    conditions: dict[str, str | int | float | None]


class _LeftOut(_Named):
    reason: str


class _Evaluation(BaseModel):
    """What may be relied on in each; there may be more."""

    model_config = ConfigDict(strict=True)

    run: str | None
    checkpoint: str
    sum: str
    model: str
    epochs: float
    dataset: str
    split: str
    resolution: str
    images: int
    data_sum: str | None = None
    pictures: dict[str, str] = Field(default_factory=dict)
    figures: list[_Figure]
    left_out: list[_LeftOut]


def read(path: Path) -> list[dict[str, Any]]:
    """The evaluations that a file holds, the newest last; none where there is no file.

    Each has `run`, `checkpoint`, `sum` (the SHA-256 of its manifest), `model`, `epochs`, `dataset`, `split`,
    `resolution`, `images`, `pictures` (name to path), `figures` and `left_out`. What this version writes also has
    `data_sum`, the `Dataset.digest`. A value that is no finite number is None. A file of the first version, which held
    one evaluation, is taken over.

    Raises:
        GenkitError: when it can't be read, or is something else.
    """
    if not path.exists() and not path.is_symlink():
        return []
    try:
        content = TypeAdapter(dict[str, Any]).validate_python(from_json(read_plain(path, MAX_SIZE)))
        version = content.get("schema_version")
        if version not in (1, SCHEMA_VERSION):
            raise ValueError(f"its schema_version is {version!r}")
        found = [content] if version == 1 else content["evaluations"]
        TypeAdapter(list[_Evaluation]).validate_python(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GenkitError(f"{path} is no file of evaluations, or can't be read; move it away") from error
    for each in found:
        each.pop("schema_version", None)
        each.setdefault("pictures", {})
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the one process that changes a file of evaluations, whose folder must exist.

    Raises:
        GenkitError: when nothing can be written there.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire()
    except OSError as error:
        raise GenkitError(f"can't write to {path.parent}: {error.strerror}; name another folder with --out") from error
    try:
        yield
    finally:
        lock.release()


def own(path: Path, run: Path | None, checkpoint: Path) -> list[dict[str, Any]]:
    """The evaluations in a file that a new one of this run, or of this checkpoint by itself, may be put into.

    A file in the run's own folder is the run's, wherever that was moved or copied from; one elsewhere must name it.

    Raises:
        GenkitError: when it is anybody else's, or anything else, which must not be overwritten.
    """
    ours = run or checkpoint
    try:
        found = read(path)
    except GenkitError as error:
        raise GenkitError(stays(path, ours)) from error
    if not found or (run is not None and path.parent.resolve() == run.resolve()):
        return found
    if any(Path(each["run"] or each["checkpoint"]).resolve() == ours.resolve() for each in found):
        return found
    raise GenkitError(stays(path, ours))


def stays(path: Path, ours: Path) -> str:
    return f"{path} is no evaluation of {ours} and stays as it is; name another folder with --out"


def write(path: Path, run: Path | None, evaluations: Sequence[Mapping[str, Any]]) -> None:
    """Write or replace a file of evaluations, as JSON takes them.

    Raises:
        GenkitError: when it can't be written, or would be too large to be read again; the one before stays.
    """
    run_text = None if run is None else str(run)
    content = to_json({"schema_version": SCHEMA_VERSION, "run": run_text, "evaluations": evaluations})
    if len(content) > MAX_SIZE:
        raise GenkitError(f"{path} would have {len(content):,} bytes; move it away, or give --out another folder")
    write_file(path, content, parents=path.parent != run)


def earlier(before: Sequence[dict[str, Any]], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """The evaluation among those of before that a new measurement is a part of: of the same weights and images."""
    return next((each for each in reversed(before) if same(each, new)), None)


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    digests = {each["data_sum"] for each in (one, other) if each.get("data_sum")}
    return len(digests) < 2 and all(one[key] == other[key] for key in SAME)


def merged(before: Sequence[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """All evaluations, with a new measurement in its place, which is the last."""
    known = earlier(before, new)
    if known is None:
        return [*before, new]
    return [*(each for each in before if each is not known), renewed(known, new)]


def renewed(known: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation with the topics of a further measurement in place of its own.

    A topic of which that left out everything (no sum was asked for) stays as it was.
    """
    found, had = topics_of(new["figures"]), topics_of(known["figures"])
    replaced = found | (topics_of(new["left_out"]) - had)
    parts = {
        part: in_order(
            [
                *(each for each in known[part] if topic_of(each) not in replaced),
                *(each for each in new[part] if topic_of(each) in replaced),
            ]
        )
        for part in ("figures", "left_out")
    }
    return {**new, "pictures": {**known["pictures"], **new["pictures"]}, **parts}


def coarser(known: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What a further measurement replaces by figures of fewer images or codes: `likelihood of n 1,000, k 5,000`.

    A topic each, by the first of its figures that is coarser now.
    """
    told: dict[str, str] = {}
    before = {each["name"]: each["conditions"] for each in known["figures"]}
    for figure in new["figures"]:
        had, has = before.get(figure["name"], {}), figure["conditions"]
        if any(is_less(has.get(name), had.get(name)) for name in FINENESS):
            said = ", ".join(f"{name} {had[name]:,}" for name in FINENESS if name in had)
            told.setdefault(topic_of(figure), f"{topic_of(figure)} of {said}")
    return list(told.values())


def is_less(now: Any, before: Any) -> bool:
    return isinstance(now, int) and isinstance(before, int) and now < before


def topic_of(entry: Mapping[str, Any]) -> str:
    return Name(entry["name"]).topic


def topics_of(entries: Iterable[Mapping[str, Any]]) -> set[str]:
    return {topic_of(each) for each in entries}


def in_order(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """As the topics are shown; those of a topic stay in their order."""
    places = {topic: place for place, topic in enumerate(TOPICS)}
    return sorted(entries, key=lambda each: places.get(topic_of(each), len(places)))
