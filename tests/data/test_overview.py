"""What `genkit data info` says of images, most of all of those that training would refuse."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Genkit
from PIL import Image

from genkit.data import DataOptions, load, overview
from genkit.data.convert import _as_png
from genkit.data.overview import Overview
from genkit.data.survey import Survey
from genkit.errors import DataError


def seen(path: Path | str, **options: object) -> Overview:
    return overview.look(DataOptions(dataset=str(path), **options))[0]


def options_of(command: str | None) -> dict[str, str]:
    """The flags of the command that is proposed, as fields."""
    words = shlex.split(command or "")
    assert words[:3] == ["genkit", "train", "vae"]
    return {flag[2:].replace("-", "_"): value for flag, value in zip(words[3::2], words[4::2], strict=True)}


def assert_trainable(found: Overview) -> None:
    """What is proposed reads the images."""
    load(DataOptions(**options_of(found.next.command)))


def test_a_plain_folder(write, pictures: np.ndarray) -> None:
    folder = write(pictures, classes=True)
    found = seen(folder)
    assert found.model_dump(exclude={"notes", "source"}) == {
        "form": "a folder of pictures",
        "arrays": [],
        "files": 100,
        "images": 100,
        "duplicates": 0,
        "sizes": {"28x28": 100},
        "modes": {"L": 100},
        "grey": 100,
        "colourless": 100,
        "values": [{"bits": 8, "low": 0, "high": 255, "black": 0, "white": 255}],
        "own_splits": False,
        "splits": {},
        "shared": [],
        "contradictory": 0,
        "classes": [{"name": str(label), "images": 10, "splits": {}} for label in range(10)],
        "attributes": [],
        "left_out": {},
        "warnings": [],
        "sums": {},
        "problems": [],
        "next": {"command": f"genkit train vae --dataset {folder}", "because": []},
    }
    assert_trainable(found)


def test_splits_copies_and_classes(tmp_path: Path, pictures: np.ndarray) -> None:
    """Five of test stand in train, one of them in another class."""
    labels = np.arange(100) // 10
    arrays = {
        "train_images": np.concatenate([pictures[:60], pictures[60:65]]),
        "train_labels": np.concatenate([labels[:60], [6, 6, 6, 6, 9]]),
        "test_images": pictures[60:],
        "test_labels": labels[60:],
        "train_attributes": np.stack([np.arange(65) < 13], 1),
        "test_attributes": np.stack([np.arange(40) < 30], 1),
        "attribute_names": np.array(["rare"]),
    }
    np.savez(tmp_path / "set.npz", **arrays)
    found = seen(tmp_path / "set.npz")
    assert found.own_splits
    assert found.splits == {"train": 65, "test": 40}
    assert found.duplicates == 5
    assert [each.model_dump() for each in found.shared] == [{"split": "train", "also_in": "test", "images": 5}]
    assert found.contradictory == 1
    assert found.classes[6].model_dump() == {"name": "6", "images": 14, "splits": {"train": 4, "test": 10}}
    assert found.classes[9].splits == {"train": 1, "test": 10}
    (rare,) = found.attributes
    assert rare.model_dump() == {"name": "rare", "images": 43, "splits": {"train": 13, "test": 30}}
    assert {array.name: (array.type, array.shape) for array in found.arrays}["train_images"] == ("uint8", [65, 28, 28])


def test_the_command_reads_pictures_of_several_sizes(tmp_path: Path, pictures: np.ndarray) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        height = 20 + number % 9
        Image.fromarray(picture[:height]).save(folder / f"{number}.png")
    (folder / "7.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    found = seen(folder)
    assert found.images == 99
    assert found.files == 100
    assert len(found.sizes) == 9
    assert any("7.png" in problem for problem in found.problems)
    assert options_of(found.next.command) == {"dataset": str(folder), "skip_bad": "1", "image_size": "16"}
    assert [line.split(":")[0] for line in found.next.because] == ["--skip-bad 1", "--image-size 16"]
    assert_trainable(found)


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ({(28, 20): 5, (30, 30): 5}, 16),
        ({(28, 28): 6, (300, 300): 5}, 28),
        ({(640, 480): 1, (480, 640): 1}, 64),
        ({(9, 500): 1, (500, 9): 1}, 8),
        ({(3, 500): 1}, 8),
        ({(60, 60): 1}, 48),
    ],
)
def test_a_width_that_most_of_them_have(sizes: dict[tuple[int, ...], int], side: int) -> None:
    assert overview._side(sizes) == side


def test_large_pictures_are_proposed_smaller(tmp_path: Path, pictures: np.ndarray) -> None:
    for number, picture in enumerate(pictures[:20]):
        Image.fromarray(picture).resize((400, 150)).save(tmp_path / f"{number}.png")
    found = seen(tmp_path)
    assert options_of(found.next.command) == {"dataset": str(tmp_path), "image_size": "64", "fit": "pad"}
    assert_trainable(found)
    assert "image_size" in options_of(seen(tmp_path, image_size=32).next.command)
    assert options_of(seen(tmp_path, image_size=32).next.command)["image_size"] == "32"


def test_what_is_grey_though_stored_as_colours(write, pictures: np.ndarray) -> None:
    folder = write(np.stack([pictures] * 3, -1))
    found = seen(folder)
    assert (found.grey, found.colourless) == (0, 100)
    assert options_of(found.next.command)["channels"] == "1"
    coloured = np.stack([pictures] * 3, -1)
    coloured[3, 0, 0, 0] = 9
    found = seen(write(coloured, "coloured"))
    assert (found.grey, found.colourless) == (0, 99)
    assert "channels" not in options_of(found.next.command)


@pytest.mark.parametrize(
    ("stored", "values"),
    [
        (lambda x: x // 2, (8, 0, 127, 0, 255)),
        (lambda x: (x > 127).astype(np.uint8), (8, 0, 1, 0, 1)),
        (lambda x: x > 127, (8, 0, 1, 0, 1)),
        (lambda x: x.astype(np.uint16) * 16, (16, 0, 4080, 0, 4095)),
        (lambda x: x.astype(np.uint16) * 200, (16, 0, 51000, 0, 65535)),
        (lambda x: x / np.float32(255), (0, 0, 1, 0, 1)),
        (lambda x: x / np.float64(127.5) - 1, (0, -1, 1, -1, 1)),
    ],
    ids=["dark", "mask", "bool", "12 bits", "16 bits", "float", "from -1"],
)
def test_numbers_as_they_are_stored(tmp_path: Path, pictures: np.ndarray, stored, values) -> None:
    np.save(tmp_path / "set.npy", stored(pictures))
    (found,) = seen(tmp_path / "set.npy").values
    assert tuple(found.model_dump().values()) == values


def test_pictures_of_16_bits_are_seen_to_the_last(tmp_path: Path, pictures: np.ndarray) -> None:
    """What is white is settled long before the brightest is found."""
    for number, picture in enumerate(pictures[:50]):
        Image.fromarray(picture.astype(np.uint16) * (100 + number)).save(tmp_path / f"{number:02}.png")
    (found,) = seen(tmp_path).values
    assert (found.bits, found.low, found.high, found.white) == (16, 0, 255 * 149, 65535)


def test_columns_that_may_each_be_the_labels_are_listed(genkit: Genkit, tmp_path: Path, pictures) -> None:
    rows = [{"bytes": _as_png(picture[None]), "path": None} for picture in pictures]
    features = {"image": {"_type": "Image"}}
    features |= {name: {"_type": "ClassLabel", "names": ["a", "b"]} for name in ("fine_label", "coarse_label")}
    table = pa.table({"image": rows, "fine_label": np.arange(100) % 2, "coarse_label": np.arange(100) // 50})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "two.parquet")
    outcome = genkit("data", "info", tmp_path / "two.parquet")
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert "array       fine_label: int64 of shape (100)" in lines
    assert "array       coarse_label: int64 of shape (100)" in lines
    assert any("choose with --labels" in line for line in lines if line.startswith("fault"))
    assert genkit("data", "info", tmp_path / "two.parquet", "--labels", "fine_label").code == 0


def test_a_file_of_arrays_that_nobody_understands_is_listed(genkit: Genkit, tmp_path: Path, pictures) -> None:
    np.savez(tmp_path / "set.npz", a=pictures, b=pictures[:50], c=np.array([{}], object))
    outcome = genkit("data", "info", tmp_path / "set.npz")
    assert outcome.code == 1
    assert "array       a: uint8 of shape (100, 28, 28)" in outcome.out
    assert "array       c: can't be read" in outcome.out
    assert "say which are the images, as --images a" in outcome.out
    assert genkit("data", "info", tmp_path / "set.npz", "--images", "b", "--json").json["images"] == 50
    command = genkit("data", "info", tmp_path / "set.npz", "--images", "b", "--json").json["next"]["command"]
    assert options_of(command) == {"dataset": str(tmp_path / "set.npz"), "images": "b"}


def test_a_named_set(genkit: Genkit, tmp_path: Path) -> None:
    outcome = genkit("data", "info", "mnist5k", "--out", tmp_path / "sheet.png", "--json")
    found = outcome.json
    assert (found["images"], found["splits"]) == (5000, {"train": 4000, "val": 500, "test": 500})
    assert [each["images"] for each in found["classes"]] == [500] * 10
    assert found["next"]["command"] == "genkit train vae --dataset mnist5k"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.mode == "RGB"


def test_a_set_that_isnt_here_is_not_fetched(genkit: Genkit) -> None:
    outcome = genkit("data", "info", "cifar10")
    assert outcome.code == 1
    assert "genkit data fetch cifar10" in outcome.err


def test_what_is_printed(genkit: Genkit, write, pictures, tmp_path: Path) -> None:
    folder = write(pictures, classes=True)
    Image.fromarray(pictures[0]).save(folder / "0" / "copy.png")
    (folder / "scan.svg").write_bytes(b"x")
    outcome = genkit("data", "info", folder)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert "images      101 (1 of them exact copies of others)" in lines
    assert "colour      grey" in lines
    assert "values      0 to 255, integers of 8 bits; 255 is white" in lines
    assert "classes     10" in lines
    assert "            0  11" in lines
    assert "            9  10" in lines
    assert lines[-1] == f"next        genkit train vae --dataset {folder}"
    (sheet,) = [line.split(maxsplit=1)[1] for line in lines if line.startswith("sheet ")]
    assert Path(sheet).is_relative_to(tmp_path / "home")
    before = Path(sheet).read_bytes()
    genkit("data", "info", folder)  # in its own place, again
    assert Path(sheet).read_bytes() == before


def test_many_classes_are_the_first_and_the_rarest(genkit: Genkit, tmp_path: Path, pictures) -> None:
    labels = np.minimum(np.arange(100), 60)
    np.savez(tmp_path / "set.npz", images=pictures, labels=labels)
    out = genkit("data", "info", tmp_path / "set.npz").out
    assert "classes     61, of 1 to 40 images each; the first:" in out
    assert "the rarest:" in out


def test_a_sheet_of_ones_own_is_not_overwritten(genkit: Genkit, write, pictures, tmp_path: Path) -> None:
    folder = write(pictures)
    (tmp_path / "sheet.png").write_text("mine")
    outcome = genkit("data", "info", folder, "--out", tmp_path / "sheet.png")
    assert outcome.code == 1
    assert (tmp_path / "sheet.png").read_text() == "mine"
    assert genkit("data", "info", folder, "--out", tmp_path / "sheet.jpg").code == 2


def test_faults_of_tables_are_to_be_mended_first(write, pictures) -> None:
    folder = write(pictures)
    (folder / "attributes.csv").write_text("file,smile\n000.png,perhaps\n")
    found = seen(folder)
    assert found.images == 100
    assert found.problems
    assert found.next.command is None
    assert found.next.because == found.problems


def test_too_few(write, pictures) -> None:
    folder = write(np.stack([pictures[0]] * 5))
    found = seen(folder)
    assert found.next.command is None
    assert "three different images" in found.next.because[0]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        seen(tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# What is kept to be shown
# ---------------------------------------------------------------------------------------------------------------------


def test_images_of_a_class_are_evenly_spaced() -> None:
    labels = np.arange(1000) % 2
    survey = Survey(1000, labels, ("a", "b"))
    images = np.arange(1000, dtype=np.uint16).astype(np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    survey.take_block(0, images, np.arange(1000), 8)
    (_, first), (_, second) = survey.shown()
    assert [picture[0, 0] for picture in first] == [row % 256 for row in range(0, 1000, 100)]
    assert [picture[0, 0] for picture in second] == [row % 256 for row in range(1, 1000, 100)]


def test_a_bad_image_gives_its_place_to_the_next() -> None:
    survey = Survey(100, np.zeros(100, np.int64), ("a",))
    for row in range(100):
        if row not in (0, 1, 50):
            image = np.full((1, 4, 4), row, np.uint8)
            survey.take(row, row, survey.glimpse(row, image), 8)
    ((group, pictures),) = survey.shown()
    assert group.images == 100
    assert [picture[0, 0] for picture in pictures] == [2, 10, 20, 30, 40, 51, 60, 70, 80, 90]
    assert survey.seen.sum() == 97


def test_only_small_pictures_are_kept() -> None:
    survey = Survey(1)
    survey.take(0, 1, survey.glimpse(0, np.full((3, 300, 1200), 7, np.uint8)), 8)
    ((_, (picture,)),) = survey.shown()
    assert picture.shape == (24, 96, 3)
    assert (picture == 7).all()
