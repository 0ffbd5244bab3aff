"""DICOM, written by pydicom."""

from __future__ import annotations

import logging
import struct
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from genkit.data import verify
from genkit.data.dataset import Dataset
from genkit.data.decode import BadImage, read_header, remedy
from genkit.errors import DataError


def pixels_of_all(dataset: Dataset) -> np.ndarray:
    """All images, in the order of the source."""
    return dataset.train.storage.numpy()


def dicom(path: Path, pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **said: object) -> Path:
    """Write an image of somebody whom nobody is to be told of: (H, W), (H, W, 3), or (frames, H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.PatientName, image.PatientID = "Secret^Person", "SECRET-17"
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    image.SamplesPerPixel = 3 if colour else 1
    image.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        image.PlanarConfiguration = 0
    image.Rows, image.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    if pixels.ndim == 3 and not colour:
        image.NumberOfFrames = len(pixels)
    image.BitsAllocated = image.BitsStored = 8 * pixels.dtype.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    image.PixelData = pixels.tobytes()
    for name, value in said.items():
        setattr(image, name, value)
    if syntax == RLELossless:
        image.compress(RLELossless)
    image.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def slices(tmp_path: Path, pictures: np.ndarray) -> tuple[Path, np.ndarray]:
    """A folder of 100 slices, and what was measured in each: Hounsfield numbers from -1000 to 1040."""
    measured = pictures.astype(np.int32) * 8 - 1000
    for number, each in enumerate(measured):
        # As scanners do, not all by the same rescaling.
        intercept = -1024 if number % 2 else 0
        stored = (each - intercept).astype(np.int16)
        path = tmp_path / "ct" / f"{number:03}.dcm"
        dicom(path, stored, RescaleSlope=1, RescaleIntercept=intercept, Modality="CT")
    return tmp_path / "ct", measured


def test_what_was_measured_is_on_one_scale(of, slices, caplog):
    folder, measured = slices
    with caplog.at_level(logging.INFO, "genkit"):
        dataset = of(folder)
    assert (pixels_of_all(dataset)[:, 0] == np.rint((measured + 1000) * (255 / 2040))).all()
    assert f"{folder}: pixels go from -1000 to 1040: -1000 is taken for black, 1040 for white" in caplog.messages
    assert dataset.whites == {0: (-1000, 1040)}
    assert "SECRET" not in caplog.text.upper()
    assert verify(str(folder)).ok


@pytest.mark.parametrize("command", ["info", "verify"])
def test_what_pydicom_warns_of_isnt_shown(genkit, tmp_path, pictures, command):
    """Of a file that says that it is encoded otherwise than it is, and is read all the same."""
    path = dicom(tmp_path / "film.dcm", pictures[:5])
    pydicom.dcmread(path).save_as(path, implicit_vr=True, little_endian=True, force_encoding=True)
    with pytest.warns(UserWarning, match="Expected explicit VR, but found implicit VR"):
        pydicom.dcmread(path)
    outcome = genkit("data", command, path)
    assert outcome.code == 0
    assert outcome.err == ""


def test_negative_numbers_are_kept_by_pack_and_form(of, slices, pictures):
    from genkit.data.pixels import Form
    from genkit.latent.images import read_image

    folder, measured = slices
    of(folder)
    dataset = of(folder)  # from the pack
    form = Form(dataset.shape, "crop", dataset.whites)
    given = read_image(folder / "000.dcm", form)
    assert (given[0].numpy() * 255).round().tolist() == np.rint((measured[0] + 1000) * (255 / 2040)).tolist()


def test_what_fills_up_a_circle_is_dark(of, tmp_path, pictures):
    measured = pictures.astype(np.int16) * 8 - 1000
    for number, each in enumerate(measured):
        each[0, 0] = -2000
        dicom(tmp_path / "ct" / f"{number:03}.dcm", each, PixelPaddingValue=-2000, RescaleSlope=1, RescaleIntercept=0)
    dataset = of(tmp_path / "ct")
    assert dataset.whites == {0: (-1000, 1040)}
    assert (pixels_of_all(dataset)[:, 0, 0, 0] == 0).all()


def test_white_may_be_the_least(of, tmp_path, pictures):
    for number, each in enumerate(pictures):
        dicom(tmp_path / "x" / f"{number:03}.dcm", each.astype(np.uint16) * 16, PhotometricInterpretation="MONOCHROME1")
    dataset = of(tmp_path / "x")
    assert (pixels_of_all(dataset)[:, 0] == 255 - np.rint(pictures.astype(float) * 16 * 255 / 4095)).all()


def test_frames_are_pages(of, tmp_path, pictures):
    path = dicom(tmp_path / "film", pictures)  # a name without an ending, named itself
    assert (pixels_of_all(of(path))[:, 0] == pictures).all()
    assert read_header(path).pages == 100
    path = dicom(tmp_path / "rle.dcm", pictures, RLELossless)
    assert (pixels_of_all(of(path))[:, 0] == pictures).all()


def test_colours_and_palettes(of, tmp_path, pictures):
    coloured = np.stack([pictures, 255 - pictures, pictures // 2], -1)
    for number, each in enumerate(coloured):
        dicom(tmp_path / "rgb" / f"{number:03}.dcm", each)
    assert (pixels_of_all(of(tmp_path / "rgb")).transpose(0, 2, 3, 1) == coloured).all()
    ramp = np.arange(256, dtype=np.uint16)
    tables = {"Red": ramp, "Green": 255 - ramp, "Blue": ramp // 2}
    said: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, table in tables.items():
        said[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        said[f"{colour}PaletteColorLookupTableData"] = (table * 257).astype(np.uint16).tobytes()
    for number, each in enumerate(pictures):
        dicom(tmp_path / "palette" / f"{number:03}.dcm", each, **said)
    assert (pixels_of_all(of(tmp_path / "palette")).transpose(0, 2, 3, 1) == coloured).all()


def test_yellow_blue_red(of, tmp_path, pictures):
    """What comes out is what pydicom says."""
    coloured = np.stack([pictures, np.full_like(pictures, 100), np.full_like(pictures, 160)], -1)
    for number, each in enumerate(coloured):
        dicom(tmp_path / "ybr" / f"{number:03}.dcm", each, PhotometricInterpretation="YBR_FULL")
    expected = np.stack([pydicom.pixels.convert_color_space(each, "YBR_FULL", "RGB") for each in coloured])
    assert (pixels_of_all(of(tmp_path / "ybr")).transpose(0, 2, 3, 1) == expected).all()


def test_masks_of_1_bit(of, tmp_path, pictures):
    masks = pictures > 127
    for number, each in enumerate(masks):
        dicom(
            tmp_path / "seg" / f"{number:03}.dcm",
            np.packbits(each.reshape(-1), bitorder="little")[None],
            Rows=28,
            Columns=28,
            BitsAllocated=1,
            BitsStored=1,
            HighBit=0,
        )
    assert (pixels_of_all(of(tmp_path / "seg"))[:, 0] == masks * 255).all()


def test_names_without_an_ending(of, tmp_path, pictures):
    for number, each in enumerate(pictures):
        name = f"IM{number:04}" if number % 2 else f"1.2.840.{number:03}"
        dicom(tmp_path / "set" / "ab"[number % 2] / name, each)
    (tmp_path / "set" / "a" / "notes").write_text("not one")
    (tmp_path / "set" / "a" / "1.2.3").write_text("not one")
    dataset = of(tmp_path / "set")
    assert (pixels_of_all(dataset)[:, 0] == pictures[[*range(0, 100, 2), *range(1, 100, 2)]]).all()
    assert dataset.classes == ("a", "b")


def test_a_folder_of_dicom_and_png(of, tmp_path, pictures):
    for number, each in enumerate(pictures):
        if number % 2:
            dicom(tmp_path / "set" / f"{number:03}.dcm", each)
        else:
            (tmp_path / "set").mkdir(exist_ok=True)
            Image.fromarray(each).save(tmp_path / "set" / f"{number:03}.png")
    assert (pixels_of_all(of(tmp_path / "set"))[:, 0] == pictures).all()


# -- what isn't read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"Rows": 30}, r"can't be decoded \(.*less than expected"),
        ({"Rows": 60_000, "Columns": 60_000}, "has more than 89,478,485 pixels"),
        ({"Rows": 3000, "Columns": 3000}, "claims 3000x3000 pixels in"),
        ({"Rows": 0}, "is DICOM of no pixels"),
        ({"NumberOfFrames": -1}, "is DICOM of no pixels"),
        ({"SamplesPerPixel": 3}, "is DICOM of 3 channels of MONOCHROME2; damaged"),
        ({"PhotometricInterpretation": "CMYK"}, "is DICOM of the colours 'CMYK', which aren't read; save it as grey"),
    ],
)
def test_what_cannot_be(tmp_path, pictures, said, problem):
    from genkit.contract import ImageShape
    from genkit.data.decode import decode

    path = dicom(tmp_path / "bad.dcm", pictures[0], **said)
    with pytest.raises(BadImage, match=problem):
        decode(path, read_header(path), ImageShape(1, 28, 28))


def test_a_plan_has_no_image(tmp_path, pictures):
    path = dicom(tmp_path / "plan.dcm", pictures[0])
    plan = pydicom.dcmread(path)
    for name in ("Rows", "Columns", "PixelData"):
        delattr(plan, name)
    plan.save_as(path)
    with pytest.raises(BadImage, match="is DICOM without an image in it"):
        read_header(path)


def test_frames_that_a_file_cannot_hold(of, tmp_path, pictures):
    path = dicom(tmp_path / "film.dcm", pictures[0], NumberOfFrames=2_000_000_000)
    with pytest.raises(DataError, match=r"film.dcm claims 2,000,000,000 pages of 28x28 pixels in"):
        of(path)


def test_a_compression_that_needs_more(tmp_path, pictures):
    path = dicom(tmp_path / "lossless.dcm", pictures[0])
    image = pydicom.dcmread(path)
    image.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xc3 and so on"])
    image.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    image.save_as(path)
    with pytest.raises(BadImage) as caught:
        read_header(path)
    assert str(caught.value) == (
        "is DICOM compressed as JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value "
        "1]), which pydicom decodes with pylibjpeg alone; pip install 'pylibjpeg[all]'"
    )
    assert remedy(str(caught.value)) == "or remove it"


def test_deflated_is_refused_before_it_is_inflated(tmp_path, pictures):
    path = dicom(tmp_path / "deflated.dcm", pictures[0], DeflatedExplicitVRLittleEndian)
    with pytest.raises(BadImage, match="is deflated DICOM, which isn't read; save it with another transfer syntax"):
        read_header(path)


def test_deflated_is_refused_wherever_it_is_said(tmp_path, pictures):
    """The last of two elements counts, and one that no standard has may stand before it."""
    path = dicom(tmp_path / "deflated.dcm", pictures[0], DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    plain = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"
    odd = struct.pack("<HH2sHI", 2, 0x11, b"UC", 0, 1 << 4) + bytes(16)
    for number, before in enumerate((plain, odd)):
        other = tmp_path / f"{number}.dcm"
        other.write_bytes(content[:132] + before + content[132:])
        with pytest.raises(BadImage, match="is deflated DICOM, which isn't read; save it with another transfer syntax"):
            read_header(other)


def test_without_pydicom(of, tmp_path, pictures, monkeypatch):
    path = dicom(tmp_path / "image.dcm", pictures)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError) as caught:
        of(path)
    assert str(caught.value).startswith(
        f"{path} is DICOM, which is read by pydicom, which isn't here; pip install 'latent-genkit[formats]'; or remove"
    )
