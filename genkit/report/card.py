"""A run in words: title, the sentence below it, card, settings, and what to type to go on."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from genkit.contract import ability
from genkit.data import choice
from genkit.data.dataset import Dataset
from genkit.evaluate import table as words
from genkit.evaluate.figure import Figure, Name
from genkit.options import as_text, is_flag
from genkit.report.account import Account
from genkit.report.blocks import Block, Cell, Code, Missing, Table, last_part
from genkit.report.evaluations import RECOGNISED
from genkit.run.validation import OF_TRAINING
from genkit.wording import OF_A_DENSITY, counted

#: The figures that say most about a model, the first ones of which there are stand in the sentence below the title.
TELLING = tuple(map(Name, ("likelihood/nll", "likelihood/neg_elbo", "reconstruction/squared_error", "samples/frechet")))
TOLD = 2
#: Models' names as they are spoken.
SPOKEN = {"ae": "autoencoder", "conv-ae": "convolutional autoencoder", "vae": "VAE", "dcgan": "DCGAN"}
#: What most of a command is quoted by; longer ones are cut.
LONGEST = 2000
#: The settings that may be paths.
PATHS = {"dataset", "beside", "out", "init_from"}


def sentence(account: Account) -> str:
    """What the run is, in one sentence: "A VAE, trained for 4 epochs on 54,000 images of mnist; its … is …"."""
    about = account.description
    kind = SPOKEN.get(account.kind, account.kind)
    article = "An" if kind[0].lower() in "aeiou" else "A"
    count = f"{counted(len(account.dataset.train), 'image')} of " if isinstance(account.dataset, Dataset) else ""
    data, second = data_name(account), account.description.data.beside
    beside = f" beside {last_part(second)}" if second else ""
    began = f"{article} {kind} of {about.image.channels}×{about.image.height}×{about.image.width} images, trained for "
    return f"{began}{epochs_of(account)} on {count}{data}{beside}{told(account)}."


def data_name(account: Account) -> str:
    """A named set's name, or the last part of a path."""
    return last_part(account.description.data.dataset)


def told(account: Account) -> str:
    """The one or two figures that say most, with the images that they were measured on."""
    evaluation = account.own_evaluation
    of_topics: dict[str, Figure] = {}
    for name in TELLING:
        if evaluation is not None and name in evaluation.figures:
            of_topics.setdefault(name.topic, evaluation.figures[name])
    figures = list(of_topics.values())[:TOLD]
    if figures and evaluation is not None:
        on = evaluation.on
        said = " and ".join(in_a_sentence(each, on.images) for each in figures)
        every = choice.taken(account.dataset, on.split) if isinstance(account.dataset, Dataset) else None
        which = f"{on.images:,} of its" if every is not None and on.images < len(every) else "its"
        return f": {said}, measured on {which} {choice.of_split(on.split)}images"
    monitor, history = account.description.monitor, account.history
    value, which = account.description.metrics.get(f"val/{monitor}"), "validation"
    if not isinstance(history, Missing) and monitor in history.test and history.tested_step == account.description.step:
        value, which = history.test[monitor], "test"
    which = "training" if monitor.startswith(OF_TRAINING) else which
    if value is None:
        return ""
    note = f" ({OF_A_DENSITY})" if account.description.density and value < 0 else ""
    return f": {words.in_words(monitor.rpartition('/')[2])} {value:.4g}{note} on its {which} images"


def in_a_sentence(figure: Figure, images: int) -> str:
    """`NLL 101.4 ± 1.0 nats an image (of 1,000)`: name, value, unit, and of how many images, if not of all."""
    count = figure.conditions.get("n", images)
    fewer = f"(of {count:,})" if isinstance(count, int) and count < images else ""
    unit = figure.unit.partition(",")[0]
    parts = (words.in_words(Name(figure.name).within), words.shown(figure), unit, fewer)
    return " ".join(part for part in parts if part)


def card(accounts: Sequence[Account]) -> list[Block]:
    """What decides what was measured and seen below."""
    rows = []
    for name, of in ROWS.items():
        cells = [of(each) for each in accounts]
        if any(cells):
            rows.append([Cell(name), *(Cell(text or "–") for text in cells)])
    parts = [part for account in accounts for part in (account.environment, account.dataset)]
    missing = dict.fromkeys(part.why for part in parts if isinstance(part, Missing))
    return [Table("The card", heads(accounts), rows, titled=False), *(Missing(why) for why in missing)]


def heads(accounts: Sequence[Account], corner: str = "") -> list[Cell]:
    """The heads of a table of several runs; of one run none."""
    return [Cell(corner), *(Cell(each.name) for each in accounts)] if len(accounts) > 1 else []


def model_of(account: Account) -> str:
    size = getattr(account.model.options, "latent_dim", None)
    latent = "" if size is None else f", {counted(size, 'number')} a code"
    return f"{account.kind}{latent}"


def data_of(account: Account) -> str:
    dataset = account.dataset
    if isinstance(dataset, Missing):
        return data_name(account)
    counts = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits().items())
    return f"{data_name(account)}: {counts}"


def labels_of(account: Account) -> str:
    about = account.description
    parts = [f"{counted(len(about.classes), 'class')} ({shortened(about.classes)})"] if about.classes else []
    parts += [f"attributes {shortened(about.attributes)}"] if about.attributes else []
    return "; ".join(parts) or "none"


def shortened(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def seed_of(account: Account) -> str:
    return "" if isinstance(account.config, Missing) else str(account.config.run.seed)


def trained(account: Account) -> str:
    about = account.description
    return f"{counted(about.step, 'step')}, {epochs_of(account)}, {duration(about.seconds)}"


def epochs_of(account: Account) -> str:
    epochs = account.description.epoch
    return counted(epochs, "epoch")


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def checkpoint_of(account: Account) -> str:
    monitor = f"val/{account.description.monitor}"
    value = account.description.metrics.get(monitor)
    best = "" if value is None else f", {monitor} {value:.5g}"
    which = "" if account.which == "this" else f" ({account.which})"
    return f"{account.opened.checkpoint.path.name}{which}, sha256 {account.opened.digest[:RECOGNISED]}{best}"


def environment_of(*keys: str) -> Callable[[Account], str]:
    """What environment.json says under these keys."""

    def said(account: Account) -> str:
        found = {} if isinstance(account.environment, Missing) else account.environment
        # Anybody may have written it: only what has a short form in one line is shown.
        plain = {key: found[key] for key in keys if isinstance(found.get(key), str | int | float)}
        texts = [str(value)[:200] if len(keys) == 1 else f"{key} {value}"[:200] for key, value in plain.items()]
        return ", ".join(texts)

    return said


def command_of(account: Account) -> str:
    if isinstance(account.environment, Missing):
        return ""
    words = account.environment.get("command")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return ""
    return shlex.join(["genkit", *map(word, words[1:])])[:LONGEST]


def word(typed: str) -> str:
    """A word of a command line, of a path the last part: `--out=/home/me/runs` is `--out=runs`."""
    option, equals, value = typed.partition("=") if typed.startswith("--") else ("", "", typed)
    return f"{option}{equals}{last_part(value)}"


ROWS: dict[str, Callable[[Account], str]] = {
    "model": model_of,
    "weights": lambda account: f"{account.opened.weights:,}",
    "data": data_of,
    "beside": lambda account: last_part(account.description.data.beside or ""),
    "image": lambda account: str(account.model.image),
    "labels": labels_of,
    "seed": seed_of,
    "trained": trained,
    "checkpoint": checkpoint_of,
    "versions": environment_of("genkit", "torch", "python", "cuda"),
    "revision": environment_of("revision"),
    "device": environment_of("device"),
    "command": command_of,
}


def settings(accounts: Sequence[Account]) -> list[Block]:
    """Every option: first those that were set, or that differ between the runs; the defaults folded away."""
    values = [values_of(each) for each in accounts]
    names = list(dict.fromkeys(name for each in values for name in each))
    notable: list[list[Cell]] = []
    plain: list[list[Cell]] = []
    for name in names:
        found = [each.get(name) for each in values]
        texts = {text for text, _ in filter(None, found)}
        differs = len(texts) > 1  # an option that another model hasn't got is no difference
        given = any(source not in ("", "default") for _, source in filter(None, found))
        row = [Cell(name.replace("_", "-")), *(setting(each, differs) for each in found)]
        if len(accounts) == 1:
            row.append(Cell(found[0][1] if found[0] else "", faint=True))
        (notable if given or differs else plain).append(row)
    missing = [
        Missing(f"{each.config.why}, so nobody knows what was given")
        for each in accounts
        if isinstance(each.config, Missing)
    ]
    head = heads(accounts, "option") or [Cell("option"), Cell("value"), Cell("from")]
    told = "Set, or different between the runs" if len(accounts) > 1 else "Set for this run"
    tables = [Table(told, head, notable)] if notable else []
    if plain:
        unknown = all(isinstance(each.config, Missing) for each in accounts)
        name = "options" if unknown else "options at their defaults"
        tables.append(Table("All other options", head, plain, folded=f"{len(plain)} {name}"))
    return [*tables, *missing]


def setting(found: tuple[str, str] | None, differs: bool) -> Cell:
    if found is None:
        return Cell("–")
    text, source = found
    return Cell(text, strong=source not in ("", "default") or differs)


def values_of(account: Account) -> dict[str, tuple[str, str]]:
    """Option -> its value as a flag takes it, and where it came from; from the checkpoint where there is no config.

    What the data or another run has filled in is no option that anybody can set.
    """
    config, about = account.config, account.description
    if isinstance(config, Missing):
        values: dict[str, Any] = {**about.data.model_dump(), **about.options}
        sources = dict.fromkeys(values, "")
    else:
        values = config.values()
        sources = {name: config.source_in_words(name) for name in values}
    filled_in = {name for name, field in type(account.model.options).model_fields.items() if not is_flag(field)}
    return {name: (valued(name, value), sources[name]) for name, value in values.items() if name not in filled_in}


def valued(name: str, value: object) -> str:
    return last_part(value) if name in PATHS and isinstance(value, str) else as_text(value)


def uses(account: Account) -> list[Block]:
    """How to load the model in Python, and the commands to go on."""
    path = located(account.path)
    quoted = shlex.quote(path)
    generative, encodes = ability.generates(account.model), ability.encodes(account.model)
    load = ["import genkit", f"model = genkit.load({json.dumps(path, ensure_ascii=False)})"]
    if generative:
        load += [f"images = model.sample(16, seed=0)  # (16, {', '.join(map(str, account.model.image))}) in [0, 1]"]
    elif encodes:
        load += ["codes = model.encode(images)"]
    elif ability.classifies(account.model):
        load += ["probabilities = model.classify(images)"]
    commands = [f"genkit embed {quoted} --method tsne", f"genkit evaluate {quoted}", f"genkit info {quoted}"]
    if generative or encodes:
        commands.insert(0, f"genkit explore {quoted}")
    if generative:
        commands = [f"genkit sample {quoted}", f"genkit sample {quoted} --interpolate", *commands]
    if account.opened.run is not None:
        run, (length, value) = shlex.quote(located(account.opened.run.path)), account.model.options.length
        commands.append(f"genkit train --resume {run} --{length} {2 * value}")
    blocks: list[Block] = [Code(commands, "At the command line")]
    return [Code(load, "In Python"), *blocks] if len(load) > 2 else blocks


def located(path: Path) -> str:
    """A path as it is typed here where it lies below this folder, and else in the folder that it or its run lies in."""
    path = path.resolve()
    try:
        return os.fspath(path.relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(Path(*path.parts[-3:])) if path.parent.name == "checkpoints" else path.name
