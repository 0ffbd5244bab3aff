"""How do the files of each named set become images, labels and attributes?

A function a form of publication. Each says which array of which file is what, and changes what isn't plain in the file
itself: axes, labels from 1 on, ink that is black. The rest is as with anybody's arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genkit.data import DataOptions, forms
from genkit.data.forms.arrays import Arrays
from genkit.data.forms.places import Folder, Place
from genkit.data.forms.source import Source
from genkit.data.forms.stored import Holder, Name, Stored
from genkit.data.sets import readers
from genkit.data.sets.readers import Changed, Known
from genkit.data.sets.table import Published
from genkit.errors import DataError


class Columns(Holder):
    """What the arrays of a set's files are, by the names that `arrays` knows: `train_images`, `test_labels`, ...

    Args:
        columns: by these names; of a set without splits `images`, `labels`.
    """

    form = "a published set"

    def __init__(self, paths: Sequence[Path], columns: Mapping[str, Stored]):
        super().__init__(Folder(paths[0].parent), paths[0].name)
        self.paths = paths
        # Their files' names say nothing here.
        self.columns = {Name("", role): stored for role, stored in columns.items()}
        self.names = list(self.columns)

    def open(self, names: Sequence[Name]) -> dict[Name, Stored]:
        return {name: self.columns[name] for name in names}

    def files(self) -> list[str]:
        return [path.name for path in self.paths]


class Opened(NamedTuple):
    """A set's arrays by what they are, and what is known beside them.

    Attributes:
        columns: as `Columns` takes them.
        classes: where the files say them.
    """

    columns: dict[str, Stored]
    classes: tuple[str, ...] = ()


def opened(published: Published, paths: Mapping[str, Path], options: DataOptions) -> Source:
    """The set in these files, by their published names.

    Raises:
        DataError: when they aren't what was published, or a library that reads them is missing.
    """
    found = FORMS[published.form](paths, **published.arguments)
    source = Arrays(Columns(list(paths.values()), found.columns), options)
    classes = published.classes or found.classes
    if source.labels is not None and classes:
        # A class may be missing from a split, and yet it is one.
        values = np.array([int(name) for name in source.classes])
        if not 0 <= values.min() <= values.max() < len(classes):
            raise DataError(f"{source.path}: has labels from {values.min()} to {values.max()}, not {len(classes)}")
        source.labels, source.classes = values[source.labels], classes
    source.attribute_names = tuple(published.renamed.get(name, name) for name in source.attribute_names)
    return source


def _array(form: str, path: Path, member: str | None = None, place: Place | None = None, file: str = "") -> Stored:
    """One array of a file.

    Args:
        form: of the file, one of `forms.HOLDERS`.
        member: its name, where a file may hold several.
        place, file: where the file lies, if that is within the one at `path`.

    Raises:
        DataError: when there is none of that name, or a library that reads the form isn't installed.
    """
    module, name = forms.HOLDERS[form]
    holder = getattr(import_module(f"{forms.__name__}.{module}"), name)(place or Folder(path.parent), file or path.name)
    wanted = Name(holder.file, member)
    if wanted not in holder.names:
        raise DataError(f"{holder.path}: holds no {wanted.member}, as the published file does; fetch it again")
    return holder.open([wanted])[wanted]


def _last_first(stored: Stored) -> Stored:
    """A MATLAB array whose last axis is the images', with that first."""
    found = stored.last_axis_first()
    if found is None:
        raise DataError(f"{stored}: can't be read along its last axis; fetch it again")
    return found


def _swapped(images: np.ndarray) -> np.ndarray:
    """(B, W, H) as (B, H, W)."""
    return images.transpose(0, 2, 1)


# ---------------------------------------------------------------------------------------------------------------------
# Forms of publication
# ---------------------------------------------------------------------------------------------------------------------

Paths = Mapping[str, Path]


def emnist(paths: Paths, part: str, first: int) -> Opened:
    """NIST's archive of gzipped IDX files, of which a part is four; `first` is the label of the first class."""
    from genkit.data.forms.archives import Zip

    path = paths["gzip.zip"]
    archive = Zip(Folder(path.parent), path.name)
    columns: dict[str, Stored] = {}
    for split in ("train", "test"):
        beginning = f"gzip/emnist-{part}-{split}"
        images = _array("idx", path, place=archive, file=f"{beginning}-images-idx3-ubyte.gz")
        labels = _array("idx", path, place=archive, file=f"{beginning}-labels-idx1-ubyte.gz")
        columns[f"{split}_images"] = Changed(images, _swapped)
        columns[f"{split}_labels"] = Changed(labels, lambda block: block.astype(np.int64) - first)
    return Opened(columns)


def qmnist(paths: Paths) -> Opened:
    """IDX files, and tables of labels of which the first column is the class."""
    columns = {}
    for split in ("train", "test"):
        columns[f"{split}_images"] = _array("idx", paths[f"qmnist-{split}-images-idx3-ubyte.gz"])
        columns[f"{split}_labels"] = _array("idx", paths[f"qmnist-{split}-labels-idx2-int.gz"])
    return Opened(columns)


def kmnist49(paths: Paths) -> Opened:
    """NumPy's archives of one array each."""
    return Opened(
        {
            f"{split}_{role}": _array("npz", paths[f"k49-{split}-{file}.npz"], "arr_0")
            for split in ("train", "test")
            for role, file in (("images", "imgs"), ("labels", "labels"))
        }
    )


def medmnist(paths: Paths, attributes: Sequence[str] = ()) -> Opened:
    """A NumPy archive with three splits; labels (N, 1), or `attributes` (N, A) where there are several to an image."""
    (path,) = paths.values()
    columns: dict[str, Stored] = {}
    for split in ("train", "val", "test"):
        columns[f"{split}_images"] = _array("npz", path, f"{split}_images")
        columns[f"{split}_{'attributes' if attributes else 'labels'}"] = _array("npz", path, f"{split}_labels")
    if attributes:
        columns["attribute_names"] = Known(path, np.array(attributes))
    return Opened(columns)


def svhn(paths: Paths) -> Opened:
    """MATLAB's X (32, 32, 3, N) and y (N, 1), of which 10 is the digit 0."""
    columns: dict[str, Stored] = {}
    for split in ("train", "test"):
        path = paths[f"{split}_32x32.mat"]
        columns[f"{split}_images"] = _last_first(_array("matlab", path, "X"))
        columns[f"{split}_labels"] = Changed(_array("matlab", path, "y"), lambda block: block.astype(np.int64) % 10)
    return Opened(columns)


def usps(paths: Paths) -> Opened:
    """LIBSVM's text, or one NumPy archive."""
    if "usps.npz" in paths:
        path = paths["usps.npz"]
        known = {"images": "x", "labels": "y"}
        return Opened(
            {
                f"{split}_{what}": _array("npz", path, f"{letter}_{split}")
                for split in ("train", "test")
                for what, letter in known.items()
            }
        )
    (train, labels), (test, test_labels) = (readers.usps(paths[file]) for file in ("usps.bz2", "usps.t.bz2"))
    return Opened({"train_images": train, "train_labels": labels, "test_images": test, "test_labels": test_labels})


def stl10(paths: Paths, unlabeled: bool = False) -> Opened:
    """An archive of raw pixels and labels."""
    archive = readers.StlArchive(paths["stl10_binary.tar.gz"])
    if unlabeled:
        return Opened({"images": archive.images("unlabeled")})
    columns: dict[str, Stored] = {}
    for split in ("train", "test"):
        columns[f"{split}_images"] = archive.images(split)
        columns[f"{split}_labels"] = archive.labels(split)
    return Opened(columns)


def omniglot(paths: Paths) -> Opened:
    """Two archives of pictures, which have no character in common."""
    images = [readers.Omniglot(paths[f"images_{part}.zip"]) for part in ("background", "evaluation")]
    (train, test), classes = readers.numbered(images)
    return Opened(
        {"train_images": images[0], "train_labels": train, "test_images": images[1], "test_labels": test}, classes
    )


def amat(paths: Paths) -> Opened:
    """Three files of text."""
    parts = {"train": "train", "val": "valid", "test": "test"}
    return Opened(
        {f"{split}_images": readers.Amat(paths[f"binarized_mnist_{part}.amat"]) for split, part in parts.items()}
    )


def olivetti(paths: Paths) -> Opened:
    """MATLAB's faces (4096, 400): a column a face, in it one column of pixels after the other; ten faces a person."""
    (path,) = paths.values()
    faces = _last_first(_array("matlab", path, "faces"))

    def upright(block: np.ndarray) -> np.ndarray:
        return np.rint(block).astype(np.uint8).reshape(-1, 64, 64).transpose(0, 2, 1)

    people = np.arange(faces.shape[0]) // 10
    return Opened({"images": Changed(faces, upright), "labels": Known(path, people)})


def dsprites(paths: Paths, factors: Sequence[str]) -> Opened:
    """A NumPy archive of masks of 0 and 1; the member that is pickled isn't needed, and never opened."""
    (path,) = paths.values()
    images = Changed(_array("npz", path, "imgs"), lambda block: block != 0)
    names = Known(path, np.array(factors))
    return Opened({"images": images, "attributes": _array("npz", path, "latents_classes"), "attribute_names": names})


def shapes3d(paths: Paths, factors: Sequence[str]) -> Opened:
    """An HDF5 file of images, and of the factors' values."""
    (path,) = paths.values()
    images, values = _array("hdf5", path, "images"), _array("hdf5", path, "labels")
    return Opened({"images": images, "attributes": values, "attribute_names": Known(path, np.array(factors))})


FORMS: dict[str, Callable[..., Opened]] = {
    function.__name__: function
    for function in (
        *(emnist, qmnist, kmnist49, medmnist, svhn, usps, stl10, omniglot, amat, olivetti, dsprites, shapes3d),
    )
}
