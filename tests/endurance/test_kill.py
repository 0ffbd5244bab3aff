"""kill -9 at any instant: no run is lost, and its final weights are those of a run that nothing happened to."""

from __future__ import annotations

import random
import time
from pathlib import Path

from endurance.conftest import Table, scaled
from endurance.harness import KILL, SMALL, Zygote, assert_tidy, only_run, result_of, training

KILLS = scaled(200)
#: More than the operations on files of a small run, from its folder to its model card.
OPERATIONS = 150
#: Operations on a checkpoint before it has its name: its folder, four or five files, its manifest, and the name itself.
SAVING = 7
KILLS_OF_A_RUN = 5


def test_kills(
    zygote: Zygote, few_digits: Path, uninterrupted: dict[str, dict[str, str]], tmp_path: Path, table: Table
) -> None:
    """The kills of a run take turns: within the first save, after a random time, right before a random operation.

    The operations on files are where a kill can hurt: between two files of a checkpoint, before its rename, in the
    middle of deleting an older one.
    """
    random_ = random.Random(0)
    killed = in_a_save = runs = 0
    usual = {}
    for model in SMALL:
        began = time.monotonic()
        assert zygote.run(training(model, tmp_path / f"{model}-timed", few_digits)).status == 0
        usual[model] = time.monotonic() - began
    while killed < KILLS:
        model = list(SMALL)[runs % len(SMALL)]
        out = tmp_path / str(runs)
        start = training(model, out, few_digits)
        kills_of_this_run = 0
        while True:
            run = only_run(out)
            command = start if run is None else ["train", "--resume", str(run)]
            if kills_of_this_run == KILLS_OF_A_RUN or killed == KILLS:
                ended = zygote.run(command)
            elif kills_of_this_run % 3 == 0:
                ended = zygote.run(command, kill_at_operation=["/checkpoints/.", random_.randint(2, SAVING)])
            elif kills_of_this_run % 3 == 1:
                ended = zygote.run(command, after=(KILL, random_.uniform(0, usual[model])))
            else:
                ended = zygote.run(command, kill_at_operation=[str(out), random_.randrange(1, OPERATIONS)])
            if ended.status == 0:
                break
            assert ended.status == -KILL, ended.printed
            killed += 1
            kills_of_this_run += 1
            run = only_run(out)
            in_a_save += run is not None and bool(list((run / "checkpoints").glob(".*")))
        run = only_run(out)
        assert run is not None
        assert result_of(run) == uninterrupted[model], f"{model} after {kills_of_this_run} kills"
        assert_tidy(run)
        runs += 1
    assert in_a_save >= runs
    table.row(
        10,
        f"kill -9 at random instants, resumed each time to the end, all four models: {killed} kills in {runs} runs, "
        f"{in_a_save} of them within a save",
        "0 runs lost; final weights, optimisers, best checkpoint, curves and pictures equal to the bit to those of a "
        "run that nothing happened to",
    )
