"""Stopped by a signal, after any step or at any instant, a run goes on as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest
from endurance.conftest import FULL, Table, scaled
from endurance.harness import SMALL, STEPS, Zygote, only_run, result_of, training

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def resumed(zygote: Zygote, out: Path, **fault: object) -> dict[str, str]:
    """What a run that was stopped comes to in the end."""
    run = only_run(out)
    ended = zygote.run(["train", "--resume", str(run)], **fault)
    assert ended.status == 0, ended.printed
    return result_of(run)


def test_after_any_step(zygote: Zygote, few_digits: Path, tmp_path: Path, table: Table) -> None:
    """In a short run each of the sixteen ways is stopped at two of the steps, others for each."""
    steps = list(range(1, 21))
    stopped = ways = 0
    for model in SMALL:
        for ema in ("0", "0.9"):
            whole = tmp_path / f"whole-{ways}"
            assert zygote.run(training(model, whole, few_digits, "--ema", ema)).status == 0
            expected = result_of(only_run(whole))
            for fault in ({}, {"on_disk": True}):
                for step in steps if FULL else random.Random(ways).sample(steps, 2):
                    out = tmp_path / f"{ways}-{step}"
                    command = training(model, out, few_digits, "--ema", ema)
                    ended = zygote.run(command, signal_at=[signal.SIGTERM, step], **fault)
                    assert ended.status == 143, ended.printed
                    assert int(max(path.name for path in (only_run(out) / "checkpoints").iterdir())) == step
                    assert resumed(zygote, out, **fault) == expected, f"{model}, ema {ema}, {fault}, step {step}"
                    stopped += 1
                ways += 1
    table.row(
        20,
        f"stopped after {'each of' if FULL else 'two of'} the first 20 steps and resumed: all four models, with and "
        "without averaged weights, images in memory and memory-mapped",
        f"{stopped} of {stopped} equal to the bit",
    )


def test_at_any_instant(
    zygote: Zygote, few_digits: Path, uninterrupted: dict[str, dict[str, str]], tmp_path: Path, table: Table
) -> None:
    """A signal that comes before training begins, or after it, ends the process as it ends any other."""
    random_ = random.Random(1)
    times = {}
    for model in SMALL:
        began = time.monotonic()
        assert zygote.run(training(model, tmp_path / model, few_digits)).status == 0
        times[model] = time.monotonic() - began
    stopped = tried = 0
    while stopped < scaled(50):
        tried += 1
        model = random_.choice(list(SMALL))
        number = random_.choice(list(CODES))
        out = tmp_path / f"{tried}"
        ended = zygote.run(training(model, out, few_digits), after=(number, random_.uniform(0, times[model])))
        if ended.status == 0 or only_run(out) is None:
            continue  # it was too late, or too early, to stop a run
        assert ended.status in (CODES[number], -number), ended.printed  # -15 before genkit is in charge
        assert resumed(zygote, out) == uninterrupted[model], f"{model} after {ended}"
        stopped += 1
    table.row(21, f"SIGINT or SIGTERM at random instants: {stopped} runs", f"{stopped} of {stopped} resume to the bit")


@pytest.mark.parametrize(("number", "status"), list(CODES.items()))
def test_a_second_signal_quits_at_once(
    zygote: Zygote,
    few_digits: Path,
    uninterrupted: dict[str, dict[str, str]],
    tmp_path: Path,
    number: int,
    status: int,
) -> None:
    """Without the checkpoint of the step that was being taken; and the run is none the worse for it."""
    ended = zygote.run(training("vae", tmp_path, few_digits), signal_at=[number, 23, 2])
    assert ended.status == status
    assert "stopping after this step; once more quits at once" in ended.printed
    assert max(int(path.name) for path in (only_run(tmp_path) / "checkpoints").glob("[0-9]*")) <= 20
    assert resumed(zygote, tmp_path) == uninterrupted["vae"]


@pytest.mark.parametrize("model", SMALL)
def test_epochs_may_be_raised(zygote: Zygote, few_digits: Path, tmp_path: Path, model: str) -> None:
    """With a schedule that doesn't look ahead, three epochs and then two more are five epochs."""
    common = ["--schedule", "constant"]
    assert zygote.run(training(model, tmp_path / "five", few_digits, *common, "--epochs", "5")).status == 0
    assert zygote.run(training(model, tmp_path / "three", few_digits, *common)).status == 0
    run = only_run(tmp_path / "three")
    assert zygote.run(["train", "--resume", str(run), "--epochs", "5"]).status == 0
    five, three = result_of(only_run(tmp_path / "five")), result_of(run)
    # A run's last epoch is always drawn: the shorter one has a picture more.
    three = {name: value for name, value in three.items() if not name.endswith(f"{STEPS:06d}.png")}
    assert three.pop("curves") != five.pop("curves")
    assert three == {name: value for name, value in five.items() if not name.endswith(f"{STEPS:06d}.png")}


def test_minutes(zygote: Zygote, few_digits: Path, tmp_path: Path) -> None:
    """`--checkpoint-every 1min`: in a run of a second, only what is best and what is last is saved."""
    command = training("vae", tmp_path, few_digits, "--checkpoint-every", "1min", "--lr", "0.02")
    assert zygote.run(command).status == 0
    run = only_run(tmp_path)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    values = [row["val/neg_elbo"] for row in rows if "val/neg_elbo" in row]
    saved = [10 * (epoch + 1) for epoch, value in enumerate(values) if value == min(values[: epoch + 1])]
    assert {int(path.name) for path in (run / "checkpoints").iterdir()} <= {*saved, STEPS}


def test_minutes_pass_within_an_epoch(
    zygote: Zygote, few_digits: Path, uninterrupted: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """With a clock on which a step takes minutes. Checkpoints within an epoch change nothing, and can be resumed."""
    for model in SMALL:
        command = training(model, tmp_path / model, few_digits, "--checkpoint-every", "1min")
        ended = zygote.run(command, fast_clock=100_000, signal_at=[signal.SIGKILL, 26])
        assert ended.status == -signal.SIGKILL
        saved = [int(path.name) for path in (only_run(tmp_path / model) / "checkpoints").glob("[0-9]*")]
        assert max(saved) > 20
        assert any(step % 10 for step in saved)
        assert resumed(zygote, tmp_path / model, fast_clock=100_000) == uninterrupted[model]
