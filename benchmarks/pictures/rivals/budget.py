"""What the programs in this folder share: a time that ends their training, and how their samples are handed over."""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def begun() -> float:
    """When this process began, by time.monotonic(): seconds before Python came here, which torch's import takes."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return time.monotonic()
    return ticks / os.sysconf("SC_CLK_TCK") - time.clock_gettime(time.CLOCK_BOOTTIME) + time.monotonic()


BEGAN = begun()


class OutOfTime(BaseException):
    """Raised wherever the program is when its time is over; nobody catches it as an Exception."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="a folder with a folder of PNG files")
    parser.add_argument("--size", type=int, required=True, help="of these images")
    parser.add_argument("--minutes", type=float, required=True, help="of training, from the program's start")
    parser.add_argument("--count", type=int, required=True, help="of samples, at most")
    parser.add_argument("--out", type=Path, required=True, help="the .npz of samples")
    return parser


def until(minutes: float, train: Callable[[], Any]) -> OutOfTime | None:
    """Train until so many minutes after the program's start; gives where it was stopped, or None if it ended."""

    def over(*_: object) -> None:
        raise OutOfTime

    signal.signal(signal.SIGALRM, over)
    # Again and again: what is raised in a destructor or a callback from C is swallowed.
    signal.setitimer(signal.ITIMER_REAL, max(0.1, BEGAN + 60 * minutes - time.monotonic()), 10)
    try:
        train()
    except OutOfTime as stopped:
        return stopped
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def hand_over(out: Path, minutes: float, count: int, draw: Callable[[int], Tensor], size: int, **about: Any) -> None:
    """Draw samples, (n, C, H, W) in [0, 1], for as long again as there was for training, at most `count`; keep them.

    Prints what is to be known of the program as a line of JSON.
    """
    trained = time.monotonic() - BEGAN
    parts: list[Tensor] = []
    while sum(map(len, parts)) < count and (not parts or time.monotonic() - BEGAN < trained + 60 * minutes):
        parts.append(draw(min(size, count - sum(map(len, parts)))).cpu())
    images = (torch.cat(parts).clamp(0, 1) * 255).round().byte().numpy()
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, images=images)
    drawn = time.monotonic() - BEGAN - trained
    print(json.dumps({**about, "seconds": round(trained, 1), "seconds_of_samples": round(drawn, 1)}))
