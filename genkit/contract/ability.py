"""What a model can do: the one place that commands, evaluation, recipes, explorer, report and `genkit models` ask.

An ability is seen by what a model's class defines, so that it is known of a name, too, before anything is built or
trained. Nobody else asks this of a model's class or methods, and nobody asks for a model by its name.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor
from typing_extensions import TypeIs

from genkit.contract.model import GenerativeModel, Model
from genkit.errors import UsageError


class Ability(NamedTuple):
    """Something that models can or can't do.

    Attributes:
        name: for a list of abilities: "encodes".
        lacks: what is said of a model without it, as the end of a sentence: "has no encoder".
        methods: by which it is seen that a class has it: all of them are defined.
        any_of: or one of these, other than as `Model` itself has it.
        declared: the attribute by which a class says so itself.
    """

    name: str
    lacks: str
    methods: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    declared: str | None = None


ENCODES = Ability("encodes", "has no encoder", ("encode",))
GENERATES = Ability("generates", "makes no images", ("decode", "prior"))
LIKELIHOOD = Ability("likelihood", "doesn't say how likely an image is", ("posterior", "log_likelihood"))
PIXELS = Ability(
    "likelihood of pixels", "doesn't say how likely each pixel of an image is by itself", ("pixel_log_likelihood",)
)
DENSITY = Ability("density", "has no density of images", ("log_density",))
CLASSIFIES = Ability("classifies", "gives no answers that could be wrong", ("probabilities",))
FEATURES = Ability(
    "features", "neither encodes images nor defines features", any_of=("encode", "features", "representation")
)
SECOND_SET = Ability("second set", "is trained on one set of images", declared="needs_beside")
ADAPTS = Ability("adapts", "adapts no classifier to a second set", ("first_features", "before"))
#: Of a model, whether it does; of a class, whether its options can make it so.
CONDITION = Ability("takes a condition", "takes no condition", ("condition_for",))

#: In the order in which they are shown.
ABILITIES = (ENCODES, GENERATES, LIKELIHOOD, PIXELS, DENSITY, CLASSIFIES, FEATURES, CONDITION, SECOND_SET, ADAPTS)


class Encodes(Protocol):
    """A model that finds an image's code by itself. Autoencoders and VAEs do; a GAN simply lacks the method.

    Here as below, `condition` is there for a model that takes one.
    """

    def encode(self, images: Tensor, *condition: Any, **_: Any) -> Tensor:
        """Codes (B, latent_dim) of images (B, C, H, W) in [0, 1]; of a distribution over codes, its mean."""
        ...


class Classifies(Protocol):
    """A model that tells classes or attributes. Its `options` have how many classes there are, or which attributes."""

    options: Any

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, classes or attributes) of images (B, C, H, W) in [0, 1]."""
        ...

    def probabilities(self, images: Tensor) -> Tensor:
        """Of each class, (B, classes); or of each attribute in `options.attributes`, (B, attributes)."""
        ...


class Likelihood(Protocol):
    """A model that says how likely an image is given its code, and where its code lies: a VAE."""

    def posterior(self, images: Tensor, *condition: Any, **_: Any) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the diagonal Gaussian q(z|x) of images (B, C, H, W): two of (B, latent_dim)."""
        ...

    def log_likelihood(self, z: Tensor, images: Tensor, *condition: Any, **_: Any) -> Tensor:
        """ln p(x|z) in nats, summed over pixels, of images (B, C, H, W) under K codes (B, K, latent_dim) each: (B, K).

        The prior of the codes is N(0, I).
        """
        ...


class PixelLikelihood(Protocol):
    """A model of whose images each number is drawn by itself, given the code, so that parts have a likelihood."""

    def pixel_log_likelihood(self, z: Tensor, images: Tensor, *condition: Any, **_: Any) -> Tensor:
        """ln p of each number of images (B, C, H, W) under a code (B, latent_dim) each, in nats: (B, C, H, W).

        Their sum is ln p(x|z).
        """
        ...


class Density(Protocol):
    """A model that maps images to noise and back, and so has a density of images itself: a flow."""

    def log_density(self, pixels: Tensor, probes: Tensor, steps: int, *condition: Any, **_: Any) -> Tensor:
        """ln p(x) in nats of dequantised grey values x (B, C, H, W) from 0 to 256: (B,) float64.

        Args:
            probes: of ±1, (P, B, C, H, W), by which a trace is estimated.
            steps: of a solver.

        Raises:
            UsageError: of a model that has none after all, as its options say.
        """
        ...


class Adapts(Protocol):
    """A classifier of a first set's images that has been adapted to those of a second, which all its methods are of."""

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees of images (B, C, H, W) of the second set: (B, F)."""
        ...

    def first_features(self, images: Tensor) -> Tensor:
        """The same of images of the first set, among which those of the second are to be lost."""
        ...

    def before(self) -> Model:
        """The classifier as it was, which has features, too."""
        ...


def of(model: Model | type[Model]) -> tuple[Ability, ...]:
    """All that a model, or every model of a class, can do."""
    return tuple(each for each in ABILITIES if has(model, each))


def has(model: object, ability: Ability) -> bool:
    """Whether a model, or every model of a class, can do this."""
    if ability is CONDITION:
        return takes_condition(model)
    if not all(callable(getattr(model, name, None)) for name in ability.methods):
        return False
    if ability.declared is not None and not getattr(model, ability.declared, False):
        return False
    return not ability.any_of or any(own(model, name) for name in ability.any_of)


def own(model: object, name: str) -> bool:
    """Whether a model has a method that isn't the one that every model has from `Model`."""
    method = getattr(model, name, None)
    return callable(method) and getattr(method, "__func__", method) is not getattr(Model, name, None)


def encodes(model: object) -> TypeIs[Encodes]:
    return has(model, ENCODES)


def generates(model: object) -> TypeIs[GenerativeModel]:
    return has(model, GENERATES)


def codes_are_noise(model: object) -> bool:
    """Whether the codes of a model, or of a class, are the noise itself (`GenerativeModel.codes_are_noise`)."""
    return bool(getattr(model, "codes_are_noise", False))


def takes_prior(model: object) -> bool:
    """Whether a prior can be fitted to a model's codes: of images, and made images of, and not the noise already."""
    return generates(model) and encodes(model) and not codes_are_noise(model) and not has(model, SECOND_SET)


def without_prior(model: object) -> str:
    """Why none can, as the end of a sentence."""
    if codes_are_noise(model):
        return "has codes that are N(0, I) already"
    if has(model, SECOND_SET):
        return "is trained on two sets of images, of whose codes none is fitted"
    return "has no codes of images to fit a prior to"


def tells_likelihood(model: object) -> TypeIs[Likelihood]:
    return has(model, LIKELIHOOD)


def tells_pixels(model: object) -> TypeIs[PixelLikelihood]:
    return has(model, PIXELS)


def tells_density(model: object) -> bool:
    """Whether a model's losses are of a density of grey values, as a Gaussian likelihood's are."""
    return tells_likelihood(model) and getattr(model, "pixels", "value") == "value"


def has_density(model: object) -> TypeIs[Density]:
    return has(model, DENSITY)


def classifies(model: object) -> TypeIs[Classifies]:
    return has(model, CLASSIFIES)


def adapts(model: object) -> TypeIs[Adapts]:
    return has(model, ADAPTS)


def takes_condition(model: object) -> bool:
    """Whether a model's methods take a condition; of a class, whether there are options with which they do."""
    if isinstance(model, type):
        return issubclass(model, Model) and model.condition_for.__func__ is not Model.condition_for.__func__  # type: ignore[attr-defined]
    return isinstance(model, Model) and model.condition is not None


def generator(model: Model, name: str) -> GenerativeModel:
    """The model, for what needs its images; `name` is what the person calls it: "00003-vae is a vae".

    Raises:
        UsageError: when it makes none.
    """
    if not generates(model):
        raise UsageError(f"{name}: it {GENERATES.lacks}; genkit embed shows its features")
    return model
