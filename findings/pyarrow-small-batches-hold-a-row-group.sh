#!/usr/bin/env bash
# PyArrow 26.0.1: batches of 16 rows hold their row group's whole column in memory.
#
# `ParquetFile.iter_batches(batch_size=16)` decodes a few rows at a time, yet from a file it reads a column's bytes of the
# row group at one go and keeps them until the last batch of it, also with `pre_buffer=False`. Whoever packs images into
# Parquet easily has one row group of all of them. `buffer_size` reads in parts, but not with `pre_buffer=True`, which
# leaves it without effect, and says nothing; `memory_map=True` takes none of the pool's memory.
#
# Seen (Python 3.11, x86-64 Linux), one row group of 64 MB, most bytes that PyArrow held while 16 rows at a time were read:
#   as it comes 64 MB; pre_buffer=False 64 MB; that and buffer_size 1 MiB 11 MB; pre_buffer=True and buffer_size 64 MB;
#   memory_map=True 0 MB
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyarrow==26.0.1 numpy==2.2.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import gc
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

assert pa.__version__ == "26.0.1"
path = Path(sys.argv[1], "images.parquet")
random = np.random.default_rng(0)
table = pa.table({"image": [random.bytes(10_000) for _ in range(6_400)]})
pq.write_table(table, path, row_group_size=len(table), compression="none", use_dictionary=False)
del table
gc.collect()
size = path.stat().st_size


def held(**options):
    """The most that was allocated while batches were read, as a share of the file."""
    before = pa.total_allocated_bytes()
    most = rows = 0
    with pq.ParquetFile(path, **options) as file:
        assert file.metadata.num_row_groups == 1
        for batch in file.iter_batches(batch_size=16, use_threads=False):
            rows += len(batch)
            most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 6_400
    print(options, f"{most / 1e6:.0f} MB of {size / 1e6:.0f}")
    return most / size


part = {"buffer_size": 1 << 20}
assert held() > 0.9
assert held(pre_buffer=False) > 0.9
assert held(pre_buffer=False, **part) < 0.3
assert held(pre_buffer=True, **part) > 0.9
assert held(memory_map=True) < 0.1
PYTHON
