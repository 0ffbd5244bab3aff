#!/usr/bin/env bash
# Pillow 13.0.0, tifffile 2025.5.10, Hugging Face datasets 5.2.0: the same colours of 16 bits become three pictures.
#
# Pillow has no colour of 16 bits, and one might expect an error, or one way of making it 8. It depends on how the
# numbers came there. A TIFF whose channels lie together, or apart and compressed, opens as RGB with the higher byte
# of each number. One whose channels lie apart and aren't compressed (planar) opens as RGB of the right size, too, in
# which each BYTE of a channel is taken for a pixel: the upper half of the picture, its rows torn in two and every
# other pixel a lower byte. From an array, datasets' Image() keeps the LOWER byte, so that 256 is as black as 0; it
# warns of "downcasting" then, as it does where nothing is lost. Grey of 16 bits comes out exactly by either.
#
# Seen (Python 3.11, x86-64 Linux), red of the first four pixels, which are 0x1101, 0x2202, 0x3303, 0x4404,
# in files of the byte order of PCs:
#   together 11 22 33 44 / apart, zlib 11 22 33 44 / apart 01 11 02 22 / datasets 01 02 03 04 (hexadecimal)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0 pillow==13.0.0 tifffile==2025.5.10 pyarrow==26.0.1 numpy==2.2.6
HF_HOME="$folder/home" HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
import warnings
from pathlib import Path

import datasets
import numpy as np
import PIL
import tifffile
from PIL import Image

assert (PIL.__version__, tifffile.__version__, datasets.__version__) == ("13.0.0", "2025.5.10", "5.2.0")
high = np.array([0x11, 0x22, 0x33, 0x44], np.uint16)
red = np.tile(high * 256 + np.arange(1, 5, dtype=np.uint16), (4, 1))
colours = np.stack([red, red + 4, red + 8], -1)
apart = np.ascontiguousarray(colours.transpose(2, 0, 1))


def from_tiff(name, pixels, **options):
    path = Path(sys.argv[1], f"{name}.tif")
    tifffile.imwrite(path, pixels, photometric="rgb", byteorder="<", **options)
    assert (tifffile.imread(path) == pixels).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Image.open(path) as image:
            return np.asarray(image)


def from_array(pixels):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        features = datasets.Features(image=datasets.Image())
        (row,) = datasets.Dataset.from_dict({"image": [pixels]}, features=features)
    return np.asarray(row["image"]), any("Downcasting" in str(each.message) for each in warned)


def shown(name, picture):
    print(name, picture.dtype, picture.shape, *(f"{value:02x}" for value in picture[0, :, 0]))
    assert (picture.dtype, picture.shape) == (np.uint8, (4, 4, 3))
    return picture


together = shown("together", from_tiff("together", colours, planarconfig="contig"))
assert (together == colours >> 8).all()
packed = shown("apart, zlib", from_tiff("packed", apart, planarconfig="separate", compression="zlib"))
assert (packed == colours >> 8).all()
torn = shown("apart", from_tiff("torn", apart, planarconfig="separate"))
as_bytes = apart.astype("<u2").view(np.uint8).reshape(3, -1)[:, :16]  # the first 16 bytes of each channel
assert (torn == as_bytes.reshape(3, 4, 4).transpose(1, 2, 0)).all()
picture, warned = from_array(colours)
assert (shown("datasets", picture) == colours & 255).all() and warned
picture, warned = from_array((colours & 255).astype(np.int64))
assert (picture == colours & 255).all() and warned  # the same warning where nothing is lost

assert (from_array(red)[0] == red).all()
path = Path(sys.argv[1], "grey.tif")
tifffile.imwrite(path, red, photometric="minisblack")
with Image.open(path) as image:
    assert (np.asarray(image) == red).all()
PYTHON
