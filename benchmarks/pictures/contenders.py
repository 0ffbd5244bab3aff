"""Who races: genkit by its defaults, genkit as it was, and two well-known programs; each for the same minutes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from page import CURRENT

from genkit import data
from genkit.data import DataOptions
from genkit.evaluate import density
from genkit.latent.images import save_pngs
from genkit.run import baseline

REPOSITORY = Path(__file__).parents[2]
RIVALS = Path(__file__).parent / "rivals"
#: genkit before issue 17, whose defaults know nothing of the images.
EARLIER = "9e9c066"
#: Samples of each contender at most; fewer where there are fewer test images to hold them against.
SAMPLES = 5000


class Images(NamedTuple):
    """The images of a row: what `--dataset` names, the flags beside it, and what the page calls them."""

    dataset: str
    flags: tuple[str, ...]
    text: str

    @property
    def options(self) -> DataOptions:
        size = dict(zip(self.flags[::2], self.flags[1::2], strict=True)).get("--image-size")
        return DataOptions(dataset=self.dataset, image_size=None if size is None else int(size))


class Asked(NamedTuple):
    """What a contender is asked for: images, minutes of training, a folder that is its own, one that all share.

    Attributes:
        short: whether this only tries it out, so that what is limited by no minutes trains for one epoch.
        threads: of the processor, for its training and drawing.
        example: main.py of the DCGAN example.
        rivals: the Python that has what the others' programs import.
    """

    images: Images
    minutes: float
    short: bool
    folder: Path
    shared: Path
    threads: int
    example: Path | None
    rivals: Path


class Contender(NamedTuple):
    """One line of a row.

    Attributes:
        kind: "genkit", "earlier", "diffusion" or "example".
        model, flags: of genkit's.
        sample: flags of `genkit sample`; () for plain samples, None where nothing is drawn.
        measures: "reconstruction", "likelihood", "walk".
        limited: whether it trains for the row's minutes, and not as long as its defaults say.
    """

    kind: str
    model: str = ""
    flags: tuple[str, ...] = ()
    sample: tuple[str, ...] | None = ()
    measures: tuple[str, ...] = ()
    limited: bool = True


class Failed(Exception):
    """A contender's process ended otherwise than it should; the message has the end of what it said."""


class Spent(NamedTuple):
    """What a process came to: its output, its seconds, and those of processors, its children's too."""

    out: str
    wall: float
    cpu: float


def run(command: Sequence[str | Path], asked: Asked, root: Path = REPOSITORY) -> Spent:
    """Run a program in a contender's folder on its threads, with the genkit that lies in `root`.

    Raises:
        Failed
    """
    asked.folder.mkdir(parents=True, exist_ok=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(asked.threads))
    environment = {**os.environ, **threads, "PYTHONPATH": str(root), "GENKIT_OFFLINE": "1"}
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out, (asked.folder / "stderr.txt").open("ab+") as err:
        words = [str(each) for each in command]
        process = subprocess.Popen(words, cwd=asked.folder, env=environment, stdout=out, stderr=err)
        # Of this process and its children alone: another contender may be running beside it.
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read().decode()
    if process.returncode:
        end = (asked.folder / "stderr.txt").read_text(errors="replace")[-3000:]
        raise Failed(f"{' '.join(words)} ended with {process.returncode}:\n{end}")
    return Spent(said, wall, used.ru_utime + used.ru_stime)


def carried_out(contender: Contender, asked: Asked) -> dict[str, Any]:
    """Train, draw, and measure: values by name, and all that is to be known of how.

    Raises:
        Failed
    """
    about: dict[str, Any]
    if contender.kind in ("genkit", "earlier"):
        about, samples = of_genkit(contender, asked)
    else:
        about, samples = of_rival(contender, asked)
    values = about.pop("values", {})
    if samples is not None:
        flags = ["--dataset", asked.images.dataset, *asked.images.flags]
        scored = run([sys.executable, Path(__file__).with_name("score.py"), samples, *flags], asked)
        values |= json.loads(scored.out)
        about["file"] = str(samples)
    return {**about, "values": values}


# ---------------------------------------------------------------------------------------------------------------------
# genkit
# ---------------------------------------------------------------------------------------------------------------------


def of_genkit(contender: Contender, asked: Asked) -> tuple[dict[str, Any], Path | None]:
    root = REPOSITORY if contender.kind == "genkit" else earlier(asked.shared)
    command = [sys.executable, "-m", "genkit", "train", contender.model, "--dataset", asked.images.dataset]
    command += [*asked.images.flags, *contender.flags, "--device", "cpu", "--json"]
    if contender.limited and contender.kind == "genkit":
        command += ["--minutes", f"{asked.minutes:g}"]
    elif contender.limited:
        command += ["--epochs", str(epochs_in(command, root, asked))]
    elif asked.short:
        command += ["--epochs", "1"]
    spent = run([*command, "--out", asked.folder / "runs"], asked, root)
    trained = json.loads(spent.out)
    place = trained["run"]
    settings = json.loads((Path(place) / "config.json").read_text())
    sources = settings.get("sources", {})
    about = {
        "command": shown(command),
        "steps": trained["steps"],
        "seconds": round(spent.wall, 1),
        "cpu_seconds": round(spent.cpu, 1),
        "from_data": {key: settings["options"].get(key) for key, source in sources.items() if source == "data"},
        "values": dict(trained["metrics"]),
        "settings": " ".join(contender.flags) or "defaults",
        "version": EARLIER if contender.kind == "earlier" else CURRENT,
    }
    warned = "the model loses to" in (asked.folder / "stderr.txt").read_text(errors="replace")
    about["values"]["told"] = float(warned)
    topics = [each for each in contender.measures if each in ("reconstruction", "likelihood")]
    if topics:
        evaluate = [sys.executable, "-m", "genkit", "evaluate", place, "--only", ",".join(topics), "--json"]
        # A flow's likelihood is of few images; a bound to hold it against is of the same ones.
        evaluate += ["--nll-images", str(density.IMAGES)] if "likelihood" in topics else []
        for figure in json.loads(run(evaluate, asked, root).out)["runs"][0]["figures"]:
            about["values"][figure["name"]] = figure["value"]
            if figure.get("error") is not None:
                about["values"][f"{figure['name']}_error"] = figure["error"]
        if "reconstruction" in topics:
            about["values"] |= beside_baselines(asked.images, about["values"], settings["options"]["latent_dim"])
    if "walk" in contender.measures:
        solver = ["--set", "steps=25"] if contender.model == "flow" else []
        walk = [sys.executable, Path(__file__).with_name("walk.py"), place, *solver]
        walked = json.loads(run(walk, asked).out)
        about["values"] |= walked
        if "confidence" in walked:
            about["values"]["clearer"] = walked["confidence"] - walked["confidence_of_averages"]
    if contender.sample is None:
        return about, None
    count = samples_for(asked.images)
    seeds = f"0-{count // 10 - 1 if '--classes' in contender.sample else count - 1}"
    draw = [sys.executable, "-m", "genkit", "sample", place, "--seeds", seeds, *contender.sample, "--npz", "--json"]
    drawn = run([*draw, "--out", asked.folder / "samples"], asked, root)
    about["seconds_of_samples"] = round(drawn.wall, 1)
    return about, Path(json.loads(drawn.out)["files"]["npz"])


def shown(command: Sequence[str]) -> str:
    """A command as a person would type it, without where anything lies on this machine."""
    words = ["genkit", *command[3:]]
    return " ".join(Path(each).name if each.startswith("/") else each for each in words if each != "--json")


def samples_for(images: Images) -> int:
    return max(64, min(SAMPLES, len(data.load(images.options).test)))


def beside_baselines(images: Images, values: dict[str, float], components: int) -> dict[str, float]:
    """The reconstructions' squared error over that of the mean training image, and of PCA with as many numbers.

    PCA's is that of `genkit evaluate`; of images too large for it, that which `genkit train` ends with.
    """
    dataset = data.load(images.options)
    mean, ours = dataset.train.mean().flatten(), values["reconstruction/squared_error"]
    centred = dataset.test.images().flatten(1).float() / 255 - mean
    found = {"against_mean": ours / float(centred.square().sum(1).mean())}
    error = values.get("reconstruction/pca_squared_error")
    if error is None and (axes := baseline.principal_axes(dataset.train, mean, components, 0)) is not None:
        error = float((centred - centred @ axes @ axes.T).square().sum(1).mean())
    return found if error is None else {**found, "against_pca": ours / error}


def earlier(shared: Path) -> Path:
    """genkit at the revision EARLIER, from the repository's history.

    Raises:
        Failed: in a copy without that history.
    """
    folder = shared / EARLIER
    if not (folder / "genkit").is_dir():
        archive = ["git", "-C", str(REPOSITORY), "archive", EARLIER, "genkit"]
        done = subprocess.run(archive, capture_output=True, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(archive)}: {done.stderr.decode().strip()}")
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
            tar.extractall(folder, filter="data")
    return folder


def epochs_in(command: Sequence[str], root: Path, asked: Asked) -> int:
    """As many epochs as that genkit gets through in the minutes, start and end included, by a run of one and of two."""
    trial = [*command, "--out", asked.folder / "trial", "--epochs"]
    took = [run([*trial, str(count)], asked, root).wall for count in (1, 2)]
    epoch = max(0.05, took[1] - took[0])
    return max(1, int((60 * asked.minutes - (took[0] - epoch)) / epoch))


# ---------------------------------------------------------------------------------------------------------------------
# Others
# ---------------------------------------------------------------------------------------------------------------------


def of_rival(contender: Contender, asked: Asked) -> tuple[dict[str, Any], Path]:
    images = data.load(asked.images.options)
    program = "diffusion" if contender.kind == "diffusion" else "dcgan_example"
    out = asked.folder / "samples.npz"
    command = [asked.rivals, RIVALS / f"{program}.py", "--images", pngs(asked), "--size", images.shape.height]
    command += ["--minutes", f"{asked.minutes:g}", "--count", samples_for(asked.images), "--out", out]
    if contender.kind == "example":
        if asked.example is None:
            raise Failed("the example's main.py isn't named: --example, or the variable DCGAN_EXAMPLE")
        command += ["--example", asked.example.resolve()]
    spent = run([str(each) for each in command], asked)
    said = json.loads(spent.out.splitlines()[-1])
    return {**said, "cpu_seconds": round(spent.cpu, 1), "command": f"rivals/{program}.py"}, out


def pngs(asked: Asked) -> Path:
    """A folder with a folder of PNG files, of the images that genkit trains on and validates with."""
    folder = asked.shared / "png" / Path(asked.images.dataset).stem
    if not folder.exists():
        dataset = data.load(asked.images.options)
        begun = folder.with_name(f".{folder.name}")
        begun.mkdir(parents=True, exist_ok=True)
        save_pngs(begun / "all", torch.cat([dataset.train.images(), dataset.val.images()]))
        begun.rename(folder)
    return folder
