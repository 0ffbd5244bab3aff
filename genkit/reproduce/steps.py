"""What a step of a recipe is: its function, the figures that it gives, and what it needs of a run and its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple, TypeAlias

from pydantic import Field

from genkit import registry
from genkit.contract import ability
from genkit.data.dataset import Dataset
from genkit.errors import UsageError
from genkit.evaluate.attributes import literals
from genkit.keep.config import Config
from genkit.latent.arithmetic import parse

Asked: TypeAlias = Mapping[str, Any]
#: A number of things in TOML.
Count = Annotated[int, Field(ge=1)]
Several = Annotated[int, Field(ge=2)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Kind(NamedTuple):
    """A measurement or a picture that a recipe can name.

    Attributes:
        function: given a run (a measure), or the bench and a path (a picture), and the words of the step.
        gives: the figures' names, as patterns of `fnmatch`, in which `{label}` stands for that word of the step.
        needs: each says of a run's configuration why the step can't be taken of it, "has no encoder", or None.
        needs_images: the same of the images.
    """

    function: Callable[..., Any]
    gives: tuple[str, ...] = ()
    needs: tuple[Callable[[Config, Asked], str | None], ...] = ()
    needs_images: tuple[Callable[[Dataset, Asked], str | None], ...] = ()

    def unfit(self, settings: Config, asked: Asked) -> str | None:
        """Why the step can't be taken of a run that is configured so; None where it can."""
        return next((reason for each in self.needs if (reason := each(settings, asked))), None)

    def unfit_images(self, images: Dataset, asked: Asked) -> str | None:
        return next((reason for each in self.needs_images if (reason := each(images, asked))), None)


# ---------------------------------------------------------------------------------------------------------------------
# Of a run
# ---------------------------------------------------------------------------------------------------------------------


def encoder(settings: Config, _: Asked) -> str | None:
    has = ability.has(registry.find(settings.model), ability.ENCODES)
    return None if has else f"is of the model {settings.model}, which has no encoder"


def images(settings: Config, _: Asked) -> str | None:
    makes = ability.has(registry.find(settings.model), ability.GENERATES)
    return None if makes else f"is of the model {settings.model}, which makes no images"


def posterior(settings: Config, _: Asked) -> str | None:
    has = ability.has(registry.find(settings.model), ability.LIKELIHOOD)
    return None if has else f"is of the model {settings.model}, which doesn't say how likely an image is"


def answers(settings: Config, _: Asked) -> str | None:
    tells = ability.has(registry.find(settings.model), ability.CLASSIFIES)
    return None if tells else f"is of the model {settings.model}, which gives no answers that could be wrong"


def linear(settings: Config, _: Asked) -> str | None:
    hidden = getattr(settings.options, "hidden", None)
    return None if hidden == () else "isn't linear, so there is no subspace to compare with PCA's; give hidden = []"


def plane(settings: Config, _: Asked) -> str | None:
    size = getattr(settings.options, "latent_dim", 0)
    return None if size == 2 else f"has a code of {size} numbers, and only one of 2 can be shown whole"


# ---------------------------------------------------------------------------------------------------------------------
# Of images
# ---------------------------------------------------------------------------------------------------------------------


def classes(images: Dataset, _: Asked) -> str | None:
    return f"{images.name} has no classes" if images.test.labels is None else None


def attributes(images: Dataset, asked: Asked) -> str | None:
    try:
        terms = [literals(term.text) for term in parse(str(asked.get("expression", "")))]
    except UsageError as error:
        return str(error).removeprefix("--arithmetic: ")
    unknown = [name for term in terms for name in term if name not in images.attributes]
    has = ", ".join(images.attributes) or "none"
    return f"{images.name} has no attribute '{unknown[0]}' (it has {has})" if unknown else None
