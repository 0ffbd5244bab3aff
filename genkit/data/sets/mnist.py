"""MNIST and the two sets published in its form: four IDX files each, a training pair and a test pair."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from genkit.contract import ImageShape
from genkit.data import DataOptions, Missing, pack, store
from genkit.data.dataset import Dataset, Split, as_tensor, fingerprint
from genkit.data.findings import Findings
from genkit.data.pixels import wanted_shape
from genkit.data.splits import divide
from genkit.errors import DataError
from genkit.files import sha256_of

#: The files of a set and the shape of what they hold (uint8).
FILES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
#: The images and the labels of each part.
PARTS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
SHAPE = ImageShape(1, 28, 28)
WRONG_SUM = "not the published content (wrong SHA-256)"
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class IdxSet:
    """A published set.

    Attributes:
        mirrors: each serves the four files as NAME.gz under this address.
        classes: names of the labels 0 to 9.
        sums: SHA-256 of each file, decompressed (so that a mirror's own compression doesn't matter).
        archive_sums: SHA-256 of each NAME.gz where only that is known: then the archive is kept as it came.
        elsewhere: folders outside ours where a package manager puts the files.
    """

    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    sums: Mapping[str, str] = field(default_factory=dict)
    archive_sums: Mapping[str, str] = field(default_factory=dict)
    elsewhere: tuple[Path, ...] = ()


SETS = {
    "mnist": IdxSet(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        classes=tuple("0123456789"),
        sums={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": IdxSet(
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        classes=(
            *("t-shirt", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle-boot"),
        ),
        sums={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        elsewhere=(Path("/usr/share/datasets/fashion-mnist"),),  # Debian's package dataset-fashion-mnist
    ),
    "kmnist": IdxSet(
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        archive_sums={
            "train-images-idx3-ubyte": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "train-labels-idx1-ubyte": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "t10k-images-idx3-ubyte": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "t10k-labels-idx1-ubyte": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        },
    ),
}


def load(options: DataOptions) -> Dataset:
    """The set named `options.dataset`: the published test images are `test`, `val` is held out from the others."""
    name, published = options.dataset, SETS[options.dataset]
    shape = wanted_shape(SHAPE, options)
    if shape != SHAPE:
        key = pack.Key(name, {"set": name, "shape": shape}, dict(published.sums or published.archive_sums))
        return pack.open_or_write(key, lambda: _contents(name, shape)).dataset
    given = {
        part: Split(as_tensor(images), torch.arange(len(images)), torch.from_numpy(labels))
        for part, (images, labels) in _parts(name).items()
    }
    train, val, test = divide(name, given)
    return Dataset(name, train, val, test, published.classes)


def fetch(name: str) -> list[Path]:
    """Where the set's four files are, after fetching those that weren't here and checking the others."""
    paths = [_find(name, file) or _download(name, file) for file in FILES]
    for file, path in zip(FILES, paths, strict=True):
        _read(name, file, path)
    return paths


def missing(name: str) -> Missing | None:
    """Which of the set's files aren't here, in words; None where all are."""
    gone = [file for file in FILES if _find(name, file) is None]
    return store.missing(name, f"{len(gone)} of its {len(FILES)} files are") if gone else None


def verify(name: str) -> Findings:
    """Check the sums of the set's files, look for images that occur more than once, and check packs of it."""
    findings = Findings(source=name)
    fingerprints = []
    for file in FILES:
        path = _find(name, file)
        if path is None:
            raise DataError(f"{file} of {name} isn't here; run `genkit data fetch {name}`")
        findings.files += 1
        try:
            content = _read(name, file, path)
        except DataError as error:
            findings.problems.append(str(error))
            continue
        findings.sums[str(path)] = sha256_of(path)
        if content.ndim == 3:
            fingerprints.append(fingerprint(content))
    findings.count(np.concatenate(fingerprints or [np.empty(0, np.int64)]), "28x28", "L")
    pack.verify_packs_of({"set": name}, findings)
    return findings


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def _parts(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images uint8 (N, 1, 28, 28) and labels int64 (N,) of `train` and `test`; fetched first where needed."""

    def content(file: str) -> np.ndarray:
        return _read(name, file, _find(name, file) or _download(name, file))

    return {
        part: (content(images)[:, None], content(labels).astype(np.int64)) for part, (images, labels) in PARTS.items()
    }


def _contents(name: str, shape: ImageShape) -> pack.Contents:
    parts = _parts(name)
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts.values(), strict=True))
    codes = np.concatenate(
        [np.full(len(labels), pack.PARTS.index(part), np.uint8) for part, (_, labels) in parts.items()]
    )
    return pack.Contents(
        shape, len(images), pack.converted(images, shape), labels=labels, parts=codes, classes=SETS[name].classes
    )


def _find(name: str, file: str) -> Path | None:
    return store.find(name, [file, f"{file}.gz"], SETS[name].elsewhere)


def _download(name: str, file: str) -> Path:
    """Fetch a file; keep it decompressed, so that it can be memory-mapped, if it can be checked in that form."""
    published = SETS[name]
    keep_archive = bool(published.archive_sums)
    target = store.writable_root() / name / (f"{file}.gz" if keep_archive else file)

    def accept(payload: bytes) -> bytes:
        content = _checked(name, file, payload)
        return payload if keep_archive else content

    store.download(
        [f"{mirror}{file}.gz" for mirror in published.mirrors],
        target,
        limit=_size(file) + 4096,
        accept=accept,
        instead="--dataset mnist5k, 5,000 of these digits," if name == "mnist" else "",
    )
    return target


def _read(name: str, file: str, path: Path) -> np.ndarray:
    """The content of a file that lies here, plain (memory-mapped) or gzipped: uint8 of the shape in FILES.

    Raises:
        DataError: when it isn't what was published.
    """
    try:
        if path.suffix == ".gz":
            content = np.frombuffer(_checked(name, file, store.read(path, limit=_size(file) + 4096)), np.uint8)
        elif path.stat().st_size != _size(file):
            raise ValueError(f"{path.stat().st_size:,} bytes, where {_size(file):,} were published")
        else:
            content = np.memmap(path, np.uint8, mode="r")
            _check_sum(name, file, content.data)
        return _parse(content, FILES[file])
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}; delete it and run `genkit data fetch {name}`") from error


def _size(file: str) -> int:
    """Bytes of a file, decompressed: the magic number, the dimensions and the elements."""
    shape = FILES[file]
    return 4 + 4 * len(shape) + math.prod(shape)


def _checked(name: str, file: str, payload: bytes) -> bytes:
    """The decompressed content of a gzipped file. Raises ValueError when it isn't the published one."""
    published = SETS[name]
    if published.archive_sums and store.sha256(payload) != published.archive_sums[file]:
        raise ValueError(WRONG_SUM)
    # Some mirrors leave it to the HTTP client to decompress.
    content = store.gunzip(payload, _size(file)) if payload[:2] == GZIP else payload
    _check_sum(name, file, content)
    return content


def _check_sum(name: str, file: str, content: bytes | memoryview) -> None:
    published = SETS[name]
    if published.sums and store.sha256(content) != published.sums[file]:
        raise ValueError(WRONG_SUM)


def _parse(content: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The elements of an IDX file of unsigned bytes; uint8 (bytes,) -> uint8 `shape`, without a copy.

    Raises:
        ValueError: when it holds anything else.
    """
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
    if content[: len(header)].tobytes() != header or len(content) != len(header) + math.prod(shape):
        raise ValueError(f"not an IDX file of {' x '.join(map(str, shape))} bytes")
    return content[len(header) :].reshape(shape)
