from __future__ import annotations

import csv
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from genkit.data.dataset import Dataset, Split
from genkit.errors import GenkitError
from genkit.latent import projection, projector

DIGITS = [str(digit) for digit in range(10)]


def test_csv_gives_rows_of_the_data_set_and_quotes_names(tmp_path: Path) -> None:
    points = np.array([[1 / 3, -2.0], [1e-20, 12345.678]], np.float32)
    projector.write_csv(tmp_path / "a.csv", points, torch.tensor([1, 0]), ["cat", "dog, old"], torch.tensor([7, 9]))
    text = (tmp_path / "a.csv").read_bytes().decode()
    assert text == 'index,x,y,label,class\n7,0.333333343,-2,1,"dog, old"\n9,9.99999968e-21,12345.6777,0,cat\n'
    read = list(csv.DictReader(text.splitlines()))
    assert np.array_equal(np.array([[row["x"], row["y"]] for row in read], np.float32), points)
    projector.write_csv(tmp_path / "b.csv", points[:1], None, [], torch.tensor([7]))
    assert (tmp_path / "b.csv").read_text() == "index,x,y,label,class\n7,0.333333343,-2,,\n"


def served(folder: Path, route: str) -> bytes:
    """What TensorBoard's own projector answers when `--logdir` is `folder`."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    provider = MultiplexerDataProvider(EventMultiplexer(), str(folder))
    plugin = ProjectorPlugin(TBContext(logdir=str(folder), data_provider=provider))
    apps = plugin.get_plugin_apps()
    answer = Client(apps[route]).get("/", query_string={"run": ".", "name": "latents"})
    assert answer.status_code == 200, answer.data
    return answer.data


@pytest.mark.filterwarnings("ignore")  # TensorBoard's own
def test_tensorboard_shows_the_projector(tmp_path: Path, digits: Dataset, labels: Tensor) -> None:
    features = torch.randn(7, 3)
    classes = ["zero\tor\nO", *DIGITS[1:]]
    projector.write_projector(tmp_path, features, labels[:7], classes, torch.arange(20, 27), digits.test.take(slice(7)))
    config = served(tmp_path, "/info").decode()
    assert '"tensorShape": [\n        7,\n        3\n      ]' in config
    assert '"singleImageDim": [\n          28,\n          28\n        ]' in config
    tensors = np.frombuffer(served(tmp_path, "/tensor"), np.float32).reshape(7, 3)
    assert tensors == pytest.approx(features.numpy(), rel=1e-5)
    lines = served(tmp_path, "/metadata").decode().splitlines()
    assert lines[0] == "index\tlabel\tclass"
    names = ["zero or O", *DIGITS[1:]]
    assert lines[1:] == [f"{20 + row}\t{label}\t{names[label]}" for row, label in enumerate(labels[:7].tolist())]
    assert served(tmp_path, "/sprite_image") == (tmp_path / "sprite.png").read_bytes()
    with Image.open(tmp_path / "sprite.png") as picture:
        sprite = np.asarray(picture)
    assert sprite.shape == (84, 84)  # 3 x 3 cells, though 7 images would do with fewer rows of another length
    assert (sprite[56:, :28] == digits.test.images(slice(7))[6, 0].numpy()).all()
    assert not sprite[56:, 28:].any()


@pytest.mark.filterwarnings("ignore")
def test_projector_without_labels_has_no_header_and_without_images_no_sprite(tmp_path: Path) -> None:
    projector.write_projector(tmp_path, torch.randn(3, 2), None, [], torch.tensor([5, 6, 9]))
    assert served(tmp_path, "/metadata") == b"5\n6\n9\n"
    assert b"sprite" not in served(tmp_path, "/info")


def test_projector_of_wide_features_gets_their_components(tmp_path: Path, pixels: Tensor, labels: Tensor) -> None:
    projector.write_projector(tmp_path, pixels, labels, DIGITS, torch.arange(400))
    components, _ = projection.principal_components(pixels, 200)
    assert np.allclose(np.loadtxt(tmp_path / "tensors.tsv"), components.numpy(), rtol=1e-5, atol=1e-5)


def test_a_sprite_is_never_larger_than_tensorboard_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "SPRITE_SIDE", 100)
    images = torch.full((10, 3, 40, 60), 77, dtype=torch.uint8)
    picture, size = projector.sprite(Split(images, torch.arange(10)))
    assert size == (25, 16)
    assert picture.size == (100, 64)
    assert (np.asarray(picture)[:32] == 77).all()


def test_the_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """And so is the one above it, which was made for it alone."""
    folder = tmp_path / "embeddings" / "test-projector"
    given = (torch.randn(2000, 2), None, [], torch.arange(2000))
    images = Split(torch.zeros(2000, 1, 8, 8, dtype=torch.uint8), torch.arange(2000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # the tensors don't fit, the sprite does
    try:
        with pytest.raises(GenkitError, match="File too large"):
            projector.write_projector(folder, *given, images)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    projector.write_projector(folder, *given, images)
    assert {path.name for path in folder.iterdir()} == {
        "tensors.tsv", "metadata.tsv", "sprite.png", "projector_config.pbtxt"
    }  # fmt: skip
    assert [path.name for path in folder.parent.iterdir()] == ["test-projector"]
