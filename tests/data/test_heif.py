"""HEIF, written by pillow-heif, which Pillow isn't told of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, UnidentifiedImageError

from genkit.contract import ImageShape
from genkit.data.dataset import Dataset
from genkit.data.decode import BadImage, Header, decode, read_header
from genkit.errors import DataError

LOSSLESS = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}


def pixels_of_all(dataset: Dataset) -> np.ndarray:
    """All images, in the order of the source."""
    return dataset.train.storage.numpy()


def heif(path: Path, *pictures: np.ndarray, mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = pillow_heif.HeifFile()
    for picture in pictures:
        file.add_frombytes(mode, picture.shape[1::-1], picture.tobytes())
    file.save(path, **{**LOSSLESS, **options})
    return path


@pytest.fixture
def coloured(pictures: np.ndarray) -> np.ndarray:
    """uint8 (100, 32, 32, 3); HEVC takes even sizes best."""
    large = np.pad(pictures, ((0, 0), (2, 2), (2, 2)))
    return np.stack([large, 255 - large, large // 2], -1)


def test_a_folder(of, tmp_path, coloured):
    for number, picture in enumerate(coloured[:20]):
        heif(tmp_path / "set" / f"{number:03}.{['heic', 'HEIF', 'hif'][number % 3]}", picture)
    dataset = of(tmp_path / "set")
    assert (pixels_of_all(dataset).transpose(0, 2, 3, 1) == coloured[:20]).all()


@pytest.mark.parametrize("brand", ["heic", "msf1", "hevc", "heim", "heis", "hevm", "hevs", "mif2"])
def test_a_file_that_is_named_itself_by_any_of_its_brands(of, tmp_path, coloured, brand):
    """A burst calls itself a sequence (msf1), and only its other brands say HEVC."""
    path = heif(tmp_path / "burst", *coloured[:5])
    content = path.read_bytes()
    assert content[4:8] == b"ftyp"
    path.write_bytes(content[:8] + brand.encode() + content[12:])
    found = pixels_of_all(of(path)).transpose(0, 2, 3, 1).astype(int)
    assert np.abs(found - coloured[:5]).max() <= 1  # pillow-heif writes only the first without a loss


def test_pillow_is_told_nothing(of, tmp_path, coloured):
    path = heif(tmp_path / "a.heic", coloured[0])
    assert read_header(path) == Header(32, 32, "RGB", False)
    assert "HEIF" not in Image.OPEN
    with pytest.raises(UnidentifiedImageError):
        Image.open(path)


def test_the_first_is_the_one_that_the_file_calls_so(of, tmp_path, coloured, caplog):
    path = heif(tmp_path / "burst.heic", *coloured[:5], primary_index=3)
    assert read_header(path).pages == 5
    assert (decode(path, read_header(path), ImageShape(3, 32, 32))[0].transpose(1, 2, 0) == coloured[3]).all()
    # Of the others, pillow-heif doesn't write all that makes them lossless.
    assert np.abs(pixels_of_all(of(path)).transpose(0, 2, 3, 1).astype(int) - coloured[:5]).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_once(tmp_path, orientation):
    """A turn is written into the file's own properties; the camera's note of it then counts for nothing."""
    sketch = np.zeros((64, 96, 3), np.uint8)
    sketch[:32, :32] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = sketch
    for turn in {
        **{2: [np.fliplr], 3: [np.rot90, np.rot90], 4: [np.flipud], 5: [lambda each: each.transpose(1, 0, 2)]},
        **{6: [lambda each: np.rot90(each, -1)], 7: [lambda each: np.rot90(each.transpose(1, 0, 2), 2)], 8: [np.rot90]},
    }.get(orientation, []):
        expected = turn(expected)
    path = tmp_path / "a.heic"
    file = pillow_heif.from_pillow(Image.fromarray(sketch))
    file.info["exif"] = exif.tobytes()
    file.save(path, **LOSSLESS)
    header = read_header(path)
    assert (header.height, header.width) == expected.shape[:2]
    found, _ = decode(path, header, ImageShape(3, header.height, header.width))
    assert np.abs(found.transpose(1, 2, 0).astype(int) - expected).max() < 8


def test_what_is_transparent_is_white(tmp_path, coloured):
    clear = np.concatenate([coloured[0], np.full((32, 32, 1), 255, np.uint8)], -1)
    clear[:8, :8, 3] = 0
    path = heif(tmp_path / "a.heic", clear, mode="RGBA")
    found, _ = decode(path, read_header(path), ImageShape(3, 32, 32))
    assert (found[:, :8, :8] == 255).all()
    assert (found[:, 8:].transpose(1, 2, 0) == coloured[0][8:]).all()


def test_10_bits(tmp_path, coloured):
    deep = coloured[0].astype(np.uint16) * 257
    path = tmp_path / "a.heic"
    pillow_heif.encode("RGB;16", (32, 32), deep.tobytes(), path, **LOSSLESS)
    found, _ = decode(path, read_header(path), ImageShape(3, 32, 32))
    assert np.abs(found.transpose(1, 2, 0).astype(int) - coloured[0]).max() <= 1


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_one_is_bad(tmp_path, coloured, share):
    path = heif(tmp_path / "a.heic", coloured[0])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BadImage, match="can't be decoded"):
        decode(path, read_header(path), ImageShape(3, 32, 32))


def test_without_pillow_heif(of, tmp_path, coloured, monkeypatch):
    path = heif(tmp_path / "a.heic", coloured[0])
    monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
    with pytest.raises(DataError) as caught:
        of(path)
    assert str(caught.value).startswith(
        f"{path} is HEIF, which is read by pillow-heif, which isn't here; pip install 'latent-genkit[formats]'; or remo"
    )


def test_a_folder_without_pillow_heif(tmp_path, coloured, pictures):
    """They are left out and counted, with what would read them."""
    for number, picture in enumerate(pictures):
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "set" / f"{number}.png")
    for number in range(3):
        heif(tmp_path / "set" / f"{number}.heic", coloured[number])
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from genkit.data import load\n"
        f"assert sum(map(len, load({str(tmp_path / 'set')!r}).splits().values())) == 100"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1].endswith(
        "set: left out: 3 .heic (read by pillow-heif: pip install 'latent-genkit[formats]')"
    )
