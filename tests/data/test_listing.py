from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genkit.data import verify
from genkit.data.forms import listing
from genkit.data.forms.listing import scan
from genkit.errors import DataError


@pytest.fixture
def touch(tmp_path):
    """Make empty files: what is listed isn't opened."""

    def touch(*files: str) -> Path:
        for file in files:
            path = tmp_path / "set" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "set"

    return touch


def test_classes_that_are_links(write, of, pictures, tmp_path):
    """Ten classes, seven of them links into a store, one of these by way of another link."""
    store = write(pictures, "store", classes=True)
    folder = tmp_path / "set"
    for number in range(3):
        shutil.copytree(store / str(number), folder / str(number))
    for number in range(3, 9):
        (folder / str(number)).symlink_to(store / str(number))
    (tmp_path / "nine").symlink_to(store / "9")
    (folder / "9").symlink_to("../nine")
    dataset = of(folder)
    assert dataset.classes == tuple("0123456789")
    assert (dataset.train.storage[:, 0].numpy() == pictures).all()
    assert scan(folder).left_out == {}


def test_files_that_are_links_to_blobs(write, of, pictures, tmp_path, caplog):
    """As caches lay them out: the names end in .png, what they lead to doesn't."""
    blobs = write(pictures[:20], "blobs")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    for number, blob in enumerate(sorted(blobs.iterdir())):
        (folder / blob.name).symlink_to(blob.rename(blobs / f"{number:064x}"))
    with caplog.at_level(logging.INFO, "genkit"):
        dataset = of(folder)
    assert (dataset.train.storage[:, 0].numpy() == pictures[:20]).all()
    assert f"{folder}: links lead to 20 images in {blobs}" in caplog.messages


def test_a_changed_target_means_a_new_pack(write, of, pictures, tmp_path):
    """Also where the link leads to another file of the same size and time."""
    folder = write(pictures[:10])
    store = tmp_path / "store"
    store.mkdir()
    for number in (0, 1):
        Image.fromarray(pictures[50 + number]).save(store / f"{number}.bmp")
        os.utime(store / f"{number}.bmp", ns=(10**18, 10**18))
    (folder / "link.bmp").symlink_to(store / "0.bmp")
    assert (of(folder).train.storage[10, 0].numpy() == pictures[50]).all()
    (folder / "link.bmp").unlink()
    (folder / "link.bmp").symlink_to(store / "1.bmp")
    assert (of(folder).train.storage[10, 0].numpy() == pictures[51]).all()
    Image.fromarray(pictures[52]).save(store / "1.bmp")
    assert (of(folder).train.storage[10, 0].numpy() == pictures[52]).all()


def test_nothing_is_read_twice_in_a_class(write, of, pictures, caplog):
    folder = write(pictures[:20], classes=True)
    (folder / "0" / "again.png").symlink_to("000.png")
    (folder / "1" / "all").symlink_to("../1/../1")
    (folder / "0" / "more").symlink_to(folder / "0")
    (folder / "1" / "other.png").symlink_to("../0/003.png")
    with caplog.at_level(logging.WARNING, "genkit"):
        dataset = of(folder)
    assert caplog.messages == [
        f"{folder}: 1 image in more than one class, through links; counted in each",
        f"{folder}: left out: 2 links in a circle (0/more, 1/all), 1 link to an image that is there already",
    ]
    assert (dataset.train.storage[:, 0].numpy() == [*pictures[:20], pictures[3]]).all()


def test_a_folder_that_is_reached_twice_is_read_once(write, of, pictures, tmp_path):
    folder = write(pictures[:20], classes=True)
    (tmp_path / "store").mkdir()
    shutil.move(folder / "1", tmp_path / "store" / "1")
    for name in ("1", "0/inner", "0/outer"):
        (folder / name).symlink_to(tmp_path / "store" / "1")
    found = scan(folder)
    assert len(found.files) == 40
    dataset = of(folder)
    assert len(dataset.train.storage) == 30, "ten are in both classes"


def test_links_to_nothing_are_named(write, of, pictures, caplog):
    folder = write(pictures[:20], classes=True)
    (folder / "2").symlink_to("/nowhere/2")
    (folder / "0" / "gone.png").symlink_to("away.png")
    (folder / "1" / "self.png").symlink_to("self.png")
    with caplog.at_level(logging.WARNING, "genkit"):
        assert of(folder).classes == ("0", "1")
    assert caplog.messages == [
        f"{folder}: left out: 2 links to nothing (0/gone.png, 2), 1 link in a circle (1/self.png)"
    ]


def test_circles_of_folders(touch):
    folder = touch("a/1.png", "b/c/2.png")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "a" / "above").symlink_to(folder.parent)
    (folder / "b" / "c" / "side").symlink_to(folder / "a")
    (folder / "a" / "back").symlink_to("../b")
    found = scan(folder)
    assert found.files == ["a/1.png", "a/back/c/2.png", "b/c/2.png", "b/c/side/1.png"]
    assert found.left_out == {"links in a circle (a/above, a/back/c/side, a/up, ...)": 6}


def test_what_is_left_out_is_counted_by_kind(touch):
    folder = touch(
        *(f"{number}.png" for number in range(3)),
        *(f"{number}.CR2" for number in range(4)),
        *(f"{number}.zip" for number in range(2)),
        *("scan.nii.gz", "film.mp4", "Thumbs.db", "0123456789abcdef", "a.0001", "b.\u00e9"),
        *("LICENSE", "SHA256SUMS", "README", "a.txt", "a.json", "metadata.xml"),
        *("@eaDir/0.png/THUMB.jpg", "sub/@eaDir/1.png/THUMB.jpg", "__MACOSX/._0.png", ".thumbnails/0.png"),
        *(".ipynb_checkpoints/0-checkpoint.png", ".git/config", ".DS_Store", "._0.png"),
    )
    os.mkfifo(folder / "pipe.png")
    found = scan(folder)
    assert found.files == ["0.png", "1.png", "2.png"]
    assert found.left_out == {
        ".cr2": 4,
        ".zip": 2,
        ".gz": 1,
        ".mp4": 1,
        ".db": 1,
        "files without an ending": 1,
        "files with other endings": 2,
        "images in @eaDir/": 2,
        "images in __MACOSX/": 1,
        "images in .thumbnails/": 1,
        "images in .ipynb_checkpoints/": 1,
        "hidden images": 1,
        "special files": 1,
    }
    assert found.bare == ["sub"]


def test_a_folder_of_what_is_not_read(touch):
    folder = touch("a/1.cr2", "a/2.cr2", "b/1.svg")
    with pytest.raises(DataError) as caught:
        scan(folder)
    assert str(caught.value) == (
        f"{folder}: no image files in it (left out: 2 .cr2, 1 .svg); put some there (.png, .jpg, ..., in subfolders "
        "by class)"
    )


def test_pages_and_frames_are_counted(of, tmp_path, caplog):
    folder = tmp_path / "set"
    folder.mkdir()
    pages = [Image.fromarray(page) for page in np.random.default_rng(0).integers(0, 256, (30, 16, 16), np.uint8)]
    for number, end in enumerate((20, 20, 6, 1)):
        pages[number].save(folder / f"{number}.tif", save_all=True, append_images=pages[number + 1 : end])
    for number, ending in enumerate(("gif", "png", "webp")):
        moving, still = pages[20 + number], pages[25 + number]
        moving.save(folder / f"moving.{ending}", save_all=True, append_images=pages[6:9], lossless=True)
        still.save(folder / f"still.{ending}", lossless=True)
    (folder / "clip.mp4").touch()
    line = (
        f"{folder}: left out: 40 further pages of 3 files (--pages all), 3 animations (all but the first frame; "
        "--pages all), 1 .mp4"
    )
    for _ in range(2):  # the second time from the pack
        caplog.clear()
        with caplog.at_level(logging.WARNING, "genkit"):
            dataset = of(folder, channels=1)
        assert caplog.messages == [line]
    assert (dataset.train.storage[1, 0].numpy() == np.asarray(pages[1])).all()
    findings = verify(str(folder))
    assert findings.ok
    assert findings.images == 10
    assert findings.left_out == {
        ".mp4": 1,
        "further pages of 3 files (--pages all)": 40,
        "animations (all but the first frame; --pages all)": 3,
    }


# -- what somebody laid out with intent -------------------------------------------------------------------------------


def test_links_to_everything(touch):
    folder = touch("1.png")
    (folder / "root").symlink_to("/")
    (folder / "processes").symlink_to("/proc")
    (folder / "self").symlink_to("/proc/self/fd")
    (folder / "system").symlink_to("/sys")
    (folder / "memory.png").symlink_to("/proc/kcore" if Path("/proc/kcore").exists() else "/proc/cpuinfo")
    (folder / "zeros.png").symlink_to("/dev/zero")
    found = scan(folder)
    assert found.files == ["1.png"]
    assert found.left_out == {
        "links into /proc or /sys": 3,
        "special files": 2,
        "links in a circle (root)": 1,
    }


def test_links_that_double_at_each_step(touch, monkeypatch):
    """Thirty folders, each with two links to the next, are a billion ways to one file."""
    folder = touch("29/1.png")
    for number in range(29):
        (folder / f"{number}").mkdir()
        for name in ("a", "b"):
            (folder / f"{number}" / name).symlink_to(folder / f"{number + 1}")
    monkeypatch.setattr(listing, "MOST_AGAIN", 10_000)
    with pytest.raises(DataError, match=f"{folder}: its links lead to the same folders again and again, '.*/a/.*' for"):
        scan(folder)


def test_a_table_of_another_name_is_told(of, write, pictures, caplog):
    """Kaggle's labels, for one, are in `train.csv`."""
    folder = write(pictures[:20])
    (folder / "train.csv").write_text("id,label\n000,cat\n")
    with caplog.at_level(logging.WARNING, "genkit"):
        of(folder)
    assert caplog.messages == [f"{folder}: left out: 1 .csv"]
