"""What holds no images is called what it is, and what helps is said."""

from __future__ import annotations

import pickle
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from genkit.data import DataOptions
from genkit.data.forms import opened
from genkit.errors import DataError

IMAGES = np.zeros((10, 28, 28), np.uint8)


def sqlite(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("create table images (content blob)")
    database.commit()
    database.close()


def tfrecord(path: Path) -> None:
    """A record of six bytes; the sums are those that TensorFlow writes."""
    path.write_bytes(struct.pack("<QI", 6, 0x37D56973) + b"record" + bytes(4))


FILES = {
    "a.html": (b"\n<!DOCTYPE html><html>", "a web page, perhaps the one that a download ends at when it fails"),
    "a.npz": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "an XML document, perhaps",
    ),
    "a.zip": (b'{"error": "quota exceeded"}', "what a server says when it fails; download it again"),
    "a.tex": (b"\\documentclass{article}", "a LaTeX document"),
    "a.parquet": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
        "a pointer to a file in Git LFS, and not the file; fetch it with `git lfs pull`",
    ),
    "b.npy": (b"", "empty; copy or download it again"),
    "a.pkl": (pickle.dumps({"x": IMAGES}), "a pickle of Python objects, which can do anything when it is read"),
    "data_batch_1": (
        pickle.dumps({b"data": IMAGES}),
        "a pickle of Python objects, which can do anything when it is read, so",
    ),
    "a.rar": (b"Rar!\x1a\x07\x01\x00", "a RAR archive; unpack it, and give the folder"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive; unpack it, and give the folder"),
    "a.pt": (lambda path: torch.save({"x": torch.zeros(3)}, path), "a file of PyTorch's, a pickle of Python objects"),
    "a.pth": (
        lambda path: torch.save(torch.zeros(3), path, _use_new_zipfile_serialization=False),
        "a pickle of Python objects, which can do anything",
    ),
    "a.db": (sqlite, "a database of SQLite; write its images into a folder"),
    "data.mdb": (struct.pack("<4x4xQI", 0, 0xBEEFC0DE), "a database of LMDB"),
    "a.tfrecord": (tfrecord, "a TFRecord of TensorFlow's"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_data(name, tmp_path):
    content, what = FILES[name]
    path = tmp_path / "set" / name
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(DataError) as error:
        opened(DataOptions(dataset=str(path)))
    assert str(error.value).startswith(f"{path}: is {what}")
    assert "; " in str(error.value)
    assert ("CIFAR-10 itself is `--dataset cifar10`" in str(error.value)) == (name == "data_batch_1")
    # Alone in a folder it is told likewise, but for texts, which lie anywhere
    if name not in ("a.html", "a.tex"):
        with pytest.raises(DataError) as error:
            opened(DataOptions(dataset=str(path.parent)))
        assert str(error.value).startswith(f"{path}: is {what}")


def test_tensorflows_sum():
    from genkit.data.forms.no_data import _is_tfrecord

    # A record of 0 bytes, as `tf.io.TFRecordWriter` writes it: its length, and the sum of that.
    assert _is_tfrecord(bytes(8) + bytes.fromhex("29039807"))
    assert not _is_tfrecord(bytes(8) + bytes.fromhex("29039808"))
