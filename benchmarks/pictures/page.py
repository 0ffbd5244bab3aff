"""docs/pictures.md, from what each contender came to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

#: What one contender came to: `values` by name, and how.
Found = dict[str, Any]
#: Of each row: `title`, `minutes`, `images`, and `contenders` by name.
Results = dict[str, dict[str, Any]]

EARLIER = ("earlier dcgan", "earlier vae")
#: Sizes of the sets of the row `sets`, cut from MNIST, and its contenders.
COUNTS = (60, 250, 1000, 5000, 20_000, 60_000)
SETS = tuple(f"{count:,} {model}" for count in COUNTS for model in ("ae", "vae"))


class Figure(NamedTuple):
    """A line of the table.

    Attributes:
        value: of the contenders' values, the one it is about.
        ours: the contender, chosen before anything is measured.
        theirs: those that it is held against, if any; the best of them counts.
        how: "value", "ratio" to theirs, "excess": the ratio of what is above the floor, "difference" from theirs.
        bar, reach: what is asked for, and what is aimed at.
        most: whether more is better.
        other: their value's name, if it isn't ours.
    """

    row: str
    text: str
    value: str
    ours: str
    theirs: tuple[str, ...] = ()
    how: str = "value"
    bar: float | None = None
    reach: float | None = None
    most: bool = False
    other: str = ""


VAE, FLOW, GAN = "genkit vae", "genkit flow", "genkit dcgan"
CIFAR = "CIFAR-10, 20 minutes: kernel distance of the default dcgan over that of"
FIGURES = [
    Figure("cifar", f"{CIFAR} the best of genkit before", "kernel", GAN, EARLIER, "ratio", 0.5, 0.3),
    Figure(
        "cifar",
        f"{CIFAR} denoising-diffusion-pytorch",
        "kernel",
        GAN,
        ("denoising-diffusion-pytorch",),
        "ratio",
        0.7,
        0.5,
    ),
    Figure("cifar", f"{CIFAR} the DCGAN example", "kernel", GAN, ("DCGAN example",), "ratio", 0.5, 0.3),
    Figure(
        "cifar-vae",
        "CIFAR-10, default VAE, 10 minutes: squared error of reconstructions over PCA's with as many numbers",
        "against_pca",
        VAE,
        bar=1.0,
        reach=0.85,
    ),
    Figure(
        "olivetti",
        "400 faces of 64×64, 5 minutes: squared error of the default VAE's reconstructions over PCA's",
        "against_pca",
        VAE,
        bar=1.0,
        reach=0.8,
    ),
    Figure(
        "olivetti",
        "400 faces of 64×64, 5 minutes: distance of its samples to the nearest other one over that of real images",
        "diversity",
        VAE,
        bar=0.7,
        reach=0.9,
        most=True,
    ),
    Figure(
        "faces",
        "`faces` at 32×32, 15 minutes: kernel distance of dcgan above its floor over that of the dcgan before",
        "kernel",
        GAN,
        ("earlier dcgan",),
        "excess",
        0.5,
        0.0,
    ),
    Figure("mnist", "MNIST, 5 minutes: kernel distance of the default dcgan", "kernel", GAN, bar=0.03, reach=0.015),
    Figure("flow", "flow on MNIST, 20 minutes: kernel distance", "kernel", FLOW, bar=0.03, reach=0.015),
    Figure(
        "flow",
        "flow on MNIST: mean squared error of a number of a pixel after 25 steps there and back",
        "round_trip",
        FLOW,
        bar=0.001,
    ),
    Figure(
        "flow",
        "flow on MNIST: the judge's confidence in a walk's midpoints above that in pixel averages",
        "clearer",
        FLOW,
        bar=0.05,
        most=True,
    ),
    Figure(
        "flow",
        "flow on MNIST: bits a number by the ODE less a VAE's bound on the same 128 images",
        "likelihood/ode_nll_bits",
        FLOW,
        ("genkit vae of grey values",),
        "difference",
        0.0,
        other="likelihood/neg_elbo_of_nll_images_bits",
    ),
    Figure(
        "classes",
        "MNIST, 5 minutes, samples of a class by dcgan: share in which the judge sees it",
        "agreement",
        GAN,
        bar=0.97,
        reach=0.99,
        most=True,
    ),
    Figure(
        "elbo",
        "MNIST, −ELBO of the default VAE less that before",
        "test/neg_elbo",
        VAE,
        ("earlier vae",),
        "difference",
        0.0,
    ),
]
#: Above these shares of the mean image's error, and PCA's, a model is worse than that: as `genkit train` counts.
WORSE_THAN_MEAN, WORSE_THAN_PCA = 1.0, 1.1
NOT_YET = "not measured yet"
#: What is kept as the version of a contender that is the genkit of its `environment`'s revision.
CURRENT = "this revision"
HEADINGS = (
    "contender",
    "settings",
    "steps",
    "training",
    "CPU",
    "samples",
    "kernel distance",
    "diversity",
    "more",
)
#: Values that have no column of their own, as far as the page has them.
NAMES = {
    "against_pca": "error over PCA's",
    "against_mean": "error over the mean image's",
    "agreement": "agreement",
    "round_trip": "round trip",
    "confidence": "confidence of midpoints",
    "confidence_of_averages": "of pixel averages",
    "likelihood/ode_nll_bits": "bits a number",
    "likelihood/neg_elbo_bits": "bound in bits a number",
    "likelihood/neg_elbo_of_nll_images_bits": "bound of 128 images",
    "test/neg_elbo": "−ELBO",
    "frechet": "Fréchet distance",
    "coverage": "coverage",
    "smallest_share": "smallest class",
}


def measured(results: Results, row: str, names: tuple[str, ...], value: str) -> dict[str, float]:
    """Of those contenders that were measured, this value, by name."""
    found = results.get(row, {}).get("contenders", {})
    values = {name: found[name].get("values", {}).get(value) for name in names if name in found}
    return {name: each for name, each in values.items() if each is not None}


class Number(NamedTuple):
    """What a figure came to, against whom, and its standard error, where both sides have one."""

    value: float
    rival: str = ""
    error: float | None = None


def waiting_for(figure: Figure, results: Results) -> list[str]:
    """The contenders of a figure that haven't been tried yet, without which it says nothing."""
    found = results.get(figure.row, {}).get("contenders", {})
    return [name for name in (figure.ours, *figure.theirs) if name not in found]


def failed(figure: Figure, results: Results) -> list[str]:
    """The contenders of a figure that have been tried, and have no value."""
    there = measured(results, figure.row, (figure.ours,), figure.value)
    there |= measured(results, figure.row, figure.theirs, figure.other or figure.value)
    tried = results.get(figure.row, {}).get("contenders", {})
    return [name for name in (figure.ours, *figure.theirs) if name in tried and name not in there]


def number_of(figure: Figure, results: Results) -> Number | None:
    """A figure's number; None where a contender isn't measured yet, or nobody is left to be held against another."""
    ours = measured(results, figure.row, (figure.ours,), figure.value)
    if not ours or waiting_for(figure, results):
        return None
    mine = ours[figure.ours]
    if figure.how == "value":
        return Number(mine)
    value = figure.other or figure.value
    theirs = measured(results, figure.row, figure.theirs, value)
    if not theirs:
        return None
    name = (max if figure.most else min)(theirs, key=theirs.__getitem__)
    if figure.how == "difference":
        errors = [
            *measured(results, figure.row, (figure.ours,), f"{figure.value}_error").values(),
            *measured(results, figure.row, (name,), f"{value}_error").values(),
        ]
        # As if they were independent: of the same images they are nearer to each other than that.
        return Number(mine - theirs[name], name, math.hypot(*errors) if len(errors) == 2 else None)
    under = 0.0
    if figure.how == "excess":
        under = measured(results, figure.row, (figure.ours,), "kernel_floor").get(figure.ours, 0.0)
    return Number(max(0.0, mine - under) / max(1e-9, theirs[name] - under), name)


def shown(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def table(results: Results) -> str:
    """Figure, bar, reach, what was measured, and the best of those that it is held against."""
    lines = ["| figure | bar | reach | measured | against |", "|---|---|---|---|---|"]
    for figure in FIGURES:
        sign = "≥" if figure.most else "≤"
        asked = ["" if each is None else f"{sign} {each:g}" for each in (figure.bar, figure.reach)]
        found, lost = number_of(figure, results), failed(figure, results)
        without = f"failed: {', '.join(lost)}" if lost else ""
        if found is None:
            text = NOT_YET if waiting_for(figure, results) else without
            lines.append(f"| {figure.text} | {asked[0]} | {asked[1]} | {text} | |")
            continue
        number, rival, error = found
        met = figure.bar is not None and (number >= figure.bar if figure.most else number <= figure.bar)
        text = f"**{shown(number)}**" if met and not lost else shown(number)
        text += "" if error is None else f" ± {shown(error)}"
        text += f" ({without})" if lost else ""
        lines.append(f"| {figure.text} | {asked[0]} | {asked[1]} | {text} | {rival} |")
    untold, tried = untold_of(results), len(results.get("sets", {}).get("contenders", {}))
    text = NOT_YET if untold is None else f"**{untold}**" if untold == 0 else str(untold)
    if untold is not None and tried < len(SETS):
        text = f"{untold} of the {tried} of {len(SETS)} that are measured"
    lines.append(
        "| sets of 60 to 60,000 images, defaults: how many models are worse than the mean image, or PCA, without a "
        f"warning | ≤ 0 | | {text} | |"
    )
    return "\n".join(lines)


def untold_of(results: Results) -> int | None:
    """How many of the sets' models are worse than the mean image or PCA without being told so, or failed."""
    found = results.get("sets", {}).get("contenders", {})
    if not found:
        return None
    count = 0
    for each in found.values():
        values = each.get("values", {})
        worse = (values.get("against_mean") or 0) > WORSE_THAN_MEAN or (values.get("against_pca") or 0) > WORSE_THAN_PCA
        unknown = values.get("against_mean") is None and values.get("against_pca") is None
        count += unknown or (worse and not values.get("told"))
    return count


def contenders(row: dict[str, Any]) -> str:
    """What each contender of a row came to."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + "---|" * len(HEADINGS)]
    for name, found in row["contenders"].items():
        if failed := found.get("failed"):
            lines.append(f"| {name} | failed: {failed} |" + " |" * (len(HEADINGS) - 2))
            continue
        values = found["values"]
        kernel = ""
        if values.get("kernel") is not None:
            kernel = f"{values['kernel']:.4f} ± {values['kernel_error']:.4f}"
        more = [f"{text} {shown(values[key])}" for key, text in NAMES.items() if values.get(key) is not None]
        cells = [
            name,
            ", ".join(filter(None, [found.get("settings"), version_of(found)])),
            f"{found.get('steps', 0):,}",
            f"{found['seconds']:,.0f} s",
            f"{found['cpu_seconds']:,.0f} s",
            f"{values['samples']:,}" if "samples" in values else "",
            kernel,
            shown(values["diversity"]) if "diversity" in values else "",
            "; ".join(more),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def version_of(found: Found) -> str | None:
    """Which version of a program was measured; of genkit, the revision."""
    revision = found.get("environment", {}).get("revision")
    return f"revision {revision}" if found.get("version") == CURRENT else found.get("version")


def revisions(row: dict[str, Any]) -> set[str]:
    """The revisions of genkit that a row's figures are of, but the earlier one."""
    return {version_of(each) or "" for each in row["contenders"].values() if each.get("version") == CURRENT}


def from_data(row: dict[str, Any]) -> Iterator[str]:
    """What genkit's defaults were resolved to by the images."""
    for name, found in row["contenders"].items():
        if options := found.get("from_data"):
            yield f"- *{name}*: {', '.join(f'{key} {value}' for key, value in options.items())}"


def section(name: str, row: dict[str, Any]) -> str:
    minutes = f", {row['minutes']:g} minutes each" if row["minutes"] else ", as long as the defaults say"
    threads = sorted({each["asked"]["threads"] for each in row["contenders"].values()})
    minutes += f", on {' or '.join(map(str, threads))} thread{'' if threads == [1] else 's'}"
    judge, floor = common(row, "judge"), common(row, "kernel_floor")
    lines = [f"## {row['title']}", "", f"`ROWS={name}`: {row['images']}{minutes}."]
    if judge is not None:
        lines[-1] += f" The judge is the {judge}; between real images the kernel distance is {floor:.4f}."
    lines += ["", contenders(row)]
    if len(revisions(row)) > 1:
        lines += ["", "These are of several revisions of genkit: `make pictures` with `--again` measures all anew."]
    if options := list(from_data(row)):
        lines += ["", "What the images suggested:", "", *options]
    for contender, found in row["contenders"].items():
        if picture := found.get("picture"):
            lines += ["", f"![samples of {contender}](pictures/{picture})", "", f"*{contender}*"]
    return "\n".join(lines)


def common(row: dict[str, Any], value: str) -> Any:
    """A value that all contenders of a row have in common, of the first that has it."""
    return next(
        (v for each in row["contenders"].values() if (v := each.get("values", {}).get(value)) is not None), None
    )


def environments(results: Results) -> str:
    """Where and when all that was measured."""
    found: dict[str, list[str]] = {}
    for name, row in results.items():
        for contender, each in row["contenders"].items():
            if about := each.get("environment"):
                text = (
                    f"{about['day']} at revision {about['revision']}, {about['cpu']} with {about['cores']} cores, "
                    f"{about['system']}, Python {about['python']}, torch {about['torch']}"
                )
                found.setdefault(text, []).append(f"{name}/{contender} ({about['load']})")
    return "\n".join(f"- {text}; with the load before each: {', '.join(those)}" for text, those in found.items())


def page(results: Results, smoke: bool = False) -> str:
    sections = "\n\n".join(section(name, row) for name, row in results.items() if row["contenders"])
    where = environments(results)
    return f"""# Pictures{" (a smoke run: these numbers mean nothing)" if smoke else ""}

What genkit draws by its defaults, beside others that were given the same minutes on the same machine, as measured by
`make pictures`, which writes this page and [pictures.json](pictures.json). `make pictures ROWS=cifar,faces` measures
these rows alone; what is measured already stays. GENKIT_DATA says where CIFAR-10 and MNIST lie.

{table(results)}

Bold is what reaches its bar, where no contender of the figure failed. A figure is there once all of them were tried.

{sections}{chr(10) * 2 if sections else ""}## How it is measured

Every contender is a process of its own. Two at a time, each has half of the processor's threads; `--at-once 1` gives
one all of them. Its minutes count from its start, with all that it imports and reads; drawing samples isn't counted.
*genkit* is `genkit train MODEL --dataset … --minutes M`, with no other option than a row names. *earlier* is genkit at
revision 9e9c066, with its default dcgan and vae, for as many epochs as fit, by a trial before. The *DCGAN example* is
`dcgan/main.py` of PyTorch's examples, as it lies in somebody's clone
(`make pictures EXAMPLE=…/examples/dcgan/main.py`), at its own settings, which enlarge images to 64×64; its samples are
made smaller again. *denoising-diffusion-pytorch* is used as its README shows, at the images' size; it draws for as long
as it trained, which gives fewer samples than the others.

All samples are scored by one program, `benchmarks/pictures/score.py`: the unbiased kernel distance (Bińkowski et al.,
ICLR 2018) in the features of the set's own judge, as in [`genkit evaluate`](evaluate.md), against all test images, at
most 10,000. *Diversity* is the distance, in pixels, of a sample to its nearest other sample over the same among
training images. Which model of genkit's a figure is of was fixed before any was measured; the others stand in the
rows.
{f"{chr(10)}Measured on{chr(10)}{chr(10)}{where}{chr(10)}" if where else ""}"""
