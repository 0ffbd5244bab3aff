from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from genkit.data import DataOptions, forms
from genkit.errors import DataError


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a pointer to a file in Git LFS"),
        ("\\documentclass{article}", "a LaTeX document"),
        ("%PDF-1.7", "a PDF document"),
    ],
)
def test_what_is_no_data_is_called_what_it_is(of, tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "set.npz").write_text(content)
    with pytest.raises(DataError, match=f"set.npz: is {what}"):
        of(tmp_path / "set.npz")


def test_an_archive_of_pictures_that_is_called_npz(of, write, pictures, tmp_path: Path) -> None:
    folder = write(pictures, classes=True)
    shutil.make_archive(str(tmp_path / "set"), "zip", folder)
    path = (tmp_path / "set.zip").rename(tmp_path / "set.npz")
    assert forms.opened(DataOptions(dataset=str(path))).form == "a zip archive of pictures"
    dataset = of(path)
    assert (np.sort(dataset.train.storage.numpy()[:, 0], axis=0) == np.sort(pictures, axis=0)).all()
    assert dataset.classes == tuple("0123456789")


def test_an_npz_that_was_cut(of, pictures, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, images=pictures)
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(DataError) as caught:
        of(path)
    assert str(caught.value) == (
        f"{path}: it ends without a directory, so that it isn't whole; copy or download it again, or save it again "
        "with numpy.save or numpy.savez"
    )


def test_an_option_that_says_nothing_of_a_form_is_refused(of, write, pictures, tmp_path: Path) -> None:
    """Somebody expects it to do something."""
    folder = write(pictures[:10])
    with pytest.raises(DataError, match="is a folder of pictures, of which --images and --transpose say nothing"):
        of(folder, images="x", transpose=True)
    np.save(tmp_path / "x.npy", pictures)
    with pytest.raises(DataError, match="is a NumPy array, of which --pages says nothing; leave that out"):
        of(tmp_path / "x.npy", pages="all")
    assert len(of(folder, pages="first", white_level=255).train) == 8
