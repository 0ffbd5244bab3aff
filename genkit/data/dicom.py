"""How are DICOM images read, where pydicom is installed?

Of a file only the group that describes the pixels is looked at; nothing that says whose they are is read or shown.
Grey is what was measured (PS3.3, C.11.1: rescaled by the modality LUT), so that the numbers of a set are on one scale;
which of them is white is asked of the whole set, and no window is applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np

from genkit.data.raster import EXTRA, BadImage, Raster, silence

#: The mark, and where it stands.
MARK, PLACE = b"DICM", 128
LIBRARY, ENDINGS = "pydicom", (".dcm", ".dicom")
#: What is read of a file: of its kind, of its pixels, and of the frames of enhanced images.
TAGS = [
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PlanarConfiguration", "NumberOfFrames", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "DoseGridScaling", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
]
GREY, COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
#: Deflated is decompressed whole and without a bound before anything is known of it.
DEFLATED = "1.2.840.10008.1.2.1.99"


def is_dicom(beginning: bytes) -> bool:
    return beginning[PLACE : PLACE + len(MARK)] == MARK


def described(file: BinaryIO) -> Any:
    """What a file says of its pixels, for `opened`: pydicom's data set.

    Raises:
        BadImage: when pydicom isn't installed, or the file is of a kind that isn't read.
        Exception: whatever a damaged file makes it stumble over.
    """
    try:
        pydicom, reader = import_module("pydicom"), import_module("pydicom.filereader")
    except ImportError:
        raise BadImage(f"is DICOM, which is read by pydicom, which isn't here; {EXTRA}") from None
    silence("pydicom")
    # pydicom would inflate it before it says how it is encoded; no other parser than its own understands what it would.
    file.seek(0)
    reader.read_preamble(file, False)
    if reader._read_file_meta_info(file).get("TransferSyntaxUID") == DEFLATED:
        raise BadImage("is deflated DICOM, which isn't read; save it with another transfer syntax")
    file.seek(0)
    return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS)


@contextmanager
def opened(file: BinaryIO, frame: int = 0, said: Any = None) -> Iterator[Raster]:
    """A frame, numbered from 0.

    Args:
        said: what `described` has found in the file, where somebody knows it.

    Raises:
        BadImage, Exception: as `described`.
    """
    said = described(file) if said is None else said
    yield _Frame(file, said, frame, import_module("pydicom.pixels"))


class _Frame(Raster):
    format = "DICOM"

    def __init__(self, file: BinaryIO, said: Any, frame: int, library: Any):
        self.file, self.said, self.frame, self.library = file, said, frame, library
        self.info = {}
        if "Rows" not in said or "Columns" not in said:
            raise BadImage("is DICOM without an image in it (a plan, a report, waveforms)")
        self.size = int(said.Columns), int(said.Rows)
        self.pages = int(said.get("NumberOfFrames") or 1)
        self.kind = str(said.get("PhotometricInterpretation", ""))
        if self.kind not in (*GREY, *COLOUR, PALETTE):
            raise BadImage(f"is DICOM of the colours {self.kind[:40]!a}, which aren't read; save it as grey or RGB")
        if min(self.size) < 1 or self.pages < 1 or not 0 <= frame < self.pages:
            raise BadImage("is DICOM of no pixels")
        channels = int(said.get("SamplesPerPixel", 1))
        if channels != (3 if self.kind in COLOUR else 1):
            raise BadImage(f"is DICOM of {channels} channels of {self.kind}; damaged")
        self.negative = self.kind == "MONOCHROME1"
        self.slope, self.intercept = self._rescaling()
        bits, signed = int(said.get("BitsAllocated", 8)), int(said.get("PixelRepresentation", 0))
        plain = (self.slope, self.intercept) == (1, 0) and not signed and "ModalityLUTSequence" not in said
        if self.kind == PALETTE:
            self.mode = "RGB" if said.RedPaletteColorLookupTableDescriptor[2] == 8 else "RGB;16"
        elif self.kind in COLOUR:
            self.mode = "RGB" if bits == 8 else "RGB;16"
        elif bits == 1:
            self.mode = "1"
        else:
            self.mode = "L" if bits == 8 and plain else "F"
        self._require_decoder(said.file_meta.get("TransferSyntaxUID"))

    def _require_decoder(self, syntax: Any) -> None:
        """Raises BadImage where pydicom can't decompress the pixels."""
        if syntax is None or not syntax.is_compressed:
            return
        try:
            decoder = self.library.get_decoder(syntax)
        except NotImplementedError:
            raise BadImage(f"is DICOM compressed as {syntax.name[:120]}, which pydicom doesn't decode") from None
        if not decoder.is_available:
            raise BadImage(
                f"is DICOM compressed as {syntax.name[:120]}, which pydicom decodes with pylibjpeg alone; "
                "pip install 'pylibjpeg[all]'"
            )

    def _rescaling(self) -> tuple[float, float]:
        """Slope and intercept; of enhanced images they stand with the frame, or with all."""
        said = self.said
        for groups, place in (("PerFrameFunctionalGroupsSequence", self.frame), ("SharedFunctionalGroupsSequence", 0)):
            sequence = said.get(groups) or []
            if place < len(sequence):
                values = sequence[place].get("PixelValueTransformationSequence") or []
                if values:
                    return float(values[0].get("RescaleSlope", 1)), float(values[0].get("RescaleIntercept", 0))
        if said.get("DoseGridScaling"):
            return float(said.DoseGridScaling), 0.0
        slope, intercept = said.get("RescaleSlope"), said.get("RescaleIntercept")
        return (1.0 if slope is None else float(slope)), (0.0 if intercept is None else float(intercept))

    def numbers(self) -> np.ndarray:
        values = self._stored()
        if self.kind == PALETTE:
            values = self.library.apply_color_lut(values, self.said)
            wanted = np.dtype(np.uint8 if self.mode == "RGB" else np.uint16)
            return values[..., :3].astype(wanted, copy=False)
        if self.mode != "F":
            return values.astype(bool) if self.mode == "1" else values
        return self._measured(values)

    def _stored(self) -> np.ndarray:
        self.file.seek(0)
        try:
            values: np.ndarray = self.library.pixel_array(self.file, index=self.frame)
        except ValueError:
            # It believes the transfer syntax, where `dcmread` looks; and then the file is held whole.
            self.file.seek(0)
            values = self.library.pixel_array(import_module("pydicom").dcmread(self.file), index=self.frame)
        return values

    def _measured(self, values: np.ndarray) -> np.ndarray:
        """Grey, rescaled; what is only there to make a rectangle of what was seen is as dark as the darkest besides."""
        padding = self.said.get("PixelPaddingValue")
        void = None
        if padding is not None:
            ends = sorted([int(padding), int(self.said.get("PixelPaddingRangeLimit") or padding)])
            void = (values >= ends[0]) & (values <= ends[1])
        if "ModalityLUTSequence" in self.said:
            rescaled = np.asarray(self.library.apply_modality_lut(values, self.said), np.float64)
        else:
            rescaled = values * self.slope + self.intercept
        if void is not None and void.any() and not void.all():
            seen = rescaled[~void]
            rescaled[void] = seen.max() if self.negative else seen.min()
        return rescaled
