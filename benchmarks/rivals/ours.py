"""genkit itself, by its own path: `setup.Setup` builds data, model and optimisers, `training.train` takes steps.

`--part loop` is the bare loop; `validated` the same with the validation that a run makes after every epoch; `run` is
`trainer.start`, all of a run with its bar, curves, pictures and checkpoints, of which training's seconds are taken.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

import race
import torch

from genkit import data, device, registry
from genkit.data import DataOptions
from genkit.keep.config import Config, RunOptions
from genkit.run import trainer
from genkit.run.setup import Setup
from genkit.run.validation import validate
from genkit.step.distributed import Team
from genkit.step.training import train

#: Epochs of a whole run: while the second is trained, the first one's checkpoint is written.
EPOCHS = 2


def main() -> None:
    parser = race.parser(__doc__)
    parser.add_argument("--model", default="vae")
    parser.add_argument("--options", type=json.loads, default={}, help="of the model, as JSON")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--part", choices=["loop", "validated", "run"], default="loop")
    given = parser.parse_args()
    epochs = EPOCHS if given.part == "run" else 100_000  # a loop's rounds never come to the schedule's end
    options = registry.find(given.model).Options(batch_size=given.batch_size, epochs=epochs, **given.options)
    images = DataOptions(dataset="mnist", image_size=given.image_size)
    config = Config(given.model, options, images, RunOptions(out="genkit", device=given.device), {})
    config = config._replace(sources=dict.fromkeys(config.values(), "benchmark"))

    def whole_run() -> tuple[int, float]:
        result = trainer.start(config)
        return result.steps * options.batch_size, result.seconds

    if given.part == "run":
        race.serve(whole_run)
        return
    dataset = data.load(config.data)
    dataset = replace(dataset, train=dataset.train.take(slice(0, given.images)))
    training = Setup(config, dataset, Team(device.pick(config.run.device)))
    state, batches = training.state, training.batches

    def one_round() -> tuple[int, float]:
        began = time.perf_counter()
        for _ in train(state, batches.epoch(state.step // len(batches))):
            pass
        if given.part == "validated":
            validate(state.best_model, dataset.val, training.where)
        if training.where.type == "cuda":
            torch.cuda.synchronize()
        return len(batches) * batches.batch_size, time.perf_counter() - began

    race.serve(one_round)


if __name__ == "__main__":
    main()
