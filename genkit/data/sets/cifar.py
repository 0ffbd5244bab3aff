"""CIFAR-10: the published archive of its binary version, read in memory and packed."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np

from genkit.contract import ImageShape
from genkit.data import DataOptions, Missing, pack, store
from genkit.data.dataset import Dataset, fingerprint
from genkit.data.findings import Findings
from genkit.data.pixels import wanted_shape
from genkit.errors import DataError
from genkit.files import sha256_of

NAME = "cifar10"
SHAPE = ImageShape(3, 32, 32)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

ARCHIVE = "cifar-10-binary.tar.gz"
MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
#: Of the archive: the sums of its content aren't published.
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
BYTES = 170_052_171

#: The files in the archive's folder `cifar-10-batches-bin`: BATCH records of a label's byte and an image's.
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = "test_batch.bin"
BATCH = 10_000
RECORD = 1 + SHAPE.numbers


def load(options: DataOptions) -> Dataset:
    """The published test images are `test`, `val` is held out from the others."""
    shape = wanted_shape(SHAPE, options)
    return pack.open_or_write(pack.Key(NAME, {"set": NAME, "shape": shape}, SHA256), lambda: _contents(shape)).dataset


def fetch(name: str) -> list[Path]:
    """Where the archive is, after fetching it if it wasn't here, and checking it."""
    path = _find() or _download()
    _read(path)
    return [path]


def missing(name: str) -> Missing | None:
    """That the archive isn't here, in words; None where it is."""
    return None if _find() else store.missing(name, f"{ARCHIVE} is")


def verify(name: str) -> Findings:
    """Check the archive's sum and its content, look for images that occur more than once, and check packs of it."""
    path = _find()
    if path is None:
        raise DataError(f"{ARCHIVE} isn't here; run `genkit data fetch {NAME}`")
    findings = Findings(source=NAME, files=1, sums={str(path): sha256_of(path)})
    try:
        images, _ = _read(path)
        findings.count(fingerprint(images), "32x32", "RGB")
    except DataError as error:
        findings.problems.append(str(error))
    pack.verify_packs_of({"set": NAME}, findings)
    return findings


def _find() -> Path | None:
    return store.find(NAME, [ARCHIVE])


def _download() -> Path:
    target = store.writable_root() / NAME / ARCHIVE
    store.download([mirror + ARCHIVE for mirror in MIRRORS], target, limit=BYTES, accept=_checked)
    return target


def _checked(archive: bytes) -> bytes:
    if store.sha256(archive) != SHA256:
        raise ValueError("not the published archive (wrong SHA-256)")
    return archive


def _contents(shape: ImageShape) -> pack.Contents:
    images, labels = _read(_find() or _download())
    in_test = np.arange(len(images)) >= len(TRAIN) * BATCH
    parts = np.where(in_test, pack.PARTS.index("test"), pack.PARTS.index("train")).astype(np.uint8)
    return pack.Contents(shape, len(images), pack.converted(images, shape), labels=labels, parts=parts, classes=CLASSES)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (60,000, 3, 32, 32) and labels int64 (60,000,), the test batch last.

    Nothing is extracted: the members are read in memory, and only those of the right name and size.

    Raises:
        DataError: when it isn't the published archive.
    """
    try:
        archive = _checked(store.read(path, limit=BYTES))
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r|gz") as tar:
            members = {
                Path(member.name).name: file.read()
                for member in tar
                if member.size == BATCH * RECORD and (file := tar.extractfile(member)) is not None
            }
        missing = {*TRAIN, TEST} - members.keys()
        if missing:
            raise ValueError(f"has no {min(missing)} of {BATCH * RECORD:,} bytes")
    except (ValueError, tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path}: {error}; delete it and run `genkit data fetch {NAME}`") from error
    records = np.frombuffer(b"".join(members[name] for name in (*TRAIN, TEST)), np.uint8).reshape(-1, RECORD)
    return records[:, 1:].reshape(-1, *SHAPE), records[:, 0].astype(np.int64)
