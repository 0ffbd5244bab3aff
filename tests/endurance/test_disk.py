"""A full disk: one line, exit code 1, the checkpoint before it whole, nothing half-written, and the run can go on."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from endurance.conftest import Table, scaled
from endurance.harness import SMALL, Ended, Zygote, assert_tidy, only_run, result_of, training

from genkit.keep import checkpoint

COUNT = scaled(50)
#: A run is refused at its start where less than this, and some checkpoints, is free.
ROOM = 80 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Zygote, Path] | None]:
    """A zygote that sees a file system of ROOM bytes, and that file system's folder as others see it.

    None where the system lets nobody mount one.
    """
    place = tmp_path / "disk"
    place.mkdir()
    mount = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        f'mount -t tmpfs -o size={ROOM} tmpfs {place} && "$@"',
    ]
    if shutil.which("unshare") is None or subprocess.run([*mount, "sh", "true"], capture_output=True).returncode:
        yield None
        return
    mount[-1] = mount[-1].replace('"$@"', 'exec "$@"')
    zygote = Zygote([*mount, "sh"])
    yield zygote, Path(f"/proc/{zygote.process.pid}/root{place}")
    zygote.close()


def assert_stopped_well(ended: Ended, run: Path, step: int) -> None:
    assert ended.status == 1, ended
    (line,) = [line for line in ended.printed.splitlines() if line.startswith("genkit: ")]
    assert "can't be written" in line or "could not be written" in line
    assert "make room" in line
    assert ended.printed.endswith(line + "\n")
    assert_tidy(run)
    saved = sorted((run / "checkpoints").iterdir())
    assert int(saved[-1].name) >= 10 * (step // 10) - 10  # the newest may still have been on its way
    for path in saved:
        checkpoint.read(path)


def test_full_disks(
    zygote: Zygote,
    small_disk: tuple[Zygote, Path] | None,
    few_digits: Path,
    uninterrupted: dict[str, dict[str, str]],
    tmp_path: Path,
    table: Table,
) -> None:
    """Every second run is on a disk that fills up, the others under a limit for each file, from a random step on."""
    random_ = random.Random(2)
    largest, together = {}, {}
    for model in SMALL:
        assert zygote.run(training(model, tmp_path / model, few_digits)).status == 0
        sizes = [path.stat().st_size for path in (tmp_path / model).glob("*/checkpoints/000030/*")]
        largest[model], together[model] = max(sizes), sum(sizes)
    on_disk = 0
    for count in range(COUNT):
        model = list(SMALL)[(count // 2 + 1) % len(SMALL)]  # a large one with the last, also in a short run
        step = random_.randrange(20, 30)
        # From a byte, where the first line of a log doesn't fit, up to a whole checkpoint: evenly on a scale of powers.
        power = (count + random_.random()) / COUNT
        if small_disk is not None and count % 2 == 0:
            runner, seen = small_disk
            out, place = tmp_path / "disk" / str(count), seen / str(count)
            ballast = tmp_path / "disk" / "ballast"
            fault = {"fill_at": [str(ballast), int(together[model] ** power), step]}
            remove = seen / "ballast"
            on_disk += 1
        else:
            runner, out = zygote, tmp_path / str(count)
            place, remove = out, out / "no ballast"
            fault = {"file_limit_at": [int(largest[model] ** power), step]}
        ended = runner.run(training(model, out, few_digits), **fault)
        run = only_run(place)
        assert run is not None, ended
        assert_stopped_well(ended, run, step)
        remove.unlink(missing_ok=True)
        ended = runner.run(["train", "--resume", str(out / run.name)])
        assert ended.status == 0, ended.printed
        assert result_of(run) == uninterrupted[model]
        shutil.rmtree(place)
    table.row(
        30,
        f"disk full at random points: {on_disk} times a file system of {ROOM >> 20} MB, "
        f"{COUNT - on_disk} times a limit for each file",
        f"{COUNT} of {COUNT}: exit 1 with one line, the previous checkpoint loads, no temporary file, and with room "
        "again the run resumes to the bit",
    )


def test_too_little_room_at_the_start(zygote: Zygote, few_digits: Path, tmp_path: Path) -> None:
    """Nothing is made where a run can't end well."""
    ended = zygote.run(training("ae", tmp_path / "runs", few_digits, "--hidden", "65536,65536"))
    assert ended.status == 1
    assert "free" in ended.printed
    assert not (tmp_path / "runs").exists()
