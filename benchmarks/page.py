"""docs/speed.md, from what the races found on each machine."""

from __future__ import annotations

import statistics
import string
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import refusals
import waits

#: What one machine's races found, by row.
Results = dict[str, dict[str, Any]]
#: The same by machine, in the order in which they came.
Machines = dict[str, Results]


class Figure(NamedTuple):
    """A line of the table: the rival's time over ours in one row of the benchmark.

    Attributes:
        rival: None for our own time, in seconds, of which less is better.
        bar, reach: what is asked for, and what is aimed at; None where no bar was set.
        more: the name of one of the row's other numbers, of which less is better.
        ours: the contender that is genkit.
    """

    row: str
    text: str
    rival: str | None
    bar: float | None
    reach: float | None
    more: str | None = None
    ours: str = "genkit"


VAE = "VAE 784-400-20, CPU, batch"
WHOLE = "default VAE training with bar, logging, pictures and checkpoints, against the bare loop"
MILLION = "a million colour images of 32×32"
#: Under the table of a step's parts.
WHY = """The products are within encoder, decoder and backward; all else passes over as many numbers without multiplying
matrices, or is the time in which Python and the two threads of an operation find each other. In the race, where
contenders take turns, a step of genkit's takes longer than these parts do here, and the bare products don't. The norm
is taken at every step because a divergence must be told of at the step where it happens ([trust.md](trust.md)), and the
losses because they are logged; without them a step would be a few per cent shorter. What was tried and left out because
it gained nothing, or no more than the noise: gradients written into kept buffers, a Bernoulli loss and an MLP with
gradients of their own, the optimiser within the backward pass, and pages of 2 MiB for the heap.

**A whole run** falls short of the bare loop on A and isn't told from it on B, where rounds of one contender differ by
more than the two do. That it validates after every epoch, which the bare loop doesn't, isn't the reason: the loop with
the same validation takes no measurably longer. The checkpoint is written by a thread, on what the steps leave of two
cores.

**A command** of one epoch imports torch first (`python -X importtime -m genkit train vae -n` says how long), as its
rivals do, and the import's share grows as the epoch shrinks. **Time to a −ELBO of 105** is that import and three epochs
of one layer of 400, begun with the training images' mean. In two epochs it takes a layer of 832 (104.9 nats), which
isn't sooner.

**A run's first step** waits for the import of torch and for little else; the rest of `genkit embed` is its plot, drawn
twice, and its scores.

**The likelihood** is matrix products of the decoder for the most part, as pythae's is; the rest is one pass over every
pixel of every code."""
FIGURES = [
    Figure("vae-128", f"{VAE} 128: speed against the example script", "example script", 4.0, 4.8),
    Figure("vae-128", f"{VAE} 128: against pythae", "pythae", 1.7, 2.0),
    Figure("vae-128", f"{VAE} 128: against the plain loop", "plain loop", 1.5, 1.8),
    Figure("vae-128", f"{VAE} 128: the bare products' time over ours", "bare products", 0.59, 0.69),
    Figure("vae-512", f"{VAE} 512: speed against the example script", "example script", 4.5, 5.2),
    Figure("vae-512", f"{VAE} 512: against pythae", "pythae", 1.55, 1.8),
    Figure("vae-512", f"{VAE} 512: against the plain loop", "plain loop", None, None),
    Figure("vae-512", f"{VAE} 512: the bare products' time over ours", "bare products", 0.69, 0.77),
    Figure("command", "one-epoch command, start to end, against the example script", "example script", 3, 4),
    Figure("command", "one-epoch command, start to end, against pythae", "pythae", 2.3, 3),
    Figure("quality-105", "time to a test −ELBO of 105, against the example script", "example script", 10, 20),
    Figure("quality-105", "time to a test −ELBO of 105, against pythae", "pythae", 5, 10),
    Figure("quality-100", "time to a test −ELBO of 100, against the example script", "example script", None, None),
    Figure("quality-100", "time to a test −ELBO of 100, against pythae", "pythae", None, None),
    Figure("conv-ae", "convolutional autoencoder, CPU, against the example's way", "example's way", 1.35, 1.6),
    Figure("dcgan", "DCGAN at 32×32, CPU, against the example script", "example script", 1.3, 1.5),
    Figure("whole-run", WHOLE, "bare loop", 0.97, 0.99),
    Figure("whole-run", f"{WHOLE} with the same validation", "bare loop, validated", None, None),
    Figure("nll", "5,000-sample likelihood of a VAE 784-400-20, CPU: speed against pythae's get_nll", "pythae", 3, 4),
    Figure("nll", "5,000-sample likelihood of 1,000 images: seconds", None, 120, None),
    Figure(
        "larger",
        f"{MILLION}, CPU, read ahead from disk: speed against the same images in memory",
        "in memory",
        0.9,
        None,
    ),
    Figure("larger", f"{MILLION}: speed against ten thousand such images", "ten thousand", 0.9, None),
    Figure("larger", f"{MILLION}, a whole epoch by the command: GB resident at most", None, 1.5, None, "peak"),
    Figure("waits", "`genkit --help`: seconds", None, 0.3, None, ours=waits.HELP),
    Figure("waits", "a run's first step on MNIST, from the command: seconds", None, 3, None, ours=waits.STEP),
    Figure(
        "waits",
        "a run's first step on MNIST: the time of importing torch over ours",
        waits.TORCH,
        None,
        None,
        ours=waits.STEP,
    ),
    Figure(
        "waits",
        "10,000 samples to PNG, whole command: their encoding's time over ours",
        waits.ENCODING,
        None,
        None,
        ours=waits.SAMPLE,
    ),
    Figure(
        "waits",
        "embedding 10,000 images, whole command: encoder's and PCA's time over ours",
        waits.PRODUCTS,
        None,
        None,
        ours=waits.EMBED,
    ),
    Figure(
        "waits",
        "packing 2,000 JPEG files and a first step on them: their reading's time over ours",
        waits.DECODING,
        None,
        None,
        ours=waits.PACK,
    ),
    *(
        Figure("refusals", f"`{each}`: the time of importing torch over ours", refusals.TORCH, 4, 8.3, ours=each)
        for each in (refusals.HELP, refusals.VALUE, refusals.IMAGES, refusals.RUN, refusals.INFO)
    ),
    Figure("cuda-vae", "VAE 784-400-20 on a GPU, batch 128: seconds for 60,000 images", None, 0.06, 0.03),
    Figure("cuda-vae", "VAE 784-400-20 on a GPU, batch 128: against the example script", "example script", 50, 100),
    Figure(
        "cuda-dcgan", "DCGAN at 32×32 on a GPU: against the example with images in memory", "example, in memory", 3, 5
    ),
]


def measured(figure: Figure, results: Results) -> str:
    """What was found, in bold where it reaches the bar."""
    if figure.row not in results:
        return "no GPU at hand" if figure.row.startswith("cuda") else "not measured"
    row = results[figure.row]
    ours = row["times"][figure.ours]
    if figure.ours in row.get("missed", []):
        return "not reached"
    if figure.rival is None:
        value = row["more"][figure.more] if figure.more else statistics.median(ours)
        return f"**{value:.3f}**" if figure.bar and value <= figure.bar else f"{value:.3f}"
    if figure.rival not in row["times"]:
        return f"{figure.rival} isn't installed"
    value = statistics.median(theirs / own for theirs, own in zip(row["times"][figure.rival], ours, strict=True))
    text = ("> " if figure.rival in row.get("missed", []) else "") + f"{value:.3g}"
    return f"**{text}**" if figure.bar and value >= figure.bar else text


def lettered(machines: Machines) -> Iterator[tuple[str, str, Results]]:
    """The letter by which the page calls a machine, the machine, and what was found on it."""
    for letter, (machine, results) in zip(string.ascii_uppercase, machines.items(), strict=False):
        yield letter, machine, results


def table(machines: Machines) -> str:
    """Figure, bar, reach and what was measured, a column for each machine."""

    def wanted(figure: Figure, value: float | None) -> str:
        if value is None:
            return ""
        return f"{'≥' if figure.rival else '≤'} {value:g}"

    letters = [letter for letter, _, _ in lettered(machines)]
    lines = [f"| figure | bar | reach | {' | '.join(letters)} |", "|" + "---|" * (3 + len(letters))]
    for each in FIGURES:
        found = " | ".join(measured(each, results) for results in machines.values())
        lines.append(f"| {each.text} | {wanted(each, each.bar)} | {wanted(each, each.reach)} | {found} |")
    return "\n".join(lines)


def digits(value: float) -> str:
    """Three of them, or more where the whole part has more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spreads(machines: Machines, without: str = "") -> str:
    """Every contender's times, but of one row."""
    lines = ["| row | on | contender | median | min–max | rounds | |", "|---|---|---|---|---|---|---|"]
    for letter, _, results in lettered(machines):
        for name, row in results.items():
            if name == without:
                continue
            for contender, times in row["times"].items():
                notes = [row["notes"].get(contender), "not reached" if contender in row.get("missed", []) else None]
                spread = f"{digits(min(times))}–{digits(max(times))}"
                lines.append(
                    f"| {name} | {letter} | {contender} | {digits(statistics.median(times))} {row['unit']} | {spread} "
                    f"| {len(times)} | {', '.join(filter(None, notes))} |"
                )
    return "\n".join(lines)


def environments(machines: Machines) -> str:
    """Where and when the rows were measured: a paragraph for each machine, a line for each occasion."""
    paragraphs = []
    for letter, machine, results in lettered(machines):
        found: dict[str, list[str]] = {}
        for name, row in results.items():
            about = row["environment"]
            text = (
                f"{about['day']} at revision {about['revision']}, with Python {about['python']}, torch "
                f"{about['torch']} on {about['threads']} threads and pythae {about['pythae']}, {about['system']}"
            )
            asked = "".join(f", --{key} {value}" for key, value in row.get("asked", {}).items())
            found.setdefault(text, []).append(f"{name} ({row['load']}{asked})")
        lines = [f"- {text}; rows, with the load before each: {', '.join(rows)}" for text, rows in found.items()]
        paragraphs.append("\n".join([f"**{letter}** is {machine}. Measured on", "", *lines]))
    return "\n\n".join(paragraphs)


def shortfalls(machines: Machines) -> str:
    """What keeps a figure below its bar, where the rows that show it were measured."""
    tables = [
        parts_of_a_step(letter, results)
        for letter, _, results in lettered(machines)
        if {"step", "vae-128"} <= results.keys()
    ]
    if not tables:
        return ""
    return "\n\n".join(["## Where a step's time goes", *tables, limits(machines), WHY]) + "\n"


def parts_of_a_step(letter: str, results: Results) -> str:
    """The table of a machine's step."""
    parts = {part: statistics.median(times) for part, times in results["step"]["times"].items()}
    floor = parts.pop("the bare products")
    total = sum(parts.values())
    rows = "\n".join(f"| {part} | {spent:.2f} | {spent / total:.0%} |" for part, spent in parts.items())
    return f"""| part of a step, VAE 784-400-20, batch 128, on {letter} | ms | share |
|---|---|---|
{rows}
| together | {total:.2f} | |
| the bare products alone | {floor:.2f} | {floor / total:.0%} |"""


def limits(machines: Machines) -> str:
    """How far ahead of the example any loop could be, which depends on the processor as well as on the loop."""
    factors = []
    for letter, _, results in lettered(machines):
        times = results.get("vae-128", {"times": {}})["times"]
        if {"example script", "bare products"} <= times.keys():
            pairs = zip(times["example script"], times["bare products"], strict=True)
            factor = statistics.median(example / products for example, products in pairs)
            ahead = 0.59 * factor
            factors.append(f"by a factor of {factor:.2g} on {letter}, so {ahead:.2g} times as fast as the example")
    text = (
        "**The example script** decodes images one at a time, which is Python on one core, where the bare products are "
        "both cores' arithmetic. How far apart the two are is the processor's doing, and so is how fast a loop is "
        f"whose share of products is the bar's 0.59: {'; '.join(factors)}."
    )
    return "\n".join(textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False))


def page(machines: Machines) -> str:
    return f"""# Speed

How fast genkit trains, beside others and beside the machine's limit, as measured by `make bench`, which writes this
page and [speed.json](speed.json). It needs MNIST where `GENKIT_DATA` says. `GENKIT_DATA=… python benchmarks/speed.py
--rows vae-128` measures one row alone and leaves the others, and what other machines found, as they are.

{table(machines)}

Bold is what reaches its bar; above 1 means that genkit takes less time. A column is a machine.

{environments(machines)}

## How it is measured

Every contender is [a program of its own](../benchmarks/rivals), with the machine's default number of threads. It
prepares itself, trains a first round that isn't counted, and waits; then the rounds of all contenders are interleaved,
one at a time, in an order that turns round every time. Each ratio is the median over the rounds of the rival's time
over ours, so that a disturbance which lasts longer than a round falls on both sides.

{spreads(machines, without="step")}

**vae-128, vae-512.** 60,000 images of MNIST a round, or as many as `--images` says, through a VAE 784-400-20 with ReLU
and Bernoulli pixels. Time counts from the first batch of an epoch to the last, in seconds per 60,000 images: genkit
holds 6,000 of the training images out for validation, the others don't.

- *genkit*: `setup.Setup` and `training.train`, as `genkit train` uses them, without its log and files.
- *example script*: the best-known VAE example for PyTorch, written anew from its description. Each image is made a
  picture and then a tensor when the `DataLoader` asks for it, the optimiser is `torch.optim.Adam` as it comes, the
  decoder ends in a sigmoid, and `.item()` reads the loss at every step. It is spared the import of torchvision.
- *pythae*: `BaseTrainer.train()` of the package index's version on float images in memory, as its documentation shows
  it, with the example's network as custom encoder and decoder; bar and log are its own.
- *plain loop*: float images in memory, indexed by `randperm`; the example's network and loss; `torch.optim.Adam` as it
  comes; nothing read back.
- *bare products*: the matrix products of forward and backward alone, into buffers made beforehand. No loop that
  multiplies these matrices with this library can be faster.

Example and pythae race with the number of `DataLoader` workers, of 0, 1 and 2, that was fastest in a trial of whole
rounds on the same machine; the table says which.

**command.** Whole processes, timed from outside, from nothing to the prompt: `genkit train vae --dataset mnist --hidden
400 --activation relu --latent-dim 20 --batch-size 128 --epochs 1`; the example script with one epoch, its pass over the
test images and its two pictures; a pythae script with one epoch, batch 128, and the test images as `eval_data`; both
with the number of workers that was fastest in a trial. genkit trains on 54,000 images, validates on 6,000, and measures
its checkpoint on the 10,000 test images; the others train on 60,000 and measure on 10,000. All read the same
decompressed files.

**quality-105, quality-100.** From the command to a test −ELBO, in nats an image: grey targets, one sample of z, 10,000
test images. genkit's time is that of the whole command, which ends by measuring the checkpoint on disk; the flags stand
in the table, all else is its default. A rival's time ends with the line that tells of the first epoch at which it is
there. The example has its published settings (batch 128, Adam at 1e-3), pythae those of its README (batch 200, AdamW,
`ReduceLROnPlateau`) with the example's network and Bernoulli pixels; both may go on beyond their published number of
epochs, up to 40. Where one isn't there by then, what it took until then is a lower bound, marked with >.

**conv-ae.** The network and batch size (128) of `genkit train conv-ae --dataset mnist` at 28×28, and the same layers in
the example's way: decoded one at a time, plain Adam, `.item()`. Rounds of 6,400 images.

**dcgan.** Batch 64, batch normalisation in both networks, 64 channels outermost, 32×32. The example resizes and decodes
each image in the `DataLoader`, trains the discriminator on real images and on `fake.detach()`, keeps the generator's
graph for its own step, computes all gradients, and reads five numbers at every step. Rounds of 3,200 images.

**whole-run.** `genkit train vae --dataset mnist` with its defaults and two epochs, by its own clock, which runs from
the first step to the end of the last epoch and leaves out loading and the final measurement; its stderr is a terminal.
The bare loop takes the same steps and nothing else. An epoch's validation on 6,000 images is part of the run, and in
the second comparison of the bare loop too.

**nll.** The importance-weighted likelihood of test images of MNIST from 5,000 codes each, of a VAE 784-400-20 with ReLU
and Bernoulli pixels whose weights are random: `likelihood.estimate`, which `genkit evaluate` calls, against pythae's
`get_nll` with the batch size, of 100 (its default), 500 and 1,000, that was fastest in a trial. Rounds of 20 images.

**cuda-vae, cuda-dcgan.** The same on a GPU; the DCGAN's rival has its images on the device as floats.

**larger.** `python benchmarks/larger_than_memory.py ae --counts 10000 1000000`: arrays of 32×32 colour images, packed
as any array is, through the default fully connected autoencoder at batch 128, which spends the least time on an image;
100 steps a round, each in a process of its own, shuffled over the whole set, and read ahead from the disk or held in
memory.

**waits.** `python benchmarks/waits.py`: whole commands, timed from outside, until they end or, of `genkit train`, until
the first step is taken. The bare work beside most of them is a program that imports what it needs and does nothing
else, on all cores. `genkit sample` also draws the sheet of all samples; `genkit embed` also draws its plot as PNG and
SVG, scores it, and writes a table and TensorBoard's projector. The JPEG files are grey, of 512×512, and trained on at
64×64; a folder is packed once, and again when it changes.

**refusals.** `python benchmarks/refusals.py`: whole commands that need no model, or nothing of it but its flags, timed
from outside in turn with a program that imports torch and does nothing else. The flags are kept by a round before.

**step.** `python benchmarks/step.py`: the parts of a step of the VAE 784-400-20 at batch 128, one after the other with
a clock between them, in turn with the bare products.

{shortfalls(machines)}
## What isn't measured yet

- Several GPUs, and what the table says isn't measured.
"""
