"""What memory there is, in a container and out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genkit import device


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group of 100 MB of which 70 are used, 50 of them by files that were read."""
    (tmp_path / "memory.max").write_text("100000000\n")
    (tmp_path / "memory.current").write_text("70000000\n")
    (tmp_path / "memory.stat").write_text("anon 20000000\ninactive_file 50000000\n")
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    return tmp_path


def test_files_that_were_read_give_way(container: Path) -> None:
    assert device.free_memory() == 80_000_000


def test_a_container_has_no_more_than_its_limit(container: Path) -> None:
    assert device.memory_of(torch.device("cpu")) == 100_000_000


def test_without_a_limit_there_is_what_the_machine_has(container: Path) -> None:
    (container / "memory.max").write_text("max\n")
    assert device.memory_of(torch.device("cpu")) > 100_000_000
    assert device.free_memory() > 100_000_000
