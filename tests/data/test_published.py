from __future__ import annotations

import bz2
import dataclasses
import gzip
import hashlib
import io
import json
import os
import shutil
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from itertools import pairwise

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from genkit.data import SOURCES, DataOptions, fetch, missing, verify
from genkit.data.dataset import Dataset
from genkit.data.sets import published, table
from genkit.errors import DataError, UsageError

Publish = Callable[..., None]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, mirrors) -> Publish:
    """Have the second of two mirrors serve these files of a set, by the names of its table, instead of its own."""

    def publish(name: str, files: dict[str, bytes], serve: bool = True, **changes: object) -> None:
        shrunk = []
        for each in published.of(name).files:
            content = files[each.name]
            algorithm = each.checksum.partition(":")[0]
            urls = tuple(f"{mirrors.url}/{where}/{each.name}" for where in ("first", "second")) if each.urls else ()
            shrunk.append(
                dataclasses.replace(
                    each,
                    urls=urls,
                    checksum=f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}",
                    bytes=each.bytes and len(content),
                    limit=len(content) if each.bytes else each.limit,
                )
            )
            if serve:
                mirrors.files[f"/second/{each.name}"] = content
        changed = dataclasses.replace(published.of(name), files=tuple(shrunk), elsewhere=(), **changes)
        monkeypatch.setitem(table.SETS, name, changed)

    return publish


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def own(dataset: Dataset) -> tuple[np.ndarray, torch.Tensor | None]:
    """All images in the order of their files, uint8 (N, C, H, W), and their labels."""
    splits = list(dataset.splits().values())
    order = torch.cat([split.rows for split in splits]).argsort()
    images = torch.cat([split.images() for split in splits])[order].numpy()
    if dataset.train.labels is None:
        return images, None
    return images, torch.cat([split.labels for split in splits])[order]


# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------


def test_every_set_of_the_table_is_whole():
    for name, each in SOURCES.items():
        assert each.group in table.GROUPS
        assert each.what, name
        assert each.licence, name
        assert each.download or each.origin, name
        if isinstance(each, table.Published):
            assert each.files, name
            assert each.form in {"celeba", *published.openers.FORMS}
            for file in each.files:
                algorithm, _, digest = file.checksum.partition(":")
                assert len(bytes.fromhex(digest)) == {"md5": 16, "sha256": 32}[algorithm]
                assert 0 < (file.bytes or 1) <= file.limit
                assert all(url.startswith("http") and file.name.partition(".")[0] for url in file.urls)
            assert len(set(each.classes)) == len(each.classes)


def test_facts_of_published_classes():
    assert [len(SOURCES[f"emnist-{part}"].classes) for part in ("byclass", "bymerge", "balanced", "letters")] == [
        *(62, 47, 47, 26),
    ]
    assert "".join(SOURCES["emnist-balanced"].classes) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    assert len(SOURCES["kmnist49"].classes) == 49
    medical = [each for name, each in SOURCES.items() if each.group == "medicine"]
    assert len(medical) == 12 * 4
    assert len({file.checksum for each in medical for file in each.files}) == 12 * 4


def test_the_list_has_every_set_in_its_group(genkit):
    lines = genkit("data", "list").out.splitlines()
    assert lines[1] == "handwriting"
    names = [line.split()[0] for line in lines if line.startswith("  ") and not line.startswith(("   ", "  each"))]
    assert sorted(names) == sorted(name for name, each in SOURCES.items() if not each.larger_of)
    letters = next(line for line in lines if "emnist-letters" in line)
    assert letters.split() == [
        *("emnist-letters", "28x28", "grey", "124,800", "20,800", "562", "MB"),
        *["letters,", "both", "cases", "together", "(no", "licence", "stated)"],
    ]
    assert "  each also of 64, 128, 224 pixels: pathmnist-64, ..." in lines
    assert max(map(len, lines)) < 220


def test_the_list_as_json_is_complete(genkit):
    sets = json.loads(genkit("data", "list", "--json").out)["sets"]
    assert sets.keys() == SOURCES.keys()
    assert sets["svhn"]["splits"] == {"train": 73257, "val": 0, "test": 26032}
    assert sets["svhn"]["licence"] == "for non-commercial use only"
    assert sets["svhn"]["classes"] == list("0123456789")
    assert sets["svhn"]["files"][1]["bytes"] == 64275384
    assert sets["svhn"]["files"][1]["checksum"].startswith("sha256:cdce80df")
    assert sets["pathmnist-64"]["larger_of"] == "pathmnist"
    assert all({"group", "what", "images", "licence", "origin"} <= each.keys() for each in sets.values())


# ---------------------------------------------------------------------------------------------------------------------
# Forms
# ---------------------------------------------------------------------------------------------------------------------


def medmnist_of(pictures: np.ndarray, labels: np.ndarray) -> bytes:
    splits = {"train": slice(0, 60), "val": slice(60, 80), "test": slice(80, 100)}
    return npz(
        **{f"{split}_images": pictures[rows] for split, rows in splits.items()},
        **{f"{split}_labels": labels[rows] for split, rows in splits.items()},
    )


def test_medmnist(publish, of, pictures):
    labels = np.arange(100, dtype=np.uint8)[:, None] % 8
    publish("bloodmnist", {"bloodmnist.npz": medmnist_of(np.stack([pictures] * 3, -1), labels)})
    dataset = of("bloodmnist")
    assert dataset.shape == (3, 28, 28)
    assert [len(split) for split in dataset.splits().values()] == [60, 20, 20]
    assert dataset.classes[6] == "neutrophil"
    images, found = own(dataset)
    assert (images == pictures[:, None]).all()
    assert (found.numpy() == labels[:, 0]).all()
    assert (dataset.test.images()[:, 0].numpy() == pictures[80:]).all()


def test_a_class_that_no_image_is_of_is_one_all_the_same(publish, of, pictures):
    labels = np.full((100, 1), 2, np.uint8)
    labels[::2] = 5
    publish("bloodmnist", {"bloodmnist.npz": medmnist_of(pictures, labels)})
    dataset = of("bloodmnist")
    assert len(dataset.classes) == 8
    assert own(dataset)[1].tolist() == [5, 2] * 50


def test_labels_beyond_the_published_classes(publish, of, pictures):
    publish("bloodmnist", {"bloodmnist.npz": medmnist_of(pictures, np.arange(100)[:, None] % 9)})
    with pytest.raises(DataError, match="labels from 0 to 8, not 8"):
        of("bloodmnist")


def test_several_findings_to_an_image_are_attributes(publish, of, pictures):
    flags = np.random.default_rng(0).integers(0, 2, (100, 14), np.uint8)
    publish("chestmnist", {"chestmnist.npz": medmnist_of(pictures, flags)})
    dataset = of("chestmnist")
    assert dataset.attributes[:3] == ("atelectasis", "cardiomegaly", "effusion")
    assert dataset.train.labels is None
    assert (dataset.test.attributes.numpy() == flags[80:]).all()


def test_larger_medical_images_are_sets_of_their_own(publish, of, pictures):
    large = np.stack([np.kron(picture, np.ones((2, 2), np.uint8)) for picture in pictures])
    padded = np.pad(large, ((0, 0), (4, 4), (4, 4)))
    publish("octmnist-64", {"octmnist_64.npz": medmnist_of(padded, np.arange(100)[:, None] % 4)})
    dataset = of("octmnist-64")
    assert dataset.shape == (1, 64, 64)
    assert (own(dataset)[0][:, 0] == padded).all()


def test_kmnist49(publish, of, pictures):
    labels = np.arange(100, dtype=np.uint8) % 49
    publish(
        "kmnist49",
        {
            "k49-train-imgs.npz": npz(arr_0=pictures[:70]),
            "k49-train-labels.npz": npz(arr_0=labels[:70]),
            "k49-test-imgs.npz": npz(arr_0=pictures[70:]),
            "k49-test-labels.npz": npz(arr_0=labels[70:]),
        },
    )
    dataset = of("kmnist49")
    assert len(dataset.test) == 30
    assert dataset.classes[48] == "iteration-mark"
    images, found = own(dataset)
    assert (images[:, 0] == pictures).all()
    assert (found.numpy() == labels).all()


def idx(array: np.ndarray) -> bytes:
    code, dtype = (8, "u1") if array.dtype == np.uint8 else (12, ">i4")
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(dtype).tobytes())


@pytest.mark.parametrize(
    ("part", "first", "classes"),
    [("letters", 1, "abcdefghijklmnopqrstuvwxyz"), ("balanced", 0, table.MERGED), ("mnist", 0, "0123456789")],
)
def test_emnist(publish, of, pictures, part, first, classes):
    """One archive of six parts, whose images lie transposed, and the labels of one from 1 on."""
    count = len(published.of(f"emnist-{part}").classes)
    labels = (np.arange(100) % count).astype(np.uint8)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("byclass", "bymerge", "balanced", "letters", "digits", "mnist"):
            other = 0 if name == part else 255
            for split, rows in (("train", slice(0, 70)), ("test", slice(70, 100))):
                content = pictures[rows].transpose(0, 2, 1) ^ np.uint8(other)
                archive.writestr(f"gzip/emnist-{name}-{split}-images-idx3-ubyte.gz", idx(content))
                archive.writestr(
                    f"gzip/emnist-{name}-{split}-labels-idx1-ubyte.gz", idx(labels[rows] + np.uint8(first))
                )
            archive.writestr(f"gzip/emnist-{name}-mapping.txt", "0 48\n")
    publish(f"emnist-{part}", {"gzip.zip": buffer.getvalue()})
    dataset = of(f"emnist-{part}")
    images, found = own(dataset)
    assert (images[:, 0] == pictures).all()
    assert (found.numpy() == labels).all()
    assert len(dataset.test) == 30
    assert dataset.classes == tuple(classes)
    assert dataset.notes[0] == "its images are stored with rows and columns swapped, which is undone"
    assert fetch(f"emnist-{part}")[0].parent.name == "emnist"


def test_qmnist(publish, of, pictures):
    """Tables of labels with eight columns, of which the first is the class."""
    labels = np.arange(100)[:, None] % 10 + np.array([0, 1000, 0, 30, 5, 7, 0, 0])
    publish(
        "qmnist",
        {
            "qmnist-train-images-idx3-ubyte.gz": idx(pictures[:60]),
            "qmnist-train-labels-idx2-int.gz": idx(labels[:60].astype(np.int32)),
            "qmnist-test-images-idx3-ubyte.gz": idx(pictures[60:]),
            "qmnist-test-labels-idx2-int.gz": idx(labels[60:].astype(np.int32)),
        },
    )
    dataset = of("qmnist")
    assert len(dataset.test) == 40
    images, found = own(dataset)
    assert (images[:, 0] == pictures).all()
    assert (found.numpy() == np.arange(100) % 10).all()


def matlab(**variables: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=True)
    return buffer.getvalue()


def test_svhn(publish, of, pictures):
    """X (32, 32, 3, N), and y from 1 to 10, of which 10 is the digit 0."""
    colour = np.pad(np.stack([pictures, 255 - pictures, pictures // 2], -1), ((0, 0), (1, 3), (0, 4), (0, 0)))
    labels = np.arange(100, dtype=np.uint8) % 10 + np.uint8(1)
    files = {
        f"{split}_32x32.mat": matlab(X=colour[rows].transpose(1, 2, 3, 0), y=labels[rows, None])
        for split, rows in (("train", slice(0, 70)), ("test", slice(70, 100)))
    }
    publish("svhn", files)
    dataset = of("svhn")
    assert dataset.shape == (3, 32, 32)
    assert dataset.classes == tuple("0123456789")
    images, found = own(dataset)
    assert (images == colour.transpose(0, 3, 1, 2)).all()
    assert found[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert (found.numpy() == labels % 10).all()
    assert len(dataset.test) == 30


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_olivetti(publish, of, pictures, dtype):
    """A column a face, in it one column of pixels after the other; ten faces of each person, with no label."""
    faces = np.pad(np.kron(pictures, np.ones((1, 2, 2), np.uint8)), ((0, 0), (2, 6), (4, 4)))
    columns = np.stack([face.reshape(-1, order="F") for face in faces], 1)
    content = matlab(faces=columns.astype(dtype), p=np.ones((1, 10)), u=np.ones((64, 10)))
    publish("olivetti", {"olivettifaces.mat": content})
    dataset = of("olivetti")
    images, found = own(dataset)
    assert (images[:, 0] == faces).all()
    assert (found.numpy() == np.arange(100) // 10).all()
    assert dataset.classes[0] == "s1"
    assert len(dataset.classes) == 40


def test_shapes3d(publish, of, pictures):
    """Values of the factors instead of their numbers."""
    colour = np.pad(np.stack([pictures, 255 - pictures, pictures // 2], -1), ((0, 0), (18, 18), (18, 18), (0, 0)))
    rows = np.arange(100)
    sizes = (10, 10, 10, 8, 4, 15)
    values = [np.linspace(-1, 1, size)[rows // (number + 1) % size] for number, size in enumerate(sizes)]
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("images", data=colour, compression="gzip", chunks=(30, 64, 64, 3))
        file.create_dataset("labels", data=np.stack(values, 1))
    publish("shapes3d", {"3dshapes.h5": buffer.getvalue()})
    dataset = of("shapes3d")
    assert dataset.shape == (3, 64, 64)
    assert (own(dataset)[0] == colour.transpose(0, 3, 1, 2)).all()
    assert len(dataset.attributes) == 57
    assert dataset.attributes[::10] == (
        *("floor-hue-0", "wall-hue-0", "object-hue-0", "scale-0", "shape-2", "orientation-8"),
    )
    rows, found = dataset.train.rows.numpy(), dataset.train.attributes.numpy()
    starts = np.cumsum([0, *sizes])
    for number, (start, end) in enumerate(pairwise(starts)):
        assert (found[:, start:end].argmax(1) == rows // (number + 1) % sizes[number]).all()
    assert (found.sum(1) == 6).all()


def test_a_missing_library(publish, of, pictures, monkeypatch):
    publish("shapes3d", {"3dshapes.h5": b"\x89HDF\r\n\x1a\n"})
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"3dshapes\.h5: HDF5 is read by h5py, which isn't here; pip install"):
        of("shapes3d")


def libsvm(pictures: np.ndarray, labels: np.ndarray) -> bytes:
    """As LIBSVM has it: what is exactly 0 is left out."""
    lines = []
    for picture, label in zip(pictures.reshape(len(pictures), -1), labels, strict=True):
        values = [f"{number}:{value:.6g}" for number, value in enumerate(picture / 127.5 - 1, 1) if value]
        lines.append(" ".join([str(label + 1), *values, "\n"]))
    return bz2.compress("".join(lines).encode())


def test_usps(publish, of, pictures):
    small = pictures[:, 6:22, 6:22].copy()
    small[0, 0, :] = 255
    labels = np.arange(100) // 10
    publish("usps", {"usps.bz2": libsvm(small[20:], labels[20:]), "usps.t.bz2": libsvm(small[:20], labels[:20])})
    dataset = of("usps")
    assert dataset.shape == (1, 16, 16)
    assert dataset.classes == tuple("0123456789")
    assert (dataset.test.images()[:, 0].numpy() == small[:20]).all()
    assert (dataset.test.labels.numpy() == labels[:20]).all()
    images, found = own(dataset)
    assert (images[:80, 0] == small[20:]).all()
    assert (found[:80].numpy() == labels[20:]).all()


def test_usps_is_read_from_one_archive_where_that_is_all_there_is(publish, of, pictures, monkeypatch, tmp_path):
    """It is used where it lies, held to its sum, and never fetched; files that are there go first."""
    small, labels = pictures[:, 6:22, 6:22].copy(), np.arange(100) // 10
    archive = npz(x_train=small[20:], y_train=labels[20:], x_test=small[:20], y_test=labels[:20])
    published_file = dataclasses.replace(table.USPS_ARCHIVE, checksum=f"sha256:{hashlib.sha256(archive).hexdigest()}")
    published_file = dataclasses.replace(published_file, bytes=len(archive), limit=len(archive))
    monkeypatch.setenv("GENKIT_DATA", str(tmp_path))
    files = {"usps.bz2": libsvm(small[20:], labels[20:]), "usps.t.bz2": libsvm(small[:20], labels[:20])}
    publish("usps", files, serve=False, instead=published_file)
    assert missing(DataOptions(dataset="usps")) is not None
    (tmp_path / "usps").mkdir()
    (tmp_path / "usps" / "usps.npz").write_bytes(archive)
    assert missing(DataOptions(dataset="usps")) is None
    dataset = of("usps")
    assert (dataset.test.images()[:, 0].numpy() == small[:20]).all()
    assert (own(dataset)[0][:80, 0] == small[20:]).all()
    assert own(dataset)[1][:80].tolist() == labels[20:].tolist()
    assert verify("usps").files == 1
    assert verify("usps").ok
    for name, content in files.items():
        (tmp_path / "usps" / name).write_bytes(content)
    assert verify("usps").files == 2
    (tmp_path / "usps" / "usps.t.bz2").unlink()
    (tmp_path / "usps" / "usps.npz").write_bytes(archive[:-1] + b"x")
    assert "not the published file" in verify("usps").problems[0]


def test_pixels_that_libsvm_leaves_out_are_half_grey(publish, of, pictures):
    lines = [" ".join([f"{1 + row % 10}", f"{row + 1}:1", f"{row + 2}:-1"]) for row in range(40)]
    content = bz2.compress("\n".join(lines).encode())
    other = bz2.compress("\n".join(f"{line} 256:0.5" for line in lines).encode())
    publish("usps", {"usps.bz2": content, "usps.t.bz2": other})
    first = own(of("usps"))[0][0, 0].reshape(-1)
    assert first[:3].tolist() == [255, 0, 128]


def stl_archive(images: dict[str, np.ndarray], labels: dict[str, np.ndarray]) -> bytes:
    """The published layout, of images (N, 3, 96, 96) upright and labels from 0 on."""
    contents = {"stl10_binary/test_X.bin": images["test"].transpose(0, 1, 3, 2).tobytes()}
    contents["stl10_binary/unlabeled_X.bin"] = images["unlabeled"].transpose(0, 1, 3, 2).tobytes()
    contents["stl10_binary/train_X.bin"] = images["train"].transpose(0, 1, 3, 2).tobytes()
    contents |= {f"stl10_binary/{part}_y.bin": (each + 1).astype(np.uint8).tobytes() for part, each in labels.items()}
    contents["stl10_binary/class_names.txt"] = b"airplane\nbird\n"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        folder = tarfile.TarInfo("stl10_binary")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def stl(pictures) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], bytes]:
    """Images (N, 3, 96, 96) whose channels differ, labels, and the archive."""
    large = np.stack([np.kron(picture, np.ones((3, 3), np.uint8)) for picture in pictures])
    large = np.pad(large, ((0, 0), (6, 6), (4, 8)))
    colour = np.stack([large, 255 - large, large // 2], 1)
    images = {"train": colour[:40], "test": colour[40:60], "unlabeled": colour[60:]}
    labels = {"train": np.arange(40) % 10, "test": np.arange(20) // 2}
    return images, labels, stl_archive(images, labels)


def test_stl10_and_its_unlabeled_images(publish, of, stl):
    images, labels, archive = stl
    publish("stl10", {"stl10_binary.tar.gz": archive})
    dataset = of("stl10")
    assert dataset.shape == (3, 96, 96)
    assert dataset.classes[:2] == ("airplane", "bird")
    assert (dataset.test.images().numpy() == images["test"]).all()
    assert (dataset.test.labels.numpy() == labels["test"]).all()
    found, classes = own(dataset)
    assert (found[:40] == images["train"]).all()
    assert (classes[:40].numpy() == labels["train"]).all()

    publish("stl10-unlabeled", {"stl10_binary.tar.gz": archive}, serve=False)  # it lies in the folder that both share
    unlabeled = of("stl10-unlabeled")
    assert (own(unlabeled)[0] == images["unlabeled"]).all()
    assert unlabeled.train.labels is None


def drawn(picture: np.ndarray) -> bytes:
    """A picture of 105x105, where there is ink, as Omniglot has it: 1 bit, ink 0."""
    buffer = io.BytesIO()
    Image.fromarray(~picture).convert("1").save(buffer, "PNG")
    return buffer.getvalue()


def test_omniglot(publish, of, pictures):
    large = np.stack([np.kron(picture > 127, np.ones((3, 3), bool)) for picture in pictures])
    large = np.pad(large, ((0, 0), (10, 11), (10, 11)))
    files: dict[str, bytes] = {}
    for part, first, alphabets in (("background", 0, ("Latin", "Greek")), ("evaluation", 60, ("Kannada", "ULOG"))):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"images_{part}/", b"")
            for row in range(60 if part == "background" else 40):
                alphabet, character = alphabets[row // 10 % 2], 1 + row // 20
                number = 100 * alphabets.index(alphabet) + character
                name = f"images_{part}/{alphabet}/character{character:02}/{number:04}_{row % 20:02}.png"
                archive.writestr(name, drawn(large[first + row]))
        files[f"images_{part}.zip"] = buffer.getvalue()
    publish("omniglot", files)
    dataset = of("omniglot")
    assert dataset.shape == (1, 105, 105)
    assert dataset.classes[:3] == ("Greek/character01", "Greek/character02", "Greek/character03")
    assert dataset.classes[6:] == (
        *("Kannada/character01", "Kannada/character02", "ULOG/character01", "ULOG/character02"),
    )
    assert set(dataset.test.labels.tolist()) == {6, 7, 8, 9}
    assert int(dataset.train.labels.max()) == 5
    # Sorted by name: Kannada's pictures are those of rows 0 to 9 and 20 to 29 after the first 60.
    wanted = np.concatenate([large[first : first + 10] for first in (60, 80, 70, 90)])
    assert (dataset.test.images()[:, 0].numpy() == wanted * np.uint8(255)).all()
    assert "made white on black" in dataset.notes[0]


def amat(images: np.ndarray) -> bytes:
    return "".join(" ".join("01"[int(pixel)] for pixel in image.reshape(-1)) + "\n" for image in images).encode()


def test_binarized_mnist(publish, of, pictures):
    ink = pictures > 127
    parts = {"train": ink[:60], "valid": ink[60:80], "test": ink[80:]}
    publish("binarized-mnist", {f"binarized_mnist_{part}.amat": amat(each) for part, each in parts.items()})
    dataset = of("binarized-mnist")
    assert [len(split) for split in dataset.splits().values()] == [60, 20, 20]
    assert (own(dataset)[0][:, 0] == ink * np.uint8(255)).all()
    assert dataset.train.labels is None
    assert dataset.notes == ()


@pytest.mark.parametrize("wrong", ["2", "\t", "00"])
def test_an_amat_of_something_else(publish, of, pictures, wrong):
    content = amat(pictures > 127).decode()
    files = {f"binarized_mnist_{part}.amat": content.encode() for part in ("train", "valid", "test")}
    files["binarized_mnist_valid.amat"] = (content[:2] + wrong + content[2 + len(wrong) :]).encode()
    publish("binarized-mnist", files)
    with pytest.raises(DataError, match=r"valid\.amat: holds other characters than 784 digits .*; delete it and fetch"):
        of("binarized-mnist")


def test_dsprites(publish, of, pictures):
    rows = np.arange(100)
    latents = np.stack([rows * 0, rows % 3, rows % 6, rows % 40, rows % 32, rows // 4], 1)
    ink = np.pad((pictures > 127).astype(np.uint8), ((0, 0), (18, 18), (18, 18)))
    content = npz(
        imgs=ink,
        latents_values=latents.astype(float),
        latents_classes=latents,
        metadata=np.array({"date": "April 2017"}, dtype=object),
    )
    (file,) = published.of("dsprites").files
    publish("dsprites", {file.name: content})
    dataset = of("dsprites")
    assert (own(dataset)[0][:, 0] == ink * 255).all()
    assert dataset.attributes == (
        "shape-square",
        "shape-ellipse",
        "shape-heart",
        *(f"scale-{n}" for n in range(6)),
    )
    rows, found = dataset.train.rows.numpy(), dataset.train.attributes.numpy()
    assert (found[:, :3].argmax(1) == rows % 3).all()
    assert (found[:, 3:].argmax(1) == rows % 6).all()
    assert (found.sum(1) == 2).all()
    assert [len(split) for split in dataset.splits().values()] == [80, 10, 10]


def tar_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"stl10_binary/{name}.bin")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(*files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, content in enumerate([png((105, 105), "1"), *files]):
            archive.writestr(f"images/Latin/character01/0001_{number:02}.png", content)
    return buffer.getvalue()


def png(size: tuple[int, int], mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("usps", bz2.compress(b"1 1:0.5 257:1"), "holds other pixels than 256 of -1 to 1"),
        ("usps", bz2.compress(b"1 0:0.5"), "holds other pixels"),
        ("usps", bz2.compress(b"11 1:0.5"), "other classes than 1 to 10"),
        ("usps", bz2.compress(b"1 1:nan"), "holds other pixels"),
        ("usps", bz2.compress(b"1 1:inf"), "holds other pixels"),
        ("usps", bz2.compress(b"1 1"), "ValueError|reshape"),
        ("usps", bz2.compress(b"one 1:1"), "could not convert"),
        ("usps", bz2.compress(b""), "need at least one array"),
        ("usps", b"1 1:0.5", "Invalid data stream"),
        ("usps", bz2.compress(b"1 1:0.5 " * 99)[:-9], "ended before|EOF"),
        ("stl10", b"", "not a gzip file"),
        ("stl10", tar_of(train_X=bytes(27648)), "has no train_y.bin"),
        ("stl10", tar_of(train_y=bytes(10), test_y=bytes(2)), "has no train_X.bin"),
        ("stl10", tar_of(train_X=bytes(99999), train_y=bytes(4), test_X=bytes(30000), test_y=bytes(2)), "make it 3"),
        ("stl10", tar_of(train_X=np.random.default_rng(0).bytes(90000))[:-300], "ended before|unexpected end"),
        ("omniglot", b"", "not a zip file"),
        ("omniglot", npz(images=np.zeros(9)), "it holds no images"),
        ("omniglot", zip_of(png((105, 104), "1")), "isn't a picture of 105x105 in black and white"),
        ("omniglot", zip_of(png((105, 105), "L")), "isn't a picture of 105x105 in black and white"),
        ("omniglot", zip_of(png((105, 105), "1")[:45]), "trunca|cannot identify"),
        ("omniglot", zip_of(b"no picture"), "cannot identify"),
        ("binarized-mnist", b"0 1\n", "its lines aren't 1,568 bytes long"),
        ("binarized-mnist", b"", "."),
        (
            "bloodmnist",
            npz(images=np.zeros((9, 28, 28), np.uint8)),
            "holds no train_images, as the published file does",
        ),
        ("olivetti", matlab(faces=np.zeros((99, 9))), "cannot reshape"),
        ("olivetti", matlab(people=np.zeros((99, 9))), "holds no faces, as the published file does"),
        ("kmnist49", npz(arr_0=np.zeros((9, 28, 28), np.uint8)), "."),
    ],
)
def test_what_is_published_may_be_anything(publish, of, name, content, said):
    """As it would be if a sum in the table were that of another file: one line that names the file."""
    publish(name, {each.name: content for each in published.of(name).files})
    with pytest.raises(DataError, match=said) as caught:
        of(name)
    assert str(caught.value).startswith("/")
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def blood(publish, pictures) -> bytes:
    content = medmnist_of(pictures, np.arange(100, dtype=np.uint8)[:, None] % 8)
    publish("bloodmnist", {"bloodmnist.npz": content})
    return content


def test_fetched_once_and_checked(blood, home, of, mirrors, files_in):
    assert missing(_options("bloodmnist")).fetched
    (path,) = fetch("bloodmnist")
    assert path == home / "medmnist" / "bloodmnist.npz"
    assert path.read_bytes() == blood
    assert path.stat().st_mode & 0o777 == 0o444
    assert mirrors.asked == ["/first/bloodmnist.npz", "/second/bloodmnist.npz"]
    assert missing(_options("bloodmnist")) is None
    assert fetch("bloodmnist") == [path]
    of("bloodmnist")
    assert len(mirrors.asked) == 2
    path.unlink()
    assert len(of("bloodmnist").test) == 20, "the pack is enough"
    assert files_in(home)[0].startswith("packed/")


def _options(name: str):
    from genkit.data import DataOptions

    return DataOptions(dataset=name)


def test_a_file_that_lies_there_already(blood, home, of, mirrors, files_in):
    folder = home / "medmnist"
    folder.mkdir(parents=True)
    (folder / "bloodmnist.npz").write_bytes(blood)
    assert len(of("bloodmnist").test) == 20
    assert mirrors.asked == []


def test_files_that_another_library_has_fetched(publish, blood, home, of, mirrors, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    changed = dataclasses.replace(published.of("bloodmnist"), elsewhere=("~/.medmnist",))
    monkeypatch.setitem(table.SETS, "bloodmnist", changed)
    (tmp_path / ".medmnist").mkdir()
    (tmp_path / ".medmnist" / "bloodmnist.npz").write_bytes(blood)
    assert fetch("bloodmnist") == [tmp_path / ".medmnist" / "bloodmnist.npz"]
    assert mirrors.asked == []


@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "a page"])
def test_a_file_that_isnt_the_published_one(blood, home, of, how):
    damaged = {
        "flipped": blood[:-1] + bytes([blood[-1] ^ 1]),
        "cut": blood[:-10],
        "longer": blood + b"\0",
        "a page": b"<!DOCTYPE html><html></html>",
    }[how]
    path = home / "medmnist" / "bloodmnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(damaged)
    for attempt in (of, fetch):
        with pytest.raises(DataError) as caught:
            attempt("bloodmnist")
        assert str(caught.value) == (
            f"{path}: not the published file (wrong MD5); delete it and run `genkit data fetch bloodmnist`"
        )
    findings = verify("bloodmnist")
    assert findings.problems == [str(caught.value)]


def test_offline_names_each_file_and_its_place(publish, home, of, monkeypatch, mirrors, pictures):
    monkeypatch.setenv("GENKIT_OFFLINE", "1")
    with pytest.raises(DataError) as caught:
        of("pneumoniamnist")
    assert str(caught.value) == (
        "pneumoniamnist: pneumoniamnist.npz is missing and GENKIT_OFFLINE is set; unset it, or put "
        "https://zenodo.org/records/10519652/files/pneumoniamnist.npz?download=1 (as pneumoniamnist.npz) into "
        f"{home}/medmnist"
    )
    with pytest.raises(DataError, match=r"usps\.bz2 and usps\.t\.bz2 are missing .* put http.*usps\.bz2 and h.*/usps"):
        of("usps")
    found = missing(_options("pneumoniamnist"))
    assert not found.fetched
    assert found.what.startswith("pneumoniamnist: pneumoniamnist.npz is not here")


def test_verify_reads_all_anew(blood, of):
    with pytest.raises(DataError, match=r"bloodmnist\.npz of bloodmnist isn't here; run `genkit data fetch "):
        verify("bloodmnist")
    of("bloodmnist")
    findings = verify("bloodmnist")
    assert findings.ok
    assert (findings.files, findings.images) == (1, 100)
    assert hashlib.sha256(blood).hexdigest() in findings.sums.values()
    assert any("packed" in file for file in findings.sums)


@pytest.mark.parametrize("name", ["mnist", "bloodmnist", "faces"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"images": "x"}, "--images: of {} that is known; leave it out"),
        ({"labels": "none", "white_level": "4095"}, "--labels and --white-level: of {} that is known; leave them out"),
        ({"transpose": True}, "--transpose"),
        ({"pages": "all"}, "--pages"),
    ],
)
def test_options_that_say_what_a_file_means_are_refused(of, name, given, said):
    with pytest.raises(UsageError, match=said.format(name)):
        of(name, **given)


@pytest.mark.parametrize(
    ("name", "parts"), [("emnist", "emnist-byclass, emnist-"), ("medmnist", "pathmnist, chestmnist")]
)
def test_a_name_for_several_sets(name, parts):
    with pytest.raises(UsageError, match=f"; {name} comes as {parts}"):
        fetch(name)


def test_resized(blood, of):
    assert of("bloodmnist", image_size=16, channels=3).shape == (3, 16, 16)


# ---------------------------------------------------------------------------------------------------------------------
# CelebA
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def faces(publish, pictures) -> dict[str, bytes]:
    """CelebA's three files, of 30 pictures of 178x218."""
    buffer = io.BytesIO()
    names = [f"{number:06}.jpg" for number in range(1, 31)]
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("img_align_celeba/", b"")
        for name, picture in zip(names, pictures, strict=False):
            jpeg = io.BytesIO()
            Image.fromarray(picture).resize((178, 218)).convert("RGB").save(jpeg, "JPEG")
            archive.writestr(f"img_align_celeba/{name}", jpeg.getvalue())
    rows = [f"{name} {'-1  1' if number % 3 else ' 1 -1'}" for number, name in enumerate(names)]
    parts = [f"{name} {0 if number < 20 else 1 if number < 25 else 2}" for number, name in enumerate(names)]
    files = {
        "img_align_celeba.zip": buffer.getvalue(),
        "list_attr_celeba.txt": ("\n".join(["30", "Male Wearing_Hat", *rows]) + "\n").encode(),
        "list_eval_partition.txt": ("\n".join(parts) + "\n").encode(),
    }
    publish("celeba", files)
    return files


def check_faces(dataset: Dataset, files: dict[str, bytes]) -> None:
    assert dataset.shape == (3, 218, 178)
    assert [len(split) for split in dataset.splits().values()] == [20, 5, 5]
    assert dataset.attributes == ("male", "wearing-hat")
    assert dataset.test.attributes.tolist() == [[number % 3 == 0, number % 3 != 0] for number in range(25, 30)]
    with zipfile.ZipFile(io.BytesIO(files["img_align_celeba.zip"])) as archive:
        last = archive.read("img_align_celeba/000030.jpg")
    with Image.open(io.BytesIO(last)) as picture:
        assert (dataset.test.images()[-1].numpy() == np.asarray(picture).transpose(2, 0, 1)).all()


def test_celeba_as_it_comes(faces, home, of, mirrors):
    (home / "celeba").mkdir(parents=True)
    for name, content in faces.items():
        (home / "celeba" / name).write_bytes(content)
    check_faces(of("celeba"), faces)
    assert len(fetch("celeba")) == 3
    assert missing(_options("celeba")) is None
    findings = verify("celeba")
    assert findings.ok
    assert (findings.files, findings.images) == (3, 30)
    assert mirrors.asked == []
    (home / "celeba" / "list_eval_partition.txt").write_bytes(faces["list_eval_partition.txt"].replace(b" 2", b" 1"))
    assert not verify("celeba").ok


@pytest.mark.parametrize("unpacked", [False, True])
def test_celeba_of_faces_that_are_otherwise_than_the_first(publish, home, of, pictures, unpacked):
    """That the first didn't say how all are read is known when it is begun again."""
    names = [f"{number:06}.jpg" for number in range(1, 81)]
    (home / "celeba" / "img_align_celeba").mkdir(parents=True)
    for number, (name, picture) in enumerate(zip(names, pictures, strict=False)):
        mode = "RGB" if number > 70 else "L"
        Image.fromarray(picture).convert(mode).save(home / "celeba" / "img_align_celeba" / name)
    shutil.make_archive(str(home / "celeba" / "img_align_celeba"), "zip", home / "celeba", "img_align_celeba")
    parts = "".join(f"{name} 0\n" for name in names[:-2]) + f"{names[-2]} 1\n{names[-1]} 2\n"
    files = {
        "img_align_celeba.zip": (home / "celeba" / "img_align_celeba.zip").read_bytes(),
        "list_attr_celeba.txt": ("\n".join(["80", "Male", *(f"{name} 1" for name in names)]) + "\n").encode(),
        "list_eval_partition.txt": parts.encode(),
    }
    publish("celeba", files)
    for name, content in files.items():
        (home / "celeba" / name).write_bytes(content)
    if unpacked:
        (home / "celeba" / "img_align_celeba.zip").unlink()
    assert of("celeba").shape == (3, 28, 28)


def test_celeba_unpacked(faces, home, of):
    (home / "celeba").mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(faces["img_align_celeba.zip"])) as archive:
        archive.extractall(home / "celeba")
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (home / "celeba" / name).write_bytes(faces[name])
    dataset = of("celeba")
    check_faces(dataset, faces)
    assert dataset.name == "celeba"
    assert fetch("celeba")[0] == home / "celeba" / "img_align_celeba"
    assert missing(_options("celeba")) is None
    findings = verify("celeba")
    assert findings.ok
    assert (findings.files, findings.images) == (32, 30)
    picture = home / "celeba" / "img_align_celeba" / "000030.jpg"
    before = picture.stat()
    content = bytearray(picture.read_bytes())
    content[-20] ^= 1
    picture.write_bytes(content)
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [f"{picture}: has changed since it was packed" in line for line in verify("celeba").problems] == [True]
    picture.write_bytes((home / "celeba" / "img_align_celeba" / "000001.jpg").read_bytes())
    again = of("celeba")
    assert not torch.equal(again.test.images()[-1], dataset.test.images()[-1]), "packed anew"
    (home / "celeba" / "list_eval_partition.txt").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"list_eval_partition\.txt: 14 bytes, where 390 were published; delete it and"):
        of("celeba")


def test_celeba_says_what_is_left_out(faces, home, of, caplog):
    (home / "celeba").mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(faces["img_align_celeba.zip"])) as archive:
        archive.extractall(home / "celeba")
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (home / "celeba" / name).write_bytes(faces[name])
    bad = home / "celeba" / "img_align_celeba" / "000003.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    for _ in ("packed", "from the pack"):
        caplog.clear()
        assert len(of("celeba", skip_bad=1).train) == 19
        assert any(str(bad) in message for message in caplog.messages)
    with pytest.raises(DataError, match=r"000003\.jpg"):
        of("celeba")


def test_celeba_is_asked_for(faces, home, of):
    (home / "celeba").mkdir(parents=True)
    (home / "celeba" / "list_attr_celeba.txt").write_bytes(faces["list_attr_celeba.txt"])
    for attempt in (of, fetch, verify):
        with pytest.raises(DataError) as caught:
            attempt("celeba")
        assert str(caught.value) == (
            "celeba: img_align_celeba.zip and list_eval_partition.txt are not here, and no program may fetch them; "
            "download them from http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (Align&Cropped Images, Anno, Eval) "
            f"into {home}/celeba as they come; the archive may be unpacked there, and the folder be a link"
        )
    assert not missing(_options("celeba")).fetched
