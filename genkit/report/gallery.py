"""What a run's model shows of itself: its progress, and fresh pictures by its checkpoint. All from fixed seeds.

Each function here gives one section's blocks for one run, or the reason why there are none; `guarded` calls it. What a
model can do decides, never its name.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from genkit import registry
from genkit.contract import GenerativeModel, ImageShape, ability
from genkit.data.dataset import Dataset
from genkit.data.decode import BadImage, decode, read_header, without_warnings
from genkit.ending import unfinished
from genkit.errors import GenkitError, UsageError
from genkit.files import require_plain
from genkit.latent import arithmetic, images, pictures, projection, sampling, scatter, scores
from genkit.latent.arithmetic import Exemplars, Term
from genkit.latent.condition import Conditions
from genkit.latent.images import Row
from genkit.report import chart, png
from genkit.report.account import ALONE, Account
from genkit.report.blocks import Block, Charts, Missing, Plot, Png, Strips, Text, Tiles, last_part
from genkit.run.validation import CODE_METRICS
from genkit.step import passes

logger = logging.getLogger("genkit")

#: Pictures of the training's progress, and images on a side of each, of those that the run drew (8 a side).
STAGES, STAGE_SIDE, DRAWN_SIDE = 6, 4, 8
#: Bytes of the largest picture of a run that is read.
MAX_PICTURE = 1 << 26
SAMPLES, SAMPLE_COLUMNS = 60, 10
#: Reconstructions side by side, and in all.
BAND, RECONSTRUCTED = 10, 20
WAYPOINTS, STEPS = 5, 9
TRAVERSED, REACH = 8, 3.0
MANIFOLD_SIDE = 20
#: Images that a term of a sum is the mean of.
EXEMPLARS = 6
#: As in the paper; see `sampling.neighbours`.
JITTER = 0.433
EMBEDDED = 2000
#: Test images whose pairs are looked at, and steps into which their distances are sorted.
PAIRED, BINS = 1000, 40
#: Pixels; narrow, so that its letters can be read on a phone.
PLOT = 1100

Maker = Callable[[Account, int], list[Block]]


def through_time(account: Account, limit: int) -> list[Block]:
    """The same seeds' samples at some of the steps at which the run drew them, first to last."""
    if account.opened.run is None:
        return [Missing(ALONE)]
    image = account.generator.image
    found = {
        int(match[1]): path
        for path in account.opened.run.path.glob("samples-*.png")
        if (match := re.fullmatch(r"samples-(\d{6,12})\.png", path.name))
    }
    if not found:
        return [Missing("the run has drawn no samples yet, or they were deleted")]
    steps = sorted(found)
    count = min(STAGES, len(steps))
    chosen = [steps[at * (len(steps) - 1) // max(1, count - 1)] for at in range(count)]
    tiles, bad = [], []
    for step in chosen:
        caption = f"epoch {account.epoch_of(step):.3g}"
        try:
            drawn = stage(found[step], image, f"samples, {caption}", png.share(limit, STAGES))
            tiles.append((caption, drawn))
        except (BadImage, OSError, ValueError) as error:
            bad.append(Text(f"{found[step].name} {error}.", quiet=True))
    return [*([Tiles(tiles)] if tiles else []), *bad]


def stage(path: Path, image: ImageShape, alt: str, limit: int) -> Png:
    """Some of the samples of a run's own picture; the picture whole where it isn't laid out as a run does it.

    Raises:
        BadImage, OSError, ValueError: when it can't be read.
    """
    require_plain(path, MAX_PICTURE)
    with without_warnings():
        header = read_header(path)
        pixels, _ = decode(path, header, ImageShape(image.channels, header.height, header.width))
    sheet = torch.tensor(pixels)
    height, width = images.enlarge(torch.zeros(image)).shape[-2:]
    pitch = (height + 2, width + 2)
    if sheet.shape[1:] != (DRAWN_SIDE * pitch[0] - 2, DRAWN_SIDE * pitch[1] - 2):
        return png.of_images(sheet[None], 1, alt, limit)
    cut = [
        sheet[:, row * pitch[0] : row * pitch[0] + height, column * pitch[1] : column * pitch[1] + width]
        for row in range(STAGE_SIDE)
        for column in range(STAGE_SIDE)
    ]
    return png.of_images(torch.stack(cut), STAGE_SIDE, alt, limit)


def reconstructions(account: Account, limit: int) -> list[Block]:
    """Test images above what the model makes of their codes."""
    model, dataset = account.generator, account.dataset
    if not ability.encodes(model):
        return [Missing(f"a {account.kind} has no encoder; genkit sample --reconstruct searches for an image's code")]
    if isinstance(dataset, Missing):
        return [dataset]
    some = dataset.test.take(dataset.test.spread(RECONSTRUCTED))
    originals, own = images.to_float(some.images()), passes.conditions_of(model, some, account.opened.device)
    picture = pictures.reconstructions(model, originals, [], account.name, own)
    part = png.share(limit, RECONSTRUCTED // BAND)
    alt = f"test images of {last_part(dataset.name)}, and below each its reconstruction"
    bands = zip(*(row.images.cpu().split(BAND) for row in picture.rows), strict=True)
    drawn = [png.of_images(torch.cat(band), len(band[0]), alt, part) for band in bands]
    return [Strips([("", each) for each in drawn]), Text(f"{picture.notes[0].capitalize()}.", quiet=True)]


def samples(account: Account, limit: int) -> list[Block]:
    """An image a seed."""
    model = account.generator
    picture = pictures.samples(model, range(SAMPLES), SAMPLE_COLUMNS)
    alt = f"{SAMPLES} samples, seeds 0 to {SAMPLES - 1}"
    note: list[Block] = []
    if model.condition is not None:
        note = [Text(f"Each is told its seed's own {model.condition.kind}.", quiet=True)]
    return [Strips([("", png.of_images(picture.images, SAMPLE_COLUMNS, alt, limit))]), *note]


def interpolation(account: Account, limit: int) -> list[Block]:
    """The way from one test image's code to the next one's; between seeds where two can't be encoded."""
    model, dataset = account.generator, account.dataset
    between: list[Block] = []
    if ability.encodes(model) and isinstance(dataset, Dataset) and len(dataset.test) > 1:
        positions = of_many_classes(dataset)
        own = passes.conditions_of(model, dataset.test.take(positions), account.opened.device)
        waypoints = sampling.encode(model, images.to_float(dataset.test.images(positions)), own)
        names = named(dataset, positions)
    else:
        own = sampling.seed_conditions(model, range(WAYPOINTS))
        waypoints, names = sampling.seed_codes(model, range(WAYPOINTS)), [f"seed {seed}" for seed in range(WAYPOINTS)]
        if ability.encodes(model):
            why = dataset.why if isinstance(dataset, Missing) else "there are no two of them"
            between = [Text(f"Between seeds, not test images: {why}.", quiet=True)]
    one = None if own is None else own[:1]
    picture = pictures.interpolation(model, waypoints, names, STEPS, "slerp", account.name, one)
    return [strips(picture.rows, limit, "interpolated"), *between, *told(account, one)]


def told(account: Account, condition: torch.Tensor | None) -> list[Block]:
    """What the decoder was told of all images of a picture, (1, …), where it takes a condition."""
    known = Conditions.of(account.model, account.description.classes, account.description.attributes)
    if known is None or condition is None:
        return []
    return [Text(f"The decoder takes a condition, which here is {known.in_words(condition[0])} for all.", quiet=True)]


def of_many_classes(dataset: Dataset) -> torch.Tensor:
    """Positions of some test images, of different classes where there are any."""
    test = dataset.test
    if test.labels is None or len(test.labels.unique()) < 2:
        return test.spread(WAYPOINTS)
    present = test.labels.unique().tolist()
    few = [present[at * len(present) // WAYPOINTS] for at in range(WAYPOINTS)] if len(present) > WAYPOINTS else present
    return torch.tensor([int((test.labels == label).nonzero()[0]) for label in few])


def named(dataset: Dataset, positions: torch.Tensor) -> list[str]:
    labels = dataset.test.labels
    if labels is None:
        return [f"test image {position}" for position in positions.tolist()]
    return [dataset.classes[int(labels[position])] for position in positions.tolist()]


def sums(account: Account, limit: int) -> list[Block]:
    """a − b + c of classes or attributes, in latent space, and on pixels as a control."""
    model, dataset = account.generator, account.dataset
    if not ability.encodes(model):
        return [
            Missing(f"a {account.kind} has no encoder; genkit sample --arithmetic '@3,8 - @12,4 + @1,5' adds seeds")
        ]
    if isinstance(dataset, Missing):
        return [dataset]
    terms = sum_of(dataset)
    if not terms:
        return [Missing(f"{last_part(dataset.name)} has too few classes and attributes to calculate with")]
    exemplars = [exemplars_of(term, dataset, model) for term in terms]
    expression = " ".join(f"{'−' if term.sign < 0 else '+'} {term.text}" for term in terms).removeprefix("+ ")
    picture = pictures.arithmetic(model, exemplars, expression, JITTER, account.name)
    one = None if picture.conditions is None else picture.conditions[:1]
    count = len(terms)
    of_terms = [
        row._replace(caption=f"{row.caption}, and the image of their mean code") for row in picture.rows[:count]
    ]
    results = [row._replace(caption=row.caption.replace("\n", " ")) for row in picture.rows[count:]]
    return [
        Text(f"{expression}, of {EXEMPLARS} images each"),
        strips(of_terms, png.share(limit, 2), "arithmetic"),
        dataclasses.replace(strips(results, png.share(limit, 2), "arithmetic"), beside=True),
        *told(account, one),
    ]


def sum_of(dataset: Dataset) -> list[Term]:
    """The first sum of attributes for which there are images: b, taken from what has a and given to what lacks it."""
    for a, b in itertools.permutations(dataset.attributes, 2):
        terms = [Term(1, f"{a}&{b}"), Term(-1, f"{a}&!{b}"), Term(1, f"!{a}&!{b}")]
        if all(has_images(term, dataset) for term in terms):
            return terms
    labelled = [Term(1, f"label:{name}") for name in dataset.classes]
    present = [term for term in labelled if has_images(term, dataset)]
    if len(present) < 3:
        return []
    plus, minus, other = present[-3], present[1], present[len(present) // 2 - 1]
    if len({plus.text, minus.text, other.text}) < 3:
        plus, minus, other = present[0], present[1], present[2]
    return [plus, minus._replace(sign=-1), other]


def has_images(term: Term, dataset: Dataset) -> bool:
    try:
        return len(arithmetic.matching(term.text, dataset, dataset.test)) > 0
    except UsageError:  # a name with a sign in it, or of no test image
        return False


def exemplars_of(term: Term, dataset: Dataset, model: GenerativeModel) -> Exemplars:
    fitting = arithmetic.matching(term.text, dataset, dataset.test)
    order = torch.randperm(len(fitting), generator=torch.Generator().manual_seed(0))
    some = dataset.test.take(fitting[order[:EXEMPLARS]])
    originals, own = images.to_float(some.images()), passes.conditions_of(model, some, sampling.device_of(model))
    return Exemplars(term, originals, sampling.encode(model, originals, own), own)


def traversal(account: Account, limit: int) -> list[Block]:
    """The dimensions that change the image most, swept one by one."""
    model = account.generator
    code, one = sampling.seed_codes(model, [0])[0], sampling.seed_conditions(model, [0])
    picture = pictures.traversal(model, code, None, REACH, STEPS, account.name, one)
    rows = sorted(picture.rows, key=lambda row: -float(row.images.var(0).sum()))[:TRAVERSED]
    dims = len(code)
    note = [Text(f"The {len(rows)} of {dims} dimensions that change the image most.", True)] if len(rows) < dims else []
    return [strips(rows, limit, f"swept from −{REACH:g}σ to +{REACH:g}σ"), *note, *told(account, one)]


def manifold(account: Account, limit: int) -> list[Block]:
    """A latent space of two dimensions, whole."""
    model = account.generator
    if model.options.latent_dim != 2:
        return [
            Missing(
                f"only a latent space of 2 dimensions can be shown whole, and this one has {model.options.latent_dim}"
            )
        ]
    one = sampling.seed_conditions(model, [0])
    picture = pictures.manifold(model, MANIFOLD_SIDE, one)
    alt = "the latent space, whole: a grid of images of codes that are all equally probable"
    return [Strips([("", png.of_images(picture.images, MANIFOLD_SIDE, alt, limit, gap=0))]), *told(account, one)]


def embedded(account: Account, limit: int, method: projection.Method = "pca") -> list[Block]:
    """The codes, or features, of test images as points."""
    dataset = account.dataset
    if isinstance(dataset, Missing):
        return [dataset]
    rows = dataset.test.take(dataset.test.spread(EMBEDDED))
    labels, classes = scatter.coloring(dataset, rows)
    features = passes.features_of_split(account.model, rows, account.opened.device)
    points = projection.project(features, method)
    what = "codes" if ability.encodes(account.model) else "features"
    title = f"{what.capitalize()} of {len(rows):,} test images, {points.name}"
    coloured = "" if labels is None else f", coloured by {'class' if dataset.classes else dataset.attributes[0]}"
    separation = scores.separation(points.points, labels, rows.fingerprinted().fingerprints)
    with tempfile.TemporaryDirectory() as folder, unfinished(Path(folder)):
        drawn = Path(folder) / "plot.png"
        scatter.plot(points.points, labels, classes, drawn, None, title, axes=points.axes, width=PLOT)
        plot = png.of_drawing(drawn, f"{title}{coloured}", limit)
    accuracy = separation["knn_accuracy"]
    note = (
        f"no score: {separation['note']}"
        if accuracy is None
        else f"{separation['k']}-NN accuracy {accuracy:.3f}, leave one out"
    )
    said = "; ".join(filter(None, [note, scatter.told_of_color(account.model, rows)]))
    copies = f" (and {separation['copies']:,} copies, left out)" if separation["copies"] else ""
    of = f"of {separation['n']:,} points{copies}"
    return [Plot(plot), Text(f"In these two dimensions, {of}: {said}.", quiet=True)]


def distances(account: Account, limit: int) -> list[Block]:
    """How far the codes of two test images are apart, by whether they are of one class; of a model that is chosen by
    its codes' neighbours, and of all others nothing."""
    model, dataset = account.model, account.dataset
    if account.description.monitor not in CODE_METRICS or not ability.encodes(model):
        return []
    if isinstance(dataset, Missing):
        return [dataset]
    rows = dataset.test.take(dataset.test.spread(PAIRED))
    if rows.labels is None:
        return [Missing(f"{last_part(dataset.name)} has no classes")]
    codes = passes.encode_split(model, rows, account.opened.device).double()
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    apart, same = (codes[first] - codes[second]).norm(dim=1), rows.labels[first] == rows.labels[second]
    if same.all() or not same.any() or not apart.isfinite().all():
        return [Missing("these test images make no pairs of both kinds whose distances could be drawn")]
    lines = shares_of(apart, {"same": same, "other": ~same})
    x = chart.Range(0, lines[0].points[-1][0])
    y = chart.Range(0, 1.05 * max(share for line in lines for _, share in line.points))
    kinds = f"All pairs of {len(rows):,} test images, of one class (same) and of two (other), in {BINS} steps"
    note = Text(f"{kinds}; the farthest 1 % aren't shown.", quiet=True)
    return [Charts([chart.draw("share of pairs", lines, x, y, "distance")]), note]


def shares_of(values: torch.Tensor, kinds: Mapping[str, torch.Tensor]) -> list[chart.Line]:
    """A histogram of values (N,) from 0 on, a line for each kind, bool (N,): shares of the kind's values."""
    top = max(float(values.kthvalue(math.ceil(0.99 * len(values))).values), 1e-12)
    middles = (torch.arange(BINS) + 0.5) * top / BINS
    lines = []
    for name, members in kinds.items():
        shares = torch.histc(values[members], BINS, 0, top) / members.sum()
        lines.append(chart.Line(name, list(zip(middles.tolist(), shares.tolist(), strict=True))))
    return lines


def strips(rows: Sequence[Row], limit: int, what: str) -> Strips:
    """A picture a row, with its caption as text."""
    part = png.share(limit, len(rows))
    return Strips(
        [
            (row.caption, png.of_images(row.images, len(row.images), f"{row.caption}, {what}".replace("\n", " "), part))
            for row in rows
        ]
    )


def guarded(make: Maker, account: Account, limit: int) -> list[Block]:
    """What a section's function gives, or why it couldn't: a report comes out of every run that opens."""
    try:
        return make(account, limit)
    except GenkitError as error:
        return [Missing(str(error))]
    except Exception as error:  # a model may be anybody's, and its weights may be nonsense
        logger.warning("%s: a picture is left out: %s", account.name, registry.blamed(error))
        return [Missing(f"it couldn't be drawn ({registry.blamed(error)})")]
