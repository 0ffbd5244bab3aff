"""What is written plain is what it was written from, to genkit and to others; and it is there whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from conftest import Genkit
from endurance.harness import Zygote
from PIL import Image

from genkit.data import DataOptions, convert, load
from genkit.data.dataset import Dataset
from genkit.errors import DataError, GenkitError

#: Neither sorted, nor all of them names of folders everywhere.
NAMES = ["zero", "one", "t-shirt/top", "a:b", "masks", "test", ".hidden", "A", "a", "CON"]
TARGETS = ["plain.npz", "plain.parquet", "plain"]
each_target = pytest.mark.parametrize("target", TARGETS)


def described(dataset: Dataset) -> dict[str, list[tuple[bytes, str, str]]]:
    """Every image of each split with its class and attributes by name, in an order of their own."""
    found = {}
    for name, split in dataset.splits().items():
        none = [None] * len(split)
        labels = none if split.labels is None else [dataset.classes[label] for label in split.labels.tolist()]
        attributes = none if split.attributes is None else split.attributes.tolist()
        rows = zip(split.images().numpy(), labels, attributes, strict=True)
        found[name] = sorted((image.tobytes(), str(label), str(flags)) for image, label, flags in rows)
    return found


def assert_same(dataset: Dataset, other: Dataset) -> None:
    assert other.shape == dataset.shape
    assert other.classes == dataset.classes
    assert other.attributes == dataset.attributes
    assert described(other) == described(dataset)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def source(tmp_path: Path, pictures: np.ndarray) -> Path:
    """An archive with splits, classes whose names are hard to keep, and attributes."""
    path, odd = tmp_path / "source.npz", np.arange(100) % 2 == 1
    labels = np.arange(100) // 10
    of_test = np.arange(100) % 10 < 3
    attributes = np.stack([odd, labels > 4], 1)
    parts = {"train": ~of_test, "test": of_test}
    arrays = {}
    for part, those in parts.items():
        arrays |= {
            f"{part}_images": pictures[those],
            f"{part}_labels": labels[those],
            f"{part}_attributes": attributes[those],
        }
    np.savez(path, **arrays, class_names=np.array(NAMES), attribute_names=np.array(["odd", "more-than-4"]))
    return path


@each_target
def test_all_that_is_known_comes_back(genkit: Genkit, source: Path, tmp_path: Path, target: str) -> None:
    outcome = genkit("data", "convert", source, tmp_path / target, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["splits"] == {"train": 70, "test": 30}
    assert outcome.json["images"] == 100
    assert outcome.json["files"] == {"out": str(tmp_path / target)}
    assert_same(load(source), load(tmp_path / target))
    assert load(source).classes == tuple(NAMES)


@each_target
@pytest.mark.parametrize("colours", [False, True], ids=["grey", "colour"])
def test_a_folder_without_splits_has_none_afterwards(
    write, pictures, tmp_path: Path, target: str, colours: bool
) -> None:
    if colours:
        pictures = np.stack([pictures, pictures // 2, 255 - pictures], -1)
    folder = write(pictures, classes=True)
    assert convert.convert(DataOptions(dataset=str(folder)), tmp_path / target) == {"": 100}
    before, after = load(folder), load(tmp_path / target)
    assert (after.classes, after.shape) == (before.classes, before.shape)
    whole = [sorted(chain.from_iterable(described(each).values())) for each in (before, after)]
    assert whole[0] == whole[1]
    if not colours:  # what is held out follows from the bytes of a picture, whose colours lie in another order
        assert described(after) == described(before)


@each_target
def test_what_is_held_out_can_be_written_too(genkit: Genkit, write, pictures, tmp_path: Path, target: str) -> None:
    folder = write(np.stack([pictures] * 3, -1), classes=True)
    assert genkit("data", "convert", folder, tmp_path / target, "--hold-out").code == 0
    assert_same(load(folder), load(tmp_path / target))


@each_target
def test_a_named_set(tmp_path: Path, target: str, digits: Dataset) -> None:
    convert.convert(DataOptions(dataset="mnist5k", image_size=14), tmp_path / target)
    assert_same(load(DataOptions(dataset="mnist5k", image_size=14)), load(tmp_path / target))


def test_numpy_reads_the_arrays(source: Path, tmp_path: Path, pictures: np.ndarray) -> None:
    convert.convert(DataOptions(dataset=str(source)), tmp_path / "plain.npz")
    with np.load(tmp_path / "plain.npz", allow_pickle=False) as plain, np.load(source) as before:
        assert sorted(plain) == sorted(before)
        assert plain["train_images"].dtype == np.uint8
        for name in before:
            assert (plain[name] == before[name]).all(), name


@pytest.mark.parametrize(
    "shape", [(28, 28, 9), (3, 20, 30), (4, 9, 8), (20, 12, 12), (12, 12, 12), (12, 20, 3), (8, 1, 64)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_that_could_mean_something_else(tmp_path: Path, shape: tuple[int, ...], channels: int) -> None:
    """Whatever an array's sizes, its images come back as they were, or it isn't written."""
    count, height, width = shape
    images = np.random.default_rng(0).integers(0, 256, (count, channels, height, width), np.uint8)
    (tmp_path / "source").mkdir()
    for number, each in enumerate(images):
        pixels = each[0] if channels == 1 else each.transpose(1, 2, 0)
        Image.fromarray(pixels).save(tmp_path / "source" / f"{number}.png")
    options = DataOptions(dataset=str(tmp_path / "source"))
    if min(height, width) < 5 and (channels == 3 or height == 1):
        with pytest.raises(GenkitError, match=f"of {width}x{height} can't be told from something else; write .parquet"):
            convert.convert(options, tmp_path / "plain.npz")
        assert not (tmp_path / "plain.npz").exists()
        return
    convert.convert(options, tmp_path / "plain.npz")
    dataset = load(tmp_path / "plain.npz")
    assert dataset.shape == (channels, height, width)
    found = {image.tobytes() for split in dataset.splits().values() for image in split.images().numpy()}
    assert found == {image.tobytes() for image in images}


def test_folders_are_read_as_others_read_them(tmp_path: Path, pictures: np.ndarray) -> None:
    """By torchvision's rule: sorted folders are classes, and the files in them images."""
    images, labels = pictures[:40], np.repeat(["ant", "bee", "cat", "dog"], 10)
    np.savez(
        tmp_path / "source.npz", train_x=images[::2], train_y=labels[::2], test_x=images[1::2], test_y=labels[1::2]
    )
    convert.convert(DataOptions(dataset=str(tmp_path / "source.npz")), tmp_path / "plain")
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == ["test", "train"]
    for part, start in (("train", 0), ("test", 1)):
        folders = sorted((tmp_path / "plain" / part).iterdir())
        assert [folder.name for folder in folders] == ["ant", "bee", "cat", "dog"]
        read = [np.asarray(Image.open(file)) for folder in folders for file in sorted(folder.iterdir())]
        assert (np.stack(read) == images[start::2]).all()


def test_a_table_says_what_folders_cannot(source: Path, tmp_path: Path) -> None:
    convert.convert(DataOptions(dataset=str(source)), tmp_path / "plain")
    with (tmp_path / "plain/metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {(int(row["label"]), row["class"]) for row in rows} == set(enumerate(NAMES))
    folders = {Path(row["file_name"]).parent.name for row in rows}
    assert len({folder.casefold() for folder in folders}) == len(NAMES)
    assert all(convert.safe(folder) == folder for folder in folders)
    with (tmp_path / "plain/attributes.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == ["file", "odd", "more-than-4"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat", "cat"),
        ("é ü 猫", "é ü 猫"),
        ('a/b\\c:d*e?f"g<h>i|j', "a_b_c_d_e_f_g_h_i_j"),
        (".hidden", "_hidden"),
        ("ends with.", "ends with_"),
        ("space ", "space_"),
        ("con", "_con"),
        ("COM1.x", "_COM1.x"),
        ("console", "console"),
        ("a\nb", "a_b"),
        ("é" * 80, "é" * 50),
    ],
)
def test_names_that_every_file_system_takes(name: str, safe: str) -> None:
    assert convert.safe(name) == safe


def test_names_of_files_are_kept(tmp_path: Path, pictures: np.ndarray) -> None:
    """As far as they differ once folders are gone, and capitals."""
    folder = tmp_path / "source"
    for number, name in enumerate(["cat/tom.png", "cat/more/tom.png", "cat/Tom.jpg", "dog/rex.v2.png", "dog/con.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[number]).save(folder / name)
    convert.convert(DataOptions(dataset=str(folder)), tmp_path / "plain")
    files = sorted(path.relative_to(tmp_path / "plain").as_posix() for path in (tmp_path / "plain").rglob("*.png"))
    assert files == ["cat/Tom.png", "cat/tom-2.png", "cat/tom-3.png", "dog/_con.png", "dog/rex.v2.png"]


@pytest.fixture
def of_several_sizes(tmp_path: Path, pictures: np.ndarray) -> Path:
    folder = tmp_path / "sizes"
    folder.mkdir()
    for number in range(20):
        Image.fromarray(pictures[number][: 20 + number % 5, :24]).save(folder / f"{number:02}.png")
    return folder


@pytest.mark.parametrize("target", ["plain.parquet", "plain"])
def test_each_image_keeps_its_size(of_several_sizes: Path, tmp_path: Path, target: str) -> None:
    convert.convert(DataOptions(dataset=str(of_several_sizes)), tmp_path / target)
    if target == "plain":
        pictures = [Image.open(path) for path in sorted((tmp_path / target).iterdir())]
        for before, after in zip(sorted(of_several_sizes.iterdir()), pictures, strict=True):
            assert (np.asarray(Image.open(before)) == np.asarray(after)).all()
    options = {"image_size": 16}
    before, after = (load(DataOptions(dataset=str(each), **options)) for each in (of_several_sizes, tmp_path / target))
    assert_same(before, after)


def test_an_array_has_one_size(genkit: Genkit, of_several_sizes: Path, tmp_path: Path) -> None:
    outcome = genkit("data", "convert", of_several_sizes, tmp_path / "plain.npz")
    assert outcome.code == 1
    assert "images of 5 sizes" in outcome.err
    assert "give --image-size N to make them alike" in outcome.err
    assert not (tmp_path / "plain.npz").exists()
    assert genkit("data", "convert", of_several_sizes, tmp_path / "plain.npz", "--image-size", 16).code == 0
    with np.load(tmp_path / "plain.npz") as plain:
        assert plain["images"].shape == (20, 16, 16)


def test_datasets_reads_it(source: Path, tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hugging Face's own library, without a network: pixels, splits, names of classes, attributes."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    convert.convert(DataOptions(dataset=str(source)), tmp_path / "plain.parquet")
    found = datasets.load_dataset(str(tmp_path / "plain.parquet"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(each) for name, each in found.items()} == {"train": 70, "test": 30}
    train = found["train"]
    assert train.features["label"].names == NAMES
    assert isinstance(train.features["image"], datasets.Image)
    with np.load(source) as before:
        assert (np.stack([np.asarray(row["image"]) for row in train]) == before["train_images"]).all()
        assert train["label"][:] == before["train_labels"].tolist()
        assert [list(each) for each in zip(train["odd"], train["more-than-4"], strict=True)] == before[
            "train_attributes"
        ].tolist()


def test_datasets_reads_one_file(write, pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    folder = write(pictures, classes=True)
    convert.convert(DataOptions(dataset=str(folder)), tmp_path / "plain.parquet")
    (found,) = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "plain.parquet"), cache_dir=str(tmp_path / "cache")
    ).values()
    assert (np.stack([np.asarray(row["image"]) for row in found]) == pictures).all()
    assert found.features["label"].names == [str(label) for label in range(10)]


def test_a_group_of_rows_is_small(tmp_path: Path) -> None:
    """Or a reader of one image would hold thousands."""
    convert.convert(DataOptions(dataset="mnist5k", image_size=8), tmp_path / "plain.parquet")
    file = pyarrow.parquet.ParquetFile(tmp_path / "plain.parquet/train-00000-of-00001.parquet")
    assert file.metadata.num_rows == 4000
    assert file.metadata.num_row_groups == 4000 // convert.GROUP


# ---------------------------------------------------------------------------------------------------------------------
# Whole or not at all
# ---------------------------------------------------------------------------------------------------------------------


@each_target
def test_nothing_is_overwritten(genkit: Genkit, source: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / target).write_text("mine")
    outcome = genkit("data", "convert", source, tmp_path / target)
    assert outcome.code == 1
    assert f"{target} is there already and stays as it is; give another name" in outcome.err
    assert (tmp_path / target).read_text() == "mine"


@pytest.mark.parametrize("ending", [".csv", ".zip", ".png", ".npy", ".h5", ".tar"])
def test_other_kinds_of_files_are_refused(genkit: Genkit, source: Path, tmp_path: Path, ending: str) -> None:
    outcome = genkit("data", "convert", source, tmp_path / f"plain{ending}")
    assert outcome.code == 2
    assert "images are written as .npz, as .parquet, or as a folder" in outcome.err


def test_parquet_without_pyarrow(genkit: Genkit, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    outcome = genkit("data", "convert", source, tmp_path / "plain.parquet")
    assert outcome.code == 2
    assert "Parquet needs pyarrow; pip install 'latent-genkit[formats]', or write .npz" in outcome.err


@each_target
def test_a_damaged_picture_leaves_nothing_or_is_left_out(
    genkit: Genkit, write, pictures, tmp_path: Path, target: str
) -> None:
    folder = write(pictures)
    bad = folder / "099.png"
    bad.write_bytes(bad.read_bytes()[:-200])
    out = tmp_path / "out"
    out.mkdir()
    outcome = genkit("data", "convert", folder, out / target)
    assert outcome.code == 1
    assert "099.png" in outcome.err
    assert "--skip-bad" in outcome.err
    assert list(out.iterdir()) == []
    outcome = genkit("data", "convert", folder, out / target, "--skip-bad", 1, "--json")
    assert outcome.json["images"] == 99
    assert "left out" in outcome.err
    assert sum(map(len, load(out / target).splits().values())) == 99
    assert len(list(out.iterdir())) == 1


@each_target
def test_a_full_disk_is_one_line_and_leaves_nothing(zygote: Zygote, source: Path, tmp_path: Path, target: str) -> None:
    """A limit for each file, which is as good as a disk without room: an attribute table, or an array, won't fit."""
    out = tmp_path / "out"
    out.mkdir()
    ended = zygote.run(["data", "convert", str(source), str(out / target)], file_limit=LIMITS[target])
    (line,) = [line for line in ended.printed.splitlines() if line.startswith("genkit: ")]
    assert ended.status == 1, ended.printed
    assert "can't be written (File too large); make room, or name another place" in line
    assert list(out.iterdir()) == []


#: Bytes, of which a single PNG doesn't take as many, and an array, a table or a Parquet file more.
LIMITS = {"plain.npz": 8_000, "plain.parquet": 8_000, "plain": 1_000}


def test_nearly_black_is_told(tmp_path: Path, pictures: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    np.save(tmp_path / "source.npy", pictures // 16)
    convert.convert(DataOptions(dataset=str(tmp_path / "source.npy"), white_level=255), tmp_path / "plain.npz")
    assert "is nearly black; give --white-level 255" in caplog.text


def test_nothing_to_write(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        convert.convert(DataOptions(dataset=str(tmp_path / "empty")), tmp_path / "plain.npz")
    assert not (tmp_path / "plain.npz").exists()


@each_target
def test_a_signal_leaves_nothing(zygote: Zygote, tmp_path: Path, target: str) -> None:
    """As soon as something half-written lies there."""
    out = tmp_path / "out"
    out.mkdir()
    command = ["data", "convert", "mnist5k", str(out / target), "--image-size", "200"]
    zygote.ask([{"arguments": command, "fault": {}}])
    pid = json.loads(zygote.answer())["pid"]
    until = time.monotonic() + 60
    while not any(file.is_file() for file in out.rglob("*")) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    ended = zygote.ended()
    assert ended.status == 143, ended.printed
    assert ended.printed.splitlines()[-1] == "genkit: terminated"
    assert list(out.iterdir()) == []
