"""A trained model in Python: what `genkit.load` returns. docs/python.md shows it.

It takes images and codes as people have them, checks them, and answers in kind: a tensor for a tensor, a NumPy array
for an array, one for one and a batch for a batch. What comes back is on the CPU and has no gradient;
`LoadedModel.model` is the bare model for all else.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from genkit import device as devices
from genkit.contract import GenerativeModel, ImageShape, ability
from genkit.errors import DataError, UsageError
from genkit.keep.description import Description
from genkit.keep.opened import Opened
from genkit.latent import sampling
from genkit.latent.condition import Conditions
from genkit.latent.images import as_tensor, kind_of, read_image, to_float

#: What is taken and given back: PyTorch's or NumPy's.
Array = TypeVar("Array", Tensor, np.ndarray)
#: How far outside of [0, 1] a pixel may lie by rounding; it is clipped.
ROUNDING = 1e-5
#: The most samples at once, as on the command line.
MOST_SAMPLES = 1_000_000


def load(
    path: str | os.PathLike[str] | int | None, device: str | torch.device, checkpoint: str | int | None = None
) -> LoadedModel:
    """`genkit.load`, which says more."""
    where = devices.pick(str(device))
    run = None if path is None else str(path) if isinstance(path, int) else os.fspath(path)
    return LoadedModel(Opened.find(run, where, None if checkpoint is None else str(checkpoint)))


class LoadedModel:
    """A trained model, ready to use.

    Attributes:
        model: the bare torch module, in evaluation mode and without gradients, on `device`.
        description: what the checkpoint says of itself: model, options, data, steps, metrics.
        image: the shape of its images: channels, height, width.
        latent_dim: numbers in a code; 0 where it has no codes.
        classes: the names of the classes of the images that it was trained on; () where they had none.
        attributes: the names of their attributes, likewise.
        targets: the names of what `classify` tells, in the order of its columns; () where it classifies nothing.
        conditions: the names of the classes or attributes that the model has to be told; () where it takes none. Where
            there are some, what is called `condition` below is one for all images or one each: a class's name or
            number; of attributes `"male&!hat"`, a mapping of names to numbers in [0, 1], or an array (N, A).
        device: where it computes.
    """

    def __init__(self, opened: Opened):
        self.model = opened.model
        self.path = opened.checkpoint.path
        self.description: Description = opened.description
        self.device = opened.device
        self.image: ImageShape = self.model.image
        self._form = opened.form
        self.latent_dim: int = getattr(self.model.options, "latent_dim", 0)
        self.classes = self.description.classes
        self.attributes = self.description.attributes
        self.targets: tuple[str, ...] = ()
        if ability.classifies(self.model):
            self.targets = tuple(getattr(self.model.options, "attributes", ())) or self.classes
        self._conditions = Conditions.of(self.model, self.classes, self.attributes)
        self.conditions: tuple[str, ...] = self._conditions.names if self._conditions else ()

    def __repr__(self) -> str:
        about = self.description
        codes = f", codes of {self.latent_dim}" if self.latent_dim else ""
        return f"<{about.model} of {about.data.dataset}: images of {self.image}{codes}; {self.path}>"

    # -- images of files -----------------------------------------------------------------------------------------------

    def read_image(self, path: str | os.PathLike[str]) -> Tensor:
        """An image file as (C, H, W) floats in [0, 1], brought to what the model takes as its training images were.

        Raises:
            DataError: when it isn't there, or can't be read as an image.
        """
        return read_image(path, self._form)

    # -- codes of images -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, images: Array, condition: Any = None) -> Array:
        """The codes of images, by the encoder; of a distribution over codes (a VAE's), the mean.

        Args:
            images: (N, C, H, W), or one of them, (C, H, W); floats in [0, 1], or uint8. Grey ones may be (N, H, W) or
                (H, W), too; (1, H, W) is one.
            condition: what they are of, which a model with `conditions` has to be told.

        Returns:
            (N, latent_dim) float32, or (latent_dim,) of one.

        Raises:
            DataError: when they aren't such images, or no such condition.
            UsageError: when the model has no encoder.
        """
        if not ability.encodes(self.model):
            other = "; invert(images) searches for their codes" if ability.generates(self.model) else ""
            raise UsageError(f"a {self.description.model} has no encoder{other}")
        batch, one = self._images(images)
        told = self._told(condition, len(batch))
        return self._in_chunks(self.model.encode, images, one, batch, told)

    def invert(self, images: Array, steps: int = 300, condition: Any = None, **settings: Any) -> Array:
        """The codes whose images come closest to the given ones in squared error, found by search: for any decoder.

        Args:
            images: as in `encode`.
            steps: of the search; 300 of a small model take seconds.
            condition: as in `encode`.
            settings: as in `decode`; one whose name is taken here has an underscore behind it, `steps_=50`.

        Returns:
            As `encode`.

        Raises:
            DataError: when they aren't such images.
            UsageError: when the model makes no images.
        """
        with self._set(settings) as model:
            batch, one = self._images(images)
            told, steps = self._told(condition, len(batch)), _whole(steps, "steps", 1, MOST_SAMPLES)
            return _answer(sampling.invert(model, batch, told, steps=steps), images, one)

    # -- images of codes -----------------------------------------------------------------------------------------------

    def decode(self, z: Array, condition: Any = None, **settings: Any) -> Array:
        """The images of codes.

        Args:
            z: (N, latent_dim), or one of them, (latent_dim,); finite floats.
            condition: what they are to be of, which a model with `conditions` has to be told.
            settings: the model's own options of its sampling, as `steps=50`; of a model that has some.

        Returns:
            (N, C, H, W) float32 in [0, 1], or (C, H, W) of one.

        Raises:
            DataError: when they aren't such codes.
            UsageError: when the model makes no images.
        """
        with self._set(settings) as model:
            codes, one = self._codes(z)
            return _answer(sampling.decode(model, codes, self._told(condition, len(codes))), z, one)

    def draw(self, n: int, seed: int = 0, condition: Any = None, **settings: Any) -> Tensor:
        """The codes (n, latent_dim) that the prior draws from the seeds `seed` to `seed` + n − 1, each by itself.

        Args:
            condition, settings: as in `sample`.

        Raises:
            UsageError: when the model makes no images, or there are no such seeds.
        """
        with self._set(settings) as model:
            return self._drawn(model, self._seeds(n, seed), condition)[0].cpu()

    def sample(self, n: int, seed: int = 0, condition: Any = None, **settings: Any) -> Tensor:
        """New images (n, C, H, W) in [0, 1]: the same as `genkit sample --seeds` gives of `seed` to `seed` + n − 1.

        Args:
            condition: what they are to be of, where the model has `conditions`; by default each seed's own: of k
                classes, seed s has number s mod k. Attributes that aren't named are the seed's own, too. Of a model
                that takes none, a class whose codes are drawn, where the prior fitted to them knows classes.
            settings: as in `decode`.

        Raises:
            UsageError: as `draw`.
        """
        with self._set(settings) as model:
            return sampling.decode(model, *self._drawn(model, self._seeds(n, seed), condition))

    def reconstruct(self, images: Array, condition: Any = None, **settings: Any) -> Array:
        """The images as the model gives them back: encoded, or `invert`ed where there is no encoder, and decoded.

        Args:
            images, condition: as in `encode`.
            settings: as in `decode`.

        Returns:
            Images of the same shape, float32 in [0, 1].

        Raises:
            DataError: when they aren't such images.
            UsageError: when the model makes no images.
        """
        with self._set(settings) as model:
            batch, one = self._images(images)
            found = _answer(sampling.reconstruct(model, batch, self._told(condition, len(batch))), images, one)
            return found.reshape(images.shape)

    def interpolate(
        self,
        a: Array,
        b: Array,
        steps: int = 9,
        path: sampling.Path = "slerp",
        condition: Any = None,
        **settings: Any,
    ) -> Array:
        """The images on the way from one code to another, both ends included.

        Args:
            a, b: one code each, (latent_dim,): of `encode`, `invert` or `draw`.
            steps: images, at least 2.
            path: "slerp", the great circle about the prior's centre, or "lerp", the straight line.
            condition: one, of all images, which a model with `conditions` has to be told.
            settings: as in `invert`.

        Returns:
            (steps, C, H, W) float32 in [0, 1].

        Raises:
            DataError: when they aren't such codes.
            UsageError: when the model makes no images, or there is no such way.
        """
        with self._set(settings) as model:
            ends = [self._codes(each) for each in (a, b)]
            if not all(one for _, one in ends):
                raise DataError(f"interpolate goes from one code ({self.latent_dim},) to another; pass a row of each")
            if path not in ("slerp", "lerp"):
                raise UsageError(f"path is 'slerp' or 'lerp', not {path!r}")
            waypoints = torch.cat([codes for codes, _ in ends]).to(self.device)
            told = self._told(condition, 1)
            centre, _ = sampling.prior_moments(model, told)
            (codes,) = sampling.interpolate(waypoints, _whole(steps, "steps", 2, MOST_SAMPLES), path, centre)
            return _answer(sampling.decode(model, codes, sampling.repeated(told, len(codes))), a, False)

    # -- what is on images ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def classify(self, images: Array) -> Array:
        """The probability of each of `targets`: of classes, they sum to 1; of attributes, each stands by itself.

        Args:
            images: as in `encode`.

        Returns:
            (N, len(targets)) float32, or (len(targets),) of one.

        Raises:
            DataError: when they aren't such images.
            UsageError: when the model is no classifier.
        """
        if not ability.classifies(self.model):
            raise UsageError(f"a {self.description.model} tells no classes; `genkit train classifier` makes what does")
        batch, one = self._images(images)
        return self._in_chunks(self.model.probabilities, images, one, batch)

    @torch.no_grad()
    def features(self, images: Array, condition: Any = None) -> Array:
        """What stands for an image when images are compared or plotted: its code, or what a net without codes sees.

        Args:
            images, condition: as in `encode`.

        Returns:
            (N, F) float32, or (F,) of one.

        Raises:
            DataError: when they aren't such images.
        """
        batch, one = self._images(images)
        told = self._told(condition, len(batch))
        return self._in_chunks(self.model.features, images, one, batch, told)

    # -- what is taken -------------------------------------------------------------------------------------------------

    def _in_chunks(self, function: Callable[..., Tensor], like: Array, one: bool, *inputs: Tensor | None) -> Array:
        size = sampling.chunk_of(self.model)
        return _answer(sampling.in_chunks(function, *sampling.on(self.device, *inputs), size=size), like, one)

    def _generator(self) -> GenerativeModel:
        if not ability.generates(self.model):
            raise UsageError(f"a {self.description.model} makes no images; it has features(images)")
        return self.model

    @contextmanager
    def _set(self, settings: Mapping[str, Any]) -> Iterator[GenerativeModel]:
        """The model, with these options of its sampling as long as it lasts.

        Raises:
            UsageError: when it makes no images, or has no such options.
        """
        model = self._generator()
        before, name = model.sampling, f"a {self.description.model}"
        if settings:
            # With the underscore that keeps an option from an argument of the same name.
            values = {each.removesuffix("_"): value for each, value in settings.items()}
            model.sampling = sampling.options_of(model, values, name)
        try:
            yield model
        finally:
            model.sampling = before

    def _seeds(self, n: int, seed: int) -> range:
        first = _whole(seed, "seed", 0, 10**18)
        return range(first, first + _whole(n, "n", 1, MOST_SAMPLES))

    def _told(self, condition: Any, count: int, own: Tensor | None = None) -> Tensor | None:
        """What the model is told of so many images: as given, or else their own; None of one that takes no condition.

        Raises:
            UsageError, DataError: when it has to be told and isn't, or is told what it doesn't take.
        """
        if self._conditions is None:
            if condition is not None:
                raise UsageError(f"this {self.description.model} takes no condition; leave it out")
            return None
        if condition is not None:
            return self._conditions.read(condition, count, own)
        if own is None:
            kind = self._conditions.condition.kind
            names = f", of {self._conditions.listed()}" if self.conditions else ""
            raise UsageError(f"this {self.description.model} has to be told the {kind} of an image{names}: condition=…")
        return own

    def _drawn(self, model: GenerativeModel, seeds: range, condition: Any) -> tuple[Tensor, Tensor | None]:
        """The codes of seeds, and what the decoder is told besides."""
        known = Conditions.drawn_by(model, self.classes)
        if condition is None or known is None:
            told = self._told_of_seeds(condition, seeds)
            return sampling.seed_codes(model, seeds, told), told
        wanted = known.read(condition, len(seeds))
        for each in wanted.unique().tolist():
            sampling.require_class(model, each, known.names[each])
        return sampling.seed_codes(model, seeds, None, wanted), None

    def _told_of_seeds(self, condition: Any, seeds: range) -> Tensor | None:
        model = self._generator()
        takes_image = model.condition is not None and model.condition.kind == "image"
        return self._told(condition, len(seeds), None if takes_image else sampling.seed_conditions(model, seeds))

    def _images(self, given: Tensor | np.ndarray) -> tuple[Tensor, bool]:
        """Images as a float32 batch (N, C, H, W) in [0, 1], and whether it was one without its batch."""
        values = as_tensor(given, "images")
        wanted = tuple(self.image)
        if wanted[0] == 1 and values.shape[-2:] == wanted[1:] and (values.ndim == 2 or values.shape[-3] != 1):
            values = values[..., None, :, :] if values.ndim < 4 else values
        one = values.ndim == 3
        if values.shape[-3:] != wanted or values.ndim not in (3, 4):
            raise DataError(
                f"the model takes images (N, {', '.join(map(str, wanted))}), or one without its N, and these are "
                f"{tuple(values.shape)}{_hint(tuple(values.shape), self.image)}"
            )
        if values.dtype != torch.uint8 and not values.is_floating_point():
            raise DataError(f"images are floats in [0, 1], or uint8, and these are {kind_of(given)}; convert them")
        if values.dtype == torch.uint8 and (self._form.whites or {}).get(8) == 1 and len(values) and values.max() <= 1:
            values = values * 255  # as the images were that it was trained on
        values = to_float(values).float()
        if not len(values):
            raise DataError("there is no image; pass at least one")
        low, high = float(values.min()), float(values.max())
        if not values.isfinite().all():
            raise DataError("the images hold NaN or infinity; mend them first")
        if low < -ROUNDING or high > 1 + ROUNDING:
            way = "divide by 255" if high > 2 and low >= 0 else "add 1 and halve" if -1.1 < low < 0 else "rescale them"
            raise DataError(f"floats of images lie in [0, 1], and these in [{low:.4g}, {high:.4g}]; {way}")
        return (values[None] if one else values).clamp(0, 1), one

    def _codes(self, given: Tensor | np.ndarray) -> tuple[Tensor, bool]:
        """Codes as a float32 batch (N, latent_dim), and whether it was one without its batch."""
        values = as_tensor(given, "codes")
        one = values.ndim == 1
        if values.ndim not in (1, 2) or values.shape[-1] != self.latent_dim:
            dim = self.latent_dim
            raise DataError(f"codes are (N, {dim}), or ({dim},) for one, and these are {tuple(values.shape)}")
        if not values.is_floating_point():
            raise DataError(f"codes are floats, and these are {kind_of(given)}; convert them")
        values = values.float()
        if not len(values):
            raise DataError("there is no code; pass at least one")
        if not values.isfinite().all():
            raise DataError("the codes hold NaN or infinity; mend them first")
        return (values[None] if one else values), one


def _hint(found: tuple[int, ...], image: ImageShape) -> str:
    """What a person probably meant by images of another shape."""
    channels, height, width = image
    if found[-3:] == (height, width, channels):
        return "; channels come first: permute(…, 2, 0, 1) does it"
    return "; model.read_image(path) reads a file to it"


def _whole(number: Any, name: str, least: int, most: int) -> int:
    """A whole number within its bounds.

    Raises:
        UsageError
    """
    try:
        value = operator.index(number)
    except TypeError:
        raise UsageError(f"{name} is a whole number, and not {number!r}") from None
    if not least <= value <= most:
        raise UsageError(f"{name} lies between {least:,} and {most:,}, and not at {value:,}")
    return value


def _answer(result: Tensor, given: Array, one: bool) -> Array:
    """The result, on the CPU, as the same kind of thing that was given."""
    rows = (result[0] if one else result).detach().cpu()
    return rows.numpy() if isinstance(given, np.ndarray) else rows
