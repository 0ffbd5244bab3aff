"""What `genkit.data` itself does: names, options, and which source reads what."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from genkit.data import DataOptions, fetch, load, names, verify
from genkit.errors import DataError, UsageError


def test_names_without_torch():
    """`genkit --help` and `genkit data list` have 0.3 seconds."""
    program = (
        "import sys; from genkit.data import names, DataOptions; print(*names()); sys.exit('torch' in sys.modules)"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert outcome.returncode == 0
    assert outcome.stdout.split() == list(names())
    assert {"mnist", "fashion-mnist", "kmnist", "cifar10", "mnist5k", "faces", "scenes", "emnist-letters"} <= set(
        names()
    )


@pytest.mark.parametrize(
    "options",
    [{"image_size": 7}, {"image_size": 1025}, {"channels": 2}, {"channels": "4"}, {"skip_bad": -1}, {"size": 28}],
)
def test_options_have_bounds(options):
    with pytest.raises(ValidationError):
        DataOptions(**options)


def test_channels_may_be_a_string_as_variables_are():
    assert DataOptions(channels="3").channels == 3


def test_a_name_or_a_path_will_do_in_python(tmp_path):
    assert len(load("mnist5k").train) == 4000
    np.save(tmp_path / "a.npy", np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8))
    assert load(tmp_path / "a.npy").shape == load(DataOptions(dataset=str(tmp_path / "a.npy"))).shape == (1, 8, 8)
    with pytest.raises(DataError, match="load takes DataOptions, or a set's name or path, and not NoneType"):
        load(None)


def test_a_name_goes_before_a_path(of, tmp_path, monkeypatch):
    (tmp_path / "mnist5k").mkdir()
    monkeypatch.chdir(tmp_path)
    assert len(of("mnist5k").train) == 4000
    with pytest.raises(DataError, match=r"^\./mnist5k|mnist5k: no image files"):
        of("./mnist5k")


def test_nothing_of_that_name(of):
    for call in (of, verify):
        with pytest.raises(
            DataError, match="minst: no such file or folder, and no such set; `genkit data list` names "
        ):
            call("minst")
    with pytest.raises(UsageError, match="minst: there is no such set to fetch"):
        fetch("minst")


def test_faces_are_drawn_once(of, monkeypatch):
    from genkit.data.sets import painter

    monkeypatch.setattr(painter, "COUNT", 60)
    monkeypatch.setattr(painter.draw, "__defaults__", (60, *painter.draw.__defaults__[1:]))
    with pytest.raises(DataError, match="faces haven't been drawn yet; run `genkit data fetch faces`"):
        verify("faces")
    files = fetch("faces")
    assert [path.name for path in files] == ["attributes.npy", "images.npy", "pack.json", "splits.npy"]
    dataset = of("faces")
    assert dataset.shape == (3, 32, 32)
    assert dataset.attributes == painter.ATTRIBUTES
    images, attributes = painter.draw()
    for split in dataset.splits().values():
        assert (split.images().numpy() == images[split.rows]).all()
        assert (split.attributes.numpy() == attributes[split.rows]).all()
    assert verify("faces").ok

    def fail(*arguments: object, **options: object) -> None:
        pytest.fail("drawn twice")

    monkeypatch.setattr(painter, "draw", fail)
    assert len(of("faces").test) == 6
    with pytest.raises(pytest.fail.Exception):
        of("faces", image_size=20, channels=1)


def test_scenes_are_drawn_with_their_classes(of, monkeypatch):
    from genkit.data.sets import scene_painter

    monkeypatch.setattr(scene_painter.draw, "__defaults__", (60, *scene_painter.draw.__defaults__[1:]))
    with pytest.raises(DataError, match="scenes haven't been drawn yet; run `genkit data fetch scenes`"):
        verify("scenes")
    for size in (32, 20):
        dataset = of("scenes", image_size=size)
        assert dataset.shape == (3, size, size)
        assert dataset.classes == scene_painter.CLASSES
        images, labels = scene_painter.draw(size=size)
        for split in dataset.splits().values():
            assert (split.images().numpy() == images[split.rows]).all()
            assert (split.labels.numpy() == labels[split.rows]).all()
    assert verify("scenes").ok


@pytest.mark.parametrize("size", [8, 200])
def test_scenes_of_a_size_that_shows_nothing_are_refused(genkit, tmp_path, size):
    more = ("--hidden", 8, "--steps", 1, "--out", tmp_path / "runs")
    outcome = genkit("train", "ae", "--dataset", "scenes", "--image-size", size, *more)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"genkit: scenes can't be drawn {size} pixels wide; give a size from 16 to 128\n"
    assert not (tmp_path / "runs").exists()


def test_scenes_that_nobody_has_drawn_cannot_be_checked(genkit):
    outcome = genkit("data", "verify", "scenes")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "genkit: scenes haven't been drawn yet; run `genkit data fetch scenes`\n"


def test_verify_reads_images_as_they_are_meant(genkit, tmp_path, pictures):
    """What it asks for can be given: which array has the images, which column the labels."""
    path = tmp_path / "two.npz"
    np.savez(path, a=pictures, b=pictures[::-1], labels=np.arange(100) // 10)
    asked = genkit("data", "verify", path)
    assert asked.code == 1
    assert "--images a" in asked.out
    outcome = genkit("data", "verify", path, "--images", "a")
    assert outcome.code == 0, outcome.out
    refused = genkit("data", "verify", "mnist5k", "--images", "a")
    assert refused.code == 2
    assert "--images: of mnist5k that is known; leave it out" in refused.err


def test_a_name_that_no_system_takes_is_no_file():
    with pytest.raises(DataError, match="no such file or folder, and no such set"):
        load("x" * 300)
