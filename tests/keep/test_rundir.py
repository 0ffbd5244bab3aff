"""Run directories: numbered, found, pruned, never overwritten."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from genkit.errors import CheckpointError, GenkitError, GoneError, NoSuchRunError, UnreadableError, UsageError
from genkit.files import remove_folder, whole_file
from genkit.keep import description, rundir
from genkit.keep.description import Description, Image
from genkit.keep.rundir import RunDirectory, find, find_run, unused
from genkit.run import keeper, preparation


def fake_checkpoint(run: RunDirectory, step: int, value: float | None, **said: Any) -> Path:
    """One that says what it is, and holds nothing else."""
    path = run.checkpoint_path(step)
    path.mkdir()
    metrics = {} if value is None else {"val/loss": value}
    image = Image(channels=1, height=8, width=8)
    about = Description(model="vae", image=image, options={}, step=step, metrics=metrics, **said)
    (path / "checkpoint.json").write_text(about.model_dump_json())
    (path / "manifest.json").write_text("{}")
    return path


def create(parent: Path, name: str) -> RunDirectory:
    return RunDirectory.create(parent, name, {"config.json": b"{}"})


def test_numbers_are_unique_when_many_start_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda k: create(tmp_path, f"m{k}"), range(24)))
    assert sorted(run.path.name[:5] for run in runs) == [f"{k:05d}" for k in range(24)]


def test_the_two_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    run = create(tmp_path, "x")
    for step, value in enumerate([5.0, 1.0, 3.0, 4.0, 2.0], 1):
        fake_checkpoint(run, step, value)
        keeper.prune(run)
    assert [path.name for path in run.checkpoints] == ["000002", "000004", "000005"]
    assert run.by_merit()[0].name == "000002"
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == ["000002", "000004", "000005"]


def test_those_of_every_so_many_epochs_stay(tmp_path: Path) -> None:
    run = create(tmp_path, "x")
    for epoch in range(1, 10):
        fake_checkpoint(run, 10 * epoch, float(epoch), epoch=epoch)
        fake_checkpoint(run, 10 * epoch + 5, None, epoch=epoch + 0.5)
        keeper.prune(run, keep_every=3)
    assert [int(path.name) for path in run.checkpoints] == [10, 30, 60, 90, 95]


@pytest.mark.parametrize(("opens", "own"), [("best", [2, 3, 1]), ("last", [3, 2, 1])])
def test_a_run_opens_with_the_checkpoint_that_its_model_says_and_with_any_that_is_asked_for(
    tmp_path: Path, opens: str, own: list[int]
) -> None:
    """The others stand in for it if it is damaged, but none for a step."""
    run = create(tmp_path, "x")
    for step, value in enumerate((5.0, 1.0, 3.0), 1):
        fake_checkpoint(run, step, value, opens=opens)
    asked = {None: own, "best": [2, 3, 1], "last": [3, 2, 1], "3": [3], "000001": [1]}
    for which, steps in asked.items():
        assert [int(path.name) for path in find(str(run.path), which).checkpoints] == steps
        assert [int(path.name) for path in find(str(tmp_path), which).checkpoints] == steps  # the newest in a folder


def test_a_checkpoint_that_there_is_not_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    run = create(tmp_path, "x")
    paths = [fake_checkpoint(run, step, 1.0) for step in (1200, 1600)]
    with pytest.raises(NoSuchRunError, match=r"no checkpoint of step 800 \(it has 1,200, 1,600\).*--keep-every N"):
        find(str(run.path), "800")
    with pytest.raises(UsageError, match="--checkpoint first: give last, best, or the step"):
        find(str(run.path), "first")
    with pytest.raises(UsageError, match=r"001200 is one; leave --checkpoint out"):
        find(str(paths[0]), "last")


def test_a_checkpoint_is_called_what_it_is(tmp_path: Path) -> None:
    run = create(tmp_path, "x")
    paths = [fake_checkpoint(run, step, value) for step, value in enumerate((2.0, 1.0, 3.0), 1)]
    assert [run.called(path) for path in paths] == [[], ["best"], ["last"]]
    remove_folder(paths[2])
    assert run.called(paths[1]) == ["best", "last"]


def test_the_newest_is_best_where_nothing_was_measured(tmp_path: Path) -> None:
    run = create(tmp_path, "x")
    for step in (1, 2):
        fake_checkpoint(run, step, None)
    assert run.by_merit()[0].name == "000002"


def test_what_is_no_checkpoint_is_passed_over(tmp_path: Path) -> None:
    run = create(tmp_path, "x")
    fake_checkpoint(run, 2, 1.0)
    for name in ("000002-backup", ".000003-abc"):
        (run.path / "checkpoints" / name).mkdir()
        (run.path / "checkpoints" / name / "manifest.json").write_text("{}")
    (run.path / "checkpoints" / "readme.txt").touch()
    assert [path.name for path in run.checkpoints] == ["000002"]


def test_the_better_stand_in_for_the_best(tmp_path: Path) -> None:
    run = create(tmp_path, "x")
    for step, value in enumerate([2.0, 1.0, None, 3.0, 1.0], 1):
        fake_checkpoint(run, step, value)
    assert [int(path.name) for path in find(str(run.path)).checkpoints] == [5, 2, 1, 4, 3]


def test_a_run_appears_with_its_files_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(GenkitError, match="can't make a run"):
        RunDirectory.create(tmp_path, "x", {"config.json": b"{}", "missing/folder": b""})
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    (tmp_path / ".00000-x-abcdef").mkdir()  # as a killed process leaves it
    assert create(tmp_path, "x").path.name == "00000-x"
    assert not (tmp_path / ".00000-x-abcdef").exists()


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """Also where the first was killed: the lock must die with its process."""
    run = create(tmp_path, "x")
    code = f"""
import time
from pathlib import Path
from genkit.keep.rundir import RunDirectory
with RunDirectory(Path({str(run.path)!r})).locked():
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(GenkitError, match="another process is training"), run.locked():
        pass
    holder.kill()
    holder.communicate()
    with run.locked():
        pass


def test_what_a_killed_process_left_is_tidied(tmp_path: Path) -> None:
    run = create(tmp_path, "x")
    kept = fake_checkpoint(run, 2, 1.0)
    for name in (".000003-abc", ".000001-0f"):
        (run.path / "checkpoints" / name).mkdir()
    (run.path / ".genkit-0f.png").touch()
    run.tidy()
    assert list((run.path / "checkpoints").iterdir()) == [kept]
    assert not list(run.path.glob(".genkit*"))


def test_a_disk_that_is_too_small_is_refused_at_the_start(tmp_path: Path) -> None:
    preparation.require_space(tmp_path / "not" / "there", 1)
    with pytest.raises(GenkitError, match=r"MB are free, and a run of this model needs 400,000,000,0.. MB"):
        preparation.require_space(tmp_path, 10**17)


def test_only_a_run_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENKIT_OUT", str(tmp_path))
    with pytest.raises(CheckpointError, match="no run that can be resumed"):
        find_run(str(tmp_path))
    run = create(tmp_path, "x")
    for name in (str(run.path), "0"):
        assert find_run(name).path == run.path
    with pytest.raises(CheckpointError, match="no run that can be resumed"):
        find_run(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"has no run number 7 \(of 1: 0\)"):
        find_run("7")
    with pytest.raises(CheckpointError, match=f"is a checkpoint; --resume {run.path} goes on"):
        find_run(str(fake_checkpoint(run, 2, 1.0)))


def test_a_number_of_two_runs_stands_for_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENKIT_OUT", str(tmp_path))
    first = create(tmp_path, "a")
    second = first.path.rename(tmp_path / "00000-b")
    first = create(tmp_path / "other", "a").path.rename(tmp_path / "00000-a")
    third = create(tmp_path, "c").path
    for look in (find, find_run):
        with pytest.raises(NoSuchRunError, match=f"2 runs have the number 0: {first} and {second}; give the folder"):
            look("0")
    assert find_run("1").path == third


def test_find_takes_the_newest_run_that_has_a_checkpoint(tmp_path: Path) -> None:
    first, _empty = create(tmp_path, "a"), create(tmp_path, "b")
    checkpoint = fake_checkpoint(first, 7, 1.0)
    assert find(str(tmp_path)).checkpoints == [checkpoint]
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        find(str(tmp_path / "00001-b"))


def test_unused_names_step_over_all_files_of_a_sample(tmp_path: Path) -> None:
    assert unused(tmp_path / "a.png").name == "a.png"
    (tmp_path / "a.gif").touch()
    assert unused(tmp_path / "a.png").name == "a-2.png"
    (tmp_path / "a-2-projector").mkdir()
    assert unused(tmp_path / "a.png").name == "a-3.png"


def test_a_name_with_dots_is_not_given_twice(tmp_path: Path) -> None:
    for name in ("a.b.c-nearest.png", "a.b.c-safetensors"):
        first = rundir.unused(tmp_path / name)
        assert first.name == name
        first.mkdir()
        again = rundir.unused(tmp_path / name)
        assert not again.exists()
        again.mkdir()
        assert not rundir.unused(tmp_path / name).exists()


@pytest.mark.parametrize("name", ["decoder.onnx", "decoder.pt2"])
def test_files_for_other_programs_are_no_run(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(NoSuchRunError, match="says how to use"):
        rundir.find(str(tmp_path))


@pytest.mark.parametrize("which", [None, "last", "best"])
def test_a_checkpoint_that_training_has_removed_since_gives_way_to_those_that_came(
    tmp_path: Path, which: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a run whose epochs are quicker than the import of torch."""
    run = create(tmp_path, "x")
    fake_checkpoint(run, 1, 5.0)
    found = find(str(run.path), which)
    for step in range(2, 6):
        fake_checkpoint(run, step, 5.0 - step)
        keeper.prune(run)
    assert found.first_whole(description.describe).step == 5
    assert caplog.text == "", "it is no damage"


@pytest.mark.parametrize("opens", ["best", "last"])
def test_a_checkpoint_that_training_removes_meanwhile_is_chosen_anew(
    tmp_path: Path, opens: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = create(tmp_path, "x")
    fake_checkpoint(run, 1, 5.0, opens=opens)
    tried = []

    def read(path: Path) -> int:
        tried.append(path.name)
        if len(tried) < 3:
            for step in (2 * len(tried), 2 * len(tried) + 1):
                fake_checkpoint(run, step, 5.0 - step, opens=opens)
            remove_folder(path)
        return description.describe(path).step

    assert find(str(run.path)).first_whole(read) == 5
    assert tried == ["000001", "000003", "000005"]
    assert caplog.text == ""


def test_a_checkpoint_that_was_named_and_is_gone_is_called_that(tmp_path: Path) -> None:
    run = create(tmp_path, "x")
    found = find(str(fake_checkpoint(run, 1, 5.0)))
    fake_checkpoint(run, 2, 4.0)
    remove_folder(run.checkpoint_path(1))
    with pytest.raises(GoneError, match="000001 is gone; a run that trains keeps its newest checkpoints and the best"):
        found.first_whole(description.describe)


@pytest.mark.parametrize("kind", ["file", "loop"])
def test_checkpoints_that_cannot_be_seen_are_not_taken_for_none(tmp_path: Path, kind: str) -> None:
    run = create(tmp_path, "x")
    (run.path / "checkpoints").rmdir()
    if kind == "file":
        (run.path / "checkpoints").write_text("")
    else:
        (run.path / "checkpoints").symlink_to("checkpoints")
    for look in (lambda: run.checkpoints, lambda: find(str(run.path)), lambda: find(str(tmp_path))):
        with pytest.raises(
            UnreadableError, match=r"checkpoints can't be read \((Not a dir|Too many|Sym).*\); mend that"
        ):
            look()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("ENOSPC", "make room, or name another place"),
        ("EDQUOT", "make room, or name another place"),
        ("EACCES", "allow writing there, or name another place"),
        ("EROFS", "allow writing there, or name another place"),
        ("EISDIR", "name another place"),
    ],
)
def test_the_remedy_is_that_of_the_cause(number: str, said: str, tmp_path: Path) -> None:
    code = getattr(errno, number)
    with pytest.raises(GenkitError, match=f"x: can't be written \\({os.strerror(code)}\\); {said}"):  # noqa: SIM117
        with whole_file(tmp_path / "x"):
            raise OSError(code, os.strerror(code))


def test_a_run_that_was_given_another_name_is_found(tmp_path: Path) -> None:
    first, second, renamed = (create(tmp_path, name) for name in "abc")
    (tmp_path / "notes").mkdir()
    renamed.path.rename(tmp_path / "mine")
    with pytest.raises(CheckpointError, match=r"lies in .* \(none yet: 00000-a, 00001-b, mine\); make one"):
        find(str(tmp_path))
    renamed = RunDirectory(tmp_path / "mine")
    fake_checkpoint(renamed, 1, 1.0)
    assert find(str(tmp_path)).run.path == renamed.path
    for run, when in ((first, 3000), (second, 1000), (renamed, 2000)):
        path = run.checkpoint_path(1) if run is renamed else fake_checkpoint(run, 1, 1.0)
        os.utime(path, (when, when))
    assert find(str(tmp_path)).run.path == renamed.path, "it was saved after the one of the highest number"
    os.utime(renamed.checkpoint_path(1), (500, 500))
    assert find(str(tmp_path)).run.path == second.path, "numbers go before times"
