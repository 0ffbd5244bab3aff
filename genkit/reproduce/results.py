"""What a recipe came to: one record a recipe, written by the machine, and the table that is made from all records."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from genkit.errors import GenkitError, in_one_line, plainly
from genkit.files import from_json, read_plain, to_json, write_file
from genkit.options import as_text
from genkit.run.process import load_average

MAX_SIZE = 1 << 22
README, PICTURES = "README.md", "pictures"
START, END = "<!-- results: written by genkit reproduce -->", "<!-- end of results -->"
#: The condition of a count that names what was counted, which a reader wants to see in the number's place.
NAMED = "named"
HEADINGS = ("figure", "paper", "ours", "criterion")


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
        said = in_one_line(error)
        if isinstance(error, ValidationError):
            fault = error.errors()[0]
            said = f"its '{'.'.join(map(str, fault['loc'])) or 'content'}' {plainly(fault)}"
        raise GenkitError(
            f"{path} is no record that genkit reproduce wrote, or is damaged ({said}); move it out of that folder, and "
            f"let genkit reproduce {path.stem.removesuffix('-quick')} write its record anew if it was one"
        ) from error


def require_ready(folder: Path) -> None:
    """Refuse, before anything is trained, a folder whose records or table couldn't be read at the end.

    Raises:
        GenkitError
    """
    records(folder)
    readme(folder)


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
    before, after = readme(folder)
    found = records(folder)
    shown = {each.recipe for each in found if small_picture(folder, each.recipe).is_file()}
    write_file(folder / README, f"{before}{START}\n\n{table(found, shown)}\n\n{END}{after}".encode())


def readme(folder: Path) -> tuple[str, str]:
    """What stands before and after the table.

    Raises:
        GenkitError: as `write_table`.
    """
    path = folder / README
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    except (OSError, ValueError) as error:
        raise GenkitError(f"{path} can't be read: {in_one_line(error)}; mend it, or move it away") from error
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if start and not end:
        raise GenkitError(
            f"{path} has no line '{END}' below '{START}'; put it back where the table ends, and try again"
        )
    return (before, after) if start else (f"{text.rstrip()}\n\n", "\n")


def small_picture(folder: Path, recipe: str) -> Path:
    """The one picture of a recipe that the README shows."""
    return folder / PICTURES / f"{recipe}.png"


def table(found: Sequence[Record], shown: Collection[str] = ()) -> str:
    """What all recipes came to, in a row each, and below it each one whole.

    Args:
        shown: the recipes that have a small picture.
    """
    overview = [("recipe", *HEADINGS, "time"), *(overview_row(record) for record in found)]
    return "\n\n".join([lines_of(overview), *(section(record, record.recipe in shown) for record in found)])


def overview_row(record: Record) -> tuple[str, ...]:
    """A recipe's first figure, which is what it is about, and how long it took."""
    first = record.rows[0]
    name = f"[{name_of(record)}](#{record.recipe.lower().replace('.', '')})"
    return (name, *cells(record, first), duration(record.training_seconds + record.measuring_seconds))


def section(record: Record, shown: bool) -> str:
    """All that a recipe came to: rows, picture, and under which conditions."""
    parts = [f"### {name_of(record)}", f"{record.shows}\\\n*{record.paper}*"]
    parts.append(lines_of([HEADINGS, *(cells(record, row) for row in record.rows)]))
    if shown:
        parts.append(f"![{record.shows}]({PICTURES}/{record.recipe}.png)")
    took = duration(record.training_seconds + record.measuring_seconds)
    note = f"; {record.note}" if record.note else ""
    code = f"genkit {record.versions.get('genkit', '')} {record.revision or ''}".rstrip()
    facts = {
        "Settings": f"{settings(record)}{note}",
        "machine": record.machine,
        "time": took,
        "run": f"{record.date}, {code}",
    }
    parts.append(". ".join(f"*{name.capitalize()}*: {said}" for name, said in facts.items()) + ".")
    return "\n\n".join(parts)


def cells(record: Record, row: Row) -> tuple[str, ...]:
    return row.what, row.paper, ours(record, row), verdict(record, row)


def lines_of(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first row being its head."""
    head, *rest = rows
    lines = [head, ("---",) * len(head), *rest]
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
    # What follows a comma in a unit says which judge counted; that stands in the record.
    unit = found.unit if found.unit == "°" else f" {found.unit.partition(',')[0]}".rstrip()
    return f"{digits(found.value)}{error}{unit}" + (" (!)" if found.warning else "")


def digits(value: float) -> str:
    """Four digits: "1.000" for what is nearly 1, and "1" for what is."""
    return f"{value:g}" if value.is_integer() else f"{value:#.4g}".rstrip(".")


def verdict(record: Record, row: Row) -> str:
    words = {True: ": met", False: ": **not met**", None: ""}
    return f"{criterion(record, row)}{words[row.met]}" if row.criterion else ""


def criterion(record: Record, row: Row) -> str:
    """The bounds with the values of the figures that they name: "< 0.6548"."""
    text = row.criterion
    for name in sorted(record.figures, key=len, reverse=True):
        text = text.replace(name, digits(record.figures[name].value))
    return text


def settings(record: Record) -> str:
    """What the recipe's runs were told, beyond the defaults; what all of them share is said once."""
    runs = {name: run.settings for name, run in record.runs.items()}
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, told in runs.items():
        groups.setdefault(name.partition("/")[0], []).append(told)
    keys = dict.fromkeys(key for told in runs.values() for key in told)
    shared = [key for key in keys if len({str(told.get(key)) for told in runs.values()}) == 1]
    parts = [", ".join(in_words(key, [next(iter(runs.values()))[key]]) for key in shared)] if shared else []
    for name, group in groups.items():
        own = [key for key in keys if key not in shared and any(key in told for told in group)]
        words = ", ".join(in_words(key, [told.get(key) for told in group]) for key in own)
        several = f" ({len(group)} runs)" if len(group) > 1 else ""
        parts += [f"{name}{several}: {words}" if words else ""] if len(runs) > 1 else []
    return "; ".join(part for part in parts if part)


def in_words(key: str, values: Sequence[Any]) -> str:
    """ "hidden 512,256", or of a sweep "latent-dim 2/3/5"."""
    return f"{key.replace('_', '-')} {'/'.join(dict.fromkeys(map(as_text, values)))}"


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
    clone = Path(__file__).parents[2]
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
