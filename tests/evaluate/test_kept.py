"""evaluation.json: what a further measurement replaces there, and what it leaves alone."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from genkit.errors import GenkitError
from genkit.evaluate import kept


def evaluation(figures: dict[str, float], left_out: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    return {
        "run": "/runs/00000-vae",
        "checkpoint": "/runs/00000-vae/checkpoints/000010",
        "sum": "abc",
        "model": "vae",
        "epochs": 2.0,
        "dataset": "mnist",
        "split": "test",
        "resolution": "1×28×28",
        "images": 100,
        "data_sum": "def",
        "pictures": {},
        "figures": [
            {"name": name, "value": value, "error": None, "unit": "", "conditions": {}, "warning": None}
            for name, value in figures.items()
        ],
        "left_out": [{"name": name, "reason": "because"} for name in left_out],
        **changes,
    }


def values(one: dict[str, Any]) -> dict[str, float]:
    return {each["name"]: each["value"] for each in one["figures"]}


FULL = evaluation(
    {"reconstruction/psnr": 1, "likelihood/nll": 2, "samples/frechet": 3, "samples/kernel": 4},
    ("arithmetic", "likelihood/aggregate_mmd"),
    pictures={"nearest": "a.png"},
)


def test_a_measurement_replaces_its_own_topics_and_nothing_else() -> None:
    (found,) = kept.merged([FULL], evaluation({"likelihood/nll": 7}, epochs=3.0))
    assert values(found) == {
        "reconstruction/psnr": 1, "likelihood/nll": 7, "samples/frechet": 3, "samples/kernel": 4,
    }  # fmt: skip
    assert [each["name"] for each in found["figures"]] == list(values(FULL)), "in the topics' order"
    assert [each["name"] for each in found["left_out"]] == ["arithmetic"]
    assert found["pictures"] == {"nearest": "a.png"}
    assert found["epochs"] == 3
    (found,) = kept.merged([FULL], evaluation({"samples/frechet": 9}, pictures={"nearest": "b.png"}))
    assert "samples/kernel" not in values(found)
    assert found["pictures"] == {"nearest": "b.png"}


def test_a_topic_of_which_nothing_was_found_does_not_take_what_was() -> None:
    before = evaluation({"arithmetic/a - b/success": 1})
    (found,) = kept.merged([before], evaluation({"reconstruction/psnr": 2}, ("arithmetic", "likelihood")))
    assert values(found) == {"reconstruction/psnr": 2, "arithmetic/a - b/success": 1}
    assert [each["name"] for each in found["left_out"]] == ["likelihood"]


@pytest.mark.parametrize(
    "other",
    [{"sum": "other"}, {"dataset": "kmnist"}, {"split": "val"}, {"images": 50}, {"data_sum": "changed"}],
    ids=str,
)
def test_other_weights_or_images_are_another_evaluation(other: dict[str, Any]) -> None:
    new = evaluation({"likelihood/nll": 7}, **other)
    assert kept.merged([FULL], new) == [FULL, new]
    assert kept.merged([FULL, new], evaluation({"samples/frechet": 9}))[0] == new, "the newest is the last"
    assert len(kept.merged([FULL, new], evaluation({"samples/frechet": 9}))) == 2


def test_a_file_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    assert kept.read(path) == []
    old = {key: value for key, value in FULL.items() if key != "data_sum"}
    path.write_text(json.dumps({"schema_version": 1, **old}))
    assert kept.read(path) == [old]
    (found,) = kept.merged(kept.read(path), evaluation({"likelihood/nll": 7}))
    assert values(found)["samples/frechet"] == 3
    kept.write(path, tmp_path, [found])
    written = json.loads(path.read_text())
    assert written == {"schema_version": 2, "run": str(tmp_path), "evaluations": [found]}
    assert kept.read(path) == [found]


def test_pictures_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    without = {key: value for key, value in FULL.items() if key != "pictures"}
    path.write_text(json.dumps({"schema_version": 2, "evaluations": [without]}))
    (found,) = kept.merged(kept.read(path), evaluation({"samples/frechet": 9}, pictures={"nearest": "b.png"}))
    assert found["pictures"] == {"nearest": "b.png"}


def test_one_process_at_a_time_changes_a_file(tmp_path: Path) -> None:
    """Whoever comes while another is at it waits, and so reads what that has written."""
    path, entered = tmp_path / "evaluation.json", []

    def enter(name: str) -> None:
        with kept.locked(path):
            entered.append(name)
            kept.write(path, tmp_path, kept.merged(kept.read(path), evaluation({f"samples/{name}": 1}, sum=name)))

    with kept.locked(path):
        others = [threading.Thread(target=enter, args=(name,)) for name in "ab"]
        for each in others:
            each.start()
            each.join(0.2)
        assert entered == []
    for each in others:
        each.join()
    assert sorted(each["sum"] for each in kept.read(path)) == ["a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        "notes", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 3, "evaluations": []}',
        json.dumps({"schema_version": 2, "evaluations": [{**FULL, "figures": [{"name": "a"}]}]}),
        json.dumps({"schema_version": 2, "evaluations": [{**FULL, "pictures": {"nearest": 1}}]}),
        json.dumps({"schema_version": 2, "evaluations": [{**FULL, "data_sum": [1]}]}),
    ],
)  # fmt: skip
def test_what_is_no_file_of_evaluations_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(content)
    with pytest.raises(GenkitError, match="no file of evaluations"):
        kept.read(path)
    with pytest.raises(GenkitError, match="stays as it is"):
        kept.own(path, tmp_path, tmp_path / "checkpoint")


def test_what_lies_in_a_run_is_the_runs_and_elsewhere_it_must_name_it(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    kept.write(path, Path("/runs/00000-vae"), [FULL])
    assert kept.own(path, tmp_path, tmp_path / "checkpoints" / "000010") == [FULL], "the run was moved"
    assert kept.own(path, Path("/runs/00000-vae"), Path("/")) == [FULL]
    for run, checkpoint in ((Path("/runs/00001-vae"), Path("/")), (None, tmp_path)):
        with pytest.raises(GenkitError, match="stays as it is"):
            kept.own(path, run, checkpoint)


def test_what_a_coarser_measurement_replaces_is_named() -> None:
    def measured(n: int, k: int) -> dict[str, Any]:
        nll = {"name": "likelihood/nll", "conditions": {"n": n, "k": k}}
        return {"figures": [nll, {"name": "reconstruction/ssim", "conditions": {"n": 500}}]}

    assert kept.coarser(measured(1000, 5000), measured(20, 5000)) == ["likelihood of n 1,000, k 5,000"]
    assert kept.coarser(measured(1000, 5000), measured(1000, 50)) == ["likelihood of n 1,000, k 5,000"]
    assert kept.coarser(measured(20, 50), measured(1000, 5000)) == []
    assert kept.coarser({"figures": []}, measured(20, 50)) == []
