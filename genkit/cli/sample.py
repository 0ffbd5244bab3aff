"""`genkit sample [RUN]`: one sampler for every model."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genkit.cli.output import emit, json_option
from genkit.cli.shared import DEVICE_HELP, RUN_HELP, load_run, loading, looked_up, results, typed
from genkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from genkit.data.dataset import Dataset
    from genkit.keep.opened import Opened
    from genkit.latent.arithmetic import Exemplars, Term
    from genkit.latent.pictures import Picture

logger = logging.getLogger("genkit")

#: What is shown where nothing is named.
DEFAULT_SEEDS, DEFAULT_WAYPOINTS, DEFAULT_IMAGES = range(64), range(5), 16


class Numbers(click.ParamType):
    """`0-7,12` as a list of numbers."""

    name = "0-7,12"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> list[int]:
        from genkit.latent.numbers import parse_numbers

        if isinstance(value, list):
            return value
        try:
            return parse_numbers(value)
        except UsageError as error:
            self.fail(str(error), parameter, context)


#: Which options shape which kind of sample; the others of these would be ignored, and are refused.
SHAPED_BY = {
    "samples": {"seeds", "columns"},
    "reconstruct": {"images", "files", "dataset"},
    "interpolate": {"seeds", "images", "files", "dataset", "path", "steps"},
    "arithmetic": {"exemplars", "jitter", "seed", "dataset"},
    "traverse": {"seeds", "images", "files", "dataset", "dims", "reach", "steps"},
    "manifold": {"side"},
}


def finite(context: click.Context, parameter: click.Parameter, value: float) -> float:
    """Refuse NaN and infinity, which pass any bounds."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.", context, parameter)
    return value


@click.command(epilog=RUN_HELP)
@click.argument("run", required=False)
@click.option("--seeds", type=Numbers(), help="Seeds of the samples, or of the waypoints.  [default: 0-63; 0-4]")
@click.option("--images", type=Numbers(), help="Images of the test split, by position.  [default: 16, evenly spaced]")
@click.option("--file", "files", type=click.Path(path_type=Path), multiple=True, help="An image file; may be repeated.")
@click.option("--reconstruct", is_flag=True, help="Originals above reconstructions: of --images or --file.")
@click.option("--interpolate", is_flag=True, help="Walk between --seeds, --images or --file; a sheet and a GIF.")
@click.option(
    "--arithmetic",
    metavar="EXPR",
    help="Calculate with codes: 'male&glasses - male&!glasses + !male&!glasses', 'label:7 - label:1 + label:4', "
    "'@3,8,9 - @12,4,7 + @1,5,2' (seeds), 'a.png - b.png + c.png'.",
)
@click.option("--traverse", is_flag=True, help="Sweep each latent dimension, from one of --seeds, --images or --file.")
@click.option("--manifold", is_flag=True, help="Show a 2-D latent space whole.")
@click.option(
    "--path", type=click.Choice(["slerp", "lerp"]), default="slerp", show_default=True, help="Of --interpolate."
)
@click.option(
    "--steps", type=click.IntRange(2, 1000), help="Images a row.  [default: 9 to interpolate, 11 to traverse]"
)
@click.option("--exemplars", type=click.IntRange(1, 1000), default=3, show_default=True, help="Images averaged a term.")
@click.option(
    "--jitter",
    type=click.FloatRange(0),
    callback=finite,
    default=0.433,
    show_default=True,
    help="Of --arithmetic's neighbours, in the prior's standard deviations; the paper's ±0.25 of U(-1, 1).",
)
@click.option("--dims", type=Numbers(), help="Dimensions to traverse.  [default: all, or the 16 strongest]")
@click.option(
    "--reach",
    type=click.FloatRange(0, min_open=True),
    callback=finite,
    default=3.0,
    show_default=True,
    help="Of --traverse, in σ.",
)
@click.option("--side", type=click.IntRange(2, 200), default=20, show_default=True, help="Images a side of --manifold.")
@click.option("--columns", type=click.IntRange(1), help="Of the grid of samples.  [default: as square as possible]")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the choice of exemplars."
)
@click.option("--dataset", metavar="NAME|PATH", help="Other images than those that the run was trained on.")
@click.option("--each", is_flag=True, help="Also save every image as a file of its own, at its own size.")
@click.option("--npz", is_flag=True, help="Also save images and codes as arrays.")
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the files.  [default: in the run]"
)
@json_option
@click.pass_context
def sample(
    context: click.Context,
    run: str | None,
    device: str,
    out: Path | None,
    each: bool,
    npz: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Sample from a model, reconstruct, walk and calculate in its latent space.

    Without a kind, a grid of samples from the prior. Prints the files it wrote.
    """
    kind = chosen_kind(context, asked)
    asked["typed"] = {name for name in asked if typed(context, name)}
    opened = load_run(looked_up(run, asked["dataset"]), device)
    picture = MAKERS[kind](opened, asked)
    for note in picture.notes:
        logger.info("%s", note)
    files = save(results(opened, out, "pictures"), kind, picture, each, npz)
    result = {
        "checkpoint": opened.checkpoint.path,
        "kind": kind,
        "n": len(picture.images),
        **picture.measured,
        "files": files,
    }
    emit(result, map(str, files.values()), as_json)


def chosen_kind(context: click.Context, asked: dict[str, Any]) -> str:
    """The one kind of sample that was asked for.

    Raises:
        UsageError: for two kinds at once, and for an option that the kind would ignore.
    """
    kinds = [kind for kind in SHAPED_BY if asked.get(kind) not in (None, False)]
    if len(kinds) > 1:
        raise UsageError(f"--{kinds[0]} and --{kinds[1]} are two pictures; ask for one at a time")
    kind = kinds[0] if kinds else "samples"
    for option in set().union(*SHAPED_BY.values()) - SHAPED_BY[kind]:
        if typed(context, option):
            flag = "--file" if option == "files" else f"--{option}"
            others = " or ".join(f"--{each}" for each, options in SHAPED_BY.items() if option in options)
            raise UsageError(f"{flag} goes with {others.replace('--samples', 'a plain grid')}, not with {kind}")
    return kind


def save(folder: Path, kind: str, picture: Picture, each: bool, npz: bool) -> dict[str, Path]:
    """Write a picture's files under a name that is still free."""
    with loading():
        from genkit.keep import rundir
        from genkit.latent import images

    sheet = rundir.unused(folder / f"{kind}.png")
    files = {"sheet": sheet}
    with ThreadPoolExecutor(1) as aside:
        # A sheet of many images takes one core as long as the images themselves take the others.
        written = aside.submit(images.save_png, sheet, picture.sheet)
        if picture.frames is not None:
            files["animation"] = sheet.with_suffix(".gif")
            images.save_gif(files["animation"], picture.frames)
        if each:
            files["each"] = sheet.with_suffix("")
            images.save_pngs(files["each"], picture.images)
        if npz:
            files["npz"] = sheet.with_suffix(".npz")
            images.save_npz(files["npz"], images=images.to_uint8(picture.images), codes=picture.codes.cpu())
        written.result()
    return files


def make_samples(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import pictures

    return pictures.samples(opened.generator, asked["seeds"] or DEFAULT_SEEDS, asked["columns"])


def make_reconstructions(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import pictures

    originals, names = chosen_images(opened, asked, DEFAULT_IMAGES)
    return pictures.reconstructions(opened.generator, originals, names, opened.name)


def make_interpolation(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import pictures

    waypoints, names = chosen_codes(opened, asked, DEFAULT_WAYPOINTS)
    return pictures.interpolation(opened.generator, waypoints, names, asked["steps"] or 9, asked["path"], opened.name)


def make_arithmetic(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import arithmetic, pictures

    expression = asked["arithmetic"]
    source = Lazy(opened, asked["dataset"])
    parsed = arithmetic.parse(expression)
    chosen = [term for term in parsed if not term.text.startswith("@") and not arithmetic.is_file_term(term.text)]
    if not chosen and (ignored := asked["typed"] & {"exemplars", "seed", "dataset"}):
        raise UsageError(
            f"--{min(ignored)} is of images that are chosen by class or attribute, and '{expression}' names its own"
        )
    terms = [exemplars(opened, term, source, asked["exemplars"], asked["seed"]) for term in parsed]
    return pictures.arithmetic(opened.generator, terms, expression, asked["jitter"], opened.name)


def make_traversal(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import pictures

    count = len([*(asked["seeds"] or ()), *(asked["images"] or ()), *asked["files"]])
    if count > 1:
        raise UsageError(f"--traverse sweeps one code at a time, and {count} are named; name one")
    codes, names = chosen_codes(opened, asked, range(1))
    dims = asked["dims"]
    latent = opened.generator.options.latent_dim
    if dims and max(dims) >= latent:
        raise UsageError(f"--dims: there are {latent} dimensions, 0 to {latent - 1}")
    return pictures.traversal(
        opened.generator, codes[0], dims, asked["reach"], asked["steps"] or 11, f"{opened.name}, from {names[0]}"
    )


def make_manifold(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import pictures

    return pictures.manifold(opened.generator, asked["side"])


MAKERS = {
    "samples": make_samples,
    "reconstruct": make_reconstructions,
    "interpolate": make_interpolation,
    "arithmetic": make_arithmetic,
    "traverse": make_traversal,
    "manifold": make_manifold,
}


def chosen_codes(opened: Opened, asked: dict[str, Any], default_seeds: Sequence[int]) -> tuple[Tensor, list[str]]:
    """The codes that --seeds, --images or --file name, (N, latent_dim), with their names."""
    from genkit.latent import sampling

    if asked["images"] or asked["files"]:
        originals, names = chosen_images(opened, asked, 0)
        return sampling.encode(opened.generator, originals), names
    require_images_of_the_set(asked)
    seeds = asked["seeds"] or default_seeds
    return sampling.seed_codes(opened.generator, seeds), [f"seed {seed}" for seed in seeds]


def chosen_images(opened: Opened, asked: dict[str, Any], default_count: int) -> tuple[Tensor, list[str]]:
    """The images that --images and --file name, (N, C, H, W) in [0, 1], with their names; else some test images."""
    import torch

    from genkit.latent import images

    if asked["seeds"]:
        raise UsageError("--seeds names samples, --images and --file real images: give one kind or the other")
    parts, names = [], []
    if asked["files"] and not asked["images"]:
        require_images_of_the_set(asked)
    if asked["images"] or not asked["files"]:
        test = opened.dataset(asked["dataset"]).test
        positions = torch.tensor(asked["images"]) if asked["images"] else test.spread(default_count)
        if int(positions.max()) >= len(test):
            raise UsageError(f"--images: the test split has {len(test)} images, 0 to {len(test) - 1}")
        parts.append(images.to_float(test.images(positions)))
        names += [f"test {position}" for position in positions.tolist()]
    for file in asked["files"]:
        parts.append(images.read_image(file, opened.generator.image)[None])
        names.append(file.name)
    return torch.cat(parts), names


def require_images_of_the_set(asked: dict[str, Any]) -> None:
    """Refuse a --dataset of which no image is asked for.

    Raises:
        UsageError
    """
    if asked["dataset"] is not None and asked["seeds"]:
        raise UsageError("--dataset is of real images, and --seeds are codes; leave one of them out")
    if asked["dataset"] is not None:
        raise UsageError(f"--dataset {asked['dataset']}: of its test images none is named; name some with --images")


class Lazy:
    """The data of a run, loaded when a term first needs it: a sum of seeds needs none."""

    def __init__(self, opened: Opened, other: str | None):
        self.opened, self.other = opened, other
        self.loaded: Dataset | None = None

    def __call__(self) -> Dataset:
        if self.loaded is None:
            self.loaded = self.opened.dataset(self.other)
        return self.loaded


def exemplars(opened: Opened, term: Term, source: Lazy, count: int, seed: int) -> Exemplars:
    """The images and codes that a term stands for: seeds, files, or images of the test split that fit it."""
    import torch

    from genkit.latent import arithmetic, images, sampling
    from genkit.latent.numbers import parse_numbers

    if term.text.startswith("@"):
        codes = sampling.seed_codes(opened.generator, parse_numbers(term.text[1:]))
        return arithmetic.Exemplars(term, sampling.decode(opened.generator, codes), codes)
    if arithmetic.is_file_term(term.text):
        found = [images.read_image(Path(part.strip()), opened.generator.image) for part in term.text.split(",")]
        originals = torch.stack(found)
    else:
        dataset = source()
        chosen = arithmetic.exemplars_among(term.text, dataset, dataset.test, count, seed)
        originals = images.to_float(dataset.test.images(chosen))
    return arithmetic.Exemplars(term, originals, sampling.encode(opened.generator, originals))
