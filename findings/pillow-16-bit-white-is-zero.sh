#!/usr/bin/env bash
# Pillow 13.0.0: a TIFF in which 0 is white opens as a picture with 8 bits a pixel, and as its negative with 16.
#
# TIFF's tag 262 (PhotometricInterpretation) says whether 0 or the largest number is white. Radiographs and scans are
# often written with 0 for white. Pillow turns such numbers round at 8 bits, so that whoever opens one of each depth
# believes that the tag is seen to; at 16 bits they come as they lie, without a warning. A reader has to look at the tag
# for one depth, and mustn't for the other.
#
# Seen (Python 3.11, x86-64 Linux), one white pixel and one black, as bits, what 0 is, what Pillow gives:
#   8 white [255, 0] / 8 black [255, 0] / 16 white [0, 65535] / 16 black [65535, 0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 tifffile==2025.5.10 numpy==2.2.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import PIL
import tifffile
from PIL import Image

assert PIL.__version__ == "13.0.0"
seen = {}
for bits in (8, 16):
    largest = 2**bits - 1
    for zero_is, photometric in (("white", "miniswhite"), ("black", "minisblack")):
        stored = [0, largest] if zero_is == "white" else [largest, 0]  # a white pixel, then a black one
        path = Path(sys.argv[1], f"{bits}-{zero_is}.tif")
        tifffile.imwrite(path, np.array([stored], f"u{bits // 8}"), photometric=photometric)
        with Image.open(path) as image:
            seen[bits, zero_is] = np.asarray(image)[0].tolist()
        print(bits, zero_is, seen[bits, zero_is])
assert seen == {
    (8, "white"): [255, 0],
    (8, "black"): [255, 0],
    (16, "white"): [0, 65535],
    (16, "black"): [65535, 0],
}
PYTHON
