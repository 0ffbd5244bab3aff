"""What becomes of pictures of other proportions, through all of it: packed, recorded, and read again one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import genkit as package
from genkit import data
from genkit.contract import ImageShape
from genkit.data import DataOptions
from genkit.data.pixels import Form
from genkit.errors import UsageError
from genkit.explore.server import Server
from genkit.keep import config
from genkit.keep.opened import Opened
from genkit.latent.images import read_image
from tests.conftest import Genkit


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 masks of 0 and 1 of 48x12 and 40x12, white on the left, as PNG files of grey."""
    folder = tmp_path_factory.mktemp("fit") / "wide"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(20):
        mask = np.zeros((12, 48 - 8 * (number % 2)), np.uint8)
        mask[:, : 12 + number // 2] = generator.random((12, 12 + number // 2)) < 0.9
        Image.fromarray(mask).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from genkit import cli

    out = tmp_path_factory.mktemp("runs")
    options = f"--image-size 12 --fit pad --hidden 16 --latent-dim 2 --epochs 1 --out {out}"
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "vae", "--dataset", str(pictures), *options.split()])
    assert not ended.value.code
    return next(out.glob("[0-9]*"))


def test_a_run_remembers_how_pictures_were_fitted(run: Path) -> None:
    assert config.read(run).data.fit == "pad"
    opened = Opened.find(str(run), torch.device("cpu"))
    assert opened.form == Form(ImageShape(1, 12, 12), "pad", {8: 1})
    assert opened.data_options("faces").fit == "pad"
    card = (run / "README.md").read_text()
    assert "| fit | pad | flag |" in card
    assert "\nOf the images: all pixels are 0 or 1, and 1 is taken for white.\n" in card


def test_a_picture_alone_is_read_as_in_its_folder(run: Path, pictures: Path) -> None:
    dataset = data.load(config.read(run).data)
    model = package.load(run)
    for row, path in enumerate(sorted(pictures.iterdir())):
        packed = dataset.train.storage[row]
        assert packed[0, :3].max() == 0  # the padding above
        assert packed.max() > 200
        assert (model.read_image(path) * 255).round().to(torch.uint8).equal(packed)


def test_every_command_that_takes_a_file_reads_it_so(run: Path, pictures: Path, genkit: Genkit, tmp_path: Path) -> None:
    file = pictures / "03.png"
    expected = read_image(file, Form(package.load(run).image, "pad", {8: 1}))
    assert not expected.equal(read_image(file, package.load(run).image))
    outcome = genkit("sample", run, "--reconstruct", "--file", file, "--npz", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    with np.load(next((tmp_path / "out").rglob("*.npz"))) as saved:
        assert np.allclose(saved["codes"].reshape(2), package.load(run).encode(expected).numpy(), atol=1e-5)


def test_a_run_that_says_nothing_of_it_is_of_the_central_square(run: Path, tmp_path: Path) -> None:
    """As earlier versions wrote it."""
    written = json.loads((run / "config.json").read_text())
    del written["data"]["fit"]
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert config.read(tmp_path).data.fit == "crop"


def test_two_sets_of_other_sizes_are_only_brought_together_by_cutting(pictures: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "square.npy", np.random.default_rng(0).integers(0, 256, (20, 12, 12), np.uint8))
    np.save(tmp_path / "wide.npy", np.random.default_rng(1).integers(0, 256, (20, 12, 40), np.uint8))
    options = DataOptions(dataset=str(tmp_path / "square.npy"), beside=str(tmp_path / "wide.npy"), fit="stretch")
    with pytest.raises(UsageError, match=r"--fit stretch: .* give --image-size, by which both are brought to one size"):
        data.load_for_training(options)
    both = data.load_for_training(options.model_copy(update={"image_size": 12}))
    assert both.beside is not None
    assert both.beside.shape == both.shape
    assert data.load_for_training(options.model_copy(update={"fit": "crop"})).beside is not None


def test_what_a_crop_loses_is_said_each_time(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        caplog.clear()
        with caplog.at_level("INFO", "genkit"):
            data.load(DataOptions(dataset=str(pictures), image_size=12))
        assert f"{pictures}: the central square keeps 25 % to 30 % of each picture; --fit pad keeps all of it" in (
            caplog.messages
        )


def test_and_so_is_what_an_array_loses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.save(tmp_path / "wide.npy", np.random.default_rng(1).integers(0, 256, (20, 12, 48), np.uint8))
    with caplog.at_level("INFO", "genkit"):
        cropped = data.load(DataOptions(dataset=str(tmp_path / "wide.npy"), image_size=12))
        assert "the central square keeps 25 % of each picture" in caplog.messages[-1]
        caplog.clear()
        padded = data.load(DataOptions(dataset=str(tmp_path / "wide.npy"), image_size=12, fit="pad"))
        assert not any("central square" in message for message in caplog.messages)
    assert cropped.train.storage[:, :, :4].max() > 0
    assert padded.train.storage[:, :, :4].max() == 0  # 3 rows of the 12 hold it all


def test_arrays_of_0_and_1_are_what_the_training_images_were(run: Path, pictures: Path) -> None:
    model = package.load(run)
    mask = (np.random.default_rng(2).random((4, 12, 12)) < 0.5).astype(np.uint8)
    assert np.array_equal(model.encode(mask), model.encode(mask.astype(np.float32)))
    grey = mask * np.uint8(2)
    assert np.array_equal(model.encode(grey), model.encode(grey.astype(np.float32) / 255))


def test_the_explorer_reads_a_picture_so(run: Path, pictures: Path, genkit: Genkit, monkeypatch) -> None:
    read = []

    def serve(server: Server, *_: object) -> None:
        read.append(server.desk.space.read((pictures / "03.png").read_bytes()))
        server.server_close()

    monkeypatch.setattr("genkit.cli.explore.serve", serve)
    assert genkit("explore", run, "--no-browser").code == 0
    assert read[0].equal(package.load(run).read_image(pictures / "03.png"))
