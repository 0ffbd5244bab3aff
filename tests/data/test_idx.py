from __future__ import annotations

import dataclasses
import gzip
import hashlib
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from genkit.data import fetch, verify
from genkit.data.sets import mnist as idx
from genkit.errors import DataError

#: A set of the same form, small enough to be made here.
COUNTS = {"train": 50, "t10k": 20}


def as_idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def small(pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch, mirrors) -> dict[str, bytes]:
    """`mnist` shrunk to 50 + 20 digits, with its own sums and mirrors; the files' decompressed content."""
    some = pictures[::-1]
    files = {
        "train-images-idx3-ubyte": as_idx(some[:50]),
        "train-labels-idx1-ubyte": as_idx(np.arange(50, dtype=np.uint8) % 10),
        "t10k-images-idx3-ubyte": as_idx(some[50:70]),
        "t10k-labels-idx1-ubyte": as_idx(np.arange(20, dtype=np.uint8) % 10),
    }
    shapes = {file: (COUNTS[file.split("-")[0]], *shape[1:]) for file, shape in idx.FILES.items()}
    monkeypatch.setattr(idx, "FILES", shapes)
    archives = {file: gzip.compress(content) for file, content in files.items()}  # once: the time is in them
    for name in ("mnist", "kmnist", "fashion-mnist"):
        keeps_archive = bool(idx.SETS[name].archive_sums)
        published = {
            file: hashlib.sha256(archives[file] if keeps_archive else files[file]).hexdigest() for file in files
        }
        changed = dataclasses.replace(
            idx.SETS[name],
            mirrors=(f"{mirrors.url}/first/", f"{mirrors.url}/second/"),
            sums={} if keeps_archive else published,
            archive_sums=published if keeps_archive else {},
            elsewhere=(),
        )
        monkeypatch.setitem(idx.SETS, name, changed)
    mirrors.files |= {f"/second/{file}.gz": archives[file] for file in files}
    return files


def put(folder: Path, files: dict[str, bytes], gz: bool) -> None:
    folder.mkdir(parents=True)
    for file, content in files.items():
        path = folder / (f"{file}.gz" if gz else file)
        path.write_bytes(gzip.compress(content) if gz else content)


@pytest.mark.parametrize("gz", [True, False])
def test_files_that_lie_there_are_used_as_they_are(small, home, of, files_in, mirrors, pictures, gz):
    put(home / "mnist", small, gz)
    before = files_in(home)
    dataset = of("mnist")
    assert dataset.shape == (1, 28, 28)
    assert dataset.test.images().flatten(1).tolist() == pictures[::-1][50:70].reshape(20, 784).tolist()
    assert dataset.test.labels.tolist() == [*range(10), *range(10)]
    assert (len(dataset.train), len(dataset.val)) == (45, 5)
    rows = torch.cat([dataset.train.rows, dataset.val.rows])
    assert sorted(rows.tolist()) == list(range(50))
    assert torch.equal(dataset.train.labels, dataset.train.rows % 10)
    assert files_in(home) == before
    assert mirrors.asked == []


def test_fetched_from_the_second_mirror_and_kept_decompressed(small, home, of, files_in, mirrors):
    paths = fetch("mnist")
    assert [path.read_bytes() for path in paths] == list(small.values())
    assert files_in(home) == sorted(f"mnist/{file}" for file in small)
    assert len(mirrors.asked) == 8  # each file at both
    assert fetch("mnist") == paths
    assert len(of("mnist").test) == 20
    assert len(mirrors.asked) == 8  # not asked again


def test_an_archive_whose_own_sum_is_known_is_kept_as_it_came(small, home, of, files_in):
    assert len(of("kmnist").test) == 20
    assert files_in(home) == sorted(f"kmnist/{file}.gz" for file in small)
    (home / "kmnist" / "t10k-labels-idx1-ubyte.gz").chmod(0o644)
    (home / "kmnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(small["t10k-labels-idx1-ubyte"], compresslevel=1, mtime=1)
    )
    with pytest.raises(DataError, match="wrong SHA-256"):
        of("kmnist")


def test_no_mirror_gives_the_right_bytes(small, home, of, files_in, mirrors):
    for file in small:
        mirrors.files[f"/second/{file}.gz"] = gzip.compress(bytes(len(small[file])))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: no mirror gave it .*HTTP 404.*wrong SHA-256"):
        of("mnist")
    assert files_in(home) == []


def damaged(content: bytes) -> dict[str, bytes]:
    return {
        "cut": content[:-1],
        "empty": b"",
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
        "longer": content + b"\0",
        "another header": content[:4] + b"\x7f\xff\xff\xff" + content[8:],
    }


@pytest.mark.parametrize("how", damaged(b"0123456789"))
@pytest.mark.parametrize("gz", [True, False])
def test_damaged_content_is_refused_in_one_line(small, home, of, how, gz):
    file = "train-images-idx3-ubyte"
    put(home / "mnist", small | {file: damaged(small[file])[how]}, gz)
    with pytest.raises(DataError) as caught:
        of("mnist")
    with pytest.raises(DataError):
        fetch("mnist")
    assert str(caught.value).startswith(f"{home}/mnist/{file}{'.gz' if gz else ''}: ")
    assert str(caught.value).endswith("; delete it and run `genkit data fetch mnist`")


def test_a_truncated_gzip_file_is_refused(small, home, of):
    put(home / "mnist", small, gz=True)
    path = home / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz: cut short; delete it"):
        of("mnist")


def test_a_gzip_bomb_is_refused(small, home, of):
    put(home / "mnist", small, gz=True)
    (home / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(DataError, match="decompresses to more than the 58 bytes"):
        of("mnist")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08\x01",
        as_idx(np.zeros(4, np.uint8)),
        as_idx(np.zeros((5, 1), np.uint8)),
        b"\0\0\x09\x01\0\0\0\x05" + bytes(5),
    ],
)
def test_parse_takes_one_shape_of_bytes_only(content):
    with pytest.raises(ValueError, match="not an IDX file of 5 bytes"):
        idx._parse(np.frombuffer(content, np.uint8), (5,))


def test_resized_once_and_then_taken_from_the_pack(small, home, of, files_in):
    put(home / "mnist", small, gz=False)
    native, resized = of("mnist"), of("mnist", image_size=14, channels=3)
    assert resized.shape == (3, 14, 14)
    for part, split in native.splits().items():
        assert torch.equal(resized.splits()[part].labels, split.labels), "the same images in the same splits"
    shutil.rmtree(home / "mnist")
    again = of("mnist", image_size=14, channels=3)
    assert torch.equal(again.test.images(), resized.test.images())


def test_a_read_only_data_folder_is_not_written_to(small, home, of, files_in, tmp_path):
    put(home / "mnist", small, gz=True)
    before = files_in(home)
    home.chmod(0o555)
    try:
        of("mnist", image_size=14)
        assert files_in(home) == before
        assert any("packed/mnist" in file for file in files_in(tmp_path / "cache" / "genkit"))
    finally:
        home.chmod(0o755)


def test_verify_reports_sums_counts_and_every_problem(small, home):
    with pytest.raises(DataError, match="isn't here; run `genkit data fetch mnist`"):
        verify("mnist")
    put(home / "mnist", small, gz=False)
    findings = verify("mnist")
    assert findings.ok
    assert (findings.files, findings.images, findings.duplicates) == (4, 70, 0)
    assert (
        findings.sums[f"{home}/mnist/t10k-labels-idx1-ubyte"]
        == hashlib.sha256(small["t10k-labels-idx1-ubyte"]).hexdigest()
    )
    for file in ("t10k-labels-idx1-ubyte", "t10k-images-idx3-ubyte"):
        (home / "mnist" / file).write_bytes(b"\0")
    findings = verify("mnist")
    assert not findings.ok
    assert [problem.split(":")[0] for problem in findings.problems] == [
        f"{home}/mnist/t10k-images-idx3-ubyte",
        f"{home}/mnist/t10k-labels-idx1-ubyte",
    ]
    assert findings.images == 50


def test_fashion_mnist_from_debian(of, mirrors, files_in, home):
    if not Path("/usr/share/datasets/fashion-mnist").is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist isn't installed")
    dataset = of("fashion-mnist")
    assert torch.bincount(dataset.test.labels).tolist() == [1000] * 10
    assert [len(split) for split in dataset.splits().values()] == [54_000, 6_000, 10_000]
    assert dataset.classes[int(dataset.test.labels[0])] == "ankle-boot"
    assert files_in(home) == []


def test_the_whole_of_mnist(mnist):
    """Facts of the published files: REFERENCE's sums are checked on the way."""
    assert [len(split) for split in mnist.splits().values()] == [54_000, 6_000, 10_000]
    assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    counts = sum(torch.bincount(split.labels) for split in (mnist.train, mnist.val))
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    everything = torch.cat([split.images() for split in (mnist.train, mnist.val)])
    assert everything.double().mean().item() / 255 == pytest.approx(0.1306604762738429, abs=1e-12)


def test_mnist5k_is_part_of_mnist(mnist, digits):
    """The 5,000 digits stand in MNIST's training images: so they mustn't be used to test a model trained on these."""
    ours = torch.cat([split.fingerprinted().fingerprints for split in digits.splits().values()])
    theirs = torch.cat([split.fingerprinted().fingerprints for split in (mnist.train, mnist.val)])
    assert torch.isin(ours, theirs).all()
    assert torch.bincount(digits.train.labels).sum() == 4000
