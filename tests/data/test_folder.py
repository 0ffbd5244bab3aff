from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genkit.data import pack, verify
from genkit.data.dataset import Dataset
from genkit.errors import DataError


def by_row(dataset: Dataset) -> np.ndarray:
    """All images of a set in the order of the pack, uint8 (N, C, H, W)."""
    rows = torch.cat([split.rows for split in dataset.splits().values()])
    assert sorted(rows.tolist()) == list(range(len(rows))), "a row is missing, or in two splits"
    return dataset.train.storage.numpy()


def labels_by_row(dataset: Dataset) -> list[int]:
    known = [
        (row, label)
        for split in dataset.splits().values()
        for row, label in zip(split.rows.tolist(), split.labels.tolist(), strict=True)
    ]
    return [label for _, label in sorted(known)]


def test_subfolders_are_classes(write, of, pictures):
    dataset = of(write(pictures, classes=True))
    assert dataset.shape == (1, 28, 28)
    assert (by_row(dataset)[:, 0] == pictures).all()
    assert dataset.classes == tuple("0123456789")
    assert labels_by_row(dataset) == [number // 10 for number in range(100)]
    assert [len(split) for split in dataset.splits().values()] == [80, 10, 10]


def test_the_same_splits_at_any_size_and_under_any_name(write, of, pictures):
    dataset = of(write(pictures))
    resized = of(write(pictures), image_size=45, channels=3)
    assert resized.shape == (3, 45, 45)
    for part, split in dataset.splits().items():
        assert torch.equal(resized.splits()[part].rows, split.rows)
    backwards = of(write(pictures[::-1], "backwards"))
    for part, split in dataset.splits().items():
        assert sorted(backwards.splits()[part].rows.tolist()) == sorted(99 - split.rows.numpy())


def test_decoded_once(write, of, pictures, home, files_in):
    folder = write(pictures[:20])
    first = of(folder)
    packs = files_in(home)
    assert [name.rpartition("/")[2] for name in packs] == ["images.npy", "pack.json", "sources.json", "splits.npy"]
    for path in folder.iterdir():
        status = path.stat()
        path.write_bytes(b"x" * status.st_size)  # no image any more, but it looks unchanged
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert torch.equal(of(folder).train.images(), first.train.images())
    assert files_in(home) == packs


def test_a_changed_folder_is_packed_anew_and_the_old_pack_goes(write, of, pictures, home, files_in):
    folder = write(pictures[:20])
    of(folder)
    before = files_in(home)
    shutil.copy(folder / "000.png", folder / "new.png")
    dataset = of(folder)
    assert sum(map(len, dataset.splits().values())) == 21
    after = files_in(home)
    assert len(after) == len(before)
    assert not set(after) & set(before)


def test_every_class_of_a_folder_stands_in_every_split(write, of, pictures):
    """Of 12 classes of 10 pictures, a hash alone leaves some without a test image."""
    folder = write(np.concatenate([pictures, 255 - pictures[:20]]), classes=True)
    for split in of(folder).splits().values():
        assert split.labels.unique().tolist() == list(range(12))


def test_hidden_and_other_files_are_left_out(write, of, pictures, caplog):
    folder = write(pictures[:20])
    (folder / ".hidden.png").write_bytes((folder / "000.png").read_bytes())
    (folder / "README.md").write_text("no image")
    (folder / "LOUD.PNG").write_bytes((folder / "000.png").read_bytes())
    with caplog.at_level(logging.WARNING, "genkit"):
        dataset = of(folder)
    assert caplog.messages == [f"{folder}: left out: 1 hidden image"]
    # Sorted as bytes: digits, capitals, small letters.
    assert (by_row(dataset)[:, 0] == [*pictures[:20], pictures[0]]).all()


def test_a_folder_around_the_folder_means_nothing(write, of, pictures, tmp_path):
    folder = write(pictures, "unzipped/archive", classes=True)
    assert of(folder.parent).classes == tuple("0123456789")


def test_pictures_beside_subfolders_mean_no_classes(write, of, pictures, caplog):
    folder = write(pictures[:30], classes=True)
    shutil.move(folder / "0" / "000.png", folder / "loose.png")
    with caplog.at_level(logging.WARNING, "genkit"):
        dataset = of(folder)
    assert dataset.classes == ()
    assert dataset.train.labels is None
    assert "1 image beside the subfolders" in caplog.text


def test_the_folders_own_splits(write, of, pictures):
    write(pictures[:60], "set/training", classes=True)
    write(pictures[60:80], "set/testing", classes=True)
    dataset = of(write(pictures[80:], "set/valid", classes=True).parent)
    assert dataset.classes == tuple("012345")
    images = {part: split.images()[:, 0].numpy() for part, split in dataset.splits().items()}
    assert (images["train"] == pictures[:60]).all()
    assert (images["test"] == pictures[60:80]).all()
    assert (images["val"] == pictures[80:]).all()
    assert dataset.test.labels.tolist() == [0] * 10 + [1] * 10


def test_an_image_in_two_of_the_folders_splits_stays_in_test(write, of, pictures, caplog):
    write(pictures[:50], "set/train")
    folder = write(pictures[40:60], "set/test").parent
    with caplog.at_level(logging.WARNING, "genkit"):
        dataset = of(folder)
    assert f"{folder}: left out: 10 images of train that test has, too" in caplog.messages
    assert (dataset.test.images()[:, 0].numpy() == pictures[40:60]).all()
    assert len(dataset.train) + len(dataset.val) == 40
    train = set(dataset.train.fingerprinted().fingerprints.tolist())
    assert not train & set(dataset.test.fingerprinted().fingerprints.tolist())


def test_duplicates_do_not_leak(write, of, pictures):
    """Every picture twice, once in each of two formats."""
    folder = write(pictures)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).convert("P").save(folder / f"copy-{number:03}.gif")
    seen = [set(split.fingerprinted().fingerprints.tolist()) for split in of(folder).splits().values()]
    assert [len(each) for each in seen] == [80, 10, 10]
    assert len(set.union(*seen)) == 100


def test_pictures_that_become_alike_do_not_leak(of, tmp_path):
    """80 that differ in one pixel, which the resizing averages away, and 20 that stay apart."""
    folder = tmp_path / "alike"
    folder.mkdir()
    for number in range(100):
        picture = np.full((64, 64), number if number < 20 else 100, np.uint8)
        picture[number % 8, number // 8] += 1
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    dataset = of(folder, image_size=8)
    seen = [set(split.fingerprinted().fingerprints.tolist()) for split in dataset.splits().values()]
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_splits_beside_other_folders_are_refused(write, of, pictures):
    for number, name in enumerate(("train", "test", "extra")):
        folder = write(pictures[number * 10 : number * 10 + 10], f"set/{name}")
    with pytest.raises(DataError, match="set: extra/ beside the splits test and train; move them out"):
        of(folder.parent)


def test_attributes_and_celebas_splits(write, of, pictures):
    folder = write(pictures[:30], "celeba/img_align_celeba").parent
    rows = "".join(f"{number:03}.png {number % 2 * 2 - 1} {(number > 20) * 2 - 1}\n" for number in range(30))
    (folder / "list_attr_celeba.txt").write_text(f"30\nMale Wavy_Hair\n{rows}")
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{number:03}.png {number // 10}\n" for number in range(30))
    )
    dataset = of(folder)
    assert dataset.attributes == ("male", "wavy-hair")
    assert (dataset.train.images()[:, 0].numpy() == pictures[:10]).all()
    assert (dataset.test.images()[:, 0].numpy() == pictures[20:30]).all()
    assert dataset.test.attributes.tolist() == [[number % 2 == 1, number > 20] for number in range(20, 30)]


def test_a_new_table_means_a_new_pack(write, of, pictures):
    folder = write(pictures[:10])
    assert of(folder).attributes == ()
    (folder / "attributes.csv").write_text("file,x\n" + "".join(f"{number:03}.png,1\n" for number in range(10)))
    assert of(folder).attributes == ("x",)


def test_channels_are_detected(write, of, pictures):
    folder = write(pictures[:10])
    assert of(folder).shape == (1, 28, 28)
    Image.fromarray(pictures[10]).convert("RGB").save(folder / "colour.png")
    dataset = of(folder)
    assert dataset.shape == (3, 28, 28)
    assert (by_row(dataset)[3] == pictures[3]).all()
    assert of(folder, channels=1).shape == (1, 28, 28)


def test_other_than_square(of, tmp_path):
    folder = tmp_path / "wide"
    folder.mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (10, 45, 100, 3), np.uint8)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.png")
    assert of(folder).shape == (3, 45, 100)
    assert (by_row(of(folder)) == pictures.transpose(0, 3, 1, 2)).all()


def test_sizes_must_agree_or_be_made_to(write, of, pictures):
    folder = write(pictures[:20])
    Image.fromarray(pictures[0]).resize((45, 100)).save(folder / "tall.png")
    with pytest.raises(
        DataError, match=r"images of 2 sizes, most often 28x28 \(20\), 45x100 \(1\); give --image-size N"
    ):
        of(folder)
    assert of(folder, image_size=100).shape == (1, 100, 100)


@pytest.fixture
def with_bad_files(write, pictures):
    """18 good pictures and two bad ones: one has no header, the other only half its pixels."""
    folder = write(pictures[:20])
    (folder / "004.png").write_bytes(b"not an image")
    whole = (folder / "011.png").read_bytes()
    (folder / "011.png").write_bytes(whole[: len(whole) // 2])
    return folder


def test_a_bad_file_is_named_with_the_remedy(with_bad_files, of, home, files_in):
    with pytest.raises(DataError) as caught:
        of(with_bad_files)
    assert str(caught.value) == (
        f"{with_bad_files}/004.png is no image, or of a format that isn't read; mend or remove it, or leave bad files "
        f"out with --skip-bad 1 or more (`genkit data verify {with_bad_files}` names them all)"
    )
    with pytest.raises(DataError, match=r"004\.png .* \(and 1 other bad file\); .* --skip-bad 2"):
        of(with_bad_files, skip_bad=1)
    assert files_in(home) == []
    assert list((home / "packed").glob("*")) == list((home / "packed").glob("*.lock")), "no half-written pack"


def test_bad_files_can_be_accepted_and_are_named_each_time(with_bad_files, of, caplog, pictures):
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "genkit"):
            dataset = of(with_bad_files, skip_bad=2)
        assert [message.split(" ")[2] for message in caplog.messages] == [
            f"{with_bad_files}/{n}.png" for n in ("004", "011")
        ]
    good = [number for number in range(20) if number not in (4, 11)]
    assert (by_row(dataset)[:, 0] == pictures[good]).all()


def test_a_pack_without_bad_files_is_no_licence(with_bad_files, of):
    """The next person hasn't accepted what the first did."""
    of(with_bad_files, skip_bad=5)
    with pytest.raises(DataError, match="--skip-bad 2"):
        of(with_bad_files)


def test_labels_stay_with_their_images_where_files_are_left_out(write, of, pictures):
    folder = write(pictures, classes=True)
    (folder / "0" / "003.png").write_bytes(b"bad")
    dataset = of(folder, skip_bad=1)
    assert labels_by_row(dataset) == [0] * 9 + [number // 10 for number in range(10, 100)]


def test_an_empty_folder(tmp_path, of):
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"empty: no image files in it; put some there"):
        of(tmp_path / "empty")


def test_no_folder(tmp_path, of):
    with pytest.raises(DataError, match="none: no such file or folder, and no such set; `genkit data list` names "):
        of(tmp_path / "none")


def test_a_name_that_would_break_a_line(write, of, pictures):
    folder = write(pictures[:10])
    shutil.copy(folder / "000.png", folder / "two\nlines.png")
    with pytest.raises(DataError, match=r"two\\nlines\.png': a name with a control character"):
        of(folder)


def test_no_room_on_the_disk(write, of, pictures, monkeypatch, home, files_in):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(DataError, match=r"packed: the 0\.0 GB of images of .* don't fit, 0\.0 GB are free; make room"):
        of(write(pictures))
    assert files_in(home) == []


def test_verify_names_every_bad_file(with_bad_files, of, pictures):
    shutil.copy(with_bad_files / "000.png", with_bad_files / "again.png")
    findings = verify(str(with_bad_files))
    assert not findings.ok
    assert [problem.split(":")[0] for problem in findings.problems] == [
        f"{with_bad_files}/{n}.png" for n in ("004", "011")
    ]
    assert (findings.files, findings.images, findings.duplicates) == (21, 19, 1)
    assert findings.sizes == {"28x28": 19}
    assert findings.modes == {"L": 19}


def test_verify_checks_the_pack_too(write, of, pictures, home):
    folder = write(pictures[:20])
    of(folder)
    assert verify(str(folder)).ok
    (images,) = home.glob("packed/*/images.npy")
    images.chmod(0o644)
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    for target in (folder, images.parent):
        (problem,) = verify(str(target)).problems
        assert problem.startswith(f"{images}: has changed since it was written; delete {images.parent}")


@pytest.fixture
def photographs(tmp_path, pictures) -> Path:
    """Ten JPEG files, each of sixteen real digits."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(10):
        digits = pictures[number * 9 : number * 9 + 16].reshape(4, 4, 28, 28).transpose(0, 2, 1, 3).reshape(112, 112)
        Image.fromarray(digits).save(folder / f"{number}.jpg", quality=90)
    return folder


def with_a_flipped_bit(content: bytes) -> bytes:
    """A JPEG with one bit of its pixels' codes flipped, which still decodes, to other pixels."""
    before = np.asarray(Image.open(io.BytesIO(content)))
    for place in range(content.index(b"\xff\xda") + 20, len(content) - 2):
        flipped = bytearray(content)
        flipped[place] ^= 16
        picture = Image.open(io.BytesIO(flipped))
        try:
            picture.load()
        except OSError:
            continue
        if picture.size == (112, 112) and (np.asarray(picture) != before).any():
            return bytes(flipped)
    raise AssertionError("no such bit")


def rot(path: Path) -> None:
    """Flip a bit as a failing disk does: neither the size nor the time tells."""
    status = path.stat()
    path.write_bytes(with_a_flipped_bit(path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_pack_knows_the_files_it_was_made_of(photographs, of, home):
    (photographs / "3.jpg").write_bytes(b"bad")
    of(photographs, skip_bad=1)
    (path,) = home.glob("packed/*/sources.json")
    assert json.loads(path.read_text()) == {
        file.name: [file.stat().st_size, file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()]
        for file in sorted(photographs.iterdir())
        if file.name != "3.jpg"
    }
    assert json.loads((path.parent / "pack.json").read_text())["sums"]["sources.json"] == (
        hashlib.sha256(path.read_bytes()).hexdigest()
    )


def test_rot_in_a_source_is_found(photographs, of):
    of(photographs)
    of(photographs, image_size=28)
    assert verify(str(photographs)).problems == []
    rot(photographs / "4.jpg")
    problem = (
        f"{photographs}/4.jpg: has changed since it was packed although its size and time are the same; restore it "
        "from a copy, or `touch` it to accept it as it is"
    )
    findings = verify(str(photographs))
    assert findings.problems == [problem]
    assert (findings.files, findings.images) == (10, 10)
    # Also once the folder has changed otherwise, and isn't packed as it is now.
    shutil.copy(photographs / "0.jpg", photographs / "new.jpg")
    assert verify(str(photographs)).problems == [problem]
    (photographs / "4.jpg").touch()
    assert verify(str(photographs)).problems == []


def test_a_file_that_was_written_anew_has_not_rotted(photographs, of):
    of(photographs)
    path = photographs / "4.jpg"
    path.write_bytes(with_a_flipped_bit(path.read_bytes()))
    assert verify(str(photographs)).ok


def test_a_damaged_list_of_sources_is_not_believed(photographs, of, home):
    of(photographs)
    (path,) = home.glob("packed/*/sources.json")
    path.chmod(0o644)
    digest = hashlib.sha256((photographs / "4.jpg").read_bytes()).hexdigest()
    path.write_text(path.read_text().replace(digest, digest[::-1]))
    (problem,) = verify(str(photographs)).problems
    assert problem.startswith(f"{path}: has changed since it was written; delete {path.parent}")


@pytest.mark.parametrize("former", [1, 2, 3])
def test_a_pack_of_an_earlier_version_gives_way(photographs, of, home, monkeypatch, former):
    with monkeypatch.context() as earlier:
        earlier.setattr(pack, "FORMAT", former)
        of(photographs)
    (before,) = home.glob("packed/*/pack.json")
    of(photographs)
    (after,) = home.glob("packed/*/pack.json")
    assert before.parent != after.parent


def test_verify_lists_every_fault_of_the_tables(write, pictures):
    folder = write(pictures[:10])
    lines = ["file,x,y!", "000.png,1,1", "001.png,2,1", "002.png,3,1", "003.png,1", "004.png,1,1", "004.png,1,1"]
    (folder / "attributes.csv").write_text("\n".join(lines))
    (folder / "list_eval_partition.txt").write_text("".join(f"{number:03}.png {number}\n" for number in range(10)))
    findings = verify(str(folder))
    assert findings.problems == [
        f"{folder}/attributes.csv: 'y!' can't name an attribute; use letters, digits and '-' or '_'",
        f"{folder}/attributes.csv: line 5: 2 cells for 003.png, where 3 were expected; mend the line",
        f"{folder}/attributes.csv: 004.png has more than one line; keep one",
        f"{folder}/attributes.csv: no line for 5 of 10 images, for example 005.png; add them",
        f"{folder}/attributes.csv: line 3, x: '2' for 001.png (and 1 more like it); write 0 or 1, -1 or 1, no or yes, "
        "false or true",
        f"{folder}/list_eval_partition.txt: line 4: '3' for 003.png (and 6 more like it); "
        "write 0 for train, 1 for val or 2 for test",
    ]


def test_files_are_the_persons_not_the_packs(write, of, pictures):
    folder = write(pictures[:10])
    of(folder)
    assert verify(str(folder)).files == 10


def test_advice_that_is_sure_of_the_number(with_bad_files, of):
    """Found while decoding, there may be more; read from a pack, these are all."""
    with pytest.raises(DataError, match=r"--skip-bad 2 or more \("):
        of(with_bad_files, skip_bad=1)
    of(with_bad_files, skip_bad=2)
    with pytest.raises(DataError, match=r"--skip-bad 2 \("):
        of(with_bad_files, skip_bad=1)
