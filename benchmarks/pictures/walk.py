"""What a trained model's walks between images and its codes are worth.

    python benchmarks/pictures/walk.py RUN [--set NAME=VALUE]

Prints a line of JSON. `confidence` is the judge's, its largest probability, of the midpoints of PAIRS walks between the
codes of test images; `confidence_of_averages` of the same pairs' pixels averaged, of which a latent space should be
better; `round_trip` the mean squared error of a number of pixels in [0, 1] of IMAGES test images that were encoded and
decoded.
"""

from __future__ import annotations

import argparse
import json

import torch
from score import judge_of

import genkit
from genkit import data
from genkit.keep.opened import Opened
from genkit.latent import sampling

PAIRS, IMAGES = 500, 500


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    options = {name: json.loads(value) for name, _, value in (each.partition("=") for each in given.set)}
    where = Opened.find(given.run, torch.device("cpu")).data_options()
    dataset, model = data.load(where), genkit.load(given.run)
    judge = judge_of(where, dataset)
    chosen = dataset.test.take(dataset.test.spread(max(2 * PAIRS, IMAGES)))
    images = chosen.images().float() / 255
    found = {"round_trip": float((model.reconstruct(images[:IMAGES], **options) - images[:IMAGES]).square().mean())}
    if judge is not None:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        first, second = images[order].chunk(2)
        ends = zip(*(model.encode(each) for each in (first, second)), strict=True)
        centre, _ = sampling.prior_moments(model.model)
        # All at once: a solver of many steps takes as long for one code as for many.
        codes = torch.stack([sampling.interpolate(torch.stack(pair), 3, centre=centre)[0][1] for pair in ends])
        midpoints = model.decode(codes, **options)
        found["confidence"] = float(judge.probabilities(midpoints).max(1).values.mean())
        found["confidence_of_averages"] = float(judge.probabilities((first + second) / 2).max(1).values.mean())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
