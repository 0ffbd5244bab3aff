"""`genkit encode`: codes with all that is known of their images, as NumPy, csv and others read them."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Genkit, run_of
from PIL import Image

from genkit.data import DataOptions, choice, load
from genkit.data.dataset import Dataset, Split
from genkit.keep import checkpoint
from genkit.latent import codes


@pytest.fixture
def own(digits: Dataset, tmp_path: Path) -> Path:
    """Six digits as files in two folders, which are their classes; one can't be told from another's copy."""
    for place, (name, row) in enumerate([("c", 9), ("a", 3), ("b", 300), ("d", 17), ("f", 45), ("e", 3)]):
        folder = tmp_path / "own" / ("even" if place % 2 else "odd, ünlike")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.test.images()[row, 0].numpy()).save(folder / f"{name}.png")
    return tmp_path / "own"


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_codes_are_those_that_sample_gives_and_no_others(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    run = run_of(runs, "vae")
    assert genkit("encode", run, "--split", "test", "--out", tmp_path / "codes.npz").out.split() == [
        str(tmp_path / "codes.npz")
    ]
    genkit("sample", run, "--reconstruct", "--images", "3,499", "--npz", "--out", tmp_path / "sampled")
    found = arrays(tmp_path / "codes.npz")
    assert found["codes"].shape == (500, 2)
    assert found["codes"].dtype == np.float32
    assert np.array_equal(found["codes"][[3, 499]], arrays(tmp_path / "sampled" / "reconstruct.npz")["codes"])


def test_an_archive_holds_what_is_known(genkit: Genkit, runs: Path, tmp_path: Path, digits: Dataset) -> None:
    genkit("encode", run_of(runs, "ae"), "--split", "test", "--out", tmp_path / "codes.npz")
    found = arrays(tmp_path / "codes.npz")
    assert set(found) == {"codes", "rows", "splits", "labels", "classes"}
    assert found["rows"].tolist() == digits.test.rows.tolist()
    assert found["labels"].tolist() == digits.test.labels.tolist()
    assert tuple(found["classes"]) == digits.classes
    assert set(found["splits"]) == {"test"}
    with zipfile.ZipFile(tmp_path / "codes.npz") as archive:
        assert archive.testzip() is None


def test_the_same_command_gives_the_same_bytes(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz", "a.csv", "b.csv"):
        assert genkit("encode", run_of(runs, "vae"), "--limit", "40", "--out", tmp_path / name).code == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_own_pictures_are_all_encoded_and_named(genkit: Genkit, runs: Path, own: Path, tmp_path: Path) -> None:
    outcome = genkit("encode", run_of(runs, "vae"), "--dataset", own, "--out", tmp_path / "codes.csv")
    assert outcome.code == 0, outcome.err
    with (tmp_path / "codes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    files = ["even/a.png", "even/d.png", "even/e.png", "odd, ünlike/b.png", "odd, ünlike/c.png", "odd, ünlike/f.png"]
    assert [row["file"] for row in rows] == files
    assert [row["row"] for row in rows] == list("012345")
    assert [row["class"] for row in rows] == ["even"] * 3 + ["odd, ünlike"] * 3
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    model = checkpoint.read(Path(genkit("info", run_of(runs, "vae"), "--json").json["checkpoint"])).model
    for row in rows:
        with Image.open(own / row["file"]) as picture:
            pixels = torch.from_numpy(np.array(picture.convert("L"))).float()[None, None] / 255
        with torch.no_grad():
            expected = model.encode(pixels)[0].tolist()
        assert [float(row["z0"]), float(row["z1"])] == pytest.approx(expected, abs=1e-5)


def test_a_csv_holds_the_very_codes(genkit: Genkit, runs: Path, tmp_path: Path) -> None:
    for name in ("codes.npz", "codes.csv"):
        genkit("encode", run_of(runs, "conv-ae"), "--split", "val", "--limit", "70", "--out", tmp_path / name)
    with (tmp_path / "codes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = arrays(tmp_path / "codes.npz")
    table = np.array([[row[f"z{index}"] for index in range(8)] for row in rows]).astype(np.float32)
    assert np.array_equal(table, found["codes"])
    assert [int(row["row"]) for row in rows] == found["rows"].tolist()


def test_a_parquet_file_has_the_same_columns(genkit: Genkit, runs: Path, own: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("codes.csv", "codes.parquet"):
        assert genkit("encode", run_of(runs, "vae"), "--dataset", own, "--out", tmp_path / name).code == 0
    with (tmp_path / "codes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "codes.parquet")
    assert table.column_names == list(rows[0])
    assert table["file"].to_pylist() == [row["file"] for row in rows]
    assert np.array_equal(table["z1"].to_numpy(), np.array([row["z1"] for row in rows]).astype(np.float32))


def test_attributes_are_columns_and_never_stand_in_anothers_place(tmp_path: Path) -> None:
    names, attributes = ("hat", "row", "z0"), np.array([[1, 0, 1], [0, 0, 1]], bool)
    known = codes.Known(np.array([4, 9]), ["val", "test"], [], None, attributes, (), names)
    block = np.array([[1, 2], [0.1, 3e-9]], np.float32)
    codes.write(tmp_path / "a.csv", iter([block[:1], block[1:]]), known)
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "row,split,hat,attribute row,attribute z0,z0,z1",
        "4,val,1,0,1,1,2",
        "9,test,0,0,1,0.100000001,3.00000003e-09",
    ]
    codes.write(tmp_path / "a.npz", iter([block[:1], block[1:]]), known)
    found = arrays(tmp_path / "a.npz")
    assert found["attributes"].tolist() == known.attributes.tolist()
    assert tuple(found["attribute_names"]) == names
    assert np.array_equal(found["codes"], block)


def test_a_large_set_is_encoded_some_at_a_time(digits: Dataset, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "BLOCK", 64)
    sizes = []
    images = Split.images
    monkeypatch.setattr(Split, "images", lambda self, *args: sizes.append(len(self)) or images(self, *args))
    path = next(run_of(runs, "ae").glob("checkpoints/*"))
    model = checkpoint.read(path).model
    blocks = list(codes.encoded(model, digits.test, torch.device("cpu")))
    assert max(sizes) == 64
    assert sum(map(len, blocks)) == 500


def test_all_of_a_set_is_every_image_once_in_its_order(own: Path, digits: Dataset) -> None:
    dataset = load(DataOptions(dataset=str(own)))
    everything = choice.taken(dataset, "all")
    assert everything.rows.tolist() == list(range(6))
    assert everything.labels.tolist() == [0, 0, 0, 1, 1, 1]
    rows, names = choice.origins(dataset, "all")
    assert rows.equal(everything.rows)
    for name in ("train", "val", "test"):
        assert [row for row, each in zip(rows.tolist(), names, strict=True) if each == name] == (
            dataset.splits()[name].rows.tolist()
        )


def test_all_of_splits_in_different_files_is_one_after_the_other() -> None:
    def block(*values: int) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.uint8)[:, None, None, None]

    first, second = block(10, 11, 12), block(20, 21)
    train, val = (Split(first, torch.tensor(rows), torch.tensor(rows)) for rows in ([0, 2], [1]))
    dataset = Dataset("both", train, val, Split(second, torch.tensor([0, 1]), torch.tensor([7, 8])))
    assert choice.taken(dataset, "all").images().flatten().tolist() == [10, 11, 12, 20, 21]
    assert choice.taken(dataset, "all").labels.tolist() == [0, 1, 2, 7, 8]
    rows, names = choice.origins(dataset, "all")
    assert rows.tolist() == [0, 1, 2, 0, 1]
    assert names == ["train", "val", "train", "test", "test"]


def test_a_folder_that_brings_splits_keeps_to_them(genkit: Genkit, runs: Path, own: Path, tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    for place, file in enumerate(sorted(own.rglob("*.png"))):
        to = tmp_path / "split" / ("train" if place % 2 else "test") / file.parent.name
        to.mkdir(parents=True, exist_ok=True)
        file.rename(to / file.name)
    sampled = ("sample", run_of(runs, "vae"), "--reconstruct", "--dataset", tmp_path / "split", "--out", tmp_path)
    assert genkit(*sampled, "--json").json["n"] == 3
    result = genkit("encode", run_of(runs, "vae"), "--dataset", tmp_path / "split", "--json").json
    assert (result["split"], result["n"]) == ("all", 6), "codes say of each image which split it is in"


@pytest.mark.parametrize(
    ("name", "arguments", "code", "says"),
    [
        ("dcgan", [], 2, "has no encoder; genkit sample --reconstruct searches"),
        ("classifier", [], 2, "is a classifier: it has no encoder"),
        ("vae", ["--out", "codes.txt"], 2, "written as .npz, .csv or .parquet"),
        ("vae", ["--out", "."], 2, "is a folder"),
        ("vae", ["--out", "there.npz"], 1, "there.npz is there already and stays as it is"),
        ("vae", ["--dataset", "nowhere"], 2, "nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_written_is_refused(
    genkit: Genkit,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npz").write_text("mine")
    outcome = genkit("encode", run_of(runs, name), *arguments)
    assert outcome.code == code
    assert says in outcome.err
    assert (tmp_path / "there.npz").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_archive_with_splits_keeps_to_them_and_one_without_is_meant_all(
    genkit: Genkit, runs: Path, digits: Dataset, tmp_path: Path
) -> None:
    images = digits.train.images(slice(0, 12)).numpy()
    np.savez(tmp_path / "split.npz", x_train=images[:8], x_test=images[8:])
    np.savez(tmp_path / "whole.npz", images=images)
    for name, split, count in (("split", "test", 4), ("whole", "all", 12)):
        outcome = genkit("embed", run_of(runs, "vae"), "--dataset", tmp_path / f"{name}.npz", "--json")
        assert (outcome.json["split"], outcome.json["n"]) == (split, count)
        assert ("has no splits of its own, so all of its images are meant" in outcome.err) == (split == "all")
