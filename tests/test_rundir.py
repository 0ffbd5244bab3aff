"""Run directories: numbered, found, pruned, never overwritten."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from genkit.errors import CheckpointError
from genkit.rundir import RunDirectory, find, unused


def fake_checkpoint(run: RunDirectory, step: int, value: float | None) -> Path:
    path = run.checkpoint_path(step)
    path.mkdir()
    metrics = {} if value is None else {"val/loss": value}
    (path / "checkpoint.json").write_text(json.dumps({"monitor": "loss", "metrics": metrics}))
    (path / "manifest.json").write_text("{}")
    return path


def test_numbers_are_unique_when_many_start_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda k: RunDirectory.create(tmp_path, f"m{k}"), range(24)))
    assert sorted(run.path.name[:5] for run in runs) == [f"{k:05d}" for k in range(24)]


def test_the_two_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "x")
    for step, value in enumerate([5.0, 1.0, 3.0, 4.0, 2.0], 1):
        fake_checkpoint(run, step, value)
        run.prune()
    assert [path.name for path in run.checkpoints] == ["000002", "000004", "000005"]
    assert run.best_checkpoint().name == "000002"
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == ["000002", "000004", "000005"]


def test_the_newest_is_best_where_nothing_was_measured(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "x")
    for step in (1, 2):
        fake_checkpoint(run, step, None)
    assert run.best_checkpoint().name == "000002"


def test_what_is_no_checkpoint_is_passed_over(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "x")
    fake_checkpoint(run, 2, 1.0)
    for name in ("000002-backup", ".000003-abc"):
        (run.path / "checkpoints" / name).mkdir()
        (run.path / "checkpoints" / name / "manifest.json").write_text("{}")
    (run.path / "checkpoints" / "000004").mkdir()
    assert [path.name for path in run.checkpoints] == ["000002"]


def test_find_takes_the_newest_run_that_has_a_checkpoint(tmp_path: Path) -> None:
    first, _empty = RunDirectory.create(tmp_path, "a"), RunDirectory.create(tmp_path, "b")
    checkpoint = fake_checkpoint(first, 7, 1.0)
    assert find(str(tmp_path)).checkpoint == checkpoint
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        find(str(tmp_path / "00001-b"))


def test_unused_names_step_over_all_files_of_a_sample(tmp_path: Path) -> None:
    assert unused(tmp_path / "a.png").name == "a.png"
    (tmp_path / "a.gif").touch()
    assert unused(tmp_path / "a.png").name == "a-2.png"
    (tmp_path / "a-2-projector").mkdir()
    assert unused(tmp_path / "a.png").name == "a-3.png"
