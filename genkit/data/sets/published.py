"""The named sets that `table` has the files of: fetched as they were published, checked, and packed from there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from genkit.data import DataOptions, Missing, pack, store
from genkit.data.dataset import Dataset
from genkit.data.findings import Findings
from genkit.data.forms.source import Source
from genkit.data.sets import openers
from genkit.data.sets.table import SETS, File, Published
from genkit.errors import DataError
from genkit.files import expanded


def load(options: DataOptions) -> Dataset:
    """The set named `options.dataset`, with its published splits; what they don't bring is held out.

    Its files are fetched where they aren't here, and checked, when it is packed; the pack is enough from then on.
    """
    name = options.dataset
    # One source, however often it is begun: it learns from its first attempt.
    source = cache(lambda: _opened(name, checked(name), options))
    return pack.open_or_write(key(name, options), lambda: _contents(name, source(), options)).told()


def fetch(name: str) -> list[Path]:
    """Where the set's files are, after fetching those that weren't here and checking the others."""
    return list(checked(name).values())


def missing(name: str) -> Missing | None:
    """Which of the set's files aren't here, in words; None where all are."""
    files = gone(name)
    if not files:
        return None
    what = f"{files[0]} is" if len(files) == 1 else f"{len(files)} of its {len(of(name).files)} files are"
    return store.missing(name, what, of(name).folder)


def verify(name: str) -> Findings:
    """Check the sums of the set's files, read every image, count those that occur more than once, and check packs."""
    return verified(name, lambda paths: _opened(name, paths, DataOptions(dataset=name)))


def verified(name: str, open_source: Callable[[dict[str, Path]], Source], without: Collection[str] = ()) -> Findings:
    """What `verify` found.

    Args:
        open_source: understands the files.
        without: files that needn't be there.
    """
    published = of(name)
    findings = Findings(source=name)
    paths = {}
    for each in files_of(published):
        if each.name in without:
            continue
        path = _find(published, each)
        if path is None:
            raise DataError(f"{each.name} of {name} isn't here; run `genkit data fetch {name}`")
        findings.files += 1
        paths[each.name] = path
        try:
            findings.sums[str(path)] = _require_published(name, each, path)
        except DataError as error:
            findings.problems.append(str(error))
    if not findings.problems:
        try:
            source = open_source(paths)
            source.enter(findings)
            findings.notes += published.notes
            source.check(findings)
            findings.files = len(paths) + (source.count if without else 0)
        except DataError as error:
            findings.problems.append(str(error))
    pack.verify_packs_of({"set": name}, findings)
    return findings


def key(name: str, options: DataOptions) -> pack.Key:
    """Which pack of the set is meant: it changes with what was published, and with how that is understood."""
    state = [of(name).reading, *(each.checksum for each in of(name).files)]
    return pack.Key(name, {"set": name, **pack.form_of(options)}, state)


def of(name: str) -> Published:
    """A set of the table."""
    published = SETS[name]
    assert isinstance(published, Published)
    return published


def _contents(name: str, source: Source, options: DataOptions) -> pack.Contents:
    contents = source.contents(options)
    contents.notes[:0] = [*of(name).notes, *source.notes]  # others may still come behind, while the images do
    return contents


def _opened(name: str, paths: dict[str, Path], options: DataOptions) -> Source:
    return openers.opened(of(name), paths, options)


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def _find(published: Published, each: File) -> Path | None:
    return store.find(published.folder, [each.name], [expanded(folder) for folder in published.elsewhere])


def gone(name: str) -> list[str]:
    """The files that aren't here."""
    return [each.name for each in files_of(of(name)) if _find(of(name), each) is None]


def files_of(published: Published) -> tuple[File, ...]:
    """The files that the set is read from: its own, or, where some aren't here, one that holds the same and is."""
    instead = published.instead
    if instead is None or _find(published, instead) is None:
        return published.files
    return (instead,) if any(_find(published, each) is None for each in published.files) else published.files


def checked(name: str, without: Collection[str] = ()) -> dict[str, Path]:
    """The files by their names, fetched where they aren't here.

    Args:
        without: files that aren't needed.

    Raises:
        DataError: when one can't be had, or isn't what was published.
    """
    published = of(name)
    files = [each for each in files_of(published) if each.name not in without]
    found = {each.name: _find(published, each) for each in files}
    missing = [each for each in files if found[each.name] is None]
    folder = store.writable_root() / published.folder if missing else Path()
    if missing and store.offline():
        raise DataError(
            f"{name}: {listed([each.name for each in missing])} {'is' if len(missing) == 1 else 'are'} missing and "
            f"GENKIT_OFFLINE is set; unset it, or {_by_hand(missing, folder)}"
        )
    paths: dict[str, Path] = {}
    for each in files:
        path = found[each.name]
        if path is None:
            paths[each.name] = path = folder / each.name
            by_hand = _by_hand([each], folder)
            store.download_to_disk(
                each.urls, path, checksum=each.checksum, size=each.bytes, limit=each.limit, by_hand=by_hand
            )
        else:
            _require_published(name, each, path)
            paths[each.name] = path
    return paths


def _by_hand(files: Sequence[File], folder: Path) -> str:
    """What a person may do: `put https://.../a.npz and https://.../b.npz into /data/set`."""

    def shown(each: File) -> str:
        renamed = Path(urlsplit(each.urls[0]).path).name != each.name or urlsplit(each.urls[0]).query
        return f"{each.urls[0]} (as {each.name})" if renamed else each.urls[0]

    return f"put {listed([shown(each) for each in files])} into {folder}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _require_published(name: str, each: File, path: Path) -> str:
    """The SHA-256 of a file that lies here.

    Raises:
        DataError: when it isn't the published one.
    """
    size = path.stat().st_size
    remedy = f"delete it and run `genkit data fetch {name}`"
    if size > each.limit or (each.bytes is not None and size != each.bytes):
        expected = f"{each.limit:,}" if each.bytes is not None else f"{each.limit:,} at most"
        raise DataError(f"{path}: {size:,} bytes, where {expected} were published; {remedy}")
    algorithm, _, expected = each.checksum.partition(":")
    found = store.checksums_of(path, ("sha256", algorithm))
    if found[algorithm] != expected:
        raise DataError(f"{path}: not the published file (wrong {store.ALGORITHMS[algorithm]}); {remedy}")
    return found["sha256"]
