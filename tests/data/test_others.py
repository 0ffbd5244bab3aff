"""Folders and archives of files that are no pictures: which of them are the data, and do they belong together?"""

from __future__ import annotations

import gzip
import io
import logging
import struct
from pathlib import Path

import datasets
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from PIL import Image

from genkit.data import DataOptions
from genkit.data.forms import opened
from genkit.errors import DataError


def idx(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(">u1").tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def encoded(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


def shard(path: Path, pictures: np.ndarray, first: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"image": {"bytes": encoded(each), "path": None}, "label": (first + at) // 10}
        for at, each in enumerate(pictures)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def counts(path: Path, **options: object) -> list[int]:
    source = opened(DataOptions(dataset=str(path), **options))
    if source.parts is None:
        return [source.count]
    return np.bincount(source.parts, minlength=3).tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of its own: the packs lie in `tmp_path`."""
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


LABELS = np.arange(100) // 10


def test_a_pointer_beside_data_is_missed(folder, pictures):
    """Without it, its split would be held out of the other."""
    np.savez(folder / "train.npz", images=pictures, labels=LABELS)
    (folder / "test.npz").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(DataError, match=r"test\.npz: is a pointer to a file in Git LFS"):
        opened(DataOptions(dataset=str(folder)))
    (folder / "test.npz").rename(folder / "notes")
    assert counts(folder) == [100]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_folder_of_idx_files(ending, of, pictures, folder):
    folder = folder / "digits" / "raw"
    for part, rows in (("train", slice(80)), ("t10k", slice(80, None))):
        idx(folder / f"{part}-images-idx3-ubyte{ending}", pictures[rows])
        idx(folder / f"{part}-labels-idx1-ubyte{ending}", LABELS[rows])
    for path in (folder, folder.parent):
        dataset = of(path)
        assert counts(path) == [80, 0, 20]
        assert (dataset.test.images()[:, 0].numpy() == pictures[80:]).all()
        assert dataset.test.labels.tolist() == LABELS[80:].tolist()


def test_a_folder_of_npy_files(of, pictures, folder):
    for part, rows in (("train", slice(80)), ("test", slice(80, None))):
        np.save(folder / f"x_{part}.npy", pictures[rows])
        np.save(folder / f"y_{part}.npy", LABELS[rows])
    dataset = of(folder)
    assert counts(folder) == [80, 0, 20]
    assert (dataset.test.images()[:, 0].numpy() == pictures[80:]).all()
    assert dataset.test.labels.tolist() == LABELS[80:].tolist()


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"),
        (
            "data/train-00000-of-00002-0123456789abcdef.parquet",
            "data/train-00001-of-00002-fedcba9876543210.parquet",
            "data/test-00000-of-00001-00112233445566aa.parquet",
        ),
        ("default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"),
    ],
)
def test_shards_as_hugging_face_repositories_have_them(names, of, pictures, folder):
    for number, (name, rows) in enumerate(zip(names, (slice(40), slice(40, 80), slice(80, None)), strict=True)):
        shard(folder / name, pictures[rows], first=(0, 40, 80)[number])
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "dataset_infos.json").write_text("{}")
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
    dataset = of(folder)
    assert counts(folder) == [80, 0, 20]
    assert (dataset.test.images()[:, 0].numpy() == pictures[80:]).all()
    assert (dataset.train.storage[:80, 0].numpy() == pictures[:80]).all()


def test_a_logo_beside_shards(of, pictures, folder, caplog):
    shard(folder / "data" / "train-00000-of-00001.parquet", pictures)
    (folder / "assets").mkdir()
    (folder / "assets" / "logo.png").write_bytes(encoded(pictures[0]))
    with caplog.at_level(logging.WARNING, "genkit"):
        dataset = of(folder)
    assert len(dataset.train.storage) == 100
    assert any("assets/logo.png" in message for message in caplog.messages)


def test_what_datasets_saves(of, pictures, folder):
    parts = {
        name: datasets.Dataset.from_dict(
            {"image": [Image.fromarray(each) for each in pictures[rows]], "label": LABELS[rows].tolist()}
        )
        for name, rows in (("train", slice(80)), ("test", slice(80, None)))
    }
    datasets.DatasetDict(parts).save_to_disk(folder / "saved")
    assert counts(folder / "saved") == [80, 0, 20]
    dataset = of(folder / "saved")
    assert (dataset.test.images()[:, 0].numpy() == pictures[80:]).all()


def test_several_sets_are_refused(pictures, folder):
    for name in ("cropped", "full"):
        shard(folder / name / "train" / "0000.parquet", pictures)
    with pytest.raises(DataError) as error:
        opened(DataOptions(dataset=str(folder)))
    assert str(error.value) == (
        f"{folder}: holds several sets (cropped/, full/); name one of them, as {folder}/cropped"
    )
    assert counts(folder / "cropped") == [100]
    for name in ("bloodmnist", "pathmnist"):
        np.savez(folder / "cropped" / f"{name}.npz", train_images=pictures)
    (folder / "cropped" / "train" / "0000.parquet").unlink()
    with pytest.raises(DataError, match=r"several sets \(bloodmnist.npz, pathmnist.npz\); name one of them, as .*bl"):
        opened(DataOptions(dataset=str(folder / "cropped")))


def test_files_of_several_forms_are_refused(pictures, folder):
    np.save(folder / "a.npy", pictures)
    shard(folder / "b.parquet", pictures)
    with pytest.raises(DataError) as error:
        opened(DataOptions(dataset=str(folder)))
    assert str(error.value) == (
        f"{folder}: holds data of several forms (a.npy, b.parquet); name one of them, as {folder}/a.npy"
    )


def test_labels_in_files_of_their_own(pictures, folder):
    """As PatchCamelyon has them."""
    for part, rows in (("train", slice(60)), ("valid", slice(60, 80)), ("test", slice(80, None))):
        for name, values in (("x", pictures), ("y", LABELS.reshape(-1, 1, 1, 1))):
            with h5py.File(folder / f"camelyonpatch_level_2_split_{part}_{name}.h5", "w") as file:
                file[name] = values[rows]
    assert counts(folder) == [60, 20, 20]
    assert len(opened(DataOptions(dataset=str(folder))).classes) == 10


def test_what_is_neither_train_nor_test_is_left_out(pictures, folder):
    for part in ("train", "test", "extra"):
        scipy.io.savemat(folder / f"{part}_32x32.mat", {"X": pictures.transpose(1, 2, 0), "y": LABELS[:, None]})
    source = opened(DataOptions(dataset=str(folder)))
    assert source.left_out == {".mat": 1}
    assert source.warnings == ["extra_32x32.mat: neither train, val nor test by the name; left out"]
    assert counts(folder) == [100, 0, 100]


def test_a_file_beside_what_it_was_made_of(pictures, folder):
    for ending in ("", ".gz"):
        idx(folder / f"train-images-idx3-ubyte{ending}", pictures)
        idx(folder / f"train-labels-idx1-ubyte{ending}", LABELS)
    source = opened(DataOptions(dataset=str(folder)))
    assert source.count == 100
    assert source.left_out == {".gz": 2}


@pytest.mark.parametrize("names", [("x.h5", "y.h5"), ("level_2_test_x.h5", "level_2_test_y.h5")])
def test_images_and_labels_of_one_set_in_a_file_each(names, of, pictures, folder):
    for name, member, array in zip(names, "xy", (pictures, np.arange(100) // 10), strict=True):
        with h5py.File(folder / name, "w") as file:
            file[member] = array
    dataset = of(folder)
    for split in dataset.splits().values():
        assert (split.labels.numpy() == split.rows.numpy() // 10).all()
    assert sum(map(len, dataset.splits().values())) == 100
