"""How long does a person wait for a command before it trains, or that doesn't? Beside the work that can't be avoided.

    GENKIT_DATA=~/data python benchmarks/waits.py [--rounds 5] [--json FILE]

Whole processes, timed from outside. Beside most of them stands the bare work, a program of a few lines that imports
what it needs and does nothing else, on all cores: import torch; encode 10,000 samples as PNG; read and shrink 2,000
JPEG files of 512×512; send 10,000 images through an encoder and find their principal components.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

COUNT, PHOTOS = 10_000, 2_000
VAE = ("--dataset", "mnist", "--hidden", "400", "--activation", "relu", "--latent-dim", "20", "--epochs", "1")
HELP, STEP, SAMPLE = "genkit --help", "genkit train, to its first step", "genkit sample, 10,000 PNG files"
EMBED, PACK = "genkit embed, 10,000 images", "genkit train on 2,000 JPEG files, to its first step"
TORCH = "importing torch alone"
ENCODING, PRODUCTS, DECODING = "the PNG files alone", "the encoder and PCA alone", "reading the JPEG files alone"
GENKIT = (sys.executable, "-m", "genkit")

#: `genkit train` that ends with its first step.
FIRST_STEP = """
import os, sys
from genkit.run import trainer
steps = trainer.train
def train(*arguments):
    next(steps(*arguments))
    os._exit(0)
trainer.train = train
from genkit.cli import main
main()
"""
ENCODE = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from PIL import Image
images = np.load(sys.argv[1])["images"].reshape(-1, 28, 28)
os.mkdir(sys.argv[2])
def write(index):
    Image.fromarray(images[index]).save(f"{sys.argv[2]}/{index:05d}.png")
with ThreadPoolExecutor(os.cpu_count()) as pool:
    list(pool.map(write, range(len(images))))
"""
DECODE = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from PIL import Image
names = sorted(os.listdir(sys.argv[1]))
images = np.empty((len(names), 64, 64), np.uint8)
def read(index):
    with Image.open(f"{sys.argv[1]}/{names[index]}") as picture:
        images[index] = np.asarray(picture.resize((64, 64), Image.Resampling.LANCZOS))
with ThreadPoolExecutor(os.cpu_count()) as pool:
    list(pool.map(read, range(len(names))))
np.save(sys.argv[2], images)
"""
FORWARD = """
import sys
import numpy as np, torch
images = torch.from_numpy(np.load(sys.argv[1])["images"].reshape(-1, 784)).float() / 255
first, last = torch.nn.Linear(784, 400), torch.nn.Linear(400, 40)
with torch.inference_mode():
    codes = torch.cat([last(first(some).relu())[:, :20] for some in images.split(500)])
    torch.pca_lowrank(codes, 2)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="genkit-") as folder:
        found = measure(Path(folder), given.rounds)
    for name, times in found.items():
        print(f"{name:45} {statistics.median(times):6.2f} s")
    if given.json:
        given.json.write_text(json.dumps(found) + "\n")


def write_photos(samples: Path, folder: Path) -> None:
    """Some samples as JPEG files of 512×512, each with noise of its own, without which it would be decoded sooner."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for index, image in enumerate(np.load(samples)["images"][:PHOTOS].reshape(-1, 28, 28)):
        large = np.asarray(Image.fromarray(image).resize((512, 512), Image.Resampling.BICUBIC), np.int16)
        noisy = large + random.integers(-8, 9, large.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{index:05d}.jpg", quality=90)


def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each command and of each bare work, by what it is; the commands take turns."""
    subprocess.run([*GENKIT, "train", "vae", *VAE, "--out", folder / "runs"], check=True, capture_output=True)
    run = next((folder / "runs").glob("*-vae-mnist"))
    seeds, scratch = f"0-{COUNT - 1}", folder / "scratch"
    some = folder / "some"
    sample = [*GENKIT, "sample", run, "--seeds", seeds, "--each", "--out"]
    subprocess.run([*sample, some, "--npz"], check=True, capture_output=True)
    arrays, photos = next(some.rglob("*.npz")), folder / "photos"
    write_photos(arrays, photos)
    to_first_step = [sys.executable, "-c", FIRST_STEP, "train", "vae"]
    waits = {
        HELP: [*GENKIT, "--help"],
        STEP: [*to_first_step, *VAE, "--out", scratch],
        TORCH: [sys.executable, "-c", "import torch"],
        SAMPLE: [*sample, scratch],
        ENCODING: [sys.executable, "-c", ENCODE, arrays, scratch],
        EMBED: [*GENKIT, "embed", run, "--out", scratch],
        PRODUCTS: [sys.executable, "-c", FORWARD, arrays],
        PACK: [*to_first_step, "--dataset", photos, "--image-size", "64", "--out", scratch],
        DECODING: [sys.executable, "-c", DECODE, photos, folder / "decoded.npy"],
    }
    times: dict[str, list[float]] = {name: [] for name in waits}
    for number in range(rounds + 1):  # the first warms the disk's cache up
        for name in list(waits)[:: -1 if number % 2 else 1]:
            shutil.rmtree(scratch, ignore_errors=True)
            # Where packs are kept: empty every time.
            given = os.environ | ({"GENKIT_DATA": str(folder / f"packs-{number}")} if name == PACK else {})
            began = time.perf_counter()
            subprocess.run(waits[name], check=True, capture_output=True, env=given)
            if number:
                times[name].append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main()
