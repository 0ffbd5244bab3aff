"""The explorer's page as one file that opens from disk: no server, no network, the model inside.

The file holds the page's own scripts, the points of the map, and the model's decoder (and encoder) as the steps of
program.py; a model that is too large, or does what those steps can't, leaves pictures decoded beforehand on a lattice
over the map instead, and the page says that they are approximate.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import io
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from genkit.errors import GenkitError, UsageError
from genkit.explore import program
from genkit.explore.chart import Flat, Scattered
from genkit.explore.program import Program, RefusedError, Step, packed
from genkit.explore.space import EXEMPLAR_SEED, EXEMPLARS, Space, as_images, as_pixels
from genkit.files import require_plain, whole_file
from genkit.latent import sampling
from genkit.latent.images import to_uint8
from genkit.version import __version__

logger = logging.getLogger("genkit")

#: The file stays below this many bytes, so that it can be sent by mail.
LIMIT = 5_000_000
#: Bytes that are kept for what is said of the file, and for the numbers of its points.
NOTES = 20_000
#: Points of the map: the more the better.
POINTS = (2_000, 1_000, 500, 250, 120, 60, 30)
#: As few points as this are preferred to a file without the encoder, and to one without the decoder.
FEWEST_BESIDE_ENCODER, FEWEST_BESIDE_DECODER = 1_000, 120
#: Of the bytes that the page leaves, the share that goes to points beside a lattice.
SHARE = 0.4
#: Codes of seeds, 0 to SEEDS - 1, and the most bytes that they may take.
SEEDS, SEED_BYTES = 256, 400_000
#: Codes and features of up to so many bytes are kept in single precision.
SINGLE = 400_000
#: How far the file's pictures may be from the model's, in steps of 1/255.
TOLERANCE = 2
#: Images that are looked at for it: of seeds, of points, and of places on the map, each as many.
CHECKED = 64
#: Decoded pictures along a side of the lattice: at most, and at least.
FINEST, COARSEST = 65, 4
#: Pixels of one picture with many in it: what every browser can hold.
SHEET_PIXELS = 16_000_000
#: A point's image isn't shrunk below this side.
SMALLEST = 32
#: Of a JPEG.
QUALITY = 90
#: How a file of ours begins, by which it is known when another is to be written in its place.
MARK = '<meta name="generator" content="genkit explore">'

DESCRIPTION = '<meta name="description" content="">'
#: What stands in the file for the module that asks the server.
INSTEAD = {"live.js": ("decoder.js", "stored.js")}
#: All that a module of the page may write to have something from another, or for others.
IMPORT = re.compile(
    r'^import (?:\* as ([\w$]+)|(\{\s*[\w$]+(?:,\s*[\w$]+)*,?\s*\})) from "\./([a-z]+\.js)";$', re.MULTILINE
)
EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) ([\w$]+))", re.MULTILINE)
DATA_BLOCK = '<script type="application/json" id="stored-data">{}</script>\n'
POLICY = "default-src 'none'; script-src {}; style-src {}; img-src data: blob:; base-uri 'none'; form-action 'none'"


class Written(NamedTuple):
    """What has been written.

    Attributes:
        size: of the file, in bytes.
        mode: whether it decodes by itself, or shows pictures that were decoded beforehand.
        difference: the largest between its pictures and the model's, in steps of 1/255; None for a lattice.
        notes: what the file hasn't got of the page, a line each.
    """

    path: Path
    size: int
    mode: Literal["decoder", "lattice"]
    difference: int | None
    notes: Sequence[str]


def check(path: Path) -> None:
    """Refuse to write where something lies that isn't a page of ours.

    Raises:
        UsageError
    """
    if not path.exists() and not path.is_symlink():
        return
    try:
        require_plain(path)
        with path.open("rb") as file:
            ours = MARK.encode() in file.read(1024)
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise UsageError(f"{path} is there, and is no page that genkit explore wrote; name another file")


def write(space: Space, path: Path, checkpoint: str = "") -> Written:
    """Write the page of a space as one file.

    Args:
        path: of the file; an older page of ours is replaced.
        checkpoint: the name of the model's, for the note in the page.

    Raises:
        UsageError: when something else lies there.
        GenkitError: when it can't be brought below `LIMIT`, or can't be written.
    """
    check(path)
    about, template = space.about(), Template()
    room = LIMIT - template.size - len(to_json(about)) - NOTES
    content = fitting(space, room)
    if content is None:
        raise GenkitError(f"{path}: images of {space.image} don't fit into {LIMIT / 1e6:g} MB; use smaller ones")
    if space.conditions is not None and space.condition is not None:
        words = space.conditions.in_words(space.condition[0])
        content.notes.append(f"all that this file decodes is {words}, the one condition that it was written for")
    source = origin(space, about, checkpoint)
    kept = ". ".join(note[0].upper() + note[1:] for note in content.notes)
    about |= content.about | {"condition": None, "source": f"{source}. {kept}" if kept else source}
    page = template.filled({**content.data, "about": about}, f"{space.run} · genkit explore", source)
    if len(page) >= LIMIT:
        raise GenkitError(f"{path}: it would take {len(page) / 1e6:.1f} MB, and {LIMIT / 1e6:g} are the most")
    with whole_file(path) as temporary:
        temporary.write_bytes(page)
    written = Written(path, len(page), content.mode, content.difference, content.notes)
    report(written)
    return written


def origin(space: Space, about: Mapping[str, Any], checkpoint: str) -> str:
    """Where the file comes from, in one line."""
    parts = [f"{about['model']} on {about['dataset']}", f"run {space.run}", checkpoint and f"checkpoint {checkpoint}"]
    return ", ".join([*filter(None, parts), f"written {datetime.date.today()} by genkit {__version__}"])


def report(written: Written) -> None:
    close = "" if written.difference is None else f"; its pictures are within {written.difference}/255 of the model's"
    logger.info("%s: %.2f MB%s", written.path, written.size / 1e6, close)
    for note in written.notes:
        logger.info("%s", note)


# ---------------------------------------------------------------------------------------------------------------------
# What goes into it
# ---------------------------------------------------------------------------------------------------------------------


class Content(NamedTuple):
    """What the page is given: `data` as stored.js reads it, and what is different from `Space.about`."""

    data: dict[str, Any]
    about: dict[str, Any]
    mode: Literal["decoder", "lattice"]
    difference: int | None
    notes: list[str]


def fitting(space: Space, room: int) -> Content | None:
    """The best that fits into `room` bytes: decoder and encoder, the decoder alone, a lattice of pictures; or None."""
    why = "the model is too large for a file"
    try:
        for programs in candidates(space):
            points = Points.fitting(space, room - programs.size, programs)
            if points is not None:
                return with_decoder(space, programs, points)
    except RefusedError as error:
        why = f"a page can't do what its decoder does ({error})"
    points = Points.fitting(space, int(SHARE * room), None)
    return None if points is None else with_lattice(space, points, room - points.size, why)


def with_decoder(space: Space, programs: Programs, points: Points) -> Content:
    """The model itself, in whole or in part."""
    about, notes, refusal = points.about(space), list(points.notes), programs.no_encoder
    if refusal:
        about["encoder"] = refusal
        notes += [refusal] if space.split is not None else []
    about["missing"] = {"decode": None, "file": refusal and f"{refusal}, and this file can't look for an image's code"}
    return Content({**points.data, **programs.packed}, about, "decoder", programs.difference, notes)


# ---------------------------------------------------------------------------------------------------------------------
# The model
# ---------------------------------------------------------------------------------------------------------------------


class Programs(NamedTuple):
    """A model's methods as they go into the file.

    Attributes:
        encoder: None where it isn't there, for the reason `no_encoder`.
        traits: from images to `Space.traits`, where these aren't the codes.
        half: whether the weights are in half precision.
        difference: the largest between their pictures and the model's, in steps of 1/255.
        fewest: points that they must leave room for.
    """

    decoder: Program
    encoder: Program | None
    traits: Program | None
    half: bool
    difference: int
    no_encoder: str | None
    fewest: int

    @property
    def packed(self) -> dict[str, Any]:
        found: dict[str, Any] = {"decoder": self.decoder.packed(self.half)}
        if self.encoder is not None:
            found["encoder"] = self.encoder.packed(self.half)
        if self.traits is not None:
            found["trait_program"] = self.traits.packed(self.half)
        return found

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return len(to_json(self.packed))


def candidates(space: Space) -> Iterator[Programs]:
    """What of a model can be stored, the best first: with its encoder or without, rounded if that is hardly to be seen.

    Raises:
        RefusedError: when its decoder does what a page can't.
    """
    example = space.codes(torch.zeros(1, dtype=torch.int64)).to(space.device)
    one = None if space.condition is None else space.condition.to(space.device)
    decoder = program.read(space.model, "decode", example, one)
    encoder, traits = None, traits_program(space)
    no_encoder: str | None = f"{space.run} has no encoder" if space.split is None else None
    if no_encoder is None:
        try:
            encoder = program.read(space.model, "encode", torch.zeros(1, *space.image, device=space.device), one)
        except RefusedError as error:
            no_encoder = f"The encoder isn't in this file: a page can't do what it does ({error})"
    beside = FEWEST_BESIDE_DECODER
    for half in (True, False):
        stored = decoder.halved() if half else decoder
        difference = decoding_difference(space, stored)
        if difference > TOLERANCE:
            continue
        if encoder is not None:
            with_it = encoder.halved() if half else encoder
            both = max(difference, reconstruction_difference(space, with_it, stored))
            if both <= TOLERANCE:
                yield Programs(stored, with_it, traits, half, both, None, FEWEST_BESIDE_ENCODER)
        without = no_encoder or "The encoder isn't in this file, which would be too large with it"
        yield Programs(stored, None, traits, half, difference, without, beside)


def traits_program(space: Space) -> Program | None:
    """From images to what the map of seeds was made of: `Space.traits_of`, without its decoder."""
    if space.split is not None or space.latent_dim <= 2:
        return None
    try:
        one = None if space.condition is None else space.condition.to(space.device)
        features = program.read(space.model, "features", torch.zeros(1, *space.image, device=space.device), one)
    except RefusedError:
        return None
    assert space.principal is not None
    mean, axes = space.principal.mean.float(), space.principal.axes.float()
    centred = Step("normalise", (features.output,), {"inner": 1}, {}, {"scale": torch.ones_like(mean), "shift": -mean})
    last = len(features.steps) + 1
    sizes = {"inputs": len(mean), "outputs": axes.shape[1]}
    along = Step("linear", (last,), sizes, {"weight": axes.T.contiguous()}, {"bias": None})
    return Program([*features.steps, centred, along], last + 1, (axes.shape[1],))


def decoding_difference(space: Space, decoder: Program) -> int:
    """The largest difference between a decoder's pictures and the model's, of codes all over the latent space."""
    points = space.all_codes[spread(len(space.all_codes), CHECKED)]
    drawn = torch.cat([space.seeds(range(CHECKED)), points])
    low, high = edges(space)
    side = math.isqrt(CHECKED)
    placed = space.chart.code_at(grid(low, high, side)).float()
    kept = drawn.half().float() if halves(space, len(space.all_codes)) else drawn
    everything = torch.cat([drawn, placed])
    theirs = sampling.decode(space.model, everything, sampling.repeated(space.condition, len(everything)))
    return apart(decoder.run(torch.cat([kept, placed])), theirs)


def reconstruction_difference(space: Space, encoder: Program, decoder: Program) -> int:
    """The same of images that are encoded and decoded."""
    originals = as_images(space.originals(spread(len(space.all_codes), CHECKED)))
    told = sampling.repeated(space.condition, len(originals))
    return apart(decoder.run(encoder.run(originals)), sampling.reconstruct(space.model, originals, told))


def apart(a: Tensor, b: Tensor) -> int:
    """The largest difference of images in steps of 1/255."""
    return int((to_uint8(a).int() - to_uint8(b).int()).abs().max())


# ---------------------------------------------------------------------------------------------------------------------
# The points of the map
# ---------------------------------------------------------------------------------------------------------------------


class Points(NamedTuple):
    """Points of the map that go into the file.

    Attributes:
        positions: which of the space's, evenly spaced.
        notes: what the file hasn't got of them.
        size: bytes.
    """

    positions: Tensor
    data: dict[str, Any]
    seeds: int
    notes: list[str]
    size: int

    @classmethod
    def fitting(cls, space: Space, room: int, programs: Programs | None) -> Points | None:
        """As many as there is room for, and their images as well as there is room for; None if it is too little."""
        everything = len(space.all_codes)
        fewest = min(everything, 1 if programs is None else programs.fewest)
        for count in sorted({min(count, everything) for count in POINTS}, reverse=True):
            positions = spread(everything, count)
            data, seeds = coordinates(space, positions, programs)
            size = len(to_json(data))
            if count < fewest or size >= room:
                continue
            notes = [f"{count:,} of the map's {everything:,} points are in the file"] if count < everything else []
            if programs is not None and decodes_points(space):
                return cls(positions, data, seeds, notes, size)  # their images are what their codes decode to
            for sheet, note in sheets(space, positions):
                whole = size + len(to_json(sheet))
                if whole < room:
                    return cls(positions, {**data, "originals": sheet}, seeds, notes + note, whole)
        return None

    def about(self, space: Space) -> dict[str, Any]:
        """What of `Space.about` is different over these points."""
        numbers = self.positions if space.positions is None else space.positions[self.positions]
        changed: dict[str, Any] = {"count": len(numbers), "seeds": self.seeds, "positions": numbers.tolist()}
        changed["near_by_images"] = "traits" in self.data
        if space.split is None:
            changed["terms"] = {"labels": [], "attributes": []}
        return changed


def decodes_points(space: Space) -> bool:
    """Whether the points' own images are what the file makes of their codes: seeds', all of the file's condition."""
    if space.split is not None or space.own is None or space.condition is None:
        return space.split is None
    return bool((space.own == space.condition).all())


def coordinates(space: Space, positions: Tensor, programs: Programs | None) -> tuple[dict[str, Any], int]:
    """All that the file says of points but their images, and how many seeds' codes it has."""
    half = halves(space, len(positions))
    bytes_a_code = space.latent_dim * (2 if half else 4)
    seeds = min(SEEDS, SEED_BYTES // bytes_a_code)
    codes = space.seeds(range(seeds)) if seeds else torch.empty(0, space.latent_dim)
    chart = space.chart
    layout: dict[str, Any]
    if isinstance(chart, Flat):
        layout = {"mean": packed(chart.mean), "axes": packed(chart.directions)}
    else:
        assert isinstance(chart, Scattered)
        goes_by_traits = programs is not None and programs.traits is not None
        centre = None if chart.centre is None else packed(chart.centre)
        layout = {"centre": centre, "flat": chart.flat and goes_by_traits}
    data = {
        "points": packed(space.points()[positions]),
        "codes": packed(space.all_codes[positions], half),
        "seeds": packed(codes, half),
        "labels": as_base64(space.labels()[:, positions].numpy().astype("<i2")),
        "draws": as_base64(draws(len(positions)).numpy().astype("<u2")),
        "map": layout,
    }
    if programs is not None and programs.traits is not None:
        data["traits"] = packed(space.traits[positions], True)
    return data, seeds


def halves(space: Space, count: int) -> bool:
    """Whether so many codes are kept in half precision."""
    return min(count, POINTS[0]) * space.latent_dim * 4 > SINGLE


def draws(count: int) -> Tensor:
    """Which of 1, 2, …, `count` images a term of a sum takes, as `Space.sum` does: (count, EXEMPLARS), 0 beyond."""
    table = torch.zeros(count, EXEMPLARS, dtype=torch.int64)
    for row in range(count):
        drawn = torch.randperm(row + 1, generator=torch.Generator().manual_seed(EXEMPLAR_SEED))[:EXEMPLARS]
        table[row, : len(drawn)] = drawn
    return table


def sheets(space: Space, positions: Tensor) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """The points' images in one picture, the best first, with what is to be said of it."""
    height, width = space.image.height, space.image.width
    whose = space.about()["points_are"].capitalize()
    for divisor in (1, 2, 4, 8, 16, 32):
        size = (max(1, height // divisor), max(1, width // divisor))
        if divisor > 1 and min(size) < SMALLEST:
            return
        if len(positions) * size[0] * size[1] > SHEET_PIXELS:
            continue
        pictures = torch.cat([shrunk(space.originals(part), size) for part in positions.split(64)])
        shrinking = [] if divisor == 1 else [f"{whose} are shown at {size[1]}×{size[0]}"]
        if divisor == 1:
            yield sheet(pictures, "PNG"), []
        yield sheet(pictures, "JPEG"), [*shrinking, f"{whose} are JPEG pictures, whose pixels are approximate"]


def shrunk(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (N, H, W, C) at another height and width."""
    if pictures.shape[1:3] == size:
        return pictures
    return as_pixels(interpolate(as_images(pictures), size, mode="bilinear", antialias=True))


def sheet(pictures: Tensor, kind: str) -> dict[str, Any]:
    """Pictures, uint8 (N, H, W, C), side by side in one, as a PNG or JPEG.

    A JPEG's blocks of 8×8 pixels are never shared by two: each is padded by its own edge.
    """
    count, height, width, channels = pictures.shape
    block = 8 if kind == "JPEG" else 1
    tall, wide = (math.ceil(side / block) * block for side in (height, width))
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = torch.zeros(rows * columns, tall, wide, channels, dtype=torch.uint8)
    down, across = torch.arange(tall).clamp(max=height - 1), torch.arange(wide).clamp(max=width - 1)
    padded[:count] = pictures[:, down][:, :, across]
    whole = padded.unflatten(0, (rows, columns)).permute(0, 2, 1, 3, 4).reshape(rows * tall, columns * wide, channels)
    image, content = Image.fromarray((whole[:, :, 0] if channels == 1 else whole).contiguous().numpy()), io.BytesIO()
    settings: dict[str, Any] = {"optimize": True} if kind == "PNG" else {"quality": QUALITY, "subsampling": 0}
    image.save(content, kind, **settings)
    address = f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
    return {"picture": address, "columns": columns, "pitch": [wide, tall], "size": [width, height]}


# ---------------------------------------------------------------------------------------------------------------------
# A lattice over the map
# ---------------------------------------------------------------------------------------------------------------------


def with_lattice(space: Space, points: Points, room: int, why: str) -> Content | None:
    """Pictures that were decoded beforehand, as many as there is room for."""
    low, high = edges(space)
    height, width = space.image.height, space.image.width
    side = min(FINEST, math.isqrt(SHEET_PIXELS // ((height + 8) * (width + 8))))
    while side >= COARSEST:
        codes = space.chart.code_at(grid(low, high, side)).float()
        pictures = torch.cat([space.decode(part) for part in codes.split(64)])
        lattice = sheet(pictures, "JPEG")
        size = len(lattice["picture"])
        if size + 1024 < room:
            break
        side = min(side - 1, int(side * math.sqrt(room / size)))
    else:
        return None
    lattice |= {"side": side, "low": low.tolist(), "high": high.tolist()}
    told = f"{why[0].upper()}{why[1:]}, so {side}×{side} places of the map were decoded beforehand"
    missing = f"This file has pictures of places on the map only: {why}. genkit explore {space.run} decodes any code"
    flat = space.latent_dim <= 2
    changed = {
        "approximate": f"Pictures are approximate. {told}; what lies between them is blended.",
        "missing": {"decode": None if flat else missing, "file": f"This file can't encode images: {why}"},
        "encoder": f"The encoder isn't in this file: {why}",
    }
    data = {**points.data, "lattice": lattice}
    return Content(data, points.about(space) | changed, "lattice", None, [*points.notes, told])


def edges(space: Space) -> tuple[Tensor, Tensor]:
    """The corners of the map, a little beyond its outermost points: two of float64 (2,)."""
    low, high = space.chart.points.amin(0), space.chart.points.amax(0)
    margin = 0.05 * (high - low)
    margin[high == low] = 1
    return low - margin, high + margin


def grid(low: Tensor, high: Tensor, side: int) -> Tensor:
    """The places of a lattice, float64 (side², 2), row by row, from the lower left."""
    share = torch.linspace(0, 1, side, dtype=torch.float64)
    y, x = torch.meshgrid(share, share, indexing="ij")
    return low + (high - low) * torch.stack([x.flatten(), y.flatten()], 1)


# ---------------------------------------------------------------------------------------------------------------------
# The page
# ---------------------------------------------------------------------------------------------------------------------


class Template:
    """The page's own files as one, with its data still to come.

    Attributes:
        size: its bytes.
    """

    def __init__(self) -> None:
        page = static("index.html")
        style = static("page.css")
        page = replaced(page, '<link rel="stylesheet" href="page.css">', f"<style>{style}</style>")
        scripts = []
        for tag, name in re.findall(r'(<script type="module" src="([a-z]+\.js)"></script>)', page):
            inlined = ""
            for part in INSTEAD.get(name, (name,)):
                content = alone(part)
                scripts.append(content)
                inlined += DATA_BLOCK if part == "stored.js" else ""
                inlined += f"<script>{content}</script>\n"
            page = replaced(page, tag, inlined.rstrip("\n"))
        policy = POLICY.format(" ".join(map(source_of, scripts)), source_of(style))
        policy_tag = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        charset = '<meta charset="utf-8">'
        self.page = replaced(page, charset, "\n".join([charset, MARK, policy_tag, DESCRIPTION]))
        self.size = len(self.page.encode())

    def filled(self, data: dict[str, Any], title: str, description: str) -> bytes:
        """The whole file."""
        page = re.sub("<title>.*?</title>", lambda _: f"<title>{html.escape(title)}</title>", self.page, count=1)
        page = replaced(page, DESCRIPTION, f'<meta name="description" content="{html.escape(description)}">')
        return replaced(page, DATA_BLOCK, DATA_BLOCK.format(to_json(data))).encode("utf-8", "replace")


def static(name: str) -> str:
    return (resources.files("genkit.explore") / "static" / name).read_text(encoding="utf-8")


def alone(name: str) -> str:
    """A module of the page as a script that needs no other file: a browser lets none that comes from disk load any.

    What it exports is found under its name in the object `genkit`, by the scripts that stand below it.
    """

    def imported(found: re.Match[str]) -> str:
        whole, names, source = found.groups()
        return f"const {whole or names} = globalThis.genkit.{stem(INSTEAD.get(source, (source,))[-1])};"

    content, exported = static(name), EXPORT.findall(static(name))
    content = IMPORT.sub(imported, EXPORT.sub("", content))
    assert not re.search(r"^\s*(import|export)\b|\bimport\s*[.(]", content, re.MULTILINE), name
    kept = f"globalThis.genkit = {{ ...globalThis.genkit, {stem(name)}: {{ {', '.join(exported)} }} }};"
    return f'(function () {{\n"use strict";\n{content}\n{kept}\n}})();\n'


def stem(name: str) -> str:
    return name.removesuffix(".js")


def replaced(text: str, old: str, new: str) -> str:
    """`text` with `new` in the place of `old`, which must stand there once."""
    before, found, after = text.partition(old)
    assert found, old
    assert old not in after, old
    return before + new + after


def source_of(content: str) -> str:
    """How a content security policy names an inlined script or style: by its hash."""
    assert not any(end in content for end in ("</script", "</style", "<!--")), content
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def to_json(value: Any) -> str:
    """As it stands in the page: a byte a letter, whatever a name holds, and nothing that could end its block."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def as_base64(numbers: NDArray[Any]) -> str:
    return base64.b64encode(numbers.tobytes()).decode()


def spread(everything: int, count: int) -> Tensor:
    """At most `count` of so many positions, evenly spaced."""
    count = min(count, everything)
    return torch.arange(count) * everything // count
