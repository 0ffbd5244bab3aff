from __future__ import annotations

import json
import logging

import pandas as pd
import pytest

from genkit.data import verify
from genkit.data.forms.layout import Layout, lay_out
from genkit.data.forms.listing import scan
from genkit.errors import DataError

PARTS = {0: "train", 1: "val", 2: "test"}


@pytest.fixture
def understood(tmp_path):
    """What is made of empty files of these names."""

    def understood(*files: str) -> Layout:
        for file in files:
            path = tmp_path / "set" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return lay_out(scan(tmp_path / "set"))

    return understood


def read_as(layout: Layout) -> dict[str, tuple[str | None, str | None]]:
    """Each file's split and class."""
    return {
        file: (
            None if layout.parts is None else PARTS[int(layout.parts[row])],
            None if layout.labels is None else layout.classes[int(layout.labels[row])],
        )
        for row, file in enumerate(layout.files)
    }


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("training-set", "test-set"),
        ("train_images", "test_images"),
        ("TrainImages", "TestImages"),
        ("trainset", "testset"),
        ("X_train", "X_test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train", "test1"),
        ("train2017", "test2017"),
        ("chest_xray_train", "chest_xray_test"),
        ("train", "evaluation"),
        ("train/images", "test/images"),
        ("outer/train", "outer/test"),
    ],
)
def test_spellings_of_splits(understood, train, test):
    layout = understood(f"{train}/cat/1.png", f"{train}/dog/2.png", f"{test}/cat/3.png", f"{test}/dog/4.png")
    assert read_as(layout) == {
        f"{train}/cat/1.png": ("train", "cat"),
        f"{train}/dog/2.png": ("train", "dog"),
        f"{test}/cat/3.png": ("test", "cat"),
        f"{test}/dog/4.png": ("test", "dog"),
    }
    names = [path.removeprefix("outer/").partition("/")[0] for path in (train, test)]
    assert layout.notes == [f"splits: train ({names[0]}/), test ({names[1]}/)"]
    assert layout.left_out == {}


@pytest.mark.parametrize("val", ["val", "valid", "validation", "validation_set", "dev", "dev-set", "Validation"])
def test_spellings_of_val(understood, val):
    layout = understood("train/1.png", f"{val}/2.png", "test/3.png")
    assert read_as(layout) == {
        "train/1.png": ("train", None),
        f"{val}/2.png": ("val", None),
        "test/3.png": ("test", None),
    }


@pytest.mark.parametrize(
    "names",
    [
        ("train", "car", "unknown"),
        ("train_station", "bus_station"),
        ("training_shoe", "test_tube"),
        ("test_positive", "test_negative"),
        ("valid", "invalid"),
        ("constrain", "latest"),
        ("mask", "no_mask"),
        ("with_mask", "without_mask"),
        ("train", "bus"),
    ],
)
def test_classes_that_are_no_splits(understood, names):
    layout = understood(*(f"{name}/{number}.png" for name in names for number in range(2)))
    assert layout.parts is None
    assert layout.classes == tuple(sorted(names))
    assert layout.left_out == {}
    told = [line for line in layout.warnings if "if they are splits, call them train, val and test" in line]
    assert len(told) == bool({"train", "valid"} & set(names))


def test_unlabelled_images_beside_splits(understood):
    """Intel's scenes."""
    layout = understood(
        *(f"seg_{part}/seg_{part}/{name}/{part}.jpg" for part in ("train", "test") for name in ("forest", "sea")),
        *(f"seg_pred/seg_pred/{number}.jpg" for number in range(5)),
    )
    assert len(layout.files) == 4
    assert layout.classes == ("forest", "sea")
    assert layout.left_out == {"images in seg_pred/ (unlabelled)": 5}


def mvtec(category: str = "") -> list[str]:
    return [
        f"{category}{folder}/{number}.png"
        for folder in ("train/good", "test/good", "test/broken", "ground_truth/broken")
        for number in range(3)
    ]


def test_mvtec(understood):
    layout = understood(*mvtec())
    assert set(read_as(layout).values()) == {("train", "good"), ("test", "good"), ("test", "broken")}
    assert layout.left_out == {"images in ground_truth/ (masks)": 3}
    assert layout.unlearnt() == ["1 class without an image in train: no model learns broken"]


def test_mvtec_of_several_categories(understood):
    layout = understood("license.txt", *mvtec("bottle/"), *mvtec("cable/"))
    assert read_as(layout) == {
        f"{name}/{folder}/{number}.png": (folder.partition("/")[0], name)
        for name in ("bottle", "cable")
        for folder in ("test/broken", "test/good", "train/good")
        for number in range(3)
    }
    assert layout.left_out == {"images in ground_truth/ (masks)": 6}
    assert layout.notes == [
        "each of its 2 folders has splits of its own: the folders are the classes",
        "folders in the classes tell nothing apart (broken, good)",
        "splits: train (train/), test (test/)",
    ]


def test_splits_that_only_some_folders_have(understood, tmp_path):
    with pytest.raises(DataError) as caught:
        understood("a/train/1.png", "a/test/2.png", "b/3.png")
    assert str(caught.value) == (
        f"{tmp_path}/set: a/ has splits of its own (test, train), which not all folders beside it have; give it alone, "
        "or move the splits to the top"
    )


def test_domains_are_classes(understood):
    """CycleGAN's."""
    layout = understood(*(f"{part}{domain}/1.png" for part in ("train", "test") for domain in "AB"))
    assert read_as(layout) == {
        f"{part}{domain}/1.png": (part, domain.lower()) for part in ("train", "test") for domain in "AB"
    }


@pytest.mark.parametrize(
    ("name", "split"),
    [("test_public", "test"), ("Test_final", "test"), ("val_a", "val"), ("holdout", "test"), ("evaluate_me", None)],
)
def test_a_split_of_another_name_beside_train_is_no_class(understood, name, split):
    files = [f"{part}/{kind}/1.png" for part in ("train", name) for kind in ("cat", "dog")]
    if split is None:
        with pytest.raises(DataError, match=r"evaluate_me/ has the same folders as train/; call it test or val"):
            understood(*files)
    else:
        layout = understood(*files)
        assert {part for part, _ in read_as(layout).values()} == {"train", split}
        assert layout.classes == ("cat", "dog")


def test_splits_that_lie_apart_from_each_other_are_refused(understood):
    with pytest.raises(DataError, match=r"set: the splits in a, b lie apart from each other; put them beside"):
        understood("a/train/cat/1.png", "a/train/dog/2.png", "b/test/cat/3.png", "b/test/dog/4.png")


def test_several_sets_of_splits_are_refused(understood):
    with pytest.raises(
        DataError, match=r"set: several sets of splits in test_1, test_2, train_1, \.\.\., which may share"
    ):
        understood(*(f"{part}_{fold}/1.png" for part in ("train", "test") for fold in (1, 2)))


def test_two_folders_of_one_split(understood):
    layout = understood("train-1/a/1.png", "train-2/b/2.png", "test/a/3.png")
    assert [part for part, _ in read_as(layout).values()] == ["test", "train", "train"]
    assert layout.classes == ("a", "b")
    assert layout.notes == ["splits: train (train-1/, train-2/), test (test/)"]


@pytest.mark.parametrize("test", ["test", "test/test", "test/images", "test/unknown", "test1"])
def test_a_flat_test_split_keeps_trains_labels(understood, test):
    """Kaggle's, whose labels nobody has."""
    layout = understood("train/cat/1.png", "train/dog/2.png", f"{test}/3.png", f"{test}/4.png")
    assert read_as(layout) == {"train/cat/1.png": (None, "cat"), "train/dog/2.png": (None, "dog")}
    assert layout.left_out == {f"images in {test.partition('/')[0]}/ (in no class, as those of train are)": 2}


def test_a_flat_test_split_of_flat_train_is_used(understood):
    assert read_as(understood("train/1.png", "test/2.png")) == {
        "train/1.png": ("train", None),
        "test/2.png": ("test", None),
    }


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("Image", "Mask"),
        ("imgs", "annotations"),
        ("JPEGImages", "SegmentationClass"),
        ("train/images", "train/labels"),
        ("train", "train_masks"),
        ("brain_train", "brain_train_masks"),
    ],
)
def test_masks_are_left_out(understood, images, masks):
    layout = understood(f"{images}/1.png", f"{images}/2.png", f"{masks}/1.png", f"{masks}/2.png")
    assert read_as(layout) == {f"{images}/1.png": (None, None), f"{images}/2.png": (None, None)}
    assert layout.left_out == {f"images in {masks.rpartition('/')[2]}/ (masks)": 2}


def test_masks_of_splits_in_folders_of_their_own(understood):
    """ADE20K's."""
    layout = understood(*(f"{kind}/{part}/1.png" for kind in ("images", "annotations") for part in ("training", "val")))
    assert read_as(layout) == {"images/training/1.png": ("train", None), "images/val/1.png": ("val", None)}
    assert layout.left_out == {"images in annotations/ (masks)": 2}
    assert layout.notes == ["splits: train (training/), val (val/)"]


def test_ground_truth_is_no_class(understood):
    """Cityscapes'."""
    layout = understood(
        *(f"{kind}/{part}/bonn/1.png" for kind in ("leftImg8bit", "gtFine") for part in ("train", "val"))
    )
    assert sorted(read_as(layout).values()) == [("train", None), ("val", None)]
    assert layout.left_out == {"images in gtFine/ (masks)": 2}


def test_masks_beside_their_images(understood):
    """BUSI's."""
    layout = understood(
        *(f"{name}/{name} (1){end}.png" for name in ("benign", "normal") for end in ("", "_mask", "_mask_1")),
        "normal/face_mask.png",
    )
    assert layout.files == ["benign/benign (1).png", "normal/face_mask.png", "normal/normal (1).png"]
    assert layout.left_out == {"masks beside images": 4}


def test_masks_that_may_be_a_class_are_told(understood):
    layout = understood("cat/1.png", "masks/1.png")
    assert layout.classes == ("cat", "masks")
    assert layout.warnings == ["masks are taken for classes; if they are masks, move them out"]


def test_masks_of_one_class_beside_it_are_told(understood):
    layout = understood("cat/1.png", "cat_masks/1.png", "dog/1.png")
    assert layout.warnings == ["cat_masks are taken for classes; if they are masks, move them out"]


@pytest.mark.parametrize("names", [("label:7", "label:8"), ("with_mask", "without_mask"), ("mask_1", "mask_2", "cat")])
def test_a_class_that_has_a_mask_in_its_name_is_no_mask(understood, names):
    layout = understood(*(f"{name}/1.png" for name in names))
    assert layout.classes == tuple(sorted(names))
    assert layout.warnings == []


def test_classes_that_look_alike_are_told(understood):
    layout = understood("Cat/1.png", "cat/2.png", "caf\u00e9/3.png", "cafe\u0301/4.png", "dog/5.png")
    assert len(layout.classes) == 5
    assert layout.warnings == [
        f"classes {names} differ only in case or in how letters are encoded, and are taken for different ones"
        for names in ("'Cat', 'cat'", r"'cafe\u0301', 'caf\xe9'")
    ]


def test_folders_without_images_are_told(understood, tmp_path):
    for name in ("zebra", "lion"):
        (tmp_path / "set" / name / "sub").mkdir(parents=True)
    layout = understood("cat/1.png", "dog/2.png", "yak/3.svg")
    assert layout.classes == ("cat", "dog")
    assert layout.warnings == ["3 folders without an image (lion/, yak/, zebra/)"]


def test_folders_in_a_class_mean_nothing(understood):
    layout = understood("cat/tom/1.png", "cat/2.png", "dog/rex/3.png")
    assert [name for _, name in read_as(layout).values()] == ["cat", "cat", "dog"]
    assert layout.notes == ["folders in the classes tell nothing apart (rex, tom)"]


def test_classes_named_by_numbers_keep_the_order_that_runs_were_trained_with(understood):
    assert understood("1/1.png", "10/2.png", "2/3.png").classes == ("1", "10", "2")


def test_a_class_of_bad_files_only_is_told(write, of, pictures, caplog):
    folder = write(pictures[:30], classes=True)
    for path in (folder / "2").iterdir():
        path.write_bytes(b"bad")
    with caplog.at_level(logging.WARNING, "genkit"):
        of(folder, skip_bad=10)
    assert f"{folder}: 1 class without an image in train: no model learns 2" in caplog.messages


def test_a_pack_of_another_reading_is_not_used(write, of, pictures, monkeypatch):
    """Folders that an earlier version took for classes: the files are the same, what they mean isn't."""
    write(pictures[:60], "set/seg_train", classes=True)
    folder = write(pictures[60:80], "set/seg_test", classes=True).parent
    with monkeypatch.context() as earlier:
        earlier.setattr("genkit.data.forms.layout._splits_among", lambda place, names: None)
        assert of(folder).classes == ("seg_test", "seg_train")
    dataset = of(folder)
    assert dataset.classes == tuple("012345")
    assert (dataset.test.images()[:, 0].numpy() == pictures[60:80]).all()


def test_verify_says_what_was_understood(write, pictures, genkit):
    write(pictures[:60], "set/seg_train", classes=True)
    write(pictures[80:85], "set/seg_pred")
    folder = write(pictures[60:80], "set/seg_test", classes=True).parent
    findings = verify(str(folder))
    assert findings.ok
    assert (findings.files, findings.images) == (80, 80)
    assert findings.notes == ["splits: train (seg_train/), test (seg_test/)"]
    outcome = genkit("data", "verify", folder)
    assert "note        splits: train (seg_train/), test (seg_test/)\n" in outcome.out
    assert "left out    5 images in seg_pred/ (unlabelled)\n" in outcome.out
    assert genkit("data", "verify", folder, "--json").json["left_out"] == {"images in seg_pred/ (unlabelled)": 5}


# -- tables of labels -------------------------------------------------------------------------------------------------


def stylegan(count: int = 2000, step: int = 500) -> list[str]:
    return [f"{number // 1000:05}/img{number:08}.png" for number in range(0, count, step)]


def test_stylegans_labels(understood, tmp_path):
    (tmp_path / "set").mkdir()
    labels = [[file, 10 if row % 2 else 9] for row, file in enumerate(stylegan())]
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"labels": labels}))
    layout = understood(*stylegan())
    assert layout.classes == ("9", "10"), "in the order of numbers"
    assert [name for _, name in read_as(layout).values()] == ["9", "10", "9", "10"]
    assert layout.notes == ["classes are those of dataset.json"]


@pytest.mark.parametrize("table", [None, {"labels": None}, {"labels": [[file, [0.5]] for file in stylegan()]}, {}])
@pytest.mark.parametrize("files", [stylegan(), ["00000/00999.png", "01000/01000.png"]])
def test_folders_that_number_files_are_no_classes(understood, tmp_path, table, files):
    if table is not None:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "dataset.json").write_text(json.dumps(table))
    layout = understood(*files)
    assert layout.labels is None
    assert f"folders {files[0][:5]}, {files[-1][:5]} only number the files: no classes" in layout.notes


def test_numbers_that_do_name_classes(understood):
    assert understood("00001/a.png", "00002/b.png").classes == ("00001", "00002")


CATS_AND_DOGS = [("a.png", "cat"), ("sub/b.png", "dog"), ("c.png", "cat")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,text,label\na.png,x,cat\nsub/b.png,y,dog\nc.png,z,cat\n"),
        ("metadata.csv", '\ufefffile_name,label\r\n"a.png",cat\r\n./sub/b.png,dog\r\n\r\nc.png,cat\r\n'),
        ("metadata.jsonl", "\n".join(json.dumps({"file_name": file, "label": label}) for file, label in CATS_AND_DOGS)),
    ],
)
def test_hugging_faces_labels(understood, tmp_path, name, text):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_text(text)
    assert read_as(understood("a.png", "c.png", "sub/b.png")) == {
        "a.png": (None, "cat"),
        "c.png": (None, "cat"),
        "sub/b.png": (None, "dog"),
    }


def test_hugging_faces_labels_in_each_split(understood, tmp_path):
    for part, label in (("train", 2), ("train", 10), ("test", 10)):
        folder = tmp_path / "set" / part
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "metadata.jsonl").open("a") as file:
            file.write(json.dumps({"file_name": f"{label}.png", "label": label}) + "\n")
    layout = understood("train/2.png", "train/10.png", "test/10.png")
    assert layout.classes == ("2", "10")
    assert read_as(layout) == {
        "train/2.png": ("train", "2"),
        "train/10.png": ("train", "10"),
        "test/10.png": ("test", "10"),
    }
    (tmp_path / "set" / "test" / "metadata.jsonl").write_text('{"file_name": "10.png", "label": ""}')
    layout = lay_out(scan(tmp_path / "set"))
    assert read_as(layout) == {"train/2.png": (None, "2"), "train/10.png": (None, "10")}
    assert layout.left_out == {"images in test/ (without labels)": 1}


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        ("metadata.csv", "id,dx\n1,2\n1\n", "metadata.csv has no 'file_name' and no 'label'; not used"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "x"}', "metadata.jsonl has no 'label'; not used"),
        ("metadata.csv", "file_name,label\nx.png,1\n", "metadata.csv has no label for any image here; not used"),
        ("dataset.json", '{"name": "x"}', "dataset.json isn't StyleGAN's, which has 'labels'; not used"),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "label": [1]}',
            "metadata.jsonl labels images by something else than a whole number or a word; not used",
        ),
    ],
)
def test_tables_of_something_else_are_told(understood, tmp_path, name, text, note):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_text(text)
    layout = understood("a/a.png", "b/b.png")
    assert layout.classes == ("a", "b")
    assert layout.notes == [note]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("dataset.json", '{"labels": [["a.png", 1]', "can't be read as a table"),
        ("dataset.json", "[" * 100_000, "can't be read as a table"),
        ("dataset.json", '{"labels": 5}', "its 'labels' are no list"),
        ("dataset.json", '{"labels": [["a.png"]]}', "where a file and its label are expected"),
        (
            "dataset.json",
            '{"labels": [["a.png", 1], ["b.png", 2]]}',
            "1 of 3 images have no label, for example c.png; add",
        ),
        ("dataset.json", '{"labels": [["a.png", 1], ["a.png", 2]]}', "a.png has two labels, 1 and 2; keep one"),
        ("metadata.csv", "file_name,label\na.png\n", "not every line has 2 cells"),
        ("metadata.csv", b"file_name,label\na.png,caf\xe9\n", "not in UTF-8"),
        ("metadata.csv", "file_name,label\na.png,1\nb.png,2\nc.png,'\x07'\n", "has a control character"),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "label": 1}\n{"file_name": "b.png", "label": "x"}',
            "by numbers and",
        ),
        ("metadata.jsonl", '{"file_name": "a.png", "label": 1}\n7', "a line that is no object"),
    ],
)
def test_a_table_that_is_damaged_or_does_not_fit(understood, tmp_path, name, text, problem):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        understood("a.png", "b.png", "c.png")
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/set")
    assert str(caught.value).isprintable(), "one line"


def test_a_table_opens_nothing(understood, tmp_path):
    (tmp_path / "secret.png").touch()
    (tmp_path / "set").mkdir()
    rows = [["../secret.png", 3], [f"{tmp_path}/secret.png", 3], ["a.png", 1], ["b.png", 2]]
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"labels": rows}))
    layout = understood("a.png", "b.png")
    assert (layout.files, layout.classes) == (["a.png", "b.png"], ("1", "2"))


def test_a_changed_table_of_labels_means_a_new_pack(write, of, pictures):
    folder = write(pictures[:20])
    for turned in (0, 1):
        rows = [[f"{number:03}.png", (number + turned) % 2] for number in range(20)]
        (folder / "dataset.json").write_text(json.dumps({"labels": rows}))
        dataset = of(folder)
        assert dataset.train.labels.tolist() == [(row + turned) % 2 for row in dataset.train.rows.tolist()]


def test_plain_folders_are_read_as_ever(write, of, pictures):
    """Rows, labels and pixels are what runs go on with: these digests are 0.1.0's.

    It left classes out of splits; a folder in which it did is divided otherwise now.
    """
    assert of(write(pictures[:50], "flat")).digest().startswith("9c83f6bc29f9039c")
    write(pictures[:60], "set/training", classes=True)
    write(pictures[60:80], "set/testing", classes=True)
    folder = write(pictures[80:], "set/valid", classes=True).parent
    assert of(folder).digest().startswith("7231aecf0cf4fe30")


# ---------------------------------------------------------------------------------------------------------------------
# Attributes in metadata.*, and Kaggle's tables
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_columns_of_yes_and_no_are_attributes(table, write, of, pictures, caplog):
    folder = write(pictures[:30])
    rows = pd.DataFrame(
        {
            "file_name": [f"{number:03}.png" for number in range(30)],
            "label": ["abc"[number % 3] for number in range(30)],
            "is odd": [number % 2 == 1 for number in range(30)],
            "Late": [int(number > 20) for number in range(30)],
            "caption": [f"digit {number}" for number in range(30)],
            "all": [1] * 30,
        }
    )
    {
        "metadata.csv": lambda: rows.to_csv(folder / table, index=False),
        "metadata.jsonl": lambda: rows.to_json(folder / table, orient="records", lines=True),
        "metadata.parquet": lambda: rows.to_parquet(folder / table),
    }[table]()
    with caplog.at_level(logging.INFO, "genkit"):
        dataset = of(folder)
    assert dataset.attributes == ("is-odd", "late")
    assert dataset.classes == ("a", "b", "c")
    for split in dataset.splits().values():
        numbers = split.rows.numpy()
        assert split.attributes.tolist() == [[bool(number % 2), bool(number > 20)] for number in numbers]
    assert f"{folder}: {table}: not used: caption, all" in caplog.messages
    # attributes.csv goes first
    lines = [f"{number:03}.png,{int(number < 5)}" for number in range(30)]
    (folder / "attributes.csv").write_text("\n".join(["file,early", *lines]))
    assert of(folder).attributes == ("early",)


@pytest.mark.parametrize("ending", ["", ".png"])
@pytest.mark.parametrize("name", ["train.csv", "labels.csv", "train_labels.csv"])
def test_kaggles_tables(ending, name, write, of, pictures):
    """`train.csv` beside the loose images of `train/`; those of `test/` have no labels."""
    folder = write(pictures[:30], "set/train").parent
    write(pictures[30:40], "set/test")
    lines = [f"{number:03}{ending},{number * 0.5},{'cat' if number % 3 else 'dog'}" for number in range(30)]
    (folder / name).write_text("\n".join(["id,weight,breed", *lines]))
    dataset = of(folder)
    assert dataset.classes == ("cat", "dog")
    found = {
        int(row): dataset.classes[int(label)]
        for split in dataset.splits().values()
        for row, label in zip(split.rows, split.labels, strict=True)
    }
    assert found == {number: "cat" if number % 3 else "dog" for number in range(30)}
