"""Curves as other readers see them, and how they are cut back to a step."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from endurance.harness import curves as points
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from genkit.latent.images import as_png
from genkit.run.curves import Curves


def write(run: Path, steps: range, keep: int = -1) -> None:
    with Curves(run, keep) as curves:
        for step in steps:
            curves.add(step, step / 10, {"train/loss": 1 / step})
            if step % 5 == 0:
                curves.add_image("samples", as_png(torch.full((1, 4, 6), step / 10)), (6, 4), step)
        curves.add_test(steps[-1], {"loss": 0.5})


def steps_in(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def scalars(run: Path) -> list[tuple[int, float]]:
    """As TensorBoard reads them, without its hiding of doubled steps."""
    board = EventAccumulator(str(run / "tb"), purge_orphaned_data=False)
    board.Reload()
    return [(point.step, pytest.approx(point.value)) for point in board.Scalars("train/loss")]


def test_tensorboard_reads_scalars_and_pictures(tmp_path: Path) -> None:
    write(tmp_path, range(1, 6))
    assert scalars(tmp_path) == [(step, 1 / step) for step in range(1, 6)]
    board = EventAccumulator(str(tmp_path / "tb"))
    board.Reload()
    (picture,) = board.Images("samples")
    assert (picture.step, picture.width, picture.height) == (5, 6, 4)
    assert Image.open(io.BytesIO(picture.encoded_image_string)).getdata()[0] == round(0.5 * 255)


def test_a_step_stands_in_the_curves_once(tmp_path: Path) -> None:
    """Ten steps, resumed after seven of them, and again after eight."""
    write(tmp_path, range(1, 11))
    write(tmp_path, range(8, 11), keep=7)
    write(tmp_path, range(9, 11), keep=8)
    assert scalars(tmp_path) == [(step, 1 / step) for step in range(1, 11)]
    assert steps_in(tmp_path) == [*range(1, 11), 10]  # the last is of the test split, which was measured once


def test_files_of_one_second_are_read_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the numbers of the processes that wrote them."""
    monkeypatch.setattr("genkit.run.curves.time.time", lambda: 1_800_000_000.0)
    for step, process in ((1, 1000), (2, 999), (3, 99)):
        monkeypatch.setattr("genkit.run.curves.os.getpid", lambda process=process: process)
        with Curves(tmp_path, step) as curves:
            curves.add(step, step / 10, {"train/loss": 1 / step})
    assert [step for step, _, _ in points(tmp_path)] == [1, 2, 3]


def test_a_run_that_begins_again_begins_with_empty_curves(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    write(tmp_path, range(1, 3), keep=-1)
    assert scalars(tmp_path) == [(1, 1), (2, 0.5)]


@pytest.mark.parametrize("cut", [1, 9, 30])
def test_what_a_killed_process_left_half_written_is_dropped(tmp_path: Path, cut: int) -> None:
    write(tmp_path, range(1, 4))
    (events,) = (tmp_path / "tb").iterdir()
    events.write_bytes(events.read_bytes()[:-cut])
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[: -(cut + 50)])
    Curves(tmp_path, 3).close()
    assert scalars(tmp_path) == [(1, 1), (2, 0.5)]
    assert steps_in(tmp_path) == [1, 2]


def test_damage_ends_a_file_of_events(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, range(1, 4))
    (events,) = (tmp_path / "tb").iterdir()
    content = bytearray(events.read_bytes())
    content[-20] ^= 1
    events.write_bytes(content)
    with caplog.at_level("WARNING", "genkit"):
        Curves(tmp_path, 3).close()
    assert scalars(tmp_path) == [(1, 1), (2, 0.5)]
