"""What is drawn stays within the bounds, and what can't is refused."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from genkit.contract import ImageShape
from genkit.errors import UsageError
from genkit.latent import bounds, images, pictures, sampling
from genkit.latent.bounds import require_room
from genkit.latent.images import Row
from genkit.models.dcgan import DCGAN
from genkit.models.vae import VAE

DIGIT, LARGE = ImageShape(1, 28, 28), ImageShape(3, 1024, 1024)


@pytest.mark.parametrize(
    ("image", "rows", "columns", "film", "fits"),
    [
        (DIGIT, 110, 1000, False, True),  # 1000 · 32 wide and 110 · 38 high: 134 million pixels, just below 2^27
        (DIGIT, 111, 1000, False, False),
        (LARGE, 9, 9, False, True),  # 255 million numbers
        (LARGE, 9, 10, False, False),
        (ImageShape(1, 128, 128), 40, 160, True, True),
        (ImageShape(1, 128, 128), 90, 80, True, True),
        (ImageShape(1, 128, 128), 100, 82, True, False),  # 8,200 frames, there and back: above 2^28 pixels
    ],
)
def test_the_bounds(image: ImageShape, rows: int, columns: int, film: bool, fits: bool) -> None:
    if fits:
        require_room(image, rows, columns, "fewer", film=film)
    else:
        with pytest.raises(UsageError, match=r"; give fewer$"):
            require_room(image, rows, columns, "fewer", film=film)


def test_what_fits_is_enlarged_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    some = torch.rand(4, 1, 28, 28)
    usual = images.grid(some, gap=0)
    assert usual.shape == (1, 2 * 84, 2 * 84)
    monkeypatch.setattr(images, "MOST_PIXELS", 2 * 84 * 2 * 84 - 1)
    smaller = images.grid(some, gap=0)
    assert smaller.shape == (1, 2 * 56, 2 * 56)
    assert smaller[:, ::2, ::2].equal(usual[:, ::3, ::3])
    monkeypatch.setattr(images, "MOST_PIXELS", 1)
    assert images.grid(some, gap=0).shape == (1, 56, 56)


def test_a_sheet_is_enlarged_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row("", torch.zeros(3, 1, 28, 28, dtype=torch.uint8))] * 2
    assert images.sheet(rows).size == (16 + 3 * 84 + 2 * 4 + 16, 16 + 2 * 84 + 10 + 16)
    monkeypatch.setattr(images, "MOST_PIXELS", 3 * (84 + 4) * 2 * (84 + 10) - 1)
    assert images.sheet(rows).size == (16 + 3 * 56 + 2 * 4 + 16, 16 + 2 * 56 + 10 + 16)


def test_an_animation_is_enlarged_as_far_as_there_is_room(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    film = torch.rand(5, 1, 28, 28)
    for most, side in ((2 * 5 * 280 * 280, 280), (2 * 5 * 280 * 280 - 1, 252), (1, 28)):
        monkeypatch.setattr(images, "MOST_FILM", most)
        images.save_gif(tmp_path / "a.gif", film)
        with Image.open(tmp_path / "a.gif") as picture:
            assert picture.size == (side, side)
            assert picture.n_frames == 8


def test_large_images_are_decoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose batches would else take gigabytes; and a picture of one is that of it among others."""
    small = VAE(DIGIT, VAE.Options(latent_dim=2, hidden=(4,)))
    assert sampling.chunk_of(small) == sampling.CHUNK == 32
    large = VAE(ImageShape(3, 400, 400), VAE.Options(latent_dim=2, hidden=(2,))).eval()
    assert sampling.chunk_of(large) == 8  # 2^22 numbers
    decode, sizes = large.decode, []
    monkeypatch.setattr(large, "decode", lambda z: sizes.append(len(z)) or decode(z))
    z = torch.randn(10, 2)
    among = sampling.decode(large, z)
    assert sizes == [8, 8]
    assert sampling.decode(large, z[9:]).equal(among[9:])


def test_codes_are_searched_for_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = DCGAN(ImageShape(1, 8, 8), DCGAN.Options(latent_dim=4, width=2)).eval()
    originals = model.decode(torch.randn(40, 4)).detach()
    decode, sizes = model.decode, []
    monkeypatch.setattr(model, "decode", lambda z: sizes.append(len(z)) or decode(z))
    found = sampling.invert(model, originals, steps=3, draws=10)
    assert max(sizes) == 32
    torch.testing.assert_close(found[:32], sampling.invert(model, originals[:32], steps=3, draws=10))
    torch.testing.assert_close(found[32:], sampling.invert(model, originals[32:], steps=3, draws=10))


def test_the_strongest_dimensions_are_the_same_however_few_are_swept_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = VAE(ImageShape(1, 8, 8), VAE.Options(latent_dim=40, hidden=(16,))).eval()
    z = torch.randn(40)
    whole = pictures.traversal(model, z, None, 3.0, 5, "")
    assert len(whole.rows) == pictures.TRAVERSED
    monkeypatch.setattr(pictures, "SWEPT_AT_ONCE", 1)
    one_by_one = pictures.traversal(model, z, None, 3.0, 5, "")
    assert [row.caption for row in whole.rows] == [row.caption for row in one_by_one.rows]
    assert whole.images.equal(one_by_one.images)
    assert whole.codes.equal(one_by_one.codes)


def test_names_of_files_are_plain_and_apart() -> None:
    names = ["a b.png", "A-B", "../../x", "..", "", "7/1", "x" * 300, "é.jpeg"]
    assert images.file_names(names) == ["a-b", "A-B-2", "-..-x", "image", "image-2", "7-1", "x" * 100, "é"]


def test_bounds_stay_below_what_pillow_opens() -> None:
    assert 2 * (Image.MAX_IMAGE_PIXELS or 0) > bounds.MOST_PIXELS
