"""The model card of a run."""

from __future__ import annotations

from pathlib import Path

from conftest import run_of


def test_what_nobody_has_said_is_no_setting(runs: Path) -> None:
    """How many classes a classifier tells, the images say; a VAE that is told none has no such line."""
    assert "| classes | 10 | data |" in (run_of(runs, "classifier") / "README.md").read_text()
    card = (run_of(runs, "vae") / "README.md").read_text()
    assert "| classes |" not in card
    assert "| kl-warmup | 0.0 | default |" in card
