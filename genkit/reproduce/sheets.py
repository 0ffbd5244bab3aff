"""What a recipe can draw, by name: `[[picture]]`, with the same words in TOML as the arguments here."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from genkit.contract import ability
from genkit.ending import unfinished
from genkit.errors import UsageError
from genkit.evaluate import attributes, by_chains, judge, pca
from genkit.evaluate import domains as adapted
from genkit.evaluate.by_chains import By, Plan
from genkit.evaluate.figure import LeftOut
from genkit.files import whole_file
from genkit.latent import images, pictures, projection, sampling, scatter
from genkit.latent.arithmetic import Exemplars, parse
from genkit.latent.images import Row
from genkit.latent.sampling import options_of
from genkit.reproduce import chained, needs
from genkit.reproduce.bench import Bench
from genkit.reproduce.chained import Part
from genkit.reproduce.measures import codes_of
from genkit.reproduce.needs import Choices, Count, Kind, Seed, Several, number_in
from genkit.step.passes import conditions_of

#: Pixels across of one of several pictures of codes: narrow, so that its letters can be read beside others.
BESIDE = 1000


def reconstructions(bench: Bench, path: Path, runs: Sequence[str], count: Count = 10) -> None:
    """Test images, what each run makes of them, and what PCA does with a code of the same size."""
    opened = bench.named(runs)
    originals = opened[0].some_test_images(count)
    rows = [Row("original", originals)]
    for run in opened:
        assert ability.encodes(run.model)
        own = conditions_of(run.model, run.images.test.take(run.images.test.spread(count)), run.device)
        decoded = sampling.reconstruct(run.model, originals, own)
        rows.append(Row(f"{run.name}, {run.code_size} numbers", decoded, errors(decoded, originals)))
    for size, run in {run.code_size: run for run in opened}.items():
        components = run.pca()
        codes = (originals.flatten(1).double() - components.mean) @ components.axes
        decoded = components.images(codes).float().clamp(0, 1).view_as(originals)
        rows.append(Row(f"PCA, {size} numbers", decoded, errors(decoded, originals)))
    images.save_png(path, images.sheet(rows, title=f"{bench.recipe.name}: test images, and their squared errors"))


def errors(decoded: torch.Tensor, originals: torch.Tensor) -> list[str]:
    return [f"{error:.1f}" for error in (decoded - originals).square().flatten(1).sum(1).tolist()]


def codes(bench: Bench, path: Path, run: str) -> None:
    """The test images' codes, or a model's features where it has none, in two dimensions, by class."""
    (opened,) = bench.named([run])
    plot(bench, path, projection.project(codes_of(opened, opened.images.test)), run)


def codes_side_by_side(bench: Bench, path: Path, runs: Sequence[str]) -> None:
    """The same of several runs, two in a row."""
    with tempfile.TemporaryDirectory() as folder, unfinished(Path(folder)):
        drawn = []
        for number, run in enumerate(bench.named(runs)):
            points, part = projection.project(codes_of(run, run.images.test)), Path(folder) / f"{number}.png"
            title = f"{run.name}{' (a quick run: no result)' if bench.recipe.quick else ''}"
            scatter.plot(points.points, run.images.test.labels, run.images.classes, part, None, title, width=BESIDE)
            with Image.open(part) as picture:
                drawn.append(picture.convert("RGB"))
    width, height = (max(each) for each in zip(*(picture.size for picture in drawn), strict=True))
    page = Image.new("RGB", (min(2, len(drawn)) * width, (len(drawn) + 1) // 2 * height), "white")
    for number, picture in enumerate(drawn):
        page.paste(picture, (number % 2 * width, number // 2 * height))
    images.save_png(path, page)


def pca_codes(bench: Bench, path: Path, run: str) -> None:
    """The same of PCA's first two coordinates."""
    (opened,) = bench.named([run])
    points = pca.fit(opened.images.train, 2).codes(opened.images.test)
    plot(bench, path, projection.project(points), run, "PCA")


def plot(bench: Bench, path: Path, points: projection.Projection, run: str, by: str = "") -> None:
    test, classes = bench.runs[run].images.test, bench.runs[run].images.classes
    title = f"{len(test):,} test images of {bench.runs[run].images.name}, by {by or run}"
    title += " (a quick run: no result)" if bench.recipe.quick else ""
    scatter.plot(points.points, test.labels, classes, path, path.with_suffix(".svg"), title)


def samples(bench: Bench, path: Path, run: str, count: Count = 64, sampling: Choices | None = None) -> None:
    """A plain grid, an image a seed; drawn as `genkit sample --set` has it: sampling.steps = 20."""
    (opened,) = bench.named([run])
    model = opened.model
    usual = model.sampling
    model.sampling = options_of(model, sampling or {}, run)
    try:
        images.save_png(path, pictures.samples(model, range(count), None).sheet)
    finally:
        model.sampling = usual


def interpolation(bench: Bench, path: Path, run: str, points: Several = 9, steps: Several = 9) -> None:
    """The way through the codes of the first seeds, a row from each to the next."""
    (opened,) = bench.named([run])
    waypoints = sampling.seed_codes(opened.model, range(points))
    names = [f"seed {seed}" for seed in range(points)]
    one = sampling.seed_conditions(opened.model, [0])
    images.save_png(path, pictures.interpolation(opened.model, waypoints, names, steps, "slerp", run, one).sheet)


def arithmetic(bench: Bench, path: Path, run: str, expression: str, exemplars: Count = 3, seed: Seed = 0) -> None:
    """A sum of codes: each term's exemplars, the result among its neighbours, and the same sum of the pixels.

    Exemplars are test images; of a model without an encoder, samples in which the judge sees what the term says.
    """
    (opened,) = bench.named([run])
    terms = parse(expression)
    if ability.encodes(opened.model):
        pools = attributes.image_pools(opened.model, opened.images, terms, exemplars, seed)
    else:
        judged = judge.of(opened.settings.data, opened.device, "attributes")
        if isinstance(judged, LeftOut):
            raise UsageError(f"the recipe's picture of {expression}: {judged.reason}")
        drawn = sampling.seed_codes(opened.model, range(attributes.SAMPLES))
        own = sampling.seed_conditions(opened.model, range(attributes.SAMPLES))
        pools = attributes.sample_pools(judged, drawn, sampling.decode(opened.model, drawn, own), terms, own)
    chosen = [
        Exemplars(term, found[:exemplars], codes[:exemplars], None if told is None else told[:exemplars])
        for term, (codes, found, told) in zip(terms, pools, strict=True)
    ]
    sheet = pictures.arithmetic(opened.model, chosen, expression, attributes.JITTER, run).sheet
    images.save_png(path, sheet)


def completions(
    bench: Bench,
    path: Path,
    run: str,
    by: By,
    given: Part,
    count: Count = 8,
    chains: Count = 4,
    draws: Count = 300,
    warmup: Count = 300,
    seed: Seed = 0,
) -> None:
    """Test images, what is given of them, what chains and the likeliest code make of the rest, and what that is."""
    (opened,) = bench.named([run])
    views = chained.views_of(opened, given, count, seed)
    found = by_chains.complete(opened.model, views, by, Plan(chains, draws, warmup, seed))
    assert found.codes is not None
    names = [f"test {place}" for place in opened.images.test.spread(count).tolist()]
    said = by_chains.in_words(found.predictive)
    shown = found.codes[-1, :, : pictures.COMPLETIONS]
    title = f"{bench.recipe.name}: {run}, given the {given.replace('-', ' ')}, by {by}"
    sheet = pictures.completions(opened.model, views, names, said, shown, found.likeliest, title).sheet
    images.save_png(path, sheet)


def manifold(bench: Bench, path: Path, run: str, side: Several = 20) -> None:
    """A two-dimensional latent space, whole."""
    (opened,) = bench.named([run])
    images.save_png(path, pictures.manifold(opened.model, side, sampling.seed_conditions(opened.model, [0])).sheet)


def domains(bench: Bench, path: Path, run: str, count: Count = 500) -> None:
    """Test images of both sets in the plane of their features' first two axes, before an adaptation and after it."""
    from matplotlib.figure import Figure as Page

    (opened,) = bench.named([run])
    second = opened.images.beside
    assert second is not None
    sets = adapted.balanced((opened.images.test, second.test), count)
    page = Page(figsize=(8, 4), dpi=150)
    planes = page.subplots(1, 2)
    page.subplots_adjust(0.01, 0.01, 0.99, 0.92, 0.03)  # whatever the sets are called
    for plane, (when, functions) in zip(planes, adapted.seen_by(opened.subject).items(), strict=True):
        seen = [adapted.rows_of(opened.subject, *each) for each in zip(sets, functions, strict=True)]
        points = projection.project(torch.cat(seen)).points
        for number, name in enumerate(Path(each.name).name for each in (opened.images, second)):
            some = points[number * len(sets[0]) : (number + 1) * len(sets[0])]
            colour, marker = scatter.COLOURS[number], scatter.MARKERS[number]
            plane.scatter(some[:, 0], some[:, 1], s=4, c=colour, marker=marker, linewidths=0, alpha=0.6, label=name)
        plane.set(title=when, xticks=[], yticks=[])
        plane.legend(frameon=False, markerscale=2)
    with whole_file(path) as temporary:
        page.savefig(temporary, format="png", metadata={"Software": None})


def curve(bench: Bench, path: Path, runs: Sequence[str], over: str, figure: str, label: str = "") -> None:
    """A figure of each run against one of the options that they sweep over; a line a name in `runs`.

    Where several runs have the same place, their mean, with their standard deviation as a bar.
    """
    from matplotlib.figure import Figure as Page

    lines: dict[str, dict[float, list[float]]] = {name: {} for name in runs}
    for name, found in lines.items():
        for run in bench.recipe.named(name):
            key = f"{run}: {figure}"
            if key in bench.figures:
                place = number_in(bench.recipe.runs[run].values()[over.replace("-", "_")])
                assert place is not None  # or the recipe had been refused
                found.setdefault(place, []).append(bench.figures[key].value)
    page = Page(figsize=(6, 4), dpi=150, layout="constrained")
    plane = page.add_subplot()
    plot_curves(plane, lines)
    plane.set(xlabel=over.replace("-", " "), ylabel=label or figure)
    with whole_file(path) as temporary:
        page.savefig(temporary, format="png", metadata={"Software": None})


def plot_curves(plane: Any, lines: Mapping[str, Mapping[float, Sequence[float]]]) -> None:
    """A line a name, through the means at each place, in matplotlib's axes; bars are the values' standard deviation."""
    places = sorted({place for found in lines.values() for place in found})
    for name, found in lines.items():
        across = sorted(found)
        values = [torch.tensor(found[place]) for place in across]
        bars = [each.std().item() if len(each) > 1 else 0.0 for each in values]
        several = any(len(each) > 1 for each in values)
        means = [each.mean().item() for each in values]
        plane.errorbar(across, means, bars if several else None, marker="o", capsize=3, label=name)
    if places and places[0] > 0:
        plane.set_xscale("log")
    # The places themselves, and not powers of ten, which may be none of them.
    plane.set_xticks(places, [f"{each:g}" for each in places])
    plane.minorticks_off()
    plane.spines[["top", "right"]].set_visible(False)
    plane.grid(axis="y", alpha=0.3)
    if len(lines) > 1:
        plane.legend(frameon=False)


# ---------------------------------------------------------------------------------------------------------------------
# What becomes of a picture
# ---------------------------------------------------------------------------------------------------------------------

#: Pixels across, and bytes, that a picture in the repository has at most.
WIDTH, BYTES = 800, 100_000


def stamp(path: Path, words: str) -> None:
    """Write words above a picture that has been drawn."""
    with Image.open(path) as drawn:
        picture = drawn.convert("RGB")
    above = images.sheet([], title=words)
    page = Image.new("RGB", (max(above.width, picture.width), above.height + picture.height), "white")
    page.paste(above, (0, 0))
    page.paste(picture, (0, above.height))
    images.save_png(path, page)


def save_small(path: Path, drawn: Path) -> None:
    """A picture once more, of at most `WIDTH` pixels across and `BYTES`: of fewer colours, then of fewer pixels.

    Raises:
        GenkitError: when it can't be written.
    """
    with Image.open(drawn) as picture:
        whole = picture.convert("RGB")
    width = min(WIDTH, whole.width)
    while True:
        size = (width, max(1, round(whole.height * width / whole.width)))
        small = whole if size == whole.size else whole.resize(size, Image.Resampling.LANCZOS)
        for colours in (256, 64, 32):
            content = io.BytesIO()
            small.quantize(colours, dither=Image.Dither.NONE).save(content, format="PNG", optimize=True)
            if content.tell() <= BYTES:
                images.save_png(path, content.getvalue())
                return
        width = width * 4 // 5


PICTURES: Mapping[str, Kind] = {
    "reconstructions": Kind(
        reconstructions, abilities=(ability.ENCODES, ability.GENERATES), together=(needs.same_images,)
    ),
    "codes": Kind(codes, abilities=(ability.FEATURES,), images=(needs.classes,)),
    "codes-side-by-side": Kind(codes_side_by_side, abilities=(ability.FEATURES,), images=(needs.classes,)),
    "pca-codes": Kind(pca_codes, images=(needs.classes,)),
    "samples": Kind(samples, abilities=(ability.GENERATES,), options=(needs.known_sampling,)),
    "interpolation": Kind(interpolation, abilities=(ability.GENERATES,)),
    "arithmetic": Kind(
        arithmetic,
        abilities=(ability.GENERATES,),
        options=(needs.sum_of_attributes,),
        images=(needs.attributes, needs.exemplars(1)),
    ),
    "completions": Kind(completions, abilities=(ability.GENERATES, ability.LIKELIHOOD, ability.PIXELS)),
    "domains": Kind(domains, abilities=(ability.ADAPTS,)),
    "manifold": Kind(manifold, abilities=(ability.GENERATES,), options=(needs.plane,)),
    "curve": Kind(curve),
}
