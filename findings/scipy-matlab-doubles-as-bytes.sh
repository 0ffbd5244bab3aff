#!/usr/bin/env bash
# SciPy 1.17.1, NumPy 2.2.6: `loadmat` gives MATLAB's doubles as uint8 where they are whole numbers, and arithmetic wraps.
#
# MATLAB keeps an array of class double in the smallest type that holds its values, as the MAT-file's format provides:
# pixels or classes from 0 to 255 take a byte each. `whosmat` says "double", and so does MATLAB; `loadmat` hands over the
# type in which the numbers lie, so that the type of a variable depends on the values in one file: with one 0.5 among
# them it would be float64. A difference of two images, or classes from 1 to 10 less one where 0 occurs, then wraps round
# without a warning. No test that writes its file with `savemat` sees it: that keeps doubles as doubles.
# `mat_dtype=True` gives what was meant.
#
# Seen (Python 3.11, x86-64 Linux), the doubles 0, 1, 200 less the doubles 1, 1, 100:
#   by savemat: float64 [-1.0, 0.0, 100.0]; kept as bytes: uint8 [255, 0, 100]; those with mat_dtype=True: float64
#   the file that MATLAB 7.4 wrote and that comes with SciPy's tests: double, uint8
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scipy==1.17.1 numpy==2.2.6
"$folder/venv/bin/python" -W error - "$folder" <<'PYTHON'
import struct
import sys
from pathlib import Path

import numpy as np
import scipy
from scipy.io import loadmat, savemat, whosmat

assert scipy.__version__ == "1.17.1"
INT8, UINT8, INT32, UINT32, MATRIX, CLASS_DOUBLE = 1, 2, 5, 6, 14, 6


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def row_of_doubles(name, values):
    """A 1 x N matrix of class double whose numbers are kept as bytes."""
    return element(
        MATRIX,
        element(UINT32, struct.pack("<II", CLASS_DOUBLE, 0))
        + element(INT32, struct.pack("<ii", 1, len(values)))
        + element(INT8, name.encode())
        + element(UINT8, bytes(values)),
    )


one, other = [0, 1, 200], [1, 1, 100]
by_matlab, by_scipy = (Path(sys.argv[1], name) for name in ("matlab.mat", "scipy.mat"))
header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
by_matlab.write_bytes(header + row_of_doubles("one", one) + row_of_doubles("other", other))
savemat(by_scipy, {"one": np.array([one], float), "other": np.array([other], float)})


def difference(path, **options):
    assert whosmat(path) == [("one", (1, 3), "double"), ("other", (1, 3), "double")]
    read = loadmat(path, **options)
    less = read["one"] - read["other"]
    print(path.name, options, less.dtype, less[0].tolist())
    return str(less.dtype), less[0].tolist()


meant = ("float64", [-1.0, 0.0, 100.0])
assert difference(by_scipy) == meant
assert difference(by_matlab) == ("uint8", [255, 0, 100])
assert difference(by_matlab, mat_dtype=True) == meant

# MATLAB itself does so.
written = Path(scipy.__file__).parent / "io" / "matlab" / "tests" / "data" / "test3dmatrix_7.4_GLNX86.mat"
((name, _, kind),) = whosmat(written)
print(written.name, kind, loadmat(written)[name].dtype)
assert (kind, loadmat(written)[name].dtype) == ("double", np.uint8)
PYTHON
