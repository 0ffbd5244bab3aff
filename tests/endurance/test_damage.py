"""No damaged checkpoint is ever opened, and none is written in an order in which a loss of power could damage it."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import random_batch, small_model
from endurance.conftest import Table, scaled
from endurance.harness import SMALL, TESTS, Zygote, only_run, result_of, training

from genkit import registry
from genkit.contract import ImageShape
from genkit.errors import CheckpointError
from genkit.keep import checkpoint
from genkit.step.training import TrainingState, train

IMAGE = ImageShape(1, 12, 12)
COUNT = scaled(1000)


def state_of(name: str) -> TrainingState:
    return TrainingState(small_model(name, IMAGE, latent_dim=4, ema=0.9, hidden=(8,), width=1), 4, 4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Two checkpoints of one run of each model, one step apart."""
    found = {}
    for name in registry.names():
        state, folder = state_of(name), tmp_path_factory.mktemp(name)
        written = []
        for step in (1, 2):
            list(train(state, [random_batch(IMAGE)]))
            written.append(
                checkpoint.write(
                    folder / f"{step:06d}", checkpoint.snapshot(state, model=name, metrics={"val/loss": 1.0})
                )
            )
        found[name] = (written[0], written[1])
    return found


def flipped(content: bytes, other: bytes, random_: random.Random) -> bytes:
    changed = bytearray(content)
    changed[random_.randrange(len(content))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def zeroed(content: bytes, other: bytes, random_: random.Random) -> bytes:
    start = random_.randrange(len(content))
    size = min(random_.choice([1, 16, 512, 4096]), len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def truncated(content: bytes, other: bytes, random_: random.Random) -> bytes:
    return content[: random_.randrange(len(content))]


def swapped_header(content: bytes, other: bytes, random_: random.Random) -> bytes:
    """The beginning, where sizes and names are, of the same file of another step."""
    size = random_.choice([8, 64, 256, len(content) // 2])
    return other[:size] + content[size:]


def swapped(content: bytes, other: bytes, random_: random.Random) -> bytes:
    return other


MUTATIONS: list[Callable[[bytes, bytes, random.Random], bytes]] = [flipped, zeroed, truncated, swapped_header, swapped]


def test_mutated_checkpoints(whole: dict[str, tuple[Path, Path]], tmp_path: Path, table: Table) -> None:
    random_ = random.Random(4)
    refused = 0
    while refused < COUNT:
        name = random_.choice(list(whole))
        ours, theirs = whole[name]
        damaged = tmp_path / "damaged"
        shutil.copytree(ours, damaged)
        path = random_.choice(sorted(damaged.iterdir()))
        content = path.read_bytes()
        mutation = random_.choice(MUTATIONS)
        changed = mutation(content, (theirs / path.name).read_bytes(), random_)
        if changed != content:
            path.write_bytes(changed)
            with pytest.raises(CheckpointError) as by_read:
                checkpoint.read(damaged)
            with pytest.raises(CheckpointError) as by_restore:
                checkpoint.restore(damaged, state_of(name))
            for refusal in (str(by_read.value), str(by_restore.value)):
                assert "\n" not in refusal
                assert str(damaged) in refusal
            refused += 1
        shutil.rmtree(damaged)
    for ours, theirs in whole.values():  # and it was the damage that was refused
        assert checkpoint.read(ours).description.step + 1 == checkpoint.read(theirs).description.step
    table.row(
        25,
        f"bit flips, zeroed ranges, truncations, swapped headers and files in checkpoints: {refused} mutations",
        f"0 of {refused} accepted, 0 tracebacks",
    )


@pytest.mark.parametrize("model", SMALL)
def test_a_damaged_newest_gives_way_to_the_one_before(
    zygote: Zygote, few_digits: Path, uninterrupted: dict[str, dict[str, str]], tmp_path: Path, model: str
) -> None:
    """Loudly, and the run still comes to the same end."""
    assert zygote.run(training(model, tmp_path, few_digits)).status == 0
    run = only_run(tmp_path)
    newest = run / "checkpoints" / "000030"
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    ended = zygote.run(["train", "--resume", str(run)])
    assert ended.status == 0
    assert f"warning: {newest}/model.safetensors is damaged" in ended.printed
    assert "resumed  after 20 of 30 steps" in ended.printed
    assert (newest.parent / "damaged-000030" / "model.safetensors").read_bytes() == content
    assert result_of(run) == uninterrupted[model]


def test_a_damaged_best_gives_way_to_the_next(zygote: Zygote, few_digits: Path, tmp_path: Path) -> None:
    assert zygote.run(training("vae", tmp_path, few_digits)).status == 0
    run = only_run(tmp_path)
    for damaged in (30, 20):
        path = run / "checkpoints" / f"{damaged:06d}" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        ended = zygote.run(["info", str(run)])
        assert f"{'warning' if damaged == 30 else 'genkit'}: {path} is damaged" in ended.printed
        assert ended.status == 1
        assert ("trained     20 steps" in ended.printed) == (damaged == 30)


STRACE = ["strace", "-f", "-y", "-e", "trace=openat,write,fsync,fdatasync,rename,renameat,renameat2,mkdir"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace isn't installed")
def test_the_disk_has_it_before_it_has_its_name(tmp_path: Path, table: Table) -> None:
    """Every file of a checkpoint, then its folder, is synced; then it is renamed; then the folder above is synced."""
    code = f"""
import sys, torch
from pathlib import Path
from endurance.test_damage import checkpoint, state_of
torch.set_num_threads(1)
checkpoint.write(Path({str(tmp_path)!r}) / "000001", checkpoint.snapshot(state_of("vae"), model="vae"))
"""
    log = tmp_path / "strace.txt"
    traced = subprocess.run(
        [*STRACE, "-o", str(log), sys.executable, "-c", code], cwd=TESTS, capture_output=True, text=True, check=False
    )
    if "ptrace" in traced.stderr.lower():
        pytest.skip("this system lets nobody trace")
    assert traced.returncode == 0, traced.stderr
    calls = re.findall(r"^\d+ +(\w+)\((.*)", log.read_text(), re.M)
    events = [(call, rest) for call, rest in calls if str(tmp_path) in rest and ".txt" not in rest]
    (rename,) = [index for index, (call, rest) in enumerate(events) if call.startswith("rename")]
    temporary = re.search(r'"([^"]+)"', events[rename][1])[1]
    assert f'"{tmp_path}/000001"' in events[rename][1]
    written = {re.search(r"<([^>]+)>", rest)[1] for call, rest in events[:rename] if call == "write"}
    synced = [re.search(r"<([^>]+)>", rest)[1] for call, rest in events[:rename] if call in ("fsync", "fdatasync")]
    assert written == {f"{temporary}/{path.name}" for path in (tmp_path / "000001").iterdir()}
    assert sorted(synced) == sorted([*written, temporary])
    assert synced[-1] == temporary
    assert synced[-2].endswith("manifest.json")
    last_write = {
        path: max(i for i, (call, rest) in enumerate(events) if call == "write" and path in rest) for path in written
    }
    for path, index in last_write.items():
        assert any(call == "fsync" and path in rest for call, rest in events[index:rename]), f"{path} synced too early"
    after = [re.search(r"<([^>]+)>", rest)[1] for call, rest in events[rename:] if call == "fsync"]
    assert after == [str(tmp_path)]
    table.row(
        32,
        "fsync of every file and of its folder before the rename, of the folder above after it, seen with strace",
        "yes",
    )
