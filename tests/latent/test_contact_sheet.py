"""The sheet of somebody's images: each in its proportions and unchanged, bounded in size, whatever names there are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from genkit.data.survey import Survey
from genkit.latent import contact_sheet


def surveyed(
    images: list[np.ndarray], labels: np.ndarray | None = None, classes=(), attributes=None, names=()
) -> Survey:
    survey = Survey(len(images), labels, classes, attributes, names)
    for row, image in enumerate(images):
        survey.take(row, row, survey.glimpse(row, image), 8)
    return survey


def stands_in(page: Image.Image, picture: np.ndarray) -> bool:
    """Whether a picture (H, W) or (H, W, 3) stands somewhere on a page, pixel by pixel."""
    pixels = np.asarray(page).astype(np.int16)
    wanted = np.asarray(Image.fromarray(picture).convert("RGB")).astype(np.int16)
    height, width = wanted.shape[:2]
    corners = np.argwhere((pixels[: -height or None, : -width or None] == wanted[0, 0]).all(-1))
    return any((pixels[top : top + height, left : left + width] == wanted).all() for top, left in corners)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (channels, height, width), np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(28, 28, 3), (8, 8, 12), (96, 40, 1), (50, 96, 1), (32, 20, 3)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_whole_and_enlarged_by_whole_numbers(height: int, width: int, factor: int, channels: int) -> None:
    image = noise(height, width, channels)
    page = contact_sheet.draw(surveyed([image] * 3), "title")
    picture = image[0] if channels == 1 else image.transpose(1, 2, 0)
    assert stands_in(page, picture.repeat(factor, 0).repeat(factor, 1))


def test_each_class_has_its_row() -> None:
    images = [np.full((1, 28, 28), value, np.uint8) for value in range(0, 200, 10)]
    labels = np.arange(20) // 10
    page = np.asarray(contact_sheet.draw(surveyed(images, labels, ("a", "b")), "title"))[..., 0]
    for number, value in enumerate(range(10, 200, 10), 1):
        rows, _ = np.nonzero(page == value)
        assert len(rows) >= 84 * 84, value
        assert (np.median(rows) < page.shape[0] / 2) == (number < 10)


def test_pictures_of_several_proportions_stand_on_a_ground() -> None:
    images = [noise(96, 48), noise(48, 96), noise(96, 96)]
    page = contact_sheet.draw(surveyed(images), "title")
    assert all(stands_in(page, image.transpose(1, 2, 0)) for image in images)
    assert (np.asarray(page) == contact_sheet.GROUND).all(-1).any()
    alike = contact_sheet.draw(surveyed(images[:1] * 3), "title")
    assert not (np.asarray(alike) == contact_sheet.GROUND).all(-1).any()


@pytest.mark.parametrize("count", [1, 2, 11, 30, 61, 120, 1000])
@pytest.mark.parametrize("side", [8, 200])
def test_a_sheet_of_any_number_of_classes_can_be_looked_at(count: int, side: int) -> None:
    images = [noise(side, side)] * (3 * count)
    classes = tuple(f"class {label} " + "of a very long name " * (label % 5) for label in range(count))
    page = contact_sheet.draw(surveyed(images, np.arange(3 * count) % count, classes), "a title " * 50)
    assert page.width < 3000
    assert page.height < 4000


def test_classes_that_arent_shown_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    survey = surveyed([noise(8, 8)] * 300, np.arange(300), tuple(map(str, range(300))))
    assert len(list(survey.shown())) == 120
    assert survey.left_out == {"class": tuple(map(str, range(120, 300)))}
    assert contact_sheet._others("class", survey.left_out["class"]) == "180 further classes, 120 to 299"


def test_attributes_stand_below_classes() -> None:
    images = [np.full((1, 28, 28), value, np.uint8) for value in range(100)]
    attributes = np.stack([np.arange(100) == 77], 1)
    survey = surveyed(images, np.arange(100) // 50, ("a", "b"), attributes, ("smile",))
    page = np.asarray(contact_sheet.draw(survey, "title"))[..., 0]
    rows, _ = np.nonzero(page == 77)
    assert rows.max() > page.shape[0] * 0.6
    (*_, (group, pictures)) = survey.shown()
    assert (group.kind, group.name, group.images, len(pictures)) == ("attribute", "smile", 1, 1)


@pytest.mark.parametrize("name", ["", "a" * 500, "猫" * 50, "Ünï cödé", "_" * 60, "x " * 100])
def test_any_name(name: str) -> None:
    page = contact_sheet.draw(surveyed([noise(20, 20)] * 4, np.arange(4) % 2, (name, "b")), name)
    assert page.width < 1000
    assert page.height < 500
