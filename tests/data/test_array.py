from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from genkit.data import DataOptions, load, verify
from genkit.data.forms.npy import MAX_INFLATION
from genkit.errors import DataError


def images_of(dataset) -> np.ndarray:
    """In the order of the file, uint8 (N, C, H, W)."""
    return dataset.train.storage.numpy()


@pytest.fixture
def save(tmp_path):
    """Save an array as FOLDER/images.npy."""

    def save(array: np.ndarray):
        np.save(tmp_path / "images.npy", array)
        return tmp_path / "images.npy"

    return save


@pytest.fixture
def colour(pictures) -> np.ndarray:
    """uint8 (20, 3, 28, 28), each channel another digit."""
    return pictures[:60].reshape(20, 3, 28, 28)


@pytest.mark.parametrize("layout", ["HW", "CHW", "HWC"])
def test_grey_in_each_layout(save, of, pictures, layout):
    array = {"HW": pictures, "CHW": pictures[:, None], "HWC": pictures[..., None]}[layout]
    dataset = of(save(array))
    assert dataset.shape == (1, 28, 28)
    assert (images_of(dataset)[:, 0] == pictures).all()
    assert [len(split) for split in dataset.splits().values()] == [80, 10, 10]


def test_colour_in_each_layout(save, of, colour):
    assert (images_of(of(save(colour))) == colour).all()
    assert (images_of(of(save(colour.transpose(0, 2, 3, 1)))) == colour).all()


def test_alpha_over_white(save, of, colour):
    alpha = np.zeros((20, 1, 28, 28), np.uint8)
    alpha[:, :, :14] = 255
    for array in (np.concatenate([colour, alpha], 1), np.concatenate([colour, alpha], 1).transpose(0, 2, 3, 1)):
        images = images_of(of(save(array)))
        assert (images[:, :, :14] == colour[:, :, :14]).all()
        assert (images[:, :, 14:] == 255).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_from_0_to_1(save, of, pictures, dtype):
    assert (images_of(of(save((pictures / 255).astype(dtype))))[:, 0] == pictures).all()


def test_floats_are_rounded_not_cut(save, of):
    images = np.linspace(0, 1, 6 * 64).reshape(6, 8, 8)
    assert (images_of(of(save(images)))[:, 0] == np.rint(images * 255)).all()


def test_bits(save, of, pictures):
    assert (images_of(of(save(pictures > 127)))[:, 0] == (pictures > 127) * 255).all()


def test_a_uint8_array_is_used_where_it_lies(save, of, pictures, home, files_in):
    path = save(pictures)
    dataset = of(path)
    assert [name.rpartition("/")[2] for name in files_in(home)] == ["pack.json", "splits.npy"]
    with path.open("r+b") as file:  # seen through the map, so nothing was copied
        file.seek(-1, 2)
        file.write(b"\xab")
    assert images_of(dataset)[-1, 0, -1, -1] == 0xAB


def test_resized_and_recoloured(save, of, pictures):
    assert of(save(pictures), image_size=45, channels=3).shape == (3, 45, 45)


def test_the_same_splits_as_a_folder_of_the_same_images(save, write, of, pictures):
    from_array, from_folder = of(save(pictures)), of(write(pictures))
    for part, split in from_array.splits().items():
        assert split.rows.tolist() == from_folder.splits()[part].rows.tolist()


@pytest.mark.parametrize("compressed", [True, False])
def test_npz_with_labels_and_attributes(tmp_path, of, pictures, compressed):
    path = tmp_path / "set.npz"
    (np.savez_compressed if compressed else np.savez)(
        path,
        images=pictures,
        labels=np.repeat([7, 3], 50),
        attributes=np.stack([np.arange(100) % 2, np.arange(100) > 90], 1),
        attribute_names=np.array(["Is_Odd", "late"]),
    )
    dataset = of(path)
    assert dataset.classes == ("3", "7")
    assert dataset.attributes == ("is-odd", "late")
    assert (images_of(dataset)[:, 0] == pictures).all()
    for split in dataset.splits().values():
        assert split.labels.tolist() == [int(row < 50) for row in split.rows]
        assert split.attributes.tolist() == [[row % 2 == 1, row > 90] for row in split.rows]


def test_npz_names(tmp_path, of, pictures):
    np.savez(tmp_path / "set.npz", x=pictures, y=np.array(["b", "a"] * 50))
    assert of(tmp_path / "set.npz").classes == ("a", "b")
    np.savez(tmp_path / "alone.npz", whatever=pictures)
    assert (images_of(of(tmp_path / "alone.npz"))[:, 0] == pictures).all()
    np.savez(tmp_path / "two.npz", first=pictures, second=pictures)
    with pytest.raises(DataError, match=r"two\.npz: holds first, second; say which are the images, as --images first"):
        of(tmp_path / "two.npz")


SQUARE = np.zeros((6, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (SQUARE.astype(np.float32) + 2, "all of its numbers are 2, in which there is no picture"),
        (SQUARE - np.float32(0.5), "all of its numbers are -0.5"),
        (SQUARE + np.float32("nan"), "holds NaN or infinity"),
        (np.where(np.arange(384).reshape(6, 8, 8) > 3, np.inf, 0), "holds NaN or infinity"),
        (np.where(np.arange(384).reshape(6, 8, 8) % 2, 1e308, -1e308), "which is no scale of brightness; rescale them"),
        (SQUARE.astype(complex), "complex128"),
        (SQUARE.reshape(6, 2, 4, 8), "which isn't one of images"),
        (np.zeros((6, 3, 8, 3), np.uint8), "which isn't one of images"),
        (np.zeros((6, 6, 3, 8, 8), np.uint8), "which isn't one of images"),
        (SQUARE[:0], "it holds no images"),
        (np.zeros((6, 0, 8), np.uint8), "it holds no images"),
        (np.uint8(3), "which isn't one of images"),
        (np.array([{"a": 1}], object), "Python objects"),
        (SQUARE, "too few"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, of, array, problem, home, files_in):
    path = tmp_path / "images.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(DataError) as caught:
        of(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_in(home) == []


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"labels": np.zeros(5, int)}, "labels: int64 of shape (5,); make it 100 integers or strings"),
        ({"labels": np.arange(100) / 3}, "labels: float64 that aren't whole, and so no classes; give --labels none"),
        ({"labels": np.full(100, np.nan)}, "labels: holds NaN or infinity, which is no class"),
        ({"labels": np.arange(300.0).reshape(100, 3) / 7}, "labels: float64 of shape (100, 3), and so no classes"),
        ({"labels": np.full((100, 2), "a")}, "labels: 2 strings an image; make it one, or give --labels none"),
        (
            {"labels": np.full(100, 0x110000, np.uint32).view("<U1")},
            "labels: holds characters that don't exist; save the strings again",
        ),
        ({"labels": np.full(100, 0xD800, ">u4").view(">U1")}, "labels: holds characters that don't exist"),
        ({"labels": np.array(["a\nb"] * 100)}, r"labels: 'a\nb' has a line break or another control character"),
        (
            {"attributes": np.ones((100, 1)), "attribute_names": np.full(1, 0xFFFFFFFF, np.uint32).view("<U1")},
            "attribute_names: holds characters that don't exist",
        ),
        ({"attributes": np.zeros((99, 1), int)}, "make it 100 rows of 0 and 1"),
        ({"attributes": np.full((100, 1), 2), "attribute_names": np.array(["x"])}, "no attributes, which are 0 and 1"),
        ({"attributes": np.ones((100, 1)), "attribute_names": np.array(["!"])}, "'!' can't name an attribute"),
        ({"attributes": np.ones((100, 2)), "attribute_names": np.array(["x"])}, "2 columns and 1 names"),
        ({"attributes": np.ones((100, 1)), "attribute_names": np.ones((2, 2))}, "no names; make it strings in a row"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, of, pictures, arrays, problem):
    np.savez(tmp_path / "set.npz", images=pictures, **arrays)
    with pytest.raises(DataError) as caught:
        of(tmp_path / "set.npz")
    assert problem in str(caught.value)


def test_a_header_that_claims_more_than_the_file_has(save, of, pictures):
    path = save(pictures)
    content = path.read_bytes()
    assert b"(100, 28, 28), }  " in content
    path.write_bytes(content.replace(b"(100, 28, 28), }  ", b"(10000, 28, 28), }"))
    with pytest.raises(
        DataError, match=r"78,528 bytes, which isn't what an array \(10000, 28, 28\) of uint8 takes; is it whole"
    ):
        of(path)
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match="is it whole"):
        of(path)


def test_a_member_that_claims_more_than_it_can_hold(tmp_path, of):
    """The zip's directory says 1 GiB for a few bytes; the header inside agrees with it."""
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, images=np.zeros((1, 28, 28), np.uint8))
    with zipfile.ZipFile(path) as archive:
        size = archive.infolist()[0].file_size
    content = path.read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    lie = content[directory:].replace(size.to_bytes(4, "little"), (1 << 30).to_bytes(4, "little"), 1)
    path.write_bytes(content[:directory] + lie)
    with pytest.raises(DataError, match=r"images\.npy claims to be larger than it can be"):
        of(path)


def test_deflate_packs_no_more_than_is_allowed_for(tmp_path):
    """An array of zeros is as dense as a zip gets, and isn't refused."""
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, images=np.zeros((10_000, 100, 100), np.uint8))
    with zipfile.ZipFile(path) as archive:
        (info,) = archive.infolist()
    assert 1000 < info.file_size / info.compress_size < MAX_INFLATION
    assert verify(str(path)).images == 10_000


def test_other_files(tmp_path, of):
    (tmp_path / "images.txt").write_text("hello")
    with pytest.raises(DataError, match=r"images\.txt: is of no form that is read"):
        of(tmp_path / "images.txt")


def test_verify(tmp_path, pictures, of):
    path = tmp_path / "set.npz"
    np.savez(path, images=np.concatenate([pictures, pictures[:3]]))
    of(path)
    findings = verify(str(path))
    assert findings.ok
    assert (findings.images, findings.duplicates) == (103, 3)
    assert findings.sizes == {"28x28": 103}
    assert findings.modes == {"uint8": 103}
    assert findings.files == 1  # the pack's aren't the person's
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    (problem,) = verify(str(path)).problems
    assert problem.startswith(f"{path}: Bad CRC-32")


# ---------------------------------------------------------------------------------------------------------------------
# Shapes that are probably something else
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((64, 64, 3), "which is one picture in colour, or 3 in grey; of several save numpy.stack"),
        ((3, 64, 64), "which is one picture in colour, or 3 in grey; of several save numpy.stack"),
        ((64, 64, 1), "which is one picture; of several save numpy.stack"),
        ((1, 64, 64), "which is one picture; of several save numpy.stack"),
        ((64, 64), "which is one picture, or as many as it has pixels; of several save numpy.stack"),
        ((50, 741), "741 pixels in a row, which make no square; say how high and wide the images are, --image-size"),
        ((50, 786), "786 pixels in a row, which make no square"),
        ((784,), "which isn't one of images"),
    ],
)
def test_a_shape_that_isnt_plain_is_refused_with_what_mends_it(save, of, shape, says):
    path = save(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    with pytest.raises(DataError, match=says) as caught:
        of(path)
    assert verify(str(path)).problems == [str(caught.value)]


def test_three_grey_images_are_such_where_there_are_three_labels(tmp_path, of):
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    np.savez(tmp_path / "three.npz", images=images, labels=np.arange(3))
    assert of(tmp_path / "three.npz").shape == (1, 64, 64)


def test_a_strange_shape_is_taken_where_the_channel_is_told(save, of):
    array = np.random.default_rng(0).integers(0, 256, (28, 28, 50), np.uint8)
    assert of(save(array[:, None])).shape == (1, 28, 50)


@pytest.mark.parametrize("shape", [(20, 1, 28, 28), (20, 28, 28, 1), (20, 3, 28, 28), (20, 28, 28, 3), (20, 28, 50)])
def test_usual_shapes_are_taken(save, of, shape):
    assert len(of(save(np.random.default_rng(0).integers(0, 256, shape, np.uint8))).train) == 16


# ---------------------------------------------------------------------------------------------------------------------
# Splits in a .npz
# ---------------------------------------------------------------------------------------------------------------------

LABELS = np.repeat(np.arange(10), 10)


@pytest.mark.parametrize(
    "names",
    [
        {"x": "x_{}", "y": "y_{}"},
        {"x": "X_{}", "y": "Y_{}"},
        {"x": "{}_images", "y": "{}_labels"},
        {"x": "images_{}", "y": "labels_{}"},
    ],
)
def test_splits_by_the_names_of_keras_and_medmnist(tmp_path, of, pictures, names):
    parts = {"train": slice(0, 70), "val": slice(70, 80), "test": slice(80, 100)}
    arrays = {names["x"].format(part): pictures[rows] for part, rows in parts.items()}
    arrays |= {names["y"].format(part): LABELS[rows, None] for part, rows in parts.items()}
    np.savez(tmp_path / "set.npz", **dict(reversed(arrays.items())))
    dataset = of(tmp_path / "set.npz")
    for part, split in dataset.splits().items():
        assert (split.images()[:, 0].numpy() == pictures[parts[part]]).all()
        assert (split.labels.numpy() == LABELS[parts[part]]).all()
    findings = verify(str(tmp_path / "set.npz"))
    assert (findings.ok, findings.images, findings.notes) == (True, 100, [])


def test_x_beside_x_test_is_for_training(tmp_path, of, pictures):
    np.savez(tmp_path / "set.npz", x=pictures[:80], y=LABELS[:80], x_test=pictures[80:], y_test=LABELS[80:])
    dataset = of(tmp_path / "set.npz")
    assert [len(split) for split in dataset.splits().values()] == [72, 8, 20]
    assert (dataset.test.images()[:, 0].numpy() == pictures[80:]).all()
    assert dataset.classes == tuple("0123456789")


def test_what_isnt_used_is_named_and_never_unpickled(tmp_path, of, caplog):
    """As dSprites comes: bits in bytes, and a pickled object beside them."""
    caplog.set_level("INFO", "genkit")
    images = np.random.default_rng(0).integers(0, 2, (20, 8, 8), np.uint8)
    np.savez(tmp_path / "sprites.npz", imgs=images, latents_values=np.zeros((20, 6)), metadata=np.array({"a": 1}))
    assert (images_of(of(tmp_path / "sprites.npz"))[:, 0] == images * 255).all()
    assert "sprites.npz: latents_values, metadata: not used" in caplog.text
    assert "latents_values, metadata: not used" in verify(str(tmp_path / "sprites.npz")).notes


@pytest.mark.parametrize("labels", ["y_train", "y"])
def test_images_held_out_without_labels_are_left_out_beside_labelled_ones(tmp_path, of, pictures, caplog, labels):
    """As a folder's test/ without classes is."""
    caplog.set_level("INFO", "genkit")
    images = {"x_train" if labels == "y_train" else "x": pictures[:80], "x_test": pictures[80:]}
    np.savez(tmp_path / "set.npz", **images, **{labels: LABELS[:80]})
    dataset = of(tmp_path / "set.npz")
    assert (images_of(dataset)[:, 0] == pictures[:80]).all()
    assert dataset.classes == tuple("01234567")
    assert "x_test: left out, since the images for training have labels and these have none" in caplog.text
    alone = of(tmp_path / "set.npz", images="x_test", labels=None if labels == "y_train" else "none")
    assert (images_of(alone)[:, 0] == pictures[80:]).all()
    both = of(tmp_path / "set.npz", labels="none")
    assert len(both.train.storage) == 100
    assert both.classes == ()


def test_labels_of_test_images_alone_are_left_and_said(tmp_path, of, pictures, caplog):
    caplog.set_level("INFO", "genkit")
    np.savez(tmp_path / "set.npz", x_train=pictures[:80], x_test=pictures[80:], y_test=LABELS[80:])
    dataset = of(tmp_path / "set.npz")
    assert (len(dataset.train.storage), dataset.classes) == (100, ())
    assert "y_test: not used, since not every array of images has labels" in caplog.text


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": SQUARE, "x_train": SQUARE}, "holds both x and x_train; say which are the images, as --images x_train"),
        ({"x": SQUARE, "images": SQUARE}, "x and images may all be images; say which are the images, as --images x,"),
        ({"x_train": SQUARE, "x_test": SQUARE[:, :, :6]}, "give both the same size and channels"),
        ({"x_train": SQUARE, "x_test": SQUARE / 1.0}, "give both the same type, size and channels"),
        ({"x": SQUARE, "y": np.arange(6), "labels": np.arange(6)}, "y and labels are both labels; say which, as"),
        ({"x_val": SQUARE, "x_test": SQUARE}, "none of its images is for training"),
    ],
)
def test_splits_that_do_not_fit(tmp_path, of, arrays, says):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError) as caught:
        of(tmp_path / "set.npz")
    assert says in str(caught.value)


def test_minus_1_beside_0_and_1_is_no_attribute(tmp_path, of, pictures):
    """Where -1 means "not known", as radiologists write it, it isn't "no"."""
    columns = np.stack([np.arange(100) % 2, np.arange(100) % 3 - 1], 1)
    np.savez(tmp_path / "set.npz", images=pictures, attributes=columns, attribute_names=np.array(["a", "b"]))
    with pytest.raises(DataError, match="-1, 0 and 1 in one column"):
        of(tmp_path / "set.npz")


def test_a_file_that_is_no_array_is_told_in_our_words(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"images, and so on")
    with pytest.raises(DataError, match=r"a\.npy: it isn't an array in NumPy's format, whatever its name says; save"):
        load(DataOptions(dataset=str(tmp_path / "a.npy")))
