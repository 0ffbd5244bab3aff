"""What a measurement or a picture needs of a run: abilities of its model, options, images, packages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Annotated, Any, NamedTuple, TypeAlias

from pydantic import Field

from genkit import registry
from genkit.contract import ability
from genkit.contract.ability import Ability
from genkit.data.dataset import Dataset
from genkit.errors import UsageError
from genkit.evaluate import attributes as sums
from genkit.keep.config import Config
from genkit.latent.arithmetic import matching, parse
from genkit.latent.sampling import options_of

Asked: TypeAlias = Mapping[str, Any]
#: Says why a run that is configured so doesn't do, as the end of a sentence that begins with its name; or None.
OfRun: TypeAlias = Callable[[Config, Asked], str | None]
#: Says why a run of these images doesn't do, as a sentence; or None.
OfImages: TypeAlias = Callable[[Config, Dataset, Asked], str | None]
#: A number of things in TOML.
Count = Annotated[int, Field(ge=1)]
Several = Annotated[int, Field(ge=2)]
Share = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
#: What is chosen of a model's sampling, as `genkit sample --set` takes it.
Choices = dict[str, Any]


class Kind(NamedTuple):
    """A measurement or a picture that a recipe can name.

    Attributes:
        function: given a run (a measure), or the bench and a path (a picture), and the words of the step.
        gives: the figures' names, as patterns of `fnmatch`, in which `{label}` stands for that word of the step.
        gives_where: those that it gives only of some images.
        abilities: that each run's model has.
        options: what else each run is held to before there are images.
        images: and what, by them.
        together: what all of its runs are held to at once.
    """

    function: Callable[..., Any]
    gives: tuple[str, ...] = ()
    gives_where: Mapping[OfImages, tuple[str, ...]] = {}
    abilities: tuple[Ability, ...] = ()
    options: tuple[OfRun, ...] = ()
    images: tuple[OfImages, ...] = ()
    together: tuple[Callable[[Mapping[str, Config]], str | None], ...] = ()

    def unfit(self, settings: Config, asked: Asked) -> str | None:
        """Why the step can't be taken of a run that is configured so, "has no encoder"; None where it can."""
        model = registry.find(settings.model)
        lacking = [each for each in self.abilities if not ability.has(model, each)]
        if lacking:
            return f"is of the model {settings.model}, which {lacking[0].lacks}"
        return next((reason for each in self.options if (reason := each(settings, asked))), None)

    def unfit_images(self, settings: Config, images: Dataset, asked: Asked) -> str | None:
        return next((reason for each in self.images if (reason := each(settings, images, asked))), None)

    def unfit_together(self, runs: Mapping[str, Config]) -> str | None:
        return next((reason for each in self.together if (reason := each(runs))), None)


# ---------------------------------------------------------------------------------------------------------------------
# Options of a run, and what is installed
# ---------------------------------------------------------------------------------------------------------------------


def linear(settings: Config, _: Asked) -> str | None:
    """A code that is a linear function of the image, and pixels that are one of the code."""
    if getattr(settings.options, "hidden", None) != ():
        return "isn't linear, so there is no subspace to compare with PCA's; give hidden = []"
    if ability.has(registry.find(settings.model), ability.LIKELIHOOD):
        return f"is of the model {settings.model}, whose code is a distribution, and PCA's is none"
    if getattr(settings.options, "loss", "mse") != "mse":
        return "isn't trained by the squared error, which is what PCA makes small; give loss = 'mse'"
    return None


def plane(settings: Config, _: Asked) -> str | None:
    size = getattr(settings.options, "latent_dim", 0)
    return None if size == 2 else f"has a code of {size} numbers, and only one of 2 can be shown whole"


def number_in(value: object) -> float | None:
    """Where an option's value stands on an axis: itself, or the number that it ends with, as `corrupt:0.2`; or None."""
    if isinstance(value, int | float):
        return float(value)
    found = re.fullmatch(r"[a-z]+:([0-9.]+)", value) if isinstance(value, str) else None
    return None if found is None else float(found[1])


def some_classes(settings: Config, _: Asked) -> str | None:
    """Classes that it is not trained on."""
    return None if settings.data.only_classes else "is trained on all classes, so that none is new; give only-classes"


def known_sampling(settings: Config, asked: Asked) -> str | None:
    """Choices that the model has of its sampling."""
    kind: Any = registry.find(settings.model)
    try:
        options_of(kind, asked.get("sampling") or {}, f"the model {settings.model}")
    except UsageError as error:
        return f"can't be drawn so: {error}"
    return None


def scikit_learn(_: Config, __: Asked) -> str | None:
    found = find_spec("sklearn")
    return None if found else "would be measured with scikit-learn, which isn't here: pip install scikit-learn"


def sum_of_attributes(_: Config, asked: Asked) -> str | None:
    """Words that can be read as one; which attributes there are, the images say."""
    try:
        for term in parse(str(asked.get("expression", ""))):
            sums.literals(term.text)
    except UsageError as error:
        return f"can't be asked for that: {plain(error)}"
    return None


def sum_with_a_result(_: Config, asked: Asked) -> str | None:
    """One that says of an attribute whether the result has it, and that adds something."""
    terms = parse(str(asked.get("expression", "")))
    try:
        sums.wanted(terms)
    except UsageError as error:
        return f"can't be asked for that: {plain(error)}"
    if not any(term.sign > 0 for term in terms):
        return f"can't be asked for that: '{asked['expression']}' adds nothing; write 'a - b + c'"
    return None


def same_images(runs: Mapping[str, Config]) -> str | None:
    """Of runs that are shown side by side."""

    def seen(settings: Config) -> dict[str, Any]:
        return settings.data.model_dump(exclude={"labels_per_class", "labels_seed"})

    (first, settings), *others = runs.items()
    other = next((name for name, each in others if seen(each) != seen(settings)), None)
    return other and f"{first} and {other} are of other images, and can't give back the same ones"


# ---------------------------------------------------------------------------------------------------------------------
# Images
# ---------------------------------------------------------------------------------------------------------------------


def classes(_: Config, images: Dataset, __: Asked) -> str | None:
    return f"{images.name} has no classes" if images.test.labels is None else None


def several_classes(_: Config, images: Dataset, __: Asked) -> str | None:
    return None if len(images.classes) > 1 else f"{images.name} has no classes to tell apart"


def labelled(_: Config, images: Dataset, __: Asked) -> str | None:
    """Something that a classifier can learn."""
    if len(images.classes) > 1 or images.attributes:
        return None
    return f"{images.name} has neither classes nor attributes for a classifier to learn"


def labelled_beside(_: Config, images: Dataset, __: Asked) -> str | None:
    """A second set whose classes are known."""
    if images.beside is None or images.beside.train.labels is None:
        return f"{images.name} has no labelled images beside it"
    return None


def neighbours(_: Config, images: Dataset, asked: Asked) -> str | None:
    """More test images than vote on each."""
    k, found = asked.get("k", 10), len(images.test)
    return f"{images.name} has {found} test images, too few for {k} neighbours each" if found <= k else None


def at_least(count: int) -> OfImages:
    """Test images."""

    def enough(_: Config, images: Dataset, __: Asked) -> str | None:
        found = len(images.test)
        return f"{images.name} has {found} test images, and this needs {count}" if found < count else None

    return enough


def of_each_class(count: int) -> OfImages:
    """Training images."""

    def enough(_: Config, images: Dataset, __: Asked) -> str | None:
        if images.train.labels is None:
            return f"{images.name} has no classes"
        found = images.train.labels.bincount(minlength=len(images.classes))
        least = int(found.argmin())
        few = f"{images.name} has only {int(found[least])} training images of the class {images.classes[least]}"
        return few if int(found[least]) < count else None

    return enough


def fewer_components(largest: int) -> OfImages:
    """Images that PCA is fitted to, and that a code of this size doesn't give back whole."""

    def fits(settings: Config, images: Dataset, _: Asked) -> str | None:
        size = getattr(settings.options, "latent_dim", 0)
        if images.shape.numbers > largest:
            return f"PCA is fitted to images of up to {largest:,} numbers, and these have {images.shape.numbers:,}"
        if size >= min(images.shape.numbers, len(images.train)):
            return f"with {size:,} components PCA gives every image back"
        return None

    return fits


def attributes(_: Config, images: Dataset, asked: Asked) -> str | None:
    """Those that a sum names."""
    terms = [sums.literals(term.text) for term in parse(str(asked.get("expression", "")))]
    unknown = [name for term in terms for name in term if name not in images.attributes]
    has = ", ".join(images.attributes) or "none"
    return f"{images.name} has no attribute '{unknown[0]}' (it has {has})" if unknown else None


def exemplars(count: int) -> OfImages:
    """Test images of each term of a sum; a model without an encoder finds its own among its samples."""

    def enough(settings: Config, images: Dataset, asked: Asked) -> str | None:
        if not ability.has(registry.find(settings.model), ability.ENCODES):
            return None
        for term in parse(str(asked.get("expression", ""))):
            try:
                found = len(matching(term.text, images, images.test))
            except UsageError as error:
                return plain(error)
            if found < count:
                return f"only {found} test images of {images.name} are '{term.text}'; {count} are needed"
        return None

    return enough


def plain(error: UsageError) -> str:
    """What is wrong with a sum, without the flag by which a command is given it."""
    return str(error).removeprefix("--arithmetic: ")
