"""What a recipe came to: one record a recipe, written by the machine, and the table that is made from all records."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import genkit
from genkit.errors import GenkitError, in_one_line
from genkit.files import from_json, read_plain, to_json, write_file
from genkit.process import load_average

MAX_SIZE = 1 << 22
START, END = "<!-- results: written by genkit reproduce -->", "<!-- end of results -->"
#: The condition of a count that names what was counted, which a reader wants to see in the number's place.
NAMED = "named"
HEADINGS = ("recipe", "figure", "paper", "ours", "criterion", "settings", "machine", "time")


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Measured(Part):
    """A figure, as `evaluate.figure.Figure` has it."""

    value: float
    error: float | None = None
    unit: str
    conditions: dict[str, str | int | float]
    warning: str | None = None


class Row(Part):
    """A row of the table.

    Attributes:
        what, figure, paper, criterion: as the recipe has them, the criterion in words.
        met: None where there is no criterion, or a quick run isn't held to it.
    """

    what: str
    figure: str
    paper: str
    criterion: str
    met: bool | None


class Trained(Part):
    """A run of the recipe: its folder's name, the options that aren't defaults, the seconds it took, and on what."""

    folder: str
    settings: dict[str, Any]
    seconds: float
    machine: str


class Record(Part):
    """All that is known of a recipe's last run, full or quick."""

    schema_version: int = 1
    recipe: str
    quick: bool
    shows: str
    paper: str
    note: str
    rows: tuple[Row, ...]
    figures: dict[str, Measured]
    left_out: dict[str, str]
    runs: dict[str, Trained]
    training_seconds: float
    measuring_seconds: float
    machine: str
    versions: dict[str, str]
    revision: str | None
    date: str

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.met is False]


def save(record: Record, folder: Path) -> Path:
    """Write a recipe's record, and the table of the folder's README anew. A quick run's has a name of its own.

    Raises:
        GenkitError: when they can't be written, or another record can't be read.
    """
    path = folder / "results" / f"{record.recipe}{'-quick' if record.quick else ''}.json"
    write_file(path, to_json(record.model_dump(mode="json")))
    write_table(folder)
    return path


def load(path: Path) -> Record:
    """One record.

    Raises:
        GenkitError: when the file isn't one.
    """
    try:
        return Record.model_validate(from_json(read_plain(path, MAX_SIZE)))
    except (OSError, ValueError, ValidationError) as error:
        raise GenkitError(f"{path} is no record of a recipe: {in_one_line(error)}; delete it") from error


def records(folder: Path) -> list[Record]:
    """The records in a folder, by recipe: the full run's where there is one, else the quick run's."""
    found = [load(path) for path in sorted((folder / "results").glob("*.json"))]
    full = {record.recipe for record in found if not record.quick}
    kept = [record for record in found if not (record.quick and record.recipe in full)]
    return sorted(kept, key=lambda record: record.recipe)


def write_table(folder: Path) -> None:
    """Rewrite what stands between the markers of the folder's README; where they are missing, at its end.

    Raises:
        GenkitError: when the second marker is missing, without which nobody knows what may be replaced.
    """
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if start and not end:
        raise GenkitError(
            f"{path} has no line '{END}' below '{START}'; put it back where the table ends, and try again"
        )
    if not start:
        before = f"{text.rstrip()}\n\n"
    write_file(path, f"{before}{START}\n\n{table(records(folder))}\n\n{END}{after or chr(10)}".encode())


def table(found: Sequence[Record]) -> str:
    """Every figure that the recipes report, a row each."""
    lines = [HEADINGS, ("---",) * len(HEADINGS)]
    for record in found:
        for index, row in enumerate(record.rows):
            first = index == 0
            lines.append(
                (
                    name_of(record) if first else "",
                    row.what,
                    row.paper,
                    ours(record, row),
                    verdict(row),
                    settings(record) if first else "",
                    record.machine if first else "",
                    duration(record.training_seconds + record.measuring_seconds) if first else "",
                )
            )
    return "\n".join(f"| {' | '.join(cell.replace('|', '∣') for cell in line)} |" for line in lines)


def name_of(record: Record) -> str:
    return f"`{record.recipe}`" + (", a quick run: no result" if record.quick else "")


def ours(record: Record, row: Row) -> str:
    """The figure with its standard error, "2.87 ± 0.01", or what a count counted, "none"."""
    found = record.figures.get(row.figure)
    if found is None:
        return "not measured"
    if NAMED in found.conditions:
        return str(found.conditions[NAMED])
    error = "" if found.error is None else f" ± {found.error:.2g}"
    unit = found.unit if found.unit == "°" else f" {found.unit}".rstrip()
    return f"{found.value:.4g}{error}{unit}" + (" (!)" if found.warning else "")


def verdict(row: Row) -> str:
    words = {True: ": met", False: ": **not met**", None: ""}
    return f"{row.criterion}{words[row.met]}" if row.criterion else ""


def settings(record: Record) -> str:
    """What the recipe's runs were told, beyond the defaults; what all of them share is said once."""
    runs = {name: run.settings for name, run in record.runs.items()}
    shared = set.intersection(*(set(map(str, options.items())) for options in runs.values())) if runs else set()
    first: dict[str, Any] = next(iter(runs.values()), {})
    common = [in_words(key, value) for key, value in first.items() if str((key, value)) in shared]
    parts = [", ".join(common)] if common else []
    own = {
        name: [in_words(key, value) for key, value in options.items() if str((key, value)) not in shared]
        for name, options in runs.items()
    }
    if len(runs) <= 4:
        parts += [f"{name}: {', '.join(words)}" for name, words in own.items() if words]
    else:
        parts.append(f"{len(runs)} runs")
    parts += [record.note] if record.note else []
    return "; ".join(parts)


def in_words(key: str, value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{key.replace('_', '-')} {text or 'none'}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


# ---------------------------------------------------------------------------------------------------------------------
# Where and with what
# ---------------------------------------------------------------------------------------------------------------------


def processor() -> str:
    """The processor's name, as Linux knows it; elsewhere its kind."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine(device: str) -> str:
    """ "cpu (2 threads), Intel Xeon, 2 cores, at a load of 0.3": a busy machine's times are no idle one's."""
    return f"{device}, {processor()}, {os.cpu_count()} cores{under(load_average())}"


def under(load: float | None) -> str:
    return "" if load is None else f", at a load of {load:.1f}"


def revision() -> str | None:
    """The commit of the clone that genkit runs from, with a + where it has been changed; None for an installed one."""
    clone = Path(genkit.__file__).parents[1]
    if not (clone / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(clone), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "genkit", "experiments/*.toml")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
