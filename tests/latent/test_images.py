from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from torch import Tensor

from genkit import files
from genkit.contract import ImageShape
from genkit.data.dataset import Dataset
from genkit.data.sets import painter
from genkit.errors import DataError, GenkitError
from genkit.latent import images
from genkit.latent.images import Row

RED, GREEN, BLUE = (200, 10, 10), (10, 200, 10), (10, 10, 200)


def plain(colour: tuple[int, ...], count: int = 1, height: int = 64, width: int = 64) -> Tensor:
    """Images of one colour each: uint8 (count, C, height, width)."""
    return torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand(count, -1, height, width)


def places(page: Image.Image, colour: tuple[int, int, int]) -> tuple[list[int], list[int]]:
    """The rows and columns of a page in which a colour occurs."""
    mask = (np.asarray(page.convert("RGB")) == colour).all(-1)
    return np.flatnonzero(mask.any(1)).tolist(), np.flatnonzero(mask.any(0)).tolist()


# Ranges and sizes


def test_floats_are_rounded_clamped_and_nan_is_black() -> None:
    values = torch.tensor([-1, 0, 0.4 / 255, 0.6 / 255, 0.5, 1, 7, float("nan"), float("inf")])
    assert images.to_uint8(values).tolist() == [0, 0, 0, 1, 128, 255, 255, 0, 255]
    assert images.to_uint8(torch.tensor([0.25, 1.0], dtype=torch.bfloat16)).tolist() == [64, 255]


def test_every_level_survives_the_way_to_float_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    floats = images.to_float(levels)
    assert floats.min() == 0
    assert floats.max() == 1
    assert images.to_uint8(floats).equal(levels)
    assert images.to_uint8(levels) is levels
    assert images.to_float(floats) is floats


@pytest.mark.parametrize(
    ("before", "after"), [((28, 28), (84, 84)), ((32, 32), (64, 64)), ((64, 64), (64, 64)), ((10, 200), (10, 200))]
)
def test_small_images_are_enlarged_by_a_whole_number(before: tuple[int, int], after: tuple[int, int]) -> None:
    assert images.enlarge(torch.zeros(2, 3, *before)).shape == (2, 3, *after)


def test_enlarging_repeats_pixels() -> None:
    assert images.enlarge(torch.tensor([[1, 2]]), side=4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]


def test_grid_lays_images_out_row_by_row() -> None:
    tiles = torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None, None]
    assert images.grid(tiles, columns=2, gap=1, background=255, side=1).tolist() == [
        [[10, 255, 20], [255, 255, 255], [30, 255, 255]]
    ]
    assert images.grid(tiles, columns=2, gap=0, background=0, side=1).tolist() == [[[10, 20], [30, 0]]]


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (5, 3), (9, 3), (64, 8)])
def test_grid_is_as_square_as_possible(count: int, columns: int) -> None:
    assert images.grid(torch.zeros(count, 1, 1, 1), gap=0, side=1).shape[2] == columns


def test_grid_of_digits_holds_their_pixels_enlarged(digits: Dataset) -> None:
    some = digits.test.images(slice(7))
    grid = images.grid(some, columns=4)
    assert grid.shape == (1, 2 * 84 + 2, 4 * 84 + 3 * 2)
    assert grid[0, 86 : 86 + 84 : 3, 2 * 86 : 2 * 86 + 84 : 3].equal(some[6, 0])
    assert images.grid(images.to_float(some), columns=4).equal(grid)


# Sheets


def test_sheet_puts_rows_below_and_images_beside_each_other() -> None:
    rows = [Row("first", torch.cat([plain(RED), plain(GREEN)])), Row("second", plain(BLUE))]
    page = images.sheet(rows)
    (red_rows, red_columns), (green_rows, green_columns) = places(page, RED), places(page, GREEN)
    blue_rows, blue_columns = places(page, BLUE)
    assert len(red_rows) == len(red_columns) == len(blue_rows) == len(green_columns) == 64
    assert red_rows == green_rows
    assert green_columns[0] > red_columns[-1]
    assert blue_columns == red_columns
    assert blue_rows[0] > red_rows[-1]


def ink(page: Image.Image, rows: slice, columns: slice) -> int:
    """How many dark pixels a part of a page has."""
    return int((np.asarray(page.convert("L"))[rows, columns] < 128).sum())


def test_captions_stand_left_of_their_rows() -> None:
    page = images.sheet([Row("seed 0 → seed 1", plain(RED)), Row("", plain(GREEN))])
    (red, columns), (green, _) = places(page, RED), places(page, GREEN)
    middle = (red[0] + red[-1]) // 2
    assert ink(page, slice(middle - 10, middle + 10), slice(0, columns[0] - 2)) > 100
    assert ink(page, slice(green[0], green[-1]), slice(0, columns[0] - 2)) == 0
    assert ink(page, slice(None), slice(columns[-1] + 3, None)) == 0


def test_arrows_and_accents_are_drawn_as_themselves() -> None:
    font = images.font(16)
    for letter in "→−×éσЖ":
        assert bytes(font.getmask(letter)) != bytes(font.getmask("\U0010ffff"))  # what it draws for unknown letters


def test_long_captions_take_more_lines_and_not_more_width() -> None:
    narrow = images.sheet([Row("word " * 8, plain(RED))])
    long = images.sheet([Row("word " * 80, plain(RED))])
    assert long.width <= images.CAPTION_WIDTH + 64 + 3 * images.MARGIN
    assert long.height > 2 * narrow.height
    assert len(places(long, RED)[0]) == 64


@settings(deadline=None)
@given(
    st.lists(st.text(st.characters(codec="latin-1", exclude_categories=["C", "Z"]), max_size=20), max_size=8).map(
        " ".join
    )
)
def test_wrapping_loses_nothing_and_keeps_within_the_width(text: str) -> None:
    lines = images.wrap(text, 16, 60).split("\n")
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(images.font(16).getlength(line) <= 60 for line in lines)


def test_headings_stand_above_and_labels_below_their_images() -> None:
    bare = images.sheet([Row("", torch.cat([plain(RED), plain(GREEN)]))])
    page = images.sheet([Row("", torch.cat([plain(RED), plain(GREEN)]), ["", "mean"])], ["−3.0", ""])
    (rows, red), (_, green) = places(page, RED), places(page, GREEN)
    assert page.height > bare.height
    above, below = slice(0, rows[0] - 2), slice(rows[-1] + 3, None)
    assert ink(page, above, slice(red[0], red[-1])) > 0
    assert ink(page, above, slice(green[0], green[-1])) == 0
    assert ink(page, below, slice(red[0], red[-1])) == 0
    assert ink(page, below, slice(green[0], green[-1])) > 0


def test_a_long_title_is_wrapped_within_the_page() -> None:
    page = images.sheet([Row("", plain(RED))], title="word " * 60)
    assert ink(page, slice(None), slice(page.width - images.MARGIN, None)) == 0
    assert places(page, RED)[0][0] > 5 * images.TITLE_SIZE


def test_rows_may_differ_in_size_colour_and_range(digits: Dataset) -> None:
    digit = digits.test.images(slice(1))
    rows = [Row("grey", digit), Row("colour", plain(RED, count=5)), Row("floats", torch.zeros(2, 1, 40, 90))]
    page = images.sheet(rows)
    columns = places(page, RED)[1]
    assert len(columns) == 5 * 64
    pixels = np.asarray(page)
    top, left = images.MARGIN, columns[0]
    assert (pixels[top : top + 84 : 3, left : left + 84 : 3] == digit[0, 0].numpy()[..., None]).all()
    assert images.sheet(rows).tobytes() == page.tobytes()


def test_bands_keep_originals_above_their_reconstructions() -> None:
    numbers = torch.arange(5).reshape(5, 1, 1, 1)
    cut = images.bands([Row("original", numbers), Row("reconstruction", -numbers, "abcde")], columns=3)
    assert [(row.caption, row.images.flatten().tolist(), "".join(row.labels)) for row in cut] == [
        ("original", [0, 1, 2], ""),
        ("reconstruction", [0, -1, -2], "abc"),
        ("", [], ""),
        ("original", [3, 4], ""),
        ("reconstruction", [-3, -4], "de"),
    ]


# Files


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_exact_pixels(tmp_path: Path, channels: int) -> None:
    image = torch.randint(256, (channels, 5, 7), dtype=torch.uint8)
    images.save_png(tmp_path / "new" / "a.png", image)
    images.save_png(tmp_path / "new" / "b.png", images.to_float(image))
    with Image.open(tmp_path / "new" / "a.png") as saved:
        assert np.array_equal(np.asarray(saved).reshape(5, 7, channels), image.permute(1, 2, 0).numpy())
    assert (tmp_path / "new" / "a.png").read_bytes() == (tmp_path / "new" / "b.png").read_bytes()


def test_an_interrupted_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with files.whole_file(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cant_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GenkitError, match=r"file/a\.png: can't be written .+; ") as caught:
        images.save_png(tmp_path / "file" / "a.png", torch.zeros(1, 2, 2))
    assert "\n" not in str(caught.value)


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        images.save_png(tmp_path / "a.png", torch.zeros(1, 2, 2))
    finally:
        os.umask(mask)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640


def frames_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as animation:
        return [np.asarray(frame.convert("RGB")).astype(float) for frame in ImageSequence.Iterator(animation)]


def test_grey_animation_is_exact_goes_back_and_forth_and_loops(tmp_path: Path, digits: Dataset) -> None:
    some = digits.test.images(slice(4))
    images.save_gif(tmp_path / "a.gif", some, seconds_per_frame=0.25)
    shown = frames_of(tmp_path / "a.gif")
    assert len(shown) == 6
    for frame, expected in zip(shown, some[[0, 1, 2, 3, 2, 1]], strict=True):
        assert frame.shape == (280, 280, 3)
        assert (frame == images.enlarge(expected, 256)[0].numpy()[..., None]).all()
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.info["loop"] == 0
        assert animation.info["duration"] == 250


def test_colours_of_an_animation_are_close(tmp_path: Path) -> None:
    start, end = (images.to_float(torch.from_numpy(face)) for face in painter.draw(2, 64)[0])
    path = torch.stack([start + t * (end - start) for t in torch.linspace(0, 1, 8)])
    images.save_gif(tmp_path / "a.gif", path, boomerang=False)
    images.save_gif(tmp_path / "b.gif", path, boomerang=False)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    shown = frames_of(tmp_path / "a.gif")
    assert len(shown) == 8
    for frame, expected in zip(shown, images.to_uint8(path), strict=True):
        error = np.square(frame[::4, ::4] - expected.permute(1, 2, 0).numpy()).mean()
        assert 10 * np.log10(255**2 / error) > 43  # decibels; fixed web colours would give 22


def test_an_animation_of_one_frame_is_a_picture(tmp_path: Path) -> None:
    images.save_gif(tmp_path / "a.gif", plain((7,)), seconds_per_frame=0.001)
    assert [frame.shape for frame in frames_of(tmp_path / "a.gif")] == [(256, 256, 3)]


def test_arrays_come_back_and_have_the_same_bytes_every_time(tmp_path: Path) -> None:
    codes = torch.randn(3, 2, requires_grad=True)
    images.save_npz(tmp_path / "a.npz", codes=codes, images=plain(RED))
    images.save_npz(tmp_path / "b.npz", codes=codes, images=plain(RED))
    with np.load(tmp_path / "a.npz") as arrays:
        assert np.array_equal(arrays["codes"], codes.detach().numpy())
        assert arrays["images"].dtype == np.uint8
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_own_image_is_turned_flattened_cut_and_brought_to_the_shape(tmp_path: Path) -> None:
    # As the camera stored it, it is 4 wide and 8 high; EXIF's 6 means that it is seen 8 wide, top to the right.
    picture = Image.new("RGBA", (4, 8), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 4, 4, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    image = images.read_image(tmp_path / "a.png", ImageShape(3, 4, 4))
    assert image.shape == (3, 4, 4)
    assert image.dtype == torch.float32
    # Cut to the central square: black (the stored lower half) to the left, transparent shown white to the right.
    assert image[:, :, :2].eq(0).all()
    assert image[:, :, 2:].eq(1).all()


def test_a_digit_saved_is_the_digit_read(tmp_path: Path, digits: Dataset) -> None:
    digit = digits.test.images(slice(1))[0]
    images.save_png(tmp_path / "a.png", digit)
    assert images.read_image(tmp_path / "a.png", digits.shape).equal(images.to_float(digit))


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"a\.png: is no image"):
        images.read_image(tmp_path / "a.png", ImageShape(1, 28, 28))
    with pytest.raises(DataError, match=r"b\.png: there is no such file"):
        images.read_image(tmp_path / "b.png", ImageShape(1, 28, 28))


@pytest.mark.parametrize("channels", [1, 3])
def test_many_pngs_are_the_bytes_of_one(tmp_path: Path, channels: int) -> None:
    some = torch.rand(2 * images.PNGS_AT_ONCE + 5, channels, 9, 7)
    images.save_pngs(tmp_path / "all", some)
    names = sorted(file.name for file in (tmp_path / "all").iterdir())
    assert names == [f"{index:05d}.png" for index in range(len(some))]
    for name, image in zip(names, some, strict=True):
        images.save_png(tmp_path / "one.png", image)
        assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "one.png").read_bytes()


def test_many_pngs_are_all_there_or_none(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "by").write_text("somebody")
    with pytest.raises(GenkitError, match="taken: can't be written"):
        images.save_pngs(tmp_path / "taken", torch.rand(40, 1, 9, 7))
    assert [path.name for path in tmp_path.rglob("*")] == ["taken", "by"]


@pytest.mark.parametrize("as_path", [str, Path])
@pytest.mark.parametrize("as_array", [Tensor.contiguous, Tensor.numpy])
def test_a_picture_is_saved_under_a_text_of_a_tensor_or_an_array(tmp_path: Path, as_path: type, as_array: Any) -> None:
    image = torch.randint(256, (3, 5, 7), dtype=torch.uint8)
    for name, each in (
        ("a", image),
        ("b", image[None]),
        ("c", image[0]),
        ("d", image[:1]),
        ("e", image.float() / 255),
    ):
        images.save_png(as_path(tmp_path / f"{name}.png"), as_array(each))
        with Image.open(tmp_path / f"{name}.png") as saved:
            expected = image[0] if name in "cd" else image.permute(1, 2, 0)
            assert np.array_equal(np.asarray(saved), expected.numpy())
    film = torch.randint(256, (3, 1, 5, 7), dtype=torch.uint8)
    images.save_gif(as_path(tmp_path / "a.gif"), as_array(film), boomerang=False)
    shown = [frame[..., 0] for frame in frames_of(tmp_path / "a.gif")]
    assert np.array_equal(shown, images.enlarge(film, 256)[:, 0].numpy())
    images.save_pngs(as_path(tmp_path / "all"), as_array(film))
    images.save_npz(as_path(tmp_path / "a.npz"), film=as_array(film))
    with np.load(tmp_path / "a.npz") as file:
        assert np.array_equal(file["film"], film.numpy())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            torch.zeros(4, 1, 2, 2),
            "(4, 1, 2, 2) are 4 images; give one, images[0], or all as one picture, grid(images)",
        ),
        (torch.zeros(5, 7, 3), "(5, 7, 3) is the shape of no image of 1 or 3 channels; give (C, H, W)"),
        (np.zeros((2, 5, 7)), "(2, 5, 7) is the shape of no image of 1 or 3 channels; give (C, H, W)"),
        (torch.zeros(3), "(3,) is the shape of no image of 1 or 3 channels; give (C, H, W)"),
        (torch.zeros(3, 0, 4), "(3, 0, 4) is the shape of no image of 1 or 3 channels; give (C, H, W)"),
        (torch.ones(1, 2, 2).long(), "images are floats in [0, 1], or uint8, and these are int64; convert them"),
        ("b.png", "images are a torch tensor or a NumPy array, and not str"),
        (None, "images are a torch tensor or a NumPy array, and not NoneType"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_line(tmp_path: Path, given: Any, said: str) -> None:
    with pytest.raises(DataError) as refused:
        images.save_png(tmp_path / "a.png", given)
    assert said in str(refused.value)
    assert list(tmp_path.iterdir()) == []
