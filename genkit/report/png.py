"""Images and drawings as small PNG files: transparent between images, and never larger than they may be."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from genkit.latent import images
from genkit.report.blocks import Png

#: Pixels between images, which show the page.
GAP = 3
#: The longer side that an image isn't shrunk below, however little room there is.
SMALLEST = 8
#: Grey levels, and colours, of a picture that would be too large with all of its own.
GREYS, COLOURS = 32, 255
#: Colours of a drawing, the most that fit: of its lines and points, and what lies between them and white.
DRAWN = (256, 64, 16)


def of_images(pictures: Tensor, columns: int, alt: str, limit: int, gap: int = GAP) -> Png:
    """Images (N, C, H, W), float in [0, 1] or uint8, as one picture, row by row.

    It is kept as it is where it fits into `limit` bytes; else it loses colours, and in the end size.
    """
    pictures = images.to_float(pictures.cpu())
    while True:
        sheet = images.grid(pictures, columns, gap, background=0)
        covered = images.grid(torch.ones_like(pictures[:, :1]), columns, gap, background=0)[0] > 0
        for make in (whole, poorer):
            content = make(sheet, covered)
            if len(content) <= limit:
                break
        if len(content) <= limit or max(pictures.shape[-2:]) <= SMALLEST:
            return Png(content, alt, sheet.shape[2], sheet.shape[1])
        pictures = halved(pictures)


def halved(pictures: Tensor) -> Tensor:
    size = [max(1, side // 2) for side in pictures.shape[-2:]]
    return torch.nn.functional.interpolate(pictures, size=size, mode="bilinear", antialias=True)


def whole(sheet: Tensor, covered: Tensor) -> bytes:
    """uint8 (C, H, W) without loss, but for one grey level or colour, which is what isn't covered (bool (H, W))."""
    key = torch.tensor([1, 2, 1][: len(sheet)], dtype=torch.uint8)[:, None, None]
    taken = (sheet == key).all(0)
    sheet = torch.where(taken & covered, sheet - key.clamp(max=1), sheet)
    sheet = torch.where(covered, sheet, key)
    transparent = tuple(key.flatten().tolist())
    return packed(images.to_pil(sheet), transparency=transparent if len(sheet) == 3 else transparent[0])


def poorer(sheet: Tensor, covered: Tensor) -> bytes:
    """The same with few grey levels or colours."""
    if len(sheet) == 1:
        step = 256 // GREYS
        return whole(sheet // step * step + sheet // step // (GREYS // step), covered)
    indexed = images.to_pil(sheet).quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    mask = Image.fromarray((~covered).to(torch.uint8).mul(255).numpy())
    indexed.paste(COLOURS, mask=mask)
    return packed(indexed, transparency=COLOURS)


def of_drawing(path: Path, alt: str, limit: int) -> Png:
    """A drawing on white, from its PNG file; as `of_images`, it loses colours and then size until it fits."""
    with Image.open(path) as opened:
        drawing = opened.convert("RGB")
    while True:
        for colours in DRAWN:
            content = packed(drawing.quantize(colours, dither=Image.Dither.NONE))
            if len(content) <= limit or (colours == DRAWN[-1] and max(drawing.size) <= SMALLEST):
                return Png(content, alt, *drawing.size)
        drawing = drawing.reduce(2)


def packed(picture: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True, **options)
    return content.getvalue()


def share(limit: int, parts: int) -> int:
    """Bytes for each of several pictures."""
    return math.floor(limit / max(1, parts))
