"""A loss or a gradient that is no longer finite stops the run within one logging interval, and spoils no checkpoint."""

from __future__ import annotations

import random
import re
from pathlib import Path

from endurance.conftest import Table, scaled
from endurance.harness import SMALL, Zygote, only_run, training

from genkit import registry
from genkit.contract import ImageShape
from genkit.keep import checkpoint

COUNT = scaled(20)
INTERVAL = 4  # --log-every of the small runs


def test_not_finite(zygote: Zygote, few_digits: Path, tmp_path: Path, table: Table) -> None:
    random_ = random.Random(3)
    for count in range(COUNT):
        model = list(SMALL)[count // 2 % len(SMALL)]
        kind = registry.find(model)
        phase = random_.choice([phase.name for phase in kind(ImageShape(1, 12, 12), kind.Options()).phases()])
        what, step = ("loss", "gradient")[count % 2], random_.randrange(1, 30)
        out = tmp_path / str(count)
        ended = zygote.run(training(model, out, few_digits), not_finite_at=[what, phase, step])
        assert ended.status == 3, ended
        of_phase = f" of the phase {phase}" if phase else ""
        assert f"genkit: the {what}{of_phase} is no longer finite at step {step};" in ended.printed
        assert "a lower --lr" in ended.printed
        run = only_run(out)
        assert run is not None
        logged = [int(found) for found in re.findall(r'^{"step": (\d+)', (run / "metrics.jsonl").read_text(), re.M)]
        assert all(each < step for each in logged)
        assert not logged or step - logged[-1] <= INTERVAL
        saved = sorted((run / "checkpoints").iterdir())
        first = [0] if "shortcut" in kind.Options.model_fields else []  # few digits begin at PCA, which is kept
        assert [int(path.name) for path in saved] == [*first, *range(10, step, 10)]
        for path in saved:
            weights = checkpoint.read(path).model.state_dict().values()
            assert all(bool(each.isfinite().all()) for each in weights)
        assert f"the {what}{of_phase} is no longer finite" in (run / "log.txt").read_text()
    table.row(
        31,
        f"NaN in a loss or a gradient at random steps: {COUNT} runs",
        f"{COUNT} of {COUNT} stop within one logging interval with exit 3, name step and phase, and leave the last "
        "good checkpoint",
    )
