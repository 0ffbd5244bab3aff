from __future__ import annotations

from pathlib import Path

import pytest

from genkit.errors import DataError


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a pointer to a file in Git LFS"),
        ("\\documentclass{article}", "a LaTeX document"),
        ("%PDF-1.7", "a PDF document"),
    ],
)
def test_what_is_no_data_is_called_what_it_is(of, tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "set.npz").write_text(content)
    with pytest.raises(DataError, match=f"set.npz: is {what}"):
        of(tmp_path / "set.npz")
