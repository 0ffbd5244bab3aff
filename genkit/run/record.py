"""What a run says of itself: its model card, its environment, its data in words."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from genkit import device, registry
from genkit.contract import ability
from genkit.data.dataset import Dataset
from genkit.files import from_json, read_plain
from genkit.keep.config import MAX_SIZE, Config
from genkit.options import as_text, is_flag
from genkit.run.process import load_average
from genkit.run.result import Result
from genkit.version import __version__
from genkit.wording import OF_A_DENSITY, counted

ENVIRONMENT = "environment.json"
#: What the bits of a result depend on, besides the configuration.
DECISIVE = ("genkit", "torch", "cuda", "device", "threads", "machine")


def environment(where: torch.device, processes: int = 1) -> dict[str, Any]:
    """What else a result depends on: versions, revision, device, command line."""
    return {
        "genkit": __version__,
        "revision": revision(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": device.describe(where),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "machine": platform.machine(),
        "platform": platform.platform(),
        "load": load_average(),
        "command": sys.argv,
    }


def revision() -> str | None:
    """The git commit of the clone that this genkit runs in, with `-dirty` where files differ; None outside of one."""
    clone = Path(__file__).parents[2]
    if not (clone / ".git").exists():  # or git would go on to look in the folders above an installation
        return None
    command = ["git", "--no-optional-locks", "-C", str(clone), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        said = subprocess.run([*command, "--exclude=*"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip() or None


def changes(run: Path, where: torch.device) -> list[str]:
    """What is other here than where the run began, and may change the bits: "torch 2.6.0 (it began with 2.13.0)"."""
    now = environment(where)
    try:
        before = from_json(read_plain(run / ENVIRONMENT, MAX_SIZE))
        return [
            f"{name} {now[name]} (it began with {before[name]})"
            for name in DECISIVE
            if name in before and before[name] != now[name]
        ]
    except (OSError, ValueError, TypeError):
        return [f"{ENVIRONMENT}, which can't be read"]


def describe_data(dataset: Dataset) -> str:
    counts = " + ".join(f"{len(split):,} {name}" for name, split in dataset.splits().items())
    gaps: dict[str, list[str]] = {}
    for name, split in dataset.splits().items():
        gaps.setdefault(dataset.lacking(split), []).append(name)
    said = "; ".join(f"no image of {there} in {' and '.join(names)}" for there, names in gaps.items() if there)
    extra = [f"{counted(len(dataset.classes), 'class')}{f' ({said})' if said else ''}"] if dataset.classes else []
    extra += [f"attributes {', '.join(dataset.attributes)}"] if dataset.attributes else []
    return ", ".join([f"{counts} images of {dataset.shape}", *extra])


def uses(config: Config, run: Path) -> str:
    """The commands that open a run of such a model."""
    makes_images = ability.has(registry.find(config.model), ability.GENERATES)
    kinds = ["sample {}", "sample {} --interpolate", "embed {}"] if makes_images else ["info {}", "embed {}"]
    return "\n".join(f"    genkit {kind.format(run)}" for kind in kinds)


def opened(config: Config, result: Result) -> str:
    """Which checkpoint the figures are of, and commands open."""
    words = {"best": "the best by validation", "last": "the last"}
    said = " and ".join(words[each] for each in result.which) or "what could be read"
    weights = ", with averaged weights" if config.options.ema else ""
    prior = f" New codes are drawn by {result.prior}." if result.prior else ""
    return f"Commands open `checkpoints/{result.checkpoint.name}`, {said}{weights}.{prior}"


def card(config: Config, dataset: Dataset, result: Result) -> str:
    """The model card: what this run is, how it did, and how to use it."""
    fields = type(config.options).model_fields.items()
    # What neither a person nor the images have said is no setting: how many classes, of a model that is told none.
    unfilled = {name for name, each in fields if not is_flag(each) and config.sources[name] == "default"}
    options = "\n".join(
        f"| {name.replace('_', '-')} | {as_text(value)} | {config.source_in_words(name)} |"
        for name, value in config.values().items()
        if name not in unfilled
    )
    metrics = "\n".join(f"| {name} | {value:.6g} |" for name, value in result.metrics.items())
    if result.density:
        metrics += f"\n\nThe losses are {OF_A_DENSITY}."
    beside = f"\n{result.beside[0].upper()}{result.beside[1:]}.\n" if result.beside else ""
    measured = (
        f"## Measured on the test split\n\n| metric | value |\n|---|---|\n{metrics}\n{beside}"
        if metrics
        else (
            "The run was stopped before its last epoch, so nothing was measured on the test split. It goes on with\n\n"
            f"    genkit train --resume {result.run}\n"
        )
    )
    notes = "".join(f"\nOf the images: {note}.\n" for note in dataset.notes)
    other = dataset.beside
    second = "" if other is None else f", beside `{other.name}` ({describe_data(other)})"
    provider = registry.provider_of(config.model)
    of = "" if provider.is_genkit else f" of {provider}"
    steps = counted(result.steps, "step")
    return f"""# {result.run.name}

The model `{config.model}`{of}, trained by genkit {__version__} on `{dataset.name}` ({describe_data(dataset)}){second}:
{steps} in {result.seconds:.0f} s. {opened(config, result)}
{notes}
{measured}
![real images](reals.png)

## Settings

| option | value | from |
|---|---|---|
{options}

## Use

{uses(config, result.run)}
"""
