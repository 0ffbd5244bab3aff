from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from genkit.data import DataOptions, verify
from genkit.data.dataset import Dataset
from genkit.data.forms import opened
from genkit.errors import DataError

Pack = Callable[..., Path]


def content(dataset: Dataset) -> dict[str, list[tuple]]:
    """All that there is in each split, whatever its order."""
    return {
        name: sorted(
            (
                split.images()[row].numpy().tobytes(),
                None if split.labels is None else dataset.classes[int(split.labels[row])],
                None if split.attributes is None else tuple(split.attributes[row].tolist()),
            )
            for row in range(len(split))
        )
        for name, split in dataset.splits().items()
    }


def zipped(folder: Path, method: int = zipfile.ZIP_DEFLATED, inside: str = "") -> Path:
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, Path(inside) / file.relative_to(folder))
    return path


def tarred(folder: Path, how: str = "w", inside: str = "", ending: str = "tar", **options: object) -> Path:
    path = folder.with_name(f"{folder.name}.{ending}")
    with tarfile.open(path, how, **options) as archive:  # type: ignore[call-overload]
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.add(file, Path(inside) / file.relative_to(folder), recursive=False)
    return path


WAYS = {
    "zip": zipped,
    "zip, stored": lambda folder: zipped(folder, zipfile.ZIP_STORED),
    "zip, bzip2": lambda folder: zipped(folder, zipfile.ZIP_BZIP2),
    "zip of a folder": lambda folder: zipped(folder, inside=f"my {folder.name}"),
    "tar": tarred,
    "tar of a folder": lambda folder: tarred(folder, inside=f"./{folder.name}"),
    "tar, ustar": lambda folder: tarred(folder, format=tarfile.USTAR_FORMAT),
    "tar, gnu": lambda folder: tarred(folder, format=tarfile.GNU_FORMAT),
    "tar.gz": lambda folder: tarred(folder, "w:gz", ending="tar.gz"),
    "tar.bz2": lambda folder: tarred(folder, "w:bz2", ending="tar.bz2"),
    "tar.xz": lambda folder: tarred(folder, "w:xz", ending="tar.xz"),
    "tgz without its name": lambda folder: tarred(folder, "w:gz", ending="download"),
}


@pytest.mark.parametrize("way", WAYS)
def test_class_folders(way, write, of, pictures):
    folder = write(pictures, classes=True)
    dataset = of(WAYS[way](folder))
    assert dataset.classes == tuple("0123456789")
    assert content(dataset) == content(of(folder))


def test_pictures_of_an_archive_are_those_of_the_files(write, of, pictures):
    """In the order in which they stand there."""
    folder = write(pictures, classes=True)
    assert (of(zipped(folder)).train.storage[:, 0].numpy() == pictures).all()
    assert (of(tarred(folder)).train.storage[:, 0].numpy() == pictures[::-1]).all()


@pytest.mark.parametrize("way", ["zip", "zip of a folder", "tar.gz", "tar of a folder"])
def test_splits_and_attributes(way, write, of, pictures):
    folder = write(pictures[:60], "set/train", classes=True).parent
    write(pictures[60:], "set/test", classes=False)
    shutil.copytree(folder / "train" / "0", folder / "test" / "0")
    for file in (folder / "test").glob("*.png"):
        file.rename(folder / "test" / "0" / file.name)
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.png"))
    lines = [f"{file},{number % 2},{number % 3 == 0}" for number, file in enumerate(files)]
    (folder / "attributes.csv").write_text("\n".join(["file,odd,third", *lines]))
    dataset = of(WAYS[way](folder))
    assert dataset.attributes == ("odd", "third")
    assert content(dataset) == content(of(folder))


def test_styleganas_own_archive(of, pictures, tmp_path):
    """As its dataset_tool.py writes it: stored, numbered, labelled by dataset.json."""
    path = tmp_path / "dataset.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        labels = []
        for number, picture in enumerate(pictures):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "png", compress_level=0, optimize=False)
            name = f"{number // 50:05}/img{number:08}.png"
            archive.writestr(name, buffer.getvalue())
            labels.append([name, number // 10])
        archive.writestr("dataset.json", f'{{"labels": {labels}}}'.replace("'", '"'))
    dataset = of(path)
    assert dataset.classes == tuple("0123456789")
    assert (dataset.train.storage[:, 0].numpy() == pictures).all()
    for split in dataset.splits().values():
        assert split.labels is not None
        assert split.labels.tolist() == [int(row) // 10 for row in split.rows]


@pytest.mark.parametrize("table", ["metadata.csv", "metadata.jsonl"])
@pytest.mark.parametrize("way", ["zip", "tar.gz", "tar of a folder"])
def test_hugging_faces_tables(table, way, write, of, pictures):
    folder = write(pictures[:30])
    rows = [(f"{number:03}.png", "abc"[number % 3]) for number in range(30)]
    lines = {
        "metadata.csv": ["file_name,label", *(f"{file},{label}" for file, label in rows)],
        "metadata.jsonl": [f'{{"file_name": "{file}", "label": "{label}"}}' for file, label in rows],
    }[table]
    (folder / table).write_text("\n".join(lines))
    dataset = of(WAYS[way](folder))
    assert dataset.classes == ("a", "b", "c")
    assert content(dataset) == content(of(folder))


def test_celebas_archive_beside_its_tables(write, of, pictures, tmp_path):
    folder = write(pictures[:30], "celeba/img_align_celeba")
    names = [f"{number:03}.png" for number in range(30)]
    attributes = [f"{name} {1 if number % 2 else -1} -1" for number, name in enumerate(names)]
    (folder.parent / "list_attr_celeba.txt").write_text("\n".join(["30", "Male Wearing_Hat", *attributes]) + "\n")
    parts = [f"{name} {number % 3}" for number, name in enumerate(names)]
    (folder.parent / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    expected = content(of(folder.parent))
    assert len(expected["test"]) == 10
    zipped(folder, inside="img_align_celeba")
    shutil.rmtree(folder)
    dataset = of(folder.parent)
    assert dataset.attributes == ("male", "wearing-hat")
    assert content(dataset) == expected


def test_what_isnt_read_is_counted_as_in_a_folder(write, of, pictures):
    folder = write(pictures[:20], classes=True)
    for name in ("notes.txt", ".hidden.png", "__MACOSX/0/._000.png", "a.svg", "b.svg", "empty/nothing.txt", "model"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "0" / "000.png", folder / name)
    for path in (folder, zipped(folder), tarred(folder)):
        source = opened(DataOptions(dataset=str(path)))
        assert source.left_out == {
            ".svg": 2,
            "hidden images": 1,
            "images in __MACOSX/": 1,
            "files without an ending": 1,
        }
        assert source.warnings == ["1 folder without an image (empty/)"]


def test_verify_an_archive(write, pictures):
    path = zipped(write(pictures[:20], classes=True))
    findings = verify(DataOptions(dataset=str(path)))
    assert findings.ok
    assert (findings.files, findings.images) == (20, 20)
    assert findings.sizes == {"28x28": 20}


def test_a_changed_archive_means_a_new_pack(write, of, pictures):
    folder = write(pictures[:20])
    path = zipped(folder)
    assert (of(path).train.storage[0, 0].numpy() == pictures[0]).all()
    Image.fromarray(pictures[50]).save(folder / "000.png")
    assert zipped(folder) == path
    assert (of(path).train.storage[0, 0].numpy() == pictures[50]).all()


# ---------------------------------------------------------------------------------------------------------------------
# What other programs write
# ---------------------------------------------------------------------------------------------------------------------


def test_long_names(write, of, pictures):
    """Of more than the 100 letters that a header has room for."""
    folder = write(pictures[:20], "/".join(["set", "folder" * 20, "inner" * 15, "pictures"]))
    top = folder.parents[2]
    expected = content(of(top))
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path = tarred(top, format=format)
        assert content(of(path)) == expected
        path.unlink()


def test_links_in_a_tar_are_followed_within_it(write, of, pictures, tmp_path, caplog):
    folder = write(pictures[:20], classes=True)
    (folder / "0" / "again.png").symlink_to("000.png")
    (folder / "1" / "other.png").symlink_to("../0/003.png")
    os.link(folder / "0" / "004.png", folder / "1" / "hard.png")
    (folder / "1" / "outside.png").symlink_to(tmp_path / "secret.png")
    shutil.copy(folder / "0" / "001.png", tmp_path / "secret.png")
    with caplog.at_level(logging.WARNING, "genkit"):
        dataset = of(tarred(folder))
    assert sum(len(split) for split in dataset.splits().values()) == 22
    assert any("2 images in more than one class, through links" in message for message in caplog.messages)
    assert any(
        "1 link to nothing in the archive" in message and "1 link to an image that is there already" in message
        for message in caplog.messages
    )


def test_links_in_a_zip_are_followed_within_it(write, of, pictures):
    folder = write(pictures[:20], classes=True)
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        for name, target in (("1/other.png", "../0/003.png"), ("1/lost.png", "/etc/passwd")):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o120777 << 16
            archive.writestr(info, target)
    dataset = of(path)
    assert sum(len(split) for split in dataset.splits().values()) == 21
    assert opened(DataOptions(dataset=str(path))).left_out == {"links to nothing in the archive": 1}


def test_names_that_lead_out_are_left_out(write, of, pictures, tmp_path):
    path = zipped(write(pictures[:20]))
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(tmp_path / "pictures" / "000.png", "../../out.png")
        archive.write(tmp_path / "pictures" / "000.png", "x")
    with zipfile.ZipFile(path) as archive:
        raw = path.read_bytes().replace(b"../../out.png", b"/absolute.png")
        assert "../../out.png" in archive.namelist()
    source = opened(DataOptions(dataset=str(path)))
    assert source.left_out == {"files whose names lead out of the archive": 1, "files without an ending": 1}
    assert source.count == 20
    path.write_bytes(raw)
    assert opened(DataOptions(dataset=str(path))).count == 21


def test_the_last_of_several_members_of_a_name(write, of, pictures):
    folder = write(pictures[:20])
    archives = [zipped(folder), tarred(folder)]
    Image.fromarray(pictures[50]).save(folder / "new.png")
    with zipfile.ZipFile(archives[0], "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.write(folder / "new.png", "000.png")
    with tarfile.open(archives[1], "a") as tar:
        tar.add(folder / "new.png", "000.png")
    for path in archives:
        source = opened(DataOptions(dataset=str(path)))
        assert source.left_out == {"files that others of the same name come after": 1}
        assert (of(path).train.storage[:, 0].numpy() == pictures[50]).all((1, 2)).any()


def test_zip_64(write, of, pictures):
    """Members and a directory whose numbers are written in 64 bits."""
    folder = write(pictures[:20], classes=True)
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            with archive.open(file.relative_to(folder).as_posix(), "w", force_zip64=True) as member:
                member.write(file.read_bytes())
    expected = content(of(folder))
    assert content(of(path)) == expected
    # As a program that unpacks itself.
    moved = folder.with_suffix(".moved")
    moved.write_bytes(path.read_bytes())
    raw = b"PK\x03\x04" + bytes(100) + moved.read_bytes()
    moved.write_bytes(raw)
    assert content(of(moved)) == expected


def test_more_members_than_16_bits_count(of, pictures, tmp_path):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(66_000):
            archive.writestr(f"notes/{number}.txt", b"")
        for number, picture in enumerate(pictures[:10]):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "png")
            archive.writestr(f"{number}.png", buffer.getvalue())
    assert opened(DataOptions(dataset=str(path))).count == 10


@pytest.mark.skipif(not shutil.which("zip"), reason="no zip here")
def test_what_info_zip_writes(write, of, pictures):
    folder = write(pictures[:20], classes=True)
    subprocess.run(["zip", "-q", "-r", "../set.zip", "."], cwd=folder, check=True)
    assert content(of(folder.with_name("set.zip"))) == content(of(folder))


def test_names_in_utf_8_that_dont_say_so(of, pictures, tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, picture in enumerate(pictures[:20]):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "png")
            archive.writestr(f"{'äö'[number % 2]}/{number}.png", buffer.getvalue())
    raw = path.read_bytes()
    assert raw.count(b"\x00\x08") >= 20
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw = mark.join(
            [raw.split(mark)[0], *(part[: at - 4] + b"\0\0" + part[at - 2 :] for part in raw.split(mark)[1:])]
        )
    path.write_bytes(raw)
    with zipfile.ZipFile(path) as archive:
        assert "├ñ/0.png" in archive.namelist()
    assert of(path).classes == ("ä", "ö")


# ---------------------------------------------------------------------------------------------------------------------
# Damage
# ---------------------------------------------------------------------------------------------------------------------


def test_a_changed_byte_is_found_by_its_member(write, of, pictures):
    path = zipped(write(pictures[:20]), zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("007.png")
    raw[info.header_offset + 30 + len("007.png") + 60] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError) as error:
        of(path)
    assert str(error.value) == (
        f"{path}/007.png can't be taken out of its archive (its bytes have changed: CRC-32); mend or remove it, or "
        f"leave bad files out with --skip-bad 1 or more (`genkit data verify {path}` names them all)"
    )
    assert sum(len(split) for split in of(path, skip_bad=1).splits().values()) == 19


def test_an_encrypted_zip_is_refused(write, of, pictures):
    path = zipped(write(pictures[:20]))
    raw = path.read_bytes()
    place = raw.index(b"PK\x01\x02")
    path.write_bytes(raw[: place + 8] + b"\1" + raw[place + 9 :])
    with pytest.raises(DataError, match=r"000.png: is encrypted, which isn't read; unpack the archive"):
        of(path)


@pytest.mark.parametrize("way", ["zip", "tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_an_archive_that_is_cut(way, write, of, pictures):
    path = WAYS[way](write(pictures[:20]))
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError) as error:
        of(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "again" in str(error.value)


def test_a_damaged_header_isnt_the_end_of_a_tar(write, of, pictures):
    """`tarfile` takes it for that, and would go on without a word with half of the pictures."""
    path = tarred(write(pictures[:20]))
    raw = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        member = archive.getmember("010.png")
    raw[member.offset + 3] ^= 1
    path.write_bytes(raw)
    with tarfile.open(path) as archive:
        assert len(archive.getnames()) < 20
    with pytest.raises(DataError, match=f"what stands at byte {member.offset:,} is no member's header"):
        of(path)


@pytest.mark.parametrize("claim", [2**31, 2**33])
def test_a_member_that_claims_more_than_there_can_be(claim, write, of, pictures):
    folder = write(pictures[:20])
    path = zipped(folder)
    raw = path.read_bytes()
    place = raw.index(b"PK\x01\x02")
    path.write_bytes(raw[: place + 24] + min(claim, 2**32 - 2).to_bytes(4, "little") + raw[place + 28 :])
    with pytest.raises(DataError, match=r"000.png claims [\d,]+ bytes in \d+, which can't be"):
        of(path)
    path = tarred(folder)
    info = tarfile.TarInfo("999.png")
    info.size = claim
    path.write_bytes(info.tobuf() + path.read_bytes())
    with pytest.raises(DataError, match=f"999.png claims {claim:,} bytes"):
        of(path)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_bomb_of_a_tar(pack, of, tmp_path):
    info = tarfile.TarInfo("a.png")
    info.size = 1 << 30
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(pack(info.tobuf() + bytes(1 << 26)))
    with pytest.raises(DataError, match=r"bomb\.tar\.gz"):
        of(path)


def test_a_header_of_any_size_isnt_read(of, tmp_path):
    """Of a long name, which `tarfile` reads as long as it says."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 24
    (tmp_path / "a.tar").write_bytes(info.tobuf() + b"a" * (1 << 24) + bytes(1024))
    with pytest.raises(DataError, match="a header of more than 1,048,576 bytes"):
        of(tmp_path / "a.tar")


def test_sparse_members_are_left_out(write, pictures, tmp_path):
    folder = write(pictures[:20])
    with (folder / "hole.png").open("wb") as file:
        file.truncate(1 << 20)
    path = tmp_path / "sparse.tar"
    subprocess.run(["tar", "--sparse", "-cf", path, "-C", folder, "."], check=True)
    source = opened(DataOptions(dataset=str(path)))
    assert source.left_out == {"sparse files": 1}
    assert source.count == 20


def test_special_files_in_a_tar(write, pictures):
    folder = write(pictures[:20])
    os.mkfifo(folder / "pipe.png")
    assert opened(DataOptions(dataset=str(tarred(folder)))).left_out == {"special files": 1}


def test_an_empty_archive(of, tmp_path):
    zipfile.ZipFile(tmp_path / "a.zip", "w").close()
    with pytest.raises(DataError, match=r"a.zip: no image files in it; put some there"):
        of(tmp_path / "a.zip")


# ---------------------------------------------------------------------------------------------------------------------
# Other files in archives, and archives in folders
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("way", ["zip", "zip of a folder", "tar", "tar.gz"])
def test_an_npz_in_an_archive(how, way, of, pictures, tmp_path):
    (tmp_path / "set").mkdir()
    how(tmp_path / "set" / "digits.npz", images=pictures, labels=np.arange(100) // 10)
    expected = of(tmp_path / "set" / "digits.npz")
    dataset = of(WAYS[way](tmp_path / "set"))
    assert content(dataset) == content(expected)
    assert dataset.classes == expected.classes


def test_a_large_member_is_read_without_holding_it(of, pictures, tmp_path, monkeypatch):
    from genkit.data.forms import archives

    monkeypatch.setattr(archives, "HELD", 1000)
    (tmp_path / "set").mkdir()
    np.savez(tmp_path / "set" / "digits.npz", images=pictures, labels=np.arange(100) // 10)
    expected = content(of(tmp_path / "set" / "digits.npz"))
    for path in [
        zipped(tmp_path / "set"),
        zipped(tmp_path / "set", zipfile.ZIP_STORED),
        zipped(tmp_path / "set", zipfile.ZIP_BZIP2),
        tarred(tmp_path / "set"),
        tarred(tmp_path / "set", "w:xz", ending="tar.xz"),
    ]:
        assert content(of(path)) == expected


def test_archives_of_classes_and_of_splits(write, of, pictures, tmp_path):
    folder = write(pictures[:40], "set", classes=True)
    expected = content(of(folder))
    archives = tmp_path / "archives"
    archives.mkdir()
    for number in range(4):
        zipped(folder / str(number)).rename(archives / f"{number}.zip")
    assert content(of(archives)) == expected
    splits = tmp_path / "splits"
    for part, numbers in (("train", (0, 1)), ("test", (2, 3))):
        for number in numbers:
            shutil.copytree(folder / str(number), splits / part / str(number % 2))
    expected = content(of(splits))
    (tmp_path / "packed").mkdir()
    zipped(splits / "train", inside="train").rename(tmp_path / "packed" / "train.zip")
    tarred(splits / "test", "w:gz").rename(tmp_path / "packed" / "test.tar.gz")
    assert len(expected["test"]) == 20
    assert content(of(tmp_path / "packed")) == expected


def test_numbered_archives_are_one_folder(write, of, pictures, tmp_path):
    folder = write(pictures[:40], "set")
    expected = content(of(folder))
    (tmp_path / "packed").mkdir()
    for part in range(2):
        with tarfile.open(tmp_path / "packed" / f"images_{part + 1:03}.tar.gz", "w:gz") as archive:
            for number in range(20 * part, 20 * part + 20):
                archive.add(folder / f"{number:03}.png", f"images/{number:03}.png")
    dataset = of(tmp_path / "packed")
    assert content(dataset) == expected
    assert dataset.classes == ()


# ---------------------------------------------------------------------------------------------------------------------
# WebDataset
# ---------------------------------------------------------------------------------------------------------------------


def shards(pattern: str, pictures: np.ndarray, labels: list, first: int = 0, **more: object) -> None:
    """As webdataset's own writer makes them, 25 samples each."""
    with webdataset.ShardWriter(pattern, maxcount=25, verbose=0) as sink:
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            sink.write(
                {"__key__": f"{first + number:06}", "png": picture, **{key: say(label) for key, say in more.items()}}
            )


@pytest.mark.parametrize("way", ["cls", "json"])
def test_what_webdataset_writes(way, of, pictures, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    labels = [number // 10 for number in range(100)]
    say = {"cls": {"cls": int}, "json": {"json": lambda label: {"label": label, "id": 7}}}[way]
    shards(f"{folder}/train-%06d.tar", pictures[:70], labels[:70], **say)
    shards(f"{folder}/test-%06d.tar", pictures[70:], labels[70:], 70, **say)
    assert len(list(folder.iterdir())) == 5
    source = opened(DataOptions(dataset=str(folder)))
    assert source.left_out == {}
    assert source.classes == tuple("0123456789")
    assert source.parts.tolist() == [2] * 30 + [0] * 70
    dataset = of(folder)
    assert dataset.test.labels.tolist() == labels[70:]
    assert (dataset.test.images()[:, 0].numpy() == pictures[70:]).all()
    # One shard alone
    one = of(folder / "train-000001.tar")
    assert (one.train.storage[:, 0].numpy() == pictures[25:50]).all()
    assert one.classes == ("2", "3", "4")


def test_several_pictures_of_a_sample(of, pictures, tmp_path):
    path = tmp_path / "a.tar.gz"
    with webdataset.TarWriter(str(path), compress=True) as sink:
        for number, picture in enumerate(pictures[:20]):
            sample = {"png": picture, "cls": number // 10, "txt": "a digit", "mask.png": 255 - picture}
            sink.write({"__key__": f"inner/{number}", **sample})
    source = opened(DataOptions(dataset=str(path)))
    assert source.left_out == {"further pictures of a sample (*.mask.png)": 20}
    assert source.notes == ["20 captions (.txt) aren't used", "classes are those of *.cls"]
    assert (of(path).train.storage[:, 0].numpy() == pictures[:20]).all()


def test_samples_without_labels(of, pictures, tmp_path):
    """As img2dataset writes them."""
    folder = tmp_path / "set"
    folder.mkdir()
    shards(f"{folder}/%05d.tar", pictures[:50], ["a digit"] * 50, json=lambda text: {"caption": text}, txt=str)
    source = opened(DataOptions(dataset=str(folder)))
    assert (source.count, source.labels, source.parts) == (50, None, None)
    assert source.notes == ["00000.tar, 00001.tar are parts of one folder"]


def test_a_label_that_is_none(of, pictures, tmp_path):
    path = tmp_path / "a.tar"
    with webdataset.TarWriter(str(path)) as sink:
        for number, picture in enumerate(pictures[:20]):
            sink.write({"__key__": f"{number}", "png": picture, "cls": b"\xff\xfe" if number == 7 else b"1"})
    with pytest.raises(DataError, match=r"a\.tar/7\.cls: isn't read as a label .*; write a number or a word"):
        of(path)


def test_classes_whose_archives_lie_in_an_archive(write, of, pictures, tmp_path):
    """As ImageNet's training images come."""
    folder = write(pictures[:40], "set", classes=True)
    inner = tmp_path / "inner"
    inner.mkdir()
    for number in range(4):
        (folder / str(number)).rename(folder / f"n0144076{number}")
        tarred(folder / f"n0144076{number}").rename(inner / f"n0144076{number}.tar")
    dataset = of(tarred(inner))
    assert dataset.classes == tuple(f"n0144076{number}" for number in range(4))
    assert content(dataset) == content(of(folder))


# ---------------------------------------------------------------------------------------------------------------------
# A part of an archive
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["zip", "tar of a folder"])
def test_a_path_that_leads_into_an_archive(way, write, of, pictures, genkit):
    folder = write(pictures[:40], "set/a", classes=True).parent
    write(pictures[40:60], "set/b", classes=True)
    np.save(folder / "c.npy", pictures[:20])
    path = WAYS[way](folder)
    inside = path / "set" if "folder" in way else path
    assert content(of(inside / "b")) == content(of(folder / "b"))
    assert (of(inside / "c.npy").train.storage[:, 0].numpy() == pictures[:20]).all()
    with pytest.raises(DataError, match=r"set\.\w+: holds no file or folder x; give a path"):
        of(path / "x")
    with pytest.raises(DataError, match=r"c\.npy: is no archive, so that d can't lie in it"):
        of(folder / "c.npy" / "d")
    assert genkit("data", "verify", inside / "b").code == 0


def test_a_folder_that_a_mac_has_zipped(of, write, pictures, tmp_path):
    """What it puts beside the folder doesn't make it two: the table in the folder is read."""
    folder = write(pictures, "set/digits")
    lines = [f"{number:03}.png,{number % 2}" for number in range(100)]
    (folder / "attributes.csv").write_text("\n".join(["file,odd", *lines]) + "\n")
    path = zipped(tmp_path / "set")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/digits/._attributes.csv", b"\0\5\x16\7")
    dataset = of(path)
    assert dataset.attributes == ("odd",)
    assert content(dataset) == content(of(folder))


def test_a_member_whose_name_breaks_a_line_is_told_in_one(tmp_path, of):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a\nb.npz", b"<html>")
    with pytest.raises(DataError) as caught:
        of(tmp_path / "set.zip")
    assert "\n" not in str(caught.value)
    assert "a\\nb.npz" in str(caught.value)
