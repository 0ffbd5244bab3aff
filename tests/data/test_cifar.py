from __future__ import annotations

import hashlib
import io
import tarfile

import numpy as np
import pytest

from genkit.data import fetch, verify
from genkit.data.sets import cifar
from genkit.errors import DataError

BATCH = 8


def archive_of(records: np.ndarray, sizes: dict[str, int] | None = None) -> bytes:
    """The published layout; `sizes` are members that shall be cut to so many bytes."""
    buffer = io.BytesIO()
    names = [*cifar.TRAIN, cifar.TEST]
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, batch in zip(names, np.split(records, len(names)), strict=True):
            content = batch.tobytes()[: (sizes or {}).get(name)]
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        escape = tarfile.TarInfo("../escaped.txt")
        escape.size = 4
        tar.addfile(escape, io.BytesIO(b"evil"))
    return buffer.getvalue()


def publish(monkeypatch, mirrors, archive: bytes) -> None:
    monkeypatch.setattr(cifar, "SHA256", hashlib.sha256(archive).hexdigest())
    monkeypatch.setattr(cifar, "BYTES", len(archive))
    monkeypatch.setattr(cifar, "MIRRORS", (f"{mirrors.url}/first/", f"{mirrors.url}/second/"))
    mirrors.files[f"/second/{cifar.ARCHIVE}"] = archive


@pytest.fixture
def records(monkeypatch) -> np.ndarray:
    """CIFAR-10 shrunk to 6 batches of 8 records, uint8 (48, 3073)."""
    monkeypatch.setattr(cifar, "BATCH", BATCH)
    records = np.random.default_rng(0).integers(0, 256, (6 * BATCH, cifar.RECORD), np.uint8)
    records[:, 0] %= 10
    return records


def test_fetched_read_in_memory_and_packed(records, monkeypatch, mirrors, of, home, files_in, tmp_path):
    publish(monkeypatch, mirrors, archive_of(records))
    dataset = of("cifar10")
    assert dataset.shape == (3, 32, 32)
    assert [len(split) for split in dataset.splits().values()] == [36, 4, 8]
    assert dataset.test.labels.tolist() == records[-8:, 0].tolist()
    assert (dataset.test.images().numpy() == records[-8:, 1:].reshape(8, 3, 32, 32)).all()
    assert dataset.train.storage.numpy().reshape(48, -1).tolist() == records[:, 1:].tolist()
    assert sorted({name.split("/")[0] for name in files_in(home)}) == ["cifar10", "packed"]
    assert not list(tmp_path.rglob("escaped.txt"))
    assert fetch("cifar10") == [home / "cifar10" / cifar.ARCHIVE]
    assert len(mirrors.asked) == 2

    (home / "cifar10" / cifar.ARCHIVE).unlink()
    assert len(of("cifar10").test) == 8, "the pack is enough"
    assert of("cifar10", channels=1, image_size=16).shape == (1, 16, 16)  # fetched again


def test_a_damaged_archive(records, monkeypatch, mirrors, of, home):
    publish(monkeypatch, mirrors, archive_of(records))
    (path,) = fetch("cifar10")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: not the published archive .* delete it and run"):
        of("cifar10")
    assert not verify("cifar10").ok
    with pytest.raises(DataError, match="not the published archive"):
        fetch("cifar10")


def test_an_archive_without_what_it_should_hold(records, monkeypatch, mirrors, of):
    publish(monkeypatch, mirrors, archive_of(records, {cifar.TEST: 100}))
    with pytest.raises(DataError, match=r"has no test_batch\.bin of 24,584 bytes"):
        of("cifar10")


def test_verify(records, monkeypatch, mirrors, of):
    with pytest.raises(DataError, match="isn't here; run `genkit data fetch cifar10`"):
        verify("cifar10")
    records[5] = records[6]
    publish(monkeypatch, mirrors, archive_of(records))
    of("cifar10")
    findings = verify("cifar10")
    assert findings.ok
    assert (findings.images, findings.duplicates) == (48, 1)
    assert cifar.SHA256 in findings.sums.values()


def test_offline(of, monkeypatch):
    monkeypatch.setenv("GENKIT_OFFLINE", "1")
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz is missing and GENKIT_OFFLINE is set"):
        of("cifar10")
