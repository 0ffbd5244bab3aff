#!/usr/bin/env bash
# h5py 3.16.0 (HDF5 2.0.0): gzip compresses fixed rows and leaves rows of any length as they are.
#
# Text, raw images or records of different lengths go into a dataset of `h5py.vlen_dtype` or `h5py.string_dtype`.
# With `compression="gzip"` the dataset says "gzip" and its level, each chunk's filter mask says that no filter was skipped,
# and get_storage_size() gives a small number. But a chunk holds references alone, and these are what was compressed. What
# they refer to lies in the file's heap, byte for byte. The same numbers as a rectangle take a seventieth.
#
# Seen (Python 3.11, x86-64 Linux), 100 rows of 10 random bytes that are repeated a thousand times, and 1,000,000 bytes in all:
#   uint8 (100, 10000): gzip 9, file of 14,456 bytes / vlen: gzip 9, storage size 264, file of 1,006,960 bytes
#   strings of the same length: as vlen
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet h5py==3.16.0 numpy==2.2.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import h5py
import numpy as np

assert h5py.__version__ == "3.16.0"
random = np.random.default_rng(0)
rows = np.tile(random.integers(97, 123, (100, 10), np.uint8), 1000)
texts = [row.tobytes().decode() for row in rows]


def written(name, values, shape, dtype):
    path = Path(sys.argv[1], f"{name}.h5")
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("rows", shape, dtype, compression="gzip", compression_opts=9)
        for i, value in enumerate(values):
            stored[i] = value
    with h5py.File(path) as file:
        stored = file["rows"]
        assert (stored.compression, stored.compression_opts) == ("gzip", 9)
        chunks = [stored.id.get_chunk_info(i) for i in range(stored.id.get_num_chunks())]
        assert not any(chunk.filter_mask for chunk in chunks)
        claimed = stored.id.get_storage_size()
    plain = sum(row.tobytes() in path.read_bytes() for row in rows)
    print(f"{name}: storage size {claimed}, file of {path.stat().st_size} bytes, {plain} of 100 rows lie in it as they are")
    return claimed, path.stat().st_size, plain


claimed, size, plain = written("rectangle", rows, rows.shape, np.uint8)
assert size < 50_000 and plain == 0
for name, values, dtype in (("vlen", rows, h5py.vlen_dtype(np.uint8)), ("strings", texts, h5py.string_dtype())):
    claimed, size, plain = written(name, values, (100,), dtype)
    assert claimed < 1_000 and size > 1_000_000 and plain == 100
PYTHON
