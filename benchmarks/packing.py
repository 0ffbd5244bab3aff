"""What does packing cost beside bare decoding, and how much memory does it take?

    python benchmarks/packing.py [--count 100000] [--rounds 3] [--forms folder zip parquet] [--side 32] [--folder /tmp]
                                 [--images FOLDER-OR-ZIP] [--json FILE]

Real pictures (those of `--images`, else drawn faces) are repeated, each time shifted by another number of pixels, until
there are `count`, all different, and saved as JPEG in each form. Each measurement is a process of its own. "pack" is
all that the first `genkit train` does before it has its images: looking for them, labels, decoding, fingerprints,
splits, sums, and writing. "bare" reads the same bytes (with pyarrow, zipfile, or file by file), decodes them by Pillow
to the same arrays with as many threads, and drops them. The two take turns; ratios are medians over the rounds, of time
by the clock and of the processor's time, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FORMS = ("folder", "zip", "parquet")
SHARD = 100_000
#: As `genkit.data.forms.pictures` has it.
THREADS = min(8, os.cpu_count() or 1)
AT_ONCE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--images", type=Path, help="a folder or .zip of pictures that are repeated")
    parser.add_argument("--folder", help="where twice the room of all images is free", default=None)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(json.loads(arguments.child))))
        return
    print(f"{machine()}; {arguments.count:,} JPEGs of {arguments.side}x{arguments.side}, {THREADS} threads", flush=True)
    results = []
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="genkit-") as folder:
        for form in arguments.forms:
            path = Path(folder) / form
            WRITERS[form](path, pictures(arguments))
            results += measure(path, form, arguments)
            shutil.rmtree(path)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")


def measure(path: Path, form: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        for way in ("bare", "pack")[:: 1 if number % 2 else -1]:
            task = {"way": way, "form": form, "path": str(path), "side": arguments.side}
            results.append({**task, "round": number, **ask(task)})
    pack, bare = ([each for each in results if each["way"] == way] for way in ("pack", "bare"))

    def speed(what: str) -> str:
        ratio = statistics.median(b[what] / p[what] for p, b in zip(pack, bare, strict=True))
        each, plain = (1e6 * statistics.median(one[what] for one in some) / arguments.count for some in (pack, bare))
        return f"{each:5.0f} us an image, bare {plain:5.0f}, speed {ratio:.2f} of bare"

    assert all(each["images"] == arguments.count for each in results), results
    print(
        f"{form:8} clock {speed('seconds')}; processor {speed('processor')}; peak memory "
        f"{max(each['peak_mb'] for each in pack):,.0f} MB, bare {max(each['peak_mb'] for each in bare):,.0f} MB",
        flush=True,
    )
    return results


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


def pictures(arguments: argparse.Namespace) -> Iterator[tuple[bytes, int]]:
    """JPEGs, all different, and a class each."""
    import numpy as np
    from PIL import Image

    originals = list(sources(arguments.images, arguments.side))

    def encoded(number: int) -> tuple[bytes, int]:
        original, shift = number % len(originals), number // len(originals)
        pixels = np.roll(originals[original], (shift % arguments.side, shift // arguments.side), (0, 1))
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "jpeg", quality=90)
        return file.getvalue(), original % 10

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, arguments.count, 10_000):
            yield from pool.map(encoded, range(start, min(start + 10_000, arguments.count)), chunksize=AT_ONCE)


def sources(images: Path | None, side: int) -> Iterator[Any]:
    """uint8 (side, side, 3)."""
    import numpy as np
    from PIL import Image

    if images is None:
        from genkit.data import DataOptions, load

        faces = load(DataOptions(dataset="faces", image_size=side)).train.images(slice(10_000))
        yield from faces.permute(0, 2, 3, 1).numpy()
        return
    if images.is_dir():
        contents: Iterator[Any] = (path for path in sorted(images.rglob("*")) if path.is_file())
    else:
        archive = zipfile.ZipFile(images)
        contents = (io.BytesIO(archive.read(name)) for name in sorted(archive.namelist()) if not name.endswith("/"))
    for content in contents:
        with Image.open(content) as image:
            yield np.asarray(image.convert("RGB").resize((side, side)))


def write_folder(path: Path, found: Iterator[tuple[bytes, int]]) -> None:
    for name in map(str, range(10)):
        (path / name).mkdir(parents=True)
    for number, (content, label) in enumerate(found):
        (path / str(label) / f"{number:07d}.jpg").write_bytes(content)


def write_zip(path: Path, found: Iterator[tuple[bytes, int]]) -> None:
    """As `zip` does: deflated, though it makes a JPEG hardly smaller."""
    path.mkdir()
    with zipfile.ZipFile(path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (content, label) in enumerate(found):
            archive.writestr(f"{label}/{number:07d}.jpg", content)


def write_parquet(path: Path, found: Iterator[tuple[bytes, int]]) -> None:
    """As `datasets` writes them, in row groups of a hundred."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": [str(k) for k in range(10)]}}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    said = json.dumps({"info": {"features": features}})
    schema = pa.schema([("image", kind), ("label", pa.int64())], {"huggingface": said})
    path.mkdir()
    writer, rows, number = None, [], 0
    for number, row in enumerate(found):
        if number % SHARD == 0:
            if writer is not None:
                writer.close()
            writer = pq.ParquetWriter(path / f"train-{number // SHARD:05d}.parquet", schema)
        rows.append(({"bytes": row[0], "path": f"{number:07d}.jpg"}, row[1]))
        if len(rows) == 100 or (number + 1) % SHARD == 0:
            write_rows(writer, schema, rows)
            rows = []
    if rows:
        write_rows(writer, schema, rows)
    if writer is not None:
        writer.close()


def write_rows(writer: Any, schema: Any, rows: list[Any]) -> None:
    import pyarrow as pa

    columns = zip(*rows, strict=True)
    writer.write_table(
        pa.table([pa.array(each, field.type) for each, field in zip(columns, schema, strict=True)], schema)
    )


WRITERS = {"folder": write_folder, "zip": write_zip, "parquet": write_parquet}


# ---------------------------------------------------------------------------------------------------------------------
# One measurement, in a process of its own
# ---------------------------------------------------------------------------------------------------------------------


def ask(task: dict[str, Any]) -> dict[str, Any]:
    """What a fresh process measures."""
    with tempfile.TemporaryDirectory(dir=Path(task["path"]).parent, prefix="data-") as home:
        environment = {**os.environ, "GENKIT_DATA": home, "GENKIT_OFFLINE": "1"}
        command = [sys.executable, __file__, "--child", json.dumps(task)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def child(task: dict[str, Any]) -> dict[str, Any]:
    path, side = Path(task["path"]), task["side"]
    images = packing(path, task["form"]) if task["way"] == "pack" else bare(path, task["form"], side)
    return {"images": images(), **stopped()}


_started = (0.0, 0.0)


def start() -> None:
    global _started
    _started = (time.perf_counter(), time.process_time())


def stopped() -> dict[str, float]:
    seconds, processor = time.perf_counter() - _started[0], time.process_time() - _started[1]
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return {"seconds": seconds, "processor": processor, "peak_mb": int(peak[1]) / 1000 if peak else 0.0}


def packing(path: Path, form: str) -> Any:
    """All that `genkit.data.load` does, once its libraries are imported, as those of the other way are."""
    import pyarrow.compute  # which imports pandas, where it is there, as soon as an array becomes NumPy's
    import torch  # noqa: F401

    pyarrow.array([0]).to_numpy()
    from genkit.data import DataOptions, forms, load, pack  # noqa: F401
    from genkit.data.forms import archives, folder, parquet  # noqa: F401

    dataset = path / "images.zip" if form == "zip" else path

    def run() -> int:
        start()
        return sum(len(split) for split in load(DataOptions(dataset=str(dataset))).splits().values())

    return run


def bare(path: Path, form: str, side: int) -> Any:
    import numpy as np
    import pyarrow.parquet as pq
    from PIL import Image

    def contents() -> Iterator[bytes]:
        if form == "folder":
            yield from (file.read_bytes() for file in path.glob("*/*"))
            return
        if form == "zip":
            with zipfile.ZipFile(path / "images.zip") as archive:
                yield from (archive.read(name) for name in archive.namelist())
            return
        for shard in sorted(path.iterdir()):
            with pq.ParquetFile(shard) as file:
                for batch in file.iter_batches(1024, columns=["image"]):
                    yield from batch.column(0).field("bytes").to_pylist()

    def decode(some: list[bytes]) -> int:
        for content in some:
            with Image.open(io.BytesIO(content)) as image:
                pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
                assert pixels.shape == (3, side, side)
        return len(some)

    def pieces() -> Iterator[list[bytes]]:
        some = []
        for content in contents():
            some.append(content)
            if len(some) == AT_ONCE:
                yield some
                some = []
        if some:
            yield some

    def run() -> int:
        start()
        done = 0
        with ThreadPoolExecutor(THREADS) as pool:
            waiting = []
            for piece in pieces():
                waiting.append(pool.submit(decode, piece))
                if len(waiting) == 64:
                    done += sum(each.result() for each in waiting[:32])
                    del waiting[:32]
            return done + sum(each.result() for each in waiting)

    return run


def machine() -> str:
    import PIL

    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores ({cpu[1] if cpu else 'unknown'}), Pillow {PIL.__version__}"


if __name__ == "__main__":
    main()
