"""Files of several pages or frames: which images they are, what they are called, and which split they go to."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from genkit.data import DataOptions, forms, verify
from genkit.data.dataset import Dataset
from genkit.data.decode import BadImage, read_header
from genkit.data.forms import pages as module
from genkit.data.splits import Together
from genkit.errors import DataError


def everything(dataset: Dataset) -> np.ndarray:
    """All images, in the order of the source."""
    return dataset.train.storage.numpy()


def write_stack(path: Path, pictures: np.ndarray, **options: object) -> Path:
    """A TIFF with a directory for each page, as most programs write it."""
    with tifffile.TiffWriter(path, bigtiff=bool(options.pop("bigtiff", False))) as file:
        for picture in pictures:
            file.write(picture, contiguous=False, **options)
    return path


@pytest.mark.parametrize(
    "options",
    [{}, {"bigtiff": True}, {"compression": "zlib"}, {"byteorder": ">"}, {"tile": (16, 16)}],
    ids=lambda options: next(iter(options), "plain"),
)
def test_a_stack_that_is_named_itself(of, tmp_path, pictures, options):
    options = dict(options)
    with tifffile.TiffWriter(
        tmp_path / "stack.tif", bigtiff="bigtiff" in options, byteorder=options.pop("byteorder", None)
    ) as file:
        for picture in pictures:
            file.write(picture, contiguous=False, **{key: value for key, value in options.items() if key != "bigtiff"})
    dataset = of(tmp_path / "stack.tif")
    assert (everything(dataset)[:, 0] == pictures).all()
    assert len(dataset.train) == 80


def test_pages_of_16_bits_have_one_white(of, tmp_path, pictures):
    write_stack(tmp_path / "stack.tif", pictures.astype(np.uint16) * 16)
    dataset = of(tmp_path / "stack.tif")
    assert dataset.whites == {16: 4095}
    assert (everything(dataset)[:, 0] == np.rint(pictures.astype(float) * 16 * 255 / 4095)).all()


def test_first_alone(of, tmp_path, pictures):
    write_stack(tmp_path / "stack.tif", pictures)
    with pytest.raises(DataError, match=r"stack.tif: a single image is no set, of which"):
        of(tmp_path / "stack.tif", pages="first")


@pytest.mark.parametrize("contiguous", [True, False], ids=["pages first", "directories between"])
@pytest.mark.parametrize("bigtiff", [True, False], ids=["large", "usual"])
def test_a_stack_that_was_cut(of, tmp_path, pictures, contiguous, bigtiff):
    """Its directories lead beyond its end: the pages that are missing are a fault, and not a shorter stack."""
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as file:
        for picture in pictures:
            file.write(picture, contiguous=contiguous)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    findings = verify(str(path))
    assert not findings.ok
    assert findings.problems[-1] == (
        f"{path}, page {module.count_pages(path)}: is missing, as all pages from here on: the file was cut; mend or "
        "remove it, or use --skip-bad"
    )
    with pytest.raises(DataError, match="the file was cut"):
        of(path)
    if contiguous:
        assert findings.images == 1
    else:
        # The page at the cut may be there in part.
        assert (everything(of(path, skip_bad=2))[:, 0] == pictures[: findings.images]).all()
        assert findings.images >= 48


def test_a_stack_of_pillow_that_was_cut(tmp_path, pictures):
    first, *others = map(Image.fromarray, pictures)
    path = tmp_path / "stack.tif"
    first.save(path, save_all=True, append_images=others)
    assert verify(str(path)).ok
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "the file was cut" in verify(str(path)).problems[-1]


def test_frames_are_what_a_viewer_shows(of, tmp_path, pictures):
    """An encoder writes of each frame only what differs from the one before."""
    for ending in ("gif", "png", "webp"):
        first, *others = map(Image.fromarray, pictures)
        path = tmp_path / f"moving.{ending}"
        first.save(path, save_all=True, append_images=others, lossless=True)
        dataset = of(path, channels=1)
        assert (everything(dataset)[:, 0] == pictures).all(), ending


def test_frames_of_a_grey_palette_are_grey(of, tmp_path, pictures):
    first, *others = map(Image.fromarray, pictures)
    first.save(tmp_path / "moving.gif", save_all=True, append_images=others)
    assert of(tmp_path / "moving.gif").shape == (1, 28, 28)


@pytest.fixture
def stacks(tmp_path: Path, pictures: np.ndarray) -> Path:
    """A folder of two classes, each of five stacks of ten pages, and of a page alone."""
    for number in range(10):
        path = tmp_path / "stacks" / "ab"[number // 5] / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_stack(path, pictures[number * 10 :][: 9 if number == 9 else 10])
    Image.fromarray(pictures[99]).save(tmp_path / "stacks" / "b" / "alone.png")
    return tmp_path / "stacks"


def test_pages_of_a_folder(of, stacks, pictures):
    dataset = of(stacks, pages="all")
    assert (everything(dataset)[:, 0] == pictures).all()
    labels = np.empty(100, np.int64)
    for split in dataset.splits().values():
        assert split.labels is not None
        labels[split.rows] = split.labels
    assert (labels == np.arange(100) // 50).all()
    names = forms.files_of(DataOptions(dataset=str(stacks), pages="all"))
    assert names[:11] == [*(f"a/0.tif, page {page}" for page in range(1, 11)), "a/1.tif, page 1"]
    assert names[-1] == "b/alone.png"


def test_the_first_pages_of_a_folder(of, stacks, pictures, caplog):
    with caplog.at_level(logging.WARNING, "genkit"):
        dataset = of(stacks)
    assert caplog.messages == [f"{stacks}: left out: 89 further pages of 10 files (--pages all)"]
    assert (everything(dataset)[:, 0] == pictures[[*range(0, 100, 10), 99]]).all()


def test_pages_of_a_file_are_held_out_together(of, stacks, caplog):
    with caplog.at_level(logging.INFO, "genkit"):
        dataset = of(stacks, pages="all")
    assert f"{stacks}: the pages of a file are all in one split, where splits are held out" in caplog.messages
    files = {name: set((split.rows // 10).tolist()) for name, split in dataset.splits().items()}
    assert not files["train"] & (files["val"] | files["test"]) - {9}
    assert not files["val"] & files["test"] - {9}
    assert all(8 <= len(dataset.splits()[name]) <= 12 for name in ("val", "test"))


def test_a_single_file_is_divided_by_its_pages(of, tmp_path, pictures, caplog):
    write_stack(tmp_path / "stack.tif", pictures)
    with caplog.at_level(logging.INFO, "genkit"):
        of(tmp_path / "stack.tif")
    assert any("one file is too few to hold out whole ones" in message for message in caplog.messages)


def test_what_belongs_together_does_so_over_copies():
    """Files 0 and 1 share a picture, and so do 1 and 2."""
    together = Together(np.array([5, 3, 3, 8, 8, 1, 9]), np.array([0, 0, 1, 1, 2, 2, 3]))
    assert together.rank(torch.tensor([5, 3, 8, 1, 9])).tolist() == [1, 1, 1, 1, 9]


def test_pages_of_several_sizes(of, tmp_path, pictures):
    with tifffile.TiffWriter(tmp_path / "stack.tif") as file:
        for number, picture in enumerate(pictures):
            file.write(picture[: 28 - number % 2], contiguous=False)
    with pytest.raises(DataError, match=r"stack.tif: images of 2 sizes, most often 28x28 \(50\), 28x27 \(50\); giv"):
        of(tmp_path / "stack.tif")
    assert of(tmp_path / "stack.tif", image_size=16).shape == (1, 16, 16)


def test_a_damaged_page_is_named(of, tmp_path, pictures):
    path = write_stack(tmp_path / "stack.tif", pictures, compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        place = file.pages[16].dataoffsets[0]
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"/stack.tif, page 17 can't be decoded \(.*\); mend or remove it, or le"):
        of(path)
    assert len(everything(of(path, skip_bad=1))) == 99
    findings = verify(str(path))
    assert len(findings.problems) == 1
    assert findings.problems[0].startswith(f"{path}, page 17: can't be decoded")


def test_a_file_that_changed_is_named_once(of, tmp_path, pictures):
    path = write_stack(tmp_path / "stack.tif", pictures)
    of(path)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        content[file.pages[3].dataoffsets[0] + 300] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=times)
    findings = verify(str(path))
    assert [problem.partition("; ")[0] for problem in findings.problems] == [
        f"{path}: has changed since it was packed although its size and time are the same"
    ]
    assert findings.files == 1
    assert findings.images == 100


def test_no_page_is_read_twice(tmp_path, pictures):
    """A chain of directories that goes in a circle ends."""
    path = write_stack(tmp_path / "stack.tif", pictures[:3])
    with tifffile.TiffFile(path) as file:
        last, first = file.pages[2], file.pages[0]
    content = bytearray(path.read_bytes())
    count = int.from_bytes(content[last.offset :][:2], "little")
    link = last.offset + 2 + 12 * count
    content[link : link + 4] = first.offset.to_bytes(4, "little")
    path.write_bytes(content)
    assert module.count_pages(path) == 3


def test_smaller_copies_are_no_pages(of, tmp_path, pictures):
    with tifffile.TiffWriter(tmp_path / "stack.tif") as file:
        for picture in pictures:
            file.write(picture, contiguous=False)
            file.write(picture[::2, ::2].copy(), contiguous=False, subfiletype=1)
    assert (everything(of(tmp_path / "stack.tif"))[:, 0] == pictures).all()


def test_more_pages_than_a_file_can_hold_are_refused(of, tmp_path):
    """Directories of a few bytes, which all have the same picture."""
    buffer = io.BytesIO()
    Image.new("1", (8000, 8000)).save(buffer, "tiff", compression="group4")
    content = buffer.getvalue()
    place = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[place : place + 2], "little")
    directory = content[place : place + 2 + 12 * count]
    first = len(content) + len(content) % 2
    stride = len(directory) + 4 + len(directory) % 2
    pages = b"".join(
        (directory + (first + number * stride if number < 2000 else 0).to_bytes(4, "little")).ljust(stride, b"\0")
        for number in range(1, 2001)
    )
    path = tmp_path / "bomb.tif"
    path.write_bytes(content[:4] + first.to_bytes(4, "little") + content[8:].ljust(first - 8, b"\0") + pages)
    with pytest.raises(BadImage, match=r"claims 2,000 pages of 8000x8000 pixels in [0-9,]+ bytes: dam"):
        module.count_pages(path)
    assert read_header(path).pages == 2000
    with pytest.raises(DataError, match=r"bomb.tif claims 2,000 pages of 8000x8000 pixels"):
        of(path)
