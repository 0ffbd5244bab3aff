"""genkit: learn, see and measure a latent space from a folder of images.

The package imports one way, from `cli` at the top to `wording` at the bottom; docs/design.md draws the map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genkit.version import __version__

if TYPE_CHECKING:
    import os

    import torch

    from genkit.loaded import LoadedModel

__all__ = ["__version__", "load"]


def load(
    path: str | os.PathLike[str] | int | None = None,
    device: str | torch.device = "cpu",
    checkpoint: str | int | None = None,
) -> LoadedModel:
    """Open a trained model, every byte of it checked against its SHA-256.

    Args:
        path: a run's folder or number, a checkpoint's folder, a folder that
            `genkit export` wrote as safetensors, a folder of runs, or None for the newest run in `runs/` (or
            `GENKIT_OUT`).
        device: where it computes: "cpu", "cuda", "cuda:1", "mps", or "auto".
        checkpoint: which of a run's: "best", "last", or its step; by default the best by validation, of a GAN the last.

    Raises:
        genkit.errors.CheckpointError: when there is no such model, or anything of it is missing or altered.
        genkit.errors.UsageError: when there is no such device, or `checkpoint` is given and `path` is no run.
    """
    from genkit.loaded import load as open_model  # which takes torch along

    return open_model(path, device, checkpoint)
