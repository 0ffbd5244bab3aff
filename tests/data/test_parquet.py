"""Parquet and Arrow: what `datasets` and plain pyarrow write is read, and what can't be understood is said."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from genkit.data import DataOptions, forms, pack, verify
from genkit.data.dataset import Dataset, Split
from genkit.data.forms.columns import MAX_REPEATED, ArrowShard, ParquetShard, page_of
from genkit.data.forms.places import Folder
from genkit.errors import DataError

#: Ten pictures a class, in the order of the classes.
LABELS = np.arange(100) // 10
NAMES = [f"digit {number}" for number in range(10)]
PNG = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(scope="session")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The library `datasets`, which keeps its files in a folder of its own and asks nobody."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hugging-face")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        import datasets

        datasets.disable_progress_bars()
        return datasets


def encoded(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


def write(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None, **options: Any) -> Path:
    """A Parquet file of these columns, with what `datasets` says of them in its metadata."""
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def columns_of(pictures: np.ndarray, **more: Any) -> dict[str, Any]:
    rows = [{"bytes": encoded(picture), "path": f"{number}.png"} for number, picture in enumerate(pictures)]
    return {"image": pa.array(rows, PNG), **more}


def everything(dataset: Dataset) -> np.ndarray:
    """All images, in the order of the source."""
    return dataset.train.storage.numpy()


def labels_in_order(dataset: Dataset) -> np.ndarray:
    """All labels, in the same order."""
    labels = np.full(len(dataset.train.storage), -1)
    for split in dataset.splits().values():
        assert split.labels is not None
        labels[split.rows.numpy()] = split.labels.numpy()
    return labels


def holds(split: Split, pictures: np.ndarray) -> bool:
    """Whether these are a split's images, in whatever order."""
    found = {image.tobytes() for image in split.images().numpy()}
    return found == {picture.tobytes() for picture in pictures} and len(split) == len(pictures)


# ---------------------------------------------------------------------------------------------------------------------
# What `datasets` writes
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def digits_of(hugging_face: ModuleType, pictures: np.ndarray) -> Any:
    """Some of the pictures as a `datasets.Dataset`."""
    features = hugging_face.Features(
        {
            "image": hugging_face.Image(),
            "label": hugging_face.ClassLabel(names=NAMES),
            "tags": hugging_face.Sequence(hugging_face.ClassLabel(names=["Round", "even"])),
            "text": hugging_face.Value("string"),
        }
    )

    def make(rows: np.ndarray) -> Any:
        columns = {
            "image": [Image.fromarray(picture) for picture in pictures[rows]],
            "label": LABELS[rows].tolist(),
            "tags": [[0] * (label in (0, 6, 8, 9)) + [1] * (label % 2 == 0) for label in LABELS[rows].tolist()],
            "text": ["a digit"] * len(rows),
        }
        return hugging_face.Dataset.from_dict(columns, features=features)

    return make


def assert_is_digits(dataset: Dataset, pictures: np.ndarray) -> None:
    assert (everything(dataset)[:, 0] == pictures).all()
    assert dataset.classes == tuple(NAMES)
    assert (labels_in_order(dataset) == LABELS).all()
    assert dataset.attributes == ("round", "even")
    for split in dataset.splits().values():
        assert split.labels is not None
        assert split.attributes is not None
        assert (split.attributes[:, 1].numpy() == (split.labels.numpy() % 2 == 0)).all()
        assert (split.attributes[:, 0].numpy() == np.isin(split.labels.numpy(), (0, 6, 8, 9))).all()


def test_what_datasets_writes_as_parquet(of, tmp_path, pictures, digits_of, caplog):
    path = tmp_path / "digits.parquet"
    digits_of(np.arange(100)).to_parquet(path)
    with caplog.at_level(logging.INFO):
        dataset = of(path)
    assert_is_digits(dataset, pictures)
    assert f"{path}: images are image, labels are label (10 classes), attributes are tags" in caplog.messages
    assert f"{path}: not used: text" in caplog.messages


def test_shards_in_splits_as_on_the_hub(of, tmp_path, pictures, digits_of):
    train, test = np.flatnonzero(np.arange(100) % 5), np.arange(0, 100, 5)
    digits = digits_of(train)
    (tmp_path / "hub/data").mkdir(parents=True)
    for number in range(2):
        shard = digits.shard(2, number, contiguous=True)
        shard.to_parquet(tmp_path / f"hub/data/train-0000{number}-of-00002.parquet")
    digits_of(test).to_parquet(tmp_path / "hub/data/test-00000-of-00001.parquet")
    dataset = of(tmp_path / "hub")
    assert holds(dataset.test, pictures[test])
    assert len(dataset.train) + len(dataset.val) == len(train)
    assert (everything(dataset)[:, 0] == pictures[[*train, *test]]).all()
    assert (labels_in_order(dataset) == LABELS[[*train, *test]]).all()


def test_what_datasets_saves_to_disk(of, tmp_path, pictures, digits_of, hugging_face):
    train, test = np.flatnonzero(np.arange(100) % 5), np.arange(0, 100, 5)
    whole = hugging_face.DatasetDict(train=digits_of(train), test=digits_of(test))
    whole.save_to_disk(tmp_path / "disk", num_shards={"train": 3, "test": 1})
    dataset = of(tmp_path / "disk")
    assert holds(dataset.test, pictures[test])
    assert (everything(dataset)[:, 0] == pictures[[*train, *test]]).all()
    assert (labels_in_order(dataset) == LABELS[[*train, *test]]).all()
    digits_of(np.arange(100)).save_to_disk(tmp_path / "whole")
    assert_is_digits(of(tmp_path / "whole"), pictures)


@pytest.mark.parametrize("way", ["parquet", "disk"])
def test_arrays_of_datasets(of, tmp_path, pictures, hugging_face, way):
    features = {"image": hugging_face.Array2D((28, 28), "uint8"), "label": hugging_face.ClassLabel(names=NAMES)}
    columns = {"image": pictures, "label": LABELS.tolist()}
    arrays = hugging_face.Dataset.from_dict(columns, features=hugging_face.Features(features))
    path = tmp_path / way
    arrays.to_parquet(path) if way == "parquet" else arrays.save_to_disk(path)
    dataset = of(path)
    assert (everything(dataset)[:, 0] == pictures).all()
    assert dataset.classes == tuple(NAMES)
    assert (labels_in_order(dataset) == LABELS).all()


# ---------------------------------------------------------------------------------------------------------------------
# Plain tables
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_a_plain_column_of_bytes(of, tmp_path, pictures, compression):
    columns = {"row": np.arange(100), "blob": [encoded(picture) for picture in pictures], "label": LABELS}
    path = write(tmp_path / "plain.parquet", columns, compression=compression, row_group_size=30)
    dataset = of(path)
    assert (everything(dataset)[:, 0] == pictures).all()
    assert dataset.classes == tuple(map(str, range(10)))
    assert (labels_in_order(dataset) == LABELS).all()


@pytest.mark.parametrize("labels", ["words", "dictionary", "floats"])
def test_labels_of_other_types(of, tmp_path, pictures, labels):
    words = pa.array([f"class {number}" for number in LABELS])
    column = {"words": words, "dictionary": words.dictionary_encode(), "floats": pa.array(LABELS.astype(float))}[labels]
    dataset = of(write(tmp_path / "plain.parquet", columns_of(pictures, label=column)))
    assert dataset.classes == tuple(f"{'' if labels == 'floats' else 'class '}{number}" for number in range(10))
    assert (labels_in_order(dataset) == LABELS).all()


@pytest.mark.parametrize("kind", [pa.list_(pa.list_(pa.uint8())), pa.list_(pa.list_(pa.float32(), 28), 28)], ids=str)
def test_pixels_in_nested_lists(of, tmp_path, pictures, kind):
    values = pictures / 255 if "float" in str(kind) else pictures
    dataset = of(write(tmp_path / "lists.parquet", {"pixels": pa.array(values.tolist(), kind), "y": LABELS}))
    assert (everything(dataset)[:, 0] == pictures).all()
    assert (labels_in_order(dataset) == LABELS).all()


def test_files_that_a_column_names(of, tmp_path, pictures):
    (tmp_path / "set/images").mkdir(parents=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"set/images/{number}.png")
    names = [f"images/{number}.png" for number in range(100)]
    path = write(tmp_path / "set/list.parquet", {"file_name": names, "label": LABELS})
    assert (everything(of(path))[:, 0] == pictures).all()


@pytest.mark.parametrize("bytes_too", [False, True])
def test_a_file_that_a_column_names_has_changed(of, tmp_path, pictures, bytes_too):
    for number, picture in enumerate(pictures):
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / f"set/{number}.png")
    rows = columns_of(pictures)["image"].to_pylist()
    rows[7]["bytes"] = None
    columns = {"image": pa.array(rows, PNG)} if bytes_too else {"file_name": [row["path"] for row in rows]}
    path = write(tmp_path / "set/list.parquet", columns)
    assert (everything(of(path))[:, 0] == pictures).all()
    Image.fromarray(255 - pictures[7]).save(tmp_path / "set/7.png")
    assert (everything(of(path))[7, 0] == 255 - pictures[7]).all()


def test_files_elsewhere_are_never_opened(of, tmp_path, pictures):
    outside = tmp_path / "outside.png"
    Image.fromarray(pictures[0]).save(outside)
    for name in (str(outside), "../outside.png", "images/../../outside.png"):
        path = write(tmp_path / "set/list.parquet", {"file_name": [name] * 100, "label": LABELS})
        with pytest.raises(DataError, match=r"has only the paths of its pictures, such as .*outside\.png") as caught:
            of(path)
        assert "\n" not in str(caught.value)
    columns = columns_of(pictures)
    columns["image"] = pa.array([*columns["image"].to_pylist()[:99], {"bytes": None, "path": str(outside)}], PNG)
    with pytest.raises(DataError, match=re.escape(f"row 99 ({outside}) has only a path, which leads out of")):
        of(write(tmp_path / "set/mixed.parquet", columns))


def test_attributes_of_yes_and_no(of, tmp_path, pictures):
    dataset = of(write(tmp_path / "plain.parquet", columns_of(pictures, Is_Odd=LABELS % 2 == 1, label=LABELS)))
    assert dataset.attributes == ("is-odd",)
    assert dataset.train.attributes is not None
    assert dataset.train.labels is not None
    assert (dataset.train.attributes[:, 0] == (dataset.train.labels % 2 == 1)).all()


def test_a_test_split_without_labels_is_left_out(of, tmp_path, pictures, caplog):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES}}
    train, test = np.flatnonzero(np.arange(100) % 5), np.arange(0, 100, 5)
    write(tmp_path / "set/train.parquet", columns_of(pictures[train], label=LABELS[train]), features)
    write(tmp_path / "set/test.parquet", columns_of(pictures[test], label=np.full(20, -1)), features)
    dataset = of(tmp_path / "set")
    assert (everything(dataset)[:, 0] == pictures[train]).all()
    assert (labels_in_order(dataset) == LABELS[train]).all()
    assert f"{tmp_path / 'set'}: left out: 20 images of test without a label" in caplog.messages


def test_labels_that_nobody_knows_at_all(of, tmp_path, pictures):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES}}
    dataset = of(write(tmp_path / "test.parquet", columns_of(pictures, label=np.full(100, -1)), features))
    assert dataset.classes == ()
    assert len(everything(dataset)) == 100


def test_only_columns_that_are_used_are_read(of, tmp_path, pictures):
    """The bytes of another column are overwritten, which whoever reads it stumbles over."""
    path = write(
        tmp_path / "plain.parquet",
        columns_of(pictures, note=[f"note {number}" for number in range(100)], label=LABELS),
        compression="none",
        use_dictionary=False,
        write_page_checksum=True,
    )
    chunk = next(
        column
        for column in (pq.read_metadata(path).row_group(0).column(index) for index in range(4))
        if column.path_in_schema == "note"
    )
    content = bytearray(path.read_bytes())
    end = chunk.data_page_offset + chunk.total_compressed_size
    content[chunk.data_page_offset : end] = bytes(end - chunk.data_page_offset)
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"CRC|corrupt|[Tt]hrift"):
        pq.read_table(path)
    assert (everything(of(path))[:, 0] == pictures).all()


def test_missing_shards_are_told(of, tmp_path, pictures, caplog):
    of(write(tmp_path / "train-00001-of-00003.parquet", columns_of(pictures)))
    assert (
        f"{tmp_path / 'train-00001-of-00003.parquet'}: 1 of the 3 files train-…-of-00003, so that images are missing; "
        "give the folder to read all that are there" in caplog.messages
    )


# ---------------------------------------------------------------------------------------------------------------------
# Rows that are bad, and their names
# ---------------------------------------------------------------------------------------------------------------------


def test_bad_rows_are_named_or_left_out(of, tmp_path, pictures, caplog):
    columns = columns_of(pictures, label=LABELS)
    rows = columns["image"].to_pylist()
    rows[17], rows[42]["bytes"] = None, b"no picture"
    path = write(tmp_path / "train-00000-of-00001.parquet", {**columns, "image": pa.array(rows, PNG)})
    with pytest.raises(DataError) as caught:
        of(path)
    assert str(caught.value) == (
        f"{path}, row 17 has no picture (and 1 other bad file); mend or remove it, or leave bad files out with "
        f"--skip-bad 2 or more (`genkit data verify {path}` names them all)"
    )
    dataset = of(path, skip_bad=2)
    kept = np.delete(np.arange(100), [17, 42])
    assert (everything(dataset)[:, 0] == pictures[kept]).all()
    assert (labels_in_order(dataset) == LABELS[kept]).all()
    assert f"left out: {path}, row 42 (42.png) is no image, or of a format that isn't read" in caplog.messages
    assert forms.files_of(DataOptions(dataset=str(path), skip_bad=2))[17:19] == [
        f"{path.name}, row 18 (18.png)",
        f"{path.name}, row 19 (19.png)",
    ]
    findings = verify(DataOptions(dataset=str(path)))
    assert findings.images == 98
    assert len(findings.problems) == 2


def test_images_are_called_by_their_paths_where_they_have_some(of, tmp_path, pictures):
    path = write(tmp_path / "digits.parquet", columns_of(pictures))
    of(path)
    assert forms.files_of(DataOptions(dataset=str(path))) == [f"{number}.png" for number in range(100)]
    plain = write(tmp_path / "plain.parquet", {"image": [encoded(picture) for picture in pictures]})
    of(plain)
    assert forms.files_of(DataOptions(dataset=str(plain)))[99] == "plain.parquet, row 99"


# ---------------------------------------------------------------------------------------------------------------------
# What can't be understood
# ---------------------------------------------------------------------------------------------------------------------


def test_two_columns_of_images(of, tmp_path, pictures):
    turned = [encoded(picture.T) for picture in pictures]
    path = write(tmp_path / "two.parquet", {"image": [encoded(picture) for picture in pictures], "turned": turned})
    with pytest.raises(DataError) as caught:
        of(path)
    assert str(caught.value) == (f"{path}: 'image' and 'turned' may each be the images; choose with --images image")
    assert (everything(of(path, images="turned"))[:, 0] == pictures.transpose(0, 2, 1)).all()
    with pytest.raises(DataError, match="has no column 'other' for --images; it has 'image', 'turned'"):
        of(path, images="other")


def test_two_columns_of_labels(of, tmp_path, pictures):
    names = {"_type": "ClassLabel", "names": NAMES}
    features = {"image": {"_type": "Image"}, "fine_label": names, "coarse_label": names}
    path = write(tmp_path / "two.parquet", columns_of(pictures, fine_label=LABELS, coarse_label=LABELS // 2), features)
    with pytest.raises(DataError, match="'fine_label' and 'coarse_label' may each be the labels; choose with --labels"):
        of(path)
    assert (labels_in_order(of(path, labels="coarse_label")) == LABELS // 2).all()
    assert of(path, labels="none").classes == ()


def test_tables_without_images(of, tmp_path):
    path = write(tmp_path / "text.parquet", {"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(DataError) as caught:
        of(path)
    assert str(caught.value) == (
        f"{path}: none of its columns holds images ('text', 'label'); name the one that does with --images"
    )


def in_two_files(folder: Path, pictures: np.ndarray, names: list[list[str]], labels: list[np.ndarray]) -> Path:
    """Every other picture as train.parquet and test.parquet, whose schemas may name the classes otherwise."""
    for file, those, start in zip(("train", "test"), names, (0, 1), strict=True):
        said = {"_type": "ClassLabel", "names": those} if those else {"_type": "Value", "dtype": "int64"}
        features = {"image": {"_type": "Image"}, "label": said}
        write(folder / f"{file}.parquet", columns_of(pictures[start::2], label=labels[start][start::2]), features)
    return folder


def test_files_that_number_their_classes_otherwise(of, tmp_path, pictures):
    backwards = in_two_files(tmp_path / "backwards", pictures, [NAMES, NAMES[::-1]], [LABELS, 9 - LABELS])
    dataset = of(backwards)
    assert dataset.classes == tuple(NAMES)
    assert (labels_in_order(dataset) == [*LABELS[::2], *LABELS[1::2]]).all()
    more = ["another", *NAMES]
    dataset = of(in_two_files(tmp_path / "more", pictures, [NAMES, more], [LABELS, LABELS + 1]))
    assert dataset.classes == (*NAMES, "another")
    assert (labels_in_order(dataset) == [*LABELS[::2], *LABELS[1::2]]).all()


def test_files_whose_classes_cannot_be_matched(of, tmp_path, pictures):
    folder = in_two_files(tmp_path / "bare", pictures, [NAMES, []], [LABELS, LABELS])
    with pytest.raises(DataError) as caught:
        of(folder)
    assert str(caught.value) == (
        f"{folder}/test.parquet: 'label' doesn't say which classes its numbers stand for, where other files have other "
        "names; save all with the same names"
    )
    twice = in_two_files(tmp_path / "twice", pictures, [NAMES, [*NAMES[1:], NAMES[1]]], [LABELS, LABELS])
    with pytest.raises(DataError, match=r"test\.parquet: 'label' gives two classes one name, where other files"):
        of(twice)
    unknown = in_two_files(tmp_path / "unknown", pictures, [NAMES, []], [LABELS, np.full(100, -1)])
    assert of(unknown).classes == tuple(NAMES)


def test_attributes_whose_classes_are_numbered_otherwise(of, tmp_path, pictures):
    for file, names, start in (("train", ["round", "even"], 0), ("test", ["even", "round"], 1)):
        feature = {"_type": "Sequence", "feature": {"_type": "ClassLabel", "names": names}}
        numbers = [[names.index("even")] if label % 2 == 0 else [] for label in LABELS[start::2]]
        columns = columns_of(pictures[start::2], label=LABELS[start::2], tags=pa.array(numbers, pa.list_(pa.int64())))
        write(tmp_path / f"set/{file}.parquet", columns, {"image": {"_type": "Image"}, "tags": feature})
    dataset = of(tmp_path / "set")
    assert dataset.attributes == ("round", "even")
    for split in dataset.splits().values():
        assert (split.attributes[:, 1] == (split.labels % 2 == 0)).all()
        assert not split.attributes[:, 0].any()


def test_a_label_before_the_pixels_of_each_list(of, tmp_path, pictures, caplog):
    rows = np.concatenate([LABELS[:, None], pictures.reshape(100, -1)], axis=1).astype(np.uint8).tolist()
    path = write(tmp_path / "lists.parquet", {"pixels": rows})
    with caplog.at_level(logging.INFO):
        dataset = of(path)
    assert f"{path}: the first column is taken for the labels" in caplog.messages
    assert (everything(dataset)[:, 0] == pictures).all()
    assert dataset.classes == tuple(map(str, range(10)))
    assert (labels_in_order(dataset) == LABELS).all()
    path = write(tmp_path / "both.parquet", {"pixels": rows, "label": LABELS})
    with pytest.raises(DataError) as caught:
        of(path)
    assert str(caught.value) == (
        f"{path}: 'pixels' begins with a number that may be a label, beside those in 'label'; save the pixels alone"
    )


def test_labels_beyond_their_names(of, tmp_path, pictures):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES[:5]}}
    path = write(tmp_path / "beyond.parquet", columns_of(pictures, label=LABELS), features)
    with pytest.raises(
        DataError, match="the numbers in 'label' go to 9, where its schema names 5 classes; save it again"
    ):
        of(path)


def test_lists_of_different_lengths(of, tmp_path, pictures):
    rows = pictures.reshape(100, -1).tolist()
    rows[70] = rows[70][:-1]
    path = write(tmp_path / "lists.parquet", {"pixels": rows})
    with pytest.raises(
        DataError, match="the lists in 'pixels' are missing or of different lengths within the rows from"
    ):
        of(path, image_size=28)


@pytest.mark.parametrize("cut", [10, 1000, -1000, -8])
def test_a_file_that_was_cut(of, tmp_path, pictures, cut):
    path = write(tmp_path / "cut.parquet", columns_of(pictures))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        of(path)
    assert len(str(caught.value).splitlines()) == 1


def test_more_rows_than_a_file_can_hold(of, tmp_path):
    path = tmp_path / "many.parquet"
    pq.write_table(pa.table({"image": pa.array(np.zeros(10_000_000, np.uint8)).cast("string")}), path)
    with pytest.raises(DataError, match=r"claims 10,000,000 rows in [0-9,]+ bytes; the file is damaged"):
        of(path)


def test_a_column_that_would_unpack_to_too_much(of, tmp_path):
    path = write(tmp_path / "bomb.parquet", {"image": [bytes(100 << 20)]}, compression="zstd", write_statistics=False)
    with pytest.raises(
        DataError, match=r"image claims 104,[0-9,]+ bytes, packed in [0-9,]+: damaged, or a decompression"
    ):
        of(path)


def test_without_pyarrow(of, tmp_path, pictures, monkeypatch):
    path = write(tmp_path / "digits.parquet", columns_of(pictures))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError) as caught:
        of(path)
    assert str(caught.value) == (
        f"{path}: Parquet is read by pyarrow, which isn't here; pip install 'latent-genkit[formats]'"
    )


# ---------------------------------------------------------------------------------------------------------------------
# One pass, or two
# ---------------------------------------------------------------------------------------------------------------------


def test_a_picture_unlike_the_first_ones(of, tmp_path, pictures, monkeypatch):
    """Beyond those that were looked at first: in colour, of another size, and of more bits."""
    again: list[str] = []
    write_pack = pack._write
    monkeypatch.setattr(pack, "_write", lambda *given: (again.append("written"), write_pack(*given)))
    rows = [encoded(picture) for picture in pictures]
    rows[90] = encoded(np.stack([pictures[90]] * 3, axis=-1))
    dataset = of(write(tmp_path / "colour.parquet", {"image": rows}))
    assert again == ["written", "written"]
    assert (everything(dataset) == pictures[:, None].repeat(3, 1)).all()
    rows[90] = encoded(pictures[90].astype(np.uint16) * 257)
    assert (everything(of(write(tmp_path / "deep.parquet", {"image": rows})))[:, 0] == pictures).all()
    rows[90] = encoded(pictures[90][4:])
    with pytest.raises(
        DataError, match=r"images of 2 sizes, most often 28x28 \(99\), 28x24 \(1\); give --image-size N"
    ):
        of(write(tmp_path / "sizes.parquet", {"image": rows}))


def test_the_sizes_of_pages(tmp_path, pictures):
    """Stepped over one after the other, pages fill the column to its last byte."""
    path = write(tmp_path / "pages.parquet", columns_of(pictures), compression="snappy", write_page_checksum=True)
    column = pq.read_metadata(path).row_group(0).column(0)
    place = min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
    end, unpacked = place + column.total_compressed_size, 0
    while place < end:
        page = page_of(path.read_bytes()[place:])
        place, unpacked = place + page.length + page.packed, unpacked + page.length + page.plain
    assert place == end
    assert unpacked == column.total_uncompressed_size


# ---------------------------------------------------------------------------------------------------------------------
# Files that hold much more than they take
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False, "column_encoding": {"image": "DELTA_BYTE_ARRAY"}}])
def test_one_large_value_in_many_rows_is_read_a_few_at_a_time(tmp_path, options):
    path = write(
        tmp_path / "same.parquet", {"image": [bytes(range(256)) * (1 << 12)] * 200}, store_schema=False, **options
    )
    assert path.stat().st_size < 3 << 20
    shard = ParquetShard(Folder(tmp_path), path.name)
    for rows in (None, 1 << 16):
        blocks = list(map(len, shard.blocks(["image"], rows)))
        assert sum(blocks) == 200
        assert max(blocks) <= MAX_REPEATED >> 20


def test_one_large_value_in_many_rows_of_an_arrow_file(tmp_path):
    value = pa.array([bytes(range(256)) * (1 << 12)])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int8()), value)
    path = write_arrow(tmp_path / "same.arrow", pa.table({"image": column}), rows=200)
    blocks = list(map(len, ArrowShard(Folder(tmp_path), path.name).blocks(["image"])))
    assert sum(blocks) == 200
    assert max(blocks) <= MAX_REPEATED >> 20


def test_a_long_run_of_one_number(of, tmp_path):
    """Its pages are small when they are unpacked, too: a number in them stands for many."""
    path = write(
        tmp_path / "run.parquet", {"pixels": pa.array([np.zeros(20_000_000, np.int32)] * 2)}, store_schema=False
    )
    with pytest.raises(
        DataError, match=r"claims 160,000,000 bytes, packed in [0-9,]+: damaged, or a decompression bomb"
    ):
        of(path)


def write_arrow(path: Path, table: pa.Table, file: bool = False, rows: int = 50, **options: Any) -> Path:
    options = {"options": pa.ipc.IpcWriteOptions(**options)}
    make = pa.ipc.new_file if file else pa.ipc.new_stream
    with make(str(path), table.schema, **options) as writer:
        writer.write_table(table, rows)
    return path


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("file", [False, True])
def test_compressed_arrow(of, tmp_path, pictures, compression, file):
    words = pa.array([f"class {number}" for number in LABELS]).dictionary_encode()
    table = pa.table(columns_of(pictures, label=words, note=["a digit"] * 100))
    dataset = of(write_arrow(tmp_path / "digits.arrow", table, file, compression=compression))
    assert (everything(dataset)[:, 0] == pictures).all()
    assert (labels_in_order(dataset) == LABELS).all()


@pytest.mark.parametrize("file", [False, True])
def test_compressed_arrow_that_would_unpack_to_too_much(of, tmp_path, pictures, file):
    """In a column that nobody uses as well."""
    notes = [bytes(100 << 20) if number == 60 else b"" for number in range(100)]
    table = pa.table(columns_of(pictures, note=notes))
    path = write_arrow(tmp_path / "bomb.arrow", table, file, compression="zstd")
    with pytest.raises(DataError, match=r"a batch claims 104,[0-9,]+ bytes, packed in [0-9,]+: damaged, or a decompre"):
        of(path)


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_arrow_that_was_cut_or_overwritten(of, tmp_path, pictures, compression):
    path = write_arrow(tmp_path / "digits.arrow", pa.table(columns_of(pictures)), compression=compression)
    content = path.read_bytes()
    for place in range(0, len(content), len(content) // 40):
        for damaged in (content[:place], content[:place] + b"\xff" * 9 + content[place + 9 :]):
            path.write_bytes(damaged)
            with suppress(DataError):
                of(path)


@pytest.mark.parametrize("words", [("train", "validation", "test"), ("Training", "Dev", "Testing")])
def test_a_column_that_says_the_splits(of, tmp_path, pictures, words, caplog):
    rows = np.arange(100) % 10
    of_row = [words[0] if row < 8 else words[1] if row == 8 else words[2] for row in rows]
    path = write(tmp_path / "all.parquet", columns_of(pictures, label=LABELS, split=of_row))
    dataset = of(path)
    for split, wanted in ((dataset.train, rows < 8), (dataset.val, rows == 8), (dataset.test, rows == 9)):
        assert (split.images()[:, 0].numpy() == pictures[wanted]).all()
        assert (split.labels.numpy() == LABELS[wanted]).all()
    with caplog.at_level("INFO", "genkit"):
        of(path)
    assert "splits are those of the column split: train (80 images), " in caplog.text


def test_a_column_that_says_something_else_than_the_splits(of, tmp_path, pictures, caplog):
    path = write(tmp_path / "all.parquet", columns_of(pictures, split=["left", "right"] * 50))
    assert len(of(path).test) == 10
    assert "split doesn't say the splits, 'left' being none; not used" in caplog.text


def test_statistics_of_sizes_are_held_against_the_columns(tmp_path, pictures):
    """By the levels of another file's columns, a sound one isn't."""
    path = write(tmp_path / "one.parquet", columns_of(pictures, label=LABELS))
    nested = pa.table({"image": pa.array([[[1]]] * 3), "label": pa.array([[[2]]] * 3)})
    pq.write_table(nested, tmp_path / "other.parquet")
    shard = ParquetShard(Folder(tmp_path), path.name)
    shard._require_sound_sizes(pq.ParquetFile(path).schema)
    with pytest.raises(ValueError, match="its statistics of sizes aren't those of its columns"):
        shard._require_sound_sizes(pq.ParquetFile(tmp_path / "other.parquet").schema)
