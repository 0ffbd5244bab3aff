"""What can be asked of a model's latent space: its map, and the codes and images that belong to each other.

No HTTP, no files. Images leave as uint8 (N, H, W, C), as a canvas wants them; codes as float32 on the CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from genkit import registry
from genkit.contract import GenerativeModel, ability
from genkit.contract.condition import given
from genkit.data.dataset import Dataset, Split
from genkit.data.pixels import Form
from genkit.errors import DataError, UsageError
from genkit.explore.chart import SEEDS_NOTE, Chart, Flat, Scattered, nearest
from genkit.latent import arithmetic, images, projection, sampling
from genkit.latent.arithmetic import Exemplars
from genkit.latent.condition import Conditions
from genkit.step.passes import conditions_of, encode_split

logger = logging.getLogger("genkit")

#: Points of a map of test images, and of one of seeds.
POINTS, SEEDS = 10_000, 1_000
#: Codes or images that are asked for at once, points that are near, and terms of a sum.
AT_ONCE, NEAR, TERMS = 64, 8, 8
#: Of `genkit sample --arithmetic`: images averaged a term, and the seed that chooses them.
EXEMPLARS, EXEMPLAR_SEED = 3, 0
#: Of `genkit sample --traverse`: standard deviations to either side, and images a dimension.
REACH, SWEEP = 3.0, 11
#: Dimensions whose effect is measured; where there are more, those whose codes differ most.
SWEPT = 256
#: Steps of a search for an image's code, and terms whose codes have been searched for that are remembered.
SEARCH, KEPT = 300, 100


class Term(NamedTuple):
    """One term of a sum.

    Attributes:
        sign: 1 or -1.
        text: `label:7`, `glasses&!male`, `point:123`, `seed:5`; empty where the code is given.
        code: (latent_dim,), or None.
        pixels: uint8 (H, W, C) that go with the code; what it decodes to where there are none.
    """

    sign: int
    text: str = ""
    code: Tensor | None = None
    pixels: Tensor | None = None


class Sum(NamedTuple):
    """What terms come to: the code (latent_dim,), its image and that of the same sum done on pixels (H, W, C), the
    points that are near, and the points that each term stands for, where they are on the map."""

    code: Tensor
    pixels: Tensor
    control: Tensor
    near: Tensor
    terms: list[list[int]]


class Found(NamedTuple):
    """What became of an image of one's own, after `done` of `of` steps; all else is None before the last."""

    done: int
    of: int
    pixels: Tensor | None = None
    code: Tensor | None = None
    place: Tensor | None = None


class Space:
    """A model with the points of its map: the codes of images, or of seeds where it has no encoder.

    Args:
        model: on its device, in evaluation mode.
        run: what the person calls it.
        load: gives its images. Without an encoder it is called when a term first names some.
        names: of the data set, and its classes and attributes.
        split: whose images are on the map.
        method: of the map, for codes of more than two dimensions.
        limit: points at most, evenly spaced.
        form: how a person's picture becomes one that the model takes; by default cut to its proportions.
        condition: what the decoder is told where nobody says it, (1, …); by default what seed 0 is. A model that takes
            an image is always told this one.

    A point's code is that of its image with its own condition, or its seed's; what is decoded is told the condition
    that is asked for.

    Attributes:
        split: the points' images, None on a map of seeds.
        all_codes: float32 (N, latent_dim).
        chart: the map.
        mean, spread: (latent_dim,), of the codes that the prior draws.
        active: the dimensions that change the image, the strongest first.

    Raises:
        GenkitError: where the images aren't there, or can't be shown.
    """

    #: Whether an image belongs to each code, and not only to those of the map.
    makes_images = True

    def __init__(
        self,
        model: GenerativeModel,
        run: str,
        load: Callable[[], Dataset],
        names: tuple[str, Sequence[str], Sequence[str]],
        *,
        split: Literal["train", "val", "test"] = "test",
        method: Literal["pca", "tsne"] = "pca",
        limit: int = POINTS,
        condition: Tensor | None = None,
        form: Form | None = None,
    ):
        self.model, self.run, self.load, self.part = model, run, load, split
        name, self.classes, self.attributes = names
        self.dataset_name = Path(name).name  # of a path, where images lie is nobody's business
        self.device, self.image = sampling.device_of(model), model.image
        self.form = form or Form(model.image)
        self.split: Split | None = None
        self.own: Tensor | None = None  # the seeds' own conditions (N, …), on a map of seeds
        self.positions: Tensor | None = None  # of the points in their split, where it has others, too
        self.loaded: Dataset | None = None
        self.principal: projection.PrincipalAxes | None = None  # of a map of seeds
        self.searched: dict[str, tuple[Tensor, Tensor]] = {}  # terms' images and codes, where there is no encoder
        self.conditions = Conditions.of(model, self.classes, self.attributes)
        self.condition = sampling.seed_conditions(model, [0]) if condition is None else condition
        always = self.always
        if ability.encodes(model):
            rows = self.dataset().splits()[split]
            noise = ability.codes_are_noise(model)
            chosen = rows.spread(min(limit, SEEDS) if noise else limit)
            self.split, self.positions = rows.take(chosen), chosen if len(chosen) < len(rows) else None
            self.all_codes = encode_split(model, self.split, self.device).float()
            # Codes that are the noise say nothing of what an image is like.
            self.traits = self.features() if noise and self.conditions is None else self.all_codes
        else:
            count = min(SEEDS, limit)
            own = sampling.seed_conditions(model, range(count)) if always is None else None
            self.own = sampling.repeated(always, count) if own is None else own
            self.all_codes = sampling.seed_codes(model, range(count), self.own).cpu()
            self.traits = self.all_codes if self.all_codes.shape[1] <= 2 else self.features()
        self.latent_dim = self.all_codes.shape[1]
        self.mean, self.spread = self.moments()
        self.chart = self.draw_map(method)
        self.active = self.strongest()

    @property
    def always(self) -> Tensor | None:
        """What the decoder is told of every code, where nobody can choose it: an image (1, …)."""
        return self.condition if self.conditions is not None and not self.conditions.names else None

    # -----------------------------------------------------------------------------------------------------------------
    # The map
    # -----------------------------------------------------------------------------------------------------------------

    def features(self) -> Tensor:
        """What stands for the seeds' images: their `Model.features` along the first principal axes, (N, F')."""
        logger.info("drawing the map of %s seeds' samples; large images take a minute", f"{len(self.all_codes):,}")
        parts = zip(*(each.split(AT_ONCE) for each in (self.all_codes, *given(self.own))), strict=True)
        everything = torch.cat([self.features_of(*part) for part in parts])
        if not everything.isfinite().all():
            raise DataError("some samples aren't finite: the model's training diverged; use an earlier checkpoint")
        self.principal = projection.principal_axes(everything, projection.NEIGHBOUR_COMPONENTS)
        return self.principal.coordinates.float()

    def told(self, codes: Tensor, condition: Tensor | None) -> tuple[Tensor, ...]:
        """What `decode` takes besides so many codes, on the device: conditions (N, …), or one (1, …) for all."""
        condition = self.condition if condition is None else condition
        if condition is not None and len(condition) != len(codes):
            condition = sampling.repeated(condition, len(codes))
        return sampling.on(self.device, condition)

    @torch.inference_mode()
    def features_of(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        told = self.told(codes, condition)
        return self.model.features(self.model.decode(codes.to(self.device), *told), *told).float().cpu()

    def traits_of(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """By what codes (N, latent_dim) are compared with points: they themselves, or what their images are like."""
        principal = self.principal
        if principal is None:
            return codes
        return ((self.features_of(codes, condition).to(principal.mean) - principal.mean) @ principal.axes).float()

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (latent_dim,) of the codes that the prior draws."""
        mean, spread = sampling.prior_moments(self.model, self.always)
        return mean.cpu(), spread.cpu()

    def draw_map(self, method: projection.Method) -> Chart:
        if self.principal is not None and method == "pca":
            found = self.traits[:, :2].double().numpy()
            drawn = projection.Projection(found, "pca", projection.axis_names(self.principal))
        else:
            drawn = projection.project(self.traits, method)
        points = torch.from_numpy(drawn.points)
        if drawn.method == "native":
            return Flat.native(points, self.latent_dim)
        if drawn.principal is not None:
            return Flat.pca(points, drawn.axes, drawn.principal)
        if self.split is not None:
            return Scattered(points, self.all_codes, self.traits, drawn)
        flat = drawn.method == "pca"
        return Scattered(points, self.all_codes, self.traits, drawn, SEEDS_NOTE, self.mean, flat)

    # -----------------------------------------------------------------------------------------------------------------
    # What a page begins with
    # -----------------------------------------------------------------------------------------------------------------

    def about(self) -> dict[str, Any]:
        """What is shown, and what can be asked, as JSON."""
        seeds = self.split is None
        return {
            "run": self.run,
            "model": registry.name_of(type(self.model)),
            "dataset": self.dataset_name,
            "split": self.part,
            "image": self.image._asdict(),
            "latent_dim": self.latent_dim,
            "count": len(self.all_codes),
            # By which `genkit sample --images` knows the points; None where a point's number is its position.
            "positions": None if self.positions is None else self.positions.tolist(),
            "seeds_map": seeds,
            "near_by_images": self.principal is not None,
            "encoder": True if not seeds else f"{self.run} has no encoder: an image's code is searched for",
            "colorings": [{"name": name, "names": list(names)} for name, names, _ in self.colorings()],
            "terms": {"labels": list(self.classes), "attributes": list(self.attributes)},
            "map": {
                "method": self.chart.method,
                "note": self.chart.note,
                "axes": None if self.chart.axes is None else list(self.chart.axes),
            },
            "prior": {"mean": self.mean.tolist(), "spread": self.spread.tolist()},
            "active": self.active,
            "condition": self.chooser(),
            "makes_images": self.makes_images,
            "approximate": None,
            "points_are": "samples" if seeds else f"{'validation' if self.part == 'val' else self.part} images",
        }

    def chooser(self) -> dict[str, Any] | None:
        """What the decoder can be told, as JSON, and what it is told at first: a class's number, or each attribute."""
        if self.conditions is None or not self.conditions.names or self.condition is None:
            return None
        kind = self.conditions.condition.kind
        return {"kind": kind, "names": list(self.conditions.names), "first": self.condition.flatten().tolist()}

    def colorings(self) -> list[tuple[str, Sequence[str], Tensor]]:
        """What points can be coloured by: its name, its values' names, and the value (N,) of each point."""
        if self.split is None:
            return []
        found: list[tuple[str, Sequence[str], Tensor]] = []
        if self.split.labels is not None:
            found.append(("class", self.classes, self.split.labels))
        if self.split.attributes is not None:
            for name, values in zip(self.attributes, self.split.attributes.unbind(1), strict=True):
                found.append((name, (f"not {name}", name), values.long()))
        return found

    def labels(self) -> Tensor:
        """The points' values in each of the colourings: int16 (colourings, N)."""
        values = [values for _, _, values in self.colorings()]
        return torch.stack(values).short() if values else torch.empty(0, len(self.all_codes), dtype=torch.int16)

    def points(self) -> Tensor:
        """Where the points lie on the map: float32 (N, 2)."""
        return self.chart.points.float()

    @torch.no_grad()
    def strongest(self) -> list[int]:
        """The dimensions, those that change the image most first, as `genkit sample --traverse` ranks them."""
        dims = self.all_codes.std(0, unbiased=False).argsort(descending=True, stable=True)[:SWEPT].sort().values
        z = sampling.seed_codes(self.model, [0], self.condition)[0]
        effects = []
        for some in dims.split(sampling.CHUNK):  # which fills the batches that are decoded
            codes = sampling.traverse(self.model, z, REACH, SWEEP, some.tolist(), self.condition)
            everything = codes.flatten(0, 1)
            pictures = sampling.decode(self.model, everything, sampling.repeated(self.condition, len(everything)))
            effects.append(sampling.effects(pictures.unflatten(0, (len(some), SWEEP))))
        return dims[torch.cat(effects).argsort(descending=True, stable=True)].tolist()

    # -----------------------------------------------------------------------------------------------------------------
    # Codes and images
    # -----------------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """Images, uint8 (N, H, W, C), of codes (N, latent_dim); here as below, of one condition (1, …) or of N."""
        # Not through `sampling.decode`, which decodes at least 32: the pixels may differ from its by a rounding.
        return as_pixels(self.model.decode(codes.to(self.device), *self.told(codes, condition)))

    def under(self, x: float, y: float, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The code (latent_dim,) that belongs to a place on the map, and its image."""
        code = self.chart.code_at(torch.tensor([[x, y]], dtype=torch.float64)).float()
        return code[0], self.decode(code, condition)[0]

    def place(self, codes: Tensor, condition: Tensor | None = None) -> Tensor:
        """Where codes (N, latent_dim) lie on the map: float32 (N, 2)."""
        return self.chart.place(self.traits_of(codes, condition)).float()

    def originals(self, indices: Tensor) -> Tensor:
        """Points' own images, uint8 (N, H, W, C); of a seed, its sample."""
        if self.split is None:
            return self.decode(self.all_codes[indices], None if self.own is None else self.own[indices])
        return as_pixels(self.split.images(indices))

    def codes(self, indices: Tensor) -> Tensor:
        return self.all_codes[indices]

    def seeds(self, numbers: Sequence[int], condition: Tensor | None = None) -> Tensor:
        """Codes (N, latent_dim) as `genkit sample --seeds` makes them."""
        told = self.condition if condition is None else condition
        return sampling.seed_codes(self.model, numbers, sampling.repeated(told, len(numbers))).cpu()

    def near(self, code: Tensor, condition: Tensor | None = None) -> Tensor:
        """The points, int64 (at most NEAR,), whose codes are nearest to one (latent_dim,), the nearest first.

        Of seeds, those whose images are most like its image: nearness of codes says little where nobody encoded.
        """
        return nearest(self.traits_of(code[None], condition), self.traits, NEAR)[1][0]

    # -----------------------------------------------------------------------------------------------------------------
    # Sums
    # -----------------------------------------------------------------------------------------------------------------

    def sum(self, terms: Sequence[Term], condition: Tensor | None = None) -> Sum:
        """The signed sum of the terms' codes, and of their pixels, as `genkit sample --arithmetic` has it.

        A label or an attribute stands for three images of the map; of a model without an encoder, for three test images
        whose codes are searched for, once. The sum is decoded with the condition that is asked for.

        Raises:
            UsageError: when a term means nothing here.
            DataError: when it names images, and they aren't there.
        """
        meant = [self.exemplars(term, condition) for term in terms]
        exemplars = [each for each, _ in meant]
        code = arithmetic.combine(exemplars, lambda term: sampling.on_shell(self.model, term.code.cpu()))
        code = sampling.on_shell(self.model, code)
        control = arithmetic.combine(exemplars, lambda term: term.images.mean(0))  # clipped below
        pixels, near = self.decode(code[None], condition)[0], self.near(code, condition)
        return Sum(code, pixels, as_pixels(control[None])[0], near, [points for _, points in meant])

    def prepare(self, terms: Sequence[Term]) -> Iterator[None]:
        """Search for the codes that `sum` needs, where there is no encoder, a step at a time.

        Raises:
            GenkitError: as `sum`.
        """
        for text in self.searched.keys() & {term.text for term in terms}:
            self.searched[text] = self.searched.pop(text)  # the last to go: this sum has need of them
        for text in self.sought(terms):
            chosen = self.chosen(text)
            test = self.dataset().test.take(chosen)
            originals, own = images.to_float(test.images()), conditions_of(self.model, test, self.device)
            codes = originals
            for _, codes in sampling.inversion(self.model, originals, own, steps=SEARCH):  # noqa: B007 (the last)
                yield
            if len(self.searched) >= KEPT:
                del self.searched[next(iter(self.searched))]
            self.searched[text] = originals, codes.cpu()

    def sought(self, terms: Sequence[Term]) -> list[str]:
        """The terms whose codes have yet to be searched for, where there is no encoder."""
        texts = dict.fromkeys(term.text for term in terms if term.code is None and self.split is None)
        return [text for text in texts if not text.startswith(("seed:", "point:")) and text not in self.searched]

    def exemplars(self, term: Term, condition: Tensor | None = None) -> tuple[Exemplars, list[int]]:
        """What a term stands for, and where on the map that is."""
        named = arithmetic.Term(term.sign, term.text)
        if term.code is not None:
            pixels = self.decode(term.code[None], condition) if term.pixels is None else term.pixels[None]
            return Exemplars(named, as_images(pixels), term.code[None]), []
        if term.text.startswith("seed:"):
            codes = self.seeds([number(term.text, 2**32)], condition)
            return Exemplars(named, as_images(self.decode(codes, condition)), codes), []
        if term.text.startswith("point:"):
            return self.of_points(named, torch.tensor([number(term.text, len(self.all_codes))]))
        return self.described(named)

    def described(self, term: arithmetic.Term) -> tuple[Exemplars, list[int]]:
        """What a term of a label or of attributes stands for."""
        if self.split is not None:
            return self.of_points(term, self.chosen(term.text))
        for _ in self.prepare([Term(1, term.text)]):
            pass
        return Exemplars(term, *self.searched[term.text]), []

    def chosen(self, text: str) -> Tensor:
        """Positions of a term's images in the split that the map is of, or in the test split."""
        dataset = self.dataset()
        split = dataset.test if self.split is None else self.split
        try:
            return arithmetic.exemplars_among(text, dataset, split, EXEMPLARS, EXEMPLAR_SEED)
        except UsageError as error:
            raise UsageError(str(error).removeprefix("--arithmetic: ")) from error

    def of_points(self, term: arithmetic.Term, points: Tensor) -> tuple[Exemplars, list[int]]:
        return Exemplars(term, as_images(self.originals(points)), self.codes(points)), points.tolist()

    def dataset(self) -> Dataset:
        if self.loaded is None:
            self.loaded = self.load()
            self.classes, self.attributes = self.loaded.classes, self.loaded.attributes
        return self.loaded

    # -----------------------------------------------------------------------------------------------------------------
    # Images of one's own
    # -----------------------------------------------------------------------------------------------------------------

    def read(self, content: bytes) -> Tensor:
        """The content of an image file, brought to the model's shape as `genkit sample --file` does: (C, H, W).

        Raises:
            DataError: when it can't be read as an image.
        """
        return images.image_from(content, self.form)

    def file(self, image: Tensor, condition: Tensor | None = None) -> Iterator[Found]:
        """The code of an image (C, H, W) in [0, 1] and its place: by the encoder, or searched for, step by step.

        What is found stands in the last. A model that takes a condition is told that the image is of this one.
        """
        code = self.mean
        for done, codes in self.encoding(image[None], self.condition if condition is None else condition):
            code = codes[0].float().cpu()
            if done < self.steps:
                yield Found(done, self.steps)
        if not code.isfinite().all():
            raise DataError("this image has no finite code; give another image")
        yield Found(self.steps, self.steps, as_pixels(image[None])[0], code, self.place(code[None], condition)[0])

    @property
    def steps(self) -> int:
        """Steps to the code of an image."""
        return SEARCH if self.split is None else 0

    def encoding(self, originals: Tensor, condition: Tensor | None) -> Iterator[sampling.Approach]:
        if ability.encodes(self.model):
            return iter([sampling.Approach(0, sampling.encode(self.model, originals, condition))])
        return sampling.inversion(self.model, originals, condition, steps=SEARCH)


def as_pixels(pictures: Tensor) -> Tensor:
    """Images (N, C, H, W) as uint8 (N, H, W, C) on the CPU."""
    return images.to_uint8(pictures).cpu().permute(0, 2, 3, 1).contiguous()


def as_images(pixels: Tensor) -> Tensor:
    """uint8 (N, H, W, C) as float (N, C, H, W) in [0, 1]."""
    return images.to_float(pixels.permute(0, 3, 1, 2))


def number(text: str, bound: int) -> int:
    """The number in `point:12`.

    Raises:
        UsageError: when it is none, or not below `bound`.
    """
    digits = text.partition(":")[2]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) < bound):
        raise UsageError(f"'{text[:40]}' isn't there; give a number from 0 to {bound - 1}")
    return int(digits)
