"""Are its pictures worth showing? `make pictures` writes docs/pictures.md and pictures.json.

    GENKIT_DATA=~/data python benchmarks/pictures/make.py [--rows cifar,faces] [--example …/dcgan/main.py]

Each contender of a row is trained for the row's minutes, draws samples, and is scored (score.py); two at a time, on
half of the processor's threads each. What it came to is kept in pictures.json as soon as it is known, so that a command
that was stopped goes on where it was; a contender whose settings are the same isn't trained again but with --again.
`--minutes-scale 0.05` tries everything out in a twentieth of the time, and writes to a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch
from contenders import REPOSITORY, Asked, Contender, Failed, carried_out, earlier, pngs
from page import page, table
from rows import ROWS, Missing
from score import judge_of, read

from genkit import data
from genkit.errors import GenkitError
from genkit.files import whole_file
from genkit.latent.images import grid, save_png

#: Rows whose samples the page shows, and how many of each contender's.
SHOWN, COUNT, COLUMNS = ("cifar", "olivetti", "faces", "mnist"), 48, 12


def machine() -> dict[str, Any]:
    """Where and with what a contender is measured."""
    revision = said_by_git("describe", "--always")
    # What this program writes itself changes no contender.
    revision += "-dirty" if said_by_git("status", "--porcelain", "--", ".", ":!docs") else ""
    try:
        names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        names = []
    return {
        "day": str(date.today()),
        "revision": revision or "unknown",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }


def said_by_git(*words: str) -> str:
    """What git says of this repository; nothing where there is no git, or no repository."""
    return subprocess.run(["git", *words], capture_output=True, text=True, cwd=REPOSITORY, check=False).stdout.strip()


class Store:
    """pictures.json and the page, in a folder; written anew whenever something is known."""

    def __init__(self, out: Path, smoke: bool):
        self.out, self.smoke, self.file = out, smoke, out / "pictures.json"
        self.lock = threading.Lock()
        self.results: dict[str, dict[str, Any]] = {}
        self.read()

    def read(self) -> None:
        known = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}
        self.results = {name: known[name] for name in ROWS if name in known}

    def has(self, row: str, contender: str, settings: dict[str, Any]) -> bool:
        """Whether it has been measured with these settings, and has not failed."""
        found = self.results.get(row, {}).get("contenders", {}).get(contender)
        return found is not None and "failed" not in found and found["asked"] == settings

    def revision(self, row: str, contender: str) -> str:
        """At which revision of this repository what is there was measured."""
        return self.results[row]["contenders"][contender].get("environment", {}).get("revision", "unknown")

    def enter(self, name: str, about: dict[str, Any], contender: str, found: dict[str, Any]) -> None:
        with self.lock:
            self.read()  # what another command has entered meanwhile stays
            row = self.results.setdefault(name, {"contenders": {}})
            if "failed" in found and self.has(name, contender, found["asked"]):
                return  # what it came to when it was measured before is worth more
            row |= about
            row["contenders"][contender] = found
            row["contenders"] = {
                each: row["contenders"][each] for each in ROWS[name].contenders if each in row["contenders"]
            }
            self.results = {each: self.results[each] for each in ROWS if each in self.results}
            self.write()

    def write(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        for file, text in (
            (self.file, json.dumps(self.results, indent=1, ensure_ascii=False) + "\n"),
            (self.out / "pictures.md", page(self.results, self.smoke)),
        ):
            with whole_file(file) as temporary:
                temporary.write_text(text, encoding="utf-8")


def settings_of(contender: Contender, minutes: float, images: str, threads: int) -> dict[str, Any]:
    """All of a contender that decides what it comes to, but the machine and the programs' versions."""
    found = {**contender._asdict(), "minutes": minutes, "images": images, "threads": threads}
    return json.loads(json.dumps(found))


class Job(NamedTuple):
    """One contender to be measured: of which row, under which name, and what it is asked for."""

    row: str
    name: str
    contender: Contender
    asked: Asked


def jobs_of(name: str, store: Store, given: argparse.Namespace) -> Iterator[Job]:
    """The contenders of a row that are still to be measured; says why others aren't.

    Raises:
        Missing: the row's images aren't here.
        GenkitError: nor can they be read.
    """
    row, shared = ROWS[name], given.work / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    minutes = row.minutes * given.minutes_scale
    for contender_name, contender in row.contenders.items():
        if given.contenders and not {contender_name, f"{name}/{contender_name}"} & set(given.contenders.split(";")):
            continue
        images = row.images(shared, contender_name)
        settings = settings_of(contender, minutes, images.text, given.threads)
        if store.has(name, contender_name, settings) and not given.again:
            measured = store.revision(name, contender_name)
            other = "" if measured == machine()["revision"] else f", of revision {measured}; --again measures it anew"
            print(f"{name}: {contender_name} is there{other}", file=sys.stderr)
        elif lacks := lacking(contender, given):
            print(f"{name}: {contender_name} is left out; {lacks}", file=sys.stderr)
        else:
            folder = given.work / ("smoke" if store.smoke else "full") / name / slug(contender_name)
            shutil.rmtree(folder, ignore_errors=True)
            asked = Asked(images, minutes, store.smoke, folder, shared, given.threads, given.example, given.rivals)
            yield Job(name, contender_name, contender, asked)


def prepare(job: Job) -> None:
    """Make beforehand what contenders share, each of which would else wait for the other's: a pack, a judge, files."""
    options = job.asked.images.options
    dataset = data.load(options)
    if job.contender.sample is not None or "walk" in job.contender.measures:
        judge_of(options, dataset)
    if job.contender.kind in ("diffusion", "example"):
        pngs(job.asked)
    if job.contender.kind == "earlier":
        earlier(job.asked.shared)


def measure(job: Job, store: Store) -> None:
    """Train, draw and score one contender, and keep what it came to."""
    began = time.monotonic()
    print(f"{job.row}: {job.name} …", file=sys.stderr, flush=True)
    settings = settings_of(job.contender, job.asked.minutes, job.asked.images.text, job.asked.threads)
    environment = {**machine(), "load": round(os.getloadavg()[0], 1)}
    try:
        found = carried_out(job.contender, job.asked)
    except Failed as failure:
        print(f"{job.row}: {job.name} failed: {failure}", file=sys.stderr)
        found = {"failed": str(failure).splitlines()[-1][:200]}
    else:
        if file := found.pop("file", None):
            found["picture"] = sheet(job, Path(file), store.out)
        print(f"{job.row}: {job.name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    about = {"title": ROWS[job.row].title, "minutes": ROWS[job.row].minutes, "images": job.asked.images.text}
    store.enter(job.row, about, job.name, {"asked": settings, **found, "environment": environment})


def lacking(contender: Contender, given: argparse.Namespace) -> str | None:
    """What to give for a contender that can't take part as it is."""
    if contender.kind == "example" and given.example is None:
        return "name its main.py with --example"
    if contender.kind in ("diffusion", "example") and given.rivals is None:
        return "name with --rivals a Python that has denoising-diffusion-pytorch and torchvision"
    return None


def sheet(job: Job, file: Path, out: Path) -> str | None:
    """Draw the first samples; on the page's folder, under the name that is returned, where the page shows them."""
    shape = data.load(job.asked.images.options).shape
    images, _ = read(file, shape.channels, (shape.height, shape.width))
    drawn = grid(images[:COUNT], columns=COLUMNS, side=64)
    save_png(job.asked.folder / "sheet.png", drawn)
    if job.row not in SHOWN:
        return None
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    name = f"samples-{job.row}-{slug(job.name)}.png"
    shutil.copy(job.asked.folder / "sheet.png", out / "pictures" / name)
    return name


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--contenders", default="", help="of these rows, these alone: NAME or ROW/NAME, with ; between")
    parser.add_argument("--minutes-scale", type=float, default=1.0, help="of the rows' minutes; below 1 a smoke run")
    parser.add_argument(
        "--at-once",
        type=int,
        default=2,
        help="contenders that run beside each other, each on as many threads  [default: 2]",
    )
    parser.add_argument("--again", action="store_true", help="measure anew what is there")
    parser.add_argument(
        "--example",
        type=Path,
        default=Path(os.environ["DCGAN_EXAMPLE"]) if os.environ.get("DCGAN_EXAMPLE") else None,
        help="dcgan/main.py in a clone of PyTorch's examples",
    )
    parser.add_argument(
        "--rivals", type=Path, help="the Python of an environment with denoising-diffusion-pytorch and torchvision"
    )
    parser.add_argument("--out", type=Path, help="where pictures.md and pictures.json go  [default: docs]")
    parser.add_argument(
        "--work", type=Path, default=REPOSITORY / "build" / "pictures", help="where runs and samples go"
    )
    given = parser.parse_args()
    rows = [name for name in given.rows.split(",") if name]
    if unknown := set(rows) - ROWS.keys():
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if not 0 < given.minutes_scale <= 1:
        parser.error("--minutes-scale is above 0, and 1 at most")
    if given.example is not None and not given.example.is_file():
        parser.error(f"--example: there is no file {given.example}")
    given.work = given.work.resolve()
    given.rivals = given.rivals and given.rivals.absolute()  # a venv's python is a link, which says where it is
    if not 1 <= given.at_once <= (os.cpu_count() or 1):
        parser.error("--at-once is 1 at least, and at most the machine's processors")
    given.threads = (os.cpu_count() or 1) // given.at_once
    smoke = given.minutes_scale != 1
    if smoke and given.out is not None and given.out.resolve() == (REPOSITORY / "docs").resolve():
        parser.error("--minutes-scale: a smoke run's numbers don't go to docs; leave --out out")
    store = Store(given.out or (given.work / "smoke" if smoke else REPOSITORY / "docs"), smoke)
    jobs: list[Job] = []
    for name in rows:
        try:
            of_row = list(jobs_of(name, store, given))
            for job in of_row:
                prepare(job)
            jobs += of_row
        except (Missing, Failed, GenkitError) as error:
            print(f"{name}: {error}", file=sys.stderr)
    # As many at a time the whole while, so that no contender has the machine to itself.
    with ThreadPoolExecutor(given.at_once) as pool:
        for done in [pool.submit(measure, job, store) for job in jobs]:
            done.result()
    store.write()
    print(table(store.results))


if __name__ == "__main__":
    main()
