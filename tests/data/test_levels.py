from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genkit.contract import ImageShape
from genkit.data import DataOptions, verify
from genkit.data.decode import range_of
from genkit.data.levels import (
    FEW,
    Numbers,
    Range,
    dark,
    require_floats,
    scale_of,
    shown,
    to_bytes,
    white_of,
    white_of_one,
)
from genkit.data.pixels import Form
from genkit.errors import DataError
from genkit.latent.images import image_from, read_image


def pixels_of(dataset) -> np.ndarray:
    return dataset.train.storage.numpy()


@pytest.fixture
def folder(tmp_path):
    """Write arrays (N, H, W) of any type as PNG files; the first is all black, as a mask or a scan may be."""

    def folder(arrays: np.ndarray, ending: str = "png", name: str = "pictures"):
        for number, array in enumerate(arrays):
            path = tmp_path / name / f"{number:03}.{ending}"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(array).save(path)
        return tmp_path / name

    return folder


def ranging(low: int, high: int, bits: int) -> Range:
    found = Range(bits)
    found.see(np.array([low, high]))
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The rule
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "high", "white"),
    [
        *((8, 0, 255), (8, 1, 1), (8, 32, 255), (8, 40, 255), (8, 255, 255)),
        *((16, 1, 1), (16, 40, 255), (16, 255, 255), (16, 256, 1023), (16, 1023, 1023), (16, 1024, 4095)),
        *((16, 4095, 4095), (16, 4096, 16383), (16, 16383, 16383), (16, 16384, 65535), (16, 65535, 65535)),
    ],
)
def test_white_is_of_the_smallest_depth_that_holds_all(bits, high, white):
    assert white_of(ranging(0, high, bits)) == white


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("high", range(2, FEW + 1))
def test_a_few_numbers_are_no_brightness(bits, high):
    with pytest.raises(DataError, match=f"holds pixels of 0 to {high} alone, as maps of classes do"):
        white_of(ranging(0, high, bits))


@given(st.lists(st.integers(0, 65535), min_size=1), st.sampled_from([8, 16]))
def test_white_depends_on_the_set_and_not_on_its_order_or_its_pieces(values, bits):
    values = [value % 2**bits for value in values]
    whole, pieces = Range(bits), Range(bits)
    whole.see(np.array(values))
    for value in reversed(values):
        piece = Range(bits)
        piece.see(np.array([value]))
        pieces.include(piece)
    assert (whole.low, whole.high) == (pieces.low, pieces.high) == (min(values), max(values))
    if not 1 < max(values) <= FEW:
        white = white_of(whole)
        assert max(values) <= white
        scaled = to_bytes(np.array(values), white)
        assert (np.abs(scaled - np.array(values) * 255 / white) <= 0.5).all()


@given(st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([8, 16]))
def test_what_is_settled_stays_so(first, then, bits):
    found = ranging(0, first % 2**bits, bits)
    if found.settled:
        white = white_of(found)
        found.see(np.array([then % 2**bits]))
        assert white_of(found) == white


def test_full_range_is_what_it_always_was():
    values = np.arange(65536, dtype=np.uint16)
    assert (to_bytes(values, 65535) == np.rint(values * (255 / 65535))).all()
    bytes_ = np.arange(256, dtype=np.uint8)
    assert to_bytes(bytes_, 255) is bytes_


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-1.0, 1.0, r"floats from -1 to 1, where .*; save \(x \+ 1\) / 2"),
        (0.0, 255.0, "floats from 0 to 255, where .*; save x / 255"),
        (0.0, 4095.0, "save x / 4095"),
        (-0.02, 1.05, r"floats from -0.02 to 1.05, where .*; save numpy.clip\(x, 0, 1\)"),
        (0.0, 16.0, "floats from 0 to 16, .*; rescale them"),
        (-3.0, 3.0, "rescale them"),
        (0.0, 1 / 255, "near black; save x / 0.00392156863, or x \\* 255 if they were divided twice"),
        (0.0, np.nan, "NaN or infinity"),
        (0.0, np.inf, "NaN or infinity"),
    ],
)
def test_floats_on_another_scale(low, high, says):
    found = Range(0)
    found.see(np.array([low, high]))
    with pytest.raises(DataError, match=says):
        require_floats(found)


def test_floats_may_miss_their_ends_by_rounding():
    for low, high in ((0, 1.0000001), (-1e-6, 1.0), (-0.0019, 1.0019), (0.0, 0.2)):
        found = Range(0)
        found.see(np.array([low, high], np.float64))
        require_floats(found)
    found = Range(0)
    found.see(np.array([0, 1.002]))
    with pytest.raises(DataError, match=r"floats from 0 to 1\.002,"):
        require_floats(found)


def test_neighbours_of_1_are_shown_apart():
    assert shown(np.nextafter(np.float32(1), np.float32(2)).item()) == "1.00000012"
    assert shown(65536) == "65,536"


def test_dark_is_said_but_black_is_not():
    told = "the brightest of all pixels is 63 of 255, nearly black; "
    assert dark(63) == f"{told}brighten the images, if it should be bright"
    assert dark(63, 63) == f"{told}--white-level 63 takes that for white, if it should be bright"
    assert dark(64) is None
    assert dark(0) is None


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def masks(pictures) -> np.ndarray:
    """100 of 0 and 1, one of them all 0."""
    masks = (pictures > 100).astype(np.uint8)
    masks[0] = 0
    return masks


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_an_array_of_0_and_1_is_black_and_white(tmp_path, of, masks, caplog, dtype):
    caplog.set_level(logging.INFO, "genkit")
    np.save(tmp_path / "masks.npy", masks.astype(dtype))
    for _ in range(2):  # packed, and found
        caplog.clear()
        dataset = of(tmp_path / "masks.npy")
        assert (pixels_of(dataset)[:, 0] == masks * 255).all()
        assert "masks.npy: all pixels are 0 or 1, and 1 is taken for white" in caplog.text
        assert dataset.whites == {8 if dtype == np.uint8 else 16: 1}
    findings = verify(str(tmp_path / "masks.npy"))
    assert findings.ok
    assert findings.notes == ["all pixels are 0 or 1, and 1 is taken for white"]


def test_a_folder_of_0_and_1_is_black_and_white(folder, of, masks, caplog):
    caplog.set_level(logging.INFO, "genkit")
    path = folder(masks)
    for _ in range(2):
        caplog.clear()
        dataset = of(path)
        assert (pixels_of(dataset)[:, 0] == masks * 255).all()
        assert "all pixels are 0 or 1, and 1 is taken for white" in caplog.text
    assert verify(str(path)).notes == ["all pixels are 0 or 1, and 1 is taken for white"]


def test_a_mask_stays_a_mask_beside_a_grey_picture(folder, of, masks):
    """It is asked of the set: where anything is brighter, 1 is nearly black."""
    masks[-1, 0, 0] = 255
    assert (pixels_of(of(folder(masks)))[:, 0] == masks).all()


def test_what_a_bit_or_a_palette_means_is_known(folder, of, masks):
    path = folder(masks > 0)
    assert (pixels_of(of(path))[:, 0] == masks * 255).all()
    for file, mask in zip(sorted(path.iterdir()), masks, strict=True):
        with Image.fromarray(mask).convert("P") as indexed:
            indexed.putpalette([255, 255, 255, 0, 0, 0])
            indexed.save(file)
    assert (pixels_of(of(path))[:, 0] == (1 - masks) * 255).all()
    assert verify(str(path)).notes == []


def test_a_map_of_classes_is_refused(folder, of, pictures, home, files_in):
    path = folder((pictures // 100).astype(np.uint8))
    with pytest.raises(DataError, match="holds pixels of 0 to 2 alone, as maps of classes do") as caught:
        of(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert files_in(home) == []
    assert verify(str(path)).problems == [str(caught.value)]


def test_dark_photographs_are_taken_as_they_are_and_said(folder, of, pictures):
    photographs = (pictures // 6).astype(np.uint8)  # to 42
    path = folder(photographs)
    assert (pixels_of(of(path))[:, 0] == photographs).all()
    (note,) = verify(str(path)).notes
    assert note.startswith("the brightest of all pixels is 42 of 255, nearly black")


@pytest.mark.parametrize("depth", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["png", "tif", "npy", "big"])
def test_scans_of_any_depth_in_16_bits(tmp_path, folder, of, pictures, depth, kind):
    white = 2**depth - 1
    scans = np.rint(pictures / 255 * white).astype(np.uint16)
    if kind in ("png", "tif"):
        path = folder(scans, kind)
    else:
        path = tmp_path / "scans.npy"
        np.save(path, scans.astype(">u2") if kind == "big" else scans)
    dataset = of(path)
    assert (pixels_of(dataset)[:, 0] == pictures).all()
    assert dataset.whites == {16: white}
    (note,) = verify(str(path)).notes
    taken = f"{white:,} is taken for white"
    assert note == (
        f"pixels of 16 bits: {taken}"
        if depth == 16
        else f"pixels go from 0 to {white:,}, which {depth} bits hold: {taken}"
    )


def test_an_underexposed_scan_is_read_as_the_others_are(folder, of, pictures):
    scans = np.rint(pictures / 255 * 4095).astype(np.uint16)
    scans[5] //= 16
    assert np.abs(pixels_of(of(folder(scans)))[5, 0] - pictures[5] / 16).max() <= 1


def test_rgba_of_0_and_1(tmp_path, of, masks):
    """Colours and alpha are each on their own scale."""
    opaque = np.full((100, 28, 28, 1), 255, np.uint8)
    opaque[:, :14] = 0
    np.save(tmp_path / "a.npy", np.concatenate([masks[..., None]] * 3 + [opaque], 3))
    images = pixels_of(of(tmp_path / "a.npy"))
    assert (images[:, 0, 14:] == masks[:, 14:] * 255).all()
    assert (images[:, :, :14] == 255).all()
    np.save(tmp_path / "b.npy", np.concatenate([masks[..., None]] * 3 + [opaque // 255], 3))
    assert (pixels_of(of(tmp_path / "b.npy")) == images).all()


# ---------------------------------------------------------------------------------------------------------------------
# Arrays
# ---------------------------------------------------------------------------------------------------------------------


def numbers(values: np.ndarray) -> Numbers:
    dtype = values.dtype
    found = Numbers(0 if dtype.kind == "f" else 8 if dtype == np.uint8 else 16)
    for value in np.array_split(values, 3):
        found.see(value)
    return found


@pytest.mark.parametrize(
    ("values", "black", "white", "note"),
    [
        ([0.0, 0.25, 1.0], 0, 1, None),
        ([-0.001, 0.25, 1.001], 0, 1, None),
        ([0.0, 0.1, 0.2], 0, 1, "the brightest of all pixels is 51 of 255, nearly black"),
        ([-0.0625, 0.25, 1.0625], 0, 1, "pixels go from -0.0625 to 1.0625: 0 is taken for black, 1 for white"),
        ([-1.0, 0.25, 1.0], -1, 1, "pixels go from -1 to 1: -1 is taken for black, 1 for white"),
        ([-0.75, 0.25, 0.875], -1, 1, "pixels go from -0.75 to 0.875: -1 is taken for black, 1 for white"),
        ([0.0, 17.0, 255.0], 0, 255, None),
        ([0.0, 17.5, 255.0], 0, 255, "pixels go from 0 to 255: 255 is taken for white"),
        ([0.5, 17.5, 255.5], 0, 255, "pixels go from 0.5 to 255.5: 255 is taken for white"),
        ([0.0, 17.0, 4000.0], 0, 4095, "pixels go from 0 to 4,000, which 12 bits hold: 4,095 is taken for white"),
        ([0.0, 7.0, 16.0], 0, 16, "pixels are whole numbers up to 16: 16 is taken for white, though a map of classes"),
        ([0.0, 0.0625, 0.109375], 0, 0.109375, "pixels go from 0 to 0.109375: 0 is taken for black, 0.109375 for"),
        ([-3.5, 0.0, 2.5], -3.5, 2.5, "pixels go from -3.5 to 2.5: -3.5 is taken for black, 2.5 for white"),
        ([0.0, 1.5, 300.5], 0, 300.5, "pixels go from 0 to 300.5: 0 is taken for black, 300.5 for white"),
        ([-0.25, 0.0, 0.25], -0.25, 0.25, "pixels go from -0.25 to 0.25: -0.25 is taken for black, 0.25 for white"),
        (np.array([0, 1, 1], np.uint8), 0, 1, "all pixels are 0 or 1, and 1 is taken for white"),
        (np.array([0, 7, 16], np.uint8), 0, 16, "pixels are whole numbers up to 16: 16 is taken for white"),
        (np.array([0, 7, 40], np.uint8), 0, 255, "the brightest of all pixels is 40 of 255"),
        (np.array([0, 7, 300], np.int64), 0, 1023, "pixels go from 0 to 300, which 10 bits hold: 1,023 is taken"),
        (np.array([-128, 7, 127], np.int8), -128, 127, "pixels go from -128 to 127: -128 is taken for black"),
        (np.array([0, 7, 70_000], np.int64), 0, 70_000, "pixels go from 0 to 70,000: 0 is taken for black, 70,000 for"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_scale_of_an_array(values, black, white, note, dtype):
    values = np.array(values, dtype) if isinstance(values, list) else values
    scale = scale_of(numbers(values))
    assert (scale.black, scale.white) == (black, white)
    assert scale.note is None if note is None else scale.note.startswith(note)
    exact = (values.astype(np.float64).clip(black, white) - black) * 255 / (white - black)
    assert np.abs(scale.to_bytes(values).astype(float) - exact).max() <= 0.5001


def test_the_scale_of_an_array_as_it_is_said():
    scale = scale_of(numbers(np.array([-5, 7, 5000])), 4095)
    assert scale[:2] == (0, 4095)
    assert scale.note == (
        "4,095 is taken for white, as --white-level says; pixels go from -5 to 5,000, and those outside are cut"
    )
    assert scale.to_bytes(np.array([-5, 0, 4095, 5000])).tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("values", [[0, np.nan], [0, np.inf], [-np.inf, 1.0], [2.0, 2.0], [-1e308, 1e308], [0, 1e-320]])
def test_numbers_without_a_scale(values):
    with pytest.raises(DataError):
        scale_of(numbers(np.array([*values, values[-1]])))


def test_digits_of_16_levels_are_warned_of(tmp_path, of, pictures, caplog):
    """As scikit-learn has them."""
    images = np.rint(pictures / 255 * 16)
    np.save(tmp_path / "digits.npy", images)
    assert (pixels_of(of(tmp_path / "digits.npy"))[:, 0] == np.rint(images * 255 / 16)).all()
    warning = "digits.npy: its pixels have few values; are they brightness, and not a map of classes?"
    assert warning in caplog.text
    caplog.clear()
    dataset = of(tmp_path / "digits.npy", white_level=20)
    assert (pixels_of(dataset)[:, 0] == np.rint(images * 255 / 20)).all()
    assert warning not in caplog.text
    assert "20 is taken for white, as --white-level says" in dataset.notes


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, ">i4", np.longdouble])
def test_an_array_from_minus_1_to_1_and_beyond(tmp_path, of, pictures, dtype):
    """As GANs have it, and as differences to a mean."""
    dtype = np.dtype(dtype)
    images = pictures / 127.5 - 1 if dtype.kind == "f" else pictures.astype(int) - 100
    np.save(tmp_path / "images.npy", images.astype(dtype))
    assert np.abs(pixels_of(of(tmp_path / "images.npy"))[:, 0] - pictures.astype(int)).max() <= (dtype == np.float16)


# ---------------------------------------------------------------------------------------------------------------------
# A picture that comes alone
# ---------------------------------------------------------------------------------------------------------------------


def test_white_of_a_single_picture_is_that_of_the_set_where_it_fits():
    assert white_of_one(ranging(0, 200, 16), {16: 4095}) == 4095
    assert white_of_one(ranging(0, 200, 16), {}) == 255
    assert white_of_one(ranging(0, 5000, 16), {16: 4095}) == 16383
    assert white_of_one(ranging(0, 1, 8), {8: 255}) == 1
    assert white_of_one(ranging(0, 7, 8), {8: 1}) == 255


def test_a_picture_is_read_as_the_set_was(tmp_path, pictures):
    scan = np.rint(pictures[0] / 255 * 4095).astype(np.uint16)
    Image.fromarray(scan // 16).save(tmp_path / "scan.png")  # to 255, of 4,095
    form = Form(ImageShape(1, 28, 28), whites={16: 4095})
    assert np.abs(read_image(tmp_path / "scan.png", form)[0].numpy() * 255 - pictures[0] / 16).max() <= 1
    Image.fromarray((pictures[0] > 99).astype(np.uint8)).save(tmp_path / "mask.png")
    shown = read_image(tmp_path / "mask.png", form)
    assert (shown[0].numpy() == (pictures[0] > 99)).all()
    assert shown.equal(image_from((tmp_path / "mask.png").read_bytes(), form))


def test_a_run_of_an_earlier_version_goes_by_the_format(tmp_path, pictures):
    Image.fromarray(pictures[0] * np.uint16(16)).save(tmp_path / "scan.png")
    dark = read_image(tmp_path / "scan.png", Form(ImageShape(1, 28, 28), whites=None))
    assert np.abs(dark[0].numpy() * 255 - pictures[0] / 16).max() <= 1
    own = read_image(tmp_path / "scan.png", ImageShape(1, 28, 28))
    assert np.abs(own[0].numpy() * 255 - pictures[0]).max() <= 1


def test_the_range_of_a_file(tmp_path, pictures):
    Image.fromarray(pictures[0] > 99).save(tmp_path / "1.png")
    assert range_of(tmp_path / "1.png") is None
    Image.fromarray(pictures[0]).save(tmp_path / "8.png")
    found = range_of(tmp_path / "8.png")
    assert (found.bits, found.low, found.high) == (8, 0, pictures[0].max())


def test_a_pack_of_an_earlier_version_is_made_anew(tmp_path, of, masks, monkeypatch, home):
    from genkit.data import pack

    np.save(tmp_path / "masks.npy", masks)
    monkeypatch.setattr(pack, "FORMAT", 2)
    of(tmp_path / "masks.npy")
    (former,) = (home / "packed").glob("masks-*")
    monkeypatch.undo()
    monkeypatch.setenv("GENKIT_DATA", str(home))
    assert pixels_of(of(tmp_path / "masks.npy")).max() == 255
    assert not former.exists()


def test_options_have_a_fit():
    assert DataOptions().fit == "crop"
