"""Arrays as they are published and passed on: names, axes and labels, each written by its usual library."""

from __future__ import annotations

import gzip
import logging
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from genkit.data import DataOptions, load, pack, verify
from genkit.data.forms import form_of, of_files
from genkit.data.forms.places import Folder
from genkit.data.forms.roles import word_of
from genkit.data.forms.stored import Name
from genkit.errors import DataError

LABELS = np.repeat(np.arange(10), 10)


def pixels_of(dataset) -> np.ndarray:
    """All images in the order of the source, uint8 (N, C, H, W)."""
    return dataset.train.storage.numpy()


def labels_of(dataset) -> np.ndarray:
    """The name of each image's class, in the order of the source."""
    names = np.empty(len(dataset.train.storage), object)
    for split in dataset.splits().values():
        names[split.rows.numpy()] = [dataset.classes[label] for label in split.labels]
    return names


def splits_of(dataset) -> np.ndarray:
    names = np.empty(len(dataset.train.storage), object)
    for name, split in dataset.splits().items():
        names[split.rows.numpy()] = name
    return names


def of_all(folder: Path, **options):
    """All files of a folder as one source, as `--dataset FOLDER` opens them."""
    options = DataOptions(dataset=str(folder), **options)
    place = Folder(folder)
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    source = of_files(place, {name: form_of(place, name) for name in names}, options)
    source.tell()
    return pack.open_or_write(source.key(options), lambda: source.contents(options)).told()


@pytest.fixture
def colour(pictures) -> np.ndarray:
    """uint8 (33, 28, 28, 3): three digits each, blurred so that neighbours are alike, as in photographs."""
    wide = pictures[:99].astype(float)
    for axis in (1, 2):
        for _ in range(3):
            wide = (np.roll(wide, 1, axis) + 2 * wide + np.roll(wide, -1, axis)) / 4
    return np.rint(wide).astype(np.uint8).reshape(33, 3, 28, 28).transpose(0, 2, 3, 1)


def photographs(count: int) -> np.ndarray:
    """uint8 (count, 32, 32, 3): smooth fields of colour whose channels are alike, as those of photographs are."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32] / 32
    waves = random.normal(size=(count, 4, 1, 1)) * np.stack([rows, columns, np.sin(4 * rows), np.cos(5 * columns)])
    grey = waves.sum(1)[..., None] + 0.2 * random.normal(size=(count, 1, 1, 3))
    return ((grey - grey.min()) / (grey.max() - grey.min()) * 255).round().astype(np.uint8)


# ---------------------------------------------------------------------------------------------------------------------
# Names
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "member", "role", "split"),
    [
        ("a.npz", "x_train", "images", "train"),
        ("a.npz", "trainX", "images", "train"),
        ("a.npz", "yTe", "labels", "test"),
        ("a.npz", "valid_labels", "labels", "val"),
        ("a.npz", "imgs", "images", "all"),
        ("a.npz", "labs", "labels", "all"),
        ("a.npz", "label_names", "label_names", "all"),
        ("a.npz", "target_names", "label_names", "all"),
        ("a.npz", "list_classes", "label_names", "all"),
        ("a.npz", "attribute_names", "attribute_names", "all"),
        ("a.npz", "latents_classes", "attributes", "all"),
        ("a.npz", "latents_values", None, "all"),
        ("a.npz", "image_paths", None, "all"),
        ("a.npz", "file_names", None, "all"),
        ("a.npz", "mean_image", None, "all"),
        ("usps.h5", "train/target", "labels", "train"),
        ("usps.h5", "test/data", "images", "test"),
        ("Galaxy10.h5", "ans", "labels", "all"),
        ("train_catvnoncat.h5", "train_set_x", "images", "train"),
        ("camelyonpatch_level_2_split_valid_y.h5", "y", "labels", "val"),
        ("train_32x32.mat", "X", "images", "train"),
        ("train_32x32.mat", "y", "labels", "train"),
        ("ORL.mat", "fea", "images", "all"),
        ("ORL.mat", "gnd", "labels", "all"),
        ("train-images-idx3-ubyte.gz", None, "images", "train"),
        ("t10k-labels.idx1-ubyte", None, "labels", "test"),
        ("emnist-letters-test-images-idx3-ubyte.gz", None, "images", "test"),
        ("qmnist-train-labels-idx2-int.gz", None, "labels", "train"),
        ("test/y.npy", None, "labels", "test"),
        ("k49-train-imgs.npz", "arr_0", "images", "train"),
        ("k49-test-labels.npz", "arr_0", "labels", "test"),
    ],
)
def test_what_a_name_says(file, member, role, split):
    assert word_of(Name(file, member), alone=member in (None, "arr_0"))[:2] == (role, split)


NAMES = {
    "mnist.npz of others": {"imgs": "images", "labs": "labels"},
    "MATLAB": {"fea": "images", "gnd": "labels"},
    "Galaxy10": {"images": "images", "ans": "labels"},
    "with more words": {"image_balanced": "images", "label_balanced": "labels"},
    "features beside": {"x": "images", "y": "labels", "features": "none"},
    "another name": {"scans": "images", "labels": "labels"},
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_images_and_labels_under_many_names(tmp_path, of, pictures, names):
    arrays = {"images": pictures, "labels": LABELS, "none": np.empty((0, 0))}
    np.savez(tmp_path / "set.npz", **{name: arrays[role] for name, role in names.items()})
    dataset = of(tmp_path / "set.npz")
    assert (pixels_of(dataset)[:, 0] == pictures).all()
    assert (labels_of(dataset) == LABELS.astype(str)).all()


def test_files_in_a_folder(tmp_path, pictures):
    """x_train.npy and its likes; of single arrays in .npz as Kuzushiji-49 comes."""
    (tmp_path / "npy").mkdir()
    (tmp_path / "npz").mkdir()
    for part, rows in {"train": slice(0, 80), "test": slice(80, 100)}.items():
        np.save(tmp_path / f"npy/x_{part}.npy", pictures[rows])
        np.save(tmp_path / f"npy/y_{part}.npy", LABELS[rows])
        np.savez_compressed(tmp_path / f"npz/k49-{part}-imgs.npz", pictures[rows])
        np.savez_compressed(tmp_path / f"npz/k49-{part}-labels.npz", LABELS[rows])
    for folder in ("npy", "npz"):
        dataset = of_all(tmp_path / folder)
        assert (pixels_of(dataset)[:, 0] == pictures).all()
        assert (labels_of(dataset) == LABELS.astype(str)).all()
        assert (splits_of(dataset)[80:] == "test").all()
        assert len(dataset.test) == 20


def test_a_file_a_class(tmp_path, pictures, caplog):
    """QuickDraw's drawings."""
    caplog.set_level(logging.INFO, "genkit")
    folder = tmp_path / "drawings"
    folder.mkdir()
    for name, rows in {"apple": slice(0, 50), "The Eiffel Tower": slice(50, 100)}.items():
        np.save(folder / f"full_numpy_bitmap_{name}.npy", pictures[rows].reshape(-1, 784))
    dataset = of_all(folder)
    assert sorted(dataset.classes) == ["The Eiffel Tower", "apple"]
    # The files stand in the order of their names.
    assert (labels_of(dataset) == np.repeat(["The Eiffel Tower", "apple"], 50)).all()
    assert (pixels_of(dataset)[50:, 0] == pictures[:50]).all()
    assert "each array is of one class: The Eiffel Tower, apple" in caplog.text


def test_an_array_a_class_and_split(tmp_path, of, pictures):
    arrays = {"train_threes": pictures[:30], "train_fives": pictures[30:60], "test_threes": pictures[60:80]}
    scipy.io.savemat(
        tmp_path / "digits.mat",
        {name: array.transpose(1, 2, 0) for name, array in {**arrays, "test_fives": pictures[80:]}.items()},
    )
    dataset = of(tmp_path / "digits.mat")
    assert (pixels_of(dataset)[:, 0] == pictures).all()
    assert (labels_of(dataset) == np.repeat(["threes", "fives", "threes", "fives"], [30, 30, 20, 20])).all()
    assert (splits_of(dataset)[60:] == "test").all()


def test_only_a_test_split_is_all_there_is(tmp_path, of, pictures):
    np.savez(tmp_path / "set.npz", x_test=pictures, y_test=LABELS)
    assert [len(split) for split in of(tmp_path / "set.npz").splits().values()] == [80, 10, 10]


def test_patchcamelyon(tmp_path, colour):
    """Two files a split, each with a member x or y of four axes."""
    folder = tmp_path / "pcam"
    folder.mkdir()
    for part, rows in {"train": slice(0, 20), "valid": slice(20, 26), "test": slice(26, 33)}.items():
        for name, array in {"x": colour[rows], "y": np.arange(33)[rows].reshape(-1, 1, 1, 1) % 2}.items():
            with h5py.File(folder / f"camelyonpatch_level_2_split_{part}_{name}.h5", "w") as file:
                file[name] = array
    dataset = of_all(folder)
    assert (pixels_of(dataset).transpose(0, 2, 3, 1) == colour).all()
    assert labels_of(dataset).tolist() == [str(row % 2) for row in range(33)]
    assert splits_of(dataset).tolist() == ["train"] * 20 + ["val"] * 6 + ["test"] * 7


@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_an_array_an_image(tmp_path, of, colour, kind, caplog):
    """Stacked by their numbers, which as text would be in another order; labels beside belong to them."""
    caplog.set_level("INFO", "genkit")
    arrays = {f"img_{number}": each for number, each in enumerate(colour)} | {"labels": np.arange(33) % 3}
    path = tmp_path / f"set.{kind}"
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            file.update(arrays)
    dataset = of(path)
    assert (pixels_of(dataset).transpose(0, 2, 3, 1) == colour).all()
    assert labels_of(dataset).tolist() == [str(row % 3) for row in range(33)]
    assert "img_0 to img_32: an image each, 33 in all" in caplog.text
    assert (pixels_of(of(path, images="img", labels="none")).transpose(0, 2, 3, 1) == colour).all()
    with pytest.raises(DataError, match=r"img_0: .* which is one picture"):
        of(path, images="img_0", labels="none")


@pytest.mark.parametrize("one_by_one", [False, True])
def test_groups_of_hdf5_that_are_classes(tmp_path, of, pictures, one_by_one):
    with h5py.File(tmp_path / "signs.h5", "w") as file:
        for number, name in enumerate(["fist", "one", "palm"]):
            images = pictures[10 * number : 10 * number + 10]
            names = [f"data/{name}/{place}" for place in range(10)] if one_by_one else [f"data/{name}/imgs"]
            file.update(dict(zip(names, images if one_by_one else [images], strict=True)))
    dataset = of(tmp_path / "signs.h5")
    assert dataset.classes == ("fist", "one", "palm")
    assert (pixels_of(dataset)[:, 0] == pictures[:30]).all()
    assert labels_of(dataset).tolist() == ["fist"] * 10 + ["one"] * 10 + ["palm"] * 10


def test_batches_are_not_stacked(tmp_path, of):
    """CIFAR's data_batch_1 and its likes, each of rows of images."""
    batches = {f"data_batch_{number}": photographs(40).reshape(40, -1)[:, :48] for number in range(1, 6)}
    np.savez(tmp_path / "set.npz", **batches)
    with pytest.raises(DataError, match=r"data_batch_1 and data_batch_2 .*may all be images"):
        of(tmp_path / "set.npz")


def test_cats_and_others(tmp_path, colour):
    """The files of deeplearning.ai's course, with the names of the classes in bytes."""
    folder = tmp_path / "cats"
    folder.mkdir()
    for part, rows in {"train": slice(0, 25), "test": slice(25, 33)}.items():
        with h5py.File(folder / f"{part}_catvnoncat.h5", "w") as file:
            file["list_classes"] = np.array([b"non-cat", b"cat"])
            file[f"{part}_set_x"] = colour[rows]
            file[f"{part}_set_y"] = np.arange(33)[rows] % 2
    dataset = of_all(folder)
    assert dataset.classes == ("non-cat", "cat")
    assert (pixels_of(dataset).transpose(0, 2, 3, 1) == colour).all()
    assert labels_of(dataset).tolist() == ["non-cat" if row % 2 == 0 else "cat" for row in range(33)]


def test_svhn(tmp_path):
    """(H, W, C, N) in files of MATLAB, one a split."""
    photos = photographs(30)
    folder = tmp_path / "svhn"
    folder.mkdir()
    labels = np.arange(30) % 10 + 1
    for part, rows in {"train": slice(0, 20), "test": slice(20, 30)}.items():
        arrays = {"X": photos[rows].transpose(1, 2, 3, 0), "y": labels[rows, None].astype(np.uint8)}
        scipy.io.savemat(folder / f"{part}_32x32.mat", arrays, do_compression=True)
    dataset = of_all(folder)
    assert (pixels_of(dataset).transpose(0, 2, 3, 1) == photos).all()
    assert (labels_of(dataset) == labels.astype(str)).all()
    assert dataset.test.rows.tolist() == list(range(20, 30))
    named = of_all(folder, images="X", labels="none")
    assert named.classes == ()
    assert (pixels_of(named) == pixels_of(dataset)).all()


def idx(path: Path, array: np.ndarray) -> None:
    types = {"u1": 8, "i4": 12}
    header = struct.pack(f">HBB{array.ndim}I", 0, types[array.dtype.str[1:]], array.ndim, *array.shape)
    with gzip.open(path, "wb") as file:
        file.write(header + array.astype(array.dtype.newbyteorder(">")).tobytes())


def test_emnist(tmp_path, pictures, caplog):
    caplog.set_level(logging.INFO, "genkit")
    folder = tmp_path / "emnist"
    folder.mkdir()
    for part, rows in {"train": slice(0, 80), "test": slice(80, 100)}.items():
        idx(folder / f"emnist-letters-{part}-images-idx3-ubyte.gz", pictures[rows].transpose(0, 2, 1))
        idx(folder / f"emnist-letters-{part}-labels-idx1-ubyte.gz", LABELS[rows].astype(np.uint8))
    dataset = of_all(folder)
    assert (pixels_of(dataset)[:, 0] == pictures).all()
    assert (labels_of(dataset) == LABELS.astype(str)).all()
    assert "rows and columns of each image are swapped, as MATLAB and EMNIST lay them; --no-transpose" in caplog.text
    assert (pixels_of(of_all(folder, transpose=False))[:, 0] == pictures.transpose(0, 2, 1)).all()


# ---------------------------------------------------------------------------------------------------------------------
# What a person names
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["first", "First", "two.npz:first", "two:first"])
def test_the_images_that_are_named(tmp_path, of, pictures, name):
    np.savez(tmp_path / "two.npz", first=pictures, second=255 - pictures, digit=LABELS, y=LABELS // 5)
    dataset = of(tmp_path / "two.npz", images=name, labels="digit")
    assert (pixels_of(dataset)[:, 0] == pictures).all()
    assert (labels_of(dataset) == LABELS.astype(str)).all()
    assert of(tmp_path / "two.npz", images=name).classes == ("0", "1")
    assert of(tmp_path / "two.npz", images=name, labels="none").classes == ()


def test_arrays_that_are_named_one_after_the_other(tmp_path, of, pictures):
    np.savez(tmp_path / "s.npz", a_train=pictures[:60], b_train=pictures[60:80], a_test=pictures[80:], y_train=LABELS)
    dataset = of(tmp_path / "s.npz", images="a_train,b_train, a_test", labels="none")
    assert (pixels_of(dataset)[:, 0] == pictures).all()
    assert (splits_of(dataset) == "test").sum() == 20


def test_a_file_that_is_named_among_several(tmp_path, pictures):
    folder = tmp_path / "files"
    folder.mkdir()
    np.save(folder / "first.npy", pictures)
    np.save(folder / "second.npy", 255 - pictures)
    for name in ("second", "second.npy"):
        assert (pixels_of(of_all(folder, images=name))[:, 0] == 255 - pictures).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"images": "third"}, "has no array 'third', as --images says; it holds first, second, labels"),
        ({"images": "first", "labels": "x"}, "has no array 'x', as --labels says; it holds first, second, labels"),
        ({"images": "labels"}, "labels: int64 of shape (100,), which isn't one of images"),
        ({"images": "first,second", "labels": "labels"}, "--labels labels is labels, and there are 2 arrays of images"),
        ({}, "holds first, second, labels; say which are the images, as --images first, and --labels NAME or none"),
    ],
)
def test_names_that_are_not_there(tmp_path, of, pictures, options, says):
    np.savez(tmp_path / "two.npz", first=pictures, second=pictures, labels=LABELS)
    with pytest.raises(DataError) as caught:
        of(tmp_path / "two.npz", **options)
    assert str(caught.value).startswith(f"{tmp_path / 'two.npz'}")
    assert says in str(caught.value)
    assert verify(DataOptions(dataset=str(tmp_path / "two.npz"), **options)).problems == [str(caught.value)]


# ---------------------------------------------------------------------------------------------------------------------
# Axes
# ---------------------------------------------------------------------------------------------------------------------


GREY = {
    "in a row": lambda x: x.reshape(-1, 784),
    "in a column": lambda x: x.reshape(-1, 784).T,
    "in a column, and ones": lambda x: x.reshape(-1, 784).T[:, :, None, None],
    "QuickDraw": lambda x: x.reshape(-1, 1, 784),
    "in a row, channel last": lambda x: x.reshape(-1, 784, 1),
    "last": lambda x: x.transpose(1, 2, 0),
    "last with a channel": lambda x: x.transpose(1, 2, 0)[:, :, None],
    "Fortran's order": np.asfortranarray,
    "Fortran's order in a row": lambda x: np.asfortranarray(x.reshape(-1, 784)),
    "Fortran's order, last": lambda x: np.asfortranarray(x.transpose(1, 2, 0)),
    "singletons": lambda x: x[:, None, :, :, None],
}


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
@pytest.mark.parametrize("laid", GREY.values(), ids=GREY)
def test_grey_images_however_they_lie(tmp_path, of, pictures, laid, kind):
    images, path = laid(pictures[:90]), tmp_path / f"images.{kind}"
    if kind == "npy":
        np.save(path, images)
    elif kind == "npz":
        np.savez_compressed(path, images=images)
    else:
        with h5py.File(path, "w") as file:
            file["images"] = images
    assert (pixels_of(of(path))[:, 0] == pictures[:90]).all()


COLOUR = {
    "channel after channel": lambda x: x.transpose(0, 3, 1, 2).reshape(len(x), -1),
    "pixel after pixel": lambda x: x.reshape(len(x), -1),
    "in columns": lambda x: x.reshape(len(x), -1).T,
    "planes in rows": lambda x: x.transpose(0, 3, 1, 2).reshape(len(x), 3, -1),
    "last": lambda x: x.transpose(1, 2, 3, 0),
    "last, channels first": lambda x: x.transpose(3, 1, 2, 0),
    "channels last": lambda x: x,
    "channels first": lambda x: x.transpose(0, 3, 1, 2),
}


@pytest.mark.parametrize("laid", COLOUR.values(), ids=COLOUR)
def test_colour_images_however_they_lie(tmp_path, of, laid):
    photos = photographs(50)
    np.save(tmp_path / "images.npy", laid(photos))
    dataset = of(tmp_path / "images.npy")
    assert dataset.shape == (3, 32, 32)
    assert (pixels_of(dataset).transpose(0, 2, 3, 1) == photos).all()


@pytest.fixture
def faces(pictures) -> np.ndarray:
    """uint8 (100, 28, 20): pictures that are no squares, as Frey's faces are."""
    return pictures[:, :, 4:24]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["npy", "mat"])
def test_what_is_no_square_needs_its_size_and_its_order_is_seen(tmp_path, of, faces, order, kind):
    path = tmp_path / f"faces.{kind}"
    columns = np.stack([face.reshape(-1, order=order) for face in faces], 1)  # (560, N), as Frey's
    if kind == "mat":
        scipy.io.savemat(path, {"ff": columns[:, :98]})
    else:
        np.save(path, columns[:, :98])
    with pytest.raises(DataError, match="560 pixels in a row, which make no square; say how high and wide") as caught:
        of(path)
    # Of NumPy's files rows are guessed at, of MATLAB's columns.
    assert str(caught.value).endswith(f"perhaps {'28,20' if (order == 'F') == (kind == 'mat') else '20,28'}")
    assert (pixels_of(of(path, image_size="28,20"))[:, 0] == faces[:98]).all()


def test_matlab_lays_columns(tmp_path, of, pictures, caplog):
    """Olivetti's (4096, N), and Cai's `fea` with `gnd`."""
    caplog.set_level(logging.INFO, "genkit")
    pictures = pictures[:, 1:27, 1:27]
    columns = np.stack([picture.reshape(-1, order="F") for picture in pictures], 1)
    scipy.io.savemat(tmp_path / "a.mat", {"faces": columns})
    assert (pixels_of(of(tmp_path / "a.mat"))[:, 0] == pictures).all()
    assert "(676, 100): 100 images, one a column, of 26x26" in caplog.text
    scipy.io.savemat(tmp_path / "b.mat", {"fea": columns.T, "gnd": LABELS[:, None] + 1})
    dataset = of(tmp_path / "b.mat")
    assert (pixels_of(dataset)[:, 0] == pictures).all()
    assert (labels_of(dataset) == (LABELS + 1).astype(str)).all()
    scipy.io.savemat(tmp_path / "c.mat", {"fea": pictures.reshape(100, -1)})
    assert (pixels_of(of(tmp_path / "c.mat", transpose=False))[:, 0] == pictures).all()


def test_digits_in_matlab_lie_as_they_were_published(tmp_path, of, pictures, caplog):
    """By rows, as in Roweis' mnist_all.mat."""
    caplog.set_level(logging.INFO, "genkit")
    scipy.io.savemat(tmp_path / "mnist.mat", {"train_x": pictures.reshape(100, 784), "train_y": np.eye(10)[LABELS]})
    dataset = of(tmp_path / "mnist.mat")
    assert (pixels_of(dataset)[:, 0] == pictures).all()
    assert (labels_of(dataset) == LABELS.astype(str)).all()
    assert "their pixels lie row by row, or they would lie on their side; --transpose if that is wrong" in caplog.text
    turned = pixels_of(of(tmp_path / "mnist.mat", transpose=True))
    assert (turned[:, 0] == pictures.transpose(0, 2, 1)).all()


@pytest.mark.parametrize("side", [28, 26])
@pytest.mark.parametrize("order", ["C", "F"])
def test_handwriting_in_matlab_stands_upright_however_it_lies(tmp_path, of, pictures, caplog, order, side):
    """It is higher than wide; symmetry doesn't tell."""
    caplog.set_level(logging.INFO, "genkit")
    pictures = pictures[:, :side, :side]
    rows = np.stack([picture.reshape(-1, order=order) for picture in pictures])
    scipy.io.savemat(tmp_path / "a.mat", {"fea": rows, "gnd": LABELS[:, None]})
    assert (pixels_of(of(tmp_path / "a.mat"))[:, 0] == pictures).all()
    assert ("row by row, or they would lie on" if order == "C" else "rows and columns of each image") in caplog.text


def test_what_tells_nothing_lies_as_its_size_usually_does(tmp_path, of, pictures, caplog):
    """Each digit beside its transpose: as high as wide, on an empty ground; of 28x28 by rows, else by columns."""
    caplog.set_level(logging.INFO, "genkit")
    both = np.concatenate([pictures, pictures.transpose(0, 2, 1)])
    scipy.io.savemat(tmp_path / "a.mat", {"x": both.reshape(200, -1)})
    assert (pixels_of(of(tmp_path / "a.mat"))[:, 0] == both).all()
    assert "their pixels are taken to lie row by row, as those of MNIST do; --transpose" in caplog.text
    scipy.io.savemat(tmp_path / "b.mat", {"x": both[:, :26, :26].transpose(0, 2, 1).reshape(200, -1)})
    assert (pixels_of(of(tmp_path / "b.mat"))[:, 0] == both[:, :26, :26]).all()


def test_kaggle_s_digits(tmp_path, pictures, caplog):
    """train.csv with labels, test.csv without."""
    caplog.set_level(logging.INFO, "genkit")
    heading = [f"pixel{number}" for number in range(784)]
    rows = pictures.reshape(100, 784)
    (tmp_path / "set").mkdir()
    for name, cells, headings in (
        ("train", np.column_stack([LABELS[:80], rows[:80]]), ["label", *heading]),
        ("test", rows[80:], heading),
    ):
        lines = [",".join(headings), *(",".join(map(str, row)) for row in cells)]
        (tmp_path / "set" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "set" / "sample_submission.csv").write_text("ImageId,Label\n1,0\n2,0\n")
    dataset = load(DataOptions(dataset=str(tmp_path / "set")))
    assert (pixels_of(dataset)[:, 0] == pictures[:80]).all()
    assert (labels_of(dataset) == LABELS[:80].astype(str)).all()
    alone = load(DataOptions(dataset=str(tmp_path / "set"), images="train.csv"))
    assert (labels_of(alone) == LABELS[:80].astype(str)).all()
    assert "test.csv:images: left out, since the images for training have labels and these have none" in caplog.text


def test_labels_say_which_axis_numbers_images(tmp_path, of, pictures):
    """Of 784 images of 28x28 pixels nobody could tell otherwise."""
    many = np.concatenate([pictures] * 8)[:784]
    many[:, 0, 0] = np.arange(784) % 256
    many[:, 0, 1] = np.arange(784) // 256
    for images in (many.reshape(784, 784), many):
        np.savez(tmp_path / "set.npz", x=images, y=np.arange(784) % 7)
        assert (pixels_of(of(tmp_path / "set.npz"))[:, 0] == many).all()
    np.savez(tmp_path / "last.npz", x=many[:100].reshape(100, 784).T, y=np.arange(100))
    assert (pixels_of(of(tmp_path / "last.npz"))[:, 0] == many[:100]).all()


@pytest.mark.parametrize("last", [False, True])
def test_pixels_say_which_of_two_squares_numbers_images(tmp_path, of, pictures, last):
    """100 digits of 28x28 could be 784 of 10x10."""
    images = pictures.reshape(100, 784)
    np.save(tmp_path / "images.npy", images.T if last else images)
    assert (pixels_of(of(tmp_path / "images.npy"))[:, 0] == pictures).all()


def test_faces_of_matlab_that_lie_by_rows_are_seen_to(tmp_path, of, caplog):
    """JAFFE's, which came from Python: on their side, faces are no longer alike from left to right."""
    caplog.set_level(logging.INFO, "genkit")
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:24j, -1:1:24j]
    faces = []
    for _ in range(40):
        shift = random.normal(0, 0.03)
        face = (columns + shift) ** 2 + (rows * 0.8) ** 2 < 0.6
        eyes = (np.abs(columns + shift) - 0.35) ** 2 + (rows + 0.3) ** 2 < 0.02
        mouth = ((columns + shift) / 2) ** 2 + ((rows - 0.45) * 2) ** 2 < 0.03
        hair = rows < -0.7 + random.normal(0, 0.05)
        faces.append(face * 200 - face * (eyes | mouth) * 150 - face * hair * 120 + random.integers(0, 9, face.shape))
    faces = np.array(faces).clip(0, 255).astype(np.uint8)
    scipy.io.savemat(tmp_path / "rows.mat", {"X": faces.reshape(40, -1)})
    assert (pixels_of(of(tmp_path / "rows.mat"))[:, 0] == faces).all()
    assert "their pixels lie row by row, or they would lie on their side; --transpose" in caplog.text
    scipy.io.savemat(tmp_path / "columns.mat", {"X": faces.transpose(0, 2, 1).reshape(40, -1)})
    assert (pixels_of(of(tmp_path / "columns.mat"))[:, 0] == faces).all()


def test_a_large_array_whose_images_come_last_takes_little_memory(tmp_path, of):
    import tracemalloc

    images = np.random.default_rng(0).integers(0, 256, (256, 256, 2_000), np.uint8)
    np.save(tmp_path / "last.npy", images)
    expected = images[:, :, ::500].copy()
    del images
    tracemalloc.start()
    try:
        dataset = of(tmp_path / "last.npy")
        assert tracemalloc.get_traced_memory()[1] < 160 << 20
    finally:
        tracemalloc.stop()
    assert (pixels_of(dataset)[::500, 0] == expected.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("place", ["first", "last"])
def test_rows_with_a_label_at_one_end(tmp_path, of, pictures, place, caplog):
    """USPS and MNIST in one table each: of the other end, a corner of the pictures, all are black."""
    caplog.set_level(logging.INFO, "genkit")
    columns = [LABELS[:, None] + 1, pictures.reshape(100, 784)]
    np.save(tmp_path / "table.npy", np.concatenate(columns if place == "first" else columns[::-1], 1).astype(np.uint8))
    dataset = of(tmp_path / "table.npy")
    assert (pixels_of(dataset)[:, 0] == pictures).all()
    assert (labels_of(dataset) == (LABELS + 1).astype(str)).all()
    assert f"the {place} column is taken for the labels" in caplog.text
    assert of(tmp_path / "table.npy", labels="none").classes == ()


def test_few_numbers_in_a_row_are_no_image(tmp_path, of):
    np.save(tmp_path / "features.npy", np.random.default_rng(0).integers(0, 255, (500, 16), np.uint8))
    with pytest.raises(DataError, match="16 pixels in a row, which make no square; say how high and wide"):
        of(tmp_path / "features.npy")


def test_what_looks_like_no_images_is_warned_of(tmp_path, of, caplog):
    np.save(tmp_path / "features.npy", np.random.default_rng(0).normal(size=(500, 100)))
    of(tmp_path / "features.npy")
    assert "whose neighbouring pixels are no more alike than distant ones; are these images" in caplog.text


def test_uncorrelated_features_are_warned_of(tmp_path, of, pictures, caplog):
    """Karhunen and Loeve's: the first are large, so that neighbours are alike in size."""
    rows = pictures.reshape(100, 784) - pictures.reshape(100, 784).mean(0)
    np.save(tmp_path / "features.npy", np.linalg.svd(rows, full_matrices=False)[0][:, :64] * np.geomspace(100, 1, 64))
    of(tmp_path / "features.npy")
    assert "(100, 64) was taken for images of 8x8, whose neighbouring pixels are no more alike" in caplog.text


def test_which_of_several_cells_are_the_images_is_asked(tmp_path, of, pictures):
    """Of several kinds of features in a cell, only one may make a square."""
    cells = np.empty((1, 3), object)
    cells[0, :] = [pictures.reshape(100, 784)[:, :300], pictures[:, :8, :8].reshape(100, 64), pictures[:, 0]]
    scipy.io.savemat(tmp_path / "set.mat", {"X": cells, "y": LABELS})
    with pytest.raises(DataError, match=r"X\{1\} and X\{2\} and X\{3\} may all be images; say which"):
        of(tmp_path / "set.mat")
    assert len(of(tmp_path / "set.mat", images="X{2}").train.storage) == 100


@pytest.mark.parametrize(
    ("labels", "images"), [("y_train.npy", "X_train.npy"), ("labels.npy", "images.npy"), ("trainY.npy", "trainX.npy")]
)
def test_a_file_of_labels_alone(tmp_path, of, pictures, labels, images):
    np.save(tmp_path / labels, LABELS)
    told = r"int64 of shape \(100,\), which looks like labels, and not like images; name "
    with pytest.raises(DataError, match=f"{told}the file of the images$"):
        of(tmp_path / labels)
    np.save(tmp_path / images, pictures)
    with pytest.raises(DataError, match=f"{told}{tmp_path / images}, or the folder that has both$"):
        of(tmp_path / labels)


def test_an_idx_file_of_labels_alone(tmp_path, of, pictures):
    idx(tmp_path / "t10k-labels-idx1-ubyte.gz", LABELS.astype(np.uint8))
    idx(tmp_path / "t10k-images-idx3-ubyte.gz", pictures)
    with pytest.raises(DataError, match=r"labels-idx1-ubyte.gz: .* name .*/t10k-images-idx3-ubyte.gz, or the folder"):
        of(tmp_path / "t10k-labels-idx1-ubyte.gz")


def test_a_dark_array_is_told_of_with_what_brightens_it(tmp_path, of, pictures, caplog):
    caplog.set_level(logging.INFO, "genkit")
    np.save(tmp_path / "dark.npy", pictures // 6)
    of(tmp_path / "dark.npy")
    assert (
        "the brightest of all pixels is 42 of 255, nearly black; --white-level 42 takes that for white" in caplog.text
    )
    assert pixels_of(of(tmp_path / "dark.npy", white_level=42)).max() == 255


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_compressed_npy(tmp_path, of, pictures, order):
    np.save(tmp_path / "images.npy", np.asarray(pictures, order=order))
    content = (tmp_path / "images.npy").read_bytes()
    path = tmp_path / "images.npy.gz"
    path.write_bytes(gzip.compress(content))
    assert (pixels_of(of(path))[:, 0] == pictures).all()
    path.write_bytes(gzip.compress(content[:-1]))
    with pytest.raises(DataError, match=r"images.npy.gz: it ends too soon"):
        of(path)
    path.write_bytes(gzip.compress(content + b"more"))
    with pytest.raises(DataError, match=r"images.npy.gz: it goes on behind the last element"):
        of(path)


@pytest.mark.parametrize("count", [40, 28])
def test_pixels_say_that_images_come_last(tmp_path, of, count):
    """(H, W, N), of which no two are the same, or all."""
    images = photographs(count).mean(-1)[:, :28, : 28 if count == 28 else 24].round().astype(np.uint8)
    np.save(tmp_path / "last.npy", np.ascontiguousarray(images.transpose(1, 2, 0)))
    np.save(tmp_path / "first.npy", images)
    for name in ("last", "first"):
        assert (pixels_of(of(tmp_path / f"{name}.npy"))[:, 0] == images).all()


def test_splits_must_be_of_one_kind(tmp_path, of, pictures):
    np.savez(tmp_path / "a.npz", x_train=pictures[:80], x_test=pictures[80:].reshape(20, 784))
    with pytest.raises(DataError, match="give both the same size and channels"):
        of(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x_train=pictures[:80] / 255, x_test=np.float32(pictures[80:] / 255))
    assert (pixels_of(of(tmp_path / "b.npz"))[:, 0] == pictures).all()


# ---------------------------------------------------------------------------------------------------------------------
# Labels
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS.astype(float), None),
        (LABELS[:, None].astype(np.float32), None),
        (LABELS[None], None),
        (LABELS.astype(str), None),
        (LABELS.astype("S"), None),
        (np.eye(10)[LABELS], None),
        (np.eye(10, dtype=bool)[LABELS], None),
        (2 * np.eye(10, dtype=int)[LABELS] - 1, None),
    ],
)
def test_classes_however_they_are_written(tmp_path, of, pictures, labels, names):
    np.savez(tmp_path / "set.npz", images=pictures, labels=labels)
    assert (labels_of(of(tmp_path / "set.npz")) == LABELS.astype(str)).all()


def test_minus_1_is_no_class(tmp_path, of, pictures, caplog):
    """As STL-10 and scikit-learn have it; -1 beside 1 is one."""
    labels = np.where(np.arange(100) % 3 == 0, -1, LABELS)
    known = labels >= 0
    np.savez(tmp_path / "some.npz", x=pictures, y=labels, label_names=[f"digit {number}" for number in range(10)])
    dataset = of(tmp_path / "some.npz")
    assert dataset.classes == tuple(f"digit {number}" for number in range(10))
    assert (pixels_of(dataset)[:, 0] == pictures[known]).all()
    assert labels_of(dataset).tolist() == [f"digit {label}" for label in labels[known]]
    assert "34 images of the label -1, which is taken for none, left out; --labels none takes all" in caplog.text
    assert len(of(tmp_path / "some.npz", labels="none").train.storage) == 100
    np.savez(tmp_path / "two.npz", x=pictures, y=np.arange(100) % 2 * 2 - 1)
    assert of(tmp_path / "two.npz").classes == ("-1", "1")


def test_minus_1_of_a_whole_split(tmp_path, of, pictures, caplog):
    """Hidden labels of a test split, and of a training split."""
    hidden = np.full(20, -1)
    splits = {"x_train": pictures[:80], "x_test": pictures[80:]}
    np.savez(tmp_path / "test.npz", **splits, y_train=LABELS[:80], y_test=hidden)
    dataset = of(tmp_path / "test.npz")
    assert (pixels_of(dataset)[:, 0] == pictures[:80]).all()
    assert labels_of(dataset).tolist() == LABELS[:80].astype(str).tolist()
    np.savez(tmp_path / "train.npz", **splits, y_train=np.full(80, -1), y_test=LABELS[80:])
    assert len(of(tmp_path / "train.npz").train.storage) == 100
    assert of(tmp_path / "train.npz").classes == ()
    assert "the labels of all images for training are -1, so that none are used" in caplog.text


@pytest.mark.parametrize("word", ["label_names", "class_names", "target_names", "classes"])
@pytest.mark.parametrize("start", [0, 1])
def test_names_of_classes(tmp_path, of, pictures, word, start):
    names = [f"{letter} digit" for letter in "zyxwvutsrq"]
    np.savez(tmp_path / "set.npz", images=pictures, labels=LABELS + start, **{word: np.array(names)})
    dataset = of(tmp_path / "set.npz")
    assert dataset.classes == tuple(names)
    assert labels_of(dataset).tolist() == [names[label] for label in LABELS]


def test_names_that_are_too_few_are_not_used(tmp_path, of, pictures, caplog):
    caplog.set_level(logging.INFO, "genkit")
    np.savez(tmp_path / "set.npz", images=pictures, labels=LABELS, label_names=np.array(["a", "b"]))
    assert of(tmp_path / "set.npz").classes == tuple("0123456789")
    assert "label_names: not used, 2 names for labels of 0 to 9" in caplog.text


@pytest.mark.parametrize("named", [False, True])
def test_several_labels_at_once_are_attributes(tmp_path, of, pictures, named):
    """ChestMNIST's, 14 findings of which any number may be."""
    flags = np.random.default_rng(0).integers(0, 2, (100, 14), np.uint8)
    names = {"label_names": np.array([f"finding {number}" for number in range(14)])} if named else {}
    np.savez(tmp_path / "set.npz", train_images=pictures, train_labels=flags, **names)
    dataset = of(tmp_path / "set.npz")
    assert dataset.classes == ()
    assert dataset.attributes == tuple(f"{'finding' if named else 'label'}-{number}" for number in range(14))
    for split in dataset.splits().values():
        assert (split.attributes.numpy() == flags[split.rows]).all()


def test_attributes_without_names_are_numbered(tmp_path, of, pictures):
    np.savez(tmp_path / "set.npz", images=pictures, attributes=np.stack([LABELS > 4, LABELS % 2], 1))
    assert of(tmp_path / "set.npz").attributes == ("attribute-0", "attribute-1")


def test_dsprites(tmp_path, of, caplog):
    """Bits in bytes; six factors, of which those of few values become attributes; and an object that isn't opened."""
    caplog.set_level(logging.INFO, "genkit")
    random = np.random.default_rng(0)
    factors = np.stack([random.integers(0, values, 4000) for values in (1, 3, 6, 40, 32, 32)], 1)
    images = random.integers(0, 2, (4000, 8, 8), np.uint8)
    np.savez(
        tmp_path / "sprites.npz",
        metadata=np.array({"a": 1}),
        imgs=images,
        latents_classes=factors,
        latents_values=factors / 40,
    )
    dataset = of(tmp_path / "sprites.npz")
    assert dataset.attributes == tuple([f"shape-{n}" for n in range(3)] + [f"scale-{n}" for n in range(6)])
    assert (pixels_of(dataset)[:, 0] == images * 255).all()
    rows = dataset.test.rows.numpy()
    assert (dataset.test.attributes.numpy()[:, :3] == np.eye(3)[factors[rows, 1]]).all()
    assert (dataset.test.attributes.numpy()[:, 3:] == np.eye(6)[factors[rows, 2]]).all()
    assert "metadata, latents_values: not used" in caplog.text
    assert "color (1), orientation (40), position-x (32), position-y (32)" in caplog.text


def test_shapes_3d(tmp_path, of):
    random = np.random.default_rng(0)
    indices = np.stack([random.integers(0, values, 3000) for values in (10, 10, 10, 8, 4, 15)], 1)
    factors = np.stack([np.linspace(-1, 1, 15)[column] for column in indices.T], 1)
    photos = np.repeat(photographs(30), 100, 0)[:, :16, :16]
    photos[:, 0, 0] = np.arange(3000)[:, None] // [1, 256, 1] % 256
    with h5py.File(tmp_path / "3dshapes.h5", "w") as file:
        file["images"], file["labels"] = photos, factors
    dataset = of(tmp_path / "3dshapes.h5")
    assert len(dataset.attributes) == 57
    assert dataset.attributes[:2] == ("floor-hue-0", "floor-hue-1")
    assert dataset.attributes[-1] == "orientation-14"
    rows = dataset.val.rows.numpy()
    assert (dataset.val.attributes.numpy()[:, 38:42] == np.eye(4)[indices[rows, 4]]).all()
    assert (pixels_of(dataset).transpose(0, 2, 3, 1) == photos).all()


def test_a_pack_of_other_meaning_is_another(tmp_path, of, pictures):
    np.savez(tmp_path / "set.npz", images=pictures, labels=LABELS, other=LABELS // 5)
    assert len(of(tmp_path / "set.npz").classes) == 10
    assert len(of(tmp_path / "set.npz", labels="other").classes) == 2
    assert len(of(tmp_path / "set.npz").classes) == 10
