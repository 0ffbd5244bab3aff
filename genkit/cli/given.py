"""What a person gives a model besides codes: --class, --condition and --set, and what they come to for a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from genkit.cli.command import Command
from genkit.cli.shared import loading
from genkit.errors import GenkitError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from genkit.keep.opened import Opened
    from genkit.latent.condition import Conditions, Wanted

logger = logging.getLogger("genkit")

#: Where `ModelCommand` keeps the RUN that a person asks help for.
ASKED = "genkit.run"

class_option = click.option(
    "--class",
    "class",
    metavar="NAME",
    help="All of this class: of a model whose decoder takes one, or of seeds whose codes are drawn by class.",
)
prior_option = click.option(
    "--prior",
    type=click.Choice(["own", "fitted"]),
    help="What seeds' codes are drawn by: the model's own prior, or what was fitted to its codes.  "
    "[default: fitted, where it is kept]",
)
condition_option = click.option(
    "--condition",
    metavar="EXPR|FILE",
    help="Of a model whose decoder takes attributes: 'male&glasses&!hat', those that aren't named staying as they are "
    "(of a file: not there); of one that takes an image, its file.",
)
set_option = click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="An option of the model's own sampling; may be repeated. --help after RUN lists them.",
)


class ModelCommand(Command):
    """A command whose help also lists what the named run's model can be told with --set."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        if not set(context.help_option_names).isdisjoint(arguments):
            with suppress(click.UsageError):  # help is shown all the same
                context.meta[ASKED] = self.make_parser(context).parse_args(list(arguments))[0].get("run")
        return super().parse_args(context, arguments)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(context, formatter)
        run = context.meta.get(ASKED)
        if isinstance(run, str):
            with formatter.section(f"With --set, of {run}"):
                formatter.write_dl(settings_of(run, context))


def settings_of(run: str, context: click.Context) -> list[tuple[str, str]]:
    """What a run's model can be told with --set, each with its help, for a list of definitions."""
    with loading():
        from genkit import options, registry
        from genkit.contract import SamplingOptions
        from genkit.keep import description, rundir

        try:
            model = rundir.find(run).first_whole(description.describe).model
            kind = getattr(registry.find(model), "Sampling", SamplingOptions)
        except GenkitError as error:
            return [("nothing", str(error))]
    rows = []
    for about in options.describe(kind):
        _, words = options.Flag(about).get_help_record(context) or ("", "")
        value = "true|false" if about.kind == "switch" else "|".join(about.choices) or about.metavar or "TEXT"
        rows.append((f"{about.name.replace('_', '-')}={value}", words))
    return rows or [("nothing", f"a {model} has no options of its sampling")]


def apply_settings(opened: Opened, settings: Sequence[str]) -> None:
    """Have the model make images with these NAME=VALUE, and the defaults of all others.

    Raises:
        UsageError: when there is no such option, or it can't have this value.
    """
    from genkit.latent import sampling

    values = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {text}: write it like --set steps=50")
        if name.strip() in values:
            raise UsageError(f"--set {name.strip()} is given twice; leave one of them out")
        values[name.strip().replace("-", "_")] = value.strip()
    if values:
        model = opened.generator
        model.sampling = sampling.options_of(model, values, f"a {opened.checkpoint.description.model}", "--set ")


def apply_prior(opened: Opened, prior: str | None) -> None:
    """Have the model draw codes by the prior that the person named.

    Raises:
        UsageError: when there is no fitted one.
    """
    from genkit.contract import ability

    if prior is None:
        return
    model = opened.generator
    if prior == "own":
        model.draw_by(None)
    elif not ability.takes_prior(model):
        why = f"{opened.name} is a {opened.kind}, which {ability.without_prior(model)}"
        raise UsageError(f"--prior fitted: {why}; leave it out")
    elif model.fitted is None:
        raise UsageError(f"--prior fitted: none is kept with {opened.name}; genkit fit-prior {opened.place} fits one")


class Told:
    """What an opened run's decoder is told of each image, by what the person gave and what is known of the image.

    Of a model whose decoder is told nothing, a class may still say which codes are drawn, where the prior that was
    fitted to them knows classes.

    Attributes:
        drawn: the class whose codes seeds have, as somebody gave it to such a model.
        conditions: None of a model that takes no condition, which every method then gives, too.
        wanted: what the person gave; None where they gave nothing.
    """

    def __init__(self, opened: Opened, class_name: str | None, condition: str | None, prior: str | None = None):
        """
        Args:
            prior: that codes are drawn by, as the person named it.

        Raises:
            UsageError: when the model takes no such thing, or there is no such class or attribute.
        """
        from genkit.latent import sampling
        from genkit.latent.condition import Conditions

        about = opened.checkpoint.description
        self.opened = opened
        self.conditions: Conditions | None = Conditions.of(opened.model, about.classes, about.attributes)
        self.wanted: Wanted | None = None
        self.said = False  # what is taken for granted of files
        self.drawn: int | None = None
        self.by_own = prior == "own"
        if class_name is not None and self.conditions is None:
            self.drawn = self.drawable("--class").class_of(class_name)
            sampling.require_class(opened.generator, self.drawn, class_name)
        elif class_name is not None:
            self.wanted = self.require("--class").class_of(class_name)
        if condition is not None:
            kind = self.require("--condition").condition.kind
            if class_name is not None:
                raise UsageError("--class and --condition are of different models; give the one that this model takes")
            self.wanted = self.image(condition) if kind == "image" else self.attributes(condition)

    def require(self, flag: str) -> Conditions:
        """What the model takes, for a flag that says it.

        Raises:
            UsageError: when it takes nothing.
        """
        if self.conditions is None:
            kind = self.opened.checkpoint.description.model
            raise UsageError(f"{flag}: {self.opened.name} is a {kind} that takes no condition; leave {flag} out")
        return self.conditions

    def drawable(self, flag: str) -> Conditions:
        """The classes whose codes can be drawn of a model that takes no condition, for a flag that names some.

        Raises:
            UsageError: when there are none.
        """
        from genkit.contract import ability
        from genkit.latent.condition import Conditions

        about, model = self.opened.checkpoint.description, self.opened.model
        found = Conditions.drawn_by(model, about.classes)
        if found is not None:
            return found
        where = f"{flag}: {self.opened.name} is a {about.model} that takes no condition, and"
        if self.by_own and about.classes:
            raise UsageError(f"{where} its own prior knows no classes; leave --prior own out")
        if getattr(model, "fitted", None) is None and about.classes and ability.takes_prior(model):
            raise UsageError(f"{where} no prior is fitted to its codes; genkit fit-prior {self.opened.place} fits one")
        raise UsageError(f"{where} its codes aren't known by class; leave {flag} out")

    def codes_of(self, seeds: Sequence[int], condition: Tensor | None) -> Tensor:
        """The codes (N, latent_dim) of seeds whose conditions these are, of the class that the person named."""
        import torch

        from genkit.latent import sampling

        classes = None if self.drawn is None else torch.full((len(seeds),), self.drawn)
        return sampling.seed_codes(self.opened.generator, seeds, condition, classes)

    def require_seeds(self, there: bool) -> None:
        """Refuse a class of codes to be drawn where none are drawn.

        Raises:
            UsageError
        """
        if self.drawn is not None and not there:
            kind = self.opened.checkpoint.description.model
            raise UsageError(
                f"--class: {self.opened.name} is a {kind} whose decoder takes no condition: a class is of codes that "
                "are drawn, of seeds; leave it out"
            )

    def attributes(self, text: str) -> Wanted:
        return self.require("--condition").attributes_of(text)

    def image(self, path: str) -> Tensor:
        from genkit.latent import images

        shape = self.require("--condition").condition.shape
        assert shape is not None  # of an image it is known
        return images.read_image(path, self.opened.form._replace(shape=shape))

    def of_seeds(self, seeds: Sequence[int]) -> Tensor | None:
        """The conditions of seeds: their own, as far as nothing else was given."""
        from genkit.latent import sampling

        if self.conditions is None:
            return None
        if self.conditions.condition.kind == "image":
            if self.wanted is None:
                raise UsageError("the model's decoder takes an image; give one with --condition FILE")
            return self.conditions.rows(self.wanted, None, len(seeds))
        return self.conditions.rows(self.wanted, sampling.seed_conditions(self.opened.generator, seeds), len(seeds))

    def of_files(self, names: Sequence[str]) -> Tensor | None:
        """The conditions of image files, of which nothing is known.

        Raises:
            UsageError: when nothing was given.
        """
        if self.conditions is None:
            return None
        rows = self.conditions.rows(self.wanted, None, len(names))
        if rows is None:
            flag = {"class": "--class", "attributes": "--condition", "image": "--condition"}
            kind = self.conditions.condition.kind
            what = {"class": "class", "attributes": "attributes", "image": "condition"}[kind]
            raise UsageError(f"{names[0]}: the model has to be told an image's {what}; say it with {flag[kind]}")
        if isinstance(self.wanted, Mapping) and not self.said:
            others = [name for column, name in enumerate(self.conditions.names) if column not in self.wanted]
            if others:
                logger.info(
                    "of a file nothing is known: what --condition doesn't name is absent: %s", ", ".join(others)
                )
            self.said = True
        return rows

    def changed(self, own: Tensor | None) -> Tensor | None:
        """Known conditions (N, …), as far as nothing else was given."""
        return None if self.conditions is None or own is None else self.conditions.rows(self.wanted, own, len(own))

    def one(self, own: Tensor | None, what: str) -> tuple[Tensor | None, str, list[str]]:
        """The one condition (1, …) of a picture whose codes have those of `own`: that of the first, where they differ.

        Returns:
            Also how it is called in the picture's title, and what is to be said of the choice.
        """
        from genkit.latent.condition import shared

        rows = self.changed(own)
        if rows is None or self.conditions is None:
            named = "" if self.drawn is None else self.drawable("--class").names[self.drawn]
            return None, f", class {named}" if named else "", []
        words = self.conditions.in_words(rows[0])
        flag = "--class" if self.conditions.condition.kind == "class" else "--condition"
        notes = [] if shared(rows) else [f"{what} keeps {words}, which its first code has; {flag} names another"]
        return rows[:1], f", {words}", notes

    def wanted_in_words(self) -> str:
        """What the person gave, for the title of a picture: `, decoded as class 7`; nothing where they gave nothing."""
        if self.wanted is None or self.conditions is None:
            return ""
        if isinstance(self.wanted, Mapping):
            names = self.conditions.names
            parts = [f"{'' if value else '!'}{names[column]}" for column, value in self.wanted.items()]
            return f", decoded as {'&'.join(parts)}"
        rows = self.conditions.rows(self.wanted, None, 1)
        assert rows is not None  # something is wanted
        return f", decoded as {self.conditions.in_words(rows[0])}"

    def drawn_in_words(self, classes: Tensor | None) -> list[str] | None:
        """The classes (N,) whose codes were drawn, each once."""
        if classes is None:
            return None
        names = self.drawable("--class").names
        return list(dict.fromkeys(f"class {names[each]}" for each in classes.tolist()))

    def in_words(self, conditions: Tensor | None) -> list[str] | None:
        """What there is among conditions (N, …), each once, in the order in which it comes."""
        if self.conditions is None or conditions is None:
            return None
        if self.conditions.condition.kind == "image":
            return ["an image"]
        return list(dict.fromkeys(self.conditions.in_words(row) for row in conditions))
