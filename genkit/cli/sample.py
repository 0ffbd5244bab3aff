"""`genkit sample [RUN]`: one sampler for every model."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from genkit.cli.command import PathType
from genkit.cli.given import (
    ModelCommand,
    Told,
    apply_prior,
    apply_settings,
    class_option,
    condition_option,
    prior_option,
    set_option,
)
from genkit.cli.output import emit, json_option
from genkit.cli.shared import (
    DEVICE_HELP,
    RUN_HELP,
    SPLIT_HELP,
    checkpoint_option,
    images_in,
    load_run,
    loading,
    looked_up,
    require_quoted,
    results,
    target,
    typed,
)
from genkit.data.choice import ALL, CHOICES
from genkit.errors import UsageError
from genkit.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from genkit.data.dataset import Dataset, Split
    from genkit.keep.opened import Opened
    from genkit.latent.arithmetic import Exemplars, Term
    from genkit.latent.pictures import Picture

logger = logging.getLogger("genkit")

#: What is shown where nothing is named.
DEFAULT_SEEDS, DEFAULT_WAYPOINTS, DEFAULT_IMAGES = range(64), range(5), 16
#: The seeds of each class's row.
ROW_SEEDS = range(10)


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
    "samples": {"seeds", "columns", "classes"},
    "reconstruct": {"images", "files", "dataset", "split"},
    "interpolate": {"seeds", "images", "files", "dataset", "split", "path", "steps"},
    "arithmetic": {"exemplars", "jitter", "seed", "dataset", "split"},
    "traverse": {"seeds", "images", "files", "dataset", "split", "dims", "reach", "steps"},
    "manifold": {"side"},
    "by": {"given", "chains", "draws", "warmup", "images", "files", "dataset", "split", "columns", "seed"},
}
#: What of --by goes with --given alone, and without it alone; and what is of chains, and not of an ascent.
OF_PART, OF_ALL, OF_CHAINS = ("images", "files", "dataset", "split"), ("columns",), ("draws", "warmup")
#: Halves of an image that can be given (`latent.completion.PARTS`).
PARTS = ("top-half", "bottom-half", "left-half", "right-half")
#: Chains of the prior, and of each image; images that a part is given of; steps that are kept, and before them.
PRIOR_CHAINS, CHAINS, COMPLETED, DRAWS, WARMUP = 64, 4, 8, 1000, 500


def finite(context: click.Context, parameter: click.Parameter, value: float) -> float:
    """Refuse NaN and infinity, which pass any bounds."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.", context, parameter)
    return value


class Sample(ModelCommand):
    """Tells what the shell has made of a pattern, before one of its files is taken for RUN."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        require_quoted("--file", arguments)
        return super().parse_args(context, arguments)


@click.command(cls=Sample, epilog=RUN_HELP)
@click.argument("run", required=False)
@checkpoint_option
@click.option("--seeds", type=Numbers(), help="Seeds of the samples, or of the waypoints.  [default: 0-63; 0-4]")
@click.option("--images", type=Numbers(), help="Images of the split, by position.  [default: 16, evenly spaced]")
@click.option(
    "--file",
    "files",
    type=PathType(),
    multiple=True,
    help="An image file, a folder of them, or a pattern in quotes, 'scans/*.png'; may be repeated.",
)
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
    "--by",
    type=click.Choice(["langevin", "hmc", "map"]),
    help="Draw codes by Markov chains, or take the likeliest, of a model that tells a likelihood; see --given.",
)
@click.option(
    "--given",
    type=click.Choice(PARTS),
    help="Of --by: codes that fit this part of --images or --file, which are completed.  [default: all codes]",
)
@click.option("--chains", type=click.IntRange(1, 10_000), help="Of --by, of each image.  [default: 64; with --given 4]")
@click.option(
    "--draws", type=click.IntRange(8, 1_000_000), default=DRAWS, show_default=True, help="Of --by, of each chain."
)
@click.option(
    "--warmup",
    type=click.IntRange(0, 1_000_000),
    default=WARMUP,
    show_default=True,
    help="Of --by: steps of each chain before those, in which the size of its steps is adapted.",
)
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
@class_option
@click.option(
    "--classes", metavar="0-9|NAME,…", help="A row of samples for each of these classes, of the same seeds (0-9)."
)
@condition_option
@prior_option
@set_option
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
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of the choice of exemplars, and of --by.",
)
@click.option("--dataset", metavar="NAME|PATH", help="Other images than those that the run was trained on.")
@click.option("--split", type=click.Choice(CHOICES), help=SPLIT_HELP)
@click.option(
    "--each",
    is_flag=True,
    help="Also save every image as a file of its own, at its own size, named by its seed or its original.",
)
@click.option("--npz", is_flag=True, help="Also save images and codes as arrays.")
@click.option("--device", default="auto", show_default=True, envvar="GENKIT_DEVICE", help=DEVICE_HELP)
@click.option(
    "--out",
    type=PathType(),
    metavar="FOLDER|FILE.png",
    help="Folder for the files, or the name of the one picture.  [default: in the run]",
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
    settings: tuple[str, ...],
    condition: str | None,
    prior: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Sample from a model, reconstruct, walk and calculate in its latent space.

    Without a kind, a grid of samples from the prior. Prints the files it wrote.

    Of a model whose decoder takes a class, seed k has the class k mod the number of classes, an image its own label,
    and a walk or a sweep the class of its first code; --class names another for all of them. Of any other model that
    was trained on labelled images, --class and --classes say whose codes seeds have.
    """
    kind = chosen_kind(context, asked)
    if kind == "by":
        require_by(context, asked, prior)
    place = target(out, also_written(kind, each, npz))
    asked["files"] = images_in(asked["files"])
    asked["typed"] = {name for name in asked if typed(context, name)}
    opened = load_run(looked_up(run, asked["dataset"]), device)
    apply_prior(opened, prior)
    told = asked["told"] = Told(opened, asked.pop("class"), condition, prior)
    apply_settings(opened, settings)
    picture = MAKERS[kind](opened, asked)
    for note in picture.notes:
        logger.info("%s", note)
    sheet = place.file or unused(results(opened, place.folder, "pictures") / f"{stem(kind, asked)}.png")
    files = save(opened, sheet, picture, each, npz)
    chosen = opened.generator.sampling.model_dump(mode="json")
    conditions = told.in_words(picture.conditions) or told.drawn_in_words(picture.classes)
    result = {
        "checkpoint": opened.checkpoint.path,
        "kind": kind,
        **({"by": asked["by"], "given": asked["given"]} if kind == "by" else {}),
        "n": len(picture.images),
        **({"conditions": conditions} if conditions else {}),
        **({"sampling": chosen} if chosen else {}),
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


def require_by(context: click.Context, asked: dict[str, Any], prior: str | None) -> None:
    """Refuse an option that --by would ignore.

    Raises:
        UsageError
    """
    if prior == "fitted":
        raise UsageError("--prior fitted: --by goes by the model's own prior; leave --prior out")
    without, others = ("with", OF_ALL) if asked["given"] is not None else ("without", OF_PART)
    for option in (*others, *(OF_CHAINS if asked["by"] == "map" else ())):
        if typed(context, option):
            flag = "--file" if option == "files" else f"--{option}"
            what = "of chains, and --by map has none" if option in OF_CHAINS else f"nothing {without} --given"
            raise UsageError(f"{flag} is {what}; leave it out")


def stem(kind: str, asked: dict[str, Any]) -> str:
    """What a picture's file is called, without its ending."""
    if kind != "by":
        return kind
    return asked["by"] if asked["given"] is None else f"{asked['by']}-given-{asked['given']}"


def also_written(kind: str, each: bool, npz: bool) -> str | None:
    """What is written besides the one picture, in words; None where it is alone."""
    others = ["its animation"] if kind in ("interpolate", "traverse") else []
    others += ["a folder of images"] if each else []
    others += ["an archive of arrays"] if npz else []
    return " and ".join(others) or None


def unused(path: Path) -> Path:
    from genkit.keep import rundir

    return rundir.unused(path)


def save(opened: Opened, sheet: Path, picture: Picture, each: bool, npz: bool) -> dict[str, Path]:
    """Write a picture's files; `sheet` is a name that is still free."""
    with loading():
        from genkit.latent import images

    files = {"sheet": sheet}
    with ThreadPoolExecutor(1) as aside:
        # A sheet of many images takes one core as long as the images themselves take the others.
        written = aside.submit(images.save_png, sheet, picture.sheet)
        if picture.frames is not None:
            files["animation"] = sheet.with_suffix(".gif")
            images.save_gif(files["animation"], picture.frames)
        if each:
            files["each"] = sheet.with_suffix("")
            images.save_pngs(files["each"], picture.images, picture.names)
        if npz:
            files["npz"] = sheet.with_suffix(".npz")
            arrays = {"images": images.to_uint8(picture.images), "codes": picture.codes.cpu()}
            if picture.conditions is not None:
                arrays["conditions"] = picture.conditions
            if picture.classes is not None:
                arrays["classes"] = picture.classes
            chosen = opened.generator.sampling
            texts = {"sampling": chosen.model_dump_json()} if type(chosen).model_fields else {}
            images.save_npz(files["npz"], **arrays, **texts)
        written.result()
    return files


def make_samples(opened: Opened, asked: dict[str, Any]) -> Picture:
    import torch

    from genkit.latent import pictures, sampling

    told: Told = asked["told"]
    if asked["classes"] is None:
        seeds = asked["seeds"] or DEFAULT_SEEDS
        classes = None if told.drawn is None else torch.full((len(seeds),), told.drawn)
        return pictures.samples(opened.generator, seeds, asked["columns"], told.of_seeds(seeds), classes)
    conditions = told.drawable("--classes") if told.conditions is None else told.conditions
    named = told.wanted is not None or told.drawn is not None
    if named or asked["columns"]:
        raise UsageError(f"--classes has a row for each class; leave --{'class' if named else 'columns'} out")
    seeds = asked["seeds"] or ROW_SEEDS
    chosen = conditions.classes_of(asked["classes"])
    if told.conditions is None:
        for each in chosen:
            sampling.require_class(opened.generator, each, conditions.names[each])
    rows = [(conditions.names[each], torch.full((len(seeds),), each)) for each in chosen]
    return pictures.by_condition(opened.generator, seeds, rows, opened.name)


def make_reconstructions(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import pictures

    originals, names, own = chosen_images(opened, asked, DEFAULT_IMAGES)
    told: Told = asked["told"]
    title = f"{opened.name}{told.wanted_in_words()}"
    return pictures.reconstructions(opened.generator, originals, names, title, own, told.changed(own))


def make_interpolation(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import pictures

    steps = asked["steps"] or 9
    stops = len([*(asked["images"] or ()), *asked["files"]]) or len(asked["seeds"] or DEFAULT_WAYPOINTS)
    pictures.require_walk(opened.generator, stops, steps)
    waypoints, names, own, originals = chosen_codes(opened, asked, DEFAULT_WAYPOINTS)
    condition, words, notes = asked["told"].one(own, "the walk")
    title = f"{opened.name}{words}"
    picture = pictures.interpolation(
        opened.generator, waypoints, names, steps, asked["path"], title, condition, originals
    )
    return picture._replace(notes=[*picture.notes, *notes])


def make_arithmetic(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import arithmetic, pictures

    expression = asked["arithmetic"]
    source = Lazy(opened, asked["dataset"], asked["split"])
    parsed = arithmetic.parse(expression)
    chosen = [term for term in parsed if not term.text.startswith("@") and not arithmetic.is_file_term(term.text)]
    if not chosen and (ignored := asked["typed"] & {"exemplars", "seed", "dataset", "split"}):
        raise UsageError(
            f"--{min(ignored)} is of images that are chosen by class or attribute, and '{expression}' names its own"
        )
    pictures.require_sum(opened.generator, [exemplars_of(term, asked["exemplars"]) for term in parsed])
    told: Told = asked["told"]
    told.require_seeds(any(term.text.startswith("@") for term in parsed))
    terms = [exemplars(opened, told, term, source, asked["exemplars"], asked["seed"]) for term in parsed]
    condition, words, notes = condition_of_sum(opened, told, terms)
    picture = pictures.arithmetic(
        opened.generator, terms, expression, asked["jitter"], f"{opened.name}{words}", condition
    )
    return picture._replace(notes=[*picture.notes, *notes])


def make_traversal(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import pictures

    count = len([*(asked["seeds"] or ()), *(asked["images"] or ()), *asked["files"]])
    if count > 1:
        raise UsageError(f"--traverse sweeps one code at a time, and {count} are named; name one")
    dims, steps = asked["dims"], asked["steps"] or 11
    pictures.require_traversal(opened.generator, dims, steps)
    codes, names, own, _ = chosen_codes(opened, asked, range(1))
    latent = opened.generator.options.latent_dim
    if dims and max(dims) >= latent:
        raise UsageError(f"--dims: a code has {counted(latent, 'dimension')}, 0 to {latent - 1}")
    condition, words, _ = asked["told"].one(own, "the sweep")
    title = f"{opened.name}, from {names[0]}{words}"
    return pictures.traversal(opened.generator, codes[0], dims, asked["reach"], steps, title, condition)


def make_manifold(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.latent import pictures

    told: Told = asked["told"]
    told.require_seeds(False)  # the manifold is of the model's own prior
    condition, words, _ = told.one(told.of_seeds(range(1)), "the manifold")
    picture = pictures.manifold(opened.generator, asked["side"], condition)
    notes = [f"all of it is{words.removeprefix(',')}"] if words else []
    return picture._replace(notes=[*picture.notes, *notes])


def make_by(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.contract import ability

    where, told = f"--by {asked['by']}: {opened.name} is a {opened.kind}, which", asked["told"]
    if not ability.tells_likelihood(opened.generator):
        raise UsageError(f"{where} {ability.LIKELIHOOD.lacks}; vae is one that does")
    told.require_seeds(False)  # codes are drawn by the model's own prior, which knows no classes
    if asked["given"] is None:
        return make_chains(opened, asked)
    if not ability.tells_pixels(opened.generator):
        raise UsageError(f"{where} {ability.PIXELS.lacks}; leave --given out, or define {ability.PIXELS.methods[0]}")
    return make_completions(opened, asked)


def make_chains(opened: Opened, asked: dict[str, Any]) -> Picture:
    import torch

    from genkit.evaluate import by_chains
    from genkit.latent import pictures

    by, count, seed = asked["by"], asked["chains"] or PRIOR_CHAINS, asked["seed"]
    pictures.require_chains(opened.generator, count, asked["columns"])
    condition = asked["told"].of_seeds(range(count))
    if by == "map":
        codes = by_chains.likeliest_of_prior(opened.generator, count, seed)
        apart = float(torch.cdist(codes, codes).max())
        notes = [f"ascents from {counted(count, 'code')} end at most {apart:.2g} apart: a mode has no variety"]
        measured = {"farthest_apart": apart}
    else:
        plan = by_chains.Plan(count, asked["draws"], asked["warmup"], seed)
        ran, worth = by_chains.of_prior(opened.generator, by, plan)
        codes, notes, measured = ran.draws[-1], [f"{by}: {worth.in_words()}"], worth.measured()
        for warning in worth.warnings(["p(z)"], by):
            logger.warning("%s", warning)
    picture = pictures.chains(opened.generator, codes, asked["columns"], by, condition)
    return picture._replace(notes=notes, measured=measured)


def make_completions(opened: Opened, asked: dict[str, Any]) -> Picture:
    from genkit.evaluate import by_chains
    from genkit.evaluate.estimate import estimate
    from genkit.latent import completion, pictures

    part = completion.part_of(asked["given"], opened.model.image)
    named = len(asked["images"] or ()) + len(asked["files"])
    pictures.require_completions(opened.generator, named or COMPLETED)
    originals, names, own = chosen_images(opened, asked, COMPLETED)
    by, seed, chains = asked["by"], asked["seed"], asked["chains"] or CHAINS
    seen = completion.observed(opened.generator, originals, seed)
    views = completion.Views(seen, part, asked["told"].changed(own))
    plan = by_chains.Plan(chains, asked["draws"], asked["warmup"], seed)
    found = by_chains.complete(opened.generator, views, None if by == "map" else by, plan)
    notes, measured = [], {}
    if found.worth is not None:
        notes, measured = [f"{by}: {found.worth.in_words('an image')}"], found.worth.measured()
        for warning in found.worth.warnings(names, by):
            logger.warning("%s", warning)
    means = {name: estimate(each) for name, each in found.predictive.items()}
    errors = {name: "" if each.error is None else f" ± {each.error:.1f}" for name, each in means.items()}
    shown = ", ".join(f"{name} {each.value:.1f}{errors[name]}" for name, each in means.items())
    over = counted(len(names), "image")
    notes.append(f"ln p of the hidden half, given the other, in nats, over {over}: {shown}")
    measured |= {f"predictive_{name}": each.value for name, each in means.items()}
    said = by_chains.in_words(found.predictive)
    codes = found.likeliest[:, None][:, :0] if found.codes is None else found.codes[-1, :, : pictures.COMPLETIONS]
    title = f"{opened.name}, given the {asked['given'].replace('-', ' ')}, by {by}{asked['told'].wanted_in_words()}"
    picture = pictures.completions(opened.generator, views, names, said, codes, found.likeliest, title)
    return picture._replace(notes=notes, measured=measured)


MAKERS = {
    "samples": make_samples,
    "reconstruct": make_reconstructions,
    "interpolate": make_interpolation,
    "arithmetic": make_arithmetic,
    "traverse": make_traversal,
    "manifold": make_manifold,
    "by": make_by,
}


def condition_of_sum(opened: Opened, told: Told, terms: Sequence[Exemplars]) -> tuple[Tensor | None, str, list[str]]:
    """The condition of a sum of codes, as `Told.one` gives it: of attributes, what the same sum makes of theirs."""
    import torch

    from genkit.latent import pictures

    if opened.model.condition is None:
        return None, "", []
    if opened.model.condition.kind == "attributes":
        return told.one(pictures.condition_of(opened.model.condition, terms), "the sum")
    return told.one(torch.cat([term.conditions for term in terms if term.conditions is not None]), "the sum")


def chosen_codes(
    opened: Opened, asked: dict[str, Any], default_seeds: Sequence[int]
) -> tuple[Tensor, list[str], Tensor | None, Tensor | None]:
    """The codes that --seeds, --images or --file name, (N, latent_dim), with their names and their own conditions.

    Last, the images that they are of; None of seeds.
    """
    from genkit.latent import sampling

    if asked["images"] or asked["files"]:
        originals, names, own = chosen_images(opened, asked, 0)
        return sampling.encode(opened.generator, originals, own), names, own, originals
    require_images_of_the_set(asked)
    seeds = asked["seeds"] or default_seeds
    condition = asked["told"].of_seeds(seeds)
    return asked["told"].codes_of(seeds, condition), [f"seed {seed}" for seed in seeds], condition, None


def chosen_images(opened: Opened, asked: dict[str, Any], default_count: int) -> tuple[Tensor, list[str], Tensor | None]:
    """The images that --images and --file name, (N, C, H, W) in [0, 1], with their names; else some of the split.

    With their conditions, (N, …), where the model takes them: their own; of files, what the person gave.
    """
    import torch

    from genkit.latent import images, pictures
    from genkit.step import passes

    asked["told"].require_seeds(False)
    if asked["seeds"]:
        raise UsageError("--seeds names samples, --images and --file real images: give one kind or the other")
    parts, names, own = [], [], []
    named = len(asked["images"] or ()) + len(asked["files"])
    pictures.require_reconstructions(opened.generator, named or default_count)
    if asked["files"] and not asked["images"]:
        require_images_of_the_set(asked)
    if asked["images"] or not asked["files"]:
        _, split, which = Lazy(opened, asked["dataset"], asked["split"])()
        positions = torch.tensor(asked["images"]) if asked["images"] else split.spread(default_count)
        if int(positions.max()) >= len(split):
            there = f"there are {len(split)} images" if which == ALL else f"the {which} split has {len(split)} images"
            raise UsageError(f"--images: {there}, 0 to {len(split) - 1}")
        parts.append(images.to_float(split.images(positions)))
        own.append(passes.conditions_of(opened.model, split.take(positions), opened.device))
        names += [f"{'image' if which == ALL else which} {position}" for position in positions.tolist()]
    if asked["files"]:
        own.append(asked["told"].of_files([file.name for file in asked["files"]]))
    for file in asked["files"]:
        parts.append(images.read_image(file, opened.form)[None])
        names.append(file.name)
    known = [rows for rows in own if rows is not None]
    return torch.cat(parts), names, torch.cat(known) if known else None


def require_images_of_the_set(asked: dict[str, Any]) -> None:
    """Refuse a --dataset or --split of which no image is asked for.

    Raises:
        UsageError
    """
    if asked["split"] is not None:
        raise UsageError(f"--split {asked['split']}: of its images none is named; name some with --images")
    if asked["dataset"] is not None and asked["seeds"]:
        raise UsageError("--dataset is of real images, and --seeds are codes; leave one of them out")
    if asked["dataset"] is not None:
        raise UsageError(f"--dataset {asked['dataset']}: of its images none is named; name some with --images")


class Lazy:
    """The data of a run, loaded when a term first needs it: a sum of seeds needs none."""

    def __init__(self, opened: Opened, other: str | None, split: str | None):
        self.opened, self.other, self.wanted = opened, other, split
        self.loaded: tuple[Dataset, Split, str] | None = None

    def __call__(self) -> tuple[Dataset, Split, str]:
        """The data, its split that is meant, and that one's name."""
        if self.loaded is None:
            self.loaded = self.opened.chosen(self.other, self.wanted)
        return self.loaded


def exemplars_of(term: Term, count: int) -> int:
    """How many images a term stands for, at most."""
    from genkit.latent import arithmetic
    from genkit.latent.numbers import parse_numbers

    if term.text.startswith("@"):
        return len(parse_numbers(term.text[1:]))
    return term.text.count(",") + 1 if arithmetic.is_file_term(term.text) else count


def exemplars(opened: Opened, told: Told, term: Term, source: Lazy, count: int, seed: int) -> Exemplars:
    """The images and codes that a term stands for: seeds, files, or images of the split that fit it."""
    import torch

    from genkit.latent import arithmetic, images, sampling
    from genkit.latent.numbers import parse_numbers
    from genkit.step import passes

    if term.text.startswith("@"):
        seeds = parse_numbers(term.text[1:])
        own = told.of_seeds(seeds)
        codes = told.codes_of(seeds, own)
        return arithmetic.Exemplars(term, sampling.decode(opened.generator, codes, own), codes, own)
    if arithmetic.is_file_term(term.text):
        own = told.of_files(term.text.split(","))
        found = [images.read_image(part.strip(), opened.form) for part in term.text.split(",")]
        originals = torch.stack(found)
    else:
        dataset, split, which = source()
        chosen = arithmetic.exemplars_among(term.text, dataset, split, count, seed, which)
        originals = images.to_float(split.images(chosen))
        own = passes.conditions_of(opened.model, split.take(chosen), opened.device)
    return arithmetic.Exemplars(term, originals, sampling.encode(opened.generator, originals, own), own)
