"""How do tensors become pictures that a person can look at? Grids, captioned sheets, PNG and GIF, and one's own files.

Everywhere else an image is a tensor: uint8, or float in [0, 1], with 1 or 3 channels. Every function here takes both
kinds, and the same tensors give the same bytes.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from genkit.contract import ImageShape
from genkit.data.decode import EXTENSIONS, BadImage, decode, range_of, read_header, without_warnings
from genkit.data.levels import white_of_one
from genkit.data.pixels import Form
from genkit.errors import DataError
from genkit.files import expanded, whole_file, whole_folder
from genkit.latent.bounds import GAP, MOST_FILM, MOST_PIXELS, ROW_GAP

#: The longer side, in pixels, that a tile has at least where there is room, so that small images can be seen without a
#: microscope.
TILE = 64
#: The same for the frames of an animation, which is looked at by itself.
FRAME = 256
#: Pixels between the images of a plain grid.
GRID_GAP = 2
#: Files that a thread writes before it looks for more work, which takes as long as a small one of them.
PNGS_AT_ONCE = 32


# ---------------------------------------------------------------------------------------------------------------------
# Ranges and sizes
# ---------------------------------------------------------------------------------------------------------------------


def to_uint8(images: Tensor) -> Tensor:
    """Floats in [0, 1] (any shape) as uint8, rounded; what lies outside is clamped and NaN is black. uint8 stays."""
    if images.dtype == torch.uint8:
        return images
    # In place, in the copy that the first of them makes: many images take a GB.
    return images.detach().nan_to_num(nan=0.0).clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """uint8 (any shape) as float32 in [0, 1]; floats stay."""
    return images if images.is_floating_point() else images.float() / 255


def enlarge(images: Tensor, side: int = TILE) -> Tensor:
    """Repeat each pixel of (..., H, W) until the longer side is at least `side`: 28 to 84, 32 to 64. Never shrinks."""
    return repeat(images, _factor(images, side))


def repeat(images: Tensor, factor: int) -> Tensor:
    """Each pixel of (..., H, W) `factor` times as high and as wide."""
    return images.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def _factor(images: Tensor, side: int) -> int:
    return max(1, math.ceil(side / max(images.shape[-2:])))


def grid(
    images: Tensor, columns: int | None = None, gap: int = GRID_GAP, background: int = 255, side: int = TILE
) -> Tensor:
    """Lay images out row by row, the small ones enlarged, as far as there is room (`bounds`).

    Args:
        images: (B, C, H, W), B at least 1.
        columns: images a row; as square as possible by default.
        gap: pixels between neighbours; none at the edges.
        background: grey of the gaps and of the places that the last row leaves free, 0 to 255.
        side: see `enlarge`; 1 leaves the images as they are.

    Returns:
        uint8 (C, H', W') on the CPU.
    """
    images = to_uint8(images).cpu()
    count, channels = images.shape[:2]
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)

    def cell(factor: int) -> tuple[int, int]:
        return images.shape[2] * factor, images.shape[3] * factor

    def pixels(factor: int) -> int:
        height, width = cell(factor)
        return rows * (height + gap) * columns * (width + gap)

    factor = _with_room(_factor(images, side), pixels, MOST_PIXELS)
    height, width = cell(factor)
    canvas = torch.full(
        (channels, rows * (height + gap) - gap, columns * (width + gap) - gap), background, dtype=torch.uint8
    )
    for row, some in enumerate(images.split(columns)):
        top = row * (height + gap)
        for column, image in enumerate(repeat(some, factor)):
            left = column * (width + gap)
            canvas[:, top : top + height, left : left + width] = image
    return canvas


def _with_room(factor: int, size: Callable[[int], int], most: int) -> int:
    """The largest factor, at most this one, of which `size` isn't above `most`; 1 where there is none."""
    while factor > 1 and size(factor) > most:
        factor -= 1
    return factor


def to_pil(image: Tensor) -> Image.Image:
    """(C, H, W) as a Pillow image: mode L for 1 channel, RGB for 3."""
    pixels = to_uint8(image).cpu()
    return Image.fromarray((pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).contiguous().numpy())


# ---------------------------------------------------------------------------------------------------------------------
# Sheets: rows of images that say what they are
# ---------------------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One row of a sheet.

    Attributes:
        caption: stands to the left of the images; wrapped where it is long, and at its own newlines.
        images: (N, C, H, W). Rows of one sheet may differ in all four.
        labels: under the images, one each; may be fewer.
    """

    caption: str
    images: Tensor
    labels: Sequence[str] = ()


MARGIN = 16
CAPTION_WIDTH = 220
CAPTION_SIZE, LABEL_SIZE, TITLE_SIZE = 16, 13, 20
INK, FAINT_INK, FRAME_INK = (24, 24, 27), (95, 95, 104), (212, 212, 216)


def sheet(rows: Sequence[Row], headings: Sequence[str] = (), title: str = "") -> Image.Image:
    """Rows of images, each with its caption, on white: reconstructions, interpolations, traversals, sums of codes.

    Args:
        rows: from top to bottom; small images are enlarged as far as there is room (`bounds`).
        headings: above the columns, which are those of the first row.
        title: above everything.
    """
    tiles = [to_uint8(row.images).cpu() for row in rows]

    def pixels(side: int) -> int:
        """Of the page, without its texts, where images are as large as `side` wants them."""
        sizes = [(len(each), _factor(each, side), *each.shape[2:]) for each in tiles]
        wide = max((count * (width * factor + GAP) for count, factor, _, width in sizes), default=0)
        return wide * sum(height * factor + ROW_GAP for _, factor, height, _ in sizes)

    side = _with_room(TILE, pixels, MOST_PIXELS)
    factors = [_factor(each, side) for each in tiles]
    widths = [each.shape[3] * factor for each, factor in zip(tiles, factors, strict=True)]
    captions = [wrap(row.caption, CAPTION_SIZE, CAPTION_WIDTH) for row in rows]
    text_width = max((text_size(caption, CAPTION_SIZE)[0] for caption in captions), default=0)
    left = MARGIN + (text_width + MARGIN if text_width else 0)
    ends = (left + len(images) * (width + GAP) - GAP for images, width in zip(tiles, widths, strict=True))
    right = max(ends, default=left)
    title = wrap(title, TITLE_SIZE, max(right - MARGIN, 2 * CAPTION_WIDTH))
    width = max(right, MARGIN + text_size(title, TITLE_SIZE)[0]) + MARGIN

    page = _Page(width)
    top = MARGIN
    if title:
        top += page.text(title, TITLE_SIZE, INK, (MARGIN, top), "la") + MARGIN
    if headings and tiles:
        top += page.under_each(headings, widths[0], left, top) + GAP
    for row, caption, images, factor, width in zip(rows, captions, tiles, factors, widths, strict=True):
        image_height = images.shape[2] * factor
        height = max(image_height if len(images) else 0, text_size(caption, CAPTION_SIZE)[1])
        page.text(caption, CAPTION_SIZE, INK, (MARGIN, top + height // 2), "lm")
        image_top = top + (height - image_height) // 2
        for column, image in enumerate(images):
            page.image(image, factor, left + column * (width + GAP), image_top)
        top += height
        if row.labels:
            top += GAP + page.under_each(row.labels, width, left, top + GAP)
        top += ROW_GAP
    return page.finish(top - ROW_GAP + MARGIN)


def bands(rows: Sequence[Row], columns: int) -> list[Row]:
    """Rows that belong together (originals above reconstructions), cut into bands of at most `columns` images.

    The rows must be equally long. An empty row keeps two bands apart.
    """
    cut: list[Row] = []
    for start in range(0, max(len(row.images) for row in rows), columns):
        part = slice(start, start + columns)
        if cut:
            cut.append(Row("", rows[0].images[:0]))
        cut.extend(Row(row.caption, row.images[part], row.labels[part]) for row in rows)
    return cut


class _Page:
    """What is drawn on a page as long as its height isn't known: the drawing happens in `finish`."""

    def __init__(self, width: int):
        self.width = width
        self.texts: list[tuple[str, int, tuple[int, int, int], tuple[int, int], str]] = []
        self.images: list[tuple[Tensor, int, int, int]] = []

    def text(self, text: str, size: int, ink: tuple[int, int, int], place: tuple[int, int], anchor: str) -> int:
        """Write at `place`, which `anchor` says how to read (Pillow's: l or m, then a or m). Returns its height."""
        self.texts.append((text, size, ink, place, anchor))
        return text_size(text, size)[1]

    def under_each(self, texts: Sequence[str], width: int, left: int, top: int) -> int:
        """Write small centred texts at the columns of a row of tiles. Returns the height of the tallest."""
        return max(
            self.text(
                wrap(text, LABEL_SIZE, width),
                LABEL_SIZE,
                FAINT_INK,
                (left + column * (width + GAP) + width // 2, top),
                "ma",
            )
            for column, text in enumerate(texts)
        )

    def image(self, image: Tensor, factor: int, left: int, top: int) -> None:
        self.images.append((image, factor, left, top))

    def finish(self, height: int) -> Image.Image:
        page = Image.new("RGB", (self.width, height), "white")
        draw = ImageDraw.Draw(page)
        for pixels, factor, left, top in self.images:
            image = to_pil(repeat(pixels, factor))
            # A faint frame, without which a white image would melt into the page.
            draw.rectangle((left - 1, top - 1, left + image.width, top + image.height), outline=FRAME_INK)
            page.paste(image, (left, top))
        for text, size, ink, place, anchor in self.texts:
            align = "center" if anchor == "ma" else "left"
            draw.multiline_text(place, text, ink, font(size), anchor, align=align)
        return page


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans out of matplotlib: Pillow's own font has neither → nor −, nor any letter with an accent."""
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    # The basic layout is in every build of Pillow, so pages look the same everywhere.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def text_size(text: str, size: int) -> tuple[int, int]:
    """Width and height in pixels of a text of several lines; (0, 0) for an empty one."""
    if not text:
        return 0, 0
    _left, _top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font(size))
    return math.ceil(right), math.ceil(bottom)


def wrap(text: str, size: int, width: int) -> str:
    """Break lines between words where they would be wider than `width` pixels, and words that are wider themselves."""
    letters = font(size)
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            if line and letters.getlength(f"{line} {word}") > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
            while letters.getlength(line) > width and len(line) > 1:
                fits = next(
                    end for end in range(len(line) - 1, 0, -1) if end == 1 or letters.getlength(line[:end]) <= width
                )
                lines.append(line[:fits])
                line = line[fits:]
        lines.append(line)
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def read_image(path: str | os.PathLike[str], form: Form | ImageShape) -> Tensor:
    """One image file as floats in [0, 1] of the shape of `form`, brought to it just as a folder of images is.

    Raises:
        DataError: when it isn't there, or can't be read as an image.
    """
    path = expanded(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give the path of an image")
    try:
        with without_warnings():
            return _decoded(path, form)
    except BadImage as error:
        raise DataError(f"{path}: {error}; give another image") from error


def image_from(content: bytes, form: Form | ImageShape) -> Tensor:
    """The content of an image file as floats in [0, 1], as `read_image` reads it from the file.

    It may come from anybody: its size is bounded before anything of that size is allocated.

    Raises:
        DataError: when it can't be read as an image.
    """
    try:
        return _decoded(content, form)
    except BadImage as error:
        raise DataError(f"the file {error}; give another image") from error


def _decoded(source: Path | bytes, form: Form | ImageShape) -> Tensor:
    """Raises BadImage."""
    shape, fit, whites, white_level = form if isinstance(form, Form) else Form(form)
    found = None if whites is None else range_of(source)
    if found is not None:
        whites = {found.bits: white_of_one(found, whites or {}, white_level)}
    pixels, _ = decode(source, read_header(source), shape, fit, whites)
    return to_float(torch.tensor(pixels))


def as_tensor(given: Any, what: str = "images") -> Tensor:
    """A tensor or an array as a tensor without gradient. Arrays are copied: their memory may be read-only, or reversed.

    Raises:
        DataError: when it is neither, or holds something else than numbers.
    """
    if isinstance(given, Tensor):
        return given.detach()
    if not isinstance(given, np.ndarray):
        raise DataError(f"{what} are a torch tensor or a NumPy array, and not {type(given).__name__}; convert them")
    if given.dtype.kind not in "fiub":
        raise DataError(f"{what} hold numbers, and these {kind_of(given)}; convert them")
    return torch.tensor(np.ascontiguousarray(given, given.dtype.newbyteorder("=")))


def kind_of(given: Tensor | np.ndarray) -> str:
    """The kind of its numbers: `float32`."""
    return str(given.dtype).removeprefix("torch.")


def _picture(given: Any, batch: bool = False) -> Tensor:
    """Images that somebody gives, as a tensor: one, (C, H, W), of (H, W) and (1, C, H, W) too; or some, (N, C, H, W).

    Raises:
        DataError: when they are no such thing.
    """
    pixels = as_tensor(given)
    shape = tuple(pixels.shape)
    if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
        raise DataError(f"images are floats in [0, 1], or uint8, and these are {kind_of(given)}; convert them")
    if not batch:
        pixels = pixels[None] if pixels.ndim == 2 else pixels[0] if pixels.ndim == 4 and len(pixels) == 1 else pixels
    what, wanted, dimensions = ("images", "(N, C, H, W)", 4) if batch else ("image", "(C, H, W)", 3)
    if pixels.ndim == 4 and not batch and pixels.shape[1] in (1, 3):
        raise DataError(f"{shape} are {len(pixels)} images; give one, images[0], or all as one picture, grid(images)")
    if pixels.ndim != dimensions or pixels.shape[-3] not in (1, 3) or not pixels.numel():
        raise DataError(f"{shape} is the shape of no {what} of 1 or 3 channels; give {wanted}")
    return pixels


def as_png(image: Tensor | Image.Image) -> bytes:
    """One image, (C, H, W) or Pillow's, as the content of a PNG file."""
    # Into memory first: Pillow asks a file for more than it takes to write it.
    content = io.BytesIO()
    (to_pil(image) if isinstance(image, Tensor) else image).save(content, format="PNG")
    return content.getvalue()


def save_png(
    path: str | os.PathLike[str], image: Tensor | np.ndarray | Image.Image | bytes, parents: bool = True
) -> None:
    """Write one image, (C, H, W), Pillow's or `as_png`, as it is: a grid or a sheet has been made readable before.

    Grey ones may be (H, W), and (1, C, H, W) is one.

    Args:
        parents: whether to make the folders above it.

    Raises:
        DataError: when it is no image, or several.
        GenkitError: when the file can't be written.
    """
    content = (
        image if isinstance(image, bytes) else as_png(image if isinstance(image, Image.Image) else _picture(image))
    )
    with whole_file(expanded(path), parents=parents) as temporary:
        temporary.write_bytes(content)


def save_pngs(folder: str | os.PathLike[str], images: Tensor | np.ndarray, names: Sequence[str] = ()) -> None:
    """Write the images (N, C, H, W) into a new folder, each to the bytes of `save_png`.

    As `names` call them (`file_names`), or else as 00000.png, 00001.png, …

    On all cores, as far as Pillow encodes without Python's lock.

    Raises:
        DataError: when they are no images.
        GenkitError: when they can't be written; then there is no folder.
    """
    images = _picture(images, batch=True)
    stems = file_names(names) if names else [f"{index:05d}" for index in range(len(images))]
    pixels = to_uint8(images).cpu()
    pictures = (pixels[:, 0] if pixels.shape[1] == 1 else pixels.permute(0, 2, 3, 1)).contiguous().numpy()
    with whole_folder(expanded(folder)) as temporary, ThreadPoolExecutor(os.cpu_count()) as pool:

        def write(start: int) -> None:
            for index in range(start, min(start + PNGS_AT_ONCE, len(pictures))):
                with open(f"{temporary}/{stems[index]}.png", "xb") as file:  # noqa: PTH123 (half the time of Path's)
                    file.write(as_png(Image.fromarray(pictures[index])))

        for _ in pool.map(write, range(0, len(pictures), PNGS_AT_ONCE)):
            pass


def file_names(names: Sequence[str]) -> list[str]:
    """Names as those of files, without their endings: of plain characters, none twice whatever the case."""
    stems, taken = [], set()
    for name in names:
        known = Path(name).stem if Path(name).suffix.lower() in EXTENSIONS else name
        plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in known)[:100].strip(".")
        stem, count = plain or "image", 1
        while stem.casefold() in taken:
            count += 1
            stem = f"{plain or 'image'}-{count}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def save_gif(
    path: str | os.PathLike[str], frames: Tensor | np.ndarray, seconds_per_frame: float = 0.1, boomerang: bool = True
) -> None:
    """Write an animation that loops for ever; small frames are enlarged as far as there is room (`bounds`).

    Args:
        frames: (T, C, H, W), T at least 1. Grey keeps all its 256 levels; colour gets 256 colours a frame, the best for
            that frame, undithered, because dithering flickers from frame to frame.
        seconds_per_frame: rounded to the format's hundredths, at least 0.02 (viewers slow down whatever is faster).
        boomerang: play it backwards after it has been played forwards, without doubling the ends.

    Raises:
        DataError: when they are no images.
        GenkitError: when the file can't be written.
    """
    frames = _picture(frames, batch=True)
    # The colours are chosen before the pixels are repeated: the same colours, sooner.
    factor = _with_room(
        _factor(frames, FRAME), lambda factor: 2 * len(frames) * factor**2 * math.prod(frames.shape[2:]), MOST_FILM
    )
    pictures = [ImageOps.scale(_indexed(to_pil(frame)), factor, Image.Resampling.NEAREST) for frame in frames]
    if boomerang:
        pictures += pictures[-2:0:-1]
    milliseconds = 10 * max(2, round(100 * seconds_per_frame))
    with whole_file(expanded(path)) as temporary:
        pictures[0].save(
            temporary, format="GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0
        )


def _indexed(picture: Image.Image) -> Image.Image:
    """A picture as a GIF can hold it."""
    if picture.mode == "L":
        return picture
    return picture.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)


def save_npz(path: str | os.PathLike[str], **arrays: Tensor | np.ndarray | str) -> None:
    """Write tensors, and texts, under their names, compressed, for `numpy.load`.

    Raises:
        GenkitError: when the file can't be written.
    """
    contents: dict[str, Any] = {
        name: array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
        for name, array in arrays.items()
    }
    with whole_file(expanded(path)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **contents)
