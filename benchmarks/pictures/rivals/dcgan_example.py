"""The well-known DCGAN example of PyTorch's own repository of examples, as it is, for as long as it may.

    python dcgan_example.py --example …/examples/dcgan/main.py --images … --minutes …

The file is run from where it lies, with its own defaults (64×64, 64 channels outermost, batch 64, Adam 2e-4) on a
folder of images, which it enlarges. When its time is over it is stopped wherever it is, between two of its checkpoints,
too: its generator draws the samples as it draws its own, in training mode.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import runpy
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torchvision_alone  # noqa: F401  # before whoever imports torchvision
from budget import arguments, hand_over, until


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--example", type=Path, required=True, help="its main.py")
    given = parser.parse_args()
    script = str(given.example.resolve())
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:  # noqa: PTH123
        flags = ["--dataset", "folder", "--dataroot", str(given.images.resolve()), "--outf", folder]
        sys.argv = [script, *flags, "--niter", "1000000", "--manualSeed", "0"]
        with contextlib.redirect_stdout(nowhere):
            stopped = until(given.minutes, lambda: runpy.run_path(script, run_name="__main__"))
    if stopped is None:
        raise SystemExit("the example ended before its time was over")
    names = variables(stopped.__traceback__, script)
    generator, latent = names["netG"], names["nz"]
    steps = names.get("epoch", 0) * len(names["dataloader"]) + names.get("i", 0)

    @torch.no_grad()
    def draw(count: int) -> torch.Tensor:
        # A whole batch of its own, whose statistics it normalises by.
        return (generator(torch.randn(names["opt"].batchSize, latent, 1, 1))[:count] + 1) / 2

    digest = hashlib.sha256(given.example.read_bytes()).hexdigest()
    hand_over(
        given.out,
        given.minutes,
        given.count,
        draw,
        names["opt"].batchSize,
        steps=steps,
        settings="64×64, batch 64, Adam 2e-4, its own defaults",
        version=f"main.py {digest[:8]}",
    )


def variables(traceback: Any, script: str) -> dict[str, Any]:
    """The names of the script, where it was stopped."""
    while traceback is not None:
        frame: FrameType = traceback.tb_frame
        if frame.f_code.co_filename == script and "netG" in frame.f_globals:
            return frame.f_globals
        traceback = traceback.tb_next
    raise SystemExit("the example had not built its networks yet when its time was over")


if __name__ == "__main__":
    main()
