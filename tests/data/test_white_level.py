"""`--white-level`: what a person says is white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genkit.data import verify
from genkit.data.dataset import Dataset
from genkit.data.pixels import Form
from genkit.errors import DataError
from genkit.latent.images import read_image


def pixels_of_all(dataset: Dataset) -> np.ndarray:
    """All images, in the order of the source."""
    return dataset.train.storage.numpy()


@pytest.fixture
def folder(tmp_path: Path):
    def folder(arrays: np.ndarray) -> Path:
        for number, array in enumerate(arrays):
            path = tmp_path / "set" / f"{number:03}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(array).save(path)
        return tmp_path / "set"

    return folder


def test_larger_numbers_are_cut_and_told(of, folder, pictures):
    stored = pictures.astype(np.uint16) * 8  # to 2,040
    dataset = of(folder(stored), white_level="1000")
    assert (pixels_of_all(dataset)[:, 0] == np.rint(np.minimum(stored, 1000) * (255 / 1000))).all()
    assert dataset.whites == {16: 1000}
    assert dataset.notes[0] == (
        "1,000 is taken for white, as --white-level says; pixels go from 0 to 2,040, and those outside are cut"
    )


def test_auto_is_as_ever(of, folder, pictures):
    path = folder(pictures.astype(np.uint16) * 8)
    assert of(path, white_level="auto").whites == of(path).whites == {16: 2**12 - 1} or of(path).whites == {16: 4095}


def test_a_map_of_classes(of, folder, pictures):
    maps = (pictures // 52).astype(np.uint8)  # 0 to 4
    path = folder(maps)
    with pytest.raises(DataError, match=r"as maps of classes do; .*With --white-level 4 they go from black to white"):
        of(path)
    dataset = of(path, white_level=4)
    assert (pixels_of_all(dataset)[:, 0] == np.rint(maps * (255 / 4))).all()


def test_a_picture_that_comes_later_is_cut_likewise(of, folder, pictures, tmp_path):
    dataset = of(folder(pictures.astype(np.uint16) * 8), white_level=1000)
    later = pictures[1].astype(np.uint16) * 200  # to 51,000
    Image.fromarray(later).save(tmp_path / "later.png")
    form = Form(dataset.shape, "crop", dataset.whites, 1000)
    given = read_image(tmp_path / "later.png", form)
    assert (given[0].numpy() * 255).round().tolist() == np.rint(np.minimum(later, 1000) * (255 / 1000)).tolist()


def test_of_8_bits_255_is_the_most(of, folder, pictures):
    path = folder(pictures)
    with pytest.raises(
        DataError, match="set: --white-level 4095 of pixels that all have 8 bits, which hold 255 at most"
    ):
        of(path, white_level=4095)


def test_verify_reads_alike(folder, pictures):
    from genkit.data import DataOptions

    path = folder((pictures // 52).astype(np.uint8))
    assert not verify(str(path)).ok
    assert verify(DataOptions(dataset=str(path), white_level=4)).ok
